"""Which teachers a planar network learns from: families of them, and how many sources."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from senmei.core.errors import DataError
from senmei.core.example import Example


def of_families(
    title: str, examples: Sequence[Example], families: Sequence[str] | None, sources: int | None, split: str
) -> list[Example]:
    """The examples of some teachers, in their order.

    families : values of the scans' column `family` (photographs, torsos, ...); None: all. sources : of the subjects
    left, the first so many by name, families taking turns, with all of their scans; None: all. split : 'training' or
    'validation', title : of the method, for messages. Raises DataError where no example is left.
    """
    kept = [e for e in examples if families is None or e.scan.get("family") in families]
    if families is not None and not kept:
        found = sorted({str(e.scan["family"]) for e in examples if e.scan.get("family")})
        raise DataError(
            f"Cannot train {title}",
            where=f"families: {', '.join(families)}",
            why=f"no {split} scan is of these; there are {', '.join(found) or 'none with a family'}",
            fix="name families that the training cohorts' teachers have, or give those cohorts more sources",
        )
    if sources is None:
        return kept
    of: dict[str, dict[str, None]] = {}
    for family, subject in sorted((str(e.scan.get("family", "")), _subject(e)) for e in kept):
        of.setdefault(family, {})[subject] = None
    turns = (subject for turn in zip_longest(*of.values()) for subject in turn if subject is not None)
    chosen = {subject for _, subject in zip(range(sources), turns, strict=False)}
    return [e for e in kept if _subject(e) in chosen]


def _subject(example: Example) -> str:
    """Of a scan's row; the scan itself where no subject is told."""
    return str(example.scan.get("subject") or example.scan.get("scan"))
