"""The study `gamma_sr` through every stage: from printed sheets to the report page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.workflow.running import ROOT, planned, snakemake


def test_tiny_through_every_stage(tmp_path: Path) -> None:
    config = {"run": "tiny", "preset": "tiny", "device": "cpu", "studies": {"gamma_sr": {}}}
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=config)
    study = tmp_path / "results" / "tiny" / "gamma_sr"
    summary = json.loads((study / "summary.json").read_text())
    assert summary["failures"] == 0, (study / "status.tsv").read_text()
    with (study / "measures.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["method"] for row in rows} == {"input", "bicubic", "butterworth", "srresnet"}
    assert {row["measure"] for row in rows} == {"psnr", "ssim", "count_bias", "roi_count_error"}
    for row in rows:
        value, measure = float(row["value"]), row["measure"]
        assert measure != "psnr" or 10 < value < 30
        assert measure != "ssim" or 0 < value < 1
        assert measure != "count_bias" or abs(value) < 0.01, "methods keep the image's total"
        assert measure != "roi_count_error" or 0 < value < 60
    page = (study / "report.html").read_text()
    assert "data:image/png" in page
    assert "the counts of full ink" in page
    assert planned(tmp_path, "report") == {}, "a finished run plans nothing"


def test_one_collimator_from_another(tmp_path: Path) -> None:
    """HE's image in, LEUR's without noise out, on the camera's own grid: whoever knows the blur comes nearer to it."""
    study = {
        "degradation": {"restore": "collimator", "matrices": [64], "collimators": ["HE"], "times_s": [600]},
        "methods": {
            **dict.fromkeys(("bicubic", "butterworth", "srcnn"), None),
            "richardson_lucy": {"use": "richardson_lucy", "most": 8},
            "srresnet": {"patch": 16},
        },
        "analyses": dict.fromkeys(("degradation_fit", "pairing")),
    }
    config = {
        "run": "tiny",
        "preset": "tiny",
        "device": "cpu",
        "only": ["gamma_sr"],
        "studies": {"gamma_sr": study},
    }
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=config)
    folder = tmp_path / "results" / "tiny" / "gamma_sr"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["failures"] == 0, (folder / "status.tsv").read_text()
    means = {(h["method"], h["measure"]): h["mean"] for h in summary["headlines"]}
    assert means["richardson_lucy", "psnr"] > means["input", "psnr"] + 0.5
    assert abs(means["srresnet", "count_bias"]) < 0.01
    assert {h["condition"]["collimator"] for h in summary["headlines"]} == {"HE"}


@pytest.mark.parametrize("name", ["gamma_ablation", "gamma_collimator", "gamma_grid"])
def test_shipped_overlays_plan(name: str, tmp_path: Path) -> None:
    overlay = ROOT / "config" / "overlays" / f"{name}.yaml"
    plan = planned(tmp_path, "report", "--configfile", str(overlay))
    networks = {"gamma_ablation": 15, "gamma_collimator": 5, "gamma_grid": 24}
    assert plan["train"] == networks[name] and plan["report_run"] == 1
