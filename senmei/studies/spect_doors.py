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

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.io.deidentify import REMOVED, secret_key, subject_label, tokens

_MAP = re.compile(r"(?P<stem>.*?)_?(?:attenuation|mumap|umap|mu)", re.IGNORECASE)
_HEADERS = (".h00", ".hdr", ".hs", ".hv", ".h33", ".ihdr", ".int", ".him", ".hct")
_WHO = re.compile(
    rb"^[!;#% \t]*patient[ \t_]*(id|name)[ \t]*:=[ \t]*([^\r\n]{1,256})", re.IGNORECASE | re.MULTILINE
)
_HEAD_BYTES = 1 << 20
_MAP_TITLE = re.compile(
    r"\b(mu|attenuation|ac|u)[ _-]?map\b", re.IGNORECASE
)  # where the type does not say so
_NO_MAP = "not an attenuation map (NIfTI files are taken as maps only, named *_attenuation.nii.gz)"


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
    found = (_dicom if cohort["source"] == "dicom" else _interfile)(root, cohort, key)
    found.images += _nifti_maps(root, key)
    return found


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


def _by_folder(root: Path, path: Path, key: bytes) -> str:
    """The subject of a file that names no patient: of the folder below the root that holds it, else of its own name."""
    parts = path.relative_to(root).parts
    return subject_label(f"folder {parts[0]}" if len(parts) > 1 else f"file {_place(root, path)[1]}", key)


# ---- attenuation maps as NIfTI ----


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _map_stem(path: Path) -> str | None:
    """What comes before `_attenuation` in a map's name ('' where nothing does), None for another file."""
    name = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) if _is_nifti(path) else path.stem
    match = _MAP.fullmatch(name)
    return match["stem"] if match else None


def _nifti_maps(root: Path, key: bytes) -> Iterator[Found]:
    from senmei.io.nifti import read_volume

    for path in _files(root):
        stem = _map_stem(path) if _is_nifti(path) else None
        if stem is None:
            continue

        def load(path: Path = path) -> Volume:
            return read_volume(path, ndim=3)

        yield Found(
            subject=_by_folder(root, path, key),
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


def _interfile(root: Path, cohort: Mapping[str, Any], key: bytes) -> Folder:
    """Interfile headers, one an acquisition or map; a patient is told by the header's ID, else by the folder."""
    from senmei.io.interfile import read_interfile

    found = Folder([], [], Counter())
    number: Counter[str] = Counter()
    for path in _files(root):
        if _is_nifti(path) and _map_stem(path) is None:
            found.others[_NO_MAP] += 1
        if path.suffix.lower() not in _HEADERS:
            continue
        try:
            with path.open("rb") as stream:
                head = stream.read(_HEAD_BYTES)
        except OSError:
            found.others["it cannot be opened"] += 1
            continue
        if b"interfile" not in head[:4096].lower():
            found.others[f"no Interfile header ({path.suffix.lower()})"] += 1
            continue
        folder, name = _place(root, path)
        who = _identity(head) if cohort["patients"] == "header" else ""
        subject = subject_label(who, key) if who else _by_folder(root, path, key)
        stem = _map_stem(path)
        number[subject] += 1
        title = f"Interfile {number[subject]}"

        def load(path: Path = path, where: str = title, is_map: bool = stem is not None) -> Any:
            value = read_interfile(
                path, where=where, convention=cohort["convention"], radius_mm=cohort["radius_mm"]
            )
            return centred(value) if is_map else value

        found.images.append(
            Found(
                subject=subject,
                session=folder,
                kind="projections" if stem is None else "map",
                title=title,
                load=load,
                folder=folder,
                stem=name if stem is None else stem,
                placed=stem is not None and not who,
                words=tokens((*path.relative_to(root).parts, who)),
            )
        )
    return found


def _identity(head: bytes) -> str:
    """The patient's ID in a header, else the name; '' where it tells neither."""
    told = {key.lower(): value.strip().decode("latin-1") for key, value in reversed(_WHO.findall(head))}
    return told.get(b"id") or told.get(b"name") or ""


# ---- DICOM ----


def _dicom(root: Path, cohort: Mapping[str, Any], key: bytes) -> Folder:
    """NM images: acquisitions whose description `series:` selects, and attenuation maps."""
    from senmei.io.dicom_nm import list_nm

    try:
        wanted = re.compile(cohort.get("series") or "", re.IGNORECASE)
    except re.error as error:
        raise ConfigError(
            "Cannot select series",
            where=f"series: {cohort['series']}",
            why=str(error),
            fix="write a regular expression, e.g. 'stress|rest'",
        ) from error
    given = _given(cohort)
    listing = list_nm(root, key=key, **given)
    found = Folder([], [(subject, f"image {at}: {why}") for at, subject, why in listing.left], listing.others)
    for series in listing.images:
        title = f"series {series.number} ({series.title})" if series.title else f"series {series.number}"
        if series.kind in ("TOMO", "GATED TOMO"):
            kind = "projections" if wanted.search(series.title) else "not selected by series:"
        elif series.transmission or (series.kind == "RECON TOMO" and _MAP_TITLE.search(series.title)):
            kind = "map"
        else:
            kind = f"image type {series.kind}, no acquisition to reconstruct"

        def load(path: Path = series.path, where: str = title, is_map: bool = kind == "map") -> Any:
            return _read_map(path, where) if is_map else _read(path, where, given)

        folder, name = _place(root, series.path)
        by_folder = cohort["patients"] == "folder"
        found.images.append(
            Found(
                subject=_by_folder(root, series.path, key) if by_folder else series.subject,
                session=series.study,
                kind=kind,
                title=title,
                load=load,
                folder=folder,
                stem=name,
                words=tokens(series.path.relative_to(root).parts),
                frame=series.frame,
            )
        )
    return found


def _given(cohort: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration tells for files that do not."""
    window = cohort["window"]
    levels = None if window == "auto" else (float(window[0]), float(window[1]))
    return {"window": levels, "radius_mm": cohort["radius_mm"]}


def _read(path: Path, where: str, given: Mapping[str, Any]) -> Any:
    from senmei.io.dicom_nm import read_nm

    return read_nm(path, where=where, **given)


def _read_map(path: Path, where: str) -> Volume:
    """The map, in 1/cm, around the scan's own centre: NM files seldom place acquisitions in the patient."""
    from senmei.io.dicom_nm import Reconstruction, attenuation_map

    image = _read(path, where, {})
    if not isinstance(image, Reconstruction):
        raise DataError("Not an attenuation map", where=where, why="it holds no slices", fix="leave it out")
    return centred(attenuation_map(image, where))


def centred(value: Any) -> Any:
    """A map with the world's origin in its middle: its format tells no place, so the field of the scan is meant."""
    if not isinstance(value, Volume):
        return value
    affine = value.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(value.shape[:3]) - 1) / 2)
    return Volume(value.data, affine)
