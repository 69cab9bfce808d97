"""The contract of a study: one report's experiment, bound in configuration plus one short module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

Row = dict[str, Any]


class Study:
    """Base of all studies. A study says what a subject's scans are and what roles a scan becomes.

    groups : role group -> the roles it builds. One group is one manifest a shard, so that a job which declares
        no group with a `reference` never has one among its inputs.
    conditions : columns of scans.tsv by which measures are broken down.
    uses_siblings : groups whose roles depend on the subject's other images.
    sentences : for the methods paragraph, (text, references) each.
    figures : how the report shows images: `colour` (grey or nuclear), `tradeoff` (two measures drawn against each
        other), and what else `senmei.report.look` knows.
    """

    title: ClassVar[str]
    groups: ClassVar[dict[str, tuple[str, ...]]]
    conditions: ClassVar[tuple[str, ...]] = ()
    primary: ClassVar[tuple[str, ...]] = ()
    uses_siblings: ClassVar[tuple[str, ...]] = ()
    sentences: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    figures: ClassVar[Mapping[str, Any]] = {}

    def participants(self, cohort: Mapping[str, Any]) -> list[Row]:
        """Rows of participants.tsv of a simulated cohort: `subject` and covariates. By default sub-001 ... sub-n."""
        count = int(cohort["subjects"])
        width = max(3, len(str(count)))
        return [{"subject": f"sub-{i + 1:0{width}d}"} for i in range(count)]

    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """Raw images of one simulated participant: rows with `image` (its BIDS stem), `subject`, `repeat`."""
        return [{"image": participant["subject"], "subject": participant["subject"], "repeat": 1}]

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Rows of scans.tsv made of raw images: each condition is another scan, its values in columns."""
        return [{"scan": image["image"], **image} for image in images]

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Raw roles of one simulated subject: image -> role -> value. Deterministic in `seed`."""
        raise NotImplementedError(type(self).__name__)

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """How a cohort read from files can be judged: (case, a sentence that says so)."""
        return "none", "No reference: restored images and no-reference measures only."

    def check(self, image: Row, raw: Any, cohort: Mapping[str, Any]) -> Row:
        """Look at one raw image read from a file; extra manifest columns, or an error. By default: nothing."""
        return {}

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of one group for one scan, and extra columns that become part of the scan's row.

        scan : its row, with what ingestion found out, and `siblings`: the subject's other images.
        raw(image, role) loads a raw role of an image of the same subject. seed : the study's; derive from it by name.
        """
        raise NotImplementedError(type(self).__name__)
