"""Photons that reach the crystal through the lead of a parallel-hole collimator.

The rule of design (Anger 1964; Keller 1968) bounds it: the shortest way from one hole into the next through a septum is
w = t l / (2 d + t), and exp(-mu w) of the photons on it pass. As a share of the counts that is too few, for oblique
photons are many more than those along the holes. Here rays are traced instead, through the lattice of hexagonal holes,
in all directions, each weighted with exp(-mu x path in lead). Those more oblique than any photon can be that passes
holes of the effective length from corner to corner are the tail; the less oblique belong to the geometric response,
whose effective length already counts what penetrates the edges of holes.

Approximations: lead only absorbs, its Compton scatter and its X-rays are left out (for I-131 as many counts again: of a
point source in air 73 % of the window had penetrated or scattered, Dewaraja et al., J Nucl Med 2000;41:123); only the
window's own photons, not those of higher energy; the tail is a Gaussian of the same half radius, not a star.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, nearest
from senmei.physics.gamma_camera import COLLIMATORS, Collimator, lead_attenuation

_STEEPEST = 2.0  # tangent of the obliquest rays traced: 63 degrees
_STARTS = 12  # places of rays along each side of the lattice's cell
_AZIMUTHS = 5  # over the 30 degrees that the lattice's symmetry leaves


@dataclass(frozen=True)
class Penetration:
    """share : of all counts, 0-1, that are the tail. tangent : half of the tail is less oblique."""

    share: float
    tangent: float

    def fwhm_mm(self, distance_mm: float, length_mm: float) -> float:
        """FWHM in mm of the Gaussian with the tail's half radius, (distance + hole length) x tangent."""
        return 2.0 * (max(distance_mm, 0.0) + length_mm) * self.tangent


def minimal_septal_transmission(collimator: str, energy_kev: float) -> float:
    """exp(-mu w) of the shortest septal path, w = t l / (2 d + t): the rule that collimators are designed by (5 %)."""
    c = _collimator(collimator)
    path_mm = c.septa_mm * c.length_mm / (2.0 * c.hole_mm + c.septa_mm)
    return math.exp(-lead_attenuation(energy_kev) * path_mm / 10.0)


@lru_cache(maxsize=64)
def septal_penetration(collimator: str, energy_kev: float) -> Penetration:
    """What penetrates the septa of a collimator (a name in `COLLIMATORS`), by ray tracing; about a second, kept.

    Raises ConfigError for an unknown collimator.
    """
    c = _collimator(collimator)
    lead = lead_attenuation(energy_kev)
    # never less than half of it: for photons that hardly see the lead an effective length means nothing
    effective_mm = max(c.length_mm - 20.0 / lead, c.length_mm / 2.0)
    along, passed = transmission(c, lead)
    tangent = along / c.length_mm
    density = passed * tangent / 2.0 / (1.0 + tangent**2) ** 1.5  # of photons emitted in any direction
    steps = np.diff(tangent) * (density[1:] + density[:-1]) / 2.0
    less_oblique = np.concatenate([[0.0], np.cumsum(steps)])
    corner_to_corner = 2.0 / math.sqrt(3.0) * c.hole_mm / effective_mm
    within, all_of_them = float(np.interp(corner_to_corner, tangent, less_oblique)), float(less_oblique[-1])
    half = float(np.interp((within + all_of_them) / 2.0, less_oblique, tangent))
    return Penetration(1.0 - within / all_of_them, half)


def transmission(c: Collimator, lead_per_cm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of photons that pass, by how far they get along the face on their way through the holes' length.

    Returns (mm along the face, share that passes), each (n,), from straight photons on: means over places in the
    lattice's cell and azimuths. The lead in a ray's way is proportional to that on its projection on the face.
    """
    pitch = c.hole_mm + c.septa_mm
    end = _STEEPEST * c.length_mm
    near = np.arange(0.0, 3.0 * pitch, min(c.septa_mm / 8.0, c.hole_mm / 40.0))
    edges = np.concatenate([near, np.arange(near[-1], end, c.septa_mm / 3.0)[1:], [end]])
    middle, step = (edges[1:] + edges[:-1]) / 2.0, np.diff(edges)
    place = (np.arange(_STARTS) + 0.5) / _STARTS
    u, v = np.meshgrid(place, place, indexing="ij")
    start = np.stack([(u + v / 2.0).ravel(), (math.sqrt(0.75) * v).ravel()], axis=1) * pitch
    slant = np.hypot(1.0, c.length_mm / edges[1:])  # length of a ray over its projection's
    opening = float((~_in_lead(start, pitch, c.hole_mm)).mean())
    passed = np.zeros(len(edges))
    passed[0] = opening + (1.0 - opening) * math.exp(-lead_per_cm * c.length_mm / 10.0)
    for turn in (np.arange(_AZIMUTHS) + 0.5) / _AZIMUTHS * math.pi / 6.0:
        ray = start[:, None, :] + middle[:, None] * np.array([math.cos(turn), math.sin(turn)])
        lead_mm = np.cumsum(_in_lead(ray, pitch, c.hole_mm) * step, axis=1)
        passed[1:] += np.exp(-lead_per_cm / 10.0 * lead_mm * slant).mean(axis=0) / _AZIMUTHS
    return edges, passed


def _in_lead(point: NDArray, pitch: float, hole: float) -> NDArray[np.bool_]:
    """Whether points (..., 2) of the face, mm, are in no hole: hexagons `hole` across flats, centres `pitch` apart."""
    v = point[..., 1] / (math.sqrt(0.75) * pitch)
    u = point[..., 0] / pitch - v / 2.0
    u, v = u - np.floor(u), v - np.floor(v)
    nearest_flat = np.full(point.shape[:-1], np.inf)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):  # the hole of a point is at one corner of its cell
        x, y = ((u - i) + (v - j) / 2.0) * pitch, math.sqrt(0.75) * (v - j) * pitch
        side = math.sqrt(0.75) * y
        flat = np.maximum(np.abs(x), np.maximum(np.abs(x / 2.0 + side), np.abs(x / 2.0 - side)))
        nearest_flat = np.minimum(nearest_flat, flat)
    return nearest_flat > hole / 2.0


def _collimator(name: str) -> Collimator:
    if name not in COLLIMATORS:
        raise ConfigError(
            f"unknown collimator '{name}'",
            where="septal penetration",
            why="only collimators whose holes, septa and length are known can be traced",
            fix=nearest(name, COLLIMATORS),
        )
    return COLLIMATORS[name]
