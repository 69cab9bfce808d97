"""Sheets of one setting of a camera, as the fit of its degradation model takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.physics.planar.fit_model import NAMES, SheetPair
from senmei.physics.planar.fitted import SETTING
from senmei.physics.planar.nuclides import nuclide


class Sheet(NamedTuple):
    """Activity and counts of one scan. known : whether MBq are; else they are those that its counts suggest."""

    pair: SheetPair
    known: bool

    @property
    def exposure(self) -> float:
        """MBq seconds."""
        return float(self.pair.activity.data.sum(dtype=float)) * self.pair.time_s


def sheet_of(example: Example) -> Sheet | None:
    """A scan's sheet with its counts as they were counted; None where neither activity nor teacher is known.

    A `correction` (column) for dead time becomes live time again. Where no activity is known, the teacher's grey is
    scaled so that the camera as described gives the counts that there are: resolution and scatter can be fitted, the
    sensitivity cannot.
    """
    if any(role not in example for role in ("low", "camera")):
        return None
    low, correction = example["low"], float(example.scan.get("correction") or 1.0)
    counts = low.data.astype(np.float64) / correction
    whole = np.rint(counts)
    if np.abs(counts - whole).max() < 0.01:  # else `fit_camera` refuses them, and says why
        counts = whole
    camera = example["camera"]
    seconds, live = float(camera["time_s"]), 1.0 / max(correction, 1.0)
    known = "activity" in example
    if known:
        activity = example["activity"]
    elif "teacher" in example:
        activity = _suggested(example["teacher"], float(counts.sum()), camera, seconds * live)
    else:
        return None
    return Sheet(SheetPair(activity, low.like(counts), seconds, live), known)


def _suggested(teacher: Volume, counts: float, camera: Mapping[str, Any], seconds: float) -> Volume:
    """Activity (x, y, 1) in proportion to grey that gives so many counts."""
    mean = nuclide(str(camera["nuclide"])).mean_activity(float(camera["time_s"]))
    mbq = counts / (float(camera["sensitivity"]) * seconds * mean)
    grey = teacher.data.astype(np.float64)
    return teacher.like(grey * (mbq / max(float(grey.sum()), 1e-12)))


def tag_of(camera: Mapping[str, Any]) -> str:
    """Letters and digits of a setting: 'Tc99m_LEHR_100mm_0mm_5p388mm', the last one its pixel."""
    nuclide, collimator = (
        "".join(c for c in str(camera[name]) if c.isascii() and c.isalnum()) for name in SETTING[:2]
    )
    lengths = [f"{float(camera[name]):.4g}mm" for name in (*SETTING[2:], "pixel_mm")]
    return "_".join([nuclide, collimator, *lengths]).replace(".", "p").replace("+", "").replace("-", "m")


def known_numbers(camera: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that a camera's role (`PlanarCamera.role`) claims, by `NAMES`: of a simulated image the true ones."""
    area = float(camera["time_s"]) * (float(camera["pixel_mm"]) / 10.0) ** 2
    numbers = (
        camera["fwhm_mm"],
        camera.get("scatter_fraction", 0.0),
        camera.get("scatter_fwhm_mm", 0.0),
        camera["sensitivity"],
        float(camera.get("background", 0.0)) / area,
    )
    return dict(zip(NAMES, map(float, numbers), strict=True))
