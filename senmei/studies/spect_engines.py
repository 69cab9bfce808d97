"""The cameras of the study `spect_denoise`: SIMIND, driven seed by seed, or the projector that stands at home."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError, DataError, SenmeiError
from senmei.core.study import Row
from senmei.studies.spect_geometry import phases_of
from senmei.studies.spect_phantoms import SETTINGS, builtin, phantom_kind

if TYPE_CHECKING:
    from senmei.physics.spect.imaging import Projectors

Load = Callable[[str], Any]

# Settings of a cohort that decide what an engine makes of a phantom; how many counts and seeds there are do not.
CAMERA = (
    "engine", "matrix", "slices", "voxel_mm", "collimator", "views", "arc_deg", "start_deg", "radius_mm", "direction",
    "histories", "simind",
)  # fmt: skip
_LIMITS = ("minutes",)  # of `simind`: when to give up


def settings_of(cohort: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What of a cohort's settings its phantoms ('phantom') or an engine's runs ('engine') depend on."""
    own = {name: cohort[name] for name in (SETTINGS if part == "phantom" else CAMERA) if name in cohort}
    if part == "engine" and "simind" in own:
        own["simind"] = {k: v for k, v in own["simind"].items() if k not in _LIMITS}
    return own


def check_simulated(cohort: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings of a simulated cohort that do not go together."""
    if phantom_kind(cohort) != "torso" and int(cohort.get("oversample", 1)) > 1:
        raise ConfigError(
            "Only our own torsos can be oversampled",
            where="oversample",
            why=f"the cohort has `phantom: {cohort['phantom']}`, which is brought into voxels of the camera's bins",
            fix="set `oversample: 1`",
        )
    if phantom_kind(cohort) in ("xcat", "xcat files") and cohort.get("slab"):
        raise ConfigError(
            "There is no slab around an XCAT's heart",
            where="slab",
            why="XCAT does not say where its heart is",
            fix="set `slab: null`, and `slices:` to what is wanted",
        )
    if phantom_kind(cohort) == "xcat":
        from senmei.studies.spect_xcat import subject_settings

        subject_settings(cohort, True, 0)


def check_programs(cohort: Mapping[str, Any]) -> None:
    """Raise ConfigError when SIMIND or XCAT is asked for and is not there, or is not the right one."""
    if not builtin(cohort):
        from senmei.studies.spect_simind import installation

        _as_config("engine", lambda: installation(cohort))
    if phantom_kind(cohort) == "xcat":
        from senmei.engines.xcat import check_xcat

        _as_config("phantom", lambda: check_xcat(cohort["xcat"].get("binary")))


def _as_config(key: str, look: Callable[[], Any]) -> None:
    """Ask whether a program is there; what it answers becomes an error of the configuration's key."""
    try:
        look()
    except SenmeiError as error:
        raise ConfigError(error.what, where=key, why=f"{error.where}: {error.why}", fix=error.fix) from error


def gather_patient(
    image: Row,
    phantom: Load,
    runs: Sequence[tuple[Load, Row]],
    cohort: Mapping[str, Any],
    projectors: Projectors,
) -> dict[str, Any]:
    """Raw roles of an image: seeds of an engine averaged, or without any what the builtin camera expects.

    Expected photons, those of the whole field and all phases summing to 1, as `simulate_patient` gives them.
    `columns` tell of the engine, its histories and how many counts its own noise is worth.
    """
    from senmei.studies.spect_patients import expected_photons, raw_roles

    attenuation = phantom("attenuation")
    still = attenuation if attenuation.data.ndim == 3 else attenuation.like(attenuation.data[..., 0])
    maps = {"attenuation": still} | {k: v for k in ("labels", "segments") if (v := phantom(k)) is not None}
    if runs:
        mean, columns = average_seeds(image, runs, cohort)
    else:
        torsos: list[Any] = phases_of(phantom)
        mean = np.stack([expected_photons(torso, torso, cohort, projectors) for torso in torsos], axis=-1)
        columns = {}
    return {**raw_roles(mean, maps, phantom("heart"), cohort), "columns": columns}


def average_seeds(
    image: Row, runs: Sequence[tuple[Load, Row]], cohort: Mapping[str, Any]
) -> tuple[np.ndarray, Row]:
    """(u, v, view, phase) float64 counts/s/MBq of several seeds, weighted by their histories, and what is told of them.

    With `scatter: false` of the cohort only what reached the camera unscattered. `columns`: engine and release, seeds,
    histories a view of all of them, scattered share of the counts, counts per second and MBq in all views, and
    `engine_counts`: how many counts a camera would have to collect to be as noisy as the simulation still is (from the
    spread of the seeds; absent for one).
    Raises DataError where two seeds gave the very same photons: they are one, counted twice.
    """
    from senmei.studies.spect_simind import average_patient, by_phase

    facts = [told for _, told in runs]
    each = [by_phase(load("total").data).astype(np.float64) for load, _ in runs]
    for n, data in enumerate(each):
        if twin := next((m for m in range(n) if np.array_equal(each[m], data)), -1) + 1:
            raise DataError(
                "Two seeds gave the same photons",
                where=f"{image['image']}, seeds {twin} and {n + 1}",
                why="every bin is the same, so the generator began at the same place: their average is that of one",
                fix="delete the manifest of one of them and run again; nothing but /RR may set SIMIND's seed",
            )
    average = average_patient(runs)
    histories = np.array([float(told["histories"]) for told in facts])
    total = float(average["total"].sum(dtype=np.float64))
    columns: Row = {
        "engine": f"{facts[0]['program']} {facts[0]['release']}",
        "seeds": len(runs),
        "histories": float(histories.sum()),
        "scattered_share": round(float(average["scatter"].sum(dtype=np.float64)) / total, 5),
        "counts_per_s_mbq": float(f"{total / average['total'].shape[3]:.6g}"),
    }
    if len(runs) > 1:
        worth = _worth(each, average["total"], histories / histories.sum())
        columns["engine_counts"] = float(f"{worth:.3g}")
    return average["total" if cohort["scatter"] else "primary"].astype(np.float64), columns


def _worth(each: Sequence[np.ndarray], mean: np.ndarray, weights: np.ndarray) -> float:
    """Counts of a Poisson acquisition as noisy as the mean of the seeds.

    Of N counts in bins of shares p the shares have the variance p/N, which sums to 1/N over all bins. The variance of
    the mean of S seeds, each as noisy as its histories allow, is estimated by sum w (x - m)^2 / (S - 1).
    """
    spread = sum(w * float(((x - mean) ** 2).sum()) for w, x in zip(weights, each, strict=True))
    variance = spread / (len(each) - 1) / float(mean.sum()) ** 2
    return 1 / variance if variance > 0 else float("inf")
