"""Where there is most to see in a picture, and how that part is framed in the whole."""

from __future__ import annotations

import numpy as np

from senmei.report import pixels
from senmei.report.pixels import Box, Frame, Grid


def frame(outer: Box, inner: Box, mirrored: bool = True) -> Frame:
    """Where `inner` lies in the picture of `outer`, axial (mirrored) or sheet: left, top, width, height in per cent."""
    (x, y, _), (u, v, _) = outer, inner
    width, height = x.stop - x.start, y.stop - y.start
    across = x.stop - u.stop if mirrored else u.start - x.start
    parts = (
        across / width,
        (y.stop - v.stop) / height,
        (u.stop - u.start) / width,
        (v.stop - v.start) / height,
    )
    return tuple(round(100 * part, 2) for part in parts)  # type: ignore[return-value]


def detail_box(picture: np.ndarray, inside: np.ndarray, rows: int, cols: int) -> tuple[int, int]:
    """(row, col) of the rows x cols window with most edges, among those that lie within `inside`."""
    down, across = np.gradient(picture.astype(np.float64)) if min(picture.shape) > 1 else (picture, picture)
    edges = np.hypot(down, across) * inside

    def sums(values: np.ndarray) -> np.ndarray:
        total = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        return total[rows:, cols:] - total[:-rows, cols:] - total[rows:, :-cols] + total[:-rows, :-cols]

    covered = sums(inside.astype(np.float64))
    score = np.where(covered >= 0.98 * covered.max(), sums(edges), -1.0)
    row, col = np.unravel_index(int(np.argmax(score)), score.shape)
    return int(row), int(col)


def sheet_detail(grid: Grid, inside: np.ndarray, box: Box, index: int) -> tuple[Box, Frame]:
    """Box of the part of a large sheet with most edges, shown pixel by pixel, and where it lies in the sheet's picture.

    inside : (x, y, z) bool, where to look. box : what is shown of the sheet. index : along z.
    """
    (x, y, z), shown = box, pixels.Grid(inside, grid.voxel, 0.0)
    picture, within = (pixels.cut(one, pixels.SHEET, index, box)[0] for one in (grid, shown))
    rows, cols = (min(side, pixels.LARGEST_SIDE) for side in picture.shape)
    row, col = detail_box(picture, within, rows, cols)
    left, top = x.start + col, y.stop - row
    found = (slice(left, left + cols), slice(top - rows, top), z)
    return found, frame(box, found, mirrored=False)
