"""Interfile 3.3 files -> SPECT projections, planar images or a volume in Senmei's frame.

What the format leaves open, and how it is taken here, stands in `senmei.io.interfile_orbit`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from senmei.core.volume import Volume
from senmei.io import nuclear_names
from senmei.io.interfile_data import read_data
from senmei.io.interfile_header import WHERE, InterfileHeader, fold, parse_header, read_header
from senmei.io.interfile_orbit import CONVENTIONS, MAX_PARTS, MAX_VIEWS, Convention, count, distances, orbit
from senmei.io.interfile_write import write_interfile
from senmei.io.projections import EnergyWindow, PlanarImage, Projections, along_orbit

__all__ = [
    "CONVENTIONS",
    "Convention",
    "parse_header",
    "read_data",
    "read_header",
    "read_interfile",
    "write_interfile",
]


def read_interfile(
    path: str | os.PathLike[str],
    *,
    where: object = WHERE,
    convention: Convention | str = "interfile",
    radius_mm: float | None = None,
    windows: Sequence[EnergyWindow] | None = None,
    byte_order: str | None = None,
    shared: bool = False,
) -> Projections | PlanarImage | Volume:
    """Read the study whose header is at `path`; its data lie beside it.

    Gives Projections (acquired tomographic and gated SPECT; several windows, gates, heads), a PlanarImage (static),
    or a Volume (reconstructed, attenuation maps; float32, unit as stored).

    where : what messages call the study: a subject's label, not a clinic's file name. convention : a `Convention` or
    a name in CONVENTIONS. radius_mm, windows : used where the file tells no radius or no energies.
    byte_order, shared : as in `read_data`. Raises DataError, which says what is missing, wrong or contradictory.
    """
    header = read_header(path, where=where)
    if convention == "interfile" and "simind" in header.text("originating system").lower():
        convention = "simind"
    told = CONVENTIONS[convention] if isinstance(convention, str) else convention
    kind = _kind(header)
    if kind == "volume":
        return _volume(header, path, told, byte_order, shared)
    if kind == "static":
        return _planar(header, path, told, windows, byte_order, shared)
    return _projections(header, path, told, radius_mm, windows, byte_order, shared)


def _kind(header: InterfileHeader) -> Literal["volume", "static", "tomographic"]:
    kind = header.text("type of data").lower().replace(" ", "")
    status = header.text("process status").lower()
    if status == "reconstructed" or (
        not header.all("number of projections") and header.all("matrix size [3]")
    ):
        return "volume"
    if kind in ("static", "wholebody"):
        return "static"
    if kind in ("tomographic", "gspect", "gatedspect", "gatedtomographic") or (
        kind == "gated" and header.all("number of projections")
    ):
        return "tomographic"
    header.refuse(
        "'type of data' is missing or is not read here",
        "give a tomographic, gated tomographic, static or reconstructed study",
    )


def _projections(
    header: InterfileHeader,
    path: str | os.PathLike[str],
    convention: Convention,
    radius_mm: float | None,
    given: Sequence[EnergyWindow] | None,
    byte_order: str | None,
    shared: bool,
) -> Projections:
    assumed: list[str] = []
    energies = _windows(header, given)
    gates = count(header, "number of time windows", MAX_PARTS)
    angles, views, direction = orbit(header, convention, assumed)
    images = len(energies) * gates * sum(views)
    _check_total(header, len(energies), gates, views)
    pixel = _pixels(header)
    if abs(pixel[0] - pixel[1]) > 0.001 * pixel[0]:
        header.refuse(f"its bins are {pixel[1]:g} x {pixel[0]:g} mm; projections need square ones")
    radii = distances(header, sum(views), radius_mm, assumed)
    data = read_data(header, path, images, byte_order=byte_order, shared=shared)
    data = _gates_first(header, data, len(energies), gates, views)  # (window, gate, view, row, column)
    order = along_orbit(angles)
    counts = _flip(data[:, :, order], convention).transpose(0, 1, 4, 3, 2)
    assumed.append("rows and columns as seen from the detector, head up")
    duration = header.number("time per projection (sec)")  # STIR's "image duration" is of all views
    result = Projections(
        counts=np.ascontiguousarray(counts),
        windows=energies,
        pixel_mm=pixel[1],
        angles_deg=tuple(angles[i] for i in order),
        direction=direction,
        radius_mm=tuple(radii[i] for i in order),
        duration_s=duration or 0.0,
        **_names(header),
        facts={**_facts(header), "heads": len(views), "assumed": assumed},
    )
    result.check(header.where)
    return result


def _planar(
    header: InterfileHeader,
    path: str | os.PathLike[str],
    convention: Convention,
    given: Sequence[EnergyWindow] | None,
    byte_order: str | None,
    shared: bool,
) -> PlanarImage:
    energies = _windows(header, given)
    each = header.integer("number of images/energy window", "number of images/window")
    total = header.integer("total number of images")
    images = each or (total or 1) // len(energies)
    if not 0 < images <= MAX_VIEWS or (total and total != images * len(energies)):
        header.refuse(f"{total} images in all, {images} a window and {len(energies)} windows do not fit")
    for key in ("matrix size [1]", "matrix size [2]", "number of bytes per pixel"):
        if len(set(header.numbers(key))) > 1:
            header.refuse(f"its images differ in '{key}'; images of one file must be alike")
    pixel = _pixels(header)
    data = read_data(header, path, images * len(energies), byte_order=byte_order, shared=shared)
    data = _flip(data, convention)[:, ::-1, ::-1]  # as stored, unless the convention says otherwise
    result = PlanarImage(
        counts=np.ascontiguousarray(data).reshape(len(energies), images, *data.shape[1:]),
        windows=energies,
        pixel_mm=pixel,
        views=_views(header, images),
        duration_s=header.number("image duration (sec)", "image duration (sec) [1]") or 0.0,
        **_names(header),
        facts={**_facts(header), "assumed": ["rows and columns as seen from the detector, head up"]},
    )
    result.check(header.where)
    return result


def _views(header: InterfileHeader, images: int) -> tuple[str, ...]:
    """What the labels of the first window's images say, in their order."""
    views, number = [""] * images, 0
    for key, value in header.live:
        if key == fold("image number"):
            number += 1
        elif key == "label" and number <= images:
            text = value.lower()
            views[max(0, number - 1)] = "anterior" if "ant" in text else "posterior" if "post" in text else ""
    return tuple(views)


