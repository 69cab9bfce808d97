"""Planar images and what is to be made of them, as patches; batch t is a pure function of (seed, t)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from senmei.core.team import Team

_MARGIN = 8  # camera pixels around a patch: several times the blur


@dataclass(frozen=True)
class PlanarScan:
    """One training scan, (x, y) float32 each.

    low : counts per camera pixel. target : counts per restored pixel, of `factor` times as many pixels a side. scale :
    of `low`, counts per camera pixel. span : data range of the target, its unit. told : what the network is told of the
    scan beside the image. expected : noise-free `low`, where new counts are drawn of it in every step, or None. base :
    makes of an image like `low`, or a part of it, what the network adds to, an image like `target`; None where it adds
    to nothing.
    """

    low: np.ndarray
    target: np.ndarray
    factor: int
    scale: float
    span: float
    told: tuple[float, ...]
    expected: np.ndarray | None = None
    base: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class PlanarSampling:
    """patch : edge in camera pixels. batch : patches a batch. rotations : by 0, 90, 180 or 270 degrees, drawn."""

    patch: int
    batch: int
    rotations: bool = True


@dataclass(frozen=True)
class PlanarBatch:
    """low : (n, 1, p, p), target and base : (n, 1, p factor, p factor), all in units of the scale per camera pixel.

    base : None where there is none. told : (n, k, 1, 1). unit : (n, 1, 1, 1), by which they are multiplied to be in
    units of the data range. float32.
    """

    low: torch.Tensor
    told: torch.Tensor
    base: torch.Tensor | None
    target: torch.Tensor
    unit: torch.Tensor


class PlanarSource:
    """Scans as an endless, indexable row of batches: scan, place and turn drawn evenly.

    Raises ValueError without a scan, for scans of several factors, and for patches larger than an image.
    """

    def __init__(self, scans: Sequence[PlanarScan], sampling: PlanarSampling, seed: int) -> None:
        if not scans:
            raise ValueError("no scan to take patches from")
        if len({scan.factor for scan in scans}) > 1:
            raise ValueError("scans of several factors")
        if sampling.patch > min(min(scan.low.shape) for scan in scans):
            raise ValueError("a patch is larger than an image")
        self.scans, self.sampling, self.seed = list(scans), sampling, int(seed)
        self.factor = scans[0].factor
        self._bases = [None if s.base is None or s.expected is not None else s.base(s.low) for s in scans]

    def fingerprint(self) -> str:
        """SHA-256 of all that the batches are made of, for telling a checkpoint of other data."""
        digest = hashlib.sha256()
        for scan in self.scans:
            digest.update(repr((scan.low.shape, scan.factor, scan.scale, scan.span, scan.told)).encode())
            for part in (scan.low, scan.target, scan.expected):
                digest.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def batch(self, t: int, device: str = "cpu", team: Team | None = None) -> PlanarBatch:
        """Batch number t; of it, this process's samples where there is a team."""
        mine = range(self.sampling.batch) if team is None else team.mine(self.sampling.batch)
        rows = [self._patch(np.random.default_rng([self.seed, t, i])) for i in mine]
        low, target, base, told, unit = zip(*rows, strict=True)
        one, two = (torch.from_numpy(np.stack(part)[:, None]).to(device) for part in (low, target))
        three = None if base[0] is None else torch.from_numpy(np.stack(base)[:, None]).to(device)
        words = torch.tensor(told, dtype=torch.float32, device=device).reshape(len(rows), -1, 1, 1)
        units = torch.tensor(unit, dtype=torch.float32, device=device).view(-1, 1, 1, 1)
        return PlanarBatch(one, words, three, two, units)

    def _patch(self, rng: np.random.Generator) -> tuple[Any, ...]:
        number = int(rng.integers(len(self.scans)))
        scan, base = self.scans[number], self._bases[number]
        p, f = self.sampling.patch, scan.factor
        x, y = (int(rng.integers(n - p + 1)) for n in scan.low.shape)
        turn = int(rng.integers(4)) if self.sampling.rotations else 0
        if scan.expected is None:
            counts, left, top = scan.low, 0, 0
        else:  # of new counts a base is made around the patch alone, at the same cost for all sizes of images
            (left, wide), (top, high) = (
                _around(a, p, n) for a, n in zip((x, y), scan.low.shape, strict=True)
            )
            counts = rng.poisson(scan.expected[left : left + wide, top : top + high]).astype(np.float32)
            base = None if scan.base is None else scan.base(counts)

        def box(by: int, left: int = 0, top: int = 0) -> tuple[slice, slice]:
            a, b = (x - left) * by, (y - top) * by
            return slice(a, a + p * by), slice(b, b + p * by)

        def cut(image: np.ndarray, place: tuple[slice, slice], by: float) -> np.ndarray:
            return np.ascontiguousarray(np.rot90(image[place], turn) * np.float32(by), dtype=np.float32)

        return (
            cut(counts, box(1, left, top), 1 / scan.scale),
            cut(scan.target, box(f), f * f / scan.scale),
            None if base is None else cut(base, box(f, left, top), f * f / scan.scale),
            scan.told,
            scan.scale / (f * f) / scan.span,
        )


def _around(start: int, patch: int, n: int) -> tuple[int, int]:
    """(start, size) of what is looked at around a patch on an axis of n pixels: always of one size."""
    size = min(patch + 2 * _MARGIN, n)
    return min(max(start - _MARGIN, 0), n - size), size
