"""Readers under random input: a result or an error of ours; never another exception, a hang, or memory without bound.

Examples are derandomised: every run looks at the same ones. What they have found stands below as a test of its own.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import functools
import gzip
import os
import resource
import shutil
import signal
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from senmei.core import configuration
from senmei.core.configuration import load_yaml, resolve
from senmei.core.errors import ConfigError, DataError, EngineError, SenmeiError
from senmei.engines.dcm2niix import find_dcm2niix, ingest_dicom
from senmei.io.bids import list_bids
from senmei.io.dicom import defect, list_dicom
from senmei.io.nifti import read_header, read_volume, write_volume
from senmei.io.table_schemas import check_table
from senmei.io.tables import read_tsv, write_tsv
from tests.corpus.make import brain, write_series

ROOT = Path(__file__).resolve().parents[2]
CPU_SECONDS, WALL_SECONDS = (
    10,
    120,
)  # an example takes milliseconds; a wait for a pipe or a peer takes no CPU time
MEMORY = 1 << 30  # address space that an example of a few kB may ask for


class Hung(BaseException):
    """An example that does not end; no `except Exception` takes it for a damaged file."""


def _hung(number: int, frame: object) -> None:
    raise Hung(f"no end within {CPU_SECONDS} s of CPU time or {WALL_SECONDS} s")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _complete(error: SenmeiError) -> None:
    assert error.what and error.where and error.why, "an answer says what, where and why"


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bounds of time and memory; lets errors of our class pass as an answer."""
    before = {number: signal.signal(number, _hung) for number in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == -1 else min(limit, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    except SenmeiError as error:
        _complete(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        yield Path(name)


def fuzz(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_the_guard_catches_what_it_is_for() -> None:
    def spin() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        while True:
            pass

    def wait() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        signal.pause()

    with pytest.raises(MemoryError), bounded():
        np.empty(2 * MEMORY, np.uint8)
    with pytest.raises(Hung), bounded():
        spin()
    with pytest.raises(Hung), bounded():
        wait()
    with pytest.raises(ZeroDivisionError), bounded():
        _ = 1 / 0
    with bounded():
        raise DataError("what", where="where", why="why", fix="fix")


# --- NIfTI ---

SMALL = (5, 4, 3)


@cache
def sound(name: str) -> bytes:
    """A small image on disk: 'float', 'labels', 'series' as NIfTI-1, 'two' as NIfTI-2."""
    import nibabel

    with folder() as place:
        path = place / "image.nii"
        volume = brain(shape=(*SMALL, 2) if name == "series" else SMALL)
        if name == "two":
            nibabel.save(nibabel.Nifti2Image(volume.data, volume.affine), path)
        else:
            whole = volume.like(volume.data.astype(np.int16)) if name == "labels" else volume
            write_volume(path, whole)
        return path.read_bytes()


ODD_NUMBERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    1e-30,
    1e30,
    3e38,
    float("nan"),
    float("inf"),
    -float("inf"),
    2.0**31,
    348.0,
]
reals = st.sampled_from(ODD_NUMBERS) | st.floats(width=32)
short = st.sampled_from([0, 1, -1, 2, 3, 4, 5, 7, 8, 255, 32767, -32768]) | st.integers(-(2**15), 2**15 - 1)
NIFTI1 = {  # offset, layout
    **{f"dim{n}": (40 + 2 * n, "h") for n in range(8)},
    **{name: (at, "h") for name, at in (("intent", 68), ("datatype", 70), ("bitpix", 72))},
    **{f"pixdim{n}": (76 + 4 * n, "f") for n in range(8)},
    **{name: (at, "f") for name, at in (("vox_offset", 108), ("slope", 112), ("inter", 116))},
    **{name: (at, "h") for name, at in (("qform_code", 252), ("sform_code", 254))},
    **{f"quaternion{n}": (256 + 4 * n, "f") for n in range(6)},
    **{f"srow{n}": (280 + 4 * n, "f") for n in range(12)},
    "sizeof_hdr": (0, "i"),
    "units": (123, "b"),
}
DATATYPES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304]


@st.composite
def nifti_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Name and bytes of a file that is nearly an image."""
    content = bytearray(sound(draw(st.sampled_from(["float", "labels", "series", "two"]))))
    for field in draw(st.lists(st.sampled_from(sorted(NIFTI1)), max_size=4)):
        at, layout = NIFTI1[field]
        if field == "datatype":
            struct.pack_into("<h", content, at, draw(st.sampled_from(DATATYPES) | short))
        elif layout == "f":
            struct.pack_into("<f", content, at, draw(reals))
        elif layout == "b":
            content[at] = draw(st.integers(0, 255))
        else:
            struct.pack_into(f"<{layout}", content, at, draw(short))
    for at, value in draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)
    ):
        content[at] = value
    if draw(st.booleans()):
        content = content[: draw(st.integers(0, len(content)))]
    content += bytes(draw(st.sampled_from([0, 0, 0, 1, 70_000])))
    if not draw(st.booleans()):
        return "image.nii", bytes(content)
    packed = bytearray(gzip.compress(bytes(content), 1, mtime=0))
    for at, value in draw(
        st.lists(st.tuples(st.integers(0, len(packed) - 1), st.integers(0, 255)), max_size=2)
    ):
        packed[at] = value
    return draw(st.sampled_from(["image.nii.gz", "image.nii"])), bytes(packed)


def read_every_way(path: Path) -> None:
    with bounded():
        header = read_header(path)
        assert header.frames >= 1
    for options in ({}, {"frames": "mean"}, {"labels": True, "frames": 1}, {"ndim": (3, 4), "labels": False}):
        with bounded():
            volume = read_volume(path, **options)
            assert np.isfinite(volume.data).all() and np.isfinite(volume.affine).all()
            write_volume(path.with_name("again.nii.gz"), volume)
            again = read_volume(path.with_name("again.nii.gz"), ndim=(3, 4), allow_constant=True)
            assert again.shape == volume.shape


@given(nifti_files())
@fuzz(250)
def test_nifti(made: tuple[str, bytes]) -> None:
    name, content = made
    with folder() as place:
        (place / name).write_bytes(content)
        read_every_way(place / name)


@given(st.binary(max_size=600), st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\x08", b"\x5c\x01\0\0"]))
@fuzz(60)
def test_bytes_that_are_no_nifti(content: bytes, head: bytes) -> None:
    with folder() as place:
        (place / "image.nii.gz").write_bytes(head + content)
        read_every_way(place / "image.nii.gz")


def claiming(count: int, layout: str = "<h") -> bytearray:
    """The header of an image of `count` voxels a side, and nothing else."""
    content = bytearray(sound("labels")[:352])
    struct.pack_into("<4h", content, 40, 3, count, count, count)
    return content


@pytest.mark.parametrize("members", [1, 20_000], ids=["one member", "many members"])
@pytest.mark.parametrize("count", [8, 512, 32_767])
def test_gzip_bombs_cost_little(tmp_path: Path, members: int, count: int) -> None:
    path = tmp_path / "image.nii.gz"
    with path.open("wb") as file:
        file.write(gzip.compress(bytes(claiming(count)), mtime=0))
        file.writelines([gzip.compress(b"", mtime=0)] * members)
        file.write(gzip.compress(bytes(30 << 20), 9, mtime=0))
    assert path.stat().st_size < 600_000
    read_every_way(path)


def test_a_name_without_end_in_a_gzip_header(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    path.write_bytes(b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 500_000)
    read_every_way(path)


# --- tables ---

cells = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "n/a",
        "",
        "sub-01",
        "sub-../../x",
        "1e999",
        "-0",
        "9" * 5000,
        "nan",
        "inf",
        "train",
        "=1+1",
        "\0",
        '"',
        "\ufeff",
    ]
)
COLUMNS = [
    "participant_id",
    "subject",
    "split",
    "age",
    "group",
    "scan",
    "gruop",
    "",
    "path",
    "status",
    "repeat",
]
tables = st.lists(st.lists(cells | st.sampled_from(COLUMNS), min_size=1, max_size=5), max_size=5)


def tsv(header: list[str], rows: list[list[str]]) -> bytes:
    lines = ["\t".join(cells) for cells in [header, *rows]]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


@given(st.lists(st.sampled_from(COLUMNS) | cells, min_size=1, max_size=5), tables, st.booleans())
@fuzz(150)
def test_tables(header: list[str], rows: list[list[str]], even: bool) -> None:
    rows = [(row * 5)[: len(header)] for row in rows] if even else rows
    with folder() as place:
        for name in ("sub-01", "sub-02"):
            image = place / name / "anat" / f"{name}_T1w.nii.gz"
            image.parent.mkdir(parents=True)
            image.touch()
        path = place / "participants.tsv"
        path.write_bytes(tsv(header, rows))
        with bounded():
            found = read_tsv(path)
            write_tsv(place / "again.tsv", found)
            assert len(read_tsv(place / "again.tsv")) == len(found)
        for kind in ("participants", "bids_participants", "scans", "split", "status", "manifest", "measured"):
            with bounded():
                check_table(kind, read_tsv(path), path)
        with bounded():
            participants, images, status = list_bids(place)
            check_table("participants", participants, path)
            check_table("status", status, path)
            assert {row["subject"] for row in images} <= {"sub-01", "sub-02"}


@given(st.binary(max_size=300))
@fuzz(60)
def test_bytes_that_are_no_table(content: bytes) -> None:
    with folder() as place:
        (place / "table.tsv").write_bytes(content)
        with bounded():
            read_tsv(place / "table.tsv")


# --- configuration ---

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(
        ["train", "test", "simulate", "bids", "tiny", "../../x", "/etc/x", "a:b", "os:system", "x\n", "\0"]
    )
)
KNOWN = [
    "use",
    "source",
    "split",
    "cohorts",
    "methods",
    "subjects",
    "enabled",
    "preset",
    "mri_denoise",
    "path",
    "noise",
]
keys = st.text(max_size=6) | st.sampled_from(KNOWN) | st.integers() | st.none() | st.booleans()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def demo() -> dict[str, Any]:
    """A configuration with something at every place that a user may change."""
    config = load_yaml(ROOT / "config" / "config.yaml")
    for name in config["studies"]:
        definition = load_yaml(ROOT / "config" / "studies" / f"{name}.yaml")
        definition.pop("presets")
        config["studies"][name] = definition
    mine = {
        "use": "test",
        "source": "bids",
        "path": "/data",
        "suffix": "T1w",
        "noise": [9],
        "reference": "auto",
    }
    config["studies"]["mri_denoise"]["cohorts"]["mine"] = mine
    return config


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLACES = places(demo())


def changed(edits: list[tuple[tuple[Any, ...], Any, Any]]) -> dict[str, Any]:
    """The demo with values replaced; a key beside each, where it is asked for, too."""
    config = demo()
    for path, key, value in edits:
        there: Any = config
        for step in path[:-1]:
            try:
                there = there[step]
            except (KeyError, IndexError, TypeError):
                break  # an edit before this one took the place away
        else:
            if isinstance(there, dict):
                there[path[-1] if key is None else key] = value
            elif isinstance(there, list):
                there[path[-1] :] = [value]
    return config


@pytest.fixture(autouse=True, scope="module")
def schemas_read_once() -> Iterator[None]:
    """YAML in pure Python is most of the time of `resolve`."""
    read = functools.cache(load_yaml)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "load_yaml", lambda path: copy.deepcopy(read(path)))
        yield


def check_resolved(config: dict[str, Any]) -> None:
    with bounded():
        resolved = resolve(config, ROOT)
        names = [resolved["run"], *resolved["studies"]]
        for study in resolved["studies"].values():
            names += [*study["cohorts"], *study["methods"], *study["measures"], *study["analyses"]]
        assert all(isinstance(name, str) for name in names)
        assert not any(c in name for name in names for c in "/\\\0\n ."), names


edits = st.lists(st.tuples(st.sampled_from(PLACES), st.none() | keys, values), min_size=1, max_size=3)


@given(edits)
@fuzz(200)
def test_configuration(edits: list[tuple[tuple[Any, ...], Any, Any]]) -> None:
    check_resolved(changed(edits))


@given(st.dictionaries(keys | st.sampled_from(["run", "studies"]), values, max_size=4))
@fuzz(60)
def test_configuration_of_anything(config: dict[Any, Any]) -> None:
    check_resolved(config)


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@fuzz(60)
def test_bytes_that_are_no_yaml(content: bytes) -> None:
    with folder() as place:
        (place / "config.yaml").write_bytes(content)
        with bounded():
            assert isinstance(load_yaml(place / "config.yaml"), dict)


# --- DICOM ---


@cache
def sound_series() -> tuple[bytes, ...]:
    with folder() as place:
        return tuple(path.read_bytes() for path in write_series(place, slices=4, size=(8, 6)))


def listed(place: Path) -> None:
    with bounded():
        found = list_dicom(place)
        for series in found.series:
            assert series.title is not None and series.voxels is not None
            assert defect(series) is None or defect(series)
        assert sum(found.others.values()) + sum(len(s.files) + s.repeated for s in found.series) == 4


mutations = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1400), st.binary(min_size=1, max_size=4)),
    min_size=1,
    max_size=8,
)


def mutated(place: Path, changes: list[tuple[int, int, bytes]], cut: int | None) -> None:
    files = [bytearray(content) for content in sound_series()]
    for which, at, new in changes:
        files[which][at : at + len(new)] = new
    for number, content in enumerate(files):
        (place / f"{number}.dcm").write_bytes(content[:cut] if number == 1 else content)


@given(mutations, st.none() | st.integers(0, 1400))
@fuzz(150)
def test_dicom_bytes(changes: list[tuple[int, int, bytes]], cut: int | None) -> None:
    with folder() as place:
        mutated(place, changes, cut)
        listed(place)


TAGS = {  # keyword -> its tag, and the value representations that are tried
    "Rows": ("US", "IS", "DS", "FD", "LO", "SS"),
    "Columns": ("US", "FD", "OW"),
    "NumberOfFrames": ("IS", "FD"),
    "BitsAllocated": ("US", "FD"),
    "SeriesNumber": ("IS", "FD", "LO"),
    "InstanceNumber": ("IS", "FD"),
    "ImagesInAcquisition": ("IS",),
    "NumberOfTemporalPositions": ("IS",),
    "ImagePositionPatient": ("DS", "FD", "LO"),
    "ImageOrientationPatient": ("DS", "FD"),
    "PatientID": ("LO", "OB"),
    "PatientName": ("PN", "LO"),
    "Modality": ("CS", "UT"),
    "SeriesDescription": ("LO", "UT"),
    "SeriesInstanceUID": ("UI", "LO"),
    "ImageType": ("CS",),
    "StudyDate": ("DA", "LO"),
}


@st.composite
def elements(draw: st.DrawFn) -> tuple[int, str, str, bytes]:
    """(file, keyword, representation, bytes of the value) of an element that says something else than it should."""
    name = draw(st.sampled_from(sorted(TAGS)))
    kind = draw(st.sampled_from(TAGS[name]))
    numbers = draw(st.lists(reals, min_size=1, max_size=6))
    if kind == "FD":
        value = struct.pack(f"<{len(numbers)}d", *numbers)
    elif kind in ("US", "SS"):
        value = struct.pack("<H", draw(st.integers(0, 65535)))
    elif kind in ("DS", "IS") and draw(st.booleans()):
        value = "\\".join(f"{n:.6g}" for n in numbers).encode()
    else:
        value = draw(
            st.binary(max_size=20) | st.text(max_size=20).map(lambda t: t.encode("utf-8", "replace"))
        )
    return draw(st.integers(0, 3)), name, kind, value + b" " * (len(value) % 2)


def with_elements(place: Path, changes: list[tuple[int, str, str, bytes]]) -> None:
    """The sound series with elements replaced byte for byte, in explicit VR little endian."""
    from pydicom.datadict import tag_for_keyword

    files = [bytearray(content) for content in sound_series()]
    for which, name, kind, value in changes:
        tag = tag_for_keyword(name)
        assert tag is not None
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        long = kind in ("OB", "OW", "UT", "UN")
        length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
        new = head + kind.encode() + length + value
        content = files[which]
        at = content.find(head + b"", 300)
        if at < 0 or not content[at + 4 : at + 6].isalpha():
            continue
        before = bytes(content[at + 4 : at + 6]) in (b"OB", b"OW", b"UT", b"UN")
        size = (
            struct.unpack_from("<I", content, at + 8)[0]
            if before
            else struct.unpack_from("<H", content, at + 6)[0]
        )
        content[at : at + (12 if before else 8) + size] = new
    for number, content in enumerate(files):
        (place / f"{number}.dcm").write_bytes(content)


@given(st.lists(elements(), min_size=1, max_size=4))
@fuzz(200)
def test_dicom_elements(changes: list[tuple[int, str, str, bytes]]) -> None:
    with folder() as place:
        with_elements(place, changes)
        listed(place)


def _installed() -> bool:
    try:
        return bool(find_dcm2niix())
    except EngineError:
        return False


needs_dcm2niix = pytest.mark.skipif(not _installed(), reason="dcm2niix is not installed")


@needs_dcm2niix
@given(st.lists(elements(), max_size=2), mutations, st.booleans())
@fuzz(30)
def test_dicom_through_the_door(
    changes: list[tuple[int, str, str, bytes]], bytewise: list[tuple[int, int, bytes]], which: bool
) -> None:
    with folder() as place:
        (place / "in").mkdir()
        if which:
            with_elements(place / "in", changes)
        else:
            mutated(place / "in", bytewise, None)
        with bounded():
            ingest_dicom(place / "in", place / "out", key=b"k")
        assert {path.name for path in place.iterdir()} <= {"in", "out"}


# --- BIDS ---

words = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12)
parts = st.sampled_from(
    ["sub-01", "sub-", "ses-1", "run-1", "acq-a b", "acq-a\tb", "T1w", "anat", "sub-01_T1w.nii.gz", "x-y"]
)
names = (
    st.lists(words | parts, min_size=1, max_size=4).map("_".join).map(lambda n: n + "_T1w.nii.gz")
    | words
    | parts
)
paths = st.lists(names, min_size=1, max_size=4)


@given(st.lists(paths, min_size=1, max_size=8), st.binary(max_size=8), st.sampled_from([None, "repeats"]))
@fuzz(120)
def test_bids_trees(tree: list[list[str]], odd: bytes, frames: str | None) -> None:
    with folder() as place:
        for path in tree:
            file = place.joinpath("data", *(part for part in path if part not in (".", "..")))
            with contextlib.suppress(OSError):  # a file stands where a folder should, or a name is too long
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(sound("series"))
        raw = b"sub-01_acq-" + odd.replace(b"/", b"").replace(b"\0", b"") + b"_T1w.nii.gz"
        home = place / "data" / "sub-01" / "anat"
        with contextlib.suppress(OSError):
            home.mkdir(parents=True, exist_ok=True)
            Path(os.fsdecode(os.path.join(os.fsencode(home), raw))).write_bytes(sound("series"))
        with bounded():
            participants, images, status = list_bids(place / "data", frames=frames)
            for row in images:
                assert not set(row["scan"]) - set(
                    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
                )
                assert Path(row["path"]).is_file()
            check_table(
                "scans", [{**r, "image": r["scan"], "split": "test", "shard": "s"} for r in images], place
            )
            check_table("participants", participants, place)
            check_table("status", status, place)
            write_tsv(place / "scans.tsv", images)
            assert [row["path"] for row in read_tsv(place / "scans.tsv")] == [row["path"] for row in images]


# --- what the above has found, each by itself ---


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e300])
@pytest.mark.parametrize(
    "name", ["SeriesNumber", "InstanceNumber", "Rows", "BitsAllocated", "NumberOfFrames"]
)
def test_a_count_that_is_no_number_is_a_damaged_file(tmp_path: Path, name: str, number: float) -> None:
    with_elements(tmp_path, [(0, name, "FD", struct.pack("<d", number))])
    if name == "NumberOfFrames":  # not in the sound series, so nothing was replaced
        import pydicom

        data = pydicom.dcmread(tmp_path / "0.dcm")
        data.add_new("NumberOfFrames", "FD", number)
        data.save_as(tmp_path / "0.dcm")
    found = list_dicom(tmp_path)
    if number == 1e300:  # a number, if an odd one: the series says so
        assert sum(found.others.values()) in (0, 1)
        assert all(isinstance(defect(series), str | None) for series in found.series)
    else:
        assert found.others == {"damaged DICOM": 1}


@pytest.mark.parametrize("place", [1e38, 1e300, -1e308])
def test_a_slice_beyond_any_scanner(tmp_path: Path, place: float) -> None:
    for number, path in enumerate(write_series(tmp_path, slices=4)):
        import pydicom

        data = pydicom.dcmread(path)
        data.ImagePositionPatient = [0, 0, place * (number - 1.5)] if abs(place) < 1e300 else [0, 0, place]
        data.save_as(path)
    (series,) = list_dicom(tmp_path).series
    assert "not in a scanner" in str(defect(series))


def test_more_voxels_than_any_image_has(tmp_path: Path) -> None:
    import pydicom

    for path in write_series(tmp_path, slices=2):
        data = pydicom.dcmread(path)
        data.Rows = data.Columns = 65535
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless  # so that its length tells nothing
        data["PixelData"].is_undefined_length = True
        data.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        data.save_as(path)
    (series,) = list_dicom(tmp_path).series
    assert "the limit is" in str(defect(series))


@needs_dcm2niix
@pytest.mark.parametrize("number", [-7, 999999999999])
def test_a_series_number_that_is_no_label(tmp_path: Path, number: int) -> None:
    write_series(tmp_path / "in", number=1)
    for path in write_series(tmp_path / "in", number=2):
        import pydicom

        data = pydicom.dcmread(path)
        data.SeriesNumber = number
        data.save_as(path)
    found = ingest_dicom(tmp_path / "in", tmp_path / "out", key=b"k")
    assert len(found.images) == 2, found.report
    assert all("--" not in row["scan"] for row in found.images)


def test_a_deflated_dicom_bomb_is_not_inflated(tmp_path: Path) -> None:
    import pydicom

    (path, *_) = write_series(tmp_path, slices=1)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.PixelData = bytes(200 << 20)
    data.save_as(path)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        found = list_dicom(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not found.series
    assert any("deflated" in reason for reason in found.others)
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "name", [b"sub-01_acq-\t_T1w.nii.gz", b"sub-01_acq-\x80_T1w.nii.gz", b"sub-01_acq-\n_T1w.nii"]
)
def test_a_name_that_no_table_holds_is_a_row(tmp_path: Path, name: bytes) -> None:
    home = tmp_path / "sub-01" / "anat"
    home.mkdir(parents=True)
    (home / "sub-01_T1w.nii.gz").touch()
    Path(os.fsdecode(os.path.join(os.fsencode(home), name))).touch()
    _, images, status = list_bids(tmp_path)
    assert [row["scan"] for row in images] == ["sub-01"]
    assert ["rename it" in row["error"] for row in status] == [True]
    with pytest.raises(DataError, match="Cannot list"):
        list_bids(shutil.copytree(home.parent, tmp_path / "a\tb" / "sub-01").parent)


@pytest.mark.parametrize(
    ("path", "key", "value", "why"),
    [
        (("studies", "mri_denoise", "methods"), 3, {}, "the key 3 is no text"),
        (("studies", "mri_denoise", "methods"), None, {}, "the key None is no text"),
        (("studies", "mri_denoise"), "methods", ["gaussian"], "is not of type 'object'"),
        (("studies", "mri_denoise"), "analyses", 7, "is not of type 'object'"),
        (("studies", "mri_denoise"), "use", 7, "is not of type 'string'"),
        (("studies", "mri_denoise"), "use", ["mri_denoise"], "is not of type 'string'"),
        (("studies", "mri_denoise"), "preset", ["tiny"], "is not of type 'string'"),
        (("studies", "mri_denoise", "degradation", "lesion"), "radius_mm", float("nan"), "no finite number"),
        (("studies", "mri_denoise", "methods"), "gaussian", {"fwhm_mm": float("inf")}, "no finite number"),
        (("studies", "mri_denoise", "cohorts", "mine"), "path", "/data\0", "control character"),
        ((), "run", datetime.date(2026, 1, 1), "is a date"),
        ((), "run", b"run", "is a bytes"),
    ],
)
def test_a_setting_of_a_kind_that_no_setting_is(
    path: tuple[str, ...], key: Any, value: Any, why: str
) -> None:
    config = demo()
    there: Any = config
    for step in path:
        there = there[step]
    there[key] = value
    with pytest.raises(ConfigError) as caught:
        resolve(config, ROOT)
    assert why in caught.value.why


@pytest.mark.parametrize(
    "content", [b"run: \x80", b"run: 2020-13-45", b"run: " + b"[" * 5000, b"seed: " + b"9" * 9999]
)
def test_bytes_that_no_configuration_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match="Cannot read configuration"):
        load_yaml(tmp_path / "config.yaml")
