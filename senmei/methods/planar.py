"""What methods for planar images of activity sheets share: what they are given, and how counts are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.example import Example
from senmei.core.method import Method
from senmei.core.volume import Volume
from senmei.methods.upsampling import upsample
from senmei.physics.planar.blur import BlurAndBin
from senmei.physics.planar.response import Response

KEEPINGS = ("total", "local", "none")
TARGETS = ("reference", "high")
_REACH = 3.0  # camera pixels, standard deviation of the surroundings in which `local` keeps counts
_BRIGHT = 99.0  # percentile of the means of 3 x 3 pixels that is an image's own scale
_NUMBERS = ("fwhm_mm", "scatter_fraction", "scatter_fwhm_mm", "penetration_fraction", "penetration_fwhm_mm")


@dataclass(frozen=True)
class Sheet:
    """One planar image and the camera that made it.

    counts : (x, y) float32, counts per camera pixel, 0 or more. volume : that it came from. factor : camera pixels
    over the pixels that are restored. pixel_mm : of the camera. response : its blur. background : counts per camera
    pixel that come from elsewhere.
    """

    counts: np.ndarray
    volume: Volume
    factor: int
    pixel_mm: float
    response: Response
    background: float

    @property
    def total(self) -> float:
        """Counts of the image."""
        return float(self.counts.sum(dtype=np.float64))

    @property
    def scale(self) -> float:
        """The image's own scale, counts per camera pixel; 0 for an image without counts. See `bright_counts`."""
        return bright_counts(self.counts)

    @property
    def shape(self) -> tuple[int, int]:
        """(x, y) of the restored image."""
        return self.counts.shape[0] * self.factor, self.counts.shape[1] * self.factor

    def camera(self) -> BlurAndBin:
        """The camera: counts per restored pixel -> expected counts per camera pixel, without background."""
        pixel = self.pixel_mm / self.factor
        to = (self.counts.shape[0], self.counts.shape[1])
        return BlurAndBin(self.shape, pixel, self.response.components(), to, self.pixel_mm)

    def grid(self) -> np.ndarray:
        """(4, 4) affine of the restored image: the same field, so the first pixel's centre moves by half a pixel."""
        smaller = np.diag([1 / self.factor, 1 / self.factor, 1.0, 1.0])
        smaller[:2, 3] = 0.5 / self.factor - 0.5
        return self.volume.affine @ smaller


def bright_counts(counts: np.ndarray) -> float:
    """Scale of an image of counts, found in it alone: the 99th percentile of the means of 3 x 3 pixels, or its maximum.

    counts : (x, y). 0 where nothing was counted.
    """
    smooth = ndimage.uniform_filter(np.asarray(counts, np.float32), 3, mode="reflect")
    scale = float(np.percentile(smooth, _BRIGHT))
    return scale if scale > 0 else float(np.max(counts, initial=0.0))


class PlanarMethod(Method):
    """Base of the methods that restore the image `low` of a camera `camera` on the grid of the reference.

    Restored images are counts per restored pixel, float32, 0 or more, on (x factor, y factor, 1), the field of `low`.

    keep_counts : what is done to what a method made, once values below zero are zero. `total` (default): one factor
    for the whole image, such that its total is that of `low`. `local`: a smooth map of factors first, the ratio of
    `low` to what the camera would make of the restored image, both smoothed to a standard deviation of 3 camera
    pixels, so that regions keep their counts as well; then the total. `none`: nothing.
    target : role that is restored: `reference`, or `high`, another collimator's image of the same sheet on the same
    grid as `low` (then the factor is 1).
    Raises ConfigError for settings that mean nothing.
    """

    inputs: ClassVar[tuple[str, ...]] = ("low", "camera")

    def __init__(self, *, keep_counts: str = "total", target: str = "reference") -> None:
        for name, value, valid in (("keep_counts", keep_counts, KEEPINGS), ("target", target, TARGETS)):
            choose(name, value, valid)
        self.keep_counts, self.target = keep_counts, target

    def sheet(self, example: Example) -> Sheet:
        """Image and camera of an example. Raises DataError for images that are no counts, or an impossible camera."""
        name = str(example.scan.get("scan", "?"))
        return read_sheet(example["low"], example["camera"], name, self.target != "reference")

    def output_grid(self, example: Example) -> tuple[tuple[int, ...], np.ndarray]:
        """(shape, affine) of the restored image."""
        sheet = self.sheet(example)
        return (*sheet.shape, 1), sheet.grid()

    def restore(self, sheet: Sheet) -> np.ndarray:
        """(x, y) counts per restored pixel, of an image that has counts."""
        raise NotImplementedError(type(self).__name__)

    def refuse_unfit(self, sheet: Sheet, factor: int | None) -> None:
        """Raise ConfigError where nothing was fitted (no factor), DataError for a factor that was not trained for."""
        if factor is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where="weights",
                why="it restores nothing without weights",
                fix="fit it and load its weights",
            )
        if sheet.factor != factor:
            raise DataError(
                f"{self.title} was trained for another factor",
                where="camera: factor",
                why=f"it restores {factor} pixels a side of each; the scan asks for {sheet.factor}",
                fix="train on scans of the same pixel size",
            )

    def apply(self, example: Example) -> Volume:
        """The restored Volume. An image without counts gives one of zeros."""
        sheet = self.sheet(example)
        if sheet.scale > 0:
            fine = self.finish(self.restore(sheet), sheet)
        else:
            fine = np.zeros(sheet.shape, np.float32)
        return Volume(np.ascontiguousarray(fine[..., None], np.float32), sheet.grid())

    def finish(self, fine: np.ndarray, sheet: Sheet) -> np.ndarray:
        """Nothing below zero, and counts as `keep_counts` says; (x, y) float32."""
        fine = np.maximum(fine, 0).astype(np.float32)
        if self.keep_counts == "local":
            seen, there = (
                ndimage.gaussian_filter(a, _REACH, mode="reflect")
                for a in (sheet.camera().forward(fine) + sheet.background, sheet.counts)
            )
            least = max(1e-3 * sheet.scale, 1e-6)
            ratio = np.clip((there + least) / (seen + least), 0.5, 2.0)
            fine *= upsample(ratio.astype(np.float32), sheet.factor, "bilinear") * np.float32(sheet.factor**2)
        if self.keep_counts == "none":
            return fine
        return with_total(fine, sheet.total)


