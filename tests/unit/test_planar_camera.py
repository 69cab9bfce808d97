"""The planar camera: geometry, counts, response, time, what it tells others, and its errors."""

import json
from dataclasses import replace

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.physics.planar.blur import BlurAndBin, blur_and_bin
from senmei.physics.planar.camera import PlanarCamera, draw_counts
from senmei.physics.planar.nuclides import NUCLIDES
from senmei.physics.planar.response import Response
from senmei.physics.planar.sheet import sheet_affine


def sheet(values, pixel=1.0):
    values = np.asarray(values, np.float32)
    return Volume(values[..., None], sheet_affine(values.shape, pixel))


def point(n=129, pixel=1.0, at=None, mbq=1.0):
    image = np.zeros((n, n))
    image[at or (n // 2, n // 2)] = mbq
    return sheet(image, pixel)


def test_default_is_the_reports_camera():
    camera = PlanarCamera()
    assert camera.image_pixel_mm == pytest.approx(0.67, abs=0.005)
    assert camera.psf_fwhm_mm == pytest.approx(6.99, abs=0.01)
    image = replace(camera, time_s=1.0).expected(point())
    assert image.shape == (512, 512, 1)
    assert image.data.dtype == np.float32
    np.testing.assert_allclose(image.affine, sheet_affine((512, 512), camera.image_pixel_mm))
    # geometric sensitivity 86 cps/MBq, and 1.4 % more through the septa
    assert image.data.sum(dtype=float) == pytest.approx(87.1, rel=0.005)


@pytest.mark.parametrize(
    ("collimator", "fwhm", "cpm"), [("LEHR", 6.99, 190), ("LEAP", 8.55, 327), ("LEUR", 5.87, 97)]
)
def test_resolution_and_sensitivity_by_collimator(collimator, fwhm, cpm):
    response = PlanarCamera(collimator).response
    assert response.fwhm_mm == pytest.approx(fwhm, abs=0.02)
    holes = response.sensitivity_cps_per_mbq * (1 - response.penetration_fraction)
    assert holes * 0.037 * 60 == pytest.approx(cpm, rel=0.02)


def test_width_of_the_image_of_a_point():
    """Second moments add: of the resolution, of a source pixel and of the image's pixels."""
    camera = PlanarCamera(measured=Response(50.0, 7.0), matrix=256, distance_mm=100)
    image = camera.expected(point(at=(70, 60))).data[..., 0].astype(float)
    x = (np.arange(256) - 127.5) * camera.image_pixel_mm
    for axis, place in ((1, 6.0), (0, -4.0)):
        line = image.sum(axis=axis) / image.sum()
        mean = x @ line
        assert mean == pytest.approx(place, abs=0.01)
        # area overlap of 1 mm pixels on these: a box of 1 mm and the pixel's own width
        expected = (7.0 / 2.3548) ** 2 + 1 / 12 + camera.image_pixel_mm**2 / 12
        assert (x - mean) ** 2 @ line == pytest.approx(expected, rel=0.01)


def test_counts_are_sensitivity_time_and_decay():
    for name, n in NUCLIDES.items():
        camera = PlanarCamera("HE", name, matrix=64, time_s=3600.0, measured=Response(50.0, 7.0))
        total = camera.expected(point(mbq=2.0)).data.sum(dtype=float)
        assert total == pytest.approx(2.0 * 50.0 * 3600.0 * n.mean_activity(3600.0), rel=1e-5)


def test_what_spreads_beyond_the_sheet_is_seen():
    """A full sheet's edge is as blurred outside as inside, and no count is lost but beyond the image."""
    camera = PlanarCamera(matrix=128, layer_mm=50.0)
    image = camera.expected(sheet(np.full((80, 80), 0.01))).data[..., 0].astype(float)
    assert image.sum() == pytest.approx(64.0 * camera.counts_per_mbq, rel=1e-3)
    edge = image[:, 60:68].mean(axis=1)[
        :64
    ]  # against an edge at 40 mm: outside and inside add up to the plateau
    x = (np.arange(64) - 63.5) * camera.image_pixel_mm + 40.0
    mirrored = edge + np.interp(-x, x, edge)
    near = abs(x) < 10
    np.testing.assert_allclose(mirrored[near], edge[-1], rtol=0.05)


def test_matrix_and_zoom_only_rebin():
    """The same counts in 512, 256 and 64 pixels: each is the other's sum."""
    rng = np.random.default_rng(2)
    activity = sheet(rng.random((90, 80)))
    fine = PlanarCamera().expected(activity).data[..., 0].astype(float)
    assert fine.reshape(64, 8, 64, 8).sum(axis=(1, 3)) == pytest.approx(
        PlanarCamera(matrix=64).expected(activity).data[..., 0], rel=1e-4
    )
    assert PlanarCamera().binned(8) == PlanarCamera(matrix=64)
    given = PlanarCamera(pixel_mm=0.67).binned(2)
    assert (given.matrix, given.pixel_mm) == (256, 1.34)
    with pytest.raises(ConfigError, match="cannot be binned by 3"):
        PlanarCamera().binned(3)


def test_layer_attenuates_and_scatters():
    bare, deep = (PlanarCamera(layer_mm=t, time_s=1.0) for t in (0.0, 100.0))
    assert bare.response.scatter_fraction == 0.0
    ratio = deep.response.sensitivity_cps_per_mbq / bare.response.sensitivity_cps_per_mbq
    unscattered = ratio * (1 - deep.response.scatter_fraction)
    assert unscattered == pytest.approx(np.exp(-NUCLIDES["Tc-99m"].mu_water_per_cm * 10), rel=0.03)
    assert 0.36 < deep.response.scatter_fraction < 0.40  # 20-40 % of the total in patients (Cao 1994)
    assert deep.response.scatter_fwhm_mm > deep.response.fwhm_mm
    peak = [c.expected(point()).data.max() for c in (bare, deep)]
    assert peak[1] < unscattered * peak[0] * 1.05


def test_penetration_is_a_tail():
    camera = PlanarCamera("LEHR", "I-123")
    shares = {f: w for w, f in camera.response.components()}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert camera.response.penetration_fraction == pytest.approx(NUCLIDES["I-123"].penetration("LEHR"))
    near = PlanarCamera("ME", "I-123").response
    assert near.penetration_fraction < 1e-3
    assert near.fwhm_mm > camera.response.fwhm_mm


def test_background_and_dead_time():
    camera = PlanarCamera(matrix=128, time_s=100.0, background_cps_per_cm2=0.5)
    empty = camera.expected(sheet(np.zeros((8, 8)))).data
    area = (camera.image_pixel_mm / 10) ** 2
    assert empty == pytest.approx(0.5 * 100.0 * area, rel=1e-5)
    live = camera.expected(point(mbq=200.0)).data.sum(dtype=float)
    rate = live / 100.0
    slow = replace(camera, dead_time_us=5.0).expected(point(mbq=200.0)).data.sum(dtype=float)
    assert slow / live == pytest.approx(1 / (1 + rate * 5e-6), rel=1e-3)
    blocked = replace(camera, dead_time_us=5.0, dead_time_model="paralysable").expected(point(mbq=200.0))
    assert blocked.data.sum(dtype=float) / live == pytest.approx(np.exp(-rate * 5e-6), rel=1e-3)


def test_time_for_a_wanted_maximum():
    """25 counts in the brightest 0.67 mm pixel, as the report waited for; and where the sheet decays before."""
    activity = sheet(np.full((100, 100), 40.0 / 1e4))
    for camera in (
        PlanarCamera(),
        PlanarCamera(nuclide="I-131", collimator="HE", background_cps_per_cm2=0.01),
    ):
        seconds = camera.time_for_maximum(activity, 25.0)
        image = replace(camera, time_s=seconds).expected(activity)
        assert image.data.max() == pytest.approx(25.0, rel=1e-3)
    with pytest.raises(DataError, match="cannot give so many counts") as caught:
        PlanarCamera().time_for_maximum(activity, 1e5)
    assert "decays before" in str(caught.value)


def test_drawn_counts():
    expected = PlanarCamera(matrix=128).expected(sheet(np.full((100, 100), 0.004)))
    one, same = (draw_counts(expected, np.random.default_rng(3)) for _ in range(2))
    assert one.data.dtype == np.int32
    np.testing.assert_array_equal(one.data, same.data)
    inside = expected.data > 20
    z = (one.data[inside] - expected.data[inside]) / np.sqrt(expected.data[inside])
    assert z.mean() == pytest.approx(0.0, abs=4 / np.sqrt(z.size))
    assert z.var() == pytest.approx(1.0, abs=6 * np.sqrt(2 / z.size))


def test_the_role_makes_the_same_image():
    """What a method is told suffices to do again, on the reference's grid, what the camera did."""
    rng = np.random.default_rng(4)
    camera = PlanarCamera("LEAP", "I-123", layer_mm=50.0, matrix=64, time_s=60.0)
    fine = camera.image_pixel_mm / 4
    activity = sheet(rng.random((256, 256)), fine)
    role = json.loads(json.dumps(camera.role(4)))
    blur = BlurAndBin.of_camera((256, 256), role)
    again = blur.forward(activity.data[..., 0].astype(float)) * camera.counts_per_mbq
    assert again == pytest.approx(camera.expected(activity).data[..., 0], rel=1e-4)
    assert (role["factor"], role["nuclide"], role["collimator"]) == (4, "I-123", "LEAP")
    two = blur_and_bin(
        activity.data[..., 0], role["fwhm_mm"], fine, 4, role["scatter_fraction"], role["scatter_fwhm_mm"]
    )
    penetrating = {**role, "penetration_fraction": 0.0}
    assert BlurAndBin.of_camera((256, 256), penetrating).forward(activity.data[..., 0]) == pytest.approx(
        two, rel=1e-4
    )


def test_to_and_from_a_dictionary():
    camera = PlanarCamera("ME", "Tl-201", measured=Response(40.0, 9.0, 0.2, 60.0), pixel_mm=0.67)
    assert PlanarCamera.from_dict(json.loads(json.dumps(camera.to_dict()))) == camera
    assert PlanarCamera.from_dict({}) == PlanarCamera()
    for values, told in (({"zom": 1.0}, "'zoom'"), ({"measured": {"fwhm": 7.0}}, "'fwhm_mm'")):
        with pytest.raises(ConfigError, match="unknown setting") as caught:
            PlanarCamera.from_dict(values)
        assert f"did you mean {told}?" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pixel_mm": 1.2}, "pixels of 1.2 mm contradict matrix and zoom"),
        ({"zoom": 0}, "impossible value 0"),
        ({"matrix": 100.5}, "impossible value 100.5"),
        ({"distance_mm": -1.0}, "impossible value -1.0"),
        ({"time_s": True}, "impossible value True"),
        ({"collimator": "LEHX"}, "unknown collimator 'LEHX'"),
        ({"nuclide": "Tc-99"}, "unknown nuclide 'Tc-99'"),
        ({"dead_time_model": "paralyzable"}, "unknown model 'paralyzable'"),
    ],
)
def test_settings_that_are_refused(settings, told):
    with pytest.raises(ConfigError) as caught:
        PlanarCamera(**settings)
    assert told in str(caught.value)


