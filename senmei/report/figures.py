"""Charts: box plots and learning curves. Agg only, equal input gives equal bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from senmei.core.statistics import subject_means
from senmei.report.conditions import arranged, short_labels
from senmei.report.files import StudyFiles, finite
from senmei.report.numbers import by_subject, conditions_given, measure_facts
from senmei.report.style import canvas, colours, encode, legend, markers, wrapped
from senmei.report.verdict import named

_BOXES = 64  # on a page's width


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
    every = [c for c in conditions_given(files, cohort, measure) if c in data]
    methods = [m for m in files.methods if any(m in group for group in data.values())]
    if not methods:
        return None
    shown = arranged(every) if len(every) * len(methods) <= _BOXES else every[:1]
    names = short_labels(every)
    facts, colour, marker = measure_facts(files, measure), colours(files.methods), markers(files.methods)
    width = 0.8 / len(methods)
    inches = min(12.5, max(5.6, 0.2 * len(methods) * len(shown) + 1.6))
    with canvas(inches, 3.6) as (figure, (axes,)):
        labels = []
        for at, condition in enumerate(shown):
            group, counts = data[condition], []
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
            labels.append(f"{names[condition].replace(', ', chr(10))}\n{n_text}")
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.55, len(labels) - 0.45)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(wrapped(facts["label"]))
        legend(figure, files, methods)
        src = encode(figure)
    text = f"{facts['title']} by condition and method in {named(files, cohort)}"
    caption = f"{text}: boxes are quartiles over subjects, whiskers the range, dots single subjects (n on the axis)."
    if len(shown) < len(every):
        caption += f" One of {len(every)} conditions; the others are in the tables."
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
