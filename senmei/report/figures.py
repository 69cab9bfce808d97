"""Charts: box plots, measure against noise or dose, learning curves. Agg only, equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from senmei.core.statistics import bootstrap_ci, subject_means
from senmei.report.files import Condition, StudyFiles, condition_label, condition_of, dose_label, finite
from senmei.report.numbers import by_subject, conditions_judged, measure_facts
from senmei.report.style import canvas, colours, encode, legend, markers, wrapped
from senmei.report.verdict import named

_DASHES: Any = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Chart:
    """A finished chart: address, alternative text, caption, and whether it needs the page's whole width."""

    src: str
    alt: str
    caption: str
    wide: bool = True

    @property
    def size(self) -> int:
        """Bytes it adds to the page."""
        return len(self.src) + len(self.alt) + len(self.caption)


def box_plots(files: StudyFiles, cohort: str, measure: str) -> Chart | None:
    """One measure in one cohort: a group a condition, a box a method, a dot a subject. None without values."""
    data = by_subject(files, cohort, measure)
    methods = [m for m in files.methods if any(m in group for group in data.values())]
    if not methods:
        return None
    facts, colour, marker = measure_facts(files, measure), colours(files.methods), markers(files.methods)
    width = 0.8 / len(methods)
    inches = min(12.5, max(5.6, 0.2 * len(methods) * len(data) + 1.6))
    with canvas(inches, 3.6) as (figure, (axes,)):
        labels = []
        for at, (condition, group) in enumerate(data.items()):
            counts = []
            for n, method in enumerate(methods):
                values = list(subject_means(group.get(method, {})).values())
                if not values:
                    continue
                counts.append(len(values))
                place = at + (n - (len(methods) - 1) / 2) * width
                _box(axes, values, place, width, colour[method], marker[method])
            n_text = (
                f"n = {min(counts)}" if min(counts) == max(counts) else f"n = {min(counts)}–{max(counts)}"
            )
            labels.append(f"{condition_label(condition).replace(', ', chr(10))}\n{n_text}")
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.55, len(labels) - 0.45)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(wrapped(facts["label"]))
        legend(figure, files, methods)
        src = encode(figure)
    text = f"{facts['title']} by condition and method in {named(files, cohort)}"
    caption = f"{text}: boxes are quartiles over subjects, whiskers the range, dots single subjects (n on the axis)."
    return Chart(src, f"Box plots: {text}.", caption, wide=inches > 8)


def _box(axes: Any, values: list[float], place: float, width: float, colour: str, marker: str) -> None:
    if len(values) > 2:
        drawn = axes.boxplot(
            [values],
            positions=[place],
            widths=0.82 * width,
            whis=(0, 100),
            patch_artist=True,
            manage_ticks=False,
        )
        for part in ("boxes", "whiskers", "caps", "medians"):
            for artist in drawn[part]:
                artist.set(color=colour, linewidth=1.8 if part == "medians" else 1.0)
        drawn["boxes"][0].set_facecolor(colour + "38")
    if len(values) <= 30:  # without a box, the method's own marker
        look = ("o", 3.4) if len(values) > 2 else (marker, 6)
        axes.plot([place] * len(values), values, look[0], color=colour, markersize=look[1], markeredgewidth=0)


_AXES = {"noise": "Noise (% of white matter)", "dose": "Dose (share of the full dose)"}


def level_axis(files: StudyFiles, cohort: str, measures: Sequence[str]) -> str | None:
    """The numeric condition of several levels that measures are drawn against: noise, else dose, else the first."""
    found = {condition for measure in measures for condition in conditions_judged(files, cohort, measure)}
    levels: dict[str, dict[Condition, set[float]]] = {}
    for condition in found:
        for name, value in condition:
            if isinstance(value, float):
                others = tuple(pair for pair in condition if pair[0] != name)
                levels.setdefault(name, {}).setdefault(others, set()).add(value)
    series = sorted(name for name, kinds in levels.items() if any(len(v) > 1 for v in kinds.values()))
    return next((name for name in (*_AXES, *series) if name in series), None)


