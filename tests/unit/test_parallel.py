"""Several processes train to what one trains to, all stop together, and none outlives the others or their job."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from senmei.core.errors import DataError, SenmeiError
from senmei.core.interruption import Interrupted
from senmei.core.method import FitContext
from senmei.core.team import Team
from senmei.training.loop import Player, Schedule, train
from senmei.training.parallel import Members, TeamFailed, fit_together
from senmei.training.patches import PatchSource, Sampling

STEPS = 8
NETWORK = {"channels": 4, "depth": 2, "batch": 3, "patch": 16, "precision": "float32"}  # shares of 2 and 1
LEARNED = {"unet3d": {}, "gan3d": {"warmup": 0.5, "discriminator": 4}, "unet3d_n2n": {}}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fit_networks(names, context):
    """Each of the methods on toy scans, without a checkpoint: {method/weight: array}."""
    import test_n2n_networks
    import test_networks

    from senmei.stages.train import make_method

    found = {}
    for name in names:
        method = make_method(name, {**NETWORK, "steps": STEPS, **LEARNED[name]}, name)
        if name == "unet3d_n2n":
            scans, judged = test_n2n_networks.pairs((0, 1)), test_n2n_networks.pairs([50])
        else:
            scans, judged = ([test_networks.example(0.08, seed)] for seed in (1, 2))
        weights = method.fit(scans, judged, context)
        found |= {f"{name}/{key}": value for key, value in weights.items()}
    return found


class Tiny(nn.Module):
    """Three convolutions around a skip, the middle one Muon's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1), nn.ReLU(),
            nn.Conv3d(4, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, x, level):
        return x - self.layers(torch.cat([x, level], 1))


def fit_tiny(trouble, context, steps=STEPS, stop_after=None):
    """Weights of a tiny network. trouble : (rank or 'all', step, what happens to it)."""
    torch.manual_seed(0)
    x, y, z = np.indices((24, 24, 24))
    ball = ((x - 12) ** 2 + (y - 12) ** 2 + (z - 12) ** 2 < 80).astype(np.float32)
    source = PatchSource([ball], Sampling(patch=12, batch=3, noise=(0.02, 0.1)), 0)
    schedule = Schedule(steps, 1e-2, validations=4, save_seconds=0.0)
    player = Player(Tiny(), schedule)

    def update(t):
        if trouble and trouble[0] in (context.team.rank, "all") and trouble[1] == t:
            trouble[2](context)
        data = source.batch(t, context.device, context.team)
        loss = (player.network(data.noisy, data.level) - data.clean).square().mean()
        player.descend(loss)
        return {"loss": float(loss.detach())}

    def judge(network):
        data = source.batch(10**6)
        with torch.no_grad():
            return -10 * float((network(data.noisy, data.level) - data.clean).square().mean().log10())

    kept = train({"network": player}, update, judge, schedule, context, "key", True, stop_after)
    return {k: v.numpy().copy() for k, v in kept.state_dict().items()}


def killed(context):
    os.kill(os.getpid(), signal.SIGKILL)


def refused(context):
    raise DataError("No such scan", where="scan 7", why="it is a test", fix="none")


def broken(context):
    raise ZeroDivisionError("by a test")


def stuck(context):
    time.sleep(60)


def told(context):
    """Every signal that a cluster, a terminal or `scancel` sends to all processes at once."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGURG):
        os.kill(os.getpid(), number)


def waiting(context):
    """Until the job says stop."""
    context.log("waiting")
    while not context.stop():
        time.sleep(0.01)


def apart(context):
    """From now on this process's gradients are a little more than those of the others."""
    average = context.team.average

    def more(network):
        average(network)
        for parameter in network.parameters():
            parameter.grad.mul_(1.001)

    context.team.average = more


def run(processes, trouble=None, checkpoint=None, log=None, stop=lambda: False, wait=120.0, work=fit_tiny):
    context = FitContext(seed=1, checkpoint=checkpoint, log=(log or []).append, stop=stop)
    if log is not None:
        context.log = log.append
    if processes == 1:
        return work(trouble, context), context
    return fit_together(work, (trouble,), context, processes, wait), context


def assert_same(one, other, tolerance=1e-5):
    """The distance of all weights together, relative to their size, is at most `tolerance`."""
    assert one.keys() == other.keys()
    flat, there = (np.concatenate([found[key].ravel() for key in one]) for found in (one, other))
    distance = np.linalg.norm(there - flat) / np.linalg.norm(flat)
    assert distance <= tolerance, distance


@pytest.fixture(scope="module")
def alone():
    return run(1)


def test_two_processes_train_networks_to_the_weights_of_one():
    lines: list[str] = []
    (one, told_one), (two, told_two) = (
        run(n, list(LEARNED), log=lines if n == 2 else [], work=fit_networks) for n in (1, 2)
    )
    for name in LEARNED:  # while gradients are near zero, AdamW makes much of how they were rounded
        both = ({k: v for k, v in found.items() if k.startswith(f"{name}/")} for found in (one, two))
        assert_same(*both, tolerance=3e-4)
    assert len(told_one.history) == len(told_two.history) > 3 * STEPS // 2
    for row, other in zip(told_one.history, told_two.history, strict=True):
        assert row.keys() == other.keys()
        assert row["val_psnr"] == pytest.approx(
            other["val_psnr"], abs=0.06
        )  # a noisy risk is rounded to 0.05 dB
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert any(row.get("discriminator", 0) > 0 for row in told_two.history)
    assert sum("step 8 of 8" in line for line in lines) == 3  # rank 0 alone tells the log


