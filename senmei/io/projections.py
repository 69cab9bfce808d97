"""What every door of a nuclear-medicine file gives: a SPECT acquisition, or planar images, in Senmei's own frame.

Frame (`senmei.physics.spect.geometry`): the patient is (x, y, z) with the patient's left at low x, anterior at high
y and the head at high z. Projections are (u, v, view): v = z, so that high v is the head; u = x where the detector
stands in front of the patient; a view is never mirrored. The detector at θ stands in the direction
(-s sin θ, cos θ, 0): θ = 0 is anterior, and s = +1 ("ccw") turns from anterior towards the patient's left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.core.errors import DataError

COLLIMATORS = ("LEHR", "LEAP", "LEUR", "ME", "HE")
DIRECTIONS = ("ccw", "cw")
VIEWS = ("anterior", "posterior", "")
MAX_COUNTS = (
    1e12  # of one bin, beyond any acquisition or simulation; other numbers are damage or a wrong byte order
)
_KEV = (1.0, 4000.0)
_PIXEL_MM = (0.05, 100.0)
_RADIUS_MM = (1.0, 2000.0)
_STEP = 1 << 20  # values looked at together


@dataclass(frozen=True)
class EnergyWindow:
    """A range of energies that is counted by itself: name, lower and upper level in keV."""

    name: str
    low_kev: float
    high_kev: float


@dataclass(frozen=True)
class Projections:
    """A SPECT acquisition as read from a file.

    counts : (window, gate, u, v, view), float32 or int32, in the frame above; a gate axis of 1 where not gated.
    windows : one for each of the first axis. pixel_mm : edge of the square detector bins.
    angles_deg : θ of each view, sorted along the orbit in the order of acquisition.
    direction : "ccw" or "cw" as Senmei has it. radius_mm : from the axis to the collimator's face, one a view.
    nuclide : "Tc-99m", "I-123", ... agent : the radiopharmaceutical. collimator : one of COLLIMATORS. Each of the
    three is "" where the file does not say. duration_s : of one view (all gates together), 0 where unknown.
    facts : further technical facts, no identifiers.
    """

    counts: np.ndarray
    windows: tuple[EnergyWindow, ...]
    pixel_mm: float
    angles_deg: tuple[float, ...]
    direction: str
    radius_mm: tuple[float, ...]
    nuclide: str = ""
    agent: str = ""
    collimator: str = ""
    duration_s: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sense(self) -> int:
        """+1 for "ccw", -1 for "cw": s of the frame above."""
        return 1 if self.direction == "ccw" else -1

    @property
    def gates(self) -> int:
        """Number of gates, 1 where not gated."""
        return self.counts.shape[1]

    @property
    def views(self) -> int:
        """Number of views."""
        return self.counts.shape[4]

    def check(self, where: object) -> None:
        """Raise DataError, with `where` for its place, if the parts cannot belong to one acquisition."""
        _check_counts(self.counts, 5, "(window, gate, u, v, view)", where)
        _check_windows(self.windows, self.counts.shape[0], where)
        _check_range([self.pixel_mm], "pixel_mm", _PIXEL_MM, where)
        if len(self.angles_deg) != self.views:
            raise _wrong(where, f"{len(self.angles_deg)} angles for {self.views} views")
        if len(self.radius_mm) != self.views:
            raise _wrong(where, f"{len(self.radius_mm)} radii for {self.views} views")
        _check_range(self.angles_deg, "angles_deg", (-3600.0, 3600.0), where)
        _check_range(self.radius_mm, "radius_mm", _RADIUS_MM, where)
        if self.direction not in DIRECTIONS:
            raise _wrong(where, "the direction of rotation is neither 'ccw' nor 'cw'")
        _check_rest(self.collimator, self.duration_s, where)


@dataclass(frozen=True)
class PlanarImage:
    """Static or whole-body images.

    counts : (window, image, row, column) float32 or int32, as stored: row 0 is the head, columns as seen looking at
    the patient from the detector, so that an anterior image has the patient's right at column 0 and a posterior one
    the patient's left. windows : one for each of the first axis.
    pixel_mm : (row spacing, column spacing). views : of each image, "anterior", "posterior" or "" where not said.
    The others are as in `Projections`; duration_s is of one image.
    """

    counts: np.ndarray
    windows: tuple[EnergyWindow, ...]
    pixel_mm: tuple[float, float]
    views: tuple[str, ...]
    nuclide: str = ""
    agent: str = ""
    collimator: str = ""
    duration_s: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def check(self, where: object) -> None:
        """Raise DataError, with `where` for its place, if the parts cannot belong together."""
        _check_counts(self.counts, 4, "(window, image, row, column)", where)
        _check_windows(self.windows, self.counts.shape[0], where)
        if len(self.pixel_mm) != 2:
            raise _wrong(where, "a planar image has two pixel spacings: of rows and of columns")
        _check_range(self.pixel_mm, "pixel_mm", _PIXEL_MM, where)
        if len(self.views) != self.counts.shape[1]:
            raise _wrong(where, f"{len(self.views)} names of views for {self.counts.shape[1]} images")
        if any(view not in VIEWS for view in self.views):
            raise _wrong(where, "a view is neither 'anterior' nor 'posterior' nor ''")
        _check_rest(self.collimator, self.duration_s, where)


def implausible(counts: np.ndarray) -> str | None:
    """Why an array cannot hold counts (NaN, infinite, negative, beyond MAX_COUNTS), in a few words; None if it can."""
    flat = counts.reshape(-1)
    bad, negative, large, top = 0, 0, 0, 0.0
    for start in range(0, flat.size, _STEP):
        part = flat[start : start + _STEP]
        finite = np.isfinite(part)
        bad += int(part.size - np.count_nonzero(finite))
        negative += int(np.count_nonzero(part < 0))
        large += int(np.count_nonzero((part > MAX_COUNTS) & finite))
        if finite.any():
            top = max(top, float(part[finite].max()))
    if bad:
        return f"{bad} of {flat.size} values are NaN or infinite"
    if negative:
        return f"{negative} of {flat.size} values are negative"
    if large:
        return f"{large} of {flat.size} values are beyond {MAX_COUNTS:.0e} (up to {top:.2g})"
    return None


def along_orbit(angles_deg: Sequence[float]) -> list[int]:
    """The order of views that runs along the orbit, from behind the largest gap; views at one angle keep their order.

    angles_deg : θ of each view in any order, of one head or of several; a full circle starts with the first view.
    """
    turned = [(angle - angles_deg[0]) % 360.0 for angle in angles_deg]
    turned = [0.0 if 360.0 - angle < 1e-6 else angle for angle in turned]
    order = sorted(range(len(turned)), key=turned.__getitem__)
    ends = [*(turned[i] for i in order[1:]), 360.0]
    gaps = [round(end - turned[i], 6) for i, end in zip(order, ends, strict=True)]
    if len(order) > 1 and max(gaps) > 1.5 * sorted(gaps)[len(gaps) // 2]:
        start = (gaps.index(max(gaps)) + 1) % len(order)
        order = order[start:] + order[:start]
    return order


def _check_counts(counts: np.ndarray, ndim: int, axes: str, where: object) -> None:
    if not isinstance(counts, np.ndarray) or counts.ndim != ndim or not counts.size:
        raise _wrong(where, f"the counts are no {ndim}-dimensional array {axes}")
    if counts.dtype not in (np.float32, np.int32):
        raise _wrong(where, f"the counts are {counts.dtype}; they must be float32 or int32")
    if why := implausible(counts):
        raise _wrong(where, f"these are no counts: {why}")


def _check_windows(windows: tuple[EnergyWindow, ...], count: int, where: object) -> None:
    if len(windows) != count:
        raise _wrong(where, f"{len(windows)} energy windows for {count} sets of counts")
    for number, window in enumerate(windows, 1):
        low, high = window.low_kev, window.high_kev
        if not (_KEV[0] <= low < high <= _KEV[1]):
            why = f"energy window {number} runs from {low:g} to {high:g} keV"
            raise _wrong(where, why, "give the levels of the window in keV, the lower one first")


def _check_rest(collimator: str, duration_s: float, where: object) -> None:
    if collimator not in (*COLLIMATORS, ""):
        raise _wrong(where, f"the collimator is none of {', '.join(COLLIMATORS)}")
    if not (math.isfinite(duration_s) and 0 <= duration_s < 1e6):
        raise _wrong(where, f"a view of {duration_s:g} s cannot be")


def _check_range(values: Any, name: str, limits: tuple[float, float], where: object) -> None:
    low, high = limits
    for value in values:
        if not (math.isfinite(value) and low <= value <= high):
            raise _wrong(where, f"{name} of {value:g} lies outside {low:g} to {high:g}")


def _wrong(where: object, why: str, fix: str = "check the file, or export it again") -> DataError:
    return DataError("Cannot use this nuclear-medicine image", where=where, why=why, fix=fix)
