"""Pages of studies with many conditions: labels, tables by condition, subgroups, and the ablation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.analyses.summary import Cells, summarise
from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.statistics import paired_difference
from senmei.io.tables import write_tsv
from senmei.report.ablation import ablation_tables, differences
from senmei.report.conditions import arranged, by_axis, shared, short_labels
from senmei.report.curves import level_axes, level_curves
from senmei.report.figures import box_plots
from senmei.report.files import StudyFiles, condition_label, condition_of
from senmei.report.study import write_study_report
from senmei.report.style import colours
from senmei.report.tables import subgroup_tables, summary_tables
from senmei.report.verdict import verdicts

NAMES = ["time_s", "nuclide", "collimator", "layer_mm"]
FACTS = {
    "psnr": {"title": "PSNR", "unit": "dB", "better": "higher"},
    "bias": {"title": "Bias", "unit": "%", "better": "zero"},
}
METHODS = {"input": 0.0, "bicubic": 1.0, "net": 3.0, "mse": 3.5, "small": 2.0}
FAMILY = {"input": "none", "bicubic": "classical"}
STAR = [
    (10, "Tc-99m", "LEHR", 0),
    (2, "Tc-99m", "LEHR", 0),
    (60, "Tc-99m", "LEHR", 0),
    (10, "I-123", "LEHR", 0),
]
STAR += [(10, "Tc-99m", c, 0) for c in ("ME", "LEAP")]


def conditions(rows: list[tuple]) -> list[Any]:
    return [condition_of(dict(zip(NAMES, row, strict=True)), NAMES) for row in rows]


def build(folder: Path, rows: list[tuple] = STAR, cohorts: dict[str, bool] | None = None) -> Path:
    """A study's folder without images: six subjects of two families, a scan each under each condition."""
    rng, values = np.random.default_rng(1), []
    for cohort, synthetic in (cohorts or {"sheets": True}).items():
        home = folder / "cohorts" / cohort
        home.mkdir(parents=True)
        facts = {"source": "simulate", "use": "train", "synthetic": synthetic, "case": "phantom"}
        (home / "cohort.json").write_text(json.dumps({"cohort": cohort, **facts}))
        for s in range(6):
            for row in rows:
                told = dict(zip(NAMES, row, strict=True)) | {"family": ("photographs", "torsos")[s % 2]}
                scan = {"cohort": cohort, "scan": f"s{s}_{'_'.join(map(str, row))}", "subject": f"s{s}"}
                level = rng.normal(20, 3)
                for method, gain in METHODS.items():
                    score = {"psnr": level + gain + rng.normal(0, 0.1), "bias": -gain + rng.normal(0, 0.1)}
                    for measure, value in score.items():
                        split = {"study": "x", "split": "test", "method": method}
                        values.append({**split, **scan, **told, "measure": measure, "value": value})
    for method in METHODS:
        home = folder / "models" / method
        home.mkdir(parents=True)
        settings = {"loss": "mse" if method == "mse" else "mse_ssim", "rotations": True, "steps": 800}
        settings |= {"blocks": 2, "families": ["torsos", "heads"]} if method == "small" else {"blocks": 4}
        family = FAMILY.get(method, "learned")
        title = "SRResNet" if family == "learned" else method
        card = {"method": method, "use": method if family != "learned" else "srresnet", "title": title}
        (home / "card.json").write_text(json.dumps({**card, "family": family, "settings": settings}))
    columns = ("study", "cohort", "method", "scan", "subject", "split", *NAMES, "family", "measure", "value")
    write_tsv(folder / "measures.tsv", values, columns)
    cards = {m: {"family": FAMILY.get(m, "learned")} for m in METHODS}
    summary = summarise(Cells(NAMES, values), cards, FACTS, 1) | {"study": "x", "run": "r", "title": "Sheets"}
    each = summarise(Cells([*NAMES, "family"], values), cards, FACTS, 1)["headlines"]
    (folder / "summary.json").write_text(json.dumps(summary | {"subgroups": {"family": each}}))
    return folder


