"""Polar maps of the left ventricle with the 17 AHA segments, as vectors over a small picture.

Segments after Cerqueira et al., Circulation 2002;105:539: anterior on top, septum left, inferior at the bottom,
lateral right; rings from the apex (centre) to the base, their borders at 1/4, 1/2 and 3/4 of the radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from senmei.report import pixels
from senmei.report.files import finite

SEGMENTS = (
    "basal anterior", "basal anteroseptal", "basal inferoseptal", "basal inferior", "basal inferolateral",
    "basal anterolateral", "mid anterior", "mid anteroseptal", "mid inferoseptal", "mid inferior",
    "mid inferolateral", "mid anterolateral", "apical anterior", "apical septal", "apical inferior",
    "apical lateral", "apex",
)  # fmt: skip
RADIUS = 100.0  # of the drawing
_SIDE = 150  # pixels of the picture under it
_LEVELS = ((1, 6, 75.0, 100.0), (7, 6, 50.0, 75.0), (13, 4, 25.0, 50.0))  # first segment, count, radii


@dataclass(frozen=True)
class Segment:
    """One segment of a drawn map: AHA number, name, value in words, where its text stands and its outline."""

    number: int
    name: str
    value: str
    x: float
    y: float
    path: str


@dataclass(frozen=True)
class Bullseye:
    """A map of one image: what it is of, address of the picture below, segments, all in words."""

    method: str
    title: str
    colour: str
    oracle: bool
    src: str
    alt: str
    segments: tuple[Segment, ...]
    planted: tuple[str, ...]  # outlines of the segments with a planted defect

    @property
    def size(self) -> int:
        """Bytes it adds to the page, about."""
        return len(self.src) + len(self.alt) + 4000


def centre(number: int) -> tuple[float, float]:
    """(x, y) of a segment's middle on a map of radius 100, y downwards as in SVG."""
    if number == 17:
        return 0.0, 0.0
    first, count, inner, outer = next(level for level in _LEVELS if level[0] <= number < level[0] + level[1])
    return _point((inner + outer) / 2, 360 / count * (number - first))


def _point(radius: float, angle: float) -> tuple[float, float]:
    """Angles count from the top over the left: anterior, septal, inferior, lateral."""
    turn = np.radians(angle)
    return round(float(-radius * np.sin(turn)), 2), round(float(-radius * np.cos(turn)), 2)


def outline(number: int) -> str:
    """SVG path of a segment."""
    if number == 17:
        return "M-25 0A25 25 0 1 1 25 0A25 25 0 1 1 -25 0Z"
    first, count, inner, outer = next(level for level in _LEVELS if level[0] <= number < level[0] + level[1])
    step = 360 / count
    low, high = step * (number - first) - step / 2, step * (number - first) + step / 2
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = (
        _point(r, a) for r, a in ((outer, low), (outer, high), (inner, high), (inner, low))
    )
    return f"M{ax} {ay}A{outer:g} {outer:g} 0 0 0 {bx} {by}L{cx} {cy}A{inner:g} {inner:g} 0 0 1 {dx} {dy}Z"


def picture(rings: np.ndarray, low: float, high: float, colour: str) -> str:
    """data: address of a map, clear outside its circle.

    rings : (rings, angles), the first ring at the apex; angle k of n spans 360 k / n to 360 (k + 1) / n degrees from
    anterior over septal, inferior and lateral. Shown at low..high, interpolated bilinearly.
    """
    rings = np.nan_to_num(np.asarray(rings, np.float64))
    count, angles = rings.shape
    at = (np.arange(_SIDE) + 0.5) / _SIDE * 2 - 1
    x, y = np.meshgrid(at, -at)
    radius, turn = np.hypot(x, y), np.degrees(np.arctan2(-x, y)) % 360
    ring = np.clip(radius * count - 0.5, 0, count - 1)
    angle = turn / 360 * angles - 0.5
    inner, before = np.minimum(ring.astype(int), max(count - 2, 0)), np.floor(angle).astype(int)
    u, v = ring - inner, angle - before
    outer, before, after = np.minimum(inner + 1, count - 1), before % angles, (before + 1) % angles
    values = (1 - u) * ((1 - v) * rings[inner, before] + v * rings[inner, after])
    values += u * ((1 - v) * rings[outer, before] + v * rings[outer, after])
    scale = pixels.ramp(colour)
    span = high - low if high > low else 1.0
    levels = (np.clip((values - low) / span, 0, 1) * (len(scale) - 1)).round().astype(np.uint8)
    levels[radius > 1] = len(scale)
    palette = np.vstack([scale, [[0, 0, 0]]]).astype(np.uint8)
    return pixels.data_uri(pixels.palette_png(levels, palette, clear=True, smooth=True))


def from_segments(values: Sequence[float]) -> np.ndarray:
    """(4, 48) rings of a map of which only the 17 values are known."""
    levels = [[16] * 48]
    for first, count, *_ in reversed(_LEVELS):
        width = 48 // count
        levels.append([first - 1 + ((k + width // 2) // width) % count for k in range(48)])
    return np.asarray(values, float)[np.array(levels)]


def bullseye(
    method: str,
    title: str,
    look: tuple[str, bool],
    rings: np.ndarray | None,
    values: Sequence[float],
    window: tuple[float, float],
    scale: str,
    level: float,
    planted: Sequence[int] = (),
) -> Bullseye:
    """The map of one image.

    look : its method's colour, and whether that is an oracle. rings : see `picture`, or None: the 17 values fill
    their segments. values : (17,) in the image's unit; printed as per cent of `level`. window : low and high of
    the colours, in the image's unit. scale : the colour scale. planted : segments with a planted defect.
    """
    drawn = from_segments(values) if rings is None else rings
    shown = [None if finite(value) is None else f"{100 * float(value) / level:.0f}" for value in values]
    segments = tuple(
        Segment(n + 1, SEGMENTS[n], shown[n] or "–", *centre(n + 1), outline(n + 1)) for n in range(17)
    )
    words = ", ".join(f"{s.number} {s.name} {s.value}" for s in segments)
    alt = f"Polar map, {title}, per cent of normal by AHA segment: {words}"
    return Bullseye(
        method, title, *look, picture(drawn, *window, scale), alt, segments,
        tuple(outline(int(n)) for n in planted if 1 <= int(n) <= 17),
    )  # fmt: skip
