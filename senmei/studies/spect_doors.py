"""What a clinic's folder holds: acquisitions, attenuation maps and the rest, whatever their format.

The names of files and folders stay in `Found`, in memory; nothing of them is written or logged.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.deidentify import REMOVED, secret_key, subject_label, tokens

_MAP = re.compile(r"(?P<stem>.*?)_?(?:attenuation|mumap|umap|mu)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One image. subject : the patient's label, session : of the visit, for comparison only.

    kind : 'projections', 'map', or why it is left. title : safe to show. words : that may stand in no message.
    folder and stem : where it lies, to match maps by, as is frame : the space that its file says it lies in.
    placed : whether it goes by its place, as it names no patient. load() reads it. Raises DataError.
    """

    subject: str
    session: str
    kind: str
    title: str
    load: Callable[[], Any]
    folder: str = ""
    stem: str = ""
    placed: bool = False
    words: frozenset[str] = frozenset()
    frame: str = ""

    def clean(self, text: str) -> str:
        """A message without words that may identify the patient."""
        for word in sorted(self.words, key=len, reverse=True):
            text = re.sub(
                rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", REMOVED, text, flags=re.IGNORECASE
            )
        return text

    def of(self, other: Found) -> bool:
        """Whether this map may belong to the acquisition `other`: of the same patient, or in its folder or above it."""
        if not self.placed:
            return self.subject == other.subject
        above = self.folder != "." and other.folder.startswith(self.folder + os.sep)
        return self.folder == other.folder or above

    def beside(self, other: Found) -> bool:
        """Whether this map is named after `other`: rest_attenuation.nii.gz after rest.h00 or rest_gated.h00."""
        rest = other.stem.removeprefix(self.stem)
        named = bool(self.stem) and other.stem.startswith(self.stem) and (not rest or not rest[0].isalnum())
        return self.folder == other.folder and named


@dataclass
class Folder:
    """All that was found. images : by patient and in the order of acquisition. left : (subject or '', why) of images
    that cannot be used. others : files that are none, by reason.
    """

    images: list[Found]
    left: list[tuple[str, str]]
    others: Counter[str]


def find_acquisitions(cohort: Mapping[str, Any]) -> Folder:
    """Everything below the cohort's folder.

    Raises DataError if there is no such folder, ConfigError for an expression in `series:` that is none.
    """
    root = Path(cohort["path"]).absolute()
    if not root.is_dir():
        why = "it is not a folder" if root.exists() else "there is no such folder"
        raise DataError(
            "Cannot list acquisitions",
            where=root,
            why=why,
            fix="give the folder that holds the patients' files",
        )
    key = secret_key()
    if cohort["source"] == "dicom":
        from senmei.studies.spect_door_dicom import find_dicom

        found = find_dicom(root, cohort, key)
    else:
        from senmei.studies.spect_door_interfile import find_interfile

        found = find_interfile(root, cohort, key)
    found.images += _nifti_maps(root, key)
    return found


def files_below(root: Path) -> Iterator[Path]:
    """Regular files below a folder, in order; hidden ones and links that leave it are passed over."""
    inside = os.path.realpath(root) + os.sep
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and os.path.realpath(path).startswith(inside) and path.is_file():
                yield path


def place_of(root: Path, path: Path) -> tuple[str, str]:
    """(folder, name without extensions) of a file."""
    name = path.name
    for ending in (".nii.gz", path.suffix):
        if ending and name.lower().endswith(ending.lower()):
            return str(path.parent.relative_to(root)), name[: -len(ending)]
    return str(path.parent.relative_to(root)), name


def subject_by_folder(root: Path, path: Path, key: bytes) -> str:
    """The subject of a file that names no patient: of the folder below the root that holds it, else of its own name."""
    parts = path.relative_to(root).parts
    return subject_label(f"folder {parts[0]}" if len(parts) > 1 else f"file {place_of(root, path)[1]}", key)


# ---- attenuation maps as NIfTI ----


def is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def map_stem(path: Path) -> str | None:
    """What comes before `_attenuation` in a map's name ('' where nothing does), None for another file."""
    name = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) if is_nifti(path) else path.stem
    match = _MAP.fullmatch(name)
    return match["stem"] if match else None


def _nifti_maps(root: Path, key: bytes) -> Iterator[Found]:
    from senmei.io.nifti import read_volume

    for path in files_below(root):
        stem = map_stem(path) if is_nifti(path) else None
        if stem is None:
            continue

        def load(path: Path = path) -> Volume:
            return read_volume(path, ndim=3)

        yield Found(
            subject=subject_by_folder(root, path, key),
            session="",
            kind="map",
            title="NIfTI attenuation map",
            load=load,
            folder=place_of(root, path)[0],
            stem=stem,
            placed=True,
            words=tokens(path.relative_to(root).parts),
        )


def centred(value: Any) -> Any:
    """A map with the world's origin in its middle: its format tells no place, so the field of the scan is meant."""
    if not isinstance(value, Volume):
        return value
    affine = value.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(value.shape[:3]) - 1) / 2)
    return Volume(value.data, affine)
