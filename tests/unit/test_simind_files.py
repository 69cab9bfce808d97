"""SIMIND's files and command line: parameter file, maps, windows, orbits, headers of every release, protocol."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senmei.core.errors import ConfigError, DataError, EngineError
from senmei.core.volume import Volume
from senmei.engines.simind import Settings
from senmei.engines.simind.command import check_name, command, number, seed_number, switches
from senmei.engines.simind.inputs import write_inputs
from senmei.engines.simind.maps import multiplier, water_per_cm, write_maps
from senmei.engines.simind.outputs import (
    expected_files,
    interpret,
    leftovers,
    parse_protocol,
    parse_version,
    read_window,
)
from senmei.engines.simind.settings import COLLIMATORS
from senmei.engines.simind.smc import blank_smc, e12_5, parse_smc
from senmei.engines.simind.windows import format_orbit, format_windows, parse_orbit, parse_windows
from senmei.io.interfile_header import parse_header
from senmei.physics import photons
from senmei.physics.gamma_camera import COLLIMATORS as KNOWN
from senmei.physics.gamma_camera import GammaCamera
from senmei.physics.spect.geometry import orbit

# ---- parameter file


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, " 0.00000E+00"),
        (140.5, " 0.14050E+03"),
        (-7, "-0.70000E+01"),
        (0.05, " 0.50000E-01"),
        (1, " 0.10000E+01"),
        (99999, " 0.99999E+05"),
        (-1.5e-9, "-0.15000E-08"),
        (0.999999, " 0.10000E+01"),
    ],
)
def test_e12_5_by_hand(value, text):
    assert e12_5(value) == text


@settings(deadline=None)
@given(st.floats(-1e90, 1e90, allow_nan=False, allow_subnormal=False))
def test_e12_5_keeps_five_digits_in_twelve_columns(value):
    if 0 < abs(value) < 1e-90 or (value.is_integer() and float(f"{value:.4e}") != value):
        return
    text = e12_5(value)
    assert len(text) == 12
    assert re.fullmatch(r"[ -]0\.\d{5}E[+-]\d\d", text)
    assert float(text) == pytest.approx(value, rel=6e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e100, 1e-101, 123456, True])
def test_e12_5_refuses_what_does_not_fit(value):
    with pytest.raises(ConfigError, match="Cannot write SIMIND's parameter file"):
        e12_5(value)


TEXT = (
    (
        "SMCV2\nA comment" + " " * 61 + "\n   120  # Basic Change data\n"
        " 0.20800E+03 0.57600E+02 0.50000E-01-0.70000E+01 0.00000E+00\n" + " 0.00000E+00" * 5 + "\n"
    )
    + "\n".join([" 0.10000E+01" * 5] * 22)
    + (
        "\n    30  # Simulation flags\nTTTTTTTTFTTTFTTFFFFFFFFFFFFFFF\n     8  # Text Variables\ngv-lehr\n"
        + "none\n" * 7
        + "    12 # Data files\n"
        + "".join(
            f"{name:60}\n"
            for name in ("h2o", "bone", "al", "nai", "my_map", "my_source", "pmt", *["none"] * 5)
        )
    )
)


def test_parameter_file_is_read_in_columns_and_written_back_byte_for_byte():
    smc = parse_smc(TEXT)
    assert smc.value(3) == 0.05
    assert smc.value(4) == -7  # touches its neighbour
    assert smc.texts[0] == "gv-lehr"
    assert smc.files[4:6] == ("my_map", "my_source")
    assert smc.flag(8) and not smc.flag(9)
    assert smc.to_text() == TEXT
    changed = (
        smc.with_values({12: 25.0}).with_flags({9: True}).with_texts({1: "se-lehr"}).with_files({5: "x"})
    )
    again = parse_smc(changed.to_text())
    assert (again.value(12), again.flag(9), again.texts[0], again.files[4]) == (25.0, True, "se-lehr", "x")
    assert smc.value(12) == 1.0  # the original is as it was


def test_header_lines_are_kept_as_they_were():
    odd = TEXT.replace("   120  # Basic Change data", " 120 # BASIC  change") + "\nsomething new\n"
    assert parse_smc(odd).to_text() == odd
    assert parse_smc(TEXT.replace("\n", "\r\n")).values == parse_smc(TEXT).values


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SMCV1\n", "SMCV2"),
        (TEXT.replace("0.57600E+02", "0.57600EE02"), "no number"),
        (TEXT[:600], "ends within|as many|number"),
        (TEXT.replace("   120  #", "   121  #"), "number"),
        (TEXT.replace("   120  # Basic", "   99999999  # Basic"), "how many values"),
        (TEXT.replace("TTTTTTTTF", "TTTTTTTXF"), "flags"),
        ("SMCV2", "how many values"),
        (TEXT.replace("   120  # Basic", "9" * 5000 + "  # Basic"), "how many values"),
        (TEXT.replace("0.57600E+02", "0.5760E+999"), "no number"),
    ],
)
def test_damaged_parameter_files(text, why):
    with pytest.raises(DataError) as caught:
        parse_smc(text)
    assert re.search(why, caught.value.why)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.with_values({121: 1}),
        lambda s: s.with_values({0: 1}),
        lambda s: s.with_files({5: "x" * 61}),
        lambda s: s.with_files({5: " x"}),
        lambda s: s.with_texts({1: "a\nb"}),
        lambda s: s.with_texts({1: "é"}).to_text(),
        lambda s: blank_smc("c" * 71).to_text(),
    ],
)
def test_parameter_file_refuses(change):
    with pytest.raises(ConfigError):
        change(blank_smc("x"))


# ---- maps


def volume(data, voxel=5.0):
    return Volume(np.asarray(data, np.float32), np.diag([voxel, voxel, voxel, 1.0]))


def test_int16_maps(tmp_path):
    rng = np.random.default_rng(1)
    activity, mu = rng.random((5, 4, 3)), rng.random((5, 4, 3)) * 0.3
    maps = write_maps(tmp_path, volume(activity), volume(mu), 140.5, "int16", 1e6)
    assert (maps.code, maps.voxel_mm, maps.shape) == (-1, 5.0, (4, 5, 3))
    source = np.fromfile(tmp_path / "source.smi", "<i2").reshape(3, 4, 5)
    density = np.fromfile(tmp_path / "density.dmi", "<i2").reshape(3, 4, 5)
    assert 500 <= source.max() <= 4000
    assert maps.histories == source.sum(dtype=np.int64)
    assert multiplier(maps, 1e6) == pytest.approx(1e6 / maps.histories, rel=1e-3)
    assert multiplier(maps, 1e6).is_integer()
    assert multiplier(maps, 1e3) < 1
    np.testing.assert_allclose(
        source[::-1, ::-1, ::-1].transpose(2, 1, 0) / source.max(), activity / activity.max(), atol=1e-3
    )
    water = density[::-1, ::-1, ::-1].transpose(2, 1, 0) / 1000 * water_per_cm(140.5)
    np.testing.assert_allclose(water, mu, atol=1e-4)


def test_float32_maps(tmp_path):
    rng = np.random.default_rng(2)
    activity, mu = rng.random((5, 4, 3)), rng.random((5, 4, 3)) * 0.3
    maps = write_maps(tmp_path, volume(activity), volume(mu), 140.5, "float32", 2e6)
    assert (maps.code, maps.files, maps.histories) == (-7, ("density_atn_av.bin", "source_act_av.bin"), 2e6)
    source = np.fromfile(tmp_path / maps.files[1], "<f4").reshape(3, 4, 5)
    density = np.fromfile(tmp_path / maps.files[0], "<f4").reshape(3, 4, 5)
    assert source.sum(dtype=np.float64) == pytest.approx(2e6, rel=1e-5)
    np.testing.assert_allclose(
        density[:, ::-1, ::-1].transpose(2, 1, 0), mu * 0.5, rtol=1e-5
    )  # per pixel of 0.5 cm


def test_water_agrees_with_the_builtin_physics():
    for energy in (80.0, 140.5, 159.0, 300.0):
        assert water_per_cm(energy) == pytest.approx(float(photons.attenuation(energy)), rel=0.03)


@pytest.mark.parametrize(
    ("activity", "mu", "why"),
    [
        (np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), "empty"),
        (-np.ones((3, 3, 3)), np.zeros((3, 3, 3)), "negative"),
        (np.full((3, 3, 3), np.nan), np.zeros((3, 3, 3)), "no numbers"),
        (np.ones((3, 3, 3)), np.full((3, 3, 3), 6.0), "int16"),
        (np.ones((3, 3, 3)), np.zeros((3, 3, 4)), "different grids"),
        (np.ones((3, 3)), np.zeros((3, 3)), "not .x, y, z."),
    ],
)
def test_maps_that_cannot_be_written(tmp_path, activity, mu, why):
    with pytest.raises(DataError) as caught:
        write_maps(tmp_path, volume(activity), volume(mu), 140.5)
    assert re.search(why, caught.value.why)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "affine", [np.diag([-5.0, 5, 5, 1]), np.diag([5.0, 5, 4, 1]), np.diag([5.0, 5, 5, 1])[[1, 0, 2, 3]]]
)
def test_maps_of_other_axes_are_refused(tmp_path, affine):
    data = Volume(np.ones((3, 3, 3), np.float32), affine)
    with pytest.raises(DataError, match="Cannot write a map"):
        write_maps(tmp_path, data, data, 140.5)


# ---- windows, orbit


def test_windows_and_orbit():
    text = format_windows([(126.45, 154.55), (108.0, 126.45)])
    assert text == "126.450,154.550,0\n108.000,126.450,0\n"
    assert parse_windows(text) == [(126.45, 154.55, 0), (108.0, 126.45, 0)]
    assert parse_windows("100, 120 ,-1,tew\n") == [(100.0, 120.0, -1)]
    assert format_orbit([250.0, 181.5]) == "      25.000\n      18.150\n"
    assert parse_orbit("      25.000    33\n      18.150    33\n") == [250.0, 181.5]
    for bad in ([], [(10, 5)], [(0, 5)], [(1, 2)] * 21):
        with pytest.raises(ConfigError, match="energy windows"):
            format_windows(bad)
    with pytest.raises(DataError, match="energy window file"):
        parse_windows("126 154 0")
    with pytest.raises(DataError, match="orbit file"):
        parse_orbit("abc\n")


# ---- command line

OPTIONS = {"pixel_cm": 0.44, "multiplier": 12.5, "seed": 7, "isotope": "tc99m"}
OPTIONS |= {"collimator": "se-lehr", "scatter_orders": 5}


def test_command_line():
    options = switches(**OPTIONS, maps=("density", "source"), windows="senmei", release=8)
    assert options == "/fd:density/fs:source/fw:senmei/px:0.44/nn:12.5/sc:5/fi:tc99m/cc:se-lehr/ca:1/rr:7"
    assert "/ca" not in switches(**OPTIONS, maps=("density", "source"), windows="senmei", release=7)
    words = command(Path("/opt/simind/simind"), "senmei", "out", "/rr:7", "senmei")
    assert words == ["/opt/simind/simind", "senmei", "out/rr:7", "senmei.cor"]
    assert command(Path("simind"), "senmei", "out", "/rr:7", None)[-1] == "out/rr:7"


@pytest.mark.parametrize("name", ["Out", "a-b", "a/b", "", "1a", "a b", "a" * 48, "ä", "../x", "a\n"])
def test_names_that_simind_would_change(name):
    with pytest.raises(ConfigError, match="would not use this name"):
        check_name(name)


def test_names_shared_with_a_window_file_are_shorter():
    assert check_name("a" * 47) and check_name("a" * 15, window=True)
    with pytest.raises(ConfigError, match="would not use this name"):
        check_name("a" * 16, window=True)


@settings(deadline=None)
@given(st.floats(1e-9, 1e12))
def test_numbers_in_switches_have_no_exponent(value):
    text = number(value)
    assert re.fullmatch(r"\d+(\.\d+)?", text)
    assert float(text) == pytest.approx(value, rel=1e-5)


def test_switch_traps():
    for change in (
        {"seed": 0},
        {"seed": 30001},
        {"isotope": "a/b"},
        {"collimator": "se lehr"},
        {"isotope": "x:y"},
    ):
        with pytest.raises(ConfigError):
            switches(**{**OPTIONS, **change}, maps=("d", "s"), windows="w", release=8)
    assert seed_number(0) == 1
    assert seed_number(2**32 - 1) == seed_number(2**32 - 1) <= 30000
    assert len({seed_number(n) for n in range(1000)}) == 1000


# ---- headers, one of each release, written here after what each was seen to write


def header(version, **change):
    """A header of a release: V6.2 and V7 lengths in cm and matrix behind the SPECT block, V8 and V9 in mm before it."""
    mm = version[1] in "89"
    unit = 10 if mm else 1
    pairs = {
        "radius": f";#Radius := {25.0 * unit:.3f}",
        "direction": "!direction of rotation := CCW",
        "low": ";energy window lower level := 126.45",
        "format": "!number format := short float",
        "pixel": "scaling factor (mm/pixel) [1] := 4.420",
        "views": "!number of projections := 60",
    } | change
    matrix = [
        "!matrix size [1] := 64",
        "!matrix size [2] := 32",
        pairs["format"],
        "!number of bytes per pixel := 4",
    ]
    matrix += [pairs["pixel"], "scaling factor (mm/pixel) [2] := 4.420"]
    lines = [
        "!INTERFILE :=",
        "!originating system := simind",
        f"program version := {version}",
        "!GENERAL DATA :=",
    ]
    lines += [
        "!data offset in bytes := 0",
        "!name of data file := out_tot_w1.a00",
        "patient name := SMC_out_tot_w1.a00",
    ]
    lines += [";# Radionuclide := tc99m", "!patient ID := SIMIND", "!type of data := tomographic"]
    lines += [
        "study date := 2026:01:01",
        "imagedata byte order := LITTLEENDIAN",
        "patient rotation := supine",
    ]
    lines += ["patient rotation := supine"] if not mm else ["patient position := FFS", *matrix]
    lines += [pairs["low"], ";energy window upper level := 154.55", "!total number of images := 60"]
    lines += ["!GATED SPECT STUDY (General) :=", "!number of time windows := 1"] if version[1] == "6" else []
    lines += (
        ["!SPECT STUDY (General) :="]
        + ([] if mm else matrix)
        + ["!extent of rotation := 180", pairs["views"]]
    )
    lines += ["orbit := circular", pairs["radius"], pairs["direction"], "start angle := 45.000"]
    lines += [";# Collimator := se-lehr", f";# Collimator hole diameter := {0.111 * unit:.3f}"]
    lines += [
        f";# Collimator hole septa := {0.016 * unit:.3f}",
        f";# Collimator thickness := {2.405 * unit:.3f}",
    ]
    lines += [";# SIMIND: Photon Energy := 140.500", "!END OF INTERFILE :="]
    return interpret(parse_header("\r\n".join(lines)))


@pytest.mark.parametrize("version", ["V6.2.1", "V7.0.3", "V8.0", "V9.0"])
def test_headers_of_every_release_mean_the_same(version):
    found = header(version)
    assert found.version == parse_version(version)
    assert found.shape == (60, 32, 64)
    assert found.dtype == np.dtype("<f4")
    assert found.window_kev == (126.45, 154.55)
    assert found.radius_mm == pytest.approx(250.0)
    assert found.hole_mm == pytest.approx((1.11, 0.16, 24.05))
    assert (found.arc_deg, found.start_deg, found.direction) == (180.0, 45.0, "CCW")
    assert (found.nuclide, found.collimator, found.energy_kev, found.orbit) == (
        "tc99m",
        "se-lehr",
        140.5,
        "circular",
    )


def test_a_radius_is_taken_as_mm_above_120_only():
    assert header("V8.0", radius=";#Radius := 25.000").radius_mm == 250  # a release 8 that writes cm
    assert header("V7.0.3", radius=";#Radius := 250.0").radius_mm == 250
    assert header("V9.0", radius="orbit := noncircular").radius_mm is None


@pytest.mark.parametrize(
    "change",
    [
        {"direction": "!direction of rotation := upward"},
        {"low": ";something else := 1"},
        {"format": "!number format := ascii"},
        {"pixel": "scaling factor (mm/pixel) [1] := wide"},
    ],
)
def test_headers_that_cannot_be_used(change):
    with pytest.raises(DataError, match="Cannot use this Interfile"):
        header("V7.0.3", **change)


def test_versions():
    assert parse_version("V7.0.3") == (7, 0, 3)
    assert parse_version("8.0") == (8, 0)
    assert parse_version("new") == ()


def test_protocol():
    found = parse_protocol(PROTOCOL)
    assert found.version == (7, 0, 3)
    assert found.photons_per_view == 1e8
    assert found.windows == {1: (143.1, 174.9), 2: (138.3, 143.1)}
    assert found.cps_per_mbq == {1: 98.7, 2: 9.89}
    assert found.random == "ranmar"
    assert found.command.startswith("in out/fi:tc99m")
    assert parse_protocol("").version == ()


PROTOCOL = """
              SIMIND Monte Carlo Simulation Program    V7.0.3
