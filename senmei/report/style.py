"""How charts look, and one colour and one marker a method, the same on every page, whatever one's colour vision."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from senmei.report.files import StudyFiles
from senmei.report.pixels import data_uri, few_colours

_MAX_SVG = 120_000  # bytes above which a chart becomes a PNG
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,  # a dollar sign in a title is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8b93a1",
    "axes.labelcolor": "#2b3240",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ee",
    "xtick.color": "#4a5261",
    "ytick.color": "#4a5261",
    "legend.frameon": False,
    "svg.hashsalt": "senmei",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
}

# Okabe & Ito (2008), Color Universal Design; the rest from Tol's 'muted' scheme.
_KNOWN = {
    "input": "#767b84",
    "gaussian": "#e69f00",
    "nlm3d": "#009e73",
    "nlm_dipy": "#56b4e9",
    "srcnn3d": "#cc79a7",
    "unet3d": "#0072b2",
    "gan3d": "#d55e00",
    "butterworth": "#aa4499",
    "nlm": "#009e73",
    "win5rb": "#d55e00",
    "unet3d_n2n": "#0072b2",
    "gaussian_oracle": "#8f6300",  # darker than what it bounds
    "butterworth_oracle": "#6a2a60",
}
_OTHERS = (
    "#332288", "#999933", "#882255", "#44aa99", "#117733", "#ddaa33", "#6699cc", "#661100",
    "#ee7733", "#0077bb", "#ee3377", "#555555", "#bbcc33", "#994455", "#225555", "#aa99dd",
)  # fmt: skip
_MARKERS = "osD^vPX*<>hd8pH"


def colours(methods: Sequence[str]) -> dict[str, str]:
    """method -> colour. Known names always have their own; others take turns in alphabetical order."""
    others = sorted(set(methods) - set(_KNOWN))
    turn = {name: _OTHERS[n % len(_OTHERS)] for n, name in enumerate(others)}
    return {name: _KNOWN.get(name) or turn[name] for name in methods}


def markers(methods: Sequence[str]) -> dict[str, str]:
    """method -> matplotlib marker, by the same rule."""
    order = [*_KNOWN, *sorted(set(methods) - set(_KNOWN))]
    return {name: _MARKERS[order.index(name) % len(_MARKERS)] for name in methods}


@contextmanager
def canvas(width: float, height: float, rows: int = 1, cols: int = 1) -> Iterator[tuple[Figure, list[Any]]]:
    """A figure of rows x cols panels in inches, and its axes; the style lasts as long as the block."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, cols, squeeze=False).ravel())


def encode(figure: Figure) -> str:
    """data: address of a figure: SVG where that is small, else a palette PNG. No dates, no software names."""
    vector = io.BytesIO()
    figure.savefig(
        vector, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    if vector.tell() <= _MAX_SVG:
        return data_uri(vector.getvalue(), "image/svg+xml")
    figure.set_dpi(130)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return data_uri(few_colours(np.asarray(canvas.buffer_rgba())[..., :3]))


def _entry(files: StudyFiles, methods: Sequence[str]) -> float:
    """Inches that an entry of the legend takes, at the font size used there."""
    return max([1.65, *(0.3 + 0.075 * len(files.label(m)) for m in methods)])


def wrapped(label: str) -> str:
    """A label of an axis in two lines where one would be longer than the axis."""
    return "\n".join(textwrap.wrap(label, 34)) if len(label) > 38 else label


def legend(figure: Figure, files: StudyFiles, methods: Sequence[str]) -> None:
    """Name the methods above the panels."""
    colour, marker = colours(files.methods), markers(files.methods)
    handles = [
        Line2D([], [], color=colour[m], marker=marker[m], markersize=5, linewidth=1.6, label=files.label(m))
        for m in methods
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=max(1, min(len(handles), int(figure.get_figwidth() / _entry(files, methods)))),
        fontsize=9,
    )
