"""What the head phantom takes from the MNI152 template that nilearn carries (no download)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

PAD = 32  # mm of air around the brain: room for skull, scalp and deformation


@dataclass(frozen=True)
class Atlas:
    """Population maps in MNI space, (x, y, z) float32 on two grids with one world origin (mm, RAS).

    probit, grey : 1 mm; probit of the white-matter probability, and the grey-matter probability.
    coarse : 2 mm maps:
        `hull` signed distance to the brain hull (mm, positive inside); `depth` mm below the nearest pial surface of the
        mean brain, fissures included; `far` mm from the mean white matter; `csf` probability; `white` probability;
        and zones in 0..1: `deep` (structures that do not fold), `stem` (brain stem), `nuclei` (deep grey matter),
        `cerebellum`.
    inward : (3, x, y, z) unit gradient of `depth`, within `brain`: the coarse grid's box around the brain.
    """

    probit: np.ndarray
    grey: np.ndarray
    coarse: dict[str, np.ndarray]
    inward: np.ndarray
    brain: tuple[slice, ...]
    origin: np.ndarray


def _zones(origin: np.ndarray, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Regions of MNI space that are treated differently, as smooth weights. Bounds in mm, read off the template."""
    x, y, z = (
        (2 * np.arange(n, dtype=np.float32) + o).reshape([-1 if i == j else 1 for j in range(3)])
        for i, (n, o) in enumerate(zip(shape, origin.astype(np.float32), strict=True))
    )
    ax = np.abs(x)

    def blob(cx: float, rx: float, cy: float, ry: float, cz: float, rz: float, power: int) -> np.ndarray:
        r = ((ax - cx) / rx) ** power + ((y - cy) / ry) ** power + ((z - cz) / rz) ** power
        return 1 / (1 + np.minimum(r, 1e3) ** 2)

    tentorium = -14 - 0.25 * (y + 60)
    stem = (ax < 15) & (y > -46) & (y < -8) & (z < -12) & (y > -46 + 0.2 * (z + 12))
    cerebellum = (y < -40) & (z < tentorium) & (ax < 60) & ~stem
    return {
        "deep": np.maximum(blob(8, 27, -8, 38, 4, 27, 2), stem),
        "stem": ndimage.gaussian_filter(stem.astype(np.float32), 1.5),
        "nuclei": blob(14, 20, -4, 28, 4, 18, 4),
        "cerebellum": ndimage.gaussian_filter(cerebellum.astype(np.float32), 1.0),
    }


@lru_cache(maxsize=3)
def load_atlas(smooth_mm: float) -> Atlas:
    """The atlas, with tissue maps smoothed (Gaussian sigma, mm; 0 for none) for lissencephalic surrogates.

    Source: ICBM 152 2009a symmetric [Fonov 2011, NeuroImage 54:313], as bundled with nilearn.
    """
    from nilearn import datasets

    def load(image: Any) -> np.ndarray:
        return np.asarray(image.get_fdata(dtype=np.float32))

    template = datasets.load_mni152_template(resolution=1)
    white = np.clip(load(datasets.load_mni152_wm_template(resolution=1)), 0, 1)
    grey = np.clip(load(datasets.load_mni152_gm_template(resolution=1)), 0, 1)
    total = np.maximum(white + grey, 1)
    white, grey = white / total, grey / total
    if smooth_mm:
        white, grey = (ndimage.gaussian_filter(m, smooth_mm, truncate=3) for m in (white, grey))
    # a table is as good as the exact inverse of the normal distribution, and ten times faster
    table = ndtri(np.linspace(0, 1, 1025).clip(0.004, 0.996)).astype(np.float32)
    probit = table[(white * 1024).round().astype(np.uint16)]
    probit = np.pad(probit, PAD, constant_values=float(table[0]))

    two = (slice(None, None, 2),) * 3
    mask = np.pad(ndimage.binary_fill_holes(load(template)[two] > 0), PAD // 2)
    white2, grey2 = (np.pad(m[two], PAD // 2) for m in (white, grey))
    origin = template.affine[:3, 3] - PAD
    brain = tuple(slice(int(i.min()) - 4, int(i.max()) + 5) for i in np.nonzero(mask))

    def below(
        region: np.ndarray,
    ) -> np.ndarray:  # depth within a region of the brain, mm; only its box is transformed
        out = np.zeros(mask.shape, np.float32)
        out[brain] = 2 * ndimage.distance_transform_edt(region[brain])
        return out

    hull = below(mask) - 2 * ndimage.distance_transform_edt(~mask).astype(np.float32)
    x = np.abs(origin[0] + 2 * np.arange(mask.shape[0]))[:, None, None]
    # the mean pial surface: hull, interhemispheric fissure, Sylvian fissure and other reliable sulci
    inside = mask & (1 - white2 - grey2 < 0.4) & ~((x < 1.5) & (white2 < 0.3))
    depth = ndimage.gaussian_filter(below(inside), 1.0)
    inward = np.stack(np.gradient(ndimage.gaussian_filter(depth[brain], 1.5))).astype(np.float32)
    inward /= np.maximum(np.sqrt((inward**2).sum(0)), 1e-3)
    coarse = {
        "hull": ndimage.gaussian_filter(hull, 0.7),
        "depth": depth,
        "far": below(white2 < 0.5),
        "csf": np.clip(1 - white2 - grey2, 0, 1),
        "white": white2,
        **_zones(origin, mask.shape),
    }
    coarse = {k: np.asarray(v, np.float32) for k, v in coarse.items()}
    return Atlas(probit, np.pad(grey, PAD), coarse, inward, brain, origin)
