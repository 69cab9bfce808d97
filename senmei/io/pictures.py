"""Pictures as greys: colours weighted, levels windowed, cut or padded to a square, resampled without aliasing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume

# Weights of red, green and blue in the grey of a colour picture, on its gamma-coded values as both standards do.
LUMA: Mapping[str, tuple[float, float, float]] = {
    "601": (0.299, 0.587, 0.114),  # ITU-R BT.601, standard-definition television and JPEG
    "709": (0.2126, 0.7152, 0.0722),  # ITU-R BT.709, high definition and sRGB
}
SHAPES = ("crop", "pad")


def luma(picture: NDArray, standard: str = "601") -> NDArray[np.float64]:
    """Grey (row, column) of a colour picture (row, column, 3): the luma of ITU-R BT.601 or BT.709.

    Raises ConfigError for another standard, DataError for another number of colours.
    """
    if standard not in LUMA:
        why = "the weights of red, green and blue are those of one of two standards"
        raise ConfigError(
            f"unknown luma '{standard}'", where="teachers: colour", why=why, fix=nearest(standard, LUMA)
        )
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise DataError(
            "This is no colour picture",
            where=f"an array of shape {picture.shape}",
            why="three colours were expected on its last axis",
            fix="give (row, column, 3)",
        )
    return np.asarray(picture, np.float64) @ np.array(LUMA[standard])


def window(values: NDArray, low: float, high: float) -> NDArray[np.float64]:
    """Values linearly from `low` -> 0 to `high` -> 1, clipped. Raises ConfigError where high is not above low."""
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise ConfigError(
            f"impossible window from {low} to {high}",
            where="teachers: window",
            why="its upper end must lie above its lower one",
            fix="give [low, high], for CT in Hounsfield units, e.g. [-160, 240]",
        )
    return np.clip((np.asarray(values, np.float64) - low) / (high - low), 0.0, 1.0)


def to_size(
    picture: NDArray, size: int, shape: str = "crop", pixel: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64]:
    """A grey picture (row, column) in 0..1 as a square of size x size pixels, float64 in 0..1.

    shape : 'crop' keeps the middle square of the longer side, 'pad' adds black to the shorter one. pixel : height and
    width of a pixel, any unit, so that what was scanned with oblong pixels is not stretched.

    Each side is resampled by Keys' cubic (a = -1/2; IEEE TASSP 1981;29:1153), stretched by the reduction where the
    picture becomes smaller so that no frequency folds, weights normalised, borders repeated; overshoot is clipped.
    Raises ConfigError for an unknown shape.
    """
    if shape not in SHAPES:
        why = "a picture becomes square by cutting or by padding"
        raise ConfigError(
            f"unknown shape '{shape}'", where="teachers: shape", why=why, fix=nearest(shape, SHAPES)
        )
    picture = np.asarray(picture, np.float64)
    extent = [n * p for n, p in zip(picture.shape, pixel, strict=True)]
    side = min(extent) if shape == "crop" else max(extent)
    out = picture
    for axis, (n, length) in enumerate(zip(picture.shape, extent, strict=True)):
        weights = _cubic(n, size, side / length)
        out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
    return np.clip(out, 0.0, 1.0)


@lru_cache(maxsize=64)
def _cubic(n: int, size: int, share: float) -> NDArray[np.float64]:
    """(size, n): resamples the middle `share` of n pixels (more than 1: beyond the borders is black) to `size`."""
    step = n * share / size  # old pixels per new one
    centres = (np.arange(size) + 0.5) * step + n * (1.0 - share) / 2.0 - 0.5
    stretch = max(step, 1.0)
    reach = int(np.ceil(2.0 * stretch))
    places = np.floor(centres)[:, None] + np.arange(-reach, reach + 2)
    x = np.abs(places - centres[:, None]) / stretch
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    kernel = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    kernel /= kernel.sum(axis=1, keepdims=True)
    if share > 1.0:
        kernel = np.where((places < 0) | (places > n - 1), 0.0, kernel)
    matrix = np.zeros((size, n))
    rows = np.repeat(np.arange(size), places.shape[1])
    np.add.at(matrix, (rows, np.clip(places, 0, n - 1).astype(int).ravel()), kernel.ravel())
    matrix.setflags(write=False)
    return matrix


def upright(picture: NDArray, pixel_mm: float) -> Volume:
    """A picture (row from the top, column) as a sheet: Volume (x to the right, y up, 1) float32, centred."""
    data = np.ascontiguousarray(np.asarray(picture)[::-1].T, np.float32)[..., None]
    affine = np.diag([pixel_mm, pixel_mm, 1.0, 1.0]).astype(np.float64)
    affine[:2, 3] = [-(n - 1) / 2.0 * pixel_mm for n in data.shape[:2]]
    return Volume(data, affine)


def refuse_teacher(where: object, why: str, fix: str) -> NoReturn:
    """Raise the DataError of a file that cannot be a teacher."""
    raise DataError("This file cannot be a teacher image", where=where, why=why, fix=fix)
