"""The plan of a run, worked out from the configuration: what the rules ask when they name files.

Reads scans.tsv only for cohorts whose scans cannot be known otherwise. Imports no method, measure or analysis.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from senmei.analyses import ANALYSES
from senmei.core.cohorts import rows_hash
from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.fingerprint import class_constants, fingerprint, measure_requires
from senmei.core.seeds import derive_seed, short_hash
from senmei.core.study import Study
from senmei.io.tables import Row, read_tsv
from senmei.measures import MEASURES
from senmei.methods import METHODS
from senmei.stages.cohort import simulated_rows, tabulate
from senmei.stages.dataset_plan import DatasetPlan
from senmei.stages.engine_plan import EnginePlan
from senmei.stages.given import CARD, WEIGHTS, given_card
from senmei.stages.laboratory_plan import LaboratoryPlan
from senmei.studies import STUDIES


class StudyPlan(EnginePlan, LaboratoryPlan, DatasetPlan):
    """One configured study: its cohorts, role groups, methods, measures and analyses."""

    def __init__(self, name: str, settings: dict[str, Any], results: Path, seed: int, strict: bool) -> None:
        self.name, self.settings, self.results, self.strict = name, settings, results, strict
        self.study: Study = STUDIES.get(settings["use"])()
        self.seed = derive_seed(seed, name)
        self.cohorts: dict[str, dict[str, Any]] = {  # without what changes nothing before it
            cohort: {k: v for k, v in own.items() if k not in ("export", "dataset")}
            for cohort, own in settings["cohorts"].items()
        }
        self.exports: dict[str, dict[str, Any]] = {
            cohort: own["export"] for cohort, own in settings["cohorts"].items() if own.get("export")
        }
        self.datasets: dict[str, dict[str, Any]] = {
            cohort: own["dataset"] for cohort, own in settings["cohorts"].items() if own.get("dataset")
        }
        self.methods: dict[str, dict[str, Any]] = {"input": {"use": "input"}, **settings["methods"]}
        self.analyses: dict[str, dict[str, Any]] = settings["analyses"]
        self.folder = results / name
        try:
            settled = self.study.settle(settings["degradation"], self.folder)
        except ConfigError as error:
            where = f"studies.{name}.{error.where}"
            raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from error
        self.settings = {**settings, "degradation": settled}
        self.check()

    def check(self) -> None:
        """Stop at parse time, with the key's path, for what no job could do.

        Raises ConfigError for a method, measure or analysis that is not there, needs a role that no group builds or
        names a cohort that is not configured, and for what the study itself refuses of a cohort; DataError for a
        simulated training cohort too small to split.
        """
        looks: dict[str, Callable[[str], Any]] = {
            "methods": lambda name: (
                self.groups_of(self.constants(name)["inputs"]),
                self.training_groups(name, "train"),
                self.training_groups(name, "validation"),
            ),
            "measures": lambda name: self.groups_of(measure_requires(MEASURES.place(self.measures[name]))),
            "analyses": self.analysis_groups,
        }
        tables: dict[str, Iterable[str]] = {
            "methods": self.methods,
            "measures": self.measures,
            "analyses": self.analyses,
        }
        for kind, look in looks.items():
            for name in tables[kind]:
                try:
                    look(name)
                except ConfigError as error:
                    where = f"studies.{self.name}.{kind}.{name}"
                    raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from error
        for name in self.methods:
            if self.given(name):
                self._check_given(name)
        for name, spec in self.analyses.items():
            for cohort in spec.get("cohorts", ()):
                if cohort not in self.cohorts:
                    raise ConfigError(
                        f"Unknown cohort '{cohort}'",
                        where=f"studies.{self.name}.analyses.{name}.cohorts",
                        why="no such cohort is configured",
                        fix=nearest(cohort, self.cohorts),
                    )
        for name, cohort_settings in self.cohorts.items():
            try:
                self.study.check_cohort(cohort_settings, self.settings["degradation"])
            except ConfigError as error:
                where = f"studies.{self.name}.{error.where} (cohort '{name}')"
                raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from error
            if cohort_settings["use"] == "train":
                self._check_learning(name)
        for name, export in self.exports.items():
            self._check_export(f"studies.{self.name}.cohorts.{name}.export", export)
        for name, dataset in self.datasets.items():
            self.check_dataset(f"studies.{self.name}.cohorts.{name}.dataset", dataset)

    def _check_learning(self, cohort: str) -> None:
        for name, method in self.methods.items():
            if self.given(name):
                continue
            try:
                self.study.check_method(method, self.cohorts[cohort])
            except ConfigError as error:
                where = f"studies.{self.name}.methods.{name}.{error.where} (cohort '{cohort}')"
                raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from error
        if not self.listed(cohort):
            self.rows(cohort)

    def _check_export(self, where: str, export: dict[str, Any]) -> None:
        if type(self.study).export is Study.export:
            raise ConfigError(
                "Nothing to export",
                where=where,
                why=f"the study '{self.settings['use']}' gives no files back",
                fix="leave `export` out; restored images are NIfTI files under restored/",
            )
        for method in export.get("methods") or ():
            if method not in self.methods:
                raise ConfigError(
                    f"Unknown method '{method}'",
                    where=f"{where}.methods",
                    why="no such method is configured",
                    fix=nearest(method, self.methods),
                )

    # ---- cohorts, shards ----
    def listed(self, cohort: str) -> bool:
        """Whether the scans of a cohort must be listed from files before anything can be planned."""
        return self.study.listed(self.cohorts[cohort])

    @cache  # noqa: B019 - one plan a process
    def rows(self, cohort: str) -> list[Row]:
        """Rows of scans.tsv: computed for simulated cohorts, read for listed ones."""
        if self.listed(cohort):
            return read_tsv(self.folder / "cohorts" / cohort / "scans.tsv")
        settings = self.cohorts[cohort]
        participants, images = simulated_rows(self.study, settings)
        return tabulate(
            self.study,
            participants,
            images,
            cohort,
            settings,
            self.settings["degradation"],
            self.settings["shards"],
        )

    @cache  # noqa: B019
    def _by_shard(self, cohort: str) -> dict[str, list[Row]]:
        shards: dict[str, list[Row]] = {}
        for row in self.rows(cohort):
            shards.setdefault(row["shard"], []).append(row)
        return shards

    def shards(self, cohort: str, splits: Sequence[str] = ()) -> list[str]:
        """Names of a cohort's shards, those of the given splits if any are given."""
        return [s for s, rows in self._by_shard(cohort).items() if not splits or rows[0]["split"] in splits]

    def shard_rows(self, cohort: str, shard: str) -> list[Row]:
        """Scan rows of a shard. Raises DataError with the nearest name where there is none of this name."""
        shards = self._by_shard(cohort)
        if shard not in shards:
            where, why = f"{self.name}, cohort '{cohort}', shard '{shard}'", "no scan is in it"
            raise DataError("No such shard", where=where, why=why, fix=nearest(shard, shards))
        return shards[shard]

    @cache  # noqa: B019
    def shard_hash(self, cohort: str, shard: str) -> str:
        """Hash of the scan rows of a shard."""
        return rows_hash(self.shard_rows(cohort, shard))

    def judged(self) -> list[tuple[str, str]]:
        """(cohort, shard) of all that is restored and judged: the test split."""
        return [(cohort, shard) for cohort in self.cohorts for shard in self.shards(cohort, ("test",))]

    def exported(self) -> list[tuple[str, str, str]]:
        """(cohort, method, shard) of all that goes back as files: test scans of cohorts with `export`."""
        return [
            (cohort, method, shard)
            for cohort, export in self.exports.items()
            for method in export.get("methods") or self.methods
            for shard in self.shards(cohort, ("test",))
        ]

    def export_format(self, cohort: str) -> str:
        """Format of a cohort's exported files. Raises ConfigError for a cohort that exports none."""
        if cohort not in self.exports:
            where = f"studies.{self.name}.cohorts.{cohort}"
            why, fix = "it has no `export`", "set `export: {format: dicom}`"
            raise ConfigError("Nothing to export", where=where, why=why, fix=fix)
        return self.exports[cohort]["format"]

    # ---- methods ----
    def method(self, name: str) -> dict[str, Any]:
        """Settings of a method instance. Raises ConfigError with the nearest name."""
        if name not in self.methods:
            raise ConfigError(
                f"No method '{name}'",
                where=self.name,
                why="it is not configured",
                fix=nearest(name, self.methods),
            )
        return self.methods[name]

    @cache  # noqa: B019
    def constants(self, method: str) -> dict[str, Any]:
        """Class constants of a method (needs, inputs, family), read without importing it."""
        return class_constants(METHODS.place(self.method(method)["use"]))

    def code(self, stage: str, *modules: str) -> str:
        """Fingerprint of a stage, of this study's module and of the modules named."""
        return fingerprint(f"senmei.stages.{stage}", *modules)

    @property
    def module(self) -> str:
        """Dotted module of the study."""
        return STUDIES.module(self.settings["use"])

    def method_module(self, method: str) -> str:
        """Dotted module of a method instance."""
        return METHODS.module(self.method(method)["use"])

    def groups_of(self, roles: Sequence[str]) -> list[str]:
        """Role groups that hold any of `roles`. Raises ConfigError for a role that no group builds."""
        known = {role: group for group, members in self.study.groups.items() for role in members}
        missing = [role for role in roles if role not in known]
        if missing:
            raise ConfigError(
                f"No role group builds '{missing[0]}'",
                where=f"study '{self.name}'",
                why=f"its groups build: {', '.join(known)}",
                fix="choose another method, measure or analysis, or extend the study's `groups`",
            )
        return sorted({known[role] for role in roles}, key=list(self.study.groups).index)

    def given(self, method: str) -> list[str]:
        """Files of the model that is given in place of fitting a method: weights and card; [] for one to be fitted."""
        model = self.method(method).get("model")
        return [str(Path(model) / name) for name in (WEIGHTS, CARD)] if model else []

    def _check_given(self, method: str) -> None:
        where = f"studies.{self.name}.methods.{method}.model"
        if Path(self.method(method)["model"]).resolve() == (self.folder / "models" / method).resolve():
            why, fix = "it is the folder that this run would copy it to", "name the folder of another run"
            raise ConfigError("A model cannot be given to itself", where=where, why=why, fix=fix)
        given_card(self.method(method), where)

    def training_groups(self, method: str, split: str) -> list[str]:
        """Role groups that fitting a method needs of one split; empty when there is nothing to fit, or it is given.

        A setting `target` names the role to tune against in place of the reference.
        """
        if self.given(method):
            return []
        roles = self.constants(method).get({"train": "needs", "validation": "tunes_on"}[split], ())
        target = self.method(method).get("target", "reference")
        return self.groups_of([target if role == "reference" else role for role in roles])

    def training_shards(self, method: str) -> list[tuple[str, str, str]]:
        """(cohort, group, shard) of all that fitting a method reads, of the train and validation splits."""
        return [
            (cohort, group, shard)
            for cohort, settings in self.cohorts.items()
            if settings["use"] == "train"
            for split in ("train", "validation")
            for group in self.training_groups(method, split)
            for shard in self.shards(cohort, (split,))
        ]

    def training_hash(self, method: str) -> str:
        """Hash of the rows that fitting a method may see."""
        pairs = sorted({(cohort, shard) for cohort, _, shard in self.training_shards(method)})
        return rows_hash([{"cohort": c, "shard": s, "rows": self.shard_hash(c, s)} for c, s in pairs])

    # ---- measures, analyses ----
    @cached_property
    def measures(self) -> dict[str, str]:
        """Measure name -> registered name or place."""
        return {name: (spec or {}).get("use", name) for name, spec in self.settings["measures"].items()}

    @cached_property
    def measured_groups(self) -> list[str]:
        """Role groups that the measures need."""
        roles = {role for use in self.measures.values() for role in measure_requires(MEASURES.place(use))}
        optional = [r for r in ("mask",) if any(r in members for members in self.study.groups.values())]
        return self.groups_of(sorted(roles | set(optional)))

    def analysis_constants(self, analysis: str) -> dict[str, Any]:
        """Class constants of an analysis (scope, requires), read without importing it."""
        return class_constants(ANALYSES.place(self.analyses[analysis]["use"]))

    def analysis_groups(self, analysis: str) -> list[str]:
        """Role groups that an analysis needs."""
        constants = self.analysis_constants(analysis)
        return self.groups_of([*constants["requires"], *constants.get("uses", ())])

    def analysed(self) -> list[tuple[str, str, str, str]]:
        """(cohort, analysis, method, shard or 'cohort') of all analyses."""
        found = []
        for analysis, spec in self.analyses.items():
            constants = self.analysis_constants(analysis)
            scope, only = constants["scope"], constants.get("methods") or self.methods
            for cohort in spec.get("cohorts") or self.cohorts:
                if cohort in spec.get("skip", ()):
                    continue
                for shard in self.shards(cohort, ("test",)) if scope == "scan" else ["cohort"]:
                    found += [(cohort, analysis, m, shard) for m in self.methods if m in only]
        return found

    def options(self, kind: str, name: str) -> dict[str, Any]:
        """Settings of a method or analysis instance without the keys that are the frame's."""
        table = self.methods if kind == "method" else self.analyses
        return {k: v for k, v in table[name].items() if k not in ("use", "cohorts", "skip")}


