"""What a clinic's folder holds: acquisitions, attenuation maps and the rest, whatever their format.

Identities, visits and the names of files stay in `Found`, in memory; nothing of them is written or logged.
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
from senmei.io.deidentify import REMOVED, tokens

_MAP = re.compile(r"(?P<stem>.*?)_?(?:attenuation|mumap|umap|mu)", re.IGNORECASE)
_HEADERS = (".h00", ".hdr", ".hs", ".hv", ".h33", ".ihdr", ".int", ".him", ".hct")
_WHO = re.compile(
    rb"^[!;#% \t]*patient[ \t_]*(id|name)[ \t]*:=[ \t]*([^\r\n]{1,256})", re.IGNORECASE | re.MULTILINE
)
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Found:
    """One series or file. identity : of the patient, session : of the visit, both for comparison only.

    kind : 'projections', 'map', or why it is left. title : safe to show. words : that may stand in no message.
    folder and stem : where it lies, to match maps by. placed : whether it goes by its place, having no identity.
    load() reads it. Raises DataError.
    """

    identity: str
    session: str
    kind: str
    title: str
    load: Callable[[], Any]
    folder: str = ""
    stem: str = ""
    placed: bool = False
    words: frozenset[str] = frozenset()

    def clean(self, text: str) -> str:
        """A message without words that may identify the patient."""
        for word in sorted(self.words, key=len, reverse=True):
            text = re.sub(
                rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", REMOVED, text, flags=re.IGNORECASE
            )
        return text

    def of(self, other: Found) -> bool:
        """Whether this map may belong to the acquisition `other`."""
        if not self.placed:
            return self.identity == other.identity
        return self.folder == other.folder and (self.beside(other) or not self.stem)

    def beside(self, other: Found) -> bool:
        """Whether this file is named after `other`: rest.h00 and rest_attenuation.nii.gz."""
        return self.folder == other.folder and bool(self.stem) and other.stem.startswith(self.stem)


def find_acquisitions(cohort: Mapping[str, Any]) -> tuple[list[Found], Counter[str]]:
    """Everything below the cohort's folder, by patient and in the order of acquisition; files left, by reason.

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
    others: Counter[str] = Counter()
    look = {"dicom": _dicom, "interfile": _interfile}[cohort["source"]]
    found = look(root, cohort, others)
    maps = list(_nifti_maps(root))
    others["not an attenuation map (NIfTI files are taken as maps only, named *_attenuation.nii.gz)"] += sum(
        1 for path in _files(root) if _is_nifti(path) and not _map_stem(path)
    )
    return [*found, *maps], +others


def _files(root: Path) -> Iterator[Path]:
    """Regular files below a folder, in order; hidden ones and links that leave it are passed over."""
    inside = os.path.realpath(root) + os.sep
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and os.path.realpath(path).startswith(inside) and path.is_file():
                yield path


def _place(root: Path, path: Path) -> tuple[str, str]:
    """(folder, name without extensions) of a file."""
    name = path.name
    for ending in (".nii.gz", path.suffix):
        if ending and name.lower().endswith(ending.lower()):
            return str(path.parent.relative_to(root)), name[: -len(ending)]
    return str(path.parent.relative_to(root)), name


def _by_folder(root: Path, path: Path) -> str:
    """The patient of a file that says nothing of one: the folder below the root that holds it, else its own name."""
    parts = path.relative_to(root).parts
    return f"folder {parts[0]}" if len(parts) > 1 else f"file {_place(root, path)[1]}"


# ---- attenuation maps as NIfTI ----


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _map_stem(path: Path) -> str | None:
    """What comes before `_attenuation` in a map's name ('' where nothing does), None for another file."""
    name = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) if _is_nifti(path) else path.stem
    match = _MAP.fullmatch(name)
    return match["stem"] if match else None


def _nifti_maps(root: Path) -> Iterator[Found]:
    from senmei.io.nifti import read_volume

    for path in _files(root):
        stem = _map_stem(path) if _is_nifti(path) else None
        if stem is None:
            continue

        def load(path: Path = path) -> Volume:
            return read_volume(path, ndim=3)

        yield Found(
            identity=_by_folder(root, path),
            session="",
            kind="map",
            title="NIfTI attenuation map",
            load=load,
            folder=_place(root, path)[0],
            stem=stem,
            placed=True,
            words=tokens(path.relative_to(root).parts),
        )


# ---- Interfile ----


def _interfile(root: Path, cohort: Mapping[str, Any], others: Counter[str]) -> list[Found]:
    """Interfile headers, one an acquisition or map; a patient is told by the header's ID, else by the folder."""
    from senmei.io.interfile import read_interfile

    found = []
    number: Counter[str] = Counter()
    for path in _files(root):
        if path.suffix.lower() not in _HEADERS:
            continue
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if b"interfile" not in head[:4096].lower():
            others[f"no Interfile header ({path.suffix.lower()})"] += 1
            continue
        folder, name = _place(root, path)
        who = _identity(head) if cohort["patients"] == "header" else ""
        identity = who or _by_folder(root, path)
        stem = _map_stem(path)
        number[identity] += 1

        title = f"Interfile {number[identity]}"

        def load(path: Path = path, where: str = title, is_map: bool = stem is not None) -> Any:
            value = read_interfile(
                path, where=where, convention=cohort["convention"], radius_mm=cohort["radius_mm"]
            )
            return centred(value) if is_map else value

        found.append(
            Found(
                identity=identity,
                session=folder,
                kind="projections" if stem is None else "map",
                title=title,
                load=load,
                folder=folder,
                stem=name if stem is None else stem,
                placed=stem is not None,
                words=tokens((*path.relative_to(root).parts, who)),
            )
        )
    return found


def _identity(head: bytes) -> str:
    """The patient's ID in a header, else the name; '' where it tells neither."""
    told = {key.lower(): value.strip().decode("latin-1") for key, value in reversed(_WHO.findall(head))}
    return told.get(b"id") or told.get(b"name") or ""


# ---- DICOM ----


def _dicom(root: Path, cohort: Mapping[str, Any], others: Counter[str]) -> list[Found]:
    raise NotImplementedError


def centred(value: Any) -> Any:
    """A map with the world's origin in its middle: its format tells no place, so the field of the scan is meant."""
    if not isinstance(value, Volume):
        return value
    affine = value.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(value.shape[:3]) - 1) / 2)
    return Volume(value.data, affine)
