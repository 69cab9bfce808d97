"""Nearest-neighbour upsampling of a camera's image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from senmei.methods.planar import PlanarMethod, Sheet
from senmei.methods.upsampling import upsample


class Nearest(PlanarMethod):
    """Each camera pixel's counts, shared evenly by the restored pixels within it: nothing is restored. Exact total."""

    title: ClassVar[str] = "Nearest neighbour"
    sentence: ClassVar[str] = (
        "Nearest-neighbour upsampling was the unrestored image on the grid of the reference."
    )

    def __init__(self) -> None:
        super().__init__()

    def restore(self, sheet: Sheet) -> np.ndarray:
        """(x, y) float32 counts per restored pixel."""
        return upsample(sheet.counts, sheet.factor, "nearest")
