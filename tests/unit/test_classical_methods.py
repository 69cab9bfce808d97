"""Classical methods: their contract, their tuning, and non-local means against dipy's."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.methods.gaussian import Gaussian
from senmei.methods.identity import Identity
from senmei.methods.nlm3d import DIPY_BETA, NLM3D, nlm3d
from senmei.methods.nlm_dipy import NLMDipy

WHITE = 1000.0
METHODS = [
    Identity(),
    Gaussian(fwhm_mm=3.0),
    NLM3D(beta=1.0, search_radius=3),
    NLMDipy(beta=1.0, search_radius=3),
    NLMDipy("blockwise", beta=1.0),
]


@cache
def head():
    """(46, 54, 46) at 4 mm: crisp tissues on nilearn's template, with its affine; and the brain's mask."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    grey, white, inside = (
        load(resolution=4)
        for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
    )
    brain = inside.get_fdata() > 0
    g, w = grey.get_fdata(), white.get_fdata()
    tissue = np.where(w > np.maximum(g, 0.4), WHITE, np.where(g > 0.3, 0.7 * WHITE, 0.3 * WHITE)) * brain
    return tissue.astype(np.float32), brain, inside.affine


def magnitude(clean, sigma, seed=0):
    rng = np.random.default_rng(seed)
    return np.hypot(
        clean + sigma * rng.standard_normal(clean.shape), sigma * rng.standard_normal(clean.shape)
    ).astype(np.float32)


def example(percent, seed=0, **roles):
    clean, brain, affine = head()
    given = {
        "input": Volume(magnitude(clean, percent / 100 * WHITE, seed), affine),
        "reference": Volume(clean, affine),
        "mask": Volume(brain.astype(np.uint8), affine),
    }
    scan = {"scan": f"sub-{seed}_noise-{percent}", "noise": percent, "data_range": WHITE}
    return Example(scan, {**given, **roles})


def psnr(image, clean, mask):
    return 10 * np.log10(WHITE**2 / np.mean((image[mask].astype(float) - clean[mask]) ** 2))


def quiet(**settings):
    return FitContext(log=lambda line: None, **settings)


def name(method):
    return f"{type(method).__name__}-{getattr(method, 'variant', '')}"


@pytest.mark.parametrize("method", METHODS, ids=name)
class TestContract:
    def test_grid_dtype_and_geometry(self, method):
        given = example(9)
        given["input"].header["sform_code"] = 4
        out = method.apply(given)
        shape, affine = method.output_grid(given)
        assert out.shape == shape and np.array_equal(out.affine, affine)
        assert out.data.dtype == np.float32 and out.header == given["input"].header
        assert np.isfinite(out.data).all()

    def test_deterministic_and_leaves_its_input_alone(self, method):
        given = example(9)
        before = given["input"].data.copy()
        first, second = method.apply(given).data, method.apply(given).data
        assert np.array_equal(first, second)
        assert np.array_equal(given["input"].data, before)

    def test_constant_stays_constant(self, method):
        volume = Volume(np.full((12, 12, 12), 3.5, np.float32), np.eye(4))
        assert (method.apply(Example({"scan": "a"}, {"input": volume})).data == 3.5).all()

    @pytest.mark.parametrize("shape", [(12, 12), (12, 12, 12, 3)])
    def test_needs_one_volume(self, method, shape):
        volume = Volume(np.random.default_rng(0).random(shape, dtype=np.float32), np.eye(4))
        given = Example({"scan": "sub-1_bold"}, {"input": volume})
        if isinstance(method, Identity):  # an unrestored series is a series
            assert method.apply(given) is volume
            return
        with pytest.raises(DataError) as caught:
            method.apply(given)
        text = str(caught.value)
        assert "sub-1_bold" in text and f"{len(shape)} dimensions" in text
        assert ("set frames:" if len(shape) == 4 else "3D volume") in text