------------------------------------------------------------------------------
 PhotonEnergy.......: 159          i123     PhotonsPerProj....: 100000000
------------------------------------------------------------------------------
  Scattwin results: Window file: in.win
\x20\x20
  Win  WinAdded  Range(keV)   ScaleFactor
   1       0    143.1 - 174.9    1.00
   2       0    138.3 - 143.1    1.00
\x20\x20
  Win    Total    Scatter   Primary  S/P-Ratio S/T Ratio  Cps/MBq
   1   0.710E+04 0.160E+04 0.551E+04 0.290E+00 0.225E+00 0.987E+02
   2   0.712E+03 0.283E+03 0.429E+03 0.661E+00 0.398E+00 0.989E+01
\x20\x20
  Win  Geo(Air)  Pen(Air)  Sca(Air)  Geo(Tot)  Pen(Tot)  Sca(Tot)
   1    39.73%    42.27%    18.00%    31.86%    47.80%    20.34%
------------------------------------------------------------------------------
 Random number generator: ranmar
 Comment:Win Total 1 2 3
 Command: in out/fi:tc99m/cc:se-lehr
"""


def test_protocol_with_numbers_that_did_not_fit_their_columns():
    text = (
        PROTOCOL.replace("0.710E+04", "*********").replace("0.989E+01", "0.9.8").replace("100000000", "***")
    )
    found = parse_protocol(text)
    assert (found.photons_per_view, found.cps_per_mbq) == (None, {})
    assert parse_protocol(PROTOCOL.replace("\n", "\r\n")) == parse_protocol(PROTOCOL)


@st.composite
def damaged(draw, text):
    """The text with a few pieces replaced, repeated or cut out."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        piece = draw(
            st.sampled_from(["", "9" * 5000, "\n", "\0", "-", ".", "E", "1e999", "*" * 12, " " * 500, "é"])
        )
        text = text[:at] + piece + text[at + draw(st.integers(0, 40)) :]
    return text


