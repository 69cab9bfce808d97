"""Stacks of printed sheets: the phantom, its views and their geometry, and tomography from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.analyses.resolution_recovery import ResolutionRecovery
from senmei.analyses.sheet_tomography import SheetTomography
from senmei.analyses.stack_rows import gain_notes
from senmei.analyses.stack_volumes import Stack, Trials, collect, contrast_recovery, numbers
from senmei.analyses.stack_ways import (
    on_coarse_grid,
    on_fine_grid,
    settings_of,
    with_recovery,
    without_blur,
)
from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.shown import Figure, Note, read_shown
from senmei.phantoms.head import draw_head
from senmei.phantoms.sheet_stack import (
    COLD,
    HOT,
    UPTAKE,
    SheetStack,
    draw_details,
    plate_radius_mm,
    plates,
    print_stack,
    ripple,
)
from senmei.physics.spect.binned_projector import BinnedProjector
from senmei.physics.spect.geometry import orbit
from senmei.physics.spect.projector import Projector
from senmei.stages.plan import Plan
from senmei.studies.gamma_sr import GammaSR

ROOT = Path(__file__).resolve().parents[2]
SHAPE, VOXEL = (52, 52, 32), 4.4
PLATES = {"sheets": 23, "plate_mm": 3.5, "rows": 16, "views": 12}
SMALL = {
    "use": "train",
    "source": "simulate",
    "subjects": 3,
    "size": 32,
    "border": 0,
    "pixel_mm": 7.5,
    "stack": PLATES,
}
POINT, OTHER = (21, 9, 5), (11, 19, 9)  # to the right of the middle, behind it, below it; and beyond it


def settings(cohort: Any = None, **degradation: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration of a small cohort of stacks, and of the degradation."""
    own = merge(SMALL, cohort or {})
    study = {
        "cohorts": {"sheets": None, "stacks": own},
        "degradation": {"matrices": [16], "distances_mm": [140], "times_s": [20], **degradation},
    }
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    config["studies"] = {"gamma_sr": study}
    found = resolve(config, ROOT)["studies"]["gamma_sr"]
    return found["cohorts"]["stacks"], found["degradation"]


def grid() -> np.ndarray:
    affine = np.diag([7.5, 7.5, 7.5, 1.0])
    affine[:3, 3] = [-15.5 * 7.5, -15.5 * 7.5, -7.5 * 7.5]
    return affine


def cube(place: tuple[int, int, int], reach: int) -> tuple[slice, ...]:
    return tuple(slice(c - reach, c + reach + 1) for c in place)


def views_of(activity: np.ndarray, cohort: Any = None, **degradation: Any) -> list[Example]:
    """Every view of a stack with this activity (MBq a voxel), with its roles, as the study prepares them."""
    own, settings_ = settings(cohort, **degradation)
    study = GammaSR()
    labels = np.ones((32, 32, 16), np.uint8)
    for place, detail in ((POINT, 2), (OTHER, 3)):
        labels[cube(place, 3)], labels[cube(place, 1)] = detail + 2, detail
    raw = {"activity": Volume(activity.astype(np.float32), grid()), "labels": Volume(labels, grid())}
    made = []
    for row in study.scans(study.images(study.participants(own)[0], own), own, settings_):
        roles: dict[str, Any] = {}
        for group in ("input", "truth", "stack", "sheet", "high"):
            found, columns = study.prepare(group, row, lambda _, role: raw[role], own, settings_, 7)
            assert set(found) <= set(study.groups[group])
            roles |= found
            row = {**row, **columns}
        made.append(Example(row, roles))
    return made


@pytest.fixture(scope="module")
def printed() -> SheetStack:
    rng = np.random.default_rng(5)
    return print_stack(draw_head(rng), SHAPE, VOXEL, 24, 5.0, 18.0, rng)


@pytest.fixture(scope="module")
def point() -> list[Example]:
    """A spot of 20 MBq that bilinear rotation takes round without gaining or losing."""
    x, y, z = np.meshgrid(
        *(np.arange(n) - c for n, c in zip((32, 32, 16), POINT, strict=True)), indexing="ij"
    )
    spot = np.exp(-(x**2 + y**2 + z**2) / (2 * 1.2**2))
    return views_of(20.0 * spot / spot.sum())


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """A cylinder off the middle with a hot and a cold ball, MBq a voxel."""
    x, y, z = np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5, np.arange(16) - 7.5, indexing="ij")
    activity = np.where((np.hypot(x - 1, y + 2) < 11) & (np.abs(z) < 5), 2e-3, 0.0)
    activity[cube(POINT, 1)] = 6e-3
    activity[cube(OTHER, 1)] = 0.0
    return activity


