"""Signals to stop are noticed, not obeyed at once; Slurm is asked to requeue only after its warning."""

import os
import signal
from types import SimpleNamespace

import pytest

from senmei.core.interruption import WARNING, Interrupted, Interruption, requeue
from senmei.core.jobs import job


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A stand-in for Slurm's command that writes down what it was asked."""
    told = tmp_path / "told"
    command = tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {told}\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return told


@pytest.mark.parametrize("number", [WARNING, signal.SIGTERM])
def test_a_signal_is_noticed_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with Interruption().watch() as interruption:
        assert not interruption.requested()
        os.kill(os.getpid(), number)
        assert interruption.requested()
        assert interruption.near_limit is (number == WARNING)
    assert signal.getsignal(number) == before


def test_the_warning_is_harmless_to_others():
    assert signal.getsignal(WARNING) == signal.SIG_DFL  # whose default action is to ignore it
    os.kill(os.getpid(), WARNING)


def test_without_slurm_nothing_is_requeued(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert requeue() is False


def test_a_job_id_that_is_none_reaches_no_command(scontrol, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1; touch x")
    assert requeue() is False and not scontrol.exists()


def run_job(tmp_path, number):
    """A job whose body is told to stop; what its log says."""
    snakemake = SimpleNamespace(
        input=[],
        output=[],
        params={},
        wildcards=[],
        threads=1,
        config={},
        rule="train",
        log=[tmp_path / "log"],
    )

    def body():
        with job(snakemake) as j:
            stop = j.told_to_stop()
            os.kill(os.getpid(), number)
            assert stop()
            raise Interrupted("Training left", where="x", why="told to stop", fix="start it again")

    with pytest.raises(SystemExit) as left:
        body()
    assert left.value.code == 1
    return (tmp_path / "log").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _threads_stay(monkeypatch):
    monkeypatch.setattr("senmei.core.jobs._limit_threads", lambda threads: None)


def test_warned_job_goes_back_into_the_queue(tmp_path, scontrol):
    assert "put back into Slurm's queue" in run_job(tmp_path, WARNING)
    assert scontrol.read_text(encoding="utf-8") == "requeue 4711\n"


def test_cancelled_job_does_not_come_back(tmp_path, scontrol):
    assert "queue" not in run_job(tmp_path, signal.SIGTERM)
    assert not scontrol.exists()
