"""Methods for planar images say in what an image is unlike those that they were fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.methods.bicubic import Bicubic
from senmei.methods.gaussian_planar import GaussianPlanar
from senmei.methods.planar import read_sheet
from senmei.methods.planar_range import outside, seen
from senmei.methods.srresnet import SRResNet

PIXEL = 4.0


def example(level: float = 40.0, seed: int = 0, **camera: Any) -> Example:
    counts = np.random.default_rng(seed).poisson(level, (24, 24)).astype(np.float32)
    reference = np.full((48, 48), level / 4, np.float32)
    told = {"factor": 2, "pixel_mm": PIXEL, "fwhm_mm": 8.0, "scatter_fraction": 0.1, **camera}
    roles = {
        "low": Volume(counts[..., None], np.eye(4)),
        "reference": Volume(reference[..., None], np.eye(4)),
    }
    return Example({"scan": f"s{seed}", "data_range": level / 4}, {**roles, "camera": told})


def sheet(*given: Any, **more: Any) -> Any:
    return read_sheet(example(*given, **more)["low"], example(*given, **more)["camera"], "s")


def test_each_condition_is_told_and_only_where_it_differs() -> None:
    known = seen([sheet(40.0), sheet(160.0, fwhm_mm=9.0)])
    assert known.shape == (2, 4)
    for alike in (sheet(30.0), sheet(250.0), sheet(80.0, fwhm_mm=10.0), sheet(80.0, scatter_fraction=0.19)):
        assert outside(alike, known, "X") == ""
    for other, words in (
        (sheet(pixel_mm=2.26), "pixels 2.26 mm, fitted on 4 mm"),
        (sheet(fwhm_mm=14.0), "blur 14 mm, fitted on 8 to 9 mm"),
        (sheet(scatter_fraction=0.4), "scattered share 0.4, fitted on 0.1"),
        (sheet(4000.0), "bright counts a camera pixel 4.0"),
    ):
        told = outside(other, known, "X")
        assert told.startswith("Outside what X was fitted on: ") and words in told and told.count(";") == 0
    both = outside(sheet(4.0, pixel_mm=8.0), known, "X")
    assert "pixels" in both and "bright counts" in both


def test_without_counts_or_without_a_range_there_is_nothing_to_say() -> None:
    assert seen([]).shape == (0, 4) and outside(sheet(), seen([]), "X") == ""
    assert outside(sheet(0.0), seen([sheet()]), "X") == ""
    assert Bicubic().remark(example(pixel_mm=9.0)) == ""


def test_fitted_methods_remember_what_they_saw(tmp_path: Path) -> None:
    train, validation = [example(seed=1), example(60.0, seed=2)], [example(50.0, seed=3)]
    network = SRResNet(channels=4, blocks=1, steps=2, batch=1, patch=8)
    context = FitContext(checkpoint=tmp_path / "c", log=lambda _: None)
    weights = network.fit(train, validation, context)
    np.testing.assert_allclose(weights["seen"][:, 0], PIXEL)
    network.load(weights)
    assert network.remark(example(50.0)) == ""
    assert "pixels 2.26 mm, fitted on 4 mm" in network.remark(example(50.0, pixel_mm=2.26))
    network.load({k: v for k, v in weights.items() if k != "seen"})
    assert network.remark(example(50.0, pixel_mm=2.26)) == "", "weights of before say nothing"
    tuned = GaussianPlanar(evaluations=2)
    tuned.load(tuned.fit([], validation, context))
    assert tuned.remark(example(50.0)) == ""
    assert "blur 14 mm, fitted on 8 mm" in tuned.remark(example(50.0, fwhm_mm=14.0))
    assert "bright counts" in tuned.remark(example(5000.0))
    assert GaussianPlanar(fwhm_mm=9.0).remark(example(pixel_mm=9.0)) == "", "nothing was fitted"
