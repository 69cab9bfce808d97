"""One writer at a time: jobs that outlived the Snakemake that started them are seen, not run against."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from senmei.core.errors import SenmeiError, storage_error

_SHOWN = 5


class StillRunning(SenmeiError):
    """Something else is writing what this job or run would write."""


def refuse_orphans(folder: Path) -> None:
    """Raise StillRunning when Slurm still holds workflow jobs that were submitted from `folder`.

    A Snakemake that is killed leaves its jobs in the queue; a second one would submit them again. Does nothing where
    there is no `squeue`, or where it does not answer.
    """
    squeue = shutil.which("squeue")
    if squeue is None:
        return
    call = [squeue, "--me", "--noheader", "--format=%i\t%T\t%Z\t%k"]
    try:
        text = subprocess.run(call, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return
    jobs = [line.split("\t", 3) for line in text.splitlines() if line.count("\t") >= 3]
    ours = [
        (number, state, comment)
        for number, state, place, comment in jobs
        if comment.startswith("rule_") and Path(place).resolve() == folder.resolve()
    ]
    if not ours:
        return
    shown = ", ".join(f"{number} {state.lower()} ({comment})" for number, state, comment in ours[:_SHOWN])
    more = f" and {len(ours) - _SHOWN} more" if len(ours) > _SHOWN else ""
    numbers = " ".join(number for number, _, _ in ours)
    raise StillRunning(
        "Jobs of an earlier run of this folder are still in Slurm's queue",
        where=f"{shown}{more}",
        why="another Snakemake works here, or one was killed and its jobs go on; a second would write the same files",
        fix=f"wait until `squeue --me` no longer shows them (their results count), or `scancel {numbers}`; "
        "then `snakemake --unlock` with the same options, and start again",
    )


def refuse_unwritable(folder: Path) -> None:
    """Raise StorageError when nothing can be written to `folder`, or to the nearest folder above it that is there."""
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if os.access(place, os.W_OK | os.X_OK):
        return
    number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
    error = OSError(number, os.strerror(number))
    raise storage_error(error, place) or error


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold a lock file while the body runs. Raises StillRunning when a living process holds it, saying which.

    The lock is the kernel's (flock): it ends with its process, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            raise StillRunning(
                "Another process is doing this very job",
                where=holder,
                why="the Snakemake that started it was killed, or a second one runs on this folder",
                fix="wait for it to end (its results count) or end it, then run again",
            ) from None
        except OSError:  # a file system without locks: as without this precaution
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
