"""A short training loop: warm-up and cosine, averaged weights, checkpoints that resume bit for bit."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import pickle
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from senmei.core.errors import ConfigError, nearest
from senmei.core.interruption import Interrupted
from senmei.core.method import FitContext
from senmei.core.team import Team
from senmei.io.atomic import atomic_path
from senmei.training.muon import Muon

_INNER = 4  # channels in and out: convolutions of fewer are first or last ones
_MUON_RATE = 10.0  # orthogonal updates are of unit size
# A checkpoint opens with the SHA-256 of what follows: torch itself checks nothing.
_DIGEST = hashlib.sha256().digest_size
PRECISIONS = ("auto", "float32", "bf16")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    steps : batches. learning_rate : its peak, after `warmup` (share of the steps), then falling as a cosine to 1 %.
    decay : AdamW's weight decay. clip : largest norm of a gradient. average : decay of the averaged weights.
    validations : times in the run that validation is looked at. save_seconds : time between checkpoints.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.03
    decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.998
    validations: int = 10
    save_seconds: float = 60.0

    def rate(self, t: int) -> float:
        """Learning rate of step t (0-based)."""
        warm = max(1, round(self.warmup * self.steps))
        if t < warm:
            return self.learning_rate * (t + 1) / warm
        share = (t - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


class Player:
    """A network with its optimisers: Muon for inner convolutions, AdamW for the rest.

    `rate` is relative to the schedule's, which is AdamW's; Muon's is ten times that.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, rate: float = 1.0) -> None:
        self.network, self.clip, self.team = network, schedule.clip, Team()
        inner = [p for p in network.parameters() if p.ndim > 2 and min(p.shape[:2]) >= _INNER]
        known = {id(p) for p in inner}
        outer = [p for p in network.parameters() if id(p) not in known]
        adam = torch.optim.AdamW(outer, lr=schedule.learning_rate, weight_decay=schedule.decay)
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [(adam, rate)]
        if inner:
            self.optimisers.append((Muon(inner, lr=_MUON_RATE * schedule.learning_rate), _MUON_RATE * rate))

    def set_rate(self, rate: float) -> None:
        """Learning rate from now on."""
        for optimiser, relative in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * relative

    def descend(self, loss: torch.Tensor) -> None:
        """One optimiser step down a loss. Steps whose gradient is not finite are left out."""
        for optimiser, _ in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.team.average(self.network)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        if torch.isfinite(norm):
            for optimiser, _ in self.optimisers:
                optimiser.step()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "network": self.network.state_dict(),
            "optimisers": [o.state_dict() for o, _ in self.optimisers],
        }

    def take(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.network.load_state_dict(state["network"])
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def train(
    players: Mapping[str, Player],
    update: Callable[[int], Mapping[str, float]],
    validate: Callable[[nn.Module], float] | None,
    schedule: Schedule,
    context: FitContext,
    key: str,
    keep_last: bool = False,
    stop_after: int | None = None,
) -> nn.Module:
    """Train until `schedule.steps`; returns the first player's network with averaged weights.

    update : step number -> losses by name, after having made that step. validate : network -> PSNR in dB of
    validation images; the averaged weights with the highest are returned (without it, or with `keep_last`, the last).
    key : names the configuration, the data and the seed; a checkpoint of another key is not continued.
    stop_after : leave after this many steps of this call, checkpoint written (what a kill would do).
    Adds rows {step, loss..., learning_rate, val_psnr} to `context.history`. Raises Interrupted when `context.stop()`
    turns true before the last step, the checkpoint written.
    With a team in the context every process makes every step; rank 0 alone validates, logs and saves.
    """
    team = context.team
    for player in players.values():
        player.team = team
    main = next(iter(players.values()))
    average = copy.deepcopy(main.network).requires_grad_(False)
    best: dict[str, Any] = {"val_psnr": -math.inf, "weights": None}
    first, losses = 0, _Mean()
    saved = _read(context, key)
    if saved is not None:
        for name, player in players.items():
            player.take(saved["players"][name])
        average.load_state_dict(saved["average"])
        first, best = int(saved["step"]), saved["best"]
        losses.total, losses.count = dict(saved["losses"]), int(saved["losses_count"])
        context.history[:] = saved["history"]
        context.log(f"resuming after step {first} of {schedule.steps}")
    team.agree("the step to start after", first)
    every = max(1, schedule.steps // max(1, schedule.validations))
    told = written = time.monotonic()
    begun = time.monotonic()

    def save(step: int) -> None:
        if team.rank > 0:
            return
        _write(
            context,
            {
                "key": key,
                "step": step,
                "players": {name: player.state() for name, player in players.items()},
                "average": average.state_dict(),
                "best": best,
                "losses": losses.total,
                "losses_count": losses.count,
                "history": context.history,
            },
        )

    for t in range(first, schedule.steps):
        rate = schedule.rate(t)
        for player in players.values():
            player.set_rate(rate)
            player.network.train()
        team.begin()
        losses.add(team.losses(update(t)))
        _follow(average, main.network, min(schedule.average, (1 + t) / (10 + t)))
        done = t + 1
        if done % every == 0 or done == schedule.steps:
            row: dict[str, Any] = {"step": done, **losses.take(), "learning_rate": rate}
            team.agree(f"the sum of the weights after step {done}", _total(main.network, team))
            if validate is not None and team.rank == 0:
                row["val_psnr"] = validate(average)
                if row["val_psnr"] >= best["val_psnr"]:
                    weights = {k: v.detach().clone() for k, v in average.state_dict().items()}
                    best = {"val_psnr": row["val_psnr"], "weights": weights}
            context.history.append(row)
            left = (time.monotonic() - begun) / (done - first) * (schedule.steps - done)
            psnr = f", validation {row['val_psnr']:.2f} dB" if "val_psnr" in row else ""
            context.log(
                f"step {done} of {schedule.steps}: loss {row['loss']:.5f}{psnr}, about {left:.0f} s left"
            )
            told = time.monotonic()
        elif time.monotonic() - told > 30:
            left = (time.monotonic() - begun) / (done - first) * (schedule.steps - done)
            context.log(f"step {done} of {schedule.steps}, about {left:.0f} s left")
            told = time.monotonic()
        if stop_after is not None and done - first >= stop_after:
            save(done)
            return average
        if done < schedule.steps and team.any(context.stop()):
            save(done)
            raise Interrupted(
                f"Training left after step {done} of {schedule.steps}",
                where=context.checkpoint or "this training has no checkpoint",
                why="the job was told to stop: a time limit draws near, or it was cancelled",
                fix="start it again: it goes on from there to the same weights; or give it more time",
            )
        if done < schedule.steps and time.monotonic() - written > schedule.save_seconds:
            save(done)
            written = time.monotonic()
    if best["weights"] is not None and not keep_last:
        average.load_state_dict(best["weights"])
    return average.eval()


def mixed_precision(precision: str, device: str) -> AbstractContextManager:
    """The autocast context of a precision: bf16, float32, or what the processor is good at ('auto')."""
    if precision_used(precision, device) == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def precision_used(precision: str, device: str) -> str:
    """What a precision means on a device: 'bf16' or 'float32'."""
    if precision not in PRECISIONS:
        raise ConfigError(
            f"Unknown precision '{precision}'",
            where=f"precision: {precision}",
            why="it names no arithmetic",
            fix=nearest(precision, PRECISIONS),
        )
    if precision == "auto":
        return "bf16" if _fast_bf16(torch.device(device).type) else "float32"
    return precision


def _fast_bf16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _Mean:
    """Mean losses since they were last taken."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.count = 0

    def add(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.total[name] = self.total.get(name, 0.0) + float(value)
        self.count += 1

    def take(self) -> dict[str, float]:
        means = {name: value / max(self.count, 1) for name, value in self.total.items()}
        self.total, self.count = {}, 0
        return means


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    pairs: Iterable = zip(average.parameters(), network.parameters(), strict=True)
    for mean, value in pairs:
        mean.lerp_(value.to(mean.dtype), 1 - decay)


def _total(network: nn.Module, team: Team) -> float:
    if team.size == 1:
        return 0.0
    return float(sum(p.detach().double().sum() for p in network.parameters()))


def _write(context: FitContext, state: Mapping[str, Any]) -> None:
    if context.checkpoint is None:
        return
    content = io.BytesIO()
    torch.save(dict(state), content)
    with atomic_path(context.checkpoint) as temporary, open(temporary, "wb") as file:
        file.write(hashlib.sha256(content.getbuffer()).digest())
        file.write(content.getbuffer())


def _read(context: FitContext, key: str) -> dict[str, Any] | None:
    """The checkpoint of this very training, or None; the log says why one is not used."""
    if context.checkpoint is None or not context.checkpoint.exists():
        return None
    try:
        content = memoryview(context.checkpoint.read_bytes())
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            raise ValueError("its SHA-256 is another")
        state = torch.load(io.BytesIO(content[_DIGEST:]), map_location=context.device, weights_only=True)
        found = state["key"]
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [""])[0][:100]
        context.log(f"the checkpoint cannot be read ({type(error).__name__}: {reason}): starting afresh")
        return None
    if found != key:
        context.log("the checkpoint belongs to other settings, data or seed: starting afresh")
        return None
    return state
