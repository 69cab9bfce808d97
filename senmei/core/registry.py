"""Lazy registries: a name -> 'module:attribute' table. Nothing is imported until it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from senmei.core.errors import ConfigError, nearest


class Registry:
    """Names of one kind of thing and where they live.

    A name that contains a colon is itself a place ('my_lab.denoise:Method'): how a user or a test
    brings a thing of their own without editing the library.
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        self.kind, self.places = kind, dict(places)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def place(self, name: str) -> str:
        """'module:attribute' of a name. Raises ConfigError with the nearest valid name."""
        if ":" in name:
            return name
        if name not in self.places:
            raise ConfigError(
                f"Unknown {self.kind} '{name}'",
                where=f"{self.kind} '{name}'",
                why=f"no {self.kind} of this name is registered",
                fix=nearest(name, self.places),
            )
        return self.places[name]

    def module(self, name: str) -> str:
        """Dotted module of a name, for fingerprints; imports nothing."""
        return self.place(name).split(":")[0]

    def get(self, name: str) -> Any:
        """The thing itself. Raises ConfigError if it cannot be imported."""
        module, _, attribute = self.place(name).partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"Cannot load {self.kind} '{name}'",
                where=f"{module}:{attribute}",
                why=str(error),
                fix="check the spelling, and that the environment has what the module imports",
            ) from error
