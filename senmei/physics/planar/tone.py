"""Ink against grey: a tone exponent of the printer, fitted together with the camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from senmei.core.volume import Volume
from senmei.physics.planar.fit import CameraFit, fit_camera
from senmei.physics.planar.fit_model import SheetPair

LIMITS = (0.25, 4.0)
_STEP = 0.02  # of the exponent's logarithm, for the curvature


def toned(activity: Volume, exponent: float) -> Volume:
    """The activity (x, y, 1) with every pixel to this power of its share of the largest, and the same total."""
    data = np.asarray(activity.data, np.float64)
    shaped = (data / max(float(data.max()), 1e-300)) ** exponent
    return activity.like(shaped * (data.sum() / max(float(shaped.sum()), 1e-300)))


def fit_tone(
    pairs: Sequence[SheetPair],
    name: str | None = None,
    fixed: Mapping[str, float] | None = None,
    penetration: tuple[float, float] = (0.0, 0.0),
) -> tuple[CameraFit, tuple[SheetPair, ...], float, float]:
    """(fit, pairs as fitted, exponent, its standard error): `fit_camera` with the exponent of largest likelihood.

    A printer lays down ink in proportion to grey to a power, one for all sheets; each sheet's total activity is known.
    The standard errors of the fit are those at this exponent; its own is of the profile likelihood's curvature, nan at
    the end of what is tried (0.25 to 4). Raises as `fit_camera`.
    """
    from scipy.optimize import minimize_scalar

    def at(log_exponent: float) -> tuple[CameraFit, tuple[SheetPair, ...]]:
        shaped = tuple(replace(p, activity=toned(p.activity, float(np.exp(log_exponent)))) for p in pairs)
        return fit_camera(shaped, name, fixed, penetration), shaped

    def lack(log_exponent: float) -> float:
        fit, _ = at(log_exponent)
        return fit.goodness.deviance_per_dof * (fit.goodness.pixels - len(fit.free))

    low, high = np.log(LIMITS)
    found = minimize_scalar(
        lack, bounds=(low, high), method="bounded", options={"xatol": 2e-3, "maxiter": 40}
    )
    best = float(found.x)
    curvature = (lack(best + _STEP) - 2.0 * lack(best) + lack(best - _STEP)) / _STEP**2
    inside = low + 0.05 < best < high - 0.05 and curvature > 0
    error = float(np.exp(best) * np.sqrt(2.0 / curvature)) if inside else float("nan")
    fit, shaped = at(best)
    return fit, shaped, float(np.exp(best)), error
