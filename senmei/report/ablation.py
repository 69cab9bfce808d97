"""The ablation: methods that differ from one of them in a setting, and what that is worth, subject by subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from senmei.core.errors import DataError, SenmeiError
from senmei.core.statistics import Interval, bootstrap_ci, paired_difference
from senmei.io.tables import read_tsv
from senmei.report.conditions import arranged, short_labels
from senmei.report.files import StudyFiles, condition_of, finite
from senmei.report.numbers import direction, interval, measure_facts, number
from senmei.report.style import colours
from senmei.report.verdict import badges

_MARKS = {"better": "▲", "worse": "▼", "level": "≈"}
_DISTANCE = {"one": lambda v: (v - 1).abs(), "zero": lambda v: v.abs()}


def ablation_tables(
    files: StudyFiles, ablation: Mapping[str, Any] | None, measures: Sequence[str]
) -> list[dict[str, Any]]:
    """Tables of methods against one of them: over all test scans, then a cohort, a subgroup and a condition each.

    ablation : `base`, a method, and `of`, those that differ from it. measures : names, in order. A row has what of a
    method's settings differs from the base's, by their cards; the mean over subjects of the paired differences, scan by
    scan, with its 95 % bootstrap interval over subjects; and how long training took, where benchmarks/ says so.
    Cohorts of measured and of simulated scans are never averaged. [] where nothing was measured, or no ablation.
    """
    if not ablation:
        return []
    base = str(ablation["base"])
    names = list(dict.fromkeys([base, *map(str, ablation["of"])]))
    values = _values(files, names, measures)
    seconds = {name: _seconds(files, name) for name in names}
    tables = []
    for over, shown, part, first in _parts(files, values):
        rows = [_row(files, part, name, base, measures, seconds) for name in names]
        counts = {cell["n"] for row in rows for cell in row["cells"] if cell["n"]}
        if not counts:
            continue
        if same := len(counts) == 1:
            for row in rows:
                for cell in row["cells"]:
                    cell["n"] = None
        tables.append(
            {
                "over": over,
                "badges": shown,
                "first": first,
                "n": f"n = {counts.pop()} subjects" if same else "n subjects in each cell",
                "measures": [measure_facts(files, m) for m in measures],
                "rows": rows,
                "timed": any(seconds.values()),
            }
        )
    return tables


def _values(files: StudyFiles, methods: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Rows of measures.tsv of the test scans, with distances for measures that are best at 1 or 0."""
    path = files.folder / "measures.tsv"
    wanted = {"cohort", "method", "scan", "subject", "split", "measure", "value"}
    wanted |= {*files.conditions, *files.subgroups}
    try:
        table = pd.read_csv(
            path, sep="\t", na_values=["n/a"], keep_default_na=False, usecols=lambda name: name in wanted,
            dtype=dict.fromkeys(["cohort", "method", "scan", "subject", "split", "measure"], str),
        )  # fmt: skip
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(
            "Cannot read table", where=path, why=str(error), fix="delete it and run `snakemake report` again"
        ) from error
    table = table[
        table["method"].isin(methods) & table["measure"].isin(measures) & (table["split"] == "test")
    ]
    table = table.assign(value=pd.to_numeric(table["value"], errors="coerce"))
    for measure in measures:
        if distance := _DISTANCE.get(measure_facts(files, measure)["better"]):
            here = table["measure"] == measure
            table.loc[here, "value"] = distance(table.loc[here, "value"])
    return table[np.isfinite(table["value"])]


