"""A small lesion planted in white matter, to see whether restoration removes it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.physics.intensity import white_matter_level

WHITE_LABEL = 3


def plant_lesion(
    volume: Volume, labels_or_mask: Volume, rng: np.random.Generator, radius_mm: float, contrast: float
) -> tuple[Volume, Volume]:
    """Change a small sphere in white matter by `contrast` (fraction of the white-matter level; negative is darker).

    labels_or_mask : uint8 on the volume's grid: tissue labels, or a brain mask (0/1), in which case the sphere
    goes where the smoothed image looks like white matter, well inside the mask. Returns the changed volume and the
    lesion (uint8, at least half covered voxels); the sphere has partial volume at its rim. Raises DataError when there
    is no room for it.
    """
    labels = np.asarray(labels_or_mask.data)
    data = np.asarray(volume.data, np.float32)
    voxel = volume.voxel
    if labels.max(initial=0) >= WHITE_LABEL:
        home = labels == WHITE_LABEL
        level = float(np.median(data[home])) if home.any() else 0.0
    else:
        brain = labels > 0
        if not brain.any():
            raise _no_room("the mask is empty")
        level = white_matter_level(data, brain)
        below = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=voxel)[1:-1, 1:-1, 1:-1]
        look = ndimage.gaussian_filter(data, 1.0, truncate=3)
        home = (below > 0.3 * below.max()) & (np.abs(look - level) < 0.1 * level)
    room = ndimage.distance_transform_edt(np.pad(home, 1), sampling=voxel)[1:-1, 1:-1, 1:-1]
    fits = np.flatnonzero(room.ravel() > radius_mm + 0.5 * max(voxel))
    if fits.size == 0:
        raise _no_room(
            f"the widest white matter is {room.max():.1f} mm from its border, the lesion's radius {radius_mm:g} mm"
        )
    at = np.unravel_index(int(rng.choice(fits)), data.shape)
    offset = [
        ((np.arange(n) - c) * v).reshape([-1 if j == i else 1 for j in range(3)])
        for i, (n, c, v) in enumerate(zip(data.shape, at, voxel, strict=True))
    ]
    distance = np.sqrt(sum(o**2 for o in offset))
    cover = np.clip(0.5 + (radius_mm - distance) / float(np.mean(voxel)), 0, 1).astype(np.float32)
    changed = np.clip(data + contrast * level * cover, 0, None).astype(np.float32)
    return volume.like(changed), volume.like((cover >= 0.5).astype(np.uint8))


def _no_room(why: str) -> DataError:
    return DataError(
        "Cannot plant a lesion",
        where="labels or mask",
        why=why,
        fix="use a smaller radius, finer voxels, or a mask that covers the white matter",
    )
