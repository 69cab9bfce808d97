"""NM DICOM out: valid by another's judgement (dciodvfy), read back equal, in the right place, and nobody's."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from senmei.core.errors import ConfigError, DataError, EngineError, StorageError
from senmei.core.volume import Volume
from senmei.engines.dcm2niix import find_dcm2niix
from senmei.io.dicom_nm import Reconstruction, read_nm
from senmei.io.dicom_nm_codes import AGENTS, NUCLIDES
from senmei.io.dicom_nm_modules import decimal, plain_text
from senmei.io.dicom_nm_write import (
    planar_to_dicom,
    projections_to_dicom,
    reconstruction_to_dicom,
    save_dicom,
    to_bytes,
)
from senmei.io.projections import EnergyWindow, PlanarImage, Projections

PEAK, SCATTER = EnergyWindow("photopeak", 126.45, 154.55), EnergyWindow("lower scatter", 108.0, 122.0)
LABELS: dict[str, Any] = {"subject": "sub-00ab12cd34ef", "identity": "5f1d0c2e9a7b4863"}
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"  # within the wheel


def projections(windows: int = 1, gates: int = 1, direction: str = "ccw", views: int = 8) -> Projections:
    counts = np.random.default_rng(windows + gates).poisson(30, (windows, gates, 12, 10, views))
    return Projections(
        counts=counts.astype(np.int32),
        windows=(PEAK, SCATTER)[:windows],
        pixel_mm=6.4,
        angles_deg=tuple(-45 + 22.5 * k for k in range(views)),
        direction=direction,
        radius_mm=tuple(200.5 + 3 * k for k in range(views)),
        nuclide="Tc-99m",
        agent="sestamibi",
        collimator="LEHR",
        duration_s=20.0,
    )


def planar(windows: int = 1) -> PlanarImage:
    counts = np.random.default_rng(windows).poisson(8, (windows, 2, 14, 9)).astype(np.int32)
    views = ("anterior", "posterior")
    return PlanarImage(
        counts, (PEAK, SCATTER)[:windows], (2.4, 2.2), views, "Tc-99m", "medronate", "LEHR", 300.0
    )


def volume(*shape: int, low: float = 0.0) -> Volume:
    data = np.random.default_rng(len(shape)).uniform(low, 7.5, shape).astype(np.float32)
    affine = np.diag([6.4, 6.4, 6.4, 1.0])
    affine[:3, 3] = (-35.2, -35.2, -28.8)
    return Volume(data, affine)


Make = Callable[[], pydicom.Dataset]
KINDS: dict[str, tuple[str, Make]] = {
    "one window": ("TOMO", lambda: projections_to_dicom(projections(), **LABELS)),
    "two windows, cw": ("TOMO", lambda: projections_to_dicom(projections(2, 1, "cw"), **LABELS)),
    "thinned": (
        "TOMO",
        lambda: projections_to_dicom(
            projections(), **LABELS, derived=True, derivation="Binomial thinning to a quarter", title="quarter dose"
        ),
    ),
    "gated": ("GATED TOMO", lambda: projections_to_dicom(projections(1, 8), **LABELS)),
    "gated, two windows": ("GATED TOMO", lambda: projections_to_dicom(projections(2, 8, "cw"), **LABELS)),
    "reconstruction": (
        "RECON TOMO",
        lambda: reconstruction_to_dicom(
            volume(12, 12, 10), **LABELS, like=projections(), title="OSEM", derivation="OSEM, denoised", series=7
        ),
    ),
    "reconstruction of nothing known": ("RECON TOMO", lambda: reconstruction_to_dicom(volume(12, 12, 10), **LABELS)),
    "reconstruction of a source": (
        "RECON TOMO",
        lambda: reconstruction_to_dicom(
            volume(12, 12, 10, low=-2),
            **LABELS,
            like={"windows": (PEAK,), "nuclide": "I-123", "agent": "ioflupane", "collimator": "LEAP"},
            sources=(str(projections_to_dicom(projections(), **LABELS).SOPInstanceUID),),
        ),
    ),
    "gated reconstruction": (
        "RECON GATED TOMO",
        lambda: reconstruction_to_dicom(volume(12, 12, 10, 8), **LABELS, like=projections(1, 8)),
    ),
    "planar": ("STATIC", lambda: planar_to_dicom(planar(2), **LABELS)),
    "whole body": ("WHOLE BODY", lambda: planar_to_dicom(planar(), **LABELS, kind="WHOLE BODY")),
}  # fmt: skip


def judged(path: Path) -> list[str]:
    """What dciodvfy says of a file: the name of the kind of object and nothing else, if all is well."""
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).split("\n")


needs_dciodvfy = pytest.mark.skipif(
    not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed"
)


@needs_dciodvfy
@pytest.mark.parametrize("name", KINDS)
def test_another_program_finds_nothing_to_say(name: str, tmp_path: Path) -> None:
    kind, make = KINDS[name]
    save_dicom(tmp_path / "a.dcm", make())
    assert pydicom.dcmread(tmp_path / "a.dcm").ImageType[2] == kind
    assert [line for line in judged(tmp_path / "a.dcm") if line] == ["NMImage"]


@needs_dciodvfy
def test_the_judge_would_find_something(tmp_path: Path) -> None:
    data = projections_to_dicom(projections(), **LABELS)
    del data.EnergyWindowInformationSequence
    save_dicom(tmp_path / "a.dcm", data)
    done = subprocess.run(["dciodvfy", str(tmp_path / "a.dcm")], capture_output=True, text=True, check=False)
    assert "EnergyWindowInformationSequence" in done.stdout + done.stderr


# --- read back ---


@pytest.mark.parametrize("gates", [1, 8])
@pytest.mark.parametrize(("windows", "direction"), [(1, "ccw"), (2, "cw")])
def test_acquisitions_read_back_equal(windows: int, gates: int, direction: str, tmp_path: Path) -> None:
    made = projections(windows, gates, direction)
    save_dicom(tmp_path / "a.dcm", projections_to_dicom(made, **LABELS))
    read = read_nm(tmp_path / "a.dcm")
    assert isinstance(read, Projections)
    np.testing.assert_array_equal(read.counts, made.counts)
    same = {
        f.name: getattr(made, f.name) for f in dataclasses.fields(made) if f.name not in ("counts", "facts")
    }
    assert {name: getattr(read, name) for name in same} == same


def test_planar_images_read_back_equal(tmp_path: Path) -> None:
    made = planar(2)
    save_dicom(tmp_path / "a.dcm", planar_to_dicom(made, **LABELS))
    read = read_nm(tmp_path / "a.dcm")
    assert isinstance(read, PlanarImage)
    np.testing.assert_array_equal(read.counts, made.counts)
    names = ("windows", "pixel_mm", "views", "nuclide", "agent", "collimator", "duration_s")
    assert [getattr(read, n) for n in names] == [getattr(made, n) for n in names]


@pytest.mark.parametrize(("shape", "low"), [((12, 12, 10), 0.0), ((12, 10, 8), -3.0), ((6, 6, 5, 8), 0.0)])
def test_reconstructions_read_back_within_half_a_step(
    shape: tuple[int, ...], low: float, tmp_path: Path
) -> None:
    made = volume(*shape, low=low)
    save_dicom(tmp_path / "a.dcm", reconstruction_to_dicom(made, **LABELS, like=projections()))
    read = read_nm(tmp_path / "a.dcm")
    assert isinstance(read, Reconstruction) and not read.transmission
    assert (read.nuclide, read.agent, read.collimator, read.windows) == (
        "Tc-99m",
        "sestamibi",
        "LEHR",
        (PEAK,),
    )
    step = (float(made.data.max()) - min(0.0, float(made.data.min()))) / 65535
    assert np.abs(read.volume.data - made.data).max() <= step / 2 * 1.01
    np.testing.assert_allclose(read.volume.affine, made.affine, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_volume_keeps_its_value(value: float, tmp_path: Path) -> None:
    made = volume(4, 4, 3).like(np.full((4, 4, 3), value, np.float32))
    save_dicom(tmp_path / "a.dcm", reconstruction_to_dicom(made, **LABELS))
    read = read_nm(tmp_path / "a.dcm")
    assert isinstance(read, Reconstruction)
    np.testing.assert_allclose(read.volume.data, value, atol=1e-5)


def test_tilted_volumes_keep_their_place(tmp_path: Path) -> None:
    """A short-axis grid: each voxel's world position survives, whatever the order of axes."""
    axes = np.array([[2, 1, 2], [1, 2, -2], [2, -2, -1]]) / 3
    affine = np.eye(4)
    affine[:3, :3] = axes.T * (4.0, 4.0, 5.0)
    affine[:3, 3] = (7, -8, 9)
    made = Volume(volume(7, 7, 5).data, affine)
    save_dicom(tmp_path / "a.dcm", reconstruction_to_dicom(made, **LABELS))
    read = read_nm(tmp_path / "a.dcm")
    assert isinstance(read, Reconstruction)
    for i, j, k in ((0, 0, 0), (6, 2, 1), (3, 5, 4)):
        at = np.linalg.inv(read.volume.affine) @ affine @ (i, j, k, 1)
        x, y, z = np.rint(at[:3]).astype(int)
        np.testing.assert_allclose(at[:3], (x, y, z), atol=1e-5)
        assert read.volume.data[x, y, z] == pytest.approx(made.data[i, j, k], abs=1e-4)


