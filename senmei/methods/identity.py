"""The unrestored image, through the same door as every method."""

from __future__ import annotations

from typing import ClassVar

from senmei.core.example import Example
from senmei.core.method import Method
from senmei.core.volume import Volume


class Identity(Method):
    """Returns the input unchanged, whatever its shape and dtype: what every other method is compared with."""

    title: ClassVar[str] = "Unrestored"
    family: ClassVar[str] = "none"
    sentence: ClassVar[str] = "Unrestored images were measured in the same way."

    def apply(self, example: Example) -> Volume:
        """The input Volume itself."""
        volume: Volume = example["input"]
        return volume
