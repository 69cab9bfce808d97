"""NM DICOM in hostile hands: nothing identifies anybody, and no file ends in anything but an answer, soon and small."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import resource
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from senmei.core.errors import DataError
from senmei.io.dicom_nm import Image, PlanarImage, Projections, Reconstruction, list_nm, read_nm
from senmei.io.dicom_nm_header import open_image
from senmei.io.dicom_nm_write import planar_to_dicom, projections_to_dicom, reconstruction_to_dicom, to_bytes
from tests.clinic.corpus import NAME, PERSON, PIXEL_MM, body, plain_shot
from tests.clinic.nm_writer import betrayed, recon, save, tomo

MEMORY = 1 << 30  # address space that a file of a few kB may ask for
EXAMPLES = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Heard(logging.Handler):
    """Everything that is logged, warned of or printed meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))

    @contextlib.contextmanager
    def all(self) -> Iterator[None]:
        root, out = logging.getLogger(), io.StringIO()
        level = root.level
        root.addHandler(self), root.setLevel(logging.DEBUG)
        try:
            with warnings.catch_warnings(record=True) as seen, contextlib.redirect_stdout(out):
                warnings.simplefilter("always")
                with contextlib.redirect_stderr(out):
                    yield
        finally:
            root.removeHandler(self), root.setLevel(level)
        self.said += [out.getvalue(), *(str(w.message) for w in seen)]


def answer(path: Path) -> Image | DataError:
    """What reading gives, within bounds, and after seeing that nothing was told of the patient."""
    heard = Heard()
    found: Image | DataError
    told = ""
    with heard.all(), little_memory():
        try:
            found = read_nm(path, where="sub-1")
        except DataError as error:
            found = error
            told = str(error) + "".join(traceback.format_exception(error))
    if isinstance(found, DataError):
        assert found.what and found.where == "sub-1" and found.why and found.fix
    else:
        told = repr({k: v for k, v in vars(found).items() if k not in ("counts", "volume")})
    # The traceback names files of the library and of this test, none of them a patient's.
    assert betrayed("\n".join([told.replace(str(path.parent), ""), *heard.said]), PERSON) == []
    return found


@functools.cache
def bases() -> tuple[pydicom.Dataset, ...]:
    planar = tomo(plain_shot(), PERSON)
    planar.ImageType = ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]
    planar.PhaseVector = [1] * 8 + [2] * 8
    planar.TimeSliceVector = [*range(1, 9)] * 2
    return (
        tomo(plain_shot(), PERSON),
        tomo(plain_shot(gates=2, windows=2), PERSON, heads=1),
        recon(body(), PIXEL_MM, PERSON),
        planar,
    )


@functools.cache
def contents() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        plain = [save(data, Path(folder) / f"{n}.dcm").read_bytes() for n, data in enumerate(bases())]
        packed = pydicom.dcmread(io.BytesIO(plain[0]))
        packed.compress(pydicom.uid.RLELossless)
        packed.save_as(Path(folder) / "rle.dcm")
        return (*plain, (Path(folder) / "rle.dcm").read_bytes())


# --- fuzz ---


def test_the_bases_are_sound(tmp_path: Path) -> None:
    kinds = []
    for content in contents():
        (tmp_path / NAME).write_bytes(content)
        kinds.append(type(answer(tmp_path / NAME)))
    assert kinds == [Projections, Projections, Reconstruction, PlanarImage, Projections]


