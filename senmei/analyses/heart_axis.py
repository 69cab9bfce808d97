"""The left ventricle's long axis found in the image itself, for scans whose heart nobody has marked."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage, optimize, signal

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.phantoms.ventricle import WIDEST

USUAL = np.array([0.62, -0.62, 0.48])  # apex -> base in RAS+: to the right, posterior and up ("assumed" mean)
TILT = 35.0  # degrees: starts around the usual axis
TURNS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
PLACES = 3  # where the fit is started
SMOOTH = 8.0  # mm FWHM, against noise, before the fit
CUBE = 70.0  # mm: half the box around the heart that the fit looks at
FITTED = 22.0  # mm around the wall that the second fit looks at
WALL = (10.0, 7.0)  # mm: usual thickness, and width (sd) of the blurred wall
LOWER = np.array(
    [15.0, 45.0, 3.5]
)  # mm: greatest radius and length of the middle of the wall, its blurred sd
UPPER = np.array([50.0, 120.0, 14.0])


def find_axis(
    volume: Volume, region: Volume | np.ndarray | None = None, *, where: str = "image"
) -> dict[str, Any]:
    """A `heart` dict estimated from the image alone: apex_mm, base_mm, septum, wall_mm, cavity_mm, length_mm, fit.

    volume : (x, y, z), RAS+ geometry. region : where the heart is (> 0); without it the whole image is searched.
    A blurred ellipsoid, cut open at its base, is fitted to the image: position, axis, radius, length, blur,
    brightness and background, by robust least squares, so that the liver beside it counts little. It starts from
    five axes around the usual one at each of the three likeliest places, and is fitted once more only near the
    wall found. The septum is put where the two rotations of clinical reorientation put it: at right angles to the
    axis, horizontal. wall_mm is not found but the usual 10 mm. `fit` : correlation of model and image near the
    wall, 0..1; below about 0.6 do not trust the axis.
    Deterministic. Raises DataError if the region is empty, on another grid, or the image empty or constant in it.
    """
    data, inside = _checked(volume, region, where)
    usual = USUAL / np.linalg.norm(USUAL)
    side = np.cross(usual, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    tilt = np.tan(np.radians(TILT))
    turns = [a * tilt * side + b * tilt * np.cross(usual, side) for a, b in TURNS]
    axes = [usual + turn for turn in turns]
    best, fit = None, -1.0
    for centre in _candidates(data, inside, volume, usual):
        points, values = _around(data, inside, volume, centre)
        found = min(
            (_fit(_start(centre, a / np.linalg.norm(a)), points[::2], values[::2], 12) for a in axes),
            key=lambda solution: solution.cost,
        )
        for _ in range(2):
            near = np.abs(_distance(found.x, points)[0]) < FITTED
            if near.sum() > 200:
                found = _fit(found.x, points[near], values[near], 40)
        alike = _likeness(found.x, points, values)
        if alike > fit:
            best, fit = found.x, alike
    assert best is not None
    return _heart(best, fit)


def _checked(volume: Volume, region: Volume | np.ndarray | None, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(smoothed image, region as bool), or DataError."""
    data = np.asarray(volume.data, np.float64)
    inside = np.ones(data.shape, bool)
    if region is not None:
        inside = np.asarray(region.data if isinstance(region, Volume) else region) > 0
    if data.ndim != 3 or inside.shape != data.shape or not inside.any():
        raise DataError(
            "Cannot look for the heart",
            where=where,
            why=f"the image has shape {data.shape}, the region {inside.shape} with {int(inside.sum())} voxels",
            fix="give a 3D image and a region of its heart on the same grid",
        )
    if not np.isfinite(data).all() or data[inside].max() <= max(0.0, float(data[inside].min())):
        raise DataError(
            "Cannot look for the heart",
            where=where,
            why="the image is empty, constant or not finite in the region of the heart",
            fix="check that the image and its region belong together",
        )
    return ndimage.gaussian_filter(data, [SMOOTH / 2.3548 / v for v in volume.voxel], mode="nearest"), inside


def _candidates(data: np.ndarray, inside: np.ndarray, volume: Volume, axis: np.ndarray) -> list[np.ndarray]:
    """World mm of the places most like a left ventricle along the usual axis: peaks of a normalised correlation.

    Normalised by the local contrast, so that a bright liver does not win. Up to `PLACES`, 40 mm apart or more.
    """
    half = [int(np.ceil(CUBE * 0.8 / v)) for v in volume.voxel]
    grid = np.moveaxis(np.indices([2 * h + 1 for h in half]), 0, -1) - half
    points = (grid @ volume.affine[:3, :3].T).reshape(-1, 3)
    x = _start(np.zeros(3), axis)
    near = (np.abs(_distance(x, points)[0]) < FITTED).reshape(grid.shape[:3]).astype(float)
    shape = _model(x, points).reshape(near.shape) * near
    shape -= near * shape.sum() / near.sum()
    flipped = [a[::-1, ::-1, ::-1] for a in (shape, near)]
    match = signal.fftconvolve(data, flipped[0], mode="same")
    mean, square = (signal.fftconvolve(d, flipped[1], mode="same") / near.sum() for d in (data, data**2))
    spread = np.maximum(square - mean**2, 1e-4 * square.max())
    score = np.where(inside, match / np.sqrt(spread), -np.inf)
    places = np.stack(np.unravel_index(np.argsort(score, axis=None)[::-1][:4000], score.shape), axis=1)
    chosen: list[np.ndarray] = []
    for point in places @ volume.affine[:3, :3].T + volume.affine[:3, 3]:
        if all(np.linalg.norm(point - other) > 40 for other in chosen):
            chosen.append(point)
        if len(chosen) == PLACES:
            break
    return chosen


