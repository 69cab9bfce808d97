"""A stack of printed sheets: a head's perfusion as transaxial slices on paper, plates between them.

Stack phantoms of sheets printed with radioactive ink bring any digital activity distribution before a rotating camera
[El-Ali H, Ljungberg M, Strand SE, et al. Calibration of a radioactive ink-based stack phantom and its applications in
nuclear medicine. Cancer Biother Radiopharm 2003;18:201-207; the abstract was read, the citation is assumed]. With
plates much thinner than the camera's resolution the stack cannot be told from a continuous body ("sub-resolution
sandwich phantom"), which is what is simulated: the activity of a sheet is spread evenly over the thickness of its
plate. `ripple` says how far that holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from senmei.core.errors import ConfigError
from senmei.phantoms.head import TISSUES, HeadParameters, build_head
from senmei.physics.planar.blur import overlaps

# Grey of the print, 1 is full ink: grey matter takes up four times as much of a perfusion tracer as white (assumed:
# the ratio of the usual brain phantoms); the hot detail twice that of grey matter.
UPTAKE = {"grey": 0.5, "deep_grey": 0.5, "white": 0.125}
HOT, COLD = 1.0, 0.0
LABELS = ("background", "head", "hot", "cold", "around_hot", "around_cold")
MOST_RIPPLE = 0.01
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True)
class SheetStack:
    """A stack before it has any activity.

    sheets : (x, y, sheet) float32, grey 0..1 of each print, from the feet up. grey : (x, y, z) float32, the same spread
    over plates, per voxel: 1 is full ink's activity in the area of a voxel. labels : (x, y, z) uint8, places in LABELS;
    a detail's surroundings are the head in a shell from its surface to twice its radius.
    """

    sheets: NDArray[np.float32]
    grey: NDArray[np.float32]
    labels: NDArray[np.uint8]


def print_stack(
    head: HeadParameters,
    shape: tuple[int, int, int],
    voxel_mm: float,
    sheets: int,
    plate_mm: float,
    detail_mm: float,
    rng: np.random.Generator,
) -> SheetStack:
    """Sheets of a head with a hot and a cold ball of `detail_mm`, at places that `rng` draws.

    shape : (x, y, z) of the fine grid of cubic voxels, its centre the stack's and the head's. A sheet lies in the
    middle of its plate; its print is interpolated linearly between the head's slices. Raises ConfigError where the
    stack is higher than the grid, or there is no room for the details.
    """
    if sheets * plate_mm > shape[2] * voxel_mm + 1e-6:
        raise ConfigError(
            "The stack is higher than the camera's field",
            where="cohorts: stack",
            why=f"{sheets} plates of {plate_mm:g} mm are {sheets * plate_mm:g} mm, {shape[2]} rows of "
            f"{voxel_mm:g} mm {shape[2] * voxel_mm:g} mm",
            fix="give fewer or thinner plates, or more rows",
        )
    fractions = build_head(head, voxel_mm, shape, skull=False).fractions
    grey = np.zeros(shape, np.float32)
    for tissue, uptake in UPTAKE.items():
        grey += np.float32(uptake) * fractions[TISSUES.index(tissue)]
    body = ndimage.binary_fill_holes(fractions[1:].sum(axis=0) > 0.5)
    height = np.abs((np.arange(shape[2]) - (shape[2] - 1) / 2) * voxel_mm)
    body &= height <= sheets * plate_mm / 2
    centres = draw_details(grey, body, detail_mm / 2, voxel_mm, rng)
    labels = body.astype(np.uint8)
    for number, (centre, level) in enumerate(zip(centres, (HOT, COLD), strict=True)):
        away = _distance(shape, centre) * voxel_mm
        inside = np.clip((detail_mm / 2 - away) / voxel_mm + 0.5, 0, 1).astype(np.float32)
        grey += inside * (np.float32(level) - grey)
        labels[body & (away > detail_mm / 2 + voxel_mm) & (away <= detail_mm)] = 4 + number
        labels[away <= detail_mm / 2] = 2 + number
    printed = grey @ _slices(shape[2], voxel_mm, sheets, plate_mm).T
    spread = printed @ overlaps(sheets, plate_mm, shape[2], voxel_mm).T
    return SheetStack(printed.astype(np.float32), spread.astype(np.float32), labels)


def draw_details(
    grey: NDArray, body: NDArray[np.bool_], radius_mm: float, voxel_mm: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Centres (2, 3) in voxels of the hot and the cold ball: deep enough in the head, four radii apart.

    grey : (x, y, z) of the head without them; the cold one lies where there is more of it than at most places, or
    it would be no detail. Raises ConfigError where there is no such place.
    """
    depth = ndimage.distance_transform_edt(np.pad(body, 1))[1:-1, 1:-1, 1:-1] * voxel_mm
    deep = np.argwhere(depth >= 1.8 * radius_mm)
    if len(deep):
        around = ndimage.uniform_filter(grey, max(3, round(2 * radius_mm / voxel_mm)))
        level = around[tuple(deep.T)]
        bright = deep[level >= np.median(level)]
        cold = bright[rng.integers(len(bright))]
        far = deep[np.linalg.norm(deep - cold, axis=1) * voxel_mm >= 4 * radius_mm]
        if len(far):
            return np.stack([far[rng.integers(len(far))], cold])
    raise ConfigError(
        "There is no room for the details",
        where="cohorts: stack.detail_mm",
        why=f"no two balls of {2 * radius_mm:g} mm lie deep in the head and apart from each other",
        fix="make them smaller, or the stack higher",
    )


