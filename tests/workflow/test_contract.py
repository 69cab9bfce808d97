"""Five contract studies through every stage to the report: the frame holds what is coming."""

import csv
import json
from pathlib import Path

import pytest

from tests.workflow.running import planned, snakemake, toy

LEADER = {"image": "rescale", "kspace": "hermitian", "dynamic": "average", "tabular": "line"}


@pytest.mark.parametrize("name", ["image", "sites", "kspace", "dynamic", "tabular"])
def test_through_every_stage(name: str, tmp_path: Path) -> None:
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=toy(name))
    study = tmp_path / "results" / "toy" / f"toy_{name}"
    rows = list(csv.DictReader((study / "measures.tsv").open(), delimiter="\t"))
    assert list(rows[0])[:6] == ["study", "cohort", "method", "scan", "subject", "split"]
    assert {row["split"] for row in rows} == {"test"}
    assert (tmp_path / "results" / "toy" / "report" / "index.html").stat().st_size > 1000
    assert json.loads((study / "summary.json").read_text())["failures"] == 0
    values = {m: [float(r["value"]) for r in rows if r["method"] == m] for m in {r["method"] for r in rows}}
    if name == "sites":
        assert values["match"][0] < 0.2 * values["input"][0]
    else:
        better, unrestored = values[LEADER[name]], values["input"]
        assert len(better) == len(unrestored) > 0
        assert sum(better) < 0.5 * sum(unrestored)
    assert planned(tmp_path, "report") == {}, "a finished run plans nothing"


def test_training_without_reference_cannot_reach_one(tmp_path: Path) -> None:
    """The 4D toy learns from noisy repeats: no file of the truth group is among its job's inputs."""
    text = snakemake(tmp_path, "-n", "models", config=toy("dynamic"))
    block = text.split("rule train:")
    inputs = [part.split("output:")[0] for part in block[1:]]
    assert any("/repeat/" in i for i in inputs)
    assert not any("/truth/" in i for i in inputs)
