"""The modules of the NM information object that every kind of image shares (DICOM PS3.3, A.5 and C.8.4).

Nothing here comes from a scanner's file: patient, study and equipment hold a pseudonym, made-up UIDs and empty dates,
so that there is nothing to take out again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError, DataError
from senmei.io.dicom_nm_codes import (
    AGENTS,
    HEAD_FIRST,
    NUCLIDES,
    RECUMBENT,
    SUPINE,
    Code,
)
from senmei.io.projections import EnergyWindow

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

NM_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
# PS3.16 CID 7050: which of the options of PS3.15 annex E were followed; nothing is retained here.
_PROFILE = ("113100", "DCM", "Basic Application Confidentiality Profile")
_DEIDENTIFIED = "Header written anew by Senmei: pseudonym, new UIDs, no dates"
# The same for every image: a study without a date cannot be filed by a DICOMDIR, and a true one would tell a date.
_NO_DATE = "19000101"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LARGEST_IS = 2**31 - 1  # of an integer string


@dataclass(frozen=True)
class Labels:
    """What names an image: nothing of it may come from a patient's header.

    subject : pseudonym, letters, digits, '-' and '_'. identity : the hash from which all UIDs follow, so that the same
    call gives the same bytes. study : the hash from which the UID of the study follows (identity if empty), so that
    several images may share one. series : its number. title : series description. derivation : how the image was made.
    sources : SOP instance UIDs of images written by Senmei from which it was made. Raises ConfigError.
    """

    subject: str
    identity: str
    study: str = ""
    series: int = 1
    title: str = ""
    derivation: str = ""
    sources: tuple[str, ...] = ()

    def __post_init__(self):
        if not _LABEL.fullmatch(self.subject):
            raise _wrong("subject", "a pseudonym is 1 to 64 letters, digits, '-' or '_'")
        if len(self.identity) < 8:
            raise _wrong("identity", "UIDs follow from it: it must be a hash of at least 8 characters")
        if not 0 < self.series < 2**31:
            raise _wrong("series", "a series has a number from 1 on")
        from pydicom.uid import PYDICOM_ROOT_UID

        if any(not re.fullmatch(re.escape(PYDICOM_ROOT_UID) + r"\d+", uid) for uid in self.sources):
            raise _wrong("sources", "a UID that Senmei did not make may lead back to a patient")

    def uid(self, *kind: str) -> UID:
        """The UID of a thing: equal labels and kinds give equal UIDs."""
        from pydicom.uid import generate_uid

        return generate_uid(entropy_srcs=["senmei", self.subject, *kind])


def _wrong(key: str, why: str) -> ConfigError:
    return ConfigError("Cannot name a DICOM image", where=key, why=why, fix="give another one")


def plain_text(text: str, limit: int) -> str:
    """Printable ASCII, without the backslash that parts values, at most `limit` characters."""
    return " ".join(re.sub(r"[^\x20-\x7e]|\\", " ", text).split())[:limit].strip()


def decimal(value: float) -> str:
    """A number as a DS value: at most 16 characters, as exact as they allow."""
    for digits in range(15, 4, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{value} does not fit a decimal string")


def code_item(code: Code) -> Dataset:
    """An item of a code sequence, SNOMED CT."""
    return coded(code.value, "SCT", code.meaning)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def new_image(labels: Labels, kind: str, pixels: np.ndarray, derived: bool) -> Dataset:
    """A dataset with file meta, and the modules of patient, study, series, equipment, image and pixels.

    kind : value 3 of the image type, e.g. "RECON TOMO". pixels : (frame, row, column) uint16 or, for counts beyond
    that, uint32. derived : whether a program made it, rather than a camera.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = UID(NM_STORAGE)
    data.ImageType = ["DERIVED" if derived else "ORIGINAL", "PRIMARY", kind, "EMISSION"]
    data.SOPClassUID = NM_STORAGE
    data.SOPInstanceUID = labels.uid("image", labels.identity, kind, labels.title, str(labels.series), digest)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PatientName, data.PatientID = f"{labels.subject}^", labels.subject
    data.PatientBirthDate = data.PatientSex = ""
    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = _DEIDENTIFIED
    data.DeidentificationMethodCodeSequence = [coded(*_PROFILE)]
    data.StudyInstanceUID = labels.uid("study", labels.study or labels.identity)
    data.StudyDate, data.StudyTime, data.StudyID = _NO_DATE, "000000", "1"
    data.ReferringPhysicianName = data.AccessionNumber = ""
    data.SeriesInstanceUID = labels.uid("series", labels.identity, kind, labels.title, str(labels.series))
    data.Modality, data.SeriesNumber, data.InstanceNumber = "NM", labels.series, 1
    if title := plain_text(labels.title, 64):
        data.SeriesDescription = title
    data.FrameOfReferenceUID = labels.uid("frame", labels.study or labels.identity)
    data.PositionReferenceIndicator = ""
    data.Manufacturer = "Senmei"
    data.PatientOrientation = ""
    data.ImageLaterality = "U"  # of no paired organ: without it the series would have to name a side
    data.ContentDate = data.ContentTime = data.AcquisitionDate = data.AcquisitionTime = ""
    counted = int(pixels.sum(dtype=np.uint64))
    untold = (derived and kind.startswith("RECON")) or counted > _LARGEST_IS
    data.CountsAccumulated = "" if untold else str(counted)
    _orient(data)
    if derived:
        _derive(data, labels)
    _set_pixels(data, pixels)
    return data


