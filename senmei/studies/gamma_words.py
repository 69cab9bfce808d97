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
HANDED_ON: Sentences = (
    (
        "Pairs of measured images and printed teachers were taken over from a dataset as it was handed on, each file "
        "proven by its checksum; nothing was imaged, registered or paired again.",
        (),
    ),
)
IMAGES: Sentences = (
    (
        "Static and whole-body images of patients were read as they were stored, without identities, and restored by "
        "methods that were fitted on sheets; of patients there is no reference. Whether values are photon counts was "
        "asked of the image: the variance of its finest detail, relative to that of Poisson counts.",
        (),
    ),
)
STACKS: Sentences = (
    (
        "Heads were printed, in simulation, as stacks of sheets between plates much thinner than the camera's "
        "resolution: grey matter takes up four times as much as white, and there are a hot and a cold ball in each. A "
        "gamma camera turned about them; its views, blurred by each plane's distance and with Poisson counts, were "
        "restored one by one towards parallel projections without blur and noise, whose brightest pixel is the data "
        "range of a view. Stacks were split, never views.",
        (
            "El-Ali H, Ljungberg M, Strand SE, et al. Calibration of a radioactive ink-based stack phantom and its "
            "applications in nuclear medicine. Cancer Biother Radiopharm 2003;18:201-207.",
        ),
    ),
)


def sentences_of(cohorts: Iterable[Mapping[str, Any]], simulated: Sentences) -> Sentences:
    """The sentences that are true of these cohorts. simulated : of simulated sheets, and last of the scores."""
    sources = {"stack" if cohort.get("stack") else cohort["source"] for cohort in cohorts}
    *how, scores = simulated
    return (
        *(how if "simulate" in sources else ()),
        *(STACKS if "stack" in sources else ()),
        *(PRINTED if "sheets" in sources else ()),
        *(HANDED_ON if "dataset" in sources else ()),
        *(IMAGES if "dicom" in sources else ()),
        scores,
    )
