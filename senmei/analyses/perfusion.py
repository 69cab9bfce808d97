"""What a nuclear cardiologist reads off a myocardial perfusion scan, against the noise-free reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np

from senmei.analyses.defect import contrast, defect_regions
from senmei.analyses.heart_axis import find_axis
from senmei.analyses.noise_resolution import added_blur, blurred, cov, liver_noise
from senmei.analyses.polar import TERRITORIES, Rays, by_segment, cast_rays, polar_map
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
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures.judged import on_grid

AROUND = (
    15.0  # mm beyond the epicardium that belong to the ventricle's counts: what blur carries out of the wall
)
CURVE = (0.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)  # mm FWHM of the noise-resolution curve
TRUSTED = 0.4  # fit of the found axis
VISIBLE = 0.03  # contrast of a defect in the reference below which its recovery says nothing


class Perfusion(Analysis):
    """Wall thickness, defect contrast, counts and noise of one restored heart; slices and maps for the report.

    axis : 'known' takes the heart's place from the role `heart`, 'found' finds it in the `input` as one would in a
    patient (one frame for all methods of a scan, and `axis_error` tells how well). Defects are always sought where
    they were planted. Under 0.5 s a scan on one core, about 0.5 s more for `found`.
    """

    scope = "scan"
    requires = ("reference", "myocardium", "segments", "heart")
    uses = ("input", "labels", "mask")
    title = "Perfusion"
    sentence = (
        "Hearts were reoriented to short-axis slices and sampled along rays at right angles to the wall. Polar maps "
        "hold maximal counts in the 17 AHA segments; wall thickness is the full width at half maximum of each ray, "
        "with a background of its own on either side, median over a segment's rays. Defect contrast compares the wall "
        "at the planted site with remote wall at the same level; its recovery divides by the contrast in the "
        "noise-free reconstruction."
    )
    references = (
        "Cerqueira et al. Standardized myocardial segmentation and nomenclature for tomographic imaging of the heart. "
        "Circulation 2002;105:539.",
    )
    MEASURES = {
        "wall_thickness": ("Wall thickness (FWHM)", "mm", "none"),
        "wall_thickness_bias": ("Wall thickness against the reference", "mm", "zero"),
        "wall_thickness_error": ("Wall thickness error, mean of segments", "mm", "lower"),
        "wall_rays_lost": ("Rays without a peak across the wall", "%", "lower"),
        "defect_contrast": ("Defect contrast", "1", "none"),
        "defect_recovery": ("Defect contrast against the reference's", "1", "one"),
        "ventricle_count_bias": ("Count bias of the left ventricle", "%", "zero"),
        "wall_count_bias": ("Count bias of the wall, mean of segments", "%", "zero"),
        "lad_count_bias": ("Count bias of the wall, LAD territory", "%", "zero"),
        "rca_count_bias": ("Count bias of the wall, RCA territory", "%", "zero"),
        "lcx_count_bias": ("Count bias of the wall, LCX territory", "%", "zero"),
        "segment_count_bias": ("Largest count bias of a segment", "%", "lower"),
        "segment_error": ("Segment error against the reference", "%", "lower"),
        "myocardial_cov": ("Coefficient of variation of the normal wall", "%", "none"),
        "liver_cov": ("Coefficient of variation in the liver", "%", "none"),
        "liver_noise": ("Noise in the liver", "%", "none"),
        "added_blur": ("Blur added to the reference (FWHM)", "mm", "lower"),
        "axis_error": ("Error of the found long axis", "degrees", "lower"),
    }
    # count_bias and heart_count_bias are measures; they are bounded here as counts are this analysis' concern.
    LIMITS = {
        "ventricle_count_bias": 2.0,
        "wall_count_bias": 2.0,
        "lad_count_bias": 2.0,
        "rca_count_bias": 2.0,
        "lcx_count_bias": 2.0,
        "count_bias": 2.0,
        "heart_count_bias": 2.0,
    }

    def __init__(self, *, axis: str = "known") -> None:
        if axis not in ("known", "found"):
            raise ConfigError(
                "Unknown way to the heart's axis",
                where="perfusion: axis",
                why=f"{axis!r} is neither 'known' nor 'found'",
                fix="take 'known' where the role heart is the truth, 'found' to judge as in a patient",
            )
        self.axis = axis

    def run(self, example: Example, restored: Volume) -> dict[str, float]:
        """The numbers of `MEASURES` that apply: none of a defect without one, none of the liver without labels.

        Biases compare with the `input`, errors with the `reference`. NaN where an image shows too little of it, such
        as walls without peaks. Raises DataError if an image lies on another grid, is not finite, or does not hold the
        heart.
        """
        reference, ours = on_grid(example, restored, "reference")
        segments, _ = on_grid(example, restored, "segments")
        frame, true = self._frames(example, restored)
        values = {"axis_error": _angle(frame.axis, true.axis)} if self.axis == "found" else {}
        rays, theirs = cast_rays(restored, frame), cast_rays(example["reference"], frame)
        thick, thick_reference = _thickness(rays), _thickness(theirs)
        values |= {
            "wall_thickness": _mean(thick),
            "wall_thickness_bias": _mean(thick - thick_reference),
            "wall_thickness_error": _mean(np.abs(thick - thick_reference)),
            "wall_rays_lost": 100 * float(np.isnan(ray_thickness(rays)).mean()),
        }
        wall = segments > 0
        counts, wanted = by_segment(ours, segments), by_segment(reference, segments)
        values["segment_error"] = _mean(100 * np.abs(_ratio(counts, wanted) - 1))
        values |= self._counts(example, restored, ours, segments, true)
        defect = example["heart"].get("defect")
        normal = wall
        if defect:
            at = f"{example.scan.get('scan', '?')}: heart: defect"
            site, remote = defect_regions(example["segments"], true, defect, at)
            normal = remote
            known, found = contrast(reference, site, remote), contrast(ours, site, remote)
            values["defect_contrast"] = found
            values["defect_recovery"] = found / known if known > VISIBLE else float("nan")
        values["myocardial_cov"] = cov(ours, normal)
        values |= _liver(example, restored, reference)
        values["added_blur"] = added_blur(restored, example["reference"], _myocardium(example, restored))
        return values

    def files(self, example: Example, restored: Volume) -> dict[str, Volume | np.ndarray | dict[str, Any]]:
        """short_axis (Volume, 32 x 32 x 12), polar, profiles; of the input itself also curve, and the reference's own
        short axis and map (reference_short_axis, reference_polar).

        polar : segments (17), rings (16 x 48, first ring at the apex, angles from anterior over septal), thickness
        (17, mm) of the restored; counts (17 mean wall voxels), of the restored, the reference and the input; defect.
        profiles : name of the line -> mm, and values of restored, reference, input. curve : Gaussians of growing FWHM
        on the input: fwhm_mm, liver_noise (%), wall_thickness (mm), added_blur (mm). null stands for NaN.
        """
        frame, _ = self._frames(example, restored)
        images = {"restored": restored, "reference": example["reference"]}
        if "input" in example:
            images["input"] = example["input"]
        for role in ("reference", "input", "segments"):
            if role in example:
                on_grid(example, restored, role)
        readers = {name: Sampler(image) for name, image in images.items()}
        rays = cast_rays(readers["restored"], frame)
        bullseye = polar_map(rays, frame)
        segments = example["segments"].data
        polar: dict[str, Any] = {
            "segments": _rounded(bullseye.segments),
            "rings": [_rounded(ring, 3) for ring in bullseye.rings],
            "thickness": _rounded(_thickness(rays), 2),
            "counts": {name: _rounded(by_segment(image.data, segments)) for name, image in images.items()},
            "defect": (example["heart"].get("defect") or {}).get("segments", []),
        }
        lines: dict[str, Any] = {}
        for name, (start, end) in profile_lines(frame).items():
            lines[name] = {"mm": _rounded(profile(readers["restored"], start, end)[0], 1)}
            lines[name] |= {k: _rounded(profile(reader, start, end)[1]) for k, reader in readers.items()}
        made: dict[str, Volume | np.ndarray | dict[str, Any]] = {
            "short_axis": short_axis(restored, frame),
            "polar": polar,
            "profiles": lines,
        }
        if "input" in images and np.array_equal(images["input"].data, restored.data):
            made["curve"] = {"curve": self._curve(example, restored, frame)}
            rays = cast_rays(readers["reference"], frame)
            bullseye = polar_map(rays, frame)
            made["reference_short_axis"] = short_axis(images["reference"], frame)
            made["reference_polar"] = {
                "segments": _rounded(bullseye.segments),
                "rings": [_rounded(ring, 3) for ring in bullseye.rings],
                "thickness": _rounded(_thickness(rays), 2),
            }
        return made

    def _curve(self, example: Example, image: Volume, frame: HeartFrame) -> list[dict[str, Any]]:
        """Noise and resolution of a family of Gaussians on one image."""
        reference, _ = on_grid(example, image, "reference")
        region = _myocardium(example, image)
        points = []
        for width in CURVE:
            smooth = blurred(image, width)
            numbers = {
                "fwhm_mm": width,
                "liver_noise": _liver(example, smooth, reference).get("liver_noise", float("nan")),
                "wall_thickness": _mean(_thickness(cast_rays(smooth, frame))),
                "added_blur": added_blur(smooth, example["reference"], region),
            }
            points.append(dict(zip(numbers, _rounded([*numbers.values()], 3), strict=True)))
        return points

    def _frames(self, example: Example, restored: Volume) -> tuple[HeartFrame, HeartFrame]:
        """(the frame to judge in, the true one). Raises DataError if the heart is not in the field or not found."""
        scan = str(example.scan.get("scan", "?"))
        for role in ("reference", "input", "segments", "myocardium"):
            if role in example and not np.allclose(example[role].affine, restored.affine, atol=1e-3):
                raise DataError(
                    f"The {role} lies elsewhere than the restored image",
                    where=f"{scan}: {role}",
                    why="their affines differ, so the heart's coordinates cannot hold for both",
                    fix="bring both onto one grid when preparing",
                )
        true = check_inside(restored, example["heart"], f"{scan}: heart")
        if self.axis == "known":
            return true, true
        source = example["input"] if "input" in example else example["reference"]
        found = find_axis(
            source, example["myocardium"] if "mask" not in example else example["mask"], where=scan
        )
        if found["fit"] < TRUSTED:
            raise DataError(
                "No left ventricle was found",
                where=scan,
                why=f"the best fit of a ventricle correlates with the image by {found['fit']:.2f} only",
                fix="look at the scan; where its heart is marked, set axis to 'known'",
            )
        return check_inside(restored, found, f"{scan}: heart as found"), true

    def _counts(
        self, example: Example, restored: Volume, ours: np.ndarray, segments: np.ndarray, frame: HeartFrame
    ) -> dict[str, float]:
        """Counts kept: of the whole ventricle, of territories and segments of the wall, against the input."""
        if "input" not in example:
            return {}
        before, _ = on_grid(example, restored, "input")
        region = ventricle_region(restored, frame)
        own, first = by_segment(ours, segments), by_segment(before, segments)
        size = np.bincount(segments[segments > 0].astype(int), minlength=18)[1:18]
        changes = 100 * (_ratio(own, first) - 1)
        found = np.isfinite(changes)
        values = {
            "ventricle_count_bias": _percent(ours[region].sum(), before[region].sum()),
            "wall_count_bias": _mean(changes),
            "segment_count_bias": float(np.abs(changes[found]).max()) if found.any() else float("nan"),
        }
        for name, members in TERRITORIES.items():
            k = np.array(members) - 1
            k = k[size[k] > 0]
            values[f"{name}_count_bias"] = _percent((own * size)[k].sum(), (first * size)[k].sum())
        return values


def _thickness(rays: Rays) -> np.ndarray:
    return thickness_by_segment(ray_thickness(rays), rays.wall.segments)


def _myocardium(example: Example, restored: Volume) -> np.ndarray:
    mask, _ = on_grid(example, restored, "myocardium")
    if not (mask > 0).any():
        raise DataError(
            "The myocardium is empty",
            where=example.scan.get("scan", "?"),
            why="no voxel of it is above zero",
            fix="prepare the study anew; a scan without a heart cannot be judged",
        )
    return mask > 0


def _liver(example: Example, restored: Volume, reference: np.ndarray) -> dict[str, float]:
    """The liver's numbers; none without labels or where the field holds too little of it."""
    if "labels" not in example:
        return {}
    labels, ours = on_grid(example, restored, "labels")
    return liver_noise(ours, reference, labels)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _percent(after: float, before: float) -> float:
    return 100 * (float(after) / float(before) - 1) if before > 0 else float("nan")


def _mean(values: np.ndarray) -> float:
    """Mean of what is finite; NaN where nothing is."""
    found = values[np.isfinite(values)]
    return float(found.mean()) if found.size else float("nan")


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def _rounded(values: np.ndarray | list[float], digits: int = 4) -> list[float | None]:
    return [round(float(v), digits) if np.isfinite(v) else None for v in values]
