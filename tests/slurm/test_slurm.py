"""The commands that users type, on a real Slurm, and what happens to them there.

Whatever befalls a run (cancelled jobs, a lost node, a killed or interrupted Snakemake, a time limit), once resumed
its files are those of an undisturbed run, byte for byte, when, where and how long apart.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable

import pytest
import yaml

from tests.slurm.cluster import Cluster
from tests.slurm.project import OFTEN, Project

pytestmark = pytest.mark.slow

TINY = """\
run: demo
preset: tiny
device: prefer
studies:
  mri_denoise: {shards: 1}
  spect_denoise: {shards: 1}
"""
ALONE = """\
run: demo
preset: tiny
device: prefer
studies:
  mri_denoise: {shards: 1}
"""
NETWORKS = {"mri_denoise": "unet3d", "spect_denoise": "unet3d_n2n"}
TRAINING = {study: f"rule_train_wildcards_{study}_{method}" for study, method in NETWORKS.items()}


@pytest.fixture(scope="session")
def undisturbed(clone: Callable[[str], Project]) -> dict[str, str]:
    """Checksums of a run on this machine, without Slurm."""
    project = clone(TINY)
    assert project.type("-c2", "--quiet=rules") == 0, project.said()
    return project.made()


@pytest.fixture(scope="session")
def undisturbed_alone(clone: Callable[[str], Project]) -> dict[str, str]:
    """The same of one study."""
    project = clone(ALONE)
    assert project.type("-c2", "--quiet=rules") == 0, project.said()
    return project.made()


def compare(made: dict[str, str], undisturbed: dict[str, str]) -> None:
    """The same files with the same content."""
    assert sorted(made) == sorted(undisturbed)
    assert [name for name in made if made[name] != undisturbed[name]] == []


def test_the_literal_command(clone: Callable[[str], Project], undisturbed: dict[str, str]) -> None:
    project = clone(TINY)
    assert project.type("--profile", "slurm", *OFTEN) == 0, project.said()
    compare(project.made(), undisturbed)
    seen = {job["comment"]: job for job in project.seen.values()}
    training = seen[TRAINING["mri_denoise"]]
    assert (training["memory"], training["limit"], training["cpus"], training["partition"]) == (
        "4000M",
        "4:00:00",
        "1",
        "cpu",
    )
    assert training["gpus"] == "N/A"  # as shipped, no GPU is asked for
    report = seen["rule_report_run"]
    assert (report["memory"], report["limit"]) == ("1000M", "10:00")
    assert {job["node"] for job in project.seen.values()} == {"n1", "n2"}
    logs = project.folder / "results" / "logs" / "slurm"
    assert any(logs.glob("rule_train/*/*.log")), "Slurm's logs are not where the documentation says"
    assert (project.folder / "results/demo/logs/mri_denoise/train/unet3d.log").exists()
    assert project.type("--profile", "slurm", *OFTEN) == 0
    assert "Nothing to be done" in project.said()


def test_a_cancelled_job_a_lost_node_and_a_gpu(
    clone: Callable[[str], Project], cluster: Cluster, undisturbed_alone: dict[str, str]
) -> None:
    project = clone(ALONE)
    project.start(
        "--profile", "slurm", *OFTEN, "--slurm-no-requeue", "--retries", "2", "--set-resources", "train:gpu=1"
    )
    work = TRAINING["mri_denoise"]
    project.wait(until=lambda: project.job(work) is not None)
    first = project.job(work)
    assert first is not None and first["gpus"].endswith("gpu:1"), first
    cluster.run("scancel", first["id"])
    project.wait(until=lambda: (again := project.job(work)) is not None and again["id"] != first["id"])
    second = project.job(work)
    assert second is not None
    cluster.crash_node(second["node"])
    try:
        assert project.wait() == 0, project.said()
    finally:
        cluster.recover_node(second["node"])
    third = max((j for j in project.seen.values() if j["comment"] == work), key=lambda j: int(j["id"]))
    assert third["id"] not in (first["id"], second["id"])
    compare(project.made(), undisturbed_alone)
    used = json.loads((project.folder / "results/demo/logs/mri_denoise/train/unet3d.log.json").read_text())
    said = (project.folder / "results/demo/logs/mri_denoise/train/unet3d.log").read_text()
    assert f"device: {used['device']} (policy: prefer)" in said


def test_interrupted_then_killed(
    clone: Callable[[str], Project], cluster: Cluster, undisturbed_alone: dict[str, str]
) -> None:
    project = clone(ALONE)
    project.start("--profile", "slurm", *OFTEN)
    project.wait(
        until=lambda: any(
            j["state"] == "RUNNING" and "rule_prepare" in j["comment"] for j in project.seen.values()
        )
    )
    project.send(signal.SIGINT)
    assert project.wait(120) != 0
    end = time.monotonic() + 60
    while cluster.jobs() and time.monotonic() < end:
        time.sleep(0.5)
    assert cluster.jobs() == [], "Ctrl-C leaves no job behind"

    project.start("--profile", "slurm", *OFTEN)  # and no lock: it starts at once
    work = TRAINING["mri_denoise"]
    project.wait(until=lambda: project.job(work) is not None)
    project.send(signal.SIGKILL)
    assert project.wait(60) == -signal.SIGKILL
    assert cluster.jobs(), "its jobs go on"
    assert project.type("--profile", "slurm", *OFTEN) != 0
    said = project.said()
    assert "still in Slurm's queue" in said and "scancel" in said and "--unlock" in said, said
    end = time.monotonic() + 300
    while cluster.jobs() and time.monotonic() < end:
        time.sleep(1)
    assert project.type("--profile", "slurm", "--unlock") == 0, project.said()
    assert project.type("--profile", "slurm", *OFTEN) == 0, project.said()
    compare(project.made(), undisturbed_alone)


SLOW = {"run": "demo", "device": "cpu"}


def test_training_survives_its_time_limit(clone: Callable[[str], Project], cluster: Cluster) -> None:
    """Two minutes and a half of work, warned before a limit of three: saved, put back into the queue, ended.

    Slurm warns up to a minute earlier than it is asked to.
    """
    from tests.slurm.slow import CONFIG, STEPS

    project = clone(yaml.safe_dump({**SLOW, "studies": {"toy": {**CONFIG, "shards": 1}}}))
    target = "results/demo/toy/models/slow/card.json"
    assert project.type("-c2", "--quiet=rules", target) == 0, project.said()
    whole = project.made()
    shutil.rmtree(project.folder / "results" / "demo")
    warned = ("--set-resources", "train:runtime=3", "train:slurm_extra='--signal=23@60 --requeue'")
    project.start("--profile", "slurm", *OFTEN, *warned, "--", target)

    def hurry() -> bool:
        """Slurm holds a requeued job for two minutes; the test does not wait for that."""
        for job in cluster.jobs("-t", "pending"):
            cluster.run("scontrol", "update", f"jobid={job['id']}", "StartTime=now", check=False)
        return project.running is not None and project.running.poll() is not None

    project.wait(900, until=hurry)
    assert project.wait() == 0, project.said()
    said = (project.folder / "results/demo/logs/toy/train/slow.log").read_text()
    assert "resuming after step" in said, said
    history = (project.folder / "results/demo/toy/models/slow/history.tsv").read_text()
    assert f"\n{STEPS}\t" in history
    assert project.made() == whole
