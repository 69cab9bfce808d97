"""What SIMIND leaves behind: projections (.h00 header, .a00 values) and its protocol (.res), of releases 6.2 to 9.

Projections of the routine SCATTWIN are `<output>_<part>_w<n>`, parts `tot`, `sca`, `air` and in some releases `pri`,
as float32 (view, row, column) in counts per second and MBq. Headers differ: radius and collimator are in cm up to
release 7 and in mm from 8 on, though sources disagree on the radius, so that one above 120 is taken as mm and any other
as cm; keys needed here stand in comments (";energy window lower level"), some twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from senmei.core.errors import EngineError
from senmei.io.interfile_data import layout
from senmei.io.interfile_header import InterfileHeader, read_header

PARTS = ("tot", "sca", "air", "pri")
_VERSION = re.compile(r"v?[ \t]*(\d{1,4}(?:\.\d{1,4}){1,4})(?!\d)", re.IGNORECASE)
_NUMBER = r"([-+]?\d{1,20}(?:\.\d{0,20})?(?:[Ee][-+]?\d{1,2})?)(?![\d.])"
_RADIUS_MM = 120.0  # a torso needs more than 12 cm, and no camera stands 1.2 m off
_MOST = 1 << 20  # bytes of a protocol


@dataclass(frozen=True)
class Header:
    """A projection header, lengths in mm: what SIMIND says it simulated."""

    version: tuple[int, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel_mm: tuple[float, float]
    window_kev: tuple[float, float]
    arc_deg: float
    start_deg: float
    direction: str
    radius_mm: float | None
    orbit: str
    nuclide: str
    collimator: str
    hole_mm: tuple[float, float, float] | None
    energy_kev: float | None


def parse_version(text: str) -> tuple[int, ...]:
    """(7, 0, 3) of "V7.0.3"; () where it tells none."""
    match = _VERSION.search(text)
    return tuple(int(n) for n in match[1].split(".")) if match else ()


def read_projection_header(path: Path, *, where: object) -> Header:
    """The header of one of SIMIND's projection files. Raises DataError."""
    return interpret(read_header(path, where=where))


def interpret(header: InterfileHeader) -> Header:
    """A parsed header in SIMIND's meaning. Raises DataError where something is missing or cannot be."""
    version = parse_version(header.text("program version", comments=True))
    if not version:
        header.refuse("it does not tell which release of SIMIND wrote it")
    stored = layout(header)
    views = header.integer("number of projections", "total number of images", comments=True)
    if not views:
        header.refuse("'number of projections' is missing")
    pixel = [header.number(f"scaling factor (mm/pixel) [{n}]", comments=True) for n in (1, 2)]
    window = [header.number(f"energy window {end} level", comments=True) for end in ("lower", "upper")]
    if None in pixel or None in window:
        header.refuse("its pixel size or its energy window is missing")
    direction = header.text("direction of rotation", comments=True).upper()
    if direction not in ("CW", "CCW"):
        header.refuse("'direction of rotation' is neither CW nor CCW")
    radius = header.number("radius", comments=True)
    if radius is not None and radius <= _RADIUS_MM:
        radius *= 10
    unit = 1.0 if version[0] >= 8 else 10.0
    names = ("collimator hole diameter", "collimator hole septa", "collimator thickness")
    holes = [header.number(name, comments=True) for name in names]
    lengths = tuple(unit * n for n in holes if n is not None)
    return Header(
        version=version,
        shape=(views, stored.rows, stored.columns),
        dtype=stored.dtype,
        pixel_mm=(float(pixel[0] or 0), float(pixel[1] or 0)),
        window_kev=(float(window[0] or 0), float(window[1] or 0)),
        arc_deg=header.number("extent of rotation", comments=True) or 360.0,
        start_deg=header.number("start angle", comments=True) or 0.0,
        direction=direction,
        radius_mm=radius,
        orbit=header.text("orbit", comments=True).lower() or "circular",
        nuclide=header.text("radionuclide", comments=True).lower(),
        collimator=header.text("collimator", comments=True).lower(),
        hole_mm=(lengths[0], lengths[1], lengths[2]) if len(lengths) == 3 else None,
        energy_kev=header.number("simind: photon energy", comments=True),
    )


def read_values(path: Path, header: Header, *, where: object) -> np.ndarray:
    """(view, row, column) float32 of a projection file. Raises EngineError if it is short, long or damaged."""
    if not path.is_file():
        raise _bad(where, f"{path.name} is missing")
    wanted = math.prod(header.shape) * header.dtype.itemsize
    size = path.stat().st_size
    if size != wanted:
        raise _bad(where, f"{path.name} has {size} bytes, its header tells of {wanted}")
    values = np.fromfile(path, dtype=header.dtype).reshape(header.shape)
    if not np.isfinite(values).all() or float(values.min()) < 0:
        raise _bad(where, f"{path.name} holds values that are negative or no numbers")
    return np.ascontiguousarray(values, np.float32)


