"""Simulated patients of the study `spect_denoise`: torso, activity and the photons a gamma camera can expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.seeds import draw_generator
from senmei.core.study import Row
from senmei.core.volume import Volume

if TYPE_CHECKING:
    from senmei.phantoms.torso import Torso
    from senmei.physics.spect.geometry import Acquisition
    from senmei.physics.spect.imaging import Projectors


def simulate_patient(
    images: Sequence[Row], cohort: Mapping[str, Any], seed: int, projectors: Projectors
) -> dict[str, dict[str, Any]]:
    """Raw roles of one subject's images, which show the same torso with or without a defect. Deterministic in `seed`.

    Roles: `projections` (u, v, view) or (u, v, view, phase), expected photons, those of the whole field and all phases
    summing to 1; `attenuation` 1/cm, `labels`, `segments` on the reconstruction's grid; `heart` and `acquisition`.
    In `heart`, `site_mm` is the middle of the subject's defect, also in the image that does not have it.
    """
    from senmei.phantoms.torso import draw_defect, draw_torso, draw_uptake

    shape = draw_torso(draw_generator(seed, "torso"))
    uptake = draw_uptake(draw_generator(seed, "uptake"))
    low, high = cohort["defect_contrast"]
    defect = draw_defect(draw_generator(seed, "defect"), contrast=(float(low), float(high)))
    made = {
        row["image"]: _image(shape, uptake, defect if int(row["defect"]) else None, cohort, projectors)
        for row in images
    }
    hearts = [roles["heart"] for roles in made.values()]
    for site in [heart["defect"]["centre_mm"] for heart in hearts if heart["defect"]]:
        for heart in hearts:
            heart["site_mm"] = site
    return made


def _image(
    shape: Any, uptake: Any, defect: Any, cohort: Mapping[str, Any], projectors: Projectors
) -> dict[str, Any]:
    from senmei.phantoms.torso import render_torso

    grid = (int(cohort["matrix"]), int(cohort["matrix"]), int(cohort["slices"]))
    voxel, fine = float(cohort["voxel_mm"]), int(cohort["oversample"])
    phases = int(cohort["phases"])

    def render(phase: int, factor: int) -> Torso:
        size = (grid[0] * factor, grid[1] * factor, grid[2] * factor)
        return render_torso(
            shape,
            uptake=uptake,
            defect=defect,
            grid=size,
            voxel_mm=voxel / factor,
            phase=phase,
            phases=phases,
        )

    still = render(0, 1)
    means = []
    for phase in range(phases):
        torso = still if fine == 1 and phase == 0 else render(phase, fine)
        coarse = torso if fine == 1 else render(phase, 1)
        means.append(expected_photons(torso, coarse, cohort, projectors))
    mean = np.stack(means, axis=-1)
    mean /= mean.sum()
    keep = _slab(still, cohort.get("slab"))
    cropped = {name: _crop(getattr(still, name), keep) for name in ("mu", "labels", "segments")}
    mean = mean[:, keep] if phases > 1 else mean[:, keep, :, 0]
    acquisition = orbit_of(cohort, cropped["mu"].shape)
    return {
        "projections": Volume(mean.astype(np.float32), projection_affine(voxel)),
        "attenuation": cropped["mu"],
        "labels": cropped["labels"],
        "segments": cropped["segments"],
        "heart": still.heart,
        "acquisition": acquisition.to_dict(),
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


def orbit_of(cohort: Mapping[str, Any], shape: Sequence[int], voxel_mm: float | None = None) -> Acquisition:
    """The cohort's orbit around a grid."""
    from senmei.physics.gamma_camera import GammaCamera
    from senmei.physics.spect.geometry import orbit

    return orbit(
        tuple(int(n) for n in shape),
        float(voxel_mm or cohort["voxel_mm"]),
        views=int(cohort["views"]),
        arc_deg=float(cohort["arc_deg"]),
        start_deg=float(cohort["start_deg"]),
        radius_mm=float(cohort["radius_mm"]),
        direction=cohort["direction"],
        camera=GammaCamera(collimator=cohort["collimator"]),
    )


def projection_affine(voxel_mm: float) -> np.ndarray:
    """(u, v, view) -> mm, mm, number of the view."""
    return np.diag([voxel_mm, voxel_mm, 1.0, 1.0])


def _slab(torso: Torso, slices: int | None) -> slice:
    """Slices around the middle of the heart; all of them for None."""
    n = torso.labels.shape[2]
    if not slices or slices >= n:
        return slice(0, n)
    ends = np.array([torso.heart["apex_mm"], torso.heart["base_mm"]], dtype=float)
    middle = np.linalg.inv(torso.labels.affine) @ np.append(ends.mean(axis=0), 1.0)
    first = int(np.clip(round(middle[2] - slices / 2), 0, n - slices))
    return slice(first, first + int(slices))


def _crop(volume: Volume, keep: slice) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * keep.start
    return Volume(np.ascontiguousarray(volume.data[:, :, keep]), affine)
