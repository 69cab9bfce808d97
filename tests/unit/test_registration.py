"""Scans back in: sheets under a simulated camera found where they were laid, and the ones that lie wrongly refused."""

from __future__ import annotations

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.io.projections import EnergyWindow, PlanarImage
from senmei.lab.fiducials import find_spots
from senmei.lab.layout import SheetLayout, printed, wedge
from senmei.lab.registration import register_sheet, repeatability, teacher_in_image
from senmei.lab.scans import sheet_images
from senmei.lab.wedge import read_wedge
from senmei.phantoms.teachers import load_teacher
from senmei.physics.planar.camera import PlanarCamera, draw_counts
from senmei.physics.planar.pairing import match_counts
from senmei.physics.planar.sheet import sheet_affine

LAYOUT = SheetLayout()
CAMERA = PlanarCamera(matrix=256)  # 1.35 mm pixels, LEHR at 10 cm: 7.3 mm
TEACHER = load_teacher("camera", LAYOUT.size, LAYOUT.pixel_mm)
EMPTY = TEACHER.like(np.zeros_like(TEACHER.data))


def lying(teacher=TEACHER, **how) -> np.ndarray:
    """Ink of a sheet under the camera, twice as fine as its pixels, (512, 512)."""
    return printed(LAYOUT, teacher, grid=(512, 512), pixel_mm=CAMERA.image_pixel_mm / 2, **how).data


def expose(ink, peak=200.0, seed=0, camera=CAMERA) -> Volume:
    """Counts drawn of ink, so long that the brightest pixel expects `peak`."""
    expected = camera.expected(Volume(ink, sheet_affine((512, 512), CAMERA.image_pixel_mm / 2)))
    scaled = expected.like(expected.data * (peak / expected.data.max()))
    return draw_counts(scaled, np.random.default_rng(seed))


def register(image, **settings):
    return register_sheet(image, LAYOUT, CAMERA.psf_fwhm_mm, **settings)


@pytest.mark.parametrize("name", ["camera", "mni152z20", "hubble"])
def test_a_sheet_is_found_where_it_was_laid(name):
    teacher = load_teacher(name, LAYOUT.size, LAYOUT.pixel_mm)
    found = register(expose(lying(teacher, shift_mm=(3.2, -4.7), angle_deg=2.3)))
    assert found.marks == 6
    assert found.shift_mm == pytest.approx((3.2, -4.7), abs=0.15)  # a ninth of a pixel
    assert found.angle_deg == pytest.approx(2.3, abs=0.06)
    assert found.scale == pytest.approx(1.0, abs=0.002)
    assert found.residual_mm < 0.2


def test_the_residual_is_what_the_counts_allow():
    for peak, limit in ((25.0, 0.5), (1000.0, 0.06)):
        found = [register(expose(lying(), peak, seed)) for seed in range(3)]
        residual = np.mean([f.residual_mm for f in found])
        expected = np.mean([f.expected_mm for f in found])
        assert residual < limit
        assert 0.4 < residual / expected < 2.0


def test_a_point_source_sits_at_its_place():
    camera = PlanarCamera(matrix=256)
    for at in ((0.0, 0.0), (0.4, -0.9), (31.7, 18.2)):
        ink = printed(LAYOUT, EMPTY, grid=(512, 512), pixel_mm=camera.image_pixel_mm / 2, shift_mm=at).data
        spots = find_spots(expose(ink, 2000.0), LAYOUT.spot_mm, camera.psf_fwhm_mm)
        assert len(spots) >= 6
        for mark in LAYOUT.spots + np.array(at):
            nearest = min(spots, key=lambda s, m=mark: np.hypot(s.x_mm - m[0], s.y_mm - m[1]))
            assert np.hypot(nearest.x_mm - mark[0], nearest.y_mm - mark[1]) < 4 * nearest.error_mm + 0.02


def refused(image, *told, **settings):
    with pytest.raises(DataError, match="No sheet can be registered") as caught:
        register(image, **settings)
    assert all(t in str(caught.value) for t in told), str(caught.value)


