"""Is the camera what the simulation takes it for? Its response fitted to sheets of known activity, and judged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from senmei.analyses.degradation_sheets import Sheet, known_numbers, sheet_of, tag_of
from senmei.analyses.degradation_tables import fit_items, z_of
from senmei.core.analysis import Analysis
from senmei.core.errors import ConfigError, SenmeiError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.atomic import write_text
from senmei.io.shown import Item, Note, write_shown
from senmei.physics.planar.fit import CameraFit, fit_camera
from senmei.physics.planar.fit_model import NAMES
from senmei.physics.planar.fitted import FittedCamera
from senmei.physics.planar.tone import fit_tone

SCATTER, TONES = ("layer", "fit", "none"), ("auto", "fit", "given")
MEASURE = dict(
    zip(
        NAMES,
        ("fit_fwhm", "fit_scatter", "fit_scatter_fwhm", "fit_sensitivity", "fit_background"),
        strict=True,
    )
)


class DegradationFit(Analysis):
    """The camera's resolution, scatter, sensitivity and background, fitted to the cohort's sheets.

    scatter : 'layer' fits scatter where a layer is on the sheet and holds it at none in air, where a second Gaussian
        would only describe the first one's shape; 'fit' always, 'none' never. sheets : of one setting, at most that
        many, those with most activity times time. tone : 'fit' finds the exponent of ink against grey as well, 'given'
        takes the activity as it is, 'auto' fits it for measured sheets, whose printer nobody knows to be linear.

    One fit a setting of the camera (nuclide, collimator, distance, layer, pixel), of all times together, by Poisson
    likelihood (`senmei.physics.planar.fit`). Penetration of the septa is not fitted: it is the one that the camera's
    description has. Where no activity is known, the sensitivity is the computed one and not fitted; a cohort without
    teachers, such as patients', has no fit.

    Rows a setting, repeated for each of its times: the numbers of `MEASURE` with `_low` and `_high` (1.96 standard
    errors), fit_chi2 and fit_block_chi2 (1 where only counting noise is left), fit_lack (largest z of the three tests
    of `Goodness`; below 4 the model is good), fit_misfit; of simulated sheets fit_recovery, the largest distance of a
    number from its true value in standard errors. camera_{setting}.json holds the numbers, for `degradation.camera`.
    """

    scope = "cohort"
    methods = ("input",)
    requires = ("low", "camera")
    uses = ("teacher", "activity", "expected")
    title = "Degradation model"
    sentence = (
        "Resolution, scatter, sensitivity and background of the camera were fitted to the images of sheets of known "
        "activity by Poisson likelihood, and judged by Pearson's chi-squared over pixels and over blocks of two "
        "resolutions, and by the correlation of neighbouring residuals."
    )
    references = (
        "Jørgensen B. The delta algorithm and GLIM. Int Stat Rev 1984;52:283-300.",
        "Cash W. Parameter estimation in astronomy through application of the likelihood ratio. "
        "Astrophys J 1979;228:939-947.",
    )
    MEASURES = {
        "fit_fwhm": ("Resolution (FWHM), fitted", "mm", "none"),
        "fit_fwhm_low": ("Resolution (FWHM), fitted, lower 95 % limit", "mm", "none"),
        "fit_fwhm_high": ("Resolution (FWHM), fitted, upper 95 % limit", "mm", "none"),
        "fit_scatter": ("Scatter fraction, fitted", "1", "none"),
        "fit_scatter_low": ("Scatter fraction, fitted, lower 95 % limit", "1", "none"),
        "fit_scatter_high": ("Scatter fraction, fitted, upper 95 % limit", "1", "none"),
        "fit_scatter_fwhm": ("Spread of scatter (FWHM), fitted", "mm", "none"),
        "fit_scatter_fwhm_low": ("Spread of scatter (FWHM), fitted, lower 95 % limit", "mm", "none"),
        "fit_scatter_fwhm_high": ("Spread of scatter (FWHM), fitted, upper 95 % limit", "mm", "none"),
        "fit_sensitivity": ("Sensitivity, fitted", "cps/MBq", "none"),
        "fit_sensitivity_low": ("Sensitivity, fitted, lower 95 % limit", "cps/MBq", "none"),
        "fit_sensitivity_high": ("Sensitivity, fitted, upper 95 % limit", "cps/MBq", "none"),
        "fit_background": ("Background, fitted", "cps/cm²", "none"),
        "fit_background_low": ("Background, fitted, lower 95 % limit", "cps/cm²", "none"),
        "fit_background_high": ("Background, fitted, upper 95 % limit", "cps/cm²", "none"),
        "fit_tone": ("Ink against grey, exponent", "1", "none"),
        "fit_tone_low": ("Ink against grey, exponent, lower 95 % limit", "1", "none"),
        "fit_tone_high": ("Ink against grey, exponent, upper 95 % limit", "1", "none"),
        "fit_chi2": ("Fit: chi² per pixel", "1", "one"),
        "fit_block_chi2": ("Fit: chi² per block of two resolutions", "1", "one"),
        "fit_misfit": ("Fit: error beyond counting noise", "%", "zero"),
        "fit_lack": ("Fit: largest z of its tests", "1", "none"),
        "fit_recovery": ("Fit: largest distance from the truth in standard errors", "1", "none"),
    }
    LIMITS = {"fit_lack": 4.0, "fit_recovery": 4.0}

    def __init__(self, *, scatter: str = "layer", tone: str = "auto", sheets: int = 24) -> None:
        whole = isinstance(sheets, int) and not isinstance(sheets, bool)
        for name, value, good, wanted in (
            ("scatter", scatter, scatter in SCATTER, f"one of {', '.join(SCATTER)}"),
            ("tone", tone, tone in TONES, f"one of {', '.join(TONES)}"),
            ("sheets", sheets, whole and 1 <= sheets <= 1000, "a whole number from 1 to 1000"),
        ):
            if not good:
                raise ConfigError(
                    "Unusable setting of the degradation model's fit",
                    where=f"degradation_fit: {name}: {value}",
                    why=f"it must be {wanted}",
                    fix="correct it, or leave it out for the default",
                )
        self.scatter, self.tone, self.sheets = scatter, tone, sheets

    def run_cohort(self, pairs: Iterable[tuple[Example, Volume]], folder: Path) -> list[dict[str, Any]]:
        """The rows described above, camera files and what the page shows. 0.1 s a setting of six sheets of 64²."""
        groups: dict[str, tuple[dict[str, Any], list[Sheet]]] = {}
        times: dict[str, dict[float, Mapping[str, Any]]] = {}  # tag -> time -> a scan of it
        for example, _ in pairs:
            if (sheet := sheet_of(example)) is None:
                continue
            camera = dict(example["camera"])
            tag = tag_of(camera)
            known, sheets = groups.setdefault(tag, (camera | {"simulated": "expected" in example}, []))
            known["simulated"] &= "expected" in example
            sheets.append(sheet)
            sheets.sort(key=lambda s: (not s.known, -s.exposure))
            del sheets[self.sheets :]
            times.setdefault(tag, {}).setdefault(sheet.pair.time_s, example.scan)
        for old in Path(folder).glob("camera_*.json"):
            old.unlink()
        items: list[Item] = []
        rows: list[dict[str, Any]] = []
        for tag, (camera, sheets) in groups.items():
            found, shown = self._fitted(Path(folder), tag, camera, sheets)
            items += shown
            for scan in times[tag].values():
                named = {"scan": scan["scan"], "subject": scan["subject"]}
                rows += [{**named, "measure": name, "value": value} for name, value in found.items()]
        if not groups:
            items.append(
                Note("No scan of this cohort has a sheet that is known: there is nothing to fit a camera to.")
            )
        write_shown(folder, self.title, items)
        return rows

    def _fitted(
        self, folder: Path, tag: str, camera: dict[str, Any], sheets: list[Sheet]
    ) -> tuple[dict[str, float], list[Item]]:
        """Numbers of one setting, and what is shown of it; its camera's file is written."""
        hold = self.scatter == "none" or (self.scatter == "layer" and float(camera["layer_mm"]) == 0.0)
        tail = float(camera.get("penetration_fraction", 0.0)), float(camera.get("penetration_fwhm_mm", 0.0))
        known = any(sheet.known for sheet in sheets)
        pairs = tuple(sheet.pair for sheet in sheets if sheet.known == known)
        how = str(camera["nuclide"]), {"scatter_fraction": 0.0} if hold else {}, tail
        tone: tuple[float, float] | None = None
        try:
            if self.tone == "fit" or (self.tone == "auto" and not camera["simulated"]):
                fit, pairs, *found = fit_tone(pairs, *how)
                tone = found[0], found[1]
            else:
                fit = fit_camera(pairs, *how)
        except SenmeiError as error:
            return {}, [Note(f"{tag}: {error.what}: {error.why}.", flag=True)]
        truth = known_numbers(camera)
        if not known:
            fit = without_sensitivity(fit, truth)
        file = f"camera_{tag}.json"
        told = {
            **FittedCamera.of(fit, camera).to_dict(),
            **{k: v for k, v in _finite(fit.to_dict()).items() if k != "values"},
            "fitted": fit.values,
            "known": truth if camera["simulated"] else None,
            "good": fit.goodness.good,
            "simulated": camera["simulated"],
            "sheets": len(pairs),
            "activity_known": known,
            "tone": _finite(list(tone)) if tone else None,
            "pixel_mm": camera["pixel_mm"],
        }
        write_text(folder / file, json.dumps(told, indent=1, sort_keys=True, allow_nan=False) + "\n")
        numbers = _numbers(fit, truth, simulated=camera["simulated"])
        if tone is not None:
            numbers["fit_tone"] = tone[0]
            if math.isfinite(tone[1]):
                numbers |= {
                    f"fit_tone_{end}": tone[0] + z * tone[1] for end, z in (("low", -1.96), ("high", 1.96))
                }
        return numbers, fit_items(fit, pairs, camera, truth, tag, file, tone)


