"""The nuclides a sheet can be printed with: their photons, half-lives, windows, and what water and lead do to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from senmei.core.errors import ConfigError, nearest

# Water, narrow beam with coherent scatter, cm²/g = 1/cm: NIST XCOM; log-log between.
_WATER_KEV = (50.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 600.0)
_WATER_PER_CM = (0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370, 0.1186, 0.1061, 0.09687, 0.08956)


@dataclass(frozen=True)
class Nuclide:
    """A radionuclide as a gamma camera sees it.

    energy_kev : centre of the photopeak window. lines : (keV, photons per decay) of those imaged in it. window : its
    usual full width as a fraction of the energy. half_life_h : hours. peak_efficiency : share of these photons that
    9.5 mm of NaI(Tl) counts in the photopeak (assumed: rounded, from attenuation of NaI and usual peak fractions).
    """

    name: str
    energy_kev: float
    lines: tuple[tuple[float, float], ...]
    window: float
    half_life_h: float
    peak_efficiency: float

    @property
    def mu_water_per_cm(self) -> float:
        """Narrow-beam attenuation of water at `energy_kev`, 1/cm (NIST XCOM)."""
        return water_attenuation(self.energy_kev)

    @property
    def energy_resolution(self) -> float:
        """FWHM at `energy_kev` as a fraction: 10 % at 140.5 keV, with the inverse square root of the energy."""
        return 0.10 * math.sqrt(140.5 / self.energy_kev)

    def photons_in_window(self, window: float | None = None) -> float:
        """Photons per decay whose full-energy events a window (the usual one by default) would count."""
        # here, since it asks for scipy, which the tables of nuclides do not need
        from senmei.physics.photons import window_acceptance

        width = self.window if window is None else window
        return sum(
            share * float(window_acceptance(kev, self.energy_kev, width, self.energy_resolution))
            for kev, share in self.lines
        )

    def penetration(self, collimator: str) -> float:
        """Share (0-1) of the counts that came through the septa of a collimator; see `septa.septal_penetration`."""
        from senmei.physics.planar.septa import septal_penetration

        return septal_penetration(collimator, self.energy_kev).share

    def decayed(self, hours: float) -> float:
        """What is left of an activity after so many hours, as a fraction; more than 1 for hours before."""
        return 0.5 ** (hours / self.half_life_h)

    def mean_activity(self, seconds: float) -> float:
        """Mean activity over an acquisition, as a fraction of that at its start: (1 - exp(-λT)) / λT."""
        decays = math.log(2.0) * seconds / 3600.0 / self.half_life_h
        return -math.expm1(-decays) / decays if decays > 0 else 1.0


# Photons per decay and half-lives: Tl-201 from its label (135.3 keV 2.7 %, 167.4 keV 10.0 %, mercury's X-rays of
# 68.9-80.3 keV 94.4 %, shared between them by the usual intensities of Kα2, Kα1 and Kβ: assumed; 73.0 h). The others
# are the usual values (assumed, rounded to what matters here). Left out: I-123's photons of 440-784 keV (3 %) and
# I-131's of 637 and 723 keV (9 %), which penetrate the septa and count in the window after scattering.
NUCLIDES: dict[str, Nuclide] = {
    n.name: n
    for n in (
        Nuclide("Tc-99m", 140.5, ((140.5, 0.89),), 0.20, 6.007, 0.84),
        Nuclide("I-123", 159.0, ((159.0, 0.833),), 0.20, 13.22, 0.77),
        Nuclide("Tl-201", 70.8, ((68.9, 0.274), (70.8, 0.465), (80.3, 0.205)), 0.30, 73.0, 0.93),
        Nuclide("I-131", 364.5, ((364.5, 0.815),), 0.20, 192.6, 0.25),
    )
}


def nuclide(name: str) -> Nuclide:
    """The nuclide of this name. Raises ConfigError naming the nearest known one."""
    if not isinstance(name, str) or name not in NUCLIDES:
        raise ConfigError(
            f"unknown nuclide '{name}'",
            where="planar camera: nuclide",
            why="only nuclides whose photons are tabulated can be simulated",
            fix=nearest(str(name), NUCLIDES),
        )
    return NUCLIDES[name]


def water_attenuation(energy_kev: float) -> float:
    """Narrow-beam attenuation of water, coherent scatter included, 1/cm, from 50 to 600 keV (NIST XCOM)."""
    return math.exp(np.interp(math.log(energy_kev), np.log(_WATER_KEV), np.log(_WATER_PER_CM)))
