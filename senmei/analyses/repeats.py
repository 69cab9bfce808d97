"""Leave-one-out over repeats: restore one, compare with the mean of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from senmei.core.analysis import Analysis
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures.judged import inside, on_grid
from senmei.physics.noise_level import estimate_sigma


class Repeats(Analysis):
    """Mean squared error against the mean of the n - 1 other repeats, beside the least it can be.

    A perfect restoration still differs from that mean by the mean's own noise, sigma² / (n - 1): the floor, with
    sigma estimated on the input. `mse_excess` is what is left above it: 0 is perfect. Slightly below 0 happens, as
    registration interpolates and so smooths the others a little; what changed between the repeats (bias field,
    motion left over) stays above it. Judged inside the mask (without one: Otsu's threshold on the others), as
    the mean of Rician magnitudes is biased upwards in air.

    scan row: `others_n`, the number of repeats that were averaged (default: the setting `others_n`).
    """

    scope = "scan"
    requires = ("input", "others")
    uses = ("mask",)
    title = "Leave one repeat out"
    sentence = (
        "Repeated scans were judged by leaving one out: each restored repeat was compared with the mean of the "
        "others, rigidly registered to it, beside the floor set by the noise of that mean."
    )
    references = ("Lehtinen et al. Noise2Noise: learning image restoration without clean data. ICML 2018.",)
    MEASURES = {
        "mse_others": ("Mean squared error against the other repeats", "units²", "lower"),
        "mse_floor": ("Floor of that error, σ²/(n − 1)", "units²", "none"),
        "mse_excess": ("Error above the floor", "units²", "lower"),
    }

    def __init__(self, *, others_n: int | None = None) -> None:
        if others_n is not None and not (isinstance(others_n, int) and others_n >= 1):
            raise ConfigError(
                "Unusable number of repeats",
                where="repeats: others_n",
                why=f"{others_n!r} is not a whole number above zero",
                fix="give how many repeats were averaged, or leave it out when the scans say so",
            )
        self.others_n = others_n

    def run(self, example: Example, restored: Volume) -> dict[str, float]:
        """`mse_others`, `mse_floor`, `mse_excess` in squared intensity units.

        Raises DataError if the number of others is unknown, grids differ, or a voxel is not finite.
        """
        others, ours = on_grid(example, restored, "others")
        noisy, _ = on_grid(example, restored, "input")
        count = self._count(example)
        mask = inside(example, ours.shape)
        if mask is None:
            mask = foreground(others)
        error = float(np.mean((ours - others)[mask] ** 2))
        floor = float(estimate_sigma(noisy, mask)) ** 2 / count
        return {"mse_others": error, "mse_floor": floor, "mse_excess": error - floor}

    def _count(self, example: Example) -> int:
        value = example.scan.get("others_n")
        if value is None or value == "" or value != value:
            value = self.others_n
        try:
            count = int(float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            count = 0
        if count < 1:
            raise DataError(
                "Unknown number of repeats",
                where=example.scan.get("scan", "?"),
                why=f"the scan's others_n is {value!r}, a whole number above zero is needed",
                fix="give the number of averaged repeats in the column others_n",
            )
        return count


def foreground(data: np.ndarray) -> np.ndarray:
    """(x, y, z) bool: head against air by Otsu's threshold, holes filled. [Otsu, IEEE TSMC 9:62 (1979)]

    A constant image is foreground throughout.
    """
    low, high = float(data.min()), float(data.max())
    if low == high:
        return np.ones(data.shape, bool)
    counts, edges = np.histogram(data, bins=256, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below, moment = np.cumsum(counts).astype(float), np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    threshold = edges[1:][int(np.nanargmax(between[:-1]))]
    return ndimage.binary_fill_holes(data > threshold)


def mean_of_others(target: Volume, others: Sequence[Volume], register: bool = True) -> Volume:
    """Mean of `others` on the grid of `target`: the role `others` of a repeat.

    target, others : (x, y, z), any grids. register : rigidly align each of them to the target first (Mattes mutual
    information, fixed seed; windowed-sinc interpolation, which hardly smooths the noise that the floor counts on).
    Without it they must lie on the target's grid. Returns float32 with the target's geometry; places that an
    other does not cover count as 0 in it. Raises DataError if there are no others or the grids differ unregistered.
    Deterministic at a given number of ITK threads.
    """
    if not others:
        raise DataError(
            "No other repeats to average",
            where="repeats",
            why="the subject has one scan of this kind",
            fix="leave-one-out needs two or more repeats of a subject",
        )
    total = np.zeros(target.shape, np.float64)
    for other in others:
        if register:
            total += _registered(target, other)
        elif other.shape == target.shape and np.allclose(other.affine, target.affine, atol=1e-4):
            total += other.data
        else:
            raise DataError(
                "The repeats are on different grids",
                where="repeats",
                why=f"shapes {other.shape} and {target.shape}, or different affines",
                fix="register them: mean_of_others(..., register=True)",
            )
    return replace(target, data=(total / len(others)).astype(np.float32))


def _registered(target: Volume, other: Volume) -> np.ndarray:
    import ants

    fixed, moving = _image(target), _image(other)
    # Two coarse levels: as exact as the full schedule on noisy heads, at half its time.
    schedule = {"aff_shrink_factors": (4, 2), "aff_smoothing_sigmas": (2, 1), "aff_iterations": (200, 50)}
    result = ants.registration(fixed, moving, type_of_transform="Rigid", random_seed=1, **schedule)
    return ants.apply_transforms(
        fixed, moving, result["fwdtransforms"], interpolator="lanczosWindowedSinc"
    ).numpy()


def _image(volume: Volume):
    """As ANTs sees it: RAS+ becomes LPS+, the affine becomes origin, spacing and direction."""
    import ants

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=[float(x) for x in affine[:3, 3]],
        spacing=list(volume.voxel),
        direction=affine[:3, :3] / np.array(volume.voxel),
    )