def test_axes_that_cross_in_the_first_condition():
    found = conditions(STAR)
    axes = by_axis(found)
    assert axes is not None and list(axes) == ["time_s", "nuclide", "collimator"]
    assert [dict(c)["time_s"] for c in axes["time_s"]] == [2.0, 60.0]
    labels = short_labels(found)
    assert [labels[c] for c in arranged(found)] == [
        "10 s, Tc-99m, LEHR",
        "2 s",
        "60 s",
        "I-123",
        "LEAP",
        "ME",
    ]
    assert condition_label(shared(found)) == "0 mm layer"


def test_a_grid_is_labelled_by_what_varies():
    found = conditions([(t, "Tc-99m", c, 0) for t in (2, 60) for c in ("LEHR", "ME")])
    assert by_axis(found) is None
    assert set(short_labels(found).values()) == {"2 s, LEHR", "2 s, ME", "60 s, LEHR", "60 s, ME"}
    assert short_labels(found[:1]) == {found[0]: "2 s, 0 mm layer, Tc-99m, LEHR"}
    assert list(short_labels(found[::3]).values()) == ["2 s, LEHR", "60 s, ME"]
    assert shared(found[:1]) == () and short_labels([]) == {}


def test_many_conditions_are_rows_and_few_are_columns(tmp_path):
    many = build(tmp_path / "many", [*STAR, (10, "Tc-99m", "LEHR", 50)])
    tables = summary_tables(StudyFiles(many, NAMES), ["psnr"])
    assert [t["turned"] for t in tables] == [True, True]
    assert [c["label"] for c in tables[0]["conditions"]][:2] == ["10 s, 0 mm layer, Tc-99m, LEHR", "2 s"]
    assert {c["n"] for c in tables[0]["conditions"]} == {"n = 6"}
    assert tables[0]["versus"] == "bicubic"
    few = summary_tables(StudyFiles(build(tmp_path / "few"), NAMES), ["psnr"])
    assert not few[0]["turned"] and few[0]["everywhere"] == "0 mm layer"


def test_subgroups_stand_beside_the_headlines_not_among_them(tmp_path):
    files = StudyFiles(build(tmp_path / "x"), NAMES)
    assert {h["n"] for h in files.headlines} == {6}
    tables = subgroup_tables(files, ["psnr"])
    assert [(t["within"], t["measure"], t["primary"]) for t in tables] == [
        ("photographs", "psnr", False),
        ("torsos", "psnr", False),
    ]
    assert {c["n"] for t in tables for c in t["conditions"]} == {"n = 3"}
    one = json.loads((files.folder / "summary.json").read_text())
    one["subgroups"]["family"] = [
        h for h in one["subgroups"]["family"] if h["condition"]["family"] == "torsos"
    ]
    (files.folder / "summary.json").write_text(json.dumps(one))
    assert subgroup_tables(StudyFiles(files.folder, NAMES), ["psnr"]) == []


