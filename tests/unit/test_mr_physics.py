"""Contrast, bias, noise, coils, k-space, GRAPPA, motion, lesions, white-matter level."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.phantoms.head import build_head, draw_head
from senmei.physics.bias import apply_bias, draw_bias
from senmei.physics.coils import birdcage_maps, coil_covariance
from senmei.physics.contrast import apply_appearance, draw_appearance, draw_physical, render_t1w
from senmei.physics.fields import band_noise, bspline_matrix, correlated_noise, smooth_field
from senmei.physics.grappa import acquire_grappa, grappa_fill
from senmei.physics.intensity import white_matter_level
from senmei.physics.kspace import KSpace, sampled_lines, to_image, to_kspace
from senmei.physics.lesion import plant_lesion
from senmei.physics.motion import Motion, apply_motion, draw_motion, inverse
from senmei.physics.rician import apply_rician
from senmei.physics.steady_state import PD, SEQUENCES, Sequence, signal, tissue_means

DATA = Path(os.environ.get("SENMEI_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@pytest.fixture(scope="module")
def head():
    return build_head(draw_head(np.random.default_rng(1)), 3.0, skull=True)


@pytest.fixture(scope="module")
def brain():
    return build_head(draw_head(np.random.default_rng(2)), 3.0, skull=False)


@pytest.fixture(scope="module")
def image(brain):
    return render_t1w(brain, 3.0, np.random.default_rng(0))


# contrast


def test_spoiled_gradient_echo_is_ernst():
    s = Sequence(flip=20, echo=4, echo_spacing=20)
    a, e1 = np.deg2rad(20), np.exp(-20 / 800)
    expected = 0.7 * np.sin(a) * (1 - e1) / (1 - np.cos(a) * e1) * np.exp(-4 / 50)
    assert signal(np.array(800.0), np.array(50.0), np.array(0.7), s) == pytest.approx(expected, rel=1e-9)


def test_mprage_agrees_with_a_pulse_by_pulse_simulation():
    s, t1 = SEQUENCES[3.0], 1200.0
    a, m, seen = np.deg2rad(s.flip), 1.0, 0.0

    def relax(m, t):
        return 1 + (m - 1) * np.exp(-t / t1)

    half = s.pulses * s.echo_spacing / 2
    for _ in range(20):
        m = relax(-s.efficiency * m, s.inversion - half)
        for pulse in range(s.pulses):
            if pulse == s.pulses // 2:
                seen = m
            m = relax(m * np.cos(a), s.echo_spacing)
        m = relax(m, s.cycle - s.inversion - half)
    assert signal(t1, 1e9, 1.0, s) == pytest.approx(abs(seen) * np.sin(a), rel=0.02)


@pytest.mark.parametrize("tesla", [1.5, 3.0, 7.0])
def test_tissues_are_ordered_as_in_t1_weighting(tesla):
    m = tissue_means(tesla)
    assert set(m) == set(PD) and m["white"] == 1
    assert m["csf"] < m["grey"] < m["deep_grey"] < 1
    assert m["bone"] < 0.2


def test_render_shows_the_labels(head):
    by_field = {}
    for tesla in (1.5, 3.0, 7.0):
        v = render_t1w(head, tesla, np.random.default_rng(0))
        assert v.data.dtype == np.float32 and v.data.min() >= 0 and np.allclose(v.affine, head.affine)
        core = {t: v.data[head.fractions[t] > 0.9] for t in (1, 2, 3)}
        assert np.median(v.data[head.labels.data == 3]) == pytest.approx(1000, rel=1e-4)
        assert core[1].mean() < core[2].mean() < core[3].mean()
        by_field[tesla] = core[2].mean()
        assert 0.005 < core[3].std() / core[3].mean() < 0.12  # heterogeneous, not noisy
    assert len({round(x) for x in by_field.values()}) == 3


def test_appearance_is_drawn_then_applied(head):
    a = draw_appearance(np.random.default_rng(4))
    one, two = apply_appearance(head, a), apply_appearance(head, a)
    assert np.array_equal(one.data, two.data)
    other = apply_appearance(head, draw_appearance(np.random.default_rng(5)))
    assert not np.allclose(one.data, other.data)
    for seed in range(20):
        m = draw_appearance(np.random.default_rng(seed)).means
        assert m["csf"] < m["grey"] < m["deep_grey"] < m["white"]
    assert draw_physical(np.random.default_rng(1), 3.0).means["white"] == 1


def test_unknown_field_and_impossible_sequence():
    with pytest.raises(ConfigError, match="No relaxation times at 2 T"):
        tissue_means(2)
    with pytest.raises(ConfigError, match="Cannot play the sequence"):
        signal(1000.0, 50.0, 1.0, Sequence(9, 3, 7, inversion=100, cycle=2000, pulses=200))


# fields, bias, noise


def test_fields():
    assert np.allclose(bspline_matrix(6, 17).sum(1), 1, atol=1e-6)
    assert np.allclose(smooth_field(np.ones((5, 6, 7)), (9, 8, 11)), 1, atol=1e-5)
    rng = np.random.default_rng(0)
    assert correlated_noise((20, 20, 20), 3, rng).std() == pytest.approx(1, abs=1e-4)
    wave = band_noise((48, 48, 48), 8.0, 0.1, rng)
    power = np.abs(np.fft.rfftn(wave)) ** 2
    k = np.sqrt(
        sum(
            np.meshgrid(
                *[f**2 for f in (np.fft.fftfreq(48), np.fft.fftfreq(48), np.fft.rfftfreq(48))], indexing="ij"
            )
        )
    )
    assert (power * k).sum() / power.sum() == pytest.approx(1 / 8, rel=0.1)


def test_bias_is_smooth_positive_and_has_unit_mean(image, brain):
    flat = Volume(np.where(brain.labels.data > 0, 1000, 0).astype(np.float32), image.affine)
    out = apply_bias(flat, draw_bias(np.random.default_rng(1), 0.2)).data
    inside = flat.data > 0
    assert out[inside].mean() == pytest.approx(1000, rel=1e-3) and out[inside].min() > 0
    assert 0.04 < out[inside].std() / 1000 < 0.4
    assert np.array_equal(out[~inside], flat.data[~inside])
    step = np.abs(np.diff(out, axis=0))[inside[1:] & inside[:-1]]
    assert step.max() < 60


def test_rician_mean_and_second_moment():
    rng = np.random.default_rng(0)
    air = apply_rician(np.zeros(400_000, np.float32), 10.0, rng)
    assert air.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.01)
    assert air.var() == pytest.approx(100 * (2 - np.pi / 2), rel=0.01)
    tissue = apply_rician(np.full(400_000, 50.0, np.float32), 10.0, rng)
    assert (tissue.astype(float) ** 2).mean() == pytest.approx(50**2 + 2 * 100, rel=0.005)
    assert tissue.dtype == np.float32
    varying = apply_rician(np.full((2, 100_000), 1000.0), np.array([[10.0], [40.0]]), rng)
    assert varying.std(1) == pytest.approx([10, 40], rel=0.02)


# coils, k-space, GRAPPA


def test_fourier_transform_is_unitary():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 8, 3)) + 1j * rng.standard_normal((9, 8, 3))
    assert np.allclose(to_image(to_kspace(x)), x)
    assert np.linalg.norm(to_kspace(x)) == pytest.approx(np.linalg.norm(x))


@pytest.mark.parametrize("shape", [(16, 20, 3), (15, 21, 2)])
def test_kspace_adjoint(shape):
    rng = np.random.default_rng(1)
    maps = birdcage_maps(6, shape)
    a = KSpace(maps, sampled_lines(shape[1], 2, 6))
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    y = rng.standard_normal(maps.shape) + 1j * rng.standard_normal(maps.shape)
    left, right = np.vdot(y, a.forward(x)), np.vdot(a.adjoint(y), x)
    assert abs(left - right) < 1e-5 * abs(left)


def test_coils():
    maps = birdcage_maps(8, (20, 24, 10), (2.0, 2.0, 2.0))
    assert maps.dtype == np.complex64
    assert np.allclose((np.abs(maps) ** 2).sum(0), 1, atol=1e-5)
    peak = np.abs(maps[:, :, :, 5]).reshape(8, -1).argmax(1)
    assert len(set(peak.tolist())) == 8  # each coil sees its own side best
    two = birdcage_maps(8, (20, 24, 10), rings=2)
    assert np.abs(two[:4, ..., 0]).mean() > np.abs(two[:4, ..., -1]).mean()
    covariance = coil_covariance(8)
    assert np.linalg.eigvalsh(covariance).min() > 0 and np.allclose(np.diag(covariance), 1)
    with pytest.raises(ValueError, match="multiple"):
        birdcage_maps(5, (4, 4, 4), rings=2)


def test_sampled_lines():
    mask = sampled_lines(21, 2, 6)
    assert mask[10] and mask[7:13].all() and mask.sum() == 11 + 3
    assert sampled_lines(20, 1, 0).all()


@pytest.fixture(scope="module")
def slab(image):
    z = image.shape[2] // 2
    return Volume(image.data[:, :, z : z + 4], image.affine)


def test_full_sampling_without_noise_is_the_identity(slab):
    out = acquire_grappa(slab, 0.0, np.random.default_rng(0), acceleration=1)
    assert np.abs(out.data - slab.data).max() < 1e-3 * slab.data.max() and out.data.dtype == np.float32


def test_grappa_without_noise_is_nearly_exact(slab):
    out = acquire_grappa(slab, 0.0, np.random.default_rng(0), acceleration=2).data
    error = np.sqrt(((out - slab.data) ** 2).mean() / (slab.data**2).mean())
    maps = birdcage_maps(8, slab.shape, slab.voxel)
    a = KSpace(maps, sampled_lines(slab.shape[1], 2, 24))
    unfilled = np.abs(a.adjoint(a.forward(slab.data)))
    folded = np.sqrt(((unfilled - slab.data) ** 2).mean() / (slab.data**2).mean())
    assert error < 0.03 and folded > 5 * error


def test_grappa_keeps_measured_lines(slab):
    maps = birdcage_maps(8, slab.shape, slab.voxel)
    mask = sampled_lines(slab.shape[1], 2, 24)
    k = KSpace(maps, mask).forward(slab.data).astype(np.complex64)
    filled = grappa_fill(k, mask, 2, 24)
    assert np.array_equal(filled[:, :, mask], k[:, :, mask])
    full = KSpace(maps, np.ones_like(mask)).forward(slab.data)
    assert np.linalg.norm(filled - full) < 0.05 * np.linalg.norm(full)


def test_grappa_noise_varies_in_space_and_is_correlated(slab):
    def spread(r):
        runs = np.stack(
            [acquire_grappa(slab, 20.0, np.random.default_rng(s), r, acs=16).data for s in range(24)]
        )
        return runs, runs.std(0, ddof=1)

    inside = slab.data > 600
    full, sd1 = spread(1)
    fast, sd2 = spread(2)
    assert np.sqrt((sd1[inside] ** 2).mean()) == pytest.approx(20, rel=0.15)
    assert np.median(sd2[inside]) > 1.2 * np.median(sd1[inside])

    def unevenness(sd):  # of the smoothed map: 24 samples alone would scatter each voxel by 15 %
        smooth = ndimage.gaussian_filter(np.where(inside, sd, sd[inside].mean()), 2)[inside]
        return smooth.std() / smooth.mean()

    assert unevenness(sd2) > 1.5 * unevenness(sd1)

    def fold(runs):  # correlation with the place half a field of view away, from which noise is folded in
        n = runs - runs.mean(0)
        ny = n.shape[2]
        both = inside[:, : ny // 2] & inside[:, ny // 2 : ny // 2 * 2]
        a, b = n[:, :, : ny // 2][:, both], n[:, :, ny // 2 : ny // 2 * 2][:, both]
        return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))

    assert abs(fold(fast)) > 3 * abs(fold(full)) and abs(fold(fast)) > 0.05


def test_grappa_refuses_a_field_of_view_without_room(slab):
    tiny = Volume(slab.data[:, :20], slab.affine)
    with pytest.raises(ConfigError, match="Cannot accelerate"):
        acquire_grappa(tiny, 0.0, np.random.default_rng(0), acceleration=2)
    with pytest.raises(ConfigError, match="Cannot calibrate GRAPPA"):
        acquire_grappa(slab, 0.0, np.random.default_rng(0), acceleration=2, acs=6)


# white-matter level


@pytest.mark.parametrize("tesla", [1.5, 3.0, 7.0])
@pytest.mark.parametrize("skull", [True, False])
def test_white_matter_level(tesla, skull, head, brain):
    h = head if skull else brain
    clean = apply_bias(
        render_t1w(h, tesla, np.random.default_rng(3)), draw_bias(np.random.default_rng(1), 0.05)
    ).data
    truth = np.median(clean[h.labels.data == 3])
    level = white_matter_level(clean)
    assert level == pytest.approx(truth, rel=0.05)
    for percent in (5, 15):
        noisy = apply_rician(clean, percent / 100 * level, np.random.default_rng(0))
        assert white_matter_level(noisy) == pytest.approx(level, rel=0.05)
    assert white_matter_level(clean * 0.01) == pytest.approx(0.01 * level, rel=1e-3)
    assert white_matter_level(clean, np.isin(h.labels.data, (1, 2, 3, 4))) == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(("name", "low", "high"), [("colin27", 105, 118), ("mni", 7000, 7900)])
def test_white_matter_level_of_real_scans(name, low, high):
    path = DATA / "t1" / f"{name}.nii.gz"
    if not path.exists():
        pytest.skip(f"real scans are not at {DATA}")
    import nibabel

    data = nibabel.load(path).get_fdata(dtype=np.float32)
    level = white_matter_level(data)
    assert low < level < high
    noisy = apply_rician(data, 0.15 * level, np.random.default_rng(0))
    assert white_matter_level(noisy) == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (np.full((8, 8, 8), 7.0), "constant: every voxel is 7"),
        (np.zeros((0, 4, 4)), "no voxels"),
        (np.zeros((4, 4)), "2 dimensions"),
        (np.where(np.arange(512).reshape(8, 8, 8) == 3, np.nan, 1.0), "NaN"),
        (np.eye(12)[None].repeat(12, 0) * (np.arange(12) < 1), "stands out"),
    ],
)
def test_white_matter_level_refuses(data, why):
    with pytest.raises(DataError) as e:
        white_matter_level(data)
    assert why in str(e.value) and "white-matter level" in str(e.value)
    with pytest.raises(DataError, match="white-matter level"):
        white_matter_level(np.random.default_rng(0).random((8, 8, 8)), np.zeros((8, 8, 8)))


# motion, lesion


def test_motion_is_invertible(image):
    motion = draw_motion(np.random.default_rng(2), 2.0, 3.0)
    both = motion.matrix() @ inverse(motion).matrix()
    assert np.allclose(both, np.eye(4), atol=1e-9)
    back = apply_motion(apply_motion(image, motion), inverse(motion)).data
    moved = apply_motion(image, motion).data
    assert np.abs(back - image.data).mean() < 0.35 * np.abs(moved - image.data).mean()
    still = apply_motion(image, Motion((0, 0, 0), (0, 0, 0)))
    assert np.allclose(still.data, image.data, atol=0.5)


def test_motion_moves_by_what_it_says(image):
    moved = apply_motion(image, Motion((3.0, 0.0, -6.0), (0, 0, 0))).data  # voxels of 3 mm: one and minus two
    assert np.allclose(moved[1:, :, :-2], image.data[:-1, :, 2:], atol=0.5)


def test_motion_keeps_labels_exact(brain):
    moved = apply_motion(brain.labels, Motion((1.0, -2.0, 0.5), (2, 1, -1)))
    assert moved.data.dtype == np.uint8 and set(np.unique(moved.data)) <= set(np.unique(brain.labels.data))
    assert (moved.data == 3).sum() == pytest.approx((brain.labels.data == 3).sum(), rel=0.03)


def test_lesion_lies_in_white_matter(image, brain):
    changed, lesion = plant_lesion(image, brain.labels, np.random.default_rng(0), 5.0, -0.3)
    inside = lesion.data > 0
    assert lesion.data.dtype == np.uint8 and (brain.labels.data[inside] == 3).all()
    assert inside.sum() * 27 == pytest.approx(4 / 3 * np.pi * 125, rel=0.35)
    level = np.median(image.data[brain.labels.data == 3])
    core = (changed.data - image.data)[inside]
    assert core.min() == pytest.approx(-0.3 * level, rel=1e-3)
    far = ndimage.distance_transform_edt(~inside) > 1.8
    assert np.array_equal(changed.data[far], image.data[far])
    again = plant_lesion(image, brain.labels, np.random.default_rng(0), 5.0, -0.3)[1]
    assert np.array_equal(again.data, lesion.data)


def test_lesion_without_labels_goes_where_white_matter_is(image, brain):
    mask = brain.labels.like((brain.labels.data > 0).astype(np.uint8))
    _, lesion = plant_lesion(image, mask, np.random.default_rng(3), 4.0, 0.2)
    assert (brain.labels.data[lesion.data > 0] == 3).mean() > 0.8


def test_lesion_without_room_is_refused(image, brain):
    with pytest.raises(DataError, match="Cannot plant a lesion") as e:
        plant_lesion(image, brain.labels, np.random.default_rng(0), 60.0, -0.3)
    assert "radius 60 mm" in str(e.value)
