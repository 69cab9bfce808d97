"""DICOM series in: whole ones converted, the others named, identities left at the door."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError, EngineError
from senmei.engines import dcm2niix
from senmei.engines.dcm2niix import find_dcm2niix, ingest_cohort, ingest_dicom
from senmei.io.deidentify import clean_sidecar, clean_text, secret_key, subject_label, tokens
from senmei.io.nifti import read_volume
from senmei.io.tables import read_tsv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
corpus = importlib.import_module("corpus.make")

KEY = b"a key for tests"
SHARED = Path(os.environ.get("SENMEI_DATA", Path(__file__).resolve().parents[2] / "../shared/data")) / "dicom"


def _installed() -> bool:
    try:
        return bool(find_dcm2niix())
    except EngineError:
        return False


needs_dcm2niix = pytest.mark.skipif(not _installed(), reason="dcm2niix is not installed")
needs_series = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real series at {SHARED}")


@needs_dcm2niix
@pytest.mark.parametrize("case", corpus.DICOM, ids=lambda case: case.name)
def test_bad_series(case, tmp_path):
    folder, out = case.build(tmp_path), tmp_path / "out"
    if case.carried < 0:
        with pytest.raises(DataError) as caught:
            ingest_dicom(folder, out, key=KEY)
        assert all(fragment in str(caught.value) for fragment in case.expect), str(caught.value)
        assert not out.exists()
        return
    found = ingest_dicom(folder, out, key=KEY)
    assert len(found.images) == case.carried, found.report
    errors = [row["error"] for row in found.status]
    assert any(all(fragment in error for fragment in case.expect) for error in errors), errors
    for row in found.images:
        assert read_volume(row["path"]).shape == (20, 24, 8)
    assert not any("Jane" in json.dumps(row, default=str) for row in [*found.report, *found.status])


@needs_dcm2niix
def test_the_report_says_what_was_taken_and_what_was_left(tmp_path):
    folder = next(case for case in corpus.DICOM if case.name == "mixed series").build(tmp_path)
    lines: list[str] = []
    ingest_dicom(folder, tmp_path / "out", series="repeat", key=KEY, log=lines.append)
    rows = read_tsv(tmp_path / "out" / "taken.tsv")
    assert [(row["series"], row["files"], row["status"]) for row in rows] == [
        (1, 8, "left"),
        (2, 8, "taken"),
        (3, 8, "left"),
        (None, 1, "left"),
        (None, 1, "left"),
    ]
    assert rows[0]["reason"] == "not selected by series:"
    assert {rows[3]["reason"], rows[4]["reason"]} <= {
        "not DICOM (.txt)",
        "damaged DICOM",
        "DICOM without an image",
    }
    assert len(lines) == 3


@needs_dcm2niix
def test_pixels_and_place_are_those_of_the_series(tmp_path):
    corpus.write_series(tmp_path / "dicom")
    found = ingest_dicom(tmp_path / "dicom", tmp_path / "out", key=KEY)
    volume = read_volume(found.images[0]["path"])
    # LPS -> RAS: patient position (-20, -24, -10) of the first slice is (20, 24, -10).
    corner = np.linalg.inv(volume.affine) @ [20, 24, -10, 1]
    x, y, z = np.round(corner[:3]).astype(int)
    assert volume.data[x, y, z] == 0
    nearby = np.linalg.inv(volume.affine) @ [20 - 2 * 3, 24 - 2 * 5, -10 + 3 * 2, 1]
    x, y, z = np.round(nearby[:3]).astype(int)
    assert volume.data[x, y, z] == 5 * 20 + 3 * 7 + 10 * 2
    assert volume.voxel == pytest.approx((2, 2, 3))


@needs_dcm2niix
def test_patients_and_visits(tmp_path):
    corpus.write_series(tmp_path / "d" / "1", study=1, patient_id="A", StudyDate="20210101")
    corpus.write_series(tmp_path / "d" / "2", study=2, patient_id="A", StudyDate="20200101")
    corpus.write_series(tmp_path / "d" / "3", study=3, patient_id="B", number=4)
    corpus.write_series(tmp_path / "d" / "4", study=3, patient_id="B", number=7)
    found = ingest_dicom(tmp_path / "d", tmp_path / "out", key=KEY)
    a, b = subject_label("A", KEY), subject_label("B", KEY)
    assert {row["scan"] for row in found.images} == {
        f"{a}_ses-1",
        f"{a}_ses-2",
        f"{b}_ses-1_run-4",
        f"{b}_ses-1_run-7",
    }
    assert {row["subject"] for row in found.participants} == {a, b}
    again = ingest_dicom(tmp_path / "d", tmp_path / "out", key=KEY)
    assert again.images == found.images
    assert ingest_dicom(tmp_path / "d", tmp_path / "out", key=b"other").images != found.images


@needs_dcm2niix
def test_files_that_are_there_twice_are_taken_once(tmp_path):
    corpus.write_series(tmp_path / "d" / "a")
    corpus.write_series(tmp_path / "d" / "b")
    found = ingest_dicom(tmp_path / "d", tmp_path / "out", key=KEY)
    assert read_volume(found.images[0]["path"]).shape == (20, 24, 8)
    assert "8 files were there twice" in found.report[0]["reason"]


@needs_dcm2niix
def test_earlier_results_stay_when_nothing_can_be_taken(tmp_path):
    corpus.write_series(tmp_path / "d")
    found = ingest_dicom(tmp_path / "d", tmp_path / "out", key=KEY)
    before = Path(found.images[0]["path"]).read_bytes()
    with pytest.raises(DataError):
        ingest_dicom(tmp_path / "d", tmp_path / "out", modality="NM", key=KEY)
    assert Path(found.images[0]["path"]).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@needs_dcm2niix
@needs_series
@pytest.mark.parametrize(
    ("study", "shape", "count"), [("20180918GE", (64, 64, 15, 10), 2), ("20180918Si", (72, 72, 5, 2), 4)]
)
def test_real_series_have_the_shape_and_place_that_dcm2niix_gives(tmp_path, study, shape, count, monkeypatch):
    monkeypatch.setenv("SENMEI_DEID_KEY", "k")
    cohort = {"path": str(SHARED / study), "suffix": "bold", "frames": "repeats"}
    _, images, status = ingest_cohort(cohort, tmp_path / "cohort", seed=1, log=lambda line: None)
    assert len(images) == count * shape[3] and not status
    paths = sorted({row["path"] for row in images})
    for series in sorted(path for path in (SHARED / study).iterdir() if path.is_dir()):
        own = tmp_path / series.name
        own.mkdir()
        subprocess.run(
            [str(find_dcm2niix()), "-f", "x", "-o", str(own), str(series)], check=True, capture_output=True
        )
        theirs = nibabel.load(own / "x.nii")
        number = int(series.name[-4:])
        ours = read_volume(next(path for path in paths if f"_run-{number}_" in path), ndim=4)
        assert ours.shape == theirs.shape == shape
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)
        np.testing.assert_array_equal(ours.data, theirs.get_fdata(dtype=np.float32))
        assert ours.header["sform_code"] == theirs.header["sform_code"]
        assert ours.header["zooms"][3] == pytest.approx(float(theirs.header.get_zooms()[3]))


@needs_dcm2niix
@needs_series
def test_no_identifier_reaches_any_output(tmp_path, monkeypatch):
    """Plant identifiers wherever a header has room, and search every byte of every output and message."""
    import pydicom

    planted = {
        "PatientName": "Quixotic^Zebulon",
        "PatientID": "MRN7734211",
        "PatientBirthDate": "19530417",
        "OtherPatientIDs": "ALT5521987",
        "AccessionNumber": "ACC991827",
        "InstitutionName": "Xanadu Hospital",
        "InstitutionAddress": "Wisteria Lane",
        "ReferringPhysicianName": "Featherstonehaugh^M",
        "OperatorsName": "Cholmondeley",
        "StationName": "BRINDLE42",
        "DeviceSerialNumber": "SN8675309",
        "StudyDate": "20190203",
        "SeriesDate": "20190203",
        "AcquisitionDate": "20190203",
        "ContentDate": "20190203",
        "StudyTime": "131415.000000",
        "AcquisitionTime": "131617.000000",
        "StudyID": "STD44120",
        "StudyInstanceUID": "1.2.840.99999.7734.1",
        "SeriesInstanceUID": "1.2.840.99999.7734.2",
        "FrameOfReferenceUID": "1.2.840.99999.7734.3",
        "PatientComments": "keeps bees",
        "ImageComments": "keeps wasps",
        "StudyDescription": "for Quixotic",
        "ProtocolName": "Zebulon protocol",
        "SeriesDescription": "EPI Zebulon MRN7734211 19530417 QUIXOTIC",
        "SequenceName": "zebulon",
        "ScanOptions": "QUIXOTIC",
        "PatientAddress": "Wisteria Lane",
    }
    source = tmp_path / "Quixotic Zebulon" / "MRN7734211"
    source.mkdir(parents=True)
    for study, series in (("20180918Si", "mr_0003"), ("20180918GE", "mr_0004")):
        for number, path in enumerate(sorted((SHARED / study / series).glob("*.dcm"))):
            data = pydicom.dcmread(path)
            for name, value in planted.items():
                setattr(data, name, value + ("1" if name == "SeriesInstanceUID" and "Si" in study else ""))
            data.SOPInstanceUID = f"1.2.840.99999.7734.9.{len(study)}.{data.SeriesNumber}.{number}"
            data.save_as(source / f"Zebulon_{study}_{number}.dcm")
    (source / "Quixotic.txt").write_text("MRN7734211")
    monkeypatch.setenv("SENMEI_DEID_KEY", "k")
    lines: list[str] = []
    found = ingest_dicom(source, tmp_path / "out", suffix="bold", log=lines.append)
    assert len(found.images) == 2 and not found.status, found.report
    secrets = [
        "Quixotic",
        "Zebulon",
        "MRN7734211",
        "7734211",
        "19530417",
        "1953-04-17",
        "ALT5521987",
        "ACC991827",
    ]
    secrets += [
        "Xanadu",
        "Wisteria",
        "Featherstonehaugh",
        "Cholmondeley",
        "BRINDLE42",
        "SN8675309",
        "8675309",
    ]
    secrets += [
        "20190203",
        "2019-02-03",
        "131415",
        "13:14:15",
        "131617",
        "13:16:17",
        "STD44120",
        "1.2.840",
        "99999.7734",
    ]
    secrets += ["bees", "wasps", "20180918", "1970", "45160", "NIH", "000301496", "Regression"]
    outputs = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert len(outputs) == 7  # 2 images, 2 sidecars, dataset_description, participants, taken
    said = json.dumps([found.participants, found.images, found.status, found.report, lines], default=str)
    said = said.replace(str(tmp_path), "")
    for secret in secrets:
        assert secret.lower() not in said.lower()
        for path in outputs:
            content = path.read_bytes()
            content = gzip.decompress(content)[:352] + content[:64] if path.suffix == ".gz" else content
            assert secret.lower().encode() not in content.lower(), (secret, path.name)
            assert secret.lower() not in str(path.relative_to(tmp_path)).lower()


def test_without_the_program_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(EngineError) as caught:
        ingest_dicom(tmp_path, tmp_path / "out", key=KEY)
    assert "pip install dcm2niix" in str(caught.value)


def _program(folder: Path, script: str) -> None:
    path = folder / "dcm2niix"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "fragment"),
    [
        ("echo 'Error: cannot read Doe Jane slice'; exit 3", "exit status 3"),
        ("exit 0", "gave no reason"),
        ("sleep 5", "ran for more than"),
    ],
)
def test_a_program_that_fails_is_a_row_and_not_the_end(monkeypatch, tmp_path, script, fragment):
    (tmp_path / "bin").mkdir()
    _program(tmp_path / "bin", script)
    corpus.write_series(tmp_path / "d")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(dcm2niix, "_MINUTES", 0.01)
    with pytest.raises(DataError) as caught:  # it was the only series
        ingest_dicom(tmp_path / "d", tmp_path / "out", key=KEY)
    assert fragment in str(caught.value)
    assert "Doe" not in str(caught.value) and "Jane" not in str(caught.value)


def test_a_bad_expression_is_explained(tmp_path):
    with pytest.raises(ConfigError) as caught:
        ingest_dicom(tmp_path, tmp_path / "out", series="(", key=KEY)
    assert "series: (" in str(caught.value)


def test_labels_depend_on_the_key_alone(monkeypatch, tmp_path):
    assert subject_label("A", KEY) == subject_label("A", KEY) != subject_label("B", KEY)
    assert subject_label("A", KEY) != subject_label("A", b"other")
    monkeypatch.delenv("SENMEI_DEID_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert secret_key() == secret_key() and len(secret_key()) == 64
    assert (tmp_path / "senmei" / "deidentify.key").stat().st_mode & 0o77 == 0
    assert len(list((tmp_path / "senmei").iterdir())) == 1
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "senmei" / "deidentify.key"))
    with pytest.raises(ConfigError) as caught:
        secret_key()
    assert "SENMEI_DEID_KEY" in caught.value.fix


def test_text_and_sidecars_are_cleaned():
    words = tokens(["Doe^Jane", "MRN 123", None, "Li"])
    assert clean_text("T1 of jane DOE, axial slices 20200102 12:13:14.5", words) == (
        "T1 of [removed] [removed], axial slices [removed] [removed]"
    )
    assert clean_text("Li T1 axial <b>\n\x00", words) == "[removed] T1 axial b"
    sidecar = {
        "EchoTime": 0.03,
        "PatientName": "Doe",
        "SequenceName": "x",
        "ScanOptions": "doe",
        "Manufacturer": "GE",
    }
    sidecar |= {"AcquisitionTime": "12:00:00", "SliceTiming": [0, 0.5], "ImageType": ["M", "JANE"]}
    assert clean_sidecar(sidecar, words) == {"EchoTime": 0.03, "Manufacturer": "GE", "SliceTiming": [0, 0.5]}