def _volume(
    header: InterfileHeader,
    path: str | os.PathLike[str],
    convention: Convention,
    byte_order: str | None,
    shared: bool,
) -> Volume:
    if header.text("slice orientation").lower() not in ("", "transverse"):
        header.refuse("its slices are not transverse", "export transverse slices")
    if (count(header, "number of energy windows", MAX_PARTS)) > 1:
        header.refuse("it holds volumes of several energy windows", "export one window at a time")
    slices = header.integer("number of slices", "matrix size [3]", "total number of images")
    if not slices:
        header.refuse("'number of slices' is missing or 0")
    row, column = _pixels(header)
    apart = header.number("scaling factor (mm/pixel) [3]")
    if apart is None:
        pixels = header.number("centre-centre slice separation (pixels)", "slice thickness (pixels)")
        if pixels is None:
            header.refuse("it does not say how far its slices are apart ('scaling factor (mm/pixel) [3]')")
        apart = pixels * column
    if not all(0.02 <= edge <= 100 for edge in (column, row, apart)):
        header.refuse(f"voxels of {column:g} x {row:g} x {apart:g} mm cannot be")
    data = read_data(header, path, slices, counts=False, byte_order=byte_order, shared=shared)
    data = data.astype(np.float32, copy=False)  # (slice, row, column)
    if convention.slices == "head":
        data = data[::-1]
    data = data[:, ::-1]  # row 0 is anterior, high y
    if convention.columns == "detector":
        data = data[:, :, ::-1]  # column 0 is the patient's right, high x
    data = np.ascontiguousarray(data.transpose(2, 1, 0))
    affine = np.diag([column, row, apart, 1.0])
    affine[:3, 3] = -(np.array(data.shape) - 1) / 2 * np.diag(affine)[:3]
    return Volume(data, affine)


def _flip(data: np.ndarray, convention: Convention) -> np.ndarray:
    """(..., row, column) as stored -> row growing towards the head, column growing along u."""
    if convention.rows == "head":
        data = data[..., ::-1, :]
    return data[..., ::-1] if convention.columns == "detector" else data


