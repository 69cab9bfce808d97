"""Large planar images through a network by overlapping tiles, the same as the whole at once."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import torch
from torch import nn

AT_ONCE = 1 << 20  # restored pixels: with 64 maps of 4 bytes some hundred MB a layer


def restore_tiled(
    network: nn.Module,
    x: torch.Tensor,
    words: torch.Tensor,
    base: torch.Tensor | None,
    factor: int,
    at_once: int = AT_ONCE,
) -> torch.Tensor:
    """What `network(x, words, base)` gives, (1, 1, x factor, y factor), computed by tiles of some `at_once` pixels.

    x : (1, 1, x, y), base : (1, 1, x factor, y factor) or None. A network that says how far it sees, `reach` camera
    pixels, is given that much more around each tile, and only the tile is kept; at the image's borders tiles end with
    the image, where the network's own padding is what it is for the whole. So the result does not depend on the tiles,
    but for the rounding of convolutions of other sizes. One without `reach` (it takes means over the image) sees all of
    it at once.
    """
    reach = getattr(network, "reach", None)
    rows, columns = x.shape[2], x.shape[3]
    if reach is None or rows * columns * factor**2 <= at_once:
        whole: torch.Tensor = network(x, words, base)
        return whole
    edge = max(int(at_once**0.5) // factor, 4 * reach, 16)
    out = x.new_empty((1, 1, rows * factor, columns * factor), dtype=torch.float32)
    for top, bottom in _parts(rows, edge):
        for left, right in _parts(columns, edge):
            a, b = max(top - reach, 0), max(left - reach, 0)
            box = (..., slice(a, bottom + reach), slice(b, right + reach))
            fine = (
                ...,
                slice(a * factor, (bottom + reach) * factor),
                slice(b * factor, (right + reach) * factor),
            )
            y = network(x[box], words, None if base is None else base[fine]).float()
            kept = y[..., (top - a) * factor :, (left - b) * factor :]
            kept = kept[..., : (bottom - top) * factor, : (right - left) * factor]
            out[..., top * factor : bottom * factor, left * factor : right * factor] = kept
    return out


def _parts(n: int, edge: int) -> Iterator[tuple[int, int]]:
    """Borders of equal parts of an axis of n pixels, none longer than `edge`."""
    count = ceil(n / edge)
    for k in range(count):
        yield k * n // count, (k + 1) * n // count
