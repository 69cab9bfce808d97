"""Compton scatter in SPECT by Monte Carlo: delta tracking in a voxel map, forced detection in all views at once.

Photons are followed through the attenuation map by delta tracking (Woodcock et al., ANL-7050, 1965) and lose
weight rather than life to photoelectric absorption. At every scatter each photon is sent toward all views
(convolution-based forced detection, de Jong, Slijpen & Beekman, IEEE TNS 2001;48:58, with histories shared by the
views as in Liu et al., IEEE TNS 2008;55:560): its weight times the Klein-Nishina density of that direction, times
the acceptance of the energy window, is added to the voxel it scattered in. What each view then sees of its voxels
is projected by the same `Projector` as the primary photons: same attenuation (set to the energy the photon has
left), same collimator blur at the depth of the last scatter.

The estimate is unbiased within its model. The model leaves out coherent scatter and the binding of electrons,
collimator penetration and scatter, scatter in the table, the crystal and behind it, orders beyond the last one
scored, and whatever lies outside the grid. Primary photons are analytic, hence without noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.physics import photons

if TYPE_CHECKING:
    import torch

    from senmei.physics.spect.geometry import Acquisition
    from senmei.physics.spect.projector import Projector

ORDERS = 3
_NEGLIGIBLE = 1e-4  # of the primary's acceptance: a photon below it is let go, all it can still do being less
_ROWS = 1 << 15  # scatters scored at a time


@dataclass(frozen=True)
class Tissue:
    """How the attenuation of a map given at one energy changes with the energy of the photon.

    A value up to 1.1 times that of water is water of that density; above, the share of cortical bone rises
    linearly to all of it, as with Hounsfield numbers.
    """

    energy_kev: float

    def shares(self, energy_kev: NDArray, mu: NDArray) -> tuple[NDArray, NDArray]:
        """(total, Compton) attenuation at `energy_kev`, each as a multiple of the map's `mu` (1/cm)."""
        water, bone = (float(photons.attenuation(self.energy_kev, name)) for name in ("water", "bone"))
        share = np.clip((mu - 1.1 * water) / (bone - 1.1 * water), 0.0, 1.0)
        parts = []
        for law in (photons.attenuation, photons.compton_attenuation):
            parts.append((1.0 - share) * law(energy_kev) / water + share * law(energy_kev, "bone") / bone)
        return parts[0], parts[1]

    def rise(self, energy_kev: NDArray) -> NDArray:
        """Attenuation of soft tissue at an energy over that at the map's energy."""
        return photons.attenuation(energy_kev) / photons.attenuation(self.energy_kev)


@dataclass(frozen=True)
class Scatters:
    """The n scatters of one order: voxel (n,) flat index, direction (n, 3) and energy_kev (n,) before it, weight (n,).

    Weights are shares of one emitted photon: those of all histories without absorption or escape add up to 1.
    history : (n,) the number of the photon.
    """

    voxel: NDArray[np.int64]
    direction: NDArray[np.float64]
    energy_kev: NDArray[np.float64]
    weight: NDArray[np.float64]
    history: NDArray[np.int64]


def track(
    activity: NDArray,
    mu: NDArray,
    voxel_mm: float,
    energy_kev: float,
    *,
    histories: int,
    rng: np.random.Generator,
    orders: int = ORDERS,
    lowest_kev: float = 0.0,
) -> Iterator[Scatters]:
    """Follow photons through a map and yield their scatters, order by order.

    activity : (x, y, z) emission, 0 or more. mu : (x, y, z) attenuation in 1/cm at `energy_kev`.
    histories : photons, spread over the voxels in proportion to the activity (systematic sampling).
    lowest_kev : photons scattered below it are let go.
    """
    shape = np.array(mu.shape)
    flat = np.ascontiguousarray(mu, np.float64).ravel()
    tissue = Tissue(energy_kev)
    position, direction = _emit(activity, histories, rng)
    energy = np.full(histories, energy_kev)
    weight = np.full(histories, 1.0 / histories)
    history = np.arange(histories)
    for order in range(1, orders + 1):
        voxel = _next_interaction(position, direction, energy, flat, shape, voxel_mm / 10.0, tissue, rng)
        inside = voxel >= 0
        position, direction, voxel = position[inside], direction[inside], voxel[inside]
        energy, history = energy[inside], history[inside]
        total, compton = tissue.shares(energy, flat[voxel])
        weight = weight[inside] * compton / total
        yield Scatters(voxel, direction, energy, weight, history)
        if order < orders:
            cosine = photons.draw_compton(energy, rng)
            direction = photons.deflect(direction, cosine, rng)
            energy = photons.compton_energy(energy, cosine)
            kept = energy > lowest_kev
            position, direction = position[kept], direction[kept]
            energy, weight, history = energy[kept], weight[kept], history[kept]


