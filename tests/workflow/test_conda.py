"""`--sdm conda`: every rule runs in the environment that its file describes.

There is no conda here and no channel to solve against: a stand-in answers what Snakemake asks of it and makes
environments that lead to the packages at hand. It proves the plumbing, not that the environments can be solved;
tests/unit/test_pins.py compares their pins.
"""

import json
import os
import re
import site
import stat
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.running import ROOT, snakemake, toy

CONDA = """#!{python}
import json, os, pathlib, shutil, sys, venv
words = sys.argv[1:]
base = pathlib.Path(__file__).resolve().parents[1]
if words == ["--version"]:
    print("conda 24.9.2")
elif words[:1] == ["info"]:
    print(json.dumps({{"conda_prefix": str(base), "platform": "linux-64"}}))
elif words[:2] == ["config", "--get"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif words[:2] == ["env", "create"]:
    value = {{key: words[words.index(key) + 1] for key in ("--file", "--prefix")}}
    prefix = pathlib.Path(value["--prefix"])
    venv.create(prefix, with_pip=False)
    packages = next(prefix.glob("lib/python*/site-packages"))
    (packages / "here.pth").write_text({packages!r})
    shutil.copy(value["--file"], prefix / "environment.yaml")
    real, python = prefix / "bin" / "python-of-it", prefix / "bin" / "python"
    python.rename(real)
    python.write_text(f'#!/bin/sh\\necho "$@" >> "{{prefix}}/used.txt"\\nexec "{{real}}" "$@"\\n')
    python.chmod(0o755)
elif words[:1] != ["clean"]:
    sys.exit(f"the stand-in for conda does not know: {{words}}")
"""
ACTIVATE = """export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""


@pytest.fixture
def conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for conda at the front of PATH."""
    place = tmp_path / "conda" / "bin"
    place.mkdir(parents=True)
    packages = next(p for p in site.getsitepackages() if p.startswith(sys.prefix))
    (place / "conda").write_text(CONDA.format(python=sys.executable, packages=packages))
    (place / "activate").write_text(ACTIVATE)
    (place / "conda").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place


def test_each_rule_runs_in_its_own_environment(conda: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    text = snakemake(folder, "--sdm", "conda", "--conda-create-envs-only", "-c1", config=toy("image"))
    assert text.count("Creating conda environment") == len(list(made(folder)))
    listed = snakemake(folder, "--sdm", "conda", "--list-conda-envs", "-c1")
    wanted = set(re.findall(r"envs/(\w+)\.yaml", listed))
    assert set(made(folder)) == wanted >= {"base", "torch", "ants"}
    for name, prefix in made(folder).items():
        spec = (ROOT / "envs" / f"{name}.yaml").read_text()
        assert (prefix / "environment.yaml").read_text() == spec

    snakemake(folder, "--sdm", "conda", "-c2", "--quiet=rules", "report")
    for name, prefix in made(folder).items():
        used = (prefix / "used.txt").read_text()
        ran = {script: environment_of(script) for script in re.findall(r"\.(\w+)\.py", used)}
        assert ran, f"no job ran in {name}"
        assert set(ran.values()) == {name}, f"these ran in {name}: {ran}"
    summary = json.loads((folder / "results/toy/toy_image/summary.json").read_text())
    assert summary["failures"] == 0
    assert "Nothing to be done" in snakemake(folder, "--sdm", "conda", "-c1", "report")


def test_without_conda_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [p for p in os.environ["PATH"].split(":") if not Path(p, "conda").exists()]
    monkeypatch.setenv("PATH", ":".join(found))
    text = snakemake(tmp_path, "--sdm", "conda", "-n", config=toy("image"), ok=False)
    assert "Is conda installed and accessible?" in text


def made(folder: Path) -> dict[str, Path]:
    """Name of the environment's file -> its folder."""
    of = {yaml.dump(yaml.safe_load(p.read_text())): p.stem for p in (ROOT / "envs").glob("*.yaml")}
    return {
        of[yaml.dump(yaml.safe_load((prefix / "environment.yaml").read_text()))]: prefix
        for prefix in (folder / ".snakemake" / "conda").iterdir()
        if prefix.is_dir()
    }


def environment_of(script: str) -> str:
    """The environment that the rule of a script asks for."""
    for path in (ROOT / "rules").glob("*.smk"):
        for block in re.split(r"^(?:rule|checkpoint) ", path.read_text(), flags=re.M)[1:]:
            if f"scripts/{script}.py" in block:
                found = re.search(r"envs/(\w+)\.yaml", block)
                assert found, f"the rule of {script} has no environment"
                return found[1]
    raise AssertionError(f"no rule has a script {script}.py")
