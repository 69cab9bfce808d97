"""Photons, Monte Carlo and effective-source scatter of SPECT, against quadrature and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from senmei.core.errors import DataError
from senmei.physics import photons

torch = pytest.importorskip("torch")

from senmei.physics.gamma_camera import GammaCamera  # noqa: E402
from senmei.physics.spect import scatter as model  # noqa: E402
from senmei.physics.spect.geometry import orbit  # noqa: E402
from senmei.physics.spect.monte_carlo import monte_carlo, track  # noqa: E402
from senmei.physics.spect.projector import Projector  # noqa: E402
from senmei.physics.spect.scatter import scatter_projections  # noqa: E402

KEV, WATER = 140.5, 0.152


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def centred(shape, voxel_mm):
    return np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * voxel_mm for n in shape], indexing="ij")


def chest(shape=(40, 40, 24), voxel_mm=10.0):
    """Ellipse with lungs, a myocardial shell, blood, liver: (activity, mu)."""
    x, y, z = centred(shape, voxel_mm)
    body = (x / 165) ** 2 + (y / 115) ** 2 < 1
    mu = np.where(body, WATER, 0.0)
    for side in (-1, 1):
        mu[(((x - side * 80) / 60) ** 2 + ((y - 5) / 80) ** 2 + ((z - 30) / 110) ** 2 < 1) & body] = 0.045
    radius = np.sqrt(((x + 45) / 38) ** 2 + ((y - 45) / 36) ** 2 + (z / 42) ** 2)
    activity = np.where(body, 0.05, 0.0)
    activity[radius < 1.1] = 1.0
    activity[radius < 0.6] = 0.06
    mu[radius < 1.1] = WATER
    liver = (((x - 70) / 70) ** 2 + ((y - 10) / 70) ** 2 + ((z + 70) / 50) ** 2 < 1) & body
    activity[liver], mu[liver] = 0.5, WATER
    return activity.astype(np.float32), mu.astype(np.float32)


def single_scatter_of_a_sphere(radius_cm, mu, camera):
    """Once-scattered counts of a point source at a sphere's centre, over those it would send in air: quadrature."""
    r, weight_r = np.polynomial.legendre.leggauss(50)
    r, weight_r = (r + 1) / 2 * radius_cm, weight_r / 2 * radius_cm
    c, weight_c = np.polynomial.legendre.leggauss(300)
    left = KEV / (1 + KEV / 510.999 * (1 - c))
    law = (left / KEV) ** 2 * (left / KEV + KEV / left - 1 + c**2)
    law /= (weight_c * law).sum() / 2  # mean 1 over the sphere of directions
    accepted = photons.window_acceptance(left, KEV, camera.window, camera.energy_resolution)
    accepted /= photons.window_acceptance(KEV, KEV, camera.window, camera.energy_resolution)
    out = np.sqrt(radius_cm**2 - r[:, None] ** 2 * (1 - c**2)) - r[:, None] * c
    rise = photons.attenuation(left) / photons.attenuation(KEV)
    compton = mu * photons.compton_attenuation(KEV) / photons.attenuation(KEV)
    path = mu * (r[:, None] + rise * out)
    return float((weight_r[:, None] * weight_c * compton * law * accepted * np.exp(-path)).sum() / 2)


@pytest.mark.parametrize("energy", [60.0, 140.5, 364.0])
def test_klein_nishina_total_is_the_integral(energy):
    integral = 2 * np.pi * quad(lambda c: float(photons.klein_nishina(energy, c)), -1, 1)[0]
    assert float(photons.compton_cross_section(energy)) == pytest.approx(integral, rel=1e-8)


@pytest.mark.parametrize("energy", [80.0, 140.5, 511.0])
def test_drawn_angles_have_klein_nishinas_moments(energy):
    n = 400_000
    cosine = photons.draw_compton(np.full(n, energy), np.random.default_rng(3))
    total = quad(lambda c: float(photons.klein_nishina(energy, c)), -1, 1)[0]
    for moment in (
        lambda c: c,
        lambda c: c**2,
        lambda c: c**5,
        lambda c: photons.compton_energy(energy, c) / energy,
    ):
        meant = quad(lambda c: float(moment(c) * photons.klein_nishina(energy, c)), -1, 1)[0] / total  # noqa: B023
        got = moment(cosine)
        assert abs(got.mean() - meant) < 4 * got.std() / np.sqrt(n)
    assert np.abs(cosine).max() <= 1


