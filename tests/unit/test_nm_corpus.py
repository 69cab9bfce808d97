"""NM DICOM and Interfile by a writer of its own: what is sound reads to the count, what is bad says why, no names."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.io.dicom_nm import read_nm
from senmei.io.interfile import read_interfile
from senmei.io.projections import Projections
from senmei.physics.spect.checks import check_attenuation
from senmei.physics.spect.geometry import grid_of, orbit
from senmei.studies.spect_files import upright
from tests.clinic.corpus import (
    BAD,
    BAD_INTERFILE,
    BAD_MAPS,
    MAPS,
    NU,
    NV,
    PERSON,
    PIXEL_MM,
    SOUND,
    VIEWS,
    Case,
    Sound,
    body,
    interfile,
    plain_shot,
)
from tests.clinic.nm_writer import betrayed

# Of these dciodvfy warns, and rightly: a clinic's files are like that. Private tags, tags of other modules, old codes.
EXPECTED = ("PRIVATEER", "not present in standard DICOM IOD", "CodingSchemeDesignator is deprecated")
# The standard asks for this sequence where time slots are indexed; dciodvfy looks for the index within the sequence.
UNTRUE = "TimeSlotInformationSequence(0054,0072)> - Attribute present when condition unsatisfied"


def ids(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def check_silence(*texts: str) -> None:
    assert betrayed(" ".join(texts), PERSON) == []


def check_message(error: DataError, case: Case) -> None:
    said = str(error).lower()
    for piece in case.expect:
        pieces = (piece,) if isinstance(piece, str) else piece
        assert any(p.lower() in said for p in pieces), f"{pieces} in: {error}"
    assert error.fix and error.where
    check_silence(str(error))


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed")
@pytest.mark.parametrize("case", [*SOUND, *MAPS], ids=ids([*SOUND, *MAPS]))
def test_the_corpus_is_what_the_standard_asks_for(case: Case, tmp_path: Path) -> None:
    path = case.build(tmp_path)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "NMImage" in lines
    assert [line for line in lines if line.startswith("Error") and UNTRUE not in line] == []
    warnings = [line for line in lines if line.startswith("Warning")]
    assert [line for line in warnings if not any(word in line for word in EXPECTED)] == []


@pytest.mark.parametrize("case", SOUND, ids=ids(list(SOUND)))
def test_sound_files_read_to_the_very_counts(case: Sound, tmp_path: Path) -> None:
    read = read_nm(case.build(tmp_path))
    shot = case.shot
    assert isinstance(read, Projections) and shot is not None
    read.check("corpus")
    np.testing.assert_array_equal(read.counts, shot.counts)
    toward = np.array([(-read.sense * np.sin(a), np.cos(a), 0) for a in np.radians(read.angles_deg)])
    np.testing.assert_allclose(toward, shot.toward, atol=1e-6)
    np.testing.assert_allclose(read.radius_mm, shot.radius_mm, rtol=1e-5)
    assert read.pixel_mm == pytest.approx(PIXEL_MM)
    found = [(window.low_kev, window.high_kev) for window in read.windows]
    assert found == [(low, high) for _, low, high in shot.windows]
    assert (read.nuclide, read.collimator, read.duration_s) == ("Tc-99m", "LEHR", 20.0)
    check_silence(repr(read.facts), read.agent, repr(read.windows))


@pytest.mark.parametrize("case", MAPS, ids=ids(MAPS))
def test_maps_read_to_the_patients_frame(case: Case, tmp_path: Path) -> None:
    volume = read_nm(case.build(tmp_path)).volume
    expected = body()
    corner = [(n - 1) / 2 * PIXEL_MM for n in expected.shape]
    index = np.linalg.inv(volume.affine) @ np.array([-corner[0], -corner[1], -corner[2], 1])
    np.testing.assert_allclose(index[:3], 0, atol=1e-3, err_msg="voxel 0 is left, posterior, at the feet")
    np.testing.assert_allclose(volume.data, expected, atol=1e-5)


@pytest.mark.parametrize("case", BAD_MAPS, ids=ids(BAD_MAPS))
def test_maps_that_are_none_are_refused(case: Case, tmp_path: Path) -> None:
    """Read as an image, and refused where an acquisition wants its map."""
    read = read_nm(case.build(tmp_path))
    assert read.transmission and read.unit == ""
    geometry = orbit((NU, NU, NV), PIXEL_MM, VIEWS)
    with pytest.raises(DataError) as caught:
        check_attenuation(upright(read.volume), geometry, grid_of(geometry), "sub-1")
    check_message(caught.value, case)


@pytest.mark.parametrize("case", BAD, ids=ids(BAD))
def test_bad_files_say_what_is_wrong_and_name_nobody(
    case: Case,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    with caplog.at_level(logging.DEBUG):
        path = case.build(tmp_path)
        caplog.clear(), recwarn.clear()
        with pytest.raises(DataError) as caught:
            read_nm(path)
    check_message(caught.value, case)
    out = capfd.readouterr()
    check_silence(caplog.text, out.out, out.err, *(str(w.message) for w in recwarn))


# --- Interfile ---


@pytest.mark.parametrize(("order", "stored"), [("LITTLEENDIAN", "<f4"), ("BIGENDIAN", ">f4")])
def test_interfile_of_both_byte_orders_reads_to_the_same_counts(
    order: str, stored: str, tmp_path: Path
) -> None:
    read = read_interfile(interfile(tmp_path, order=order, stored=stored))
    assert isinstance(read, Projections)
    np.testing.assert_array_equal(read.counts, plain_shot().counts)
    check_silence(repr(read.facts))


@pytest.mark.parametrize("case", BAD_INTERFILE, ids=ids(BAD_INTERFILE))
def test_bad_interfile_says_what_is_wrong_and_names_nobody(case: Case, tmp_path: Path) -> None:
    header = case.build(tmp_path)
    with pytest.raises(DataError) as caught:
        read_interfile(header)
    check_message(caught.value, case)
