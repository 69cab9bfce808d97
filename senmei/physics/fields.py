"""Random fields: smooth ones from B-spline control points, and correlated or band-limited noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, ndimage


@lru_cache(maxsize=64)
def bspline_matrix(controls: int, points: int) -> np.ndarray:
    """(points, controls) float32 matrix that evaluates a uniform cubic B-spline with `controls` coefficients.

    The spline's support covers the points end to end; rows sum to one. Source: Unser 1999, "Splines:
    a perfect fit for signal and image processing".
    """
    if controls < 4:
        raise ValueError("a cubic B-spline needs at least 4 control points an axis")
    u = np.linspace(0, controls - 3, points) if points > 1 else np.array([(controls - 3) / 2])
    first = np.minimum(u.astype(int), controls - 4)
    t = u - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    matrix = np.zeros((points, controls), np.float32)
    for k in range(4):
        matrix[np.arange(points), first + k] += weights[k]
    matrix.flags.writeable = False
    return matrix


def smooth_field(controls: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Cubic B-spline field of `controls` (x, y, z) on a grid of `shape`, float32."""
    field = np.asarray(controls, np.float32)
    for axis, points in enumerate(shape):
        matrix = bspline_matrix(field.shape[axis], points)
        field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field)


def white_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Unit-variance white Gaussian noise, float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def correlated_noise(shape: tuple[int, ...], fwhm: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance Gaussian noise smoothed to a FWHM given in voxels, float32."""
    sigma = fwhm / 2.3548
    noise = white_noise(shape, rng)
    if sigma < 0.1:
        return noise
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3)
    return noise / max(float(noise.std()), 1e-12)


def band_noise(
    shape: tuple[int, int, int], wavelength: float, width: float, rng: np.random.Generator
) -> np.ndarray:
    """Unit-variance noise around one wavelength (voxels), log-normal in frequency with relative `width`; periodic.

    The isotropic random pattern of a folding instability, whose stripes have one preferred spacing.
    """
    spectrum = fft.rfftn(white_noise(shape, rng))
    axes = [fft.fftfreq(n) for n in shape[:-1]] + [fft.rfftfreq(shape[-1])]
    k = np.sqrt(sum(a.reshape([-1 if i == j else 1 for j in range(3)]) ** 2 for i, a in enumerate(axes)))
    k[0, 0, 0] = 1e-9
    gain = np.exp(-0.5 * (np.log(k * wavelength) / width) ** 2)
    noise = fft.irfftn(spectrum * gain.astype(np.float32), shape).astype(np.float32)
    return noise / max(float(noise.std()), 1e-12)
