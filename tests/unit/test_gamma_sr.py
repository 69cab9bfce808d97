"""The study `gamma_sr`: its sheets, that no source is in two splits, its conditions, and counts of every role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures.count_error import roi_count_error
from senmei.methods import METHODS
from senmei.report import pixels
from senmei.report.look import look_of
from senmei.stages.plan import Plan
from senmei.studies.gamma_conditions import conditions_of
from senmei.studies.gamma_sr import GammaSR

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"teachers": ["photographs"], "subjects": 4, "size": 64, "border": 4, "pixel_mm": 2.69}


def settings(preset: str = "tiny", **overlay: Any) -> dict[str, Any]:
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": preset, "device": "cpu"})
    config["studies"] = {"gamma_sr": overlay}
    return resolve(config, ROOT)["studies"]["gamma_sr"]


def planned(tmp_path: Path, preset: str = "tiny", **overlay: Any) -> Any:
    config = {"run": "x", "seed": 1, "strict": False, "studies": {"gamma_sr": settings(preset, **overlay)}}
    return Plan(config, tmp_path)["gamma_sr"]


def prepared(
    groups: tuple[str, ...] = ("input", "truth"), cohort: Any = None, seed: int = 3, **degradation: Any
) -> Example:
    """The first scan of a small cohort, with the roles of some groups."""
    found = settings(
        cohorts={"sheets": {**SMALL, **(cohort or {})}}, degradation={"matrices": [16], **degradation}
    )
    own, study = found["cohorts"]["sheets"], GammaSR()
    images = study.images(study.participants(own)[0], own)
    raw = study.simulate(images, own, 1)
    row = study.scans(images, own, found["degradation"])[0]
    roles: dict[str, Any] = {}
    for group in groups:
        made, columns = study.prepare(
            group, row, lambda image, role: raw[image][role], own, found["degradation"], seed
        )
        assert set(made) <= set(study.groups[group])
        roles |= made
        row = {**row, **columns}
    return Example(row, {**roles, **{f"raw_{k}": v for k, v in raw[row["image"]].items() if k != "columns"}})


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_every_preset_can_be_planned_and_splits_sources(preset: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, preset)
    rows = plan.rows("sheets")
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["subject"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values()), (
        "a source is in one split, never its crops in two"
    )
    assert {s for found in splits.values() for s in found} == {"train", "validation", "test"}
    assert len({row["scan"] for row in rows}) == len(rows)
    assert plan.judged()
    for name in plan.methods:
        METHODS.get(plan.method(name)["use"])(**plan.options("method", name))
    if preset != "tiny":
        test = {row["family"] for row in rows if row["split"] == "test"}
        assert {"photographs", "torsos"} <= test


def test_a_star_moves_one_axis_at_a_time_and_a_grid_has_all() -> None:
    axes = {"times_s": [600, 60], "collimators": ["LEHR", "HE"], "layers_mm": [0, 50, 100]}
    star = settings(degradation=axes)
    grid = settings(degradation={**axes, "design": "grid"})
    cohort = star["cohorts"]["sheets"]
    found = conditions_of(cohort, star["degradation"])
    assert len(found) == 1 + 1 + 1 + 2
    assert found[0] == {
        "time_s": 600, "matrix": 16, "nuclide": "Tc-99m", "collimator": "LEHR", "distance_mm": 100, "layer_mm": 0,
    }  # fmt: skip
    assert all(sum(c[k] != found[0][k] for k in c) == 1 for c in found[1:])
    assert len(conditions_of(cohort, grid["degradation"])) == 2 * 2 * 3
    assert len(conditions_of({**cohort, "times_s": [5]}, grid["degradation"])) == 2 * 3


def test_counts_agree_across_the_roles_and_with_the_arithmetic() -> None:
    case = prepared(times_s=[600])
    low, camera = case["low"].data, case["camera"]
    assert low.shape == (16, 16, 1)
    assert case["input"].shape == case["reference"].shape == case["mask"].shape == (64, 64, 1)
    assert case["input"].data.sum() == pytest.approx(low.sum(), rel=1e-6)
    assert np.allclose(case["input"].data[:4, :4], low[0, 0] / 16)
    assert low.sum() == case.scan["counts"]
    assert low.sum() == pytest.approx(case["expected"].data.sum(), abs=5 * float(low.sum()) ** 0.5)
    # nothing but what spreads beyond the sheet's border is lost
    assert 0.93 < case["expected"].data.sum() / case["reference"].data.sum() <= 1.0
    activity = case["raw_activity"].data.sum(dtype=np.float64)
    per_mbq = camera["sensitivity"] * 600
    assert case["reference"].data.sum() == pytest.approx(activity * per_mbq, rel=0.02), "decay in 10 min"
    # full ink: 107 kBq/cm2 x area x cps/MBq x s
    full = 0.107 * 0.269**2 * per_mbq
    assert case.scan["data_range"] == pytest.approx(full, rel=0.02)
    assert case["reference"].data.max() <= case.scan["data_range"] * 1.0001
    assert camera["factor"] == 4
    assert camera["pixel_mm"] == pytest.approx(10.76)
    assert case["mask"].data.sum() == 56**2


def test_the_reports_counts_are_those_of_its_matrix() -> None:
    """25 counts in a 0.67 mm pixel of full ink after ten minutes; an 8 x 8 times larger pixel has 64 times more."""
    case = prepared(cohort={"pixel_mm": 0.6735}, times_s=[600])
    assert case.scan["data_range"] == pytest.approx(25, rel=0.02)
    assert prepared(cohort={"pixel_mm": 5.388}, times_s=[600]).scan["data_range"] == pytest.approx(
        1600, rel=0.02
    )


def test_all_groups_are_of_one_acquisition_and_other_scans_have_noise_of_their_own() -> None:
    one, again, other = prepared(), prepared(), prepared(seed=4)
    assert np.array_equal(one["low"].data, again["low"].data)
    assert not np.array_equal(one["low"].data, other["low"].data)
    assert np.array_equal(one["expected"].data, other["expected"].data)


def test_axes_do_what_they_should() -> None:
    def camera(**degradation: Any) -> dict[str, Any]:
        return dict(prepared(("input",), **degradation)["camera"])

    usual = camera(times_s=[600])
    assert camera(times_s=[600], distances_mm=[200])["fwhm_mm"] > 1.3 * usual["fwhm_mm"]
    assert camera(times_s=[600], collimators=["LEUR"])["fwhm_mm"] < usual["fwhm_mm"]
    assert camera(times_s=[600], layers_mm=[100])["scatter_fraction"] > 0.1 > usual["scatter_fraction"]
    assert camera(times_s=[600], nuclides=["I-131"])["penetration_fraction"] > usual["penetration_fraction"]
    short, long = (prepared(("input",), times_s=[t])["low"].data.sum() for t in (60, 600))
    assert long == pytest.approx(10 * short, rel=0.05)


@pytest.mark.parametrize("way", ["lut", "affine", "monotone"])
def test_a_reference_paired_from_the_image_is_near_the_known_one(way: str) -> None:
    known, found = prepared(times_s=[600]), prepared(times_s=[600], pairing=way)
    truth = known["reference"].data
    error = np.sqrt(np.mean((found["reference"].data - truth) ** 2)) / known.scan["data_range"]
    # the report's table flattens the teacher; the likelihoods have the camera's blur in their model
    assert error < (0.12 if way == "lut" else 0.02)
    assert {"pairing_offset_percent", "pairing_deviance"} <= set(found.scan)
    assert np.array_equal(found["low"].data, known["low"].data)


def test_the_other_collimator_as_an_image_and_as_what_is_restored() -> None:
    case = prepared(("input", "truth", "high"), times_s=[600])
    assert case["high"].shape == case["low"].shape
    assert case["high"].data.sum() < 0.7 * case["low"].data.sum(), "LEUR counts fewer photons than LEHR"
    moved = prepared(times_s=[600], restore="collimator")
    assert moved["camera"]["factor"] == 1
    assert moved["reference"].shape == moved["low"].shape == moved["input"].shape == moved["mask"].shape
    assert np.array_equal(moved["input"].data, moved["low"].data)
    assert moved["reference"].data.sum() == pytest.approx(moved["expected"].data.sum(), rel=1e-5)
    sharper, blurred = (
        np.abs(np.diff(moved[r].data[..., 0], axis=0)).sum() for r in ("reference", "expected")
    )
    assert sharper > blurred


def test_methods_take_what_is_prepared() -> None:
    case = prepared()
    for name in ("nearest", "bicubic"):
        restored = METHODS.get(name)().apply(case)
        assert restored.shape == case["reference"].shape
        assert np.allclose(restored.affine, case["reference"].affine)
        assert restored.data.sum() == pytest.approx(case["low"].data.sum(), rel=1e-4)


def test_the_report_shows_a_sheet_as_it_lies() -> None:
    data = np.zeros((4, 3, 1), np.float32)
    data[3, 2, 0] = 1  # right, up
    grid, _ = pixels.to_ras(Volume(data, np.diag([2.0, 3.0, 1.0, 1.0])))
    picture, width, height = pixels.cut(grid, "sheet", 0)
    assert picture.shape == (3, 4)
    assert np.argwhere(picture).tolist() == [[0, 3]]
    assert (width, height) == (8.0, 9.0)
    assert look_of(GammaSR.figures).planes == ("sheet",)
    with pytest.raises(ConfigError, match="Cannot draw"):
        look_of({"planes": ("paper",)})


WRONG = [
    ({"cohorts": {"sheets": {"subjects": 900}}}, "cohorts: subjects", "sources are asked for"),
    ({"cohorts": {"sheets": {"border": 30}}}, "cohorts: border", "at each side are paper"),
    ({"degradation": {"matrices": [20]}}, "degradation.matrices", "does not divide"),
    ({"degradation": {"matrices": [8]}}, "degradation.matrices", "are of 21.6 mm"),
]


@pytest.mark.parametrize(("overlay", "where", "why"), WRONG, ids=[w for _, w, _ in WRONG])
def test_what_cannot_be_printed_or_imaged_stops_the_plan(
    overlay: dict[str, Any], where: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, **overlay)
    assert where in caught.value.where
    assert why in caught.value.why


@pytest.mark.parametrize(
    "overlay",
    [
        {"teachers": ["photos"]},
        {"size": 5},
        {"ink_kbq_per_cm2": 0},
        {"collimators": ["LEXX"]},
        {"times_s": []},
    ],
)
def test_a_wrong_key_of_a_cohort_is_refused(overlay: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"studies\.gamma_sr\.cohorts\.sheets"):
        settings(cohorts={"sheets": overlay})


def test_region_counts() -> None:
    def case(values: np.ndarray, mask: np.ndarray | None = None) -> Example:
        roles = {"reference": Volume(values, np.eye(4))}
        if mask is not None:
            roles["mask"] = Volume(mask, np.eye(4))
        return Example({"scan": "s"}, roles)

    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 2, (32, 32, 1))
    assert roi_count_error(case(truth), Volume(truth, np.eye(4))) == 0
    assert roi_count_error(case(truth), Volume(1.07 * truth, np.eye(4))) == pytest.approx(7)
    moved = truth.copy()
    moved[:4, :4] *= 1.64  # one region of 64
    assert roi_count_error(case(truth), Volume(moved, np.eye(4))) == pytest.approx(1.0)
    faint = np.where(np.arange(32)[:, None, None] < 16, 1e-3, truth)
    wrong = np.where(np.arange(32)[:, None, None] < 16, 1.0, truth)
    assert roi_count_error(case(faint), Volume(wrong, np.eye(4))) == 0, "regions without counts have no share"
    with pytest.raises(DataError, match="too small for regions"):
        roi_count_error(case(truth[:6]), Volume(truth[:6], np.eye(4)))
    with pytest.raises(DataError, match="Cannot compare counts"):
        roi_count_error(case(0 * truth), Volume(truth, np.eye(4)))


OVERLAYS = sorted((ROOT / "config" / "overlays").glob("gamma_*.yaml"))


def overlaid(path: Path) -> dict[str, Any]:
    return resolve(merge(load_yaml(ROOT / "config" / "config.yaml"), load_yaml(path)), ROOT)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_shipped_overlays_plan_gamma_studies_alone(path: Path, tmp_path: Path) -> None:
    config = overlaid(path)
    assert config["run"] == path.stem
    assert list(Plan(config, tmp_path).studies) == list(config["studies"])
    for study in config["studies"].values():
        assert study["use"] == "gamma_sr" and study["methods"]["srresnet"]["use"] == "srresnet"
        assert {c["size"] for c in study["cohorts"].values()} == {256}
        assert len(study["degradation"]["matrices"]) == 1, "a network serves one matrix"


def test_networks_of_the_ablation_differ_in_one_thing() -> None:
    from senmei.report.ablation import differences

    study = overlaid(ROOT / "config" / "overlays" / "gamma_ablation.yaml")["studies"]["gamma_sr"]
    ablation = study["report"]["ablation"]
    cards = {
        m: {"use": s["use"], "settings": {k: v for k, v in s.items() if k != "use"}}
        for m, s in study["methods"].items()
    }
    files: Any = type("Files", (), {"cards": cards})
    assert [differences(files, name, ablation["base"]) for name in ablation["of"]] == [
        ["loss: mse, not mse_ssim"],
        ["rotations: no, not yes"],
        ["informed: no, not yes"],
        ["fresh noise: no, not yes"],
        ["base: none, not bicubic"],
        ["base: deconvolved, not bicubic"],
        ["start: bicubic, not default"],
        ["families: photographs, not default"],
        ["families: torsos and heads, not default"],
        ["sources: 10, not default"],
    ]
    assert set(ablation["of"]) | {ablation["base"]} == {
        m for m, s in study["methods"].items() if s["use"] == "srresnet"
    }


def test_teachers_of_the_ablation_are_as_many_natural_as_medical() -> None:
    from senmei.core.cohorts import assign_splits

    study = overlaid(ROOT / "config" / "overlays" / "gamma_ablation.yaml")["studies"]["gamma_sr"]
    counts: dict[str, dict[str, int]] = {}
    for name, cohort in study["cohorts"].items():
        subjects = [row["subject"] for row in GammaSR().participants(cohort)]
        splits = list(assign_splits(subjects, cohort["split"], ordered=True).values())
        counts[name] = {split: splits.count(split) for split in ("train", "validation", "test")}
    assert counts["photographs"] == {"train": 10, "validation": 2, "test": 8}
    assert counts["torsos"] == counts["heads"] == {"train": 5, "validation": 1, "test": 4}
