"""What methods for time-activity curves share: the curve that comes in, and the door it goes out by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.method import Method
from senmei.core.volume import Volume


@dataclass(frozen=True)
class Curve:
    """Counts per frame (frames,) float64, seconds of a frame, activity injected, and the scan's name."""

    counts: np.ndarray
    frame_s: float
    activity_mbq: float
    name: str

    @property
    def total(self) -> float:
        """Counts of all frames."""
        return float(self.counts.sum())

    @property
    def edges(self) -> np.ndarray:
        """(frames + 1,) times between frames, s."""
        return np.arange(len(self.counts) + 1) * self.frame_s


class CurveMethod(Method):
    """Base of methods that make one time-activity curve of another.

    `input` is a Volume (frames, 1, 1) of counts per frame, `curve` a dict with `frame_s` and `activity_mbq`; what
    comes back has the same frames.
    """

    inputs: ClassVar[tuple[str, ...]] = ("input", "curve")

    def estimate(self, curve: Curve) -> np.ndarray:
        """(frames,) counts per frame."""
        raise NotImplementedError(type(self).__name__)

    def apply(self, example: Example) -> Volume:
        """The estimated curve, float32, on the input's frames. Raises DataError as `curve_of`."""
        volume: Volume = example["input"]
        found = self.estimate(curve_of(example))
        return volume.like(found.astype(np.float32)[:, None, None])


def curve_of(example: Example) -> Curve:
    """The noisy curve of a scan. Raises DataError for what is no curve, holds no counts, or lacks a number."""
    name = str(example.scan.get("scan", "?"))
    counts = role_of(example, "input")
    if not counts.sum() > 0:
        raise DataError(
            "There is no bolus in this curve",
            where=f"{name}: input",
            why=f"its counts sum to {counts.sum():.3g}",
            fix="check the region of interest and the injection, or leave the scan out",
        )
    known = example["curve"]
    return Curve(counts, _number(known, "frame_s", name), _number(known, "activity_mbq", name), name)


def counted(examples: Sequence[Example]) -> list[Example]:
    """The scans on which anything was counted, to learn from. Raises DataError as `role_of`."""
    return [example for example in examples if role_of(example, "input").sum() > 0]


def role_of(example: Example, role: str) -> np.ndarray:
    """(frames,) float64 of a role that is a curve. Raises DataError for another shape and for values not finite."""
    volume, name = example[role], str(example.scan.get("scan", "?"))
    data = volume.data if isinstance(volume, Volume) else None
    if data is None or data.ndim != 3 or data.shape[1:] != (1, 1) or data.dtype.kind not in "fiub":
        is_a = f"a volume {data.shape} of {data.dtype}" if data is not None else type(volume).__name__
        raise DataError(
            "This method takes time-activity curves",
            where=f"{name}: {role}",
            why=f"it is {is_a}; a curve is a volume (frames, 1, 1) of real numbers",
            fix="use it in a study of curves, such as gamma_dynamics",
        )
    curve = data[:, 0, 0].astype(np.float64)
    if not np.isfinite(curve).all():
        raise DataError(
            "The curve contains NaN or infinite values",
            where=f"{name}: {role}",
            why=f"{int((~np.isfinite(curve)).sum())} frames are not numbers",
            fix="mend the curve, or leave the scan out",
        )
    return curve


def judged_range(example: Example) -> float:
    """The scan's data range, by which errors of all scans are made comparable. Raises DataError if it has none."""
    try:
        value = float(example.scan["data_range"])
    except (KeyError, TypeError, ValueError):
        value = float("nan")
    if not (np.isfinite(value) and value > 0):
        raise DataError(
            "This curve has no data range",
            where=str(example.scan.get("scan", "?")),
            why=f"its data_range is {example.scan.get('data_range')!r}, and errors are measured by it",
            fix="prepare the scan again",
        )
    return value


def psnr(found: np.ndarray, reference: np.ndarray, span: float) -> float:
    """10 log10(range² / MSE), dB, of one curve."""
    error = max(float(np.mean((found - reference) ** 2)), 1e-20)
    return float(10 * np.log10(span**2 / error))


def _number(known: Mapping[str, Any], key: str, name: str) -> float:
    try:
        value = float(known[key])
    except (KeyError, TypeError, ValueError):
        value = float("nan")
    if not (np.isfinite(value) and value > 0):
        raise DataError(
            "The description of the acquisition cannot be used",
            where=f"{name}: curve: {key}",
            why=f"it is {known.get(key)!r}; a number above 0 is needed",
            fix="prepare the scan again, or correct it",
        )
    return value
