"""Reading a dataset that was handed on: what it holds, each file proven by its checksum before it is used.

Nothing in its tables is trusted. Places of files follow from the names of scans, and are looked at all the same; what
cannot be used is told, one reason a pair, and never stops the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError, nearest
from senmei.core.study import is_file_column
from senmei.io.dataset_folder import SUMS, proven, proven_bytes, proven_role, read_sums
from senmei.io.tables import Row, read_tsv
from senmei.lab.dataset_pair import ENDS, NAMES, NEEDED, RESERVED, SCAN, VERSION, Pair, places_of

_DESCRIPTION = "dataset_description.json"
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]{1,64}")
_LONGEST = 500  # characters of a cell


@dataclass(frozen=True)
class PairSet:
    """A dataset as listed.

    description : of the whole. participants : rows with `subject`, `split` where told, and more. pairs : scan -> its
    columns. failed : (scan or '', subject, why) of what cannot be used. sums : place -> SHA-256.
    """

    root: Path
    description: Mapping[str, Any]
    participants: list[Row]
    pairs: dict[str, Row]
    failed: list[tuple[str, str, str]]
    sums: Mapping[str, str]

    def load(self, scan: str) -> Pair:
        """A pair, its files proven again. Raises DataError."""
        return load_pair(self.root, scan, self.sums, self.pairs.get(scan, {}))


def read_dataset(folder: Path | str) -> PairSet:
    """What a dataset holds. Every file of every pair is looked at; none of the images is decoded.

    Raises DataError for a folder that is no dataset of pairs, one of another version, and one whose description,
    participants or list of checksums were changed.
    """
    root = Path(folder).absolute()
    description = _description(root)
    sums = read_sums(root)
    if description != json.loads(proven_bytes(root, _DESCRIPTION, sums)):
        raise _no_dataset(root, "its description changed while it was read", "try again")
    participants, failed = _participants(root, sums), []
    pairs: dict[str, Row] = {}
    for person in participants:
        subject = person["subject"]
        try:
            rows = _table(root, f"{subject}/{subject}_scans.tsv", sums)
        except DataError as error:
            failed.append(("", subject, f"{error.what}: {error.why}"))
            continue
        for row in rows:
            scan = ""
            try:
                scan, columns = _scan(row, subject)
                if scan in pairs:
                    raise _row(scan, "the table has it twice")
                for place in files_of(scan, sums).values():
                    proven(root, place, sums)
                pairs[scan] = columns
            except DataError as error:
                failed.append((scan, subject, f"{error.what} [{error.where}]: {error.why}"))
    return PairSet(root, description, participants, pairs, failed, sums)


def files_of(scan: str, sums: Mapping[str, str]) -> dict[str, str]:
    """role -> place of all files of a pair: those it must have, and those that the list of checksums has."""
    places = places_of(scan)
    return {role: p for role, p in places.items() if role in (*NEEDED, "sidecar") or p in sums}


def load_pair(root: Path, scan: str, sums: Mapping[str, str], columns: Mapping[str, Any]) -> Pair:
    """A pair with all its roles. Raises DataError for files that are missing or changed, and for what is no pair."""
    places = files_of(scan, sums)
    told = _json(proven_bytes(root, places["sidecar"], sums), places["sidecar"])
    roles = {role: proven_role(root, place, sums) for role, place in places.items() if role in (*ENDS, "low")}
    pair = Pair(scan, columns, {**roles, "camera": told.get("CameraResponse")})
    pair.check()
    return pair


def _description(root: Path) -> dict[str, Any]:
    path = root / _DESCRIPTION
    fix = "give the top folder of a dataset that Senmei exported (the one that holds SHA256SUMS)"
    if not root.is_dir():
        raise _no_dataset(root, "it is not a folder" if root.exists() else "there is no such folder", fix)
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 20:
        raise _no_dataset(root, f"it has no {_DESCRIPTION}", fix)
    told = _json(path.read_bytes(), _DESCRIPTION)
    if "PairsVersion" not in told:
        raise _no_dataset(
            root, f"its {_DESCRIPTION} tells no PairsVersion: a BIDS dataset of another kind", fix
        )
    version = told["PairsVersion"]
    if isinstance(version, bool) or version != VERSION:
        why = f"its layout is of version {str(version)[:20]!r}, and {VERSION} can be read"
        raise _no_dataset(
            root, why, "export it again with this version, or read it with the one that wrote it"
        )
    return told


def _json(content: bytes, where: str) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise DataError(
            "Cannot use a file of this dataset", where=where, why="it is no JSON object", fix="get it again"
        )
    return told


def _table(root: Path, place: str, sums: Mapping[str, str]) -> list[Row]:
    return read_tsv(proven(root, place, sums))


def _participants(root: Path, sums: Mapping[str, str]) -> list[Row]:
    try:
        rows = _table(root, "participants.tsv", sums)
    except DataError as error:
        fix = f"get the dataset again; if you changed its splits on purpose, write the new hash into {SUMS}"
        raise DataError(error.what, where=error.where, why=error.why, fix=fix) from error
    found: dict[str, Row] = {}
    for row in rows:
        if "participant_id" not in row:
            fix = nearest("participant_id", row)
            raise _no_dataset(root, "its participants.tsv has no column participant_id", fix)
        subject = str(row.pop("participant_id"))
        if not _SUBJECT.fullmatch(subject) or subject in found:
            why = f"participants.tsv names {subject[:80]!r}, twice or as no label"
            raise _no_dataset(root, why, "get the dataset again")
        _check_columns(row, "participants.tsv", allowed=("split",))
        if row.get("split") not in ("train", "validation", "test", None):
            why = f"participants.tsv puts {subject} into the split {str(row['split'])[:40]!r}"
            raise _no_dataset(root, why, "splits are train, validation and test")
        found[subject] = {"subject": subject, **row}
    return list(found.values())


def _scan(row: Row, subject: str) -> tuple[str, Row]:
    """(scan, its columns) of a row of a subject's table. Raises DataError for a file that is not its subject's."""
    name = str(row.get("filename"))
    match = re.fullmatch(r"nm/([A-Za-z0-9_-]+)_nm\.nii\.gz", name)
    if match is None or not SCAN.fullmatch(match[1]) or match[1].split("_")[0] != subject:
        raise _row(
            name, f"its table names a file that is no measured image of {subject}, or leads out of its folder"
        )
    columns = {k: v for k, v in row.items() if k != "filename"}
    _check_columns(columns, match[1])
    return match[1], columns


def _check_columns(columns: Row, where: str, allowed: tuple[str, ...] = ()) -> None:
    for name, value in columns.items():
        if (
            not NAMES.fullmatch(str(name))
            or (name in RESERVED and name not in allowed)
            or is_file_column(name)
        ):
            raise _row(where, f"a column may not be called {str(name)[:60]!r}")
        if isinstance(value, str) and (len(value) > _LONGEST or not value.isprintable()):
            raise _row(where, f"its '{name}' holds characters that cannot be shown, or more than {_LONGEST}")


def _row(where: str, why: str) -> DataError:
    return DataError(
        "Cannot use a row of this dataset", where=repr(where)[:200], why=why, fix="get the dataset again"
    )


def _no_dataset(root: Path, why: str, fix: str) -> DataError:
    return DataError("This is no dataset of pairs that can be read", where=root, why=why, fix=fix)
