"""NIfTI in and out: geometry survives, and nothing that a file claims is believed unchecked."""

from __future__ import annotations

import errno
import gzip
import importlib
import os
import sys
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.atomic import atomic_path, sha256, write_text
from senmei.io.nifti import read_header, read_volume, write_volume

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
corpus = importlib.import_module("corpus.make")

OBLIQUE = np.array([[1.9, 0.3, 0.1, -30], [-0.3, 1.9, 0.2, -20], [-0.1, -0.2, 2.5, 10], [0, 0, 0, 1]])


@pytest.mark.parametrize("case", corpus.NIFTI, ids=lambda case: case.name)
def test_bad_files_are_refused_quickly_in_little_memory(case, tmp_path):
    path = case.build(tmp_path)
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 2
    assert peak < 32e6, f"{peak / 1e6:.0f} MB"
    message = str(caught.value)
    assert all(fragment in message for fragment in case.expect), message
    assert caught.value.where == str(path)
    assert caught.value.fix and len(message.splitlines()) == 4


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 4), (0, 2), (2, 0), (0, 0)])
@pytest.mark.parametrize("units", [("mm", "sec"), ("unknown", "unknown"), ("mm", "msec")])
def test_geometry_survives_a_round_trip(tmp_path, name, codes, units):
    rng = np.random.default_rng(0)
    image = nibabel.Nifti1Image(rng.normal(size=(5, 6, 7, 3)).astype(np.float32), None)
    image.header.set_zooms((2, 2, 2.5, 1.7))
    if codes[0]:
        image.set_qform(np.diag([2, 2, 2.5, 1]) @ np.eye(4), codes[0])
    if codes[1]:
        image.set_sform(OBLIQUE, codes[1])
    image.header.set_xyzt_units(*units)
    nibabel.save(image, tmp_path / "first.nii")
    volume = read_volume(tmp_path / "first.nii", ndim=4)
    write_volume(tmp_path / name, volume)
    there, back = nibabel.load(tmp_path / "first.nii"), nibabel.load(tmp_path / name)
    np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), there.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(back.affine, there.affine, atol=1e-5)
    np.testing.assert_allclose(volume.affine, there.affine, atol=1e-5)
    for form in ("qform", "sform"):
        assert back.header[f"{form}_code"] == there.header[f"{form}_code"]
        np.testing.assert_allclose(getattr(back, f"get_{form}")(), getattr(there, f"get_{form}")(), atol=1e-5)
    assert back.header.get_xyzt_units() == there.header.get_xyzt_units()
    np.testing.assert_allclose(back.header.get_zooms(), there.header.get_zooms(), rtol=1e-6)
    assert back.get_data_dtype() == np.float32


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f8", "<u1", "<u2", "<i8"])
@pytest.mark.parametrize(("slope", "inter"), [(1.0, 0.0), (0.25, -3.0)])
def test_intensities_are_in_real_world_units(tmp_path, dtype, slope, inter):
    stored = np.random.default_rng(1).integers(0, 200, (4, 5, 6)).astype(dtype)
    header = nibabel.Nifti1Header(endianness=dtype[0])
    image = nibabel.Nifti1Image(stored, OBLIQUE, header)
    image.header.set_data_dtype(np.dtype(dtype))
    image.header.set_slope_inter(slope, inter)
    path = tmp_path / "scaled.nii.gz"
    with open(tmp_path / "raw.nii", "wb") as file:
        image.header["vox_offset"], image.header["magic"] = 352, b"n+1"
        file.write(image.header.binaryblock + bytes(4) + stored.tobytes(order="F"))
    path.write_bytes(gzip.compress((tmp_path / "raw.nii").read_bytes()))
    volume = read_volume(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, stored.astype(float) * slope + inter, rtol=1e-6)


def test_metres_and_microns_that_are_declared_become_millimetres(tmp_path):
    for unit, factor in (("meter", 1e-3), ("micron", 1e3)):
        image = nibabel.Nifti1Image(corpus.brain().data, np.diag([factor, factor, factor, 1]) @ OBLIQUE)
        image.header.set_xyzt_units(unit, "sec")
        nibabel.save(image, tmp_path / "unit.nii")
        volume = read_volume(tmp_path / "unit.nii")
        np.testing.assert_allclose(volume.affine, OBLIQUE, rtol=1e-5, atol=1e-4)
        assert volume.header["units"] == ("mm", "sec")


