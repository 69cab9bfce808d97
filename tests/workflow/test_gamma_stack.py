"""Stacks of sheets through every stage: printed heads, their views restored, volumes on the report page."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

from senmei.analyses.resolution_recovery import ResolutionRecovery
from senmei.analyses.sheet_tomography import SheetTomography
from tests.workflow.running import planned, snakemake

STACKS = {
    "use": "train",
    "source": "simulate",
    "subjects": 4,
    "split": {"train": 0.25, "validation": 0.25, "test": 0.5},
    "size": 56,
    "pixel_mm": 4.3,
    "ink_kbq_per_cm2": 40,
    "stack": {"sheets": 36, "plate_mm": 3.5, "rows": 32, "views": 12},
}


def test_stacks_through_every_stage(tmp_path: Path) -> None:
    trials = {"iterations": [2, 6], "filters_mm": [0, 8], "subsets": 4}
    study = {
        "cohorts": {"sheets": None, "stacks": STACKS},
        "degradation": {"matrices": [28], "times_s": [20], "distances_mm": [140]},
        "methods": {"bicubic": None, "butterworth": None, "richardson_lucy": None},
        "analyses": {"sheet_tomography": trials, "resolution_recovery": trials},
        "report": {"figure_scans": 1},
    }
    config = {"run": "tiny", "preset": "tiny", "device": "cpu", "only": ["gamma_sr"]}
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config={**config, "studies": {"gamma_sr": study}})
    folder = tmp_path / "results" / "tiny" / "gamma_sr"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["failures"] == 0, (folder / "status.tsv").read_text()
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with (folder / "measures.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found[row["method"], row["measure"]].append(float(row["value"]))
    for method in ("input", "srresnet"):
        for measure in SheetTomography.MEASURES:
            assert len(found[method, measure]) == 2, "a number for each stack that is tested"
        assert len(found[method, "psnr"]) == 2 * 12, "and for each of its views"
        assert all(10 < value < 60 for value in found[method, "tomo_nrmse"])
        assert all(abs(value) < 3 for value in found[method, "tomo_counts"])
    for measure in ResolutionRecovery.MEASURES:
        assert len(found["input", measure]) == 2
        assert (("srresnet", measure) in found) is False
    for nrmse, gain, recovered in zip(
        *(found["input", m] for m in ("tomo_nrmse", "tomo_gain", "recovery_nrmse")), strict=True
    ):
        assert abs(nrmse + gain - recovered) < 1e-3
        assert gain < 0, "counts as they were are worse off without a model of the camera"
    page = (folder / "report.html").read_text()
    for text in (
        "Tomography from sheets",
        "Resolution recovery from unrestored views",
        "through the hot ball",
    ):
        assert text in page
    assert planned(tmp_path, "report") == {}, "a finished run plans nothing"
