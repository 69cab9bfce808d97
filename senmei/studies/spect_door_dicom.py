"""DICOM in a clinic's folder: NM acquisitions, and the attenuation maps among its reconstructions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.io.deidentify import tokens
from senmei.studies.spect_doors import Folder, Found, centred, place_of, subject_by_folder

# where the image type does not say so
_MAP_TITLE = re.compile(r"\b(mu|attenuation|ac|u)[ _-]?map\b", re.IGNORECASE)


def find_dicom(root: Path, cohort: Mapping[str, Any], key: bytes) -> Folder:
    """NM images: acquisitions whose description `series:` selects, and attenuation maps."""
    from senmei.io.dicom_nm import list_nm

    try:
        wanted = re.compile(cohort.get("series") or "", re.IGNORECASE)
    except re.error as error:
        raise ConfigError(
            "Cannot select series",
            where=f"series: {cohort['series']}",
            why=str(error),
            fix="write a regular expression, e.g. 'stress|rest'",
        ) from error
    given = _given(cohort)
    listing = list_nm(root, key=key, **given)
    found = Folder([], [(subject, f"image {at}: {why}") for at, subject, why in listing.left], listing.others)
    for series in listing.images:
        title = f"series {series.number} ({series.title})" if series.title else f"series {series.number}"
        if series.kind in ("TOMO", "GATED TOMO"):
            kind = "projections" if wanted.search(series.title) else "not selected by series:"
        elif series.transmission or (series.kind == "RECON TOMO" and _MAP_TITLE.search(series.title)):
            kind = "map"
        else:
            kind = f"image type {series.kind}, no acquisition to reconstruct"

        def load(path: Path = series.path, where: str = title, is_map: bool = kind == "map") -> Any:
            return _read_map(path, where) if is_map else _read(path, where, given)

        folder, name = place_of(root, series.path)
        by_folder = cohort["patients"] == "folder"
        found.images.append(
            Found(
                subject=subject_by_folder(root, series.path, key) if by_folder else series.subject,
                session=series.study,
                kind=kind,
                title=title,
                load=load,
                folder=folder,
                stem=name,
                words=tokens(series.path.relative_to(root).parts),
                frame=series.frame,
            )
        )
    return found


def _given(cohort: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration tells for files that do not."""
    window = cohort["window"]
    levels = None if window == "auto" else (float(window[0]), float(window[1]))
    return {"window": levels, "radius_mm": cohort["radius_mm"]}


def _read(path: Path, where: str, given: Mapping[str, Any]) -> Any:
    from senmei.io.dicom_nm import read_nm

    return read_nm(path, where=where, **given)


def _read_map(path: Path, where: str) -> Volume:
    """The map, in 1/cm, around the scan's own centre: NM files seldom place acquisitions in the patient."""
    from senmei.io.dicom_nm import Reconstruction, attenuation_map

    image = _read(path, where, {})
    if not isinstance(image, Reconstruction):
        raise DataError("Not an attenuation map", where=where, why="it holds no slices", fix="leave it out")
    return centred(attenuation_map(image, where))
