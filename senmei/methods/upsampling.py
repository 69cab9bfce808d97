"""From a camera's pixels to a finer grid: nearest, bilinear and bicubic, with exact pixel centres and counts."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, nearest

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", bound="np.ndarray | torch.Tensor")
KINDS = ("nearest", "bilinear", "bicubic")
_CUBIC = -0.5  # Keys' a: reproduces quadratics


def upsample(image: Array, factor: int, kind: str) -> Array:
    """Counts per pixel of a grid whose pixels are `factor` times smaller, of an image's counts per pixel.

    image : (..., x, y) numpy or torch. kind : nearest, bilinear or bicubic (Keys 1981, IEEE TASSP 29:1153, a = -1/2).
    Returns (..., x factor, y factor), the same kind and type: interpolated values over factor². Fine pixel j has its
    centre at (j + 1/2) / factor - 1/2 of the coarse grid, so both grids cover the same field and nothing is shifted.
    The image is mirrored at its borders (each border pixel repeated once), with which each of the three keeps the
    total exactly: the weights of a pixel add up to `factor` along either axis. Bicubic values may be negative.
    Raises ConfigError for another kind or factor.
    """
    x, y = (upsampling_matrix(int(n), int(factor), kind) for n in image.shape[-2:])
    source: Any = image
    if isinstance(image, np.ndarray):
        kind_of = np.result_type(image.dtype, np.float32)
        return ((x / factor).astype(kind_of) @ source @ (y.T / factor).astype(kind_of)).astype(kind_of)
    import torch

    left, right = (torch.from_numpy(m / factor).to(source) for m in (x, y))
    return left @ source @ right.T


@lru_cache(maxsize=64)
def upsampling_matrix(n: int, factor: int, kind: str) -> NDArray[np.float64]:
    """(n factor, n) weights of an axis; rows add up to 1, columns to `factor`. Read-only."""
    if kind not in KINDS or factor < 1:
        raise ConfigError(
            f"Unknown interpolation '{kind}' by {factor}",
            where=f"kind: {kind}, factor: {factor}",
            why=f"there are {', '.join(KINDS)}, by 1 or more",
            fix=nearest(kind, KINDS),
        )
    centre = (np.arange(n * factor) + 0.5) / factor - 0.5
    matrix = np.zeros((n * factor, n))
    first = np.floor(centre).astype(int)
    rows = np.arange(n * factor)
    if kind == "nearest":
        matrix[rows, rows // factor] = 1.0
    else:
        for offset in (0, 1) if kind == "bilinear" else (-1, 0, 1, 2):
            at = first + offset
            np.add.at(matrix, (rows, _mirrored(at, n)), _kernel(np.abs(centre - at), kind))
    matrix.setflags(write=False)
    return matrix


def _kernel(distance: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    d, a = distance, _CUBIC
    if kind == "bilinear":
        return np.clip(1 - d, 0, None)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    return np.where(d <= 1, near, np.where(d < 2, a * (d**3 - 5 * d**2 + 8 * d - 4), 0.0))


def _mirrored(at: NDArray[np.int_], n: int) -> NDArray[np.int_]:
    at = at % (2 * n)
    return np.where(at < n, at, 2 * n - 1 - at)
