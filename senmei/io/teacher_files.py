"""Readers of single teacher files: the values of their planes and the window that makes greys of them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.io.dicom import _unheard
from senmei.io.nifti import read_volume
from senmei.io.pictures import luma, refuse_teacher
from senmei.io.teachers import Plane, TeacherSettings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_SIDE = 8192
MAX_BYTES = 256 << 20
MAX_FRAMES = 64
CT_WINDOW = (-160.0, 240.0)  # Hounsfield units: soft tissue, level 40 and width 400
_SYNTAX_DEFLATED = "1.2.840.10008.1.2.1.99"
_OTHER_MODALITIES = "give CT or MR images; the camera's own images are read as scans"


def read_picture(path: Path, settings: TeacherSettings) -> list[Plane]:
    """The plane of a PNG, JPEG or TIFF; its first page. Transparency is refused where it hides anything.

    8 bits are 0 to 255, 16 bits 0 to 65535, unless `picture_window` says otherwise. Raises DataError.
    """
    from PIL import Image, UnidentifiedImageError

    _bounded(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked here
            with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
                width, height = image.size
                _sides(path, height, width)
                if getattr(image, "n_frames", 1) > 1:
                    refuse_teacher(path, "it has several pages", "save each page as a file of its own")
                values = _greys(path, image, settings)
    except UnidentifiedImageError:
        refuse_teacher(path, "it is no PNG, JPEG or TIFF, whatever its name says", "save it again as PNG")
    except DataError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        refuse_teacher(path, f"it is damaged ({type(error).__name__})", "save it again as PNG")
    most = 65535.0 if values.dtype == np.uint16 else 255.0
    return [Plane(values, settings.picture_window or (0.0, most))]


def _greys(path: Path, image: Any, settings: TeacherSettings) -> NDArray:
    mode = image.mode
    if mode == "1":
        image, mode = image.convert("L"), "L"
    if mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or mode == "PA" else "RGB")
        mode = image.mode
    if mode in ("LA", "RGBA"):
        if np.asarray(image.getchannel("A")).min() < 255:
            refuse_teacher(
                path, "parts of it are transparent", "flatten it on a background and save it again"
            )
        image = image.convert("L" if mode == "LA" else "RGB")
        mode = image.mode
    if mode == "L":
        return np.asarray(image)
    if mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            refuse_teacher(path, "its greys are no 16-bit numbers", "save it with 8 or 16 bits")
        return values.astype(np.uint16)
    if mode not in ("RGB", "YCbCr"):
        refuse_teacher(path, f"its pixels are of a kind ({mode}) that is not known", "save it as grey or RGB")
    colours = np.asarray(image.convert("RGB"))
    if (colours == colours[..., :1]).all():  # a grey picture saved with three colours
        return np.ascontiguousarray(colours[..., 0])
    _colour(path, settings)
    return luma(colours, settings.colour)


def _colour(path: Path, settings: TeacherSettings) -> None:
    if settings.colour == "refuse":
        why = "it is in colour, and the settings refuse colour"
        refuse_teacher(path, why, "set colour to '601' or '709', or convert the picture")


def read_nifti(path: Path, settings: TeacherSettings) -> list[Plane]:
    """Slices of a 3D NIfTI volume in closest canonical (RAS) orientation, as seen in radiological convention."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    volume = read_volume(path, ndim=3, labels=False)
    turn = io_orientation(volume.affine)
    data = np.asarray(apply_orientation(volume.data, turn))
    edges = np.sqrt(((volume.affine @ inv_ornt_aff(turn, volume.shape))[:3, :3] ** 2).sum(0))
    n = data.shape[settings.axis]
    places = np.unique(np.round((0.2 + 0.6 * (np.arange(settings.slices) + 0.5) / settings.slices) * (n - 1)))
    across, up = (e for k, e in enumerate(edges) if k != settings.axis)
    out = []
    for place in places.astype(int):
        plane = np.take(data, place, settings.axis)[::-1].T[::-1]
        high = float(np.percentile(plane, 99.8))
        if high <= 0 and settings.window is None:
            refuse_teacher(
                path, f"slice {place} holds nothing above 0", "choose another axis, or give a window"
            )
        out.append(Plane(plane, settings.window or (0.0, high), (float(up), float(across))))
    return out


def read_dicom(path: Path, settings: TeacherSettings) -> list[Plane]:
    """The frames of a CT or MR file (or a picture in DICOM), in the modality's units (rescale slope, intercept).

    Raises DataError for other modalities, colour where refused, sizes beyond the limits, truncated pixels, compressed
    ones without a decoder, and text burned into the pixels.
    """
    import pydicom

    _bounded(path)
    with _unheard():
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            if str(meta.get("TransferSyntaxUID")) == _SYNTAX_DEFLATED:
                refuse_teacher(path, "it is deflated DICOM", "save it uncompressed")
            data = pydicom.dcmread(path)
            values = _pixels(path, data)
            return _planes(path, data, values, settings)
        except DataError:
            raise
        except Exception as error:  # a damaged file can raise anything from within the parser
            why = f"it is damaged, or no DICOM image ({type(error).__name__})"
            refuse_teacher(path, why, "export it again")


