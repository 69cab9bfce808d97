"""NM DICOM in: orbits of any camera, planar images, reconstructions, odd pixels; what cannot be told is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.io import dicom_nm_pixels
from senmei.io.dicom_nm import Reconstruction, attenuation_map, list_nm, read_nm
from senmei.io.dicom_nm_codes import (
    AGENTS,
    NUCLIDES,
    agent_of,
    by_code,
    collimator_of,
    nuclide_of,
    window_name,
)
from senmei.io.dicom_nm_geometry import axis_directions, sort_orbit
from senmei.io.projections import PlanarImage, Projections
from tests.clinic.corpus import BAD, PERSON, PIXEL_MM, SOUND, body, mixed, plain_shot, twice
from tests.clinic.nm_writer import VECTORS, Person, Shot, betrayed, recon, save, tomo

Edit = Callable[[Any], object]


def written(folder: Path, edit: Edit | None = None, shot: Shot | None = None, **options: Any) -> Path:
    """A TOMO file by the tests' own writer, its data set changed by `edit`."""
    data = tomo(shot or plain_shot(), PERSON, **options)
    if edit is not None:
        edit(data)
    return save(data, folder / "image.dcm")


def acquired(path: Path, **options: Any) -> Projections:
    read = read_nm(path, **options)
    assert isinstance(read, Projections)
    return read