def test_nuclides_and_agents_are_coded(tmp_path: Path) -> None:
    for nuclide, agent in (("Tc-99m", "tetrofosmin"), ("I-123", "ioflupane"), ("", "")):
        made = dataclasses.replace(projections(), nuclide=nuclide, agent=agent)
        data = projections_to_dicom(made, **LABELS)
        item = data.RadiopharmaceuticalInformationSequence[0]
        if nuclide:
            assert item.RadionuclideCodeSequence[0].CodeValue == NUCLIDES[nuclide].value
            assert item.RadiopharmaceuticalCodeSequence[0].CodeValue == AGENTS[agent].value
        save_dicom(tmp_path / "a.dcm", data)
        read = read_nm(tmp_path / "a.dcm")
        assert (read.nuclide, read.agent) == (nuclide, agent)


# --- where things are ---


@pytest.mark.parametrize(("direction", "arc", "start"), [("ccw", 180.0, -45.0), ("cw", 360.0, 10.0)])
def test_an_object_comes_back_where_it_was(direction: str, arc: float, start: float, tmp_path: Path) -> None:
    """Two spots off every axis of symmetry: projected, written, read, reconstructed, written, read."""
    from senmei.physics.spect.geometry import Acquisition, orbit
    from senmei.physics.spect.projector import Projector
    from senmei.physics.spect.reconstruct import fbp

    n, slices = 24, 16
    spots = {(6, 15, 11): 20000.0, (14, 19, 4): 12000.0}  # left, in front, high; right, in front, low
    image = np.zeros((n, n, slices), np.float32)
    for at, value in spots.items():
        image[at] = value
    acquisition = orbit((n, n, slices), 6.0, 30, arc, start, 150.0, direction)
    counts = np.rint(Projector(acquisition, psf=False).forward(image).numpy()).astype(np.int32)
    made = Projections(
        counts[None, None],
        (PEAK,),
        6.0,
        acquisition.angles_deg,
        direction,
        acquisition.radius_mm,
        duration_s=10.0,
    )
    save_dicom(tmp_path / "a.dcm", projections_to_dicom(made, **LABELS))
    read = read_nm(tmp_path / "a.dcm")
    assert isinstance(read, Projections)
    again = Acquisition(
        acquisition.shape, read.pixel_mm, read.angles_deg, read.radius_mm, read.direction, acquisition.camera
    )
    found = np.asarray(fbp(read.counts[0, 0].astype(np.float32), again))
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = -(np.array([n, n, slices]) - 1) / 2 * 6
    save_dicom(tmp_path / "b.dcm", reconstruction_to_dicom(Volume(found, affine), **LABELS, like=read))
    back = read_nm(tmp_path / "b.dcm")
    assert isinstance(back, Reconstruction)
    np.testing.assert_allclose(back.volume.affine, affine, atol=1e-6)
    left = back.volume.data.copy()
    for at in spots:
        assert np.unravel_index(left.argmax(), left.shape) == at
        left[at[0] - 3 : at[0] + 4, at[1] - 3 : at[1] + 4, at[2]] = 0


