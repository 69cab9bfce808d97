"""What an analysis left of one scan's heart: short-axis slices, polar maps, profiles and wall thickness.

The files of a method, see `StudyFiles.analysed`, by name:

- short_axis: Volume (right, up, slice), septum left and anterior up, slices from apex to base.
- polar: dict with `segments`, 17 values, `rings`, (ring, angle), see `bullseye.picture`, and `thickness`, 17 in mm
  (null: none found).
- profiles: dict, line -> {mm, restored, reference}, equally long.

short_axis and polar may come as reference_{name} too, beside any method's: the noise-free image's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError, SenmeiError
from senmei.core.volume import Volume
from senmei.io.roles import load_role
from senmei.report.files import StudyFiles, finite, reason

NAMES = ("short_axis", "polar", "profiles")
REFERENCE = "reference"


Curve = tuple[np.ndarray, np.ndarray]  # mm, values


@dataclass
class Heart:
    """One image's heart; what is not there is None or empty.

    slices : (right, up, slice) float32. mm : (right, up) edges of its voxels. segments : 17 values. rings : see
    `bullseye.picture`. wall : 17 thicknesses, mm. profiles : line -> (mm, values). beside : the reference's, along
    the same lines.
    """

    slices: np.ndarray | None = None
    mm: tuple[float, float] = (1.0, 1.0)
    segments: list[float] = field(default_factory=list)
    rings: np.ndarray | None = None
    wall: list[float] = field(default_factory=list)
    profiles: dict[str, Curve] = field(default_factory=dict)
    beside: dict[str, Curve] = field(default_factory=dict)


def has_heart(files: StudyFiles, cohort: str, scan: str) -> bool:
    """Whether any method has any of the files."""
    return any(set(NAMES) & set(files.analysed(cohort, method, scan)) for method in files.methods)


def hearts(files: StudyFiles, cohort: str, scan: str) -> tuple[dict[str, Heart], list[str]]:
    """(method -> heart, the reference's under 'reference'; remarks on files that could not be read), in page order."""
    found: dict[str, Heart] = {}
    notes: list[str] = []
    reference = Heart()
    for method in files.methods:
        paths = files.analysed(cohort, method, scan)
        heart = _read({name: paths[name] for name in NAMES if name in paths}, notes, files.title(method))
        if heart is not None:
            found[method] = heart
        own = {name: paths[f"{REFERENCE}_{name}"] for name in NAMES if f"{REFERENCE}_{name}" in paths}
        missing = {name: path for name, path in own.items() if not _has(reference, name)}
        if missing:
            _fill(reference, missing, notes, "Reference")
        if heart is not None and heart.beside and not reference.profiles:
            reference.profiles = heart.beside
    if reference.profiles or any(_has(reference, name) for name in NAMES):
        found[REFERENCE] = reference
    return found, list(dict.fromkeys(notes))


def _has(heart: Heart, name: str) -> bool:
    return {"short_axis": heart.slices is not None, "polar": bool(heart.segments)}.get(name, False)


def _read(paths: dict[str, Path], notes: list[str], title: str) -> Heart | None:
    if not paths:
        return None
    heart = Heart()
    _fill(heart, paths, notes, title)
    return heart


def _fill(heart: Heart, paths: dict[str, Path], notes: list[str], title: str) -> None:
    for name, path in paths.items():
        try:
            _take(heart, name, load_role(path), path)
        except SenmeiError as error:
            notes.append(f"{title}, {name.replace('_', ' ')}: {reason(error)}.")


def _take(heart: Heart, name: str, value: Any, path: Path) -> None:
    try:
        if name == "short_axis":
            if not isinstance(value, Volume) or value.data.ndim != 3:
                raise ValueError("not a volume of slices")
            heart.slices = np.nan_to_num(np.asarray(value.data, np.float32))
            heart.mm = value.voxel[:2]
        elif name == "polar":
            heart.segments = _seventeen(value["segments"])
            heart.rings = np.asarray(value["rings"], np.float64) if value.get("rings") is not None else None
            if heart.rings is not None and heart.rings.ndim != 2:
                raise ValueError(f"rings have shape {heart.rings.shape}")
            heart.wall = _seventeen(value["thickness"]) if value.get("thickness") is not None else []
        else:
            for line, curve in value.items():
                heart.profiles[str(line)] = _curve(line, curve, "restored")
                if "reference" in curve:
                    heart.beside[str(line)] = _curve(line, curve, "reference")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            "A file of the analysis is not what the report expects",
            where=path,
            why=f"{type(error).__name__}: {error}",
            fix="delete it and re-run the analysis",
        ) from error


def _curve(line: str, columns: Any, name: str) -> Curve:
    x, y = np.asarray(columns["mm"], float), np.asarray(columns[name], float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"line '{line}' has {x.shape} places and {y.shape} values")
    return x, y


def _seventeen(values: Any) -> list[float]:
    found = [float("nan") if finite(value) is None else float(value) for value in values]
    if len(found) != 17:
        raise ValueError(f"{len(found)} segments, not 17")
    return found
