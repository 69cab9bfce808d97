"""What a cohort of hospital size costs the frame: planning, re-running, overhead a scan, memory, files.

    python benchmarks/scale.py [--scans 10000] [--shard 80]

Simulated toys of eight voxels and tables without images: what is measured is the frame, not a method. The finished run
that a re-run finds has empty files for outputs, which Snakemake was told to take for done. Writes results/scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DOSES = 4
PEAK = """
import json, sys, time
from pathlib import Path
folder, subjects, shards = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
import numpy
if sys.argv[1] == "tables":
    from tests.contract.many import write_tables
elif sys.argv[1] == "collect":
    from senmei.stages.collect import collect_study
else:
    from senmei.report.study import write_study_report
def peak():
    text = Path("/proc/self/status").read_text()
    return int(next(l for l in text.splitlines() if l.startswith("VmHWM")).split()[1]) / 1024
if sys.argv[1] == "tables":
    Path(folder, "arguments.json").write_text(json.dumps(write_tables(folder, subjects, shards)))
else:
    before, clock = peak(), time.process_time()
    if sys.argv[1] == "collect":
        results, stages, cards, measures = json.loads(Path(folder, "arguments.json").read_text())
        measures = {name: spec["use"] for name, spec in measures.items()}
        collect_study(folder, results, stages, cards, "many", "tests.contract.many:Many", run="scale",
                      measures=measures, analyses={}, seed=1)
    else:
        write_study_report(folder, folder / "report.html", {"run": "scale", "primary": ["error", "bias"],
                                                            "conditions": ["dose"]})
    print(json.dumps({"imports_MB": round(before), "peak_MB": round(peak()),
                      "cpu_s": round(time.process_time() - clock, 1)}))
