"""Super-resolution of planar images: one contract for all, counts, tuning on validation alone, training, bad input."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.methods import METHODS
from senmei.methods.bicubic import Bicubic
from senmei.methods.bilinear import Bilinear
from senmei.methods.butterworth_planar import ButterworthPlanar
from senmei.methods.dictionary_planar import DictionaryPlanar
from senmei.methods.gaussian_planar import GaussianPlanar
from senmei.methods.nafnet import NAFNet
from senmei.methods.nearest import Nearest
from senmei.methods.patch_dictionary import assembled, details_of, features_of, nearest_atoms, sparse_codes
from senmei.methods.planar import PlanarMethod, bright_counts
from senmei.methods.planar_families import of_families
from senmei.methods.richardson_lucy import RichardsonLucy, deconvolved, iterates
from senmei.methods.srcnn_planar import SRCNNPlanar
from senmei.methods.srresnet import SRResNet
from senmei.methods.upsampling import KINDS, upsample, upsampling_matrix
from senmei.physics.planar.blur import BlurAndBin
from senmei.training.planar_losses import find_planar_loss, mse_ssim, ssim_planar
from senmei.training.planar_patches import PlanarSampling, PlanarScan, PlanarSource

FACTOR, PIXEL, SIZE = 4, 1.4, 64  # mm and pixels of the reference
SMALL: dict[str, Any] = {"steps": 3, "batch": 2, "patch": 8, "channels": 8}
NETWORKS = [(SRCNNPlanar, {}), (SRResNet, {"blocks": 1}), (NAFNet, {"blocks": 1})]
UPSAMPLING = [Nearest, Bilinear, Bicubic]
FILTERS = [GaussianPlanar, ButterworthPlanar, RichardsonLucy]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def photograph(number):
    """A piece of 64 x 64 pixels of a photograph, grey 0 to 1: camera's and coins', by turns."""
    from skimage import data
    from skimage.transform import downscale_local_mean

    image = downscale_local_mean((data.camera(), data.coins())[number % 2] / 255.0, (2, 2))
    rng = np.random.default_rng([3, number])
    i, j = (int(rng.integers(n - SIZE + 1)) for n in image.shape)
    return image[i : i + SIZE, j : j + SIZE].T[:, ::-1].copy()


def grid(shape, pixel):
    affine = np.diag([pixel, pixel, 1.0, 1.0])
    affine[:2, 3] = [-(n - 1) / 2 * pixel for n in shape]
    return affine


def example(number, counts=1600.0, factor=FACTOR, unit=1.0, image=None, fwhm=6.0, seed=None, **changes):
    """A simulated scan: `counts` expected in the brightest camera pixel."""
    image = photograph(number) if image is None else image
    shape, low_shape = image.shape, tuple(n // factor for n in image.shape)
    camera = BlurAndBin(shape, PIXEL, [(0.8, fwhm), (0.2, 25.0)], low_shape, PIXEL * factor)
    expected = camera.forward(image)
    expected *= counts / max(float(expected.max()), 1e-9)
    low = np.random.default_rng([number, int(counts)] if seed is None else seed).poisson(expected) * unit
    reference = image * (low.sum() / max(float(image.sum()), 1e-9))
    fine, coarse = grid(shape, PIXEL), grid(low_shape, PIXEL * factor)
    roles = {
        "low": Volume(low.astype(np.float32)[..., None], coarse),
        "camera": {
            "factor": factor, "pixel_mm": PIXEL * factor, "fwhm_mm": fwhm, "scatter_fraction": 0.2,
            "scatter_fwhm_mm": 25.0, "background": 0.0, "sensitivity": 90.0,
        },
        "reference": Volume(reference.astype(np.float32)[..., None], fine),
        "mask": Volume(np.ones((*shape, 1), np.uint8), fine),
        "expected": Volume(expected.astype(np.float32)[..., None], coarse),
        "high": Volume((3 * low).astype(np.float32)[..., None], coarse),
    }  # fmt: skip
    roles.update({k: v for k, v in changes.items() if k in roles})
    scan = {"scan": f"sub-{number}", "time_s": counts, "data_range": float(reference.max())}
    return Example({**scan, **{k: v for k, v in changes.items() if k not in roles}}, roles)


@cache
def training(counts=1600.0):
    return tuple(example(n, counts) for n in range(10)), tuple(example(n, counts) for n in range(20, 24))


def quiet(**settings):
    return FitContext(log=lambda line: None, **settings)


@cache
def fitted(cls, **settings):
    """A method fitted to ten scans, and its weights."""
    method = cls(**settings)
    weights = method.fit(*training(), quiet(seed=1))
    method.load(weights)
    return method, weights


def all_methods():
    for cls in (*UPSAMPLING, *FILTERS):
        yield cls, {}
    yield DictionaryPlanar, {"atoms": 16, "neighbours": 200}
    for cls, sizes in NETWORKS:
        yield cls, {**SMALL, **sizes}


EVERY = [pytest.param(cls, settings, id=cls.__name__) for cls, settings in all_methods()]


def psnr(method, scan):
    error = method.apply(scan).data - scan["reference"].data
    return float(10 * np.log10(scan.scan["data_range"] ** 2 / np.mean(error.astype(float) ** 2)))


# ---- the contract of all ----


@pytest.mark.parametrize(("cls", "settings"), EVERY)
class TestContract:
    def test_grid_counts_and_determinism(self, cls, settings):
        method, _ = fitted(cls, **settings)
        given = example(30)
        before = given["low"].data.copy()
        out = method.apply(given)
        shape, affine = method.output_grid(given)
        assert out.shape == shape == (SIZE, SIZE, 1) and out.data.dtype == np.float32
        np.testing.assert_allclose(out.affine, affine)
        np.testing.assert_allclose(affine, given["reference"].affine, atol=1e-9)
        assert np.isfinite(out.data).all() and out.data.min() >= 0
        assert out.data.sum(dtype=float) == pytest.approx(given["low"].data.sum(dtype=float), rel=1e-5)
        np.testing.assert_array_equal(method.apply(given).data, out.data)
        np.testing.assert_array_equal(given["low"].data, before)

    def test_looks_at_nothing_but_image_and_camera(self, cls, settings):
        method, _ = fitted(cls, **settings)
        given = example(30)
        assert method.inputs == ("low", "camera")
        bare = Example({"scan": "s"}, {role: given[role] for role in method.inputs})
        np.testing.assert_array_equal(method.apply(bare).data, method.apply(given).data)

    def test_more_counts_are_better(self, cls, settings):
        method, _ = fitted(cls, **settings)
        few, many = (np.mean([psnr(method, example(n, c)) for n in range(30, 34)]) for c in (30, 3000))
        assert many > few + 0.5

    def test_other_shapes_and_empty_images(self, cls, settings):
        method, _ = fitted(cls, **settings)
        wide = example(0, image=np.concatenate([photograph(0), photograph(1)], 1)[:48])
        assert method.apply(wide).shape == (48, 128, 1)
        empty = example(0)["low"].like(np.zeros((16, 16, 1), np.float32))
        assert not method.apply(example(0, low=empty)).data.any()

    def test_weights_survive_safetensors(self, cls, settings, tmp_path):
        from safetensors.numpy import load_file, save_file

        method, weights = fitted(cls, **settings)
        save_file(dict(weights), str(tmp_path / "w.safetensors"))
        again = cls(**settings)
        again.load(load_file(str(tmp_path / "w.safetensors")))
        np.testing.assert_array_equal(again.apply(example(31)).data, method.apply(example(31)).data)

    @pytest.mark.parametrize(
        ("low", "message"),
        [
            (np.full((16, 16, 1), np.nan), "NaN"),
            (np.full((16, 16, 1), -1.0), "below zero"),
            (np.ones((16, 16, 3)), "planar"),
            (np.ones((16, 16)), "planar"),
        ],
    )
    def test_images_that_are_no_counts(self, cls, settings, low, message):
        method, _ = fitted(cls, **settings)
        given = example(0, low=Volume(low.astype(np.float32), np.eye(4)))
        with pytest.raises(DataError) as caught:
            method.apply(given)
        assert message in str(caught.value) and "sub-0" in str(caught.value)

    @pytest.mark.parametrize(
        ("key", "value"), [("factor", 2.5), ("factor", None), ("pixel_mm", 0), ("fwhm_mm", "wide"),
                           ("scatter_fraction", 1.5), ("background", -1)],
    )  # fmt: skip
    def test_cameras_that_cannot_be(self, cls, settings, key, value):
        method, _ = fitted(cls, **settings)
        given = example(0)
        with pytest.raises(DataError, match="camera") as caught:
            method.apply(example(0, camera={**given["camera"], key: value}))
        assert key in str(caught.value)


def test_all_are_registered():
    ours = {"nearest", "bilinear", "bicubic", "gaussian_planar", "butterworth_planar", "richardson_lucy",
            "dictionary_planar", "srcnn", "srresnet", "nafnet"}  # fmt: skip
    found = {name for name in METHODS if issubclass(METHODS.get(name), PlanarMethod)}
    assert found == ours


# ---- upsampling ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_upsampling_keeps_counts_and_places(kind, factor):
    rng = np.random.default_rng(0)
    image = rng.random((9, 7))
    fine = upsample(image, factor, kind)
    assert fine.shape == (9 * factor, 7 * factor)
    assert fine.sum() == pytest.approx(image.sum(), rel=1e-12)
    matrix = upsampling_matrix(9, factor, kind)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(matrix.sum(axis=0), factor)
    ramp = np.arange(9.0)  # a straight line stays one, away from the border: nothing is shifted
    inner = slice(3 * factor, -3 * factor)
    if kind != "nearest":
        centre = (np.arange(9 * factor) + 0.5) / factor - 0.5
        np.testing.assert_allclose((matrix @ ramp)[inner], centre[inner], atol=1e-12)
    torch_too = upsample(torch.from_numpy(image), factor, kind)
    np.testing.assert_allclose(torch_too.numpy(), fine, rtol=1e-12)
    mirrored = upsample(image[::-1], factor, kind)[::-1]
    np.testing.assert_allclose(mirrored, fine, rtol=1e-12)


def test_bicubic_is_that_of_pillow():
    """Pillow's bicubic is Keys' with a = -1/2 too; away from the border, where it stops instead of mirroring."""
    from PIL import Image

    image = np.random.default_rng(1).random((12, 12)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC))
    ours = upsample(image, 4, "bicubic") * 16
    np.testing.assert_allclose(ours[12:-12, 12:-12], theirs[12:-12, 12:-12], atol=1e-5)


def test_bicubic_undershoot_becomes_zero_and_the_total_stays():
    spike = np.zeros((8, 8), np.float32)
    spike[4, 4] = 100
    assert upsample(spike, 4, "bicubic").min() < 0
    given = example(0, image=np.ones((32, 32)), low=Volume(spike[..., None], np.eye(4)))
    out = Bicubic().apply(given).data
    assert out.min() == 0 and out.sum() == pytest.approx(100, rel=1e-5)


def test_unknown_interpolation():
    with pytest.raises(ConfigError, match="Unknown interpolation") as caught:
        upsample(np.ones((3, 3)), 2, "bicubik")
    assert "bicubic" in str(caught.value)


# ---- how counts are kept ----


def block_error(method, scan):
    """Relative error of the counts in quarters of the image: largest, against the reference."""
    restored, reference = (v.data[..., 0].reshape(2, SIZE // 2, 2, SIZE // 2).sum((1, 3)) for v in
                           (method.apply(scan), scan["reference"]))  # fmt: skip
    return float(np.abs(restored / reference - 1).max())


def test_keep_counts():
    class Tilted(Nearest):
        """Moves counts from one side of the image to the other."""

        def restore(self, sheet):
            return super().restore(sheet) * np.linspace(0.4, 2.0, sheet.shape[0], dtype=np.float32)[:, None]

    given = example(0, counts=1e5, fwhm=2.0)
    totals, errors = {}, {}
    for keep in ("total", "local", "none"):
        method = Tilted()
        method.keep_counts = keep
        totals[keep] = method.apply(given).data.sum() / given["low"].data.sum()
        errors[keep] = block_error(method, given)
    assert totals["total"] == pytest.approx(1, rel=1e-5) and totals["local"] == pytest.approx(1, rel=1e-5)
    assert abs(totals["none"] - 1) > 0.01
    assert errors["local"] < 0.5 * errors["total"]


def test_regions_keep_their_counts():
    for cls, settings in all_methods():
        method, _ = fitted(cls, **settings)
        wrong = [block_error(method, example(n, 3000)) for n in range(30, 34)]
        assert np.mean(wrong) < 0.06, cls.__name__


def test_scale_is_the_image_s_own():
    image = np.random.default_rng(0).poisson(20, (64, 64)).astype(np.float32)
    assert 20 < bright_counts(image) < 30
    image[5, 5] = 1e5  # one hot pixel has no say
    assert bright_counts(image) < 40
    lone = np.zeros((64, 64))
    lone[3, 3] = 7
    assert bright_counts(lone) > 0
    assert bright_counts(np.zeros((8, 8))) == 0


# ---- classical: tuned on validation, and on nothing else ----


class Forbidden(Example):
    def __getitem__(self, role):
        raise AssertionError(f"{role} of a training scan was looked at")


@pytest.mark.parametrize("cls", FILTERS)
class TestTuned:
    def test_tuning_sees_validation_alone_and_beats_its_neighbours(self, cls):
        train, validation = training(100.0)
        context = quiet()
        method = cls()
        weights = method.fit([Forbidden(e.scan, {}) for e in train], validation, context)
        method.load(weights)
        assert method.needs == () and set(method.tunes_on) == {"low", "camera", "reference", "mask"}
        value = method.value_at(method.sheet(validation[0]))
        best = np.mean([psnr(method, e) for e in validation])
        for other in (value / 2, value * 2):
            fixed = cls(**{cls.number: max(1, round(other)) if cls is RichardsonLucy else other})
            assert np.mean([psnr(fixed, e) for e in validation]) <= best + 1e-6
        assert len(context.history) >= 6 and {"condition", cls.number, "psnr"} <= set(context.history[0])

    def test_fewer_counts_are_smoothed_more_and_between_them_in_between(self, cls):
        scans = [*training(60.0)[1], *training(3000.0)[1]]
        method = cls()
        method.load(method.fit((), scans, quiet()))
        few, some, many = (method.value_at(method.sheet(example(40, c))) for c in (30, 400, 6000))
        if cls is GaussianPlanar:
            assert few > some > many
        else:
            assert few <= some <= many and few < many

    def test_the_nearest_camera_counts(self, cls):
        near, far = ([example(n, 300, fwhm=f, pixel_mm=f) for n in range(20, 24)] for f in (4.0, 12.0))
        both, alone = cls(), cls()
        both.load(both.fit((), near + far, quiet()))
        alone.load(alone.fit((), far, quiet()))
        given = example(41, 300, fwhm=11.0)
        assert both.value_at(both.sheet(given)) == pytest.approx(alone.value_at(alone.sheet(given)))

    def test_a_fixed_number_needs_no_tuning(self, cls):
        method = cls(**{cls.number: 3})
        assert method.tunes_on == () and method.fit((), (), quiet()) == {}
        assert method.apply(example(0)).shape == (SIZE, SIZE, 1)

    def test_criterion(self, cls):
        found = {}
        for criterion in ("psnr", "ssim"):
            method, context = cls(criterion=criterion), quiet()
            method.load(method.fit((), training(100.0)[1], context))
            assert criterion in context.history[0]
            found[criterion] = max(row[criterion] for row in context.history)
        assert 0 < found["ssim"] < 1 < found["psnr"]

    def test_what_cannot_be_tuned(self, cls):
        with pytest.raises(DataError, match="Cannot tune"):
            cls().fit((), (), quiet())
        with pytest.raises(ConfigError, match="has not been fitted"):
            cls().apply(example(0))
        with pytest.raises(DataError, match="do not fit"):
            cls().load({"points": np.ones((2, 3))})
        empty = Volume(np.zeros((SIZE, SIZE, 1), np.uint8), np.eye(4))
        with pytest.raises(DataError, match="Cannot tune") as caught:
            cls().fit((), [example(0, mask=empty)], quiet())
        assert "mask" in str(caught.value)
        with pytest.raises(DataError, match="cannot be learned from"):
            cls().fit((), [example(0, reference=example(0)["low"])], quiet())
        with pytest.raises(ConfigError, match="criterion"):
            cls(criterion="nice")
        with pytest.raises(ConfigError, match="above zero"):
            cls(**{cls.number: -1})


def test_richardson_lucy_climbs_the_likelihood_and_keeps_what_reached_the_camera():
    given = example(2, 400)
    method = RichardsonLucy(iterations=1, keep_counts="none")
    sheet = method.sheet(given)
    camera, before = sheet.camera(), -np.inf
    for number, image in zip(range(12), iterates(sheet), strict=False):
        expected = camera.forward(image.astype(np.float64))
        likelihood = float((sheet.counts * np.log(expected) - expected).sum())
        assert likelihood > before, number
        before = likelihood
        assert expected.sum() == pytest.approx(sheet.total, rel=1e-4)


def test_acceleration_gets_as_far_in_fewer_iterations():
    sheet = RichardsonLucy().sheet(example(2, 4000))
    camera = sheet.camera()

    def likelihood(method, count):
        expected = camera.forward(method.restore_at(sheet, count).astype(np.float64))
        return float((sheet.counts * np.log(expected) - expected).sum())

    assert likelihood(RichardsonLucy(accelerated=True), 15) > likelihood(RichardsonLucy(), 30)


def test_richardson_lucy_knows_the_background():
    image = np.zeros((SIZE, SIZE))
    image[24:40, 24:40] = 1
    given = example(0, image=image, fwhm=4.0, counts=400)
    low = given["low"].data + 50
    camera = {**given["camera"], "background": 50.0}
    told, untold = (
        RichardsonLucy(iterations=60, keep_counts="none").apply(example(0, low=given["low"].like(low), camera=c)).data
        for c in (camera, given["camera"])
    )  # fmt: skip
    assert told.sum() == pytest.approx(given["low"].data.sum(), rel=0.05)
    assert untold.sum() > 1.5 * told.sum()


# ---- dictionaries ----


def test_dictionary_beats_bicubic_on_new_images():
    for counts in (60.0, 1600.0):
        method = DictionaryPlanar(atoms=16, neighbours=400)
        method.load(method.fit(*training(counts), quiet()))
        scans = [example(n, counts) for n in range(30, 36)]
        gain = np.mean([psnr(method, e) - psnr(Bicubic(), e) for e in scans])
        assert gain > (0.6 if counts < 100 else 0.2), (counts, gain)


def test_sparse_coding_too():
    method = DictionaryPlanar(atoms=16, coding="sparse")
    weights = method.fit(*training(60.0), quiet())
    assert "maps" not in weights
    method.load(weights)
    scans = [example(n, 60.0) for n in range(30, 36)]
    assert np.mean([psnr(method, e) - psnr(Nearest(), e) for e in scans]) > 0.3


def test_the_tree_finds_nearly_always_what_a_full_search_finds():
    method, _ = fitted(DictionaryPlanar, atoms=64, neighbours=100)
    dictionary = method._dictionary
    assert 4 <= len(dictionary.branches) <= 10
    features, _ = features_of(example(35)["low"].data[..., 0], method.patch)
    seen = features @ dictionary.basis.T
    every = np.abs(seen @ dictionary.atoms.T)
    found = nearest_atoms(seen, dictionary, method.probes)
    reached = every[np.arange(len(seen)), found] / every.max(axis=1)
    assert (reached > 0.999).mean() > 0.75 and reached.mean() > 0.95
    np.testing.assert_array_equal(nearest_atoms(seen, dictionary, 99), every.argmax(axis=1))


def test_orthogonal_matching_pursuit_finds_the_atoms_that_were_mixed():
    rng = np.random.default_rng(0)
    atoms = np.linalg.qr(rng.standard_normal((12, 12)))[0].astype(np.float32)
    truth = np.zeros((50, 12), np.float32)
    for row in truth:
        row[rng.permutation(12)[:3]] = rng.uniform(1, 2, 3)
    np.testing.assert_allclose(sparse_codes(truth @ atoms, atoms, 3), truth, atol=1e-3)


def test_patches_put_together_give_the_image():
    rng = np.random.default_rng(0)
    counts, fine = rng.random((9, 7)).astype(np.float32), rng.random((36, 28)).astype(np.float32)
    laid = assembled(details_of(fine, counts, 4), (9, 7), 4) / 16
    np.testing.assert_allclose(laid + upsample(counts, 4, "bicubic"), fine, atol=1e-5)


def test_dictionary_of_other_settings_or_factor():
    method, weights = fitted(DictionaryPlanar, atoms=16, neighbours=200)
    with pytest.raises(DataError, match="do not fit"):
        DictionaryPlanar(patch=7).load(weights)
    with pytest.raises(DataError, match="another factor"):
        method.apply(example(0, factor=2))
    with pytest.raises(DataError, match="one dictionary serves one factor"):
        DictionaryPlanar().fit([example(0), example(1, factor=2)], [example(2)], quiet())
    with pytest.raises(ConfigError, match="odd"):
        DictionaryPlanar(patch=4)
    with pytest.raises(ConfigError, match="has not been fitted"):
        DictionaryPlanar().apply(example(0))


# ---- losses and patches ----


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    x = photograph(0).astype(np.float32)
    y = np.clip(x + 0.1 * rng.standard_normal(x.shape), 0, 1).astype(np.float32)
    _, full = structural_similarity(
        x, y, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    one, two = (torch.from_numpy(a)[None, None] for a in (x, y))
    assert float(ssim_planar(one, two)) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)
    assert float(mse_ssim(one, one)) == pytest.approx(0, abs=1e-5)
    assert float(mse_ssim(one, two)) == pytest.approx(
        np.mean((x - y) ** 2) + 1 - float(ssim_planar(one, two)), abs=1e-5
    )


def test_ssim_gradient():
    x = torch.rand(2, 1, 14, 13, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    y = x.flip(2).clone()
    x.requires_grad_()
    ssim_planar(x, y).backward()
    step = torch.zeros_like(x)
    step[1, 0, 6, 5] = 1e-2
    with torch.no_grad():
        slope = float(ssim_planar(x + step, y) - ssim_planar(x - step, y)) / 2e-2
    assert slope == pytest.approx(float(x.grad[1, 0, 6, 5]), rel=0.02)


def test_unknown_loss():
    with pytest.raises(ConfigError, match="Unknown loss"):
        find_planar_loss("mae")


def planar_scan(expected=None):
    fine = np.arange(24.0 * 24).reshape(24, 24).astype(np.float32)
    low = fine.reshape(12, 2, 12, 2).sum((1, 3))
    return PlanarScan(low, fine, 2, 10.0, 5.0, (1.0, 2.0), expected)


@pytest.mark.parametrize("rotations", [True, False])
def test_patches_show_the_same_place_in_both_images(rotations):
    source = PlanarSource([planar_scan()], PlanarSampling(5, 6, rotations), 1)
    turned = 0
    for t in range(4):
        batch = source.batch(t)
        again = source.batch(t)
        assert all(
            torch.equal(getattr(batch, k), getattr(again, k)) for k in ("low", "target", "told", "unit")
        )
        assert batch.low.shape == (6, 1, 5, 5) and batch.target.shape == (6, 1, 10, 10)
        assert batch.told.shape == (6, 2, 1, 1)
        sums = batch.target.reshape(6, 1, 5, 2, 5, 2).mean((3, 5))
        np.testing.assert_allclose(
            sums.numpy(), batch.low.numpy(), rtol=1e-5
        )  # both in units of the camera's scale
        np.testing.assert_allclose(batch.unit.numpy(), 10.0 / 4 / 5.0)
        turned += int((batch.low[:, 0, 1, 0] < batch.low[:, 0, 0, 0]).sum())
    assert (turned > 0) == rotations


def test_fresh_noise_is_drawn_anew_with_the_right_mean():
    expected = np.full((12, 12), 40.0, np.float32)
    source = PlanarSource([planar_scan(expected)], PlanarSampling(12, 50, False), 1)
    one, two = (source.batch(t).low * 10 for t in (0, 1))
    assert not torch.equal(one, two)
    assert float(one.mean()) == pytest.approx(40, rel=0.01) and float(one.var()) == pytest.approx(40, rel=0.1)


def test_the_base_shows_the_same_place_too():
    """Made once of a whole image, or of each draw around a patch: the same here, where draws have little noise."""
    fine = np.random.default_rng(0).uniform(1e5, 2e5, (80, 72)).astype(np.float32)
    low = fine.reshape(40, 2, 36, 2).sum((1, 3))
    batches = []
    for expected in (None, low):
        scan = PlanarScan(low, fine, 2, 10.0, 5.0, (), expected, lambda a: upsample(a, 2, "nearest"))
        batches.append(PlanarSource([scan], PlanarSampling(5, 30), 1).batch(0))
    for batch in batches:
        assert batch.told.shape == (30, 0, 1, 1)
        np.testing.assert_allclose(batch.base[:, :, ::2, ::2].numpy(), batch.low.numpy(), rtol=1e-5)
        sums = batch.target.reshape(30, 1, 5, 2, 5, 2).mean((3, 5)).numpy()
        np.testing.assert_allclose(sums, batch.low.numpy(), rtol=0.02)
    np.testing.assert_allclose(batches[1].base.numpy(), batches[0].base.numpy(), rtol=0.02)


def test_a_team_shares_a_batch():
    from senmei.core.team import Team

    class Second(Team):
        def mine(self, samples):
            return range(1, samples, 2)

    source = PlanarSource([planar_scan()], PlanarSampling(4, 6), 1)
    assert torch.equal(source.batch(3, team=Second()).low, source.batch(3).low[1::2])


def test_patches_that_cannot_be():
    with pytest.raises(ValueError, match="no scan"):
        PlanarSource([], PlanarSampling(4, 2), 0)
    with pytest.raises(ValueError, match="larger"):
        PlanarSource([planar_scan()], PlanarSampling(13, 2), 0)


# ---- networks ----


def small(cls, **changes):
    sizes = dict(NETWORKS)[cls]
    return cls(**{**SMALL, **sizes, **changes})


EACH = pytest.mark.parametrize("cls", [cls for cls, _ in NETWORKS])


@pytest.fixture(scope="module")
def trained():
    """A small SRResNet after some seconds of training on twenty pieces of photographs at 150 counts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    method = SRResNet(
        channels=12, blocks=2, steps=150, batch=6, patch=12, learning_rate=2e-3, fresh_noise=True
    )
    context = quiet(seed=1)
    method.load(
        method.fit([example(n, 150) for n in range(20)], [example(n, 150) for n in range(20, 24)], context)
    )
    torch.set_num_threads(before)
    return method, context


