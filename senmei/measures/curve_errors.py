"""Are the peak, the area and the mean time of a time-activity curve where they should be?"""

from __future__ import annotations

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import on_grid


@measure(requires=("reference", "curve"), better="lower", unit="s", title="Error of the peak's time")
def peak_time_error(example: Example, restored: Volume) -> float:
    """|t(restored) - t(reference)| of the highest points, s.

    A peak lies at the top of the parabola through the highest frame and its neighbours. Lower is better; 0 is a perfect
    copy. Only for curves: volumes (frames, 1, 1) with a role `curve` that has `frame_s`. Raises DataError for others,
    for a curve that is zero or below everywhere, if the grids differ or a value is not finite.
    """
    true, found, frame = _curves(example, restored)
    return abs(_peak(found)[0] - _peak(true)[0]) * frame


@measure(requires=("reference", "curve"), better="lower", unit="%", title="Error of the peak's height")
def peak_height_error(example: Example, restored: Volume) -> float:
    """100 |height(restored) / height(reference) - 1| of the highest points, %. Lower is better; 0 is a perfect copy.

    Heights are those of the parabolas of `peak_time_error`. Raises DataError as it does.
    """
    true, found, _ = _curves(example, restored)
    return 100 * abs(_peak(found)[1] / _peak(true)[1] - 1)


@measure(requires=("reference", "curve"), better="lower", unit="%", title="Error of the area")
def area_error(example: Example, restored: Volume) -> float:
    """100 |Σ restored / Σ reference - 1| over all frames, %. Lower is better; 0 is a perfect copy.

    The area of a first passage is what cardiac output is found from (Stewart-Hamilton: dose / area); here recirculation
    is part of it. Raises DataError as `peak_time_error`.
    """
    true, found, _ = _curves(example, restored)
    return 100 * abs(float(found.sum()) / float(true.sum()) - 1)


@measure(requires=("reference", "curve"), better="lower", unit="s", title="Error of the mean time")
def mean_time_error(example: Example, restored: Volume) -> float:
    """|T(restored) - T(reference)|, T = Σ t c / Σ c over all frames, s. Lower is better; 0 is a perfect copy.

    The mean transit time from vein to artery is T of the artery less T of the vein; the vein is the same for both, so
    that this is the error of the mean transit time too, recirculation within the acquisition included.
    Raises DataError as `peak_time_error`, and for a curve whose sum is not above zero.
    """
    true, found, frame = _curves(example, restored)
    return abs(_mean(example, found) - _mean(example, true)) * frame


def _curves(example: Example, restored: Volume) -> tuple[np.ndarray, np.ndarray, float]:
    """(reference, restored, seconds of a frame), curves (frames,) float64."""
    true, found = on_grid(example, restored, "reference")
    where = str(example.scan.get("scan", "?"))
    if true.ndim != 3 or true.shape[1:] != (1, 1) or len(true) < 3:
        raise _impossible(
            where,
            f"the image is {' x '.join(map(str, true.shape))}; a curve is (frames, 1, 1), of 3 frames or more",
        )
    try:
        frame = float(example["curve"]["frame_s"])
    except (KeyError, TypeError, ValueError):
        frame = float("nan")
    if not (np.isfinite(frame) and frame > 0):
        raise _impossible(where, f"its frames last {frame} s")
    true, found = true[:, 0, 0], found[:, 0, 0]
    for name, curve in (("reference", true), ("restored curve", found)):
        if curve.max() <= 0:
            raise _impossible(where, f"the {name} is nowhere above zero")
    return true, found, frame


def _peak(curve: np.ndarray) -> tuple[float, float]:
    """(place in frames, height) of the highest point."""
    n = int(np.argmax(curve))
    if n in (0, len(curve) - 1):
        return float(n), float(curve[n])
    left, top, right = (float(v) for v in curve[n - 1 : n + 2])
    bend = left - 2 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return n + shift, top - 0.25 * (left - right) * shift


def _mean(example: Example, curve: np.ndarray) -> float:
    total = float(curve.sum())
    if total <= 0:
        raise _impossible(str(example.scan.get("scan", "?")), f"a curve's sum is {total:.3g}")
    return float(curve @ np.arange(len(curve))) / total


def _impossible(where: str, why: str) -> DataError:
    return DataError(
        "Cannot measure this as a time-activity curve",
        where=where,
        why=why,
        fix="use these measures in a study of curves, such as gamma_dynamics, and check the method that made the curve",
    )
