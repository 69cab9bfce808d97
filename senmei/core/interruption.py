"""Being told to stop: a time limit that draws near, a cancelled job, Ctrl-C. Long work looks, saves and leaves.

Slurm can send a signal some minutes before a job's time limit (`--signal`). It reaches every process of the job's step,
Snakemake's own included, so it must be one that others ignore: SIGURG. Whoever saves on it may ask Slurm to put the
job back into the queue. SIGTERM comes with `scancel` and at the limit itself: save, but do not come back unasked.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from senmei.core.errors import SenmeiError

WARNING = signal.SIGURG
_STOP = (WARNING, signal.SIGTERM)


class Interrupted(SenmeiError):
    """Work left before its end, with what is done kept."""


class Interruption:
    """Whether this process has been told to stop, and by what. `requested()` is cheap: ask it every step."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def requested(self) -> bool:
        """True once a signal has come."""
        return self.signal is not None

    @property
    def near_limit(self) -> bool:
        """Whether it was the warning before a time limit, after which coming back makes sense."""
        return self.signal == WARNING

    @contextmanager
    def watch(self) -> Iterator[Interruption]:
        """Notice the signals while the body runs; afterwards they mean what they meant before."""
        before = {number: signal.signal(number, self._notice) for number in _STOP}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _notice(self, number: int, frame: object) -> None:
        self.signal = number


@contextmanager
def leave_when_told() -> Iterator[None]:
    """SIGTERM leaves the body by an exception, as Ctrl-C does, so that programs it waits for are ended, too."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def requeue() -> bool:
    """Ask Slurm to put this process's job back into its queue; False where there is no job, or Slurm refuses."""
    job, scontrol = os.environ.get("SLURM_JOB_ID", ""), shutil.which("scontrol")
    if not job.isdigit() or scontrol is None:
        return False
    done = subprocess.run([scontrol, "requeue", job], capture_output=True, timeout=60, check=False)
    return done.returncode == 0
