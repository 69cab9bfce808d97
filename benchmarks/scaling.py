"""Strong scaling on a real Slurm: how much faster a sleep-bound study gets with 1, 2, 4 and 8 slots.

    python benchmarks/scaling.py [--slots 1 2 4 8] [--shards 16] [--seconds 45] [--rounds 0]

Needs root and Debian's Slurm (tests/slurm/cluster.py starts one of two nodes). In a clone, a study is run until its
methods are fitted and its inputs prepared; then, for each number of slots, its restore shards, which only sleep, are
run again from nothing. Efficiency: the time of one shard alone in a row, times shards, over slots times wall time.
--rounds n: shards as many as n times the slots, so that the smaller numbers of slots take no longer than the larger.
Writes results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
STUDY = '''"""Scans that take their time to be restored."""

import time

from senmei.core.method import Method
from tests.contract.image import CONFIG as IMAGE


class Sleep(Method):
    title = "Sleep"
    family = "classical"
    seconds = 1.0

    def __init__(self, seconds=1.0):
        self.seconds = seconds

    def apply(self, example):
        time.sleep(self.seconds)
        return example["input"]


CONFIG = {**IMAGE, "methods": {"sleep": {"use": "tests.contract.sleepy:Sleep"}}}
'''
OFTEN = ("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2")


def clone(folder: Path, shards: int, seconds: float) -> None:
    """The project's tracked files with a study of so many test subjects, one shard each."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        source, place = ROOT / name, folder / name
        if source.is_symlink() or source.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)
    (folder / "tests" / "contract" / "sleepy.py").write_text(STUDY, encoding="utf-8")
    study = {
        "use": "tests.contract.image:Shrunk",
        "shards": "subject",
        "cohorts": {"slow": {"use": "test", "source": "simulate", "subjects": shards}},
        "degradation": {"doses": [50]},
        "methods": {"sleep": {"use": "tests.contract.sleepy:Sleep", "seconds": seconds}},
        "measures": {"error": {"use": "tests.contract.image:error"}},
    }
    config = {"run": "scaling", "device": "cpu", "threads": 1, "studies": {"slow": study}}
    (folder / "config" / "config.yaml").write_text(json.dumps(config), encoding="utf-8")


def typed(folder: Path, environment: dict[str, str], *arguments: str, limit: float = 3600) -> float:
    """Type `snakemake <arguments>` in a folder; seconds until it ended."""
    clock = time.monotonic()
    done = subprocess.run(
        ["snakemake", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=limit, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-4000:])
    return time.monotonic() - clock


def targets(shards: int) -> list[str]:
    """Restore manifests of so many shards."""
    return [f"results/scaling/slow/restored/slow/sleep/sub-{n + 1:03d}.tsv" for n in range(shards)]


def main() -> None:
    """Run the study on clusters of several sizes and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scaling.json")
    options = parser.parse_args()
    from tests.slurm.cluster import Cluster, missing

    if reason := missing():
        sys.exit(f"no Slurm: {reason}")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="senmei-scaling-") as temporary:
        work = Path(temporary)
        os.chmod(work, 0o755)
        project = work / "clone"
        clone(project, options.shards, options.seconds)
        local = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "PYTHONPATH"))}
        local["PATH"] = f"{Path(sys.executable).parent}:{local['PATH']}"
        before = [
            name.replace("restored/slow/sleep", "prepared/slow/input") for name in targets(options.shards)
        ]
        typed(project, local, "-c2", *before, "results/scaling/slow/models/sleep/card.json")
        restored = project / "results" / "scaling" / "slow" / "restored"
        for slots in options.slots:
            shards = min(options.shards, options.rounds * slots) if options.rounds else options.shards
            shutil.rmtree(restored, ignore_errors=True)
            cluster = Cluster(work / f"slurm{slots}", cpus=max(1, slots // 2), mem_mb=64000)
            try:
                cluster.start()
                if slots == 1:  # two nodes of one processor each: one of them rests
                    cluster.run("scontrol", "update", "nodename=n2", "state=drain", "reason=scaling")
                environment = {**local, "SLURM_CONF": cluster.environment["SLURM_CONF"]}
                wall = typed(project, environment, "--profile", "slurm", *OFTEN, *targets(shards))
            finally:
                cluster.stop()
            rows.append({"slots": slots, "shards": shards, "wall_s": round(wall, 1)})
            print(rows[-1], flush=True)
    alone = rows[0]["wall_s"] * rows[0]["slots"] / rows[0]["shards"]
    for row in rows:
        row["speedup"] = round(alone * row["shards"] / row["wall_s"], 2)
        row["efficiency"] = round(row["speedup"] / row["slots"], 3)
        rounds = -(-row["shards"] // row["slots"])
        row["overhead_s_a_job"] = round(row["wall_s"] / rounds - options.seconds, 1)
    result = {
        "what": "Strong scaling on Slurm, sleep-bound",
        "sleep_s_a_shard": options.seconds,
        "processors_of_this_machine": len(os.sched_getaffinity(0)),
        "load_at_end": round(os.getloadavg()[0], 1),
        "slots": rows,
        "notes": [
            "One shard a job; each job starts Snakemake twice and Python once, on the processors of this one machine.",
            "Overhead a job: wall seconds a round of jobs, less the sleep; submission and polling (2 s) included.",
        ],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
