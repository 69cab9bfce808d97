"""Doors of the study `gamma_sr`: images that a camera measured, in place of simulated sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError
from senmei.core.study import Listed, Row


class Door:
    """What one `source` does in the study's place; the names and contracts are those of `senmei.core.study.Study`."""

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Refuse what no job of this cohort could do. Raises ConfigError."""

    def participants(self, cohort: Mapping[str, Any]) -> list[Row]:
        """Subjects that are simulated."""
        raise NotImplementedError(type(self).__name__)

    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """Raw images of one of them."""
        raise NotImplementedError(type(self).__name__)

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Raw roles of these, by image."""
        raise NotImplementedError(type(self).__name__)

    def check_method(self, method: Mapping[str, Any], cohort: Mapping[str, Any]) -> None:
        """Refuse a method (its settings) that cannot learn from this source. Raises ConfigError."""

    def folders(self, cohort: Mapping[str, Any]) -> list[str]:
        """Folders that decide what the cohort is."""
        return [str(cohort["path"])]

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed:
        """Participants, raw images and status rows of the cohort's folder."""
        raise NotImplementedError(type(self).__name__)

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Rows of scans.tsv: by default one an image, as it was acquired."""
        return [{"scan": image["image"], **image} for image in images]

    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any]:
        """Raw roles of one image, and `columns`. Raises DataError for what cannot be used."""
        raise NotImplementedError(type(self).__name__)

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of one group of one scan, and columns; none of a group, such as `sheet`, that this source cannot know.

        `activity` of a sheet is given only where it is known in MBq: of a dose calibrator, not of the plan.
        """
        raise NotImplementedError(type(self).__name__)

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """How images can be judged: (case, a sentence that says so)."""
        return "none", "No reference: restored images and no-reference measures only."


def door(cohort: Mapping[str, Any]) -> Door | None:
    """The door of a cohort, of simulated stacks too; None for simulated sheets. Raises ConfigError for others."""
    source = cohort["source"]
    if source == "simulate" and not cohort.get("stack"):
        return None
    if source == "simulate":
        from senmei.studies.gamma_stacks import StackDoor

        return StackDoor()
    if source == "dicom":
        from senmei.studies.gamma_door_images import ImageDoor

        return ImageDoor()
    if source == "sheets":
        from senmei.studies.gamma_door_sheets import SheetDoor

        return SheetDoor()
    if source == "dataset":
        from senmei.studies.gamma_door_dataset import DatasetDoor

        return DatasetDoor()
    raise ConfigError(
        f"Unknown source '{source}'",
        where="cohorts: source",
        why="gamma_sr has no such door",
        fix="choose dataset, dicom, sheets, simulate",
    )
