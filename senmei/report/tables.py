"""Tables of numbers: cohorts, summary, headlines. Plain values; templates escape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from senmei.report.conditions import SEVERAL, arranged, shared, short_labels
from senmei.report.files import Condition, StudyFiles, condition_label, condition_of, finite
from senmei.report.methods_text import CASES, SOURCES, split_counts
from senmei.report.numbers import best, direction, fair, interval, measure_facts, number
from senmei.report.style import colours
from senmei.report.verdict import at_condition, badges

_MARKS = {"better": "▲", "worse": "▼", "level": "≈"}


def cohorts_table(files: StudyFiles) -> list[dict[str, Any]]:
    """One row a cohort: what was judged, and how."""
    rows = []
    for name, facts in files.cohorts.items():
        counts = split_counts(files, name)
        rows.append(
            {
                "cohort": name,
                "source": SOURCES.get(str(facts.get("source")), str(facts.get("source") or "–")),
                "use": {"train": "train and test", "test": "test only"}.get(str(facts.get("use")), "–"),
                "subjects": sum(counts.values()),
                "scans": len(files.table(name, "scans")),
                "splits": ", ".join(f"{split} {n}" for split, n in counts.items()) or "–",
                "case": CASES.get(str(facts.get("case")), str(facts.get("case") or "–")),
                "badges": badges(facts),
                "synthetic": bool(facts.get("synthetic")),
            }
        )
    return rows


def ordered_measures(files: StudyFiles, primary: Sequence[str]) -> list[str]:
    """Measures with headlines: the primary first, in their order, then the others.

    Without numbers of the unrestored image alone where analyses show what they found: there is nothing to compare.
    """
    methods: dict[str, set[str]] = {}
    for h in files.headlines:
        methods.setdefault(str(h["measure"]), set()).add(str(h["method"]))
    told = bool(files.summary.get("shown")) and len(files.methods) > 1
    present = [m for m, found in methods.items() if m in primary or not (told and found == {"input"})]
    return [m for m in primary if m in present] + [m for m in present if m not in primary]


def subgroup_tables(files: StudyFiles, primary: Sequence[str]) -> list[dict[str, Any]]:
    """The tables of the primary measures again for each value of a subgroup's column, `within` says which."""
    tables = []
    for name, headlines in files.subgroups.items():
        for value in dict.fromkeys(h["condition"][name] for h in headlines):
            rows = [h for h in headlines if h["condition"][name] == value]
            tables += [
                {**table, "within": str(value), "primary": False}
                for table in summary_tables(files, primary, rows)
                if table["primary"]
            ]
    return tables


