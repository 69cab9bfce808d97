"""Are these the counts of a camera? And where on an image are there any? Asked of the image alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMOOTH = 2.0  # pixels, standard deviation: of what is looked at for a mask
_SHARE = 0.05  # of the image's bright counts: what is less lies beside the body


def noise_ratio(counts: NDArray) -> float:
    """Variance of the finest detail over that of photon counts; 1 for counts, NaN where nothing was counted.

    counts : (x, y). Σ h² / Σ m over blocks of 2 x 2 pixels a b / c d, with h = (a - b - c + d) / 2, the finest
    diagonal detail of Haar's transform, and m their mean. The camera's blur leaves no structure there, so that of
    independent Poisson counts both sums have the same expectation, however few counts there are. Well below 1: the
    image was smoothed, resampled, or packed with loss; another factor than 1: its values are shown, not counted (of
    counts times k the ratio is k). Chance moves it by some sqrt(2 / blocks).
    """
    x, y = (n - n % 2 for n in counts.shape)
    a = np.asarray(counts[:x, :y], np.float64)
    detail = (a[::2, ::2] - a[1::2, ::2] - a[::2, 1::2] + a[1::2, 1::2]) / 2.0
    total = float(a.sum()) / 4.0
    return float((detail**2).sum()) / total if total > 0 else float("nan")


def counted_area(counts: NDArray) -> NDArray[np.bool_]:
    """(x, y) bool: where the counts, smoothed to a standard deviation of 2 pixels, are above 5 % of the bright ones.

    counts : (x, y), 0 or more. Bright: the 99th percentile of the smoothed image. All of an image without counts.
    """
    smooth = ndimage.gaussian_filter(np.asarray(counts, np.float32), _SMOOTH, mode="nearest")
    bright = float(np.percentile(smooth, 99.0)) or float(smooth.max())
    return smooth > _SHARE * bright if bright > 0 else np.ones(counts.shape, bool)


def binned(counts: NDArray, factor: int) -> NDArray:
    """(x / factor, y / factor) sums of factor x factor pixels, in the type of `counts`; sides must be multiples."""
    if factor == 1:
        return counts
    x, y = counts.shape
    sums: NDArray = counts.reshape(x // factor, factor, y // factor, factor).sum(
        axis=(1, 3), dtype=counts.dtype
    )
    return sums
