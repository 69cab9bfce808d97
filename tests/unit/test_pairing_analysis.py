"""The analysis `pairing`: its numbers against known truths, scans without one, and what the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import poisson

from senmei.analyses.pairing import PairingWays, true_reference
from senmei.core.errors import ConfigError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.shown import Figure, Note, Table, read_shown
from senmei.io.tables import read_tsv
from senmei.phantoms.teachers import load_teacher
from senmei.physics.planar.camera import PlanarCamera, draw_counts
from senmei.physics.planar.goodness import deviance, noise_deviance
from senmei.physics.planar.sheet import sheet_affine

PIXEL = 288.0 / 96.0


def example(
    name: str = "astronaut", time_s: float = 600.0, tone: float = 1.0, simulated: bool = True, seed: int = 0
) -> tuple[Example, Volume]:
    """A photograph with a margin, printed with a tone curve and imaged on pixels of 12 mm."""
    camera = PlanarCamera(matrix=24, zoom=613.8 / 288.0, time_s=time_s)
    grey, mask = np.zeros((96, 96, 1), np.float32), np.zeros((96, 96, 1), np.uint8)
    grey[16:80, 16:80], mask[16:80, 16:80] = load_teacher(name, 64, PIXEL).data, 1
    affine = sheet_affine((96, 96), PIXEL)
    activity = Volume(
        (grey.astype(np.float64) ** tone * 0.107 * (PIXEL / 10) ** 2).astype(np.float32), affine
    )
    expected = camera.expected(activity)
    low = draw_counts(expected, np.random.default_rng(seed))
    roles: dict[str, Any] = {"low": low, "camera": camera.role(4), "mask": Volume(mask, affine)}
    roles |= {"teacher": Volume(grey, affine)}
    roles |= {"activity": activity, "expected": expected} if simulated else {}
    return Example({"scan": f"{name}-{time_s:g}", "subject": name}, roles), low


def table(rows: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["measure"], []).append(row["value"])
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_the_tables_weakness_and_what_the_likelihoods_make_of_it(tmp_path: Path) -> None:
    rows = PairingWays().run_cohort(iter([example(tone=1.5)]), tmp_path)
    assert {row["measure"] for row in rows} == set(PairingWays.MEASURES)
    found = table(rows)
    assert found["pair_offset_lut"] == pytest.approx(0.0, abs=0.5), "by construction"
    assert found["pair_counts_lut"] < 0.985 and found["pair_bias_lut"] < -1.0, "and yet counts are missing"
    for way in ("affine", "monotone"):
        assert found[f"pair_counts_{way}"] == pytest.approx(1.0, abs=1e-4)
        assert found[f"pair_bias_{way}"] == pytest.approx(0.0, abs=0.5)
    assert found["pair_error_monotone"] < 5 < found["pair_error_affine"], "ink that does not follow grey"
    assert found["pair_error_monotone"] < 0.3 * found["pair_error_lut"]
    assert found["pair_deviance_monotone"] == pytest.approx(1.0, abs=0.2)
    assert found["pair_deviance_lut"] > 3


def test_truth_is_the_activity_times_the_cameras_counts(tmp_path: Path) -> None:
    case, low = example(simulated=True)
    truth = true_reference(case, {**case["camera"]})
    assert truth is not None
    assert truth.sum() == pytest.approx(float(low.data.sum()), rel=0.03)
    assert true_reference(example(simulated=False)[0], case["camera"]) is None


def test_measured_scans_have_deviance_and_offset_alone(tmp_path: Path) -> None:
    found = table(PairingWays().run_cohort(iter([example(simulated=False)]), tmp_path))
    assert {name.split("_")[1] for name in found} == {"offset", "counts", "deviance", "dilution"}
    shown = read_shown(tmp_path).items
    assert [type(i) for i in shown] == [Table, Figure, Note]
    assert "error, %" not in shown[0].columns and "truth" not in shown[2].text  # type: ignore[union-attr]


def test_conditions_are_apart_the_sample_is_bounded_and_bad_scans_are_told(tmp_path: Path) -> None:
    cases = [example(time_s=t, seed=n) for n, t in enumerate((600.0, 600.0, 600.0, 2.0))]
    broken = Example({**cases[0][0].scan, "scan": "broken"}, {k: cases[3][0][k] for k in cases[3][0].roles})
    teacher = broken["teacher"]
    roles = {k: broken[k] for k in broken.roles} | {"teacher": teacher.like(teacher.data * 2)}
    bare = Example({"scan": "bare", "subject": "bare"}, {"low": cases[0][1]})
    pairs = [*cases, (Example(broken.scan, roles), cases[0][1]), (bare, cases[0][1])]
    PairingWays(scans=2).run_cohort(iter(pairs), tmp_path)
    rows = read_tsv(tmp_path / "pairing.tsv")
    assert len(rows) == 3 * (2 + 1)
    shown = read_shown(tmp_path).items
    assert [type(i) for i in shown] == [Table, Figure, Note] * 2 + [Note]
    last = shown[-1]
    assert isinstance(last, Note) and last.flag and "broken" in last.text and "greys" in last.text
    first, second = shown[2], shown[5]
    assert isinstance(first, Note) and "known weakness" in first.text
    assert isinstance(second, Note) and "known weakness" not in second.text
    assert len(list(tmp_path.glob("pairing_*.png"))) == 2


def test_without_teachers_it_says_so(tmp_path: Path) -> None:
    bare = Example({"scan": "bare", "subject": "bare"}, {"low": example()[1]})
    assert PairingWays().run_cohort(iter([(bare, example()[1])]), tmp_path) == []
    (note,) = read_shown(tmp_path).items
    assert isinstance(note, Note) and "nothing to pair" in note.text


@pytest.mark.parametrize("options", [{"scans": 0}, {"knots": 1}, {"seed": -1}, {"scans": True}])
def test_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Unusable setting"):
        PairingWays(**options)


def test_deviance_of_noise_alone_is_one_at_any_dose() -> None:
    rng = np.random.default_rng(1)
    for mean in (0.01, 0.3, 1.0, 5.0, 59.0, 61.0, 1000.0):
        counts = rng.poisson(mean, 200_000).astype(float)
        noise = float(noise_deviance(np.array([mean]))[0])
        assert deviance(counts, np.full(counts.shape, mean)).mean() == pytest.approx(noise, rel=0.03)
    n = np.arange(400)
    exact = (poisson.pmf(n, 100.0) * deviance(n, np.full(400, 100.0))).sum()
    assert noise_deviance(np.array([100.0]))[0] == pytest.approx(exact, rel=1e-4)


def test_a_mask_on_the_cameras_grid_does_as_well() -> None:
    case, _ = example()
    roles = {name: case[name] for name in case.roles}
    coarse = case["low"].like(case["mask"].data[::4, ::4])
    other = Example(case.scan, roles | {"mask": coarse, "camera": {**case["camera"], "factor": 1}})
    assert PairingWays().paired(other).numbers == PairingWays().paired(case).numbers
