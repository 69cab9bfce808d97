"""The study `gamma_sr` through every stage: from printed sheets to the report page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.workflow.running import planned, snakemake


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
