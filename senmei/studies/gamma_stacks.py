"""Stacks of printed sheets in the study `gamma_sr`: a camera that turns about them, each view an image of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.cohorts import with_entity
from senmei.core.errors import ConfigError
from senmei.core.seeds import draw_generator
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import sheet_affine, spread_counts
from senmei.studies.gamma_conditions import camera_of, check_conditions, other_camera, scans_of
from senmei.studies.gamma_doors import Door
from senmei.studies.gamma_stack_views import (
    attenuation,
    binned,
    centred,
    geometric,
    image_of,
    orbit_of,
    project,
    seen_response,
    shape_of,
    two_of,
    whole,
)

FAMILY = "stacks"


class StackDoor(Door):
    """Simulated cohorts with `stack`. A subject and its raw image are a stack, a scan is one view under one condition.

    `distance_mm` is the radius of the orbit: from the axis, which is the stack's middle, to the collimator's face.
    Views are parallel projections of the stack with the collimator's and the crystal's blur at each plane's distance,
    and the attenuation of its plates where they are of water (then without scatter: it counts as corrected for).
    Septal penetration and background are left out. The `camera` of a view has the blur at the axis, for all depths.
    Columns `stack` (what the views of one acquisition share), `view` and `angle_deg` tell them apart.
    """

    def participants(self, cohort: Mapping[str, Any]) -> list[Row]:
        """sub-stack001, ... Raises ConfigError where their number is not said."""
        if cohort.get("subjects") is None:
            raise ConfigError(
                "How many stacks there are is not said",
                where="cohorts: subjects",
                why="stacks are drawn, as many as wanted",
                fix="set `subjects`, such as 10",
            )
        count = int(cohort["subjects"])
        return [{"subject": f"sub-stack{n + 1:03d}", "family": FAMILY} for n in range(count)]

    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """The stack itself."""
        subject = participant["subject"]
        return [{"image": subject, "subject": subject, "repeat": 1, "family": FAMILY}]

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Each view of each condition: sub-stack001_acq-20s48pxTc99mLEHR140mm0mmview007, ..."""
        rows = []
        stack = cohort["stack"]
        step = float(stack["arc_deg"]) / int(stack["views"])
        for row in scans_of(images, cohort, settings):
            for view in range(int(stack["views"])):
                own = {"stack": row["scan"], "view": view, "angle_deg": round(view * step, 4)}
                rows.append({**row, "scan": with_entity(row["scan"], "acq", f"view{view:03d}"), **own})
        return rows

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Refuse what no stack can be, and what its views do not have. Raises ConfigError."""
        from senmei.phantoms.sheet_stack import MOST_RIPPLE, plate_radius_mm, ripple

        self.participants(cohort)
        if settings.get("camera"):
            raise ConfigError(
                "Views of a stack have no fitted camera",
                where="degradation.camera",
                why="one is of a single distance, and plates lie at many",
                fix="leave it out",
            )
        check_conditions(cohort, settings)
        stack, size, pixel = cohort["stack"], int(cohort["size"]), float(cohort["pixel_mm"])
        height = stack["sheets"] * stack["plate_mm"]
        if height > stack["rows"] * pixel + 1e-6:
            raise _bad(
                "rows",
                "The stack is higher than the camera's field",
                f"it is of {height:g} mm, {stack['rows']} rows are {stack['rows'] * pixel:g} mm",
                "give more rows, or fewer sheets",
            )
        if settings["restore"] != "teacher" or settings["pairing"] not in ("auto", "known"):
            raise ConfigError(
                "Views of a stack have no such reference",
                where="degradation: restore, pairing",
                why="theirs is the ideal projection, in known counts",
                fix="set `restore: teacher` and `pairing: auto`",
            )
        if settings["background_cps_per_cm2"] > 0:
            raise ConfigError(
                "Views of a stack have no background",
                where="degradation.background_cps_per_cm2",
                why="no reconstruction here knows of one",
                fix="set it to 0",
            )
        for scan in scans_of([{"image": "sub-stack001"}], cohort, settings):
            if scan["layer_mm"] > 0:
                raise ConfigError(
                    "A stack has no layer",
                    where="degradation.layers_mm",
                    why="its plates attenuate, not a layer on a sheet",
                    fix="set `layers_mm: [0]`, and `stack.plates: water`",
                )
            factor = size // int(scan["matrix"])
            if int(stack["rows"]) % factor:
                raise _bad(
                    "rows",
                    "Camera pixels do not fit the stack's rows",
                    f"{factor} x {factor} fine ones are one of the camera's, and {factor} does not divide "
                    f"{stack['rows']}",
                    "choose a multiple of it",
                )
            if scan["distance_mm"] <= plate_radius_mm(size, pixel):
                raise ConfigError(
                    "The camera would cut through the stack",
                    where="degradation.distances_mm",
                    why=f"its plates reach {plate_radius_mm(size, pixel):g} mm from the axis, the orbit "
                    f"{scan['distance_mm']:g} mm",
                    fix="give a larger distance, or a smaller field",
                )
            nearest = scan["distance_mm"] - plate_radius_mm(size, pixel)
            sharpest = float(camera_of(scan, cohort, settings).gamma_camera().resolution_fwhm_mm(nearest))
            if ripple(stack["plate_mm"], sharpest) > MOST_RIPPLE:
                raise _bad(
                    "plate_mm",
                    "The camera would see single sheets",
                    f"at the stack's surface it resolves {sharpest:.2g} mm, and plates are of "
                    f"{stack['plate_mm']:g} mm; a body is simulated, not sheets",
                    "take thinner plates",
                )

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed:
        """A simulated cohort has no files: not called."""
        raise NotImplementedError("stacks are simulated")

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Raw roles of a stack: image -> `sheets`, `activity`, `labels`, and columns.

        sheets : (x, y, sheet) float32, grey 0..1, what is printed. activity : (x, y, z) float32, MBq a voxel at the
        start. labels : (x, y, z) uint8, see `senmei.phantoms.sheet_stack`.
        """
        from senmei.phantoms.head import draw_head
        from senmei.phantoms.sheet_stack import print_stack

        stack, pixel = cohort["stack"], float(cohort["pixel_mm"])
        shape = shape_of(cohort)
        ink = float(cohort["ink_kbq_per_cm2"]) * 1e-3 * (pixel / 10.0) ** 2  # MBq a pixel of full ink
        made = {}
        for row in images:
            head = draw_head(draw_generator(seed, "head"))
            rng = draw_generator(seed, "details")
            plates = int(stack["sheets"]), float(stack["plate_mm"]), float(stack["detail_mm"])
            found = print_stack(head, shape, pixel, *plates, rng)
            grid = centred(shape, pixel)
            paper = centred((shape[0], shape[1], plates[0]), pixel, plates[1])
            made[row["image"]] = {
                "sheets": Volume(found.sheets, paper),
                "activity": Volume((found.grey * ink).astype(np.float32), grid),
                "labels": Volume(found.labels, grid),
                "columns": {"stack_mbq": float(found.grey.sum(dtype=np.float64) * ink)},
            }
        return made

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of one view; those of the whole stack (`stack`) come with its first one alone."""
        if group == "sheet":
            return {}, {}
        camera = camera_of(scan, cohort, settings)
        activity = raw(scan["image"], "activity")
        if group == "stack":
            return (whole(activity, raw(scan["image"], "labels"), scan, cohort, camera), {})
        if group == "high":
            camera = other_camera(scan, cohort, settings)
        pixel, factor = activity.voxel[0], int(cohort["size"]) // int(scan["matrix"])
        mu = attenuation(cohort, camera)
        acquisition = orbit_of(cohort, scan, camera, float(scan["angle_deg"]))
        counts = activity.data * np.float32(geometric(camera))
        blurred = project(counts, acquisition, mu, psf=True)
        expected = image_of(binned(blurred, factor), pixel * factor)
        name = "high" if group == "high" else "counts"
        drawn = draw_generator(seed, name, scan["scan"]).poisson(np.maximum(expected.data, 0.0))
        low = expected.like(drawn.astype(np.float32))
        if group == "high":
            return {"high": low}, {}
        columns: Row = {"counts": int(drawn.sum()), "counts_max": float(expected.data.max())}
        if group == "input":
            spread = spread_counts(low.data[..., 0], factor)
            role = replace(camera, measured=seen_response(camera)).role(factor)
            return {"low": low, "input": image_of(spread, pixel), "camera": role}, columns
        ideal = project(counts, acquisition, mu, psf=False)
        high = np.abs((np.arange(ideal.shape[1]) - (ideal.shape[1] - 1) / 2) * pixel)
        printed = high <= cohort["stack"]["sheets"] * cohort["stack"]["plate_mm"] / 2
        mask = np.broadcast_to(printed, ideal.shape)
        roles = {
            "reference": image_of(ideal, pixel),
            "mask": Volume(mask[..., None].astype(np.uint8), sheet_affine(two_of(ideal), pixel)),
            "expected": expected,
        }
        return roles, {**columns, "data_range": float(ideal.max())}


def _bad(key: str, what: str, why: str, fix: str) -> ConfigError:
    return ConfigError(what, where=f"cohorts: stack.{key}", why=why, fix=fix)
