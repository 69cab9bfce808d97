"""A folder of files that are handed on, and their checksums, by which whoever gets it can tell that it is whole.

`SHA256SUMS` lists every other file, one `<hash>  <place>` a line, as `sha256sum -c SHA256SUMS` reads it. It is written
last, so that a folder without it is not whole. Places are names below the folder; what could lead out of it (`..`, an
absolute path, a link) is refused, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError
from senmei.io.atomic import renames_last_later, sha256, write_bytes
from senmei.io.roles import load_role, save_role

SUMS = "SHA256SUMS"
_UNFINISHED = ".unfinished"  # there while a folder is written
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_PLACE = re.compile(rf"({_PART}/){{0,7}}(\.bidsignore|{_PART})")
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.{1,2000})")
_LARGEST = 64 << 20  # bytes of a table or a list of checksums
_SUFFIXES = (".nii.gz", ".json", ".h5")


class FolderWriter:
    """Writes files below a new folder and remembers their hashes; an earlier one of the same name is replaced.

    Equal contents give equal bytes, and `close` writes the list of checksums sorted by place.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.sums: dict[str, str] = {}
        if self.root.is_symlink() or (self.root.exists() and not self.root.is_dir()):
            why, fix = "it is a link or a file", "give the name of a folder that is not there yet"
            raise DataError("Cannot write a dataset", where=self.root, why=why, fix=fix)
        ours = any((self.root / name).exists() for name in (_UNFINISHED, SUMS))
        if self.root.exists() and any(self.root.iterdir()) and not ours:
            why, fix = (
                "the folder holds something else",
                "give an empty folder, or a name that is not there yet",
            )
            raise DataError("Cannot write a dataset", where=self.root, why=why, fix=fix)
        shutil.rmtree(self.root, ignore_errors=True)
        write_bytes(self.root / _UNFINISHED, b"")

    def put(self, place: str, content: bytes | str) -> None:
        """A file of bytes, or of text as UTF-8. Raises ValueError for a place that is none, or is taken."""
        content = content.encode() if isinstance(content, str) else content
        with renames_last_later():
            write_bytes(self.root / self._new(place), content)
        self.sums[place] = hashlib.sha256(content).hexdigest()

    def put_role(self, place: str, value: Any) -> None:
        """A role's value as `senmei.io.roles` writes it; `place` ends as its kind does (.nii.gz, .json, .h5)."""
        suffix = next((s for s in _SUFFIXES if place.endswith(s)), "")
        stem = self.root / self._new(place).removesuffix(suffix)
        with renames_last_later():
            written = save_role(stem, value)
        if written.name != Path(place).name:
            raise ValueError(f"a {type(value).__name__} is not written as {place}")
        self.sums[place] = sha256(written)

    def drop(self, places: Mapping[str, Any] | list[str]) -> None:
        """Take files back, as of a pair that failed half-way."""
        for place in places:
            self.sums.pop(place, None)
            (self.root / place).unlink(missing_ok=True)

    def close(self) -> None:
        """The list of checksums: from now on the folder is whole."""
        lines = [f"{digest}  {place}\n" for place, digest in sorted(self.sums.items())]
        write_bytes(self.root / SUMS, "".join(lines).encode())
        (self.root / _UNFINISHED).unlink()

    def _new(self, place: str) -> str:
        if not _PLACE.fullmatch(place) or place in self.sums or place == SUMS:
            raise ValueError(f"{place!r} is no place of a new file")
        return place


def read_sums(root: Path | str) -> dict[str, str]:
    """place -> SHA-256 of a folder's list. Raises DataError where there is none, or a line leads out of the folder."""
    path = Path(root) / SUMS
    content = _plain_file(path, "the folder was not written to its end, or not as a dataset").decode(
        "utf-8", "replace"
    )
    found: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or not _PLACE.fullmatch(match[2]) or match[2] in found:
            why = f"line {number} is no checksum and place below the folder: {line[:120]!r}"
            raise DataError(
                "Cannot use this list of checksums", where=path, why=why, fix="get the dataset again"
            )
        found[match[2]] = match[1]
    return found


def proven(root: Path | str, place: str, sums: Mapping[str, str]) -> Path:
    """The file at a place, after its kind, its way there and its hash have been looked at.

    Raises DataError for a place that leads out of the folder, that `sums` does not list, for a link on the way, and for
    a file that is missing or has changed.
    """
    if not isinstance(place, str) or not _PLACE.fullmatch(place):
        raise _refused(place, "it leads out of the dataset, or is no plain name below it")
    if place not in sums:
        raise _refused(place, f"{SUMS} does not list it")
    path = Path(root)
    for part in place.split("/"):
        path = path / part
        if path.is_symlink():
            raise _refused(place, "it is a link, or lies behind one")
    if not path.exists():
        raise _refused(place, "it is missing")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _refused(place, "it is not a file")
    if sha256(path) != sums[place]:
        raise _refused(place, f"it has changed since it was written: its SHA-256 is not that of {SUMS}")
    return path


def proven_role(root: Path | str, place: str, sums: Mapping[str, str]) -> Any:
    """The value of a role at a place. Raises as `proven`, and as the readers of NIfTI and HDF5 do."""
    return load_role(proven(root, place, sums), expected=sums[place])


def proven_bytes(root: Path | str, place: str, sums: Mapping[str, str]) -> bytes:
    """The content of a small file (a table, a sidecar). Raises as `proven`."""
    return _plain_file(proven(root, place, sums), "it cannot be read")


def _plain_file(path: Path, absent: str) -> bytes:
    what, fix = "Cannot use this dataset", "get the dataset again"
    if path.is_symlink() or not path.is_file():
        raise DataError(what, where=path, why=absent, fix=fix)
    if path.stat().st_size > _LARGEST:
        raise DataError(what, where=path, why="it is too large for a table", fix=fix)
    return path.read_bytes()


def _refused(place: object, why: str) -> DataError:
    return DataError(
        "Cannot use a file of this dataset", where=repr(place)[:200], why=why, fix="get the dataset again"
    )
