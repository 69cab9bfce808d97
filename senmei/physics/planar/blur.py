"""From a fine image to a camera's pixels: a point spread of a few Gaussians, then sums over pixels; and its adjoint.

The spread of a planar camera is written as a mixture of Gaussians: the collimator and intrinsic resolution, a broad one
of the scattered photons, where needed a third one of those that penetrate the septa. Each is separable, so that blur
and binning along an axis are one matrix M and a component is M_x X M_yᵀ: the adjoint is M_xᵀ Y M_y, exact to rounding,
at the image's borders too. What spreads beyond the image is lost, as it misses the crystal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", bound="np.ndarray | torch.Tensor")
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


class BlurAndBin:
    """Blur of images (..., x, y) by a mixture of Gaussians, and sums over the pixels of a coarser grid.

    shape : (x, y) of the fine image. pixel_mm : its pixel. components : (share, FWHM in mm) of each Gaussian, shares
    0 or more; they add up to 1 where no photon is lost. to_shape, to_pixel_mm : the grid that is binned to, by default
    the fine one. Both grids are centred on the same point; pixels that only overlap share their counts by area, so that
    ratios of pixels need not be whole. Linear, never negative for images that are not; keeps the sum but for what
    spreads beyond the border. Takes numpy arrays and torch tensors (differentiable, on any device), float32 or float64,
    and returns the same kind; other types of numbers become float64.

    Raises ConfigError for widths, shares or pixels that are impossible.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel_mm: float,
        components: Sequence[tuple[float, float]],
        to_shape: tuple[int, int] | None = None,
        to_pixel_mm: float | None = None,
    ):
        self.shape = (int(shape[0]), int(shape[1]))
        self.to_shape = self.shape if to_shape is None else (int(to_shape[0]), int(to_shape[1]))
        self.pixel_mm = _checked("pixel_mm", pixel_mm, "more than 0", right=pixel_mm > 0)
        coarse = self.pixel_mm if to_pixel_mm is None else to_pixel_mm
        self.to_pixel_mm = _checked("to_pixel_mm", coarse, "more than 0", right=coarse > 0)
        self.components = tuple(
            (_share(w), _checked("fwhm_mm", f, "0 or more", right=f >= 0)) for w, f in components
        )
        self._kept: dict[tuple[str, str], list] = {}

    @classmethod
    def of_camera(cls, shape: tuple[int, int], camera: Mapping[str, Any]) -> BlurAndBin:
        """What a camera makes of a reference image of this shape (x, y), by its description (`PlanarCamera.role`).

        camera : factor, pixel_mm (of the coarse grid), fwhm_mm, and where there are such, scatter_fraction and
        scatter_fwhm_mm, penetration_fraction and penetration_fwhm_mm. Raises DataError where the factor does not
        divide the shape.
        """
        factor, p = int(camera["factor"]), float(camera.get("penetration_fraction", 0.0))
        s = float(camera.get("scatter_fraction", 0.0))
        parts = [
            ((1.0 - p) * (1.0 - s), float(camera["fwhm_mm"])),
            ((1.0 - p) * s, float(camera.get("scatter_fwhm_mm", 0.0))),
            (p, float(camera.get("penetration_fwhm_mm", 0.0))),
        ]
        pixel = float(camera["pixel_mm"])
        return cls(shape, pixel / factor, parts, _divided(shape, factor), pixel)

    def forward(self, image: Array) -> Array:
        """Counts (..., x, y) on the coarse grid of a fine image. Raises DataError for one of another shape."""
        return self._apply(image, self.shape, transposed=False)

    def adjoint(self, counts: Array) -> Array:
        """The transpose: (..., x, y) from the coarse grid to the fine one. Raises DataError for another shape."""
        return self._apply(counts, self.to_shape, transposed=True)

    def _apply(self, image: Array, shape: tuple[int, int], *, transposed: bool) -> Array:
        if tuple(image.shape[-2:]) != shape:
            raise DataError(
                "This image does not lie on the camera's grid",
                where=f"an image of shape {tuple(image.shape)}",
                why=f"its last two axes should be {shape}",
                fix="resample the image, or set the blur up for its grid",
            )
        source: Any = image
        if isinstance(image, np.ndarray) and image.dtype not in (np.float32, np.float64):
            source = image.astype(np.float64)
        out: Any = None
        for along_x, along_y in self._matrices(source):
            part = along_x.T @ source @ along_y if transposed else along_x @ source @ along_y.T
            out = part if out is None else out + part
        if out is None:
            raise ConfigError(
                "a blur without components",
                where="camera blur",
                why="there is nothing to apply",
                fix="give one",
            )
        return out

    def _matrices(self, like: Any) -> list:
        """(x, y) matrices of each component in the kind of `like`, kept."""
        key = (str(like.dtype), str(getattr(like, "device", "numpy")))
        if key not in self._kept:
            pairs = []
            for weight, fwhm in self.components:
                if weight == 0.0:
                    continue
                sides = (
                    _matrix(n, self.pixel_mm, to, self.to_pixel_mm, fwhm)
                    for n, to in zip(self.shape, self.to_shape, strict=True)
                )
                along_x, along_y = sides
                pairs.append(tuple(_as(m, like) for m in (weight * along_x, along_y)))
            self._kept[key] = pairs
        return self._kept[key]


