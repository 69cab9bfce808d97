"""Ways from the views of a stack to its volume, each at several settings: OSEM iterations, a Gaussian after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from senmei.analyses.stack_volumes import Setting, Stack
from senmei.core.errors import ConfigError

if TYPE_CHECKING:
    from senmei.physics.spect.projector import Projector

Volumes = dict[Setting, NDArray[np.float32]]
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


def settings_of(iterations: Sequence[int], filters_mm: Sequence[float]) -> tuple[Setting, ...]:
    """All combinations, iterations outermost. Raises ConfigError for what cannot be."""
    whole = [n for n in iterations if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 1000]
    wide = [f for f in filters_mm if isinstance(f, int | float) and not isinstance(f, bool) and 0 <= f <= 100]
    for name, good, given in (("iterations", whole, iterations), ("filters_mm", wide, filters_mm)):
        if not good or len(good) < len(given) or len(set(good)) < len(good):
            raise ConfigError(
                "Unusable setting of a reconstruction",
                where=f"{name}: {list(given)}",
                why="iterations are different whole numbers from 1 on, filters different widths from 0 to 100 mm",
                fix="correct it, or leave it out for the default",
            )
    return tuple((n, float(f)) for n in sorted(whole) for f in sorted(wide))


def reconstruct(counts: NDArray, projector: Projector, settings: Sequence[Setting], subsets: int) -> Volumes:
    """OSEM volumes (x, y, z) of (u, v, view) at each setting; one run serves all iterations.

    subsets : at most; the largest number below it that divides the views is taken.
    """
    from senmei.physics.spect.reconstruct import osem

    views = projector.acquisition.views
    parts = max(n for n in range(1, min(subsets, views) + 1) if views % n == 0)
    found: Volumes = {}
    now, done = None, 0
    for iterations in sorted({n for n, _ in settings}):
        now = osem(counts, projector, iterations=iterations - done, subsets=parts, start=now)
        done = iterations
        plain = now.cpu().numpy()
        for n, fwhm in settings:
            if n == iterations:
                sigma = fwhm / _FWHM / projector.acquisition.voxel_mm
                smooth = ndimage.gaussian_filter(plain, sigma, mode="constant") if fwhm > 0 else plain.copy()
                found[n, fwhm] = smooth.astype(np.float32)
    return found


def with_recovery(stack: Stack, settings: Sequence[Setting], subsets: int) -> Volumes:
    """From counts as they were, on the fine grid: the projector blurs as the camera does and sums its pixels."""
    from senmei.physics.spect.binned_projector import BinnedProjector

    projector = BinnedProjector(stack.acquisition, stack.factor, stack.mu, psf=True)
    return reconstruct(stack.low, projector, settings, subsets)


def without_blur(stack: Stack, settings: Sequence[Setting], subsets: int) -> Volumes:
    """From restored views, as if they were ideal projections: the projector does not blur."""
    from senmei.physics.spect.projector import Projector

    return reconstruct(stack.restored, Projector(stack.acquisition, stack.mu, psf=False), settings, subsets)


def on_coarse_grid(stack: Stack, settings: Sequence[Setting], subsets: int) -> Volumes:
    """From counts as they were, on the camera's grid with its blur, then interpolated to the fine one."""
    from senmei.physics.spect.projector import Projector

    fine, k = stack.acquisition, stack.factor
    n, _, nz = fine.shape
    geometry = replace(fine, shape=(n // k, n // k, nz // k), voxel_mm=fine.voxel_mm * k)
    mu = None
    if stack.mu is not None:
        mu = stack.mu.reshape(n // k, k, n // k, k, nz // k, k).mean(axis=(1, 3, 5))
    found = reconstruct(stack.low, Projector(geometry, mu, psf=True), settings, subsets)
    return {setting: on_fine_grid(volume, k) for setting, volume in found.items()}


def on_fine_grid(coarse: NDArray, factor: int) -> NDArray[np.float32]:
    """A coarse volume on voxels `factor` times smaller, interpolated linearly; what a voxel holds is divided."""
    axes = [(np.arange(n * factor) + 0.5) / factor - 0.5 for n in coarse.shape]
    places = np.meshgrid(*axes, indexing="ij")
    fine = ndimage.map_coordinates(np.asarray(coarse, np.float32), places, order=1, mode="nearest")
    return (fine / factor**3).astype(np.float32)
