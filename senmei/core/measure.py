"""The contract of a measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from senmei.core.example import Example
from senmei.core.volume import Volume


@dataclass(frozen=True)
class Measure:
    """A pure function (example, restored) -> float, with what one must know to read the number."""

    function: Callable[[Example, Volume], float]
    requires: tuple[str, ...]
    better: str  # "higher", "lower", "one" or "zero" (nearest to it)
    unit: str
    title: str
    limit: float | None = None  # where the size of its mean over a cohort is larger, the report flags it

    def __call__(self, example: Example, restored: Volume) -> float:
        return float(self.function(example, restored))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.function.__doc__


def measure(
    *, requires: tuple[str, ...] = (), better: str, unit: str, title: str, limit: float | None = None
) -> Callable[[Callable[[Example, Volume], float]], Measure]:
    """Declare a measure: roles it requires, direction, unit, title, limit. The docstring holds formula and source."""

    def wrap(function: Callable[[Example, Volume], float]) -> Measure:
        return Measure(function, requires, better, unit, title, limit)

    return wrap
