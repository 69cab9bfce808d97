"""Scatter in the photopeak, estimated from energy windows beside it.

Triple-energy-window estimate: the spectrum of scattered photons under the photopeak is a trapezoid between its heights
in a window below and one above, S = (C_l / W_l + C_u / W_u) W_p / 2 [Ogawa K, et al. A practical method for
position-dependent Compton-scatter correction in single photon emission CT. IEEE Trans Med Imaging 1991;10:408-412].
Where no photons of a higher energy are emitted (Tc-99m) the upper height is zero and the lower window is enough
[Ichihara T, et al. Compton scatter compensation using the triple-energy window method for single- and dual-isotope
SPECT. J Nucl Med 1993;34:2216-2221]. The estimate is added to what the reconstruction expects, not subtracted from
counts, which would no longer be Poisson [King MA, et al. Attenuation, scatter, and spatial resolution compensation in
SPECT. In: Emission Tomography. Elsevier; 2004].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from senmei.core.errors import DataError
from senmei.io.projections import EnergyWindow

_GAP_KEV = 2.0  # windows beside the photopeak touch it, but for so much
_SMOOTH_MM = (
    25.0  # FWHM over the detector: scatter is smooth, few counts in narrow windows are not ("assumed")
)
_ALONE = ("Tc-99m",)  # nuclides without photons above the photopeak: a lower window does


def side_windows(windows: Sequence[EnergyWindow], peak: int) -> tuple[int | None, int | None]:
    """Numbers of the windows that touch the photopeak from below and from above; None where there is none.

    Of several below (or above) the one that ends (begins) nearest to the photopeak.
    """
    low, high = windows[peak].low_kev, windows[peak].high_kev
    others = [(n, w) for n, w in enumerate(windows) if n != peak]
    below = [(abs(low - w.high_kev), n) for n, w in others if abs(low - w.high_kev) <= _reach(low)]
    above = [(abs(w.low_kev - high), n) for n, w in others if abs(w.low_kev - high) <= _GAP_KEV]
    below = [
        (gap, n) for gap, n in below if windows[n].low_kev < low and windows[n].high_kev <= low + _GAP_KEV
    ]
    return (min(below)[1] if below else None), (min(above)[1] if above else None)


def _reach(low: float) -> float:
    """How far below the photopeak a lower window may end: dual-energy windows leave a gap, of 5 % at most."""
    return max(_GAP_KEV, 0.05 * low)


def check_sides(lower: object, upper: object, nuclide: str, where: object) -> None:
    """Raise DataError where the windows that are there do not tell the scatter of this nuclide."""
    if lower is None:
        why = "no energy window was acquired just below the photopeak"
    elif upper is None and nuclide not in _ALONE:
        why = f"{nuclide or 'the nuclide'} may emit photons above the photopeak, and no window there was acquired"
    else:
        return
    fix = "set reconstruction.scatter to true (estimated with the attenuation map) or false"
    raise DataError("Its scatter cannot be told from energy windows", where=where, why=why, fix=fix)


def triple_window(
    lower: np.ndarray,
    upper: np.ndarray | None,
    widths_kev: tuple[float, float, float],
    pixel_mm: float,
) -> np.ndarray:
    """Scattered photons expected in the photopeak, float32, of the shape of `lower`.

    lower, upper : (..., u, v, view) counts beside the photopeak; upper None for heights of zero. widths_kev : of the
    lower, the photopeak and the upper window (not looked at without one). Each view is smoothed by a Gaussian of 25 mm
    FWHM, beyond the detector's edge as it is there.
    """
    from scipy import ndimage

    below, peak, above = widths_kev
    height = np.asarray(lower, np.float64) / below
    if upper is not None:
        height = height + np.asarray(upper, np.float64) / above
    sigma = _SMOOTH_MM / 2.3548 / pixel_mm
    smooth = ndimage.gaussian_filter(height, (*[0.0] * (height.ndim - 3), sigma, sigma, 0.0), mode="nearest")
    return (smooth * peak / 2).astype(np.float32)
