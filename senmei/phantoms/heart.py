"""Where things are in a left ventricle: heart coordinates, AHA segments, perfusion defects.

World: mm, x to the patient's right, y anterior, z to the head. The long axis points from the base to the apex (left,
anterior, down). Angles run round the axis as the AHA numbers its segments: 0 anterior, 90 septal, 180 inferior, 270
lateral, degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = (0.30, 0.60, 0.90)  # axial ends of the basal, mid and apical rings; beyond lies the apex (17)
SEGMENTS = (
    "basal anterior", "basal anteroseptal", "basal inferoseptal", "basal inferior", "basal inferolateral",
    "basal anterolateral", "mid anterior", "mid anteroseptal", "mid inferoseptal", "mid inferior",
    "mid inferolateral", "mid anterolateral", "apical anterior", "apical septal", "apical inferior",
    "apical lateral", "apex",
)  # fmt: skip


# -- coordinates ------------------------------------------------------------------------------------------------------
def heart_axes(heart: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, float]:
    """Base (3,), rows (long axis, septum, anterior) (3, 3) unit vectors, and length in mm, of a `heart` dict."""
    base = np.asarray(heart["base_mm"], float)
    axis = np.asarray(heart["apex_mm"], float) - base
    length = float(np.linalg.norm(axis))
    axis /= length
    septum = np.asarray(heart["septum"], float)
    septum = septum - (septum @ axis) * axis
    septum /= np.linalg.norm(septum)
    return base, np.stack([axis, septum, np.cross(septum, axis)]), length


def heart_coordinates(points: np.ndarray, heart: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axial position, angle and radius of world points (..., 3) mm, each of shape (...), float64.

    axial : 0 in the basal plane, 1 at the epicardial apex; outside that range beyond them. angle : degrees in
    [0, 360), 0 anterior, 90 septal, 180 inferior, 270 lateral. radius : mm from the long axis.
    """
    base, axes, length = heart_axes(heart)
    along, septal, anterior = np.moveaxis((np.asarray(points, float) - base) @ axes.T, -1, 0)
    return along / length, np.degrees(np.arctan2(septal, anterior)) % 360, np.hypot(septal, anterior)


def heart_points(axial: Any, angle: Any, radius: Any, heart: dict[str, Any]) -> np.ndarray:
    """World points (..., 3) mm of heart coordinates (broadcast against each other): inverse of the above."""
    base, (along, septum, anterior), length = heart_axes(heart)
    t, phi, r = np.broadcast_arrays(np.asarray(axial, float), np.radians(angle), np.asarray(radius, float))
    t, phi, r = t[..., None], phi[..., None], r[..., None]
    return base + t * length * along + r * (np.sin(phi) * septum + np.cos(phi) * anterior)


def aha_segments(axial: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """AHA segment 1..17 of heart coordinates, uint8; 0 where the axial position lies outside [0, 1.1].

    Cerqueira et al., Circulation 2002;105:539: six segments of 60 degrees in the basal (1-6) and mid ring (7-12), four
    of 90 in the apical ring (13-16), and the apex (17) where the cavity has ended; the rings are thirds of the cavity.
    """
    axial, angle = np.broadcast_arrays(np.asarray(axial), np.asarray(angle))
    six = np.floor(((angle + 30) % 360) / 60).astype(int) % 6
    four = np.floor(((angle + 45) % 360) / 90).astype(int) % 4
    out = np.where(axial < LEVELS[0], 1 + six, np.where(axial < LEVELS[1], 7 + six, 13 + four))
    out = np.where(axial >= LEVELS[2], 17, out)
    return np.where((axial >= 0) & (axial <= 1.1), out, 0).astype(np.uint8)


def segment_centre(segment: int) -> tuple[float, float]:
    """(axial, angle in degrees) of the middle of an AHA segment, 1..17."""
    if not 1 <= segment <= 17:
        raise ValueError(f"AHA segments are numbered 1 to 17, not {segment}")
    if segment == 17:
        return 1.0, 0.0
    ring, k = (0, segment - 1) if segment <= 6 else (1, segment - 7) if segment <= 12 else (2, segment - 13)
    low = (0.0, *LEVELS)[ring]
    return (low + LEVELS[ring]) / 2, k * (90.0 if ring == 2 else 60.0)


# -- defects ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Defect:
    """A perfusion defect of the wall with smooth borders.

    axial, angle_deg : centre in heart coordinates. extent_deg : full width round the axis (360: a ring or the whole
    cap). length_mm : full length along the axis. transmurality : inner (sub-endocardial) share of the wall, 0-1.
    contrast : fraction of the uptake lost in its middle, 0-1. Widths are those at half the contrast.
    """

    axial: float
    angle_deg: float
    extent_deg: float
    length_mm: float
    transmurality: float
    contrast: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("axial", 0, 1), ("extent_deg", 1, 360), ("length_mm", 1, 200), ("transmurality", 0.05, 1),
            ("contrast", 0, 1),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"defect: {name} = {getattr(self, name)} lies outside [{low}, {high}]")


def draw_defect(
    rng: np.random.Generator,
    *,
    segments: tuple[int, ...] = tuple(range(1, 18)),
    extent_deg: tuple[float, float] = (40.0, 100.0),
    length_mm: tuple[float, float] = (20.0, 45.0),
    transmurality: tuple[float, float] = (0.5, 1.0),
    contrast: tuple[float, float] = (0.15, 0.6),
) -> Defect:
    """A defect near the middle of one of the AHA `segments`; the other arguments are ranges drawn from evenly.

    The centre strays from the segment's middle by at most a quarter of its width. Segment 17 is taken whole round the
    axis. Same generator state, same defect.
    """
    segment = int(rng.choice(segments))
    axial, angle = segment_centre(segment)
    shift, turn = rng.uniform(-0.06, 0.06), rng.uniform(-15, 15)
    size = [float(rng.uniform(*r)) for r in (extent_deg, length_mm, transmurality, contrast)]
    if segment == 17:
        return Defect(1.0, 0.0, 360.0, *size[1:])
    return Defect(axial + float(shift), (angle + float(turn)) % 360, *size)
