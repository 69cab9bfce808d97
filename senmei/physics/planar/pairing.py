"""Pairing: the count scale of a teacher image, from a measured image of the sheet that it was printed as.

The greys t of a teacher become the reference counts r(t), per pixel of the reference's grid. Three ways:

lut      as the report did: mean measured counts of co-located pixels by classes of grey, made monotone (isotonic
         regression), then mean and standard deviation of the result set to those of the measured image. The measured
         image is blurred and noisy where the teacher is sharp, so that the classes mix with their neighbours (the curve
         flattens: regression dilution) and the standard deviation that is set is that of another image.
affine   r = a t + b, with a, b >= 0 that make B r + background most likely as the Poisson mean of the measured counts,
         B being the camera's blur and binning: degradation is in the model, not in the numbers.
monotone r = any rising curve, piecewise linear between quantiles of grey, found in the same way.

The two likelihoods keep counts: at the maximum the expected counts add up to the measured ones. `compare_pairings`
tells offset, count ratio and deviance of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume
from senmei.physics.planar.blur import BlurAndBin
from senmei.physics.planar.pairing_numbers import PairingNumbers, judge_pairing

WAYS = ("lut", "affine", "monotone")


@dataclass(frozen=True)
class Pairing:
    """A teacher on the count scale.

    way : of WAYS. grey, counts : (k,) float64, the curve r(t), counts per reference pixel without background. before :
    (k,) of a look-up table before mean and standard deviation were set; of a likelihood the same as `counts`.
    reference : Volume (x, y, 1) float32, counts per reference pixel, background included. numbers : of its quality.
    """

    way: str
    grey: NDArray[np.float64]
    counts: NDArray[np.float64]
    before: NDArray[np.float64]
    reference: Volume
    numbers: PairingNumbers


def match_counts(
    teacher: Volume,
    measured: Volume,
    camera: Mapping[str, Any],
    mask: Volume | None = None,
    way: str = "monotone",
    knots: int = 12,
) -> Pairing:
    """The reference of a measured image: its teacher with counts per reference pixel.

    teacher : (x, y, 1) grey 0..1, registered to the image. measured : (x / factor, y / factor, 1) counts. camera : its
    role (`PlanarCamera.role`): factor, pixel_mm, fwhm_mm, scatter ..., background in counts per measured pixel. mask :
    (x, y, 1), the printed area, by default all; nothing is printed outside. way : of WAYS. knots : classes of grey of
    the LUT, knots of the monotone curve; fewer where the teacher has fewer greys.

    Raises ConfigError for an unknown way, DataError for grids that do not match, values that are no counts or no greys,
    an empty mask, or an image without counts.
    """
    if way not in WAYS:
        why = "a pairing is a look-up table or a likelihood"
        raise ConfigError(f"unknown way '{way}'", where="pairing", why=why, fix=nearest(way, WAYS))
    if isinstance(knots, bool) or not 2 <= knots <= 256:
        what, why = f"impossible number of knots {knots!r}", "a curve needs some"
        raise ConfigError(what, where="pairing", why=why, fix="give 2 to 256")
    pair = _checked(teacher, measured, camera, mask)
    if way == "lut":
        grey, counts, before, plane = _lut(pair, knots)
    else:
        grey, counts = _likely(pair, knots if way == "monotone" else 2, quantiles=way == "monotone")
        before = counts
        plane = np.where(pair.mask, np.interp(pair.grey, grey, counts), 0.0) + pair.background
    reference = teacher.like(plane[..., None].astype(np.float32))
    parameters = 2 if way == "affine" else len(grey)
    numbers = judge_pairing(plane, pair.spread(), pair.mask, pair.counts, pair.expected(plane), parameters)
    return Pairing(way, grey, counts, before, reference, numbers)


def compare_pairings(
    teacher: Volume,
    measured: Volume,
    camera: Mapping[str, Any],
    mask: Volume | None = None,
    ways: Sequence[str] = WAYS,
    knots: int = 12,
) -> dict[str, Pairing]:
    """The pairing of every way, for a table of their `numbers` and a figure (`colocated` with their curves)."""
    return {way: match_counts(teacher, measured, camera, mask, way, knots) for way in ways}


def colocated(
    teacher: Volume,
    measured: Volume,
    camera: Mapping[str, Any],
    mask: Volume | None = None,
    most: int = 4000,
) -> dict[str, list[float]]:
    """Points of the report's figure: `grey` of the teacher, measured `counts` per reference pixel there.

    Without background, of at most `most` pixels of the mask, evenly picked in the order of their grey.
    """
    pair = _checked(teacher, measured, camera, mask)
    order = np.argsort(pair.grey[pair.mask], kind="stable")
    order = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).astype(int))]
    counts = pair.spread()[pair.mask] - pair.background
    return {"grey": pair.grey[pair.mask][order].tolist(), "counts": counts[order].tolist()}


@dataclass(frozen=True)
class _Pair:
    """Checked planes. grey, mask (x, y) fine; counts (x, y) coarse; background : counts per fine pixel."""

    grey: NDArray[np.float64]
    mask: NDArray[np.bool_]
    counts: NDArray[np.float64]
    factor: int
    background: float
    blur: BlurAndBin

    def spread(self) -> NDArray[np.float64]:  # measured counts per fine pixel, by nearest neighbour
        return np.kron(self.counts, np.ones((self.factor, self.factor))) / self.factor**2

    def expected(
        self, plane: NDArray[np.float64]
    ) -> NDArray[np.float64]:  # of the camera, background included
        return self.blur.forward(plane - self.background) + self.background * self.factor**2


def _lut(pair: _Pair, knots: int) -> tuple[NDArray[np.float64], ...]:
    """(greys, curve, curve before mean and SD were set, reference) of the report.

    Classes of equal size, isotonic means, then mean and SD over the mask.
    """
    from scipy.optimize import isotonic_regression

    grey, counts = pair.grey[pair.mask], pair.spread()[pair.mask]
    edges = np.unique(np.quantile(grey, np.linspace(0, 1, knots + 1)))
    of = np.clip(np.searchsorted(edges, grey, side="right") - 1, 0, max(len(edges) - 2, 0))
    number = np.bincount(of)
    full = number > 0  # classes that nothing falls into are left out: the curve goes straight over them
    centres = np.bincount(of, grey)[full] / number[full]
    means = np.bincount(of, counts)[full] / number[full]
    rising = isotonic_regression(means, weights=number[full]).x
    shown = np.interp(grey, centres, rising)
    gain = counts.std() / shown.std() if shown.std() > 0 else 1.0
    before = rising - pair.background
    rising = np.clip(counts.mean() + gain * (rising - shown.mean()), 0.0, None)
    plane = np.full(pair.grey.shape, pair.background)
    plane[pair.mask] = np.interp(grey, centres, rising)
    return centres, rising - pair.background, before, plane


def _likely(pair: _Pair, knots: int, *, quantiles: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots and rising counts that are most likely: a floor and steps of 0 or more, each blurred by the camera."""
    from scipy.optimize import minimize

    grey = pair.grey[pair.mask]
    at = np.quantile(grey, np.linspace(0, 1, knots)) if quantiles else np.array([0.0, 1.0])
    at = np.unique(at)
    ramps = [pair.mask.astype(np.float64)]
    for low, high in pairwise(at):
        ramps.append(np.where(pair.mask, np.clip((pair.grey - low) / (high - low), 0.0, 1.0), 0.0))
    parts = np.stack([pair.blur.forward(ramp).ravel() for ramp in ramps], axis=1)
    counts, background = pair.counts.ravel(), pair.background * pair.factor**2
    # in units that make all coefficients about one
    unit = max(counts.sum() - background * counts.size, counts.sum() * 1e-3) / parts.sum(0)
    parts = parts * unit
    scale = max(float(counts.sum()), 1.0)
    floor = 1e-9 * max(counts.mean(), 1e-9)

    def cost(steps: NDArray) -> tuple[float, NDArray]:
        mean = parts @ steps + background + floor
        value, slope = (mean - counts * np.log(mean)).sum(), parts.T @ (1.0 - counts / mean)
        return float(value) / scale, slope / scale

    start = np.full(parts.shape[1], 1.0 / parts.shape[1])
    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30}
    limits = [(0.0, None)] * len(start)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)
    steps = found.x
    wanted, now = counts.sum() - background * counts.size, float((parts @ steps).sum())
    if (
        now > 0 and wanted > 0
    ):  # exact where there is no background; where there is, the likelihood nearly gives it
        steps = steps * wanted / now
    return at, np.cumsum(steps * unit)


