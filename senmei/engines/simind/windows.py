"""Two small files that SIMIND reads: energy windows (.win, routine SCATTWIN) and the radius of each view (.cor)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from senmei.core.errors import ConfigError, DataError

_ROW = re.compile(
    r"\s*(\d{1,6}(?:\.\d{0,9})?)\s*,\s*(\d{1,6}(?:\.\d{0,9})?)\s*,\s*(-?\d{1,3})\s*(?:,\s*(dew|tew)\s*)?",
    re.IGNORECASE,
)
MOST = 20  # windows of one file (assumed)


def format_windows(windows: Sequence[tuple[float, float]]) -> str:
    """Rows `lower,upper,0` in keV: photons of every order of scatter. Raises ConfigError for impossible windows."""
    if not 1 <= len(windows) <= MOST:
        raise _wrong(f"there are {len(windows)} windows", f"give 1 to {MOST}")
    rows = []
    for low, high in windows:
        if not 0 < low < high < 10000:
            raise _wrong(f"({low}, {high}) keV is no energy window", "give (lower, upper) in keV")
        rows.append(f"{low:.3f},{high:.3f},0")
    return "\n".join(rows) + "\n"


def parse_windows(text: str) -> list[tuple[float, float, int]]:
    """(lower keV, upper keV, order) of each row. Raises DataError."""
    result = []
    for line in filter(str.strip, text.splitlines()):
        match = _ROW.fullmatch(line)
        if match is None:
            raise DataError(
                "Cannot read an energy window file",
                where=".win",
                why=f"'{line.strip()[:40]}' is not lower,upper,order",
                fix="write one window a line, such as 126.450,154.550,0",
            )
        result.append((float(match[1]), float(match[2]), int(match[3])))
    return result


def format_orbit(radius_mm: Sequence[float]) -> str:
    """One radius in cm for each view, in the order in which SIMIND visits them."""
    return "".join(f"{radius / 10:12.3f}\n" for radius in radius_mm)


def parse_orbit(text: str) -> list[float]:
    """Radii in mm, of the first column: SIMIND writes the centre bin behind it."""
    try:
        return [10 * float(line.split()[0]) for line in filter(str.strip, text.splitlines())]
    except ValueError:
        raise DataError(
            "Cannot read an orbit file",
            where=".cor",
            why="a line does not begin with a radius",
            fix="write one radius in cm a line",
        ) from None


def _wrong(why: str, fix: str) -> ConfigError:
    return ConfigError("Cannot write SIMIND's energy windows", where="windows", why=why, fix=fix)
