"""Normalised mean squared error."""

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import squared_error


@measure(requires=("reference",), better="lower", unit="1", title="Normalised mean squared error")
def nmse(example: Example, restored: Volume) -> float:
    """NMSE = Σ (restored − reference)² / Σ reference², both sums over the mask and the whole volume at once.

    Lower is better; 0 is a perfect copy, 1 is an empty image; no upper bound; no unit.
    Raises DataError if the reference is zero throughout the mask, the grids differ or a voxel is not finite.
    Source: Zbontar et al., fastMRI, arXiv:1811.08839 (eq. 8).
    """
    error, power = squared_error(example, restored)
    if power == 0:
        raise DataError(
            "Cannot normalise the error",
            where=example.scan.get("scan", "?"),
            why="the reference is zero everywhere it is judged",
            fix="check the reference and the mask",
        )
    return error / power
