"""Are these the counts of a camera? And where on an image are there any? Asked of the image alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMOOTH = 2.0  # pixels, standard deviation: of what is looked at for a mask
_SHARE = 0.05  # of the image's bright counts: what is less lies beside the body


def noise_ratio(counts: NDArray) -> float:
    """Variance of the finest detail over that of photon counts; 1 for counts, NaN where nothing was counted.

    counts : (x, y), three pixels a side or more, as the camera stored them. Σ h² / Σ v over all 3 x 3 pixels, with
    h = Σ w n, w the second difference along both axes ([1 -2 1] by [1 -2 1]), v = Σ w² n: of independent Poisson counts
    both sums have the same expectation, however few there are, and the camera's blur leaves next to no structure
    there while pixels are no larger than its FWHM. Well below 1: the image was smoothed, resampled, or packed with
    loss. Well above: values are scaled for display (of counts times k it is k), or pixels of many counts are too large.
    """
    n = np.asarray(counts, np.float64)
    detail = np.diff(np.diff(n, 2, axis=0), 2, axis=1)
    along = n[:-2] + 4.0 * n[1:-1] + n[2:]
    total = float((along[:, :-2] + 4.0 * along[:, 1:-1] + along[:, 2:]).sum())
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
