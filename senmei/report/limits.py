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
    """A sentence a measure and cohort that has flags, primary measures first, and a quiet one for all the others.

    Of each method its worst condition is named. A limit whose measure was never taken is not mentioned: nothing
    was looked at.
    """
    flagged, quiet = [], []
    primary = list(files.summary.get("primary") or ())
    for measure in sorted(files.limits, key=lambda m: (m not in primary, m)):
        rows = [r for r in files.flags if r.get("measure") == measure and finite(r.get("mean")) is not None]
        for cohort in dict.fromkeys(str(row["cohort"]) for row in rows):
            found = [row for row in rows if row["cohort"] == cohort]
            flagged.append(LimitLine(_beyond(files, measure, cohort, found), True))
        if not rows and any(h["measure"] == measure for h in files.headlines):
            facts = measure_facts(files, measure)
            unit = f" {facts['unit']}" if facts["unit"] else ""
            quiet.append(f"{facts['title']} (±{files.limits[measure]:g}{unit})")
    if quiet:
        text = f"Within its limit for every method, cohort and condition: {'; '.join(quiet)}."
        return [*flagged, LimitLine(text, False)]
    return flagged


def _beyond(files: StudyFiles, measure: str, cohort: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One cohort's flags of one measure, a method a part, the farthest first."""
    facts = measure_facts(files, measure)
    unit = f" {facts['unit']}" if facts["unit"] else ""
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: -abs(float(row["mean"]))):
        methods.setdefault(str(row["method"]), []).append(row)
    parts: list[str] = []
    for method, found in methods.items():
        condition = condition_of(found[0].get("condition") or {}, files.conditions)
        where = [condition_label(condition)] if condition else []
        if len(found) > 1:
            where.append(f"worst of {len(found)} conditions")
        value = f" {number(found[0]['mean'])}{unit}" if parts else ""
        place = f" ({', '.join(where)})" if where else ""
        parts.append(f"{files.label(method)}{value}{place}")
    first, *others = parts
    worst = number(next(iter(methods.values()))[0]["mean"])
    also = f"; also {', '.join(others)}" if others else ""
    return f"{facts['title']} {worst}{unit} exceeds {files.limits[measure]:g}{unit}: {first}{also}. Cohort “{cohort}”."