def test_a_short_training_beats_bicubic(trained):
    from skimage.metrics import structural_similarity

    method, context = trained
    assert context.history[-1]["val_psnr"] > context.history[0]["val_psnr"]
    scans = [example(n, 150) for n in range(50, 60)]

    def ssim(one, scan):
        x, y = (v.data[..., 0].astype(float) for v in (scan["reference"], one.apply(scan)))
        return structural_similarity(x, y, data_range=scan.scan["data_range"])

    better = np.mean([psnr(method, e) - psnr(Bicubic(), e) for e in scans])
    alike = np.mean([ssim(method, e) - ssim(Bicubic(), e) for e in scans])
    assert better > 0.3 and alike > 0.02, (better, alike)


def test_ssim_bends_counts_and_keep_counts_mends_them(trained):
    method, _ = trained
    scans = [example(n, 150) for n in range(50, 60)]
    sums = {}
    try:
        for keep in ("none", "total", "local"):
            method.keep_counts = keep
            sums[keep] = [method.apply(e).data.sum() / e["low"].data.sum() - 1 for e in scans]
            quarters = np.mean([block_error(method, e) for e in scans])
            assert quarters < (0.15 if keep == "none" else 0.05), keep
    finally:
        method.keep_counts = "total"
    assert np.abs(np.mean(sums["none"])) < 0.15
    np.testing.assert_allclose([*sums["total"], *sums["local"]], 0, atol=1e-5)


