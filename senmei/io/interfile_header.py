"""Headers of Interfile 3.3: key := value pairs, as cameras, SIMIND, STIR, GATE and X-MedCon write them.

Todd-Pokropek A, Cradduck TD, Deconinck F. A file format for the exchange of nuclear medicine image data: a
specification of Interfile version 3.3. Nucl Med Commun 1992;13:673. Keys are compared without case, blanks and
underscores; "!", "#", "%" before a key mean nothing. A line that begins with ";" is a comment, yet SIMIND keeps facts
there (";energy window lower level := 126.5"): commented keys are kept apart, and used only where a caller asks.

What may name a person, a place or a moment is dropped while parsing: keys that are not known to hold a technical text
keep numbers only (another text becomes "?"), and those that may hold a date or a patient's number keep nothing.
"""

from __future__ import annotations

import math
import os
import re
import stat
from dataclasses import dataclass
from typing import NoReturn

from senmei.core.errors import DataError

WHERE = "an Interfile header"
_MAX_BYTES = 1 << 20
_MAX_KEY, _MAX_VALUE = 128, 65536  # a list of radii is a long value
_SIGN = re.compile(r":\s*=")
_BLANK = re.compile(r"[\s_!]+")
_DIGITS = r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eEdD][-+]?\d{1,4})?"
_UNIT = r"\s*(?:mm|cm|sec|s|kev|deg|%)?"
_NUMBER = re.compile(rf"({_DIGITS}){_UNIT}", re.IGNORECASE)
_END = "endofinterfile"
_LAST = re.compile(r"end[ \t_]+of[ \t_]+interfile[^\r\n\x1a]*(?:\r\n|[\r\n\x1a])?", re.IGNORECASE)
_VALUE = re.compile(rf"[{{(]?\s*{_DIGITS}(?:[,\s]+{_DIGITS})*\s*[}})]?{_UNIT}", re.IGNORECASE)
# Keys whose value may be a text; of every other key only numbers are kept.
TEXTS = frozenset(
    """
    imagingmodality originatingsystem programversion versionofkeys nameofdatafile typeofdata processstatus
    imagedatabyteorder numberformat datacompression dataencode directionofrotation orbit acquisitionmode
    centreofrotation patientorientation patientrotation patientposition sliceorientation obliquereconstruction
    gatedspectnestingouterlevel framingmethod isotopename isotope radionuclide radiopharmaceutical collimator
    collimatortype energywindow label floodcorrected decaycorrected scattercorrected attenuationcorrected
    matrixaxislabel nameofaligneddensitymap non-uniformorbitfile quantificationunits
    """.split()
)
# Keys whose numbers may be a birthday, a date or a record's number.
_IDENTIFYING = re.compile(
    r"patient|subject|name|institution|hospital|contact|physician|operator|doctor|refer|address|phone|exam"
    r"|accession|date|birth|dob|age$|sex|weight|height|comment|descri|history|serial|station|uid|id$|number$|no$"
    r"|clock|(?:start|study|series|image|acquisition|scan)time$"
)
_COUNTING = frozenset("imagenumber timewindownumber framegroupnumber detectorheadnumber".split())


def fold(key: str) -> str:
    """A key as keys are compared: lower case, without blanks, underscores and leading marks."""
    return _BLANK.sub("", key.strip("!;#% \t\0")).lower()


