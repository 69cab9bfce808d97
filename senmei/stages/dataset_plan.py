"""What the plan of a study knows of cohorts whose pairs are handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError, nearest
from senmei.core.study import Study


class DatasetPlan:
    """The part of `StudyPlan` that is about datasets."""

    name: str
    study: Study
    settings: dict[str, Any]
    datasets: dict[str, dict[str, Any]]

    def check_dataset(self, where: str, dataset: dict[str, Any]) -> None:
        """Raise ConfigError for a study without pairs, and for a licence whose text is not known."""
        if not self.study.dataset_module:
            why = f"the study '{self.settings['use']}' has no pairs to hand on"
            raise ConfigError("No dataset can be made", where=where, why=why, fix="leave `dataset` out")
        from senmei.lab.dataset_readme import LICENCES

        text = dataset.get("licence_file")
        if not text and dataset["licence"] not in LICENCES:
            raise ConfigError(
                f"The text of the licence '{dataset['licence']}' is not known",
                where=f"{where}.licence",
                why="whoever gets the data must be able to read what they may do with it",
                fix=f"give it as `licence_file`; {nearest(dataset['licence'], LICENCES)}",
            )
        if text and not Path(text).is_file():
            raise ConfigError(
                "No such licence",
                where=f"{where}.licence_file",
                why=f"there is no file {text}",
                fix="give a text file with the licence, or `licence` alone where its name is a known one",
            )

    def dataset(self, cohort: str) -> dict[str, Any]:
        """How a cohort is handed on. Raises ConfigError for a cohort that is not."""
        if cohort not in self.datasets:
            where = f"studies.{self.name}.cohorts.{cohort}"
            why, fix = "it has no `dataset`", "set `dataset: {licence: CC-BY-4.0, authors: [...]}`"
            raise ConfigError("Nothing to hand on", where=where, why=why, fix=fix)
        return self.datasets[cohort]