def summary_tables(
    files: StudyFiles, primary: Sequence[str], headlines: Sequence[Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """One table a cohort and measure: rows are methods, columns conditions; `turned` where these are many.

    headlines : others than the study's.
    """
    colour = colours(files.methods)
    given = files.headlines if headlines is None else headlines
    tables = []
    for cohort in dict.fromkeys([*files.cohorts, *(h["cohort"] for h in given)]):
        for measure in ordered_measures(files, primary):
            rows = [h for h in given if h["cohort"] == cohort and h["measure"] == measure]
            if not rows:
                continue
            cells: dict[tuple[str, Condition], Mapping[str, Any]] = {
                (str(h["method"]), condition_of(h.get("condition") or {}, files.conditions)): h for h in rows
            }
            conditions = arranged([condition for _, condition in cells])
            labels = short_labels([condition for _, condition in cells])
            columns = {c: [h for (_, k), h in cells.items() if k == c] for c in conditions}
            like = max((abs(h["mean"]) for h in rows if finite(h.get("mean")) is not None), default=None)
            winners = {c: _winners(files, found) for c, found in columns.items()}
            methods = [m for m in files.methods if any((m, c) in cells for c in conditions)]
            facts, limit = measure_facts(files, measure), files.limits.get(measure)
            tables.append(
                {
                    "cohort": cohort,
                    "badges": badges(files.cohorts.get(cohort, {})),
                    "synthetic": bool(files.cohorts.get(cohort, {}).get("synthetic")),
                    "within": "",
                    "everywhere": condition_label(common) if (common := shared(conditions)) else "",
                    "turned": len(conditions) > SEVERAL,
                    "measure": measure,
                    "primary": measure in primary,
                    "limit": None if limit is None else f"{limit:g} {facts['unit']}".strip(),
                    "versus": _versus(rows),
                    "conditions": [
                        {
                            "label": "all images" if not c and measure in files.bounded else labels[c],
                            "n": _counts(found),
                        }
                        for c, found in columns.items()
                    ],
                    "rows": [
                        {
                            "method": m,
                            "title": files.title(m),
                            "family": files.family(m),
                            "colour": colour[m],
                            "oracle": files.oracle(m),
                            "cells": [
                                _cell(cells.get((m, c)), m in winners[c], like, limit) for c in conditions
                            ],
                        }
                        for m in methods
                    ],
                    **facts,
                }
            )
    return tables


def _versus(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The method that differences are from; None where there are none."""
    names = {str(row["versus"]) for row in rows if row.get("versus") and row.get("difference")}
    return names.pop() if len(names) == 1 else "the best classical one of each condition" if names else None


def _winners(files: StudyFiles, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The best methods; one that was tuned on the truth does not compete."""
    rows = [row for row in rows if not files.oracle(str(row["method"]))]
    top = best(rows) if len(rows) > 1 else None
    return {str(row["method"]) for row in rows if top and row.get("mean") == top["mean"]}


def _counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """'n = 4' where all methods were judged on as many subjects; else '' and each cell says its own."""
    counts = {row.get("n") for row in rows if finite(row.get("mean")) is not None}
    return f"n = {counts.pop()}" if len(counts) == 1 and None not in counts else ""


def _cell(
    headline: Mapping[str, Any] | None, is_best: bool, like: Any, limit: float | None = None
) -> dict[str, Any]:
    """One method in one condition. like : a value of the same table, so that decimals agree. limit : of its size."""
    if headline is None or finite(headline.get("mean")) is None:
        return {"mean": "–", "ci": None, "best": False, "n": None, "difference": None, "flagged": False}
    cell: dict[str, Any] = {
        "mean": number(headline["mean"], like=like),
        "ci": interval(headline.get("ci95"), like),
        "best": is_best,
        "flagged": limit is not None and abs(headline["mean"]) > limit,
        "n": headline.get("n"),
        "difference": None,
    }
    difference = headline.get("difference")
    if difference and finite(difference.get("mean")) is not None:
        tone = direction(difference, str(headline.get("better")))
        cell["difference"] = {
            "mean": number(difference["mean"], sign=True, like=like),
            "ci": interval(difference.get("ci95"), like),
            "tone": tone,
            "mark": _MARKS[tone] if interval(difference.get("ci95")) else "",
        }
    return cell


def headline_table(files: StudyFiles, primary: Sequence[str], limit: int = 4) -> list[dict[str, Any]]:
    """For the run's page: a row a cohort and measure: unrestored, best classical, best learned and the difference."""
    found = []
    for cohort in dict.fromkeys([*files.cohorts, *(h["cohort"] for h in files.headlines)]):
        for measure in ordered_measures(files, primary)[:limit]:
            condition, rows = at_condition(files, cohort, measure)
            if not rows or rows[0].get("better") == "none":
                continue
            picks = {f: best(fair(files, rows, f)) for f in ("none", "classical", "learned")}
            learned = picks["learned"] or {}
            difference = learned.get("difference") or {}
            tone = direction(difference, str(learned.get("better")))
            ci = interval(difference.get("ci95"), learned.get("mean"))
            found.append(
                {
                    "cohort": cohort,
                    "badges": badges(files.cohorts.get(cohort, {})),
                    "synthetic": bool(files.cohorts.get(cohort, {}).get("synthetic")),
                    "condition": condition_label(condition) if condition else "all",
                    "cells": [
                        {"mean": number(h["mean"]), "title": "" if f == "none" else files.title(h["method"])}
                        if h
                        else None
                        for f, h in picks.items()
                    ],
                    "difference": number(difference.get("mean"), sign=True, like=learned.get("mean")),
                    "ci": ci,
                    "n": None if learned.get("n", 0) is None else difference.get("n"),
                    "tone": tone if ci else "none",
                    "mark": _MARKS[tone] if ci else "",
                    **measure_facts(files, measure),
                }
            )
    return found
