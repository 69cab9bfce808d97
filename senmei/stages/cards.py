"""Cards: what fitted weights are, written by training and believed by nobody before it is proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import senmei
from senmei.core.errors import ConfigError, DataError
from senmei.core.method import Method
from senmei.io.atomic import sha256, write_text
from senmei.methods import METHODS
from senmei.stages.shards import check_of

CARD_BYTES = 1_000_000  # a card has a few thousand
CARD_DEPTH = 20  # and five levels


def make_method(use: str, options: Mapping[str, Any], name: str) -> Method:
    """A configured method. Raises ConfigError naming the instance for settings it does not take."""
    cls = METHODS.get(use)
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ConfigError(
            f"'{use}' is no method",
            where=f"methods.{name}",
            why="it is not a class that inherits from senmei.core.method.Method",
            fix="see docs/how-to/add-a-method.md",
        )
    try:
        return cls(**options)
    except TypeError as error:
        raise ConfigError(
            f"Method '{use}' does not take these settings",
            where=f"methods.{name}",
            why=str(error),
            fix="see docs/reference/methods.md",
        ) from error


def write_card(
    path: Path | str,
    method: Method,
    name: str,
    use: str,
    options: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    told: Mapping[str, Any],
) -> None:
    """Write what fitted weights are: what the method says of itself, and `told` of how they came about."""
    card = {
        "method": name,
        "use": use,
        "title": method.title,
        "family": method.family,
        "oracle": method.oracle,
        "settings": dict(options),
        "needs": list(dict.fromkeys([*method.needs, *method.tunes_on])),
        "references": list(method.references),
        "parameters": int(sum(v.size for v in weights.values())) if method.family == "learned" else None,
        "fitted": {k: [round(float(x), 6) for x in v.ravel()] for k, v in weights.items() if v.size <= 16}
        if method.family == "classical"
        else {},
        **told,
    }
    card["sentence"] = method.sentence.format(settings=_Settings(method, options), card=card)
    card = json.loads(json.dumps(card, default=str))
    card["check"] = check_of(card)
    write_text(path, json.dumps(card, indent=1, sort_keys=True) + "\n")


def record(
    method: Method, device: str, log: Callable[[str], None], used: dict[str, Any] | None, **more: Any
) -> None:
    """Tell the log, and the volatile record beside it, how a method computes here."""
    facts = {**({"precision": method.arithmetic(device)} if method.arithmetic(device) else {}), **more}
    if facts:
        log(", ".join(f"{name}: {value}" for name, value in facts.items()))
    if used is not None:
        used.update(facts)


class _Settings:
    """Settings for a sentence: what was configured, else the method's own attribute of that name."""

    def __init__(self, method: Method, options: Mapping[str, Any]) -> None:
        self.method, self.options = method, options

    def __getitem__(self, key: str) -> Any:
        return self.options.get(key, getattr(self.method, key, "default"))


def versions() -> dict[str, str]:
    """package -> version of Senmei and of what methods compute with."""
    found = {"senmei": senmei.__version__}
    for package in ("numpy", "torch", "dipy", "antspyx", "nilearn", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _again(path: Path | str) -> str:
    return f"train again: run as before with --forcerun={path}"


def read_card(card: Path | str, use: str | None = None, fix: str | None = None) -> dict[str, Any]:
    """The card of a fitted method, proven to be as the training job wrote it. Raises DataError, imports nothing.

    use : the method that the configuration names; a card that names another is refused. fix : of the errors.
    """
    fix = fix or _again(card)
    try:
        with open(card, "rb") as file:
            content = file.read(CARD_BYTES + 1)
        if len(content) > CARD_BYTES:
            raise ValueError(f"it has more than {CARD_BYTES} bytes")
        facts = json.loads(content.decode("utf-8"))
        if not all(isinstance(facts[name], str) for name in ("use", "method", "weights_sha256")):
            raise TypeError("a name in it is no text")
        if not isinstance(facts["settings"], dict):
            raise TypeError("its settings are no keys and values")
        if _depth(facts) > CARD_DEPTH:
            raise ValueError("it is nested too deeply")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "Cannot read the card of a method",
            where=card,
            why=f"{type(error).__name__}: {error}",
            fix=fix,
        ) from error
    if use is not None and facts["use"] != use:
        raise DataError(
            "Card belongs to another method",
            where=card,
            why=f"it names '{facts['use']}'; '{use}' is configured",
            fix=fix,
        )
    if facts.get("check") != check_of(facts):
        raise DataError(
            "Card of a method was changed",
            where=card,
            why="its content is not what the training job wrote",
            fix=fix,
        )
    return facts


def _depth(value: Any) -> int:
    """How deeply lists and keys are nested; without recursion, which is what such a file would break."""
    level, depth = [value], 0
    while level:
        parts = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level, depth = [item for part in parts for item in part], depth + 1
    return depth


def load_method(
    weights: Path | str, card: Path | str, device: str, use: str | None = None, fix: str | None = None
) -> tuple[Method, dict[str, Any]]:
    """A fitted method and its card. Weights whose hash is not the card's are refused (DataError), never used.

    use : the method that the configuration names; a card that names another is refused before anything of it is
    imported, since a card may come from elsewhere and `use` may be a place in any module. fix : of the errors.
    """
    facts = read_card(card, use, fix)
    arrays = read_weights(weights, facts, fix)
    method = make_method(facts["use"], facts["settings"], facts["method"])
    method.load(arrays, device)
    return method, facts


def read_weights(
    weights: Path | str, facts: Mapping[str, Any], fix: str | None = None
) -> dict[str, np.ndarray]:
    """Named arrays of a safetensors file whose hash is the card's; any other is refused (DataError), never used."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    fix = fix or _again(weights)
    if sha256(Path(weights)) != facts["weights_sha256"]:
        raise DataError(
            "Weights do not belong to their card",
            where=weights,
            why="the file's SHA-256 differs from the one the training job recorded",
            fix=fix,
        )
    try:
        return load_file(str(weights))
    except (SafetensorError, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "Cannot read weights",
            where=weights,
            why=f"it is no safetensors file ({error}); nothing else is ever loaded",
            fix=fix,
        ) from error
