"""How well expected counts explain measured ones: by pixel, by blocks of the camera's resolution, by neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST = 0.5  # expected counts of pixels that enter Pearson's chi²; fewer carry no information but all its variance
FULL = 5.0  # expected counts of a block


@dataclass(frozen=True)
class Goodness:
    """Agreement of counts with their expectation. In what is right, numbers scatter as told; z are standard deviations.

    deviance_per_dof : 2 Σ (n log(n / m) - n + m) over degrees of freedom; 1 where m is large, 1.1-1.2 near one count,
    less below. chi2_per_dof, chi2_z : Pearson's Σ (n - m)² / m of pixels of half a count and more, 1 at any m; and how
    far it is from that. block_chi2, block_z : the same over blocks of `block_mm`, where errors of the model add up and
    noise does not. misfit : root mean square error of the model over the blocks, relative to their mean, less what the
    noise explains; 0 where all of it is noise. lag1, lag1_z : correlation of neighbouring residuals, 0 for noise.
    """

    pixels: int
    deviance_per_dof: float
    chi2_per_dof: float
    chi2_z: float
    block_mm: float
    block_chi2: float
    block_z: float
    misfit: float
    lag1: float
    lag1_z: float

    @property
    def good(self) -> bool:
        """Whether nothing beyond noise is seen: all three z below 4."""
        return max(self.chi2_z, self.block_z, abs(self.lag1_z)) < 4.0

    def to_dict(self) -> dict[str, float]:
        """As JSON would have it."""
        return asdict(self)


class Offset(NamedTuple):
    """An image's place relative to its sheet: mm to the right, mm up, and the standard error of either."""

    x_mm: float
    y_mm: float
    error_mm: float


def judge(
    counts: Sequence[NDArray],
    expected: Sequence[NDArray],
    used: Sequence[NDArray],
    *,
    parameters: int,
    pixel_mm: float,
    block_mm: float,
) -> Goodness:
    """The goodness of a model with so many fitted parameters.

    counts, expected : (x, y) of each image; used : (x, y) bool, pixels that count. block_mm : edge of blocks, about two
    FWHM of the resolution.
    """
    n = np.concatenate([c[u] for c, u in zip(counts, used, strict=True)]).astype(np.float64)
    m = np.concatenate([e[u] for e, u in zip(expected, used, strict=True)])
    dof = max(n.size - parameters, 1)
    chi2, chi2_z = _pearson(n[m >= LEAST], m[m >= LEAST], parameters)
    n_block, m_block, size = in_blocks(counts, expected, used, pixel_mm, block_mm)
    block_chi2, block_z = _pearson(n_block, m_block, parameters)
    beyond = float(((n_block - m_block) ** 2 - m_block).sum())
    misfit = np.sqrt(max(beyond, 0.0) / n_block.size) / m_block.mean() if n_block.size else 0.0
    lag1, pairs = _lag1(counts, expected, used)
    return Goodness(
        pixels=int(n.size),
        deviance_per_dof=float(deviance(n, m).sum() / dof),
        chi2_per_dof=chi2,
        chi2_z=chi2_z,
        block_mm=size * pixel_mm,
        block_chi2=block_chi2,
        block_z=block_z,
        misfit=float(misfit),
        lag1=lag1,
        lag1_z=lag1 * float(np.sqrt(pairs)),
    )


