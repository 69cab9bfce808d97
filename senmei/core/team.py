"""Several processes that fit one method together: what the loop and the sources of batches know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Team:
    """The processes that fit one method together, as one of them sees it; this one is on its own.

    Every process makes the same steps. Of the samples of a step each takes its share (`mine`); what it then adds to
    gradients and losses counts for as many, so that the update is that of the whole batch. Who never asks for a share
    computes whole batches everywhere: slower, and still right. rank : 0 is the one that validates, logs and saves.
    """

    rank = 0
    size = 1

    def begin(self) -> None:
        """A step begins: until `mine` says otherwise every process has an equal say."""

    def mine(self, samples: int) -> range:
        """Which of a step's samples this process computes."""
        return range(samples)

    def average(self, network: Any) -> None:
        """Make the gradients of a network those of the whole batch."""

    def losses(self, own: Mapping[str, float]) -> Mapping[str, float]:
        """The losses of the whole batch, from each process's own."""
        return own

    def any(self, flag: bool) -> bool:
        """Whether it is true for any of them."""
        return flag

    def agree(self, what: str, value: float) -> None:
        """Raise SenmeiError unless the number is the same for all of them, to the last bit."""
