"""Non-local means of emission images, its strength tuned without a clean image."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage

from senmei.methods.counts_tuned import CountsTuned, bright_level
from senmei.methods.tuned import whole

FLOOR = 0.1  # of the bright level: below it, as in lung and air, noise no longer follows the mean


def nonlocal_means(
    data: np.ndarray,
    h: float,
    search_radius: int = 2,
    patch_radius: int = 1,
    guide: np.ndarray | None = None,
    region: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Non-local means of a 3D image, averaging the values themselves.

    data : (x, y, z) real, finite. h : strength in the unit of the guide, above 0. search_radius : how far apart the
    centres of compared patches are at most, voxels along each axis; patch_radius : of the patches. guide : (x, y, z),
    where patches are compared (default: data). region : (x, y, z) bool; nothing outside its bounding box is restored
    (0 there). device : torch device.
    Returns (x, y, z) float32, sum_q w_q y_q / sum_q w_q with w_q = exp(-d_q / h²), d_q the mean squared difference of
    the guide's patches around the voxel and around q; images are mirrored at their faces. `nlm3d` averages squares,
    as suits magnitude images: here noise would become counts.
    [Buades et al. 2005, Multiscale Model Simul 4:490]
    """
    s, p = search_radius, patch_radius
    full = (slice(0, data.shape[0]), slice(0, data.shape[1]), slice(0, data.shape[2]))
    box = full if region is None else (ndimage.find_objects(region.astype(np.uint8)) or [full])[0]

    def block(image: np.ndarray) -> torch.Tensor:
        padded = np.pad(np.asarray(image, dtype=np.float32), s + p, mode="reflect")
        cut = padded[tuple(slice(a.start, a.stop + 2 * (s + p)) for a in box)]
        return torch.from_numpy(np.ascontiguousarray(cut)).to(device)

    x = block(data)
    y = x if guide is None else block(guide)
    size = [a.stop - a.start for a in box]

    def part(image: torch.Tensor, offset: tuple[int, ...], margin: int) -> torch.Tensor:
        first = [s + p + d - margin for d in offset]
        return image[tuple(slice(a, a + n + 2 * margin) for a, n in zip(first, size, strict=True))]

    here = part(y, (0, 0, 0), p).contiguous()
    total, weights = torch.zeros(size, device=device), torch.zeros(size, device=device)
    scale = -1 / (h**2 * (2 * p + 1) ** 3)
    for offset in product(range(-s, s + 1), repeat=3):
        distance = (part(y, offset, p) - here).square_()
        for axis, n in enumerate(size):  # sums over the patch, axis by axis
            pieces = [distance.narrow(axis, k, n) for k in range(2 * p + 1)]
            distance = torch.add(pieces[0], pieces[1])
            for piece in pieces[2:]:
                distance += piece
        weight = distance.mul_(scale).exp_()
        weights += weight
        total.addcmul_(weight, part(x, offset, 0))
    out = np.zeros(data.shape, np.float32)
    out[box] = (total / weights).cpu().numpy()
    return out


class NLMCounts(CountsTuned):
    """3D non-local means whose patches are compared in the logarithm and whose values are averaged as they are.

    strength : h of the logarithms, above 0; None (default): tuned on validation, per dose.
    search_radius, patch_radius : of the search window and of the patches, voxels (see `nonlocal_means`).
    Other settings: see `CountsTuned`. Raises ConfigError for values that mean nothing.

    Reconstructed voxels are not Poisson: in OSEM their spread grows about with their mean (Barrett, Wilson & Tsui
    1994, Phys Med Biol 39:833), so that Anscombe's transform does not apply, and dark patches look alike, bright
    ones do not: plain weights pull the heart down (by 2 to 3 % at 750,000 counts; with these it is 0.7 %).
    log(y / bright level + 0.1) has even noise. It only decides the weights: averages of logarithms would lose counts.
    """

    title: ClassVar[str] = "Non-local means"
    sentence: ClassVar[str] = (
        "Three-dimensional non-local means compared patches of the logarithm, of radius {settings[patch_radius]}, in "
        "windows of radius {settings[search_radius]} voxels, at the strength with which validation scans came nearest "
        "to independent noisy realisations of the same scans around the heart."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Buades A, Coll B, Morel JM. A review of image denoising algorithms, with a new one. "
        "Multiscale Model Simul 2005;4:490-530.",
    )
    number: ClassVar[str] = "strength"
    bounds: ClassVar[tuple[float, float]] = (0.01, 1.0)
    exponent: ClassVar[float] = 1.0  # h follows the noise

    def __init__(
        self,
        strength: float | None = None,
        search_radius: int = 2,
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
        """Restored array, (x, y, z) float32, zero outside `region`'s box; `value` is h."""
        bright = bright_level(data, voxel)
        if bright <= 0:  # nothing in the image but zeros and negative noise
            return np.asarray(data, dtype=np.float32)
        guide = np.log(np.clip(data / bright, 0, None) + FLOOR)
        return nonlocal_means(data, value, self.search_radius, self.patch_radius, guide, region, self.device)
