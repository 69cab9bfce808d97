"""Nuclear-medicine files that are odd or bad, made when a test needs them, with what each must lead to.

    for case in SOUND:  case.build(folder)   # a file that must read, to the very counts and angles of `plain_shot`
    for case in BAD:    case.build(folder)   # a file (kinds 'nm', 'interfile') or a folder (kind 'folder')

Every one is full of a patient's name, numbers and dates, in tags, private tags and file names: none may be told.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from senmei.physics.spect.geometry import orbit
from tests.clinic.nm_writer import PHOTOPEAK, SCATTER, Person, Shot, recon, save, tomo

PERSON = Person("Quixotic", "Zebulon", "MRN7734211")
OTHER = Person("Abernathy", "Ottoline", "MRN5521987", "19410203", "20180607", "091523.27")
NAME = "QUIXOTIC^ZEBULON_MRN7734211_19530417.dcm"
NU, NV, VIEWS, PIXEL_MM = 12, 10, 16, 6.4
Edit = Callable[[Any], object]


@dataclass(frozen=True)
class Case:
    """One file or folder.

    kind : 'nm' and 'interfile' (build gives a file), 'folder' (build gives a folder of NM files). expect : pieces of
    text, all of which the message must hold; a tuple among them asks for one of its pieces.
    """

    name: str
    build: Callable[[Path], Path]
    expect: tuple[str | tuple[str, ...], ...] = ()
    kind: str = "nm"


def plain_shot(
    *,
    gates: int = 1,
    windows: int = 1,
    clockwise: bool = True,
    views: int = VIEWS,
    arc: float = 180.0,
    seed: int = 0,
) -> Shot:
    """Counts without any symmetry, an arc from 45 right anterior to 45 left posterior oblique or back again."""
    start, direction = (-45.0, "ccw") if clockwise else (-135.0, "cw")
    radii = [200 + 3.5 * i for i in range(views)]
    geometry = orbit((NU, NU, NV), PIXEL_MM, views, arc, start, radii, direction)
    ends = [geometry.detector(i) for i in range(views)]
    rng = np.random.default_rng(seed)
    ramp = 20 + np.add.outer(np.arange(NU) * 5, np.arange(NV) * 3)[:, :, None]
    counts = rng.poisson(np.broadcast_to(ramp, (windows, gates, NU, NV, views)))
    return Shot(
        counts=counts,
        toward=np.stack([d for d, _ in ends]),
        along=np.stack([u for _, u in ends]),
        radius_mm=radii,
        pixel_mm=PIXEL_MM,
        windows=(PHOTOPEAK, SCATTER)[:windows],
    )


def nm(edit: Edit | None = None, *, shot: Shot | None = None, name: str = NAME, **options: Any) -> Any:
    """A builder of one acquisition's file, its data set changed by `edit`."""

    def build(folder: Path) -> Path:
        data = tomo(shot or plain_shot(), PERSON, **options)
        if edit is not None:
            edit(data)
        return save(data, folder / name)

    return build


# --- sound, however odd ---

