"""Views of a stack of sheets: the orbit, what a camera expects to count in each view, and the stack as truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import sheet_affine

if TYPE_CHECKING:
    from senmei.physics.planar.camera import PlanarCamera
    from senmei.physics.planar.response import Response
    from senmei.physics.spect.geometry import Acquisition


def whole(
    activity: Volume, labels: Volume, scan: Row, cohort: Mapping[str, Any], camera: PlanarCamera
) -> dict[str, Any]:
    """Roles of a stack, for its first view; {} for the others.

    stack : (x, y, z) float32, counts that each voxel sends into a view, were there no attenuation. stack_labels :
    uint8. acquisition : of all views, on the fine grid. attenuation : 1/cm, where plates attenuate.
    """
    if int(scan["view"]) > 0:
        return {}
    views, arc = int(cohort["stack"]["views"]), float(cohort["stack"]["arc_deg"])
    angles = [round(n * arc / views, 4) for n in range(views)]
    roles: dict[str, Any] = {
        "stack": activity.like((activity.data * geometric(camera)).astype(np.float32)),
        "stack_labels": labels,
        "acquisition": orbit_of(cohort, scan, camera, *angles).to_dict(),
    }
    mu = attenuation(cohort, camera)
    return roles if mu is None else {**roles, "attenuation": activity.like(mu)}


def geometric(camera: PlanarCamera) -> float:
    """Counts per MBq in the acquisition of one view, of photons that came through the holes."""
    return camera.counts_per_mbq * (1.0 - camera.response.penetration_fraction)


def orbit_of(
    cohort: Mapping[str, Any], scan: Mapping[str, Any], camera: PlanarCamera, *angles_deg: float
) -> Acquisition:
    """The acquisition of some views on the fine grid; the orbit is a circle of `distance_mm`."""
    from senmei.physics.spect.geometry import Acquisition

    radius = (float(scan["distance_mm"]),)
    return Acquisition(
        shape_of(cohort), float(cohort["pixel_mm"]), angles_deg, radius, camera=camera.gamma_camera()
    )


def attenuation(cohort: Mapping[str, Any], camera: PlanarCamera) -> np.ndarray | None:
    """(x, y, z) attenuation of the plates at the nuclide's energy, 1/cm; None for foam, which has none."""
    from senmei.phantoms.sheet_stack import plates
    from senmei.physics.photons import attenuation as of_water

    stack = cohort["stack"]
    if stack["plates"] == "foam":
        return None
    mu = float(of_water(camera.gamma_camera().energy_kev))
    return plates(shape_of(cohort), float(cohort["pixel_mm"]), stack["sheets"] * stack["plate_mm"], mu)


def project(counts: np.ndarray, acquisition: Acquisition, mu: np.ndarray | None, *, psf: bool) -> np.ndarray:
    """(u, v) float32 expected counts of the acquisition's one view."""
    from senmei.physics.spect.projector import Projector

    seen: np.ndarray = Projector(acquisition, mu, psf=psf).forward(counts)[..., 0].numpy()
    return seen


def seen_response(camera: PlanarCamera) -> Response:
    """The camera's response without the penetration that views leave out."""
    response = camera.response
    seen = response.sensitivity_cps_per_mbq * (1.0 - response.penetration_fraction)
    return replace(response, sensitivity_cps_per_mbq=seen, penetration_fraction=0.0, penetration_fwhm_mm=0.0)


def shape_of(cohort: Mapping[str, Any]) -> tuple[int, int, int]:
    """(x, y, z) of the fine grid."""
    size = int(cohort["size"])
    return size, size, int(cohort["stack"]["rows"])


def centred(shape: tuple[int, int, int], voxel_mm: float, height_mm: float | None = None) -> np.ndarray:
    """Affine of voxels centred on the world's origin; `height_mm` : of one along z, where it is another."""
    edges = np.array([voxel_mm, voxel_mm, voxel_mm if height_mm is None else height_mm])
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * edges
    return affine


def binned(view: np.ndarray, factor: int) -> np.ndarray:
    """(u / factor, v / factor) float64 sums over factor x factor pixels."""
    u, v = view.shape
    return view.reshape(u // factor, factor, v // factor, factor).sum(axis=(1, 3), dtype=np.float64)


def image_of(view: np.ndarray, pixel_mm: float) -> Volume:
    """A view (u, v) as a planar image (x, y, 1) float32: u to the right, the stack's axis up."""
    return Volume(view[..., None].astype(np.float32), sheet_affine(two_of(view), pixel_mm))


def two_of(view: np.ndarray) -> tuple[int, int]:
    """(u, v)."""
    return int(view.shape[0]), int(view.shape[1])
