"""The contract of an analysis: what the clinician asks of restored scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from senmei.core.example import Example
from senmei.core.volume import Volume


class Analysis:
    """Base of all analyses. Settings are keyword arguments of the constructor, with defaults and checks there.

    The class attributes are read without importing the module: they must be literals.

    scope : 'scan' (override `run`) or 'cohort' (override `run_cohort`).
    methods : names of methods that it is asked of, `input` for the unrestored; () is all of them.
    requires : roles without which a scan is passed over. uses : roles taken into account where a scan has them.
    sentence : what the methods paragraph says of it. references : for the same paragraph.
    MEASURES : name -> (title, unit, better) of every number that may come out; `better` is 'higher', 'lower',
        'one' (nearest to 1), 'zero' (nearest to 0) or 'none' (a number to look at, not a score).
    LIMITS : name of a number -> bound: where the size of its mean over a cohort is larger, the report flags it.
    """

    scope: ClassVar[str] = "scan"
    methods: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str]
    sentence: ClassVar[str] = ""
    references: ClassVar[tuple[str, ...]] = ()
    MEASURES: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    LIMITS: ClassVar[Mapping[str, float]] = {}

    def run(self, example: Example, restored: Volume) -> dict[str, float]:
        """Numbers of one restored scan, by the names in `MEASURES`."""
        raise NotImplementedError(type(self).__name__)

    def files(self, example: Example, restored: Volume) -> dict[str, Volume | np.ndarray | dict[str, Any]]:
        """What goes beside the numbers of one scan, for the report: name -> Volume, array or dict.

        Written as {scan}_{name}.nii.gz, .h5 or .json; must follow from the arguments alone. By default: nothing.
        """
        return {}

    def run_cohort(self, pairs: Iterable[tuple[Example, Volume]], folder: Path) -> list[dict[str, Any]]:
        """Rows {scan, subject, measure, value} of a whole cohort (scan and subject '' where they do not apply).

        pairs : the test scans, loaded one after another. folder : for figures and tables that go with the rows; what
        `senmei.io.shown` writes there is shown on the study's page.
        """
        raise NotImplementedError(type(self).__name__)
