"""TSV tables as lists of dictionaries, in BIDS manner: `n/a` for missing, one header line, LF ends."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError
from senmei.io.atomic import atomic_path

Row = dict[str, Any]


_NUMBER = re.compile(
    r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]\d+)?"
)  # a hash such as 12e34 is none: an exponent has a sign


def parse_value(text: str) -> Any:
    """'n/a' and '' -> None, plain numbers -> int or float, anything else (also '007') stays text."""
    if text in ("n/a", ""):
        return None
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("-").isdigit() else float(text)
    return text


def format_value(value: Any) -> str:
    """Inverse of `parse_value`; floats with 9 significant digits, control characters as spaces."""
    if value is None or value != value:
        return "n/a"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.9g}"
    text = (
        str(value).encode("utf-8", "backslashreplace").decode()
    )  # a file name may hold bytes that are no text
    return " ".join(text.split()) if any(c in text for c in "\t\r\n\0") else text


def write_tsv(path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows atomically; `columns` come first, others in order of appearance."""
    rows = list(rows)
    stream_tsv(path, rows, list(dict.fromkeys([*columns, *(key for row in rows for key in row)])))


def stream_tsv(path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows atomically as they come, none of them kept: these columns and no others."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        writer.writerow(columns)
        writer.writerows([format_value(row.get(name)) for name in columns] for row in rows)


def read_tsv(path: Path | str) -> list[Row]:
    """Rows of a table written by us or by BIDS. Raises DataError naming file and line."""
    return list(iter_tsv(path))


def iter_tsv(path: Path | str) -> Iterator[Row]:
    """Rows of a table one after another, none of them kept. Raises as `read_tsv`, when it comes to the bad line."""
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter="\t")
            names = next(reader, None)
            if names is None:
                raise ValueError("it is empty")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise ValueError(
                        f"line {reader.line_num} has {len(cells)} cells, the header has {len(names)}"
                    )
                yield {name: parse_value(cell) for name, cell in zip(names, cells, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(
            "Cannot read table",
            where=path,
            why=str(error),
            fix="a table is tab-separated UTF-8 with one header line",
        ) from error