def refused(path: Path, *pieces: str, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read_nm(path, where="sub-1", **options)
    assert all(piece in str(caught.value) for piece in pieces), str(caught.value)
    assert caught.value.where == "sub-1" and caught.value.fix
    assert betrayed(str(caught.value), PERSON) == []
    return caught.value


def directions(read: Projections) -> np.ndarray:
    radians = np.radians(read.angles_deg)
    return np.stack([-read.sense * np.sin(radians), np.cos(radians), 0 * radians], axis=1)


def full_circle(views: int = 16, seed: int = 3) -> Shot:
    """A full circle from straight behind over the left, with counts without symmetry."""
    angles = np.radians(np.arange(views) * 360 / views)
    toward = np.stack([-np.sin(angles), -np.cos(angles), 0 * angles], axis=1)  # from behind over the left
    along = np.stack([-np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    counts = np.random.default_rng(seed).poisson(9, (1, 1, 12, 10, views))
    return Shot(counts, toward, along, [210.0] * views, PIXEL_MM)


# --- geometry ---


def test_what_a_detector_sees() -> None:
    """Right of the patient on the left of an anterior frame, head up, at the four sides."""
    left, back, head = np.eye(3)
    for phi, along in ((180, left), (0, -left), (90, back), (270, -back)):
        row, column = axis_directions(phi)
        np.testing.assert_allclose(row, along, atol=1e-12)
        np.testing.assert_allclose(column, -head, atol=1e-12)


def test_an_arc_starts_after_the_widest_gap_and_a_circle_with_its_first_view() -> None:
    phi = [(225 - 6 * k) % 360 for k in range(30)]
    orbit = sort_orbit([phi[i] for i in (*range(15, 30), *range(15))], 0, falling=True)
    np.testing.assert_allclose(orbit.theta_deg, np.arange(30) * 6 - 45)
    assert orbit.direction == "ccw" and orbit.members[0] == (15,)
    circle = sort_orbit([(40 + 10 * k) % 360 for k in range(36)], 5, falling=False)
    np.testing.assert_allclose(circle.theta_deg, -90 + np.arange(36) * 10)  # φ = 90 is the left, cw: θ = -90
    assert circle.direction == "cw" and circle.members[0] == (5,)


def test_views_across_zero_are_one_view() -> None:
    orbit = sort_orbit([180.01, 90.0, 179.99, 90.0], 1, falling=True)
    assert sorted(orbit.members) == [(0, 2), (1, 3)]


def test_two_heads_over_the_same_circle_are_added(tmp_path: Path) -> None:
    """Each of two opposite heads goes once round: each angle is seen twice, for twice the time."""
    shot, other = full_circle(), full_circle(seed=4)
    half = 8

    def second_head(data: Any) -> None:
        frames = np.concatenate(
            [[s.frame(0, 0, (i + o) % 16) for i in range(16)] for s, o in ((shot, 0), (other, half))]
        )
        data.NumberOfFrames, data.PixelData = 32, frames.astype("<u2").tobytes()
        data.EnergyWindowVector, data.RotationVector = [1] * 32, [1] * 32
        data.DetectorVector, data.AngularViewVector = [1] * 16 + [2] * 16, [*range(1, 17)] * 2
        data.NumberOfDetectors = 2
        data.DetectorInformationSequence.append(tomo(other, PERSON, heads=1).DetectorInformationSequence[0])
        data.DetectorInformationSequence[1].StartAngle = "180"

    read = acquired(written(tmp_path, second_head, shot, heads=1))
    np.testing.assert_allclose(directions(read), shot.toward, atol=1e-6)
    np.testing.assert_array_equal(read.counts, shot.counts + other.counts)
    assert read.duration_s == 40 and read.facts["frames_added"] == 2

    def far(data: Any) -> None:
        second_head(data)
        data.DetectorInformationSequence[1].RadialPosition = ["260"] * 16

    refused(written(tmp_path, far, shot, heads=1), "210 and 260 mm")


def test_two_rotations_of_half_an_orbit_each(tmp_path: Path) -> None:
    """A camera that went out in one turn and on in another, each turn an item with its own start."""
    shot = plain_shot()

    def split(data: Any) -> None:
        import copy

        first = data.RotationInformationSequence[0]
        first.NumberOfFramesInRotation = 8
        radii = list(data.DetectorInformationSequence[0].RadialPosition)
        del data.DetectorInformationSequence[0].RadialPosition
        second = copy.deepcopy(first)
        second.StartAngle = f"{shot.angles[8]:.6g}"
        first.RadialPosition, second.RadialPosition = radii[:8], radii[8:]
        data.RotationInformationSequence = [first, second]
        data.NumberOfRotations = 2
        data.RotationVector, data.AngularViewVector = [1] * 8 + [2] * 8, [*range(1, 9)] * 2

    read = acquired(written(tmp_path, split, shot, heads=1))
    np.testing.assert_array_equal(read.counts, shot.counts)
    np.testing.assert_allclose(directions(read), shot.toward, atol=1e-6)
    np.testing.assert_allclose(read.radius_mm, shot.radius_mm)


def test_a_rotation_for_each_head(tmp_path: Path) -> None:
    """A camera that describes a turn for each head, both where they start and where they stood."""
    shot = plain_shot()

    def each_its_own(data: Any) -> None:
        import copy

        turn = data.RotationInformationSequence[0]
        turns = [copy.deepcopy(turn), copy.deepcopy(turn)]
        for item, head in zip(turns, data.DetectorInformationSequence, strict=True):
            item.StartAngle, item.RadialPosition = head.StartAngle, head.RadialPosition
            del head.RadialPosition
        data.RotationInformationSequence, data.NumberOfRotations = turns, 2
        data.RotationVector = list(data.DetectorVector)

    for swap in (False, True):
        read = acquired(written(tmp_path, each_its_own, shot, swap_heads=swap))
        np.testing.assert_array_equal(read.counts, shot.counts)
        np.testing.assert_allclose(directions(read), shot.toward, atol=1e-6)
        np.testing.assert_allclose(read.radius_mm, shot.radius_mm)

    def without_heads(data: Any) -> None:
        each_its_own(data)
        for head in data.DetectorInformationSequence:
            del head.StartAngle

    np.testing.assert_array_equal(acquired(written(tmp_path, without_heads, shot)).counts, shot.counts)


def test_views_numbered_on_from_head_to_head(tmp_path: Path) -> None:
    shot = plain_shot()
    read = acquired(written(tmp_path, lambda d: setattr(d, "AngularViewVector", [*range(1, 17)]), shot))
    np.testing.assert_array_equal(read.counts, shot.counts)


def test_a_file_without_the_vector_of_views_is_read_in_its_order(tmp_path: Path) -> None:
    shot = plain_shot(gates=4, windows=2)
    read = acquired(written(tmp_path, lambda d: delattr(d, "AngularViewVector"), shot))
    np.testing.assert_array_equal(read.counts, shot.counts)


def test_a_head_whose_angle_is_not_told_is_refused(tmp_path: Path) -> None:
    def no_start(data: Any) -> None:
        for item in data.DetectorInformationSequence:
            del item.StartAngle

    refused(written(tmp_path, no_start), "2 heads", "at which angle each stands")


def test_a_radius_may_be_given_where_the_file_has_none(tmp_path: Path) -> None:
    def no_radius(data: Any) -> None:
        for item in data.DetectorInformationSequence:
            del item.RadialPosition

    path = written(tmp_path, no_radius)
    refused(path, "no radial position", "give the radius")
    assert acquired(path, radius_mm=222.0).radius_mm == (222.0,) * 16
    assert acquired(written(tmp_path), radius_mm=222.0).radius_mm[0] == 200.0, "the file's own comes first"


def test_a_window_may_be_given_where_the_file_has_none(tmp_path: Path) -> None:
    path = written(tmp_path, lambda d: delattr(d, "EnergyWindowInformationSequence"))
    refused(path, "energy windows", "give the window")
    read = acquired(path, window=(126.0, 154.0))
    assert (read.windows[0].low_kev, read.windows[0].high_kev) == (126.0, 154.0)
    assert acquired(written(tmp_path), window=(1.0, 2.0)).windows[0].low_kev == 126.45
    two = written(tmp_path, lambda d: d.EnergyWindowInformationSequence.pop(), plain_shot(windows=2))
    refused(two, "energy windows", window=(126.0, 154.0))


def test_several_ranges_of_one_window_are_kept(tmp_path: Path) -> None:
    def indium(data: Any) -> None:
        import copy

        ranges = data.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence
        ranges.append(copy.deepcopy(ranges[0]))
        ranges[1].EnergyWindowLowerLimit, ranges[1].EnergyWindowUpperLimit = "220", "270"

    read = acquired(written(tmp_path, indium))
    assert (read.windows[0].low_kev, read.windows[0].high_kev) == (126.45, 270)
    assert read.facts["window_ranges_kev"] == [[(126.45, 154.55), (220, 270)]]


# --- how the patient lay ---


def _position(first: str = "F-10470", posture: str = "F-10340") -> Edit:
    def edit(data: Any) -> None:
        data.PatientGantryRelationshipCodeSequence[0].CodeValue = first
        data.PatientGantryRelationshipCodeSequence[0].CodeMeaning = ""
        lying = data.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence[0]
        lying.CodeValue, lying.CodeMeaning = posture, ""

    return edit


def _stated(shot: Shot, sign: float = 1.0) -> list[float]:
    row, column = axis_directions(shot.angles[0])
    return [*(sign * row), *(sign * column)]


def test_prone_and_decubitus_are_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, _position(posture="F-10310")), "prone")

    def side(data: Any) -> None:
        del data.PatientOrientationCodeSequence
        data.PatientPosition = "HFDL"

    refused(written(tmp_path, side), "decubitus")


def test_feet_first_is_read_only_where_the_frames_say_which_way_is_up(tmp_path: Path) -> None:
    shot = plain_shot()
    refused(written(tmp_path, _position(first="F-10480"), shot), "feet first", "where the head is")

    def stated(sign: float) -> Edit:
        def edit(data: Any) -> None:
            _position(first="F-10480")(data)
            for item in data.DetectorInformationSequence:
                item.ImageOrientationPatient = [f"{v:.6g}" for v in _stated(shot, sign)]
            if sign < 0:  # frames stand on their heads
                frames = np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns)
                data.PixelData = np.ascontiguousarray(frames[:, ::-1, ::-1]).tobytes()

        return edit

    for sign in (1, -1):
        read = acquired(written(tmp_path, stated(sign), shot, heads=1))
        np.testing.assert_array_equal(read.counts, shot.counts)
        assert read.facts["position"] == "feet first, supine"