def with_total(fine: np.ndarray, total: float) -> np.ndarray:
    """An image scaled to a total; one without counts stays."""
    found = float(fine.sum(dtype=np.float64))
    return (fine * (total / found)).astype(np.float32) if found > 0 else fine


def read_sheet(low: Volume, camera: Mapping[str, Any], name: str, same_grid: bool = False) -> Sheet:
    """A planar image and its camera, checked. same_grid : what is restored lies on the camera's own grid."""
    data = np.asarray(low.data)
    if data.ndim != 3 or data.shape[2] != 1 or min(data.shape[:2]) < 2:
        raise DataError(
            "This is no planar image",
            where=f"{name}: low",
            why=f"it has the shape {' x '.join(map(str, data.shape))}; (x, y, 1) is needed",
            fix="give one planar frame",
        )
    counts = np.ascontiguousarray(data[..., 0], np.float32)
    if not np.isfinite(counts).all() or counts.min() < 0:
        raise DataError(
            "The image holds no counts",
            where=f"{name}: low",
            why="values are below zero" if np.isfinite(counts).all() else "values are NaN or infinite",
            fix="give the counts of each pixel as they were acquired",
        )
    factor = _number(camera, "factor", name)
    if factor < 1 or factor != int(factor):
        raise _impossible(name, "factor", factor, "a whole number, 1 or more")
    pixel = _number(camera, "pixel_mm", name)
    if pixel <= 0:
        raise _impossible(name, "pixel_mm", pixel, "more than 0")
    values = {k: _number(camera, k, name, 0.0 if k != "fwhm_mm" else None) for k in _NUMBERS}
    values["background"] = _number(camera, "background", name, 0.0)
    for key, value in values.items():
        if value < 0 or (key.endswith("fraction") and value > 1):
            raise _impossible(name, key, value, "from 0 to 1" if key.endswith("fraction") else "0 or more")
    background = values.pop("background")
    response = Response(_number(camera, "sensitivity", name, 1.0), **values)
    return Sheet(counts, low, 1 if same_grid else int(factor), pixel, response, background)


def choose(name: str, value: str, valid: tuple[str, ...]) -> None:
    """Raise ConfigError unless a setting is one of a few words."""
    if value not in valid:
        raise ConfigError(
            f"'{name}' must be one of {', '.join(valid)}",
            where=f"{name}: {value}",
            why="no such choice exists",
            fix=nearest(str(value), valid),
        )


def truth(example: Example, role: str, sheet: Sheet) -> np.ndarray:
    """(x, y) float32 counts per restored pixel to learn from, or to be judged by. Raises DataError off the grid.

    Another collimator counts another share of the photons: its image is scaled to the total of `low`.
    """
    data = np.asarray(example[role].data, np.float32)
    name = f"{example.scan.get('scan', '?')}: {role}"
    if data.shape != (*sheet.shape, 1) or not np.isfinite(data).all():
        raise DataError(
            "This image cannot be learned from",
            where=name,
            why="it holds values that are no numbers"
            if data.shape == (*sheet.shape, 1)
            else f"its shape is {data.shape}, that of what is restored {(*sheet.shape, 1)}",
            fix="prepare the scan again: `camera` must tell how many of its pixels make one of `low`",
        )
    return data[..., 0] if role == "reference" else with_total(data[..., 0], sheet.total)


def judged_range(example: Example, reference: np.ndarray) -> float:
    """The scan's data range; where it has none, the reference's maximum. Raises DataError for an empty reference."""
    value = example.scan.get("data_range")
    span = float(value) if value not in (None, "") else float(np.max(reference))
    if not (np.isfinite(span) and span > 0):
        raise DataError(
            "This image has no data range",
            where=str(example.scan.get("scan", "?")),
            why=f"it is {span:g}, and errors are measured by it",
            fix="prepare the scan again, or leave it out: there is nothing on it",
        )
    return span


def _number(camera: Mapping[str, Any], key: str, name: str, default: float | None = None) -> float:
    value = camera.get(key, default)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise _impossible(name, key, value, "a number")
    return number


def _impossible(name: str, key: str, value: object, meant: str) -> DataError:
    return DataError(
        "The description of the camera cannot be used",
        where=f"{name}: camera: {key}",
        why=f"it is {value!r}; it must be {meant}",
        fix="prepare the scan again, or correct the camera",
    )
