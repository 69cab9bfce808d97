"""Pairs to hand on: the same bytes, the same values back, DICOM that agrees, and nothing taken on trust."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.fingerprint import dependencies
from senmei.core.study import Study
from senmei.core.volume import Volume
from senmei.io.dataset_folder import SUMS, FolderWriter, proven, read_sums
from senmei.io.pictures import upright
from senmei.io.tables import read_tsv, write_tsv
from senmei.lab.dataset import About, DatasetWriter, write_dataset
from senmei.lab.dataset_dicom import same_as_dicom
from senmei.lab.dataset_pair import Pair, dicom_place, places_of
from senmei.lab.dataset_read import read_dataset
from senmei.stages.dataset import export_dataset
from senmei.stages.plan import Plan
from senmei.stages.shards import Blocked, Made, each_scan
from senmei.studies.gamma_door_dataset import DatasetDoor
from senmei.studies.gamma_sr import GammaSR

ROOT = Path(__file__).resolve().parents[2]
ABOUT = About("Test pairs", "CC-BY-4.0", ("A. Author", "B. Author"), made=("Sheets were simulated.",))
PEOPLE = [
    {"subject": "sub-camera", "split": "train", "family": "photographs"},
    {"subject": "sub-moon", "split": "test"},
]
SCANS = ("sub-camera_acq-2s", "sub-camera_acq-600s", "sub-moon_acq-2s")
CAMERA = {"factor": 4, "pixel_mm": 5.388, "fwhm_mm": 7.1234567890123, "nuclide": "Tc-99m", "background": 0.0}


def pair(scan: str = SCANS[0], columns: dict[str, Any] | None = None, **roles: Any) -> Pair:
    """A simulated pair of 12 x 16 camera pixels: not square, so that a turned image is noticed."""
    rng = np.random.default_rng(len(scan))
    low = upright(rng.poisson(30, (12, 16)), 5.388)
    fine = {
        "reference": upright(rng.uniform(0, 7, (48, 64)), 1.347),
        "teacher": upright(rng.uniform(0, 1, (48, 64)), 1.347),
    }
    mask = fine["teacher"].like(np.pad(np.ones((60, 44, 1), np.uint8), ((2, 2), (2, 2), (0, 0))))
    spread = fine["teacher"].like(
        (np.kron(low.data[..., 0], np.ones((4, 4))) / 16)[..., None].astype(np.float32)
    )
    made = {
        "low": low,
        "camera": CAMERA,
        **fine,
        "mask": mask,
        "input": spread,
        "expected": low.like(low.data * 1.01),
    }
    told = {"time_s": 2.5, "nuclide": "Tc-99m", "collimator": "LEHR", "distance_mm": 100.0, "layer_mm": 0.0}
    told |= {
        "pixel_mm": 5.388,
        "synthetic": True,
        "pairing": "known",
        "data_range": 7.123456,
        "source_image": "x",
    }
    told |= {"teacher": scan[4:8], "teacher_source": "a package", "teacher_licence": "CC0", "path": "/secret"}
    return Pair(
        scan, {**told, **(columns or {})}, {k: v for k, v in {**made, **roles}.items() if v is not None}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "pairs"
    write_dataset(folder, [pair(scan) for scan in SCANS], ABOUT, PEOPLE)
    return folder


@pytest.fixture
def dataset(written: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return shutil.copytree(written, tmp_path / "pairs")


def change(root: Path, place: str, content: bytes) -> None:
    """Write a file and its new hash, as someone with ill will would."""
    (root / place).write_bytes(content)
    sums = {**dict(line.split("  ")[::-1] for line in (root / SUMS).read_text().splitlines())}
    sums[place] = hashlib.sha256(content).hexdigest()
    (root / SUMS).write_text("".join(f"{v}  {k}\n" for k, v in sorted(sums.items())))


def edit(root: Path, place: str, old: str, new: str) -> None:
    text = (root / place).read_text()
    assert old in text
    change(root, place, text.replace(old, new).encode())


# --- out and back ---


def test_the_same_pairs_give_the_same_bytes_and_the_list_proves_them(written: Path, tmp_path: Path) -> None:
    sums = write_dataset(tmp_path / "again", [pair(scan) for scan in SCANS], ABOUT, PEOPLE)
    assert sums == read_sums(written)
    found = {p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file()}
    assert found == {*sums, SUMS}
    for place, digest in sums.items():
        assert hashlib.sha256((written / place).read_bytes()).hexdigest() == digest
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=written, check=True)


def test_every_role_and_column_comes_back(written: Path) -> None:
    found = read_dataset(written)
    assert found.failed == []
    assert list(found.pairs) == list(SCANS)
    assert found.participants == [PEOPLE[0], {**PEOPLE[1], "family": None}]
    for scan in SCANS:
        made, read = pair(scan), found.load(scan)
        assert read.roles.keys() == made.roles.keys()
        assert read.roles["camera"] == CAMERA
        for role in made.roles.keys() - {"camera"}:
            np.testing.assert_array_equal(read.roles[role].data, made.roles[role].data, role)
            assert read.roles[role].data.dtype == made.roles[role].data.dtype
            np.testing.assert_allclose(read.roles[role].affine, made.roles[role].affine, atol=1e-5)
        told = {k: v for k, v in made.columns.items() if k != "path"}
        assert {**read.columns, "synthetic": True} == told


def test_a_sidecar_tells_how_it_was_measured_and_null_what_nobody_knows(
    written: Path, tmp_path: Path
) -> None:
    told = json.loads((written / places_of(SCANS[0])["sidecar"]).read_text())
    assert told["PixelSize"] == [5.388, 5.388]
    assert told["Matrix"] == [16, 12]
    assert (told["TracerRadionuclide"], told["Collimator"], told["AcquisitionDuration"]) == (
        "Tc-99m",
        "LEHR",
        2.5,
    )
    assert (told["CollimatorToSheetDistance"], told["WaterEquivalentLayer"]) == (100.0, 0.0)
    assert told["TotalCounts"] == pair().roles["low"].data.sum()
    assert told["CameraResponse"] == CAMERA
    assert (told["Synthetic"], told["Pairing"], told["RegistrationResidual"]) == (True, "known", None)
    measured = {
        "residual_mm": 0.21,
        "pairing": "monotone",
        "pairing_deviance": 1.1,
        "synthetic": False,
        "time_s": None,
    }
    write_dataset(tmp_path / "m", [pair(columns=measured)], ABOUT)
    told = json.loads((tmp_path / "m" / places_of(SCANS[0])["sidecar"]).read_text())
    assert (told["RegistrationResidual"], told["PairingDeviance"], told["Synthetic"]) == (0.21, 1.1, False)
    assert told["AcquisitionDuration"] is None
    assert "measured" in (tmp_path / "m" / "README").read_text().splitlines()[3]


def test_the_texts_say_licence_sources_and_where_it_leaves_bids(written: Path, tmp_path: Path) -> None:
    told = json.loads((written / "dataset_description.json").read_text())
    assert (told["Name"], told["License"], told["DatasetType"]) == ("Test pairs", "CC-BY-4.0", "raw")
    assert told["Authors"] == ["A. Author", "B. Author"]
    assert told["GeneratedBy"][0]["Name"] == "Senmei"
    assert told["SourceDatasets"] == [{"Description": "a package (CC0)"}]
    assert told["Synthetic"] is True
    derived = json.loads((written / "derivatives/pairs/dataset_description.json").read_text())
    assert derived["DatasetType"] == "derivative"
    page = (written / "README").read_text()
    assert "Synthetic: sheets and camera were simulated." in page
    assert "- 2: a package; licence: CC0" in page
    assert "no part of BIDS" in page
    assert "ask the source" not in page
    assert "creativecommons.org/licenses/by/4.0" in (written / "LICENSE").read_text()
    described = json.loads((written / "scans.json").read_text())
    header = (written / "sub-camera/sub-camera_scans.tsv").read_text().splitlines()[0].split("\t")
    assert set(header) == set(described)
    assert described["time_s"]["Units"] == "s"
    assert not any(b"/secret" in p.read_bytes() for p in written.rglob("*") if p.is_file())
    unknown = pair(columns={"teacher_licence": None, "teacher_source": None})
    write_dataset(tmp_path / "u", [unknown], About("x", "Our own", text="Use it well."))
    assert "- 1: not known; licence: not known" in (tmp_path / "u" / "README").read_text()
    assert "ask the source" in (tmp_path / "u" / "README").read_text()
    assert (tmp_path / "u" / "LICENSE").read_text() == "Use it well.\n"


def test_nothing_is_handed_on_without_a_licence() -> None:
    for name, licence, said in (
        ("x", " ", "nobody may use"),
        ("x", "CC-BY-5", "is not known here"),
        ("", "CC0-1.0", "cited"),
    ):
        with pytest.raises(ConfigError) as caught:
            About(name, licence)
        assert said in caught.value.why


# --- DICOM ---


def test_dicom_holds_the_same_counts_and_geometry(written: Path) -> None:
    made = pair(SCANS[1])
    for role, unit in (("low", "counts"), ("reference", "counts"), ("teacher", "grey")):
        same_as_dicom(made.roles[role], written / dicom_place(SCANS[1], role), unit=unit)
    low = made.roles["low"]
    moved = low.like(np.roll(low.data, 1, 0))
    other = Volume(low.data, low.affine + np.diag([0.1, 0, 0, 0]))
    for wrong, said in (
        (moved, "values are others"),
        (other, "grid is another"),
        (low.like(low.data + 1), "others"),
    ):
        with pytest.raises(DataError) as caught:
            same_as_dicom(wrong, written / dicom_place(SCANS[1], "low"), unit="counts")
        assert said in caught.value.why


def test_dicom_images_of_a_pair_name_each_other_and_nobody_else(written: Path) -> None:
    files = {r: pydicom.dcmread(written / dicom_place(SCANS[0], r)) for r in ("low", "teacher", "reference")}
    uids = {role: data.SOPInstanceUID for role, data in files.items()}
    assert len(set(uids.values())) == 3
    for role, data in files.items():
        named = {item.ReferencedSOPInstanceUID for item in data.ReferencedImageSequence}
        assert named == set(uids.values()) - {uids[role]}
        assert (str(data.PatientName), data.PatientID, data.PatientBirthDate) == (
            "sub-camera^",
            "sub-camera",
            "",
        )
        assert data.StudyDate == "19000101" and "Synthetic" in data.DerivationDescription
        assert data.ImageType[:3] == ["DERIVED", "PRIMARY", "STATIC"]
    for key in ("FrameOfReferenceUID", "StudyInstanceUID"):
        assert len({data[key].value for data in files.values()}) == 1
        other = pydicom.dcmread(written / dicom_place(SCANS[1], "low"))
        assert other[key].value != files["low"][key].value
    frame = files["low"].pixel_array
    np.testing.assert_array_equal(frame, pair().roles["low"].data[:, ::-1, 0].T)
    assert files["low"].ActualFrameDuration == 2500


def test_counts_that_are_not_whole_go_with_a_slope(tmp_path: Path) -> None:
    low = pair().roles["low"]
    made = pair(low=low.like(low.data * 1.37))
    write_dataset(tmp_path / "d", [made], ABOUT)
    same_as_dicom(made.roles["low"], tmp_path / "d" / dicom_place(SCANS[0], "low"), unit="counts")
    data = pydicom.dcmread(tmp_path / "d" / dicom_place(SCANS[0], "low"))
    assert data.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "{counts}"


def test_without_a_nuclide_there_is_no_dicom_and_a_reason(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "d", ABOUT)
    with pytest.raises(DataError) as caught:
        writer.add(pair(columns={"nuclide": None}))
    assert "`dicom: false`" in caught.value.fix
    writer.add(pair(SCANS[1]))
    writer.close()
    assert list(read_dataset(tmp_path / "d").pairs) == [SCANS[1]]
    assert not list((tmp_path / "d").rglob(f"{SCANS[0]}*")), "of a pair that failed nothing stays"
    without = About("x", "CC0-1.0", dicom=False)
    assert not [
        p for p in write_dataset(tmp_path / "n", [pair(columns={"nuclide": None})], without) if "dcm" in p
    ]


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
def test_another_program_finds_nothing_to_say_of_the_dicom(written: Path, tmp_path: Path) -> None:
    low = pair().roles["low"]
    write_dataset(tmp_path / "d", [pair(low=low.like(low.data * 1.37), teacher=None)], ABOUT)
    files = [*written.rglob("*.dcm"), *tmp_path.rglob("*.dcm")]
    assert len(files) == 3 * 3 + 2
    for path in files:
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, [x for x in (done.stdout + done.stderr).split("\n") if x]) == (
            0,
            ["NMImage"],
        )


def test_writing_asks_for_no_scipy() -> None:
    """The environment that the rule names has none."""
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "import senmei.studies.gamma_dataset, senmei.stages.dataset, senmei.phantoms.teachers as t\n"
        "from senmei.lab.dataset_dicom import _window\n"
        "assert len(t.teachers()) > 80; print(_window('I-123').low_kev)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 130 < float(done.stdout) < 159


# --- bad input ---


def refused(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    return caught.value


def failed(root: Path) -> str:
    """The reason of the one pair that cannot be used; the other two can."""
    found = read_dataset(root)
    assert len(found.failed) == 1
    assert SCANS[2] in found.pairs
    return found.failed[0][2]


def test_a_missing_or_changed_file_is_one_row_with_its_reason(dataset: Path) -> None:
    low = dataset / places_of(SCANS[0])["low"]
    low.write_bytes(low.read_bytes()[:-1] + b"x")
    assert "it has changed since it was written" in failed(dataset)
    low.unlink()
    assert "it is missing" in failed(dataset)
    low.mkdir()
    assert "it is not a file" in failed(dataset)
    assert list(read_dataset(dataset).pairs) == [SCANS[1], SCANS[2]]


def test_a_lost_line_of_the_list_is_no_way_round_it(dataset: Path) -> None:
    lines = (dataset / SUMS).read_text().splitlines(keepends=True)
    (dataset / SUMS).write_text("".join(line for line in lines if f"{SCANS[0]}_desc-reference" not in line))
    assert f"{SUMS} does not list it" in failed(dataset)


def test_links_are_refused(dataset: Path, tmp_path: Path) -> None:
    low = dataset / places_of(SCANS[0])["low"]
    outside = tmp_path / "outside.nii.gz"
    low.rename(outside)
    low.symlink_to(outside)
    assert "it is a link" in failed(dataset)
    low.unlink()
    outside.rename(low)
    folder = dataset / "derivatives" / "pairs" / "sub-moon"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert "it is a link, or lies behind one" in read_dataset(dataset).failed[0][2]
    with pytest.raises(DataError, match="Cannot use a file"):
        read_dataset(dataset).load(SCANS[2])


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "nm/../../sub-moon/nm/sub-moon_acq-2s_nm.nii.gz",
        "nm/sub-moon_acq-2s_nm.nii.gz",
        "nm\\x",
        "n/a",
    ],
)
def test_a_table_cannot_lead_elsewhere(name: str, dataset: Path) -> None:
    table = "sub-camera/sub-camera_scans.tsv"
    edit(dataset, table, f"nm/{SCANS[0]}_nm.nii.gz", name)
    assert "leads out of its folder" in failed(dataset)


@pytest.mark.parametrize("place", ["../x", "/etc/passwd", "a/../b", "sub-x//y", "./x", "a/.hidden/b"])
def test_neither_can_the_list_of_checksums(place: str, dataset: Path) -> None:
    with (dataset / SUMS).open("a") as file:
        file.write(f"{'0' * 64}  {place}\n")
    assert "is no checksum and place below the folder" in refused(dataset).why
    with pytest.raises(DataError, match="Cannot use a file"):
        proven(dataset, place, {place: "0" * 64})
    with pytest.raises(ValueError, match="is no place"):
        FolderWriter(dataset).put(place, b"")


def test_columns_cannot_take_the_frames_names(dataset: Path) -> None:
    for old, new, said in (
        ("time_s", "path", "'path'"),
        ("time_s", "reference_path", "'reference_path'"),
        ("time_s", "split", "'split'"),
        ("time_s", "Time", "'Time'"),
        ("CC0", "\x1b[31m", "cannot be shown"),
        ("CC0", "x" * 600, "more than 500"),
    ):
        place = "sub-moon/sub-moon_scans.tsv"
        before = (dataset / place).read_bytes()
        edit(dataset, place, old, new)
        found = read_dataset(dataset)
        assert said in found.failed[0][2]
        assert list(found.pairs) == list(SCANS[:2])
        change(dataset, place, before)


def test_what_is_no_dataset_of_pairs_is_refused_clearly(dataset: Path, tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere").why
    assert "it is not a folder" in refused(dataset / "README").why
    assert "has no dataset_description.json" in refused(tmp_path).why
    edit(dataset, "dataset_description.json", '"PairsVersion": 1', '"PairsVersion": 2')
    assert "version '2', and 1 can be read" in refused(dataset).why
    change(dataset, "dataset_description.json", b'{"Name": "Some BIDS dataset", "BIDSVersion": "1.10.0"}')
    assert "another kind" in refused(dataset).why
    change(dataset, "dataset_description.json", b"[")
    assert "no JSON object" in refused(dataset).why
    (dataset / SUMS).unlink()
    (dataset / "dataset_description.json").write_text('{"PairsVersion": 1}')
    assert "was not written to its end" in refused(dataset).why


def test_tables_of_the_whole_must_be_as_they_were(dataset: Path) -> None:
    table = dataset / "participants.tsv"
    before = table.read_bytes()
    table.write_bytes(before.replace(b"train", b"test"))
    error = refused(dataset)
    assert "changed since" in error.why and "on purpose" in error.fix
    change(dataset, "participants.tsv", before.replace(b"train", b"all"))
    assert "into the split 'all'" in refused(dataset).why
    change(dataset, "participants.tsv", before.replace(b"sub-moon", b"sub-camera"))
    assert "twice or as no label" in refused(dataset).why
    change(dataset, "participants.tsv", before.replace(b"sub-moon", b"../moon"))
    assert "no label" in refused(dataset).why
    change(dataset, "participants.tsv", before)
    (dataset / "sub-moon" / "sub-moon_scans.tsv").unlink()
    found = read_dataset(dataset)
    assert [(scan, subject) for scan, subject, _ in found.failed] == [("", "sub-moon")]
    assert list(found.pairs) == list(SCANS[:2])


def bad_pairs() -> dict[str, tuple[Pair, str]]:
    low, fine = pair().roles["low"], pair().roles["reference"]
    negative = low.data.copy()
    negative[0, 0] = -1
    return {
        "no reference": (pair(reference=None), "no reference"),
        "no mask": (pair(mask=None), "no mask"),
        "name": (pair("sub-x/../y"), "no BIDS stem"),
        "role": (pair(extra=low), "has no 'extra'"),
        "volume": (pair(low=Volume(np.ones((4, 4, 2), np.float32), np.eye(4))), "no plane"),
        "negative": (pair(low=low.like(negative)), "below zero"),
        "nan": (pair(reference=fine.like(fine.data * np.nan)), "not finite"),
        "grid": (pair(mask=upright(np.ones((8, 8)), 1.347)), "another grid"),
        "factor": (pair(camera={**CAMERA, "factor": 2}), "do not make one"),
        "no factor": (pair(camera={"fwhm_mm": 3.0}), "no whole factor"),
        "camera": (pair(camera={**CAMERA, "fwhm_mm": float("inf")}), "'fwhm_mm' of its camera"),
        "nested": (pair(camera={**CAMERA, "fwhm_mm": [1]}), "'fwhm_mm' of its camera"),
    }  # fmt: skip


def test_a_reference_on_the_cameras_grid_leaves_the_teacher_on_its_own(tmp_path: Path) -> None:
    """As where another collimator's image is restored."""
    made = pair().roles
    low, teacher = made["low"], made["teacher"]
    coarse = {
        "reference": low.like(low.data * 1.01),
        "input": low,
        "mask": low.like(np.ones(low.shape, np.uint8)),
    }
    told = {"restore": "collimator", "reference_collimator": "LEUR"}
    whole = pair(columns=told, camera={**CAMERA, "factor": 1}, **coarse)
    write_dataset(tmp_path / "d", [whole], ABOUT)
    read = read_dataset(tmp_path / "d").load(SCANS[0])
    assert read.roles["teacher"].shape == (64, 48, 1)
    assert read.roles["reference"].shape == low.shape
    sidecar = json.loads((tmp_path / "d" / places_of(SCANS[0])["sidecar"]).read_text())
    assert (sidecar["ReferenceShows"], sidecar["ReferenceCollimator"]) == ("collimator", "LEUR")
    data = pydicom.dcmread(tmp_path / "d" / dicom_place(SCANS[0], "reference"))
    assert "What collimator LEUR would show" in data.DerivationDescription
    moved = Volume(teacher.data, teacher.affine + np.pad([[1.4]], ((0, 3), (3, 0))))
    with pytest.raises(DataError) as caught:
        write_dataset(tmp_path / "m", [pair(teacher=moved)], ABOUT)
    assert "its teacher lies on another grid" in caught.value.why
    with pytest.raises(DataError) as caught:
        DatasetDoor().prepare(
            "truth", {"scan": "s", **told}, lambda i, r: None, {}, {"restore": "teacher"}, 1
        )
    assert "made to restore the collimator, and the study restores the teacher" in caught.value.why


