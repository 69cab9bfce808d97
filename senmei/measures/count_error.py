"""Are counts where they should be? Region by region, against the reference."""

from __future__ import annotations

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import inside, on_grid

REGIONS = 8  # of the judged area, a side
FAINT = 0.1  # of the mean region's counts: regions with less are left out


@measure(requires=("reference",), better="lower", unit="%", title="Count error of regions")
def roi_count_error(example: Example, restored: Volume) -> float:
    """Mean over regions of 100 |Σ restored / Σ reference − 1|, %.

    Regions: 8 x 8 equal rectangles of the box around `mask` (the whole image where there is none), in the plane of the
    first two axes and through all others, of pixels inside the mask; those with less than a tenth of the mean region's
    reference counts are left out. Lower is better; 0 is a perfect copy. The input's own value is the noise and the
    spill-over between regions that were there. Raises DataError if the reference holds no counts, the judged area is
    of fewer than 8 pixels a side, the mask is empty, the grids differ or a pixel is not finite.
    """
    reference, ours = on_grid(example, restored, "reference")
    mask = inside(example, ours.shape)
    box = [(0, n) for n in reference.shape[:2]]
    if mask is not None:
        shown = mask.reshape(*mask.shape, *(1,) * (reference.ndim - 3))
        reference, ours = reference * shown, ours * shown
        where = [np.flatnonzero(mask.any(axis=(1 - axis, 2))) for axis in (0, 1)]
        box = [(int(w[0]), int(w[-1]) + 1) for w in where]
    sides = [stop - start for start, stop in box]
    if min(sides) < REGIONS:
        why = f"it has {sides[0]} x {sides[1]} pixels, and {REGIONS} regions a side"
        raise _impossible(example, "The judged area is too small for regions", why, "leave this measure out")
    if float(reference.sum()) <= 0:
        why = f"the reference's counts sum to {float(reference.sum()):.3g}"
        raise _impossible(
            example, "Cannot compare counts", why, "check how the reference was paired with its image"
        )
    edges = [np.linspace(start, stop, REGIONS + 1).round().astype(int) for start, stop in box]
    true, found = (_sums(image, edges) for image in (reference, ours))
    bright = true > FAINT * true.mean()
    return float(100.0 * np.abs(found[bright] / true[bright] - 1.0).mean())


def _sums(image: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """(8, 8) sums between edges of the first two axes, over all others."""
    for axis, at in enumerate(edges):
        image = np.add.reduceat(np.take(image, range(at[0], at[-1]), axis), at[:-1] - at[0], axis)
    sums: np.ndarray = image.reshape(*image.shape[:2], -1).sum(axis=2)
    return sums


def _impossible(example: Example, what: str, why: str, fix: str) -> DataError:
    return DataError(what, where=f"{example.scan.get('scan', '?')}: reference", why=why, fix=fix)
