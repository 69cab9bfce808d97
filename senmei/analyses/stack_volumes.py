"""Views of stacks of sheets, collected; what volumes made of them are worth, and the choice among settings.

A setting is a number of OSEM iterations and the FWHM of a Gaussian after them. What suits best differs between views
that were restored and counts as they were, and the best would be read off the truth: each stack therefore gets the
setting that had the least mean error over the other stacks of its condition, whatever is reconstructed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures.judged import image

if TYPE_CHECKING:
    from senmei.physics.spect.geometry import Acquisition

Setting = tuple[int, float]  # iterations, FWHM in mm
Numbers = dict[str, float]
Planes = tuple[NDArray[np.float32], NDArray[np.float32]]  # (x, y) and (x, z) through the hot detail
HEAD, HOT, COLD, AROUND_HOT, AROUND_COLD = 1, 2, 3, 4, 5  # of senmei.phantoms.sheet_stack.LABELS


@dataclass
class Stack:
    """All views of one stack under one condition, and the truth.

    scan : row of the first view. restored, low : (u, v, view) float32 counts, on the fine and on the camera's grid.
    truth : (x, y, z) counts a voxel sends into a view. labels : uint8, see `senmei.phantoms.sheet_stack`. mu : 1/cm.
    """

    scan: dict[str, Any]
    acquisition: Acquisition
    truth: NDArray[np.float32]
    labels: NDArray[np.uint8]
    mu: NDArray[np.float32] | None
    restored: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    low: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def name(self) -> str:
        """Of the stack and its condition."""
        return str(self.scan["stack"])

    @property
    def condition(self) -> str:
        """What stacks of one condition share."""
        return self.name.partition("_")[2]

    @property
    def factor(self) -> int:
        """Fine pixels a side of one of the camera's."""
        return self.acquisition.shape[0] // self.low.shape[0]

    def let_go(self, *, keep_truth: bool) -> Stack:
        """The same without its views, and without the truth unless it is to be shown: for cohorts of many."""
        none = np.empty(0, np.float32)
        if keep_truth:
            return replace(self, restored=none, low=none, mu=None)
        return replace(self, restored=none, low=none, mu=None, truth=none, labels=none.astype(np.uint8))


def collect(pairs: Iterable[tuple[Example, Volume]]) -> Iterator[Stack]:
    """Stacks of the views in `pairs`, complete ones alone, in the order in which their last view comes.

    Scans without the column `stack` are passed over. Raises DataError for views that do not fit their acquisition.
    """
    from senmei.physics.spect.geometry import Acquisition

    stacks: dict[str, Stack] = {}
    views: dict[str, dict[int, tuple[NDArray, NDArray]]] = {}
    for example, restored in pairs:
        name = example.scan.get("stack")
        if not name:
            continue
        name = str(name)
        if "acquisition" in example:
            mu = example["attenuation"].data if "attenuation" in example else None
            geometry = Acquisition.from_dict(example["acquisition"])
            truth = image(example, example["stack"], "stack").astype(np.float32)
            if truth.shape != geometry.shape:
                raise _unfit(name, "stack", truth.shape, geometry.shape)
            labels = np.asarray(example["stack_labels"].data)
            stacks[name] = Stack(dict(example.scan), geometry, truth, labels, mu)
        fine = image(example, restored, "restored image")[..., 0].astype(np.float32)
        low = np.asarray(example["low"].data[..., 0], np.float32)
        views.setdefault(name, {})[int(example.scan["view"])] = fine, low
        if name in stacks and len(views[name]) == stacks[name].acquisition.views:
            yield _joined(stacks.pop(name), views.pop(name))


def _joined(stack: Stack, views: Mapping[int, tuple[NDArray, NDArray]]) -> Stack:
    fine, low = (np.stack([views[n][k] for n in range(stack.acquisition.views)], axis=-1) for k in (0, 1))
    if fine.shape != stack.acquisition.projection_shape:
        raise _unfit(stack.name, "restored views", fine.shape, stack.acquisition.projection_shape)
    stack.restored, stack.low = fine, low
    return stack


