"""Gaussian smoothing of a planar image, its width tuned on validation, then bicubic upsampling."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import ndimage

from senmei.methods.planar import Sheet
from senmei.methods.planar_tuned import PlanarTuned
from senmei.methods.upsampling import upsample
from senmei.physics.planar.blur import FWHM_PER_SIGMA


class GaussianPlanar(PlanarTuned):
    """Gaussian smoothing of the camera's pixels, mirrored at the border so that counts stay, then bicubic.

    fwhm_mm : full width at half maximum, mm, above 0; None (default): tuned on validation (0.2 to 8 camera pixels).
    Other settings: see `PlanarTuned`.
    """

    title: ClassVar[str] = "Gaussian, bicubic"
    sentence: ClassVar[str] = (
        "Gaussian smoothing, at the full width at half maximum that was best on validation scans, was followed by "
        "bicubic interpolation."
    )
    number: ClassVar[str] = "fwhm_mm"

    def __init__(
        self,
        fwhm_mm: float | None = None,
        criterion: str = "psnr",
        examples: int = 6,
        evaluations: int = 12,
        keep_counts: str = "total",
        target: str = "reference",
    ) -> None:
        super().__init__(
            fixed=fwhm_mm, criterion=criterion, examples=examples, evaluations=evaluations,
            keep_counts=keep_counts, target=target,
        )  # fmt: skip

    def bounds(self, sheet: Sheet) -> tuple[float, float]:
        """mm."""
        return 0.2 * sheet.pixel_mm, 8 * sheet.pixel_mm

    def restore_at(self, sheet: Sheet, value: float) -> np.ndarray:
        """At a FWHM in mm."""
        sigma = value / FWHM_PER_SIGMA / sheet.pixel_mm
        smooth = ndimage.gaussian_filter(sheet.counts, sigma, mode="reflect", truncate=4.0)
        return upsample(smooth, sheet.factor, "bicubic")
