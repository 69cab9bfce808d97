"""Static, whole-body and dynamic images of nuclear-medicine DICOM: which window, detector and moment a frame is of."""

from __future__ import annotations

import numpy as np

from senmei.io import dicom_nm_codes as codes
from senmei.io.dicom_nm_facts import Facts, check_unscaled, spacing_mm
from senmei.io.dicom_nm_header import Header, code, items, number, numbers, refuse, text
from senmei.io.dicom_nm_pixels import lossy, read_pixels
from senmei.io.projections import PlanarImage

_INT32 = 2**31 - 1
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def planar_frames(header: Header) -> tuple[list[int], list[int], np.ndarray]:
    """Windows, the detector of each image, and (window, image) frame numbers.

    Images differ in detector, phase, R-R interval, time slot or time slice, and are sorted by these in turn. Raises
    DataError unless each window has the same images once.
    """
    ones = np.ones(header.frames, int)
    names = ("EnergyWindow", "Detector", "Phase", "RRInterval", "TimeSlot", "TimeSlice")
    keys = np.stack([header.vectors.get(name, ones) for name in names], axis=1)
    windows, window = np.unique(keys[:, 0], return_inverse=True)
    images, image = np.unique(keys[:, 1:], axis=0, return_inverse=True)
    index = np.full((len(windows), len(images)), -1)
    if index.size == header.frames:
        index[window, image.reshape(-1)] = np.arange(header.frames)
    if (index < 0).any():
        refuse(
            header.where, f"{header.frames} frames for {len(windows)} windows of {len(images)} images each"
        )
    return [int(w) for w in windows], [int(row[0]) for row in images], index


def read_planar(header: Header, facts: Facts) -> PlanarImage:
    """The images of a checked header. Raises DataError if they are no counts or their windows are not described."""
    _, images, index = planar_frames(header)
    spacing = spacing_mm(header)
    check_unscaled(header)
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
        windows=facts.windows,
        pixel_mm=spacing,
        views=tuple(_view(header, detector, len(images)) for detector in images),
        nuclide=facts.nuclide,
        agent=facts.agent,
        collimator=facts.collimator,
        duration_s=seconds,
        facts={
            "image_type": header.kind,
            **facts.more,
            "lossy": lossy(header),
            "lossy_ratio": max(
                numbers(header.data, "LossyImageCompressionRatio", header.where), default=None
            ),
            "set_to_zero": clipped,
            "secondary_capture": text(header.data, "SOPClassUID") == _SECONDARY_CAPTURE,
            "derived": "DERIVED" in header.image_type[:1],
            "counts_told": number(header.data, "CountsAccumulated", header.where),
        },
    )
    found.check(header.where)
    return found


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