@EXAMPLES
@given(
    which=st.integers(0, 4),
    hits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    head=st.booleans(),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_bytes_get_an_answer(
    which: int, hits: list[tuple[float, int]], head: bool, keep: float, tmp_path: Path
) -> None:
    content = bytearray(contents()[which])
    span = min(len(content), 6000) if head else len(content)
    for place, value in hits:
        content[int(place * span)] = value
    (tmp_path / NAME).write_bytes(content[: int(keep * len(content))])
    answer(tmp_path / NAME)


HOSTILE: list[tuple[str, Any]] = [
    ("LO", "Quixotic^Zebulon"), ("LO", ""), ("LO", "1e400"), ("LO", "nan"), ("LO", "-1"), ("LO", "0"),
    ("LO", "99999999999999999999"), ("LO", "1\\2\\3\\Quixotic"), ("UL", 4294967295), ("US", 0), ("US", 65535),
    ("SL", -2147483648), ("FD", float("nan")), ("FD", float("-inf")), ("FD", 1e308), ("FD", 1e-308),
    ("OB", b"Zebulon Quixotic MRN7734211 "), ("AT", 0x00100010), ("PN", "Quixotic^Zebulon"),
    ("US", [65535] * 16), ("US", list(range(1, 17))), ("US", [0] * 16), ("UL", [4294967295] * 16), ("SQ", []),
    ("LT", "Quixotic " * 2000),
]  # fmt: skip
TOP = """
    ImageType Modality Rows Columns NumberOfFrames BitsAllocated BitsStored HighBit PixelRepresentation PixelSpacing
    SamplesPerPixel PhotometricInterpretation EnergyWindowVector DetectorVector RotationVector AngularViewVector
    TimeSlotVector RRIntervalVector SliceVector PhaseVector TimeSliceVector SpacingBetweenSlices SliceThickness
    RescaleSlope RescaleIntercept RescaleType EnergyWindowInformationSequence DetectorInformationSequence
    RotationInformationSequence RadiopharmaceuticalInformationSequence PatientOrientationCodeSequence
    PatientGantryRelationshipCodeSequence PatientPosition FrameIncrementPointer ActualFrameDuration PatientID
    SOPInstanceUID StudyInstanceUID SeriesDescription SeriesNumber SpecificCharacterSet
""".split()
NESTED = [
    (
        "DetectorInformationSequence",
        "StartAngle RadialPosition CollimatorGridName ImageOrientationPatient".split(),
    ),
    ("DetectorInformationSequence", "ImagePositionPatient ViewCodeSequence CollimatorType".split()),
    (
        "RotationInformationSequence",
        "StartAngle AngularStep RotationDirection ScanArc RadialPosition".split(),
    ),
    ("RotationInformationSequence", "ActualFrameDuration NumberOfFramesInRotation".split()),
    ("EnergyWindowInformationSequence", "EnergyWindowRangeSequence EnergyWindowName".split()),
    ("RadiopharmaceuticalInformationSequence", "RadionuclideCodeSequence Radiopharmaceutical".split()),
]
PLACES = [("", name) for name in TOP] + [(place, name) for place, names in NESTED for name in names]


def written(data: pydicom.Dataset, folder: Path) -> bool:
    """Whether pydicom writes such a file at all; it checks some values as it packs them."""
    stream = io.BytesIO()
    try:
        pydicom.dcmwrite(stream, data, implicit_vr=False, little_endian=True)
    except Exception:
        return False
    (folder / NAME).write_bytes(stream.getvalue())
    return True


@EXAMPLES
@given(
    which=st.integers(0, 3),
    hits=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from([None, *HOSTILE])), min_size=1, max_size=3
    ),
)
@pytest.mark.filterwarnings("ignore")
def test_hostile_values_get_an_answer(
    which: int, hits: list[tuple[tuple[str, str], tuple[str, Any] | None]], tmp_path: Path
) -> None:
    data = pydicom.dcmread(io.BytesIO(contents()[which]))
    for (place, name), value in hits:
        items = data.get(place) if place else [data]
        if not items or not isinstance(items[0], pydicom.Dataset):
            continue
        if name in items[0]:
            del items[0][name]
        if value is not None:
            tag, (kind, content) = pydicom.datadict.tag_for_keyword(name), value
            items[0][tag] = pydicom.DataElement(tag, kind, content, validation_mode=pydicom.config.IGNORE)
    assume(written(data, tmp_path))
    answer(tmp_path / NAME)
    if "Quixotic" not in str(data.get("PatientID")):
        listed = list_nm(tmp_path, key=b"k")
        assert betrayed(repr(listed), PERSON) == []


