"""Where a cohort's camera goes, and what it is shown: shared by the engines of the study `spect_denoise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.volume import Volume

if TYPE_CHECKING:
    from senmei.physics.spect.geometry import Acquisition


@dataclass(frozen=True)
class Maps:
    """What a projector looks at: activity and attenuation (1/cm) of one phase, (x, y, z)."""

    activity: Volume
    mu: Volume


def phases_of(phantom: Callable[[str], Any]) -> list[Maps]:
    """The maps of each phase of the heartbeat; one attenuation map stands for all where there is but one.

    phantom(role) gives `activity` and, on its grid, `mu` or else `attenuation`; None for a role that is not there.
    """
    activity, mu = phantom("activity"), phantom("mu")
    mu = phantom("attenuation") if mu is None else mu
    if activity.data.ndim == 3:
        return [Maps(activity, mu)]
    still = mu.data.ndim == 3
    return [
        Maps(activity.like(activity.data[..., p]), mu if still else mu.like(mu.data[..., p]))
        for p in range(activity.data.shape[3])
    ]


def orbit_of(cohort: Mapping[str, Any], shape: Sequence[int], voxel_mm: float | None = None) -> Acquisition:
    """The cohort's orbit around a grid."""
    from senmei.physics.gamma_camera import GammaCamera
    from senmei.physics.spect.geometry import orbit

    return orbit(
        tuple(int(n) for n in shape),
        float(voxel_mm or cohort["voxel_mm"]),
        views=int(cohort["views"]),
        arc_deg=float(cohort["arc_deg"]),
        start_deg=float(cohort["start_deg"]),
        radius_mm=float(cohort["radius_mm"]),
        direction=cohort["direction"],
        camera=GammaCamera(collimator=cohort["collimator"]),
    )


def projection_affine(voxel_mm: float) -> np.ndarray:
    """(u, v, view) -> mm, mm, number of the view."""
    return np.diag([voxel_mm, voxel_mm, 1.0, 1.0])
