"""The benchmark of `gamma_sr`: no source is in two splits of a fold, and how its acquisition time is found."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest

from senmei.studies.gamma_sheets import subjects_of

_spec = importlib.util.spec_from_file_location(
    "gamma_benchmark", Path(__file__).resolve().parents[2] / "benchmarks" / "gamma.py"
)
assert _spec is not None
assert _spec.loader is not None
gamma: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gamma)


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    found = object.__new__(gamma.Bench)  # without printing the sheets
    found.folder, found.cohort, found.settings = tmp_path, gamma.COHORT, {"degradation": {}}
    found.sources = subjects_of(gamma.COHORT)
    return found


def test_every_source_is_held_out_once_and_never_learned_from_then(bench: Any) -> None:
    family = {s["subject"]: s["family"] for s in bench.sources}
    assert len(family) == 40
    tested: list[str] = []
    for k in range(gamma.FOLDS):
        split = bench.fold(k)
        assert {s: len(names) for s, names in split.items()} == {"train": 28, "validation": 4, "test": 8}
        assert sorted(n for names in split.values() for n in names) == sorted(family), "each in one split"
        assert all({family[n] for n in names} == set(gamma.COHORT["teachers"]) for names in split.values())
        tested += split["test"]
    assert sorted(tested) == sorted(family)


def test_the_time_is_where_both_scores_are_nearest_and_is_kept(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def scores(_: Any, subjects: list[str], time_s: float) -> dict[str, float]:
        assert subjects == ["sub-camera"]
        asked.append(time_s)
        octaves = math.log2(time_s / 3.0)
        return {"psnr": 12.67 + 3 * octaves, "ssim": 0.316 + 0.02 * octaves}

    monkeypatch.setattr(gamma, "input_scores", scores)
    time_s, found = gamma.operating_point(bench, ["sub-camera"])
    assert time_s == pytest.approx(3.0, abs=0.05)
    assert found["psnr"] == pytest.approx(12.67, abs=0.1)
    calls = len(asked)
    assert gamma.operating_point(bench, ["sub-camera"]) == (time_s, found)
    assert len(asked) == calls, "nothing is simulated again"


def test_sources_weigh_alike_however_many_scans_they_have() -> None:
    rows = [("a", {"psnr": 10.0}), ("b", {"psnr": 20.0}), ("b", {"psnr": 30.0}), ("b", {"psnr": 40.0})]
    assert gamma.over_sources(rows) == {"psnr": pytest.approx(20.0)}
