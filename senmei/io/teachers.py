"""Folders of teacher images: DICOM CT and MR, slices of NIfTI, PNG, JPEG and TIFF, all as greys from 0 to 1.

Every file is looked at before its pixels are unpacked, and none is vouched for: sizes are bounded, names become labels
of letters and digits, patients become keyed hashes. What cannot be read is refused with its reason; by default one bad
file stops the reading, since a training set must not shrink unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume
from senmei.io.names import safe_label
from senmei.io.pictures import LUMA, SHAPES, to_size, upright, window

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom", ".ima", "")
MAX_FILES = 20_000


@dataclass(frozen=True)
class TeacherSettings:
    """How the files of a folder become teachers.

    size : pixels a side. shape : 'crop' to the middle square or 'pad' with black. colour : 'refuse', or the luma of
    ITU-R '601' or '709' that a colour picture becomes. window : (low, high) of DICOM and NIfTI that become black and
    white, in their own units (Hounsfield for CT); None: the window that a DICOM header states, else -160 to 240 for CT,
    0 to the 99.8th percentile for MR and NIfTI. picture_window : the same of PNG, JPEG and TIFF; None: all that their 8
    or 16 bits hold. slices : of a NIfTI
    volume, evenly spaced over the middle 60 % of `axis`. subject_by : 'file' (DICOM: the patient), or 'folder', where
    each subfolder is a subject. skip_bad : leave out what cannot be read, with its reason.
    """

    size: int = 256
    shape: str = "crop"
    colour: str = "601"
    window: tuple[float, float] | None = None
    picture_window: tuple[float, float] | None = None
    slices: int = 3
    axis: int = 2
    subject_by: str = "file"
    skip_bad: bool = False

    def __post_init__(self):
        choices: dict[str, tuple[object, ...]] = {
            "shape": SHAPES,
            "colour": ("refuse", *LUMA),
            "axis": (0, 1, 2),
            "subject_by": ("file", "folder"),
        }
        for name, valid in choices.items():
            if (value := getattr(self, name)) not in valid:
                raise _bad(name, value, nearest(str(value), map(str, valid)))
        for name, most in (("size", 4096), ("slices", 512)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise _bad(name, value, f"give a whole number from 1 to {most}")
        for name in ("window", "picture_window"):
            if (span := getattr(self, name)) is None:
                continue
            if not isinstance(span, tuple) or [isinstance(v, int | float) for v in span] != [True, True]:
                raise _bad(name, span, "give [low, high], for CT in Hounsfield units, e.g. [-160, 240]")
            window(np.zeros(1), *span)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TeacherSettings:
        """The settings of a dictionary. Raises ConfigError for unknown keys and impossible values."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise _bad(key, values[key], nearest(key, known))
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)


@dataclass(frozen=True)
class FolderTeacher:
    """A teacher of a folder. name, subject : labels of letters and digits. kind : photograph | medical.

    image : Volume (size, size, 1) float32, grey 0..1. window : the values that became 0 and 1, in the file's units.
    """

    name: str
    subject: str
    kind: str
    image: Volume
    window: tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """What a reader found: values (row from the top, column), their window, pixel (height, width) and whose it is."""

    values: NDArray
    window: tuple[float, float]
    pixel: tuple[float, float] = (1.0, 1.0)
    identity: str = ""


def read_teachers(
    folder: str | os.PathLike[str], settings: TeacherSettings | None = None, pixel_mm: float = 1.34
) -> tuple[list[FolderTeacher], dict[str, str]]:
    """All teachers of a folder, sorted by path, and what was left out with its reason (file -> reason).

    Raises DataError where the folder is absent or holds no teacher, where two files lead to one name, and (unless
    `skip_bad`) for the first file that cannot be one: of an unknown type, damaged, too large, in colour where colour is
    refused, compressed without a decoder. Files of other kinds (text, tables) and hidden ones are passed over.
    """
    settings = settings or TeacherSettings()
    root = Path(folder).absolute()
    if not root.is_dir():
        why = "it is not a folder" if root.exists() else "there is no such folder"
        raise DataError("Cannot read teachers", where=root, why=why, fix="give the folder of images")
    found: dict[str, FolderTeacher] = {}
    left_out: dict[str, str] = {}
    for path, reader, kind in _files(root):
        shown = str(path.relative_to(root))
        try:
            planes = reader(path, settings)
        except DataError as error:
            if not settings.skip_bad:
                raise
            left_out[shown] = error.why
            continue
        for teacher in _teachers(root, path, kind, planes, settings, pixel_mm):
            if teacher.name in found:
                raise DataError(
                    "Two teachers have one name",
                    where=shown,
                    why=f"both become '{teacher.name}'",
                    fix="rename one of the files",
                )
            found[teacher.name] = teacher
    if not found:
        why = f"{len(left_out)} images could not be read" if left_out else "it holds no image that is known"
        fix = f"give a folder of DICOM, NIfTI, {', '.join(s[1:].upper() for s in PICTURES)} files"
        first = f": {next(iter(left_out.items()))}" if left_out else ""
        raise DataError("This folder holds no teacher", where=root, why=why + first, fix=fix)
    return list(found.values()), left_out


def _teachers(
    root: Path, path: Path, kind: str, planes: list[Plane], settings: TeacherSettings, pixel_mm: float
) -> list[FolderTeacher]:
    inside = path.relative_to(root)
    stem = (
        str(inside)[: -len("".join(path.suffixes[-2:]))]
        if _suffix(path) == ".nii.gz"
        else str(inside.with_suffix(""))
    )
    out = []
    for number, plane in enumerate(planes):
        label = safe_label(stem)
        if plane.identity:  # a file named by a scanner may hold the patient's name or number
            from senmei.io.deidentify import secret_key, subject_label

            key = secret_key()
            label = subject_label(f"{plane.identity}\n{inside}", key).removeprefix("sub-")
            subject = subject_label(plane.identity, key).removeprefix("sub-")
        else:
            subject = label
        if settings.subject_by == "folder" and len(inside.parts) > 1:
            subject = safe_label(inside.parts[0])
        name = label if len(planes) == 1 else f"{label}n{number:03d}"
        grey = to_size(window(plane.values, *plane.window), settings.size, settings.shape, plane.pixel)
        out.append(FolderTeacher(name, subject, kind, upright(grey, pixel_mm), plane.window))
    return out


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _files(root: Path) -> list[tuple[Path, Callable[[Path, TeacherSettings], list[Plane]], str]]:
    """Images below `root`, in order, with their readers; links that leave the folder are not followed."""
    from senmei.io.teacher_files import read_dicom, read_nifti, read_picture

    inside = os.path.realpath(root) + os.sep
    out: list[tuple[Path, Callable[[Path, TeacherSettings], list[Plane]], str]] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or not os.path.realpath(path).startswith(inside) or not path.is_file():
                continue
            suffix = _suffix(path)
            if suffix in PICTURES:
                out.append((path, read_picture, "photograph"))
            elif suffix in NIFTI:
                out.append((path, read_nifti, "medical"))
            elif suffix in DICOM and (suffix or _preamble(path)):
                out.append((path, read_dicom, "medical"))
            if len(out) > MAX_FILES:
                why = f"more than {MAX_FILES} images"
                raise DataError("Too many teachers", where=root, why=why, fix="give a smaller folder")
    return out


def _preamble(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _bad(name: str, value: object, fix: str) -> ConfigError:
    return ConfigError(
        f"impossible setting {name} = {value!r}",
        where="teachers",
        why="it is unknown or out of range",
        fix=fix,
    )
