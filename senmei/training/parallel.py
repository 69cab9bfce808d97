"""One training by several processes of one node: they share each batch and average the gradients.

The job itself computes nothing. It starts the processes, passes on their log and a signal to stop, and ends all of them
as soon as one fails, so that none waits for the dead. They ignore SIGTERM and Ctrl-C, which reach them too on a cluster
or a terminal: the job alone is told to stop, and tells rank 0, whose word at the end of a step counts for all. When the
job dies, however that happens, they end with it.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from tempfile import TemporaryDirectory
from typing import Any

from senmei.core.errors import SenmeiError
from senmei.core.method import FitContext
from senmei.core.team import Team

LONGEST_WAIT = 3600.0  # seconds that a process waits for the others: rank 0 validates meanwhile
_LOOK = 0.2  # seconds between looks at whether to stop
_GRACE = 3.0  # seconds for others to say why they fail too, once one has
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class TeamFailed(SenmeiError):
    """One of the processes of a training failed, and so all of them ended."""


class Members(Team):
    """Processes of `torch.distributed`. One that a batch has no sample left for computes one that counts nothing."""

    def __init__(self, rank: int, size: int, device: str) -> None:
        self.rank, self.size, self.device = rank, size, device
        self._weight = 1 / size

    def begin(self) -> None:
        self._weight = 1 / self.size

    def mine(self, samples: int) -> range:
        part = range(self.rank, samples, self.size)
        self._weight = len(part) / samples
        return part or range(1)

    def average(self, network: Any) -> None:
        import torch
        from torch import distributed

        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        whole = torch.cat([g.reshape(-1) for g in gradients]).mul_(self._weight)
        distributed.all_reduce(whole)
        for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def losses(self, own: Mapping[str, float]) -> Mapping[str, float]:
        total = self._sum([float(value) * self._weight for value in own.values()])
        return dict(zip(own, total, strict=True))

    def any(self, flag: bool) -> bool:
        return self._sum([float(flag)])[0] > 0

    def agree(self, what: str, value: float) -> None:
        from torch import distributed

        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, struct.pack("d", value))
        if len(set(found)) > 1:
            seen = ", ".join(f"{struct.unpack('d', one)[0]:.9g}" for one in found)
            raise TeamFailed(
                "The processes of a training have come apart",
                where=what,
                why=f"it is {seen} for ranks 0 to {self.size - 1}, and must be the same for all",
                fix="train with `processes: 1`, and report what device and versions this was",
            )

    def _sum(self, values: Sequence[float]) -> list[float]:
        import torch
        from torch import distributed

        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.tolist()


@dataclass(frozen=True)
class _Task:
    """What a process is sent: `work(*arguments, context)`, with a context that it adds its own to."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    context: FitContext
    rank: int
    size: int
    store: str
    longest_wait: float


def fit_together(
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
    context: FitContext,
    processes: int,
    longest_wait: float = LONGEST_WAIT,
) -> Any:
    """What `work(*arguments, context)` returns in rank 0 of so many processes, whose contexts have a `team`.

    work : a function of a module, with arguments that can be pickled; it ends in `senmei.training.loop.train`.
    context : its `device` is `cpu`, or `cuda` for one GPU a process; `threads` are those of each process. Its `log`,
    `history` and `stop` are used as if `work` ran here. longest_wait : seconds until a process that waits for another
    gives up. Raises what rank 0 raises, or TeamFailed when a process dies; none is left behind.
    """
    with TemporaryDirectory(prefix="senmei-team-") as folder:
        members: list[_Member] = []
        try:
            for rank in range(processes):
                device = f"cuda:{rank}" if context.device == "cuda" else context.device
                own = replace(context, device=device, log=_nobody, history=[], stop=_never, team=Team())
                members.append(_Member(rank, context.threads))
                store = f"file://{folder}/store"
                members[-1].send(_Task(work, arguments, own, rank, processes, store, longest_wait))
            return _supervise(members, context)
        finally:
            for member in members:
                member.end()


def _nobody(text: str) -> None:
    """Who hears the log of the others."""


def _never() -> bool:
    return False


