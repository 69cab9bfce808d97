"""A 3D U-Net, residual and told the noise level."""

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

_BLOCKS = 1  # residual blocks on each side of a level
_MIDDLE = 2  # and at the bottom
_LEAK = 0.1


class Block(nn.Module):
    """Two 3 x 3 x 3 convolutions around a skip: x + conv(r(conv(r(x)))), r leaky so that no channel dies."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv3d(channels, channels, 3, padding=1)
        self.two = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x + self.two(functional.leaky_relu_(self.one(functional.leaky_relu(x, _LEAK)), _LEAK))


class UNet(nn.Module):
    """y = x - f(x, level), with f a U-Net of `depth` levels.

    Level l has channels * 2^l channels; strided convolutions down, transposed ones up, skips added. The image enters
    twice, as it is and less its surroundings (enlarged, so that noise is of unit size), with the noise level. No
    normalisation: tiles must equal the whole.
    [Ronneberger 2015, MICCAI, and Cicek 2016 (3D); noise map: Zhang 2018 (FFDNet), IEEE TIP 27:4608; residual: Zhang
    2017 (DnCNN), IEEE TIP 26:3142; blocks: He 2016, ECCV 9908:630]
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(depth)]
        self.first = nn.Conv3d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.before = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(_BLOCKS))) for w in widths[:-1])
        self.after = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(_BLOCKS))) for w in widths[:-1])
        self.middle = nn.Sequential(*(Block(widths[-1]) for _ in range(_MIDDLE)))
        self.last = nn.Conv3d(widths[0], 1, 3, padding=1)
        start(self)
        with torch.no_grad():
            for block in self.modules():
                if isinstance(block, Block):
                    block.two.weight.mul_(0.3)  # so that a deep stack begins near its skips
        channels_last(self)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """x, level : (n, 1, x, y, z), sides multiples of 2^(depth - 1). Returns the restored image, the same shape."""
        h = self.first(see(x, level))
        skips = []
        for before, down in zip(self.before, self.down, strict=True):
            h = before(h)
            skips.append(h)
            h = down(h)
        h = self.middle(h)
        for after, up in zip(reversed(self.after), reversed(self.up), strict=True):
            h = after(up(h).add_(skips.pop()))
        return x - self.last(functional.leaky_relu_(h, _LEAK)).float() / GAIN


class UNet3D(RestorationNetwork):
    """3D U-Net, residual and noise-level aware (see `UNet` and, for the settings, `RestorationNetwork`).

    channels : at full resolution, twice as many at each further level. depth : number of levels.
    """

    title: ClassVar[str] = "3D U-Net"
    sentence: ClassVar[str] = (
        "A three-dimensional residual U-Net ({settings[depth]} levels, {settings[channels]} channels at full "
        "resolution, {card[parameters]} weights) was told the noise level of each image and trained for "
        "{settings[steps]} steps on patches of {settings[patch]} voxels a side, with Rician noise drawn anew in every "
        "step."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Cicek O, Abdulkadir A, Lienkamp SS, et al. 3D U-Net: learning dense volumetric segmentation from sparse "
        "annotation. MICCAI 2016;LNCS 9901:424-432.",
        "Zhang K, Zuo W, Zhang L. FFDNet: toward a fast and flexible solution for CNN-based image denoising. "
        "IEEE Trans Image Process 2018;27:4608-4622.",
    )

    def __init__(
        self,
        channels: int = 16,
        depth: int = 3,
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
        tile: int = 208,
        flips: bool = False,
    ) -> None:
        super().__init__(
            channels=channels, depth=depth, steps=steps, batch=batch, patch=patch, learning_rate=learning_rate,
            loss=loss, noise=noise, uneven=uneven, looks=looks, varying=varying, precision=precision, tile=tile,
            flips=flips,
        )  # fmt: skip

    def network(self) -> nn.Module:
        """A fresh `UNet`."""
        return UNet(self.channels, self.depth)

    @property
    def align(self) -> int:
        """2^(depth - 1) voxels."""
        return 2 ** (self.depth - 1)

    @property
    def halo(self) -> int:
        """Sum over the convolutions of their reach at their own resolution, up to the lattice."""
        reach = SURROUNDINGS + 2  # the first and the last
        for level in range(self.depth - 1):
            reach += 2**level * 2 * 2 * _BLOCKS
        reach += 2 ** (self.depth - 1) * 2 * _MIDDLE
        return -(-(reach + self.align) // self.align) * self.align
