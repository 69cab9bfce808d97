"""Are counts conserved?"""

from __future__ import annotations

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.measure import measure
from senmei.core.volume import Volume
from senmei.measures.judged import inside, on_grid


@measure(requires=("input",), better="zero", unit="%", title="Count bias", limit=2.0)
def count_bias(example: Example, restored: Volume) -> float:
    """100 (Σ restored / Σ input − 1), sums over the whole field of view, %.

    Nearest to 0 is best: denoising may move counts, not make or lose them. The whole field, as smoothing carries
    counts across any narrower border. Counts must be conserved for uptake to be comparable between patients.
    Needs no reference. Raises DataError if the input holds no counts, the grids differ or a voxel is not finite.
    """
    before, after = on_grid(example, restored, "input")
    return _bias(example, before, after)


@measure(requires=("input", "mask"), better="zero", unit="%", title="Count bias around the heart")
def heart_count_bias(example: Example, restored: Volume) -> float:
    """100 (Σ restored / Σ input − 1), sums over `mask`, the region of the heart found in the noisy image, %.

    Nearest to 0 is best. Beside `count_bias` because the heart holds a few hundredths of the body's counts, so that
    a bias there hides in the total. A filter that conserves counts still has one here: what it smears across the
    region's border. Needs no reference. Raises DataError as `count_bias`, and if the mask is empty.
    """
    before, after = on_grid(example, restored, "input")
    region = inside(example, after.shape)
    assert region is not None  # required above: asking for it has raised if it is absent
    return _bias(example, before[region], after[region])


def _bias(example: Example, before: np.ndarray, after: np.ndarray) -> float:
    total = float(before.sum())
    if total <= 0:
        raise DataError(
            "Cannot compare counts",
            where=f"{example.scan.get('scan', '?')}: input",
            why=f"the counts before restoration sum to {total:.3g}",
            fix="check the acquisition: an image without counts cannot be judged",
        )
    return 100 * (float(after.sum()) / total - 1)
