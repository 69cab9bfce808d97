"""Bilinear upsampling of a camera's image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from senmei.methods.planar import PlanarMethod, Sheet
from senmei.methods.upsampling import upsample


class Bilinear(PlanarMethod):
    """Bilinear interpolation between the centres of camera pixels (see `upsample`). Exact total, never negative."""

    title: ClassVar[str] = "Bilinear"
    sentence: ClassVar[str] = "Bilinear interpolation between pixel centres kept the counts."

    def __init__(self) -> None:
        super().__init__()

    def restore(self, sheet: Sheet) -> np.ndarray:
        """(x, y) float32 counts per restored pixel."""
        return upsample(sheet.counts, sheet.factor, "bilinear")