def test_a_changed_affine_is_not_overruled_by_the_old_header(tmp_path):
    write_volume(tmp_path / "a.nii", corpus.brain())
    old = read_volume(tmp_path / "a.nii")
    write_volume(tmp_path / "b.nii", Volume(old.data, OBLIQUE, old.header))
    np.testing.assert_allclose(read_volume(tmp_path / "b.nii").affine, OBLIQUE, atol=1e-5)


def test_frames(tmp_path):
    series = corpus.brain(shape=(*corpus.SHAPE, 5))
    path = tmp_path / "series.nii.gz"
    write_volume(path, series)
    assert read_header(path).frames == 5
    assert read_volume(path, ndim=4).shape == series.shape
    assert read_volume(path, ndim=(3, 4)).shape == series.shape
    np.testing.assert_array_equal(read_volume(path, frames="first").data, series.data[..., 0])
    np.testing.assert_array_equal(read_volume(path, frames=3).data, series.data[..., 3])
    np.testing.assert_allclose(read_volume(path, frames="mean").data, series.data.mean(-1), rtol=1e-5)
    with pytest.raises(DataError, match="Cannot use") as caught:
        read_volume(path, frames=5)
    assert "no frame 5" in str(caught.value)
    write_volume(tmp_path / "one.nii", corpus.brain(shape=(*corpus.SHAPE, 1)))
    assert read_volume(tmp_path / "one.nii").shape == corpus.SHAPE


def test_frames_longer_than_a_block(tmp_path):
    data = np.arange(100 * 90 * 80 * 2, dtype=np.int32).reshape(
        100, 90, 80, 2, order="F"
    )  # a frame: 1.4 blocks
    write_volume(tmp_path / "a.nii", Volume(data, OBLIQUE))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii", ndim=4).data, data)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii", frames=1).data, data[..., 1])
    mean = read_volume(tmp_path / "a.nii", frames="mean", labels=False)
    np.testing.assert_allclose(mean.data, data.mean(-1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int32, np.int64])
def test_label_images_stay_integers(tmp_path, dtype):
    labels = (np.arange(4 * 5 * 6).reshape(4, 5, 6) % 7).astype(dtype)
    write_volume(tmp_path / "labels.nii.gz", Volume(labels, OBLIQUE))
    back = read_volume(tmp_path / "labels.nii.gz").data
    assert back.dtype == {bool: np.uint8, np.int64: np.int32}.get(dtype, dtype)
    np.testing.assert_array_equal(back, labels)
    assert read_volume(tmp_path / "labels.nii.gz", labels=False).data.dtype == np.float32
    write_volume(
        tmp_path / "empty.nii", Volume(np.zeros((4, 5, 6), np.uint8), OBLIQUE)
    )  # an empty lesion mask
    assert read_volume(tmp_path / "empty.nii").data.max() == 0
    write_volume(tmp_path / "fractions.nii", corpus.brain())
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "fractions.nii", labels=True)
    assert "whole numbers" in str(caught.value)


def test_a_constant_image_may_be_allowed(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(np.ones((3, 3, 3), np.float32), OBLIQUE))
    assert read_volume(tmp_path / "a.nii", allow_constant=True).data.sum() == 27


def test_equal_volumes_give_equal_bytes_and_no_free_text(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, corpus.brain())
    assert sha256(tmp_path / "a.nii.gz") == sha256(tmp_path / "b.nii.gz")
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert all(
        bytes(header[name]).strip(b"\0") == b"" for name in ("descrip", "aux_file", "db_name", "intent_name")
    )


