"""Physics of a bolus: transport keeps areas, delays and disperses as the formulas say, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

from senmei.core.errors import ConfigError
from senmei.physics import bolus
from senmei.physics.bolus import (
    STEP_S,
    Circulation,
    Injection,
    convolve,
    draw_circulation,
    draw_injection,
    framed,
    injected,
    passage,
    rebin,
    transport,
)
from senmei.physics.region_curves import (
    Regions,
    artery_counts,
    draw_regions,
    field_share,
    live_share,
    vein_counts,
)

BINS = 2400  # two minutes
TIME = np.arange(BINS) * STEP_S


def moments(curve: np.ndarray) -> tuple[float, float, float]:
    """(area, mean, variance) of a curve at lags."""
    area = float(curve.sum())
    mean = float(curve @ TIME) / area
    return area, mean, float(curve @ (TIME - mean) ** 2) / area


@pytest.mark.parametrize(
    ("mean", "delay", "shape"), [(2.0, 0.0, 1.0), (3.0, 1.7, 3.0), (0.8, 4.0, 2.5), (6.0, 0.3, 8.0)]
)
def test_transport_has_the_area_mean_and_variance_of_its_formula(
    mean: float, delay: float, shape: float
) -> None:
    area, found, variance = moments(transport(BINS, mean, delay_s=delay, shape=shape))
    assert area == pytest.approx(1.0, abs=1e-9)
    assert found == pytest.approx(delay + mean, abs=0.01)
    assert variance == pytest.approx(mean**2 / shape, rel=0.01)


@pytest.mark.parametrize("delay", [0.0, 1.0, 2.375])
def test_a_delay_alone_moves_and_keeps(delay: float) -> None:
    kernel = transport(BINS, 0.0, delay_s=delay)
    assert moments(kernel)[:2] == pytest.approx((1.0, delay), abs=1e-9)
    assert np.count_nonzero(kernel) <= 2


@pytest.mark.parametrize(
    "bad", [{"mean_s": -1.0}, {"mean_s": 1.0, "delay_s": -0.1}, {"mean_s": 1.0, "shape": 0.0}]
)
def test_transport_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Not a transport function"):
        transport(10, **bad)


def test_a_gamma_variate_through_a_chamber_is_the_analytic_convolution() -> None:
    """Gamma of shape 2 and scale b, through exp(-t/τ)/τ with τ = b: the gamma of shape 3 and the same scale."""
    b = 1.4
    found = convolve(transport(BINS, 2 * b, shape=2.0), transport(BINS, b))
    expected = transport(BINS, 3 * b, shape=3.0)
    np.testing.assert_allclose(found, expected, atol=5e-4 * expected.max())


def test_two_chambers_of_unlike_size_are_the_difference_of_exponentials() -> None:
    a, b = 0.7, 2.0
    found = convolve(transport(BINS, a), transport(BINS, b)) / STEP_S
    expected = (np.exp(-TIME / b) - np.exp(-TIME / a)) / (b - a)
    np.testing.assert_allclose(found[4:], expected[4:], atol=0.02 * expected.max())


def test_convolving_adds_means_and_variances_and_what_is_late_is_not_told() -> None:
    curve = injected(Injection(((5.0, 2.0, 1.0),)), BINS)
    kernel = transport(BINS, 3.0, delay_s=2.0, shape=3.0)
    out = convolve(curve, kernel)
    assert moments(out)[:2] == pytest.approx((1.0, moments(curve)[1] + moments(kernel)[1]), abs=1e-6)
    assert moments(out)[2] == pytest.approx(moments(curve)[2] + moments(kernel)[2], rel=1e-6)
    late = convolve(np.eye(1, 100, 90)[0], transport(100, 0.0, delay_s=1.0))
    assert late.sum() == pytest.approx(0.0, abs=1e-12), "nothing wraps round"


def test_injections_are_whole_and_when_they_are_said_to_be() -> None:
    parts = ((4.0, 1.0, 0.7), (8.5, 0.5, 0.3))
    curve = injected(Injection(parts), BINS)
    assert curve.sum() == pytest.approx(1.0)
    assert curve[TIME < 3.9].sum() == 0
    assert curve[(TIME > 4.95) & (TIME < 8.45)].sum() == pytest.approx(0.0, abs=1e-12)
    assert curve[TIME < 6].sum() == pytest.approx(0.7)
    for kind in bolus.BOLUSES:
        drawn = draw_injection(np.random.default_rng(3), kind)
        assert sum(share for _, _, share in drawn.parts) == pytest.approx(1.0)
        assert len(drawn.parts) == 1 or kind == "fragmented"
        assert drawn == draw_injection(np.random.default_rng(3), kind)
    with pytest.raises(ConfigError, match="Unknown bolus 'fast'"):
        draw_injection(np.random.default_rng(3), "fast")


def test_a_bolus_passes_once_before_it_comes_round_and_none_is_lost() -> None:
    found = passage(Circulation(), Injection(), 120.0)
    first = TIME < 14
    assert found.vein[first].sum() == pytest.approx(1.0, abs=1e-3)
    assert found.artery[TIME < 20].sum() == pytest.approx(1.0, abs=0.05), "before it comes round"
    assert found.artery.sum() > 2, "and again, and again"
    inside = np.cumsum(injected(Injection(), BINS))
    assert np.all(found.lungs + found.systemic <= inside + 1e-6)
    assert found.vein.argmax() < found.artery.argmax(), "the vein first"
    assert found.artery.max() < found.vein.max(), "the heart disperses"


def test_from_vein_to_artery_takes_volumes_over_flow() -> None:
    """Without recirculation (the lungs keep all) the mean transit time is central + (RA + RV) / cardiac output."""
    patient = Circulation(extraction=1.0)
    found = passage(patient, Injection(), 120.0)
    mean = moments(found.artery)[1] - moments(found.vein)[1]
    heart = (patient.right_atrium + patient.right_ventricle) / patient.cardiac_output
    assert mean == pytest.approx(patient.central_s + heart, abs=0.02)
    assert found.artery.sum() == pytest.approx(1.0, abs=1e-6)
    assert found.lungs[-1] == pytest.approx(1.0, abs=1e-6), "the lungs keep it"
    assert found.systemic[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_slow_heart_delays_and_widens() -> None:
    fast, slow = (
        passage(Circulation(cardiac_output=q, extraction=1.0), Injection(), 120.0) for q in (110.0, 50.0)
    )
    assert moments(slow.artery)[1] > moments(fast.artery)[1] + 1
    assert moments(slow.artery)[2] > 1.5 * moments(fast.artery)[2]


def test_the_circulation_is_linear_in_the_bolus() -> None:
    """Which is what further training curves are made by: parts pass as if each had been injected alone."""
    patient = Circulation()
    parts = ((5.0, 1.0, 0.6), (9.0, 1.0, 0.4))
    whole = passage(patient, Injection(parts), 60.0)
    alone = [passage(patient, Injection(((start, length, 1.0),)), 60.0) for start, length, _ in parts]
    for name in ("vein", "artery"):
        expected = sum(share * getattr(a, name) for (_, _, share), a in zip(parts, alone, strict=True))
        np.testing.assert_allclose(getattr(whole, name), expected, atol=1e-6)


def test_patients_differ_and_are_drawn_again_alike() -> None:
    drawn = [draw_circulation(np.random.default_rng(n)) for n in range(400)]
    assert drawn[0] == draw_circulation(np.random.default_rng(0))
    output = np.array([p.cardiac_output for p in drawn])
    assert np.median(output) == pytest.approx(90, rel=0.06)
    assert 0.2 < np.log(output).std() < 0.3
    arm = np.log([p.arm_flow for p in drawn])
    assert 0.3 < np.corrcoef(np.log(output), arm)[0, 1] < 0.8, "an arm tells something of the heart, not all"


def test_areas_are_dose_over_flow() -> None:
    """Stewart-Hamilton: the artery's region holds sensitivity x volume x dose / cardiac output, of one passage."""
    patient, regions = Circulation(extraction=1.0), Regions(lung_spill=0.0, tissue=0.0)
    passing = passage(patient, Injection(), 120.0)
    artery, vein = artery_counts(passing, patient, regions), vein_counts(passing, patient, regions)
    assert artery.sum() == pytest.approx(25.0 * 40.0 / 90.0, rel=1e-6)
    assert vein.sum() == pytest.approx(50.0 * 4.0 / 8.0, rel=1e-6)


