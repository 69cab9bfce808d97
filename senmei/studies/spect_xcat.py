"""XCAT in the study `spect_denoise`: subjects made by the user's program, or volumes that it wrote before.

Nothing is known of where an XCAT's heart is, nor of its segments: such scans have a noise-free reference, and no
analysis of the heart. Every body lies with the middle of its volume on the axis of rotation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.seeds import draw_generator
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume
from senmei.io.names import safe_label

_PLACES = ("binary", "data", "template", "minutes")  # of `xcat`: not a matter of the phantom itself
_LESION = "_lesion"
_ENERGY = 140.5  # keV, of the camera


def subject_settings(cohort: Mapping[str, Any], defect: bool, seed: int) -> Any:
    """XcatSettings of one subject: ranges of the configuration drawn from, on the camera's field, with its defect.

    The same for all images of a subject but for the defect. Raises ConfigError for what XCAT cannot be asked for.
    """
    from senmei.engines.xcat_parameters import XcatSettings

    own = {k: v for k, v in cohort["xcat"].items() if k not in _PLACES}
    if own.get("gender") == "both":
        own["gender"] = ("male", "female")[int(draw_generator(seed, "xcat", "gender").integers(2))]
    for table in ("uptake", "parameters"):
        own[table] = {name: _drawn(value, seed, table, name) for name, value in own.get(table, {}).items()}
    own |= {name: cohort[name] for name in ("matrix", "slices", "phases")}
    own |= {"voxel_mm": float(cohort["voxel_mm"]), "lesion": lesion_of(cohort, seed) if defect else None}
    return XcatSettings.from_config(own)


def lesion_of(cohort: Mapping[str, Any], seed: int) -> dict[str, float]:
    """The subject's defect, drawn as a torso's is, in XCAT's terms: its angle runs anterior, lateral, inferior."""
    from senmei.phantoms.heart import draw_defect

    low, high = cohort["defect_contrast"]
    defect = draw_defect(draw_generator(seed, "defect"), contrast=(float(low), float(high)))
    return {
        "theta_deg": (360.0 - defect.angle_deg) % 360.0,
        "width_deg": defect.extent_deg,
        "axis": defect.axial,
        "length_mm": defect.length_mm,
        "wall": defect.transmurality,
        "severity": defect.contrast,
    }


def run_subject(images: Sequence[Row], cohort: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Phantom roles of one subject's images, made by the user's XCAT. Raises ConfigError, EngineError, DataError."""
    from senmei.engines.xcat import run_xcat

    own = cohort["xcat"]
    made = {}
    for row in images:
        settings = subject_settings(cohort, bool(int(row["defect"])), seed)
        with tempfile.TemporaryDirectory(prefix="senmei-") as folder:
            phases = run_xcat(
                settings,
                folder,
                binary=own.get("binary"),
                data=own.get("data"),
                template=own.get("template"),
                minutes=float(own["minutes"]),
            )
        made[row["image"]] = _roles(phases, cohort, row["image"])
    return made


def list_volumes(cohort: Mapping[str, Any]) -> Listed:
    """Participants, images and status rows of a folder of XCAT's volumes: `<base>_act_N.bin`, `_atn_N.bin`, `_log`.

    `<base>_lesion_act_N.bin` is a defect, to be subtracted: `defects: given` takes it where it is, `none` nowhere,
    `both` makes two images of such a subject, without and with it.
    """
    from senmei.engines.xcat import list_xcat
    from senmei.engines.xcat_volumes import volume_file

    images: list[Row] = []
    status: list[Row] = []
    for files in list_xcat(cohort["path"], lesion=_LESION):
        subject = f"sub-{safe_label(files.base.name.removeprefix('sub-'))}"
        places = {
            f"{kind}{n}_path": volume_file(files.base, kind, n)
            for n in files.frames
            for kind in ("act", "atn")
        }
        base = files.base.with_name(files.base.name + _LESION)
        defect = {f"lesion{n}_path": volume_file(base, "act", n) for n in files.frames}
        if lost := [p for p in places.values() if not p.is_file()]:
            error = f"{len(lost)} of its {len(places)} volumes are missing; each phase has activity and attenuation"
            status.append({"scan": subject, "subject": subject, "status": "failed", "error": error})
            continue
        row: Row = {"image": subject, "subject": subject, "repeat": 1, "defect": 0}
        row["path"] = str(places[f"act{files.frames[0]}_path"])
        row |= {name: str(path) for name, path in places.items() if str(path) != row["path"]}
        row |= {"log_path": str(files.log) if files.log else None}
        there = all(path.is_file() for path in defect.values())
        with_defect = {**row, "defect": 1, **{name: str(path) for name, path in defect.items()}}
        if cohort["defects"] == "both" and there:
            images.append({**row, "image": f"{subject}_acq-normal"})
            images.append({**with_defect, "image": f"{subject}_acq-defect", "repeat": 2})
            continue
        if cohort["defects"] == "both":
            error = "it has no volumes of a defect, so it is there without one only"
            status.append({"scan": subject, "subject": subject, "status": "remark", "error": error})
        images.append(with_defect if there and cohort["defects"] == "given" else row)
    return [{"subject": s} for s in dict.fromkeys(row["subject"] for row in images)], images, status


def read_volumes(row: Row, cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Phantom roles of one listed image. Raises DataError naming it for volumes that cannot be used."""
    from senmei.engines.xcat import XcatGrid, read_xcat

    first = Path(row["path"])
    base = first.with_name(first.name.rsplit("_act_", 1)[0])
    given = cohort.get("volumes")
    grid = None
    if given:
        thick = given.get("slice_mm") or given["voxel_mm"]
        grid = XcatGrid(given["matrix"], given["slices"], given["voxel_mm"] / 10, thick / 10)
    lesion = base.with_name(base.name + _LESION) if any(k.startswith("lesion") for k in row) else None
    phases = read_xcat(base, grid=grid, energy_kev=_ENERGY, lesion=lesion, where=row["image"])
    return _roles(phases, cohort, row["image"])


def _roles(phases: Sequence[Any], cohort: Mapping[str, Any], where: str) -> dict[str, Any]:
    """On the camera's field: as many phases as the cohort has, or the mean of all for one that is still."""
    from senmei.studies.spect_phantom_files import on_field

    wanted = int(cohort["phases"])
    if wanted not in (1, len(phases)):
        raise DataError(
            "Cannot use a phantom",
            where=where,
            why=f"it has {len(phases)} phase(s), the cohort {wanted}",
            fix=f"set `phases:` to {len(phases)}, or to 1 for their mean",
        )
    first = phases[0]
    activity, mu = (
        np.stack([getattr(phase, name).data for phase in phases], axis=-1) for name in ("activity", "mu")
    )
    if wanted == 1:
        activity, mu = activity.mean(axis=-1), mu.mean(axis=-1)
    return on_field(Volume(activity, first.activity.affine), Volume(mu, first.mu.affine), cohort, where)


def _drawn(value: Any, seed: int, table: str, name: str) -> Any:
    """A setting as it is, or where it is [low, high] a number between, drawn by name."""
    if not isinstance(value, list):
        return value
    low, high = value
    return float(draw_generator(seed, "xcat", table, name).uniform(float(low), float(high)))
