"""Taking identities out of what comes from a scanner: labels, sidecars, free text.

Follows the intent of the DICOM Basic Application Level Confidentiality Profile (PS3.15, annex E) by
allowlist: nothing passes that is not named here. It does not deface: a head scan still shows a face.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError

REMOVED = "[removed]"

# Technical keys of a dcm2niix sidecar: no dates, times, identifiers, places, people or free text.
SIDECAR_KEYS = frozenset(
    """
    Modality MagneticFieldStrength Manufacturer ManufacturersModelName MRAcquisitionType ScanningSequence
    SequenceVariant ScanOptions PulseSequenceType ImageType NonlinearGradientCorrection SliceThickness
    SpacingBetweenSlices EchoTime EchoTime1 EchoTime2 EchoNumber RepetitionTime RepetitionTimeExcitation
    RepetitionTimeInversion InversionTime FlipAngle NumberOfAverages EchoTrainLength PhaseEncodingSteps
    PhaseEncodingStepsNoPartialFourier PhaseEncodingStepsOutOfPlane AcquisitionMatrixPE ReconMatrixPE
    BaseResolution PhaseResolution PartialFourier PercentPhaseFOV PercentSampling PixelBandwidth
    BandwidthPerPixelPhaseEncode EffectiveEchoSpacing DerivedVendorReportedEchoSpacing TotalReadoutTime
    DwellTime PhaseEncodingDirection PhaseEncodingAxis PhaseEncodingPolarityGE SliceEncodingDirection
    SliceTiming ParallelReductionFactorInPlane ParallelReductionFactorOutOfPlane ParallelReductionOutOfPlane
    MultibandAccelerationFactor MatrixCoilMode CoilCombinationMethod ImageOrientationPatientDICOM
    ImageOrientationText InPlanePhaseEncodingDirectionDICOM WaterFatShift ConversionSoftware
    ConversionSoftwareVersion
    """.split()
)

# Attributes whose values may point at a person, a place or a moment (keywords of the DICOM dictionary).
IDENTIFYING = tuple(
    """
    PatientName PatientID OtherPatientIDs OtherPatientNames PatientBirthName PatientMotherBirthName
    PatientBirthDate IssuerOfPatientID PatientAddress PatientTelephoneNumbers PatientComments
    AdditionalPatientHistory ReferringPhysicianName PerformingPhysicianName OperatorsName PhysiciansOfRecord
    RequestingPhysician NameOfPhysiciansReadingStudy InstitutionName InstitutionAddress
    InstitutionalDepartmentName StationName DeviceSerialNumber AccessionNumber StudyID StudyDate SeriesDate
    AcquisitionDate ContentDate StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID
    """.split()
)

_KEY_VARIABLE = "SENMEI_DEID_KEY"
_TEXT = re.compile(r"[^A-Za-z0-9 .,:;=()\[\]_+/*-]+")
_LONG_NUMBER = re.compile(r"\d[\d.:/-]{4,}\d|\d{5,}")


def secret_key() -> bytes:
    """The key of subject labels: SENMEI_DEID_KEY, else a random one kept in the user's configuration folder.

    Whoever holds the key can test whether a given patient is a given subject; so it lies outside all outputs.
    Raises ConfigError if there is neither a variable nor a place to keep a key.
    """
    if given := os.environ.get(_KEY_VARIABLE):
        return given.encode()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "senmei"
    path = folder / "deidentify.key"
    try:
        if path.exists():
            return path.read_bytes().strip()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{secrets.token_hex(8)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)  # whole or not at all, and only the first of several jobs
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            "No key for subject labels",
            where=path,
            why=f"it can neither be read nor made: {error.strerror}",
            fix=f"set the environment variable {_KEY_VARIABLE} to a secret of your own",
        ) from error


def subject_label(identity: str, key: bytes) -> str:
    """'sub-' and 48 bits of HMAC-SHA256(key, identity): same patient, same label, no way back without key."""
    return f"sub-{hmac.new(key, identity.encode('utf-8', 'replace'), hashlib.sha256).hexdigest()[:12]}"


def tokens(values: Iterable[object]) -> frozenset[str]:
    """Lower-case words of identifying values, from 2 characters, to look for in free text."""
    words: set[str] = set()
    for value in values:
        text = str(value or "").lower()
        words.update(part for part in re.split(r"[\W_]+", text) if len(part) >= 2)
        if len(text.strip()) >= 3:
            words.add(text.strip())
    return frozenset(words - {"none", "null", "unknown", "mri"})


def clean_text(text: object, identifying: frozenset[str] = frozenset(), limit: int = 64) -> str:
    """Free text without the given words, long numbers (dates, identifiers) or unusual characters."""
    result = _TEXT.sub(" ", str(text if text is not None else ""))
    for word in sorted(identifying, key=len, reverse=True):
        pattern = re.escape(word)
        if len(word) < 4:  # 'Li' is a name, but not within 'axial slices'
            pattern = rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
        result = re.sub(pattern, REMOVED, result, flags=re.IGNORECASE)
    result = _LONG_NUMBER.sub(REMOVED, result)
    return " ".join(result.split())[:limit]


def clean_sidecar(sidecar: Mapping[str, Any], identifying: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The technical part of a BIDS sidecar: keys of SIDECAR_KEYS, no text that holds an identifying word."""

    def sound(value: Any) -> bool:
        if isinstance(value, str):
            return clean_text(value, identifying) == " ".join(value.split())
        if isinstance(value, list):
            return all(sound(item) for item in value)
        return isinstance(value, (bool, int, float))

    return {key: value for key, value in sorted(sidecar.items()) if key in SIDECAR_KEYS and sound(value)}
