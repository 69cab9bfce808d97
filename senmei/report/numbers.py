"""Numbers as the pages use them: printed, compared, and gathered by subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from senmei.report.files import Condition, StudyFiles, condition_of, finite, in_order

Headline = Mapping[str, Any]
_ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "zero": "→ 0"}


def number(value: Any, sign: bool = False, like: Any = None) -> str:
    """A number as the pages print it: about three digits, or as many decimals as `like` gets; '–' for none."""
    x, model = finite(value), finite(like)
    if x is None:
        return "–"
    size = abs(x if model is None else model)
    digits = 1 if size >= 100 else 2 if size >= 1 else 3
    form = f".{digits}f" if size >= 0.001 or size == 0 else ".1e"
    text = format(x, ("+" if sign else "") + form)
    return text.replace("-", "−")


def interval(ci: Any, like: Any = None) -> str | None:
    """'a to b' of a confidence interval, or None. like : as for `number`."""
    if not isinstance(ci, list | tuple) or len(ci) != 2 or None in (finite(ci[0]), finite(ci[1])):
        return None
    return f"{number(ci[0], like=like)} to {number(ci[1], like=like)}"


def direction(difference: Any, better: str) -> str:
    """'better', 'worse' or 'level': a paired difference, by whether its interval leaves zero out.

    One subject has no interval: 'level', for nothing can be claimed from it. For measures that are best at 1 or 0
    the difference is one of distances from it, so less is better, if by 1e-4. What is no score has no direction.
    """
    ci: Any = (difference or {}).get("ci95")
    if better not in ("higher", "lower", "one", "zero") or interval(ci) is None:
        return "level"
    if better == "zero" and max(map(abs, ci)) < 1e-4:
        return "level"  # rounding of float32, not a bias
    low, high = (ci[0], ci[1]) if better == "higher" else (-ci[1], -ci[0])
    return "better" if low > 0 else "worse" if high < 0 else "level"


def best(headlines: Sequence[Headline]) -> Headline | None:
    """The best of headlines of one measure, by its direction; None where no mean is a number, or it is no score."""
    usable = [h for h in headlines if finite(h.get("mean")) is not None]
    scores = {
        "higher": lambda m: m,
        "lower": lambda m: -m,
        "one": lambda m: -abs(m - 1),
        "zero": lambda m: -abs(m),
    }
    score = scores.get(usable[0].get("better", "higher")) if usable else None
    return max(usable, key=lambda h: score(float(h["mean"]))) if score else None


def fair(files: StudyFiles, headlines: Sequence[Headline], family: str) -> list[Headline]:
    """The headlines of one family that a comparison may rest on: what was tuned on the truth is left out."""
    return [h for h in headlines if h.get("family") == family and not files.oracle(str(h["method"]))]


def unit_of(headline: Headline) -> str:
    """The unit of a headline's measure; '' for pure numbers."""
    unit = str(headline.get("unit") or "")
    return "" if unit == "1" else unit


def measure_facts(files: StudyFiles, measure: str) -> dict[str, str]:
    """title, unit, better, axis label of a measure, from the headlines; its bare name where they do not know it."""
    row = next((h for h in files.headlines if h["measure"] == measure), {})
    facts = {"title": str(row.get("title") or measure), "unit": unit_of(row)}
    facts["better"] = str(row.get("better") or "higher") if row else ""
    facts["arrow"] = _ARROWS.get(facts["better"], "")
    unit = f" ({facts['unit']})" if facts["unit"] else ""
    facts["label"] = f"{facts['title']}{unit} {facts['arrow']}".strip()
    return facts


def judged(files: StudyFiles, cohort: str, measure: str) -> pd.DataFrame:
    """Rows of measures.tsv with the finite values of a cohort's test scans, of one measure."""
    table = files.measures
    table = table[(table["cohort"] == cohort) & (table["measure"] == measure)]
    if (table["split"] == "test").any():
        table = table[table["split"] == "test"]
    return table[np.isfinite(table["value"].astype(float))]


def conditions_judged(files: StudyFiles, cohort: str, measure: str) -> list[Condition]:
    """The conditions for which `by_subject` has values, in order."""
    table = judged(files, cohort, measure)
    names = [name for name in files.conditions if name in table.columns]
    if not names:
        return [()] if len(table) else []
    rows = table[names].drop_duplicates().itertuples(index=False, name=None)
    return in_order(condition_of(dict(zip(names, row, strict=True)), names) for row in rows)


def conditions_given(files: StudyFiles, cohort: str, measure: str) -> list[Condition]:
    """The same as the study lists them: the first is what axes start from. Those without headlines come last."""
    rows = [h for h in files.headlines if h["cohort"] == cohort and h["measure"] == measure]
    listed = [condition_of(h.get("condition") or {}, files.conditions) for h in rows]
    judged = conditions_judged(files, cohort, measure)
    return [c for c in dict.fromkeys([*listed, *judged]) if c in judged]


def by_subject(
    files: StudyFiles, cohort: str, measure: str
) -> dict[Condition, dict[str, dict[str, list[float]]]]:
    """condition -> method -> subject -> finite values of its test scans."""
    table = judged(files, cohort, measure)
    names = [name for name in files.conditions if name in table.columns]
    found: dict[Condition, dict[str, dict[str, list[float]]]] = {}
    columns = ["method", "subject", "value", *names]
    for values in zip(*(table[name] for name in columns), strict=True):
        row = dict(zip(columns, values, strict=True))
        subjects = found.setdefault(condition_of(row, names), {}).setdefault(str(row["method"]), {})
        subjects.setdefault(str(row["subject"]), []).append(float(row["value"]))
    return {condition: found[condition] for condition in in_order(found)}
