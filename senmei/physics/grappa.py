"""Accelerated parallel acquisition: real k-space, GRAPPA, and the noise that comes with it."""

from __future__ import annotations

import numpy as np

from senmei.core.errors import ConfigError
from senmei.core.volume import Volume
from senmei.physics.coils import birdcage_maps, coil_covariance
from senmei.physics.kspace import KSpace, sampled_lines, to_image

READOUT = 5  # kernel size along the readout
BLOCKS = 4  # acquired lines a kernel spans along the phase encoding


def grappa_weights(calibration: np.ndarray, acceleration: int, ridge: float = 1e-3) -> np.ndarray:
    """Kernels (acceleration - 1, coil * BLOCKS * READOUT, coil) of one slice from its ACS block (coil, x, lines).

    Least squares with Tikhonov term ridge * |A|^2 / columns [Griswold 2002, Magn Reson Med 47:1202]. Raises
    ConfigError when the block has fewer lines than the kernel spans.
    """
    coils, _, lines = calibration.shape
    span = (BLOCKS - 1) * acceleration + 1
    if lines < span + 1:
        raise ConfigError(
            "Cannot calibrate GRAPPA",
            where=f"{lines} ACS lines",
            fix=f"acquire at least {span + 1}",
            why=f"a kernel of {BLOCKS} lines at R = {acceleration} spans {span} lines",
        )
    source = _sources(
        calibration, acceleration
    )  # (x, first line, columns); first = first acquired line of the kernel
    starts = lines - span + 1
    a = source[READOUT // 2 : -(READOUT // 2), :starts].reshape(-1, source.shape[-1])
    normal = a.conj().T @ a
    normal += ridge * np.trace(normal).real / len(normal) * np.eye(len(normal), dtype=normal.dtype)
    weights = []
    for missing in range(1, acceleration):
        line = (BLOCKS // 2 - 1) * acceleration + missing
        target = calibration[:, READOUT // 2 : -(READOUT // 2), line : line + starts]
        b = target.transpose(1, 2, 0).reshape(-1, coils)
        weights.append(np.linalg.solve(normal, a.conj().T @ b))
    return np.stack(weights)


def _sources(kspace: np.ndarray, acceleration: int) -> np.ndarray:
    """(x, line, coil * BLOCKS * READOUT): neighbours of the kernel that starts at each line; zeros beyond the edges."""
    coils, nx, lines = kspace.shape
    half, span = READOUT // 2, (BLOCKS - 1) * acceleration
    padded = np.zeros((coils, nx + 2 * half, lines + span), kspace.dtype)
    padded[:, half : half + nx, :lines] = kspace
    parts = [
        padded[:, i : i + nx, j * acceleration : j * acceleration + lines]
        for i in range(READOUT)
        for j in range(BLOCKS)
    ]
    return np.ascontiguousarray(np.stack(parts).transpose(2, 3, 0, 1)).reshape(nx, lines, -1)


def grappa_fill(
    kspace: np.ndarray, mask: np.ndarray, acceleration: int, acs: int, ridge: float = 1e-3
) -> np.ndarray:
    """Fill the missing lines of (coil, x, y, z) k-space, slice by slice; acquired lines stay as measured."""
    coils, nx, lines, slices = kspace.shape
    centre = lines // 2
    block = slice(centre - acs // 2, centre + acs - acs // 2)
    lead = (BLOCKS // 2 - 1) * acceleration
    filled = kspace.copy()
    for z in range(slices):
        here = np.ascontiguousarray(kspace[..., z])
        if not here.any():
            continue
        weights = grappa_weights(here[:, :, block], acceleration, ridge).astype(kspace.dtype)
        regular = here * ((np.arange(lines) - centre) % acceleration == 0)
        pad = lead + acceleration
        shifted = np.zeros((coils, nx, lines + pad), kspace.dtype)
        shifted[:, :, pad:] = regular
        source = _sources(shifted, acceleration)
        for missing in range(1, acceleration):
            want = np.flatnonzero(~mask & ((np.arange(lines) - centre) % acceleration == missing))
            first = want - missing - lead + pad  # the kernel's first acquired line, in padded numbering
            filled[:, :, want, z] = np.moveaxis(source[:, first] @ weights[missing - 1], -1, 0)
    return filled


def acquire_grappa(
    clean: Volume,
    sigma: float,
    rng: np.random.Generator,
    acceleration: int = 2,
    coils: int = 8,
    acs: int = 24,
    coupling: float = 0.15,
    maps: np.ndarray | None = None,
) -> Volume:
    """Acquire a clean magnitude volume with R-fold undersampling along y and reconstruct it by GRAPPA.

    clean : (x, y, z) float32, >= 0. sigma : noise sd (image units) that a fully sampled acquisition would show;
    at R the noise is larger by sqrt(R) g, correlated and different from place to place. maps : (coil, x, y, z)
    with unit sum of squares (default: birdcage). Returns the sensitivity-combined magnitude, float32; with
    acceleration 1 and sigma 0 it is the clean volume. Raises ConfigError when the field of
    view is too small for the ACS lines.
    """
    image = np.asarray(clean.data, np.float32)
    lines = image.shape[1]
    if acceleration > 1 and lines < 2 * acs:
        raise ConfigError(
            "Cannot accelerate the acquisition",
            where=f"{lines} phase-encode lines",
            why=f"{acs} of them are calibration lines",
            fix="use a larger field of view or fewer ACS lines",
        )
    if maps is None:
        maps = birdcage_maps(coils, image.shape, clean.voxel)
    coils = maps.shape[0]
    mask = sampled_lines(lines, acceleration, acs if acceleration > 1 else 0)
    kspace = KSpace(maps, mask).forward(image).astype(np.complex64)
    if sigma > 0:
        covariance = coil_covariance(coils, coupling)
        sub = maps[:, ::4, ::4, ::4].reshape(coils, -1)
        covariance /= np.einsum("cv,cd,dv->v", sub.conj(), covariance, sub, optimize=True).real.mean()
        root = np.linalg.cholesky(covariance).astype(np.float32) * np.float32(sigma)
        for z in range(image.shape[2]):  # slice by slice: bounded memory
            white = rng.standard_normal((coils, image.shape[0] * lines * 2), dtype=np.float32)
            noise = (root @ white).view(np.complex64).reshape(coils, image.shape[0], lines)
            kspace[..., z] += noise * mask
    if acceleration > 1:
        kspace = grappa_fill(kspace, mask, acceleration, acs)
    combined = (maps.conj() * to_image(kspace)).sum(0)
    return clean.like(np.abs(combined).astype(np.float32))
