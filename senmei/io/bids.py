"""Which images a BIDS dataset holds: a plain walk of its folders, no index and no validator needed.

Names: https://bids-specification.readthedocs.io (entities `key-value`, suffix, extension).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError, nearest
from senmei.io.names import safe_label
from senmei.io.table_schemas import near_misses, nearly
from senmei.io.tables import Row, format_value, read_tsv

_IMAGE = re.compile(r"(?P<entities>.+)_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?", re.DOTALL)
_KEY = re.compile(r"[a-z]{2,16}")
_UNTABLED = "holds a line break, a tab or bytes that are no UTF-8"
_DEPTH = 3  # subject / session / datatype
_OWN = {"scan", "subject", "session", "path", "repeat", "frame", "split", "shard", "image", "sub", "ses"}


@dataclass
class _Found:
    """What the walk collects."""

    images: list[Row] = field(default_factory=list)
    status: list[Row] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)
    values: dict[str, set[str]] = field(default_factory=dict)

    def fail(self, subject: str, error: object, scan: str | None = None, status: str = "failed") -> None:
        self.status.append({"scan": scan, "subject": subject, "status": status, "error": str(error)})


def list_bids(
    path: str | os.PathLike[str],
    suffix: str = "T1w",
    entities: Mapping[str, Any] | None = None,
    frames: str | None = None,
) -> tuple[list[Row], list[Row], list[Row]]:
    """Participants, images and status rows of a BIDS dataset.

    suffix : of the images wanted. entities : what their names must say, e.g. {'acq': 'mprage', 'ses': ['1',
        '2']}; None as value: the entity must be absent; a whole number matches with or without leading zeros.
    frames : 'repeats' lists each volume of a 4D file as an image of its own, with its number (from 0) in
        `frame`.

    participants : `subject` ('sub-' and a safe label), then the columns of participants.tsv, where there is
        one.
    images : `scan` (BIDS stem of safe labels, without suffix), `subject`, `session`, `run`, other entities,
        `path` (absolute), `repeat` (1, 2, ... within the subject).
    status : `scan`, `subject`, `status` ('failed' or 'absent'), `error`: what was left out, and why. One bad
        name, duplicate, broken link or empty subject never stops the others.
    Raises DataError if the folder is missing or nothing in it matches; it says what is there instead.
    """
    root = _root(path)
    found = _Found()
    known = _participants(root, found)
    wanted = {key.removeprefix("_"): value for key, value in (entities or {}).items()}
    seen: dict[str, str] = {}
    for name, folder in _subjects(root, found):
        subject = f"sub-{safe_label(name)}"
        if seen.setdefault(subject, name) != name:
            found.fail(subject, f"two subjects would share the label '{subject}'; rename '{name}'")
            continue
        before = len(found.images), len(found.status)
        _look(root, folder, name, subject, suffix, wanted, found)
        if before == (len(found.images), len(found.status)):
            found.fail(subject, f"no {suffix} found{_said(wanted)}", status="absent")
    if not found.images:
        _nothing(root, suffix, wanted, found)
    images = _unique(found)
    if frames == "repeats":
        images = [row for image in images for row in _frames(image, found)]
    _number(images)
    known_bad = {row["subject"] for row in found.status if row["status"] == "excluded"}
    images = [row for row in images if row["subject"] not in known_bad]
    present = dict.fromkeys(row["subject"] for row in images)
    for subject in known.keys() - seen.keys():
        found.fail(
            subject, "listed in participants.tsv, but the dataset has no folder for it", status="absent"
        )
    found.status.sort(key=lambda row: (row["subject"], row["scan"] or ""))
    columns = list(dict.fromkeys(key for row in known.values() for key in row))
    blank = dict.fromkeys(columns)
    return [{"subject": s, **blank, **known.get(s, {})} for s in present], images, found.status


def _root(path: str | os.PathLike[str]) -> Path:
    root = Path(path).absolute()
    if not root.is_dir():
        why = "it is not a folder" if root.exists() else "there is no such folder"
        beside = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        fix = f"give the dataset's top folder; {nearest(root.name, beside)}" if beside else "check the path"
        raise DataError("Cannot list a BIDS dataset", where=root, why=why, fix=fix)
    if not _tabular(str(root)):
        fix = "give the dataset by another path"
        raise DataError("Cannot list a BIDS dataset", where=repr(root), why=f"its path {_UNTABLED}", fix=fix)
    return root


def _tabular(path: str) -> bool:
    """Whether a path comes back from a table as it was."""
    return format_value(path) == path


def _participants(root: Path, found: _Found) -> dict[str, Row]:
    """participants.tsv by safe subject; a subject described twice, differently, is excluded."""
    table = root / "participants.tsv"
    if not table.is_file():
        return {}
    rows = read_tsv(table)
    if rows and "participant_id" not in rows[0]:
        raise DataError(
            "Cannot use participants.tsv",
            where=table,
            why=f"it has no column participant_id; its columns are: {', '.join(map(str, rows[0]))}",
            fix=nearly("participant_id", list(rows[0]), "rename the column '{}' to 'participant_id'")
            or "name the column of subjects 'participant_id'",
        )
    for name, known_name in near_misses("bids_participants", list(rows[0]) if rows else []):
        error = f"participants.tsv has a column '{name}': did you mean '{known_name}'?"
        found.fail("", error, status="remark")
    known: dict[str, Row] = {}
    for row in rows:
        name = str(row["participant_id"] or "").removeprefix("sub-")
        subject = f"sub-{safe_label(name)}"
        values = {k: v for k, v in row.items() if k not in ("participant_id", "subject")}
        if known.setdefault(subject, values) != values:
            found.fail(subject, "participants.tsv lists it twice, with different values", status="excluded")
    return known


def _scan_folder(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def _subjects(root: Path, found: _Found) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(name without 'sub-', folder); derivatives, sourcedata, code and hidden folders have other names."""
    for entry in _scan_folder(root):
        if not entry.name.startswith("sub-"):
            continue
        name = entry.name.removeprefix("sub-")
        if entry.is_symlink() and (why := _strays(root, entry)):
            found.fail(f"sub-{safe_label(name)}", why)
        elif entry.is_dir():
            yield name, entry


