"""Does a small planted lesion survive?"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import inside, on_grid

GAP, SHELL = 1, 3  # voxels: partial volume left out, and how far the surroundings reach


@measure(requires=("lesion", "reference"), better="one", unit="1", title="Lesion survival")
def lesion_survival(example: Example, restored: Volume) -> float:
    """C(restored) / C(reference), with C = mean inside `lesion` − mean in the shell around it.

    The shell is 1 to 3 voxels off the lesion (the first voxel is partial volume) and inside the mask.
    1: as visible as in the reference; 0: erased; above 1: exaggerated; below 0: inverted. No bounds, no unit.
    Raises DataError if the lesion is empty or has no surroundings, or the reference does not show it
    (contrast below 0.1 % of its largest value), or the grids differ.
    """
    reference, ours = on_grid(example, restored, "reference")
    lesion = inside(example, ours.shape, "lesion")
    mask = inside(example, ours.shape)
    assert lesion is not None  # required above: asking for it has raised if it is absent
    cube = ndimage.generate_binary_structure(3, 3)
    near = ndimage.binary_dilation(lesion, cube, iterations=GAP)
    shell = ndimage.binary_dilation(lesion, cube, iterations=SHELL) & ~near
    if mask is not None:
        shell &= mask
    if not shell.any():
        raise _unseen(example, "nothing surrounds the lesion inside the mask", "plant it inside the mask")

    def contrast(a: np.ndarray) -> float:
        return float(a[lesion].mean() - a[shell].mean())

    truth = contrast(reference)
    if abs(truth) <= 1e-3 * np.abs(reference).max():
        raise _unseen(
            example, f"its contrast in the reference is {truth:.3g}", "plant a lesion brighter or darker"
        )
    return contrast(ours) / truth


def _unseen(example: Example, why: str, fix: str) -> DataError:
    where = f"{example.scan.get('scan', '?')}: lesion"
    return DataError("Cannot judge the planted lesion", where=where, why=why, fix=fix)
