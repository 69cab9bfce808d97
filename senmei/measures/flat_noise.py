"""How noisy is a planar image where it should be even? Without a reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.reblur import fine_and_counted

EDGE = 6  # camera pixels of a square
_SMOOTH = 2.0  # camera pixels, standard deviation of what squares are chosen by
_SHARE = 0.25  # of the squares, the flattest ones, that are judged
_BRIGHT = 0.2  # of the image's bright counts: what is less is background, not an even part of anything
_FEWEST = 4  # squares


@measure(requires=("low", "camera"), better="lower", unit="%", title="Noise of flat parts")
def flat_noise(example: Example, restored: Volume) -> float:
    """Median over flat squares of 100 × standard deviation / mean of the restored image in the square, %.

    Squares of 6 × 6 camera pixels with counts (above 20 % of the bright ones); of these the quarter in which `low`,
    smoothed to a standard deviation of 2 camera pixels, varies least relative to its mean: the same squares for all
    methods. A plane is fitted and taken off first. Lower is less noise, or more blur, or detail wiped out: read it
    beside `edge_gain` and `reblur_deviance`. Real texture and edges that a square still holds count as noise, so that
    0 is no aim. Range 0 up; undefined (NaN) where fewer than 4 squares can be judged. Needs no reference.
    Raises DataError if the image has no counts, the grids differ or a pixel is not finite.
    Source: the coefficient of variation of a uniform region (NEMA NU 1-2018, uniformity); how it is found is ours.
    """
    ours, counts, camera = fine_and_counted(example, restored)
    chosen = _flat(counts)
    if chosen.sum() < _FEWEST:
        return float("nan")
    squares = _squares(ours, int(camera["factor"]))[chosen]
    mean = squares.mean(axis=(1, 2))
    ramp = np.arange(squares.shape[1]) - (squares.shape[1] - 1) / 2.0
    power = float((ramp**2).mean())
    slopes = [(squares * r).mean(axis=(1, 2)) for r in (ramp[:, None], ramp[None, :])]
    variance = squares.var(axis=(1, 2)) - sum(s**2 for s in slopes) / power
    lit = mean > 0
    ratio = np.sqrt(np.maximum(variance[lit], 0.0)) / mean[lit]
    return float(100.0 * np.median(ratio)) if lit.any() else 0.0


def _flat(counts: NDArray) -> NDArray[np.bool_]:
    """(u, v) bool: the squares that are judged, of all whole ones."""
    smooth = ndimage.gaussian_filter(counts, _SMOOTH, mode="nearest")
    squares = _squares(smooth, 1)
    if not squares.size:
        return np.zeros(squares.shape[:2], bool)
    lit = squares.min(axis=(2, 3)) > _BRIGHT * np.percentile(smooth, 99.0)
    spread = np.ptp(squares, axis=(2, 3)) / np.maximum(squares.mean(axis=(2, 3)), 1e-12)
    if not lit.any():
        return lit
    chosen: NDArray[np.bool_] = lit & (spread <= np.quantile(spread[lit], _SHARE))
    return chosen


def _squares(picture: NDArray, factor: int) -> NDArray:
    """(u, v, n, n) whole squares in the middle of an image; its pixels are `factor` times finer than the camera's."""
    n = EDGE * factor
    u, v = (side // n for side in picture.shape)
    left, low = (
        (side // factor - k * EDGE) // 2 * factor for side, k in zip(picture.shape, (u, v), strict=True)
    )
    return picture[left : left + u * n, low : low + v * n].reshape(u, n, v, n).transpose(0, 2, 1, 3)