def test_deflection_keeps_angle_and_length_and_turns_evenly():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(20_000, 3))
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    after = photons.deflect(before, np.full(20_000, 0.3), rng)
    np.testing.assert_allclose((before * after).sum(1), 0.3, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1.0, atol=1e-12)
    straight = photons.deflect(np.tile([0.0, 0.0, 1.0], (20_000, 1)), np.full(20_000, 0.3), rng)
    assert np.abs(straight[:, :2].mean(0)).max() < 0.03


def test_attenuation_of_water_is_that_of_tables():
    # XCOM without coherent scatter, 1/cm: 0.1654 at 100 keV, 0.1480 at 150 keV (assumed, from memory)
    assert float(photons.attenuation(100.0)) == pytest.approx(0.1654, rel=0.015)
    assert float(photons.attenuation(150.0)) == pytest.approx(0.1480, rel=0.015)


def test_window_acceptance_is_analytic():
    inside = photons.window_acceptance(KEV, KEV, 0.20, 0.10)
    assert float(inside) == pytest.approx(0.981468, abs=1e-5)  # erf(sqrt(ln 2) 0.2 / 0.1)
    assert float(inside) == pytest.approx(GammaCamera().window_acceptance(), rel=1e-9)
    edge = float(photons.window_acceptance(0.9 * KEV, KEV, 0.20, 0.01))
    assert edge == pytest.approx(0.5, abs=1e-3)
    assert np.all(np.diff(photons.window_acceptance(np.linspace(100, 140, 50), KEV, 0.2, 0.1)) > 0)


