"""A user's own data through the doors of the workflow: BIDS and DICOM, clean scans, repeats, or neither."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml

from senmei.core.volume import Volume
from senmei.io.nifti import write_volume
from senmei.io.tables import read_tsv
from tests.corpus.make import brain, write_dataset, write_subject
from tests.workflow.running import ROOT, planned, snakemake

DATA = Path(os.environ.get("SENMEI_DATA", ROOT.parent / "shared" / "data"))
T1 = [DATA / "t1" / name for name in ("colin27.nii.gz", "mni.nii.gz")]
real_t1 = pytest.mark.skipif(
    not all(p.exists() for p in T1), reason="real scans are not here: Colin27 and MNI"
)
GE, SIEMENS = DATA / "dicom" / "20180918GE" / "mr_0004", DATA / "dicom" / "20180918Si"
real_dicom = pytest.mark.skipif(
    not (GE.exists() and SIEMENS.exists()), reason="real scans are not here: DICOM"
)

# The overlay of the documentation; what follows it makes the run a short one.
OVERLAY = """
run: mine
studies: {{mri_denoise: {{cohorts: {{mine: {{use: test, source: bids, path: {path}, suffix: T1w}}}}}}}}
"""


def short(overlay: str, analyses: tuple[str, ...] = (), **mine: Any) -> dict[str, Any]:
    """The overlay with its cohort alone and one method that needs no training."""
    config = yaml.safe_load(overlay)
    config |= {"preset": "tiny", "device": "cpu", "threads": 1, "only": ["mri_denoise"]}
    study = config["studies"]["mri_denoise"]
    study["cohorts"]["phantoms"] = None
    study["cohorts"]["mine"] |= mine
    study["degradation"] = {"lesion": {"radius_mm": 0}}
    study["methods"] = {"nlm3d": None, "unet3d": None, "gaussian": {"fwhm_mm": 3}}
    study["measures"] = dict.fromkeys(["nmse", "residual_structure", "lesion_survival"])
    study["analyses"] = {"tissues": None, **{name: {} for name in analyses}}
    return config


def results(run: Path) -> Path:
    return run / "results" / "mine" / "mri_denoise"


def facts(run: Path) -> dict[str, Any]:
    return json.loads((results(run) / "cohorts" / "mine" / "cohort.json").read_text())


def by_method(run: Path, measure: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for row in read_tsv(results(run) / "measures.tsv"):
        if row["measure"] == measure:
            values.setdefault(row["method"], []).append(row["value"])
    return values


@real_t1
def test_real_t1_scans_by_the_documented_overlay(tmp_path: Path) -> None:
    """Colin27 and MNI, every third voxel of a smoothed copy: clean scans, so noise is added to them."""
    from scipy.ndimage import gaussian_filter

    root = tmp_path / "bids"
    for name, path in zip(("colin27", "mni"), T1, strict=True):
        image = nibabel.load(path)
        data = gaussian_filter(np.asarray(image.dataobj, np.float32), 1.2)[::3, ::3, ::3]
        affine = image.affine @ np.diag([3, 3, 3, 1])
        write_volume(root / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz", Volume(data, affine))
    config = short(OVERLAY.format(path=root))
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=config)
    assert facts(tmp_path)["case"] == "clean"
    assert facts(tmp_path)["synthetic"] is False
    psnr = by_method(tmp_path, "psnr")
    assert len(psnr["input"]) == len(psnr["gaussian"]) == 2
    assert all(better > worse + 1 for better, worse in zip(psnr["gaussian"], psnr["input"], strict=True))
    assert all(15 < value < 30 for value in psnr["input"]), "9 % of white matter is 20.9 dB and a little"
    page = html.unescape((results(tmp_path) / "report.html").read_text())
    assert facts(tmp_path)["note"] in page, "the report says which case it is"
    restored = nibabel.load(next((results(tmp_path) / "restored/mine/gaussian").glob("sub-colin27*.nii.gz")))
    source = nibabel.load(root / "sub-colin27" / "anat" / "sub-colin27_T1w.nii.gz")
    assert np.allclose(restored.affine, source.affine)
    assert restored.get_data_dtype() == np.float32
    assert restored.header["sform_code"] == source.header["sform_code"]
    assert restored.header.get_xyzt_units() == source.header.get_xyzt_units()


@real_dicom
@pytest.mark.parametrize(("path", "series"), [(GE, None), (SIEMENS, "PE=AP")], ids=["GE", "Siemens"])
def test_real_dicom_series_as_repeats(path: Path, series: str | None, tmp_path: Path) -> None:
    """Each volume of an EPI series of a phantom is a repeat: leave one out, against the mean of the others."""
    overlay = f"run: mine\nstudies: {{mri_denoise: {{cohorts: {{mine: {{use: test, source: dicom, path: {path}}}}}}}}}"
    config = short(
        overlay, ("repeats",), suffix="bold", frames="repeats", **({"series": series} if series else {})
    )
    snakemake(tmp_path, "-c2", "--quiet=rules", "report", config=config)
    folder = results(tmp_path) / "cohorts" / "mine"
    assert facts(tmp_path)["case"] == "repeats"
    scans = read_tsv(folder / "scans.tsv")
    assert len(scans) >= 2
    assert {row["acquisition"] for row in scans} == {"measured"}
    assert len({row["subject"] for row in scans}) == 1, "one subject is enough"
    assert read_tsv(results(tmp_path) / "status.tsv") == [] or series
    error, floor = by_method(tmp_path, "mse_others"), by_method(tmp_path, "mse_floor")
    for method in ("input", "gaussian"):
        assert len(error[method]) == len(scans)
        assert len(floor[method]) == len(scans)
    assert by_method(tmp_path, "psnr") == {}, "there is no reference"
    others = read_tsv(next((results(tmp_path) / "prepared/mine/repeats").glob("*.tsv")))
    assert {row["others_n"] for row in others} == {len(scans) - 1}
    taken = read_tsv(folder / "bids" / "taken.tsv")
    assert "taken" in {row["status"] for row in taken}
    if series:
        assert any(row["status"] == "left" and row["reason"] for row in taken)
    page = html.unescape((results(tmp_path) / "report.html").read_text())
    assert facts(tmp_path)["note"] in page
    for secret in (b"Test^Regression", b"Regression", b"NIH FMRIF", b"20180918T", b"fmrif3tb"):
        for file in results(tmp_path).rglob("*"):
            if file.is_file() and file.suffix in (".json", ".html", ".nii"):
                assert secret not in file.read_bytes(), (secret, file)


def test_uneven_sessions_runs_and_frames_and_a_subject_added(tmp_path: Path) -> None:
    """Two subjects scanned unequally, one a time series; then a third subject comes and its shard alone is planned."""
    root = write_dataset(tmp_path / "bids", ())
    for session in ("1", "2"):
        write_subject(root, "01", session=session, seed=int(session))
    write_subject(root, "02", seed=3)
    four = brain(4, (16, 18, 12, 3))
    write_volume(root / "sub-02" / "anat" / "sub-02_run-2_T1w.nii.gz", four)
    config = short(OVERLAY.format(path=root), ("repeats",), frames="repeats", register=False)
    target = "results/mine/mri_denoise/restored/mine/gaussian/sub-01.tsv"
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(config))
    assert planned(tmp_path, target)["list_cohort"] == 1, "a shard by name, before anything is listed"
    snakemake(tmp_path, "-c2", "--quiet=rules", "analysed", config=config)
    scans = [row["scan"] for row in read_tsv(results(tmp_path) / "cohorts/mine/scans.tsv")]
    assert scans == [
        "sub-01_ses-1",
        "sub-01_ses-2",
        "sub-02",
        "sub-02_run-2f1",
        "sub-02_run-2f2",
        "sub-02_run-2f3",
    ]
    assert facts(tmp_path)["case"] == "repeats"
    assert len(by_method(tmp_path, "mse_others")["input"]) == 6
    assert planned(tmp_path, "analysed") == {}
    assert planned(tmp_path, "-f", target) == {"restore": 1}

    kept = {p: p.stat().st_mtime_ns for p in results(tmp_path).rglob("sub-0[12]*") if p.is_file()}
    for session in ("1", "2"):
        write_subject(root, "03", session=session, seed=7)
    assert planned(tmp_path, "analysed")["list_cohort"] == 1
    text = snakemake(tmp_path, "-c2", "analysed")
    assert "sub-03" in text
    assert len(by_method(tmp_path, "mse_others")["input"]) == 8
    assert kept == {p: p.stat().st_mtime_ns for p in kept}, "nobody else's files are made again"


@pytest.mark.parametrize("frames", ["first", "mean"])
def test_one_volume_of_a_time_series(frames: str, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "bids", ())
    four = brain(4, (16, 18, 12, 3))
    write_volume(root / "sub-01" / "func" / "sub-01_bold.nii.gz", four)
    config = short(OVERLAY.format(path=root), suffix="bold", frames=frames, reference="none")
    snakemake(tmp_path, "-c1", "--quiet=rules", "restored", config=config)
    assert facts(tmp_path)["case"] == "none"
    raw = nibabel.load(results(tmp_path) / "cohorts/mine/raw/sub-01_image.nii.gz")
    expected = four.data[..., 0] if frames == "first" else four.data.mean(-1)
    assert np.allclose(raw.get_fdata(), expected, atol=1e-3)
    assert nibabel.load(results(tmp_path) / "restored/mine/gaussian/sub-01.nii.gz").shape == (16, 18, 12)
