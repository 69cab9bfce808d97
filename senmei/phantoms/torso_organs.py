"""Which part of the body lies at a point: the organs of a torso, painted on any grid in order of precedence.

Every function takes world coordinates in mm as broadcastable float32 arrays x (nx, 1, 1), y (1, ny, 1), z (1, 1, nz).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from senmei.phantoms.ventricle import LeftVentricle

if TYPE_CHECKING:
    from senmei.phantoms.heart import Defect
    from senmei.phantoms.torso_shape import TorsoShape

# Finer than the labels that users see (`senmei.phantoms.torso.LABELS`): parts differ in attenuation or uptake.
PARTS = (
    "background", "muscle", "fat", "lung", "liver", "spleen", "kidney", "stomach_wall", "stomach", "gut",
    "gallbladder", "spine", "rib", "cartilage", "sternum", "breast", "vessels", "blood", "myocardium",
    "right_ventricle", "valve",
)  # fmt: skip
PART = {name: k for k, name in enumerate(PARTS)}
Axis = np.ndarray


def ellipsoid(x: Axis, y: Axis, z: Axis, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Squared relative radius: below 1 inside."""
    return (
        ((x - centre[0]) / radii[0]) ** 2
        + ((y - centre[1]) / radii[1]) ** 2
        + ((z - centre[2]) / radii[2]) ** 2
    )


def capsule(
    x: Axis, y: Axis, z: Axis, a: tuple[float, ...] | np.ndarray, b: tuple[float, ...] | np.ndarray
) -> np.ndarray:
    """Squared distance to the segment from a to b, mm2."""
    start, along = np.asarray(a, np.float32), np.asarray(b, np.float32) - np.asarray(a, np.float32)
    u = [x - start[0], y - start[1], z - start[2]]
    s = np.clip((u[0] * along[0] + u[1] * along[1] + u[2] * along[2]) / float(along @ along), 0, 1)
    return (u[0] - s * along[0]) ** 2 + (u[1] - s * along[1]) ** 2 + (u[2] - s * along[2]) ** 2


def outline(p: TorsoShape, z: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Half width and half depth of the skin (without breasts) at each height."""
    upper = np.clip((z - 40) / 110, 0, 1.2) ** 2
    lower = np.clip((-z - 30) / 110, 0, 1.2)
    a = p.width_mm / 2 * (1 - 0.13 * upper) * (1 + (p.belly[0] - 1) * lower)
    b = p.depth_mm / 2 * (1 - 0.16 * upper) * (1 + (p.belly[1] - 1) * lower)
    return np.minimum(a, p.width_mm / 2), b


def rib_cage(p: TorsoShape, z: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Half width and half depth of the inside of the ribs at each height; zero above the lungs' tips."""
    a, b = p.width_mm / 2 - p.fat_mm - p.muscle_mm, p.depth_mm / 2 - 0.8 * p.fat_mm - 0.8 * p.muscle_mm
    narrow = np.sqrt(np.clip(1 - (np.maximum(z - 5, 0) / (p.lung_top_mm - 5)) ** 2, 0, 1))
    return a * (0.12 + 0.88 * narrow) * (narrow > 0), b * (0.25 + 0.75 * narrow) * (narrow > 0)


def diaphragm(p: TorsoShape, x: Axis, y: Axis) -> np.ndarray:
    """Height of the diaphragm, (nx, ny, 1): two domes, the right one higher, falling toward the ribs."""
    a, b = (float(r) for r in rib_cage(p, np.array(-20.0)))
    cx, cy = p.offset_mm
    domes = []
    for side, top in ((1, p.dome_right_mm), (-1, p.dome_left_mm)):
        lateral = side * (x - cx) - 0.47 * a
        r2 = (lateral / np.where(lateral > 0, 0.72 * a, 1.1 * a)) ** 2 + (
            (y - cy - 0.12 * b) / (0.95 * b)
        ) ** 2
        domes.append(top - p.dome_drop_mm * r2)
    high = np.maximum(*domes)
    return high + 6 * np.log1p(np.exp(-np.abs(domes[0] - domes[1]) / 6))


def paint(
    p: TorsoShape, lv: LeftVentricle, defect: Defect | None, x: Axis, y: Axis, z: Axis
) -> tuple[np.ndarray, np.ndarray]:
    """Part codes (nx, ny, nz) uint8 and relative wall uptake float32 (1 but in the myocardium)."""
    out = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.uint8)
    cage = _walls(p, x, y, z, out)
    dome = diaphragm(p, x, y)
    _thorax(p, x, y, z, cage & (z > dome), out)
    _abdomen(p, x, y, z, cage, dome, out)
    _bones(p, x, y, z, out)
    factor = np.ones(out.shape, np.float32)
    _heart(p, lv, defect, (x, y, z), out, factor)
    return out, factor


