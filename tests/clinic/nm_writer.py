"""NM DICOM as gamma cameras export it, written with plain pydicom from the standard and from nothing else.

It shares no code with Senmei's own DICOM door, so that the two can disagree. What it follows (PS3.3): C.8.4.8 frame
increment pointer and index vectors, C.8.4.9 image types, C.8.4.10 isotope, C.8.4.11 detectors, C.8.4.12 rotations
(start angle 0 at the patient's back, growing counter-clockwise seen from the feet, over the patient's left; "CW" is
decreasing angle, "CC" increasing), C.8.4.13 gating, C.8.4.15 reconstructions (sign of the spacing: where slices go).

Geometry comes in as vectors in patient axes (right, anterior, head), not as angles: angles are worked out here. A frame
shows what one sees who stands at the detector, looks at the patient and holds the head up: row 0 is the head; columns
of an anterior view run from the patient's right to the patient's left, of a posterior one from left to right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NM: Any = "1.2.840.10008.5.1.4.1.1.20"
HEAD = np.array([0.0, 0.0, 1.0])
VECTORS = {
    "EnergyWindow": 0x00540010,
    "Detector": 0x00540020,
    "Rotation": 0x00540050,
    "RRInterval": 0x00540060,
    "TimeSlot": 0x00540070,
    "AngularView": 0x00540090,
}
PHOTOPEAK = ("Tc99m photopeak", 126.45, 154.55)
SCATTER = ("Tc99m scatter", 108.0, 122.0)


@dataclass(frozen=True)
class Person:
    """Somebody whom no output may betray, and what a clinic writes about them everywhere it can."""

    family: str
    given: str
    number: str
    birth: str = "19530417"
    when: str = "20190203"
    clock: str = "131415.27"
    root: str = "1.2.840.99999.7734"

    @property
    def name(self) -> str:
        """As DICOM writes a name."""
        return f"{self.family}^{self.given}"

    def secrets(self) -> tuple[str, ...]:
        """Lower-case words that may stand in no output, log or message."""
        dates = [d for day in (self.birth, self.when) for d in (day, f"{day[:4]}-{day[4:6]}-{day[6:]}")]
        clock = f"{self.clock[:2]}:{self.clock[2:4]}:{self.clock[4:6]}"
        words = (self.family, self.given, self.number, self.number[3:], *dates, self.clock, clock, self.root)
        return tuple(word.lower() for word in (*words, *COMMON))


COMMON = (
    "xanadu", "kublai", "orchidarium", "featherstonehaugh", "marjoribanks", "cholmondeley", "brindle42", "8675309",
    "privateer", "keeps bees", "stung by wasps", "acc991827", "std44120", "wisteria", "5550199", "rosinante",
)  # fmt: skip


def betrayed(content: bytes | str, *people: Person) -> list[str]:
    """What of these people a content tells, whatever its letters' case. A number counts where it stands by itself."""
    text = (content.encode() if isinstance(content, str) else content).lower()
    found = []
    for word in dict.fromkeys(word for person in people for word in person.secrets()):
        at = text.find(word.encode())
        if at < 0:
            continue
        pattern = re.escape(word.encode())
        if word[0].isdigit():  # else a long enough table of measurements would hold every date there is
            pattern = rb"(?<![0-9.])" + pattern + rb"(?![0-9])"
        if re.search(pattern, text):
            found.append(word)
    return found


