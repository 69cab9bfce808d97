"""Tables of a cohort: participants, scans with their conditions, splits, shards, and what was left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.cohorts import SPLITS, assign_shards, assign_splits, check_splits
from senmei.core.errors import DataError
from senmei.core.study import Study
from senmei.io.atomic import write_text
from senmei.io.table_schemas import check_table
from senmei.io.tables import Row, write_tsv


def tabulate(
    study: Study,
    participants: Sequence[Row],
    images: Sequence[Row],
    name: str,
    cohort: Mapping[str, Any],
    settings: Mapping[str, Any],
    shards: str | int,
) -> list[Row]:
    """Rows of scans.tsv: one a scan, with `split` and `shard`. Pure; what the plan and the cohort job agree on.

    Raises DataError for a training cohort too small to split.
    """
    simulated = cohort["source"] == "simulate"
    present = {image["subject"] for image in images}
    subjects = [p["subject"] for p in participants if p["subject"] in present]
    if cohort["use"] == "train":
        fractions = cohort["split"]
        given = {p["subject"]: p["split"] for p in participants if p.get("split") in SPLITS}
        splits = {**assign_splits(subjects, fractions, ordered=simulated), **given}
        splits = {subject: splits[subject] for subject in subjects}
        check_splits(splits, fractions, f"cohort '{name}'")
    else:
        splits = dict.fromkeys(subjects, "test")
    rows = [{**row, "split": splits[row["subject"]]} for row in study.scans(images, cohort, settings)]
    place = assign_shards(rows, shards)
    return [{**row, "shard": place[row["subject"]]} for row in rows]


def simulated_rows(study: Study, cohort: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """Participants and raw images of a simulated cohort, known from its configuration alone."""
    participants = study.participants(cohort)
    return participants, [image for p in participants for image in study.images(p, cohort)]


def write_cohort(
    folder: Path | str,
    study: Study,
    name: str,
    participants: Sequence[Row],
    images: Sequence[Row],
    status: Sequence[Row],
    cohort: Mapping[str, Any],
    settings: Mapping[str, Any],
    shards: str | int,
    notes: Mapping[str, Any],
) -> None:
    """Write participants, scans, split and status tables and cohort.json into `folder`."""
    folder = Path(folder)
    scans = tabulate(study, participants, images, name, cohort, settings, shards)
    if not scans:
        raise DataError(
            "Cohort is empty",
            where=f"cohort '{name}'",
            why="its images give no scan: no noise level is configured",
            fix="set `noise:` of the cohort or of `degradation:`",
        )
    split = {row["subject"]: row["split"] for row in scans}
    tables = {"participants": participants, "scans": scans, "status": status}
    for kind, rows in tables.items():
        check_table(kind, rows, folder / f"{kind}.tsv")
    write_tsv(folder / "participants.tsv", participants, ("subject",))
    write_tsv(folder / "split.tsv", [{"subject": s, "split": x} for s, x in split.items()])
    write_tsv(folder / "status.tsv", status, ("scan", "subject", "status", "error"))
    facts = {"cohort": name, "source": cohort["source"], "use": cohort["use"], **notes}
    write_text(folder / "cohort.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    write_tsv(folder / "scans.tsv", scans, ("scan", "image", "subject", "split", "shard"))


def read_files(
    study: Study, name: str, cohort: Mapping[str, Any], folder: Path, seed: int, log: Any
) -> tuple[list[Row], list[Row], list[Row], dict[str, Any]]:
    """Participants, raw images, status rows and notes of a cohort read from files: by the study, or by the frame.

    The frame's own doors are for images: `bids`, and `dicom` by dcm2niix.
    """
    if (own := study.list_files(cohort, folder, seed=seed, log=log)) is not None:
        participants, images, status = own
    elif cohort["source"] == "bids":
        from senmei.io.bids import list_bids

        participants, images, status = list_bids(
            cohort["path"],
            suffix=cohort["suffix"],
            entities=cohort.get("entities"),
            frames=cohort.get("frames"),
        )
    else:
        from senmei.engines.dcm2niix import ingest_cohort

        participants, images, status = ingest_cohort(cohort, folder, seed=seed, log=log)
    if own is None:
        images = [
            {"image": image["scan"], **{k: v for k, v in image.items() if k != "scan"}} for image in images
        ]
    if not images:
        raise DataError(
            f"No usable image in cohort '{name}'",
            where=cohort["path"],
            why="; ".join(str(row["error"]) for row in status[:3]) or "nothing matched",
            fix="see why: give the keys that say what its files do not, or check its path and what selects its files",
        )
    case, note = study.case(images, cohort)
    cohort_notes = {"synthetic": case == "phantom", "surrogate": None, "case": case, "note": note}
    return participants, images, status, cohort_notes


def simulate_cohort(
    folder: Path,
    study: Study,
    name: str,
    cohort: Mapping[str, Any],
    settings: Mapping[str, Any],
    shards: str | int,
) -> None:
    """Write the tables of a simulated cohort."""
    participants, images = simulated_rows(study, cohort)
    species = cohort.get("species", "human")
    surrogate = None if species == "human" else f"{species} surrogate"
    notes = {
        "synthetic": True,
        "surrogate": surrogate,
        "case": "phantom",
        "note": f"Simulated{f' ({surrogate})' if surrogate else ''}: the truth is exact.",
    }
    write_cohort(folder, study, name, participants, images, [], cohort, settings, shards, notes)


def list_cohort(
    folder: Path,
    study: Study,
    cohort: Mapping[str, Any],
    settings: Mapping[str, Any],
    shards: str | int,
    *,
    seed: int,
    strict: bool,
    log: Any,
) -> None:
    """List a cohort from files and write its tables; the folder's name is the cohort's.

    strict : raise DataError for the first file that was left out as unusable, instead of a row in status.tsv.
    """
    participants, images, status, notes = read_files(study, folder.name, cohort, folder, seed, log)
    for row in status:
        log(f"{row['status']}: {row['scan'] or row['subject']}: {row['error']}")
    if strict and (bad := [row for row in status if row["status"] == "failed"]):
        raise DataError(
            f"{len(bad)} scan(s) of cohort '{folder.name}' cannot be used",
            where=f"{cohort['path']}: {bad[0]['scan'] or bad[0]['subject']}",
            why=str(bad[0]["error"]),
            fix="mend or remove it, or set `strict: false` to go on without",
        )
    write_cohort(folder, study, folder.name, participants, images, status, cohort, settings, shards, notes)
    log(
        f"{len(images)} images of {len({i['subject'] for i in images})} subjects; {len(status)} remarks in status.tsv"
    )
