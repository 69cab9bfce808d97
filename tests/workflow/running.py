"""Running the workflow from tests: a folder of its own, a configuration of its own."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def snakemake(
    folder: Path,
    *arguments: str,
    config: dict[str, Any] | None = None,
    ok: bool = True,
    seconds: float = 900,
) -> str:
    """Run the workflow in `folder` (where its results go) and return what it printed."""
    call = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(folder)]
    if config is not None:
        (folder / "test.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    if (folder / "test.yaml").exists():
        call += ["--configfile", str(folder / "test.yaml")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
    done = subprocess.run(
        [*call, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=seconds,
        check=False,
    )
    text = done.stdout + done.stderr
    assert (done.returncode == 0) is ok, text[-6000:]
    return text


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """rule -> number of jobs that a dry run plans."""
    text = snakemake(folder, "-n", *arguments)
    if "Job stats:" not in text:
        return {}
    table = text.split("Job stats:")[-1]
    found = re.findall(r"^([a-z_0-9]+)\s+(\d+)$", table, flags=re.M)
    return {rule: int(n) for rule, n in found if rule not in ("total", "all", "job")}


def toy(name: str, **more: Any) -> dict[str, Any]:
    """Configuration of a contract study."""
    import importlib

    study = copy.deepcopy(importlib.import_module(f"tests.contract.{name}").CONFIG)
    return {"run": "toy", "device": "cpu", "threads": 1, "studies": {f"toy_{name}": {**study, **more}}}
