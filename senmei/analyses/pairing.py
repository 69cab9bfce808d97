"""How teachers get their counts: the report's look-up table against likelihoods, on the cohort's own scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from senmei.analyses.pairing_tables import Paired, pairing_items
from senmei.core.analysis import Analysis
from senmei.core.errors import ConfigError, SenmeiError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.shown import Item, Note, write_shown
from senmei.io.tables import write_tsv
from senmei.physics.planar.nuclides import nuclide
from senmei.physics.planar.pairing import WAYS, colocated, compare_pairings

_SETTING = ("time_s", "pixel_mm", "nuclide", "collimator", "distance_mm", "layer_mm")
_COLUMNS = ("scan", "subject", "way")


class PairingWays(Analysis):
    """Each way of pairing (`senmei.physics.planar.pairing`) on a sample of the cohort's scans.

    scans : of one condition, at most that many, the first ones. knots : of the curves. seed : of the intervals.

    Rows a scan, for each way in `WAYS`: pair_offset, mean of the reference minus mean of the measured image within the
    print; pair_counts, expected over measured counts of the whole image; pair_deviance, 1 for counting noise alone;
    pair_dilution, contrast of the image over that expected. Where the truth is known (a simulation), pair_error, root
    mean square error within the print, and pair_bias, mean error, both relative to the true mean. pairing.tsv holds
    all of them.

    A look-up table's offset is about 0 by construction: that is its weakness, not its strength. Counts that spread
    out of the print are missing from the mean that is set, which pair_counts and pair_bias show.
    """

    scope = "cohort"
    methods = ("input",)
    requires = ("low", "camera", "mask", "teacher")
    uses = ("activity", "expected")
    title = "Pairing"
    sentence = (
        "Ways to give teachers the count scale of their images were compared: a look-up table of co-located pixels "
        "with matched mean and standard deviation, and affine and monotone curves by Poisson likelihood through the "
        "camera's blur."
    )
    references = (
        "Barlow RE, Brunk HD. The isotonic regression problem and its dual. J Am Stat Assoc 1972;67:140-147.",
    )
    MEASURES = {
        "pair_error_lut": ("Pairing by table: error of the reference", "%", "none"),
        "pair_error_affine": ("Pairing, affine: error of the reference", "%", "none"),
        "pair_error_monotone": ("Pairing, monotone: error of the reference", "%", "none"),
        "pair_bias_lut": ("Pairing by table: mean error of the reference", "%", "none"),
        "pair_bias_affine": ("Pairing, affine: mean error of the reference", "%", "none"),
        "pair_bias_monotone": ("Pairing, monotone: mean error of the reference", "%", "none"),
        "pair_offset_lut": ("Pairing by table: offset from the image", "%", "none"),
        "pair_offset_affine": ("Pairing, affine: offset from the image", "%", "none"),
        "pair_offset_monotone": ("Pairing, monotone: offset from the image", "%", "none"),
        "pair_counts_lut": ("Pairing by table: expected over measured counts", "1", "none"),
        "pair_counts_affine": ("Pairing, affine: expected over measured counts", "1", "none"),
        "pair_counts_monotone": ("Pairing, monotone: expected over measured counts", "1", "none"),
        "pair_deviance_lut": ("Pairing by table: deviance over that of noise", "1", "none"),
        "pair_deviance_affine": ("Pairing, affine: deviance over that of noise", "1", "none"),
        "pair_deviance_monotone": ("Pairing, monotone: deviance over that of noise", "1", "none"),
        "pair_dilution_lut": ("Pairing by table: measured over expected contrast", "1", "none"),
        "pair_dilution_affine": ("Pairing, affine: measured over expected contrast", "1", "none"),
        "pair_dilution_monotone": ("Pairing, monotone: measured over expected contrast", "1", "none"),
    }

    def __init__(self, *, scans: int = 12, knots: int = 12, seed: int = 0) -> None:
        for name, value, low, high in (
            ("scans", scans, 1, 1000),
            ("knots", knots, 2, 256),
            ("seed", seed, 0, 2**31),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(
                    "Unusable setting of the pairings' comparison",
                    where=f"pairing: {name}: {value}",
                    why=f"it must be a whole number from {low} to {high}",
                    fix="correct it, or leave it out for the default",
                )
        self.scans, self.knots, self.seed = scans, knots, seed

    def run_cohort(self, pairs: Iterable[tuple[Example, Volume]], folder: Path) -> list[dict[str, Any]]:
        """The rows described above, pairing.tsv, and what the page shows. 0.1-0.3 s a scan of 256²."""
        groups: dict[tuple[Any, ...], list[Paired]] = {}
        seen: dict[tuple[Any, ...], int] = {}
        problems: list[str] = []
        for example, _ in pairs:
            if any(role not in example for role in self.requires):
                continue
            setting = tuple(example["camera"][name] for name in _SETTING)
            seen[setting] = seen.get(setting, 0) + 1
            if seen[setting] > self.scans:
                continue
            try:
                paired = self.paired(example)
            except SenmeiError as error:
                problems.append(f"{example.scan['scan']}: {error.what}: {error.why}.")
                continue
            own = groups.setdefault(setting, [])
            if own and paired.structure > own[0].structure:  # the one that is drawn comes first
                own.insert(0, paired)
            else:
                own.append(paired)
            for other in own[1:]:
                other.pictures.clear()
        items: list[Item] = []
        for setting, found in groups.items():
            camera = dict(zip(_SETTING, setting, strict=True))
            items += pairing_items(found, camera, self.seed, number=len(items))
        if not groups:
            items.append(Note("No scan of this cohort has a teacher: there is nothing to pair."))
        if problems:
            more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
            items.append(Note(f"Not paired: {problems[0]}{more}", flag=True))
        write_shown(folder, self.title, items)
        every = [paired for found in groups.values() for paired in found]
        told = [
            {"scan": p.scan, "subject": p.subject, "way": way, **numbers}
            for p in every
            for way, numbers in p.numbers.items()
        ]
        write_tsv(Path(folder) / "pairing.tsv", told, _COLUMNS)
        return [
            {"scan": p.scan, "subject": p.subject, "measure": f"pair_{name}_{way}", "value": value}
            for p in every
            for way, numbers in p.numbers.items()
            for name, value in numbers.items()
            if np.isfinite(value)
        ]

    def paired(self, example: Example) -> Paired:
        """One scan, paired in all ways. Raises DataError for what cannot be paired."""
        teacher, low = example["teacher"], example["low"]
        camera = {**example["camera"], "factor": max(1, teacher.shape[0] // low.shape[0])}
        inside = example["mask"].data[..., 0] > 0
        if inside.shape == low.shape[:2]:  # judged on the camera's grid, as with `restore: collimator`
            inside = np.kron(inside, np.ones((camera["factor"],) * 2, bool))
        # marks of a sheet are printed, too, beside the area where images are judged
        area = teacher.like((inside[..., None] | (teacher.data > 0)).astype(np.uint8))
        ways = compare_pairings(teacher, low, camera, area, WAYS, self.knots)
        truth = true_reference(example, camera)
        numbers: dict[str, dict[str, float]] = {}
        for way, found in ways.items():
            n = found.numbers
            numbers[way] = {
                "offset": n.offset_percent,
                "counts": n.counts_ratio,
                "deviance": n.deviance,
                "dilution": n.dilution,
            }
            if truth is not None:
                wrong, mean = (found.reference.data[..., 0] - truth)[inside], float(truth[inside].mean())
                numbers[way]["error"] = 100.0 * float(np.sqrt(np.mean(wrong**2))) / mean
                numbers[way]["bias"] = 100.0 * float(wrong.mean()) / mean
        counts = low.data[..., 0].astype(np.float64)
        pictures = {
            "ways": ways,
            "points": colocated(teacher, low, camera, area),
            "measured": np.kron(counts, np.ones((camera["factor"],) * 2)) / camera["factor"] ** 2,
            "truth": truth,
            "teacher": teacher.data[..., 0],
            "inside": inside,
            "pixel_mm": teacher.voxel[0],
            "background": float(camera.get("background", 0.0)) / camera["factor"] ** 2,
        }
        structure = max(float(counts.var() - counts.mean()), 0.0) / max(float(counts.mean()), 1e-9)
        scan, subject = (str(example.scan[k]) for k in ("scan", "subject"))
        return Paired(scan, subject, structure, numbers, pictures)


def true_reference(example: Example, camera: Mapping[str, Any]) -> np.ndarray | None:
    """(x, y) true counts per pixel of the teacher's grid, of a simulated scan; None where nobody knows them."""
    if "activity" not in example or "expected" not in example:
        return None
    seconds = float(camera["time_s"])
    per_mbq = float(camera["sensitivity"]) * seconds * nuclide(str(camera["nuclide"])).mean_activity(seconds)
    background = float(camera.get("background", 0.0)) / camera["factor"] ** 2
    return np.asarray(example["activity"].data[..., 0], np.float64) * per_mbq + background
