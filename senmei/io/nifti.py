"""NIfTI files <-> Volume, for files that nobody has vouched for.

The header is checked before anything is allocated, and voxels are streamed into the array in small blocks,
so the memory of a read is the array it returns plus a few MiB, whatever the file claims or inflates to.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.atomic import atomic_path
from senmei.io.nifti_header import Header, block_size, parse, refuse

Frames = Literal["first", "mean"] | int | None
Stream = IO[bytes] | gzip.GzipFile

MAX_VOXELS = 512**3
_MAX_INTENSITY = 1e15  # beyond any unit in use; its square is still finite in float32
_SLACK = 64 << 10  # padding that some writers leave after the voxels
_STEP = 1 << 19  # voxels read at a time
_DEFLATE = 1032  # the highest compression ratio that deflate can reach


def read_header(path: str | os.PathLike[str], *, max_voxels: int = MAX_VOXELS) -> Header:
    """The checked header of a .nii or .nii.gz file; reads no voxels. Raises DataError as read_volume does."""
    path = Path(path)
    with _open(path) as (stream, _):
        return _header(path, stream, max_voxels)


def read_volume(
    path: str | os.PathLike[str],
    *,
    ndim: int | tuple[int, ...] = 3,
    frames: Frames = None,
    labels: bool | None = None,
    allow_constant: bool | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """The image in a .nii or .nii.gz file, in real-world units (scl_slope and scl_inter applied).

    ndim : 3 for (x, y, z), 4 for (x, y, z, t), or both.
    frames : of a 4D file wanted as 3D: 'first', 'mean', or the number of one frame, from 0; None refuses it.
    labels : False gives float32; True demands whole numbers and keeps them integers (as stored, or the
        smallest of uint8, int16, int32 that holds them); None asks the file (intent code, as we write it).
    allow_constant : whether one value throughout is an image; None: only for labels.
    max_voxels : more than this in the file is refused before anything is allocated.

    Raises DataError naming the file, the cause and the fix when the file is absent, empty, truncated, damaged
    (gzip CRC), not NIfTI, of an unsupported type, too large, inflates past what its header needs, has a
    singular affine, voxel edges outside 0.02-20 mm, NaN or infinite values, or too many or few dimensions.
    """
    path = Path(path)
    with _open(path) as (stream, size):
        header = _header(path, stream, max_voxels)
        _check_size(path, header, size, isinstance(stream, gzip.GzipFile))
        keep = _choose(path, header, (ndim,) if isinstance(ndim, int) else ndim, frames)
        labels = header.labels if labels is None else labels
        data, bad = _voxels(path, stream, header, keep, labels)
        # Reading on to the end checks the gzip CRC; a bomb is stopped here.
        if len(stream.read(_SLACK + 1)) > _SLACK:
            refuse(path, "it inflates past the voxels that its header describes: a gzip bomb, or damage")
    if bad:
        refuse(
            path,
            f"{bad} of {data.size} voxels are NaN, infinite or beyond ±{_MAX_INTENSITY:.0e}",
            "mask these voxels to 0 and save again; if the file was copied, copy it again",
        )
    if not (labels if allow_constant is None else allow_constant) and data.min() == data.max():
        refuse(
            path,
            f"the image is constant: every voxel is {data.flat[0]:g}",
            "check that the export worked; leave this scan out if it holds no image",
        )
    return Volume(_as_labels(path, data, header) if labels else data, header.affine, header.geometry)


def write_volume(path: str | os.PathLike[str], volume: Volume) -> None:
    """Write a Volume to a .nii or .nii.gz file, atomically; equal volumes give equal bytes.

    Floats are stored as float32; bool as uint8, int64 as int32, other integers as they are, with the intent
    'label' so that they are read back as integers; no scaling. qform, sform, their codes and the units come
    from `volume.header` as long as it agrees with `volume.affine`; otherwise both forms are the affine.
    Free text fields are left empty.
    Raises DataError if values are not finite or do not fit; ValueError for another suffix or kind of array.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path.name}: the name of a NIfTI file ends with .nii or .nii.gz")
    data = _storable(path, volume.data)
    content = _header_bytes(volume, data) + b"\0\0\0\0"  # no extensions
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed:
                packed.write(content)
                packed.write(data.tobytes(order="F"))
        else:
            raw.write(content)
            raw.write(data.tobytes(order="F"))