def _around(
    data: np.ndarray, inside: np.ndarray, volume: Volume, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World points (n, 3) mm of the region within a box around a place, and their values over the 99th percentile."""
    inverse = np.linalg.inv(volume.affine)
    middle = inverse[:3, :3] @ centre + inverse[:3, 3]
    at = np.argwhere(inside)
    at = at[(np.abs(at - middle) <= CUBE / np.array(volume.voxel)).all(axis=1)]
    values = data[tuple(at.T)]
    level = float(np.percentile(values, 99))
    return at @ volume.affine[:3, :3].T + volume.affine[:3, 3], values / (level if level > 0 else 1.0)


def _likeness(x: np.ndarray, points: np.ndarray, values: np.ndarray) -> float:
    """Correlation of model and image near the wall, not below 0."""
    near = np.abs(_distance(x, points)[0]) < FITTED
    if near.sum() < 10 or values[near].std() == 0:
        return 0.0
    return max(float(np.corrcoef(_model(x, points[near]), values[near])[0, 1]), 0.0)


def _start(centre: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Parameters: base centre (3), axis as a stretched vector (3), radius, length, sd of the wall. mm."""
    return np.concatenate([centre + 35 * axis, axis, [28.0, 75.0, WALL[1]]])


def _distance(x: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(signed mm from the ellipsoid in the middle of the wall, mm below the basal plane) of points."""
    axis = x[3:6] / np.linalg.norm(x[3:6])
    away = points - x[:3]
    down = -(away @ axis)
    across = np.sqrt(np.maximum((away**2).sum(axis=1) - down**2, 0))
    radius, long = x[6], (1 - WIDEST) * x[7]
    depth = np.maximum(down - WIDEST * x[7], -WIDEST * x[7])
    level = np.hypot(across / radius, depth / long)
    slope = np.hypot(across / radius**2, depth / long**2)
    return (level**2 - level) / np.maximum(slope, 1e-9), down  # first order: exact on the surface


def _model(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) brightness 0..1 of the blurred wall, fading at its base."""
    off, down = _distance(x, points)
    return np.exp(-0.5 * (off / x[8]) ** 2) / (1 + np.exp(-np.clip(down / 4.0, -50, 50)))


def _fit(start: np.ndarray, points: np.ndarray, values: np.ndarray, rounds: int):
    """Robust least squares; brightness and background are solved for at every step (variable projection)."""

    def misfit(x: np.ndarray) -> np.ndarray:
        shape = _model(x, points)
        middle, level = shape.mean(), values.mean()
        spread = ((shape - middle) ** 2).sum()
        gain = max(((shape - middle) * (values - level)).sum() / max(spread, 1e-12), 0.0)
        return np.append(
            values - level - gain * (shape - middle),
            0.5 * (np.linalg.norm(x[3:6]) - 1),  # only its direction counts
        )

    lower = np.concatenate([start[:3] - 60, [-2.0] * 3, LOWER])
    upper = np.concatenate([start[:3] + 60, [2.0] * 3, UPPER])
    return optimize.least_squares(
        misfit,
        np.clip(start, lower + 1e-6, upper - 1e-6),
        bounds=(lower, upper),
        x_scale=np.array([10, 10, 10, 0.3, 0.3, 0.3, 10, 20, 3.0]),
        loss="soft_l1",
        f_scale=0.15,
        max_nfev=rounds,
    )


def _heart(x: np.ndarray, fit: float) -> dict[str, Any]:
    axis = x[3:6] / np.linalg.norm(x[3:6])
    vertical = np.array([0.0, 0.0, 1.0])
    up = vertical - (vertical @ axis) * axis
    if np.linalg.norm(up) < 0.1:  # an upright axis has no horizontal septum: the right side then
        septum = np.array([1.0, 0.0, 0.0]) - axis[0] * axis
    else:
        septum = np.cross(up, axis)
    septum /= np.linalg.norm(septum)
    wall = WALL[0]
    # Blur moves the ridge of a curved shell inward, most at the apex, by variance times mean curvature.
    length = float(x[7] + x[8] ** 2 * (1 - WIDEST) * x[7] / x[6] ** 2) + wall / 2
    basal = float(x[6]) * np.sqrt(1 - (WIDEST / (1 - WIDEST)) ** 2)
    apex = x[:3] - length * axis
    return {
        "apex_mm": [float(v) for v in apex],
        "base_mm": [float(v) for v in x[:3]],
        "septum": [float(v) for v in septum],
        "wall_mm": wall,
        "cavity_mm": max(float(basal) - wall / 2, 5.0),
        "length_mm": length,
        "defect": None,
        "fit": fit,
    }
