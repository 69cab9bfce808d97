"""Acquisitions of patients in the study `spect_denoise`: listed without names, looked at, thinned, never made up."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError, SenmeiError
from senmei.core.volume import Volume
from senmei.io.deidentify import subject_label
from senmei.io.projection_store import load_projections, save_projections
from senmei.io.projections import EnergyWindow, Projections
from senmei.io.roles import load_role, save_role
from senmei.io.table_schemas import check_table
from senmei.physics.spect.energy_windows import camera_of, choose_window
from senmei.physics.spect.geometry import Acquisition, grid_of
from senmei.stages.plan import Plan
from senmei.studies import spect_doors
from senmei.studies.spect_acquisitions import scattered
from senmei.studies.spect_denoise import SPECTDenoise
from senmei.studies.spect_doors import Folder, Found
from senmei.studies.spect_files import read_acquisition, read_map, upright
from senmei.studies.spect_listing import list_acquisitions
from tests.clinic.corpus import BAD, BAD_INTERFILE, BAD_MAPS, PERSON
from tests.clinic.nm_writer import betrayed
from tests.clinic.patients import PATIENTS, PEOPLE, SPOILED, Patient, orbit, shot, torso, write_clinic

ROOT = Path(__file__).resolve().parents[2]
SEED = 5
PEAK = EnergyWindow("Tc99m", 126.45, 154.55)
LOWER = EnergyWindow("scatter", 108.0, 122.0)
WHO = ("Quixotic", "MRN7734211")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENMEI_DEID_KEY", "of these tests")


def parts(degradation: dict[str, Any] | None = None, **cohort: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a clinic's cohort, and of the degradation."""
    studies = {
        "mri_denoise": {"enabled": False},
        "spect_denoise": {
            "preset": "tiny",
            "cohorts": {"clinic": {"use": "test", "source": "dicom", "path": "clinic", **cohort}},
            "degradation": merge(
                {"pairs": "thinning", "reconstruction": {"iterations": 1, "subsets": 5}}, degradation or {}
            ),
        },
    }
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"studies": studies})
    found = resolve(config, ROOT)["studies"]["spect_denoise"]
    return found["cohorts"]["clinic"], found["degradation"]


def acquired(patient: Patient) -> Projections:
    """The patient's acquisition as a reader would give it."""
    geometry = orbit(patient.clockwise)
    return Projections(
        counts=np.asarray(shot(patient).counts, np.int32),
        windows=(PEAK, LOWER)[: patient.windows],
        pixel_mm=geometry.voxel_mm,
        angles_deg=geometry.angles_deg,
        direction=geometry.direction,
        radius_mm=geometry.radius_mm,
        nuclide="Tc-99m",
        agent="sestamibi",
        collimator="LEHR",
        duration_s=20.0,
        facts={"rows": 26},
    )


PLAIN, GATED = Patient(PEOPLE[0], 11), Patient(PEOPLE[1], 12, gates=4)


@pytest.fixture(scope="module")
def plain() -> Projections:
    return acquired(PLAIN)


@pytest.fixture(scope="module")
def gated() -> Projections:
    return acquired(GATED)


def mu_of(patient: Patient) -> Volume:
    return torso(patient.seed).mu


def found(kind: str, value: Any, identity: str = "a", session: str = "1", **more: Any) -> Found:
    """A file of a clinic that gives `value`; of an error, one that cannot be read."""

    def load() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    title = more.pop("title", f"series of {kind}")
    subject = subject_label(identity, b"of these tests")
    return Found(subject, session, kind, title, load, words=frozenset(w.lower() for w in WHO), **more)


def listed(
    items: list[Found], folder: Path, monkeypatch: pytest.MonkeyPatch, others: Any = (), **cohort: Any
) -> tuple[Any, list[str]]:
    """What listing these files gives, and what it logged."""
    monkeypatch.setattr(
        spect_doors, "find_acquisitions", lambda cohort: Folder(items, [], Counter(dict(others)))
    )
    told: list[str] = []
    return list_acquisitions(parts(**cohort)[0], folder, told.append), told


def image_of(
    projections: Projections, mu: Volume | None, folder: Path, monkeypatch: pytest.MonkeyPatch, **cohort: Any
) -> dict[str, Any]:
    """The row of one listed acquisition."""
    items = [found("projections", projections), *([found("map", mu)] if mu else [])]
    if mu is None:
        cohort["attenuation"] = "none"
        cohort["degradation"] = {"reconstruction": {"attenuation": False, "scatter": False}}
    (_, images, status), _ = listed(items, folder, monkeypatch, **cohort)
    assert not [row for row in status if row["status"] == "failed"], status
    return images[0]


