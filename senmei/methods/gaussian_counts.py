"""Gaussian smoothing of emission images, its width tuned without a clean image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import ndimage

from senmei.methods.counts_tuned import FWHM, CountsTuned


class GaussianCounts(CountsTuned):
    """Isotropic Gaussian smoothing in mm, whatever the voxel size.

    fwhm_mm : full width at half maximum, mm, above 0; None (default): tuned on validation, per dose.
    Other settings: see `CountsTuned`. Raises ConfigError for a width of zero or less.
    """

    title: ClassVar[str] = "Gaussian"
    sentence: ClassVar[str] = (
        "Gaussian smoothing used the full width at half maximum at which smoothed validation scans came nearest "
        "to independent noisy realisations of the same scans around the heart, interpolated at each scan's counts."
    )
    number: ClassVar[str] = "fwhm_mm"
    bounds: ClassVar[tuple[float, float]] = (2.0, 40.0)
    exponent: ClassVar[float] = 2 / 7

    def __init__(self, fwhm_mm: float | None = None, examples: int = 3, evaluations: int = 10) -> None:
        super().__init__(fixed=fwhm_mm, examples=examples, evaluations=evaluations)

    def restore(
        self,
        data: np.ndarray,
        voxel: tuple[float, float, float],
        value: float,
        region: np.ndarray | None = None,
        threads: int = 1,
    ) -> np.ndarray:
        """Smoothed array, (x, y, z) float32; `value` is the FWHM in mm.

        The image is mirrored at its faces (each outermost voxel repeated once), which conserves its counts.
        """
        return ndimage.gaussian_filter(
            data, [value / FWHM / size for size in voxel], mode="reflect", truncate=4.0
        )
