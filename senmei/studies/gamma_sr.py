"""Super-resolution of gamma-camera images: printed activity sheets, imaged coarsely, restored to the teacher's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.seeds import draw_generator
from senmei.core.study import Listed, Row, Study
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import spread_counts
from senmei.studies.gamma_camera import read_cameras
from senmei.studies.gamma_conditions import camera_of, check_conditions, full_ink, other_camera, scans_of
from senmei.studies.gamma_doors import door
from senmei.studies.gamma_sheets import images_of, print_sheets, subjects_of
from senmei.studies.gamma_words import sentences_of

if TYPE_CHECKING:
    from senmei.physics.planar.camera import PlanarCamera


class GammaSR(Study):
    """The planar study. A subject is a source of teachers, an image a printed sheet, a scan a condition of imaging it.

    `low` is what the camera counted, on its own grid; `input` the same counts spread evenly over the reference's
    pixels, as the report's input was; `reference` the teacher with counts per reference pixel, by the pairing that
    `degradation.pairing` names; `expected` is `low` without noise; `high` the same sheet through another collimator.
    With `degradation.restore: collimator` the reference is what that other collimator would show without noise, with
    the counts of this one and on the camera's own grid. `teacher` (grey) and `activity` (MBq a pixel at the start) are
    the registered sheet, for analyses; the group `stack` what a stack's views are reconstructed with, and held against.
    """

    title = "Super-resolution of gamma-camera images"
    groups = {
        "input": ("low", "input", "camera"),
        "truth": ("reference", "mask", "expected"),
        "high": ("high",),
        "sheet": ("teacher", "activity"),
        "stack": ("stack", "stack_labels", "acquisition", "attenuation"),
    }
    laboratory_module = "senmei.studies.gamma_print"
    dataset_module = "senmei.studies.gamma_dataset"
    dataset_groups = ("input", "truth", "sheet")
    conditions = ("time_s", "pixel_mm", "nuclide", "collimator", "distance_mm", "layer_mm")
    subgroups = ("family",)
    primary = ("psnr", "ssim", "count_bias", "roi_count_error")
    figures = {
        "unit": "the counts of full ink",
        "window": (0.0, 1.0),
        "difference": 0.5,
        "planes": ("sheet",),
    }
    sentences = (
        (
            "Teacher images were printed, in simulation, with radioactive ink whose activity follows the grey, and "
            "imaged by a planar gamma camera: collimator and intrinsic resolution at the sheet's distance, septal "
            "penetration, a scattering layer, and Poisson counts. Sources of teachers were split before anything was "
            "imaged; no two splits share one.",
            (
                "Anger HO. Scintillation camera with multichannel collimators. J Nucl Med 1964;5:515-531.",
                "Metz CE, Atkins FB, Beck RN. The geometric transfer function component for scintillation camera "
                "collimators with straight parallel holes. Phys Med Biol 1980;25:1059-1070.",
            ),
        ),
        (
            "Peak signal-to-noise ratio and structural similarity are taken over the printed area; their fixed data "
            "range is the counts of full ink in a pixel of the reference.",
            ("Wang Z, et al. Image quality assessment. IEEE Trans Image Process 2004;13:600-612.",),
        ),
    )

    def participants(self, cohort: Mapping[str, Any]) -> list[Row]:
        """Sources of teachers: a photograph, the template, a torso, a head; or stacks."""
        stacks = door(cohort)
        return stacks.participants(cohort) if stacks else subjects_of(cohort)

    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """One a sheet: a photograph has one, a torso several slices; or a stack."""
        if stacks := door(cohort):
            return stacks.images(participant, cohort)
        return images_of(participant["subject"], participant["family"], int(cohort["slices"]))

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Each condition is a scan: sub-astronaut_acq-600s64pxTc99mLEHR100mm0mm, ...; of measured images their own."""
        if measured := door(cohort):
            return measured.scans(images, cohort, settings)
        return scans_of(images, cohort, settings)

    def settle(self, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Fitted cameras in place of their files' names."""
        return read_cameras(settings, folder)

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Sheets and cameras that cannot be."""
        if measured := door(cohort):
            return measured.check_cohort(cohort, settings)
        subjects_of(cohort)
        check_conditions(cohort, settings)

    def check_method(self, method: Mapping[str, Any], cohort: Mapping[str, Any]) -> None:
        """What cannot be learned from a measured cohort."""
        if measured := door(cohort):
            measured.check_method(method, cohort)

    def folders(self, cohort: Mapping[str, Any]) -> list[str]:
        """A measured cohort's: the door knows."""
        measured = door(cohort)
        return measured.folders(cohort) if measured else super().folders(cohort)

    def words(self, cohorts: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What is true of simulated sheets, of printed ones, and of both."""
        return sentences_of(cohorts.values(), self.sentences)

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed | None:
        """Images that a camera measured."""
        measured = door(cohort)
        return measured.list_files(cohort, folder, seed=seed, log=log) if measured else None

    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any] | None:
        """Raw roles of a measured image."""
        measured = door(cohort)
        return measured.read(image, cohort) if measured else None

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """What a measured image can be held against: the door knows."""
        measured = door(cohort)
        return measured.case(images, cohort) if measured else super().case(images, cohort)

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Printed sheets of one source, or a stack of them."""
        if stacks := door(cohort):
            return stacks.simulate(images, cohort, seed)
        return print_sheets(images, cohort)

    def export(
        self,
        scan: Row,
        restored: Any,
        raw: Callable[[str], Any],
        cohort: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> dict[str, bytes]:
        """NM DICOM of one restored image."""
        from senmei.studies.gamma_export import export_scan

        return export_scan(scan, restored, raw, cohort, facts)

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of a group; `low`, wherever it is needed, is the one acquisition that the scan's seed draws."""
        if measured := door(cohort):
            roles, columns = measured.prepare(group, scan, raw, cohort, settings, seed)
            own = {role: value for role, value in roles.items() if role in self.groups[group]}
            return own, {**_family(scan), **columns}
        from senmei.physics.planar.camera import draw_counts

        activity = raw(scan["image"], "activity")
        if group == "sheet":
            return {"teacher": raw(scan["image"], "teacher"), "activity": activity}, _family(scan)
        camera = camera_of(scan, cohort, settings)
        if group == "high":
            expected = other_camera(scan, cohort, settings).expected(activity)
            return {"high": _counts(draw_counts(expected, draw_generator(seed, "high", scan["scan"])))}, {}
        expected = camera.expected(activity)
        low = draw_counts(expected, draw_generator(seed, "counts", scan["scan"]))
        fine = settings["restore"] == "teacher"
        factor = int(cohort["size"]) // int(scan["matrix"]) if fine else 1
        columns = {"counts": int(low.data.sum(dtype=np.int64)), "counts_max": float(expected.data.max())}
        columns |= _family(scan)
        if group == "input":
            grid = activity if fine else low
            shown = grid.like(spread_counts(low.data[..., 0], factor)[..., None])
            return {"low": _counts(low), "input": shown, "camera": camera.role(factor)}, columns
        teacher, mask = raw(scan["image"], "teacher"), raw(scan["image"], "mask")
        white = full_ink(camera, cohort, activity.voxel[0])
        if fine:
            reference, span, told = paired(
                teacher, mask, activity, low, camera, factor, settings["pairing"], white
            )
        else:
            reference, mask = _translated(expected, mask, other_camera(scan, cohort, settings), activity)
            span, told = white * (int(cohort["size"]) // int(scan["matrix"])) ** 2, {}
        roles = {"reference": reference, "mask": mask, "expected": expected}
        return roles, {**columns, **told, "data_range": span}


def paired(
    teacher: Volume,
    mask: Volume,
    activity: Volume,
    low: Volume,
    camera: PlanarCamera,
    factor: int,
    way: str,
    white: float,
) -> tuple[Volume, float, Row]:
    """(reference, its data range, columns): the teacher with counts per pixel of its own grid.

    way : `known` (`auto`), the simulated activity times the camera's counts per MBq, exact; or one of
    `senmei.physics.planar.pairing`, from the noisy image alone, as of measured sheets. white : counts of full ink.
    """
    if way in ("known", "auto"):
        share = camera.background_counts / factor**2
        counts = activity.data.astype(np.float64) * camera.counts_per_mbq + share
        return activity.like(counts.astype(np.float32)), white, {}
    from senmei.physics.planar.pairing import match_counts

    found = match_counts(teacher, low, camera.role(factor), mask, way)
    numbers = found.numbers.to_dict()
    told = {f"pairing_{k}": float(v) for k, v in numbers.items() if k in ("offset_percent", "deviance")}
    return found.reference, float(found.reference.data.max()), told


def _translated(
    expected: Volume, mask: Volume, other: PlanarCamera, activity: Volume
) -> tuple[Volume, Volume]:
    """What another collimator would show, with the counts of this one, and the printed area on the camera's grid."""
    seen = other.expected(activity)
    scale = expected.data.sum(dtype=np.float64) / seen.data.sum(dtype=np.float64)
    n, m = mask.shape[0], expected.shape[0]
    inside = mask.data[..., 0].reshape(m, n // m, m, n // m).min(axis=(1, 3))
    return seen.like((seen.data * scale).astype(np.float32)), expected.like(inside[..., None].copy())


def _family(scan: Row) -> Row:
    """For methods that learn from some families of teachers alone."""
    return {"family": scan["family"]} if scan.get("family") else {}


def _counts(volume: Volume) -> Volume:
    return volume.like(volume.data.astype(np.float32))
