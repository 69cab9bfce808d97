"""Properties every measure must have, applied from the registry, and each measure's own truth."""

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures import MEASURES

SHAPE = (40, 36, 34)
WHITE = 100.0
IDEAL = {
    "psnr": math.inf,
    "ssim": 1.0,
    "nmse": 0.0,
    "mse": 0.0,
    "sharpness": 1.0,
    "residual_structure": 0.0,
    "lesion_survival": 1.0,
    "nrmse": 0.0,
    "count_bias": 0.0,
    "heart_count_bias": 0.0,
    "roi_count_error": 0.0,
}
# Of planar images and their camera, and of curves: test_planar_measures.py and test_curves.py have these properties.
GENERAL = [name for name in MEASURES if not {"camera", "curve"} & set(MEASURES.get(name).requires)]
COUNTS = (
    "count_bias",
    "heart_count_bias",
)  # compare with the input; blur moves counts, but makes and loses none
MASKED = [name for name in GENERAL if name != "count_bias"]  # which is of the whole field


def volume(data):
    return Volume(np.asarray(data), np.diag([2.0, 2.0, 2.0, 1.0]))


def anatomy():
    rng = np.random.default_rng(1)
    labels = np.argsort(np.argsort(ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.5).ravel())).reshape(
        SHAPE
    )
    clean = np.array([40.0, 75.0, WHITE])[labels * 3 // labels.size]
    lesion = np.zeros(SHAPE, bool)
    lesion[18:21, 16:19, 15:18] = True
    clean[lesion] = 140.0
    return ndimage.gaussian_filter(clean, 0.6), lesion


CLEAN, LESION = anatomy()
MASK = np.zeros(SHAPE, np.uint8)
MASK[6:-6, 6:-6, 6:-6] = 1


def noisy(percent, seed=0):
    rng = np.random.default_rng(seed)
    real, imaginary = (rng.normal(0, percent, SHAPE) for _ in range(2))
    return np.hypot(CLEAN + real, imaginary)


def example(mask=True, **scan):
    roles = {
        "input": volume(noisy(5.0)),
        "reference": volume(CLEAN),
        "lesion": volume(LESION.astype(np.uint8)),
    }
    if mask:
        roles["mask"] = volume(MASK)
    return Example({"scan": "s1", "data_range": WHITE, **scan}, roles)


def value(name, restored, case=None):
    return MEASURES.get(name)(case or example(), volume(restored))


@pytest.mark.parametrize("name", GENERAL)
def test_says_what_it_is(name):
    measure = MEASURES.get(name)
    assert measure.better in ("higher", "lower", "one", "zero")
    assert measure.title
    assert measure.unit
    assert "DataError" in measure.__doc__
    assert name in IDEAL, "give the new measure its ideal value here"


@pytest.mark.parametrize("name", GENERAL)
def test_a_perfect_restoration_has_the_ideal_value(name):
    if name == "residual_structure":  # the residual is pure noise: 0 up to chance
        assert abs(value(name, CLEAN)) < 0.06
    elif name in COUNTS:
        assert value(name, example()["input"].data) == IDEAL[name]
    else:
        assert value(name, CLEAN) == pytest.approx(IDEAL[name], abs=1e-9)


@pytest.mark.parametrize("name", ["psnr", "ssim", "nmse", "mse", "nrmse"])
def test_more_noise_is_worse(name):
    values = [value(name, noisy(p)) for p in (1, 3, 9, 15)]
    assert values == sorted(values, reverse=MEASURES.get(name).better == "higher")
    assert len(set(values)) == 4


@pytest.mark.parametrize("name", [name for name in GENERAL if name not in COUNTS])
def test_more_blur_is_worse(name):
    blurs = [ndimage.gaussian_filter(CLEAN, s) for s in (0.6, 1.0, 1.8)]
    scores = [value(name, b) for b in blurs]
    if name == "residual_structure":  # depth of the blur is not ranked, its presence is
        assert min(scores) > 0.15
        return
    if MEASURES.get(name).better == "one":
        scores = [abs(s - 1) for s in scores]
    assert scores == sorted(scores, reverse=MEASURES.get(name).better == "higher")
    assert len(set(scores)) == 3


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("factor", [0.9, 1.05])
def test_counts_made_or_lost_are_told(name, factor):
    assert value(name, factor * example()["input"].data) == pytest.approx(100 * (factor - 1), abs=1e-6)


@pytest.mark.parametrize("name", MASKED)
def test_the_mask_is_respected(name):
    far = ndimage.binary_dilation(MASK, np.ones((3, 3, 3)), iterations=5) == 0  # beyond SSIM's window
    assert far.any()
    restored = noisy(2.0)
    outside = np.where(far, 1e4, restored)
    assert value(name, outside) == value(name, restored)
    inside = restored.copy()
    inside[15:24, 12:22, 12:21] *= 0.5
    assert value(name, inside) != value(name, restored)


@pytest.mark.parametrize("name", ["psnr", "ssim", "mse"])
def test_symmetric(name):
    a, b = volume(CLEAN), volume(noisy(5.0))
    roles = {"mask": volume(MASK)}
    scan = {"scan": "s", "data_range": WHITE}
    one = MEASURES.get(name)(Example(scan, {**roles, "reference": a}), b)
    other = MEASURES.get(name)(Example(scan, {**roles, "reference": b}), a)
    assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (CLEAN[:-1], "the grids are"),
        (CLEAN.astype(np.complex64), "real numbers are needed"),
        (np.where(LESION, np.nan, CLEAN), "27 of 48960 voxels are NaN or infinite"),
    ],
    ids=["shape", "dtype", "nan"],
)
def test_unusable_images_are_refused(name, bad, words):
    with pytest.raises(DataError) as caught:
        value(name, bad)
    assert words in str(caught.value)
    assert "s1" in caught.value.where


