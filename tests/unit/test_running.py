"""One writer at a time: locks end with their process, and orphans in Slurm's queue are refused with instructions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from senmei.core.running import StillRunning, refuse_orphans, sole_writer

ROOT = Path(__file__).resolve().parents[2]


def test_a_living_holder_is_named_and_a_dead_one_holds_nothing(tmp_path):
    lock = tmp_path / "logs" / "job.log.lock"
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from senmei.core.running import sole_writer
with sole_writer(Path({str(lock)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StillRunning) as caught, sole_writer(lock):
            pass
        assert f"process {other.pid} on " in caught.value.where and "wait for it" in caught.value.fix
        other.kill()
        other.wait(10)
    with sole_writer(lock):
        assert f"process {os.getpid()}" in lock.read_text(encoding="utf-8")
    with sole_writer(lock):  # and again
        pass


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """What a pretended squeue prints."""
    command, printed = tmp_path / "bin" / "squeue", tmp_path / "printed"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\ncat {printed}\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    return printed


def test_orphans_of_this_folder_are_refused_with_instructions(queue, tmp_path):
    queue.write_text(
        f"7\tRUNNING\t{tmp_path}\trule_train_wildcards_unet\n8\tPENDING\t{tmp_path}\trule_restore\n",
        encoding="utf-8",
    )
    with pytest.raises(StillRunning) as caught:
        refuse_orphans(tmp_path)
    text = str(caught.value)
    assert "7 running (rule_train_wildcards_unet), 8 pending (rule_restore)" in text
    assert "scancel 7 8" in text and "--unlock" in text


@pytest.mark.parametrize(
    "line", ["7\tRUNNING\t/elsewhere\trule_train", "7\tRUNNING\t{here}\tmy own job", "", "no table at all"]
)
def test_other_jobs_are_none_of_ours(queue, tmp_path, line):
    queue.write_text(line.format(here=tmp_path) + "\n", encoding="utf-8")
    refuse_orphans(tmp_path)


def test_a_slurm_that_does_not_answer_is_no_hindrance(tmp_path, monkeypatch):
    command = tmp_path / "bin" / "squeue"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    refuse_orphans(tmp_path)
