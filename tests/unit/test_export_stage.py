"""Restored images as files: named, joined to a patient, and only what this export wrote."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.core.study import Study
from senmei.core.volume import Volume
from senmei.io.tables import read_tsv
from senmei.stages.collect import exported_of
from senmei.stages.export import digits, export_shard
from senmei.stages.shards import Blocked, Made, check_of, each_scan
from senmei.studies.spect_denoise import SPECTDenoise
from senmei.studies.spect_export import export_scan, series_title

SHAPE = (6, 5, 4)
SCANS = [
    {"scan": f"sub-0{i}_acq-dose{d}", "image": f"sub-0{i}", "subject": f"sub-0{i}", "split": "test", "dose": d / 100}
    for i in (1, 2)
    for d in (100, 25)
]  # fmt: skip


class Toy(Study):
    """Writes what it is told: `give` scan -> files, or an error to raise."""

    def __init__(self, give: Any = None) -> None:
        self.give = give or (lambda scan, facts: {".dcm": json.dumps(facts, sort_keys=True).encode()})
        self.seen: list[dict[str, Any]] = []

    def export(self, scan, restored, raw, cohort, facts):
        assert restored.shape == raw("image").shape == SHAPE
        self.seen.append(dict(scan))
        return self.give(scan, facts)


def table(folder: Path, name: str, rows: list[dict[str, Any]], produce: Any) -> Path:
    """A manifest with its files, as a stage leaves it."""
    path = folder / name / "s.tsv"
    each_scan(
        rows, produce, key=lambda row: "k", manifest=path, provenance={}, strict=False, log=lambda text: None
    )
    return path


class Clinic:
    """Raw and restored images of two subjects, and the card of what restored them."""

    def __init__(self, root: Path, content: float = 1.0, bad: str = "") -> None:
        self.study = root / "study"
        images = [{"scan": f"sub-0{i}", "subject": f"sub-0{i}", "split": "test"} for i in (1, 2)]

        def raw(row: dict[str, Any]) -> Made:
            data = np.full(SHAPE, content + int(row["scan"][-1]), np.float32)
            return Made(
                roles={"image": Volume(data, np.eye(4))}, columns={"camera": "x", "at_path": "/secret"}
            )

        def restored(row: dict[str, Any]) -> Made:
            if row["scan"] == bad:
                raise Blocked("no input")
            return Made(roles={"restored": Volume(np.full(SHAPE, row["dose"], np.float32), np.eye(4))})

        self.raw = table(self.study / "cohorts" / "c", "raw", images, raw)
        self.restored = table(self.study / "restored" / "c", "m", SCANS, restored)
        self.card = self.study / "models" / "m" / "card.json"
        self.card.parent.mkdir(parents=True)
        self.write_card()
        self.manifest = self.study / "exported" / "c" / "m" / "s.tsv"

    def write_card(self, **more: Any) -> None:
        facts = {"use": "u", "method": "m", "title": "Method", "family": "learned", "settings": {}}
        facts |= {"weights_sha256": "ab" * 32, **more}
        self.card.write_text(json.dumps({**facts, "check": check_of(facts)}))

    def export(self, study: Study, kind: str = "dicom", **more: Any) -> list[dict[str, Any]]:
        self.lines: list[str] = []
        arguments = {"use": "u", "rank": 3, "code": "c", "strict": False, "log": self.lines.append, **more}
        export_shard(
            SCANS, self.raw, self.restored, self.card, self.manifest, study, {"source": "files"}, kind, **arguments
        )  # fmt: skip
        return read_tsv(self.manifest)

    def facts(self) -> dict[str, dict[str, Any]]:
        return {p.stem: json.loads(p.read_bytes()) for p in sorted(self.manifest.parent.glob("*.dcm"))}


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def test_a_study_is_told_what_made_an_image_and_where_from_is_kept_from_it(clinic: Clinic) -> None:
    study = Toy()
    rows = clinic.export(study)
    assert [(r["role"], r["status"], r["path"]) for r in rows] == [
        ("dcm", "ok", f"{scan['scan']}.dcm") for scan in SCANS
    ]
    assert study.seen[0] == {**SCANS[0], "camera": "x"}
    facts = clinic.facts()["sub-02_acq-dose25"]
    assert facts["format"] == "dicom"
    assert facts["number"] == 203, "the second scan of its subject, the third method"
    assert f"weights SHA-256 {'ab' * 32}" in facts["derivation"]
    assert facts["version"] in facts["derivation"]
    assert "given" not in facts["derivation"]
    clinic.write_card(given=True)
    clinic.export(study)
    assert "(given)" in clinic.facts()["sub-02_acq-dose25"]["derivation"]
    clinic.write_card(family="none")
    clinic.export(study)
    assert clinic.facts()["sub-02_acq-dose25"]["derivation"].startswith("Reconstructed, not restored")


def test_identifiers_join_a_subjects_series_and_never_two_clinics(tmp_path: Path) -> None:
    here, there = Clinic(tmp_path / "here"), Clinic(tmp_path / "there", content=5.0)
    for one in (here, there):
        one.export(Toy())
    keys = {
        (n, scan): facts["keys"] for n, c in enumerate((here, there)) for scan, facts in c.facts().items()
    }
    assert len({k["series"] for k in keys.values()}) == 8
    assert len({k["subject"] for k in keys.values()}) == 4, "the same label in two clinics is two patients"
    first, second = (keys[0, f"sub-01_acq-dose{d}"] for d in (100, 25))
    assert first["subject"] == second["subject"]
    assert first["image"] == second["image"]
    before = here.facts()
    here.write_card(weights_sha256="cd" * 32)
    here.export(Toy())
    after = here.facts()
    assert all(before[s]["keys"]["series"] != after[s]["keys"]["series"] for s in before), "another image"
    assert all(before[s]["keys"]["subject"] == after[s]["keys"]["subject"] for s in before)
    assert digits("a") == digits("a") != digits("b")


def test_what_is_up_to_date_is_not_written_again(clinic: Clinic) -> None:
    clinic.export(Toy())
    study = Toy()
    clinic.export(study)
    assert study.seen == []
    assert all("up to date" in line for line in clinic.lines)
    clinic.export(study, "interfile")
    assert len(study.seen) == len(SCANS)


def test_nothing_old_stands_for_a_scan_that_fails_or_for_another_format(clinic: Clinic) -> None:
    clinic.export(Toy())

    def two(scan: dict[str, Any], facts: Any) -> dict[str, bytes]:
        if scan["scan"] == SCANS[1]["scan"]:
            raise DataError("Cannot write", where=scan["scan"], why="a reason", fix="a fix")
        return {".hv": b"header", ".v": b"data"}

    rows = clinic.export(Toy(two), "interfile")
    bad = [row for row in rows if row["status"] == "failed"]
    assert [(row["scan"], row["error"]) for row in bad] == [
        (SCANS[1]["scan"], f"Cannot write [{SCANS[1]['scan']}]: a reason. Fix: a fix")
    ]
    good = [s["scan"] for s in SCANS if s is not SCANS[1]]
    expected = {f"{scan}{e}" for scan in good for e in (".hv", ".v", ".json")} | {"s.tsv"}
    assert {path.name for path in clinic.manifest.parent.iterdir()} == expected


def test_what_failed_before_is_blocked_here(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, bad=SCANS[2]["scan"])
    rows = clinic.export(Toy())
    assert [r["status"] for r in rows] == ["ok", "ok", "blocked", "ok"]
    assert rows[2]["error"] == "no input"


@pytest.mark.parametrize("suffix", [".json", ".tsv", "dcm", "/../x.dcm", ".DCM", ".d m", ".", ""])
def test_a_suffix_cannot_lead_elsewhere_or_replace_a_table(clinic: Clinic, suffix: str) -> None:
    rows = clinic.export(Toy(lambda scan, facts: {".dcm": b"x", suffix: b"y"}))
    assert {row["status"] for row in rows} == {"failed"}
    assert all("no suffix of a file" in row["error"] for row in rows)
    assert {path.name for path in clinic.manifest.parent.iterdir()} == {"s.tsv"}


def test_a_study_that_writes_nothing_says_so(clinic: Clinic) -> None:
    rows = clinic.export(Toy(lambda scan, facts: {}), "interfile")
    assert all("writes nothing of it in the format 'interfile'" in row["error"] for row in rows)
    with pytest.raises(DataError, match="Nothing to export"):
        clinic.export(Toy(lambda scan, facts: {}), "interfile", strict=True)


def test_a_card_that_was_changed_exports_nothing(clinic: Clinic) -> None:
    clinic.card.write_text(clinic.card.read_text().replace("Method", "Other"))
    with pytest.raises(DataError, match="was changed"):
        clinic.export(Toy())
    clinic.write_card(use="another")
    with pytest.raises(DataError, match="another method"):
        clinic.export(Toy())
    assert not clinic.manifest.exists()


def test_what_went_back_is_counted_for_the_report(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, bad=SCANS[2]["scan"])

    def two(scan: dict[str, Any], facts: Any) -> dict[str, bytes]:
        if scan["scan"] == SCANS[1]["scan"]:
            raise DataError("Cannot write", where=scan["scan"], why="a reason", fix="a fix")
        return {".hv": b"header", ".v": b"data"}

    clinic.export(Toy(two), "interfile")
    told = exported_of(clinic.study, [str(clinic.restored), str(clinic.manifest)])
    place = {"cohort": "c", "method": "m", "folder": "exported/c/m"}
    assert told == [{**place, "kinds": ["hv", "v"], "scans": 2, "without": 2}]


# ---- SPECT ----

FACTS = {
    "format": "dicom", "method": "net", "title": "3D U-Net (noisy pairs)", "family": "learned",
    "weights_sha256": "ab" * 32, "version": "9.9", "derivation": f"Restored by a net, weights SHA-256 {'ab' * 32}; 9.9",
    "number": 102, "keys": {name: digits(name) for name in ("subject", "image", "series")},
}  # fmt: skip
SCAN = {"scan": "sub-0a1_acq-dose100", "image": "sub-0a1", "subject": "sub-0a1", "dose": 1.0}
TOLD = {
    "nuclide": "Tc-99m", "agent": "tetrofosmin", "collimator": "LEHR", "duration_s": 25.0, "gates": 1,
    "window": ["Smith Tc99m", 126.45, 154.55], "facts": {},
}  # fmt: skip


def uptake() -> Volume:
    """(12, 10, 8) asymmetric uptake, voxels of 6 mm."""
    data = np.random.default_rng(4).gamma(2, 1, (12, 10, 8)).astype(np.float32)
    data[2, 7, 6] = 40
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = -33, -27, -21
    return Volume(data, affine)


def exported(scan: dict[str, Any] | None = None, source: str = "dicom", **facts: Any) -> dict[str, bytes]:
    roles = {"file_facts": TOLD}
    if source == "simulate":
        from senmei.physics.gamma_camera import GammaCamera
        from senmei.physics.spect.geometry import orbit

        camera = GammaCamera(collimator="LEAP")
        turn = {"views": 8, "arc_deg": 180, "start_deg": 0, "radius_mm": 200, "direction": "ccw"}
        made = orbit((12, 12, 8), 6.0, **turn, camera=camera)
        roles = {"acquisition": made.to_dict()}
    cohort = {"source": source}
    return SPECTDenoise().export(scan or SCAN, uptake(), roles.__getitem__, cohort, {**FACTS, **facts})


def read(content: bytes) -> Any:
    import pydicom

    return pydicom.dcmread(io.BytesIO(content))


def test_a_restored_image_is_a_derived_series_in_its_own_unit() -> None:
    data = read(exported()[".dcm"])
    assert list(data.ImageType) == ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"]
    assert (data.PatientID, str(data.PatientName), data.SeriesNumber) == ("sub-0a1", "sub-0a1^", 102)
    assert data.SeriesDescription == "net: 3D U-Net (noisy pairs)"
    assert f"weights SHA-256 {'ab' * 32}" in data.DerivationDescription
    assert data.DerivationDescription.endswith("Not for diagnosis.")
    window = data.EnergyWindowInformationSequence[0]
    limits = window.EnergyWindowRangeSequence[0]
    assert (float(limits.EnergyWindowLowerLimit), float(limits.EnergyWindowUpperLimit)) == (126.45, 154.55)
    drug = data.RadiopharmaceuticalInformationSequence[0]
    assert drug.RadionuclideCodeSequence[0].CodeValue == "72454006"
    assert drug.RadiopharmaceuticalCodeSequence[0].CodeValue == "424118002"
    mapping = data.RealWorldValueMappingSequence[0]
    slope = float(mapping.RealWorldValueSlope)
    values = data.pixel_array * slope + float(mapping.RealWorldValueIntercept)
    volume = uptake()
    assert values.max() == pytest.approx(40, abs=slope)
    detector = data.DetectorInformationSequence[0]
    assert [float(v) for v in detector.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0], (
        "to the left, to the back"
    )
    expected = volume.data[::-1, ::-1].transpose(2, 1, 0)  # frame (feet first), row, column
    assert np.abs(values - expected).max() <= 0.51 * slope
    assert b"Smith" not in exported()[".dcm"], "the name of a window is somebody's text"


def test_series_of_a_patient_share_a_study_and_images_a_frame_of_reference() -> None:
    one = read(exported()[".dcm"])
    other = read(exported(method="gauss", keys={**FACTS["keys"], "series": digits("other")})[".dcm"])
    visit = {**FACTS["keys"], "series": digits("third"), "image": digits("stress")}
    third = read(exported(keys=visit)[".dcm"])
    assert one.StudyInstanceUID == other.StudyInstanceUID == third.StudyInstanceUID
    assert one.FrameOfReferenceUID == other.FrameOfReferenceUID != third.FrameOfReferenceUID
    for name in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({getattr(d, name) for d in (one, other, third)}) == 3
    assert exported() == exported(), "the same bytes again"
    stranger = read(exported(keys={name: digits("x", name) for name in FACTS["keys"]})[".dcm"])
    assert stranger.StudyInstanceUID != one.StudyInstanceUID


def test_series_say_their_dose_and_what_is_synthetic() -> None:
    thin = {**SCAN, "dose": 0.25}
    data = read(exported(thin, "simulate")[".dcm"])
    assert data.SeriesDescription == "net, 25 % dose, synthetic: 3D U-Net (noisy pairs)"
    assert data.DerivationDescription.startswith("Synthetic: a simulated patient.")
    assert "25 % of the acquired counts, thinned" in data.DerivationDescription
    assert data.DetectorInformationSequence[0].CollimatorGridName == "LEAP"
    assert data.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical == ""
    visit = {**SCAN, "session": 2, "run": 1}
    assert series_title(visit, {**FACTS, "title": "T"}, False) == "net, visit 2, run 1: T"
    assert (
        series_title({**SCAN, "session": None}, {**FACTS, "family": "none", "method": "input"}, False)
        == "unrestored"
    )
    assert len(series_title(SCAN, {**FACTS, "title": "x" * 99}, True)) == 64


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed")
@pytest.mark.parametrize("source", ["dicom", "simulate"])
def test_series_are_what_the_standard_asks_for(source: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(exported(source=source)[".dcm"])
    done = subprocess.run(
        ["dciodvfy", "-new", str(tmp_path / "a.dcm")], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert "NMImage" in lines
    assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


def test_interfile_reads_back_exactly(tmp_path: Path) -> None:
    from senmei.io.interfile import read_interfile

    files = exported(format="interfile")
    assert set(files) == {".h33", ".i33"}
    for suffix, content in files.items():
        (tmp_path / f"{SCAN['scan']}{suffix}").write_bytes(content)
    volume = read_interfile(tmp_path / f"{SCAN['scan']}.h33")
    np.testing.assert_array_equal(volume.data, uptake().data)
    assert b"/" not in files[".h33"].split(b"name of data file")[1].splitlines()[0]


def test_what_cannot_be_written_names_the_scan() -> None:
    facts = {**FACTS, "format": "dicom"}
    with pytest.raises(DataError, match="Cannot export") as error:
        export_scan(SCAN, {"value": 1}, TOLD.__getitem__, {"source": "dicom"}, facts)
    assert error.value.where == SCAN["scan"]
    broken = uptake()
    broken.data[3] = np.nan
    for kind in ("dicom", "interfile"):
        with pytest.raises(DataError) as told:
            export_scan(
                SCAN, broken, {"file_facts": TOLD}.__getitem__, {"source": "dicom"}, {**FACTS, "format": kind}
            )
        assert told.value.where == SCAN["scan"]
        assert "/tmp" not in str(told.value)
