"""Restore the scans of one shard with a fitted method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from senmei.core.seeds import short_hash
from senmei.io.tables import Row
from senmei.stages.cards import load_method, record
from senmei.stages.shards import Made, Manifest, each_scan, example_of


def restore_shard(
    scans: Sequence[Row],
    prepared: Sequence[Path | str],
    weights: Path | str,
    card: Path | str,
    manifest: Path | str,
    *,
    code: str,
    device: str,
    strict: bool,
    log: Callable[[str], None],
    use: str | None = None,
    used: dict[str, Any] | None = None,
) -> None:
    """Write the restored volumes of a shard and their manifest. The `input` method names the prepared file itself.

    use : the method that the configuration names, see `load_method`. used : takes the precision, for the record.
    """
    method, facts = load_method(weights, card, device, use)
    record(method, device, log, used)
    manifests = [Manifest(path) for path in prepared]

    def key(row: Row) -> str:
        return short_hash(code, facts["weights_sha256"], facts["settings"], example_of(row, manifests)[1])

    def produce(row: Row) -> Made:
        example, _ = example_of(row, manifests)
        if method.family == "none" and method.inputs == ("input",):  # nothing restored: no copy either
            source = next(m for m in manifests if "input" in m.roles(row["scan"]))
            entry = source.roles(row["scan"])["input"]
            source.load(entry)  # refused here if damaged, naming the manifest that can mend it
            return Made(files={"restored": (source.file(entry), entry["sha256"])})
        remark = method.remark(example)
        if remark:
            log(f"{row['scan']}: {remark}")
        return Made(roles={"restored": method.apply(example)}, columns={"remark": remark} if remark else {})

    each_scan(
        scans,
        produce,
        key=key,
        manifest=manifest,
        provenance={
            "stage": "restore",
            "method": facts["method"],
            "settings": facts["settings"],
            "weights_sha256": facts["weights_sha256"],
            "seed": facts["seed"],
            "code": code,
            "versions": facts["versions"],
        },
        strict=strict,
        log=log,
    )
