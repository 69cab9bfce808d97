"""A three-layer network from the vein's time-activity curve to the pulmonary artery's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import ClassVar, cast

import numpy as np
import torch
from torch import nn

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.seeds import derive_seed, short_hash
from senmei.methods.curve_pairs import WORDS, Pairs, Steps, pairs_of
from senmei.methods.curves import Curve, CurveMethod, counted, curve_of, judged_range, psnr, role_of
from senmei.methods.restoration_network import seeded
from senmei.methods.tuned import positive, whole
from senmei.training.loop import Player, Schedule
from senmei.training.loop import train as train_loop


class ThreeLayers(nn.Module):
    """Input, hidden and output layer, the hidden one of hyperbolic tangents; values come in and go out standardised.

    `mean`, `spread` (inputs,) of the inputs and `unit` (1,) of the outputs are of the training curves, kept with the
    weights. The last layer starts small, so that training begins at nothing.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    unit: torch.Tensor

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, outputs)
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("unit", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs) -> (n, outputs), counts/s/MBq over `unit`."""
        y: torch.Tensor = self.output(torch.tanh(self.hidden((x - self.mean) / self.spread)))
        return y

    def standardise(self, pairs: Pairs) -> None:
        """Take means, spreads and unit from the training curves. All steps share one spread: empty ones hold noise."""
        mean, spread = (
            pairs.seen.mean(axis=0),
            np.full(pairs.seen.shape[1], pairs.seen[:, :-WORDS].std() + 1e-9),
        )
        spread[-WORDS:] = pairs.seen[:, -WORDS:].std(axis=0) + 1e-6
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.spread.copy_(torch.from_numpy(spread.astype(np.float32)))
        self.unit.fill_(float(pairs.wanted.std()) + 1e-12)


class TACNetwork(CurveMethod):
    """A perceptron of three layers (input, hidden, output), as a paper of the programme used; its sizes are assumed.

    The vein's curve is brought onto steps of `step_s`, shifted so that a fifth of its counts have come at a fixed place
    (`aligned`), and divided by its total; with it go the logarithms of counts per injected MBq and of the counts. The
    output layer is the artery's curve on the same steps in counts/s per MBq, brought back to the scan's frames, and to
    0 where it is negative.

    hidden : units of the hidden layer. step_s : width of the steps, s. steps, batch : training steps, curves a step.
    learning_rate : its peak. decay : weight decay. aligned : see above; without it time counts from the first frame.
    draws : further curves made of each training scan, with new noise and superposed, see `pairs_of`; they need the
    noise-free `expected` of simulated scans. 0: the curves as they were counted are all there is.
    The loss is the mean squared error; the step kept has the highest PSNR on validation. Raises ConfigError for values
    that mean nothing.
    """

    title: ClassVar[str] = "Three-layer network"
    family: ClassVar[str] = "learned"
    needs: ClassVar[tuple[str, ...]] = ("input", "curve", "reference")
    tunes_on: ClassVar[tuple[str, ...]] = ("input", "curve", "reference")
    sentence: ClassVar[str] = (
        "A network of three layers ({settings[hidden]} hidden units, {card[parameters]} weights) was trained for "
        "{settings[steps]} steps to give the artery's curve for that of the vein, in steps of {settings[step_s]} s."
    )

    def __init__(
        self,
        hidden: int = 32,
        step_s: float = 0.5,
        steps: int = 4000,
        batch: int = 64,
        learning_rate: float = 3e-3,
        decay: float = 1.0,
        aligned: bool = True,
        draws: int = 0,
    ) -> None:
        for name, value in {"hidden": hidden, "steps": steps, "batch": batch}.items():
            whole(name, value)
        positive("step_s", step_s)
        positive("learning_rate", learning_rate)
        for name, number in {"decay": decay, "draws": draws}.items():
            if not (np.isfinite(number) and number >= 0):
                raise ConfigError(
                    f"'{name}' must be 0 or more",
                    where=f"{name}: {number}",
                    why="it is a strength or counts something",
                    fix="give 0 or more",
                )
        self.hidden, self.steps, self.batch = int(hidden), int(steps), int(batch)
        self.step_s, self.learning_rate, self.decay = float(step_s), float(learning_rate), float(decay)
        self.aligned, self.draws = bool(aligned), int(draws)
        if self.draws:
            self.needs = (*type(self).needs, "expected")  # type: ignore[misc]
        self._network: ThreeLayers | None = None
        self._grid, self._device = Steps(self.step_s, 0.0, self.aligned), "cpu"

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """Train on pairs of curves. Raises DataError without scans, or for acquisitions of several lengths."""
        train, validation = counted(train), counted(validation)
        grid = Steps(self.step_s, _length(train, self.title), self.aligned)
        cases = [(curve_of(e), role_of(e, "reference"), judged_range(e)) for e in validation]
        if not cases:
            raise DataError(
                f"Cannot train {self.title}",
                where="validation scans",
                why="there are none, and the step to keep is chosen on them",
                fix="give the training cohort a validation subject",
            )
        pairs = pairs_of(train, grid, self.draws, np.random.default_rng(derive_seed(context.seed, "draws")))
        sizes = pairs.seen.shape[1], self.hidden, pairs.wanted.shape[1]
        fresh = seeded(lambda: ThreeLayers(*sizes), derive_seed(context.seed, "weights"))
        network = cast(ThreeLayers, fresh)
        network.standardise(pairs)
        unit = float(network.unit)
        network.to(context.device)
        x, y, known = (
            torch.from_numpy(np.asarray(array, np.float32)).to(context.device)
            for array in (pairs.seen, pairs.wanted / unit, pairs.known)
        )
        context.log(f"{self.title}: {len(x)} curves, layers of {', '.join(map(str, sizes))}")
        schedule = Schedule(self.steps, self.learning_rate, decay=self.decay)
        player = Player(network, schedule)
        seed = derive_seed(context.seed, "batches")

        def update(t: int) -> dict[str, float]:
            drawn = np.random.default_rng([seed, t]).integers(len(x), size=self.batch)
            chosen = torch.from_numpy(drawn).to(x.device)
            error = (player.network(x[chosen]) - y[chosen]) * known[chosen]
            loss = (error**2).sum() / known[chosen].sum()
            player.descend(loss)
            return {"loss": float(loss.detach())}

        def judge(kept: nn.Module) -> float:
            scores = [psnr(_estimate(kept, c, grid, context.device), r, span) for c, r, span in cases]
            return float(np.mean(scores))

        settings = sorted((k, str(v)) for k, v in vars(self).items() if not k.startswith("_"))
        data = [sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in vars(pairs).values()]
        key = short_hash(type(self).__name__, settings, data, context.seed, torch.__version__)
        kept = train_loop({"network": player}, update, judge, schedule, context, key)
        weights = {k: v.detach().cpu().numpy().copy() for k, v in kept.state_dict().items()}
        return {**weights, "seconds": np.array([grid.seconds], np.float32)}

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take weights. Raises DataError if they are of another network."""
        try:
            grid = Steps(self.step_s, float(weights["seconds"][0]), self.aligned)
            outputs = len(grid.edges) - 1
            network = ThreeLayers(outputs + WORDS, self.hidden, outputs)
            state = {k: torch.from_numpy(np.array(v)) for k, v in weights.items() if k != "seconds"}
            network.load_state_dict(state)
        except (RuntimeError, KeyError, IndexError, ValueError) as error:
            raise DataError(
                f"The weights do not fit {self.title}",
                where="weights",
                why=str(error).splitlines()[-1].strip(),
                fix="use the settings the weights were trained with, or train again",
            ) from error
        self._network = network.to(device).eval().requires_grad_(False)
        self._grid, self._device = grid, device

    def estimate(self, curve: Curve) -> np.ndarray:
        """(frames,) counts per frame. Raises ConfigError where nothing was fitted, DataError for another length."""
        if self._network is None:
            raise ConfigError(
                f"{self.title} has not been fitted",
                where="tac_network",
                why="no fitted weights were given",
                fix="fit it and load its weights",
            )
        if abs(float(curve.edges[-1]) - self._grid.seconds) > 0.01:
            raise DataError(
                f"{self.title} was trained for acquisitions of another length",
                where=curve.name,
                why=f"this one lasts {curve.edges[-1]:g} s, those {self._grid.seconds:g} s",
                fix="train it on acquisitions like this one",
            )
        return _estimate(self._network, curve, self._grid, self._device)


def _estimate(network: nn.Module, curve: Curve, grid: Steps, device: str) -> np.ndarray:
    x = torch.from_numpy(grid.seen(curve).astype(np.float32))[None].to(device)
    with torch.inference_mode():
        rates = (network(x) * network.unit).double().cpu().numpy()[0]
    return grid.framed(rates, curve)


def _length(examples: Sequence[Example], title: str) -> float:
    """Seconds that all of the scans last."""
    lengths = sorted({round(float(curve_of(example).edges[-1]), 3) for example in examples})
    if len(lengths) != 1:
        told = " and ".join(f"{seconds:g} s" for seconds in lengths)
        raise DataError(
            f"Cannot train {title}",
            where="training scans",
            why=f"they last {told}; a network serves one length" if lengths else "there are none",
            fix="train on acquisitions of one length",
        )
    return lengths[0]
