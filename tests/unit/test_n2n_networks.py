"""Denoisers trained on noisy pairs alone: they learn what they never saw, keep counts, resume, and refuse nonsense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.methods.unet3d_n2n import PairUNet, UNet3DN2N
from senmei.methods.unet_projections import UNetProjections, closed, spread
from senmei.methods.win5rb import WIN, WIN5RB
from senmei.physics.spect.geometry import orbit
from senmei.training.pairs import (
    PairSampling,
    PairScan,
    PairSource,
    image_scale,
    interesting,
    noise_level,
)

SHAPE = (32, 32, 20)
AFFINE = np.diag([6.4, 6.4, 6.4, 1.0])
UNET: dict[str, Any] = {"channels": 8, "depth": 2, "batch": 2, "patch": 16}
WIN5: dict[str, Any] = {"channels": 8, "kernel": 3, "batch": 4, "patch": 16}
BOTH = ((UNet3DN2N, UNET), (WIN5RB, WIN5))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clean(seed):
    """A body with a bright shell (heart wall) somewhere in it, blurred as a camera would."""
    rng = np.random.default_rng([7, seed])
    x, y, z = np.indices(SHAPE).astype(np.float32)
    body = ((x - 15.5) / 15) ** 2 + ((y - 15.5) / 12) ** 2 < 1
    centre = rng.uniform(-2, 2, 3) + np.array([12, 18, 10])
    r = np.sqrt(sum((a - c) ** 2 for a, c in zip((x, y, z), centre, strict=True)))
    shell = (r < 6) & (r > rng.uniform(3, 4))
    return ndimage.gaussian_filter(0.2 * body + 0.8 * shell, 0.8).astype(np.float32)


def noisy(image, seed, strength=0.15):
    """Correlated noise whose variance follows the image, mean zero."""
    rng = np.random.default_rng([8, seed])
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), 0.6)
    return (image + strength * np.sqrt(image) * noise / noise.std()).astype(np.float32)


def example(subject, k=2, roles=("noisy", "repeat", "input"), unit=1.0, **columns):
    """One scan: no role of it is free of noise."""
    image = clean(subject)
    one, two = (
        np.stack([unit * noisy(image, 100 * subject + 10 * side + i) for i in range(k)], -1)
        for side in (0, 1)
    )
    known = {
        "noisy": Volume(one, AFFINE),
        "repeat": Volume(two, AFFINE),
        "input": Volume(one[..., 0].copy(), AFFINE),
    }
    scan = {"scan": f"s{subject}", "counts": 750000, "pair_counts": "750000", **columns}
    return Example(scan, {name: known[name] for name in roles})


def pairs(subjects):
    return [example(s, roles=("noisy", "repeat")) for s in subjects]


def fit(method, tmp_path=None, log=None, seed=1, train=(0, 1)):
    lines = [] if log is None else log
    checkpoint = None if tmp_path is None else tmp_path / "checkpoint.pt"
    context = FitContext(seed=seed, checkpoint=checkpoint, log=lines.append)
    return method.fit(pairs(train), pairs([50]), context), context


def error(image, truth):
    inside = truth > 0.3
    return float(np.sqrt(np.mean((image - truth)[inside] ** 2)))


@pytest.fixture(scope="module", params=["unet", "win1", "win3"])
def learned(request):
    """Trained for two or three seconds on ten subjects."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    method = {
        "unet": lambda: UNet3DN2N(**UNET, steps=180, learning_rate=4e-3),
        "win1": lambda: WIN5RB(**WIN5, steps=200, learning_rate=3e-3),
        "win3": lambda: WIN5RB(**WIN5, steps=200, learning_rate=3e-3, context=3),
    }[request.param]()
    weights, context = fit(method, train=range(10))
    method.load(weights)
    torch.set_num_threads(before)
    return request.param, method, weights, context


def test_it_learns_the_clean_image_that_it_never_saw(learned):
    name, method, _, context = learned
    assert context.history[-1]["val_psnr"] > context.history[0]["val_psnr"]
    before, after = [], []
    for subject in range(60, 64):
        case = example(subject, roles=("input",))
        restored = method.apply(case).data
        before.append(error(case["input"].data, clean(subject)))
        after.append(error(restored, clean(subject)))
    assert np.mean(after) < {"unet": 0.65, "win1": 0.9, "win3": 0.85}[name] * np.mean(before), (before, after)


