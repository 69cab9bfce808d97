"""The study `spect_denoise` through every stage, and what a failing camera costs: its own scan, no other."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from senmei.core.configuration import load_yaml, resolve
from tests.workflow.running import ROOT, planned, snakemake


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def tiny(**study: Any) -> dict[str, Any]:
    top = {"run": "tiny", "preset": "tiny", "device": "cpu", "only": ["spect_denoise"]}
    return {**top, "studies": {"spect_denoise": study}}


def test_tiny_through_every_stage(tmp_path: Path) -> None:
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=tiny())
    study = tmp_path / "results" / "tiny" / "spect_denoise"
    summary = json.loads((study / "summary.json").read_text())
    assert summary["failures"] == 0, (study / "status.tsv").read_text()
    measures = {(row["method"], row["measure"]): float(row["value"]) for row in rows(study / "measures.tsv")}
    methods = {method for method, _ in measures}
    assert methods == {"input", "gaussian", "unet3d_n2n"}
    for method in methods:
        assert 0 < measures[method, "nrmse"] < 0.5
        assert 5 < measures[method, "wall_thickness"] < 40
        assert abs(measures[method, "count_bias"]) < 5
    assert summary["limits"]["count_bias"] == 2.0
    assert {f["measure"] for f in summary["flags"]} <= set(summary["limits"])
    files = {p.name.split("dose25_")[1] for p in (study / "analysed").rglob("*dose25_*")}
    assert any(name.endswith(".nii.gz") for name in files), "short-axis slices go to the report"
    assert (study / "report.html").stat().st_size > 10_000
    assert planned(tmp_path, "report") == {}, "a finished run plans nothing"


def test_a_spoiled_acquisition_is_one_failed_row_and_the_others_go_on(tmp_path: Path) -> None:
    """As a study of one's own: the shipped tiny preset under another class. What failed is told once, by ingestion."""
    shipped = {"run": "x", "preset": "tiny", "studies": {"spect_denoise": {}}}
    settings = resolve({"seed": 1, "device": "cpu", "strict": False, **shipped}, ROOT)["studies"][
        "spect_denoise"
    ]
    settings["methods"] = {"gaussian": {"use": "gaussian_counts", "evaluations": 2}}
    settings["cohorts"]["torsos"] |= {"use": "test", "subjects": 3, "matrix": 32, "slices": 24, "views": 20}
    settings["cohorts"]["trained"] = {**settings["cohorts"]["torsos"], "use": "train", "subjects": 4}
    settings |= {"use": "tests.contract.spoiled_spect:LostView", "analyses": {}, "measures": {"nrmse": {}}}
    config = tiny()
    config |= {"only": ["spoiled"], "studies": {"spoiled": settings}}
    config["studies"]["spoiled"]["enabled"] = True
    snakemake(tmp_path, "-c2", "--quiet=rules", "results/tiny/spoiled/measures.tsv", config=config)
    study = tmp_path / "results" / "tiny" / "spoiled"
    failed = [row for row in rows(study / "status.tsv") if row["cohort"] == "torsos"]
    assert [(row["stage"], row["scan"], row["status"]) for row in failed] == [("ingest", "sub-001", "failed")]
    assert "view(s) 5 of 0-19 hold hardly a count" in failed[0]["error"]
    assert "export the scan again" in failed[0]["error"]
    for group in ("input", "truth"):
        states = {r["scan"]: r["status"] for r in rows(study / "prepared" / "torsos" / group / "test-0.tsv")}
        assert states.pop("sub-001_acq-dose25") == "blocked"
        assert set(states.values()) == {"ok"}
        assert len(states) == 2
    judged = {r["scan"] for r in rows(study / "measures.tsv") if r["cohort"] == "torsos"}
    assert judged == {"sub-002_acq-dose25", "sub-003_acq-dose25"}


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_every_preset_can_be_planned(preset: str, tmp_path: Path) -> None:
    config = {**tiny(), "preset": preset}
    (tmp_path / "test.yaml").write_text(json.dumps(config))
    plan = planned(tmp_path, "report")
    methods = load_yaml(ROOT / "config" / "studies" / "spect_denoise.yaml")["methods"]
    if preset != "tiny":
        assert plan["train"] >= len(methods) + 1
        assert plan["analyse_cohort"] == plan["train"]
    assert plan["restore"] == plan["measure"]
