"""Noisy pairs to batches: patches of one noisy image against the same places of an independent one.

Batch t is a pure function of (seed, t), as in `senmei.training.patches`. Everything that is decided by looking at
pixels (scale, places) looks at the image that goes *into* the network, never at the target: then the target's noise
has mean zero given all that was decided, and the network that makes the mean squared error smallest is the mean of
the clean image given the noisy one [Lehtinen 2018, ICML, "Noise2Noise"]. With another loss, or places chosen by the
target, it would not be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft, ndimage

from senmei.core.team import Team

_BLOCK = 2  # voxels: places are looked for in means of 2^3 voxels
# The shell that is looked for, mm: its radius, softness, and surroundings
_WALL, _WIDTH, _OUTER = 30.0, 12.0, 58.0
_SHARP = 12  # power of the correlation: how much the best places are preferred
_BODY = 0.15  # of the image's scale: blocks above belong to the body
_PERCENTILE = 99.0  # of the blocks: the scale of an image without a heart
# The wall's uptake: this percentile of the blocks within so many mm of the ventricle's middle
_HEART, _WALL_PERCENTILE = 40.0, 70.0
_COLD = 1e-3  # of the hottest block: below it, no wall


@dataclass(frozen=True)
class PairSampling:
    """What batches look like.

    patch : edges (x, y, z), voxels. batch : patches a batch. centred : share of the patches around what looks like a
    left ventricle; the rest lie anywhere in the body. mirror : mirror images and quarter turns in the plane of the
    first two axes. gain : half-width of the uniform draw of the log of a factor on both images.
    """

    patch: tuple[int, int, int]
    batch: int
    centred: float = 0.7
    mirror: bool = True
    gain: float = 0.15


@dataclass(frozen=True)
class PairScan:
    """One scan of a training set. noisy, repeat : (K, x, y, z), k of one independent of k of the other, in any unit.

    level : relative noise level that goes with them, see `noise_level`. voxel : edges, mm;
    None where no ventricle can be found (projections).
    """

    noisy: np.ndarray
    repeat: np.ndarray
    level: float
    voxel: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class PairBatch:
    """noisy, target : (n, 1, x, y, z) float32, in units of the noisy image's scale. level : (n, 1, 1, 1, 1)."""

    noisy: torch.Tensor
    level: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True)
class _Image:
    """A possible input, or target: float16 values in units of `unit`, its own scale in that unit, where to look."""

    data: np.ndarray
    scale: np.float32
    places: np.ndarray


