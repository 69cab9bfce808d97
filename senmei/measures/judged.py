"""What every measure looks at: two images of one grid, inside one mask, on one fixed data range."""

from __future__ import annotations

from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume


def image(example: Example, volume: Any, name: str) -> np.ndarray:
    """(x, y, z[, t]) float64 values of a real, finite image.

    Raises DataError if `volume` is not a Volume, not real numbers, or holds NaN or infinity.
    """
    where = f"{example.scan.get('scan', '?')}: {name}"
    if not isinstance(volume, Volume):
        raise DataError(
            f"Cannot measure the {name}",
            where=where,
            why=f"an image is needed, this is a {type(volume).__name__}",
            fix="measure only methods that return images, on roles that are images",
        )
    if volume.data.dtype.kind not in "fiub":
        raise DataError(
            f"Cannot measure the {name}",
            where=where,
            why=f"its values are {volume.data.dtype}, real numbers are needed",
            fix="take the magnitude of complex images before measuring",
        )
    data = np.asarray(volume.data, dtype=np.float64)
    bad = data.size - int(np.count_nonzero(np.isfinite(data)))
    if bad:
        raise DataError(
            f"Cannot measure the {name}",
            where=where,
            why=f"{bad} of {data.size} voxels are NaN or infinite",
            fix="mend the image, or the method that made it",
        )
    return data


def on_grid(example: Example, restored: Volume, role: str) -> tuple[np.ndarray, np.ndarray]:
    """float64 images (`example[role]`, `restored`) of equal shape. Raises DataError if the grids differ."""
    other, ours = image(example, example[role], role), image(example, restored, "restored image")
    if other.shape != ours.shape:
        raise _grids(example, f"restored image against the {role}", ours.shape, other.shape)
    return other, ours


def inside(example: Example, shape: tuple[int, ...], role: str = "mask") -> np.ndarray | None:
    """(x, y, z) bool of the voxels to judge, or None where the example has no such role.

    Raises DataError if the mask is empty or lies on another grid.
    """
    if role not in example:
        return None
    mask = image(example, example[role], role) > 0
    if mask.shape != shape[:3]:
        raise _grids(example, f"{role} against the restored image", mask.shape, shape[:3])
    if not mask.any():
        raise DataError(
            f"The {role} is empty",
            where=example.scan.get("scan", "?"),
            why="no voxel of it is above zero",
            fix=f"draw the {role} anew; without one, leave the role out",
        )
    return mask


def data_range(example: Example) -> float:
    """The fixed data range of PSNR and SSIM: `scan["data_range"]`, the reference's white-matter intensity.

    Never the image's own maximum, which would differ between scans, methods and noise levels.
    Raises DataError if the scan has none or it is not a positive number.
    """
    value = example.scan.get("data_range")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not (np.isfinite(number) and number > 0):
        raise DataError(
            "No data range to measure with",
            where=example.scan.get("scan", "?"),
            why=f"the scan's data_range is {value!r}, a positive number is needed",
            fix="give the white-matter intensity of the reference in the column data_range",
        )
    return number


def squared_error(example: Example, restored: Volume) -> tuple[float, float]:
    """Means, over the mask, of (restored - reference)^2 and of reference^2, in units^2."""
    reference, ours = on_grid(example, restored, "reference")
    mask = inside(example, ours.shape)
    if mask is not None:
        reference, ours = reference[mask], ours[mask]
    return float(np.mean((ours - reference) ** 2)), float(np.mean(reference**2))


def _grids(example: Example, what: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> DataError:
    return DataError(
        f"Cannot compare the {what}",
        where=example.scan.get("scan", "?"),
        why=f"the grids are {ours} and {theirs}",
        fix="bring both onto one grid when preparing",
    )
