"""WIN5-RB: five wide layers that predict the noise, trained without clean images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from senmei.core.errors import ConfigError
from senmei.core.method import FitContext
from senmei.methods.noisy_pairs import LEHTINEN, PairNetwork
from senmei.training.loop import mixed_precision
from senmei.training.pairs import PairSource

_STATISTICS = 12  # batches that the statistics of the averaged weights are taken from
_FIRST_STEP = 0.1  # of an image's scale: what the last normalisation takes noise to be at the start
_SLAB = 16  # slices restored at a time
_AIR = 0.01  # of an image's scale: the mean of 5^3 voxels below it is air


class WIN(nn.Module):
    """(Conv + BN + ReLU) x (layers - 1), Conv + BN, and a skip: y = x - BN(conv(...)), slice by slice.

    channels filters of kernel x kernel in every layer but the last, which has one. With `context` 3 or 5 the slices
    on either side are further channels of the first layer; the skip is around the middle one.
    [Liu P, Fang R 2017, arXiv:1707.09135, "Wide inference network for image denoising", WIN5-RB: 5, 7 x 7, 128]
    """

    def __init__(self, channels: int, kernel: int, layers: int, context: int) -> None:
        super().__init__()
        self.context = context
        widths = [context, *[channels] * (layers - 1), 1]
        steps: list[nn.Module] = []
        for i in range(layers):
            steps.append(nn.Conv2d(widths[i], widths[i + 1], kernel, padding=kernel // 2, bias=False))
            steps.append(nn.BatchNorm2d(widths[i + 1]))
            steps.append(nn.ReLU(inplace=True))
        self.noise = nn.Sequential(*steps[:-1])
        for module in self.noise:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # plain means, so that statistics do not depend on an order
        with torch.no_grad():
            next(reversed(self.noise)).weight.fill_(_FIRST_STEP)  # type: ignore[union-attr, operator]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """x : (n, 1, x, y, z). Returns (n, 1, x, y, z - context + 1): slices that have all their neighbours.

        level is not used: the published network is told nothing of the noise.
        """
        n, _, width, height, depth = x.shape
        inner = depth - self.context + 1
        windows = x[:, 0].unfold(3, self.context, 1)  # (n, x, y, inner, context)
        slices = windows.permute(0, 3, 4, 1, 2).reshape(n * inner, self.context, width, height)
        middle = slices[:, self.context // 2]
        noise = self.noise(slices.contiguous(memory_format=torch.channels_last))[:, 0]
        return (middle - noise.float()).view(n, inner, width, height).permute(0, 2, 3, 1)[:, None]


class WIN5RB(PairNetwork):
    """WIN5-RB on transaxial slices, trained on noisy pairs (see `WIN`, and `PairNetwork` for the other settings).

    channels, kernel, layers : of the network; as published 128, 7, 5. context : slices that it sees, 1 (as
    published), 3 or 5. batch, patch : slices a step and their edge, voxels. One process trains it, however many may:
    batch normalisation takes its statistics from the whole batch, which no process would see.
    """

    title: ClassVar[str] = "WIN5-RB"
    together: ClassVar[bool] = False
    sentence: ClassVar[str] = (
        "WIN5-RB ({settings[layers]} layers of {settings[channels]} filters, {settings[kernel]} x "
        "{settings[kernel]}, batch normalisation, {card[parameters]} weights) predicted the noise of each transaxial "
        "slice from {settings[context]} slice(s) and subtracted it; it was trained for {settings[steps]} steps on "
        "pairs of independent noisy reconstructions alone (Noise2Noise, squared error over the local variance)."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Liu P, Fang R. Wide inference network for image denoising via learning pixel-distribution prior. "
        "arXiv:1707.09135, 2017.",
        LEHTINEN,
    )
    settings: ClassVar[tuple[str, ...]] = (
        *PairNetwork.settings, "channels", "kernel", "layers", "context", "patch",
    )  # fmt: skip

    def __init__(
        self,
        channels: int = 128,
        kernel: int = 7,
        layers: int = 5,
        context: int = 1,
        steps: int = 20000,
        batch: int = 8,
        patch: int = 32,
        learning_rate: float = 1e-3,
        centred: float = 0.85,
        mirror: bool = False,
        gain: float = 0.15,
        precision: str = "auto",
        flips: bool = False,
    ) -> None:
        super().__init__(
            steps=steps, batch=batch, learning_rate=learning_rate, centred=centred, mirror=mirror, gain=gain,
            precision=precision, flips=flips, channels=channels, kernel=kernel, layers=layers,
            context=context, patch=patch,
        )  # fmt: skip
        for name, value in (("kernel", kernel), ("context", context)):
            if value % 2 == 0:
                raise ConfigError(
                    f"'{name}' must be odd",
                    where=f"{name}: {value}",
                    why="it has a middle",
                    fix="give 1, 3 or 5" if name == "context" else "give 3, 5 or 7",
                )
        if layers < 2:
            raise ConfigError(
                "WIN needs two layers at least",
                where=f"layers: {layers}",
                why="the first takes the slices, the last gives the noise",
                fix="give 5, as published",
            )
        self.channels, self.kernel, self.layers = int(channels), int(kernel), int(layers)
        self.context, self.patch = int(context), int(patch)

    def network(self) -> nn.Module:
        """A fresh `WIN`."""
        return WIN(self.channels, self.kernel, self.layers, self.context)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """A piece of a slice and its neighbours."""
        return self.patch, self.patch, self.context

    def target_of(self, target: torch.Tensor) -> torch.Tensor:
        """The middle slice."""
        side = self.context // 2
        return target[..., side : target.shape[-1] - side]

    def before_judging(self, network: nn.Module, source: PairSource, context: FitContext) -> None:
        """Means and variances of the averaged weights' own activations [Izmailov 2018, UAI, section 3.2]."""
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        network.train()
        with torch.no_grad(), mixed_precision(self.precision, context.device):
            for t in range(_STATISTICS):
                network(source.batch(t, context.device).noisy)

    def restore(self, network: nn.Module, data: np.ndarray, level: float, device: str) -> np.ndarray:
        """Slice by slice; beyond the first and the last slice they are repeated.

        From air nothing is taken: after batch normalisation the noise predicted for emptiness is small but of one
        sign, and two thirds of a field of view are air, so that the total would grow by some per cent.
        """
        side = self.context // 2
        x = torch.from_numpy(np.ascontiguousarray(data, np.float32))[None, None].to(device)
        x = functional.pad(x, (side, side, 0, 0, 0, 0), mode="replicate") if side else x
        parts = []
        with torch.inference_mode(), mixed_precision(self.precision, device):
            for start in range(0, data.shape[2], _SLAB):
                parts.append(network(x[..., start : start + _SLAB + 2 * side]).float().cpu())
        restored = torch.cat(parts, -1)[0, 0].numpy()
        air = ndimage.uniform_filter(data, 5, mode="nearest") < _AIR
        restored[air] = data[air]
        return restored