def _strays(root: Path, entry: os.DirEntry[str]) -> str:
    """Why a symbolic link is not followed; '' if it is sound."""
    target = os.path.realpath(entry.path)
    if not target.startswith(os.path.realpath(root) + os.sep):
        return f"refused: '{entry.name}' is a link that leaves the dataset"
    if not os.path.exists(target):
        return f"'{entry.name}' is a link to nothing; fetch its content first (e.g. datalad get)"
    return ""


def _look(
    root: Path,
    folder: os.DirEntry[str],
    name: str,
    subject: str,
    suffix: str,
    wanted: Mapping[str, Any],
    found: _Found,
) -> None:
    """Add the matching images of one subject to `found`."""
    todo = [(folder.path, 1)]
    while todo:
        place, depth = todo.pop()
        try:
            entries = _scan_folder(place)
        except OSError as error:
            found.fail(subject, f"cannot read folder '{os.path.relpath(place, root)}': {error.strerror}")
            continue
        for entry in entries:
            image = _IMAGE.fullmatch(entry.name)
            if image is None and not entry.is_dir():
                continue
            # Files may be links (datalad's are); folders could lead round in circles.
            linked = entry.is_symlink() and (image is None or image["suffix"] == suffix)
            astray = "" if image else f"'{entry.name}' is a link to a folder"
            if linked and (why := _strays(root, entry) or astray):
                found.fail(subject, why)
                continue
            if image is None:
                if depth < _DEPTH:
                    todo.append((entry.path, depth + 1))
                continue
            found.suffixes[image["suffix"]] += 1
            pairs = [part.split("-", 1) for part in image["entities"].split("_")]
            given = {pair[0]: pair[-1] for pair in pairs if len(pair) == 2}
            if image["suffix"] != suffix:
                continue
            for key, value in given.items():
                found.values.setdefault(key, set()).add(value)
            if not _matches(given, wanted):
                continue
            if not entry.is_file():
                found.fail(subject, f"'{entry.name}' is not a file")
            elif not _tabular(entry.path):
                found.fail(subject, f"the path of {entry.name!r} {_UNTABLED}; rename it")
            elif len(given) != len(pairs) or not all(_KEY.fullmatch(key) for key in given):
                found.fail(
                    subject, f"'{entry.name}' is not a BIDS name: parts must be key-value, each key once"
                )
            elif given.get("sub") != name:
                found.fail(
                    subject, f"'{entry.name}' lies in the folder of 'sub-{name}' but names another subject"
                )
            else:
                found.images.append(_image(subject, given, entry.path))


def _image(subject: str, given: Mapping[str, str], path: str) -> Row:
    labels = {key: safe_label(value) for key, value in given.items()}
    return {
        "scan": "_".join(f"{key}-{value}" for key, value in labels.items()),
        "subject": subject,
        "session": labels.get("ses"),
        "run": labels.get("run"),
        **{key: value for key, value in labels.items() if key != "run" and key not in _OWN},
        "path": path,
    }


