"""The left ventricle's long axis found in the image itself, for scans whose heart nobody has marked."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage, optimize, signal

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.phantoms.ventricle import WIDEST

# What left ventricles usually are ("assumed"), as mean and standard deviation. AXIS: apex -> base, RAS+ (to the right,
# posterior, up), degrees about it. SIZES: greatest radius and length of the middle of the wall, its blurred sd, mm.
AXIS, AXIS_SPREAD = np.array([0.62, -0.62, 0.48]) / np.linalg.norm([0.62, -0.62, 0.48]), 25.0
SIZES, SIZES_SPREAD = np.array([28.0, 80.0, 8.0]), np.array([6.0, 16.0, 2.0])
LOWER, UPPER = np.array([12.0, 40.0, 4.0]), np.array([50.0, 125.0, 14.0])
WALL = 10.0  # mm, usual thickness
TILT = 35.0  # degrees: starts around the usual axis
TURNS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
PLACES = 2  # where the fit is started
SMOOTH = 8.0  # mm FWHM, against noise, before the fit
CUBE = 70.0  # mm: half the box around the heart that the fit looks at
INSIDE, OUTSIDE = 24.0, 14.0  # mm about the wall that count: further out lie liver and right ventricle
ROUGH = 20.0  # mm beyond the region where the middle of the heart may be
SURPRISE = 0.15  # of the brightness: larger misfits count less than by their square
FAITH = 0.02  # weight of a standard deviation from the usual beside the misfit of a voxel


def find_axis(
    volume: Volume, region: Volume | np.ndarray | None = None, *, where: str = "image"
) -> dict[str, Any]:
    """A `heart` dict estimated from the image alone: apex_mm, base_mm, septum, wall_mm, cavity_mm, length_mm, fit.

    volume : (x, y, z), RAS+ geometry. region : where the heart is (> 0), roughly; without it, anywhere.
    The image is searched for the places most like a ventricle about the usual axis, their middle within `region`.
    From the best three and five axes each, a blurred ellipsoid, cut open at its base, is fitted: position, axis,
    radius, length, blur, brightness and background, by robust least squares with weak priors, looking only at voxels
    near the wall, as liver and gut lie close. The septum is put where the two rotations of clinical reorientation
    put it: at right angles to the axis, horizontal. wall_mm is not found but the usual 10 mm. `fit` : correlation of
    model and image around the wall, 0..1.
    Deterministic. Raises DataError if the region is empty, on another grid, or the image empty or constant in it.
    """
    data, inside = _checked(volume, region, where)
    side = np.cross(AXIS, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    tilt = np.tan(np.radians(TILT))
    axes = [AXIS + tilt * (a * side + b * np.cross(AXIS, side)) for a, b in TURNS]
    best, lead, fit = None, -np.inf, 0.0
    for centre in _candidates(data, inside, volume):
        points, values = _around(data, volume, centre)
        found = min(
            (_settle(_start(centre, a), points[::2], values[::2], 2, 6) for a in axes), key=lambda f: f[1]
        )
        x, _ = _settle(found[0], points, values, 4, 15)
        alike = _likeness(x, points, values)
        score = alike - FAITH * float((_unusual(x) ** 2).sum())
        if score > lead:
            best, lead, fit = x, score, alike
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


def _candidates(data: np.ndarray, inside: np.ndarray, volume: Volume) -> list[np.ndarray]:
    """World mm of the places most like a left ventricle along the usual axis: peaks of a normalised correlation.

    Normalised by the local contrast, so that a bright liver does not win. Up to `PLACES`, 40 mm apart or more.
    """
    half = [int(np.ceil(CUBE * 0.8 / v)) for v in volume.voxel]
    grid = np.moveaxis(np.indices([2 * h + 1 for h in half]), 0, -1) - half
    points = (grid @ volume.affine[:3, :3].T).reshape(-1, 3)
    x = _start(np.zeros(3), AXIS)
    near = _zone(x, points).reshape(grid.shape[:3]).astype(float)
    shape = _model(x, points).reshape(near.shape) * near
    shape -= near * shape.sum() / near.sum()
    flipped = [a[::-1, ::-1, ::-1] for a in (shape, near)]
    match = signal.fftconvolve(data, flipped[0], mode="same")
    mean, square = (signal.fftconvolve(d, flipped[1], mode="same") / near.sum() for d in (data, data**2))
    spread = np.maximum(square - mean**2, 1e-4 * square.max())
    # A region may hold the wall alone, a ventricle's middle is its cavity.
    inside = ndimage.distance_transform_edt(~inside, sampling=volume.voxel) <= ROUGH
    score = np.where(inside, match / np.sqrt(spread), -np.inf)
    places = np.stack(np.unravel_index(np.argsort(score, axis=None)[::-1][:4000], score.shape), axis=1)
    chosen: list[np.ndarray] = []
    for point in places @ volume.affine[:3, :3].T + volume.affine[:3, 3]:
        if all(np.linalg.norm(point - other) > 40 for other in chosen):
            chosen.append(point)
        if len(chosen) == PLACES:
            break
    return chosen


def _around(data: np.ndarray, volume: Volume, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points (n, 3) mm of a box around a place, and their values over the wall's likely brightness."""
    inverse = np.linalg.inv(volume.affine)
    middle = inverse[:3, :3] @ centre + inverse[:3, 3]
    at = np.moveaxis(np.indices(data.shape), 0, -1).reshape(-1, 3)
    at = at[(np.abs(at - middle) <= CUBE / np.array(volume.voxel)).all(axis=1)]
    values = data[tuple(at.T)]
    points = at @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    near = _zone(_start(centre, AXIS), points)
    level = float(np.percentile(values[near], 95)) if near.any() else 0.0
    return points, values / level if level > 0 else values


