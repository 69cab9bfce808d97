"""A real whole-body bone scan through `gamma_sr`, from the file to the report page and back to DICOM."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from tests.workflow.running import snakemake

SCAN = Path(pydicom.data.__file__).parent / "test_files" / "JPGExtended.dcm"  # GE, 1024 x 256, JPEG 76 : 1


def test_a_bone_scan_is_restored_by_what_was_fitted_on_sheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENMEI_DEID_KEY", "of the tests")
    clinic = tmp_path / "clinic" / "Doe^Jane"
    clinic.mkdir(parents=True)
    shutil.copy(SCAN, clinic / "Jane.dcm")
    bone = {
        "use": "test",
        "source": "dicom",
        "path": str(tmp_path / "clinic"),
        "window": [126, 154],
        "bin": 4,
        "export": {"format": "dicom", "methods": ["bicubic", "srresnet"]},
    }
    config = {
        "run": "bone",
        "preset": "tiny",
        "device": "cpu",
        "only": ["gamma_sr"],
        "studies": {
            "gamma_sr": {
                "cohorts": {"bone": bone},
                "methods": {"butterworth": None, "srresnet": {"steps": 5}},
                "measures": {"reblur_deviance": {}, "flat_noise": {}, "edge_gain": {}},
            }
        },
    }
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", "exported", config=config)
    study = tmp_path / "results" / "bone" / "gamma_sr"
    assert json.loads((study / "summary.json").read_text())["failures"] == 0, (
        study / "status.tsv"
    ).read_text()
    with (study / "measures.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["cohort"] == "bone"]
    found = {(row["method"], row["measure"]): float(row["value"]) for row in rows}
    assert {measure for _, measure in found} == {"count_bias", "reblur_deviance", "flat_noise", "edge_gain"}
    for method in ("input", "bicubic", "srresnet"):
        assert abs(found[method, "count_bias"]) < 0.01
        assert 0 < found[method, "reblur_deviance"] < 20
        assert 0 < found[method, "flat_noise"] < 100
        assert 0.2 < found[method, "edge_gain"] < 3
    page = (study / "report.html").read_text()
    for words in (
        "There is no reference for these scans",
        "Remark: packed with loss, 76 : 1.",
        "Outside what SRResNet was fitted on",
        "collimator LEHR, distance 100 mm",
        "Detail",
    ):
        assert words in page, words
    for method in ("bicubic", "srresnet"):
        (file,) = (study / "exported" / "bone" / method).glob("*.dcm")
        data = pydicom.dcmread(file)
        assert (data.Rows, data.Columns) == (1024, 256) and data.ImageType[2] == "WHOLE BODY"
        assert [float(v) for v in data.PixelSpacing] == pytest.approx([2.26, 2.26], rel=1e-4)
        item = data.RealWorldValueMappingSequence[0]
        total = float(data.pixel_array.sum(dtype=float) * item.RealWorldValueSlope)
        assert total == pytest.approx(3770427, rel=1e-3), "counts go back as they came"
        content = file.read_bytes()
        for word in (b"CompressedSamples", b"8NM1", b"genieacq", b"Hospital", b"172.16", b"Jane", b"Doe"):
            assert word not in content
    for path in study.rglob("*"):
        assert "Jane" not in path.name and "Doe" not in path.name
        if path.suffix in (".tsv", ".json", ".html"):
            assert b"Jane" not in path.read_bytes() and b"CompressedSamples" not in path.read_bytes()
