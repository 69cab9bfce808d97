"""Pages of a cohort that is to be printed: what the study's laboratory writes before anything is imaged."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from senmei.core.study import Study


def print_cohort(folder: Path, study: Study, cohort: Mapping[str, Any], log: Callable[[str], None]) -> None:
    """Write what whoever prints a cohort's pages needs, into `folder`; what they should know goes to the log too."""
    laboratory = importlib.import_module(study.laboratory_module)
    for told in laboratory.print_pages(cohort, folder):
        log(told)