@pytest.mark.parametrize("name", bad_pairs())
def test_what_is_no_pair_is_told(name: str, tmp_path: Path) -> None:
    bad, said = bad_pairs()[name]
    with pytest.raises(DataError) as caught:
        write_dataset(tmp_path / "d", [bad], ABOUT)
    assert said in caught.value.why


def test_a_camera_of_ill_will_is_refused_when_it_is_read(dataset: Path) -> None:
    edit(dataset, places_of(SCANS[2])["sidecar"], '"factor": 4', '"factor": 4000000')
    with pytest.raises(DataError) as caught:
        read_dataset(dataset).load(SCANS[2])
    assert "do not make one of its image" in caught.value.why


def test_only_a_dataset_of_ours_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DataError) as caught:
        DatasetWriter(tmp_path, ABOUT)
    assert "holds something else" in caught.value.why
    assert (tmp_path / "precious.txt").exists()
    place = tmp_path / "d"
    DatasetWriter(place, ABOUT).add(pair())  # killed before its end
    assert "has no dataset_description.json" in refused(place).why
    write_dataset(place, [pair(SCANS[2])], ABOUT)
    assert list(read_dataset(place).pairs) == [SCANS[2]]
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(DataError, match="Cannot write a dataset"):
        DatasetWriter(tmp_path / "link", ABOUT)
    with pytest.raises(DataError, match="Nothing to hand on"):
        write_dataset(tmp_path / "empty", [], ABOUT)


