"""Pages lying under a simulated camera, as they should and as they should not, and the files the camera leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.volume import Volume
from senmei.io.dicom_nm_write import planar_to_dicom, save_dicom
from senmei.io.projections import EnergyWindow, PlanarImage
from senmei.lab.layout import SheetLayout, printed
from senmei.phantoms.teachers import load_teacher
from senmei.physics.planar.camera import PlanarCamera, draw_counts
from senmei.physics.planar.sheet import sheet_affine

LAYOUT = {"size": 64, "pixel_mm": 1.4}  # 90 mm, so that two sheets fit into one field
CAMERA = PlanarCamera(matrix=256)  # 1.35 mm pixels, LEHR at 10 cm
GRID, STEP = 512, CAMERA.image_pixel_mm / 2
PAGE = "camera"  # that all bad scans claim to be


def lying(name: str = PAGE, layout: SheetLayout | None = None, **how: Any) -> np.ndarray:
    """Ink (512, 512, 1) of a page under the camera; `how` as of `senmei.lab.layout.printed`."""
    layout = layout or SheetLayout(**LAYOUT)
    teacher = load_teacher(name, layout.size, layout.pixel_mm)
    return printed(layout, teacher, grid=(GRID, GRID), pixel_mm=STEP, **how).data


def expose(ink: np.ndarray, peak: float = 120.0, seed: int = 0) -> np.ndarray:
    """(256, 256) counts drawn of ink, so long that the brightest pixel expects `peak`."""
    expected = CAMERA.expected(Volume(ink, sheet_affine((GRID, GRID), STEP)))
    scaled = expected.like(expected.data * (peak / expected.data.max()))
    return draw_counts(scaled, np.random.default_rng(seed)).data[..., 0]


def save_scan(path: Path, counts: np.ndarray, **header: Any) -> None:
    """A static image as a camera leaves it: (x, y) counts, x right and y up. header : fields of PlanarImage."""
    told = {"nuclide": "Tc-99m", "collimator": "LEHR", "duration_s": 600.0}
    told |= {"pixel_mm": (CAMERA.image_pixel_mm,) * 2, **header}
    image = PlanarImage(
        counts=np.ascontiguousarray(counts.T[::-1])[None, None].astype(np.int32),
        windows=(EnergyWindow("photopeak", 126.0, 154.0),),
        views=("anterior",),
        **told,
    )
    data = planar_to_dicom(image, subject="sub-1", identity=f"the scan {path.stem}")
    data.PatientName, data.PatientID = "Paper^Phantom", "4711"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_dicom(path, data)


def _no_marks() -> np.ndarray:
    ink = lying()
    half = int(SheetLayout(**LAYOUT).side_mm / 2 / STEP)
    alone = np.zeros_like(ink)
    cut = slice(GRID // 2 - half, GRID // 2 + half)
    alone[cut, cut] = ink[cut, cut]
    return expose(alone)


def _two() -> np.ndarray:
    return expose(np.maximum(lying(shift_mm=(-82.0, 5.0)), lying("cell", shift_mm=(84.0, -8.0))))


# name of the file -> how it is made, fields of its header, columns of its row, what its status must tell
Bad = tuple[Callable[[], np.ndarray], dict[str, Any], dict[str, Any], str]
BAD: dict[str, Bad] = {
    "unmarked": (_no_marks, {}, {}, "no set of spots in it lies as the 6 marks of the sheet do"),
    "turned": (lambda: expose(lying(angle_deg=179.0)), {}, {}, "the sheet is turned by 180°"),
    "cropped": (lambda: expose(lying(shift_mm=(135.0, 0.0))), {}, {}, "the sheet is cropped"),
    "two": (_two, {}, {}, "there is a second sheet"),
    "saturated": (
        lambda: np.minimum(expose(lying(), 2000.0), 255),
        {},
        {},
        "it is saturated",
    ),
    "zoomed": (
        lambda: expose(lying()),
        {"pixel_mm": (CAMERA.image_pixel_mm * 1.78,) * 2},
        {},
        "would fit",
    ),
    "other": (lambda: expose(lying("brick")), {}, {}, "does not look like its page"),
    "iodine": (lambda: expose(lying()), {"nuclide": "I-123"}, {"nuclide": "Tc-99m"}, "header I-123"),
    "short": (lambda: expose(lying()), {}, {"time_s": 60}, "the table says 60 s, the file's header 600 s"),
}