def _pixels(path: Path, data: Dataset) -> NDArray:
    import pydicom

    modality = str(data.get("Modality", ""))
    if modality not in ("CT", "MR", "OT", "SC"):
        refuse_teacher(path, f"its modality is {modality[:16] or 'not stated'}", _OTHER_MODALITIES)
    if str(data.get("BurnedInAnnotation", "NO")).upper() == "YES":
        refuse_teacher(path, "text is burned into its pixels", "export it without annotations")
    if "Rows" not in data or "PixelData" not in data:
        refuse_teacher(path, "it holds no pixels", "export the image itself")
    _sides(path, int(data.Rows), int(data.Columns))
    frames = int(data.get("NumberOfFrames") or 1)
    if not 1 <= frames <= MAX_FRAMES:
        refuse_teacher(path, f"it claims {frames} frames; at most {MAX_FRAMES}", "export single slices")
    syntax = pydicom.uid.UID(str(data.file_meta.TransferSyntaxUID))
    if syntax.is_compressed:
        try:
            available = pydicom.pixels.get_decoder(syntax).is_available
        except NotImplementedError:
            available = False
        if not available:
            fix = "save it uncompressed, or install pylibjpeg with its plug-ins for JPEG and JPEG 2000"
            refuse_teacher(
                path, f"it is compressed ({syntax.name}), and no decoder for that is installed", fix
            )
    else:
        samples = int(data.get("SamplesPerPixel") or 1)
        need = int(data.Rows) * int(data.Columns) * frames * samples * int(data.BitsAllocated) // 8
        if samples == 1 and len(data.PixelData) < need:
            refuse_teacher(path, "it is truncated: shorter than its pixels", "copy or export it again")
    values = pydicom.pixels.pixel_array(data)
    return values if frames > 1 else values[None]


def _planes(path: Path, data: Dataset, values: NDArray, settings: TeacherSettings) -> list[Plane]:
    import pydicom

    photometric = str(data.PhotometricInterpretation)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        _colour(path, settings)
        if photometric == "PALETTE COLOR":
            values = pydicom.pixels.apply_color_lut(values, data)
        values = values[..., :3]  # of YBR pydicom made RGB
        scale = 255.0 / (255.0 if values.dtype == np.uint8 else float(np.iinfo(values.dtype).max))
        greys = np.stack([luma(frame, settings.colour) for frame in values]) * scale
        span = settings.window or (0.0, 255.0)
    else:
        greys = values * float(data.get("RescaleSlope") or 1.0) + float(data.get("RescaleIntercept") or 0.0)
        span = settings.window or _window_of(data, greys)
    if not np.isfinite(greys).all():
        refuse_teacher(path, "its rescaled values are no numbers", "export it again")
    spacing = [float(v) for v in data.get("PixelSpacing") or (1.0, 1.0)]
    if len(spacing) != 2 or not all(1e-3 < v < 1e3 for v in spacing):
        refuse_teacher(path, "its pixel spacing is no length", "export it again")
    if photometric == "MONOCHROME1":  # low values are bright
        low, high = span
        greys, span = low + high - greys, (low, high)
    identity = str(data.get("PatientID") or data.get("PatientName") or data.get("SeriesInstanceUID") or path)
    return [Plane(frame, span, (spacing[0], spacing[1]), identity) for frame in greys]


def _window_of(data: Dataset, values: NDArray) -> tuple[float, float]:
    """The window of the header (the first), of CT, or of the values."""

    def first(name: str) -> float | None:
        found = data.get(name)
        found = found[0] if type(found).__name__ == "MultiValue" and found else found
        return None if found in (None, "") or type(found).__name__ == "MultiValue" else float(found)

    centre, width = first("WindowCenter"), first("WindowWidth")
    if centre is not None and width is not None and np.isfinite(centre) and 0 < width < 1e9:
        return centre - width / 2, centre + width / 2
    if str(data.get("Modality")) == "CT":
        return CT_WINDOW
    low, high = min(0.0, float(values.min())), float(np.percentile(values, 99.8))
    return low, high if high > low else low + 1.0


def _bounded(path: Path) -> None:
    if (size := os.stat(path).st_size) > MAX_BYTES:
        why = f"it has {size >> 20} MiB; at most {MAX_BYTES >> 20}"
        refuse_teacher(path, why, "save it smaller")
    if size == 0:
        refuse_teacher(path, "it is empty", "copy it again")


def _sides(path: Path, rows: int, columns: int) -> None:
    if not (2 <= rows <= MAX_SIDE and 2 <= columns <= MAX_SIDE):
        why = f"it has {columns} x {rows} pixels; from 2 to {MAX_SIDE} a side"
        refuse_teacher(path, why, "crop it, or save it smaller")