@pytest.mark.parametrize("name", MASKED)
def test_predictions_and_empty_masks_are_refused(name):
    with pytest.raises(DataError, match="Cannot measure the restored image"):
        MEASURES.get(name)(example(), {"outcome": 1.0})
    case = Example(example().scan, {r: example()[r] for r in ("input", "reference", "lesion")})
    case._roles["mask"] = volume(np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match="The mask is empty"):
        value(name, CLEAN, case)


@pytest.mark.parametrize("name", GENERAL)
def test_float32_and_integers_measure_alike(name):
    restored = np.round(noisy(3.0))
    assert value(name, restored.astype(np.float32)) == pytest.approx(value(name, restored), rel=1e-5)
    assert value(name, restored.astype(np.int16)) == value(name, restored)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
@pytest.mark.parametrize("bad", [None, "", "bright", 0.0, -5.0, math.nan])
def test_the_data_range_is_never_guessed(name, bad):
    with pytest.raises(DataError, match="No data range to measure with") as caught:
        value(name, CLEAN, example(data_range=bad))
    assert "column data_range" in str(caught.value)


def test_psnr_of_noise_in_percent_of_white_matter():
    rng = np.random.default_rng(0)
    assert value("psnr", CLEAN + rng.normal(0, 5.0, SHAPE)) == pytest.approx(40 - 20 * math.log10(5), abs=0.1)


def test_nmse_of_an_empty_image_is_one():
    assert value("nmse", np.zeros(SHAPE)) == pytest.approx(1)
    blank = Example({"scan": "s"}, {"reference": volume(np.zeros(SHAPE))})
    with pytest.raises(DataError, match="Cannot normalise"):
        value("nmse", CLEAN, blank)


@pytest.mark.parametrize("masked", [True, False])
def test_ssim_agrees_with_skimage(masked):
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": WHITE, "full": True}
    mean, full = structural_similarity(CLEAN, noisy(5.0), **settings)
    truth = full[MASK > 0].mean() if masked else mean
    assert value("ssim", noisy(5.0), example(mask=masked)) == pytest.approx(truth, abs=1e-6)


def test_slices_and_frames_are_images_too():
    scan = {"scan": "s", "data_range": WHITE}
    flat = Example(scan, {"reference": volume(CLEAN[:, :, :1]), "input": volume(noisy(5)[:, :, :1])})
    frames = np.stack([CLEAN, CLEAN], axis=3)
    timed = Example(scan, {"reference": volume(frames), "input": volume(np.stack([noisy(5)] * 2, axis=3))})
    for name in ("psnr", "ssim", "nmse", "mse", "sharpness", "residual_structure"):
        assert np.isfinite(value(name, noisy(3)[:, :, :1], flat))
        twice = value(name, np.stack([noisy(3)] * 2, axis=3), timed)
        assert twice == pytest.approx(value(name, noisy(3), example(mask=False)), rel=1e-6)


def test_sharpness_is_not_fooled_by_noise():
    assert value("sharpness", noisy(9.0)) == pytest.approx(1, abs=0.05)
    assert value("sharpness", ndimage.gaussian_filter(noisy(9.0), 1.0)) < 0.8
    assert value("sharpness", 2 * CLEAN) == pytest.approx(2)


def test_residual_needs_no_reference_and_nothing_removed_is_nothing_lost():
    case = Example({"scan": "s"}, {"input": volume(noisy(5.0))})
    assert value("residual_structure", noisy(5.0), case) == 0.0
    assert abs(value("residual_structure", CLEAN, case)) < 0.06


@pytest.mark.parametrize("percent", [1, 5, 9])
def test_residual_of_noise_that_varies_in_space_is_noise(percent):
    rng = np.random.default_rng(2)
    factor = np.linspace(0.7, 1.4, SHAPE[0])[:, None, None]
    image = np.abs(CLEAN + percent * factor * rng.normal(size=SHAPE))
    case = Example({"scan": "s"}, {"input": volume(image)})
    assert abs(value("residual_structure", CLEAN, case)) < 0.08


def test_a_lesion_erased_halved_inverted():
    def with_contrast(share):
        filled = CLEAN.copy()
        shell = ndimage.binary_dilation(LESION, np.ones((3, 3, 3)), iterations=3)
        shell &= ~ndimage.binary_dilation(LESION, np.ones((3, 3, 3)))
        base = CLEAN[shell].mean()
        filled[LESION] = base + share * (CLEAN[LESION] - base)
        return filled

    for share in (0.0, 0.5, -1.0):
        assert value("lesion_survival", with_contrast(share)) == pytest.approx(share, abs=1e-9)


def test_a_lesion_that_the_reference_does_not_show_is_refused():
    case = Example(
        {"scan": "s1"},
        {"reference": volume(np.full(SHAPE, 5.0)), "lesion": volume(LESION.astype(np.uint8))},
    )
    with pytest.raises(DataError, match="Cannot judge the planted lesion"):
        value("lesion_survival", CLEAN, case)
