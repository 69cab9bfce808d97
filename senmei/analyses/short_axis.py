"""The heart in its own axes: short-axis and long-axis slices, and lines across it.

Displays follow the common standard [ACC/AHA/SNM, Circulation 1984;70:912A; Cerqueira et al., Circulation
2002;105:539]: in every array returned here the first index runs to the right of the display and the second one
upwards, so `imshow(data[:, :, k].T, origin="lower")` shows it as a cardiologist expects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.phantoms.ventricle import WIDEST

AROUND = 15.0  # mm beyond the epicardium that belong to the ventricle: what blur carries out of the wall
KEYS = ("apex_mm", "base_mm", "septum", "wall_mm", "cavity_mm")


@dataclass(frozen=True)
class HeartFrame:
    """Where the left ventricle lies and how large it is; world mm (RAS+).

    apex : (3,) epicardial apex. axis : (3,) unit vector apex -> base. septum : (3,) unit vector from the axis
    toward the right ventricle. length : epicardial apex to basal plane. radius : of the cavity at the base.
    wall : thickness of the wall. All mm.
    """

    apex: np.ndarray
    axis: np.ndarray
    septum: np.ndarray
    length: float
    radius: float
    wall: float

    @cached_property
    def up(self) -> np.ndarray:
        """(3,) unit vector toward the anterior wall: with the septum left, the eye looks from apex to base."""
        return np.cross(self.axis, self.septum)

    @property
    def equator(self) -> float:
        """Greatest epicardial radius, mm: of an ellipsoid whose equator lies `WIDEST` of the length below the base."""
        return float((self.radius + self.wall) / np.sqrt(1 - (WIDEST / (1 - WIDEST)) ** 2))

    @property
    def base(self) -> np.ndarray:
        """(3,) centre of the basal plane, mm."""
        return self.apex + self.length * self.axis

    @property
    def middle(self) -> np.ndarray:
        """(3,) point of the axis in the middle of the ventricle, mm."""
        return self.apex + self.length / 2 * self.axis

    def place(self, right: np.ndarray, up: np.ndarray, height: np.ndarray) -> np.ndarray:
        """(..., 3) world mm of points given by mm toward the lateral wall, the anterior wall, and from the apex."""
        right, up, height = (np.asarray(v, float)[..., None] for v in (right, up, height))
        return self.apex - right * self.septum + up * self.up + height * self.axis

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(height from the apex, distance from the axis, angle) of world points (..., 3); mm, mm, degrees 0..360.

        Angle 0 is anterior, 90 septal, 180 inferior, 270 lateral: the order of the AHA segments.
        """
        away = np.asarray(points, float) - self.apex
        septal, up = away @ self.septum, away @ self.up
        return away @ self.axis, np.hypot(septal, up), np.degrees(np.arctan2(septal, up)) % 360


def frame_of(heart: Mapping[str, Any] | HeartFrame, where: str = "heart") -> HeartFrame:
    """The frame that a `heart` dict describes: apex_mm, base_mm, septum, wall_mm, cavity_mm.

    Raises DataError if a key is missing, a number unusable, or the septum lies along the axis.
    """
    if isinstance(heart, HeartFrame):
        return heart
    missing = [key for key in KEYS if key not in heart]
    if missing:
        raise _unusable(where, f"it lacks {', '.join(missing)}")
    try:
        apex, base, septum = (np.asarray(heart[key], dtype=float).reshape(3) for key in KEYS[:3])
        wall, radius = float(heart["wall_mm"]), float(heart["cavity_mm"])
    except (TypeError, ValueError) as error:
        raise _unusable(where, f"a value is not a number or a point: {error}") from error
    length = float(np.linalg.norm(base - apex))
    if not (np.isfinite([*apex, *base, *septum, wall, radius]).all() and wall > 0 and radius > 0):
        raise _unusable(where, "a value is not finite, or a size not above zero")
    if length <= 2 * wall:
        raise _unusable(where, f"apex and base are {length:.3g} mm apart, the wall is {wall:.3g} mm thick")
    axis = (base - apex) / length
    across = septum - (septum @ axis) * axis
    if np.linalg.norm(across) < 0.1 * max(float(np.linalg.norm(septum)), 1e-9):
        raise _unusable(where, "the direction of the septum is zero or along the axis")
    return HeartFrame(apex, axis, across / np.linalg.norm(across), length, radius, wall)


