"""The calibration wedge in a camera image: counts of each of its greys, and the printer's tone curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.lab.layout import WEDGE_STEPS, SheetLayout, wedge_greys
from senmei.lab.matching import Registration

_INNER = 0.5  # of a patch's side that is read: the rest holds what spread from its neighbours


@dataclass(frozen=True)
class WedgeCurve:
    """grey (16,) rising, counts per pixel of the image, their Poisson error, and both made monotone.

    gamma, full : of counts = full * grey ** gamma + ground, by weighted least squares; `Printer.gamma` for the next
    print. ground : counts per pixel where nothing was printed.
    """

    grey: NDArray[np.float64]
    counts: NDArray[np.float64]
    error: NDArray[np.float64]
    monotone: NDArray[np.float64]
    gamma: float
    full: float
    ground: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        lists = {k: getattr(self, k).tolist() for k in ("grey", "counts", "error", "monotone")}
        return lists | {"gamma": self.gamma, "full": self.full, "ground": self.ground}


def read_wedge(image: Volume, layout: SheetLayout, registration: Registration) -> WedgeCurve:
    """The curve of a registered image (x, y, 1) of the wedge page, counts.

    Mean of the pixels whose centres lie in the inner half of each patch. Raises DataError where a patch holds fewer
    than four pixels, or where counts do not rise with grey at all: another page, or a sheet that lies otherwise.
    """
    from scipy.optimize import curve_fit, isotonic_regression

    axes = [(np.arange(n) - (n - 1) / 2) * image.voxel[0] for n in image.shape[:2]]
    at = registration.to_sheet(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    place = (at / layout.side_mm + 0.5) * WEDGE_STEPS
    inner = (np.abs(place % 1.0 - 0.5) < _INNER / 2).all(-1) & ((place > 0) & (place < WEDGE_STEPS)).all(-1)
    patch = np.clip(place.astype(int), 0, WEDGE_STEPS - 1)
    of = (patch[..., 0] * WEDGE_STEPS + patch[..., 1])[inner]
    number = np.bincount(of, minlength=WEDGE_STEPS**2)
    if number.min() < 4:
        raise _bad(f"a patch of it holds {number.min()} pixels", "use a finer matrix, or a larger sheet")
    total = np.bincount(of, np.asarray(image.data[..., 0], np.float64)[inner], WEDGE_STEPS**2)
    greys = wedge_greys().ravel()
    order = np.argsort(greys)
    grey, counts = greys[order], (total / number)[order]
    error = (np.sqrt(np.maximum(total, 1.0)) / number)[order]
    if np.corrcoef(grey, counts)[0, 1] < 0.8:
        raise _bad("its counts do not rise with the wedge's greys", "give the image of the wedge page")
    start = (max(float(np.ptp(counts)), 1e-9), 1.0, max(float(counts.min()), 0.0))
    best, _ = curve_fit(
        lambda g, full, gamma, ground: full * g**gamma + ground,
        grey,
        counts,
        p0=start,
        sigma=error,
        bounds=((0.0, 0.1, 0.0), (np.inf, 10.0, np.inf)),
    )
    rising = isotonic_regression(counts, weights=1.0 / error**2).x
    return WedgeCurve(grey, counts, error, rising, float(best[1]), float(best[0]), float(best[2]))


def _bad(why: str, fix: str) -> DataError:
    return DataError("This wedge cannot be read", where="wedge image", why=why, fix=fix)
