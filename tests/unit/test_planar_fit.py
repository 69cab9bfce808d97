"""The fitted camera: simulated truths found within their errors, and what sheets cannot decide said."""

import json
from dataclasses import replace

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.physics.planar.camera import PlanarCamera, draw_counts
from senmei.physics.planar.fit import fit_camera
from senmei.physics.planar.fit_model import NAMES, SheetPair
from senmei.physics.planar.goodness import deviance, judge, offset
from senmei.physics.planar.response import Response
from senmei.physics.planar.sheet import sheet_affine

TRUTH = Response(54.0, 7.0, 0.24, 34.0)
CAMERA = PlanarCamera(matrix=128, time_s=1200.0, background_cps_per_cm2=0.02, measured=TRUTH)


def teacher(n=112, seed=0):
    """Blobs, bars and an empty margin, 40 MBq on 200 mm."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(-1, 1, n)] * 2, indexing="ij")
    image = 0.3 + 0.2 * (np.sin(40 * x) > 0) * (y > 0.2)
    for _ in range(12):
        at, size = rng.uniform(-0.8, 0.8, 2), rng.uniform(0.03, 0.2)
        image += rng.uniform(0.2, 1.0) * ((x - at[0]) ** 2 + (y - at[1]) ** 2 < size**2)
    image *= (abs(x) < 0.9) & (abs(y) < 0.9)
    return Volume((image / image.sum() * 40.0)[..., None], sheet_affine((n, n), 200.0 / n))


def measured(activity, camera=CAMERA, seed=0):
    counts = draw_counts(camera.expected(activity), np.random.default_rng(seed))
    return SheetPair(activity, counts, camera.time_s)


@pytest.fixture(scope="module")
def fits():
    return [fit_camera([measured(teacher(), seed=seed)], "Tc-99m") for seed in range(6)]


def test_truth_is_found(fits):
    """Within 3 % (resolution), 0.03 (fraction), 10 % (its width), 0.5 % (sensitivity), 5 % (background)."""
    for fit in fits:
        v = fit.values
        assert v["fwhm_mm"] == pytest.approx(7.0, rel=0.03)
        assert v["scatter_fraction"] == pytest.approx(0.24, abs=0.03)
        assert v["scatter_fwhm_mm"] == pytest.approx(34.0, rel=0.10)
        assert v["sensitivity_cps_per_mbq"] == pytest.approx(54.0, rel=0.005)
        assert v["background_cps_per_cm2"] == pytest.approx(0.02, rel=0.05)
        assert fit.warnings == ()
        assert fit.goodness.good
        assert fit.goodness.chi2_per_dof == pytest.approx(1.0, abs=0.06)


def test_standard_errors_are_what_repeats_scatter(fits):
    truth = dict(zip(NAMES, (7.0, 0.24, 34.0, 54.0, 0.02), strict=True))
    pulls = np.array([[(f.values[k] - truth[k]) / f.errors[k] for k in NAMES] for f in fits])
    assert abs(pulls).max() < 4.0
    assert 0.5 < np.sqrt((pulls**2).mean()) < 1.5


def test_residuals_and_report(fits):
    fit = fits[0]
    (residual,) = fit.residuals
    assert residual.shape == (128, 128, 1)
    assert residual.data.dtype == np.float32
    assert residual.data.std() == pytest.approx(1.0, abs=0.05)
    told = json.loads(json.dumps(fit.to_dict()))
    assert told["values"]["fwhm_mm"] == fit.values["fwhm_mm"]
    assert told["goodness"]["chi2_per_dof"] == fit.goodness.chi2_per_dof
    np.testing.assert_allclose(np.diag(fit.correlation), 1.0)


def test_the_fit_sets_a_camera(fits):
    camera = PlanarCamera.from_fit(fits[0], matrix=128, time_s=1200.0)
    assert camera.psf_fwhm_mm == fits[0].values["fwhm_mm"]
    again, truth = (c.expected(teacher()).data for c in (camera, CAMERA))
    assert np.abs(again - truth).max() < 0.02 * truth.max()
    assert again.sum(dtype=float) == pytest.approx(truth.sum(dtype=float), rel=0.003)


def test_more_sheets_and_known_numbers_are_better(fits):
    pairs = [measured(teacher(seed=s), seed=s) for s in (1, 2)]
    both = fit_camera(pairs, "Tc-99m")
    assert len(both.residuals) == 2
    assert both.errors["fwhm_mm"] < fits[0].errors["fwhm_mm"]
    known = fit_camera(pairs[:1], "Tc-99m", {"scatter_fraction": 0.24, "scatter_fwhm_mm": 34.0})
    assert known.free == ("fwhm_mm", "sensitivity_cps_per_mbq", "background_cps_per_cm2")
    assert known.errors["scatter_fraction"] == 0.0
    assert known.errors["fwhm_mm"] < 0.8 * fits[0].errors["fwhm_mm"]
    assert known.values["fwhm_mm"] == pytest.approx(7.0, abs=4 * known.errors["fwhm_mm"])


def test_sheet_in_air():
    camera = replace(CAMERA, measured=Response(87.0, 7.0))
    fit = fit_camera([measured(teacher(), camera)], "Tc-99m", {"scatter_fraction": 0.0})
    assert fit.values["fwhm_mm"] == pytest.approx(7.0, abs=4 * fit.errors["fwhm_mm"])
    assert fit.response.components() == [(1.0, fit.values["fwhm_mm"])]
    assert fit.goodness.good
    # and what it costs to leave scatter out where there is some
    wrong = fit_camera([measured(teacher())], "Tc-99m", {"scatter_fraction": 0.0})
    assert not wrong.goodness.good
    assert wrong.goodness.misfit > 0.02
    assert any("does not explain" in w for w in wrong.warnings)


def test_nothing_scattered_and_no_background():
    """Numbers whose truth is 0 come out as 0 or within their errors of it; two Gaussians of one width are noticed."""
    bare = replace(CAMERA, measured=Response(87.0, 7.0), background_cps_per_cm2=0.0)
    kinds = set()
    for seed in range(4):
        fit = fit_camera([measured(teacher(), bare, seed)], "Tc-99m")
        v, e = fit.values, fit.errors
        assert fit.goodness.good
        assert v["background_cps_per_cm2"] < 4 * np.nan_to_num(e["background_cps_per_cm2"]) + 1e-9
        if v["scatter_fraction"] == 0.0:
            kinds.add("none")
            assert v["scatter_fwhm_mm"] == 0.0
            assert np.isnan(e["scatter_fraction"])
            assert fit.warnings == ()
            assert v["fwhm_mm"] == pytest.approx(7.0, abs=4 * e["fwhm_mm"])
        else:
            kinds.add("some")
            assert v["scatter_fraction"] < 0.03 or fit.warnings
        json.dumps(fit.to_dict(), allow_nan=False)
    assert "none" in kinds


def test_penetration_is_told_or_taken_for_scatter():
    camera = PlanarCamera("LEHR", "I-123", matrix=128, time_s=1200.0, layer_mm=50.0)
    truth, pair = camera.response, measured(teacher(), camera)
    told = fit_camera([pair], "I-123", penetration=(truth.penetration_fraction, truth.penetration_fwhm_mm))
    for name in NAMES[:4]:
        assert told.values[name] == pytest.approx(getattr(truth, name), abs=4 * told.errors[name])
    assert told.goodness.good
    assert told.response.components()[2] == camera.response.components()[2]
    untold = fit_camera([pair], "I-123")
    assert untold.values["fwhm_mm"] == pytest.approx(truth.fwhm_mm, rel=0.08)
    assert untold.values["scatter_fraction"] > truth.scatter_fraction + 0.02
    assert untold.values["sensitivity_cps_per_mbq"] == pytest.approx(truth.sensitivity_cps_per_mbq, rel=0.01)
    assert untold.goodness.misfit < 0.01


def test_flat_sheet_decides_no_resolution():
    flat = Volume(
        np.full((180, 180, 1), 40.0 / 180**2), sheet_affine((180, 180), 2.5)
    )  # larger than the field
    fit = fit_camera([measured(flat)], "Tc-99m", {"scatter_fraction": 0.2, "scatter_fwhm_mm": 30.0})
    assert any("fwhm_mm is not decided" in w for w in fit.warnings)
    assert any("cannot be told apart" in w for w in fit.warnings)  # sensitivity and background


def test_shifted_and_wrong_sheets_are_noticed():
    activity = teacher()
    pair = measured(activity)
    moved = np.zeros_like(activity.data)
    moved[1:] = activity.data[:-1]
    fit = fit_camera([replace(pair, activity=activity.like(moved))], "Tc-99m")
    assert not fit.goodness.good
    assert fit.offsets[0].x_mm == pytest.approx(-200.0 / 112, rel=0.15)
    assert abs(fit.offsets[0].y_mm) < 0.1
    assert any("along x" in w and "register" in w for w in fit.warnings)
    other = fit_camera([replace(pair, activity=teacher(seed=9))], "Tc-99m")
    assert not other.goodness.good
    assert other.goodness.misfit > 0.1


def test_mask_and_live_time():
    activity = teacher()
    pair = measured(activity)
    spoilt = pair.counts.data.copy()
    spoilt[:40] = 500  # a hot spot of something else
    mask = np.ones((128, 128, 1), np.uint8)
    mask[:40] = 0
    fit = fit_camera(
        [replace(pair, counts=pair.counts.like(spoilt), mask=pair.counts.like(mask), live=0.5)], "Tc-99m"
    )
    assert fit.goodness.good
    assert fit.goodness.pixels == 88 * 128
    assert fit.values["sensitivity_cps_per_mbq"] == pytest.approx(108.0, rel=0.01)


def test_goodness_of_noise_and_of_less():
    rng = np.random.default_rng(7)
    m = rng.uniform(2, 40, (96, 96))
    used = np.ones(m.shape, bool)
    settings = {"parameters": 0, "pixel_mm": 1.0, "block_mm": 8.0}
    right = judge([rng.poisson(m)], [m], [used], **settings)
    assert right.good
    assert right.pixels == m.size
    assert right.deviance_per_dof == pytest.approx(1.03, abs=0.05)
    wave = 1 + 0.05 * np.sin(np.arange(96) / 8)[:, None]  # invisible in a pixel
    wrong = judge([rng.poisson(m * wave)], [m], [used], **settings)
    assert abs(wrong.chi2_z) < 4
    assert wrong.block_z > 4
    assert wrong.misfit == pytest.approx(0.05 / np.sqrt(2), rel=0.3)
    assert deviance(np.array([0.0, 4.0]), np.array([1.5, 4.0])) == pytest.approx([3.0, 0.0])
    assert offset(m, np.full_like(m, 20.0), used, 1.0).error_mm == np.inf


def test_pairs_that_are_refused():
    pair = measured(teacher())
    with pytest.raises(DataError, match="cannot be fitted"):
        fit_camera([])
    empty = pair.activity.like(np.zeros_like(pair.activity.data))
    scaled = pair.counts.like(pair.counts.data * np.float32(0.7))
    for change, told in (
        ({"activity": empty}, "empty"),
        ({"counts": scaled}, "whole numbers"),
        ({"time_s": 0.0}, "time"),
        ({"live": 1.5}, "live"),
    ):
        with pytest.raises(DataError, match="cannot be fitted") as caught:
            fit_camera([replace(pair, **change)])
        assert told in str(caught.value)
    with pytest.raises(ConfigError, match="unknown number 'fwhm'"):
        fit_camera([pair], fixed={"fwhm": 7.0})
