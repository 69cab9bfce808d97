"""Printers and what they print on. All numbers are assumed, to be replaced by those of your own wedge and scales.

They are of the kind that data sheets of office ink-jet printers and edible-ink printers give; none was measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, nearest

STATUS = "assumed, not measured"


@dataclass(frozen=True)
class Printer:
    """A printer with a nuclide in its ink.

    dpi : of its raster. full_ink_ul_per_cm2 : laid down by full black. gamma : ink = drive ** gamma, so that the file
    must hold drive = ink ** (1 / gamma). page_s : seconds a page. tank_ml : the least volume it prints from, of which
    dead_ml never reach the paper. most_ri : largest share of nuclide solution in the ink that still prints.
    """

    name: str
    title: str
    dpi: int = 600
    full_ink_ul_per_cm2: float = 1.0
    gamma: float = 1.0
    page_s: float = 60.0
    tank_ml: float = 3.0
    dead_ml: float = 1.0
    most_ri: float = 0.5
    status: str = STATUS

    def __post_init__(self):
        limits = {
            "full_ink_ul_per_cm2": (1e-3, 100.0),
            "gamma": (0.1, 10.0),
            "page_s": (0.0, 7200.0),
            "tank_ml": (1e-3, 1e3),
            "dead_ml": (0.0, 1e3),
            "most_ri": (1e-3, 1.0),
        }
        for key, (low, high) in limits.items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(
                    f"impossible value {value!r}",
                    where=f"printer {self.name}: {key}",
                    why=f"it must be from {low:g} to {high:g}",
                    fix="correct the profile",
                )

    def drive(self, ink: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the file must ask for (0..1) so that this share of full ink is laid down."""
        return np.clip(ink, 0.0, 1.0) ** (1.0 / self.gamma)


@dataclass(frozen=True)
class Substrate:
    """What is printed on. thickness_mm, g_per_cm2 : of a sheet. dry_s : until it may be moved. edible : or not."""

    name: str
    title: str
    thickness_mm: float
    g_per_cm2: float
    dry_s: float
    edible: bool = False
    notes: str = ""
    status: str = field(default=STATUS)


PRINTERS: Mapping[str, Printer] = {
    p.name: p
    for p in (
        Printer("inkjet", "ink-jet printer"),
        Printer("food", "food printer, edible ink", 300, 1.5, 1.2, 120.0, 6.0, 2.0, 0.4),
    )
}
SUBSTRATES: Mapping[str, Substrate] = {
    s.name: s
    for s in (
        Substrate(
            "paper", "paper of 80 g/m²", 0.1, 0.008, 60.0, notes="one sheet attenuates nothing that counts"
        ),
        Substrate(
            "photo", "coated paper of 200 g/m²", 0.22, 0.020, 120.0, notes="sharper dots, dries slowly"
        ),
        Substrate(
            "wafer", "edible wafer paper", 0.4, 0.016, 300.0, True, "curls as it dries: lay a frame on it"
        ),
        Substrate("icing", "edible icing sheet", 0.6, 0.060, 600.0, True, "spreads ink; keep marks at 12 mm"),
    )
}


def printer(name: str) -> Printer:
    """The profile of this name. Raises ConfigError naming the nearest."""
    return _of(PRINTERS, name, "printer")


def substrate(name: str) -> Substrate:
    """The profile of this name. Raises ConfigError naming the nearest."""
    return _of(SUBSTRATES, name, "substrate")


def _of(table: Mapping, name: str, kind: str):
    if name not in table:
        raise ConfigError(
            f"unknown {kind} '{name}'",
            where=f"sheets: {kind}",
            why="there is no such profile",
            fix=nearest(name, table),
        )
    return table[name]