# ---- the phantom ----
def test_a_stack_holds_what_its_sheets_hold(printed: SheetStack) -> None:
    assert printed.sheets.shape == (52, 52, 24) and printed.grey.shape == SHAPE
    assert printed.sheets.min() >= 0 and printed.sheets.max() <= 1 + 1e-6, "ink is between none and full"
    np.testing.assert_allclose(printed.grey.sum(), printed.sheets.sum(), rtol=1e-5)
    high = np.abs((np.arange(32) - 15.5) * VOXEL) > 24 * 5.0 / 2 + VOXEL / 2
    assert not printed.grey[:, :, high].any(), "nothing lies beyond the plates"
    assert printed.grey[:, :, 4:-4].sum(axis=(0, 1)).all()


def test_a_stack_lies_as_the_head_does(printed: SheetStack) -> None:
    # the head narrows toward its crown, and is longer from front to back than it is wide
    area = (printed.sheets > 0.05).sum(axis=(0, 1))
    assert area[-1] < 0.7 * area[12]
    middle = printed.sheets[:, :, 12] > 0.05
    wide, long = (int(np.flatnonzero(middle.any(axis=axis)).size) for axis in (1, 0))
    assert long > 1.1 * wide
    # the sheets are the volume's slices where they lie
    sheet = printed.sheets[:, :, 12]  # 2.5 mm above the middle; a plate of 5 mm fills 1.14 voxels
    voxels = printed.grey[:, :, 16] * 5.0 / VOXEL
    assert np.corrcoef(sheet.ravel(), voxels.ravel())[0, 1] > 0.97


def test_details_are_hot_and_cold(printed: SheetStack) -> None:
    level = [float(printed.grey[printed.labels == k].mean()) * 5.0 / VOXEL for k in range(6)]
    assert level[2] > 0.75 and level[2] > 1.6 * level[4], "hot"
    assert level[3] < 0.2 * level[5] and level[3] < 0.1, "cold"
    places = [np.argwhere(printed.labels == k).mean(axis=0) for k in (2, 3)]
    assert np.linalg.norm(places[0] - places[1]) * VOXEL >= 4 * 9.0 - VOXEL
    assert HOT == 1.0 and COLD == 0.0 and UPTAKE["grey"] == 4 * UPTAKE["white"]


def test_details_have_places_or_are_refused() -> None:
    body = np.zeros((30, 30, 30), bool)
    body[3:27, 3:27, 3:27] = True
    grey = np.where(body, 0.5, 0.0)
    grey[:15] *= 0.5
    hot, cold = draw_details(grey, body, 6.0, 2.0, np.random.default_rng(1))
    assert cold[0] >= 15, "cold where there is something to miss"
    assert np.linalg.norm(hot - cold) * 2 >= 24
    with pytest.raises(ConfigError, match="no room for the details"):
        draw_details(grey, body, 20.0, 2.0, np.random.default_rng(1))


def test_sheets_blend_where_plates_are_thin() -> None:
    assert ripple(2.5, 8.7) < 1e-12
    # planes 10 mm apart behind 7 mm FWHM, summed directly
    z = np.linspace(0, 10, 200, endpoint=False)
    profile = sum(np.exp(-0.5 * ((z - 10 * k) / (7 / 2.3548)) ** 2) for k in range(-9, 10))
    seen = (profile.max() - profile.min()) / 2 / profile.mean()
    assert ripple(10, 7) == pytest.approx(seen, rel=0.01)


def test_plates_are_discs_of_their_height() -> None:
    mu = plates((32, 32, 16), 7.5, 80.0, 0.15)
    assert np.unique(mu).tolist() == pytest.approx([0.0, 0.15])
    assert (mu[16, 16] > 0).sum() == 10 and mu[0, 0].max() == 0
    assert (mu[:, :, 8] > 0).sum() * 7.5**2 == pytest.approx(np.pi * plate_radius_mm(32, 7.5) ** 2, rel=0.02)


