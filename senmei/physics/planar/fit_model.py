"""Expected counts of measured sheets as a function of the camera's five numbers, and the most likely ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.physics.planar.blur import BlurAndBin
from senmei.physics.planar.goodness import deviance
from senmei.physics.planar.nuclides import nuclide
from senmei.physics.planar.sheet import plane_of

NAMES = (
    "fwhm_mm",
    "scatter_fraction",
    "scatter_fwhm_mm",
    "sensitivity_cps_per_mbq",
    "background_cps_per_cm2",
)
_STARTS_MM = ((4.0, 7.0, 11.0), (25.0, 60.0, 140.0))  # of both widths
_ROUNDS = 80


@dataclass(frozen=True)
class SheetPair:
    """A measured sheet.

    activity : (x, y, 1) MBq per pixel when the acquisition started, registered: centred on the origin as the image is.
    counts : (x, y, 1) as counted, not corrected. time_s : of the acquisition. live : share of it in which the camera
    was not dead. mask : (x, y, 1) on the image's grid, pixels to be used; None is all.
    """

    activity: Volume
    counts: Volume
    time_s: float
    live: float = 1.0
    mask: Volume | None = None


class SheetImage:
    """A pair as arrays, counts (x, y) and activity times effective seconds."""

    def __init__(self, pair: SheetPair, name: str | None):
        self.counts, self.pixel_mm = plane_of(pair.counts)
        activity, self.fine_mm = plane_of(pair.activity)
        if not 0 < pair.live <= 1 or not np.isfinite(pair.time_s) or pair.time_s <= 0:
            raise unusable(
                f"time {pair.time_s!r} s, live {pair.live!r}", "give the frame's length and the live share"
            )
        if not activity.any() or not self.counts.any():
            raise unusable("the sheet or its image is empty", "check which sheet belongs to which image")
        seconds = pair.time_s * pair.live
        self.activity = (
            activity * seconds * (1.0 if name is None else nuclide(name).mean_activity(pair.time_s))
        )
        self.background = seconds * (self.pixel_mm / 10.0) ** 2
        self.grid = pair.counts
        self.used = np.ones(self.counts.shape, bool)
        if pair.mask is not None:
            self.used = np.asarray(pair.mask.data).reshape(self.counts.shape) > 0
        if np.abs(self.counts - np.rint(self.counts)).max() > 1e-4:
            raise unusable(
                "the image's pixels are no whole numbers of counts", "give it as counted, before corrections"
            )

    def blurred(self, fwhm: float) -> NDArray[np.float64]:
        """Activity seconds (x, y) after a Gaussian, on the image's grid."""
        shapes = self.activity.shape, self.counts.shape
        blur = BlurAndBin(shapes[0], self.fine_mm, [(1.0, fwhm)], shapes[1], self.pixel_mm)
        return blur.forward(self.activity)


