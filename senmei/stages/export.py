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
from senmei.core.study import Study
from senmei.io.atomic import sha256, write_bytes
from senmei.io.tables import Row
from senmei.stages.shards import COLUMNS, Blocked, Made, Manifest, each_scan
from senmei.stages.train import read_card

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
    code: str,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write the files of a shard's scans, restored by one method, and their manifest: a row a file, its suffix as role.

    kind : format of the files. use : the method that the configuration names; `card` must name it too. Files of an
    earlier export of these scans that this one did not write are removed, so that none is taken for a new one.
    Raises DataError for a card that was changed. A scan that cannot be written is a row with its error.
    """
    facts = read_card(card, use)
    raw, restored = Manifest(raw_manifest), Manifest(restored_manifest)
    folder = Path(manifest).parent
    subjects = _subject_keys(scans, raw)

    def told(row: Row) -> Row:
        """The scan's row with what ingestion found out of its image, without places of files."""
        own = {
            k: v
            for e in raw.roles(row["image"]).values()
            for k, v in e.items()
            if k not in (*COLUMNS, "shard")
        }
        return {**own, **{k: v for k, v in row.items() if k != "path" and not k.endswith("_path")}}

    def sources(row: Row) -> list[tuple[str, str]]:
        images = raw.roles(row["image"])
        made = restored.roles(row["scan"])
        return [(role, e["sha256"]) for part in (images, made) for role, e in sorted(part.items())]

    def key(row: Row) -> str:
        settings = sorted(map(str, cohort.items()))
        weights = facts["weights_sha256"], facts["title"]
        about = (
            kind,
            *weights,
            senmei.__version__,
            subjects[row["subject"]],
            sorted(told(row).items(), key=str),
        )
        return short_hash(code, settings, about, sources(row))

    def produce(row: Row) -> Made:
        made = restored.roles(row["scan"])
        if "restored" not in made:
            raise Blocked("there is no restored image")
        image = restored.load(made["restored"])
        files = study.export(
            told(row),
            image,
            lambda role: raw.load(raw.roles(row["image"])[role]),
            cohort,
            _facts(facts, kind, subjects[row["subject"]], row, sources(row)),
        )
        if not files:
            why = f"the study writes nothing of it in the format '{kind}'"
            raise DataError(
                "Nothing to export", where=row["scan"], why=why, fix="leave this cohort's `export` out"
            )
        return Made(files=_write(folder, row["scan"], files))

    rows = each_scan(
        scans,
        produce,
        key=key,
        manifest=manifest,
        provenance={
            "stage": "export",
            "format": kind,
            "method": facts["method"],
            "weights_sha256": facts["weights_sha256"],
            "code": code,
            "versions": {"senmei": senmei.__version__},
        },
        strict=strict,
        log=log,
    )
    _remove_stale(folder, scans, rows, Path(manifest).name)


def _subject_keys(scans: Sequence[Row], raw: Manifest) -> dict[str, str]:
    """subject -> digits for identifiers in files: of the content of its first image that can be used.

    Labels alone would be the same in two clinics, and identifiers must not.
    """
    found: dict[str, str] = {}
    for row in sorted(scans, key=lambda row: str(row["image"])):
        if row["subject"] not in found and raw.sound(row["image"]):
            content = [(role, e["sha256"]) for role, e in sorted(raw.roles(row["image"]).items())]
            found[row["subject"]] = digits("subject", row["subject"], content)
    return {**{row["subject"]: "" for row in scans}, **found}


def digits(*parts: Any) -> str:
    """32 hexadecimal digits (128 bits) that follow from `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _facts(
    card: Mapping[str, Any], kind: str, subject: str, row: Row, sources: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """What a study may say of a restored image, see `Study.export`."""
    title, weights, version = str(card["title"]), card["weights_sha256"], senmei.__version__
    if card.get("family") == "none":
        derivation = f"Reconstruction without further processing, Senmei {version}"
    else:
        derivation = f"Restored by {title}, weights SHA-256 {weights}, Senmei {version}"
    image = digits("image", subject, row["image"])
    return {
        "format": kind,
        "method": card["method"],
        "title": title,
        "family": card.get("family"),
        "weights_sha256": weights,
        "version": version,
        "derivation": derivation,
        "keys": {
            "subject": subject,
            "image": image,
            "series": digits("series", image, row["scan"], card["method"], weights, version, kind, sources),
        },
    }


def _write(folder: Path, scan: str, files: Mapping[str, bytes]) -> dict[str, tuple[Path, str]]:
    made: dict[str, tuple[Path, str]] = {}
    for suffix, content in files.items():
        if not _SUFFIX.fullmatch(suffix) or suffix in _OURS:
            why = f"{suffix!r} is no suffix of a file, or one that the frame uses"
            raise DataError(
                "Cannot name an exported file", where=scan, why=why, fix="correct the study's `export`"
            )
        path = folder / f"{scan}{suffix}"
        write_bytes(path, content)
        made[suffix[1:]] = (path, sha256(path))
    return made


def _remove_stale(folder: Path, scans: Sequence[Row], rows: Sequence[Row], manifest: str) -> None:
    """Remove files of these scans that the manifest does not list: of another format, or of a scan that now fails."""
    kept = {row["path"] for row in rows if row["status"] == "ok"} | {manifest}
    kept |= {f"{row['scan']}.json" for row in rows if row["status"] == "ok"}
    ours = {str(row["scan"]) for row in scans}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.partition(".")[0] in ours and path.name not in kept:
            if not path.name.endswith(".tsv"):  # a shard may bear a scan's name
                path.unlink()