"""


def configuration(subjects: int, shards: int, **cohort: Any) -> dict[str, Any]:
    """The toy study `many` with so many subjects, or another source of its cohort."""
    from tests.contract.many import configured

    study = configured(subjects, shards)
    if cohort:
        study["cohorts"]["many"] = {"use": "test", **cohort}
        study["degradation"] = {"doses": [80]}
    return {"run": "scale", "device": "cpu", "threads": 1, "studies": {"many": study}}


def command(folder: Path, config: dict[str, Any], *arguments: str) -> list[str]:
    """The call of Snakemake for a folder and a configuration, which is written there."""
    folder.mkdir(exist_ok=True)
    (folder / "scale.yaml").write_text(json.dumps(config), encoding="utf-8")
    call = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(folder)]
    return [*call, "--configfile", str(folder / "scale.yaml"), *arguments]


def high_water(process: int) -> float:
    """MB that a running process has held at most (0 once it has ended).

    `ru_maxrss` would not do: a child begins with what its parent held when it was started.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next(
        (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0
    )


def snakemake(folder: Path, config: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """Run it; wall and CPU seconds, peak memory and what it planned."""
    call = command(folder, config, *arguments)
    clock = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        running = subprocess.Popen(call, cwd=ROOT, stdout=out, stderr=out)
        peak, ended = 0.0, 0
        while not ended:
            peak = max(peak, high_water(running.pid))
            time.sleep(0.02)
            ended, status, used = os.wait4(running.pid, os.WNOHANG)
        running.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if running.returncode:
        raise RuntimeError(text[-4000:])
    jobs = dict(re.findall(r"^([a-z_0-9]+)\s+(\d+)$", text.split("Job stats:")[-1], flags=re.M))
    facts = {"wall_s": time.monotonic() - clock, "cpu_s": used.ru_utime + used.ru_stime}
    facts["peak_MB"] = peak
    return {k: round(v, 1) for k, v in facts.items()} | {"jobs": {k: int(n) for k, n in jobs.items()}}


def planning(work: Path, scans: int, size: int) -> list[dict[str, Any]]:
    """Dry runs of cohorts of several sizes: nothing done yet."""
    rows = []
    for n in (scans // 10, scans, 10 * scans):
        shards = max(1, n // size)
        found = snakemake(work / f"dry{n}", configuration(n // DOSES, shards), "-n", "--quiet=rules")
        found["jobs"] = found["jobs"]["total"]
        rows.append({"scans": n, "shards": shards, **found})
        print(rows[-1], flush=True)
    return rows


def pretend(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Make the cohort's run look finished: every output an empty file, taken for done by Snakemake (`--touch`)."""
    plan = command(folder, config, "-n")
    text = subprocess.run(plan, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for outputs in re.findall(r"^    output: (.*)$", text, flags=re.M):
        for output in outputs.split(", "):
            (folder / output).parent.mkdir(parents=True, exist_ok=True)
            (folder / output).touch()
    return snakemake(folder, config, "-c1", "--quiet=rules", "--touch", "--forceall")


def again(work: Path, scans: int, size: int) -> list[dict[str, Any]]:
    """Dry and real re-runs of a finished cohort; one subject more; the same cohort from files."""
    shards: int = max(1, scans // size)
    rows: list[dict[str, Any]] = []
    config = configuration(scans // DOSES, shards)

    def note(what: str, found: dict[str, Any]) -> None:
        found["jobs"] = {k: n for k, n in found["jobs"].items() if k != "total"} or 0
        rows.append({"what": what, **found})
        print(rows[-1], flush=True)

    pretend(work / "done", config)
    note("finished, run again", snakemake(work / "done", config, "-c1", "--quiet=rules"))
    note("finished, dry run", snakemake(work / "done", config, "-n", "--quiet=rules"))
    config = configuration(scans // DOSES + 1, shards)
    note("one subject more, dry run", snakemake(work / "done", config, "-n", "--quiet=rules"))
    dataset = work / "bids"
    for n in range(scans):
        image = dataset / f"sub-{n:05d}" / "anat" / f"sub-{n:05d}_T1w.nii"
        image.parent.mkdir(parents=True)
        image.touch()
    config = configuration(0, shards, source="bids", path=str(dataset), suffix="T1w")
    table = "results/scale/many/cohorts/many/scans.tsv"
    note("files listed (the one job that must run)", snakemake(work / "listed", config, "-c1", table))
    note("listed cohort, dry run", snakemake(work / "listed", config, "-n", "--quiet=rules"))
    return rows


def overhead(work: Path, size: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Seconds a job of one shard takes, its start included, by stage and scan; files and bytes a scan leaves."""
    config = configuration(size // DOSES, 1)
    snakemake(work / "real", config, "-c1", "--quiet=rules", "measured")
    results = work / "real" / "results" / "scale"
    rows = []
    for stage in ("ingest", "prepare", "restore", "measure"):
        tables = sorted((results / "benchmarks" / "many" / stage / "many").rglob("*.tsv"))
        jobs = [float(table.read_text().splitlines()[1].split("\t")[0]) for table in tables]
        logs = sorted((results / "logs" / "many" / stage / "many").rglob("*.log.json"))
        inside = [float(json.loads(log.read_text())["seconds"]) for log in logs]
        rows.append(
            {
                "stage": stage,
                "jobs": len(jobs),
                "job_s": round(sum(jobs) / len(jobs), 2),
                "of_that_its_start_s": round((sum(jobs) - sum(inside)) / len(jobs), 2),
                "ms_a_scan": round(1000 * sum(jobs) / len(jobs) / size, 1),
            }
        )
    study = results / "many"
    method = [p for p in (study / "restored" / "many" / "scaled").iterdir() if p.suffix != ".tsv"]
    groups = [p for g in ("input", "truth") for p in (study / "prepared" / "many" / g).iterdir()]
    sidecars = [p.stat().st_size for p in method if p.suffix == ".json"]
    files = {
        "restored_files_a_scan_and_method": len(method) / size,
        "prepared_files_a_scan_and_group": (len(groups) - 2) / size / 2,
        "input_method_files_a_scan": len(
            [p for p in (study / "restored" / "many" / "input").iterdir() if p.suffix == ".nii.gz"]
        )
        / size,
        "sidecar_bytes": round(sum(sidecars) / len(sidecars)),
        "manifest_bytes_a_scan": round(
            sum(p.stat().st_size for p in study.glob("restored/many/scaled/*.tsv")) / size
        ),
        "measured_bytes_a_value": round(
            sum(p.stat().st_size for p in study.glob("measured/many/scaled/*.tsv")) / size / 2
        ),
    }
    return rows, files


def writing(work: Path, size: int = 160) -> dict[str, Any]:
    """What one tiny image and its sidecar cost inside `each_scan`, with and without waiting for the disk."""
    import numpy as np

    from senmei.core.volume import Volume
    from senmei.io import atomic
    from senmei.stages.shards import Made, each_scan

    image = Volume(np.ones((2, 2, 2), np.float32), np.eye(4))
    scans = [{"scan": f"s{n}", "subject": f"s{n}", "split": "test"} for n in range(size)]

    def once(folder: Path) -> tuple[float, float]:
        clock, cpu = time.monotonic(), time.process_time()
        each_scan(
            scans, lambda row: Made(roles={"restored": image}), key=lambda row: "k", strict=True,
            manifest=folder / "a" / "b" / "c.tsv", provenance={}, log=lambda text: None,
        )  # fmt: skip
        return (time.monotonic() - clock) / size * 1000, (time.process_time() - cpu) / size * 1000

    once(work / "warm")
    wall, cpu = once(work / "synced")
    up_to_date, _ = once(work / "synced")
    kept, atomic._fsync = atomic._fsync, lambda path: None
    unsynced, _ = once(work / "unsynced")
    atomic._fsync = kept
    facts = {"wall_ms": wall, "cpu_ms": cpu, "wall_ms_without_fsync": unsynced, "up_to_date_ms": up_to_date}
    return {name: round(value, 2) for name, value in facts.items()}


def memory(work: Path, scans: int, size: int) -> list[dict[str, Any]]:
    """Peak memory of collecting and of the study's page, each in a process of its own."""
    rows = []
    for n in (scans // 10, scans):
        folder = work / f"tables{n}"
        folder.mkdir()
        for what in ("tables", "collect", "report"):
            call = [sys.executable, "-c", PEAK, what, str(folder), str(n // DOSES), str(max(1, n // size))]
            told = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
            if told.returncode:
                raise RuntimeError(told.stderr[-3000:])
            if what != "tables":
                rows.append({"what": what, "scans": n, **json.loads(told.stdout)})
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure all of it and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--shard", type=int, default=80, help="scans a shard")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scale.json")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="senmei-scale-") as temporary:
        work = Path(temporary)
        stages, files = overhead(work, options.shard)
        print(stages, files, flush=True)
        result = {
            "what": "The frame's own cost at scale",
            "scans": options.scans,
            "load_at_start": round(os.getloadavg()[0], 1),
            "cpus": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "running_again": again(work, options.scans, options.shard),
            "one_image_and_sidecar": writing(work),
            "memory": memory(work, options.scans, options.shard),
            "planning": planning(work, options.scans, options.shard),
            "overhead": stages,
            "files": files,
            "load_at_end": round(os.getloadavg()[0], 1),
            "notes": [
                "Toys of eight voxels, three methods (unrestored, classical, learned), two measures, four scans each.",
                "memory: six methods, eight numbers a scan and method; tables without images.",
                "overhead: a job of one shard with its start (interpreter, imports); the toys own work included.",
                "Wall seconds are of a machine shared with other work: compare CPU seconds.",
            ],
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
