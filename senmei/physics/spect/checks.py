"""Whether projections, their geometry and their attenuation map can be what they are said to be.

Every check raises a DataError that names the scan and says what to do. They are asked where a study takes in
projections, so that a file read from a camera and a simulated scan meet the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.physics.spect.counts import as_counts
from senmei.physics.spect.geometry import Acquisition, grid_of
from senmei.physics.spect.heart_region import find_heart

_LEAST = 0.2  # a view with less than this share of its neighbours' counts is taken as lost
_DECIDES = 0.05  # the misfit of the two directions must differ by this share of the larger
_HIGHEST_MU = 1.0  # 1/cm: cortical bone has 0.28 at 140 keV; a map in 1/mm or HU lies far outside


def check_acquisition(
    projections: np.ndarray,
    acquisition: Acquisition,
    mu: Volume | None,
    grid: Volume | None,
    where: object,
    *,
    counted: bool = True,
) -> dict[str, Any]:
    """All checks of one scan, cheapest first; about 0.3 s at 64 x 64 x 40.

    projections : (u, v, view) photons. mu : attenuation map, 1/cm, None where there is none. grid : a Volume on the
    reconstruction's grid (its values are not looked at), None for the acquisition's own around the origin.
    where : the scan, for messages. counted : whether the photons are counts; False for expectations, which need not
    be whole.
    Returns what was found: `direction` ('consistent' or 'undecided'), `heart_mm` (centre of the heart region).
    """
    check_counts(projections, where, counted=counted)
    check_views(projections, acquisition, where)
    grid = grid_of(acquisition) if grid is None else grid
    if mu is not None:
        check_attenuation(mu, acquisition, grid, where)
    coarse, geometry, thick = _coarse(projections, acquisition, None if mu is None else mu.data)
    image, misfit = _fit(coarse, geometry, thick)
    direction = check_direction(coarse, geometry, thick, misfit, where)
    heart = find_heart(_centred(image, geometry), where)
    return {"direction": direction, "heart_mm": [round(float(x), 1) for x in _world(heart.centre_mm, grid)]}


def check_counts(projections: np.ndarray, where: object, *, counted: bool = True) -> None:
    """Photons are finite, not negative, whole where they were counted, and there are some."""
    values = np.asarray(projections)
    if counted:
        as_counts(values, where)
    elif not np.isfinite(values).all() or (values < 0).any():
        raise DataError(
            "Projections are no photons",
            where=where,
            why=f"{int((~np.isfinite(values)).sum())} values are not numbers, {int((values < 0).sum())} negative",
            fix="repair the file, or leave the scan out",
        )
    if not values.sum() > 0:
        raise DataError(
            "Projections are empty",
            where=where,
            why=f"all {values.size} bins are zero",
            fix="check the energy window that was exported, or leave the scan out",
        )


def check_views(projections: np.ndarray, acquisition: Acquisition, where: object) -> None:
    """One view an angle, none of them lost, none twice."""
    shape = np.shape(projections)
    nx, _, nz = acquisition.shape
    if len(shape) != 3 or shape[2] != acquisition.views:
        found = shape[2] if len(shape) > 2 else 0
        raise DataError(
            "Views are missing",
            where=where,
            why=f"there are {found} views and {acquisition.views} angles",
            fix="export all views of the acquisition, with the angle of each",
        )
    if shape[:2] != (nx, nz):
        raise DataError(
            "Projections are of another geometry",
            where=where,
            why=f"a view has {shape[0]} x {shape[1]} bins; the acquisition says {nx} x {nz}",
            fix="give projections and geometry of the same acquisition",
        )
    angles = np.mod(acquisition.angles_deg, 360)
    if len(np.unique(np.round(angles, 3))) < len(angles):
        raise DataError(
            "Two views have the same angle",
            where=where,
            why=f"{len(angles)} views stand at {len(np.unique(np.round(angles, 3)))} angles",
            fix="correct the angles; sum repeated views into one where the camera went round twice",
        )
    totals = np.asarray(projections, dtype=np.float64).sum(axis=(0, 1))
    around = np.array([np.median(np.delete(totals, i)[max(0, i - 3) : i + 3]) for i in range(len(totals))])
    lost = np.flatnonzero(totals < _LEAST * around)
    if len(lost):
        raise DataError(
            "Views are missing",
            where=where,
            why=f"view(s) {', '.join(map(str, lost[:8]))} of 0-{len(totals) - 1} hold hardly a count: "
            f"{totals[lost[0]]:g} against {around[lost[0]]:g} beside them",
            fix="export the scan again, or leave it out; a reconstruction would be streaked",
        )
    views = np.moveaxis(np.asarray(projections), 2, 0).reshape(len(totals), -1)
    for i in range(len(views)):
        for j in range(i + 1, len(views)):
            if totals[i] == totals[j] and np.array_equal(views[i], views[j]):
                raise DataError(
                    "A view is there twice",
                    where=where,
                    why=f"views {i} and {j} are the same to the last count, at angles "
                    f"{acquisition.angles_deg[i]:g} and {acquisition.angles_deg[j]:g} degrees",
                    fix="export the scan again: one view was written in place of another",
                )


def check_attenuation(mu: Volume, acquisition: Acquisition, grid: Volume, where: object) -> None:
    """The map lies on the reconstruction's grid and holds 1/cm."""
    if mu.data.shape != tuple(acquisition.shape):
        raise DataError(
            "The attenuation map is of another geometry",
            where=where,
            why=f"it has {' x '.join(map(str, mu.data.shape))} voxels, the acquisition "
            f"{' x '.join(map(str, acquisition.shape))}",
            fix="resample the map to the grid of the reconstruction",
        )
    if np.abs(np.array(mu.voxel) - acquisition.voxel_mm).max() > 1e-3 * acquisition.voxel_mm:
        raise DataError(
            "The attenuation map is of another geometry",
            where=where,
            why=f"its voxels are {' x '.join(f'{v:g}' for v in mu.voxel)} mm, the acquisition's "
            f"{acquisition.voxel_mm:g} mm",
            fix="resample the map to the grid of the reconstruction",
        )
    shift = mu.affine - grid.affine
    if np.abs(shift[:3, :3]).max() > 1e-3 * acquisition.voxel_mm:
        raise DataError(
            "The attenuation map is of another geometry",
            where=where,
            why="its axes point another way than those of the scan",
            fix="reorient the map to the scan (x to the right, y to the front, z to the head)",
        )
    if np.abs(shift[:3, 3]).max() > 0.1 * acquisition.voxel_mm:
        raise DataError(
            "The attenuation map is of another geometry",
            where=where,
            why="it lies " + ", ".join(f"{d:+.1f}" for d in shift[:3, 3]) + " mm (x, y, z) beside the scan",
            fix="register and resample the map; a shift makes false defects",
        )
    if not np.isfinite(mu.data).all() or mu.data.min() < 0 or not 0.02 < mu.data.max() < _HIGHEST_MU:
        raise DataError(
            "The attenuation map is not in 1/cm",
            where=where,
            why=f"its values span {mu.data.min():g} to {mu.data.max():g}; soft tissue has 0.15 at 140 keV",
            fix="convert it: CT numbers by a bilinear table, 1/mm by a factor of 10",
        )


