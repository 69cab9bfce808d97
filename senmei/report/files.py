"""The files of one study, as the report reads them. Nothing is computed; only summary.json must be there."""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from senmei.core.errors import DataError, SenmeiError
from senmei.io.roles import load_role
from senmei.io.tables import Row, read_tsv

FAMILIES = ("none", "classical", "learned")
Condition = tuple[tuple[str, Any], ...]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            "Cannot read a file the report is made from",
            where=path,
            why=str(error),
            fix="delete it and re-run the stage that writes it",
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            "Cannot read a file the report is made from",
            where=path,
            why=f"it holds a {type(value).__name__}, not an object",
            fix="delete it and re-run the stage that writes it",
        )
    return value


def finite(value: Any) -> float | None:
    """The value as a float, or None where it is missing, text, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def condition_of(values: Mapping[str, Any], names: Sequence[str]) -> Condition:
    """The condition of a scan or headline as a hashable key; what is missing is left out, numbers are floats."""
    found = []
    for name in names:
        value = values.get(name)
        value = getattr(value, "item", lambda value=value: value)()  # numpy's scalars as Python's
        if value is None or value != value or value == "":
            continue
        number = finite(value)
        found.append((name, str(value) if number is None else number))
    return tuple(found)


def kind(condition: Condition) -> Condition:
    """What of a condition is no level: its texts ('rician')."""
    return tuple((name, value) for name, value in condition if isinstance(value, str))


def in_order(conditions: Iterable[Condition]) -> list[Condition]:
    """Distinct conditions: the kind with most levels first (of equals, that with the highest), levels by size."""
    found = set(conditions)
    kinds: dict[Condition, list[list[float]]] = {}
    for condition in found:
        kinds.setdefault(kind(condition), []).append(_levels(condition))
    rank = {k: (-len(v), [-x for x in max(v)], k) for k, v in kinds.items()}
    return sorted(found, key=lambda c: (rank[kind(c)], _levels(c)))


def _levels(condition: Condition) -> list[float]:
    """Its numbers, turned so that the harder scan comes later: more noise, less dose."""
    return [-value if name == "dose" else value for name, value in condition if not isinstance(value, str)]


def dose_label(dose: float) -> str:
    """A share of the full dose as it is spoken of: '1', '1/4', '0.3'."""
    parts = round(1 / dose) if dose > 0 else 0
    if parts > 1 and abs(dose * parts - 1) < 1e-6:
        return f"1/{parts}"
    return f"{dose:g}"


def _in_words(name: str, value: Any) -> str:
    words = {
        "noise": "{} % noise", "acceleration": "R = {}", "acquisition": "{}", "time_s": "{} s", "nuclide": "{}",
        "pixel_mm": "{} mm pixels", "collimator": "{}", "distance_mm": "at {} mm", "layer_mm": "{} mm layer",
    }  # fmt: skip
    values = {"rician": "Rician", "grappa": "GRAPPA", "measured": "as measured"}
    if name == "dose" and isinstance(value, float):
        return "full dose" if value == 1 else f"{dose_label(value)} dose"
    shown = f"{value:g}" if isinstance(value, float) else values.get(value, value)
    return words.get(name, name + " {}").format(shown)


def condition_label(condition: Condition) -> str:
    """A condition in words: '9 % noise, grappa', '1/4 dose'."""
    parts = [_in_words(name, value) for name, value in condition]
    return ", ".join(sorted(parts, key=lambda part: not part[:1].isdigit())) or "as acquired"


@dataclass(frozen=True)
class Role:
    """A role of a scan on disk."""

    path: Path
    sha256: str | None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """Its value, the hash checked first. Raises DataError."""
        return load_role(self.path, expected=self.sha256)


class StudyFiles:
    """One study's folder. Raises DataError when summary.json is missing or damaged."""

    def __init__(self, folder: Path, conditions: Sequence[str] = ()) -> None:
        self.folder = Path(folder)
        self.summary = read_json(self.folder / "summary.json")
        named = {name for headline in self.headlines for name in headline.get("condition") or {}}
        self.conditions = tuple(conditions) or tuple(sorted(named))
        self._listed: dict[Path, list[str]] = {}  # folder -> its files: looked at once, not once a scan

    @cached_property
    def headlines(self) -> list[dict[str, Any]]:
        """Rows of summary.json. A measure `m` that comes with `m_low` and `m_high` has these as its interval.

        Such a number is one of a whole cohort (an observer's area under its curve); `n` is None where no subjects
        were counted.
        """
        rows = [dict(row) for row in self.summary.get("headlines") or ()]
        ends = {f"{name}{end}" for name in self.bounded for end in ("_low", "_high")}
        bounds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in rows:
            if row["measure"] in ends:
                key = row.get("cohort"), row.get("method"), row["measure"]
                bounds.setdefault(key, []).append(row)
        for row in (row for row in rows if row["measure"] in self.bounded):
            pair = []
            for end in ("_low", "_high"):
                found = bounds.get((row.get("cohort"), row.get("method"), f"{row['measure']}{end}"), [])
                same = [b for b in found if b.get("condition") == row.get("condition")] or found
                pair.append(finite(same[0].get("mean")) if len(same) == 1 else None)
            row |= {"ci95": pair} if None not in pair else {}
            row |= {"n": None} if row.get("n") == 1 else {}
        return [row for row in rows if row["measure"] not in ends]

    @cached_property
    def bounded(self) -> frozenset[str]:
        """Measures that bring their own interval, as `m_low` and `m_high`."""
        names = {str(row["measure"]) for row in self.summary.get("headlines") or ()}
        return frozenset(name for name in names if {f"{name}_low", f"{name}_high"} <= names)

    @cached_property
    def subgroups(self) -> dict[str, list[dict[str, Any]]]:
        """column -> headlines of each of its values, as of `headlines` but with that column in their condition.

        Columns of a single value are left out: they tell what the headlines do.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for name, rows in (self.summary.get("subgroups") or {}).items():
            if len({(row.get("condition") or {}).get(name) for row in rows}) > 1:
                found[str(name)] = [dict(row) for row in rows]
        return found

    @property
    def name(self) -> str:
        """The study's name in paths."""
        return str(self.summary.get("study") or self.folder.name)

    @cached_property
    def cohorts(self) -> dict[str, dict[str, Any]]:
        """cohort -> cohort.json, in order of name; real before simulated."""
        found = {
            path.parent.name: read_json(path) for path in sorted(self.folder.glob("cohorts/*/cohort.json"))
        }
        return dict(sorted(found.items(), key=lambda item: (bool(item[1].get("synthetic")), item[0])))

    @cached_property
    def cards(self) -> dict[str, dict[str, Any]]:
        """method -> card.json: the unrestored first, then classical, then learned, each by name."""
        found = {path.parent.name: read_json(path) for path in self.folder.glob("models/*/card.json")}
        rank = {family: n for n, family in enumerate(FAMILIES)}
        return dict(sorted(found.items(), key=lambda item: (rank.get(item[1].get("family", ""), 3), item[0])))

    @cached_property
    def methods(self) -> list[str]:
        """All methods that have a card or a headline, in the order of the page."""
        extra = {str(h["method"]) for h in self.headlines} | set(map(str, self.measures["method"].unique()))
        return [*self.cards, *sorted(extra - set(self.cards), key=lambda name: (name != "input", name))]

    def family(self, method: str) -> str:
        """'none', 'classical' or 'learned'."""
        default = "none" if method == "input" else "classical"
        return str(self.cards.get(method, {}).get("family", default))

    def oracle(self, method: str) -> bool:
        """Whether it was tuned on the truth where the study's learned methods never see it: no fair baseline."""
        card = self.cards.get(method, {})
        if "oracle" in card:
            return bool(card["oracle"])
        learned = [c for c in self.cards.values() if c.get("family") == "learned"]
        if card.get("family") != "classical" or not learned:
            return False
        return "reference" in (card.get("needs") or ()) and not any(
            "reference" in (c.get("needs") or ()) for c in learned
        )

    def label(self, method: str) -> str:
        """Its title for charts, which have no badges: an oracle says so; of several with one title, their names."""
        told = not self.oracle(method) or "truth" in self.title(method)
        title = self.title(method) if told else f"{self.title(method)} (oracle)"
        several = sum(self.title(other) == self.title(method) for other in self.methods) > 1
        return f"{title}: {method}" if several else title

    @cached_property
    def limits(self) -> dict[str, float]:
        """measure -> bound beyond which the size of its mean is flagged."""
        found = {str(m): finite(bound) for m, bound in (self.summary.get("limits") or {}).items()}
        return {m: bound for m, bound in found.items() if bound is not None}

    @property
    def flags(self) -> list[dict[str, Any]]:
        """Rows of summary.json that lie beyond a limit: cohort, condition, method, measure, mean, limit."""
        if (found := self.summary.get("flags")) is not None:
            return list(found)
        limits = [(row, self.limits.get(row["measure"]), finite(row.get("mean"))) for row in self.headlines]
        return [
            {**row, "limit": limit}
            for row, limit, mean in limits
            if limit is not None and mean is not None and abs(mean) > limit
        ]

    def analysed(self, cohort: str, method: str, scan: str) -> dict[str, Path]:
        """name -> file that an analysis left beside its numbers of one scan: {scan}_{name}.(nii.gz|h5|json)."""
        found: dict[str, Path] = {}
        for folder in sorted(self.folder.glob(f"analysed/{cohort}/*/{method}")):
            names = self._listed.get(folder)
            if names is None:
                names = self._listed[folder] = sorted(os.listdir(folder))
            places = range(bisect_left(names, f"{scan}_"), len(names))
            for file in takewhile(lambda name: name.startswith(f"{scan}_"), (names[n] for n in places)):
                name, _, kind_ = file.removeprefix(f"{scan}_").partition(".")
                if (
                    kind_ in ("nii.gz", "h5", "json") and "-" not in name
                ):  # a dash: another scan's name goes on
                    found.setdefault(name, folder / file)
        return found

    def title(self, method: str) -> str:
        """What a method is called on the page."""
        return str(self.cards.get(method, {}).get("title") or method)

    @cached_property
    def measures(self) -> pd.DataFrame:
        """measures.tsv without `study` and `scan`; empty with its columns where nothing could be measured.

        Texts are categories: each is kept once, however often it stands in the table.
        """
        path = self.folder / "measures.tsv"
        columns = ["cohort", "method", "subject", "split", "measure", "value"]
        text = dict.fromkeys(["cohort", "method", "subject", "split", "measure"], "category")
        if not path.exists():
            return pd.DataFrame(columns=columns)
        try:
            table = pd.read_csv(
                path, sep="\t", dtype=text, na_values=["n/a"], keep_default_na=False,
                usecols=lambda name: name not in ("study", "scan"),
            )  # fmt: skip
            table["value"] = pd.to_numeric(table["value"], errors="coerce")
        except (KeyError, ValueError, UnicodeDecodeError) as error:
            raise DataError(
                "Cannot read table",
                where=path,
                why=str(error),
                fix="delete it and run `snakemake report` again",
            ) from error
        return table

    @cached_property
    def status(self) -> list[Row]:
        """Rows of status.tsv: what is not ok."""
        path = self.folder / "status.tsv"
        return read_tsv(path) if path.exists() else []

    @property
    def failures(self) -> int:
        """Number of scans and stages that failed."""
        return sum(row.get("status") == "failed" for row in self.status)

    def table(self, cohort: str, name: str) -> list[Row]:
        """A table of a cohort (participants, scans, split); [] where it is missing."""
        path = self.folder / "cohorts" / cohort / f"{name}.tsv"
        return read_tsv(path) if path.exists() else []

    def history(self, method: str) -> list[Row]:
        """Rows of history.tsv of a method; [] where it is missing."""
        path = self.folder / "models" / method / "history.tsv"
        return read_tsv(path) if path.exists() else []

    def roles(self, cohort: str, scan: Row) -> dict[str, Role]:
        """Prepared roles of one scan that are ok."""
        return self._roles(self.folder / "prepared" / cohort, "*/", scan)

    def restored(self, cohort: str, method: str, scan: Row) -> Role | None:
        """What a method made of one scan, if it did."""
        found = self._roles(self.folder / "restored" / cohort / method, "", scan)
        return next(iter(found.values()), None)

    def _roles(self, folder: Path, below: str, scan: Row) -> dict[str, Role]:
        shard = scan.get("shard")
        found: dict[str, Role] = {}
        for path in sorted(folder.glob(f"{below}*.tsv")):
            if shard is not None and path.stem != str(shard):
                continue
            for row in read_tsv(path):
                if row.get("scan") != scan["scan"] or row.get("status") != "ok" or not row.get("path"):
                    continue
                digest = row.get("sha256")
                name = row.get("role") or "restored"
                found[name] = Role(path.parent / str(row["path"]), str(digest) if digest else None, row)
        return found


def reason(error: SenmeiError) -> str:
    """An error in one line, without the folders of the machine it happened on."""
    return f"{error.what}: {error.why}"
