"""Phantoms that others have made, brought onto the camera's grid: NIfTI maps of a folder, one subject after another.

A phantom's volume lies with its middle in the middle of the field, on the axis of rotation, whatever origin its file
states; how its axes point is taken from the file. `{subject}_heart.json` counts its mm from that middle, too: x to the
patient's right, y anterior, z to the head.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.io.names import safe_label

OPTIONAL = ("labels", "segments")  # maps that a phantom may come without
_HIGHEST_MU = 1.0  # 1/cm: cortical bone has 0.28 at 140 keV; a map in 1/mm or HU lies far outside
_OUTSIDE = 0.01  # share of activity that may lie beside the field; above and below it all may
_HEART_BYTES = 65536
_POINTS = ("apex_mm", "base_mm", "septum")
_NUMBERS = ("wall_mm", "cavity_mm", "length_mm", "wall_ml", "cavity_ml")
_DEFECT = ("axial", "angle_deg", "extent_deg", "length_mm", "transmurality", "contrast")


def list_phantoms(cohort: Mapping[str, Any]) -> tuple[list[Row], list[Row], list[Row]]:
    """Participants, images and status rows of a folder of `{subject}_activity.nii.gz` and what stands beside them.

    A subject without an attenuation map is a row in the status; labels, segments and heart are taken where they are.
    Raises DataError where the folder is none or holds no phantom.
    """
    folder = Path(cohort["path"])
    found = sorted(folder.glob("*_activity.nii.gz")) if folder.is_dir() else []
    if not found:
        raise DataError(
            "No phantoms",
            where="path",
            why="the folder holds no {subject}_activity.nii.gz" if folder.is_dir() else "it is no folder",
            fix="give a folder with {subject}_activity.nii.gz and {subject}_attenuation.nii.gz (1/cm) for each subject",
        )
    images: list[Row] = []
    status: list[Row] = []
    for path in found:
        name = path.name.removesuffix("_activity.nii.gz")
        subject = f"sub-{safe_label(name.removeprefix('sub-'))}"
        places = {kind: path.with_name(f"{name}_{kind}.nii.gz") for kind in ("attenuation", *OPTIONAL)}
        places["heart"] = path.with_name(f"{name}_heart.json")
        row: Row = {"image": subject, "subject": subject, "repeat": 1, "path": str(path.resolve())}
        row |= {f"{k}_path": str(p.resolve()) if p.is_file() else None for k, p in places.items()}
        if row["attenuation_path"] is None:
            error = "no attenuation map stands beside its activity"
            status.append({"scan": subject, "subject": subject, "status": "failed", "error": error})
            continue
        images.append(row)
    return [{"subject": image["subject"]} for image in images], images, status


def read_phantom(row: Row, cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Roles of one listed phantom on the camera's grid: `activity` (x, y, z[, phase]), `attenuation` 1/cm (x, y, z).

    `labels`, `segments` (whole numbers) and `heart` where there are files. Raises DataError naming the subject.
    """
    where = row["image"]
    activity = _read(row["path"], f"{where}: activity", ndim=(3, 4), labels=False)
    attenuation = _read(row["attenuation_path"], f"{where}: attenuation", ndim=(3, 4), labels=False)
    extra = {
        kind: _read(row[f"{kind}_path"], f"{where}: {kind}", ndim=3, labels=True, allow_constant=True)
        for kind in OPTIONAL
        if row.get(f"{kind}_path")
    }
    roles = on_field(activity, attenuation, cohort, where, extra)
    if row.get("heart_path"):
        roles["heart"] = read_heart(Path(row["heart_path"]), where)
    return roles


def _read(path: str, where: str, **how: Any) -> Volume:
    """A NIfTI file, told of by its subject and not by its name."""
    from senmei.io.nifti import read_volume

    try:
        return read_volume(path, **how)
    except DataError as error:
        raise DataError(error.what, where=where, why=error.why, fix=error.fix) from None


