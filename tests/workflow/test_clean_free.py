"""The proof: what learns from noisy pairs cannot reach a noise-free array, whichever way one looks."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.stages.plan import Plan
from senmei.studies.spect_denoise import SPECTDenoise
from tests.workflow.running import ROOT, snakemake

METHODS = ("unet3d_n2n", "win5rb", "gaussian")
STUDY = "results/clean/spect_denoise"
NOISE_FREE = {"reference", "myocardium", "labels", "segments", "heart"}
# what a row of a `pair` manifest may tell: the frame's columns, the scan's own, and numbers of its counts
COLUMNS = {
    *("scan", "subject", "split", "role", "status", "path", "sha256", "key", "error"),
    *("image", "repeat", "dose", "defect", "counts", "pair_counts", "scale"),
}
# Runs a training job's one library call and prints every file below the run's folder that it opens.
WATCHED = """
import json, os, sys
root = os.path.realpath(sys.argv[1])
opened = set()
def hook(event, arguments):
    named = arguments and isinstance(arguments[0], (str, bytes, os.PathLike))
    if named and event in ("open", "os.listdir", "os.scandir"):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(root + os.sep):
            opened.add(os.path.relpath(path, root))
sys.addaudithook(hook)
from senmei.stages.train import by_cohort, train_method
job = json.loads(sys.argv[2])
train_method(job["name"], job["spec"], by_cohort(job["manifests"], 1), job["outputs"], seed=job["seed"], code="c",
             split_sha256="s", device="cpu", threads=1, log=lambda text: None)
print(json.dumps(sorted(opened)))
"""


def settings(**overlay: Any) -> dict[str, Any]:
    """The tiny preset, smaller still, with two networks and a filter."""
    networks = {"steps": 6, "batch": 2, "patch": 16, "channels": 8}
    cohort = {"matrix": 32, "slices": 24, "views": 20, "subjects": 4}
    study = {
        "preset": "tiny",
        "cohorts": {"torsos": cohort},
        "degradation": {"pairs": "thinning", "realisations": 1, "reconstruction": {"iterations": 1}},
        "methods": {
            "gaussian": {"evaluations": 2},
            "unet3d_n2n": {**networks, "depth": 2},
            "win5rb": {**networks, "kernel": 3, "layers": 3},
        },
    }
    studies = {"spect_denoise": merge(study, overlay)}
    return {"run": "clean", "device": "cpu", "only": ["spect_denoise"], "studies": studies}


def plan(config: dict[str, Any], folder: Path) -> Any:
    shipped = load_yaml(ROOT / "config" / "config.yaml")
    return Plan(resolve(merge(shipped, config), ROOT), folder / "results" / config["run"])["spect_denoise"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every role group of the training subjects built, the noise-free ones too."""
    folder = tmp_path_factory.mktemp("clean")
    targets = [
        f"{STUDY}/prepared/torsos/{group}/{split}-0.tsv"
        for group in ("pair", "truth", "input")
        for split in ("train", "validation")
    ]
    snakemake(folder, "-c2", "--quiet=rules", *targets, config=settings())
    return folder


def copied(prepared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder, symlinks=True)
    return folder


