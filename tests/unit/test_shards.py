"""Each scan of a shard: failures are rows, what is up to date is skipped, what is damaged is made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.core.seeds import short_hash
from senmei.core.volume import Volume
from senmei.io.tables import read_tsv
from senmei.stages.measure import each_restored
from senmei.stages.shards import COLUMNS, Blocked, Made, Manifest, each_scan, example_of
from senmei.stages.train import gather

SCANS = [{"scan": f"sub-0{i}", "subject": f"sub-0{i}", "split": "test", "noise": i} for i in (1, 2, 3)]


def volume(value: float) -> Volume:
    return Volume(np.full((3, 4, 5), value, np.float32), np.eye(4))


class Stage:
    """A stage in `folder` that counts what it makes."""

    def __init__(self, folder: Path) -> None:
        self.manifest = folder / "study" / "prepared" / "cohort" / "input" / "shard.tsv"
        self.made: list[str] = []
        self.lines: list[str] = []

    def run(
        self, produce: Callable[[Any], Made] | None = None, code: str = "c1", strict: bool = False
    ) -> list[dict]:
        def default(scan: dict) -> Made:
            return Made(roles={"input": volume(scan["noise"])}, columns={"data_range": 2.5})

        def counted(scan: dict) -> Made:
            self.made.append(scan["scan"])
            return (produce or default)(scan)

        self.made = []
        each_scan(
            SCANS,
            counted,
            key=lambda scan: short_hash(code, scan["noise"]),
            manifest=self.manifest,
            provenance={"stage": "prepare", "code": code},
            strict=strict,
            log=self.lines.append,
        )
        return read_tsv(self.manifest)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def failing(scan: dict) -> Made:
    if scan["scan"] == "sub-02":
        raise DataError("It broke", where="x.nii", why="old age", fix="buy another")
    return Made(roles={"input": volume(scan["noise"])})


def test_what_is_made_is_in_the_manifest(stage: Stage) -> None:
    rows = stage.run()
    assert [row["scan"] for row in rows] == ["sub-01", "sub-02", "sub-03"]
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert {row["status"] for row in rows} == {"ok"}
    assert rows[0]["data_range"] == 2.5
    example, _ = example_of(SCANS[1], [Manifest(stage.manifest)])
    assert example["input"].data[0, 0, 0] == 2
    assert example.scan["data_range"] == 2.5
    assert example.scan["noise"] == 2


def test_one_failure_keeps_the_others(stage: Stage) -> None:
    rows = stage.run(failing)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert rows[1]["error"] == "It broke [x.nii]: old age. Fix: buy another"
    assert any("FAILED" in line and "Traceback" in line for line in stage.lines), (
        "the traceback is in the log"
    )
    with pytest.raises(Blocked, match="It broke"):
        Manifest(stage.manifest).roles("sub-02")


def test_an_unforeseen_error_is_a_row_too(stage: Stage) -> None:
    rows = stage.run(lambda scan: Made(roles={"input": 1 / (scan["noise"] - 3)}))
    assert rows[2]["error"] == "ZeroDivisionError: division by zero"


def test_strict_stops_at_the_first(stage: Stage) -> None:
    with pytest.raises(DataError, match="It broke"):
        stage.run(failing, strict=True)
    assert stage.made == ["sub-01", "sub-02"]
    assert not stage.manifest.exists()
    rows = stage.run(strict=True)
    assert stage.made == ["sub-02", "sub-03"], "what was made before the failure is kept"
    assert len(rows) == 3


def test_what_is_up_to_date_is_skipped(stage: Stage) -> None:
    first = stage.run()
    files = {p: p.stat().st_mtime_ns for p in stage.manifest.parent.iterdir() if p != stage.manifest}
    assert stage.run() == first
    assert stage.made == []
    assert files == {p: p.stat().st_mtime_ns for p in files}
    stage.run(code="c2")
    assert len(stage.made) == 3, "another key"


def damage_image(folder: Path) -> None:
    path = folder / "sub-02_input.nii.gz"
    path.write_bytes(path.read_bytes()[:-3])


def forge_columns(folder: Path) -> None:
    path = folder / "sub-02.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "columns": {"data_range": 99}}))


HARM: list[Callable[[Path], object]] = [
    damage_image,
    forge_columns,
    lambda folder: (folder / "sub-02_input.nii.gz").unlink(),
    lambda folder: (folder / "sub-02.json").unlink(),
    lambda folder: (folder / "sub-02.json").write_text("{"),
    lambda folder: (folder / "sub-02.json").write_text("[1]"),
    lambda folder: (folder / "sub-02.json").write_bytes(b"\xff\0"),
]


@pytest.mark.parametrize("harm", HARM)
def test_what_is_damaged_is_made_again(stage: Stage, harm: Callable[[Path], object]) -> None:
    first = stage.run()
    harm(stage.manifest.parent)
    assert stage.run() == first
    assert stage.made == ["sub-02"]


def test_what_failed_earlier_is_blocked_here_and_told_once(stage: Stage, tmp_path: Path) -> None:
    stage.run(failing)
    earlier = Manifest(stage.manifest)
    later = Stage(tmp_path / "later")

    def produce(scan: dict) -> Made:
        return Made(roles={"restored": example_of(scan, [earlier])[0]["input"]})

    rows = later.run(produce)
    assert [row["status"] for row in rows] == ["ok", "blocked", "ok"]
    assert "It broke" in rows[1]["error"]
    assert not any("FAILED" in line for line in later.lines)
    assert (later.manifest.parent / "sub-01.nii.gz").exists(), "restored images bear the scan's name alone"
    results = list(each_restored(SCANS, [Manifest(later.manifest)], [earlier]))
    assert [isinstance(reason, Blocked) for *_, reason in results] == [False, True, False]


def test_a_restored_file_damaged_afterwards_is_one_scans_failure(stage: Stage, tmp_path: Path) -> None:
    stage.run()
    restored = Stage(tmp_path / "restored")
    restored.run(lambda scan: Made(roles={"restored": volume(1)}))
    (restored.manifest.parent / "sub-03.nii.gz").write_bytes(b"nothing")
    results = list(each_restored(SCANS, [Manifest(restored.manifest)], [Manifest(stage.manifest)]))
    assert [reason is None for *_, reason in results] == [True, True, False]
    assert "has changed since it was made" in str(results[2][3])


def test_files_of_a_user_are_named_not_copied(stage: Stage, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.nii.gz"
    outside.write_bytes(b"mine")
    rows = stage.run(lambda scan: Made(files={"image": (outside, "0" * 64)}))
    assert rows[0]["path"] == str(outside)
    assert outside.read_bytes() == b"mine"


def test_training_sees_the_scans_of_its_split_that_did_not_fail(stage: Stage) -> None:
    stage.run(failing)
    found = gather({"heads": [stage.manifest]}, "test")
    assert [e.scan["scan"] for e in found] == ["sub-01", "sub-03"]
    assert found[0].scan["cohort"] == "heads"
    assert gather({"heads": [stage.manifest]}, "train") == []


def test_a_method_that_asks_for_a_reference_learns_from_scans_that_have_one(stage: Stage) -> None:
    """Simulated patients beside real ones: of these nobody knows the truth."""

    def known(scan: dict) -> Made:
        roles = {"input": volume(1)} | ({"reference": volume(2)} if scan["scan"] == "sub-02" else {})
        return Made(roles=roles)

    stage.run(known)
    paths = {"mixed": [stage.manifest]}
    assert [e.scan["scan"] for e in gather(paths, "test", ("input", "reference"))] == ["sub-02"]
    assert len(gather(paths, "test", ("input", "mask"))) == len(SCANS)


def test_the_same_scans_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Stage(tmp_path / name).run()
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 7
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
