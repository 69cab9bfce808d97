"""Conditions side by side: in which order they stand, and labels that say only what differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from senmei.report.files import Condition, condition_label, in_order

SEVERAL = 6  # conditions, beyond which a table has one a row


def by_axis(conditions: Sequence[Condition]) -> dict[str, list[Condition]] | None:
    """name -> conditions that differ from the first one given in this name alone, by value, texts last.

    None unless all differ from the first in one name each, and these are several names: axes that cross in a point.
    """
    first, *others = dict.fromkeys(conditions)
    axes: dict[str, list[Condition]] = {}
    for condition in others:
        differs = _differs(condition, first)
        if len(differs) != 1:
            return None
        axes.setdefault(differs[0], []).append(condition)
    if len(axes) < 2:
        return None
    places = {name: n for n, (name, _) in enumerate(first)}
    for name, found in list(axes.items()):
        axes[name] = sorted(found, key=partial(_rank, name))
    return dict(sorted(axes.items(), key=lambda item: places.get(item[0], len(places))))


def arranged(conditions: Sequence[Condition]) -> list[Condition]:
    """Distinct conditions as a table shows them: the first one given, then axis by axis; or by kind and level."""
    if not conditions or (axes := by_axis(conditions)) is None:
        return in_order(conditions)
    return [conditions[0], *(c for found in axes.values() for c in found)]


def short_labels(conditions: Sequence[Condition]) -> dict[Condition, str]:
    """condition -> what distinguishes it from the others; its whole label where it is alone, or nothing would be left.

    Along axes that cross in the first condition, others are named by the one thing in which they differ from it.
    """
    distinct = list(dict.fromkeys(conditions))
    if len(distinct) < 2:
        return {c: condition_label(c) for c in distinct}
    common = set(shared(distinct))
    labels = {c: condition_label(tuple(p for p in c if p not in common) or c) for c in distinct}
    for name, found in (by_axis(distinct) or {}).items():
        for condition in found:
            labels[condition] = condition_label(tuple(p for p in condition if p[0] == name) or condition)
    return labels


def shared(conditions: Sequence[Condition]) -> Condition:
    """What several conditions have in common; nothing of a single one."""
    distinct = list(dict.fromkeys(conditions))
    if len(distinct) < 2:
        return ()
    return tuple(part for part in distinct[0] if all(part in other for other in distinct[1:]))


def _differs(one: Condition, other: Condition) -> list[str]:
    return sorted({name for name, _ in set(one) ^ set(other)})


def _rank(name: str, condition: Condition) -> tuple[bool, float, str]:
    value: Any = dict(condition).get(name)
    text = not isinstance(value, float)
    return text, 0.0 if text else value, str(value)
