"""The study `spect_denoise`: its scans, that all groups are of one acquisition, its pairs, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.physics.spect.checks import check_acquisition, check_attenuation, check_views
from senmei.physics.spect.counts import draw_counts
from senmei.physics.spect.geometry import Acquisition
from senmei.physics.spect.heart_region import find_heart
from senmei.physics.spect.imaging import Imaging
from senmei.stages.plan import Plan
from senmei.studies.spect_denoise import SPECTDenoise

ROOT = Path(__file__).resolve().parents[2]
SEED = 5
SMALL = {"matrix": 40, "slices": 26, "voxel_mm": 10, "views": 30, "defects": "both"}


def configured(**overlay: Any) -> dict[str, Any]:
    studies = {"mri_denoise": {"enabled": False}, "spect_denoise": {"preset": "tiny", **overlay}}
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"studies": studies})
    return resolve(config, ROOT)["studies"]["spect_denoise"]


def parts(**degradation: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a small cohort, and of the degradation."""
    steps = {"iterations": 1, "subsets": 5}
    found = configured(
        cohorts={"torsos": SMALL},
        degradation=merge({"doses": [1, 0.25], "reconstruction": steps}, degradation),
    )
    return found["cohorts"]["torsos"], found["degradation"]


@pytest.fixture(scope="module")
def patient() -> tuple[list[dict], dict[str, dict[str, Any]]]:
    """Images of one subject, without and with a defect, and their raw roles."""
    cohort, _ = parts()
    rows = SPECTDenoise().images({"subject": "sub-001"}, cohort)
    return rows, SPECTDenoise().simulate(rows, cohort, 3)


def prepared(patient: Any, group: str, scan: dict[str, Any], settings: dict[str, Any], **cohort: Any) -> Any:
    _, raw = patient
    return SPECTDenoise().prepare(
        group, scan, lambda image, role: raw[image][role], {**parts()[0], **cohort}, settings, SEED
    )


def scan_of(patient: Any, dose: float, image: int = 1) -> dict[str, Any]:
    cohort, settings = parts()
    return next(
        s for s in SPECTDenoise().scans(patient[0][image : image + 1], cohort, settings) if s["dose"] == dose
    )


# ---- who ----


def test_scans_of_a_subject_are_its_doses_and_its_twin() -> None:
    cohort, settings = parts()
    study = SPECTDenoise()
    images = study.images({"subject": "sub-001"}, cohort)
    assert [(i["image"], i["defect"]) for i in images] == [
        ("sub-001_acq-normal", 0),
        ("sub-001_acq-defect", 1),
    ]
    scans = study.scans(images, cohort, settings)
    assert [s["scan"] for s in scans] == [
        f"sub-001_acq-{kind}dose{dose}" for kind in ("normal", "defect") for dose in (100, 25)
    ]
    plain = study.scans([{"image": "sub-2", "subject": "sub-2"}], {**cohort, "doses": [0.125]}, settings)
    assert plain[0]["scan"] == "sub-2_acq-dose12p5"


def test_defects_are_shared_out_by_name_so_that_nobody_changes_when_subjects_are_added() -> None:
    cohort = {**parts()[0], "defects": "random", "defect_share": 0.3}
    drawn = [SPECTDenoise().images({"subject": f"sub-{i:04d}"}, cohort)[0]["defect"] for i in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.04)
    none = [
        SPECTDenoise().images({"subject": "sub-1"}, {**cohort, "defects": k})[0]["defect"] for k in ("none",)
    ]
    assert none == [0]


def test_gates_that_are_not_there_stop_the_plan(tmp_path: Path) -> None:
    settings = configured(degradation={"pairs": "gated"})
    config = {"run": "x", "seed": 1, "strict": False, "studies": {"spect_denoise": settings}}
    with pytest.raises(ConfigError, match="no gates to pair") as caught:
        Plan(config, tmp_path)
    assert "phases" in caught.value.fix


# ---- one acquisition ----


def test_twins_are_the_same_torso_but_for_the_defect(patient: Any) -> None:
    normal, defect = (patient[1][row["image"]] for row in patient[0])
    assert np.array_equal(normal["attenuation"].data, defect["attenuation"].data)
    assert normal["heart"]["defect"] is None
    assert normal["heart"]["site_mm"] == defect["heart"]["site_mm"] == defect["heart"]["defect"]["centre_mm"]
    assert not np.array_equal(normal["projections"].data, defect["projections"].data)
    for roles in (normal, defect):
        assert roles["projections"].data.sum() == pytest.approx(1, rel=1e-4)