def _walls(p: TorsoShape, x: Axis, y: Axis, z: Axis, out: np.ndarray) -> np.ndarray:
    """Skin to ribs, and breasts; returns where the inside of the rib cage is."""
    cx, cy = p.offset_mm
    a, b = outline(p, z)
    dx, dy = np.abs(x - cx), np.abs(y - cy)

    def inside(fx: np.ndarray, fy: np.ndarray, power: float) -> np.ndarray:
        return (dx / np.maximum(fx, 1)) ** power + (dy / np.maximum(fy, 1)) ** power < 1

    body = inside(a, b, p.power)
    muscle = inside(a - p.fat_mm, b - 0.8 * p.fat_mm, p.power)
    out[body] = PART["fat"]
    for centre, radii in p.breasts:
        out[(ellipsoid(x, y, z, centre, radii) < 1) & ~muscle] = PART["breast"]
    out[muscle] = PART["muscle"]
    ca, cb = rib_cage(p, z)
    chest = inside(ca, cb, p.power) & (ca > 0)
    # Ribs: bands of a shell round the cage that run down and forward; in front of the axilla they are cartilage.
    shell = inside(ca + p.rib_mm, cb + p.rib_mm, p.power) & ~chest & muscle & (ca > 0)
    front = (y - cy) / (p.depth_mm / 2)
    at = (z + p.rib_slope_mm * (front + 0.35 * front**2) + p.rib_phase_mm) / p.rib_pitch_mm
    band = (np.abs(at - np.round(at)) < 0.24) & shell & (z > -110 + 40 * front)
    costal = front > 0.78 - 0.25 * np.clip(-z / 60, 0, 1)
    out[band & ~costal] = PART["rib"]
    out[band & costal] = PART["cartilage"]
    return chest


def _thorax(p: TorsoShape, x: Axis, y: Axis, z: Axis, chest: np.ndarray, out: np.ndarray) -> None:
    """Lungs on both sides of a mediastinum that is wide at the heart and the vessels, narrow behind the sternum."""
    cx, cy = p.offset_mm
    depth = p.depth_mm / 2
    heart_y = p.heart.centre_mm[1]
    half = 11 + 13 * np.exp(-(((y - heart_y + 15) / 34) ** 2)) + 14 * np.clip((z - 45) / 60, 0, 1)
    half = half + 9 * np.exp(-(((y - cy + depth - 55) / 30) ** 2))
    middle = cx - 4.0 - 6 * np.exp(-(((y - heart_y) / 40) ** 2))
    lung = chest & (np.abs(x - middle) > half)
    out[chest & ~lung] = PART["fat"]
    out[lung] = PART["lung"]
    tubes = [(capsule(x, y, z, a, b), radius) for a, b, radius in p.vessels]
    for squared, radius in tubes:
        out[chest & (squared < (radius + 4) ** 2)] = PART["fat"]
    for squared, radius in tubes:
        out[chest & (squared < radius**2)] = PART["vessels"]


def _abdomen(
    p: TorsoShape, x: Axis, y: Axis, z: Axis, cage: np.ndarray, dome: np.ndarray, out: np.ndarray
) -> None:
    """Liver, spleen, stomach, bowel, kidneys and gall bladder below the diaphragm, in fat."""
    room = cage & (z < dome - 3)
    cx, cy = p.offset_mm
    out[room] = PART["fat"]
    muscle = room & ((y - cy) < -p.depth_mm / 2 + 58 + p.fat_mm) & (np.abs(x - cx) < 62)
    out[muscle] = PART["muscle"]
    for centre, radii in p.kidneys:
        out[room & (ellipsoid(x, y, z, centre, radii) < 1)] = PART["kidney"]
    out[room & (ellipsoid(x, y, z, *p.spleen) < 1)] = PART["spleen"]
    relative = ellipsoid(x, y, z, *p.stomach)
    out[room & (relative < 1)] = PART["stomach_wall"]
    inner = 1 - 2 * 4.0 / min(p.stomach[1])
    out[room & (relative < max(inner, 0.2))] = PART["stomach"]
    for a, b, radius in p.bowel:
        out[room & (capsule(x, y, z, a, b) < radius**2)] = PART["gut"]
    # Liver: under the right dome, thinning and moving forward to the tip of its left lobe.
    right = cx + p.width_mm / 2 - p.fat_mm - p.muscle_mm
    along = np.clip((right - x) / (right - p.liver_tip_mm), -0.2, 1.5)
    below = dome - p.liver_mm * np.clip(1 - along, 0, None) ** 0.75 - 3
    behind = cy - p.depth_mm / 2 * (0.75 - 1.0 * np.clip(along - 0.35, 0, None))
    ridge = np.where(along > 0.55, 1 - 0.25 * np.clip(along - 0.55, 0, 1), 1.0)
    front = cy + p.depth_mm / 2 * ridge
    out[room & (along < 1) & (z > below) & (y > behind) & (y < front)] = PART["liver"]
    if p.gallbladder is not None:
        out[room & (ellipsoid(x, y, z, *p.gallbladder) < 1)] = PART["gallbladder"]