# ---- listing ----


def test_subjects_visits_and_runs_are_told_apart_and_nobody_is_named(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mu = mu_of(PLAIN)
    items = [
        found("projections", plain, WHO[1], "visit of 2019"),
        found("projections", plain, WHO[1], "visit of 2019"),
        found("map", mu, WHO[1], "visit of 2019"),
        found("projections", plain, WHO[1], "visit of 2020"),
        found("map", mu, WHO[1], "visit of 2020"),
        found("projections", plain, "MRN2", "visit of 2018"),
        found("map", mu, "MRN2", "visit of 2019"),
        found("static image, not a tomographic acquisition", None, "MRN2"),
    ]
    (participants, images, status), told = listed(items, tmp_path, monkeypatch, {"not DICOM (.txt)": 2})
    one, two = (row["subject"] for row in participants)
    assert [row["image"] for row in images] == [
        f"{one}_ses-1_run-1",
        f"{one}_ses-1_run-2",
        f"{one}_ses-2",
        f"{two}_ses-1",
    ]
    assert [row["repeat"] for row in images] == [1, 2, 3, 1]
    assert all(row["attenuation_path"] for row in images), (
        "a map of another visit is the patient's all the same"
    )
    assert {row["status"] for row in status} == {"left"}
    assert [row["error"] for row in status][-1] == "2 x not DICOM (.txt)"
    text = json.dumps([participants, images, status, told]) + "".join(map(str, tmp_path.rglob("*")))
    text += "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    for word in (*WHO, "MRN2", "visit of"):
        assert word.lower() not in text.lower()


def test_one_bad_file_stops_nobody_and_its_message_names_no_file(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = DataError(
        "Cannot use it",
        where=f"/clinic/{WHO[0]}.dcm",
        why=f"the frame of {WHO[0]} is cut short",
        fix="export again",
    )
    mu = mu_of(PLAIN)
    items = [
        found("projections", plain, "a"),
        found("map", mu, "a"),
        found("projections", wrong, "b"),
        found("map", mu, "b"),
        found("projections", OSError(5, "input/output error", f"/clinic/{WHO[0]}.dcm"), "c"),
        found("map", mu, "c"),
        found("projections", plain, "d"),
        found("projections", plain, "e"),
        found("map", mu, "e"),
        found("map", mu, "e"),
        found("projections", replace(plain, angles_deg=plain.angles_deg[:-1]), "f"),
        found("map", mu, "f"),
        found("projections", mu, "g"),
        found("map", mu, "g"),
        found("projections", plain, "h"),
        found("map", plain, "h"),
    ]
    (participants, images, status), told = listed(items, tmp_path, monkeypatch)
    assert len(images) == len(participants) == 1
    errors = [row["error"] for row in status if row["status"] == "failed"]
    for part in (
        "is cut short. Fix: export again",
        "cannot be read (OSError)",
        "no attenuation map came with it. Fix: bring its map; or set `attenuation: none`",
        "2 attenuation maps could be meant. Fix: keep one map a visit",
        "29 angles for 30 views",
        "holds images, not projections",
        "its file holds no volume",
    ):
        assert sum(part in error for error in errors) == 1, (part, errors)
    assert not any(w.lower() in (json.dumps(status) + "".join(told)).lower() for w in (*WHO, "/clinic"))


def test_of_several_maps_the_one_that_lies_beside_is_taken(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest, stress = mu_of(PLAIN), mu_of(GATED)
    items = [
        found("projections", plain, folder="x", stem="rest"),
        found("projections", plain, folder="x", stem="stress"),
        found("map", rest, "by place", folder="x", stem="rest", placed=True),
        found("map", stress, "by place", folder="x", stem="stress", placed=True),
        found("map", stress, "by place", folder="y", stem="", placed=True),
    ]
    (_, images, status), _ = listed(items, tmp_path, monkeypatch)
    acquisition = orbit(True)
    for row, wanted in zip(images, (rest, stress), strict=True):
        taken = read_map(Path(row["attenuation_path"]), acquisition, "x")
        assert np.array_equal(taken.data, wanted.data.astype(np.float32))
    assert [row["status"] for row in status] == ["left"], "the map of nobody"


def test_a_map_is_never_another_patient_s(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mu = mu_of(PLAIN)

    def taken(*maps: tuple[str, str]) -> dict[str, bool]:
        """Acquisition -> whether a map was taken, of two patients in folder x and one below folder y."""
        places = {"p1": ("a", "x"), "p10": ("b", "x"), "s1": ("c", "y/1"), "s2": ("c", "y/2")}
        items = [
            found("projections", plain, who, stem, title=stem, folder=folder, stem=stem)
            for stem, (who, folder) in places.items()
        ]
        items += [found("map", mu, "?", "", folder=f, stem=stem, placed=True) for f, stem in maps]
        _, told = listed(items, tmp_path, monkeypatch)
        return {stem: any(f"({stem})" in line for line in told) for stem in places}

    assert taken(("x", "p1"), ("y", "any")) == {"p1": True, "p10": False, "s1": True, "s2": True}
    assert taken(("x", "p1"), ("x", "p10")) == {"p1": True, "p10": True, "s1": False, "s2": False}
    assert taken(("x", ""), (".", "s1")) == {"p1": False, "p10": False, "s1": False, "s2": False}
    assert taken(("x", "ct")) == {"p1": False, "p10": False, "s1": False, "s2": False}


def test_who_was_withdrawn_is_gone_and_the_rest_stays_to_the_byte(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [found("projections", plain, who) for who in "ab"]
    none = {
        "attenuation": "none",
        "degradation": {"reconstruction": {"attenuation": False, "scatter": False}},
    }
    (_, images, _), _ = listed(both, tmp_path, monkeypatch, **none)
    before = {p.name: p.read_bytes() for p in (tmp_path / "acquisitions").iterdir()}
    (_, again, _), _ = listed(both[:1], tmp_path, monkeypatch, **none)
    after = {p.name: p.read_bytes() for p in (tmp_path / "acquisitions").iterdir()}
    assert again == images[:1]
    assert len(after) == 2
    assert after.items() <= before.items()


def test_a_full_disk_is_no_fault_of_a_file(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("senmei.io.projection_store.save_role", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match="No space left"):
        image_of(plain, mu_of(PLAIN), tmp_path, monkeypatch)


def test_an_acquisition_comes_back_from_its_store_as_it_was(gated: Projections, tmp_path: Path) -> None:
    back = load_projections(*save_projections(tmp_path / "sub-1", gated), "sub-1")
    assert np.array_equal(back.counts, gated.counts)
    assert back.counts.dtype == gated.counts.dtype
    assert replace(back, counts=gated.counts) == gated
    (tmp_path / "sub-1_facts.json").write_text("{}")
    with pytest.raises(DataError, match="Cannot read a listed acquisition") as caught:
        load_projections(tmp_path / "sub-1_counts.h5", tmp_path / "sub-1_facts.json", "sub-1")
    assert caught.value.where == "sub-1"


# ---- reading ----


def test_raw_roles_of_an_acquisition(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = image_of(plain, mu_of(PLAIN), tmp_path, monkeypatch)
    raw = SPECTDenoise().read(row, parts()[0])
    assert raw is not None
    assert raw["projections"].data.dtype == np.int32
    assert np.array_equal(raw["projections"].data, plain.counts[0, 0])
    acquisition = Acquisition.from_dict(raw["acquisition"])
    assert acquisition == replace(orbit(True), camera=acquisition.camera)
    assert acquisition.camera.to_dict() | {"window": 0} == orbit(True).camera.to_dict() | {"window": 0}
    assert acquisition.camera.window == pytest.approx(0.2)
    assert np.array_equal(raw["attenuation"].data, mu_of(PLAIN).data)
    assert raw["columns"]["full_counts"] == plain.counts.sum()
    assert raw["columns"] | {"full_counts": 0, "heart_mm": ""} == {
        "full_counts": 0, "heart_mm": "", "window": "126.45-154.55", "collimator": "LEHR", "direction": "consistent",
    }  # fmt: skip
    assert raw["file_facts"]["agent"] == "sestamibi"


def test_gates_are_kept_apart_and_the_photopeak_is_found_among_windows(
    gated: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(
        gated,
        counts=np.concatenate([gated.counts // 5, gated.counts]).astype(np.int32),
        windows=(LOWER, PEAK),
    )
    row = image_of(both, mu_of(GATED), tmp_path, monkeypatch)
    assert row["gates"] == 4
    raw = SPECTDenoise().read(row, parts()[0])
    assert raw is not None
    assert raw["projections"].data.shape == (40, 26, 30, 4)
    assert np.array_equal(np.moveaxis(raw["projections"].data, 3, 0), gated.counts[0])


REFUSED: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "no collimator": ({"collimator": ""}, {}, "collimator is not known", "set `collimator:`"),
    "no nuclide": ({"nuclide": ""}, {}, "No photopeak window", "window: [low, high]"),
    "window of another nuclide": ({"nuclide": "I-123"}, {}, "No photopeak window", "window: [low, high]"),
    "window not there": ({}, {"window": [50, 60]}, "No photopeak window", "window: [low, high]"),
    "no counts": ({"counts": None}, {}, "no photon counts", "as the camera counted"),
    "turned the other way": ({"direction": "cw"}, {}, "turned the other way", "direction: ccw"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_the_image_and_a_way_out(
    name: str, plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, cohort, what, fix = REFUSED[name]
    if "counts" in change:
        change = {"counts": (plain.counts * 0.37).astype(np.float32)}
    row = image_of(replace(plain, **change), mu_of(PLAIN), tmp_path, monkeypatch)
    with pytest.raises(DataError, match=what) as caught:
        SPECTDenoise().read(row, parts(**cohort)[0])
    assert caught.value.where == row["image"]
    assert fix in caught.value.fix


def test_what_the_file_does_not_say_the_cohort_may(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = replace(plain, collimator="", nuclide="")
    row = image_of(silent, mu_of(PLAIN), tmp_path, monkeypatch)
    roles, columns = read_acquisition(row, parts(collimator="LEAP", nuclide="Tc-99m")[0])
    assert columns["collimator"] == roles["acquisition"]["camera"]["collimator"] == "LEAP"
    assert roles["acquisition"]["camera"]["energy_kev"] == 140.5
    roles, _ = read_acquisition(row, parts(collimator="LEAP", window=[126, 154])[0])
    assert roles["acquisition"]["camera"]["energy_kev"] == 140.5, "the middle of the window"


def test_maps_are_turned_upright_and_never_moved(tmp_path: Path) -> None:
    mu = mu_of(PLAIN)
    turned = Volume(np.ascontiguousarray(np.flip(np.transpose(mu.data, (2, 0, 1)), 2)), np.eye(4))
    affine = np.zeros((4, 4))
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = mu.affine[:3, 2], mu.affine[:3, 0], -mu.affine[:3, 1]
    affine[:, 3] = mu.affine @ [0, mu.shape[1] - 1, 0, 1]
    back = upright(Volume(turned.data, affine))
    assert np.array_equal(back.data, mu.data)
    assert np.allclose(back.affine, mu.affine)
    fine = np.repeat(np.repeat(np.repeat(mu.data, 2, 0), 2, 1), 2, 2)
    affine = mu.affine @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = mu.affine[:3, 3] - 0.25 * np.diag(mu.affine)[:3]
    halved = read_map(save_role(tmp_path / "fine", Volume(fine, affine)), orbit(True), "sub-1")
    assert np.allclose(halved.data, mu.data, atol=1e-6), "the same field in finer voxels is averaged"
    cut = Volume(fine[2:], affine)
    with pytest.raises(DataError, match="another geometry"):
        read_map(save_role(tmp_path / "cut", cut), orbit(True), "sub-1")
    moved = Volume(mu.data, mu.affine + np.pad([[15.0], [0], [0]], ((0, 1), (3, 0))))
    with pytest.raises(DataError, match="another geometry") as caught:
        read_map(save_role(tmp_path / "mu", moved), orbit(True), "sub-1")
    assert caught.value.where == "sub-1"


# ---- energy windows ----


def test_the_photopeak_of_each_nuclide() -> None:
    def chosen(nuclide: str, *windows: tuple[float, float], wanted: Any = "auto") -> tuple[int, float]:
        return choose_window([EnergyWindow("", *w) for w in windows], nuclide, wanted, "x")

    assert chosen("Tc-99m", (108, 122), (126, 154)) == (1, 140.5)
    assert chosen("In-111", (222, 268), (154, 188)) == (1, 171.3), (
        "the line with the better collimation first"
    )
    assert chosen("In-111", (222, 268)) == (0, 245.4)
    assert chosen("", (126, 154), wanted=[126.5, 153]) == (0, 140.0)
    for nuclide, windows, why in (
        ("Tc-99m", [(108, 122)], "none holds the 140.5 keV of Tc-99m; its windows: 108-122 keV"),
        ("Tc-99m", [(126, 154), (130, 150)], "2 windows hold the 140.5 keV"),
        ("Zz-9", [(126, 154)], "photons of Zz-9 are not known"),
    ):
        with pytest.raises(DataError, match="No photopeak window") as caught:
            chosen(nuclide, *windows)
        assert why in caught.value.why
    low = EnergyWindow("", 30, 40)
    with pytest.raises(DataError, match="No camera looks through this window") as caught:
        camera_of(low, choose_window([low], "", [30, 40], "x")[1], "LEAP", "sub-3")
    assert "30-40 keV, photons of 35 keV: energy_kev: it must be a number from" in caught.value.why
    assert camera_of(EnergyWindow("", 143.1, 174.9), 159.0, "LEHR", "x").window == 0.2


# ---- roles ----


def prepared(row: dict[str, Any], group: str, dose: float, settings: Any, cohort: Any) -> Any:
    study = SPECTDenoise()
    raw = study.read(row, cohort)
    assert raw is not None
    scan = next(
        s for s in study.scans([row], {**cohort, "doses": [dose]}, settings) if s["dose"] == dose
    ) | raw.pop("columns")
    return study.prepare(group, scan, lambda image, role: raw[role], cohort, settings, SEED)


def test_the_full_dose_is_what_was_counted_and_less_is_thinned_from_it(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = image_of(plain, mu_of(PLAIN), tmp_path, monkeypatch)
    cohort, settings = parts()
    assert SPECTDenoise().scans([row], cohort, settings)[0]["dose"] == 1, (
        "the study's doses are for simulations"
    )
    full, columns = prepared(row, "projections", 1.0, settings, cohort)
    assert np.array_equal(full["projections"].data, plain.counts[0, 0])
    assert columns["counts"] == plain.counts.sum()
    quarter, _ = prepared(row, "projections", 0.25, settings, cohort)
    assert (quarter["projections"].data <= full["projections"].data).all()
    assert quarter["projections"].data.sum() / plain.counts.sum() == pytest.approx(0.25, rel=0.01)
    assert quarter["reconstruction"]["unit"] / full["reconstruction"]["unit"] == pytest.approx(0.25)
    levels = [prepared(row, "input", dose, settings, cohort)[1]["scale"] for dose in (1.0, 0.25)]
    assert levels[1] / levels[0] == pytest.approx(1, abs=0.1), "images of all doses are in one unit"
    assert prepared(row, "truth", 1.0, settings, cohort) == ({}, {})


def test_pairs_are_halves_or_gates_of_the_one_acquisition(
    gated: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = image_of(gated, mu_of(GATED), tmp_path, monkeypatch)
    counts = gated.counts[0].sum(axis=0)
    for kind in ("thinning", "gated"):
        cohort, settings = parts({"pairs": kind, "realisations": 1})
        pair, _ = prepared(row, "projection_pair", 1.0, settings, cohort)
        noisy, repeat = pair["noisy_projections"].data, pair["repeat_projections"].data
        assert np.array_equal(noisy[..., 0] + repeat[..., 0], counts)
        assert np.array_equal(noisy[..., 0], repeat[..., 1])
        if kind == "gated":
            assert np.array_equal(noisy[..., 0], gated.counts[0, 0::2].sum(axis=0))
        images, _ = prepared(row, "pair", 1.0, settings, cohort)
        sums = [images[role].data[..., 0].sum() for role in ("noisy", "repeat")]
        assert sums[0] / sums[1] == pytest.approx(1, abs=0.02), "both in the unit of the whole acquisition"


@pytest.mark.parametrize("kind", ["independent", "split", "gated"])
def test_a_second_acquisition_is_never_made_up(
    kind: str, plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = image_of(plain, mu_of(PLAIN), tmp_path, monkeypatch)
    cohort, settings = parts({"pairs": kind})
    with pytest.raises(DataError, match=f"No {kind} pairs of a measured acquisition") as caught:
        prepared(row, "pair", 1.0, settings, cohort)
    assert "pairs: thinning" in caught.value.fix
    assert prepared(row, "projections", 1.0, settings, cohort)[1]["counts"] == plain.counts.sum()


def test_without_a_map_the_reconstruction_says_what_to_leave_out(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = image_of(plain, None, tmp_path, monkeypatch)
    plainly = {"reconstruction": {"attenuation": False, "scatter": False}}
    cohort, settings = parts(plainly, attenuation="none")
    roles, _ = prepared(row, "input", 1.0, settings, cohort)
    assert np.allclose(roles["input"].affine, grid_of(orbit(True)).affine)
    assert 0.02 < roles["mask"].data.mean() < 0.2
    made, _ = prepared(row, "projections", 1.0, settings, cohort)
    assert not made["attenuation"].data.any()
    from senmei.core.example import Example
    from senmei.methods.butterworth_projections import ButterworthProjections

    same = ButterworthProjections(cutoff_per_cm=50.0).apply(Example({"scan": "x"}, {**made, **roles}))
    assert np.abs(same.data - roles["input"].data).max() < 1e-3 * roles["input"].data.max(), (
        "by projections as well"
    )
    with pytest.raises(SenmeiError, match="no attenuation map"):
        prepared(row, "input", 1.0, parts()[1], cohort)


# ---- scatter by energy windows ----

TWO = Patient(PEOPLE[2], 13, windows=2)
BY_WINDOW = {"reconstruction": {"scatter": "window"}, "realisations": 1}


def test_scatter_told_by_windows_is_shared_out_as_the_photons_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = acquired(TWO)
    row = image_of(both, mu_of(TWO), tmp_path, monkeypatch)
    cohort, settings = parts(BY_WINDOW)
    raw = SPECTDenoise().read(row, cohort)
    assert raw is not None
    assert np.array_equal(raw["side_counts"].data, both.counts[1, 0])
    for role, value in raw.items():  # as the next stage will find them
        if role != "columns":
            raw[role] = load_role(save_role(tmp_path / role, value), ndim=(3, 4))
    assert raw["side_windows"]["widths_kev"] == pytest.approx([14.0, 28.1])
    scan = {"scan": "sub-1_acq-dose100", "dose": 1.0}
    first = [0, 1, 2, 2, 1]  # a pair, and the same the other way round
    shares = np.array([1.0, 0.6, 0.4, 0.4, 0.6])
    whole, one, two = scattered(raw.__getitem__, first, shares, scan, SEED)
    assert np.allclose(one + two, whole, atol=1e-3)
    assert one.sum() / whole.sum() == pytest.approx(0.6, abs=0.01)
    true = both.counts[1, 0] / 0.8  # how the phantom's lower window was made
    assert whole.sum() / true.sum() == pytest.approx(28.1 / 28 * 0.8, rel=0.02)
    low = scattered(raw.__getitem__, [0], np.ones(1), {**scan, "dose": 0.25}, SEED)
    assert low.sum() / whole.sum() == pytest.approx(0.25, abs=0.01)
    images = {}
    for name, scatter in (("window", "window"), ("none", False), ("model", True)):
        recipe = {**settings, "reconstruction": {**settings["reconstruction"], "scatter": scatter}}
        images[name] = prepared(row, "input", 1.0, recipe, cohort)[0]["input"].data
    heart = torso(TWO.seed).segments.data > 0
    level = {name: float(image[heart].mean()) for name, image in images.items()}
    assert level["window"] < 0.9 * level["none"]
    assert level["window"] / level["model"] == pytest.approx(1, abs=0.12), "two estimates of one scatter"


def test_scatter_is_not_told_by_windows_that_are_not_there(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = image_of(plain, mu_of(PLAIN), tmp_path, monkeypatch)
    cohort, settings = parts(BY_WINDOW)
    with pytest.raises(DataError, match="cannot be told from energy windows") as caught:
        prepared(row, "input", 1.0, settings, cohort)
    assert caught.value.where.endswith("acq-dose100")
    assert prepared(row, "projections", 1.0, settings, cohort)[0]["projections"].data.any()
    with pytest.raises(ConfigError, match="no energy windows") as refused:
        SPECTDenoise().check_cohort(
            {**cohort, "source": "simulate", "engine": "builtin", "phantom": "torso"}, settings
        )
    assert refused.value.where == "degradation.reconstruction.scatter: window"


def test_a_window_on_either_side_makes_a_trapezoid(
    plain: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = plain.counts
    sides = [(EnergyWindow("", 120.0, 126.0), peak // 10), (EnergyWindow("", 155.0, 158.0), peak // 40)]
    three = replace(
        plain,
        counts=np.concatenate([sides[0][1], peak, sides[1][1]]).astype(np.int32),
        windows=(sides[0][0], PEAK, sides[1][0]),
        nuclide="Tc-99m",
    )
    row = image_of(three, mu_of(PLAIN), tmp_path, monkeypatch)
    raw = SPECTDenoise().read(row, parts()[0])
    assert raw is not None
    assert raw["side_counts"].data.shape == (40, 26, 30, 2)
    assert raw["side_windows"]["widths_kev"] == pytest.approx([6.0, 28.1, 3.0])
    (found,) = scattered(raw.__getitem__, [0], np.ones(1), {"scan": "x", "dose": 1.0}, SEED)
    lower, upper = (counts.sum() for _, counts in sides)
    assert found.sum() == pytest.approx((lower / 6 + upper / 3) * 28.1 / 2, rel=0.02)


# ---- what is refused before anything runs ----


@pytest.mark.parametrize(
    ("degradation", "cohort", "what", "where"),
    [
        ({"pairs": "independent"}, {"use": "train"}, "no such pairs", "degradation.pairs: independent"),
        ({"pairs": "split"}, {"use": "train"}, "no such pairs", "degradation.pairs: split"),
        (
            {},
            {"attenuation": "none"},
            "no attenuation map",
            "reconstruction.attenuation and degradation.recon",
        ),
        ({}, {"window": [154, 126]}, "Not an energy window", "window: [154, 126]"),
    ],
)
def test_the_plan_stops_for_what_no_acquisition_can_give(
    degradation: Any, cohort: Any, what: str, where: str, tmp_path: Path
) -> None:
    cohort, settings = parts(degradation, **cohort)
    study: dict[str, Any] = {"use": "spect_denoise", "cohorts": {"clinic": cohort}, "degradation": settings}
    study |= {"methods": {}, "measures": {}, "analyses": {}, "shards": 1}
    config = {"run": "x", "seed": 1, "strict": False, "studies": {"spect_denoise": study}}
    with pytest.raises(ConfigError, match=what) as caught:
        Plan(config, tmp_path)
    assert where in caught.value.where
    assert caught.value.where.endswith("(cohort 'clinic')")


# ---- a folder of Interfile ----


def interfile_folder(folder: Path, plain: Projections, gated: Projections) -> Path:
    """Two patients in folders named after them, and what else lies there."""
    from senmei.io.interfile import write_interfile
    from senmei.io.nifti import write_volume

    for patient, projections, person in ((PLAIN, plain, PEOPLE[0]), (GATED, gated, PEOPLE[1])):
        place = folder / f"{person.family} {person.given}"
        place.mkdir(parents=True)
        header = place / "scan.h33"
        write_interfile(header, projections, number_format="signed integer", size=4)
        told = f"!INTERFILE :=\npatient name := {person.name}\npatient ID := {person.number}"
        header.write_text(header.read_text().replace("!INTERFILE :=", told, 1))
        if patient is PLAIN:
            write_interfile(place / "scan_attenuation.h33", mu_of(patient))
        else:
            write_volume(place / "scan_attenuation.nii.gz", mu_of(patient))
            write_volume(place / "t1.nii.gz", mu_of(patient))
    (folder / "notes.hdr").write_text("nothing of the kind")
    return folder


def test_a_folder_of_interfile_is_listed_and_read(
    plain: Projections, gated: Projections, tmp_path: Path
) -> None:
    folder = interfile_folder(tmp_path / "in", plain, gated)
    cohort, _ = parts(source="interfile", path=str(folder))
    told: list[str] = []
    participants, images, status = (
        SPECTDenoise().list_files(cohort, tmp_path / "out", seed=1, log=told.append) or ()
    )
    labels = {subject_label(person.number, b"of these tests") for person in PEOPLE[:2]}
    assert {row["subject"] for row in participants} == labels
    assert sorted(row["gates"] for row in images) == [1, 4]
    assert sorted(row["error"] for row in status) == [
        "1 x no Interfile header (.hdr)",
        "1 x not an attenuation map (NIfTI files are taken as maps only, named *_attenuation.nii.gz)",
    ]
    for row in images:
        raw = SPECTDenoise().read(row, cohort)
        assert raw is not None
        source, patient = (plain, PLAIN) if row["gates"] == 1 else (gated, GATED)
        counts = raw["projections"].data
        assert np.array_equal(
            counts if counts.ndim == 3 else np.moveaxis(counts, 3, 0), source.counts[0].squeeze()
        )
        assert np.allclose(raw["attenuation"].data, mu_of(patient).data, atol=1e-6)
        assert raw["columns"]["direction"] == "consistent"
    text = json.dumps([participants, images, status, told]) + "".join(map(str, (tmp_path / "out").rglob("*")))
    for person in PEOPLE[:2]:
        assert not any(word in text.lower() for word in person.secrets())
    by_folder, _ = parts(source="interfile", path=str(folder), patients="folder")
    again = SPECTDenoise().list_files(by_folder, tmp_path / "out", seed=1, log=told.append) or ((), (), ())
    assert len(again[0]) == 2
    assert not labels & {row["subject"] for row in again[0]}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    cohort, _ = parts(source="interfile", path=str(tmp_path / "none"))
    with pytest.raises(DataError, match="Cannot list acquisitions") as caught:
        SPECTDenoise().list_files(cohort, tmp_path, seed=1, log=print)
    assert "no such folder" in caught.value.why


def test_the_methods_paragraph_does_not_take_patients_for_phantoms() -> None:
    clinic, _ = parts()
    torsos = {"source": "simulate"}
    configured = {"clinic": {"a": clinic}, "both": {"a": clinic, "b": torsos}, "torsos": {"b": torsos}}
    text = {name: " ".join(t for t, _ in SPECTDenoise().words(c)) for name, c in configured.items()}
    assert "were simulated" not in text["clinic"]
    assert "of patients there is no reference" in text["clinic"]
    assert "were simulated" in text["both"]
    assert "Acquisitions of patients" in text["both"]
    assert "patients" not in text["torsos"]


# ---- a clinic's DICOM ----


def test_a_clinic_s_dicom_is_listed_and_read(tmp_path: Path) -> None:
    """Files of an independent writer: heads that stand 90 degrees apart, two windows, a map from head to feet."""
    clinic = [PATIENTS[0], PATIENTS[2], PATIENTS[4]]
    folder = write_clinic(tmp_path / "in", clinic, SPOILED)
    cohort, _ = parts(path=str(folder))
    told: list[str] = []
    listing = SPECTDenoise().list_files(cohort, tmp_path / "out", seed=1, log=told.append)
    assert listing is not None
    participants, images, status = listing
    label = {p: subject_label(p.person.number, b"of these tests") for p in (*clinic, SPOILED)}
    assert {row["subject"] for row in participants} == {label[p] for p in clinic[:2]}
    failed = {row["subject"]: row["error"] for row in status if row["status"] == "failed"}
    assert failed.keys() == {label[clinic[2]], label[SPOILED]}
    assert "no attenuation map came with it" in failed[label[clinic[2]]]
    rows = {row["subject"]: row for row in images}
    for patient in clinic[:2]:
        raw = SPECTDenoise().read(rows[label[patient]], cohort)
        assert raw is not None
        assert raw["columns"]["direction"] == "consistent"
        assert np.array_equal(
            np.sort(raw["projections"].data, axis=None), np.sort(shot(patient).counts[0], axis=None)
        )
        acquisition = Acquisition.from_dict(raw["acquisition"])
        assert acquisition.direction == orbit(patient.clockwise).direction
        by_angle = {round(a % 360): i for i, a in enumerate(acquisition.angles_deg)}
        for i, angle in enumerate(orbit(patient.clockwise).angles_deg):
            view = raw["projections"].data[..., by_angle[round(angle % 360)]]
            assert np.array_equal(view, shot(patient).counts[0, 0, :, :, i]), "each view at its angle"
        assert np.allclose(raw["attenuation"].data, torso(patient.seed).mu.data, atol=1e-3)
    text = json.dumps([participants, images, status, told]) + "".join(map(str, (tmp_path / "out").rglob("*")))
    text += "".join(p.read_text() for p in (tmp_path / "out").rglob("*.json"))
    for patient in (*clinic, SPOILED):
        for word in patient.person.secrets():
            assert word not in text.lower()
    none, _ = parts(
        {"reconstruction": {"attenuation": False, "scatter": False}}, path=str(folder), attenuation="none"
    )
    assert (
        len((SPECTDenoise().list_files(none, tmp_path / "out", seed=1, log=told.append) or ((), ()))[1]) == 3
    )
    with pytest.raises(ConfigError, match="Cannot select series"):
        SPECTDenoise().list_files({**cohort, "series": "(("}, tmp_path / "out", seed=1, log=told.append)
    nobody = SPECTDenoise().list_files(
        {**cohort, "series": "no such thing"}, tmp_path / "out", seed=1, log=told.append
    )
    assert nobody is not None
    assert nobody[1] == []
    assert "not selected by series:" in nobody[2][1]["error"]


def test_whatever_lies_in_a_clinic_s_folder_is_a_row_and_never_a_crash(tmp_path: Path) -> None:
    """All bad and odd files of the corpus at once, by DICOM and by Interfile: listed or told, nobody named."""
    folder = tmp_path / "in"
    cases = [*BAD, *BAD_MAPS, *BAD_INTERFILE]
    for number, case in enumerate(cases):
        place = folder / f"{PERSON.family} {number}"
        place.mkdir(parents=True)
        case.build(place)
    told: list[str] = []
    for source in ("dicom", "interfile"):
        plainly = {"reconstruction": {"attenuation": False, "scatter": False}}
        cohort, _ = parts(plainly, source=source, path=str(folder), attenuation="none")
        listing = SPECTDenoise().list_files(cohort, tmp_path / source, seed=1, log=told.append)
        assert listing is not None
        _, images, status = listing
        assert len(status) >= len(BAD_INTERFILE if source == "interfile" else BAD) / 2
        assert all(row["error"] for row in status)
        check_table("status", status, "status")
        for row in images:  # what can be listed is refused when it is looked at, or is sound
            try:
                SPECTDenoise().read(row, cohort)
            except SenmeiError as error:
                told.append(str(error))
        told += [json.dumps([images, status]), *map(str, (tmp_path / source).rglob("*"))]
    assert betrayed(" ".join(told), PERSON) == []
