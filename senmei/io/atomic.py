"""Files that are either whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from senmei.core.errors import DataError, of_the_disk, storage_error

_later: ContextVar[bool] = ContextVar("renames_last_later", default=False)


@contextmanager
def renames_last_later() -> Iterator[None]:
    """Content written in the body survives a power cut at once, its name from the next write into the same folder on.

    For many files that a table written after them makes count: the disk is waited for once a file, not twice.
    """
    token = _later.set(True)
    try:
        yield
    finally:
        _later.reset(token)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary sibling of `path` to write to; renamed to `path` if the block succeeds, removed if not.

    The sibling is hidden and keeps the suffixes of `path`, for programs that choose the format by the name.
    Its name follows from `path`, so that what a killed process left is written over by the next, not left to gather.
    Parent folders are made. A file that stood at `path` stays as it was until the rename.
    Raises StorageError if the disk is full or the folder cannot be written to, DataError if the block wrote nothing;
    other errors pass through.
    """
    final = Path(path)
    # Short, so that a long name does not grow beyond the file system's 255 bytes.
    suffix = "".join(final.suffixes[-2:])[-32:]
    temporary = final.parent / f".{hashlib.sha256(final.name.encode()).hexdigest()[:16]}.tmp{suffix}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        if not temporary.exists():
            raise DataError(
                "Nothing was written",
                where=final,
                why="the step that should have written this file ended without doing so",
                fix="see the log of this step",
            )
        _fsync(temporary)
        os.replace(temporary, final)
        if not _later.get():
            _fsync(final.parent)
    except OSError as error:
        place = Path(error.filename) if isinstance(error.filename, str) else final
        ours = place.parent == final.parent or place in final.parents
        told = storage_error(error, final)
        if told is None or not (ours or of_the_disk(error)):
            raise
        raise told from error
    finally:
        with suppress(OSError):
            _remove(temporary)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8 with its line ends as they are."""
    write_bytes(path, content.encode("utf-8"))


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits; reads 1 MiB at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
