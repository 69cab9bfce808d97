"""NAFNet for super-resolution: gated blocks without activation functions, all on the camera's grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from senmei.methods.planar_layers import GAIN, as_channels, he_start, stages
from senmei.methods.super_resolution import SuperResolutionNetwork


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, x, y), the same shape; free of copies where channels come last."""
        y = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return y.permute(0, 3, 1, 2)


class GatedBlock(nn.Module):
    """x + s1 A(N(x)), then x + s2 F(N(x)); a gate is the product of two halves of the channels.

    A: 1 x 1 to twice the channels, 3 x 3 depthwise, gate, weights of channels from their means, 1 x 1. F: 1 x 1 to
    twice the channels, gate, 1 x 1. s1, s2 start at zero. [Chen 2022, ECCV, section 3 and figure 3c]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.norms = nn.ModuleList(ChannelNorm(c) for _ in range(2))
        self.widen, self.near = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.attention, self.narrow = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.forth, self.back = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.scales = nn.Parameter(torch.zeros(2, c, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        h = _gate(self.near(self.widen(self.norms[0](x))))
        h = h * self.attention(h.mean((2, 3), keepdim=True))
        x = x + self.scales[0] * self.narrow(h)
        return x + self.scales[1] * self.back(_gate(self.forth(self.norms[1](x))))


class NAFSR(nn.Module):
    """3 x 3, gated blocks, 3 x 3 to factor² channels, one pixel shuffle; `added` to a base, `fed` with its pixels.

    [Chu 2022, CVPR Workshops (NAFSSR), figure 2, for one view]. Nothing but the last step is done on the fine grid.
    """

    def __init__(self, channels: int, blocks: int, factor: int, words: int, added: bool, fed: bool) -> None:
        super().__init__()
        stages(factor)  # refuses what no network is made for
        self.factor, self.fed = factor, fed
        self.first = nn.Conv2d(1 + words + fed * factor**2, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(GatedBlock(channels) for _ in range(blocks)))
        self.last = nn.Conv2d(channels, factor**2, 3, padding=1)
        he_start(self, self.last, added)

    def forward(self, x: torch.Tensor, words: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
        """x : (n, 1, x, y), words : (n, k, 1, 1), base and result : (n, 1, x factor, y factor), in the unit of x."""
        h = self.first(as_channels(x, words, base if self.fed else None))
        y = functional.pixel_shuffle(GAIN * self.last(self.blocks(h)).float(), self.factor)
        return y if base is None else y + base


def _gate(x: torch.Tensor) -> torch.Tensor:
    one, two = x.chunk(2, dim=1)
    return one * two


class NAFNet(SuperResolutionNetwork):
    """NAFNet for super-resolution (see `NAFSR`, and `SuperResolutionNetwork` for the other settings).

    channels, blocks : of the network. Weights of channels come from means over the whole of what is seen: of a patch
    in training, of the image at work, as published.
    """

    title: ClassVar[str] = "NAFNet"
    sentence: ClassVar[str] = (
        "A NAFNet for super-resolution ({settings[blocks]} gated blocks of {settings[channels]} channels, "
        "{card[parameters]} weights) was trained for {settings[steps]} steps on patches of {settings[patch]} camera "
        "pixels (loss: {settings[loss]}; rotations: {settings[rotations]})."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Chen L, Chu X, Zhang X, Sun J. Simple baselines for image restoration. ECCV 2022;LNCS 13667:17-33.",
        "Chu X, Chen L, Yu W. NAFSSR: stereo image super-resolution using NAFNet. CVPR Workshops 2022:1239-1248.",
    )
    settings: ClassVar[tuple[str, ...]] = (*SuperResolutionNetwork.settings, "channels", "blocks")

    def __init__(
        self,
        channels: int = 48,
        blocks: int = 16,
        steps: int = 20000,
        batch: int = 8,
        patch: int = 32,
        learning_rate: float = 1e-3,
        loss: str = "mse_ssim",
        rotations: bool = True,
        informed: bool = True,
        base: str = "deconvolved",
        fresh_noise: bool = False,
        flips: bool = False,
        precision: str = "auto",
        keep_counts: str = "total",
        target: str = "reference",
        families: Sequence[str] | None = None,
        sources: int | None = None,
    ) -> None:
        super().__init__(
            steps=steps, batch=batch, patch=patch, learning_rate=learning_rate, loss=loss, rotations=rotations,
            informed=informed, base=base, fresh_noise=fresh_noise, flips=flips, precision=precision,
            keep_counts=keep_counts, target=target, families=families, sources=sources, channels=channels,
            blocks=blocks,
        )  # fmt: skip
        self.channels, self.blocks = int(channels), int(blocks)

    def network(self, factor: int) -> nn.Module:
        """A fresh `NAFSR`."""
        return NAFSR(self.channels, self.blocks, factor, self.words, self.base != "none", self.sees_base)
