"""Receive coils: a birdcage-like ring of small loops around the head."""

from __future__ import annotations

import numpy as np


def birdcage_maps(
    coils: int,
    shape: tuple[int, int, int],
    voxel: tuple[float, float, float] = (1.0, 1.0, 1.0),
    radius: float = 0.75,
    rings: int = 1,
) -> np.ndarray:
    """Complex sensitivities (coil, x, y, z) complex64 whose sum of squares is one everywhere.

    The usual 3D birdcage model: magnitude 1/distance to a loop on a cylinder along z, phase turning with the
    direction to it. radius : of the cylinder, as a fraction of the largest in-plane field of view. rings : rings of
    loops along z. Raises ValueError when the coils do not divide into the rings.
    """
    if coils < 1 or rings < 1 or coils % rings:
        raise ValueError("the number of coils must be a positive multiple of the number of rings")
    extent = np.array(shape) * np.array(voxel)
    unit = float(max(extent[:2])) / 2
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * v / unit).astype(np.float32)
        for n, v in zip(shape, voxel, strict=True)
    )
    maps = np.empty((coils, *shape), np.complex64)
    each = coils // rings
    height = float(extent[2]) / 2 / unit
    for c in range(coils):
        ring, place = divmod(c, each)
        angle = 2 * np.pi * place / each + np.pi / each * (ring % 2)
        where = 0.0 if rings == 1 else height * (2 * (ring + 0.5) / rings - 1)
        dx = x[:, None, None] - np.float32(2 * radius * np.cos(angle))
        dy = y[None, :, None] - np.float32(2 * radius * np.sin(angle))
        dz = z[None, None, :] - np.float32(where)
        distance = np.sqrt(dx**2 + dy**2 + 0.5 * dz**2) + 0.05
        phase = (
            np.arctan2(dx * np.cos(angle) + dy * np.sin(angle), -dx * np.sin(angle) + dy * np.cos(angle))
            - angle
        )
        maps[c] = np.exp(1j * phase) / distance**1.5
    maps /= np.sqrt((maps.real**2 + maps.imag**2).sum(0))
    return maps


def coil_covariance(coils: int, coupling: float = 0.15) -> np.ndarray:
    """(coil, coil) noise covariance with unit diagonal: neighbours on the ring share a fraction `coupling`."""
    gap = np.abs(np.subtract.outer(np.arange(coils), np.arange(coils)))
    gap = np.minimum(gap, coils - gap)
    return np.where(gap == 0, 1.0, coupling ** gap.astype(float))
