"""One error for users: what happened, where, why, and how to fix it."""

from __future__ import annotations

import difflib
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


class ConfigError(SenmeiError):
    """A configuration that cannot be run as it is."""


class EngineError(SenmeiError):
    """A program we drive that is absent or failed."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that suggests the valid name nearest to `name`, or lists them all."""
    names = sorted(map(str, valid))
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + (", ".join(names) if names else "(none)")
