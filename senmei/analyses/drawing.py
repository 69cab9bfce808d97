"""How figures of analyses look: like the page's charts. Agg only; equal input gives equal bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, SOFT, LINE = "#2b3240", "#4a5261", "#8b93a1"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe & Ito (2008), Color Universal Design
_DPI = 110
_COLOURS = 160  # of the palette
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#e6e9ee",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
}


@contextmanager
def panels(width: float, height: float, rows: int = 1, cols: int = 1) -> Iterator[tuple[Any, list[Any]]]:
    """A figure of rows x cols panels, in inches, and its axes in reading order; the style lasts as the block does."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, cols, squeeze=False).ravel())


def png(figure: Any) -> bytes:
    """The figure as a palette PNG, without dates or names of programs."""
    import numpy as np
    from PIL import Image

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    stream = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def picture(axes: Any, plane: Any, pixel_mm: float, title: str, **shown: Any) -> Any:
    """Draw (x, y) values as they lie, x to the right and y up, in mm about the centre; returns the image."""
    x, y = (n * pixel_mm / 2 for n in plane.shape)
    drawn = axes.imshow(plane.T, origin="lower", extent=(-x, x, -y, y), interpolation="nearest", **shown)
    axes.set_title(title)
    axes.set_xlabel("mm")
    axes.grid(visible=False)
    return drawn
