"""XCAT, the licensed anthropomorphic phantom: run the user's program, or read volumes that it wrote.

Nothing of XCAT comes with Senmei: the program, its organ files and its attenuation table are the user's, and so is
their licence. Command line: `dxcat2 <parameter file> <base of outputs>` (UCL/STIR-GATE-Connection); that it is run in
the folder of its data files, and ends with status 0, is assumed. What counts are its outputs: they must be there, new
and of the exact size.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from senmei.core.errors import ConfigError, EngineError
from senmei.engines.xcat_parameters import UPTAKE, Lesion, XcatSettings, write_parameters
from senmei.engines.xcat_volumes import (
    XcatFiles,
    XcatGrid,
    XcatPhase,
    expected_bytes,
    list_xcat,
    read_log,
    read_xcat,
    volume_file,
)
from senmei.io.atomic import write_text
from senmei.io.deidentify import clean_text

__all__ = [
    "UPTAKE",
    "Lesion",
    "XcatFiles",
    "XcatGrid",
    "XcatPhase",
    "XcatSettings",
    "check_xcat",
    "list_xcat",
    "read_log",
    "read_xcat",
    "run_xcat",
    "write_parameters",
]

VARIABLE = "XCAT_BIN"
BASE, LESION = "phantom", "phantom_lesion"
_DATA = (".nrb", ".dat", ".txt")
_MINUTES = 120.0
_TAIL = 4096


def check_xcat(binary: str | os.PathLike[str] | None = None) -> Path:
    """The XCAT program: `binary`, else the environment variable XCAT_BIN (a path, or a name on PATH).

    Raises ConfigError if there is none or it cannot be run; meant for parse time.
    """
    told = os.fspath(binary) if binary else os.environ.get(VARIABLE, "")
    if not told:
        _absent(VARIABLE, f"neither xcat: binary: nor the environment variable {VARIABLE} names it")
    found = shutil.which(told) if os.sep not in told else told
    path = Path(found or told).expanduser()
    if not found or not path.is_file():
        _absent(told, "there is no such program")
    if not os.access(path, os.X_OK):
        _absent(told, "it may not be executed (chmod +x)")
    return path.absolute()


def run_xcat(
    settings: XcatSettings,
    folder: str | os.PathLike[str],
    *,
    binary: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    template: str | os.PathLike[str] | None = None,
    minutes: float = _MINUTES,
) -> list[XcatPhase]:
    """Let XCAT make the phantom of `settings` in `folder`, and a second time for its lesion; read what it wrote.

    folder : work folder; parameter files, volumes and logs stay there. What an earlier run left is removed first.
    data : folder of XCAT's organ files and tables (default: the program's), linked into `folder`. template : a
    parameter file of the user's, see `write_parameters`. minutes : for each of the two runs.
    Raises ConfigError without the program, EngineError if it fails, hangs, or leaves volumes out, short or stale.
    """
    program = check_xcat(binary)
    work = Path(folder).absolute()
    work.mkdir(parents=True, exist_ok=True)
    _link(Path(data).absolute() if data is not None else program.parent, work)
    text = ""
    if template is not None:
        try:
            text = Path(template).read_text(encoding="latin-1")
        except OSError as error:
            raise ConfigError(
                "Cannot read XCAT's parameters",
                where=template,
                why=str(error.strerror),
                fix="give the parameter file that came with XCAT (general.samp.par)",
            ) from error
    grid = XcatGrid(
        settings.matrix,
        settings.slices,
        settings.voxel_mm / 10,
        (settings.slice_mm or settings.voxel_mm) / 10,
        settings.energy_kev,
    )
    runs = [(0, BASE), *([(1, LESION)] if settings.lesion is not None else [])]
    for mode, base in runs:
        write_text(work / f"{base}.par", write_parameters(settings, template=text, mode=mode))
        kinds = ("act", "atn") if mode == 0 else ("act",)
        wanted = [volume_file(work / base, kind, frame) for frame in settings.frames for kind in kinds]
        _run(program, work, base, wanted, expected_bytes(grid), minutes)
    return read_xcat(
        work / BASE,
        frames=settings.frames,
        grid=grid,
        energy_kev=settings.energy_kev,
        lesion=work / LESION if settings.lesion is not None else None,
    )


def _run(program: Path, work: Path, base: str, wanted: Sequence[Path], size: int, minutes: float) -> None:
    for stale in work.glob(f"{base}_a[ct][tn]_*.bin"):
        stale.unlink()
    (work / f"{base}_log").unlink(missing_ok=True)
    where = f"XCAT, {'lesion' if base == LESION else 'phantom'}"
    with open(work / f"{base}.out", "w+b") as said:
        try:
            process = subprocess.Popen(
                [str(program), f"{base}.par", base],
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            _failed(
                where, f"it cannot be started: {error.strerror}", "check that it is built for this machine"
            )
        try:
            status = process.wait(timeout=60 * minutes)
        except subprocess.TimeoutExpired:
            why, fix = (
                f"it ran for more than {minutes:g} minutes",
                "make the grid smaller, or allow more minutes",
            )
            _failed(where, why, fix)
        finally:
            _end(process)
        words = _last_words(said, work)
    if status:
        _failed(where, f"exit status {status}: {words}", f"see {base}.out and {base}.par in its work folder")
    for path in wanted:
        there = path.stat().st_size if path.is_file() else None
        if there != size:
            got = "is missing" if there is None else f"has {there} bytes"
            why = f"it ended, but volume {path.stem.removeprefix(base + '_')} {got}, and {size} are due: {words}"
            _failed(
                where, why, f"see {base}.out and {base}.par in its work folder, and whether the disk is full"
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing that it started goes on."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _last_words(said: Any, work: Path) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _TAIL))
    lines = [line.strip() for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return (
        "; ".join(clean_text(line, frozenset({str(work).lower()}), 160) for line in lines[-3:])
        or "it said nothing"
    )


def _link(source: Path, work: Path) -> None:
    """Links to the organ files and tables in `source`, where XCAT looks for them: its working folder."""
    if source == work:
        return
    for path in sorted(source.iterdir()) if source.is_dir() else []:
        place = work / path.name
        if path.suffix.lower() in _DATA and path.is_file() and not place.exists():
            place.unlink(missing_ok=True)
            place.symlink_to(path)


def _absent(where: object, why: str) -> NoReturn:
    raise ConfigError(
        "XCAT is not here",
        where=where,
        why=f"{why}; Senmei brings no XCAT, whose licence is yours",
        fix=f"set {VARIABLE} to your dxcat2, or read volumes that you have (source: xcat, path:)",
    )


def _failed(where: str, why: str, fix: str) -> NoReturn:
    raise EngineError("XCAT failed", where=where, why=why, fix=fix)