@EACH
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6])
def test_any_factor_and_any_start(cls, factor):
    x = torch.rand(2, 1, 9, 12, generator=torch.Generator().manual_seed(0))
    words = torch.full((2, 3, 1, 1), 0.5)
    variants = [{}, {"start": "bicubic"}, {"batch_norm": True}] if cls is SRResNet else [{}]
    for variant in variants:
        for base, informed in (("bicubic", True), ("deconvolved", True), ("none", False)):
            network = small(cls, base=base, informed=informed, **variant).network(factor)
            fine = None if base == "none" else torch.rand(2, 1, 9 * factor, 12 * factor)
            y = network(x, words if informed else words[:, :0], fine)
            assert y.shape == (2, 1, 9 * factor, 12 * factor)
            if fine is None:
                assert float(y.detach().abs().max()) > 0.01
            else:  # starts from the base, and from nothing else
                torch.testing.assert_close(y, fine)


def test_a_factor_without_a_network():
    with pytest.raises(ConfigError, match="No network magnifies by 17"):
        small(SRResNet).network(17)


def test_published_size():
    """16 blocks of 64 maps: 1.53 million weights, as counted elsewhere for one channel."""
    network = SRResNet(batch_norm=True, informed=False, base="none").network(4)
    assert 1.52e6 < sum(p.numel() for p in network.parameters()) < 1.54e6
    kernels = [m.kernel_size for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels[0] == kernels[-1] == (9, 9) and set(kernels[1:-1]) == {(3, 3)}
    three = SRCNNPlanar(informed=False).network(4)
    shapes = [tuple(m.weight.shape) for m in three.modules() if isinstance(m, torch.nn.Conv2d)]
    assert shapes == [(64, 1, 9, 9), (32, 64, 1, 1), (1, 32, 5, 5)]


@EACH
def test_same_seed_same_weights_and_other_seed_others(cls):
    before = torch.random.get_rng_state()
    train, validation = training()
    first, second, other = (small(cls).fit(train[:2], validation[:1], quiet(seed=s)) for s in (1, 1, 2))
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)
    assert torch.equal(before, torch.random.get_rng_state())


