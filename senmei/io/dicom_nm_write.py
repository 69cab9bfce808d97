"""SPECT acquisitions, reconstructions and planar images as DICOM NM: new headers, nothing carried over.

Frames run as a reader sees the patient from the detector: row 0 is the head, column 0 is the patient's right in an
anterior view. So a frame is the (u, v) plane of `senmei.io.projections` with both axes turned round: column = last u
minus u (u grows towards the patient's right in front of the patient), row = last v minus v.

Angles: DICOM counts from the patient's back, and looking from the feet counter-clockwise: 90 is the patient's left
(PS3.3 C.8.4.11, C.8.4.10). Senmei's θ is 0 in front, towards the left for "ccw": φ = 180 - s θ, so that "ccw" is
DICOM's CW (decreasing φ). Written files are proven with dciodvfy and read back by PyTomography in the tests.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.atomic import write_bytes
from senmei.io.dicom_nm_codes import VIEWS
from senmei.io.dicom_nm_modules import (
    Labels,
    add_isotope,
    add_vectors,
    code_item,
    coded,
    decimal,
    detector_item,
    new_image,
    whole_counts,
)
from senmei.io.projections import PlanarImage, Projections

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EVEN_DEG = 1e-3  # of an angle against its place on an even orbit


def projections_to_dicom(
    projections: Projections,
    *,
    subject: str,
    identity: str,
    study: str = "",
    series: int = 1,
    title: str = "",
    derived: bool = False,
    derivation: str = "",
    sources: tuple[str, ...] = (),
) -> Dataset:
    """A TOMO or, with several gates, a GATED TOMO image. Counts are exact.

    projections : whole counts up to 65535 a pixel, evenly spaced views. derived : False for an acquisition, True for
    one that was thinned or otherwise made. The other arguments are those of `Labels`.
    Raises DataError if the counts or the orbit cannot be written, ConfigError if the labels cannot be used.
    """
    labels = Labels(subject, identity, study, series, title, derivation, sources)
    projections.check(subject)
    counts = whole_counts(projections.counts, subject)
    windows, gates, _, _, views = counts.shape
    frames = np.ascontiguousarray(
        counts[:, :, ::-1, ::-1].transpose(0, 1, 4, 3, 2)
    )  # window, gate, view, row, column
    kind = "GATED TOMO" if gates > 1 else "TOMO"
    data = new_image(labels, kind, frames.reshape(-1, *frames.shape[3:]), derived)
    window, gate, view = (axis.ravel() + 1 for axis in np.indices((windows, gates, views)))
    one = np.ones_like(view)
    vectors: dict[str, tuple[int, np.ndarray]] = {
        "EnergyWindow": (windows, window),
        "Detector": (1, one),
        "Rotation": (1, one),
    }
    if gates > 1:
        vectors |= {"RRInterval": (1, one), "TimeSlot": (gates, gate)}
    add_vectors(data, vectors | {"AngularView": (views, view)})
    data.PixelSpacing = [decimal(projections.pixel_mm)] * 2
    add_isotope(data, projections.windows, projections.nuclide, projections.agent)
    rotation = _rotation(projections, subject)
    start = float(rotation.StartAngle)
    radians = np.radians(start)
    across = [decimal(round(v, 9)) for v in (-np.cos(radians), np.sin(radians), 0.0)]
    top = projections.pixel_mm * (counts.shape[3] - 1) / 2
    data.DetectorInformationSequence = [
        detector_item(
            projections.collimator,
            StartAngle=decimal(start),
            RadialPosition=rotation.RadialPosition,
            ImageOrientationPatient=[*across, "0", "0", "-1"],
            # The axis of rotation at the height of the first row, as cameras write it (and PyTomography reads it).
            ImagePositionPatient=["0", "0", decimal(top)],
        )
    ]
    data.NumberOfRotations, data.RotationInformationSequence = 1, [rotation]
    if gates > 1:
        _add_gating(data)
    return data


def _step(projections: Projections) -> float | None:
    """Degrees of θ from view to view, 360 for a single one; None if the views are not evenly spaced."""
    angles = np.asarray(projections.angles_deg, float)
    if len(angles) == 1:
        return 360.0
    step = float(angles[-1] - angles[0]) / (len(angles) - 1)
    even = np.abs(angles - (angles[0] + step * np.arange(len(angles)))).max() <= _EVEN_DEG
    return step if even and step else None


def _rotation(projections: Projections, where: str) -> Dataset:
    from pydicom.dataset import Dataset

    angles, step = projections.angles_deg, _step(projections)
    if step is None:
        raise DataError(
            "Cannot write projections to DICOM",
            where=where,
            why="a rotation has one angular step, and these views are not evenly spaced",
            fix="export the reconstruction instead, or write stretches of even steps by themselves",
        )
    falling = (step * projections.sense) > 0  # φ = 180 - s θ
    item = Dataset()
    item.StartAngle = decimal(round((180.0 - projections.sense * float(angles[0])) % 360.0, 9))
    item.AngularStep = decimal(abs(step))
    item.RotationDirection = "CW" if falling else "CC"
    item.ScanArc = decimal(abs(step) * len(angles))
    item.ActualFrameDuration = str(max(1, round(projections.duration_s * 1000)))
    item.RadialPosition = [decimal(float(radius)) for radius in projections.radius_mm]
    item.NumberOfFramesInRotation = len(angles)
    item.TableTraverse = item.TableHeight = "0"
    return item


def _add_gating(data: Dataset) -> None:
    """The multi-gated acquisition module: that there was gating, not how it went, which the source does not say."""
    data.BeatRejectionFlag = ""
    data.PVCRejection = data.SkipBeats = data.HeartRate = ""
    data.GatedInformationSequence = []


def reconstruction_to_dicom(
    volume: Volume,
    *,
    subject: str,
    identity: str,
    like: Projections | Mapping[str, Any] | None = None,
    study: str = "",
    series: int = 1,
    title: str = "",
    derivation: str = "",
    sources: tuple[str, ...] = (),
) -> Dataset:
    """A RECON TOMO or, for a 4D volume, a RECON GATED TOMO image: axial frames from the feet to the head.

    volume : (x, y, z) or (x, y, z, gate), any orientation without shear. Values are stored as 16 bits: value =
    slope x stored + intercept, off by half a slope at most, where slope = (max - min) / 65535 and min is 0 unless there
    are negative values. like : the acquisition it was made of, or a mapping with any of `windows`, `nuclide`, `agent`,
    `collimator`. The other arguments are those of `Labels`.
    Raises DataError if values are not finite or the grid is sheared, ConfigError if the labels cannot be used.
    """
    from senmei.io.dicom_nm_geometry import axial_frames

    labels = Labels(subject, identity, study, series, title, derivation, sources)
    frames, grid = axial_frames(volume, subject)  # (gate, slice, row, column)
    stored, slope, intercept = scaled(frames, subject)
    gates, slices = stored.shape[:2]
    kind = "RECON GATED TOMO" if gates > 1 else "RECON TOMO"
    data = new_image(labels, kind, stored.reshape(-1, *stored.shape[2:]), derived=True)
    gate, at = (axis.ravel() + 1 for axis in np.indices((gates, slices)))
    vectors: dict[str, tuple[int, np.ndarray]] = {}
    if gates > 1:
        vectors = {"RRInterval": (1, np.ones_like(gate)), "TimeSlot": (gates, gate)}
    add_vectors(data, vectors | {"Slice": (slices, at)})
    data.PixelSpacing = [decimal(v) for v in grid.spacing_mm]
    data.SliceThickness = data.SpacingBetweenSlices = decimal(grid.step_mm)
    data.RealWorldValueMappingSequence = [
        value_mapping(slope, intercept, int(stored.max()), "Values of the reconstruction", "RECON")
    ]
    facts = _facts(like)
    add_isotope(data, facts.get("windows", ()), facts.get("nuclide", ""), facts.get("agent", ""))
    data.NumberOfEnergyWindows = max(1, len(facts.get("windows", ())))
    data.NumberOfDetectors = 1
    data.DetectorInformationSequence = [
        detector_item(
            facts.get("collimator", ""),
            ImageOrientationPatient=[decimal(v) for v in grid.axes],
            ImagePositionPatient=[decimal(v) for v in grid.origin],
        )
    ]
    data.NumberOfRotations = 1
    data.RotationInformationSequence = []
    if isinstance(like, Projections) and _step(like) is not None:  # an uneven orbit is left untold
        data.RotationInformationSequence = [_rotation(like, subject)]
    if gates > 1:
        _add_gating(data)
    return data


def _facts(like: Any) -> Mapping[str, Any]:
    if like is None:
        return {}
    if isinstance(like, Mapping):
        return like
    return {key: getattr(like, key) for key in ("windows", "nuclide", "agent", "collimator")}


def scaled(values: np.ndarray, where: str) -> tuple[np.ndarray, float, float]:
    """Values as uint16 with slope and intercept exactly as the file will state them."""
    if not np.isfinite(values).all():
        raise DataError(
            "Cannot write an image to DICOM",
            where=where,
            why="it holds values that are NaN or infinite",
            fix="see the log of the step that made it",
        )
    low, high = min(0.0, float(values.min())), float(values.max())
    slope = float(decimal((high - low) / 65535)) if high > low else 1.0
    if slope == 0.0 or not np.isfinite(slope):
        slope = 1.0
    intercept = float(decimal(low))
    stored = np.rint((values.astype(np.float64) - intercept) / slope)
    return np.clip(stored, 0, 65535).astype(np.uint16), slope, intercept


def value_mapping(slope: float, intercept: float, last: int, explanation: str, label: str) -> Dataset:
    """How stored values become those that were restored. The NM object has no rescale slope of its own."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.LUTExplanation, item.LUTLabel = explanation, label
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", max(last, 1))
    item.RealWorldValueIntercept, item.RealWorldValueSlope = intercept, slope
    item.MeasurementUnitsCodeSequence = [coded("1", "UCUM", "no units")]
    return item


