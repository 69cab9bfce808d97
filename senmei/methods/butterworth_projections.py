"""The Butterworth filter before reconstruction, its cutoff tuned without a clean image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.methods.butterworth_counts import butterworth
from senmei.methods.counts_tuned import BRIGHT, FWHM, SMOOTH_MM, CountsTuned, count_level, whole
from senmei.methods.tuned import granted_threads, one_volume

if TYPE_CHECKING:
    from senmei.physics.spect.imaging import Projectors


class ButterworthProjections(CountsTuned):
    """2D Butterworth low-pass of every projection, then the study's own reconstruction.

    cutoff_per_cm : cycles/cm, above 0; None (default): tuned on validation, per dose, on projections against
        independent ones, in the bins above 40 % of the bright level (a single view does not show where the heart is).
    order : whole number above 0, of |H| = 1 / sqrt(1 + (f / cutoff)^(2 order)).
    Other settings: see `CountsTuned`. Raises ConfigError for values that mean nothing.

    The risk is that of the projections, not of the image: noise there is white and the search needs no
    reconstruction, but the cutoff that is best for counts need not be the best for the image made of them.
    Filtered counts below zero become zero, as OSEM needs, and every view is scaled back to its own total.
    """

    title: ClassVar[str] = "Butterworth on projections"
    sentence: ClassVar[str] = (
        "A two-dimensional Butterworth filter of order {settings[order]} was applied to the projections before "
        "reconstruction, at the cutoff at which filtered validation projections came nearest to independent ones, "
        "interpolated at each scan's counts."
    )
    tunes_on: ClassVar[tuple[str, ...]] = ("noisy_projections", "repeat_projections")
    inputs: ClassVar[tuple[str, ...]] = (
        "projections",
        "attenuation",
        "acquisition",
        "reconstruction",
        "input",
    )
    number: ClassVar[str] = "cutoff_per_cm"
    bounds: ClassVar[tuple[float, float]] = (0.1, 1.5)
    exponent: ClassVar[float] = -1 / 3  # as 2 / 7, in two dimensions

    def __init__(
        self,
        cutoff_per_cm: float | None = None,
        order: int = 5,
        examples: int = 3,
        evaluations: int = 10,
    ) -> None:
        super().__init__(fixed=cutoff_per_cm, examples=examples, evaluations=evaluations)
        whole("order", order)
        self.order = int(order)
        self._projectors: Projectors | None = None  # of one geometry, kept from scan to scan

    def restore(
        self,
        data: np.ndarray,
        voxel: tuple[float, float, float],
        value: float,
        region: np.ndarray | None = None,
        threads: int = 1,
    ) -> np.ndarray:
        """Filtered counts, (u, v, view) float32; `value` is the cutoff in cycles/cm, `voxel` the bin in mm."""
        return butterworth(data, voxel[:2], value, self.order, threads)

    def find_region(self, volume: Volume, where: object) -> np.ndarray:
        """(u, v, view) bool: bins above 40 % of the 99.5th percentile, smoothed to 12 mm FWHM in each view."""
        widths = [SMOOTH_MM / FWHM / size for size in volume.voxel[:2]]
        smooth = ndimage.gaussian_filter(volume.data, [*widths, 0], mode="nearest")
        return smooth > BRIGHT * np.percentile(smooth, 99.5)

    def apply(self, example: Example) -> Volume:
        """The reconstruction of the filtered projections: float32, the grid and the unit of `input`.

        Raises DataError for projections without counts.
        """
        from senmei.physics.spect.geometry import Acquisition
        from senmei.physics.spect.imaging import Imaging, Projectors

        name = str(example.scan.get("scan", "?"))
        grid, counts = example["input"], one_volume(example["projections"], name)
        totals = counts.data.sum(axis=(0, 1), dtype=np.float64)
        if not totals.sum() > 0:
            raise DataError(
                "Cannot reconstruct the filtered projections",
                where=f"{name}: projections",
                why="they hold no counts",
                fix="check the acquisition, or leave the scan out",
            )
        value = self.value_at(1.0 if self.fixed is not None else count_level(example, "counts"))
        filtered = np.clip(self.restore(counts.data, counts.voxel, value, threads=granted_threads()), 0, None)
        sums = filtered.sum(axis=(0, 1), dtype=np.float64)
        filtered *= np.divide(totals, sums, out=np.zeros_like(totals), where=sums > 0).astype(np.float32)
        if self._projectors is None:
            self._projectors = Projectors(self.device)
        recipe, mu = dict(example["reconstruction"]), example["attenuation"].data
        unit = float(recipe.pop("unit"))
        acquisition = Acquisition.from_dict(example["acquisition"])
        imaging = Imaging(acquisition, mu, recipe, self._projectors)
        return grid.like(imaging.reconstruct(filtered, unit))