@EACH
def test_killed_training_resumes_to_identical_weights(cls, tmp_path, monkeypatch):
    import senmei.methods.super_resolution as module

    train, validation = training()
    settings = {"batch_norm": True} if cls is SRResNet else {}
    method = small(cls, steps=6, **settings)
    whole = method.fit(train[:2], validation[:1], quiet(seed=1))
    loop = module.train_loop
    monkeypatch.setattr(module, "train_loop", lambda *args, **more: loop(*args, **more, stop_after=4))
    method.fit(train[:2], validation[:1], quiet(seed=1, checkpoint=tmp_path / "c.pt"))
    monkeypatch.setattr(module, "train_loop", loop)
    lines: list[str] = []
    context = FitContext(seed=1, checkpoint=tmp_path / "c.pt", log=lines.append)
    resumed = small(cls, steps=6, **settings).fit(train[:2], validation[:1], context)
    assert any("resuming after step 4" in line for line in lines)
    assert all(np.array_equal(resumed[k], whole[k]) for k in whole)
    lines.clear()
    small(cls, steps=6, loss="mse", **settings).fit(train[:2], validation[:1], context)
    assert any("starting afresh" in line for line in lines)


def test_batch_normalisation_has_the_statistics_of_the_weights_that_are_kept():
    method = small(SRResNet, batch_norm=True)
    assert method.together is False and SRResNet.together is True
    weights = method.fit(*training(), quiet(seed=1))
    means = [v for k, v in weights.items() if k.endswith("running_mean")]
    assert len(means) == 3 and all(np.abs(m).max() > 0 for m in means)
    method.load(weights)
    one = method.apply(example(30)).data
    method.apply(example(31))
    np.testing.assert_array_equal(method.apply(example(30)).data, one)


