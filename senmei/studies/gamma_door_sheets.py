"""`source: sheets` of the study `gamma_sr`: teachers that were really printed, and a camera's images of the prints.

A scan is registered to its page by the printed marks when it is ingested; the teacher is brought to the counts, never
the counts to the teacher. How the counts follow from the grey is found in the scan itself (`degradation.pairing`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError, DataError
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import spread_counts
from senmei.studies.gamma_camera import check_fitted
from senmei.studies.gamma_conditions import camera_of
from senmei.studies.gamma_doors import Door
from senmei.studies.gamma_pages import check_pages, layout_of
from senmei.studies.gamma_scan_files import list_scans

if TYPE_CHECKING:
    from senmei.physics.planar.camera import PlanarCamera

# to look for marks of about that width, before a camera was fitted
_USUAL: Mapping[str, Any] = {"intrinsic_fwhm_mm": 3.8, "background_cps_per_cm2": 0.0, "camera": None}
_ALIKE = 0.5  # least correlation, counting noise taken off, of a scan with the page that it is said to show


class SheetDoor(Door):
    """Scans of printed sheets: `low`, `input`, `camera`; `reference`, `mask`; `teacher`, `activity`. No `expected`."""

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Sheets that cannot be, and what is only known of simulated ones."""
        if settings["pairing"] == "known":
            raise ConfigError(
                "The counts of measured sheets are not known",
                where="degradation.pairing: known",
                why="only a simulation knows how many counts a grey gives; of a printed sheet its scan must tell",
                fix="leave `pairing` at auto (monotone for them, known for simulated sheets), or choose lut or affine",
            )
        if settings["restore"] != "teacher":
            raise ConfigError(
                "What another collimator would show of a measured sheet is not known",
                where=f"degradation.restore: {settings['restore']}",
                why="the reference would be its image without noise, which only a simulation has",
                fix="set `restore: teacher`, or take simulated sheets",
            )
        check_pages(cohort)

    def check_method(self, method: Mapping[str, Any], cohort: Mapping[str, Any]) -> None:
        """One that draws counts of its own has nothing to draw them of."""
        if method.get("fresh_noise"):
            raise ConfigError(
                "There is nothing to draw new counts of",
                where="fresh_noise",
                why="it needs each scan without noise, and measured ones were counted once",
                fix="set `fresh_noise: false`; or train on simulated sheets, and give this cohort `use: test`",
            )

    def folders(self, cohort: Mapping[str, Any]) -> list[str]:
        """Those of scans and, where there is one, of pictures."""
        return [str(cohort["path"]), *([str(cohort["pictures"])] if cohort["pictures"] is not None else [])]

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed:
        """See `list_scans`."""
        return list_scans(cohort, folder, log)

    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any]:
        """Raw roles of one scan, on the grids that `bin` and `factor` say, cut to what the marks enclose.

        low : (n, n, 1) float32, counts of added camera pixels, corrected for uniformity where a flood is given.
        teacher : (n factor, n factor, 1) float32, grey 0..1 where it lies in the image, marks included; mask : uint8,
        1 where the picture was printed; ink : uint8, marks included. Columns: `residual_mm`, `expected_mm`,
        `shift_x_mm`, `shift_y_mm`, `angle_deg`, `scale` and `marks` of the registration; `likeness`; `correction`, of
        dead time and decay, by which the counts are still to be multiplied.
        Raises DataError as `register_sheet`, and for a scan that does not look like its page.
        """
        from senmei.io.roles import load_role
        from senmei.lab.registration import register_sheet, teacher_in_image
        from senmei.lab.scans import added, middle
        from senmei.physics.planar.corrections import correct_uniformity, uniformity_factors

        where, layout, factor = _where(image), layout_of(cohort), int(cohort["factor"])
        counts = load_role(Path(image["path"]))
        camera = scan_camera(image, counts, _USUAL)
        lies = register_sheet(
            counts,
            layout,
            camera.psf_fwhm_mm,
            limit_mm=float(cohort["limit_mm"]),
            turn_limit_deg=float(cohort["turn_limit_deg"]),
            where=where,
        )
        correction = _correction(image, counts, cohort)
        if image.get("flood_path"):
            flood = load_role(Path(image["flood_path"]))
            counts = correct_uniformity(counts, uniformity_factors(flood))
        # no further than a mark spreads: what is printed below them is ink as well, but no teacher's
        reach = float(np.abs(lies.to_image(layout.spots)).max()) + layout.spot_mm / 2 + camera.psf_fwhm_mm
        low = middle(added(counts, int(image["bin"])), reach)
        low = low.like(low.data.astype(np.float32))
        placed = teacher_in_image(_teacher(image, cohort), layout, lies, low, factor)
        likeness = _likeness(placed.teacher, low, scan_camera(image, low, _USUAL), placed.mask)
        if likeness < _ALIKE:
            raise DataError(
                "This scan does not look like its page",
                where=where,
                why=f"its counts go with the greys of page {image['page']} by a correlation of {likeness:.2f}, noise "
                f"taken off; {_ALIKE:g} are asked for",
                fix="correct the page in scans.tsv; or look whether the sheet was printed as a negative",
            )
        shift = dict(zip(("shift_x_mm", "shift_y_mm"), lies.shift_mm, strict=True))
        told = {k: getattr(lies, k) for k in ("residual_mm", "expected_mm", "angle_deg", "scale", "marks")}
        columns = {**told, **shift, "likeness": likeness, "correction": correction}
        roles = {"low": low, "teacher": placed.teacher, "mask": placed.mask, "ink": placed.printed}
        return {**roles, "columns": columns}

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """`low`, `input`, `camera`; or `reference` and `mask`; or `teacher`, and `activity` where the table has it;
        no other collimator's image.

        Pairing sees the counts as they were counted; `correction` then multiplies image and reference alike. Raises
        ConfigError where `degradation.camera` names fitted cameras, and none of them was fitted at the scan's setting.
        """
        if group == "high":
            return {}, {}
        check_fitted(scan, settings)
        factor, image = int(cohort["factor"]), scan["image"]
        low, teacher = raw(image, "low"), raw(image, "teacher")
        camera, correction = scan_camera(scan, low, settings), float(scan["correction"])
        role = camera.role(factor)
        shown = low.like((low.data * correction).astype(np.float32))
        columns: Row = {
            "counts": float(shown.data.sum(dtype=np.float64)),
            "counts_max": float(shown.data.max()),
            "correction": correction,
        }
        if group == "input":
            spread = spread_counts(shown.data[..., 0], factor)
            role["background"] *= correction
            return {"low": shown, "input": teacher.like(spread[..., None]), "camera": role}, columns
        if group == "truth":
            from senmei.physics.planar.pairing import match_counts

            way = "monotone" if settings["pairing"] == "auto" else settings["pairing"]
            found = match_counts(teacher, low, role, raw(image, "ink"), way)
            reference = teacher.like((found.reference.data * correction).astype(np.float32))
            told = {f"pairing_{k}": float(getattr(found.numbers, k)) for k in ("offset_percent", "deviance")}
            told |= {k: scan[k] for k in ("residual_mm", "expected_mm")}
            columns |= {**told, "data_range": float(reference.data.max())}
            return {"reference": reference, "mask": raw(image, "mask")}, columns
        roles = {"teacher": teacher}
        # ink follows grey as far as the printer's curve is right; counts corrected to the calibration go with none
        if (scan.get("mbq") or 0) > 0 and not cohort["corrections"]["decay"]:
            share = teacher.data / teacher.data.sum(dtype=np.float64)
            roles["activity"] = teacher.like((share * float(scan["mbq"])).astype(np.float32))
        return roles, {}

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """Measured, with a reference that is the printed teacher."""
        pages = len({image["page"] for image in images})
        return "printed", (
            f"{len(images)} scans of {pages} printed pages: the reference is the teacher, registered by the printed "
            "marks and brought to the counts of the scan itself."
        )


