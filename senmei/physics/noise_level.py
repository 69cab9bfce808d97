"""How noisy is an image? Standard deviation of the noise of a magnitude MR volume, from the volume alone."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage, special

from senmei.core.errors import DataError

_MAD = 0.6744897501960817  # median |z| of a standard normal
_ENOUGH = 100_000  # coefficients after which more would not sharpen the median
_FLAT = 0.25  # share of the signal that counts as flat
_SIGNAL = 3.0  # local mean, in noise sigmas, above which a place is signal and not air


def rician_variance_ratio(snr: np.ndarray) -> np.ndarray:
    """Variance of a Rician magnitude over that of its Gaussian channels (xi), for amplitude / sigma = `snr`.

    xi = 2 + t^2 - pi/8 exp(-t^2/2) ((2 + t^2) I0(t^2/4) + t^2 I1(t^2/4))^2: 0.429 in air, 1 at high SNR.
    [Koay and Basser 2006, J Magn Reson 179:317, eq. 17]
    """
    t2 = np.minimum(np.asarray(snr, dtype=np.float64), 30.0) ** 2
    bessel = (2 + t2) * special.i0e(t2 / 4) + t2 * special.i1e(t2 / 4)
    return 2 + t2 - np.pi / 8 * bessel**2


_SNR = np.linspace(0.0, 30.0, 601)
_XI = rician_variance_ratio(_SNR)


def estimate_sigma(data: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Noise sigma of a magnitude volume, in the volume's intensity units.

    data : (x, y, z) real, finite. The background may be Rician air or exactly zero.
    mask : (x, y, z), voxels to look at (default: all that are not zero).

    Finest diagonal Haar subband (HHH) of non-overlapping 2 x 2 x 2 blocks, its median absolute deviation
    over blocks that carry signal and are among the flattest, each coefficient divided by the square root of
    its own Rician variance ratio, to a fixed point in sigma. Flatness is judged on what is orthogonal to HHH
    (the six other detail bands and the neighbouring blocks), so choosing by it does not bias the noise.
    Returns 0.0 for a constant or empty volume. Assumes noise that is white from voxel to voxel: interpolated
    or zero-filled images read low. Raises DataError if not 3D or not finite.
    [Coupe et al. 2010, Med Image Anal 14:483; Koay and Basser 2006, J Magn Reson 179:317]
    """
    volume = _checked(data, mask)
    detail, square, unflat = _gather(volume, mask)
    if detail.size == 0:
        return 0.0
    sigma = _mad(detail)
    if sigma <= 1e-7 * float(np.sqrt(square.mean())):
        # flat almost everywhere: what detail there is lies on edges, and is anatomy
        return 0.0
    for _ in range(12):
        signal = square > (_SIGNAL * sigma) ** 2
        if signal.sum() < 64:
            signal = np.ones_like(signal)  # nothing but noise: judge the air itself
        flat = signal & (unflat <= np.quantile(unflat[signal], _FLAT))
        before, sigma = sigma, _mad(detail[flat] / _spread(square[flat], sigma))
        if abs(sigma - before) <= 1e-3 * before:
            break
    return float(sigma)


def estimate_sigma_map(data: np.ndarray, smoothness: float = 12.0) -> np.ndarray:
    """Local noise sigma, for noise that varies in space (parallel imaging).

    data : (x, y, z) real, finite. smoothness : standard deviation of the averaging window, voxels.
    Returns (x, y, z) float32, the data's units: Rician-corrected |HHH| averaged over the flat blocks nearby
    that carry signal (normalised convolution, clipped at three sigmas). Places without information near them
    take the value of `estimate_sigma`, which is where the iteration starts. All zero for a noise-free volume.
    Raises DataError if not 3D or not finite.
    """
    volume = _checked(data, None)
    sigma = estimate_sigma(volume)
    if sigma == 0.0:
        return np.zeros(volume.shape, dtype=np.float32)
    detail, square, unflat, used = _blocks(volume, None, (0, 0, 0))
    signal = used & (square > (_SIGNAL * sigma) ** 2)
    signal = signal if signal.sum() >= 64 else used
    local = np.full(detail.shape, sigma, dtype=np.float32)
    width = smoothness / 2  # the grid of blocks is half as fine
    for _ in range(3):  # flatness, correction and clipping all depend on the local sigma itself
        flatness = unflat / np.square(local)
        flat = signal & (flatness <= np.quantile(flatness[signal], _FLAT))
        weight = ndimage.gaussian_filter(flat.astype(np.float32), width, mode="constant", truncate=3)
        value = np.where(flat, np.minimum(np.abs(detail) / _spread(square, local), 3 * local), 0)
        mean = ndimage.gaussian_filter(value.astype(np.float32), width, mode="constant", truncate=3)
        # E|z| = sqrt(2 / pi); far from any information the one global value takes over smoothly
        local = (mean * np.float32(np.sqrt(np.pi / 2)) + 1e-4 * sigma) / (weight + 1e-4)
    # blocks are centred between two voxels
    sizes: list[tuple[int, int]] = list(zip(volume.shape, local.shape, strict=True))
    where = [np.clip((np.arange(fine) - 0.5) / 2, 0, coarse - 1) for fine, coarse in sizes]
    return _interpolated(local, where).astype(np.float32)


