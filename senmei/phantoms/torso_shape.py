"""The shape of a torso: its parameters, and drawing them so that subjects differ as patients do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from senmei.phantoms.ventricle import HeartShape, draw_heart, ventricle

Ellipsoid = tuple[tuple[float, float, float], tuple[float, float, float]]  # centre, semi-axes
Tube = tuple[tuple[float, float, float], tuple[float, float, float], float]  # ends, radius


@dataclass(frozen=True)
class TorsoShape:
    """Everything that makes one torso: plain numbers, mm, world coordinates.

    width_mm, depth_mm : of the chest at the heart, without breasts. power : of the superellipse of its sections.
    offset_mm : (x, y) of the body's middle. fat_mm : under the skin. muscle_mm : from there to the inside of the ribs.
    belly : relative width and depth of the abdomen. rib_* : thickness, spacing along z, fall from back to front,
    offset. lung_top_mm : z of the lungs' tips. dome_*_mm : z of the tops of the diaphragm's domes and their fall to the
    ribs. liver_mm : height on the right; liver_tip_mm : x of its left end. spine_*, vertebra_mm, sternum_mm : sizes.
    lung_mu : 1/cm. texture : (amplitude, phase, kx, ky, kz) waves of the uptake within organs.
    """

    sex: str
    width_mm: float
    depth_mm: float
    power: float
    offset_mm: tuple[float, float]
    fat_mm: float
    muscle_mm: float
    belly: tuple[float, float]
    rib_mm: float
    rib_pitch_mm: float
    rib_slope_mm: float
    rib_phase_mm: float
    lung_top_mm: float
    dome_right_mm: float
    dome_left_mm: float
    dome_drop_mm: float
    liver_mm: float
    liver_tip_mm: float
    spine_mm: float
    spine_y_mm: float
    vertebra_mm: float
    sternum_mm: float
    spleen: Ellipsoid
    stomach: Ellipsoid
    kidneys: tuple[Ellipsoid, ...]
    gallbladder: Ellipsoid | None
    bowel: tuple[Tube, ...]
    vessels: tuple[Tube, ...]
    breasts: tuple[Ellipsoid, ...]
    lung_mu: float
    texture: tuple[tuple[float, float, float, float, float], ...]
    heart: HeartShape


FIELD_MM = 396.0  # widest body: fits 64 voxels of 6.4 mm with one to spare on either side


def draw_torso(rng: np.random.Generator, *, sex: str | None = None) -> TorsoShape:
    """A torso of a woman or a man (drawn if not given).

    Chest 300 to 390 mm wide and 190 to 280 deep, correlated through habitus; the heart wherever it fits between ribs,
    spine and sternum, the diaphragm just under it. Ranges are "assumed".
    """
    if sex not in (None, "female", "male"):
        raise ValueError(f"sex is 'female', 'male' or None, not {sex!r}")
    sex = sex or ("female" if rng.random() < 0.5 else "male")
    female = sex == "female"
    size = float(np.clip(rng.normal(), -2.0, 2.3))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def normal(mean: float, sd: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, sd), low, high))

    width = normal((336 if female else 352) + 22 * size, 10, 300, 390)
    depth = normal((222 if female else 232) + 18 * size, 9, 190, 280)
    slack = (FIELD_MM - width) / 2
    offset = (normal(0, 6, -min(slack, 12), min(slack, 12)), normal(0, 6, -12, 12))
    fat = normal((15 if female else 12) + 6 * size, 3, 4, 34)
    muscle = normal(19 if female else 22, 2.5, 14, 28)
    cage = width / 2 - fat - muscle, depth / 2 - 0.8 * (fat + muscle)  # as `rib_cage` at the heart
    spine = normal(18 if female else 20, 1.5, 15, 24)
    spine_y = offset[1] - depth / 2 + 0.8 * fat + 30 + spine
    heart = draw_heart(rng, sex=sex, size=size)
    middle = (
        offset[0] - normal(0.34, 0.05, 0.22, 0.46) * cage[0],
        offset[1] + normal(0.27, 0.06, 0.1, 0.4) * cage[1],
        normal(0, 3, -6, 6),
    )
    heart = _fitted(replace(heart, centre_mm=middle), offset, cage)
    middle = heart.centre_mm
    lowest = float(ventricle(heart).extent()[0][2])
    left = lowest + between(-6, 9)
    right = left + between(8, 26)
    tip = middle[0] + between(-45, 12)

    stomach = (
        (
            offset[0] - between(0.42, 0.62) * cage[0],
            offset[1] + between(-0.1, 0.3) * cage[1],
            left - between(38, 52),
        ),
        (between(30, 44), between(30, 42), between(26, 40)),
    )
    spleen = (
        (offset[0] - 0.72 * cage[0], offset[1] - between(0.4, 0.55) * cage[1], left - between(30, 55)),
        (between(20, 30), between(32, 46), between(34, 52)),
    )
    return TorsoShape(
        sex=sex,
        width_mm=width,
        depth_mm=depth,
        power=between(2.15, 2.6),
        offset_mm=offset,
        fat_mm=fat,
        muscle_mm=muscle,
        belly=(between(0.92, 1.0), normal(0.97 + 0.06 * size, 0.05, 0.82, 1.16)),
        rib_mm=between(6.5, 9),
        rib_pitch_mm=between(27, 33),
        rib_slope_mm=between(35, 60),
        rib_phase_mm=between(0, 33),
        lung_top_mm=between(125, 160),
        dome_right_mm=right,
        dome_left_mm=left,
        dome_drop_mm=between(38, 60),
        liver_mm=between(120, 170),
        liver_tip_mm=tip,
        spine_mm=spine,
        spine_y_mm=spine_y,
        vertebra_mm=between(26, 32),
        sternum_mm=between(15, 21),
        spleen=spleen,
        stomach=stomach,
        kidneys=tuple(
            (
                (
                    offset[0] + side * between(50, 62),
                    spine_y - between(-6, 8),
                    right - between(115, 140) - 10 * (side > 0),
                ),
                (between(24, 30), between(20, 27), between(48, 60)),
            )
            for side in (-1, 1)
        ),
        gallbladder=(
            (offset[0] + between(35, 70), offset[1] + between(0.2, 0.5) * cage[1], right - between(85, 115)),
            (between(10, 16), between(10, 17), between(16, 28)),
        )
        if rng.random() < 0.6
        else None,
        bowel=_bowel(rng, offset, cage, left),
        vessels=_vessels(heart, offset, spine_y),
        breasts=_breasts(rng, offset, width, depth, size) if female else (),
        lung_mu=between(0.034, 0.052),
        texture=_texture_waves(rng),
        heart=heart,
    )


def _texture_waves(rng: np.random.Generator) -> tuple[tuple[float, float, float, float, float], ...]:
    """Six plane waves of about 65 mm whose sum has a variance near 1."""
    waves = []
    for _ in range(6):
        kx, ky, kz = rng.normal(0, 2 * np.pi / 110, 3)
        waves.append((0.577, float(rng.uniform(0, 2 * np.pi)), float(kx), float(ky), float(kz)))
    return tuple(waves)


def _fitted(heart: HeartShape, offset: tuple[float, float], cage: tuple[float, float]) -> HeartShape:
    """Moved toward the middle of the chest until the left ventricle and the right one lie inside the ribs."""
    for _ in range(40):
        lv = ventricle(heart)
        t = np.array([0.1, 0.5, 0.85, 1.0])[:, None] * lv.length
        phi = np.radians(np.arange(0, 360, 15))[None, :]
        rho = lv.radius * np.array([1.0, 0.95, 0.55, 0.0])[:, None]
        septal, anterior = rho * np.sin(phi), rho * np.cos(phi)
        septal = np.where(
            septal > 0.7 * lv.radius, septal + 0.8 * (heart.right_mm + heart.right_wall_mm), septal
        )
        points = lv.base + np.stack([t + 0 * phi, septal, anterior], -1) @ lv.axes
        ratio = (points[..., :2] - np.asarray(offset)) / np.asarray(cage)
        worst = points.reshape(-1, 3)[np.argmax((np.abs(ratio) ** 2.2).sum(-1))]
        if (np.abs(ratio) ** 2.2).sum(-1).max() < 0.9:
            break
        pull = (worst[:2] - np.asarray(offset)) / np.hypot(*(worst[:2] - np.asarray(offset)))
        x, y, z = heart.centre_mm
        heart = replace(heart, centre_mm=(float(x - 2 * pull[0]), float(y - 2 * pull[1]), z))
    return heart


def _bowel(
    rng: np.random.Generator, offset: tuple[float, float], cage: tuple[float, float], top: float
) -> tuple[Tube, ...]:
    """A few chained loops below the left dome: what superimposes on the inferior wall in some patients."""
    loops: list[Tube] = []
    at = np.array([
        offset[0] - rng.uniform(0.1, 0.75) * cage[0],
        offset[1] + rng.uniform(-0.1, 0.6) * cage[1],
        top - rng.uniform(22, 80),
    ])  # fmt: skip
    for _ in range(int(rng.integers(2, 6))):
        step = rng.normal(0, 1, 3) * (38, 26, 22)
        end = at + step
        end[0] = np.clip(end[0], offset[0] - 0.85 * cage[0], offset[0] + 0.4 * cage[0])
        end[1] = np.clip(end[1], offset[1] - 0.2 * cage[1], offset[1] + 0.8 * cage[1])
        end[2] = np.clip(end[2], top - 130, top - 20)
        loops.append((tuple(map(float, at)), tuple(map(float, end)), float(rng.uniform(9, 15))))  # type: ignore[arg-type]
        at = end
    return tuple(loops)


def _vessels(heart: HeartShape, offset: tuple[float, float], spine_y: float) -> tuple[Tube, ...]:
    """Descending aorta before the spine, ascending aorta and arch from the base, venae cavae and pulmonary trunk."""
    lv = ventricle(heart)
    root = lv.base + 0.25 * lv.radius * lv.axes[1]
    descending = np.array([offset[0] - 18, spine_y + 30, 0.0])
    top = np.array([offset[0] + 12, root[1] + 4, root[2] + 62])
    arch = np.array([descending[0], descending[1], top[2] + 12])
    trunk = (
        lv.base + 0.1 * lv.length * lv.axes[0] + 0.8 * lv.radius * lv.axes[1] + 0.5 * lv.radius * lv.axes[2]
    )
    cava = np.array([offset[0] + 20, root[1] - 12, 0.0])

    def tube(a: np.ndarray, b: np.ndarray, radius: float) -> Tube:
        return tuple(map(float, a)), tuple(map(float, b)), radius  # type: ignore[return-value]

    return (
        tube(descending - np.array([0, 0, 200]), arch, 12.0),
        tube(root, top, 15.0),
        tube(top, arch, 13.0),
        tube(trunk, trunk + np.array([0, -18, 45]), 13.0),
        tube(cava - np.array([0, 0, 60]), cava + np.array([0, 0, 110]), 10.0),
    )


def _breasts(
    rng: np.random.Generator, offset: tuple[float, float], width: float, depth: float, size: float
) -> tuple[Ellipsoid, ...]:
    """Two half ellipsoids on the front of the chest, alike but for some asymmetry."""
    across = float(np.clip(rng.normal(68 + 6 * size, 6), 50, 88))
    forward = float(np.clip(rng.normal(24 + 8 * size, 8), 8, 42))
    lateral, height = float(rng.uniform(0.46, 0.58)), float(rng.normal(6, 12))
    out: list[Ellipsoid] = []
    for side in (-1, 1):
        grow = 1 + float(rng.normal(0, 0.06))
        x = offset[0] + side * lateral * width / 2
        y = offset[1] + depth / 2 * (1 - lateral**2.3) ** (1 / 2.3) - 14
        out.append(
            (
                (x, y, height + float(rng.normal(0, 4))),
                (across * grow, forward * grow + 14, across * grow * 1.05),
            )
        )
    return tuple(out)
