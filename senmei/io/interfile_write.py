"""Projections, planar images and volumes -> Interfile 3.3: a header (.h33) and its data (.i33), without identifiers.

Standard keys as X-MedCon and STIR read them; "Radii" of an orbit that is not circular is STIR's. Angles and images
follow the convention "interfile" of `senmei.io.interfile_orbit`, so that `read_interfile` gives back what was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io import nuclear_names
from senmei.io.atomic import atomic_path, write_text
from senmei.io.interfile_data import FORMATS
from senmei.io.projections import EnergyWindow, PlanarImage, Projections

Format = Literal["unsigned integer", "signed integer", "short float", "long float"]
_STEM = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_WHAT = "Cannot write this Interfile"


def write_interfile(
    path: str | os.PathLike[str],
    image: Projections | PlanarImage | Volume,
    *,
    number_format: Format = "short float",
    size: int | None = None,
    byte_order: Literal["little", "big"] = "little",
) -> Path:
    """Write the header to `path` (any suffix but .i33) and the values beside it with .i33; returns the latter.

    number_format, size : how values are stored, 1, 2 or 4 bytes for integers (default 4), 4 or 8 for floats.
    Projections are nested window, gate, view, row, column, which the header says. Data first, header last, each
    atomically. Raises DataError if the numbers do not fit exactly, angles are not equally spaced along the rotation,
    or the volume's axes are not the patient's; StorageError if the disk is full; ValueError for a name that is none.
    """
    header = Path(path)
    data = header.with_suffix(".i33")
    if not _STEM.fullmatch(header.name) or header.suffix in ("", ".i33"):
        raise ValueError(f"{header.name!r} cannot be the name of an Interfile header")
    kind = "".join(number_format.split())
    size = size or (8 if kind == "longfloat" else 4)
    if size not in FORMATS.get(kind, {}):
        raise ValueError(f"{number_format} of {size} bytes is no number of Interfile")
    dtype = np.dtype({"little": "<", "big": ">"}[byte_order] + FORMATS[kind][size])
    if isinstance(image, Projections):
        image.check(header)
        values = image.counts.transpose(0, 1, 4, 3, 2)[..., ::-1, ::-1]  # row 0 head, columns against u
        lines = [
            *_general("Tomographic" if image.gates == 1 else "GSPECT", values),
            *_acquired(header, image),
        ]
    elif isinstance(image, PlanarImage):
        image.check(header)
        values = image.counts
        lines = [*_general("Static", values), *_static(image)]
    else:
        values = _slices(header, image)
        lines = [*_general("Tomographic", values), *_reconstructed(image, values)]
    stored = _exactly(header, values, dtype)
    text = [
        "!INTERFILE :=",
        "!imaging modality := nucmed",
        "!originating system := Senmei",
        "!version of keys := 3.3",
        "!GENERAL DATA :=",
        "!data offset in bytes := 0",
        f"!name of data file := {data.name}",
        "data compression := none",
        "data encode := none",
        "!GENERAL IMAGE DATA :=",
        f"imagedata byte order := {byte_order.upper()}ENDIAN",
        f"!number format := {number_format}",
        f"!number of bytes per pixel := {size}",
        f"!matrix size [1] := {values.shape[-1]}",
        f"!matrix size [2] := {values.shape[-2]}",
        f"maximum pixel count := {_n(values.max())}",
        *lines,
        "!END OF INTERFILE :=",
    ]
    with atomic_path(data) as temporary, open(temporary, "wb") as stream:
        for part in stored.reshape(-1, *stored.shape[-2:]):
            stream.write(part.tobytes())
    write_text(header, "\r\n".join(text) + "\r\n")
    return data


def _general(kind: str, values: np.ndarray) -> list[str]:
    images = int(np.prod(values.shape[:-2]))
    return [f"!type of data := {kind}", f"!total number of images := {images}"]


def _acquired(where: Path, image: Projections) -> list[str]:
    views = image.views
    steps = np.diff(np.unwrap(np.radians(image.angles_deg)))
    step = float(np.degrees(steps.mean())) if views > 1 else 360.0
    if views > 1 and (step <= 0 or np.abs(np.degrees(steps) - step).max() > 1e-3):
        why = "its views are not equally spaced along the rotation, and Interfile 3.3 has only their extent"
        raise DataError(_WHAT, where=where, why=why, fix="write NM DICOM")
    lines = _windows(image.windows, image.nuclide)
    if image.gates > 1:
        lines += [
            "!GATED SPECT STUDY (general) :=",
            "!gated SPECT nesting outer level := GATED",
            f"number of time windows := {image.gates}",
        ]
    lines += [
        "!SPECT STUDY (general) :=",
        "number of detector heads := 1",
        f"!number of images/energy window := {image.gates * views}",
        "!process status := Acquired",
        *_edges(image.pixel_mm, image.pixel_mm),
        f"!number of projections := {views}",
        f"!extent of rotation := {_n(round(step * views, 6))}",
        f"!time per projection (sec) := {_n(image.duration_s)}",
        "patient orientation := head_in",
        "patient rotation := supine",
        *_names(image),
        "!SPECT STUDY (acquired data) :=",
        f"!direction of rotation := {'CW' if image.direction == 'ccw' else 'CCW'}",
        f"start angle := {_n(image.angles_deg[0] % 360.0)}",
        "acquisition mode := stepped",
    ]
    if len(set(image.radius_mm)) == 1:
        return [*lines, "orbit := Circular", f"Radius := {_n(image.radius_mm[0])}"]
    return [*lines, "orbit := Non-circular", f"Radii := {{{', '.join(map(_n, image.radius_mm))}}}"]


def _static(image: PlanarImage) -> list[str]:
    images = image.counts.shape[1]
    row, column = image.pixel_mm
    lines = [
        *_windows(image.windows, image.nuclide),
        "!STATIC STUDY (General) :=",
        f"!number of images/energy window := {images}",
        *_edges(column, row),
        *_names(image),
    ]
    for number, view in enumerate(image.views * len(image.windows), 1):
        lines += [
            "!Static Study (each frame) :=",
            f"!image number := {number}",
            f"image duration (sec) := {_n(image.duration_s)}",
            f"label := {view}",
        ]
    return lines


def _windows(windows: Sequence[EnergyWindow], nuclide: str) -> list[str]:
    lines = [f"number of energy windows := {len(windows)}"]
    for number, window in enumerate(windows, 1):
        lines += [
            f"energy window [{number}] := {nuclear_names.nuclide(nuclide)}",
            f"energy window lower level [{number}] := {_n(window.low_kev)}",
            f"energy window upper level [{number}] := {_n(window.high_kev)}",
        ]
    return [*lines, "flood corrected := Y", "decay corrected := N"]


def _names(image: Projections | PlanarImage) -> list[str]:
    """Only words that are known here: an agent's name may have been typed by someone."""
    return [
        f"isotope name := {nuclear_names.nuclide(image.nuclide)}",
        f"radiopharmaceutical := {nuclear_names.agent(image.agent)}",
        f"collimator := {nuclear_names.collimator(image.collimator)}",
    ]


