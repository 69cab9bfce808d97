"""Folders of DICOM files: which series they hold, and whether each is whole. Reads headers, never pixels."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.io.deidentify import IDENTIFYING, clean_text, tokens
from senmei.io.nifti import MAX_VOXELS

_TAGS = [
    *IDENTIFYING,
    *"""
    SOPClassUID SOPInstanceUID Modality SeriesDescription ProtocolName SeriesNumber InstanceNumber
    AcquisitionNumber ImageType StudyTime Rows Columns BitsAllocated SamplesPerPixel NumberOfFrames EchoTime
    ImagePositionPatient ImageOrientationPatient PixelSpacing ImagesInAcquisition NumberOfTemporalPositions
    """.split(),
]
_SUFFIXES = frozenset(
    ".txt .csv .tsv .json .xml .html .pdf .jpg .jpeg .png .zip .gz .nii .mat .log .md".split()
)
_FAR_MM = 1e6
_MODALITY = re.compile(r"[A-Z0-9]{2,16}")


@dataclass
class Series:
    """The files of one SeriesInstanceUID and their headers. `identity` and `study` never leave memory."""

    identity: str
    study: str
    when: str
    number: int
    modality: str
    description: str
    files: list[Path] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)
    repeated: int = 0
    words: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        """The series description, safe to show."""
        return clean_text(self.description, frozenset(self.words))

    @property
    def voxels(self) -> int:
        """Voxels of all its images, as their headers count them."""
        return sum(h["Rows"] * h["Columns"] * h["NumberOfFrames"] for h in self.headers)


@dataclass
class Listing:
    """What a folder holds: series, and files that are no DICOM images, by reason."""

    series: list[Series]
    others: Counter[str]


def list_dicom(folder: str | os.PathLike[str]) -> Listing:
    """All series below `folder`, sorted by patient, study and series number; non-DICOM files are counted.

    A file that is there twice (same SOPInstanceUID) is taken once. Raises DataError if there is no such
    folder.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        why = "it is not a folder" if root.exists() else "there is no such folder"
        raise DataError(
            "Cannot list DICOM files", where=root, why=why, fix="give the folder that holds the series"
        )
    series: dict[str, Series] = {}
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for path in _files(root, others):
        with _unheard():
            header = _header(path, others)
        if header is None:
            continue
        uid = str(header["SeriesInstanceUID"])
        if uid not in series:
            series[uid] = Series(
                identity=str(
                    header["PatientID"] or header["PatientName"] or header["StudyInstanceUID"] or uid
                ),
                study=str(header["StudyInstanceUID"] or uid),
                when=f"{header['StudyDate'] or ''}{header['StudyTime'] or ''}",
                number=int(header["SeriesNumber"] or 0),
                modality=_modality(header),
                description=str(header["SeriesDescription"] or header["ProtocolName"] or ""),
            )
        found = series[uid]
        found.words |= tokens(_flat(header[key]) for key in IDENTIFYING)
        instance = str(header["SOPInstanceUID"] or path)
        if instance in seen:
            found.repeated += 1
            continue
        seen.add(instance)
        found.files.append(path)
        found.headers.append(header)
    return Listing(sorted(series.values(), key=lambda s: (s.identity, s.when, s.study, s.number)), others)


