"""Volumes as small pictures: reoriented to RAS+, cut into planes, drawn at a fixed window, as palette PNGs."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from senmei.core.volume import Volume

GREYS = 56  # levels of an image: fewer bytes, no visible steps
HOTS = 64  # of a coloured one
SIGNED = 41  # levels of a difference, odd so that zero is white
LARGEST_SIDE = 288  # pixels; larger planes are averaged down
PLANES = ("axial", "coronal", "sagittal")
SHEET = "sheet"  # a picture as it lies on paper: x to the right, y up
# Radiological convention: the patient's right is on the left of the picture. Marks are (left, right).
Box = tuple[slice, slice, slice]  # of x, y and z
Frame = tuple[float, float, float, float]  # left, top, width, height, per cent of a picture
MARKS = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


@dataclass(frozen=True)
class Grid:
    """A volume's voxels in RAS+ order: data (x, y, z) float32, edges in mm, and how far the axes are tilted."""

    data: np.ndarray
    voxel: tuple[float, float, float]
    tilt: float
    affine: np.ndarray | None = None  # voxel index -> mm

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.data.shape


def to_ras(volume: Volume) -> tuple[Grid, int | None]:
    """The grid nearest to RAS+ (axes permuted and flipped, nothing resampled), and which frame of a 4D volume it is.

    Of a 4D volume the middle frame is taken. `tilt` is the largest angle between an axis and its anatomical
    direction, degrees. Values that are not finite become zero.
    """
    data, frame = np.asarray(volume.data), None
    if data.ndim == 4:
        frame = data.shape[3] // 2
        data = data[..., frame]
    orientation = io_orientation(volume.affine)
    data = apply_orientation(data, orientation)
    edges = [0.0, 0.0, 0.0]
    tilt = 0.0
    for axis, (target, _) in enumerate(orientation):
        column = volume.affine[:3, axis]
        edges[int(target)] = float(np.linalg.norm(column))
        cosine = abs(column[int(target)]) / np.linalg.norm(column)
        tilt = max(tilt, float(np.degrees(np.arccos(min(1.0, cosine)))))
    clean = np.nan_to_num(data.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    affine = volume.affine @ inv_ornt_aff(orientation, data.shape)
    return Grid(clean, (edges[0], edges[1], edges[2]), tilt, affine), frame


def cut(grid: Grid, plane: str, index: int, box: Box | None = None) -> tuple[np.ndarray, float, float]:
    """(row, col) picture of a plane in radiological convention, its width and height in mm.

    Axial: anterior up, patient's right on the left. Coronal: superior up, right on the left.
    Sagittal: superior up, anterior on the left. Sheet: x to the right, y up. box : slices of x, y and z to keep.
    """
    x, y, z = box or (slice(None),) * 3
    data, (dx, dy, dz) = grid.data, grid.voxel
    if plane == "axial":
        picture, width, height = data[x, y, index][::-1, ::-1].T, dx, dy
    elif plane == "coronal":
        picture, width, height = data[x, index, z][::-1, ::-1].T, dx, dz
    elif plane == "sagittal":
        picture, width, height = data[index, y, z][::-1, ::-1].T, dy, dz
    elif plane == SHEET:
        picture, width, height = data[x, y, index][:, ::-1].T, dx, dy
    else:
        raise ValueError(f"no plane '{plane}': {', '.join((*PLANES, SHEET))}")
    rows, cols = picture.shape
    return picture, cols * width, rows * height


def shrink(picture: np.ndarray) -> np.ndarray:
    """The picture, averaged in whole blocks until no side is longer than the page can use."""
    n = -(-max(picture.shape) // LARGEST_SIDE)
    if n <= 1:
        return picture
    rows, cols = (side - side % n for side in picture.shape)
    blocks = picture[:rows, :cols].reshape(rows // n, n, cols // n, n)
    averaged: np.ndarray = blocks.mean(axis=(1, 3))
    return averaged


def enlarge(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture on a finer grid, bilinear, so that its longer side has about `side` pixels; as it is if larger.

    Pixels cover the same area as before; beyond the outermost centres values stay constant.
    """
    factor = side // max(picture.shape)
    if factor < 2:
        return picture
    fine: np.ndarray = picture
    for axis, old in enumerate(picture.shape):
        place = np.clip((np.arange(old * factor) + 0.5) / factor - 0.5, 0, old - 1)
        low = np.minimum(place.astype(int), max(old - 2, 0))
        share = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        fine = fine.take(low, axis) * (1 - share) + fine.take(np.minimum(low + 1, old - 1), axis) * share
    return fine


def ramp(colour: str) -> np.ndarray:
    """Colours of a scale from low to high, (n, 3) uint8. Raises ValueError for a scale that is not there.

    grey : black to white. grey_inverse : white to black, as whole-body scans are read.
    hot : hot iron, black over red and yellow to white (DICOM PS3.6, well-known palette 'Hot Iron').
    """
    if colour in ("grey", "grey_inverse"):
        levels = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
        return levels if colour == "grey" else levels[::-1]
    if colour == "hot":
        at = np.linspace(0, 1, HOTS)
        channels = [np.interp(at, knots, [0, 0, 1]) for knots in ([0, 0.5, 1], [0, 0.75, 1])]
        levels = np.stack([np.minimum(2 * at, 1), *channels], axis=1)
        return (255 * levels).round().astype(np.uint8)
    raise ValueError(f"no colour scale '{colour}': grey, grey_inverse, hot")


def image_png(
    picture: np.ndarray, low: float, high: float, colour: str = "grey", shrunk: bool = True
) -> bytes:
    """PNG of a picture, the scale's first colour at `low` and its last at `high`. shrunk : large ones are."""
    return _png(shrink(picture) if shrunk else picture, low, high, ramp(colour), colour == "hot")


def signed_png(picture: np.ndarray, limit: float, smooth: bool = False) -> bytes:
    """PNG of a difference: white at zero, red above (too bright), blue below, full colour at ±`limit`."""
    colours = (matplotlib.colormaps["RdBu_r"](np.linspace(0, 1, SIGNED))[:, :3] * 255).round()
    return _png(shrink(picture), -limit, limit, colours.astype(np.uint8), smooth)


def _png(picture: np.ndarray, low: float, high: float, colours: np.ndarray, smooth: bool) -> bytes:
    span = high - low if high > low else 1.0
    levels = np.clip((picture - low) / span, 0, 1) * (len(colours) - 1)
    return palette_png(levels.round().astype(np.uint8), colours, smooth=smooth)


def palette_png(indices: np.ndarray, palette: np.ndarray, clear: bool = False, smooth: bool = False) -> bytes:
    """A PNG of (row, col) uint8 indices into (n, 3) uint8 colours, n <= 256; no dates, no names.

    clear : the last colour is not drawn at all. smooth : neighbouring lines are alike, as in interpolated pictures,
    so that their differences take fewer bytes. Source: ISO/IEC 15948, Portable Network Graphics.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    rows, cols = indices.shape
    lines = np.zeros(
        (rows, cols + 1), np.uint8
    )  # each line opens with its filter: 0, none; 2, from the one above
    lines[:, 1:] = np.diff(indices, axis=0, prepend=np.uint8(0)) if smooth else indices
    lines[:, 0] = 2 if smooth else 0
    header = struct.pack(">IIBBBBB", cols, rows, 8, 3, 0, 0, 0)  # 8 bits, palette
    data = zlib.compress(lines.tobytes(), 9)
    parts = [(b"IHDR", header), (b"PLTE", palette.astype(np.uint8).tobytes())]
    if clear:
        parts.append((b"tRNS", bytes([255] * (len(palette) - 1) + [0])))
    parts += [(b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def few_colours(picture: np.ndarray) -> bytes:
    """A PNG of a drawn chart, (row, col, 3) uint8: 16 steps a channel, its 256 commonest colours."""
    stepped = (picture.astype(np.float32) / 17).round().astype(np.int32)
    codes, places, counts = np.unique(stepped @ [256, 16, 1], return_inverse=True, return_counts=True)
    colours = np.stack([codes // 256, codes // 16 % 16, codes % 16], axis=1)
    kept = np.sort(np.argsort(-counts, kind="stable")[:256])
    nearest = ((colours[:, None] - colours[kept][None]) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    return palette_png(nearest[places].reshape(picture.shape[:2]), colours[kept] * 17)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """The bytes as a data: address, so that the page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def rescale(box: Box, old: Sequence[int], new: Sequence[int]) -> Box:
    """The same part of the field of view on a grid of another shape; never empty."""
    x, y, z = (
        slice(int(s.start * n / o), max(int(s.stop * n / o), int(s.start * n / o) + 1))
        if s.stop is not None
        else s
        for s, o, n in zip(box, old, new, strict=True)
    )
    return x, y, z


def bounding_box(inside: np.ndarray, margin: float = 0.04) -> Box:
    """Box around the true voxels, a little wider; the whole grid where there is none."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        size = inside.shape[axis]
        if hit.size == 0:
            box.append(slice(0, size))
            continue
        pad = max(1, round(margin * size))
        box.append(slice(max(0, int(hit[0]) - pad), min(size, int(hit[-1]) + 1 + pad)))
    return box[0], box[1], box[2]


def widened(box: Box, margin_mm: float, grid: Grid) -> Box:
    """The box with a margin on every side, as far as the grid goes."""
    x, y, z = (
        slice(max(0, s.start - round(margin_mm / edge)), min(size, s.stop + round(margin_mm / edge)))
        for s, edge, size in zip(box, grid.voxel, grid.shape, strict=True)
    )
    return x, y, z