def _matches(given: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        options = value if isinstance(value, (list, tuple, set)) else [value]
        if not any(_same(given.get(key), option, key) for option in options):
            return False
    return True


def _same(value: str | None, option: Any, key: str) -> bool:
    if value is None or option is None:
        return value is option
    if isinstance(option, int):
        return value.isascii() and value.isdigit() and int(value) == option
    return value == str(option).removeprefix(f"{key}-")


def _unique(found: _Found) -> list[Row]:
    """Images whose entities are theirs alone; of those that share them none is taken, and a row says so."""
    groups: dict[frozenset[str], list[Row]] = {}
    for row in found.images:
        groups.setdefault(frozenset(row["scan"].split("_")), []).append(row)
    for rows in groups.values():
        if len(rows) > 1:
            names = " and ".join(sorted(os.path.basename(row["path"]) for row in rows))
            error = f"duplicate: {names} are the same scan by name; keep one of them"
            found.fail(rows[0]["subject"], error, rows[0]["scan"])
    return [rows[0] for rows in groups.values() if len(rows) == 1]


def _frames(image: Row, found: _Found) -> Iterator[Row]:
    """The image itself, or one row a volume of a 4D file, numbered by run."""
    from senmei.io.nifti import read_header

    try:
        count = read_header(image["path"]).frames
    except DataError as error:
        found.fail(image["subject"], error, image["scan"])
        return
    if count == 1:
        yield {**image, "frame": None}
        return
    width = len(str(count))
    for frame in range(count):
        number = f"{frame + 1:0{width}d}"
        if image["run"] is None:
            yield {**image, "scan": f"{image['scan']}_run-{number}", "run": number, "frame": frame}
        else:
            run = f"{image['run']}f{number}"
            parts = [f"run-{run}" if p.startswith("run-") else p for p in image["scan"].split("_")]
            yield {**image, "scan": "_".join(parts), "run": run, "frame": frame}


def _number(images: list[Row]) -> None:
    """Sort by subject, session and run (2 before 10) and count the images of each subject."""

    def natural(text: object) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", str(text or ""))
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    images.sort(key=lambda r: (r["subject"], natural(r["session"]), natural(r["run"]), natural(r["scan"])))
    counts: Counter[str] = Counter()
    for row in images:
        counts[row["subject"]] += 1
        row["repeat"] = counts[row["subject"]]


def _said(wanted: Mapping[str, Any]) -> str:
    return " with " + ", ".join(f"{k}: {v}" for k, v in wanted.items()) if wanted else ""


def _nothing(root: Path, suffix: str, wanted: Mapping[str, Any], found: _Found) -> None:
    """Say what the dataset holds instead of what was asked for."""
    what, where = f"No {suffix} image{_said(wanted)}", root
    if not found.suffixes:
        subjects = {row["subject"] for row in found.status}
        why = "its subjects hold no .nii or .nii.gz file" if subjects else "it has no folder named sub-*"
        if links := [row["error"] for row in found.status if row["status"] == "failed"]:
            why += f"; {links[0]}"
        fix = "give the top folder of a BIDS dataset (the one that holds sub-01, sub-02, ...)"
        raise DataError(what, where=where, why=why, fix=fix)
    if suffix not in found.suffixes:
        there = ", ".join(f"{name} ({count})" for name, count in sorted(found.suffixes.items()))
        hint = nearest(suffix, found.suffixes)
        raise DataError(what, where=where, why=f"its suffixes are: {there}", fix=f"set suffix: {hint}")
    hints = []
    for key, value in wanted.items():
        if key not in found.values:
            hints.append(f"no file says '{key}': {nearest(key, found.values)}")
            continue
        for option in value if isinstance(value, (list, tuple, set)) else [value]:
            if not any(_same(v, option, key) for v in found.values[key]):
                hints.append(f"{key} '{option}': {nearest(str(option), found.values[key])}")
    there = "; ".join(f"{k}: {_few(found.values[k])}" for k in sorted(found.values) if k != "sub")
    failed = [row["error"] for row in found.status if row["status"] == "failed"]
    why = f"its {found.suffixes[suffix]} {suffix} files have {there or 'no entity but sub'}"
    fix = "; ".join(hints) or (failed[0] if failed else "no file has all of these at once: ask for fewer")
    raise DataError(what, where=where, why=why, fix=fix)


def _few(values: Iterable[str], limit: int = 12) -> str:
    names = sorted(values)
    return ", ".join(names[:limit]) + (f", ... ({len(names)})" if len(names) > limit else "")