def test_nothing_but_finite_numbers_is_written(tmp_path):
    bad = corpus.brain()
    bad.data[0, 0, :2] = np.nan
    write_volume(tmp_path / "a.nii", corpus.brain())
    before = (tmp_path / "a.nii").read_bytes()
    with pytest.raises(DataError) as caught:
        write_volume(tmp_path / "a.nii", bad)
    assert "2 of 3456 voxels to be written are NaN" in str(caught.value)
    assert (tmp_path / "a.nii").read_bytes() == before
    with pytest.raises(ValueError, match=r"ends with \.nii"):
        write_volume(tmp_path / "a.mgz", corpus.brain())


def test_a_pipe_or_folder_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    for path in (tmp_path / "pipe.nii", tmp_path):
        with pytest.raises(DataError) as caught:
            read_volume(path)
        assert "not a file" in str(caught.value)


def _sound_bytes(folder: Path) -> bytes:
    write_volume(folder / "sound.nii", corpus.brain(shape=(5, 4, 3)))
    return (folder / "sound.nii").read_bytes()


# Fields that are read: size, dimensions, type, voxel sizes, offset, scale, units, codes, forms, magic.
PLACES = [*range(4), *range(40, 56), *range(68, 124), *range(252, 328), *range(344, 352)]


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    edits=st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 255)), min_size=1, max_size=6),
    packed=st.booleans(),
    cut=st.none() | st.integers(0, 591),
)
def test_no_header_breaks_the_reader(tmp_path, edits, packed, cut):
    """Any bytes in a header give a volume or a DataError: nothing else, and no memory to speak of."""
    content = bytearray(_sound_bytes(tmp_path))
    for place, value in edits:
        content[place] = value
    content = content[:cut]
    path = tmp_path / "fuzz.nii"
    path.write_bytes(gzip.compress(bytes(content), 1) if packed else bytes(content))
    try:
        volume = read_volume(path, ndim=(3, 4), frames="first")
    except DataError:
        return
    assert np.isfinite(volume.data).all()
    assert np.isfinite(volume.affine).all()
    assert volume.data.nbytes <= 64 << 20
    if volume.data.ndim in (3, 4):
        write_volume(tmp_path / "again.nii", volume)
        again = read_volume(tmp_path / "again.nii", ndim=(3, 4), allow_constant=True)
        np.testing.assert_allclose(again.affine, volume.affine, rtol=1e-4, atol=1e-3)


def test_atomic_path_names_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EROFS, "Read-only file system", str(source))

    monkeypatch.setattr("senmei.io.atomic.os.replace", refuse)
    with pytest.raises(DataError) as caught, atomic_path(tmp_path / "x.txt") as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert "cannot be written to (Read-only file system)" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_atomic_path_passes_on_what_is_not_about_its_folder(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "x.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/source.nii")


def test_what_a_killed_writer_left_is_written_over(tmp_path):
    with atomic_path(tmp_path / "x.txt") as left:
        left.write_text("first", encoding="utf-8")
    left.write_text("half", encoding="utf-8")
    with atomic_path(tmp_path / "x.txt") as temporary:
        assert not temporary.exists()
        temporary.write_text("whole", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_atomic_path_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "deep" / "table.tsv"
    write_text(path, "old")

    def fail(error: Exception) -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            assert temporary.name.endswith(".tsv")
            raise error

    with pytest.raises(RuntimeError):
        fail(RuntimeError())
    assert path.read_text() == "old"
    with pytest.raises(DataError, match="Nothing was written"), atomic_path(path):
        pass
    with pytest.raises(DataError) as caught:
        fail(OSError(errno.ENOSPC, "No space left on device"))
    assert "disk is full" in str(caught.value)
    assert [p.name for p in path.parent.iterdir()] == ["table.tsv"]
    assert path.read_text() == "old"


def test_real_scans_survive(tmp_path):
    shared = Path(os.environ.get("SENMEI_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
    path = shared / "t1" / "colin27.nii.gz"
    if not path.exists():
        pytest.skip(f"no real scans at {shared}")
    volume = read_volume(path)
    write_volume(tmp_path / "colin.nii.gz", volume)
    there, back = nibabel.load(path), nibabel.load(tmp_path / "colin.nii.gz")
    np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), there.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(back.affine, there.affine)
    assert back.header["qform_code"] == there.header["qform_code"]