def _zone(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) bool: the points around a ventricle that are compared with it."""
    off, down = _distance(x, points)
    return (off > -INSIDE) & (off < OUTSIDE) & (down > -OUTSIDE)


def _likeness(x: np.ndarray, points: np.ndarray, values: np.ndarray) -> float:
    """Correlation of model and image around the wall, not below 0."""
    near = _zone(x, points)
    if near.sum() < 10 or values[near].std() == 0:
        return 0.0
    return max(float(np.corrcoef(_model(x, points[near]), values[near])[0, 1]), 0.0)


def _start(centre: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Parameters: centre of the base (3), axis (3), then `SIZES`."""
    axis = axis / np.linalg.norm(axis)
    return np.concatenate([centre + SIZES[1] / 2 * axis, axis, SIZES])


def _unusual(x: np.ndarray) -> np.ndarray:
    """(4,) standard deviations from what is usual: axis, radius, length, sd of the wall."""
    axis = x[3:6] / np.linalg.norm(x[3:6])
    turn = np.degrees(np.linalg.norm(axis - AXIS))  # smooth, and close enough to the angle
    return np.append(turn / AXIS_SPREAD, (x[6:] - SIZES) / SIZES_SPREAD)


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


def _misfit(x: np.ndarray, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Residuals (n + 5,): robust ones of the image, then how unusual the ventricle is, then its axis' length."""
    shape = _model(x, points)
    shape = shape - shape.mean()
    rest = values - values.mean()
    rest = rest - max(float(shape @ rest) / max(float(shape @ shape), 1e-12), 0.0) * shape
    robust = np.sqrt(2 * (np.sqrt(1 + (rest / SURPRISE) ** 2) - 1)) * SURPRISE
    faith = FAITH * np.sqrt(len(values))
    return np.concatenate([np.sign(rest) * robust, faith * _unusual(x), [np.linalg.norm(x[3:6]) - 1]])


def _settle(
    x: np.ndarray, points: np.ndarray, values: np.ndarray, times: int, rounds: int
) -> tuple[np.ndarray, float]:
    """(parameters, mean cost) after fits to the voxels around the wall as it is known each time.

    Robust least squares with the usual as a weak prior; brightness and background are solved for at every step
    (variable projection).
    """
    cost = np.inf
    for _ in range(times):
        near = _zone(x, points)
        if near.sum() < 100:
            return x, np.inf
        lower = np.concatenate([x[:3] - 40, [-2.0] * 3, LOWER])
        upper = np.concatenate([x[:3] + 40, [2.0] * 3, UPPER])
        found = optimize.least_squares(
            _misfit,
            np.clip(x, lower + 1e-6, upper - 1e-6),
            bounds=(lower, upper),
            x_scale=np.array([10, 10, 10, 0.3, 0.3, 0.3, 10, 20, 3.0]),
            max_nfev=rounds,
            args=(points[near], values[near]),
        )
        x, cost = found.x, float(found.cost) / near.sum()
    return x, cost


def _heart(x: np.ndarray, fit: float) -> dict[str, Any]:
    axis = x[3:6] / np.linalg.norm(x[3:6])
    vertical = np.array([0.0, 0.0, 1.0])
    up = vertical - (vertical @ axis) * axis
    if np.linalg.norm(up) < 0.1:  # an upright axis has no horizontal septum: the right side then
        septum = np.array([1.0, 0.0, 0.0]) - axis[0] * axis
    else:
        septum = np.cross(up, axis)
    septum /= np.linalg.norm(septum)
    wall = WALL
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
