"""What can be read off a patient's perfusion scan, whose truth nobody knows: bull's-eye, wall and what changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from senmei.analyses.heart_axis import find_axis
from senmei.analyses.polar import Rays, by_segment, cast_rays, polar_map
from senmei.analyses.short_axis import (
    HeartFrame,
    Sampler,
    check_inside,
    profile,
    profile_lines,
    short_axis,
    ventricle_region,
)
from senmei.analyses.wall import ray_thickness, thickness_by_segment
from senmei.core.analysis import Analysis
from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures.judged import on_grid

TRUSTED = 0.4  # fit of the found axis, see `find_axis`


class PatientHeart(Analysis):
    """Bull's-eye, wall thickness and change of counts of one restored heart, without a reference.

    The heart's axis is found in the unrestored image, so that all methods of a scan are read in one frame; the numbers
    compare with the unrestored image or stand alone, and none of them says which image is right. Scans whose truth is
    known (`segments`) are passed over: `perfusion` judges them. About 0.5 s a scan on one core.
    """

    scope = "scan"
    requires = ("input", "mask")
    uses = ("segments",)
    title = "Hearts of patients"
    sentence = (
        "Hearts of patients were reoriented along the long axis that a fitted ellipsoid found in the unrestored image "
        "and sampled along rays at right angles to the wall; polar maps hold maximal counts in the 17 AHA segments. "
        "There is no reference: changes are against the unrestored image."
    )
    references = (
        "Cerqueira et al. Standardized myocardial segmentation and nomenclature for tomographic imaging of the heart. "
        "Circulation 2002;105:539.",
    )
    MEASURES = {
        "found_wall_thickness": ("Wall thickness (FWHM), axis found", "mm", "none"),
        "found_rays_lost": ("Rays without a peak across the wall, axis found", "%", "none"),
        "found_ventricle_change": ("Counts of the left ventricle against the input, axis found", "%", "zero"),
        "found_segment_change": ("Largest change of a segment's share against the input", "%", "none"),
        "found_axis_fit": ("Fit of the found axis", "1", "none"),
    }
    LIMITS = {"found_ventricle_change": 2.0}

    def __init__(self) -> None:
        self._last: tuple[Example, HeartFrame, float] | None = None  # found once for numbers and files

    def run(self, example: Example, restored: Volume) -> dict[str, float]:
        """The numbers of `MEASURES`; none of a scan whose truth is known.

        found_segment_change : of the 17 segments as shares of their own mean, so that a change of all is none.
        Raises DataError if the grids differ, an image is not finite, or no left ventricle is found in the input.
        """
        if "segments" in example:
            return {}
        before, after = on_grid(example, restored, "input")
        frame, fit = self._frame(example)
        rays = cast_rays(restored, frame)
        shares = [_shares(r) for r in (rays, cast_rays(example["input"], frame))]
        region = ventricle_region(restored, frame)
        total = float(before[region].sum())
        return {
            "found_wall_thickness": _mean(_thickness(rays)),
            "found_rays_lost": 100 * float(np.isnan(ray_thickness(rays)).mean()),
            "found_ventricle_change": 100 * (float(after[region].sum()) / total - 1)
            if total > 0
            else float("nan"),
            "found_segment_change": 100 * float(np.nanmax(np.abs(shares[0] - shares[1]))),
            "found_axis_fit": fit,
        }

    def files(self, example: Example, restored: Volume) -> dict[str, Volume | np.ndarray | dict[str, Any]]:
        """short_axis, polar and profiles as `Perfusion.files` gives them, without a reference."""
        if "segments" in example:
            return {}
        frame, _ = self._frame(example)
        reader = Sampler(restored)
        rays = cast_rays(reader, frame)
        bullseye = polar_map(rays, frame)
        lines: dict[str, Any] = {}
        for name, (start, end) in profile_lines(frame).items():
            mm, values = profile(reader, start, end)
            lines[name] = {"mm": _rounded(mm, 1), "restored": _rounded(values)}
        polar = {
            "segments": _rounded(bullseye.segments),
            "rings": [_rounded(ring, 3) for ring in bullseye.rings],
            "thickness": _rounded(_thickness(rays), 2),
        }
        return {"short_axis": short_axis(restored, frame), "polar": polar, "profiles": lines}

    def _frame(self, example: Example) -> tuple[HeartFrame, float]:
        """The heart's frame in the unrestored image, and how well it fits."""
        if self._last is None or self._last[0] is not example:
            scan = str(example.scan.get("scan", "?"))
            found = find_axis(example["input"], example["mask"], where=scan)
            if found["fit"] < TRUSTED:
                raise DataError(
                    "No left ventricle was found",
                    where=scan,
                    why=f"the best fit of a ventricle correlates with the image by {found['fit']:.2f} only",
                    fix="look at the scan; leave it out where the heart cannot be seen",
                )
            frame = check_inside(example["input"], found, f"{scan}: heart as found")
            self._last = example, frame, float(found["fit"])
        return self._last[1], self._last[2]


def _shares(rays: Rays) -> np.ndarray:
    """(17,) maximal counts of the segments over their mean."""
    segments = by_segment(rays.maxima, rays.wall.segments)
    return segments / max(float(np.nanmean(segments)), 1e-12)


def _thickness(rays: Rays) -> np.ndarray:
    return thickness_by_segment(ray_thickness(rays), rays.wall.segments)


def _mean(values: np.ndarray) -> float:
    found = values[np.isfinite(values)]
    return float(found.mean()) if found.size else float("nan")


def _rounded(values: np.ndarray, digits: int = 4) -> list[float | None]:
    return [round(float(v), digits) if np.isfinite(v) else None for v in values]