@dataclass(frozen=True)
class InterfileHeader:
    """The pairs of a header in order: `live` keys and those in `comments`, folded; what may identify is not there.

    A key may occur several times (one for each detector head or image). `end` is the offset just behind the line
    "!END OF INTERFILE", or of the header's last byte: data in the same file begin later. `where` is for messages.
    """

    live: tuple[tuple[str, str], ...]
    comments: tuple[tuple[str, str], ...] = ()
    end: int = 0
    where: str = WHERE

    def all(self, key: str, *, comments: bool = False) -> tuple[str, ...]:
        """All values of a key that are not empty; those in comments only if asked for, and no live one is there."""
        wanted = fold(key)
        found = tuple(value for name, value in self.live if name == wanted and value)
        if not found and comments:
            found = tuple(value for name, value in self.comments if name == wanted and value)
        return found

    def text(self, *keys: str, comments: bool = False) -> str:
        """The first value of the first of these keys that is there, or ""."""
        for key in keys:
            if found := self.all(key, comments=comments):
                return found[0]
        return ""

    def numbers(self, key: str, *, comments: bool = False) -> tuple[float, ...]:
        """The numbers of all values of a key, of lists {1, 2} too. Raises DataError if one is no finite number."""
        result: list[float] = []
        for value in self.all(key, comments=comments):
            for part in re.split(r"[,\s]+", value.strip("{}() \t")):
                if part:
                    result.append(self._number(key, part))
        return tuple(result)

    def number(self, *keys: str, comments: bool = False) -> float | None:
        """The number of the first of these keys that is there; None if none is. Raises DataError."""
        for key in keys:
            if found := self.all(key, comments=comments):
                return self._number(key, found[0])
        return None

    def integer(self, *keys: str, comments: bool = False) -> int | None:
        """The whole number from 0 of the first of these keys that is there; None if none is. Raises DataError."""
        for key in keys:
            found = self.number(key, comments=comments)
            if found is not None:
                if found != int(found) or not 0 <= found < 2**53:
                    self.refuse(f"the value of '{key}' is no whole number from 0")
                return int(found)
        return None

    def _number(self, key: str, text: str) -> float:
        match = _NUMBER.fullmatch(text.strip("{}() \t"))
        value = float(re.sub("[dD]", "e", match[1])) if match else math.nan
        if not math.isfinite(value):
            self.refuse(f"the value of '{key}' is no number")
        return value

    def refuse(self, why: str, fix: str = "correct the header, or export the study again") -> NoReturn:
        """Raise the DataError that says why this header cannot be used."""
        raise DataError("Cannot use this Interfile", where=self.where, why=why, fix=fix)


def parse_header(text: str, *, where: object = WHERE, end: int | None = None) -> InterfileHeader:
    """The pairs of a header's text. Raises DataError if it is none.

    `where` is told in messages: a subject's label or a number rather than a clinic's file name.
    """
    live: list[tuple[str, str]] = []
    comments: list[tuple[str, str]] = []
    began = False
    for line in re.split(r"\r\n|\n|\r", text):
        sign = _SIGN.search(line)
        if sign is None:
            continue
        before = line[: sign.start()]
        commented = ";" in before[: len(before) - len(before.lstrip("!;#% \t\0"))]
        key, value = fold(before), line[sign.end() :]
        if not began:
            if key != "interfile":
                if commented:
                    continue
                break
            began = True
        if key == _END:
            break
        value = "".join(c if c.isprintable() else " " for c in value.split(";", 1)[0][:_MAX_VALUE]).strip()
        if key and len(key) <= _MAX_KEY and (kept := _technical(key, value)) is not None:
            (comments if commented else live).append((key, kept))
    if not began:
        raise DataError(
            "Cannot use this Interfile",
            where=where,
            why="it does not begin with '!INTERFILE :='",
            fix="give the header of the study (.h00, .h33, .hdr, .hs), not its data",
        )
    return InterfileHeader(tuple(live), tuple(comments), len(text) if end is None else end, str(where))


def _technical(key: str, value: str) -> str | None:
    """What may be kept of a value: all if it tells of the image, "?" of an unknown text, None if nothing."""
    base = key.split("[", 1)[0]
    if base in TEXTS or base in _COUNTING:
        return value
    if _IDENTIFYING.search(base):
        return None
    return value if not value or _VALUE.fullmatch(value) else "?"


def read_header(path: str | os.PathLike[str], *, where: object = WHERE) -> InterfileHeader:
    """The header in a file, whose data may follow in the same file. Reads 1 MiB at most. Raises DataError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
            _unreadable(where, "it is not a file")
        with open(path, "rb") as stream:
            block = stream.read(_MAX_BYTES)
    except OSError as error:
        _unreadable(where, f"it cannot be read: {error.strerror or type(error).__name__}")
    text = block.decode("latin-1")  # never fails; texts beyond ASCII are not used
    stop = _LAST.search(text)
    end = stop.end() if stop else len(text.split("\x1a", 1)[0])
    return parse_header(text[:end], where=where, end=end)


def _unreadable(where: object, why: str) -> NoReturn:
    raise DataError(
        "Cannot read this Interfile", where=where, why=why, fix="check the path and its permissions"
    )