def fit(folder: Path, method: str) -> tuple[bytes, list[str]]:
    """Weights that the training job's one call makes in `folder`, and the files it opened there."""
    study = plan(settings(), folder)
    manifests = [f"{folder}/{STUDY}/prepared/{c}/{g}/{s}.tsv" for c, g, s in study.training_shards(method)]
    outputs = {n: f"{folder}/fitted/{method}.{n}" for n in ("weights", "history", "card")}
    Path(folder, "fitted").mkdir(exist_ok=True)
    job = {
        "name": method,
        "spec": study.method(method),
        "manifests": manifests,
        "outputs": outputs,
        "seed": 1,
    }
    call = [sys.executable, "-c", WATCHED, str(folder), json.dumps(job)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(outputs["weights"]).read_bytes(), json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_no_learning_method_of_any_preset_is_given_a_group_with_truth(preset: str, tmp_path: Path) -> None:
    config = {
        "run": "clean",
        "preset": preset,
        "only": ["spect_denoise"],
    }
    study = plan(config, tmp_path)
    learned = [m for m in study.methods if study.constants(m).get("family") == "learned"]
    assert "unet3d_n2n" in learned
    noisy = [
        *learned,
        *(m for m in study.methods if study.method(m)["use"].endswith(("_counts", "_projections"))),
    ]
    for method in noisy:
        groups = {g for split in ("train", "validation") for g in study.training_groups(method, split)}
        allowed = {"pair", "projection_pair"} | (
            {"projections"} if method == "butterworth_projections" else set()
        )
        assert groups <= allowed, method
        assert not {r for g in groups for r in SPECTDenoise.groups[g]} & NOISE_FREE
        applied = study.groups_of(study.constants(method)["inputs"])
        assert set(applied) <= {"input", "projections"}, "nor does applying it need one"
    oracles = [m for m in study.methods if m.endswith("_oracle")]
    assert all("truth" in study.training_groups(m, "validation") for m in oracles), "these do, and say so"


def test_the_training_jobs_declare_noisy_pairs_alone(tmp_path: Path) -> None:
    """What Snakemake would wait for, link into a container or send to a node: the job's inputs."""
    text = snakemake(tmp_path, "-n", "models", config=settings())
    jobs = {}
    for part in text.split("rule train:")[1:]:
        jobs[re.search(r"models/(\w+)/card", part)[1]] = part.split("output:")[0]
    assert set(METHODS) <= set(jobs)
    for method in METHODS:
        paths = re.findall(r"\S+\.tsv", jobs[method])
        assert paths
        assert all("/prepared/torsos/pair/" in path for path in paths), jobs[method]
    assert "/truth/" not in text, "the whole of `models` builds no truth, as no oracle is asked for"


def test_the_manifests_reachable_from_training_name_noisy_arrays_alone(prepared: Path) -> None:
    folder = prepared / STUDY / "prepared" / "torsos" / "pair"
    rows = [row for m in sorted(folder.glob("*.tsv")) for row in csv.DictReader(m.open(), delimiter="\t")]
    assert rows
    assert {row["role"] for row in rows} == {"noisy", "repeat"}
    assert set(rows[0]) <= COLUMNS, "a new column: can a noise-free number be read from it?"
    for row in rows:
        assert row["status"] == "ok", row
        file = (folder / row["path"]).resolve()
        assert file.parent == folder.resolve(), "a manifest leads nowhere else"
        assert re.fullmatch(rf"{row['scan']}_(noisy|repeat)\.nii\.gz", file.name)
    for sidecar in folder.glob("*.json"):
        text = sidecar.read_text()
        assert not [role for role in NOISE_FREE if f'"{role}"' in text]
        assert "cohorts/" not in text


def test_noisy_pairs_are_noisy(prepared: Path) -> None:
    """Neither array of a pair is the noise-free one in disguise: each is as far from it as noise puts it."""
    from senmei.io.roles import load_role

    here = prepared / STUDY / "prepared" / "torsos"
    for file in sorted((here / "pair").glob("*_noisy.nii.gz")):
        scan = file.name.removesuffix("_noisy.nii.gz")
        truth = load_role(here / "truth" / f"{scan}_reference.nii.gz").data
        wall = load_role(here / "truth" / f"{scan}_myocardium.nii.gz").data > 0
        noisy = np.atleast_3d(load_role(file).data).reshape(*truth.shape, -1)[..., 0]
        repeat = load_role(here / "pair" / f"{scan}_repeat.nii.gz").data.reshape(*truth.shape, -1)[..., 0]
        a, b = noisy[wall] - truth[wall], repeat[wall] - truth[wall]
        size = np.linalg.norm(truth[wall])
        assert min(np.linalg.norm(a), np.linalg.norm(b)) > 0.03 * size
        assert np.linalg.norm(noisy - repeat) > np.linalg.norm(a)


@pytest.mark.parametrize("method", METHODS)
def test_training_opens_no_noise_free_file_and_they_change_no_weight(
    method: str, prepared: Path, tmp_path: Path
) -> None:
    """Watched by an audit hook; again with every noise-free file changed in place; again with none of them there."""
    folder = copied(prepared, tmp_path)
    weights, opened = fit(folder, method)
    assert any(name.endswith("_noisy.nii.gz") for name in opened)
    others = [n for n in opened if not n.startswith((f"{STUDY}/prepared/torsos/pair", "fitted"))]
    assert not others, "training looked at what it has no business with"

    changed = 0
    for part in ("cohorts/torsos/raw", "prepared/torsos/truth"):
        for file in (folder / STUDY / part).rglob("*"):
            if file.is_file():
                content = bytearray(file.read_bytes())
                content[len(content) // 2] ^= 0xFF
                file.write_bytes(bytes(content))
                changed += 1
    assert changed > 20
    assert fit(folder, method)[0] == weights

    for part in ("cohorts", "prepared/torsos/truth", "prepared/torsos/input"):
        shutil.rmtree(folder / STUDY / part)
    assert fit(folder, method)[0] == weights


def test_the_workflows_own_training_job_runs_where_truth_never_was(prepared: Path, tmp_path: Path) -> None:
    """Snakemake's `train`, with nothing else allowed to run, after everything noise-free was taken away."""
    folder = copied(prepared, tmp_path)
    for part in ("cohorts", "prepared/torsos/truth", "prepared/torsos/input"):
        shutil.rmtree(folder / STUDY / part)
    target = f"{STUDY}/models/unet3d_n2n/card.json"
    (folder / "test.yaml").write_text(yaml.safe_dump(settings()))
    snakemake(folder, "-c1", "--quiet=rules", "--allowed-rules", "train", "--", target)
    card = json.loads((folder / target).read_text())
    assert card["needs"] == ["noisy", "repeat"]
    assert card["data"] == {"torsos": {"train": 2, "validation": 1}}
    assert not (folder / STUDY / "prepared" / "torsos" / "truth").exists()


def test_the_watch_would_see_an_oracle(prepared: Path, tmp_path: Path) -> None:
    """The same hook on a filter tuned on the truth: the proof can fail."""
    folder = copied(prepared, tmp_path)
    overlay = settings(methods={"oracle": {"use": "gaussian_oracle", "evaluations": 2}})
    study = plan(overlay, folder)
    shards = study.training_shards("oracle")
    assert {group for _, group, _ in shards} == {"input", "truth"}
    job = {
        "name": "oracle",
        "spec": study.method("oracle"),
        "manifests": [f"{folder}/{STUDY}/prepared/{c}/{g}/{s}.tsv" for c, g, s in shards],
        "outputs": {n: f"{folder}/fitted/oracle.{n}" for n in ("weights", "history", "card")},
        "seed": 1,
    }
    (folder / "fitted").mkdir()
    call = [sys.executable, "-c", WATCHED, str(folder), json.dumps(job)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert any(name.endswith("_reference.nii.gz") for name in json.loads(done.stdout.splitlines()[-1]))