def test_counts_are_kept_in_all_and_in_the_bright_part(learned):
    """Nothing forces them: an estimate of the mean has the mean's counts."""
    name, method, _, _ = learned
    total, wall = [], []
    for subject in range(60, 68):
        case, truth = example(subject, roles=("input",)), clean(subject)
        restored = method.apply(case).data
        total.append(restored.sum() / truth.sum() - 1)
        wall.append(restored[truth > 0.3].sum() / truth[truth > 0.3].sum() - 1)
    assert abs(np.mean(total)) < (0.02 if name == "unet" else 0.04), total
    assert abs(np.mean(wall)) < (0.02 if name == "unet" else 0.05), wall


def test_unit_of_the_image_does_not_matter(learned):
    _, method, _, _ = learned
    one, other = (method.apply(example(70, roles=("input",), unit=u)).data for u in (1.0, 512.0))
    np.testing.assert_allclose(other / 512, one, atol=2e-3)


def test_statistics_are_frozen_when_applied(learned):
    name, method, weights, _ = learned
    network = method.fitted()
    assert not any(m.training for m in network.modules())
    case = example(61, roles=("input",))
    first = method.apply(case).data
    method.apply(example(62, roles=("input",)))
    np.testing.assert_array_equal(method.apply(case).data, first)
    assert all(np.array_equal(v.numpy(), weights[k]) for k, v in network.state_dict().items())
    if name != "unet":
        variances = [v for k, v in weights.items() if k.endswith("running_var")]
        assert len(variances) == 5
        assert not any(
            np.allclose(v, 1.0) for v in variances[1:]
        )  # those of the averaged weights, not the first


def test_weights_survive_safetensors(learned, tmp_path):
    from safetensors.numpy import load_file, save_file

    name, method, weights, _ = learned
    save_file(dict(weights), str(tmp_path / "w.safetensors"))
    again = UNet3DN2N(**UNET) if name == "unet" else WIN5RB(**WIN5, context=int(name[-1]))
    again.load(load_file(str(tmp_path / "w.safetensors")))
    case = example(63, roles=("input",))
    np.testing.assert_array_equal(method.apply(case).data, again.apply(case).data)


@pytest.mark.parametrize(("method", "small"), BOTH)
def test_no_clean_role_is_asked_for_or_looked_at(method, small):
    for roles in (method.needs, method.tunes_on):
        assert roles == ("noisy", "repeat")
    assert method.inputs == ("input",)
    assert method.family == "learned"

    class Watched(Example):
        asked: set[str] = set()

        def __getitem__(self, role):
            self.asked.add(role)
            return super().__getitem__(role)

    cases = [Watched(e.scan, {r: e[r] for r in e.roles}) for e in pairs([0, 50])]
    method(**small, steps=2).fit(cases[:1], cases[1:], FitContext(log=lambda line: None))
    assert Watched.asked == {"noisy", "repeat"}


@pytest.mark.parametrize(("method", "small"), BOTH)
def test_same_seed_same_weights_and_other_seed_others(method, small):
    before = torch.random.get_rng_state()
    first, second, other = (fit(method(**small, steps=3), seed=s)[0] for s in (1, 1, 2))
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("method", "small"), BOTH)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_killed_training_resumes_to_identical_weights(method, small, precision, tmp_path, monkeypatch):
    import senmei.methods.noisy_pairs as module

    make = lambda: method(**small, steps=9, precision=precision)  # noqa: E731
    whole, told = fit(make())
    real = module.train_loop
    for stop in (2, 4):
        monkeypatch.setattr(module, "train_loop", lambda *a, _n=stop: real(*a, stop_after=_n))
        fit(make(), tmp_path)
    monkeypatch.setattr(module, "train_loop", real)
    log = []
    resumed, context = fit(make(), tmp_path, log)
    assert any(line.startswith("resuming after step 6 of 9") for line in log)
    assert all(whole[k].tobytes() == resumed[k].tobytes() for k in whole)
    assert context.history == told.history


