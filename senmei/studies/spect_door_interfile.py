"""Interfile in a clinic's folder: acquisitions and attenuation maps by their headers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senmei.io.deidentify import subject_label, tokens
from senmei.studies.spect_doors import (
    Folder,
    Found,
    centred,
    files_below,
    is_nifti,
    map_stem,
    place_of,
    subject_by_folder,
)

_HEADERS = (".h00", ".hdr", ".hs", ".hv", ".h33", ".ihdr", ".int", ".him", ".hct")
_WHO = re.compile(
    rb"^[!;#% \t]*patient[ \t_]*(id|name)[ \t]*:=[ \t]*([^\r\n]{1,256})", re.IGNORECASE | re.MULTILINE
)
_HEAD_BYTES = 1 << 20
_NO_MAP = "not an attenuation map (NIfTI files are taken as maps only, named *_attenuation.nii.gz)"


def find_interfile(root: Path, cohort: Mapping[str, Any], key: bytes) -> Folder:
    """Interfile headers, one an acquisition or map; a patient is told by the header's ID, else by the folder."""
    from senmei.io.interfile import read_interfile

    found = Folder([], [], Counter())
    number: Counter[str] = Counter()
    for path in files_below(root):
        if is_nifti(path) and map_stem(path) is None:
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
        folder, name = place_of(root, path)
        who = _identity(head) if cohort["patients"] == "header" else ""
        subject = subject_label(who, key) if who else subject_by_folder(root, path, key)
        stem = map_stem(path)
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
