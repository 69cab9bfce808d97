"""What the head phantom takes from the MNI152 template that nilearn carries (no download)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.special import ndtri


@dataclass(frozen=True)
class Atlas:
    """Population maps in MNI space, (x, y, z) float32 on two grids.

    fine : 1 mm maps: `white` and `grey` probability, `probit` of the white-matter probability.
    coarse : 2 mm maps: `hull` (signed distance to the brain hull, mm, positive inside), `depth` (mm below the
        nearest pial surface of the mean brain, fissures included) and its unit gradient `inward` (3, x, y, z).
    fine_origin, coarse_origin : world position (mm, RAS) of voxel (0, 0, 0).
    """

    fine: dict[str, np.ndarray]
    coarse: dict[str, np.ndarray]
    fine_origin: np.ndarray
    coarse_origin: np.ndarray


PAD = 32  # mm of air around the brain: room for skull, scalp and deformation


@lru_cache(maxsize=2)
def load_atlas(smooth_mm: float = 0.0) -> Atlas:
    """The atlas, optionally with tissue maps smoothed (Gaussian sigma, mm) for lissencephalic surrogates.

    Source: ICBM 152 2009a symmetric [Fonov 2011, NeuroImage 54:313], as bundled with nilearn.
    """
    from nilearn import datasets

    def padded(image) -> np.ndarray:
        return np.pad(np.asarray(image.get_fdata(dtype=np.float32)), PAD)

    template = datasets.load_mni152_template(resolution=1)
    brain = padded(template) > 0
    white = np.clip(padded(datasets.load_mni152_wm_template(resolution=1)), 0, 1)
    grey = np.clip(padded(datasets.load_mni152_gm_template(resolution=1)), 0, 1)
    total = np.maximum(white + grey, 1)
    white, grey = white / total, grey / total
    if smooth_mm:
        white, grey = (ndimage.gaussian_filter(m, smooth_mm, truncate=3) for m in (white, grey))
    origin = template.affine[:3, 3] - PAD

    two = (slice(None, None, 2),) * 3
    mask = ndimage.binary_fill_holes(brain[two])
    hull = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    hull = ndimage.gaussian_filter(2 * hull.astype(np.float32), 0.7)
    # the mean pial surface: hull, interhemispheric fissure, Sylvian fissure and other reliable sulci
    x = np.abs(origin[0] + 2 * np.arange(mask.shape[0]))[:, None, None]
    inside = mask & (1 - white[two] - grey[two] < 0.4) & ~((x < 1.5) & (white[two] < 0.3))
    depth = ndimage.gaussian_filter(2 * ndimage.distance_transform_edt(inside).astype(np.float32), 1.0)
    inward = np.stack(np.gradient(ndimage.gaussian_filter(depth, 1.5))).astype(np.float32)
    inward /= np.maximum(np.sqrt((inward**2).sum(0)), 1e-3)
    probit = ndtri(np.clip(white, 0.004, 0.996)).astype(np.float32)
    fine = {"white": white, "grey": grey, "probit": probit}
    return Atlas(fine, {"hull": hull, "depth": depth, "inward": inward}, origin, origin.copy())
