"""Compton scatter in SPECT by an effective source: fast, linear in the activity, without noise.

After Frey & Tsui (IEEE NSS 1996: effective source scatter estimation): the scattered photons of a view are those
of a source that would send them unscattered, convolved from the activity, weighted by the attenuation map, and
projected by the same `Projector` as the primary. For a view in direction d,

    S_d(x) = m(x) sum over x' of a(x') k(r, c),    k = exp(-t) / (4 pi r^2) (P(c) + B(t, c)),    t = mean mu . r

with m the Compton attenuation at x, r = |x - x'|, c the cosine between x - x' and d. P(c) is single scatter from
first principles: Klein-Nishina density toward d times the acceptance of the energy window, relative to primary
photons. B(t, c) is what the second and third order add in a uniform medium, four constants fitted to our Monte
Carlo in water (`benchmarks/scatter.py --fit` draws it again):

    B = (b1 t + b2 t^2) exp(s (c - 1) + q (c - 1)^2)

Unlike a radial kernel, k puts the scatter forward of its origin. It is expanded in harmonics of the angle about z,
so that a handful of convolutions serves all views: the near part on the grid, the far part on one of half the
resolution. What is approximated: the path from x' to x goes through a medium of the mean attenuation around both
ends (interpolated between two levels); B is that of a uniform medium; and scattered photons leave the body
attenuated like primary ones, though they are softer (1 to 3 % too many). B was fitted for one window: at 159 keV
and 15 % the total is 8 % above the Monte Carlo's, at 20 % it is 2 %. `benchmarks/results/scatter.json` has how near
it comes; what the Monte Carlo leaves out is left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from senmei.core.errors import DataError
from senmei.physics import photons
from senmei.physics.spect.monte_carlo import Tissue, toward

if TYPE_CHECKING:
    import torch

    from senmei.physics.gamma_camera import GammaCamera
    from senmei.physics.spect.projector import Projector

BUILD_UP = (0.6128, 0.02016, 2.559, -2.900)  # b1, b2, s, q; fitted at 140.5 keV, window 20 %, resolution 10 %
# Chosen on four torsos that the benchmark does not use: media in which the convolutions are done, as multiples of
# the attenuation of water, and the standard deviation of the Gaussian that the mean attenuation is taken with.
LEVELS = (0.4, 1.0)
SURROUNDINGS_MM = 15.0
AIR = 0.01  # 1/cm: less is no part of the body
NEAR_MM = 20.0  # scale at which a kernel is parted in what needs the full resolution and what does not
HARMONICS = 4
_TURN = 32  # angles about z at which a kernel is sampled


def single_scatter(cosine: ArrayLike, camera: GammaCamera) -> NDArray[np.float64]:
    """P(c): counts of photons scattered once through this cosine, relative to as many emitted isotropically."""
    peak, window, resolution = camera.energy_kev, camera.window, camera.energy_resolution
    density = 4.0 * np.pi * photons.klein_nishina(peak, cosine) / photons.compton_cross_section(peak)
    left = photons.compton_energy(peak, cosine)
    accepted = photons.window_acceptance(left, peak, window, resolution)
    return density * accepted / photons.window_acceptance(peak, peak, window, resolution)


def build_up(
    path: ArrayLike, cosine: ArrayLike, constants: tuple[float, ...] = BUILD_UP
) -> NDArray[np.float64]:
    """B(t, c) of the orders beyond the first; `path` t is in mean free paths."""
    first, second, slope, curve = constants
    path, bend = np.asarray(path, np.float64), np.asarray(cosine, np.float64) - 1.0
    return (first * path + second * path**2) * np.exp(slope * bend + curve * bend**2)


def scatter_projections(
    activity: ArrayLike | torch.Tensor, mu: ArrayLike, projector: Projector
) -> torch.Tensor:
    """Scattered photons expected in every view, in the unit of `projector.forward(activity)`.

    activity : (..., x, y, z) emission; batch axes allowed. mu : (x, y, z) attenuation in 1/cm at the photopeak, the
    one the projector was made with. Returns (..., u, v, view) float32 on the projector's device; linear in the
    activity, 0 in air. Raises DataError for maps that are not on the acquisition's grid.
    """
    import torch

    acquisition, device = projector.acquisition, projector.device
    mu = np.asarray(mu, np.float32)
    activity = torch.as_tensor(activity, dtype=torch.float32, device=device)
    shape = tuple(acquisition.shape)
    for name, got in (("activity", tuple(activity.shape[-3:])), ("mu", mu.shape)):
        if got != shape:
            why = f"its shape is {got}, the acquisition's grid {shape}"
            raise DataError("Cannot estimate scatter", where=name, why=why, fix="give both on the same grid")
    batch = activity.reshape(-1, *shape)
    if not mu.any():
        return torch.zeros_like(projector.forward(activity))
    fields = _fields(batch, mu, acquisition.voxel_mm, acquisition.camera)
    turn = np.arctan2(*toward(acquisition).T[::-1])
    waves = np.stack(
        [np.ones_like(turn)] + [f(m * turn) for m in range(1, HARMONICS + 1) for f in (np.cos, np.sin)]
    )
    weights = torch.as_tensor(waves.astype(np.float32), device=device)
    views = []
    for view in range(len(turn)):
        source = (weights[:, view] @ fields).reshape(-1, *shape)
        views.append(projector.forward(source, views=[view]))
    seen = torch.cat(views, dim=-1)
    return seen.reshape(*activity.shape[:-3], *seen.shape[1:])


def _fields(batch: torch.Tensor, mu: NDArray, voxel_mm: float, camera: GammaCamera) -> torch.Tensor:
    """Effective source by harmonic: (batch, harmonic, voxel), order 1, cos, sin, cos 2, sin 2, ..."""
    import torch
    from torch.nn.functional import interpolate

    shape = (int(batch.shape[1]), int(batch.shape[2]), int(batch.shape[3]))
    near, low, drop = (part.to(batch.device) for part in _kernels(shape, voxel_mm, camera))
    size = _sizes(shape, _reach(voxel_mm))
    spectrum = torch.fft.rfftn(batch, size, dim=(1, 2, 3))[:, None]
    fields = torch.fft.irfftn(near * spectrum, size, dim=(2, 3, 4))[..., : shape[0], : shape[1], : shape[2]]

    # s(x) tells where between the two levels the medium around x lies; from x' to x it is the mean of both ends:
    # k = low - (low - high) (s(x) + s(x')) / 2
    share = torch.as_tensor(_shares(mu, voxel_mm, camera.energy_kev), device=batch.device)
    coarse = torch.stack([_halved(batch), _halved(batch * share)])
    grid = coarse.shape[2:]
    size = _sizes(grid, None)
    spectrum = torch.fft.rfftn(coarse, size, dim=(2, 3, 4))[:, :, None]

    def spread(what: torch.Tensor) -> torch.Tensor:
        far = torch.fft.irfftn(what, size, dim=(2, 3, 4))[..., : grid[0], : grid[1], : grid[2]]
        far = interpolate(far, scale_factor=2, mode="trilinear", align_corners=False)
        return far[..., : shape[0], : shape[1], : shape[2]]

    fields = fields + spread(low * spectrum[0] - 0.5 * drop * spectrum[1])
    fields -= 0.5 * share * spread(drop * spectrum[0])
    compton = (
        mu * Tissue(camera.energy_kev).shares(np.array(camera.energy_kev), mu)[1] * (voxel_mm / 10.0) ** 3
    )
    fields *= torch.as_tensor(compton.astype(np.float32), device=batch.device)
    return fields.flatten(2)


def _sizes(shape: Sequence[int], reach: int | None) -> tuple[int, ...]:
    """Lengths of Fourier transforms in which a kernel of that reach (None: all the grid) does not wrap around."""
    from scipy.fft import next_fast_len

    return tuple(next_fast_len(2 * n if reach is None else n + reach, real=True) for n in shape)


def _reach(voxel_mm: float) -> int:
    """Voxels that the near part of a kernel reaches: exp(-9) of it lie beyond."""
    return int(np.ceil(3.0 * NEAR_MM / voxel_mm))


def _halved(image: torch.Tensor) -> torch.Tensor:
    """Sums of 2 x 2 x 2 voxels of (batch, x, y, z), an odd axis filled up with zeros."""
    from torch.nn.functional import avg_pool3d, pad

    ends = [n % 2 for n in image.shape[:0:-1]]
    return avg_pool3d(pad(image, (0, ends[0], 0, ends[1], 0, ends[2]))[:, None], 2)[:, 0] * 8.0


def _shares(mu: NDArray, voxel_mm: float, energy_kev: float) -> NDArray[np.float32]:
    """0 where the body around a voxel attenuates as the lower of LEVELS, 1 where as the higher; air is left out."""
    from scipy.ndimage import gaussian_filter

    body = (mu > AIR).astype(np.float32)
    sigma = SURROUNDINGS_MM / voxel_mm
    around = gaussian_filter(mu * body, sigma, mode="constant")
    mean = around / np.maximum(gaussian_filter(body, sigma, mode="constant"), 1e-3)
    level = mean / float(photons.attenuation(energy_kev))
    return np.clip((level - LEVELS[0]) / (LEVELS[1] - LEVELS[0]), 0.0, 1.0).astype(np.float32)


@lru_cache(maxsize=4)
def _kernels(
    shape: tuple[int, int, int], voxel_mm: float, camera: GammaCamera
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spectra (harmonic, x, y, z) of exp(-t) / (4 pi r^2) (P + B), 1/cm2, parted smoothly at NEAR_MM.

    The near part in water on the grid itself; the far part on one of half the resolution, at the lower of LEVELS,
    and how much less it is at the higher.
    """
    water = float(photons.attenuation(camera.energy_kev))
    size = _sizes(shape, _reach(voxel_mm))
    half = _sizes([-(-n // 2) for n in shape], None)
    near = _spectrum(size, voxel_mm / 10.0, water, camera, near=True)
    low, high = (_spectrum(half, voxel_mm / 5.0, level * water, camera, near=False) for level in LEVELS)
    return near, low, low - high


def _spectrum(
    size: tuple[int, ...], voxel_cm: float, mu: float, camera: GammaCamera, *, near: bool
) -> torch.Tensor:
    import torch

    axes = [np.fft.fftfreq(n, 1.0 / n) * voxel_cm for n in size]
    place = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    kernel = np.zeros((2 * HARMONICS + 1, place.shape[1]))
    # around the origin the mean over both voxels is taken, from midpoints of the difference of their places
    close = np.abs(place).max(axis=0) < 2.5 * voxel_cm
    step = (np.arange(8) + 0.5) / 4.0 - 1.0
    steps = np.stack(np.meshgrid(step, step, step, indexing="ij")).reshape(3, 1, -1) * voxel_cm
    weight = np.einsum("i,j,k->ijk", *[1.0 - np.abs(step)] * 3).ravel()
    around = place[:, close][:, :, None] + steps
    values = _harmonics(around.reshape(3, -1), mu, camera, near=near)
    kernel[:, close] = values.reshape(len(kernel), -1, weight.size) @ (weight / weight.sum())
    rest = ~close
    if near:
        rest &= (place**2).sum(axis=0) < (0.3 * NEAR_MM) ** 2
    kernel[:, rest] = _harmonics(place[:, rest], mu, camera, near=near)
    return torch.fft.rfftn(torch.as_tensor(kernel.reshape(-1, *size)), dim=(1, 2, 3)).to(torch.complex64)


def _harmonics(place: NDArray, mu: float, camera: GammaCamera, *, near: bool) -> NDArray[np.float64]:
    """Harmonics (2 HARMONICS + 1, n) about z of the kernel at n places (3, n) in cm, in a medium of attenuation mu.

    For a view at angle p about z, k = sum over m of a_m cos m(f - p), f the angle of the place: even in f - p, and
    with c = s cos(f - p), s the sine of the place's angle to z, a table over s gives the a_m.
    """
    across = np.hypot(place[0], place[1])
    radius = np.hypot(across, place[2])
    sine, turn, path = across / radius, np.arctan2(place[1], place[0]), mu * radius
    nodes = np.linspace(0.0, 1.0, 129)
    cosine = nodes[:, None] * np.cos(2.0 * np.pi * np.arange(_TURN) / _TURN)
    single = _even_series(single_scatter(cosine, camera))
    shape = _even_series(build_up(1.0, cosine, (1.0, 0.0, *BUILD_UP[2:])))
    many = BUILD_UP[0] * path + BUILD_UP[1] * path**2
    part_near = np.exp(-((radius / (NEAR_MM / 10.0)) ** 2))
    decay = np.exp(-path) / (4.0 * np.pi * radius**2) * (part_near if near else 1.0 - part_near)
    out = []
    for m in range(HARMONICS + 1):
        size = decay * (np.interp(sine, nodes, single[m]) + many * np.interp(sine, nodes, shape[m]))
        out.extend([size * wave(m * turn) for wave in ((np.cos, np.sin) if m else (np.cos,))])
    return np.stack(out)


def _even_series(samples: NDArray) -> NDArray[np.float64]:
    """Coefficients (m, n) of the cosine series of (n, angle) samples of an even function over a whole turn."""
    series = np.fft.rfft(samples, axis=1).real.T / samples.shape[1]
    series[1:] *= 2.0
    return series[: HARMONICS + 1]