def test_every_single_hostile_value_is_met(tmp_path: Path) -> None:
    """No luck involved: each value of the list in each of the tags that decide about sizes."""
    seen = 0
    for which in (0, 2):
        for name in (
            "Rows",
            "NumberOfFrames",
            "BitsAllocated",
            "DetectorVector",
            "SliceVector",
            "PixelSpacing",
        ):
            for kind, content in HOSTILE:
                data = pydicom.dcmread(io.BytesIO(contents()[which]))
                tag = pydicom.datadict.tag_for_keyword(name)
                data[tag] = pydicom.DataElement(tag, kind, content, validation_mode=pydicom.config.IGNORE)
                if written(data, tmp_path):
                    seen += 1
                    answer(tmp_path / NAME)
    assert seen > 250


@pytest.mark.parametrize(
    ("vectors", "piece"),
    [
        ({"DetectorVector": range(1, 30001)}, "detectors"),
        ({"TimeSlotVector": range(1, 30001), "AngularViewVector": range(30000, 0, -1)}, "missing"),
        ({"EnergyWindowVector": range(1, 30001)}, "energy windows"),
        ({"AngularViewVector": [1] * 30000}, "same window"),
    ],
)
def test_many_tiny_frames_take_no_time_and_no_room(
    vectors: dict[str, Any], piece: str, tmp_path: Path
) -> None:
    """Sixty kB that would be gigabytes, were its vectors believed."""
    data = tomo(plain_shot(), PERSON, heads=1)
    data.Rows = data.Columns = 1
    data.NumberOfFrames, data.PixelData = 30000, bytes(60000)
    data.ImageType = ["ORIGINAL", "PRIMARY", "GATED TOMO", "EMISSION"]
    del data.RotationInformationSequence[0].NumberOfFramesInRotation
    data.DetectorInformationSequence[0].RadialPosition = "200"
    for name in (
        "EnergyWindowVector",
        "DetectorVector",
        "RotationVector",
        "TimeSlotVector",
        "AngularViewVector",
    ):
        setattr(data, name, list(vectors.get(name, [1] * 30000)))
    found = answer(save(data, tmp_path / NAME))
    assert isinstance(found, DataError) and piece in found.why, str(found)
    data.ImageType = ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]
    data.EnergyWindowVector, data.PhaseVector = [1] * 30000, [1, 2] * 15000
    data.DetectorVector, data.TimeSlotVector = list(range(1, 30001)), list(range(1, 30001))
    assert isinstance(answer(save(data, tmp_path / NAME)), PlanarImage)


def test_too_many_frames_are_refused(tmp_path: Path) -> None:
    data = tomo(plain_shot(), PERSON)
    data.Rows = data.Columns = 1
    data.NumberOfFrames, data.PixelData = 70000, bytes(140000)
    found = answer(save(data, tmp_path / NAME))
    assert isinstance(found, DataError) and "70000 frames" in found.why


@pytest.mark.parametrize("depth", [20, 400, 5000])
def test_nested_without_end(depth: int, tmp_path: Path) -> None:
    """Sequences within sequences, by hand: pydicom's own writer does not come to an end with them."""
    start, stop = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    inner = b"\x54\0\x22\0\xff\xff\xff\xff"
    content = (start + inner) * depth + (b"\xfe\xff\xdd\xe0\0\0\0\0" + stop) * depth
    data = tomo(plain_shot(), PERSON)
    tag = pydicom.datadict.tag_for_keyword("DetectorInformationSequence")
    data[tag] = pydicom.DataElement(tag, "OB", content)
    path = save(data, tmp_path / NAME)
    packed = path.read_bytes()
    assert packed.count(b"\x54\0\x22\0OB") == 1
    path.write_bytes(packed.replace(b"\x54\0\x22\0OB", b"\x54\0\x22\0UN"))
    assert isinstance(answer(path), DataError)


