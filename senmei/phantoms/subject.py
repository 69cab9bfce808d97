"""One synthetic subject, scanned several times: the whole chain in one call."""

from __future__ import annotations

import numpy as np

from senmei.core.volume import Volume
from senmei.phantoms.head import build_head, draw_head, species_of
from senmei.physics.bias import apply_bias, draw_bias
from senmei.physics.contrast import apply_appearance, draw_appearance, draw_physical
from senmei.physics.motion import apply_motion, draw_motion


def simulate_subject(
    seed: int,
    voxel_mm: float,
    tesla: float = 3.0,
    species: str = "human",
    repeats: int = 1,
    skull: bool = True,
    appearance: str = "physical",
    bias: float = 0.1,
) -> list[dict[str, Volume]]:
    """Clean repeats of one synthetic subject, deterministic in `seed`.

    voxel_mm : isotropic, in the species' own millimetres. tesla : 1.5, 3 or 7. skull : False for brain-extracted.
    appearance : 'physical' (signal equation at `tesla`) or 'random' (domain randomisation, for training; `tesla`
    then unused). bias : sd of the log of the bias field. Returns one dict a repeat: `image` (float32, clean, with bias;
    white matter about 1000) and `labels` (uint8, see senmei.phantoms.head.TISSUES). The first repeat lies still;
    the others have a small rigid motion (sd 1 % of head size: about 1 mm, 1 degree) and a drifted bias field.
    """
    anatomy, look, change = (np.random.default_rng([seed, k]) for k in range(3))
    head = build_head(draw_head(anatomy, species), voxel_mm, skull=skull)
    drawn = draw_appearance(look) if appearance == "random" else draw_physical(look, tesla)
    clean = apply_appearance(head, drawn)
    field = draw_bias(change, bias)
    mm = float(np.mean(species_of(species).scale))
    out = []
    for repeat in range(repeats):
        image, labels = clean, head.labels
        if repeat:
            motion = draw_motion(change, mm, 1.0)
            image, labels = apply_motion(image, motion), apply_motion(labels, motion)
            field_now = field + 0.25 * draw_bias(change, bias)
        else:
            field_now = field
        out.append({"image": apply_bias(image, field_now), "labels": labels})
    return out