@dataclass
class Shot:
    """One acquisition as the camera saw it.

    counts : (window, gate, u, v, view) whole numbers; v grows towards the head. toward, along : (view, 3) unit vectors
    from the axis to the detector and along growing u, in patient axes (right, anterior, head). radius_mm : one a view.
    Views are in the order of acquisition along one orbit.
    """

    counts: np.ndarray
    toward: np.ndarray
    along: np.ndarray
    radius_mm: Sequence[float]
    pixel_mm: float
    windows: Sequence[tuple[str, float, float]] = (PHOTOPEAK,)
    seconds: float = 20.0
    collimator: str = "LEHR"
    zoom: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def angles(self) -> list[float]:
        """DICOM's angle of each view in degrees, 0 to 360: from the back over the patient's left."""
        return [math.degrees(math.atan2(-x, -y)) % 360 for x, y, _ in self.toward]

    @property
    def direction(self) -> str:
        """'CW' where the angle falls from view to view, 'CC' where it grows."""
        first, second = self.angles[:2]
        return "CC" if (second - first) % 360 < 180 else "CW"

    @property
    def arc(self) -> float:
        """Degrees that the views cover, each its share."""
        return _step(self.angles) * len(self.angles)

    def frame(self, window: int, gate: int, view: int) -> np.ndarray:
        """(row, column) as seen from the detector, head up."""
        seen_right = np.cross(-self.toward[view], HEAD)
        image = self.counts[window, gate, :, ::-1, view].T
        return image if float(seen_right @ self.along[view]) > 0 else image[:, ::-1]


def tomo(
    shot: Shot,
    person: Person,
    *,
    heads: int = 2,
    radii: str = "detector",
    swap_heads: bool = False,
    order: Sequence[int] | None = None,
    number: int = 1,
) -> Any:
    """A TOMO or GATED TOMO data set of `heads` detectors, each of which went over its share of the orbit.

    radii : whether each detector or the rotation lists its radial positions (the latter only for one head).
    swap_heads : number the detectors against the orbit, as some cameras do: detector 1 stands further along it.
    order : in which the frames are stored, of what the standard would have; all vectors go along.
    """
    windows, gates, _, _, views = shot.counts.shape
    share, left = divmod(views, heads)
    assert not left, "every head takes the same number of views"
    gated = gates > 1
    data = _common(person, ["ORIGINAL", "PRIMARY", "GATED TOMO" if gated else "TOMO", "EMISSION"], number)
    place = {d: (heads - 1 - d if swap_heads else d) for d in range(heads)}  # detector -> share of the orbit
    keys = [
        "EnergyWindow",
        "Detector",
        "Rotation",
        *(["RRInterval", "TimeSlot"] if gated else []),
        "AngularView",
    ]
    frames, rows = [], []
    for window in range(windows):
        for head in range(heads):
            for gate in range(gates):
                for step in range(share):
                    frames.append(shot.frame(window, gate, place[head] * share + step))
                    index = {"EnergyWindow": window, "Detector": head, "TimeSlot": gate, "AngularView": step}
                    rows.append({key: index.get(key, 0) + 1 for key in keys})
    sequence = range(len(frames)) if order is None else order
    assert sorted(sequence) == list(range(len(frames)))
    _pixels(data, np.stack([frames[i] for i in sequence]), shot.pixel_mm)
    data.FrameIncrementPointer = [VECTORS[key] for key in keys]
    for key in keys:
        setattr(data, f"{key}Vector", [rows[i][key] for i in sequence])
    data.NumberOfEnergyWindows, data.NumberOfDetectors, data.NumberOfRotations = windows, heads, 1
    data.CountsAccumulated = int(shot.counts.sum())
    _isotope(data, shot.windows, person)
    starts = [shot.angles[place[head] * share] for head in range(heads)]
    detectors = [_detector(shot, start) for start in starts]
    turn = _item(
        StartAngle=f"{starts[0]:.6g}",
        AngularStep=f"{_step(shot.angles):.6g}",
        RotationDirection=shot.direction,
        ScanArc=f"{_step(shot.angles) * share:.6g}",
        ActualFrameDuration=round(shot.seconds * 1000),
        NumberOfFramesInRotation=share,
        TableTraverse="0",
    )
    for head, detector in enumerate(detectors):
        of = slice(place[head] * share, (place[head] + 1) * share)
        where = detector if radii == "detector" else turn
        where.RadialPosition = [f"{r:.6g}" for r in shot.radius_mm[of]]
    data.DetectorInformationSequence = detectors
    data.RotationInformationSequence = [turn]
    data.TypeOfDetectorMotion = "STEP AND SHOOT"
    if gated:
        data.NumberOfRRIntervals, data.NumberOfTimeSlots, data.HeartRate = 1, gates, "63"
        beat = 60000 / 63
        slots = [_item(TimeSlotTime=f"{shot.seconds * 1000 / gates:.6g}") for _ in range(gates)]
        gating = _item(
            FrameTime=f"{beat / gates:.6g}",
            NominalInterval=round(beat),
            LowRRValue=round(0.8 * beat),
            HighRRValue=round(1.2 * beat),
            TimeSlotInformationSequence=slots,
        )
        data.BeatRejectionFlag = "Y"
        data.GatedInformationSequence = [_item(TriggerTime="0", DataInformationSequence=[gating])]
    return data


