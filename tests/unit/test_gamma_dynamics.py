"""The study `gamma_dynamics`: who is injected with what, roles that agree, and its presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError
from senmei.core.example import Example
from senmei.measures import MEASURES
from senmei.methods import METHODS
from senmei.report.look import look_of
from senmei.report.slices import draw_scan
from senmei.stages.plan import Plan
from senmei.studies.gamma_dynamics import GammaDynamics, as_volume, typical_peak

ROOT = Path(__file__).resolve().parents[2]


def settings(preset: str = "tiny", **overlay: Any) -> dict[str, Any]:
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": preset, "device": "cpu"})
    config["studies"] = {"gamma_dynamics": overlay}
    return resolve(config, ROOT)["studies"]["gamma_dynamics"]


def planned(tmp_path: Path, preset: str = "tiny", **overlay: Any) -> Any:
    found = {"gamma_dynamics": settings(preset, **overlay)}
    return Plan({"run": "x", "seed": 1, "strict": False, "studies": found}, tmp_path)["gamma_dynamics"]


def prepared(
    subject: int = 0, scan: int = 0, seed: int = 3, cohort: Any = None, **degradation: Any
) -> Example:
    """A scan with the roles of all groups, as training would have it, and the raw ones as raw_{role}."""
    found = settings(cohorts={"boluses": {"subjects": 20, **(cohort or {})}}, degradation=degradation)
    own, study = found["cohorts"]["boluses"], GammaDynamics()
    study.check_cohort(own, found["degradation"])
    images = study.images(study.participants(own)[subject], own)
    raw = study.simulate(images, own, 100 + subject)
    row = study.scans(images, own, found["degradation"])[scan]
    roles: dict[str, Any] = {}
    for group, names in study.groups.items():
        made, columns = study.prepare(
            group, row, lambda image, role: raw[image][role], own, found["degradation"], seed
        )
        assert set(made) == set(names)
        roles |= made
        row = {**row, **columns}
    extra = {f"raw_{name}": value for name, value in raw[row["image"]].items()}
    return Example(row, {**roles, **extra})


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_every_preset_can_be_planned_and_all_kinds_are_tested(preset: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, preset)
    rows = plan.rows("boluses")
    assert len({row["scan"] for row in rows}) == len(rows)
    for split in ("train", "validation", "test"):
        kinds = [row["bolus"] for row in rows if row["split"] == split]
        assert set(kinds) == {"sharp", "slow", "fragmented"}
    assert all(set("._+ /") & set(row["scan"].split("_acq-")[1]) == set() for row in rows)
    for name in plan.methods:
        METHODS.get(plan.method(name)["use"])(**plan.options("method", name))
    assert set(settings(preset)["report"]["primary"]) <= set(settings(preset)["measures"]) <= set(MEASURES)


def test_it_is_asked_for_and_not_in_the_demo() -> None:
    assert "gamma_dynamics" not in load_yaml(ROOT / "config" / "config.yaml")["studies"]


def test_the_ablation_is_a_configuration_of_this_study_alone() -> None:
    overlay = load_yaml(ROOT / "config" / "overlays" / "dynamics_ablation.yaml")
    studies = resolve(merge(load_yaml(ROOT / "config" / "config.yaml"), overlay), ROOT)["studies"]
    assert list(studies) == ["gamma_dynamics"]
    found = studies["gamma_dynamics"]
    ablation = found["report"]["ablation"]
    assert {ablation["base"], *ablation["of"]} <= set(found["methods"])
    for spec in found["methods"].values():
        METHODS.get(spec["use"])(**{k: v for k, v in spec.items() if k != "use"})


def test_injections_take_turns() -> None:
    study = GammaDynamics()
    cohort = settings(cohorts={"boluses": {"injections": 3, "boluses": ["sharp", "slow"]}})["cohorts"][
        "boluses"
    ]
    images = study.images({"subject": "sub-003"}, cohort)
    assert [row["bolus"] for row in images] == ["slow", "sharp", "slow"]
    assert [row["image"] for row in images] == [f"sub-003_run-{n}" for n in (1, 2, 3)]
    scans = study.scans(images, cohort, {"activities_mbq": [740, 0.5], "frames_s": [0.5, 1]})
    assert len(scans) == 3 * 4
    assert scans[0]["scan"] == "sub-003_run-1_acq-740MBq0p5s"
    assert len({row["scan"] for row in scans}) == len(scans)


def test_roles_agree() -> None:
    case = prepared(activities_mbq=[740], frames_s=[1])
    assert case["input"].shape == case["reference"].shape == case["expected"].shape == (60, 1, 1)
    assert case["input"].voxel[0] == case["curve"]["frame_s"] == case.scan["frame_s"] == 1.0
    assert case["curve"]["activity_mbq"] == 740
    counts, expected = case["input"].data, case["expected"].data
    assert np.array_equal(counts, np.round(counts)), "counts are whole"
    assert (
        counts.sum()
        == case.scan["counts"]
        == pytest.approx(float(expected.sum()), abs=5 * float(expected.sum()) ** 0.5)
    )
    assert case["reference"].data.sum() == pytest.approx(740 * case["raw_artery"].data.sum(), rel=1e-5)
    background = 5.0 * 60
    assert expected.sum() == pytest.approx(740 * case["raw_vein"].data.sum() + background, rel=1e-5)
    assert case["reference"].data.argmax() > expected.argmax()


def test_the_data_range_is_fixed_by_activity_and_frame() -> None:
    for mbq, frame in ((740, 0.5), (50, 0.5), (740, 2)):
        ranges = {prepared(s, activities_mbq=[mbq], frames_s=[frame]).scan["data_range"] for s in range(3)}
        assert ranges == {mbq * typical_peak(frame, 60.0)}, "no patient's own maximum"
    assert typical_peak(1.0, 60.0) == pytest.approx(2 * typical_peak(0.5, 60.0), rel=0.05)


def test_patients_are_drawn_once_and_noise_a_scan() -> None:
    one, same = prepared(4, activities_mbq=[50]), prepared(4, activities_mbq=[50])
    np.testing.assert_array_equal(one["input"].data, same["input"].data)
    other = prepared(4, seed=9, activities_mbq=[50])
    assert not np.array_equal(one["input"].data, other["input"].data)
    np.testing.assert_array_equal(one["reference"].data, other["reference"].data)
    assert one["raw_columns"] == same["raw_columns"] != prepared(5, activities_mbq=[50])["raw_columns"]


def test_axes_of_the_acquisition() -> None:
    dead = prepared(dead_time_us=5.0, activities_mbq=[740])
    live = prepared(dead_time_us=0.0, activities_mbq=[740])
    assert 0.8 < dead["expected"].data.sum() / live["expected"].data.sum() < 0.99
    np.testing.assert_array_equal(dead["reference"].data, live["reference"].data)
    clean = prepared(cohort={"spill": 0.0}, background_cps=0.0)
    assert clean["expected"].data[-20:].sum() < live["expected"].data[-20:].sum()
    kept = prepared(cohort={"extraction": 1.0})
    assert kept["reference"].data[-20:].sum() < 1e-3 * kept["reference"].data.sum(), "nothing comes round"
    assert prepared(frames_s=[0.5])["input"].shape == (120, 1, 1)


@pytest.mark.parametrize("frame", [0.07, 0.7, 8.0])
def test_frames_that_do_not_fit_are_refused_before_anything_runs(frame: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frames do not fit"):
        planned(tmp_path, degradation={"frames_s": [frame]})


def test_curves_are_told_to_be_curves() -> None:
    assert look_of(GammaDynamics.figures).planes == ("curve",)
    with pytest.raises(ConfigError, match="curve stands alone"):
        look_of({"planes": ("curve", "axial")})
    volume = as_volume(np.arange(5.0), 0.5)
    assert volume.shape == (5, 1, 1) and volume.voxel == (0.5, 1.0, 1.0)


class Written:
    """A finished study, as far as a figure of one scan asks for it."""

    conditions = ("bolus",)
    methods = ("input", "gamma")

    def __init__(self, roles: dict[str, Any], restored: dict[str, Any]) -> None:
        self._roles, self._restored = roles, restored

    def roles(self, cohort: str, row: Any) -> dict[str, Any]:
        return self._roles

    def table(self, cohort: str, name: str) -> list[Any]:
        return []

    def restored(self, cohort: str, method: str, row: Any) -> Any:
        return self._restored.get(method)

    def title(self, method: str) -> str:
        return method

    label = title


class Role:
    columns: dict[str, Any] = {}

    def __init__(self, value: Any) -> None:
        self.value = value

    def load(self) -> Any:
        return self.value


def test_a_scan_is_drawn_as_curves() -> None:
    case = prepared(activities_mbq=[740])
    roles = {name: Role(case[name]) for name in ("input", "reference")}
    files: Any = Written(roles, {"gamma": Role(case["reference"])})
    look = look_of(GammaDynamics.figures)
    figure = draw_scan(files, "boluses", case.scan, ["input", "gamma"], look=look)
    assert not figure.rows
    assert figure.chart.src.startswith("data:image/")
    assert case.scan["scan"] in figure.chart.alt
    assert figure.size == figure.chart.size > 1000
    again = draw_scan(files, "boluses", case.scan, ["input", "gamma"], look=look)
    assert again.chart == figure.chart, "the same bytes"
    nothing = draw_scan(Written({}, {}), "boluses", case.scan, ["input", "gamma"], look=look)  # type: ignore[arg-type]
    assert nothing.chart is None
    assert nothing.notes[-1].startswith("No curves to show")
