"""The page of one study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError
from senmei.io.atomic import write_text
from senmei.io.tables import Row
from senmei.report.ablation import ablation_tables
from senmei.report.curves import level_axes, level_curves, spoken
from senmei.report.figures import Chart, box_plots, learning_curves
from senmei.report.files import Condition, StudyFiles, condition_of, in_order, kind
from senmei.report.heart import HeartFigure, draw_heart
from senmei.report.limits import limit_lines
from senmei.report.look import Look, look_of
from senmei.report.methods_text import collect_versions, methods_text
from senmei.report.page import render
from senmei.report.performance import interval_chart, tradeoff_chart
from senmei.report.records import exported_table, failures_table, fitted_table, provenance
from senmei.report.shown import shown_sections
from senmei.report.slices import ScanFigure, draw_scan
from senmei.report.style import colours
from senmei.report.tables import cohorts_table, ordered_measures, subgroup_tables, summary_tables
from senmei.report.verdict import badges, first_measure, middle_condition, verdicts

PAGE_LIMIT = 5_000_000  # bytes of the whole page
_CHARTS = 1_500_000  # of these, at most for charts
_SHOWN = 1_000_000  # at most for the figures of analyses
_SLICES = 2_900_000  # and at most for slices
_RESERVED = 1_000_000  # that slices have in any case; tables of secondary measures give way
_MARGIN = 60_000  # for the text around the slices


def write_study_report(study_dir: Path, out: Path, spec: Mapping[str, Any]) -> None:
    """Write report.html of a study: static, self-contained, the same bytes for the same files.

    study_dir : results/{run}/{study}. out : the page, written atomically.
    spec : "title", "run", "figure_scans" (scans shown as slices per cohort, default 2), "conditions" (columns by
        which measures are broken down), "primary" (measures shown first), "sentences" ({"text", "references"} for
        the methods paragraph), "windows" ({"image": [low, high], "difference": limit}, multiples of the level in
        `scans`' `data_range`), "figures" (how pictures are shown: fields of `look.Look`; default: summary.json's),
        "ablation" ("base", "of": methods; see `ablation_tables`).
    Raises DataError when summary.json or another table is missing or damaged. An image that cannot be read is
    named in its place.
    """
    files = StudyFiles(Path(study_dir), list(spec.get("conditions") or ()))
    look = study_look(files, spec)
    context = _context(files, spec, look)
    size = _size(render("study.html", **context, slices=[], hearts=[], hidden=0))
    if size > PAGE_LIMIT - _RESERVED:
        context["tables"], context["untold"] = [t for t in context["tables"] if t["primary"]], True
        size = _size(render("study.html", **context, slices=[], hearts=[], hidden=0))
    slices, hearts, hidden = _slices(files, spec, look, min(_SLICES, PAGE_LIMIT - _MARGIN - size))
    page = render("study.html", **context, slices=slices, hearts=hearts, hidden=hidden)
    if _size(page) > PAGE_LIMIT:
        raise DataError(
            "The study's page would be too large",
            where=out,
            why=f"{_size(page)} bytes without pictures; a page stays below {PAGE_LIMIT}",
            fix="name fewer measures in `report: primary`, or split the study's cohorts over two studies",
        )
    write_text(Path(out), page)


def study_look(files: StudyFiles, spec: Mapping[str, Any]) -> Look:
    """How the study's pictures are shown: as `spec` says, else as its summary.json does, else as structural MRI."""
    declared = spec.get("figures") or files.summary.get("figures")
    return look_of(declared, spec.get("windows"), where=f"figures of study '{files.name}'")


def _size(page: str) -> int:
    return len(page.encode("utf-8"))


def _context(files: StudyFiles, spec: Mapping[str, Any], look: Look) -> dict[str, Any]:
    """All that the template shows but the slices."""
    primary = [str(name) for name in spec.get("primary") or ()]
    run = str(spec.get("run") or files.summary.get("run") or "")
    charts, axis, undrawn = _charts(files, primary, look)
    analyses, unshown = shown_sections(files, _SHOWN)
    colour = colours(files.methods)
    return {
        "title": str(spec.get("title") or files.summary.get("title") or files.name),
        "study": files.name,
        "run": run,
        "verdicts": verdicts(files, primary),
        "limits": limit_lines(files),
        "look": look,
        "oracles": [files.title(m) for m in files.methods if files.oracle(m)],
        "cohorts": cohorts_table(files),
        "methods": [{"name": m, "title": files.title(m), "colour": colour[m]} for m in files.methods],
        "boxes": charts["box"],
        "curves": charts["curve"],
        "axis": axis or "noise",
        "intervals": charts["interval"],
        "tradeoffs": charts["tradeoff"],
        "undrawn": undrawn,
        "analyses": analyses,
        "unshown": unshown,
        "learning": learning_curves(files),
        "tables": [*summary_tables(files, primary), *subgroup_tables(files, primary)],
        "ablation": ablation_tables(
            files, spec.get("ablation"), primary or ordered_measures(files, primary)[:4]
        ),
        "untold": False,
        "fitted": fitted_table(files),
        "exported": exported_table(files),
        "failures": failures_table(files),
        "words": methods_text(files, list(spec.get("sentences") or ())),
        "versions": collect_versions(files),
        "provenance": provenance(files, run),
    }