def _checked(teacher: Volume, measured: Volume, camera: Mapping[str, Any], mask: Volume | None) -> _Pair:
    factor = int(camera["factor"])
    for volume, name in ((teacher, "teacher"), (measured, "measured")):
        if volume.data.ndim != 3 or volume.shape[2] != 1:
            raise _bad(f"the {name} is of shape {volume.shape}", "give one plane, (x, y, 1)")
    grey = np.asarray(teacher.data[..., 0], np.float64)
    counts = np.asarray(measured.data[..., 0], np.float64)
    if grey.shape != (counts.shape[0] * factor, counts.shape[1] * factor):
        why = (
            f"a teacher of {grey.shape} and an image of {counts.shape} differ by another factor than {factor}"
        )
        raise _bad(why, "register the image to the sheet and resample it first")
    if abs(measured.voxel[0] / teacher.voxel[0] - factor) > 0.02 * factor:
        why = f"pixels of {teacher.voxel[0]:.4g} and {measured.voxel[0]:.4g} mm do not differ by {factor}"
        raise _bad(why, "register the image to the sheet: its pixel size may be that of another zoom")
    if not np.isfinite(grey).all() or grey.min() < 0 or grey.max() > 1:
        raise _bad("the teacher's greys are not within 0 and 1", "window the teacher first")
    if not np.isfinite(counts).all() or counts.min() < 0 or counts.sum() <= 0:
        raise _bad("the image holds no counts, or values that are none", "give the image as it was measured")
    inside = np.ones(grey.shape, bool) if mask is None else np.asarray(mask.data[..., 0] > 0)
    if inside.shape != grey.shape or not inside.any():
        raise _bad("the mask is empty or of another grid", "give the printed area on the teacher's grid")
    blur = BlurAndBin.of_camera((grey.shape[0], grey.shape[1]), camera)
    return _Pair(grey, inside, counts, factor, float(camera.get("background", 0.0)) / factor**2, blur)


def _bad(why: str, fix: str) -> DataError:
    return DataError("This image and teacher cannot be paired", where="pairing", why=why, fix=fix)
