"""Examples to batches: patches of clean volumes, given a new look and new noise each time.

Batch t is a pure function of (seed, t): nothing is carried from one batch to the next, so training that stops
after any step resumes with the batches it would have seen. Choosing (`draw_...`) is split from doing (`apply_...`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from senmei.core.team import Team
from senmei.physics.fields import correlated_noise, smooth_field

_TRIES = 8  # places looked at before a patch may show nothing
_FOREGROUND = 0.1  # of white matter: what counts as something


@dataclass(frozen=True)
class Sampling:
    """What batches look like.

    patch : edge, voxels. batch : patches a batch. noise : (low, high) standard deviation, fractions of white matter.
    uneven : share of patches whose noise varies in space, and in part is correlated, as parallel imaging makes it.
    looks : whether contrast, sharpness and texture are varied.
    """

    patch: int
    batch: int
    noise: tuple[float, float]
    uneven: float = 0.3
    looks: bool = True


@dataclass(frozen=True)
class Look:
    """A change of how a clean patch (white matter = 1) looks; see `apply_look`."""

    gain: float
    gamma: float
    blur: float
    texture: float
    grain: float
    seed: int


@dataclass(frozen=True)
class Noise:
    """Noise of a patch; see `apply_noise`.

    sigma : fraction of white matter. field : (4, 4, 4) log of its variation in space, or None. blur : (x, y, z)
    sigma of the correlation, voxels. masked : no noise where the clean image is exactly zero. misjudged : factor on
    the level the network is told, because at its work it is told an estimate.
    """

    sigma: float
    field: np.ndarray | None
    blur: tuple[float, float, float]
    masked: bool
    misjudged: float
    seed: int


def draw_look(rng: np.random.Generator) -> Look:
    """Domain randomisation of one patch."""
    return Look(
        gain=float(rng.uniform(0.85, 1.15)),
        gamma=float(np.exp(0.2 * rng.standard_normal())),
        blur=float(rng.uniform(0.3, 1.0) if rng.random() < 0.6 else 0.0),
        texture=float(rng.uniform(0.0, 0.04) if rng.random() < 0.5 else 0.0),
        grain=float(rng.uniform(1.3, 4.0)),
        seed=int(rng.integers(2**31)),
    )


def apply_look(clean: np.ndarray, look: Look) -> np.ndarray:
    """Tone curve gain x^gamma, multiplicative texture of FWHM `grain` voxels, Gaussian blur; float32, zeros stay."""
    image = look.gain * np.clip(clean, 0, None) ** np.float32(look.gamma)
    if look.texture > 0:
        field = correlated_noise(image.shape, look.grain, np.random.default_rng(look.seed))
        image = image * np.clip(1 + np.float32(look.texture) * field, 0, None)
    if look.blur > 0:
        image = ndimage.gaussian_filter(image, look.blur, mode="nearest", truncate=3) * (clean > 0)
    return image.astype(np.float32)


def draw_noise(rng: np.random.Generator, noise: tuple[float, float], uneven: float) -> Noise:
    """Level uniform in `noise`; a share `uneven` varies in space, two thirds of those are correlated."""
    odd = rng.random() < uneven
    correlated = odd and rng.random() < 0.67
    x, y, z = (float(b) for b in rng.uniform(0.0, 0.6, 3))
    return Noise(
        sigma=float(rng.uniform(*noise)),
        field=0.7 * rng.standard_normal((4, 4, 4)) if odd else None,
        blur=(x, y, z) if correlated else (0.0, 0.0, 0.0),
        masked=bool(rng.random() < 0.2),
        misjudged=float(np.exp(0.04 * rng.standard_normal())),
        seed=int(rng.integers(2**31)),
    )


def apply_noise(clean: np.ndarray, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Rician magnitude of a clean patch and the noise level the network is told, both float32 of its shape.

    The level is what an estimate from the finest diagonal Haar detail would say: for correlated noise it is low by
    the factor sqrt(prod_a (1 - rho_a)), rho_a the correlation of neighbours along axis a.
    """
    rng = np.random.default_rng(noise.seed)
    sigma = np.full(clean.shape, noise.sigma, np.float32)
    if noise.field is not None:
        sigma *= np.exp(np.clip(smooth_field(noise.field, clean.shape), -1, 1))
    channels = [rng.standard_normal(clean.shape, dtype=np.float32) for _ in range(2)]
    seen = 1.0
    for axis, blur in enumerate(noise.blur):
        if blur < 0.2:
            continue
        kernel = np.exp(-0.5 * (np.arange(-3, 4) / blur) ** 2)
        kernel /= np.sqrt((kernel**2).sum())  # keeps the variance
        seen *= np.sqrt(1 - float((kernel[1:] * kernel[:-1]).sum()))
        channels = [
            ndimage.convolve1d(c, kernel.astype(np.float32), axis=axis, mode="wrap") for c in channels
        ]
    noisy = np.hypot(clean + sigma * channels[0], sigma * channels[1])
    if noise.masked:
        noisy = noisy * (clean > 0)
    return noisy.astype(np.float32), (np.float32(noise.misjudged * seen) * sigma).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """noisy, level, clean : (n, 1, x, y, z) float32 tensors; white matter = 1."""

    noisy: torch.Tensor
    level: torch.Tensor
    clean: torch.Tensor


