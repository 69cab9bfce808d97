"""A torso for myocardial-perfusion SPECT: labelled anatomy, tracer and attenuation, different in every subject.

World: mm, origin at the middle of the grid (the axis of rotation), x to the patient's right, y anterior, z to the head;
the middle of the left ventricle lies near z = 0. Arms are up and out of the field. Uptake ratios and attenuation
coefficients are "assumed": from general knowledge, not from a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from senmei.core.errors import ConfigError
from senmei.core.volume import Volume
from senmei.phantoms.heart import Defect, aha_segments, draw_defect, heart_coordinates
from senmei.phantoms.torso_organs import PARTS, paint
from senmei.phantoms.torso_shape import TorsoShape, draw_torso
from senmei.phantoms.ventricle import contraction, ventricle

__all__ = [
    "LABELS", "UPTAKE", "UPTAKE_RANGE", "Defect", "Torso", "TorsoShape", "draw_defect", "draw_torso",
    "draw_uptake", "grid_affine", "render_torso",
]  # fmt: skip

LABELS: dict[str, int] = {
    "background": 0, "body": 1, "lung": 2, "liver": 3, "spleen": 4, "blood": 5, "myocardium": 6,
    "right_ventricle": 7, "bone": 8, "breast": 9, "gut": 10, "kidney": 11, "vessels": 12, "fat": 13,
}  # fmt: skip
_LABEL_OF = {
    "muscle": "body", "cartilage": "body", "valve": "body", "spine": "bone", "rib": "bone", "sternum": "bone",
    "stomach_wall": "gut", "stomach": "gut", "gallbladder": "gut",
}  # fmt: skip

# Uptake relative to normal left-ventricular muscle = 1, Tc-99m perfusion tracer at an hour: low and high ("assumed").
UPTAKE_RANGE: dict[str, tuple[float, float]] = {
    "muscle": (0.05, 0.13), "fat": (0.015, 0.04), "lung": (0.04, 0.11), "liver": (0.45, 1.15),
    "spleen": (0.4, 0.9), "kidney": (0.5, 1.1), "stomach_wall": (0.1, 0.45), "stomach": (0.02, 0.25),
    "gut": (0.1, 1.1), "gallbladder": (0.5, 2.0), "spine": (0.08, 0.2), "rib": (0.04, 0.1),
    "cartilage": (0.02, 0.05), "sternum": (0.08, 0.18), "breast": (0.03, 0.1), "vessels": (0.06, 0.13),
    "blood": (0.06, 0.13), "right_ventricle": (0.3, 0.55), "valve": (0.06, 0.15),
}  # fmt: skip
UPTAKE: dict[str, float] = {"background": 0.0, "myocardium": 1.0} | {
    name: round((low + high) / 2, 4) for name, (low, high) in UPTAKE_RANGE.items()
}
# Linear attenuation at 140.5 keV, 1/cm ("assumed"); the lung's is drawn for each subject.
MU: dict[str, float] = {
    "background": 0.0, "muscle": 0.157, "fat": 0.140, "liver": 0.158, "spleen": 0.158, "kidney": 0.157,
    "stomach_wall": 0.155, "stomach": 0.130, "gut": 0.148, "gallbladder": 0.155, "spine": 0.190, "rib": 0.225,
    "cartilage": 0.165, "sternum": 0.185, "breast": 0.145, "vessels": 0.158, "blood": 0.158,
    "myocardium": 0.158, "right_ventricle": 0.158, "valve": 0.157,
}  # fmt: skip
_TEXTURE = {
    "liver": 0.06,
    "lung": 0.15,
    "muscle": 0.20,
    "fat": 0.2,
    "spleen": 0.08,
    "gut": 0.35,
    "kidney": 0.1,
}


@dataclass(frozen=True)
class Torso:
    """A rendered torso; all volumes (x, y, z) on one grid.

    labels : uint8, see LABELS (the part that fills most of the voxel). activity : float32, relative uptake, partial
    volume averaged. mu : float32, 1/cm at 140.5 keV. segments : uint8, AHA 1..17 in the wall, else 0. heart : see
    `senmei.phantoms.ventricle.LeftVentricle.describe`.
    """

    labels: Volume
    activity: Volume
    mu: Volume
    segments: Volume
    heart: dict[str, Any]


def grid_affine(shape: tuple[int, ...], voxel_mm: float) -> np.ndarray:
    """(4, 4) voxel index -> world mm of a grid whose middle is the origin; `shape` may have more than three axes."""
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = [-(n - 1) / 2 * voxel_mm for n in shape[:3]]
    return affine


def draw_uptake(rng: np.random.Generator) -> dict[str, float]:
    """Relative uptake of every part, drawn evenly from UPTAKE_RANGE ("assumed"); chambers share one blood pool."""
    out = UPTAKE | {name: float(rng.uniform(*limits)) for name, limits in UPTAKE_RANGE.items()}
    return out | {"vessels": out["blood"], "valve": out["blood"]}


def _table(values: dict[str, float]) -> np.ndarray:
    return np.array([values[name] for name in PARTS], np.float32)


_LABELS = np.array([LABELS[_LABEL_OF.get(name, name)] for name in PARTS], np.uint8)


def _texture(shape: TorsoShape, codes: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Relative uptake within organs: smooth waves, fixed in the world, weighted by the organ."""
    waves = np.zeros(codes.shape, np.float32)
    for amplitude, start, kx, ky, kz in shape.texture:  # cos(a + b) split by axes: no cosine a voxel
        ex = amplitude * np.exp(1j * (kx * x + start)).astype(np.complex64)
        plane = ex * np.exp(1j * ky * y).astype(np.complex64)
        rise = np.exp(1j * kz * z).astype(np.complex64)
        waves += plane.real * rise.real - plane.imag * rise.imag
    strength = np.array([_TEXTURE.get(name, 0.0) for name in PARTS], np.float32)
    return np.clip(1 + strength[codes] * waves, 0.4, 1.8)