def recon(
    values: np.ndarray,
    pixel_mm: float,
    person: Person,
    *,
    kind: str = "TRANSMISSION",
    slope: float | None = 1e-5,
    headwards: bool = True,
    number: int = 2,
    description: str = "AC map",
) -> Any:
    """A RECON TOMO data set of (x, y, z) values (right, anterior, head), its grid centred on the axis of rotation.

    slope : of a stored value, in `values`' unit; None leaves it out of the file (values are rounded to whole numbers).
    headwards : whether the first slice is the lowest; else the highest, and the spacing between slices is negative.
    """
    nx, ny, nz = values.shape
    data = _common(person, ["ORIGINAL", "PRIMARY", "RECON TOMO", kind], number, description)
    stored = np.rint(values / (slope or 1)).astype(np.uint16)
    slices = [stored[::-1, ::-1, k].T for k in (range(nz) if headwards else reversed(range(nz)))]
    _pixels(data, np.stack(slices), pixel_mm)
    data.FrameIncrementPointer = 0x00540080
    data.SliceVector = list(range(1, nz + 1))
    data.NumberOfSlices, data.NumberOfRotations = nz, 1
    data.NumberOfEnergyWindows, data.NumberOfDetectors = 1, 1
    data.CountsAccumulated = 0
    _isotope(data, (PHOTOPEAK,), person)
    first = -(nz - 1) / 2 * pixel_mm * (1 if headwards else -1)
    corner = (-(nx - 1) / 2 * pixel_mm, -(ny - 1) / 2 * pixel_mm, first)  # left, posterior, head
    data.DetectorInformationSequence = [
        _item(
            CollimatorType="PARA",
            FocalDistance="0",
            ImagePositionPatient=[f"{c:.6g}" for c in corner],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    ]
    data.RotationInformationSequence = []
    data.SliceThickness = f"{pixel_mm:.6g}"
    data.SpacingBetweenSlices = f"{pixel_mm * (1 if headwards else -1):.6g}"
    if slope is not None:
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", f"{slope:.6g}", "1/cm"
    return data


def save(data: Any, path: Path) -> Path:
    """Write a data set as a file of its own (explicit VR, little endian)."""
    import pydicom

    path.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = pydicom.uid.UID("1.2.826.0.1.3680043.10.543.9")
    data.file_meta = meta
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


# --- parts ---


def _item(**values: Any) -> Any:
    import pydicom

    item = pydicom.dataset.Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _code(value: str, scheme: str, meaning: str, **more: Any) -> Any:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning, **more)


def _step(angles: Sequence[float]) -> float:
    step = abs(angles[1] - angles[0])
    return min(step, 360 - step)


def _detector(shot: Shot, start: float) -> Any:
    rows, columns = shot.counts.shape[3], shot.counts.shape[2]
    size = [round(rows * shot.pixel_mm * shot.zoom), round(columns * shot.pixel_mm * shot.zoom)]
    return _item(
        CollimatorGridName=shot.collimator,
        CollimatorType="PARA",
        FieldOfViewShape="RECTANGLE",
        FieldOfViewDimensions=size,
        FocalDistance="0",
        ZoomFactor=[shot.zoom, shot.zoom],
        ZoomCenter=[0, 0],
        CenterOfRotationOffset="0",
        StartAngle=f"{start:.6g}",
        ImageOrientationPatient=None,
        ImagePositionPatient=None,
    )


