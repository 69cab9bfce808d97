"""Would the camera have counted this? Asked of a restored planar image, without a reference."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import image

_LEAST = 1e-3  # counts: a pixel that expects less is taken to expect this
_FEW = 200.0  # counts: beyond, the expected deviance is 1 + 1 / (6 m) to four digits


@measure(requires=("low", "camera"), better="one", unit="1", title="Deviance after the camera")
def reblur_deviance(example: Example, restored: Volume) -> float:
    """D = Σ d(n, m) / Σ E[d | m], d(n, m) = 2 (n ln(n / m) − n + m), sums over the camera's pixels.

    n : `low`, the measured counts. m : the restored image through the camera's blur, sums over pixels and background,
    as `camera` tells them. E[d | m] : the deviance that Poisson counts of expectation m have, 1 for many and less for
    few counts, so that dark pixels neither help nor harm.
    Nearest to 1 is best: what is left is counting noise. Below 1 the noise was fitted, which then is in the restored
    image; above, counts were moved or the camera is not as told. One number of the whole image: detail that the camera
    cannot see, invented or true, changes nothing. Of values that are no counts (packed, scaled, smoothed before) it
    says nothing. Range 0 up; no unit; no reference, no mask.
    Raises DataError if the image has no counts or lies on another grid than `camera` tells, or a pixel is not finite.
    Source: deviance of the Poisson model, McCullagh & Nelder, Generalized Linear Models, 2nd ed. (1989), section 2.3;
    as a test of restored images e.g. Bertero et al., Inverse Probl. 26:105004 (2010).
    """
    from senmei.physics.planar.blur import BlurAndBin
    from senmei.physics.planar.goodness import deviance

    ours, counts, camera = fine_and_counted(example, restored)
    blur = BlurAndBin.of_camera((ours.shape[0], ours.shape[1]), camera)
    seen = blur.forward(np.maximum(ours, 0.0)) + float(camera.get("background", 0.0))
    expected = np.maximum(seen, _LEAST)
    return float(deviance(counts, expected).sum() / expected_deviance(expected).sum())


def fine_and_counted(example: Example, restored: Volume) -> tuple[NDArray, NDArray, dict]:
    """(restored (x factor, y factor), `low` (x, y), both float64, `camera`). Raises DataError if they do not fit."""
    ours, low = image(example, restored, "restored image"), image(example, example["low"], "low")
    camera = dict(example["camera"])
    where = str(example.scan.get("scan", "?"))
    factor = int(camera["factor"])
    wanted = (low.shape[0] * factor, low.shape[1] * factor, 1)
    if ours.shape != wanted:
        raise DataError(
            "Cannot compare the restored image with what was counted",
            where=where,
            why=f"the grids are {ours.shape} and, by the camera's factor {factor}, {wanted}",
            fix="restore on the reference's grid, or prepare the scan again",
        )
    if not low.sum() > 0:
        raise DataError(
            "Cannot compare counts",
            where=f"{where}: low",
            why=f"the counts of the image sum to {low.sum():.3g}",
            fix="check the acquisition: an image without counts cannot be judged",
        )
    return ours[..., 0], low[..., 0], camera


def expected_deviance(mean: NDArray) -> NDArray[np.float64]:
    """E[d(n, m)] of Poisson counts n of expectation m, interpolated between logarithms to 1e-4."""
    at, values = _table()
    mean = np.asarray(mean, np.float64)
    many = 1.0 + 1.0 / (6.0 * np.maximum(mean, _FEW))
    return np.where(mean > _FEW, many, np.interp(np.log(np.maximum(mean, 1e-9)), at, values))


@lru_cache(maxsize=1)
def _table() -> tuple[NDArray, NDArray]:
    from scipy.special import gammaln, xlogy

    means = np.geomspace(1e-4, _FEW, 600)
    n = np.arange(0, 420)[:, None]
    probability = np.exp(xlogy(n, means) - means - gammaln(n + 1.0))
    values = (probability * 2.0 * (xlogy(n, n / means) - n + means)).sum(axis=0)
    return np.log(means), values
