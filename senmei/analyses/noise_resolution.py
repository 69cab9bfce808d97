"""Noise and resolution of a restored scan, as numbers."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from senmei.core.volume import Volume
from senmei.phantoms.torso import LABELS

FWHM = 2.3548  # of a Gaussian, in standard deviations
PAD = 25.0  # mm about a region from which blur reaches into it
BLURS = (
    0.0,
    2.0,
    4.0,
    5.5,
    7.0,
    8.5,
    10.0,
    12.0,
    14.0,
    17.0,
    20.0,
    25.0,
    30.0,
)  # mm FWHM tried for added_blur
ENOUGH = 50  # voxels of liver


def blurred(image: Volume, fwhm: float) -> Volume:
    """`image` (x, y, z) convolved with a Gaussian of `fwhm` mm, float64; its border values go on outside.

    The discrete Gaussian e^-t I_n(t) [Lindeberg, IEEE PAMI 1990;12:234]: its variance is right for widths below a
    voxel, too, where a sampled Gaussian hardly does anything.
    """
    data = np.asarray(image.data, np.float64)
    for axis, voxel in enumerate(image.voxel):
        variance = (fwhm / FWHM / voxel) ** 2
        reach = int(np.ceil(1 + 5 * np.sqrt(variance)))
        kernel = special.ive(np.abs(np.arange(-reach, reach + 1)), variance)
        data = ndimage.convolve1d(data, kernel / kernel.sum(), axis=axis, mode="nearest")
    return image.like(data)


def added_blur(image: Volume, reference: Volume, region: np.ndarray) -> float:
    """FWHM (mm) of the Gaussian that turns `reference` into the likeness of `image` within `region`, 0 to 30.

    Least squares with a free scale, so that neither counts nor noise of the image (independent of the reference's)
    move it; the least of the tried widths is refined by a parabola. An image sharper than the reference has 0.
    """
    box = ndimage.find_objects(region.astype(np.uint8))[0]
    pad = [int(np.ceil(PAD / v)) + 1 for v in image.voxel]
    box = tuple(slice(max(s.start - p, 0), s.stop + p) for s, p in zip(box, pad, strict=True))
    inside, ours = region[box], np.asarray(image.data[box], np.float64)[region[box]]
    near = Volume(reference.data[box], reference.affine)
    misfit = []
    for width in BLURS:
        g = blurred(near, width).data[inside]
        misfit.append(-float((ours @ g) ** 2 / (g @ g)) if g.any() else 0.0)
    k = int(np.argmin(misfit))
    if k in (0, len(BLURS) - 1):
        return BLURS[k]
    x, y = np.square(BLURS[k - 1 : k + 2]), misfit[k - 1 : k + 2]  # misfit is smooth in the variance
    second, first, _ = np.polyfit(x, y, 2)
    return float(np.sqrt(np.clip(-first / (2 * second), x[0], x[2]))) if second > 0 else BLURS[k]


def liver_noise(data: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """liver_cov and liver_noise, %, inside the liver two voxels from its border (one, where it is small).

    liver_cov : standard deviation over mean of `data`. liver_noise : standard deviation of `data` - `reference` over
    the mean of the reference, which leaves out what is uneven without noise. Empty with fewer than 50 voxels.
    """
    liver = labels == LABELS["liver"]
    for times in (2, 1):
        inner = ndimage.binary_erosion(liver, iterations=times)
        if inner.sum() >= ENOUGH:
            level = float(reference[inner].mean())
            noise = 100 * float((data - reference)[inner].std()) / level if level > 0 else float("nan")
            return {"liver_cov": cov(data, inner), "liver_noise": noise}
    return {}


def cov(data: np.ndarray, where: np.ndarray) -> float:
    """Coefficient of variation of `data` where the mask is true, %; NaN if that is nowhere or its mean not above 0."""
    values = data[where]
    return 100 * float(values.std() / values.mean()) if values.size and values.mean() > 0 else float("nan")
