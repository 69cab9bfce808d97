"""A pair as DICOM: measured image, teacher and reference, NM STATIC, in one study and one space, naming each other."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.lab.dataset_pair import is_synthetic

if TYPE_CHECKING:
    from senmei.io.projections import EnergyWindow
    from senmei.lab.dataset import Pair

ROLES = {"low": "counts", "teacher": "grey", "reference": "counts"}  # -> unit
_TITLES = {"low": "measured", "teacher": "teacher", "reference": "reference"}


def pair_dicom(pair: Pair, low_sha256: str, reference_sha256: str) -> dict[str, bytes]:
    """role -> file, of `low`, `reference` and, where there is one, `teacher`.

    Patient, study and equipment are made up; every identifier follows from the pair's name and content, so that the
    same pair gives the same bytes and another content other identifiers. Teachers are no emission images, yet they are
    written as such, derived: the object lets them lie in the measured image's frame of reference, which a secondary
    capture has no place for. Raises DataError for a nuclide or values that cannot be written.
    """
    from senmei.io.dicom_nm_sheet import link, sheet_to_dicom
    from senmei.io.dicom_nm_write import to_bytes

    told, identity = pair.columns, _digits("pair", pair.scan, low_sha256, reference_sha256)
    synthetic = bool(is_synthetic(told))
    made = {
        "low": f"Counts of {'a simulated' if synthetic else 'a'} camera, of a printed sheet",
        "teacher": "Printed picture, grey from 0 to 1, registered to the measured image",
        "reference": "Printed picture in counts per pixel, paired with the measured image",
    }
    if told.get("restore") == "collimator":
        made["reference"] = (
            f"What collimator {told.get('reference_collimator')} would show of the sheet, without noise"
        )
    found = {}
    for series, role in enumerate((r for r in ROLES if r in pair.roles), 1):
        labels: dict[str, Any] = {
            "subject": pair.subject,
            "identity": _digits(role, identity),
            "study": identity,
            "series": series,
            "title": _TITLES[role] + (", synthetic" if synthetic else ""),
            "derivation": f"{'Synthetic. ' if synthetic else ''}{made[role]}. A sheet, no patient. Not for diagnosis.",
        }
        found[role] = sheet_to_dicom(
            pair.roles[role],
            ROLES[role],
            _window(str(told.get("nuclide") or "")),
            labels=labels,
            nuclide=str(told.get("nuclide") or ""),
            collimator=str(told.get("collimator") or ""),
            duration_s=float(told.get("time_s") or 0.0) if role == "low" else 0.0,
        )
    link(list(found.values()))
    return {role: to_bytes(data) for role, data in found.items()}


def same_as_dicom(plane: Volume, path: Path | str, *, unit: str) -> None:
    """Raise DataError unless a DICOM file holds this plane: its geometry, and its values to half a step of 16 bits."""
    from senmei.io.dicom_nm_sheet import sheet_from_dicom

    name = Path(path).name
    read = sheet_from_dicom(path, name)
    values = np.asarray(plane.data, np.float64)
    whole = unit == "counts" and np.array_equal(values, np.rint(values))
    step = 0.0 if whole else float(values.max()) / 65535 * 0.51
    if read.shape != plane.shape or not np.allclose(
        read.affine[:3, [0, 1, 3]], plane.affine[:3, [0, 1, 3]], atol=1e-3
    ):
        raise _differs(name, "its grid is another one")
    if np.abs(read.data.astype(np.float64) - values).max() > step:
        raise _differs(name, "its values are others")


def _differs(where: str, why: str) -> DataError:
    return DataError("DICOM and NIfTI of a pair differ", where=where, why=why, fix="export the dataset again")


def _window(name: str) -> EnergyWindow:
    """The photopeak window of a nuclide. Raises DataError for one without."""
    from senmei.io.projections import EnergyWindow
    from senmei.physics.planar.nuclides import NUCLIDES

    if name not in NUCLIDES:
        why = "a nuclear-medicine image has an energy window, and that of this nuclide is not known"
        fix = f"name the nuclide ({', '.join(NUCLIDES)}), or set `dicom: false`"
        raise DataError("Cannot write a pair to DICOM", where=repr(name)[:60], why=why, fix=fix)
    nuclide = NUCLIDES[name]
    half = nuclide.energy_kev * nuclide.window / 2
    return EnergyWindow("photopeak", round(nuclide.energy_kev - half, 3), round(nuclide.energy_kev + half, 3))


def _digits(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
