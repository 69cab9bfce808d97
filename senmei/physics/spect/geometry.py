"""How a SPECT acquisition is made: grid, views, radii, direction, camera.

Frame: arrays are (x, y, z), RAS+, the patient's left at low x, anterior at high y, the head at high z; world mm with
the origin at the grid's centre. The detector at angle θ stands in direction d = (-s sin θ, cos θ, 0) and its face
runs along u: (cos θ, s sin θ, 0) and v: z; θ = 0 is anterior. s = +1 ("ccw") moves from anterior toward the patient's
left, s = -1 ("cw") toward the right. u = x at θ = 0, and a view is never mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.core.errors import DataError, nearest
from senmei.core.volume import Volume
from senmei.physics.gamma_camera import GammaCamera

DIRECTIONS = ("ccw", "cw")


@dataclass(frozen=True)
class Acquisition:
    """Everything a projector must know.

    shape : (nx, ny, nz) of the image, nx = ny; projections are (u, v, view) = (nx, nz, views). voxel_mm : edge of the
    cubic voxel and of the detector's pixel. angles_deg : of each view. radius_mm : from the axis of rotation to the
    collimator's face, one a view (one number stands for all). direction : "ccw" or "cw". Raises DataError for values
    that cannot be.
    """

    shape: tuple[int, int, int]
    voxel_mm: float
    angles_deg: tuple[float, ...]
    radius_mm: tuple[float, ...]
    direction: str = "ccw"
    camera: GammaCamera = field(default_factory=GammaCamera)

    def __post_init__(self):
        shape = _numbers(self.shape, "shape")
        angles = _numbers(self.angles_deg, "angles_deg")
        radii = _numbers(self.radius_mm, "radius_mm")
        voxel = _numbers([self.voxel_mm], "voxel_mm")[0]
        if len(radii) == 1:
            radii = radii * len(angles)
        if len(shape) != 3 or any(n != int(n) or n < 1 for n in shape) or shape[0] != shape[1]:
            raise _wrong("shape", list(shape), "it must be three whole numbers (nx, ny, nz) with nx = ny")
        if voxel <= 0:
            raise _wrong("voxel_mm", voxel, "a voxel's edge is above zero")
        if not angles:
            raise _wrong("angles_deg", [], "an acquisition has at least one view")
        if len(radii) != len(angles):
            why = f"there are {len(angles)} views: give one radius, or one for each view"
            raise _wrong("radius_mm", f"{len(radii)} radii", why)
        if min(radii) <= 0:
            raise _wrong("radius_mm", min(radii), "a radius is above zero")
        if self.direction not in DIRECTIONS:
            raise _wrong("direction", self.direction, "a camera turns 'ccw' or 'cw'")
        if not isinstance(self.camera, GammaCamera):
            raise _wrong("camera", self.camera, "it must be a GammaCamera")
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "voxel_mm", voxel)
        object.__setattr__(self, "angles_deg", angles)
        object.__setattr__(self, "radius_mm", radii)

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.angles_deg)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(u, v, view)."""
        return self.shape[0], self.shape[2], self.views

    @property
    def sense(self) -> int:
        """+1 for "ccw", -1 for "cw": s of the frame above."""
        return 1 if self.direction == "ccw" else -1

    def detector(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors (3,) in world axes: from the axis toward the detector, and along its u."""
        angle = math.radians(self.angles_deg[view])
        sine, cosine = self.sense * math.sin(angle), math.cos(angle)
        return np.array([-sine, cosine, 0.0]), np.array([cosine, sine, 0.0])

    def plane_distances_mm(self, view: int) -> np.ndarray:
        """Distance (depth,) in mm of each plane of voxels from the collimator's face, far to near; 0 at least."""
        n = self.shape[0]
        along = (np.arange(n) - (n - 1) / 2) * self.voxel_mm
        return np.maximum(self.radius_mm[view] - along, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it: the role `acquisition`."""
        return {
            "shape": list(self.shape),
            "voxel_mm": self.voxel_mm,
            "angles_deg": list(self.angles_deg),
            "radius_mm": list(self.radius_mm),
            "direction": self.direction,
            "camera": self.camera.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Acquisition:
        """The acquisition of a dictionary made by `to_dict`. Raises DataError telling the key that is wrong."""
        if not isinstance(values, Mapping):
            raise _wrong("(whole)", type(values).__name__, "it must be a dictionary")
        known = ("shape", "voxel_mm", "angles_deg", "radius_mm", "direction", "camera")
        for key in values:
            if key not in known:
                raise _wrong(str(key), "unknown key", nearest(str(key), known))
        for key in known:
            if key not in values:
                raise _wrong(key, "missing", "without it the views cannot be placed around the patient")
        camera = values["camera"]
        if not isinstance(camera, Mapping):
            raise _wrong("camera", camera, "it must be a dictionary")
        return cls(**{**values, "camera": GammaCamera.from_dict(camera)})


def orbit(
    shape: Sequence[int],
    voxel_mm: float,
    views: int = 60,
    arc_deg: float = 180.0,
    start_deg: float = -45.0,
    radius_mm: float | Sequence[float] = 250.0,
    direction: str = "ccw",
    camera: GammaCamera | None = None,
) -> Acquisition:
    """Equally spaced views over an arc, the last one a step before its end.

    The default is the usual one of myocardial perfusion: 60 views from 45° right anterior oblique to 45° left
    posterior oblique. radius_mm : one number or one for each view (a body contour). Raises DataError.
    """
    if not isinstance(views, int) or views < 1:
        raise _wrong("views", views, "an orbit has at least one view")
    if not 0 < arc_deg <= 360:
        raise _wrong("arc_deg", arc_deg, "an arc is above 0 and at most 360 degrees")
    angles = tuple(start_deg + arc_deg * i / views for i in range(views))
    radii = (radius_mm,) if isinstance(radius_mm, int | float) else tuple(radius_mm)
    nx, ny, nz = shape
    return Acquisition((nx, ny, nz), voxel_mm, angles, radii, direction, camera or GammaCamera())


def grid_of(acquisition: Acquisition) -> Volume:
    """An empty image (x, y, z) uint8 on the acquisition's grid, its centre at the world's origin."""
    affine = np.diag([acquisition.voxel_mm] * 3 + [1.0])
    affine[:3, 3] = [-(n - 1) / 2 * acquisition.voxel_mm for n in acquisition.shape]
    return Volume(np.zeros(acquisition.shape, np.uint8), affine)


def _numbers(values: Any, key: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in ([values] if isinstance(values, int | float) else values))
    except (TypeError, ValueError):
        raise _wrong(key, values, "it must hold numbers") from None
    if not all(map(math.isfinite, numbers)):
        raise _wrong(key, values, "its numbers must be finite")
    return numbers


def _wrong(key: str, value: Any, why: str) -> DataError:
    return DataError(
        f"a SPECT acquisition cannot be read: {key} is {value!r}",
        where=f"acquisition: {key}",
        why=why,
        fix="see Acquisition in senmei/physics/spect/geometry.py for what each key holds",
    )
