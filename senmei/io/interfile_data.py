"""The values that an Interfile header describes: which file holds them, how they are stored, and whether they can be.

Sizes are checked against the file before anything is allocated, and values are streamed into the array they become,
so that a read costs that array and a few MiB. A wrong byte order is looked for, and told.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from senmei.core.errors import DataError
from senmei.io.interfile_header import InterfileHeader
from senmei.io.nifti import MAX_VOXELS
from senmei.io.projections import MAX_COUNTS

BLOCK = 2048  # bytes of a "data starting block"; also the padding that some writers leave
_STEP = 1 << 19  # values read at a time
_SAMPLE = 1 << 18  # values looked at for the byte order
_INT = np.iinfo(np.int32).max
_TINY = 1e-25  # nothing is counted or measured so finely; bytes in the wrong order often are
FORMATS = {
    "unsignedinteger": {1: "u1", 2: "u2", 4: "u4"},
    "signedinteger": {1: "i1", 2: "i2", 4: "i4"},
    "shortfloat": {4: "f4"},
    "longfloat": {8: "f8"},
    "float": {4: "f4", 8: "f8"},
}
_ORDERS = {"littleendian": "<", "bigendian": ">"}


@dataclass(frozen=True)
class Layout:
    """How values are stored: numpy dtype with byte order, offset in bytes, columns (fastest) and rows of an image."""

    dtype: np.dtype
    offset: int
    columns: int
    rows: int


def layout(header: InterfileHeader, *, byte_order: str | None = None) -> Layout:
    """The layout that a header tells. Raises DataError if it does not, or tells what cannot be.

    byte_order : "little" or "big" overrides the header, whose default is big endian (Interfile 3.3).
    """
    for key in ("data compression", "data encode"):
        if header.text(key).lower() not in ("", "none"):
            header.refuse(f"its data are packed ('{key}')", "unpack the data file, or export it unpacked")
    name = header.text("number format").lower().replace(" ", "").replace("_", "")
    size = header.integer("number of bytes per pixel")
    if name not in FORMATS:
        header.refuse("'number format' is missing or none of " + ", ".join(_spelled(n) for n in FORMATS))
    if size not in FORMATS[name]:
        sizes = " or ".join(map(str, FORMATS[name]))
        header.refuse(f"'number of bytes per pixel' is {size}; a {_spelled(name)} has {sizes}")
    told = header.text("imagedata byte order").lower().replace(" ", "").replace("_", "") or "bigendian"
    order = _ORDERS.get(told) if byte_order is None else {"little": "<", "big": ">"}[byte_order]
    if order is None:
        header.refuse("'imagedata byte order' is neither LITTLEENDIAN nor BIGENDIAN")
    columns, rows = header.integer("matrix size [1]"), header.integer("matrix size [2]")
    if not columns or not rows:
        header.refuse("'matrix size [1]' or '[2]' is missing or 0")
    offset = header.integer("data offset in bytes", "data offset in bytes [1]")
    block = header.integer("data starting block")
    if offset and block and offset != block * BLOCK:
        header.refuse(
            f"'data offset in bytes' is {offset}, 'data starting block' {block} ({block * BLOCK} bytes)"
        )
    return Layout(np.dtype(order + FORMATS[name][size]), offset or (block or 0) * BLOCK, columns, rows)


def data_file(header: InterfileHeader, path: str | os.PathLike[str]) -> Path:
    """The file with the values: in the folder of the header at `path`, whatever path the header tells.

    Raises DataError if the header names none, or there is none, or it is a link that leaves the folder.
    """
    told = header.text("name of data file").replace("\\", "/").rstrip("/").rpartition("/")[2].strip("\"' ")
    folder = Path(path).absolute().parent
    if not told or told in (".", "..") or len(told.encode("utf-8", "replace")) > 255:
        header.refuse("it does not name its data file ('name of data file')")
    try:
        names = sorted(os.listdir(folder))
        same = [n for n in names if n == told] or [n for n in names if n.lower() == told.lower()]
        if len(same) != 1:
            header.refuse(
                f"its data file is not there: {len(same) or 'none'} of {len(names)} files beside it has that name",
                "put the data file beside the header, under the name that the header tells",
            )
        found = folder / same[0]
        if not os.path.realpath(found).startswith(os.path.realpath(folder) + os.sep):
            header.refuse(
                "its data file is a link that leaves the folder", "put the file itself beside the header"
            )
        if not stat.S_ISREG(os.stat(found).st_mode):
            header.refuse("its data file is not a file")
    except OSError as error:
        _unreadable(header, error)
    return found


def read_data(
    header: InterfileHeader,
    path: str | os.PathLike[str],
    images: int,
    *,
    counts: bool = True,
    byte_order: str | None = None,
    shared: bool = False,
) -> np.ndarray:
    """The images that a header describes, as stored: (image, row, column), int32 for integers, else float32.

    path : of the header. images : how many there must be. counts : whether negative values are damage.
    byte_order : as in `layout`; given, the search for a wrong order of integers is left out.
    shared : whether the data file may go on behind these images (several headers, each with its offset).
    Raises DataError if the file is too short or too long (both sizes are told), the claim is beyond MAX_VOXELS, a
    float is not finite or beyond any count, an integer does not fit 32 bits, or the byte order is wrong.
    """
    form, file = layout(header, byte_order=byte_order), data_file(header, path)
    total = images * form.rows * form.columns
    if not 0 < total <= MAX_VOXELS:
        header.refuse(f"it claims {total} values ({images} images); from 1 to {MAX_VOXELS} can be read")
    if os.path.samefile(file, path) and form.offset < header.end:
        header.refuse(f"its data begin at byte {form.offset}, within the header itself ({header.end} bytes)")
    try:
        with open(file, "rb") as stream:
            there = os.fstat(stream.fileno()).st_size - form.offset
            _check_size(header, form, images, there, shared)
            stream.seek(form.offset)
            look = _Look()
            data = _stream(header, stream, form.dtype, total, look)
            why = look.why(counts)
            known = bool(byte_order) and form.dtype.kind in "iu" and why is None
            order = None if known else _wrong_order(header, stream, form, data, counts)
    except OSError as error:
        _unreadable(header, error)
    if order:
        header.refuse(order, "correct 'imagedata byte order'")
    if why:
        header.refuse(
            f"these are no {'counts' if counts else 'values of an image'}: {why}", "export the data again"
        )
    return data.reshape(images, form.rows, form.columns)


class _Look:
    """What is odd about values, gathered block by block before they are converted."""

    def __init__(self) -> None:
        self.total = self.bad = self.negative = self.large = self.tiny = self.present = 0

    def add(self, values: np.ndarray) -> _Look:
        """Look at some more values."""
        self.total += values.size
        if values.dtype.kind == "u":
            self.large += int(np.count_nonzero(values > _INT)) if values.dtype.itemsize == 4 else 0
            return self
        self.negative += int(np.count_nonzero(values < 0))
        if values.dtype.kind == "f":
            with np.errstate(all="ignore"):
                size = np.abs(values)
                finite = np.isfinite(size)
                self.bad += int(values.size - np.count_nonzero(finite))
                self.large += int(np.count_nonzero((size > MAX_COUNTS) & finite))
                self.tiny += int(np.count_nonzero((size > 0) & (size < _TINY)))
                self.present += int(np.count_nonzero(size))
        return self

    def why(self, counts: bool = True) -> str | None:
        """Why these cannot be counts (or, any sign allowed, values of an image); None if they can."""
        for number, what in (
            (self.bad, "NaN or infinite"),
            (self.negative if counts else 0, "negative"),
            (self.large, f"beyond {_INT if not self.present else MAX_COUNTS:.0e}"),
            (self.tiny if 2 * self.tiny > self.present else 0, f"not 0 and smaller than {_TINY:g}"),
        ):
            if number:
                return f"{number} of {self.total} values are {what}"
        return None


def _check_size(header: InterfileHeader, form: Layout, images: int, there: int, shared: bool) -> None:
    image = form.rows * form.columns * form.dtype.itemsize
    needs = images * image
    told = f"{images} images of {form.columns} x {form.rows} with {form.dtype.itemsize} bytes a value"
    if there < needs:
        whole = f", {max(there, 0) // image} whole images"
        header.refuse(
            f"the data are truncated: {told} need {needs} bytes and there are {max(there, 0)}{whole}"
        )
    if there - needs >= min(image, BLOCK) and not shared:
        header.refuse(
            f"header and data do not belong together: {told} are {needs} bytes, and there are {there}",
            "correct the number of images or the matrix size in the header",
        )


def _stream(
    header: InterfileHeader, stream: BinaryIO, dtype: np.dtype, total: int, look: _Look
) -> np.ndarray:
    out = np.empty(total, np.int32 if dtype.kind in "iu" else np.float32)
    for at in range(0, total, _STEP):
        count = min(_STEP, total - at)
        block = stream.read(count * dtype.itemsize)
        if len(block) < count * dtype.itemsize:
            header.refuse("the data are truncated: the file became shorter while it was read")
        values = np.frombuffer(block, dtype)
        look.add(values)
        with np.errstate(all="ignore"):  # what does not fit is found by the look
            out[at : at + count] = values
    return out


def _wrong_order(
    header: InterfileHeader, stream: BinaryIO, form: Layout, data: np.ndarray, counts: bool
) -> str | None:
    """Why the bytes seem to be in the other order than told; None if they do not, or it cannot be known."""
    if form.dtype.itemsize == 1:
        return None
    told = "little" if form.dtype.str[0] == "<" else "big"
    said = f"the bytes are not {told} endian as told"
    middle = max(0, data.size // 2 - _SAMPLE // 2)
    stream.seek(form.offset + middle * form.dtype.itemsize)
    count = min(_SAMPLE, data.size - middle)
    values = np.frombuffer(stream.read(count * form.dtype.itemsize), form.dtype)
    swapped = values.view(form.dtype.newbyteorder())
    here, there = _Look().add(values).why(counts), _Look().add(swapped).why(counts)
    if here and not there:
        return f"{said}: {here}, and in the other order they are plausible"
    if form.dtype.kind == "f":
        return None
    top = header.number("maximum pixel count")
    if top and top == float(data.max()):
        return None
    most, other = _most(values), _most(swapped)
    step = 1 << 8 * (form.dtype.itemsize - 1)
    if most >= step and other < step and not (values % step).any():
        return f"{said}: all values are multiples of {step}, and in the other order the largest is {other}"
    if top and top == float(other) and most != other:
        return f"{said}: the largest value is {most}, the header tells {top:g}, and so does the other order"
    first, last = _bits(values, form.dtype.itemsize - 1), _bits(values, 0)
    if first > last + 1:
        return f"{said}: the highest byte of a value varies more than the lowest ({first:.1f} and {last:.1f} bits)"
    rough, smooth = _rough(values, form.columns), _rough(swapped, form.columns)
    if rough > 0.2 and rough > 2 * smooth:
        return f"{said}: neighbours differ by {rough:.0%} of the mean, in the other order by {smooth:.0%}"
    return None


def _bits(values: np.ndarray, byte: int) -> float:
    """Entropy of one byte of integers, bits; byte 0 is the lowest. Noise is in the low ones."""
    seen = np.bincount(((values >> (8 * byte)) & 255).astype(np.uint8), minlength=256)
    share = seen[seen > 0] / values.size
    return float(-(share * np.log2(share)).sum())


def _most(values: np.ndarray) -> int:
    return int(np.abs(values.astype(np.int64)).max())


def _rough(values: np.ndarray, columns: int) -> float:
    """Mean difference of neighbours in a row, over the mean value."""
    rows = values[: values.size // columns * columns].reshape(-1, columns).astype(np.float64)
    if columns < 2 or not rows.size or not (mean := np.abs(rows).mean()):
        return 0.0
    return float(np.abs(np.diff(rows, axis=1)).mean() / mean)


def _spelled(name: str) -> str:
    return name.replace("integer", " integer").replace("tfloat", "t float").replace("gfloat", "g float")


def _unreadable(header: InterfileHeader, error: OSError) -> NoReturn:
    raise DataError(
        "Cannot read this Interfile",
        where=header.where,
        why=f"its data cannot be read: {error.strerror or type(error).__name__}",
        fix="check the permissions and the disk",
    ) from error
