"""Counts: Poisson draws, thinning that is exactly independent, pairs of gates and frames."""

from __future__ import annotations

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.physics.spect.counts import as_counts, draw_counts, even_odd, thin_counts


def rng(n: int = 0) -> np.random.Generator:
    return np.random.default_rng(n)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_draws_are_poisson_and_follow_the_seed() -> None:
    mean = np.full((200, 1000), 7.3)
    counts = draw_counts(mean, rng(1))
    assert counts.dtype == np.int32
    assert counts.mean() == pytest.approx(7.3, rel=0.005)
    assert counts.var() == pytest.approx(7.3, rel=0.015)
    assert np.array_equal(counts, draw_counts(mean, rng(1)))
    assert not np.array_equal(counts, draw_counts(mean, rng(2)))


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.9])
def test_thinned_parts_are_independent_poisson_and_add_up(fraction: float) -> None:
    """One bin in many acquisitions: both parts Poisson, uncorrelated, though they come of one count."""
    counts = draw_counts(np.full(400_000, 4.0), rng(3))
    kept, rest = thin_counts(counts, fraction, rng(4))
    assert np.array_equal(kept + rest, counts)
    for part, mean in ((kept, 4 * fraction), (rest, 4 * (1 - fraction))):
        assert part.dtype == np.int32
        assert part.mean() == pytest.approx(mean, rel=0.01)
        assert part.var() == pytest.approx(mean, rel=0.015)
    assert abs(correlation(kept, rest)) < 4 / np.sqrt(counts.size)
    # independence is more than no correlation: the variance of one does not depend on the other either
    assert abs(correlation((kept - kept.mean()) ** 2, rest.astype(float))) < 4 / np.sqrt(counts.size)


def test_halving_what_is_no_count_would_not_be_independent() -> None:
    """The trap thinning avoids: halves drawn from the *expected* half keep the shared noise."""
    counts = draw_counts(np.full(100_000, 4.0), rng(5))
    first, second = draw_counts(counts / 2, rng(6)), draw_counts(counts / 2, rng(7))
    assert correlation(first, second) > 0.3


def test_nothing_and_everything_may_be_kept() -> None:
    counts = draw_counts(np.full((3, 4, 5), 9.0), rng())
    assert np.array_equal(thin_counts(counts, 1.0, rng())[0], counts)
    assert not thin_counts(counts, 0.0, rng())[0].any()
    with pytest.raises(ValueError, match="with probability"):
        thin_counts(counts, 1.5, rng())


def test_gates_and_frames_pair_by_even_and_odd() -> None:
    parts = draw_counts(np.full((8, 50, 400), 2.0), rng(8))
    even, odd = even_odd(parts)
    assert np.array_equal(even + odd, parts.sum(axis=0))
    assert np.array_equal(even, parts[[0, 2, 4, 6]].sum(axis=0))
    assert abs(correlation(even, odd)) < 4 / np.sqrt(even.size)
    with pytest.raises(DataError, match="Cannot pair") as caught:
        even_odd(parts[:1])
    assert "pairs: thinning" in caught.value.fix


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.array([1.0, 2.5]), "not whole numbers"),
        (np.array([1.0, np.nan]), "1 of them are not numbers"),
        (np.array([3, -1, -2]), "2 of them are negative"),
        (np.array([1e12]), "the highest is 1e+12"),
        (np.array([1 + 2j]), "type is complex128"),
    ],
)
def test_what_are_no_counts_is_refused_with_its_name(values: np.ndarray, why: str) -> None:
    with pytest.raises(DataError, match="no photon counts") as caught:
        as_counts(values, "sub-001, projections")
    assert caught.value.where == "sub-001, projections"
    assert why in caught.value.why


def test_whole_floats_are_counts() -> None:
    assert as_counts(np.array([3.0, 0.0]), "x").dtype == np.int32


@pytest.mark.parametrize("mean", [[-1.0], [np.nan], [np.inf], [1e12]])
def test_impossible_expectations_are_refused(mean: list[float]) -> None:
    with pytest.raises(DataError, match="Cannot draw counts"):
        draw_counts(np.array(mean), rng())
