"""What surrounds the brain: subarachnoid fluid, skull, scalp."""

from __future__ import annotations

import numpy as np

from senmei.phantoms.grids import double, ramp
from senmei.phantoms.head import HeadParameters
from senmei.physics.fields import correlated_noise, smooth_field


def add_shells(
    p: HeadParameters,
    height: np.ndarray,
    hull: np.ndarray,
    h: float,
    out: np.ndarray,
    details: dict[str, np.ndarray],
) -> None:
    """Subarachnoid CSF, skull with marrow, scalp with muscle: shells of the distance to the hull, written into `out`.

    height : template z, mm. hull : signed distance, mm, positive inside. h : voxel, template mm.
    """
    rng = np.random.default_rng(p.folding_seed + 1)
    shape = hull.shape

    def uneven(mean: float, spread: float, n: int) -> np.ndarray:
        return mean * (1 + spread * smooth_field(rng.standard_normal((n, n, n)), shape))

    skull, scalp, fluid = uneven(p.skull_mm, 0.3, 7), uneven(p.scalp_mm, 0.3, 7), uneven(1.0, 0.6, 9)
    scalp += 9 * np.clip((-30 - height) / 20, 0, 1)  # below the brain: muscle and neck rather than scalp
    outside = -hull
    edges = [ramp(edge - outside, h) for edge in (fluid, fluid + skull, fluid + skull + scalp)]
    out[1] += np.clip(edges[0] - out[1:5].sum(0), 0, 1)
    brain = out[1:5].sum(0)
    out[5] = np.clip(edges[1] - brain, 0, 1)
    out[6] = np.clip(edges[2] - np.maximum(edges[1], brain), 0, 1)
    half = tuple((n + 1) // 2 for n in shape)
    mottled, muscle = (double(correlated_noise(half, f / h, rng), shape) for f in (3.0, 9.0))
    relative = (outside - fluid) / np.maximum(skull, 1)
    details["marrow"] = ramp((0.27 - np.abs(relative - 0.5)) / 0.15, 1.0) * np.clip(
        0.6 + 0.35 * mottled, 0, 1
    )
    layer = np.clip((outside - fluid - skull) / np.maximum(scalp, 1), 0, 1)
    details["muscle"] = ramp(
        2 * (muscle + 0.3 * mottled + 1.5 * np.clip((-30 - height) / 20, 0, 1) - 0.6), 1.0
    )
    details["muscle"] *= ramp((0.75 - np.abs(layer - 0.4) * 2) / 0.3, 1.0)