class _Member:
    """A process of the team, seen from the job."""

    def __init__(self, rank: int, threads: int) -> None:
        self.rank, self.finished = rank, False
        self.connection, theirs = Pipe()
        environment = {
            **os.environ,
            **dict.fromkeys(_THREADS, str(threads)),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        if sys.platform == "linux":  # one node: they meet there, whatever its name resolves to
            environment["GLOO_SOCKET_IFNAME"] = "lo"
        code = f"from senmei.training.parallel import serve; serve({theirs.fileno()})"
        # Blocked from birth, so that a signal that reaches all of the job's processes ends none that still starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def send(self, message: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died, as `_supervise` will see
            self.connection.send(message)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


def _supervise(members: Sequence[_Member], context: FitContext) -> Any:
    """Pass messages until all have ended; returns rank 0's result or raises the most telling of the failures."""
    alive = {member.connection: member for member in members}
    results: list[Any] = []
    failures: list[tuple[int, SenmeiError]] = []  # how much they tell (less is more), what
    told, last = False, float("inf")
    while not all(member.finished for member in members) and time.monotonic() < last:
        if not told and context.stop():
            told = True
            members[0].send("stop")
        for connection in wait(list(alive), _LOOK):
            assert isinstance(connection, Connection)
            member = alive[connection]
            try:
                kind, value = connection.recv()
            except (EOFError, OSError):
                del alive[connection]
                if not member.finished:
                    member.finished = True
                    failures.append((1, _died(member, len(members))))
                continue
            if kind == "log":
                context.log(value)
                continue
            member.finished = True
            if kind == "failed":
                failures.append(_failed(member, len(members), value[0], value[1], context.log))
            elif member.rank == 0:
                results, context.history[:] = [value[0]], value[1]
        if failures and last == float("inf"):
            last = time.monotonic() + _GRACE
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]
    return results[0]


def _died(member: _Member, size: int) -> SenmeiError:
    code = member.process.wait()
    how = f"signal {-code} ended it" if code < 0 else f"it ended with status {code}"
    return TeamFailed(
        "A process of the training died",
        where=f"process {member.rank + 1} of {size}",
        why=f"{how}; signal 9 is often memory that ran out" if code == -signal.SIGKILL else how,
        fix="start it again, it goes on from its checkpoint; with more memory, or with fewer processes",
    )


def _failed(
    member: _Member, size: int, error: Any, text: str, log: Callable[[str], None]
) -> tuple[int, SenmeiError]:
    """How much a failure tells, and the error to raise. What one says who waited for another tells least."""
    if isinstance(error, SenmeiError):
        return 0, error
    log(f"process {member.rank + 1} of {size} failed\n{text}")
    kind, _, why = error.partition(": ")
    waited = kind.startswith("Dist") or any(w in why for w in ("gloo", "NCCL", "Timed out", "recvValue"))
    return 3 if waited else 2, TeamFailed(
        "A process of the training failed",
        where=f"process {member.rank + 1} of {size}",
        why=(error.splitlines() or ["unknown"])[0][:300],
        fix="see the traceback in the log; `processes: 1` trains without others",
    )


def serve(descriptor: int) -> None:
    """What a started process does: its share of the work, then it tells the job of the outcome."""
    connection = Connection(descriptor)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        task = connection.recv()
    except EOFError:  # the job has died
        return
    stop = threading.Event()
    threading.Thread(target=_listen, args=(connection, stop), daemon=True).start()
    try:
        connection.send(("done", _share(task, connection, stop)))
    except SenmeiError as error:
        connection.send(("failed", (error, "")))
    except Exception as error:
        connection.send(("failed", (f"{type(error).__name__}: {error}", traceback.format_exc())))


def _listen(connection: Connection, stop: threading.Event) -> None:
    """Hear of a wish to stop; leave at once when the job is gone."""
    while True:
        try:
            connection.recv()
        except (EOFError, OSError):
            os._exit(1)
        stop.set()


def _share(task: _Task, connection: Connection, stop: threading.Event) -> tuple[Any, list[dict[str, Any]]]:
    import torch
    from torch import distributed

    device = task.context.device
    torch.set_num_threads(task.context.threads)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=task.store,
        rank=task.rank,
        world_size=task.size,
        timeout=timedelta(seconds=task.longest_wait),
    )
    first = task.rank == 0
    context = replace(
        task.context,
        log=(lambda text: connection.send(("log", text))) if first else _nobody,
        stop=stop.is_set,
        team=Members(task.rank, task.size, device),
    )
    result = task.work(*task.arguments, context)
    distributed.destroy_process_group()
    return (result, context.history) if first else (None, [])
