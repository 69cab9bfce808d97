"""Measures of restored planar images that need no reference: what they say of images whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures import MEASURES
from senmei.measures.reblur import expected_deviance
from senmei.methods.bicubic import Bicubic
from senmei.methods.planar import read_sheet
from senmei.methods.richardson_lucy import deconvolved
from senmei.physics.planar.blur import BlurAndBin

PLANAR = ("reblur_deviance", "flat_noise", "edge_gain")
SHAPE, FACTOR, PIXEL = (192, 128), 4, 4.0
CAMERA = {
    "factor": FACTOR,
    "pixel_mm": PIXEL,
    "fwhm_mm": 8.0,
    "scatter_fraction": 0.1,
    "scatter_fwhm_mm": 40.0,
}


def truth(level: float = 30.0) -> np.ndarray:
    """(x, y) expected counts per restored pixel: an even body, hot and cold discs with sharp edges."""
    x, y = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    image = 0.02 + 1.0 * ((x - 96) ** 2 / 80**2 + (y - 64) ** 2 / 52**2 < 1)
    for cx, cy, r, value in ((70, 60, 10, 3.0), (120, 70, 7, 4.0), (110, 40, 9, 0.3)):
        image[(x - cx) ** 2 + (y - cy) ** 2 < r**2] = value
    return image * level / FACTOR**2


def volume(data: np.ndarray, pixel: float = PIXEL / FACTOR) -> Volume:
    return Volume(np.asarray(data)[..., None], np.diag([pixel, pixel, 1.0, 1.0]))


def example(level: float = 30.0, seed: int = 0, **camera: Any) -> Example:
    expected = BlurAndBin.of_camera(SHAPE, CAMERA).forward(truth(level))
    counts = np.random.default_rng(seed).poisson(expected).astype(np.float32)
    spread = np.kron(counts, np.ones((FACTOR, FACTOR), np.float32)) / FACTOR**2
    roles = {"low": volume(counts, PIXEL), "input": volume(spread), "camera": {**CAMERA, **camera}}
    return Example({"scan": "s1"}, roles)


def value(name: str, restored: np.ndarray, case: Example | None = None) -> float:
    return MEASURES.get(name)(case or example(), volume(restored))


def test_all_that_need_a_camera_are_judged_here() -> None:
    assert set(PLANAR) == {name for name in MEASURES if "camera" in MEASURES.get(name).requires}
    for name in PLANAR:
        assert "reference" not in MEASURES.get(name).requires
        assert "Source:" in (MEASURES.get(name).__doc__ or "")


@pytest.mark.parametrize("level", [0.3, 3.0, 30.0, 1000.0])
def test_the_truth_has_a_deviance_of_one_at_any_count_level(level: float) -> None:
    found = [value("reblur_deviance", truth(level), example(level, seed)) for seed in range(4)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.04)


def test_deviance_tells_fitted_noise_from_moved_counts() -> None:
    case = example()
    sheet = read_sheet(case["low"], case["camera"], "s1")
    path = [value("reblur_deviance", deconvolved(sheet, n), case) for n in (1, 5, 20, 200)]
    assert path == sorted(path, reverse=True), "each iteration is likelier than the one before"
    assert path[0] > 1.5 > path[1] and path[-1] < 0.85, "and in the end the noise is fitted"
    moved = np.roll(truth(), 12, axis=0)
    assert value("reblur_deviance", moved, case) > 2
    assert value("reblur_deviance", 1.2 * truth(), case) > 1.5
    wrong = example(fwhm_mm=30.0)
    assert value("reblur_deviance", truth(), wrong) > 1.3, "a camera that is not as told is seen as well"


def test_what_the_camera_cannot_see_changes_no_deviance() -> None:
    invented = truth() * (1 + 0.9 * (-1.0) ** np.add.outer(*(np.arange(n) for n in SHAPE)))
    assert value("reblur_deviance", invented) == pytest.approx(value("reblur_deviance", truth()), abs=0.01)
    assert value("flat_noise", invented) > 5 * value("flat_noise", truth())


def test_expected_deviance_is_that_of_drawn_counts() -> None:
    rng = np.random.default_rng(2)
    for mean in (0.01, 0.5, 4.0, 150.0, 5000.0):
        n = rng.poisson(mean, 400_000)
        drawn = 2 * (np.where(n > 0, n * np.log(np.maximum(n, 1) / mean), 0) - n + mean)
        tolerance = 4 * drawn.std() / np.sqrt(n.size)
        assert expected_deviance(np.array([mean]))[0] == pytest.approx(drawn.mean(), abs=tolerance + 1e-3)


def test_noise_of_flat_parts_is_the_noise_that_is_there() -> None:
    case, rng = example(), np.random.default_rng(3)
    calm = value("flat_noise", truth(), case)
    assert calm < 2
    for percent in (5.0, 20.0):
        noisy = truth() * (1 + percent / 100 * rng.standard_normal(SHAPE))
        assert value("flat_noise", noisy, case) == pytest.approx(percent, rel=0.15)
    ramp = truth() * np.linspace(0.5, 1.5, SHAPE[0])[:, None]
    assert value("flat_noise", ramp, case) < calm + 1, "a slope is no noise"
    more, less = (
        value("flat_noise", example(level)["input"].data[..., 0], example(level)) for level in (10, 90)
    )
    assert more == pytest.approx(3 * less, rel=0.25), "of counts it falls with the root of their number"
    assert less == pytest.approx(100 / np.sqrt(90), rel=0.2)


def test_steepness_follows_blur_and_not_noise() -> None:
    case = example(300.0)
    found = [
        value("edge_gain", ndimage.gaussian_filter(truth(300.0), s), case) for s in (0.0, 4.0, 8.0, 16.0)
    ]
    assert found == sorted(found, reverse=True) and found[0] > 1.5 and found[-1] < 1
    clean = value("edge_gain", truth(300.0), case)
    noisy = truth(300.0) * (1 + 0.3 * np.random.default_rng(4).standard_normal(SHAPE))
    assert value("edge_gain", noisy, case) == pytest.approx(clean, rel=0.05)
    assert value("edge_gain", 2 * truth(300.0), case) == pytest.approx(2 * clean), "contrast is steepness too"
    roles = {r: case[r] for r in case.roles}
    mask = np.zeros(SHAPE, np.uint8)
    mask[140:, :30] = 1
    with_mask = Example(case.scan, {**roles, "mask": volume(mask)})
    assert value("edge_gain", truth(300.0), with_mask) != clean


@pytest.mark.parametrize("name", PLANAR)
def test_they_are_properties_of_a_whole_image(name: str) -> None:
    case, restored = example(), Bicubic().apply(example()).data[..., 0]
    found = value(name, restored, case)
    assert np.isfinite(found)
    assert value(name, restored.astype(np.float64), case) == pytest.approx(found, rel=1e-6)
    roles = {r: case[r] for r in case.roles}
    turned = {
        "low": volume(case["low"].data[::-1, ::-1, 0], PIXEL),
        "input": volume(case["input"].data[::-1, ::-1, 0]),
    }
    assert value(name, restored[::-1, ::-1], Example(case.scan, {**roles, **turned})) == pytest.approx(
        found, rel=1e-5
    )
    for bad, words in (
        (restored[:-4], r"the grids are \(188, 128, 1\) and, by the camera's factor 4, \(192, 128, 1\)"),
        (np.where(restored > restored.mean(), np.nan, restored), "NaN or infinite"),
        (restored.astype(np.complex64), "real numbers are needed"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            value(name, bad, case)
        assert "s1" in str(caught.value.where)
    empty = {**roles, "low": volume(np.zeros((48, 32)), PIXEL)}
    with pytest.raises(DataError, match="counts of the image sum to 0"):
        value(name, restored, Example(case.scan, empty))


def test_images_too_small_or_too_even_cannot_be_judged() -> None:
    small = Example(
        {"scan": "s1"}, {"low": volume(np.full((8, 8), 5.0), PIXEL), "camera": {**CAMERA, "factor": 1}}
    )
    assert np.isnan(value("flat_noise", np.full((8, 8), 5.0), small)), "undefined: no failure of the scan"
    with pytest.raises(DataError, match="the counts are even"):
        value("edge_gain", np.full((8, 8), 5.0), small)
