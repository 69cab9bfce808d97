"""Classical methods of emission imaging: one number, tuned per dose without a clean image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage, optimize

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext, Method
from senmei.core.volume import Volume
from senmei.methods.tuned import granted_threads, one_volume, positive, whole
from senmei.physics.spect.heart_region import find_heart

FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian of unit standard deviation
SMOOTH_MM = 12.0  # FWHM before a noisy image is thresholded
BRIGHT = 0.4  # of the hottest wall: myocardium and its neighbours, not lung
BEYOND = 2.0  # how far outside the fitted noise levels the curve is extrapolated: a factor of 4 in counts
STEEPEST = 1.0  # |d log value / d log level| of an extrapolation; theory says 2/7


@dataclass(frozen=True)
class Case:
    """One image of a validation scan: `image` (x, y, z) is restored and compared with `target` in `region`.

    scale : squared bright level of the image, so that every scan weighs alike. level : of its counts.
    after : what is done to the restored image before it is compared (a reconstruction), or None.
    """

    image: np.ndarray
    target: np.ndarray
    region: np.ndarray
    voxel: tuple[float, float, float]
    scale: float
    level: float
    after: Callable[[np.ndarray], np.ndarray] | None = None


class NoHeartError(DataError):
    """A scan in which the heart is not found, so that there is nothing to tune on."""


class CountsTuned(Method):
    """A method with one positive number, tuned per dose and interpolated at the scan's own counts.

    fixed : the number, where the user gave one (then nothing is fitted), or None.
    examples : validation scans used per dose, the first in which the heart is found. evaluations : of the 1-D
        search, per dose.

    Fitting: per dose the number that minimises, over validation scans and realisations k, the mean of
    |restore(noisy_k) - repeat_k|² inside a region found in `noisy` alone. As `repeat` is independent of `noisy`
    and, on average, the noise-free image, this risk is the error to the noise-free image plus a constant
    (Noise2Noise): no clean image is needed, and none can be reached. The region is the heart's surroundings, as
    the best number for the whole body (large, even organs) smooths the thin myocardium away.
    Subclasses with `oracle` are tuned on the noise-free reconstruction of `input` inside `myocardium` instead.
    Weights: `curve_level` (1 / sqrt(counts / 10^6), ascending) and `curve_value`, float32.

    Applying: log value, linear in log level. Bias grows as width⁴ and variance as level² / width³, so the best
    width follows a power of the level (2/7 for white noise), a straight line in these axes. A half of a thinned
    acquisition is noisier than what the method is applied to, so the line is continued beyond the ends with the
    slope of all points (at most a factor of 2 in level, slope within ±1, and inside `bounds`). Where one level is
    all there is, theory's slope, `exponent`, is taken.
    """

    family: ClassVar[str] = "classical"
    tunes_on: ClassVar[tuple[str, ...]] = ("noisy", "repeat")
    references: ClassVar[tuple[str, ...]] = (
        "Lehtinen J, Munkberg J, Hasselgren J, et al. Noise2Noise: learning image restoration without clean data. "
        "ICML 2018.",
    )
    number: ClassVar[str] = "parameter"
    bounds: ClassVar[tuple[float, float]] = (0.1, 10.0)
    exponent: ClassVar[float] = 0.0  # d log value / d log level, where one level alone was fitted
    oracle: ClassVar[bool] = False

    def __init__(self, *, fixed: float | None = None, examples: int = 3, evaluations: int = 10) -> None:
        positive(self.number, fixed, optional=True)
        whole("examples", examples)
        whole("evaluations", evaluations)
        self.fixed, self.examples, self.evaluations = fixed, int(examples), int(evaluations)
        self.device = "cpu"
        self._curve: tuple[np.ndarray, np.ndarray] | None = None
        if fixed is not None:
            self.tunes_on = ()  # type: ignore[misc]

    def restore(
        self,
        data: np.ndarray,
        voxel: tuple[float, float, float],
        value: float,
        region: np.ndarray | None = None,
        threads: int = 1,
    ) -> np.ndarray:
        """`data`, (x, y, z) float32, restored at one `value`. voxel : mm.

        region : (x, y, z) bool, where the result will be looked at; elsewhere it may be left undone.
        """
        raise NotImplementedError(type(self).__name__)

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """The curve (level -> number). Raises DataError without a usable validation scan."""
        if self.fixed is not None:
            return {}
        doses: dict[str, list[Example]] = defaultdict(list)
        for example in validation:
            doses[str(example.scan.get("dose", ""))].append(example)
        if not doses:
            raise DataError(
                f"Cannot tune {self.title}",
                where="validation scans",
                why="there are none, and the number is tuned on them only",
                fix=f"give the training cohort a validation subject, or set {self.number} to a fixed value",
            )
        points = []
        for dose, examples in sorted(doses.items()):
            cases = self._judged(examples, context)
            level = float(np.exp(np.mean([np.log(case.level) for case in cases])))
            value, risk = self._search(cases, dose, level, context)
            label = f"dose {dose}" if dose else "all scans"
            edge = min(abs(np.log(value / bound)) for bound in self.bounds) < 0.05
            context.log(
                f"{self.title}: {label}: {self.number} {value:.3g}, root risk {np.sqrt(risk):.3g} of bright level"
                + (" (at the edge of the search)" if edge else "")
            )
            points.append((level, value))
        points.sort()
        levels, values = np.asarray(points, dtype=np.float32).T
        return {"curve_level": levels.copy(), "curve_value": values.copy()}

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take the fitted curve and the device to run on."""
        self.device = device
        if self.fixed is None:
            level, value = (np.asarray(weights[k], dtype=np.float64) for k in ("curve_level", "curve_value"))
            self._curve = level, value

    def value_at(self, level: float) -> float:
        """The number at a noise level, 1 / sqrt(counts / 10^6). Raises ConfigError before anything was loaded."""
        if self.fixed is not None:
            return float(self.fixed)
        if self._curve is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where=self.number,
                why="neither a fixed value nor fitted weights were given",
                fix=f"fit it and load its weights, or set {self.number}",
            )
        x, y = (np.log(values) for values in self._curve)
        at = float(np.clip(np.log(level), x[0] - np.log(BEYOND), x[-1] + np.log(BEYOND)))
        slope = self.exponent
        if x[-1] > x[0]:
            slope = float(np.clip(np.polyfit(x, y, 1)[0], -STEEPEST, STEEPEST))
        value = float(np.interp(at, x, y)) + slope * (at - float(np.clip(at, x[0], x[-1])))
        return float(np.clip(np.exp(value), *self.bounds))

    def apply(self, example: Example) -> Volume:
        """The restored Volume: float32, the input's geometry and unit. A constant one stays as it is."""
        volume = one_volume(example["input"], example.scan.get("scan", "?"))
        data = volume.data
        if data.min() == data.max():
            return volume.like(data.copy())
        level = 1.0 if self.fixed is not None else count_level(example, "counts")
        out = self.restore(data, volume.voxel, self.value_at(level), threads=granted_threads())
        return volume.like(np.ascontiguousarray(out, dtype=np.float32))

    def _judged(self, examples: Sequence[Example], context: FitContext) -> list[Case]:
        """Cases of the first `examples` scans whose heart is found; the log tells of the others."""
        cases: list[Case] = []
        used, missed = 0, None
        for example in examples:
            try:
                cases += self._cases(example)
                used += 1
            except NoHeartError as error:
                missed = error
                context.log(f"{self.title}: {error.where} is left out: {error.what.lower()}")
            if used == self.examples:
                break
        if missed is not None and not cases:
            raise missed
        return cases

    def _cases(self, example: Example) -> list[Case]:
        """What the search needs of one scan: every realisation, or the input of an oracle."""
        name = str(example.scan.get("scan", "?"))
        if self.oracle:
            volume = one_volume(example["input"], name)
            images, targets = volume.data[..., None], one_volume(example["reference"], name).data[..., None]
            region, level = np.asarray(example["myocardium"].data) > 0, count_level(example, "counts")
        else:
            volume = example[self.tunes_on[0]]
            images, targets = (realisations(example, role) for role in self.tunes_on)
            region = heart_region(volume.like(images.mean(axis=3)), name)
            level = count_level(example, "pair_counts")
        if not images.shape == targets.shape or region.shape != images.shape[:3] or not region.any():
            raise DataError(
                f"Cannot tune {self.title}",
                where=name,
                why=f"images of {images.shape} and {targets.shape}, {int(region.sum())} voxels to judge in "
                f"{region.shape}",
                fix="check how the scan was prepared: its roles must share one grid and show the heart",
            )
        scale = max(bright_level(images.mean(axis=3), volume.voxel) ** 2, np.finfo(float).tiny)
        return [
            Case(image, target[region].astype(np.float64), region, volume.voxel, scale, level)
            for image, target in (
                (np.ascontiguousarray(images[..., k]), targets[..., k]) for k in range(images.shape[3])
            )
        ]

    def _search(self, cases: list[Case], dose: str, level: float, context: FitContext) -> tuple[float, float]:
        """Best value and its risk, relative to the bright level squared; every evaluation is a row of history."""
        tried: list[tuple[float, float]] = []

        def loss(logarithm: float) -> float:
            value = float(np.exp(logarithm))
            risks = []
            for case in cases:
                out = self.restore(case.image, case.voxel, value, case.region, context.threads)
                out = out if case.after is None else case.after(out)
                risks.append(float(np.mean((out[case.region] - case.target) ** 2)) / case.scale)
            risk = float(np.mean(risks))
            tried.append((risk, value))
            row = {"step": len(tried), "condition": dose, "level": level}
            context.history.append({**row, self.number: value, "risk": risk})
            return risk

        optimize.minimize_scalar(
            loss,
            bounds=tuple(np.log(self.bounds)),
            method="bounded",
            options={"maxiter": self.evaluations, "xatol": 0.02},
        )
        risk, value = min(tried)
        return value, risk