def test_batch_depends_on_seed_and_number_alone():
    scans = [
        PairScan(*(np.moveaxis(e[r].data, 3, 0) for r in ("noisy", "repeat")), 1.2) for e in pairs([0, 1])
    ]
    sampling = PairSampling((16, 16, 8), 3)
    one, two = PairSource(scans, sampling, 7), PairSource(scans, sampling, 7)
    for t in (5, 0, 3):
        one.batch(t)
    a, b, c = one.batch(3), two.batch(3), one.batch(4)
    assert torch.equal(a.noisy, b.noisy)
    assert torch.equal(a.target, b.target)
    assert not torch.equal(a.noisy, c.noisy)
    assert a.noisy.shape == a.target.shape == (3, 1, 16, 16, 8)
    assert a.level.flatten().tolist() == pytest.approx([1.2] * 3)
    assert one.fingerprint() == two.fingerprint() != PairSource(scans[:1], sampling, 7).fingerprint()


def test_the_two_of_a_pair_lie_in_the_same_place_and_noise_is_independent():
    image = clean(3)
    scan = PairScan(np.stack([image, image]), np.stack([image, image]), 1.0, (6.4, 6.4, 6.4))
    batch = PairSource([scan], PairSampling((16, 16, 16), 8), 0).batch(0)
    assert torch.equal(batch.noisy, batch.target)  # mirrored, turned and scaled alike
    scan = PairScan(*(np.stack([noisy(image, s)]) for s in (1, 2)), 1.0)
    batch = PairSource([scan], PairSampling((16, 16, 16), 64, mirror=False, gain=0.0), 0).batch(0)
    a, b = (x - x.mean() for x in (batch.noisy, batch.target))
    assert not torch.equal(batch.noisy, batch.target)
    both = (a - b).var() / 2  # the noise alone
    clean_part = ((a + b) / 2).var() - both / 2
    assert float((a * b).mean()) == pytest.approx(float(clean_part), rel=0.05)


def test_patches_are_drawn_around_what_looks_like_a_ventricle():
    for subject in range(3):
        image = noisy(clean(subject), 5)
        image[24:28, 4:8, :] *= 12  # a hot organ elsewhere
        chance = interesting(image, image_scale(image), (6.4, 6.4, 6.4), 1.0)
        assert chance.shape == (16, 16, 10)
        assert chance.sum() == pytest.approx(1)
        middle = ndimage.center_of_mass(clean(subject) > 0.4)
        index = np.indices(chance.shape).reshape(3, -1).T * 2 + 0.5
        near = np.linalg.norm(index - middle, axis=1) < 6
        assert chance.reshape(-1)[near].sum() > 0.6
    even = interesting(image, image_scale(image), (6.4, 6.4, 6.4), 0.0)
    assert (even > 0).any()
    assert np.ptp(even[even > 0]) == pytest.approx(0)


def test_small_and_flat_images_are_mirrored_to_a_patch():
    image = np.ones((1, 9, 30, 1), np.float32)
    batch = PairSource([PairScan(image, image, 1.0)], PairSampling((16, 16, 8), 2), 0).batch(0)
    assert batch.noisy.shape == (2, 1, 16, 16, 8)
    with pytest.raises(ValueError, match="no value above zero"):
        PairSource([PairScan(0 * image, 0 * image, 1.0)], PairSampling((16, 16, 8), 2), 0)


def test_win_is_as_published():
    network = WIN(128, 7, 5, 1)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [
        (1, 128, (7, 7)), *[(128, 128, (7, 7))] * 3, (128, 1, (7, 7)),
    ]  # fmt: skip
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) == 5
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.42e6, rel=0.01)


@pytest.mark.parametrize("context", [1, 3, 5])
def test_slices_with_and_without_neighbours(context):
    torch.manual_seed(0)
    method = WIN5RB(channels=4, kernel=3, context=context, precision="float32")
    network = method.network().eval()
    x = torch.rand(2, 1, 12, 10, 9)
    out = network(x)
    assert out.shape == (2, 1, 12, 10, 9 - context + 1)
    side = context // 2
    moved = x.clone()
    moved[..., 0] += 1  # seen by slices up to `side` away
    changed = (network(moved) != out).flatten(0, 3).any(0)
    assert changed.tolist() == [i <= 0 for i in range(out.shape[-1])]
    whole = method.restore(network, x[0, 0].numpy(), 1.0, "cpu")
    assert whole.shape == (12, 10, 9)
    np.testing.assert_allclose(whole[..., side : 9 - side], out[0, 0].detach().numpy(), atol=1e-5)
    air = np.zeros((12, 10, 9), np.float32)
    np.testing.assert_array_equal(method.restore(network, air, 1.0, "cpu"), air)


