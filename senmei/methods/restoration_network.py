"""What the learned denoisers share: settings, training on noise drawn on the fly, whole volumes by tiles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext, Method
from senmei.core.seeds import derive_seed, short_hash
from senmei.core.volume import Volume
from senmei.methods.tuned import one_volume, positive, whole
from senmei.physics.intensity import white_matter_level
from senmei.physics.noise_level import estimate_sigma, estimate_sigma_map
from senmei.training.loop import Player, Schedule, mixed_precision, precision_used, train
from senmei.training.losses import find_loss
from senmei.training.patches import PatchSource, Sampling
from senmei.training.tiles import apply_tiled

GAIN = 10.0  # brings noise and its level to the size of the image, for the network's input
SURROUNDINGS = 2  # voxels, to each side
_VALIDATION_EDGE = 96  # voxels: the central part of a validation scan that is looked at
_VALIDATION_SCANS = 6


class RestorationNetwork(Method):
    """Base of the learned denoisers: residual, told the noise level, without normalisation over space.

    The network sees the image (white matter = 1) and the noise level (fraction of white matter) and predicts what
    is to be taken away, y = x - f(x, level), so one model serves all levels. The target is the noise-free magnitude,
    so the Rician bias is learned as well.

    channels, depth : size of the network (see the subclass). steps, batch, patch : training steps, patches a step,
    patch edge in voxels. learning_rate : peak of the schedule. loss : see `senmei.training.losses`.
    noise : (low, high) levels trained for, fractions of white matter. uneven : share of training patches whose noise
    varies in space. looks : vary contrast, sharpness and texture of training patches.
    varying : when applied, let the level vary over the volume. precision : auto, float32 or bf16.
    tile : voxels; volumes beyond tile^3 are restored in pieces. flips : average over the eight mirror images.
    Raises ConfigError for values that mean nothing.
    """

    family: ClassVar[str] = "learned"
    together: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("reference",)
    tunes_on: ClassVar[tuple[str, ...]] = ("input", "reference")

    def __init__(
        self,
        *,
        channels: int,
        depth: int,
        steps: int,
        batch: int,
        patch: int,
        learning_rate: float,
        loss: str,
        noise: Sequence[float],
        uneven: float,
        looks: bool,
        varying: bool,
        precision: str,
        tile: int,
        flips: bool,
    ) -> None:
        sizes = {
            "channels": channels,
            "depth": depth,
            "steps": steps,
            "batch": batch,
            "patch": patch,
            "tile": tile,
        }
        for name, value in sizes.items():
            whole(name, value)
        positive("learning_rate", learning_rate)
        find_loss(loss)
        mixed_precision(precision, "cpu")
        low, high = (float(v) for v in noise)
        if not 0 <= low <= high <= 1:
            raise ConfigError(
                "Unusable range of noise levels",
                where=f"noise: {list(noise)}",
                why="it must be two fractions of white matter, the lower first",
                fix="give for example [0.005, 0.16]",
            )
        self.channels, self.depth = int(channels), int(depth)
        self.steps, self.batch, self.patch, self.tile = int(steps), int(batch), int(patch), int(tile)
        self.learning_rate, self.loss, self.noise = float(learning_rate), loss, (low, high)
        self.uneven, self.looks, self.varying = float(uneven), bool(looks), bool(varying)
        self.precision, self.flips = precision, bool(flips)
        self._network: nn.Module | None = None
        self._device = "cpu"
        if self.patch % self.align:
            raise ConfigError(
                "The training patch does not fit the network",
                where=f"patch: {patch}, depth: {depth}",
                why=f"the network works on a lattice of {self.align} voxels",
                fix=f"make patch a multiple of {self.align}",
            )

    def network(self) -> nn.Module:
        """A fresh network: (n, 1, x, y, z) image and level -> the restored image."""
        raise NotImplementedError(type(self).__name__)

    @property
    def halo(self) -> int:
        """Voxels that a restored voxel depends on, to each side."""
        raise NotImplementedError(type(self).__name__)

    @property
    def align(self) -> int:
        """Lattice of the network, voxels."""
        raise NotImplementedError(type(self).__name__)

    def arithmetic(self, device: str) -> str:
        """As `precision` says."""
        return precision_used(self.precision, device)

    def identity(self) -> dict[str, Any]:
        """Everything that changes the weights, for the checkpoint's key."""
        keys = ("channels", "depth", "steps", "batch", "patch", "learning_rate", "loss", "noise", "uneven", "looks",
                "precision")  # fmt: skip
        return {"class": type(self).__name__, **{k: getattr(self, k) for k in keys}}

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """Train on the references of `train`; the step is chosen by PSNR on `validation`. See `senmei.training`."""
        source = self.patches(train, context)
        network = self.run_training(source, Validation(self, validation, context.device), context)
        return {k: v.detach().cpu().numpy().copy() for k, v in network.state_dict().items()}

    def run_training(self, source: PatchSource, validate: Validation, context: FitContext) -> nn.Module:
        """Plain training: one network, one loss. Returns the network to keep."""
        schedule = Schedule(self.steps, self.learning_rate)
        loss_of = find_loss(self.loss)
        player = Player(self.fresh(context), schedule)

        def update(t: int) -> dict[str, float]:
            data = source.batch(t, context.device, context.team)
            with mixed_precision(self.precision, context.device):
                restored = player.network(data.noisy, data.level)
            loss = loss_of(restored.float(), data.clean)
            player.descend(loss)
            return {"loss": float(loss.detach())}

        return train({"network": player}, update, validate, schedule, context, self.key(source, context))

    def patches(self, examples: Sequence[Example], context: FitContext) -> PatchSource:
        """The training volumes, one for each different reference (noise levels share theirs)."""
        volumes: dict[str, np.ndarray] = {}
        for example in examples:
            reference = one_volume(example["reference"], example.scan.get("scan", "?"))
            name = _digest(reference.data)
            if name not in volumes:
                white = _white(example, reference.data)
                volumes[name] = _cropped(reference.data / np.float32(white), 4)[0].astype(np.float16)
        if not volumes:
            raise DataError(
                f"Cannot train {self.title}",
                where="training scans",
                why="there are none with a reference",
                fix="give the training cohort a subject in the training split",
            )
        sampling = Sampling(self.patch, self.batch, self.noise, self.uneven, self.looks)
        work = f"{self.steps} steps of {self.batch} x {self.patch}^3 voxels"
        context.log(f"{self.title}: {len(volumes)} training volumes, {work}")
        return PatchSource(list(volumes.values()), sampling, derive_seed(context.seed, "patches"))

    def fresh(self, context: FitContext) -> nn.Module:
        """A new network on the device; its weights depend on the context's seed alone."""
        return seeded(self.network, derive_seed(context.seed, "weights")).to(context.device)

    def key(self, source: PatchSource, context: FitContext) -> str:
        """The checkpoint's key."""
        identity = sorted(self.identity().items())
        return short_hash(identity, source.sampling, source.fingerprint(), context.seed, torch.__version__)

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take weights. Raises DataError if they are of another network."""
        network = self.network()
        state = {k: torch.from_numpy(np.array(v)) for k, v in weights.items()}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(
                f"The weights do not fit {self.title}",
                where="weights",
                why=str(error).splitlines()[-1].strip(),
                fix="use the settings the weights were trained with, or train again",
            ) from error
        self._device = device
        self._network = network.to(device).eval().requires_grad_(False)

    def apply(self, example: Example) -> Volume:
        """The restored Volume: float32, the input's geometry and intensity. A constant one stays as it is."""
        if self._network is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where="weights",
                why="a network restores nothing without weights",
                fix="fit it and load its weights",
            )
        volume = one_volume(example["input"], example.scan.get("scan", "?"))
        data = volume.data
        if data.min() == data.max():
            return volume.like(data.copy())
        sigma: float | np.ndarray = estimate_sigma_map(data) if self.varying else estimate_sigma(data)
        if not np.any(np.asarray(sigma) > 0):
            return volume.like(data.copy())
        return volume.like(self.restore(self._network, data, sigma, white_matter_level(data), self._device))

    def restore(
        self,
        network: nn.Module,
        data: np.ndarray,
        sigma: float | np.ndarray,
        white: float,
        device: str,
    ) -> np.ndarray:
        """(x, y, z) float32 array restored by a network; noise sigma (number or map) and white matter in its units.

        What surrounds the image with exact zeros, farther away than the network sees, stays zero.
        """
        level = np.broadcast_to(np.asarray(sigma, np.float32) / np.float32(white), data.shape)
        _, box = _cropped(data, self.halo)
        image, level = data[box] / np.float32(white), level[box]

        def run(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            with mixed_precision(self.precision, device):
                return network(x, s).float()

        def tiled(x: np.ndarray, s: np.ndarray) -> np.ndarray:
            return apply_tiled(run, x, s, tile=self.tile, halo=self.halo, align=self.align, device=device)

        if self.flips:
            total = np.zeros(image.shape, np.float32)
            for flip in product((False, True), repeat=3):
                axes = tuple(i for i in range(3) if flip[i])
                total += np.flip(tiled(np.flip(image, axes), np.flip(level, axes)), axes)
            image = total / 8
        else:
            image = tiled(image, level)
        if data.min() >= 0:
            np.maximum(image, 0, out=image)
        out = np.zeros(data.shape, np.float32)
        out[box] = image * np.float32(white)
        return out


class Validation:
    """PSNR (dB, white matter = peak) of a network over the middles of the validation scans, each with its own noise."""

    def __init__(self, method: RestorationNetwork, examples: Sequence[Example], device: str) -> None:
        self.method, self.device = method, device
        self.cases = [_case(method, example) for example in _spread(examples, _VALIDATION_SCANS)]
        if not self.cases:
            raise DataError(
                f"Cannot train {method.title}",
                where="validation scans",
                why="there are none, and the step to keep is chosen on them",
                fix="give the training cohort a validation subject",
            )

    def __call__(self, network: nn.Module) -> float:
        network.eval()
        scores = []
        for noisy, sigma, white, clean, inside in self.cases:
            restored = self.method.restore(network, noisy, sigma, white, self.device)
            error = (restored - clean)[inside] / white
            scores.append(-10 * np.log10(max(float(np.mean(error**2)), 1e-20)))
        return float(np.mean(scores))


def _case(method: RestorationNetwork, example: Example) -> tuple[Any, ...]:
    name = example.scan.get("scan", "?")
    noisy, clean = (one_volume(example[role], name).data for role in ("input", "reference"))
    sigma: float | np.ndarray = estimate_sigma_map(noisy) if method.varying else estimate_sigma(noisy)
    found = np.argwhere(clean > 0.1 * _white(example, clean))
    centre = found.mean(0).astype(int) if len(found) else np.array(clean.shape) // 2
    edge = _VALIDATION_EDGE
    low = [int(np.clip(c - edge // 2, 0, max(n - edge, 0))) for c, n in zip(centre, clean.shape, strict=True)]
    box = tuple(slice(a, a + edge) for a in low)
    part = sigma[box] if isinstance(sigma, np.ndarray) else sigma
    inside = clean[box] > 0
    return (
        noisy[box],
        part,
        _white(example, clean),
        clean[box],
        inside if inside.any() else np.ones_like(inside),
    )


def _spread(examples: Sequence[Example], most: int) -> list[Example]:
    """At most `most` of the examples, evenly over the list."""
    at = np.unique(np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(int))
    return [examples[i] for i in at] if examples else []


def _white(example: Example, clean: np.ndarray) -> float:
    """White-matter intensity: the scan's own number, or found in the image."""
    value = example.scan.get("data_range")
    return float(value) if value else white_matter_level(clean)


def _digest(data: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()


def _cropped(data: np.ndarray, margin: int) -> tuple[np.ndarray, tuple[slice, ...]]:
    """The part that is not exactly zero and a margin around it, with its place."""
    some = data != 0
    box = []
    for axis in range(3):
        at = np.flatnonzero(some.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, data.shape[axis])
        box.append(slice(max(low - margin, 0), min(high + margin, data.shape[axis])))
    return data[tuple(box)], tuple(box)


def seeded(build: Any, seed: int) -> nn.Module:
    """A module whose initial weights come from a seed, without touching torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def channels_last(network: nn.Module) -> None:
    """Store weights with channels last: convolutions on CPUs run twice as fast."""
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def start(network: nn.Module) -> None:
    """Initial weights: He's for rectified units [He 2015, ICCV], biases zero, the last convolution a fiftieth of it."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layers[-1].weight.mul_(0.02)


def see(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """What networks look at: the image, the image less the mean of its 5^3 surroundings, the level; (n, 3, x, y, z)."""
    around, width = functional.pad(x, (SURROUNDINGS,) * 6, mode="replicate"), 2 * SURROUNDINGS + 1
    for kernel in ((width, 1, 1), (1, width, 1), (1, 1, width)):  # an axis at a time is eight times less work
        around = functional.avg_pool3d(around, kernel, stride=1)
    relief = x - around
    return torch.cat([x, GAIN * relief, GAIN * level], 1).contiguous(memory_format=torch.channels_last_3d)
