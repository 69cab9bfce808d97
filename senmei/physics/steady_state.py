"""Steady-state signal of T1-weighted sequences, and the relaxation times of tissues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from senmei.core.errors import ConfigError

# T1 (ms): grey and white matter Wright 2008 (MAGMA 21:121), CSF Rooney 2007 (Magn Reson Med 57:308), deep grey
# between the two as in Rooney; marrow and soft tissue are mixtures with fat (T1 about 300 ms). T2* (ms): Peters 2007
# (Magn Reson Imaging 25:748) for grey and white. PD: relative to CSF.
TISSUE_T1 = {
    1.5: {
        "csf": 4070,
        "grey": 1197,
        "white": 646,
        "deep_grey": 980,
        "bone": 300,
        "marrow": 300,
        "soft": 420,
        "blood": 1480,
    },
    3.0: {
        "csf": 4300,
        "grey": 1607,
        "white": 838,
        "deep_grey": 1290,
        "bone": 350,
        "marrow": 380,
        "soft": 500,
        "blood": 1650,
    },
    7.0: {
        "csf": 4425,
        "grey": 1939,
        "white": 1126,
        "deep_grey": 1640,
        "bone": 400,
        "marrow": 450,
        "soft": 620,
        "blood": 2090,
    },
}
TISSUE_T2S = {
    1.5: {
        "csf": 300,
        "grey": 84,
        "white": 66,
        "deep_grey": 60,
        "bone": 0.5,
        "marrow": 20,
        "soft": 30,
        "blood": 100,
    },
    3.0: {
        "csf": 250,
        "grey": 66,
        "white": 53,
        "deep_grey": 45,
        "bone": 0.4,
        "marrow": 12,
        "soft": 25,
        "blood": 60,
    },
    7.0: {
        "csf": 150,
        "grey": 33,
        "white": 27,
        "deep_grey": 22,
        "bone": 0.3,
        "marrow": 6,
        "soft": 15,
        "blood": 15,
    },
}
PD = {
    "csf": 1.0,
    "grey": 0.82,
    "white": 0.70,
    "deep_grey": 0.78,
    "bone": 0.1,
    "marrow": 0.75,
    "soft": 0.8,
    "blood": 0.85,
}


@dataclass(frozen=True)
class Sequence:
    """A T1-weighted 3D sequence; times in ms, angle in degrees. inversion 0 = spoiled gradient echo, no inversion.

    inversion : TI from the inversion to the centre of k-space; cycle : time from inversion to inversion.
    echo_spacing : TR of the readout pulses; pulses : number of them a cycle.
    """

    flip: float
    echo: float
    echo_spacing: float
    inversion: float = 0.0
    cycle: float = 0.0
    pulses: int = 1
    efficiency: float = 0.96


SEQUENCES = {
    1.5: Sequence(8, 3.9, 9.0, inversion=1000, cycle=2000, pulses=128),
    3.0: Sequence(9, 3.0, 7.1, inversion=900, cycle=2300, pulses=176),
    7.0: Sequence(7, 2.6, 6.2, inversion=1100, cycle=2600, pulses=192),
}


def signal(t1: ArrayLike, t2s: ArrayLike, pd: ArrayLike, s: Sequence) -> np.ndarray:
    """Magnitude of the steady state, any broadcastable shapes, relative to PD.

    Spoiled gradient echo (Ernst), or MPRAGE: inversion, recovery, a train of `pulses` that relaxes with
    1/T1* = 1/T1 - ln(cos a)/TR towards M0*, recovery [Deichmann 2000, NeuroImage 12:112].
    """
    t1, t2s, pd = (np.asarray(a, np.float64) for a in (t1, t2s, pd))
    a = np.deg2rad(s.flip)
    e1 = np.exp(-s.echo_spacing / t1)
    ernst = (1 - e1) / (1 - np.cos(a) * e1)
    if not s.inversion:
        return pd * np.sin(a) * ernst * np.exp(-s.echo / t2s)
    rate = 1 / t1 - np.log(np.cos(a)) / s.echo_spacing
    half = s.pulses * s.echo_spacing / 2
    before, after = s.inversion - half, s.cycle - s.inversion - half
    if before < 0 or after < 0:
        raise ConfigError(
            "Cannot play the sequence",
            where=str(s),
            why="the readout train does not fit around TI",
            fix="use fewer pulses, a longer TI or a longer cycle",
        )
    # each period maps m -> gain * m + gained; solve for the periodic state just before inversion
    periods = [
        (-s.efficiency, 0.0),
        (np.exp(-before / t1), 1 - np.exp(-before / t1)),
        (np.exp(-half * rate), ernst * (1 - np.exp(-half * rate))),
        (np.exp(-half * rate), ernst * (1 - np.exp(-half * rate))),
        (np.exp(-after / t1), 1 - np.exp(-after / t1)),
    ]
    gain, gained = np.asarray(1.0), np.asarray(0.0)
    for g, b in periods:
        gain, gained = g * gain, g * gained + b
    m = gained / (1 - gain)
    for g, b in periods[:3]:
        m = g * m + b
    return np.abs(pd * np.sin(a) * m * np.exp(-s.echo / t2s))


def tissue_means(tesla: float, sequence: Sequence | None = None) -> dict[str, float]:
    """Relative T1w signal of each tissue at a field (white matter = 1). Raises ConfigError for an unknown field."""
    if tesla not in TISSUE_T1:
        raise ConfigError(
            f"No relaxation times at {tesla} T",
            where="tesla",
            why="the table has 1.5, 3 and 7 T",
            fix="use 1.5, 3 or 7",
        )
    s = sequence or SEQUENCES[tesla]
    raw = {k: float(signal(TISSUE_T1[tesla][k], TISSUE_T2S[tesla][k], PD[k], s)) for k in PD}
    return {k: v / raw["white"] for k, v in raw.items()}