def check_direction(
    projections: np.ndarray, acquisition: Acquisition, mu: np.ndarray | None, misfit: float, where: object
) -> str:
    """'consistent' with the stated direction of rotation, or 'undecided'; DataError if the other one fits better.

    Turned the wrong way, the same projections show the patient front to back, with the camera behind him: only
    attenuation and distance tell, so both directions are reconstructed with the map (1/cm; misfit : what the
    stated one leaves) and the deviances of the data from the model, 2 sum(y ln(y/m) - y + m), are compared. Without a
    map, or where they differ by less than 5 % (a patient who is the same from both sides), nothing can be told.
    """
    if mu is None:
        return "undecided"
    other = "cw" if acquisition.direction == "ccw" else "ccw"
    _, opposite = _fit(projections, replace(acquisition, direction=other), mu)
    if abs(misfit - opposite) < _DECIDES * max(misfit, opposite):
        return "undecided"
    if opposite < misfit:
        raise DataError(
            "The camera turned the other way",
            where=where,
            why=f"turned '{acquisition.direction}' the projections contradict the attenuation map (deviance "
            f"{misfit:.3g}); turned '{other}' they fit it better ({opposite:.3g})",
            fix=f"set `direction: {other}` of a simulated cohort or correct the file, or check that the map is not "
            "flipped",
        )
    return "consistent"


def _coarse(
    projections: np.ndarray, acquisition: Acquisition, mu: np.ndarray | None
) -> tuple[np.ndarray, Acquisition, np.ndarray | None]:
    """Projections in bins of 7 to 13 mm, in about 20 views, their geometry and the map on its grid."""
    n = max(1, round(9.0 / acquisition.voxel_mm))
    step = max(1, acquisition.views // 20)
    nx, ny, nz = (size // n for size in acquisition.shape)
    data = np.asarray(projections, dtype=np.float64)[: nx * n, : nz * n, ::step]
    data = data.reshape(nx, n, nz, n, -1).sum(axis=(1, 3))
    geometry = replace(
        acquisition,
        shape=(nx, ny, nz),
        voxel_mm=acquisition.voxel_mm * n,
        angles_deg=tuple(acquisition.angles_deg[::step]),
        radius_mm=tuple(acquisition.radius_mm[::step]),
    )
    if mu is not None:
        mu = np.asarray(mu, dtype=np.float32)[: nx * n, : ny * n, : nz * n]
        mu = mu.reshape(nx, n, ny, n, nz, n).mean(axis=(1, 3, 5))
    return data.astype(np.float32), geometry, mu


def _fit(
    projections: np.ndarray, acquisition: Acquisition, mu: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """A quick reconstruction and how far the projections are from what it should have given (deviance)."""
    import torch

    from senmei.physics.spect.projector import Projector
    from senmei.physics.spect.reconstruct import osem

    projector = Projector(acquisition, mu, psf=False)
    scale = 1e6 / float(
        projections.sum()
    )  # of one million counts, so that limits mean the same for all scans
    measured = torch.as_tensor(projections * scale, dtype=torch.float32)
    image = osem(measured, projector, iterations=2, subsets=_subsets(acquisition.views))
    y = measured.double().numpy()
    m = np.maximum(projector.forward(image).double().numpy(), 1e-6 * y.mean())
    deviance = 2 * float((np.where(y > 0, y * np.log(np.maximum(y, 1e-30) / m), 0) - y + m).sum())
    return image.numpy() / scale, deviance


def _subsets(views: int) -> int:
    return max(n for n in range(1, 7) if views % n == 0)


def _centred(data: np.ndarray, acquisition: Acquisition) -> Volume:
    voxel = acquisition.voxel_mm
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -(np.array(data.shape) - 1) / 2 * voxel
    return Volume(data.astype(np.float32), affine)


def _world(centred_mm: np.ndarray, grid: Volume) -> np.ndarray:
    """A place given from the grid's centre, in the world of `grid`."""
    middle = grid.affine[:3, :3] @ ((np.array(grid.shape[:3]) - 1) / 2) + grid.affine[:3, 3]
    return np.asarray(centred_mm) + middle
