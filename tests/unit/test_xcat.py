"""The door to XCAT, driven by an executable double (tests/xcat/dxcat2)."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from senmei.core.configuration import merge, resolve
from senmei.core.errors import ConfigError, DataError, EngineError
from senmei.engines.xcat import (
    UPTAKE,
    Lesion,
    XcatGrid,
    XcatPhase,
    XcatSettings,
    check_xcat,
    list_xcat,
    read_log,
    read_xcat,
    run_xcat,
    write_parameters,
)

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = ROOT / "tests" / "xcat" / "dxcat2"
SMALL = XcatSettings(matrix=12, slices=10, first_slice=101, voxel_mm=8.0, slice_mm=10.0)
GRID = XcatGrid(12, 10, 0.8, 1.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of XCAT's data files, of which the double only asks that they are there."""
    folder = tmp_path / "data"
    folder.mkdir()
    names = ("vmale50.nrb", "vmale50_heart.nrb", "vfemale50.nrb", "vfemale50_heart.nrb", "atten_table.dat")
    for name in names:
        (folder / name).write_text("x")
    return folder


def run(data: Path, settings: XcatSettings = SMALL, **more: object) -> list[XcatPhase]:
    return run_xcat(settings, data.parent / "work", binary=DOUBLE, data=data, **more)