def scan_camera(scan: Row, image: Volume, settings: Mapping[str, Any]) -> PlanarCamera:
    """The camera of a scan whose image has this grid."""
    n, pixel = image.shape[0], image.voxel[0]
    return camera_of({**scan, "matrix": n}, {"size": n, "pixel_mm": pixel}, settings)


def _where(image: Row) -> str:
    return f"{image['image']}, line {image['line']} of scans.tsv"


def _teacher(image: Row, cohort: Mapping[str, Any]) -> Volume:
    """Grey (size, size, 1) of the page, as it was printed."""
    if image.get("teacher_path"):
        from senmei.io.roles import load_role

        teacher: Volume = load_role(Path(image["teacher_path"]))
        return teacher
    from senmei.phantoms.teachers import load_teacher

    return load_teacher(image["teacher"], int(cohort["layout"]["size"]), float(cohort["layout"]["pixel_mm"]))


def _correction(image: Row, counts: Volume, cohort: Mapping[str, Any]) -> float:
    """What dead time and decay took from the counts, as a factor. Raises DataError where it cannot be known."""
    from senmei.physics.planar.corrections import true_rate
    from senmei.physics.planar.nuclides import nuclide

    wanted, seconds = cohort["corrections"], float(image["time_s"])
    factor = 1.0
    if wanted["dead_time_us"] > 0:
        rate = float(np.sum(counts.data, dtype=np.float64)) / seconds
        model = wanted["dead_time_model"]
        factor *= true_rate(rate, float(wanted["dead_time_us"]), model, _where(image)) / rate
    if wanted["decay"]:
        if image.get("start_min") is None:
            raise DataError(
                "This scan cannot be corrected for decay",
                where=_where(image),
                why="scans.tsv does not say when its acquisition started",
                fix="fill the column `start_min`: minutes from the calibration of the nuclide",
            )
        decays = nuclide(str(image["nuclide"]))
        factor /= decays.decayed(float(image["start_min"]) / 60.0) * decays.mean_activity(seconds)
    return factor


def _likeness(teacher: Volume, low: Volume, camera: PlanarCamera, mask: Volume) -> float:
    """Correlation of the counts with the teacher as the camera would blur it, within the print, noise taken off."""
    from senmei.physics.planar.blur import BlurAndBin

    factor = teacher.shape[0] // low.shape[0]
    blur = BlurAndBin.of_camera((teacher.shape[0], teacher.shape[1]), camera.role(factor))
    grey = blur.forward(np.asarray(teacher.data[..., 0], np.float64))
    n = low.shape[0]
    inside = np.asarray(mask.data[..., 0]).reshape(n, factor, n, factor).min(axis=(1, 3)) > 0
    counts = np.asarray(low.data[..., 0], np.float64)[inside]
    if counts.size < 3 or grey[inside].std() == 0:
        return 1.0  # a page of one grey looks like anything
    variance, noise = float(counts.var()), float(counts.mean())
    if variance <= 1.05 * noise:
        return 1.0  # noise alone: nothing can be told
    r = float(np.corrcoef(grey[inside], counts)[0, 1])
    return r / float(np.sqrt(1.0 - noise / variance))
