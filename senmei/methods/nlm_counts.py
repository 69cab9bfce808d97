"""Non-local means of emission images, its strength tuned without a clean image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from senmei.methods.counts_tuned import CountsTuned, bright_level
from senmei.methods.nlm3d import check_radii, nlm3d


class NLMCounts(CountsTuned):
    """3D non-local means; its strength h is a share of the image's bright level.

    strength : h / bright level (`counts_tuned.bright_level`), above 0; None (default): tuned, per dose.
    search_radius, patch_radius : of the search window and of the patches, voxels (see `nlm3d`).
    Other settings: see `CountsTuned`. Raises ConfigError for values that mean nothing.

    No variance-stabilising transform: reconstructed voxels are not Poisson (in OSEM their spread grows about
    with the local mean), so that Anscombe's does not apply, and averaging in any curved domain loses counts.
    One h suits the myocardium, whose uptake varies little, and it is there that h is tuned.
    """

    title: ClassVar[str] = "Non-local means"
    sentence: ClassVar[str] = (
        "Three-dimensional non-local means compared patches of radius {settings[patch_radius]} in windows of radius "
        "{settings[search_radius]} voxels, at the strength with which validation scans came nearest to "
        "independent noisy realisations of the same scans around the heart."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Buades A, Coll B, Morel JM. A review of image denoising algorithms, with a new one. "
        "Multiscale Model Simul 2005;4:490-530.",
    )
    number: ClassVar[str] = "strength"
    bounds: ClassVar[tuple[float, float]] = (0.02, 1.0)

    def __init__(
        self,
        strength: float | None = None,
        search_radius: int = 4,
        patch_radius: int = 1,
        examples: int = 2,
        evaluations: int = 8,
    ) -> None:
        super().__init__(fixed=strength, examples=examples, evaluations=evaluations)
        check_radii(search_radius, patch_radius)
        self.search_radius, self.patch_radius = int(search_radius), int(patch_radius)

    def restore(
        self,
        data: np.ndarray,
        voxel: tuple[float, float, float],
        value: float,
        region: np.ndarray | None = None,
        threads: int = 1,
    ) -> np.ndarray:
        """Restored array, (x, y, z) float32, zero outside `region`; `value` is h over the bright level."""
        h = value * bright_level(data, voxel)
        if h <= 0:  # nothing in the image but zeros and negative noise
            return np.asarray(data, dtype=np.float32)
        return nlm3d(
            data,
            h,
            h,
            self.search_radius,
            self.patch_radius,
            rician=False,
            mask=region,
            device=self.device,
            threads=threads,
        )
