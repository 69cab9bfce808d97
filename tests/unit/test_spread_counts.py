"""Counts on finer pixels: where they were, and as many."""

from __future__ import annotations

import numpy as np
import pytest

from senmei.physics.planar.sheet import spread_counts


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_counts_stay_where_they_were(factor: int) -> None:
    counts = np.random.default_rng(0).poisson(9.0, (5, 7))
    fine = spread_counts(counts, factor)
    assert (fine.dtype, fine.shape) == (np.float32, (5 * factor, 7 * factor))
    blocks = fine.reshape(5, factor, 7, factor)
    np.testing.assert_allclose(blocks.sum(axis=(1, 3)), counts, rtol=1e-6)
    assert (np.ptp(blocks, axis=(1, 3)) == 0).all()