def test_mirrored_frames_are_refused(tmp_path: Path) -> None:
    shot = plain_shot()

    def mirrored(data: Any) -> None:
        stated = _stated(shot)
        data.DetectorInformationSequence[0].ImageOrientationPatient = [
            f"{v:.6g}" for v in (*stated[:3], 0, 0, 1)
        ]

    refused(written(tmp_path, mirrored, shot), "mirrored")


def test_a_position_that_is_not_told_is_assumed_and_said(tmp_path: Path) -> None:
    def silent(data: Any) -> None:
        del data.PatientOrientationCodeSequence, data.PatientGantryRelationshipCodeSequence

    assert acquired(written(tmp_path, silent)).facts["position"] == "head first (assumed), supine (assumed)"


# --- gates ---


def test_a_gated_file_must_say_which_gate_a_frame_is_of(tmp_path: Path) -> None:
    shot = plain_shot(gates=4)
    refused(written(tmp_path, lambda d: delattr(d, "TimeSlotVector"), shot), "no time slot vector")

    def two_intervals(data: Any) -> None:
        data.RRIntervalVector = [1, 2] * (len(data.RRIntervalVector) // 2)

    refused(written(tmp_path, two_intervals, shot), "R-R intervals")

    def twice_the_same(data: Any) -> None:
        data.TimeSlotVector = [1 if slot == 2 else slot for slot in data.TimeSlotVector]

    refused(written(tmp_path, twice_the_same, shot), "1 of 4 gates are missing")


# --- pixels ---


@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (16, 1), (32, 0), (32, 1)])
def test_pixels_of_other_sizes_read_to_the_same_counts(bits: int, signed: int, tmp_path: Path) -> None:
    shot = plain_shot()
    assert shot.counts.max() < 256

    def edit(data: Any) -> None:
        frames = np.frombuffer(data.PixelData, "<u2")
        data.BitsAllocated = data.BitsStored = bits
        data.HighBit, data.PixelRepresentation = bits - 1, signed
        data["PixelData"].VR = "OB" if bits == 8 else "OW"
        data.PixelData = frames.astype(f"<u{bits // 8}").tobytes()

    np.testing.assert_array_equal(acquired(written(tmp_path, edit, shot)).counts, shot.counts)


