"""One seed of SIMIND for a patient of the study `spect_denoise`; what is made of several is in `spect_engines`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.studies.spect_patients import orbit_of, projection_affine
from senmei.studies.spect_phantoms import phases_of

PARTS = ("total", "scatter", "primary")
_APART = 1009  # between the seeds of two phases: more than a cohort may have of each


def run_patient(
    image: Row,
    phantom: Callable[[str], Any],
    cohort: Mapping[str, Any],
    *,
    number: int,
    seed: int,
    minutes: float,
) -> tuple[dict[str, Any], Row]:
    """`total`, `scatter`, `primary` (u, v, view, phase) float32 of the whole field, counts/s/MBq, and facts of the run.

    Each phase is a simulation of its own, with a seed of its own. minutes : for all of them together.
    Raises EngineError, its message as the adapter words it.
    """
    from senmei.engines.simind.runs import run_simind
    from senmei.engines.simind.settings import Settings

    maps = phases_of(phantom)
    acquisition = orbit_of(cohort, maps[0].activity.shape).to_dict()
    settings = Settings.from_dict(
        {**cohort["simind"], "histories": float(cohort["histories"]), "minutes": minutes / len(maps)}
    )
    runs = []
    for phase, part in enumerate(maps):
        with tempfile.TemporaryDirectory(prefix="senmei-") as folder:
            runs.append(
                run_simind(
                    part.activity,
                    part.mu,
                    acquisition,
                    settings,
                    seed=seed + _APART * phase + number,
                    folder=Path(folder),
                )
            )
    affine = projection_affine(float(cohort["voxel_mm"]))
    roles = {
        name: Volume(np.stack([getattr(run, name) for run in runs], axis=-1).astype(np.float32), affine)
        for name in PARTS
    }
    return roles, dict(runs[0].facts)
