"""Whole volumes through a network by overlapping tiles, equal to the whole at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import torch

_LEAST = 4  # lattice cells of an axis: less is smaller than kernels

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def apply_tiled(
    network: Network,
    image: np.ndarray,
    level: np.ndarray,
    *,
    tile: int,
    halo: int,
    align: int,
    device: str = "cpu",
) -> np.ndarray:
    """Restore a volume by tiles of at most about tile^3 voxels, halo included.

    network : (n, 1, x, y, z) image and noise level -> the same shape; each output voxel may depend on inputs up to
    `halo` voxels away, on a lattice of `align` voxels. image, level : (x, y, z) float32, any size.
    Returns (x, y, z) float32.

    The volume is mirrored to a multiple of `align`, four at least. Tiles begin on the lattice and overlap their
    neighbours by the halo, whose result is thrown away; at the volume's faces they end with the volume, where the
    network's own padding is what it is for the whole. So the result does not depend on `tile`, but for rounding.
    """
    shape = image.shape
    padding = [(0, max(-n % align, _LEAST * align - n)) for n in shape]
    if any(after for _, after in padding):
        image, level = (np.pad(a, padding, mode="symmetric") for a in (image, level))
    size = image.shape
    counts = split_counts(size, tile, halo, align)
    out = np.empty(size, np.float32)
    with torch.inference_mode():
        for core in _cores(size, counts, align):
            box = tuple(
                slice(max(c.start - halo, 0), min(c.stop + halo, n)) for c, n in zip(core, size, strict=True)
            )
            parts = (torch.from_numpy(np.array(a[box], np.float32))[None, None] for a in (image, level))
            result = network(*(p.to(device) for p in parts))[0, 0]
            inner = tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(core, box, strict=True))
            out[core] = result[inner].float().cpu().numpy()
            del result
    return out[tuple(slice(n) for n in shape)]


def split_counts(size: Sequence[int], tile: int, halo: int, align: int) -> list[int]:
    """Into how many parts each axis is cut, so that a tile and its halo are within tile^3 voxels.

    A tile of less than three halos an axis would be nearly all halo: then that is the size.
    """
    counts = [1, 1, 1]
    while True:
        edges = [_edge(n, k, halo, align) for n, k in zip(size, counts, strict=True)]
        cuttable = [i for i in range(3) if size[i] // align > counts[i]]
        if np.prod(edges) <= max(tile, 3 * halo) ** 3 or not cuttable:
            return counts
        gain = {i: edges[i] / _edge(size[i], counts[i] + 1, halo, align) for i in cuttable}
        counts[max(gain, key=lambda i: gain[i])] += 1


def _edge(n: int, parts: int, halo: int, align: int) -> int:
    """Longest tile of an axis of n voxels cut into `parts`, halo included."""
    core = -(-n // (parts * align)) * align
    return min(n, core + halo * min(parts - 1, 2))


def _cores(size: Sequence[int], counts: Sequence[int], align: int) -> Iterator[tuple[slice, ...]]:
    """Boxes on the lattice that cover the volume once."""
    axes = []
    for n, parts in zip(size, counts, strict=True):
        step = -(-n // (parts * align)) * align
        axes.append([slice(a, min(a + step, n)) for a in range(0, n, step)])
    yield from product(*axes)
