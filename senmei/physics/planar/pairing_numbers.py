"""How well a teacher on the count scale explains the image it was paired with."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from senmei.physics.planar.goodness import deviance, noise_deviance

_LEAST = 1e-3  # expected counts of a pixel: one count is as surprising where even less is expected


@dataclass(frozen=True)
class PairingNumbers:
    """Of one pairing.

    offset : mean of reference minus measured in the printed area, counts per reference pixel; offset_percent of the
    measured mean. What spread out of the print is missing from the measured mean, so that 0, which mean/SD matching
    gives by construction, is too low for a print that ends within the image. counts_ratio : expected over measured
    counts of the whole image; 1 keeps counts. deviance : Poisson deviance of the counts given B r + background, over
    what counting noise alone gives on average: 1 where the pair agrees to within counting noise, at any dose.
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
    offset = float((reference - spread)[mask].mean())
    mean = np.maximum(expected, _LEAST)
    noise = float(noise_deviance(mean).sum()) * max(1.0 - parameters / counts.size, 1.0 / counts.size)
    noiseless = max(float(counts.var() - counts.mean()), 0.0) ** 0.5
    contrast = float(expected.std())
    return PairingNumbers(
        offset=offset,
        offset_percent=100.0 * offset / max(float(spread[mask].mean()), 1e-12),
        counts_ratio=float(expected.sum() / counts.sum()),
        deviance=float(deviance(counts, mean).sum()) / noise,
        dilution=noiseless / contrast if contrast > 0 else float("nan"),
    )
