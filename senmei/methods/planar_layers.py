"""Parts of the networks for planar images: what goes in, how they begin, by what steps they magnify."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from senmei.core.errors import ConfigError

GAIN = 0.1  # of the last convolution: one step of AdamW moves all its weights at once, and the image not by its scale


def as_channels(x: torch.Tensor, words: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
    """(n, c, x, y), channels last: the image, the pixels of a base that lie in each of its own, what is told."""
    parts = [x]
    if base is not None:
        parts.append(functional.pixel_unshuffle(base, base.shape[-1] // x.shape[-1]))
    parts.append(words.expand(-1, -1, *x.shape[2:]))
    return torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)


def stages(factor: int) -> list[int]:
    """The prime factors of an upsampling, in ascending order; [] for 1."""
    found, n = [], factor
    for prime in (2, 3, 5, 7, 11, 13):
        while n % prime == 0:
            found.append(prime)
            n //= prime
    if n > 1:
        raise ConfigError(
            f"No network magnifies by {factor}",
            where=f"factor: {factor}",
            why=f"it has the prime factor {n}",
            fix="choose a pixel size that is 2, 3, 4, 6, 8 ... times the reference's",
        )
    return found


def he_start(network: nn.Module, last: nn.Module, added: bool) -> None:
    """He's initial weights for rectified units, biases zero; the last convolution zero where it is added to a base."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.25, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if added:
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
