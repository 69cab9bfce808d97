"""Is a planar image like those that a method was fitted on? By its camera and its counts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from senmei.methods.planar import Sheet

# column: (words, unit, how far beyond the range is still alike: a factor, or for scatter a difference)
_COLUMNS = (
    ("pixels", " mm", 1.05),
    ("blur", " mm", 1.15),
    ("scattered share", "", 0.1),
    ("bright counts a camera pixel", "", 2.0),
)


def conditions(sheet: Sheet) -> NDArray[np.float64]:
    """(4,): the camera's pixel and FWHM in mm, its scattered share, and the image's bright counts."""
    response = sheet.response
    return np.array([sheet.pixel_mm, response.fwhm_mm, response.scatter_fraction, sheet.scale])


def seen(sheets: Iterable[Sheet]) -> NDArray[np.float32]:
    """(2, 4) float32: least and largest conditions of images with counts; empty (0, 4) where there is none."""
    rows = [conditions(sheet) for sheet in sheets if sheet.scale > 0]
    if not rows:
        return np.zeros((0, len(_COLUMNS)), np.float32)
    return np.stack([np.min(rows, axis=0), np.max(rows, axis=0)]).astype(np.float32)


def outside(sheet: Sheet, known: NDArray, title: str) -> str:
    """In words, in what an image lies outside the (n, 4) conditions that a method was fitted on; '' in nothing."""
    if not len(known) or not sheet.scale > 0:
        return ""
    said = []
    for (words, unit, reach), value, column in zip(_COLUMNS, conditions(sheet), known.T, strict=True):
        low, high = float(column.min()), float(column.max())
        if reach > 1:
            alike = low / reach <= value <= high * reach
        else:
            alike = low - reach <= value <= high + reach
        if not alike:
            span = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
            said.append(f"{words} {value:.3g}{unit}, fitted on {span}{unit}")
    return f"Outside what {title} was fitted on: {'; '.join(said)}" if said else ""
