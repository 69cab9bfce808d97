"""SRCNN, modified: three convolutions on the bicubic image."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from senmei.methods.planar_layers import GAIN, as_channels, he_start
from senmei.methods.super_resolution import SuperResolutionNetwork
from senmei.methods.upsampling import upsample

_KERNELS = (9, 1, 5)


class ThreeConvolutions(nn.Module):
    """conv5(relu(conv1(relu(conv9(x))))), of the bicubic image, or of a base that is `fed`; `added` to a base.

    [Dong 2014, ECCV 8692:184; Dong 2016, IEEE TPAMI 38:295: 9-1-5, n1 = 64, n2 = 32]. Modified: the borders are
    padded, so that the image keeps its size; what it is told are further channels; the output may be added to a base,
    from zero on; the loss; and Muon and AdamW in place of gradient descent with a slower last layer.
    """

    def __init__(self, channels: int, factor: int, words: int, added: bool, fed: bool) -> None:
        super().__init__()
        self.factor, self.fed = factor, fed
        first, mapping, last = _KERNELS
        self.reach = (
            ceil((first // 2 + last // 2) / factor) + 3
        )  # camera pixels; two for bicubic interpolation
        half = max(channels // 2, 1)
        self.extract = nn.Conv2d(1 + words, channels, first, padding=first // 2)
        self.map = nn.Conv2d(channels, half, mapping)
        self.reconstruct = nn.Conv2d(half, 1, last, padding=last // 2)
        he_start(self, self.reconstruct, added)

    def forward(self, x: torch.Tensor, words: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
        """x : (n, 1, x, y), words : (n, k, 1, 1), base and result : (n, 1, x factor, y factor), in the unit of x."""
        fine = base if self.fed and base is not None else self.factor**2 * upsample(x, self.factor, "bicubic")
        h = as_channels(fine, words, None)
        h = functional.relu(self.map(functional.relu(self.extract(h))))
        y = GAIN * self.reconstruct(h).float()
        return y if base is None else y + base


class SRCNNPlanar(SuperResolutionNetwork):
    """SRCNN, modified (see `ThreeConvolutions`, and `SuperResolutionNetwork` for the other settings).

    channels : filters of the first layer, half as many in the second; as published 64.
    """

    title: ClassVar[str] = "SRCNN (modified)"
    sentence: ClassVar[str] = (
        "SRCNN (9-1-5, {settings[channels]} filters, {card[parameters]} weights; modified: padded, added to the "
        "bicubic image) was trained for {settings[steps]} steps on patches of {settings[patch]} camera pixels (loss: "
        "{settings[loss]}; rotations: {settings[rotations]})."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Dong C, Loy CC, He K, Tang X. Image super-resolution using deep convolutional networks. "
        "IEEE Trans Pattern Anal Mach Intell 2016;38:295-307.",
    )
    settings: ClassVar[tuple[str, ...]] = (*SuperResolutionNetwork.settings, "channels")

    def __init__(
        self,
        channels: int = 64,
        steps: int = 20000,
        batch: int = 8,
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
        )  # fmt: skip
        self.channels = int(channels)

    def network(self, factor: int) -> nn.Module:
        """A fresh `ThreeConvolutions`."""
        return ThreeConvolutions(self.channels, factor, self.words, self.base != "none", self.sees_base)
