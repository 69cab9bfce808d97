"""What a planar camera does to a thin sheet: its sensitivity, and its blur as three Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass

from senmei.core.errors import ConfigError
from senmei.physics import photons
from senmei.physics.gamma_camera import COLLIMATORS, PEAK_EFFICIENCY, GammaCamera
from senmei.physics.planar.layer import layer_scatter
from senmei.physics.planar.nuclides import Nuclide
from senmei.physics.planar.septa import septal_penetration


@dataclass(frozen=True)
class Response:
    """How an image arises, measured or computed: counts per MBq and second, and the three Gaussians of its blur.

    scatter_fraction : of the counts that came through the holes. penetration_fraction : of all counts. Raises
    ConfigError for what cannot be: fractions are 0 to 1, all is finite and 0 or more.
    """

    sensitivity_cps_per_mbq: float
    fwhm_mm: float
    scatter_fraction: float = 0.0
    scatter_fwhm_mm: float = 0.0
    penetration_fraction: float = 0.0
    penetration_fwhm_mm: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            most = 1.0 if name.endswith("fraction") else math.inf
            if not number or not 0 <= value <= most:
                raise ConfigError(
                    f"impossible value {value!r}",
                    where=f"camera response: {name}",
                    why="it must be a number " + ("from 0 to 1" if most == 1 else "of 0 or more"),
                    fix="correct what was measured or given",
                )

    def components(self) -> list[tuple[float, float]]:
        """(share, FWHM in mm) of each Gaussian; the shares add up to 1."""
        s, p = self.scatter_fraction, self.penetration_fraction
        parts = [
            ((1 - p) * (1 - s), self.fwhm_mm),
            ((1 - p) * s, self.scatter_fwhm_mm),
            (p, self.penetration_fwhm_mm),
        ]
        return [part for part in parts if part[0] > 0]


def planar_response(camera: GammaCamera, n: Nuclide, distance_mm: float, layer_mm: float) -> Response:
    """The response that follows from the camera at the nuclide's energy, the sheet's distance and the layer on it.

    Resolution as in `GammaCamera`; scatter as in `layer`, broadened by the resolution; penetration as in `septa`;
    sensitivity that of the geometric response (Anger 1964) over 1 - penetration. The layer attenuates by Compton
    scatter and absorption; coherent scatter, 2 % of the attenuation, goes nearly straight on and counts as none.
    """
    fwhm = float(camera.resolution_fwhm_mm(distance_mm))
    layer = layer_scatter(n.energy_kev, camera.window, n.energy_resolution, layer_mm)
    tail = septal_penetration(camera.collimator, n.energy_kev)
    # GammaCamera's figure has the crystal's efficiency at 140 keV and the window's acceptance in it; n has its own
    seen = n.photons_in_window(camera.window) * n.peak_efficiency
    geometric = camera.sensitivity_cps_per_mbq(seen / PEAK_EFFICIENCY / camera.window_acceptance())
    passed = math.exp(-float(photons.attenuation(n.energy_kev)) * layer_mm / 10.0) * (1.0 + layer.to_primary)
    length = COLLIMATORS[camera.collimator].length_mm
    return Response(
        sensitivity_cps_per_mbq=geometric / (1.0 - tail.share) * passed,
        fwhm_mm=fwhm,
        scatter_fraction=layer.to_primary / (1.0 + layer.to_primary),
        scatter_fwhm_mm=math.hypot(layer.fwhm_mm, fwhm) if layer_mm > 0 else 0.0,
        penetration_fraction=tail.share,
        penetration_fwhm_mm=math.hypot(tail.fwhm_mm(distance_mm, length), camera.intrinsic_fwhm_mm),
    )
