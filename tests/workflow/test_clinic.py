"""A clinic's rehearsal: NM DICOM as cameras leave it, denoised series back, and nobody's name in between."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.analyses.heart_axis import find_axis
from senmei.core.volume import Volume
from senmei.io.deidentify import subject_label
from senmei.io.roles import load_role
from senmei.io.tables import read_tsv
from tests.clinic.nm_writer import betrayed
from tests.clinic.patients import PATIENTS, PEOPLE, SPOILED, VOXEL_MM, Patient, shot, torso, write_clinic
from tests.workflow.running import planned, snakemake
from tests.workflow.test_security import layers

KEY = "a key for tests"
GOOD = tuple(p for p in PATIENTS if p.has_map)
METHODS = ("input", "gaussian", "unet3d_n2n")
LABELS = {p.person.number: subject_label(p.person.number, KEY.encode()) for p in (*PATIENTS, SPOILED)}


def config(folder: Path, **study: Any) -> dict[str, Any]:
    """The overlay of a clinic: train on what there is, restore every patient, write series back."""
    export = {"format": "dicom", "methods": list(METHODS)}
    cohorts: dict[str, Any] = {
        "torsos": None,
        "observer": None,
        "learning": {"use": "train", "source": "dicom", "path": str(folder), "doses": [1]},
        "clinic": {"use": "test", "source": "dicom", "path": str(folder), "doses": [1], "export": export},
    }
    cohorts["learning"]["split"] = {"train": 0.5, "validation": 0.5, "test": 0}
    spect = {
        "shards": 1,
        "cohorts": cohorts,
        "degradation": {"pairs": "thinning"},
        "analyses": {"patient_heart": {}, "perfusion": None},
        "report": {"figure_scans": 9},
    }
    top = {"run": "clinic", "preset": "tiny", "device": "cpu", "threads": 1, "only": ["spect_denoise"]}
    return {**top, "studies": {"spect_denoise": {**spect, **study}}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home of its own, so that what is written there is seen."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(folder))
        patch.setenv("SENMEI_DEID_KEY", KEY)
        patch.setenv("MPLCONFIGDIR", str(folder / "matplotlib"))
        yield folder


@pytest.fixture(scope="module")
def rehearsed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The whole run over the clinic's folder, and what it printed."""
    folder = tmp_path_factory.mktemp("clinic")
    write_clinic(folder / "in")
    run = folder / "run"
    run.mkdir()
    text = snakemake(run, "-c2", "--quiet=rules", "report", config=config(folder / "in"))
    return run, text


def study_of(run: Path) -> Path:
    return run / "results" / "clinic" / "spect_denoise"


def series(run: Path, method: str, patient: Patient) -> Any:
    """The data set that a patient got back, read by plain pydicom."""
    import pydicom

    label = LABELS[patient.person.number]
    found = list((study_of(run) / "exported" / "clinic" / method).glob(f"{label}*.dcm"))
    assert len(found) == 1, (method, patient.person.family)
    return pydicom.dcmread(found[0])