def level_curves(files: StudyFiles, cohort: str, measures: Sequence[str]) -> Chart | None:
    """Each measure against the levels of noise or dose. None without such a series.

    Doses are halved from one to the next, so their axis is one of powers of two.
    """
    axis = level_axis(files, cohort, measures)
    data = {measure: conditions_judged(files, cohort, measure) for measure in measures}
    data = {m: conditions for m, conditions in data.items() if any(axis in dict(key) for key in conditions)}
    if axis is None or not data:
        return None
    cols = min(2, len(data))
    rows = -(-len(data) // cols)
    drawn: set[str] = set()
    with canvas(5.4 * cols, 3.0 * rows + 0.5, rows, cols) as (figure, all_axes):
        for axes in all_axes[len(data) :]:
            axes.set_visible(False)
        for axes, measure in zip(all_axes, data, strict=False):
            drawn |= _curves(axes, files, cohort, measure, by_subject(files, cohort, measure), axis)
            axes.set_title(measure_facts(files, measure)["label"])
            axes.set_xlabel(_AXES.get(axis, axis))
            if axis == "dose":
                found = {dict(key).get(axis) for conditions in data.values() for key in conditions}
                ticks = sorted(level for level in found if isinstance(level, float) and level > 0)
                axes.set_xscale("log", base=2)
                axes.set_xticks(ticks, [dose_label(level) for level in ticks])
                axes.minorticks_off()
        legend(figure, files, [m for m in files.methods if m in drawn])
        src = encode(figure)
    text = f"Measures against {axis} in {named(files, cohort)}"
    return Chart(src, f"Line charts: {text}.", f"{text}: mean over subjects and 95 % confidence interval.")


def _curves(axes: Any, files: StudyFiles, cohort: str, measure: str, groups: Any, axis: str) -> set[str]:
    """Lines of one panel; a line a method and kind of condition, each kind with its own dash."""
    known = {
        (condition_of(h.get("condition") or {}, files.conditions), str(h["method"])): h
        for h in files.headlines
        if h["cohort"] == cohort and h["measure"] == measure
    }
    colour, marker = colours(files.methods), markers(files.methods)
    lines: dict[tuple[str, Condition], list[tuple[float, float, float, float]]] = {}
    for condition, methods in groups.items():
        x = dict(condition).get(axis)
        other = tuple(pair for pair in condition if pair[0] != axis)
        for method, subjects in methods.items():
            point = _point(known.get((condition, method)), subjects)
            if isinstance(x, float) and point:
                lines.setdefault((method, other), []).append((x, *point))
    kinds = list(dict.fromkeys(other for _, other in lines))  # the kind with most levels first
    for (method, other), points in lines.items():
        x, mean, low, high = (np.array(column) for column in zip(*sorted(points), strict=True))
        style, face = _DASHES[kinds.index(other) % 4], "white" if kinds.index(other) else None
        errors = np.vstack([mean - low, high - mean]).clip(0)
        axes.errorbar(
            x, mean, errors, color=colour[method], marker=marker[method], linestyle=style, mfc=face,
            markersize=4, linewidth=1.6, capsize=2, elinewidth=1,
        )  # fmt: skip
    if len(kinds) > 1:
        faces = [None, *["white"] * (len(kinds) - 1)]
        handles = [
            Line2D(
                [],
                [],
                color="#4a5261",
                linestyle=_DASHES[n % 4],
                marker="o",
                mfc=face,
                label=condition_label(other),
            )
            for n, (other, face) in enumerate(zip(kinds, faces, strict=True))
        ]
        axes.legend(handles=handles, fontsize=8)
    return {method for method, _ in lines}


def _point(
    headline: dict[str, Any] | None, subjects: dict[str, list[float]]
) -> tuple[float, float, float] | None:
    """(mean, low, high): the summary's own numbers where it has them, else the same bootstrap with seed 0."""
    if headline and (mean := finite(headline.get("mean"))) is not None:
        ci = headline.get("ci95") or (mean, mean)
        low, high = (mean if finite(end) is None else float(end) for end in ci)
        return mean, low, high
    found = bootstrap_ci(subjects, seed=0)
    return None if found is None else (found.mean, *(found.ci or (found.mean, found.mean)))


def learning_curves(files: StudyFiles) -> Chart | None:
    """Every numeric column of the learned methods' history against the step. None without a learned history."""
    history = {m: files.history(m) for m in files.methods if files.family(m) == "learned"}
    history = {m: rows for m, rows in history.items() if rows}
    every = (pair for rows in history.values() for row in rows for pair in row.items())
    names = list(dict.fromkeys(name for name, value in every if finite(value) is not None))
    names = [name for name in names if name not in ("step", "epoch")][:6]
    if not names:
        return None
    cols = min(3, len(names))
    rows_n = -(-len(names) // cols)
    colour = colours(files.methods)
    with canvas(4.0 * cols + 0.4, 2.7 * rows_n + 0.5, rows_n, cols) as (figure, all_axes):
        for axes in all_axes[len(names) :]:
            axes.set_visible(False)
        for axes, name in zip(all_axes, names, strict=False):
            for method, rows in history.items():
                points = [(finite(r.get("step")), finite(r.get(name))) for r in rows]
                points = [(n if x is None else x, y) for n, (x, y) in enumerate(points) if y is not None]
                if not points:
                    continue
                points = points[:: max(1, len(points) // 250)]
                few = len(points) < 25
                axes.plot(
                    *zip(*points, strict=True), color=colour[method], linewidth=1.6, marker="." if few else ""
                )
            axes.set_title(name.replace("_", " "))
            axes.set_xlabel("step")
        legend(figure, files, list(history))
        src = encode(figure)
    text = f"Learning curves of {', '.join(files.title(m) for m in history)}"
    return Chart(src, f"Line charts: {text}.", f"{text}, from history.tsv.")
