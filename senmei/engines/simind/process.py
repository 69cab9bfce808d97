"""SIMIND as a process: started in its work folder, ended in time, and judged by what it said and left behind.

Its exit status is 0 on many fatal errors. A run counts only if it ended in time with status 0, said nothing on either
stream that is known to mean failure, and left every file that it should, whole and written after it was started.
"""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from senmei.core.errors import EngineError, StorageError, storage_error
from senmei.engines.simind.installation import end_group

STREAMS = ("stdout.log", "stderr.log")
_STARTED = "started"  # its time is that of the disk that the outputs lie on
_FATAL = re.compile(
    r"simind\s+error|={2,}\s*error|no\s+input\s+file\s+found|forrtl:|severe\s*\(\d+\)|runtime\s+error"
    r"|segmentation\s+fault|end[\s-]+of[\s-]+file\s+during\s+read",
    re.IGNORECASE,
)
_FULL = re.compile(r"no space left|disk quota exceeded", re.IGNORECASE)
_COMMENT = re.compile(r"other\s+information", re.IGNORECASE)
_RULE = re.compile(r"^\s*[-=]{8,}\s*$")
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_TOLD = 3  # messages that an error repeats
_LINE = 4096


def run_process(words: Sequence[str], folder: Path, environment: Mapping[str, str], minutes: float) -> float:
    """Run a command in a folder, its streams going to stdout.log and stderr.log there; returns the seconds it took.

    After `minutes`, and when this process is interrupted, the command is killed with all its children; on Linux it does
    not outlive this process even if that is killed. Raises EngineError if it cannot be started, takes too long, or ends
    with a status other than 0.
    """
    begun = time.monotonic()
    try:
        (folder / _STARTED).write_bytes(b"")
        with open(folder / STREAMS[0], "wb") as out, open(folder / STREAMS[1], "wb") as err:
            process = subprocess.Popen(
                list(words),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
    except OSError as error:
        why = error.strerror or type(error).__name__
        told = storage_error(error, folder) if error.filename != words[0] else None
        raise told or _failed("SIMIND cannot be started", folder, why, "check SIMIND_BIN") from error
    try:
        status = process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        raise _failed(
            "SIMIND did not finish",
            folder,
            f"it ran for more than {minutes:g} minutes and was ended",
            "raise simind.minutes, or lower simind.histories and average more runs",
        ) from None
    finally:
        end_group(process)
    refuse_messages(folder)
    if status:
        said = "; ".join(_last_lines(folder)) or "it gave no reason"
        cause = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise _failed("SIMIND failed", folder, f"{cause}: {said}", "see its log")
    return time.monotonic() - begun


def _die_with_parent() -> None:
    """For the command before it starts: the kernel kills it when this process is gone, for whatever reason."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def messages(lines: Iterable[str]) -> list[str]:
    """The lines that mean failure. What follows OTHER INFORMATION, up to the next rule, is the user's own comment."""
    found: list[str] = []
    comment = False
    for raw in lines:
        line = raw.replace("\0", "").strip()
        if _RULE.match(line):
            comment = False
        elif _COMMENT.search(line):
            comment = True
        elif not comment and (_FATAL.search(line) or _FULL.search(line)):
            found.append(line)
    return found


def refuse_messages(folder: Path) -> None:
    """Raise EngineError if SIMIND said on either stream that it failed; StorageError if the disk was full."""
    found: list[str] = []
    for name in STREAMS:
        with open(folder / name, encoding="latin-1", errors="replace") as stream:
            found += messages(iter(partial(stream.readline, _LINE), ""))
    if not found:
        return
    if any(map(_FULL.search, found)):
        raise StorageError(
            "Cannot write a file",
            where=folder,
            why="the disk is full (so SIMIND says)",
            fix="free some space, or choose another output folder; then run the same command again",
        )
    told = "; ".join(_clean(line) for line in found[:_TOLD])
    raise _failed("SIMIND failed", folder, f"it said: {told}", "see its manual for the message")


def refuse_outputs(folder: Path, sizes: Mapping[str, int | None]) -> None:
    """Raise EngineError unless each file is there, newer than the start, and of its size (None: of any above 0)."""
    started = (folder / _STARTED).stat().st_mtime_ns
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            others = sorted(p.name for p in folder.iterdir() if p.suffix == path.suffix)[:4]
            hint = f"; there are {', '.join(others)}" if others else ""
            raise _failed("SIMIND left no output", folder, f"{name} is missing{hint}", "see its log")
        facts = path.stat()
        if facts.st_mtime_ns < started:
            raise _failed("SIMIND left no output", folder, f"{name} is of an earlier run", "see its log")
        if size is None and facts.st_size == 0:
            raise _failed("SIMIND's output is not whole", folder, f"{name} is empty", "see its log")
        if size is not None and facts.st_size != size:
            why = f"{name} has {facts.st_size} bytes of {size}"
            raise _failed(
                "SIMIND's output is not whole", folder, why, "see whether the disk is full, and its log"
            )


def _last_lines(folder: Path) -> list[str]:
    lines: list[str] = []
    for name in reversed(STREAMS):
        with open(folder / name, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _LINE))
            text = stream.read().decode("latin-1")
        lines += [_clean(line) for line in text.splitlines() if line.strip("\0 \t")][-_TOLD:]
    return lines[:_TOLD]


def _clean(line: str) -> str:
    """A line for a message: printable, short, without paths of this machine."""
    text = "".join(c if c.isprintable() else " " for c in line.replace("\0", ""))
    return re.sub(r"(?:/[\w.+-]+){2,}/?", "(path)", text).strip()[:160]


def _failed(what: str, folder: Path, why: str, fix: str) -> EngineError:
    return EngineError(what, where=f"SIMIND in {folder.name}", why=why, fix=fix)