def keys(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = (\S+)", text, re.M))


# --- parameters ---


def test_settings_become_keys_of_xcat() -> None:
    found = keys(
        write_parameters(dataclasses.replace(SMALL, phases=8, gender="female", uptake={"liver": 2.5}))
    )
    assert (found["array_size"], found["startslice"], found["endslice"]) == ("12", "101", "110")
    assert (found["pixel_width"], found["slice_width"], found["energy"]) == ("0.8", "1", "140.5")
    assert (found["mode"], found["gender"], found["organ_file"]) == ("0", "1", "vfemale50.nrb")
    assert (found["out_frames"], found["motion_option"], found["time_per_frame"]) == ("8", "0", "0.125")
    assert (found["act_phan_each"], found["act_phan_ave"]) == ("1", "0")
    assert found["liver_activity"] == "2.5" and found["myoLV_act"] == "1"
    assert found["r_lung_activity"] == found["l_lung_activity"] == str(UPTAKE["lung"])


def test_a_lesion_is_a_mode_of_its_own() -> None:
    settings = dataclasses.replace(
        SMALL, lesion=Lesion(theta_deg=180, severity=0.4), uptake={"myocardium": 5}
    )
    assert keys(write_parameters(settings))["mode"] == "0"
    found = keys(write_parameters(settings, mode=1))
    assert found["mode"] == "1" and found["ThetaCenter"] == "180"
    assert float(found["lesn_activity"]) == pytest.approx(2.0)
    with pytest.raises(ConfigError, match="parameters"):
        write_parameters(SMALL, mode=1)


def test_a_template_keeps_its_other_lines() -> None:
    template = (
        "mode = 4\t# program mode\n\n  array_size = 110 # 45\nfrac_H2O = 0.5\t# water\nodd =\n# a note = 3\n"
    )
    text = write_parameters(dataclasses.replace(SMALL, parameters={"vol_liver": 1800}), template=template)
    lines = text.splitlines()
    assert lines[0] == "mode = 0" and "array_size = 12" in lines and "array_size = 110 # 45" not in text
    assert "frac_H2O = 0.5\t# water" in lines and "# a note = 3" in lines and "vol_liver = 1800" in lines
    assert "odd =" not in lines
    assert len(re.findall(r"^\s*mode\s*=", text, re.M)) == 1


@pytest.mark.parametrize(
    ("values", "where", "why"),
    [
        ({"matrx": 3}, "xcat.matrx", "no such key"),
        ({"matrix": 12.5}, "xcat.matrix", "whole number"),
        ({"phases": 0}, "xcat.phases", "from 1"),
        ({"phases": True}, "xcat.phases", "whole number"),
        ({"voxel_mm": float("nan")}, "xcat.voxel_mm", "a number"),
        ({"energy_kev": 140.3}, "xcat.energy_kev", "0.5 keV"),
        ({"gender": "Female"}, "xcat.gender", "male and a female"),
        ({"organ_file": "../x.nrb"}, "xcat.organ_file", "plain file name"),
        ({"uptake": {"livr": 1}}, "xcat.uptake.livr", "no such organ"),
        ({"uptake": {"liver": -1}}, "xcat.uptake.liver", "from 0"),
        ({"lesion": {"size": 3}}, "xcat.lesion.size", "no such key"),
        ({"lesion": {"severity": 2}}, "xcat.lesion.severity", "from 0 to 1"),
        ({"lesion": 3}, "xcat.lesion", "mapping"),
        ({"uptake": 3}, "xcat.uptake", "mapping"),
        ({"parameters": {"array_size": 3}}, "xcat.parameters.array_size", "follows from other"),
        ({"parameters": {"note": "a\nmode = 1"}}, "xcat.parameters.note", "plain word"),
        ({"parameters": {"a b": 1}}, "xcat.parameters", "no word"),
    ],
)
def test_settings_that_cannot_be(values: dict, where: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        XcatSettings.from_config(values)
    assert caught.value.where == where and why in caught.value.why and caught.value.fix


def test_settings_of_a_configuration() -> None:
    made = XcatSettings.from_config({"phases": 8, "lesion": {"severity": 0.3}, "uptake": {"lung": 0.1}})
    assert made.lesion == Lesion(severity=0.3) and made.frames == tuple(range(1, 9))
    assert XcatSettings.from_config(made.to_dict()) == made


# --- the program ---


def test_absent_program_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XCAT_BIN", raising=False)
    with pytest.raises(ConfigError) as caught:
        check_xcat()
    assert "XCAT_BIN" in str(caught.value) and "source: xcat" in caught.value.fix
    monkeypatch.setenv("XCAT_BIN", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="XCAT is not here") as caught:
        check_xcat()
    assert "no such program" in caught.value.why
    plain = tmp_path / "plain"
    plain.write_text("x")
    with pytest.raises(ConfigError) as caught:
        check_xcat(plain)
    assert "chmod" in caught.value.why
    monkeypatch.setenv("XCAT_BIN", str(DOUBLE))
    assert check_xcat() == DOUBLE


def test_the_double_is_an_executable() -> None:
    assert DOUBLE.stat().st_mode & stat.S_IXUSR


def test_a_phantom_comes_in_senmeis_frame_and_units(data: Path) -> None:
    (phase,) = run(data)
    activity, mu = phase.activity, phase.mu
    assert phase.phase == 1 and activity.shape == mu.shape == (12, 12, 10)
    assert activity.voxel == pytest.approx((8, 8, 10)) and activity.data.dtype == np.float32
    assert np.allclose(activity.affine[:3, 3], (-44, -44, -45))
    assert mu.data.max() == pytest.approx(0.154, rel=1e-5), "1/cm"
    x, y, z = np.argwhere(activity.data == activity.data.max()).mean(axis=0)
    assert x < 4.5 and y > 6.5 and 3 < z < 6, "the heart is on the patient's left, in front"
    bead = np.argwhere(activity.data == np.float32(UPTAKE["liver"]))
    assert set(bead[:, 2]) == {9}, "the head is at high z"


def test_phases_in_order_and_their_average(data: Path) -> None:
    settings = dataclasses.replace(SMALL, phases=3, lesion=Lesion(severity=0.5))
    phases = run(data, settings)
    assert [p.phase for p in phases] == [1, 2, 3]
    sizes = [int((p.activity.data == p.activity.data.max()).sum()) for p in phases]
    assert sizes[0] > sizes[-1] > 0
    (mean,) = run(data, dataclasses.replace(SMALL, phases=3, average=True))
    assert mean.phase == 0 and 0 < mean.activity.data.max() <= 1


def test_the_lesion_is_taken_off(data: Path) -> None:
    (sound,) = run(data)
    (ill,) = run(data, dataclasses.replace(SMALL, lesion=Lesion(severity=0.5)))
    taken = sound.activity.data - ill.activity.data
    assert set(np.unique(taken)) == {np.float32(0), np.float32(0.5)}
    assert (taken > 0).sum() < (sound.activity.data == 1).sum()
    assert np.argwhere(taken > 0).mean(axis=0)[1] > np.argwhere(sound.activity.data == 1).mean(axis=0)[1]
    assert np.array_equal(ill.mu.data, sound.mu.data)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("error", "exit status 3: ERROR: max_AP_expansion too great"),
        ("said", "volume act_1 is missing, and 5760 are due: Error: not enough memory"),
        ("short", "volume act_1 has 5660 bytes, and 5760 are due"),
        ("missing", "volume atn_1 is missing"),
    ],
)
def test_a_program_that_fails(data: Path, monkeypatch: pytest.MonkeyPatch, fault: str, why: str) -> None:
    run(data)  # what it left must not be taken for the next run's
    monkeypatch.setenv("XCAT_DOUBLE", fault)
    with pytest.raises(EngineError) as caught:
        run(data)
    assert why in caught.value.why and caught.value.fix
    assert str(data.parent) not in str(caught.value)