def test_unet_tiles_equal_the_whole_and_heed_the_level():
    torch.manual_seed(0)
    method = UNet3DN2N(channels=4, depth=2, patch=16, tile=1, precision="float32")
    whole = UNet3DN2N(channels=4, depth=2, patch=16, precision="float32")
    network = method.network()
    with torch.no_grad():
        network.last.weight.mul_(20)
    data = np.random.default_rng(0).random((53, 20, 70), np.float32)
    one, other = (m.restore(network, data, 1.2, "cpu") for m in (method, whole))
    assert np.abs(one - data).max() > 0.01
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.abs(whole.restore(network, data, 2.4, "cpu") - other).max() > 1e-4
    assert isinstance(network, PairUNet)


def test_level_follows_the_photons_of_the_wall_and_is_held_within_what_training_saw():
    image, voxel = noisy(clean(60), 1), (6.4, 6.4, 6.4)
    usual = noise_level(image, 750000, voxel)
    assert 0.2 < usual < 5
    assert noise_level(512 * image, 750000, voxel) == pytest.approx(usual, rel=1e-4)  # not the unit
    assert noise_level(image, 187500, voxel) == pytest.approx(2 * usual)
    hot = image.copy()
    hot[24:30, 2:8, :] += 5
    assert noise_level(hot, 750000, voxel) > 1.2 * usual  # fewer of the photons are the wall's
    weights, _ = fit(UNet3DN2N(**UNET, steps=1))
    low, high = weights["levels"]
    assert 0.5 * usual < low <= high < 2 * usual
    method = UNet3DN2N(**UNET)
    method.load(weights)
    few, fewer, many = (method.apply(example(60, roles=("input",), counts=c)).data for c in (9e3, 9e2, 9e7))
    np.testing.assert_array_equal(few, fewer)
    assert not np.array_equal(few, many)


def test_mirror_images_are_averaged():
    torch.manual_seed(0)
    plain, flips = (
        UNet3DN2N(**UNET, steps=3, mirror=True, flips=f, precision="float32") for f in (False, True)
    )
    weights, _ = fit(plain)  # any weights
    for method in (plain, flips):
        method.load(weights)
    image = noisy(clean(60), 1)
    turned = np.ascontiguousarray(image[::-1])
    one, other = (flips.restored(flips.fitted(), x, 1.0, "cpu") for x in (image, turned))
    np.testing.assert_allclose(one, other[::-1], atol=1e-4)
    assert not np.allclose(one, plain.restored(plain.fitted(), image, 1.0, "cpu"), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "settings", "text"),
    [
        (UNet3DN2N, {"channels": 0}, "'channels' must be above zero"),
        (UNet3DN2N, {"steps": 1.5}, "'steps' must be a whole number"),
        (UNet3DN2N, {"patch": 18, "depth": 3}, "make patch a multiple of 4"),
        (UNet3DN2N, {"precision": "half"}, "Unknown precision 'half'"),
        (UNet3DN2N, {"centred": 1.5}, "'centred' must lie between 0 and 1"),
        (UNet3DN2N, {"flips": True}, "'flips' needs 'mirror'"),
        (WIN5RB, {"context": 2}, "'context' must be odd"),
        (WIN5RB, {"kernel": 4}, "'kernel' must be odd"),
        (WIN5RB, {"layers": 1}, "WIN needs two layers"),
        (WIN5RB, {"gain": -0.1}, "'gain' must lie between 0 and 1"),
    ],
)
def test_senseless_settings_are_refused(method, settings, text):
    with pytest.raises(ConfigError) as caught:
        method(**settings)
    assert text in str(caught.value)


