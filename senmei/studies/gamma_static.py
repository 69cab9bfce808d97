"""One scan of a printed sheet: its counts, and what header, table and configuration tell of the acquisition."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senmei.core.errors import DataError
from senmei.core.study import Row
from senmei.core.volume import Volume

if TYPE_CHECKING:
    from senmei.io.projections import PlanarImage

NUCLIDES = ("Tc-99m", "I-123", "Tl-201", "I-131")  # that the planar camera is modelled for
_LEAST = 16  # pixels a side of the image `low`


def take_scan(root: Path, row: Row, where: str, cohort: Mapping[str, Any]) -> Row:
    """Counts of one scan, and what header, table and cohort tell of it. Raises DataError."""
    static = read_static(root, str(row["file"]), where)
    number, several = row.get("number"), static.counts.shape[1]
    if number is None and several > 1:
        why = f"the file holds {several} images, and the table does not say which"
        raise _bad(where, why, "add a column `number`, from 1")
    if not 1 <= (number or 1) <= several:
        raise _bad(
            where, f"image {number} was asked for, and the file holds {several}", "count images from 1"
        )
    nuclide = _one("nuclide", static.nuclide, row, cohort, where)
    collimator = _one("collimator", static.collimator, row, cohort, where)
    seconds = _seconds(static, row, where)
    image = plane_of_static(static, nuclide, (number or 1) - 1, where)
    bins = bin_of(cohort, image.shape[0], image.voxel[0], where)
    told = {name: float(_of(row, cohort, name)) for name in ("distance_mm", "layer_mm")}
    conditions: Row = {"time_s": seconds, "pixel_mm": round(image.voxel[0] * bins, 4)}
    conditions |= {"matrix": image.shape[0] // bins, "nuclide": nuclide, "collimator": collimator, **told}
    return {
        **conditions,
        "start_min": row.get("start_min"),
        "mbq": row.get("mbq"),
        "bin": bins,
        "counts": image,
    }


def read_static(root: Path, name: str, where: str) -> PlanarImage:
    """A static image of the folder. Raises DataError for a place beyond it, and for what is no static image."""
    from senmei.io.dicom_nm import read_nm
    from senmei.io.projections import PlanarImage

    path = root / name
    if os.path.isabs(name) or not os.path.realpath(path).startswith(os.path.realpath(root) + os.sep):
        raise _bad(
            where, "its file lies outside the folder", "put it beside the table, and give its relative path"
        )
    if not path.is_file():
        raise _bad(where, "its file is not there", "correct its name in the column `file`")
    static = read_nm(path, where=where)
    if not isinstance(static, PlanarImage) or static.facts.get("image_type") != "STATIC":
        why = "the file holds no static image"
        raise _bad(where, why, "give the static acquisition of the sheet (image type STATIC)")
    if static.facts.get("lossy"):
        why = "its compression changed the counts (lossy), which are no longer those of a camera"
        raise _bad(where, why, "export the acquisition uncompressed")
    return static


def plane_of_static(static: PlanarImage, nuclide: str, number: int, where: str) -> Volume:
    """Counts (x, y, 1) of one image in the window of the nuclide's photons. Raises DataError unless it is square."""
    from senmei.lab.scans import sheet_images
    from senmei.physics.spect.energy_windows import choose_window

    window = 0 if len(static.windows) == 1 else choose_window(static.windows, nuclide, "auto", where)[0]
    image = sheet_images(static, window)[number]
    if image.shape[0] != image.shape[1]:
        why = f"its matrix of {image.shape[0]} x {image.shape[1]} is not square"
        raise _bad(where, why, "give a static acquisition of the sheet")
    return image


def bin_of(cohort: Mapping[str, Any], matrix: int, pixel_mm: float, where: str) -> int:
    """Camera pixels a side that are added to one of `low`; see the key `bin`. Raises DataError where none can be."""
    if cohort["bin"] != "auto":
        chosen = int(cohort["bin"])
        if matrix % chosen or matrix // chosen < _LEAST:
            why = f"`bin: {chosen}` of the cohort leaves no whole matrix of {_LEAST} or more of its {matrix} pixels"
            raise _bad(where, why, "choose a smaller divisor, or auto")
        return chosen
    finest = 0.9 * float(cohort["layout"]["pixel_mm"]) * int(cohort["factor"])  # a tenth finer is let pass
    divisors = [d for d in range(1, matrix // _LEAST + 1) if matrix % d == 0]
    if not divisors:
        raise _bad(where, f"a matrix of {matrix} is too coarse", "acquire in a matrix of 64 or more")
    return next((d for d in divisors if d * pixel_mm >= finest), divisors[-1])


def _one(name: str, header: str, row: Row, cohort: Mapping[str, Any], where: str) -> str:
    """What the header tells, else the table, else the cohort. Raises DataError where header and table differ."""
    given = row.get(name)
    if header and given and header != given:
        why = f"the table says {name} {given}, the file's header {header}"
        raise _bad(where, why, "correct the table, or look whether it is the right file")
    found = str(header or given or cohort[name])
    if name == "nuclide" and found not in NUCLIDES:
        why = f"its nuclide is {found}, and the camera is modelled for {', '.join(NUCLIDES)}"
        raise _bad(where, why, "leave it out")
    return found


def _seconds(static: PlanarImage, row: Row, where: str) -> float:
    """Length of the acquisition; header and table may differ by 1 %."""
    header, given = float(static.duration_s), row.get("time_s")
    if given is not None and not 0 < given <= 1e6:
        raise _bad(where, f"its time_s is {given:g}", "give seconds above 0, or leave it out")
    if header > 0 and given is not None and abs(given / header - 1.0) > 0.01:
        why = f"the table says {given:g} s, the file's header {header:g} s"
        raise _bad(where, why, "correct the table, or look whether it is the right file")
    if header <= 0 and given is None:
        why = "neither the file nor the table says how long it was acquired"
        raise _bad(where, why, "add a column `time_s`, in seconds")
    return header if header > 0 else float(given or 0)


def _of(row: Row, cohort: Mapping[str, Any], name: str) -> Any:
    return cohort[name] if row.get(name) is None else row[name]


def _bad(where: str, why: str, fix: str) -> DataError:
    return DataError("Cannot use this scan", where=where, why=why, fix=fix)
