"""The channelised Hotelling observer: frequency channels, its template, ratings and their ROC area. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

KINDS = ("square", "dog")


def channel_images(kind: str, count: int, start: float, size: int) -> np.ndarray:
    """(count, size, size) float64: rotationally symmetric channels, each of unit sum of squares.

    kind : 'square', constant within start 2^j <= f < start 2^(j+1) and zero elsewhere (Myers & Barrett 1987, J Opt
    Soc Am A 4:2447), or 'dog', exp(-(f / 2s)² / 2) - exp(-(f / s)² / 2) with s = start 2^j (the sparse difference
    of Gaussians of Abbey & Barrett 2001, J Opt Soc Am A 18:473). start : cycles/pixel. size : odd, pixels.
    Sampled in space from the closed Hankel transform, so that the lowest band need not fit the image.
    Raises ValueError for another kind.
    """
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r = np.hypot(x, y)
    safe = np.where(r > 0, r, 1.0)

    def disc(f: float) -> np.ndarray:  # transform of the disc of radius f
        return np.where(r > 0, f * special.j1(2 * np.pi * f * safe) / safe, np.pi * f**2)

    def bell(s: float) -> np.ndarray:  # transform of exp(-(f / s)² / 2)
        return 2 * np.pi * s**2 * np.exp(-2 * (np.pi * s * r) ** 2)

    edges = [start * 2**j for j in range(count)]
    if kind == "square":
        images = [disc(2 * f) - disc(f) for f in edges]
    elif kind == "dog":
        images = [bell(2 * f) - bell(f) for f in edges]
    else:
        raise ValueError(f"channels are one of {KINDS}, not {kind!r}")
    return np.stack([image / np.sqrt(np.sum(image**2)) for image in images])


def hotelling(
    outputs: np.ndarray, present: np.ndarray, internal: float = 0.0
) -> tuple[np.ndarray, float, np.ndarray, float]:
    """Template w, midpoint w·(m1 + m0) / 2, within-class variances and the shrinkage used.

    outputs : (n, channels). present : (n,) bool, at least two of each. w = (S + internal diag(S))^-1 (m1 - m0), S the
    pooled covariance within the classes, its correlations shrunk towards 0 by the intensity of Schäfer & Strimmer
    2005 (Stat Appl Genet Mol Biol 4:32), which vanishes as images become many: a covariance of few images stays
    invertible. Variances are not shrunk, so that the scale of no channel matters.
    """
    means = [outputs[present == k].mean(axis=0) for k in (False, True)]
    residual = np.where(present[:, None], outputs - means[1], outputs - means[0])
    n, p = residual.shape
    variance = np.sum(residual**2, axis=0) / (n - 2)
    varies = variance > 0  # a channel that never does is left out: its weight is 0, not infinite
    deviation = np.sqrt(np.where(varies, variance, 1.0))
    x = residual / deviation
    products = x[:, :, None] * x[:, None, :]
    correlation = products.sum(axis=0) / (n - 2)
    spread = np.sum((products - products.mean(axis=0)) ** 2, axis=0) * n / (n - 1) ** 3
    off = ~np.eye(p, dtype=bool)
    power = float(np.sum(correlation[off] ** 2))
    shrinkage = float(np.clip(np.sum(spread[off]) / power, 0, 1)) if power > 0 else 1.0
    correlation[off] *= 1 - shrinkage
    correlation[np.diag_indices(p)] = 1.0 + internal
    difference = np.where(varies, (means[1] - means[0]) / deviation, 0.0)
    template = np.linalg.solve(correlation, difference) / deviation
    return template, float(template @ (means[1] + means[0])) / 2, variance, shrinkage


def ratings(
    outputs: np.ndarray,
    present: np.ndarray,
    subjects: Sequence[str],
    folds: int = 0,
    internal: float = 0.0,
    draws: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """(n,) rating of every image by a template trained on other subjects, and the mean shrinkage.

    folds : groups of subjects left out in turn; 0: one subject at a time. Ratings of different templates are
    comparable, being log-likelihood ratios (of normal channel outputs) from the middle between the classes.
    internal : variance of the observer's own noise relative to that of each channel, added to the covariance's
    diagonal and, as one standard normal number of `draws` an image, to its rating. All images of a subject must be
    left out together: raises ValueError if a class has fewer than two images left to train on.
    """
    names = list(dict.fromkeys(subjects))
    folds = min(folds or len(names), len(names))
    fold = np.array([names.index(subject) % folds for subject in subjects])
    found, shrinkages = np.empty(len(present)), []
    for k in range(folds):
        train, test = fold != k, fold == k
        if min(np.sum(present[train]), np.sum(~present[train])) < 2:
            raise ValueError("fewer than two images of a class to train on")
        template, middle, variance, shrinkage = hotelling(outputs[train], present[train], internal)
        found[test] = outputs[test] @ template - middle
        if internal > 0 and draws is not None:
            found[test] += draws[test] * np.sqrt(internal * np.sum(template**2 * variance))
        shrinkages.append(shrinkage)
    return found, float(np.mean(shrinkages))


def roc_area(rating: np.ndarray, present: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under the ROC curve (Mann-Whitney, ties count half) and each image's placement.

    The placement of an image is the share of the other class that it is rated on the right side of; their mean
    over either class is the area (DeLong et al. 1988, Biometrics 44:837).
    """
    wins = _wins(rating[present], rating[~present])
    placement = np.empty(len(rating))
    placement[present], placement[~present] = wins.mean(axis=1), wins.mean(axis=0)
    return float(wins.mean()), placement


def shares(
    placement: np.ndarray, present: np.ndarray, subjects: Sequence[str], area: float
) -> dict[str, float]:
    """subject -> its share in the area: numbers whose mean over subjects is the area exactly.

    area + n_subjects × Σ over its images of (placement - area) / (images of that class): to first order what the
    area depends on, so that means, bootstraps over subjects and paired differences of shares are those of areas
    (Hoeffding's projection, as in DeLong's variance). One share alone may lie outside 0 ... 1.
    """
    names = list(dict.fromkeys(subjects))
    of_class = np.where(present, np.sum(present), np.sum(~present))
    parts = len(names) * (placement - area) / of_class
    where = np.array([names.index(subject) for subject in subjects])
    return dict(zip(names, (area + np.bincount(where, parts, len(names))).tolist(), strict=True))


def area_interval(
    rating: np.ndarray,
    present: np.ndarray,
    subjects: Sequence[str],
    rng: np.random.Generator,
    n: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile-bootstrap interval of the ROC area over subjects, all images of a subject drawn together.

    The templates stay as they were trained: the interval is that of this observer on other patients.
    """
    names = list(dict.fromkeys(subjects))
    member = np.array([names.index(subject) for subject in subjects])
    wins = _wins(rating[present], rating[~present])
    one = np.zeros((len(names), int(present.sum())))
    none = np.zeros((len(names), int((~present).sum())))
    one[member[present], np.arange(one.shape[1])] = 1
    none[member[~present], np.arange(none.shape[1])] = 1
    sums, pairs = one @ wins @ none.T, np.outer(one.sum(axis=1), none.sum(axis=1))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n).astype(float)
    total = np.einsum("bi,ij,bj->b", drawn, pairs, drawn, optimize=True)
    areas = np.einsum("bi,ij,bj->b", drawn, sums, drawn, optimize=True)[total > 0] / total[total > 0]
    low, high = np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _wins(one: np.ndarray, none: np.ndarray) -> np.ndarray:
    """(present, absent): 1 where the image with the signal is rated higher, 0.5 where equal."""
    return np.heaviside(one[:, None] - none[None, :], 0.5)