# ---- views ----
def test_a_point_appears_where_it_must_in_every_view(point: list[Example]) -> None:
    x, y, z = POINT
    assert [e.scan["angle_deg"] for e in point] == [30.0 * n for n in range(12)]
    # anterior, the patient's left, posterior, right: u runs along x, y, -x, -y; v always up
    for view, u in ((0, x), (3, y), (6, 31 - x), (9, 31 - y)):
        ideal = point[view]["reference"].data[..., 0]
        assert np.unravel_index(ideal.argmax(), ideal.shape) == (u, z)
        low = point[view]["low"].data[..., 0]
        assert np.unravel_index(low.argmax(), low.shape) == (u // 2, z // 2)
    for e in point:  # oblique ones: the place that the detector's axes give
        turn = np.radians(e.scan["angle_deg"])
        u = (x - 15.5) * np.cos(turn) + (y - 15.5) * np.sin(turn) + 15.5
        ideal = e["reference"].data[..., 0]
        assert (ideal.sum(axis=1) * np.arange(32)).sum() / ideal.sum() == pytest.approx(u, abs=0.05)
        assert (ideal.sum(axis=0) * np.arange(16)).sum() / ideal.sum() == pytest.approx(z, abs=0.05)


def test_blur_grows_with_the_distance(point: list[Example]) -> None:
    def width(view: int) -> float:
        profile = point[view]["expected"].data[..., 0].sum(axis=1)
        place = np.arange(16)
        middle = (profile * place).sum() / profile.sum()
        return float(np.sqrt((profile * (place - middle) ** 2).sum() / profile.sum()))

    assert width(6) < width(0), "the point lies behind the axis: the camera at its back sees it sharper"
    fwhm = point[0]["camera"]["fwhm_mm"]
    assert fwhm == pytest.approx(np.hypot(1.11 * (23.32 + 140) / 23.32, 3.8), rel=0.01)  # LEHR at the axis


def test_views_keep_the_counts(point: list[Example]) -> None:
    total = float(point[0]["stack"].data.sum())
    assert total == pytest.approx(
        20.0 * 20.0 * point[0]["camera"]["sensitivity"], rel=0.001
    )  # MBq, s, cps/MBq
    for e in point:
        assert e["reference"].data.sum() == pytest.approx(total, rel=5e-3)
        assert e["expected"].data.sum() == pytest.approx(total, rel=0.01)
        assert e["low"].data.sum() == pytest.approx(total, abs=6 * np.sqrt(total) + 0.01 * total)
        assert e["input"].data.sum() == pytest.approx(e["low"].data.sum(), rel=1e-5)
        assert e.scan["counts"] == e["low"].data.sum()
        assert e["input"].shape == e["reference"].shape == e["mask"].shape == (32, 16, 1)
        assert e["low"].shape == e["expected"].shape == e["high"].shape == (16, 8, 1)
    assert len({e["low"].data.tobytes() for e in point}) == 12, "each view has noise of its own"
    assert point[0]["mask"].data[0].sum() == 10, "80 mm of plates in rows of 7.5 mm"
    assert "stack" in point[0] and all("stack" not in e for e in point[1:])


def test_plates_of_water_attenuate_by_depth() -> None:
    activity = np.zeros((32, 32, 16))
    activity[15, 9, 8] = 10.0  # 6.5 voxels behind the middle
    water = views_of(activity, {"stack": {"plates": "water"}})
    front, back = (float(water[v]["reference"].data.sum()) for v in (0, 6))
    assert back / front == pytest.approx(
        np.exp(0.152 * 2 * 6.5 * 0.75), rel=0.01
    )  # 1/cm of water at 140.5 keV
    assert water[0]["attenuation"].data.max() == pytest.approx(0.152, rel=0.002)
    assert water[0]["stack"].data.sum() > 2 * back


@pytest.mark.parametrize(
    ("cohort", "degradation", "told"),
    [
        ({"subjects": None}, {}, "How many stacks"),
        ({"stack": {"rows": 10}}, {}, "higher than the camera's field"),
        ({"stack": {"rows": 15}}, {}, "do not fit the stack's rows"),
        ({"stack": {"sheets": 8, "plate_mm": 13.0}}, {}, "would see single sheets"),
        ({}, {"layers_mm": [10]}, "A stack has no layer"),
        ({}, {"distances_mm": [90]}, "cut through the stack"),
        ({}, {"background_cps_per_cm2": 0.1}, "have no background"),
        ({}, {"pairing": "lut"}, "have no such reference"),
        ({}, {"restore": "collimator"}, "have no such reference"),
        ({}, {"camera": ["camera.json"]}, "have no fitted camera"),
        ({}, {"matrices": [12]}, "do not fit the reference's"),
    ],
)
def test_stacks_that_cannot_be_are_refused(cohort: Any, degradation: Any, told: str) -> None:
    own, found = settings(cohort, **degradation)
    with pytest.raises(ConfigError, match=told):
        GammaSR().check_cohort(own, found)


def test_a_stack_is_one_subject_and_each_view_a_scan() -> None:
    own, found = settings(None, times_s=[20, 5])
    study = GammaSR()
    study.check_cohort(own, found)
    rows = [r for p in study.participants(own) for r in study.scans(study.images(p, own), own, found)]
    assert len(rows) == len({r["scan"] for r in rows}) == 3 * 2 * 12
    assert {r["subject"] for r in rows} == {"sub-stack001", "sub-stack002", "sub-stack003"}
    assert rows[5]["scan"] == "sub-stack001_acq-20s16pxTc99mLEHR140mm0mmview005"
    assert rows[5]["stack"] == rows[0]["stack"] != rows[12]["stack"]


def test_the_methods_text_tells_of_stacks_and_not_of_single_sheets() -> None:
    own, _ = settings()
    told = " ".join(text for text, _ in GammaSR().words({"stacks": own}))
    assert "stacks of sheets between plates" in told and "Teacher images were printed" not in told
    both = " ".join(text for text, _ in GammaSR().words({"a": own, "b": {"source": "simulate"}}))
    assert "stacks of sheets between plates" in both and "Teacher images were printed" in both


# ---- projector and reconstruction ----
def test_a_binned_projector_sums_pixels_and_has_an_exact_adjoint() -> None:
    acquisition = orbit((16, 16, 8), 6.0, views=5, arc_deg=360.0, radius_mm=90.0)
    rng = np.random.default_rng(2)
    image, mu = rng.random((16, 16, 8)), 0.1 * rng.random((16, 16, 8))
    binned = BinnedProjector(acquisition, 2, mu)
    fine = Projector(acquisition, mu).forward(image).numpy()
    seen = binned.forward(image).numpy()
    np.testing.assert_allclose(seen, fine.reshape(8, 2, 4, 2, 5).sum(axis=(1, 3)), rtol=1e-5)
    back = rng.random(seen.shape)
    left, right = float((seen * back).sum()), float((binned.adjoint(back).numpy() * image).sum())
    assert left == pytest.approx(right, rel=1e-5)
    other = binned.with_attenuation(None)
    assert other.forward(image).shape == (8, 4, 5) and float(other.forward(image).sum()) > float(seen.sum())
    with pytest.raises(DataError, match="Detector pixels cannot be summed"):
        BinnedProjector(acquisition, 3)
    with pytest.raises(DataError, match="shape of the projections"):
        binned.adjoint(fine)


def stack_of(views: list[Example], role: str) -> Stack:
    """The stack whose views are restored to one of their own roles."""
    (stack,) = collect((e, e[role]) for e in views)
    return stack


def test_a_point_is_reconstructed_where_it_was(point: list[Example]) -> None:
    stack = stack_of(point, "reference")
    total = float(stack.truth.sum())
    for way in (without_blur, with_recovery):
        volume = way(stack, [(20, 0.0)], 4)[20, 0.0]
        assert np.unravel_index(volume.argmax(), volume.shape) == POINT
        assert float(volume.sum()) == pytest.approx(total, rel=0.02)
    volume = on_coarse_grid(stack, [(20, 0.0)], 4)[20, 0.0]
    assert volume.shape == (32, 32, 16) and float(volume.sum()) == pytest.approx(total, rel=0.02)
    assert np.abs(np.array(np.unravel_index(volume.argmax(), volume.shape)) - POINT).max() <= 1


def test_iterations_of_one_run_are_those_of_many(body: np.ndarray) -> None:
    stack = stack_of(views_of(body), "input")
    both = without_blur(stack, [(1, 0.0), (3, 0.0), (3, 15.0)], 4)
    np.testing.assert_allclose(both[3, 0.0], without_blur(stack, [(3, 0.0)], 4)[3, 0.0], rtol=1e-4, atol=1e-4)
    assert np.abs(both[1, 0.0] - both[3, 0.0]).max() > 0.01 * both[3, 0.0].max()
    assert both[3, 15.0].std() < both[3, 0.0].std()


def test_a_coarse_volume_keeps_its_sum_and_place() -> None:
    coarse = np.zeros((6, 6, 4))
    coarse[2, 3, 1] = 8.0
    fine = on_fine_grid(coarse, 2)
    assert fine.shape == (12, 12, 8) and fine.sum() == pytest.approx(8.0, rel=1e-5)
    middle = [(fine.sum(axis=tuple({0, 1, 2} - {a})) * np.arange(fine.shape[a])).sum() / 8 for a in range(3)]
    assert middle == pytest.approx([4.5, 6.5, 2.5], abs=1e-4)


# ---- analyses ----
def test_numbers_of_a_volume(body: np.ndarray) -> None:
    stack = stack_of(views_of(body), "input")
    same = numbers(stack.truth, stack)
    assert same == pytest.approx({"nrmse": 0, "correlation": 1, "hot": 1, "cold": 1, "counts": 0}, abs=1e-5)
    assert numbers(1.1 * stack.truth, stack)["counts"] == pytest.approx(10, rel=1e-4)
    assert numbers(1.1 * stack.truth, stack)["nrmse"] == pytest.approx(10, rel=1e-4)
    half = stack.truth.copy()
    around = half[stack.labels == 4].mean()
    half[cube(POINT, 1)] = (half[cube(POINT, 1)] + around) / 2
    assert contrast_recovery(half, stack.truth, stack.labels, 2) == pytest.approx(0.5, abs=1e-5)


def test_a_setting_is_chosen_on_the_other_stacks(body: np.ndarray) -> None:
    one = stack_of(views_of(body), "input")
    stacks = [
        Stack({**one.scan, "stack": f"sub-{k}_acq-a"}, one.acquisition, one.truth, one.labels, None)
        for k in "abc"
    ]
    trials = Trials([(1, 0.0), (2, 0.0), (3, 0.0)])
    assert [s.condition for s in stacks] == ["acq-a"] * 3
    for stack, errors in zip(stacks, ((0.0, 0.5, 0.6), (0.5, 0.2, 0.1), (0.5, 0.1, 0.3)), strict=True):
        trials.add(
            stack, {s: one.truth * np.float32(1 + e) for s, e in zip(trials.settings, errors, strict=True)}
        )
    assert trials.chosen(stacks[0]) == (2, 0.0), "its own best, the first, is not looked at"
    assert trials.at(stacks[0], (2, 0.0))["nrmse"] == pytest.approx(50, rel=1e-4)
    alone = Trials([(1, 0.0), (2, 0.0), (3, 0.0)])
    alone.add(one, dict.fromkeys(alone.settings, one.truth))
    assert alone.chosen(one) == (2, 0.0)


def test_ideal_views_beat_resolution_recovery_and_counts_as_they_were_do_not(
    body: np.ndarray, tmp_path: Path
) -> None:
    views = views_of(body)
    analysis = SheetTomography(iterations=[4, 12], filters_mm=[0], subsets=4)
    found = {}
    for role in ("reference", "input"):
        rows = analysis.run_cohort(((e, e[role]) for e in reversed(views)), tmp_path / role)
        assert {r["measure"] for r in rows} == set(SheetTomography.MEASURES)
        assert {r["subject"] for r in rows} == {"sub-stack001"}
        assert {r["scan"] for r in rows} == {views[0].scan["scan"]}
        found[role] = {r["measure"]: r["value"] for r in rows}
    ideal, raw = found["reference"], found["input"]
    assert ideal["tomo_nrmse"] < 20 < raw["tomo_nrmse"]
    assert ideal["tomo_gain"] > 5 and raw["tomo_gain"] < 0
    assert abs(ideal["tomo_counts"]) < 1 and abs(raw["tomo_counts"]) < 2
    assert ideal["tomo_hot"] > raw["tomo_hot"] > 0
    shown = read_shown(tmp_path / "reference")
    assert [type(i) for i in shown.items] == [Note, Figure]
    assert "smaller than with resolution recovery (n = 1)" in shown.items[0].text  # type: ignore[union-attr]
    assert "error" in shown.items[1].caption  # type: ignore[union-attr]
    (remark, _) = read_shown(tmp_path / "input").items
    assert isinstance(remark, Note) and remark.flag and "larger than with" in remark.text
    peers = ResolutionRecovery(iterations=[4, 12], filters_mm=[0], subsets=4)
    told = {
        r["measure"]: r["value"] for r in peers.run_cohort(((e, e["input"]) for e in views), tmp_path / "p")
    }
    assert set(told) == set(ResolutionRecovery.MEASURES)
    assert raw["tomo_nrmse"] + raw["tomo_gain"] == pytest.approx(told["recovery_nrmse"], rel=1e-5)
    assert told["recovery_nrmse"] < told["coarse_nrmse"]
    assert ResolutionRecovery.methods == ("input",)


def test_remarks_tell_the_gain_of_each_condition(body: np.ndarray) -> None:
    one = stack_of(views_of(body), "input")
    stacks = [
        Stack({"scan": f"{s}{c}", "stack": f"sub-{s}_acq-{c}"}, one.acquisition, one.truth, one.labels, None)
        for c in ("high", "low")
        for s in "abc"
    ]
    gains = (1.0, 2.0, 3.0, -4.0, -5.0, -6.0)
    rows = [
        {"scan": k.scan["scan"], "subject": k.scan["scan"][0], "measure": "tomo_gain", "value": gain}
        for k, gain in zip(stacks, gains, strict=True)
    ]
    better, worse = gain_notes(rows, stacks)
    assert better.text.startswith("acq-high: from these views the error is 2.00 points smaller")
    assert "n = 3; 95 % interval of the gain +1.00 to +3.00" in better.text and not better.flag
    assert "5.00 points larger" in worse.text and worse.flag


def test_stacks_without_all_views_are_told(body: np.ndarray, tmp_path: Path) -> None:
    views = views_of(body)
    analysis = SheetTomography(iterations=[1], filters_mm=[0])
    assert analysis.run_cohort(((e, e["input"]) for e in views[:-1]), tmp_path) == []
    (note,) = read_shown(tmp_path).items
    assert isinstance(note, Note) and note.flag and note.text.startswith("1 stack left out")
    plain = Example({"scan": "sub-a", "subject": "sub-a"}, {})
    assert analysis.run_cohort([(plain, views[0]["input"])], tmp_path / "none") == []
    assert not (tmp_path / "none").exists(), "of sheets that are no stack nothing is said"
    with pytest.raises(DataError, match="do not fit their acquisition"):
        analysis.run_cohort(((e, e["low"]) for e in views), tmp_path)


def test_settings_that_cannot_be() -> None:
    assert settings_of([8, 2], [5, 0]) == ((2, 0.0), (2, 5.0), (8, 0.0), (8, 5.0))
    for iterations, filters in (([], [0]), ([0], [0]), ([2, 2], [0]), ([2], [-1]), ([2.5], [0])):
        with pytest.raises(ConfigError, match="Unusable setting of a reconstruction"):
            settings_of(iterations, filters)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="from 1 to 120"):
        SheetTomography(subsets=0)


def test_the_shipped_overlay_plans_stacks_alone(tmp_path: Path) -> None:
    overlay = load_yaml(ROOT / "config" / "overlays" / "sheet_tomography.yaml")
    config = resolve(merge(load_yaml(ROOT / "config" / "config.yaml"), overlay), ROOT)
    plan = Plan(config, tmp_path)
    assert list(plan.studies) == ["gamma_sr"] and config["run"] == "sheet_tomography"
    study = plan["gamma_sr"]
    splits = {row["subject"]: row["split"] for row in study.rows("stacks")}
    assert [sum(s == wanted for s in splits.values()) for wanted in ("train", "validation", "test")] == [
        2,
        1,
        6,
    ]
    told = {(a, m) for _, a, m, _ in study.analysed()}
    assert ("resolution_recovery", "input") in told and ("sheet_tomography", "srresnet") in told
    assert not any(a == "resolution_recovery" and m != "input" for a, m in told)
