"""Listed acquisitions of patients as raw roles of the study: counts of the photopeak, geometry, camera, map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError, DataError
from senmei.core.study import Row
from senmei.core.volume import Volume

if TYPE_CHECKING:
    from senmei.io.projections import Projections
    from senmei.physics.spect.geometry import Acquisition

MEASURED = ("dicom", "interfile")  # sources whose projections are counts, not expectations


def measured(cohort: Mapping[str, Any]) -> bool:
    """Whether a cohort's projections were counted by a camera: there is no truth, and no further realisation."""
    return cohort["source"] in MEASURED


def check_measured(cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for what cannot be done with measured acquisitions, whatever is in the files."""
    pairs = settings["pairs"]
    if cohort["use"] == "train" and pairs not in ("thinning", "gated"):
        why = {
            "independent": "a patient was acquired once: there is no second acquisition",
            "split": "what was counted in each half of the time is not in the files",
        }[pairs]
        fix = "set `pairs: thinning` (halves of the one acquisition), or `gated` where all of them are gated"
        raise ConfigError(
            "Measured acquisitions have no such pairs", where=f"degradation.pairs: {pairs}", why=why, fix=fix
        )
    recipe = settings["reconstruction"]
    modelled = [key for key in ("attenuation", "scatter") if recipe[key] is True]
    if cohort["attenuation"] == "none" and recipe["method"] == "osem" and modelled:
        raise ConfigError(
            "There is no attenuation map",
            where=" and ".join(f"degradation.reconstruction.{key}" for key in modelled),
            why="the cohort says `attenuation: none`, and these need the patient's map",
            fix="set them to false, or bring maps and set `attenuation: maps` of the cohort",
        )
    if cohort["window"] != "auto" and cohort["window"][0] >= cohort["window"][1]:
        raise ConfigError(
            "Not an energy window",
            where=f"window: {list(cohort['window'])}",
            why="its lower level is not below its upper one",
            fix="give [low, high] in keV, or auto",
        )


def read_acquisition(row: Row, cohort: Mapping[str, Any]) -> tuple[dict[str, Any], Row]:
    """Raw roles of a listed acquisition, and its columns; not yet looked at, see `SPECTDenoise.accept`.

    Roles: `projections` (u, v, view) or (u, v, view, gate) int32 counts; `attenuation` 1/cm, where there is a map;
    `acquisition`; `file_facts`: what else the file tells, without identifiers; where windows just below and above the
    photopeak were acquired, `side_counts` (u, v, view) or, with an upper one, (u, v, view, 2)
    int32, all gates together, and `side_windows`.
    Columns: `full_counts`, `window`, `collimator`. Raises DataError naming the image: no photopeak window, no known
    collimator, no counts, or a map on another grid.
    """
    from senmei.io.projection_store import load_projections
    from senmei.physics.spect.counts import as_counts
    from senmei.physics.spect.energy_windows import camera_of, choose_window

    where = row["image"]
    told = load_projections(row["path"], row["facts_path"], where)
    nuclide = cohort["nuclide"] or told.nuclide
    number, kev = choose_window(told.windows, nuclide, cohort["window"], where)
    collimator = cohort["collimator"] or told.collimator
    if not collimator:
        raise DataError(
            "Its collimator is not known",
            where=where,
            why="the file names none that Senmei knows, and the cohort does not say",
            fix="set `collimator:` of the cohort to LEHR, LEAP, LEUR, ME or HE",
        )
    window = told.windows[number]
    camera = camera_of(window, kev, collimator, where)
    counts = np.moveaxis(as_counts(told.counts[number], where), 0, -1)  # (u, v, view, gate)
    data = np.ascontiguousarray(counts[..., 0] if told.gates == 1 else counts)
    acquisition = acquisition_of(told, data.shape, camera, where)
    roles: dict[str, Any] = {
        "projections": Volume(data, np.diag([told.pixel_mm, told.pixel_mm, 1.0, 1.0])),
        "acquisition": acquisition.to_dict(),
        "file_facts": {
            "nuclide": nuclide,
            "agent": told.agent,
            "collimator": collimator,
            "window": [window.name, window.low_kev, window.high_kev],
            "duration_s": told.duration_s,
            "gates": told.gates,
            "facts": dict(told.facts),
        },
    }
    if row.get("attenuation_path") and cohort["attenuation"] != "none":
        roles["attenuation"] = read_map(Path(row["attenuation_path"]), acquisition, where)
    roles |= _beside(told, number, where)
    columns = {
        "full_counts": int(data.sum(dtype=np.int64)),
        "window": f"{window.low_kev:g}-{window.high_kev:g}",
        "collimator": collimator,
    }
    return roles, columns


def _beside(told: Projections, peak: int, where: object) -> dict[str, Any]:
    """Roles of the energy windows beside the photopeak; none where there is no lower one."""
    from senmei.physics.spect.counts import as_counts
    from senmei.physics.spect.scatter_windows import side_windows

    lower, upper = side_windows(told.windows, peak)
    if lower is None:
        return {}
    chosen = [lower] if upper is None else [lower, upper]
    counts = np.stack([as_counts(told.counts[n], where).sum(axis=0) for n in chosen], axis=-1)
    counts = counts[..., 0] if upper is None else counts  # a last axis of one would not come back from a file
    widths = [told.windows[n].high_kev - told.windows[n].low_kev for n in (lower, peak, *chosen[1:])]
    return {
        "side_counts": Volume(counts.astype(np.int32), np.diag([told.pixel_mm, told.pixel_mm, 1.0, 1.0])),
        "side_windows": {"widths_kev": widths, "pixel_mm": told.pixel_mm},  # lower, photopeak, upper
    }


def acquisition_of(told: Any, shape: tuple[int, ...], camera: Any, where: object) -> Acquisition:
    """The geometry of projections (u, v, view, ...): cubic voxels of the bins' edge, as many across as bins along u.

    Nothing is cropped or padded: the axis of rotation lies in the middle of the bins, whether they are even or odd.
    """
    from senmei.physics.spect.geometry import Acquisition

    try:
        return Acquisition(
            shape=(shape[0], shape[0], shape[1]),
            voxel_mm=told.pixel_mm,
            angles_deg=told.angles_deg,
            radius_mm=told.radius_mm,
            direction=told.direction,
            camera=camera,
        )
    except DataError as error:
        raise DataError(error.what, where=where, why=error.why, fix="export the scan again") from error


def read_map(path: Path, acquisition: Acquisition, where: object) -> Volume:
    """An attenuation map on the grid of the reconstruction. Raises DataError for one on another grid.

    Axes are turned to x to the right, y to the front, z to the head. The same field in voxels that are a whole number
    of times finer is averaged; nothing else is resampled.
    """
    from senmei.io.roles import load_role
    from senmei.physics.spect.checks import check_attenuation
    from senmei.physics.spect.geometry import grid_of

    try:
        volume = load_role(path, ndim=(3,))
    except DataError as error:  # its place is a path
        raise DataError(
            error.what, where=f"{where}: attenuation map", why=error.why, fix=error.fix
        ) from error
    grid = grid_of(acquisition)
    mu = averaged(upright(volume), grid)
    check_attenuation(mu, acquisition, grid, where)
    return replace(grid, data=np.ascontiguousarray(mu.data, dtype=np.float32))


def averaged(volume: Volume, grid: Volume) -> Volume:
    """Means over the voxels of `grid`, where those of `volume` divide them evenly; else `volume` as it is."""
    parts = [round(n / m) for n, m in zip(volume.shape, grid.shape, strict=True)]
    even = all(k >= 1 and k * m == n for k, n, m in zip(parts, volume.shape, grid.shape, strict=True))
    if max(parts) < 2 or not even or not np.allclose(np.multiply(volume.voxel, parts), grid.voxel, rtol=1e-3):
        return volume
    split = [size for k, m in zip(parts, grid.shape, strict=True) for size in (m, k)]
    data = np.asarray(volume.data, np.float32).reshape(split).mean(axis=(1, 3, 5))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((np.array(parts) - 1) / 2)
    affine[:3, :3] = affine[:3, :3] * parts
    return Volume(data, affine)


def upright(volume: Volume) -> Volume:
    """The same image with its axes along x, y and z: axes are exchanged and turned round, values stay as they are."""
    order = [int(np.argmax(np.abs(volume.affine[row, :3]))) for row in range(3)]
    if sorted(order) != [0, 1, 2]:
        return volume  # oblique beyond doubt: refused where the grids are compared
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, order]
    data = np.transpose(volume.data, order)
    for axis in range(3):
        if affine[axis, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:, axis] *= -1
            data = np.flip(data, axis)
    return Volume(np.ascontiguousarray(data), affine)


def map_of(own: Callable[[str], Any]) -> Volume | None:
    """The attenuation map among an image's raw roles, own(role); None where it came without one."""
    try:
        return own("attenuation")
    except KeyError:
        return None


def grid_volume(own: Callable[[str], Any]) -> Volume:
    """A volume on the grid of the reconstruction: the attenuation map, or float32 zeros where there is none."""
    from senmei.physics.spect.geometry import Acquisition, grid_of

    found = map_of(own)
    if found is not None:
        return found
    empty = grid_of(Acquisition.from_dict(own("acquisition")))
    return empty.like(empty.data.astype(np.float32))
