"""Sheets of the study `gamma_sr`: which teachers are printed, and the activity that the print holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from senmei.core.errors import ConfigError
from senmei.core.study import Row
from senmei.core.volume import Volume

FAMILIES = ("photographs", "template", "torsos", "heads")


def subjects_of(cohort: Mapping[str, Any]) -> list[Row]:
    """Sources of a cohort's teachers, one a subject: `subject`, `family`. Families take turns, so that all splits
    have some of each; `subjects` takes the first so many. Raises ConfigError where there are not so many.
    """
    from senmei.phantoms.teachers import teachers

    found: dict[str, dict[str, None]] = {family: {} for family in cohort["teachers"]}
    for teacher in teachers():
        family = family_of(teacher.subject, teacher.kind)
        if family in found:
            found[family][teacher.subject] = None
    turns = zip_longest(*([(s, family) for s in names] for family, names in found.items()))
    rows = [
        {"subject": f"sub-{name}", "family": family} for turn in turns for name, family in filter(None, turn)
    ]
    wanted = cohort.get("subjects")
    if wanted is not None and wanted > len(rows):
        raise ConfigError(
            "There are not so many teachers",
            where="cohorts: subjects",
            why=f"{wanted} sources are asked for; {', '.join(found)} have {len(rows)}",
            fix=f"ask for {len(rows)} at most, or name more of {', '.join(FAMILIES)}",
        )
    return rows[:wanted]


def family_of(subject: str, kind: str) -> str:
    """Family of a source: photographs, template, torsos or heads."""
    if kind == "photograph":
        return "photographs"
    return next((f for f in ("torsos", "heads") if subject.startswith(f[:-1])), "template")


def images_of(subject: str, family: str, slices: int) -> list[Row]:
    """Teachers of one source, the first `slices` of them, each a raw image: its name and which it is."""
    from senmei.phantoms.teachers import teachers

    names = [t.name for t in teachers() if f"sub-{t.subject}" == subject][:slices]
    stems = [f"{subject}_run-{n + 1}" for n in range(len(names))] if len(names) > 1 else [subject]
    return [
        {"image": stem, "subject": subject, "repeat": n + 1, "teacher": name, "family": family}
        for n, (stem, name) in enumerate(zip(stems, names, strict=True))
    ]


def print_sheets(images: Sequence[Row], cohort: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Raw roles of one source's sheets: image -> `teacher`, `activity`, `mask`, and columns.

    teacher : (size, size, 1) float32, grey 0..1, 0 on the paper around the print. activity : MBq a pixel at the start
    of the acquisition, grey x `ink_kbq_per_cm2` x area. mask : uint8, the printed area.
    """
    from senmei.phantoms.teachers import load_teacher
    from senmei.physics.planar.sheet import sheet_affine

    size, border, pixel = int(cohort["size"]), int(cohort["border"]), float(cohort["pixel_mm"])
    printed = slice(border, size - border)
    affine = sheet_affine((size, size), pixel)
    mask = np.zeros((size, size, 1), np.uint8)
    mask[printed, printed] = 1
    ink = float(cohort["ink_kbq_per_cm2"]) * 1e-3 * (pixel / 10.0) ** 2  # MBq a pixel of full ink
    made = {}
    for row in images:
        grey = np.zeros((size, size, 1), np.float32)
        grey[printed, printed] = load_teacher(row["teacher"], size - 2 * border, pixel).data
        made[row["image"]] = {
            "teacher": Volume(grey, affine),
            "activity": Volume((grey * ink).astype(np.float32), affine),
            "mask": Volume(mask, affine),
            "columns": {"sheet_mbq": float(grey.sum(dtype=np.float64) * ink)},
        }
    return made
