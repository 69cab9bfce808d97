"""From DICOM files of printed pages to a fitted camera: marks found, teachers placed, activity known, camera fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.analyses.degradation_fit import DegradationFit
from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.shown import Note, read_shown
from senmei.io.tables import write_tsv
from senmei.physics.planar.sheet import sheet_affine
from senmei.studies.gamma_sr import GammaSR
from tests.laboratory.sheets import CAMERA, GRID, LAYOUT, STEP, expose, lying, save_scan

ROOT = Path(__file__).resolve().parents[2]


def test_scanned_pages_of_known_activity_give_the_camera_that_imaged_them(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number, page in enumerate(("camera", "coffee")):
        ink = lying(page, shift_mm=(3.0 - number, 2.0), angle_deg=1.5 - number)
        save_scan(tmp_path / f"{page}.dcm", expose(ink, peak=200.0, seed=number))
        largest = float(CAMERA.expected(Volume(ink, sheet_affine((GRID, GRID), STEP))).data.max())
        mbq = float(ink.sum(dtype=float)) * 200.0 / largest  # what gives `expose` its peak
        rows.append({"file": f"{page}.dcm", "page": page, "mbq": mbq, "distance_mm": 100, "layer_mm": 0})
    write_tsv(tmp_path / "scans.tsv", rows)
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    printed = {"use": "test", "source": "sheets", "path": str(tmp_path), "teachers": ["photographs"]}
    config["studies"] = {
        "gamma_sr": {"cohorts": {"printed": {**printed, "subjects": None, "layout": LAYOUT}}}
    }
    found = resolve(config, ROOT)["studies"]["gamma_sr"]
    own, study = found["cohorts"]["printed"], GammaSR()
    settings = study.settle(found["degradation"], tmp_path / "run")
    (tmp_path / "out").mkdir()
    _, images, _ = study.list_files(own, tmp_path / "out", seed=1, log=lambda text: None)  # type: ignore[misc]
    pairs = []
    for image in images:
        raw: dict[str, Any] = study.read(image, own)  # type: ignore[assignment]
        scan, roles = {**study.scans([image], own, settings)[0], **raw.pop("columns")}, {}
        for group in ("input", "sheet"):
            made, columns = study.prepare(group, scan, lambda _, role, raw=raw: raw[role], own, settings, 1)
            roles, scan = {**roles, **made}, {**scan, **columns}
        assert scan["residual_mm"] < 0.3
        pairs.append((Example(scan, roles), roles["low"]))
    rows = DegradationFit().run_cohort(iter(pairs), tmp_path / "out")
    value = {row["measure"]: row["value"] for row in rows}
    truth = CAMERA.response
    assert value["fit_fwhm"] == pytest.approx(truth.fwhm_mm, rel=0.02)
    assert value["fit_sensitivity"] == pytest.approx(truth.sensitivity_cps_per_mbq, rel=0.01)
    assert value["fit_tone"] == pytest.approx(1.0, abs=0.02)
    assert value["fit_misfit"] < 1.5, "what registration leaves"
    assert "fit_recovery" not in value, "nobody knows a measured camera"
    note = read_shown(tmp_path / "out").items[1]
    assert isinstance(note, Note) and note.text.startswith(("Good", "Close"))
    assert np.isfinite(list(value.values())).all()
