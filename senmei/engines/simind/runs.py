"""Runs of SIMIND as data: one seed's projections, the average of several, and the file that a run is kept in."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError, EngineError
from senmei.io.atomic import atomic_path

_FORMAT = 1
_PARTS = ("total", "scatter", "primary")
_MOST = 1 << 32  # bytes of an array


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

    def save(self, path: Path) -> None:
        """Write everything to one file (.npz), atomically."""
        head = {
            "format": _FORMAT,
            "levels": [[w.low_kev, w.high_kev] for w in self.windows],
            "histories": self.histories,
            "seeds": list(self.seeds),
            "facts": dict(self.facts),
        }
        arrays = {f"{part}{i}": getattr(w, part) for i, w in enumerate(self.windows) for part in _PARTS}
        text = np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, head=text, **arrays)


def load_run(path: Path) -> SimindRun:
    """A run written by `SimindRun.save`. Raises DataError if the file is none, or is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            if head["format"] != _FORMAT:
                raise ValueError("another format")
            windows = []
            for i, (low, high) in enumerate(head["levels"]):
                parts = [stored[f"{part}{i}"] for part in _PARTS]
                if any(p.ndim != 3 or p.dtype != np.float32 or p.shape != parts[0].shape for p in parts):
                    raise ValueError("arrays that do not belong together")
                windows.append(WindowCounts(float(low), float(high), *parts))
            seeds = tuple(int(seed) for seed in head["seeds"])
            return SimindRun(tuple(windows), float(head["histories"]), seeds, head["facts"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            "Cannot read a simulation",
            where=path,
            why=f"it is no file of a SIMIND run, or is damaged ({type(error).__name__})",
            fix="delete it and run the simulation again",
        ) from error


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
