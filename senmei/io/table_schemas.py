"""What the columns of our tables are, and whether a table keeps to it: config/schemas/tables.schema.yaml."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError
from senmei.io.tables import Row

SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schemas" / "tables.schema.yaml"

_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda v: not isinstance(v, bool), "text"),
    "number": (lambda v: isinstance(v, int | float) and math.isfinite(v), "a finite number"),
    "count": (lambda v: isinstance(v, int) and v >= 0, "a whole number"),
}


@cache
def table_schema(kind: str) -> Mapping[str, Any]:
    """Description, columns and `more` of one kind of table: participants, scans, split, status, manifest, ..."""
    import yaml

    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))[kind]


def check_table(kind: str, rows: Sequence[Row], where: object) -> None:
    """Raise DataError for the first cell or column that the schema of `kind` does not allow.

    The message names the line (the header is line 1), the column and what would be right.
    """
    schema = table_schema(kind)
    columns: Mapping[str, Mapping[str, Any]] = schema["columns"]
    present = dict.fromkeys(key for row in rows for key in row)
    if not schema.get("more"):
        for name in present:
            if name not in columns:
                fix = nearly(name, columns) or f"its columns are: {', '.join(columns)}"
                raise _error(kind, where, f"it has an unknown column '{name}'", fix)
    for name, column in columns.items():
        if rows and column.get("required") and name not in present:
            others = [key for key in present if key not in columns]
            fix = (
                nearly(name, others, "is '{}' meant? Then rename it")
                or f"add the column: {column['description']}"
            )
            raise _error(
                kind, where, f"it has no column '{name}'; its columns are: {', '.join(present)}", fix
            )
        seen: dict[Any, int] = {}
        for line, row in enumerate(rows, start=2):
            value = row.get(name)
            if value is None:
                if column.get("required"):
                    raise _error(kind, where, f"line {line} has no '{name}'", column["description"])
                continue
            if wrong := _wrong(value, column):
                raise _error(
                    kind, where, f"line {line}: '{name}' is '{value}', not {wrong}", column["description"]
                )
            if column.get("unique") and seen.setdefault(value, line) != line:
                raise _error(
                    kind, where, f"lines {seen[value]} and {line} are both '{value}'", "keep one of them"
                )


def _wrong(value: Any, column: Mapping[str, Any]) -> str | None:
    if "values" in column and value not in column["values"]:
        return "one of " + ", ".join(column["values"])
    if "type" in column:
        right, said = _TYPES[column["type"]]
        if not right(value):
            return said
    if "pattern" in column and not re.fullmatch(column["pattern"], str(value)):
        return f"of the form {column['pattern']}"
    return None


def near_misses(kind: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """(column as written, known column it nearly is) of names that are free columns, but look mistyped.

    Only names that the table lacks are suggested: beside `age`, a column `aged` is the user's own.
    """
    columns = table_schema(kind)["columns"]
    lacking = [name for name in columns if name not in names]
    found = []
    for name in names:
        if name not in columns:
            if close := difflib.get_close_matches(str(name).lower(), lacking, n=1, cutoff=0.8):
                found.append((name, close[0]))
    return found


def nearly(name: str, valid: Sequence[str] | Mapping[str, Any], say: str = "did you mean '{}'?") -> str:
    """A sentence that suggests the valid name nearest to `name`; '' if none is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.7)
    return say.format(close[0]) if close else ""


def _error(kind: str, where: object, why: str, fix: str) -> DataError:
    return DataError(f"Cannot use this {kind.replace('_', ' ')} table", where=where, why=why, fix=fix)
