"""Measured sheets are handed on as simulated ones are, with what is known of them; and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.io.tables import read_tsv, write_tsv
from senmei.lab.dataset_dicom import same_as_dicom
from senmei.lab.dataset_pair import dicom_place, places_of
from senmei.lab.dataset_read import PairSet, read_dataset
from senmei.stages.cohort import list_cohort
from senmei.stages.dataset import export_dataset
from senmei.stages.ingest import ingest_shard
from senmei.stages.prepare import prepare_shard
from senmei.stages.shards import Manifest
from senmei.studies.gamma_sr import GammaSR
from tests.laboratory.sheets import LAYOUT, expose, lying, save_scan

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"licence": "CC-BY-4.0", "authors": ["A. Author"], "name": "Measured pairs"}
SHARED: dict[str, Any] = {"seed": 1, "code": "c", "strict": False}


def prepared(folder: Path, cohort: dict[str, Any]) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A cohort through the stages up to its roles: (study's folder, the cohort's settings, the degradation)."""
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    config["studies"] = {"gamma_sr": {"cohorts": {"sheets": None, "c": cohort}}}
    config["only"] = ["gamma_sr"]
    settings = resolve(config, ROOT)["studies"]["gamma_sr"]
    own, degradation, study = settings["cohorts"]["c"], settings["degradation"], GammaSR()
    tables = folder / "cohorts" / "c"
    list_cohort(tables, study, own, degradation, 1, seed=1, strict=False, log=str)
    rows = read_tsv(tables / "scans.tsv")
    raw = tables / "raw" / "s.tsv"
    ingest_shard(rows, raw, study, own, log=str, **SHARED)
    for group in study.dataset_groups:
        out = folder / "prepared" / "c" / group / "s.tsv"
        prepare_shard(rows, raw, group, out, study, own, degradation, log=str, **SHARED)
    return folder, own, degradation


def exported(made: tuple[Path, dict[str, Any], dict[str, Any]]) -> tuple[list[dict[str, Any]], PairSet]:
    folder, own, degradation = made
    cohort = folder / "cohorts" / "c"
    tables = {"scans": "scans.tsv", "participants": "participants.tsv", "facts": "cohort.json"}
    roles = [folder / "prepared" / "c" / group / "s.tsv" for group in GammaSR.dataset_groups]
    out = folder / "dataset" / "c.tsv"
    export_dataset(
        {k: cohort / v for k, v in tables.items()}, [cohort / "raw" / "s.tsv"], roles, out, GammaSR(), own, OPTIONS,
        degradation, name="c", strict=False, log=str,
    )  # fmt: skip
    return read_tsv(out), read_dataset(out.with_suffix(""))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Two scans of printed pages that lie as they happened to, and one of a page that it does not show."""
    scans = tmp_path_factory.mktemp("scans")
    for number, page in enumerate(("camera", "coins")):
        save_scan(
            scans / f"{page}.dcm", expose(lying(page, shift_mm=(3.0, -2.0), angle_deg=1.0), seed=number)
        )
    save_scan(scans / "wrong.dcm", expose(lying("camera"), seed=9))
    pages = {"camera.dcm": "camera", "coins.dcm": "coins", "wrong.dcm": "moon"}
    write_tsv(scans / "scans.tsv", [{"file": file, "page": page} for file, page in pages.items()])
    cohort = {
        "use": "test",
        "source": "sheets",
        "path": str(scans),
        "teachers": ["photographs"],
        "layout": LAYOUT,
    }
    return prepared(tmp_path_factory.mktemp("one"), cohort)


def test_measured_pairs_go_out_with_their_residuals_and_come_back(measured: Any, tmp_path: Path) -> None:
    rows, found = exported(measured)
    (lost,) = [row for row in rows if row["status"] != "ok"]
    assert (lost["status"], lost["subject"]) == ("blocked", "sub-moon")
    assert "does not look like its page" in lost["error"]
    assert len(found.pairs) == 2
    assert found.description["Synthetic"] is False
    assert "Sheets were printed and measured." in (found.root / "README").read_text()
    for scan, columns in found.pairs.items():
        told = json.loads((found.root / places_of(scan)["sidecar"]).read_text())
        assert 0 < told["RegistrationResidual"] < 0.5
        assert (told["Synthetic"], told["Pairing"], told["Collimator"]) == (False, "monotone", "LEHR")
        assert 0.3 < told["PairingDeviance"] < 3
        licence = {"sub-camera": "CC0", "sub-coins": "no known copyright restrictions"}
        assert columns["teacher_licence"] == licence[scan.split("_")[0]]
        pair = found.load(scan)
        assert "expected" not in pair.roles and "activity" not in pair.roles
        for role, unit in (("low", "counts"), ("reference", "counts"), ("teacher", "grey")):
            same_as_dicom(pair.roles[role], found.root / dicom_place(scan, role), unit=unit)
    kept = [p for p in found.root.rglob("*") if p.is_file()]
    assert not any(b"4711" in p.read_bytes() or b"Paper^Phantom" in p.read_bytes() for p in kept)

    back = prepared(tmp_path / "two", {"use": "test", "source": "dataset", "path": str(found.root)})
    for group in ("input", "truth", "sheet"):
        first, then = (Manifest(made[0] / "prepared/c" / group / "s.tsv") for made in (measured, back))
        for scan in found.pairs:
            assert first.roles(scan).keys() == then.roles(scan).keys()
            for role, row in first.roles(scan).items():
                assert then.roles(scan)[role]["sha256"] == row["sha256"], (scan, role)
                for name in ("residual_mm", "pairing_deviance", "data_range", "counts", "time_s", "page"):
                    assert then.roles(scan)[role].get(name) == found.pairs[scan].get(name)
    assert json.loads((back[0] / "cohorts/c/cohort.json").read_text())["case"] == "printed"
    rows, again = exported(back)
    assert {row["status"] for row in rows} == {"ok"}
    assert again.pairs == found.pairs, "handed on a second time, nothing is lost"
    assert np.array_equal(again.load(scan).roles["low"].data, found.load(scan).roles["low"].data)
