"""Tomography from sheets: the views of a stack, restored or not, reconstructed and held against the stack."""

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
    gain_notes,
    rows_of,
    show_planes,
)
from senmei.analyses.stack_volumes import Trials
from senmei.analyses.stack_ways import settings_of, with_recovery, without_blur
from senmei.core.analysis import Analysis
from senmei.core.example import Example
from senmei.core.volume import Volume


class SheetTomography(Analysis):
    """Stacks reconstructed from views that a method restored, in place of counts with the camera's blur.

    iterations, filters_mm : settings of OSEM that are tried, each number with each FWHM of a Gaussian after it (mm).
    subsets : at most; the largest number below it that divides the views is taken.

    Restored views are taken for ideal parallel projections on the fine grid: the projector turns and attenuates but
    does not blur. Each stack gets the setting that was best for the other stacks of its condition (leave one out), so
    that no way of reconstructing is judged at another's setting or by its own truth. The same counts as they were,
    reconstructed on the fine grid by a projector with the camera's blur and pixels ("resolution recovery"; it is the
    one that simulated them, so its model is exact, which favours it), are what `tomo_gain` compares with.

    Rows, by the first view of each stack: `tomo_nrmse`, over the whole field; `tomo_nrmse_few` and `_many`, after the
    fewest and the most iterations without a filter; `tomo_correlation`, over the head; `tomo_hot`, `tomo_cold`,
    contrast recovered of the two balls; `tomo_counts`, error of the total; `tomo_gain`, by how much resolution
    recovery has the larger error; `tomo_iterations`, `tomo_filter_mm`, the setting. Stacks without all of their
    views are left out and counted in a remark. Of one stack planes are shown.
    """

    scope = "cohort"
    requires = ("low", "stack", "stack_labels", "acquisition")
    uses = ("attenuation",)
    title = "Tomography from sheets"
    sentence = (
        "Stacks of sheets were reconstructed by OSEM from their views, restored ones without and unrestored ones with "
        "a model of the camera's blur; iterations and a Gaussian after them were those that were best for the other "
        "stacks."
    )
    references = (
        "Hudson HM, Larkin RS. Accelerated image reconstruction using ordered subsets of projection data. "
        "IEEE Trans Med Imaging 1994;13:601-609.",
        "El-Ali H, Ljungberg M, Strand SE, et al. Calibration of a radioactive ink-based stack phantom and its "
        "applications in nuclear medicine. Cancer Biother Radiopharm 2003;18:201-207.",
    )
    MEASURES = {
        "tomo_nrmse": ("Error of the reconstructed stack", "%", "lower"),
        "tomo_gain": ("Error of resolution recovery less that from these views", "%", "higher"),
        "tomo_correlation": ("Correlation with the stack, in the head", "1", "higher"),
        "tomo_hot": ("Contrast recovered of the hot ball", "1", "one"),
        "tomo_cold": ("Contrast recovered of the cold ball", "1", "one"),
        "tomo_counts": ("Error of the stack's total", "%", "zero"),
        "tomo_nrmse_few": ("Error of the stack after the fewest iterations", "%", "lower"),
        "tomo_nrmse_many": ("Error of the stack after the most iterations", "%", "lower"),
        "tomo_iterations": ("Iterations chosen on the other stacks", "1", "none"),
        "tomo_filter_mm": ("Gaussian chosen on the other stacks", "mm", "none"),
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
        """The rows described above, none where there are no stacks. 3 s a stack of 96 x 96 x 64 and 60 views."""
        mine, theirs = Trials(self.settings), Trials(self.settings)
        stacks, left_out = each_stack(
            pairs, [(mine, without_blur), (theirs, with_recovery)], self.settings, self.subsets
        )
        if not stacks and not left_out:
            return []
        rows = []
        for stack in stacks:
            setting, other = mine.chosen(stack), theirs.chosen(stack)
            found = mine.at(stack, setting)
            told = {f"tomo_{name}": value for name, value in found.items()}
            told["tomo_gain"] = theirs.at(stack, other)["nrmse"] - found["nrmse"]
            told |= ends("tomo", mine, stack)
            told |= {"tomo_iterations": setting[0], "tomo_filter_mm": setting[1]}
            rows += rows_of(stack, told)
        columns = [("From these views", mine), ("Resolution recovery", theirs)]
        show_planes(folder, self.title, stacks, left_out, columns, gain_notes(rows, stacks))
        return rows