def test_bits_beside_the_value_are_no_counts(tmp_path: Path) -> None:
    """Twelve bits hold the value; an overlay lies in the others."""
    shot = plain_shot()

    def overlay(signed: int) -> Edit:
        def edit(data: Any) -> None:
            data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, signed
            data.PixelData = (np.frombuffer(data.PixelData, "<u2") | 0x8000).tobytes()

        return edit

    for signed in (0, 1):
        np.testing.assert_array_equal(acquired(written(tmp_path, overlay(signed), shot)).counts, shot.counts)
    refused(written(tmp_path, lambda d: setattr(d, "HighBit", 14)), "contradict")


def test_negative_counts_are_none(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        data.PixelRepresentation = 1
        data.PixelData = (np.frombuffer(data.PixelData, "<i2") - 100).astype("<i2").tobytes()

    refused(written(tmp_path, edit), "negative")


def test_other_byte_orders_and_packings_without_loss_read_to_the_same_counts(tmp_path: Path) -> None:
    import pydicom

    shot = plain_shot()
    path = written(tmp_path, None, shot)
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(acquired(tmp_path / "packed.dcm").counts, shot.counts)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "implicit.dcm", data, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(acquired(tmp_path / "implicit.dcm").counts, shot.counts)
    big = tomo(shot, PERSON)
    big.PixelData = np.frombuffer(big.PixelData, "<u2").astype(">u2").tobytes()
    big.file_meta = pydicom.dcmread(path).file_meta
    big.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.dcmwrite(
        tmp_path / "big.dcm", big, implicit_vr=False, little_endian=False, enforce_file_format=True
    )
    np.testing.assert_array_equal(acquired(tmp_path / "big.dcm").counts, shot.counts)


def test_decoders_are_not_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They log what they cannot unpack, with its traceback."""
    import logging

    import pydicom

    data = pydicom.dcmread(written(tmp_path))
    data.compress(pydicom.uid.RLELossless)
    data.Rows, data.Columns = 11, 11
    data.save_as(tmp_path / "other.dcm")
    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError):
        _ = data.pixel_array
    assert "segment" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        refused(tmp_path / "other.dcm", "damaged")
    assert caplog.text == ""


def test_deflated_files_are_not_inflated(tmp_path: Path) -> None:
    import pydicom

    data = pydicom.dcmread(written(tmp_path))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "deflated.dcm")
    refused(tmp_path / "deflated.dcm", "deflated", "uncompressed")


def test_a_packing_without_decoder_says_so(tmp_path: Path) -> None:
    import pydicom

    data = pydicom.dcmread(written(tmp_path))
    data.compress(pydicom.uid.RLELossless)
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    data.save_as(tmp_path / "film.dcm")
    refused(tmp_path / "film.dcm", "compressed", "no decoder", "uncompressed")


def test_lossy_counts_are_no_counts(tmp_path: Path) -> None:
    refused(written(tmp_path, lambda d: setattr(d, "LossyImageCompression", "01")), "lossy")
    refused(written(tmp_path, lambda d: setattr(d, "RescaleSlope", "0.5")), "rescaled")


def test_a_code_stream_of_another_size_is_not_unpacked() -> None:
    size = dicom_nm_pixels._coded_size
    stream = b"\xff\x4f\xff\x51" + bytes(4) + (4000).to_bytes(4, "big") + (3000).to_bytes(4, "big") + bytes(8)
    assert size(stream) == (3000, 4000)
    jpeg = (
        b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x10" + (30).to_bytes(2, "big") + (40).to_bytes(2, "big")
    )
    assert size(jpeg + bytes(8)) == (30, 40)
    assert size(b"") is None is size(b"\xff\xd8\xff\xe0\x00\x00" + bytes(8))


def test_a_file_much_longer_than_its_pixels_is_refused_before_they_are_read(tmp_path: Path) -> None:
    import os

    path = written(tmp_path)
    os.truncate(path, 1 << 40)  # sparse: it takes no room on the disk
    refused(path, "bytes follow its header")


def test_burned_in_text_colour_and_private_pixels_are_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, lambda d: setattr(d, "BurnedInAnnotation", "YES")), "burned into")
    refused(written(tmp_path, lambda d: setattr(d, "PhotometricInterpretation", "RGB")), "colour")

    def private(data: Any) -> None:
        data.private_block(0x0033, "MAPS", create=True).add_new(0x10, "OB", bytes(data.PixelData))
        del data.PixelData

    refused(written(tmp_path, private), "private tags")


# --- planar images ---


def planar(folder: Path, kind: str = "STATIC", edit: Edit | None = None) -> tuple[Path, np.ndarray]:
    """Two windows of an anterior and a posterior image, 9 x 7, by codes of views."""
    frames = np.random.default_rng(5).poisson(7, (2, 2, 9, 7))
    data = tomo(plain_shot(), PERSON)
    for name in ("RotationVector", "AngularViewVector", "NumberOfRotations", "RotationInformationSequence"):
        delattr(data, name)
    data.ImageType = ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    data.NumberOfFrames, data.Rows, data.Columns = 4, 9, 7
    data.PixelSpacing, data.PixelData = ["2.5", "2"], frames.astype("<u2").tobytes()
    data.FrameIncrementPointer = [VECTORS["EnergyWindow"], VECTORS["Detector"]]
    data.EnergyWindowVector, data.DetectorVector = [1, 1, 2, 2], [1, 2, 1, 2]
    scatter = tomo(plain_shot(windows=2), PERSON).EnergyWindowInformationSequence[1]
    data.EnergyWindowInformationSequence.append(scatter)
    for item, angle in zip(data.DetectorInformationSequence, ("180", "0"), strict=True):
        item.StartAngle = angle
    data.ActualFrameDuration = 300000
    if edit is not None:
        edit(data)
    return save(data, folder / "planar.dcm"), frames


@pytest.mark.parametrize("kind", ["STATIC", "WHOLE BODY"])
def test_planar_images_are_as_stored(kind: str, tmp_path: Path) -> None:
    path, frames = planar(tmp_path, kind)
    read = read_nm(path)
    assert isinstance(read, PlanarImage)
    np.testing.assert_array_equal(read.counts, frames)
    assert read.views == ("anterior", "posterior") and read.pixel_mm == (2.5, 2.0)
    assert [w.high_kev for w in read.windows] == [154.55, 122.0] and read.duration_s == 300
    assert (read.nuclide, read.agent, read.collimator) == ("Tc-99m", "sestamibi", "LEHR")


def test_codes_of_views_come_before_angles(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        import pydicom

        for item, value, meaning in zip(
            data.DetectorInformationSequence, ("399001007", "x"), ("", "Left anterior oblique"), strict=True
        ):
            code = pydicom.Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
            item.ViewCodeSequence = [code]

    read = read_nm(planar(tmp_path, edit=edit)[0])
    assert isinstance(read, PlanarImage) and read.views == ("posterior", "")


def test_dynamic_images_are_in_the_order_of_their_phases(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        data.EnergyWindowVector, data.DetectorVector = [1] * 4, [1] * 4
        data.PhaseVector, data.TimeSliceVector = [2, 1, 1, 2], [1, 2, 1, 2]

    path, frames = planar(tmp_path, "DYNAMIC", edit)
    read = read_nm(path)
    np.testing.assert_array_equal(read.counts[0], frames.reshape(4, 9, 7)[[2, 1, 0, 3]])


def test_planar_frames_that_do_not_pair_up_are_refused(tmp_path: Path) -> None:
    path, _ = planar(tmp_path, edit=lambda d: setattr(d, "DetectorVector", [1, 1, 1, 2]))
    refused(path, "4 frames for 2 windows")


# --- reconstructions ---


def reconstructed(path: Path) -> Reconstruction:
    read = read_nm(path)
    assert isinstance(read, Reconstruction)
    return read


def test_oblique_slices_keep_their_place_in_the_world(tmp_path: Path) -> None:
    """Short-axis slices: whatever the axes, a voxel's world position is what the tags say."""
    data = recon(body(), PIXEL_MM, PERSON, kind="EMISSION", slope=1e-4)
    row = np.array([2, 1, 2]) / 3
    column = np.array([1, 2, -2]) / 3
    place = data.DetectorInformationSequence[0]
    place.ImageOrientationPatient = [f"{v:.10f}" for v in (*row, *column)]
    place.ImagePositionPatient = ["10", "20", "-30"]
    data.SpacingBetweenSlices = "-3"
    read = reconstructed(save(data, tmp_path / "oblique.dcm"))
    assert not read.transmission
    frames = np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns)
    for i, j, k in ((0, 0, 0), (3, 2, 1), (7, 9, 4)):
        lps = np.array([10, 20, -30]) + i * 6.4 * row + j * 6.4 * column - k * 3 * np.cross(row, column)
        at = np.linalg.inv(read.volume.affine) @ np.array([-lps[0], -lps[1], lps[2], 1])
        x, y, z = np.rint(at[:3]).astype(int)
        np.testing.assert_allclose(at[:3], (x, y, z), atol=1e-5)
        assert read.volume.data[x, y, z] == pytest.approx(frames[k, j, i] * 1e-4, abs=1e-6)