def _fine(centre: np.ndarray, voxel: float, n: int) -> np.ndarray:
    """Sample positions: n to a voxel along one axis."""
    inner = (np.arange(n) + 0.5) / n - 0.5
    return (centre[:, None] + voxel * inner).ravel().astype(np.float32)


def _average(fine: np.ndarray, n: int) -> np.ndarray:
    x, y, z = (size // n for size in fine.shape)
    return fine.reshape(x, n, y, n, z, n).mean((1, 3, 5), dtype=np.float32)


def _majority(codes: np.ndarray, n: int) -> np.ndarray:
    """The label that most of a voxel's samples carry (the lower one of equals)."""
    x, y, z = (size // n for size in codes.shape)
    kinds = max(LABELS.values()) + 1
    samples = _LABELS[codes].reshape(x, n, y, n, z, n).transpose(0, 2, 4, 1, 3, 5).reshape(x * y * z, n**3)
    keys = samples + np.arange(x * y * z, dtype=np.int64)[:, None] * kinds
    return (
        np.bincount(keys.ravel(), minlength=x * y * z * kinds)
        .reshape(x, y, z, kinds)
        .argmax(-1)
        .astype(np.uint8)
    )


def render_torso(
    shape: TorsoShape,
    *,
    uptake: dict[str, float] | None = None,
    grid: tuple[int, int, int] = (64, 64, 40),
    voxel_mm: float = 6.4,
    defect: Defect | None = None,
    phase: int = 0,
    phases: int = 1,
) -> Torso:
    """A torso on a grid, at one of `phases` cardiac phases (1: the mean shape of the cycle).

    uptake : relative uptake by part (default UPTAKE). Two samples a voxel and axis, four around the left ventricle (two
    where voxels are 4 mm or less), averaged. ConfigError if a part's uptake is missing or the left ventricle reaches
    out of the grid.
    """
    uptake = UPTAKE if uptake is None else uptake
    missing = [name for name in PARTS if name not in uptake]
    if missing:
        raise ConfigError(
            "No uptake for a part of the torso",
            where="uptake",
            why=f"missing: {', '.join(missing)}",
            fix="start from senmei.phantoms.torso.UPTAKE or draw_uptake(rng)",
        )
    affine = grid_affine(grid, voxel_mm)
    axes = [affine[k, 3] + voxel_mm * np.arange(n) for k, n in enumerate(grid)]
    lv = ventricle(shape.heart, contraction(phase, phases))
    box = _heart_box(lv.extent(), axes, voxel_mm)
    tracer, absorber = _table(uptake), _table(MU | {"lung": shape.lung_mu})
    labels, activity, mu = np.empty(grid, np.uint8), np.empty(grid, np.float32), np.empty(grid, np.float32)

    def fill(where: tuple[slice, ...], n: int) -> None:
        x, y, z = (_fine(a[w], voxel_mm, n) for a, w in zip(axes, where, strict=True))
        fine = x[:, None, None], y[None, :, None], z[None, None, :]
        codes, wall = paint(shape, lv, defect, *fine)
        wall *= tracer[codes]
        wall *= _texture(shape, codes, *fine)
        activity[where], mu[where] = _average(wall, n), _average(absorber[codes], n)
        labels[where] = _majority(codes, n)

    layers = max(1, int(6e5 // (8 * grid[0] * grid[1])))  # bounds the memory of one call
    for low in range(0, grid[2], layers):
        fill((slice(0, grid[0]), slice(0, grid[1]), slice(low, min(low + layers, grid[2]))), 2)
    if voxel_mm > 4:
        fill(box, 4)
    heart = lv.describe(defect)
    segments = np.zeros(grid, np.uint8)
    index = np.nonzero(labels == LABELS["myocardium"])
    points = np.stack([a[i] for a, i in zip(axes, index, strict=True)], -1)
    axial, angle, _ = heart_coordinates(points, heart)
    segments[index] = aha_segments(np.clip(axial, 0, 1), angle)
    return Torso(
        Volume(labels, affine), Volume(activity, affine), Volume(mu, affine), Volume(segments, affine), heart
    )


def _heart_box(
    extent: tuple[np.ndarray, np.ndarray], axes: list[np.ndarray], voxel: float
) -> tuple[slice, ...]:
    """Voxels that the left ventricle touches; ConfigError if it reaches out of the grid."""
    out = []
    for name, low, high, axis in zip("xyz", *extent, axes, strict=True):
        first, last = axis[0] - voxel / 2, axis[-1] + voxel / 2
        if low < first or high > last:
            raise ConfigError(
                "The heart lies outside the field",
                where=f"grid, axis {name}",
                why=f"the left ventricle covers {low:.0f} to {high:.0f} mm, the grid {first:.0f} to {last:.0f}",
                fix="more or larger voxels",
            )
        near = np.flatnonzero((axis > low - voxel) & (axis < high + voxel))
        out.append(slice(int(near[0]), int(near[-1]) + 1))
    return tuple(out)