@pytest.mark.parametrize(("method", "small"), BOTH)
def test_unusable_input_is_refused(method, small):
    quiet = FitContext(log=lambda line: None)
    with pytest.raises(ConfigError, match="has not been fitted"):
        method(**small).apply(example(0))
    weights, _ = fit(method(**small, steps=1))
    with pytest.raises(DataError, match="do not fit"):
        method(**{**small, "channels": 6}).load(weights)
    with pytest.raises(DataError, match="do not fit"):
        method(**small).load({k: v for k, v in weights.items() if k != "levels"})
    for train, validation in (([], pairs([0])), (pairs([0]), [])):
        with pytest.raises(DataError, match="Cannot train"):
            method(**small, steps=1).fit(train, validation, quiet)
    with pytest.raises(DataError, match="s0: column pair_counts"):
        method(**small, steps=1).fit([example(0, pair_counts="n/a")], pairs([0]), quiet)
    odd = example(0)
    shapes = Example(odd.scan, {"noisy": odd["noisy"], "repeat": Volume(odd["repeat"].data[..., :1], AFFINE)})
    with pytest.raises(DataError, match="differ in shape"):
        method(**small, steps=1).fit([shapes], pairs([0]), quiet)
    zero = Example(odd.scan, {"noisy": odd["noisy"], "repeat": Volume(0 * odd["repeat"].data, AFFINE)})
    with pytest.raises(DataError, match="s0: role repeat"):
        method(**small, steps=1).fit([zero], pairs([0]), quiet)
    ready = method(**small)
    ready.load(weights)
    with pytest.raises(DataError, match="column counts"):
        ready.apply(example(0, counts=0))
    nothing = Example({"scan": "z", "counts": 9}, {"input": Volume(np.zeros(SHAPE, np.float32), AFFINE)})
    assert not ready.apply(nothing).data.any()


def ring_projections(rng, size=(24, 20, 20), counts=6e4):
    """Expected counts of two blurred sources that move over the detector from view to view."""
    u, v, view = np.indices(size).astype(np.float32)
    mean = np.full(size, 0.05)
    for _ in range(2):
        phase, radius, height, width = (
            rng.uniform(0, 6),
            rng.uniform(0, 6),
            rng.uniform(6, 14),
            rng.uniform(1.5, 3),
        )
        along = size[0] / 2 - 0.5 + radius * np.cos(2 * np.pi * view / size[2] + phase)
        mean += np.exp(-((u - along) ** 2 + (v - height) ** 2) / (2 * width**2))
    return mean * counts / mean.sum()


def projection_example(seed):
    rng = np.random.default_rng([5, seed])
    mean = ring_projections(rng)
    one, two = (np.stack([rng.poisson(mean) for _ in range(2)], -1).astype(np.float32) for _ in range(2))
    scan = {"scan": f"p{seed}", "counts": 60000, "pair_counts": 60000}
    affine = np.diag([6.4, 6.4, 1.0, 1.0])
    return mean, Example(
        scan, {"noisy_projections": Volume(one, affine), "repeat_projections": Volume(two, affine)}
    )


PROJECTIONS: dict[str, Any] = {"channels": 8, "depth": 2, "batch": 2, "patch": 16}


def test_counts_on_projections_are_learned_and_kept():
    method = UNetProjections(**PROJECTIONS, steps=150, learning_rate=3e-3)
    cases = [projection_example(s)[1] for s in range(8)]
    weights = method.fit(cases[:7], cases[7:], FitContext(seed=3, log=lambda line: None))
    method.load(weights)
    before, after, total, bright = [], [], [], []
    for seed in range(20, 24):
        mean, case = projection_example(seed)
        noisy = case["noisy_projections"].data[..., 0]
        restored = method.expected_counts(noisy, periodic=True)
        assert restored.shape == noisy.shape
        assert restored.min() >= 0
        before.append(np.sqrt(np.mean((noisy - mean) ** 2)))
        after.append(np.sqrt(np.mean((restored - mean) ** 2)))
        total.append(restored.sum() / noisy.sum() - 1)
        bright.append(restored[mean > 20].sum() / mean[mean > 20].sum() - 1)
    assert np.mean(after) < 0.6 * np.mean(before)
    assert abs(np.mean(total)) < 0.02, total
    assert abs(np.mean(bright)) < 0.03, bright


