"""A left ventricle that beats: a wall of known thickness on an ellipsoid, with defects, and its truth as numbers.

Shape, motion and the variation of uptake are a model ("assumed"), not measurements.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from senmei.phantoms.heart import Defect, aha_segments

WIDEST = 0.22  # of the length from the base: where the epicardial ellipsoid has its equator
MEAN_CONTRACTION = 0.4  # of the way from end diastole to end systole, mean of the cycle: the shape as drawn
END_SYSTOLE = 0.36  # of the cycle
_BORDER_MM, _INNER_BORDER_MM = 5.0, 1.5  # width of a defect's border along the wall and across it


# -- shape ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class HeartShape:
    """Everything that makes one heart. Lengths in mm, at the mean contraction of the cycle.

    centre_mm : middle of the long axis. azimuth_deg : of the long axis in the transaxial plane, from anterior toward
    the patient's left. down_deg : its tilt toward the feet. roll_deg : about itself. wall_mm : mean thickness.
    cavity_mm : radius at the base. length_mm : basal plane to epicardial apex. thinning : share of the thickness lost
    at the apex. membranous_mm : how far the basal septum is membrane. thickness_waves, uptake_waves : amplitude, phase
    (radians), order round the axis and axial half waves of relative variations. septal_loss : uptake lost in the basal
    septum. ejection : fraction. shortening : of the length, end diastole to end systole. right_mm : cavity of the
    right ventricle beyond the septum. right_wall_mm : its thickness. fat_mm : between heart and lung. oval : relative
    amplitude and phase (radians) of the section's departure from a circle.
    """

    centre_mm: tuple[float, float, float]
    azimuth_deg: float
    down_deg: float
    roll_deg: float
    wall_mm: float
    cavity_mm: float
    length_mm: float
    thinning: float
    membranous_mm: float
    thickness_waves: tuple[tuple[float, float, int, int], ...]
    uptake_waves: tuple[tuple[float, float, int, int], ...]
    septal_loss: float
    ejection: float
    shortening: float
    right_mm: float
    right_wall_mm: float
    fat_mm: float
    oval: tuple[float, float] = (0.0, 0.0)

    def axes(self) -> np.ndarray:
        """Rows: long axis (base to apex), septum, anterior; (3, 3) unit vectors."""
        az, down, roll = np.radians([self.azimuth_deg, self.down_deg, self.roll_deg])
        axis = np.array([-np.sin(az) * np.cos(down), np.cos(az) * np.cos(down), -np.sin(down)])
        septum = np.array([1.0, 0.0, 0.0]) - axis[0] * axis
        septum /= np.linalg.norm(septum)
        septum = np.cos(roll) * septum + np.sin(roll) * np.cross(septum, axis)
        return np.stack([axis, septum, np.cross(septum, axis)])


def draw_heart(rng: np.random.Generator, *, sex: str, size: float = 0.0) -> HeartShape:
    """A heart with its middle at the origin; `size`: habitus in standard deviations (wider bodies, more level hearts).

    Mean long axis 50 degrees to the left and 23 down (sd 9, 8): XCAT's mean heart is turned 52 +- 11 about the body's
    axis and 23 +- 10 tilted. Wall 8 to 14 mm, smaller hearts in women. All "assumed".
    """
    female = sex == "female"

    def normal(mean: float, sd: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, sd), low, high))

    def waves(sd: float) -> tuple[tuple[float, float, int, int], ...]:
        orders = ((1, 0), (2, 0), (1, 1), (2, 1), (3, 1), (0, 1), (0, 2))
        return tuple(
            (float(rng.normal(0, sd / (0.5 + n + k))), float(rng.uniform(0, 2 * np.pi)), n, k)
            for n, k in orders
        )

    wall = float(np.clip(8 + 6 * rng.beta(2.0, 2.6) + (-0.3 if female else 0.3), 8, 14))
    cavity = normal((20.5 if female else 23.0) - 0.6 * (wall - 10.5), 2.4, 16, 28)
    return HeartShape(
        centre_mm=(0.0, 0.0, 0.0),
        azimuth_deg=normal(50 + 2 * size, 9, 28, 72),
        down_deg=normal(23 - 3 * size, 8, 4, 42),
        roll_deg=normal(0, 8, -18, 18),
        wall_mm=wall,
        cavity_mm=cavity,
        length_mm=float(np.clip(cavity * rng.normal(2.75, 0.15) + 27, 70, 108)),
        thinning=normal(0.33, 0.09, 0.12, 0.5),
        membranous_mm=normal(12, 3, 6, 18),
        thickness_waves=waves(0.10),
        uptake_waves=waves(0.09),
        septal_loss=normal(0.12, 0.06, 0.0, 0.3),
        ejection=normal(0.62, 0.07, 0.42, 0.76),
        shortening=normal(0.13, 0.025, 0.07, 0.19),
        right_mm=normal(26, 4, 17, 36),
        right_wall_mm=normal(3.6, 0.5, 2.6, 5.0),
        fat_mm=normal(5 + size, 1.5, 2, 10),
        oval=(normal(0.04, 0.02, 0.0, 0.08), float(rng.uniform(0, 2 * np.pi))),
    )


def contraction(phase: int, phases: int) -> float:
    """How contracted the heart is in one of `phases` equal parts of the cycle: 0 end diastole, 1 end systole.

    One phase only: the mean of the cycle. Phase 0 starts at the R wave; a rise to end systole at 0.36 of the cycle, a
    fall by 0.44 more, then rest ("assumed").
    """
    if not 0 <= phase < phases:
        raise ValueError(f"phase {phase} of {phases}: phases are numbered from 0")
    if phases == 1:
        return MEAN_CONTRACTION
    at = np.linspace(phase, phase + 1, 9)[:-1] / phases
    fall = np.clip((at - END_SYSTOLE) / 0.44, 0, 1)
    rise = np.clip(at / END_SYSTOLE, 0, 1)
    return float(np.mean(np.where(at < END_SYSTOLE, 1 - np.cos(np.pi * rise), 1 + np.cos(np.pi * fall)) / 2))


# -- the ventricle at one moment --------------------------------------------------------------------------------------
def _waves(waves: tuple[tuple[float, float, int, int], ...], u: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Smooth relative variation over the wall; what turns with the angle (radians) dies out toward the apex."""
    out = np.zeros(np.broadcast_shapes(u.shape, phi.shape), np.float32)
    fade = 1 - np.clip(u, 0, 1) ** 3
    for amplitude, start, order, halves in waves:
        out += amplitude * np.cos(order * phi + start) * np.cos(np.pi * halves * u) * (fade if order else 1.0)
    return out


