"""The collimator's blur of all depths from a few Gaussians.

A kernel for each plane is what makes projectors slow. The kernels of all planes are one smooth family, a Gaussian
whose width grows with distance, so a few of its members ("nodes") do for all: each plane is shared between the two
nodes around it, in the proportion that gives its own variance, G(σ²) ≈ (1 - w) G(σ₁²) + w G(σ₂²). Planes are summed
into one image a node, and only those few images are convolved, separably, each Gaussian a Toeplitz matrix along u and
along v. Kernels stay non-negative, their sum and variance are exact, their values right to 1 % of the peak, and all is
linear, hence exactly transposable.
"""

from __future__ import annotations

import numpy as np
import torch

from senmei.physics.spect.geometry import Acquisition

TOLERANCE = 0.01  # largest error of a kernel, as a fraction of its peak
_FWHM = 2 * np.sqrt(2 * np.log(2))


class CollimatorBlur:
    """Blurs and sums planes (depth, u, v) of voxels facing a detector, and the transpose.

    acquisition : grid, radii and camera. Torch float32 on `device`.
    """

    def __init__(self, acquisition: Acquisition, device: torch.device):
        n, _, nz = acquisition.shape
        self._n, self._nz = n, nz
        first = {radius: i for i, radius in reversed(list(enumerate(acquisition.radius_mm)))}
        fwhm = [
            acquisition.camera.resolution_fwhm_mm(acquisition.plane_distances_mm(i)) for i in first.values()
        ]
        sigma = np.concatenate(fwhm) / _FWHM / acquisition.voxel_mm
        nodes = choose_nodes(float(sigma.min()), float(sigma.max()))
        weights = share(sigma, nodes)
        by_radius = dict(zip(first, np.split(weights, len(first), axis=1), strict=True))
        self._weights = {
            radius: torch.from_numpy(np.ascontiguousarray(w, np.float32)).to(device)
            for radius, w in by_radius.items()
        }
        self._radius = acquisition.radius_mm
        profiles = torch.from_numpy(gaussian_profiles(nodes, max(n, nz)).astype(np.float32)).to(device)
        self._along_u = _toeplitz(profiles, n).transpose(0, 1).reshape(n, -1)  # (u, node * u)
        self._along_v = _toeplitz(profiles, nz)  # (node, v, v)

    def forward(self, planes: torch.Tensor, view: int) -> torch.Tensor:
        """(depth * u, v) far to near -> (u, v)."""
        summed = torch.mm(self._weights[self._radius[view]], planes.view(self._n, -1))
        blurred = torch.bmm(summed.view(-1, self._n, self._nz), self._along_v)
        return torch.mm(self._along_u, blurred.view(-1, self._nz))

    def adjoint(self, projection: torch.Tensor, view: int) -> torch.Tensor:
        """(u, v) -> (depth * u, v)."""
        spread = torch.mm(self._along_u.t(), projection).view(-1, self._n, self._nz)
        spread = torch.bmm(spread, self._along_v.transpose(1, 2))
        planes = torch.mm(self._weights[self._radius[view]].t(), spread.view(spread.shape[0], -1))
        return planes.view(-1, self._nz)


def choose_nodes(low: float, high: float) -> np.ndarray:
    """Widths (node,) from `low` to `high` in pixels, as far apart as `TOLERANCE` lets the kernels between them be."""
    trial = np.exp(np.linspace(np.log(low), np.log(high), 400)) if high > low else np.array([low])
    kernels = gaussian_profiles(trial, int(np.ceil(5 * high)) + 2)
    chosen = [0]
    while chosen[-1] < len(trial) - 1:
        start = chosen[-1]
        near, far = start + 1, len(trial) - 1
        while near < far:  # the farthest next node that still does
            guess = (near + far + 1) // 2
            ends = [start, guess]
            middle = int(np.searchsorted(trial, np.sqrt((trial[ends] ** 2).mean())))
            mixed = _corner(kernels[ends], share(trial[middle : middle + 1], trial[ends])[:, 0])
            wanted = _corner(kernels[middle : middle + 1], np.ones(1))
            if np.abs(mixed - wanted).max() <= TOLERANCE * wanted[0, 0]:
                near = guess
            else:
                far = guess - 1
        chosen.append(near)
    return trial[chosen]


def share(sigma: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Weights (node, len(sigma)): each sigma² as a mean of the two nodes' around it; columns sum to one."""
    if len(nodes) == 1:
        return np.ones((1, len(sigma)))
    variance = nodes**2
    after = np.clip(np.searchsorted(nodes, sigma), 1, len(nodes) - 1)
    weights = np.zeros((len(nodes), len(sigma)))
    part = np.clip((sigma**2 - variance[after - 1]) / (variance[after] - variance[after - 1]), 0, 1)
    columns = np.arange(len(sigma))
    weights[after - 1, columns] = 1 - part
    weights[after, columns] = part
    return weights


def gaussian_profiles(sigma: np.ndarray, size: int) -> np.ndarray:
    """Half kernels (len(sigma), size) float64 of Gaussians of `sigma` pixels, at offsets 0, 1, …; full sum one.

    Sampled Gaussians whose second moment over the samples is sigma²: the plain sampled one falls short of it below 0.6
    pixel (a tenth of its FWHM at 0.45), which is where 6.4 mm pixels are.
    """
    offsets = np.arange(max(size, int(np.ceil(6 * np.max(sigma))) + 2), dtype=np.float64)

    def kernels(s: np.ndarray) -> np.ndarray:
        k = np.exp(-0.5 * (offsets / s[:, None]) ** 2)
        k[k < 1e-9] = 0  # denormal numbers are slow, and no count is lost
        return k / (2 * k.sum(1, keepdims=True) - k[:, :1])

    trial = np.linspace(0.05, 1.5, 2000)
    moments = np.sqrt(2 * (kernels(trial) * offsets**2).sum(1))
    matched = np.where(sigma < 1.0, np.interp(sigma, moments, trial), sigma)
    return kernels(np.maximum(matched, 0.05))[:, :size]


def _corner(profiles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The quarter with offsets from 0 up of a sum of 2D kernels."""
    return np.einsum("r,ri,rj->ij", weights, profiles, profiles)


def _toeplitz(profiles: torch.Tensor, n: int) -> torch.Tensor:
    """Symmetric matrices (len, n, n) with the profiles' values at offset |i - j|."""
    places = torch.arange(n, device=profiles.device)
    return profiles[:, (places[:, None] - places[None]).abs()]
