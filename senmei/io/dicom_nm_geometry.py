"""Where the frames of nuclear-medicine DICOM stand: orbits into Senmei's θ, slices into a grid of the world.

DICOM angle φ (PS3.3 C.8.4.11): 0 at the patient's back, growing counter-clockwise seen from the feet: 90 is the
left, 180 anterior, 270 the right. CW lowers it, CC raises it. Senmei's θ is 0 in front: φ = 180 - s θ with s = +1 for
"ccw" (from anterior towards the patient's left), which is DICOM's CW.
DICOM's world (LPS) has x towards the patient's left, y towards the back, z towards the head; ours is RAS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_DEG = 0.05  # views nearer than this are one view


def axis_directions(phi_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """(3,) unit vectors, LPS: along a row and down a column of a frame seen from the detector at φ, head up."""
    phi = np.radians(phi_deg)
    return np.array([-np.cos(phi), np.sin(phi), 0.0]), np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Orbit:
    """Views in order. theta_deg : Senmei's angles, rising along the orbit. members : for each view the indices (into
    the list given) of what was acquired there: several where heads or rotations met. direction : "ccw" or "cw".
    """

    theta_deg: tuple[float, ...]
    members: tuple[tuple[int, ...], ...]
    direction: str


def sort_orbit(phi_deg: list[float], first: int, falling: bool) -> Orbit:
    """One orbit of all views, whichever head acquired them.

    phi_deg : DICOM angle of each. first : the one to start with where the views close a circle. falling : whether the
    detectors turned towards lower φ (CW). Starts after the widest gap, so that an arc is not cut in two.
    """
    sense = 1 if falling else -1
    theta = (sense * (180.0 - np.asarray(phi_deg, float))) % 360.0
    order = np.argsort(theta, kind="stable")
    groups: list[list[int]] = []
    for index in order:
        if groups and theta[index] - theta[groups[-1][0]] < SAME_DEG:
            groups[-1].append(int(index))
        else:
            groups.append([int(index)])
    if len(groups) > 1 and theta[groups[0][0]] + 360.0 - theta[groups[-1][0]] < SAME_DEG:
        groups[0] = groups.pop() + groups[0]
    at = np.array([theta[group[0]] for group in groups])
    gaps = (np.diff(at, append=at[0] + 360.0)) % 360.0  # after each
    if len(groups) == 1 or gaps.max() - np.median(gaps) < 2 * SAME_DEG:
        start = next(i for i, group in enumerate(groups) if first in group)
    else:
        start = (int(np.argmax(gaps)) + 1) % len(groups)
    groups = groups[start:] + groups[:start]
    at = np.roll(at, -start)
    begin = (at[0] + 180.0) % 360.0 - 180.0
    rising = begin + (at - at[0]) % 360.0
    return Orbit(
        tuple(float(round(v, 9)) for v in rising),
        tuple(tuple(sorted(group)) for group in groups),
        "ccw" if falling else "cw",
    )


@dataclass(frozen=True)
class Grid:
    """Frames of a reconstruction in LPS. axes : 6 cosines, row then column. origin : first pixel of the first frame.
    spacing_mm : (row spacing, column spacing). step_mm : from frame to frame along row x column.
    """

    axes: tuple[float, ...]
    origin: tuple[float, float, float]
    spacing_mm: tuple[float, float]
    step_mm: float


def axial_frames(volume: Volume, where: str) -> tuple[np.ndarray, Grid]:
    """(gate, slice, row, column) frames, as near to axial as the grid allows, patient's right at column 0.

    Raises DataError if the volume is neither 3D nor 4D, or its axes are not at right angles.
    """
    import nibabel

    data, affine = volume.data, np.asarray(volume.affine, float)
    if data.ndim not in (3, 4) or not data.size:
        raise _wrong(where, f"a volume has three or four axes, this one {data.ndim}")
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt("LPS")
    )
    data = nibabel.orientations.apply_orientation(data, turn)
    affine = _LPS @ affine @ nibabel.orientations.inv_ornt_aff(turn, volume.shape[:3])
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / edges
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        raise _wrong(where, "its axes are not at right angles, which a stack of frames must have")
    frames = np.asarray(data)[..., None] if data.ndim == 3 else np.asarray(data)
    step = float(edges[2] * np.sign(np.dot(np.cross(axes[:, 0], axes[:, 1]), axes[:, 2])))
    grid = Grid(
        tuple(float(round(v, 9)) + 0.0 for v in (*axes[:, 0], *axes[:, 1])),
        (float(affine[0, 3]), float(affine[1, 3]), float(affine[2, 3])),
        (float(edges[1]), float(edges[0])),
        step,
    )
    return np.ascontiguousarray(frames.transpose(3, 2, 1, 0)), grid


def volume_of(frames: np.ndarray, grid: Grid) -> Volume:
    """A Volume, RAS+ and as near to (left to right, back to front, feet to head) as its axes allow.

    frames : (gate, slice, row, column). A single gate gives (x, y, z), several (x, y, z, gate).
    """
    import nibabel

    row, column = np.array(grid.axes[:3]), np.array(grid.axes[3:])
    affine = np.eye(4)
    affine[:3, 0] = row * grid.spacing_mm[1]
    affine[:3, 1] = column * grid.spacing_mm[0]
    affine[:3, 2] = np.cross(row, column) * grid.step_mm
    affine[:3, 3] = grid.origin
    affine = _LPS @ affine
    data = frames.transpose(3, 2, 1, 0)
    turn = nibabel.orientations.io_orientation(affine)
    affine = affine @ nibabel.orientations.inv_ornt_aff(turn, data.shape[:3])
    data = nibabel.orientations.apply_orientation(data, turn)
    return Volume(np.ascontiguousarray(data[..., 0] if data.shape[3] == 1 else data), affine + 0.0)


def _wrong(where: str, why: str) -> DataError:
    return DataError(
        "Cannot write a reconstruction to DICOM",
        where=where,
        why=why,
        fix="resample it to a plain grid first",
    )
