"""Conditions of the study `gamma_sr`: the axes of an acquisition, the scans they make, and the camera of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from senmei.core.cohorts import with_entity
from senmei.core.errors import ConfigError
from senmei.core.study import Row
from senmei.studies.gamma_camera import check_fitted, fitted_camera

if TYPE_CHECKING:
    from senmei.physics.planar.camera import PlanarCamera

LARGEST_MM = 20.0  # of a pixel, as of any image that is read back
# axis of `degradation`, or of a cohort in its place -> the column of one value
AXES = {
    "times_s": "time_s",
    "matrices": "matrix",
    "nuclides": "nuclide",
    "collimators": "collimator",
    "distances_mm": "distance_mm",
    "layers_mm": "layer_mm",
}


def conditions_of(cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """Every condition of a cohort, its columns as of `AXES`. `design: grid` has all combinations; `star` the first
    values of all axes, and then each other value of an axis with the first ones of the others.
    """
    axes: dict[str, list[Any]] = {
        column: [*dict.fromkeys(cohort.get(axis) or settings[axis])] for axis, column in AXES.items()
    }
    if settings["design"] == "grid":
        return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    first = {column: values[0] for column, values in axes.items()}
    return [first, *({**first, c: value} for c, values in axes.items() for value in values[1:])]


def scans_of(images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """Rows of scans: each image under each condition, named after all of it."""
    rows = []
    field = float(cohort["pixel_mm"]) * int(cohort["size"])
    for image in images:
        for condition in conditions_of(cohort, settings):
            own = {**condition, "pixel_mm": round(field / condition["matrix"], 4)}
            for name in ("time_s", "distance_mm", "layer_mm"):
                own[name] = float(own[name])
            rows.append({"scan": with_entity(image["image"], "acq", tag_of(condition)), **image, **own})
    return rows


def tag_of(condition: Mapping[str, Any]) -> str:
    """A BIDS label of a condition: letters and digits, all of its values."""
    t, d, layer = (f"{float(condition[k]):g}" for k in ("time_s", "distance_mm", "layer_mm"))
    nuclide = str(condition["nuclide"]).replace("-", "")
    label = f"{t}s{condition['matrix']}px{nuclide}{condition['collimator']}{d}mm{layer}mm"
    return label.replace(".", "p").replace("+", "").replace("-", "m")


def check_conditions(cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Cameras that cannot be, and matrices that do not divide the sheet. Raises ConfigError."""
    size, border = int(cohort["size"]), int(cohort["border"])
    if size - 2 * border < 16:
        raise ConfigError(
            "The border leaves no room for a print",
            where="cohorts: border",
            why=f"of {size} pixels, {border} at each side are paper",
            fix=f"give {(size - 16) // 2} at most",
        )
    for condition in conditions_of(cohort, settings):
        matrix = int(condition["matrix"])
        if size % matrix:
            divisors = [str(n) for n in range(8, size + 1) if size % n == 0]
            raise ConfigError(
                "Camera pixels do not fit the reference's",
                where="degradation.matrices",
                why=f"{matrix} does not divide the sheet's {size} pixels",
                fix=f"choose one of {', '.join(divisors)}",
            )
        pixel = float(cohort["pixel_mm"]) * size / matrix
        if pixel > LARGEST_MM:
            raise ConfigError(
                "Camera pixels are too large",
                where="degradation.matrices",
                why=f"{matrix} across {size * float(cohort['pixel_mm']):g} mm are of {pixel:.3g} mm",
                fix=f"choose a larger matrix, or a smaller sheet: {LARGEST_MM:g} mm at most",
            )
        check_fitted(condition, settings)
        camera_of(condition, cohort, settings)
        other_camera(condition, cohort, settings)


def camera_of(
    scan: Mapping[str, Any], cohort: Mapping[str, Any], settings: Mapping[str, Any]
) -> PlanarCamera:
    """The camera of a scan: its image is the sheet's field, `matrix` pixels a side.

    Response and background are those of a fitted camera where one of `degradation.camera` was fitted at this setting,
    else the computed ones.
    """
    from senmei.physics.planar.camera import FIELD_MM, PlanarCamera

    fitted = fitted_camera(scan, settings)
    background = settings["background_cps_per_cm2"] if fitted is None else fitted.background_cps_per_cm2
    field = float(cohort["pixel_mm"]) * int(cohort["size"])
    return PlanarCamera(
        collimator=str(scan["collimator"]),
        nuclide=str(scan["nuclide"]),
        distance_mm=float(scan["distance_mm"]),
        layer_mm=float(scan["layer_mm"]),
        intrinsic_fwhm_mm=float(settings["intrinsic_fwhm_mm"]),
        matrix=int(scan["matrix"]),
        zoom=FIELD_MM / field,
        time_s=float(scan["time_s"]),
        background_cps_per_cm2=float(background),
        measured=None if fitted is None else fitted.response,
    )


def other_camera(
    scan: Mapping[str, Any], cohort: Mapping[str, Any], settings: Mapping[str, Any]
) -> PlanarCamera:
    """The camera of the image `high`: the same but for its collimator and, where one is given, its time."""
    high = settings["high"]
    time_s = high["time_s"] if high.get("time_s") is not None else scan["time_s"]
    return camera_of({**scan, "collimator": high["collimator"], "time_s": time_s}, cohort, settings)


def full_ink(camera: PlanarCamera, cohort: Mapping[str, Any], pixel_mm: float) -> float:
    """Counts that full ink gives, per pixel of the sheet, if none spread; background included."""
    mbq = float(cohort["ink_kbq_per_cm2"]) * 1e-3 * (pixel_mm / 10.0) ** 2
    return camera.counts_per_mbq * mbq + camera.background_counts * (pixel_mm / camera.image_pixel_mm) ** 2