def _has_dcm2niix() -> bool:
    try:
        return bool(find_dcm2niix())
    except EngineError:
        return False


@pytest.mark.skipif(not _has_dcm2niix(), reason="dcm2niix is not installed")
@pytest.mark.parametrize("gates", [(), (3,)])
def test_another_reader_finds_a_reconstruction_at_the_same_place(
    gates: tuple[int, ...], tmp_path: Path
) -> None:
    """dcm2niix: the same grid of the world, the same voxels (it takes no notice of the scale)."""
    import nibabel

    made = volume(12, 11, 10, *gates)
    save_dicom(tmp_path / "a.dcm", reconstruction_to_dicom(made, **LABELS))
    call = [str(find_dcm2niix()), "-b", "n", "-f", "out", str(tmp_path)]
    subprocess.run(call, check=True, capture_output=True)
    found = nibabel.as_closest_canonical(nibabel.load(tmp_path / "out.nii"))
    np.testing.assert_allclose(found.affine, made.affine, atol=1e-4)
    slope = float(made.data.max()) / 65535
    np.testing.assert_allclose(np.asarray(found.dataobj) * slope, made.data, atol=slope)


def test_frames_show_what_one_sees_from_the_detector() -> None:
    """Written pixels by the words of the standard: no code of ours decides where the patient's right is."""
    counts = np.zeros((1, 1, 12, 10, 4), np.int32)
    counts[0, 0, 10, 8, :] = 9  # near the patient's right in front (high x), near the head (high z)
    made = dataclasses.replace(
        projections(views=4), counts=counts, angles_deg=(0.0, 90.0, 180.0, 270.0), direction="ccw"
    )
    data = projections_to_dicom(made, **LABELS)
    assert np.argwhere(data.pixel_array[0]).tolist() == [[1, 1]], (
        "head up, right on the left of an anterior view"
    )
    turn = data.RotationInformationSequence[0]
    assert (float(turn.StartAngle), turn.RotationDirection) == (180.0, "CW"), (
        "anterior, then the patient's left"
    )
    assert float(data.DetectorInformationSequence[0].StartAngle) == 180.0


