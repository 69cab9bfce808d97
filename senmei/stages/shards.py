"""Shards and manifests: many scans a job, one declared table, nothing lost because a neighbour failed."""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError, SenmeiError, of_the_disk
from senmei.core.example import Example
from senmei.core.seeds import short_hash
from senmei.io.atomic import renames_last_later, sha256, write_text
from senmei.io.roles import load_role, save_role
from senmei.io.tables import Row, read_tsv, write_tsv

COLUMNS = ("scan", "subject", "split", "role", "status", "path", "sha256", "key", "error")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,229}")  # the file system's 255, less a role and extensions


class Blocked(Exception):
    """An earlier stage failed for this scan, so there is nothing to do here; told once, by that stage."""


@dataclass(frozen=True)
class Made:
    """What a stage made of one scan: roles to be written, files that exist already, columns to add to its row."""

    roles: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[Path, str]] = field(default_factory=dict)  # role -> (path, sha256)
    columns: Mapping[str, Any] = field(default_factory=dict)


class Manifest:
    """A manifest as read back: which roles each scan has, and where."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.rows = read_tsv(path)
        self._of: dict[str, list[Row]] = {}
        for row in self.rows:
            self._of.setdefault(row["scan"], []).append(row)

    def __iter__(self):
        return iter(self.rows)

    def __contains__(self, scan: object) -> bool:
        """Whether it tells of a scan, good or bad."""
        return scan in self._of

    def roles(self, scan: str) -> dict[str, Row]:
        """role -> row of one scan, the good ones. Raises Blocked when the scan failed here."""
        rows = self._of.get(scan, ())
        bad = [row for row in rows if row["status"] != "ok"]
        if bad:
            raise Blocked(bad[0]["error"] or bad[0]["status"])
        return {row["role"]: row for row in rows}

    def sound(self, scan: str) -> bool:
        """Whether a scan is here and did not fail."""
        rows = self._of.get(scan, ())
        return bool(rows) and all(row["status"] == "ok" for row in rows)

    def file(self, row: Row) -> Path:
        """Absolute path of a row's file (paths are kept relative to the manifest's folder)."""
        return (self.path.parent / row["path"]).resolve()

    def load(self, row: Row) -> Any:
        """The value of a row's role, its hash checked first."""
        return load_role(self.file(row), expected=row["sha256"], told_by=self.path)


def example_of(scan: Row, manifests: Iterable[Manifest]) -> tuple[Example, str]:
    """Example of a scan over several manifests, roles loaded when asked for, and the hash of all its sources."""
    row, roles, sources = dict(scan), {}, []
    for manifest in manifests:
        for role, entry in manifest.roles(scan["scan"]).items():
            roles[role] = lambda m=manifest, e=entry: m.load(e)
            sources.append((role, entry["sha256"]))
            row.update({k: v for k, v in entry.items() if k not in COLUMNS})
    return Example(row, roles), short_hash(*sorted(sources))


def one_line(error: BaseException) -> str:
    """An error as a table cell."""
    if isinstance(error, SenmeiError):
        return f"{error.what} [{error.where}]: {error.why}. Fix: {error.fix}"
    return f"{type(error).__name__}: {error}"


def each_scan(
    scans: Sequence[Row],
    produce: Callable[[Row], Made],
    *,
    key: Callable[[Row], str],
    manifest: Path | str,
    provenance: Mapping[str, Any],
    strict: bool,
    log: Callable[[str], None],
) -> list[Row]:
    """Do one stage's work for each scan of a shard and write the manifest, last and atomically.

    scans : rows with `scan`, `subject`, `split`. key(row) : hash of all that decides the result (inputs, weights,
        parameters, code); a scan whose sidecar holds the same key and whose files still have their hashes is not
        done again. provenance : goes to each sidecar `{scan}.json`; must not hold anything volatile.
    strict : stop at the first failing scan instead of recording it; a full or closed disk stops always. Returns the
        manifest's rows.
    """
    manifest = Path(manifest)
    folder = manifest.parent
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for n, scan in enumerate(scans, start=1):
        base = {name: scan.get(name) for name in ("scan", "subject", "split")}
        try:
            if not _NAME.fullmatch(str(scan["scan"])):  # it becomes a file's name
                why = f"{scan['scan']!r} is not made of letters, digits, - and _"
                raise DataError("Cannot name a scan", where=manifest, why=why, fix="list its cohort again")
            wanted = key(scan)
            sidecar = folder / f"{scan['scan']}.json"
            record = _up_to_date(sidecar, wanted, folder)
            if record is None:
                made = produce(scan)
                with renames_last_later():  # the manifest, the last to be written, is what makes them count
                    record = _write(made, scan, wanted, folder, provenance)
                log(f"{n}/{len(scans)} {scan['scan']}: done")
            else:
                log(f"{n}/{len(scans)} {scan['scan']}: up to date")
            rows += [
                {
                    **base,
                    "role": role,
                    "status": "ok",
                    **entry,
                    "key": wanted,
                    "error": None,
                    **record["columns"],
                }
                for role, entry in record["outputs"].items()
            ]
        except Blocked as reason:
            rows.append({**base, "status": "blocked", "error": str(reason)})
        except Exception as error:
            log(f"{n}/{len(scans)} {scan['scan']}: FAILED\n{traceback.format_exc()}")
            if strict or of_the_disk(error):
                raise
            rows.append({**base, "status": "failed", "error": one_line(error)})
    write_tsv(manifest, rows, COLUMNS)
    return rows


def _up_to_date(sidecar: Path, key: str, folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        if record["key"] != key or record["check"] != check_of(record):
            return None
        for entry in record["outputs"].values():
            if sha256((folder / entry["path"]).resolve()) != entry["sha256"]:
                return None
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: made again


def check_of(record: Mapping[str, Any]) -> str:
    """Hash of a record without its own `check`: tells one that was changed."""
    return short_hash(json.dumps({k: v for k, v in record.items() if k != "check"}, sort_keys=True))


def _write(made: Made, scan: Row, key: str, folder: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
    outputs: dict[str, dict[str, str]] = {}
    for role, value in made.roles.items():
        name = (
            scan["scan"] if role == "restored" and not isinstance(value, dict) else f"{scan['scan']}_{role}"
        )
        path = save_role(folder / name, value)
        outputs[role] = {"path": path.name, "sha256": sha256(path)}
    for role, (path, digest) in made.files.items():
        outputs[role] = {"path": _relative(path, folder), "sha256": digest}
    record: dict[str, Any] = {
        "scan": scan["scan"],
        "key": key,
        "outputs": outputs,
        "columns": dict(made.columns),
        **provenance,
    }
    record = json.loads(json.dumps(record, sort_keys=True, default=str))
    record["check"] = check_of(record)
    write_text(folder / f"{scan['scan']}.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
    return record


def _relative(path: Path, folder: Path) -> str:
    """Relative to the manifest for what the study made, absolute for a user's own files."""
    path, folder = path.resolve(), folder.resolve()
    study = folder.parents[2]  # {study}/{stage}/{cohort}/{kind}
    return os.path.relpath(path, folder) if path.is_relative_to(study) else str(path)
