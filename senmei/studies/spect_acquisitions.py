"""Acquisitions of one scan, drawn by name: the one that was made, and the pairs that learning without truth needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.seeds import draw_generator
from senmei.core.study import Row
from senmei.physics.spect.counts import as_counts, draw_counts, even_odd, thin_counts
from senmei.studies.spect_files import measured


def acquired(
    mean: np.ndarray,
    scan: Row,
    cohort: Mapping[str, Any],
    settings: Mapping[str, Any],
    seed: int,
    realisation: int = 0,
) -> np.ndarray:
    """(part, u, v, view) int32 counts of one acquisition; its parts are gates, or two frames for `pairs: split`.

    mean : expected photons (u, v, view[, phase]), those of the whole field summing to 1. The full dose is drawn by the
    image's name and thinned to the scan's dose by the scan's, so that all groups of a scan, and all doses of an image,
    are made of the same photons. realisation : 0 is what was acquired; others are independent of it.
    Of a cohort that was measured, `mean` are the counts of the full dose themselves: they are there once.
    """
    parts = np.moveaxis(mean, 3, 0) if mean.ndim == 4 else mean[None]
    if measured(cohort):
        if realisation:
            raise _acquired_once(scan, settings["pairs"])
        counts = as_counts(parts, scan["scan"])
    else:
        if settings["pairs"] == "split" and len(parts) == 1:
            parts = np.repeat(parts / 2, 2, axis=0)
        rng = draw_generator(seed, "counts", scan["image"], realisation)
        counts = draw_counts(parts.astype(np.float64) * float(cohort["counts"]), rng)
    if float(scan["dose"]) < 1:
        rng = draw_generator(seed, "dose", scan["scan"], realisation)
        counts, _ = thin_counts(counts, float(scan["dose"]), rng)
    return counts


def paired(
    mean: np.ndarray,
    parts: np.ndarray,
    scan: Row,
    cohort: Mapping[str, Any],
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two (K, u, v, view) int32 arrays; noise of [k] in one is independent of noise of [k] in the other.

    With them, for each, the (K,) shares of the scan's own exposure that its acquisitions had.

    independent : K acquisitions, the first of them the scan's own, each against the next.
    thinning : K random halvings of the scan's own acquisition; a single one both ways round.
    gated, split : its even against its odd gates, its first against its second half; both ways round (K = 2).
    """
    kind, wanted = settings["pairs"], int(settings["realisations"])
    if measured(cohort) and (kind in ("independent", "split") or (kind == "gated" and len(parts) < 2)):
        raise _acquired_once(scan, kind)
    counts = parts.sum(axis=0, dtype=np.int32)
    if kind == "independent":
        own = [counts]
        for k in range(1, max(2, wanted)):
            own.append(acquired(mean, scan, cohort, settings, seed, k).sum(axis=0, dtype=np.int32))
        noisy = np.stack(own)
        return noisy, np.roll(noisy, -1, axis=0), np.ones(len(noisy)), np.ones(len(noisy))
    if kind == "thinning":
        halves = [
            thin_counts(counts, 0.5, draw_generator(seed, "halves", scan["scan"], k)) for k in range(wanted)
        ]
        if wanted == 1:  # one halving, both ways round
            halves.append(halves[0][::-1])
        share = np.full(len(halves), 0.5)
        return np.stack([a for a, _ in halves]), np.stack([b for _, b in halves]), share, share
    first, second = even_odd(parts)
    # gates of a patient are unequally long (the last ones lose beats); their counts tell how long they were
    even = float(first.sum() / max(1, counts.sum())) if measured(cohort) else len(parts[0::2]) / len(parts)
    shares = np.array([even, 1 - even])
    return np.stack([first, second]), np.stack([second, first]), shares, shares[::-1]


def _acquired_once(scan: Row, kind: str) -> DataError:
    why = "it is not gated" if kind == "gated" else "a patient was acquired once, and not in two halves"
    fix = "set `pairs: thinning`: random halves of the one acquisition, which are independent"
    return DataError(f"No {kind} pairs of a measured acquisition", where=scan["scan"], why=why, fix=fix)


def scattered(
    own: Callable[[str], Any], first: Sequence[int], shares: np.ndarray, scan: Row, seed: int
) -> np.ndarray:
    """(n, u, v, view) scattered photons to expect in a scan's acquisition and its parts, told by energy windows.

    own(role) : raw roles of the image. first : of the scan's acquisition, of the first halves of its pairs and of the
    second ones, the number of the first that holds the same counts; shares : of the scan's exposure, of each. Returns
    one array for each distinct number, in their order. What was counted beside the photopeak is thinned to the scan's
    dose and shared out between the halves of a pair, so that their noise is independent in these windows too.
    Raises DataError naming the scan where no such windows were acquired.
    """
    from senmei.physics.spect.scatter_windows import check_sides, triple_window

    try:
        sides, windows = own("side_counts").data, own("side_windows")
    except KeyError:
        sides, windows = None, {}
    upper = sides is not None and sides.ndim > 3
    check_sides(sides, upper or None, own("file_facts")["nuclide"], scan["scan"])
    counts = np.moveaxis(sides, 3, 0) if upper else sides[None]
    if float(scan["dose"]) < 1:
        counts, _ = thin_counts(counts, float(scan["dose"]), draw_generator(seed, "side dose", scan["scan"]))
    parts = {0: counts}
    pairs = (len(first) - 1) // 2
    for k in range(pairs):
        one, two = first[1 + k], first[1 + pairs + k]
        if one not in parts or two not in parts:  # else the same halves, the other way round
            rng = draw_generator(seed, "side halves", scan["scan"], k)
            halves = thin_counts(counts, float(shares[1 + k]), rng)
            parts |= {two: halves[1], one: halves[0]}
    below, peak, above = (*windows["widths_kev"], 1.0)[:3]
    return np.stack(
        [
            triple_window(p[0], p[1] if upper else None, (below, peak, above), windows["pixel_mm"])
            for _, p in sorted(parts.items())
        ]
    )
