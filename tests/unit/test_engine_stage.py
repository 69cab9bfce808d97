"""Phantoms and seeds: what a failing seed costs, what is kept, what ingestion makes of several, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError, EngineError, StorageError
from senmei.core.study import Row, Study
from senmei.core.volume import Volume
from senmei.io.tables import read_tsv
from senmei.stages.engine import EngineOutput, engine_shard, render_shard
from senmei.stages.ingest import ingest_shard
from senmei.stages.plan import StudyPlan
from tests.workflow.running import ROOT

AFFINE = np.eye(4)


class Toy(Study):
    """A phantom of one number, an engine that adds noise to it; `fails` names (image, number) that fail once."""

    title = "Toy"
    groups = {"input": ("input",)}
    conditions = ("dose",)
    fails: set[tuple[str, int]] = set()
    runs: list[tuple[str, int]] = []

    def images(self, participant: Row, cohort: Any) -> list[Row]:
        name = participant["subject"]
        return [{"image": f"{name}_acq-{k}", "subject": name, "repeat": n} for n, k in enumerate("ab")]

    def scans(self, images: Any, cohort: Any, settings: Any) -> list[Row]:
        return [
            {"scan": f"{i['image']}{d}", **i, "dose": d}
            for i in images
            for d in settings.get("doses", (1, 2))
        ]

    def seeds(self, cohort: Any) -> int | None:
        return cohort.get("seeds")

    def check_programs(self, cohort: Any) -> None:
        if cohort.get("absent"):
            raise ConfigError("No program", where="engine", why="it is not there", fix="bring it")

    def engine_settings(self, cohort: Any, part: str) -> dict[str, Any]:
        return {k: v for k, v in cohort.items() if k in {"phantom": ("size",), "engine": ("camera",)}[part]}

    def render(self, images: Any, cohort: Any, seed: int) -> dict[str, dict[str, Any]]:
        if any(row["subject"] == "sub-bad" for row in images):
            raise DataError("Cannot use a phantom", where="sub-bad", why="it is none", fix="mend it")
        return {
            row["image"]: {"activity": Volume(np.full((2, 2, 2), 1.0 + n, np.float32), AFFINE)}
            for n, row in enumerate(images)
        }

    def run_engine(
        self,
        image: Row,
        phantom: Callable[[str], Any],
        cohort: Any,
        *,
        number: int,
        seed: int,
        minutes: float,
        folder: Path,
    ) -> tuple[dict[str, Any], Row]:
        self.runs.append((image["image"], number))
        if (image["image"], number) in self.fails:
            self.fails.discard((image["image"], number))
            (folder / "stdout.log").write_bytes(b"\0SIMULATING\nout of cheese\n")
            raise EngineError(
                "The engine failed", where=image["image"], why="error number : 7", fix="see its log"
            )
        data = phantom("activity").data + np.float32(number)
        return {"total": Volume(data, AFFINE)}, {"histories": 10.0 * number, "version": "1.0"}

    def gather(self, image: Row, phantom: Any, runs: Any, cohort: Any) -> dict[str, Any]:
        data = np.mean([load("total").data for load, _ in runs], axis=0)
        told = sum(facts["histories"] for _, facts in runs)
        return {"projections": phantom("activity").like(data), "columns": {"histories": told}}


@pytest.fixture
def toy() -> Toy:
    Toy.fails, Toy.runs = set(), []
    return Toy()


def images(*subjects: str) -> list[Row]:
    study = Toy()
    rows = [image for s in subjects or ("sub-001",) for image in study.images({"subject": s}, {})]
    return [{"scan": row["image"], **row, "split": "test", "shard": row["subject"]} for row in rows]


def render(toy: Toy, folder: Path, rows: list[Row], **more: Any) -> Path:
    path = folder / "phantom" / "sub-001.tsv"
    settings: dict[str, Any] = {"seed": 1, "code": "c", "strict": False, "log": print, **more}
    render_shard(rows, path, toy, {"size": 2}, **settings)
    return path


def engine(toy: Toy, folder: Path, rows: list[Row], number: int, **more: Any) -> Path:
    path = folder / f"seed-{number}" / "sub-001.tsv"
    settings: dict[str, Any] = {"seed": 1, "code": "c", "minutes": 5, "strict": False, "log": print, **more}
    engine_shard(rows, folder / "phantom/sub-001.tsv", path, toy, {"camera": 1}, number, **settings)
    return path


def test_a_failing_seed_fails_its_job_and_a_retry_does_only_what_is_left(toy: Toy, tmp_path: Path) -> None:
    folder, rows, told = tmp_path / "s" / "cohorts" / "c", images(), tmp_path / "log.failed"
    render(toy, folder, rows)
    toy.fails.add(("sub-001_acq-a", 2))
    with pytest.raises(EngineError, match="The engine failed") as error:
        engine(toy, folder, rows, 2, failures=told)
    assert error.value.why == "error number : 7"
    assert not (folder / "seed-2" / "sub-001.tsv").exists(), "a seed that lacks an image has failed"
    assert toy.runs == [("sub-001_acq-a", 2), ("sub-001_acq-b", 2)], "the next image was tried all the same"
    toy.runs.clear()
    manifest = engine(toy, folder, rows, 2, failures=told)
    assert toy.runs == [("sub-001_acq-a", 2)], "what was done is not simulated twice"
    assert [(r["scan"], r["status"], r["histories"]) for r in read_tsv(manifest)] == [
        ("sub-001_acq-a", "ok", 20),
        ("sub-001_acq-b", "ok", 20),
    ]
    text = told.read_text()
    assert "seed 2, sub-001_acq-a: The engine failed" in text
    assert "why:   error number : 7" in text
    assert "stdout.log ends:" in text and "out of cheese" in text, "its own last words are kept"
    record = json.loads((folder / "seed-2" / "sub-001_acq-a.json").read_text())
    assert (record["stage"], record["number"], record["columns"]["version"]) == ("engine", 2, "1.0")


def test_strict_stops_at_the_first_failure(toy: Toy, tmp_path: Path) -> None:
    folder, rows = tmp_path / "s" / "cohorts" / "c", images()
    render(toy, folder, rows)
    toy.fails.add(("sub-001_acq-a", 1))
    with pytest.raises(EngineError):
        engine(toy, folder, rows, 1, strict=True)
    assert toy.runs == [("sub-001_acq-a", 1)]


def test_an_error_that_is_none_of_ours_fails_the_seed_too(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = tmp_path / "s" / "cohorts" / "c", images()
    render(toy, folder, rows)
    monkeypatch.setattr(toy, "run_engine", lambda *a, **k: 1 / 0)
    with pytest.raises(EngineError, match="Seed 1 failed") as error:
        engine(toy, folder, rows, 1)
    assert "ZeroDivisionError" in error.value.why
    assert not (folder / "seed-1" / "sub-001.tsv").exists()


def test_a_full_disk_stops_a_seed_at_once_and_the_next_try_goes_on(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While projections are written: the first image stays, the second is made again, no half file is left."""
    folder, rows = tmp_path / "s" / "cohorts" / "c", images()
    render(toy, folder, rows)
    from senmei.stages import shards

    save = shards.save_role

    def full(stem: Path, value: Any) -> Path:
        if stem.name.startswith("sub-001_acq-b"):
            raise OSError(28, "No space left on device", str(stem))
        return save(stem, value)

    monkeypatch.setattr(shards, "save_role", full)
    with pytest.raises((StorageError, OSError), match=r"space|write"):
        engine(toy, folder, rows, 1)
    monkeypatch.setattr(shards, "save_role", save)
    left = sorted(p.name for p in (folder / "seed-1").iterdir())
    assert left == ["sub-001_acq-a.json", "sub-001_acq-a_total.nii.gz"]
    toy.runs.clear()
    engine(toy, folder, rows, 1)
    assert toy.runs == [("sub-001_acq-b", 1)]


