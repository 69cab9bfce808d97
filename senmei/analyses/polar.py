"""The left ventricle unrolled: rays across its wall, polar (bull's-eye) maps and the 17 AHA segments.

Segments after Cerqueira et al., Circulation 2002;105:539: 1-6 basal, 7-12 middle (60 degrees each, from anterior
over septal and inferior to lateral), 13-16 apical (90 degrees each: anterior, septal, inferior, lateral), 17 apex.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from senmei.analyses.short_axis import HeartFrame, Sampler, check_inside
from senmei.core.volume import Volume
from senmei.phantoms.heart import LEVELS, aha_segments
from senmei.phantoms.ventricle import WIDEST

SEGMENTS = 17
RINGS_PER_LEVEL = 4
ANGLES = 48  # of 7.5 degrees: the borders at 30 and 45 degrees fall between two of them
STEP = 0.75  # mm along a ray
INWARD, OUTWARD = 20.0, 20.0  # mm of a ray to either side of the middle of the wall
SEARCH = 9.0  # mm around the middle of the wall where its maximum is looked for
TERRITORIES = {
    "lad": (1, 2, 7, 8, 13, 14, 17),
    "rca": (3, 4, 9, 10, 15),
    "lcx": (5, 6, 11, 12, 16),
}


@dataclass(frozen=True)
class WallGrid:
    """The middle of the wall in 16 rings (apex to base) of 48 angles; a mid-wall place and its normal each.

    points, normals : (16, 48, 3), world mm and outward unit vectors. axial : (16, 1) of the nearest epicardial
    point, 0 basal plane to 1 apex. angle : (1, 48) degrees, 0 anterior, 90 septal, 180 inferior, 270 lateral.
    segments : (16, 48) int, the AHA segment 1..17.
    """

    points: np.ndarray
    normals: np.ndarray
    axial: np.ndarray
    angle: np.ndarray
    segments: np.ndarray


@dataclass(frozen=True)
class Rays:
    """Values of one image along rays through the wall, perpendicular to it.

    values : (rings, angles, samples). offsets : (samples,) mm from the middle of the wall, negative in the cavity.
    wall : where the rays cross it.
    """

    values: np.ndarray
    offsets: np.ndarray
    wall: WallGrid

    @property
    def maxima(self) -> np.ndarray:
        """(rings, angles) largest value near the wall on each ray: the maximal count circumferential profiles."""
        return self.values[..., np.abs(self.offsets) <= SEARCH].max(axis=-1)


@dataclass(frozen=True)
class PolarMap:
    """A bull's-eye. rings : (16, 48) maximal counts, the first ring at the apex (centre of the map), the last basal.

    Angle k spans 7.5 k to 7.5 (k + 1) degrees, counted from anterior (top of the map) over septal (left), inferior
    (bottom) and lateral (right): counter-clockwise on the page. Four rings each belong to apex, apical, middle and
    basal level, so that on a map of radius 1 the borders of the levels lie at 1/4, 1/2, 3/4.
    segments : (17,) means of the rays in each AHA segment.
    """

    rings: np.ndarray
    segments: np.ndarray


def wall_grid(frame: HeartFrame) -> WallGrid:
    """Where rays cross the wall: half its thickness below an ellipsoidal epicardium that ends in the basal plane.

    Each of apex, apical, middle and basal level has four rings; their borders are `LEVELS` of the long axis, as for
    the voxels of the role `segments`.
    """
    long = (1 - WIDEST) * frame.length
    fine = np.linspace(0, np.arccos(-WIDEST / (1 - WIDEST)), 400)
    inward = np.cos(fine) / np.hypot(np.cos(fine), np.sin(fine) * long / frame.equator)
    place = (
        WIDEST + (1 - WIDEST) * np.cos(fine) - frame.wall / 2 * inward / frame.length
    )  # of the middle of the wall
    borders = np.interp(-np.array(LEVELS[::-1]), -place, fine)
    borders = np.array([0.0, *borders, fine[-1]])
    part = (np.arange(RINGS_PER_LEVEL) + 0.5) / RINGS_PER_LEVEL
    theta = (borders[:-1, None] + np.diff(borders)[:, None] * part).ravel()[:, None]
    angle = ((np.arange(ANGLES) + 0.5) * 360 / ANGLES)[None, :]
    phi = np.radians(angle)
    radial = np.sin(phi)[..., None] * frame.septum + np.cos(phi)[..., None] * frame.up
    surface = (
        frame.base
        - (WIDEST * frame.length + long * np.cos(theta))[..., None] * frame.axis
        + (frame.equator * np.sin(theta))[..., None] * radial
    )
    normals = (
        -(np.cos(theta) / long)[..., None] * frame.axis + (np.sin(theta) / frame.equator)[..., None] * radial
    )
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    axial = WIDEST + (1 - WIDEST) * np.cos(theta)
    segments = aha_segments(np.interp(theta, fine, place).clip(0), angle).astype(int)
    return WallGrid(surface - frame.wall / 2 * normals, normals, axial, angle, segments)


def cast_rays(volume: Volume | Sampler, heart: Mapping[str, Any] | HeartFrame) -> Rays:
    """Values along the rays of `wall_grid`. Raises DataError if the heart is unusable or outside the field."""
    if isinstance(volume, Volume):
        heart = check_inside(volume, heart)
        volume = Sampler(volume)
    elif not isinstance(heart, HeartFrame):
        raise TypeError("a Sampler needs a HeartFrame that was checked against its volume")
    wall = wall_grid(heart)
    offsets = np.arange(-round(INWARD / STEP), round(OUTWARD / STEP) + 1) * STEP
    values = volume(wall.points[..., None, :] + offsets[:, None] * wall.normals[..., None, :])
    return Rays(values, offsets, wall)


def by_segment(values: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(17,) float64 means of `values` over places of equal `segments` (1..17; others are passed over); NaN if none."""
    known = (segments >= 1) & (segments <= SEGMENTS)
    labels = segments[known].astype(int)
    counts = np.bincount(labels, minlength=SEGMENTS + 1)[1:]
    sums = np.bincount(labels, weights=values[known].astype(float), minlength=SEGMENTS + 1)[1:]
    return np.divide(sums, counts, out=np.full(SEGMENTS, np.nan), where=counts > 0)


def polar_map(volume: Volume | Sampler | Rays, heart: Mapping[str, Any] | HeartFrame) -> PolarMap:
    """The bull's-eye of a volume (x, y, z). Raises DataError if the heart is unusable or outside the field."""
    rays = volume if isinstance(volume, Rays) else cast_rays(volume, heart)
    maxima = rays.maxima
    return PolarMap(maxima.astype(np.float32), by_segment(maxima, rays.wall.segments))
