"""One scan's images on disk, ready to be cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from senmei.core.errors import SenmeiError
from senmei.core.volume import Volume
from senmei.io.tables import Row
from senmei.report import pixels
from senmei.report.files import Role, StudyFiles, finite, reason

NOT_RESTORED = "not restored"


def level_of(row: Row, roles: Iterable[Role]) -> float | None:
    """The level that windows are multiples of: `data_range` of the scan or of one of its roles. None if unknown."""
    found = [finite(columns.get("data_range")) for columns in (row, *(role.columns for role in roles))]
    return next((value for value in found if value), None)


def planted_in(role: Role | None) -> tuple[dict[str, Any], list[str]]:
    """(the defect that the role `heart` of a simulated scan tells of, {} for none; why it cannot be read)."""
    try:
        heart = role.load() if role is not None else {}
    except SenmeiError as error:
        return {}, [f"heart: {reason(error)}."]
    return (heart.get("defect") or {}) if isinstance(heart, dict) else {}, []


class Scan:
    """What is on disk of one scan, on RAS+ grids: `images` name -> Grid, `notes` for what cannot be shown.

    planted : the defect planted into a simulated heart, as the role `heart` has it (`centre_mm`, `segments`).
    """

    def __init__(self, files: StudyFiles, cohort: str, row: Row, methods: list[str]) -> None:
        self.cohort, self.row, self.files = cohort, row, files
        self.images: dict[str, pixels.Grid] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []
        roles = files.roles(cohort, row)
        wanted: dict[str, Any] = {name: roles[name] for name in ("mask", "lesion") if name in roles}
        self.target = next((name for name in ("reference", "others") if name in roles), None)
        if self.target:
            wanted["reference"] = roles[self.target]
        source = roles.get("input") or files.restored(cohort, "input", row)
        if source:
            wanted["input"] = source
        self.methods = [m for m in methods if m != "input"]
        for method in self.methods:
            role = files.restored(cohort, method, row)
            if role is None:
                self.missing[method] = NOT_RESTORED
            else:
                wanted[f"method {method}"] = role
        self.level = level_of(row, wanted.values())
        self.planted, told = planted_in(roles.get("heart"))
        self.notes += told
        for name, role in wanted.items():
            self._load(name, role)
        ours = (row["scan"], row.get("image"))
        told = [
            e["error"] for e in files.table(cohort, "status") if e["status"] == "remark" and e["scan"] in ours
        ]
        told += [r.columns["remark"] for r in wanted.values() if r.columns.get("remark")]
        self.notes += [f"Remark: {text}." for text in dict.fromkeys(told)]

    def _load(self, name: str, role: Any) -> None:
        shown = name.removeprefix("method ")
        try:
            value = role.load()
        except SenmeiError as error:
            self.missing[shown] = reason(error)
            return
        if not isinstance(value, Volume):
            kind = "complex or raw data" if isinstance(value, np.ndarray) else "a table"
            self.missing[shown] = f"{kind}, not an image"
            return
        self.images[name], frame = pixels.to_ras(value)
        if frame is not None and "4D: the middle frame is shown." not in self.notes:
            self.notes.append("4D: the middle frame is shown.")

    @property
    def anchor(self) -> pixels.Grid | None:
        """The image that says where to cut: the reference, else the input, else whatever was restored."""
        names = ["reference", "input", *(f"method {m}" for m in self.methods)]
        return next((self.images[name] for name in names if name in self.images), None)