def on_field(
    activity: Volume,
    attenuation: Volume,
    cohort: Mapping[str, Any],
    where: str,
    labels: Mapping[str, Volume] | None = None,
) -> dict[str, Any]:
    """Maps of a patient on the camera's grid, averaged where its voxels are larger; float32, labels uint8 or int16.

    activity : (x, y, z) or (x, y, z, phase), any unit. attenuation : the same, or (x, y, z) for all, 1/cm.
    labels : further maps by name.
    Raises DataError, naming `where`, for maps of different grids, activity that is none, an attenuation map that is
    not in 1/cm, a patient who is wider than the field, or one whom the camera would touch.
    """
    for kind, volume in {"attenuation": attenuation, **(labels or {})}.items():
        if volume.shape[:3] != activity.shape[:3] or not np.allclose(
            volume.affine[:3, :3], activity.affine[:3, :3], atol=1e-3
        ):
            raise _unfit(
                where,
                f"its {kind} map has {_size(volume)}, its activity {_size(activity)}",
                "give maps of one grid",
            )
    if activity.data.min() < 0 or not activity.data.sum() > 0:
        raise _unfit(
            where, "its activity is negative somewhere, or zero everywhere", "give activity per voxel"
        )
    if attenuation.data.min() < 0 or not 0.02 < attenuation.data.max() < _HIGHEST_MU:
        low, high = attenuation.data.min(), attenuation.data.max()
        why = f"its attenuation map spans {low:g} to {high:g}; soft tissue has 0.15 1/cm at 140 keV"
        raise _unfit(
            where, why, "convert it to 1/cm: per pixel by its size in cm, 1/mm by 10, CT numbers by a table"
        )
    phases = activity.data if activity.data.ndim == 4 else activity.data[..., None]
    absorbers = attenuation.data if attenuation.data.ndim == 4 else attenuation.data[..., None]
    if phases.shape[3] != int(cohort["phases"]) or absorbers.shape[3] not in (1, phases.shape[3]):
        why = f"it has {phases.shape[3]} phase(s), the cohort {cohort['phases']}"
        raise _unfit(where, why, "set `phases:` to what the files hold")
    _check_field(phases[..., 0], activity.affine, cohort, where)
    roles = {
        "activity": _moved(phases, activity.affine, cohort),
        "attenuation": _moved(absorbers, activity.affine, cohort),
    }
    mu = roles["attenuation"].data
    _check_orbit(mu if mu.ndim == 3 else mu[..., 0], cohort, where)
    for kind, volume in (labels or {}).items():
        roles[kind] = Volume(_resample(volume.data, activity.affine, cohort, order=0), field_affine(cohort))
    return roles


def field_affine(cohort: Mapping[str, Any]) -> np.ndarray:
    """(4, 4) voxel index -> mm of the camera's whole field."""
    from senmei.phantoms.torso import grid_affine

    return grid_affine(
        (int(cohort["matrix"]), int(cohort["matrix"]), int(cohort["slices"])), float(cohort["voxel_mm"])
    )


def read_heart(path: Path, where: str) -> dict[str, Any]:
    """What analyses ask of a heart, of a small JSON file; anything else in it is left behind.

    Raises DataError naming `where` for a file that is none, or lacks `apex_mm`, `base_mm` or `septum`.
    """
    try:
        if path.stat().st_size > _HEART_BYTES:
            raise ValueError(f"it has more than {_HEART_BYTES} bytes")
        told = json.loads(path.read_text(encoding="utf-8"))
        heart: dict[str, Any] = {name: _vector(told[name], 3) for name in _POINTS}
        heart |= {name: float(told[name]) for name in _NUMBERS if told.get(name) is not None}
        if told.get("thickness_mm") is not None:
            heart["thickness_mm"] = _vector(told["thickness_mm"], 17)
        heart["defect"] = None
        if (defect := told.get("defect")) is not None:
            segments = [int(k) for k in defect["segments"]]
            if not segments or not all(1 <= k <= 17 for k in segments):
                raise ValueError("a defect's segments are numbered 1 to 17")
            heart["defect"] = {name: float(defect[name]) for name in _DEFECT if defect.get(name) is not None}
            heart["defect"] |= {"segments": segments, "centre_mm": _vector(defect["centre_mm"], 3)}
            heart["site_mm"] = heart["defect"]["centre_mm"]
        if math.dist(heart["apex_mm"], heart["base_mm"]) < 20:
            raise ValueError("apex and base lie less than 20 mm apart")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"no key {error}" if isinstance(error, KeyError) else re.sub(r"\s+", " ", str(error))[:120]
        raise DataError(
            "Cannot read where a phantom's heart is",
            where=where,
            why=why,
            fix="give `apex_mm`, `base_mm` and `septum` as three numbers each; see docs/concepts/spect-denoise.md",
        ) from error
    return heart


