"""Restored SPECT images on their way back: NM DICOM series for a clinic's viewer, or Interfile.

Headers are written anew: a pseudonym, made-up identifiers, no date, and of the file that came in only what stands on a
list (nuclide, agent, collimator, energy window), so there is nothing to take out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError, SenmeiError, of_the_disk
from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.studies.spect_files import measured

_SYNTHETIC = "Synthetic: a simulated patient"


def export_scan(
    scan: Row,
    restored: Any,
    raw: Callable[[str], Any],
    cohort: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, bytes]:
    """Files of one restored scan, see `Study.export`: `.dcm`, or `.h33` and `.i33`.

    restored : (x, y, z) float32, in the unit that inputs have: uptake relative to the patient's mean. DICOM holds it
    in 16 bits with a slope (half a step of 1/65535 of the range at most lost), Interfile exactly. The series of a
    patient share a study; images of one acquisition share a frame of reference.
    Raises DataError naming the scan for what is no image, or holds values that no file may hold.
    """
    if not isinstance(restored, Volume):
        why = f"the method made a {type(restored).__name__}"
        raise DataError(
            "Cannot export a scan", where=scan["scan"], why=why, fix="leave this method out of `export`"
        )
    try:
        if facts["format"] == "interfile":
            return _interfile(scan["scan"], restored)
        return {".dcm": _dicom(scan, restored, raw, cohort, facts)}
    except SenmeiError as error:
        if of_the_disk(error):
            raise
        raise DataError(error.what, where=scan["scan"], why=error.why, fix=error.fix) from error


def series_title(scan: Row, facts: Mapping[str, Any], synthetic: bool) -> str:
    """The series description, 64 characters: method, visit and run, a dose below the whole one, the method's title."""
    restored, dose = facts["family"] != "none", float(scan.get("dose") or 1)
    shown = [str(facts["method"]) if restored else "unrestored"]
    shown += [f"{word} {scan[key]}" for key, word in (("session", "visit"), ("run", "run")) if scan.get(key)]
    shown += [f"{100 * dose:g} % dose"] if dose != 1 else []
    shown += ["synthetic"] if synthetic else []
    return f"{', '.join(shown)}{': ' + str(facts['title']) if restored else ''}"[:64]


def _dicom(
    scan: Row,
    restored: Volume,
    raw: Callable[[str], Any],
    cohort: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> bytes:
    from pydicom.uid import generate_uid

    from senmei.io.dicom_nm_write import reconstruction_to_dicom, to_bytes

    synthetic, keys = not measured(cohort), facts["keys"]
    exposure = (
        f"; {100 * float(scan['dose']):g} % of the acquired counts, thinned"
        if scan.get("dose", 1) != 1
        else ""
    )
    derivation = f"{_SYNTHETIC}. " if synthetic else ""
    dataset = reconstruction_to_dicom(
        restored,
        subject=str(scan["subject"]),
        identity=keys["series"],
        study=keys["subject"],
        series=int(facts["number"]),
        title=series_title(scan, facts, synthetic),
        derivation=f"{derivation}{facts['derivation']}{exposure}. Not for diagnosis.",
        like=_simulated(raw("acquisition")) if synthetic else _told(raw("file_facts")),
    )
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["senmei", "frame", keys["image"]])
    return to_bytes(dataset)


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the acquisition's file told of how it was made; its window without the name that someone gave it."""
    from senmei.io.projections import EnergyWindow

    _, low, high = facts["window"]
    return {
        "windows": (EnergyWindow("photopeak", float(low), float(high)),),
        "nuclide": facts["nuclide"] or "",
        "agent": facts["agent"] or "",
        "collimator": facts["collimator"] or "",
    }


def _simulated(acquisition: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a simulated acquisition: its camera's window; no agent was simulated."""
    from senmei.io.projections import EnergyWindow
    from senmei.physics.spect.geometry import Acquisition

    camera = Acquisition.from_dict(dict(acquisition)).camera
    half = camera.energy_kev * camera.window / 2
    window = EnergyWindow("photopeak", round(camera.energy_kev - half, 3), round(camera.energy_kev + half, 3))
    return {"windows": (window,), "collimator": camera.collimator}


def _interfile(name: str, restored: Volume) -> dict[str, bytes]:
    from senmei.io.interfile_write import write_interfile

    with tempfile.TemporaryDirectory(prefix="senmei-") as folder:
        header = Path(folder) / f"{name}.h33"
        data = write_interfile(header, restored)
        return {".h33": header.read_bytes(), ".i33": data.read_bytes()}
