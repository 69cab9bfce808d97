"""Phantoms, and what programs of others make of them: the maps in one job a shard, the photons in one more a seed.

A seed is a job of its own so that a cluster can spread them, and so that one that fails is the only one done again.
Its images are kept one by one beside its manifest: what a killed job had finished is not simulated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from senmei.core.errors import ConfigError, EngineError, SenmeiError
from senmei.core.interruption import leave_when_told
from senmei.core.seeds import derive_seed, short_hash
from senmei.core.study import Study, file_columns
from senmei.io.atomic import sha256
from senmei.io.tables import Row
from senmei.stages.shards import COLUMNS, Blocked, Made, Manifest, each_scan

START_MINUTES = 10  # of a job that are not simulation
_LAST = 4096  # bytes of what a failed program said


def render_shard(
    images: Sequence[Row],
    manifest: Path | str,
    study: Study,
    cohort: Mapping[str, Any],
    *,
    seed: int,
    code: str,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write the phantom manifest of a shard: the maps that an engine will look at, one row an image and role.

    images : rows with `scan` (the image's name), `subject`, and what the study's `render` needs. A phantom whose files
    cannot be used is a failed row; its image is then blocked further on. Raises the first EngineError or ConfigError
    once all have been tried: a program that makes phantoms and failed is asked again.
    """
    subjects: dict[str, list[Row]] = {}
    for row in images:
        subjects.setdefault(row["subject"], []).append(row)

    @lru_cache(maxsize=1)  # bounded: images of one subject follow each other
    def rendered(subject: str) -> dict[str, dict[str, Any]]:
        return study.render(subjects[subject], cohort, derive_seed(seed, "simulate", subject))

    def key(row: Row) -> str:
        files = {name: sha256(Path(row[name])) for name in sorted(file_columns(row))}
        return short_hash(code, seed, sorted(cohort.items(), key=str), _told(row), *files.items())

    failed: list[Exception] = []

    def produce(row: Row) -> Made:
        try:
            roles = dict(rendered(row["subject"])[row["image"]])
        except (EngineError, ConfigError) as error:
            failed.append(error)
            raise
        return Made(roles=roles, columns=roles.pop("columns", {}))

    with leave_when_told():
        each_scan(
            images,
            produce,
            key=key,
            manifest=manifest,
            provenance={"stage": "phantom", "code": code, "seed": seed},
            strict=strict,
            log=log,
        )
    if failed:
        Path(manifest).unlink(missing_ok=True)
        raise failed[0]


def engine_shard(
    images: Sequence[Row],
    phantoms: Path | str,
    manifest: Path | str,
    study: Study,
    cohort: Mapping[str, Any],
    number: int,
    *,
    seed: int,
    code: str,
    minutes: float,
    strict: bool,
    log: Callable[[str], None],
    failures: Path | str | None = None,
) -> None:
    """Run one seed of an engine on the phantoms of a shard and write its manifest.

    number : of the seed, from 1. minutes : of the whole job; what START_MINUTES leaves is shared by its images.
    failures : a file that every failure is added to, because a job's log begins anew when it is retried.
    Raises the first image's error once all have been tried (with `strict` at once): a seed that lacks an image has
    failed, and is tried again without repeating what it finished.
    """
    maps = Manifest(phantoms)
    share = max(float(minutes) - START_MINUTES, float(minutes) / 2) / max(1, len(images))
    failed: list[Exception] = []

    def key(row: Row) -> str:
        hashes = sorted((role, entry["sha256"]) for role, entry in maps.roles(row["scan"]).items())
        return short_hash(code, seed, number, sorted(cohort.items(), key=str), row["scan"], hashes)

    def produce(row: Row) -> Made:
        roles = maps.roles(row["scan"])
        with TemporaryDirectory(prefix="senmei-", ignore_cleanup_errors=True) as folder:
            try:
                made, facts = study.run_engine(
                    row,
                    lambda role: maps.load(roles[role]) if role in roles else None,
                    cohort,
                    number=number,
                    seed=derive_seed(seed, "engine", row["scan"]),
                    minutes=share,
                    folder=Path(folder),
                )
            except SenmeiError as error:
                failed.append(error)
                _note(failures, f"seed {number}, {row['scan']}: {error}{_said(Path(folder))}")
                raise
        return Made(roles=made, columns=facts)

    with leave_when_told():
        rows = each_scan(
            images,
            produce,
            key=key,
            manifest=manifest,
            provenance={"stage": "engine", "code": code, "seed": seed, "number": number},
            strict=strict,
            log=log,
        )
    if any(row["status"] == "failed" for row in rows):
        Path(manifest).unlink(missing_ok=True)
        if failed:
            raise failed[0]
        raise EngineError(
            f"Seed {number} failed",
            where=next(row["scan"] for row in rows if row["status"] == "failed"),
            why=str(next(row["error"] for row in rows if row["status"] == "failed")),
            fix="the log tells where; run again: images that are done are not simulated twice",
        )


class EngineOutput:
    """What ingestion reads of a shard: its phantoms, and what every seed gave of them (none: phantoms alone)."""

    def __init__(self, manifests: Sequence[Path | str], study: Study, cohort: Mapping[str, Any]) -> None:
        self.study, self.cohort = study, cohort
        self.maps, *self.seeds = [Manifest(path) for path in manifests]

    def content(self, row: Row) -> str:
        """Hash of all that an image's raw roles are made of. Raises Blocked where a phantom or a seed failed."""
        hashes = [
            sorted((role, entry["sha256"]) for role, entry in manifest.roles(row["scan"]).items())
            for manifest in (self.maps, *self.seeds)
        ]
        return short_hash(*hashes)

    def raw(self, row: Row) -> dict[str, Any]:
        """Raw roles of an image, and `columns`, as the study gathers them."""
        runs = [(self._loader(manifest, row), _facts(manifest, row)) for manifest in self.seeds]
        return self.study.gather(row, self._loader(self.maps, row), runs, self.cohort)

    def _loader(self, manifest: Manifest, row: Row) -> Callable[[str], Any]:
        roles = manifest.roles(row["scan"])
        if not roles:
            raise Blocked(f"{manifest.path.name} does not tell of it")
        return lambda role: manifest.load(roles[role]) if role in roles else None


def _facts(manifest: Manifest, row: Row) -> Row:
    """What a seed told of its run: the columns of its manifest that are not the frame's."""
    first = next(iter(manifest.roles(row["scan"]).values()), {})
    return {k: v for k, v in first.items() if k not in COLUMNS}


def _told(row: Row) -> list[tuple[str, str]]:
    """What a row says of its image, places of files and shards left out: they may change and it does not."""
    places = {*file_columns(row), "shard", "split"}
    return sorted((name, str(value)) for name, value in row.items() if name not in places)


def _said(folder: Path) -> str:
    """The last words of a program that failed: of each *.log in its work folder."""
    words = ""
    for path in sorted(folder.rglob("*.log")):
        with suppress(OSError), open(path, "rb") as stream:
            stream.seek(-min(_LAST, path.stat().st_size), 2)
            text = stream.read().decode("utf-8", "replace")
            words += f"\n  {path.name} ends:\n" + "".join(c if c.isprintable() else "\n" for c in text)
    return words


def _note(path: Path | str | None, text: str) -> None:
    if path is None:
        return
    with suppress(OSError), open(path, "a", encoding="utf-8") as file:  # it is told in the log, too
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n\n")