def test_identity_changes_nothing():
    given = example(5)
    assert Identity().apply(given) is given["input"]
    assert Identity.family == "none"


def test_not_a_number_is_an_error_of_the_scan():
    data = np.random.default_rng(0).random((8, 8, 8), dtype=np.float32)
    data[1, 2, 3] = np.inf
    with pytest.raises(DataError, match="NaN or infinite"):
        Gaussian(3.0).apply(Example({"scan": "a"}, {"input": Volume(data, np.eye(4))}))


@pytest.mark.parametrize("value", [0, -2.0, float("nan"), "wide", True])
def test_gaussian_refuses_a_width_that_means_nothing(value):
    with pytest.raises(ConfigError, match="'fwhm_mm' must be above zero") as caught:
        Gaussian(fwhm_mm=value)
    assert f"fwhm_mm: {value}" in str(caught.value) and "above 0" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: NLM3D(beta=-1), "'beta' must be above zero"),
        (lambda: NLM3D(search_radius=2.5), "'search_radius' must be a whole number"),
        (lambda: NLM3D(search_radius=1, patch_radius=1), "do not fit into the search window"),
        (lambda: NLMDipy("clasic"), "did you mean 'classic'"),
        (lambda: Gaussian(evaluations=0), "'evaluations' must be above zero"),
    ],
)
def test_other_settings_are_checked(make, text):
    with pytest.raises(ConfigError) as caught:
        make()
    assert text in str(caught.value)


def test_gaussian_width_is_in_millimetres():
    impulse = np.zeros((41, 41, 41), np.float32)
    impulse[20, 20, 20] = 1
    affine = np.diag([1.0, 2.0, 0.5, 1.0])
    out = Gaussian(6.0).apply(Example({"scan": "a"}, {"input": Volume(impulse, affine)})).data
    assert out.sum() == pytest.approx(1, abs=1e-3)
    for axis, size in enumerate((1.0, 2.0, 0.5)):
        profile = out.sum(axis=tuple(a for a in range(3) if a != axis))
        at = (np.arange(41) - 20) * size
        assert 2.3548 * np.sqrt((profile * at**2).sum() / profile.sum()) == pytest.approx(6, rel=0.03)


