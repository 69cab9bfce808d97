"""The learned denoisers: they learn, know the noise level, resume, and restore a volume of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.methods.gan3d import GAN3D, PatchDiscriminator
from senmei.methods.restoration_network import see
from senmei.methods.srcnn3d import SRCNN3D
from senmei.methods.unet3d import UNet3D
from senmei.physics.rician import apply_rician

ALL = (UNet3D, SRCNN3D, GAN3D)
SMALL = {"channels": 8, "batch": 2, "patch": 16}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clean(shape=(40, 44, 38)):
    """A ball of two tissues with a hole, white matter = 800."""
    x, y, z = np.indices(shape)
    r = np.sqrt((x - shape[0] / 2) ** 2 + (y - shape[1] / 2) ** 2 + (z - shape[2] / 2) ** 2)
    image = np.where(r < 17, 480.0, 0) + np.where(r < 12, 320.0, 0) - np.where(r < 4, 600.0, 0)
    return image.astype(np.float32)


def example(noise=0.09, seed=0, shape=(40, 44, 38), name="s", reference=None):
    image = clean(shape) if reference is None else reference
    noisy = apply_rician(image, 800 * noise, np.random.default_rng(seed))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return Example(
        {"scan": name, "data_range": 800.0},
        {"input": Volume(noisy, affine), "reference": Volume(image, affine)},
    )


def fit(method, tmp_path=None, log=None, seed=1, shape=(18, 20, 17)):
    lines = [] if log is None else log
    checkpoint = None if tmp_path is None else tmp_path / "checkpoint.pt"
    context = FitContext(seed=seed, checkpoint=checkpoint, log=lines.append)
    weights = method.fit([example(0.05, 3, shape)], [example(0.09, 4, shape, name="v")], context)
    return weights, context


@pytest.fixture(scope="module")
def learned():
    """A U-Net trained for a few seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    method = UNet3D(channels=8, batch=2, patch=24, steps=150, looks=False, uneven=0.0)
    weights, context = fit(method, shape=(40, 44, 38))
    method.load(weights)
    torch.set_num_threads(before)
    return method, weights, context


def error(restored, truth, inside):
    return float(np.sqrt(np.mean((restored - truth)[inside] ** 2)))


def test_training_lowers_loss_and_beats_the_input(learned):
    method, _, context = learned
    assert context.history[-1]["loss"] < 0.7 * context.history[0]["loss"]
    assert context.history[-1]["val_psnr"] > context.history[0]["val_psnr"]
    case = example(0.09, 11)
    truth, inside = clean(), clean() > 0
    restored = method.apply(case).data
    assert error(restored, truth, inside) < 0.8 * error(case["input"].data, truth, inside)


@pytest.mark.parametrize("noise", [0.06, 0.13])
def test_one_model_serves_several_levels(learned, noise):
    case = example(noise, 12)
    truth, inside = clean(), clean() > 0
    assert error(learned[0].apply(case).data, truth, inside) < 0.9 * error(case["input"].data, truth, inside)


def test_the_network_heeds_the_level_it_is_told(learned):
    method = learned[0]
    case = example(0.09, 13)["input"].data
    little, much = (method.restore(method._network, case, 800 * s, 800.0, "cpu") for s in (0.01, 0.12))
    inside = clean() > 0
    assert np.std((case - little)[inside]) < 0.8 * np.std((case - much)[inside])


@pytest.mark.parametrize("method", ALL)
def test_same_seed_same_weights_and_other_seed_others(method):
    make = lambda: method(**SMALL, steps=3)  # noqa: E731
    before = torch.random.get_rng_state()
    first, second, other = fit(make())[0], fit(make())[0], fit(make(), seed=2)[0]
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)
    assert torch.equal(before, torch.random.get_rng_state())  # the global generator is nobody's
    assert all(v.dtype == np.float32 for v in first.values())


