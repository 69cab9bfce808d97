"""SIMIND driven: installations, runs, every way to fail that it has, averaging, and the file of a run."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from senmei.core.errors import ConfigError, EngineError, StorageError
from senmei.engines.simind import (
    Settings,
    average_runs,
    check_simind,
    run_simind,
    seed_number,
    write_inputs,
)
from senmei.engines.simind.process import messages
from senmei.physics.spect.geometry import orbit
from tests.simind.installation import calls, make_installation, misbehave
from tests.unit.test_simind_orientation import SHAPE, VOXEL, patient

QUICK = Settings(histories=1e6)
GEOMETRY = orbit(SHAPE, VOXEL, views=4, radius_mm=220.0, direction="cw")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    environment = make_installation(tmp_path_factory.mktemp("simind"))
    return environment, check_simind(environment={**environment, "SIMIND_VERSION": "8.0", "PATH": ""})


@pytest.fixture
def behaved(installed):
    misbehave(installed[0])
    yield installed
    misbehave(installed[0])


@pytest.fixture(scope="module")
def finished(installed, tmp_path_factory):
    """A work folder with the outputs of a good run, of seed 2."""
    folder = tmp_path_factory.mktemp("finished")
    misbehave(installed[0])
    run(installed, folder, seed=2)
    return folder


def run(installed, folder, seed=1, settings=QUICK, geometry=GEOMETRY, **more):
    activity, mu = patient()
    return run_simind(
        write_inputs(folder, activity, mu, geometry.to_dict(), settings), installed[1], seed=seed, **more
    )


# ---- installations


def check(environment, **more):
    return check_simind(environment={"PATH": "/usr/bin:/bin", **environment}, **more)


@pytest.mark.parametrize("version", ["7.0.3", "8.0"])
def test_an_installation_is_recognised(tmp_path, version):
    environment = make_installation(tmp_path, version)
    found = check(environment, isotope="tc99m", collimator="se-lehr")
    assert found.version == tuple(map(int, version.split(".")))
    assert found.release == int(version[0])
    assert found.environment()["SMC_DIR"].endswith("/smc_dir/")
    # without the separator at its end, too; and by PATH instead of SIMIND_BIN
    environment["SMC_DIR"] = environment["SMC_DIR"].rstrip("/")
    environment["PATH"] = os.path.dirname(environment.pop("SIMIND_BIN")) + ":/usr/bin:/bin"
    assert check(environment) == found
    assert found.environment()["SMC_DIR"].endswith("/smc_dir/")


@pytest.mark.parametrize(
    ("change", "what", "said"),
    [
        ({"SIMIND_BIN": "/nowhere/simind"}, "SIMIND is not installed", "SIMIND_BIN"),
        ({"SIMIND_BIN": ""}, "SIMIND is not installed", "SMC_DIR to its smc_dir folder"),
        ({"SMC_DIR": ""}, "folder of cross sections is missing", "export SMC_DIR"),
        ({"SMC_DIR": "/nowhere/"}, "folder of cross sections is missing", "no such folder"),
        ({"SMC_DIR": "/usr/"}, "SMC_DIR is not SIMIND's folder", "collim.col"),
        ({"SIMIND_VERSION": "7.0"}, "different releases", "the folder's own texts tell of 8"),
        ({"SIMIND_VERSION": "new"}, "SIMIND_VERSION is no release", "8.0"),
        ({"SIMIND_BIN": "/bin/true"}, "does not say of which release", "export SIMIND_VERSION"),
    ],
)
def test_what_is_missing_is_told_with_how_to_provide_it(tmp_path, change, what, said):
    environment = make_installation(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check({**environment, **change})
    assert what in caught.value.what
    assert said in str(caught.value)


def test_spectra_and_collimators_must_be_there(tmp_path):
    environment = make_installation(tmp_path)
    with pytest.raises(ConfigError, match="no spectrum of 'lu177'"):
        check(environment, isotope="lu177")
    with pytest.raises(ConfigError, match="no collimator 'se-uhe'"):
        check(environment, collimator="se-uhe")


@pytest.mark.parametrize(
    ("version", "why"), [("9.0", "SCATTWIN"), ("9.1", "Senmei runs 7 and 8"), ("6.2.1", "binary format")]
)
def test_releases_that_cannot_be_run(tmp_path, version, why):
    with pytest.raises(ConfigError, match="cannot be run") as caught:
        check(make_installation(tmp_path, version))
    assert why in caught.value.why
    assert "can be read" in caught.value.fix


def test_a_folder_that_does_not_tell_its_release_is_taken(tmp_path):
    assert check(make_installation(tmp_path, "7.0", folder_version="")).release == 7


def test_a_folder_with_a_history_of_releases_is_taken(tmp_path):
    environment = make_installation(tmp_path, "8.0", folder_version="8.0")
    (tmp_path / "smc_dir" / "change.txt").write_text("SIMIND version 7.0: new\nSIMIND version 6.2: new\n")
    assert check(environment).release == 8


def test_a_program_that_waits_for_an_answer_is_not_waited_for(tmp_path, monkeypatch):
    from senmei.engines.simind import installation

    monkeypatch.setattr(installation, "_SECONDS", 0.3)
    environment = make_installation(tmp_path)
    program = tmp_path / "bin" / "simind"
    program.write_text("#!/bin/sh\nsleep 60\n")
    begun = time.monotonic()
    with pytest.raises(ConfigError, match="does not say of which release"):
        check(environment)
    assert time.monotonic() - begun < 10


# ---- runs


@pytest.mark.parametrize("version", ["7.0.3", "8.0"])
def test_a_run_of_either_release(tmp_path, version):
    environment = make_installation(tmp_path / "install", version)
    windows = ((126.45, 154.55), (108.0, 126.0))
    settings = Settings(histories=5e6, windows=windows)
    result = run((environment, check(environment)), tmp_path / "work", settings=settings, seed=41)
    assert [(w.low_kev, w.high_kev) for w in result.windows] == list(windows)
    assert result.total.shape == (32, 16, 4)
    assert result.total.dtype == np.float32
    np.testing.assert_allclose(result.primary + result.scatter, result.total, atol=1e-4)
    assert result.windows[1].primary.max() < 1e-3 < result.windows[1].scatter.max()
    assert result.seeds == (seed_number(41),)
    assert result.histories == pytest.approx(5e6, rel=0.01)
    assert result.facts["release"] == version
    assert result.facts["photons_per_view"] == pytest.approx(result.histories, rel=1e-6)
    sensitivity = GEOMETRY.camera.sensitivity_cps_per_mbq()
    assert 0.05 * sensitivity < result.total.sum() / 4 < sensitivity
    assert result.facts["cps_per_mbq"] == pytest.approx(result.total.sum(dtype=float) / 4, rel=1e-3)
    assert ("/ca:1" in result.facts["options"]) == (version == "8.0")


@pytest.mark.parametrize("version", ["6.2.1", "9.0"])
def test_outputs_of_releases_that_are_not_run_are_read(tmp_path, version):
    """What 6.2 and 9 write is understood: here they are run in spite of the check, which would refuse them."""
    environment = make_installation(tmp_path / "install", version, folder_version="")
    found = check({**environment, "SIMIND_VERSION": "8.0"})
    result = run((environment, found), tmp_path / "work")
    assert result.facts["release"] == version
    assert result.total.sum() > 0


def test_seeds_and_histories(behaved, tmp_path):
    same = [run(behaved, tmp_path / name, seed=3).total for name in ("a", "b")]
    np.testing.assert_array_equal(same[0], same[1])
    other = run(behaved, tmp_path / "c", seed=4).total
    fewer = [run(behaved, tmp_path / f"f{n}", seed=n, histories=1e5).total for n in (3, 4)]
    # the unit does not depend on histories, the noise does: ten times fewer photons, ten times the variance
    assert fewer[0].sum() == pytest.approx(other.sum(), rel=0.02)
    ratio = ((fewer[0] - fewer[1]) ** 2).sum() / ((same[0] - other) ** 2).sum()
    assert 6 < ratio < 16


@pytest.mark.parametrize(
    ("mode", "what", "said"),
    [
        ("stdout-error", "SIMIND failed", "SIMIND ERROR NUMBER :   64"),
        ("stderr-error", "SIMIND failed", "=== Error while reading"),
        ("late-error", "SIMIND failed", "simind Error Number : 99"),  # though all outputs are there
        ("no-isd", "SIMIND failed", "No input file found for the spectra: tc99m.isd"),
        ("exit", "SIMIND failed", "severe (174)"),
        ("crash", "SIMIND failed", "signal 11"),
        ("missing", "SIMIND left no output", "out_sca_w1.h00 is missing"),
        ("silent", "SIMIND left no output", "out.res is missing"),
        ("stale", "SIMIND left no output", "of an earlier run"),
        ("short", "SIMIND's output is not whole", "4096 bytes of 8192"),
        ("nan", "SIMIND's output cannot be used", "no numbers"),
    ],
)
def test_failures_are_seen_though_the_exit_status_is_0(behaved, finished, tmp_path, mode, what, said):
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)  # its outputs must not pass for those of the next
    misbehave(behaved[0], mode)
    with pytest.raises(EngineError) as caught:
        run(behaved, folder, seed=1)
    assert caught.value.what == what
    assert said in caught.value.why
    assert caught.value.fix
    assert str(tmp_path) not in str(caught.value)


def test_a_full_disk_is_told_as_such(behaved, tmp_path):
    misbehave(behaved[0], "full")
    with pytest.raises(StorageError, match="Cannot write a file") as caught:
        run(behaved, tmp_path)
    assert "the disk is full" in caught.value.why


def test_a_disk_that_fills_while_inputs_are_written(behaved, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, content):
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="Cannot write a file"):
        run(behaved, tmp_path)
    assert not list(tmp_path.iterdir())
    assert calls(behaved[0]) == 0


def test_only_the_second_call_fails(behaved, tmp_path):
    misbehave(behaved[0], "stderr-error call=2")
    run(behaved, tmp_path / "a", seed=1)
    with pytest.raises(EngineError):
        run(behaved, tmp_path / "b", seed=2)
    run(behaved, tmp_path / "b", seed=2)  # retried
    assert calls(behaved[0]) == 3


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for_death(pids):
    until = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_a_hang_is_ended_with_its_children(behaved, tmp_path):
    misbehave(behaved[0], "hang")
    with pytest.raises(EngineError, match="SIMIND did not finish") as caught:
        run(behaved, tmp_path, minutes=0.08)
    assert "0.08 minutes" in caught.value.why
    pids = [int(n) for n in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert wait_for_death(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_job_leaves_no_simind_running(behaved, tmp_path, number):
    misbehave(behaved[0], "hang")
    code = (
        "import os, pathlib\n"
        "from senmei.core.interruption import leave_when_told\n"
        "from senmei.engines.simind.process import run_process\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with leave_when_told():\n"
        f"    run_process([{behaved[0]['SIMIND_BIN']!r}, 'senmei', 'out/fi:tc99m'], folder, os.environ, 5)\n"
    )
    activity, mu = patient()
    write_inputs(tmp_path, activity, mu, GEOMETRY.to_dict(), QUICK)
    job = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **behaved[0]})
    until = time.monotonic() + 60
    while not (tmp_path / "pids").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    pids = [int(n) for n in (tmp_path / "pids").read_text().split()]
    assert all(map(alive, pids))
    try:
        job.send_signal(number)
        assert job.wait(20) in (128 + signal.SIGTERM, -signal.SIGKILL)
        # nobody is left to end a program that SIMIND itself started, if the job was killed outright: it starts none
        assert wait_for_death(pids if number == signal.SIGTERM else pids[:1])
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_long_names_are_refused_before_they_are_cut(behaved, tmp_path):
    with pytest.raises(ConfigError, match="would not use this name") as caught:
        run(behaved, tmp_path, output="o" * 48)
    assert "silently" in caught.value.why
    assert calls(behaved[0]) == 0
    assert run(behaved, tmp_path, output="o" * 47).total.sum() > 0


def test_a_name_that_was_cut_is_noticed(behaved, tmp_path, monkeypatch):
    from senmei.engines.simind import command

    monkeypatch.setattr(command, "LONGEST", 60)
    with pytest.raises(EngineError, match="SIMIND left no output") as caught:
        run(behaved, tmp_path, output="o" * 55)
    assert "is missing; there are" in caught.value.why or "is missing" in caught.value.why


def test_outputs_of_something_else_are_refused(behaved, tmp_path):
    """SIMIND was called, but with another parameter file than the one that was meant."""
    from dataclasses import replace

    activity, mu = patient()
    inputs = write_inputs(tmp_path, activity, mu, GEOMETRY.to_dict(), QUICK)
    for change, why in (
        ({"windows": ((126.0, 154.0),)}, "energy window"),
        ({"radius_mm": 250.0}, "radius"),
        ({"turn": replace(inputs.turn, start_deg=0.0)}, "began at"),
        ({"turn": replace(inputs.turn, arc_deg=360.0)}, "turned 180"),
    ):
        with pytest.raises(EngineError, match="something else than it was asked") as caught:
            run_simind(replace(inputs, **change), behaved[1], seed=1)
        assert why in caught.value.why


def test_messages_and_the_users_own_comment():
    said = [
        "\0\0 SIMIND Monte Carlo Simulation Program",
        " OTHER INFORMATION",
        " Comment: a simind error number : 3, === Error",
        "-" * 78,
        " all is well; errors of 2 % are expected",
    ]
    assert messages(said) == []
    assert messages([*said, " === ERROR"]) == ["=== ERROR"]
    assert messages([" \0SimInd  Error number : 4\n"]) == ["SimInd  Error number : 4"]
    assert messages(["no input file found for the spectra: x.isd"])


# ---- averages


def test_averages_are_weighted_by_histories(behaved, tmp_path):
    truth = run(behaved, tmp_path / "t", seed=100, histories=1e10).total
    runs = [run(behaved, tmp_path / str(n), seed=n, histories=h) for n, h in ((1, 1e6), (2, 3e6))]
    mean = average_runs(runs)
    weight = runs[0].histories / (runs[0].histories + runs[1].histories)
    assert weight == pytest.approx(0.25, abs=0.005)
    np.testing.assert_allclose(
        mean.total, weight * runs[0].total + (1 - weight) * runs[1].total, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        mean.scatter, weight * runs[0].scatter + (1 - weight) * runs[1].scatter, rtol=1e-5, atol=1e-7
    )
    assert mean.histories == pytest.approx(4e6, rel=0.01)
    assert mean.seeds == (2, 3)
    # an average of averages is the average of all
    third = run(behaved, tmp_path / "3", seed=3, histories=4e6)
    np.testing.assert_allclose(
        average_runs([mean, third]).total, average_runs([*runs, third]).total, rtol=1e-5, atol=1e-7
    )
    # less noise than either, though the better one had three times the photons of the other
    errors = [((r.total - truth) ** 2).sum() for r in (*runs, mean)]
    assert errors[2] < errors[1] < errors[0]
    # as many counts as one run has: an average, no sum
    assert mean.total.sum() == pytest.approx(runs[0].total.sum(), rel=0.02)
    np.testing.assert_allclose(mean.expected_counts(300, 20), mean.total * 6000.0, rtol=1e-6)


def test_runs_that_do_not_belong_together(behaved, tmp_path):
    first = run(behaved, tmp_path / "a", seed=1)
    with pytest.raises(EngineError, match="cannot be averaged") as caught:
        average_runs([first, run(behaved, tmp_path / "b", seed=1)])
    assert "same photons" in caught.value.why
    other = run(behaved, tmp_path / "c", seed=2, geometry=orbit(SHAPE, VOXEL, views=4, radius_mm=230.0))
    with pytest.raises(EngineError, match="cannot be averaged") as caught:
        average_runs([first, other])
    assert "geometry" in caught.value.why
