"""Methods and measures of time-activity curves: what they give back, refuse, and whether they find what is there."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.interruption import Interrupted
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.measures import MEASURES
from senmei.methods import METHODS
from senmei.methods.curve_pairs import Steps, draw_superposition, pairs_of
from senmei.methods.curves import Curve, CurveMethod, curve_of
from senmei.methods.delay_dispersion import KERNELS, SCALES, DelayDispersion
from senmei.methods.tac_network import TACNetwork
from senmei.physics.bolus import transport

FRAME, FRAMES = 1.0, 60
LABELS = ["peak_time_error", "peak_height_error", "area_error", "mean_time_error"]


def volume(curve: Any, frame: float = FRAME) -> Volume:
    data = np.asarray(curve, np.float32)
    return Volume(data.reshape(-1, 1, 1), np.diag([frame, 1.0, 1.0, 1.0]))


def true_kernel(frame: float = FRAME, frames: int = FRAMES) -> np.ndarray:
    """What these toys' artery is of their vein: 0.4 times a delay of 1.5 s and a gamma variate of 3 s, shape 2."""
    return 0.4 * transport(frames * 20, 3.0, delay_s=1.5, shape=2.0, step_s=frame / 20)


def pair(
    seed: int, frame: float = FRAME, frames: int = FRAMES, mbq: float = 100.0
) -> tuple[np.ndarray, np.ndarray]:
    """(vein, artery) counts per frame, noise-free: one to three bumps, exact within a twentieth of a frame."""
    rng = np.random.default_rng(seed)
    time = (np.arange(frames * 20) + 0.5) * frame / 20
    vein = np.zeros(len(time))
    for _ in range(int(rng.integers(1, 4))):
        centre, width = rng.uniform(10, 17), rng.uniform(0.8, 1.9)
        vein += rng.uniform(0.3, 1) * np.exp(-0.5 * ((time - centre) / width) ** 2)
    vein *= 50 * mbq / vein.sum()
    artery = np.convolve(vein, true_kernel(frame, frames))[: len(time)]
    return vein.reshape(frames, 20).sum(1), artery.reshape(frames, 20).sum(1)


def example(seed: int, noisy: bool = True, **more: Any) -> Example:
    keys = ("frame", "frames", "mbq")
    vein, artery = pair(seed, **{k: v for k, v in more.items() if k in keys})
    counts = np.random.default_rng(1000 + seed).poisson(vein) if noisy else vein
    frame, mbq = more.get("frame", FRAME), more.get("mbq", 100.0)
    roles = {
        "input": volume(counts, frame),
        "expected": volume(vein, frame),
        "reference": volume(artery, frame),
        "curve": {"frame_s": frame, "activity_mbq": mbq, "frames": len(vein)},
    }
    return Example({"scan": f"s{seed}", "data_range": 4.0 * mbq * frame}, {**roles, **more.get("roles", {})})


def context(**more: Any) -> FitContext:
    return FitContext(**{"seed": 1, "log": lambda _: None, **more})


SMALL: dict[str, dict[str, Any]] = {
    "delay_dispersion": {},
    "tac_network": {"hidden": 8, "steps": 300, "batch": 16, "step_s": 1.0, "draws": 2, "learning_rate": 1e-2},
}


@cache
def fitted(name: str, **settings: Any) -> CurveMethod:
    options = {**SMALL[name], **settings}
    method = METHODS.get(name)(**options)
    weights = method.fit([example(n) for n in range(12)], [example(n) for n in range(12, 16)], context())
    again = METHODS.get(name)(**options)
    again.load(weights)
    return again


def error(method: CurveMethod, cases: list[Example]) -> float:
    """Squared error over energy, over several scans."""
    pairs = [(method.apply(e).data, e["reference"].data) for e in cases]
    return float(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((b**2).sum() for _, b in pairs))


def test_all_are_registered() -> None:
    found = {name for name in METHODS if issubclass(METHODS.get(name), CurveMethod)}
    assert found == set(SMALL)
    assert {name for name in MEASURES if "curve" in MEASURES.get(name).requires} == set(LABELS)


@pytest.mark.parametrize("name", SMALL)
def test_a_method_keeps_the_grid_and_learns(name: str) -> None:
    method = fitted(name)
    case = example(40)
    out = method.apply(case)
    assert out.shape == case["input"].shape == method.output_grid(case)[0]
    assert out.data.dtype == np.float32
    np.testing.assert_array_equal(out.affine, case["input"].affine)
    tests = [example(n) for n in range(40, 46)]
    as_is = sum(float(((e["input"].data - e["reference"].data) ** 2).sum()) for e in tests)
    energy = sum(float((e["reference"].data ** 2).sum()) for e in tests)
    assert error(method, tests) < 0.1 * as_is / energy
    np.testing.assert_array_equal(method.apply(case).data, out.data)