def _reconstructed(image: Volume, values: np.ndarray) -> list[str]:
    column, row, apart = image.voxel
    return [
        "!SPECT STUDY (general) :=",
        "!process status := Reconstructed",
        *_edges(column, row),
        f"scaling factor (mm/pixel) [3] := {_n(apart)}",
        "patient orientation := head_in",
        "patient rotation := supine",
        "!SPECT STUDY (reconstructed data) :=",
        f"!number of slices := {values.shape[0]}",
        "slice orientation := Transverse",
        f"slice thickness (pixels) := {_n(apart / column)}",
        f"centre-centre slice separation (pixels) := {_n(apart / column)}",
    ]


def _n(number: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(number))


def _edges(column: float, row: float) -> Iterable[str]:
    return (f"scaling factor (mm/pixel) [1] := {_n(column)}", f"scaling factor (mm/pixel) [2] := {_n(row)}")


def _slices(where: Path, image: Volume) -> np.ndarray:
    """(slice, row, column): the first slice is the head, row 0 anterior, column 0 the patient's right."""
    direction = image.affine[:3, :3] / np.array(image.voxel)
    if image.data.ndim != 3 or np.abs(direction - np.eye(3)).max() > 1e-3:
        why = "its axes are not the patient's right, anterior and head, in this order"
        raise DataError(_WHAT, where=where, why=why, fix="resample it onto such a grid first")
    return image.data.transpose(2, 1, 0)[::-1, ::-1, ::-1]


def _exactly(where: Path, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values as `dtype`, or an error if a single one changed."""
    with np.errstate(all="ignore"):
        stored = values.astype(dtype)
        lost = int(np.count_nonzero(~(stored.astype(np.float64) == values)))
    if lost:
        raise DataError(
            _WHAT,
            where=where,
            why=f"{lost} of {values.size} values cannot be stored exactly as {dtype.name}",
            fix="choose another number_format, or more bytes",
        )
    return stored
