"""Edge sharpness relative to the reference."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import inside, on_grid

STRONGEST = 0.10  # share of the voxels judged that count as edges


@measure(requires=("reference",), better="one", unit="1", title="Edge sharpness")
def sharpness(example: Example, restored: Volume) -> float:
    """S = Σ ∇reference · ∇restored / Σ |∇reference|², over the 10 % of voxels with the steepest reference.

    The slope of the restored image's gradients on the reference's, across the reference's own edges: the
    usual ratio of gradient magnitudes, but projected, because magnitudes also grow with noise and would call
    a noisy image sharp. Central differences per mm; the mask is shrunk by a voxel so that none leaves it.
    1: as sharp as the reference; below 1: blurred; above 1: over-sharpened. No bounds, no unit.
    Raises DataError if the reference has no edges there, or the grids differ.
    """
    reference, ours = on_grid(example, restored, "reference")
    mask = inside(example, ours.shape)
    where = np.ones(ours.shape[:3], bool) if mask is None else _shrunk(mask)
    voxel = example["reference"].voxel
    axes = [axis for axis in range(3) if ours.shape[axis] > 1]
    if not axes or not where.any():
        raise _flat(example, "no voxel has its neighbours inside the mask")
    found = edge_slope(reference, ours, where, tuple(voxel[:3]))
    if found is None:
        raise _flat(example, "the reference is constant inside the mask")
    return found


def edge_slope(
    base: np.ndarray, ours: np.ndarray, judged: np.ndarray, voxel: tuple[float, ...]
) -> float | None:
    """Σ ∇base · ∇ours / Σ |∇base|², over the tenth of the `judged` voxels with the steepest base; None if it is even.

    base, ours : of one shape, judged : bool of it. Central differences over `voxel` (mm) along axes of two or more.
    """
    axes = [axis for axis in range(len(voxel)) if base.shape[axis] > 1]
    truth = [np.gradient(base, voxel[axis], axis=axis)[judged] for axis in axes]
    squared = sum(g**2 for g in truth)
    edges = squared >= max(np.quantile(squared, 1 - STRONGEST), np.finfo(float).tiny)
    if not edges.any():
        return None
    found = [np.gradient(ours, voxel[axis], axis=axis)[judged] for axis in axes]
    projected = sum(a * b for a, b in zip(truth, found, strict=True))
    return float(projected[edges].sum() / squared[edges].sum())


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """The mask without its outer voxels. Beyond the grid counts as inside: differences end there."""
    structure = ndimage.generate_binary_structure(3, 1)
    for axis in range(3):
        if mask.shape[axis] == 1:
            structure = structure & (np.arange(3) == 1).reshape([-1 if a == axis else 1 for a in range(3)])
    return ndimage.binary_erosion(mask, structure, border_value=1)


def _flat(example: Example, why: str) -> DataError:
    return DataError(
        "Cannot measure edge sharpness",
        where=example.scan.get("scan", "?"),
        why=why,
        fix="check the reference and the mask",
    )
