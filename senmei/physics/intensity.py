"""The intensity of white matter: the ruler that noise levels and data ranges are measured with."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError


def _refuse(why: str) -> DataError:
    return DataError(
        "Cannot find the white-matter level of the image",
        where="image intensities",
        why=why,
        fix="give a T1-weighted head volume (or a mask that covers the brain)",
    )


def white_matter_level(data: np.ndarray, mask: np.ndarray | None = None) -> float:
    """White-matter intensity of a T1-weighted volume, without labels, in its own units.

    data : (x, y, z), clean or noisy, with or without skull. mask : where the brain is (optional, same shape).
    The volume is smoothed lightly; of the flat voxels (small gradient) in the central part of the foreground, where
    there is no scalp, a mixture of three Gaussians is fitted [EM, Dempster 1977] and the mode nearest to the brightest
    sizeable class is returned. Raises DataError if the image is empty, constant, not finite or not 3-dimensional.
    """
    data = np.asarray(data, np.float32)
    if data.ndim != 3:
        raise _refuse(f"it has {data.ndim} dimensions, not 3")
    if data.size == 0:
        raise _refuse("it has no voxels")
    if not np.isfinite(data).all():
        raise _refuse("it contains NaN or infinite values")
    if float(data.max()) == float(data.min()):
        raise _refuse(f"it is constant: every voxel is {float(data.max()):g}")
    inside = data if mask is None else data[np.asarray(mask) > 0]
    if inside.size == 0:
        raise _refuse("the mask is empty")
    if mask is not None and float(inside.max()) == float(inside.min()):
        raise _refuse(f"it is constant within the mask: {float(inside.max()):g}")

    smooth = ndimage.gaussian_filter(data, 1.0, truncate=3)
    support = _central_foreground(smooth) if mask is None else np.asarray(mask) > 0
    if int(support.sum()) < 64:
        raise _refuse("almost no voxel stands out from the background")
    gradient = np.sqrt(sum(g**2 for g in np.gradient(smooth)))
    flat = support & (gradient <= np.quantile(gradient[support], 0.5))
    values = smooth[flat].astype(np.float64)
    low, high = np.quantile(values, [0.005, 0.995])
    values = values[(values >= low) & (values <= high)]
    if values.size < 32 or high <= low:
        raise _refuse("its foreground has a single intensity")
    return _brightest_mode(values)


def _central_foreground(smooth: np.ndarray) -> np.ndarray:
    """Foreground within an ellipsoid at the centre of the head or brain: cerebral tissue without scalp or neck."""
    top = float(np.quantile(smooth, 0.98))
    foreground = smooth > 0.2 * top
    # the largest piece, so that specks of noise do not widen the box
    pieces, count = ndimage.label(foreground)
    if count == 0:
        return foreground
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        foreground = pieces == sizes.argmax()
    index = np.nonzero(foreground)
    boxes = [np.quantile(i, [0.01, 0.99]) for i in index]
    radius = 0.0
    for i, (a, b) in enumerate(boxes):
        centre, half = (a + b) / 2, max((b - a) / 2, 1.0)
        if i == 2:  # the neck widens the box downwards: look above the middle
            centre += 0.12 * half
        shape = [-1 if j == i else 1 for j in range(3)]
        radius = radius + ((np.arange(smooth.shape[i]) - centre) / (0.66 * half)).reshape(shape) ** 2
    return foreground & (radius < 1)


def _brightest_mode(values: np.ndarray) -> float:
    """Mode of the brightest sizeable class of a three-class Gaussian mixture of a histogram."""
    counts, edges = np.histogram(values, 256)
    x = (edges[1:] + edges[:-1]) / 2
    w = counts / counts.sum()
    means = np.quantile(values, [0.1, 0.4, 0.8])
    spread = np.full(3, values.std() / 2)
    share = np.full(3, 1 / 3)
    floor = (x[1] - x[0]) + 1e-12
    for _ in range(200):
        like = share * np.exp(-0.5 * ((x[:, None] - means) / spread) ** 2) / spread
        like /= np.maximum(like.sum(1, keepdims=True), 1e-300)
        weight = w[:, None] * like
        share = np.maximum(weight.sum(0), 1e-9)
        new = (weight * x[:, None]).sum(0) / share
        spread = np.maximum(np.sqrt((weight * (x[:, None] - new) ** 2).sum(0) / share), floor)
        if np.abs(new - means).max() < 1e-4 * floor:
            break
        means = new
    sizeable = np.flatnonzero(share > 0.15)
    best = sizeable[means[sizeable].argmax()]
    near = values[np.abs(values - means[best]) <= 1.0 * spread[best]]
    return float(np.median(near)) if near.size else float(means[best])
