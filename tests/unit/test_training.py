"""Batches, losses, the loop and tiles: what lets training stop anywhere and volumes be of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from senmei.core.errors import ConfigError
from senmei.core.interruption import Interrupted
from senmei.core.method import FitContext
from senmei.training.loop import Player, Schedule, mixed_precision, train
from senmei.training.losses import LOSSES, adversarial_loss, discriminator_loss, find_loss
from senmei.training.patches import (
    Noise,
    PatchSource,
    Sampling,
    apply_look,
    apply_noise,
    draw_look,
    draw_noise,
)
from senmei.training.tiles import apply_tiled, split_counts


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def volume():
    x, y, z = np.indices((40, 36, 44))
    ball = (x - 20) ** 2 + (y - 18) ** 2 + (z - 22) ** 2 < 15**2
    return (ball * (0.6 + 0.4 * (x > 20))).astype(np.float32)


SAMPLING = Sampling(patch=16, batch=2, noise=(0.02, 0.1))


def same(a, b):
    return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("noisy", "level", "clean"))


def test_batch_depends_on_seed_and_number_alone(volume):
    one, two = PatchSource([volume], SAMPLING, 7), PatchSource([volume], SAMPLING, 7)
    for t in (5, 0, 3):  # asked for in another order
        one.batch(t)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert same(one.batch(3), two.batch(3))
    assert not same(one.batch(3), one.batch(4))
    assert not same(one.batch(3), PatchSource([volume], SAMPLING, 8).batch(3))
    assert one.batch(0).noisy.shape == (2, 1, 16, 16, 16)
    assert all(getattr(one.batch(0), k).dtype == torch.float32 for k in ("noisy", "level", "clean"))


def test_batch_is_the_same_from_half_precision_copies(volume):
    half = volume.astype(np.float16)
    assert same(PatchSource([half], SAMPLING, 1).batch(0), PatchSource([half.copy()], SAMPLING, 1).batch(0))


def test_small_volumes_are_mirrored_to_a_patch():
    batch = PatchSource([np.ones((5, 30, 9), np.float32)], SAMPLING, 0).batch(0)
    assert batch.clean.shape[2:] == (16, 16, 16)
    assert float(batch.clean.min()) > 0.5


def test_other_volumes_have_another_fingerprint(volume):
    other = volume.copy()
    other[20, 18, 22] += 1
    first, second = (PatchSource([v], SAMPLING, 0).fingerprint() for v in (volume, other))
    assert first != second
    assert first == PatchSource([volume], SAMPLING, 1).fingerprint()


def test_drawn_noise_has_the_level_it_states():
    clean = np.ones((48, 48, 48), np.float32)
    white = Noise(0.1, None, (0.0, 0.0, 0.0), masked=False, misjudged=1.0, seed=3)
    noisy, level = apply_noise(clean, white)
    assert np.std(noisy - clean) == pytest.approx(0.1, rel=0.02)
    assert np.all(level == np.float32(0.1))
    even, odd = draw_noise(np.random.default_rng(0), (0.05, 0.05), 0.0), None
    assert even.field is None
    assert even.sigma == 0.05
    for k in range(20):
        odd = draw_noise(np.random.default_rng(k), (0.05, 0.05), 1.0)
        if odd.blur != (0.0, 0.0, 0.0):
            break
    assert odd.field is not None


def test_level_of_correlated_noise_is_what_an_estimate_would_say():
    from senmei.physics.noise_level import estimate_sigma

    clean = np.full((64, 64, 64), 10.0, np.float32)
    noise = Noise(0.1, None, (0.5, 0.4, 0.0), masked=False, misjudged=1.0, seed=3)
    noisy, level = apply_noise(clean, noise)
    assert np.std(noisy - clean) == pytest.approx(0.1, rel=0.02)
    assert float(level.mean()) < 0.09
    assert estimate_sigma(noisy) == pytest.approx(float(level.mean()), rel=0.03)


def test_masked_noise_leaves_exact_zeros(volume):
    noise = Noise(0.1, None, (0.0, 0.0, 0.0), masked=True, misjudged=1.0, seed=3)
    assert np.all(apply_noise(volume, noise)[0][volume == 0] == 0)


def test_looks_change_tissue_and_keep_air(volume):
    for k in range(6):
        out = apply_look(volume, draw_look(np.random.default_rng(k)))
        assert out.dtype == np.float32
        assert np.all(out[volume == 0] == 0)
        assert np.isfinite(out).all()
        assert out.min() >= 0
        assert not np.allclose(out, volume)


def test_losses_are_zero_for_a_copy_and_grow_with_the_error():
    clean = torch.rand(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    for name, loss in LOSSES.items():
        assert float(loss(clean, clean)) == pytest.approx(0, abs=1e-5), name
        small, large = float(loss(clean + 0.05 * noise, clean)), float(loss(clean + 0.2 * noise, clean))
        assert 0 < small < large, name


def test_adversarial_losses_have_their_minima():
    ones, zeros = torch.ones(3), torch.zeros(3)
    assert float(discriminator_loss(ones, zeros)) == 0
    assert float(discriminator_loss(zeros, ones)) == 1
    assert float(adversarial_loss(ones)) == 0
    assert float(adversarial_loss(zeros)) == 0.5


def test_unknown_names_say_what_was_meant():
    with pytest.raises(ConfigError) as error:
        find_loss("charbonier")
    assert "did you mean 'charbonnier'?" in str(error.value)
    with pytest.raises(ConfigError) as error:
        mixed_precision("float23", "cpu")
    assert "did you mean 'float32'?" in str(error.value)


def test_rate_warms_up_and_falls():
    schedule = Schedule(steps=1000, learning_rate=1.0)
    rates = [schedule.rate(t) for t in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02
    assert np.all(np.diff(rates[40:]) <= 0)


class Tiny(nn.Module):
    """One convolution around a skip."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv3d(2, 1, 3, padding=1)

    def forward(self, x, level):
        return x - self.layer(torch.cat([x, level], 1))