def _pixels(data: Any, frames: np.ndarray, pixel_mm: float) -> None:
    assert frames.min() >= 0 and frames.max() < 1 << 16
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelSpacing = [f"{pixel_mm:.6g}"] * 2
    data.PixelData = np.ascontiguousarray(frames.astype("<u2")).tobytes()


def _isotope(data: Any, windows: Sequence[tuple[str, float, float]], person: Person) -> None:
    data.EnergyWindowInformationSequence = [
        _item(
            EnergyWindowName=name,
            EnergyWindowRangeSequence=[
                _item(EnergyWindowLowerLimit=f"{low:g}", EnergyWindowUpperLimit=f"{high:g}")
            ],
        )
        for name, low, high in windows
    ]
    data.RadiopharmaceuticalInformationSequence = [
        _item(
            RadionuclideCodeSequence=[_code("72454006", "SCT", "^99m^Technetium")],
            RadiopharmaceuticalRoute="Intravenous route",
            RadiopharmaceuticalStartTime=person.clock,
            RadionuclideTotalDose="740",
            Radiopharmaceutical="Tc-99m sestamibi",
            RadiopharmaceuticalCodeSequence=[_code("C-B1031", "SRT", "Technetium Tc^99m^ sestamibi")],
        )
    ]


def _common(person: Person, kind: list[str], number: int, description: str = "MPI stress") -> Any:
    """Patient, study, series, equipment: what identifies somebody stands in every field that has room for it."""
    import pydicom

    root = f"{person.root}.{int(person.number[-4:])}"
    data = pydicom.dataset.Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType, data.SOPClassUID, data.SOPInstanceUID = kind, NM, f"{root}.9.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{root}.1", f"{root}.2.{number}"
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = f"{root}.3", ""
    data.Modality, data.SeriesNumber, data.InstanceNumber = "NM", number, 1
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(data, name, person.when)
    for name in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(data, name, person.clock)
    data.PatientName, data.PatientID, data.PatientBirthDate = person.name, person.number, person.birth
    data.PatientSex, data.PatientAge, data.PatientWeight, data.PatientSize = "F", "065Y", "71", "1.68"
    data.OtherPatientNames, data.PatientAddress = "Rosinante^Dulcinea", "Wisteria Lane 9"
    data.PatientTelephoneNumbers, data.PatientComments = "5550199", f"keeps bees, known as {person.family}"
    data.AdditionalPatientHistory = "stung by wasps"
    data.AccessionNumber, data.StudyID = "ACC991827", "STD44120"
    data.InstitutionName, data.InstitutionAddress = "Xanadu Hospital", "Kublai Street"
    data.InstitutionalDepartmentName, data.StationName = "Orchidarium", "BRINDLE42"
    data.ReferringPhysicianName, data.OperatorsName = "Featherstonehaugh^M", "Cholmondeley^C"
    data.PerformingPhysicianName = "Marjoribanks^P"
    data.Manufacturer, data.ManufacturerModelName, data.DeviceSerialNumber = (
        "Camera Works",
        "Two Heads",
        "SN8675309",
    )
    data.SoftwareVersions = "built for Xanadu"
    data.StudyDescription = f"Myocardial perfusion of {person.family}"
    data.SeriesDescription = f"{description} {person.given} {person.number}"
    data.ProtocolName, data.ImageComments = f"{person.family} protocol", f"{person.name} born {person.birth}"
    data.ImageID = person.number
    data.BodyPartExamined = "HEART"
    data.PatientOrientationCodeSequence = [
        _code(
            "F-10450",
            "99SDM",
            "recumbent",
            PatientOrientationModifierCodeSequence=[_code("F-10340", "99SDM", "supine")],
        )
    ]
    data.PatientGantryRelationshipCodeSequence = [_code("F-10470", "99SDM", "headfirst")]
    block = data.private_block(0x0029, "PRIVATEER NM", create=True)
    block.add_new(0x10, "LO", f"{person.family} {person.given} privateer")
    block.add_new(0x11, "OB", f"{person.number} {person.birth} privateer ".encode())
    return data
