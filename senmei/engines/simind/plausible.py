"""Whether projections lie as they should: a look at every run, since SIMIND's own orientation is partly assumed.

A coarse model of the patient (blocks of voxels, attenuated, not blurred) is projected as Senmei understands the
geometry, and as each other reading of SIMIND's conventions would have it: rows or columns turned round, the camera
going the other way, the start angle counting the other way. A patient is asymmetric enough for the right reading to fit
best by far. Where another one does, the conventions assumed in `senmei.engines.simind.orientation` are not those of
this SIMIND, and its counts must not be used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from senmei.core.errors import EngineError
from senmei.core.volume import Volume
from senmei.engines.simind.orientation import Rotation

_BINS, _VIEWS = 24, 12
_CLEARLY = 0.03  # by which another reading's correlation is better; a torso's right reading wins by 0.1


@dataclass(frozen=True, eq=False)
class Coarse:
    """Activity and attenuation (1/cm), (x, y, z) in cubic blocks of `block_mm` around the axis of rotation."""

    activity: np.ndarray
    mu: np.ndarray
    block_mm: float


def coarse(activity: Volume, mu: Volume) -> Coarse:
    """The patient in about 24 blocks an axis."""
    factor = max(1, math.ceil(max(activity.shape) / (2 * _BINS)))
    blocks = [_blocks(np.asarray(v.data, np.float64), factor) for v in (activity, mu)]
    return Coarse(blocks[0], blocks[1], float(np.mean(activity.voxel)) * factor)


def check_orientation(
    total: np.ndarray, patient: Coarse, acquisition: Mapping[str, Any], turn: Rotation, *, where: str
) -> float:
    """How well projections (u, v, view) fit the patient: their correlation with the coarse model's.

    Raises EngineError where they fit another reading of SIMIND's conventions clearly better.
    """
    angles = np.asarray(acquisition["angles_deg"], np.float64)
    sense = 1 if acquisition["direction"] == "ccw" else -1
    chosen = np.unique(np.linspace(0, len(angles) - 1, min(_VIEWS, len(angles))).round().astype(int))
    measured, places = _bins(total[:, :, chosen], float(acquisition["voxel_mm"]))
    # SIMIND's first view and its steps, as Senmei's theta of the views that were chosen
    order = len(angles) - 1 - chosen if turn.reverse else chosen
    first = float(angles[-1] if turn.reverse else angles[0])
    steps = (-1 if turn.reverse else 1) * order * (turn.arc_deg / turn.views)
    fits: dict[str, float] = {}
    for start, way in itertools.product((1, -1), repeat=2):
        expected = _project(patient, start * first + way * steps, sense, places)
        for flip_u, flip_v in itertools.product((False, True), repeat=2):
            turned = expected[::-1] if flip_u else expected
            turned = turned[:, ::-1] if flip_v else turned
            told = [
                "columns run the other way" if flip_u else "",
                "rows run the other way" if flip_v else "",
                "the camera turns the other way" if way < 0 else "",
                "the start angle counts the other way (start_sign)" if start < 0 else "",
            ]
            fits[", ".join(filter(None, told))] = _correlation(turned, measured)
    assumed, best = fits[""], max(fits, key=lambda name: fits[name])
    if fits[best] - assumed > _CLEARLY:
        raise EngineError(
            "SIMIND's projections do not lie as Senmei reads them",
            where=where,
            why=f"they fit the patient better if {best} (correlation {fits[best]:.2f}; as read {assumed:.2f})",
            fix="do not use these counts; if it is the start angle alone, change simind.start_sign (1, -1); else tell "
            "Senmei's developers which release of SIMIND this is, and use engine: builtin",
        )
    return assumed


def _blocks(data: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks; the outermost are filled up evenly with zeros, so that the centre stays."""
    pads = [((-n % factor) // 2, -n % factor - (-n % factor) // 2) for n in data.shape]
    padded = np.pad(data, pads)
    nx, ny, nz = (n // factor for n in padded.shape)
    return padded.reshape(nx, factor, ny, factor, nz, factor).mean(axis=(1, 3, 5))


def _bins(total: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Mean counts in at most 24 x 24 bins a view, and their centres along u and v in mm from the middle."""
    result, places = total.astype(np.float64), []
    for axis in (0, 1):
        count = result.shape[axis]
        edges = np.unique(np.linspace(0, count, min(_BINS, count) + 1).round().astype(int))
        sizes = np.diff(edges)
        shape = [1, 1, 1]
        shape[axis] = -1
        result = np.add.reduceat(result, edges[:-1], axis=axis) / sizes.reshape(shape)
        places.append(((edges[:-1] + edges[1:]) / 2 - count / 2) * pixel_mm)
    return result, (places[0], places[1])


def _project(
    patient: Coarse, angles: np.ndarray, sense: int, places: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(u, v, view) of the coarse patient at these angles, attenuated."""
    from scipy.ndimage import map_coordinates

    block = patient.block_mm
    reach = math.hypot(*patient.activity.shape[:2]) / 2
    depth = np.arange(-reach, reach + 1)  # towards the detector
    middle = [(n - 1) / 2 for n in patient.activity.shape]
    u, v = (place / block for place in places)
    views = []
    for angle in np.radians(angles):
        sine, cosine = sense * math.sin(angle), math.cos(angle)
        x = middle[0] - depth[:, None, None] * sine + u[None, :, None] * cosine
        y = middle[1] + depth[:, None, None] * cosine + u[None, :, None] * sine
        z = np.broadcast_to(middle[2] + v[None, None, :], (len(depth), len(u), len(v)))
        grid = np.stack([np.broadcast_to(x, z.shape), np.broadcast_to(y, z.shape), z])
        activity = map_coordinates(patient.activity, grid, order=1)
        mu = map_coordinates(patient.mu, grid, order=1) * (block / 10)
        ahead = np.cumsum(mu[::-1], axis=0)[::-1] - mu / 2
        views.append((activity * np.exp(-ahead)).sum(axis=0))
    return np.stack(views, axis=-1)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    spread = float(np.std(a) * np.std(b))
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
