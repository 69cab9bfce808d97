"""3D brain-MRI denoising: T1-weighted scans with Rician or GRAPPA noise, judged by fidelity and by tissue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from senmei.core.cohorts import with_entity
from senmei.core.seeds import draw_generator
from senmei.core.study import Row, Study
from senmei.core.volume import Volume


class MRIDenoise(Study):
    """The structural study. Each noise level, and each way of acquiring, is another scan of one raw image."""

    title = "3D brain-MRI denoising"
    groups = {"input": ("input",), "truth": ("reference", "mask", "labels", "lesion"), "repeats": ("others",)}
    uses_siblings = ("repeats",)
    conditions = ("acquisition", "noise")
    primary = ("psnr", "ssim", "dice_gm", "sharpness")
    sentences = (
        (
            "Noise was added to noise-free references: white Rician noise, its standard deviation stated in per cent "
            "of white matter, or the noise of a two-fold accelerated acquisition, simulated in k-space with "
            "birdcage coils and reconstructed by GRAPPA, so that it varies in space and is correlated.",
            (
                "Gudbjartsson H, Patz S. The Rician distribution of noisy MRI data. Magn Reson Med 1995;34:910-914.",
                "Griswold MA, et al. Generalized autocalibrating partially parallel acquisitions (GRAPPA). "
                "Magn Reson Med 2002;47:1202-1210.",
            ),
        ),
        (
            "Peak signal-to-noise ratio and structural similarity use the reference's white-matter level as their "
            "fixed data range and are taken inside one fixed mask.",
            ("Wang Z, et al. Image quality assessment. IEEE Trans Image Process 2004;13:600-612.",),
        ),
    )

    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """One raw image a repeat: sub-001_run-1, ..."""
        subject, repeats = participant["subject"], int(cohort["repeats"])
        stems = [f"{subject}_run-{r + 1}" for r in range(repeats)] if repeats > 1 else [subject]
        return [{"image": stem, "subject": subject, "repeat": r + 1} for r, stem in enumerate(stems)]

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Noise is added where there is a clean image; what is noisy already is taken as it is."""
        if not _adds_noise(images, cohort):
            return [{"scan": i["image"], **i, "acquisition": "measured", "noise": None} for i in images]
        rows = []
        for image in images:
            for kind in ("rician", "grappa"):
                for level in cohort.get("noise") or settings.get(kind, {}).get("noise", ()):
                    if kind == "grappa" and cohort.get("noise"):
                        continue
                    tag = f"{kind}{level:04.1f}".replace(".", "p")
                    row = {
                        "scan": with_entity(image["image"], "acq", tag),
                        **image,
                        "acquisition": kind,
                        "noise": float(level),
                    }
                    rows.append(row)
        return rows

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Head phantom of one subject: clean T1-weighted image and exact labels, one a repeat."""
        from senmei.phantoms.subject import simulate_subject

        repeats = simulate_subject(
            seed=seed,
            voxel_mm=float(cohort["voxel_mm"]),
            tesla=float(cohort["tesla"]),
            species=cohort["species"],
            repeats=int(cohort["repeats"]),
            skull=bool(cohort["skull"]),
            appearance=cohort["appearance"],
        )
        made = {}
        for row in images:
            roles = dict(repeats[int(row["repeat"]) - 1])
            white = float(np.median(roles["image"].data[roles["labels"].data == 3]))
            made[row["image"]] = {**roles, "columns": {"white_matter": white}}
        return made

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """'clean', 'repeats' or 'none', as configured or, with `reference: auto`, as the images allow."""
        reference = cohort["reference"]
        if reference == "auto":
            reference = _find_case(images)
        note = {
            "clean": "Clean scans: noise was added and the scan itself is the reference.",
            "repeats": "Repeated scans: each was restored and compared with the mean of the subject's other repeats.",
            "none": "No reference: restored images and no-reference measures only.",
        }[reference]
        return reference, note

    def check(self, image: Row, raw: Volume, cohort: Mapping[str, Any]) -> Row:
        """White-matter level of a scan read from a file. Raises DataError for an image without contrast."""
        from senmei.physics.intensity import white_matter_level

        return {"white_matter": white_matter_level(raw.data)}

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """`input`: the degraded image; `truth`: what it should have been; `repeats`: the mean of the others."""
        image, white = raw(scan["image"], "image"), float(scan["white_matter"])
        columns = {"data_range": white}
        noisy_already = scan["acquisition"] == "measured"
        if group == "repeats":
            if not scan["siblings"]:
                return {}, columns
            from senmei.analyses.repeats import mean_of_others

            others = [raw(name, "image") for name in scan["siblings"]]
            if not noisy_already:  # each repeat has noise of its own, as if measured
                rows = [{**scan, "scan": f"{scan['scan']} as {s}"} for s in scan["siblings"]]
                others = [
                    self._degrade(o, r, settings, white, seed) for o, r in zip(others, rows, strict=True)
                ]
                image = self._degrade(image, scan, settings, white, seed)
            return {"others": mean_of_others(image, others, register=cohort["register"])}, {
                **columns,
                "others_n": len(others),
            }
        labels = raw(scan["image"], "labels") if cohort["source"] == "simulate" else None
        mask, mask_of = evaluation_mask(image, labels)
        lesion = None
        if settings["lesion"]["radius_mm"] and not noisy_already and not scan["siblings"]:
            from senmei.physics.lesion import plant_lesion

            rng = draw_generator(seed, "lesion", scan["image"])
            image, lesion = plant_lesion(
                image, labels or mask, rng, settings["lesion"]["radius_mm"], settings["lesion"]["contrast"]
            )
        if group == "input":
            return {
                "input": image if noisy_already else self._degrade(image, scan, settings, white, seed)
            }, columns
        truth: dict[str, Any] = {"mask": mask}
        if not noisy_already:
            truth["reference"] = image
        if labels is not None:
            truth["labels"] = labels
        if lesion is not None:
            truth["lesion"] = lesion
        return truth, {**columns, "mask_of": mask_of}

    def _degrade(
        self, image: Volume, scan: Row, settings: Mapping[str, Any], white: float, seed: int
    ) -> Volume:
        rng = draw_generator(seed, "noise", scan["scan"])
        sigma = float(scan["noise"]) / 100 * white
        if scan["acquisition"] == "rician":
            from senmei.physics.rician import apply_rician

            return image.like(apply_rician(image.data, sigma, rng))
        from senmei.physics.grappa import acquire_grappa

        grappa = settings["grappa"]
        kind = {"acceleration": grappa["acceleration"], "coils": grappa["coils"], "acs": grappa["acs"]}
        return acquire_grappa(image, sigma, rng, **kind)


def _adds_noise(images: Sequence[Row], cohort: Mapping[str, Any]) -> bool:
    if cohort["source"] == "simulate":
        return True
    reference = cohort["reference"]
    return (reference if reference != "auto" else _find_case(images)) == "clean"


def _find_case(images: Sequence[Row]) -> str:
    """What a cohort's own images allow: repeats if most subjects have them, clean if hardly any noise is in them.

    Clean means an estimated noise of at most 2 % of white matter, the median of up to five images.
    """
    from pathlib import Path

    from senmei.core.errors import SenmeiError
    from senmei.io.nifti import read_volume
    from senmei.physics.intensity import white_matter_level
    from senmei.physics.noise_level import estimate_sigma

    subjects = {image["subject"] for image in images}
    if len(images) >= 2 * len(subjects):
        return "repeats"
    found = []
    for image in images[:5]:
        try:
            data = read_volume(Path(image["path"]), ndim=3, frames="first").data
            found.append(estimate_sigma(data) / white_matter_level(data))
        except SenmeiError:
            continue  # told at ingestion, with its reason
    return "clean" if found and float(np.median(found)) <= 0.02 else "none"


def evaluation_mask(image: Volume, labels: Volume | None) -> tuple[Volume, str]:
    """Where measures are taken, and what that is.

    'labels': the brain by exact labels; 'extracted': the voxels that are not zero in a brain-extracted scan;
    'foreground': what Otsu's threshold finds in any other, its holes filled.
    """
    if labels is not None:
        return labels.like(((labels.data >= 1) & (labels.data <= 4)).astype(np.uint8)), "labels"
    data = image.data
    if (data == 0).mean() > 0.2:
        return image.like((data > 0).astype(np.uint8)), "extracted"
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(data.astype(np.float32), 1.0)
    mask = ndimage.binary_closing(smooth > 0.7 * threshold_otsu(smooth), iterations=2)
    parts, n = ndimage.label(mask)
    if n > 1:
        mask = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return image.like(ndimage.binary_fill_holes(mask).astype(np.uint8)), "foreground"
