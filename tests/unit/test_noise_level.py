"""The noise estimate: right over levels and backgrounds, zero without noise, local where noise is."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.physics.noise_level import estimate_sigma, estimate_sigma_map, rician_variance_ratio

WHITE = 1000.0


@cache
def brain(step=2):
    """Crisp tissues with partial volume and a bias field, on nilearn's bundled template: float32, 0 outside."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    grey, white, inside = (
        load(resolution=step).get_fdata(dtype=np.float32)
        for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
    )
    tissue = np.where(white > np.maximum(grey, 0.4), WHITE, np.where(grey > 0.3, 0.7 * WHITE, 0.3 * WHITE))
    tissue = ndimage.gaussian_filter(np.where(inside > 0, tissue, 0), 0.4)
    bias = np.linspace(0.85, 1.15, tissue.shape[0])[:, None, None]
    return (tissue * bias * (inside > 0)).astype(np.float32)


def magnitude(clean, sigma, seed=0):
    rng = np.random.default_rng(seed)
    real = clean + sigma * rng.standard_normal(clean.shape)
    imaginary = sigma * rng.standard_normal(clean.shape)
    return np.hypot(real, imaginary).astype(np.float32)


@pytest.mark.parametrize("percent", [1, 3, 5, 9, 15])
def test_within_seven_percent_over_levels_and_backgrounds(percent):
    sigma = percent / 100 * WHITE
    clean = brain()
    noisy = magnitude(clean, sigma)
    assert estimate_sigma(noisy) == pytest.approx(sigma, rel=0.07)  # Rician air
    assert estimate_sigma(noisy * (clean > 0)) == pytest.approx(sigma, rel=0.07)  # brain-extracted
    assert estimate_sigma(noisy, clean > 0) == pytest.approx(sigma, rel=0.07)


def test_template_at_one_millimetre():
    from nilearn.datasets import load_mni152_template

    clean = WHITE * load_mni152_template(resolution=1).get_fdata(dtype=np.float32)[:, :, 60:110]
    for percent in (1, 9):
        noisy = magnitude(clean, percent / 100 * WHITE)
        assert estimate_sigma(noisy) == pytest.approx(percent / 100 * WHITE, rel=0.07)


def test_scales_with_the_unit_and_ignores_the_seed():
    noisy = magnitude(brain(), 50.0)
    assert estimate_sigma(noisy * 1e-6) == pytest.approx(1e-6 * estimate_sigma(noisy), rel=1e-3)
    assert estimate_sigma(magnitude(brain(), 50.0, seed=1)) == pytest.approx(estimate_sigma(noisy), rel=0.04)


def test_pure_air_reads_the_channel_sigma():
    assert estimate_sigma(magnitude(np.zeros((48, 48, 48)), 7.0)) == pytest.approx(7.0, rel=0.07)


def test_noise_free_and_constant_are_about_zero():
    assert estimate_sigma(brain()) < 0.002 * WHITE
    assert estimate_sigma(np.full((20, 20, 20), 5.0)) == 0.0
    assert estimate_sigma(np.zeros((20, 20, 20))) == 0.0
    assert not estimate_sigma_map(np.zeros((20, 20, 20))).any()


@pytest.mark.parametrize("extracted", [False, True])
def test_map_follows_noise_that_varies(extracted):
    clean = brain()
    truth = np.broadcast_to(np.linspace(30, 90, clean.shape[1])[None, :, None], clean.shape)
    noisy = magnitude(clean, truth) * ((clean > 0) if extracted else 1)
    found = estimate_sigma_map(noisy)
    ratio = (found / truth)[clean > 0]
    assert found.dtype == np.float32 and found.shape == clean.shape
    assert np.median(ratio) == pytest.approx(1, abs=0.07)
    assert np.percentile(ratio, 2) > 0.8 and np.percentile(ratio, 98) < 1.2


def test_map_of_uniform_noise_is_flat():
    found = estimate_sigma_map(magnitude(brain(), 50.0))[brain() > 0]
    assert np.median(found) == pytest.approx(50, rel=0.07) and found.std() < 0.08 * 50


def test_variance_ratio_has_its_known_limits():
    assert rician_variance_ratio(0.0) == pytest.approx(2 - np.pi / 2)
    assert rician_variance_ratio(30.0) == pytest.approx(1, abs=1e-3)
    samples = magnitude(np.full((400, 400), 2.0), 1.0)
    assert rician_variance_ratio(2.0) == pytest.approx(samples.var(), rel=0.02)


def test_bad_input_says_what_to_do():
    with pytest.raises(DataError, match="Cannot estimate the noise") as caught:
        estimate_sigma(np.ones((4, 4, 4, 2)))
    assert "one volume at a time" in str(caught.value) and "(4, 4, 4, 2)" in str(caught.value)
    broken = np.ones((4, 4, 4))
    broken[0, 0, 0] = np.nan
    with pytest.raises(DataError) as caught:
        estimate_sigma(broken)
    assert "NaN" in str(caught.value)
    with pytest.raises(DataError):
        estimate_sigma(np.ones((4, 4, 4)), np.ones((4, 4, 3)))