def test_ablation_pairs_scans_and_counts_subjects(tmp_path):
    folder = build(tmp_path / "r" / "x")
    times = tmp_path / "r" / "benchmarks" / "x" / "train"
    times.mkdir(parents=True)
    (times / "mse.tsv").write_text("s\th:m:s\n46.87\t0:00:46\n")
    files = StudyFiles(folder, NAMES)
    tables = ablation_tables(files, {"base": "net", "of": ["mse", "small"]}, ["psnr", "bias"])
    assert [t["over"] for t in tables] == [
        "All test scans of sheets", "Photographs", "Torsos", "At 10 s, Tc-99m, LEHR", "At 2 s", "At 60 s", "At I-123",
        "At LEAP", "At ME",
    ]  # fmt: skip
    first = tables[0]
    assert (first["n"], tables[1]["n"], first["timed"]) == ("n = 6 subjects", "n = 3 subjects", True)
    base, mse, small = first["rows"]
    assert base["differs"] == [] and mse["differs"] == ["loss: mse, not mse_ssim"]
    assert small["differs"] == ["blocks: 2, not 4", "families: torsos and heads, not default"]
    assert [row["seconds"] for row in first["rows"]] == ["–", "47", "–"]
    scans: dict[str, dict[str, dict[str, float]]] = {}
    for line in (folder / "measures.tsv").read_text().splitlines()[1:]:
        _, _, method, scan, subject, *_, measure, value = line.split("\t")
        if measure == "psnr":
            scans.setdefault(method, {}).setdefault(subject, {})[scan] = float(value)
    found = paired_difference(scans["mse"], scans["net"], seed=0)
    assert found is not None and found.mean == pytest.approx(0.5, abs=0.1)
    assert mse["cells"][0]["difference"]["mean"] == f"+{found.mean:.2f}"
    assert mse["cells"][0]["difference"]["tone"] == "better"
    assert small["cells"][0]["difference"]["tone"] == "worse"
    # the bias is one of distances from 0: 3 % of the base, 2 % of the small one
    assert (
        base["cells"][1]["mean"].startswith(("3.0", "2.9"))
        and small["cells"][1]["difference"]["tone"] == "better"
    )


def test_ablation_never_averages_measured_and_simulated_scans(tmp_path):
    files = StudyFiles(build(tmp_path / "x", STAR[:1], {"a": True, "b": True, "c": False}), NAMES)
    tables = ablation_tables(files, {"base": "net", "of": ["mse"]}, ["psnr"])
    whole = [(t["over"], t["n"]) for t in tables if t["first"]]
    assert sorted(whole) == [
        ("All test scans of a, b", "n = 12 subjects"),
        ("All test scans of c", "n = 6 subjects"),
    ]
    assert {"Cohort a", "Cohort b"} <= {t["over"] for t in tables}
    table = (files.folder / "measures.tsv").read_text().splitlines(keepends=True)
    kept = [
        line
        for line in table
        if line.split("\t")[1] != {"photographs": "b", "torsos": "a"}.get(line.split("\t")[10])
    ]
    (files.folder / "measures.tsv").write_text("".join(kept))
    tables = ablation_tables(files, {"base": "net", "of": ["mse"]}, ["psnr"])
    assert [t["over"] for t in tables if t["badges"] == ("synthetic",)] == [
        "All test scans of a, b",
        "Cohort a",
        "Cohort b",
    ], "families that are cohorts are not shown twice"
    assert ablation_tables(files, None, ["psnr"]) == []
    assert ablation_tables(files, {"base": "net", "of": ["mse"]}, ["ssim"]) == []
    (files.folder / "measures.tsv").unlink()
    with pytest.raises(DataError, match="Cannot read table"):
        ablation_tables(files, {"base": "net", "of": ["mse"]}, ["psnr"])


def test_methods_of_another_kind_differ_in_that(tmp_path):
    files = StudyFiles(build(tmp_path / "x", STAR[:1]), NAMES)
    assert differences(files, "bicubic", "net")[0] == "method: bicubic, not srresnet"


def test_page_has_it_all(tmp_path):
    folder = build(tmp_path / "x", [*STAR, (10, "Tc-99m", "LEHR", 50)])
    spec = {"conditions": NAMES, "primary": ["psnr"], "ablation": {"base": "net", "of": ["mse", "small"]}}
    write_study_report(folder, folder / "report.html", spec)
    page = (folder / "report.html").read_text()
    assert '<h2 id="ablation">Ablation</h2>' in page and "loss: mse, not mse_ssim" in page
    assert '<th scope="row">I-123' in page and "torsos alone" in page
    write_study_report(folder, folder / "report.html", {"conditions": NAMES, "primary": ["psnr"]})
    assert "Ablation" not in (folder / "report.html").read_text()


