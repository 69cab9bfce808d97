"""What analyses show: written, named in the summary, and put on the study's page; nothing else is read."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from senmei.analyses import ANALYSES
from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import DataError
from senmei.core.fingerprint import class_constants
from senmei.io.shown import LARGEST, Figure, Note, Shown, Table, read_shown, write_shown
from senmei.io.tables import write_tsv
from senmei.report.files import StudyFiles
from senmei.report.study import write_study_report
from senmei.report.tables import ordered_measures
from senmei.stages.collect import shown_of
from senmei.stages.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
PLACE = "analysed/sheets/fit/input"


def png(size: int = 0) -> bytes:
    """One black pixel, and so many bytes of text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    text = chunk(b"tEXt", b"a\0" + b"x" * size) if size else b""
    return b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


ITEMS = (
    Table("A <b>caption</b>", ("number", "value"), (("width, mm", "7.0"), ("<script>", "1"))),
    Figure("first", png(), "What is seen.", 'Seen "so".'),
    Note("All is well."),
    Note("Look at <this>.", flag=True),
)


def study(tmp_path: Path, shown: list[str] | None = None) -> Path:
    """The files that a page needs, of a study without numbers."""
    folder = tmp_path / "run" / "gamma"
    cohort = {"cohort": "sheets", "source": "simulate", "use": "test", "synthetic": True, "case": "phantom"}
    (folder / "cohorts" / "sheets").mkdir(parents=True)
    (folder / "cohorts" / "sheets" / "cohort.json").write_text(json.dumps({**cohort, "note": "exact"}))
    summary: dict[str, Any] = {"study": "gamma", "run": "run", "title": "Sheets", "headlines": []}
    summary["shown"] = [PLACE] if shown is None else shown
    (folder / "summary.json").write_text(json.dumps(summary))
    write_tsv(
        folder / "measures.tsv", [], ("cohort", "method", "scan", "subject", "split", "measure", "value")
    )
    write_tsv(folder / "status.tsv", [], ("stage", "cohort", "method", "scan", "subject", "status", "error"))
    return folder


def page(folder: Path) -> str:
    write_study_report(folder, folder / "report.html", {})
    return (folder / "report.html").read_text(encoding="utf-8")


def test_what_is_written_is_read_and_what_is_no_longer_shown_goes(tmp_path: Path) -> None:
    write_shown(tmp_path, "The camera", ITEMS)
    assert read_shown(tmp_path) == Shown("The camera", ITEMS)
    before = (tmp_path / "shown.json").read_bytes()
    write_shown(tmp_path, "The camera", ITEMS)
    assert (tmp_path / "shown.json").read_bytes() == before
    (tmp_path / "mine.png").write_bytes(png())
    write_shown(tmp_path, "The camera", [Figure("second", png(), "", "")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.png", "second.png", "shown.json"]


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        (Figure("../up", png(), "", ""), "letters, digits"),
        (Figure("a", b"GIF89a", "", ""), "no PNG"),
        (Figure("a", png(LARGEST), "", ""), "more than"),
    ],
)
def test_figures_that_cannot_be_shown_are_not_written(figure: Figure, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be shown") as caught:
        write_shown(tmp_path / "in", "t", [figure])
    assert why in str(caught.value)
    assert not list(tmp_path.rglob("*.png"))


def test_the_page_shows_tables_figures_and_remarks_and_no_markup_of_theirs(tmp_path: Path) -> None:
    folder = study(tmp_path)
    write_shown(folder / PLACE, "The camera", ITEMS)
    told = page(folder)
    assert '<li><a href="#analyses">Analyses</a></li>' in told
    assert "The camera" in told and "synthetic" in told.split("The camera")[1][:200]
    assert "&lt;script&gt;" in told and "<script" not in told
    assert "A &lt;b&gt;caption&lt;/b&gt;" in told and "Seen &#34;so&#34;." in told
    assert told.count("data:image/png;base64,iVBORw0KGgo") == 1
    assert '<p class="soft">All is well.</p>' in told
    assert '<p class="flag"><span aria-hidden="true">⚑ </span>Look at &lt;this&gt;.</p>' in told
    assert told == page(folder), "the same files, the same bytes"


def test_only_what_the_summary_names_is_shown(tmp_path: Path) -> None:
    folder = study(tmp_path, shown=[])
    write_shown(folder / PLACE, "Of an earlier run", ITEMS)
    assert "Of an earlier run" not in page(folder)
    outside = tmp_path / "outside"
    write_shown(outside, "From elsewhere", ITEMS)
    for place in ("../../outside", "analysed/../../../outside", "/etc", "analysed/other/fit/input", 7):
        summary = json.loads((folder / "summary.json").read_text()) | {"shown": [place]}
        (folder / "summary.json").write_text(json.dumps(summary))
        told = page(folder)
        assert "From elsewhere" not in told and 'id="analyses"' not in told


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"title": "t"}',
        '{"title": "t", "items": [{"kind": "other"}]}',
        '{"title": "t", "items": [{"kind": "figure", "file": "../x.png", "caption": "", "alt": ""}]}',
        '{"title": "t", "items": [{"kind": "figure", "file": "gone.png", "caption": "", "alt": ""}]}',
        '{"title": "t", "items": [{"kind": "table", "caption": "", "columns": ["a"], "rows": [["1", "2"]]}]}',
        '{"title": "t", "items": [{"kind": "note", "text": 5, "flag": false}]}',
        json.dumps({"title": "t", "items": [{"kind": "note", "text": "x" * 5000, "flag": False}]}),
    ],
)
def test_damaged_files_are_told_and_nothing_stops(content: str, tmp_path: Path) -> None:
    folder = study(tmp_path)
    (folder / PLACE).mkdir(parents=True)
    (folder / PLACE / "shown.json").write_text(content)
    told = page(folder)
    assert "Cannot read what an analysis shows" in told
    assert str(tmp_path) not in told