@pytest.mark.parametrize("name", SMALL)
def test_fitting_is_repeated_alike(name: str) -> None:
    a, b = fitted(name), fitted.__wrapped__(name)
    case = example(41)
    np.testing.assert_array_equal(a.apply(case).data, b.apply(case).data)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_no_curve_is_refused(name: str) -> None:
    method = fitted(name)
    sheet = Volume(np.ones((8, 8, 1), np.float32), np.eye(4))
    broken = example(3)["input"].data.copy()
    broken[4] = np.nan
    known = {"frame_s": FRAME, "activity_mbq": 100.0}
    for roles, words in (
        ({"input": sheet}, r"a volume \(8, 8, 1\)"),
        ({"input": {"a": 1}}, "a dict|it is dict"),
        ({"input": volume(broken)}, "1 frames are not numbers"),
        ({"input": volume(np.zeros(FRAMES))}, "sum to 0"),
        ({"curve": {**known, "frame_s": 0}}, "a number above 0 is needed"),
        ({"curve": {"frame_s": 1.0}}, "it is None"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            method.apply(example(3, roles=roles))
        assert "s3" in caught.value.where


@pytest.mark.parametrize("name", SMALL)
def test_without_scans_or_fitting_it_is_refused(name: str) -> None:
    method = METHODS.get(name)(**SMALL[name])
    with pytest.raises(ConfigError, match="has not been fitted"):
        method.apply(example(0))
    with pytest.raises(DataError, match="there are none"):
        method.fit([], [example(0)], context())
    with pytest.raises(DataError, match="there are none"):
        method.fit([example(0)], [], context())
    unranged = Example({"scan": "s"}, {r: example(0)[r] for r in example(0).roles})
    with pytest.raises(DataError, match="no data range"):
        method.fit([example(1)], [unranged], context())


# ---- delay and dispersion ----


def test_the_true_kernel_is_found() -> None:
    method = DelayDispersion("gamma")
    weights = method.fit([example(n) for n in range(12)], [example(20)], context())
    (delay, mean, shape), amplitude = weights["delay_mean_shape"][0], weights["amplitudes"][0]
    assert amplitude == pytest.approx(0.4, rel=0.02)
    assert delay + mean == pytest.approx(4.5, abs=0.1)
    assert mean**2 / shape == pytest.approx(3.0**2 / 2, rel=0.15)


def test_richer_kernels_fit_no_worse_and_the_right_one_fits() -> None:
    clean = [example(n, noisy=False) for n in range(30, 36)]
    found = {kernel: error(fitted("delay_dispersion", kernel=kernel), clean) for kernel in KERNELS}
    assert found["gamma"] < 2e-3
    assert found["gamma"] < found["exponential"] < found["delay"]
    assert found["recirculation"] < found["gamma"] + 1e-3
    assert found["free"] < 1e-2


def test_frames_of_any_length_share_a_kernel() -> None:
    """Fitted on frames of 1 s, applied to half and two seconds: kernels are in seconds, not in frames."""
    method = fitted("delay_dispersion", kernel="gamma")
    for frame in (0.5, 2.0):
        cases = [example(n, noisy=False, frame=frame, frames=int(60 / frame)) for n in range(50, 53)]
        assert error(method, cases) < 6e-3


@pytest.mark.parametrize("scale", SCALES)
def test_what_the_height_follows(scale: str) -> None:
    method = fitted("delay_dispersion", scale=scale)
    one = method.apply(example(8)).data
    counts, known = example(8)["input"].data, {"frame_s": FRAME, "activity_mbq": 100.0}
    brighter = method.apply(example(8, roles={"input": volume(2 * counts)})).data
    more = method.apply(example(8, roles={"curve": {**known, "activity_mbq": 200.0}})).data
    np.testing.assert_allclose(brighter, (2 if scale == "vein" else 1) * one, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(more, (1 if scale == "vein" else 2) * one, rtol=1e-5, atol=1e-4)


def test_what_was_there_before_the_bolus_is_taken_away() -> None:
    method = fitted("delay_dispersion", scale="activity")
    counts = example(8, noisy=False)["input"].data
    clean = method.apply(example(8, roles={"input": volume(counts)})).data
    raised = method.apply(example(8, roles={"input": volume(counts + 40.0)})).data
    np.testing.assert_allclose(raised, clean, atol=2e-3 * clean.max())
    keeps = fitted("delay_dispersion", scale="activity", background_s=0.0)
    other = keeps.apply(example(8, roles={"input": volume(counts + 40.0)})).data
    assert np.abs(other - clean).max() > 0.05 * clean.max()
    with pytest.raises(DataError, match="no bolus above the background"):
        method.apply(example(8, roles={"input": volume(np.r_[np.full(9, 40.0), np.ones(FRAMES - 9)])}))
    with pytest.raises(ConfigError, match="'background_s' must be 0 or more"):
        DelayDispersion(background_s=-1.0)


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown kernel 'gama'") as caught:
        DelayDispersion(kernel="gama")
    assert "gamma" in caught.value.fix
    with pytest.raises(ConfigError, match="Unknown scale"):
        DelayDispersion(scale="dose")


# ---- the network ----


def test_its_layers_are_three_and_of_the_sizes_said() -> None:
    method = TACNetwork(hidden=8, steps=2, step_s=1.0)
    weights = method.fit([example(n) for n in range(3)], [example(4)], context())
    steps = 60 + 6  # of one second, 6 of them before the bolus arrives
    assert weights["hidden.weight"].shape == (8, steps + 2)
    assert weights["output.weight"].shape == (steps, 8)
    assert TACNetwork(draws=1).needs == (*TACNetwork.needs, "expected")


def test_an_aligned_network_moves_with_the_bolus() -> None:
    method = fitted("tac_network")
    counts = example(8)["input"].data[:, 0, 0]
    later = np.concatenate([np.zeros(3), counts[:-3]])
    one, moved = (method.apply(example(8, roles={"input": volume(c)})).data[:, 0, 0] for c in (counts, later))
    np.testing.assert_allclose(moved[3:40], one[:37], atol=0.01 * one.max())
    still = fitted("tac_network", aligned=False)
    one, moved = (still.apply(example(8, roles={"input": volume(c)})).data[:, 0, 0] for c in (counts, later))
    assert np.abs(moved[3:40] - one[:37]).max() > 0.05 * one.max()


def test_steps_and_frames_agree() -> None:
    """A reference brought onto the steps and back is itself, whatever the arrival."""
    vein, artery = pair(5)
    curve = Curve(vein, FRAME, 100.0, "s")
    for aligned in (True, False):
        steps = Steps(0.5, 60.0, aligned)
        seen, wanted, known = steps.pair(curve, artery)
        assert seen.shape == (len(wanted) + 2,)
        assert seen[:-2].sum() * 0.5 == pytest.approx(1.0, abs=1e-6), "shares of all counts"
        assert known.any() and (aligned or known.all())
        np.testing.assert_allclose(steps.framed(wanted, curve), artery, atol=5e-3 * artery.max())


def test_further_pairs_have_new_noise_and_the_same_sums() -> None:
    rng = np.random.default_rng(0)
    pairs = pairs_of([example(1), example(2)], Steps(1.0, 60.0, True), 4, rng)
    assert pairs.seen.shape[0] == pairs.wanted.shape[0] == pairs.known.shape[0] == 10
    assert len({row.tobytes() for row in pairs.seen}) == 10
    vein, artery = pair(7)
    more = draw_superposition(np.random.default_rng(2), FRAME)
    assert more(vein)[:50].sum() == pytest.approx(vein.sum(), rel=1e-3)
    smeared = np.convolve(more(vein), true_kernel()[::20])[:FRAMES]
    np.testing.assert_allclose(smeared, more(np.convolve(vein, true_kernel()[::20])[:FRAMES]), atol=1e-6)
    assert artery.sum() > 0


def test_one_length_only() -> None:
    short = example(2, frames=40)
    with pytest.raises(DataError, match="they last 40 s and 60 s"):
        TACNetwork(steps=2).fit([example(1), short], [example(3)], context())
    with pytest.raises(DataError, match="this one lasts 40 s, those 60 s"):
        fitted("tac_network").apply(short)


def test_it_stops_and_goes_on_to_the_same_weights(tmp_path: Any) -> None:
    train, told = [example(n) for n in range(4)], [example(5)]
    options = {**SMALL["tac_network"], "steps": 20}
    whole = TACNetwork(**options).fit(train, told, context())
    asked = iter([False] * 7 + [True] * 20)
    place = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        TACNetwork(**options).fit(train, told, context(checkpoint=place, stop=lambda: next(asked)))
    resumed = TACNetwork(**options).fit(train, told, context(checkpoint=place))
    assert whole.keys() == resumed.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name])


@pytest.mark.parametrize("name", SMALL)
def test_scans_without_counts_are_not_learned_from(name: str) -> None:
    options = {**SMALL[name], "steps": 5} if name == "tac_network" else SMALL[name]
    empty = example(3, roles={"input": volume(np.zeros(FRAMES))})
    some, told = [example(n) for n in range(3)], [example(4)]
    weights = METHODS.get(name)(**options).fit([*some, empty], [*told, empty], context())
    plain = METHODS.get(name)(**options).fit(some, told, context())
    for key in plain:
        np.testing.assert_array_equal(weights[key], plain[key])


def test_weights_of_another_network_are_refused() -> None:
    method = TACNetwork(hidden=8, steps=2, step_s=1.0)
    weights = method.fit([example(1)], [example(2)], context())
    with pytest.raises(DataError, match="weights do not fit"):
        TACNetwork(hidden=9, step_s=1.0).load(weights)
    for bad in (
        {"hidden": 0},
        {"steps": 1.5},
        {"step_s": 0},
        {"learning_rate": -1},
        {"decay": -1},
        {"draws": -1},
    ):
        with pytest.raises(ConfigError):
            TACNetwork(**bad)


# ---- measures ----


@pytest.mark.parametrize("name", LABELS)
def test_measures_say_what_they_are_and_are_zero_for_a_copy(name: str) -> None:
    measure = MEASURES.get(name)
    assert measure.better == "lower" and measure.title and measure.unit in ("s", "%")
    assert "DataError" in (measure.__doc__ or "")
    case = example(1)
    assert measure(case, case["reference"]) == pytest.approx(0.0, abs=1e-9)


def gauss(centre: float, width: float = 3.0, height: float = 100.0) -> np.ndarray:
    return height * np.exp(-0.5 * ((np.arange(FRAMES) - centre) / width) ** 2)


def measured(name: str, restored: np.ndarray, frame: float = FRAME) -> float:
    known = {"frame_s": frame, "activity_mbq": 1.0}
    roles = {"reference": volume(gauss(20.0), frame), "curve": known}
    return MEASURES.get(name)(Example({"scan": "s1"}, roles), volume(restored, frame))


@pytest.mark.parametrize("frame", [0.5, 1.0, 2.0])
def test_times_are_in_seconds_and_between_frames(frame: float) -> None:
    for moved in (-3.0, 0.4, 5.25):
        late = gauss(20.0 + moved)
        assert measured("peak_time_error", late, frame) == pytest.approx(abs(moved) * frame, abs=0.02 * frame)
        assert measured("mean_time_error", late, frame) == pytest.approx(abs(moved) * frame, rel=1e-3)
        assert measured("area_error", late, frame) == pytest.approx(0.0, abs=1e-3)
        assert measured("peak_height_error", late, frame) == pytest.approx(0.0, abs=0.3)


def test_heights_and_areas_are_in_per_cent() -> None:
    assert measured("peak_height_error", 1.2 * gauss(20.0)) == pytest.approx(20.0, abs=1e-4)
    assert measured("area_error", 0.7 * gauss(20.0)) == pytest.approx(30.0, abs=1e-4)
    wide = gauss(20.0, width=6.0, height=50.0)
    assert measured("area_error", wide) == pytest.approx(0.0, abs=0.1)
    assert measured("peak_height_error", wide) == pytest.approx(50.0, abs=0.5)
    assert measured("mean_time_error", 3 * gauss(20.0)) == pytest.approx(0.0, abs=1e-6), (
        "a factor moves no time"
    )


def test_a_peak_at_the_end_is_where_it_is() -> None:
    assert measured("peak_time_error", np.arange(FRAMES, dtype=float)) == pytest.approx(39.0)


@pytest.mark.parametrize("name", LABELS)
def test_what_cannot_be_measured_is_refused(name: str) -> None:
    case = example(1)
    for restored, words in (
        (Volume(np.ones((4, 4, 4), np.float32), np.eye(4)), "the grids are"),
        (volume(np.full(FRAMES, np.nan)), "NaN or infinite"),
        (volume(np.zeros(FRAMES)), "nowhere above zero"),
        ({"outcome": 1.0}, "Cannot measure the restored image"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            MEASURES.get(name)(case, restored)
        assert "s1" in caught.value.where
    with pytest.raises(DataError, match="its frames last nan s"):
        MEASURES.get(name)(example(1, roles={"curve": {}}), case["reference"])
    cube = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    image = Example({"scan": "s1"}, {"reference": cube, "curve": {"frame_s": 1.0}})
    with pytest.raises(DataError, match="the image is 4 x 4 x 4"):
        MEASURES.get(name)(image, cube)


def test_a_curve_knows_its_edges_and_total() -> None:
    curve = curve_of(example(1, frame=0.5))
    assert curve.edges[-1] == 30.0
    assert math.isclose(curve.total, float(example(1, frame=0.5)["input"].data.sum()), rel_tol=1e-6)
