"""Classical methods for planar images: one number, tuned on validation for each camera and count level."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import optimize

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.methods.planar import PlanarMethod, Sheet, choose, judged_range, truth
from senmei.methods.planar_range import outside
from senmei.methods.tuned import positive, whole

CONDITIONS = ("time_s", "pixel_mm", "nuclide", "collimator")  # columns of scans.tsv that make one condition
CRITERIA = ("psnr", "ssim")
_POINTS = ("pixel_mm", "fwhm_mm", "scatter", "level", "value")  # columns of the fitted table


@dataclass(frozen=True)
class Case:
    """A validation scan: its sheet, and what a restored image is compared with, where (x, y bool), in which range."""

    sheet: Sheet
    target: np.ndarray
    mask: np.ndarray
    span: float


class PlanarTuned(PlanarMethod):
    """A planar method with one positive number, tuned per condition and interpolated at an image's own counts.

    fixed : the number, where the user gave one (then nothing is fitted), or None. criterion : what is highest at the
    best number, the mean over validation scans of `psnr` (default) or of `ssim`, both inside the mask where there is
    one. examples : validation scans used per condition. evaluations : of the 1-D search, per condition.
    Others: see `PlanarMethod`.

    Fitting: for each condition (acquisition time, pixel, nuclide, collimator) the best number by bounded Brent search
    on its logarithm. Weights: the table `points`, (n, 5) float32: camera pixel and FWHM in mm, scatter fraction,
    noise level 1 / sqrt(bright counts), number. Applying: of the rows whose camera is nearest, the logarithm of the
    number is interpolated in that of the noise level, constant beyond the ends.
    """

    family: ClassVar[str] = "classical"
    tunes_on: ClassVar[tuple[str, ...]] = ("low", "camera", "reference", "mask")
    number: ClassVar[str] = "parameter"

    def __init__(
        self,
        *,
        fixed: float | None = None,
        criterion: str = "psnr",
        examples: int = 6,
        evaluations: int = 12,
        keep_counts: str = "total",
        target: str = "reference",
    ) -> None:
        super().__init__(keep_counts=keep_counts, target=target)
        positive(self.number, fixed, optional=True)
        whole("examples", examples)
        whole("evaluations", evaluations)
        choose("criterion", criterion, CRITERIA)
        self.fixed, self.criterion = fixed, criterion
        self.examples, self.evaluations = int(examples), int(evaluations)
        self._points: np.ndarray | None = None
        if fixed is not None:
            self.tunes_on = ()  # type: ignore[misc]

    def bounds(self, sheet: Sheet) -> tuple[float, float]:
        """Between what the number is searched."""
        raise NotImplementedError(type(self).__name__)

    def restore_at(self, sheet: Sheet, value: float) -> np.ndarray:
        """(x, y) counts per restored pixel at one value of the number."""
        raise NotImplementedError(type(self).__name__)

    def restore(self, sheet: Sheet) -> np.ndarray:
        """At the number that suits the image."""
        return self.restore_at(sheet, self.value_at(sheet))

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """The table of best numbers. Raises DataError without a usable validation scan."""
        if self.fixed is not None:
            return {}
        groups: dict[tuple[str, ...], list[Example]] = defaultdict(list)
        for example in validation:
            groups[tuple(str(example.scan.get(name, "")) for name in CONDITIONS)].append(example)
        points = []
        for condition, examples in sorted(groups.items()):
            label = (
                ", ".join(f"{n} {v}" for n, v in zip(CONDITIONS, condition, strict=True) if v) or "all scans"
            )
            cases = [c for c in map(self._case, examples[: self.examples]) if c.sheet.scale > 0]
            if not cases:
                context.log(f"{self.title}: {label}: nothing was counted, left out")
                continue
            value, score = self._search(cases, label, context)
            context.log(f"{self.title}: {label}: {self.number} {value:.3g}, {self.criterion} {score:.4g}")
            told = np.mean([np.log(np.maximum(facts(case.sheet), 1e-9)) for case in cases], axis=0)
            points.append([*np.exp(told), value])
        if not points:
            raise DataError(
                f"Cannot tune {self.title}",
                where="validation scans",
                why="there are none with counts, and the number is tuned on them only",
                fix=f"give the training cohort a validation subject, or set {self.number} to a fixed value",
            )
        return {"points": np.asarray(points, dtype=np.float32)}

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take the fitted table. Raises DataError if it is none."""
        if self.fixed is not None:
            return
        points = np.asarray(weights.get("points", ()), dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != len(_POINTS) or not (points > 0).all():
            raise DataError(
                f"The weights do not fit {self.title}",
                where="weights",
                why=f"a table of {', '.join(_POINTS)} is needed",
                fix="fit it again",
            )
        self._points = points

    def value_at(self, sheet: Sheet) -> float:
        """The number for an image. Raises ConfigError before anything was loaded."""
        if self.fixed is not None:
            return float(self.fixed)
        if self._points is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where=self.number,
                why="neither a fixed value nor fitted weights were given",
                fix=f"fit it and load its weights, or set {self.number}",
            )
        *camera, level = facts(sheet)
        distance = camera_distance(self._points[:, :3], camera)
        rows = self._points[distance <= distance.min() + 1e-6]
        rows = rows[np.argsort(rows[:, 3])]
        return float(np.exp(np.interp(np.log(level), np.log(rows[:, 3]), np.log(rows[:, 4]))))

    def remark(self, example: Example) -> str:
        """In what the scan is unlike those that the number was tuned on."""
        if self._points is None:
            return ""
        known = np.column_stack([self._points[:, :3], self._points[:, 3] ** -2.0])
        return outside(self.sheet(example), known, self.title)

    def _case(self, example: Example) -> Case:
        sheet = self.sheet(example)
        target = truth(example, self.target, sheet)
        mask = np.ones(target.shape, bool)
        if "mask" in example and example["mask"].data.shape[:2] == target.shape:
            mask = np.asarray(example["mask"].data)[..., 0] > 0
        if not mask.any():
            raise DataError(
                f"Cannot tune {self.title}",
                where=example.scan.get("scan", "?"),
                why="the mask of this validation scan is empty, so there is nothing to judge",
                fix="check how the mask was made, or exclude the scan",
            )
        return Case(sheet, target, mask, judged_range(example, target))

    def score(self, case: Case, fine: np.ndarray) -> float:
        """The criterion of a restored image: PSNR in dB, or SSIM; higher is better."""
        restored = self.finish(fine, case.sheet)
        if self.criterion == "ssim":
            from skimage.metrics import structural_similarity

            _, local = structural_similarity(
                case.target.astype(np.float64), restored.astype(np.float64), data_range=case.span, full=True,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            )  # fmt: skip
            return float(local[case.mask].mean())
        error = float(np.mean((restored[case.mask] - case.target[case.mask]).astype(np.float64) ** 2))
        return float(10 * np.log10(case.span**2 / max(error, 1e-20)))

    def _search(self, cases: list[Case], label: str, context: FitContext) -> tuple[float, float]:
        """Best number and its mean score; every evaluation becomes a row of the history."""
        tried: list[tuple[float, float]] = []

        def loss(logarithm: float) -> float:
            value = float(np.exp(logarithm))
            score = float(np.mean([self.score(c, self.restore_at(c.sheet, value)) for c in cases]))
            tried.append((score, value))
            self.note(context, len(tried), label, value, score)
            return -score

        low, high = np.mean([np.log(self.bounds(case.sheet)) for case in cases], axis=0)
        optimize.minimize_scalar(
            loss, bounds=(low, high), method="bounded", options={"maxiter": self.evaluations, "xatol": 0.02}
        )
        score, value = max(tried)
        return value, score

    def note(self, context: FitContext, step: int, label: str, value: float, score: float) -> None:
        """A row of the history."""
        context.history.append({"step": step, "condition": label, self.number: value, self.criterion: score})


def facts(sheet: Sheet) -> tuple[float, float, float, float]:
    """Camera pixel and FWHM, mm, scatter fraction (1e-3 at least), and noise level 1 / sqrt(bright counts)."""
    scatter = max(sheet.response.scatter_fraction, 1e-3)
    return sheet.pixel_mm, max(sheet.response.fwhm_mm, 1e-3), scatter, sheet.scale**-0.5


def camera_distance(known: np.ndarray, camera: Sequence[float]) -> np.ndarray:
    """How far cameras (n, 3: pixel, FWHM, scatter) are from one: logarithms of lengths, tenths of scatter."""
    lengths = np.abs(np.log(known[:, :2] / np.asarray(camera[:2]))).sum(axis=1)
    return np.round(lengths + 10 * np.abs(known[:, 2] - camera[2]), 4)