class TestTuning:
    def test_finds_what_a_grid_finds_and_grows_with_noise(self):
        method, context = Gaussian(slab=None), quiet()
        weights = method.fit([], [example(3), example(15)], context)
        assert (np.diff(weights["curve_noise"]) > 0).all() and (np.diff(weights["curve_value"]) > 0).all()
        given = example(15)
        clean, brain, _ = head()
        scores = {w: psnr(Gaussian(w).apply(given).data, clean, brain) for w in np.geomspace(1, 8, 15)}
        method.load(weights)
        assert psnr(method.apply(given).data, clean, brain) > max(scores.values()) - 0.05
        row = context.history[0]
        assert {"condition", "noise_level", "fwhm_mm", "psnr"} <= set(row) and len(context.history) <= 16

    def test_is_deterministic_and_free_of_the_intensity_unit(self):
        clean, _, affine = head()
        given, times = example(9), 1e-3
        other = example(
            9,
            input=Volume(given["input"].data * np.float32(times), affine),
            reference=Volume(clean * np.float32(times), affine),
        )
        other.scan["data_range"] = WHITE * times
        first, again, scaled = (Gaussian().fit([], [e], quiet()) for e in (given, given, other))
        assert all(np.array_equal(first[k], again[k]) for k in first)
        assert scaled["curve_value"] == pytest.approx(first["curve_value"], rel=0.02)
        assert scaled["curve_noise"] == pytest.approx(first["curve_noise"], rel=0.02)

    def test_noise_between_two_levels_gets_a_value_between(self):
        method = Gaussian()
        method.load({"curve_noise": np.array([0.02, 0.1]), "curve_value": np.array([1.0, 4.0])})
        assert [method.value_at(x) for x in (0.0, 0.02, 0.06, 0.1, 0.5)] == pytest.approx([1, 1, 2, 4, 4])

    def test_against_a_noisy_repeat(self):
        clean, _, affine = head()
        given = example(9, repeat=Volume(magnitude(clean, 90.0, seed=7), affine))
        method = Gaussian(target="repeat")
        assert method.tunes_on == ("input", "mask", "repeat")
        against_repeat = method.fit([], [given], quiet())["curve_value"]
        assert against_repeat == pytest.approx(Gaussian().fit([], [given], quiet())["curve_value"], rel=0.2)

    def test_a_slab_agrees_with_the_whole(self):
        given, clean_mask = example(9), head()[1]
        method = NLM3D(search_radius=2, slab=10, varying=False)
        case = method._case(given)
        part = method.restore(case["piece"], case["sigma"], 1.0, 1)[..., case["rows"]]
        whole = method.restore(given["input"], case["sigma"], 1.0, 1)
        low = next(z for z in range(46) if np.array_equal(clean_mask[..., z : z + 10], case["mask"]))
        assert np.allclose(part, whole[..., low : low + 10], rtol=1e-4, atol=1e-2)

    def test_says_what_is_missing(self):
        with pytest.raises(DataError) as caught:
            Gaussian().fit([], [], quiet())
        assert "Cannot tune Gaussian" in str(caught.value) and "set fwhm_mm" in str(caught.value)
        empty = example(5, mask=Volume(np.zeros(head()[0].shape, np.uint8), head()[2]))
        with pytest.raises(DataError, match="Cannot tune"):
            Gaussian().fit([], [empty], quiet())
        with pytest.raises(ConfigError, match="has not been fitted"):
            NLM3D().apply(example(5))

    def test_a_fixed_number_needs_no_fitting(self):
        assert Gaussian(2.0).tunes_on == () and Gaussian(2.0).fit([], [], quiet()) == {}


@cache
def piece():
    """(40, 40, 40) of the template at 1 mm with 9 % Rician noise; the clean piece and sigma."""
    from nilearn.datasets import load_mni152_template

    clean = load_mni152_template(resolution=1).get_fdata(dtype=np.float32)[70:110, 60:100, 70:110] * WHITE
    clean = np.ascontiguousarray(clean)
    return magnitude(clean, 90.0), clean, 90.0


