"""One patient through the builtin engine and through SIMIND's door: same geometry, head/feet, left/right, rotation."""

from __future__ import annotations

import numpy as np
import pytest

from senmei.core.errors import EngineError
from senmei.core.volume import Volume
from senmei.engines.simind import Settings, check_simind, run_simind, write_inputs
from senmei.engines.simind.orientation import from_map, from_projections, rotation, to_map
from senmei.physics.gamma_camera import GammaCamera
from senmei.physics.spect.geometry import Acquisition
from senmei.physics.spect.projector import Projector
from tests.simind.installation import make_installation

SHAPE, VOXEL = (32, 32, 16), 12.0


def patient(shape=SHAPE, voxel=VOXEL):
    """A torso of water with a lung on the right, and three sources that no turn or mirror brings onto each other."""
    x, y, z = ((np.arange(n) - (n - 1) / 2) * voxel for n in shape)
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    body = (x / 150) ** 2 + (y / 110) ** 2 < 1
    lung = ((x - 70) / 50) ** 2 + ((y + 10) / 60) ** 2 + ((z - 30) / 60) ** 2 < 1
    activity = 0.03 * body.astype(np.float32)
    for place, amount in (((-60, 60, 20), 1.0), ((70, 20, -50), 0.7), ((-20, -70, -10), 0.4)):
        distance = sum((a - b) ** 2 for a, b in zip((x, y, z), place, strict=True))
        activity += amount * (distance < 24**2)
    mu = np.where(lung, 0.04, 0.15) * body
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * voxel for n in shape]
    return Volume(activity.astype(np.float32), affine), Volume(mu.astype(np.float32), affine)


def acquisition(direction="ccw", start=-45.0, arc=180.0, views=12, radius=220.0, **more):
    angles = tuple(start + arc * i / views for i in range(views))
    radii = (radius,) if isinstance(radius, float) else tuple(radius)
    return Acquisition(SHAPE, VOXEL, angles, radii, direction, GammaCamera(**more))


def builtin(geometry, activity, mu):
    return Projector(geometry, mu.data).forward(activity.data).double().numpy()


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    environment = make_installation(tmp_path_factory.mktemp("simind"))
    return environment, check_simind(environment={**environment, "SIMIND_VERSION": "8.0", "PATH": ""})


def through_simind(installation, folder, geometry, settings=None, mode="", monkeypatch=None):
    activity, mu = patient()
    settings = settings or Settings(histories=1e9)
    inputs = write_inputs(folder, activity, mu, geometry.to_dict(), settings)
    if mode:
        monkeypatch.setenv("SIMIND_DOUBLE", mode)
    return run_simind(inputs, installation[1], seed=1)


@pytest.mark.parametrize("direction", ["ccw", "cw"])
@pytest.mark.parametrize("maps", ["int16", "float32"])
def test_agrees_with_the_builtin_engine(installation, tmp_path, direction, maps):
    geometry = acquisition(direction)
    run = through_simind(installation, tmp_path, geometry, Settings(histories=1e9, maps=maps))
    truth = builtin(geometry, *patient())
    assert run.primary.shape == truth.shape == (32, 16, 12)
    assert correlation(run.primary, truth) > 0.99
    # no mirror image, reversal or opposite turn comes near
    for other in (
        run.primary[::-1],
        run.primary[:, ::-1],
        run.primary[:, :, ::-1],
        run.primary[::-1, :, ::-1],
    ):
        assert correlation(other, truth) < 0.9
    # each view by itself: the same share of the counts to 2 %
    shares = [p.sum(axis=(0, 1)) / p.sum() for p in (run.primary, truth)]
    np.testing.assert_allclose(shares[0], shares[1], rtol=0.02)


@pytest.mark.parametrize(
    ("direction", "start", "arc"), [("cw", 0.0, 360.0), ("ccw", 100.0, 204.0), ("cw", -30.0, 90.0)]
)
def test_other_arcs_and_starts(installation, tmp_path, direction, start, arc):
    geometry = acquisition(direction, start, arc)
    run = through_simind(installation, tmp_path, geometry)
    assert correlation(run.primary, builtin(geometry, *patient())) > 0.99


def test_a_noncircular_orbit_keeps_its_radii_with_its_views(installation, tmp_path):
    radius = np.linspace(160.0, 400.0, 12)
    geometry = acquisition("ccw", radius=radius)
    run = through_simind(installation, tmp_path, geometry)
    truth = builtin(geometry, *patient())
    assert correlation(run.primary, truth) > 0.99
    other = builtin(acquisition("ccw", radius=radius[::-1]), *patient())
    assert correlation(run.primary, truth) > correlation(run.primary, other) + 0.005


def test_a_finer_map_than_the_detector(installation, tmp_path):
    geometry = acquisition("cw")
    activity, mu = patient((64, 64, 32), VOXEL / 2)
    inputs = write_inputs(tmp_path, activity, mu, geometry.to_dict(), Settings(histories=1e9))
    run = run_simind(inputs, installation[1], seed=4)
    assert run.primary.shape == (32, 16, 12)
    assert correlation(run.primary, builtin(geometry, *patient())) > 0.98