def _windows(header: InterfileHeader, given: Sequence[EnergyWindow] | None) -> tuple[EnergyWindow, ...]:
    number = count(header, "number of energy windows", MAX_PARTS)
    if number == 1:
        number = count(header, "number of windows", MAX_PARTS)
    result: list[EnergyWindow] = []
    for i in range(1, number + 1):
        levels: list[float | None] = []
        for end in ("lower", "upper"):
            keys = [
                f"energy window {end} level [{i}]",
                *([f"energy window {end} level"] if number == 1 else []),
            ]
            levels.append(header.number(*keys, comments=True))
        low, high = levels
        if low is None or high is None:
            if given is not None and len(given) == number:
                return tuple(given)
            header.refuse(
                f"it does not tell the levels of energy window {i} ('energy window lower level [{i}]')",
                "add the levels in keV to the header, or give the windows in the configuration",
            )
        result.append(EnergyWindow(f"window {i}", low, high))
    return tuple(result)


def _check_total(header: InterfileHeader, windows: int, gates: int, views: Sequence[int]) -> None:
    each = gates * sum(views)
    made = f"{windows} windows x {gates} gates x {sum(views)} views = {windows * each}"
    total = header.integer("total number of images")
    if total and total != windows * each:
        lost = ": views or gated frames are missing" if total < windows * each else ""
        header.refuse(f"'total number of images' is {total}, its other keys make {made}{lost}")
    told = header.integer("number of images/energy window", "number of images/window")
    if told and told not in (
        each,
        gates * views[0],
        sum(views),
        views[0],
    ):  # of all heads, or of each; of all gates
        header.refuse(f"'number of images/energy window' is {told}, its other keys make {made}")


def _gates_first(
    header: InterfileHeader, data: np.ndarray, windows: int, gates: int, views: Sequence[int]
) -> np.ndarray:
    """(image, row, column) in the file's order -> (window, gate, view, row, column)."""
    size = data.shape[1:]
    if gates == 1:
        return data.reshape(windows, 1, sum(views), *size)
    nesting = header.text("gated SPECT nesting outer level").lower()
    if nesting in ("gated", "time", "timewindow", "time window"):
        return data.reshape(windows, gates, sum(views), *size)
    if nesting == "spect":
        return data.reshape(windows, sum(views), gates, *size).swapaxes(1, 2)
    header.refuse(
        "'gated SPECT nesting outer level' is missing or neither GATED nor SPECT",
        "say in the header whether gates (GATED) or views (SPECT) are the outer loop",
    )


def _pixels(header: InterfileHeader) -> tuple[float, float]:
    """(row spacing, column spacing), mm."""
    column = header.number("scaling factor (mm/pixel) [1]")
    row = header.number("scaling factor (mm/pixel) [2]")
    row, column = (column if row is None else row), (row if column is None else column)
    if not row or not column or row < 0 or column < 0:
        header.refuse("'scaling factor (mm/pixel) [1]' is missing or not above 0")
    return row, column


def _names(header: InterfileHeader) -> dict[str, str]:
    isotope = header.text("isotope name", "isotope", "radionuclide", "radionuclide [1]", comments=True)
    window = header.text("energy window [1]", "energy window")
    drug = header.text("radiopharmaceutical", "radiopharmaceutical [1]", comments=True)
    return {
        "nuclide": nuclear_names.nuclide(isotope) or nuclear_names.nuclide(window),
        "agent": nuclear_names.agent(drug) or nuclear_names.agent(isotope),
        "collimator": nuclear_names.collimator(header.text("collimator", "collimator type", comments=True)),
    }


def _facts(header: InterfileHeader) -> dict[str, Any]:
    """Numbers of the header under names of ours."""
    facts: dict[str, Any] = {"format": "Interfile"}
    for name, key in (
        ("rotation_extent_deg", "extent of rotation"),
        ("study_duration_s", "study duration (sec)"),
        ("calibration_factor", "calibration factor"),
        ("cardiac_cycles", "number of cardiac cycles (observed)"),
    ):
        if (number := header.number(key)) is not None:
            facts[name] = number
    facts["simulated"] = "simind" in header.text("originating system").lower()
    return facts