def test_no_marks():
    square = np.zeros((512, 512, 1), np.float32)
    square[140:370, 140:370] = lying()[140:370, 140:370]  # the image alone
    refused(expose(square), "no set of spots")
    rng = np.random.default_rng(0)
    flood = Volume(rng.poisson(200, (256, 256, 1)), sheet_affine((256, 256), 1.35))
    refused(flood, "no set of spots")
    for seed in range(2):  # blobs at random places are no sheet
        blobs = np.zeros((512, 512, 1), np.float32)
        for x, y in np.random.default_rng(seed).integers(30, 480, (25, 2)):
            blobs[x - 7 : x + 7, y - 7 : y + 7] = 1
        refused(expose(blobs), "no set of spots")


def test_pictures_without_marks_are_not_taken_for_sheets():
    for seed, name in enumerate(("camera", "grass", "coins")):
        picture = load_teacher(name, 512).data
        refused(expose(picture, seed=seed), "no set of spots")


@pytest.mark.parametrize("name", ["camera", "hubble"])
def test_turned_by_180_degrees(name):
    teacher = load_teacher(name, LAYOUT.size, LAYOUT.pixel_mm)
    image = expose(lying(teacher, angle_deg=179.0, shift_mm=(2, 1)))
    refused(image, "turned by 180°")
    allowed = register(image, turn_limit_deg=180.0)
    assert allowed.angle_deg == pytest.approx(179.0, abs=0.1)
    assert allowed.shift_mm == pytest.approx((2, 1), abs=0.15)
    refused(expose(lying(teacher, angle_deg=-60.0)), "turned by -60°")


def test_seen_from_behind():
    refused(expose(lying(mirrored=True)), "from behind")
    refused(expose(lying(mirrored=True, angle_deg=180.0)), "from behind")


def test_cropped():
    refused(expose(lying(shift_mm=(90.0, 0.0))), "cropped")  # two marks are gone
    refused(expose(lying(shift_mm=(40.0, 88.0))), "cropped")


def test_two_sheets():
    small = SheetLayout(pixel_mm=0.35, size=256)
    ink = np.zeros((512, 512, 1), np.float32)
    for shift in ((-82.0, 5.0), (84.0, -8.0)):
        ink = np.maximum(
            ink,
            printed(small, TEACHER, grid=(512, 512), pixel_mm=CAMERA.image_pixel_mm / 2, shift_mm=shift).data,
        )
    with pytest.raises(DataError) as caught:
        register_sheet(expose(ink), small, CAMERA.psf_fwhm_mm)
    assert "second sheet" in str(caught.value)


def test_saturated():
    image = expose(lying(), 2000.0)
    refused(image.like(np.minimum(image.data, 255)), "saturated", "255")
    refused(image.like(np.minimum(image.data, 1200)), "saturated", "1200")
    assert register(image).marks == 6  # the same counts, not cut


@pytest.mark.parametrize("wrong", [0.5, 0.89, 1.78])
def test_a_wrong_pixel_size_in_the_header(wrong):
    image = expose(lying())
    pixel = CAMERA.image_pixel_mm
    said = Volume(image.data, sheet_affine((256, 256), pixel * wrong))
    refused(said, "pixel", f"{pixel:.2g}"[:3])


def test_a_covered_mark_is_told():
    ink = lying()
    x, y = (LAYOUT.spots[3] / (CAMERA.image_pixel_mm / 2) + 255.5).astype(int)
    ink[x - 10 : x + 10, y - 10 : y + 10] = 0
    refused(expose(ink), "only 5 of 6")


def test_a_warped_sheet_is_refused_above_the_limit():
    ink = lying()
    ink[:, :200] = np.roll(ink[:, :200], 5, axis=0)  # its lower third slipped by 3.4 mm
    refused(expose(ink), "off", "limit")
    assert register(expose(ink), limit_mm=6.0).residual_mm > 1.0


def test_too_few_counts():
    refused(expose(lying(), 0.3), "no set of spots")
    blank = Volume(np.zeros((64, 64, 1), np.int32), sheet_affine((64, 64), 5.4))
    refused(blank, "0 counts")


