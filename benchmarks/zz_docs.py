"""Write docs/benchmarks.md from benchmarks/results/*.json: no number in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Benchmarks

Made by `make bench` (or by one script of `benchmarks/`, then `python benchmarks/zz_docs.py`) from
`benchmarks/results/*.json`.
Ratios are taken within one run, against a named peer, with the same mask and threads; seconds are medians.
Machines are noisy: trust ratios, and CPU seconds before wall seconds.
"""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(_cell(v) for v in value)
    if isinstance(value, dict):
        return "; ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return "–" if value is None else str(value).replace("|", "/")


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(c.replace("_", " ") for c in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def page(results: Path) -> str:
    """The page's text, from every JSON file in a folder."""
    parts = [HEAD]
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"## {content.pop('what', path.stem)}\n")
        facts = []
        for key, value in content.items():
            if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
                parts.append(f"**{key.replace('_', ' ')}**\n\n{_table(value)}\n")
            elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
                facts += [f"- {line}" for line in value]
            else:
                facts.append(f"- {key.replace('_', ' ')}: {_cell(value)}")
        parts.append("\n".join(facts) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "benchmarks.md").write_text(page(ROOT / "benchmarks" / "results"), encoding="utf-8")
