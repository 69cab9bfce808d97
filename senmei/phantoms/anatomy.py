"""From parameters to tissues.

White matter is the excursion set of (probit of the population probability) + (a band-limited Gaussian field): a
probit model whose population mean is the template and whose samples have crisp folds of their own. Cortex is the
ribbon around it, sulci are what remains inside the hull; so gyri have white blades and two banks, as real ones do.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from senmei.phantoms.atlas import Atlas, load_atlas
from senmei.phantoms.grids import average, double, flow, ramp, sample, slope, stretch
from senmei.phantoms.head import CENTRE, SPECIES, HeadParameters
from senmei.phantoms.shells import add_shells
from senmei.physics.fields import band_noise, smooth_field

Maps = dict[str, np.ndarray]


def tissues(
    p: HeadParameters, affine: np.ndarray, shape: tuple[int, int, int], skull: bool
) -> tuple[np.ndarray, Maps]:
    """Fractions (7, x, y, z) and details of a head on a grid (see `senmei.phantoms.head.Head`).

    The brain is made on a grid of about 1 template mm (`sub` to a voxel) and averaged, smooth maps on one of half that;
    the shells around it on the voxels themselves.
    """
    species = SPECIES[p.species]
    atlas = load_atlas(species.smooth_mm)
    relative = affine[0, 0] / float(np.prod(species.scale) ** (1 / 3))
    sub = 1 if relative < 1.5 else 2 if relative < 4.5 else 4
    h = relative / sub
    work = tuple(n * sub for n in shape)
    half = tuple((n + 1) // 2 for n in work)
    at = _positions(p, affine, sub, half)  # template position of the half grid, in atlas voxels of 2 mm
    hull = sample(atlas.coarse["hull"], at)

    inside = hull > -3
    low, high = [], []
    for axis, n in zip(((1, 2), (0, 2), (0, 1)), half, strict=True):
        where = np.flatnonzero(inside.any(axis))
        low.append(max(int(where.min()) - 2, 0) // 2 * 2)
        high.append(min(int(where.max()) + 3, n))
    high = [min(b + (b - a) % 2, n) for a, b, n in zip(low, high, half, strict=True)]
    small = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    box = tuple(slice(2 * a, min(2 * b, n)) for a, b, n in zip(low, high, work, strict=True))
    parts, details = _brain(
        p, atlas, at[(slice(None), *small)], tuple(b.stop - b.start for b in box), h, skull
    )

    final = tuple(slice(b.start // sub, b.stop // sub) for b in box)
    out = np.zeros((7, *shape), np.float32)
    maps = {k: np.zeros(shape, np.float32) for k in ("myelin", "marrow", "muscle", "vessel")}
    maps["distance"] = np.full(shape, 9.0, np.float32)
    for tissue, part in parts.items():
        out[tissue][final] = average(part, sub)
    for name, part in details.items():
        maps[name][final] = average(part, sub)
    if skull:
        if sub == 1:
            hull, height = double(hull, shape), double(at[2], shape)
        else:
            hull, height = average(hull, sub // 2), average(at[2], sub // 2)
        add_shells(p, 2 * height + atlas.origin[2], hull, relative, out, maps)
    out[0] = np.clip(1 - out[1:].sum(0), 0, 1)
    return out, maps


def _positions(p: HeadParameters, affine: np.ndarray, sub: int, half: tuple[int, ...]) -> np.ndarray:
    """Position (3, x, y, z) in the atlas's 2 mm voxels: flow of a stationary velocity, then global shape."""
    step = affine[0, 0] / sub * 2  # of the half grid, species mm
    scale = np.array(SPECIES[p.species].scale)
    # centre of the first half-grid voxel: half a work voxel in from the corner pair's middle
    start = affine[:3, 3] - affine[0, 0] / 2 + step / 2
    axes = [
        ((start[i] + step * np.arange(half[i])) / scale[i] - CENTRE[i]).astype(np.float32) for i in range(3)
    ]
    move = flow(p.velocity, p.wobble, np.array([a[-1] - a[0] for a in axes]))
    grid = np.meshgrid(*[a / s for a, s in zip(axes, p.scale, strict=True)], indexing="ij", sparse=True)
    xy, yz, zx = p.shear
    base = [grid[0] + xy * grid[1], grid[1] + yz * grid[2], grid[2] + zx * grid[0]]
    origin = load_atlas(SPECIES[p.species].smooth_mm).origin
    out = np.empty((3, *half), np.float32)
    for i in range(3):
        out[i] = (stretch(move[i], half) + base[i] + np.float32(CENTRE[i] - origin[i])) / 2
    return out


