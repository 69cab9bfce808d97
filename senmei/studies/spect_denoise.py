"""Myocardial-perfusion SPECT denoised without a clean image: simulated torsos, judged as a physician would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.cohorts import with_entity
from senmei.core.errors import ConfigError
from senmei.core.seeds import unit_interval
from senmei.core.study import Listed, Row, Study
from senmei.studies.spect_acquisitions import scattered
from senmei.studies.spect_files import grid_volume, map_of, measured
from senmei.studies.spect_phantoms import builtin, phantom_kind
from senmei.studies.spect_words import RECONSTRUCTED, SIMULATED


class SPECTDenoise(Study):
    """The emission study. Each dose is a scan of one torso; what learns sees pairs of noisy scans and nothing else."""

    title = "Myocardial-perfusion SPECT denoising"
    groups = {
        "input": ("input", "mask"),
        "pair": ("noisy", "repeat"),
        "truth": ("reference", "myocardium", "labels", "segments", "heart"),
        "projections": ("projections", "attenuation", "acquisition", "reconstruction"),
        "projection_pair": ("noisy_projections", "repeat_projections"),
    }
    conditions = ("dose",)
    phantom_module = "senmei.studies.spect_phantoms"
    engine_module = "senmei.studies.spect_simind"
    primary = ("nrmse", "wall_thickness_error", "defect_recovery", "auc")
    figures = {"colour": "nuclear", "tradeoff": ("liver_noise", "added_blur")}
    sentences = (SIMULATED, RECONSTRUCTED)

    def __init__(self) -> None:
        self._kept: dict[
            str, Any
        ] = {}  # of the job: its projectors, the last image's reconstruction and reference

    def words(self, cohorts: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Simulated torsos are not patients, and the other way round."""
        from senmei.studies.spect_words import sentences_of

        return sentences_of(cohorts.values())

    # ---- who ----
    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """One raw image a subject; two of the same torso, without and with a defect, for `defects: both`."""
        subject, kind = participant["subject"], cohort["defects"]
        if kind == "both":
            return [
                {"image": f"{subject}_acq-{name}", "subject": subject, "repeat": n + 1, "defect": n}
                for n, name in enumerate(("normal", "defect"))
            ]
        drawn = kind == "random" and unit_interval("defect", subject) < float(cohort["defect_share"])
        return [{"image": subject, "subject": subject, "repeat": 1, "defect": int(drawn)}]

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Each dose is a scan: sub-001_acq-dose25, ..."""
        if settings["pairs"] == "gated" and not measured(cohort) and int(cohort["phases"]) < 2:
            raise ConfigError(
                "There are no gates to pair",
                where="degradation.pairs: gated",
                why=f"a cohort has `phases: {cohort['phases']}`",
                fix="set `phases:` of the cohort to 2 or more, or `pairs:` to thinning",
            )
        rows = []
        for image in images:
            for dose in cohort.get("doses") or settings["doses"]:
                tag = f"dose{100 * float(dose):g}".replace(".", "p")
                rows.append({"scan": with_entity(image["image"], "acq", tag), **image, "dose": float(dose)})
        return rows

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Pairs and reconstructions that acquisitions of patients cannot give."""
        from senmei.studies.spect_engines import check_simulated
        from senmei.studies.spect_files import check_measured

        if measured(cohort):
            check_measured(cohort, settings)
        else:
            check_simulated(cohort)
            if settings["reconstruction"]["scatter"] == "window":
                raise ConfigError(
                    "There are no energy windows to tell the scatter",
                    where="degradation.reconstruction.scatter: window",
                    why="simulated acquisitions have the photopeak alone",
                    fix="set it to true or false, or leave the simulated cohorts out",
                )

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed | None:
        """A clinic's folder of acquisitions and their attenuation maps; or a folder of phantoms."""
        from senmei.studies.spect_listing import list_acquisitions
        from senmei.studies.spect_phantoms import list_phantoms

        return list_acquisitions(cohort, folder, log) if measured(cohort) else list_phantoms(cohort)

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """Phantoms that are files have an exact truth; patients have none."""
        if measured(cohort):
            return super().case(images, cohort)
        return "phantom", "Simulated from phantoms of others: the truth is exact."

    # ---- programs of others that simulate ----
    def listed(self, cohort: Mapping[str, Any]) -> bool:
        """Acquisitions and phantoms that are files."""
        return super().listed(cohort) or phantom_kind(cohort) == "file"

    def seeds(self, cohort: Mapping[str, Any]) -> int | None:
        """SIMIND's; none for phantoms of others before our own projector."""
        if measured(cohort) or (builtin(cohort) and phantom_kind(cohort) == "torso"):
            return None
        return 0 if builtin(cohort) else int(cohort["seeds"])

    def check_programs(self, cohort: Mapping[str, Any]) -> None:
        """SIMIND and XCAT, where a cohort asks for them."""
        from senmei.studies.spect_engines import check_programs

        if not measured(cohort):
            check_programs(cohort)

    def engine_settings(self, cohort: Mapping[str, Any], part: str) -> dict[str, Any]:
        """Phantoms depend on the anatomy, runs on the camera; neither on doses."""
        from senmei.studies.spect_engines import settings_of

        return settings_of(cohort, part)

    def engine_minutes(self, cohort: Mapping[str, Any]) -> float:
        """The cohort's own limit, for each gate."""
        return float(cohort["simind"]["minutes"]) * int(cohort["phases"])

    def render(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Maps of one subject's images for an engine."""
        from senmei.studies.spect_phantoms import render_patient

        return render_patient(images, cohort, seed)

    def run_engine(
        self,
        image: Row,
        phantom: Callable[[str], Any],
        cohort: Mapping[str, Any],
        *,
        number: int,
        seed: int,
        minutes: float,
        folder: Path,
    ) -> tuple[dict[str, Any], Row]:
        """One seed of SIMIND."""
        from senmei.studies.spect_simind import run_patient

        return run_patient(image, phantom, cohort, number=number, seed=seed, minutes=minutes, folder=folder)

    def gather(
        self,
        image: Row,
        phantom: Callable[[str], Any],
        runs: Sequence[tuple[Callable[[str], Any], Row]],
        cohort: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The photons that an engine expects, looked at as a camera's files would be."""
        from senmei.studies.spect_engines import gather_patient

        made = gather_patient(image, phantom, runs, cohort, self._projectors())
        self.accept(image["image"], made, counted=False)
        return made

    # ---- raw ----
    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any] | None:
        """The counts of a patient's acquisition, looked at."""
        from senmei.studies.spect_files import read_acquisition

        if not measured(cohort):
            return None
        roles, columns = read_acquisition(image, cohort)
        found = self.accept(image["image"], roles, counted=True)
        heart = " ".join(f"{mm:g}" for mm in found["heart_mm"])
        return {**roles, "columns": {**columns, "direction": found["direction"], "heart_mm": heart}}

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Torso of one subject and the photons to expect, looked at as a camera's files would be."""
        made = self.acquire(images, cohort, seed)
        for image, roles in made.items():
            self.accept(image, roles, counted=False)
        return made

    def acquire(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Raw roles of one subject before anyone has looked at them."""
        from senmei.studies.spect_patients import simulate_patient

        return simulate_patient(images, cohort, seed, self._projectors())

    def accept(self, image: str, roles: Mapping[str, Any], *, counted: bool) -> Row:
        """Look at an acquisition however it came; DataError naming the image for what cannot be used."""
        from senmei.physics.spect.checks import check_acquisition
        from senmei.physics.spect.geometry import Acquisition

        projections = roles["projections"].data
        if projections.ndim == 4:
            projections = projections.sum(axis=3)
        acquisition = Acquisition.from_dict(roles["acquisition"])
        return check_acquisition(
            projections, acquisition, roles.get("attenuation"), roles.get("labels"), image, counted=counted
        )

    # ---- back ----
    def export(
        self,
        scan: Row,
        restored: Any,
        raw: Callable[[str], Any],
        cohort: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> dict[str, bytes]:
        """NM DICOM or Interfile of one restored scan."""
        from senmei.studies.spect_export import export_scan

        return export_scan(scan, restored, raw, cohort, facts)

    # ---- roles ----
    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of a group. All groups of a scan are made of the one acquisition that its seed draws."""
        from senmei.physics.spect.heart_region import find_heart
        from senmei.studies.spect_acquisitions import acquired, paired

        def own(role: str) -> Any:
            return raw(scan["image"], role)

        if group == "truth":  # of a patient nobody knows it
            return ({}, {}) if measured(cohort) else self._truth(scan, own, cohort, settings)
        mean, grid = own("projections"), grid_volume(own)
        parts = acquired(mean.data, scan, cohort, settings, seed)
        counts = parts.sum(axis=0, dtype=np.int32)
        columns: Row = {"counts": int(counts.sum(dtype=np.int64))}
        if group == "input":
            (image,) = self._images(counts[None], np.ones(1), scan, own, cohort, settings, seed)
            region = find_heart(grid.like(image), scan["scan"])
            mask = grid.like(region.mask.astype(np.uint8))
            return {"input": grid.like(image), "mask": mask}, {**columns, "scale": region.level}
        if group == "projections":
            return {
                "projections": mean.like(counts),
                "attenuation": grid,  # without a map all zero: nothing models it
                "acquisition": own("acquisition"),
                "reconstruction": {**settings["reconstruction"], "unit": self._unit(scan, own, cohort)},
            }, columns
        noisy, repeat, *shares = paired(mean.data, parts, scan, cohort, settings, seed)
        columns["pair_counts"] = int(noisy[0].sum())
        if group == "projection_pair":
            return {
                "noisy_projections": mean.like(np.moveaxis(noisy, 0, -1)),
                "repeat_projections": mean.like(np.moveaxis(repeat, 0, -1)),
            }, columns
        acquisitions = np.concatenate([counts[None], noisy, repeat])
        exposures = np.concatenate([[1.0], *shares])
        images = self._images(acquisitions, exposures, scan, own, cohort, settings, seed)
        columns["scale"] = find_heart(grid.like(images[0]), scan["scan"]).level
        k = len(noisy)
        return {
            "noisy": grid.like(np.moveaxis(images[1 : 1 + k], 0, -1)),
            "repeat": grid.like(np.moveaxis(images[1 + k :], 0, -1)),
        }, columns

    def _projectors(self) -> Any:
        from senmei.physics.spect.imaging import Projectors

        if "projectors" not in self._kept:
            self._kept["projectors"] = Projectors()
        return self._kept["projectors"]

    def _imaging(self, scan: Row, own: Callable[[str], Any], settings: Mapping[str, Any]) -> Any:
        """The reconstruction of a raw image, kept for its next scan."""
        from senmei.physics.spect.geometry import Acquisition
        from senmei.physics.spect.imaging import Imaging

        if self._kept.get("image") != scan["image"]:
            acquisition, mu = Acquisition.from_dict(own("acquisition")), map_of(own)
            values = None if mu is None else mu.data
            imaging = Imaging(acquisition, values, settings["reconstruction"], self._projectors())
            self._kept |= {"image": scan["image"], "imaging": imaging, "reference": None}
        return self._kept["imaging"]

    def _unit(self, scan: Row, own: Callable[[str], Any], cohort: Mapping[str, Any]) -> float:
        from senmei.physics.spect.geometry import Acquisition
        from senmei.physics.spect.imaging import photons_of_unit_uptake

        acquisition = Acquisition.from_dict(own("acquisition"))
        counts = float(scan["full_counts"] if measured(cohort) else cohort["counts"])
        return photons_of_unit_uptake(counts * float(scan["dose"]), acquisition)

    def _images(
        self,
        acquisitions: np.ndarray,
        shares: np.ndarray,
        scan: Row,
        own: Callable[[str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> np.ndarray:
        """(n, x, y, z) images of (n, u, v, view) counts, each distinct acquisition reconstructed once.

        shares : of the scan's exposure that each had; all images come out in the unit of the whole one.
        """
        keys = [one.tobytes() for one in acquisitions]
        first = [keys.index(key) for key in keys]
        chosen = sorted(set(first))
        recipe, scatter = settings["reconstruction"], None
        if recipe["method"] == "osem" and recipe["scatter"] == "window":
            scatter = scattered(own, first, shares, scan, seed)
        images = self._imaging(scan, own, settings).reconstruct(acquisitions[chosen], scatter=scatter)
        units = self._unit(scan, own, cohort) * shares[chosen]
        images /= units.astype(np.float32)[:, None, None, None]
        return images[[chosen.index(n) for n in first]]

    def _truth(
        self, scan: Row, own: Callable[[str], Any], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Row]:
        """What noise took away: the same reconstruction of what the camera can expect, the same for every dose.

        Of a phantom that came without segments and heart, what would be asked of them is not.
        """
        from scipy import ndimage

        from senmei.physics.spect.heart_region import find_heart

        segments, heart = _known(own, "segments"), _known(own, "heart")
        known = {"labels": _known(own, "labels"), "segments": segments, "heart": heart}
        imaging = self._imaging(scan, own, settings)
        if self._kept["reference"] is None:
            mean = own("projections").data
            mean = mean.sum(axis=3) if mean.ndim == 4 else mean
            unit = self._unit({**scan, "dose": 1.0}, own, cohort)
            self._kept["reference"] = imaging.reconstruct(mean * np.float32(cohort["counts"]), unit)
        reference = grid_volume(own).like(self._kept["reference"])
        roles = {
            "reference": reference,
            **{name: value for name, value in known.items() if value is not None},
        }
        if segments is None or heart is None:
            return roles, {"data_range": find_heart(reference, scan["scan"]).level}
        wall = segments.data > 0
        cold = (heart.get("defect") or {}).get("segments", ())
        normal = wall & ~np.isin(segments.data, list(cold))
        level = float(np.median(reference.data[normal if normal.any() else wall]))
        around = ndimage.binary_dilation(wall, ndimage.generate_binary_structure(3, 1))
        roles["myocardium"] = segments.like(around.astype(np.uint8))
        return roles, {"data_range": level}


def _known(own: Callable[[str], Any], role: str) -> Any:
    """A raw role of an image; None where it came without."""
    try:
        return own(role)
    except KeyError:
        return None
