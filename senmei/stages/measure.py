"""Measure or analyse the restored scans of one shard: tidy rows of numbers."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from senmei.core.errors import SenmeiError, of_the_disk
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.roles import save_role
from senmei.io.tables import Row, write_tsv
from senmei.measures import MEASURES
from senmei.stages.shards import Blocked, Manifest, example_of, one_line

COLUMNS = ("scan", "subject", "split", "status", "error", "measure", "value")


def each_restored(
    scans: Sequence[Row], restored: Sequence[Manifest], prepared: Sequence[Manifest]
) -> Iterator[tuple[Row, Example | None, Any, Exception | None]]:
    """(scan row, example, restored value, None), or (row, None, None, reason): Blocked where an earlier stage failed,
    another error where the restored file is not what its manifest says.
    """
    for scan in scans:
        try:
            example, _ = example_of(scan, [m for m in prepared if scan["scan"] in m])
            found = next(m for m in restored if scan["scan"] in m)
            value = found.load(found.roles(scan["scan"])["restored"])
        except (Blocked, SenmeiError) as reason:
            yield scan, None, None, reason
        else:
            yield scan, example, value, None


def measure_shard(
    scans: Sequence[Row],
    restored: Path | str,
    prepared: Sequence[Path | str],
    output: Path | str,
    measures: Mapping[str, str],
    *,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write one row a scan and measure. A measure whose roles this scan does not have is not applicable: no row."""
    functions = {name: MEASURES.get(use) for name, use in measures.items()}

    def values(example: Example, volume: Volume) -> Iterator[tuple[str, Callable[[], float]]]:
        for name, function in functions.items():
            if all(role in example for role in function.requires):
                yield name, partial(function, example, volume)

    _write(scans, restored, prepared, output, values, strict=strict, log=log)


def analyse_shard(
    scans: Sequence[Row],
    restored: Path | str,
    prepared: Sequence[Path | str],
    output: Path | str,
    use: str,
    options: Mapping[str, Any],
    *,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write one row a scan and number of an analysis of scope 'scan', and its files, {scan}_{name}.*, beside them."""
    analysis = _analysis(use, options)
    folder = Path(output).parent

    def values(example: Example, volume: Volume) -> Iterator[tuple[str, Callable[[], float]]]:
        if all(role in example for role in analysis.requires):
            for name, value in analysis.run(example, volume).items():
                yield name, partial(float, value)
            for name, value in analysis.files(example, volume).items():
                save_role(folder / f"{example.scan['scan']}_{name}", value)

    _write(scans, restored, prepared, output, values, strict=strict, log=log)


def analyse_cohort(
    restored: Sequence[Path | str],
    prepared: Sequence[Path | str],
    output: Path | str,
    use: str,
    options: Mapping[str, Any],
    *,
    log: Callable[[str], None],
) -> None:
    """Write the rows of an analysis of scope 'cohort': all test scans that were restored, one after another.

    restored, prepared : manifests, named alike for the same shard; those of one shard are held at a time.
    """
    analysis = _analysis(use, options)
    groups: dict[str, list[Path]] = {}
    for path in map(Path, prepared):
        groups.setdefault(path.name, []).append(path)
    seen = 0

    def pairs() -> Iterator[tuple[Example, Any]]:
        nonlocal seen
        for path in map(Path, restored):
            manifest = Manifest(path)
            scans = [{name: row[name] for name in ("scan", "subject", "split")} for row in manifest]
            seen += len(scans)
            shard = [Manifest(other) for other in groups.get(path.name, ())]
            for _, example, value, reason in each_restored(scans, [manifest], shard):
                if example is not None and reason is None:
                    yield example, value

    folder = Path(output).parent
    folder.mkdir(parents=True, exist_ok=True)
    rows = analysis.run_cohort(pairs(), folder)
    log(f"{len(rows)} values from {seen} scans")
    write_tsv(output, [{"split": "test", "status": "ok", "error": None, **row} for row in rows], COLUMNS)


def _analysis(use: str, options: Mapping[str, Any]) -> Any:
    from senmei.analyses import ANALYSES

    return ANALYSES.get(use)(**options)


def _write(
    scans: Sequence[Row],
    restored: Path | str,
    prepared: Sequence[Path | str],
    output: Path | str,
    values: Callable[[Example, Any], Iterator[tuple[str, Callable[[], float]]]],
    *,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    rows: list[Row] = []
    for n, (scan, example, volume, reason) in enumerate(
        each_restored(scans, [Manifest(restored)], [Manifest(path) for path in prepared]), start=1
    ):
        base = {name: scan.get(name) for name in ("scan", "subject", "split")}
        if isinstance(reason, Blocked):
            rows.append({**base, "status": "blocked", "error": str(reason)})
            continue
        try:
            if example is None:
                raise reason or AssertionError("neither example nor reason")
            for name, compute in values(example, volume):
                value = float(compute())
                status = {"status": "ok", "error": None}
                if not math.isfinite(value):
                    status = {"status": "undefined", "error": f"{name} is {value}"}
                rows.append({**base, **status, "measure": name, "value": value})
            log(f"{n}/{len(scans)} {scan['scan']}: done")
        except Exception as error:
            log(f"{n}/{len(scans)} {scan['scan']}: FAILED\n{traceback.format_exc()}")
            if strict or of_the_disk(error):
                raise
            rows.append({**base, "status": "failed", "error": one_line(error)})
    write_tsv(output, rows, COLUMNS)
