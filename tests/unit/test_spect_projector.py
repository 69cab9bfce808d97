"""The SPECT projector and the reconstructions against analytic values."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from senmei.core.errors import ConfigError, DataError
from senmei.physics.gamma_camera import GammaCamera
from senmei.physics.spect.collimator_blur import (
    TOLERANCE,
    CollimatorBlur,
    choose_nodes,
    gaussian_profiles,
    share,
)
from senmei.physics.spect.geometry import Acquisition, orbit
from senmei.physics.spect.projector import Projector
from senmei.physics.spect.reconstruct import fbp, osem

VOXEL = 6.4


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def grid(shape, voxel=VOXEL):
    """World millimetres (x, y, z) of the voxels' centres."""
    return np.meshgrid(*((np.arange(n) - (n - 1) / 2) * voxel for n in shape), indexing="ij")


def cylinder(shape, radius, voxel=VOXEL):
    """Fraction of each voxel inside a cylinder along z."""
    fine = 5
    x, y, _ = grid((shape[0] * fine, shape[1] * fine, 1), voxel / fine)
    inside = (np.hypot(x, y) < radius).reshape(shape[0], fine, shape[1], fine).mean((1, 3))
    return np.repeat(inside[:, :, None], shape[2], 2).astype(np.float32)


def scene(shape=(32, 32, 12)):
    """An uneven object and its attenuation."""
    x, y, z = grid(shape)
    mu = 0.15 * ((x / 85) ** 2 + (y / 65) ** 2 < 1)
    hot = (x + 30) ** 2 + (y - 20) ** 2 + z**2 < 22**2
    return (0.1 * (mu > 0) + hot).astype(np.float32), mu.astype(np.float32)


# -- geometry ------------------------------------------------------------------------------------------------------


def test_acquisition_json():
    acquisition = orbit(
        (32, 32, 12),
        VOXEL,
        views=3,
        radius_mm=[200.0, 210, 220],
        direction="cw",
        camera=GammaCamera("LEAP"),
    )
    values = json.loads(json.dumps(acquisition.to_dict()))
    assert Acquisition.from_dict(values) == acquisition
    assert acquisition.angles_deg == (-45.0, 15.0, 75.0)
    assert acquisition.projection_shape == (32, 12, 3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": [32, 30, 12]}, "nx = ny"),
        ({"shape": [32, 32]}, "three whole numbers"),
        ({"voxel_mm": 0.0}, "voxel_mm"),
        ({"voxel_mm": "six"}, "must hold numbers"),
        ({"angles_deg": []}, "at least one view"),
        ({"angles_deg": [0.0, float("nan")]}, "finite"),
        ({"radius_mm": [1.0, 2.0]}, "one for each view"),
        ({"radius_mm": [-1.0]}, "above zero"),
        ({"direction": "left"}, "'ccw' or 'cw'"),
        ({"camera": 3}, "dictionary"),
        ({"angle_deg": [0.0]}, "did you mean 'angles_deg'?"),
    ],
)
def test_acquisition_errors(change, told):
    values = orbit((32, 32, 12), VOXEL, views=4).to_dict() | change
    with pytest.raises(DataError, match="SPECT acquisition") as caught:
        Acquisition.from_dict(values)
    assert told in str(caught.value)


def test_acquisition_that_misses_a_key():
    values = orbit((32, 32, 12), VOXEL, views=4).to_dict()
    del values["direction"]
    with pytest.raises(DataError, match="direction is 'missing'"):
        Acquisition.from_dict(values)


