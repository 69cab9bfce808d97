"""Which energy window of an acquisition holds the photopeak, and what camera that makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from senmei.core.errors import ConfigError, DataError
from senmei.io.projections import EnergyWindow
from senmei.physics.gamma_camera import GammaCamera

# Gamma lines that are imaged, keV, the one to be preferred first. ICRP Publication 107 (2008), rounded to 0.1 keV.
LINES: dict[str, tuple[float, ...]] = {
    "Tc-99m": (140.5,),
    "I-123": (159.0,),
    "I-131": (364.5,),
    "In-111": (171.3, 245.4),
    "Ga-67": (93.3, 184.6, 300.2),
    "Tl-201": (70.8, 167.4),  # mercury's X-rays, and the line of a tenth of the decays
    "Lu-177": (208.4, 112.9),
    "Sm-153": (103.2,),
    "Xe-133": (81.0,),
    "Co-57": (122.1,),
    "Kr-81m": (190.5,),
}


def choose_window(
    windows: Sequence[EnergyWindow], nuclide: str, wanted: Any, where: object
) -> tuple[int, float]:
    """(number from 0, keV) of the window to be reconstructed and of the photons in it.

    wanted : 'auto' takes the window that holds the nuclide's line; of several lines the first of `LINES`. [low, high]
    in keV takes the window whose two levels are within 3 keV of these; its photons are those of the nuclide's line in
    it, or of its middle where none is or the nuclide is not told.
    Raises DataError naming `where` when there is no such window, or more than one.
    """
    lines = LINES.get(nuclide, ())
    if wanted != "auto":
        low, high = (float(v) for v in wanted)
        found = [
            n for n, w in enumerate(windows) if abs(w.low_kev - low) <= 3 and abs(w.high_kev - high) <= 3
        ]
        if len(found) != 1:
            raise _no_window(where, f"{len(found)} windows run from {low:g} to {high:g} keV", windows)
        window = windows[found[0]]
        inside = [kev for kev in lines if window.low_kev < kev < window.high_kev]
        return found[0], inside[0] if inside else (window.low_kev + window.high_kev) / 2
    if not lines:
        said = f"photons of {nuclide} are not known here" if nuclide else "the file does not tell its nuclide"
        raise _no_window(where, said, windows)
    for kev in lines:
        found = [n for n, w in enumerate(windows) if w.low_kev < kev < w.high_kev]
        if len(found) == 1:
            return found[0], kev
        if found:
            raise _no_window(where, f"{len(found)} windows hold the {kev:g} keV of {nuclide}", windows)
    told = " or ".join(f"{kev:g}" for kev in lines)
    raise _no_window(where, f"none holds the {told} keV of {nuclide}", windows)


def camera_of(window: EnergyWindow, kev: float, collimator: str, where: object) -> GammaCamera:
    """The camera that looks through this window. Raises DataError for photons that no camera is modelled for."""
    try:
        return GammaCamera(
            collimator=collimator,
            energy_kev=round(kev, 1),
            window=round((window.high_kev - window.low_kev) / kev, 4),
        )
    except ConfigError as error:
        why = f"{_said([window])}, photons of {kev:g} keV: {error.where.rpartition(': ')[2]}: {error.why}"
        fix = "check the window's levels in the file, or choose another with `window: [low, high]`"
        raise DataError("No camera looks through this window", where=where, why=why, fix=fix) from error


def _said(windows: Sequence[EnergyWindow]) -> str:
    return ", ".join(f"{w.low_kev:g}-{w.high_kev:g} keV" for w in windows) or "none"


def _no_window(where: object, why: str, windows: Sequence[EnergyWindow]) -> DataError:
    return DataError(
        "No photopeak window",
        where=where,
        why=f"{why}; its windows: {_said(windows)}",
        fix="set `window: [low, high]` (keV) of the cohort to one of them",
    )
