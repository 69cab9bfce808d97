"""Planes of a sheet (x, y, 1) as NM STATIC images that lie in one space and name each other, and back.

Counts that are whole are stored as they are. Other values are scaled to 16 bits, with a real-world value mapping that
turns them back (half a step of 1/65535 of the range at most is lost). A sheet is taken as seen from the detector: x to
the reader's right, y up. The frame's axes are put where an anterior view's are, so that images of one sheet lie on each
other; no patient is meant.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.dicom_nm_modules import NM_STORAGE, coded, decimal
from senmei.io.pictures import upright
from senmei.io.projections import EnergyWindow, PlanarImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UNITS = {"counts": ("{counts}", "UCUM", "Counts"), "grey": ("1", "UCUM", "no units")}
_STEPS = 65535


def sheet_to_dicom(
    plane: Volume,
    unit: str,
    window: EnergyWindow,
    *,
    labels: Mapping[str, Any],
    nuclide: str = "",
    collimator: str = "",
    duration_s: float = 0.0,
) -> Dataset:
    """A derived STATIC image of a plane (x, y, 1), square pixels, not negative.

    unit : of `UNITS`. window : energy window of the camera. labels : as of `planar_to_dicom` (subject, identity, study,
    series, title, derivation, sources). nuclide, collimator, duration_s : "" and 0 where unknown.
    Raises DataError for values below zero or not finite, ConfigError for labels that cannot be used.
    """
    from senmei.io.dicom_nm_write import planar_to_dicom

    stored, slope = _stored(plane, str(labels.get("subject")))
    pixel = plane.voxel[0]
    image = PlanarImage(
        stored[..., 0].T[::-1][None, None].astype(np.int32),
        (window,),
        (pixel, pixel),
        ("",),
        nuclide,
        "",
        collimator,
        duration_s,
    )
    data = planar_to_dicom(image, derived=True, **labels)
    place = data.DetectorInformationSequence[0]
    place.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    left, bottom = (float(plane.affine[i, 3]) for i in (0, 1))
    top = bottom + pixel * (plane.shape[1] - 1)
    place.ImagePositionPatient = [decimal(round(v, 6)) for v in (left, 0.0, top)]
    if slope is not None:
        data.RealWorldValueMappingSequence = [_mapping(slope, unit)]
        data.CountsAccumulated = ""  # stored values are no counts
    return data


def link(datasets: Sequence[Dataset]) -> None:
    """Each image names all others of the sheet (referenced image sequence)."""
    from pydicom.dataset import Dataset

    for own in datasets:
        items = []
        for other in datasets:
            if other is not own:
                item = Dataset()
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = NM_STORAGE, other.SOPInstanceUID
                items.append(item)
        if items:
            own.ReferencedImageSequence = items


def sheet_from_dicom(path: str | os.PathLike[str], where: str = "a DICOM file") -> Volume:
    """The plane in a file of `sheet_to_dicom`: (x, y, 1) float32 of its unit. Raises DataError for another file."""
    from senmei.io.dicom_nm_facts import spacing_mm
    from senmei.io.dicom_nm_header import guarded, items, number, numbers, open_image, refuse
    from senmei.io.dicom_nm_pixels import read_pixels

    header = open_image(path, where)
    with guarded(where):
        if header.kind != "STATIC" or header.frames != 1:
            refuse(where, "it is not one static image")
        values = read_pixels(header)[0].astype(np.float64)
        for item in items(header.data, "RealWorldValueMappingSequence")[:1]:
            slope = number(item, "RealWorldValueSlope", where)
            values = values * (1.0 if slope is None else slope)
        pixel = spacing_mm(header, square=True)[0]
        plane = upright(values, pixel)
        detectors = items(header.data, "DetectorInformationSequence")
        corner = numbers(detectors[0], "ImagePositionPatient", where) if detectors else []
        if len(corner) == 3:
            plane.affine[:2, 3] = corner[0], corner[2] - pixel * (plane.shape[1] - 1)
    return plane


def _stored(plane: Volume, where: str) -> tuple[np.ndarray, float | None]:
    """Values as they are stored, and the slope that turns them back; None for whole counts."""
    values = np.asarray(plane.data, np.float64)
    if values.ndim != 3 or values.shape[2] != 1 or not np.isfinite(values).all() or values.min() < 0:
        why = "it is no plane (x, y, 1) of finite values from 0 on"
        raise DataError("Cannot write a sheet to DICOM", where=where, why=why, fix="write counts or greys")
    if values.max() <= _STEPS and np.array_equal(values, np.rint(values)):
        return values, None
    slope = float(decimal(float(values.max()) / _STEPS))
    return np.minimum(np.rint(values / slope), _STEPS), slope


def _mapping(slope: float, unit: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.LUTExplanation, item.LUTLabel = f"Values in {unit}", unit.upper()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", _STEPS)
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, slope
    item.MeasurementUnitsCodeSequence = [coded(*UNITS[unit])]
    return item
