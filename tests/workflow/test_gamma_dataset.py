"""Pairs are handed on by one run and used by another: the same images, the same splits, the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from senmei.io.atomic import sha256
from senmei.io.tables import read_tsv
from tests.workflow.running import planned, snakemake

ROLES = {"input": ("low", "input", "camera"), "truth": ("reference", "mask", "expected")}


def config(run: str, cohort: dict[str, Any], **more: Any) -> dict[str, Any]:
    methods = dict.fromkeys(("butterworth", "richardson_lucy", "srresnet"))
    study = {"cohorts": {"sheets": cohort}, "methods": methods, **more}
    return {
        "run": run,
        "preset": "tiny",
        "device": "cpu",
        "only": ["gamma_sr"],
        "studies": {"gamma_sr": study},
    }


def numbers(study: Path) -> dict[tuple[str, str, str], float]:
    rows = [row for path in sorted(study.glob("measured/*/*/*.tsv")) for row in read_tsv(path)]
    assert {row["status"] for row in rows} == {"ok"}, rows
    method = {path: path.parent.name for path in study.glob("measured/*/*/*.tsv")}
    return {
        (method[path], row["scan"], row["measure"]): row["value"] for path in method for row in read_tsv(path)
    }


def test_pairs_go_out_and_come_back(tmp_path: Path) -> None:
    options = {"licence": "CC-BY-4.0", "authors": ["A. Author", "B. Author"], "name": "Tiny pairs"}
    cohort = {"use": "test", "teachers": ["photographs"], "subjects": 2, "dataset": options}
    snakemake(tmp_path, "-c1", "--quiet=rules", "datasets", "measured", config=config("one", cohort))
    one = tmp_path / "results" / "one" / "gamma_sr"
    manifest = read_tsv(one / "dataset" / "sheets.tsv")
    assert {row["status"] for row in manifest} == {"ok"}
    assert {row["scan"] for row in manifest} == {
        row["scan"] for row in read_tsv(one / "cohorts/sheets/scans.tsv")
    }
    for row in manifest:
        assert sha256(one / "dataset" / row["path"]) == row["sha256"]
    description = json.loads((one / "dataset/sheets/dataset_description.json").read_text())
    assert description["Synthetic"] is True
    assert description["License"] == "CC-BY-4.0"

    other = config("one", {**cohort, "dataset": {**options, "licence": "CC0-1.0"}})
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(other))
    assert planned(tmp_path, "datasets") == {"export_dataset": 1, "datasets": 1}, "a licence changes no image"

    handed_on = shutil.copytree(one / "dataset" / "sheets", tmp_path / "handed on")
    scans = sorted({row["scan"] for row in manifest})
    (
        handed_on
        / "derivatives/pairs"
        / scans[1].split("_")[0]
        / "nm"
        / f"{scans[1]}_desc-printed_mask.nii.gz"
    ).unlink()
    again = {"source": "dataset", "use": "test", "path": str(handed_on)}
    again |= dict.fromkeys(("teachers", "subjects", "slices", "size", "border", "pixel_mm"))
    second = config("two", again)
    second["studies"]["gamma_sr"]["cohorts"] = {
        "sheets": None,
        "pairs": {k: v for k, v in again.items() if v},
    }
    snakemake(tmp_path, "-c1", "--quiet=rules", "measured", config=second)
    two = tmp_path / "results" / "two" / "gamma_sr"
    (lost,) = read_tsv(two / "cohorts/pairs/status.tsv")
    assert (lost["scan"], lost["status"]) == (scans[1], "failed")
    assert "desc-printed_mask" in lost["error"] and "it is missing" in lost["error"]
    for group, roles in ROLES.items():
        for role in roles:
            name = f"prepared/{{}}/{group}/{scans[0]}_{role}.{'json' if role == 'camera' else 'nii.gz'}"
            assert (two / name.format("pairs")).read_bytes() == (one / name.format("sheets")).read_bytes(), (
                name
            )
    first, then = numbers(one), numbers(two)
    ours = {key: value for key, value in first.items() if key[1] == scans[0]}
    assert {key[0] for key in ours} == {"input", "bicubic"}
    assert then == ours