@settings(max_examples=150, deadline=None)
@given(damaged(TEXT), damaged(PROTOCOL), damaged(format_windows([(126.45, 154.55)] * 3)))
def test_damaged_texts_are_refused_or_read(smc, protocol, windows):
    parse_protocol(protocol)
    for read, text in ((parse_smc, smc), (parse_windows, windows)):
        with suppress(DataError):  # anything else is a bug
            read(text)


def test_reading_a_protocol_takes_no_time_to_speak_of():
    """Long runs of blanks, digits or rows do not make its patterns slow."""
    begun = time.monotonic()
    for text in (" " * 200_000, "\n" * 200_000, "9" * 200_000, " 1 1\n" * 50_000, "SIMIND V" * 30_000):
        parse_protocol(text + PROTOCOL)
    assert time.monotonic() - begun < 20


# ---- files of a run


def test_leftovers_are_this_outputs_only(tmp_path):
    mine = ["out.res", "out_tot_w1.a00", "out_sca_w12.h00", "OUT_air_w1.h00", "out.b01", "out.hct", "out.cor"]
    for name in [
        *mine,
        "outer.res",
        "out2_tot_w1.a00",
        "source.smi",
        "senmei.cor",
        "out.smc",
        "out_tot_w1.txt",
    ]:
        (tmp_path / name).touch()
    assert {path.name for path in leftovers(tmp_path, "out")} == set(mine)
    assert expected_files("out", 2)[0] == "out.res"
    assert len(expected_files("out", 2)) == 9