@contextmanager
def _open(path: Path) -> Iterator[tuple[Stream, int]]:
    """The (inflated) bytes of a file and its size on disk; errors of reading become DataError."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            refuse(path, "this is not a file", "give the path of a .nii or .nii.gz file")
        if status.st_size == 0:
            refuse(path, "the file is empty (0 bytes)")
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream, status.st_size
            else:
                yield raw, status.st_size
    except EOFError:
        refuse(path, "the file is truncated: its gzip stream ends early")
    except (gzip.BadGzipFile, zlib.error) as error:
        refuse(path, f"the file is damaged: its gzip stream does not check out ({error})")
    except FileNotFoundError:
        refuse(path, "there is no such file", "check the path")
    except OSError as error:
        refuse(path, f"it cannot be read: {error.strerror or error}", "check its permissions and the disk")


def _header(path: Path, stream: Stream, max_voxels: int) -> Header:
    block = stream.read(348)
    if 0 < len(block) < 348:
        refuse(path, f"the file is truncated: {len(block)} bytes; a NIfTI header needs 348")
    if block_size(block)[0] == 540:
        block += stream.read(540 - 348)
    return parse(path, block, max_voxels)


def _check_size(path: Path, header: Header, size: int, packed: bool) -> None:
    needs = header.offset + header.nbytes
    if size * (_DEFLATE if packed else 1) < needs:
        refuse(path, f"the file is truncated: {size} bytes cannot hold the {needs} that its header claims")
    if not packed and size > needs + _SLACK:
        refuse(path, f"the header is damaged: it accounts for {needs} of the file's {size} bytes")


def _choose(path: Path, header: Header, ndim: tuple[int, ...], frames: Frames) -> Frames | Literal["all"]:
    """Which frames to keep; refuses a file of the wrong number of dimensions."""
    found, wanted = len(header.shape), " or ".join(f"{n}D" for n in ndim)
    if frames is None and found in ndim:
        return "all"
    if found < 3 or 3 not in ndim:
        refuse(path, f"the image is {found}D {header.shape}; {wanted} is expected", f"give a {wanted} image")
    if header.frames == 1:
        return "all"
    if frames is None:
        refuse(
            path,
            f"the image is {found}D {header.shape}, {header.frames} volumes; {wanted} is expected",
            "say which volumes to use (frames: first | mean | repeats), or give a 3D image",
        )
    if isinstance(frames, int) and not 0 <= frames < header.frames:
        refuse(path, f"there is no frame {frames}: the file holds {header.frames}", "list the cohort again")
    return frames


def _voxels(
    path: Path, stream: Stream, header: Header, keep: Frames | Literal["all"], labels: bool
) -> tuple[np.ndarray, int]:
    """Stream the voxels: the array that is kept, and how many of its values are no usable numbers."""
    total, frame = prod(header.shape), prod(header.shape[:3])
    first = keep * frame if isinstance(keep, int) else 0
    last = total if keep in ("all", "mean") else first + frame
    length = total if keep == "all" else frame
    dtype: np.dtype[Any] = np.dtype(np.float64 if labels or keep == "mean" else np.float32)
    if labels and keep != "mean" and header.counts:
        dtype = header.dtype.newbyteorder("=")
    out = np.zeros(length, dtype)
    bad, at = 0, 0
    _exactly(path, stream, header.offset - header.start)
    while at < total:
        stop = min(at + _STEP, (at // length + 1) * length)  # a block lies within one frame
        block = _exactly(path, stream, (stop - at) * header.dtype.itemsize)
        if first <= at < last:
            place = slice(at % length, at % length + stop - at)
            with np.errstate(all="ignore"):
                values = np.frombuffer(block, header.dtype) * np.float64(header.slope) + header.inter
                bad += int(np.count_nonzero(~(np.abs(values) <= _MAX_INTENSITY)))
                if keep == "mean":
                    out[place] += values / header.frames
                else:
                    out[place] = values
        at = stop
    if not labels:
        with np.errstate(all="ignore"):
            out = out.astype(np.float32, copy=False)
    return out.reshape(header.shape if keep == "all" else header.shape[:3], order="F"), bad


def _exactly(path: Path, stream: Stream, count: int) -> bytes:
    block = stream.read(count)
    if len(block) < count:
        refuse(path, "the file is truncated: it ends before the last voxel that its header claims")
    return block


def _as_labels(path: Path, data: np.ndarray, header: Header) -> np.ndarray:
    if not (data == np.round(data)).all():
        fix = "give a label image or a mask, not a map of probabilities"
        refuse(path, "labels must be whole numbers; this image has fractions", fix)
    small = [np.dtype(name) for name in ("u1", "i2", "i4")]
    if header.counts:
        small.insert(0, header.dtype.newbyteorder("="))
    low, high = data.min(), data.max()
    for dtype in small:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return data.astype(dtype)
    refuse(path, f"labels from {low:g} to {high:g} do not fit 32 bits", "number the labels from 0")


def _storable(path: Path, data: np.ndarray) -> np.ndarray:
    """The array as it is stored: little-endian float32 or an integer of at most 32 bits."""
    what = "Cannot write this image"
    if data.ndim not in (3, 4) or not data.size or data.dtype.kind not in "fiub":
        raise ValueError(f"{path.name}: cannot store {data.dtype} of shape {data.shape}")
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = data.astype("<f4", copy=False)
        if bad := int(np.count_nonzero(~np.isfinite(stored))):
            why = f"{bad} of {data.size} voxels to be written are NaN or infinite"
            raise DataError(
                what, where=path, why=why, fix="the step that made it diverged: see its log and settings"
            )
        return stored
    if data.dtype.itemsize == 8 and (data.min() < -(2**31) or data.max() >= 2**31):
        raise DataError(
            what, where=path, why="its integers exceed 32 bits", fix="store these values as floats"
        )
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    return data.astype("<i4" if data.dtype.itemsize == 8 else data.dtype.newbyteorder("<"), copy=False)


def _header_bytes(volume: Volume, data: np.ndarray) -> bytes:
    import nibabel

    long = max(data.shape) >= 2**15
    fields = (nibabel.Nifti2Header if long else nibabel.Nifti1Header)(endianness="<")
    fields.set_data_dtype(data.dtype)
    fields.set_data_shape(data.shape)
    known = volume.header
    zooms = tuple(known.get("zooms", ()))
    fields.set_zooms((*volume.voxel, *(*zooms[3:], 1.0)[: data.ndim - 3]))
    if known.get("qform") is None and len(zooms) >= 3:
        fields["pixdim"][1:4] = zooms[:3]  # what a file without a qform says of itself
    best = known.get("sform") if known.get("sform") is not None else known.get("qform")
    if best is None and known:
        best = fields.get_base_affine()
    if best is not None and np.allclose(best, volume.affine, rtol=1e-6, atol=1e-5):
        forms = {name: (known.get(name), known.get(f"{name}_code", 0)) for name in ("qform", "sform")}
    else:
        forms = {name: (volume.affine, known.get(f"{name}_code", 0) or 1) for name in ("qform", "sform")}
    for name, (form, code) in forms.items():
        if form is not None:
            getattr(fields, f"set_{name}")(form, code)
    fields.set_xyzt_units(*known.get("units", ("mm", "unknown")))
    if data.dtype.kind in "iu":
        fields["intent_code"] = 1002  # NIFTI_INTENT_LABEL
    fields["scl_slope"], fields["scl_inter"] = 1.0, 0.0
    fields["vox_offset"] = len(fields.binaryblock) + 4
    fields["magic"] = b"n+2\0\r\n\x1a\n" if long else b"n+1"
    return bytes(fields.binaryblock)
