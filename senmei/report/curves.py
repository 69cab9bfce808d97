"""Charts of measures against a condition: noise, dose, or each axis of a study that has several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from senmei.core.statistics import bootstrap_ci
from senmei.report.conditions import shared
from senmei.report.figures import Chart
from senmei.report.files import Condition, StudyFiles, condition_label, condition_of, dose_label, finite
from senmei.report.numbers import by_subject, conditions_given, conditions_judged, measure_facts
from senmei.report.style import canvas, colours, encode, legend, markers
from senmei.report.verdict import named

_DASHES: Any = ("-", "--", ":", "-.")
_MAIN = {
    "noise": "Noise (% of white matter)",
    "dose": "Dose (share of the full dose)",
}  # drawn alone where they are
_AXES = {
    **_MAIN,
    "time_s": "Acquisition time (s)",
    "pixel_mm": "Camera pixel (mm)",
    "nuclide": "Nuclide",
    "collimator": "Collimator",
    "distance_mm": "Distance (mm)",
    "layer_mm": "Layer of water (mm)",
}
_WIDE = 30.0  # ratio of the largest to the smallest level from which on an axis is logarithmic


def level_axes(files: StudyFiles, cohort: str, measures: Sequence[str]) -> list[str]:
    """The conditions of several levels that measures are drawn against: noise, or dose, or all that there are.

    A text (a collimator) is one where numbers are, too, but not beside noise or dose.
    """
    found = [c for measure in measures for c in conditions_judged(files, cohort, measure)]
    levels: dict[str, dict[Condition, set[Any]]] = {}
    for condition in dict.fromkeys(found):
        for name, value in condition:
            others = tuple(pair for pair in condition if pair[0] != name)
            levels.setdefault(name, {}).setdefault(others, set()).add(value)
    several = [n for n in files.conditions if any(len(v) > 1 for v in levels.get(n, {}).values())]
    numbers = [n for n in several if any(isinstance(dict(c).get(n), float) for c in found)]
    main = [name for name in _MAIN if name in numbers]
    return main[:1] or (several if numbers else [])


def level_curves(files: StudyFiles, cohort: str, measures: Sequence[str], axis: str) -> Chart | None:
    """Each measure against the levels of one condition. None without such a series.

    Doses are halved from one to the next, so their axis is one of powers of two. Where the other conditions are many,
    those of the first scan are drawn alone.
    """
    data = {measure: conditions_judged(files, cohort, measure) for measure in measures}
    data = {m: conditions for m, conditions in data.items() if any(axis in dict(key) for key in conditions)}
    if not data:
        return None
    kinds = _kinds(files, cohort, next(iter(data)), axis)
    cols = min(2, len(data))
    rows = -(-len(data) // cols)
    drawn: set[str] = set()
    values = {dict(key).get(axis) for conditions in data.values() for key in conditions}
    texts = sorted(value for value in values if isinstance(value, str))
    with canvas(5.4 * cols, 3.0 * rows + 0.5, rows, cols) as (figure, all_axes):
        for axes in all_axes[len(data) :]:
            axes.set_visible(False)
        for axes, measure in zip(all_axes, data, strict=False):
            groups = by_subject(files, cohort, measure)
            drawn |= _curves(axes, files, cohort, measure, groups, axis, kinds, texts)
            axes.set_title(measure_facts(files, measure)["label"])
            axes.set_xlabel(_AXES.get(axis, axis))
            _scale(axes, axis, [value for value in values if isinstance(value, float)], texts)
        legend(figure, files, [m for m in files.methods if m in drawn])
        src = encode(figure)
    text = f"Measures against {spoken(axis)} in {named(files, cohort)}"
    caption = f"{text}: mean over subjects and 95 % confidence interval."
    if axis not in _MAIN and len(kinds) == 1 and kinds[0]:
        caption += f" Else {condition_label(kinds[0])}."
    return Chart(src, f"Line charts: {text}.", caption)


def spoken(axis: str) -> str:
    """A condition's column without its unit."""
    return axis.removesuffix("_s").removesuffix("_mm").replace("_", " ")


def _kinds(files: StudyFiles, cohort: str, measure: str, axis: str) -> list[Condition]:
    """What else may hold where levels of an axis are drawn: all there is, beside noise and dose with single levels too;
    of more than four that of the first scan.
    """
    levels: dict[Condition, set[Any]] = {}
    given = conditions_given(files, cohort, measure)
    for condition in given:
        if axis in dict(condition):
            others = tuple(pair for pair in condition if pair[0] != axis)
            levels.setdefault(others, set()).add(dict(condition)[axis])
    most = [others for others, found in levels.items() if axis in _MAIN or len(found) > 1]
    if len(most) <= len(_DASHES):
        return most
    first = tuple(pair for pair in given[0] if pair[0] != axis)
    return [first] if first in most else most[:1]


def _scale(axes: Any, axis: str, levels: list[float], texts: list[str]) -> None:
    ticks = sorted({level for level in levels if level > 0})
    if texts:
        axes.set_xticks(range(len(texts)), texts)
        axes.set_xlim(-0.5, len(texts) - 0.5)
    elif axis == "dose":
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [dose_label(level) for level in ticks])
        axes.minorticks_off()
    elif axis not in _MAIN and len(ticks) == len(set(levels)) and ticks[-1] > _WIDE * ticks[0]:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{level:g}" for level in ticks])
        axes.minorticks_off()
    elif axis not in _MAIN:
        axes.set_xticks(sorted(set(levels)), [f"{level:g}" for level in sorted(set(levels))])


def _curves(
    axes: Any,
    files: StudyFiles,
    cohort: str,
    measure: str,
    groups: Any,
    axis: str,
    kinds: Sequence[Condition],
    texts: list[str],
) -> set[str]:
    """Lines of one panel; a line a method and kind of condition, each kind with its own dash. Texts have no line."""
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
        if other not in kinds or x is None:
            continue
        for method, subjects in methods.items():
            if point := _point(known.get((condition, method)), subjects):
                lines.setdefault((method, other), []).append((texts.index(x) if texts else x, *point))
    order = [m for m in files.methods if any(m == method for method, _ in lines)]
    kinds = list(dict.fromkeys(other for _, other in lines))  # the kind with most levels first
    for (method, other), points in lines.items():
        x, mean, low, high = (np.array(column) for column in zip(*sorted(points), strict=True))
        style, face = _DASHES[kinds.index(other) % 4], "white" if kinds.index(other) else None
        if texts:  # side by side
            place = order.index(method) + kinds.index(other) / (len(kinds) + 1)
            x, style = x + 0.7 * ((place + 0.5) / len(order) - 0.5), "none"
        errors = np.vstack([mean - low, high - mean]).clip(0)
        axes.errorbar(
            x, mean, errors, color=colour[method], marker=marker[method], linestyle=style, mfc=face,
            markersize=4, linewidth=1.6, capsize=2, elinewidth=1,
        )  # fmt: skip
    if len(kinds) > 1:
        common = shared(kinds)
        faces = [None, *["white"] * (len(kinds) - 1)]
        handles = [
            Line2D(
                [], [], color="#4a5261", linestyle=_DASHES[n % 4], marker="o", mfc=face,
                label=condition_label(tuple(part for part in other if part not in common) or other),
            )
            for n, (other, face) in enumerate(zip(kinds, faces, strict=True))
        ]  # fmt: skip
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
