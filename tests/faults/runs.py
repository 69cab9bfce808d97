"""Runs of the workflow that can be watched, killed and compared."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.faults.slow import CONFIG as SLOW
from tests.workflow.running import ROOT

VOLATILE = ("logs", "benchmarks")
SLOWLY = {"run": "toy", "device": "cpu", "threads": 1, "studies": {"slow": SLOW}}


def command(folder: Path, *arguments: str, config: dict[str, Any] | None = None) -> list[str]:
    """A call of the workflow in `folder`, with the configuration that lies there or is put there."""
    if config is not None:
        (folder / "test.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    call = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(folder)]
    return [*call, "--configfile", str(folder / "test.yaml"), *arguments]


class Running:
    """A started workflow, its output in a file."""

    def __init__(self, folder: Path, *arguments: str, **popen: Any) -> None:
        self.output = folder / "output.txt"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                command(folder, *arguments), cwd=ROOT, stdout=out, stderr=out, env=environment, **popen
            )

    def scripts(self) -> list[tuple[int, str]]:
        """(pid, when it started) of every living process below the main one."""
        found: list[tuple[int, str]] = []
        todo = [self.process.pid]
        while todo:
            for task in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
                with suppress(OSError):
                    children = [int(child) for child in task.read_text().split()]
                    todo += children
                    found += [(child, began) for child in children if (began := _began(child))]
        return found

    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def wait(self, seconds: float = 300) -> int:
        """Its exit status."""
        return self.process.wait(timeout=seconds)

    def text(self) -> str:
        """What it printed."""
        return self.output.read_text(errors="replace")


def _began(pid: int) -> str:
    """When a living process started, in clock ticks; '' for one that is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def alive(processes: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those that still run; another process that was given the same number is not one of them."""
    return [(pid, began) for pid, began in processes if _began(pid) == began]


def kill(processes: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """SIGKILL to those that still run; which they were."""
    killed = []
    for pid, began in alive(processes):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed.append((pid, began))
    return killed


def wait_for(processes: list[tuple[int, str]], seconds: float = 120) -> None:
    """Until none of them runs any more."""
    end = time.monotonic() + seconds
    while left := alive(processes):
        assert time.monotonic() < end, f"processes {left} do not end"
        time.sleep(0.02)


def made(folder: Path) -> dict[str, str]:
    """Files of the run `toy` in a folder and their SHA-256, hidden ones too, without what is volatile."""
    results = folder / "results" / "toy"
    files = [p for p in results.rglob("*") if p.is_file() and p.relative_to(results).parts[0] not in VOLATILE]
    return {str(p.relative_to(results)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def whole(name: str, content: bytes) -> bool:
    """Whether a file's content is complete, as its kind can tell."""
    try:
        if name.endswith(".nii.gz"):
            return len(gzip.decompress(content)) > 352
        if name.endswith(".json"):
            return isinstance(json.loads(content), dict)
        if name.endswith(".tsv"):
            lines = content.decode().splitlines()
            return content.endswith(b"\n") and len({line.count("\t") for line in lines}) == 1
        if name.endswith(".h5"):
            import h5py

            with h5py.File(io.BytesIO(content)) as file:
                return file["data"][()].size > 0
        if name.endswith(".safetensors"):
            from safetensors.numpy import load

            return len(load(content)) > 0
        if name.endswith(".pt"):
            return hashlib.sha256(content[32:]).digest() == content[:32]
        if name.endswith(".html"):
            return content.rstrip().endswith(b"</html>")
    except (OSError, EOFError, ValueError, KeyError):
        return False
    except Exception as error:  # SafetensorError has no narrower public base
        return "Safetensor" not in type(error).__name__ and _raise(error)
    raise AssertionError(f"a kind of file that nobody expects: {name}")


def _raise(error: Exception) -> bool:
    raise error


class Watch:
    """A thread that reads every visible file of a run as soon as it is there or changes, and tells which was partial.

    final : path below results/toy -> SHA-256 that it must have whenever it is seen. A file that is not among them must
    at least be whole. Hidden files are the workshop: nobody looks at them.
    """

    def __init__(self, folder: Path, final: dict[str, str], pause: float = 0.02) -> None:
        self.results, self.final, self.pause = folder / "results" / "toy", final, pause
        self.bad: list[str] = []
        self.looks = self.files = 0
        self._known: dict[str, tuple[int, int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def _run(self) -> None:
        while not self._stop.wait(self.pause):
            self.look()

    def look(self) -> None:
        """Once over all files that are new or have changed."""
        self.looks += 1
        todo = [self.results]
        while todo:
            with suppress(OSError):  # gone again: deleted by Snakemake before its job runs anew
                for entry in os.scandir(todo.pop()):
                    if entry.is_dir():
                        todo += [] if entry.name in VOLATILE else [Path(entry.path)]
                    elif not entry.name.startswith("."):
                        with suppress(OSError):
                            self._read(entry)

    def _read(self, entry: os.DirEntry[str]) -> None:
        found = os.stat(entry.path)
        facts = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._known.get(entry.path) == facts:
            return
        with open(entry.path, "rb") as file:
            content = file.read()
        self._known[entry.path] = facts
        self.files += 1
        name = str(Path(entry.path).relative_to(self.results))
        wanted = self.final.get(name)
        good = whole(name, content) if wanted is None else hashlib.sha256(content).hexdigest() == wanted
        if not good:
            self.bad.append(f"{name}: {len(content)} bytes")