def test_what_decides_a_seed_and_what_does_not(toy: Toy, tmp_path: Path) -> None:
    folder, rows = tmp_path / "s" / "cohorts" / "c", images()
    render(toy, folder, rows)
    engine(toy, folder, rows, 1)
    for change, again in (
        ({}, 0),
        ({"minutes": 9}, 0),
        ({"log": lambda text: None}, 0),
        ({"code": "d"}, 2),
        ({"code": "d", "seed": 2}, 2),
    ):
        toy.runs.clear()
        engine(toy, folder, rows, 1, **change)
        assert len(toy.runs) == again, change
    toy.runs.clear()
    engine(toy, folder, rows, 3)
    assert len(toy.runs) == 2, "another seed is another run"


SLEEPER = """
import subprocess, sys
from pathlib import Path
from tests.unit.test_engine_stage import Toy, engine, images, render

class Sleeper(Toy):
    def run_engine(self, image, phantom, cohort, **settings):
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        Path(sys.argv[1], image["image"]).write_text(str(child.pid))
        try:
            child.wait()
        finally:
            child.kill()
            child.wait()

folder = Path(sys.argv[1], "s", "cohorts", "c")
render(Sleeper(), folder, images())
engine(Sleeper(), folder, images(), 1)
"""


def test_a_job_that_is_told_to_stop_ends_its_program_and_begins_no_other(tmp_path: Path) -> None:
    job = subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path)], cwd=ROOT)
    told = tmp_path / "sub-001_acq-a"
    for _ in range(600):
        if told.exists() and told.read_text():
            break
        time.sleep(0.1)
    job.terminate()
    assert job.wait(60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    assert not (tmp_path / "sub-001_acq-b").exists()
    assert not (tmp_path / "s/cohorts/c/seed-1/sub-001.tsv").exists()


def test_a_phantom_that_cannot_be_made_is_told_once_and_blocks_its_image_alone(
    toy: Toy, tmp_path: Path
) -> None:
    folder, rows = tmp_path / "s" / "cohorts" / "c", images("sub-bad", "sub-001")
    phantoms = render(toy, folder, rows)
    assert [r["status"] for r in read_tsv(phantoms)] == ["failed", "failed", "ok", "ok"]
    assert "it is none" in read_tsv(phantoms)[0]["error"]
    seed = engine(toy, folder, rows, 1)
    assert {r["scan"]: r["status"] for r in read_tsv(seed)} == {
        "sub-bad_acq-a": "blocked",
        "sub-bad_acq-b": "blocked",
        "sub-001_acq-a": "ok",
        "sub-001_acq-b": "ok",
    }
    raw = folder / "raw" / "sub-001.tsv"
    ingest_shard(
        [{**row, "scan": f"{row['scan']}1"} for row in rows],
        raw,
        toy,
        {"source": "simulate"},
        seed=1,
        code="c",
        strict=True,
        log=print,
        engine=[phantoms, seed],
    )
    assert [r["status"] for r in read_tsv(raw)] == ["blocked", "blocked", "ok", "ok"]


def test_a_program_that_fails_to_make_a_phantom_fails_the_job(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = tmp_path / "s" / "cohorts" / "c", images("sub-001", "sub-002")
    made = toy.render

    def crash(images: Any, cohort: Any, seed: int) -> Any:
        if images[0]["subject"] == "sub-001":
            raise EngineError("XCAT failed", where="XCAT, phantom", why="exit status 3", fix="see its output")
        return made(images, cohort, seed)

    monkeypatch.setattr(toy, "render", crash)
    with pytest.raises(EngineError, match="XCAT failed"):
        render(toy, folder, rows)
    assert not (folder / "phantom" / "sub-001.tsv").exists()
    assert (folder / "phantom" / "sub-002_acq-a.json").exists(), "the others are kept for the next try"


def test_ingestion_gathers_seeds_and_is_made_again_when_one_of_them_changes(toy: Toy, tmp_path: Path) -> None:
    folder, rows = tmp_path / "s" / "cohorts" / "c", images()
    manifests = [render(toy, folder, rows), *(engine(toy, folder, rows, n) for n in (1, 2, 3))]
    raw = folder / "raw" / "sub-001.tsv"
    scans = [{**row, "scan": f"{row['scan']}-dose{d}"} for row in rows for d in (1, 2)]

    def ingest() -> list[Row]:
        settings: dict[str, Any] = {"seed": 1, "code": "c", "strict": True, "log": print}
        ingest_shard(scans, raw, toy, {"source": "simulate"}, engine=manifests, **settings)
        return read_tsv(raw)

    found = ingest()
    assert [(r["scan"], r["histories"]) for r in found] == [("sub-001_acq-a", 60), ("sub-001_acq-b", 60)]
    output = EngineOutput(manifests, toy, {})
    made = output.raw(rows[0])
    assert np.allclose(made["projections"].data, 1 + 2)
    engine(toy, folder, rows, 2, code="other", seed=9)  # the same photons: nothing to do
    assert ingest() == found
    toy.run_engine = lambda *a, **k: (  # type: ignore[method-assign]
        {"total": Volume(np.full((2, 2, 2), 9, np.float32), AFFINE)},
        {"histories": 1.0},
    )
    engine(toy, folder, rows, 2, code="yet another")
    assert [r["key"] for r in ingest()] != [r["key"] for r in found]


def plan(tmp_path: Path, **cohort: Any) -> StudyPlan:
    settings = {
        "use": "tests.unit.test_engine_stage:Toy",
        "shards": "subject",
        "cohorts": {"c": {"use": "test", "source": "simulate", "subjects": 2, **cohort}},
        "degradation": {},
        "methods": {},
        "measures": {},
        "analyses": {},
    }
    return StudyPlan("toy", settings, tmp_path, 1, False)


def test_the_plan_names_phantoms_and_seeds_of_cohorts_that_want_them(tmp_path: Path) -> None:
    assert plan(tmp_path).engine_inputs("c", "sub-001") == []
    assert len(plan(tmp_path, seeds=0).engine_inputs("c", "sub-001")) == 1
    paths = plan(tmp_path, seeds=2).engine_inputs("c", "sub-002")
    assert paths == [f"{tmp_path}/toy/cohorts/c/{k}/sub-002.tsv" for k in ("phantom", "seed-1", "seed-2")]


def test_engine_jobs_depend_on_images_not_on_doses(tmp_path: Path) -> None:
    one = plan(tmp_path, seeds=2)
    rows = one.engine_rows("c", "sub-001", 2)
    assert [row["scan"] for row in rows] == ["sub-001_acq-a", "sub-001_acq-b"]
    assert all("dose" not in row for row in rows)
    other = plan(tmp_path, seeds=2)
    other.settings["degradation"] = {"doses": (1, 2, 3)}
    assert other.engine_rows("c", "sub-001", 2) == rows
    assert len(other.shard_rows("c", "sub-001")) == 6


@pytest.mark.parametrize(("cohort", "seed", "why"), [({}, 1, "no engine"), ({"seeds": 2}, 3, "1 to 2")])
def test_a_seed_that_is_not_there_is_refused(cohort: Any, seed: int, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, **cohort).engine_rows("c", "sub-001", seed)
    assert why in error.value.why
    assert error.value.where == "studies.toy.cohorts.c"


def test_an_absent_program_stops_the_plan_with_the_cohorts_key(tmp_path: Path) -> None:
    plan(tmp_path).check_programs()
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, absent=True).check_programs()
    assert error.value.where == "studies.toy.cohorts.c.engine"