@dataclass(frozen=True)
class Protocol:
    """What the .res file tells: release, photons of a view, windows (number -> keV), their sensitivity in cps/MBq."""

    version: tuple[int, ...]
    photons_per_view: float | None
    windows: dict[int, tuple[float, float]]
    cps_per_mbq: dict[int, float]
    command: str
    random: str


def parse_protocol(text: str) -> Protocol:
    """The facts of a .res file; what a release does not write, or what is no number (****), is left out."""
    text = text.replace("\r\n", "\n")
    version = re.search(r"SIMIND[^\n]{0,200}?\bV(\d{1,4}(?:\.\d{1,4})+)", text)
    photons = re.search(r"PhotonsPerProj\.*:[ \t]*" + _NUMBER, text)
    levels = r"^[ \t]*(\d{1,3})[ \t]+-?\d{1,3}[ \t]+" + _NUMBER + r"[ \t]*-[ \t]*" + _NUMBER
    windows = {int(n): (float(low), float(high)) for n, low, high in re.findall(levels, text, re.MULTILINE)}
    table = re.search(
        r"^[ \t]*Win[ \t]+Total[ \t][^\n]*Cps/MBq[ \t]*\n((?:[ \t]*\d[^\n]*\n?)+)", text, re.MULTILINE
    )
    row = r"^[ \t]*(\d{1,3})" + 6 * (r"[ \t]+" + _NUMBER) + r"[ \t]*$"
    rows = re.findall(row, table[1] if table else "", re.MULTILINE)
    command = re.search(r"^[ \t]*Command:[ \t]*([^\n]*)$", text, re.MULTILINE)
    random = re.search(r"^[ \t]*Random number generator:[ \t]*(\w{1,32})", text, re.MULTILINE)
    return Protocol(
        version=parse_version(version[1]) if version else (),
        photons_per_view=float(photons[1]) if photons else None,
        windows=windows,
        cps_per_mbq={int(row[0]): float(row[6]) for row in rows},
        command=command[1].strip() if command else "",
        random=random[1] if random else "",
    )


def read_protocol(path: Path) -> Protocol:
    """The facts of a .res file on disk; reads 1 MiB at most."""
    with open(path, "rb") as stream:
        return parse_protocol(stream.read(_MOST).decode("latin-1"))


def expected_files(output: str, windows: int) -> list[str]:
    """Names that a run of SCATTWIN must leave: protocol, totals and scatter of each window."""
    names = [f"{output}.res"]
    for n in range(1, windows + 1):
        names += [f"{output}_{part}_w{n}.{end}" for part in ("tot", "sca") for end in ("h00", "a00")]
    return names


def leftovers(folder: Path, output: str) -> list[Path]:
    """Files in the folder that a run writing to `output` may have left there, to be deleted before the next."""
    part = "|".join(PARTS)
    ends = rf"(?:\.(?:res|h00|a00|bis|bim|him|hct|ict|cor|mhd|b\d\d)|_(?:{part})_w\d+\.(?:h00|a00|mhd))"
    pattern = re.compile(re.escape(output) + ends, re.IGNORECASE)
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def read_window(
    folder: Path, output: str, number: int, *, where: object
) -> tuple[Header, dict[str, np.ndarray]]:
    """Header and (view, row, column) float32 of total, scatter and primary of a window, counts/s/MBq.

    Primary is what SIMIND wrote, or total less scatter where it wrote none (rounding below 0 becomes 0).
    Raises DataError or EngineError where files are damaged or do not belong together.
    """
    parts: dict[str, np.ndarray] = {}
    first: Header | None = None
    for part in ("tot", "sca", "pri"):
        stem = folder / f"{output}_{part}_w{number}"
        place = f"{where}: {stem.name}.h00"
        if part == "pri" and not stem.with_suffix(".h00").exists():
            continue
        header = read_projection_header(stem.with_suffix(".h00"), where=place)
        if first is not None and (header.shape, header.window_kev) != (first.shape, first.window_kev):
            raise _bad(place, "it has another size or energy window than the total")
        first = first or header
        parts[part] = read_values(stem.with_suffix(".a00"), header, where=place)
    assert first is not None
    if "pri" not in parts:
        parts["pri"] = np.clip(parts["tot"] - parts["sca"], 0, None)
    peak = float(parts["tot"].max())
    if float((parts["sca"] - parts["tot"]).max()) > 1e-3 * max(peak, 1e-12):
        raise _bad(where, f"window {number} has more scattered counts than counts")
    return first, parts


def same(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    """Whether numbers agree to a tolerance (headers are rounded)."""
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


def _bad(where: object, why: str) -> EngineError:
    return EngineError(
        "SIMIND's output cannot be used",
        where=where,
        why=why,
        fix="run the simulation again; if it happens again, look at its protocol (.res) and its log",
    )
