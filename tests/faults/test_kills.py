"""SIGKILL at random moments to random processes, again and again: nothing is lost and nothing is ever half there."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.runs import SLOWLY, Running, Watch, alive, command, kill, made, wait_for
from tests.workflow.running import planned, snakemake

KILLS = 50
KINDS = {
    "script": 0.7,
    "main": 0.2,
    "all": 0.1,
}  # what is killed: one job, Snakemake alone, or everything at once
REFUSED = "Another process is doing this very job"


def test_fifty_kills_lose_nothing(
    undisturbed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(20261121)
    kills: Counter[str] = Counter()
    facts: Counter[str] = Counter()
    while sum(kills.values()) < KILLS:
        facts["runs"] += 1
        assert facts["runs"] <= 8, "runs end before they can be killed"
        folder = tmp_path / f"run{facts['runs']}"
        folder.mkdir()
        command(folder, config=SLOWLY)
        with Watch(folder, undisturbed) as watch:
            wait_for(_harass(folder, chance, kills, facts))
            snakemake(folder, "--unlock")
            snakemake(folder, "-c2", "--quiet=rules", "--rerun-incomplete", "report")
        assert watch.bad == [], "partial files were visible"
        facts["looks at the results"] += watch.looks
        facts["versions of files seen"] += watch.files
        found = made(folder)
        facts["outputs lost or changed"] += sum(found.get(name) != undisturbed[name] for name in undisturbed)
        assert found == undisturbed, "what a killed run leaves, temporary files too"
        assert planned(folder, "report") == {}
    with capsys.disabled():
        print(f"\n{'killed':<8} {'times':>5} {'outputs lost':>12}")
        for kind in KINDS:
            print(f"{kind:<8} {kills[kind]:>5} {facts['outputs lost or changed']:>12}")
        print(", ".join(f"{name}: {n}" for name, n in facts.items()))
    assert sum(kills.values()) >= KILLS
    assert all(kills[kind] >= 3 for kind in KINDS)
    assert facts["versions of files seen"] >= len(undisturbed)


def _harass(
    folder: Path, chance: random.Random, kills: Counter[str], facts: Counter[str]
) -> list[tuple[int, str]]:
    """Start the workflow, kill, start it again, until it is through all the same or there were kills enough.

    Returns the processes that may have outlived it.
    """
    orphans: set[tuple[int, str]] = set()
    for _ in range(40):
        if (folder / ".snakemake" / "locks").exists():
            snakemake(folder, "--unlock")
        facts["starts"] += 1
        facts["starts beside orphans"] += bool(alive(list(orphans)))
        calls = ("-c2", "--rerun-incomplete", "--keep-going", "--retries=2", "report")
        running = Running(folder, *calls, start_new_session=True)
        done = 0
        while (done := _at_work(running, done)) is not None:
            enough = sum(kills.values()) >= KILLS
            kind = "all" if enough else chance.choices(list(KINDS), list(KINDS.values()))[0]
            time.sleep(chance.uniform(0, 0.4))
            below = running.scripts()
            orphans.update(below)
            if kind == "script":
                kills[kind] += len(kill([chance.choice(below)])) if below else 0
                continue
            if running.over():
                break
            running.process.kill()
            if kind == "all":
                kill(below)
            kills[kind] += 1
            break
        code, text = running.wait(), running.text()
        facts["trainings resumed"] += text.count("resuming after step")
        facts["second writers refused"] += text.count(REFUSED)
        if code == 0 or sum(kills.values()) >= KILLS:
            break
        if chance.random() < 0.5:
            wait_for(list(orphans))
    else:
        raise AssertionError(f"a run that is killed makes no progress:\n{text[-3000:]}")
    return list(orphans)


def _at_work(running: Running, done: int) -> int | None:
    """Wait until one more job than `done` has ended and another runs; how many have ended. None: the workflow has.

    So every kill has its job that was not killed, on fast machines and slow ones.
    """
    end = time.monotonic() + 300
    while not running.over():
        assert time.monotonic() < end, running.text()[-3000:]
        ended = running.text().count("Finished jobid")
        if ended > done and running.scripts():
            return ended
        time.sleep(0.02)
    return None


def _training(running: Running, checkpoint: Path) -> list[tuple[int, str]]:
    """Wait until a training has left its first checkpoint; the processes below Snakemake."""
    end = time.monotonic() + 240
    while not checkpoint.exists():
        assert not running.over(), running.text()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.01)
    return running.scripts()


def test_an_orphan_is_refused_and_its_work_counts(undisturbed: dict[str, str], tmp_path: Path) -> None:
    """A training outlives its Snakemake: a second run says who holds it, and takes its weights once it is done."""
    command(tmp_path, config=SLOWLY)
    model = Path("results/toy/slow/models/trained")
    running = Running(tmp_path, "-c1", str(model / "card.json"))
    orphans = _training(running, tmp_path / model / "checkpoint.pt")
    for pid, _ in orphans:
        os.kill(pid, signal.SIGSTOP)
    try:
        running.process.kill()
        running.wait()
        snakemake(tmp_path, "--unlock")
        text = snakemake(tmp_path, "-c1", "--rerun-incomplete", str(model / "card.json"), ok=False)
        assert REFUSED in text
        assert any(f"where: process {pid} on " in text for pid, _ in orphans)
        assert "wait for it to end (its results count) or end it, then run again" in text
    finally:
        for pid, _ in orphans:
            os.kill(pid, signal.SIGCONT)
    wait_for(orphans)
    assert (tmp_path / model / "weights.safetensors").exists(), "it came to its end"
    snakemake(tmp_path, "-c1", "--quiet=rules", "--rerun-incomplete", str(model / "card.json"))
    found = made(tmp_path)
    assert {name: undisturbed.get(name) for name in found} == found

    for name in ("card.json", "weights.safetensors", "history.tsv"):
        (tmp_path / model / name).unlink()
    running = Running(tmp_path, "-c1", "--retries=1", str(model / "card.json"))
    assert kill(_training(running, tmp_path / model / "checkpoint.pt"))
    assert running.wait() == 0, running.text()[-3000:]
    assert "resuming after step" in running.text()
    assert made(tmp_path) == found, "to the same bytes, and no checkpoint is left"


def test_the_watch_sees_what_it_should(tmp_path: Path) -> None:
    """A file that grows where all can see it is caught, a hidden one that is renamed is not; nor is a whole one."""
    folder = tmp_path / "results" / "toy" / "study"
    folder.mkdir(parents=True)
    text = "scan\tvalue\n" + "a\t1\n" * 1000
    with Watch(tmp_path, {}, pause=0.005) as watch:
        (folder / ".x.tmp.tsv").write_text(text[:50])
        (folder / ".x.tmp.tsv").write_text(text)
        (folder / ".x.tmp.tsv").rename(folder / "x.tsv")
        time.sleep(0.1)
        assert watch.bad == []
        assert watch.files == 1
        with (folder / "y.tsv").open("w") as file:
            file.write(text[:50])
            file.flush()
            end = time.monotonic() + 30
            while not watch.bad and time.monotonic() < end:
                time.sleep(0.01)
            file.write(text[50:])
    assert watch.bad == ["study/y.tsv: 50 bytes"]
    with Watch(tmp_path, {"study/x.tsv": "another"}, pause=0.005) as watch:
        pass
    assert watch.bad == [f"study/x.tsv: {len(text)} bytes"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nii.gz", b"\x1f\x8b\x08\x00"),
        ("a.json", b'{"a": 1'),
        ("a.tsv", b"a\tb\n1"),
        ("a.h5", b"\x89HDF\r\n\x1a\n"),
        ("a.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{"),
        ("a.pt", b"PK\x03\x04" * 20),
        ("a.html", b"<html><body>"),
    ],
)
def test_a_partial_file_of_each_kind_is_told(name: str, content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "toy"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with Watch(tmp_path, {}) as watch:
        pass
    assert watch.bad == [f"{name}: {len(content)} bytes"]