def without_sensitivity(fit: CameraFit, truth: Mapping[str, float]) -> CameraFit:
    """The fit with the camera's computed sensitivity, as one that was given: no activity tells another."""
    name = NAMES[3]
    free = tuple(other for other in fit.free if other != name)
    keep = [i for i, other in enumerate(fit.free) if other != name]
    return replace(
        fit,
        values={**fit.values, name: truth[name]},
        errors={**fit.errors, name: 0.0},
        free=free,
        correlation=fit.correlation[np.ix_(keep, keep)],
    )


def _numbers(fit: CameraFit, truth: Mapping[str, float], *, simulated: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in fit.free:
        found[MEASURE[name]] = fit.values[name]
        if math.isfinite(error := fit.errors[name]):
            found[f"{MEASURE[name]}_low"] = fit.values[name] - 1.96 * error
            found[f"{MEASURE[name]}_high"] = fit.values[name] + 1.96 * error
    g = fit.goodness
    found |= {"fit_chi2": g.chi2_per_dof, "fit_block_chi2": g.block_chi2, "fit_misfit": 100.0 * g.misfit}
    found["fit_lack"] = max(g.chi2_z, g.block_z, abs(g.lag1_z))
    z = z_of(fit, truth)
    return found | ({"fit_recovery": max(map(abs, z.values()))} if simulated and z else {})


def _finite(value: Any) -> Any:
    """The same with None for what is not finite, as JSON has no such numbers."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
