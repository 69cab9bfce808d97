"""README and LICENSE of a dataset: what it is, whose pictures they are, and where it leaves BIDS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from senmei.lab.dataset_pair import is_synthetic

if TYPE_CHECKING:
    from senmei.lab.dataset import About

NOT_KNOWN = "not known"
# name (as SPDX has it) -> (title, where its text is)
LICENCES = {
    "CC0-1.0": ("Creative Commons CC0 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/legalcode"),
    "CC-BY-4.0": ("Creative Commons Attribution 4.0 International", "https://creativecommons.org/licenses/by/4.0/legalcode"),
    "CC-BY-SA-4.0": (
        "Creative Commons Attribution-ShareAlike 4.0 International",
        "https://creativecommons.org/licenses/by-sa/4.0/legalcode",
    ),
    "CC-BY-NC-4.0": (
        "Creative Commons Attribution-NonCommercial 4.0 International",
        "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
    ),
    "PDDL-1.0": ("Open Data Commons Public Domain Dedication and License v1.0", "https://opendatacommons.org/licenses/pddl/1-0/"),
    "ODC-By-1.0": ("Open Data Commons Attribution License v1.0", "https://opendatacommons.org/licenses/by/1-0/"),
}  # fmt: skip


def all_synthetic(rows: Sequence[Mapping[str, Any]]) -> bool | None:
    """True where all pairs were simulated, False where none was, None where it is mixed or not told."""
    values = {is_synthetic(row) for row in rows}
    return values.pop() if len(values) == 1 else None


def sources(rows: Sequence[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """(source, licence) of the printed pictures -> how many."""
    pictures = {}
    for row in rows:
        name = str(row.get("teacher") or row.get("source_image") or row.get("filename"))
        found = (row.get("teacher_source") or NOT_KNOWN, row.get("teacher_licence") or NOT_KNOWN)
        pictures[name] = (str(found[0]), str(found[1]))
    return Counter(pictures.values())


def licence_text(name: str, text: str) -> str:
    """LICENSE: the text that was given, or where that of a known licence is."""
    if text.strip():
        return text if text.endswith("\n") else text + "\n"
    title, place = LICENCES[name]
    return f"This dataset is licensed under {title} ({name}).\nIts text: {place}\n\n{_TEACHERS}\n"


_TEACHERS = (
    "The printed pictures have sources and licences of their own, which this licence does not change; see README and\n"
    "the columns teacher_source and teacher_licence of the tables of scans."
)


def readme(about: About, people: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    """README: what this is, how it is laid out, whose pictures they are, and where it leaves BIDS."""
    kind = {
        "True": "Synthetic: sheets and camera were simulated.",
        "False": "Sheets were printed and measured.",
    }
    splits = Counter(str(row.get("split") or "none") for row in people)
    told = [about.name, "=" * len(about.name), ""]
    mixed = "Simulated and measured pairs, or not told: see the column synthetic."
    told += [kind.get(str(all_synthetic(rows)), mixed), ""]
    told += [line for text in about.made for line in [*wrap(" ".join(text.split()), 110), ""]]
    told += [
        f"{len(rows)} pairs of {len(people)} sources ({', '.join(f'{k}: {n}' for k, n in sorted(splits.items()))}).",
        f"Licence: {about.licence}, see LICENSE. Authors: {', '.join(about.authors) or 'not told'}.",
        *([f"Please acknowledge: {' '.join(about.acknowledge.split())}"] if about.acknowledge else []),
        "",
        _LAYOUT,
        "Printed pictures, by source and licence",
        "---------------------------------------",
        *(f"- {n}: {source}; licence: {licence}" for (source, licence), n in sorted(sources(rows).items())),
        "",
    ]
    if any(licence in (NOT_KNOWN, "") for _, licence in sources(rows)):
        told += ["Where the licence is not known, ask the source before the pictures are passed on.", ""]
    return "\n".join([*told, _DEVIATIONS])


_LAYOUT = """\
Layout
------
sub-x/nm/{scan}_nm.nii.gz    counts on the camera's grid: x to the right, y up as seen from the camera, mm
sub-x/nm/{scan}_nm.json      how they were measured; null where it is not known
sub-x/sub-x_scans.tsv        conditions of each scan, described in scans.json
derivatives/pairs/sub-x/nm/  of each scan, on the grid of the teacher's pixels but for `expected` and `high`:
  desc-reference             the teacher in counts per pixel: what the measured image is held against; or, where the
                             column `restore` says collimator, what another collimator would show without noise
  desc-teacher               the printed picture, grey 0 to 1, registered to the image
  desc-printed_mask          the printed area
  desc-activity              MBq per pixel when the acquisition started (simulated pairs)
  desc-input                 the measured counts, spread evenly over the reference's pixels
  desc-expected              counts without noise (simulated pairs)
  desc-high                  the same sheet through another collimator
sourcedata/dicom/sub-x/      measured image, teacher and reference as NM STATIC images that name each other
SHA256SUMS                   check with: sha256sum -c SHA256SUMS
"""

_DEVIATIONS = """\
Where this leaves BIDS
----------------------
- Planar nuclear medicine is no part of BIDS: the folder `nm`, the suffix `nm` and the fields of its sidecars are ours
  (TracerRadionuclide and Units are PET-BIDS's). `.bidsignore` names them.
  The BIDS validator then finds no error in this folder, nor in derivatives/pairs by itself; from here with --recursive
  it does not read the second `.bidsignore`.
- A participant is a source of pictures, not a person. Images are planes (x, y, 1).
- Names have `acq` last, whatever the other entities. `PairsVersion`, `Synthetic` and SHA256SUMS are ours.
"""
