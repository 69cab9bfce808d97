"""Losses of planar images. All take (n, 1, x, y) tensors in units of the data range and return a scalar tensor."""

from __future__ import annotations

from functools import lru_cache

import torch

from senmei.core.errors import ConfigError, nearest
from senmei.training.losses import Loss, mse

WINDOW, _SIGMA = 11, 1.5  # pixels, of the window of SSIM


def ssim_planar(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean SSIM over the windows that lie within the image: Gaussian, 11 x 11, sigma 1.5 pixels, data range 1.

    Sides must be 11 pixels or more. Differentiable in `restored`. [Wang 2004, IEEE TIP 13:600]
    """
    x, y = restored.float(), clean.float()
    along, across = (_windows(n, str(x.device)) for n in x.shape[-2:])

    def window(
        a: torch.Tensor,
    ) -> torch.Tensor:  # as products of matrices: convolutions this thin are slow on CPUs
        return along @ a @ across.T

    mx, my = window(x), window(y)
    xx, yy, xy = window(x * x), window(y * y), window(x * y)
    c1, c2 = 0.01**2, 0.03**2
    spread = xx - mx * mx + yy - my * my
    return (
        (2 * mx * my + c1) * (2 * (xy - mx * my) + c2) / ((mx * mx + my * my + c1) * (spread + c2))
    ).mean()


@lru_cache(maxsize=32)
def _windows(n: int, device: str) -> torch.Tensor:
    """(n - 10, n): a Gaussian window at each place of an axis."""
    at = torch.arange(n, dtype=torch.float64) - torch.arange(n - WINDOW + 1)[:, None] - WINDOW // 2
    weights = torch.exp(-0.5 * (at / _SIGMA) ** 2) * (at.abs() <= WINDOW // 2)
    return (weights / weights.sum(dim=1, keepdim=True)).float().to(device)


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