def _folds(p: HeadParameters, atlas: Atlas, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(fold, fissure) fields on the brain's box of the atlas's coarse grid: band-limited, coherent with depth.

    Read at points moved most of the way up to the pial surface, so that a sulcus that begins there continues inwards.
    """
    depth, far, weight = (atlas.coarse[k][atlas.brain] for k in ("depth", "far", "cerebellum"))
    shape = depth.shape
    gyri = band_noise(shape, p.wavelength / 2, 0.22, rng) + 0.5 * band_noise(
        shape, p.wavelength / 3.6, 0.25, rng
    )
    fissure = band_noise(shape, 4.0, 0.25, rng)
    index = np.indices(shape, np.float32)
    lift = np.clip(depth, 0, 28) * atlas.inward / 2
    gyri = ndimage.map_coordinates(gyri, index - 0.55 * lift, order=1, mode="wrap")
    strength = 1 + 0.35 * np.clip(far - 2, 0, 8)
    fold = p.folding * (gyri * strength * (1 - weight) + (0.8 * gyri - 0.3) * weight)
    return fold.astype(np.float32), fissure


def _white_level(phi: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """(is white, level set) without specks and pinholes."""
    is_white = phi > 0
    pieces, count = ndimage.label(is_white)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        phi[(sizes < 0.002 * sizes.max())[pieces] & is_white] = -0.3
        is_white = phi > 0
    pieces, count = ndimage.label(~is_white)
    if count > 1:
        phi[(np.bincount(pieces.ravel()) < 60 / h**3)[pieces] & ~is_white] = 0.3
        is_white = phi > 0
    return is_white, phi


def _distance(phi: np.ndarray, h: float) -> np.ndarray:
    """Signed distance (template mm, positive outside) to the zero level of `phi`, exact below the voxel near it."""
    is_white, phi = _white_level(phi, h)
    level = phi / np.maximum(slope(phi, h), np.float32(0.05))
    np.clip(level, -1.5 * h, 1.5 * h, out=level)
    away, near = ndimage.distance_transform_edt(~is_white, return_indices=True)
    away = away.astype(np.float32)
    beyond = h * away + np.minimum(level[tuple(near)], np.float32(0.8 * h))
    touching = (away < 1.5) & (level > -0.75 * h)
    return np.where(is_white | touching, -level, beyond)


def _brain(
    p: HeadParameters, atlas: Atlas, at: np.ndarray, shape: tuple[int, ...], h: float, skull: bool
) -> tuple[dict[int, np.ndarray], Maps]:
    """Fractions {tissue: (x, y, z)} and details within the brain's box, on the working grid of `h` template mm."""
    rng = np.random.default_rng(p.folding_seed)
    fold_map, fissure_map = _folds(p, atlas, rng)
    at_box = at - np.array([b.start for b in atlas.brain], np.float32)[:, None, None, None]

    def roughness(n: int) -> np.ndarray:
        return smooth_field(rng.standard_normal((n, n, n)), at.shape[1:])

    c = {
        k: sample(atlas.coarse[k], at)
        for k in ("hull", "csf", "white", "deep", "stem", "nuclei", "cerebellum")
    }
    rough = roughness(22)
    c["deep"] = np.clip(c["deep"] + 0.15 * rough * (c["deep"] > 0.1), 0, 1)
    tube = [sample(band_noise(fold_map.shape, 7.0, 0.3, rng), at_box) for _ in range(2)]
    inner = c["hull"] + 0.8 * roughness(18)
    folding = 1 - c["deep"]
    # what does not need the fine grid is summed on the half grid
    push = (sample(fold_map, at_box) - 0.12) * folding + 1.1 * c["stem"]
    push -= 1.5 * c["csf"] * folding + np.clip((4.2 - inner) * 0.9, 0, None) * (c["deep"] < 0.5)
    at_fine = np.stack([double(2 * a, shape) for a in at])
    phi = 1.2 * np.maximum(sample(atlas.probit, at_fine), -1.1) + double(push, shape)
    grey = sample(atlas.grey, at_fine)
    del at_fine
    distance = _distance(phi, h)
    f_white = ramp(-distance, h)

    inner = double(inner, shape)
    thickness = (
        p.thickness * (1 + 0.1 * smooth_field(p.thickness_map, at.shape[1:])) * (1 - 0.35 * c["cerebellum"])
    )
    thickness = double(thickness, shape)
    excess = thickness - distance
    # between far banks: grey matter with narrow clefts of CSF, wider towards the surface and with atrophy
    surface = np.clip(1 - c["hull"] / 8, 0, 1) * (1 - 0.7 * c["cerebellum"])
    opening = double(1.25 * sample(fissure_map, at_box) - 0.2 - 0.5 * p.atrophy - 2.2 * surface, shape)
    reach = double(1.5 + 4 * c["cerebellum"], shape)
    fill = np.minimum(9 * (grey - 0.42) + opening, reach * thickness + excess)
    cortex = ramp(np.maximum(excess, fill), h) * ramp((grey - 0.10 + 0.06 * double(rough, shape)) / 0.05, 1.0)
    # banks that touch still show the sulcus between them: the ridge of the distance map
    sulcus = np.clip((0.78 - slope(distance, h)) / 0.4, 0, 1) * ramp(distance - 1.5, 1.0)
    sulcus = ndimage.gaussian_filter(sulcus, 0.5 / h, truncate=2.5)
    cortex *= 1 - (0.7 + 0.3 * p.atrophy) * sulcus
    # deep nuclei and ventricles by their own probabilities
    offset = 0.12 * p.ventricle + 0.05 * rough
    ventricle = double(c["csf"] + offset, shape) - grey
    nucleus = ramp((grey - np.maximum(double(c["csf"] + offset, shape), 0.3)) / 0.08, 1.0)
    nucleus *= ramp((-0.02 - np.minimum(ventricle, 0.5)) / 0.1 + 0.5, 1.0)
    deep = ramp(double((c["deep"] - 0.5) / 0.3, shape), 1.0)
    cortex += deep * (nucleus - cortex)

    whole = ramp(inner + 1, h)
    f_white *= whole
    # folia are finer than a voxel: white cores and clefts of CSF as partial volume
    folia = _folia(at, atlas, c["cerebellum"], roughness(24), shape)
    folded = min(1.0, p.folding) * (1 - f_white) * whole  # smoother in smooth brains
    cleft = 0.35 * np.clip(-folia, 0, 1) * folded
    f_white += 0.4 * np.clip(folia, 0, 1) * folded * cortex
    f_grey = np.clip(cortex * (whole - f_white) - cleft, 0, 1)
    f_csf = np.clip(whole - f_grey - f_white, 0, 1)
    nuclei = ramp(double((c["nuclei"] - 0.5) / 0.25, shape), 1.0)
    if not skull:  # what a brain extraction leaves of the CSF
        leave = double(
            p.strip_mm + 0.8 * roughness(14) + 3 * np.clip(c["hull"] - 4, 0, 10) + 20 * c["deep"], shape
        )
        f_csf *= ramp(excess + leave, h)
    details = {
        "distance": np.clip(distance, -9, 9),
        "myelin": double(c["white"], shape) * nuclei,
        "vessel": _vessels(tube, distance, excess, inner, h) * (1 - deep),
    }
    return {1: f_csf, 2: f_grey * (1 - nuclei), 3: f_white, 4: f_grey * nuclei}, details


def _folia(
    at: np.ndarray, atlas: Atlas, weight: np.ndarray, rough: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Folia of the cerebellum, -1 (cleft) to 1 (white core), 0 elsewhere: sheets that fan out around its core.

    About 4.5 mm apart at the surface; every second one ends half way in, as the branches of the arbor vitae do.
    """
    y, z = (2 * at[i] + np.float32(atlas.origin[i]) - c for i, c in ((1, -48.0), (2, -30.0)))
    turns = (26 * np.arctan2(z, -y) + 2.5 * rough) / 4.5
    radius = np.sqrt(y * y + z * z)
    phase, outer = double(turns, shape), double(np.clip((radius - 15) / 4, 0, 1), shape)
    sheets = outer * np.sin(2 * np.pi * phase) + (1 - outer) * np.sin(np.pi * phase)
    return sheets * double(weight * np.clip((radius - 5) / 5, 0, 1), shape)


def _vessels(
    tube: list[np.ndarray], distance: np.ndarray, excess: np.ndarray, inner: np.ndarray, h: float
) -> np.ndarray:
    """Vessels where two random surfaces cross: curves that run in the sulcal CSF, fraction 0 to 1."""
    a, b = (double(t, distance.shape) for t in tube)
    radius = np.sqrt(a * a + b * b)  # of the field values: zero on the curves
    inside = ramp(-excess - 0.2, 2 * h) * ramp(inner - 1, 2 * h)
    return np.clip((0.22 - radius) / 0.12, 0, 1) * inside * (distance > 1)
