"""What the plan of a study knows of engines: which jobs, what they depend on, whether their programs are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError
from senmei.core.study import Study
from senmei.io.tables import Row


class EnginePlan:
    """The part of `StudyPlan` that is about phantoms and seeds."""

    name: str
    study: Study
    folder: Path
    cohorts: dict[str, dict[str, Any]]

    def shard_rows(self, cohort: str, shard: str) -> list[Row]:
        """Scan rows of a shard."""
        raise NotImplementedError

    def code(self, stage: str, *modules: str) -> str:
        """Fingerprint of a stage and of the modules named."""
        raise NotImplementedError

    @property
    def module(self) -> str:
        """Dotted module of the study."""
        raise NotImplementedError

    def check_programs(self) -> None:
        """Stop when a program that a cohort asks for is not there. Raises ConfigError with the cohort's key."""
        for name, settings in self.cohorts.items():
            try:
                self.study.check_programs(settings)
            except ConfigError as error:
                where = f"studies.{self.name}.cohorts.{name}.{error.where}"
                raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from error

    def engine_inputs(self, cohort: str, shard: str) -> list[str]:
        """Manifests that a shard's ingestion takes: its phantoms', then each seed's; none for most cohorts."""
        seeds = self.study.seeds(self.cohorts[cohort])
        if seeds is None:
            return []
        kinds = ["phantom", *(f"seed-{n}" for n in range(1, seeds + 1))]
        return [f"{self.folder}/cohorts/{cohort}/{kind}/{shard}.tsv" for kind in kinds]

    def engine_rows(self, cohort: str, shard: str, seed: int | None = None) -> list[Row]:
        """Images of a shard without their conditions, such as doses: an engine's work does not depend on them.

        Raises ConfigError for a cohort without engines, and for a `seed` that it does not have.
        """
        seeds = self.study.seeds(self.cohorts[cohort])
        if seeds is None or (seed or 0) > seeds:
            raise ConfigError(
                f"There is no seed {seed}" if seed else "There are no phantoms",
                where=f"studies.{self.name}.cohorts.{cohort}",
                why="it has no engine that runs in jobs of its own"
                if not seeds
                else f"its seeds are 1 to {seeds}",
                fix="set `engine:`, `phantom:` or `seeds:` of the cohort, or name another target",
            )
        left = {"scan", *self.study.conditions}
        rows: dict[str, Row] = {}
        for row in self.shard_rows(cohort, shard):
            own = {k: v for k, v in row.items() if k not in left}
            rows.setdefault(row["image"], {"scan": row["image"], **own})
        return list(rows.values())

    def engine_settings(self, cohort: str, part: str) -> dict[str, Any]:
        """What of a cohort's settings its phantoms, or its engine's runs, depend on."""
        own = {k: v for k, v in self.cohorts[cohort].items() if k not in ("use", "subjects", "split")}
        return self.study.engine_settings(own, part)

    def engine_minutes(self, cohort: str, shard: str) -> float:
        """How long one seed of a shard may take."""
        return self.study.engine_minutes(self.cohorts[cohort]) * len(self.engine_rows(cohort, shard))

    def engine_code(self, part: str) -> str:
        """Fingerprint of what renders phantoms ('phantom') or runs an engine ('engine')."""
        own = {"phantom": self.study.phantom_module, "engine": self.study.engine_module}[part]
        return self.code("engine", own or self.module)
