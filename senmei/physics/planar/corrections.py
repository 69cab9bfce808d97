"""Corrections of measured planar images for decay, dead time and non-uniformity; and the losses a camera simulates.

Corrected images are no longer Poisson counts: what needs those (likelihoods, thinning) takes the image as measured and
puts the corrections into its model instead.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume
from senmei.physics.planar.nuclides import nuclide

MODELS = ("non-paralysable", "paralysable")


def observed_rate(true_cps: float, dead_time_us: float, model: str = MODELS[0]) -> float:
    """Counts per second that a camera with this dead time shows of `true_cps`.

    Non-paralysable n / (1 + n τ), paralysable n exp(-n τ) (Sorenson, J Nucl Med 1975;16:284). The rate is that of the
    whole crystal, since any event blocks all of it.
    """
    load = true_cps * _tau(dead_time_us, model)
    return true_cps / (1.0 + load) if model == MODELS[0] else true_cps * math.exp(-load)


def true_rate(
    observed_cps: float, dead_time_us: float, model: str = MODELS[0], where: object = "image"
) -> float:
    """The inverse of `observed_rate`; of a paralysable camera's two answers the one below saturation.

    Raises DataError naming `where` for a rate that such a camera cannot show.
    """
    tau = _tau(dead_time_us, model)
    if tau == 0.0:
        return float(observed_cps)
    most = 1.0 / tau if model == MODELS[0] else 1.0 / tau / math.e
    if observed_cps >= most:
        raise DataError(
            "This image cannot be corrected for dead time",
            where=where,
            why=f"{observed_cps:.4g} counts/s were measured; a {model} camera of {dead_time_us:g} µs shows less than "
            f"{most:.4g}",
            fix="check the acquisition time and the dead time; if they are right, measure again with less activity",
        )
    if model == MODELS[0]:
        return observed_cps / (1.0 - observed_cps * tau)
    from scipy.special import lambertw

    return float(-lambertw(-observed_cps * tau).real / tau)


def correct_dead_time(
    counts: Volume,
    time_s: float,
    dead_time_us: float,
    model: str = MODELS[0],
    crystal_cps: float | None = None,
) -> Volume:
    """Counts (x, y, 1) as a camera without dead time would have had, float32.

    crystal_cps : observed rate of the whole crystal; by default the image's own counts per second, which is too low
    where the image shows a part of the crystal or of the spectrum. Raises DataError for rates beyond saturation.
    """
    observed = (
        float(np.sum(counts.data, dtype=np.float64)) / _seconds(time_s)
        if crystal_cps is None
        else crystal_cps
    )
    factor = true_rate(observed, dead_time_us, model) / observed if observed > 0 else 1.0
    return counts.like((counts.data * factor).astype(np.float32))


def correct_decay(counts: Volume, name: str, hours: float, time_s: float) -> Volume:
    """Counts (x, y, 1) as if the activity had stayed what it was at the time of reference, float32.

    name : nuclide. hours : from that time to the start of the acquisition. time_s : its length; decay within it is
    corrected too. Raises ConfigError for an unknown nuclide.
    """
    decays = nuclide(name)
    factor = 1.0 / (decays.decayed(hours) * decays.mean_activity(_seconds(time_s)))
    return counts.like((counts.data * factor).astype(np.float32))


def seconds_for_counts(name: str, signal_cps: float, background_cps: float, counts: float) -> float:
    """Seconds until a pixel has so many expected counts, the signal decaying from its rate at the start.

    Solves signal (1 - exp(-λt)) / λ + background t = counts for the nuclide `name`; inf where that takes more than 20
    mean lives. Raises ConfigError for an unknown nuclide.
    """
    decay = math.log(2.0) / nuclide(name).half_life_h / 3600.0

    def missing(seconds: float) -> float:
        return signal_cps * -math.expm1(-decay * seconds) / decay + background_cps * seconds - counts

    longest = 20.0 / decay
    if missing(longest) < 0:
        return math.inf
    from scipy.optimize import brentq

    return float(brentq(missing, 0.0, longest, xtol=1e-6, rtol=1e-10))


def uniformity_factors(flood: Volume, useful: float = 0.5) -> Volume:
    """Factors (x, y, 1) float32 that make a flood image flat: mean over smoothed flood; 0 outside the useful field.

    The flood is smoothed with NEMA NU 1's nine points (1 2 1, 2 4 2, 1 2 1) within the field, which are pixels of at
    least `useful` times the flood's upper quartile. Raises DataError for a flood without counts, or with fewer than 100
    counts a pixel in the mean, which would add more noise (above 4 %) than non-uniformity it takes away.
    """
    image = np.asarray(flood.data, np.float64)
    plane = image.reshape(image.shape[:2]) if image.size == image.shape[0] * image.shape[1] else None
    if plane is None or not np.isfinite(plane).all() or (plane < 0).any() or not plane.any():
        raise _bad_flood("it is no image of counts", "give a single frame of counts of a flood source")
    from scipy.ndimage import convolve

    field = (plane >= useful * np.quantile(plane[plane > 0], 0.75)).astype(np.float64)
    mean = float((plane * field).sum() / field.sum())
    if mean < 100.0:
        raise _bad_flood(
            f"it has {mean:.3g} counts a pixel", "acquire it for longer (NEMA NU 1: 10,000 a pixel)"
        )
    nine = np.outer((1.0, 2.0, 1.0), (1.0, 2.0, 1.0)) / 16.0
    share = convolve(field, nine, mode="constant")
    smooth = convolve(plane * field, nine, mode="constant") / np.maximum(share, 1e-12)
    factors = np.where(field > 0, mean / np.maximum(smooth, 1e-12), 0.0)
    return flood.like(factors.astype(np.float32).reshape(flood.shape))


def correct_uniformity(counts: Volume, factors: Volume) -> Volume:
    """Counts (x, y, 1) times the factors of a flood, float32. Raises DataError where the grids differ."""
    if counts.shape != factors.shape or not np.allclose(counts.voxel[:2], factors.voxel[:2], rtol=0.01):
        raise DataError(
            "This flood is of another grid",
            where="uniformity correction",
            why=f"image {counts.shape} of {counts.voxel[0]:.3g} mm, flood {factors.shape} of {factors.voxel[0]:.3g} mm",
            fix="acquire the flood with the matrix and zoom of the image",
        )
    return counts.like((counts.data * factors.data).astype(np.float32))


def uniformity(flood: NDArray, field: NDArray) -> float:
    """NEMA's integral uniformity of a flood (x, y) within a field: (max - min) / (max + min), 0 is flat."""
    inside = np.asarray(flood, np.float64)[np.asarray(field, bool)]
    return float((inside.max() - inside.min()) / (inside.max() + inside.min()))


def _tau(dead_time_us: float, model: str) -> float:
    if model not in MODELS:
        raise ConfigError(
            f"unknown model '{model}'",
            where="dead time",
            why="a camera is paralysable or not",
            fix=nearest(str(model), MODELS),
        )
    if not isinstance(dead_time_us, int | float) or not math.isfinite(dead_time_us) or dead_time_us < 0:
        raise ConfigError(
            f"impossible value {dead_time_us!r}",
            where="dead_time_us",
            why="it must be 0 or more",
            fix="give µs",
        )
    return dead_time_us * 1e-6


def _seconds(time_s: float) -> float:
    if not math.isfinite(time_s) or time_s <= 0:
        raise DataError(
            "The acquisition has no length",
            where="time_s",
            why=f"{time_s!r} s",
            fix="give the frame's duration in seconds (DICOM: Actual Frame Duration, in ms)",
        )
    return float(time_s)


def _bad_flood(why: str, fix: str) -> DataError:
    return DataError("This flood cannot be used", where="uniformity correction", why=why, fix=fix)
