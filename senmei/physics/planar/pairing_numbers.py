"""How well a teacher on the count scale explains the image it was paired with."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

_SEEN = 5.0  # counts in a pixel: in emptier ones a deviance says little, and there may be many


@dataclass(frozen=True)
class PairingNumbers:
    """Of one pairing.

    offset : mean of reference minus measured in the printed area, counts per reference pixel; offset_percent of the
    measured mean. What spread out of the print is missing from the measured mean, so that 0, which mean/SD matching
    gives by construction, is too low for a print that ends within the image. counts_ratio : expected over measured
    counts of the whole image; 1 keeps counts. deviance : Poisson deviance of the counts given B r + background, per
    degree of freedom, over pixels of five counts or more: about 1 where the pair agrees to within counting noise.
    dilution : standard deviation of the measured image, noise taken off, over that expected of the reference through
    the camera; above 1 the reference's contrast is too low, below 1 too high.
    """

    offset: float
    offset_percent: float
    counts_ratio: float
    deviance: float
    dilution: float

    def to_dict(self) -> dict[str, float]:
        """As JSON would have it."""
        return asdict(self)


def judge_pairing(
    reference: NDArray,
    spread: NDArray,
    mask: NDArray,
    counts: NDArray,
    expected: NDArray,
    parameters: int,
) -> PairingNumbers:
    """The numbers of a reference (x, y), background included.

    spread, mask : (x, y), measured counts per reference pixel and the printed area. counts, expected : (u, v), measured
    and expected of the reference on the camera's grid. parameters : of the curve that was fitted.
    """
    expected = np.maximum(expected, 1e-12)
    offset = float((reference - spread)[mask].mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(counts > 0, counts * np.log(counts / expected), 0.0) - (counts - expected)
    seen = np.maximum(counts, expected) >= _SEEN
    if seen.sum() <= 2 * parameters:
        seen = np.ones_like(seen)
    noiseless = max(float(counts.var() - counts.mean()), 0.0) ** 0.5
    contrast = float(expected.std())
    return PairingNumbers(
        offset=offset,
        offset_percent=100.0 * offset / max(float(spread[mask].mean()), 1e-12),
        counts_ratio=float(expected.sum() / counts.sum()),
        deviance=float(2.0 * terms[seen].sum() / max(int(seen.sum()) - parameters, 1)),
        dilution=noiseless / contrast if contrast > 0 else float("nan"),
    )
