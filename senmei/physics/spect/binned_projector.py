"""A projector whose detector has coarser pixels than the image has voxels: resolution recovery on a finer grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from senmei.core.errors import DataError
from senmei.physics.spect.geometry import Acquisition
from senmei.physics.spect.projector import Projector, tensor, unfit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class BinnedProjector(Projector):
    """`Projector`, then sums over factor x factor detector pixels; its adjoint gives each of these the coarse value.

    acquisition : of the fine grid, whose detector pixels are its voxels. factor : divides (u, v). Projections are
    (..., u / factor, v / factor, view); the rest is as of `Projector`. Raises DataError where the factor does not
    divide the detector.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        factor: int,
        mu: ArrayLike | torch.Tensor | None = None,
        *,
        psf: bool = True,
        device: str | torch.device = "cpu",
    ):
        n, nz, _ = acquisition.projection_shape
        if factor != int(factor) or factor < 1 or n % int(factor) or nz % int(factor):
            raise DataError(
                "Detector pixels cannot be summed",
                where=f"a detector of {n} x {nz} pixels",
                why=f"{factor} x {factor} of them do not fit",
                fix="choose a factor that divides both sides",
            )
        super().__init__(acquisition, mu, psf=psf, device=device)
        self.factor = int(factor)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(u, v, view) of what `forward` gives."""
        n, nz, views = self.acquisition.projection_shape
        return n // self.factor, nz // self.factor, views

    @torch.no_grad()
    def forward(self, image: ArrayLike | torch.Tensor, views: Sequence[int] | None = None) -> torch.Tensor:
        """Projections (..., u, v, view) on the coarse detector of images (..., x, y, z)."""
        fine = super().forward(image, views)
        *batch, n, nz, count = fine.shape
        k = self.factor
        return fine.reshape(*batch, n // k, k, nz // k, k, count).sum(dim=(-4, -2))

    @torch.no_grad()
    def adjoint(
        self, projections: ArrayLike | torch.Tensor, views: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Images (..., x, y, z): the transpose of `forward`."""
        coarse = tensor(projections, self.device)
        expected = (*self.projection_shape[:2], len(self._chosen(views)))
        if tuple(coarse.shape[-3:]) != expected:
            raise unfit("the projections", tuple(coarse.shape), expected)
        fine = coarse.repeat_interleave(self.factor, dim=-3).repeat_interleave(self.factor, dim=-2)
        return super().adjoint(fine, views)
