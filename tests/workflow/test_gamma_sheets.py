"""Printed sheets through the workflow: pages before there are scans, then scans, good ones and bad, to the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from senmei.io.tables import read_tsv, write_tsv
from tests.laboratory.sheets import BAD, LAYOUT, PAGE, expose, lying, save_scan
from tests.workflow.running import planned, snakemake


def config(folder: Path) -> dict[str, Any]:
    """A cohort of eight photographs whose scans will lie in `folder`."""
    split = {"train": 0.4, "validation": 0.2, "test": 0.4}
    printed = {"use": "train", "source": "sheets", "path": str(folder), "teachers": ["photographs"]}
    printed |= {"subjects": 7, "layout": LAYOUT, "split": split}
    study = {"shards": 1, "cohorts": {"sheets": None, "printed": printed}}
    study["methods"] = {"richardson_lucy": None, "srresnet": {"steps": 4}}
    others = {name: {"enabled": False} for name in ("mri_denoise", "spect_denoise")}
    return {"run": "lab", "preset": "tiny", "device": "cpu", "studies": {**others, "gamma_sr": study}}


def fill(table: Path, folder: Path) -> None:
    """Image every printed page, fill the table as it came, and add scans that went wrong."""
    rows = read_tsv(table)
    for number, row in enumerate(rows):
        if row["page"] != "wedge":
            how = {"shift_mm": (3.0 - number, 2.0), "angle_deg": 1.5 - 0.5 * number}
            save_scan(folder / row["file"], expose(lying(row["page"], **how), seed=number))
        row["start_min"] = 40 + 15 * number
    for name, (make, header, columns, _) in BAD.items():
        save_scan(folder / f"{name}.dcm", make(), **header)
        rows.append({"file": f"{name}.dcm", "page": PAGE, **columns})
    (folder / "text.dcm").write_text("no image")
    rows += [{"file": "text.dcm", "page": PAGE}, {"file": "absent.dcm", "page": PAGE}]
    rows += [{"file": "../elsewhere.dcm", "page": PAGE}, {"file": "two.dcm", "page": "camerra"}]
    write_tsv(folder / "scans.tsv", rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: sheets printed while there is no folder of scans, which are then made and learned from."""
    place = tmp_path_factory.mktemp("laboratory")
    scans = place / "scans"
    snakemake(place, "-c2", "--quiet=rules", "sheets", config=config(scans))
    assert not scans.exists()
    scans.mkdir()
    fill(place / "results/lab/gamma_sr/printed/printed/scans.tsv", scans)
    snakemake(place, "-c2", "--quiet=rules", "report")
    return place


def study_of(run: Path) -> Path:
    return run / "results" / "lab" / "gamma_sr"


def test_pages_come_before_scans(run: Path) -> None:
    printed = study_of(run) / "printed" / "printed"
    pages = read_tsv(printed / "pages.tsv")
    assert [row["page"] for row in pages][:3] == ["wedge", "astronaut", "brick"]
    assert (printed / "sheets.pdf").read_bytes().count(b"/MediaBox") == len(pages) == 8
    plan = read_tsv(printed / "plan.tsv")
    assert [row["page"] for row in plan] == [row["page"] for row in pages]
    assert all(0 < row["acquisition_s"] <= 600.5 and row["mbq"] > 0 for row in plan)
    assert json.loads((printed / "layout.json").read_text())["layout"]["pixel_mm"] == 1.4
    assert "100 %" in (printed / "notes.txt").read_text()
    assert planned(run, "sheets") == {}, "scans change nothing of what was printed"


def test_good_scans_are_registered_and_keep_the_split_of_their_pages(run: Path) -> None:
    cohort = study_of(run) / "cohorts" / "printed"
    raw = [row for row in read_tsv(cohort / "raw/train-0.tsv") if row["role"] == "low"]
    raw += [row for path in ("validation-0", "test-0") for row in read_tsv(cohort / f"raw/{path}.tsv")]
    good = [row for row in raw if row["status"] == "ok" and row["role"] == "low"]
    assert len(good) == 7
    assert all(row["residual_mm"] < 0.3 and row["marks"] == 6 for row in good)
    pages = {row["subject"]: row["split"] for row in read_tsv(study_of(run) / "printed/printed/pages.tsv")}
    assert all(pages[row["subject"]] == row["split"] for row in good)
    assert set(pages.values()) >= {"train", "validation", "test"}


def test_each_bad_scan_is_a_row_with_its_reason(run: Path) -> None:
    rows = [row for row in read_tsv(study_of(run) / "status.tsv") if row["status"] == "failed"]
    told = [row["error"] for row in rows]
    wanted = [text for *_, text in BAD.values()]
    wanted += ["no DICOM file", "its file is not there", "outside the folder", "did you mean 'camera'?"]
    for text in wanted:
        assert sum(text in error for error in told) == 1, (text, told)
    assert len(told) == len(wanted), "and nothing else failed"
    (wedge,) = [row for row in read_tsv(study_of(run) / "status.tsv") if row["status"] == "left"]
    assert "calibration wedge" in wedge["error"]


def test_what_follows_is_as_of_simulated_sheets(run: Path) -> None:
    study = study_of(run)
    with (study / "measures.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["method"] for row in rows} == {"input", "bicubic", "butterworth", "srresnet"}
    assert {row["measure"] for row in rows} == {"psnr", "ssim", "count_bias", "roi_count_error"}
    for row in rows:
        assert (row["nuclide"], row["collimator"], float(row["time_s"])) == ("Tc-99m", "LEHR", 600.0)
        assert float(row["pixel_mm"]) == pytest.approx(5.388, abs=0.001)
        assert row["measure"] != "psnr" or 12 < float(row["value"]) < 40
        assert row["measure"] != "count_bias" or abs(float(row["value"])) < 0.01
    page = (study / "report.html").read_text()
    assert "printed sheets" in page
    assert "printed with radioactive ink" in page
    assert "in simulation" not in page, "nothing here was simulated as far as the study knows"
    written = [p for p in study.rglob("*") if p.suffix in (".tsv", ".json", ".html")]
    assert not any("4711" in p.read_text() or "Paper^Phantom" in p.read_text() for p in written)
    assert planned(run, "report") == {}, "a finished run plans nothing"


def test_without_printed_cohorts_it_is_said_how_to_have_one(tmp_path: Path) -> None:
    told = config(tmp_path)
    told["studies"]["gamma_sr"] = {}
    text = snakemake(tmp_path, "-n", "sheets", config=told, ok=False)
    assert "There are no sheets to print" in text
    assert "source: sheets" in text


def test_what_a_day_was_printed_with_outlives_a_run_that_fails(tmp_path: Path) -> None:
    own = config(tmp_path / "scans")
    cohort = own["studies"]["gamma_sr"]["cohorts"]["printed"]
    cohort |= {"use": "test", "subjects": 1}
    snakemake(tmp_path, "-c1", "--quiet=rules", "sheets", config=own)
    folder = study_of(tmp_path) / "printed" / "printed"
    rows = read_tsv(folder / "scans.tsv")
    write_tsv(folder / "scans.tsv", [{**row, "start_min": 44.5} for row in rows])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "none").mkdir()
    cohort["pictures"] = str(tmp_path / "none")
    told = snakemake(tmp_path, "-c1", "--quiet=rules", "sheets", config=own, ok=False)
    assert "holds no teacher" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