def _orient(data: Dataset) -> None:
    recumbent = code_item(RECUMBENT)
    recumbent.PatientOrientationModifierCodeSequence = [code_item(SUPINE)]
    data.PatientOrientationCodeSequence = [recumbent]
    data.PatientGantryRelationshipCodeSequence = [code_item(HEAD_FIRST)]


def _derive(data: Dataset, labels: Labels) -> None:
    from pydicom.dataset import Dataset

    if text := plain_text(labels.derivation, 1024):
        data.DerivationDescription = text
    if labels.sources:
        items = []
        for uid in labels.sources:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = NM_STORAGE, uid
            items.append(item)
        data.SourceImageSequence = items


def _set_pixels(data: Dataset, pixels: np.ndarray) -> None:
    bits = pixels.dtype.itemsize * 8
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.NumberOfFrames, data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    data.PixelData = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"))).tobytes()


def whole_counts(counts: np.ndarray, where: str) -> np.ndarray:
    """Counts as uint16 if they all fit it. Raises DataError for values that are not whole, negative, or too large."""
    rounded = np.rint(counts)
    if not np.array_equal(rounded, counts) or counts.min() < 0:
        raise DataError(
            "Cannot write counts to DICOM",
            where=where,
            why="a nuclear-medicine frame holds whole counts, and these are not whole or below zero",
            fix="write counts as they were drawn or measured, not expected values",
        )
    if counts.max() > 65535:
        raise DataError(
            "Cannot write counts to DICOM",
            where=where,
            why=f"a pixel holds {int(counts.max())} counts; a nuclear-medicine frame ends at 65535",
            fix="write larger images or shorter frames",
        )
    return rounded.astype(np.uint16)


def add_vectors(data: Dataset, vectors: Mapping[str, tuple[int, np.ndarray]]) -> None:
    """The frame increment pointer and the vectors it points to.

    vectors : name ("EnergyWindow", "Detector", ...) to (number of different values, value of each frame), in the
    order of the pointer: the last changes fastest.
    """
    from pydicom.datadict import tag_for_keyword

    pointer = []
    for name, (number, values) in vectors.items():
        setattr(data, f"{name}Vector", [int(v) for v in values])
        if name != "AngularView":  # the standard counts those in the rotations
            setattr(data, f"NumberOf{name}s", int(number))
        pointer.append(tag_for_keyword(f"{name}Vector"))
    data.FrameIncrementPointer = pointer


def add_isotope(data: Dataset, windows: Sequence[EnergyWindow], nuclide: str, agent: str) -> None:
    """The energy windows, and the radiopharmaceutical as far as it is known."""
    from pydicom.dataset import Dataset

    items = []
    for number, window in enumerate(windows, 1):
        limits = Dataset()
        limits.EnergyWindowLowerLimit = decimal(window.low_kev)
        limits.EnergyWindowUpperLimit = decimal(window.high_kev)
        item = Dataset()
        item.EnergyWindowRangeSequence = [limits]
        item.EnergyWindowName = plain_text(window.name, 16) or f"window {number}"
        items.append(item)
    data.EnergyWindowInformationSequence = items
    data.RadiopharmaceuticalInformationSequence = [_pharmaceutical(nuclide, agent)]


def _pharmaceutical(nuclide: str, agent: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.RadionuclideCodeSequence = [code_item(NUCLIDES[nuclide])] if nuclide in NUCLIDES else []
    item.RadiopharmaceuticalRoute = ""
    item.RadiopharmaceuticalVolume = ""
    item.RadiopharmaceuticalStartTime = ""
    item.RadionuclideTotalDose = ""
    item.Radiopharmaceutical = agent if agent in AGENTS else ""
    if agent in AGENTS:
        item.RadiopharmaceuticalCodeSequence = [code_item(AGENTS[agent])]
    return item


def detector_item(collimator: str, **more: Any) -> Dataset:
    """An item of the detector information sequence: a parallel collimator, and whatever else by keyword."""
    from pydicom.dataset import Dataset

    item = Dataset()
    if collimator:
        item.CollimatorGridName = collimator
    item.CollimatorType, item.FocalDistance = "PARA", "0"
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item
