"""Charts of whole methods: numbers with intervals of their own, and noise against resolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.report.figures import Chart
from senmei.report.files import StudyFiles, condition_label, condition_of, finite, in_order, read_json
from senmei.report.numbers import by_subject, measure_facts
from senmei.report.style import canvas, colours, encode, legend, markers, wrapped
from senmei.report.verdict import at_condition, named

_CHANCE = {"auc": 0.5}  # what guessing reaches


def interval_chart(files: StudyFiles, cohort: str, measure: str) -> Chart | None:
    """One bar a method and condition from its own interval, as an observer's area under the curve. None without."""
    rows = [h for h in files.headlines if h["cohort"] == cohort and h["measure"] == measure]
    rows = [row for row in rows if finite(row.get("mean")) is not None]
    if not rows:
        return None
    keys = [condition_of(row.get("condition") or {}, files.conditions) for row in rows]
    conditions = in_order(keys)
    methods = [m for m in files.methods if any(row["method"] == m for row in rows)]
    facts, colour, marker = measure_facts(files, measure), colours(files.methods), markers(files.methods)
    lines = len(methods) * len(conditions)
    with canvas(7.6, 0.34 * lines + 1.1) as (figure, (axes,)):
        at, places, names = 0, [], []
        for condition in conditions:
            for method in methods:
                row = next(
                    (r for r, k in zip(rows, keys, strict=True) if k == condition and r["method"] == method),
                    None,
                )
                if row is None:
                    continue
                mean = float(row["mean"])
                ci = row.get("ci95")
                low, high = (mean, mean) if not ci or None in map(finite, ci) else map(float, ci)
                axes.errorbar(
                    mean, at, xerr=[[max(0, mean - low)], [max(0, high - mean)]], color=colour[method],
                    marker=marker[method], markersize=6, linewidth=2, capsize=4,
                )  # fmt: skip
                places.append(at)
                where = f" · {condition_label(condition)}" if len(conditions) > 1 else ""
                names.append(f"{files.label(method)}{where}")
                at += 1
        if measure in _CHANCE:
            axes.axvline(_CHANCE[measure], color="#8b93a1", linestyle=":", linewidth=1.2)
            axes.annotate(
                " chance", (_CHANCE[measure], 1), xycoords=("data", "axes fraction"), va="top", fontsize=8
            )
        axes.set_yticks(places, names)
        axes.set_ylim(at - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(facts["label"])
        src = encode(figure)
    text = f"{facts['title']} by method in {named(files, cohort)}"
    return Chart(src, f"Dots with intervals: {text}.", f"{text}: 95 % confidence interval.", wide=False)


def tradeoff_chart(files: StudyFiles, cohort: str, pair: Sequence[str]) -> Chart | None:
    """Resolution against noise at the verdict's condition: a point a method, a line for each family that was swept.

    pair : (noise measure, resolution measure). Families: see `families`. None without two methods that have both
    numbers.
    """
    condition, _ = at_condition(files, cohort, pair[1])
    points: dict[str, list[float]] = {}
    for measure in pair:
        for method, subjects in by_subject(files, cohort, measure).get(condition, {}).items():
            means = [float(np.mean(values)) for values in subjects.values()]
            points.setdefault(method, []).append(float(np.mean(means)))
    shown = [m for m in files.methods if len(points.get(m, ())) == 2]
    if len(shown) < 2:
        return None
    colour, marker = colours(files.methods), markers(files.methods)
    facts = [measure_facts(files, measure) for measure in pair]
    with canvas(6.6, 4.4) as (figure, (axes,)):
        for name, (x, y, labels) in families(files, cohort, pair, condition).items():
            axes.plot(x, y, color="#8b93a1", linewidth=1.3, zorder=1)
            axes.annotate(
                name, (x[-1], y[-1]), fontsize=8, color="#4a5261", xytext=(18, -3), textcoords="offset points"
            )
            for at, label in enumerate(labels):
                axes.plot(x[at], y[at], ".", color="#8b93a1", markersize=4, zorder=1)
                if at % max(1, len(labels) // 5) == 0:
                    axes.annotate(
                        label,
                        (x[at], y[at]),
                        fontsize=7,
                        color="#4a5261",
                        xytext=(3, 4),
                        textcoords="offset points",
                    )
        for method in shown:
            face = "white" if files.oracle(method) else colour[method]
            axes.plot(*points[method], marker[method], color=colour[method], mfc=face, markersize=8, zorder=3)
        axes.set_xlabel(facts[0]["label"])
        axes.set_ylabel(wrapped(facts[1]["label"]))
        legend(figure, files, shown)
        src = encode(figure)
    where = f" at {condition_label(condition)}" if condition else ""
    text = f"{facts[1]['title']} against {facts[0]['title'].lower()}{where} in {named(files, cohort)}"
    swept = "grey line: the input smoothed by Gaussians, full width at half maximum in mm"
    caption = f"{text}: means over subjects; hollow: oracle; {swept}."
    return Chart(src, f"Scatter chart: {text}.", caption, wide=False)


Family = tuple[np.ndarray, np.ndarray, list[str]]


def families(files: StudyFiles, cohort: str, pair: Sequence[str], condition: Any) -> dict[str, Family]:
    """name -> (noise, resolution, values of the parameter as texts), mean over the test scans of a condition.

    The file {scan}_curve.json of a method holds `curve`, rows of a parameter `fwhm_mm` and of measures: what a
    Gaussian of that width makes of the method's image. Widths of which a scan has no numbers are left out.
    Raises DataError for a file of another form.
    """
    found: dict[float, list[tuple[float, float]]] = {}
    for row in files.table(cohort, "scans"):
        if condition_of(row, files.conditions) != condition or row.get("split") not in ("test", None):
            continue
        path = files.analysed(cohort, "input", str(row["scan"])).get("curve")
        if path is None:
            continue
        for point in _points(path):
            x, y = (finite(point.get(measure)) for measure in pair)
            if x is not None and y is not None:
                found.setdefault(float(point["fwhm_mm"]), []).append((x, y))
    most = max((len(values) for values in found.values()), default=0)
    widths = sorted(width for width, values in found.items() if len(values) == most)
    if len(widths) < 2:
        return {}
    x, y = np.array([np.mean(found[width], axis=0) for width in widths]).T
    return {"Gaussian of … mm": (x, y, [f"{width:g}" for width in widths])}


def _points(path: Path) -> list[dict[str, Any]]:
    points = read_json(path).get("curve")
    if isinstance(points, list) and all(
        isinstance(p, dict) and finite(p.get("fwhm_mm")) is not None for p in points
    ):
        return points
    raise DataError(
        "Cannot draw a swept family",
        where=path,
        why="'curve' is no list of rows with a number 'fwhm_mm'",
        fix="delete it and re-run the analysis",
    )
