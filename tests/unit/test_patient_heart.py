"""The heart of a patient, read without a truth: found, mapped, and compared with the unrestored image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from senmei.analyses.patient_heart import PatientHeart
from senmei.analyses.polar import polar_map
from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.phantoms.torso import draw_torso, draw_uptake, render_torso
from senmei.physics.spect.heart_region import find_heart


@pytest.fixture(scope="module")
def scan() -> tuple[Example, dict]:
    """A blurred, noisy torso as an unrestored image, and where its heart is."""
    rng = np.random.default_rng(4)
    torso = render_torso(draw_torso(rng), uptake=draw_uptake(rng), grid=(64, 64, 40), voxel_mm=6.4)
    sharp = torso.activity.data * (torso.segments.data > 0) + 0.2 * torso.activity.data
    data = ndimage.gaussian_filter(sharp, 0.9)
    data = np.clip(data + rng.normal(0, 0.03 * data.max(), data.shape), 0, None).astype(np.float32)
    image = torso.activity.like(data)
    mask = image.like(find_heart(image, "x").mask.astype(np.uint8))
    return Example({"scan": "sub-1", "subject": "sub-1"}, {"input": image, "mask": mask}), torso.heart


def test_the_unrestored_image_is_its_own_measure(scan: tuple[Example, dict]) -> None:
    example, heart = scan
    values = PatientHeart().run(example, example["input"])
    assert values.keys() == PatientHeart.MEASURES.keys()
    assert values["found_ventricle_change"] == 0
    assert values["found_segment_change"] == 0
    assert 8 < values["found_wall_thickness"] < 25
    assert values["found_axis_fit"] > 0.7
    found = np.array(PatientHeart().files(example, example["input"])["polar"]["segments"], float)
    true = polar_map(example["input"], heart).segments
    apart = np.abs(found / found.mean() - true / true.mean())
    assert np.median(apart) < 0.05, "as along the true axis"
    assert apart.max() < 0.25, "least alike is the basal septum, where the wall ends"


def test_what_a_restoration_changed(scan: tuple[Example, dict]) -> None:
    example, _ = scan
    image = example["input"]
    analysis = PatientHeart()
    twice = analysis.run(example, image.like(image.data * 1.05))
    assert twice["found_ventricle_change"] == pytest.approx(5, abs=0.01)
    assert twice["found_segment_change"] == pytest.approx(0, abs=0.01), "a change of all is none of a segment"
    smooth = image.like(ndimage.gaussian_filter(image.data, 1.2))
    blurred = analysis.run(example, smooth)
    assert blurred["found_wall_thickness"] > analysis.run(example, image)["found_wall_thickness"] + 1
    x = image.data.copy()
    region = np.indices(x.shape)[0] < x.shape[0] * 0.33  # the lateral wall fades
    x[region] *= 0.6
    assert analysis.run(example, image.like(x))["found_segment_change"] > 10


def test_files_are_those_that_the_report_draws(scan: tuple[Example, dict]) -> None:
    example, _ = scan
    files = PatientHeart().files(example, example["input"])
    assert files.keys() == {"short_axis", "polar", "profiles"}
    assert files["short_axis"].data.shape == (32, 32, 12)
    assert len(files["polar"]["segments"]) == len(files["polar"]["thickness"]) == 17
    assert np.shape(files["polar"]["rings"]) == (16, 48)
    assert all(line.keys() == {"mm", "restored"} for line in files["profiles"].values())


def test_where_the_truth_is_known_another_analysis_judges(scan: tuple[Example, dict]) -> None:
    example, _ = scan
    known = Example(example.scan, {**{r: example[r] for r in example.roles}, "segments": example["mask"]})
    assert PatientHeart().run(known, example["input"]) == {}
    assert PatientHeart().files(known, example["input"]) == {}


def test_what_cannot_be_read_names_the_scan(scan: tuple[Example, dict]) -> None:
    example, _ = scan
    image = example["input"]
    rng = np.random.default_rng(0)
    noise = image.like(rng.uniform(0.5, 1, image.shape).astype(np.float32))
    with pytest.raises(DataError, match="No left ventricle was found") as caught:
        PatientHeart().run(Example(example.scan, {"input": noise, "mask": example["mask"]}), noise)
    assert caught.value.where == "sub-1"
    with pytest.raises(DataError):
        PatientHeart().run(example, replace(image, data=image.data[:-1]))
    moved = Volume(image.data, image.affine)
    broken = moved.like(np.where(np.arange(image.data.size).reshape(image.shape) == 5, np.nan, image.data))
    with pytest.raises(DataError):
        PatientHeart().run(example, broken)