# --- the study's door and the stage ---


def settings(cohort: dict[str, Any]) -> dict[str, Any]:
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    config["studies"] = {"gamma_sr": {"cohorts": {"sheets": None, "own": cohort}}}
    return resolve(config, ROOT)


def planned(cohort: dict[str, Any], tmp_path: Path) -> Any:
    return Plan(settings(cohort), tmp_path)["gamma_sr"]


SIMULATED = {
    "use": "test",
    "source": "simulate",
    "teachers": ["photographs"],
    "subjects": 2,
    "size": 64,
    "border": 4,
    "pixel_mm": 2.7,
}


def test_the_key_changes_nothing_of_earlier_stages(tmp_path: Path) -> None:
    plain = planned(SIMULATED, tmp_path)
    asked = planned({**SIMULATED, "dataset": {"licence": "CC-BY-4.0"}}, tmp_path)
    assert plain.cohorts == asked.cohorts
    assert asked.dataset("own") == {"licence": "CC-BY-4.0"}
    with pytest.raises(ConfigError, match="Nothing to hand on"):
        plain.dataset("own")
    assert "senmei.lab.dataset" not in dependencies("senmei.studies.gamma_sr"), (
        "the writer's code is its own job's"
    )
    assert "senmei.lab.dataset_read" in dependencies("senmei.studies.gamma_sr")
    assert {"senmei.lab.dataset", "senmei.lab.dataset_dicom"} <= set(dependencies(GammaSR.dataset_module))


