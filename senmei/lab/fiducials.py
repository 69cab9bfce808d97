"""Spots in a camera image: found by their size, placed to a fraction of a pixel by fitting a blurred one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.physics.planar.blur import FWHM_PER_SIGMA
from senmei.physics.planar.sheet import plane_of

MOST = 60  # candidates that are looked at
_LEVELS = (255, 4095, 16383, 32767, 65535)  # where 8 to 16 bits end


@dataclass(frozen=True)
class Spot:
    """A bright spot. x_mm, y_mm : its centre. error_mm : standard error of either coordinate.

    counts : in it, above what surrounds it. width_mm : standard deviation of its profile.
    """

    x_mm: float
    y_mm: float
    error_mm: float
    counts: float
    width_mm: float


def check_image(image: Volume, where: object = "camera image") -> tuple[NDArray[np.float64], float]:
    """Counts (x, y) and pixel in mm of an image (x, y, 1) that spots can be looked for in.

    Raises DataError for an image off the centred grid, without counts, or saturated: several of its pixels have exactly
    the same highest value, where a counter ends (255, 4095, ..., 65535) or where Poisson counts would differ.
    """
    counts, pixel = plane_of(image)
    if counts.sum() < 100:
        why = f"it holds {counts.sum():.0f} counts"
        raise _bad(where, why, "acquire for longer, or check that this is the image of the sheet")
    top = float(counts.max())
    # the mode of equal maxima: of Poisson counts around m few can share the highest of thousands
    equal = int(np.count_nonzero(counts == top))
    whole = top == round(top)
    if whole and ((equal >= 2 and top in _LEVELS) or (top >= 100 and equal >= max(6, counts.size // 2000))):
        why = f"it is saturated: {equal} pixels have exactly {top:.0f} counts"
        raise _bad(where, why, "acquire in 16 bits, for a shorter time, or with less activity")
    return counts, pixel


def find_spots(image: Volume, spot_mm: float, fwhm_mm: float, where: object = "camera image") -> list[Spot]:
    """Spots of about the wanted size, the most marked first; at most 60.

    spot_mm : diameter as printed. fwhm_mm : of the camera at the sheet. Candidates are maxima of a difference of two
    Gaussians of the size of a blurred spot and 1.6 times that; each is then fitted. Raises DataError as `check_image`.
    """
    from scipy import ndimage

    counts, pixel = check_image(image, where)
    sigma = spot_sigma(spot_mm, fwhm_mm) / pixel
    inner = ndimage.gaussian_filter(counts, sigma, mode="nearest")
    response = inner - ndimage.gaussian_filter(counts, 1.6 * sigma, mode="nearest")
    # noise of the response: Poisson, through the kernel of unit L2 norm 1 / (2 sqrt(pi) sigma)
    noise = np.sqrt(np.maximum(inner, 1e-3)) / (2.0 * np.sqrt(np.pi) * max(sigma, 0.3))
    reach = max(1, round(1.5 * sigma))
    peaks = (response == ndimage.maximum_filter(response, 2 * reach + 1)) & (response > 4.0 * noise)
    places = np.argwhere(peaks)
    places = places[np.argsort(response[peaks], kind="stable")[::-1]][:MOST]
    middle = (np.array(counts.shape) - 1) / 2
    out = []
    for place in places:
        fitted = _fit(counts, place, sigma)
        if fitted is not None:
            x, y, error, total, width = fitted
            mm = (np.array([x, y]) - middle) * pixel
            out.append(Spot(float(mm[0]), float(mm[1]), error * pixel, total, width * pixel))
    return out


def spot_sigma(spot_mm: float, fwhm_mm: float) -> float:
    """Standard deviation of a disc through a Gaussian: sqrt(sigma² + (diameter / 4)²), mm."""
    return float(np.hypot(fwhm_mm / FWHM_PER_SIGMA, spot_mm / 4.0))


def _fit(
    counts: NDArray[np.float64], place: NDArray, sigma: float
) -> tuple[float, float, float, float, float] | None:
    """x, y, their error, counts and width (pixels) of a Gaussian on a sloping ground; None where none fits.

    Least squares weighted by the counts' own Poisson error; the ground's slope takes what the image sheds beside.
    """
    from scipy.optimize import least_squares

    reach = max(3, int(np.ceil(2.2 * sigma)))
    low = np.maximum(place - reach, 0)
    high = np.minimum(place + reach + 1, counts.shape)
    patch = counts[low[0] : high[0], low[1] : high[1]]
    x, y = np.meshgrid(*[np.arange(a, b, dtype=float) for a, b in zip(low, high, strict=True)], indexing="ij")
    if patch.size < 25:
        return None
    smooth = np.maximum((patch + patch.mean()) / 2, 1.0)  # weights of the raw counts alone would bias
    weight = 1.0 / np.sqrt(smooth)
    ground = float(np.quantile(patch, 0.2))
    start = np.array([place[0], place[1], max(patch.max() - ground, 1.0), sigma, ground, 0.0, 0.0])

    dx, dy, one = x - place[0], y - place[1], np.ones_like(x)

    def residual(p: NDArray) -> NDArray:
        bell = p[2] * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / (2 * p[3] ** 2))
        return ((bell + p[4] + p[5] * dx + p[6] * dy - patch) * weight).ravel()

    def slopes(p: NDArray) -> NDArray:
        u, v = x - p[0], y - p[1]
        shape = np.exp(-(u**2 + v**2) / (2 * p[3] ** 2))
        bell = p[2] * shape
        parts = (
            bell * u / p[3] ** 2,
            bell * v / p[3] ** 2,
            shape,
            bell * (u**2 + v**2) / p[3] ** 3,
            one,
            dx,
            dy,
        )
        return np.stack([(part * weight).ravel() for part in parts], axis=1)

    inf = np.inf
    bounds = (
        [place[0] - reach, place[1] - reach, 0, 0.4 * sigma, -inf, -inf, -inf],
        [place[0] + reach, place[1] + reach, inf, 2.5 * sigma, inf, inf, inf],
    )
    unit = np.maximum(np.abs(start), 0.1)
    found = least_squares(residual, start, jac=slopes, bounds=bounds, x_scale=unit, max_nfev=40)
    try:
        covariance = np.linalg.inv(found.jac.T @ found.jac)
    except np.linalg.LinAlgError:
        return None
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1], 0.0) / 2))
    px, py, height, width = found.x[:4]
    if height <= 0 or error > 1.0 * sigma:
        return None
    return float(px), float(py), error, float(height * 2 * np.pi * width**2), float(width)


def _bad(where: object, why: str, fix: str) -> DataError:
    return DataError("No sheet can be registered in this image", where=where, why=why, fix=fix)
