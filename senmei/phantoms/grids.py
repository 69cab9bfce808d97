"""Small grid operations of the phantom: warping, doubling, averaging, distances, partial volume."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.physics.fields import smooth_field


def sample(volume: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation of (x, y, z) at voxel positions (3, ...), nearest beyond the edges; float32."""
    return ndimage.map_coordinates(volume, at, order=1, mode="nearest", output=np.float32)


def double(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation onto a grid twice as fine whose voxel pairs fill each coarse voxel; edges extrapolated."""
    out = coarse
    for axis, n in enumerate(shape):
        u = (np.arange(n) - 0.5) / 2
        i = np.clip(np.floor(u).astype(int), 0, out.shape[axis] - 2)
        t = (u - i).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        low = np.take(out, i, axis)
        out = np.take(out, i + 1, axis)
        out -= low
        out *= t
        out += low
    return out


def average(volume: np.ndarray, n: int) -> np.ndarray:
    """Mean over cubes of n voxels a side."""
    if n == 1:
        return volume
    x, y, z = volume.shape
    return volume.reshape(x // n, n, y // n, n, z // n, n).mean((1, 3, 5), dtype=np.float32)


def ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """Box partial volume of a plane at a signed distance: 0 outside, 1 inside; `distance` is not kept."""
    out = np.asarray(distance, np.float32) * np.float32(1 / width)
    out += np.float32(0.5)
    return np.clip(out, 0, 1, out=out)


def slope(field: np.ndarray, spacing: float) -> np.ndarray:
    """Length of the gradient."""
    total = np.zeros_like(field)
    for axis in range(3):
        g = np.gradient(field, axis=axis)
        g *= g
        total += g
    np.sqrt(total, out=total)
    total /= np.float32(spacing)
    return total


def flow(velocity: np.ndarray, wobble: np.ndarray, extent: np.ndarray, spacing: float = 6.0) -> np.ndarray:
    """exp(v): displacement (3, x, y, z), mm, of a stationary velocity field on a coarse grid over `extent` (mm).

    Scaling and squaring [Arsigny 2006]: a diffeomorphism, so that tissues keep their topology.
    """
    x, y, z = (max(8, int(np.ceil(e / spacing))) for e in extent)
    steps = np.array([e / (n - 1) for e, n in zip(extent, (x, y, z), strict=True)], np.float32)[
        :, None, None, None
    ]
    pairs = zip(velocity, wobble, strict=True)
    field = np.stack([smooth_field(v, (x, y, z)) + smooth_field(w, (x, y, z)) for v, w in pairs])
    field /= 2**4
    index = np.indices((x, y, z), np.float32)
    for _ in range(4):
        at = index + field / steps
        field = field + np.stack([sample(f, at) for f in field])
    return field


def stretch(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation onto any grid, end points aligned."""
    out = coarse
    for axis, n in enumerate(shape):
        u = np.linspace(0, out.shape[axis] - 1, n)
        i = np.minimum(u.astype(int), out.shape[axis] - 2)
        t = (u - i).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        out = np.take(out, i, axis) * (1 - t) + np.take(out, i + 1, axis) * t
    return out