def test_what_cannot_be_handed_on_is_told_before_any_job(tmp_path: Path) -> None:
    for options, where, said in (
        ({"authors": ["x"]}, "dataset.licence", "it has no default"),
        ({"licence": "CC-BY"}, "dataset.licence", "must be able to read"),
        ({"licence": "Ours", "licence_file": "nowhere.txt"}, "licence_file", "there is no file"),
    ):
        cohort = {**SIMULATED, "dataset": options}
        with pytest.raises(ConfigError) as caught:
            planned(cohort, tmp_path)
        assert where in caught.value.where and said in caught.value.why
    (tmp_path / "licence.txt").write_text("Ours.")
    planned(
        {**SIMULATED, "dataset": {"licence": "Ours", "licence_file": str(tmp_path / "licence.txt")}}, tmp_path
    )


def test_the_door_gives_scans_as_they_were(dataset: Path) -> None:
    (dataset / places_of(SCANS[1])["low"]).unlink()
    cohort = settings({"use": "train", "source": "dataset", "path": str(dataset)})["studies"]["gamma_sr"][
        "cohorts"
    ]["own"]
    study, lines = GammaSR(), []
    people, images, status = study.list_files(cohort, dataset, seed=1, log=lines.append) or ([], [], [])
    assert [(p["subject"], p["split"]) for p in people] == [("sub-camera", "train"), ("sub-moon", "test")]
    assert [(row["scan"], row["status"]) for row in status] == [(SCANS[1], "failed")]
    assert "licence: CC-BY-4.0" in lines[0]
    scans = study.scans(images, cohort, {})
    assert [(s["scan"], s["image"], s["subject"], s["time_s"]) for s in scans] == [
        (s, s, s.split("_")[0], 2.5) for s in (SCANS[0], SCANS[2])
    ]
    raw = study.read(images[0], cohort) or {}
    made = pair(SCANS[0])

    def load(image: str, role: str) -> Any:
        return raw[role]

    for group, wanted in {
        "input": {"low", "input", "camera"},
        "truth": {"reference", "mask", "expected"},
        "sheet": {"teacher"},
        "high": set(),
    }.items():
        roles, columns = study.prepare(group, scans[0], load, cohort, {}, 1)
        assert roles.keys() == wanted and not columns
        for role in wanted - {"camera"}:
            np.testing.assert_array_equal(roles[role].data, made.roles[role].data)
    assert study.case(images, cohort)[0] == "phantom"
    measured = [{**image, "synthetic": "false"} for image in images]
    assert study.case(measured, cohort)[0] == "printed"
    mixed = [*images, *measured]
    assert "2 of them simulated" in study.case(mixed, cohort)[1]
    people, _, _ = DatasetDoor().list_files({**cohort, "splits": "new"}, dataset, seed=1, log=lines.append)
    assert all("split" not in p for p in people)
    (dataset / places_of(SCANS[0])["low"]).unlink()
    with pytest.raises(DataError, match="Cannot use a file"):
        study.read(images[0], cohort)