def run(volume, tmp_path=None, stop_after=None, key="k", steps=12, validate=True, log=None, stop=None):
    """Train a tiny network; returns it and the context."""
    torch.manual_seed(0)
    network = Tiny()
    schedule = Schedule(steps=steps, learning_rate=1e-2, validations=4)
    player = Player(network, schedule)
    source = PatchSource([volume], SAMPLING, 0)

    def update(t):
        data = source.batch(t)
        loss = (network(data.noisy, data.level) - data.clean).square().mean()
        player.descend(loss)
        return {"loss": float(loss.detach())}

    def judge(net):
        data = source.batch(10**6)
        return -10 * float((net(data.noisy, data.level) - data.clean).square().mean().log10())

    lines = [] if log is None else log
    context = FitContext(
        checkpoint=None if tmp_path is None else tmp_path / "checkpoint.pt", log=lines.append
    )
    context.stop = stop or context.stop
    kept = train(
        {"net": player}, update, judge if validate else None, schedule, context, key, stop_after=stop_after
    )
    return kept, context


def equal(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("stops", [(5,), (1, 4, 2)])
def test_resumed_training_ends_with_identical_bytes(volume, tmp_path, stops):
    whole, told = run(volume)
    for stop in stops:
        run(volume, tmp_path, stop_after=stop)
    resumed, context = run(volume, tmp_path)
    assert equal(whole, resumed)
    assert context.history == told.history
    assert [row["step"] for row in context.history] == [3, 6, 9, 12]
    assert {"loss", "learning_rate", "val_psnr"} <= set(context.history[0])


def test_told_to_stop_saves_and_resumes_to_identical_bytes(volume, tmp_path):
    asked = iter([False] * 3 + [True])
    with pytest.raises(Interrupted) as caught:
        run(volume, tmp_path, stop=lambda: next(asked))
    assert "after step 4 of 12" in str(caught.value) and "goes on from there" in str(caught.value)
    log = []
    resumed, _ = run(volume, tmp_path, log=log)
    assert any("resuming after step 4" in line for line in log)
    assert equal(resumed, run(volume)[0])


def test_checkpoint_of_another_training_is_not_continued(volume, tmp_path):
    run(volume, tmp_path, stop_after=5, key="other")
    log = []
    fresh, _ = run(volume, tmp_path, log=log)
    assert any("belongs to other settings, data or seed" in line for line in log)
    assert equal(fresh, run(volume)[0])


def test_broken_checkpoint_is_told_and_not_continued(volume, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    log = []
    fresh, _ = run(volume, tmp_path, log=log)
    assert any("cannot be read" in line for line in log)
    assert equal(fresh, run(volume)[0])


def test_the_step_with_the_best_validation_is_kept(volume):
    source = PatchSource([volume], SAMPLING, 0)
    schedule = Schedule(steps=6, learning_rate=1e-2, validations=3)
    scores, seen = iter([1.0, 5.0, 2.0]), []

    def go(keep_last):
        torch.manual_seed(0)
        network = Tiny()
        player = Player(network, schedule)

        def update(t):
            data = source.batch(t)
            loss = (network(data.noisy, data.level) - data.clean).square().mean()
            player.descend(loss)
            return {"loss": float(loss.detach())}

        def judge(net):
            seen.append({k: v.clone() for k, v in net.state_dict().items()})
            return next(scores)

        context = FitContext(log=lambda line: None)
        return train({"n": player}, update, judge, schedule, context, "k", keep_last=keep_last)

    best = go(keep_last=False)
    assert all(torch.equal(v, seen[1][k]) for k, v in best.state_dict().items())
    scores, seen = iter([1.0, 5.0, 2.0]), []
    last = go(keep_last=True)
    assert all(torch.equal(v, seen[2][k]) for k, v in last.state_dict().items())


def test_a_step_without_a_finite_gradient_is_left_out():
    player = Player(Tiny(), Schedule(steps=1, learning_rate=1.0))
    before = {k: v.clone() for k, v in player.network.state_dict().items()}
    x = torch.ones(1, 1, 4, 4, 4)
    player.descend(player.network(x, x).mean() * float("inf"))
    assert all(torch.equal(v, before[k]) for k, v in player.network.state_dict().items())


@pytest.mark.parametrize("shape", [(37, 50, 41), (64, 24, 33), (5, 7, 61)])
@pytest.mark.parametrize("align", [1, 4])
def test_tiles_equal_the_whole(shape, align):
    rng = np.random.default_rng(0)
    image, level = rng.random(shape, np.float32), rng.random(shape, np.float32)
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 1, 3, padding=1))
    calls = []

    def network(x, s):
        assert all(n % align == 0 for n in x.shape[2:])
        calls.append(x.shape)
        return x + layers(x) * s

    whole = apply_tiled(network, image, level, tile=100, halo=4, align=align)
    pieces = apply_tiled(network, image, level, tile=16, halo=4, align=align)
    assert len(calls) > 2 or min(shape) < 16
    assert whole.shape == shape
    assert whole.dtype == np.float32
    np.testing.assert_allclose(pieces, whole, atol=1e-6)


def test_tiles_keep_to_their_size():
    sizes = []

    def network(x, s):
        sizes.append(x.numel())
        return x

    image = np.zeros((120, 90, 70), np.float32)
    apply_tiled(network, image, image, tile=40, halo=8, align=4)
    assert max(sizes) <= 40**3
    assert sum(sizes) < 4 * image.size
    # a tile smaller than its halos: as small as is sensible
    assert split_counts((128, 128, 128), 8, 16, 4) == [8, 8, 8]
