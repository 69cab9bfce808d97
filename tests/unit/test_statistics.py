"""Intervals over subjects: exact means, nominal coverage, pairing, determinism."""

import math

import numpy as np
import pytest

from senmei.core.statistics import bootstrap_ci, paired_difference, subject_means


def test_scans_are_averaged_within_the_subject_first():
    result = bootstrap_ci({"a": [0.0, 0.0, 0.0, 0.0], "b": [10.0]}, seed=0)
    assert result.n == 2 and result.mean == 5.0


def test_same_seed_same_interval_whatever_the_order():
    rng = np.random.default_rng(0)
    values = {f"s{i}": list(rng.normal(size=3)) for i in range(9)}
    backwards = dict(reversed(values.items()))
    assert bootstrap_ci(values, seed=4) == bootstrap_ci(backwards, seed=4)
    assert bootstrap_ci(values, seed=4) != bootstrap_ci(values, seed=5)


def test_interval_holds_the_mean_and_shrinks_with_the_level():
    values = {f"s{i}": [float(i)] for i in range(20)}
    wide, narrow = bootstrap_ci(values, seed=1), bootstrap_ci(values, seed=1, level=0.5)
    assert wide.ci[0] < narrow.ci[0] < wide.mean < narrow.ci[1] < wide.ci[1]
    # Normal theory for the mean of 0..19: 1.96 sd / sqrt(n), within 10 %.
    half = 1.96 * np.std(np.arange(20)) / math.sqrt(20)
    assert (wide.ci[1] - wide.ci[0]) / 2 == pytest.approx(half, rel=0.1)


def test_coverage_is_near_nominal():
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(300):
        result = bootstrap_ci({str(i): [v] for i, v in enumerate(rng.normal(size=25))}, trial, n=400)
        hits += result.ci[0] <= 0 <= result.ci[1]
    assert 0.88 <= hits / 300 <= 0.98  # the percentile bootstrap is a little short at n = 25


def test_one_subject_has_no_interval_and_none_has_no_mean():
    assert bootstrap_ci({"a": [1.0, 3.0]}, seed=0).ci is None
    assert bootstrap_ci({"a": [1.0, 3.0]}, seed=0).mean == 2.0
    assert bootstrap_ci({}, seed=0) is None
    assert bootstrap_ci({"a": [math.nan]}, seed=0) is None


def test_values_that_are_not_finite_are_left_out():
    assert subject_means({"b": [math.inf, 4.0], "a": [math.nan]}) == {"b": 4.0}


def test_pairs_are_scans_that_both_have():
    a = {"s1": {"x": 3.0, "y": 5.0}, "s2": {"x": 2.0}, "s3": {"x": 100.0}}
    b = {"s1": {"x": 1.0}, "s2": {"x": 1.0, "z": 50.0}, "s4": {"x": 0.0}}
    result = paired_difference(a, b, seed=0)
    assert result.n == 2 and result.mean == 1.5
    assert paired_difference(a, {"s9": {"x": 1.0}}, seed=0) is None


def test_pairing_removes_what_subjects_share():
    rng = np.random.default_rng(3)
    base = rng.normal(scale=100, size=12)
    a = {str(i): {"x": v + 1 + rng.normal(scale=0.01)} for i, v in enumerate(base)}
    b = {str(i): {"x": v} for i, v in enumerate(base)}
    result = paired_difference(a, b, seed=0)
    assert result.ci[0] == pytest.approx(1, abs=0.02) and result.ci[1] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("settings", [{"level": 0.0}, {"level": 1.0}, {"n": 0}])
def test_nonsense_is_refused(settings):
    with pytest.raises(ValueError, match="level must lie"):
        bootstrap_ci({"a": [1.0]}, seed=0, **settings)