def _unfit(name: str, what: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> DataError:
    return DataError(
        "Views do not fit their acquisition",
        where=f"{name}: {what}",
        why=f"the shape is {found}, the acquisition's {wanted}",
        fix="restore on the reference's grid, and prepare the cohort again",
    )


class Trials:
    """What one way of reconstructing gave of several stacks at every setting, and the setting of each stack.

    settings : tried, see `settings_of`.
    """

    def __init__(self, settings: Sequence[Setting]) -> None:
        self.settings = tuple(settings)
        self._numbers: dict[str, dict[str, dict[Setting, Numbers]]] = {}  # condition -> stack -> setting
        self.planes: dict[Setting, Planes] = {}  # of the first stack

    def add(self, stack: Stack, volumes: Mapping[Setting, NDArray[np.float32]]) -> None:
        """Keep the numbers of a stack's volumes, one a setting."""
        if not self.planes:
            self.planes = {s: planes(volumes[s], stack.labels) for s in self.settings}
        kept = {s: numbers(volumes[s], stack) for s in self.settings}
        self._numbers.setdefault(stack.condition, {})[stack.name] = kept

    def at(self, stack: Stack, setting: Setting) -> Numbers:
        """Numbers of a stack at a setting, see `numbers`."""
        return self._numbers[stack.condition][stack.name][setting]

    def chosen(self, stack: Stack) -> Setting:
        """The setting of least mean error over the other stacks of the condition; the middle one if it is alone."""
        others = [kept for name, kept in self._numbers[stack.condition].items() if name != stack.name]
        if not others:
            return self.settings[len(self.settings) // 2]
        return min(self.settings, key=lambda s: sum(kept[s]["nrmse"] for kept in others))


def nrmse(volume: NDArray, truth: NDArray) -> float:
    """100 sqrt(sum (x - t)² / sum t²) over the whole field, %."""
    difference = np.asarray(volume, np.float32) - truth
    return 100.0 * float(np.sqrt(np.vdot(difference, difference) / np.vdot(truth, truth)))


def correlation(volume: NDArray, truth: NDArray, labels: NDArray) -> float:
    """Pearson's, over the head."""
    inside = labels > 0
    return float(np.corrcoef(volume[inside], truth[inside])[0, 1])


def contrast_recovery(volume: NDArray, truth: NDArray, labels: NDArray, detail: int) -> float:
    """Contrast of a detail to the shell around it (mean over mean, less 1) over the same of the truth."""
    shell = AROUND_HOT if detail == HOT else AROUND_COLD

    def contrast(data: NDArray) -> float:
        around = float(data[labels == shell].mean(dtype=np.float64))
        return float(data[labels == detail].mean(dtype=np.float64)) / around - 1.0 if around > 0 else np.nan

    return contrast(volume) / contrast(truth)


def numbers(volume: NDArray, stack: Stack) -> dict[str, float]:
    """nrmse (%), correlation, hot and cold (contrast recovery), counts (error of the total, %)."""
    total = float(stack.truth.sum(dtype=np.float64))
    return {
        "nrmse": nrmse(volume, stack.truth),
        "correlation": correlation(volume, stack.truth, stack.labels),
        "hot": contrast_recovery(volume, stack.truth, stack.labels, HOT),
        "cold": contrast_recovery(volume, stack.truth, stack.labels, COLD),
        "counts": 100.0 * (float(volume.sum(dtype=np.float64)) / total - 1.0),
    }


def planes(volume: NDArray, labels: NDArray) -> Planes:
    """Transaxial and coronal plane through the middle of the hot detail."""
    middle = np.argwhere(labels == HOT).mean(axis=0).round().astype(int)
    return volume[:, :, middle[2]].copy(), volume[:, middle[1]].copy()
