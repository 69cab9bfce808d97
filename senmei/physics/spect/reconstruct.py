"""Reconstruction of SPECT projections: ordered-subsets expectation maximisation, filtered back-projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from senmei.core.errors import ConfigError
from senmei.physics.spect.geometry import Acquisition
from senmei.physics.spect.projector import Gather, Projector, tensor, unfit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FILTERS = ("ramp", "butterworth")


@torch.no_grad()
def osem(
    projections: ArrayLike | torch.Tensor,
    projector: Projector,
    *,
    iterations: int = 2,
    subsets: int = 6,
    scatter: ArrayLike | torch.Tensor | None = None,
    start: ArrayLike | torch.Tensor | None = None,
) -> torch.Tensor:
    """Images (…, x, y, z) float32 of counts (…, u, v, view) by OSEM (Hudson & Larkin, IEEE TMI 1994;13:601).

    x ← x / (Aᵀ1) · Aᵀ(y / (A x + s)) over the subsets in order: subset k holds views k, k + subsets, …, and they are
    visited k = 0, 1, … in every iteration. scatter : expected additive counts s, (u, v, view) or with the batch's
    dimensions. start : first image, ones within the field (the cylinder that every view sees) by default; zeros in
    it stay. Bins where nothing is expected are ignored; voxels that no view of a subset sees keep their value.
    Negative counts are the caller's to refuse. Batch entries are reconstructed together, sharing rotations. Raises
    ConfigError for subsets that cannot be, DataError for shapes that do not fit.
    """
    views = projector.acquisition.views
    if not 1 <= subsets <= views or iterations < 1:
        raise ConfigError(
            f"{iterations} iterations of {subsets} subsets are impossible",
            where="osem: iterations, subsets",
            why=f"there are {views} views; a subset holds at least one, and one iteration is the least",
            fix=f"take 1 to {views} subsets",
        )
    counts = tensor(projections, projector.device)
    if tuple(counts.shape[-3:]) != projector.projection_shape:
        raise unfit("the projections", tuple(counts.shape), projector.projection_shape)
    added = None
    if scatter is not None:
        added = tensor(scatter, projector.device)
        if tuple(added.shape[-3:]) != projector.projection_shape:
            raise unfit("the scatter", tuple(added.shape), projector.projection_shape)
    image = _first(start, projector).expand(*counts.shape[:-3], *projector.acquisition.shape).clone()
    for _ in range(iterations):
        for k in range(subsets):
            chosen = range(k, views, subsets)
            expected = projector.forward(image, chosen)
            if added is not None:
                expected += added[..., k::subsets]
            ratio = torch.where(expected > 1e-12, counts[..., k::subsets] / expected.clamp_min(1e-12), 0.0)
            seen = projector.sensitivity(chosen)
            update = projector.adjoint(ratio, chosen)
            image *= torch.where(seen > 1e-6, update / seen.clamp_min(1e-6), 1.0)
    return image


def _first(start: ArrayLike | torch.Tensor | None, projector: Projector) -> torch.Tensor:
    shape = projector.acquisition.shape
    if start is not None:
        first = tensor(start, projector.device)
        if tuple(first.shape[-3:]) != shape:
            raise unfit("the first image", tuple(first.shape), shape)
        return first
    return torch.from_numpy(field(shape)).to(projector.device, torch.float32)[:, :, None].expand(shape)


def field(shape: tuple[int, int, int]) -> np.ndarray:
    """The field of view (x, y) bool: the circle inside the grid's square, which every view sees whole."""
    n = shape[0]
    step = np.arange(n) - (n - 1) / 2
    return np.hypot(step[:, None], step[None]) <= n / 2