def in_blocks(
    counts: Sequence[NDArray],
    expected: Sequence[NDArray],
    used: Sequence[NDArray],
    pixel_mm: float,
    block_mm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """(counts, expected counts, edge in pixels) of all images' blocks (block,) that expect five counts or more."""
    size = max(2, round(block_mm / pixel_mm))
    blocks = [[_blocks(a * u, size) for a in (c, e)] for c, e, u in zip(counts, expected, used, strict=True)]
    n_block, m_block = (np.concatenate([b[i] for b in blocks]) for i in (0, 1))
    full = m_block >= FULL
    return n_block[full], m_block[full], size


def deviance(counts: NDArray, expected: NDArray) -> NDArray[np.float64]:
    """2 (n log(n / m) - n + m) of each pixel, 2 m where nothing was counted."""
    from scipy.special import xlogy

    return 2.0 * (xlogy(counts, counts / expected) - counts + expected)


def noise_deviance(expected: NDArray) -> NDArray[np.float64]:
    """Mean deviance of Poisson counts of these means, in their shape: 1 for many, 1.15 near one, 2 m ln(1/m) for few.

    Exact below 60, interpolated between 2000 means; above, 1 + 1 / (6 m), its expansion.
    """
    means, table = _noise_table()
    m = np.asarray(expected, np.float64)
    return np.where(m < 60.0, np.interp(m, means, table), 1.0 + 1.0 / (6.0 * np.maximum(m, 60.0)))


@cache
def _noise_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.stats import poisson

    means, n = np.geomspace(1e-6, 60.0, 2000), np.arange(140)
    return means, (poisson.pmf(n, means[:, None]) * deviance(n, means[:, None])).sum(axis=1)


def residuals(counts: NDArray, expected: NDArray) -> NDArray[np.float32]:
    """Pearson's (n - m) / sqrt(m): of mean 0 and standard deviation 1 where the model is right."""
    return ((counts - expected) / np.sqrt(expected)).astype(np.float32)


def offset(counts: NDArray, expected: NDArray, used: NDArray, pixel_mm: float) -> Offset:
    """Where an image (x, y) lies relative to its expectation: one weighted least-squares step along its gradients.

    Right for offsets small to the resolution, too small for larger ones. An image without edges has an infinite error.
    """
    slopes = np.gradient(expected, pixel_mm)
    inside = used & (expected >= LEAST)
    design = -np.stack([s[inside] for s in slopes], axis=1)
    weighted = design / expected[inside][:, None]
    information = design.T @ weighted
    if information.size == 0 or np.linalg.det(information) <= 0:
        return Offset(0.0, 0.0, float("inf"))
    step = np.linalg.solve(information, weighted.T @ (counts - expected)[inside])
    return Offset(float(step[0]), float(step[1]), float(np.sqrt(np.diag(np.linalg.inv(information)).max())))


def _pearson(n: NDArray, m: NDArray, parameters: int) -> tuple[float, float]:
    """Σ (n - m)² / m per degree of freedom, and its distance from 1 in standard deviations of a Poisson count's."""
    dof = n.size - parameters
    if dof < 1:
        return 1.0, 0.0
    chi2 = float(((n - m) ** 2 / m).sum())
    return chi2 / dof, (chi2 - dof) / float(np.sqrt(2.0 * n.size + (1.0 / m).sum()))


def _blocks(image: NDArray, size: int) -> NDArray[np.float64]:
    """Sums (block,) of size x size pixels; what is left over at the far sides is left out."""
    x, y = (n // size for n in image.shape)
    return image[: x * size, : y * size].reshape(x, size, y, size).sum(axis=(1, 3), dtype=np.float64).ravel()


def _lag1(
    counts: Sequence[NDArray], expected: Sequence[NDArray], used: Sequence[NDArray]
) -> tuple[float, int]:
    """Correlation of the residuals of neighbours along x and y, and how many pairs it is of."""
    products, squares, pairs = 0.0, 0.0, 0
    for c, e, u in zip(counts, expected, used, strict=True):
        inside = u & (e >= LEAST)
        r = np.where(inside, residuals(c, np.maximum(e, 1e-9)), 0.0).astype(np.float64)
        squares += float((r**2).sum() / max(inside.sum(), 1))
        for near, far in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
            products += float((r[near] * r[far]).sum())
            pairs += int((inside[near] & inside[far]).sum())
    scale = squares / len(counts) * pairs
    return (products / scale if scale > 0 else 0.0), pairs
