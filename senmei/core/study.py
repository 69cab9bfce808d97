"""The contract of a study: one report's experiment, bound in configuration plus one short module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

Row = dict[str, Any]
Listed = tuple[list[Row], list[Row], list[Row]]


def file_columns(row: Mapping[str, Any]) -> list[str]:
    """Columns of a row that name files: `path` and all that end in `_path`, where they hold something."""
    return [name for name, value in row.items() if is_file_column(name) and value is not None]


def is_file_column(name: str) -> bool:
    """Whether a column of scans.tsv names a file; such columns stay out of everything that is prepared."""
    return name == "path" or name.endswith("_path")


class Study:
    """Base of all studies. A study says what a subject's scans are and what roles a scan becomes.

    groups : role group -> the roles it builds. One group is one manifest a shard, so that a job which declares
        no group with a `reference` never has one among its inputs.
    conditions : columns of scans.tsv by which measures are broken down.
    subgroups : further columns, of whom was scanned and not how: headlines are over all of them, and again of each.
    uses_siblings : groups whose roles depend on the subject's other images.
    phantom_module, engine_module : dotted modules that `render` and `run_engine` rely on, whose code their jobs carry
        in their fingerprints in place of the whole study's: what takes days is not done again for another's edit.
    dataset_module : dotted module that writes a cohort's pairs to hand on (`dataset:` of a cohort), '' if none does.
        Its `writer(folder, options, facts)` gives an object with `add(example, raw)` -> role -> (place, SHA-256), raw
        being role -> loader of the scan's image, and `close(participants)`; facts are those of cohort.json, `cohort`,
        `degradation` and `made` (sentences). dataset_groups : role groups that a pair is made of.
    laboratory_module : dotted module that prints a cohort's pages before anything is imaged, '' if none does:
        `printed(cohort)` says whether it has pages, `print_pages(cohort, folder)` writes them and gives sentences that
        whoever prints should read.
    sentences : for the methods paragraph, (text, references) each.
    figures : how the report shows images: `colour` (grey or nuclear), `tradeoff` (two measures drawn against each
        other), and what else `senmei.report.look` knows.
    """

    title: ClassVar[str]
    groups: ClassVar[dict[str, tuple[str, ...]]]
    conditions: ClassVar[tuple[str, ...]] = ()
    subgroups: ClassVar[tuple[str, ...]] = ()
    primary: ClassVar[tuple[str, ...]] = ()
    uses_siblings: ClassVar[tuple[str, ...]] = ()
    phantom_module: ClassVar[str] = ""
    engine_module: ClassVar[str] = ""
    dataset_module: ClassVar[str] = ""
    dataset_groups: ClassVar[tuple[str, ...]] = ()
    laboratory_module: ClassVar[str] = ""
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

    def words(self, cohorts: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The `sentences` that are true of the configured cohorts (name -> settings). By default all."""
        return self.sentences

    def settle(self, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """The study's degradation with what its files hold in place of their names. By default as it is.

        Asked once, when planned: what comes out is what keys are made of and jobs are given, so that a file that has
        changed runs again what depends on it. folder : of the study's results. Raises ConfigError as `check_cohort`.
        """
        return dict(settings)

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Stop before anything is planned for what no job of this cohort could do. By default nothing.

        settings : the study's degradation. Raises ConfigError, `where` from the study's own keys on, such as
        'degradation.pairs', or EngineError for a program that is not there.
        """

    def check_method(self, method: Mapping[str, Any], cohort: Mapping[str, Any]) -> None:
        """Stop before anything is planned for a method that cannot learn from a training cohort. By default nothing.

        method : its settings. Raises ConfigError, `where` a key of the method.
        """

    def folders(self, cohort: Mapping[str, Any]) -> list[str]:
        """Folders that decide what a cohort from files is: when their files change it is listed anew."""
        return [str(cohort["path"])]

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed | None:
        """Participants, raw images and status rows of a cohort read from files; None: the frame's own doors do it.

        folder : of the cohort's tables; what must be converted before it can be named goes below it.
        Rows as of `images`, with `path` and further columns ending in `_path` for files (None where there is none):
        all of them are hashed into what is made of the image, and none goes along into prepared columns.
        """
        return None

    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any] | None:
        """Raw roles of one image that `list_files` named, and `columns`; None: the frame loads `path` as `image`.

        Called in place of `check`: raises DataError naming the image for what cannot be used.
        """
        return None

    # ---- programs of others that simulate, one job a seed ----
    def listed(self, cohort: Mapping[str, Any]) -> bool:
        """Whether a cohort's subjects are known only when files have been listed. By default all but `simulate`."""
        return bool(cohort["source"] != "simulate")

    def seeds(self, cohort: Mapping[str, Any]) -> int | None:
        """Jobs that an engine runs for each shard, one a seed; 0 for phantoms alone; None (the default) for neither."""
        return None

    def check_programs(self, cohort: Mapping[str, Any]) -> None:
        """Stop before any job when a program that a cohort asks for is not there or is not the right one.

        Asked in the main process only. Raises ConfigError, `where` from the study's own keys on.
        """

    def engine_settings(self, cohort: Mapping[str, Any], part: str) -> dict[str, Any]:
        """What of a cohort's settings decides its phantoms (`part` 'phantom') or an engine's runs ('engine')."""
        return dict(cohort)

    def engine_minutes(self, cohort: Mapping[str, Any]) -> float:
        """How long an engine may take for one image and seed."""
        return 60.0

    def render(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Phantom of one subject for an engine: image -> role -> value, and `columns`. Deterministic in `seed`."""
        raise NotImplementedError(type(self).__name__)

    def run_engine(
        self,
        image: Row,
        phantom: Callable[[str], Any],
        cohort: Mapping[str, Any],
        *,
        number: int,
        seed: int,
        minutes: float,
        folder: Path,
    ) -> tuple[dict[str, Any], Row]:
        """Roles that one seed of an engine gives of an image, and facts of the run that are not volatile.

        phantom(role) loads what `render` made. number : of the seed, from 1. seed : derived for the image, the same
        for all numbers. minutes : a run that takes longer has failed. folder : an empty one to work in; of a run that
        fails, what its *.log files say last is kept. Raises EngineError.
        """
        raise NotImplementedError(type(self).__name__)

    def gather(
        self,
        image: Row,
        phantom: Callable[[str], Any],
        runs: Sequence[tuple[Callable[[str], Any], Row]],
        cohort: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Raw roles of an image (and `columns`) from its phantom and what each seed gave: (loader of roles, facts)."""
        raise NotImplementedError(type(self).__name__)

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """How a cohort read from files can be judged: (case, a sentence that says so)."""
        return "none", "No reference: restored images and no-reference measures only."

    def check(self, image: Row, raw: Any, cohort: Mapping[str, Any]) -> Row:
        """Look at one raw image read from a file; extra manifest columns, or an error. By default: nothing."""
        return {}

    def export(
        self,
        scan: Row,
        restored: Any,
        raw: Callable[[str], Any],
        cohort: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> dict[str, bytes]:
        """Files that go back to whoever gave the scan: suffix ('.dcm') -> content, the same bytes for the same facts.

        Called for cohorts with `export:`; a study that does not override it has no such door. No identifier of a
        patient may be in a file. restored : what a method made of the scan. raw(role) : a raw role of its image.
        facts : `format` (the cohort's), `method`, `title`, `family`, `weights_sha256`, `version`, `derivation` (a
        sentence that names them), `number` (of the series, from 1) and `keys`: hexadecimal digits that tell apart,
        for identifiers in files, the `subject` (the same for all its exports), the `image` and this `series`.
        """
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
        raw(image, role) loads a raw role of an image of the same subject; KeyError where it has none.
        seed : the study's; derive from it by name.
        """
        raise NotImplementedError(type(self).__name__)
