"""SIMIND, the Monte Carlo simulator of gamma cameras (Ljungberg & Strand 1989), driven as a program.

    installation = check_simind(isotope="tc99m", collimator="se-lehr")       # when the workflow is parsed
    inputs = write_inputs(folder, activity, mu, acquisition, settings)       # one folder a job
    run = run_simind(inputs, installation, seed=3)                           # one seed a job: a cluster can spread them
    mean = average_runs([run, another, ...])                                 # weighted by histories, never a sum
    counts = mean.expected_counts(mbq=300, seconds=20)                       # then Poisson

Names are looked up when they are used: importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from senmei.engines.simind.command import seed_number
    from senmei.engines.simind.inputs import Inputs, write_inputs
    from senmei.engines.simind.installation import Installation, check_simind
    from senmei.engines.simind.run import read_run, run_simind
    from senmei.engines.simind.runs import SimindRun, WindowCounts, average_runs
    from senmei.engines.simind.settings import Settings, collimator_code

_HOME = {
    "Inputs": "inputs",
    "Installation": "installation",
    "Settings": "settings",
    "SimindRun": "runs",
    "WindowCounts": "runs",
    "average_runs": "runs",
    "check_simind": "installation",
    "collimator_code": "settings",
    "read_run": "run",
    "run_simind": "run",
    "seed_number": "command",
    "write_inputs": "inputs",
}
__all__ = [
    "Inputs",
    "Installation",
    "Settings",
    "SimindRun",
    "WindowCounts",
    "average_runs",
    "check_simind",
    "collimator_code",
    "read_run",
    "run_simind",
    "seed_number",
    "write_inputs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
