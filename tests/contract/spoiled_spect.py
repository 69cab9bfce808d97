"""The SPECT study with a camera that loses a view of one subject's acquisition."""

from __future__ import annotations

from senmei.studies.spect_denoise import SPECTDenoise


class LostView(SPECTDenoise):
    """All subjects are well acquired but sub-001."""

    def acquire(self, images, cohort, seed):
        made = super().acquire(images, cohort, seed)
        if "sub-001" in made:
            projections = made["sub-001"]["projections"]
            data = projections.data.copy()
            data[:, :, 5] = 0
            made["sub-001"]["projections"] = projections.like(data)
        return made
