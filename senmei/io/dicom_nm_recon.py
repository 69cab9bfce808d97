"""Reconstructed slices of nuclear-medicine DICOM as a volume of the world, and attenuation maps among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.dicom_nm_facts import Facts, spacing_mm
from senmei.io.dicom_nm_geometry import Grid, volume_of
from senmei.io.dicom_nm_header import Header, code, items, number, numbers, refuse, text
from senmei.io.dicom_nm_pixels import lossy, read_pixels
from senmei.io.projections import EnergyWindow


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed image as read from a file.

    volume : (x, y, z) or (x, y, z, gate) float32, RAS+, as near to the frame's axes as the file's are. transmission :
    whether it is an attenuation map. unit : as the file states it ("HU", "1/cm"), "" if it does not. Others as in
    `Projections`.
    """

    volume: Volume
    transmission: bool
    unit: str = ""
    windows: tuple[EnergyWindow, ...] = ()
    nuclide: str = ""
    agent: str = ""
    collimator: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def check_reconstruction(header: Header) -> None:
    """Raise DataError if slices, grid or scale cannot be read from the header."""
    _slices(header), _grid(header), _scale(header)


def read_reconstruction(header: Header, facts: Facts) -> Reconstruction:
    """The volume of a checked header. Raises DataError as check_reconstruction does, and for damaged pixels."""
    gates, slices, index = _slices(header)
    grid = _grid(header)
    slope, intercept, unit = _scale(header)
    values = read_pixels(header)[index] * float(slope) + float(intercept)
    if not np.isfinite(values).all():
        refuse(header.where, "its scale makes values that are not finite")
    return Reconstruction(
        volume=volume_of(values.astype(np.float32), grid),
        transmission=header.transmission,
        unit=unit,
        windows=facts.windows,
        nuclide=facts.nuclide,
        agent=facts.agent,
        collimator=facts.collimator,
        facts={
            "image_type": header.kind,
            **facts.more,
            "lossy": lossy(header),
            "slices": slices,
            "gates": gates,
        },
    )


def _slices(header: Header) -> tuple[int, int, np.ndarray]:
    """Number of gates and slices, and (gate, slice) frame numbers."""
    ones = np.ones(header.frames, int)
    if any(
        len(np.unique(header.vectors.get(n, ones))) > 1 for n in ("EnergyWindow", "Detector", "RRInterval")
    ):
        refuse(header.where, "several energy windows or R-R intervals in one reconstruction", "export one")
    gate = header.vectors.get("TimeSlot", ones)
    where = header.vectors.get("Slice")
    if where is None:
        gates = len(np.unique(gate))
        where = np.arange(header.frames) % max(1, header.frames // gates) + 1
    gates, slices = int(gate.max()), int(where.max())
    if gate.min() < 1 or where.min() < 1 or gates * slices != header.frames:
        refuse(header.where, f"{header.frames} frames for {gates} gates of {slices} slices: some are missing")
    index = np.full((gates, slices), -1)
    index[gate - 1, where - 1] = np.arange(header.frames)
    if (index < 0).any():
        refuse(
            header.where, f"{int((index < 0).sum())} of {index.size} slices are missing", "export all of them"
        )
    return gates, slices, index


def _grid(header: Header) -> Grid:
    axes: list[float] = []
    origin: list[float] = []
    for place in (header.data, *items(header.data, "DetectorInformationSequence")[:1]):
        axes = axes or numbers(place, "ImageOrientationPatient", header.where)
        origin = origin or numbers(place, "ImagePositionPatient", header.where)
    if len(axes) != 6:
        refuse(header.where, "it does not say how its slices lie in the patient (no image orientation)")
    row, column = np.array(axes[:3]), np.array(axes[3:])
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 1e-3:
        refuse(header.where, "its image orientation is not two directions at right angles")
    step = number(header.data, "SpacingBetweenSlices", header.where)
    step = step or number(header.data, "SliceThickness", header.where)
    if step is None or not 0.05 <= abs(step) <= 100:
        refuse(header.where, "it does not say how far apart its slices are")
    if len(origin) != 3:  # placed around the origin
        origin = [0.0, 0.0, 0.0]
    if max(map(abs, origin)) > 1e5:
        refuse(header.where, "its image position is not in a scanner")
    return Grid(tuple(axes), (origin[0], origin[1], origin[2]), spacing_mm(header), step)


def _scale(header: Header) -> tuple[float, float, str]:
    """Slope, intercept and unit ('HU', '1/cm' or ''): of the rescale tags, else of a real-world mapping."""
    slope = number(header.data, "RescaleSlope", header.where)
    intercept = number(header.data, "RescaleIntercept", header.where) or 0.0
    unit = {"HU": "HU", "CM-1": "1/cm", "1CM": "1/cm", "1/CM": "1/cm"}.get(
        (text(header.data, "RescaleType") or text(header.data, "Units")).upper(), ""
    )
    mappings = items(header.data, "RealWorldValueMappingSequence")
    if slope is None and mappings:
        slope = number(mappings[0], "RealWorldValueSlope", header.where)
        intercept = number(mappings[0], "RealWorldValueIntercept", header.where) or 0.0
        for item in items(mappings[0], "MeasurementUnitsCodeSequence")[:1]:
            unit = {"/cm": "1/cm", "cm-1": "1/cm", "1/cm": "1/cm", "[hnsf'U]": "HU"}.get(code(item)[0], unit)
    slope = 1.0 if slope is None else slope
    if slope == 0 or abs(slope) > 1e12 or abs(intercept) > 1e12:
        refuse(header.where, "its scale (slope, intercept) cannot be")
    return slope, intercept, unit


def attenuation_map(image: Reconstruction, where: str) -> Volume:
    """Linear attenuation in 1/cm, float32, of an attenuation map stored as a nuclear-medicine reconstruction.

    The unit is what the file states. Where it states none, the values tell: all from 0 to 1 and some above 0.05 are
    1/cm; whole numbers from 0 whose 99.5th percentile lies between 100 and 400 are thousandths of it (tissue: 150).
    Raises DataError for CT numbers (convert them at the nuclide's energy first), for a scale kept in private tags only,
    for anything else that could be read in two ways, and for values outside 0 to 2 per cm.
    """
    values = image.volume.data
    low, high = float(values.min()), float(values.max())
    fix = "export the map in 1/cm with its scale in the standard's tags, or as NIfTI in 1/cm"
    if image.unit == "HU" or (not image.unit and low < -200):
        _no_map(where, "it holds CT numbers (HU), not attenuation at the energy of the nuclide", fix)
    if image.unit == "1/cm" or (not image.unit and low >= 0 and 0.05 < high <= 1):
        scale = 1.0
    elif (
        not image.unit and low >= 0 and np.array_equal(values, np.rint(values)) and _like_thousandths(values)
    ):
        scale = 1e-3
    else:
        why = f"its values run from {low:g} to {high:g} in no stated unit: the scale may lie in private tags only"
        _no_map(where, why, fix)
    if low * scale < 0 or high * scale > 2:
        _no_map(where, f"it runs from {low * scale:g} to {high * scale:g} per cm, which no tissue does", fix)
    return image.volume.like((values * np.float32(scale)).astype(np.float32))


def _like_thousandths(values: np.ndarray) -> bool:
    return 100 <= float(np.percentile(values, 99.5)) <= 400


def _no_map(where: str, why: str, fix: str) -> NoReturn:
    raise DataError("Cannot use this attenuation map", where=where, why=why, fix=fix)
