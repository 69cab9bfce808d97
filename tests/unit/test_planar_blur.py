"""Blur and binning: width, mass, adjoint, numpy against torch, grids that do not nest, errors."""

import numpy as np
import pytest
import torch

from senmei.core.errors import ConfigError, DataError
from senmei.physics.planar.blur import (
    BlurAndBin,
    blur_and_bin,
    blur_and_bin_adjoint,
    gaussian_profile,
    overlaps,
)

CAMERA = {"fwhm_mm": 7.0, "pixel_mm": 1.34, "factor": 4, "scatter_fraction": 0.2, "scatter_fwhm_mm": 60.0}


@pytest.fixture
def rng():
    return np.random.default_rng(6)


def width(line, pixel):
    """FWHM of a Gaussian from the second moment of its samples."""
    x = (np.arange(len(line)) - (len(line) - 1) / 2) * pixel
    mean = (x * line).sum() / line.sum()
    return np.sqrt(((x - mean) ** 2 * line).sum() / line.sum()) * 2 * np.sqrt(2 * np.log(2))


@pytest.mark.parametrize(("fwhm", "pixel"), [(7.0, 0.67), (7.0, 1.34), (4.0, 3.0), (1.5, 3.0), (0.0, 1.0)])
def test_width_of_a_point(fwhm, pixel):
    image = np.zeros((201, 203))
    image[100, 101] = 5.0
    seen = blur_and_bin(image, fwhm, pixel)
    assert width(seen.sum(axis=1), pixel) == pytest.approx(fwhm, abs=1e-3)
    assert width(seen.sum(axis=0), pixel) == pytest.approx(fwhm, abs=1e-3)
    assert seen.sum() == pytest.approx(5.0, rel=1e-12)
    assert seen.min() >= 0


def test_a_sampled_profile_is_the_gaussian():
    profile = gaussian_profile(4.4, 30)
    assert profile[0] == pytest.approx(1 / np.sqrt(2 * np.pi) / 4.4, rel=1e-9)
    assert profile[10] / profile[0] == pytest.approx(np.exp(-0.5 * (10 / 4.4) ** 2), rel=1e-9)


def test_mass_is_kept_inside_and_lost_at_the_border(rng):
    image = np.zeros((128, 96))
    image[56:72, 40:56] = rng.random((16, 16))
    seen = blur_and_bin(image, 7.0, 1.34, 4, 0.2, 20.0)
    assert seen.shape == (32, 24)
    assert seen.sum() == pytest.approx(image.sum(), rel=1e-6)
    at_edge = np.zeros((128, 96))
    at_edge[0, 48] = 1.0
    lost = blur_and_bin(at_edge, 7.0, 1.34)
    assert 0.5 < lost.sum() < 0.62  # half of it, and the half pixel that is inside


def test_scatter_is_a_share_of_all_counts():
    image = np.zeros((256, 256))
    image[128, 128] = 1.0
    sharp = blur_and_bin(image, 7.0, 1.34)
    both = blur_and_bin(image, 7.0, 1.34, 1, 0.25, 60.0)
    broad = blur_and_bin(image, 60.0, 1.34)
    np.testing.assert_allclose(both, 0.75 * sharp + 0.25 * broad, atol=1e-15)


@pytest.mark.parametrize("shape", [(128, 96), (64, 64)])
def test_adjoint_is_the_transpose(rng, shape):
    image, counts = rng.random(shape), rng.random((shape[0] // 4, shape[1] // 4))
    left = (counts * blur_and_bin(image, **CAMERA)).sum()
    right = (blur_and_bin_adjoint(counts, **CAMERA) * image).sum()
    assert left == pytest.approx(right, rel=1e-13)


def test_numpy_and_torch_agree_and_differentiate(rng):
    image = rng.random((2, 1, 64, 48)).astype(np.float32)
    seen = blur_and_bin(image, **CAMERA)
    assert seen.dtype == np.float32
    assert seen.shape == (2, 1, 16, 12)
    tensor = torch.from_numpy(image).requires_grad_()
    twin = blur_and_bin(tensor, **CAMERA)
    np.testing.assert_allclose(seen, twin.detach().numpy(), rtol=1e-5)
    weights = torch.from_numpy(rng.random(seen.shape).astype(np.float32))
    (twin * weights).sum().backward()
    np.testing.assert_allclose(tensor.grad, blur_and_bin_adjoint(weights, **CAMERA), rtol=1e-5)
    assert blur_and_bin(np.ones((8, 8), int), **CAMERA).dtype == np.float64


def test_grids_that_do_not_nest(rng):
    """From 0.5 mm to 0.67 mm pixels, of which the second grid is the larger: nothing is lost, and it is transposed."""
    blur = BlurAndBin((60, 40), 0.5, [(0.9, 3.0), (0.1, 12.0)], (200, 180), 0.67)
    image, counts = rng.random((60, 40)), rng.random((200, 180))
    seen = blur.forward(image)
    assert seen.shape == (200, 180)
    assert (counts * seen).sum() == pytest.approx((blur.adjoint(counts) * image).sum(), rel=1e-12)
    inside = BlurAndBin((60, 40), 0.5, [(1.0, 7.0)], (200, 180), 0.67).forward(image)
    assert inside.sum() == pytest.approx(image.sum(), rel=1e-9)  # also what spreads beyond the first grid
    plain = BlurAndBin((60, 40), 0.5, [(1.0, 0.0)], (200, 180), 0.67).forward(image)
    assert plain.sum() == pytest.approx(image.sum(), rel=1e-12)
    x, to_x = (np.arange(60) - 29.5) * 0.5, (np.arange(200) - 99.5) * 0.67
    assert (to_x @ plain.sum(axis=1)) == pytest.approx(x @ image.sum(axis=1), abs=0.02 * image.sum())
    assert overlaps(3, 2.0, 2, 3.0).tolist() == [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]


def test_errors():
    with pytest.raises(DataError, match="cannot be binned") as caught:
        blur_and_bin(np.ones((10, 8)), 7.0, 1.0, 4)
    assert "10 x 8" in str(caught.value)
    with pytest.raises(DataError, match="camera's grid"):
        BlurAndBin((8, 8), 1.0, [(1.0, 2.0)]).forward(np.ones((8, 9)))
    for name, values in {
        "fwhm_mm": (-1.0, 1.0, 1),
        "pixel_mm": (7.0, 0.0, 1),
        "factor": (7.0, 1.0, 0),
        "share of a component": (7.0, 1.0, 1, 1.2, 10.0),
    }.items():
        with pytest.raises(ConfigError, match="impossible value") as caught:
            blur_and_bin(np.ones((8, 8)), *values)
        assert f"camera blur: {name}" in str(caught.value)
    with pytest.raises(ConfigError, match="without components"):
        BlurAndBin((8, 8), 1.0, []).forward(np.ones((8, 8)))
