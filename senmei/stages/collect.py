"""Gather a study: the tidy table of measures, what failed, and the headlines with their confidence intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.analyses.summary import Cells, flag, summarise
from senmei.core.fingerprint import class_constants
from senmei.io.atomic import write_text
from senmei.io.shown import NAME as SHOWN
from senmei.io.tables import Row, iter_tsv, stream_tsv
from senmei.studies import STUDIES

_BY_METHOD = ("restored", "exported", "measured", "analysed")


def collect_study(
    folder: Path,
    results: Sequence[str],
    stages: Sequence[str],
    cards: Sequence[str],
    name: str,
    use: str,
    *,
    run: str,
    measures: Mapping[str, str],
    analyses: Mapping[str, str],
    seed: int,
) -> None:
    """Write measures.tsv, status.tsv and summary.json into a study's folder.

    results : tables of measures and analyses. stages : manifests and status tables of the stages before.
    cards : of the methods. name, use : of the study. measures, analyses : name -> registered name or place.
    """
    study = STUDIES.get(use)
    conditions = list(study.conditions)
    cells, groups = Cells(conditions), {column: Cells([*conditions, column]) for column in study.subgroups}
    told_of = [*conditions, *study.subgroups]
    columns = ("study", "cohort", "method", "scan", "subject", "split", *told_of, "measure", "value")
    rows = cells.through(_tidy(folder, name, results, told_of))
    for group in groups.values():
        rows = group.through(rows)
    stream_tsv(folder / "measures.tsv", rows, columns)
    failed = 0

    def status() -> Iterator[Row]:
        nonlocal failed
        for row in _failures(folder, [*stages, *results]):
            failed += row["status"] == "failed"
            yield row

    told = ("stage", "cohort", "method", "scan", "subject", "status", "error")
    stream_tsv(folder / "status.tsv", status(), told)
    facts = [json.loads(Path(card).read_text(encoding="utf-8")) for card in cards]
    methods = {card["method"]: {name: card[name] for name in ("family", "title", "oracle")} for card in facts}
    limits = limits_of(measures, analyses)
    known = measure_facts(measures, analyses)
    summary = summarise(cells, methods, known, seed)
    each = {column: summarise(group, methods, known, seed)["headlines"] for column, group in groups.items()}
    summary["subgroups"] = {c: [h for h in found if c in h["condition"]] for c, found in each.items()}
    summary |= {"limits": limits, "flags": flag(summary["headlines"], limits)}
    summary |= {"study": name, "run": run, "title": study.title, "failures": failed}
    summary["exported"], summary["shown"] = exported_of(folder, stages), shown_of(folder, results)
    summary["primary"], summary["figures"] = list(study.primary), dict(study.figures)
    write_text(folder / "summary.json", json.dumps(summary, indent=1, sort_keys=True, default=str) + "\n")


def exported_of(folder: Path, stages: Sequence[str]) -> list[dict[str, Any]]:
    """What went back as files: of each cohort and method the folder, kinds of file, scans with and without any."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in stages:
        stage, cohort, method = _place(folder, path)
        if stage != "export":
            continue
        place = Path(path).parent.relative_to(folder).as_posix()
        empty: dict[str, Any] = {"cohort": cohort, "method": method, "folder": place}
        entry = found.setdefault((cohort, method), {**empty, "kinds": [], "scans": 0, "without": 0})
        last = None
        for row in iter_tsv(path):
            if row["status"] != "ok":
                entry["without"] += 1
                continue
            entry["scans"] += row["scan"] != last
            last = row["scan"]
            if row["role"] not in entry["kinds"]:
                entry["kinds"].append(row["role"])
    return [found[key] for key in sorted(found)]


def shown_of(folder: Path, results: Sequence[str]) -> list[str]:
    """Folders of analyses that show something on the page, relative to the study's, in the order of `results`."""
    found = dict.fromkeys(Path(path).parent for path in results)
    return [place.relative_to(folder).as_posix() for place in found if (place / SHOWN).is_file()]


def _place(folder: Path, path: str) -> tuple[str, str, str]:
    """(stage, cohort, method or '') of a table, from where it lies."""
    parts = Path(path).relative_to(folder).parts
    stage = {
        "cohorts": {"raw": "ingest", "phantom": "phantom"}.get(parts[2], "cohort"),
        "prepared": "prepare",
        "restored": "restore",
        "exported": "export",
    }
    stage |= {"measured": "measure", "analysed": "analyse"}
    return stage[parts[0]], parts[1], parts[-2] if parts[0] in _BY_METHOD else ""


def measure_facts(measures: Mapping[str, str], analyses: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Title, unit and direction of every number that measures and analyses give."""
    from senmei.analyses import ANALYSES
    from senmei.measures import MEASURES

    facts = {}
    for name, use in measures.items():
        function = MEASURES.get(use)
        facts[name] = {"title": function.title, "unit": function.unit, "better": function.better}
    for use in analyses.values():
        for name, (title, unit, better) in class_constants(ANALYSES.place(use))["MEASURES"].items():
            facts[name] = {"title": title, "unit": unit, "better": better}
    return facts


def limits_of(measures: Mapping[str, str], analyses: Mapping[str, str]) -> dict[str, float]:
    """Name of a number -> bound beyond which the size of its mean is flagged, over all measures and analyses."""
    from senmei.analyses import ANALYSES
    from senmei.measures import MEASURES

    bounds = {name: MEASURES.get(use).limit for name, use in measures.items()}
    found = {name: float(bound) for name, bound in bounds.items() if bound is not None}
    for use in analyses.values():
        found |= class_constants(ANALYSES.place(use)).get("LIMITS", {})
    return found


def _tidy(folder: Path, study: str, results: Sequence[str], conditions: Sequence[str]) -> Iterator[Row]:
    """Rows of measures.tsv, one after another."""
    known: dict[str, dict[str, tuple[Any, ...]]] = {}  # cohort -> scan -> values of its conditions
    same: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # one copy of each condition, not one a scan
    for path in results:
        _, cohort, method = _place(folder, path)
        if cohort not in known:
            scans = known[cohort] = {}
            for row in iter_tsv(folder / "cohorts" / cohort / "scans.tsv"):
                values = tuple(row.get(name) for name in conditions)
                scans[row["scan"]] = same.setdefault(values, values)
        for row in iter_tsv(path):
            if row["status"] != "ok" or row["measure"] is None:
                continue
            yield {
                "study": study,
                "cohort": cohort,
                "method": method,
                **{name: row[name] for name in ("scan", "subject", "split")},
                **dict(zip(conditions, known[cohort].get(row["scan"], ()), strict=False)),
                **{name: row[name] for name in ("measure", "value")},
            }


def _failures(folder: Path, paths: Iterable[str]) -> Iterable[Row]:
    """What is not ok, told once, by the stage where it happened; later stages are only blocked."""
    for path in paths:
        stage, cohort, method = _place(folder, path)
        for row in iter_tsv(path):
            if row.get("status") not in ("ok", "blocked"):
                facts = {name: row.get(name) for name in ("scan", "subject", "status", "error")}
                yield {"stage": stage, "cohort": cohort, "method": method, **facts}
