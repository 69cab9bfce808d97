"""Peak signal-to-noise ratio."""

import math

from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import data_range, squared_error


@measure(requires=("reference",), better="higher", unit="dB", title="Peak signal-to-noise ratio")
def psnr(example: Example, restored: Volume) -> float:
    """PSNR = 10 log10(L² / MSE), dB, with MSE over the mask and L = `scan["data_range"]`.

    Higher is better; unbounded; a perfect copy gives infinity. L is fixed for the scan (the reference's
    white-matter intensity), so white noise of p % of white matter has 40 − 20 log10(p) dB.
    Raises DataError if there is no data range, the grids differ or a voxel is not finite.
    Source: as in the BrainWeb denoising literature, e.g. Coupé et al., IEEE TMI 27:425 (2008).
    """
    span = data_range(example)
    error = squared_error(example, restored)[0]
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)
