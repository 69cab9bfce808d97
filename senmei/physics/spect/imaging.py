"""From counts to images, the same way for every role: what a study's `reconstruction` settings mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError
from senmei.physics.spect.geometry import Acquisition

if TYPE_CHECKING:
    import torch

    from senmei.physics.spect.projector import Projector

# Uptake volume that the views see of a normal patient, attenuated (uptake 1 = normal myocardium; ml): brings images
# to about 1 in the myocardium. Only a unit: it is one number for all patients and doses.
UPTAKE_ML = 1700.0


class Projectors:
    """Projectors of one job: those of one geometry share rotations and kernels, which take longest to make."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._bases: dict[tuple[Acquisition, bool], Projector] = {}

    def get(self, acquisition: Acquisition, mu: np.ndarray | None, *, psf: bool = True) -> Projector:
        """A projector of this geometry around this attenuation map (1/cm), or without one."""
        from senmei.physics.spect.projector import Projector

        key = (acquisition, psf)
        if key not in self._bases:
            if len(self._bases) >= 6:
                self._bases.clear()  # bounded: a job has one geometry, fine and coarse, with and without PSF
            self._bases[key] = Projector(acquisition, None, psf=psf, device=self.device)
        return self._bases[key].with_attenuation(mu)


class Imaging:
    """Reconstruction of one patient's projections, with what the settings ask to be modelled.

    settings : `method` ('osem' or 'fbp'), `iterations`, `subsets`, `attenuation`, `psf`, `scatter` (osem; 'window':
        told to `reconstruct`, from energy windows); `filter`, `cutoff`, `order` (fbp). mu : (x, y, z) attenuation map,
        1/cm, or None. projectors : of the job.
    Raises ConfigError where settings and data do not go together.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        mu: np.ndarray | None,
        settings: Mapping[str, Any],
        projectors: Projectors | None = None,
    ) -> None:
        self.acquisition, self.settings = acquisition, dict(settings)
        self.projectors = projectors or Projectors()
        self.mu = None if mu is None else np.asarray(mu, dtype=np.float32)
        wants_map = settings["method"] == "osem" and (settings["attenuation"] or settings["scatter"] is True)
        if wants_map and self.mu is None:
            raise ConfigError(
                "There is no attenuation map",
                where="reconstruction.attenuation, reconstruction.scatter",
                why="the scan comes without one, and both need it",
                fix="set both to false, or bring a map",
            )
        self._made: dict[bool, Projector] = {}

    def projector(self, *, psf: bool) -> Projector:
        """The projector that the reconstruction assumes, made when first needed."""
        if psf not in self._made:
            mu = self.mu if self.settings["attenuation"] else None
            self._made[psf] = self.projectors.get(self.acquisition, mu, psf=psf)
        return self._made[psf]

    def reconstruct(
        self, counts: np.ndarray, unit: float = 1.0, scatter: np.ndarray | None = None
    ) -> np.ndarray:
        """(..., x, y, z) float32 images of (..., u, v, view) photons, divided by `unit` (photons of uptake 1).

        Any number of realisations at once: each is reconstructed, and its scatter estimated, from itself alone.
        scatter : photons of the shape of `counts` to take for scattered ones, for `scatter: window` and nothing else.
        Raises ConfigError when that is set and there are none.
        """
        import torch

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, dtype=np.float32), device=self.projectors.device)

        measured = tensor(counts)
        known = None
        if self.settings["method"] == "osem" and self.settings["scatter"] == "window":
            if scatter is None:
                raise ConfigError(
                    "There are no energy windows to tell the scatter",
                    where="reconstruction.scatter: window",
                    why="methods that restore projections, and simulations, have the photopeak alone",
                    fix="set it to true or false, or leave these methods out",
                )
            known = tensor(scatter)
        image = self._fbp(measured) if self.settings["method"] == "fbp" else self._osem(measured, known)
        return (image.to("cpu", torch.float32).numpy() / np.float32(unit)).astype(np.float32)

    def scatter(self, measured: torch.Tensor) -> torch.Tensor:
        """Scattered photons in projections (..., u, v, view), estimated from them: no truth is needed.

        One quick iteration without PSF gives an activity that explains primary and scattered photons alike; the
        effective-source model then says how many scattered ones go with each primary one, r, and of the total the
        share r / (1 + r) is scatter.
        """
        from senmei.physics.spect.reconstruct import osem
        from senmei.physics.spect.scatter import scatter_projections

        assert self.mu is not None
        plain = self.projectors.get(self.acquisition, self.mu, psf=False)
        first = osem(measured, plain, iterations=1, subsets=int(self.settings["subsets"]))
        spread = scatter_projections(first, self.mu, plain).clamp_min(0)  # rounding of its convolutions aside
        total = measured.sum(dim=(-3, -2, -1), keepdim=True).clamp_min(1e-12)
        return spread / (1 + spread.sum(dim=(-3, -2, -1), keepdim=True) / total)

    def _osem(self, measured: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        from senmei.physics.spect.reconstruct import osem

        settings = self.settings
        scatter = self.scatter(measured) if settings["scatter"] is True else known
        projector = self.projector(psf=bool(settings["psf"]))
        steps = {"iterations": int(settings["iterations"]), "subsets": int(settings["subsets"])}
        return osem(measured, projector, scatter=scatter, start=self._even(measured, projector), **steps)

    def _even(self, measured: torch.Tensor, projector: Projector) -> torch.Tensor:
        """Even images (..., x, y, z) that give as many photons as were measured, to start from.

        Beside additive scatter, a start of fixed size would make few iterations depend on the number of counts.
        """
        import torch

        from senmei.physics.spect.reconstruct import field

        circle = torch.from_numpy(field(self.acquisition.shape)).to(measured)[:, :, None]
        seen = (projector.sensitivity() * circle).sum()
        level = measured.sum(dim=(-3, -2, -1), keepdim=True) / seen
        return (level * circle).expand(*measured.shape[:-3], *self.acquisition.shape)

    def _fbp(self, measured: torch.Tensor) -> torch.Tensor:
        from senmei.physics.spect.reconstruct import fbp

        settings = self.settings
        options = {"cutoff": float(settings["cutoff"]), "order": float(settings["order"])}
        return fbp(measured, self.acquisition, filter=settings["filter"], **options)


def photons_of_unit_uptake(counts: float, acquisition: Acquisition) -> float:
    """Photons that a voxel of uptake 1 sends into one view, of an acquisition of `counts` in the whole field."""
    voxel_ml = (acquisition.voxel_mm / 10) ** 3
    return counts * voxel_ml / (UPTAKE_ML * acquisition.views)