def test_landmarks_in_single_views(installation, tmp_path):
    """Where a point source must appear: no engine needed to know it."""
    geometry = acquisition("ccw", 0.0, 360.0, 4)
    activity, mu = patient()
    data = np.zeros(SHAPE, np.float32)
    data[6:8, 24:26, 12:14] = 1  # left (x = -108), anterior (y = 108), towards the head (z = 60)
    inputs = write_inputs(
        tmp_path, activity.like(data), mu.like(mu.data * 0), geometry.to_dict(), Settings(histories=1e9)
    )
    run = run_simind(inputs, installation[1], seed=1)
    middle = (np.arange(32) - 15.5) * VOXEL
    place = [
        float((run.primary[:, :, i].sum(axis=1) * middle).sum() / run.primary[:, :, i].sum())
        for i in range(4)
    ]
    # u = x in front, y at the left (theta 90), -x behind, -y at the right
    np.testing.assert_allclose(place, [-108, 108, 108, -108], atol=3)
    height = (run.primary.sum(axis=(0, 2)) * (np.arange(16) - 7.5) * VOXEL).sum() / run.primary.sum()
    assert height == pytest.approx(60, abs=3)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("rows", "rows run the other way"),
        ("turns", "columns run the other way, the camera turns the other way|the camera turns the other way"),
        ("start", "start angle counts the other way"),
    ],
)
def test_another_convention_is_noticed(installation, tmp_path, monkeypatch, mode, said):
    """A SIMIND that does not do what the docstring of orientation.py assumes is refused, not believed."""
    with pytest.raises(EngineError, match="do not lie as Senmei reads them") as caught:
        through_simind(installation, tmp_path, acquisition("ccw"), mode=mode, monkeypatch=monkeypatch)
    assert any(part in caught.value.why for part in said.split("|"))


@pytest.mark.parametrize("direction", ["ccw", "cw"])
def test_a_torso_is_asymmetric_enough(direction):
    """The look at every run, on the study's own phantom with few counts: the right reading passes, no other does."""
    from senmei.engines.simind.plausible import check_orientation, coarse
    from senmei.phantoms.torso import draw_torso, render_torso
    from senmei.physics.spect.geometry import orbit

    torso = render_torso(draw_torso(np.random.default_rng(5)), grid=(40, 40, 26), voxel_mm=10.0)
    geometry = orbit((40, 40, 26), 10.0, views=30, direction=direction)
    mean = builtin(geometry, torso.activity, torso.mu)
    counts = np.random.default_rng(1).poisson(mean * (2e5 / mean.sum()))
    known = coarse(torso.activity, torso.mu), geometry.to_dict(), rotation(geometry.angles_deg, direction)
    assert check_orientation(counts, *known, where="x") > 0.8
    for other in (counts[::-1], counts[:, ::-1], counts[:, :, ::-1]):
        with pytest.raises(EngineError, match="do not lie as Senmei reads them"):
            check_orientation(other, *known, where="x")


def test_a_symmetric_patient_is_let_through():
    from senmei.engines.simind.plausible import check_orientation, coarse

    geometry = acquisition("cw", 0.0, 360.0)
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    even = patient()[0].like(((x / 9) ** 2 + (y / 9) ** 2 + (z / 5) ** 2 < 1).astype(np.float32))
    mu = even.like(0.12 * even.data)
    counts = builtin(geometry, even, mu)
    known = coarse(even, mu), geometry.to_dict(), rotation(geometry.angles_deg, "cw")
    for turned in (counts, counts[::-1], counts[:, ::-1]):
        check_orientation(turned, *known, where="x")


def test_the_start_angle_can_be_counted_the_other_way(installation, tmp_path, monkeypatch):
    geometry = acquisition("ccw")
    settings = Settings(histories=1e9, start_sign=1)
    run = through_simind(installation, tmp_path, geometry, settings, mode="start", monkeypatch=monkeypatch)
    assert correlation(run.primary, builtin(geometry, *patient())) > 0.99


def test_maps_there_and_back():
    data = np.arange(24.0).reshape(2, 3, 4)
    for feet_first in (False, True):
        array = to_map(data, feet_first=feet_first)
        assert array.shape == (4, 3, 2)
        np.testing.assert_array_equal(from_map(array, feet_first=feet_first), data)
    # int16: first slice the head, first row anterior, first column the right
    assert to_map(data)[0, 0, 0] == data[-1, -1, -1]
    assert to_map(data, feet_first=True)[0, 0, 0] == data[-1, -1, 0]


def test_rotation_by_hand():
    turn = rotation([-45 + 3 * i for i in range(60)], "cw")
    assert (turn.views, turn.arc_deg, turn.start_deg, turn.reverse, turn.index30) == (60, 180, 45, False, 1)
    turn = rotation([-45 + 3 * i for i in range(60)], "ccw")
    # its last view, 132, comes first: at -132 in SIMIND, so that index 41 is 132
    assert (turn.start_deg, turn.reverse) == (132, True)
    assert rotation([0, 120, 240], "cw").index30 == 0
    assert rotation([0, 51, 102, 153], "cw").index30 == -204
    array = np.arange(24.0).reshape(4, 3, 2)  # view, row, column
    views = from_projections(array, rotation([0, 10, 20, 30], "ccw"))
    assert views.shape == (2, 3, 4)
    assert (
        views[0, 2, 0] == array[3, 0, 1]
    )  # high v is the first row, low u the last column, first view the last


@pytest.mark.parametrize("angles", [[0, 10, 30], [10, 0], [0, 200, 400]])
def test_orbits_that_simind_cannot_do(angles):
    from senmei.core.errors import ConfigError

    with pytest.raises(ConfigError, match="cannot simulate this orbit"):
        rotation(angles, "cw")
