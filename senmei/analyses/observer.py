"""Can the defect still be detected? A channelised Hotelling observer at the known place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from senmei.analyses.channels import KINDS, area_interval, channel_images, ratings, roc_area, shares
from senmei.core.analysis import Analysis
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.seeds import draw_generator
from senmei.core.volume import Volume
from senmei.io.tables import write_tsv
from senmei.measures.judged import image

LEAST = 3  # images of each class: one subject is left out, and two are needed to speak of a spread
NEAR_MM = 45.0  # from the middle of the long axis: holds the wall of a ventricle
MARGIN = 4  # voxels beyond the samples, for the spline


class Observer(Analysis):
    """Detectability of a perfusion defect at a known place, over a cohort with and without it.

    channels : 'square' or 'dog' (see `channel_images`). count : of them. start : lower edge of the first,
        cycles/pixel; each next is an octave higher. pixel_mm, size : of the region, pixels (odd).
    slices : planes averaged, `pixel_mm` apart. normalise : divide each image by its own hottest myocardium, the 95th
        percentile within 45 mm of the ventricle's middle, as displays do: patients differ in uptake.
    folds : groups of subjects left out in turn (0: one subject a time).
    internal_noise : variance of the observer's own noise over that of each channel. bootstrap : samples.
    seed : of bootstrap and internal noise, the same for every method, so that methods can be compared in pairs.

    Each image is sampled on `slices` short-axis planes around `heart["site_mm"]`, where the defect is or, in its
    twin, would be; the mean plane goes through the channels. The Hotelling template that rates a subject's images
    is trained on the others'. Multiplying all images by a number changes nothing. A template of few subjects is a
    poor one: of 6, 12 and 100 pairs whose ideal area is 0.88 it reached 0.72, 0.81 and 0.87, and without any signal
    0.45, 0.46 and 0.49 on average (leaving one out leans against the class left out). Compare methods on one cohort.
    scan row: `defect` (0 or 1) and `dose`, one for the whole cohort.

    Rows: `auc` once a subject, its share in the area (`channels.shares`): their mean over subjects is the area under
    the ROC curve, so that intervals and paired differences of methods are made of them as of any score. For the
    cohort `auc_low`, `auc_high` (bootstrap over subjects of the area itself), `snr` ((mean difference of ratings)
    / their spread within a class), `observer_images`, `observer_shrinkage` (of the channels' correlations: near 0
    when images are many). `rating` once a scan. observer.tsv holds scan, subject, defect and rating, too.
    """

    scope = "cohort"
    requires = ("heart",)
    title = "Observer"
    sentence = (
        "Detectability of the defect at a known place was the area under the ROC curve of a channelised Hotelling "
        "observer with rotationally symmetric frequency channels on short-axis planes, its template trained on the "
        "other subjects; intervals are bootstrapped over subjects."
    )
    references = (
        "Myers KJ, Barrett HH. Addition of a channel mechanism to the ideal-observer model. "
        "J Opt Soc Am A 1987;4:2447-2457.",
        "Gilland KL, Tsui BMW, Qi Y, Gullberg GT. Comparison of rotationally symmetric and oriented channels for the "
        "Hotelling observer for myocardial SPECT images. IEEE Nucl Sci Symp Conf Rec 2004;3620-3623.",
    )
    MEASURES = {
        "auc": ("Area under the ROC curve of the observer", "1", "higher"),
        "auc_low": ("Area under the ROC curve, lower 95 % limit", "1", "none"),
        "auc_high": ("Area under the ROC curve, upper 95 % limit", "1", "none"),
        "snr": ("Signal-to-noise ratio of the observer", "1", "none"),
        "rating": ("Rating by the observer", "1", "none"),
        "observer_images": ("Images that the observer rated", "1", "none"),
        "observer_shrinkage": ("Shrinkage of the channels' correlations", "1", "none"),
    }

    def __init__(
        self,
        *,
        channels: str = "square",
        count: int = 4,
        start: float = 1 / 32,
        pixel_mm: float = 6.4,
        size: int = 21,
        slices: int = 3,
        normalise: bool = True,
        folds: int = 0,
        internal_noise: float = 0.0,
        bootstrap: int = 2000,
        seed: int = 0,
    ) -> None:
        _check("channels", channels, channels in KINDS, f"one of {', '.join(KINDS)}")
        _check("count", count, _whole(count) and 1 <= count <= 10, "a whole number from 1 to 10")
        _check("start", start, _number(start) and start > 0, "a frequency above 0, cycles/pixel")
        top = start * 2**count
        _check(
            "start",
            start,
            top <= 0.5 + 1e-9,
            f"lower: the last of {count} octaves ends above 0.5 cycles/pixel",
        )
        _check("pixel_mm", pixel_mm, _number(pixel_mm) and pixel_mm > 0, "a size above 0, mm")
        _check("size", size, _whole(size) and size >= 5 and size % 2 == 1, "an odd whole number, 5 or more")
        _check("slices", slices, _whole(slices) and 1 <= slices <= 15, "a whole number from 1 to 15")
        _check("normalise", normalise, isinstance(normalise, bool), "true or false")
        _check(
            "folds",
            folds,
            _whole(folds) and (folds == 0 or folds >= 2),
            "0 (one subject a time), or 2 or more",
        )
        _check("internal_noise", internal_noise, _number(internal_noise) and internal_noise >= 0, "0 or more")
        _check("bootstrap", bootstrap, _whole(bootstrap) and bootstrap >= 100, "a whole number, 100 or more")
        self.images = channel_images(channels, int(count), float(start), int(size))
        self.pixel_mm, self.size, self.slices, self.folds = (
            float(pixel_mm),
            int(size),
            int(slices),
            int(folds),
        )
        self.normalise = normalise
        self.internal_noise, self.bootstrap, self.seed = float(internal_noise), int(bootstrap), int(seed)

    def run_cohort(self, pairs: Iterable[tuple[Example, Volume]], folder: Path) -> list[dict[str, Any]]:
        """The rows described above. 2 ms an image.

        Raises DataError if no scan has a defect or none is free of it, if there are fewer than three of either, if
        doses are mixed, or if a scan does not say where to look or looks outside its own grid.
        """
        scans: list[dict[str, Any]] = []
        outputs, doses = [], set()
        for example, restored in pairs:
            if any(role not in example for role in self.requires):
                continue
            name = str(example.scan.get("scan", "?"))
            subject, dose = str(example.scan.get("subject", name)), example.scan.get("dose")
            scans.append({"scan": name, "subject": subject, "defect": _defect(example)})
            outputs.append(np.tensordot(self.images, self.region(example, restored), axes=2))
            doses.add(dose)
        present = np.array([scan["defect"] == 1 for scan in scans], dtype=bool)
        subjects = [scan["subject"] for scan in scans]
        self._check_cohort(present, subjects, doses)
        draws = np.array(
            [draw_generator(self.seed, "internal", scan["scan"]).standard_normal() for scan in scans]
        )
        values = np.array(outputs)
        rating, shrinkage = ratings(values, present, subjects, self.folds, self.internal_noise, draws)
        area, placement = roc_area(rating, present)
        rng = draw_generator(self.seed, "bootstrap")
        low, high = area_interval(rating, present, subjects, rng, self.bootstrap)
        within = (rating[present].var(ddof=1) + rating[~present].var(ddof=1)) / 2
        gap = float(rating[present].mean() - rating[~present].mean())
        cohort = {
            "auc_low": low,
            "auc_high": high,
            **(
                {"snr": gap / float(np.sqrt(within))} if within > 0 else {}
            ),  # without any spread there is none
            "observer_images": len(scans),
            "observer_shrinkage": shrinkage,
        }
        rated = [{**scan, "rating": float(value)} for scan, value in zip(scans, rating, strict=True)]
        write_tsv(Path(folder) / "observer.tsv", rated, ("scan", "subject", "defect", "rating"))
        share = shares(placement, present, subjects, area)
        return [
            *({"scan": "", "subject": s, "measure": "auc", "value": value} for s, value in share.items()),
            *({"scan": "", "subject": "", "measure": name, "value": value} for name, value in cohort.items()),
            *(
                {"scan": row["scan"], "subject": row["subject"], "measure": "rating", "value": row["rating"]}
                for row in rated
            ),
        ]

    def region(self, example: Example, restored: Volume) -> np.ndarray:
        """(size, size) float64: mean of the short-axis planes about the site, 0 beyond the grid; in units of the
        hottest myocardium if `normalise`. Sampled by cubic splines.

        Its rows and columns are any two directions perpendicular to the long axis: the channels have none.
        Raises DataError if `heart` lacks a point, the site lies outside the grid or there is nothing to normalise by.
        """
        name = str(example.scan.get("scan", "?"))
        data = image(example, restored, "restored image")
        site, apex, base = (_point(example["heart"], key, name) for key in ("site_mm", "apex_mm", "base_mm"))
        axis = apex - base
        length = float(np.linalg.norm(axis))
        if data.ndim != 3 or length == 0:
            raise DataError(
                "Cannot look for the defect",
                where=name,
                why=f"the image is {data.shape} and the heart {length:.3g} mm long",
                fix="give one 3D volume, and a heart whose apex and base are two points",
            )
        axis /= length
        first = np.zeros(3)
        first[int(np.argmin(np.abs(axis)))] = 1.0
        first -= axis * (first @ axis)
        first /= np.linalg.norm(first)
        second = np.cross(axis, first)
        half = self.size // 2
        along = (np.arange(self.slices) - (self.slices - 1) / 2) * self.pixel_mm
        across = np.arange(-half, half + 1) * self.pixel_mm
        d, a, b = np.meshgrid(along, across, across, indexing="ij")
        world = site + d[..., None] * axis + a[..., None] * first + b[..., None] * second
        inverse = np.linalg.inv(restored.affine)
        index = world @ inverse[:3, :3].T + inverse[:3, 3]
        place = inverse[:3, :3] @ site + inverse[:3, 3]
        if np.any(place < -0.5) or np.any(place > np.array(data.shape) - 0.5):
            raise DataError(
                "The place of the defect lies outside the image",
                where=f"{name}: heart: site_mm {np.round(site, 1).tolist()}",
                why=f"it is voxel {np.round(place, 1).tolist()} of {data.shape}",
                fix="check that heart and image share one frame, and that the heart is in the field of view",
            )
        # Splines of the neighbourhood only: those of the whole volume would cost ten times as much.
        low = np.clip(np.floor(index.min(axis=(0, 1, 2))).astype(int) - MARGIN, 0, None)
        high = np.minimum(np.ceil(index.max(axis=(0, 1, 2))).astype(int) + MARGIN + 1, data.shape)
        block = data[tuple(slice(i, j) for i, j in zip(low, high, strict=True))]
        sampled = ndimage.map_coordinates(
            block, np.moveaxis(index - low, -1, 0), order=3, mode="grid-constant"
        )
        level = _hottest(data, restored.affine, (apex + base) / 2, name) if self.normalise else 1.0
        return sampled.mean(axis=0) / level

    def _check_cohort(self, present: np.ndarray, subjects: list[str], doses: set[Any]) -> None:
        if len(doses) > 1:
            raise DataError(
                "The observer's cohort mixes doses",
                where="column dose",
                why=f"it holds {', '.join(sorted(map(str, doses)))}: noise of one kind is what it is trained for",
                fix="give the observer a cohort of one dose",
            )
        for count, what, other in (
            (int(present.sum()), "no subject with a defect", "with"),
            (int((~present).sum()), "no subject without a defect", "without"),
        ):
            if count == 0:
                raise DataError(
                    f"There is {what} for the observer",
                    where=f"column defect of {len(present)} scans",
                    why="it learns to tell images with a defect from images without one, and needs both",
                    fix="name the cohort whose subjects have an image of each kind under `cohorts:` of the analysis",
                )
            if count < LEAST:
                raise DataError(
                    "Too few images for the observer",
                    where=f"{count} image(s) {other} a defect",
                    why=f"its template needs {LEAST} or more of each kind to be trained on other subjects",
                    fix="give the observer's cohort more subjects",
                )
        names = list(dict.fromkeys(subjects))
        folds = min(self.folds or len(names), len(names))
        fold = np.array([names.index(s) % folds for s in subjects])
        left = min(int(np.sum((present == k) & (fold != f))) for k in (False, True) for f in range(folds))
        if left < 2:
            raise DataError(
                "Too few images for the observer",
                where=f"{len(names)} subjects in {folds} folds",
                why=f"with one fold left out, {left} image(s) of a kind remain to train the template on",
                fix="give the observer's cohort more subjects, or set folds: 0",
            )


def _hottest(data: np.ndarray, affine: np.ndarray, middle: np.ndarray, name: str) -> float:
    """95th percentile within `NEAR_MM` of the ventricle's middle, a cube's corners cut. Raises DataError if not > 0."""
    voxel = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    centre = np.linalg.solve(affine[:3, :3], middle - affine[:3, 3])
    low = np.clip(np.floor(centre - NEAR_MM / voxel).astype(int), 0, None)
    high = np.clip(np.ceil(centre + NEAR_MM / voxel).astype(int) + 1, 0, data.shape)
    grids = np.ogrid[tuple(slice(i, max(i, j)) for i, j in zip(low, high, strict=True))]
    squared = sum(((g - c) * v) ** 2 for g, c, v in zip(grids, centre, voxel, strict=True))
    near = data[tuple(slice(i, max(i, j)) for i, j in zip(low, high, strict=True))][squared <= NEAR_MM**2]
    level = float(np.percentile(near, 95)) if near.size else 0.0
    if level <= 0:
        raise DataError(
            "There is no uptake in the heart to compare with",
            where=name,
            why=f"within {NEAR_MM:.0f} mm of the middle of its axis the hottest value is {level:.3g}",
            fix="check that heart and image share one frame; or set normalise: false",
        )
    return level


def _defect(example: Example) -> int:
    """0 or 1. Raises DataError for anything else."""
    value = example.scan.get("defect")
    if value not in (0, 1):
        raise DataError(
            "Unknown whether a defect is present",
            where=f"{example.scan.get('scan', '?')}: defect",
            why=f"the column says {value!r}, the observer needs 0 or 1",
            fix="give each scan of the observer's cohort 0 or 1 in the column defect",
        )
    return int(value)


def _point(heart: Any, key: str, name: str) -> np.ndarray:
    """(3,) float64 world mm. Raises DataError if it is not there."""
    try:
        point = np.asarray(heart[key], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        point = np.full(3, np.nan)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise DataError(
            "The observer does not know where to look",
            where=f"{name}: heart: {key}",
            why="it must be a point x, y, z in mm, in images with a defect and in those without",
            fix="let the study say where the defect is or would be, and where the heart's axis runs",
        )
    return point


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return real and bool(np.isfinite(value))


def _check(name: str, value: Any, good: bool, wanted: str) -> None:
    if not good:
        raise ConfigError(
            "Unusable setting of the observer",
            where=f"observer: {name}: {value}",
            why=f"it must be {wanted}",
            fix="correct it, or leave it out for the default",
        )