class PairSource:
    """Pairs as an endless, indexable row of batches; both directions of a pair are used.

    Images smaller than a patch are mirrored to its size. Raises ValueError without a scan, and for images of zeros.
    """

    def __init__(self, scans: Sequence[PairScan], sampling: PairSampling, seed: int) -> None:
        if not scans:
            raise ValueError("no pair to take patches from")
        self.sampling, self.seed = sampling, int(seed)
        self.levels = [float(scan.level) for scan in scans]
        self._pairs = [self._prepare(scan) for scan in scans]

    def _prepare(self, scan: PairScan) -> list[tuple[_Image, _Image]]:
        unit = image_scale(np.asarray(np.mean(scan.noisy, axis=0, dtype=np.float32)), scan.voxel)
        return [
            (self._image(a, unit, scan.voxel), self._image(b, unit, scan.voxel))
            for a, b in zip(scan.noisy, scan.repeat, strict=True)
        ]

    def _image(self, data: np.ndarray, unit: float, voxel: Sequence[float] | None) -> _Image:
        data = _at_least(data.astype(np.float32) / np.float32(unit), self.sampling.patch)
        scale = image_scale(data, voxel)
        places = interesting(data, scale, voxel, self.sampling.centred)
        return _Image(data.astype(np.float16), np.float32(scale), np.cumsum(places, dtype=np.float64))

    def fingerprint(self) -> str:
        """SHA-256 of the pairs and their levels, for telling a checkpoint of other data."""
        digest = hashlib.sha256(repr(self.levels).encode())
        for pairs in self._pairs:
            for image in (image for pair in pairs for image in pair):
                digest.update(repr(image.data.shape).encode())
                digest.update(np.ascontiguousarray(image.data).tobytes())
        return digest.hexdigest()

    def batch(self, t: int, device: str = "cpu", team: Team | None = None) -> PairBatch:
        """Batch number t; of it, this process's samples where there is a team."""
        mine = range(self.sampling.batch) if team is None else team.mine(self.sampling.batch)
        rows = [self._patch(np.random.default_rng([self.seed, t, i])) for i in mine]
        noisy, level, target = zip(*rows, strict=True)
        one, two = (torch.from_numpy(np.stack(part)[:, None]).to(device) for part in (noisy, target))
        levels = torch.tensor(level, dtype=torch.float32, device=device).view(-1, 1, 1, 1, 1)
        return PairBatch(one, levels, two)

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray]:
        number = int(rng.integers(len(self._pairs)))
        pairs = self._pairs[number]
        pair = pairs[int(rng.integers(len(pairs)))]
        image, other = pair if rng.random() < 0.5 else pair[::-1]
        box = self._place(image, rng)
        gain = np.exp(rng.uniform(-1, 1) * self.sampling.gain) / image.scale
        turn, flip = int(rng.integers(4)), rng.random(3) < 0.5
        parts = []
        for data in (image.data, other.data):
            part = data[box].astype(np.float32) * np.float32(gain)
            if self.sampling.mirror:
                if part.shape[0] == part.shape[1]:
                    part = np.rot90(part, turn, (0, 1))
                part = np.flip(part, tuple(int(i) for i in np.flatnonzero(flip)))
            parts.append(np.ascontiguousarray(part))
        return parts[0], self.levels[number], parts[1]

    def _place(self, image: _Image, rng: np.random.Generator) -> tuple[slice, ...]:
        """The box of a patch around a block drawn from the image's table, moved by up to a quarter of its size."""
        shape, patch = image.data.shape, self.sampling.patch
        blocks = tuple(max(n // _BLOCK, 1) for n in shape)
        index = int(np.searchsorted(image.places, rng.random() * image.places[-1], side="right"))
        at = np.unravel_index(min(index, image.places.size - 1), blocks)
        box = []
        for a, n, size in zip(at, shape, patch, strict=True):
            middle = (
                int(a) * _BLOCK + int(rng.integers(_BLOCK)) + round(float(rng.uniform(-0.25, 0.25)) * size)
            )
            low = int(np.clip(middle - size // 2, 0, n - size))
            box.append(slice(low, low + size))
        return tuple(box)


def image_scale(data: np.ndarray, voxel: Sequence[float] | None = None) -> float:
    """The image's own scale, found in it alone, so that a network is told the same in training and at its work.

    data : (x, y, z). With `voxel` (mm): about the uptake of the heart's wall, the 70th percentile of the means of 2^3
    voxels within 40 mm of the place that looks most like a ventricle; hot liver or gut has no say. Without: the 99th
    percentile of all those means. Raises ValueError for an image without anything above zero.
    """
    blocks = _blocks(data)
    scale = 0.0
    if voxel is not None:
        around = _distance(blocks.shape, *_most_likely(blocks, voxel)) <= _HEART
        scale = float(np.percentile(blocks[around], _WALL_PERCENTILE))
    if scale <= _COLD * float(np.max(blocks)):
        scale = float(np.percentile(blocks, _PERCENTILE))
    if scale <= 0:
        scale = float(np.max(data))
    if not scale > 0:
        raise ValueError("the image has no value above zero")
    return scale


def noise_level(data: np.ndarray, counts: float, voxel: Sequence[float]) -> float:
    """10 / sqrt(photons that a millilitre of heart wall has in the acquisition): how noisy the wall is, about 1.

    data : (x, y, z) noisy image in any unit, of which `counts` photons are known; its total and its own scale say what
    part of them comes from a ml of the wall. The same dose is noisier in a large patient, or beside a hot liver.
    """
    ml = float(np.prod(voxel)) / 1000
    total = max(float(data.sum(dtype=np.float64)), 1e-12)
    return float(10 * (counts * image_scale(data, voxel) / (total * ml)) ** -0.5)


def interesting(data: np.ndarray, scale: float, voxel: Sequence[float] | None, centred: float) -> np.ndarray:
    """Probability of each block of 2^3 voxels to be the middle of a patch, float64, sum 1.

    A share `centred` follows a power of `ventricle_likeness` (none without `voxel`), the rest is even over the body.
    """
    blocks = _blocks(data)
    body = (blocks > _BODY * scale).astype(np.float64)
    parts = [(body, 1 - centred)]
    if centred > 0 and voxel is not None:
        parts.append((ventricle_likeness(blocks, [_BLOCK * v for v in voxel]) ** _SHARP, centred))
    parts = [(p / p.sum(), share) for p, share in parts if p.sum() > 0 and share > 0]
    if not parts:
        return np.full(blocks.shape, 1 / blocks.size)
    total = sum(share for _, share in parts)
    return sum((p * (share / total) for p, share in parts), np.zeros(blocks.shape))


def weights_of_places(image: np.ndarray, voxel: Sequence[float] | None, centred: float) -> np.ndarray:
    """Weight of each voxel of an image in units of its scale, float32, sum 1: what training stresses.

    `centred` is spread over a ball around the place that looks most like a ventricle, the rest over the body.
    """
    parts = [(ndimage.gaussian_filter(np.asarray(image, np.float32), 1.5) > _BODY, 1 - centred)]
    if voxel is not None:
        at, _ = _most_likely(_blocks(image), voxel)
        middle = [(i + 0.5) * _BLOCK - 0.5 for i in at]
        parts.append((_distance(image.shape, middle, voxel) <= _OUTER, centred))
    weights = np.zeros(image.shape, np.float32)
    for part, share in parts:
        weights += part * np.float32(share / max(int(part.sum()), 1))
    total = float(weights.sum())
    return weights / np.float32(total) if total > 0 else np.full(image.shape, np.float32(1 / image.size))


def _most_likely(blocks: np.ndarray, voxel: Sequence[float]) -> tuple[list[int], list[float]]:
    """Index of the block that looks most like a ventricle's middle, and the blocks' edges, mm."""
    edges = [_BLOCK * v for v in voxel]
    likeness = ventricle_likeness(blocks, edges)
    return [int(i) for i in np.unravel_index(int(np.argmax(likeness)), likeness.shape)], edges


def _distance(shape: Sequence[int], at: Sequence[float], voxel: Sequence[float]) -> np.ndarray:
    """Distance of each voxel of a grid from a place (in voxels), mm."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return np.sqrt(sum(((g - a) * v) ** 2 for g, a, v in zip(grid, at, voxel, strict=True)))


def ventricle_likeness(image: np.ndarray, voxel: Sequence[float]) -> np.ndarray:
    """How much each place of a noisy image looks like the middle of a left ventricle: 0 to 1, float64, its shape.

    Correlation coefficient of the log of the image with a soft spherical shell of the ventricle's size, within a ball
    that holds what surrounds it. The coefficient does not care how hot liver or gut are; the log keeps a cold cavity
    and cold lung visible beside them. image : (x, y, z); voxel : mm.
    """
    reach = [int(_OUTER // v) for v in voxel]
    grid = np.meshgrid(*(np.arange(-n, n + 1) * v for n, v in zip(reach, voxel, strict=True)), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    ball = (radius <= _OUTER).astype(np.float64)
    count = ball.sum()
    shell = ball * np.exp(-0.5 * ((radius - _WALL) / _WIDTH) ** 2)
    shell -= ball * (shell.sum() / count)
    shell /= max(float(np.sqrt((shell**2).sum())), 1e-12)
    floor = 0.1 * max(float(np.percentile(image, 90)), 1e-6 * float(np.max(image)), 1e-12)
    tone = np.log(np.maximum(image, floor) / floor).astype(np.float64)
    mean, square = (_convolved(a, ball) / count for a in (tone, tone**2))
    spread = np.sqrt(np.maximum(square - mean**2, 1e-6) * count)
    found = _convolved(tone, shell) / spread  # the shell is its own mirror image
    inside = _convolved(np.ones_like(tone), ball) > 0.8 * count
    return np.clip(np.where(inside, found, 0.0), 0.0, 1.0)


def _convolved(data: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolution of the size of `data`, zero beyond it, by Fourier transforms. kernel : odd edges."""
    size = [fft.next_fast_len(n + k - 1, real=True) for n, k in zip(data.shape, kernel.shape, strict=True)]
    product = fft.rfftn(data, size) * fft.rfftn(kernel, size)
    whole = fft.irfftn(product, size)
    return whole[tuple(slice(k // 2, k // 2 + n) for n, k in zip(data.shape, kernel.shape, strict=True))]


def _blocks(data: np.ndarray) -> np.ndarray:
    """Means of 2^3 voxels (what is left over at the far faces is left out; an axis of one voxel counts twice)."""
    data = np.asarray(data, np.float32)
    for axis in range(3):
        if data.shape[axis] < _BLOCK:
            data = np.repeat(data, _BLOCK, axis)
        even = data.shape[axis] // _BLOCK * _BLOCK
        first, second = (
            data[(slice(None),) * axis + (slice(start, even, _BLOCK),)] for start in range(_BLOCK)
        )
        data = (first + second) / 2
    return data


def _at_least(data: np.ndarray, patch: Sequence[int]) -> np.ndarray:
    short = [max(size - n, 0) for n, size in zip(data.shape, patch, strict=True)]
    if not any(short):
        return data
    return np.pad(data, [(s // 2, s - s // 2) for s in short], mode="symmetric")
