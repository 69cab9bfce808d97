"""Restored planar images on their way back: NM DICOM for a clinic's viewer.

Headers are written anew: a pseudonym, made-up identifiers, no date, and of the file that came in only what stands on a
list (nuclide, agent, collimator, energy window, view, duration), so there is nothing to take out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from senmei.core.errors import DataError, SenmeiError, of_the_disk
from senmei.core.study import Row
from senmei.core.volume import Volume

if TYPE_CHECKING:
    from senmei.io.projections import PlanarImage

SIMULATED = "Synthetic: a simulated sheet"
_KINDS = ("STATIC", "WHOLE BODY")


def export_scan(
    scan: Row,
    restored: Any,
    raw: Callable[[str], Any],
    cohort: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, bytes]:
    """`.dcm` of one restored scan, see `Study.export`; {} for another format than dicom.

    restored : (x, y, 1), counts per restored pixel, stored in 16 bits with a slope (half a step of 1/65535 of the range
    at most lost). The series of a patient share a study, those made of one image a frame of reference. Raises DataError
    naming the scan for what is no planar image, or holds values that no file may hold.
    """
    from pydicom.uid import generate_uid

    from senmei.io.dicom_nm_restored import restored_planar_to_dicom
    from senmei.io.dicom_nm_write import to_bytes

    name = str(scan["scan"])
    if facts["format"] != "dicom":
        return {}
    if not isinstance(restored, Volume):
        why = f"the method made a {type(restored).__name__}"
        raise DataError("Cannot export a scan", where=name, why=why, fix="leave this method out of `export`")
    synthetic, keys = cohort["source"] == "simulate", facts["keys"]
    try:
        like = _like(scan, raw)
        kind = str(like.facts.get("image_type") or "")
        dataset = restored_planar_to_dicom(
            restored,
            like,
            name,
            subject=str(scan["subject"]),
            identity=keys["series"],
            kind=kind if kind in _KINDS else "STATIC",
            study=keys["subject"],
            series=int(facts["number"]),
            title=series_title(scan, facts, synthetic),
            derivation=_derivation(scan, facts, synthetic),
        )
    except SenmeiError as error:
        if of_the_disk(error):
            raise
        raise DataError(error.what, where=name, why=error.why, fix=error.fix) from error
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["senmei", "frame", keys["image"]])
    return {".dcm": to_bytes(dataset)}


def series_title(scan: Row, facts: Mapping[str, Any], synthetic: bool) -> str:
    """The series description, 64 characters: method, view, visit and run, the method's title."""
    restored, view = facts["family"] != "none", scan.get("view")
    shown = [str(facts["method"]) if restored else "unrestored"]
    shown += [str(view)] if view and view != "unknown" else []
    shown += [f"{word} {scan[key]}" for key, word in (("session", "visit"), ("run", "run")) if scan.get(key)]
    shown += ["synthetic"] if synthetic else []
    return f"{', '.join(shown)}{': ' + str(facts['title']) if restored else ''}"[:64]


def _derivation(scan: Row, facts: Mapping[str, Any], synthetic: bool) -> str:
    """What was done, what was assumed of the camera, and what the image is not for."""
    parts = [SIMULATED] if synthetic else []
    parts.append(
        str(facts["derivation"]).replace(
            "Reconstructed, not restored", "As counted, spread over finer pixels"
        )
    )
    if scan.get("assumed"):
        parts.append(f"Assumed: {scan['assumed']}")
    return ". ".join([*parts, "Detail finer than the camera's resolution is inferred. Not for diagnosis."])


def _like(scan: Row, raw: Callable[[str], Any]) -> PlanarImage:
    """What is told of the acquisition: by the file that it came from, else by the scan's own columns."""
    import numpy as np

    from senmei.io.projections import EnergyWindow, PlanarImage
    from senmei.physics.planar.nuclides import nuclide

    try:
        told = dict(raw("file_facts"))
    except KeyError:  # of a simulated or printed sheet
        told = {}
    name = str(told.get("nuclide") or scan["nuclide"])
    peak = nuclide(name)
    half = peak.energy_kev * peak.window / 2
    low, high = told.get("window") or (round(peak.energy_kev - half, 3), round(peak.energy_kev + half, 3))
    return PlanarImage(
        counts=np.zeros((1, 1, 1, 1), np.int32),  # those of the restored image take their place
        windows=(EnergyWindow("photopeak", float(low), float(high)),),
        pixel_mm=(1.0, 1.0),
        views=(str(told.get("view") or ""),),
        nuclide=name,
        agent=str(told.get("agent") or ""),
        collimator=str(told.get("collimator") or scan["collimator"]),
        duration_s=float(told.get("duration_s") or scan.get("time_s") or 0.0),
        facts={"image_type": told.get("image_type", ""), "lossy": bool(told.get("lossy"))},
    )
