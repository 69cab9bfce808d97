"""Acquisitions on disk without their file's names and identities: counts as HDF5, what goes with them as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.io.projections import EnergyWindow, Projections
from senmei.io.roles import load_role, save_role

_KEYS = (
    "windows", "pixel_mm", "angles_deg", "direction", "radius_mm", "nuclide", "agent", "collimator", "duration_s",
    "facts",
)  # fmt: skip


def save_projections(stem: Path, projections: Projections) -> tuple[Path, Path]:
    """Write `{stem}_counts.h5` and `{stem}_facts.json`, each atomically; returns their paths.

    The same acquisition gives the same bytes. Only what `Projections` holds is written.
    """
    values: dict[str, Any] = {key: getattr(projections, key) for key in _KEYS}
    values["windows"] = [[w.name, w.low_kev, w.high_kev] for w in projections.windows]
    values |= {key: list(values[key]) for key in ("angles_deg", "radius_mm")}
    values["facts"] = dict(projections.facts)
    counts = save_role(stem.with_name(f"{stem.name}_counts"), np.ascontiguousarray(projections.counts))
    return counts, save_role(stem.with_name(f"{stem.name}_facts"), values)


def load_projections(counts: Path | str, facts: Path | str, where: object) -> Projections:
    """What `save_projections` wrote, checked. Raises DataError, with `where` for its place, for anything else."""
    try:
        values = load_role(facts)
        projections = Projections(
            counts=np.asarray(load_role(counts)),
            windows=tuple(
                EnergyWindow(str(n), float(low), float(high)) for n, low, high in values["windows"]
            ),
            pixel_mm=float(values["pixel_mm"]),
            angles_deg=tuple(map(float, values["angles_deg"])),
            direction=values["direction"],
            radius_mm=tuple(map(float, values["radius_mm"])),
            nuclide=values["nuclide"],
            agent=values["agent"],
            collimator=values["collimator"],
            duration_s=float(values["duration_s"]),
            facts=dict(values["facts"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "Cannot read a listed acquisition",
            where=where,
            why=f"its files in the cohort's folder are damaged ({type(error).__name__})",
            fix="remove the cohort's folder and run again: it is listed and read anew",
        ) from error
    projections.check(where)
    return projections
