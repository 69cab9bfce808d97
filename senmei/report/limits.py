"""Limits that a study sets itself: which means lie beyond theirs, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from senmei.report.files import StudyFiles, condition_label, condition_of, finite
from senmei.report.numbers import measure_facts, number

_SHOWN = 4  # places named of each measure and cohort; the tables mark them all


@dataclass(frozen=True)
class LimitLine:
    """One sentence. flagged: something lies beyond the limit."""

    text: str
    flagged: bool


def limit_lines(files: StudyFiles) -> list[LimitLine]:
    """A sentence a measure and cohort that has flags, the farthest first; a quiet one for each measure that has none.

    A limit whose measure was never taken is not mentioned: nothing was looked at.
    """
    found: list[LimitLine] = []
    for measure, limit in files.limits.items():
        facts = measure_facts(files, measure)
        unit = f" {facts['unit']}" if facts["unit"] else ""
        rows = [r for r in files.flags if r.get("measure") == measure and finite(r.get("mean")) is not None]
        for cohort in dict.fromkeys(str(row["cohort"]) for row in rows):
            far = sorted(
                (row for row in rows if row["cohort"] == cohort), key=lambda row: -abs(float(row["mean"]))
            )
            first, *others = (_place(files, row) for row in far[:_SHOWN])
            text = f"{facts['title']} {number(far[0]['mean'])}{unit} exceeds {limit:g}{unit}: {first}"
            also = [
                f"{place} ({number(row['mean'])}{unit})"
                for place, row in zip(others, far[1:_SHOWN], strict=True)
            ]
            if also:
                text += f"; also {', '.join(also)}"
            if len(far) > _SHOWN:
                text += f"; and {len(far) - _SHOWN} more, marked in the tables"
            found.append(LimitLine(f"{text}. Cohort “{cohort}”.", True))
        if not rows and any(h["measure"] == measure for h in files.headlines):
            text = f"{facts['title']} is within ±{limit:g}{unit} for every method, cohort and condition."
            found.append(LimitLine(text, False))
    return sorted(found, key=lambda line: not line.flagged)


def _place(files: StudyFiles, row: dict[str, Any]) -> str:
    condition = condition_of(row.get("condition") or {}, files.conditions)
    where = f" at {condition_label(condition)}" if condition else ""
    return f"{files.title(str(row['method']))}{where}"
