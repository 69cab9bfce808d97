"""Gaussian smoothing: the baseline of baselines, with its best width."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import ndimage

from senmei.core.volume import Volume
from senmei.methods.tuned import Tuned

_FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian of unit standard deviation
_TRUNCATE = 4.0  # standard deviations after which the kernel is cut


class Gaussian(Tuned):
    """Isotropic Gaussian smoothing in mm, whatever the voxel size.

    fwhm_mm : full width at half maximum, mm, above 0; None (default): tuned on validation, per noise level.
    Other settings: see `Tuned`. Raises ConfigError for a width of zero or less.
    """

    title: ClassVar[str] = "Gaussian"
    sentence: ClassVar[str] = (
        "Gaussian smoothing used the full width at half maximum that gave the highest PSNR on validation "
        "scans, interpolated at each image's estimated noise level."
    )
    number: ClassVar[str] = "fwhm_mm"
    bounds: ClassVar[tuple[float, float]] = (0.3, 8.0)

    def __init__(
        self,
        fwhm_mm: float | None = None,
        target: str = "reference",
        slab: int | None = 24,
        examples: int = 3,
        evaluations: int = 8,
    ) -> None:
        super().__init__(fixed=fwhm_mm, target=target, slab=slab, examples=examples, evaluations=evaluations)

    def restore(self, volume: Volume, sigma: float, value: float, threads: int) -> np.ndarray:
        """Smoothed array, (x, y, z) float32; `value` is the FWHM in mm. Edges repeat the outermost voxel."""
        widths = [value / _FWHM / size for size in volume.voxel]
        return ndimage.gaussian_filter(volume.data, widths, mode="nearest", truncate=_TRUNCATE)

    def reach(self, volume: Volume) -> int:
        """Half-width of the widest kernel that the search may try, in slices."""
        return int(np.ceil(_TRUNCATE * self.bounds[1] / _FWHM / volume.voxel[2]))
