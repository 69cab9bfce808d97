"""Runs of SIMIND as data: one seed's projections, and the average of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.core.errors import EngineError

_PARTS = ("total", "scatter", "primary")


@dataclass(frozen=True)
class WindowCounts:
    """One energy window: (u, v, view) float32 in counts per second and MBq, in Senmei's frame; levels in keV."""

    low_kev: float
    high_kev: float
    total: np.ndarray
    scatter: np.ndarray
    primary: np.ndarray


@dataclass(frozen=True)
class SimindRun:
    """What one run gave, or the average of several: the first window is the photopeak.

    windows : see WindowCounts. histories : photons started for each view. seeds : of the runs. facts : the simulation's
    geometry and settings (`simulation`, equal for runs that may be averaged), release, SIMIND's own sensitivity.
    """

    windows: tuple[WindowCounts, ...]
    histories: float
    seeds: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> np.ndarray:
        """(u, v, view) counts per second and MBq in the photopeak window."""
        return self.windows[0].total

    @property
    def scatter(self) -> np.ndarray:
        """The part of `total` that was scattered in the patient, camera or collimator."""
        return self.windows[0].scatter

    @property
    def primary(self) -> np.ndarray:
        """The part of `total` that was not scattered."""
        return self.windows[0].primary

    def expected_counts(self, mbq: float, seconds: float) -> np.ndarray:
        """(u, v, view) float64: the mean of an acquisition of this activity in the patient, seconds for each view."""
        if not (mbq > 0 and seconds > 0):
            raise ValueError("activity and time are above zero")
        return self.total.astype(np.float64) * (mbq * seconds)


def average_runs(runs: Sequence[SimindRun]) -> SimindRun:
    """The average of runs of one simulation with different seeds, each weighted by its histories.

    SIMIND's counts are per second and MBq whatever the number of histories: runs are averaged, never added up.
    Raises EngineError where runs differ in anything but the seed, or two have the same: they would be the same photons.
    """
    if not runs:
        raise ValueError("there is nothing to average")
    first = runs[0]
    seeds = [seed for run in runs for seed in run.seeds]
    if len(set(seeds)) != len(seeds):
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        raise _unlike(f"seed {twice[0]} occurs twice, with the same photons", "give each run its own seed")
    for run in runs[1:]:
        if run.facts.get("simulation") != first.facts.get("simulation"):
            raise _unlike("their geometry, patient or settings differ", "average runs of one simulation only")
        if [w.total.shape for w in run.windows] != [w.total.shape for w in first.windows]:
            raise _unlike("their projections differ in number or size", "average runs of one simulation only")
    weights = np.array([run.histories for run in runs], np.float64)
    weights /= weights.sum()
    windows = []
    for i, window in enumerate(first.windows):
        parts = []
        for part in _PARTS:
            mean = np.zeros(window.total.shape, np.float64)
            for weight, run in zip(weights, runs, strict=True):
                mean += weight * getattr(run.windows[i], part)
            parts.append(mean.astype(np.float32))
        windows.append(WindowCounts(window.low_kev, window.high_kev, *parts))
    facts = {**first.facts, "runs": len(runs)}
    return SimindRun(tuple(windows), float(sum(run.histories for run in runs)), tuple(seeds), facts)


def _unlike(why: str, fix: str) -> EngineError:
    return EngineError("These runs of SIMIND cannot be averaged", where="average_runs", why=why, fix=fix)
