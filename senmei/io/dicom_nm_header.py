"""Opening nuclear-medicine DICOM files that nobody has vouched for: the header, checked, then the pixels.

Only the tags named here are read; sizes are checked against the file before pixels are touched. What the parser
raises never comes out: its texts may hold values of the header, and those may be a patient's.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from senmei.core.errors import DataError, SenmeiError
from senmei.io.deidentify import IDENTIFYING
from senmei.io.nifti import MAX_VOXELS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PLANAR = ("STATIC", "WHOLE BODY", "DYNAMIC", "GATED")
TOMO = ("TOMO", "GATED TOMO")
RECON = ("RECON TOMO", "RECON GATED TOMO")
VECTORS = (
    *("EnergyWindow", "Detector", "Phase", "Rotation", "RRInterval", "TimeSlot"),
    *("TimeSlice", "Slice", "AngularView"),
)
_MAX_FRAMES = 1 << 16  # the vectors that sort them are numbers of 16 bits
_MAX_ITEMS = 4096  # of one sequence: more heads, windows or rotations than any camera has
_TAGS = [
    *IDENTIFYING,
    *(f"{name}Vector" for name in VECTORS),
    *"""
    SOPClassUID SOPInstanceUID Modality ImageType SeriesDescription SeriesNumber ProtocolName StudyTime
    FrameIncrementPointer NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
    SamplesPerPixel PhotometricInterpretation PixelSpacing SliceThickness SpacingBetweenSlices RescaleSlope
    RescaleIntercept RescaleType Units RealWorldValueMappingSequence LossyImageCompression
    EnergyWindowInformationSequence RadiopharmaceuticalInformationSequence DetectorInformationSequence
    RotationInformationSequence GatedInformationSequence PhaseInformationSequence ActualFrameDuration
    PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence PatientPosition
    ImageOrientationPatient ImagePositionPatient ImageID ViewCodeSequence CorrectedImage BurnedInAnnotation
    CountsAccumulated LossyImageCompressionRatio
    """.split(),
]


@dataclass(frozen=True, repr=False)
class Header:
    """A checked header. `data` holds identifiers and stays in memory; `where` is what errors call the file.

    kind : value 3 of the image type. frames, rows, columns, bits : of the pixels. vectors : name ("Detector", ...) to
    an array (frame,) of numbers from 1, of those that the file has. left : bytes from the pixel element on.
    """

    path: Path
    where: str
    data: Dataset
    kind: str
    image_type: tuple[str, ...]
    frames: int
    rows: int
    columns: int
    bits: int
    syntax: str
    left: int
    vectors: dict[str, np.ndarray]

    @property
    def transmission(self) -> bool:
        """Whether the image type says that an external source or CT made it: an attenuation map."""
        return "TRANSMISSION" in self.image_type


def refuse(where: str, why: str, fix: str = "export the image again, or check what wrote it") -> NoReturn:
    """Raise DataError for a nuclear-medicine file. Nothing given may hold values of identifying tags."""
    raise _refusal(where, why, fix)


def _refusal(where: str, why: str, fix: str) -> DataError:
    return DataError("Cannot use this nuclear-medicine DICOM file", where=where, why=why, fix=fix)


@contextmanager
def _unheard() -> Iterator[None]:
    """What the parser and the decoders have to say, in warnings and logs, may quote the file: nobody is to hear it."""
    talkers = [logging.getLogger(name) for name in ("pydicom", "pylibjpeg", "openjpeg", "libjpeg")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:  # those below them have no level of their own
        talker.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)


@contextmanager
def guarded(where: str) -> Iterator[None]:
    """Whatever a damaged file makes the parser raise becomes a DataError that holds nothing of the file."""
    try:
        with _unheard():
            yield
    except SenmeiError:
        raise
    except OSError as error:
        reason, fix = (
            error.strerror or "an error while reading",
            "check the path, its permissions and the disk",
        )
        raise _refusal(where, f"it cannot be read: {reason}", fix) from None
    except MemoryError:
        raise _refusal(
            where, "it asks for more memory than there is", "use a machine with more memory"
        ) from None
    except (
        Exception
    ):  # a damaged file can raise anything from within the parser; its text may hold a patient's name
        why = "the file is damaged: a tag holds what it cannot hold"
        raise _refusal(where, why, "export the image again") from None


def open_image(path: str | os.PathLike[str], where: str = "a DICOM file") -> Header:
    """The checked header of a file, without its pixels.

    where : what errors call it (a subject's label, a number): a file's name may be a patient's.
    Raises DataError if it is no DICOM, deflated, no nuclear-medicine image, truncated or contradictory.
    """
    place = Path(path)
    with guarded(where):
        return _open(place, where)


def _open(path: Path, where: str) -> Header:
    import pydicom
    from pydicom.errors import InvalidDicomError

    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        refuse(where, "it is not a file", "give the path of a DICOM file")
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        syntax = str(meta.get("TransferSyntaxUID") or "")
        if (
            syntax == pydicom.uid.DeflatedExplicitVRLittleEndian
        ):  # pydicom would inflate all of it, a bomb too
            refuse(where, "it is deflated DICOM", "save it uncompressed")
        with open(path, "rb") as file:
            data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            left = status.st_size - file.tell()
    except InvalidDicomError:
        invalid = True
    else:
        invalid = False
    if invalid:
        refuse(where, "it is no DICOM file", "leave it out")
    if not syntax:
        refuse(where, "it does not say its transfer syntax (no file meta information)")
    return _checked(path, where, data, syntax, left)


def _checked(path: Path, where: str, data: Dataset, syntax: str, left: int) -> Header:
    modality = text(data, "Modality")
    if modality != "NM":
        refuse(where, f"its modality is {safe_code(modality)}, not NM", "give nuclear-medicine images")
    if text(data, "BurnedInAnnotation").upper() == "YES":
        refuse(
            where,
            "text is burned into its pixels, which may name the patient",
            "export it without annotations",
        )
    image_type = tuple(str(v).strip().upper() for v in several(data, "ImageType"))
    kind = image_type[2] if len(image_type) > 2 else ""
    if kind not in (*PLANAR, *TOMO, *RECON):
        known = ", ".join((*PLANAR, *TOMO, *RECON))
        refuse(where, f"its image type is {safe_code(kind)}; known are {known}")
    size = [whole(data, name, where) for name in ("Rows", "Columns")]
    if None in size:
        refuse(
            where, _no_pixels(path), "export the image itself, with its pixels in the standard's own element"
        )
    rows, columns = (int(n or 0) for n in size)
    frames = int(whole(data, "NumberOfFrames", where) or 1)
    bits = int(whole(data, "BitsAllocated", where) or 0)
    if (whole(data, "SamplesPerPixel", where) or 1) != 1 or text(data, "PhotometricInterpretation") not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        refuse(
            where, "it is a colour image: a picture of a result, not its values", "export the image itself"
        )
    if bits not in (8, 16, 32):
        refuse(where, f"its pixels have {bits} bits; 8, 16 and 32 can be read")
    if frames > _MAX_FRAMES:
        refuse(where, f"its header claims {frames} frames; the limit is {_MAX_FRAMES}")
    if min(rows, columns, frames) < 1 or rows * columns * frames > MAX_VOXELS:
        refuse(
            where,
            f"its header claims {frames} frames of {rows} x {columns}; the limit is {MAX_VOXELS} pixels",
        )
    if left < 8:
        refuse(
            where, _no_pixels(path), "export the image itself, with its pixels in the standard's own element"
        )
    vectors = {}
    for name in VECTORS:
        values = [int(v) for v in several(data, f"{name}Vector")]
        if values:
            if len(values) != frames:
                refuse(where, f"the vector {name} has {len(values)} values for {frames} frames")
            vectors[name] = np.array(values)
    return Header(path, where, data, kind, image_type, frames, rows, columns, bits, syntax, left, vectors)


def _no_pixels(path: Path) -> str:
    """Why there are no pixels: some cameras keep maps and raw data in private tags."""
    import pydicom

    with open(path, "rb") as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, defer_size=1024)
        if any(element.tag.is_private and not element.tag.is_private_creator for element in data):
            return "it holds no pixels: what there is lies in private tags of its maker, which cannot be read"
    return "it holds no pixels"


def safe_code(value: str) -> str:
    """A code string of the standard as it is, anything else (it may hold a name) as '(unknown)'."""
    known = {
        *PLANAR,
        *TOMO,
        *RECON,
        *"AR BMD CR CT DX ECG ES KO MG MR OT PR PT RF RTDOSE SC SEG SR US XA".split(),
    }
    return value if value in known else "(unknown)"


def several(data: Dataset, keyword: str) -> list[Any]:
    """The values of a tag as a list; empty if it is absent or empty."""
    value = data.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if type(value).__name__ == "MultiValue" or isinstance(value, list | tuple) else [value]


def text(data: Dataset, keyword: str) -> str:
    """The text of a tag; "" if it is absent. It may identify: never to be shown."""
    values = several(data, keyword)
    return str(values[0]).strip() if values else ""


def items(data: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty if it is absent."""
    value = data.get(keyword)
    if value is None:
        return []
    found = list(value)
    if len(found) > _MAX_ITEMS:
        raise ValueError("too many items")
    return found


def numbers(data: Dataset, keyword: str, where: str) -> list[float]:
    """The numbers of a tag; empty if it is absent. Raises DataError unless all are finite."""
    values = [float(v) for v in several(data, keyword)]
    if not np.isfinite(values).all():
        refuse(where, f"the tag {keyword} holds a number that is not finite")
    return values


def number(data: Dataset, keyword: str, where: str) -> float | None:
    """The one number of a tag; None if it is absent."""
    values = numbers(data, keyword, where)
    return values[0] if values else None


def whole(data: Dataset, keyword: str, where: str) -> int | None:
    """The one whole number of a tag; None if it is absent."""
    value = number(data, keyword, where)
    if value is not None and value != int(value):
        refuse(where, f"the tag {keyword} holds no whole number")
    return None if value is None else int(value)


def code(data: Dataset) -> tuple[str, str, str]:
    """Value, scheme and meaning of an item of a code sequence. The meaning may be free text."""
    return tuple(text(data, key) for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))  # type: ignore[return-value]


