"""What every kind of nuclear-medicine image says of itself: windows, nuclide, agent, collimator, pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.io import dicom_nm_codes as codes
from senmei.io.dicom_nm_header import PLANAR, TOMO, Header, code, items, number, numbers, refuse, text
from senmei.io.dicom_nm_pixels import lossy
from senmei.io.projections import EnergyWindow

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SQUARE = 1e-3  # relative difference of the two spacings of square pixels


@dataclass(frozen=True)
class Facts:
    """windows : those that frames are of, in rising order of the vector's numbers; several ranges of one window are its
    outermost levels, and `more` then has the ranges. The others are "" where the file does not say.
    """

    windows: tuple[EnergyWindow, ...]
    nuclide: str
    agent: str
    collimator: str
    more: dict[str, Any] = field(default_factory=dict)


def check_counts(header: Header) -> None:
    """Raise DataError if the values cannot be the counts that a camera saw."""
    if lossy(header):
        refuse(
            header.where,
            "its compression changed the counts (lossy), which are no longer those of a camera",
            "export the acquisition uncompressed",
        )
    check_unscaled(header)


def check_unscaled(header: Header) -> None:
    """Raise DataError if stored values are not the counts themselves."""
    slope = number(header.data, "RescaleSlope", header.where)
    if slope not in (None, 1.0) or number(header.data, "RescaleIntercept", header.where) not in (None, 0.0):
        refuse(header.where, "its values are rescaled: they are no counts", "export the raw image")


def spacing_mm(header: Header, square: bool = False) -> tuple[float, float]:
    """(row spacing, column spacing) in mm. Raises DataError if it is not there or, where it must be, not square."""
    values = numbers(header.data, "PixelSpacing", header.where)
    if len(values) != 2 or not all(0.05 <= v <= 100 for v in values):
        refuse(header.where, "it does not say how large its pixels are (no sound pixel spacing)")
    if square and abs(values[0] - values[1]) > _SQUARE * values[0]:
        refuse(header.where, f"its pixels are {values[0]:g} x {values[1]:g} mm, and must be square")
    return values[0], values[1]


def read_facts(header: Header, window: tuple[float, float] | None) -> Facts:
    """What the file says of itself; `window` (keV, keV) is used if it does not tell that of its only window.

    Raises DataError if counts have no energy window.
    """
    described = [
        _levels(header, item, at)
        for at, item in enumerate(items(header.data, "EnergyWindowInformationSequence"), 1)
    ]
    used = np.unique(header.vectors.get("EnergyWindow", np.ones(1, int)))
    if len(used) == 1 and window is not None and (len(described) < used[0] or not described[used[0] - 1][1]):
        described = [("", [])] * int(used[0] - 1) + [("window 1", [(float(window[0]), float(window[1]))])]
    needed = header.kind in (*TOMO, *PLANAR)
    if needed and used[0] < 1:
        refuse(header.where, "the vector EnergyWindow holds numbers below 1")
    if needed and (len(described) < used[-1] or not all(described[w - 1][1] for w in used)):
        refuse(
            header.where,
            "it does not say the limits of its energy windows",
            "give the window in keV in the configuration, or export it with its energy window information",
        )
    chosen = [described[w - 1] for w in used if 0 < w <= len(described) and described[w - 1][1]]
    windows = tuple(
        EnergyWindow(name, min(low for low, _ in ranges), max(high for _, high in ranges))
        for name, ranges in chosen
    )
    more = (
        {"window_ranges_kev": [ranges for _, ranges in chosen]} if any(len(r) > 1 for _, r in chosen) else {}
    )
    nuclide, agent = _pharmaceutical(header)
    collimators = {
        codes.collimator_of(text(item, "CollimatorGridName"))
        for item in items(header.data, "DetectorInformationSequence")
        if text(item, "CollimatorType").upper() in ("", "PARA", "UNKN")
    }
    return Facts(windows, nuclide, agent, collimators.pop() if len(collimators) == 1 else "", more)


def _levels(header: Header, item: Dataset, at: int) -> tuple[str, list[tuple[float, float]]]:
    """Name and ranges in keV of an energy window; no ranges if a level is missing."""
    name = codes.window_name(text(item, "EnergyWindowName"), at)
    ranges = []
    for limits in items(item, "EnergyWindowRangeSequence"):
        low = number(limits, "EnergyWindowLowerLimit", header.where)
        high = number(limits, "EnergyWindowUpperLimit", header.where)
        if low is None or high is None:
            return name, []
        ranges.append((low, high))
    return name, ranges


def _pharmaceutical(header: Header) -> tuple[str, str]:
    """Nuclide and agent: by code, else by the texts beside it, of which only known names are taken."""
    nuclide = agent = ""
    for item in items(header.data, "RadiopharmaceuticalInformationSequence")[:1]:
        for coded in items(item, "RadionuclideCodeSequence")[:1]:
            value, scheme, meaning = code(coded)
            nuclide = codes.by_code(codes.NUCLIDES, value, scheme) or codes.nuclide_of(meaning)
        for coded in items(item, "RadiopharmaceuticalCodeSequence")[:1]:
            value, scheme, meaning = code(coded)
            agent = codes.by_code(codes.AGENTS, value, scheme) or codes.agent_of(meaning)
        free = text(item, "Radiopharmaceutical")
        known = {name.lower(): name for name in codes.AGENTS}
        nuclide = nuclide or codes.nuclide_of(free)
        agent = agent or known.get(free.lower(), "") or codes.agent_of(free)
    return nuclide, agent
