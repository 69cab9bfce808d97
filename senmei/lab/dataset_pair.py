"""A pair of a measured image and its teacher, the names that its files have in a dataset, and what makes it sound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.study import is_file_column
from senmei.core.volume import Volume

DERIVATIVES = "derivatives/pairs"
VERSION = 1  # of this layout; another one is not read
SCAN = re.compile(r"(sub-[A-Za-z0-9]{1,64})(_[a-z]{2,16}-[A-Za-z0-9]{1,128}){0,8}")
RESERVED = (
    "scan",
    "image",
    "subject",
    "split",
    "shard",
    "siblings",
    "role",
    "status",
    "sha256",
    "key",
    "error",
)
NAMES = re.compile(r"[a-z][a-z0-9_]{0,63}")  # of columns
# role of a pair -> end of its file's name, below derivatives; `low` and `camera` are the raw image and its sidecar
ENDS = {
    "input": "desc-input_nm",
    "reference": "desc-reference_nm",
    "mask": "desc-printed_mask",
    "expected": "desc-expected_nm",
    "high": "desc-high_nm",
    "teacher": "desc-teacher_grey",
    "activity": "desc-activity_mbq",
}
ROLES = ("low", "camera", *ENDS)
NEEDED = ("low", "camera", "input", "reference", "mask")
_FINE = ("input", "reference", "mask")
_SHEET = ("teacher", "activity")  # on the sheet's own grid, where the reference is on the camera's


@dataclass(frozen=True)
class Pair:
    """A measured image and what it is held against.

    scan : its BIDS stem, which begins with its subject's. roles : `low`, (x, y, 1) counts on the camera's grid,
    `camera`, a dictionary, `reference`, counts per pixel on its own grid, `input` and `mask` on the same, and where
    they are there `teacher` (grey 0..1) and `activity` (MBq) on it too, `expected` and `high` on the camera's.
    columns : all that is known.
    """

    scan: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """`sub-` and a label."""
        return self.scan.split("_")[0]

    def check(self) -> None:
        """Raise DataError for a name that is none, roles that are missing, and grids that do not lie on each other."""
        if not SCAN.fullmatch(self.scan):
            raise self._bad("its name is no BIDS stem: sub-label, then key-label, joined by _", "rename it")
        missing = [r for r in NEEDED if r not in self.roles]
        if missing:
            raise self._bad(
                f"it has no {' and no '.join(missing)}: no pair", "hand on scans that have a teacher"
            )
        low, reference = self.roles["low"], self.roles["reference"]
        for role, plane in self.roles.items():
            if role == "camera":
                continue
            if role not in ROLES:
                raise self._bad(f"a pair has no '{role}'", f"its roles are {', '.join(ROLES)}")
            if not isinstance(plane, Volume) or plane.data.ndim != 3 or plane.shape[2] != 1:
                raise self._bad(f"its {role} is no plane (x, y, 1)", "make the dataset again")
            if not np.isfinite(plane.data).all() or plane.data.min() < 0:
                raise self._bad(f"its {role} holds values below zero or not finite", "make the dataset again")
            grid = reference if role in _FINE else low
            same = plane.shape == grid.shape and np.allclose(plane.affine, grid.affine, atol=1e-3)
            if not (nested(low, plane) if role in _SHEET else same):
                raise self._bad(f"its {role} lies on another grid", "make the dataset again")
        self._check_camera(low, reference)

    def _check_camera(self, low: Volume, reference: Volume) -> None:
        camera = self.roles["camera"]
        factor = camera.get("factor") if isinstance(camera, Mapping) else None
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
            raise self._bad("its camera tells no whole factor", "make the dataset again")
        if nested(low, reference) != factor:
            raise self._bad(
                f"{factor} pixels of its reference do not make one of its image", "make the dataset again"
            )
        for key, value in camera.items():
            number = isinstance(value, int | float) and np.isfinite(value) and 0 <= value <= 1e9
            if not (number or isinstance(value, str) or value is None):
                raise self._bad(f"the '{str(key)[:40]}' of its camera is no number", "make the dataset again")

    def _bad(self, why: str, fix: str) -> DataError:
        return DataError("Cannot use a pair", where=repr(self.scan)[:200], why=why, fix=fix)


def nested(coarse: Volume, fine: Volume) -> int:
    """How many pixels a side of a grid make one of a coarser one that covers the same field; 0 where none do."""
    factor = fine.shape[0] // coarse.shape[0]
    if tuple(n * factor for n in coarse.shape[:2]) != fine.shape[:2] or coarse.data.ndim != fine.data.ndim:
        return 0
    middle, other = (v.affine @ [*((np.array(v.shape[:3]) - 1) / 2), 1.0] for v in (coarse, fine))
    pixels = np.allclose(coarse.voxel[:2], np.multiply(fine.voxel[:2], factor), rtol=1e-3)
    return factor if pixels and np.allclose(middle, other, atol=1e-2) else 0


def places_of(scan: str) -> dict[str, str]:
    """role -> place of its file in a dataset, with `sidecar` for what describes the measured image."""
    subject = scan.split("_")[0]
    raw = f"{subject}/nm/{scan}_nm"
    derived = {role: f"{DERIVATIVES}/{subject}/nm/{scan}_{end}.nii.gz" for role, end in ENDS.items()}
    return {"low": f"{raw}.nii.gz", "sidecar": f"{raw}.json", **derived}


def dicom_place(scan: str, role: str) -> str:
    """Place of a role's DICOM file: of low, teacher or reference."""
    return f"sourcedata/dicom/{scan.split('_')[0]}/{scan}_{role}.dcm"


def kept(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that go into a dataset: not the frame's own, and none that names a file."""
    return {
        k: v for k, v in columns.items() if NAMES.fullmatch(k) and k not in RESERVED and not is_file_column(k)
    }


def is_synthetic(columns: Mapping[str, Any]) -> bool | None:
    """Whether a pair was simulated, as its columns or a table of them tell; None where they do not."""
    return {True: True, "true": True, False: False, "false": False}.get(columns.get("synthetic"))  # type: ignore[arg-type]