_POSITION = re.compile(r"(HF|FF)(S|P|DL|DR)")


def patient_position(header: Header) -> tuple[str, str]:
    """("head first" | "feet first" | "", "supine" | "prone" | "decubitus" | ""): how the patient lay, if it says."""
    from senmei.io import dicom_nm_codes as codes

    first = posture = ""
    for item in items(header.data, "PatientGantryRelationshipCodeSequence")[:1]:
        value, scheme, meaning = code(item)
        table = {c.name: c for c in (codes.HEAD_FIRST, codes.FEET_FIRST)}
        plain = re.sub(r"[^a-z]", "", meaning.lower())
        first = codes.by_code(table, value, scheme) or {
            "headfirst": "head first",
            "feetfirst": "feet first",
        }.get(plain, "")
    for item in items(header.data, "PatientOrientationCodeSequence")[:1]:
        for modifier in items(item, "PatientOrientationModifierCodeSequence")[:1]:
            value, scheme, meaning = code(modifier)
            table = {c.name: c for c in (codes.SUPINE, codes.PRONE)}
            posture = codes.by_code(table, value, scheme) or {
                "supine": "supine",
                "prone": "prone",
            }.get(meaning.lower().strip(), "decubitus" if "decubitus" in meaning.lower() else "")
    if match := _POSITION.fullmatch(text(header.data, "PatientPosition").upper()):
        first = first or {"HF": "head first", "FF": "feet first"}[match[1]]
        posture = posture or {"S": "supine", "P": "prone"}.get(match[2], "decubitus")
    return first, posture
