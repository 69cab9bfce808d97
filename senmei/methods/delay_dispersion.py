"""Delay and dispersion: the vein's curve, convolved with the transport function of an average patient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import fft, optimize

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.methods.curves import Curve, CurveMethod, counted, curve_of, judged_range, psnr, role_of
from senmei.physics.bolus import transport

SCALES = ("vein", "activity")
_STEP_S = 0.25  # at most, of the convolution: frames are cut into this or less
_REACH_S, _KNOT_S = 40, 1.0  # of the free kernel: its length, and between its knots
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # on its curvature, in units of the data, of which validation chooses
# Kernel -> (its terms; first guesses of delay, mean and shape in turn; which of them are fitted, the others are kept)
_KERNELS: dict[str, tuple[int, tuple[float, ...], tuple[bool, ...]]] = {
    "delay": (1, (4.0, 0.0, 1.0), (True, False, False)),
    "exponential": (1, (2.0, 2.0, 1.0), (True, True, False)),
    "gamma": (1, (1.0, 3.0, 3.0), (True, True, True)),
    "recirculation": (2, (1.0, 3.0, 3.0, 12.0, 10.0, 3.0), (True,) * 6),
}
KERNELS = (*_KERNELS, "free")


class DelayDispersion(CurveMethod):
    """artery(t) = Σ a_j (h_j * vein)(t), with the kernels and amplitudes that are best for the training patients.

    kernel : `delay`, a shift; `exponential`, a delay and one chamber that mixes; `gamma`, a delay and a gamma variate;
    `recirculation`, two of these, the second for what comes round again; `free`, straight lines between knots a second
    apart up to 40 s, a deconvolution of all training curves together, its curvature held down as validation chooses.
    scale : `vein`, amplitudes are counts per count of the vein, as in any convolution; `activity`, the vein tells the
    shape alone, and amplitudes are counts of the artery per injected MBq. background_s : the mean of the frames within
    so many seconds, before anything is injected, is taken from the vein's curve; 0: nothing is. All patients share one
    kernel: nothing of it is the patient's own but the curve.

    Fitted by least squares over the training scans, each in units of its data range; amplitudes are 0 or more and
    follow from the kernels [Lawson CL, Hanson RJ, Solving Least Squares Problems, 1974, ch. 23], the kernels' numbers
    by a Nelder-Mead search on their logarithms. Raises ConfigError for another kernel or scale.
    """

    title: ClassVar[str] = "Delay and dispersion"
    family: ClassVar[str] = "classical"
    needs: ClassVar[tuple[str, ...]] = ("input", "curve", "reference")
    tunes_on: ClassVar[tuple[str, ...]] = ("input", "curve", "reference")
    sentence: ClassVar[str] = (
        "The vein's curve was convolved with one transport function of all patients ({settings[kernel]}), fitted to "
        "the training patients and scaled by the {settings[scale]}."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Bassingthwaighte JB, Warner HR, Wood EH. Analog computer analysis of dispersion of indicator in the "
        "circulation. Med Res Eng 1966;5(2):30.",
    )

    def __init__(self, kernel: str = "gamma", scale: str = "vein", background_s: float = 3.0) -> None:
        for name, value, known in (("kernel", kernel, KERNELS), ("scale", scale, SCALES)):
            if value not in known:
                raise ConfigError(
                    f"Unknown {name} '{value}'",
                    where=f"{name}: {value}",
                    why="there is none of this name",
                    fix=nearest(str(value), known),
                )
        if not (np.isfinite(background_s) and background_s >= 0):
            raise ConfigError(
                "'background_s' must be 0 or more",
                where=f"background_s: {background_s}",
                why="it is a time before the injection",
                fix="give the seconds before which nothing is injected, or 0",
            )
        self.kernel, self.scale, self.background_s = kernel, scale, float(background_s)
        self._numbers: np.ndarray | None = None
        self._amplitudes = np.zeros(0)

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """`delay_mean_shape`, (terms, 3), s, s and 1, or (0, 3); `amplitudes`. Raises DataError without scans."""
        data, told = self._data(train, "training"), self._data(validation, "validation")
        if self.kernel == "free":
            numbers, amplitudes = np.zeros((0, 3)), self._free(data, told, context)
        else:
            numbers, amplitudes = self._search(data)
        score = _score(told, numbers, amplitudes)
        context.history.append({"step": 1, "psnr": score})
        told_of = ", ".join(f"{d:.2f} s + {m:.2f} s (shape {s:.2f})" for d, m, s in numbers) or "free"
        context.log(f"{self.title}: {told_of}; PSNR {score:.2f} dB on validation")
        return {"delay_mean_shape": numbers.astype(np.float32), "amplitudes": amplitudes.astype(np.float32)}

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take the fitted kernel."""
        self._numbers = np.asarray(weights["delay_mean_shape"], np.float64).reshape(-1, 3)
        self._amplitudes = np.asarray(weights["amplitudes"], np.float64)

    def estimate(self, curve: Curve) -> np.ndarray:
        """(frames,) counts per frame. Raises ConfigError where nothing was fitted."""
        if self._numbers is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where="kernel",
                why="no fitted weights were given",
                fix="fit it and load its weights",
            )
        source = self._source(curve)
        if source is None:
            raise DataError(
                "There is no bolus above the background of this curve",
                where=f"{curve.name}: input",
                why=f"{curve.total:.3g} counts are fewer than the first {self.background_s:g} s make expect",
                fix="set background_s to the time before the injection, or leave the scan out",
            )
        batch = _Batch([source], curve.frame_s)
        found: np.ndarray = np.tensordot(self._amplitudes, batch.terms(self._numbers), 1)[0]
        return found

    def _source(self, curve: Curve) -> np.ndarray | None:
        """(frames,) what is convolved: counts less their background, or their shape times the activity; None where
        nothing is left.
        """
        before = int(self.background_s / curve.frame_s + 1e-9)
        counts = curve.counts - (curve.counts[:before].mean() if before else 0.0)
        total = counts.sum()
        if not total > 0:
            return None
        return counts if self.scale == "vein" else counts * (curve.activity_mbq / total)

    def _data(self, examples: Sequence[Example], split: str) -> list[_Batch]:
        """Scans of equal frames, side by side, in units of their data range."""
        groups: dict[tuple[float, int], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for example in counted(examples):
            curve, span = curve_of(example), judged_range(example)
            source = self._source(curve)
            if source is not None:
                pair = source / span, role_of(example, "reference") / span
                groups[curve.frame_s, len(curve.counts)].append(pair)
        if not groups:
            raise DataError(
                f"Cannot fit {self.title}",
                where=f"{split} scans",
                why="there are none with a bolus",
                fix=f"give the training cohort a {split} subject",
            )
        return [
            _Batch([i for i, _ in g], frame, [r for _, r in g]) for (frame, _), g in sorted(groups.items())
        ]

    def _search(self, data: list[_Batch]) -> tuple[np.ndarray, np.ndarray]:
        _, first, free = _KERNELS[self.kernel]
        start, fitted = np.array(first), np.array(free)

        def numbers(logs: np.ndarray) -> np.ndarray:
            values = start.copy()
            values[fitted] = np.exp(np.clip(logs, -4.0, 4.0))
            return values.reshape(-1, 3)

        def loss(logs: np.ndarray) -> float:
            return _solve(data, numbers(logs))[1]

        first_logs = np.log(start[fitted])
        simplex = first_logs + np.vstack([np.zeros(len(first_logs)), 0.4 * np.eye(len(first_logs))])
        options = {"maxfev": 60 * len(first_logs), "xatol": 1e-2, "fatol": 1e-6, "initial_simplex": simplex}
        best = optimize.minimize(loss, first_logs, method="Nelder-Mead", options=options)
        found = numbers(best.x)
        return found, _solve(data, found)[0]

    def _free(self, data: list[_Batch], told: list[_Batch], context: FitContext) -> np.ndarray:
        none = np.zeros((0, 3))
        tried = []
        for ridge in _RIDGES:
            amplitudes, _ = _solve(data, none, ridge)
            tried.append((_score(told, none, amplitudes), ridge, amplitudes))
            context.log(f"{self.title}: ridge {ridge:g}: PSNR {tried[-1][0]:.2f} dB")
        return max(tried, key=lambda one: one[0])[2]


@dataclass
class _Batch:
    """Curves of equal frames, (scans, frames), and what they should become; their transforms on a finer grid."""

    inputs: Sequence[np.ndarray]
    frame_s: float
    references: Sequence[np.ndarray] = ()

    def __post_init__(self) -> None:
        counts = np.asarray(self.inputs)
        self.frames = counts.shape[1]
        self.parts = max(1, int(np.ceil(self.frame_s / _STEP_S - 1e-9)))
        self.bins = self.frames * self.parts
        self.length = fft.next_fast_len(2 * self.bins, real=True)
        self._fine = fft.rfft(np.repeat(counts / self.parts, self.parts, axis=1), self.length, axis=1)

    def terms(self, numbers: np.ndarray) -> np.ndarray:
        """(terms, scans, frames) of the inputs through each kernel; of the free kernel's knots where there are none."""
        step = self.frame_s / self.parts
        if len(numbers):
            kernels = [transport(self.bins, m, delay_s=d, shape=s, step_s=step) for d, m, s in numbers]
        else:
            lags = np.arange(self.bins) * step
            kernels = [
                step * np.maximum(1 - np.abs(lags - k * _KNOT_S) / _KNOT_S, 0)
                for k in range(int(_REACH_S / _KNOT_S))
            ]
        found = [fft.irfft(self._fine * fft.rfft(k, self.length), self.length, axis=1) for k in kernels]
        fine = np.asarray(found)[..., : self.bins]
        framed: np.ndarray = fine.reshape(*fine.shape[:2], self.frames, self.parts).sum(axis=3)
        return framed


def _solve(data: list[_Batch], numbers: np.ndarray, ridge: float = 0.0) -> tuple[np.ndarray, float]:
    """(amplitudes, mean squared error over all frames) of the best sum of the kernels' curves."""
    count = sum(np.size(batch.references) for batch in data)
    terms = [batch.terms(numbers) for batch in data]
    size = len(terms[0])
    gram, right, power = np.zeros((size, size)), np.zeros(size), 0.0
    for batch, parts in zip(data, terms, strict=True):
        flat, wanted = parts.reshape(size, -1), np.asarray(batch.references).ravel()
        gram += flat @ flat.T / count
        right += flat @ wanted / count
        power += float(wanted @ wanted) / count
    held = gram
    if ridge:
        bend = np.diff(np.eye(size), 2, axis=0)
        held = gram + ridge * np.trace(gram) / size * bend.T @ bend
    held = held + 1e-12 * np.trace(held) / size * np.eye(size)
    lower = np.linalg.cholesky(held)  # least squares of normal equations: ||L' a - L^-1 b||
    amplitudes, _ = optimize.nnls(lower.T, np.linalg.solve(lower, right))
    return amplitudes, float(amplitudes @ gram @ amplitudes - 2 * right @ amplitudes + power)


def _score(data: list[_Batch], numbers: np.ndarray, amplitudes: np.ndarray) -> float:
    """Mean PSNR, dB, of scans in units of their data range."""
    scores = []
    for batch in data:
        found = np.tensordot(amplitudes, batch.terms(numbers), 1)
        scores += [psnr(f, r, 1.0) for f, r in zip(found, batch.references, strict=True)]
    return float(np.mean(scores))