def test_missing_organ_files_are_said_in_its_own_words(data: Path) -> None:
    (data / "vmale50.nrb").unlink()
    with pytest.raises(EngineError) as caught:
        run(data)
    assert "Cannot open vmale50.nrb" in caught.value.why


def test_a_program_that_hangs_is_ended_with_its_children(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCAT_DOUBLE", "hang")
    shell = tmp_path / "wrapper"
    shell.write_text(f'#!/bin/sh\n"{DOUBLE}" "$@" &\necho $! > child\nwait\n')
    shell.chmod(0o755)
    start = time.monotonic()
    with pytest.raises(EngineError, match="XCAT failed") as caught:
        run_xcat(SMALL, tmp_path / "work", binary=shell, data=data, minutes=0.01)
    assert "more than 0.01 minutes" in caught.value.why and time.monotonic() - start < 10
    child = int((tmp_path / "work" / "child").read_text())
    for _ in range(50):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
        time.sleep(0.1)
    else:
        raise AssertionError("its child goes on")


def test_a_program_of_another_machine(data: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"\x7fELF nothing")
    odd.chmod(0o755)
    with pytest.raises(EngineError) as caught:
        run_xcat(SMALL, tmp_path / "work", binary=odd, data=data)
    assert "cannot be started" in caught.value.why


# --- volumes that are there ---


def existing(data: Path, **more: object) -> Path:
    run(data, dataclasses.replace(SMALL, **more))
    return data.parent / "work"


def test_existing_volumes_are_listed_and_read(data: Path) -> None:
    folder = existing(data, phases=2, lesion=Lesion())
    (found,) = list_xcat(folder)
    assert found.base == folder / "phantom" and found.frames == (1, 2) and found.log is not None
    assert read_log(found.log, where="log") == GRID
    whole = read_xcat(found.base, lesion=folder / "phantom_lesion")
    assert [p.phase for p in whole] == [1, 2]
    (second,) = read_xcat(found.base, frames=[2], energy_kev=140.5)
    assert second.activity.data.max() == 1
    (folder / "phantom_log").unlink()
    (again,) = read_xcat(found.base, frames=[2], grid=GRID)
    assert np.array_equal(again.activity.data, second.activity.data)
    with pytest.raises(DataError) as caught:
        read_xcat(found.base)
    assert "no log" in caught.value.why and "matrix" in caught.value.fix


def test_a_folder_without_phantoms(tmp_path: Path) -> None:
    (tmp_path / "a.bin").touch()
    with pytest.raises(DataError) as caught:
        list_xcat(tmp_path)
    assert "none of its 1 files" in caught.value.why
    with pytest.raises(DataError):
        list_xcat(tmp_path / "none")


def refused(base: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read_xcat(base, **options)
    assert caught.value.what == "Cannot use this XCAT phantom" and caught.value.fix
    assert caught.value.where == "XCAT phantom"
    return caught.value.why


def test_a_size_that_is_not_the_grids(data: Path) -> None:
    folder = existing(data)
    base = folder / "phantom"
    path = folder / "phantom_act_1.bin"
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(4))
    why = refused(base)
    assert "12 x 12 x 10 voxels of 4 bytes are 5760 bytes, the file has 5764" in why
    path.write_bytes(whole[:-1])
    assert "the file has 5759" in refused(base)
    path.write_bytes(whole)
    assert "says slices 11, its log 10" in refused(base, grid=dataclasses.replace(GRID, slices=11))
    why = refused(base, grid=dataclasses.replace(GRID, matrix=100_000))
    assert "cannot be" in why


def test_values_that_cannot_be(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = existing(data)
    base, path = folder / "phantom", folder / "phantom_atn_1.bin"
    mu = np.fromfile(path, "<f4")
    for values, why in (
        (np.where(mu > 0, np.nan, 0), "not finite"),
        (mu - 1, "negative"),
        (mu * 1000, "the highest value is 154 per cm"),
        (mu * 0, "the highest value is 0 per cm"),
    ):
        values.astype("<f4").tofile(path)
        assert why in refused(base)
    mu.astype(">f4").tofile(path)
    assert "attenuation is big endian" in refused(base)
    mu.tofile(path)
    np.fromfile(folder / "phantom_act_1.bin", "<f4").astype(">f4").tofile(folder / "phantom_act_1.bin")
    assert "activity is big endian" in refused(base)


def test_missing_phases_and_volumes(data: Path) -> None:
    folder = existing(data, phases=3)
    base = folder / "phantom"
    (folder / "phantom_atn_2.bin").unlink()
    assert "attenuation of frame 2 is missing" in refused(base)
    (folder / "phantom_act_2.bin").unlink()
    assert "of its phases 1 to 3, 2 are missing" in refused(base)
    assert "there is no volume" in refused(folder / "other", grid=GRID)


def test_a_lesion_that_does_not_fit(data: Path) -> None:
    folder = existing(data, lesion=Lesion())
    base, lesion = folder / "phantom", folder / "phantom_lesion_act_1.bin"
    values = np.fromfile(lesion, "<f4")
    (values * 10).tofile(lesion)
    assert "takes more than there is" in refused(base, lesion=folder / "phantom_lesion")
    (values * 0).tofile(lesion)
    assert "volume is empty" in refused(base, lesion=folder / "phantom_lesion")
    lesion.unlink()
    assert "activity of frame 1 is missing" in refused(base, lesion=folder / "phantom_lesion")


def test_a_log_that_is_none_or_contradicts_itself(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = existing(data)
    base, log = folder / "phantom", folder / "phantom_log"
    text = log.read_text()
    log.write_text(text.replace("array_size", "size"))
    assert "does not tell 'array_size'" in refused(base)
    log.write_text("radionuclide energy = 511.0\n" + text)
    assert "is for 511 keV, and 140.5 keV is wanted" in refused(base, energy_kev=140.5)
    monkeypatch.setenv("XCAT_DOUBLE", "unit")
    with pytest.raises(DataError) as caught:
        run(data)
    assert "the log contradicts itself" in caught.value.why


def test_a_pipe_in_place_of_a_volume(data: Path) -> None:
    folder = existing(data)
    (folder / "phantom_act_1.bin").unlink()
    os.mkfifo(folder / "phantom_act_1.bin")
    assert "activity is not a file" in refused(folder / "phantom")


# --- the how-to ---


def test_the_overlays_of_the_how_to_are_configurations() -> None:
    page = (ROOT / "docs" / "how-to" / "xcat.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, flags=re.S)
    assert len(blocks) == 2
    run, read = (yaml.safe_load(block) for block in blocks)
    made = run["studies"]["spect_denoise"]["cohorts"]
    base = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for cohorts in (made, read):
        overlay = {"run": "mine", "studies": {"spect_denoise": {"cohorts": cohorts}}}
        found = resolve(merge(base, overlay), ROOT)["studies"]["spect_denoise"]["cohorts"]["bodies"]
        assert {key: found[key] for key in cohorts["bodies"] if key not in ("xcat",)} == {
            key: value for key, value in cohorts["bodies"].items() if key != "xcat"
        }
    told = dict(re.findall(r"(\w[\w ]*?)\s+([0-9.]+\d|1)[,.]", page.split("Uptake, where you give none:")[1]))
    assert {name.replace(" ", "_"): float(value) for name, value in told.items() if name != "Round"} == UPTAKE
