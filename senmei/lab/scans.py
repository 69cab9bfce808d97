"""Static images of a camera (DICOM NM) as images that sheets can be registered in."""

from __future__ import annotations

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.pictures import upright
from senmei.io.projections import PlanarImage


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