def _emit(activity: NDArray, histories: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Places in voxel units (0 is the edge of the grid) and isotropic directions, (n, 3) each."""
    total = np.cumsum(np.ascontiguousarray(activity, np.float64).ravel())
    drawn = (np.arange(histories) + rng.random()) / histories * total[-1]
    voxel = np.minimum(np.searchsorted(total, drawn, side="right"), total.size - 1)
    position = np.stack(np.unravel_index(voxel, activity.shape), axis=1) + rng.random((histories, 3))
    cosine, phi = rng.uniform(-1.0, 1.0, histories), rng.uniform(0.0, 2.0 * np.pi, histories)
    sine = np.sqrt(1.0 - cosine**2)
    return position, np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)


def _next_interaction(
    position: NDArray,
    direction: NDArray,
    energy: NDArray,
    flat: NDArray,
    shape: NDArray,
    voxel_cm: float,
    tissue: Tissue,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Move `position` (changed in place) to the next interaction; its voxel, or -1 for photons that left."""
    found = np.full(len(position), -1, np.int64)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    highest = flat.max() * tissue.shares(energy, flat.max())[0]  # attenuation rises with mu at any energy
    left = np.arange(len(position))
    while left.size:
        bound = highest[left]
        step = rng.standard_exponential(left.size) / (bound * voxel_cm)
        now = position[left] + step[:, None] * direction[left]
        position[left] = now
        inside = ((now >= 0) & (now < shape)).all(axis=1)
        left, now, bound = left[inside], now[inside], bound[inside]
        voxel = now.astype(np.int64) @ strides
        mu = flat[voxel]
        real = rng.random(left.size) * bound < mu * tissue.shares(energy[left], mu)[0]
        found[left[real]] = voxel[real]
        left = left[~real]
    return found


def monte_carlo(
    activity: NDArray,
    mu: NDArray,
    acquisition: Acquisition,
    *,
    histories: int,
    rng: np.random.Generator,
    orders: int = ORDERS,
    smooth_mm: float = 0.0,
    projector: Projector | None = None,
) -> dict[str, Any]:
    """Primary and scattered photons expected in every view, in the unit of `Projector.forward(activity)`.

    activity, mu : (x, y, z) emission and attenuation in 1/cm at the photopeak. histories : photons followed, two
    at least. smooth_mm : FWHM of a Gaussian over u and v that the scatter, and its noise, is smoothed with.
    projector : one made of the same acquisition and mu, if at hand.

    Returns a dict of `primary` and `scatter`, (u, v, view) float32; `orders`, the shares of each order in the
    counted scatter; `scatter_to_primary`; `scatter_to_total`; `noise`, the relative standard error of a
    pixel of `scatter` (root mean square of the difference of two halves of the histories, over twice the root
    mean square of the scatter), 0 where nothing scatters; `histories`.
    Reproducible from `rng`. Raises DataError for maps that do not fit or are negative.
    """
    import torch

    from senmei.physics.spect.projector import Projector

    activity, mu = _checked(activity, mu, acquisition, histories)
    projector = Projector(acquisition, mu) if projector is None else projector
    primary = projector.forward(torch.as_tensor(activity)).cpu()
    source = torch.zeros((2, activity.size, acquisition.views))
    seen = []
    if mu.any() and activity.any():
        scale = float(np.sum(activity, dtype=np.float64))
        score = _Score(acquisition, _depths(acquisition, mu), scale)
        # two halves are scored apart, to tell the noise: histories alternate between them
        events = track(
            activity,
            mu,
            acquisition.voxel_mm,
            acquisition.camera.energy_kev,
            histories=histories,
            rng=rng,
            orders=orders,
            lowest_kev=score.lowest_kev,
        )
        seen = [score.add(scatters, source) for scatters in events]
    halves = _project(source.reshape(2, *activity.shape, -1), projector)
    if smooth_mm > 0:
        halves = _smoothed(halves, smooth_mm / photons.FWHM_PER_SIGMA / acquisition.voxel_mm)
    scatter = halves.sum(0)
    noise = float((halves[0] - halves[1]).square().mean().sqrt()) if mu.any() else 0.0
    size = float(scatter.square().mean().sqrt())
    of_primary, of_scatter = float(primary.double().sum()), float(scatter.double().sum())
    return {
        "primary": primary.numpy(),
        "scatter": scatter.numpy(),
        "orders": [value / sum(seen) for value in seen] if sum(seen) else [0.0] * orders,
        "scatter_to_primary": of_scatter / of_primary if of_primary else 0.0,
        "scatter_to_total": of_scatter / (of_primary + of_scatter) if of_primary else 0.0,
        "noise": noise / size if size else 0.0,
        "histories": histories,
    }


def toward(acquisition: Acquisition) -> NDArray[np.float64]:
    """Directions (view, 2) in x and y, from the patient to the detector."""
    return np.array([acquisition.detector(view)[0][:2] for view in range(acquisition.views)])


class _Score:
    """Adds scatters to what each view sees of every voxel."""

    def __init__(self, acquisition: Acquisition, depths: torch.Tensor, scale: float) -> None:
        import torch

        camera = acquisition.camera
        self.peak, self.window, self.resolution = camera.energy_kev, camera.window, camera.energy_resolution
        self.toward = torch.as_tensor(toward(acquisition).T.astype(np.float32))
        self.depths, self.scale = depths, scale
        self.own = float(photons.window_acceptance(self.peak, self.peak, self.window, self.resolution))
        energies = np.linspace(20.0, self.peak, 2000)
        accepted = photons.window_acceptance(energies, self.peak, self.window, self.resolution) / self.own
        self.lowest_kev = float(energies[np.argmax(accepted > _NEGLIGIBLE)])
        # energy decides the acceptance and the attenuation on the way out: one table each, steps of 0.05 keV
        self.table = torch.as_tensor(accepted.astype(np.float32))
        rise = Tissue(self.peak).rise(energies) - 1.0
        self.rise = torch.as_tensor(rise.astype(np.float32))
        self.first, self.step = float(energies[0]), float(energies[1] - energies[0])

    def add(self, scatters: Scatters, source: torch.Tensor) -> float:
        """Add to `source` (half, voxel, view); returns the counts that this order brings, all views together."""
        import torch

        counted = 0.0
        cross_section = photons.compton_cross_section(scatters.energy_kev)
        # 4 pi: the projector counts a photon emitted isotropically as 1
        factor = self.scale * scatters.weight * 2.0 * np.pi * photons.ELECTRON_RADIUS_CM**2 / cross_section
        for half in (0, 1):
            chosen = np.flatnonzero(scatters.history % 2 == half)
            for start in range(0, len(chosen), _ROWS):
                rows = chosen[start : start + _ROWS]
                voxel = torch.as_tensor(scatters.voxel[rows])
                heading = torch.as_tensor(scatters.direction[rows, :2].astype(np.float32))
                energy = torch.as_tensor(scatters.energy_kev[rows].astype(np.float32))[:, None]
                cosine = heading @ self.toward
                ratio = 1.0 / (1.0 + energy / photons.ELECTRON_KEV * (1.0 - cosine))
                weight = ratio**2 * (ratio + 1.0 / ratio - 1.0 + cosine**2)
                weight *= torch.as_tensor(factor[rows].astype(np.float32))[:, None]
                at = (
                    ((energy * ratio - self.first) / self.step).round_().long().clamp_(0, len(self.table) - 1)
                )
                depth = self.depths[voxel]
                weight *= self.table[at] * torch.exp(-depth * self.rise[at])
                source[half].index_add_(0, voxel, weight)
                counted += float((weight * torch.exp(-depth)).sum(dtype=torch.float64))
        return counted


def _depths(acquisition: Acquisition, mu: NDArray) -> torch.Tensor:
    """Attenuation path (voxel, view) from each voxel to the detector, as the projector sees it."""
    import torch

    from senmei.physics.spect.projector import Projector

    thin = Projector(acquisition, mu, psf=False)
    ones = torch.ones((mu.shape[0], mu.shape[2], 1))
    out = torch.empty((mu.size, acquisition.views))
    for view in range(acquisition.views):
        out[:, view] = thin.adjoint(ones, views=[view]).cpu().reshape(-1)
    return -torch.log(out.clamp_(min=1e-9))


def _project(source: torch.Tensor, projector: Projector) -> torch.Tensor:
    """(batch, x, y, z, view), each view of its own source, to (batch, u, v, view)."""
    import torch

    seen = [
        projector.forward(source[..., view].contiguous(), views=[view]).cpu()
        for view in range(source.shape[-1])
    ]
    return torch.cat(seen, dim=-1)


def _smoothed(halves: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian over u and v of (half, u, v, view)."""
    import torch
    from scipy.ndimage import gaussian_filter

    return torch.as_tensor(gaussian_filter(halves.numpy(), (0, sigma, sigma, 0), mode="nearest"))


def _checked(
    activity: NDArray, mu: NDArray, acquisition: Acquisition, histories: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    activity, mu = np.asarray(activity, np.float32), np.asarray(mu, np.float32)
    for name, image in (("activity", activity), ("mu", mu)):
        if image.shape != tuple(acquisition.shape):
            why = f"its shape is {image.shape}, the acquisition's grid {tuple(acquisition.shape)}"
            raise DataError("Cannot simulate scatter", where=name, why=why, fix="give both on the same grid")
        if not np.isfinite(image).all() or (image < 0).any():
            why = f"it holds values of {image.min():g} to {image.max():g}; 0 or more are meant"
            raise DataError("Cannot simulate scatter", where=name, why=why, fix="correct the map")
    if histories < 2:
        why = f"{histories} photons are to be followed"
        raise DataError("Cannot simulate scatter", where="histories", why=why, fix="set 100000 or so")
    return activity, mu