class Plan:
    """The whole run: `plan['mri_denoise']` is one study's plan."""

    def __init__(self, config: dict[str, Any], results: str | Path) -> None:
        self.config = config
        self.run = config["run"]
        self.results = Path(results)
        self.studies = {
            name: StudyPlan(name, settings, self.results, config["seed"], config["strict"])
            for name, settings in config["studies"].items()
        }

    def __getitem__(self, study: str) -> StudyPlan:
        return self.studies[study]

    def check_programs(self) -> None:
        """Stop when a program that any cohort asks for is not there."""
        for study in self.studies.values():
            study.check_programs()

    def listed_cohorts(self) -> list[str]:
        """'study/cohorts/cohort' of every cohort that must be listed from files."""
        return [f"{s.name}/cohorts/{c}" for s in self.studies.values() for c in s.cohorts if s.listed(c)]


def _dangling(path: str) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def frozen(value: Any) -> str:
    """Settings as one canonical line, for Snakemake's params."""
    return json.dumps(value, sort_keys=True, default=str)


def tree_hash(path: str) -> str:
    """Hash of names, sizes and times of all files below a folder: changes when a subject is added or replaced."""
    entries = []
    todo = [Path(path)]
    while todo:
        folder = todo.pop()
        if not folder.is_dir():
            continue
        with os.scandir(folder) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(Path(entry.path))
                else:
                    facts = entry.stat(follow_symlinks=not _dangling(entry.path))
                    entries.append((entry.path, facts.st_size, facts.st_mtime_ns))
    return short_hash(*sorted(entries))
