"""Bicubic upsampling of a camera's image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from senmei.methods.planar import PlanarMethod, Sheet
from senmei.methods.upsampling import upsample


class Bicubic(PlanarMethod):
    """Bicubic interpolation between the centres of camera pixels (see `upsample`).

    What overshoots below zero becomes zero, and one factor for the image brings the total back to that of `low`.
    """

    title: ClassVar[str] = "Bicubic"
    sentence: ClassVar[str] = (
        "Bicubic interpolation (Keys, a = -1/2) between pixel centres kept the total counts."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Keys R. Cubic convolution interpolation for digital image processing. "
        "IEEE Trans Acoust Speech Signal Process 1981;29:1153-1160.",
    )

    def __init__(self) -> None:
        super().__init__()

    def restore(self, sheet: Sheet) -> np.ndarray:
        """(x, y) float32 counts per restored pixel."""
        return upsample(sheet.counts, sheet.factor, "bicubic")
