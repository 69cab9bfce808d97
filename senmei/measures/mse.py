"""Mean squared error."""

from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import squared_error


@measure(requires=("reference",), better="lower", unit="units²", title="Mean squared error")
def mse(example: Example, restored: Volume) -> float:
    """MSE = mean over the mask of (restored − reference)².

    Lower is better; 0 is a perfect copy; no upper bound. Unit: the image's intensity unit, squared.
    Inside `mask` when the example has one. Raises DataError if the grids differ or a voxel is not finite.
    """
    return squared_error(example, restored)[0]
