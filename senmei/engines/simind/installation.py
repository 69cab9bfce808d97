"""Whether SIMIND is there, and which: looked at when the workflow is parsed, so that nothing starts in vain.

SIMIND is not distributed with Senmei: it is had from its author (Lund University). `SIMIND_BIN` names the program, or
it is `simind` on PATH; `SMC_DIR` names its folder of cross sections, spectra and collimators, which must be of the same
release. The release is `SIMIND_VERSION` where that is set, else what the program says of itself when it is called
without arguments; of the folder, what its own texts say (simind.ini, change.txt and the like), where they do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from senmei.core.errors import ConfigError
from senmei.engines.simind.outputs import parse_version

RUNNABLE = (7, 8)
_SECONDS = 60  # to say its version: at once, but for a machine that is busy
_TEXTS = (".txt", ".ini", ".ver", ".md")
_RELEASE = re.compile(rb"simind\D{0,60}?\bv(?:ersion)?\.?\s*(\d+\.\d+(?:\.\d+)*)", re.IGNORECASE)
_HAD_FROM = "SIMIND is had from its author: http://www.radfys.lu.se/simind"


@dataclass(frozen=True)
class Installation:
    """A SIMIND that can be run: program, folder SMC_DIR, release."""

    binary: Path
    smc_dir: Path
    version: tuple[int, ...]

    @property
    def release(self) -> int:
        """7 or 8."""
        return self.version[0]

    def environment(self) -> dict[str, str]:
        """The environment of a run: SMC_DIR ends with a separator, which SIMIND needs."""
        return {**os.environ, "SMC_DIR": str(self.smc_dir) + os.sep}


def check_simind(
    *, isotope: str = "", collimator: str = "", environment: Mapping[str, str] | None = None
) -> Installation:
    """The installation that the environment names, with what a simulation needs of it.

    isotope : a spectrum that must be there ("" : none). collimator : a code that must be in its table ("": any).
    environment : instead of this process's. Raises ConfigError that says how to provide what is missing, and for
    releases that cannot be run.
    """
    env = os.environ if environment is None else environment
    binary = _binary(env)
    folder = _folder(env)
    version = _release(binary, folder, env)
    told = _folder_releases(folder)
    if told and version[0] not in told:
        raise ConfigError(
            "SIMIND and its SMC_DIR are of different releases",
            where="SMC_DIR",
            why=f"the program is release {_text(version)}, the folder's own texts tell of {', '.join(map(str, told))}",
            fix="set SMC_DIR to the smc_dir folder that came with the program (or SIMIND_VERSION, if that is wrong)",
        )
    _refuse_release(version)
    if isotope and _in_folder(folder, f"{isotope}.isd") is None:
        raise ConfigError(
            f"SIMIND has no spectrum of '{isotope}'",
            where=f"SMC_DIR: {isotope}.isd",
            why="there is no such file in the folder",
            fix="choose another isotope, or isotope: '' for photons of one energy",
        )
    if collimator and collimator.upper() not in _collimators(folder):
        raise ConfigError(
            f"SIMIND has no collimator '{collimator}'",
            where="SMC_DIR: collim.col",
            why="no line of the table begins with *" + collimator.upper(),
            fix="choose another collimator, or add it to the table",
        )
    return Installation(binary, folder, version)


def _binary(env: Mapping[str, str]) -> Path:
    name = env.get("SIMIND_BIN") or "simind"
    found = shutil.which(name, path=env.get("PATH", ""))
    if found is None:
        told = "SIMIND_BIN" if env.get("SIMIND_BIN") else "PATH"
        raise ConfigError(
            "SIMIND is not installed",
            where=told,
            why="it names no program that can be run"
            if told == "SIMIND_BIN"
            else "no program 'simind' there",
            fix=f"{_HAD_FROM}. Then set SIMIND_BIN to the program and SMC_DIR to its smc_dir folder, "
            "or choose engine: builtin",
        )
    return Path(found).absolute()


def _folder(env: Mapping[str, str]) -> Path:
    told = env.get("SMC_DIR", "")
    folder = Path(told) if told else None
    if folder is None or not folder.is_dir():
        raise ConfigError(
            "SIMIND's folder of cross sections is missing",
            where="SMC_DIR",
            why="there is no such folder" if told else "the variable is not set",
            fix="export SMC_DIR=.../smc_dir/, the folder that came with SIMIND",
        )
    if _in_folder(folder, "collim.col") is None:
        raise ConfigError(
            "SMC_DIR is not SIMIND's folder",
            where="SMC_DIR",
            why="it holds no table of collimators (collim.col)",
            fix="export SMC_DIR=.../smc_dir/, the folder that came with SIMIND",
        )
    return folder.absolute()


def _release(binary: Path, folder: Path, env: Mapping[str, str]) -> tuple[int, ...]:
    told = env.get("SIMIND_VERSION", "").strip()
    if told:
        version = parse_version(told if "." in told else f"{told}.0")
        if not version:
            raise ConfigError(
                "SIMIND_VERSION is no release",
                where=f"SIMIND_VERSION={told!r}",
                why="it should look like 8.0",
                fix="export SIMIND_VERSION=8.0, or whatever yours is",
            )
        return version
    said = _banner(binary, {**env, "SMC_DIR": str(folder) + os.sep})
    match = _RELEASE.search(said.replace(b"\0", b""))
    if match is None:
        raise ConfigError(
            "SIMIND does not say of which release it is",
            where="SIMIND_BIN" if env.get("SIMIND_BIN") else "simind on PATH",
            why=f"called without arguments, it wrote no line with its version within {_SECONDS} seconds",
            fix="export SIMIND_VERSION=8.0, or whatever yours is; check that the program starts at all",
        )
    return parse_version(match[1].decode())


def _banner(binary: Path, env: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="senmei-") as folder, tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [str(binary)],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                "SIMIND cannot be started",
                where="SIMIND_BIN" if env.get("SIMIND_BIN") else "simind on PATH",
                why=error.strerror or type(error).__name__,
                fix="check that it is a program of this machine's kind, and may be executed",
            ) from error
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            end_group(process)
        said.seek(0)
        return said.read(1 << 16)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its own group, and all that is left of the group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def _folder_releases(folder: Path) -> list[int]:
    """The releases that texts in the folder tell of: one, or several where a text has a history; [] where none does."""
    found: set[int] = set()
    texts = sorted(p for p in folder.iterdir() if p.suffix.lower() in _TEXTS and p.is_file())
    for path in texts[:64]:
        with open(path, "rb") as stream:
            found |= {parse_version(m[1].decode())[0] for m in _RELEASE.finditer(stream.read(1 << 16))}
    return sorted(found)


def _refuse_release(version: tuple[int, ...]) -> None:
    if version[0] in RUNNABLE:
        return
    if version[0] >= 9:
        why = f"Senmei runs 7 and 8, and yours is {_text(version)}"
        if version[:2] == (9, 0) and sys.platform.startswith("linux"):
            why = (
                "its routine SCATTWIN, which gives total and scattered counts, can stop or silently write damaged "
                f"projections on Linux; yours is {_text(version)}"
            )
        fix = "use release 8 (set SIMIND_BIN and SMC_DIR to it); headers of release 9 can be read"
    else:
        why = f"it writes parameter files in a binary format; yours is {_text(version)}"
        fix = "use release 7 or 8 (set SIMIND_BIN and SMC_DIR to it); headers of release 6.2 can be read"
    raise ConfigError("This release of SIMIND cannot be run", where="SIMIND_VERSION", why=why, fix=fix)


def _in_folder(folder: Path, name: str) -> Path | None:
    """A file whatever the case of its name."""
    return next((p for p in folder.iterdir() if p.name.lower() == name.lower() and p.is_file()), None)


def _collimators(folder: Path) -> set[str]:
    path = _in_folder(folder, "collim.col")
    assert path is not None
    text = path.read_text(encoding="latin-1")
    return {line[1:].split()[0].upper() for line in text.splitlines() if re.match(r"\*\S", line)}


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
