"""What a dataset says of itself in JSON and tables: descriptions, sidecars, columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import senmei
from senmei.io.tables import format_value
from senmei.lab.dataset_pair import is_synthetic
from senmei.lab.dataset_readme import all_synthetic, sources

if TYPE_CHECKING:
    from senmei.lab.dataset import About

BIDS_VERSION = "1.10.0"
DERIVATIVES = "derivatives/pairs"
# column -> (field of the sidecar or '', unit or '', description)
COLUMNS: dict[str, tuple[str, str, str]] = {
    "time_s": ("AcquisitionDuration", "s", "Duration of the acquisition"),
    "nuclide": ("TracerRadionuclide", "", "Nuclide in the ink"),
    "collimator": ("Collimator", "", "Collimator of the camera"),
    "distance_mm": ("CollimatorToSheetDistance", "mm", "From the collimator's face to the sheet"),
    "layer_mm": ("WaterEquivalentLayer", "mm", "Water-equivalent layer between sheet and camera"),
    "counts": ("TotalCounts", "counts", "Counts of the whole image"),
    "residual_mm": (
        "RegistrationResidual",
        "mm",
        "Root mean square distance of the marks after registration",
    ),
    "pairing": (
        "Pairing",
        "",
        "How the teacher was given counts: known (simulated), lut, affine or monotone",
    ),
    "pairing_offset_percent": (
        "PairingOffset",
        "percent",
        "Mean of the paired reference against the image's",
    ),
    "pairing_deviance": (
        "PairingDeviance",
        "",
        "Deviance of the counts per degree of freedom; 1 is counting noise",
    ),
    "expected_mm": ("RegistrationResidualExpected", "mm", "What counting noise alone would leave of it"),
    "angle_deg": ("RegistrationAngle", "degrees", "Turn of the sheet in the image"),
    "likeness": ("Likeness", "", "Correlation of the counts with the teacher as the camera would blur it"),
    "correction": ("CountCorrection", "", "Factor for dead time and decay, which the counts hold already"),
    "restore": ("ReferenceShows", "", "teacher, or what another collimator would show without noise"),
    "reference_collimator": (
        "ReferenceCollimator",
        "",
        "Collimator that the reference is of, if not the teacher",
    ),
    "sheet_mbq": ("SheetActivity", "MBq", "Activity of the sheet when the acquisition started"),
    "data_range": (
        "DataRange",
        "counts",
        "Range of PSNR and SSIM: counts of full ink in a pixel of the reference",
    ),
    "teacher": ("Teacher", "", "Name of the printed picture"),
    "teacher_source": ("TeacherSource", "", "Where the printed picture comes from"),
    "teacher_licence": ("TeacherLicense", "", "Licence of the printed picture, as far as it is known"),
    "synthetic": ("Synthetic", "", "Whether sheet and camera were simulated"),
    "pixel_mm": ("", "mm", "Edge of the camera's pixel"),
    "matrix": ("", "", "Pixels across the image"),
    "counts_max": ("", "counts", "Largest counts expected in a pixel"),
    "family": ("", "", "Family of the printed picture"),
    "repeat": ("", "", "Number of the picture within its source"),
    "source_image": ("", "", "Printed sheet: scans with the same value are of one print"),
}
# fields that a sidecar has even where nothing is known
_ALWAYS = (
    "time_s",
    "nuclide",
    "collimator",
    "distance_mm",
    "layer_mm",
    "residual_mm",
    "pairing",
    "synthetic",
)
_FIELDS = {
    "filename": "The measured image, from the subject's folder",
    "participant_id": "Source of printed pictures, a photograph or a body; never a person",
    "split": "Split of the source: train, validation or test",
    "family": "Family of the pictures",
}


def as_json(value: Mapping[str, Any]) -> str:
    """A file's text, the same for the same values."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def as_tsv(rows: Sequence[Mapping[str, Any]], first: Sequence[str]) -> str:
    """A table's text: columns of `first` that any row has, then the others as they come."""
    present = dict.fromkeys(key for row in rows for key in row)
    names = [*(n for n in first if n in present), *(n for n in present if n not in first)]
    lines = [names, *([format_value(row.get(n)) for n in names] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def sidecar(roles: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a measured image's sidecar; null for what is not known. Names of PET-BIDS where they fit."""
    low, reference = roles["low"], roles["reference"]
    told: dict[str, Any] = {
        "Modality": "NM",
        "ImageType": ["STATIC", "EMISSION"],
        "Units": "counts",
        "Matrix": [int(n) for n in low.shape[:2]],
        "PixelSize": [round(float(v), 6) for v in low.voxel[:2]],
        "PixelSizeUnits": "mm",
        "ReferencePixelSize": [round(float(v), 6) for v in reference.voxel[:2]],
        "TotalCounts": round(float(low.data.sum(dtype=float)), 6),
        "CameraResponse": dict(roles["camera"]),
    }
    columns = {**columns, "synthetic": is_synthetic(columns)}
    for column, (name, _, _) in COLUMNS.items():
        if name and (column in columns or column in _ALWAYS):
            told.setdefault(name, columns.get(column))
    return told


def columns_json(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Descriptions of the columns of scans.tsv."""
    found = {}
    for column in dict.fromkeys(key for row in rows for key in row):
        _, unit, text = COLUMNS.get(
            column, ("", "", _FIELDS.get(column, "A column of the study that made this dataset"))
        )
        found[column] = {"Description": text, **({"Units": unit} if unit else {})}
    return found


def participants_json(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Descriptions of the columns of participants.tsv."""
    names = dict.fromkeys(key for row in rows for key in row)
    return {n: {"Description": _FIELDS.get(n, "A column of the study that made this dataset")} for n in names}


def description_json(about: About, version: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """dataset_description.json; `PairsVersion` is the layout's."""
    told: dict[str, Any] = {
        "Name": about.name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": about.licence,
        "Authors": list(about.authors),
        "GeneratedBy": _generated("Measured images of printed sheets, paired with the printed pictures"),
        "SourceDatasets": [{"Description": f"{s} ({licence})"} for s, licence in sorted(sources(rows))],
        "PairsVersion": version,
        "Synthetic": all_synthetic(rows),
    }
    return told | ({"HowToAcknowledge": about.acknowledge} if about.acknowledge else {})


def derivatives_json(about: About) -> dict[str, Any]:
    """dataset_description.json of what was made of the measured images."""
    return {
        "Name": f"{about.name}: references, printed areas and teachers",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": about.licence,
        "Authors": list(about.authors),
        "GeneratedBy": _generated("Teachers given the counts of their measured images"),
        "SourceDatasets": [{"URL": "../../"}],
    }


def _generated(text: str) -> list[dict[str, str]]:
    return [{"Name": "Senmei", "Version": senmei.__version__, "Description": text}]