def test_all_groups_of_a_scan_are_made_of_one_acquisition(patient: Any) -> None:
    _, settings = parts()
    scan = scan_of(patient, 0.25)
    made = {g: prepared(patient, g, scan, settings) for g in SPECTDenoise.groups}
    for group, (roles, _) in made.items():
        assert set(roles) == set(SPECTDenoise.groups[group]), group
    counts = made["projections"][0]["projections"].data
    assert counts.dtype == np.int32
    assert {made[g][1]["counts"] for g in ("input", "pair", "projections", "projection_pair")} == {
        counts.sum()
    }
    assert np.array_equal(made["projection_pair"][0]["noisy_projections"].data[..., 0], counts)
    image, noisy = made["input"][0]["input"].data, made["pair"][0]["noisy"].data
    assert np.allclose(image, noisy[..., 0], atol=1e-4 * image.max()), (
        "the first realisation is the scan itself"
    )
    assert made["input"][1]["scale"] == pytest.approx(made["pair"][1]["scale"], rel=1e-4)
    again = prepared(patient, "input", scan, settings)[0]["input"]
    assert np.array_equal(again.data, image), "same seed, same scan"
    assert "data_range" in made["truth"][1]
    assert not {"data_range", "myocardium"} & {c for g in ("input", "pair") for c in made[g][1]}


def test_a_lower_dose_is_the_same_acquisition_thinned_and_the_reference_is_common(patient: Any) -> None:
    _, settings = parts()
    full, quarter = (prepared(patient, "projections", scan_of(patient, d), settings) for d in (1, 0.25))
    a, b = full[0]["projections"].data, quarter[0]["projections"].data
    assert (b <= a).all()
    assert b.sum() / a.sum() == pytest.approx(0.25, rel=0.01)
    truths = [prepared(patient, "truth", scan_of(patient, d), settings) for d in (1, 0.25)]
    assert np.array_equal(truths[0][0]["reference"].data, truths[1][0]["reference"].data)
    noisy = prepared(patient, "input", scan_of(patient, 1), settings)[0]["input"].data
    wall = truths[0][0]["myocardium"].data > 0
    ratio = noisy[wall].mean() / truths[0][0]["reference"].data[wall].mean()
    assert ratio == pytest.approx(1, abs=0.03), "noisy and noise-free are in one unit"


def test_thinned_pairs_are_halves_of_exactly_the_scan(patient: Any) -> None:
    _, settings = parts(pairs="thinning", realisations=2)
    scan = scan_of(patient, 0.25)
    counts = prepared(patient, "projections", scan, settings)[0]["projections"].data
    pair, columns = prepared(patient, "projection_pair", scan, settings)
    for k in range(2):
        halves = pair["noisy_projections"].data[..., k], pair["repeat_projections"].data[..., k]
        assert np.array_equal(halves[0] + halves[1], counts)
    assert columns["pair_counts"] / columns["counts"] == pytest.approx(0.5, abs=0.01)
    images = prepared(patient, "pair", scan, settings)[0]
    truth = prepared(patient, "truth", scan, settings)[0]
    wall = truth["myocardium"].data > 0
    for role in ("noisy", "repeat"):
        assert images[role].data[wall].mean() / truth["reference"].data[wall].mean() == pytest.approx(
            1, abs=0.05
        )
    error = [images[r].data[wall][:, 0] - truth["reference"].data[wall] for r in ("noisy", "repeat")]
    assert abs(np.corrcoef(*error)[0, 1]) < 0.25, "their noise has nothing in common"


@pytest.mark.parametrize("kind", ["split", "gated", "thinning"])
def test_parts_of_one_acquisition_go_both_ways_round(kind: str, patient: Any) -> None:
    _, settings = parts(pairs=kind, realisations=1)
    scan = scan_of(patient, 1)
    if kind == "gated":  # eight gates of a still heart
        rows, raw = patient
        mean = raw[scan["image"]]["projections"]
        gates = mean.like(np.repeat(mean.data[..., None] / 8, 8, axis=3))
        patient = rows, {**raw, scan["image"]: {**raw[scan["image"]], "projections": gates}}
    pair, columns = prepared(patient, "projection_pair", scan, settings)
    noisy, repeat = pair["noisy_projections"].data, pair["repeat_projections"].data
    assert noisy.shape[-1] == 2
    assert np.array_equal(noisy[..., 0], repeat[..., 1])
    assert noisy[..., 0].sum() + repeat[..., 0].sum() == columns["counts"]


# ---- what is refused ----


def spoiled(patient: Any) -> tuple[np.ndarray, Acquisition, Volume, Volume]:
    raw = patient[1]["sub-001_acq-defect"]
    mean = raw["projections"].data.astype(np.float64) * 7.5e5
    counts = draw_counts(mean, np.random.default_rng(0))
    return counts, Acquisition.from_dict(raw["acquisition"]), raw["attenuation"], raw["labels"]


def test_a_sound_acquisition_is_accepted(patient: Any) -> None:
    counts, acquisition, mu, grid = spoiled(patient)
    found = check_acquisition(counts, acquisition, mu, grid, "sub-001")
    assert found["direction"] == "consistent"
    heart = patient[1]["sub-001_acq-defect"]["heart"]
    middle = (np.array(heart["apex_mm"]) + heart["base_mm"]) / 2
    assert np.linalg.norm(np.array(found["heart_mm"]) - middle) < 25
    assert check_acquisition(counts, acquisition, None, grid, "x")["direction"] == "undecided"