class Wordless(Study):
    """A study whose pairs are given."""

    title = "Pairs"
    dataset_module = "senmei.studies.gamma_dataset"


def stage(
    folder: Path, bad: str = "", strict: bool = False, blocked: str = "", **options: Any
) -> list[dict[str, Any]]:
    """Tables and manifests of two scans, one of whose roles may be bad or blocked, and the stage over them."""
    scans = [
        {"scan": s, "image": s, "subject": s.split("_")[0], "split": "test", "shard": "a"}
        for s in (SCANS[0], SCANS[2])
    ]
    rows = [
        {**row, **{k: v for k, v in pair().columns.items() if k in ("time_s", "nuclide")}} for row in scans
    ]
    study = folder / "study"
    tables = {name: study / "cohorts/c" / f"{name}.tsv" for name in ("scans", "participants", "facts")}

    def roles(row: dict[str, Any], names: tuple[str, ...]) -> Made:
        if row["scan"] == blocked:
            raise Blocked("its sheet was not found")
        made = pair(
            row["scan"], **({"mask": upright(np.ones((4, 4)), 1.0)} if row["scan"] == bad else {})
        ).roles
        return Made(
            roles={r: made[r] for r in names},
            columns={"teacher": "moon", "residual_mm": 0.2, "scan_path": "/x"},
        )

    def manifest(place: str, *names: str) -> Path:
        path = study / place / "a.tsv"
        each_scan(
            rows, lambda row: roles(row, names), key=str, manifest=path, provenance={}, strict=False, log=str
        )
        return path

    raw = manifest("cohorts/c/raw", "low")
    made = [
        manifest("prepared/c/input", "low", "input", "camera"),
        manifest("prepared/c/truth", "reference", "mask"),
    ]
    write_tsv(tables["scans"], rows)
    write_tsv(
        tables["participants"],
        [{"subject": "sub-camera", "family": "x"}, {"subject": "sub-moon", "family": "y"}],
    )
    tables["facts"].write_text(json.dumps({"synthetic": False, "case": "printed"}))
    asked = {"licence": "CC0-1.0", **options}
    out = study / "dataset" / "c.tsv"
    export_dataset(
        tables, [raw], made, out, Wordless(), {"source": "sheets"}, asked, {"pairing": "auto"},
        name="c", strict=strict, log=str,
    )  # fmt: skip
    return read_tsv(out)


