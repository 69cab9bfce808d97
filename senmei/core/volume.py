"""An array with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Volume:
    """Voxel values and where they are in the world.

    data : (x, y, z) or (x, y, z, t); float32 for intensities, integer for labels.
    affine : (4, 4) float64, voxel index -> mm, RAS+.
    header : what else of the file's geometry must survive a round trip
        (`qform`, `sform`: (4, 4) or None; `qform_code`, `sform_code`: int; `units`: (space, time); `zooms`).
        Empty for volumes born here.
    """

    data: np.ndarray
    affine: np.ndarray
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.data.shape

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Voxel edge lengths, mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def like(self, data: np.ndarray) -> Volume:
        """The same geometry around other values of the same spatial shape."""
        if data.shape[:3] != self.data.shape[:3]:
            raise ValueError(f"shape {data.shape} does not lie on the grid {self.data.shape}")
        return replace(self, data=data)
