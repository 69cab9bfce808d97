"""Normalised root mean squared error in the myocardium."""

import math

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import inside, on_grid


@measure(requires=("reference",), better="lower", unit="1", title="Normalised root mean squared error")
def nrmse(example: Example, restored: Volume) -> float:
    """NRMSE = ‖restored − reference‖ / ‖reference‖, both norms over `myocardium`, or else `mask`, or else all.

    `myocardium` is the wall of the left ventricle dilated by a voxel: the body is large and even, and its error
    would hide that of the wall. Lower is better; 0 is a perfect copy, 1 is an empty image; no unit.
    Raises DataError if the region is empty, the reference is zero there, the grids differ or a voxel is not finite.
    Source: the normalised error of Noise2Noise studies of myocardial perfusion, e.g. Liu et al., Med. Phys. 48:156
    (2021); the region is ours.
    """
    reference, ours = on_grid(example, restored, "reference")
    region = inside(example, ours.shape, "myocardium")
    if region is None:
        region = inside(example, ours.shape)
    if region is not None:
        reference, ours = reference[region], ours[region]
    power = float(np.sum(reference**2))
    if power == 0:
        raise DataError(
            "Cannot normalise the error",
            where=example.scan.get("scan", "?"),
            why="the reference is zero everywhere it is judged",
            fix="check the reference and the myocardium",
        )
    return math.sqrt(float(np.sum((ours - reference) ** 2)) / power)
