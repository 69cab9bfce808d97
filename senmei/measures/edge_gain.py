"""How much steeper did edges become? Without a reference."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import inside
from senmei.measures.reblur import fine_and_counted
from senmei.measures.sharpness import edge_slope

_FWHM_PER_SIGMA = 2.354820045


@measure(requires=("low", "camera"), better="higher", unit="1", title="Steepness of edges")
def edge_gain(example: Example, restored: Volume) -> float:
    """S = Σ ∇b · ∇restored / Σ |∇b|², over the 10 % of pixels with the steepest b; b is what was counted, blurred.

    b : `low` spread over the restored pixels and smoothed by a Gaussian of the camera's own FWHM (a camera pixel at
    least), which is where edges are, with little noise; the projection, as in `sharpness`, keeps the noise of the
    restored image out of its steepness. 1: as steep as b, more blurred than what was counted; the input's own value
    stands in each table. Higher is steeper, which is better only as long as the camera agrees (`reblur_deviance`): a
    method that exaggerates or invents edges scores high. No bounds, no unit; inside `mask` where there is one.
    Raises DataError if the image is even there, the grids differ or a pixel is not finite.
    Source: the projected gradient of `sharpness`, against the measured image in place of a reference; ours.
    """
    ours, counts, camera = fine_and_counted(example, restored)
    factor = int(camera["factor"])
    pixel = float(camera["pixel_mm"]) / factor
    width = max(float(camera["fwhm_mm"]) / _FWHM_PER_SIGMA / pixel, factor)
    base = ndimage.gaussian_filter(np.kron(counts, np.ones((factor, factor))), width, mode="nearest")
    mask = inside(example, (*ours.shape, 1))
    judged = np.ones(ours.shape, bool) if mask is None else mask[..., 0]
    found = edge_slope(base, ours * factor**2, judged, (pixel, pixel))
    if found is None:
        raise DataError(
            "Cannot measure how steep edges are",
            where=str(example.scan.get("scan", "?")),
            why="the counts are even where they are judged",
            fix="leave this measure out for even images",
        )
    return found
