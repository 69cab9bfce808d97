"""SIMIND for a patient of the study `spect_denoise`: one seed of it, and the average of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.studies.spect_geometry import orbit_of, phases_of, projection_affine

Load = Callable[[str], Any]

PARTS = ("total", "scatter", "primary")
_APART = 1009  # between the seeds of two phases: more than a cohort may have seeds


def installation(cohort: Mapping[str, Any]) -> Any:
    """The SIMIND that this machine has, with the spectrum and collimator of a cohort. Raises ConfigError."""
    from senmei.engines.simind.installation import check_simind
    from senmei.engines.simind.settings import collimator_code

    return check_simind(isotope=cohort["simind"]["isotope"], collimator=collimator_code(cohort["collimator"]))


def run_patient(
    image: Row,
    phantom: Load,
    cohort: Mapping[str, Any],
    *,
    number: int,
    seed: int,
    minutes: float,
    folder: Path,
) -> tuple[dict[str, Any], Row]:
    """`total`, `scatter`, `primary` (u, v, view[, phase]) float32 of the whole field, counts/s/MBq, facts of the run.

    Each phase is a simulation of its own, with a seed of its own. minutes : for all of them together. folder : to work
    in, empty. Facts: `release`, `command` (switches of the first phase), `histories` a view, `rr` (seeds as SIMIND got
    them, of each phase), `simulation` (hashes of all that went in, of each phase). Raises EngineError.
    """
    from senmei.engines.simind.inputs import write_inputs
    from senmei.engines.simind.run import run_simind
    from senmei.engines.simind.settings import Settings

    program, maps = installation(cohort), phases_of(phantom)
    grid = (int(cohort["matrix"]), int(cohort["matrix"]), int(cohort["slices"]))
    acquisition = orbit_of(cohort, grid).to_dict()
    settings = Settings.from_dict(
        {**cohort["simind"], "histories": float(cohort["histories"]), "minutes": minutes / len(maps)}
    )
    runs = []
    for phase, part in enumerate(maps):
        name = f"{image['image']}_seed-{number}" + (f"_gate-{phase + 1}" if len(maps) > 1 else "")
        inputs = write_inputs(folder / name, part.activity, part.mu, acquisition, settings)
        runs.append(run_simind(inputs, program, seed=seed % 10**6 + _APART * phase + number))
    affine = projection_affine(float(cohort["voxel_mm"]))
    roles = {}
    for name in PARTS:
        data = np.stack([getattr(run, name) for run in runs], axis=-1).astype(np.float32)
        roles[name] = Volume(data if len(runs) > 1 else data[..., 0], affine)
    first = runs[0]
    return roles, {
        "program": "SIMIND",
        "release": first.facts["release"],
        "command": first.facts["options"],
        "histories": first.histories,
        "rr": ",".join(str(n) for run in runs for n in run.seeds),
        "simulation": ",".join(run.facts["simulation"] for run in runs),
    }


def by_phase(data: np.ndarray) -> np.ndarray:
    """(u, v, view, phase) of projections that are still or gated."""
    return data if data.ndim == 4 else data[..., None]


def average_patient(runs: Sequence[tuple[Load, Row]]) -> dict[str, np.ndarray]:
    """`total`, `scatter`, `primary` (u, v, view, phase) of several seeds, weighted by their histories.

    Raises EngineError where two are not seeds of one simulation, or are the same seed.
    """
    from senmei.engines.simind.runs import SimindRun, WindowCounts, average_runs

    loaded = [({part: by_phase(load(part).data) for part in PARTS}, facts) for load, facts in runs]
    means = []
    for phase in range(loaded[0][0]["total"].shape[3]):
        seeds = []
        for parts, facts in loaded:
            window = WindowCounts(0.0, 0.0, *(parts[part][..., phase] for part in PARTS))
            rr, simulation = (str(facts[name]).split(",")[phase] for name in ("rr", "simulation"))
            seeds.append(
                SimindRun((window,), float(facts["histories"]), (int(rr),), {"simulation": simulation})
            )
        means.append(average_runs(seeds))
    return {part: np.stack([getattr(mean, part) for mean in means], axis=-1) for part in PARTS}