def write_parts(folder, **values):
    text = "\n".join(
        [
            "!INTERFILE :=",
            "program version := V8.0",
            "imagedata byte order := LITTLEENDIAN",
            ";energy window lower level := 126.45",
            ";energy window upper level := 154.55",
            "!matrix size [1] := 3",
            "!matrix size [2] := 2",
            "!number format := short float",
            "!number of bytes per pixel := 4",
            "scaling factor (mm/pixel) [1] := 4",
            "scaling factor (mm/pixel) [2] := 4",
            "!number of projections := 4",
            "!direction of rotation := CCW",
            "!END OF INTERFILE :=",
        ]
    )
    for part, data in values.items():
        (folder / f"out_{part}_w1.h00").write_text(text)
        np.broadcast_to(np.float32(data), (4, 2, 3)).astype("<f4").tofile(folder / f"out_{part}_w1.a00")


def test_primary_is_the_rest_where_simind_wrote_none(tmp_path):
    write_parts(tmp_path, tot=3.0, sca=1.0)
    _, parts = read_window(tmp_path, "out", 1, where="x")
    assert (parts["pri"] == 2).all()
    write_parts(tmp_path, pri=1.9)
    assert (read_window(tmp_path, "out", 1, where="x")[1]["pri"] == np.float32(1.9)).all()


