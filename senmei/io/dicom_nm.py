"""Nuclear-medicine DICOM in: SPECT acquisitions, reconstructions and planar images, in Senmei's frame.

What is read of a file is named here and in `dicom_nm_header`; nothing else is. Frames are taken as seen from the
detector with the head up: row 0 is the head, column 0 the patient's right in an anterior view; so u = last column -
column and v = last row - row. See docs/reference/dicom-nm.md for what is assumed and what is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.core.volume import Volume
from senmei.io import dicom_nm_codes as codes
from senmei.io.dicom_nm_geometry import Grid, volume_of
from senmei.io.dicom_nm_header import (
    PLANAR,
    TOMO,
    Header,
    code,
    guarded,
    items,
    number,
    numbers,
    open_image,
    refuse,
    text,
)
from senmei.io.dicom_nm_pixels import check_pixels, lossy, read_pixels
from senmei.io.dicom_nm_views import Views, plan_views
from senmei.io.projections import EnergyWindow, PlanarImage, Projections

_SQUARE = 1e-3  # relative difference of the two spacings of square pixels
_INT32 = 2**31 - 1


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


Image = Projections | PlanarImage | Reconstruction


@dataclass(frozen=True)
class _Facts:
    windows: tuple[EnergyWindow, ...]
    nuclide: str
    agent: str
    collimator: str


def read_nm(
    path: str | os.PathLike[str],
    *,
    where: str = "a DICOM file",
    window: tuple[float, float] | None = None,
    radius_mm: float | None = None,
) -> Image:
    """The image in a nuclear-medicine DICOM file.

    where : what errors call the file (a subject's label): its name may be a patient's. window : lower and upper level
    in keV, and radius_mm : of the orbit, both only used where the file does not say.
    Raises DataError for whatever cannot be used, saying why; no error holds text of the file.
    """
    header = open_image(path, where)
    with guarded(where):
        facts = _facts(header, window)
        if header.kind in TOMO:
            views = plan_views(header, radius_mm)
            image: Image = _projections(header, views, facts)
        elif header.kind in PLANAR:
            image = _planar(header, facts)
        else:
            image = _reconstruction(header, facts)
    return image


def check_nm(
    header: Header, window: tuple[float, float] | None = None, radius_mm: float | None = None
) -> None:
    """Raise what `read_nm` would raise about the header, without reading pixels."""
    with guarded(header.where):
        _facts(header, window)
        check_pixels(header)
        if header.kind in TOMO:
            _check_counts(header)
            _spacing(header, square=True)
            plan_views(header, radius_mm)
        elif header.kind in PLANAR:
            _spacing(header)
            _planar_frames(header)
        else:
            _grid(header)
            _scale(header)


def _projections(header: Header, views: Views, facts: _Facts) -> Projections:
    _check_counts(header)
    spacing = _spacing(header, square=True)
    used = sorted({int(w) for w in header.vectors.get("EnergyWindow", np.ones(1, int))})
    frames = read_pixels(header)
    windows, gates, count, members = views.index.shape
    summed = np.zeros((windows, gates, count, header.rows, header.columns), np.int64)
    for member in range(members):
        summed += frames[views.index[..., member]]
    if summed.max() > _INT32:
        refuse(header.where, "it holds more counts in a pixel than any acquisition")
    if not views.turned:
        summed = summed[..., ::-1, ::-1]
    found = Projections(
        counts=np.ascontiguousarray(summed.transpose(0, 1, 4, 3, 2)).astype(np.int32),
        windows=tuple(facts.windows[w - 1] for w in used),
        pixel_mm=spacing[0],
        angles_deg=views.orbit.theta_deg,
        direction=views.orbit.direction,
        radius_mm=views.radius_mm,
        nuclide=facts.nuclide,
        agent=facts.agent,
        collimator=facts.collimator,
        duration_s=views.duration_s,
        facts={"image_type": header.kind, "heads_turned": views.turned, **views.facts},
    )
    found.check(header.where)
    return found


def _check_counts(header: Header) -> None:
    if lossy(header):
        refuse(
            header.where,
            "its compression changed the counts (lossy), which are no longer those of a camera",
            "export the acquisition uncompressed",
        )
    slope = number(header.data, "RescaleSlope", header.where)
    intercept = number(header.data, "RescaleIntercept", header.where)
    if slope not in (None, 1.0) or intercept not in (None, 0.0):
        refuse(header.where, "its values are rescaled: they are no counts", "export the raw acquisition")


def _planar_frames(header: Header) -> tuple[list[int], list[tuple[int, ...]], np.ndarray]:
    """Windows, what else tells images apart (detector, phase, ...), and (window, image) frame numbers."""
    ones = np.ones(header.frames, int)
    window = header.vectors.get("EnergyWindow", ones)
    names = [n for n in ("Detector", "Phase", "RRInterval", "TimeSlot", "TimeSlice") if n in header.vectors]
    rest = (
        list(zip(*(header.vectors[n].tolist() for n in names), strict=True))
        if names
        else [()] * header.frames
    )
    windows, images = sorted(set(window.tolist())), sorted(set(rest))
    if (
        header.frames != len(windows) * len(images)
        or len(set(zip(window.tolist(), rest, strict=True))) != header.frames
    ):
        refuse(
            header.where,
            f"{header.frames} frames for {len(windows)} windows and {len(images)} images of each",
        )
    index = np.zeros((len(windows), len(images)), int)
    for frame, (w, other) in enumerate(zip(window.tolist(), rest, strict=True)):
        index[windows.index(w), images.index(other)] = frame
    detectors = header.vectors.get("Detector", ones)
    return windows, [(int(detectors[i]),) for i in index[0]], index


def _planar(header: Header, facts: _Facts) -> PlanarImage:
    windows, images, index = _planar_frames(header)
    spacing = _spacing(header)
    if any(w > len(facts.windows) for w in windows):
        refuse(header.where, "frames of an energy window that is not described")
    _check_plain(header)
    counts = read_pixels(header)[index].astype(np.int64)
    clipped = 0
    if lossy(header):  # rings of the compression around bright spots go below zero
        clipped = int(np.count_nonzero(counts < 0))
        counts = np.maximum(counts, 0)
    if counts.max() > _INT32:
        refuse(header.where, "it holds more counts in a pixel than any acquisition")
    seconds = (number(header.data, "ActualFrameDuration", header.where) or 0.0) / 1000.0
    found = PlanarImage(
        counts=counts.astype(np.int32),
        windows=tuple(facts.windows[w - 1] for w in windows),
        pixel_mm=spacing,
        views=tuple(_view(header, detector, len(images)) for (detector,) in images),
        nuclide=facts.nuclide,
        agent=facts.agent,
        collimator=facts.collimator,
        duration_s=seconds,
        facts={"image_type": header.kind, "lossy": lossy(header), "set_to_zero": clipped},
    )
    found.check(header.where)
    return found


def _check_plain(header: Header) -> None:
    slope = number(header.data, "RescaleSlope", header.where)
    if slope not in (None, 1.0) or number(header.data, "RescaleIntercept", header.where) not in (None, 0.0):
        refuse(header.where, "its values are rescaled: they are no counts", "export the raw image")


def _view(header: Header, detector: int, images: int) -> str:
    """'anterior' or 'posterior' by code, by the meaning of a code, or by the angle of the head; else ''."""
    detectors = items(header.data, "DetectorInformationSequence")
    places = [detectors[detector - 1]] if detector <= len(detectors) else []
    for place in [*places, *([header.data] if images == 1 else [])]:
        for item in items(place, "ViewCodeSequence")[:1]:
            value, scheme, meaning = code(item)
            words = meaning.lower().split()
            named = [v for v in ("anterior", "posterior") if v in words and "oblique" not in words]
            if name := codes.by_code(codes.VIEWS, value, scheme) or (named[0] if len(named) == 1 else ""):
                return name
            return ""
    for place in places:
        angle = number(place, "StartAngle", header.where)
        if angle is not None:
            return {0: "posterior", 180: "anterior"}.get(round(angle % 360.0) % 360, "")
    return ""


def _reconstruction(header: Header, facts: _Facts) -> Reconstruction:
    gates, slices, index = _slices(header)
    grid = _grid(header)
    slope, intercept, unit = _scale(header)
    frames = read_pixels(header)[index].astype(np.float32)
    values = frames.astype(np.float64) * slope + intercept
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
        facts={"image_type": header.kind, "lossy": lossy(header), "slices": slices, "gates": gates},
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
    return Grid(tuple(axes), (origin[0], origin[1], origin[2]), _spacing(header), step)


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


def _spacing(header: Header, square: bool = False) -> tuple[float, float]:
    values = numbers(header.data, "PixelSpacing", header.where)
    if len(values) != 2 or not all(0.05 <= v <= 100 for v in values):
        refuse(header.where, "it does not say how large its pixels are (no sound pixel spacing)")
    if square and abs(values[0] - values[1]) > _SQUARE * values[0]:
        refuse(header.where, f"its pixels are {values[0]:g} x {values[1]:g} mm, and must be square")
    return values[0], values[1]


def _facts(header: Header, window: tuple[float, float] | None) -> _Facts:
    found: list[EnergyWindow] = []
    for at, item in enumerate(items(header.data, "EnergyWindowInformationSequence"), 1):
        lows: list[float] = []
        highs: list[float] = []
        for limits in items(item, "EnergyWindowRangeSequence"):
            lows += numbers(limits, "EnergyWindowLowerLimit", header.where)
            highs += numbers(limits, "EnergyWindowUpperLimit", header.where)
        if len(lows) == len(highs) == 1 or (window is None and lows and highs):
            name = codes.window_name(text(item, "EnergyWindowName"), at)
            found.append(EnergyWindow(name, min(lows), max(highs)))
    described = len(items(header.data, "EnergyWindowInformationSequence"))
    count = int(header.vectors.get("EnergyWindow", np.ones(1, int)).max())
    if len(found) < max(described, count):
        if window is not None and count == 1:
            found = [EnergyWindow("window 1", float(window[0]), float(window[1]))]
        elif header.kind in (*TOMO, *PLANAR):
            refuse(
                header.where,
                "it does not say the limits of its energy windows",
                "give the window in keV in the configuration, or export it with its energy window information",
            )
        else:
            found = []
    if header.kind in (*TOMO, *PLANAR) and header.vectors.get("EnergyWindow", np.ones(1, int)).min() < 1:
        refuse(header.where, "the vector EnergyWindow holds numbers below 1")
    nuclide, agent = _pharmaceutical(header)
    collimators = {
        codes.collimator_of(text(item, "CollimatorGridName"))
        for item in items(header.data, "DetectorInformationSequence")
        if text(item, "CollimatorType").upper() in ("", "PARA", "UNKN")
    }
    return _Facts(tuple(found), nuclide, agent, collimators.pop() if len(collimators) == 1 else "")


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
