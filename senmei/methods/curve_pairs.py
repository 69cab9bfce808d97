"""Pairs of time-activity curves on the steps that a network takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from senmei.core.example import Example
from senmei.methods.curves import Curve, curve_of, role_of
from senmei.physics.bolus import rebin

WORDS = 2  # what is told beside the curve: counts per MBq, and how many counts there are
_LEAD_S = 6.0  # that is seen before the bolus arrives
_ARRIVED = 0.2  # share of the vein's counts that have come when it counts as arrived
_LATEST_S = 8.0  # that a copy of a curve is delayed by


@dataclass(frozen=True)
class Steps:
    """Steps of `step_s` over an acquisition of so many `seconds`, counted from the bolus's arrival if `aligned`."""

    step_s: float
    seconds: float
    aligned: bool

    @property
    def edges(self) -> np.ndarray:
        """(steps + 1,) edges, s after the arrival."""
        lead = _LEAD_S if self.aligned else 0.0
        return np.arange(int(np.ceil((self.seconds + lead) / self.step_s)) + 1) * self.step_s - lead

    def arrival(self, curve: Curve) -> float:
        """When a fifth of the curve's counts have come, s after the first frame began; 0 if not aligned."""
        running = np.concatenate([[0.0], np.cumsum(np.maximum(curve.counts, 0))])
        return float(np.interp(_ARRIVED * running[-1], running, curve.edges)) if self.aligned else 0.0

    def seen(self, curve: Curve) -> np.ndarray:
        """(steps + WORDS,) shares of the counts per s, log of counts per MBq, log10 of the counts."""
        shares = (
            rebin(curve.counts / curve.total, curve.edges, self.edges + self.arrival(curve)) / self.step_s
        )
        words = [np.log(curve.total / curve.activity_mbq), np.log10(curve.total)]
        return np.concatenate([shares, words])

    def pair(self, curve: Curve, artery: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(what is seen, counts/s/MBq of the artery (steps,), where these lie within the acquisition (steps,) bool)."""
        edges = self.edges + self.arrival(curve)
        wanted = rebin(artery, curve.edges, edges) / (self.step_s * curve.activity_mbq)
        known = (edges[:-1] > -1e-6) & (edges[1:] < curve.edges[-1] + 1e-6)
        return self.seen(curve), wanted, known

    def framed(self, rates: np.ndarray, curve: Curve) -> np.ndarray:
        """(frames,) counts per frame of the artery, 0 or more, from counts/s/MBq on the steps."""
        counts = np.maximum(rates, 0.0) * self.step_s * curve.activity_mbq
        return rebin(counts, self.edges + self.arrival(curve), curve.edges)


@dataclass(frozen=True)
class Pairs:
    """Training curves: seen (n, steps + WORDS), wanted and known (n, steps), as `Steps.pair` has them."""

    seen: np.ndarray
    wanted: np.ndarray
    known: np.ndarray


def pairs_of(examples: Sequence[Example], steps: Steps, draws: int, rng: np.random.Generator) -> Pairs:
    """Each scan's pair as it was counted, and `draws` further ones.

    These have new counts of the noise-free `expected`, and every other one is of curves that were replaced by a
    weighted sum of themselves and of delayed copies: what a bolus in fragments would have given in the same patient,
    as the circulation is linear.
    """
    found = []
    for example in examples:
        curve, artery = curve_of(example), role_of(example, "reference")
        found.append(steps.pair(curve, artery))
        for n in range(draws):
            more = draw_superposition(rng, curve.frame_s) if n % 2 else np.array
            counts = rng.poisson(np.maximum(more(role_of(example, "expected")), 0)).astype(np.float64)
            noisy = Curve(counts, curve.frame_s, curve.activity_mbq, curve.name)
            if noisy.total > 0:
                found.append(steps.pair(noisy, more(artery)))
    return Pairs(*(np.asarray(column) for column in zip(*found, strict=True)))


def draw_superposition(rng: np.random.Generator, frame_s: float) -> Callable[[np.ndarray], np.ndarray]:
    """A function (frames,) -> (frames,): a curve and one or two copies of it, up to 8 s later, weights summing to 1."""
    delays = [0, *rng.integers(1, max(2, round(_LATEST_S / frame_s)), size=int(rng.integers(1, 3)))]
    weights = rng.dirichlet(np.ones(len(delays)))

    def superposed(curve: np.ndarray) -> np.ndarray:
        out = np.zeros(len(curve))
        for delay, weight in zip(map(int, delays), weights, strict=True):
            out[delay:] += weight * curve[: len(curve) - delay]
        return out

    return superposed
