"""SIMIND's parameter file (.smc, format SMCV2 of release 7 and later): read, changed, written.

Four blocks, each with a header line that tells how many values follow: numbers (five a line, Fortran E12.5 in exactly
twelve columns with mantissas 0.ddddd, so that a negative one touches its neighbour), flags (one line of T and F),
texts, and names of data files padded to 60. Header lines, and whatever stands behind the last block, are kept as they
are. Indices and slots count from 1, as in the manual (Ljungberg M. The SIMIND Monte Carlo program, version 7.0, 2023).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from senmei.core.errors import ConfigError, DataError

MAGIC = "SMCV2"
WIDTH, PER_LINE, COMMENT, FILE = 12, 5, 70, 60
_HEADERS = ("   120  # Basic Change data", "    30  # Simulation flags", "     8  # Text Variables")
_FILES = "    12 # Data files"
_COUNT = re.compile(r"[0-9]{1,6}")
_MOST = 4096  # values of a block, beyond any release


def e12_5(value: float) -> str:
    """A number as Fortran's E12.5 writes it: ` 0.14050E+03`. Raises ConfigError if it does not fit.

    Five digits are kept; a whole number that they cannot hold is refused, as is an exponent of three digits.
    """
    if isinstance(value, bool) or not math.isfinite(value):
        raise _misfit(value, "only finite numbers can be written")
    if value == 0:
        return " 0.00000E+00"
    digits, exponent = f"{abs(value):.4e}".split("e")
    power = int(exponent) + 1
    if abs(power) > 99:
        raise _misfit(value, "its exponent takes three digits, and the column has room for two")
    text = f"{'-' if value < 0 else ' '}0.{digits.replace('.', '')}E{power:+03d}"
    if float(value).is_integer() and float(text) != value:
        raise _misfit(value, "the column keeps five digits, and this whole number needs more")
    return text


@dataclass(frozen=True)
class Smc:
    """The content of a parameter file.

    values : of indices 1, 2, ... flags : letters T and F of flags 1, 2, ... texts : slots 1, 2, ... (1 is the
    collimator's code). files : slots 1, 2, ... (5 is the density map, 6 the source map). headers : the four header
    lines as written. tail : what follows the last block.
    """

    comment: str
    values: tuple[float, ...]
    flags: str
    texts: tuple[str, ...]
    files: tuple[str, ...]
    headers: tuple[str, str, str, str] = (*_HEADERS, _FILES)
    tail: str = ""

    def value(self, index: int) -> float:
        """The number at an index, from 1."""
        return self.values[self._place(index, len(self.values), "index") - 1]

    def flag(self, number: int) -> bool:
        """A flag, from 1."""
        return self.flags[self._place(number, len(self.flags), "flag") - 1].upper() == "T"

    def with_values(self, values: Mapping[int, float]) -> Smc:
        """The same with other numbers at some indices. Raises ConfigError for one that does not fit."""
        numbers = list(self.values)
        for index, number in values.items():
            e12_5(number)
            numbers[self._place(index, len(numbers), "index") - 1] = float(number)
        return replace(self, values=tuple(numbers))

    def with_flags(self, flags: Mapping[int, bool]) -> Smc:
        """The same with other flags."""
        letters = list(self.flags)
        for number, on in flags.items():
            letters[self._place(number, len(letters), "flag") - 1] = "T" if on else "F"
        return replace(self, flags="".join(letters))

    def with_texts(self, texts: Mapping[int, str]) -> Smc:
        """The same with other texts, the collimator's code for one."""
        return replace(self, texts=self._changed(self.texts, texts, "text"))

    def with_files(self, files: Mapping[int, str]) -> Smc:
        """The same with other names of data files (60 characters at most)."""
        for name in files.values():
            if len(name) > FILE:
                raise _misfit(name, f"a name of a data file has {FILE} characters at most")
        return replace(self, files=self._changed(self.files, files, "file"))

    def to_text(self) -> str:
        """The file's text. Raises ConfigError for a number or text that does not fit its columns."""
        if len(self.comment) > COMMENT or "\n" in self.comment:
            raise _misfit(self.comment, f"a comment is one line of {COMMENT} characters at most")
        rows = [
            "".join(map(e12_5, self.values[i : i + PER_LINE])) for i in range(0, len(self.values), PER_LINE)
        ]
        lines = [MAGIC, self.comment.ljust(COMMENT), self.headers[0], *rows]
        lines += [self.headers[1], self.flags, self.headers[2], *self.texts]
        lines += [self.headers[3], *(name.ljust(FILE) for name in self.files)]
        text = "\n".join(lines) + "\n" + self.tail
        if not text.isascii():
            raise _misfit("a text", "SIMIND reads ASCII only")
        return text

    def _changed(self, old: tuple[str, ...], new: Mapping[int, str], what: str) -> tuple[str, ...]:
        texts = list(old)
        for number, text in new.items():
            if not text or not text.isprintable() or text != text.strip():
                raise _misfit(text, "it must be printable, without blanks around it")
            texts[self._place(number, len(texts), what) - 1] = text
        return tuple(texts)

    @staticmethod
    def _place(number: int, count: int, what: str) -> int:
        if not 1 <= number <= count:
            raise _misfit(f"{what} {number}", f"this file has {what} 1 to {count}")
        return number


def parse_smc(text: str, *, where: object = "a .smc file") -> Smc:
    """The content of a parameter file. Raises DataError if it is none, or is cut short."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].strip() != MAGIC:
        raise _unreadable(where, f"it does not begin with {MAGIC}: SIMIND 6 and earlier wrote a binary file")
    headers: list[str] = []
    place = 2

    def block(rows_of: int) -> list[str]:
        nonlocal place
        header = lines[place] if place < len(lines) else ""
        number = header.split("#", 1)[0].strip()
        if "#" not in header or not _COUNT.fullmatch(number) or not 1 <= int(number) <= _MOST:
            raise _unreadable(where, f"line {place + 1} should tell how many values follow")
        headers.append(header)
        count = 1 if rows_of == 0 else -(-int(number) // rows_of)
        rows = lines[place + 1 : place + 1 + count]
        if len(rows) < count:
            raise _unreadable(where, f"it ends within the block '{header.strip()}'")
        place += 1 + count
        return rows

    values: list[float] = []
    for row in block(PER_LINE):
        row = row.rstrip()
        for column in range(0, len(row), WIDTH):
            field = row[column : column + WIDTH]
            try:
                values.append(float(field.replace("D", "E")))
                if not math.isfinite(values[-1]):
                    raise ValueError
            except ValueError:
                raise _unreadable(where, f"'{field}' is no number in a column of {WIDTH}") from None
    if len(values) != int(headers[0].split("#", 1)[0]):
        raise _unreadable(where, f"it has {len(values)} numbers, its header tells of {headers[0].strip()}")
    flags = block(0)[0].strip()
    if len(flags) != int(headers[1].split("#", 1)[0]) or set(flags.upper()) - {"T", "F"}:
        raise _unreadable(where, "its flags are not as many letters T and F as its header tells")
    texts = tuple(row.rstrip() for row in block(1))
    files = tuple(row.rstrip() for row in block(1))
    tail = "\n".join(lines[place:])
    heads = (headers[0], headers[1], headers[2], headers[3])
    return Smc(lines[1].rstrip(), tuple(values), flags, texts, files, heads, tail)


def blank_smc(comment: str) -> Smc:
    """A file of 120 zeros, 30 flags off, and no names."""
    return Smc(comment, (0.0,) * 120, "F" * 30, ("none",) * 8, ("none",) * 12)


def _misfit(value: object, why: str) -> ConfigError:
    return ConfigError(
        "Cannot write SIMIND's parameter file", where=f".smc: {value!r}", why=why, fix="choose another value"
    )


def _unreadable(where: object, why: str) -> DataError:
    return DataError(
        "Cannot read SIMIND's parameter file",
        where=where,
        why=why,
        fix="write it again with SIMIND's own program change (release 7 or later)",
    )
