"""The degradation model of a camera, fitted to sheets that it measured and whose activity is known.

    m = t s_k [ (1 - s) G(fwhm) + s G(scatter fwhm) ] a + t b

for an activity a (MBq per pixel), effective time t, sensitivity s_k, scatter fraction s and background b: five numbers,
found by Poisson maximum likelihood. Fisher scoring with Levenberg's damping, from the best of a grid of widths; the
inverse of Fisher's information gives the standard errors. `Goodness` judges the result, and warnings tell what the
sheets cannot decide: a flat one knows no resolution, a large one cannot part broad scatter from background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, nearest
from senmei.core.volume import Volume
from senmei.physics.planar.fit_model import NAMES, SheetImage, SheetModel, SheetPair, maximise, unusable
from senmei.physics.planar.goodness import Goodness, Offset, judge, offset, residuals
from senmei.physics.planar.response import Response


@dataclass(frozen=True)
class CameraFit:
    """What `fit_camera` found.

    values, errors : by name (`NAMES`); the error of a number that was given is 0, of one at the limit of what can be
    (no scatter, no background) nan. correlation : (free, free) of the `free` names. goodness : see `Goodness`.
    expected, residuals : fitted counts and Pearson's residuals, maps (x, y, 1) float32 of each image. offsets : how far
    each lies from its sheet. penetration : the share and FWHM that were given. warnings : sentences.
    """

    values: dict[str, float]
    errors: dict[str, float]
    free: tuple[str, ...]
    correlation: NDArray[np.float64]
    goodness: Goodness
    expected: tuple[Volume, ...]
    residuals: tuple[Volume, ...]
    offsets: tuple[Offset, ...]
    penetration: tuple[float, float] = (0.0, 0.0)
    warnings: tuple[str, ...] = field(default=())

    @property
    def response(self) -> Response:
        """Of these numbers; `PlanarCamera(measured=...)` takes it."""
        v = self.values
        scatter = v[NAMES[2]] if v[NAMES[1]] > 0 else 0.0
        return Response(v[NAMES[3]], v[NAMES[0]], v[NAMES[1]], scatter, *self.penetration)

    @property
    def background_cps_per_cm2(self) -> float:
        """Uniform background, counts/s/cm²."""
        return self.values["background_cps_per_cm2"]

    def to_dict(self) -> dict[str, Any]:
        """All but the maps, as JSON would have it (nan as None)."""
        return {
            "values": dict(self.values),
            "errors": {k: None if not np.isfinite(v) else v for k, v in self.errors.items()},
            "penetration": list(self.penetration),
            "free": list(self.free),
            "correlation": np.nan_to_num(self.correlation).tolist(),
            "goodness": self.goodness.to_dict(),
            "offsets_mm": [[o.x_mm, o.y_mm, o.error_mm] for o in self.offsets],
            "warnings": list(self.warnings),
        }


def fit_camera(
    pairs: Sequence[SheetPair],
    name: str | None = None,
    fixed: Mapping[str, float] | None = None,
    penetration: tuple[float, float] = (0.0, 0.0),
) -> CameraFit:
    """Fit resolution, scatter, sensitivity and background to measured sheets, all of one setting of the camera.

    name : nuclide, whose decay within the acquisitions is corrected; None for one that lives long. fixed : numbers that
    are known, by their names in `NAMES` (`scatter_fraction: 0` for a sheet in air). penetration : share of all counts
    and FWHM in mm of a third Gaussian, which is not fitted (`PlanarCamera.response` computes it); without it what
    penetrates is taken for scatter, and for worse resolution.

    Raises DataError for pairs that cannot be used, ConfigError for unknown names in `fixed`.
    """
    fixed = dict(fixed or {})
    for key in fixed:
        if key not in NAMES:
            raise ConfigError(
                f"unknown number '{key}'",
                where="fixed",
                why="the model has no such one",
                fix=nearest(key, NAMES),
            )
    if fixed.get("scatter_fraction") == 0.0:
        fixed.setdefault("scatter_fwhm_mm", 0.0)
    images = [SheetImage(pair, name) for pair in pairs]
    if not images:
        raise unusable("there are none", "give at least one measured sheet with its activity")
    model = SheetModel(images, fixed, penetration)
    return _result(model, *maximise(model, model.start()))


def _result(model: SheetModel, theta: NDArray, information: NDArray, steady: bool) -> CameraFit:
    values = model.natural(theta)
    free = tuple(NAMES[i] for i in model.free)
    at_limit = [
        j
        for j, i in enumerate(model.free)
        if theta[i] <= model.low[i] + 1e-9 or theta[i] >= model.high[i] - 1e-9
    ]
    covariance = _inverse(information, [j for j in range(len(free)) if j not in at_limit])
    error = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / np.outer(error, error)
    errors = dict.fromkeys(NAMES, 0.0)
    for j, i in enumerate(model.free):  # theta of widths and sensitivity are logarithms
        errors[NAMES[i]] = float(error[j] * (values[i] if i in (0, 2, 3) else 1.0))
    if values[1] == 0.0 and NAMES[2] in free:  # nothing is scattered, so that its width means nothing
        values[2], errors[NAMES[2]] = 0.0, float("nan")
    m = model.expected(theta)
    edges = np.cumsum([int(i.used.sum()) for i in model.images])[:-1]
    expected = []
    for image, part in zip(model.images, np.split(m, edges), strict=True):
        plane = np.zeros(image.counts.shape)
        plane[image.used] = part
        expected.append(plane)
    goodness = judge(
        [i.counts for i in model.images],
        expected,
        [i.used for i in model.images],
        parameters=len(free),
        pixel_mm=model.images[0].pixel_mm,
        block_mm=2.0 * float(values[0]),
    )
    shifts = tuple(
        offset(i.counts, e, i.used, i.pixel_mm) for i, e in zip(model.images, expected, strict=True)
    )
    maps = tuple(
        i.grid.like(
            np.where(i.used, residuals(i.counts, np.maximum(e, 1e-9)), 0.0).astype(np.float32)[..., None]
        )
        for i, e in zip(model.images, expected, strict=True)
    )
    named = dict(zip(NAMES, map(float, values), strict=True))
    told = _warnings(named, errors, free, correlation, at_limit, goodness, steady)
    told += _shifted(shifts)
    means = tuple(
        i.grid.like(e.astype(np.float32)[..., None]) for i, e in zip(model.images, expected, strict=True)
    )
    return CameraFit(named, errors, free, correlation, goodness, means, maps, shifts, model.tail, told)


def _shifted(shifts: tuple[Offset, ...]) -> tuple[str, ...]:
    return tuple(
        f"Image {n} lies {s.x_mm:+.2f} mm along x and {s.y_mm:+.2f} mm along y of its sheet (± {s.error_mm:.2g} mm): "
        "register it again, or the resolution is taken to be worse than it is."
        for n, s in enumerate(shifts, 1)
        if max(abs(s.x_mm), abs(s.y_mm)) > max(4.0 * s.error_mm, 0.1)
    )


def _inverse(information: NDArray, free: list[int]) -> NDArray[np.float64]:
    """Covariance (n, n), nan but for the free ones; very large, not infinite, where the information is singular."""
    covariance = np.full(information.shape, np.nan)
    part = information[np.ix_(free, free)]
    scale = np.sqrt(np.maximum(np.diag(part), 1e-12))
    size, axes = np.linalg.eigh(part / np.outer(scale, scale))
    inverse = (axes / np.maximum(size, 1e-12)) @ axes.T
    covariance[np.ix_(free, free)] = inverse / np.outer(scale, scale)
    return covariance


def _warnings(
    values: dict[str, float],
    errors: dict[str, float],
    free: tuple[str, ...],
    correlation: NDArray,
    at_limit: list[int],
    goodness: Goodness,
    steady: bool,
) -> tuple[str, ...]:
    told = []
    if not steady:
        told.append("The fit has not settled: its numbers are where it was stopped.")
    for j in (j for j in at_limit if values[free[j]] != 0.0):  # no scatter, no background: these may be
        told.append(
            f"{free[j]} is at the limit of what is possible ({values[free[j]]:.4g}): it has no standard error."
        )
    scattering = values["scatter_fraction"] > 0
    for name in free:
        if name == "scatter_fwhm_mm" and not scattering:
            continue
        limit = 0.25 if name == "scatter_fraction" else 0.5 * values[name]
        if name != "background_cps_per_cm2" and errors[name] > limit:
            told.append(f"{name} is not decided by these sheets: {values[name]:.4g} ± {errors[name]:.2g}.")
    for i in range(len(free)):
        for j in range(i):
            if abs(correlation[i, j]) > 0.98:
                told.append(
                    f"{free[j]} and {free[i]} cannot be told apart (correlation {correlation[i, j]:.3f})."
                )
    if scattering and "scatter_fwhm_mm" in free and values["scatter_fwhm_mm"] < 1.5 * values["fwhm_mm"]:
        told.append(
            "Scatter is hardly broader than the resolution: the two Gaussians are one peak's shape. "
            "Hold `scatter_fraction` at 0 if nothing but air is before the sheet."
        )
    if not goodness.good:
        told.append(
            f"The model does not explain the images: chi² per pixel {goodness.chi2_per_dof:.2f}, per block of "
            f"{goodness.block_mm:.0f} mm {goodness.block_chi2:.1f}, error beyond noise {100 * goodness.misfit:.1f} %."
        )
    return tuple(told)
