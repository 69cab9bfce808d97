"""What the frame does with an analysis: files beside its numbers, limits that flag, scores that are best at zero."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from senmei.analyses.summary import Cells, flag, summarise
from senmei.core.analysis import Analysis
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.io.roles import load_role
from senmei.io.tables import read_tsv
from senmei.stages.collect import limits_of
from senmei.stages.measure import analyse_shard
from senmei.stages.shards import Made, each_scan


class Bias(Analysis):
    title = "Bias"
    requires = ("reference",)
    MEASURES = {"bias": ("Bias of the total", "%", "zero")}
    LIMITS = {"bias": 2.0}

    def run(self, example, restored):
        return {"bias": 100 * (restored.data.mean() / example["reference"].data.mean() - 1)}

    def files(self, example, restored):
        return {
            "half": restored.like(restored.data / 2),
            "line": restored.data[:, 0, 0],
            "facts": {"mean": float(restored.data.mean())},
        }


HERE = f"{__name__}:Bias"


@measure(better="zero", unit="1", title="Total", limit=5.0)
def total(example, restored):
    """Sum of all voxels."""
    return float(restored.data.sum())


@pytest.fixture
def shard(tmp_path: Path) -> tuple[list[dict], Path, Path]:
    """One scan restored 5 % too bright."""
    scans = [{"scan": "sub-001", "subject": "sub-001", "split": "test"}]
    truth = Volume(np.ones((4, 5, 6), np.float32) + np.arange(6, dtype=np.float32), np.eye(4))
    common = {"key": lambda row: "k", "provenance": {}, "strict": True, "log": lambda text: None}
    made = {}
    for role, volume in (("reference", truth), ("restored", truth.like(truth.data * 1.05))):
        made[role] = tmp_path / "study" / role / "c" / "m" / "s.tsv"
        each_scan(scans, lambda row, v=volume, r=role: Made(roles={r: v}), manifest=made[role], **common)
    return scans, made["restored"], made["reference"]


def test_files_of_an_analysis_lie_beside_its_table(shard, tmp_path: Path) -> None:
    scans, restored, reference = shard
    first, second = tmp_path / "a" / "s.tsv", tmp_path / "b" / "s.tsv"
    for table in (first, second):
        analyse_shard(scans, restored, [reference], table, HERE, {}, strict=True, log=lambda text: None)
    assert read_tsv(first)[0]["value"] == pytest.approx(5.0, abs=1e-4)
    names = ["sub-001_facts.json", "sub-001_half.nii.gz", "sub-001_line.h5"]
    assert {p.name for p in first.parent.iterdir()} == {"s.tsv", *names}
    for name in names:
        assert (first.parent / name).read_bytes() == (second.parent / name).read_bytes()
    assert load_role(first.parent / "sub-001_half.nii.gz").data[0, 0, 0] == pytest.approx(0.525)
    assert json.loads((first.parent / "sub-001_facts.json").read_text())["mean"] == pytest.approx(3.675)


def test_a_limit_flags_what_is_beyond_it() -> None:
    assert limits_of({"total": f"{__name__}:total", "psnr": "psnr"}, {"count": HERE}) == {
        "bias": 2.0,
        "total": 5.0,
    }
    rows = [
        {"cohort": "c", "condition": {"dose": 0.25}, "method": m, "measure": "bias", "mean": v}
        for m, v in (("a", 1.9), ("b", -2.1), ("c", None), ("d", 7.0))
    ]
    flags = flag([*rows, {**rows[3], "measure": "free"}], {"bias": 2.0})
    assert [f["method"] for f in flags] == ["b", "d"]
    assert flags[0] == {
        "cohort": "c",
        "condition": {"dose": 0.25},
        "method": "b",
        "measure": "bias",
        "mean": -2.1,
        "limit": 2.0,
    }


def test_a_score_that_is_best_at_zero_is_compared_by_its_size() -> None:
    values = {"near": [0.5, -0.4, 0.3, -0.5], "low": [-3.0, -2.8, -3.1, -2.9], "net": [0.1, 0.0, -0.1, 0.1]}
    rows = [
        {"cohort": "c", "method": m, "scan": f"s{i}", "subject": f"s{i}", "split": "test", "measure": "bias"}
        | {"value": v}
        for m, column in values.items()
        for i, v in enumerate(column)
    ]
    methods = {"near": {"family": "classical"}, "low": {"family": "classical"}, "net": {"family": "learned"}}
    found = summarise(Cells([], rows), methods, {"bias": {"title": "Bias", "unit": "%", "better": "zero"}}, 1)
    assert found["best_classical"] == {"c": {"bias": "near"}}, "a large negative bias is not a low one"
    net = next(h for h in found["headlines"] if h["method"] == "net")
    assert net["versus"] == "near"
    assert net["difference"]["mean"] == pytest.approx(0.075 - 0.425)