def blur_and_bin(
    image: Array,
    fwhm_mm: float,
    pixel_mm: float,
    factor: int = 1,
    scatter_fraction: float = 0.0,
    scatter_fwhm_mm: float = 0.0,
) -> Array:
    """What a camera makes of a fine image: (1 - s) G(fwhm) + s G(scatter fwhm), then sums of factor x factor pixels.

    image : (..., x, y) numpy or torch, per pixel of `pixel_mm`. scatter_fraction : s, of all counts, 0-1. Returns
    (..., x / factor, y / factor) per coarse pixel. Raises DataError where the factor does not divide the image's
    sides, ConfigError for impossible values.
    """
    shape = (int(image.shape[-2]), int(image.shape[-1]))
    return _blur(shape, fwhm_mm, pixel_mm, factor, scatter_fraction, scatter_fwhm_mm).forward(image)


def blur_and_bin_adjoint(
    counts: Array,
    fwhm_mm: float,
    pixel_mm: float,
    factor: int = 1,
    scatter_fraction: float = 0.0,
    scatter_fwhm_mm: float = 0.0,
) -> Array:
    """The transpose of `blur_and_bin`: (..., x, y) coarse -> (..., x factor, y factor) fine; `pixel_mm` the fine."""
    shape = (int(counts.shape[-2]) * int(factor), int(counts.shape[-1]) * int(factor))
    return _blur(shape, fwhm_mm, pixel_mm, factor, scatter_fraction, scatter_fwhm_mm).adjoint(counts)


@lru_cache(maxsize=32)
def _blur(
    shape: tuple[int, int], fwhm: float, pixel: float, factor: int, fraction: float, scatter: float
) -> BlurAndBin:
    fraction = _share(fraction)
    to = _divided(shape, factor)
    return BlurAndBin(shape, pixel, [(1.0 - fraction, fwhm), (fraction, scatter)], to, pixel * factor)


def _divided(shape: tuple[int, int], factor: int) -> tuple[int, int]:
    if factor != int(factor) or factor < 1:
        raise _impossible("factor", factor, "a whole number, 1 or more")
    if any(n % int(factor) for n in shape):
        raise DataError(
            "This image cannot be binned",
            where=f"an image of {shape[0]} x {shape[1]} pixels",
            why=f"{factor} x {factor} pixels are to be summed, and {factor} does not divide its sides",
            fix="crop or pad the image, or choose another factor",
        )
    return shape[0] // int(factor), shape[1] // int(factor)


@lru_cache(maxsize=16)
def _matrix(n: int, pixel: float, to: int, to_pixel: float, fwhm: float) -> NDArray[np.float64]:
    """(to, n): blur along an axis of n pixels by a Gaussian, then sums over `to` pixels of another size."""
    if fwhm > 0:
        beyond = max(
            0, math.ceil((to * to_pixel / pixel - n) / 2.0 - 1e-9)
        )  # what spreads there is seen, too
        places = np.arange(-beyond, n + beyond)
        profile = gaussian_profile(fwhm / FWHM_PER_SIGMA / pixel, n + beyond)
        spread = profile[np.abs(places[:, None] - np.arange(n))]
        matrix = overlaps(n + 2 * beyond, pixel, to, to_pixel) @ spread
    else:
        matrix = overlaps(n, pixel, to, to_pixel)
    matrix.setflags(write=False)
    return matrix


def overlaps(n: int, pixel: float, to: int, to_pixel: float) -> NDArray[np.float64]:
    """(to, n): the share of each of n pixels that lies in each of `to` pixels, both rows centred on one point."""
    if n == to and pixel == to_pixel:
        return np.eye(n)
    edges = (np.arange(n + 1) - n / 2.0) * pixel
    to_edges = (np.arange(to + 1) - to / 2.0) * to_pixel
    low = np.maximum(edges[:-1], to_edges[:-1, None])
    high = np.minimum(edges[1:], to_edges[1:, None])
    shares = np.clip(high - low, 0.0, None) / pixel
    shares[shares < 1e-9] = 0.0  # rounding where edges coincide
    shares[np.abs(shares - 1.0) < 1e-9] = 1.0
    return shares


def gaussian_profile(sigma: float, n: int) -> NDArray[np.float64]:
    """Half of a Gaussian of `sigma` pixels at offsets 0 to n - 1, float64; all of it adds up to 1.

    Sampled; below one pixel the width is set such that the second moment of the samples is sigma², which sampling
    alone falls short of. Smoothly becomes 1, 0, 0, ... at 0.
    """
    offsets = np.arange(max(n, math.ceil(9 * sigma) + 2), dtype=np.float64)
    if 0 < sigma < 1:
        trial = np.linspace(0.05, 1.2, 1200)[:, None]
        kernels = np.exp(-0.5 * (offsets / trial) ** 2)
        kernels /= 2 * kernels.sum(axis=1, keepdims=True) - kernels[:, :1]
        sigma = float(np.interp(sigma, np.sqrt(2 * (kernels * offsets**2).sum(axis=1)), trial[:, 0]))
    kernel = np.exp(-0.5 * (offsets / max(sigma, 0.01)) ** 2)
    kernel[kernel < 1e-14] = 0.0  # denormal numbers are slow, and no count is lost
    return (kernel / (2 * kernel.sum() - kernel[0]))[:n]


def _as(matrix: NDArray[np.float64], like: Any) -> Any:
    if isinstance(like, np.ndarray):
        return matrix.astype(like.dtype)
    import torch

    return torch.as_tensor(matrix.copy(), dtype=like.dtype, device=like.device)


def _share(value: float) -> float:
    return _checked("share of a component", value, "from 0 to 1", right=0 <= value <= 1)


def _checked(name: str, value: float, meant: str, *, right: bool) -> float:
    if not (math.isfinite(value) and right):
        raise _impossible(name, value, meant)
    return float(value)


def _impossible(name: str, value: float, meant: str) -> ConfigError:
    fix = "correct the description of the camera"
    return ConfigError(
        f"impossible value {value!r}", where=f"camera blur: {name}", why=f"it must be {meant}", fix=fix
    )
