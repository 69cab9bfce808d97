"""What an analysis shows on the study's page beside its numbers: figures, tables and remarks, as files.

`shown.json` in the analysis's folder: `title` and `items`, in the order of the page. A figure is a PNG beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError
from senmei.io.atomic import write_bytes, write_text

NAME = "shown.json"
LARGEST = 600_000  # bytes of a figure
_PNG = b"\x89PNG\r\n\x1a\n"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.png")
_TEXT = 4000  # characters
_MOST = 400  # items, rows, columns


@dataclass(frozen=True)
class Figure:
    """A picture. png : its bytes. alt : what it shows, for who cannot see it."""

    name: str
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Note:
    """A remark; flagged ones are warnings."""

    text: str
    flag: bool = False


Item = Figure | Table | Note


@dataclass(frozen=True)
class Shown:
    """All that one analysis shows of one cohort."""

    title: str
    items: tuple[Item, ...]


def write_shown(folder: Path | str, title: str, items: Sequence[Item]) -> None:
    """Write figures and then the list of all items; figures that an earlier list named and this one does not go.

    Raises DataError for a figure that is no PNG, is too large, or whose name is not one of letters, digits, _ and -.
    """
    folder = Path(folder)
    old: set[str] = set()
    with suppress(DataError):
        old = {f"{i.name}.png" for i in read_shown(folder).items if isinstance(i, Figure)}
    told: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, Figure):
            file = f"{item.name}.png"
            _check_figure(folder / file, file, item.png)
            write_bytes(folder / file, item.png)
            old.discard(file)
            told.append({"kind": "figure", "file": file, "caption": item.caption, "alt": item.alt})
        elif isinstance(item, Table):
            rows = [list(row) for row in item.rows]
            told.append(
                {"kind": "table", "caption": item.caption, "columns": list(item.columns), "rows": rows}
            )
        else:
            told.append({"kind": "note", "text": item.text, "flag": item.flag})
    text = json.dumps({"title": title, "items": told}, indent=1, ensure_ascii=False)
    write_text(folder / NAME, text + "\n")
    for file in old:
        (folder / file).unlink(missing_ok=True)


def read_shown(folder: Path | str) -> Shown:
    """What `write_shown` wrote. Raises DataError for anything else: nothing but its own files is read."""
    path = Path(folder) / NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        items = value["items"]
        if not isinstance(items, list) or len(items) > _MOST:
            raise ValueError("no list of items, or too many")
        return Shown(_text(value["title"]), tuple(_item(path.parent, item) for item in items))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "Cannot read what an analysis shows",
            where=path,
            why=f"{type(error).__name__}: {error}"[:200],
            fix="delete it and re-run the analysis",
        ) from error


def _item(folder: Path, item: dict[str, Any]) -> Item:
    if item["kind"] == "figure":
        file = _text(item["file"])
        if not _FILE.fullmatch(file):
            raise ValueError("a figure is no plain file name")
        path = folder / file
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError(f"{file} is no file, or too large")
        png = path.read_bytes()
        _check_figure(path, file, png)
        return Figure(file.removesuffix(".png"), png, _text(item["caption"]), _text(item["alt"]))
    if item["kind"] == "table":
        columns, rows = _texts(item["columns"]), item["rows"]
        if not isinstance(rows, list) or len(rows) > _MOST:
            raise ValueError("a table without rows, or with too many")
        cells = tuple(_texts(row) for row in rows)
        if any(len(row) != len(columns) for row in cells):
            raise ValueError("rows of a table differ in length")
        return Table(_text(item["caption"]), columns, cells)
    if item["kind"] == "note":
        return Note(_text(item["text"]), item["flag"] is True)
    raise ValueError("an item of no known kind")


def _check_figure(path: Path, file: str, png: bytes) -> None:
    problem = None
    if not _FILE.fullmatch(file):
        problem = "its name is not one of letters, digits, _ and -"
    elif not png.startswith(_PNG):
        problem = "it is no PNG"
    elif len(png) > LARGEST:
        problem = f"it has {len(png)} bytes, more than {LARGEST}"
    if problem:
        raise DataError("A figure cannot be shown", where=path, why=problem, fix="re-run the analysis")


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT:
        raise ValueError("a text is missing, or too long")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) > _MOST:
        raise ValueError("a list of texts is missing, or too long")
    return tuple(_text(value) for value in values)
