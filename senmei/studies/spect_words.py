"""What the methods paragraph says of the study `spect_denoise`, by what its cohorts are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from senmei.studies.spect_files import measured

Sentence = tuple[str, tuple[str, ...]]

SIMULATED: Sentence = (
    "Torsos with individual anatomy, uptake and perfusion defects were simulated; expected projections held "
    "attenuation, depth-dependent collimator response and scatter (an effective-source kernel), and photon "
    "counts were drawn from them. Lower doses are the same acquisition, thinned.",
    (
        "Frey EC, Tsui BMW. A new method for modeling the spatially-variant, object-dependent scatter response "
        "function in SPECT. IEEE NSS Conf Rec 1996;2:1082-1086.",
    ),
)
MEASURED: Sentence = (
    "Acquisitions of patients were read as the camera counted them, in the photopeak window, without identities; "
    "lower doses and noisy pairs are the same acquisition, each photon kept with a fixed probability or counted in "
    "other gates, so that no photon is in both images of a pair.",
    ("Kingman JFC. Poisson Processes. Oxford: Clarendon Press; 1993.",),
)
OSEM = (
    "Hudson HM, Larkin RS. Accelerated image reconstruction using ordered subsets of projection data. "
    "IEEE Trans Med Imaging 1994;13:601-609."
)
PAIRS = (
    "Lehtinen J, et al. Noise2Noise: learning image restoration without clean data. ICML 2018;80:2965-2974."
)
RECONSTRUCTED: Sentence = (
    "Images were reconstructed by ordered-subset expectation maximisation or filtered back-projection; "
    "the reference is the same reconstruction of projections without noise. Training saw pairs of noisy "
    "reconstructions only.",
    (OSEM, PAIRS),
)
WITHOUT_REFERENCE: Sentence = (
    "Images were reconstructed by ordered-subset expectation maximisation or filtered back-projection; of patients "
    "there is no reference. Training saw pairs of noisy reconstructions only.",
    (OSEM, PAIRS),
)


def sentences_of(cohorts: Iterable[Mapping[str, Any]]) -> tuple[Sentence, ...]:
    """Sentences that are true of these cohorts."""
    kinds = {measured(cohort) for cohort in cohorts}
    if kinds == {True}:
        return MEASURED, WITHOUT_REFERENCE
    return (SIMULATED, *([MEASURED] if True in kinds else []), RECONSTRUCTED)
