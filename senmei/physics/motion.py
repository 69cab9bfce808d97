"""Small rigid motion between repeats of one subject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from senmei.core.volume import Volume


@dataclass(frozen=True)
class Motion:
    """A rigid motion about the centre of the grid: translation (mm) and rotation vector (degrees)."""

    shift: tuple[float, float, float]
    turn: tuple[float, float, float]

    def matrix(self) -> np.ndarray:
        """(4, 4) world motion about the origin of rotation."""
        from scipy.spatial.transform import Rotation

        m = np.eye(4)
        m[:3, :3] = Rotation.from_rotvec(self.turn, degrees=True).as_matrix()
        m[:3, 3] = self.shift
        return m


def _motion(shift: np.ndarray, turn: np.ndarray) -> Motion:
    x, y, z, a, b, c = (float(v) for v in (*shift, *turn))
    return Motion((x, y, z), (a, b, c))


def draw_motion(rng: np.random.Generator, mm: float = 1.0, degrees: float = 1.0) -> Motion:
    """Translation and rotation with the given sd an axis."""
    return _motion(mm * rng.standard_normal(3), degrees * rng.standard_normal(3))


def inverse(motion: Motion) -> Motion:
    """The motion that undoes `motion`."""
    from scipy.spatial.transform import Rotation

    m = np.linalg.inv(motion.matrix())
    turn = Rotation.from_matrix(m[:3, :3]).as_rotvec(degrees=True)
    return _motion(m[:3, 3], turn)


def apply_motion(volume: Volume, motion: Motion, order: int | None = None) -> Volume:
    """Move what is in a volume; the grid stays. Intensities by cubic spline, integer volumes by nearest neighbour."""
    if order is None:
        order = 0 if np.issubdtype(volume.data.dtype, np.integer) else 3
    a = volume.affine
    centre = a @ np.append((np.array(volume.shape[:3]) - 1) / 2, 1)
    about = np.eye(4)
    about[:3, 3] = centre[:3]
    world = about @ motion.matrix() @ np.linalg.inv(about)
    index = np.linalg.inv(a) @ np.linalg.inv(world) @ a  # where each output voxel came from
    data = ndimage.affine_transform(volume.data, index[:3, :3], index[:3, 3], order=order, mode="constant")
    if order > 1 and float(volume.data.min()) >= 0:
        data = np.clip(data, 0, None)
    return volume.like(data.astype(volume.data.dtype, copy=False))
