"""A head: individual anatomy with exact labels and partial volume, drawn from the MNI152 population maps.

The white matter is the excursion set of (probit of the population probability) + (a band-limited Gaussian field):
a probit model whose population mean is the template and whose samples have crisp individual folds. Cortex is the
ribbon of given thickness around it, sulci are what remains inside the hull, so that gyri have two banks and white
blades as real ones do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from senmei.core.errors import ConfigError, nearest
from senmei.core.volume import Volume
from senmei.phantoms.atlas import Atlas, load_atlas
from senmei.physics.fields import band_noise, correlated_noise, smooth_field

TISSUES = ("background", "csf", "grey", "white", "deep_grey", "skull", "soft")
CENTRE = np.array([0.0, -18.0, 8.0])  # of the template's brain, mm


@dataclass(frozen=True)
class Species:
    """How a species differs: brain extent relative to MNI (x, y, z), folding strength, cortex (template mm)."""

    scale: tuple[float, float, float]
    folding: float
    thickness: float
    smooth_mm: float
    voxel_mm: float
    surrogate: str


SPECIES = {
    "human": Species((1.0, 1.0, 1.0), 1.0, 3.0, 0.0, 1.0, ""),
    "rat": Species((0.115, 0.125, 0.085), 0.12, 7.0, 3.0, 0.2, "rat surrogate: human anatomy smoothed and scaled to a rat brain"),
    "mouse": Species((0.075, 0.085, 0.055), 0.08, 7.0, 3.5, 0.1, "mouse surrogate: human anatomy smoothed and scaled to a mouse brain"),
}


@dataclass(frozen=True)
class HeadParameters:
    """Everything that makes one head (plain numbers and small arrays; lengths in template mm).

    scale, shear : global size (x, y, z) and shape. velocity : (3, 6, 6, 6) control points of a stationary velocity,
    mm. wobble : (3, 12, 14, 12) finer displacement, mm. folding_seed : of the folding fields. folding : their
    strength (1 human, 0 none). wavelength : of gyri, mm. thickness : mean cortex, mm, and `thickness_map` its
    (8, 8, 8) variation. ventricle : probit offset of ventricular size. atrophy : sulcal widening, mm.
    skull_mm, scalp_mm : mean shells. strip_mm : how far beyond the cortex brain extraction leaves CSF.
    """

    species: str
    scale: tuple[float, float, float]
    shear: tuple[float, float, float]
    velocity: np.ndarray
    wobble: np.ndarray
    folding_seed: int
    folding: float
    wavelength: float
    thickness: float
    thickness_map: np.ndarray
    ventricle: float
    atrophy: float
    skull_mm: float
    scalp_mm: float
    strip_mm: float


@dataclass(frozen=True)
class Head:
    """A built head.

    labels : uint8 Volume, the arg max of `fractions` (see TISSUES for the codes).
    fractions : (7, x, y, z) float32, partial volumes that sum to one.
    details : maps that the contrast may use: `distance` (mm from the white-matter surface, template mm),
        `marrow` and `vessel` (0 to 1).
    surrogate : '' for humans, else the sentence that must stand beside every result.
    """

    labels: Volume
    fractions: np.ndarray
    details: dict[str, np.ndarray]
    affine: np.ndarray
    parameters: HeadParameters
    surrogate: str = ""
    extra: dict[str, float] = field(default_factory=dict)


def species_of(name: str) -> Species:
    """The table row of a species. Raises ConfigError for an unknown one."""
    if name not in SPECIES:
        raise ConfigError(f"Unknown species '{name}'", where=f"species '{name}'", why="no anatomy of this species is known",
                          fix=nearest(name, SPECIES))
    return SPECIES[name]


def draw_head(rng: np.random.Generator, species: str = "human") -> HeadParameters:
    """Draw one individual. Same generator state, same individual."""
    s = species_of(species)
    size = 1 + 0.035 * rng.standard_normal()
    scale = tuple(float(a) for a in size * (1 + 0.03 * rng.standard_normal(3)))
    return HeadParameters(
        species=species,
        scale=scale,
        shear=tuple(float(a) for a in 0.02 * rng.standard_normal(3)),
        velocity=3.0 * rng.standard_normal((3, 6, 6, 6)).astype(np.float32),
        wobble=1.5 * rng.standard_normal((3, 12, 14, 12)).astype(np.float32),
        folding_seed=int(rng.integers(2**31)),
        folding=float(s.folding * rng.uniform(0.85, 1.15)),
        wavelength=float(rng.uniform(10.5, 13.5)),
        thickness=float(s.thickness * rng.uniform(0.92, 1.08)),
        thickness_map=rng.standard_normal((8, 8, 8)).astype(np.float32),
        ventricle=float(rng.normal(0, 0.4)),
        atrophy=float(rng.uniform(0, 0.8)),
        skull_mm=float(rng.uniform(5, 8)),
        scalp_mm=float(rng.uniform(4, 8)),
        strip_mm=float(rng.uniform(0, 2.5)),
    )


def head_grid(species: str, voxel_mm: float, skull: bool) -> tuple[tuple[int, int, int], np.ndarray]:
    """(shape, affine) of the default field of view: the head, or the brain alone."""
    extent = np.array([196.0, 236.0, 200.0]) if skull else np.array([160.0, 196.0, 164.0])
    scale = np.array(species_of(species).scale)
    shape = tuple(int(n) for n in np.ceil(extent * scale / voxel_mm))
    affine = np.diag([voxel_mm] * 3 + [1.0])
    middle = (CENTRE - np.array([0, 0, 0])) * scale
    affine[:3, 3] = middle - voxel_mm * (np.array(shape) - 1) / 2
    return shape, affine


def _positions(p: HeadParameters, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Template position (3, x, y, z), mm, of every voxel: global shape, then the flow of a stationary velocity."""
    species = np.array(SPECIES[p.species].scale)
    axes = [
        ((affine[i, 3] + affine[i, i] * np.arange(shape[i])) / species[i]).astype(np.float32) - np.float32(CENTRE[i])
        for i in range(3)
    ]
    # the flow exp(v) by scaling and squaring on a coarse grid that spans the field of view (6 mm spacing)
    coarse = tuple(max(8, int(np.ceil((a[-1] - a[0]) / 6))) for a in axes)
    steps = np.array([(a[-1] - a[0]) / (n - 1) for a, n in zip(axes, coarse, strict=True)], np.float32)
    flow = np.stack([smooth_field(v, coarse) + smooth_field(w, coarse) for v, w in zip(p.velocity, p.wobble, strict=True)])
    flow /= 2**4
    index = np.indices(coarse, np.float32)
    for _ in range(4):
        at = index + flow / steps[:, None, None, None]
        flow = flow + np.stack([ndimage.map_coordinates(f, at, order=1, mode="nearest") for f in flow])
    grid = np.meshgrid(*[a / s for a, s in zip(axes, p.scale, strict=True)], indexing="ij", sparse=True)
    xy, yz, zx = p.shear
    base = [grid[0] + xy * grid[1], grid[1] + yz * grid[2], grid[2] + zx * grid[0]]
    out = np.empty((3, *shape), np.float32)
    for i in range(3):
        out[i] = _linear_upsample(flow[i], shape) + base[i] + np.float32(CENTRE[i])
    return out


