"""The grid of sheets and of images of them: square pixels, centred on the world's origin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.core.volume import Volume


def sheet_affine(shape: tuple[int, int], pixel_mm: float) -> np.ndarray:
    """(4, 4) of a sheet's or a camera's grid: pixels of `pixel_mm`, the origin at the centre."""
    affine = np.diag([pixel_mm, pixel_mm, 1.0, 1.0]).astype(np.float64)
    affine[:2, 3] = [-(n - 1) / 2.0 * pixel_mm for n in shape]
    return affine


def spread_counts(counts: NDArray, factor: int) -> NDArray[np.float32]:
    """Counts (x, y) of pixels, evenly over `factor` x `factor` finer ones of each: (x factor, y factor) float32."""
    evenly = np.kron(np.asarray(counts, np.float64) / factor**2, np.ones((factor, factor)))
    return np.asarray(evenly, np.float32)


def plane_of(activity: Volume) -> tuple[NDArray[np.float64], float]:
    """Values (x, y) float64 of a sheet (x, y, 1), and its pixel in mm.

    Raises DataError for values that are negative or not finite, and for grids that are turned, off centre or not of
    square pixels.
    """
    data, affine = np.asarray(activity.data, np.float64), activity.affine
    if data.ndim != 3 or data.shape[2] != 1:
        raise _no_sheet(f"its shape is {data.shape}, not (x, y, 1)", "give one plane")
    if not np.isfinite(data).all() or (data < 0).any():
        raise _no_sheet(
            "some of its pixels are negative or no numbers", "an activity is 0 or more; correct the map"
        )
    plane, pixel = data[..., 0], activity.voxel[0]
    centred = sheet_affine((plane.shape[0], plane.shape[1]), pixel)[:2]
    if not np.allclose(affine[:2, [0, 1, 3]], centred[:, [0, 1, 3]], rtol=1e-3, atol=0.01 * pixel):
        why = "its pixels are not square, or the grid is turned or not centred on the origin"
        raise _no_sheet(why, "register and resample it to a centred grid first")
    return plane, pixel


def _no_sheet(why: str, fix: str) -> DataError:
    return DataError("This is no activity sheet", where="activity", why=why, fix=fix)
