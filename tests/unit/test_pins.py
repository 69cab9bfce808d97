"""Versions are stated in three places (constraints.txt, pyproject.toml, envs/): they must tell one story."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:  # conda's own parser, where it is installed; our pattern is stricter
    from rattler import MatchSpec
except ImportError:
    MatchSpec = None

ROOT = Path(__file__).resolve().parents[2]
ENVS = sorted((ROOT / "envs").glob("*.yaml"))

# conda-forge name -> PyPI name, where they differ
CONDA_TO_PIP = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
# what conda needs and constraints.txt does not name
UNPINNED = {"pip"}

PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)={1,2}(?P<version>[0-9]+(?:\.[0-9a-z]+)*)")


def constraints() -> dict[str, str]:
    """Canonical name -> version of every line of constraints.txt."""
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line}: not an exact pin"
        assert not requirement.extras, f"{line}: an extra cannot be pinned"
        name = canonicalize_name(requirement.name)
        assert name not in pins, f"{name} is pinned twice"
        pins[name] = specifier.version
    return pins


def parse_env(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """(conda pins, pip pins) of an environment file; fails on anything that is not a plain exact spec."""
    env = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(env) == {"channels", "dependencies"}, f"{path.name}: unexpected keys {sorted(env)}"
    assert env["channels"] == ["conda-forge", "nodefaults"], path.name
    conda: dict[str, str] = {}
    pip: dict[str, str] = {}
    for entry in env["dependencies"]:
        if isinstance(entry, dict):
            assert list(entry) == ["pip"], f"{path.name}: {entry}"
            for line in entry["pip"]:
                assert "==" in line, f"{path.name}: '{line}' is not an exact pip pin"
                match = PIN.fullmatch(line)
                assert match, f"{path.name}: cannot parse '{line}'"
                pip[match["name"]] = match["version"]
        elif entry not in UNPINNED:
            match = PIN.fullmatch(entry)
            assert match, f"{path.name}: cannot parse '{entry}'"
            assert match["name"] not in conda, f"{path.name}: {match['name']} twice"
            conda[match["name"]] = match["version"]
            if MatchSpec is not None:
                MatchSpec(entry, strict=True)
    if pip:
        assert "pip" in env["dependencies"], f"{path.name}: a pip section needs pip itself"
    return conda, pip


def closure(names: set[str]) -> set[str]:
    """`names` and all they require here, as canonical names of installed distributions."""
    seen: set[str] = set()
    todo = [Requirement(name) for name in names]
    done: set[tuple[str, tuple[str, ...]]] = set()
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), tuple(sorted(requirement.extras))
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        seen.add(name)
        for line in requires:
            child = Requirement(line)
            if child.marker is None or any(
                child.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            ):
                todo.append(child)
    return seen


def declared() -> set[str]:
    """Requirements of pyproject.toml, tools for development included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        *project["dependencies"],
        *(r for group in project["optional-dependencies"].values() for r in group),
    }


def test_there_are_environments():
    assert {path.stem for path in ENVS} >= {"base", "torch"}


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_environment_repeats_the_constraints(path):
    pins = constraints()
    conda, pip = parse_env(path)
    assert conda.pop("python") == "3.11"
    wrong = []
    for name, version in [*conda.items(), *pip.items()]:
        expected = pins.get(canonicalize_name(CONDA_TO_PIP.get(name, name)))
        if version != expected:
            wrong.append(f"{name} {version}, constraints.txt has {expected}")
    assert not wrong, f"{path.name}: " + "; ".join(wrong)


def test_a_wrong_spec_is_seen(tmp_path):
    head = "channels: [conda-forge, nodefaults]\ndependencies:\n"
    for line in ("numpy", "numpy>=2", "numpy=2.*", "numpy = 2", "numpy=2.4,scipy=1.15", "Numpy=2.4"):
        path = tmp_path / "bad.yaml"
        path.write_text(f'{head}  - "{line}"\n', encoding="utf-8")
        with pytest.raises(AssertionError, match=r"cannot parse"):
            parse_env(path)


def test_rules_and_environments_know_each_other():
    rules = [*(ROOT / "rules").glob("*.smk"), ROOT / "Snakefile"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in rules if path.exists())
    used = set(re.findall(r"envs/([a-z0-9_]+)\.yaml", text))
    assert used, "no rule names an environment"
    assert used <= {path.stem for path in ENVS}, "a rule names an environment that is not there"
    assert {path.stem for path in ENVS} <= used, "an environment is used by no rule"


def test_every_declared_dependency_is_pinned():
    missing = {canonicalize_name(Requirement(name).name) for name in declared()} - set(constraints())
    assert not missing, f"in pyproject.toml but not in constraints.txt: {sorted(missing)}"


def test_nothing_is_pinned_without_a_reason():
    """What constraints.txt names is declared, or required by what is declared."""
    known = closure(declared())
    installed = {canonicalize_name(d.metadata["Name"]) for d in importlib.metadata.distributions()}
    idle = {name for name in constraints() if name in installed and name not in known}
    assert not idle, f"pinned but required by nothing: {sorted(idle)}"


def test_what_breaks_the_cpu_torch_stays_out():
    """docs/decisions/0003-no-torchvision-lightning-monai.md"""
    refused = {"torchvision", "lightning", "pytorch-lightning", "torchmetrics", "monai", "piq", "deepinv"}
    assert not refused & set(constraints())
    assert not [name for name in constraints() if name.startswith("nvidia")]
    for path in ENVS:
        conda, pip = parse_env(path)
        assert not refused & {*conda, *pip}, path.name


def test_python_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] < (3, 14)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert sys.version_info >= (3, 11)


def test_this_environment_is_the_pinned_one():
    """A test run in another environment proves little: say so."""
    wrong = []
    for name in ("torch", "numpy", "scipy", "snakemake", "antspyx", "nilearn", "dipy", "pandas"):
        found = importlib.metadata.version(name).split("+")[0]
        if found != constraints()[name]:
            wrong.append(f"{name} {found} instead of {constraints()[name]}")
    assert not wrong, f"run `make test`, or reinstall from constraints.txt: {wrong}"