# --- the same call, the same bytes; nothing of anybody ---


@pytest.mark.parametrize("name", KINDS)
def test_the_same_call_gives_the_same_bytes(name: str) -> None:
    assert to_bytes(KINDS[name][1]()) == to_bytes(KINDS[name][1]())


def test_uids_follow_from_what_they_name() -> None:
    first = projections_to_dicom(projections(), **LABELS)
    other = projections_to_dicom(projections(), subject=LABELS["subject"], identity="another identity")
    third = reconstruction_to_dicom(volume(6, 6, 5), **LABELS, series=3, title="b", study="one visit")
    fourth = reconstruction_to_dicom(volume(6, 6, 5), **LABELS, series=4, title="c", study="one visit")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert getattr(first, keyword) != getattr(other, keyword)
        assert getattr(first, keyword).startswith(pydicom.uid.PYDICOM_ROOT_UID)
    assert third.StudyInstanceUID == fourth.StudyInstanceUID
    assert third.FrameOfReferenceUID == fourth.FrameOfReferenceUID
    assert third.SeriesInstanceUID != fourth.SeriesInstanceUID
    assert third.file_meta.MediaStorageSOPInstanceUID == third.SOPInstanceUID


def test_headers_say_that_nobody_is_in_them() -> None:
    for _, make in KINDS.values():
        data = make()
        assert data.PatientIdentityRemoved == "YES" and data.DeidentificationMethod
        assert data.PatientID == LABELS["subject"] and data.PatientBirthDate == "" == data.PatientSex
        dates = {e.value for e in data.iterall() if e.VR in ("DA", "DT")}
        assert dates <= {"", "19000101"}
        assert not [e for e in data.iterall() if e.tag.is_private]


def test_results_say_that_they_are_derived() -> None:
    made = {name: make() for name, (_, make) in KINDS.items()}
    assert made["one window"].ImageType[0] == "ORIGINAL" and "DerivationDescription" not in made["one window"]
    assert made["thinned"].ImageType[0] == "DERIVED" == made["reconstruction"].ImageType[0]
    assert made["reconstruction"].DerivationDescription == "OSEM, denoised"
    source = made["reconstruction of a source"].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == made["one window"].SOPInstanceUID


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        ({"subject": "Quixotic^Zebulon"}, "pseudonym"),
        ({"subject": ""}, "pseudonym"),
        ({"identity": "short"}, "hash"),
        ({"series": 0}, "from 1 on"),
        ({"sources": ("1.2.840.99999.7734.9",)}, "may lead back to a patient"),
    ],
)
def test_labels_that_may_identify_are_refused(change: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError) as caught:
        projections_to_dicom(projections(), **{**LABELS, **change})
    assert piece in str(caught.value)
    assert "Quixotic" not in str(caught.value) and "7734" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "piece"), [(np.float32(1.5), "whole"), (np.int32(65536), "65535"), (np.int32(-1), "negative")]
)
def test_counts_that_no_frame_holds_are_refused(counts: Any, piece: str) -> None:
    made = projections()
    wrong = made.counts.astype(np.asarray(counts).dtype)
    wrong[0, 0, 3, 3, 3] = counts
    with pytest.raises(DataError) as caught:
        projections_to_dicom(dataclasses.replace(made, counts=wrong), **LABELS)
    assert piece in str(caught.value) and caught.value.where == LABELS["subject"]