def test_spill_over_adds_late_counts_only() -> None:
    patient = Circulation()
    passing = passage(patient, Injection(), 60.0)
    clean, spilt = (vein_counts(passing, patient, Regions(lung_spill=s)) for s in (0.0, 0.02))
    early = np.arange(len(clean)) * STEP_S < 6
    np.testing.assert_allclose(spilt[early], clean[early], atol=1e-6)
    assert spilt.sum() > 1.05 * clean.sum()
    none = draw_regions(np.random.default_rng(0), spill=0.0)
    assert none.lung_spill == none.tissue == 0


def test_dead_time_takes_most_where_most_is_in_view() -> None:
    passing = passage(Circulation(), Injection(), 60.0)
    share = field_share(passing, injected(Injection(), len(passing.vein)))
    assert share[0] == 0
    assert share.max() == pytest.approx(1.0, abs=0.01)
    live = live_share(share, 740.0, 5.0)
    assert live[0] == 1.0
    assert live.min() == pytest.approx(1 / (1 + 40.0 * 740 * share.max() * 5e-6))
    assert np.all(live_share(share, 740.0, 0.0) == 1.0)
    with pytest.raises(ConfigError, match="dead time cannot be negative"):
        live_share(share, 740.0, -1.0)


def test_frames_sum_bins_and_must_fit() -> None:
    curve = np.arange(1200.0)
    assert framed(curve, 1.0).sum() == curve.sum()
    assert framed(curve, 1.0)[0] == curve[:20].sum()
    for frame in (0.03, 0.07, 0.7 * 60):
        with pytest.raises(ConfigError, match="frames do not fit"):
            framed(curve, frame)


def test_rebinning_keeps_sums_and_signs_and_comes_back() -> None:
    counts = 1000 * transport(60, 8.0, delay_s=5.0, shape=3.0, step_s=1.0)
    edges = np.arange(61.0)
    fine = rebin(counts, edges, np.arange(-10, 70.01, 0.25))
    assert fine.sum() == pytest.approx(counts.sum())
    assert fine.min() >= -1e-9
    assert fine[:40].sum() == 0, "nothing before the first frame"
    np.testing.assert_allclose(rebin(fine, np.arange(-10, 70.01, 0.25), edges), counts, atol=1e-6)
