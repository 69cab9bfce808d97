"""A printed page under the camera before its activity is known: what of it does not depend on how much that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from senmei.core.volume import Volume
from senmei.lab.layout import SheetLayout, printed
from senmei.physics.planar.camera import PlanarCamera
from senmei.physics.planar.corrections import observed_rate, seconds_for_counts
from senmei.physics.planar.nuclides import nuclide


@dataclass(frozen=True)
class InkedPage:
    """A page with its marks. cm2 : area of full ink that holds as much. darkest : share of full ink at most.

    cps : of its brightest camera pixel at the start of an acquisition, per MBq/cm² of full ink; neither dead time nor
    background.
    """

    cm2: float
    darkest: float
    cps: float


def ink_page(layout: SheetLayout, teacher: Volume, camera: PlanarCamera) -> InkedPage:
    """A teacher's page as the camera sees it. Raises DataError for a teacher of another size than the layout's."""
    ink = printed(layout, teacher)
    area = (layout.pixel_mm / 10.0) ** 2
    short = replace(camera, time_s=1.0, background_cps_per_cm2=0.0, dead_time_us=0.0)
    brightest = float(short.expected(ink.like((ink.data * area).astype(np.float32))).data.max())
    cps = brightest / nuclide(camera.nuclide).mean_activity(1.0)
    return InkedPage(float(ink.data.sum(dtype=np.float64)) * area, float(ink.data.max()), cps)


def acquisition(
    camera: PlanarCamera, page: InkedPage, mbq_per_cm2: float, counts: float, longest_s: float
) -> tuple[float, str]:
    """Seconds until the brightest pixel is expected to hold `counts`, and why that cannot be, or ''.

    mbq_per_cm2 : of full ink at the start. Dead time is that of the rate at the start, slightly overrated.
    """
    short = replace(camera, time_s=1.0)
    signal, background = page.cps * mbq_per_cm2, short.background_counts
    rate = page.cm2 * mbq_per_cm2 * short.counts_per_mbq + background * camera.matrix**2
    if camera.dead_time_us > 0 and rate > 0:
        live = observed_rate(rate, camera.dead_time_us, camera.dead_time_model) / rate
        signal, background = signal * live, background * live
    seconds = seconds_for_counts(camera.nuclide, signal, background, counts)
    if math.isinf(seconds):
        why = f"its brightest pixel starts with {signal:.3g} counts/s and {camera.nuclide} decays before"
        return seconds, why
    if seconds > longest_s:
        return seconds, f"it takes {seconds / 60:.0f} minutes; at most {longest_s / 60:.0f} are allowed"
    return seconds, ""
