"""A clone in which the literal commands are typed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.slurm.cluster import Cluster

# Tests look at the queue more often than one should on a real cluster.
OFTEN = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2")
VOLATILE = ("logs", "benchmarks")  # when, where and how long


class Project:
    """A folder with the project's files; what was submitted from it is written down while `wait` looks on."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.seen: dict[str, dict[str, str]] = {}  # job id -> what squeue said last
        self.running: subprocess.Popen | None = None
        self.environment = {
            k: v for k, v in cluster.environment.items() if not k.startswith(("SNAKEMAKE", "PYTHONPATH"))
        }
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.printed = folder / "printed.txt"

    def start(self, *arguments: str) -> None:
        """Type `snakemake <arguments>` and do not wait."""
        self.seen.clear()
        with self.printed.open("w") as out:
            self.running = subprocess.Popen(
                ["snakemake", *arguments],
                cwd=self.folder, env=self.environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def wait(self, seconds: float = 900, until: Callable[[], bool] | None = None) -> int | None:
        """Exit status, or None as soon as `until` holds. Raises AssertionError if time is up."""
        assert self.running is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for job in self.cluster.jobs("-t", "all"):
                self.seen[job["id"]] = job
            if until is not None and until():
                return None
            code = self.running.poll()
            if code is not None:
                assert until is None, f"it ended before the moment that was waited for\n{self.said()}"
                return code
            time.sleep(0.5)
        self.running.kill()
        raise AssertionError(f"not done in {seconds} s\n{self.said()}")

    def type(self, *arguments: str, seconds: float = 900) -> int:
        """Type a command and wait for its exit status."""
        self.start(*arguments)
        code = self.wait(seconds)
        assert code is not None
        return code

    def said(self) -> str:
        """What the last command printed, its end."""
        return self.printed.read_text(encoding="utf-8", errors="replace")[-8000:]

    def send(self, number: signal.Signals) -> None:
        """A signal to the Snakemake that was started, to it alone."""
        assert self.running is not None
        os.kill(self.running.pid, number)

    def job(self, comment: str, state: str = "RUNNING") -> dict[str, str] | None:
        """The newest job of that comment in that state, as last seen."""
        found = [j for j in self.seen.values() if j["comment"] == comment and j["state"] == state]
        return max(found, key=lambda j: int(j["id"])) if found else None

    def made(self) -> dict[str, str]:
        """Files of the run and their checksums, without what is volatile."""
        run = self.folder / "results" / "demo"
        files = sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file())
        return {
            str(p): hashlib.sha256((run / p).read_bytes()).hexdigest()
            for p in files
            if p.parts[0] not in VOLATILE
        }

    def partial(self) -> list[str]:
        """Temporary files left under the run."""
        return [str(p) for p in (self.folder / "results").rglob("*") if p.name.endswith((".tmp", ".part"))]
