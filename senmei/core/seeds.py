"""One seed in the configuration; every other is derived from it by name, so order never matters."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: object) -> int:
    """A 32-bit seed for (`seed`, names...): SHA-256 of both. Stable across machines and Python versions."""
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def draw_generator(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator seeded by `derive_seed(seed, *names)`."""
    return np.random.default_rng(derive_seed(seed, *names))


def unit_interval(*names: object) -> float:
    """A number in [0, 1) that depends on the names alone: for splits and buckets that survive additions."""
    text = "\x1f".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def short_hash(*parts: object) -> str:
    """16 hexadecimal digits over the text of the parts."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]
