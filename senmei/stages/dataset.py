"""A cohort's pairs as a dataset to hand on: one folder, and a manifest beside it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from senmei.core.errors import of_the_disk
from senmei.core.study import Study, is_file_column
from senmei.io.tables import Row, read_tsv, write_tsv
from senmei.stages.shards import COLUMNS, Blocked, Manifest, example_of, one_line


def export_dataset(
    tables: Mapping[str, Path | str],
    raw: Sequence[Path | str],
    prepared: Sequence[Path | str],
    manifest: Path | str,
    study: Study,
    cohort: Mapping[str, Any],
    options: Mapping[str, Any],
    degradation: Mapping[str, Any],
    *,
    name: str,
    strict: bool,
    log: Callable[[str], None],
) -> None:
    """Write the dataset folder `{manifest without .tsv}` and the manifest: a row a scan and file, or why it has none.

    tables : `scans`, `participants` and `facts` (cohort.json) of the cohort. raw, prepared : manifests of all its
    shards. options : `dataset` of the cohort. name : of the cohort. The folder is made anew each time.
    Raises DataError where no scan can be handed on, ConfigError where the options do not allow it; what else goes wrong
    with a scan is a row with its error, unless `strict`.
    """
    manifest = Path(manifest)
    folder = manifest.with_suffix("")
    scans = read_tsv(tables["scans"])
    told = json.loads(Path(tables["facts"]).read_text(encoding="utf-8"))
    words = study.words({name: cohort})
    facts = {**told, "cohort": name, "degradation": degradation, "made": tuple(text for text, _ in words)}
    writer = import_module(study.dataset_module).writer(folder, options, facts)
    shards = [Manifest(path) for path in raw]
    stages = [Manifest(path) for path in prepared]
    rows: list[Row] = []
    for number, scan in enumerate(scans, 1):
        base = {key: scan.get(key) for key in ("scan", "subject", "split")}
        try:
            source = next((m for m in shards if scan["image"] in m), None)
            if source is None:
                raise Blocked("it was not ingested")
            entries = source.roles(scan["image"])
            known = {k: v for entry in entries.values() for k, v in entry.items() if k not in COLUMNS}
            row = {k: v for k, v in {**known, **scan}.items() if not is_file_column(k)}
            example, _ = example_of(row, [m for m in stages if scan["scan"] in m])
            loaders = {role: lambda m=source, e=entry: m.load(e) for role, entry in entries.items()}
            for role, (place, digest) in writer.add(example, loaders).items():
                path = f"{folder.name}/{place}"
                rows.append({**base, "role": role, "status": "ok", "path": path, "sha256": digest})
            log(f"{number}/{len(scans)} {scan['scan']}: done")
        except Blocked as reason:
            rows.append({**base, "status": "blocked", "error": str(reason)})
        except Exception as error:
            log(f"{number}/{len(scans)} {scan['scan']}: FAILED\n{traceback.format_exc()}")
            if strict or of_the_disk(error):
                raise
            rows.append({**base, "status": "failed", "error": one_line(error)})
    split = {scan["subject"]: scan["split"] for scan in scans}
    people = [{**row, "split": split.get(row["subject"])} for row in read_tsv(tables["participants"])]
    without = [row for row in rows if row["status"] != "ok"]
    for row in without:
        log(f"left out: {row['scan']}: {row['error']}")
    writer.close(people)
    write_tsv(manifest, rows, COLUMNS)