def _linear_upsample(coarse: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Separable linear interpolation, end points aligned."""
    out = coarse
    for axis, n in enumerate(shape):
        u = np.linspace(0, out.shape[axis] - 1, n)
        i = np.minimum(u.astype(int), out.shape[axis] - 2)
        t = (u - i).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        out = np.take(out, i, axis) * (1 - t) + np.take(out, i + 1, axis) * t
    return out


def _folds(p: HeadParameters, atlas: Atlas) -> np.ndarray:
    """Folding field on the atlas's coarse grid: band-limited, made coherent along the depth of the cortex.

    Sampled at points moved most of the way up to the pial surface, so that a sulcus that begins at the surface
    continues inwards; the cerebellum has finer folia.
    """
    rng = np.random.default_rng(p.folding_seed)
    shape = atlas.coarse["hull"].shape
    gyri = band_noise(shape, p.wavelength / 2, 0.22, rng) + 0.35 * band_noise(shape, p.wavelength / 3.6, 0.25, rng)
    folia = band_noise(shape, 3.4, 0.2, rng)
    depth = np.clip(atlas.coarse["depth"], 0, 28)
    at = np.indices(shape, np.float32) - 0.55 * depth / 2 * atlas.coarse["inward"]
    gyri = ndimage.map_coordinates(gyri, at, order=1, mode="wrap")
    x, y, z = (np.arange(n, dtype=np.float32) * 2 + o for n, o in zip(shape, atlas.coarse_origin, strict=True))
    cerebellum = (y[None, :, None] < -38) & (z[None, None, :] < -14 - 0.25 * (y[None, :, None] + 60)) & (np.abs(x)[:, None, None] < 60)
    weight = ndimage.gaussian_filter(cerebellum.astype(np.float32), 1.0)
    return (p.folding * (gyri * (1 - weight) + 0.9 * folia * weight)).astype(np.float32)


def build_head(
    parameters: HeadParameters,
    voxel_mm: float,
    shape: tuple[int, int, int] | None = None,
    skull: bool = True,
) -> Head:
    """Build a head on an isotropic grid.

    voxel_mm : edge length in the species' own millimetres. shape : (x, y, z) of the grid, centred on the brain;
    by default what holds the head (or the brain). skull : False for a brain-extracted image (skull and soft tissue
    become background). Returns a Head; labels and fractions are exact for the drawn anatomy.
    Raises ConfigError on an impossible voxel size.
    """
    p = parameters
    species = species_of(p.species)
    relative = voxel_mm / float(np.prod(species.scale) ** (1 / 3))
    if not 0.3 <= relative <= 8:
        raise ConfigError(
            f"Cannot build a {p.species} head at {voxel_mm} mm",
            where="voxel_mm",
            why="the anatomy is known at about 1 mm (relative to a human brain)",
            fix=f"use {0.3 * voxel_mm / relative:.2g} to {8 * voxel_mm / relative:.2g} mm; typical: {species.voxel_mm} mm",
        )
    default, affine = head_grid(p.species, voxel_mm, skull)
    if shape is None:
        shape = default
    else:
        affine[:3, 3] += voxel_mm * (np.array(default) - np.array(shape)) / 2
    sub = max(1, round(relative))
    work_shape = tuple(n * sub for n in shape)
    work = affine.copy()
    work[:3, :3] /= sub
    work[:3, 3] -= voxel_mm * (1 - 1 / sub) / 2
    fractions, details = _tissues(p, species, work, work_shape, relative / sub, skull)
    if sub > 1:
        fractions = _average(fractions, sub)
        details = {k: _average(v[None], sub)[0] for k, v in details.items()}
    labels = fractions.argmax(0).astype(np.uint8)
    return Head(Volume(labels, affine), fractions, details, affine, p, species.surrogate)


def _average(maps: np.ndarray, n: int) -> np.ndarray:
    c, x, y, z = maps.shape
    return maps.reshape(c, x // n, n, y // n, n, z // n, n).mean((2, 4, 6), dtype=np.float32)


def _ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """Box partial volume of a plane at a signed distance: 0 outside, 1 inside."""
    return np.clip(0.5 + distance / width, 0, 1).astype(np.float32)


def _tissues(
    p: HeadParameters, species: Species, affine: np.ndarray, shape: tuple[int, int, int], h: float, skull: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Fractions (7, x, y, z) and details on the working grid, whose spacing is `h` template mm."""
    atlas = load_atlas(species.smooth_mm)
    rng = np.random.default_rng(p.folding_seed + 1)
    at = _positions(p, affine, shape)
    at_fine = at - atlas.fine_origin.astype(np.float32)[:, None, None, None]
    at_coarse = at_fine / 2
    hull = ndimage.map_coordinates(atlas.coarse["hull"], at_coarse, order=1, mode="nearest")

    # the brain's own box: most of the work happens there
    inside = hull > -3
    box = tuple(
        slice(max(int(a.min()) - 3, 0), int(a.max()) + 4)
        for a in (np.flatnonzero(inside.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    )
    fine, coarse = at_fine[(slice(None), *box)], at_coarse[(slice(None), *box)]
    fold = ndimage.map_coordinates(_folds(p, atlas), coarse, order=1, mode="nearest")
    probit, grey = (ndimage.map_coordinates(atlas.fine[k], fine, order=1, mode="nearest") for k in ("probit", "grey"))
    white = ndimage.map_coordinates(atlas.fine["white"], fine, order=1, mode="nearest")
    depth = ndimage.map_coordinates(atlas.coarse["depth"], coarse, order=1, mode="nearest")
    inner = hull[box]
    x, y, z = (a[box] for a in at)

    # deep structures do not fold: basal ganglia, thalamus, ventricles, brain stem, hippocampus
    deep = np.exp(-(((np.abs(x) - 8) / 26) ** 4 + ((y + 8) / 34) ** 4 + ((z - 4) / 26) ** 4))
    stem = (np.abs(x) < 16) & (y > -46) & (y < -8) & (z < -10)
    deep = np.maximum(deep, stem)
    phi = 1.2 * probit - 0.2 * (1 - deep) + fold * (1 - deep) - np.clip((4.2 - inner) * 0.9, 0, None) * (deep < 0.5)
    is_white = phi > 0
    components, count = ndimage.label(is_white)
    if count > 1:
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        keep = sizes >= 0.002 * sizes.max()
        phi[is_white & ~keep[components]] = -0.3
        is_white = phi > 0
    holes, count = ndimage.label(~is_white)
    if count > 1:
        sizes = np.bincount(holes.ravel())
        small = sizes < 60 / h**3
        phi[small[holes] & ~is_white] = 0.3
        is_white = phi > 0

    # signed distance to the white-matter surface, with the sub-voxel position of the surface
    slope = np.sqrt(sum(g**2 for g in np.gradient(phi))) / h
    level = np.clip(phi / np.maximum(slope, 0.05), -1.5 * h, 1.5 * h)
    away, near = ndimage.distance_transform_edt(~is_white, return_indices=True)
    distance = (h * away).astype(np.float32) + np.where(is_white, 0, np.minimum(level[tuple(near)], 0.8 * h))
    close = np.abs(level) < 0.75 * h
    distance = np.where(is_white, -level, np.where(close & (away < 1.5), np.minimum(-level, distance), distance))

    fine_fold = ndimage.map_coordinates(band_noise(atlas.coarse["hull"].shape, 4.0, 0.25, rng), coarse, order=1)
    thickness = p.thickness * (1 + 0.1 * smooth_field(p.thickness_map, distance.shape))
    thickness = thickness - p.atrophy * 0.3
    csf_prior = np.clip(1 - white - grey, 0, 1)
    spotty = smooth_field(rng.standard_normal((20, 22, 20)), distance.shape)
    cortex = np.maximum(thickness - distance, np.minimum(9 * (grey - 0.42) + 1.2 * fine_fold, 2.5 * thickness - distance))
    cortex = _ramp(cortex, h) * _ramp((grey + 0.06 * spotty - 0.10) / 0.05, 1.0)
    # two banks that touch still show the sulcus between them: the ridge of the distance map
    ridge = np.sqrt(sum(g**2 for g in np.gradient(distance))) / h
    sulcus = np.clip((0.72 - ridge) / 0.45, 0, 1) * _ramp(distance - 1.5, 1.0) * (inner > 1.5)
    cortex *= 1 - 0.8 * sulcus
    # deep grey and ventricles by their own probabilities
    ventricle = csf_prior - grey + 0.12 * p.ventricle + 0.04 * spotty
    nucleus = _ramp((grey + 0.05 * spotty - np.maximum(csf_prior, 0.3)) / 0.08, 1.0)
    solid = np.where(deep > 0.5, nucleus * _ramp(0.5 - (ventricle + 0.5) / 0.1, 1.0), cortex)
    f_white = _ramp(-distance, h)
    f_grey = (1 - f_white) * solid
    f_brain = _ramp(inner, h)
    f_grey *= f_brain
    f_white *= f_brain
    nuclei = np.exp(-(((np.abs(x) - 14) / 19) ** 6 + ((y + 4) / 27) ** 6 + ((z - 5) / 18) ** 6)) > 0.5

    out = np.zeros((7, *shape), np.float32)
    f_csf = np.clip(f_brain - f_grey - f_white, 0, 1)
    outer = np.ones_like(f_brain)
    if not skull:
        outer = _ramp(thickness + p.strip_mm + (deep > 0.2) * 20 + 2 * (depth > 4) - distance, h)
    out[(1, *box)] = f_csf * outer
    out[(2, *box)] = f_grey * ~nuclei
    out[(3, *box)] = f_white
    out[(4, *box)] = f_grey * nuclei
    details = {"distance": np.full(shape, 9.0, np.float32), "marrow": np.zeros(shape, np.float32)}
    details["distance"][box] = np.clip(distance, -9, 9)
    if skull:
        _shells(p, at, hull, h, out, details)
    out[0] = np.clip(1 - out[1:].sum(0), 0, 1)
    return out, details


def _shells(
    p: HeadParameters, at: np.ndarray, hull: np.ndarray, h: float, out: np.ndarray, details: dict[str, np.ndarray]
) -> None:
    """Subarachnoid CSF, skull with marrow, scalp: shells of the distance to the hull, written into `out`."""
    rng = np.random.default_rng(p.folding_seed + 2)
    shape = hull.shape
    skull = p.skull_mm * (1 + 0.18 * smooth_field(rng.standard_normal((7, 7, 7)), shape))
    scalp = p.scalp_mm * (1 + 0.2 * smooth_field(rng.standard_normal((7, 7, 7)), shape))
    low = np.clip((-30 - at[2]) / 20, 0, 1)  # below the brain: muscle and neck rather than scalp
    scalp = scalp + 9 * low
    outside = -hull
    fluid = 1.2 + 0.5 * smooth_field(rng.standard_normal((9, 9, 9)), shape)
    e0, e1, e2 = (_ramp(edge - outside, h) for edge in (fluid, fluid + skull, fluid + skull + scalp))
    brain = out[1:5].sum(0)
    out[1] += np.clip(e0 - brain, 0, 1)
    out[5] = np.clip(e1 - e0, 0, 1)
    out[6] = np.clip(e2 - e1, 0, 1)
    rel = (outside - fluid) / np.maximum(skull, 1)
    mottled = correlated_noise(tuple((n + 1) // 2 for n in shape), 3.0, rng)
    mottled = _linear_upsample(mottled, shape)
    details["marrow"] = (_ramp(0.25 - np.abs(rel - 0.5), 0.15) * np.clip(0.6 + 0.35 * mottled, 0, 1)).astype(np.float32)
