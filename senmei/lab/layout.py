"""Where everything lies on a printed sheet, in mm from its centre: the image, and the marks that tell how it lies.

The marks are filled spots of full ink, so that the eye, the printer and the gamma camera all see them. Their places
have no symmetry: a sheet that is turned by 180° or seen from behind fits them nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import sheet_affine

PAPERS: dict[str, tuple[float, float]] = {"A4": (210.0, 297.0), "A3": (297.0, 420.0)}  # width, height, mm
WEDGE_STEPS = 4  # a side: 16 patches

# In halves of the image's side beyond (or along) its edge: the sign tells the side, a letter the edge it lies off.
_SPOTS = (
    ("left", 0.92),
    ("right", 0.92),
    ("left", -0.92),
    ("right", -0.45),
    ("bottom", 0.35),
    ("top", -0.30),
)


@dataclass(frozen=True)
class SheetLayout:
    """A page. All lengths in mm.

    pixel_mm : pitch of the printed teacher's pixels. size : pixels a side. paper : of PAPERS, upright. spot_mm :
    diameter of the marks. gap_mm : from the image's edge to the marks' centres; two widths of the camera's point spread
    keep them apart. margin_mm : of the paper that printers leave white.

    Raises ConfigError for what does not fit on the paper.
    """

    pixel_mm: float = 0.6
    size: int = 256
    paper: str = "A4"
    spot_mm: float = 10.0
    gap_mm: float = 18.0
    margin_mm: float = 5.0

    def __post_init__(self):
        if self.paper not in PAPERS:
            raise _bad("paper", f"unknown paper '{self.paper}'", "", nearest(self.paper, PAPERS))
        for name, low, high in (("pixel_mm", 0.02, 20.0), ("spot_mm", 2.0, 60.0), ("gap_mm", 1.0, 100.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise _bad(
                    name,
                    f"impossible value {value!r}",
                    f"it must be from {low:g} to {high:g} mm",
                    "change it",
                )
        if not isinstance(self.size, int) or not 8 <= self.size <= 4096:
            raise _bad(
                "size",
                f"impossible value {self.size!r}",
                "a teacher has 8 to 4096 pixels a side",
                "change it",
            )
        if self.gap_mm < 0.75 * self.spot_mm:
            raise _bad(
                "gap_mm",
                "the marks touch the image",
                f"{self.gap_mm:g} mm are left for them",
                "widen the gap",
            )
        width, height = PAPERS[self.paper]
        beyond = self.gap_mm + self.spot_mm / 2 + self.margin_mm
        need = (self.side_mm + 2 * beyond, self.side_mm + 2 * beyond + 30.0)  # text and scale bar below
        if need[0] > width + 1e-9 or need[1] > height + 1e-9:
            most = (min(width, height - 30.0) - 2 * beyond) / self.size
            why = f"image, marks and margins take {need[0]:.0f} x {need[1]:.0f} mm of {width:g} x {height:g}"
            fix = f"use pixels of at most {most:.3f} mm, a larger paper, or smaller marks"
            raise _bad("pixel_mm", f"the sheet does not fit on {self.paper}", why, fix)

    @property
    def side_mm(self) -> float:
        """Side of the image, mm."""
        return self.size * self.pixel_mm

    @property
    def spots(self) -> NDArray[np.float64]:
        """(n, 2) centres of the marks, mm from the sheet's centre, x right and y up."""
        half, out = self.side_mm / 2, self.side_mm / 2 + self.gap_mm
        of = {"left": (-out, None), "right": (out, None), "top": (None, out), "bottom": (None, -out)}
        return np.array([[along * half if c is None else c for c in of[edge]] for edge, along in _SPOTS])

    def describe(self) -> dict[str, object]:
        """As JSON would have it, for the dataset that the sheets go with."""
        return {
            "paper": self.paper,
            "pixel_mm": self.pixel_mm,
            "size": self.size,
            "side_mm": self.side_mm,
            "spot_mm": self.spot_mm,
            "spots_mm": self.spots.round(4).tolist(),
        }


def printed(
    layout: SheetLayout,
    teacher: Volume,
    *,
    grid: tuple[int, int] | None = None,
    pixel_mm: float | None = None,
    shift_mm: tuple[float, float] = (0.0, 0.0),
    angle_deg: float = 0.0,
    mirrored: bool = False,
) -> Volume:
    """Ink (x, y, 1) float32, 0..1, of a page lying under a camera: grey 1 is full ink, as are the marks.

    grid, pixel_mm : of the result, centred on the world; by default the page itself at its printed pixels. shift_mm,
    angle_deg : how the sheet lies, turned counter-clockwise about its centre, then shifted. mirrored : face down.
    Raises DataError for a teacher of another size.
    """
    step = layout.pixel_mm if pixel_mm is None else float(pixel_mm)
    if grid is None:
        width, height = PAPERS[layout.paper]
        grid = (math.ceil(width / step), math.ceil(height / step))
    x, y = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * step for n in grid], indexing="ij")
    angle = math.radians(angle_deg)
    dx, dy = x - shift_mm[0], y - shift_mm[1]
    px, py = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    if mirrored:
        px = -px
    ink = teacher_at(layout, teacher, px, py)
    for sx, sy in layout.spots:
        edge = layout.spot_mm / 2 - np.hypot(px - sx, py - sy)
        np.maximum(ink, np.clip(edge / step + 0.5, 0.0, 1.0), out=ink)
    return Volume(ink[..., None].astype(np.float32), sheet_affine(grid, step))


def teacher_at(layout: SheetLayout, teacher: Volume, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """The teacher's grey at places of its sheet (mm from the centre), linear between pixels; 0 off the image."""
    from scipy.ndimage import map_coordinates

    if teacher.shape != (layout.size, layout.size, 1):
        raise DataError(
            "This teacher does not fit the sheet",
            where=f"a teacher of shape {teacher.shape}",
            why=f"the sheet is laid out for {layout.size} x {layout.size} pixels",
            fix="resample the teacher, or change the layout's size",
        )
    middle = (layout.size - 1) / 2
    at = np.stack([x / layout.pixel_mm + middle, y / layout.pixel_mm + middle])
    grey = map_coordinates(np.asarray(teacher.data[..., 0], np.float64), at, order=1, mode="nearest")
    grey[(np.abs(x) > layout.side_mm / 2) | (np.abs(y) > layout.side_mm / 2)] = 0.0
    return grey


def wedge(layout: SheetLayout) -> Volume:
    """The calibration wedge as a teacher: 4 x 4 patches of grey 0 to 1, row by row to and fro from the lower left.

    Neighbours then differ little, so that what spreads between them disturbs little.
    """
    steps = wedge_greys()
    at = np.minimum(np.arange(layout.size) * WEDGE_STEPS // layout.size, WEDGE_STEPS - 1)
    data = steps[at[:, None], at[None]].astype(np.float32)[..., None]
    return Volume(data, sheet_affine((layout.size, layout.size), layout.pixel_mm))


def wedge_greys() -> NDArray[np.float64]:
    """(4, 4) greys of the wedge's patches, x right and y up."""
    greys = np.linspace(0.0, 1.0, WEDGE_STEPS**2).reshape(WEDGE_STEPS, WEDGE_STEPS)
    greys[1::2] = greys[1::2, ::-1].copy()
    return greys.T


def _bad(name: str, what: str, why: str, fix: str) -> ConfigError:
    return ConfigError(what, where=f"sheet: {name}", why=why or "it is not among the known ones", fix=fix)
