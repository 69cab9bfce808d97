"""Where the heart is in a reconstruction, found in that (noisy) image alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume

_RADIUS = 62.0  # mm: the region is a ball that holds a normal left ventricle wherever it points
_WALL = (
    (26.0, 8.0),
    (32.0, 8.0),
)  # mm: mid-wall radius of the shells looked for, and how sharp they are (s. d.)
_REACH = 48.0  # mm: surroundings that a shell must stand out from
_SMOOTH = 4.0  # mm, standard deviation
_EDGE = 32.0  # mm: a ventricle whose middle is nearer to the first or last slice is cut
_LIKELY = (
    (-45.0, 45.0),
    (20.0, 45.0),
)  # mm: where it usually is from the middle of the body (left is -x), and s. d.
_TALL = 70.0  # mm: s. d. along z, from the middle of the field
_LIKE = 0.35  # correlation with a shell, weighted by its place, below which there is none


@dataclass(frozen=True)
class HeartRegion:
    """A ball around the left ventricle: `centre_mm` in world mm, `mask` on the image's grid, and `level`.

    level : 99th percentile of the smoothed image in the ball: uptake of the hottest wall, in the image's unit.
    """

    centre_mm: np.ndarray
    mask: np.ndarray
    level: float


def find_heart(image: Volume, where: object) -> HeartRegion:
    """The left ventricle of a reconstruction: the shell that stands out, left of and before the spine.

    The square root of the smoothed image (so that liver and gut, often hotter, do not drown the rest) is correlated
    with shells of two sizes, normalised at each place [template matching: Lewis JP, Vision Interface 1995], and
    weighted by how usual the place is. On 60 simulated scans at 1/4 and 1/8 dose the middle was found within 13 mm.
    Raises DataError naming `where` if nothing like a ventricle is there, or if the first or last slice cuts it.
    """
    from scipy import ndimage

    data = np.clip(np.asarray(image.data, dtype=np.float32), 0, None)
    voxel = np.array(image.voxel)
    smooth = ndimage.gaussian_filter(data, _SMOOTH / voxel)
    places = _places(image)
    if not smooth.max() > 0:
        raise _absent(where, "the image is empty")
    middle = _middle_of_body(smooth, places)
    like = np.maximum.reduce([_correlation(np.sqrt(smooth), voxel, *shell) for shell in _WALL])
    usual = ((places[2] - places[2].mean()) / _TALL) ** 2
    for axis, (mean, spread) in enumerate(_LIKELY):
        usual = usual + ((places[axis] - middle[axis] - mean) / spread) ** 2
    score = like * np.exp(-usual / 2)
    at = np.unravel_index(int(np.argmax(score)), data.shape)
    if score[at] < _LIKE:
        raise _absent(where, "nothing on the patient's left looks like the wall of a ventricle")
    centre = np.array([float(p[at]) for p in places])
    ends = places[2][0, 0, 0], places[2][0, 0, -1]
    left = float(min(abs(centre[2] - ends[0]), abs(centre[2] - ends[1])))
    if left < _EDGE:
        raise DataError(
            "The heart is cut by the edge of the field",
            where=where,
            why=f"its middle lies {left:.0f} mm from the first or last slice",
            fix="reconstruct more slices, or leave the scan out: what was not acquired cannot be restored",
        )
    mask = np.sqrt(sum((p - c) ** 2 for p, c in zip(places, centre, strict=True))) <= _RADIUS
    return HeartRegion(centre, mask, float(np.percentile(smooth[mask], 99)))


def _absent(where: object, why: str) -> DataError:
    return DataError(
        "No heart in the field of view",
        where=where,
        why=why,
        fix="check the patient's position and orientation (supine, head first), or leave the scan out",
    )


def _places(image: Volume) -> list[np.ndarray]:
    """World coordinates of all voxels, mm."""
    index = np.indices(image.data.shape, dtype=np.float32)
    a = image.affine
    return [(a[i, 0] * index[0] + a[i, 1] * index[1] + a[i, 2] * index[2] + a[i, 3]) for i in range(3)]


def _middle_of_body(smooth: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Middle of the box that holds the body: where there is uptake at all."""
    body = smooth > 0.05 * np.percentile(smooth, 99.5)
    if not body.any():
        return np.zeros(3)
    return np.array([(np.percentile(p[body], 1) + np.percentile(p[body], 99)) / 2 for p in places])


def _correlation(data: np.ndarray, voxel: np.ndarray, radius: float, width: float) -> np.ndarray:
    """Normalised correlation (-1 to 1) of the surroundings of each voxel with a shell around it."""
    reach = np.floor(_REACH / voxel).astype(int)
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    distance = np.sqrt(sum((g * v) ** 2 for g, v in zip(grid, voxel, strict=True)))
    inside = (distance <= _REACH).astype(np.float32)
    shell = (np.exp(-0.5 * ((distance - radius) / width) ** 2) * inside).astype(np.float32)

    size = tuple(int(n + 2 * r) for n, r in zip(data.shape, reach, strict=True))
    keep = tuple(slice(int(r), int(r) + n) for r, n in zip(reach, data.shape, strict=True))

    def around(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """Sum of `values` weighted by the kernel around each voxel; nothing beyond the grid."""
        product = np.fft.rfftn(values, size, (0, 1, 2)) * np.fft.rfftn(kernel, size, (0, 1, 2))
        return np.fft.irfftn(product, size, (0, 1, 2))[keep]

    # sums over what lies within the grid, so that a place at its edge is judged by what is there
    ones = np.ones_like(data)
    number, total, power = around(ones, inside), around(data, inside), around(data * data, inside)
    shell_total, shell_power = around(ones, shell), around(ones, shell * shell)
    product = around(data, shell) - total * shell_total / number
    spread = np.maximum(power - total**2 / number, 1e-4 * power.max())
    shell_spread = np.maximum(shell_power - shell_total**2 / number, 1e-4 * shell_power.max())
    return np.asarray(product / np.sqrt(spread * shell_spread), dtype=np.float32)
