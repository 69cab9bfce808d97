"""One short module a study: what is simulated, degraded, measured and analysed."""

from senmei.core.registry import Registry

STUDIES = Registry(
    "study",
    {
        "mri_denoise": "senmei.studies.mri_denoise:MRIDenoise",
        "spect_denoise": "senmei.studies.spect_denoise:SPECTDenoise",
        "gamma_sr": "senmei.studies.gamma_sr:GammaSR",
        "gamma_dynamics": "senmei.studies.gamma_dynamics:GammaDynamics",
    },
)