def _checked(data: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    volume = np.asarray(data)
    fits = mask is None or mask.shape == volume.shape
    if volume.ndim != 3 or min(volume.shape, default=0) < 2 or not fits:
        raise DataError(
            "Cannot estimate the noise of this image",
            where="noise level",
            why=f"it needs a 3D volume, 2 voxels a side or more, and a mask of its shape, got {volume.shape}"
            + ("" if mask is None else f" and {mask.shape}"),
            fix="give one volume at a time, and a mask on the same grid",
        )
    volume = volume.astype(np.float32, copy=False)
    if not np.isfinite(volume).all():
        raise DataError(
            "Cannot estimate the noise of this image",
            where="noise level",
            why="it contains NaN or infinite values",
            fix="repair or exclude the image",
        )
    return volume


def _blocks(
    volume: np.ndarray, mask: np.ndarray | None, phase: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """HHH detail, mean square, unflatness, usable; one entry per block."""
    count = [(n - p) // 2 for n, p in zip(volume.shape, phase, strict=True)]
    detail = np.zeros(count, np.float32)
    mean = np.zeros(count, np.float32)
    square = np.zeros(count, np.float32)
    used = np.ones(count, bool)
    for corner in product((0, 1), repeat=3):
        view = tuple(
            slice(p + c, p + c + 2 * n - 1, 2) if n else slice(0, 0)
            for p, c, n in zip(phase, corner, count, strict=True)
        )
        part = volume[view]
        detail += part if sum(corner) % 2 == 0 else -part
        mean += part
        square += part * part
        used &= (part != 0) if mask is None else (np.asarray(mask[view]) > 0)
    detail /= np.sqrt(8.0)
    mean /= 8
    square /= 8
    # energy of the six bands between the mean and HHH
    unflat = np.maximum(8 * (square - mean * mean) - detail * detail, 0)
    for axis, n in enumerate(count):
        if n > 2:
            unflat += np.gradient(mean, axis=axis) ** 2
    return detail, square, unflat, used


def _gather(volume: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Usable blocks of as many of the eight block phases as are worth having."""
    found: list[tuple[np.ndarray, ...]] = []
    total = 0
    for phase in ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1)):
        detail, square, unflat, used = _blocks(volume, mask, phase)
        found.append((detail[used], square[used], unflat[used]))
        total += found[-1][0].size
        if total >= _ENOUGH:
            break
    detail, square, unflat = (np.concatenate(part) for part in zip(*found, strict=True))
    return detail, square, unflat


def _spread(square: np.ndarray, sigma: np.ndarray | float) -> np.ndarray:
    """sqrt(xi) at the SNR that a local mean square implies: E[M^2] = A^2 + 2 sigma^2."""
    snr = np.sqrt(np.maximum(square / np.maximum(np.square(sigma), 1e-30) - 2.0, 0.0))
    return np.sqrt(np.interp(snr, _SNR, _XI))


def _mad(values: np.ndarray) -> float:
    return float(np.median(np.abs(values))) / _MAD if values.size else 0.0


def _interpolated(values: np.ndarray, where: list[np.ndarray]) -> np.ndarray:
    """Trilinear interpolation on a grid given by one coordinate vector per axis, an axis at a time."""
    for axis, at in enumerate(where):
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = np.expand_dims(at - low, tuple(a for a in range(3) if a != axis))
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values
