"""One error for users: what happened, where, why, and how to fix it."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class SenmeiError(Exception):
    """An error a user can act on.

    Users see four lines (`str(error)`); the traceback goes to the job's log.

    what : the thing that could not be done.
    where : the file, subject, scan or configuration key concerned.
    why : the cause, as far as it is known.
    fix : what the user can do about it.
    """

    def __init__(self, what: str, *, where: object, why: str, fix: str) -> None:
        self.what, self.where, self.why, self.fix = what, str(where), why, fix
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  why:   {self.why}\n  fix:   {self.fix}"

    def __reduce__(self):  # so that it survives a process boundary
        return _rebuild, (type(self), self.what, self.where, self.why, self.fix)


def _rebuild(cls: type[SenmeiError], what: str, where: str, why: str, fix: str) -> SenmeiError:
    return cls(what, where=where, why=why, fix=fix)


class DataError(SenmeiError):
    """A file or table that cannot be used as it is."""


class StorageError(DataError):
    """A file that cannot be written: about the disk, so no scan is to blame and none is marked as failed for it."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def storage_error(error: BaseException, where: object) -> StorageError | None:
    """What went wrong while writing `where`, if it is the disk: it is full, or closed to us."""
    if isinstance(error, StorageError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        why = f"the disk is full ({error.strerror}); nothing was left behind"  # type: ignore[attr-defined]
        fix = "free some space, or choose another output folder; then run the same command again"
    elif number in _CLOSED:
        why = f"its folder cannot be written to ({error.strerror})"  # type: ignore[attr-defined]
        fix = "make the folder writable, or choose another output folder; then run the same command again"
    else:
        return None
    return StorageError("Cannot write a file", where=where, why=why, fix=fix)


def of_the_disk(error: BaseException) -> bool:
    """Whether an error says that the disk is full or read-only, whatever was being done: nobody can go on."""
    disk = (*_FULL, errno.EROFS)
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in disk)


class ConfigError(SenmeiError):
    """A configuration that cannot be run as it is."""


class EngineError(SenmeiError):
    """A program we drive that is absent or failed."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that suggests the valid name nearest to `name`, or lists them all."""
    names = sorted(map(str, valid))
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    close.sort(key=lambda found: sorted(found) != sorted(str(name)))  # letters that changed places come first
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + (", ".join(names) if names else "(none)")
