"""Restored images of one shard as files for whoever gave the scans: what a study writes of each, beside a manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import senmei
from senmei.core.errors import DataError
from senmei.core.seeds import short_hash
from senmei.core.study import Study, is_file_column
from senmei.io.atomic import sha256, write_bytes
from senmei.io.tables import Row
from senmei.stages.cards import read_card
from senmei.stages.shards import COLUMNS, Made, Manifest, each_scan

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_OURS = (".json", ".tsv")  # sidecar and manifest


def export_shard(
    scans: Sequence[Row],
    raw_manifest: Path | str,
    restored_manifest: Path | str,
    card: Path | str,
    manifest: Path | str,
    study: Study,
    cohort: Mapping[str, Any],
    kind: str,
    *,
    use: str,
    rank: int,
    code: str,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write the files of a shard's scans, restored by one method, and their manifest: a row a file, its suffix as role.

    kind : format of the files. use : the method that the configuration names; `card` must name it too. rank : of the
    method among the study's, from 1, for numbers of series. Files of an earlier export of these scans that this one
    does not list are removed, so that none is taken for a new one.
    Raises DataError for a card that was changed. A scan that cannot be written is a row with its error.
    """
    method = read_card(card, use)
    raw, restored = Manifest(raw_manifest), Manifest(restored_manifest)
    folder = Path(manifest).parent
    subjects, numbers = _subject_keys(scans, raw), _numbers(scans, rank)

    def told(row: Row) -> Row:
        """The scan's row with what ingestion found out of its image, without places of files."""
        found = {k: v for entry in raw.roles(row["image"]).values() for k, v in entry.items()}
        named = {k: v for k, v in found.items() if k not in (*COLUMNS, "shard")}
        return {k: v for k, v in {**named, **row}.items() if not is_file_column(k)}

    def about(row: Row) -> dict[str, Any]:
        """The `facts` of `Study.export`."""
        made = (raw.roles(row["image"]), restored.roles(row["scan"]))
        sources = [(role, entry["sha256"]) for part in made for role, entry in sorted(part.items())]
        facts = {"format": kind, "number": numbers[row["scan"]], "version": senmei.__version__}
        facts |= {k: method.get(k) for k in ("method", "title", "family", "weights_sha256")}
        subject = subjects[row["subject"]]
        image = digits("image", subject, row["image"])
        series = digits("series", image, row["scan"], sorted(facts.items()), sources)
        keys = {"subject": subject, "image": image, "series": series}
        return {**facts, "derivation": _derivation(method), "keys": keys}

    def key(row: Row) -> str:
        settings = sorted(map(str, cohort.items()))
        return short_hash(code, settings, sorted(told(row).items(), key=str), sorted(about(row).items()))

    def produce(row: Row) -> Made:
        image = restored.load(restored.roles(row["scan"])["restored"])

        def load(role: str) -> Any:
            return raw.load(raw.roles(row["image"])[role])

        files = study.export(told(row), image, load, cohort, about(row))
        if not files:
            why = f"the study writes nothing of it in the format '{kind}'"
            fix = "choose another format, or leave `export` out"
            raise DataError("Nothing to export", where=row["scan"], why=why, fix=fix)
        return Made(files=_write(folder, row["scan"], files))

    rows = each_scan(
        scans,
        produce,
        key=key,
        manifest=manifest,
        provenance={
            "stage": "export",
            "format": kind,
            "method": method["method"],
            "weights_sha256": method["weights_sha256"],
            "code": code,
            "versions": {"senmei": senmei.__version__},
        },
        strict=strict,
        log=log,
    )
    _remove_stale(folder, scans, rows)


def digits(*parts: Any) -> str:
    """32 hexadecimal digits (128 bits) that follow from `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _subject_keys(scans: Sequence[Row], raw: Manifest) -> dict[str, str]:
    """subject -> digits for identifiers in files: of the content of its first image that can be used.

    Labels alone would be the same in two clinics, and identifiers must not.
    """
    found: dict[str, str] = {}
    for row in sorted(scans, key=lambda row: str(row["image"])):
        if row["subject"] not in found and raw.sound(row["image"]):
            content = [(role, entry["sha256"]) for role, entry in sorted(raw.roles(row["image"]).items())]
            found[row["subject"]] = digits("subject", row["subject"], content)
    return found


def _numbers(scans: Sequence[Row], rank: int) -> dict[str, int]:
    """scan -> number of its series: hundreds count the subject's scans, the rest is the method's rank."""
    found: dict[str, int] = {}
    count: dict[str, int] = {}
    for row in scans:
        count[row["subject"]] = count.get(row["subject"], 0) + 1
        found[row["scan"]] = 100 * count[row["subject"]] + rank
    return found


def _derivation(card: Mapping[str, Any]) -> str:
    version = f"Senmei {senmei.__version__}"
    if card.get("family") == "none":
        return f"Reconstructed, not restored; {version}"
    given = " (given)" if card.get("given") else ""
    return f"Restored by {card.get('title')}, weights SHA-256 {card['weights_sha256']}{given}; {version}"


def _write(folder: Path, scan: str, files: Mapping[str, bytes]) -> dict[str, tuple[Path, str]]:
    for suffix in files:
        if not _SUFFIX.fullmatch(suffix) or suffix in _OURS:
            why = f"{suffix!r} is no suffix of a file, or one that the frame uses"
            fix = "correct the study's `export`"
            raise DataError("Cannot name an exported file", where=scan, why=why, fix=fix)
    made: dict[str, tuple[Path, str]] = {}
    for suffix, content in files.items():
        path = folder / f"{scan}{suffix}"
        write_bytes(path, content)
        made[suffix[1:]] = (path, sha256(path))
    return made


def _remove_stale(folder: Path, scans: Sequence[Row], rows: Sequence[Row]) -> None:
    """Remove files of these scans that the manifest does not list: of another format, or of a scan that now fails."""
    good = [row for row in rows if row["status"] == "ok"]
    kept = {str(row["path"]) for row in good} | {f"{row['scan']}.json" for row in good}
    ours = {str(row["scan"]) for row in scans}
    for path in sorted(folder.iterdir()):
        listed = path.name in kept or path.suffix == ".tsv"  # a shard may bear a scan's name
        if not listed and path.name.partition(".")[0] in ours and path.is_file():
            path.unlink()