def test_free_path_in_water():
    """Photons of 140 keV go 1/mu before their first scatter, wherever voxel borders lie."""
    side, voxel_mm = 51, 30.0
    mu = np.full((side, side, side), float(photons.attenuation(KEV)), np.float32)
    activity = np.zeros_like(mu)
    activity[side // 2, side // 2, side // 2] = 1
    rng = np.random.default_rng(1)
    first = next(track(activity, mu, voxel_mm, KEV, histories=100_000, rng=rng, orders=1))
    place = (
        np.stack(np.unravel_index(first.voxel, mu.shape), 1) + rng.random((len(first.voxel), 3)) - side / 2
    )
    along = (place * first.direction).sum(1).mean() * voxel_mm / 10
    assert along == pytest.approx(1 / float(photons.attenuation(KEV)), rel=0.02)
    kept = photons.compton_attenuation(KEV) / photons.attenuation(KEV)
    assert first.weight.sum() == pytest.approx(
        float(kept), rel=1e-3
    )  # nothing escaped; the rest was absorbed


@pytest.mark.parametrize(
    ("side", "voxel_mm", "camera"), [(31, 8.0, GammaCamera()), (31, 8.0, GammaCamera(window=0.1))]
)
def test_single_scatter_of_a_point_in_a_sphere_is_the_quadrature(side, voxel_mm, camera):
    radius = 80.0
    x, y, z = centred((side,) * 3, voxel_mm)
    inside = np.zeros(x.shape)
    steps = ((np.arange(4) + 0.5) / 4 - 0.5) * voxel_mm
    for a in steps:
        for b in steps:
            for c in steps:
                inside += ((x + a) ** 2 + (y + b) ** 2 + (z + c) ** 2 < radius**2) / 64
    mu = (WATER * inside).astype(np.float32)
    activity = np.zeros_like(mu)
    activity[side // 2, side // 2, side // 2] = 1
    acquisition = orbit((side,) * 3, voxel_mm, views=4, arc_deg=360.0, start_deg=0.0, camera=camera)
    got = monte_carlo(activity, mu, acquisition, histories=60_000, rng=np.random.default_rng(5), orders=1)
    meant = single_scatter_of_a_sphere(radius / 10, WATER, camera)
    assert got["primary"].sum() / 4 == pytest.approx(np.exp(-WATER * radius / 10), rel=0.01)
    for view in range(4):
        assert got["scatter"][..., view].sum() == pytest.approx(meant, rel=0.025)
    assert got["orders"] == [1.0]
    effective = scatter_projections(activity, mu, Projector(acquisition, mu)).sum() / 4
    assert effective > meant  # it holds the higher orders, too


def test_monte_carlo_repeats_with_its_seed_and_tells_its_noise():
    activity, mu = chest()
    acquisition = orbit(mu.shape, 10.0, views=6, arc_deg=180.0)
    runs = [
        monte_carlo(activity, mu, acquisition, histories=n, rng=np.random.default_rng(seed))
        for n, seed in ((20_000, 0), (20_000, 0), (20_000, 1), (80_000, 2))
    ]
    np.testing.assert_array_equal(runs[0]["scatter"], runs[1]["scatter"])
    assert not np.array_equal(runs[0]["scatter"], runs[2]["scatter"])
    apart = np.sqrt(np.mean((runs[0]["scatter"] - runs[2]["scatter"]) ** 2) / 2)
    assert apart / np.sqrt(np.mean(runs[0]["scatter"] ** 2)) == pytest.approx(runs[0]["noise"], rel=0.2)
    assert runs[3]["noise"] == pytest.approx(runs[0]["noise"] / 2, rel=0.2)
    assert sum(runs[0]["orders"]) == pytest.approx(1.0)
    smooth = monte_carlo(
        activity, mu, acquisition, histories=20_000, rng=np.random.default_rng(0), smooth_mm=40.0
    )
    assert smooth["noise"] < 0.6 * runs[0]["noise"]
    assert smooth["scatter"].sum() == pytest.approx(runs[0]["scatter"].sum(), rel=0.01)


def test_kernel_agrees_with_monte_carlo_in_a_chest():
    activity, mu = chest()
    acquisition = orbit(mu.shape, 10.0, views=12, arc_deg=180.0)
    projector = Projector(acquisition, mu)
    reference = monte_carlo(
        activity, mu, acquisition, histories=120_000, rng=np.random.default_rng(0), projector=projector
    )
    fast = scatter_projections(activity, mu, projector).numpy()
    slow = reference["scatter"]
    share = fast.sum() / (fast.sum() + reference["primary"].sum())
    assert 0.2 < reference["scatter_to_total"] < 0.4
    assert share == pytest.approx(reference["scatter_to_total"], rel=0.04)
    np.testing.assert_allclose(fast.sum((0, 1)) / slow.sum((0, 1)), 1.0, atol=0.06)  # view by view
    error = np.sqrt(np.mean((fast - slow) ** 2) / np.mean(slow**2))
    assert error < reference["noise"] + 0.05
    assert fast.min() > -1e-3 * fast.max()


def test_second_order_in_much_water_is_the_double_integral():
    """Share of photons that two scatters leave inside the window, were all of them seen: energies, weights."""
    side, camera = 41, GammaCamera()
    mu = np.full((side,) * 3, float(photons.attenuation(KEV)), np.float32)
    activity = np.zeros_like(mu)
    activity[side // 2, side // 2, side // 2] = 1
    rng, drawn = np.random.default_rng(4), []
    for scatters in track(activity, mu, 30.0, KEV, histories=150_000, rng=rng, orders=2):
        cosine = photons.draw_compton(scatters.energy_kev, rng)
        left = photons.compton_energy(scatters.energy_kev, cosine)
        seen = photons.window_acceptance(left, KEV, camera.window, camera.energy_resolution)
        drawn.append(float((scatters.weight * seen).sum()))
    c, w = np.polynomial.legendre.leggauss(300)

    def law(energy, cosine):
        return 2 * np.pi * photons.klein_nishina(energy, cosine) / photons.compton_cross_section(energy)

    def kept(energy):
        return photons.compton_attenuation(energy) / photons.attenuation(energy)

    once = photons.compton_energy(KEV, c)
    twice = photons.compton_energy(once[:, None], c)
    seen = photons.window_acceptance(twice, KEV, camera.window, camera.energy_resolution)
    second = (w * law(once[:, None], c) * seen).sum(1) * kept(once)
    seen = photons.window_acceptance(once, KEV, camera.window, camera.energy_resolution)
    assert drawn[0] == pytest.approx(float(kept(KEV) * (w * law(KEV, c) * seen).sum()), rel=0.01)
    assert drawn[1] == pytest.approx(float(kept(KEV) * (w * law(KEV, c) * second).sum()), rel=0.03)


def test_build_up_constants_are_those_of_our_monte_carlo():
    """Second and third order of a point in much water, once more: the constants' total within 3 %."""
    side, voxel_mm = 61, 12.0
    water = float(photons.attenuation(KEV))
    mu = np.full((side,) * 3, water, np.float32)
    activity = np.zeros_like(mu)
    activity[side // 2, side // 2, side // 2] = 1
    camera, rng = GammaCamera(), np.random.default_rng(2)
    drawn = 0.0
    for order, scatters in enumerate(
        track(activity, mu, voxel_mm, KEV, histories=100_000, rng=rng, lowest_kev=105.0)
    ):
        if order == 0:
            continue
        # averaged over all directions a photon could be seen from, its chance is the mean over Klein and Nishina's
        cosine = photons.draw_compton(scatters.energy_kev, rng)
        left = photons.compton_energy(scatters.energy_kev, cosine)
        seen = photons.window_acceptance(left, KEV, camera.window, camera.energy_resolution)
        drawn += float((scatters.weight * seen).sum()) / camera.window_acceptance()
    r, c = np.arange(0.05, 36.0, 0.1), np.linspace(-0.9975, 0.9975, 400)
    shell = np.exp(-water * r)[:, None] * model.build_up(water * r[:, None], c) * 0.1
    meant = float(photons.compton_attenuation(KEV)) * shell.mean(1).sum()
    assert meant == pytest.approx(drawn, rel=0.03)


def test_single_scatter_law_is_the_mean_acceptance():
    camera = GammaCamera()
    mean = quad(lambda c: float(model.single_scatter(c, camera)), -1, 1)[0] / 2
    cosine = photons.draw_compton(np.full(200_000, KEV), np.random.default_rng(0))
    seen = photons.window_acceptance(photons.compton_energy(KEV, cosine), KEV, 0.2, 0.1).mean()
    assert mean == pytest.approx(seen / camera.window_acceptance(), rel=0.01)


def test_no_scatter_in_air():
    activity, mu = chest()
    acquisition = orbit(mu.shape, 10.0, views=3)
    air = np.zeros_like(mu)
    assert scatter_projections(activity, air, Projector(acquisition, air)).abs().max() == 0
    got = monte_carlo(activity, air, acquisition, histories=1000, rng=np.random.default_rng(0))
    assert got["scatter"].max() == 0 and got["scatter_to_total"] == 0 and got["noise"] == 0
    assert got["primary"].sum() == pytest.approx(3 * activity.sum(), rel=0.05)
    none = scatter_projections(0 * activity, mu, Projector(acquisition, mu))
    assert none.abs().max() == 0


def test_kernel_is_linear_and_takes_batches_and_odd_grids():
    shape = (25, 25, 13)
    activity, mu = chest(shape, 16.0)
    acquisition = orbit(shape, 16.0, views=5)
    projector = Projector(acquisition, mu)
    other = np.random.default_rng(0).random(shape).astype(np.float32)
    one, two = scatter_projections(activity, mu, projector), scatter_projections(other, mu, projector)
    both = scatter_projections(np.stack([activity + 3 * other, activity]), mu, projector)
    assert both.shape == (2, 25, 13, 5)
    torch.testing.assert_close(both[0], one + 3 * two, rtol=1e-4, atol=1e-5 * float(two.max()))
    torch.testing.assert_close(both[1], one, rtol=1e-4, atol=1e-5 * float(one.max()))


@pytest.mark.parametrize(("direction", "step"), [("ccw", 1), ("cw", -1)])
def test_scatter_turns_with_the_camera(direction, step):
    """What a view sees of an object, the next one by a quarter sees of the object turned by a quarter."""
    activity, mu = chest((32, 32, 16), 12.0)
    # anterior (+y) goes to the patient's left (-x), which is where a camera that turns ccw goes
    turned, turned_mu = (np.ascontiguousarray(np.rot90(a, 1, axes=(0, 1))) for a in (activity, mu))
    acquisition = orbit(mu.shape, 12.0, views=4, arc_deg=360.0, start_deg=0.0, direction=direction)
    before = scatter_projections(activity, mu, Projector(acquisition, mu))
    after = scatter_projections(turned, turned_mu, Projector(acquisition, turned_mu))
    size = before.square().mean().sqrt()
    assert (torch.roll(before, step, dims=-1) - after).square().mean().sqrt() < 1e-4 * size
    assert (torch.roll(before, -step, dims=-1) - after).square().mean().sqrt() > 0.05 * size


def test_maps_that_do_not_fit_are_refused():
    activity, mu = chest((20, 20, 10), 16.0)
    acquisition = orbit(mu.shape, 16.0, views=2)
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="scatter") as caught:
        monte_carlo(activity[1:], mu, acquisition, histories=100, rng=rng)
    assert "activity" in caught.value.where and "(19, 20, 10)" in caught.value.why
    with pytest.raises(DataError) as caught:
        monte_carlo(activity, mu - 1, acquisition, histories=100, rng=rng)
    assert caught.value.where == "mu"
    with pytest.raises(DataError) as caught:
        monte_carlo(activity, mu, acquisition, histories=1, rng=rng)
    assert caught.value.where == "histories"
    with pytest.raises(DataError) as caught:
        scatter_projections(activity, mu[:, :, 1:], Projector(acquisition, mu))
    assert caught.value.where == "mu"
