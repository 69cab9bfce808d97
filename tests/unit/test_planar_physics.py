"""Nuclides, lead and water tables, septal penetration, and the scattering layer against Monte Carlo."""

import numpy as np
import pytest

from senmei.core.errors import ConfigError
from senmei.physics import photons
from senmei.physics.gamma_camera import COLLIMATORS, Collimator, GammaCamera, lead_attenuation
from senmei.physics.planar.layer import layer_scatter
from senmei.physics.planar.nuclides import NUCLIDES, nuclide, water_attenuation
from senmei.physics.planar.septa import minimal_septal_transmission, septal_penetration, transmission
from senmei.physics.spect.monte_carlo import track


@pytest.mark.parametrize(
    ("kev", "lead", "water"),  # NIST XCOM cm²/g at energies that the tables here do not hold
    [(70.8, 3.29, 0.192), (125.0, 3.15, 0.160), (159.0, 1.74, 0.1477), (364.5, 0.275, 0.1100)],
)
def test_attenuation_between_the_tabulated_energies(kev, lead, water):
    assert lead_attenuation(kev) / 11.35 == pytest.approx(lead, rel=0.035)
    assert water_attenuation(kev) == pytest.approx(water, rel=0.006)
    # the Compton and absorption law of `photons` lacks coherent scatter: 3 % of it at 70 keV, less above
    assert 0 <= 1 - photons.attenuation(kev) / water_attenuation(kev) < 0.06


def test_lead_has_its_edge():
    assert lead_attenuation(88.1) / lead_attenuation(88.0) == pytest.approx(4.02, abs=0.02)
    assert lead_attenuation(70.8) < lead_attenuation(89.0)
    assert GammaCamera("LEHR", energy_kev=70.8).resolution_fwhm_mm(100) == pytest.approx(6.96, abs=0.02)


def test_nuclides():
    for name, n in NUCLIDES.items():
        assert nuclide(name) is n
        assert n.decayed(n.half_life_h) == 0.5
        assert n.decayed(-n.half_life_h) == 2.0
        assert 0.1 < n.mu_water_per_cm < 0.2
        assert n.photons_in_window() < sum(share for _, share in n.lines)
    technetium, thallium = NUCLIDES["Tc-99m"], NUCLIDES["Tl-201"]
    assert technetium.photons_in_window() == pytest.approx(0.89 * 0.9815, rel=1e-3)
    assert sum(share for _, share in thallium.lines) == pytest.approx(0.944)
    assert thallium.photons_in_window(0.2) < thallium.photons_in_window(0.3)
    # mean over the acquisition: the integral of the decay
    seconds = np.linspace(0, 7200, 20001)
    mean = np.mean([technetium.decayed(s / 3600) for s in seconds])
    assert technetium.mean_activity(7200) == pytest.approx(mean, rel=1e-4)
    assert technetium.mean_activity(0) == 1.0
    with pytest.raises(ConfigError, match="unknown nuclide 'Tc99m'") as caught:
        nuclide("Tc99m")
    assert "did you mean 'Tc-99m'?" in str(caught.value)


def test_rays_through_opaque_lead_give_the_geometric_efficiency():
    """Hexagons of area A in cells of area C, holes of length l: A² / (C 4π l²) of all photons pass, by geometry."""
    c = Collimator("thick", 3.0, 0.6, 30.0)
    along, passed = transmission(c, 1e9)
    tangent = along / c.length_mm
    solid = passed * tangent / 2 / (1 + tangent**2) ** 1.5
    seen = np.trapezoid(solid, tangent)
    hexagon = np.sqrt(0.75)
    by_hand = (hexagon * 9.0) ** 2 / (hexagon * 3.6**2) / (4 * np.pi * 900.0)
    assert seen == pytest.approx(by_hand, rel=0.08)  # a finite number of rays and steps
    assert passed[0] == pytest.approx((3.0 / 3.6) ** 2, rel=0.06)
    assert passed[tangent > 2 / np.sqrt(3) * 3.0 / 30.0 * 1.01].max() == 0


def test_penetration_by_energy_and_collimator():
    for name in ("ME", "HE"):
        assert septal_penetration(name, 140.5).share < 1e-3
    low = septal_penetration("LEHR", 140.5)
    assert 0.008 < low.share < 0.03
    assert septal_penetration("LEHR", 70.8).share < low.share  # lead's edge or not, X-rays are softer
    iodine = septal_penetration("LEHR", 159.0)
    assert 0.08 < iodine.share < 0.15
    assert NUCLIDES["I-123"].penetration("LEHR") == iodine.share
    assert iodine.tangent > low.tangent
    assert septal_penetration("LEHR", 364.5).share > 0.95
    assert septal_penetration("HE", 364.5).share < septal_penetration("ME", 364.5).share < 0.7
    assert iodine.fwhm_mm(100.0, 24.05) == pytest.approx(2 * 124.05 * iodine.tangent)
    with pytest.raises(ConfigError, match="unknown collimator"):
        septal_penetration("LEHS", 140.5)