def test_the_stage_writes_pairs_and_tells_of_others(tmp_path: Path) -> None:
    rows = stage(tmp_path / "a")
    assert {row["status"] for row in rows} == {"ok"}
    found = read_dataset(tmp_path / "a/study/dataset/c")
    assert list(found.pairs) == [SCANS[0], SCANS[2]]
    columns = found.pairs[SCANS[2]]
    assert (columns["pairing"], columns["synthetic"], columns["source_image"]) == (
        "monotone",
        "false",
        SCANS[2],
    )
    assert (columns["teacher_source"], columns["teacher_licence"]) == ("scikit-image's package", "not known")
    assert columns["residual_mm"] == 0.2
    assert not [c for c in columns if c.endswith("path")]
    assert [(p["subject"], p["split"], p["family"]) for p in found.participants] == [
        ("sub-camera", "test", "x"),
        ("sub-moon", "test", "y"),
    ]
    for kind, status, said in (("bad", "failed", "another grid"), ("blocked", "blocked", "not found")):
        rows = stage(tmp_path / kind, **{kind: SCANS[0]})
        assert {(r["scan"], r["status"]) for r in rows} == {(SCANS[0], status), (SCANS[2], "ok")}
        assert said in next(r["error"] for r in rows if r["status"] == status)
        assert list(read_dataset(tmp_path / kind / "study/dataset/c").pairs) == [SCANS[2]]
    with pytest.raises(DataError, match="Cannot use a pair"):
        stage(tmp_path / "strict", bad=SCANS[0], strict=True)


def test_teachers_of_ones_own_have_the_source_that_is_told(tmp_path: Path) -> None:
    from senmei.studies.gamma_dataset import writer

    facts = {"cohort": "c", "synthetic": False, "degradation": {"pairing": "lut"}, "made": ()}
    made = writer(
        tmp_path / "d", {"licence": "CC0-1.0", "teacher_source": "Our ward", "teacher_licence": "ours"}, facts
    )
    told = made._columns({"scan": "s", "image": "i", "teacher": "anything"})
    assert (told["teacher_source"], told["teacher_licence"], told["pairing"]) == ("Our ward", "ours", "lut")
    assert made._columns({**told, "teacher_source": "Theirs", "source_image": "j"})["source_image"] == "j"
    (tmp_path / "big").write_bytes(b"x" * (1 << 20) + b"x")
    for name, said in (("big", "larger than any licence"), ("nowhere", "No such file")):
        with pytest.raises(ConfigError) as caught:
            writer(tmp_path / "e", {"licence": "Ours", "licence_file": str(tmp_path / name)}, facts)
        assert said in caught.value.why