@torch.no_grad()
def fbp(
    projections: ArrayLike | torch.Tensor,
    acquisition: Acquisition,
    *,
    filter: str = "ramp",  # noqa: A002 - the usual name
    cutoff: float = 0.5,
    order: float = 5.0,
) -> torch.Tensor:
    """Images (…, x, y, z) float32 of projections (…, u, v, view) by filtered back-projection, on their device.

    Ramp along u, exact for band-limited data (Kak & Slaney 1988, eq. 3.61: no offset). filter "butterworth" multiplies
    by 1 / (1 + (f / fc)^(2 order)) of the frequency f in the (u, v) plane, fc = cutoff × Nyquist. Views are weighted by
    the angle they stand for modulo 180°, so any arc from 180° on is right and opposite views share. No attenuation is
    corrected; unit as the projector's: counts a voxel sends into a view. Zero outside the field. Raises ConfigError
    for an unknown filter or a cutoff or order not above zero, DataError for shapes that do not fit.
    """
    if filter not in FILTERS or cutoff <= 0 or order <= 0:
        raise ConfigError(
            f"filter '{filter}' with cutoff {cutoff} and order {order} is impossible",
            where="fbp: filter, cutoff, order",
            why="cutoff is a fraction of the Nyquist frequency, order a positive number",
            fix="take filter 'ramp' or 'butterworth', cutoff e.g. 0.5, order e.g. 5",
        )
    data = tensor(projections, projections.device if isinstance(projections, torch.Tensor) else "cpu")
    if tuple(data.shape[-3:]) != acquisition.projection_shape:
        raise unfit("the projections", tuple(data.shape), acquisition.projection_shape)
    n, nz, views = acquisition.projection_shape
    batch = data.shape[:-3]
    table = data.reshape(-1, n, nz, views).permute(3, 1, 0, 2)  # (view, u, batch, v)
    table = _filtered(table, filter, cutoff, order)
    weight = torch.from_numpy(_angle_weights(acquisition)).to(table)
    table = (table * weight[:, None, None, None]).reshape(views * n, -1)
    image = Gather(_smear(acquisition), table.device)(table)
    return image.view(n * n, -1, nz).transpose(0, 1).reshape(*batch, n, n, nz)


def _filtered(table: torch.Tensor, name: str, cutoff: float, order: float) -> torch.Tensor:
    """(view, u, batch, v) filtered along u, and along v where the filter has two dimensions."""
    n, nz = table.shape[1], table.shape[3]
    long, high = 2 * n, 2 * nz  # zeros at the end: no wrap-around
    place = np.minimum(np.arange(long), long - np.arange(long))
    ramp = np.where(place % 2 == 1, -1 / (np.pi * np.maximum(place, 1)) ** 2, 0.0)
    ramp[0] = 0.25
    gain = np.fft.fft(ramp).real[:, None]
    if name == "butterworth":
        f = np.hypot(np.fft.fftfreq(long)[:, None], np.fft.rfftfreq(high)[None]) / 0.5
        gain = gain / (1 + (f / cutoff) ** (2 * order))
        window = torch.from_numpy(gain.astype(np.float32)).to(table.device)[:, None]
        spectrum = torch.fft.rfftn(table, s=(long, high), dim=(1, 3))
        return torch.fft.irfftn(spectrum * window, s=(long, high), dim=(1, 3))[:, :n, :, :nz]
    half = torch.from_numpy(gain[: long // 2 + 1].astype(np.float32)).to(table.device)[:, :, None]
    return torch.fft.irfft(torch.fft.rfft(table, long, 1) * half, long, 1)[:, :n]


def _angle_weights(acquisition: Acquisition) -> np.ndarray:
    """The angle (view,) in radians that each view stands for, modulo 180°; their sum is pi."""
    angles = np.mod(np.radians(acquisition.angles_deg), np.pi)
    angles[np.pi - angles < 1e-6] = 0.0
    unique, which, times = np.unique(np.round(angles, 6), return_inverse=True, return_counts=True)
    around = np.concatenate([[unique[-1] - np.pi], unique, [unique[0] + np.pi]])
    return ((around[2:] - around[:-2]) / 2 / times)[which]


def _smear(acquisition: Acquisition) -> sparse.csr_array:
    """Back-projection (x * y, view * u): linear interpolation along u, nothing outside the field."""
    n, views = acquisition.shape[0], acquisition.views
    step = np.arange(n) - (n - 1) / 2
    inside = np.flatnonzero(field(acquisition.shape))
    x, y = step[inside // n], step[inside % n]
    along = np.array([acquisition.detector(view)[1] for view in range(views)])
    u = x[:, None] * along[:, 0] + y[:, None] * along[:, 1] + (n - 1) / 2  # (inside, view)
    low = np.floor(u + 1e-9)
    part = np.clip(u - low, 0, 1)
    column = np.stack([low, low + 1], -1).astype(np.int64)
    weight = np.stack([1 - part, part], -1) * ((column >= 0) & (column < n))
    column = np.clip(column, 0, n - 1) + (np.arange(views) * n)[:, None]
    rows = np.broadcast_to(inside[:, None, None], column.shape)
    return sparse.csr_array((weight.ravel(), (rows.ravel(), column.ravel())), shape=(n * n, views * n))
