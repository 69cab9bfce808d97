"""Limits that a study sets itself: which means lie beyond theirs, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from senmei.report.files import StudyFiles, condition_label, condition_of, finite
from senmei.report.numbers import measure_facts, number


@dataclass(frozen=True)
class LimitLine:
    """One sentence. flagged: something lies beyond the limit."""

    text: str
    flagged: bool


def limit_lines(files: StudyFiles) -> list[LimitLine]:
    """A sentence a cohort and method that has flags, the farthest first, and a quiet one for measures that have none.

    Of each measure the worst condition counts. A limit whose measure was never taken is not mentioned: nothing was
    looked at.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(files.flags, key=lambda row: (-_excess(files, row), str(row.get("measure")))):
        if _excess(files, row) > 0:
            groups.setdefault((str(row["cohort"]), str(row["method"])), []).append(row)
    lines = [LimitLine(_beyond(files, *key, rows), True) for key, rows in groups.items()]
    beyond = {row["measure"] for rows in groups.values() for row in rows}
    taken = {headline["measure"] for headline in files.headlines}
    quiet = []
    for measure in sorted(set(files.limits) & taken - beyond):
        facts = measure_facts(files, measure)
        quiet.append(f"{facts['title']} (±{_bound(files, measure, facts['unit'])})")
    if quiet:
        text = f"Within its limit for every method, cohort and condition: {'; '.join(quiet)}."
        lines.append(LimitLine(text, False))
    return lines


def _bound(files: StudyFiles, measure: str, unit: str) -> str:
    return f"{files.limits[measure]:g} {unit}".strip()


def _excess(files: StudyFiles, row: Mapping[str, Any]) -> float:
    """How many times its limit a flagged mean is; 0 for what has no limit or no number."""
    mean, limit = finite(row.get("mean")), files.limits.get(str(row.get("measure")))
    return 0.0 if mean is None or limit is None else abs(mean) / limit if limit else float("inf")


def _beyond(files: StudyFiles, cohort: str, method: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One method's flags in one cohort, the farthest first."""
    worst: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        worst.setdefault(str(row["measure"]), []).append(row)
    parts: list[str] = []
    for measure, found in worst.items():
        facts = measure_facts(files, measure)
        unit = f" {facts['unit']}" if facts["unit"] else ""
        value = f"{facts['title']} {number(found[0]['mean'])}{unit}"
        if parts:
            parts.append(value)
            continue
        condition = condition_of(found[0].get("condition") or {}, files.conditions)
        where = [condition_label(condition)] if condition else []
        where += [f"worst of {len(found)} conditions"] if len(found) > 1 else []
        place = f" ({', '.join(where)})" if where else ""
        parts.append(f"{value} exceeds {_bound(files, measure, facts['unit'])}{place}")
    first, *others = parts
    also = f"; also {', '.join(others)}" if others else ""
    return f"{files.label(method)}: {first}{also}. Cohort “{cohort}”."
