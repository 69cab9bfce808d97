"""Printed marks and the spots of an image, brought together without knowing which is which.

What every two marks and every two spots would mean is tried as a similarity; the one that most marks agree with is then
fitted to all of them by least squares (Umeyama, IEEE TPAMI 1991;13:376), weighted by the spots' own errors.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.lab.fiducials import Spot

_SCALES = (0.45, 2.2)  # of the header's pixel size that are recognised, to be told
_ALIKE = math.log(1.8)  # of two marks' counts, at most


@dataclass(frozen=True)
class Registration:
    """Where a sheet lies. shift_mm : of its centre. angle_deg : counter-clockwise. scale : printed mm to header's mm.

    residual_mm : root mean square distance of the marks from where they should be, worst_mm its largest. expected_mm :
    what the counting noise of the spots alone would give. marks : how many were found.
    """

    shift_mm: tuple[float, float]
    angle_deg: float
    scale: float
    residual_mm: float
    worst_mm: float
    expected_mm: float
    marks: int

    def to_image(self, points: NDArray) -> NDArray[np.float64]:
        """Places (n, 2) on the sheet (mm) as places in the image's world (mm)."""
        a = math.radians(self.angle_deg)
        turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        return self.scale * np.asarray(points, np.float64) @ turn.T + np.array(self.shift_mm)

    def to_sheet(self, points: NDArray) -> NDArray[np.float64]:
        """Places (..., 2) in the image's world as places on the sheet, mm."""
        a = math.radians(self.angle_deg)
        turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        return (np.asarray(points, np.float64) - np.array(self.shift_mm)) / self.scale @ turn

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return asdict(self) | {"shift_mm": list(self.shift_mm)}


def match(model: NDArray, spots: list[Spot], spot_mm: float) -> dict[int, int]:
    """Mark -> spot of the similarity that most marks agree with; of equals the one with the least residual.

    Marks are alike: their counts must be within a factor of 1.8 of each other.
    """
    best: dict[int, int] = {}
    least = math.inf
    if len(spots) < 3:
        return best
    at = np.array([s.x_mm + 1j * s.y_mm for s in spots])
    counts = np.log([s.counts for s in spots])
    marks = model[:, 0] + 1j * model[:, 1]
    first, second = (i.ravel() for i in np.meshgrid(*[np.arange(len(at))] * 2, indexing="ij"))
    keep = (first != second) & (np.abs(counts[first] - counts[second]) < _ALIKE)
    first, second = first[keep], second[keep]
    for a, b in itertools.combinations(range(len(marks)), 2):
        turn = (at[second] - at[first]) / (marks[b] - marks[a])
        fits = (np.abs(turn) > _SCALES[0]) & (np.abs(turn) < _SCALES[1])
        turn, origin = turn[fits, None], first[fits]
        far = np.abs((turn * (marks - marks[a]) + at[origin, None])[:, :, None] - at)
        far[np.broadcast_to((np.abs(counts - counts[origin, None]) > _ALIKE)[:, None], far.shape)] = np.inf
        near = far.argmin(2)
        off = far.min(2)
        good = off < 0.35 * spot_mm * np.maximum(np.abs(turn), 1.0)
        number, residual = good.sum(1), np.where(good, off**2, 0.0).sum(1)
        for k in np.lexsort((residual, -number))[:8]:
            once = len(set(near[k][good[k]])) == number[k]
            if once and (number[k], -residual[k]) > (len(best), -least):
                best = {int(m): int(near[k][m]) for m in np.flatnonzero(good[k])}
                least = float(residual[k])
    return best


def similarity(model: NDArray, spots: list[Spot], pairs: dict[int, int]) -> Registration:
    """The weighted least-squares similarity of matched marks (n, 2), mm, and spots."""
    marks = np.array([complex(*model[m]) for m in pairs])
    found = np.array([complex(spots[s].x_mm, spots[s].y_mm) for s in pairs.values()])
    errors = np.array([spots[s].error_mm for s in pairs.values()])
    weight = 1.0 / (errors**2 + 0.05**2)  # 0.05 mm: printing itself is no better (assumed)
    weight /= weight.sum()
    centre, middle = (weight * marks).sum(), (weight * found).sum()
    turn = (weight * np.conj(marks - centre) * (found - middle)).sum() / (
        weight * np.abs(marks - centre) ** 2
    ).sum()
    shift = middle - turn * centre
    off = np.abs(found - turn * marks - shift)
    n = len(off)
    return Registration(
        shift_mm=(float(shift.real), float(shift.imag)),
        angle_deg=math.degrees(math.atan2(turn.imag, turn.real)),
        scale=float(abs(turn)),
        residual_mm=float(np.sqrt((off**2).mean())),
        worst_mm=float(off.max()),
        expected_mm=float(np.sqrt(2 * (errors**2).mean() * max(n - 2, 0) / n)),
        marks=n,
    )
