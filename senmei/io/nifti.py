"""NIfTI files <-> Volume, for files that nobody has vouched for.

The header is checked before anything is allocated, and voxels are streamed into the array in small blocks, so the
memory of a read is the array it returns plus a few MiB, whatever the file claims or inflates to.
Format: nifti1.h and nifti2.h, https://nifti.nimh.nih.gov
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.atomic import atomic_path

Frames = Literal["first", "mean"] | int | None

MAX_VOXELS = 512**3
VOXEL_MM = (0.02, 20.0)  # edges outside are another unit, or nonsense
_MAX_INTENSITY = 1e15  # beyond any unit in use; its square is still finite in float32
_MAX_OFFSET = 16 << 20  # header extensions of more than 16 MiB are not
_SLACK = 64 << 10  # padding that some writers leave after the voxels
_BLOCK = 4 << 20
_DEFLATE = 1032  # the highest compression ratio that deflate can reach
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_REFUSED = {1: "one-bit", 32: "complex64", 128: "RGB colour", 1536: "float128", 1792: "complex128",
            2048: "complex256", 2304: "RGBA colour"}  # fmt: skip
_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)}
_DAMAGED = "copy the file again from its source, or leave this scan out"


@dataclass(frozen=True)
class Header:
    """What the header of a NIfTI file says, checked.

    shape : as stored, trailing axes of length 1 dropped down to 3D. dtype : on disk, with its byte order.
    slope, inter : real-world value = slope * stored + inter. affine : (4, 4) voxel -> mm, RAS+.
    geometry : `qform`, `sform`, `qform_code`, `sform_code`, `units`, `zooms`, as in Volume.header.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    geometry: dict[str, Any]

    @property
    def frames(self) -> int:
        """Number of 3D volumes in the file."""
        return prod(self.shape[3:])


def read_header(path: str | os.PathLike[str], *, max_voxels: int = MAX_VOXELS) -> Header:
    """The checked header of a .nii or .nii.gz file; reads no voxels. Raises DataError as read_volume does."""
    path = Path(path)
    with _open(path) as (stream, _):
        return _header(path, stream, max_voxels)


