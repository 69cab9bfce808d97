"""What runs again: one method's edit, one subject more, one shard by name, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import yaml

from tests.workflow.running import ROOT, planned, snakemake, toy


def test_finished_run_plans_nothing(run: Path) -> None:
    assert planned(run, "measured") == {}


def test_one_shard_by_name(run: Path) -> None:
    target = "results/toy/toy_image/restored/toys/rescale/sub-004.tsv"
    assert planned(run, target) == {}
    assert planned(run, "-f", target) == {"restore": 1}
    before = (run / target).read_bytes()
    (run / target).unlink()
    assert planned(run, target) == {"restore": 1}
    snakemake(run, "-c1", "--quiet=rules", target)
    assert (run / target).read_bytes() == before


def test_another_test_subject_plans_only_its_shards(run: Path) -> None:
    count = 6
    while _splits(count + 1)[-1] != "test":
        count += 1
    config = toy("image")
    config["studies"]["toy_image"]["cohorts"]["toys"]["subjects"] = count
    (run / "test.yaml").write_text(yaml.safe_dump(config))
    snakemake(run, "-c2", "--quiet=rules", "measured")
    config["studies"]["toy_image"]["cohorts"]["toys"]["subjects"] = count + 1
    (run / "test.yaml").write_text(yaml.safe_dump(config))
    plan = planned(run, "measured")
    assert "train" not in plan
    assert plan == {
        "simulate_cohort": 1,
        "ingest": 1,
        "prepare": 2,
        "restore": 2,
        "measure": 2,
        "measured": 1,
    }


def test_editing_a_method_plans_its_stages_and_descendants(tmp_path: Path) -> None:
    """In a copy of the project: edit one file, see what a dry run plans."""
    project = _project(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    config = toy("image")
    methods = config["studies"]["toy_image"]["methods"]
    methods["other"] = {"use": "tests.contract.other:Other"}
    other = project / "tests" / "contract" / "other.py"
    other.write_text(
        "from senmei.core.method import Method\n\n\nclass Other(Method):\n    title = 'Other'\n\n"
        "    def apply(self, example):\n        return example['input']\n"
    )
    _snakemake_of(project, run, config, "-c2", "--quiet=rules", "measured")
    assert _plan_of(project, run) == {}
    other.write_text(
        "# a comment\n"
        + other.read_text().replace("class Other(Method):", 'class Other(Method):\n    """Doc."""\n')
    )
    assert _plan_of(project, run) == {}, "comments and docstrings change nothing"
    other.write_text(
        other.read_text().replace(
            "return example['input']", "return example['input'].like(example['input'].data * 2)"
        )
    )
    tests = sum(s == "test" for s in _splits(6))
    assert _plan_of(project, run) == {"train": 1, "restore": tests, "measure": tests, "measured": 1}


def test_images_are_skipped_when_their_key_matches(run: Path) -> None:
    folder = run / "results/toy/toy_image/restored/toys/rescale"
    image = next(folder.glob("*.nii.gz"))
    manifest = folder / "sub-004.tsv"
    kept = image.stat().st_mtime_ns
    snakemake(run, "-c1", "--quiet=rules", "-f", str(manifest.relative_to(run)))
    assert image.stat().st_mtime_ns == kept
    image.write_bytes(image.read_bytes()[:-7])  # damaged: made again
    snakemake(run, "-c1", "--quiet=rules", "-f", str(manifest.relative_to(run)))
    assert image.stat().st_mtime_ns != kept
    sidecar = image.with_name(image.name.replace(".nii.gz", ".json"))
    record = json.loads(sidecar.read_text())
    record["columns"] = {"forged": 1}
    sidecar.write_text(json.dumps(record))
    snakemake(run, "-c1", "--quiet=rules", "-f", str(manifest.relative_to(run)))
    assert json.loads(sidecar.read_text())["columns"] == {}


def test_damaged_weights_are_refused(run: Path) -> None:
    weights = run / "results/toy/toy_image/models/rescale/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    text = snakemake(run, "-c1", "-f", "results/toy/toy_image/restored/toys/rescale/sub-004.tsv", ok=False)
    assert "Weights do not belong to their card" in text
    assert "train again" in text


def _splits(count: int) -> list[str]:
    from senmei.core.cohorts import assign_splits

    names = [f"sub-{i:03d}" for i in range(1, count + 1)]
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    return [assign_splits(names, fractions, ordered=True)[name] for name in names]


def _project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    for part in ("senmei", "rules", "scripts", "config", "envs", "tests/contract"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", project / "Snakefile")
    (project / "tests" / "__init__.py").touch()
    return project


def _snakemake_of(project: Path, run: Path, config: dict, *arguments: str) -> str:
    import subprocess
    import sys

    (run / "test.yaml").write_text(yaml.safe_dump(config))
    call = [sys.executable, "-m", "snakemake", "-s", str(project / "Snakefile"), "-d", str(run)]
    call += ["--configfile", str(run / "test.yaml"), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, cwd=project, check=False, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def _plan_of(project: Path, run: Path) -> dict[str, int]:
    text = _snakemake_of(project, run, yaml.safe_load((run / "test.yaml").read_text()), "-n", "measured")
    if "Job stats:" not in text:
        return {}
    found = re.findall(r"^([a-z_0-9]+)\s+(\d+)$", text.split("Job stats:")[-1], flags=re.M)
    return {rule: int(n) for rule, n in found if rule not in ("total", "all", "job")}
