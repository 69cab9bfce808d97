"""What a script needs around its one call: the log, clear errors, threads, volatile provenance."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from senmei.core.errors import SenmeiError, StorageError, of_the_disk, storage_error
from senmei.core.interruption import Interrupted, Interruption, requeue
from senmei.core.running import sole_writer


class Job:
    """A Snakemake job as a script sees it: paths, parameters, a line-by-line log."""

    def __init__(self, snakemake: Any) -> None:
        self.input, self.output, self.params = snakemake.input, snakemake.output, snakemake.params
        self.wildcards, self.threads, self.config = (
            snakemake.wildcards,
            int(snakemake.threads),
            snakemake.config,
        )
        self.rule = snakemake.rule
        self.name = " ".join([self.rule, *map(str, snakemake.wildcards)])
        self.used: dict[str, Any] = {}  # volatile facts to be recorded beside the log
        self.interruption = Interruption()
        self._stack = ExitStack()
        self._logger = logging.getLogger("senmei")

    def log(self, text: str) -> None:
        """A line for the log and, first line only, for the terminal."""
        self._logger.info(text)
        print(f"[{self.name}] {text.splitlines()[0]}", file=sys.stderr, flush=True)

    def settings(self, name: str) -> Any:
        """A parameter that the rule passed as canonical JSON."""
        return json.loads(self.params[name])

    def told_to_stop(self) -> Callable[[], bool]:
        """From now on signals to stop are noticed, not obeyed at once: a function that says whether one has come."""
        self._stack.enter_context(self.interruption.watch())
        return self.interruption.requested

    def device(self) -> str:
        """The torch device that `device:` in the configuration leads to here; told in the log, recorded."""
        from senmei.core.devices import resolve_device

        device = resolve_device(self.config.get("device", "prefer"))
        self.used["device"] = device
        self._logger.info("device: %s (policy: %s)", device, self.config.get("device", "prefer"))
        return device


@contextmanager
def job(snakemake: Any) -> Iterator[Job]:
    """Run a script's body: log to the rule's file, keep to the threads granted, turn errors into four lines.

    Beside the log, `<log>.json` keeps what is volatile (when, where, how long), so that outputs do not, and
    `<log>.lock` is held while the body runs: a job left behind by a killed Snakemake is not run against.
    """
    log = Path(str(snakemake.log[0]))
    _limit_threads(int(snakemake.threads))
    this = Job(snakemake)
    try:
        with _writable(log):
            _open_log(log)
        with this._stack, _volatile(log, this), _locked(log):
            yield this
    except Interrupted as error:
        back = this.interruption.near_limit and requeue()
        logging.getLogger("senmei").info("%s%s", error, "\nput back into Slurm's queue" if back else "")
        print(f"\n{error}\n  log:   {log}\n", file=sys.stderr, flush=True)
        sys.exit(1)
    except SenmeiError as error:
        logging.getLogger("senmei").exception("failed")
        print(f"\n{error}\n  log:   {log}\n", file=sys.stderr, flush=True)
        sys.exit(1)
    except Exception as error:
        logging.getLogger("senmei").exception("failed")
        if not of_the_disk(error):
            raise
        where = getattr(error, "filename", None) or log
        print(f"\n{storage_error(error, where)}\n  log:   {log}\n", file=sys.stderr, flush=True)
        sys.exit(1)


def _open_log(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=log, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a log that cannot grow must not bury the error that says why


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Errors of the disk become StorageError, naming `path`."""
    try:
        yield
    except OSError as error:
        told = storage_error(error, path)
        raise (told or error) from error


@contextmanager
def _locked(log: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with _writable(log):
            stack.enter_context(sole_writer(log.with_name(log.name + ".lock")))
        yield


@contextmanager
def _volatile(log: Path, this: Job) -> Iterator[None]:
    """Beside the log: when, where and for how long the body ran. What the body raises matters more than this file."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()

    def write() -> None:
        facts = {
            "started": started,
            "seconds": round(time.monotonic() - clock, 2),
            "host": platform.node(),
            "threads": this.threads,
            **this.used,
        }
        with _writable(log):
            path = log.with_name(log.name + ".json")
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    try:
        yield
    except BaseException:
        with suppress(StorageError):
            write()
        raise
    write()


def _limit_threads(threads: int) -> None:
    """A job uses exactly the threads it was given: for libraries loaded later by environment, others by call."""
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ):
        os.environ[name] = str(threads)
    os.environ.setdefault("ANTS_RANDOM_SEED", "1")
    # Threads that wait must not hold a core: on a busy machine that made two threads many times slower than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "numpy" in sys.modules:
        try:
            from threadpoolctl import threadpool_limits
        except (
            ImportError
        ):  # an environment without scikit-learn: BLAS read the variables above when it loaded
            return
        threadpool_limits(threads)