def test_nonsense_is_refused_as_such():
    """Whatever a file may say: either a camera whose response is finite, or a message that names the setting."""
    nonsense = [None, True, "", "x", -1, 0, 1, 1e9, float("nan"), float("inf"), [], {}, {"fwhm_mm": 7.0}]
    accepted, told = 0, []
    for name in PlanarCamera().to_dict():
        for value in nonsense:
            try:
                camera = PlanarCamera.from_dict({name: value})
            except ConfigError as error:
                told.append(error.where)
            else:
                accepted += 1
                assert np.isfinite([camera.counts_per_mbq, camera.psf_fwhm_mm, camera.image_pixel_mm]).all()
    assert accepted > 15
    assert all(w.startswith(("planar camera", "gamma camera", "dead", "camera response")) for w in told)
    for values in ({"sensitivity_cps_per_mbq": -1.0, "fwhm_mm": 7.0}, {"sensitivity_cps_per_mbq": 1.0}):
        with pytest.raises(ConfigError):
            PlanarCamera.from_dict({"measured": values})
    with pytest.raises(ConfigError, match=r"impossible value 1\.5"):
        Response(50.0, 7.0, scatter_fraction=1.5)


@pytest.mark.parametrize(
    ("activity", "told"),
    [
        (Volume(np.ones((8, 8, 2), np.float32), np.eye(4)), "not (x, y, 1)"),
        (sheet(-np.ones((8, 8))), "negative or no numbers"),
        (sheet(np.full((8, 8), np.nan)), "negative or no numbers"),
        (Volume(np.ones((8, 8, 1), np.float32), np.eye(4)), "not centred"),
        (Volume(np.ones((8, 8, 1), np.float32), np.diag([1.0, 2.0, 1.0, 1.0])), "not square"),
    ],
)
def test_activities_that_are_refused(activity, told):
    with pytest.raises(DataError, match="no activity sheet") as caught:
        PlanarCamera().expected(activity)
    assert told in str(caught.value)
