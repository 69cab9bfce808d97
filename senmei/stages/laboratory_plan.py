"""What the plan of a study knows of sheets to be printed: of which cohorts, and what their pages depend on."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError
from senmei.core.study import Study


class LaboratoryPlan:
    """The part of `StudyPlan` that is about printing. Nothing of it looks at a scan."""

    name: str
    study: Study
    folder: Path
    cohorts: dict[str, dict[str, Any]]

    def code(self, stage: str, *modules: str) -> str:
        """Fingerprint of a stage and of the modules named."""
        raise NotImplementedError

    def printed(self) -> list[str]:
        """Cohorts whose pages are to be printed."""
        if not self.study.laboratory_module:
            return []
        laboratory = importlib.import_module(self.study.laboratory_module)
        return [name for name, settings in self.cohorts.items() if laboratory.printed(settings)]

    def printed_tables(self) -> list[str]:
        """pages.tsv of each of them."""
        return [f"{self.folder}/printed/{cohort}/pages.tsv" for cohort in self.printed()]

    def print_settings(self, cohort: str) -> dict[str, Any]:
        """A cohort's settings without the folder of its scans. Raises ConfigError for a cohort without pages."""
        if cohort not in self.printed():
            where, why = f"studies.{self.name}.cohorts.{cohort}", "its images come from elsewhere"
            raise ConfigError("There are no pages to print", where=where, why=why, fix="name another target")
        return {k: v for k, v in self.cohorts[cohort].items() if k != "path"}

    def print_folders(self, cohort: str) -> list[str]:
        """Folders that pages are made of: those of a listed cohort, but for that of its scans."""
        own = self.cohorts[cohort]
        return [folder for folder in self.study.folders(own) if folder != own.get("path")]

    def laboratory_code(self) -> str:
        """Fingerprint of what prints."""
        return self.code("laboratory", self.study.laboratory_module)


def printed_tables(studies: Iterable[LaboratoryPlan]) -> list[str]:
    """pages.tsv of all cohorts to be printed. Raises ConfigError where there is none, saying how to have one."""
    found = [table for study in studies for table in study.printed_tables()]
    if not found:
        raise ConfigError(
            "There are no sheets to print",
            where="cohorts",
            why="no cohort is of printed sheets",
            fix="add one: `cohorts: {printed: {use: train, source: sheets, path: folder/of/scans}}`; the folder may be "
            "empty; see docs/how-to/paper-phantoms.md",
        )
    return found