class TestNonLocalMeans:
    @pytest.mark.parametrize(("search", "patch"), [(5, 1), (4, 2)])
    def test_agrees_with_dipy(self, search, patch):
        from dipy.denoise.nlmeans import nlmeans

        noisy, clean, sigma = piece()
        if patch == 2:
            noisy, clean = noisy[:24, :24, :24], clean[:24, :24, :24]
        mask = np.zeros(noisy.shape, bool)
        mask[1:-2, 3:-3, :-4] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = nlmeans(
                noisy,
                sigma,
                mask=mask,
                patch_radius=patch,
                block_radius=search,
                rician=True,
                num_threads=1,
                method="classic",
            )
        ours = nlm3d(noisy, sigma, DIPY_BETA * sigma, search, patch, mask=mask)
        assert abs(psnr(ours, clean, mask) - psnr(theirs, clean, mask)) < 0.1
        assert np.abs(ours - theirs).max() < 1e-3 * sigma
        assert not ours[~mask].any()

    def test_agrees_with_the_formula(self):
        rng = np.random.default_rng(0)
        data = rng.random((7, 6, 5)).astype(np.float32) + 1
        h = (0.3 + 0.2 * rng.random(data.shape)).astype(np.float32)
        padded = np.pad(data.astype(float), 3, mode="reflect")
        expected = np.zeros(data.shape)
        for at in np.ndindex(data.shape):
            weights, values = [], []
            here = padded[tuple(slice(a + 2, a + 5) for a in at)]
            for move in np.ndindex(5, 5, 5):
                there = padded[tuple(slice(a + m, a + m + 3) for a, m in zip(at, move, strict=True))]
                weights.append(np.exp(-np.mean((here - there) ** 2) / h[at] ** 2))
                values.append(there[1, 1, 1] ** 2)
            expected[at] = np.sqrt(max(np.average(values, weights=weights) - 2 * 0.2**2, 0))
        ours = nlm3d(data, 0.2, h, search_radius=3, patch_radius=1)
        assert np.abs(ours - expected).max() < 1e-5

    def test_tiled_is_whole(self):
        noisy, _, sigma = piece()
        noisy = noisy[:30, :28, :26]
        whole = nlm3d(noisy, sigma, sigma, 3, block=(64, 64, 64))
        tiled = nlm3d(noisy, sigma, sigma, 3, block=(7, 9, 11), threads=2)
        assert np.abs(whole - tiled).max() < 1e-4 * sigma

    def test_threads_change_nothing_and_torch_keeps_its_own(self):
        noisy, _, sigma = piece()
        before = torch.get_num_threads()
        one, two = (nlm3d(noisy, sigma, sigma, 3, block=(8, 40, 40), threads=n) for n in (1, 2))
        assert np.array_equal(one, two) and torch.get_num_threads() == before

    def test_zero_background_stays_zero_and_scale_is_free(self):
        clean, brain, _ = head()
        noisy = magnitude(clean, 90.0) * ndimage.binary_dilation(brain, iterations=2)
        out = nlm3d(noisy, 90.0, 90.0, 3)
        assert not out[0].any()
        huge = nlm3d(noisy * 1e18, 90e18, 90e18, 3)
        assert np.isfinite(huge).all() and np.allclose(huge / 1e18, out, rtol=1e-3, atol=0.5)

    def test_removes_noise_and_its_bias(self):
        noisy, clean, sigma = piece()
        inside = clean > 0.5 * WHITE
        out = nlm3d(noisy, sigma, sigma)
        assert psnr(out, clean, inside) > psnr(noisy, clean, inside) + 5
        air = magnitude(np.zeros((24, 24, 24)), 50.0)
        assert nlm3d(air, 50.0, 100.0).mean() < 0.2 * air.mean()

    def test_small_volumes_and_thin_ones(self):
        data = magnitude(np.full((3, 2, 9), WHITE), 30.0)
        out = nlm3d(data, 30.0, 60.0)
        assert out.shape == data.shape and out.std() < 0.5 * data.std()

    def test_follows_noise_that_varies(self):
        from nilearn.datasets import load_mni152_template

        clean = load_mni152_template(resolution=1).get_fdata(dtype=np.float32)[50:150, 40:190, 75:95] * WHITE
        sigma = np.broadcast_to(np.linspace(15, 105, clean.shape[1])[None, :, None], clean.shape)
        given = Example({"scan": "a"}, {"input": Volume(magnitude(clean, sigma), np.eye(4))})
        brain = clean > 0
        varying, uniform = (
            max(
                psnr(NLM3D(beta=b, search_radius=3, varying=v).apply(given).data, clean, brain)
                for b in (0.9, 1.2)
            )
            for v in (True, False)
        )
        assert varying > uniform + 0.3

    @pytest.mark.parametrize("method", [NLM3D(search_radius=3), NLMDipy(search_radius=3)], ids=name)
    def test_tuned_beats_the_tuned_gaussian(self, method):
        clean, brain, _ = head()
        given, scores = example(9, seed=5), []
        for each in (method, Gaussian()):
            each.load(each.fit([], [example(9)], quiet()))
            scores.append(psnr(each.apply(given).data, clean, brain))
        assert scores[0] > scores[1]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_gpu_agrees_with_cpu(self):
        noisy, _, sigma = piece()
        cpu, gpu = (nlm3d(noisy, sigma, sigma, device=d) for d in ("cpu", "cuda"))
        assert np.abs(cpu - gpu).max() < 1e-3 * sigma