def _parts(
    files: StudyFiles, values: pd.DataFrame
) -> Iterator[tuple[str, tuple[str, ...], pd.DataFrame, bool]]:
    """(what it is of, badges, rows, whether it is of all scans of its kind)."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for cohort in [c for c in files.cohorts if (values["cohort"] == c).any()]:
        kinds.setdefault(badges(files.cohorts[cohort]), []).append(cohort)
    for shown, cohorts in kinds.items():
        rows = values[values["cohort"].isin(cohorts)]
        yield f"All test scans of {', '.join(cohorts)}", shown, rows, True
        for cohort in cohorts if len(cohorts) > 1 else ():
            yield f"Cohort {cohort}", shown, rows[rows["cohort"] == cohort], False
        for name in files.subgroups:
            found = sorted(map(str, rows[name].dropna().unique()))
            if (rows.groupby("cohort")[name].nunique() < 2).all():
                continue  # cohorts of one each: shown already
            for value in found:
                yield f"{value[:1].upper()}{value[1:]}", shown, rows[rows[name].astype(str) == value], False
        columns = [name for name in files.conditions if name in rows.columns]
        of = [
            condition_of(dict(zip(columns, row, strict=True)), columns)
            for row in rows[columns].itertuples(index=False, name=None)
        ]
        labels = short_labels(of) if columns else {}
        for condition in arranged(of) if len(labels) > 1 else ():
            label = labels[condition]
            yield f"At {label.removeprefix('at ')}", shown, rows[[c == condition for c in of]], False


def _row(
    files: StudyFiles,
    part: pd.DataFrame,
    method: str,
    base: str,
    measures: Sequence[str],
    seconds: Mapping[str, float | None],
) -> dict[str, Any]:
    cells = []
    for measure in measures:
        rows = part[part["measure"] == measure]
        ours, theirs = (_by_subject(rows[rows["method"] == name]) for name in (method, base))
        means = bootstrap_ci({s: list(scans.values()) for s, scans in theirs.items()}, seed=0)
        found = means if method == base else paired_difference(ours, theirs, seed=0)
        like = means.mean if means else None
        cells.append(_cell(found, method == base, measure_facts(files, measure)["better"], like))
    took = seconds[method]
    return {
        "method": method,
        "title": files.title(method),
        "colour": colours(files.methods).get(method, ""),
        "differs": [] if method == base else differences(files, method, base),
        "cells": cells,
        "seconds": "–" if took is None else f"{took:.0f}",
    }


def _by_subject(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """subject -> scan -> value; subjects and scans of cohorts are others where they share a name."""
    found: dict[str, dict[str, float]] = {}
    names = ("cohort", "subject", "scan", "value")
    for cohort, subject, scan, value in zip(*(rows[name] for name in names), strict=True):
        found.setdefault(f"{cohort}/{subject}", {})[f"{cohort}/{scan}"] = float(value)
    return found


def _cell(found: Interval | None, absolute: bool, better: str, like: float | None) -> dict[str, Any]:
    cell: dict[str, Any] = {"mean": None, "ci": None, "difference": None, "n": found.n if found else None}
    if found is None:
        return cell
    ci = list(found.ci) if found.ci else None
    if absolute:
        return {**cell, "mean": number(found.mean), "ci": interval(ci, found.mean)}
    tone = direction({"ci95": ci}, better)
    cell["difference"] = {
        "mean": number(found.mean, sign=True, like=like),
        "ci": interval(ci, like),
        "tone": tone,
        "mark": _MARKS[tone] if ci else "",
    }
    return cell


def differences(files: StudyFiles, method: str, base: str) -> list[str]:
    """What of a method's settings is not the base's, by their cards: 'loss: mse, not mse_ssim'."""
    one, other = (dict(files.cards.get(name, {}).get("settings") or {}) for name in (method, base))
    uses = [str(files.cards.get(name, {}).get("use", name)) for name in (method, base)]
    found = [f"method: {uses[0]}, not {uses[1]}"] if uses[0] != uses[1] else []
    for name in sorted({*one, *other}):
        ours, theirs = (_said(settings.get(name, "default")) for settings in (one, other))
        if ours != theirs:
            found.append(f"{name.replace('_', ' ')}: {ours}, not {theirs}")
    return found


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no"}.get(value, "default")  # type: ignore[arg-type]
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _seconds(files: StudyFiles, method: str) -> float | None:
    """Wall-clock time of the training job, of its benchmark; None where there is none, as after a copy of results."""
    path = files.folder.parent / "benchmarks" / files.name / "train" / f"{method}.tsv"
    try:
        rows = read_tsv(path) if path.exists() else []
    except SenmeiError:
        return None
    return finite(rows[-1].get("s")) if rows else None