def _bones(p: TorsoShape, x: Axis, y: Axis, z: Axis, out: np.ndarray) -> None:
    """Spine with its processes, sternum."""
    cx, cy = p.offset_mm
    body = out > 0
    spine_y = p.spine_y_mm
    disc = (z / p.vertebra_mm) - np.round(z / p.vertebra_mm)
    column = ((x - cx) / p.spine_mm) ** 2 + ((y - spine_y) / (0.85 * p.spine_mm)) ** 2 < 1
    out[column & body & (np.abs(disc) < 0.4)] = PART["spine"]
    out[column & body & (np.abs(disc) >= 0.4)] = PART["cartilage"]
    arch = (np.abs(x - cx) < 5) & (y < spine_y - 24) & (y > spine_y - 48)
    wings = (np.abs(x - cx) < 30) & (np.abs(y - spine_y + 20) < 5) & (np.abs(disc) < 0.25)
    out[((arch & (np.abs(disc) < 0.35)) | wings) & body] = PART["spine"]
    _, cb = rib_cage(p, z)
    chest = cy + np.maximum(cb, 0.62 * p.depth_mm / 2)
    plate = (np.abs(x - cx) < p.sternum_mm) & (np.abs(y - chest - 4) < 5.5) & (z > -38) & (z < p.lung_top_mm)
    out[plate & body & (out != PART["breast"])] = PART["sternum"]


def _heart(
    p: TorsoShape,
    lv: LeftVentricle,
    defect: Defect | None,
    grid: tuple[Axis, Axis, Axis],
    out: np.ndarray,
    factor: np.ndarray,
) -> None:
    """Both ventricles, atria and the fat around them, in the part of the grid that they reach."""
    reach = lv.length + 45
    centre = lv.base + 0.4 * lv.length * lv.axes[0]
    box = []
    for axis, c in zip(grid, centre, strict=True):
        near = np.flatnonzero(np.abs(axis.ravel() - c) < reach)
        if near.size == 0:
            return
        box.append(slice(int(near[0]), int(near[-1]) + 1))
    x, y, z = grid[0][box[0]], grid[1][:, box[1]], grid[2][:, :, box[2]]
    part, wall = out[tuple(box)], factor[tuple(box)]

    def local(axis: np.ndarray) -> np.ndarray:
        vector, start = axis.astype(np.float32), lv.base.astype(np.float32)
        return (x - start[0]) * vector[0] + (y - start[1]) * vector[1] + (z - start[2]) * vector[2]

    t, s, a = (local(axis) for axis in lv.axes)
    heart, radius = p.heart, lv.radius

    def blob(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        """Distance below the surface of an ellipsoid in (along, septal, anterior), mm, to first order."""
        q = [(t - centre[0]) / radii[0], (s - centre[1]) / radii[1], (a - centre[2]) / radii[2]]
        k0 = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
        k1 = np.sqrt((q[0] / radii[0]) ** 2 + (q[1] / radii[1]) ** 2 + (q[2] / radii[2]) ** 2)
        return k0 * (1 - k0) / np.maximum(k1, 1e-6)

    depth, u = lv.surface(t, np.hypot(s, a), np.arctan2(s, a))
    outer = heart.right_mm + heart.right_wall_mm
    width = (radius * 0.9 + outer) / 2 + 5
    right = blob(
        (0.2 * lv.length, radius * 0.9 + outer - width, 0.05 * radius),
        (0.62 * lv.length, width, 0.95 * radius),
    )
    right = np.where(t > -6, right, -99.0)
    atria = np.maximum(
        blob((-0.55 * radius, -0.05 * radius, 0.0), (0.62 * radius, 1.0 * radius, 0.85 * radius)),
        blob((-0.35 * radius, 1.4 * radius, -0.1 * radius), (0.8 * radius, 0.72 * radius, 0.8 * radius)),
    )
    solid = np.where(t > -6, depth, -99.0)
    around = np.maximum(np.maximum(solid, right), atria)
    replaceable = (part == PART["lung"]) | (part == PART["vessels"]) | (part == PART["fat"])
    below = (part == PART["liver"]) | (part >= PART["stomach_wall"]) & (part <= PART["gallbladder"])
    part[(around > -heart.fat_mm) & replaceable | (around > -2.5) & below] = PART["fat"]
    part[atria > 0] = PART["vessels"]
    part[right > 0] = PART["right_ventricle"]
    part[right > heart.right_wall_mm] = PART["vessels"]
    part[(solid > 0) & (t <= 0)] = PART["valve"]
    inside = (depth > 0) & (t > 0)
    index = np.nonzero(inside)
    d, un, tt = depth[index], u[index], t[index]
    phi = np.arctan2(s[index], a[index])
    h = lv.thickness(un, phi)
    muscle = (d <= h) & (tt >= lv.rim(phi))
    code = np.where(muscle, PART["myocardium"], np.where(d > h, PART["blood"], PART["valve"]))
    part[index] = code.astype(np.uint8)
    value = lv.uptake(un, phi)
    if defect is not None:
        value = value * (1 - lv.loss(defect, un, phi, d, h))
    wall[index] = np.where(muscle, value, 1).astype(np.float32)