def sample(volume: Volume, points: np.ndarray) -> np.ndarray:
    """(...) float64 values of a 3D volume at world mm `points` (..., 3), by cubic splines; 0 outside the grid."""
    return Sampler(volume)(points)


class Sampler:
    """Cubic-spline interpolation of one volume, its coefficients found once. Raises DataError unless it is 3D."""

    def __init__(self, volume: Volume) -> None:
        if volume.data.ndim != 3:
            raise DataError(
                "Cannot look at the heart",
                where="volume",
                why=f"an image of shape (x, y, z) is needed, this has shape {volume.shape}",
                fix="give one realisation at a time",
            )
        self._inverse = np.linalg.inv(volume.affine)
        self._coefficients = ndimage.spline_filter(
            np.asarray(volume.data, np.float64), order=3, mode="mirror"
        )

    def __call__(self, points: np.ndarray) -> np.ndarray:
        at = np.asarray(points, float) @ self._inverse[:3, :3].T + self._inverse[:3, 3]
        shape = np.array(self._coefficients.shape)
        values = ndimage.map_coordinates(
            self._coefficients, np.moveaxis(at, -1, 0), order=3, mode="mirror", prefilter=False
        )
        # Up to the outer voxels' faces: a mirrored image beyond them would look like tissue.
        return np.where(((at >= -0.5) & (at <= shape - 0.5)).all(axis=-1), values, 0.0)


def check_inside(volume: Volume, heart: Mapping[str, Any] | HeartFrame, where: str = "heart") -> HeartFrame:
    """The frame of a heart that lies wholly in the grid of `volume`. Raises DataError, naming the side it leaves."""
    frame = frame_of(heart, where)
    turn = np.radians(np.arange(0, 360, 15))
    reach = frame.radius + frame.wall
    rim = frame.place(-reach * np.sin(turn), reach * np.cos(turn), np.full(turn.shape, frame.length))
    points = np.concatenate([frame.apex[None], rim])
    inverse = np.linalg.inv(volume.affine)
    at = points @ inverse[:3, :3].T + inverse[:3, 3]
    last = np.array(volume.shape[:3]) - 0.5
    over = np.asarray(np.maximum(-0.5 - at.min(axis=0), at.max(axis=0) - last))
    if over.max() > 0:
        k = int(over.argmax())
        raise DataError(
            "The heart lies outside the field",
            where=where,
            why=f"it reaches {float(over[k]) * volume.voxel[k]:.0f} mm beyond the image's {'xyz'[k]} range "
            f"({volume.shape[k]} voxels of {volume.voxel[k]:.3g} mm)",
            fix="check that the heart's coordinates belong to this image, or give a larger field of view",
        )
    return frame


def short_axis(
    volume: Volume,
    heart: Mapping[str, Any] | HeartFrame,
    *,
    voxel_mm: float = 4.0,
    size: int = 32,
    slices: int = 12,
) -> Volume:
    """Short-axis slices, apex to base along the third axis: anterior up, septum left, lateral right, inferior down.

    voxel_mm, size : of the square slices around the long axis. slices : share the length from apex to base equally.
    Returns (size, size, slices) float32; its affine gives the slices' own place in the world.
    Raises DataError if the heart is unusable or outside the field.
    """
    frame = check_inside(volume, heart)
    thick = frame.length / slices
    return _cut(
        volume,
        frame,
        (-frame.septum, frame.up, frame.axis),
        (voxel_mm, voxel_mm, thick),
        (size, size, slices),
    )


