"""Restored planar images as NM DICOM: values, place, and what stands in the header."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import sheet_affine
from senmei.studies.gamma_sr import GammaSR

KEYS = {"subject": "a" * 32, "image": "b" * 32, "series": "c" * 32}
FACTS = {
    "format": "dicom", "method": "srresnet", "title": "SRResNet", "family": "learned", "weights_sha256": "d" * 64,
    "version": "0", "number": 102, "derivation": "Restored by SRResNet; Senmei 0", "keys": KEYS,
}  # fmt: skip
TOLD = {
    "nuclide": "Tc-99m", "collimator": "", "agent": "", "window": [126.0, 154.0], "view": "posterior",
    "duration_s": 1210.434, "image_type": "WHOLE BODY", "lossy": True,
}  # fmt: skip
SCAN = {
    "scan": "sub-1f_ses-1_run-2_acq-posterior", "subject": "sub-1f", "session": "1", "run": 2, "view": "posterior",
    "nuclide": "Tc-99m", "collimator": "LEHR", "time_s": 1210.434, "assumed": "collimator LEHR, distance 100 mm",
}  # fmt: skip
SHEET = {"scan": "sub-x_acq-a", "subject": "sub-x", "nuclide": "I-123", "collimator": "ME", "time_s": 600.0}
needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not there"
)


def restored(shape: tuple[int, int] = (24, 40), seed: int = 0) -> Volume:
    data = np.random.default_rng(seed).gamma(2.0, 0.3, shape).astype(np.float32)
    data[0, 0] = 9.0  # the lowest left pixel: x right, y up
    return Volume(data[..., None], sheet_affine(shape, 0.565))


def exported(volume: Any, scan: Any = SCAN, source: str = "dicom", **facts: Any) -> dict[str, bytes]:
    def raw(role: str) -> Any:
        return {"file_facts": TOLD}[role] if source == "dicom" else {}[role]

    return GammaSR().export(scan, volume, raw, {"source": source}, {**FACTS, **facts})


def read(files: dict[str, bytes]) -> Any:
    return pydicom.dcmread(io.BytesIO(files[".dcm"]))


def test_values_and_pixels_come_back_where_they_were() -> None:
    volume = restored()
    data = read(exported(volume))
    (item,) = data.RealWorldValueMappingSequence
    values = item.RealWorldValueSlope * data.pixel_array + item.RealWorldValueIntercept
    np.testing.assert_allclose(values[::-1].T, volume.data[..., 0], atol=0.51 * item.RealWorldValueSlope)
    assert (data.Rows, data.Columns) == (40, 24)
    assert np.unravel_index(values.argmax(), values.shape) == (39, 0), "row 0 is the top"
    assert [float(v) for v in data.PixelSpacing] == pytest.approx([0.565, 0.565])
    assert values.sum() == pytest.approx(float(volume.data.sum()), rel=1e-3)


def test_the_header_tells_what_was_done_and_names_nobody() -> None:
    data = read(exported(restored()))
    assert list(data.ImageType)[:3] == ["DERIVED", "PRIMARY", "WHOLE BODY"]
    assert data.SeriesDescription == "srresnet, posterior, visit 1, run 2: SRResNet"
    for words in (
        "Restored by SRResNet",
        "Assumed: collimator LEHR, distance 100 mm",
        "Not for diagnosis",
        "lost",
    ):
        assert words in data.DerivationDescription
    assert (
        data.PatientID == "sub-1f"
        and str(data.PatientName) == "sub-1f^"
        and data.PatientIdentityRemoved == "YES"
    )
    assert data.DetectorInformationSequence[0].ViewCodeSequence[0].CodeMeaning.lower().startswith("posterior")
    assert int(data.ActualFrameDuration) == 1210434
    other = read(exported(restored(), method="bicubic", keys={**KEYS, "series": "e" * 32}))
    assert (
        other.FrameOfReferenceUID == data.FrameOfReferenceUID
        and other.StudyInstanceUID == data.StudyInstanceUID
    )
    assert other.SeriesInstanceUID != data.SeriesInstanceUID
    assert exported(restored()) == exported(restored()), "equal images give equal bytes"
    assert (
        read(exported(restored(), family="none")).SeriesDescription == "unrestored, posterior, visit 1, run 2"
    )


def test_a_simulated_sheet_says_that_it_is_one() -> None:
    data = read(exported(restored(), SHEET, "simulate"))
    assert data.ImageType[2] == "STATIC" and "synthetic" in data.SeriesDescription
    assert data.DerivationDescription.startswith("Synthetic: a simulated sheet. ")
    window = data.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
    assert (window.EnergyWindowLowerLimit, window.EnergyWindowUpperLimit) == (143.1, 174.9)
    assert "ynthetic" not in read(exported(restored(), SHEET, "sheets")).DerivationDescription


@needs_dciodvfy
@pytest.mark.parametrize("source", ["dicom", "simulate"])
def test_a_validator_has_nothing_to_say(source: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    large = restored((256, 512))
    large.data[:] = 1.0 + large.data / 9  # stored values then sum to more than an integer string can hold
    path.write_bytes(exported(large, SCAN if source == "dicom" else SHEET, source)[".dcm"])
    data = pydicom.dcmread(path)
    assert int(data.CountsAccumulated) == round(float(large.data.sum(dtype=float)))
    assert data.pixel_array.sum(dtype=float) > 2**31
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line] == ["NMImage"]


def test_what_is_no_planar_image_is_refused() -> None:
    assert exported(restored(), format="interfile") == {}
    bad = restored()
    bad.data[3, 3] = np.nan
    turned = Volume(restored().data, restored().affine @ np.diag([-1.0, 1.0, 1.0, 1.0]))
    for volume, words in (
        ({"outcome": 1.0}, "the method made a dict"),
        (bad, "NaN or infinite"),
        (turned, "x right and y up"),
        (Volume(np.zeros((4, 4, 2), np.float32), np.eye(4)), "4 x 4 x 2"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            exported(volume)
        assert caught.value.where == SCAN["scan"]
