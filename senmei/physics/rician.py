"""White noise of magnitude images."""

from __future__ import annotations

import numpy as np


def apply_rician(clean: np.ndarray, sigma: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of clean + complex Gaussian noise of sd `sigma` in each channel [Gudbjartsson 1995].

    clean : any shape, >= 0. sigma : same units, float or an array that broadcasts. Returns float32.
    """
    clean = np.asarray(clean, np.float32)
    sigma = np.asarray(sigma, np.float32)
    real = clean + sigma * rng.standard_normal(clean.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(clean.shape, dtype=np.float32)
    return np.hypot(real, imaginary)
