"""What denoisers trained on noisy pairs alone share: settings, Noise2Noise training, whole volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext, Method
from senmei.core.seeds import derive_seed, short_hash
from senmei.core.volume import Volume
from senmei.methods.restoration_network import seeded
from senmei.methods.tuned import one_volume, positive, whole
from senmei.training.loop import Player, Schedule, mixed_precision, precision_used
from senmei.training.loop import train as train_loop
from senmei.training.pairs import (
    PairBatch,
    PairSampling,
    PairScan,
    PairSource,
    image_scale,
    noise_level,
    weights_of_places,
)
from senmei.training.spread import spread
from senmei.training.tiles import apply_tiled

_VALIDATION_SCANS = 6
_ROUNDED = 0.05  # dB
_LEVELS = "levels"  # the name under which the trained range of noise levels is kept with the weights
LEHTINEN = (
    "Lehtinen J, Munkberg J, Hasselgren J, et al. Noise2Noise: learning image restoration without clean data. "
    "ICML 2018;PMLR 80:2965-2974."
)


class PairNetwork(Method):
    """Base of the networks that never see a clean image: one noisy image in, an independent one as the target.

    The loss is the squared error over the variance that the input's surroundings tell (`senmei.training.spread`).
    Squares, because only then is the best network for noisy targets the best one for clean targets, E[clean | noisy]
    (Noise2Noise, section 2 of the paper: the target's noise has mean zero), whatever the weight that the input
    decides; it is also what keeps counts: an estimate of the mean has the mean's total, so nothing forces it.
    Images are in units of their own scale (`senmei.training.pairs.image_scale`), found in the image that goes in. The
    step that is kept is the one with the smallest such error against the *noisy* repeats of the validation scans,
    which is the error against the clean ones plus a constant. Clean images appear in no role.

    steps, batch : training steps, patches a step. learning_rate : peak of the schedule. centred : share of patches
    around what looks like a left ventricle, 0 to 1. mirror : learn on mirror images and quarter turns too (slower: how
    hearts lie is worth knowing; for long training on few patients). gain : half-width of the log of the intensity
    factor drawn for each patch. precision : auto, float32 or bf16. flips : average over the eight mirror images when
    applied (needs `mirror`).
    Raises ConfigError for values that mean nothing.
    """

    family: ClassVar[str] = "learned"
    together: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("noisy", "repeat")
    tunes_on: ClassVar[tuple[str, ...]] = ("noisy", "repeat")
    settings: ClassVar[tuple[str, ...]] = (
        "steps",
        "batch",
        "learning_rate",
        "centred",
        "mirror",
        "gain",
        "precision",
    )

    def __init__(
        self,
        *,
        steps: int,
        batch: int,
        learning_rate: float,
        centred: float,
        mirror: bool,
        gain: float,
        precision: str,
        flips: bool,
        **sizes: int,
    ) -> None:
        for name, value in {"steps": steps, "batch": batch, **sizes}.items():
            whole(name, value)
        positive("learning_rate", learning_rate)
        mixed_precision(precision, "cpu")
        for name, number in (("centred", centred), ("gain", gain)):
            if not 0 <= number <= 1:
                raise ConfigError(
                    f"'{name}' must lie between 0 and 1",
                    where=f"{name}: {number}",
                    why="it is a share of the patches" if name == "centred" else "it is the log of a factor",
                    fix="give a number from 0 to 1",
                )
        self.steps, self.batch, self.learning_rate = int(steps), int(batch), float(learning_rate)
        self.centred, self.mirror, self.gain = float(centred), bool(mirror), float(gain)
        self.precision, self.flips = precision, bool(flips)
        if self.flips and not self.mirror:
            raise ConfigError(
                "'flips' needs 'mirror'",
                where="flips: true, mirror: false",
                why="a network that never saw mirror images cannot restore them",
                fix="set mirror to true as well, or flips to false",
            )
        self._network: nn.Module | None = None
        self._device = "cpu"
        self._levels = (0.0, np.inf)

    # What a subclass says of itself

    def network(self) -> nn.Module:
        """A fresh network: (n, 1, x, y, z) image and (n, 1, 1, 1, 1) or like-shaped level -> the restored image."""
        raise NotImplementedError(type(self).__name__)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Edges of a training patch, voxels."""
        raise NotImplementedError(type(self).__name__)

    def restore(self, network: nn.Module, data: np.ndarray, level: float, device: str) -> np.ndarray:
        """(x, y, z) float32 image in units of its scale -> restored, the same unit and shape."""
        raise NotImplementedError(type(self).__name__)

    def before_judging(self, network: nn.Module, source: PairSource, context: FitContext) -> None:
        """What the averaged weights need before they are used (batch normalisation: its statistics)."""

    def target_of(self, target: torch.Tensor) -> torch.Tensor:
        """The part of the target (n, 1, x, y, z) that the network predicts."""
        return target

    def risk_weights(self, image: np.ndarray, voxel: Sequence[float] | None) -> np.ndarray:
        """Weight of each voxel in the validation risk, sum 1, from the (scaled) input image alone."""
        weights = weights_of_places(image, voxel, self.centred)
        weights = weights / spread(torch.from_numpy(image)[None, None])[0, 0].numpy() ** 2
        return weights / weights.sum()

    def arithmetic(self, device: str) -> str:
        """As `precision` says."""
        return precision_used(self.precision, device)

    # Fitting

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """Train on the pairs of `train`; the step is chosen by the noisy risk on `validation`."""
        scans = [self.pair_scan(example) for example in train]
        if not scans:
            raise DataError(
                f"Cannot train {self.title}",
                where="training scans",
                why="there are none with a noisy pair",
                fix="give the training cohort a subject in the training split",
            )
        source = PairSource(scans, self.sampling(), derive_seed(context.seed, "patches"))
        work = f"{self.steps} steps of {self.batch} x {' x '.join(map(str, self.patch_shape))} voxels"
        context.log(f"{self.title}: {len(scans)} noisy pairs, {work}")
        judge = NoisyRisk(self, validation, source, context)
        schedule = Schedule(self.steps, self.learning_rate, validations=5)
        player = Player(
            seeded(self.network, derive_seed(context.seed, "weights")).to(context.device), schedule
        )

        def update(t: int) -> dict[str, float]:
            data = source.batch(t, context.device, context.team)
            loss = self.loss(player.network, data, context.device)
            player.descend(loss)
            return {"loss": float(loss.detach())}

        identity = [("class", type(self).__name__), *((k, getattr(self, k)) for k in self.settings)]
        key = short_hash(identity, source.sampling, source.fingerprint(), context.seed, torch.__version__)
        kept = train_loop({"network": player}, update, judge, schedule, context, key)
        weights = {k: v.detach().cpu().numpy().copy() for k, v in kept.state_dict().items()}
        levels = np.array([min(source.levels), max(source.levels)], np.float32)
        return {**weights, _LEVELS: levels}

    def sampling(self) -> PairSampling:
        """How patches are drawn."""
        return PairSampling(self.patch_shape, self.batch, self.centred, self.mirror, self.gain)

    def loss(self, network: nn.Module, data: PairBatch, device: str) -> torch.Tensor:
        """Squared error against the independent noisy target, over the variance that the input's surroundings tell."""
        with mixed_precision(self.precision, device):
            restored = network(data.noisy, data.level)
        error = restored.float() - self.target_of(data.target)
        return (error / self.target_of(spread(data.noisy))).square().mean()

    def pair_scan(self, example: Example) -> PairScan:
        """The pair of an example. Raises DataError if the two do not belong together."""
        name = example.scan.get("scan", "?")
        one, two = (series(example[role], role, name) for role in self.needs[:2])
        if one.shape != two.shape:
            raise DataError(
                "The two images of a noisy pair differ in shape",
                where=name,
                why=f"{self.needs[0]} is {len(one)} of {one.shape[1:]}, {self.needs[1]} {len(two)} of {two.shape[1:]}",
                fix="prepare the scan again; both come from one acquisition geometry",
            )
        voxel = example[self.needs[0]].voxel
        counts = count_of(example, "pair_counts")
        return PairScan(one, two, noise_level(one.mean(axis=0), counts, voxel), voxel)

    # Applying

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take weights. Raises DataError if they are of another network."""
        network = self.network()
        state = {k: torch.from_numpy(np.array(v)) for k, v in weights.items() if k != _LEVELS}
        try:
            network.load_state_dict(state)
            low, high = (float(v) for v in weights[_LEVELS])
        except (RuntimeError, KeyError) as error:
            raise DataError(
                f"The weights do not fit {self.title}",
                where="weights",
                why=str(error).splitlines()[-1].strip(),
                fix="use the settings the weights were trained with, or train again",
            ) from error
        self._device, self._levels = device, (low, high)
        self._network = network.to(device).eval().requires_grad_(False)

    def fitted(self) -> nn.Module:
        """The network with its weights. Raises ConfigError without."""
        if self._network is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where="weights",
                why="a network restores nothing without weights",
                fix="fit it and load its weights",
            )
        return self._network

    def apply(self, example: Example) -> Volume:
        """The restored Volume: float32, the input's geometry and unit, nothing below zero.

        The network is told the `noise_level` of the acquisition's `counts`, within the levels it was trained for.
        An image of zeros stays as it is.
        """
        network = self.fitted()
        volume = one_volume(example["input"], example.scan.get("scan", "?"))
        if not volume.data.max() > 0:
            return volume.like(volume.data.copy())
        data, voxel = volume.data, volume.voxel
        level = self.known(noise_level(data, count_of(example, "counts"), voxel))
        return volume.like(self.restored(network, data, level, self._device, voxel))

    def known(self, level: float) -> float:
        """The level, within those that training has seen."""
        return float(np.clip(level, *self._levels))

    def restored(
        self,
        network: nn.Module,
        data: np.ndarray,
        level: float,
        device: str,
        voxel: Sequence[float] | None = None,
    ) -> np.ndarray:
        """(x, y, z) image in any unit -> restored, float32; its scale, mirror images, nothing negative."""
        scale = np.float32(image_scale(data, voxel))
        image = data / scale
        if self.flips:
            total = np.zeros(image.shape, np.float32)
            for flip in product((False, True), repeat=3):
                axes = tuple(i for i in range(3) if flip[i])
                turned = np.ascontiguousarray(np.flip(image, axes))
                total += np.flip(self.restore(network, turned, level, device), axes)
            image = total / 8
        else:
            image = self.restore(network, image, level, device)
        return (np.maximum(image, 0) * scale).astype(np.float32)


class NoisyRisk:
    """-10 log10 of the mean squared error of restored validation images against their noisy repeats, dB.

    In units of each image's scale; the place that looks most like a ventricle has the share `centred`, the rest of the
    body what is left, as in training. Only differences mean something: the target's own noise is in it. Rounded to
    0.05 dB, which is what that noise leaves certain, so that of equal steps the last is kept.
    """

    def __init__(
        self, method: PairNetwork, examples: Sequence[Example], source: PairSource, context: FitContext
    ) -> None:
        self.method, self.source, self.context = method, source, context
        at = np.unique(
            np.linspace(0, len(examples) - 1, min(_VALIDATION_SCANS, len(examples))).round().astype(int)
        )
        self.cases = [self._case(method.pair_scan(examples[i])) for i in at] if examples else []
        if not self.cases:
            raise DataError(
                f"Cannot train {method.title}",
                where="validation scans",
                why="there are none, and the step to keep is chosen on them",
                fix="give the training cohort a validation subject",
            )

    def __call__(self, network: nn.Module) -> float:
        self.method.before_judging(network, self.source, self.context)
        network.eval()
        risks = []
        for noisy, target, weight, level in self.cases:
            image = self.method.restore(network, noisy, level, self.context.device)
            risks.append(float(np.sum(weight * (image - target) ** 2)))
        decibels = -10 * np.log10(max(float(np.mean(risks)), 1e-20))
        return round(round(float(decibels) / _ROUNDED) * _ROUNDED, 2)

    def _case(self, scan: PairScan) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """First of the pairs, in units of the input's scale; weights of sum 1 (of the input alone); level."""
        scale = np.float32(image_scale(scan.noisy[0], scan.voxel))
        noisy, target = scan.noisy[0] / scale, scan.repeat[0] / scale
        return noisy, target, self.method.risk_weights(noisy, scan.voxel), scan.level


def count_of(example: Example, column: str) -> float:
    """Counts of a scan from the named column. Raises DataError unless they are above zero."""
    value = example.scan.get(column)
    try:
        counts = float(value) if value is not None else 0.0
    except ValueError:
        counts = 0.0
    if not (np.isfinite(counts) and counts > 0):
        raise DataError(
            "The number of counts of a scan is not known",
            where=f"{example.scan.get('scan', '?')}: column {column}",
            why=f"it is {value!r}, and the network is told the noise level that goes with it",
            fix="prepare the scan again; an acquisition without counts must be left out",
        )
    return counts


def series(volume: Volume, role: str, name: object) -> np.ndarray:
    """(K, x, y, z) float32 of a 4D Volume (a 3D one is a series of one). Raises DataError if it is not usable."""
    data = np.asarray(volume.data, dtype=np.float32)
    if data.ndim == 3:
        data = data[..., None]
    if data.ndim != 4 or not np.isfinite(data).all() or not (data.max(axis=(0, 1, 2)) > 0).all():
        raise DataError(
            "Unusable image of a noisy pair",
            where=f"{name}: role {role}",
            why=f"it must be (x, y, z, k), finite, each with something above zero; it is {data.shape}",
            fix="prepare the scan again, or leave it out",
        )
    return np.ascontiguousarray(np.moveaxis(data, 3, 0))


def tiled(network: nn.Module, data: np.ndarray, level: float, device: str, **sizes: Any) -> np.ndarray:
    """`apply_tiled` with one noise level for the whole volume. sizes : tile, halo, align and precision."""
    precision = sizes.pop("precision")

    def run(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        with mixed_precision(precision, device):
            return network(x, s).float()

    return apply_tiled(run, data, np.full(data.shape, level, np.float32), device=device, **sizes)
