"""What becomes of stacks without any restoration: reconstruction with a model of the camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from senmei.analyses.stack_rows import (
    FILTERS_MM,
    ITERATIONS,
    SUBSETS,
    check_subsets,
    each_stack,
    ends,
    rows_of,
    show_planes,
)
from senmei.analyses.stack_volumes import Trials
from senmei.analyses.stack_ways import on_coarse_grid, settings_of, with_recovery
from senmei.core.analysis import Analysis
from senmei.core.example import Example
from senmei.core.volume import Volume


class ResolutionRecovery(Analysis):
    """What is made of the same stacks from counts as they were, with a model of the camera: the peers.

    Settings, and how that of a stack is chosen: as of `SheetTomography`. Rows of the unrestored image alone.
    `recovery_...` : on the fine grid; the projector blurs by depth as the camera did, and sums its pixels.
    `coarse_...` : on the camera's grid with its blur, then interpolated linearly to the fine one.
    """

    scope = "cohort"
    methods = ("input",)
    requires = ("low", "stack", "stack_labels", "acquisition")
    uses = ("attenuation",)
    title = "Resolution recovery from unrestored views"
    MEASURES = {
        "recovery_nrmse": ("Error of the stack, resolution recovery", "%", "lower"),
        "recovery_correlation": ("Correlation in the head, resolution recovery", "1", "higher"),
        "recovery_hot": ("Contrast recovered of the hot ball, resolution recovery", "1", "one"),
        "recovery_cold": ("Contrast recovered of the cold ball, resolution recovery", "1", "one"),
        "recovery_counts": ("Error of the stack's total, resolution recovery", "%", "zero"),
        "recovery_nrmse_few": ("Error of the stack, resolution recovery, fewest iterations", "%", "lower"),
        "recovery_nrmse_many": ("Error of the stack, resolution recovery, most iterations", "%", "lower"),
        "coarse_nrmse": ("Error of the stack, recovery on the coarse grid", "%", "lower"),
        "coarse_correlation": ("Correlation in the head, recovery on the coarse grid", "1", "higher"),
        "coarse_hot": ("Contrast recovered of the hot ball, recovery on the coarse grid", "1", "one"),
        "coarse_cold": ("Contrast recovered of the cold ball, recovery on the coarse grid", "1", "one"),
        "coarse_counts": ("Error of the stack's total, recovery on the coarse grid", "%", "zero"),
        "coarse_nrmse_few": ("Error of the stack, coarse grid, fewest iterations", "%", "lower"),
        "coarse_nrmse_many": ("Error of the stack, coarse grid, most iterations", "%", "lower"),
    }

    def __init__(
        self,
        *,
        iterations: Sequence[int] = ITERATIONS,
        filters_mm: Sequence[float] = FILTERS_MM,
        subsets: int = SUBSETS,
    ) -> None:
        self.settings = settings_of(iterations, filters_mm)
        self.subsets = check_subsets(subsets)

    def run_cohort(self, pairs: Iterable[tuple[Example, Volume]], folder: Path) -> list[dict[str, Any]]:
        """The rows described above, none where there are no stacks."""
        fine, coarse = Trials(self.settings), Trials(self.settings)
        stacks, left_out = each_stack(
            pairs, [(fine, with_recovery), (coarse, on_coarse_grid)], self.settings, self.subsets
        )
        if not stacks and not left_out:
            return []
        rows = []
        for stack in stacks:
            told: dict[str, float] = {}
            for name, trials in (("recovery", fine), ("coarse", coarse)):
                found = trials.at(stack, trials.chosen(stack))
                told |= {f"{name}_{k}": value for k, value in found.items()} | ends(name, trials, stack)
            rows += rows_of(stack, told)
        columns = [
            ("On the fine grid", fine),
            ("On the camera's grid", coarse),
        ]
        show_planes(folder, self.title, stacks, left_out, columns)
        return rows
