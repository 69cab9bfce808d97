"""The heart in its own axes, polar maps, wall thickness, defects, counts: on shells whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from senmei.analyses.defect import contrast, defect_regions
from senmei.analyses.heart_axis import find_axis
from senmei.analyses.noise_resolution import added_blur, blurred
from senmei.analyses.perfusion import Perfusion
from senmei.analyses.polar import ANGLES, cast_rays, polar_map, wall_grid
from senmei.analyses.short_axis import (
    check_inside,
    frame_of,
    horizontal_long_axis,
    profile,
    profile_lines,
    short_axis,
    vertical_long_axis,
)
from senmei.analyses.wall import ray_thickness, wall_thickness
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.fingerprint import class_constants
from senmei.core.volume import Volume
from senmei.phantoms.heart import aha_segments, segment_centre
from senmei.phantoms.torso import LABELS, draw_torso, draw_uptake, grid_affine, render_torso
from senmei.phantoms.ventricle import WIDEST

GRID, VOXEL = (40, 40, 36), 6.4
MIDDLE = (-20.0, 15.0, 5.0)


def heart_at(
    axis=(0.62, -0.62, 0.48), roll=0.0, wall=10.0, cavity=22.0, length=85.0, middle=MIDDLE, defect=None
):
    """The `heart` dict of a shell; roll in degrees about the axis."""
    a = np.array(axis) / np.linalg.norm(axis)
    up = np.array([0.0, 0.0, 1.0]) - a[2] * a
    up /= np.linalg.norm(up)
    t = np.radians(roll)
    septum = np.cos(t) * np.cross(up, a) + np.sin(t) * up
    ends = np.array(middle) - length / 2 * a, np.array(middle) + length / 2 * a
    sizes = {"wall_mm": wall, "cavity_mm": cavity, "length_mm": length}
    heart = {"apex_mm": ends[0].tolist(), "base_mm": ends[1].tolist(), "septum": septum.tolist()}
    return heart | sizes | {"defect": defect}


def shell(heart, fwhm=10.0, fine=3, liver=0.0, uptake=None):
    """(image, segments): an ellipsoidal wall of 1 in 0.05, cavity 0.08, blurred; uptake(axial, angle) of the wall."""
    frame, shape = frame_of(heart), tuple(n * fine for n in GRID)
    affine = grid_affine(shape, VOXEL / fine)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    height, across, angle = frame.locate(points)
    below, long = (1 - WIDEST) * frame.length - height, (1 - WIDEST) * frame.length
    outer = np.hypot(across / frame.equator, below / long) < 1
    inner = np.hypot(across / (frame.equator - frame.wall), below / (long - frame.wall)) < 1
    wall, cavity = outer & ~inner & (height < frame.length), inner & (height < frame.length)
    image = np.where(cavity, 0.08, 0.05)
    if liver:
        image[np.linalg.norm((points - frame.middle - [20, 0, -75]) / [60, 50, 40], axis=-1) < 1] = liver
    axial = 1 - height / frame.length
    image[wall] = 1.0 if uptake is None else uptake(axial[wall], angle[wall])
    image = ndimage.gaussian_filter(image, fwhm / 2.3548 / (VOXEL / fine))

    def binned(data):
        return data.reshape(GRID[0], fine, GRID[1], fine, GRID[2], fine).mean((1, 3, 5))

    grid = grid_affine(GRID, VOXEL)
    at = np.moveaxis(np.indices(GRID), 0, -1) @ grid[:3, :3].T + grid[:3, 3]
    height, _, angle = frame.locate(at)
    segments = aha_segments(np.clip(1 - height / frame.length, 0, 1), angle) * (binned(wall) > 0.5)
    return Volume(binned(image).astype(np.float32), grid), Volume(segments.astype(np.uint8), grid)


def expected_width(wall, fwhm, cavity=0.08, outside=0.05):
    """FWHM of a slab between two levels after the blur and the voxel's own width, by the analysis' definition."""
    x = np.arange(-60, 60, 0.05)
    slab = np.where(np.abs(x) < wall / 2, 1.0, np.where(x < 0, cavity, outside))
    line = ndimage.gaussian_filter1d(
        slab, np.hypot(fwhm / 2.3548, VOXEL / np.sqrt(12)) / 0.05, mode="nearest"
    )
    k = line.argmax()
    right = k + np.argmax(line[k:] < (line[k] + outside) / 2)
    left = k - np.argmax(line[k::-1] < (line[k] + cavity) / 2)
    return (right - left) * 0.05


def case(image, segments, heart, restored=None, labels=None, **scan):
    """(example, restored) with the image as reference and, unless told otherwise, as input."""
    myocardium = segments.like(ndimage.binary_dilation(segments.data > 0).astype(np.uint8))
    roles = {
        "reference": image,
        "input": image,
        "segments": segments,
        "heart": heart,
        "myocardium": myocardium,
    }
    if labels is not None:
        roles["labels"] = labels
    return Example({"scan": "s1"} | scan, roles), image if restored is None else restored


@pytest.fixture(scope="module")
def plain():
    heart = heart_at()
    return *shell(heart, liver=0.6), heart


# -- thickness --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("wall", "fwhm"), [(8, 10), (10, 10), (12, 8), (14, 14)])
def test_wall_thickness_is_the_width_that_blur_leaves(wall, fwhm):
    heart = heart_at(wall=wall, roll=20)
    found = wall_thickness(shell(heart, fwhm)[0], heart)
    assert found[:16] == pytest.approx(np.full(16, expected_width(wall, fwhm)), abs=0.7)
    assert found[16] == pytest.approx(
        expected_width(wall, fwhm), abs=1.2
    )  # a strongly curved cap looks thicker


def test_each_side_of_the_wall_has_its_own_background():
    heart = heart_at()
    alone, beside = (wall_thickness(shell(heart, 8, liver=level)[0], heart) for level in (0, 0.6))
    inferior = [3, 9]
    assert beside[inferior] == pytest.approx(alone[inferior], abs=1.5), (
        "a liver beside it must not widen the wall"
    )
    assert beside[[0, 6]] == pytest.approx(alone[[0, 6]], abs=0.1)


def test_rays_without_a_peak_are_nan_and_counted():
    heart = heart_at()
    image, segments = shell(heart, uptake=lambda axial, angle: np.where(np.abs(angle - 180) < 75, 0.06, 1.0))
    found = wall_thickness(image, heart)
    assert np.isnan(found[[3, 9]]).all()
    assert np.isfinite(found[[0, 6]]).all()
    values = Perfusion().run(*case(image, segments, heart))
    lost = np.isnan(ray_thickness(cast_rays(image, heart))).mean()
    assert values["wall_rays_lost"] == pytest.approx(100 * lost)
    assert 10 < values["wall_rays_lost"] < 60
    assert values["wall_thickness_error"] == 0, "segments without a width are left out of the mean"
    flat = Perfusion().run(*case(image, segments, heart, image.like(np.ones(GRID, np.float32))))
    assert np.isnan(flat["wall_thickness"])
    assert flat["wall_rays_lost"] == 100


# -- orientation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("angle", "segments", "side"),
    [
        (0, (1, 7, 13), "top"),
        (90, (2, 3, 8, 9, 14), "left"),
        (180, (4, 10, 15), "bottom"),
        (270, (5, 6, 11, 12, 16), "right"),
    ],
)
def test_a_hot_wall_shows_where_a_cardiologist_looks_for_it(angle, segments, side):
    heart = heart_at(roll=-25)
    image, _ = shell(
        heart, 8, fine=2, uptake=lambda u, a: 1 + 2 * (np.abs((a - angle + 180) % 360 - 180) < 25)
    )
    picture = short_axis(image, heart).data[:, :, 6]
    i, j = np.array(np.unravel_index(picture.argmax(), picture.shape)) - 15.5
    assert {"top": j > abs(i), "bottom": -j > abs(i), "left": -i > abs(j), "right": i > abs(j)}[side]
    bullseye = polar_map(image, heart)
    brightest = set(np.argsort(bullseye.segments)[::-1][: len(segments)] + 1)
    assert brightest == set(segments)
    column = bullseye.rings[6:14].mean(axis=0).argmax()
    assert abs(((column + 0.5) * 360 / ANGLES - angle + 180) % 360 - 180) < 12


@pytest.mark.parametrize("segment", range(1, 18))
def test_segments_of_the_map_are_those_of_the_phantom(segment):
    grid = wall_grid(frame_of(heart_at()))
    axial, angle = segment_centre(segment)
    ring = np.abs(grid.axial[:, 0] - axial).argmin()
    column = int(angle * ANGLES / 360)
    assert grid.segments[ring, column] == segment
    assert set(np.unique(grid.segments)) == set(range(1, 18))


def test_long_axes_and_the_order_of_slices():
    heart = heart_at()
    image, _ = shell(heart, 8, fine=2, uptake=lambda u, a: np.where(u > 0.85, 3.0, 1.0))  # a hot apex
    stack = short_axis(image, heart)
    assert stack.shape == (32, 32, 12)
    assert stack.data.dtype == np.float32
    assert stack.data[12:20, 12:20].max(axis=(0, 1)).argmax() < 3, "apex first"
    vertical, horizontal = (
        vertical_long_axis(image, heart).data[:, :, 4],
        horizontal_long_axis(image, heart).data[:, :, 4],
    )
    assert np.unravel_index(vertical.argmax(), vertical.shape)[0] > 20, "apex right"
    assert np.unravel_index(horizontal.argmax(), horizontal.shape)[1] > 20, "apex up"
    # The slices know where they lie: sampled back at a place, they give what is there.
    middle = np.linalg.inv(stack.affine) @ [*frame_of(heart).middle, 1]
    assert middle[:3] == pytest.approx([15.5, 15.5, 5.5])


def test_profiles_cross_both_walls():
    heart = heart_at()
    image, _ = shell(heart, 8)
    frame = frame_of(heart)
    for name, (start, end) in profile_lines(frame).items():
        mm, values = profile(image, start, end, normalise=True)
        assert values.max() == 1
        assert mm[0] == pytest.approx(-64)
        peaks = mm[1:-1][(values[1:-1] > values[:-2]) & (values[1:-1] > values[2:]) & (values[1:-1] > 0.6)]
        assert len(peaks) == 2, name
        if name != "transaxial":
            assert np.abs(peaks) == pytest.approx([frame.equator - frame.wall / 2] * 2, abs=2.5)


# -- the axis found ---------------------------------------------------------------------------------------------------
def angle_between(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_the_axis_of_a_turned_shell_is_found(seed):
    rng = np.random.default_rng(seed)
    axis = np.array([0.62, -0.62, 0.48]) + rng.normal(0, 0.25, 3)
    heart = heart_at(axis, cavity=rng.uniform(17, 27), length=rng.uniform(72, 98), wall=rng.uniform(8, 14))
    image, _ = shell(heart, 11, fine=2, liver=0.7)
    noisy = image.like(image.data + rng.normal(0, 0.1, GRID) * np.sqrt(image.data))
    found, true = find_axis(noisy), frame_of(heart)
    assert angle_between(frame_of(found).axis, true.axis) < 3
    assert np.linalg.norm(frame_of(found).apex - true.apex) < 6
    assert np.linalg.norm(frame_of(found).base - true.base) < 6
    assert found["fit"] > 0.9
    assert frame_of(found).septum[2] == pytest.approx(0, abs=1e-9)
    json.dumps(found)


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_the_axis_is_found_in_a_torso(seed):
    rng = np.random.default_rng(seed)
    torso = render_torso(draw_torso(rng), uptake=draw_uptake(rng))
    noise = ndimage.gaussian_filter(rng.normal(size=torso.activity.shape), 0.7)
    image = blurred(torso.activity, 13)
    image = image.like(image.data + 0.06 * np.sqrt(np.maximum(image.data, 0)) * noise / noise.std())
    found, true = frame_of(find_axis(image)), frame_of(torso.heart)
    assert angle_between(found.axis, true.axis) < 10
    assert np.linalg.norm(found.middle - true.middle) < 10


def test_a_heart_is_not_sought_where_nothing_is():
    image, segments = shell(heart_at(), fine=2)
    with pytest.raises(DataError, match="Cannot look for the heart") as caught:
        find_axis(image.like(np.zeros(GRID)), where="sub-7")
    assert "sub-7" in str(caught.value)
    with pytest.raises(DataError, match="region"):
        find_axis(image, np.zeros(GRID))
    rng = np.random.default_rng(0)
    example, restored = case(image.like(rng.uniform(0, 1, GRID)), segments, heart_at())
    with pytest.raises(DataError, match="No left ventricle was found") as caught:
        Perfusion(axis="found").run(example, restored)
    assert "'known'" in caught.value.fix


def test_found_and_known_axes_agree_on_a_clean_shell(plain):
    image, segments, heart = plain
    example, restored = case(image, segments, heart)
    known, found = Perfusion().run(example, restored), Perfusion(axis="found").run(example, restored)
    assert "axis_error" not in known
    assert found["axis_error"] < 2
    assert found["wall_thickness"] == pytest.approx(known["wall_thickness"], abs=0.5)
    with pytest.raises(ConfigError, match="axis"):
        Perfusion(axis="guessed")


# -- defects ----------------------------------------------------------------------------------------------------------
def planted(contrast_, angle=180.0, extent=80.0, length=35.0, axial=0.45, fwhm=8.0):
    heart = heart_at()
    frame = frame_of(heart)
    grid = wall_grid(frame)
    ring, column = np.abs(grid.axial[:, 0] - axial).argmin(), int(angle * ANGLES / 360)
    heart["defect"] = {
        "segments": [10], "centre_mm": grid.points[ring, column].tolist(), "extent_deg": extent,
        "length_mm": length, "transmurality": 1.0, "contrast": contrast_,
    }  # fmt: skip

    def uptake(u, a):
        inside = (np.abs((a - angle + 180) % 360 - 180) < extent / 2) & (
            np.abs(u - axial) * frame.length < length / 2
        )
        return 1 - contrast_ * inside

    return *shell(heart, fwhm, uptake=uptake), heart


def test_contrast_of_a_planted_defect_is_recovered():
    image, segments, heart = planted(0.5, fwhm=2.0)
    site, remote = defect_regions(segments, frame_of(heart), heart["defect"])
    assert contrast(image.data, site, remote) == pytest.approx(0.5, abs=0.08)  # a little blur at its border
    assert not (site & remote).any()
    assert (segments.data[site] > 0).all()
    assert set(np.unique(segments.data[site])) <= {3, 4, 5, 9, 10, 11, 15}
    none, segments, heart = planted(0.0)
    site, remote = defect_regions(segments, frame_of(heart), heart["defect"])
    assert contrast(none.data, site, remote) == pytest.approx(0, abs=0.04)


def test_a_defect_filled_by_the_method_is_lost():
    image, segments, heart = planted(0.5)
    full = planted(0.0)[0]
    example, _ = case(image, segments, heart)
    same, gone, half = (
        Perfusion().run(example, v) for v in (image, full, image.like((image.data + full.data) / 2))
    )
    assert same["defect_recovery"] == 1
    assert same["defect_contrast"] > 0.3
    assert gone["defect_recovery"] == pytest.approx(0, abs=0.1)
    assert half["defect_recovery"] == pytest.approx(0.5, abs=0.1)
    without = Perfusion().run(*case(full, segments, heart_at()))
    assert "defect_recovery" not in without
    faint = Perfusion().run(example := case(full, segments, heart)[0], full)
    assert example["heart"]["defect"]
    assert np.isnan(faint["defect_recovery"]), "no contrast in the reference: nothing to recover"


def test_an_apical_defect_has_remote_wall_elsewhere():
    heart = heart_at()
    heart["defect"] = {
        "segments": [17],
        "centre_mm": heart["apex_mm"],
        "extent_deg": 360.0,
        "length_mm": 40.0,
    }
    image, segments = shell(heart, 2, uptake=lambda u, a: np.where(u > 1 - 20 / 85 - 0.04, 0.4, 1.0))
    site, remote = defect_regions(segments, frame_of(heart), heart["defect"])
    assert contrast(image.data, site, remote) == pytest.approx(0.6, abs=0.12)
    with pytest.raises(DataError, match="description of the defect") as caught:
        defect_regions(segments, frame_of(heart), {"centre_mm": [0, 0, 0]}, "sub-3: heart")
    assert "extent_deg" in str(caught.value)
    with pytest.raises(DataError, match="description of the defect"):
        defect_regions(segments.like(segments.data * 0), frame_of(heart), heart["defect"])


# -- counts, noise, blur ----------------------------------------------------------------------------------------------
def test_the_reference_itself_has_no_errors(plain):
    values = Perfusion().run(*case(*plain))
    for name, (_, _, better) in Perfusion.MEASURES.items():
        if better in ("zero", "lower") and name in values and name != "wall_rays_lost":
            assert values[name] == 0, name
    assert values["wall_thickness"] == pytest.approx(expected_width(10, 10), abs=0.4)
    assert set(values) <= set(Perfusion.MEASURES)


def test_scaled_counts_are_a_bias_of_just_that_size(plain):
    image, segments, heart = plain
    values = Perfusion().run(*case(image, segments, heart, image.like(image.data * 1.05)))
    for name in ("ventricle", "wall", "lad", "rca", "lcx", "segment"):
        assert values[f"{name}_count_bias"] == pytest.approx(5, abs=1e-4), name
    assert values["segment_error"] == pytest.approx(5, abs=1e-4)
    assert values["wall_thickness_error"] == pytest.approx(0, abs=1e-4)
    assert values["added_blur"] == 0
    changed = image.data * (1 - 0.1 * (segments.data == 10))
    values = Perfusion().run(*case(image, segments, heart, image.like(changed)))
    assert values["segment_count_bias"] == pytest.approx(10, abs=1e-3)
    assert values["wall_count_bias"] == pytest.approx(-10 / 17, abs=1e-3)
    assert values["lad_count_bias"] == pytest.approx(0, abs=1e-6)
    assert values["rca_count_bias"] < -1


@pytest.mark.parametrize("fwhm", [3.0, 9.0, 16.0])
def test_added_blur_is_the_blur_that_was_added(plain, fwhm):
    image, segments, _ = plain
    region = ndimage.binary_dilation(segments.data > 0)
    rng = np.random.default_rng(0)
    smooth = blurred(image, fwhm)
    noisy = smooth.like(1.3 * smooth.data + rng.normal(0, 0.03, GRID))
    assert added_blur(smooth, image, region) == pytest.approx(fwhm, abs=0.5)
    assert added_blur(noisy, image, region) == pytest.approx(fwhm, abs=1.5)
    impulse = np.zeros(GRID)
    impulse[20, 20, 18] = 1
    spread = blurred(image.like(impulse), fwhm).data
    variance = (spread.sum(axis=(1, 2)) * (np.arange(40) - 20) ** 2).sum() * VOXEL**2
    assert 2.3548 * np.sqrt(variance) == pytest.approx(fwhm, rel=1e-3)


def test_noise_in_the_liver_is_what_was_added(plain):
    image, segments, heart = plain
    labels = np.zeros(GRID, np.uint8)
    labels[5:18, 5:18, 3:16] = LABELS["liver"]
    flat = image.like(np.where(labels > 0, 0.5, image.data))
    rng = np.random.default_rng(1)
    noisy = flat.like(flat.data + rng.normal(0, 0.05, GRID))
    values = Perfusion().run(*case(flat, segments, heart, noisy, labels=image.like(labels)))
    assert values["liver_noise"] == pytest.approx(10, rel=0.08)
    assert values["liver_cov"] == pytest.approx(10, rel=0.08)
    assert "liver_noise" not in Perfusion().run(*case(flat, segments, heart, noisy))


# -- files and errors -------------------------------------------------------------------------------------------------
def test_files_hold_what_the_report_shows(plain):
    image, segments, heart = plain
    labels = np.zeros(GRID, np.uint8)
    labels[5:18, 5:18, 3:16] = LABELS["liver"]
    example, _ = case(image, segments, heart, labels=image.like(labels))
    files = Perfusion().files(example, image)
    reference = {"reference_short_axis", "reference_polar"}
    assert set(files) == {"short_axis", "polar", "profiles", "curve", *reference}
    assert np.array_equal(files["reference_short_axis"].data, files["short_axis"].data)
    assert files["reference_polar"]["segments"] == files["polar"]["segments"]
    text = json.dumps([files[k] for k in ("polar", "profiles", "curve")], allow_nan=False)
    assert files["short_axis"].data.nbytes + len(text) < 75_000
    polar = files["polar"]
    assert len(polar["segments"]) == len(polar["thickness"]) == len(polar["counts"]["reference"]) == 17
    assert np.array(polar["rings"]).shape == (16, 48)
    for line in files["profiles"].values():
        assert set(line) == {"mm", "restored", "reference", "input"}
        assert line["restored"] == line["input"]
    widths, blurs, noises = (
        [p[k] for p in files["curve"]["curve"]] for k in ("fwhm_mm", "added_blur", "wall_thickness")
    )
    assert blurs == pytest.approx(widths, abs=0.9), (
        "the reference is the input here: blur added is the Gaussian's"
    )
    assert (np.diff(noises) > 0).all()
    assert set(Perfusion().files(example, image.like(image.data * 1.01))) == {
        "short_axis",
        "polar",
        "profiles",
    }


def test_hearts_outside_and_other_grids_are_refused(plain):
    image, segments, heart = plain
    example, _ = case(image, segments, heart_at(middle=(-115.0, 15.0, 5.0)))
    with pytest.raises(DataError, match="outside the field") as caught:
        Perfusion().run(example, image)
    assert caught.value.where == "s1: heart"
    assert "x range" in caught.value.why
    with pytest.raises(DataError, match="Cannot compare"):
        Perfusion().run(case(image, segments, heart)[0], Volume(np.ones((8, 8, 8)), np.eye(4)))
    moved = Volume(image.data, image.affine + np.outer([10, 0, 0, 0], [0, 0, 0, 1]))
    with pytest.raises(DataError, match="lies elsewhere"):
        Perfusion().run(case(image, segments, heart)[0], moved)
    broken = image.like(np.where(segments.data > 0, np.nan, image.data))
    with pytest.raises(DataError, match="NaN"):
        Perfusion().run(case(image, segments, heart)[0], broken)
    empty, _ = case(image, segments.like(segments.data * 0), heart)
    with pytest.raises(DataError, match="myocardium is empty"):
        Perfusion().run(empty, image)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"septum": [0, 0, 0]}, "septum is zero"),
        ({"wall_mm": -1}, "not above zero"),
        ({"apex_mm": [0, 0]}, "not a number or a point"),
        ({"base_mm": None}, "not a number or a point"),
        ({"cavity_mm": float("nan")}, "not finite"),
    ],
)
def test_unusable_hearts_are_named(change, why):
    with pytest.raises(DataError, match="description of the heart") as caught:
        frame_of(heart_at() | change, "sub-2: heart")
    assert why in caught.value.why
    assert caught.value.where == "sub-2: heart"


def test_a_missing_key_and_the_literals():
    heart = heart_at()
    del heart["septum"]
    with pytest.raises(DataError, match="description") as caught:
        check_inside(Volume(np.zeros(GRID), grid_affine(GRID, VOXEL)), heart)
    assert "septum" in caught.value.why
    facts = class_constants("senmei.analyses.perfusion:Perfusion")
    assert facts["requires"] == ("reference", "myocardium", "segments", "heart")
    assert all(
        better in ("higher", "lower", "one", "zero", "none") for _, _, better in facts["MEASURES"].values()
    )
    assert facts["LIMITS"]["ventricle_count_bias"] == 2.0
