"""SIMIND's command line, and its traps.

`simind <input> <output>/SW:value/... [<orbit>.cor]`, run in the work folder. A slash within a path would begin a
switch, so files are named without one; every name is turned to lower case; a minus splits names; output names end in a
buffer of 60 characters and are cut there without a word. Indices 1 to 9 are written /01: to /09:.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from senmei.core.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VALUE = re.compile(r"[A-Za-z0-9_.,-]+")
LONGEST, LONGEST_WINDOW = 47, 15  # characters of an output's base name, and of a base that a .win file shares
_SEEDS = 30000  # ranmar, SIMIND's generator, takes seeds up to 30081


def check_name(name: str, *, window: bool = False) -> str:
    """A base name that SIMIND takes as it is. Raises ConfigError for any other."""
    longest = LONGEST_WINDOW if window else LONGEST
    if not _NAME.fullmatch(name):
        why = "SIMIND lowers the case of names, splits them at '-' and takes '/' as a switch"
    elif len(name) > longest:
        why = (
            f"it has {len(name)} characters, and SIMIND cuts names silently: {longest} at most are safe here"
        )
    else:
        return name
    raise ConfigError(
        "SIMIND would not use this name as it is", where=f"name: {name!r}", why=why, fix="use a-z, 0-9 and _"
    )


def seed_number(seed: int) -> int:
    """A number for /RR from any whole number: 1 to 30000, the same each time."""
    return 1 + int(seed) % _SEEDS


def number(value: float) -> str:
    """A number as a switch may hold it: no exponent, since its sign would split the word; 7 significant digits."""
    if not abs(value) < 1e15:
        raise ValueError(f"{value} is no number for a switch")
    text = f"{value:.7g}"
    if "e" in text:
        digits = 0 if abs(value) >= 1 else min(20, 6 - int(f"{value:e}".split("e")[1]))
        text = f"{value:.{digits}f}"
    return text


def switches(
    *,
    pixel_cm: float,
    multiplier: float,
    seed: int,
    isotope: str,
    collimator: str,
    maps: Sequence[str],
    windows: str,
    scatter_orders: int,
    release: int,
) -> str:
    """The switches of a run, joined as they hang on the output's name.

    pixel_cm : of the source map. multiplier : of its histories. seed : 1 to 30000. maps : base names of density and
    source. windows : base name of the .win file. release : SIMIND's; /CA:1 (SCATTWIN) exists from 8 on.
    """
    if not 1 <= seed <= _SEEDS:
        raise ConfigError(
            "SIMIND cannot use this seed",
            where=f"seed: {seed}",
            why=f"it takes 1 to {_SEEDS}",
            fix="seed_number",
        )
    density, source = maps
    pairs = [("fd", density), ("fs", source), ("fw", check_name(windows, window=True))]
    pairs += [("px", number(pixel_cm)), ("nn", number(multiplier)), ("sc", str(scatter_orders))]
    if isotope:
        pairs.append(("fi", isotope))
    pairs.append(("cc", collimator))
    if release >= 8:
        pairs.append(("ca", "1"))
    pairs.append(("rr", str(seed)))
    for key, value in pairs:
        if not _VALUE.fullmatch(value):
            raise ConfigError(
                "SIMIND would misread this switch",
                where=f"/{key}:{value}",
                why="its value may hold letters, digits, '_', '.', ',' and '-' only",
                fix="choose another value",
            )
    return "".join(f"/{key}:{value}" for key, value in pairs)


def command(binary: Path, name: str, output: str, options: str, orbit: str | None) -> list[str]:
    """The words of the call, to be run in the work folder."""
    words = [str(binary), check_name(name, window=True), check_name(output) + options]
    return [*words, f"{check_name(orbit)}.cor"] if orbit else words
