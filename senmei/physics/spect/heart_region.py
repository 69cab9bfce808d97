"""Where the heart is in a reconstruction, found in that (noisy) image alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume

_RADIUS = 62.0  # mm: the region is a ball that holds a normal left ventricle wherever it points
_WALL, _AROUND = 34.0, 66.0  # mm: a left ventricle fills a ball of the first radius, and lung surrounds it
_SMOOTH = 8.0  # mm, standard deviation: what counting noise leaves of a wall
# Where the middle of a left ventricle can be, from the middle of the body (mm; the patient's left is -x)
_WINDOW = ((-95.0, 15.0), (-45.0, 95.0))


@dataclass(frozen=True)
class HeartRegion:
    """A ball around the left ventricle: `centre_mm` in world mm, `mask` on the image's grid, and `level`.

    level : 99th percentile of the smoothed image in the ball: uptake of the hottest wall, in the image's unit.
    """

    centre_mm: np.ndarray
    mask: np.ndarray
    level: float


def find_heart(image: Volume, where: object) -> HeartRegion:
    """The left ventricle of a reconstruction: what stands out from its surroundings, left of and before the spine.

    The smoothed image is compared with its means over a ball of the ventricle's size and over one of twice that size:
    liver, spleen and gut are as hot, but not where the search looks, or not surrounded by lung.
    Raises DataError naming `where` if nothing stands out there, or if it is cut by the first or last slice.
    """
    from scipy import ndimage

    data = np.clip(np.asarray(image.data, dtype=np.float32), 0, None)
    voxel = np.array(image.voxel)
    smooth = ndimage.gaussian_filter(data, _SMOOTH / voxel)
    places = _places(image)
    middle = _middle_of_body(smooth, places)
    near, far = (_ball_mean(smooth, voxel, radius) for radius in (_WALL, _AROUND))
    score = near - far
    inside = np.ones(data.shape, bool)
    for axis, (low, high) in enumerate(_WINDOW):
        offset = places[axis] - middle[axis]
        inside &= (offset >= low) & (offset <= high)
    body = float(smooth[smooth > 0.1 * smooth.max()].mean()) if smooth.max() > 0 else 0.0
    if not inside.any() or body <= 0 or score[inside].max() < 0.15 * body:
        raise DataError(
            "No heart in the field of view",
            where=where,
            why="no region on the patient's left stands out from what surrounds it",
            fix="check the patient's position and orientation (head first, supine), or leave the scan out",
        )
    at = np.unravel_index(int(np.argmax(np.where(inside, score, -np.inf))), data.shape)
    weight = np.clip(smooth - far[at], 0, None) * (_distance(places, [p[at] for p in places]) <= _AROUND)
    centre = np.array([float((p * weight).sum() / weight.sum()) for p in places])
    z = places[2][0, 0]
    ends = sorted((float(z[0]), float(z[-1])))
    if centre[2] - ends[0] < _WALL - voxel[2] or ends[1] - centre[2] < _WALL - voxel[2]:
        raise DataError(
            "The heart is cut by the edge of the field",
            where=where,
            why=f"its middle lies {min(centre[2] - ends[0], ends[1] - centre[2]):.0f} mm from the first or last slice",
            fix="reconstruct more slices, or leave the scan out: what was not acquired cannot be restored",
        )
    mask = _distance(places, centre) <= _RADIUS
    return HeartRegion(centre, mask, float(np.percentile(smooth[mask], 99)))


def _places(image: Volume) -> list[np.ndarray]:
    """World coordinates of all voxels, mm."""
    index = np.indices(image.data.shape, dtype=np.float32)
    a = image.affine
    return [(a[i, 0] * index[0] + a[i, 1] * index[1] + a[i, 2] * index[2] + a[i, 3]) for i in range(3)]


def _distance(places: list[np.ndarray], centre: np.ndarray | list[float]) -> np.ndarray:
    return np.sqrt(sum((p - c) ** 2 for p, c in zip(places, centre, strict=True)))


def _middle_of_body(smooth: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Middle of the box that holds the body: where there is uptake at all."""
    body = smooth > 0.05 * np.percentile(smooth, 99.5)
    if not body.any():
        return np.zeros(3)
    return np.array([(np.percentile(p[body], 1) + np.percentile(p[body], 99)) / 2 for p in places])


def _ball_mean(data: np.ndarray, voxel: np.ndarray, radius: float) -> np.ndarray:
    """Mean over a ball of `radius` mm around each voxel; beyond the edge there is nothing, not zero."""
    from scipy.signal import fftconvolve

    reach = np.floor(radius / voxel).astype(int)
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    ball = (sum((g * v) ** 2 for g, v in zip(grid, voxel, strict=True)) <= radius**2).astype(np.float32)
    total = fftconvolve(data, ball, mode="same")
    return np.asarray(total / fftconvolve(np.ones_like(data), ball, mode="same"), dtype=np.float32)