def test_repeatability_is_of_the_laying_and_not_of_the_counting():
    rng = np.random.default_rng(5)
    shifts, angles = rng.normal(0, 1.5, (5, 2)), rng.normal(0, 0.8, 5)
    found = [
        register(expose(lying(shift_mm=tuple(s), angle_deg=a), 400.0, n))
        for n, (s, a) in enumerate(zip(shifts, angles, strict=True))
    ]
    told = repeatability(found, LAYOUT)
    assert told.shift_mm == pytest.approx(shifts.std(0, ddof=1), abs=0.1)
    assert told.angle_deg == pytest.approx(angles.std(ddof=1), abs=0.05)
    assert told.edge_mm > told.centre_mm > 1.0 and told.residual_mm < 0.15 and told.scans == 5
    with pytest.raises(ConfigError):
        repeatability(found[:1], LAYOUT)


def test_the_teacher_is_brought_to_the_image():
    how = {"shift_mm": (3.2, -4.7), "angle_deg": 2.3}
    image = expose(lying(**how), 1000.0)
    placed = teacher_in_image(TEACHER, LAYOUT, register(image), image, factor=2)
    assert placed.teacher.shape == placed.mask.shape == (512, 512, 1) and placed.mask.data.dtype == np.uint8
    assert placed.teacher.voxel[0] == pytest.approx(image.voxel[0] / 2)
    inside = placed.mask.data > 0
    assert inside.sum() * placed.teacher.voxel[0] ** 2 == pytest.approx(LAYOUT.side_mm**2, rel=0.03)
    marks = (placed.printed.data > 0).sum() - inside.sum()
    assert marks * placed.teacher.voxel[0] ** 2 == pytest.approx(
        6 * np.pi * 25 + 4 * LAYOUT.side_mm * 0.67, rel=0.3
    )
    assert np.abs(placed.teacher.data - lying(**how)).mean() < 0.01  # the same grid
    assert np.abs(placed.teacher.data - lying())[inside].mean() > 0.06


@pytest.mark.parametrize("name", ["camera", "mni152z5"])
def test_a_scan_of_a_sheet_is_paired(name):
    """From the print to counts on the teacher: what was printed is found again, marks and all."""
    teacher = load_teacher(name, LAYOUT.size, LAYOUT.pixel_mm)
    faded = teacher.like(teacher.data**1.5)  # what the printer made of it
    image = expose(lying(faded, shift_mm=(2.0, 1.5), angle_deg=1.2), 300.0, camera=CAMERA)
    role = CAMERA.role(2)
    placed = teacher_in_image(teacher, LAYOUT, register(image), image, factor=2)
    pair = match_counts(placed.teacher, image, role, placed.printed)
    curve = np.interp([0.25, 0.5, 0.75, 1.0], pair.grey, pair.counts)
    assert curve / curve[-1] == pytest.approx(np.array([0.25, 0.5, 0.75, 1.0]) ** 1.5, abs=0.04)
    assert pair.numbers.counts_ratio == pytest.approx(1.0, abs=1e-6)
    assert pair.numbers.deviance < 1.4
    table = match_counts(placed.teacher, image, role, placed.printed, way="lut").numbers
    assert table.deviance > 2 * pair.numbers.deviance


def test_a_static_image_becomes_a_sheet():
    image = expose(lying(shift_mm=(3.2, -4.7)))
    rows = image.data[..., 0].T[::-1]  # row 0 above
    window = EnergyWindow("photopeak", 126.0, 154.0)
    static = PlanarImage(rows[None, None], (window,), (image.voxel[0],) * 2, ("anterior",))
    (back,) = sheet_images(static)
    assert np.array_equal(back.data, image.data)
    assert register(back).shift_mm == pytest.approx((3.2, -4.7), abs=0.15)
    oblong = PlanarImage(rows[None, None], (window,), (1.0, 1.3), ("",))
    with pytest.raises(DataError, match="square"):
        sheet_images(oblong)


def test_the_wedge_tells_the_print_curve():
    curve = wedge(LAYOUT)
    printed_wrong = curve.like(curve.data**1.6)
    image = expose(lying(printed_wrong, shift_mm=(2.0, 1.0), angle_deg=1.0), 500.0)
    found = read_wedge(image, LAYOUT, register(image))
    assert found.grey.shape == found.counts.shape == (16,)
    share = found.counts / found.counts[-1]
    assert np.abs(share - found.grey**1.6).max() < 0.03
    assert (np.diff(found.monotone) >= 0).all()
    assert found.gamma == pytest.approx(1.6, abs=0.08)
