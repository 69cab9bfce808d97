"""How noisy emission images are from place to place, told by the noisy image alone.

Errors are measured in this unit: hot liver, whose noise is several times that of the heart's wall, would rule a plain
mean squared error. A weight that the input alone decides leaves the best network what it was, E[clean | noisy].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

AROUND = 2  # voxels to each side
_EMPTY = 0.05  # of an image's scale: an empty place has some noise too


def spread(x: torch.Tensor) -> torch.Tensor:
    """How noise grows with uptake, sqrt(mean + 0.05): of emission images (n, 1, x, y, z) in units of their scale.

    The mean is that of 5^3 voxels; the same shape. A function of the input alone.
    """
    return (surroundings(x, (AROUND,) * 3).clamp_min(0) + _EMPTY).sqrt()


def surroundings(x: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Mean of the box that reaches `sides` voxels to each side, of (n, 1, x, y, z); edges are repeated outwards.

    Along an axis shorter than the box, as far as it goes.
    """
    for axis, side in enumerate(sides, start=2):  # an axis at a time is much less work
        side = min(side, (x.shape[axis] - 1) // 2)
        if side < 1:
            continue
        n = x.shape[axis]
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
        padded = torch.cat([*[first] * side, x, *[last] * side], axis)
        total = padded.narrow(axis, 0, n)
        for i in range(1, 2 * side + 1):
            total = total + padded.narrow(axis, i, n)
        x = total / (2 * side + 1)
    return x