def test_views_that_go_all_the_way_round_have_no_end():
    torch.manual_seed(0)
    method = UNetProjections(**PROJECTIONS, precision="float32")
    weights = {k: v.numpy() for k, v in method.network().state_dict().items()}
    weights = {k: 10 * v if k.startswith("inner.last") else v for k, v in weights.items()}
    method.load({**weights, "levels": np.array([0.1, 1.0], np.float32)})
    counts = np.random.default_rng(0).poisson(ring_projections(np.random.default_rng(1))).astype(np.float32)
    turned = np.roll(counts, 4, axis=2)  # a multiple of the lattice
    one, other = (method.expected_counts(c, periodic=True) for c in (counts, turned))
    np.testing.assert_allclose(np.roll(one, 4, axis=2), other, atol=2e-2)
    ends = [method.expected_counts(c, periodic=False) for c in (counts, turned)]
    assert np.abs(np.roll(ends[0], 4, axis=2) - ends[1]).max() > 0.1
    for views, arc, round_ in ((60, 360, True), (64, 360, True), (60, 180, False), (2, 360, False)):
        assert closed(orbit((16, 16, 8), 6.4, views=views, arc_deg=arc)) is round_


def test_spread_is_that_of_poisson_counts_and_the_loss_is_even():
    mean = torch.full((1, 1, 24, 24, 24), 9.0)
    counts = torch.poisson(mean, generator=torch.Generator().manual_seed(0)) / 30  # in units of 30 counts
    s = spread(counts, torch.tensor(30**-0.5).view(1, 1, 1, 1, 1))
    assert float(((counts - mean / 30) / s).std()) == pytest.approx(1, rel=0.05)
    empty = spread(torch.zeros(1, 1, 8, 8, 8), torch.tensor(0.2))
    assert float(empty.min()) > 0


def test_restored_projections_are_reconstructed_as_the_study_does():
    from senmei.physics.spect.imaging import Imaging

    shape = (24, 24, 16)
    acquisition = orbit(shape, 9.6, views=12)
    mean = ring_projections(np.random.default_rng(2), (24, 16, 12), 2e5)
    counts = np.random.default_rng(0).poisson(mean).astype(np.float32)
    affine = np.diag([9.6, 9.6, 9.6, 1.0])
    recipe = {
        "method": "osem",
        "iterations": 1,
        "subsets": 4,
        "attenuation": True,
        "psf": False,
        "scatter": False,
    }
    mu = np.zeros(shape, np.float32)
    unit = 40.0
    expected = Imaging(acquisition, mu, recipe).reconstruct(counts, unit)
    roles = {
        "projections": Volume(counts, affine),
        "attenuation": Volume(mu, affine),
        "acquisition": acquisition.to_dict(),
        "reconstruction": {**recipe, "unit": unit},
        "input": Volume(expected, affine),
    }
    method = UNetProjections(**PROJECTIONS)
    with pytest.raises(ConfigError, match="has not been fitted"):
        method.apply(Example({"scan": "x"}, roles))
    weights = {k: v.numpy() for k, v in method.network().state_dict().items()}
    weights = {
        k: 0 * v if k.startswith("inner.last") else v for k, v in weights.items()
    }  # takes nothing away
    method.load({**weights, "levels": np.array([0.1, 1.0], np.float32)})
    assert set(method.inputs) == set(roles)
    out = method.apply(Example({"scan": "x"}, roles))
    np.testing.assert_allclose(out.data, expected, atol=2e-3 * expected.max())
    np.testing.assert_array_equal(out.affine, affine)
    for bad in (counts[..., :-1], 0 * counts, counts - 50):
        with pytest.raises(DataError, match="Unusable projections"):
            method.apply(Example({"scan": "x"}, {**roles, "projections": Volume(bad, affine)}))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_halo_covers_what_the_network_sees(depth):
    torch.manual_seed(0)
    method = UNet3DN2N(channels=4, depth=depth, patch=16)
    network, align, halo = method.network(), method.align, method.halo
    n = -(-2 * (halo + align) // align) * align + align
    x = torch.rand(1, 1, n, 4 * align, 4 * align, generator=torch.Generator().manual_seed(0))
    level = torch.ones(1, 1, 1, 1, 1)
    with torch.no_grad():
        base = network(x, level)
        begin = n // 2 // align * align
        moved = x.clone()
        moved[:, :, : begin - halo] += 1.0  # beyond the halo of what begins at `begin`
        assert torch.equal(network(moved, level)[:, :, begin:], base[:, :, begin:])
        moved[:, :, : begin - align] += 1.0
        assert not torch.equal(network(moved, level)[:, :, begin:], base[:, :, begin:])
