"""Listing BIDS datasets, and names that cannot escape."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from senmei.core.errors import DataError
from senmei.io.bids import list_bids
from senmei.io.names import safe_label, stem
from senmei.io.nifti import read_volume, write_volume

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
corpus = importlib.import_module("corpus.make")


def touch(root: Path, *names: str) -> Path:
    """Empty files at BIDS places: listing reads no image."""
    for name in names:
        parts = dict(part.split("-", 1) for part in name.split("_")[:-1])
        folder = root / f"sub-{parts['sub']}" / (f"ses-{parts['ses']}" if "ses" in parts else "") / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return root


@pytest.mark.parametrize("case", corpus.BIDS, ids=lambda case: case.name)
def test_bad_datasets(case, tmp_path):
    root = case.build(tmp_path)
    if case.carried < 0:
        with pytest.raises(DataError) as caught:
            list_bids(root)
        assert all(fragment in str(caught.value) for fragment in case.expect), str(caught.value)
        return
    participants, images, status = list_bids(root)
    assert len(images) == case.carried, status
    if case.expect:
        errors = [row["error"] for row in status]
        assert any(all(fragment in error for fragment in case.expect) for error in errors), errors
    else:
        assert not status
    assert {row["subject"] for row in participants} == {row["subject"] for row in images}
    for row in images:
        assert Path(row["path"]).is_file() and Path(row["path"]).is_absolute()
        assert stem(row["subject"].removeprefix("sub-")) == row["subject"]
        read_volume(row["path"])
    for row in [*images, *status]:
        assert all(c.isascii() and (c.isalnum() or c in "-_") for c in (row["scan"] or "") + row["subject"])


@pytest.mark.parametrize("case", corpus.NIFTI, ids=lambda case: case.name)
def test_a_bad_image_is_listed_and_does_not_stop_the_others(case, tmp_path):
    root = corpus.dataset_with(case, tmp_path)
    _, images, _ = list_bids(root)
    read, failed = [], []
    for row in images:
        try:
            read.append(read_volume(row["path"]))
        except DataError as error:
            failed.append(str(error))
    assert len(read) == 2 and len(failed) == 1
    assert "sub-bad_T1w.nii" in failed[0] and all(fragment in failed[0] for fragment in case.expect)


def test_sessions_runs_and_uneven_subjects(tmp_path):
    root = touch(
        tmp_path,
        "sub-01_ses-1_run-10_T1w.nii.gz",
        "sub-01_ses-1_run-2_T1w.nii.gz",
        "sub-01_ses-2_T1w.nii",
        "sub-01_ses-2_T2w.nii.gz",
        "sub-02_acq-mprage_T1w.nii.gz",
    )
    participants, images, status = list_bids(root)
    assert [row["scan"] for row in images] == [
        "sub-01_ses-1_run-2",
        "sub-01_ses-1_run-10",
        "sub-01_ses-2",
        "sub-02_acq-mprage",
    ]
    assert [row["repeat"] for row in images] == [1, 2, 3, 1]
    assert [(row["session"], row["run"]) for row in images][:3] == [("1", "2"), ("1", "10"), ("2", None)]
    assert images[3]["acq"] == "mprage" and not status
    assert participants == [{"subject": "sub-01"}, {"subject": "sub-02"}]


def test_entities_select(tmp_path):
    root = touch(
        tmp_path,
        *(
            f"sub-{s}_ses-{n}_acq-{a}_run-0{r}_T1w.nii.gz"
            for s in "12"
            for n in "123"
            for a in ("x", "y")
            for r in "12"
        ),
    )

    def count(**entities):
        return len(list_bids(root, entities=entities)[1])

    assert count(acq="x") == 12
    assert count(acq="x", ses=["1", "2"]) == 8
    assert count(ses="ses-1") == 8
    assert count(run=1) == 12 and count(run="01") == 12
    assert count(echo=None) == 24
    for entities, fragments in (
        ({"acq": "z"}, ("acq: x, y", "acq 'z'")),
        ({"run": "1"}, ("did you mean '01'",)),
        ({"aqc": "x"}, ("no file says 'aqc'", "did you mean 'acq'")),
        ({"ses": None}, ("ses: 1, 2, 3",)),
    ):
        with pytest.raises(DataError) as caught:
            list_bids(root, entities=entities)
        assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


def test_a_misspelt_suffix_is_corrected(tmp_path):
    with pytest.raises(DataError) as caught:
        list_bids(touch(tmp_path, "sub-01_T1w.nii.gz"), suffix="T1W")
    assert "did you mean 'T1w'?" in caught.value.fix
    with pytest.raises(DataError, match="Cannot list") as caught:
        list_bids(tmp_path / "sub-02")
    assert "did you mean 'sub-01'" in caught.value.fix


def test_participants_are_merged(tmp_path):
    root = touch(tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-03_T1w.nii.gz")
    rows = "participant_id\tgroup\tage\tsite\nsub-01\tpatient\t34\tA\n02\tcontrol\tn/a\tB\n"
    (root / "participants.tsv").write_text("\ufeff" + rows, encoding="utf-8")
    participants, _, status = list_bids(root)
    assert participants == [
        {"subject": "sub-01", "group": "patient", "age": 34, "site": "A"},
        {"subject": "sub-02", "group": "control", "age": None, "site": "B"},
        {"subject": "sub-03", "group": None, "age": None, "site": None},
    ]
    assert not status


def test_what_is_not_data_is_ignored(tmp_path):
    root = touch(tmp_path, "sub-01_T1w.nii.gz")
    touch(root / "derivatives" / "x", "sub-01_T1w.nii.gz", "sub-07_T1w.nii.gz")
    touch(root / "sourcedata", "sub-08_T1w.nii.gz")
    touch(root / ".git", "sub-09_T1w.nii.gz")
    (root / "sub-01" / "anat" / "._sub-01_T1w.nii.gz").touch()
    (root / "sub-01" / "anat" / "sub-01_T1w.json").touch()
    (root / "sub-10").touch()
    _, images, status = list_bids(root)
    assert [row["scan"] for row in images] == ["sub-01"] and not status


def test_links_within_the_dataset_are_followed(tmp_path):
    """As datalad keeps its files."""
    root = touch(tmp_path, "sub-01_T1w.nii.gz")
    store = root / ".git" / "annex" / "a.nii.gz"
    store.parent.mkdir(parents=True)
    image = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    image.rename(store)
    image.symlink_to("../../.git/annex/a.nii.gz")
    (root / "sub-01" / "again").symlink_to(root / "sub-01")  # a loop, too
    _, images, status = list_bids(root)
    assert [row["path"] for row in images] == [str(image)], status


def test_repeats_of_a_4d_file(tmp_path):
    for name, shape in (
        ("sub-01_task-rest_bold", (*corpus.SHAPE, 12)),
        ("sub-01_task-rest_run-3_bold", corpus.SHAPE),
    ):
        write_volume(tmp_path / "sub-01" / "func" / f"{name}.nii.gz", corpus.brain(shape=shape))
    write_volume(
        tmp_path / "sub-02" / "func" / "sub-02_run-2_bold.nii", corpus.brain(shape=(*corpus.SHAPE, 2))
    )
    (tmp_path / "sub-03" / "func").mkdir(parents=True)
    (tmp_path / "sub-03" / "func" / "sub-03_bold.nii").write_bytes(b"x")
    _, images, status = list_bids(tmp_path, "bold", frames="repeats")
    assert [row["scan"] for row in images if row["subject"] == "sub-02"] == [
        "sub-02_run-2f1",
        "sub-02_run-2f2",
    ]
    first = [row for row in images if row["subject"] == "sub-01"]
    assert len(first) == 13 and len({row["scan"] for row in first}) == 13
    assert [row["repeat"] for row in first] == list(range(1, 14))
    assert {row["frame"] for row in first} == {None, *range(12)}
    assert first[0]["scan"] == "sub-01_task-rest_run-01" and first[0]["frame"] == 0
    for row in images:
        assert read_volume(row["path"], frames=row["frame"]).shape == corpus.SHAPE
    assert [row["scan"] for row in status] == ["sub-03"] and "truncated" in status[0]["error"]


def test_ten_thousand_subjects_would_list_in_three_seconds(tmp_path):
    for number in range(1_500):
        folder = tmp_path / f"sub-{number:05d}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{number:05d}_T1w.nii.gz").touch()
    start = time.process_time()
    participants, images, _ = list_bids(tmp_path)
    assert time.process_time() - start < 0.45
    assert len(participants) == len(images) == 1_500


def test_plain_names_stay():
    assert [safe_label(name) for name in ("003", "ctrl07", "A")] == ["003", "ctrl07", "A"]
    assert safe_label("a b") == safe_label("a b") != safe_label("ab") != safe_label("a/b")
    assert safe_label("Zoë") != safe_label("Zoe") == "Zoe"
    assert safe_label("../../etc/passwd").startswith("etcpasswdx")


@given(st.text(max_size=80), st.text(max_size=80))
def test_labels_are_safe_and_apart(first, second):
    label = safe_label(first)
    assert label.isascii() and label.isalnum() and len(label) <= 64
    assert safe_label(label) == label
    assert (label == safe_label(second)) == (first == second)


def test_stem():
    assert stem("003", 1, 2, "noise09") == "sub-003_ses-1_run-2_acq-noise09"
    assert stem("sub-003", acq="noise09") == "sub-003_acq-noise09"
    for bad in ("../x", "a b", "", "a_b", "ä"):
        with pytest.raises(ValueError, match="no BIDS entity"):
            stem(bad)
