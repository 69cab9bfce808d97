"""Projections denoised before reconstruction, by a 3D U-Net trained on noisy pairs of projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.methods.noisy_pairs import PairNetwork, tiled
from senmei.methods.tuned import one_volume
from senmei.methods.unet3d_n2n import PairUNet, UNet3DN2N
from senmei.physics.spect.geometry import Acquisition
from senmei.physics.spect.imaging import Imaging, Projectors
from senmei.training.loop import mixed_precision
from senmei.training.pairs import PairBatch, PairScan, image_scale
from senmei.training.spread import surroundings

_SMOOTH = (
    2,
    2,
    1,
)  # to each side, pixels along u and v, and views: their mean stands for the expected counts
_LEAST = 0.5  # counts: what is added to it, so that an empty pixel has a spread too


def spread(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Standard deviation of Poisson counts, from the local mean of the counts themselves.

    x : (n, 1, u, v, views) counts in units of s counts; level : 1 / sqrt(s), broadcastable. Same shape and unit.
    """
    mean = surroundings(x, _SMOOTH)
    return level * (mean.clamp_min(0) + _LEAST * level**2).sqrt()


class ProjectionUNet(nn.Module):
    """y = x - s f(x / s): the U-Net of `unet3d_n2n` on counts divided by their local spread s (see `spread`).

    In place of the Anscombe transform, which stabilises the variance as well but whose mean is not that of the
    counts, s is a factor that only the input decides: E[target] stays E[counts] exactly, so counts are kept.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.inner = PairUNet(channels, depth)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """x : (n, 1, u, v, views) in units of s counts, level : 1 / sqrt(s). Returns the restored, the same unit."""
        return self.inner(x, level, spread(x, level))


class UNetProjections(PairNetwork):
    """3D U-Net on (u, v, view) counts, trained on noisy pairs of projections; then the study's reconstruction.

    The loss is the squared error over the input's own local variance: the weight depends on the input alone, so the
    best network is still the mean (see `ProjectionUNet`). How the study reconstructs and the unit of its images is
    the role `reconstruction`. Settings: see `UNet3DN2N` and `PairNetwork`; a patch is as many views as pixels.
    """

    title: ClassVar[str] = "3D U-Net on projections (noisy pairs)"
    needs: ClassVar[tuple[str, ...]] = ("noisy_projections", "repeat_projections")
    tunes_on: ClassVar[tuple[str, ...]] = ("noisy_projections", "repeat_projections")
    inputs: ClassVar[tuple[str, ...]] = (
        "projections", "attenuation", "acquisition", "reconstruction", "input",
    )  # fmt: skip
    sentence: ClassVar[str] = (
        "A three-dimensional residual U-Net ({settings[depth]} levels, {settings[channels]} channels, "
        "{card[parameters]} weights) denoised the projections before reconstruction; it was trained for "
        "{settings[steps]} steps on pairs of independent noisy projections alone (Noise2Noise, squared error over the "
        "local variance)."
    )
    references: ClassVar[tuple[str, ...]] = UNet3DN2N.references
    settings: ClassVar[tuple[str, ...]] = (*PairNetwork.settings, "channels", "depth", "patch")

    def __init__(
        self,
        channels: int = 16,
        depth: int = 3,
        steps: int = 700,
        batch: int = 2,
        patch: int = 24,
        learning_rate: float = 1.5e-3,
        precision: str = "auto",
        tile: int = 128,
    ) -> None:
        super().__init__(
            steps=steps, batch=batch, learning_rate=learning_rate, centred=0.0, mirror=False, gain=0.0,
            precision=precision, flips=False, channels=channels, depth=depth, patch=patch,
            tile=tile,
        )  # fmt: skip
        self.channels, self.depth, self.patch, self.tile = int(channels), int(depth), int(patch), int(tile)
        self._projectors: Projectors | None = None
        if self.patch % self.align:
            raise ConfigError(
                "The training patch does not fit the network",
                where=f"patch: {patch}, depth: {depth}",
                why=f"the network works on a lattice of {self.align} pixels",
                fix=f"make patch a multiple of {self.align}",
            )

    def network(self) -> nn.Module:
        """A fresh `ProjectionUNet`."""
        return ProjectionUNet(self.channels, self.depth)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Pixels along u and v, and as many views."""
        return self.patch, self.patch, self.patch

    @property
    def align(self) -> int:
        """2^(depth - 1) pixels."""
        return 2 ** (self.depth - 1)

    @property
    def halo(self) -> int:
        """That of the U-Net and of the local mean, up to the lattice."""
        inner = UNet3DN2N(channels=self.channels, depth=self.depth, patch=self.patch).halo
        return inner + -(-max(_SMOOTH) // self.align) * self.align

    def pair_scan(self, example: Example) -> PairScan:
        """The pair; its level is 1 / sqrt(counts of the scale)."""
        scan = super().pair_scan(example)
        return PairScan(scan.noisy, scan.repeat, float(image_scale(scan.noisy[0]) ** -0.5), None)

    def risk_weights(self, image: np.ndarray, voxel: Sequence[float] | None) -> np.ndarray:
        """The inverse of the local variance: what the loss stresses."""
        smooth = ndimage.uniform_filter(image, [2 * n + 1 for n in _SMOOTH], mode="nearest")
        weights = 1 / (np.clip(smooth, 0, None) + 0.02)
        return weights / weights.sum()

    def loss(self, network: nn.Module, data: PairBatch, device: str) -> torch.Tensor:
        """Squared error against the independent counts, over the variance that the input's local mean tells."""
        with mixed_precision(self.precision, device):
            restored = network(data.noisy, data.level)
        return ((restored.float() - data.target) / spread(data.noisy, data.level)).square().mean()

    def restore(self, network: nn.Module, data: np.ndarray, level: float, device: str) -> np.ndarray:
        """(u, v, view) counts in units of their scale, by tiles."""
        return tiled(
            network, data, level, device,
            tile=self.tile, halo=self.halo, align=self.align, precision=self.precision,
        )  # fmt: skip

    def expected_counts(self, counts: np.ndarray, periodic: bool) -> np.ndarray:
        """(u, v, view) counts -> restored counts, float32, >= 0. periodic : the last view is beside the first."""
        network = self.fitted()
        views = counts.shape[2]
        wrap = min(self.halo, views) if periodic else 0
        data = np.pad(counts, ((0, 0), (0, 0), (wrap, wrap)), mode="wrap") if wrap else counts
        scale = image_scale(data)
        level = self.known(scale**-0.5)
        restored = self.restored(network, data.astype(np.float32), level, self._device)
        return np.ascontiguousarray(restored[..., wrap : wrap + views])

    def apply(self, example: Example) -> Volume:
        """The reconstruction of the restored projections: float32, on the grid and in the unit of `input`.

        Raises DataError for projections without counts, or of another geometry than `acquisition` tells.
        """
        name = str(example.scan.get("scan", "?"))
        grid, counts = example["input"], one_volume(example["projections"], name).data
        acquisition = Acquisition.from_dict(example["acquisition"])
        if counts.shape != acquisition.projection_shape or not counts.max() > 0 or counts.min() < 0:
            raise DataError(
                "Unusable projections",
                where=f"{name}: role projections",
                why=f"their shape is {counts.shape} and the acquisition's {acquisition.projection_shape}; they hold "
                f"{float(counts.sum()):.0f} counts, the least in a pixel is {float(counts.min()):.3g}",
                fix="check the acquisition, or leave the scan out",
            )
        recipe: dict[str, Any] = dict(example["reconstruction"])
        unit = float(recipe.pop("unit"))
        restored = self.expected_counts(counts, closed(acquisition))
        if self._projectors is None or self._projectors.device != self._device:
            self._projectors = Projectors(self._device)
        imaging = Imaging(acquisition, example["attenuation"].data, recipe, self._projectors)
        return grid.like(imaging.reconstruct(restored, unit))


def closed(acquisition: Acquisition) -> bool:
    """Whether the views go all the way round."""
    angles = np.asarray(acquisition.angles_deg, dtype=float)
    if len(angles) < 3:
        return False
    step = float(np.median(np.abs(np.diff(angles))))
    return abs(len(angles) * step - 360) < 0.6 * step
