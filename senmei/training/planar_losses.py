"""Losses of planar images. All take (n, 1, x, y) tensors in units of the data range and return a scalar tensor."""

from __future__ import annotations

import torch
from torch.nn import functional

from senmei.core.errors import ConfigError, nearest
from senmei.training.losses import Loss, mse

WINDOW, _SIGMA = 11, 1.5  # pixels, of the window of SSIM


def ssim_planar(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean SSIM over the windows that lie within the image: Gaussian, 11 x 11, sigma 1.5 pixels, data range 1.

    Sides must be 11 pixels or more. [Wang 2004, IEEE TIP 13:600]
    """
    at = torch.arange(WINDOW, device=clean.device, dtype=torch.float32) - WINDOW // 2
    kernel = torch.exp(-0.5 * (at / _SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    x, y = restored.float(), clean.float()
    n = x.shape[0]
    moments = torch.cat([x, y, x * x, y * y, x * y])  # all at once: the convolutions are thin
    moments = functional.conv2d(moments, kernel.view(1, 1, -1, 1))
    mx, my, xx, yy, xy = functional.conv2d(moments, kernel.view(1, 1, 1, -1)).split(n)
    c1, c2 = 0.01**2, 0.03**2
    spread = xx - mx * mx + yy - my * my
    return (
        (2 * mx * my + c1) * (2 * (xy - mx * my) + c2) / ((mx * mx + my * my + c1) * (spread + c2))
    ).mean()


def mse_ssim(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """MSE + (1 - SSIM): of images in units of the data range the second part is by far the larger."""
    return mse(restored, clean) + 1 - ssim_planar(restored, clean)


PLANAR_LOSSES: dict[str, Loss] = {"mse": mse, "mse_ssim": mse_ssim}


def find_planar_loss(name: str) -> Loss:
    """A loss by its name. Raises ConfigError with the nearest valid name."""
    if name not in PLANAR_LOSSES:
        raise ConfigError(
            f"Unknown loss '{name}'",
            where=f"loss: {name}",
            why="no loss of planar images has this name",
            fix=nearest(name, PLANAR_LOSSES),
        )
    return PLANAR_LOSSES[name]
