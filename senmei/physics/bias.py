"""The smooth multiplicative bias field of receive coils and transmit inhomogeneity."""

from __future__ import annotations

import numpy as np

from senmei.core.volume import Volume
from senmei.physics.fields import smooth_field


def draw_bias(rng: np.random.Generator, strength: float = 0.1, controls: int = 5) -> np.ndarray:
    """Control points (n, n, n) float32 of the logarithm of a bias field whose sd is about `strength`."""
    return (strength * 2.0 * rng.standard_normal((controls,) * 3)).astype(np.float32)


def bias_field(controls: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """exp(cubic B-spline of `controls`) on a grid of `shape`, float32, positive (not yet normalised)."""
    return np.exp(smooth_field(controls, shape))


def apply_bias(volume: Volume, controls: np.ndarray, mask: np.ndarray | None = None) -> Volume:
    """Multiply by the bias field, scaled to mean one over `mask` (default: where the image is above a tenth of its
    99th percentile).
    """
    x, y, z = volume.shape[:3]
    field = bias_field(controls, (x, y, z))
    if mask is None:
        mask = volume.data > 0.1 * np.percentile(volume.data, 99)
    if mask.any():
        field /= field[mask].mean()
    return volume.like((volume.data * field).astype(np.float32))