def read_volume(
    path: str | os.PathLike[str],
    *,
    ndim: Literal[3, 4] = 3,
    frames: Frames = None,
    labels: bool = False,
    allow_constant: bool | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """The image in a .nii or .nii.gz file, in real-world units (scl_slope and scl_inter applied).

    ndim : 3 gives (x, y, z); 4 gives (x, y, z, t).
    frames : of a 4D file read as 3D: 'first', 'mean', or the number of one frame, from 0; None refuses it.
    labels : False gives float32; True demands whole numbers and gives the smallest of uint8, int16 and int32.
    allow_constant : an image with one value throughout is refused, except labels; say True or False to decide.
    max_voxels : more than this in the file is refused before anything is allocated.

    Raises DataError naming the file, the cause and the fix when the file is absent, empty, truncated, damaged
    (gzip CRC), not NIfTI, of an unsupported type, too large, inflates past what its header needs, has a singular
    affine, voxel edges outside 0.02-20 mm, NaN or infinite values, or the wrong number of dimensions.
    """
    path = Path(path)
    with _open(path) as (stream, size):
        header = _header(path, stream, max_voxels)
        _check_size(path, header, size, isinstance(stream, gzip.GzipFile))
        keep = _choose_frames(path, header, ndim, frames)
        data, bad = _voxels(path, stream, header, keep, np.dtype(np.float64 if labels else np.float32))
        _check_end(path, stream)
    if bad:
        _refuse(
            path,
            f"{bad} of {data.size} voxels are NaN, infinite, or beyond ±{_MAX_INTENSITY:.0e}",
            "replace these voxels (or mask them to 0) and save again; if the file was copied, copy it again",
        )
    if not (labels if allow_constant is None else allow_constant) and data.min() == data.max():
        _refuse(
            path,
            f"the image is constant: every voxel is {data.flat[0]:g}",
            "check that the export worked; leave this scan out if it holds no image",
        )
    return Volume(_as_labels(path, data) if labels else data, header.affine, header.geometry)


def write_volume(path: str | os.PathLike[str], volume: Volume) -> None:
    """Write a Volume to a .nii or .nii.gz file, atomically; equal volumes give equal bytes.

    Floats are stored as float32, bool as uint8, int64 as int32, other integers as they are; no scaling.
    qform, sform, their codes and the units come from `volume.header` as long as it agrees with `volume.affine`;
    otherwise both forms are the affine. Free text fields are left empty.
    Raises DataError if values are not finite or do not fit; ValueError for another suffix.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path.name}: the name of a NIfTI file ends with .nii or .nii.gz")
    data = _storable(path, volume.data)
    block = _header_bytes(volume, data) + b"\0\0\0\0"
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed:
                packed.write(block)
                packed.write(data.tobytes(order="F"))
        else:
            raw.write(block)
            raw.write(data.tobytes(order="F"))


# reading ------------------------------------------------------------------------------------------------------------


def _refuse(path: Path, why: str, fix: str, what: str = "Cannot use this image") -> NoReturn:
    raise DataError(what, where=path, why=why, fix=fix)


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The (inflated) bytes of a file and its size on disk; read errors become DataError."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever
            _refuse(path, "this is not a file", "give the path of a .nii or .nii.gz file")
        if status.st_size == 0:
            _refuse(path, "the file is empty (0 bytes)", _DAMAGED)
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream, status.st_size  # type: ignore[misc]
            else:
                yield raw, status.st_size
    except EOFError:
        _refuse(path, "the file is truncated: its gzip stream ends early", _DAMAGED)
    except (gzip.BadGzipFile, zlib.error) as error:
        _refuse(path, f"the file is damaged: its gzip stream does not check out ({error})", _DAMAGED)
    except FileNotFoundError:
        _refuse(path, "there is no such file", "check the path")
    except OSError as error:
        _refuse(path, f"it cannot be read: {error.strerror or error}", "check the file's permissions and its disk")


def _header(path: Path, stream: BinaryIO, max_voxels: int) -> Header:
    start = stream.read(348)
    if len(start) < 348:
        _refuse(path, f"the file is truncated: {len(start)} bytes, and a NIfTI header needs 348", _DAMAGED)
    sizes = {struct.unpack(order + "i", start[:4])[0]: order for order in "<>"}
    if 540 in sizes:
        start += stream.read(540 - 348)
        order, magic, at = sizes[540], start[4:12], 540
        known = magic == b"n+2\0\r\n\x1a\n" and len(start) == 540
    else:
        order, magic, at = sizes.get(348, ""), start[344:348], 348
        known = bool(order) and magic == b"n+1\0"
    if not known:
        if magic[:4] in (b"ni1\0", b"ni2\0"):
            _refuse(path, "a NIfTI pair (.hdr and .img) keeps its voxels in another file",
                    "convert it to one .nii.gz file")  # fmt: skip
        named = ", although its name ends with .gz" if path.name.endswith(".gz") and not _packed(stream) else ""
        why = "it is not a NIfTI file, or its header is damaged: no NIfTI header size and magic"
        _refuse(path, why + (f"; nor is it gzip{named}" if named else ""), _DAMAGED)

    import nibabel

    kind = nibabel.Nifti2Header if at == 540 else nibabel.Nifti1Header
    fields = kind(start, endianness=order, check=False)
    dims = [int(n) for n in fields["dim"]]
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        _refuse(path, f"the header is damaged: impossible dimensions {dims}", _DAMAGED)
    shape = dims[1 : dims[0] + 1]
    if prod(shape) > max_voxels:
        _refuse(
            path,
            f"the header claims {' x '.join(map(str, shape))} voxels; the limit is {max_voxels}",
            "crop or resample the image if it is real; if not, the header is damaged: copy the file again",
        )
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    code = int(fields["datatype"])
    if code not in _DTYPES:
        _refuse(path, f"unsupported voxel type: {_REFUSED.get(code, f'unknown code {code}')}",
                "save it as real numbers (int16, float32, ...), one value a voxel")  # fmt: skip
    dtype = np.dtype(order + _DTYPES[code])
    if int(fields["bitpix"]) != 8 * dtype.itemsize:
        _refuse(path, f"the header is damaged: {fields['bitpix']} bits a voxel for {dtype.name}", _DAMAGED)
    position = float(fields["vox_offset"])
    if not (at <= position <= _MAX_OFFSET and position == int(position)):
        _refuse(path, f"the header is damaged: its voxels would start at byte {position:g}", _DAMAGED)
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or np.isnan(slope):
        slope, inter = 1.0, 0.0  # the standard: not scaled
    if not (np.isfinite(slope) and np.isfinite(inter)):
        _refuse(path, f"the header is damaged: intensity scale {slope} and offset {inter}", _DAMAGED)
    affine, geometry = _geometry(path, fields, len(shape))
    _skip(path, stream, int(position) - at)
    return Header(tuple(shape), dtype, int(position), slope, inter, affine, geometry)


def _packed(stream: BinaryIO) -> bool:
    return isinstance(stream, gzip.GzipFile)


def _geometry(path: Path, fields: Any, ndim: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Affine in mm and the header entries of Volume, refusing what cannot be a place in the world."""
    fields.quaternion_threshold = -1e-3  # writers round quaternions; nibabel's 4e-7 refuses real files
    codes = {name: int(fields[f"{name}_code"]) for name in ("qform", "sform")}
    with np.errstate(all="ignore"):
        try:
            sform = fields.get_sform() if codes["sform"] > 0 else None
            qform = fields.get_qform() if codes["qform"] > 0 else None
            base = fields.get_base_affine() if sform is None and qform is None else None
        except (ValueError, nibabel_errors()) as error:
            _refuse(path, f"the affine is damaged: {error}", _DAMAGED, "Cannot place this image in the world")
    space, scale = _UNITS.get(int(fields["xyzt_units"]) & 7, ("unknown", 1.0))
    to_mm = np.diag([scale, scale, scale, 1.0])
    forms = {name: None if form is None else to_mm @ form for name, form in (("sform", sform), ("qform", qform))}
    for name, form in (*forms.items(), ("pixdim", None if base is None else to_mm @ base)):
        if form is not None:
            _check_affine(path, form, name, space)
    best = forms["sform"] if sform is not None else forms["qform"] if qform is not None else to_mm @ base
    zooms = [float(z) for z in fields["pixdim"][1 : ndim + 1]]
    zooms = [abs(z) * scale if axis < 3 else z for axis, z in enumerate(zooms)]
    time = {8: "sec", 16: "msec", 24: "usec"}.get(int(fields["xyzt_units"]) & 0x38, "unknown")
    geometry = {**forms, **{f"{k}_code": v for k, v in codes.items()}, "zooms": tuple(zooms),
                "units": (space if space == "unknown" else "mm", time)}  # fmt: skip
    return np.asarray(best, float), geometry


def nibabel_errors() -> type[Exception]:
    """nibabel's own header error, imported only when a header is read."""
    from nibabel.spatialimages import HeaderDataError

    return HeaderDataError


def _check_affine(path: Path, form: np.ndarray, name: str, space: str) -> None:
    what = "Cannot place this image in the world"
    if not np.isfinite(form).all():
        _refuse(path, f"the affine ({name}) holds NaN or infinite numbers", _DAMAGED, what)
    edges = np.sqrt((form[:3, :3] ** 2).sum(axis=0))
    if edges.min() == 0 or abs(np.linalg.det(form[:3, :3] / edges)) < 1e-3:
        _refuse(path, f"the affine ({name}) is singular: it maps the volume onto a plane, a line or a point",
                "set the orientation again from the original scan (convert the DICOM files anew)", what)  # fmt: skip
    if edges.min() < VOXEL_MM[0] or edges.max() > VOXEL_MM[1]:
        size = " x ".join(f"{edge:g}" for edge in edges)
        unit = "names no unit" if space == "unknown" else f"gives its unit as {space}"
        _refuse(
            path,
            f"voxel edges of {size} mm ({name}) are outside {VOXEL_MM[0]}-{VOXEL_MM[1]:g} mm; the file {unit}",
            "check the unit: affine and voxel sizes must be in the unit that xyzt_units names (mm, not m or um)",
            what,
        )


def _check_size(path: Path, header: Header, size: int, packed: bool) -> None:
    needs = header.offset + prod(header.shape) * header.dtype.itemsize
    if size * (_DEFLATE if packed else 1) < needs:
        _refuse(path, f"the file is truncated: {size} bytes cannot hold the {needs} that its header claims", _DAMAGED)
    if not packed and size > needs + _SLACK:
        _refuse(path, f"the header is damaged: it accounts for {needs} of the file's {size} bytes", _DAMAGED)


def _choose_frames(path: Path, header: Header, ndim: int, frames: Frames) -> Frames | Literal["all"]:
    found = len(header.shape)
    if ndim == 4:
        if found > 4:
            _refuse(path, f"the image has {found} dimensions {header.shape}; 4 are expected", "split the file")
        return "all"
    if found < 3:
        _refuse(path, f"the image has {found} dimensions {header.shape}; 3 are expected", "give a 3D image")
    if header.frames == 1:
        return "all"
    if frames is None:
        _refuse(
            path,
            f"the image has {found} dimensions {header.shape}: {header.frames} volumes; one 3D volume is expected",
            "say which to use, frames: first | mean | repeats, or give a 3D image",
        )
    if isinstance(frames, int) and not 0 <= frames < header.frames:
        _refuse(path, f"there is no frame {frames}: the file holds {header.frames}", "check the file and the cohort")
    return frames


def _voxels(
    path: Path, stream: BinaryIO, header: Header, keep: Frames | Literal["all"], dtype: np.dtype[Any]
) -> tuple[np.ndarray, int]:
    """Stream the voxels: the array that is kept, and how many of its values are not usable numbers."""
    shape = header.shape if keep == "all" else header.shape[:3]
    out = np.zeros(prod(shape), np.float64 if keep == "mean" else dtype)
    per_frame, total = prod(header.shape[:3]), prod(header.shape)
    wanted = {"all": (0, total), "mean": (0, total), "first": (0, per_frame)}
    begin, end = wanted[keep] if isinstance(keep, str) else (int(keep or 0) * per_frame, (int(keep or 0) + 1) * per_frame)
    bad, at, step = 0, 0, _BLOCK // header.dtype.itemsize
    while at < total:
        stop = min(at + step, total, (at // per_frame + 1) * per_frame if keep != "all" else total)
        block = _exactly(path, stream, (stop - at) * header.dtype.itemsize)
        if begin <= at < end:
            with np.errstate(all="ignore"):
                values = np.frombuffer(block, header.dtype) * np.float64(header.slope) + header.inter
                bad += int(np.count_nonzero(~(np.abs(values) <= _MAX_INTENSITY)))
            place = slice(at % per_frame, at % per_frame + stop - at) if keep != "all" else slice(at, stop)
            if keep == "mean":
                out[place] += values / header.frames
            else:
                with np.errstate(all="ignore"):
                    out[place] = values
        at = stop
    return out.astype(dtype, copy=False).reshape(shape, order="F"), bad


def _exactly(path: Path, stream: BinaryIO, count: int) -> bytes:
    block = stream.read(count)
    if len(block) < count:
        _refuse(path, "the file is truncated: it holds fewer voxels than its header claims", _DAMAGED)
    return block


def _skip(path: Path, stream: BinaryIO, count: int) -> None:
    while count > 0:
        count -= len(_exactly(path, stream, min(count, _BLOCK)))


def _check_end(path: Path, stream: BinaryIO) -> None:
    """Read to the end (which checks the gzip CRC), but not far past what the header needs."""
    if len(stream.read(_SLACK + 1)) > _SLACK:
        _refuse(path, "it inflates past the voxels that its header describes (a gzip bomb, or two files in one)",
                _DAMAGED)  # fmt: skip


def _as_labels(path: Path, data: np.ndarray) -> np.ndarray:
    low, high = data.min(), data.max()
    if not (data == np.round(data)).all():
        _refuse(path, "labels must be whole numbers; this image has fractions", "give a label image, not a probability map")
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return data.astype(dtype)
    _refuse(path, f"labels from {low:g} to {high:g} do not fit 32 bits", "number the labels from 0")


# writing ------------------------------------------------------------------------------------------------------------


def _storable(path: Path, data: np.ndarray) -> np.ndarray:
    if data.ndim not in (3, 4) or data.dtype.kind not in "fiub":
        raise ValueError(f"{path.name}: cannot store {data.dtype} of {data.ndim} dimensions")
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = data.astype(np.float32, copy=False)
        if bad := int(np.count_nonzero(~np.isfinite(stored))):
            _refuse(path, f"{bad} of {data.size} voxels to be written are NaN or infinite",
                    "a step before this one diverged: see its log and settings", "Cannot write this image")  # fmt: skip
        return stored
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.itemsize == 8:
        if data.size and (data.min() < -(2**31) or data.max() >= 2**31):
            _refuse(path, "integers beyond 32 bits", "store these values as floats", "Cannot write this image")
        return data.astype(np.int32)
    return data


def _header_bytes(volume: Volume, data: np.ndarray) -> bytes:
    import nibabel

    kind = nibabel.Nifti1Header if max(data.shape) < 2**15 else nibabel.Nifti2Header
    fields, known = kind(endianness="<"), volume.header
    fields.set_data_dtype(data.dtype.newbyteorder("<"))
    fields.set_data_shape(data.shape)
    zooms = [*known.get("zooms", ()), 1.0][: data.ndim] if len(known.get("zooms", ())) >= 3 else []
    best = known.get("sform") if known.get("sform_code", 0) > 0 else known.get("qform")
    kept = best is not None and np.allclose(best, volume.affine, atol=1e-5)
    fields.set_zooms([*(zooms[:3] if kept else volume.voxel), *(zooms[3:] or [1.0] * (data.ndim - 3))])
    if kept:
        fields.set_qform(known["qform"], known.get("qform_code", 0), strip_shears=True)
        if known["qform"] is None:
            fields["pixdim"][1:4] = zooms[:3]
        fields.set_sform(known["sform"], known.get("sform_code", 0))
    else:
        fields.set_qform(volume.affine, known.get("qform_code", 0) or 1, strip_shears=True)
        fields.set_sform(volume.affine, known.get("sform_code", 0) or 1)
    fields.set_xyzt_units(*known.get("units", ("mm", "unknown")))
    fields["scl_slope"], fields["scl_inter"] = 1.0, 0.0
    fields["vox_offset"] = len(fields.binaryblock) + 4
    fields["magic"] = b"n+1" if kind is nibabel.Nifti1Header else b"n+2\0\r\n\x1a\n"
    return bytes(fields.binaryblock)
