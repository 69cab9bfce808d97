"""Butterworth low-pass of a planar image, its cutoff tuned on validation, then bicubic upsampling."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from senmei.methods.butterworth_counts import butterworth
from senmei.methods.planar import Sheet
from senmei.methods.planar_tuned import PlanarTuned
from senmei.methods.tuned import granted_threads, whole
from senmei.methods.upsampling import upsample


class ButterworthPlanar(PlanarTuned):
    """Two-dimensional Butterworth low-pass of the camera's pixels (see `butterworth`), then bicubic.

    cutoff_per_cm : cycles/cm, above 0; None (default): tuned on validation (0.04 to 1.5 per camera pixel).
    order : whole number above 0, of |H| = 1 / sqrt(1 + (f / cutoff)^(2 order)).
    Other settings: see `PlanarTuned`.
    """

    title: ClassVar[str] = "Butterworth, bicubic"
    sentence: ClassVar[str] = (
        "A Butterworth filter of order {settings[order]}, at the cutoff that was best on validation scans, was "
        "followed by bicubic interpolation."
    )
    number: ClassVar[str] = "cutoff_per_cm"

    def __init__(
        self,
        cutoff_per_cm: float | None = None,
        order: int = 5,
        criterion: str = "psnr",
        examples: int = 6,
        evaluations: int = 12,
        keep_counts: str = "total",
        target: str = "reference",
    ) -> None:
        super().__init__(
            fixed=cutoff_per_cm, criterion=criterion, examples=examples, evaluations=evaluations,
            keep_counts=keep_counts, target=target,
        )  # fmt: skip
        whole("order", order)
        self.order = int(order)

    def bounds(self, sheet: Sheet) -> tuple[float, float]:
        """Cycles/cm."""
        return 0.04 / (sheet.pixel_mm / 10), 1.5 / (sheet.pixel_mm / 10)

    def restore_at(self, sheet: Sheet, value: float) -> np.ndarray:
        """At a cutoff in cycles/cm."""
        smooth = butterworth(sheet.counts, [sheet.pixel_mm] * 2, value, self.order, granted_threads())
        return upsample(smooth, sheet.factor, "bicubic")
