"""The collimator's blur of all depths from a few Gaussians.

A kernel a plane is what makes projectors slow. The kernels of all planes are one smooth family, a Gaussian whose width
grows with distance, so each is a combination of a few of its members ("nodes"), to 1e-4 of its peak:
G(σ(depth)) ≈ Σ_r c_r(depth) G(σ_r). Planes are summed into one image a node with weights c_r, and only those few images
are convolved, separably, each Gaussian a Toeplitz matrix along u and along v. All linear, hence exactly transposable.
"""

from __future__ import annotations

import numpy as np
import torch

from senmei.physics.spect.geometry import Acquisition

TOLERANCE = 1e-4  # largest error of a kernel, as a fraction of its peak
MOST_NODES = 24
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
        nodes, weights = fit_nodes(sigma)
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


def fit_nodes(sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (node,) and weights (node, len(sigma)) float64 that make 2D Gaussians of `sigma` pixels.

    Least squares over the kernels' samples, their sum (counts) held; as few nodes as keep the error of every kernel
    below `TOLERANCE` of its peak, placed at Chebyshev points of log sigma, the ends included.
    """
    low, high = float(sigma.min()), float(sigma.max())
    size = int(np.ceil(5 * high)) + 2
    wanted = _corner(gaussian_profiles(sigma, size))
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for count in range(1, MOST_NODES + 1):
        place = -np.cos(np.pi * (np.arange(count) + 0.5) / count)
        place = place / max(place[-1], 1e-9) if count > 1 else place * 0
        nodes = np.sqrt(low * high) * (high / low) ** (place / 2)
        basis = _corner(gaussian_profiles(nodes, size))
        held = 10.0
        left = np.vstack([basis.T, np.full((1, count), held)])
        right = np.vstack([wanted.T, np.full((1, len(sigma)), held)])
        weights = np.linalg.lstsq(left, right, rcond=1e-12)[0]
        error = float((np.abs(basis.T @ weights - wanted.T).max(0) / wanted[:, 0]).max())
        if best is None or error < best[0]:
            best = error, nodes, weights
        if error < TOLERANCE:
            break
    assert best is not None
    return best[1], best[2] / best[2].sum(0)


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


def _corner(profiles: np.ndarray) -> np.ndarray:
    """The quarter (len, size * size) of 2D kernels with offsets from 0 up; the rest is its mirror."""
    return (profiles[:, :, None] * profiles[:, None, :]).reshape(len(profiles), -1)


def _toeplitz(profiles: torch.Tensor, n: int) -> torch.Tensor:
    """Symmetric matrices (len, n, n) with the profiles' values at offset |i - j|."""
    places = torch.arange(n, device=profiles.device)
    return profiles[:, (places[:, None] - places[None]).abs()]