def test_figures_that_are_links_are_not_followed(tmp_path: Path) -> None:
    write_shown(tmp_path / "a", "t", [Figure("first", png(), "", "")])
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "a" / "first.png").unlink()
    (tmp_path / "a" / "first.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="no file, or too large"):
        read_shown(tmp_path / "a")


def test_a_page_keeps_within_its_size(tmp_path: Path) -> None:
    folder = study(tmp_path)
    write_shown(folder / PLACE, "Many", [Figure(f"f{n}", png(400_000), f"Number {n}.", "") for n in range(5)])
    told = page(folder)
    assert "Number 0." in told and "Number 4." not in told
    assert "4 more figures left out" in told or "3 more figures left out" in told
    assert len(told) < 2_000_000


def test_the_summary_names_folders_of_this_runs_tables(tmp_path: Path) -> None:
    for name in ("fit", "old", "bare"):
        (tmp_path / "analysed" / "c" / name / "input").mkdir(parents=True)
    for name in ("fit", "old"):
        write_shown(tmp_path / "analysed" / "c" / name / "input", name, ITEMS)
    tables = [str(tmp_path / "analysed" / "c" / name / "input" / "cohort.tsv") for name in ("bare", "fit")]
    measured = str(tmp_path / "measured" / "c" / "input" / "s.tsv")
    assert shown_of(tmp_path, [measured, *tables]) == ["analysed/c/fit/input"]


def test_some_analyses_ask_the_unrestored_image_alone(tmp_path: Path) -> None:
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "demo", "device": "cpu"})
    config["studies"] = {"gamma_sr": {}}
    resolved = {"run": "x", "seed": 1, "strict": False, "studies": resolve(config, ROOT)["studies"]}
    plan = Plan(resolved, tmp_path)["gamma_sr"]
    found = [(analysis, method, shard) for _, analysis, method, shard in plan.analysed()]
    for name in ("degradation_fit", "pairing"):
        assert [(m, s) for a, m, s in found if a == name] == [("input", "cohort")]
        assert class_constants(ANALYSES.place(name))["methods"] == ("input",)
    assert len(plan.methods) > 2
    assert not class_constants(ANALYSES.place("tissues"))["methods"], "others are asked of all"


def test_numbers_that_the_unrestored_image_alone_has_are_told_once(tmp_path: Path) -> None:
    folder = study(tmp_path)
    rows = [("input", "psnr"), ("gaussian", "psnr"), ("input", "fit_fwhm"), ("input", "count_bias")]
    headlines = [{"cohort": "sheets", "measure": m, "method": x, "mean": 1.0} for x, m in rows]
    summary = json.loads((folder / "summary.json").read_text()) | {"headlines": headlines}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert ordered_measures(StudyFiles(folder), ["count_bias"]) == ["count_bias", "psnr"]
    (folder / "summary.json").write_text(json.dumps(summary | {"shown": []}))
    assert ordered_measures(StudyFiles(folder), []) == ["psnr", "fit_fwhm", "count_bias"]
