"""What the methods paragraph says of the study `spect_denoise`, by what its cohorts are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from senmei.studies.spect_files import measured
from senmei.studies.spect_phantoms import builtin, phantom_kind

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
XCAT: Sentence = (
    "Patients were XCAT phantoms.",
    ("Segars WP, et al. 4D XCAT phantom for multimodality imaging research. Med Phys 2010;37:4902-4915.",),
)
PHANTOMS: dict[str, Sentence] = {
    "torso": ("Torsos with individual anatomy, uptake and perfusion defects were simulated.", ()),
    "xcat": XCAT,
    "xcat files": XCAT,
    "file": ("Patients were phantoms of others, given as maps of activity and attenuation.", ()),
}
PROJECTED: Sentence = (
    "Expected projections held attenuation, depth-dependent collimator response and scatter (an effective-source "
    "kernel), and photon counts were drawn from them.",
    SIMULATED[1],
)
SIMIND: Sentence = (
    "Expected projections were averages of independent Monte Carlo simulations (SIMIND), and photon counts were drawn "
    "from them.",
    (
        "Ljungberg M, Strand SE. A Monte Carlo program for the simulation of scintillation camera characteristics. "
        "Comput Methods Programs Biomed 1989;29:257-272.",
    ),
)
THINNED: Sentence = ("Lower doses are the same acquisition, thinned.", ())
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
    cohorts = list(cohorts)
    patients = [MEASURED] if any(map(measured, cohorts)) else []
    made = {(phantom_kind(c), builtin(c)) for c in cohorts if not measured(c)}
    if not made:
        return *patients, WITHOUT_REFERENCE
    if made == {("torso", True)}:
        return SIMULATED, *patients, RECONSTRUCTED
    who = [PHANTOMS[kind] for kind in dict.fromkeys(kind for kind, _ in sorted(made))]
    cameras = [PROJECTED if ours else SIMIND for ours in sorted({ours for _, ours in made}, reverse=True)]
    return *who, *cameras, THINNED, *patients, RECONSTRUCTED
