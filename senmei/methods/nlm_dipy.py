"""dipy's non-local means as a peer, tuned in the same way as ours."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
from scipy import ndimage

from senmei.core.errors import ConfigError, nearest
from senmei.core.volume import Volume
from senmei.methods.nlm3d import DIPY_BETA, check_radii
from senmei.methods.tuned import Tuned

_AIR = 3.0  # local root mean square, in sigmas, below which there is only noise
_MARGIN = 2  # voxels around what is signal


class NLMDipy(Tuned):
    """`dipy.denoise.nlmeans`: `classic` (voxelwise, on the granted threads) or `blockwise` (its newer default).

    `blockwise` runs on one thread: dipy's threads add their overlapping blocks to one array without a lock, so that
    with two of them some voxels differ from run to run (measured: 60-120 of 140,000, by up to 5 sigma).

    beta : strength relative to the noise, above 0; None (default): tuned on validation, per noise level.
        For `classic` it is h / sigma, as in `NLM3D` (dipy's own is 2^(1/4)). `blockwise` takes one sigma both
        for its strength and for the Rician correction, so there beta multiplies that (dipy's own is 1).
    search_radius : default as dipy's: 5 for `classic`, 2 for `blockwise`. patch_radius : voxels.
    Other settings: see `Tuned`. Raises ConfigError for values that mean nothing.

    Air is not given to dipy, which is slow: there it holds what the method tends to where all patches are alike,
    the Rician-corrected mean over the search window.
    """

    title: ClassVar[str] = "Non-local means (dipy)"
    sentence: ClassVar[str] = (
        "The {settings[variant]} non-local means of dipy served as a peer, tuned in the same way."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Garyfallidis E, Brett M, Amirbekian B, et al. Dipy, a library for the analysis of diffusion MRI data. "
        "Front Neuroinform 2014;8:8.",
        "Coupe P, Yger P, Prima S, et al. An optimized blockwise nonlocal means denoising filter for 3-D "
        "magnetic resonance images. IEEE Trans Med Imaging 2008;27:425-441.",
    )
    number: ClassVar[str] = "beta"
    bounds: ClassVar[tuple[float, float]] = (0.4, 3.0)

    def __init__(
        self,
        variant: str = "classic",
        beta: float | None = None,
        search_radius: int | None = None,
        patch_radius: int = 1,
        rician: bool = True,
        target: str = "reference",
        slab: int | None = 24,
        examples: int = 3,
        evaluations: int = 8,
    ) -> None:
        super().__init__(fixed=beta, target=target, slab=slab, examples=examples, evaluations=evaluations)
        if variant not in ("classic", "blockwise"):
            raise ConfigError(
                f"Unknown variant '{variant}' of dipy's non-local means",
                where=f"variant: {variant}",
                why="dipy has two",
                fix=nearest(variant, ("classic", "blockwise")),
            )
        radius = search_radius if search_radius is not None else {"classic": 5, "blockwise": 2}[variant]
        check_radii(radius, patch_radius)
        self.variant, self.rician = variant, rician
        self.search_radius, self.patch_radius = int(radius), int(patch_radius)

    def restore(self, volume: Volume, sigma: float, value: float, threads: int) -> np.ndarray:
        """Restored array, (x, y, z) float32; `value` is beta. Without noise there is nothing to remove."""
        from dipy.denoise.nlmeans import nlmeans

        data = volume.data
        if sigma <= 0:
            return data.astype(np.float32)
        bias = 2 * sigma**2 if self.rician else 0.0
        mean_square = ndimage.uniform_filter(data**2, 2 * self.search_radius + 1, mode="mirror")
        air = np.sqrt(np.maximum(mean_square - bias, 0))
        signal = ndimage.uniform_filter(data**2, 3, mode="mirror") > (_AIR * sigma) ** 2
        signal = ndimage.binary_dilation(signal, iterations=_MARGIN)
        classic = self.variant == "classic"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = nlmeans(
                data,
                sigma=value * sigma / DIPY_BETA if classic else value * sigma,
                mask=signal,
                patch_radius=self.patch_radius,
                block_radius=self.search_radius,
                # classic averages squares in any case; its correction would use the scaled sigma
                rician=self.rician and not classic,
                num_threads=threads if classic else 1,  # blockwise adds up its blocks without a lock
                method=self.variant,
            )
        if classic:
            out = np.sqrt(np.maximum(out**2 - bias, 0))
        return np.where(signal, out, air).astype(np.float32)

    def reach(self, volume: Volume) -> int:
        """The search window, and the patches at its rim."""
        return self.search_radius + self.patch_radius
