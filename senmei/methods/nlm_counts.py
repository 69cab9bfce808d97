"""Non-local means of emission images, its strength tuned without a clean image."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage

from senmei.methods.counts_tuned import CountsTuned, bright_level, whole


def nonlocal_means(
    data: np.ndarray,
    h: float,
    search_radius: int = 3,
    patch_radius: int = 1,
    region: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Non-local means of a 3D image, averaging the values themselves.

    data : (x, y, z) real, finite. h : strength in the unit of data, above 0. search_radius : how far the centres of
    compared patches lie apart at most, voxels along each axis; patch_radius : of the patches. region : (x, y, z) bool;
    nothing outside its bounding box is restored (0 there). Returns (x, y, z) float32, sum_q w_q y_q / sum_q w_q with
    w_q = exp(-d_q / h²), d_q the mean squared difference of the patches around the voxel and around q; the image is
    mirrored at its faces. `nlm3d` averages squares, as suits magnitude images: here noise would become counts.
    [Buades et al. 2005, Multiscale Model Simul 4:490]
    """
    s, p = search_radius, patch_radius
    full = (slice(0, data.shape[0]), slice(0, data.shape[1]), slice(0, data.shape[2]))
    box = full if region is None else (ndimage.find_objects(region.astype(np.uint8)) or [full])[0]
    padded = np.pad(np.asarray(data, dtype=np.float32), s + p, mode="reflect")
    block = padded[tuple(slice(a.start, a.stop + 2 * (s + p)) for a in box)]
    x = torch.from_numpy(np.ascontiguousarray(block)).to(device)
    size = [a.stop - a.start for a in box]

    def part(offset: tuple[int, ...], margin: int) -> torch.Tensor:
        first = [s + p + d - margin for d in offset]
        return x[tuple(slice(a, a + n + 2 * margin) for a, n in zip(first, size, strict=True))]

    here = part((0, 0, 0), p).contiguous()
    total, weights = torch.zeros(size, device=device), torch.zeros(size, device=device)
    scale = -1 / (h**2 * (2 * p + 1) ** 3)
    for offset in product(range(-s, s + 1), repeat=3):
        distance = (part(offset, p) - here).square_()
        for axis, n in enumerate(size):  # sums over the patch, axis by axis
            pieces = [distance.narrow(axis, k, n) for k in range(2 * p + 1)]
            distance = torch.add(pieces[0], pieces[1])
            for piece in pieces[2:]:
                distance += piece
        weight = distance.mul_(scale).exp_()
        weights += weight
        total.addcmul_(weight, part(offset, 0))
    out = np.zeros(data.shape, np.float32)
    out[box] = (total / weights).cpu().numpy()
    return out


class NLMCounts(CountsTuned):
    """3D non-local means; its strength h is a share of the image's bright level.

    strength : h / bright level (`counts_tuned.bright_level`), above 0; None (default): tuned, per dose.
    search_radius, patch_radius : of the search window and of the patches, voxels (see `nonlocal_means`).
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
    exponent: ClassVar[float] = 1.0  # h follows the noise

    def __init__(
        self,
        strength: float | None = None,
        search_radius: int = 3,
        patch_radius: int = 1,
        examples: int = 2,
        evaluations: int = 7,
    ) -> None:
        super().__init__(fixed=strength, examples=examples, evaluations=evaluations)
        whole("search_radius", search_radius)
        whole("patch_radius", patch_radius)
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
        return nonlocal_means(data, h, self.search_radius, self.patch_radius, region, self.device)
