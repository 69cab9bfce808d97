"""Interfile 3.3 in and out. Files come from a writer of the tests' own, which knows nothing of Senmei's."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import DataError, StorageError
from senmei.core.volume import Volume
from senmei.io import interfile_data
from senmei.io.interfile import (
    CONVENTIONS,
    Convention,
    parse_header,
    read_data,
    read_header,
    read_interfile,
    write_interfile,
)
from senmei.io.projections import EnergyWindow, PlanarImage, Projections
from senmei.physics.spect.geometry import Acquisition

VIEWS, ROWS, COLUMNS = 12, 6, 8
PIXEL = 5.0


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(20, shape)


def tomo(**keys: Any) -> dict[str, Any]:
    """Keys of a plain acquisition; None leaves one out."""
    base = {
        "!INTERFILE": "",
        "!imaging modality": "nucmed",
        "!version of keys": "3.3",
        "!GENERAL DATA": "",
        "patient name": "Quixotic^Zebulon",
        "!patient ID": "7734211",
        "study date": "1999:12:31",
        "!study ID": "Quixotic",
        "original institution": "St. Elsewhere",
        "!name of data file": "image.img",
        "!GENERAL IMAGE DATA": "",
        "!type of data": "Tomographic",
        "imagedata byte order": "LITTLEENDIAN",
        "energy window [1]": "Tc99m Quixotic",
        "energy window lower level [1]": "126",
        "energy window upper level [1]": "154",
        "!SPECT STUDY (general)": "",
        "!process status": "Acquired",
        "!matrix size [1]": COLUMNS,
        "!matrix size [2]": ROWS,
        "!number format": "unsigned integer",
        "!number of bytes per pixel": 2,
        "scaling factor (mm/pixel) [1]": PIXEL,
        "scaling factor (mm/pixel) [2]": PIXEL,
        "!number of projections": VIEWS,
        "!extent of rotation": 360,
        "!time per projection (sec)": 20,
        "!direction of rotation": "CW",
        "start angle": 0,
        "Radius": 150,
    }
    names = {"".join(k.lower().strip("!").split()): k for k in base}
    for key, value in keys.items():
        base[names.get("".join(key.lower().split()), key)] = value
    return base


def put(
    folder: Path, keys: dict[str, Any] | str, data: np.ndarray | bytes = b"", *, end: str = "\r\n"
) -> Path:
    """Header and data."""
    folder.mkdir(exist_ok=True)
    path = folder / "image.hdr"
    if isinstance(keys, dict):
        lines = [f"{k} := {v}".rstrip() for k, v in keys.items() if v is not None]
        keys = end.join([*lines, "!END OF INTERFILE :="]) + end
    path.write_bytes(keys.encode("latin-1"))
    if isinstance(data, np.ndarray):
        data = data.tobytes()
    (folder / "image.img").write_bytes(data)
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_interfile(path, where="sub-001", **options)
    text = str(caught.value)
    assert caught.value.where == "sub-001" and caught.value.fix
    for secret in ("uixotic", "7734211", "1999", "Elsewhere", str(path.parent), "image.img", "image.hdr"):
        assert secret not in text
    return caught.value.why


# --- headers ---


def test_headers_as_cameras_write_them() -> None:
    header = parse_header(
        "  \n!INTERFILE :=\r\n!Matrix_Size[1] : = 64\r;#Radius := 15.000 \n"
        ";energy window lower level := 126.5\nRADII := { 150,151.5 , 152}\nstart angle := 1 ; degrees\n"
        "start angle := 2\n!maximum pixel count := 1.25D+02\n%direction of rotation:=ccw\nflood corrected := N\n"
        "a line without sign\n:= 5\n!END OF INTERFILE :=\nstart angle := 3\n"
    )
    assert header.integer("!matrix size [1]") == 64 == header.number("MATRIX SIZE[1]")
    assert header.number("radius") is None and header.number("radius", comments=True) == 15
    assert header.text("energy window lower level", comments=True) == "126.5"
    assert header.numbers("radii") == (150, 151.5, 152)
    assert header.numbers("start angle") == (1, 2) and header.number("start angle") == 1
    assert header.number("maximum pixel count") == 125
    assert header.text("none", "direction of rotation") == "ccw" and header.text("none") == ""


def test_a_key_in_a_comment_gives_way_to_a_live_one() -> None:
    header = parse_header("!INTERFILE :=\n; radius := {150, 151, ....}\nradius := 150\n")
    assert header.numbers("radius", comments=True) == (150,)


def test_nothing_of_a_person_is_kept() -> None:
    lines = [
        "patient name := Quixotic", "!patient ID := 7734211", "patient dob := 19550101", "patient weight := 777",
        "!study ID := 7734211", "study date := 19991231", "study time := 7777", "exam type := Quixotic heart",
        "data description := Quixotic", "contact person := 7734211", "original institution := Elsewhere",
        "Referring doctor := Quixotic", "unheard of := Quixotic", "accession number := 7734211", "name := 7734211",
        ";# patient := 7734211", "NUD/Patient Weight [kg] := 77", "start time := 7777", "study := 1999:12:31",
    ]  # fmt: skip
    header = parse_header("\n".join(["!INTERFILE :=", *lines]))
    kept = repr(header.live) + repr(header.comments)
    for secret in ("uixotic", "77", "1955", "1999", "Elsewhere"):
        assert secret not in kept


@pytest.mark.parametrize(
    "text",
    ["", "PATIENT NAME := x\n!INTERFILE :=\n", "\x00\x01\x02", "INTERFILES :=\n", ":=\n", "!INTERFILE\n"],
)
def test_texts_that_are_no_header(text: str) -> None:
    with pytest.raises(DataError, match="Cannot use this Interfile") as caught:
        parse_header(text, where="sub-001")
    assert "does not begin" in caught.value.why and caught.value.where == "sub-001"


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "one", "--1", "0x10", "."])
def test_numbers_that_are_none(text: str) -> None:
    header = parse_header(f"!INTERFILE :=\nenergy window := {text}\n")
    with pytest.raises(DataError) as caught:
        header.number("energy window")
    assert "'energy window' is no number" in caught.value.why


def test_a_header_costs_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for filler in (b" ", b"!", b":", b": ", b"end ", b"end of ", b"{1,", b"_\t", b"= :", b";"):
        path.write_bytes(b"!INTERFILE :=\n" + filler * ((1 << 20) // len(filler)))
        read_header(path)


# --- orientation: a point source seen by hand ---


def place(pixels: tuple[float, float, float], angle: float, clockwise: bool) -> tuple[int, int]:
    """(row, column) of a source at (right, anterior, head) pixels from the centre, seen head up from the detector.

    angle : of the detector from anterior; clockwise : as one sees who looks from the patient's feet, for whom the
    patient's left lies to the right.
    """
    turned = np.radians(angle if clockwise else -angle)
    right, anterior, head = np.eye(3)
    stands = np.cos(turned) * anterior - np.sin(turned) * right
    to_the_right = np.cross(-stands, head)  # of one who looks at the patient
    column = (COLUMNS - 1) / 2 + to_the_right @ pixels
    row = (ROWS - 1) / 2 - head @ pixels
    return round(row), round(column)


SOURCE = (2.5, 1.5, 1.5)  # right, in front, towards the head


@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize(
    ("name", "start_of"),
    [
        ("interfile", lambda a, cw: a),
        ("simind", lambda a, cw: -a),
        ("stir", lambda a, cw: (180 - a if cw else 180 + a) % 360),
    ],
)
@pytest.mark.parametrize("start", [0, 90, 315])
def test_a_source_is_where_senmeis_projector_sees_it(
    tmp_path: Path, clockwise: bool, name: str, start_of: Any, start: float
) -> None:
    data = np.zeros((VIEWS, ROWS, COLUMNS), "<u2")
    for view in range(VIEWS):
        data[view][place(SOURCE, start + 30 * view, clockwise)] = 7
    keys = tomo(
        **{"start angle": start_of(start, clockwise), "direction of rotation": "CW" if clockwise else "CCW"}
    )
    found = read_interfile(put(tmp_path, keys, data), convention=name)
    assert isinstance(found, Projections)
    assert found.angles_deg == pytest.approx([(start + 30 * k) % 360 for k in range(VIEWS)])
    camera = Acquisition((8, 8, 6), PIXEL, found.angles_deg, found.radius_mm, found.direction)
    for view in range(VIEWS):
        _, along = camera.detector(view)
        u, v = np.argwhere(found.counts[0, 0, :, :, view] == 7)[0]
        assert u == round((COLUMNS - 1) / 2 + along @ np.array(SOURCE)) and v == round(
            (ROWS - 1) / 2 + SOURCE[2]
        )


def test_other_conventions_turn_round_what_they_say(tmp_path: Path) -> None:
    path = put(tmp_path, tomo(), noise(VIEWS, ROWS, COLUMNS).astype("<u2"))
    plain = read_interfile(path)
    odd = read_interfile(path, convention=Convention(rows="feet", columns="mirrored", seen_from="head"))
    assert np.array_equal(odd.counts, plain.counts[:, :, ::-1, ::-1]) and odd.direction != plain.direction
    assert set(CONVENTIONS) == {"interfile", "simind", "stir"}


def test_a_volume_lies_as_the_patient_does(tmp_path: Path) -> None:
    data = np.zeros((5, ROWS, COLUMNS), "<f4")
    data[0, 1, 2] = 3.0  # head, near the front, towards the patient's right
    keys = tomo(
        **{"process status": "Reconstructed", "number of projections": None, "number format": "short float",
           "number of bytes per pixel": 4, "number of slices": 5, "slice thickness (pixels)": 2}
    )  # fmt: skip
    found = read_interfile(put(tmp_path, keys, data))
    assert isinstance(found, Volume) and found.data.dtype == np.float32
    assert found.voxel == pytest.approx((5, 5, 10)) and found.shape == (COLUMNS, ROWS, 5)
    x, y, z = found.affine[:3] @ np.append(np.argwhere(found.data == 3)[0], 1)
    assert (x, y, z) == pytest.approx((7.5, 7.5, 20)), "right, anterior and head are positive"


# --- how values are stored ---

STORED = [
    ("unsigned integer", 1, "u1"), ("unsigned integer", 2, "u2"), ("unsigned integer", 4, "u4"),
    ("signed integer", 1, "i1"), ("signed integer", 2, "i2"), ("signed integer", 4, "i4"),
    ("short float", 4, "f4"), ("float", 4, "f4"), ("float", 8, "f8"), ("long float", 8, "f8"),
]  # fmt: skip


@pytest.mark.parametrize("order", ["LITTLEENDIAN", "bigendian", None])
@pytest.mark.parametrize(("name", "size", "kind"), STORED)
def test_types_and_byte_orders(tmp_path: Path, name: str, size: int, kind: str, order: str | None) -> None:
    values = noise(VIEWS, ROWS, COLUMNS)
    keys = tomo(**{"number format": name, "number of bytes per pixel": size, "imagedata byte order": order})
    found = read_interfile(
        put(tmp_path, keys, values.astype(("<" if order == "LITTLEENDIAN" else ">") + kind))
    )
    assert found.counts.dtype == (np.float32 if kind[0] == "f" else np.int32)
    assert np.array_equal(found.counts[0, 0], values.transpose(2, 1, 0)[::-1, ::-1])


def test_data_behind_an_offset_a_block_or_the_header(tmp_path: Path) -> None:
    values = noise(VIEWS, ROWS, COLUMNS).astype("<u2")
    expected = values.transpose(2, 1, 0)[::-1, ::-1]
    for key, offset, value in (
        ("!data offset in bytes", 100, 100), ("!data starting block", 4096, 2), ("data offset in bytes [1]", 7, 7),
    ):  # fmt: skip
        path = put(tmp_path, {**tomo(), key: value}, bytes(offset) + values.tobytes())
        assert np.array_equal(read_interfile(path).counts[0, 0], expected)
    keys = {**tomo(**{"name of data file": "image.hdr"}), "!data offset in bytes": 2048}
    path = put(tmp_path, keys)
    path.write_bytes(path.read_bytes().ljust(2048, b"\x1a") + values.tobytes())
    assert np.array_equal(read_interfile(path).counts[0, 0], expected)
    path.write_bytes(path.read_bytes().replace(b":= 2048", b":= 20"))
    assert "within the header itself" in refused(path)
    both = {**tomo(), "!data offset in bytes": 100, "!data starting block": 2}
    assert "'data starting block' 2 (4096 bytes)" in refused(put(tmp_path, both, values))


def test_several_headers_may_share_a_data_file(tmp_path: Path) -> None:
    values = noise(3, VIEWS, ROWS, COLUMNS).astype("<u2")
    path = put(tmp_path, {**tomo(), "data offset in bytes": values[0].nbytes}, values)
    assert "do not belong together" in refused(path)
    found = read_interfile(path, shared=True)
    assert np.array_equal(found.counts[0, 0], values[1].transpose(2, 1, 0)[::-1, ::-1])


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("mean", [2, 400, 30_000])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_wrong_byte_order_is_found_and_a_right_one_is_not(
    tmp_path: Path, kind: str, mean: int, order: str
) -> None:
    values = np.random.default_rng(1).poisson(mean, (VIEWS, ROWS, COLUMNS))
    name, size = next((n, s) for n, s, k in STORED if k == kind)
    values[:, 2:4, 2:6] *= 1 if mean > 20_000 else 4  # an object
    said = "LITTLEENDIAN" if order == "<" else "BIGENDIAN"
    keys = tomo(**{"number format": name, "number of bytes per pixel": size, "imagedata byte order": said})
    found = read_interfile(put(tmp_path, keys, np.minimum(values, 32767).astype(order + kind)))
    assert found.counts.sum() == np.minimum(values, 32767).sum()
    path = put(tmp_path, keys, np.minimum(values, 32767).astype(order + kind).byteswap())
    why = refused(path)
    assert "endian as told" in why
    if kind[0] != "f":  # whoever knows better has the last word
        told = read_interfile(path, byte_order="big" if order == "<" else "little")
        assert np.array_equal(told.counts, found.counts)


def test_the_largest_count_in_the_header_settles_the_byte_order(tmp_path: Path) -> None:
    values = np.full((VIEWS, ROWS, COLUMNS), 512, "<u2")  # 2 in the other order
    values[0, 0, 0] = 1024
    path = put(tmp_path, tomo(), values)
    assert "multiples of 256" in refused(path)
    assert (
        read_interfile(put(tmp_path, {**tomo(), "!maximum pixel count": 1024}, values)).counts.max() == 1024
    )
    values[0, 0, 0] = 1025
    values[0, 0, 1:4] = 3, 4, 5
    path = put(tmp_path, {**tomo(), "!maximum pixel count": 1025.0}, values.byteswap())
    assert "endian as told" in refused(path)


@pytest.mark.parametrize(
    ("value", "why"),
    [(np.nan, "NaN or infinite"), (-1, "negative"), (1e30, "beyond 1e+12"), (np.inf, "NaN or infinite")],
)
def test_values_that_are_no_counts(tmp_path: Path, value: float, why: str) -> None:
    values = noise(VIEWS, ROWS, COLUMNS).astype("<f4")
    values[-1, -1, -1] = value
    keys = tomo(**{"number format": "short float", "number of bytes per pixel": 4})
    assert why in refused(put(tmp_path, keys, values))


def test_negative_voxels_are_an_image(tmp_path: Path) -> None:
    keys = tomo(**{"process status": "reconstructed", "number of projections": VIEWS, "number of slices": VIEWS,
                   "number format": "signed integer", "scaling factor (mm/pixel) [3]": 4})  # fmt: skip
    values = (noise(VIEWS, ROWS, COLUMNS) - 30).astype("<i2")
    found = read_interfile(put(tmp_path, keys, values))
    assert isinstance(found, Volume) and found.data.min() < 0 and found.voxel == pytest.approx((5, 5, 4))


# --- windows, gates, heads ---


def test_windows_gates_and_heads_in_the_order_of_the_format(tmp_path: Path) -> None:
    windows, gates, heads, views = 2, 3, 2, 4
    values = noise(windows, gates, heads * views, ROWS, COLUMNS)
    block = {
        "!number of images/energy window": gates * heads * views, "!number of projections": views,
        "!extent of rotation": 90, "!direction of rotation": "CCW",
    }  # fmt: skip
    keys = tomo(
        **{"number of projections": None, "extent of rotation": None, "direction of rotation": None,
           "start angle": None, "type of data": "GSPECT", "energy window lower level [1]": "126.45"}
    )  # fmt: skip
    keys |= {
        "number of energy windows": windows, "energy window lower level [2]": "92", "number of time windows": gates,
        "energy window upper level [2]": "125.5", "number of detector heads": heads, "total number of images": 48,
    }  # fmt: skip
    text = "\n".join(f"{k} := {v}" for k, v in keys.items() if v is not None)
    for start in (90, 0):  # the first head begins where the second ends
        text += "\n" + "\n".join(f"{k} := {v}" for k, v in {**block, "start angle": start}.items())
    for nesting, stored in (("GATED", values), ("spect", values.swapaxes(1, 2))):
        more = f"\n!gated SPECT nesting outer level := {nesting}\n!END OF INTERFILE :=\n"
        found = read_interfile(put(tmp_path, text + more, stored.astype("<u2")))
        assert found.counts.shape == (windows, gates, COLUMNS, ROWS, heads * views)
        assert found.angles_deg == pytest.approx([0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5])
        expected = np.concatenate([values[:, :, views:], values[:, :, :views]], axis=2)
        assert np.array_equal(found.counts, expected.transpose(0, 1, 4, 3, 2)[:, :, ::-1, ::-1])
        assert [(w.low_kev, w.high_kev) for w in found.windows] == [(126.45, 154), (92, 125.5)]
        assert found.direction == "cw" and found.facts["heads"] == 2
    assert "nesting outer level" in refused(put(tmp_path, text, values.astype("<u2")))


def test_heads_of_which_the_header_tells_one(tmp_path: Path) -> None:
    keys = {**tomo(), "number of detector heads": 2}
    values = noise(2 * VIEWS, ROWS, COLUMNS).astype("<u2")
    assert read_interfile(put(tmp_path, keys, values[:VIEWS])).views == VIEWS, (
        "one orbit, made by both together"
    )
    path = put(tmp_path, {**keys, "total number of images": 2 * VIEWS}, values)
    assert "2 detector heads and tells one start angle" in refused(path)
    text = path.read_text().replace("!END", "start angle := 180\r\nstart angle := 90\r\n!END")
    assert "2 detector heads do not fit" in refused(put(tmp_path, text, values))


def test_facts_without_identities(tmp_path: Path) -> None:
    keys = {
        **tomo(),
        "isotope": "Tc-99m/MIBI Quixotic",
        ";# Collimator": "sy-lehr",
        "calibration factor": 2.5,
    }
    found = read_interfile(put(tmp_path, keys, noise(VIEWS, ROWS, COLUMNS).astype("<u2")))
    assert (found.nuclide, found.agent, found.collimator) == ("Tc-99m", "sestamibi", "LEHR")
    assert found.duration_s == 20 and found.radius_mm == (150.0,) * VIEWS and found.pixel_mm == PIXEL
    assert found.facts["calibration_factor"] == 2.5 and any("CCW" in text for text in found.facts["assumed"])
    assert "uixotic" not in repr(found)


def test_radii(tmp_path: Path) -> None:
    data = noise(VIEWS, ROWS, COLUMNS).astype("<u2")
    radii = [150.5 + k for k in range(VIEWS)]
    listed = tomo(Radius=None) | {"Radii": "{" + ", ".join(map(str, radii)) + "}"}
    assert read_interfile(put(tmp_path, listed, data)).radius_mm == tuple(radii)
    simind = tomo(Radius=None) | {"!originating system": "simind", ";#Radius": "25.000"}
    found = read_interfile(put(tmp_path, simind, data))
    assert (
        found.radius_mm == (250.0,) * VIEWS and "radius in cm, as SIMIND writes it" in found.facts["assumed"]
    )
    none = put(tmp_path, tomo(Radius=None), data)
    assert "how far the detector is" in refused(none)
    assert read_interfile(none, radius_mm=222).radius_mm == (222.0,) * VIEWS
    assert "2 radii for 12 views" in refused(put(tmp_path, tomo(Radius="150, 151"), data))


SIMIND = """!INTERFILE :=
!imaging modality := nucmed
;# imaging modality 2 := spect
!originating system := simind
!version of keys := 3.3
program author := Quixotic
program version := {version}
!GENERAL DATA :=
!data offset in bytes := 0
!name of data file := image.img
patient name := Quixotic
!study ID := Quixotic
;# Radionuclide := i123
!type of data := tomographic
study date := 1999:12:31
imagedata byte order := LITTLEENDIAN
;energy window lower level := 138.33
;energy window upper level := 179.67
!SPECT STUDY (General) :=
!total number of images := 12
!matrix size [1] := 8
!matrix size [2] := 6
!number format := short float
!number of bytes per pixel := 4
scaling factor (mm/pixel) [1] := 3.296
scaling factor (mm/pixel) [2] := 3.296
!extent of rotation := 360
!number of projections := 12
!time per projection (sec) := 1.000
maximum pixel count := 0.134
;# total counts := 10.003
;# Center of Rotation := 5.000
!SPECT STUDY (acquired data) :=
{orbit}
!direction of rotation := CCW
start angle := 0.000
;# Intrinsic FWHM for the camera := 0.380
;# Collimator := sy-lehr
;# Collimator hole diameter := 0.111
;# SIMIND: Photon Energy := 159.000
!END OF INTERFILE :=
"""


@pytest.mark.parametrize(
    ("version", "orbit", "radius"),
    [
        ("V7.0.3", "orbit := circular\n;#Radius := 15.000", 150),
        ("V8.0", "patient position := FFS\norbit := circular\nRadius := 250.0", 250),
        ("V8.0", "orbit := noncircular\n;# Non-Uniform Orbit File := image.cor", None),
    ],
)
def test_headers_of_simind(tmp_path: Path, version: str, orbit: str, radius: float | None) -> None:
    rates = np.random.default_rng(0).gamma(2, 0.02, (VIEWS, ROWS, COLUMNS)).astype("<f4")
    path = put(tmp_path, SIMIND.format(version=version, orbit=orbit), rates)
    if radius is None:
        assert "how far the detector is" in refused(path)
        return
    found = read_interfile(path)
    assert isinstance(found, Projections) and found.radius_mm == (radius,) * VIEWS
    assert np.array_equal(found.counts[0, 0], rates.transpose(2, 1, 0)[::-1, ::-1])
    assert (found.windows[0].low_kev, found.windows[0].high_kev) == (138.33, 179.67)
    assert (found.nuclide, found.collimator, found.direction) == ("I-123", "LEHR", "cw")
    turned = read_interfile(put(tmp_path, path.read_text().replace("angle := 0.000", "angle := 90.0"), rates))
    assert turned.angles_deg[0] == 270 and turned.direction == "cw"
    assert found.facts["simulated"] and json.loads(json.dumps(found.facts)) == found.facts
    header = read_header(path)
    assert header.text("program version") == version
    assert header.number("collimator hole diameter", comments=True) == 0.111
    assert header.number("SIMIND: Photon Energy", comments=True) == 159


def test_headers_of_stir(tmp_path: Path) -> None:
    data = noise(VIEWS, ROWS, COLUMNS).astype("<f4")
    keys = tomo(
        **{"number format": "float", "number of bytes per pixel": 4, "time per projection (sec)": None,
           "start angle": 180, "energy window lower level [1]": None, "energy window upper level [1]": None,
           "Radius": ",".join(["150"] * VIEWS)}
    )  # fmt: skip
    keys |= {"calibration factor": 1, "isotope name": "^99m^Technetium", "!image duration (sec)[1]": 240,
             "energy window lower level[1]": 126, "energy window upper level[1]": 154,
             "matrix axis label [2]": "axial coordinate"}  # fmt: skip
    found = read_interfile(put(tmp_path, keys, data), convention="stir")
    assert found.angles_deg[0] == 0 and found.direction == "ccw" and found.nuclide == "Tc-99m"
    assert found.duration_s == 0 and found.radius_mm == (150.0,) * VIEWS


def test_windows_that_the_caller_knows(tmp_path: Path) -> None:
    data = noise(VIEWS, ROWS, COLUMNS).astype("<u2")
    path = put(tmp_path, tomo(**{"energy window lower level [1]": None}), data)
    assert "levels of energy window 1" in refused(path)
    mine = EnergyWindow("peak", 126, 154)
    assert read_interfile(path, windows=[mine]).windows == (mine,)
    path = put(tmp_path, tomo(**{"energy window lower level [1]": 160}), data)
    assert "from 160 to 154 keV" in refused(path)


# --- planar ---


def test_static_images(tmp_path: Path) -> None:
    values = noise(2, ROWS, COLUMNS)
    keys = tomo(**{"type of data": "Static", "number of projections": None, "process status": None,
                   "scaling factor (mm/pixel) [2]": 6})  # fmt: skip
    text = (
        "\n".join(f"{k} := {v}" for k, v in keys.items() if v is not None) + "\ntotal number of images := 2\n"
    )
    for number, label in enumerate(("Anterior Quixotic", "POST"), 1):
        text += f"!image number := {number}\n!matrix size [1] := {COLUMNS}\nlabel := {label}\n"
    found = read_interfile(put(tmp_path, text, values.astype("<u2")))
    assert isinstance(found, PlanarImage) and found.views == ("anterior", "posterior")
    assert np.array_equal(found.counts[0], values) and found.pixel_mm == (6.0, 5.0)
    odd = text + "!matrix size [1] := 64\n"
    assert "differ in 'matrix size [1]'" in refused(put(tmp_path, odd, values.astype("<u2")))


# --- bad input ---

BAD: list[tuple[dict[str, Any], str]] = [
    ({"number of projections": VIEWS + 1}, "truncated: 13 images of 8 x 6 with 2 bytes a value need 1248 bytes"),
    ({"number of projections": VIEWS - 3}, "'total number of images' is 12"),
    ({"matrix size [1]": 2 * COLUMNS}, "truncated"),
    ({"matrix size [1]": None}, "'matrix size [1]' or '[2]' is missing"),
    ({"matrix size [1]": "-4"}, "no whole number"),
    ({"matrix size [1]": "1e300"}, "no whole number"),
    ({"matrix size [1]": 10**9}, "can be read"),
    ({"number of projections": 10**9}, "beyond 4096"),
    ({"number of projections": None}, "'number of projections' is missing"),
    ({"number of bytes per pixel": 3}, "'number of bytes per pixel' is 3; a unsigned integer has 1 or 2 or 4"),
    ({"number format": "roman numerals"}, "'number format' is missing or none of"),
    ({"number format": None}, "'number format' is missing or none of"),
    ({"number format": "short float", "number of bytes per pixel": 8}, "is 8; a short float has 4"),
    ({"imagedata byte order": "MIDDLE"}, "neither LITTLEENDIAN nor BIGENDIAN"),
    ({"data compression": "gzip"}, "packed ('data compression')"),
    ({"direction of rotation": None}, "'direction of rotation' is missing"),
    ({"direction of rotation": "left"}, "neither CW nor CCW"),
    ({"start angle": None}, "'start angle' is missing"),
    ({"extent of rotation": 0}, "extent of rotation of 0"),
    ({"extent of rotation": None}, "'extent of rotation' is missing"),
    ({"number of detector heads": 1000}, "at most 64"),
    ({"number of energy windows": 2}, "levels of energy window 2"),
    ({"patient rotation": "prone"}, "lies prone"),
    ({"scaling factor (mm/pixel) [2]": 7}, "need square ones"),
    ({"scaling factor (mm/pixel) [1]": None, "scaling factor (mm/pixel) [2]": None}, "is missing or not above 0"),
    ({"scaling factor (mm/pixel) [1]": "5 Quixotic"}, "'scaling factor (mm/pixel) [1]' is no number"),
    ({"type of data": "Dynamic"}, "not read here"),
    ({"type of data": None}, "not read here"),
    ({"Radius": -5}, "radius_mm of -5"),
    ({"name of data file": None}, "does not name its data file"),
    ({"name of data file": ".."}, "does not name its data file"),
    ({"name of data file": "/etc/passwd"}, "is not there: none of 2 files"),
    ({"name of data file": "../../quixotic.img"}, "is not there: none of 2 files"),
    ({"process status": "Reconstructed", "total number of images": None}, "'number of slices' is missing"),
    ({"process status": "Reconstructed"}, "how far its slices are apart"),
    ({"process status": "Reconstructed", "slice orientation": "coronal"}, "not transverse"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "why"), BAD, ids=lambda value: str(value)[:50])
def test_bad_headers_are_told(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    base = (
        {**tomo(), "!total number of images": VIEWS}
        if "total number" in why or "Recon" in str(changes)
        else tomo()
    )
    names = {"".join(k.lower().strip("!").split()): k for k in base}
    for key, value in changes.items():
        base[names.get("".join(key.lower().split()), key)] = value
    found = refused(put(tmp_path, base, noise(VIEWS, ROWS, COLUMNS).astype("<u2")))
    assert why in found


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    values = noise(VIEWS, ROWS, COLUMNS).astype("<u2").tobytes()
    assert "there are 1151, 11 whole images" in refused(put(tmp_path, tomo(), values[:-1]))
    assert "there are 0" in refused(put(tmp_path, tomo(), b""))
    assert "are 1152 bytes, and there are 1248" in refused(put(tmp_path, tomo(), values + bytes(96)))
    read_interfile(put(tmp_path, tomo(), values + bytes(95)))  # less than an image: padding
    large = tomo(**{"matrix size [1]": 64, "matrix size [2]": 64})
    content = noise(VIEWS, 64, 64).astype("<u2").tobytes()
    read_interfile(put(tmp_path, large, content + bytes(2047)))  # to a whole block
    assert "do not belong together" in refused(put(tmp_path, large, content + bytes(2048)))
    gated = {**tomo(), "number of time windows": 2, "total number of images": VIEWS}
    assert "views or gated frames are missing" in refused(put(tmp_path, gated, values))


def test_files_that_are_not_there_or_not_files(tmp_path: Path) -> None:
    values = noise(VIEWS, ROWS, COLUMNS).astype("<u2")
    path = put(tmp_path / "a", tomo(), values)
    assert "cannot be read" in refused(path.with_name("none"))
    assert "is not a file" in refused(path.parent)
    data = path.with_name("image.img")
    outside = tmp_path / "outside.img"
    data.rename(outside)
    assert "not there" in refused(path)
    data.symlink_to(outside)
    assert "leaves the folder" in refused(path)
    data.unlink()
    os.mkfifo(data)
    assert "data file is not a file" in refused(path)
    data.unlink()
    outside.rename(path.with_name("IMAGE.IMG"))
    assert read_interfile(path).counts.sum() == values.sum(), "another case is the same name"
    path.with_name("image.IMG").write_bytes(b"")
    assert "2 of 3 files" in refused(path)
    header = path.with_name("image.hdr")
    header.unlink()
    os.mkfifo(header)
    assert "not a file" in refused(header)


def test_a_claim_costs_no_memory(tmp_path: Path) -> None:
    path = put(
        tmp_path, tomo(**{"matrix size [1]": 8192, "matrix size [2]": 4096, "number of projections": 4})
    )
    tracemalloc.start()
    try:
        assert "truncated" in refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_read_costs_little_more_than_its_result(tmp_path: Path) -> None:
    values = np.ones((64, 128, 128), ">f8")
    keys = tomo(**{"number format": "long float", "number of bytes per pixel": 8, "imagedata byte order": None,
                   "matrix size [1]": 128, "matrix size [2]": 128, "number of projections": 64})  # fmt: skip
    path = put(tmp_path, keys, values)
    header = read_header(path)
    tracemalloc.start()
    try:
        data = read_data(header, path, 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < data.nbytes + (24 << 20)


# --- writing ---


def acquisition(dtype: type = np.int32, windows: int = 1, gates: int = 1, **more: Any) -> Projections:
    counts = noise(windows, gates, COLUMNS, ROWS, VIEWS).astype(dtype)
    energies = tuple(EnergyWindow(f"window {k + 1}", 90.5 + 40 * k, 120.25 + 40 * k) for k in range(windows))
    settings: dict[str, Any] = {
        "pixel_mm": 4.795,
        "angles_deg": tuple((315 + 15 * k) % 360.0 for k in range(VIEWS)),
        "direction": "ccw",
        "radius_mm": (201.5,) * VIEWS,
        "nuclide": "I-123",
        "agent": "iobenguane",
        "collimator": "LEUR",
        "duration_s": 12.5,
    }
    return Projections(counts, energies, **(settings | more))


def test_standard_keys_and_no_identifier(tmp_path: Path) -> None:
    path = tmp_path / "sub-01.h33"
    sly = acquisition(agent="Quixotic MIBI", nuclide="Zebulon", facts={"patient": "Quixotic"})
    data = write_interfile(path, sly)
    text = path.read_bytes().decode()
    assert data == tmp_path / "sub-01.i33" and "uixotic" not in text and "ebulon" not in text
    assert text.startswith("!INTERFILE :=\r\n") and text.endswith("!END OF INTERFILE :=\r\n")
    for line in ("!imaging modality := nucmed", "!type of data := Tomographic", "!number of projections := 12",
                 "!extent of rotation := 180.0", "!direction of rotation := CW", "start angle := 315.0",
                 "!name of data file := sub-01.i33", "!matrix size [1] := 8", "Radius := 201.5"):  # fmt: skip
        assert f"\r\n{line}\r\n" in text
    assert all(len(line) < 255 for line in text.splitlines())
    stored = np.fromfile(data, "<f4").reshape(VIEWS, ROWS, COLUMNS)
    assert stored[0, 0, 0] == sly.counts[0, 0, -1, -1, 0], "row 0 is the head, columns run against u"


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h33"
    uneven = acquisition(angles_deg=tuple(float(k * k) for k in range(VIEWS)))
    for image, options, why in (
        (uneven, {}, "not equally spaced"),
        (acquisition(angles_deg=tuple(float(-k) for k in range(VIEWS))), {}, "not equally spaced"),
        (acquisition(np.float32), {"number_format": "unsigned integer", "size": 1}, ""),
        (Volume(np.ones((2, 3, 4), np.float32), np.diag([-1.0, 1, 1, 1])), {}, "not the patient's"),
        (Volume(np.ones((2, 3, 4, 5), np.float32), np.eye(4)), {}, "not the patient's"),
    ):
        if not why:
            write_interfile(path, image, **options)
            continue
        path.unlink(missing_ok=True)
        with pytest.raises(DataError) as caught:
            write_interfile(path, image, **options)
        assert why in caught.value.why and not path.exists()
    big = acquisition()
    big.counts[0, 0, 0, 0, 0] = 2**24 + 1
    with pytest.raises(DataError, match="Cannot write") as caught:
        write_interfile(path, big)
    assert "1 of 576 values cannot be stored exactly as float32" in caught.value.why
    with pytest.raises(DataError) as caught:
        write_interfile(path, big, number_format="signed integer", size=2)
    assert "as int16" in caught.value.why
    for name in ("a", "a.i33", ".h33", "a b.h33", "ä.h33"):
        with pytest.raises(ValueError, match="name"):
            write_interfile(tmp_path / name, acquisition())
    with pytest.raises(ValueError, match="no number"):
        write_interfile(path, acquisition(), number_format="short float", size=8)


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h33"
    before = acquisition()
    write_interfile(path, before)
    real = os.fsync
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(28, "No space left on device", str(tmp_path / ".x.tmp"))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="Cannot write a file"):
        write_interfile(path, acquisition(np.float32, gates=2))
    monkeypatch.setattr(os, "fsync", real)
    assert calls and sorted(p.name for p in tmp_path.iterdir()) == ["a.h33", "a.i33"]
    assert np.array_equal(read_interfile(path).counts, before.counts), "the file before stays whole"


def test_the_formats_are_those_of_the_standard() -> None:
    assert {(n, s) for n, sizes in interfile_data.FORMATS.items() for s in sizes} == {
        ("".join(name.split()), size) for name, size, _ in STORED
    }
