"""A pretended installation of SIMIND around the double: a program, and a folder SMC_DIR with what the double looks for.

Every file is written here; nothing of SIMIND's is copied. Tests only.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOUBLE = Path(__file__).with_name("double.py")
# code, hole, septa, length in cm
HOLES = {
    "SE-LEHR": (0.111, 0.016, 2.405),
    "SE-LEAP": (0.145, 0.020, 2.410),
    "SE-LEUR": (0.116, 0.013, 3.580),
    "SE-ME": (0.294, 0.114, 4.064),
    "SE-HE": (0.340, 0.200, 5.080),
}


def make_installation(
    folder: Path, version: str = "8.0", *, folder_version: str | None = None
) -> dict[str, str]:
    """Lay out bin/simind and smc_dir/ below a folder; returns the variables that name them.

    version : that the double plays. folder_version : that smc_dir says it is of ("" : it says nothing).
    """
    program, smc_dir = folder / "bin" / "simind", folder / "smc_dir"
    program.parent.mkdir(parents=True)
    smc_dir.mkdir()
    program.write_text(
        f'#!/bin/sh\nSIMIND_DOUBLE_VERSION={version} exec "{sys.executable}" "{DOUBLE}" "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    rows = [f"*{code} {a:.3f} {b:.3f} {c:.3f} 3 0" for code, (a, b, c) in HOLES.items()]
    (smc_dir / "collim.col").write_text(
        "# code, hole, septa, length\n" + "\n".join(rows) + "\n", encoding="utf-8"
    )
    for isotope in ("tc99m", "i123"):
        (smc_dir / f"{isotope}.isd").write_text("a spectrum\n", encoding="utf-8")
    told = version if folder_version is None else folder_version
    if told:
        (smc_dir / "simind.ini").write_text(f"; SIMIND settings, version {told}\n", encoding="utf-8")
    return {"SIMIND_BIN": str(program), "SMC_DIR": f"{smc_dir}/"}


def misbehave(environment: dict[str, str], *lines: str) -> None:
    """Make the double of an installation fail: lines `MODE [call=N | seed=N]`; none: behave again, count from one."""
    folder = Path(environment["SMC_DIR"])
    (folder / "double.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "double.calls").unlink(missing_ok=True)


def calls(environment: dict[str, str]) -> int:
    """How often the double was called to simulate."""
    path = Path(environment["SMC_DIR"]) / "double.calls"
    return path.stat().st_size if path.exists() else 0
