"""Cartesian k-space of a volume seen by several coils, sampled line by line: a linear operator and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft


def to_kspace(image: np.ndarray, axes: tuple[int, ...] = (-3, -2)) -> np.ndarray:
    """Centred orthonormal Fourier transform over `axes` (default: x and y of (..., x, y, z)); complex64 stays."""
    return fft.fftshift(fft.fftn(fft.ifftshift(image, axes), axes=axes, norm="ortho"), axes)


def to_image(kspace: np.ndarray, axes: tuple[int, ...] = (-3, -2)) -> np.ndarray:
    """Inverse (and adjoint) of `to_kspace`."""
    return fft.fftshift(fft.ifftn(fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes)


def sampled_lines(lines: int, acceleration: int, acs: int) -> np.ndarray:
    """Boolean mask of phase-encode lines: every `acceleration`-th through the centre, and `acs` central ones."""
    if acceleration < 1 or not 0 <= acs <= lines:
        raise ValueError("acceleration must be at least 1 and the ACS lines fit into the lines")
    offset = np.arange(lines) - lines // 2
    return (offset % acceleration == 0) | ((offset >= -(acs // 2)) & (offset < acs - acs // 2))


@dataclass(frozen=True)
class KSpace:
    """A = mask . F . C. Images (x, y, z) to k-space (coil, x, y, z); each axial slice is a 2D acquisition.

    maps : (coil, x, y, z) sensitivities. mask : (y,) sampled phase-encode lines.
    """

    maps: np.ndarray
    mask: np.ndarray

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Complex image (x, y, z) -> sampled k-space (coil, x, y, z), zeros at lines that are not sampled."""
        return to_kspace(self.maps * image) * self.mask[:, None]

    def adjoint(self, kspace: np.ndarray) -> np.ndarray:
        """k-space (coil, x, y, z) -> image (x, y, z): the exact adjoint of `forward`."""
        return (np.conj(self.maps) * to_image(kspace * self.mask[:, None])).sum(0)
