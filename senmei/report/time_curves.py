"""Time-activity curves of one scan: input, every method and the reference over time, in place of slices."""

from __future__ import annotations

from typing import Any

import numpy as np

from senmei.io.tables import Row
from senmei.report.figures import Chart
from senmei.report.files import StudyFiles, condition_label, condition_of
from senmei.report.look import Look
from senmei.report.scan import NOT_RESTORED, Scan
from senmei.report.slices import ScanFigure
from senmei.report.style import canvas, colours, encode

_TRUTH = "#15181d"
_DASHES: Any = ("-", "--", "-.", ":")


def draw_time_curves(files: StudyFiles, cohort: str, row: Row, methods: list[str], look: Look) -> ScanFigure:
    """The figure of one scan whose images are curves, (frames, 1, 1): first axis time, its step in seconds.

    The input has a panel of its own, as it may be another place's curve; beside it the reference and what methods made
    of the input. Without any curve there is no chart, and the notes say why.
    """
    scan = Scan(files, cohort, row, methods)
    condition = condition_label(condition_of(row, files.conditions))
    figure = ScanFigure(cohort, str(row["scan"]), str(row.get("subject", "")), condition, notes=scan.notes)
    shown = [name for name, grid in scan.images.items() if grid.shape[1:] == (1, 1)]
    told = [f"{files.title(m)}: {text}" for m, text in scan.missing.items() if text != NOT_RESTORED]
    figure.notes += [f"{text}." for text in told]
    if not shown:
        figure.notes.append("No curves to show: nothing was prepared or restored that is one.")
        return figure
    colour = colours(files.methods)
    with canvas(12.5, 3.0, 1, 2) as (drawing, (before, after)):
        if "input" in shown:
            _line(
                before, scan.images["input"], 1.0, color=colour.get("input", "#767b84"), drawstyle="steps-mid"
            )
        before.set_title("Input")
        before.set_ylabel("counts per frame")
        level, unit = (scan.level, look.unit) if scan.level else (1.0, "counts per frame")
        if "reference" in shown:
            _line(
                after,
                scan.images["reference"],
                level,
                color=_TRUTH,
                linewidth=2.6,
                alpha=0.45,
                label="Reference",
            )
        for n, method in enumerate(m for m in scan.methods if f"method {m}" in shown):
            look_of_line = {"color": colour[method], "linestyle": _DASHES[(n + n // 8) % 4], "linewidth": 1.5}
            _line(after, scan.images[f"method {method}"], level, label=files.label(method), **look_of_line)
        after.set_title("Reference and estimates")
        after.set_ylabel(f"× {unit}" if scan.level else unit)
        for axes in (before, after):
            axes.set_xlabel("time (s)")
            axes.set_xlim(left=0)
        if after.lines:
            after.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        src = encode(drawing)
    text = f"Input and estimated time-activity curves of {row['scan']}"
    caption = (
        "Left: counts of the input. Right: the noise-free reference and what each method made of the input."
    )
    figure.chart = Chart(src, f"Line charts: {text}.", caption)
    return figure


def _line(axes: Any, grid: Any, level: float, **look: Any) -> None:
    values = np.asarray(grid.data[:, 0, 0], np.float64) / level
    axes.plot((np.arange(len(values)) + 0.5) * grid.voxel[0], values, **look)
