"""Nuclear-medicine DICOM in: SPECT acquisitions, reconstructions and planar images, in Senmei's frame.

What is read of a file is named in `dicom_nm_header`; nothing else is. Frames are taken as seen from the detector with
the head up: row 0 is the head, column 0 the patient's right in an anterior view; so u = last column - column and
v = last row - row. docs/reference/dicom-nm.md tells what is assumed and what is refused.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from senmei.core.errors import DataError
from senmei.io.deidentify import IDENTIFYING, clean_text, secret_key, subject_label, tokens
from senmei.io.dicom import _files as files_below
from senmei.io.dicom_nm_facts import Facts, check_counts, read_facts, spacing_mm
from senmei.io.dicom_nm_header import PLANAR, TOMO, Header, guarded, open_image, refuse, several, text
from senmei.io.dicom_nm_pixels import check_pixels, read_pixels
from senmei.io.dicom_nm_planar import planar_frames, read_planar
from senmei.io.dicom_nm_recon import (
    Reconstruction,
    attenuation_map,
    check_reconstruction,
    read_reconstruction,
)
from senmei.io.dicom_nm_views import Views, plan_views
from senmei.io.projections import PlanarImage, Projections

__all__ = ["NMListing", "NMSeries", "Reconstruction", "attenuation_map", "list_nm", "read_nm"]

_INT32 = 2**31 - 1
Image = Projections | PlanarImage | Reconstruction


def read_nm(
    path: str | os.PathLike[str],
    *,
    where: str = "a DICOM file",
    window: tuple[float, float] | None = None,
    radius_mm: float | None = None,
) -> Image:
    """The image in a nuclear-medicine DICOM file.

    where : what errors call the file (a subject's label): its name may be a patient's. window : lower and upper level
    in keV, and radius_mm : of the orbit, both only used where the file does not say.
    Raises DataError for whatever cannot be used, saying why; no error holds text of the file.
    """
    header = open_image(path, where)
    with guarded(where):
        facts = read_facts(header, window)
        if header.kind in TOMO:
            return _projections(header, plan_views(header, radius_mm), facts)
        if header.kind in PLANAR:
            return read_planar(header, facts)
        return read_reconstruction(header, facts)


def _check(header: Header, window: tuple[float, float] | None, radius_mm: float | None) -> Facts:
    """Raise what `read_nm` would raise about the header, without reading pixels."""
    facts = read_facts(header, window)
    check_pixels(header)
    if header.kind in TOMO:
        check_counts(header)
        spacing_mm(header, square=True)
        plan_views(header, radius_mm)
    elif header.kind in PLANAR:
        spacing_mm(header)
        planar_frames(header)
    else:
        check_reconstruction(header)
    return facts


def _projections(header: Header, views: Views, facts: Facts) -> Projections:
    check_counts(header)
    spacing = spacing_mm(header, square=True)
    frames = read_pixels(header)
    members = views.index.shape[3]
    if int(frames.max()) * members > _INT32:
        refuse(header.where, "it holds more counts in a pixel than any acquisition")
    counts = frames[views.index[..., 0]].astype(np.int32)  # window, gate, view, row, column
    for member in range(1, members):
        counts += frames[views.index[..., member]]
    if not views.turned:
        counts = counts[..., ::-1, ::-1]
    found = Projections(
        counts=np.ascontiguousarray(counts.transpose(0, 1, 4, 3, 2)),
        windows=facts.windows,
        pixel_mm=spacing[0],
        angles_deg=views.orbit.theta_deg,
        direction=views.orbit.direction,
        radius_mm=views.radius_mm,
        nuclide=facts.nuclide,
        agent=facts.agent,
        collimator=facts.collimator,
        duration_s=views.duration_s,
        facts={"image_type": header.kind, **facts.more, **views.facts},
    )
    found.check(header.where)
    return found


@dataclass(frozen=True)
class NMSeries:
    """One image of a folder, by what may be told of it. A nuclear-medicine image is one file, whatever its frames.

    subject : pseudonym. study : pseudonym of the study, the same for all images of one visit. kind : as in the image
    type ("TOMO", "RECON TOMO", ...). title : the series description without identifying words. transmission : an
    attenuation map. windows : lower and upper levels in keV. gates : 1 where not gated. number : of the series.
    path : of the file; it may hold a patient's name, so it is not shown. frame : pseudonym of the frame of reference,
    the same for images that lie in one space; "" where the file names none.
    """

    subject: str
    study: str
    kind: str
    title: str
    transmission: bool
    frames: int
    rows: int
    columns: int
    windows: tuple[tuple[float, float], ...]
    gates: int
    nuclide: str
    number: int
    path: Path = field(repr=False)
    frame: str = ""


@dataclass(frozen=True)
class NMListing:
    """What a folder holds. left : (number of the file in sorted order, subject or "", why) of images that cannot be
    used. others : files that are no nuclear-medicine images, by reason.
    """

    images: list[NMSeries]
    left: list[tuple[int, str, str]]
    others: Counter[str]


def list_nm(
    folder: str | os.PathLike[str],
    *,
    key: bytes | None = None,
    window: tuple[float, float] | None = None,
    radius_mm: float | None = None,
) -> NMListing:
    """All nuclear-medicine images below `folder`, sorted by subject, study and series number; reads no pixels.

    key : of the subjects' labels (`secret_key` by default). window, radius_mm : as in `read_nm`. A file that is there
    twice (same SOPInstanceUID) is taken once. Raises DataError if there is no such folder.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        why = "it is not a folder" if root.exists() else "there is no such folder"
        raise DataError(
            "Cannot list DICOM files", where=root, why=why, fix="give the folder that holds the images"
        )
    key = secret_key() if key is None else key
    images: list[tuple[tuple[str, str, int, int], NMSeries]] = []
    left: list[tuple[int, str, str]] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for at, path in enumerate(files_below(root, others), 1):
        where = f"file {at} of the folder"
        subject = ""
        try:
            header = open_image(path, where)
            with guarded(where):
                instance, subject, order, made = _describe(header, key)
                if instance in seen:
                    others["the same image once more"] += 1
                    continue
                facts = _check(header, window, radius_mm)
                seen.add(instance)  # a damaged copy must not stand in the way of a whole one
        except DataError as error:
            if subject:
                left.append((at, subject, error.why))
            else:
                others[error.why] += 1
            continue
        levels = tuple((w.low_kev, w.high_kev) for w in facts.windows)
        series = NMSeries(**made, windows=levels, nuclide=facts.nuclide, path=path)
        images.append(((*order, at), series))
    return NMListing([series for _, series in sorted(images, key=lambda pair: pair[0])], left, others)


def _describe(header: Header, key: bytes) -> tuple[str, str, tuple[str, str, int], dict]:
    """Instance, subject's label, order among others, and what an NMSeries tells that needs no further check."""
    data = header.data
    study = text(data, "StudyInstanceUID") or text(data, "SeriesInstanceUID") or header.where
    identity = text(data, "PatientID") or text(data, "PatientName") or study
    subject = subject_label(identity, key)
    words = tokens(" ".join(map(str, several(data, name))) for name in IDENTIFYING)
    frame = text(data, "FrameOfReferenceUID")
    title = text(data, "SeriesDescription") or text(data, "ProtocolName")
    number = int(float(text(data, "SeriesNumber") or 0))
    slots = header.vectors.get("TimeSlot", np.ones(1, int))
    made = {
        "subject": subject,
        "study": subject_label(study, key).removeprefix("sub-"),
        "frame": subject_label(frame, key).removeprefix("sub-") if frame else "",
        "kind": header.kind,
        "title": clean_text(title, words),
        "transmission": header.transmission,
        "frames": header.frames,
        "rows": header.rows,
        "columns": header.columns,
        "gates": len(np.unique(slots)),
        "number": number if 0 <= number < 2**31 else 0,
    }
    instance = text(data, "SOPInstanceUID") or header.where
    when = text(data, "StudyDate") + text(data, "StudyTime")
    return instance, subject, (subject, when + study, number), made
