"""Roles of one group for the scans of one shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.seeds import derive_seed, short_hash
from senmei.core.study import Study, is_file_column
from senmei.io.tables import Row
from senmei.stages.shards import COLUMNS, Made, Manifest, each_scan


def prepare_shard(
    scans: Sequence[Row],
    raw_manifest: Path | str,
    group: str,
    manifest: Path | str,
    study: Study,
    cohort: Mapping[str, Any],
    degradation: Mapping[str, Any],
    *,
    seed: int,
    code: str,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write the manifest of one role group: what the study's `prepare` makes of each scan."""
    raw = Manifest(raw_manifest)
    loaded: dict[str, Any] = {}
    siblings: dict[str, dict[str, None]] = {}
    for row in scans:
        siblings.setdefault(row["subject"], {})[row["image"]] = None

    def load(image: str, role: str) -> Any:
        entry = raw.roles(image)[role]
        if entry["sha256"] not in loaded:
            if len(loaded) > 8:
                loaded.clear()  # bounded: scans of one image follow each other
            loaded[entry["sha256"]] = raw.load(entry)
        return loaded[entry["sha256"]]

    def columns(row: Row) -> Row:
        extra = {
            k: v for entry in raw.roles(row["image"]).values() for k, v in entry.items() if k not in COLUMNS
        }
        others = [image for image in siblings[row["subject"]] if image != row["image"] and raw.sound(image)]
        return {**extra, **row, "siblings": others}

    def key(row: Row) -> str:
        row = columns(row)
        images = [row["image"], *row["siblings"]] if group in study.uses_siblings else [row["image"]]
        hashes = [e["sha256"] for i in images for e in raw.roles(i).values()]
        told = sorted(row.items(), key=str), sorted(map(str, degradation.items()))
        return short_hash(code, seed, group, *told, sorted(map(str, cohort.items())), hashes)

    def produce(row: Row) -> Made:
        roles, extra = study.prepare(
            group, columns(row), load, cohort, degradation, derive_seed(seed, "prepare")
        )
        # conditions go along, places of files do not
        own = {k: v for k, v in row.items() if k not in (*COLUMNS, "shard") and not is_file_column(k)}
        return Made(roles=roles, columns={**own, **extra})

    each_scan(
        scans,
        produce,
        key=key,
        manifest=manifest,
        provenance={"stage": "prepare", "group": group, "code": code, "seed": seed},
        strict=strict,
        log=log,
    )
