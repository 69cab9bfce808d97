"""Structural similarity in three dimensions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import data_range, inside, on_grid

SIGMA = 1.5  # voxels, of the Gaussian window
RADIUS = 5  # voxels: the window is cut at 3.5 sigma, 11 voxels wide
K1, K2 = 0.01, 0.03


@measure(requires=("reference",), better="higher", unit="1", title="Structural similarity")
def ssim(example: Example, restored: Volume) -> float:
    """SSIM = mean over the mask of (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x² + m_y² + c1)(s_x² + s_y² + c2)).

    Moments in an 11³ Gaussian window (sigma 1.5 voxels); c1 = (0.01 L)², c2 = (0.03 L)²,
    L = `scan["data_range"]`. The map is computed on the whole grid and averaged inside the mask, so windows
    at its rim see what lies outside. Without a mask, voxels whose window leaves the grid are left out.
    Frames of a 4D image count alike.
    Higher is better; range −1 to 1; 1 is a perfect copy; no unit.
    Raises DataError if there is no data range, the grids differ or a voxel is not finite.
    Source: Wang et al., IEEE TIP 13:600 (2004).
    """
    span = data_range(example)
    reference, ours = on_grid(example, restored, "reference")
    mask = inside(example, ours.shape)
    if mask is None:
        # An axis shorter than the window (a slice) cannot lose its rim.
        rim = [slice(RADIUS, -RADIUS) if n > 2 * RADIUS else slice(None) for n in ours.shape[:3]]
        mask = np.zeros(ours.shape[:3], dtype=bool)
        mask[tuple(rim)] = True
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    # The map inside the mask depends on nothing farther away than the window: the rest need not be computed.
    near = tuple(slice(max(s.start - RADIUS, 0), s.stop + RADIUS) for s in box)
    return float(np.mean(_map(reference[near], ours[near], span)[mask[near]]))


def _map(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    sigma = (SIGMA,) * 3 + (0,) * (x.ndim - 3)  # time is not space

    def window(a: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(a, sigma, mode="reflect", radius=[RADIUS if s else 0 for s in sigma])

    mx, my = window(x), window(y)
    sxy = window(x * y) - mx * my
    sxx_syy = window(x * x) - mx * mx + window(y * y) - my * my
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    return (2 * mx * my + c1) * (2 * sxy + c2) / ((mx * mx + my * my + c1) * (sxx_syy + c2))