@pytest.mark.parametrize("kind", ["folder", "nothing", "pipe"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    found = answer(path)
    assert isinstance(found, DataError)


# --- identities ---


def planted(folder: Path) -> list[Path]:
    """Files of every kind, with the patient in every field of text that the reader looks at."""
    made = []
    for n, base in enumerate(bases()):
        data = pydicom.dcmread(io.BytesIO(contents()[n]))
        assert base.PatientID == data.PatientID
        for item in data.EnergyWindowInformationSequence:
            item.EnergyWindowName = "Zebulon 19530417"
        for item in data.RadiopharmaceuticalInformationSequence:
            item.Radiopharmaceutical = "Tc99m MIBI for Quixotic MRN7734211"
            for coded in item.RadionuclideCodeSequence:
                coded.CodeValue, coded.CodeMeaning = "QUIXOTIC", "99mTc for Zebulon"
        for item in data.DetectorInformationSequence:
            item.CollimatorGridName = "LEHR Quixotic"
            view = pydicom.Dataset()
            view.CodeValue, view.CodingSchemeDesignator = "ZEBULON", "SCT"
            view.CodeMeaning = "anterior of Quixotic"
            item.ViewCodeSequence = [view]
        data.RescaleType, data.PatientPosition = "QUIXOTIC", "QUIXOTIC"
        data.AcquisitionTerminationCondition = "ZEBULON"
        path = folder / "Quixotic Zebulon" / f"MRN7734211 {n} 19530417.dcm"
        path.parent.mkdir(exist_ok=True)
        data.save_as(path)
        made.append(path)
    return made


def test_no_identity_comes_out_of_reading_or_of_writing_what_was_read(tmp_path: Path) -> None:
    labels: dict[str, Any] = {"subject": "sub-0123456789ab", "identity": "0123456789abcdef"}
    for path in planted(tmp_path):
        read = answer(path)
        assert not isinstance(read, DataError), str(read)
        assert (read.nuclide, read.agent, read.collimator) == ("Tc-99m", "sestamibi", "LEHR")
        if isinstance(read, Projections):
            made = to_bytes(projections_to_dicom(read, **labels))
        elif isinstance(read, PlanarImage):
            made = to_bytes(planar_to_dicom(read, **labels))
        else:
            made = to_bytes(reconstruction_to_dicom(read.volume, **labels, like=vars(read)))
        assert betrayed(made, PERSON) == []
        for word in (b"privateer", b"quixotic", b"zebulon", b"7734"):
            assert word in path.read_bytes().lower() and word not in made.lower()


def test_no_identity_comes_out_of_a_listing(tmp_path: Path) -> None:
    paths = planted(tmp_path)
    for n, path in enumerate(paths):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = f"1.2.840.99999.7734.5.{n}"
        data.SeriesDescription = f"Stress MPI Quixotic MRN7734211 {PERSON.birth}"
        data.save_as(path)
    (tmp_path / "Quixotic.txt").write_text("MRN7734211")
    broken = paths[0].read_bytes()
    (tmp_path / "Zebulon truncated.dcm").write_bytes(broken[:-3000])
    heard = Heard()
    with heard.all():
        found = list_nm(tmp_path, key=b"k")
    assert len(found.images) == 4 and len(found.left) == 1
    assert {image.title for image in found.images} == {"Stress MPI [removed] [removed] [removed]"}
    assert betrayed("\n".join([repr(found), *heard.said]), PERSON) == []
    other = list_nm(tmp_path, key=b"another key")
    assert {i.subject for i in other.images}.isdisjoint({i.subject for i in found.images})


def test_errors_do_not_carry_the_parsers_text(tmp_path: Path) -> None:
    """pydicom's errors quote the value that they cannot read."""
    data = pydicom.dcmread(io.BytesIO(contents()[0]))
    tag = pydicom.datadict.tag_for_keyword("PixelSpacing")
    data[tag] = pydicom.DataElement(tag, "LO", "Quixotic", validation_mode=pydicom.config.IGNORE)
    pydicom.dcmwrite(tmp_path / NAME, data, implicit_vr=False, little_endian=True)
    header = open_image(tmp_path / NAME, "sub-1")
    with pytest.raises(ValueError, match="Quixotic"):
        float(header.data.PixelSpacing)
    found = answer(tmp_path / NAME)
    assert isinstance(found, DataError) and "damaged" in found.why
    assert found.__suppress_context__


def test_counts_never_alias_the_file(tmp_path: Path) -> None:
    """What is read may be written to, and is in memory of its own."""
    read = answer(save(tomo(plain_shot(), PERSON), tmp_path / NAME))
    assert isinstance(read, Projections)
    read.counts[...] = 7
    assert np.all(read.counts == 7)
