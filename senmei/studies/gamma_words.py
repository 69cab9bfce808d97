"""What the methods text says of a run of `gamma_sr`: sheets simulated, printed and imaged, images of patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Sentences = tuple[tuple[str, tuple[str, ...]], ...]

PRINTED: Sentences = (
    (
        "Sheets of teacher images were printed with radioactive ink and imaged by a gamma camera. Each scan was "
        "registered to its page by six printed marks (a weighted least-squares similarity), the teacher brought to the "
        "counts and not the counts to the teacher, and how counts follow from its grey was found in the scan itself.",
        ("Umeyama S. Least-squares estimation of transformation parameters. IEEE TPAMI 1991;13:376-380.",),
    ),
)
IMAGES: Sentences = (
    (
        "Static and whole-body images of patients were read as they were stored, without identities, and restored by "
        "methods that were fitted on sheets; of patients there is no reference. Whether their values are photon counts "
        "was asked of the images: the variance of the finest detail relative to that of Poisson counts. Restored images "
        "were sent through the camera's model again and compared with the counts by their Poisson deviance, relative to "
        "that which is expected.",
        (
            "McCullagh P, Nelder JA. Generalized linear models. 2nd ed. London: Chapman and Hall; 1989.",
            "Bertero M, Boccacci P, Talenti G, Zanella R, Zanni L. A discrepancy principle for Poisson data. Inverse "
            "Probl 2010;26:105004.",
        ),
    ),
)


def sentences_of(cohorts: Iterable[Mapping[str, Any]], simulated: Sentences) -> Sentences:
    """The sentences that are true of these cohorts. simulated : of simulated sheets, and last of the scores."""
    sources = {cohort["source"] for cohort in cohorts}
    *how, scores = simulated
    return (
        *(how if "simulate" in sources else ()),
        *(PRINTED if "sheets" in sources else ()),
        *(IMAGES if "dicom" in sources else ()),
        scores,
    )