@dataclass(frozen=True)
class LeftVentricle:
    """The left ventricle at one moment: an ellipsoidal epicardium cut at the base, the wall measured along normals.

    base : (3,) mm, centre of the basal plane. axes : see `HeartShape.axes`. length, cavity : mm. wall : mean, mm.
    """

    shape: HeartShape
    base: np.ndarray
    axes: np.ndarray
    length: float
    cavity: float
    wall: float

    @property
    def radius(self) -> float:
        """Greatest epicardial radius, mm."""
        return float((self.cavity + self.wall) / np.sqrt(1 - (WIDEST / (1 - WIDEST)) ** 2))

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Depth below the epicardium (mm, negative outside) and axial position of its nearest point, over
        (t, rho) every mm, with t beginning at -0.6 length - 20; linear interpolation errs by less than 0.1 mm.
        """
        start = -0.6 * self.length - 20
        t = np.arange(start, self.length + 22)[:, None]
        rho = np.arange(0, self.radius + 22)[None, :]
        long, middle = (1 - WIDEST) * self.length, WIDEST * self.length
        # Nearest point of an ellipse by fixed-point steps on the evolute (stable everywhere in a quadrant).
        y, x = np.abs(t - middle), rho + 0.0 * t
        a, b = self.radius, long
        ct = np.full_like(x, np.sqrt(0.5))
        st = ct.copy()
        for _ in range(8):
            ex, ey = (a * a - b * b) * ct**3 / a, (b * b - a * a) * st**3 / b
            rx, ry, qx, qy = a * ct - ex, b * st - ey, x - ex, y - ey
            r, q = np.hypot(rx, ry), np.maximum(np.hypot(qx, qy), 1e-9)
            ct, st = np.clip((qx * r / q + ex) / a, 0, 1), np.clip((qy * r / q + ey) / b, 0, 1)
            norm = np.hypot(ct, st)
            ct, st = ct / norm, st / norm
        inside = np.where((x / a) ** 2 + (y / b) ** 2 < 1, 1.0, -1.0)
        depth = inside * np.hypot(x - a * ct, y - b * st)
        nearest = (middle + np.where(t >= middle, 1, -1) * b * st) / self.length
        return depth.astype(np.float32), nearest.astype(np.float32), start

    def oval(self, phi: np.ndarray) -> np.ndarray:
        """Radius relative to a circular section's, at angles in radians."""
        amplitude, start = self.shape.oval
        return 1 + amplitude * np.cos(2 * phi + start)

    def surface(self, along: np.ndarray, rho: np.ndarray, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth below the epicardium (mm, negative outside) and axial position (0-1) of its nearest point.

        Of an ellipse in each plane through the axis; what the section is out of round enters to first order.
        """
        depth, nearest, start = self._table
        oval = self.oval(phi)
        rho = rho / oval
        i = np.clip(along - start, 0, depth.shape[0] - 1.001)
        j = np.clip(rho, 0, depth.shape[1] - 1.001)
        i0, j0 = i.astype(np.int32), j.astype(np.int32)
        p, q = (i - i0).astype(np.float32), (j - j0).astype(np.float32)
        k, n = i0 * depth.shape[1] + j0, depth.shape[1]
        out = []
        for table in (depth.ravel(), nearest.ravel()):
            low, high = table[k] * (1 - q) + table[k + 1] * q, table[k + n] * (1 - q) + table[k + n + 1] * q
            out.append(low * (1 - p) + high * p)
        return out[0] * oval, out[1]

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest x, y, z (mm) of the epicardium between base and apex."""
        u, phi, _ = self._area
        rho = self.radius * np.sqrt(np.clip(1 - ((u - WIDEST) / (1 - WIDEST)) ** 2, 0, 1)) * self.oval(phi)
        points = np.stack([u * self.length + 0 * phi, rho * np.sin(phi), rho * np.cos(phi)], -1) @ self.axes
        ends = np.concatenate([points.reshape(-1, 3), [self.length * self.axes[0]]]) + self.base
        return ends.min(0), ends.max(0)

    @cached_property
    def _area(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Axial positions (n, 1), angles (1, m) and relative areas (n, 1) that cover the epicardium once."""
        u = (np.arange(100) + 0.5)[:, None] / 100
        phi = np.radians((np.arange(72) + 0.5) * 5)[None, :]
        c = 1 - WIDEST
        x = np.clip((u - WIDEST) / c, -1, 1)
        ratio = self.radius / (c * self.length)
        return u, phi, np.sqrt(1 - x**2 + (ratio * x) ** 2)

    def _relative(self, u: np.ndarray, phi: np.ndarray) -> np.ndarray:
        step = np.clip((u - 0.6) / 0.4, 0, 1)
        thin = 1 - self.shape.thinning * step**2 * (3 - 2 * step)
        return thin * np.clip(1 + _waves(self.shape.thickness_waves, u, phi), 0.7, 1.35)

    @cached_property
    def _mean_relative(self) -> float:
        u, phi, area = self._area
        return float((self._relative(u, phi) * area).sum() / (area.sum() * phi.size))

    def thickness(self, u: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Wall thickness in mm along the normal, at axial positions `u` and angles `phi` (radians)."""
        return self.wall * self._relative(u, phi) / self._mean_relative

    def rim(self, phi: np.ndarray) -> np.ndarray:
        """Where the muscle begins, mm from the basal plane: later at the septum, whose base is membrane."""
        turn = (phi - np.radians(80) + np.pi) % (2 * np.pi) - np.pi
        return self.shape.membranous_mm * np.exp(-((turn / np.radians(42)) ** 4))

    def uptake(self, u: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Normal uptake over the wall: mild variation about 1 ("assumed"), less in the basal septum."""
        turn = (phi - np.radians(95) + np.pi) % (2 * np.pi) - np.pi
        septal = np.exp(-((turn / np.radians(45)) ** 2)) * np.clip(1 - u / 0.35, 0, 1)
        out = np.clip(1 + _waves(self.shape.uptake_waves, u, phi), 0.82, 1.15)
        return out * (1 - self.shape.septal_loss * septal)

    def loss(
        self, defect: Defect, u: np.ndarray, phi: np.ndarray, depth: np.ndarray, thickness: np.ndarray
    ) -> np.ndarray:
        """Fraction of the uptake lost to a defect, 0..contrast, at a depth (mm) below the epicardium."""
        axial = (defect.length_mm / 2 - np.abs(u - defect.axial) * self.length) / _BORDER_MM
        weight = _smooth(axial)
        if defect.extent_deg < 360:
            turn = np.abs((phi - np.radians(defect.angle_deg) + np.pi) % (2 * np.pi) - np.pi)
            x = np.clip((u - WIDEST) / (1 - WIDEST), -1, 1)
            radius = np.maximum(self.radius * np.sqrt(1 - x**2) - thickness / 2, 4)
            weight = weight * _smooth((np.radians(defect.extent_deg / 2) - turn) * radius / _BORDER_MM)
        if defect.transmurality < 1:
            inner = defect.transmurality * thickness - (thickness - depth)
            weight = weight * _smooth(inner / _INNER_BORDER_MM)
        return defect.contrast * weight

    @cached_property
    def _volumes(self) -> tuple[float, float]:
        t = np.arange(0.5, self.length)[:, None]
        rho = np.arange(0.5, self.radius)[None, :]
        depth, u = self.surface(t + 0 * rho, rho + 0 * t, np.array(np.pi / 4 - self.shape.oval[1] / 2))
        nearest = np.clip(np.rint(u * 200), 0, 200).astype(int)
        solid = np.clip(depth + 0.5, 0, 1)
        wall = cavity = 0.0
        for phi in np.radians(np.arange(0, 360, 15)):
            h = self.thickness(np.linspace(0, 1, 201), np.asarray(phi))[nearest]
            hollow = np.clip(depth - h + 0.5, 0, 1)
            muscle = np.clip(t - self.rim(np.asarray(phi)) + 0.5, 0, 1)
            wall += float(((solid - hollow) * muscle * rho).sum())
            cavity += float((hollow * rho).sum())
        cell = float(np.radians(15)) / 1000
        return wall * cell, cavity * cell

    def volumes(self) -> tuple[float, float]:
        """Volume of wall and of cavity, mL, by integration over cells of 1 mm and 15 degrees."""
        return self._volumes

    def segment_thickness(self) -> list[float]:
        """Mean thickness of each AHA segment, mm (17), over the epicardium that carries muscle."""
        u, phi, area = self._area
        segment = aha_segments(u, np.degrees(phi))
        weight = area * (u * self.length >= self.rim(phi))
        h = self.thickness(u, phi)
        return [float((h * weight)[segment == k].sum() / weight[segment == k].sum()) for k in range(1, 18)]

    def describe(self, defect: Defect | None = None) -> dict[str, Any]:
        """The `heart` dict (JSON-able, world mm) that analyses work from.

        apex_mm (epicardial), base_mm (centre of the basal plane), septum (unit vector from the axis toward the right
        ventricle), wall_mm (mean), cavity_mm (radius at the base), length_mm, thickness_mm (17, along normals),
        wall_ml, cavity_ml, and defect: None or the fields of `Defect` with `segments` (those of which at least a
        quarter has lost half of the contrast or more; else the central one) and `centre_mm` (mid-wall).
        """
        wall, cavity = self.volumes()
        out: dict[str, Any] = {
            "apex_mm": (self.base + self.length * self.axes[0]).tolist(),
            "base_mm": self.base.tolist(),
            "septum": self.axes[1].tolist(),
            "wall_mm": self.wall,
            "cavity_mm": self.cavity,
            "length_mm": self.length,
            "thickness_mm": self.segment_thickness(),
            "wall_ml": wall,
            "cavity_ml": cavity,
            "defect": None,
        }
        if defect is not None:
            u, phi, area = self._area
            h = self.thickness(u, phi)
            endocardial = self.loss(defect, u, phi, h, h) >= defect.contrast / 2
            segment = aha_segments(u, np.degrees(phi))
            weight = area + 0 * phi
            share = [
                float(weight[(segment == k) & endocardial].sum() / weight[segment == k].sum())
                for k in range(1, 18)
            ]
            inside = [k for k, s in enumerate(share, 1) if s >= 0.25]
            own = int(aha_segments(np.array(defect.axial), np.array(defect.angle_deg)))
            out["defect"] = asdict(defect) | {
                "segments": inside or [own],
                "centre_mm": self.mid_wall(defect.axial, defect.angle_deg).tolist(),
            }
        return out

    def mid_wall(self, axial: float, angle_deg: float) -> np.ndarray:
        """World point (3,) mm halfway through the wall, on the normal at an epicardial point."""
        x = min(max((axial - WIDEST) / (1 - WIDEST), -1.0), 1.0)
        phi, long = np.radians(angle_deg), (1 - WIDEST) * self.length
        rho = self.radius * np.sqrt(1 - x**2)
        normal = np.array([x / long, np.sqrt(1 - x**2) / self.radius])
        normal /= np.linalg.norm(normal)
        rho *= float(self.oval(phi))
        half = float(self.thickness(np.array(axial), np.array(phi))) / 2
        t, r = axial * self.length - half * normal[0], rho - half * normal[1]
        return self.base + np.array([t, r * np.sin(phi), r * np.cos(phi)]) @ self.axes


def _smooth(x: np.ndarray) -> np.ndarray:
    """0 below -0.5, 1 above 0.5, half at 0, smooth between."""
    s = np.clip(np.asarray(x) + 0.5, 0, 1)
    return s * s * (3 - 2 * s)


def ventricle(shape: HeartShape, contracted: float = MEAN_CONTRACTION) -> LeftVentricle:
    """The ventricle at a contraction (0 end diastole, 1 end systole): apex at rest, wall volume kept.

    The cavity narrows and shortens so that its volume falls by `shape.ejection` from 0 to 1; the thickness follows from
    the volume of the wall.
    """
    axes = shape.axes()
    apex = np.asarray(shape.centre_mm) + 0.5 * shape.length_mm * axes[0]
    narrowing = 1 - np.sqrt((1 - shape.ejection) / (1 - shape.shortening))

    def at(share: float, wall: float) -> LeftVentricle:
        length = shape.length_mm * (1 - shape.shortening * share)
        length /= 1 - shape.shortening * MEAN_CONTRACTION
        cavity = shape.cavity_mm * (1 - narrowing * share) / (1 - narrowing * MEAN_CONTRACTION)
        return LeftVentricle(shape, apex - length * axes[0], axes, length, cavity, wall)

    rest = at(MEAN_CONTRACTION, shape.wall_mm)
    if contracted == MEAN_CONTRACTION:
        return rest
    target = rest.volumes()[0]
    walls = [shape.wall_mm, shape.wall_mm * (1 + 0.5 * (contracted - MEAN_CONTRACTION))]
    found = [at(contracted, w).volumes()[0] - target for w in walls]
    for _ in range(4):  # secant: converges to well below 0.1 %
        if abs(found[-1]) < 1e-3 * target or found[-1] == found[-2]:
            break
        step = found[-1] * (walls[-1] - walls[-2]) / (found[-1] - found[-2])
        walls.append(walls[-1] - step)
        found.append(at(contracted, walls[-1]).volumes()[0] - target)
    return at(contracted, walls[-1])