def test_damaged_projections(tmp_path):
    write_parts(tmp_path, tot=1.0, sca=3.0)
    with pytest.raises(EngineError, match="cannot be used") as caught:
        read_window(tmp_path, "out", 1, where="x")
    assert "more scattered counts than counts" in caught.value.why
    write_parts(tmp_path, tot=np.nan, sca=1.0)
    with pytest.raises(EngineError, match="cannot be used"):
        read_window(tmp_path, "out", 1, where="x")
    write_parts(tmp_path, tot=3.0, sca=1.0)
    os.truncate(tmp_path / "out_tot_w1.a00", 90)
    with pytest.raises(EngineError, match="cannot be used") as caught:
        read_window(tmp_path, "out", 1, where="x")
    assert "has 90 bytes, its header tells of 96" in caught.value.why
    (tmp_path / "out_tot_w1.a00").unlink()
    with pytest.raises(EngineError, match="cannot be used") as caught:
        read_window(tmp_path, "out", 1, where="x")
    assert "is missing" in caught.value.why


# ---- settings, work folder


def test_settings_are_checked():
    assert Settings.from_dict(Settings(windows=((126.0, 154.0),)).to_dict()).windows == ((126.0, 154.0),)
    for bad in (
        {"histories": 0},
        {"maps": "int8"},
        {"minutes": True},
        {"isotope": "Tc99m"},
        {"isotope": "tc/99"},
        {"windows": (1, 2)},
        {"start_sign": 0},
        {"penetration": 1},
    ):
        with pytest.raises(ConfigError):
            Settings.from_dict(bad)
    with pytest.raises(ConfigError, match="unknown setting 'history'") as caught:
        Settings.from_dict({"history": 1})
    assert "histories" in caught.value.fix