def shown_scans(files: StudyFiles, cohort: str, count: int, measure: str | None) -> list[Row]:
    """The test scans whose slices are shown: one of the verdict's condition first, then the other conditions
    in turn, each by another subject where there is one.
    """
    rows = [row for row in files.table(cohort, "scans") if row.get("split") in ("test", None)]
    rows.sort(key=lambda row: not row.get("defect"))  # one with a planted defect shows more
    groups: dict[Condition, list[Row]] = {}
    for row in rows:
        groups.setdefault(condition_of(row, files.conditions), []).append(row)
    order = in_order(groups)
    headlines = [h for h in files.headlines if h["cohort"] == cohort and measure in (None, h["measure"])]
    first = middle_condition([condition_of(h.get("condition") or {}, files.conditions) for h in headlines])
    if first not in groups:
        first = middle_condition(order)
    # Another kind of condition (accelerated, say) tells more than another level of the same.
    order.sort(key=lambda c: (c != first, kind(c) == kind(first or ())))
    chosen: list[Row] = []
    turn = 0
    while len(chosen) < min(count, len(rows)):
        for n, condition in enumerate(order):
            left = [row for row in groups[condition] if row not in chosen]
            if left and len(chosen) < count:
                chosen.append(left[(n + turn) % len(left)] if turn or n else left[0])
        turn += 1
    return chosen


def _slices(
    files: StudyFiles, spec: Mapping[str, Any], look: Look, room: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Figures of the chosen scans and of their hearts, one of each cohort in turn until `room` bytes are used; how
    many scans are left out.
    """
    count = int(spec.get("figure_scans", 2))
    measure = first_measure(files, list(spec.get("primary") or ()))
    chosen = {cohort: shown_scans(files, cohort, count, measure) for cohort in files.cohorts}
    queue = [(cohort, rows[n]) for n in range(count) for cohort, rows in chosen.items() if n < len(rows)]
    figures: list[ScanFigure] = []
    hearts: list[HeartFigure] = []
    for cohort, row in queue:
        figure, heart = (
            draw_scan(files, cohort, row, files.methods, look=look),
            draw_heart(files, cohort, row, look),
        )
        size = figure.size + (heart.size if heart else 0)
        if size > room:
            break
        room -= size
        figures.append(figure)
        hearts += [heart] if heart else []
    return _marked(files, figures), _marked(files, hearts), len(queue) - len(figures)


def _marked(files: StudyFiles, figures: Sequence[Any]) -> list[dict[str, Any]]:
    """The figures with their cohort's badges, in the order of cohorts."""
    names = list(files.cohorts)
    ordered = sorted(figures, key=lambda figure: names.index(figure.cohort))
    return [{"figure": f, "badges": badges(files.cohorts[f.cohort])} for f in ordered]


def _charts(
    files: StudyFiles, primary: list[str], look: Look
) -> tuple[dict[str, list[Chart]], str | None, int]:
    """Charts by kind, of the primary measures (of the first four, if none is primary); the condition that curves are
    drawn against; how many charts had no room.
    """
    known = ordered_measures(files, primary) or sorted(files.measures["measure"].dropna().unique())
    names = [m for m in known if m in primary] or known[:4]
    cohorts = [c for c in files.cohorts if (files.measures["cohort"] == c).any()]
    axes = {cohort: level_axes(files, cohort, names) for cohort in cohorts}
    each = list(dict.fromkeys(name for found in axes.values() for name in found))

    def drawn() -> Iterator[tuple[str, Chart | None]]:
        for cohort in cohorts:
            for name in axes[cohort]:
                yield "curve", level_curves(files, cohort, names, name)
        for cohort in cohorts if look.tradeoff else ():
            yield "tradeoff", tradeoff_chart(files, cohort, look.tradeoff)
        for measure in names:
            for cohort in cohorts:
                if measure in files.bounded:
                    yield "interval", interval_chart(files, cohort, measure)
                else:
                    yield "box", box_plots(files, cohort, measure)

    charts: dict[str, list[Chart]] = {"box": [], "curve": [], "interval": [], "tradeoff": []}
    room, undrawn = _CHARTS, 0
    for place, chart in drawn():
        if chart is None:
            continue
        if chart.size > room:
            undrawn += 1
            continue
        room -= chart.size
        charts[place].append(chart)
    told = spoken(each[0]) if len(each) == 1 else "conditions" if each else None
    return charts, told, undrawn
