"""Photons of 20 to 500 keV in tissue: Compton scatter, attenuation by energy, acceptance of an energy window.

Compton scatter follows Klein and Nishina (Z. Phys. 1929;52:853) on free electrons at rest. Left out: binding of
the electrons (Doppler broadening, the incoherent scattering function) and coherent scatter, about 3 % of the
attenuation of water at 140 keV and nearly all of it forward. Angles enter as their cosine, energies in keV.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

ELECTRON_KEV = 510.998950
ELECTRON_RADIUS_CM = 2.8179403262e-13
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))

# Electrons per cm3, and photoelectric attenuation: 1/cm at 100 keV and its power of the energy (assumed: read off
# the usual tables of water and of cortical bone of 1.92 g/cm3; 3 % of the total at most in soft tissue).
ELECTRONS_PER_CM3 = {"water": 3.343e23, "bone": 5.95e23}
PHOTOELECTRIC = {"water": (0.00276, -3.28), "bone": (0.0478, -3.25)}


def compton_energy(energy_kev: ArrayLike, cosine: ArrayLike) -> NDArray[np.float64]:
    """Energy in keV left to a photon scattered by the angle of this cosine (broadcast)."""
    energy = np.asarray(energy_kev, np.float64)
    return energy / (1.0 + energy / ELECTRON_KEV * (1.0 - np.asarray(cosine, np.float64)))


def klein_nishina(energy_kev: ArrayLike, cosine: ArrayLike) -> NDArray[np.float64]:
    """Differential cross section of one free electron, cm2 per steradian (broadcast)."""
    cosine = np.asarray(cosine, np.float64)
    ratio = compton_energy(energy_kev, cosine) / np.asarray(energy_kev, np.float64)
    return 0.5 * ELECTRON_RADIUS_CM**2 * ratio**2 * (ratio + 1.0 / ratio - (1.0 - cosine**2))


def compton_cross_section(energy_kev: ArrayLike) -> NDArray[np.float64]:
    """Total Klein-Nishina cross section of one free electron, cm2."""
    a = np.asarray(energy_kev, np.float64) / ELECTRON_KEV
    logarithm = np.log1p(2.0 * a)
    first = (1.0 + a) / a**2 * (2.0 * (1.0 + a) / (1.0 + 2.0 * a) - logarithm / a)
    rest = logarithm / (2.0 * a) - (1.0 + 3.0 * a) / (1.0 + 2.0 * a) ** 2
    return 2.0 * np.pi * ELECTRON_RADIUS_CM**2 * (first + rest)


def compton_attenuation(energy_kev: ArrayLike, material: str = "water") -> NDArray[np.float64]:
    """Attenuation by Compton scatter alone, 1/cm, of "water" or "bone"."""
    return ELECTRONS_PER_CM3[material] * compton_cross_section(energy_kev)


def attenuation(energy_kev: ArrayLike, material: str = "water") -> NDArray[np.float64]:
    """Attenuation by Compton scatter and photoelectric absorption, 1/cm, of "water" or "bone"."""
    at_100, power = PHOTOELECTRIC[material]
    absorbed = at_100 * (np.asarray(energy_kev, np.float64) / 100.0) ** power
    return compton_attenuation(energy_kev, material) + absorbed


def draw_compton(energy_kev: ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
    """Cosines of scattering angles drawn from Klein and Nishina's distribution, one for each energy (n,) in keV.

    Kahn's rejection method (AECU-3259, 1954): exact at any energy, two draws in three kept at 140 keV.
    """
    energy = np.atleast_1d(np.asarray(energy_kev, np.float64))
    a = energy / ELECTRON_KEV
    cosine = np.empty(energy.shape)
    left = np.arange(energy.size)
    while left.size:
        now = a[left]
        first, second, third = rng.random((3, left.size))
        low = first * (2.0 * now + 9.0) <= 2.0 * now + 1.0
        inverse = np.where(low, 1.0 + 2.0 * now * second, (1.0 + 2.0 * now) / (1.0 + 2.0 * now * second))
        candidate = 1.0 - (inverse - 1.0) / now
        limit = np.where(low, 4.0 * (1.0 / inverse - 1.0 / inverse**2), 0.5 * (candidate**2 + 1.0 / inverse))
        kept = third <= limit
        cosine[left[kept]] = candidate[kept]
        left = left[~kept]
    return cosine


def deflect(
    direction: NDArray[np.float64], cosine: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Unit vectors (n, 3) turned by angles of these cosines (n,), about themselves by a uniform angle."""
    helper = np.zeros_like(direction)
    helper[np.arange(len(direction)), np.abs(direction).argmin(axis=1)] = 1.0
    side = np.cross(direction, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(direction, side)
    phi = rng.uniform(0.0, 2.0 * np.pi, len(direction))
    sine = np.sqrt(np.clip(1.0 - cosine**2, 0.0, None))
    turned = cosine[:, None] * direction
    turned += (sine * np.cos(phi))[:, None] * side + (sine * np.sin(phi))[:, None] * other
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def window_acceptance(
    energy_kev: ArrayLike, peak_kev: float, window: float, resolution: float
) -> NDArray[np.float64]:
    """Probability that a photon of an energy is counted in a window centred on the peak.

    window : full width as a fraction of the peak (0.20: 126.5 to 154.6 keV at 140.5).
    resolution : FWHM as a fraction of the energy, at the peak; the width in keV grows with the square root of
    the energy. Photons are assumed to leave all their energy in the crystal.
    """
    energy = np.asarray(energy_kev, np.float64)
    sigma = resolution * np.sqrt(energy * peak_kev) / FWHM_PER_SIGMA
    low, high = peak_kev * (1.0 - window / 2.0), peak_kev * (1.0 + window / 2.0)
    return ndtr((high - energy) / sigma) - ndtr((low - energy) / sigma)