def test_every_collimator_has_a_code():
    assert set(COLLIMATORS) == set(KNOWN)


def test_the_work_folder_says_what_was_asked(tmp_path):
    geometry = orbit(
        (8, 8, 6), 10.0, views=4, radius_mm=[200.0, 210.0, 220.0, 230.0], camera=GammaCamera("ME")
    )
    rng = np.random.default_rng(3)
    maps = [volume(rng.random((16, 16, 12)) * 0.1, 5.0) for _ in range(2)]
    inputs = write_inputs(
        tmp_path, *maps, geometry.to_dict(), Settings(windows=((126.0, 154.0), (100.0, 120.0)))
    )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"senmei.smc", "senmei.win", "senmei.cor", "density.dmi", "source.smi"}
    smc = parse_smc((tmp_path / "senmei.smc").read_text())
    asked = {
        1: -140.5,
        2: 3.0,
        5: 3.0,
        6: 4.0,
        8: 3.0,
        10: 4.0,
        12: 21.5,
        14: -1,
        15: -1,
        20: -20,
        23: 0.38,
        28: 1.0,
    }
    asked |= {
        29: 4,
        30: 1,
        31: 0.5,
        34: 12,
        41: 90.0,
        76: 8,
        77: 6,
        78: 16,
        79: 16,
        81: 16,
        82: 16,
        84: 1,
        53: 0,
    }
    assert {index: smc.value(index) for index in asked} == pytest.approx(asked)
    assert smc.texts[0] == "se-me"
    assert all(smc.flag(n) for n in (4, 5, 8, 11, 14)) and not smc.flag(1)
    # views are visited in reverse, and so are the radii
    assert parse_orbit((tmp_path / "senmei.cor").read_text()) == [230.0, 220.0, 210.0, 200.0]
    assert inputs.shape == (4, 6, 8)
    other = write_inputs(
        tmp_path / "b", *maps, geometry.to_dict(), Settings(windows=inputs.windows, histories=1e4)
    )
    assert other.key == inputs.key  # more histories are the same simulation
    assert write_inputs(tmp_path / "c", *maps, geometry.to_dict(), Settings()).key != inputs.key
