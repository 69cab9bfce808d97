"""What a study found, in one sentence a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from senmei.report.conditions import shared
from senmei.report.files import Condition, StudyFiles, condition_label, condition_of, finite, in_order, kind
from senmei.report.numbers import Headline, best, direction, fair, interval, number, unit_of

_UNJUDGED = (
    "There is no reference for these scans: numbers cannot tell which method restores them best. "
    "Look at the images, and at the limits below."
)


@dataclass(frozen=True)
class Verdict:
    """One cohort's verdict. tone: 'better', 'level', 'worse' or 'none'. badge: what kind of scans these are."""

    cohort: str
    text: str
    tone: str
    badges: tuple[str, ...]


def middle_condition(conditions: Sequence[Condition]) -> Condition | None:
    """The condition a verdict is given for: all scans together if that was summarised, else the middle level
    of the kind of condition that has most levels. Where several things vary, none of them noise or dose, the first.
    """
    found = in_order(conditions)
    if not found:
        return None
    if () in found:
        return ()
    varied = {name for condition in found for name, _ in set(condition) - set(shared(found))}
    if len(varied) > 1 and not varied & {"noise", "dose"}:
        return conditions[0]
    levels = [condition for condition in found if kind(condition) == kind(found[0])]
    return levels[len(levels) // 2]


def badges(facts: dict[str, Any]) -> tuple[str, ...]:
    """Labels of a cohort that must stand wherever it is named."""
    real = "real scans, noise added" if facts.get("case") == "clean" else "real scans"
    found = ["synthetic" if facts.get("synthetic") else real]
    surrogate = facts.get("surrogate")
    if surrogate:
        found.append(str(surrogate) if "surrogate" in str(surrogate) else f"{surrogate} surrogate")
    return tuple(found)


def named(files: StudyFiles, cohort: str) -> str:
    """A cohort's name with its labels, for captions: 'rats (synthetic, rat surrogate)'."""
    return f"{cohort} ({', '.join(badges(files.cohorts.get(cohort, {})))})"


def first_measure(files: StudyFiles, primary: Sequence[str], cohort: str | None = None) -> str | None:
    """The first of `primary` that has headlines (of a cohort), else the first score that has any."""
    present = [
        h["measure"] for h in files.headlines if cohort in (None, h["cohort"]) and h.get("better") != "none"
    ]
    return next((name for name in primary if name in present), present[0] if present else None)


def at_condition(files: StudyFiles, cohort: str, measure: str) -> tuple[Condition, list[Headline]]:
    """The condition a cohort's verdict is for, and the headlines of a measure there."""
    rows = [h for h in files.headlines if h["cohort"] == cohort and h["measure"] == measure]
    keys = [condition_of(h.get("condition") or {}, files.conditions) for h in rows]
    chosen = middle_condition(keys)
    return chosen or (), [row for row, key in zip(rows, keys, strict=True) if key == chosen]


def verdicts(files: StudyFiles, primary: Sequence[str]) -> list[Verdict]:
    """One verdict a cohort that was judged: those judged by the first primary measure first, real before synthetic."""
    found = []
    judged = {h["cohort"] for h in files.headlines}
    for cohort in [c for c in files.cohorts if c in judged] + sorted(judged - set(files.cohorts)):
        measure = first_measure(files, primary, cohort)
        if measure is None:
            continue
        condition, rows = at_condition(files, cohort, measure)
        facts = files.cohorts.get(cohort, {})
        if facts.get("case") == "none" and (measure not in primary or measure in files.limits):
            text, tone = (
                _UNJUDGED,
                "none",
            )  # a bound that all keep, such as counts, tells nothing of who is better
        else:
            text, tone = _sentence(files, rows, condition)
        found.append((measure, Verdict(cohort, text, tone, badges(facts))))
    lead = first_measure(files, primary)
    return [verdict for _, verdict in sorted(found, key=lambda pair: pair[0] != lead)]


def _sentence(files: StudyFiles, rows: Sequence[Headline], condition: Condition) -> tuple[str, str]:
    learned = best(fair(files, rows, "learned"))
    classical = best(fair(files, rows, "classical"))
    at = condition_label(condition) if condition else "all conditions"
    if learned is None:
        if classical is None:
            return f"Nothing to compare yet ({at}).", "none"
        value = f"{classical['title']} {number(classical['mean'])} {unit_of(classical)}".strip()
        ci = interval(classical.get("ci95"), classical["mean"])
        note = f"95 % CI {ci}; " if ci else ""
        lead = f"{_name(files, classical['method'])} is the best tuned classical method"
        said = f"{lead}: {value} ({note}{_subjects(classical)}; {at}). No learned method was judged."
        return said + _bound(files, rows), "none"
    difference, versus = learned.get("difference") or {}, learned.get("versus")
    name = _name(files, learned["method"])
    unit = f" {unit_of(learned)}" if unit_of(learned) else ""
    if versus is None or finite(difference.get("mean")) is None:
        value = f"{learned['title']} {number(learned['mean'])}{unit}"
        return (
            f"{name}: {value} ({_subjects(learned)}; {at}). No tuned classical method to compare with.",
            "none",
        )
    tone, ci = (
        direction(difference, learned.get("better", "higher")),
        interval(difference.get("ci95"), difference["mean"]),
    )
    gain = difference["mean"] > 0 if learned.get("better") == "higher" else difference["mean"] < 0
    verb = {
        "better": "is better than",
        "worse": "is worse than",
        "level": "is level with" if ci else ("lies ahead of" if gain else "lies behind"),
    }[tone]
    note = f"95 % CI {ci}; " if ci else "no interval; "
    off = {"one": " off 1 by", "zero": " off 0 by"}.get(str(learned.get("better")), "")
    amount = f"{learned['title']}{off} {number(difference['mean'], sign=True)}{unit}"
    rival = f"{'an oracle' if files.oracle(versus) else 'the best tuned classical method'}, {_name(files, versus)}"
    bound = "" if files.oracle(versus) else _bound(files, rows)
    counted = _subjects(learned if learned.get("n", 0) is None else difference)
    if difference.get("n") == 2:  # whose interval is just the two of them
        bound, tone = f" Two subjects prove nothing.{bound}", "none"
    return f"{name} {verb} {rival}: {amount} ({note}{counted}; {at}).{bound}", tone


def _bound(files: StudyFiles, rows: Sequence[Headline]) -> str:
    """What the best method that was tuned on the truth reaches; '' where there is none."""
    oracle = best([h for h in rows if files.oracle(str(h["method"]))])
    if oracle is None:
        return ""
    name, value = files.title(oracle["method"]), f"{number(oracle['mean'])} {unit_of(oracle)}".strip()
    return f" Oracle: {name if 'truth' in name else f'{name}, tuned on the truth'}, {value}."


def _name(files: StudyFiles, method: str) -> str:
    title = files.title(method)
    return title if title == method else f"{title} ({method})"


def _subjects(facts: Headline) -> str:
    n = facts.get("n")
    if n is None:
        return "all images of the cohort"
    return f"n = {n} subject{'' if n == 1 else 's'}"
