"""Simulated patients of the study `spect_denoise`: torso, activity and the photons a gamma camera can expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.studies.spect_geometry import orbit_of, projection_affine
from senmei.studies.spect_phantoms import share_site, torsos

if TYPE_CHECKING:
    from senmei.phantoms.torso import Torso
    from senmei.physics.spect.imaging import Projectors
    from senmei.studies.spect_phantoms import Render


def simulate_patient(
    images: Sequence[Row], cohort: Mapping[str, Any], seed: int, projectors: Projectors
) -> dict[str, dict[str, Any]]:
    """Raw roles of one subject's images, which show the same torso with or without a defect. Deterministic in `seed`.

    Roles: `projections` (u, v, view) or (u, v, view, phase), expected photons, those of the whole field and all phases
    summing to 1; `attenuation` 1/cm, `labels`, `segments` on the reconstruction's grid; `heart` and `acquisition`.
    In `heart`, `site_mm` is the middle of the subject's defect, also in the image that does not have it.
    """
    made = {
        image: _image(render, cohort, projectors) for image, render in torsos(images, cohort, seed).items()
    }
    share_site([roles["heart"] for roles in made.values()])
    return made


def _image(render: Render, cohort: Mapping[str, Any], projectors: Projectors) -> dict[str, Any]:
    fine, phases = int(cohort["oversample"]), int(cohort["phases"])
    still = render(0, 1)
    means = []
    for phase in range(phases):
        torso = still if fine == 1 and phase == 0 else render(phase, fine)
        coarse = torso if fine == 1 else render(phase, 1)
        means.append(expected_photons(torso, coarse, cohort, projectors))
    maps = {"attenuation": still.mu, "labels": still.labels, "segments": still.segments}
    return raw_roles(np.stack(means, axis=-1), maps, still.heart, cohort)


def raw_roles(
    mean: np.ndarray, maps: Mapping[str, Volume], heart: dict[str, Any] | None, cohort: Mapping[str, Any]
) -> dict[str, Any]:
    """Raw roles of an image as ingestion keeps them, however its photons were simulated.

    mean : (u, v, view, phase) photons of the whole field, in any unit. maps : `attenuation`, and `labels` and
    `segments` where they are known. heart : where it lies; None where that is not known.
    Raises DataError for a slab around a heart that nobody has placed.
    """
    mean = mean / mean.sum()
    keep = _slab(maps["attenuation"], heart, cohort.get("slab"))
    cropped = {name: _crop(volume, keep) for name, volume in maps.items()}
    mean = mean[:, keep] if mean.shape[3] > 1 else mean[:, keep, :, 0]
    return {
        "projections": Volume(mean.astype(np.float32), projection_affine(float(cohort["voxel_mm"]))),
        **cropped,
        **({} if heart is None else {"heart": heart}),
        "acquisition": orbit_of(cohort, cropped["attenuation"].shape).to_dict(),
    }


def expected_photons(
    torso: Torso, coarse: Torso, cohort: Mapping[str, Any], projectors: Projectors
) -> np.ndarray:
    """(u, v, view) float64: primary and scattered photons of a torso, in the bins of the camera.

    torso : the anatomy, in voxels a whole number of times finer than the bins: its photons are added up. coarse : the
    same in voxels of the bins' size, for scatter, which is smooth.
    """
    from senmei.physics.spect.scatter import scatter_projections

    fine = round(coarse.activity.voxel[0] / torso.activity.voxel[0])
    acquisition = orbit_of(cohort, torso.activity.shape, float(cohort["voxel_mm"]) / fine)
    data = projectors.get(acquisition, torso.mu.data).forward(torso.activity.data).double().numpy()
    nu, nv, views = data.shape
    data = data.reshape(nu // fine, fine, nv // fine, fine, views).sum(axis=(1, 3))
    if cohort["scatter"]:
        camera = projectors.get(orbit_of(cohort, coarse.activity.shape), coarse.mu.data)
        spread = scatter_projections(coarse.activity.data, coarse.mu.data, camera)
        data = data + spread.double().numpy() * fine**3
    return np.clip(data, 0, None)  # convolutions round to a millionth below zero


def _slab(grid: Volume, heart: Mapping[str, Any] | None, slices: int | None) -> slice:
    """Slices around the middle of the heart; all of them for None."""
    n = grid.shape[2]
    if not slices or slices >= n:
        return slice(0, n)
    if heart is None:
        raise DataError(
            "Cannot cut a slab around the heart",
            where="slab",
            why="the phantom does not say where its heart is",
            fix="give its heart (`apex_mm` and `base_mm`) beside the phantom, or set `slab: null`",
        )
    ends = np.array([heart["apex_mm"], heart["base_mm"]], dtype=float)
    middle = np.linalg.inv(grid.affine) @ np.append(ends.mean(axis=0), 1.0)
    first = int(np.clip(round(middle[2] - slices / 2), 0, n - slices))
    return slice(first, first + int(slices))


def _crop(volume: Volume, keep: slice) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * keep.start
    return Volume(np.ascontiguousarray(volume.data[:, :, keep]), affine)