def _counts(change: Any) -> Any:
    return lambda c, a, m, g: (change(c.copy()), a, m, g)


def _mu(change: Any) -> Any:
    return lambda c, a, m, g: (c, a, change(m), g)


def _with(index: Any, value: float, kind: Any = np.int32) -> Any:
    def change(counts: np.ndarray) -> np.ndarray:
        counts = counts.astype(kind)
        counts[index] = value
        return counts

    return _counts(change)


def _twice(counts: np.ndarray) -> np.ndarray:
    counts[..., 7] = counts[..., 6]
    return counts


def _moved(mu: Volume) -> Volume:
    affine = mu.affine.copy()
    affine[0, 3] += 15
    return Volume(mu.data, affine)


SPOILED = {
    "zero counts": (_with(..., 0), "Projections are empty", "energy window"),
    "negative": (_with((3, 3, 3), -4), "no photon counts", "undo what was subtracted"),
    "not whole": (_counts(lambda c: c * 0.37), "no photon counts", "as the camera counted"),
    "not a number": (_with((3, 3, 3), np.nan, float), "no photon counts", "repair the file"),
    "a view short": (_counts(lambda c: c[..., :-1]), "Views are missing", "export all views"),
    "an empty view": (_with((..., 11), 0), "Views are missing", "export the scan again"),
    "a view twice": (_counts(_twice), "there twice", "in place of another"),
    "an angle twice": (
        lambda c, a, m, g: (c, replace(a, angles_deg=(*a.angles_deg[:-1], a.angles_deg[0])), m, g),
        "same angle",
        "correct the angles",
    ),
    "map of another shape": (
        _mu(lambda m: Volume(m.data[:, :, 1:], m.affine)),
        "another geometry",
        "resample",
    ),
    "map of another voxel": (
        _mu(lambda m: Volume(m.data, m.affine @ np.diag([1.1, 1.1, 1.1, 1]))),
        "another geometry",
        "resample",
    ),
    "map moved": (_mu(_moved), "another geometry", "false defects"),
    "map turned": (
        _mu(lambda m: Volume(m.data, m.affine @ np.diag([-1, -1, 1, 1]))),
        "another geometry",
        "reorient",
    ),
    "map in HU": (_mu(lambda m: m.like(m.data * 7000 - 1000)), "not in 1/cm", "bilinear"),
    "turned the other way": (
        lambda c, a, m, g: (c, replace(a, direction="cw"), m, g),
        "turned the other way",
        "direction: ccw",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_cannot_be_used_is_refused_with_its_name_and_a_way_out(name: str, patient: Any) -> None:
    spoil, what, fix = SPOILED[name]
    with pytest.raises(DataError, match=what) as caught:
        check_acquisition(*spoil(*spoiled(patient)), "sub-007_ses-1")
    assert caught.value.where == "sub-007_ses-1"
    assert fix in caught.value.fix, caught.value.fix
    assert len(str(caught.value).splitlines()) == 4


def test_expectations_need_not_be_whole(patient: Any) -> None:
    counts, *rest = spoiled(patient)
    check_acquisition(counts * 0.37, *rest, "x", counted=False)
    with pytest.raises(DataError, match="no photons"):
        check_acquisition(-counts, *rest, "x", counted=False)


def test_images_do_not_depend_on_the_unit_of_the_counts(patient: Any) -> None:
    """Few iterations beside additive scatter: a start of fixed size once made them 14 % brighter at half the counts."""
    raw = patient[1]["sub-001_acq-defect"]
    imaging = Imaging(
        Acquisition.from_dict(raw["acquisition"]), raw["attenuation"].data, parts()[1]["reconstruction"]
    )
    many, few = (imaging.reconstruct(raw["projections"].data * n, n) for n in (3e6, 1e5))
    assert np.abs(many - few).max() < 1e-4 * many.max()


def test_a_short_scan_is_refused_before_anything_is_computed(patient: Any) -> None:
    counts, acquisition, mu, grid = spoiled(patient)
    with pytest.raises(DataError, match="Projections are of another geometry"):
        check_views(counts[:-2], acquisition, "x")
    check_attenuation(mu, acquisition, grid, "x")


def test_a_heart_out_of_the_field_or_cut_by_its_edge(patient: Any) -> None:
    roles = prepared(patient, "truth", scan_of(patient, 1), parts()[1])[0]
    image, heart = roles["reference"], roles["heart"]
    region = find_heart(image, "x")
    assert region.mask[roles["segments"].data > 0].mean() > 0.9
    z = round((heart["base_mm"][2] - image.affine[2, 3]) / image.voxel[2])
    cut = Volume(image.data[:, :, z - 1 :], image.affine)
    with pytest.raises(DataError, match="cut by the edge") as caught:
        find_heart(cut, "sub-9")
    assert caught.value.where == "sub-9"
    with pytest.raises(DataError, match="No heart in the field"):
        find_heart(image.like(np.zeros_like(image.data)), "sub-9")
    with pytest.raises(DataError, match="No heart in the field"):
        find_heart(image.like((roles["labels"].data > 0).astype(np.float32)), "an even body")
