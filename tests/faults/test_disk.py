"""A disk that is full, or closed to writing: said in four lines, and afterwards the same command goes on from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from senmei.core.errors import StorageError
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.io.roles import save_role
from senmei.io.tables import write_tsv
from senmei.stages.shards import Made, each_scan
from tests.faults.disks import Disk, as_anyone, close_folders, small_disk
from tests.faults.runs import Running, command, made
from tests.faults.trained import Trained
from tests.workflow.running import planned, snakemake, toy

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The results of a run on a disk of their own; Snakemake's own folder lies elsewhere."""
    with small_disk(tmp_path / "results") as found:
        yield found


def visible(folder: Path) -> dict[str, str]:
    """Files of a run and their SHA-256; no temporary one may be among them."""
    found = made(folder)
    assert not [name for name in found if Path(name).name.startswith(".")]
    return found


def test_a_full_disk_loses_nothing(toy_run: Path, tmp_path: Path, disk: Disk) -> None:
    """Three times too small, at the start, midway and near the end; then large enough."""
    wanted = made(toy_run)
    sizes = [p.stat().st_size for p in (toy_run / "results").rglob("*") if p.is_file()]
    total = sum(-(-size // PAGE) * PAGE for size in sizes)
    whole, told = disk.free(), 0
    command(tmp_path, config=toy("image"))
    before: dict[str, str] = {}
    for share in (0.1, 0.5, 0.85):
        disk.leave(max(0, int(share * total) - (whole - disk.free())) if share > 0.1 else int(share * total))
        text = snakemake(tmp_path, "-c2", "--rerun-incomplete", "measured", ok=False)
        assert "No space left on device" in text
        told += "free some space, or choose another output folder; then run the same command again" in text
        found = visible(tmp_path)
        assert {name: wanted.get(name) for name in found} == found, "what is there is whole and right"
        before = found
    assert told >= 1
    assert before
    disk.empty()
    snakemake(tmp_path, "-c2", "--quiet=rules", "--rerun-incomplete", "measured")
    assert visible(tmp_path) == wanted
    assert planned(tmp_path, "measured") == {}


def _checkpoint(folder: Path) -> None:
    context = FitContext(checkpoint=folder / "checkpoint.pt", log=lambda text: None, stop=lambda: True)
    Trained().fit([], [], context)


WRITERS: dict[str, Callable[[Path], object]] = {
    "image": lambda folder: save_role(folder / "a", Volume(_noise(), np.eye(4))),
    "array": lambda folder: save_role(folder / "a", _noise()),
    "dict": lambda folder: save_role(folder / "a", {"a": "x" * (1 << 20)}),
    "table": lambda folder: write_tsv(folder / "a.tsv", [{"a": "x" * (1 << 20)}]),
    "checkpoint": _checkpoint,
}


def _noise() -> np.ndarray:
    return np.random.default_rng(0).random((64, 64, 32), dtype=np.float32)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_tells_of_a_full_disk(kind: str, disk: Disk) -> None:
    disk.leave(0)
    with pytest.raises(StorageError, match="Cannot write a file") as caught:
        WRITERS[kind](disk.folder)
    assert str(disk.folder) in caught.value.where
    assert "the disk is full" in caught.value.why
    assert len(str(caught.value).splitlines()) == 4
    assert [p.name for p in disk.folder.iterdir()] == [".ballast"]


def test_no_scan_is_blamed_for_a_full_disk(disk: Disk) -> None:
    """Not even where failing scans are only recorded: a row would outlive the cause."""
    disk.leave(16 * PAGE)

    def produce(scan: dict) -> Made:
        return Made(roles={"restored": Volume(_noise(), np.eye(4))})

    manifest = disk.folder / "a" / "b" / "c" / "d.tsv"
    lines: list[str] = []
    with pytest.raises(StorageError):
        each_scan(
            [{"scan": "sub-1"}, {"scan": "sub-2"}],
            produce,
            key=lambda scan: "k",
            manifest=manifest,
            provenance={},
            strict=False,
            log=lines.append,
        )
    assert "1/2 sub-1: FAILED" in lines[0]
    assert len(lines) == 1
    assert not manifest.exists()


@pytest.mark.parametrize("how", ["disk", "permissions"])
def test_closed_results_lose_nothing(how: str, toy_run: Path, tmp_path: Path, disk: Disk) -> None:
    """A read-only file system (permissions where mounting is not allowed); folders without write permission."""
    wanted = made(toy_run)
    command(tmp_path, config=toy("image"))
    snakemake(tmp_path, "-c2", "--quiet=rules", "cohorts")
    before = visible(tmp_path)
    assert before
    disk.close() if how == "disk" else close_folders(disk.folder, 0o555)
    assert planned(tmp_path, "measured")["restore"] == 2, "looking is allowed"
    running = Running(tmp_path, "-c2", "measured", preexec_fn=as_anyone)
    code, text = running.wait(), running.text()
    disk.open() if how == "disk" else close_folders(disk.folder, 0o755)
    assert code != 0
    assert "Cannot write a file" in text, text[-3000:]
    assert (
        "make the folder writable, or choose another output folder; then run the same command again" in text
    )
    assert visible(tmp_path) == before
    snakemake(tmp_path, "-c2", "--quiet=rules", "--rerun-incomplete", "measured")
    found = visible(tmp_path)  # of `cohorts` there is more
    assert {name: found.get(name) for name in wanted} == wanted
    assert planned(tmp_path, "measured") == {}
