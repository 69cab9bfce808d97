"""Bad input of every kind we know, generated when a test needs it, with the messages it must lead to.

    for case in CASES:
        path = case.build(folder)      # a file (kind 'nifti') or a folder (kinds 'bids' and 'dicom')

`dataset_with(case, folder)` puts the file of a 'nifti' case into a BIDS dataset beside sound subjects, to
see that the others are carried on. Nothing binary is kept in the repository.
"""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from senmei.core.volume import Volume
from senmei.io.nifti import write_volume

SHAPE = (16, 18, 12)
AFFINE = np.array([[2.0, 0, 0, -16], [0, 2.0, 0, -18], [0, 0, 2.5, -12], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Case:
    """One bad input.

    kind : 'nifti' (build gives a file), 'bids' or 'dicom' (build gives a folder).
    expect : fragments, all of which the error (or, for a folder, one status row) must hold; () if it is to
        be accepted.
    carried : images that must come through in spite of it. -1: the whole input is refused with a DataError.
    """

    name: str
    build: Callable[[Path], Path]
    kind: str
    expect: tuple[str, ...]
    carried: int = -1


# --- sound material ---


def brain(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Volume:
    """A smooth bright ball with texture: float32, 0 to about 120."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:3]), indexing="ij")
    ball = 100 * np.clip(1.2 - sum(g**2 for g in grid), 0, None)
    ball = ball.reshape(ball.shape + (1,) * (len(shape) - 3))
    return Volume((ball + rng.random(shape)).astype(np.float32), AFFINE.copy())


def write_subject(root: Path, name: str, *, seed: int = 0, session: str = "", suffix: str = "T1w") -> Path:
    """One sound image of a subject in a BIDS dataset at `root`."""
    parts = [f"sub-{name}"] + ([f"ses-{session}"] if session else [])
    path = root.joinpath(*parts, "anat", "_".join([*parts, suffix]) + ".nii.gz")
    write_volume(path, brain(seed))
    return path


def write_dataset(root: Path, names: tuple[str, ...] = ("01", "02")) -> Path:
    """A sound BIDS dataset."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "corpus", "BIDSVersion": "1.10.0"}\n')
    for seed, name in enumerate(names):
        write_subject(root, name, seed=seed)
    return root


def dataset_with(case: Case, folder: Path, names: tuple[str, ...] = ("01", "02")) -> Path:
    """A BIDS dataset of sound subjects and one, 'bad', whose only image is the file of a 'nifti' case."""
    source = case.build(folder / "made")
    root = write_dataset(folder / "dataset", names)
    extension = ".nii.gz" if source.name.endswith(".gz") else ".nii"
    place = root / "sub-bad" / "anat" / f"sub-bad_T1w{extension}"
    place.parent.mkdir(parents=True)
    shutil.move(source, place)
    return root


def write_series(
    folder: Path,
    *,
    number: int = 1,
    description: str = "T1 MPRAGE",
    modality: str = "MR",
    slices: int = 8,
    size: tuple[int, int] = (24, 20),
    without: tuple[int, ...] = (),
    odd: tuple[int, ...] = (),
    patient: str = "Doe^Jane",
    patient_id: str = "P1",
    study: int = 1,
    **tags: Any,
) -> list[Path]:
    """A synthetic DICOM series of axial slices. without : numbers left out. odd : numbers of another size."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    folder.mkdir(parents=True, exist_ok=True)
    kind = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}[modality]
    paths = []
    for index in range(slices):
        if index in without:
            continue
        rows, columns = (size[0] + 2, size[1]) if index in odd else size
        uid = f"1.2.826.0.1.3680043.10.543.{study}.{number}.{index + 1}"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, uid
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        path = folder / f"s{number}_{index:03d}.dcm"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID, data.Modality = kind, uid, modality
        data.StudyInstanceUID = f"1.2.826.0.1.3680043.10.543.{study}"
        data.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.543.{study}.{number}"
        data.FrameOfReferenceUID = f"1.2.826.0.1.3680043.10.543.{study}.0"
        data.PatientName, data.PatientID = patient, patient_id
        data.StudyDate = data.SeriesDate = "20200102"
        data.StudyTime, data.Manufacturer, data.PatientPosition = "101112", "SIEMENS", "HFS"
        data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = description, number, index + 1
        data.ImageType, data.MRAcquisitionType = ["ORIGINAL", "PRIMARY", "M"], "3D"
        data.ScanningSequence, data.RepetitionTime, data.EchoTime, data.FlipAngle = "GR", "2300", "2.9", "9"
        data.ImagePositionPatient = [-20.0, -24.0, 3.0 * index - 10]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.SpacingBetweenSlices = [2.0, 2.0], "3", "3"
        data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        ramp = np.add.outer(np.arange(rows) * 20, np.arange(columns) * 7) + 10 * index
        data.PixelData = ramp.astype("<u2").tobytes()
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


# --- NIfTI ---


def _sound(folder: Path, name: str = "image.nii.gz", **options: Any) -> Path:
    path = folder / name
    write_volume(path, brain(**options))
    return path


def _edited(change: Callable[[bytearray], object], name: str = "image.nii.gz") -> Callable[[Path], Path]:
    """A sound file of which the bytes on disk are changed."""

    def build(folder: Path) -> Path:
        path = _sound(folder, name)
        content = bytearray(path.read_bytes())
        changed = change(content)
        path.write_bytes(bytes(changed if isinstance(changed, (bytes, bytearray)) else content))
        return path

    return build


def _inner(change: Callable[[bytearray], object], packed: bool = True) -> Callable[[Path], Path]:
    """A sound file of which the header or voxels are changed, and compressed anew."""

    def build(folder: Path) -> Path:
        content = bytearray(_sound(folder, "image.nii").read_bytes())
        change(content)
        path = folder / ("image.nii.gz" if packed else "image.nii")
        path.write_bytes(gzip.compress(bytes(content), 1, mtime=0) if packed else bytes(content))
        return path

    return build


def _set(offset: int, layout: str, *values: Any) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        struct.pack_into("<" + layout, content, offset, *values)

    return change


def _all(*changes: Callable[[bytearray], object]) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        for one in changes:
            one(content)

    return change


def _voxels(*values: float) -> Callable[[bytearray], None]:
    return _set(352 + 4 * 700, f"{len(values)}f", *values)


def _flip(at: float, bit: int = 3) -> Callable[[bytearray], None]:
    """Flip one bit at a fraction of the file's length."""

    def change(content: bytearray) -> None:
        content[int(at * len(content))] ^= 1 << bit

    return change


def _huge(folder: Path) -> Path:
    """NIfTI-2, which can claim 10^5 voxels a side; NIfTI-1 stops at 32,767."""
    header = nibabel.Nifti2Header()
    header.set_data_shape((100_000, 100_000, 100_000))
    header.set_data_dtype(np.int16)
    header.set_sform(AFFINE, 1)
    header["vox_offset"] = 544
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "image.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4 + 4096), 1, mtime=0))
    return path


def _bomb(folder: Path) -> Path:
    """A small sound image, and then 256 MiB of zeros that compress to 256 kB."""
    content = _sound(folder, "image.nii").read_bytes()
    path = folder / "image.nii.gz"
    with gzip.GzipFile(path, "wb", 9, mtime=0) as packed:
        packed.write(content)
        for _ in range(256):
            packed.write(bytes(1 << 20))
    return path


def _constant(folder: Path) -> Path:
    path = folder / "image.nii.gz"
    write_volume(path, Volume(np.full(SHAPE, 7, np.float32), AFFINE))
    return path


def _four(folder: Path) -> Path:
    return _sound(folder, shape=(*SHAPE, 5))


def _sform(*rows: tuple[float, ...]) -> Callable[[bytearray], None]:
    return _all(_set(252, "hh", 0, 1), *(_set(280 + 16 * i, "4f", *row) for i, row in enumerate(rows)))


def _text(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "image.nii"
    path.write_text("this is a letter, not an image\n" * 40)
    return path


_NAN = float("nan")
_X, _Y, _Z = (2.0, 0.0, 0.0, -16.0), (0.0, 2.0, 0.0, -18.0), (0.0, 0.0, 2.5, -12.0)

NIFTI = [
    Case(
        "truncated nii",
        _edited(lambda c: c[: len(c) // 2], "image.nii"),
        "nifti",
        ("truncated", "copy the file"),
    ),
    Case("truncated nii.gz", _edited(lambda c: c[: len(c) // 2]), "nifti", ("truncated", "copy the file")),
    Case("truncated in the gzip trailer", _edited(lambda c: c[:-4]), "nifti", ("truncated",)),
    Case("cut off within the header", _edited(lambda c: c[:200], "image.nii"), "nifti", ("truncated", "348")),
    Case("empty file", _edited(lambda c: b"", "image.nii.gz"), "nifti", ("empty", "0 bytes")),
    Case("bit flipped in nii.gz", _edited(_flip(0.5)), "nifti", ("damaged", "gzip")),
    Case(
        "bit flipped in the gzip CRC",
        _edited(lambda c: _flip((len(c) - 6) / len(c))(c)),
        "nifti",
        ("damaged", "CRC"),
    ),
    Case(
        "bit flipped in the header size",
        _edited(_set(0, "i", 348 ^ 8), "image.nii"),
        "nifti",
        ("not a NIfTI",),
    ),
    Case(
        "bit flipped in the dimensions", _inner(_set(40, "h", 3 ^ 0x40)), "nifti", ("impossible dimensions",)
    ),
    Case(
        "bit flipped in the voxel type",
        _inner(_set(70, "h", 16 ^ 0x200)),
        "nifti",
        ("unsupported voxel type", "528"),
    ),
    Case("bit flipped in the voxel size", _inner(_set(72, "h", 32 ^ 16)), "nifti", ("bits a voxel",)),
    Case("bit flipped in the offset", _inner(_set(108, "f", -352.0)), "nifti", ("would start at byte -352",)),
    Case("bit flipped in a voxel", _inner(_voxels(3e30), False), "nifti", ("1 of 3456 voxels", "beyond")),
    Case(
        "header of another file",
        _edited(lambda c: c + bytes(200_000), "image.nii"),
        "nifti",
        ("accounts for",),
    ),
    Case(
        "NaN and Inf",
        _inner(_voxels(_NAN, float("inf"), -float("inf"))),
        "nifti",
        ("3 of 3456 voxels", "NaN"),
    ),
    Case("4D for 3D", _four, "nifti", ("4D", "5 volumes", "frames: first | mean | repeats")),
    Case("2D for 3D", _inner(_set(40, "hhhh", 2, 16, 18, 1)), "nifti", ("2D", "3D")),
    Case("singular affine", _inner(_sform(_X, _X, _Z)), "nifti", ("affine", "singular")),
    Case("affine of zeros", _inner(_sform(*[(0.0,) * 4] * 3)), "nifti", ("affine", "singular")),
    Case("affine with NaN", _inner(_sform(_X, (0.0, _NAN, 0.0, 0.0), _Z)), "nifti", ("affine", "NaN")),
    Case(
        "impossible quaternion",
        _inner(_all(_set(252, "hh", 1, 0), _set(256, "3f", 2, 2, 2))),
        "nifti",
        ("affine",),
    ),
    Case("100,000 voxels a side", _huge, "nifti", ("100000 x 100000 x 100000", "limit")),
    Case("gzip bomb", _bomb, "nifti", ("inflates past", "gzip bomb")),
    Case(
        "claims more than it can inflate to",
        _inner(_set(42, "3h", 500, 500, 500)),
        "nifti",
        ("truncated", "cannot hold"),
    ),
    Case("constant image", _constant, "nifti", ("constant", "every voxel is 7")),
    Case("not NIfTI at all", _text, "nifti", ("not a NIfTI file",)),
    Case("half of a pair", _inner(_set(344, "4s", b"ni1\0"), False), "nifti", (".hdr", "one .nii.gz")),
    Case("complex voxels", _inner(_set(70, "hh", 32, 64)), "nifti", ("unsupported voxel type", "complex64")),
    Case("colour voxels", _inner(_set(70, "hh", 128, 24)), "nifti", ("unsupported voxel type", "RGB")),
    Case(
        "metres for millimetres",
        _inner(_sform((0.002, 0, 0, 0), (0, 0.002, 0, 0), (0, 0, 0.002, 0))),
        "nifti",
        ("0.002 x 0.002 x 0.002", "unit"),
    ),
    Case("millimetres called metres", _inner(_set(123, "b", 1)), "nifti", ("2000 x 2000 x 2500", "metre")),
    Case("infinite scale", _inner(_set(112, "f", float("inf"))), "nifti", ("intensity scale",)),
]


# --- BIDS ---


def _dataset(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        root = write_dataset(folder / "dataset")
        change(root)
        return root

    return build


def _duplicate(root: Path) -> None:
    path = write_subject(root, "03")
    path.with_name("sub-03_T1w.nii").write_bytes(gzip.decompress(path.read_bytes()))


def _link_out(root: Path) -> None:
    outside = write_subject(root.parent / "elsewhere", "03")
    inside = root / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
    inside.parent.mkdir(parents=True)
    inside.symlink_to(outside)


def _folder_link_out(root: Path) -> None:
    write_subject(root.parent / "elsewhere", "03")
    (root / "sub-03").symlink_to(root.parent / "elsewhere" / "sub-03")


def _dangling(root: Path) -> None:
    place = root / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
    place.parent.mkdir(parents=True)
    place.symlink_to("../../.git/annex/objects/missing")


def _pipe(root: Path) -> None:
    import os

    place = root / "sub-03" / "anat"
    place.mkdir(parents=True)
    os.mkfifo(place / "sub-03_T1w.nii.gz")


def _table(*lines: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "participants.tsv").write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    return change


def _misfiled(root: Path) -> None:
    path = write_subject(root, "03")
    path.rename(path.with_name("sub-04_T1w.nii.gz"))


HOSTILE_NAMES = ("a b", "..", "'q'", '"q"', "Zoë", "研究", "<script>", "$(touch x)", "-rf", "a;b", "")

BIDS = [
    Case("empty subject", _dataset(lambda r: (r / "sub-03").mkdir()), "bids", ("no T1w found",), 2),
    Case(
        "duplicate images",
        _dataset(_duplicate),
        "bids",
        ("duplicate", "sub-03_T1w.nii and sub-03_T1w.nii.gz"),
        2,
    ),
    Case("image linked from elsewhere", _dataset(_link_out), "bids", ("refused", "leaves the dataset"), 2),
    Case(
        "subject linked from elsewhere",
        _dataset(_folder_link_out),
        "bids",
        ("refused", "leaves the dataset"),
        2,
    ),
    Case("link to nothing", _dataset(_dangling), "bids", ("link to nothing", "datalad get"), 2),
    Case("a pipe for an image", _dataset(_pipe), "bids", ("not a file",), 2),
    Case("image of another subject", _dataset(_misfiled), "bids", ("names another subject",), 2),
    Case(
        "participant without data",
        _dataset(_table("participant_id\tage", "sub-01\t30", "sub-02\t31", "sub-09\t32")),
        "bids",
        ("no folder",),
        2,
    ),
    Case(
        "participant of an escaping name",
        _dataset(_table("participant_id\tage", "sub-01\t30", "sub-../../etc\t31")),
        "bids",
        ("no folder",),
        2,
    ),
    Case(
        "participant listed twice",
        _dataset(_table("participant_id\tage", "sub-01\t30", "sub-01\t60", "sub-02\t31")),
        "bids",
        ("lists it twice",),
        1,
    ),
    Case(
        "participants without ids", _dataset(_table("name\tage", "x\t30")), "bids", ("participant_id", "name")
    ),
    Case(
        "ragged participants.tsv",
        _dataset(_table("participant_id\tage", "sub-01")),
        "bids",
        ("participants.tsv",),
    ),
    Case(
        "hostile subject names",
        _dataset(lambda r: [write_subject(r, name, seed=9) for name in HOSTILE_NAMES]),
        "bids",
        (),
        2 + len(HOSTILE_NAMES),
    ),
    Case(
        "another suffix",
        _dataset(lambda r: _only(r, "T2w")),
        "bids",
        ("No T1w image", "T2w (1)", "did you mean 'T2w'"),
    ),
    Case("no subjects", lambda f: _made(f / "nothing"), "bids", ("no folder named sub-*",)),
    Case("no such folder", lambda f: f / "absent", "bids", ("no such folder",)),
]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _only(root: Path, suffix: str) -> None:
    for folder in root.glob("sub-*"):
        shutil.rmtree(folder)
    write_subject(root, "01", suffix=suffix)


# --- DICOM ---


def _mixed(folder: Path) -> Path:
    """Two good MR series, a CT, and files that are no DICOM, all in one folder."""
    root = folder / "dicom"
    write_series(root, number=1, description="T1 MPRAGE")
    write_series(root, number=2, description="T1 MPRAGE repeat")
    write_series(root, number=3, description="CT head", modality="CT")
    (root / "notes.txt").write_text("seen by Dr. Who\n")
    (root / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 60)
    return root


def _beside(**options: Any) -> Callable[[Path], Path]:
    """A good series, and another with a fault."""

    def build(folder: Path) -> Path:
        root = folder / "dicom"
        write_series(root / "a", number=1)
        write_series(root / "b", number=2, **options)
        return root

    return build


def _cut(folder: Path) -> Path:
    root = _beside()(folder)
    path = sorted((root / "b").iterdir())[2]
    path.write_bytes(path.read_bytes()[:-200])
    return root


def _no_images(folder: Path) -> Path:
    root = _made(folder / "dicom")
    (root / "readme.txt").write_text("nothing here\n")
    return root


DICOM = [
    Case("mixed series", _mixed, "dicom", ("modality CT", "MR is wanted"), 2),
    Case("missing slice", _beside(without=(3,)), "dicom", ("a slice is missing", "gap"), 1),
    Case("missing slices", _beside(without=(3, 4)), "dicom", ("2 slices are missing",), 1),
    Case(
        "missing last slice",
        _beside(without=(7,), ImagesInAcquisition=8),
        "dicom",
        ("7 positions", "counted 8"),
        1,
    ),
    Case("images of different sizes", _beside(odd=(2,)), "dicom", ("different sizes",), 1),
    Case("a single slice", _beside(slices=1), "dicom", ("single slice",), 1),
    Case("truncated DICOM file", _cut, "dicom", ("truncated",), 1),
    Case("only the wrong modality", lambda f: _ct(f), "dicom", ("No usable MR series", "modality CT")),
    Case("nothing but text", _no_images, "dicom", ("No usable MR series", "not DICOM")),
    Case("no such DICOM folder", lambda f: f / "absent", "dicom", ("no such folder",)),
]


def _ct(folder: Path) -> Path:
    write_series(folder / "dicom", modality="CT", description="CT head")
    return folder / "dicom"


CASES = [*NIFTI, *BIDS, *DICOM]
