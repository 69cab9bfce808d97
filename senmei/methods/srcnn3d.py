"""The super-resolution network of three convolutions, carried to 3D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from senmei.methods.restoration_network import (
    GAIN,
    SURROUNDINGS,
    RestorationNetwork,
    channels_last,
    see,
    start,
)

_KERNELS = (5, 1, 5)  # 9-1-5 of the paper has too few samples in 3D for its 729 weights a filter


class SRCNN(nn.Module):
    """Patch extraction, non-linear mapping, reconstruction: y = x - conv5(relu(conv1(relu(conv5(x, level))))).

    [Dong 2014, ECCV 8692:184; Dong 2016, IEEE TPAMI 38:295]. The input is that of the U-Net, the output a residual;
    what is left of the paper is the three layers and their widths (n and n / 2).
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        half = max(channels // 2, 1)
        first, mapping, last = _KERNELS
        self.extract = nn.Conv3d(3, channels, first, padding=first // 2)
        widths = [channels, *[half] * depth]
        self.map = nn.ModuleList(nn.Conv3d(a, b, mapping) for a, b in pairwise(widths))
        self.reconstruct = nn.Conv3d(half, 1, last, padding=last // 2)
        start(self)
        channels_last(self)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """x, level : (n, 1, x, y, z). Returns the restored image, the same shape."""
        h = functional.relu(self.extract(see(x, level)))
        for layer in self.map:
            h = functional.relu(layer(h))
        return x - self.reconstruct(h).float() / GAIN


class SRCNN3D(RestorationNetwork):
    """SRCNN carried to 3D (see `SRCNN` and, for the settings, `RestorationNetwork`).

    channels : of the first layer; half as many in the mapping. depth : number of 1 x 1 x 1 mapping layers.
    """

    title: ClassVar[str] = "3D SRCNN"
    sentence: ClassVar[str] = (
        "The three-layer super-resolution network SRCNN was carried to three dimensions ({settings[channels]} filters "
        "of 5 voxels a side, {card[parameters]} weights), told the noise level, and trained for {settings[steps]} "
        "steps."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Dong C, Loy CC, He K, Tang X. Image super-resolution using deep convolutional networks. "
        "IEEE Trans Pattern Anal Mach Intell 2016;38:295-307.",
    )

    def __init__(
        self,
        channels: int = 32,
        depth: int = 1,
        steps: int = 400,
        batch: int = 2,
        patch: int = 32,
        learning_rate: float = 2e-3,
        loss: str = "charbonnier",
        noise: Sequence[float] = (0.005, 0.16),
        uneven: float = 0.3,
        looks: bool = True,
        varying: bool = True,
        precision: str = "auto",
        tile: int = 128,
        flips: bool = False,
    ) -> None:
        super().__init__(
            channels=channels, depth=depth, steps=steps, batch=batch, patch=patch, learning_rate=learning_rate,
            loss=loss, noise=noise, uneven=uneven, looks=looks, varying=varying, precision=precision, tile=tile,
            flips=flips,
        )  # fmt: skip

    def network(self) -> nn.Module:
        """A fresh `SRCNN`."""
        return SRCNN(self.channels, self.depth)

    @property
    def align(self) -> int:
        """Any place will do."""
        return 1

    @property
    def halo(self) -> int:
        """Half of each kernel, and the surroundings."""
        return SURROUNDINGS + _KERNELS[0] // 2 + _KERNELS[2] // 2
