"""What analyses of stacks share: going through them, rows of numbers, planes to be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senmei.analyses.drawing import panels, picture, png
from senmei.analyses.stack_volumes import Planes, Setting, Stack, Trials, collect, planes
from senmei.analyses.stack_ways import Volumes
from senmei.core.errors import ConfigError
from senmei.core.example import Example
from senmei.core.seeds import derive_seed
from senmei.core.statistics import bootstrap_ci
from senmei.core.volume import Volume
from senmei.io.shown import Figure, Note, write_shown

ITERATIONS, FILTERS_MM, SUBSETS = (2, 4, 8, 16), (0.0, 5.0, 10.0), 15
Way = tuple[Trials, Callable[[Stack, Sequence[Setting], int], Volumes]]


def each_stack(
    pairs: Iterable[tuple[Example, Volume]], ways: Sequence[Way], settings: Sequence[Setting], subsets: int
) -> tuple[list[Stack], int]:
    """Stacks in order, reconstructed in each way; how many were left out. Their views are let go."""
    stacks: list[Stack] = []
    names: set[str] = set()

    def told() -> Iterator[tuple[Example, Volume]]:
        for example, restored in pairs:
            if example.scan.get("stack"):
                names.add(str(example.scan["stack"]))
                yield example, restored

    for stack in collect(told()):
        for trials, way in ways:
            trials.add(stack, way(stack, settings, subsets))
        stacks.append(stack.let_go(keep_truth=not stacks))
    return stacks, len(names) - len(stacks)


def ends(prefix: str, trials: Trials, stack: Stack) -> dict[str, float]:
    """Errors at two fixed settings: the fewest and the most iterations, the narrowest filter."""
    narrow = min(f for _, f in trials.settings)
    counts = [n for n, _ in trials.settings]
    return {
        f"{prefix}_nrmse_few": trials.at(stack, (min(counts), narrow))["nrmse"],
        f"{prefix}_nrmse_many": trials.at(stack, (max(counts), narrow))["nrmse"],
    }


def rows_of(stack: Stack, told: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of an analysis, by the first view of the stack."""
    scan = {name: stack.scan[name] for name in ("scan", "subject")}
    return [{**scan, "measure": name, "value": float(value)} for name, value in told.items()]


def gain_notes(rows: Sequence[Mapping[str, Any]], stacks: Sequence[Stack]) -> list[Note]:
    """A remark for each condition: whether restoring first had the smaller error than resolution recovery."""
    condition = {str(stack.scan["scan"]): stack.condition for stack in stacks}
    gains: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["measure"] == "tomo_gain":
            of = gains.setdefault(condition[str(row["scan"])], {})
            of.setdefault(str(row["subject"]), []).append(float(row["value"]))
    notes = []
    for name, values in gains.items():
        found = bootstrap_ci(values, derive_seed(0, "stack gain", name))
        if found is None:
            continue
        told = f"{abs(found.mean):.2f} points {'smaller' if found.mean > 0 else 'larger'}"
        ends = f"; 95 % interval of the gain {found.ci[0]:+.2f} to {found.ci[1]:+.2f}" if found.ci else ""
        text = f"{name}: from these views the error is {told} than with resolution recovery (n = {found.n}{ends})."
        notes.append(Note(text, flag=found.mean <= 0))
    return notes


def show_planes(
    folder: Path,
    title: str,
    stacks: Sequence[Stack],
    left_out: int,
    columns: Sequence[tuple[str, Trials]],
    notes: Sequence[Note] = (),
) -> None:
    """Write planes of the first stack, its truth and what the ways made of it, and remarks."""
    items: list[Figure | Note] = [*notes]
    if left_out:
        text = f"{left_out} stack{'' if left_out == 1 else 's'} left out: not all of their views are there."
        items.append(Note(text, flag=True))
    if stacks:
        stack = stacks[0]
        drawn = [("The stack", planes(stack.truth, stack.labels))]
        told = []
        for name, trials in columns:
            setting = trials.chosen(stack)
            drawn.append((name, trials.planes[setting]))
            error = trials.at(stack, setting)["nrmse"]
            told.append(
                f"{name}: {setting[0]} iterations, Gaussian of {setting[1]:g} mm, error {error:.1f} %"
            )
        caption = (
            f"{stack.name}, through the hot ball. {'; '.join(told)}. One scale, 0 to 1.2 times the stack's "
        )
        caption += "99.5th percentile."
        alt = "Transaxial and coronal planes of a stack of sheets and of its reconstructions, side by side."
        items.append(Figure("planes", _drawn(drawn, stack), caption, alt))
    write_shown(folder, title, items)


def _drawn(columns: Sequence[tuple[str, Planes]], stack: Stack) -> bytes:
    top = 1.2 * float(np.percentile(stack.truth[stack.labels > 0], 99.5))
    with panels(8.6, 5.2, rows=2, cols=len(columns)) as (figure, axes):
        for n, (name, pair) in enumerate(columns):
            for row, plane in enumerate(pair):
                shown = {"cmap": "inferno", "vmin": 0.0, "vmax": top}
                picture(
                    axes[row * len(columns) + n],
                    plane,
                    stack.acquisition.voxel_mm,
                    name if not row else "",
                    **shown,
                )
        return png(figure)


def check_subsets(value: int) -> int:
    """The value. Raises ConfigError for what no OSEM has."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 120:
        raise ConfigError(
            "Unusable setting of a reconstruction",
            where=f"subsets: {value}",
            why="it must be a whole number from 1 to 120",
            fix="correct it, or leave it out for the default",
        )
    return value
