"""The contract of a method: anything that restores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from senmei.core.example import Example
from senmei.core.team import Team


@dataclass
class FitContext:
    """What fitting may know of the job it runs in.

    seed : of this method in this run. device : a torch device string. threads : cores granted.
    checkpoint : file for resuming, kept beside the weights until they are final (None: do not checkpoint).
    log : progress, a line at a time. history : rows for history.tsv.
    stop : asked now and then; once it is true, save a checkpoint and raise `Interrupted`.
    team : the processes that fit together, for methods that say `together`; their `threads` are those of one process.
    """

    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    checkpoint: Path | None = None
    log: Callable[[str], None] = print
    history: list[dict[str, Any]] = field(default_factory=list)
    stop: Callable[[], bool] = lambda: False
    team: Team = field(default_factory=Team)


class Method:
    """Base of all methods. Settings are keyword arguments of the constructor, with defaults and checks there.

    needs : roles that *fitting* needs of the training examples; () when it learns nothing from them.
    tunes_on : roles that fitting needs of the validation examples, to tune or select; () when there is nothing to.
    inputs : roles that `apply` needs.
    family : 'none', 'classical' or 'learned'; the report compares the learned with the best tuned classical.
    oracle : tuned on the truth that it is judged by, as no user could: shown, marked, and never a baseline.
    together : several processes may fit it: `fit` takes from `context.team` its share of the samples of a step, which
        are `self.batch`. See `senmei.training.parallel`.
    sentence : what the methods paragraph says of it; may use {settings[...]} and {card[...]}.
    references : for the same paragraph.
    """

    title: ClassVar[str]
    family: ClassVar[str] = "classical"
    oracle: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    tunes_on: ClassVar[tuple[str, ...]] = ()
    inputs: ClassVar[tuple[str, ...]] = ("input",)
    together: ClassVar[bool] = False
    sentence: ClassVar[str] = ""
    references: ClassVar[tuple[str, ...]] = ()

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """Weights as named arrays (saved as safetensors). Tuning uses `validation` only."""
        return {}

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take fitted weights, ready to apply on `device`."""

    def apply(self, example: Example) -> Any:
        """The restored Volume (on `output_grid(example)`), or a prediction (dict)."""
        raise NotImplementedError(type(self).__name__)

    def remark(self, example: Example) -> str:
        """What to know of this scan: in what it is unlike those that were learned from. '' for nothing (default)."""
        return ""

    def arithmetic(self, device: str) -> str:
        """The precision that networks compute in on a device, for the record; '' for what has no choice."""
        return ""

    def output_grid(self, example: Example) -> tuple[tuple[int, ...], np.ndarray]:
        """(shape, affine) of what `apply` returns: by default the input's own."""
        volume = example["input"]
        return volume.shape, volume.affine
