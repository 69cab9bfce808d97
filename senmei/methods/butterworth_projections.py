"""The Butterworth filter before reconstruction, its cutoff tuned without a clean image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.methods.butterworth_counts import butterworth
from senmei.methods.counts_tuned import (
    Case,
    CountsTuned,
    bright_level,
    count_level,
    heart_region,
    realisations,
)
from senmei.methods.tuned import granted_threads, one_volume, whole

if TYPE_CHECKING:
    from senmei.physics.spect.imaging import Imaging, Projectors


class ButterworthProjections(CountsTuned):
    """2D Butterworth low-pass of every projection, then the study's own reconstruction.

    cutoff_per_cm : cycles/cm, above 0; None (default): tuned on validation, per dose.
    order : whole number above 0, of |H| = 1 / sqrt(1 + (f / cutoff)^(2 order)).
    Other settings: see `CountsTuned`. Raises ConfigError for values that mean nothing.

    The cutoff is tuned on what is made of the projections: reconstructions of filtered noisy ones against those of
    independent noisy ones, around the heart. The error of the projections themselves would not do: they are
    mostly body and liver, and the cutoff that suits these (0.17 cycles/cm at 750,000 counts) leaves a heart worse than
    no filter does. Each evaluation costs a reconstruction, hence the few of them.
    Filtered counts below zero become zero, as OSEM needs, and every view is scaled back to its own total.
    """

    title: ClassVar[str] = "Butterworth on projections"
    sentence: ClassVar[str] = (
        "A two-dimensional Butterworth filter of order {settings[order]} was applied to the projections before "
        "reconstruction, at the cutoff at which reconstructions of validation scans came nearest to those of "
        "independent noisy realisations around the heart, interpolated at each scan's counts."
    )
    tunes_on: ClassVar[tuple[str, ...]] = (
        "noisy_projections",
        "repeat_projections",
        "attenuation",
        "acquisition",
        "reconstruction",
    )
    inputs: ClassVar[tuple[str, ...]] = (
        "projections",
        "attenuation",
        "acquisition",
        "reconstruction",
        "input",
    )
    number: ClassVar[str] = "cutoff_per_cm"
    bounds: ClassVar[tuple[float, float]] = (0.1, 1.5)
    exponent: ClassVar[float] = -2 / 7

    def __init__(
        self,
        cutoff_per_cm: float | None = None,
        order: int = 5,
        examples: int = 2,
        evaluations: int = 6,
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
        """Filtered counts, (u, v, view) float32, none below 0; `value` is the cutoff in cycles/cm, `voxel` the bin."""
        filtered = np.clip(butterworth(data, voxel[:2], value, self.order, threads), 0, None)
        before, after = (counts.sum(axis=(0, 1), dtype=np.float64) for counts in (data, filtered))
        return filtered * np.divide(before, after, out=np.zeros_like(before), where=after > 0).astype(
            np.float32
        )

    def apply(self, example: Example) -> Volume:
        """The reconstruction of the filtered projections: float32, the grid and the unit of `input`.

        Raises DataError for projections without counts.
        """
        name = str(example.scan.get("scan", "?"))
        grid, counts = example["input"], one_volume(example["projections"], name)
        self._check_counts(counts.data, f"{name}: projections")
        value = self.value_at(1.0 if self.fixed is not None else count_level(example, "counts"))
        filtered = self.restore(counts.data, counts.voxel, value, threads=granted_threads())
        imaging, unit = self._imaging(example)
        return grid.like(imaging.reconstruct(filtered, unit))

    def _cases(self, example: Example) -> list[Case]:
        """One case a realisation: noisy projections, and what their reconstruction is compared with."""
        name = str(example.scan.get("scan", "?"))
        noisy, repeat = (realisations(example, role) for role in self.tunes_on[:2])
        for role, counts in zip(self.tunes_on[:2], (noisy, repeat), strict=True):
            self._check_counts(counts, f"{name}: {role}")
        if noisy.shape != repeat.shape:
            raise DataError(
                f"Cannot tune {self.title}",
                where=name,
                why=f"projections of {noisy.shape} and {repeat.shape} make no pair",
                fix="prepare the scan's pair anew",
            )
        imaging, unit = self._imaging(example)
        grid, level = example["attenuation"], count_level(example, "pair_counts")
        targets = imaging.reconstruct(np.moveaxis(repeat, -1, 0), unit)
        seen = grid.like(imaging.reconstruct(noisy.mean(axis=3), unit))
        region = heart_region(seen, name)
        scale = bright_level(seen.data, seen.voxel) ** 2
        bins = example[self.tunes_on[0]].voxel
        return [
            Case(
                np.ascontiguousarray(noisy[..., k]),
                target[region].astype(np.float64),
                region,
                bins,
                scale,
                level,
                lambda counts: imaging.reconstruct(counts, unit),
            )
            for k, target in enumerate(targets)
        ]

    def _imaging(self, example: Example) -> tuple[Imaging, float]:
        """The study's reconstruction of this scan, and the photons of uptake 1."""
        from senmei.physics.spect.geometry import Acquisition
        from senmei.physics.spect.imaging import Imaging, Projectors

        if self._projectors is None:
            self._projectors = Projectors(self.device)
        recipe: dict[str, Any] = dict(example["reconstruction"])
        unit = float(recipe.pop("unit"))
        acquisition = Acquisition.from_dict(example["acquisition"])
        return Imaging(acquisition, example["attenuation"].data, recipe, self._projectors), unit

    def _check_counts(self, counts: np.ndarray, where: str) -> None:
        if not counts.sum() > 0 or counts.min() < 0:
            raise DataError(
                "Cannot reconstruct filtered projections",
                where=where,
                why=f"they hold {float(counts.sum()):.0f} counts, the least in a bin is {float(counts.min()):.3g}",
                fix="check the acquisition, or leave the scan out",
            )
