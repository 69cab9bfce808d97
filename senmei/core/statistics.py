"""Means, intervals and paired differences over subjects. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_DRAWN = 1 << 18  # subjects drawn at a time by the bootstrap


@dataclass(frozen=True)
class Interval:
    """A mean over `n` subjects and its confidence interval (None where one subject is all there is)."""

    n: int
    mean: float
    ci: tuple[float, float] | None


def subject_means(values_by_subject: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """subject -> mean over its scans, so that a subject of many scans weighs as one.

    Values that are not finite (a PSNR of infinity, a failed scan) are left out, and a subject that has no
    other with them. Subjects come sorted, so that no caller's order changes a bootstrap.
    """
    finite = {
        subject: [float(v) for v in values if np.isfinite(v)] for subject, values in values_by_subject.items()
    }
    return {subject: float(np.mean(finite[subject])) for subject in sorted(finite) if finite[subject]}


def bootstrap_ci(
    values_by_subject: Mapping[str, Sequence[float]], seed: int, n: int = 2000, level: float = 0.95
) -> Interval | None:
    """Mean over subjects and its percentile-bootstrap interval.

    values_by_subject : subject -> values of its scans (averaged within the subject first: scans of one subject
        are not independent, so subjects are what is drawn again). seed : the same seed gives the same interval.
    n : number of bootstrap samples. level : coverage, 0 to 1.
    Returns None where no subject has a finite value; an interval of None where only one has.
    Raises ValueError for a level outside (0, 1) or n < 1.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    if not 0 < level < 1 or n < 1:
        raise ValueError(f"level must lie in (0, 1) and n be positive, got {level} and {n}")
    means = np.array(list(subject_means(values_by_subject).values()))
    if means.size == 0:
        return None
    if means.size == 1:
        return Interval(1, float(means[0]), None)
    generator = np.random.default_rng(seed)
    samples = np.empty(n)
    step = max(
        1, _DRAWN // means.size
    )  # in pieces: the same numbers, in memory that does not grow with subjects
    for start in range(0, n, step):
        size = (min(step, n - start), means.size)
        samples[start : start + step] = means[generator.integers(means.size, size=size)].mean(axis=1)
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(int(means.size), float(means.mean()), (float(low), float(high)))


def paired_difference(
    a: Mapping[str, Mapping[str, float]],
    b: Mapping[str, Mapping[str, float]],
    seed: int,
    n: int = 2000,
    level: float = 0.95,
) -> Interval | None:
    """Mean over subjects of a - b, paired scan by scan, with its bootstrap interval over subjects.

    a, b : subject -> scan -> value. Only scans that both have (and finite in both) count; differences are
    averaged within the subject first. Returns None where no scan is shared. Raises as `bootstrap_ci`.
    """
    differences = {
        subject: [
            a[subject][scan] - b[subject][scan] for scan in sorted(a[subject].keys() & b[subject].keys())
        ]
        for subject in a.keys() & b.keys()
    }
    return bootstrap_ci(differences, seed, n, level)
