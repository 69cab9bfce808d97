"""Bad input of every kind through the whole workflow: a row with a clear message each, and nothing else lost."""

from __future__ import annotations

import hashlib
import html
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from senmei.io.names import safe_label
from senmei.io.tables import read_tsv
from tests.corpus.make import BIDS, DICOM, HOSTILE_NAMES, NIFTI, write_dataset, write_subject
from tests.workflow.running import snakemake

GOOD = ("01", "02")
CASES = {case.name: case for case in [*NIFTI, *BIDS, *DICOM]}


def config(path: Path, source: str = "bids", strict: bool = False, **cohort: Any) -> dict[str, Any]:
    """One cohort from files, one method that needs no training, two measures: little to wait for."""
    mine = {"use": "test", "source": source, "path": str(path), "reference": "clean", "noise": [9], **cohort}
    study = {
        "shards": 2,
        "cohorts": {"phantoms": None, "mine": mine},
        "degradation": {"lesion": {"radius_mm": 0}},
        "methods": {"nlm3d": None, "unet3d": None, "gaussian": {"fwhm_mm": 3}},
        "measures": dict.fromkeys(["ssim", "nmse", "sharpness", "residual_structure", "lesion_survival"]),
        "analyses": {"tissues": None},
    }
    top = {"run": "bad", "device": "cpu", "threads": 1, "preset": "tiny", "strict": strict}
    return {**top, "only": ["mri_denoise"], "studies": {"mri_denoise": study}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sound subjects; one for each bad image; hostile names; a listing full of traps."""
    folder = tmp_path_factory.mktemp("corpus")
    root = write_dataset(folder / "dataset", GOOD)
    for number, case in enumerate(NIFTI):
        made = case.build(folder / f"made{number}")
        extension = ".nii.gz" if made.name.endswith(".gz") else ".nii"
        place = root / f"sub-bad{number:02d}" / "anat"
        place.mkdir(parents=True)
        shutil.move(made, place / f"sub-bad{number:02d}_T1w{extension}")
    for name in HOSTILE_NAMES:
        write_subject(root, name, seed=5)
    (root / "sub-empty").mkdir()
    broken = root / "sub-annexed" / "anat" / "sub-annexed_T1w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.symlink_to("../../.git/annex/objects/missing")
    lines = ["participant_id\tgruop\tnote", *(f"sub-{name}\ta\t<script>alert(1)</script>" for name in GOOD)]
    (root / "participants.tsv").write_text("".join(line + "\n" for line in [*lines, "sub-../../etc\tb\tx"]))
    return root


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole workflow over the corpus; it ends well."""
    run = tmp_path_factory.mktemp("run")
    snakemake(run, "-c2", "--quiet=rules", "report", config=config(dataset))
    return run / "results" / "bad"


def checksums(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_good_subjects_are_carried_on(finished: Path) -> None:
    rows = read_tsv(finished / "mri_denoise" / "measures.tsv")
    expected = {f"sub-{safe_label(name)}" for name in (*GOOD, *HOSTILE_NAMES)}
    for method in ("input", "gaussian"):
        for measure in ("psnr", "mse"):
            found = {r["subject"] for r in rows if (r["method"], r["measure"]) == (method, measure)}
            assert found == expected, (method, measure)
    assert len(rows) == 4 * len(expected)
    assert all(isinstance(row["value"], int | float) for row in rows)


def test_each_bad_image_is_one_row_with_its_message(finished: Path) -> None:
    rows = read_tsv(finished / "mri_denoise" / "status.tsv")
    for number, case in enumerate(NIFTI):
        subject = f"sub-bad{number:02d}"
        mine = [row for row in rows if row["subject"] == subject]
        if case.carried > 0 or not case.expect:
            assert mine == [], case.name
            continue
        assert len(mine) == 1, f"{case.name}: told once, by the stage where it happened"
        assert (mine[0]["stage"], mine[0]["cohort"], mine[0]["status"]) == ("ingest", "mine", "failed")
        for fragment in case.expect:
            assert fragment.lower() in mine[0]["error"].lower(), case.name
        assert f"{subject}_T1w.nii" in mine[0]["error"], "it names the file"
        assert "Fix: " in mine[0]["error"]
    listed = {row["subject"]: row for row in rows if row["stage"] == "cohort"}
    assert "no T1w found" in listed["sub-empty"]["error"]
    assert "link to nothing" in listed["sub-annexed"]["error"]
    assert any("did you mean 'group'?" in row["error"] for row in rows)
    bad = len([case for case in NIFTI if case.expect])
    assert json.loads((finished / "mri_denoise" / "summary.json").read_text())["failures"] == bad + 1


def test_no_name_leaves_its_folder(finished: Path) -> None:
    for path in finished.rglob("*"):
        assert all(c.isalnum() or c in "-_." for c in path.name), path
    assert not (finished.parents[2] / "x").exists()


def test_the_page_tells_of_all_of_it_and_runs_none_of_it(finished: Path) -> None:
    page = (finished / "mri_denoise" / "report.html").read_text()
    assert "<script>alert(1)" not in page
    for number, case in enumerate(NIFTI):
        if case.expect:
            assert f"sub-bad{number:02d}" in page, case.name
    assert html.escape("did you mean 'group'?", quote=False) in html.unescape(page)
    assert len(page) < 5_000_000


def test_damaged_files_did_not_change_and_were_not_copied(finished: Path, dataset: Path) -> None:
    raw = finished / "mri_denoise" / "cohorts" / "mine" / "raw"
    assert not list(raw.glob("*.nii*"))
    for manifest in raw.glob("*.tsv"):
        for row in read_tsv(manifest):
            if row["status"] == "ok":
                assert Path(row["path"]).is_relative_to(dataset)


def test_strict_stops_and_names_the_file(dataset: Path, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "dataset", GOOD)
    shutil.copytree(dataset / "sub-bad00", root / "sub-bad00")
    text = snakemake(tmp_path, "-c1", "cohorts", config=config(root, strict=True), ok=False)
    assert "Cannot use this image" in text
    assert "sub-bad00_T1w.nii" in text
    assert "  fix:   " in text
    (root / "sub-empty").mkdir()  # absent is no failure; a duplicate is
    shutil.copy(root / "sub-01/anat/sub-01_T1w.nii.gz", root / "sub-01/anat/sub-01_run-1_T1w.nii.gz")
    (root / "sub-01/anat/sub-02_T1w.nii.gz").write_bytes(b"")
    text = snakemake(tmp_path, "-c1", "cohorts", config=config(root, strict=True), ok=False)
    assert "1 scan(s) of cohort 'mine' cannot be used" in text
    assert "names another subject" in text


WHOLE = [
    "no subjects",
    "another suffix",
    "no such folder",
    "participants without ids",
    "ragged participants.tsv",
]
WHOLE_DICOM = ["nothing but text", "only the wrong modality"]


@pytest.mark.parametrize("name", [*WHOLE, *WHOLE_DICOM])
def test_a_whole_input_that_cannot_be_used_stops_with_four_lines(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = case.build(tmp_path / "made")
    text = snakemake(tmp_path, "-c1", "--quiet=rules", "cohorts", config=config(path, case.kind), ok=False)
    for fragment in case.expect:
        assert fragment in text
    for line in ("  where: ", "  why:   ", "  fix:   ", "  log:   "):
        assert line in text
    assert "Traceback" not in text.split("Error in rule")[0]


def test_a_folder_of_mixed_series(tmp_path: Path) -> None:
    path = CASES["mixed series"].build(tmp_path / "made")
    text = snakemake(tmp_path, "-c2", "--quiet=rules", "measured", config=config(path, "dicom"))
    assert "100%" in text
    folder = tmp_path / "results" / "bad" / "mri_denoise" / "cohorts" / "mine"
    assert json.loads((folder / "cohort.json").read_text())["source"] == "dicom"
    assert len(read_tsv(folder / "scans.tsv")) == 2
    taken = read_tsv(folder / "bids" / "taken.tsv")
    assert [row["status"] for row in taken if row["series"]] == ["taken", "taken", "left"]
    assert "modality CT" in read_tsv(folder / "status.tsv")[0]["error"]
    everything = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".gz")
    assert b"Doe" not in everything
    assert b"Who" not in everything


CONFIGS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (
        {"cohorts": {"mine": {"sufix": "T1w"}}},
        ("Unknown key 'sufix'", "mine.sufix", "did you mean 'suffix'?"),
    ),
    (
        {"cohorts": {"mine": {"noise": [900]}}},
        ("Invalid value", "mine.noise.0", "maximum of 50", "% of white matter"),
    ),
    ({"methods": {"gaussian": {"fwhm_mm": -3}}}, ("Invalid value", "gaussian.fwhm_mm", "-3", "mm, above 0")),
    (
        {"cohorts": {"few": {"use": "train", "source": "simulate", "subjects": 2}}},
        ("Training cohort is too small to split", "cohort 'few'", "give it at least 5 subjects"),
    ),
]


@pytest.mark.parametrize(("overlay", "expect"), CONFIGS, ids=["typo", "unit", "negative FWHM", "too small"])
def test_a_bad_configuration_stops_before_anything_is_touched(
    finished: Path, dataset: Path, overlay: dict[str, Any], expect: tuple[str, ...]
) -> None:
    from senmei.core.configuration import merge

    run = finished.parents[1]
    before = checksums(finished)
    wrong = merge(config(dataset), {"studies": {"mri_denoise": overlay}})
    text = snakemake(run, "-c1", "--quiet=rules", "report", config=wrong, ok=False)
    for fragment in expect:
        assert fragment in text
    lines = [line for line in text.splitlines() if line.startswith(("  where: ", "  why:   ", "  fix:   "))]
    assert len(lines) == 3
    assert checksums(finished) == before
