"""Sheets to print: one true-scale PDF page a teacher, and the calibration wedge.

Grey 1 is printed black, as full ink and highest activity; so a teacher looks like its negative. Nothing is scaled:
print at 100 %, and measure the scale bar. The same input gives the same bytes: no dates, no names of machines.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.atomic import atomic_path
from senmei.lab.layout import PAPERS, SheetLayout, wedge
from senmei.lab.profiles import Printer, Substrate

_BAR_MM = 50.0
_TEXT = 140
_TEXT_MM = 18.0  # that bar and text take


@dataclass(frozen=True)
class Page:
    """One page to print. name : its id, printed as text. teacher : (size, size, 1) grey 0..1. note : a line below."""

    name: str
    teacher: Volume
    note: str = ""


def write_sheets(
    path: str | os.PathLike[str],
    pages: Sequence[Page],
    layout: SheetLayout,
    printer: Printer,
    substrate: Substrate,
    *,
    with_wedge: bool = True,
) -> Path:
    """One PDF of all pages, each with its marks, scale bar, id and what to know; the wedge first if wanted.

    Greys go through the printer's tone curve, so that ink (activity) is proportional to grey as far as the curve is
    right; the wedge tells how far it is. Raises DataError for no pages, two of one id, a teacher of another size or
    with greys beyond 0..1.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    every = [Page("wedge", wedge(layout), "calibration: 16 steps, grey 0 to 1")] if with_wedge else []
    every += pages
    _check(every, layout)
    out = Path(path)
    about: dict[str, Any] = {
        "Creator": "Senmei",
        "Producer": None,
        "CreationDate": None,
        "Title": "Paper phantoms",
    }
    width, height = PAPERS[layout.paper]
    fonts: Any = {"pdf.fonttype": 42, "font.family": "DejaVu Sans"}
    with (
        matplotlib.rc_context(fonts),
        atomic_path(out) as draft,
        PdfPages(draft, metadata=about) as pdf,
    ):
        for number, page in enumerate(every, 1):
            figure = Figure(figsize=(width / 25.4, height / 25.4))
            _draw(figure, page, f"{number}/{len(every)}", layout, printer, substrate)
            pdf.savefig(figure, dpi=printer.dpi)
    return out


def _draw(
    figure: Any, page: Page, number: str, layout: SheetLayout, printer: Printer, substrate: Substrate
) -> None:
    from matplotlib.patches import Circle, Rectangle

    width, height = PAPERS[layout.paper]
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-width / 2, width / 2)
    axes.set_ylim(-height / 2, height / 2)
    axes.set_axis_off()
    half = layout.side_mm / 2
    drive = printer.drive(np.asarray(page.teacher.data[..., 0], np.float64))
    levels = np.round(255 * (1.0 - drive)).astype(np.uint8)
    rows = np.repeat(levels.T[::-1, :, None], 3, axis=2)
    axes.imshow(rows, extent=(-half, half, -half, half), interpolation="none", aspect="equal", zorder=1)
    axes.set_xlim(-width / 2, width / 2)
    axes.set_ylim(-height / 2, height / 2)
    for x, y in layout.spots:
        axes.add_patch(Circle((x, y), layout.spot_mm / 2, color="black", linewidth=0, zorder=2))
    # Text and bar are in ink too, and so are faint sources: thin, and as far below the marks as the paper allows.
    bottom = min(-half - layout.gap_mm - layout.spot_mm / 2, -height / 2 + layout.margin_mm + _TEXT_MM)
    axes.add_patch(Rectangle((-half, bottom - 6), _BAR_MM, 0.5, color="black", linewidth=0))
    for end in (-half, -half + _BAR_MM - 0.3):
        axes.add_patch(Rectangle((end, bottom - 7.5), 0.3, 3.5, color="black", linewidth=0))
    say = {"fontsize": 6, "color": "black", "va": "top", "parse_math": False}
    axes.text(-half + _BAR_MM + 3, bottom - 4, f"{_BAR_MM:g} mm: print at 100 %", **say)
    axes.text(half, bottom - 4, f"{page.name[:_TEXT]}   {number}", ha="right", **(say | {"fontsize": 8}))
    lines = [
        f"pixel {layout.pixel_mm:g} mm, {layout.size} x {layout.size}, black = grey 1 = full ink. {page.note[:_TEXT]}",
        f"{printer.title} on {substrate.title}; this side to the camera, this edge toward its lower border.",
    ]
    axes.text(-half, bottom - 11, "\n".join(lines), linespacing=1.4, **say)


def _check(pages: Sequence[Page], layout: SheetLayout) -> None:
    if not pages:
        raise _bad("sheets", "there is no page to print", "give at least one teacher")
    seen: set[str] = set()
    for page in pages:
        data = np.asarray(page.teacher.data)
        if page.name in seen:
            raise _bad(page.name, "two pages have this id", "give each page an id of its own")
        if data.shape != (layout.size, layout.size, 1):
            why = f"its teacher is {data.shape}; the layout is for {layout.size} x {layout.size} pixels"
            raise _bad(page.name, why, "resample the teacher, or change the layout's size")
        if not np.isfinite(data).all() or data.min() < 0 or data.max() > 1:
            raise _bad(page.name, "its greys are not within 0 and 1", "window the teacher first")
        seen.add(page.name)


def _bad(where: str, why: str, fix: str) -> DataError:
    return DataError("This page cannot be printed", where=where, why=why, fix=fix)
