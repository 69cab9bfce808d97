"""Slices of one scan: input, every method, reference and differences, all at one fixed window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.io.tables import Row
from senmei.report import pixels
from senmei.report.details import detail_box, frame, sheet_detail
from senmei.report.files import StudyFiles, condition_label, condition_of
from senmei.report.look import CURVE, Look, look_of
from senmei.report.numbers import number
from senmei.report.scan import NOT_RESTORED, Scan

_NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2, "sheet": 2}  # the axis a plane is cut across
_LESION = "Planted lesion"
_DETAIL = 0.32  # share of the head's width that a detail shows


@dataclass
class Panel:
    """One picture: address, alternative text, width and height in mm, marks at its sides, and what failed if empty."""

    src: str = ""
    alt: str = ""
    width: float = 1.0
    height: float = 1.0
    marks: tuple[str, str] | None = None
    box: pixels.Frame | None = None  # what is framed in it
    note: str = ""


@dataclass
class ScanFigure:
    """Rows of panels below one header, the windows in words, and remarks."""

    cohort: str
    scan: str
    subject: str
    condition: str
    heads: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, list[Panel]]] = field(default_factory=list)
    windows: str = ""
    notes: list[str] = field(default_factory=list)
    chart: Any = None  # a `figures.Chart` in place of rows

    @property
    def size(self) -> int:
        """Bytes it adds to the page."""
        pictures = sum(len(panel.src) + len(panel.alt) for _, panels in self.rows for panel in panels)
        return pictures + (self.chart.size if self.chart else 0)


def draw_scan(
    files: StudyFiles,
    cohort: str,
    row: Row,
    methods: list[str],
    windows: Mapping[str, Any] | None = None,
    look: Look | None = None,
) -> ScanFigure:
    """The figure of one scan. Without any image it has no rows, and its notes say why.

    row : of scans.tsv. windows : {"image": [low, high], "difference": limit} in multiples of the look's unit.
    look : how the study's pictures are shown; by default as structural MRI. Curves over time become a chart.
    """
    look = look or look_of(windows=windows)
    if CURVE in look.planes:
        from senmei.report.time_curves import draw_time_curves

        return draw_time_curves(files, cohort, row, methods, look)
    scan = Scan(files, cohort, row, methods)
    condition = condition_label(condition_of(row, files.conditions))
    figure = ScanFigure(cohort, str(row["scan"]), str(row.get("subject", "")), condition, notes=scan.notes)
    anchor = scan.anchor
    if anchor is None:
        told = [f"{name}: {text}" for name, text in scan.missing.items() if text != NOT_RESTORED]
        why = "; ".join(told) or "nothing was prepared or restored"
        figure.notes.append(f"No slices to show: {why}.")
        return figure
    level, unit = scan.level, look.unit
    if level is None:
        level, unit = _percentile(scan, anchor, look)
    (low, high), limit = look.window, look.difference
    compared = "restored − reference" if "reference" in scan.images else "restored − input"
    figure.windows = f"Images {low:g} to {high:g} × {unit}; {compared} ±{limit:g} × {unit}."
    if scan.target == "others":
        figure.notes.append("The reference is the mean of the subject's other repeats.")
    if scan.target is None:
        figure.notes.append("There is no reference for this scan; the difference shows what was removed.")
    if anchor.tilt > 5:
        figure.notes.append(
            f"Planes are the scan's own, tilted by up to {anchor.tilt:.0f}° from the anatomical ones."
        )
    columns = ["input", *(f"method {m}" for m in scan.methods), *(["reference"] if scan.target else [])]
    figure.heads = [_head(files, scan, name) for name in columns]
    _Drawing(scan, anchor, columns, (low * level, high * level), limit * level, look).fill(figure)
    return figure


def _percentile(scan: Scan, anchor: pixels.Grid, look: Look) -> tuple[float, str]:
    """(level, what it is) of a scan of which no level is known; of the part shown, if the look crops."""
    mask = scan.images.get("mask")
    if look.crop and mask is not None and mask.shape == anchor.shape and (mask.data > 0).any():
        return float(
            np.percentile(anchor.data[mask.data > 0], 99.5)
        ) or 1.0, "the 99.5th percentile of its part"
    return float(np.percentile(anchor.data, 99)) or 1.0, "the 99th percentile"


def _head(files: StudyFiles, scan: Scan, column: str) -> dict[str, Any]:
    method = column.removeprefix("method ")
    if column == "input":
        return {"title": "Input", "method": "input", "oracle": False}
    if column == "reference":
        title = "Mean of the others" if scan.target == "others" else "Reference"
        return {"title": title, "method": "", "oracle": False}
    return {"title": files.title(method), "method": method, "oracle": files.oracle(method)}


class _Drawing:
    """The panels of one scan."""

    def __init__(
        self,
        scan: Scan,
        anchor: pixels.Grid,
        columns: list[str],
        window: tuple[float, float],
        limit: float,
        look: Look,
    ):
        self.scan, self.anchor, self.columns, self.window, self.limit = scan, anchor, columns, window, limit
        self.look = look
        foreground = (
            anchor.data > 0.15 * window[1] if "reference" in scan.images else np.ones(anchor.shape, bool)
        )
        self.box = pixels.bounding_box(foreground)
        mask = scan.images.get("mask")
        self.inside = mask.data > 0 if mask is not None and mask.shape == anchor.shape else foreground
        judged = pixels.bounding_box(self.inside, 0) if mask is not None else self.box
        if look.crop and mask is not None and self.inside.any():
            self.box = pixels.widened(judged, look.margin_mm, anchor)
        self.middle = {
            plane: (judged[axis].start + judged[axis].stop) // 2 for plane, axis in _NORMAL.items()
        }
        self._through_planted()

    def _through_planted(self) -> None:
        """Cut where the planted defect is, if the scan has one."""
        centre, affine = self.scan.planted.get("centre_mm"), self.anchor.affine
        if centre is None or affine is None:
            return
        place = np.linalg.solve(affine, [*centre, 1.0])[:3].round().astype(int)
        if not all(0 <= p < n for p, n in zip(place, self.anchor.shape, strict=True)):
            return
        self.middle = {plane: int(place[axis]) for plane, axis in _NORMAL.items()}
        named = ", ".join(str(n) for n in self.scan.planted.get("segments") or ())
        where = f" (segment{'s' if ',' in named else ''} {named})" if named else ""
        self.scan.notes.append(f"Cut through the planted defect{where}.")

    def fill(self, figure: ScanFigure) -> None:
        first, *others = self.look.planes
        panels = [self._image(c, first, self.middle[first], self.box) for c in self.columns]
        figure.rows.append((first.capitalize(), panels))
        differences = [self._difference(column, first) for column in self.columns]
        if any(panel.src for panel in differences):
            figure.rows.append(("Difference", differences))
        if "axial" in self.look.planes and not self.look.crop:
            self._fill_detail(figure, panels[0] if first == "axial" else None)
        elif (
            first == pixels.SHEET and max(self.anchor.shape[:2]) > pixels.LARGEST_SIDE
        ):  # the whole is averaged down
            detail, panels[0].box = sheet_detail(self.anchor, self.inside, self.box, self.middle[first])
            panels = [self._image(c, first, self.middle[first], detail) for c in self.columns]
            figure.rows.append(("Detail", panels))
        for plane in others:
            panels = [self._image(c, plane, self.middle[plane], self.box) for c in self.columns]
            figure.rows.append((plane.capitalize(), panels))

    def _fill_detail(self, figure: ScanFigure, whole: Panel | None) -> None:
        """A row of details of an axial slice; where they lie is framed in `whole`."""
        detail, where, index, label = self._detail()
        if where is not None and whole is not None:
            whole.box = where
        panels = [self._image(c, "axial", index, detail, marks=False) for c in self.columns]
        if label == _LESION:
            lesion = pixels.bounding_box(self.scan.images["lesion"].data > 0, 0)
            panels[0].box = panels[-1].box = frame(detail, lesion)
        figure.rows.append((label, panels))

    def _image(self, column: str, plane: str, index: int, box: pixels.Box, marks: bool = True) -> Panel:
        grid, name = self.scan.images.get(column), column.removeprefix("method ")
        if grid is None:
            return Panel(note=self.scan.missing.get(name, "missing"))
        if grid.shape != self.anchor.shape:  # another grid, as in super-resolution: the same place on it
            axis = _NORMAL[plane]
            index = min(int((index + 0.5) * grid.shape[axis] / self.anchor.shape[axis]), grid.shape[axis] - 1)
            box = pixels.rescale(box, self.anchor.shape, grid.shape)
        picture, width, height = pixels.cut(grid, plane, index, box)
        picture = pixels.enlarge(picture, self.look.side)
        src = pixels.data_uri(pixels.image_png(picture, *self.window, self.look.colour))
        alt = f"{name}, {plane} slice of {self.scan.row['scan']}"
        return Panel(src, alt, width, height, pixels.MARKS.get(plane) if marks else None)

    def _difference(self, column: str, plane: str) -> Panel:
        base = "reference" if "reference" in self.scan.images else "input"
        name = column.removeprefix("method ")
        grid, other = self.scan.images.get(column), self.scan.images.get(base)
        if column == base or grid is None or other is None or grid.shape != other.shape:
            return Panel()
        index = self.middle[plane]
        restored, width, height = pixels.cut(grid, plane, index, self.box)
        reference, _, _ = pixels.cut(other, plane, index, self.box)
        difference = restored - reference
        src = pixels.data_uri(
            pixels.signed_png(pixels.enlarge(difference, self.look.side), self.limit, self.look.side > 0)
        )
        spread = f"root mean square {number(float(np.sqrt((difference**2).mean())))}"
        alt = f"{name} minus {base}, {plane} slice of {self.scan.row['scan']}, {spread}"
        return Panel(src, alt, width, height, pixels.MARKS.get(plane))

    def _detail(self) -> tuple[pixels.Box, pixels.Frame | None, int, str]:
        """Box of a detail, where it lies in the axial picture (per cent; None if on another slice), slice, label."""
        x, y, _ = self.box
        dx, dy, _ = self.anchor.voxel
        side = max(_DETAIL * max((x.stop - x.start) * dx, (y.stop - y.start) * dy), 4 * max(dx, dy))
        cols, rows = min(round(side / dx), x.stop - x.start), min(round(side / dy), y.stop - y.start)
        index, label = self.middle["axial"], "Detail"
        lesion = self.scan.images.get("lesion")
        if lesion is not None and lesion.shape == self.anchor.shape and lesion.data.any():
            cx, cy, index = (int(round(float(v.mean()))) for v in (lesion.data > 0).nonzero())
            left = min(max(cx - cols // 2, x.start), x.stop - cols)
            front = min(max(cy - rows // 2, y.start), y.stop - rows)
            label = _LESION
        else:
            picture, _, _ = pixels.cut(self.anchor, "axial", index, self.box)
            inside = pixels.Grid(self.inside, self.anchor.voxel, 0.0)
            row, col = detail_box(picture, pixels.cut(inside, "axial", index, self.box)[0], rows, cols)
            left, front = (
                x.stop - col - cols,
                y.stop - row - rows,
            )  # pictures run right to left, front to back
        box = (slice(left, left + cols), slice(front, front + rows), slice(None))
        where = frame(self.box, box) if index == self.middle["axial"] else None
        return box, where, index, label
