"""The pixels of a checked nuclear-medicine header: as stored, (frame, row, column), no more than it claims."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from senmei.io.dicom_nm_header import Header, guarded, refuse, text, whole

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_JPEG_SYNTAX = "1.2.840.10008.1.2.4."
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_SLACK = 1 << 20  # bytes after the pixels: padding, private tags
_TAGS = """
    PixelData Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit
    PixelRepresentation PlanarConfiguration
""".split()
_LOSSY = frozenset(f"{_JPEG_SYNTAX}{n}" for n in (50, 51, 81, 91, 93, 203))


def lossy(header: Header) -> bool:
    """Whether the pixels went through a compression that changes values."""
    return header.syntax in _LOSSY or text(header.data, "LossyImageCompression") == "01"


def check_pixels(header: Header) -> None:
    """Raise DataError if the file is shorter than its pixels, or packed in a way that nothing here can unpack."""
    import pydicom

    syntax = pydicom.uid.UID(header.syntax)
    with guarded(header.where):
        known = syntax.is_transfer_syntax
    if not known:
        refuse(header.where, "its transfer syntax is not one of the standard", "save it uncompressed")
    need = header.frames * header.rows * header.columns * header.bits // 8
    if header.left > (2 * need if syntax.is_compressed else need) + _SLACK:
        why = f"{header.left} bytes follow its header, which speaks of {need} bytes of pixels"
        refuse(header.where, why, "export it again: what its header says and what it holds differ")
    if not syntax.is_compressed:
        if header.left < need:
            why = f"it is truncated: {need} bytes of pixels are due, and {header.left} are left"
            refuse(header.where, why, "copy or export it again")
        if header.syntax == _BIG_ENDIAN and header.bits != 16:
            refuse(header.where, f"it is big-endian with {header.bits} bits a pixel", "save it little-endian")
        return
    try:
        available = pydicom.pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        fix = "save it uncompressed, or install pylibjpeg with its plug-ins for JPEG and JPEG 2000"
        refuse(header.where, f"it is compressed ({syntax.name}), and there is no decoder for that", fix)


def read_pixels(header: Header) -> np.ndarray:
    """(frame, row, column) integers as stored, in native byte order: unsigned or signed as the file says.

    Raises DataError as check_pixels does, and for pixels that do not fill the frames exactly.
    """
    import pydicom

    check_pixels(header)
    with guarded(header.where):
        data = pydicom.dcmread(header.path, specific_tags=list(_TAGS))
        if "PixelData" not in data:
            refuse(header.where, "it holds no integer pixels in the standard's own element")
        if pydicom.uid.UID(header.syntax).is_compressed:
            values = _unpacked(header, data)
        else:
            values = _plain(header, data)
        return _stored_bits(header, values)


def _plain(header: Header, data: Dataset) -> np.ndarray:
    content = data.PixelData
    need = header.frames * header.rows * header.columns * header.bits // 8
    if not need <= len(content) <= need + need % 2:
        why = f"it has {len(content)} bytes of pixels, and its header speaks of {need}"
        refuse(header.where, why, "export it again: what its header says and what it holds differ")
    order = ">" if header.syntax == _BIG_ENDIAN else "<"
    values = np.frombuffer(content[:need], np.dtype(f"{order}u{header.bits // 8}"))
    return values.reshape(header.frames, header.rows, header.columns).astype(f"=u{header.bits // 8}")


def _unpacked(header: Header, data: Dataset) -> np.ndarray:
    """Compressed frames, one at a time; what a frame would unpack to is looked at first."""
    import pydicom

    decoder = pydicom.pixels.get_decoder(pydicom.uid.UID(header.syntax))
    frames = 0
    for frame in pydicom.encaps.generate_frames(data.PixelData, number_of_frames=header.frames):
        size = _coded_size(frame)
        if size is not None and size != (header.rows, header.columns):
            refuse(header.where, "its compressed frames are not of the size that its header states")
        frames += 1
        if frames > header.frames:
            break
    if frames != header.frames:
        refuse(header.where, f"its header speaks of {header.frames} frames, and it holds {frames}")
    found = np.empty((header.frames, header.rows, header.columns), f"=u{header.bits // 8}")
    for number, (values, _) in enumerate(decoder.iter_array(data, raw=True)):
        found[number] = values.view(found.dtype) if values.dtype.itemsize == found.itemsize else values
    return found


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 code stream; None for others."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:
        width, height, left, top = struct.unpack(">4I", frame[8:24])
        return height - top, width - left
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width = struct.unpack(">HH", frame[at + 5 : at + 9])
            return height, width
        at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None


def _stored_bits(header: Header, values: np.ndarray) -> np.ndarray:
    """The bits that hold the value: other bits may hold overlays."""
    stored = whole(header.data, "BitsStored", header.where) or header.bits
    high = whole(header.data, "HighBit", header.where)
    signed = whole(header.data, "PixelRepresentation", header.where) or 0
    if not 0 < stored <= header.bits or (high is not None and high != stored - 1) or signed not in (0, 1):
        refuse(header.where, "its bits allocated, bits stored and high bit contradict each other")
    spare = header.bits - stored
    if signed:
        values = values.view(f"=i{header.bits // 8}")
    return (values << spare) >> spare if spare else values