@EACH
def test_training_reads_its_roles_and_no_other(cls):
    class Watched(Example):
        asked: set[str] = set()

        def __getitem__(self, role):
            self.asked.add(role)
            return super().__getitem__(role)

    def watched(**settings):
        Watched.asked = set()
        cases = [Watched(e.scan, {r: e[r] for r in e.roles}) for e in (example(0), example(20))]
        small(cls, **settings).fit(cases[:1], cases[1:], quiet())
        return Watched.asked

    assert cls.needs == cls.tunes_on == ("low", "reference", "camera")
    assert watched() == {"low", "reference", "camera"}
    assert watched(target="high", patch=12) == {"low", "high", "camera"}
    assert watched(fresh_noise=True) == {"low", "reference", "camera", "expected"}


@EACH
def test_another_collimators_image_lies_on_the_same_grid(cls):
    """Collimator translation: no finer grid, and the total of the image that went in."""
    method = small(cls, target="high", patch=12)
    method.load(method.fit(*training(), quiet()))
    given = example(30)
    out = method.apply(given)
    assert out.shape == given["low"].shape
    np.testing.assert_allclose(out.affine, given["low"].affine)
    assert out.data.sum() == pytest.approx(given["low"].data.sum(), rel=1e-5)
    # here the other image is the same one with three times the counts
    error = np.abs(out.data - given["low"].data).mean() / given["low"].data.mean()
    assert error < 0.1


