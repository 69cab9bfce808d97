"""Decay, dead time and uniformity: each correction undoes what the camera does, and says when it cannot."""

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.physics.planar.camera import PlanarCamera
from senmei.physics.planar.corrections import (
    MODELS,
    correct_dead_time,
    correct_decay,
    correct_uniformity,
    observed_rate,
    true_rate,
    uniformity,
    uniformity_factors,
)
from senmei.physics.planar.response import Response
from senmei.physics.planar.sheet import sheet_affine


def image(values, pixel=2.0):
    values = np.asarray(values)
    return Volume(values[..., None], sheet_affine(values.shape, pixel))


@pytest.mark.parametrize("model", MODELS)
def test_dead_time_there_and_back(model):
    for rate in (0.0, 1e3, 5e4, 1.5e5):
        assert true_rate(observed_rate(rate, 4.0, model), 4.0, model) == pytest.approx(rate, rel=1e-9)
    assert observed_rate(1e5, 0.0, model) == true_rate(1e5, 0.0, model) == 1e5
    # a source of twice the activity shows less than twice the counts
    assert observed_rate(2e5, 4.0, model) < 2 * observed_rate(1e5, 4.0, model)


def test_rates_beyond_saturation():
    with pytest.raises(DataError, match="corrected for dead time") as caught:
        true_rate(1e5, 4.0, "paralysable", where="sheet-03")
    assert "sheet-03" in str(caught.value)
    assert "9.197e+04" in str(caught.value)  # 1 / (e τ)
    with pytest.raises(DataError, match="corrected for dead time"):
        true_rate(2.6e5, 4.0)
    with pytest.raises(ConfigError, match="unknown model"):
        observed_rate(1.0, 4.0, "dead")
    with pytest.raises(ConfigError, match="impossible value"):
        observed_rate(1.0, -4.0)


def test_corrections_undo_the_camera():
    activity = image(np.full((50, 50), 0.08), 4.0)
    ideal = PlanarCamera(matrix=64, time_s=600.0, measured=Response(87.0, 7.0))
    slow = PlanarCamera(matrix=64, time_s=600.0, measured=Response(87.0, 7.0), dead_time_us=4.0)
    seen = correct_dead_time(slow.expected(activity), 600.0, 4.0)
    np.testing.assert_allclose(seen.data, ideal.expected(activity).data, rtol=1e-3)
    assert seen.data.dtype == np.float32
    whole = correct_dead_time(slow.expected(activity), 600.0, 4.0, crystal_cps=40_000.0)
    assert whole.data.sum() > seen.data.sum()
    # six hours after the reference a technetium sheet gives half
    late = image(np.full((50, 50), 0.04), 4.0)
    steady = correct_decay(ideal.expected(late), "Tc-99m", 6.007, 600.0)
    per_mbq = steady.data.sum(dtype=float) / activity.data.sum(dtype=float)
    assert per_mbq == pytest.approx(87.0 * 600.0, rel=1e-3)
    with pytest.raises(DataError, match="has no length"):
        correct_decay(late, "Tc-99m", 1.0, 0.0)


def test_uniformity():
    rng = np.random.default_rng(5)
    x = np.linspace(-1, 1, 96)
    gain = 1 + 0.1 * np.sin(4 * x)[:, None] * np.cos(3 * x)[None]
    field = np.zeros((96, 96), bool)
    field[8:-8, 8:-8] = True
    flood = image(rng.poisson(gain * field * 10_000))
    factors = uniformity_factors(flood)
    assert ((factors.data[..., 0] > 0) == field).all()
    sheet = image(rng.poisson(gain * field * 10_000).astype(np.int32))
    flat = correct_uniformity(sheet, factors)
    inside = np.zeros_like(field)
    inside[10:-10, 10:-10] = True
    means = [v.data[..., 0].reshape(12, 8, 12, 8).mean(axis=(1, 3))[2:-2, 2:-2] for v in (sheet, flat)]
    before, after = (uniformity(m, np.ones_like(m, bool)) for m in means)
    assert before > 0.08
    assert after < 0.01
    assert flat.data.sum(dtype=float) == pytest.approx(sheet.data.sum(dtype=float), rel=0.005)
    np.testing.assert_allclose(
        factors.data[inside], (1 / gain)[inside][:, None] * gain[field].mean(), rtol=0.03
    )


def test_floods_that_cannot_be_used():
    with pytest.raises(DataError, match="flood cannot be used") as caught:
        uniformity_factors(image(np.full((32, 32), 20)))
    assert "20 counts a pixel" in str(caught.value)
    for values in (np.zeros((8, 8)), np.full((8, 8), -1.0), np.full((8, 8), np.nan)):
        with pytest.raises(DataError, match="flood cannot be used"):
            uniformity_factors(image(values))
    with pytest.raises(DataError, match="another grid"):
        correct_uniformity(image(np.ones((8, 8))), image(np.ones((8, 8)), 4.0))
