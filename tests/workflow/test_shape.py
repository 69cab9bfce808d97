"""The shape of the workflow: presets and targets by dry run, profiles from a clone, the list of files it makes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.workflow.running import ROOT, planned, snakemake, toy

STAGES = {"simulate_cohort", "ingest", "prepare", "train", "restore", "measure", "analyse"}
TARGETS = {
    "all": STAGES | {"collect", "report_study", "report_run"},
    "demo": STAGES | {"collect", "report_study", "report_run"},
    "report": STAGES | {"collect", "report_study", "report_run"},
    "mri_denoise": STAGES | {"collect", "report_study"},
    "spect_denoise": STAGES | {"collect", "report_study"},
    "gamma_sr": STAGES - {"analyse"} | {"collect", "report_study"},
    "cohorts": {"simulate_cohort", "ingest"},
    "models": {"simulate_cohort", "ingest", "prepare", "train"},
    "restored": {"simulate_cohort", "ingest", "prepare", "train", "restore"},
    "exported": set(),  # nobody asks for files
    "datasets": set(),
    "measured": {"simulate_cohort", "ingest", "prepare", "train", "restore", "measure"},
    "analysed": STAGES | {"collect"},
}


def shipped(folder: Path, **more: str) -> Path:
    """The shipped configuration as an overlay in `folder`, where Snakemake is told to work."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    (folder / "test.yaml").write_text(yaml.safe_dump({**config, **more}))
    return folder


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_a_dry_run_of_each_preset_shows_everything(preset: str, tmp_path: Path) -> None:
    plan = planned(shipped(tmp_path, preset=preset), "report")
    observers = set() if preset == "tiny" else {"analyse_cohort"}
    assert set(plan) - {"report"} == TARGETS["report"] | observers
    assert plan["train"] == {"tiny": 4 + 3 + 4, "demo": 5 + 8 + 7, "paper": 7 + 11 + 11}[preset]
    assert plan["restore"] == plan["measure"]


def test_the_shipped_configuration_is_the_demo(tmp_path: Path) -> None:
    text = snakemake(shipped(tmp_path), "-n", "demo")
    assert "results/demo/report/index.html" in text


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_plans_its_stages(target: str, tmp_path: Path) -> None:
    plan = planned(shipped(tmp_path, preset="tiny"), target)
    expected = TARGETS[target] - ({"simulate_cohort"} if target == "models" else set())
    assert set(plan) - {target} == expected


def test_targets_are_listed_with_their_docstrings(tmp_path: Path) -> None:
    text = snakemake(shipped(tmp_path), "--list-target-rules")
    for target in TARGETS:
        assert re.search(rf"^{target} \(.{{10,}}\)$", text, flags=re.M), f"{target} has no docstring"
    assert "{wildcards}" not in text


def clone(tmp_path: Path) -> Path:
    """What a clone holds: tracked files, links as links."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if not names:
        pytest.skip("not a git repository")
    project = tmp_path / "clone"
    for name in filter(None, names.split("\0")):
        source, place = ROOT / name, project / name
        if source.is_symlink() or source.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)
    return project


@pytest.mark.parametrize("profile", ["slurm", "gpu"])
def test_the_literal_command_works_in_a_clone(profile: str, tmp_path: Path) -> None:
    project = clone(tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE") and k != "PYTHONPATH"}
    call = [sys.executable, "-m", "snakemake", "--profile", profile, "-n"]
    done = subprocess.run(call, cwd=project, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "rule report_run:" in done.stdout + done.stderr
    assert not list((project / "results").rglob("*.tsv"))


# Every file of a toy run; a method, a subject or a cohort more follows the same pattern.
GOLDEN = """
report/index.html
toy_image/cohorts/toys/cohort.json
toy_image/cohorts/toys/participants.tsv
toy_image/cohorts/toys/raw/{subject}.json
toy_image/cohorts/toys/raw/{subject}.tsv
toy_image/cohorts/toys/raw/{subject}_image.nii.gz
toy_image/cohorts/toys/scans.tsv
toy_image/cohorts/toys/split.tsv
toy_image/cohorts/toys/status.tsv
toy_image/measured/toys/{method}/{test}.tsv
toy_image/measures.tsv
toy_image/models/{method}/card.json
toy_image/models/{method}/history.tsv
toy_image/models/{method}/weights.safetensors
toy_image/prepared/toys/input/{subject}.tsv
toy_image/prepared/toys/input/{subject}_acq-dose50.json
toy_image/prepared/toys/input/{subject}_acq-dose50_input.nii.gz
toy_image/prepared/toys/truth/{subject}.tsv
toy_image/prepared/toys/truth/{subject}_acq-dose50.json
toy_image/prepared/toys/truth/{subject}_acq-dose50_reference.nii.gz
toy_image/report.html
toy_image/restored/toys/input/{test}.tsv
toy_image/restored/toys/input/{test}_acq-dose50.json
toy_image/restored/toys/rescale/{test}.tsv
toy_image/restored/toys/rescale/{test}_acq-dose50.json
toy_image/restored/toys/rescale/{test}_acq-dose50.nii.gz
toy_image/status.tsv
toy_image/summary.json
""".split()
VOLATILE = ("logs", "benchmarks")


def made(run: Path) -> dict[str, str]:
    """Files of a run and their checksums, without what is volatile."""
    folder = run / "results" / "toy"
    files = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    return {
        str(p): hashlib.sha256((folder / p).read_bytes()).hexdigest()
        for p in sorted(files)
        if p.parts[0] not in VOLATILE
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference")
    snakemake(folder, "-c2", "--quiet=rules", "report", config=toy("image"))
    return made(folder)


def test_the_files_of_a_run(reference: dict[str, str]) -> None:
    subjects = [f"sub-{i:03d}" for i in range(1, 7)]
    expected: set[str] = set()
    for name in GOLDEN:
        expected.update(
            name.format(subject=subject, method=method, test="sub-004")
            for subject in subjects
            for method in ("input", "rescale")
        )
    # only the test split has inputs that are restored, but fitting prepares the training subjects too;
    # the validation subject is needed by nobody here: the toy tunes nothing
    idle = {name for name in expected if name.startswith("toy_image/prepared") and "sub-002" in name}
    assert set(reference) == expected - idle


def test_a_killed_run_resumes_to_the_same_bytes(reference: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL of a script in the middle of its work; then the same command again."""
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(toy("image")))
    call = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "Snakefile"),
        "-d",
        str(tmp_path),
        "-c2",
        "report",
    ]
    call += ["--configfile", str(tmp_path / "test.yaml")]
    with (tmp_path / "out.txt").open("w") as out:
        running = subprocess.Popen(call, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        killed = _kill_a_script(running)
        code = running.wait(timeout=300)
    assert killed, (tmp_path / "out.txt").read_text()[-2000:]
    assert code != 0
    assert made(tmp_path) != reference
    snakemake(tmp_path, "-c2", "--quiet=rules", "--rerun-incomplete", "report")
    assert made(tmp_path) == reference
    assert planned(tmp_path, "report") == {}


def _kill_a_script(running: subprocess.Popen) -> bool:
    """Kill the first process below `running` that prepares a shard. Only processes of our own child are looked at."""
    end = time.monotonic() + 120
    while time.monotonic() < end and running.poll() is None:
        for pid in _below(running.pid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"prepare.py" in words:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                return True
        time.sleep(0.02)
    return False


def _below(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        for task in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            try:
                children = [int(child) for child in task.read_text().split()]
            except OSError:
                continue
            found += children
            todo += children
    return found
