"""Coupled dictionaries of camera and fine patches, learned with sparse codes and applied by anchored regressions.

Patches are taken less their mean and in units of their own Poisson noise, the root of their mean counts: so one
dictionary serves all count levels, and how much a patch stands out of its noise is its mean square, 1 for noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from senmei.methods.upsampling import upsample

EDGES = (1.3, 2.0, 4.0, 16.0)  # mean squares of features between which regressions differ
CLASSES = len(EDGES) + 1
_ENERGY = 0.995  # of the features' power that principal components keep
_LEARNED, _ROUNDS = 8000, 6  # patches that atoms are learned from, and how often
_LEAST = 200  # patches of a class, below which it takes in the next ones
_RIDGE = 1e-3  # of the mean square of a coefficient
_TINY = 1e-8


@dataclass(frozen=True)
class Dictionary:
    """basis : (d, p²) principal components of features. branches : (b, d) unit vectors, the roots of a tree of atoms.

    branch : (K,) the root of each atom, ascending. atoms : (K, d) unit vectors, `D_l` of the coupled dictionary. fine :
    (K, q²), `D_h`: what bicubic lacks where the camera's patch is the atom.
    """

    basis: np.ndarray
    branches: np.ndarray
    branch: np.ndarray
    atoms: np.ndarray
    fine: np.ndarray


def features_of(counts: np.ndarray, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """(x y, p²): the patch around each pixel less its mean over its noise; and (x y,) that noise, counts.

    counts : (x, y), mirrored at the border. patch : odd.
    """
    side = patch // 2
    windows = sliding_window_view(np.pad(counts, side, mode="symmetric"), (patch, patch))
    flat = windows.reshape(-1, patch * patch).astype(np.float32)
    mean = flat.mean(axis=1, keepdims=True)
    noise = np.sqrt(mean + np.float32(1 / patch**2))
    return (flat - mean) / noise, noise[:, 0]


def details_of(fine: np.ndarray, counts: np.ndarray, factor: int) -> np.ndarray:
    """(x y, (3 factor)²): what bicubic lacks on the 3 x 3 camera pixels around each, in counts per camera pixel.

    fine : (x factor, y factor) counts per fine pixel. counts : (x, y).
    """
    lacking = (fine - upsample(counts, factor, "bicubic")) * np.float32(factor**2)
    padded = np.pad(lacking, factor, mode="symmetric")
    windows = sliding_window_view(padded, (3 * factor, 3 * factor))[::factor, ::factor]
    return windows.reshape(-1, 9 * factor * factor).astype(np.float32)


def assembled(details: np.ndarray, shape: tuple[int, int], factor: int) -> np.ndarray:
    """(x factor, y factor): details of all pixels laid over each other and averaged. shape : (x, y) of the camera."""
    x, y = shape
    tiles = details.reshape(x, y, 3, factor, 3, factor)
    total = np.zeros(((x + 2) * factor, (y + 2) * factor), np.float32)
    count = np.zeros((x + 2, y + 2), np.float32)
    for i in range(3):
        for j in range(3):
            part = tiles[:, :, i, :, j, :].transpose(0, 2, 1, 3).reshape(x * factor, y * factor)
            total[i * factor : (i + x) * factor, j * factor : (j + y) * factor] += part
            count[i : i + x, j : j + y] += 1
    inside = slice(factor, -factor)
    weight = np.kron(count[1:-1, 1:-1], np.ones((factor, factor), np.float32))
    return total[inside, inside] / weight


def learn(
    features: np.ndarray, details: np.ndarray, *, atoms: int, codes: int, rng: np.random.Generator
) -> Dictionary:
    """A coupled dictionary of (n, p²) features and (n, q²) details over the same noise.

    atoms : K at most. codes : non-zero coefficients of a sparse code. Principal components of the features; `D_l` by
    the method of optimal directions [Engan 1999, ICASSP 5:2443]: sparse codes C by orthogonal matching pursuit, then
    D_l = X' C (C' C)^-1, by turns; `D_h` = H' C (C' C)^-1 from the same codes [Yang 2010, IEEE TIP 19:2861; Zeyde 2010,
    LNCS 6920:711]; a tree of about sqrt(K) branches over the atoms.
    """
    _, values, rows = np.linalg.svd(features[rng.permutation(len(features))[:_LEARNED]], full_matrices=False)
    share = np.cumsum(values**2) / max(float((values**2).sum()), _TINY)
    basis = rows[: int(np.searchsorted(share, _ENERGY)) + 1].astype(np.float32)
    seen = features @ basis.T
    strong = seen[np.argsort(-(seen**2).mean(axis=1), kind="stable")[: max(len(seen) // 2, 2)]]
    directions = unit(strong[rng.permutation(len(strong))[:_LEARNED]])
    found = directions[: min(atoms, max(2, len(directions) // 8))]
    for _ in range(_ROUNDS):
        code = sparse_codes(directions, found, codes)
        found = unit(_solved(code, directions))
        idle = np.flatnonzero(np.abs(code).sum(axis=0) < _TINY)
        missed = np.argsort(-((directions - code @ found) ** 2).sum(axis=1), kind="stable")
        found[idle] = directions[missed[: len(idle)]]
    branches, branch = _tree(found, rng)
    order = np.argsort(branch, kind="stable")
    found = found[order]
    chosen = rng.permutation(len(seen))[: 2 * _LEARNED]
    fine = _solved(sparse_codes(seen[chosen], found, codes), details[chosen])
    return Dictionary(basis, branches, branch[order], found, fine)


def sparse_codes(seen: np.ndarray, atoms: np.ndarray, codes: int) -> np.ndarray:
    """(n, K) coefficients of (n, d) features, at most `codes` of each not zero: orthogonal matching pursuit."""
    n = len(seen)
    wanted = np.zeros((n, 0), np.int64)
    left, weights = seen, np.zeros((n, 0), np.float32)
    for _ in range(min(codes, *atoms.shape)):
        close = np.abs(left @ atoms.T)
        np.put_along_axis(close, wanted, -1.0, axis=1)
        wanted = np.concatenate([wanted, close.argmax(axis=1)[:, None]], axis=1)
        chosen = atoms[wanted]  # (n, j, d)
        gram = chosen @ chosen.transpose(0, 2, 1) + np.float32(1e-4) * np.eye(
            wanted.shape[1], dtype=np.float32
        )
        weights = np.linalg.solve(gram, chosen @ seen[:, :, None])[:, :, 0]
        left = seen - (weights[:, None, :] @ chosen)[:, 0]
    code = np.zeros((n, len(atoms)), np.float32)
    np.put_along_axis(code, wanted, weights, axis=1)
    return code


def anchored(
    seen: np.ndarray, details: np.ndarray, d: Dictionary, neighbours: int, ridges: tuple[float, ...]
) -> np.ndarray:
    """(len(ridges), CLASSES, K, q², d) regressions of details on features, one for each atom and class of strength.

    P = H N' (N N' + r I)^-1 over the `neighbours` training patches N of the class nearest to the atom in direction, H
    their details; r in units of the noise. A class of few patches takes those of the nearest strength in as well.
    [Timofte 2014, ACCV, equation 5 (A+); classes of strength: Romano 2017, IEEE TCI 3:110 (RAISR)]
    """
    close = np.abs(unit(seen) @ d.atoms.T)
    power = (seen**2).mean(axis=1)
    classes = np.digitize(power, EDGES)
    maps = np.empty((len(ridges), CLASSES, len(d.atoms), details.shape[1], seen.shape[1]), np.float32)
    for c in range(CLASSES):
        reach = 0
        members = np.flatnonzero(classes == c)
        while len(members) < min(_LEAST, len(seen)):
            reach += 1
            members = np.flatnonzero(np.abs(classes - c) <= reach)
        take = min(neighbours, len(members))
        for k in range(len(d.atoms)):
            near = members[np.argpartition(-close[members, k], take - 1)[:take]]
            n, h = seen[near].astype(np.float64), details[near].astype(np.float64)
            values, vectors = np.linalg.eigh(n.T @ n / take)
            rotated = h.T @ n / take @ vectors
            for i, ridge in enumerate(ridges):
                maps[i, c, k] = rotated / (values + ridge) @ vectors.T
    return maps


def nearest_atoms(seen: np.ndarray, d: Dictionary, probes: int) -> np.ndarray:
    """(n,) the atom nearest in direction, either sense, to (n, d) features, looked for in `probes` branches only.

    About sqrt(K) (1 + probes) comparisons a patch, whatever the number of training patches.
    """
    starts = np.searchsorted(d.branch, np.arange(len(d.branches) + 1))
    near = np.abs(seen @ d.branches.T)
    take = min(probes, len(d.branches))
    wanted = np.argpartition(-near, take - 1, axis=1)[:, :take]
    best = np.full(len(seen), -1.0, np.float32)
    found = np.zeros(len(seen), np.int64)
    for b in range(len(d.branches)):
        first, last = int(starts[b]), int(starts[b + 1])
        rows = np.flatnonzero((wanted == b).any(axis=1))
        if first == last or not len(rows):
            continue
        close = np.abs(seen[rows] @ d.atoms[first:last].T)
        at = close.argmax(axis=1)
        value = close[np.arange(len(rows)), at]
        better = value > best[rows]
        best[rows[better]], found[rows[better]] = value[better], first + at[better]
    return found


def restored(
    counts: np.ndarray,
    d: Dictionary,
    maps: np.ndarray | None,
    patch: int,
    factor: int,
    probes: int,
    codes: int,
) -> np.ndarray:
    """(x factor, y factor) counts per fine pixel: bicubic and what the dictionary says that it lacks.

    counts : (x, y). maps : (CLASSES, K, q², d) anchored regressions, or None for sparse codes of `codes` atoms.
    """
    features, noise = features_of(counts, patch)
    seen = features @ d.basis.T
    if maps is None:
        details = sparse_codes(seen, d.atoms, codes) @ d.fine
    else:
        classes = np.digitize((seen**2).mean(axis=1), EDGES)
        anchors = classes * len(d.atoms) + nearest_atoms(seen, d, probes)
        flat = maps.reshape(-1, *maps.shape[2:])
        details = np.empty((len(seen), flat.shape[1]), np.float32)
        order = np.argsort(anchors, kind="stable")
        edges = np.searchsorted(anchors[order], np.arange(len(flat) + 1))
        for k in np.unique(anchors):
            rows = order[edges[k] : edges[k + 1]]
            details[rows] = seen[rows] @ flat[k].T
    laid = assembled(details * noise[:, None], (counts.shape[0], counts.shape[1]), factor)
    return upsample(counts, factor, "bicubic") + laid / np.float32(factor**2)


def unit(rows: NDArray) -> NDArray:
    """Rows of length 1; those without a direction stay near zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)


def _solved(code: np.ndarray, values: np.ndarray) -> np.ndarray:
    gram = code.T @ code
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), _TINY)
    return np.linalg.solve(gram + ridge * np.eye(len(gram), dtype=gram.dtype), code.T @ values).astype(
        np.float32
    )


def _tree(atoms: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """About sqrt(K) directions and the one nearest to each atom, either sense: k-means on the projective sphere."""
    roots = atoms[rng.permutation(len(atoms))[: max(1, round(len(atoms) ** 0.5))]].copy()
    for _ in range(8):
        branch = np.abs(atoms @ roots.T).argmax(axis=1)
        for b in range(len(roots)):
            members = atoms[branch == b]
            if len(members):
                roots[b] = np.linalg.svd(members, full_matrices=False)[2][0]
    return roots.astype(np.float32), np.abs(atoms @ roots.T).argmax(axis=1)