_FRAMES = list(range(VIEWS))
_INTERLEAVED = [head * VIEWS // 2 + step for step in range(VIEWS // 2) for head in (1, 0)]


def _no_detector_start(data: Any) -> None:
    for item in data.DetectorInformationSequence:
        del item.StartAngle


def _one_radius(data: Any) -> None:
    for item in data.DetectorInformationSequence:
        del item.RadialPosition
    data.RotationInformationSequence[0].RadialPosition = ["210"]


def _numbered_on(data: Any) -> None:
    """Views of the second head counted on from those of the first, as some cameras do."""
    pairs = zip(data.AngularViewVector, data.DetectorVector, strict=True)
    data.AngularViewVector = [view + (head - 1) * VIEWS // 2 for view, head in pairs]


def _turned_below_zero(data: Any) -> None:
    for item in (*data.DetectorInformationSequence, *data.RotationInformationSequence):
        item.StartAngle = f"{float(item.StartAngle) - 360:g}"


def _named_everywhere(data: Any) -> None:
    """The patient's name in every technical text that a reader may take over."""
    data.EnergyWindowInformationSequence[0].EnergyWindowName = "Quixotic"
    drug = data.RadiopharmaceuticalInformationSequence[0]
    drug.Radiopharmaceutical = "Tc-99m sestamibi for Quixotic"
    drug.RadiopharmaceuticalCodeSequence[0].CodeMeaning = "Quixotic's own"
    drug.RadionuclideCodeSequence[0].CodeMeaning = "Technetium of Zebulon"
    for head in data.DetectorInformationSequence:
        head.CollimatorGridName = "LEHR Quixotic"


@dataclass(frozen=True)
class Sound(Case):
    """A file that must read to `shot`, whatever the order in which it is stored."""

    shot: Shot | None = None


def _sound(name: str, shot: Shot, edit: Edit | None = None, **options: Any) -> Sound:
    return Sound(name, nm(edit, shot=shot, **options), shot=shot)


def _stored(syntax: str) -> Callable[[Path], Path]:
    """The plain acquisition in another transfer syntax, by pydicom."""

    def build(folder: Path) -> Path:
        import pydicom

        path = nm()(folder)
        data = pydicom.dcmread(path)
        uid = getattr(pydicom.uid, syntax)
        if uid.is_encapsulated:
            data.compress(uid, generate_instance_uid=False)
            pydicom.dcmwrite(path, data, enforce_file_format=True)
            return path
        if not uid.is_little_endian:
            frames = np.frombuffer(data.PixelData, "<u2")
            data.PixelData = frames.astype(">u2").tobytes()
        data.file_meta.TransferSyntaxUID = uid
        pydicom.dcmwrite(path, data, enforce_file_format=True, implicit_vr=None, little_endian=None)
        return path

    return build


SOUND = [
    Sound("implicit VR", _stored("ImplicitVRLittleEndian"), shot=plain_shot()),
    Sound("big endian", _stored("ExplicitVRBigEndian"), shot=plain_shot()),
    Sound("run-length packed", _stored("RLELossless"), shot=plain_shot()),
    _sound("one head, falling angle", plain_shot(), heads=1),
    _sound("one head, growing angle", plain_shot(clockwise=False), heads=1),
    _sound("one head, radii of the rotation", plain_shot(), heads=1, radii="rotation"),
    _sound("one head, start of the rotation only", plain_shot(), _no_detector_start, heads=1),
    _sound("two heads, falling angle", plain_shot()),
    _sound("two heads, growing angle", plain_shot(clockwise=False)),
    _sound("detectors numbered against the orbit", plain_shot(), swap_heads=True),
    _sound("detector 2 stored first", plain_shot(), order=[*_FRAMES[VIEWS // 2 :], *_FRAMES[: VIEWS // 2]]),
    _sound("detectors interleaved, against the orbit", plain_shot(), swap_heads=True, order=_INTERLEAVED),
    _sound("frames backwards", plain_shot(windows=2), order=list(range(2 * VIEWS))[::-1]),
    _sound("four heads", plain_shot(), heads=4),
    _sound("views numbered on over the heads", plain_shot(), _numbered_on),
    _sound("the patient's name in technical texts", plain_shot(), _named_everywhere),
    _sound("angles below zero", plain_shot(), _turned_below_zero),
    _sound("scatter window first", replace(plain_shot(windows=2), windows=(SCATTER, PHOTOPEAK))),
    _sound("two heads, opposed", plain_shot(arc=360.0)),
    _sound("two heads, opposed, growing angle", plain_shot(arc=360.0, clockwise=False), swap_heads=True),
    _sound("two windows", plain_shot(windows=2)),
    _sound("eight gates", plain_shot(gates=8)),
    _sound("eight gates, two windows, growing angle", plain_shot(gates=8, windows=2, clockwise=False)),
]


# --- bad ---


def _drop(*names: str) -> Edit:
    def edit(data: Any) -> None:
        for name in names:
            delattr(data, name)

    return edit


def _set(**values: Any) -> Edit:
    def edit(data: Any) -> None:
        for name, value in values.items():
            setattr(data, name, value)

    return edit


def _turn(**values: Any) -> Edit:
    return lambda data: _set(**values)(data.RotationInformationSequence[0])


def _keep_frames(data: Any, keep: Sequence[int]) -> None:
    """Leave only these frames, in pixels and vectors alike, as a camera does that was stopped."""
    size = int(data.Rows) * int(data.Columns) * 2
    content = bytes(data.PixelData)
    data.PixelData = b"".join(content[i * size : (i + 1) * size] for i in keep)
    data.NumberOfFrames = len(keep)
    for name in [e.keyword for e in data if e.keyword.endswith("Vector")]:
        values = list(getattr(data, name))
        setattr(data, name, [values[i] for i in keep])


def _without_gate(data: Any) -> None:
    _keep_frames(data, [i for i, slot in enumerate(data.TimeSlotVector) if slot != 5])


def _without_some_of_a_gate(data: Any) -> None:
    lost = [i for i, slot in enumerate(data.TimeSlotVector) if slot == 8][-3:]
    _keep_frames(data, [i for i in range(int(data.NumberOfFrames)) if i not in lost])


def _without_views(data: Any) -> None:
    _keep_frames(data, range(int(data.NumberOfFrames) - 3))


def _short_vector(data: Any) -> None:
    data.AngularViewVector = list(data.AngularViewVector)[:-1]


def _claims_more(data: Any) -> None:
    data.NumberOfFrames = int(data.NumberOfFrames) + 4


def _unknown_head(data: Any) -> None:
    data.DetectorVector = [7 if d == 2 else d for d in data.DetectorVector]


def _huge(data: Any) -> None:
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 2_000_000_000


def _half_pixels(folder: Path) -> Path:
    path = nm()(folder)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - VIEWS * NU * NV])
    return path


def _packed(folder: Path) -> Path:
    """Says JPEG 2000 and holds fragments that no decoder of ours can read."""
    import pydicom

    data = tomo(plain_shot(), PERSON)
    path = save(data, folder / NAME)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    data.PixelData = pydicom.encaps.encapsulate([b"\xffO\xffQ" + bytes(40)] * VIEWS)
    data["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def _empty(folder: Path) -> Path:
    path = nm()(folder)
    path.write_bytes(b"")
    return path


def _letter(folder: Path) -> Path:
    path = folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Dear Zebulon Quixotic, your scan was fine.\n" * 40)
    return path


BAD = [
    Case("no energy window sequence", nm(_drop("EnergyWindowInformationSequence")), ("energy window",)),
    Case("empty energy window sequence", nm(_set(EnergyWindowInformationSequence=[])), ("energy window",)),
    Case(
        "energy window upside down",
        nm(shot=Shot(**{**plain_shot().__dict__, "windows": (("peak", 154.55, 126.45),)})),
        ("energy window", "154.55", "126.45"),
    ),
    Case("no rotation sequence", nm(_drop("RotationInformationSequence")), ("rotation",)),
    Case("empty rotation sequence", nm(_set(RotationInformationSequence=[])), ("rotation",)),
    Case("no direction of rotation", nm(_turn(RotationDirection="")), ("direction",)),
    Case("no angular step", nm(_turn(AngularStep="0")), ("step",)),
    Case("more views than the rotation has", nm(_turn(NumberOfFramesInRotation=5)), ("view",)),
    Case("compressed, no decoder", _packed, ("compress",)),
    Case("deflated", _stored("DeflatedExplicitVRLittleEndian"), (("deflated", "uncompressed"),)),
    Case("a gate is missing", nm(_without_gate, shot=plain_shot(gates=8)), (("gate", "time slot"), "missing")),
    Case(
        "views of a gate are missing",
        nm(_without_some_of_a_gate, shot=plain_shot(gates=8)),
        (("frame", "view"), "missing"),
    ),
    Case("views are missing", nm(_without_views), (("frame", "view"), "missing")),
    Case("vector shorter than the frames", nm(_short_vector), ("frame", "15", "16")),
    Case("more frames than pixels", nm(_claims_more), (("truncated", "frame"),)),
    Case("detector that is not described", nm(_unknown_head), ("detector",)),
    Case("truncated pixel data", _half_pixels, ("truncated",)),
    Case("no pixels", nm(_drop("PixelData")), (("pixel", "no image"),)),
    Case("claims what no memory holds", nm(_huge), ("limit",)),
    Case("no pixel spacing", nm(_drop("PixelSpacing")), ("spacing",)),
    Case("oblong pixels", nm(_set(PixelSpacing=["6.4", "4.8"])), (("square", "6.4 x 4.8"),)),
    Case("spacing of zero", nm(_set(PixelSpacing=["0", "0"])), ("spacing",)),
    Case("wrong modality", nm(_set(Modality="CT")), ("modality",)),
    Case("an image type of no acquisition", nm(_set(ImageType=["DERIVED", "SECONDARY", "QUIXOTIC"])), ("type",)),
    Case("empty file", _empty, ("no DICOM",)),
    Case("no DICOM at all", _letter, ("no DICOM",)),
]  # fmt: skip


def damaged(content: bytes, kind: int, rng: np.random.Generator) -> bytes:
    """A file with its header spoilt: 0 some bytes, 1 one bit, 2 a piece lost, 3 a piece put in."""
    found = bytearray(content)
    end = content.index(b"\xe0\x7f\x10\x00")  # where the pixels begin
    at = int(rng.integers(132, end))
    if kind == 0:
        for place in rng.integers(132, end, int(rng.integers(1, 6))):
            found[place] = int(rng.integers(0, 256))
    elif kind == 1:
        found[at] ^= 1 << int(rng.integers(0, 8))
    elif kind == 2:
        del found[at : at + int(rng.integers(1, 40))]
    else:
        found[at:at] = rng.bytes(int(rng.integers(1, 40)))
    return bytes(found)


# --- attenuation maps ---


def private_map(folder: Path) -> Path:
    """A map whose scale is known to a private tag alone, as one maker writes it."""
    data = recon(body(), PIXEL_MM, PERSON, slope=None)
    data.PixelData = np.rint(body() / 1e-5).astype("<u2").T.tobytes()
    data.private_block(0x0033, "PRIVATEER MAPS", create=True).add_new(0x38, "DS", "100000")
    return save(data, folder / "Quixotic mu map.dcm")


def body() -> np.ndarray:
    """(x, y, z) attenuation in 1/cm without symmetry: more on the right, in front and at the head."""
    x, y, z = np.meshgrid(
        np.linspace(-1, 1, NU), np.linspace(-1, 1, NU), np.linspace(-1, 1, NV), indexing="ij"
    )
    inside = (x**2 + y**2) < 0.8
    return np.where(inside, 0.15 + 0.02 * x + 0.015 * y + 0.01 * z, 0.0)


def _ct_numbers() -> Any:
    data = recon(body() + 1, PIXEL_MM, PERSON, slope=1e-3)
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "1", "-1024", "HU"
    return data


MAPS = [
    Case("first slice lowest", lambda folder: save(recon(body(), PIXEL_MM, PERSON), folder / NAME)),
    Case(
        "first slice highest",
        lambda folder: save(recon(body(), PIXEL_MM, PERSON, headwards=False), folder / NAME),
    ),
]
BAD_MAPS = [
    Case("scale in a private tag only", private_map, ("private tags", "no stated unit")),
    Case(
        "CT numbers",
        lambda folder: save(_ct_numbers(), folder / NAME),
        ("HU",),
    ),
]


# --- folders ---


def twice(folder: Path) -> Path:
    """The same instance under two names, as two exports of one scan leave it."""
    nm()(folder)
    return nm(name="copy of Quixotic.dcm")(folder).parent


def mixed(folder: Path) -> Path:
    """A sound acquisition with its map among a truncated one, a CT, a letter and a hidden file."""
    nm()(folder)
    save(recon(body(), PIXEL_MM, PERSON), folder / "maps" / "Quixotic map.dcm")
    broken = save(tomo(plain_shot(), OTHER), folder / "Abernathy" / "Abernathy 19410203.dcm")
    broken.write_bytes(broken.read_bytes()[:-1000])
    ct = tomo(plain_shot(), OTHER, number=5)
    ct.Modality = "CT"
    save(ct, folder / "Abernathy" / "ct of Abernathy.dcm")
    (folder / "notes about Quixotic.txt").write_text("MRN7734211 was here")
    (folder / ".hidden Quixotic").write_text("MRN7734211")
    return folder


def rest_and_stress(folder: Path, *, frames: bool = True) -> Path:
    """Both scans of a day and their maps, thrown together in one folder of one study.

    The maps differ by a factor: 1 for stress, 1.1 for rest. frames : whether frames of reference tell them apart.
    """
    for n, what in enumerate(("stress", "rest")):
        scan = tomo(plain_shot(seed=n), PERSON, number=1 + 2 * n)
        umap = recon(body() * (1 + 0.1 * n), PIXEL_MM, PERSON, number=2 + 2 * n)
        for data, kind in ((scan, "MPI"), (umap, "AC map")):
            data.SeriesDescription = f"{kind} {what} Quixotic"
            data.SeriesTime = data.AcquisitionTime = f"1{n}0000"
            data.FrameOfReferenceUID = f"{PERSON.root}.3.{n if frames else 0}"
            save(data, folder / f"Quixotic {number_of(data):02d}.dcm")
    return folder


def number_of(data: Any) -> int:
    """A number for a file's name that tells nothing: maps come before their acquisitions."""
    return 7 * int(data.SeriesNumber) % 10


# --- Interfile ---


def interfile(
    folder: Path,
    *,
    order: str = "LITTLEENDIAN",
    stored: str = "<f4",
    data_name: str = "quixotic_tot_w1.a00",
    keep: float = 1.0,
    more: bytes = b"",
    drop: str = "",
    **keys: Any,
) -> Path:
    """Header and data as a simulator writes them: [projection][row][column] floats. keys : replace header values."""
    shot = plain_shot()
    frames = np.stack([shot.frame(0, 0, i) for i in range(VIEWS)]).astype(stored)
    lines = {
        "!INTERFILE": "",
        "!imaging modality": "nucmed",
        "!originating system": "simind",
        "!version of keys": "3.3",
        "!data offset in bytes": "0",
        "!name of data file": data_name,
        "patient name": "Quixotic Zebulon",
        "!study ID": "MRN7734211",
        ";# Radionuclide": "tc99m",
        "!type of data": "tomographic",
        "study date": "2019:02:03",
        "imagedata byte order": order,
        ";energy window lower level": "126.45",
        ";energy window upper level": "154.55",
        "!total number of images": str(VIEWS),
        "!matrix size [1]": str(NU),
        "!matrix size [2]": str(NV),
        "!number format": "short float",
        "!number of bytes per pixel": "4",
        "scaling factor (mm/pixel) [1]": str(PIXEL_MM),
        "scaling factor (mm/pixel) [2]": str(PIXEL_MM),
        "!extent of rotation": "180",
        "!number of projections": str(VIEWS),
        "!time per projection (sec)": "1.000",
        "orbit": "circular",
        ";#Radius": "21.5",
        "!direction of rotation": "CCW",
        "start angle": "0.000",
        ";# Collimator": "sy-lehr",
    }
    for key, value in keys.items():
        matched = [line for line in lines if key.replace("_", " ") in line]
        assert matched, key
        for line in matched:
            lines[line] = str(value)
    if drop:
        assert [lines.pop(line) for line in list(lines) if drop in line]
    folder.mkdir(parents=True, exist_ok=True)
    content = frames.tobytes() + more
    (folder / Path(data_name).name).write_bytes(content[: int(len(content) * keep)])
    header = folder / "quixotic_tot_w1.h00"
    text = "\r\n".join(f"{key} := {value}" for key, value in lines.items())
    header.write_text(text + "\r\n!END OF INTERFILE := \r\n", newline="")
    return header


def _interfile(name: str, *expect: str | tuple[str, ...], **options: Any) -> Case:
    return Case(name, lambda folder: interfile(folder, **options), expect, "interfile")


def _not_counts(value: float) -> bytes:
    return struct.pack("<f", value)


def _spoiled(value: float) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        header = interfile(folder)
        data = header.with_suffix(".a00")
        content = data.read_bytes()
        data.write_bytes(content[:400] + _not_counts(value) + content[404:])
        return header

    return build


def _gone(folder: Path) -> Path:
    header = interfile(folder)
    header.with_suffix(".a00").unlink()
    return header


def _elsewhere(folder: Path) -> Path:
    """The header points out of its folder, at a file that is there."""
    header = interfile(folder / "inside", data_name="quixotic.a00")
    (folder / "inside" / "quixotic.a00").rename(folder / "quixotic.a00")
    header.write_text(header.read_text().replace(":= quixotic.a00", ":= ../quixotic.a00"))
    return header


BAD_INTERFILE = [
    _interfile("wrong byte order", ("byte order", "endian"), stored=">f4"),
    _interfile("wrong byte order, the other way", ("byte order", "endian"), order="BIGENDIAN"),
    _interfile("truncated data", ("truncated", "shorter", "bytes"), keep=0.6),
    _interfile("empty data", ("truncated", "empty", "bytes"), keep=0.0),
    _interfile("header of fewer projections", "bytes", total_number_of_images=10, number_of_projections=10),
    _interfile("header of another matrix", "bytes", matrix_size_=20),
    _interfile("more data than the header accounts for", "bytes", more=bytes(3000)),
    _interfile("a matrix that no memory holds", "can be read", matrix_size_=2_000_000_000),
    Case("no such data file", _gone, (("no such", "missing", "not there", "not found"),), "interfile"),
    Case("data file elsewhere", _elsewhere, ("not there",), "interfile"),
    _interfile("no matrix size", "matrix size", drop="matrix size"),
    _interfile("no number format", "number format", drop="number format"),
    _interfile("unheard-of number format", "number format", number_format="roman numerals"),
    _interfile("matrix of minus four", "matrix size", matrix_size_=-4),
    Case("not a number among the counts", _spoiled(float("nan")), ("NaN",), "interfile"),
    Case("negative counts", _spoiled(-7.0), ("negative",), "interfile"),
]  # fmt: skip