def image_of(data: Any) -> Volume:
    """A RECON TOMO data set as (x, y, z) with its affine to mm (right, anterior, head), from its tags alone."""
    detector = data.DetectorInformationSequence[0]
    across, down = np.array(detector.ImageOrientationPatient, float).reshape(2, 3)
    step = np.cross(across, down) * float(data.SpacingBetweenSlices)
    rows, columns = map(float, data.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = across * columns, down * rows, step
    affine[:3, 3] = np.array(detector.ImagePositionPatient, float)
    affine[:2] *= -1  # DICOM's x and y grow to the left and to the back
    values = data.pixel_array.transpose(2, 1, 0).astype(float)
    slope, intercept = scale_of(data)
    return Volume((values * slope + intercept).astype(np.float32), affine)


def scale_of(data: Any) -> tuple[float, float]:
    """Slope and intercept, wherever the file has them."""
    if "RescaleSlope" in data:
        return float(data.RescaleSlope), float(data.RescaleIntercept)
    if "RealWorldValueMappingSequence" in data:
        item = data.RealWorldValueMappingSequence[0]
        return float(item.RealWorldValueSlope), float(item.RealWorldValueIntercept)
    return 1.0, 0.0


def brightness(image: Volume, place: np.ndarray, radius: float = 35.0) -> float:
    """Mean of an image within a ball, at a place in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
    world = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    return float(image.data[np.linalg.norm(world - place, axis=-1) < radius].mean())


def middle(heart: dict[str, Any]) -> np.ndarray:
    """The middle of a left ventricle in mm: right, anterior, head."""
    return (np.array(heart["apex_mm"], float) + np.array(heart["base_mm"], float)) / 2


# --- what came back ---


def test_every_sound_patient_gets_a_series_of_each_method(rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    for method in METHODS:
        made = sorted((study_of(run) / "exported" / "clinic" / method).glob("*.dcm"))
        assert len(made) == len(GOOD)
    uids = []
    for patient in GOOD:
        for method in METHODS:
            data = series(run, method, patient)
            assert (data.Modality, list(data.ImageType)[2]) == ("NM", "RECON TOMO")
            assert data.PatientID == LABELS[patient.person.number]
            assert (data.NumberOfFrames, data.Rows, data.Columns) == (26, 40, 40)
            assert [float(x) for x in data.PixelSpacing] == [VOXEL_MM, VOXEL_MM]
            uids.append((data.SOPInstanceUID, data.SeriesInstanceUID))
    assert len({u for u, _ in uids}) == len({s for _, s in uids}) == len(GOOD) * len(METHODS)


@pytest.mark.parametrize("patient", GOOD, ids=[p.person.family for p in GOOD])
def test_the_heart_is_where_it_was(patient: Patient, rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    heart = middle(torso(patient.seed).heart)
    assert heart[0] < -20, "the phantom's heart lies to the left"
    for method in METHODS:
        image = image_of(series(run, method, patient))
        here = brightness(image, heart)
        assert here > 2 * brightness(image, heart * [-1, 1, 1]), (method, "left and right")
        assert here > 2 * brightness(image, heart * [1, 1, 1] + [0, 0, 100]), (method, "towards the head")
        back = heart * [1, -1, 1] if heart[1] > 15 else heart - [0, 80, 0]
        assert here > 2 * brightness(image, back), (method, "front and back")
        liver = torso(patient.seed).labels
        place = np.argwhere(liver.data == 3).mean(axis=0) @ liver.affine[:3, :3].T + liver.affine[:3, 3]
        assert brightness(image, place) > 2 * brightness(image, place * [-1, -1, -1]), (method, "the liver")


@pytest.mark.parametrize("patient", GOOD, ids=[p.person.family for p in GOOD])
def test_the_heart_points_where_it_pointed(patient: Patient, rehearsed: tuple[Path, str]) -> None:
    """The long axis, found in the series that came back, against the phantom's: no axis was exchanged or turned."""
    run, _ = rehearsed
    image = image_of(series(run, "unet3d_n2n", patient))
    upright = Volume(image.data[::-1, ::-1].copy(), turned(image.affine, image.shape))
    (path,) = (study_of(run) / "prepared" / "clinic" / "input").glob(
        f"{LABELS[patient.person.number]}*_mask.nii.gz"
    )
    mask = load_role(path)
    np.testing.assert_allclose(upright.affine, mask.affine, atol=1e-3)
    found, true = find_axis(upright, mask), torso(patient.seed).heart
    assert np.linalg.norm(middle(found) - middle(true)) < 10
    axes = [np.subtract(heart["apex_mm"], heart["base_mm"]) for heart in (found, true)]
    one, other = (axis / np.linalg.norm(axis) for axis in axes)
    assert np.degrees(np.arccos(one @ other)) < 12


def turned(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The affine of an image whose first two axes are turned round: DICOM's grow to the left and to the back."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = shape[0] - 1, shape[1] - 1
    return affine @ flip


def test_restored_series_keep_their_counts(rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    for patient in GOOD:
        before = float(image_of(series(run, "input", patient)).data.sum())
        assert before > 0
        for method in ("gaussian", "unet3d_n2n"):
            after = float(image_of(series(run, method, patient)).data.sum())
            assert after == pytest.approx(before, rel=0.05), (patient.person.family, method)


def test_what_was_counted_is_what_was_written(rehearsed: tuple[Path, str]) -> None:
    """Counts of the photopeak, of all gates and heads, come through to the last one."""
    run, _ = rehearsed
    raw = study_of(run) / "cohorts" / "clinic" / "raw"
    rows = {
        row["subject"]: row for path in raw.glob("*.tsv") for row in read_tsv(path) if row["status"] == "ok"
    }
    assert set(rows) == {LABELS[p.person.number] for p in GOOD}
    for patient in GOOD:
        counts = shot(patient).counts[0]
        assert int(rows[LABELS[patient.person.number]]["full_counts"]) == counts.sum()
        (path,) = raw.rglob(f"{LABELS[patient.person.number]}*projections*")
        data = load_role(path).data
        np.testing.assert_array_equal(data if data.ndim == 4 else data[..., None], np.moveaxis(counts, 0, -1))


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed")
def test_exported_series_are_what_the_standard_asks_for(rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    for path in (study_of(run) / "exported").rglob("*.dcm"):
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert "NMImage" in lines
        assert [line for line in lines if line.startswith("Error")] == [], path.name


# --- what did not ---


def test_bad_patients_are_a_row_each_and_the_others_go_on(rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    rows = read_tsv(study_of(run) / "status.tsv")
    for cohort in ("learning", "clinic"):
        failed = [row for row in rows if (row["cohort"], row["status"]) == (cohort, "failed")]
        told = {row["subject"]: row["error"] for row in failed}
        assert len(failed) == len(told) == 2
        assert "no attenuation map" in told[LABELS[PATIENTS[4].person.number]]
        assert "truncated" in told[LABELS[SPOILED.person.number]]


def test_the_report_shows_every_patient_and_claims_nothing(rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    page = (study_of(run) / "report.html").read_text(encoding="utf-8")
    assert "There is no reference for these scans" in page
    assert "is better than" not in page
    assert "is worse than" not in page
    assert "axis that a fitted ellipsoid found" in page, "no one knows it, and the page says so"
    for patient in (*GOOD, PATIENTS[4], SPOILED):
        assert LABELS[patient.person.number] in page
    for method in METHODS:
        assert f"exported/clinic/{method}/" in page


def test_no_output_names_a_patient(rehearsed: tuple[Path, str], home: Path) -> None:
    run, text = rehearsed
    source = str(run.parent / "in")
    outputs = [path for path in sorted((run / "results").rglob("*")) if path.is_file()]
    assert len(outputs) > 60
    assert any(path.suffix == ".dcm" for path in outputs) and any(path.suffix == ".log" for path in outputs)
    found = []
    for path in outputs:
        for body in layers(path.read_bytes()):
            found += [(word, path.name) for word in betrayed(body, *PEOPLE)]
        found += [(word, "name of " + path.name) for word in betrayed(str(path.relative_to(run)), *PEOPLE)]
    assert found == []
    assert not [path for path in outputs if KEY.encode() in path.read_bytes()]
    assert betrayed(text.replace(source, ""), *PEOPLE) == []
    kept = [p for place in (home, run / ".snakemake" / "log") for p in place.rglob("*") if p.is_file()]
    for path in kept:
        assert betrayed(path.read_bytes().replace(source.encode(), b""), *PEOPLE) == [], path.name


def test_a_second_run_has_nothing_to_do(rehearsed: tuple[Path, str]) -> None:
    run, _ = rehearsed
    assert planned(run, "report") == {}


# --- with a model that was fitted before ---


def test_a_model_of_that_run_restores_a_patient_who_comes_later(
    rehearsed: tuple[Path, str], tmp_path: Path
) -> None:
    """No training cohort, no fitting: the weights of the first run, and the same image to the last voxel."""
    run, _ = rehearsed
    later = GOOD[1]
    write_clinic(tmp_path / "in", [later], spoiled=None)
    overlay = config(tmp_path / "in")
    study = overlay["studies"]["spect_denoise"]
    study["cohorts"]["learning"] = None
    study["cohorts"]["clinic"]["export"] = {"format": "dicom", "methods": ["given"]}
    model = study_of(run) / "models" / "unet3d_n2n"
    study["methods"] = {
        "gaussian": None,
        "unet3d_n2n": None,
        "given": {"use": "unet3d_n2n", "model": str(model)},
    }
    target = "results/clinic/spect_denoise/exported/clinic/given/test-0.tsv"
    text = snakemake(tmp_path, "-c2", "--quiet=rules", target, config=overlay)
    assert "rule train" not in text
    first, second = series(run, "unet3d_n2n", later), series(tmp_path, "given", later)
    np.testing.assert_array_equal(image_of(first).data, image_of(second).data)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert not list((study_of(tmp_path) / "prepared").rglob("*pair*"))


def test_a_mended_scan_joins_the_others_and_they_are_not_touched(rehearsed: tuple[Path, str]) -> None:
    """The scan that was cut off is copied again, whole: the last test, for it changes the run of all others."""
    run, _ = rehearsed
    folder = study_of(run) / "exported" / "clinic" / "input"
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.dcm")}
    write_clinic(run.parent / "in", [SPOILED], spoiled=None)
    snakemake(run, "-c2", "--quiet=rules", f"{folder.relative_to(run)}/test-0.tsv")
    heart = middle(torso(SPOILED.seed).heart)
    image = image_of(series(run, "input", SPOILED))
    assert brightness(image, heart) > 2 * brightness(image, heart * [-1, 1, 1])
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.dcm")}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
