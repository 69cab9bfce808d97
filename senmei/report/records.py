"""Tables of what happened: fitted parameters, failures, provenance. Plain values; templates escape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from senmei.report.files import StudyFiles, finite
from senmei.report.numbers import number
from senmei.report.style import colours

_MAX_FAILURES = 200
_FOLDERS = re.compile(r"(?<![\w./])(?:~|/)(?:[^\s/\[\]:;,'\"]+/)+")


def without_folders(text: object) -> str:
    """Text with absolute folders left out: they say where, and whose, the machine was, not what went wrong."""
    return _FOLDERS.sub("…/", str(text))


def fitted_table(files: StudyFiles) -> list[dict[str, Any]]:
    """Fitted parameters and sizes of each method that has any."""
    colour = colours(files.methods)
    rows = []
    for method, card in files.cards.items():
        fitted = _curve(files, method, card.get("fitted") or {}) or [
            {
                "name": str(name).replace("_", " "),
                "value": ", ".join(map(number, np.atleast_1d(value).tolist())),
            }
            for name, value in (card.get("fitted") or {}).items()
        ]
        size = card.get("parameters")
        if not fitted and not size:
            continue
        settings = ", ".join(f"{k} = {v}" for k, v in (card.get("settings") or {}).items()) or "defaults"
        rows.append(
            {
                "method": method,
                "title": files.title(method),
                "colour": colour[method],
                "family": files.family(method),
                "oracle": files.oracle(method),
                "parameters": f"{size:,}" if isinstance(size, int) else "",
                "fitted": fitted,
                "settings": settings,
            }
        )
    return rows


def _curve(files: StudyFiles, method: str, fitted: Mapping[str, Any]) -> list[dict[str, str]]:
    """A number tuned by noise level or by counts, pair by pair; its name is the column of the search's history.
    [] if it is not. curve_level : 1 / sqrt(counts in millions).
    """
    places = fitted.get("curve_noise") or fitted.get("curve_level")
    values = fitted.get("curve_value")
    if not (isinstance(places, list) and isinstance(values, list) and len(places) == len(values)):
        return []
    tried = next(iter(files.history(method)), {})
    told = ("step", "condition", "noise_level", "psnr", "level", "risk")
    name = next((k for k in tried if k not in told), "value")
    name = name.removesuffix("_mm").replace("_", " ") + (" (mm)" if name.endswith("_mm") else "")
    return [
        {
            "name": f"{name} at {_place(at, 'curve_noise' in fitted)}" if finite(at) else name,
            "value": number(value),
        }
        for at, value in zip(places, values, strict=True)
    ]


def _place(level: float, noise: bool) -> str:
    return f"{100 * level:.1f} % noise" if noise else f"{number(1 / level**2)} million counts"


def exported_table(files: StudyFiles) -> list[dict[str, Any]]:
    """What went back as files, a row a cohort and method: how many scans, how many not, and where they lie."""
    colour = colours(files.methods)
    return [
        {
            "cohort": str(entry["cohort"]),
            "method": str(entry["method"]),
            "title": files.title(str(entry["method"])),
            "colour": colour.get(str(entry["method"]), ""),
            "kinds": ", ".join(f".{kind}" for kind in entry["kinds"]) or "–",
            "scans": int(entry["scans"]),
            "without": int(entry["without"]),
            "folder": f"{entry['folder']}/",
            "link": quote(f"{entry['folder']}/"),
        }
        for entry in files.summary.get("exported") or ()
    ]


def failures_table(files: StudyFiles) -> dict[str, Any]:
    """Rows of status.tsv, failures first, at most 200; how many there are in all."""
    rows = sorted(files.status, key=lambda row: row.get("status") != "failed")
    names = ("stage", "cohort", "method", "scan", "subject", "status", "error")
    shown = [
        {n: without_folders("–" if row.get(n) is None else row[n]) for n in names}
        for row in rows[:_MAX_FAILURES]
    ]
    return {
        "rows": shown,
        "total": len(rows),
        "failed": files.failures,
        "hidden": max(0, len(rows) - len(shown)),
    }


def provenance(files: StudyFiles, run: str) -> dict[str, Any]:
    """Seeds, code and split hashes of each method, and commands that re-run one stage."""
    rows = [
        {
            "method": method,
            "use": f"{card.get('use', '–')}{' (given)' if card.get('given') else ''}",
            "seed": card.get("seed", "–"),
            "code": str(card.get("code") or "–")[:16],
            "split": str(card.get("split_sha256") or "–")[:16],
            "weights": str(card.get("weights_sha256") or "–")[:16],
            "stopped": card.get("stopped") or "",
        }
        for method, card in files.cards.items()
    ]
    base = f"results/{run}/{files.name}"
    learned = [m for m in files.cards if files.family(m) != "none"]
    commands = []
    if learned:
        commands.append(
            ("Fit one method again", f"snakemake -c2 {base}/models/{learned[-1]}/card.json --force")
        )
    manifest = next(
        iter(sorted(files.folder.glob(f"restored/*/{learned[-1] if learned else '*'}/*.tsv"))), None
    )
    if manifest is not None:
        place = quote(manifest.relative_to(files.folder).as_posix())
        commands.append(("Restore one shard again", f"snakemake -c2 {base}/{place} --force"))
    commands.append(("Make this page again", f"snakemake -c2 {base}/report.html --force"))
    return {"rows": rows, "commands": commands}