@pytest.mark.parametrize("method", [UNet3D, GAN3D])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_killed_training_resumes_to_identical_weights(method, precision, tmp_path, monkeypatch):
    import senmei.training.loop as loop

    make = lambda: method(**SMALL, steps=8, precision=precision)  # noqa: E731
    whole, told = fit(make())
    real, written = loop.atomic_path, []

    class Killed(Exception):
        pass

    def die_after_two(path):
        if len(written) == 2:
            raise Killed
        written.append(path)
        return real(path)

    monkeypatch.setattr(loop, "atomic_path", die_after_two)
    monkeypatch.setattr(loop.Schedule.__init__, "__defaults__", (0.03, 1e-4, 1.0, 0.998, 10, 0.0))
    with pytest.raises(Killed):
        fit(make(), tmp_path)
    monkeypatch.undo()
    log = []
    resumed, context = fit(make(), tmp_path, log)
    assert any(line.startswith("resuming after step 2 of 8") for line in log)
    assert all(whole[k].tobytes() == resumed[k].tobytes() for k in whole)
    assert context.history == told.history


def test_checkpoint_of_another_configuration_is_refused(tmp_path, monkeypatch):
    import senmei.training.loop as loop

    monkeypatch.setattr(loop.Schedule.__init__, "__defaults__", (0.03, 1e-4, 1.0, 0.998, 10, 0.0))
    fit(UNet3D(**SMALL, steps=4), tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()
    log = []
    fit(UNet3D(**SMALL, steps=4, loss="l1"), tmp_path, log)
    assert any("belongs to other settings, data or seed" in line for line in log)


def test_weights_survive_safetensors(learned, tmp_path):
    from safetensors.numpy import load_file, save_file

    method, weights, _ = learned
    save_file(dict(weights), str(tmp_path / "w.safetensors"))
    again = UNet3D(**SMALL)
    again.load(load_file(str(tmp_path / "w.safetensors")))
    case = example(0.09, 14)
    np.testing.assert_array_equal(method.apply(case).data, again.apply(case).data)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_tiles_equal_the_whole_on_odd_sizes(method, precision):
    torch.manual_seed(0)
    whole = method(**SMALL, precision=precision)
    weights = {k: v.numpy() for k, v in whole.network().state_dict().items()}
    weights = {k: 4 * v if k.startswith(("last", "reconstruct")) else v for k, v in weights.items()}
    pieces = method(**SMALL, precision=precision, tile=1)
    case = example(0.09, 15, shape=(37, 25, 125) if method is not SRCNN3D else (37, 25, 53))
    for one in (whole, pieces):
        one.load(weights)
    a, b = whole.apply(case).data, pieces.apply(case).data
    assert a.shape == case["input"].shape
    assert np.abs(a - case["input"].data).max() > 8  # it does something
    assert np.abs(a - b).max() / 800 < 1e-4


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_halo_covers_what_the_network_sees(depth):
    torch.manual_seed(0)
    method = UNet3D(channels=4, depth=depth, patch=16)
    network, align, halo = method.network(), method.align, method.halo
    n = -(-2 * (halo + align) // align) * align + align
    x = torch.zeros(1, 1, n, 4 * align, 4 * align).uniform_(generator=torch.Generator().manual_seed(0))
    level = torch.full_like(x, 0.05)
    with torch.no_grad():
        base = network(x, level)
        start = n // 2 // align * align
        moved = x.clone()
        moved[:, :, : start - halo] += 1.0  # beyond the halo of what begins at `start`
        assert torch.equal(network(moved, level)[:, :, start:], base[:, :, start:])
        moved[:, :, : start - align] += 1.0
        assert not torch.equal(network(moved, level)[:, :, start:], base[:, :, start:])


def test_networks_see_image_relief_and_level():
    x = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = see(x, torch.full_like(x, 0.1))
    assert seen.shape == (1, 3, 8, 8, 8)
    torch.testing.assert_close(seen[:, :1], x)
    assert float(seen[0, 1, 4, 4, 4]) == pytest.approx(
        10 * float(x[0, 0, 4, 4, 4] - x[0, 0, 2:7, 2:7, 2:7].mean()), abs=1e-5
    )
    torch.testing.assert_close(seen[:, 2:], torch.ones_like(x))


def test_discriminator_scores_patches_and_generator_alone_is_kept():
    x = torch.rand(2, 1, 16, 16, 16)
    assert PatchDiscriminator(4)(x, x, x).shape == (2, 1, 4, 4, 4)
    method = GAN3D(**SMALL, steps=4, warmup=0.5, discriminator=4)
    weights, context = fit(method)
    assert set(weights) == set(UNet3D(**SMALL).network().state_dict())
    assert context.history[0]["discriminator"] == 0
    assert context.history[-1]["discriminator"] > 0
    method.load(weights)
    assert method.apply(example()).shape == (40, 44, 38)


def test_geometry_intensity_and_trivial_images():
    method = UNet3D(**SMALL)
    method.load({k: v.numpy() for k, v in method.network().state_dict().items()})
    case = example()
    restored = method.apply(case)
    np.testing.assert_array_equal(restored.affine, case["input"].affine)
    assert restored.data.dtype == np.float32
    assert restored.data.min() >= 0
    flat = Example({"scan": "flat"}, {"input": Volume(np.full((20, 20, 20), 7.0, np.float32), np.eye(4))})
    np.testing.assert_array_equal(method.apply(flat).data, flat["input"].data)
    scaled = Example({"scan": "s"}, {"input": Volume(case["input"].data * 1000, case["input"].affine)})
    np.testing.assert_allclose(method.apply(scaled).data / 1000, restored.data, rtol=2e-3, atol=2)


def test_zero_background_is_cut_off_and_stays_zero():
    method = UNet3D(**SMALL)
    method.load({k: v.numpy() for k, v in method.network().state_dict().items()})
    noisy = example()["input"].data * (clean() > 0)
    wide = np.pad(noisy, ((60, 0), (0, 0), (0, 0)))
    out = method.apply(Example({"scan": "s"}, {"input": Volume(wide, np.eye(4))})).data
    assert out.shape == wide.shape
    assert np.all(out[:20] == 0)


def test_mirror_images_are_averaged():
    torch.manual_seed(0)
    plain, flips = UNet3D(**SMALL), UNet3D(**SMALL, flips=True)
    weights = {k: v.numpy() for k, v in plain.network().state_dict().items()}
    plain.load(weights)
    flips.load(weights)
    volume = example(shape=(20, 24, 28))["input"].data
    mirrored = np.ascontiguousarray(volume[::-1])
    a, b = (flips.restore(flips._network, v, 72.0, 800.0, "cpu") for v in (volume, mirrored))
    np.testing.assert_allclose(a, b[::-1], atol=0.5)
    assert not np.allclose(a, plain.restore(plain._network, volume, 72.0, 800.0, "cpu"), atol=0.5)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"channels": 0}, "'channels' must be above zero"),
        ({"steps": 1.5}, "'steps' must be a whole number"),
        ({"loss": "l3"}, "Unknown loss 'l3'"),
        ({"precision": "half"}, "Unknown precision 'half'"),
        ({"noise": (0.2, 0.1)}, "Unusable range of noise levels"),
        ({"patch": 18}, "make patch a multiple of 4"),
    ],
)
def test_senseless_settings_are_refused(settings, text):
    with pytest.raises(ConfigError) as caught:
        UNet3D(**{**SMALL, **settings})
    assert text in str(caught.value)


def test_unusable_input_is_refused(learned):
    method = learned[0]
    with pytest.raises(ConfigError, match="has not been fitted"):
        UNet3D(**SMALL).apply(example())
    with pytest.raises(DataError, match="do not fit"):
        UNet3D(channels=16).load(learned[1])
    with pytest.raises(DataError, match="NaN"):
        method.apply(
            Example({"scan": "x"}, {"input": Volume(np.full((9, 9, 9), np.nan, np.float32), np.eye(4))})
        )
    with pytest.raises(DataError, match="Cannot train"):
        UNet3D(**SMALL).fit([], [example()], FitContext(log=lambda line: None))
    with pytest.raises(DataError, match="Cannot train"):
        UNet3D(**SMALL).fit([example()], [], FitContext(log=lambda line: None))
    with pytest.raises(ConfigError, match="adversary"):
        GAN3D(adversarial=-1)