def test_an_ablation_of_a_method_that_is_not_there():
    root = Path(__file__).resolve().parents[2]
    config = merge(load_yaml(root / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    for ablation, name in (
        ({"base": "srresnot", "of": ["bicubic"]}, "srresnot"),
        ({"base": "srresnet", "of": ["mse"]}, "mse"),
    ):
        config["studies"] = {"gamma_sr": {"report": {"ablation": ablation}}}
        with pytest.raises(ConfigError, match=f"Unknown method '{name}'") as caught:
            resolve(config, root)
        assert "studies.gamma_sr.report.ablation" in str(caught.value)


def test_each_axis_is_drawn_against_what_crosses_it(tmp_path, monkeypatch):
    drawn: list[dict[str, Any]] = []

    def errorbar(self, x, y, yerr, **look):
        drawn.append({"x": np.asarray(x), "y": np.asarray(y), "line": look["linestyle"]})

    monkeypatch.setattr("matplotlib.axes.Axes.errorbar", errorbar)
    files = StudyFiles(build(tmp_path / "x"), NAMES)
    assert level_axes(files, "sheets", ["psnr"]) == ["time_s", "nuclide", "collimator"]
    chart = level_curves(files, "sheets", ["psnr"], "time_s")
    assert chart is not None and "Else 0 mm layer, Tc-99m, LEHR." in chart.caption
    assert len(drawn) == len(METHODS) and all(list(line["x"]) == [2, 10, 60] for line in drawn)
    means = {h["condition"]["time_s"]: h["mean"] for h in files.headlines
             if h["method"] == "input" and h["measure"] == "psnr" and h["condition"]["nuclide"] == "Tc-99m"
             and h["condition"]["collimator"] == "LEHR"}  # fmt: skip
    np.testing.assert_allclose(drawn[0]["y"], [means[t] for t in (2, 10, 60)])
    drawn.clear()
    chart = level_curves(files, "sheets", ["psnr"], "collimator")
    assert chart is not None and {line["line"] for line in drawn} == {"none"}
    places = np.array([line["x"] for line in drawn])
    assert places.shape == (len(METHODS), 3) and (np.abs(places - [0, 1, 2]) < 0.5).all()
    assert len(np.unique(places)) == places.size, "side by side, none on another"
    assert level_curves(files, "sheets", ["psnr"], "distance_mm") is None


def test_a_grid_of_many_is_drawn_where_the_first_scan_lies(tmp_path, monkeypatch):
    files = StudyFiles(
        build(
            tmp_path / "x",
            [(t, "Tc-99m", c, 0) for t in (2, 6, 60) for c in ("LEHR", "ME", "HE", "LEAP", "LEUR")],
        ),
        NAMES,
    )
    chart = level_curves(files, "sheets", ["psnr"], "time_s")
    assert chart is not None and "Else 0 mm layer, Tc-99m, LEHR." in chart.caption
    boxes = box_plots(files, "sheets", "psnr")
    assert boxes is not None and "One of 15 conditions" in boxes.caption
    assert "2 s, 0 mm layer, Tc-99m, LEHR" in verdicts(files, ["psnr"])[0].text, "where the axes start"


def test_many_methods_have_a_colour_each():
    names = [f"network{n}" for n in range(16)]
    assert len(set(colours(names).values())) == 16


def test_differences_from_another_method_in_each_condition_are_said_to_be(tmp_path):
    folder = build(tmp_path / "x")
    summary = json.loads((folder / "summary.json").read_text())
    next(h for h in summary["headlines"] if h["method"] == "net")["versus"] = "gaussian"
    (folder / "summary.json").write_text(json.dumps(summary))
    tables = summary_tables(StudyFiles(folder, NAMES), ["psnr"])
    assert {t["versus"] for t in tables} == {"bicubic", "the best classical one of each condition"}
