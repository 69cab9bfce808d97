"""Where arrays live: require | prefer | cpu, never silently something else."""

from __future__ import annotations

import os
from pathlib import Path

from senmei.core.errors import ConfigError

POLICIES = ("require", "prefer", "cpu")


def gpu_visible() -> bool:
    """Whether this machine shows an NVIDIA device to us, asked without importing torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))


def check_policy(policy: str, *, local: bool) -> None:
    """At parse time: refuse `require` on a machine without a GPU, unless jobs run elsewhere (`local` false).

    While a Snakefile is read its executor is not known yet. Told apart by what is: on a cluster a number of jobs
    (`nodes`) is set, and in a real run no cores; a job that runs on a node says so (`remote_exec`) and asks for itself.
    """
    if policy == "require" and local and not gpu_visible():
        raise ConfigError(
            "No GPU on this machine",
            where="device: require",
            why="no NVIDIA device is visible here and the jobs would run here",
            fix="run on a GPU node (snakemake --profile slurm), or set `device: prefer` or `device: cpu`",
        )


def resolve_device(policy: str) -> str:
    """The torch device of a policy: 'cuda' or 'cpu'. Raises ConfigError for `require` without a usable GPU."""
    if policy == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if policy == "require":
        raise ConfigError(
            "No usable GPU",
            where="device: require",
            why=f"torch {torch.__version__} sees no CUDA device in this job",
            fix="check the job's GPU request and the torch build, or set `device: prefer` or `device: cpu`",
        )
    return "cpu"
