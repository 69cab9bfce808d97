"""A radionuclide bolus from an arm vein through the right heart to the lungs and round again. Arrays only.

Curves are activity that passes a place, as a share of what was injected, in bins of `STEP_S`. Every segment of the
circulation is linear and does not change with time: its output is its input convolved with a transport function, the
distribution of transit times through it [Bassingthwaighte JB, Warner HR, Wood EH, Med Res Eng 1966;5(2):30]. A chamber
that mixes has an exponential one of mean volume / flow (Stewart-Hamilton); a vessel has a delay and then a gamma
variate [Mischi M, den Boer JA, Korsten HHM, Physiol Meas 2008;29:281]. Volumes, flows and how they vary between
patients are assumed: orders of magnitude of an adult at rest, taken from no one study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, special

from senmei.core.errors import ConfigError

STEP_S = 0.05  # width of a bin
BOLUSES = ("sharp", "slow", "fragmented")
_ARM_DELAY, _VESSEL_DELAY = 0.6, 0.5  # of a vessel's mean transit time, before anything arrives
_VESSEL_SHAPE = 3.0
_FAST, _FAST_MEAN = 0.5, 0.3  # share of the systemic flow that returns early, its mean over that of all


@dataclass(frozen=True)
class Circulation:
    """Of one patient. Flows in mL/s, volumes in mL, times in s; without draws an adult at rest (assumed).

    cardiac_output, arm_flow : of the heart, and in the injected arm's vein, flush included. arm_vein : between the
    injection and the axillary vein. central_s : mean transit from there to the right atrium. right_atrium,
    right_ventricle, left_atrium, left_ventricle : chambers that mix. lungs, blood : blood in the lungs, in all.
    extraction : share that the lungs keep at each passage: 0 for what stays in the blood.
    """

    cardiac_output: float = 90.0
    arm_flow: float = 8.0
    arm_vein: float = 20.0
    central_s: float = 2.0
    right_atrium: float = 60.0
    right_ventricle: float = 130.0
    lungs: float = 450.0
    left_atrium: float = 70.0
    left_ventricle: float = 130.0
    blood: float = 5000.0
    extraction: float = 0.0


@dataclass(frozen=True)
class Injection:
    """When activity enters the vein: parts of (start s, duration s, share of all), after the first frame begins."""

    parts: tuple[tuple[float, float, float], ...] = ((5.0, 1.5, 1.0),)


@dataclass(frozen=True)
class Passage:
    """What passes, (bins,) float64, share of the injected activity a bin, and what stays in a place at the bin's end.

    vein : through the axillary vein, recirculated activity included. artery : through the pulmonary artery.
    lungs, systemic : share that is in the lungs, and past the left heart.
    """

    vein: np.ndarray
    artery: np.ndarray
    lungs: np.ndarray
    systemic: np.ndarray


def draw_circulation(rng: np.random.Generator, extraction: float = 0.0) -> Circulation:
    """A patient, log-normal about the adult at rest (assumed). All volumes grow with the size of the body (12 %); the
    heart pumps more in larger ones (and varies by 22 %); the arm's flow follows the heart's in part (and varies by
    25 %); the right ventricle, which fails alone, varies most (25 %), and is larger where less is pumped.
    """
    body, output, arm, central, ventricle, rest = rng.normal(size=6) * (0.12, 0.22, 0.25, 0.2, 0.25, 0.15)
    typical = Circulation()
    size = float(np.exp(body))
    pumped = float(np.exp(body + output))
    return Circulation(
        cardiac_output=typical.cardiac_output * pumped,
        arm_flow=typical.arm_flow * pumped**0.6 * float(np.exp(arm)),
        arm_vein=typical.arm_vein * size,
        central_s=typical.central_s * pumped**-0.6 * float(np.exp(central)),
        right_atrium=typical.right_atrium * size * float(np.exp(rest)),
        right_ventricle=typical.right_ventricle * size * float(np.exp(ventricle - 0.5 * output)),
        lungs=typical.lungs * size * float(np.exp(rest)),
        left_atrium=typical.left_atrium * size,
        left_ventricle=typical.left_ventricle * size,
        blood=typical.blood * size,
        extraction=extraction,
    )


def draw_injection(rng: np.random.Generator, kind: str) -> Injection:
    """An injection 4 to 7 s after the first frame begins (assumed).

    kind : `sharp`, within 0.8 to 2 s; `slow`, within 4 to 8 s; `fragmented`, two or three parts with pauses of 1.5 to
    4 s, as of a cough, a valve or a kinked arm. Raises ConfigError for another.
    """
    if kind not in BOLUSES:
        raise ConfigError(
            f"Unknown bolus '{kind}'",
            where=f"boluses: {kind}",
            why="no injection of this name is simulated",
            fix=f"name some of {', '.join(BOLUSES)}",
        )
    start = float(rng.uniform(4.0, 7.0))
    if kind != "fragmented":
        low, high = (0.8, 2.0) if kind == "sharp" else (4.0, 8.0)
        return Injection(((start, float(rng.uniform(low, high)), 1.0),))
    shares = rng.dirichlet(np.full(int(rng.integers(2, 4)), 3.0))
    parts = []
    for share in shares:
        duration = float(rng.uniform(0.6, 1.5))
        parts.append((start, duration, float(share)))
        start += duration + float(rng.uniform(1.5, 4.0))
    return Injection(tuple(parts))


def transport(
    bins: int, mean_s: float, *, delay_s: float = 0.0, shape: float = 1.0, step_s: float = STEP_S
) -> np.ndarray:
    """(bins,) shares that take 0, 1, 2, ... steps: a delay, then a gamma variate of this mean and shape.

    shape 1 is a chamber that mixes: exp(-t / mean) / mean; larger ones are chambers in a row. mean_s : of the gamma
    variate alone, so that the mean transit time is delay + mean; 0 is the delay alone. The shares are integrals over
    bins about the lags, so that they sum to 1 where all arrives within the bins, and their mean is that of the curve.
    Raises ConfigError for a negative time or a shape that is not above zero.
    """
    if not (mean_s >= 0 and delay_s >= 0 and shape > 0 and step_s > 0):
        raise ConfigError(
            "Not a transport function",
            where=f"mean {mean_s} s, delay {delay_s} s, shape {shape}, step {step_s} s",
            why="times cannot be negative, shape and step must be above zero",
            fix="give a delay and a mean of 0 or more, and a shape above 0",
        )
    edges = (np.arange(bins + 1) - 0.5) * step_s
    if mean_s < 1e-6:  # the delay alone, shared between the two nearest lags
        place = delay_s / step_s
        lags = np.maximum(1.0 - np.abs(np.arange(bins) - place), 0.0)
        return lags
    late = np.maximum(edges - delay_s, 0.0)
    shares: np.ndarray = np.diff(special.gammainc(shape, late * (shape / mean_s)))
    return shares


def convolve(curve: np.ndarray, *kernels: np.ndarray) -> np.ndarray:
    """(..., bins) a curve through one segment after another; what comes after the last bin is not told."""
    bins = curve.shape[-1]
    length = fft.next_fast_len(2 * bins, real=True)
    out = curve
    for kernel in kernels:  # cut after each, so that nothing wraps round
        product = fft.rfft(out, length, axis=-1) * fft.rfft(kernel, length, axis=-1)
        out = fft.irfft(product, length, axis=-1)[..., :bins]
    return out


def injected(injection: Injection, bins: int) -> np.ndarray:
    """(bins,) share of the activity injected in each bin, at a constant rate within each part."""
    edges = np.arange(bins + 1) * STEP_S
    total = np.zeros(bins + 1)
    for start, duration, share in injection.parts:
        total += share * np.clip((edges - start) / max(duration, 1e-9), 0.0, 1.0)
    return np.diff(total)


def passage(patient: Circulation, injection: Injection, seconds: float) -> Passage:
    """Follow a bolus for so many seconds. Nothing is lost but what the lungs keep: see `Passage`."""
    bins = round(seconds / STEP_S)
    flow = patient.cardiac_output

    def vessel(mean: float, delay: float = _VESSEL_DELAY) -> np.ndarray:
        return transport(bins, (1 - delay) * mean, delay_s=delay * mean, shape=_VESSEL_SHAPE)

    arm = vessel(patient.arm_vein / patient.arm_flow, _ARM_DELAY)
    central = vessel(patient.central_s)
    right = (transport(bins, patient.right_atrium / flow), transport(bins, patient.right_ventricle / flow))
    lungs = (1 - patient.extraction) * vessel(patient.lungs / flow)
    left = (transport(bins, patient.left_atrium / flow), transport(bins, patient.left_ventricle / flow))
    heart = patient.right_atrium + patient.right_ventricle + patient.left_atrium + patient.left_ventricle
    mean = max(patient.blood - patient.lungs - heart, 0.2 * patient.blood) / flow
    slow = (1 - _FAST * _FAST_MEAN) / (1 - _FAST)
    body = _FAST * vessel(_FAST_MEAN * mean) + (1 - _FAST) * vessel(slow * mean)
    arms = min(patient.arm_flow / flow, 0.5)  # share of the blood that returns through this vein

    first = convolve(injected(injection, bins), arm)
    vein, artery, leaving, beyond = first, np.zeros(bins), np.zeros(bins), np.zeros(bins)
    entering = convolve(first, central)
    # Each round comes later by a whole circulation, so that few of them fall within the time that is looked at.
    while entering.sum() > 1e-6:
        through = convolve(entering, *right)
        out = convolve(through, lungs)
        arterial = convolve(out, *left)
        back = convolve(arterial, body)
        artery, leaving, beyond = artery + through, leaving + out, beyond + arterial - back
        vein = vein + arms * back
        entering = (1 - arms) * back + arms * convolve(back, central)
    stay = np.cumsum(artery * (1 - patient.extraction) - leaving) + patient.extraction * np.cumsum(artery)
    # Transforms leave rounding errors below zero where nothing has arrived.
    return Passage(*(np.maximum(part, 0.0) for part in (vein, artery, stay, np.cumsum(beyond))))


def framed(curve: np.ndarray, frame_s: float) -> np.ndarray:
    """(frames,) sums over frames of a curve in bins. Raises ConfigError where a frame is no whole number of bins."""
    bins = round(frame_s / STEP_S)
    if bins < 1 or abs(bins * STEP_S - frame_s) > 1e-6 or len(curve) % bins:
        raise ConfigError(
            "The frames do not fit the time that is simulated",
            where=f"frames of {frame_s:g} s in {len(curve) * STEP_S:g} s",
            why=f"frames are whole numbers of {STEP_S:g} s, and the acquisition a whole number of frames",
            fix="give frame times such as 0.5 or 1 s, and a duration that is a multiple of them",
        )
    return curve.reshape(-1, bins).sum(axis=1)


def rebin(counts: np.ndarray, edges: np.ndarray, wanted: Sequence[float] | np.ndarray) -> np.ndarray:
    """(..., m) counts between `wanted` edges of counts (..., n) between `edges` (n + 1,): sums are kept.

    Running sums are interpolated by cubics that never overshoot, so that counts stay 0 or more where they were;
    outside the edges there is nothing.
    """
    from scipy.interpolate import PchipInterpolator

    total = np.concatenate([np.zeros((*counts.shape[:-1], 1)), np.cumsum(counts, axis=-1)], axis=-1)
    places = np.clip(np.asarray(wanted, dtype=np.float64), edges[0], edges[-1])
    found: np.ndarray = np.diff(PchipInterpolator(edges, total, axis=-1)(places), axis=-1)
    return found