def test_frame():
    """ccw goes from anterior toward the patient's left (-x); u runs along x in the anterior view."""
    acquisition = orbit((8, 8, 4), VOXEL, views=4, arc_deg=360, start_deg=0)
    toward = np.array([acquisition.detector(v)[0] for v in range(4)])
    np.testing.assert_allclose(toward, [[0, 1, 0], [-1, 0, 0], [0, -1, 0], [1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(acquisition.detector(0)[1], [1, 0, 0], atol=1e-12)
    clockwise = dataclasses.replace(acquisition, direction="cw")
    np.testing.assert_allclose(clockwise.detector(1)[0], [1, 0, 0], atol=1e-12)


# -- projection ----------------------------------------------------------------------------------------------------


def test_views_equal_sums_along_the_axes():
    """Without attenuation and blur, views at multiples of 90° are plain sums, in the order and sense of the frame."""
    image = torch.rand(9, 9, 5)
    views = Projector(orbit((9, 9, 5), VOXEL, views=4, arc_deg=360, start_deg=0), psf=False).forward(image)
    np.testing.assert_allclose(views[..., 0], image.sum(1), rtol=1e-5)  # anterior: u = x
    np.testing.assert_allclose(views[..., 1], image.sum(0), rtol=1e-5)  # left: u = y
    np.testing.assert_allclose(views[..., 2], image.sum(1).flip(0), rtol=1e-5)  # posterior: u = -x
    np.testing.assert_allclose(views[..., 3], image.sum(0).flip(0), rtol=1e-5)  # right: u = -y


@pytest.mark.parametrize("direction", ["ccw", "cw"])
def test_a_source_on_the_left_is_brightest_from_the_left(direction):
    shape = (32, 32, 8)
    x, y, z = grid(shape)
    mu = 0.15 * ((x / 90) ** 2 + (y / 70) ** 2 < 1)
    source = np.exp(-((x + 60) ** 2 + y**2 + z**2) / 2 / 10**2)  # on the patient's left
    acquisition = orbit(shape, VOXEL, views=24, arc_deg=360, start_deg=0, direction=direction)
    counts = Projector(acquisition, mu).forward(source).sum((0, 1)).numpy()
    best = acquisition.detector(int(counts.argmax()))[0]
    worst = acquisition.detector(int(counts.argmin()))[0]
    np.testing.assert_allclose(best, [-1, 0, 0], atol=0.01)
    np.testing.assert_allclose(worst, [1, 0, 0], atol=0.01)
    anterior, posterior = counts[0], counts[12]
    assert anterior == pytest.approx(posterior, rel=0.02)


@pytest.mark.parametrize("view", [0, 1, 2, 3])
def test_a_point_lands_where_the_frame_says(view):
    acquisition = orbit((33, 33, 25), VOXEL, views=4, start_deg=-37.0, arc_deg=200, direction="cw")
    x, y, z = grid(acquisition.shape)
    at = np.array([-32.0, 51.2, 12.8])
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) / 2 / 9**2)
    seen = Projector(acquisition).forward(blob)[..., view].numpy()
    u, v = ((np.arange(n) - (n - 1) / 2) * VOXEL for n in seen.shape)
    assert (seen.sum(1) * u).sum() / seen.sum() == pytest.approx(acquisition.detector(view)[1] @ at, abs=0.1)
    assert (seen.sum(0) * v).sum() / seen.sum() == pytest.approx(at[2], abs=0.1)


def _fwhm(profile, voxel):
    """FWHM in mm of a profile by a Gaussian fit to its samples."""
    places = np.arange(len(profile)) - (len(profile) - 1) / 2

    def bell(x, height, centre, sigma):
        return height * np.exp(-((x - centre) ** 2) / 2 / sigma**2)

    start = (profile.max() * 0.9, places[profile.argmax()] + 0.1, 2.0)
    return 2.35482 * abs(curve_fit(bell, places, profile, start)[0][2]) * voxel


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("collimator", ["LEHR", "HE"])
def test_psf_is_the_cameras_at_each_depth_along_u_and_along_v(view, collimator):
    """Points at 5, 10 and 15 cm from the collimator. Depth runs along y in view 0 and along x in view 1, so swapped
    axes, in rotation or in blur, would show.
    """
    voxel, shape = 2.0, (101, 101, 45)
    camera = GammaCamera(collimator)
    acquisition = orbit(
        shape, voxel, views=2, start_deg=0, arc_deg=180, radius_mm=[150.0, 140.0], camera=camera
    )
    projector = Projector(acquisition)
    for distance in (50.0, 100.0, 150.0):
        depth = acquisition.radius_mm[view] - distance
        place = acquisition.detector(view)[0] * depth / voxel + (np.array(shape) - 1) / 2
        image = torch.zeros(shape)
        image[tuple(int(round(p)) for p in place)] = 1.0
        seen = projector.forward(image)[..., view].numpy()
        expected = float(camera.resolution_fwhm_mm(distance))
        assert _fwhm(seen.sum(1), voxel) == pytest.approx(expected, rel=0.01)  # along u
        assert _fwhm(seen.sum(0), voxel) == pytest.approx(expected, rel=0.01)  # along v
        assert seen.sum() == pytest.approx(1, abs=1e-3)


def test_oblique_views_have_the_same_blur():
    """A blob of known width, seen at 30°: its own variance and the collimator's add up."""
    voxel, shape, width = 2.0, (81, 81, 31), 5.0
    acquisition = orbit(shape, voxel, views=1, start_deg=30, radius_mm=140)
    x, y, z = grid(shape, voxel)
    at = acquisition.detector(0)[0] * 40.0
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2 + z**2) / 2 / width**2)
    seen = Projector(acquisition).forward(blob)[..., 0].numpy()
    expected = np.hypot(2.35482 * width, acquisition.camera.resolution_fwhm_mm(100.0))
    assert _fwhm(seen.sum(1), voxel) == pytest.approx(expected, rel=0.02)
    assert _fwhm(seen.sum(0), voxel) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "voxel", "collimator", "radius"),
    [
        ((64, 64, 40), 6.4, "LEHR", 250),
        ((64, 64, 40), 6.4, "HE", 250),
        ((128, 128, 64), 3.2, "LEUR", [180, 300]),
    ],
)
def test_kernels_of_all_depths_are_right_to_the_tolerance(shape, voxel, collimator, radius):
    """The projector's own kernel at each depth against the Gaussian of that depth."""
    acquisition = orbit(shape, voxel, views=2, radius_mm=radius, camera=GammaCamera(collimator))
    blur = CollimatorBlur(acquisition, torch.device("cpu"))
    n, nz = shape[0], shape[2]
    for view in (0, 1):
        sigma = acquisition.camera.resolution_fwhm_mm(acquisition.plane_distances_mm(view)) / 2.35482 / voxel
        for depth in range(0, n, 9):
            planes = torch.zeros(n, n, nz)
            planes[depth, n // 2, nz // 2] = 1.0
            seen = blur.forward(planes.view(n * n, nz), view).numpy()[n // 2 :, nz // 2 :]
            half = gaussian_profiles(sigma[depth : depth + 1], 64)[0]
            expected = half[: n - n // 2, None] * half[None, : nz - nz // 2]
            assert np.abs(seen - expected).max() < 1.01 * TOLERANCE * expected.max()


def test_narrow_kernels_keep_their_second_moment():
    sigma = np.array([0.25, 0.45, 0.8, 2.0])
    kernels = gaussian_profiles(sigma, 20)
    moment = 2 * (kernels * np.arange(20) ** 2).sum(1)
    np.testing.assert_allclose(moment, sigma**2, rtol=1e-3)
    np.testing.assert_allclose(2 * kernels.sum(1) - kernels[:, 0], 1, rtol=1e-6)


def test_nodes_share_out_variance_and_counts():
    sigma = np.linspace(0.34, 1.5, 50)
    nodes = choose_nodes(0.34, 1.5)
    weights = share(sigma, nodes)
    assert 4 < len(nodes) < 16
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(0), 1)
    np.testing.assert_allclose(nodes**2 @ weights, sigma**2)
    np.testing.assert_allclose(choose_nodes(1.3, 1.3), [1.3])  # no collimator blurs so, but nothing breaks
    np.testing.assert_allclose(share(np.full(3, 1.3), np.array([1.3])), 1)


def test_counts_are_conserved_without_attenuation():
    image, _ = scene()
    for psf in (False, True):
        counts = Projector(orbit(image.shape, VOXEL, views=20), psf=psf).forward(_middle(image))
        np.testing.assert_allclose(counts.sum((0, 1)), _middle(image).sum(), rtol=5e-3)


def _middle(image):
    """Only the slices that the blur cannot push out of the field."""
    kept = np.zeros_like(image)
    kept[:, :, 4:-4] = image[:, :, 4:-4]
    return kept


def test_attenuation_of_a_uniform_cylinder():
    """A line source in the axis of a water cylinder sends exp(-mu R) everywhere, and a filled one its integral."""
    shape, voxel, radius, mu = (64, 64, 3), 4.0, 90.0, 0.15
    full = cylinder(shape, radius, voxel)
    acquisition = orbit(shape, voxel, views=7, arc_deg=360, start_deg=10)
    projector = Projector(acquisition, mu * full, psf=False)
    x, y, _ = grid(shape, voxel)
    line = np.exp(-(x**2 + y**2) / 2 / 6**2)
    seen = projector.forward(line).sum((0, 1)).numpy() / line.sum()
    # across the blob's width exp(+mu t) has mean exp(mu² σ² / 2)
    np.testing.assert_allclose(seen, np.exp(-mu * radius / 10 + (mu * 0.6) ** 2 / 2), rtol=0.01)
    centre = projector.forward(full)[31:33, 1].mean(0).numpy() * voxel / 10
    chord = 2 * np.sqrt(radius**2 - 2.0**2) / 10
    np.testing.assert_allclose(centre, (1 - np.exp(-mu * chord)) / mu, rtol=0.015)


def test_disc_without_attenuation():
    """Chords of a disc, at any angle."""
    shape, voxel, radius = (64, 64, 2), 4.0, 80.0
    acquisition = orbit(shape, voxel, views=5, start_deg=3)
    seen = Projector(acquisition, psf=False).forward(cylinder(shape, radius, voxel))[:, 0].numpy() * voxel
    u = (np.arange(64) - 31.5) * voxel
    chord = 2 * np.sqrt(np.maximum(radius**2 - u**2, 0))
    inside = np.abs(u) < 0.85 * radius
    assert np.abs(seen - chord[:, None])[inside].max() < 0.02 * 2 * radius


@pytest.mark.parametrize("psf", [False, True])
@pytest.mark.parametrize("attenuated", [False, True])
@pytest.mark.parametrize("direction", ["ccw", "cw"])
def test_adjoint_is_the_transpose(psf, attenuated, direction):
    image, mu = scene()
    radii = np.linspace(180, 260, 9)
    acquisition = orbit(
        image.shape, VOXEL, views=9, arc_deg=301, start_deg=11, radius_mm=radii, direction=direction
    )
    projector = Projector(acquisition, mu if attenuated else None, psf=psf)
    generator = torch.Generator().manual_seed(1)
    a = torch.rand(image.shape, generator=generator)
    b = torch.rand(acquisition.projection_shape, generator=generator)
    one = (projector.forward(a).double() * b).sum()
    other = (a.double() * projector.adjoint(b)).sum()
    assert abs(one - other) / one < 1e-6
    views = [7, 2, 5]
    one = (projector.forward(a, views).double() * b[..., views]).sum()
    other = (a.double() * projector.adjoint(b[..., views], views)).sum()
    assert abs(one - other) / one < 1e-6


def test_batches_and_subsets_equal_single_calls():
    image, mu = scene()
    projector = Projector(orbit(image.shape, VOXEL, views=6), mu)
    many = torch.rand(2, 3, *image.shape)
    seen = projector.forward(many)
    assert seen.shape == (2, 3, 32, 12, 6)
    torch.testing.assert_close(seen[1, 2], projector.forward(many[1, 2]))
    torch.testing.assert_close(seen[..., [4, 1]], projector.forward(many, [4, 1]))
    back = projector.adjoint(seen)
    torch.testing.assert_close(back[1, 2], projector.adjoint(seen[1, 2]))
    other = Projector(orbit(image.shape, VOXEL, views=6)).with_attenuation(mu)
    torch.testing.assert_close(other.forward(many[0, 0]), seen[0, 0])
    facing = projector.planes(many, 3)
    assert facing.shape == (2, 3, 32, 32, 12)
    bare = Projector(projector.acquisition, psf=False).forward(many, [3])[..., 0]
    torch.testing.assert_close(facing.sum(-3), bare, rtol=1e-4, atol=1e-4)


def test_read_only_and_double_input_is_taken_and_left_alone():
    image, mu = scene()
    image.flags.writeable = mu.flags.writeable = False
    projector = Projector(orbit(image.shape, VOXEL, views=3), mu)
    seen = projector.forward(image.astype(np.float64))
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, projector.forward(image))


def test_non_negative_images_give_non_negative_counts():
    """So that Poisson counts can be drawn of them as they are; sparse images would show a kernel's undershoot."""
    shape = (64, 64, 40)
    image = torch.zeros(shape)
    image[::9, ::7, ::13] = 1.0
    projector = Projector(orbit(shape, VOXEL, views=4))
    assert float(projector.forward(image).min()) >= 0
    assert float(projector.adjoint(projector.forward(image) ** 4).min()) >= 0


def test_factors_not_kept_are_the_same(monkeypatch):
    image, mu = scene()
    acquisition = orbit(image.shape, VOXEL, views=3)
    kept = Projector(acquisition, mu).forward(image)
    monkeypatch.setattr("senmei.physics.spect.projector.KEPT_BYTES", 0)
    torch.testing.assert_close(Projector(acquisition, mu).forward(image), kept)


def test_what_does_not_fit_is_told():
    image, mu = scene()
    acquisition = orbit(image.shape, VOXEL, views=3)
    with pytest.raises(DataError, match="the shape of the attenuation map") as caught:
        Projector(acquisition, mu[:-1])
    assert "(31, 32, 12)" in str(caught.value) and "(32, 32, 12)" in str(caught.value)
    with pytest.raises(DataError, match="impossible values"):
        Projector(acquisition, -mu)
    projector = Projector(acquisition, mu)
    with pytest.raises(DataError, match="the shape of the image"):
        projector.forward(image[..., :-1])
    with pytest.raises(DataError, match="the shape of the projections"):
        projector.adjoint(torch.ones(32, 12, 2))
    with pytest.raises(DataError, match="the shape of the scatter"):
        osem(torch.ones(32, 12, 3), projector, subsets=1, scatter=torch.ones(32, 12))
    with pytest.raises(ConfigError, match="7 subsets are impossible"):
        osem(torch.ones(32, 12, 3), projector, subsets=7)
    with pytest.raises(ConfigError, match="filter 'hann'"):
        fbp(torch.ones(32, 12, 3), acquisition, filter="hann")


# -- reconstruction ------------------------------------------------------------------------------------------------


def test_osem_recovers_a_cylinder():
    shape = (48, 48, 10)
    body = cylinder(shape, 110.0)
    acquisition = orbit(shape, VOXEL, views=48, arc_deg=360, radius_mm=180)
    projector = Projector(acquisition, 0.15 * body)
    image = osem(projector.forward(body), projector, iterations=4, subsets=6).numpy()
    inner = cylinder(shape, 85.0) == 1
    inner[:, :, :2] = inner[:, :, -2:] = False  # the axial edges lose what is blurred out of the field
    assert image[inner].mean() == pytest.approx(1, abs=0.01)
    assert image[inner].std() < 0.03
    assert image.sum() / body.sum() == pytest.approx(1, abs=0.01)


def test_osem_of_180_degrees_keeps_the_counts():
    image, mu = scene()
    projector = Projector(orbit(image.shape, VOXEL, views=30, radius_mm=180), mu)
    views = projector.forward(image)
    result = osem(views, projector, iterations=2, subsets=6)
    assert float(projector.forward(result).sum() / views.sum()) == pytest.approx(1, abs=0.002)
    more = osem(views, projector, iterations=12, subsets=6)
    error = [float((torch.as_tensor(image) - x).norm()) for x in (result, more)]
    assert error[1] < error[0]
    assert float(result.min()) >= 0


def test_osem_takes_scatter_into_account():
    image, mu = scene()
    projector = Projector(orbit(image.shape, VOXEL, views=12, radius_mm=180), mu)
    views = projector.forward(image)
    scatter = torch.full_like(views, 0.3 * float(views.mean()))
    clean = osem(views, projector, iterations=8, subsets=3)
    corrected = osem(views + scatter, projector, iterations=8, subsets=3, scatter=scatter)
    ignored = osem(views + scatter, projector, iterations=8, subsets=3)
    inside = mu > 0
    assert float(corrected.sum() / clean.sum()) == pytest.approx(1, abs=0.02)
    assert float((corrected - clean)[inside].norm()) < 0.35 * float((ignored - clean)[inside].norm())


def test_osem_of_a_batch_equals_single_runs_and_updates_as_written():
    image, mu = scene()
    projector = Projector(orbit(image.shape, VOXEL, views=7, radius_mm=180), mu)
    rng = np.random.default_rng(3)
    counts = rng.poisson(20 * projector.forward(image).numpy()[None].repeat(2, 0)).astype(np.float32)
    both = osem(counts, projector, iterations=2, subsets=3)
    torch.testing.assert_close(both[1], osem(counts[1], projector, iterations=2, subsets=3))
    # one step of one subset by hand: views 0, 3, 6 first
    start = torch.ones(image.shape)
    views = [0, 3, 6]
    ratio = torch.from_numpy(counts[0])[..., views] / projector.forward(start, views)
    ones = projector.adjoint(torch.ones_like(ratio), views)
    by_hand = projector.adjoint(ratio, views) / ones
    first = Acquisition(
        image.shape, VOXEL, tuple(projector.acquisition.angles_deg[v] for v in views), (180.0,)
    )
    alone = osem(counts[0][..., views], Projector(first, mu), iterations=1, subsets=1, start=start)
    seen = ones > 1e-3
    torch.testing.assert_close(alone[seen], by_hand[seen], rtol=1e-4, atol=1e-5)


def test_osem_where_nothing_is_seen_or_expected():
    image, mu = scene()
    projector = Projector(orbit(image.shape, VOXEL, views=6, radius_mm=180), mu)
    nothing = osem(torch.zeros(projector.acquisition.projection_shape), projector)
    assert bool((nothing == 0).all())
    views = projector.forward(image)
    views[0, 0] = 5.0  # counts where the start holds nothing
    start = torch.zeros(image.shape)
    start[8:24, 8:24] = 1.0
    result = osem(views, projector, start=start)
    assert bool(torch.isfinite(result).all()) and bool((result[start == 0] == 0).all())


@pytest.mark.parametrize("arc", [180.0, 360.0, 270.0])
def test_fbp_recovers_what_is_not_attenuated(arc):
    shape = (64, 64, 4)
    disc = cylinder(shape, 120.0) - 0.5 * cylinder(shape, 50.0)
    acquisition = orbit(shape, VOXEL, views=90, arc_deg=arc)
    image = fbp(Projector(acquisition, psf=False).forward(disc), acquisition).numpy()
    ring = (cylinder(shape, 105.0) == 1) & (cylinder(shape, 65.0) == 0)
    assert image[ring].mean() == pytest.approx(1, abs=0.01)
    assert image[cylinder(shape, 38.0) == 1].mean() == pytest.approx(0.5, abs=0.01)
    assert image.sum() / disc.sum() == pytest.approx(1, abs=0.01)


def test_butterworth_keeps_the_counts_and_smooths_all_axes():
    shape = (33, 33, 17)
    acquisition = orbit(shape, VOXEL, views=60, start_deg=0)
    x, y, z = grid(shape)
    image = torch.from_numpy(np.exp(-(x**2 + y**2 + z**2) / 2 / 8**2))
    views = Projector(acquisition, psf=False).forward(torch.stack([0 * image, image]))
    sharp = fbp(views, acquisition)[1]
    smooth = fbp(views, acquisition, filter="butterworth", cutoff=0.3, order=5)[1]
    assert float(sharp.sum()) == pytest.approx(float(image.sum()), rel=0.02)
    assert float(smooth.sum()) == pytest.approx(float(image.sum()), rel=0.02)
    assert float(smooth[16, 16, 8]) < 0.7 * float(sharp[16, 16, 8])
    assert float(smooth[16, 16, 10]) == pytest.approx(float(smooth[18, 16, 8]), rel=0.1)  # as wide along z
    wide = fbp(views, acquisition, filter="butterworth", cutoff=100.0)[1]
    torch.testing.assert_close(wide, sharp, rtol=1e-3, atol=1e-4)
