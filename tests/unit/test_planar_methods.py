"""Super-resolution of planar images: one contract for all, counts, tuning on validation alone, training, bad input."""

from __future__ import annotations

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
from senmei.methods.planar import PlanarMethod
from senmei.methods.richardson_lucy import RichardsonLucy
from senmei.methods.srcnn_planar import SRCNNPlanar
from senmei.methods.srresnet import SRResNet
from senmei.methods.upsampling import KINDS, upsample, upsampling_matrix
from senmei.physics.planar.blur import BlurAndBin

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