def test_an_uneven_orbit_and_volumes_that_are_none_are_refused() -> None:
    made = dataclasses.replace(projections(), angles_deg=(0, 22, 45, 68, 90, 112, 135, 158))
    with pytest.raises(DataError, match="Cannot write projections"):
        projections_to_dicom(made, **LABELS)
    assert len(reconstruction_to_dicom(volume(4, 4, 3), **LABELS, like=made).RotationInformationSequence) == 0
    with pytest.raises(DataError, match="Cannot write a reconstruction"):
        reconstruction_to_dicom(volume(4, 4), **LABELS)
    sheared = volume(4, 4, 3).affine.copy()
    sheared[0, 1] = 2.0
    with pytest.raises(DataError) as caught:
        reconstruction_to_dicom(Volume(volume(4, 4, 3).data, sheared), **LABELS)
    assert "right angles" in str(caught.value)
    for bad in (np.nan, np.inf):
        data = volume(4, 4, 3).data.copy()
        data[1, 1, 1] = bad
        with pytest.raises(DataError) as caught:
            reconstruction_to_dicom(volume(4, 4, 3).like(data), **LABELS)
        assert "NaN or infinite" in str(caught.value)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = projections_to_dicom(projections(), **LABELS)
    save_dicom(tmp_path / "a.dcm", data)
    before = (tmp_path / "a.dcm").read_bytes()

    def full(self: Path, content: bytes) -> int:
        with open(self, "wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="Cannot write a file"):
        save_dicom(tmp_path / "a.dcm", reconstruction_to_dicom(volume(6, 6, 5), **LABELS))
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]
    monkeypatch.undo()
    assert (tmp_path / "a.dcm").read_bytes() == before


def test_texts_and_numbers_fit_their_fields() -> None:
    assert plain_text("a\\b\nc  é " + "x" * 80, 64) == ("a b c " + "x" * 80)[:64]
    for value in (1 / 3, -1e-7 / 3, 123456789.123456789, 1e-300 / 3, 0.0, -35.2):
        text = decimal(value)
        assert len(text) <= 16 and float(text) == pytest.approx(value, rel=1e-8)


# --- a real image of another's ---


@needs_dciodvfy
@pytest.mark.parametrize("name", ["JPEG2000.dcm", "JPGExtended.dcm"])
def test_a_real_bone_scan_goes_in_and_out(name: str, tmp_path: Path) -> None:
    """GE, whole body, 1024 x 256, from pydicom's wheel: a secondary capture that does not tell its energy window."""
    with pytest.raises(DataError) as caught:
        read_nm(SAMPLES / name)
    assert "energy windows" in str(caught.value)
    read = read_nm(SAMPLES / name, window=(126.0, 154.0))
    assert isinstance(read, PlanarImage)
    assert read.counts.shape == (1, 1, 1024, 256) and read.pixel_mm == (2.26, 2.26)
    # The header says 3,596,452 counts; the samples were packed with loss.
    assert abs(int(read.counts.sum()) - 3596452) < 0.06 * 3596452 and read.facts["lossy"]
    assert read.duration_s == pytest.approx(1210.434)
    made = planar_to_dicom(read, **LABELS, kind="WHOLE BODY", derived=True, derivation="Sample")
    save_dicom(tmp_path / "a.dcm", made)
    assert [line for line in judged(tmp_path / "a.dcm") if line] == ["NMImage"]
    np.testing.assert_array_equal(read_nm(tmp_path / "a.dcm").counts, read.counts)
    assert "lost" in pydicom.dcmread(tmp_path / "a.dcm").DerivationDescription
    own, content = (SAMPLES / name).read_bytes(), (tmp_path / "a.dcm").read_bytes()
    words = [b"CompressedSamples", b"8NM1", b"Hospital", b"genieacq", b"172.16", b"1.3.6.1.4.1.5962", b"GEMS"]
    assert sum(word in own for word in words) >= 5
    assert [word for word in words if word in content] == []