def _vector(values: Any, count: int) -> list[float]:
    numbers = [float(v) for v in values]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"it must have {count} finite numbers, not {len(numbers)}")
    return numbers


def _size(volume: Volume) -> str:
    voxels = " x ".join(map(str, volume.shape[:3]))
    return f"{voxels} voxels of {' x '.join(f'{v:.3g}' for v in volume.voxel)} mm"


def _unfit(where: str, why: str, fix: str) -> DataError:
    return DataError("Cannot use a phantom", where=where, why=why, fix=fix)


def _check_field(activity: np.ndarray, affine: np.ndarray, cohort: Mapping[str, Any], where: str) -> None:
    """Nobody is wider than the field: activity beside it would come back into it by no physics."""
    half = int(cohort["matrix"]) * float(cohort["voxel_mm"]) / 2
    axes = [np.arange(n) - (n - 1) / 2 for n in activity.shape]
    beside = 0.0
    for k, z in enumerate(axes[2]):
        x, y = (
            affine[r, 0] * axes[0][:, None] + affine[r, 1] * axes[1][None, :] + affine[r, 2] * z
            for r in (0, 1)
        )
        beside += float(activity[:, :, k][(np.abs(x) > half) | (np.abs(y) > half)].sum(dtype=np.float64))
    share = beside / float(activity.sum(dtype=np.float64))
    if share > _OUTSIDE:
        why = f"{100 * share:.1f} % of its activity lies beside the field, which is {2 * half:g} mm wide"
        raise _unfit(
            where, why, "enlarge `matrix:` or `voxel_mm:`, or move the patient into the volume's middle"
        )


def _check_orbit(mu: np.ndarray, cohort: Mapping[str, Any], where: str) -> None:
    """The camera goes round the patient, not through."""
    n, voxel = mu.shape[0], float(cohort["voxel_mm"])
    along = (np.arange(n) - (n - 1) / 2) * voxel
    distance = np.hypot(along[:, None], along[None, :])
    solid = mu.max(axis=2) > 0.05
    reach = float(distance[solid].max(initial=0.0)) - voxel / 2
    if reach > float(cohort["radius_mm"]):
        why = f"it reaches {reach:.0f} mm from the axis of rotation, the camera to {cohort['radius_mm']:g}"
        raise _unfit(
            where, why, f"set `radius_mm:` to {math.ceil(reach + 10)} or more, or centre the patient"
        )


def _moved(phases: np.ndarray, affine: np.ndarray, cohort: Mapping[str, Any]) -> Volume:
    """(x, y, z) of one phase, (x, y, z, phase) of several, on the field."""
    moved = [_resample(phases[..., p], affine, cohort) for p in range(phases.shape[3])]
    return Volume(moved[0] if len(moved) == 1 else np.stack(moved, -1), field_affine(cohort))


def _resample(data: np.ndarray, affine: np.ndarray, cohort: Mapping[str, Any], order: int = 1) -> np.ndarray:
    """(x, y, z) of the field: the mean of samples in each voxel, or for order 0 the nearest value; zero beyond.

    Slice by slice, so that the memory is that of one fine slice and the result.
    """
    from scipy import ndimage

    nx, nz, voxel = int(cohort["matrix"]), int(cohort["slices"]), float(cohort["voxel_mm"])
    inverse = np.linalg.inv(affine[:3, :3])
    source = np.linalg.norm(affine[:3, :3], axis=0).min()
    n = 1 if order == 0 else min(4, max(1, math.ceil(voxel / source - 1e-6)))
    grid = field_affine(cohort)[:3, :3]
    same = np.allclose(grid, affine[:3, :3], atol=1e-4) and data.shape == (nx, nx, nz)
    out = np.empty((nx, nx, nz), data.dtype if order == 0 else np.float32)
    if same:
        out[:] = data
        return out
    middle = (np.array(data.shape) - 1) / 2
    first = np.array([-(nx * n - 1) / 2] * 2 + [-(nz * n - 1) / 2]) * voxel / n
    for k in range(nz):
        start = first + np.array([0, 0, k * voxel])
        fine = ndimage.affine_transform(
            data,
            inverse * (voxel / n),
            offset=inverse @ start + middle,
            output_shape=(nx * n, nx * n, n),
            order=order,
            mode="constant",
            prefilter=False,
        )
        out[:, :, k] = fine.reshape(nx, n, nx, n, n).mean(axis=(1, 3, 4)) if n > 1 else fine[:, :, 0]
    return out
