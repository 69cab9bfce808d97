"""Photons scattered in a layer of water between a thin sheet and the camera: how many, and how far astray.

The layer lies on the sheet, is wide, and nothing else is near: what scatters from behind is of too low an energy for a
photopeak window. Single scatter follows from first principles. A photon leaves the sheet at an angle of cosine c, is
scattered at depth z toward the camera, and is counted as the window accepts the energy it has left. Relative to the
photons that pass the layer t unscattered,

    S1 / P = 2π ∫dc ∫dz μ_C / c · p(c) a(c) exp(-μ z / c - μ' (t - z) + μ t)

with p the Klein-Nishina density, a the acceptance relative to the photopeak's, μ' the attenuation after scatter. It
agrees with Monte Carlo to 1 %. Further orders multiply it by 1 + k τ, τ = μ t, and its radius by 1 + 0.45 k τ, where
k = 1.4 A² and A is the probability that an interaction sends a photon forward and into the window; both constants were
fitted to Monte Carlo of slabs of 0.5 to 20 cm for the four nuclides, which they follow to 8 % (Tl-201: 12 %).

The spread is given as the FWHM of the Gaussian that has half of the scattered photons within the same radius. The real
one is more peaked and has a longer tail: 80 % lie within 2.1 half radii rather than 1.5. In the image of a point, the
counts within any radius are off by 4 % of all at most under 5 cm (Tc-99m), by 6 % under 10 cm, by 8 % for Tl-201.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss

from senmei.physics import photons

ORDERS = 1.4  # k / A²
SPREAD = 0.45  # growth of the half radius with k τ
_NODES = 160


class LayerScatter(NamedTuple):
    """to_primary : scattered over unscattered counts. fwhm_mm : of their spread, before the collimator's blur."""

    to_primary: float
    fwhm_mm: float


@lru_cache(maxsize=256)
def layer_scatter(energy_kev: float, window: float, resolution: float, thickness_mm: float) -> LayerScatter:
    """Scatter in a layer of water of `thickness_mm`, of photons of `energy_kev`, counted in a window.

    window, resolution : full width and FWHM as fractions of the energy.
    """
    if thickness_mm <= 0.0:
        return LayerScatter(0.0, 0.0)
    nodes, weights = leggauss(_NODES)
    cosine, of_cosine = (nodes + 1.0) / 2.0, weights / 2.0
    thick = thickness_mm / 10.0
    z, of_z = cosine * thick, of_cosine * thick
    total = float(photons.attenuation(energy_kev))
    compton = float(photons.compton_attenuation(energy_kev))
    left = photons.compton_energy(energy_kev, cosine)
    accepted = photons.window_acceptance(left, energy_kev, window, resolution)
    accepted /= photons.window_acceptance(energy_kev, energy_kev, window, resolution)
    density = photons.klein_nishina(energy_kev, cosine) / photons.compton_cross_section(energy_kev)
    toward = 2.0 * math.pi * density * accepted * of_cosine
    passed = np.exp(
        -total * z / cosine[:, None] - photons.attenuation(left)[:, None] * (thick - z) + total * thick
    )
    shares = (compton * toward / cosine)[:, None] * of_z * passed
    radius = z * np.sqrt(1.0 / cosine[:, None] ** 2 - 1.0)
    order = np.argsort(radius, axis=None)
    so_far = np.cumsum(shares.ravel()[order])
    half = 10.0 * float(np.interp(so_far[-1] / 2.0, so_far, radius.ravel()[order]))
    more = ORDERS * (float(toward.sum()) * compton / total) ** 2 * total * thick
    return LayerScatter(float(so_far[-1]) * (1.0 + more), 2.0 * half * (1.0 + SPREAD * more))
