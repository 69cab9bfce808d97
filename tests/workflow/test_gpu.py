"""What asks for a GPU gets one to itself, the rest runs on cores beside it; the record says what was used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.workflow.running import ROOT, planned, snakemake, toy

NET = {"use": "unet3d", "channels": 4, "depth": 2, "batch": 3, "patch": 8, "steps": 6}


def requests(text: str, rule: str) -> dict[str, tuple[int, int]]:
    """method -> (threads, GPUs) of a rule's jobs, as a dry run tells them."""
    found = {}
    for block in re.findall(rf"^rule {rule}:\n((?: {{4}}.*\n)+)", text, flags=re.M):
        method = re.search(r"method=(\w+)", block)
        threads, gpus = re.search(r"threads: (\d+)", block), re.search(r"\bgpu=(\d+)", block)
        if method and gpus:
            found[method[1]] = (int(threads[1]) if threads else 1, int(gpus[1]))
    return found


def config(**more):
    methods = {
        "net": NET,
        "win": {"use": "tests.contract.sleeping:OnGPU"},
        "blur": {"use": "tests.contract.sleeping:OnCores"},
    }
    return toy("image", methods=methods) | {"device": "prefer"} | more


def test_only_what_can_use_a_gpu_asks_for_one(tmp_path: Path) -> None:
    text = snakemake(tmp_path, "-n", "-c8", "report", config=config())
    assert requests(text, "train") == {"net": (1, 1), "win": (1, 1), "blur": (1, 0), "input": (1, 0)}
    assert {m: g for m, (_, g) in requests(text, "restore").items()} == {
        "net": 1,
        "win": 1,
        "blur": 0,
        "input": 0,
    }
    assert not re.search(r"gpu=[1-9]", snakemake(tmp_path, "-n", "report", config=config(device="cpu")))


def test_a_training_job_asks_for_all_its_processes_and_gets_what_there_is(tmp_path: Path) -> None:
    text = snakemake(tmp_path, "-n", "-c8", "models", config=config(processes=4, threads=2))
    # at most one a sample of the batch, which is 3; and only what several processes can fit
    assert requests(text, "train") == {"net": (6, 3), "win": (2, 1), "blur": (2, 0), "input": (2, 0)}
    text = snakemake(tmp_path, "-n", "-c4", "models", "--resources", "gpu=1")
    assert requests(text, "train")["net"] == (4, 1)


def test_require_stops_here_and_not_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as a login node has none
    for arguments in (("-n",), ("-c1",)):
        text = snakemake(tmp_path, *arguments, "models", config=config(device="require"), ok=False)
        assert "No GPU on this machine" in text and "device: prefer" in text
    text = snakemake(tmp_path, "-n", "--executor", "slurm", "--jobs", "2", "models")
    assert requests(text, "train")["net"][1] == 1
    # what a node does for a job that needs no GPU
    job = "simulate_cohort:study=toy_image,cohort=toys"
    remote = ("--mode", "remote", "--cores", "1", "--nolock", "--allowed-rules", "simulate_cohort")
    snakemake(tmp_path, *remote, "--target-jobs", job)


def test_one_job_a_gpu_and_the_rest_on_cores(tmp_path: Path) -> None:
    """The methods themselves fail when two hold the GPU, or when none of the other kind runs beside them."""
    profile = yaml.safe_load((ROOT / "profiles" / "gpu" / "config.yaml").read_text())
    folder = str(tmp_path / "seen")
    methods = {
        name: {"use": f"tests.contract.sleeping:{kind}", "folder": folder}
        for name, kind in (("one", "OnGPU"), ("two", "OnGPU"), ("three", "OnCores"))
    }
    mine = toy("image", methods=methods) | {"device": "prefer"}
    models = [f"results/toy/toy_image/models/{name}/card.json" for name in methods]
    snakemake(tmp_path, "-c4", "--resources", *profile["resources"], "--", *models, config=mine)
    for name in ("one", "two", "three"):
        log = tmp_path / "results" / "toy" / "logs" / "toy_image" / "train" / f"{name}.log"
        used = json.loads(log.with_name(log.name + ".json").read_text())
        assert used["device"] in ("cpu", "cuda") and used["processes"] == 1
        assert f"device: {used['device']} (policy: prefer)" in log.read_text()


def test_two_processes_train_in_a_job_and_the_record_says_so(run: Path) -> None:
    mine = toy("image", methods={**toy("image")["studies"]["toy_image"]["methods"], "net": NET})
    weights = run / "results" / "toy" / "toy_image" / "models" / "net" / "weights.safetensors"
    target = str(weights.relative_to(run))
    snakemake(run, "-c2", target, config={**mine, "processes": 2})
    log = run / "results" / "toy" / "logs" / "toy_image" / "train" / "net.log"
    used = json.loads(log.with_name(log.name + ".json").read_text())
    assert used["processes"] == 2 and used["threads"] == 2 and used["device"] == "cpu"
    assert used["precision"] in ("float32", "bf16")
    text = log.read_text()
    assert f"precision: {used['precision']}, processes: 2" in text and "step 6 of 6" in text
    assert not weights.with_name("checkpoint.pt").exists()
    # another number of processes is no reason to do anything again
    (run / "test.yaml").write_text(yaml.safe_dump({**mine, "processes": 1}))
    assert planned(run, target, "results/toy/toy_image/models/rescale/card.json") == {}
