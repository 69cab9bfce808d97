"""The study `gamma_dynamics` through every stage: from simulated boluses to the report page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.workflow.running import planned, snakemake

MEASURES = {"psnr", "nmse", "peak_time_error", "peak_height_error", "area_error", "mean_time_error"}


def test_tiny_through_every_stage(tmp_path: Path) -> None:
    study = {"gamma_dynamics": {}}
    config = {"run": "tiny", "preset": "tiny", "device": "cpu", "only": [*study], "studies": study}
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=config)
    folder = tmp_path / "results" / "tiny" / "gamma_dynamics"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["failures"] == 0, (folder / "status.tsv").read_text()
    with (folder / "measures.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["method"] for row in rows} == {"input", "gamma", "tac_network"}
    assert {row["measure"] for row in rows} == MEASURES
    assert {row["bolus"] for row in rows} == {"sharp", "slow", "fragmented"}
    means = {
        method: {
            measure: sum(values) / len(values)
            for measure in MEASURES
            if (
                values := [
                    float(r["value"]) for r in rows if (r["method"], r["measure"]) == (method, measure)
                ]
            )
        }
        for method in ("input", "gamma", "tac_network")
    }
    for method in ("gamma", "tac_network"):
        assert means[method]["nmse"] < 0.7 < means["input"]["nmse"], method
        assert means[method]["peak_time_error"] < means["input"]["peak_time_error"], method
    page = (folder / "report.html").read_text()
    assert "Line charts: Input and estimated time-activity curves" in page
    assert "delay and a gamma-variate spread" in page, "the methods paragraph tells of the simulation"
    index = (tmp_path / "results" / "tiny" / "report" / "index.html").read_text()
    assert "time-activity curves" in index
    assert planned(tmp_path, "report") == {}, "a finished run plans nothing"
