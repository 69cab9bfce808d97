"""Who is in which split and which shard. Pure functions of names, so that additions move nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from senmei.core.errors import DataError
from senmei.core.seeds import short_hash, unit_interval

SPLITS = ("train", "validation", "test")
Row = dict[str, Any]


def assign_splits(
    subjects: Sequence[str], fractions: Mapping[str, float], *, ordered: bool
) -> dict[str, str]:
    """Subject -> split, by subject, before any realisation is drawn.

    fractions : share of each of train, validation, test; summing to 1.
    ordered : the subjects are a sequence that only grows at its end (simulated cohorts): each next subject goes
        where the shares are furthest behind, so shares hold at every length. Otherwise a hash of the
        name decides. Either way nobody moves when another subject is added.
    """
    wanted = {split: float(fractions.get(split, 0.0)) for split in SPLITS}
    result: dict[str, str] = {}
    if ordered:
        counts = dict.fromkeys(SPLITS, 0)
        for n, subject in enumerate(subjects, start=1):
            split = max(SPLITS, key=lambda s: (wanted[s] * n - counts[s], -SPLITS.index(s)))
            counts[split] += 1
            result[subject] = split
        return result
    for subject in subjects:
        u, below = unit_interval("split", subject), 0.0
        for split in SPLITS:
            below += wanted[split]
            if u < below or split == SPLITS[-1]:
                result[subject] = split
                break
    return result


def check_splits(splits: Mapping[str, str], fractions: Mapping[str, float], where: str) -> None:
    """Raise DataError when a training cohort is too small to fill the splits it asks for, saying how many it needs."""
    asked = [split for split in SPLITS if fractions.get(split, 0) > 0]
    empty = [split for split in asked if split not in splits.values()]
    if empty:
        need = max(3, round(1 / min(fractions[split] for split in asked)))
        if len(splits) >= need:
            need = 2 * len(splits)
        raise DataError(
            "Training cohort is too small to split",
            where=where,
            why=f"{len(splits)} subject(s) leave no one for: {', '.join(empty)}",
            fix=f"give it at least {need} subjects, change `split:`, or use the cohort for testing only (`use: test`)",
        )


def assign_shards(rows: Sequence[Row], shards: str | int) -> dict[str, str]:
    """Subject -> shard. 'subject': one each; a number: that many stable hash buckets a split.

    A shard never mixes splits, or adding a test subject would change a training input and retrain.
    """
    split = {row["subject"]: row["split"] for row in rows}
    if shards == "subject":
        return {subject: subject for subject in split}
    width = len(str(int(shards)))
    return {
        subject: f"{split[subject]}-{int(unit_interval('shard', subject) * int(shards)):0{width}d}"
        for subject in split
    }


def rows_hash(rows: Sequence[Row]) -> str:
    """Hash of rows, in order: what scan stages carry as a parameter in place of scans.tsv."""
    return short_hash(*(sorted((key, str(value)) for key, value in row.items()) for row in rows))


def with_entity(stem: str, key: str, value: str) -> str:
    """A BIDS stem with `key-value`; a value that is there already is kept in front, since a key stands once."""
    parts = stem.split("_")
    for n, part in enumerate(parts):
        if part.startswith(f"{key}-"):
            return "_".join([*parts[:n], part + value, *parts[n + 1 :]])
    return "_".join([*parts, f"{key}-{value}"])
