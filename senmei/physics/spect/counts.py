"""Counted photons: Poisson draws, exact thinning, and the noise-independent pairs that Noise2Noise learns from.

A Poisson count n of mean m, each photon of which is kept with probability f, gives kept ~ Poisson(f m) and
rest ~ Poisson((1 - f) m), independent of each other: two acquisitions of the same patient, made of one that was
counted once. That is exact for integer counts, and for nothing that was scaled, smoothed or corrected before.
[Kingman JFC. Poisson Processes. Oxford, 1993: colouring theorem]
"""

from __future__ import annotations

import numpy as np

from senmei.core.errors import DataError

_MOST = float(np.iinfo(np.int32).max) / 2  # a draw of this mean cannot leave int32


def draw_counts(mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts of expected photons: int32, of the shape of `mean`.

    Raises DataError for an expectation that is negative, not finite or beyond int32.
    """
    mean = np.asarray(mean, dtype=np.float64)
    if not np.isfinite(mean).all() or (mean < 0).any() or (mean > _MOST).any():
        raise DataError(
            "Cannot draw counts",
            where=f"expected photons of shape {mean.shape}",
            why=f"they span {mean.min():g} to {mean.max():g}; photons are finite, 0 or more, and below {_MOST:.0e}",
            fix="correct what made the expectation (projector, dose)",
        )
    return rng.poisson(mean).astype(np.int32)


def thin_counts(
    counts: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(kept, rest) of integer counts, each photon kept with probability `fraction` (0-1); int32, kept + rest = counts.

    Exactly independent Poisson counts if `counts` are Poisson. Raises DataError for what are no counts.
    """
    counts = as_counts(counts, "counts to be thinned")
    if not 0 <= fraction <= 1:
        raise ValueError(f"a photon cannot be kept with probability {fraction}")
    kept = rng.binomial(counts, fraction).astype(np.int32)
    return kept, counts - kept


def even_odd(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the even and of the odd parts of one acquisition: gates of a heartbeat, or successive frames.

    parts : (part, ...) int32 counts, two parts at least. Returns two int32 arrays without the first axis.
    Their noise is independent; what they show is the same only as far as nothing moved between the parts.
    """
    if len(parts) < 2:
        raise DataError(
            "Cannot pair the parts of an acquisition",
            where=f"counts of shape {np.shape(parts)}",
            why=f"it has {len(parts)} part(s); a pair needs two at least",
            fix="simulate or load gates (`phases: 8`) or frames, or set `pairs: thinning`",
        )
    parts = as_counts(parts, "parts of an acquisition")
    return parts[0::2].sum(axis=0, dtype=np.int32), parts[1::2].sum(axis=0, dtype=np.int32)


def as_counts(values: np.ndarray, where: object) -> np.ndarray:
    """The values as int32. Raises DataError naming `where` unless they are whole, finite and not negative."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            n = int((~np.isfinite(values)).sum())
            raise _no_counts(where, f"{n} of them are not numbers", "repair the file, or leave the scan out")
        whole = np.rint(values)
        if np.abs(values - whole).max(initial=0) > 1e-4:
            raise _no_counts(
                where,
                "they are not whole numbers: something scaled, smoothed or corrected them",
                "give the projections as the camera counted them; only those are Poisson",
            )
        values = whole
    elif values.dtype.kind not in "iu":
        raise _no_counts(where, f"their type is {values.dtype}", "give integer counts")
    if (values < 0).any():
        n = int((values < 0).sum())
        raise _no_counts(where, f"{n} of them are negative", "undo what was subtracted (scatter, background)")
    if (values > np.iinfo(np.int32).max).any():
        raise _no_counts(where, f"the highest is {values.max():g}", "check the unit; a bin holds photons")
    return values.astype(np.int32)


def _no_counts(where: object, why: str, fix: str) -> DataError:
    return DataError("Projections are no photon counts", where=where, why=why, fix=fix)
