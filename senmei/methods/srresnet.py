"""SRResNet: residual blocks on the camera's grid, then sub-pixel convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import Any, ClassVar

import torch
from torch import nn

from senmei.methods.planar import choose
from senmei.methods.planar_layers import GAIN, as_channels, he_start, stages
from senmei.methods.super_resolution import SuperResolutionNetwork
from senmei.methods.upsampling import upsample

STARTS = ("direct", "bicubic")
_BRANCH = 0.1  # of a block's second convolution at the start, without normalisation


class ResidualBlock(nn.Module):
    """x + [BN] conv(PReLU([BN] conv(x))), 3 x 3."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for last in (False, True):
            steps.append(nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm))
            steps += [nn.BatchNorm2d(channels)] if batch_norm else []
            steps += [] if last else [nn.PReLU(channels)]
        self.body = nn.Sequential(*steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x + self.body(x)


class Generator(nn.Module):
    """9 x 9, residual blocks with a skip around them, sub-pixel convolutions (3 x 3, shuffle, PReLU), 9 x 9.

    [Ledig 2017, CVPR, section 2.1.1 and figure 4; sub-pixel convolution: Shi 2016, CVPR]. `before` > 1: bicubic by that
    factor comes first, the network magnifies by the rest. `added`: the output is added to a base and starts at zero.
    What it is told are constant further channels; with `fed`, the pixels of the base are channels as well.
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        factor: int,
        before: int,
        words: int,
        batch_norm: bool,
        added: bool,
        fed: bool,
    ) -> None:
        super().__init__()
        self.before, self.fed = before, fed
        self.first = nn.Sequential(
            nn.Conv2d(1 + words + fed * (factor // before) ** 2, channels, 9, padding=4), nn.PReLU(channels)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels, batch_norm) for _ in range(blocks)))
        after: list[nn.Module] = [nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm)]
        self.after = nn.Sequential(*after, *([nn.BatchNorm2d(channels)] if batch_norm else []))
        up: list[nn.Module] = []
        sees = (
            (4 + 2 * blocks + 1) / before + 4 / factor + (2 if before > 1 else 0)
        )  # kernels' halves; bicubic's two
        for n, step in enumerate(stages(factor // before)):
            sees += 1 / before / prod(stages(factor // before)[:n])
            up += [
                nn.Conv2d(channels, channels * step**2, 3, padding=1),
                nn.PixelShuffle(step),
                nn.PReLU(channels),
            ]
        self.up = nn.Sequential(*up)
        self.reach = ceil(sees) + 1  # camera pixels
        self.last = nn.Conv2d(channels, 1, 9, padding=4)
        he_start(self, self.last, added)
        if not batch_norm:
            with torch.no_grad():  # a deep stack begins near its skips
                for block in self.blocks:
                    block.body[-1].weight.mul_(_BRANCH)  # type: ignore[union-attr, index, operator]

    def forward(self, x: torch.Tensor, words: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
        """x : (n, 1, x, y), words : (n, k, 1, 1), base and result : (n, 1, x factor, y factor), in the unit of x."""
        start = x if self.before == 1 else self.before**2 * upsample(x, self.before, "bicubic")
        h = self.first(as_channels(start, words, base if self.fed else None))
        h = self.up(h + self.after(self.blocks(h))).contiguous(memory_format=torch.channels_last)
        y = GAIN * self.last(h).float()
        return y if base is None else y + base


class SRResNet(SuperResolutionNetwork):
    """SRResNet (see `Generator`, and `SuperResolutionNetwork` for the other settings).

    channels, blocks : of the network; as published 64 and 16. start : `direct`, the camera's pixels go in and
    sub-pixel convolutions do all the upsampling (64 to 256), or `bicubic`: bicubic to half the size first and one
    sub-pixel convolution (128 to 256; four times the work). batch_norm : as published; one process trains it then,
    as no other would see the whole batch. Without it, as in EDSR, counts are not rescaled by statistics.
    """

    title: ClassVar[str] = "SRResNet"
    sentence: ClassVar[str] = (
        "SRResNet ({settings[blocks]} residual blocks of {settings[channels]} maps, {card[parameters]} weights, "
        "start: {settings[start]}) was trained for {settings[steps]} steps on patches of {settings[patch]} camera "
        "pixels (loss: {settings[loss]}; rotations: {settings[rotations]})."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Ledig C, Theis L, Huszar F, et al. Photo-realistic single image super-resolution using a generative "
        "adversarial network. CVPR 2017:4681-4690.",
    )
    settings: ClassVar[tuple[str, ...]] = (
        *SuperResolutionNetwork.settings, "channels", "blocks", "start", "batch_norm",
    )  # fmt: skip

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 16,
        start: str = "direct",
        batch_norm: bool = False,
        steps: int = 100000,
        batch: int = 16,
        patch: int = 24,
        learning_rate: float = 1e-3,
        loss: str = "mse_ssim",
        rotations: bool = True,
        informed: bool = True,
        base: str = "bicubic",
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
        choose("start", start, STARTS)
        self.channels, self.blocks, self.start = int(channels), int(blocks), start
        self.batch_norm = bool(batch_norm)
        if self.batch_norm:
            self.together = False  # type: ignore[misc]

    def network(self, factor: int) -> nn.Module:
        """A fresh `Generator`."""
        before = prod(stages(factor)[1:]) if self.start == "bicubic" else 1
        sizes: dict[str, Any] = {"channels": self.channels, "blocks": self.blocks}
        return Generator(
            **sizes, factor=factor, before=before, words=self.words, batch_norm=self.batch_norm,
            added=self.base != "none", fed=self.sees_base,
        )  # fmt: skip