def heart_region(volume: Volume, where: object) -> np.ndarray:
    """(x, y, z) bool: the left ventricle and what lies against it, in a reconstruction, noisy or not.

    Within the ball of `find_heart` all that is above 40 % of the hottest wall's uptake, and one voxel more: not lung,
    whose error does not depend on the filter, but organs that touch the heart. Raises NoHeartError where `find_heart`
    does not find it.
    """
    try:
        found = find_heart(volume, where)
    except DataError as error:
        raise NoHeartError(error.what, where=error.where, why=error.why, fix=error.fix) from error
    bright = found.mask & (_smooth(volume.data, volume.voxel, SMOOTH_MM) > BRIGHT * found.level)
    return ndimage.binary_dilation(bright, iterations=1) & found.mask


def bright_level(image: np.ndarray, voxel: tuple[float, float, float]) -> float:
    """What counts as bright in an image: the 99.5th percentile after smoothing to 12 mm FWHM, its own unit."""
    return float(np.percentile(_smooth(np.asarray(image, dtype=np.float32), voxel, SMOOTH_MM), 99.5))


def count_level(example: Example, column: str) -> float:
    """1 / sqrt(counts / 10^6) of a scan: relative noise up to a constant. Raises DataError without counts."""
    counts = example.scan.get(column)
    try:
        number = float(counts)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not (np.isfinite(number) and number > 0):
        raise DataError(
            "Unknown number of counts",
            where=f"{example.scan.get('scan', '?')}: {column}",
            why=f"it is {counts!r}, and the strength of the filter follows the counts",
            fix=f"give the total counts of the acquisition in the column {column}",
        )
    return 1 / float(np.sqrt(number / 1e6))


def _smooth(image: np.ndarray, voxel: tuple[float, float, float], fwhm_mm: float) -> np.ndarray:
    return ndimage.gaussian_filter(
        image, [fwhm_mm / FWHM / size for size in voxel], mode="nearest", truncate=3
    )


def realisations(example: Example, role: str) -> np.ndarray:
    """(x, y, z, K) float32, finite. Raises DataError for anything else."""
    data = np.asarray(example[role].data)
    if data.ndim != 4 or data.shape[3] < 1 or not np.isfinite(data).all():
        raise DataError(
            "These are no noisy realisations",
            where=f"{example.scan.get('scan', '?')}: {role}",
            why=f"an array (x, y, z, realisation) of finite numbers is needed, this has shape {data.shape}"
            + ("" if np.isfinite(data).all() else " and voxels that are NaN or infinite"),
            fix="prepare the scan's pair anew",
        )
    return np.asarray(data, dtype=np.float32)