def test_rule_of_the_shortest_septal_path():
    c = COLLIMATORS["LEHR"]
    path_cm = c.septa_mm * c.length_mm / (2 * c.hole_mm + c.septa_mm) / 10
    assert minimal_septal_transmission("LEHR", 140.5) == pytest.approx(np.exp(-27.3 * path_cm))
    # low-energy collimators are made to keep it below 5 % for Tc-99m, high-energy ones for I-131
    assert minimal_septal_transmission("LEAP", 140.5) < 0.05
    assert minimal_septal_transmission("HE", 364.5) < 0.05 < minimal_septal_transmission("ME", 364.5)


def slab_by_monte_carlo(n, thickness_mm, histories):
    """Of a point under a slab, by the photons of SPECT: scattered over unscattered counts; the radius in mm that half
    of the scattered lie within, and their shares within half and twice as much.
    """
    voxel, wide = 2.5, 121
    deep = round(thickness_mm / voxel)
    mu = np.zeros((wide, wide, deep + 1))
    mu[..., 1:] = photons.attenuation(n.energy_kev)
    point = np.zeros_like(mu)
    point[wide // 2, wide // 2, 0] = 1.0  # in air, under the slab
    rng = np.random.default_rng(1)
    own = photons.window_acceptance(n.energy_kev, n.energy_kev, n.window, n.energy_resolution)
    radii, counts = [], []
    lowest = n.energy_kev * (1 - n.window)
    for s in track(point, mu, voxel, n.energy_kev, histories=histories, rng=rng, orders=4, lowest_kev=lowest):
        x, y, z = np.unravel_index(s.voxel, mu.shape)
        cosine = s.direction[:, 2]
        left = photons.compton_energy(s.energy_kev, cosine)
        density = photons.klein_nishina(s.energy_kev, cosine) / photons.compton_cross_section(s.energy_kev)
        accepted = photons.window_acceptance(left, n.energy_kev, n.window, n.energy_resolution) / own
        above_cm = (deep + 0.5 - z) * voxel / 10
        counts.append(s.weight * density * accepted * np.exp(-photons.attenuation(left) * above_cm))
        jitter = rng.random((2, len(x))) - 0.5
        radii.append(np.hypot(x - wide // 2 + jitter[0], y - wide // 2 + jitter[1]) * voxel)
    unscattered = np.exp(-photons.attenuation(n.energy_kev) * deep * voxel / 10) / (4 * np.pi)
    radius, count = np.concatenate(radii), np.concatenate(counts)
    order = np.argsort(radius)
    so_far = np.cumsum(count[order])
    half = float(np.interp(so_far[-1] / 2, so_far, radius[order]))
    near, far = (np.interp(r * half, radius[order], so_far / so_far[-1]) for r in (0.5, 2.0))
    return so_far[-1] / unscattered, half, near, far


@pytest.mark.parametrize(
    ("name", "thickness"), [("Tc-99m", 50.0), ("I-123", 100.0), ("Tl-201", 50.0), ("I-131", 100.0)]
)
def test_layer_against_monte_carlo(name, thickness):
    n = NUCLIDES[name]
    ratio, half, near, far = slab_by_monte_carlo(n, thickness, 60_000)
    layer = layer_scatter(n.energy_kev, n.window, n.energy_resolution, thickness)
    assert layer.to_primary == pytest.approx(ratio, rel=0.07)
    assert layer.fwhm_mm == pytest.approx(2 * half, rel=0.15 if name == "Tl-201" else 0.08)
    # a Gaussian has 16 % within half its half radius, and 94 % within twice: the true spread is broader both ways
    assert 0.16 < near < 0.34
    assert 0.68 < far < 0.94


def test_layer():
    n = NUCLIDES["Tc-99m"]
    assert layer_scatter(n.energy_kev, n.window, n.energy_resolution, 0.0) == (0.0, 0.0)
    thin, thick = (layer_scatter(n.energy_kev, n.window, n.energy_resolution, t) for t in (10.0, 100.0))
    assert thin.to_primary == pytest.approx(0.066, rel=0.03)
    assert thick.to_primary == pytest.approx(0.62, rel=0.03)
    assert 8 < thick.fwhm_mm / thin.fwhm_mm < 10  # a little less than in proportion
    narrow = layer_scatter(n.energy_kev, 0.10, n.energy_resolution, 100.0)
    assert narrow.to_primary < 0.65 * thick.to_primary
