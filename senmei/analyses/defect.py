"""Contrast of a perfusion defect whose place is known against the normal wall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from senmei.analyses.polar import wall_grid
from senmei.analyses.short_axis import HeartFrame
from senmei.core.errors import DataError
from senmei.core.volume import Volume

MARGIN = 15.0  # mm along the wall between defect and remote wall: about 1.5 times a reconstruction's blur
BAND = 10.0  # mm beyond the defect's ends along the axis where remote wall is taken first
FEW = 12  # voxels; with fewer in the band, the whole remote wall is taken
BASAL = 0.2  # of the length: nearer to the valves blur thins the counts of normal wall, too


def defect_regions(
    segments: Volume, frame: HeartFrame, defect: Mapping[str, Any], where: str = "heart: defect"
) -> tuple[np.ndarray, np.ndarray]:
    """(x, y, z) bool masks (defect, remote) within the wall, full thickness.

    segments : (x, y, z), above 0 in the wall of the left ventricle. defect : centre_mm (world), extent_deg (full
    width round the axis), length_mm (full length along it). Remote: wall at least `MARGIN` from the defect at the
    same levels, where attenuation, scatter and partial volume are most alike; where the defect takes most of
    these levels, all remote wall. Raises DataError if the defect lacks a number or no wall is left on either side.
    """
    try:
        centre = np.asarray(defect["centre_mm"], float).reshape(3)
        extent, length = float(defect["extent_deg"]), float(defect["length_mm"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(
            where, f"its centre_mm, extent_deg or length_mm is missing or no number: {error!r}"
        ) from error
    grid = wall_grid(frame)
    points = grid.points.reshape(-1, 3)
    axial, angle = (np.broadcast_to(v, grid.segments.shape).ravel() for v in (grid.axial, grid.angle))
    own = int(cKDTree(points).query(centre)[1])
    along = np.abs(axial - axial[own]) * frame.length
    turn = np.abs((angle - frame.locate(centre)[2] + 180) % 360 - 180)
    inside = (along <= length / 2) & ((turn <= extent / 2) | (extent >= 360))
    if not inside.any():
        inside[own] = True
    apart = cKDTree(points[inside]).query(points)[0]
    remote = (apart >= MARGIN) & (axial >= BASAL)
    band = remote & (along <= length / 2 + BAND)
    wall = np.argwhere(segments.data > 0)
    places = wall @ segments.affine[:3, :3].T + segments.affine[:3, 3]
    ray = cKDTree(points).query(places)[1] if len(wall) else np.zeros(0, int)
    masks = []
    for chosen in (inside[ray], band[ray] if band[ray].sum() >= FEW else remote[ray]):
        if not chosen.any():
            raise _unusable(
                where, f"{len(wall)} voxels of wall, none of them in the defect or none remote from it"
            )
        mask = np.zeros(segments.shape, bool)
        mask[tuple(wall[chosen].T)] = True
        masks.append(mask)
    return masks[0], masks[1]


def contrast(data: np.ndarray, defect: np.ndarray, remote: np.ndarray) -> float:
    """1 - mean(defect) / mean(remote): 0 without a defect, 1 without uptake. NaN if the remote mean is not above 0."""
    normal = float(data[remote].mean())
    return 1 - float(data[defect].mean()) / normal if normal > 0 else float("nan")


def _unusable(where: str, why: str) -> DataError:
    return DataError(
        "Unusable description of the defect",
        where=where,
        why=why,
        fix="give centre_mm inside the wall, extent_deg and length_mm, and AHA segments on the image's grid",
    )
