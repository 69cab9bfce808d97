"""What an engine is given to look at in the study `spect_denoise`: maps of torsos, of files, or of XCAT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.seeds import draw_generator
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume

if TYPE_CHECKING:
    from senmei.phantoms.torso import Torso

    Render = Callable[[int, int], Torso]  # phase, how many times finer than the camera's bins

# Settings that decide a phantom; those of the camera and of the dose do not.
SETTINGS = (
    "source", "phantom", "path", "xcat", "volumes", "matrix", "slices", "voxel_mm", "oversample", "phases", "defects",
    "defect_contrast", "radius_mm",
)  # fmt: skip


def phantom_kind(cohort: Mapping[str, Any]) -> str:
    """'torso', 'file', 'xcat' (the program is run) or 'xcat files' of a cohort; '' for one of real acquisitions."""
    if cohort["source"] == "xcat":
        return "xcat files"
    return str(cohort.get("phantom", "torso")) if cohort["source"] == "simulate" else ""


def builtin(cohort: Mapping[str, Any]) -> bool:
    """Whether a cohort's camera is our own projector."""
    return cohort.get("engine", "builtin") == "builtin"


def list_phantoms(cohort: Mapping[str, Any]) -> Listed | None:
    """Participants, raw images and status rows of a cohort whose phantoms are files; None for others."""
    if phantom_kind(cohort) == "file":
        from senmei.studies import spect_phantom_files

        return spect_phantom_files.list_phantoms(cohort)
    if phantom_kind(cohort) == "xcat files":
        from senmei.studies.spect_xcat import list_volumes

        return list_volumes(cohort)
    return None


def render_patient(images: Sequence[Row], cohort: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Phantom roles of one subject's images, on the camera's whole field. Deterministic in `seed`.

    `activity` (x, y, z[, phase]) relative concentration, `attenuation` (x, y, z[, phase]) 1/cm, both float32; `mu`
    where activity is on a finer grid; where they are known `labels`, `segments` (x, y, z) and `heart`.
    Raises DataError naming the subject.
    """
    kind = phantom_kind(cohort)
    if kind == "file":
        from senmei.studies.spect_phantom_files import read_phantom

        return {row["image"]: read_phantom(row, cohort) for row in images}
    if kind == "xcat files":
        from senmei.studies.spect_xcat import read_volumes

        return {row["image"]: read_volumes(row, cohort) for row in images}
    if kind == "xcat":
        from senmei.studies.spect_xcat import run_subject

        return run_subject(images, cohort, seed)
    return render_torsos(images, cohort, seed)


def render_torsos(images: Sequence[Row], cohort: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Torsos as the builtin engine has them, of the same seed: only the camera is another.

    For `oversample: 2` activity and `mu`, the attenuation that the engine is shown, are on a grid as fine.
    """
    phases, fine = int(cohort["phases"]), int(cohort["oversample"])
    made: dict[str, dict[str, Any]] = {}
    for image, render in torsos(images, cohort, seed).items():
        beat = [render(phase, fine) for phase in range(phases)]
        still = beat[0] if fine == 1 else render(0, 1)
        mu = _joined([torso.mu for torso in beat])
        made[image] = {
            "activity": _joined([torso.activity for torso in beat]),
            **({"attenuation": mu} if fine == 1 else {"attenuation": still.mu, "mu": mu}),
            "labels": still.labels,
            "segments": still.segments,
            "heart": still.heart,
        }
    share_site([roles["heart"] for roles in made.values()])
    return made


def _joined(volumes: Sequence[Volume]) -> Volume:
    """One (x, y, z) volume as it is, several as (x, y, z, phase)."""
    if len(volumes) == 1:
        return volumes[0]
    return volumes[0].like(np.stack([volume.data for volume in volumes], axis=-1))


def torsos(images: Sequence[Row], cohort: Mapping[str, Any], seed: int) -> dict[str, Render]:
    """Image -> what renders its torso at a phase, in voxels a number of times finer than the camera's bins."""
    from senmei.phantoms.torso import draw_defect, draw_torso, draw_uptake, render_torso

    shape = draw_torso(draw_generator(seed, "torso"))
    uptake = draw_uptake(draw_generator(seed, "uptake"))
    low, high = cohort["defect_contrast"]
    drawn = draw_defect(draw_generator(seed, "defect"), contrast=(float(low), float(high)))
    matrix, slices = int(cohort["matrix"]), int(cohort["slices"])

    def renderer(defect: Any) -> Render:
        return lambda phase, factor: render_torso(
            shape,
            uptake=uptake,
            defect=defect,
            grid=(matrix * factor, matrix * factor, slices * factor),
            voxel_mm=float(cohort["voxel_mm"]) / factor,
            phase=phase,
            phases=int(cohort["phases"]),
        )

    return {row["image"]: renderer(drawn if int(row["defect"]) else None) for row in images}


def share_site(hearts: Sequence[dict[str, Any]]) -> None:
    """Tell the hearts of one subject's images where its defect is, also those that do not have it: `site_mm`."""
    for site in [heart["defect"]["centre_mm"] for heart in hearts if heart["defect"]]:
        for heart in hearts:
            heart["site_mm"] = site
