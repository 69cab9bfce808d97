"""Scatter told by energy windows beside the photopeak."""

from __future__ import annotations

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.io.projections import EnergyWindow
from senmei.physics.spect.imaging import Imaging
from senmei.physics.spect.projector import Projector
from senmei.physics.spect.scatter import scatter_projections
from senmei.physics.spect.scatter_windows import check_sides, side_windows, triple_window
from tests.clinic.patients import orbit, torso

RECIPE = {
    "method": "osem",
    "iterations": 2,
    "subsets": 5,
    "attenuation": True,
    "psf": True,
    "scatter": "window",
}


def windows(*levels: tuple[float, float]) -> list[EnergyWindow]:
    return [EnergyWindow("", low, high) for low, high in levels]


def test_the_windows_that_touch_the_photopeak_are_found() -> None:
    peak, lower, upper = (126.0, 154.0), (120.0, 126.0), (154.0, 160.0)
    assert side_windows(windows(lower, peak, upper), 1) == (0, 2)
    assert side_windows(windows(peak), 0) == (None, None)
    assert side_windows(windows(peak, (92, 125)), 0) == (1, None), "a dual-energy window"
    assert side_windows(windows(peak, (108, 122)), 0) == (1, None), "with the gap that some cameras leave"
    assert side_windows(windows(peak, (60, 80), (171, 190)), 0) == (None, None), "of another line"
    assert side_windows(windows(peak, (92, 125), lower), 0) == (2, None), "the nearest"
    assert side_windows(windows(peak, (120, 150)), 0) == (None, None), "overlaps"


def test_a_trapezoid_between_the_heights_beside_the_photopeak() -> None:
    lower, upper = np.full((30, 30, 2), 12.0), np.full((30, 30, 2), 6.0)
    both = triple_window(lower, upper, (6.0, 28.0, 3.0), 6.0)
    assert both[15, 15] == pytest.approx((12 / 6 + 6 / 3) * 28 / 2)
    assert triple_window(lower, None, (6.0, 28.0, 1.0), 6.0)[15, 15] == pytest.approx(12 / 6 * 28 / 2)
    assert both.dtype == np.float32
    single = np.zeros((1, 41, 41, 3))
    single[0, 20, 20, 1] = 100.0
    spread = triple_window(single, None, (14.0, 28.0, 1.0), 5.0)
    assert spread.sum() == pytest.approx(100, rel=1e-3), "smoothing keeps counts"
    assert not spread[..., [0, 2]].any(), "and each view to itself"
    assert spread[0, 25, 20, 1] == pytest.approx(spread[0, 20, 20, 1] / 16, rel=0.05), "25 mm FWHM, at 25 mm"


def test_what_windows_cannot_tell_is_refused() -> None:
    check_sides(object(), None, "Tc-99m", "sub-1")
    check_sides(object(), object(), "I-123", "sub-1")
    for lower, nuclide, why in (
        (None, "Tc-99m", "no energy window was acquired just below"),
        (object(), "I-123", "I-123 may emit photons above the photopeak"),
        (object(), "", "the nuclide may emit photons above"),
    ):
        with pytest.raises(DataError, match="cannot be told from energy windows") as caught:
            check_sides(lower, None, nuclide, "sub-1")
        assert why in caught.value.why
        assert caught.value.where == "sub-1"


def test_the_reconstruction_uses_it_and_says_when_there_is_none() -> None:
    """A known scatter added to what is expected gives the image that there would be without scatter."""
    body, geometry = torso(11), orbit(True)
    camera = Projector(geometry, body.mu.data)
    primary = camera.forward(body.activity.data).numpy()
    spread = scatter_projections(body.activity.data, body.mu.data, camera).clamp_min(0).numpy()
    plain = Imaging(geometry, body.mu.data, {**RECIPE, "scatter": False})
    wanted = plain.reconstruct(primary)
    imaging = Imaging(geometry, body.mu.data, RECIPE)
    told = imaging.reconstruct(primary + spread, scatter=spread)
    left = plain.reconstruct(primary + spread)
    inside = wanted > 0.3 * wanted.max()
    errors = [np.abs(image[inside] / wanted[inside] - 1).mean() for image in (told, left)]
    assert errors[0] < 0.07 < 0.25 < errors[1], errors
    with pytest.raises(ConfigError, match="no energy windows to tell the scatter"):
        imaging.reconstruct(primary)
    Imaging(geometry, None, {**RECIPE, "attenuation": False})  # windows tell it without a map
