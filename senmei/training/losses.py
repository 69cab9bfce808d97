"""What training makes small. All take (n, 1, x, y, z) tensors, white matter = 1, and return a scalar tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from senmei.core.errors import ConfigError, nearest

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_EPSILON = 0.02  # of white matter: errors below it count as squares, above it as themselves
_WIDTH, _SIGMA = 7, 1.5  # voxels, of the window of the SSIM loss


def l1(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean absolute error."""
    return (restored - clean).abs().mean()


def mse(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean squared error."""
    return (restored - clean).square().mean()


def charbonnier(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean of sqrt(e^2 + epsilon^2) - epsilon, epsilon 2 % of white matter [Charbonnier 1994, ICIP 2:168]."""
    return ((restored - clean).square() + _EPSILON**2).sqrt().mean() - _EPSILON


def ssim_loss(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """1 - SSIM in three dimensions, Gaussian window of 7 voxels, data range 1 [Wang 2004, IEEE TIP 13:600]."""
    at = torch.arange(_WIDTH, device=clean.device, dtype=clean.dtype) - _WIDTH // 2
    kernel = torch.exp(-0.5 * (at / _SIGMA) ** 2)
    kernel = kernel / kernel.sum()

    def window(a: torch.Tensor) -> torch.Tensor:
        for shape in ((1, 1, -1, 1, 1), (1, 1, 1, -1, 1), (1, 1, 1, 1, -1)):
            a = functional.conv3d(a, kernel.view(shape))
        return a

    x, y = restored.float(), clean.float()
    mx, my = window(x), window(y)
    sxy, spread = window(x * y) - mx * my, window(x * x) - mx * mx + window(y * y) - my * my
    c1, c2 = 0.01**2, 0.03**2
    return 1 - ((2 * mx * my + c1) * (2 * sxy + c2) / ((mx * mx + my * my + c1) * (spread + c2))).mean()


def mixed(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Charbonnier + 0.02 (1 - SSIM): fidelity first, structure where contrast is low."""
    return charbonnier(restored, clean) + 0.02 * ssim_loss(restored, clean)


LOSSES: dict[str, Loss] = {
    "l1": l1,
    "mse": mse,
    "charbonnier": charbonnier,
    "ssim": ssim_loss,
    "mixed": mixed,
}


def find_loss(name: str) -> Loss:
    """A loss by its name. Raises ConfigError with the nearest valid name."""
    if name not in LOSSES:
        raise ConfigError(
            f"Unknown loss '{name}'",
            where=f"loss: {name}",
            why="no loss has this name",
            fix=nearest(name, LOSSES),
        )
    return LOSSES[name]


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Least squares: E[(D(real) - 1)^2] / 2 + E[D(fake)^2] / 2 [Mao 2017, ICCV, eq. 2]."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def adversarial_loss(fake: torch.Tensor) -> torch.Tensor:
    """The generator's part: E[(D(fake) - 1)^2] / 2 [Mao 2017, ICCV, eq. 2]."""
    return 0.5 * (fake - 1).square().mean()
