"""Volumes that XCAT wrote -> activity and attenuation in Senmei's frame.

`<base>_act_N.bin`, `<base>_atn_N.bin` (N = 1 ... phases, or "av") and `<base>_log`: float32 [slice][row][column].
XCAT's parameter file (NOTE 4) has x from the patient's right to the left, y from front to back and z from the feet to
the head; that columns, rows and slices run along x, y and z is assumed, and so is little endian. In Senmei's arrays x
and y run the other way. Attenuation is stored per pixel: divided by the pixel's width it is 1/cm.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.nifti import MAX_VOXELS

_FILE = re.compile(r"(?P<base>.+)_(?P<kind>act|atn)_(?P<frame>\d{1,4}|av)\.bin")
_MAX_LOG = 2 << 20
_NUMBER = r"[ \t]*=[ \t]*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)"
_LOG = {
    "pixel_cm": re.compile(r"^[ \t]*pixel width" + _NUMBER, re.MULTILINE),
    "slice_cm": re.compile(r"^[ \t]*slice width" + _NUMBER, re.MULTILINE),
    "matrix": re.compile(r"^[ \t]*array_size" + _NUMBER, re.MULTILINE),
    "first": re.compile(r"^[ \t]*starting slice number" + _NUMBER, re.MULTILINE),
    "last": re.compile(r"^[ \t]*ending slice number" + _NUMBER, re.MULTILINE),
    "energy": re.compile(r"^[^\n=]{0,60}\benergy\b[^\n=]{0,60}" + _NUMBER, re.MULTILINE | re.IGNORECASE),
}
_WATER = re.compile(r"^[ \t]*Body \(water\)" + _NUMBER, re.MULTILINE)
_MU = (0.01, 5.0)  # 1/cm: what the densest voxel of a body may have between 50 and 600 keV
_KEV = (10.0, 4000.0)
_MOST = 1e12  # activity
_TINY = 1e-25
_STEP = 1 << 20


Check = Callable[[np.ndarray, "XcatGrid"], str | None]


class XcatPhase(NamedTuple):
    """One volume of a phantom: activity in XCAT's unit, mu in 1/cm, number of the phase (0 is the average)."""

    activity: Volume
    mu: Volume
    phase: int


@dataclass(frozen=True)
class XcatGrid:
    """How volumes lie: columns and rows, slices, edges in cm, energy in keV (0 where nobody says)."""

    matrix: int
    slices: int
    pixel_cm: float
    slice_cm: float
    energy_kev: float = 0.0


@dataclass(frozen=True)
class XcatFiles:
    """A phantom in a folder: its base path, the numbers of its volumes (0: average), whether there is a log."""

    base: Path
    frames: tuple[int, ...]
    log: Path | None


def list_xcat(folder: str | os.PathLike[str], *, lesion: str = "_lesion") -> list[XcatFiles]:
    """Phantoms in a folder, sorted by name: all `<base>_act_N.bin`; `<base>{lesion}` is no phantom but its defect.

    Raises DataError if there is no such folder or no phantom in it.
    """
    root = Path(folder).absolute()
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        _refuse(root, f"it cannot be listed: {error.strerror}", "give the folder that holds XCAT's volumes")
    found: dict[str, set[int]] = {}
    for name in names:
        match = _FILE.fullmatch(name)
        if match and match["kind"] == "act":
            found.setdefault(match["base"], set()).add(0 if match["frame"] == "av" else int(match["frame"]))
    result = []
    for base, frames in sorted(found.items()):
        if lesion and base.endswith(lesion) and base.removesuffix(lesion) in found:
            continue
        numbers = tuple(sorted(frames - {0})) or (0,)  # the phases rather than their average
        log = f"{base}_log"
        result.append(XcatFiles(root / base, numbers, root / log if log in names else None))
    if not result:
        why = f"none of its {len(names)} files is named <base>_act_<N>.bin or <base>_act_av.bin"
        _refuse(root, why, "give the folder that holds XCAT's volumes")
    return result