def vertical_long_axis(
    volume: Volume,
    heart: Mapping[str, Any] | HeartFrame,
    *,
    voxel_mm: float = 4.0,
    size: int = 32,
    slices: int = 9,
) -> Volume:
    """Vertical long-axis slices, septal to lateral: anterior up, apex right. Arguments and errors as `short_axis`."""
    frame = check_inside(volume, heart)
    thick = 2 * frame.equator / slices
    return _cut(
        volume,
        frame,
        (-frame.axis, frame.up, -frame.septum),
        (voxel_mm, voxel_mm, thick),
        (size, size, slices),
    )


def horizontal_long_axis(
    volume: Volume,
    heart: Mapping[str, Any] | HeartFrame,
    *,
    voxel_mm: float = 4.0,
    size: int = 32,
    slices: int = 9,
) -> Volume:
    """Horizontal long-axis slices, inferior to anterior: apex up, septum left. Arguments and errors as `short_axis`."""
    frame = check_inside(volume, heart)
    thick = 2 * frame.equator / slices
    return _cut(
        volume,
        frame,
        (-frame.septum, -frame.axis, frame.up),
        (voxel_mm, voxel_mm, thick),
        (size, size, slices),
    )


def _cut(
    volume: Volume,
    frame: HeartFrame,
    directions: tuple[np.ndarray, np.ndarray, np.ndarray],
    steps: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> Volume:
    """The volume resampled on a grid around the middle of the ventricle, its axes along `directions`."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack(directions, axis=1) * steps
    affine[:3, 3] = frame.middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume(sample(volume, points).astype(np.float32), affine)


def ventricle_region(image: Volume, frame: HeartFrame) -> np.ndarray:
    """(x, y, z) bool: the left ventricle with its cavity and `AROUND` mm about it, by its ellipsoid."""
    points = np.moveaxis(np.indices(image.shape), 0, -1) @ image.affine[:3, :3].T + image.affine[:3, 3]
    height, across, _ = frame.locate(points)
    below = (1 - WIDEST) * frame.length - height
    level = np.hypot(across / (frame.equator + AROUND), below / ((1 - WIDEST) * frame.length + AROUND))
    return (level < 1) & (height < frame.length + AROUND)


def profile(
    volume: Volume | Sampler,
    start_mm: np.ndarray,
    end_mm: np.ndarray,
    *,
    step_mm: float = 2.0,
    normalise: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(mm from the middle of the line, values) along a straight line through a volume, by cubic splines.

    start_mm, end_mm : (3,) world mm. normalise : divide by the line's maximum, where that is above zero.
    Both results are (n,) float64 with n = length / step_mm rounded, + 1.
    """
    start, end = np.asarray(start_mm, float), np.asarray(end_mm, float)
    length = float(np.linalg.norm(end - start))
    along = np.linspace(0, 1, max(2, round(length / step_mm) + 1))
    reader = volume if isinstance(volume, Sampler) else Sampler(volume)
    values = reader(start + along[:, None] * (end - start))
    peak = values.max()
    if normalise and peak > 0:
        values = values / peak
    return (along - 0.5) * length, values


def profile_lines(frame: HeartFrame, reach_mm: float = 64.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ends (start, end), world mm, of the lines a report shows, all through the middle of the ventricle.

    transaxial : patient's right to left. septal_lateral, anterior_inferior : in the middle short-axis slice.
    """
    directions = {
        "transaxial": np.array([-1.0, 0.0, 0.0]),
        "septal_lateral": -frame.septum,
        "anterior_inferior": -frame.up,
    }
    return {k: (frame.middle - reach_mm * d, frame.middle + reach_mm * d) for k, d in directions.items()}


def _unusable(where: str, why: str) -> DataError:
    return DataError(
        "Unusable description of the heart",
        where=where,
        why=why,
        fix="give apex_mm, base_mm and septum as points in world mm, wall_mm and cavity_mm as sizes in mm",
    )
