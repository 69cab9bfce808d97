"""Static images of a camera (DICOM NM) as images that sheets can be registered in."""

from __future__ import annotations

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.pictures import upright
from senmei.io.projections import PlanarImage
from senmei.physics.planar.sheet import sheet_affine


def sheet_images(static: PlanarImage, window: int = 0) -> list[Volume]:
    """Each image of an energy window: (x, y, 1) of counts in the stored type, x right and y up, centred on the field.

    Raises DataError for an energy window that is not there, and for pixels that are not square.
    """
    if not 0 <= window < static.counts.shape[0]:
        why = f"energy window {window} was asked for, and it has {static.counts.shape[0]}"
        raise DataError("No such energy window", where="static image", why=why, fix="count windows from 0")
    height, width = static.pixel_mm
    if not abs(height / width - 1.0) < 0.01:
        raise DataError(
            "A static image without square pixels",
            where="static image",
            why=f"its pixels are of {height:.4g} x {width:.4g} mm",
            fix="export the image as it was acquired, not a resampled one",
        )
    out = []
    for counts in static.counts[window]:
        picture = upright(counts, float(width))
        out.append(Volume(np.ascontiguousarray(counts[::-1].T)[..., None], picture.affine))
    return out


def added(image: Volume, number: int) -> Volume:
    """The image with `number` x `number` of its pixels added to one, float64.

    Raises DataError where they do not divide.
    """
    n, m = image.shape[:2]
    if n % number or m % number:
        raise DataError(
            "Camera pixels cannot be added",
            where="static image",
            why=f"{number} does not divide its {n} x {m} pixels",
            fix="choose a divisor of the matrix",
        )
    blocks = (n // number, number, m // number, number)
    data = np.asarray(image.data[..., 0], np.float64).reshape(blocks).sum((1, 3))
    return Volume(data[..., None], sheet_affine((n // number, m // number), image.voxel[0] * number))


def middle(image: Volume, reach_mm: float) -> Volume:
    """The square in the middle that reaches so far from the centre to each side, or all of a smaller image.

    Sides of an even number of pixels become multiples of 4, which networks divide; odd ones stay odd, so that the
    centre stays where it was.
    """
    pixel, n = image.voxel[0], min(image.shape[:2])
    wanted = int(np.ceil(2.0 * reach_mm / pixel))
    side = 4 * int(np.ceil(wanted / 4)) if n % 2 == 0 else wanted + 1 - wanted % 2
    if side >= n or image.shape[0] != image.shape[1]:
        return image
    cut = slice((n - side) // 2, (n + side) // 2)
    data = np.ascontiguousarray(image.data[cut, cut])
    return Volume(data, sheet_affine((side, side), pixel))