class SheetModel:
    """Expected counts as a function of theta: log widths, fraction, log sensitivity, background; and derivatives."""

    def __init__(
        self, images: list[SheetImage], fixed: Mapping[str, float], tail: tuple[float, float] = (0.0, 0.0)
    ):
        self.images, self.fixed, self.tail = images, fixed, tail
        self.free = [i for i, name in enumerate(NAMES) if name not in fixed]
        pixel = min(i.pixel_mm for i in images)
        field_mm = max(max(i.counts.shape) * i.pixel_mm for i in images)
        self.low = np.array([np.log(0.3 * pixel), 0.0, np.log(pixel), -np.inf, 0.0])
        self.high = np.array([np.log(field_mm / 4), 0.95, np.log(2 * field_mm), np.inf, np.inf])
        self.counts = np.concatenate([i.counts[i.used] for i in images])
        # what penetrates is known, and scaled by the sensitivity like the rest
        self.beyond = tail[0] * self.spread(tail[1]) if tail[0] > 0 else np.zeros(len(self.counts))
        self.ones = np.concatenate([np.full(int(i.used.sum()), i.background) for i in images])

    def natural(self, theta: NDArray) -> NDArray:
        """Values in the order of `NAMES`."""
        f1, s, f2, k, b = theta
        values = np.array([np.exp(f1), s, np.exp(f2), np.exp(k), b])
        for i, name in enumerate(NAMES):
            if name in self.fixed:
                values[i] = self.fixed[name]
        return values

    def spread(self, fwhm: float) -> NDArray:
        """Blurred activity seconds of all used pixels (n,)."""
        return np.concatenate([i.blurred(fwhm)[i.used] for i in self.images])

    def within(self, fwhm: float) -> NDArray:
        """The same, of what does not penetrate."""
        return (1.0 - self.tail[0]) * self.spread(fwhm)

    def expected(self, theta: NDArray) -> NDArray:
        """Counts (n,), never 0."""
        f1, s, f2, k, b = self.natural(theta)
        sharp = self.within(f1)
        mixed = (1 - s) * sharp + s * self.within(f2) if s > 0 else sharp
        return np.maximum(k * (mixed + self.beyond) + b * self.ones, 1e-9)

    def jacobian(self, theta: NDArray) -> tuple[NDArray, NDArray]:
        """Expected counts (n,) and their derivatives (n, free) by theta."""
        f1, s, f2, k, b = self.natural(theta)
        step = 0.01
        sharp, broad = self.within(f1), self.within(f2)
        columns: dict[int, NDArray] = {
            1: k * (broad - sharp),
            3: k * ((1 - s) * sharp + s * broad + self.beyond),
            4: self.ones,
        }
        for i, width, share in ((0, f1, 1 - s), (2, f2, s)):
            if i in self.free:
                change = self.within(width * np.exp(step)) - self.within(width * np.exp(-step))
                columns[i] = k * share * change / (2 * step)
        m = np.maximum(columns[3] + b * self.ones, 1e-9)
        return m, np.stack([columns[i] for i in self.free], axis=1)

    def start(self) -> NDArray:
        """theta of the best pair of widths of the grid, the linear numbers by weighted least squares, 0 or more."""
        from scipy.optimize import nnls

        weight = 1.0 / np.sqrt(np.maximum(self.counts, 1.0))
        widths = [
            (self.fixed[name],) if name in self.fixed else grid
            for name, grid in zip((NAMES[0], NAMES[2]), _STARTS_MM, strict=True)
        ]
        spread = {f: self.within(f) for f in {*widths[0], *widths[1]}}
        best: tuple[float, NDArray] | None = None
        for f1 in widths[0]:
            for f2 in widths[1]:
                design = np.stack([spread[f1] + self.beyond, spread[f2] + self.beyond, self.ones], axis=1)
                design *= weight[:, None]
                (c1, c2, b), _ = nnls(design.T @ design, design.T @ (self.counts * weight))
                k = max(c1 + c2, 1e-12)
                s = float(np.clip(c2 / k, 0.02, 0.9))
                theta = np.array([np.log(max(f1, 0.1)), s, np.log(max(f2, 0.1)), np.log(k), b])
                lack = float(deviance(self.counts, self.expected(theta)).sum())
                if best is None or lack < best[0]:
                    best = (lack, theta)
        assert best is not None
        return np.clip(best[1], self.low, self.high)


def maximise(model: SheetModel, theta: NDArray) -> tuple[NDArray, NDArray, bool]:
    """theta of the largest likelihood, Fisher's information (free, free) there, and whether it has settled."""
    free, damping = model.free, 1e-3
    lack = float(deviance(model.counts, model.expected(theta)).sum())
    for _ in range(_ROUNDS):
        m, columns = model.jacobian(theta)
        gradient = columns.T @ (model.counts / m - 1.0)
        information = columns.T @ (columns / m[:, None])
        held = [
            j
            for j, i in enumerate(free)
            if (theta[i] <= model.low[i] and gradient[j] < 0)
            or (theta[i] >= model.high[i] and gradient[j] > 0)
        ]
        move = [j for j in range(len(free)) if j not in held]
        if not move:
            return theta, information, True
        part = information[np.ix_(move, move)]
        for _ in range(30):
            damped = part + damping * np.diag(np.maximum(np.diag(part), 1e-12))
            step = np.linalg.lstsq(damped, gradient[move], rcond=None)[0]
            trial = theta.copy()
            trial[[free[j] for j in move]] += step
            trial = np.clip(trial, model.low, model.high)
            now = float(deviance(model.counts, model.expected(trial)).sum())
            if now <= lack:
                break
            damping = max(damping, 1e-6) * 5.0
        else:
            return theta, information, True  # no step of any length is better
        gain, theta, lack, damping = lack - now, trial, now, damping / 5.0
        if gain < 1e-4:  # of the deviance; a standard error is 1
            return theta, information_at(model, theta), True
    return theta, information_at(model, theta), False


def information_at(model: SheetModel, theta: NDArray) -> NDArray:
    """Fisher's information (free, free) of theta."""
    m, columns = model.jacobian(theta)
    return columns.T @ (columns / m[:, None])


def unusable(why: str, fix: str) -> DataError:
    """The error for pairs that no camera can be fitted to."""
    return DataError("These sheets cannot be fitted", where="pairs of sheet and image", why=why, fix=fix)
