"""Classical methods that fit their one number on validation, exactly as a network fits its millions."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import optimize

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext, Method
from senmei.core.volume import Volume
from senmei.physics.intensity import white_matter_level
from senmei.physics.noise_level import estimate_sigma

CONDITIONS = ("acquisition", "noise")  # columns of scans.tsv that make one noise condition


class Tuned(Method):
    """A method with one positive number, tuned per noise level and interpolated at the image's own noise.

    fixed : the number, where the user gave one (then nothing is fitted), or None.
    target : role whose agreement is maximised: `reference`, or for example a noisy `repeat`.
    slab : axial slices of a validation volume that are restored and judged, centred on the mask (None: all).
        They are cut out with the method's `reach` on both sides, so their values are those of the whole
        volume; the noise is estimated on the whole volume in any case.
    examples : validation scans used per noise condition. evaluations : of the 1-D search, per condition.

    Fitting: for each noise condition among the validation scans the number that maximises the mean PSNR
    10 log10(data_range^2 / MSE), over the voxels of `mask`, found by bounded Brent search on the logarithm.
    Weights: `curve_noise` (mean estimated sigma / white-matter level, ascending) and `curve_value`, float32.
    Applying: log of the value, linear in the noise level, held constant beyond the ends.
    """

    # A setting `target` takes the place of the reference.
    tunes_on: ClassVar[tuple[str, ...]] = ("input", "mask", "reference")
    number: ClassVar[str] = "parameter"
    bounds: ClassVar[tuple[float, float]] = (0.1, 10.0)

    def __init__(
        self,
        *,
        fixed: float | None = None,
        target: str = "reference",
        slab: int | None = 24,
        examples: int = 3,
        evaluations: int = 8,
    ) -> None:
        positive(self.number, fixed, optional=True)
        positive("slab", slab, optional=True)
        positive("examples", examples)
        positive("evaluations", evaluations)
        self.fixed, self.target = fixed, target
        self.slab, self.examples, self.evaluations = slab, int(examples), int(evaluations)
        self.device = "cpu"
        self._curve: tuple[np.ndarray, np.ndarray] | None = None
        self.tunes_on = ("input", "mask", target) if fixed is None else ()  # type: ignore[misc]

    def restore(self, volume: Volume, sigma: float, value: float, threads: int) -> np.ndarray:
        """The restored array, (x, y, z) float32, of a volume whose noise is `sigma`, at one `value`."""
        raise NotImplementedError(type(self).__name__)

    def reach(self, volume: Volume) -> int:
        """How many voxels along the third axis a restored voxel depends on, to each side."""
        raise NotImplementedError(type(self).__name__)

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """The curve (noise level -> number). Raises DataError when there is no validation scan to tune on."""
        if self.fixed is not None:
            return {}
        groups: dict[tuple[str, ...], list[Example]] = defaultdict(list)
        for example in validation:
            groups[tuple(str(example.scan.get(name, "")) for name in CONDITIONS)].append(example)
        if not groups:
            raise DataError(
                f"Cannot tune {self.title}",
                where="validation scans",
                why="there are none, and the number is tuned on them only",
                fix=f"give the training cohort a validation subject, or set {self.number} to a fixed value",
            )
        points = []
        for condition, examples in sorted(groups.items()):
            named = [f"{n} {v}" for n, v in zip(CONDITIONS, condition, strict=True) if v]
            label = ", ".join(named) or "as acquired"
            cases = [self._case(example) for example in examples[: self.examples]]
            level = float(np.mean([case["level"] for case in cases]))
            value, score = self._search(cases, label, level, context)
            context.log(f"{self.title}: {label}: {self.number} {value:.3g}, PSNR {score:.2f} dB")
            points.append((level, value))
        points.sort()
        noise, values = np.asarray(points, dtype=np.float32).T
        return {"curve_noise": noise.copy(), "curve_value": values.copy()}

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take the fitted curve and the device to run on."""
        self.device = device
        if self.fixed is None:
            noise, values = (np.asarray(weights[k], dtype=np.float64) for k in ("curve_noise", "curve_value"))
            self._curve = noise, values

    def value_at(self, level: float) -> float:
        """The number at a noise level (sigma / white-matter level)."""
        if self.fixed is not None:
            return float(self.fixed)
        if self._curve is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where=self.number,
                why="neither a fixed value nor fitted weights were given",
                fix=f"fit it and load its weights, or set {self.number}",
            )
        noise, values = self._curve
        return float(np.exp(np.interp(level, noise, np.log(values))))

    def apply(self, example: Example) -> Volume:
        """The restored Volume: float32, the input's geometry and intensity. A constant one stays as it is."""
        volume = one_volume(example["input"], example.scan.get("scan", "?"))
        data = volume.data
        if data.min() == data.max():
            return volume.like(data.copy())
        sigma = estimate_sigma(data)
        level = noise_level(data, sigma) if self.fixed is None else 0.0
        out = self.restore(volume, sigma, self.value_at(level), granted_threads())
        return volume.like(np.ascontiguousarray(out, dtype=np.float32))

    def _case(self, example: Example) -> dict[str, Any]:
        """What the search needs of one scan: the piece to restore, what to compare with and where."""
        name = example.scan.get("scan", "?")
        volume = one_volume(example["input"], name)
        target = one_volume(example[self.target], name)
        mask = np.asarray(example["mask"].data) > 0
        if not mask.any():
            raise DataError(
                f"Cannot tune {self.title}",
                where=name,
                why="the mask of this validation scan is empty, so there is nothing to judge",
                fix="check how the mask was made, or exclude the scan",
            )
        sigma = estimate_sigma(volume.data)
        level = noise_level(volume.data, sigma)
        low, high = 0, volume.shape[2]
        if self.slab is not None and self.slab < high:
            slices = np.flatnonzero(mask.any(axis=(0, 1)))
            centre = int(round(float(slices.mean())))
            low = min(max(centre - self.slab // 2, 0), high - self.slab)
            high = low + self.slab
            if not mask[..., low:high].any():  # a mask in two far pieces
                low, high = 0, volume.shape[2]
        reach = self.reach(volume)
        first, last = max(low - reach, 0), min(high + reach, volume.shape[2])
        piece = Volume(np.ascontiguousarray(volume.data[..., first:last]), volume.affine)
        inside = mask[..., low:high]
        return {
            "piece": piece,
            "rows": slice(low - first, high - first),
            "mask": inside,
            "target": target.data[..., low:high][inside].astype(np.float64),
            "range": float(example.scan["data_range"]),
            "sigma": sigma,
            "level": level,
        }

    def _search(
        self, cases: list[dict[str, Any]], label: str, level: float, context: FitContext
    ) -> tuple[float, float]:
        """Best value and its mean PSNR, dB; every evaluation becomes a row of the history."""
        tried: list[tuple[float, float]] = []

        def loss(logarithm: float) -> float:
            value = float(np.exp(logarithm))
            scores = []
            for case in cases:
                out = self.restore(case["piece"], case["sigma"], value, context.threads)
                error = out[..., case["rows"]][case["mask"]] - case["target"]
                scores.append(10 * np.log10(case["range"] ** 2 / max(float(np.mean(error**2)), 1e-20)))
            score = float(np.mean(scores))
            tried.append((score, value))
            row = {"step": len(tried), "condition": label, "noise_level": level}
            context.history.append({**row, self.number: value, "psnr": score})
            return -score

        optimize.minimize_scalar(
            loss,
            bounds=tuple(np.log(self.bounds)),
            method="bounded",
            options={"maxiter": self.evaluations, "xatol": 0.02},
        )
        score, value = max(tried)
        return value, score


def noise_level(data: np.ndarray, sigma: float) -> float:
    """Sigma over the white-matter level of the same image: noise as a fraction, whatever the unit."""
    white = white_matter_level(data)
    return sigma / white if white > 0 else 0.0


def granted_threads() -> int:
    """Cores this process was given: OMP_NUM_THREADS where the job set it, else the cores it may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))


def positive(name: str, value: float | None, *, optional: bool = False) -> None:
    """Raise ConfigError unless `value` is a finite number above zero (or None, where that is allowed)."""
    if optional and value is None:
        return
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        otherwise = ", or leave it out to have it tuned on validation" if optional else ""
        raise ConfigError(
            f"'{name}' must be above zero",
            where=f"{name}: {value}",
            why="it is a size or a strength, and this value means nothing",
            fix=f"give a number above 0{otherwise}",
        )


def whole(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is a whole number above zero."""
    positive(name, value)
    if value != int(value):
        raise ConfigError(
            f"'{name}' must be a whole number",
            where=f"{name}: {value}",
            why="it counts something",
            fix="give a whole number above 0",
        )


def one_volume(volume: Volume, name: object) -> Volume:
    """The same volume as float32, once it is known to be one finite 3D image. Raises DataError."""
    if volume.data.ndim != 3:
        many = volume.data.ndim > 3
        raise DataError(
            "This method restores one 3D volume",
            where=name,
            why=f"the image has {volume.data.ndim} dimensions: {' x '.join(map(str, volume.shape))}",
            fix="give one volume; set frames: to restore the volumes of a series one by one"
            if many
            else "give a 3D volume (a single slice cannot be restored in 3D)",
        )
    data = np.ascontiguousarray(volume.data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise DataError(
            "The image contains NaN or infinite values",
            where=name,
            why=f"{int((~np.isfinite(data)).sum())} voxels are not numbers",
            fix="repair the image, or exclude the scan",
        )
    return volume.like(data)