@contextmanager
def _unheard() -> Iterator[None]:
    """pydicom warns with file names in the text, which may be patients' names: nobody is to hear it."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _modality(header: Mapping[str, Any]) -> str:
    """The modality; '?' where the tag is empty, holds no such code, or one that names the patient."""
    code = str(header["Modality"] or "")
    named = code.lower() in tokens(_flat(header[key]) for key in IDENTIFYING)
    return code if _MODALITY.fullmatch(code) and not named else "?"


def _flat(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _files(root: Path, others: Counter[str]) -> Iterator[Path]:
    """Regular files below `root`, in order; links that leave it are not followed."""
    inside = os.path.realpath(root) + os.sep
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith("."):
                others["hidden file"] += 1
            elif not os.path.realpath(path).startswith(inside):
                others["link that leaves the folder"] += 1
            elif not path.is_file():
                others["not a file"] += 1
            else:
                yield path


def _header(path: Path, others: Counter[str]) -> dict[str, Any] | None:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
            others["deflated DICOM: save it uncompressed"] += 1  # pydicom would inflate all of it, a bomb too
            return None
        with open(path, "rb") as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            left = path.stat().st_size - file.tell()  # where it stopped, the pixels begin
        header: dict[str, Any] = {tag: _plain(dataset.get(tag)) for tag in _TAGS}
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        packed = bool(syntax is not None and syntax.is_compressed)
    except InvalidDicomError:
        suffix = (
            path.suffix.lower()
        )  # of a file named by scanner or patient it may be part of a UID or a name
        others[
            f"not DICOM ({suffix if suffix in _SUFFIXES else 'another suffix' if suffix else 'no suffix'})"
        ] += 1
        return None
    except Exception:  # a damaged file can raise anything from within the parser; it is a count, not a crash
        others["damaged DICOM"] += 1
        return None
    if not header["SeriesInstanceUID"] or not header["Rows"] or not header["Columns"]:
        others["DICOM without an image"] += 1
        return None
    try:
        for name in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated"):
            header[name] = int(header[name] or 1)
        for name in ("SeriesNumber", "InstanceNumber", "ImagesInAcquisition", "NumberOfTemporalPositions"):
            header[name] = None if header[name] in (None, "") else int(header[name])
    except (TypeError, ValueError, OverflowError):
        others["damaged DICOM"] += 1
        return None
    pixels = header["Rows"] * header["Columns"] * header["NumberOfFrames"] * header["SamplesPerPixel"]
    header["short"] = not packed and left < pixels * header["BitsAllocated"] // 8
    return header


def _plain(value: Any) -> Any:
    return list(value) if type(value).__name__ == "MultiValue" else value


def defect(series: Series) -> str | None:
    """Why a series cannot be one volume or one time series of volumes; None if it can.

    Looks for truncated files, images of different sizes, slices that are not parallel, a missing slice (a
    gap in position, a position that occurs less often than others, a count below the scanner's own) and
    missing volumes.
    """
    headers = series.headers
    if short := sum(h["short"] for h in headers):
        return f"{short} of {len(headers)} files are truncated: shorter than their pixels"
    if series.voxels > MAX_VOXELS:
        return f"its headers claim {series.voxels} voxels; the limit is {MAX_VOXELS}"
    if len(sizes := {(h["Rows"], h["Columns"]) for h in headers}) > 1:
        return f"images of different sizes: {', '.join(f'{r} x {c}' for r, c in sorted(sizes))}"
    if any(h["NumberOfFrames"] > 1 for h in headers):
        return None
    mosaic = any("MOSAIC" in _flat(h["ImageType"]).upper() for h in headers)
    return (None if mosaic else _slice_defect(headers)) or _number_defect(headers)


def _slice_defect(headers: list[dict[str, Any]]) -> str | None:
    try:
        axes = np.array([h["ImageOrientationPatient"] for h in headers], float).reshape(-1, 2, 3)
        places = np.array([h["ImagePositionPatient"] for h in headers], float).reshape(-1, 3)
    except (TypeError, ValueError):
        return "images without a position or orientation"
    if not (np.isfinite(axes).all() and np.isfinite(places).all() and np.abs(places).max() < _FAR_MM):
        return "positions that are not numbers, or not in a scanner"
    if np.abs(axes - axes[0]).max() > 1e-2:
        return "slices that are not parallel (a localiser?)"
    along = np.round(places @ np.cross(axes[0, 0], axes[0, 1]), 2)
    where, counts = np.unique(along, return_counts=True)
    if len(where) < 2:
        return "a single slice, not a volume"
    steps = np.diff(where)
    usual = float(np.median(steps))
    if gaps := [i for i, step in enumerate(steps) if step > 1.5 * usual]:
        lost = int(sum(round(steps[i] / usual) - 1 for i in gaps))
        near = f"between {where[gaps[0]]:.1f} and {where[gaps[0] + 1]:.1f} mm"
        what = f"{lost} slices are" if lost > 1 else "a slice is"
        return f"{what} missing: a gap {near}, where slices are {usual:.1f} mm apart"
    if counts.min() != counts.max():
        fewest = where[counts.argmin()]
        return f"a slice is missing: {counts.min()} at {fewest:.1f} mm, {counts.max()} at other positions"
    claimed = headers[0]["ImagesInAcquisition"] or 0
    if claimed > len(where) and len(headers) % claimed:
        return f"slices are missing: {len(where)} positions, and the scanner counted {claimed}"
    times = headers[0]["NumberOfTemporalPositions"] or 0
    if len(headers) < times * len(where):
        return f"volumes are missing: {len(headers) // len(where)} of the scanner's {times}"
    return None


def _number_defect(headers: list[dict[str, Any]]) -> str | None:
    numbers = [h["InstanceNumber"] for h in headers]
    if None in numbers or len(set(numbers)) < len(numbers):
        return None
    lost = max(numbers) - min(numbers) + 1 - len(numbers)
    if 0 < lost < len(numbers) / 2:  # more is another way of counting, not a loss
        return f"{lost} of the images numbered {min(numbers)} to {max(numbers)} are missing"
    return None