class PatchSource:
    """Clean volumes as an endless, indexable row of batches.

    volumes : (x, y, z) arrays, white matter = 1 (float16 is enough); smaller ones than a patch are mirrored.
    """

    def __init__(self, volumes: Sequence[np.ndarray], sampling: Sampling, seed: int) -> None:
        if not volumes:
            raise ValueError("no volume to take patches from")
        self.volumes = [_at_least(np.asarray(v), sampling.patch) for v in volumes]
        self.sampling, self.seed = sampling, int(seed)

    def fingerprint(self) -> str:
        """SHA-256 of the volumes, for telling a checkpoint of other data."""
        digest = hashlib.sha256()
        for volume in self.volumes:
            digest.update(repr(volume.shape).encode())
            digest.update(np.ascontiguousarray(volume).tobytes())
        return digest.hexdigest()

    def batch(self, t: int, device: str = "cpu", team: Team | None = None) -> Batch:
        """Batch number t; of it, this process's samples where there is a team."""
        mine = range(self.sampling.batch) if team is None else team.mine(self.sampling.batch)
        rows = [self._patch(np.random.default_rng([self.seed, t, i])) for i in mine]
        parts = (torch.from_numpy(np.stack(part)[:, None]).to(device) for part in zip(*rows, strict=True))
        return Batch(*parts)

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clean = self._place(rng)
        order, flip = rng.permutation(3), rng.random(3) < 0.5
        clean = np.flip(clean.transpose(order), tuple(int(i) for i in np.flatnonzero(flip))).astype(
            np.float32
        )
        if self.sampling.looks:
            clean = apply_look(clean, draw_look(rng))
        noisy, level = apply_noise(clean, draw_noise(rng, self.sampling.noise, self.sampling.uneven))
        return noisy, level, np.ascontiguousarray(clean)

    def _place(self, rng: np.random.Generator) -> np.ndarray:
        """A patch of a random volume, centred on something if that is found in a few tries."""
        volume = self.volumes[int(rng.integers(len(self.volumes)))]
        size = self.sampling.patch
        for _ in range(_TRIES):
            at = [int(rng.integers(n - size + 1)) for n in volume.shape]
            if volume[tuple(a + size // 2 for a in at)] > _FOREGROUND:
                break
        return volume[tuple(slice(a, a + size) for a in at)]


def _at_least(volume: np.ndarray, size: int) -> np.ndarray:
    short = [max(size - n, 0) for n in volume.shape]
    if not any(short):
        return volume
    return np.pad(volume, [(s // 2, s - s // 2) for s in short], mode="symmetric")