def planar_to_dicom(
    planar: PlanarImage,
    *,
    subject: str,
    identity: str,
    kind: str = "STATIC",
    study: str = "",
    series: int = 1,
    title: str = "",
    derived: bool = False,
    derivation: str = "",
    sources: tuple[str, ...] = (),
) -> Dataset:
    """A STATIC or WHOLE BODY image: one frame a window and image, exact counts.

    An image read from a file packed with loss is written as derived, and says so.
    kind : "STATIC" or "WHOLE BODY". The other arguments are as in `projections_to_dicom`; so are the errors.
    """
    if planar.facts.get("lossy"):
        derived, derivation = (
            True,
            f"{derivation} (counts as a compression that lost detail left them)".strip(),
        )
    labels = Labels(subject, identity, study, series, title, derivation, sources)
    planar.check(subject)
    counts = whole_counts(planar.counts, subject)
    windows, images, rows, columns = counts.shape
    if kind not in ("STATIC", "WHOLE BODY"):
        raise ValueError(f"a planar image is STATIC or WHOLE BODY, not {kind}")
    data = new_image(labels, kind, counts.reshape(-1, rows, columns), derived)
    window, image = (axis.ravel() + 1 for axis in np.indices((windows, images)))
    add_vectors(data, {"EnergyWindow": (windows, window), "Detector": (images, image)})
    data.PixelSpacing = [decimal(float(v)) for v in planar.pixel_mm]
    add_isotope(data, planar.windows, planar.nuclide, planar.agent)
    items = []
    for view in planar.views:
        more = {"ViewCodeSequence": [code_item(VIEWS[view])]} if view in VIEWS else {}
        items.append(
            detector_item(planar.collimator, ImageOrientationPatient=None, ImagePositionPatient=None, **more)
        )
    data.DetectorInformationSequence = items
    data.ActualFrameDuration = str(max(1, round(planar.duration_s * 1000)))
    if kind == "WHOLE BODY":
        data.ScanVelocity = data.ScanLength = data.WholeBodyTechnique = None
    return data


def to_bytes(dataset: Dataset) -> bytes:
    """The file of a dataset as bytes: explicit VR little endian; equal datasets give equal bytes."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def save_dicom(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write a dataset atomically. Raises StorageError if the disk is full or the folder cannot be written to."""
    write_bytes(path, to_bytes(dataset))