def test_slices_in_any_order_and_gated(tmp_path: Path) -> None:
    data = recon(body(), PIXEL_MM, PERSON, slope=1e-5)
    straight = reconstructed(save(data, tmp_path / "a.dcm"))
    frames = np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns)
    data.SliceVector, data.PixelData = list(data.SliceVector)[::-1], frames[::-1].tobytes()
    np.testing.assert_array_equal(
        reconstructed(save(data, tmp_path / "b.dcm")).volume.data, straight.volume.data
    )
    data.ImageType = ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"]
    data.NumberOfFrames, data.PixelData = 20, np.concatenate([frames, frames // 2]).tobytes()
    data.SliceVector, data.TimeSlotVector = [*range(1, 11)] * 2, [1] * 10 + [2] * 10
    gated = reconstructed(save(data, tmp_path / "c.dcm")).volume
    assert gated.shape == (12, 12, 10, 2)
    np.testing.assert_array_equal(gated.data[..., 0], straight.volume.data)
    data.TimeSlotVector = [1] * 11 + [2] * 9
    refused(save(data, tmp_path / "d.dcm"), "slices are missing")


@pytest.mark.parametrize(
    ("edit", "piece"),
    [
        (lambda d: delattr(d.DetectorInformationSequence[0], "ImageOrientationPatient"), "image orientation"),
        (
            lambda d: setattr(
                d.DetectorInformationSequence[0], "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]
            ),
            "right angles",
        ),
        (lambda d: (delattr(d, "SliceThickness"), delattr(d, "SpacingBetweenSlices")), "how far apart"),
        (lambda d: setattr(d, "RescaleSlope", "0"), "scale"),
        (lambda d: setattr(d, "SliceVector", [1] * 10), "missing"),
    ],
)
def test_reconstructions_that_lie_nowhere_are_refused(edit: Edit, piece: str, tmp_path: Path) -> None:
    data = recon(body(), PIXEL_MM, PERSON)
    edit(data)
    refused(save(data, tmp_path / "bad.dcm"), piece)


@pytest.mark.parametrize(
    ("slope", "factor", "kind", "sound"),
    [
        (1e-5, 1.0, "1/cm", True),
        (1e-5, 1.0, "", True),
        (None, 1e3, "", True),
        (None, 1e4, "", False),
        (1e-1, 100.0, "1/cm", False),
        (1.0, 1000.0, "HU", False),
    ],
)
def test_units_of_attenuation_maps(
    slope: float | None, factor: float, kind: str, sound: bool, tmp_path: Path
) -> None:
    data = recon(body() * factor, PIXEL_MM, PERSON, slope=slope)
    if slope is not None:
        data.RescaleType = kind
    read = reconstructed(save(data, tmp_path / "map.dcm"))
    assert read.transmission
    if sound:
        found = attenuation_map(read, "sub-1")
        assert found.data.dtype == np.float32
        np.testing.assert_allclose(found.data, body(), atol=6e-4 if factor > 1 else 6e-6)
    else:
        with pytest.raises(DataError, match="attenuation map") as caught:
            attenuation_map(read, "sub-1")
        assert caught.value.where == "sub-1" and "1/cm" in caught.value.fix


# --- codes ---


def test_names_are_taken_from_texts_only_if_they_are_known() -> None:
    for text in ("Tc99m MIBI", "^99m^Technetium", "99mTc-tetrofosmin", "Technetium Tc^99m^ sestamibi"):
        assert nuclide_of(text) == "Tc-99m"
    assert [nuclide_of(t) for t in ("123I", "Iodine 131", "Tl201", "Mr I 123456", "", "Quixotic")] == [
        "I-123", "I-131", "Tl-201", "", "", "",
    ]  # fmt: skip
    assert [agent_of(t) for t in ("Tc99m MIBI for Mrs Quixotic", "MYOVIEW", "123I-MIBG", "MIBG", "Zebulon")] == [
        "sestamibi", "tetrofosmin", "iobenguane I-123", "", "",
    ]  # fmt: skip
    assert [collimator_of(t) for t in ("LEHR", "Low-Energy All-Purpose", "MEGP", "Mehmet", "HEGP", "hires")] == [
        "LEHR", "LEAP", "ME", "", "HE", "",
    ]  # fmt: skip
    assert window_name("Tc99m photopeak", 1) == "Tc99m photopeak"
    assert window_name("Zebulon 126", 2) == "window 2" == window_name("", 2) == window_name("19530417", 2)


def test_codes_of_both_generations_are_known_and_differ() -> None:
    for table in (NUCLIDES, AGENTS):
        assert len({c.value for c in table.values()}) == len(table)
        old = [c.old for c in table.values() if c.old]
        assert len(set(old)) == len(old)
        for name, code in table.items():
            assert by_code(table, code.value, "SCT") == name
            assert not code.old or by_code(table, code.old, "SRT") == name
    assert by_code(NUCLIDES, "72454006", "L") == "" == by_code(NUCLIDES, "1", "SCT")


def test_the_codes_are_pydicoms() -> None:
    """Meanings and retired codes are those of another's copy of the standard's tables."""
    from pydicom.sr._snomed_dict import mapping
    from pydicom.sr.codedict import codes

    for cid, table in ((18, NUCLIDES), (25, AGENTS)):
        group = {c.value: c.meaning for c in getattr(codes, f"cid{cid}").concepts.values()}
        for code in table.values():
            assert group[code.value] == code.meaning, code.name
            assert mapping["SCT"].get(code.value, "") == code.old, code.name


# --- folders ---


def test_a_folder_is_listed_without_names(tmp_path: Path) -> None:
    found = list_nm(mixed(tmp_path), key=b"k")
    assert [(i.kind, i.transmission, i.gates, i.frames) for i in found.images] == [
        ("TOMO", False, 1, 16), ("RECON TOMO", True, 1, 10),
    ]  # fmt: skip
    assert len({i.subject for i in found.images}) == 1 == len({i.study for i in found.images})
    assert found.images[0].nuclide == "Tc-99m" and found.images[0].windows == ((126.45, 154.55),)
    assert [(subject != found.images[0].subject, "truncated" in why) for _, subject, why in found.left] == [
        (True, True)
    ]
    assert sum(found.others.values()) == 3
    other = Person("Abernathy", "Ottoline", "MRN5521987", "19410203", "20180607", "091523")
    assert betrayed(repr(found), PERSON, other) == []
    assert read_nm(found.images[0].path).counts.shape == (1, 1, 12, 10, 16)


def test_a_file_that_is_there_twice_is_taken_once(tmp_path: Path) -> None:
    found = list_nm(twice(tmp_path), key=b"k")
    assert len(found.images) == 1 and found.others == {"the same image once more": 1}


def test_a_listing_tells_of_every_bad_file_what_reading_it_would(tmp_path: Path) -> None:
    """Without their pixels: what only pixels show is not known yet."""
    for n, case in enumerate([*SOUND, *BAD]):
        case.build(tmp_path / str(n))

    def own_instance(path: Path, n: int) -> None:
        import pydicom

        try:
            data = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            return
        data.SOPInstanceUID = f"1.2.{n + 1}"
        data.save_as(path)

    for n, case in enumerate([*SOUND, *BAD]):
        if case.name not in ("truncated pixel data", "more frames than pixels", "compressed, no decoder"):
            own_instance(next((tmp_path / str(n)).rglob("*.dcm")), n)
    found = list_nm(tmp_path, key=b"k")
    assert len(found.images) >= len(SOUND)
    assert len(found.left) + sum(found.others.values()) >= len(BAD) - 3
    assert betrayed(repr(found), PERSON) == []


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot list"):
        list_nm(tmp_path / "none", key=b"k")
