"""A 3D U-Net trained on noisy pairs: residual, told the noise level."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from senmei.core.errors import ConfigError
from senmei.methods.noisy_pairs import LEHTINEN, PairNetwork, tiled
from senmei.methods.restoration_network import channels_last, start
from senmei.methods.unet3d import Block
from senmei.training.spread import AROUND, spread, surroundings

_MIDDLE = 2  # residual blocks at the bottom
_LEAK = 0.1
_RELIEF = 3.0  # brings what remains after the surroundings are taken away to the size of the image
_GAIN = 4.0  # the network's output is in units of a quarter of the image's scale
_NEAR = 1  # voxels to each side: surroundings whose mean is one of the inputs


class PairUNet(nn.Module):
    """y = x - s f(x / s, level), f a U-Net of `depth` levels with channels * 2^l channels at level l.

    s is how noise grows with uptake (`spread`), so that liver and wall are alike to f. Inputs: the image, what the
    mean of its 3^3 surroundings leaves of it (both over s), the noise level. One residual block on each
    side of a level, two at the bottom, skips added, strided convolutions down and transposed ones up; the last
    convolution starts near zero, so that training starts from the noisy image. No normalisation: tiles must equal
    the whole, and counts must not be rescaled.
    [Ronneberger 2015, MICCAI; Cicek 2016, MICCAI; blocks: He 2016, ECCV; noise level: Zhang 2018 (FFDNet), IEEE TIP]
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(depth)]
        self.first = nn.Conv3d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.before = nn.ModuleList(Block(w) for w in widths[:-1])
        self.after = nn.ModuleList(Block(w) for w in widths[:-1])
        self.middle = nn.Sequential(*(Block(widths[-1]) for _ in range(_MIDDLE)))
        self.last = nn.Conv3d(widths[0], 1, 3, padding=1)
        start(self)
        with torch.no_grad():
            for block in self.modules():
                if isinstance(block, Block):
                    block.two.weight.mul_(0.3)  # so that a deep stack begins near its skips
        channels_last(self)

    def forward(self, x: torch.Tensor, level: torch.Tensor, s: torch.Tensor | None = None) -> torch.Tensor:
        """x : (n, 1, x, y, z), sides multiples of 2^(depth - 1); level : the same or (n, 1, 1, 1, 1).

        s : what the image and the correction are measured in, `spread` of the image unless given.
        """
        around = surroundings(x, (_NEAR,) * 3)
        s = spread(x) if s is None else s
        seen = torch.cat([x / s, _RELIEF * (x - around) / s, level.expand_as(x)], 1)
        h = self.first(seen.contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for before, down in zip(self.before, self.down, strict=True):
            h = before(h)
            skips.append(h)
            h = down(h)
        h = self.middle(h)
        for after, up in zip(reversed(self.after), reversed(self.up), strict=True):
            h = after(up(h).add_(skips.pop()))
        return x - s * self.last(functional.leaky_relu_(h, _LEAK)).float() / _GAIN


class UNet3DN2N(PairNetwork):
    """3D U-Net trained on noisy pairs (see `PairUNet`, and `PairNetwork` for the other settings).

    channels : at full resolution, twice as many at each further level. depth : levels. batch, patch : patches a step
    and their edge, voxels. tile : voxels; volumes beyond tile^3 are restored in pieces.
    """

    title: ClassVar[str] = "3D U-Net (noisy pairs)"
    sentence: ClassVar[str] = (
        "A three-dimensional residual U-Net ({settings[depth]} levels, {settings[channels]} channels at full "
        "resolution, {card[parameters]} weights) was told the noise level that goes with the counts and trained for "
        "{settings[steps]} steps on pairs of independent noisy reconstructions alone (Noise2Noise, squared "
        "error over the local variance, patches of {settings[patch]} voxels a side)."
    )
    references: ClassVar[tuple[str, ...]] = (
        LEHTINEN,
        "Cicek O, Abdulkadir A, Lienkamp SS, et al. 3D U-Net: learning dense volumetric segmentation from sparse "
        "annotation. MICCAI 2016;LNCS 9901:424-432.",
    )
    settings: ClassVar[tuple[str, ...]] = (*PairNetwork.settings, "channels", "depth", "patch")

    def __init__(
        self,
        channels: int = 16,
        depth: int = 3,
        steps: int = 700,
        batch: int = 2,
        patch: int = 24,
        learning_rate: float = 1.5e-3,
        centred: float = 0.85,
        mirror: bool = False,
        gain: float = 0.15,
        precision: str = "auto",
        tile: int = 128,
        flips: bool = False,
    ) -> None:
        super().__init__(
            steps=steps, batch=batch, learning_rate=learning_rate, centred=centred, mirror=mirror, gain=gain,
            precision=precision, flips=flips, channels=channels, depth=depth, patch=patch,
            tile=tile,
        )  # fmt: skip
        self.channels, self.depth, self.patch, self.tile = int(channels), int(depth), int(patch), int(tile)
        if self.patch % self.align:
            raise ConfigError(
                "The training patch does not fit the network",
                where=f"patch: {patch}, depth: {depth}",
                why=f"the network works on a lattice of {self.align} voxels",
                fix=f"make patch a multiple of {self.align}",
            )

    def network(self) -> nn.Module:
        """A fresh `PairUNet`."""
        return PairUNet(self.channels, self.depth)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """A cube."""
        return self.patch, self.patch, self.patch

    @property
    def align(self) -> int:
        """2^(depth - 1) voxels."""
        return 2 ** (self.depth - 1)

    @property
    def halo(self) -> int:
        """Sum over the convolutions of their reach at their own resolution, up to the lattice."""
        reach = max(_NEAR, AROUND) + 2  # the first and the last
        for level in range(self.depth - 1):
            reach += 2**level * 2 * 2
        reach += 2 ** (self.depth - 1) * 2 * _MIDDLE
        return -(-(reach + self.align) // self.align) * self.align

    def restore(self, network: nn.Module, data: np.ndarray, level: float, device: str) -> np.ndarray:
        """By tiles, equal to the whole at once."""
        return tiled(
            network, data, level, device,
            tile=self.tile, halo=self.halo, align=self.align, precision=self.precision,
        )  # fmt: skip
