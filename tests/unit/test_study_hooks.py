"""A study that reads its own files: what it lists, what it makes of them, and what of their names stays behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.study import Study, file_columns
from senmei.core.volume import Volume
from senmei.io.tables import read_tsv
from senmei.stages.cohort import list_cohort
from senmei.stages.ingest import content_of, ingest_shard
from senmei.stages.plan import StudyPlan
from senmei.stages.prepare import prepare_shard

COHORT = {"use": "test", "source": "numbers", "path": "nowhere"}
SHARED: dict[str, Any] = {"seed": 1, "code": "c", "strict": False}


class Numbers(Study):
    """Its raw data are two text files an image: a number, and a factor beside it."""

    title = "Numbers"
    groups = {"input": ("input",)}

    def list_files(self, cohort, folder, *, seed, log):
        images = []
        for path in sorted(Path(cohort["path"]).glob("*.txt")):
            subject = f"sub-{path.stem}"
            beside = path.with_suffix(".factor")
            images.append(
                {
                    "image": subject,
                    "subject": subject,
                    "repeat": 1,
                    "path": str(path),
                    "factor_path": str(beside) if beside.exists() else None,
                }
            )
        return [{"subject": image["subject"]} for image in images], images, []

    def read(self, image, cohort):
        text = Path(image["path"]).read_text()
        if not text.strip().isdigit():
            raise DataError(
                "No number", where=image["image"], why="its file holds text", fix="write a number"
            )
        factor = int(Path(image["factor_path"]).read_text()) if image["factor_path"] else 1
        data = np.full((2, 2, 2), int(text) * factor, np.float32)
        return {"image": Volume(data, np.eye(4)), "columns": {"factor": factor}}

    def prepare(self, group, scan, raw, cohort, settings, seed):
        return {"input": raw(scan["image"], "image")}, {"factor": scan["factor"]}

    def check_cohort(self, cohort, settings):
        if settings["plus"] < 0:
            raise ConfigError("No minus", where="degradation.plus", why="it is below zero", fix="raise it")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, number in (("a", 3), ("b", 5)):
        (folder / f"{name}.txt").write_text(str(number))
    (folder / "a.factor").write_text("7")
    return folder


def ran(
    tmp_path: Path, files: Path, plus: int = 0, cohort: dict[str, Any] | None = None
) -> tuple[list, list]:
    """Rows of the raw and of the prepared manifest, after the stages from the listing on."""
    cohort = {**COHORT, "path": str(files), **(cohort or {})}
    study, log = Numbers(), lambda text: None
    place = tmp_path / "results" / "numbers"
    list_cohort(
        place / "cohorts" / "mine", study, cohort, {"plus": plus}, "subject", log=log, seed=1, strict=False
    )
    scans = read_tsv(place / "cohorts" / "mine" / "scans.tsv")
    raw, made = (
        place / "cohorts" / "mine" / "raw" / "all.tsv",
        place / "prepared" / "mine" / "input" / "all.tsv",
    )
    ingest_shard(scans, raw, study, cohort, log=log, **SHARED)
    prepare_shard(scans, raw, "input", made, study, cohort, {"plus": plus}, log=log, **SHARED)
    return read_tsv(raw), read_tsv(made)


def test_a_study_reads_its_own_files_and_their_names_stay_behind(tmp_path: Path, files: Path) -> None:
    raw, made = ran(tmp_path, files)
    assert [(r["scan"], r["role"], r["status"], r["factor"]) for r in raw] == [
        ("sub-a", "image", "ok", 7),
        ("sub-b", "image", "ok", 1),
    ]
    assert {row["path"] for row in raw} == {"sub-a_image.nii.gz", "sub-b_image.nii.gz"}, (
        "made here, not left there"
    )
    assert "factor_path" not in made[0]
    assert made[0]["factor"] == 7, "what reading found out is there to be used"
    written = [
        p.read_text()
        for p in (tmp_path / "results/numbers/prepared").rglob("*")
        if p.suffix in (".tsv", ".json")
    ]
    assert written
    assert not any(str(files) in text for text in written)


def test_every_file_of_an_image_decides_whether_it_is_made_again(tmp_path: Path, files: Path) -> None:
    before = {row["scan"]: row["key"] for row in ran(tmp_path, files)[0]}
    (files / "a.factor").write_text("8")
    after = {row["scan"]: row["key"] for row in ran(tmp_path, files)[0]}
    assert after["sub-a"] != before["sub-a"]
    assert after["sub-b"] == before["sub-b"]


def test_a_single_file_is_named_by_its_own_hash(files: Path) -> None:
    from senmei.io.atomic import sha256

    row = {"image": "x", "path": str(files / "b.txt"), "factor_path": None, "pathology": "none"}
    assert file_columns(row) == ["path"]
    assert content_of(row) == sha256(files / "b.txt")


def test_a_file_that_cannot_be_used_is_a_row_that_says_why(tmp_path: Path, files: Path) -> None:
    (files / "b.txt").write_text("five")
    raw, made = ran(tmp_path, files)
    bad = [row for row in raw if row["status"] == "failed"]
    assert [(row["scan"], row["error"]) for row in bad] == [
        ("sub-b", "No number [sub-b]: its file holds text. Fix: write a number")
    ]
    assert [row["status"] for row in made if row["scan"] == "sub-b"] == ["blocked"]


def test_other_settings_of_a_cohort_make_its_roles_again(tmp_path: Path, files: Path) -> None:
    """They may decide what `prepare` makes though the raw roles stay the same, as the counts of a simulation do."""
    before = [row["key"] for row in ran(tmp_path, files)[1]]
    after = [row["key"] for row in ran(tmp_path, files, cohort={"counts": 5})[1]]
    assert not set(before) & set(after)


def test_what_a_study_refuses_of_a_cohort_stops_the_plan_by_its_key(tmp_path: Path) -> None:
    settings = {
        "use": "tests.unit.test_study_hooks:Numbers",
        "cohorts": {"mine": COHORT},
        "degradation": {"plus": -1},
        "methods": {},
        "measures": {},
        "analyses": {},
        "shards": 1,
    }
    with pytest.raises(ConfigError, match="No minus") as caught:
        StudyPlan("numbers", settings, tmp_path, 1, False)
    assert caught.value.where == "studies.numbers.degradation.plus (cohort 'mine')"
    StudyPlan("numbers", {**settings, "degradation": {"plus": 1}}, tmp_path, 1, False)