def test_turned_images_give_turned_results_with_flips():
    method = small(NAFNet, flips=True)
    method.load(method.fit(*training(), quiet()))
    given = example(30)
    turned = given["low"].like(np.ascontiguousarray(np.rot90(given["low"].data)[::-1]))
    out, other = method.apply(given).data, method.apply(example(30, low=turned)).data
    np.testing.assert_allclose(other, np.rot90(out)[::-1], rtol=2e-2, atol=1e-2 * out.max())


@EACH
def test_what_cannot_be_trained_or_applied(cls):
    train, validation = training()
    with pytest.raises(DataError, match="none with counts"):
        small(cls).fit((), validation, quiet())
    with pytest.raises(DataError, match="validation"):
        small(cls).fit(train[:1], (), quiet())
    with pytest.raises(DataError, match="one network serves one factor"):
        small(cls).fit([example(0), example(1, factor=2)], validation, quiet())
    bare = Example(train[0].scan, {r: train[0][r] for r in ("low", "camera", "reference")})
    with pytest.raises(DataError, match="no role 'expected'"):
        small(cls, fresh_noise=True).fit([bare], validation, quiet())
    zeros = train[0]["reference"].like(np.zeros((SIZE, SIZE, 1), np.float32))
    with pytest.raises(DataError, match="data range"):
        small(cls).fit([example(0, reference=zeros, data_range="")], validation, quiet())
    with pytest.raises(ConfigError, match="too small"):
        small(cls, patch=2).fit(train[:1], validation, quiet())
    with pytest.raises(ConfigError, match="has not been fitted"):
        small(cls).apply(example(0))
    method, weights = fitted(cls, **SMALL, **dict(NETWORKS)[cls])
    with pytest.raises(DataError, match="another factor"):
        method.apply(example(0, factor=2))
    with pytest.raises(DataError, match="do not fit"):
        small(cls, channels=4).load(weights)
    with pytest.raises(DataError, match="do not fit"):
        small(cls).load({})


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"steps": 0}, "steps"), ({"batch": 1.5}, "batch"), ({"learning_rate": -1}, "learning_rate"),
        ({"loss": "mse_sim"}, "loss"), ({"precision": "half"}, "precision"), ({"start": "bicubik"}, "start"),
        ({"keep_counts": "all"}, "keep_counts"), ({"target": "low"}, "target"), ({"blocks": -1}, "blocks"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing(settings, name):
    with pytest.raises(ConfigError) as caught:
        SRResNet(**settings)
    assert name in str(caught.value)


def test_patches_are_no_larger_than_the_smallest_image():
    lines: list[str] = []
    tiny = example(2, image=photograph(2)[:24, :40])
    small(SRCNNPlanar, patch=50).fit([example(0), tiny], training()[1], FitContext(log=lines.append))
    assert any("2 x 6^2 pixels" in line for line in lines)


# ---- some teachers alone ----


def of_family(number, family, subject=None):
    return example(number, family=family, subject=subject or f"sub-{family}{number}")


def test_families_and_sources_choose_what_is_learned_from():
    scans = [of_family(n, ("photographs", "torsos", "heads")[n % 3]) for n in range(9)]
    scans.append(of_family(9, "heads", "sub-heads2"))  # a second scan of one source
    chosen = of_families("SRResNet", scans, ["photographs", "heads"], None, "training")
    assert [e.scan["family"] for e in chosen] == ["photographs", "heads"] * 3 + ["heads"]
    assert of_families("SRResNet", scans, None, None, "training") == scans
    four = of_families("SRResNet", scans, None, 4, "training")
    assert [e.scan["scan"] for e in four] == ["sub-0", "sub-1", "sub-2", "sub-5", "sub-9"], (
        "heads2 and heads5"
    )
    assert of_families("SRResNet", scans, ["torsos"], 99, "training") == scans[1::3]


def test_families_that_nobody_has_are_refused():
    train, validation = [of_family(n, "torsos") for n in range(3)], [of_family(9, "heads")]
    with pytest.raises(DataError, match="no training scan is of these; there are torsos") as caught:
        small(SRResNet, families=["photographs"]).fit(train, validation, quiet())
    assert "families: photographs" in str(caught.value)
    with pytest.raises(DataError, match="no validation scan is of these; there are heads"):
        small(SRResNet, families=["torsos"]).fit(train, validation, quiet())
    with pytest.raises(DataError, match="none with a family"):
        small(SRResNet, families=["torsos"]).fit([example(0)], validation, quiet())
    with pytest.raises(ConfigError, match="sources"):
        small(SRResNet, sources=0)


@EACH
def test_a_network_of_one_family_is_that_of_its_scans_alone(cls):
    torsos, heads = (
        [of_family(n + at, family) for n in range(3)] for at, family in ((0, "torsos"), (3, "heads"))
    )
    both = small(cls, families=["torsos"]).fit([*torsos, *heads], [*heads, *torsos[:1]], quiet(seed=1))
    alone = small(cls).fit(torsos, torsos[:1], quiet(seed=1))
    for name, weights in alone.items():
        np.testing.assert_array_equal(both[name], weights)


def test_a_patch_without_a_count_has_a_base_of_zeros():
    sheet = RichardsonLucy(iterations=1).sheet(example(0))
    empty = replace(sheet, counts=np.zeros_like(sheet.counts))
    np.testing.assert_array_equal(deconvolved(empty, 3), np.zeros(sheet.shape, np.float32))
    assert np.isfinite(deconvolved(empty, 3, accelerated=True)).all()