def test_processes_without_a_sample_and_signals_to_all_change_nothing(alone):
    """The batch has three samples; of a signal the job must hear, not its processes."""
    four, _ = run(4, ("all", 3, told))
    assert_same(alone[0], four)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 3)])
def test_stopped_training_goes_on_with_another_number_of_processes(alone, tmp_path, first, then):
    checkpoint = tmp_path / "checkpoint.pt"
    context = FitContext(seed=1, checkpoint=checkpoint, log=lambda text: None)
    if first == 1:
        fit_tiny(None, context, STEPS, 3)
    else:
        with pytest.raises(TeamFailed):
            run(first, (1, 4, killed), checkpoint)
    lines: list[str] = []
    resumed, after = run(then, None, checkpoint, lines)
    assert any("resuming after step" in line for line in lines)
    assert_same(alone[0], resumed)
    assert [row["step"] for row in after.history] == [2, 4, 6, 8]
    assert after.history[-1]["val_psnr"] == pytest.approx(alone[1].history[-1]["val_psnr"], abs=0.01)


def step_of(checkpoint):
    """The step that a whole checkpoint was written after: its SHA-256, then what torch saved."""
    content = checkpoint.read_bytes()
    assert hashlib.sha256(content[32:]).digest() == content[:32]
    return torch.load(io.BytesIO(content[32:]), weights_only=True)["step"]


def test_told_to_stop_all_leave_after_the_same_step_and_resume(alone, tmp_path):
    checkpoint, lines = tmp_path / "checkpoint.pt", []
    with pytest.raises(Interrupted) as caught:
        run(2, (0, 4, waiting), checkpoint, lines, stop=lambda: "waiting" in lines)
    assert "after step 5 of 8" in str(caught.value)
    assert step_of(checkpoint) == 5
    assert_same(alone[0], run(2, None, checkpoint)[0])


@pytest.mark.parametrize(
    ("rank", "trouble", "expected", "words"),
    [
        (0, killed, TeamFailed, ("process 1 of 2", "signal 9")),
        (1, refused, DataError, ("No such scan", "scan 7")),
        (1, broken, TeamFailed, ("process 2 of 2", "ZeroDivisionError: by a test")),
    ],
)
def test_one_failure_ends_all_and_is_the_one_told(tmp_path, rank, trouble, expected, words):
    lines: list[str] = []
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(SenmeiError) as caught:
        run(2, (rank, 5, trouble), checkpoint, lines)
    assert type(caught.value) is expected
    for word in words:
        assert word in str(caught.value)
    assert step_of(checkpoint) in (4, 5)
    assert not children()
    if trouble is broken:
        assert any("Traceback" in line and "by a test" in line for line in lines)


def test_who_waits_too_long_for_another_gives_up():
    with pytest.raises(TeamFailed) as caught:
        run(2, (1, 3, stuck), wait=3.0)
    assert "process 1 of 2" in str(caught.value)
    assert not children()


def test_processes_that_come_apart_are_noticed():
    with pytest.raises(TeamFailed) as caught:
        run(2, (1, 3, apart))
    assert "come apart" in str(caught.value) and "after step 4" in str(caught.value)


def children():
    """Living processes that serve a team of this one."""
    text = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    return [line for line in text.splitlines() if "parallel import serve" in line]


def pids(folder, context):
    (Path(folder) / f"{context.team.rank}.pid").write_text(str(os.getpid()))
    time.sleep(120)


def alive(pid):
    """Whether it runs (one that ended and that nobody has asked after does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_their_job(tmp_path, number):
    code = (
        "import sys; from senmei.core.method import FitContext; from senmei.training.parallel import fit_together\n"
        "import test_parallel as t; fit_together(t.pids, (sys.argv[1],), FitContext(), 2)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    job = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    found = [int(path.read_text()) for path in sorted(tmp_path.glob("*.pid"))]
    assert len(found) == 2
    job.send_signal(number)
    job.wait(timeout=60)
    until = time.monotonic() + 60
    while any(map(alive, found)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, found))


def test_one_process_is_a_team_that_does_nothing():
    team, losses = Team(), {"loss": 0.1}
    assert list(team.mine(3)) == [0, 1, 2] and team.losses(losses) is losses
    assert team.any(True) and not team.any(False)
    team.agree("anything", float("nan"))


@pytest.mark.parametrize(("samples", "size"), [(1, 3), (2, 2), (3, 2), (8, 3)])
def test_shares_cover_a_batch_once_and_weigh_as_much(samples, size):
    taken, weights = [], []
    for rank in range(size):
        member = Members(rank, size, "cpu")
        part = member.mine(samples)
        weights.append(member._weight)
        assert len(part) > 0
        taken += list(part) if member._weight else []
        member.begin()
        assert member._weight == pytest.approx(1 / size)
    assert sorted(taken) == list(range(samples))
    assert sum(weights) == pytest.approx(1)


def test_a_process_a_sample_a_core_a_gpu(monkeypatch):
    from senmei.methods.unet3d import UNet3D
    from senmei.methods.win5rb import WIN5RB
    from senmei.stages.train import usable_processes

    method = UNet3D(batch=4)
    assert usable_processes(method, 1, 8, "cpu") == 1
    assert usable_processes(method, 8, 16, "cpu") == 4
    assert usable_processes(method, 3, 16, "cpu") == 3
    assert usable_processes(method, 4, 2, "cpu") == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert usable_processes(method, 4, 1, "cuda") == 2
    assert usable_processes(WIN5RB(batch=8), 4, 16, "cpu") == 1  # its statistics are those of a whole batch
    assert usable_processes(SimpleNamespace(together=False), 4, 16, "cpu") == 1
