"""What a NIfTI header says, checked field by field before anything is allocated.

Format: nifti1.h and nifti2.h, https://nifti.nimh.nih.gov
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from senmei.core.errors import DataError

VOXEL_MM = (0.02, 20.0)  # edges outside are in another unit, or nonsense
SINGLE = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}  # header size -> magic of NIfTI-1 and NIfTI-2
DAMAGED = "copy the file again from its source, or leave this scan out"
_MAX_OFFSET = 16 << 20  # nobody's header extensions are larger
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"}
_DTYPES |= {256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_REFUSED = {1: "one-bit", 32: "complex64", 128: "RGB colour", 1536: "float128"}
_REFUSED |= {1792: "complex128", 2048: "complex256", 2304: "RGBA colour"}
_SPACE = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)}
_TIME = {8: "sec", 16: "msec", 24: "usec"}
_LABEL = 1002  # NIFTI_INTENT_LABEL


@dataclass(frozen=True)
class Header:
    """What the header of a NIfTI file says, checked.

    shape : as stored, trailing axes of length 1 dropped down to 3D. dtype : on disk, with its byte order.
    start : size of the header block. offset : first byte of the voxels.
    slope, inter : real-world value = slope * stored + inter. affine : (4, 4) voxel -> mm, RAS+.
    labels : whether the file calls itself a label image (intent code 1002).
    geometry : `qform`, `sform`, `qform_code`, `sform_code`, `units`, `zooms`, as in Volume.header.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    offset: int
    slope: float
    inter: float
    labels: bool
    affine: np.ndarray
    geometry: dict[str, Any]

    @property
    def frames(self) -> int:
        """Number of 3D volumes in the file."""
        return prod(self.shape[3:])

    @property
    def counts(self) -> bool:
        """Whether the voxels are unscaled integers of at most 32 bits."""
        return self.dtype.kind in "iu" and self.dtype.itemsize <= 4 and (self.slope, self.inter) == (1.0, 0.0)

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels on disk, uncompressed."""
        return prod(self.shape) * self.dtype.itemsize


def refuse(path: Path, why: str, fix: str = DAMAGED, what: str = "Cannot use this image") -> NoReturn:
    """Raise DataError for `path`."""
    raise DataError(what, where=path, why=why, fix=fix)


def block_size(block: bytes) -> tuple[int, str]:
    """Header size (348 or 540) and byte order by the first four bytes; (0, '') if they are neither."""
    for order in "<>":
        size = struct.unpack(f"{order}i", block[:4])[0] if len(block) >= 4 else 0
        if size in SINGLE:
            return size, order
    return 0, ""


def parse(path: Path, block: bytes, max_voxels: int) -> Header:
    """Check the header block of a file. Raises DataError naming the field that cannot be."""
    size, order = block_size(block)
    magic = block[344:348] if size == 348 else block[4:12]
    if size and magic[:4] in (b"ni1\0", b"ni2\0"):
        refuse(
            path,
            "it is half of a NIfTI pair (.hdr and .img): the voxels are in another file",
            "convert the pair to one .nii.gz file",
        )
    if not size or len(block) < size or magic != SINGLE[size]:
        refuse(path, "it is not a NIfTI file, or its header is damaged: no NIfTI header size and magic")

    import nibabel

    kind = nibabel.Nifti2Header if size == 540 else nibabel.Nifti1Header
    fields = kind(block, endianness=order, check=False)
    shape = _shape(path, fields, max_voxels)
    dtype = _dtype(path, fields, order)
    offset = float(fields["vox_offset"])
    if not (size <= offset <= _MAX_OFFSET and offset == int(offset)):
        refuse(path, f"the header is damaged: its voxels would start at byte {offset:g}")
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or np.isnan(slope):
        slope, inter = 1.0, 0.0  # the standard: not scaled
    if not (np.isfinite(slope) and np.isfinite(inter)):
        refuse(path, f"the header is damaged: intensity scale {slope} and offset {inter}")
    affine, geometry = _geometry(path, fields, len(shape))
    labels = int(fields["intent_code"]) == _LABEL
    return Header(shape, dtype, size, int(offset), slope, inter, labels, affine, geometry)


def _shape(path: Path, fields: Any, max_voxels: int) -> tuple[int, ...]:
    dims = [int(n) for n in fields["dim"]]
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        refuse(path, f"the header is damaged: impossible dimensions {dims}")
    shape = dims[1 : dims[0] + 1]
    if prod(shape) > max_voxels:
        claim = " x ".join(map(str, shape))
        refuse(
            path,
            f"the header claims {claim} voxels; the limit is {max_voxels}",
            "crop or resample the image if it is real; if not, the header is damaged: copy the file again",
        )
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _dtype(path: Path, fields: Any, order: str) -> np.dtype[Any]:
    code = int(fields["datatype"])
    if code not in _DTYPES:
        name = _REFUSED.get(code, f"unknown code {code}")
        fix = "save it as real numbers (int16, float32, ...), one value a voxel"
        refuse(path, f"unsupported voxel type: {name}", fix)
    dtype = np.dtype(order + _DTYPES[code])
    if int(fields["bitpix"]) != 8 * dtype.itemsize:
        refuse(path, f"the header is damaged: {fields['bitpix']} bits a voxel for {dtype.name}")
    return dtype


def _geometry(path: Path, fields: Any, ndim: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Affine in mm and the entries of Volume.header, refusing what cannot be a place in the world."""
    from nibabel.spatialimages import HeaderDataError

    fields.quaternion_threshold = -1e-3  # writers round quaternions; nibabel's 4e-7 refuses real files
    codes = {name: int(fields[f"{name}_code"]) for name in ("qform", "sform")}
    for name, code in codes.items():
        if not 0 <= code <= 5:
            refuse(path, f"the header is damaged: {name}_code is {code}; 0 to 5 exist")
    space, scale = _SPACE.get(int(fields["xyzt_units"]) & 7, ("unknown", 1.0))
    to_mm = np.diag([scale, scale, scale, 1.0])
    forms: dict[str, np.ndarray | None] = {"qform": None, "sform": None}
    with np.errstate(all="ignore"):
        try:
            for name in forms:
                if codes[name] > 0:
                    forms[name] = to_mm @ getattr(fields, f"get_{name}")()
            base = to_mm @ fields.get_base_affine()
        except (ValueError, HeaderDataError) as error:
            refuse(path, f"the affine is damaged: {error}", what="Cannot place this image in the world")
    affine = next((form for form in (forms["sform"], forms["qform"]) if form is not None), base)
    for name, form in {"affine": affine, **forms}.items():
        if form is not None:
            _check_affine(path, form, name, space)
    zooms = [float(z) for z in fields["pixdim"][1 : ndim + 1]]
    if not np.isfinite(zooms).all():
        refuse(path, f"the header is damaged: voxel sizes {zooms}")
    zooms = [abs(z) * (scale if axis < 3 else 1) for axis, z in enumerate(zooms)]
    time = _TIME.get(int(fields["xyzt_units"]) & 0x38, "unknown")
    geometry = {
        **forms,
        **{f"{name}_code": code for name, code in codes.items()},
        "zooms": tuple(zooms),
        "units": (space if space == "unknown" else "mm", time),
    }
    return np.asarray(affine, float), geometry


