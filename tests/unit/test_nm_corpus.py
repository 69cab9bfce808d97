"""NM DICOM and Interfile by a writer of its own: what is sound reads to the count, what is bad says why, no names."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.io.deidentify import subject_label
from senmei.io.dicom_nm import attenuation_map, list_nm, read_nm
from senmei.io.interfile import read_interfile
from senmei.io.projection_store import load_projections
from senmei.io.projections import Projections
from senmei.io.roles import load_role
from senmei.studies.spect_listing import list_acquisitions
from tests.clinic.corpus import (
    BAD,
    BAD_INTERFILE,
    BAD_MAPS,
    MAPS,
    OTHER,
    PERSON,
    PIXEL_MM,
    SOUND,
    Case,
    Sound,
    body,
    damaged,
    interfile,
    mixed,
    nm,
    plain_shot,
    rest_and_stress,
    twice,
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
    toward = np.array([(-read.sense * np.sin(a), np.cos(a), 0) for a in np.radians(read.angles_deg)])
    order = (shot.toward @ toward.T).argmax(axis=1)  # a full circle may begin anywhere
    np.testing.assert_allclose(toward[order], shot.toward, atol=1e-6)
    np.testing.assert_array_equal(read.counts[..., order], shot.counts)
    np.testing.assert_allclose(np.array(read.radius_mm)[order], shot.radius_mm, rtol=1e-5)
    assert len(set(np.sign(np.diff(read.angles_deg)))) == 1, "views follow each other along the orbit"
    if shot.arc < 300:
        np.testing.assert_array_equal(order, range(len(order)))
    assert read.pixel_mm == pytest.approx(PIXEL_MM)
    found = [(window.low_kev, window.high_kev) for window in read.windows]
    assert found == [(low, high) for _, low, high in shot.windows]
    assert (read.nuclide, read.collimator, read.duration_s) == ("Tc-99m", "LEHR", 20.0)
    check_silence(repr(read.facts), read.agent, repr(read.windows))


@pytest.mark.parametrize("case", MAPS, ids=ids(MAPS))
def test_maps_read_to_the_patients_frame(case: Case, tmp_path: Path) -> None:
    volume = attenuation_map(read_nm(case.build(tmp_path)), "sub-1")
    expected = body()
    corner = [(n - 1) / 2 * PIXEL_MM for n in expected.shape]
    index = np.linalg.inv(volume.affine) @ np.array([-corner[0], -corner[1], -corner[2], 1])
    np.testing.assert_allclose(index[:3], 0, atol=1e-3, err_msg="voxel 0 is left, posterior, at the feet")
    np.testing.assert_allclose(volume.data, expected, atol=1e-5)


@pytest.mark.parametrize("case", BAD_MAPS, ids=ids(BAD_MAPS))
def test_maps_that_are_none_are_refused(case: Case, tmp_path: Path) -> None:
    """Read as an image, and refused as a map."""
    read = read_nm(case.build(tmp_path))
    assert read.transmission
    with pytest.raises(DataError) as caught:
        attenuation_map(read, "sub-1")
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
        caplog.clear()
        recwarn.clear()
        with pytest.raises(DataError) as caught:
            read_nm(path)
    check_message(caught.value, case)
    out = capfd.readouterr()
    check_silence(caplog.text, out.out, out.err, *(str(w.message) for w in recwarn))


def test_one_instance_under_two_names_is_taken_once(tmp_path: Path) -> None:
    listing = list_nm(twice(tmp_path / "in"), key=b"key")
    assert len(listing.images) == 1
    assert (listing.left, dict(listing.others)) == ([], {"the same image once more": 1})


def test_a_mixed_folder_gives_what_is_sound_and_counts_the_rest(tmp_path: Path) -> None:
    listing = list_nm(mixed(tmp_path / "in"), key=b"key")
    assert [(i.kind, i.transmission) for i in listing.images] == [("TOMO", False), ("RECON TOMO", True)]
    assert {i.subject for i in listing.images} == {subject_label(PERSON.number, b"key")}
    ((_, subject, why),) = listing.left
    assert subject == subject_label(OTHER.number, b"key")
    assert "truncated" in why
    assert sum(listing.others.values()) == 3
    told = repr(listing) + " ".join(i.title for i in listing.images)
    assert betrayed(told, PERSON, OTHER) == []


@pytest.mark.parametrize("frames", [True, False])
def test_maps_of_rest_and_stress_are_told_apart_by_their_frames_of_reference(
    frames: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENMEI_DEID_KEY", "key")
    told: list[str] = []
    _, images, status = list_acquisitions(
        {
            "use": "test", "source": "dicom", "path": str(rest_and_stress(tmp_path / "in", frames=frames)),
            "attenuation": "maps", "window": "auto", "nuclide": None, "collimator": None, "radius_mm": None,
            "patients": "header",
        },
        tmp_path / "out",
        told.append,
    )  # fmt: skip
    check_silence(repr(images).replace(str(tmp_path), ""), repr(status), *told)
    if not frames:
        assert images == []
        assert sum("2 attenuation maps could be meant" in row["error"] for row in status) == 2
        return
    assert len(images) == 2
    for n, image in enumerate(images):
        mean = load_role(image["attenuation_path"]).data.mean()
        assert mean == pytest.approx((1 + 0.1 * n) * body().mean(), rel=1e-3)
        counts = load_projections(image["path"], image["facts_path"], "corpus").counts
        np.testing.assert_array_equal(counts, plain_shot(seed=n).counts)


@pytest.mark.parametrize("part", range(4))
def test_whatever_befalls_a_header_there_is_an_image_or_an_error_and_no_name(
    part: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    builds = [nm(shot=plain_shot(gates=8)), nm(shot=plain_shot(windows=2)), MAPS[0].build]
    contents = [build(tmp_path / str(n)).read_bytes() for n, build in enumerate(builds)]
    outcomes = Counter[str]()
    for seed in range(60):
        rng = np.random.default_rng([part, seed])
        path = tmp_path / f"Quixotic {seed}.dcm"
        path.write_bytes(damaged(contents[seed % 3], part, rng))
        try:
            read = read_nm(path)
            check_silence(repr([getattr(read, name) for name in ("facts", "nuclide", "agent", "windows")]))
            outcomes["read"] += 1
        except DataError as error:
            check_silence(str(error))
            outcomes["refused"] += 1
    assert set(outcomes) == {"read", "refused"}
    check_silence(*(str(w.message) for w in recwarn))


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
