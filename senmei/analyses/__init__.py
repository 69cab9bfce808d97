"""What the clinician asks of restored scans. See `senmei.core.analysis` for the contract."""

from senmei.core.registry import Registry

ANALYSES = Registry(
    "analysis",
    {
        "tissues": "senmei.analyses.tissues:Tissues",
        "repeats": "senmei.analyses.repeats:Repeats",
        "perfusion": "senmei.analyses.perfusion:Perfusion",
        "patient_heart": "senmei.analyses.patient_heart:PatientHeart",
        "degradation_fit": "senmei.analyses.degradation_fit:DegradationFit",
        "pairing": "senmei.analyses.pairing:PairingWays",
        "sheet_tomography": "senmei.analyses.sheet_tomography:SheetTomography",
        "resolution_recovery": "senmei.analyses.resolution_recovery:ResolutionRecovery",
        "observer": "senmei.analyses.observer:Observer",
    },
)