def read_log(path: str | os.PathLike[str], *, where: object) -> XcatGrid:
    """What XCAT's log says of its volumes. Raises DataError if it does not say it, or contradicts itself."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            _refuse(where, "the log is not a file")
        with open(path, "rb") as stream:
            text = stream.read(_MAX_LOG).decode("latin-1")
    except OSError as error:
        _refuse(where, f"the log cannot be read: {error.strerror}")
    told = {key: float(m[1]) for key, pattern in _LOG.items() if (m := pattern.search(text))}
    lost = [k for k in ("pixel_cm", "slice_cm", "matrix", "first", "last") if k not in told]
    if lost:
        names = {
            "pixel_cm": "pixel width",
            "slice_cm": "slice width",
            "matrix": "array_size",
            "first": "starting slice number",
            "last": "ending slice number",
        }
        _refuse(
            where,
            "the log does not tell " + ", ".join(f"'{names[k]}'" for k in lost),
            "give matrix, slices and voxel_mm in the configuration",
        )
    if any(not abs(told[k]) < 1e9 or told[k] != int(told[k]) for k in ("matrix", "first", "last")):
        _refuse(where, "a number of the log is no whole number: array_size, starting or ending slice")
    energy = told.get("energy", 0.0)
    grid = XcatGrid(
        int(told["matrix"]),
        int(told["last"] - told["first"]) + 1,
        told["pixel_cm"],
        told["slice_cm"],
        energy if _KEV[0] <= energy <= _KEV[1] else 0.0,
    )
    _sound(grid, where)
    water = [float(m[1]) for m in _WATER.finditer(text)]
    if len(water) >= 2 and water[0] > 0:  # of 1/cm and of 1/pixel, in this order
        width = water[1] / water[0]
        if abs(width / grid.pixel_cm - 1) > 0.05 + 1e-4 / max(water[1], 1e-9):  # printed to four places
            why = f"water attenuates {water[0]:g} per cm and {water[1]:g} per pixel, of {grid.pixel_cm:g} cm"
            _refuse(where, f"the log contradicts itself: {why}", "make the phantom again")
    return grid


def read_xcat(
    base: str | os.PathLike[str],
    log: str | os.PathLike[str] | None = None,
    *,
    frames: Sequence[int] | None = None,
    grid: XcatGrid | None = None,
    energy_kev: float | None = None,
    lesion: str | os.PathLike[str] | None = None,
    where: object = "XCAT phantom",
) -> list[XcatPhase]:
    """The volumes `<base>_act_N.bin` and `<base>_atn_N.bin` of the wanted frames, in order.

    log : default `<base>_log`. frames : their numbers, 0 for the average; default all phases, which must be 1 ... n
    without a gap, else the average. grid : instead of a log; beside one it must say the same.
    energy_kev : that the attenuation map must have, where the log tells one. lesion : base path of volumes of a defect
    (mode 1), which are subtracted from the activity.
    Raises DataError that tells both sizes where a file's size is not the grid's, and for values that cannot be
    (negative, not finite, attenuation that is no body's, the wrong byte order).
    """
    base = Path(base)
    log = Path(log) if log is not None else base.with_name(f"{base.name}_log")
    if grid is not None:
        _sound(grid, where)
    if log.exists():
        told = read_log(log, where=where)
        if grid is not None:
            _same(grid, told, where)
    elif grid is None:
        _refuse(where, "it has no log beside it", "give matrix, slices and voxel_mm in the configuration")
    else:
        told = grid
    if energy_kev and told.energy_kev and abs(energy_kev - told.energy_kev) > 1.0:
        why = f"its attenuation is for {told.energy_kev:g} keV, and {energy_kev:g} keV is wanted"
        _refuse(where, why, "make the phantom again with this energy")
    if frames is None:
        frames = _frames(base, where)
    result = []
    for frame in frames:
        activity = _read(_file(base, "act", frame), told, where, _check_activity)
        if lesion is not None:
            _subtract(activity, _read(_file(Path(lesion), "act", frame), told, where, _check_activity), where)
        mu = _read(_file(base, "atn", frame), told, where, _check_mu)
        mu /= np.float32(told.pixel_cm)
        result.append(XcatPhase(_volume(activity, told), _volume(mu, told), frame))
    return result


def expected_bytes(grid: XcatGrid) -> int:
    """Size of each volume's file."""
    return grid.matrix * grid.matrix * grid.slices * 4


def volume_file(base: str | os.PathLike[str], kind: str, frame: int) -> Path:
    """The file of a volume: kind "act" or "atn", frame from 1, 0 for the average."""
    return _file(Path(base), kind, frame)


def _file(base: Path, kind: str, frame: int) -> Path:
    return base.with_name(f"{base.name}_{kind}_{frame or 'av'}.bin")


def _frames(base: Path, where: object) -> tuple[int, ...]:
    try:
        matches = [_FILE.fullmatch(name) for name in os.listdir(base.parent)]
    except OSError as error:
        _refuse(where, f"its folder cannot be listed: {error.strerror}")
    there = {m["frame"] for m in matches if m and m["base"] == base.name and m["kind"] == "act"}
    numbers = sorted(int(frame) for frame in there - {"av"})
    if not numbers:
        if "av" in there:
            return (0,)
        _refuse(where, "there is no volume of it: no file <base>_act_<N>.bin", "check the path")
    if lost := sorted(set(range(1, numbers[-1] + 1)) - set(numbers)):
        _refuse(where, f"of its phases 1 to {numbers[-1]}, {', '.join(map(str, lost[:8]))} are missing")
    return tuple(numbers)


def _sound(grid: XcatGrid, where: object) -> XcatGrid:
    if not (0 < grid.matrix <= 4096 and grid.slices > 0 and grid.matrix**2 * grid.slices <= MAX_VOXELS):
        _refuse(where, f"a grid of {grid.matrix} x {grid.matrix} x {grid.slices} voxels cannot be")
    if not (0.001 <= grid.pixel_cm <= 10 and 0.001 <= grid.slice_cm <= 10):
        _refuse(where, f"voxels of {grid.pixel_cm:g} x {grid.slice_cm:g} cm cannot be")
    return grid


def _same(given: XcatGrid, told: XcatGrid, where: object) -> None:
    for name in ("matrix", "slices", "pixel_cm", "slice_cm"):
        mine, theirs = getattr(given, name), getattr(told, name)
        if abs(mine - theirs) > 1e-3 * theirs:
            fix = "correct the configuration, or make the phantom again"
            _refuse(where, f"the configuration says {name} {mine:g}, its log {theirs:g}", fix)


def _read(path: Path, grid: XcatGrid, where: object, check: Check) -> np.ndarray:
    """(x, y, z) in Senmei's frame; checked."""
    what = "activity" if "_act_" in path.name else "attenuation"
    needs = expected_bytes(grid)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            _refuse(where, f"its {what} is not a file")
        with open(path, "rb") as stream:
            there = os.fstat(stream.fileno()).st_size
            if there != needs:
                size = f"{grid.matrix} x {grid.matrix} x {grid.slices} voxels of 4 bytes are {needs} bytes"
                fix = "make it again, or correct matrix and slices"
                _refuse(where, f"its {what} does not match the grid: {size}, the file has {there}", fix)
            raw = np.empty(needs // 4, "<f4")
            if stream.readinto(raw.data.cast("B")) != needs:
                _refuse(where, f"its {what} became shorter while it was read")
    except FileNotFoundError:
        number = path.stem.rsplit("_", 1)[1]
        _refuse(where, f"its {what} of frame {number} is missing", "let XCAT write activity and attenuation")
    except OSError as error:
        _refuse(where, f"its {what} cannot be read: {error.strerror}")
    if why := check(raw, grid):
        other = raw.byteswap()
        if check(other, grid) is None and other.any():
            _refuse(where, f"its {what} is big endian: as little endian, {why}", "write it little endian")
        _refuse(where, f"its {what} cannot be: {why}", "make the phantom again")
    data = raw.astype(np.float32, copy=False).reshape(grid.slices, grid.matrix, grid.matrix)
    return np.ascontiguousarray(data.transpose(2, 1, 0)[::-1, ::-1])


def _check_activity(raw: np.ndarray, grid: XcatGrid) -> str | None:
    return _odd(raw, _MOST)


def _check_mu(raw: np.ndarray, grid: XcatGrid) -> str | None:
    if why := _odd(raw, _MOST):
        return why
    top = float(raw.max()) / grid.pixel_cm
    if not _MU[0] <= top <= _MU[1]:
        return f"the highest value is {top:.3g} per cm; a body has {_MU[0]:g} to {_MU[1]:g}"
    return None


def _odd(raw: np.ndarray, most: float) -> str | None:
    bad = tiny = present = 0
    for at in range(0, raw.size, _STEP):
        part = raw[at : at + _STEP]
        with np.errstate(all="ignore"):
            bad += int(np.count_nonzero(~((part >= 0) & (part <= most))))
            tiny += int(np.count_nonzero((part > 0) & (part < _TINY)))
        present += int(np.count_nonzero(part))
    if bad:
        return f"{bad} of {raw.size} values are negative, not finite or beyond {most:g}"
    return f"{tiny} values are below {_TINY:g} and not 0" if 2 * tiny > present else None


def _subtract(activity: np.ndarray, lesion: np.ndarray, where: object) -> None:
    """Take the lesion's volume from the phantom's, in place."""
    if not lesion.any():
        _refuse(where, "the lesion's volume is empty", "check theta, width and wall of the lesion")
    top = float(activity.max())
    activity -= lesion
    if (low := float(activity.min())) < -1e-3 * top:
        why = f"the lesion takes more than there is: {low:.3g} remains at the lowest, of {top:.3g} at most"
        _refuse(where, why, "the lesion's activity (lesn_activity) must not exceed the myocardium's")
    np.maximum(activity, 0, out=activity)


def _volume(data: np.ndarray, grid: XcatGrid) -> Volume:
    edges = np.array([grid.pixel_cm, grid.pixel_cm, grid.slice_cm]) * 10
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = -(np.array(data.shape) - 1) / 2 * edges
    return Volume(data, affine)


def _refuse(where: object, why: str, fix: str = "make the phantom again") -> NoReturn:
    raise DataError("Cannot use this XCAT phantom", where=where, why=why, fix=fix)
