"""Raw images of one shard: simulated here, or a user's files looked at closely before anyone relies on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from senmei.core.seeds import derive_seed, short_hash
from senmei.core.study import Study, file_columns
from senmei.io.atomic import sha256
from senmei.io.roles import load_role
from senmei.io.tables import Row
from senmei.stages.engine import EngineOutput
from senmei.stages.shards import Made, each_scan


def ingest_shard(
    scans: Sequence[Row],
    manifest: Path | str,
    study: Study,
    cohort: Mapping[str, Any],
    *,
    seed: int,
    code: str,
    strict: bool,
    log: Callable[[str], None],
    engine: Sequence[Path | str] = (),
) -> None:
    """Write the raw manifest of a shard: one row an image and role.

    scans : the shard's rows of scans.tsv. Simulated images are written beside it, and what a study reads by itself;
    other files of a user stay where they are and are named with their hash. engine : manifests of phantoms and of each
    seed, of cohorts that have them: what the study gathers from them is written.
    """
    images: dict[str, Row] = {}
    subjects: dict[str, list[Row]] = {}
    for row in scans:
        if row["image"] not in images:
            images[row["image"]] = {**row, "scan": row["image"]}
            subjects.setdefault(row["subject"], []).append(images[row["image"]])
    simulated = cohort["source"] == "simulate"
    looked = EngineOutput(engine, study, cohort) if engine else None

    @lru_cache(maxsize=1)  # bounded: images of one subject follow each other
    def subject_images(subject: str) -> dict[str, dict[str, Any]]:
        return study.simulate(subjects[subject], cohort, derive_seed(seed, "simulate", subject))

    def key(row: Row) -> str:
        if looked:
            content = looked.content(row)
        else:
            content = row["subject"] if simulated else content_of(row)
        return short_hash(code, seed, sorted(cohort.items(), key=str), row["image"], content)

    def produce(row: Row) -> Made:
        if looked:
            roles = looked.raw(row)
            return Made(roles=roles, columns=roles.pop("columns", {}))
        if simulated:
            roles = dict(subject_images(row["subject"])[row["image"]])
            return Made(roles=roles, columns=roles.pop("columns", {}))
        own = study.read(row, cohort)
        if own is not None:
            return Made(
                roles={k: v for k, v in own.items() if k != "columns"}, columns=own.get("columns", {})
            )
        path = Path(row["path"])
        digest = sha256(path)
        volume = load_file(path, cohort, row)
        columns = study.check(row, volume, cohort)
        if row.get("frame") is not None or several_frames(path):  # what is used of a 4D file becomes an image
            return Made(roles={"image": volume}, columns=columns)
        return Made(files={"image": (path, digest)}, columns=columns)

    each_scan(
        list(images.values()),
        produce,
        key=key,
        manifest=manifest,
        provenance={"stage": "ingest", "code": code, "seed": seed, "source": cohort["source"]},
        strict=strict,
        log=log,
    )


def content_of(row: Row) -> str:
    """Hash of all the files that a row names: its SHA-256 where that is one, else a hash of theirs by column."""
    hashes = {name: sha256(Path(row[name])) for name in sorted(file_columns(row))}
    return hashes["path"] if list(hashes) == ["path"] else short_hash(*hashes.items())


def several_frames(path: Path) -> bool:
    """Whether a NIfTI file is a time series, by its header."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return False
    from senmei.io.nifti import read_header

    return read_header(path).frames > 1


def load_file(path: Path, cohort: Mapping[str, Any], row: Row) -> Any:
    """A user's file as the Volume that the cohort's `frames` setting asks for; hostile until proven sound."""
    if path.name.endswith((".nii", ".nii.gz")):
        from senmei.io.nifti import read_volume

        return read_volume(path, ndim=3, frames=row.get("frame", cohort.get("frames")))
    return load_role(path)
