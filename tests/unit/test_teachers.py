"""Teacher images: the embedded ones, and folders of files that nobody has vouched for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.io.nifti import write_volume
from senmei.io.pictures import luma, to_size, upright, window
from senmei.io.teachers import TeacherSettings, read_teachers
from senmei.phantoms.teachers import load_teacher, teachers


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SENMEI_DEID_KEY", "a key of the tests")


def ct(path: Path, values=None, **changes) -> Path:
    """A 16-bit CT slice with negative values; `changes` overwrite its elements (None removes one)."""
    values = np.full((40, 60), -1000, np.int16) if values is None else values
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", pydicom.uid.generate_uid()
    data.SeriesInstanceUID = data.StudyInstanceUID = pydicom.uid.generate_uid()
    data.Modality, data.PatientID, data.PatientName = "CT", "4711", "Roe^Jane"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelSpacing = [1.0, 1.0]
    data.PixelData = values.astype("<i2").tobytes()
    for key, value in changes.items():
        if value is None:
            delattr(data, key)
        else:
            setattr(data, key, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def picture(path: Path, values, **options) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


# ---- embedded


def test_embedded_teachers_are_listed_by_source():
    every = teachers()
    assert len(every) >= 80 and len({t.name for t in every}) == len(every)
    assert all(t.name.isalnum() and t.subject.isalnum() and t.source for t in every)
    assert len({t.subject for t in teachers("photograph")}) == len(teachers("photograph")) == 20
    assert {t.subject for t in teachers("medical")} >= {"mni152", "head01", "torso10"}
    kinds = {t.subject: {u.kind for u in every if u.subject == t.subject} for t in every}
    assert all(len(k) == 1 for k in kinds.values())
    with pytest.raises(ConfigError, match="unknown kind"):
        teachers("animal")


def test_photographs_ship_with_their_packages_and_load():
    for teacher in teachers("photograph"):
        image = load_teacher(teacher.name, 64)
        assert image.shape == (64, 64, 1) and image.data.dtype == np.float32
        assert image.data.min() >= 0 and image.data.max() <= 1 and image.data.std() > 0.03, teacher.name


def test_a_photograph_stands_upright():
    camera = load_teacher("camera").data[..., 0]  # sky above, grass below, the man left of the middle
    assert camera[:, -40:].mean() > camera[:, :40].mean() + 0.1
    assert camera[60:140].mean() < camera[160:240].mean()


def test_slices_are_as_drawn():
    template = load_teacher("mni152z20", 128).data[..., 0]
    assert template[:3].max() < 0.02 and template[40:90, 40:90].mean() > 0.4
    torso = load_teacher("torso03z0", 96)
    assert np.array_equal(torso.data, load_teacher("torso03z0", 96).data)
    assert not np.array_equal(torso.data, load_teacher("torso04z0", 96).data)
    liver = load_teacher("torso03zm60", 128).data[..., 0]  # radiological: liver on the left of the picture
    assert liver[:64].mean() > liver[64:].mean()


@pytest.mark.slow
def test_heads_are_individuals():
    one, two = (load_teacher(f"head0{n}z0", 96).data[..., 0] for n in (1, 2))
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] < 0.95
    assert one.max() > 0.9 and one[:2].max() < 0.05


def test_an_unknown_teacher_is_named():
    with pytest.raises(ConfigError, match="unknown teacher") as caught:
        load_teacher("camra")
    assert "camera" in str(caught.value)


# ---- resampling


def test_resampling_does_not_alias():
    n = 512
    x = np.arange(n)
    fine = np.tile(0.5 + 0.5 * np.sin(2 * np.pi * 0.45 * x), (n, 1))  # far above what 128 pixels can show
    assert to_size(fine, 128)[:, 4:-4].std() < 0.01
    assert fine[::4, ::4].std() > 0.3  # taking every fourth would have shown it
    slow = np.tile(0.5 + 0.3 * np.sin(2 * np.pi * x / 128), (n, 1))
    at = (np.arange(128) + 0.5) * 4 - 0.5
    assert (
        np.abs(to_size(slow, 128)[64, 4:-4] - (0.5 + 0.3 * np.sin(2 * np.pi * at / 128))[4:-4]).max() < 0.01
    )


def test_resampling_keeps_means_sizes_and_proportions():
    picture = np.random.default_rng(0).random((90, 120))
    assert to_size(picture, 90, "crop") == pytest.approx(np.clip(picture[:, 15:105], 0, 1), abs=1e-9)
    assert to_size(picture, 30).mean() == pytest.approx(picture[:, 15:105].mean(), abs=0.004)
    padded = to_size(np.ones((60, 120)), 120, "pad")
    assert (
        padded[:28].max() < 0.02
        and padded[32:88].min() > 0.98
        and padded.mean() == pytest.approx(0.5, abs=0.01)
    )
    oblong = to_size(np.ones((60, 120)), 64, "pad", pixel=(2.0, 1.0))  # 120 mm x 120 mm: nothing to pad
    assert oblong.min() > 0.999


def test_upright_turns_rows_into_y():
    rows = np.arange(12.0).reshape(3, 4)
    sheet = upright(rows, 2.0)
    assert sheet.data[0, 0, 0] == rows[2, 0] and sheet.data[3, 2, 0] == rows[0, 3]
    assert (sheet.affine @ [1.5, 1.0, 0, 1])[:2] == pytest.approx([0, 0])


# ---- folders


def test_a_folder_of_every_kind(tmp_path):
    rng = np.random.default_rng(1)
    picture(tmp_path / "photo.png", rng.integers(0, 256, (50, 70, 3), np.uint8))
    picture(tmp_path / "photo.jpg", rng.integers(0, 256, (50, 70), np.uint8)).rename(tmp_path / "other.jpg")
    picture(tmp_path / "deep.tif", rng.integers(0, 65536, (40, 40), np.uint16))
    ct(tmp_path / "roe_jane.dcm")
    write_volume(tmp_path / "brain.nii.gz", Volume(rng.random((20, 24, 22)).astype(np.float32), np.eye(4)))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    found, left_out = read_teachers(tmp_path, TeacherSettings(size=32, slices=2))
    assert len(found) == 6 and not left_out
    assert [t.kind for t in found].count("medical") == 3
    assert all(
        t.image.shape == (32, 32, 1) and 0 <= t.image.data.min() <= t.image.data.max() <= 1 for t in found
    )
    assert all(t.name.isalnum() for t in found) and "jane" not in " ".join(t.name for t in found).lower()
    brains = [t for t in found if t.name.startswith("brain")]
    assert len({t.subject for t in brains}) == 1 and len({t.name for t in brains}) == 2


def test_negative_ct_is_windowed(tmp_path):
    values = np.full((32, 32), -1000, np.int16)
    values[:, 8:16], values[:, 16:24], values[:, 24:] = -160, 40, 3000
    ct(tmp_path / "a.dcm", values)
    image = read_teachers(tmp_path, TeacherSettings(size=32))[0][0]
    assert image.window == (-160.0, 240.0)
    row = image.image.data[:, 5, 0]
    assert row[2] == 0 and row[12] == pytest.approx(0, abs=0.05)
    assert row[20] == pytest.approx(0.5, abs=0.05) and row[30] == 1
    ct(tmp_path / "a.dcm", values, WindowCenter=-500, WindowWidth=1500)
    assert read_teachers(tmp_path)[0][0].window == (-1250.0, 250.0)
    assert read_teachers(tmp_path, TeacherSettings(window=(0, 80)))[0][0].window == (0, 80)


def test_windows_of_pictures_and_of_slices_are_apart(tmp_path):
    picture(tmp_path / "a.tif", np.full((16, 16), 2048, np.uint16))  # 12 bits in 16
    ct(tmp_path / "b.dcm", np.full((16, 16), 40, np.int16))
    settings = TeacherSettings.from_dict({"window": [0, 80], "picture_window": [0, 4096]})
    assert [t.image.data.mean() for t in read_teachers(tmp_path, settings)[0]] == pytest.approx(
        [0.5, 0.5], abs=1e-6
    )


def test_unsigned_ct_with_an_intercept_and_inverted_greys(tmp_path):
    stored = np.full((32, 32), 1064, np.int16)  # 40 HU
    ct(tmp_path / "a.dcm", stored, RescaleIntercept=-1024, PixelRepresentation=0)
    assert read_teachers(tmp_path)[0][0].image.data.mean() == pytest.approx(0.5, abs=1e-6)
    stored[:] = 1124  # 100 HU, 0.65
    ct(tmp_path / "a.dcm", stored, RescaleIntercept=-1024, PhotometricInterpretation="MONOCHROME1")
    assert read_teachers(tmp_path)[0][0].image.data.mean() == pytest.approx(0.35, abs=1e-6)


def test_slices_of_a_patient_are_one_subject(tmp_path):
    for n in range(3):
        ct(tmp_path / f"slice{n}.dcm")
    ct(tmp_path / "other.dcm", PatientID="4712")
    found, _ = read_teachers(tmp_path)
    assert len({t.name for t in found}) == 4 and len({t.subject for t in found}) == 2


def test_colour_is_weighted_or_refused(tmp_path):
    green = np.zeros((16, 16, 3), np.uint8)
    green[..., 1] = 255
    picture(tmp_path / "a.png", green)
    for standard, weight in (("601", 0.587), ("709", 0.7152)):
        image = read_teachers(tmp_path, TeacherSettings(colour=standard, size=16))[0][0].image
        assert image.data == pytest.approx(weight, abs=1e-6)
    with pytest.raises(DataError, match="cannot be a teacher") as caught:
        read_teachers(tmp_path, TeacherSettings(colour="refuse"))
    assert "colour" in str(caught.value)
    picture(tmp_path / "a.png", np.full((16, 16, 3), 51, np.uint8))  # grey in three colours is no colour
    grey = read_teachers(tmp_path, TeacherSettings(colour="refuse", size=16))[0][0].image
    assert grey.data == pytest.approx(0.2, abs=1e-6)


def test_colour_dicom_is_weighted(tmp_path):
    from pydicom.data import get_testdata_file

    source = Path(get_testdata_file("SC_ybr_full_422_uncompressed.dcm", download=False))
    data = pydicom.dcmread(source)
    luminance = (
        pydicom.pixels.pixel_array(data, raw=True)[..., 0] / 255.0
    )  # the Y of YBR_FULL is BT.601's luma
    data.save_as(tmp_path / "a.dcm")
    image = read_teachers(tmp_path, TeacherSettings(size=100))[0][0].image.data[..., 0]
    assert luminance.std() > 0.1 and image.T[::-1] == pytest.approx(luminance, abs=0.01)
    with pytest.raises(DataError, match="cannot be a teacher"):
        read_teachers(tmp_path, TeacherSettings(colour="refuse"))


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("empty.png", lambda p: p.write_bytes(b""), "empty"),
        ("a.png", lambda p: p.write_text("no picture"), "no PNG"),
        ("cut.png", lambda p: p.write_bytes(cut_png()), "damaged"),
        ("clear.png", lambda p: picture(p, np.full((9, 9, 4), 7, np.uint8)), "transparent"),
        ("wide.png", lambda p: picture(p, np.zeros((2, 9000), np.uint8)), "9000 x 2"),
        ("float.tif", lambda p: picture(p, np.zeros((9, 9), np.float32)), "kind (F)"),
        ("cut.dcm", lambda p: ct(p, PixelData=b"\0" * 100), "truncated"),
        ("huge.dcm", lambda p: ct(p, Rows=60000), "60000"),
        ("nm.dcm", lambda p: ct(p, Modality="NM"), "modality is NM"),
        ("spaced.dcm", lambda p: ct(p, PixelSpacing=[0.0, 1.0]), "spacing"),
        ("none.dcm", lambda p: ct(p, PixelData=None), "no pixels"),
        ("bad.dcm", lambda p: p.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 64), "not stated"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, name, make, told):
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_teachers(tmp_path)
    assert told in str(caught.value) and name in str(caught.value)
    good = picture(tmp_path / "zz.png", np.full((16, 16), 9, np.uint8))
    found, left_out = read_teachers(tmp_path, TeacherSettings(skip_bad=True))
    assert [t.name for t in found] == ["zz"] and list(left_out) == [name] and good.exists()


def cut_png() -> bytes:
    from io import BytesIO

    out = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(out, "PNG")
    return out.getvalue()[:1500]


def test_jpeg_2000_without_a_decoder(tmp_path, monkeypatch):
    from pydicom.data import get_testdata_file

    source = Path(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    (tmp_path / "a.dcm").write_bytes(source.read_bytes())
    decoder = type(pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless))
    monkeypatch.setattr(decoder, "is_available", property(lambda self: False))
    with pytest.raises(DataError) as caught:
        read_teachers(tmp_path)
    assert "JPEG 2000" in str(caught.value) and "pylibjpeg" in str(caught.value)


def test_empty_and_absent_folders(tmp_path):
    for place, told in ((tmp_path, "no image"), (tmp_path / "none", "no such folder")):
        with pytest.raises(DataError) as caught:
            read_teachers(place)
        assert told in str(caught.value)


def test_names_cannot_leave_or_collide(tmp_path):
    (tmp_path / "sub").mkdir()
    grey = np.full((16, 16), 90, np.uint8)
    for name in ("a b.png", "a-b.png", "sub/a b.png"):
        picture(tmp_path / name, grey)
    (tmp_path / "out.png").symlink_to("/etc/hostname")
    names = [t.name for t in read_teachers(tmp_path)[0]]
    assert len(set(names)) == 3 and all(n.isalnum() for n in names)
    picture(tmp_path / "a b.jpg", grey)
    with pytest.raises(DataError, match="one name"):
        read_teachers(tmp_path)


def test_a_subfolder_may_be_a_subject(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for n in range(2):
            picture(tmp_path / place / f"{n}.png", np.full((16, 16), 90, np.uint8))
    found, _ = read_teachers(tmp_path, TeacherSettings(subject_by="folder"))
    assert [t.subject for t in found] == ["one", "one", "two", "two"]


def test_settings_are_checked():
    for wrong in (
        {"colour": "602"},
        {"size": 0},
        {"axis": 3},
        {"window": [5, 1]},
        {"window": [1, 2, 3]},
        {"picture_window": "wide"},
        {"shap": "pad"},
    ):
        with pytest.raises(ConfigError):
            TeacherSettings.from_dict(wrong)
    with pytest.raises(ConfigError, match="unknown luma"):
        luma(np.zeros((2, 2, 3)), "2020")
    with pytest.raises(ConfigError):
        to_size(np.zeros((4, 4)), 4, "squeeze")
    assert window(np.array([-5.0, 0.5, 9.0]), 0, 1).tolist() == [0, 0.5, 1]