def _check_affine(path: Path, form: np.ndarray, name: str, space: str) -> None:
    what, name = "Cannot place this image in the world", name if name == "affine" else f"affine ({name})"
    if not np.isfinite(form).all():
        refuse(path, f"the {name} holds NaN or infinite numbers", DAMAGED, what)
    with np.errstate(all="ignore"):
        edges = np.sqrt((form[:3, :3] ** 2).sum(axis=0))
        # The volume of the unit parallelepiped: 1 if the axes are orthogonal, 0 if they lie in a plane.
        singular = edges.min() == 0 or abs(np.linalg.det(form[:3, :3] / edges)) < 1e-3
    if singular:
        refuse(
            path,
            f"the {name} is singular: it maps the volume onto a plane, a line or a point",
            "set the orientation again from the original scan (convert the DICOM files anew)",
            what,
        )
    if not (edges.min() >= VOXEL_MM[0] and edges.max() <= VOXEL_MM[1]):
        size = " x ".join(f"{edge:g}" for edge in edges)
        unit = "names no unit" if space == "unknown" else f"gives its unit as {space}"
        refuse(
            path,
            f"voxel edges of {size} mm ({name}) are not within {VOXEL_MM[0]}-{VOXEL_MM[1]:g} mm; it {unit}",
            "check the unit: affine and voxel sizes must be in the unit that xyzt_units names (usually mm)",
            what,
        )