def ripple(plate_mm: float, fwhm_mm: float) -> float:
    """How much of the sheets a camera sees between them: amplitude of the profile along the stack over its mean.

    Planes `plate_mm` apart behind a Gaussian of `fwhm_mm`: 2 exp(-2 pi² sigma² / plate²), their first harmonic.
    """
    return 2.0 * math.exp(-2.0 * (math.pi * fwhm_mm / _FWHM / plate_mm) ** 2)


def plates(shape: tuple[int, int, int], voxel_mm: float, height_mm: float, mu: float) -> NDArray[np.float32]:
    """(x, y, z) attenuation of round plates of `mu` (1/cm), as wide as the field less two voxels, `height_mm` high."""
    step = [(np.arange(n) - (n - 1) / 2) * voxel_mm for n in shape]
    disc = np.hypot(step[0][:, None], step[1]) <= plate_radius_mm(shape[0], voxel_mm)
    within = np.abs(step[2]) <= height_mm / 2
    return (disc[:, :, None] & within).astype(np.float32) * np.float32(mu)


def plate_radius_mm(size: int, voxel_mm: float) -> float:
    """Radius of the plates in a field of `size` voxels."""
    return (size / 2 - 2) * voxel_mm


def _slices(n: int, voxel_mm: float, sheets: int, plate_mm: float) -> NDArray[np.float64]:
    """(sheet, n) linear interpolation at the middle of each plate; beyond the first and last slice these go on."""
    place = (np.arange(sheets) - (sheets - 1) / 2) * plate_mm / voxel_mm + (n - 1) / 2
    place = np.clip(place, 0, n - 1)
    weights: NDArray[np.float64] = np.clip(1 - np.abs(place[:, None] - np.arange(n)), 0, 1)
    return weights


def _distance(shape: tuple[int, int, int], centre: NDArray) -> NDArray[np.float64]:
    axes = [
        (np.arange(n) - c).reshape([-1 if k == i else 1 for k in range(3)])
        for i, (n, c) in enumerate(zip(shape, centre, strict=True))
    ]
    return np.sqrt(sum(np.square(a, dtype=np.float64) for a in axes))  # type: ignore[arg-type]
