"""Headlines of a study: means with confidence intervals, and each method against the best tuned classical one."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from senmei.core.seeds import derive_seed
from senmei.core.statistics import Interval, bootstrap_ci, paired_difference

Row = Mapping[str, Any]
Scans = dict[str, dict[str, float]]  # subject -> scan -> value
Cell = tuple[str, tuple[tuple[str, Any], ...], str]  # cohort, condition, measure

# What is compared between two methods: the score itself, or its distance from 1 or 0. Smaller keys are better.
_SCORE: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "higher": (lambda v: v, lambda v: -v),
    "lower": (lambda v: v, lambda v: v),
    "one": (lambda v: abs(v - 1), lambda v: v),
    "zero": (abs, lambda v: v),
}


class Cells:
    """The numbers of the test scans by cohort, condition, measure and method, in twelve bytes each.

    conditions : the condition columns; those that are empty for a scan are not part of its condition.
    rows : tidy, one a value: cohort, method, scan, subject, split, the condition columns, measure, value.
    """

    def __init__(self, conditions: Sequence[str], rows: Iterable[Row] = ()) -> None:
        self._conditions = tuple(conditions)
        self._numbers: dict[tuple[str, str, str], int] = {}  # cohort, subject, scan -> place in _names
        self._names: list[tuple[str, str]] = []  # subject, scan
        self._cells: dict[Cell, dict[str, tuple[array[int], array[float]]]] = {}
        for _ in self.through(rows):
            pass

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, the numbers of the test scans kept as they pass."""
        for row in rows:
            if row["split"] == "test":
                self._add(row)
            yield row

    def _add(self, row: Row) -> None:
        given = ((name, _plain(row.get(name))) for name in self._conditions)
        condition = tuple((name, value) for name, value in given if value is not None)
        cohort, subject, scan = (sys.intern(str(row[name])) for name in ("cohort", "subject", "scan"))
        number = self._numbers.setdefault((cohort, subject, scan), len(self._names))
        if number == len(self._names):
            self._names.append((subject, scan))
        cell = self._cells.setdefault((cohort, condition, str(row["measure"])), {})
        numbers, values = cell.setdefault(str(row["method"]), (array("i"), array("d")))
        numbers.append(number)
        values.append(float(row["value"]))

    def __iter__(self) -> Iterator[tuple[Cell, dict[str, Scans]]]:
        """(cohort, condition, measure), method -> subject -> scan -> value, in the order they came; one at a time."""
        for key, methods in self._cells.items():
            cell: dict[str, Scans] = {}
            for method, (numbers, values) in methods.items():
                scans = cell[method] = {}
                for number, value in zip(numbers, values, strict=True):
                    subject, scan = self._names[number]
                    scans.setdefault(subject, {})[scan] = value
            yield key, cell


def summarise(
    cells: Cells,
    methods: Mapping[str, Mapping[str, Any]],
    measure_meta: Mapping[str, Mapping[str, str]],
    seed: int,
) -> dict[str, Any]:
    """`headlines` and `best_classical` of summary.json, from the test scans alone.

    methods : method -> {family, oracle, ...}; an oracle is nobody's baseline. measure_meta : measure -> {title, unit,
    better}. seed : of the bootstrap.

    One headline a cohort, condition, measure and method: n subjects, mean, 95 % bootstrap interval over
    subjects, and the paired difference from `versus`, the best classical method of the same cohort and condition
    (`family == "classical"`, best by the mean of that measure; null for that method itself). For measures whose
    best value is 1 or 0 the difference is one of distances from it, so negative is better. Measures that are no
    scores (`better == "none"`) have no difference. `best_classical`: cohort -> measure -> method, over the mean
    of its conditions. Values that are not finite are left out; n says how many subjects remain.
    """
    headlines: list[dict[str, Any]] = []
    scores: dict[tuple[str, str, str], list[float]] = {}
    for (cohort, condition, measure), cell in cells:
        meta = measure_meta.get(measure, {"title": measure, "unit": "", "better": "none"})
        draw = derive_seed(seed, "bootstrap", cohort, sorted(condition), measure)
        means = {method: bootstrap_ci(_lists(scans), draw) for method, scans in cell.items()}
        classical = {m: i for m, i in means.items() if i and _baseline(methods.get(m, {}))}
        best = _best(classical, meta["better"])
        for method, interval in means.items():
            if meta["better"] in _SCORE and interval and method in classical:
                scores.setdefault((cohort, measure, method), []).append(
                    _badness(interval.mean, meta["better"])
                )
            versus = best if best != method else None
            difference = None
            if versus is not None:
                score = _SCORE[meta["better"]][0]
                difference = paired_difference(_apply(score, cell[method]), _apply(score, cell[versus]), draw)
            headlines.append(
                {
                    "cohort": cohort,
                    "condition": dict(condition),
                    "measure": measure,
                    **{name: meta[name] for name in ("title", "unit", "better")},
                    "method": method,
                    "family": methods.get(method, {}).get("family", "none"),
                    **_numbers(interval),
                    "versus": versus,
                    "difference": None if difference is None else _numbers(difference),
                }
            )
    return {"headlines": headlines, "best_classical": _best_of_all(scores)}


def flag(headlines: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> list[dict[str, Any]]:
    """Headlines whose mean is farther from 0 than the limit of their measure, as `flags` of summary.json.

    limits : measure -> bound, in the measure's unit. Unrestored scans (`family == "none"`) are flagged like others.
    """
    names = ("cohort", "condition", "method", "measure", "mean")
    return [
        {**{name: row[name] for name in names}, "limit": limits[row["measure"]]}
        for row in headlines
        if row["measure"] in limits and row["mean"] is not None and abs(row["mean"]) > limits[row["measure"]]
    ]


def _baseline(method: Mapping[str, Any]) -> bool:
    return method.get("family") == "classical" and not method.get("oracle")


def _plain(value: Any) -> Any:
    """None for what is missing, a number for what reads as one, text otherwise: what JSON and a reader want."""
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return int(number) if number.is_integer() else number


def _lists(scans: Scans) -> dict[str, list[float]]:
    return {subject: list(values.values()) for subject, values in scans.items()}


def _apply(function: Callable[[float], float], scans: Scans) -> Scans:
    return {s: {scan: function(v) for scan, v in values.items()} for s, values in scans.items()}


def _badness(mean: float, better: str) -> float:
    score, order = _SCORE[better]
    return order(score(mean))


def _best(intervals: Mapping[str, Interval], better: str) -> str | None:
    """The method of the best mean; of equals, the first by name."""
    if better not in _SCORE or not intervals:
        return None
    return min(sorted(intervals), key=lambda method: _badness(intervals[method].mean, better))


def _best_of_all(scores: Mapping[tuple[str, str, str], list[float]]) -> dict[str, dict[str, str]]:
    best: dict[str, dict[str, tuple[float, str]]] = {}
    for (cohort, measure, method), values in sorted(scores.items()):
        candidate = (float(np.mean(values)), method)
        known = best.setdefault(cohort, {}).get(measure)
        best[cohort][measure] = candidate if known is None else min(known, candidate)
    return {cohort: {m: method for m, (_, method) in found.items()} for cohort, found in best.items()}


def _numbers(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {"n": 0, "mean": None, "ci95": None}
    return {
        "n": interval.n,
        "mean": interval.mean,
        "ci95": None if interval.ci is None else list(interval.ci),
    }
