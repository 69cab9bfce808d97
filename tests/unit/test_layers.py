"""Each layer is imported with only the packages of its environment visible.

The host's site-packages leak into conda jobs, so a package missing from envs/*.yaml would
otherwise go unnoticed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_pins import CONDA_TO_PIP, ROOT, closure, parse_env

EVERYWHERE = ("base", "torch", "ants", "dicom")

# Where the modules of a layer must import: the environments of the rules that use them. One listed by itself
# overrides its layer.
ENVIRONMENTS = {
    "senmei.core": EVERYWHERE,
    "senmei.io": EVERYWHERE,
    "senmei.io.dicom": ("dicom",),
    "senmei.report": ("base",),
    "senmei.engines": ("dicom",),
    "senmei.phantoms": ("torch",),
    "senmei.physics": ("torch", "ants"),
    "senmei.lab": ("torch", "ants"),
    "senmei.measures": ("torch",),
    "senmei.training": ("torch",),
    "senmei.methods": ("torch",),
    "senmei.studies": EVERYWHERE,  # every stage asks the study what its scans are
    "senmei.stages": EVERYWHERE,  # a stage imports a method, measure or analysis only when it runs one
    "senmei.analyses": ("ants",),
}

HEAVY = {
    "torch",
    "ants",
    "nilearn",
    "dipy",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "skimage",
    "numpy",
    "nibabel",
}

BLOCKER = """
import importlib, json, sys, traceback
allowed, modules = json.loads(sys.argv[1])
sys.path.insert(0, sys.argv[2])
known = set(allowed) | set(sys.stdlib_module_names) | {"senmei", "__main__"}

class OnlyTheEnvironment:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in known or name.startswith("_sysconfigdata"):
            return None
        raise ModuleNotFoundError(f"No module named {name!r} in this environment", name=name)

for name in [n for n in sys.modules if n.split(".")[0] not in known]:
    del sys.modules[name]
sys.meta_path.insert(0, OnlyTheEnvironment())
failures = {}
for module in modules:
    try:
        importlib.import_module(module)
    except Exception as error:
        failures[module] = f"{type(error).__name__}: {error}"
print(json.dumps({"failures": failures, "loaded": sorted({n.split(".")[0] for n in sys.modules})}))
"""


def modules_of_ours() -> list[str]:
    """Dotted names of all library modules that are there."""
    files = sorted((ROOT / "senmei").rglob("*.py"))
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files]
    return [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts]


def environments_of(module: str) -> tuple[str, ...]:
    """The environments of a module: its own entry, or that of its layer."""
    return ENVIRONMENTS.get(module) or ENVIRONMENTS[".".join(module.split(".")[:2])]


def visible(environment: str) -> list[str]:
    """Top-level modules that the packages of an environment, and what they require, provide."""
    conda, pip = parse_env(ROOT / "envs" / f"{environment}.yaml")
    names = {CONDA_TO_PIP.get(name, name) for name in (*conda, *pip) if name not in ("python", "pip")}
    distributions = closure(names)
    return sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if any(canonicalize_name(owner) in distributions for owner in owners)
    )


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def import_under(environment: str, modules: list[str]) -> dict:
    return json.loads(run(BLOCKER, json.dumps([visible(environment), modules]), str(ROOT)))


def test_every_layer_has_an_environment():
    layers = {".".join(module.split(".")[:2]) for module in modules_of_ours() if module != "senmei"}
    assert layers <= set(ENVIRONMENTS), "say in ENVIRONMENTS where this layer runs"


@pytest.mark.parametrize("environment", EVERYWHERE)
def test_layers_import_with_only_their_environment(environment):
    modules = [m for m in modules_of_ours() if m != "senmei" and environment in environments_of(m)]
    result = import_under(environment, modules)
    assert not result["failures"], f"envs/{environment}.yaml lacks something, or the import is misplaced"


def test_the_blocker_blocks():
    assert "ModuleNotFoundError" in import_under("base", ["torch"])["failures"]["torch"]
    assert not import_under("base", ["nibabel"])["failures"]


def test_report_never_imports_torch():
    modules = [m for m in modules_of_ours() if m.startswith(("senmei.report", "senmei.io", "senmei.core"))]
    code = (
        "import importlib, json, sys\n"
        "for m in json.loads(sys.argv[1]): importlib.import_module(m)\n"
        "print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    loaded = set(json.loads(run(code, json.dumps(modules))))
    assert not loaded & {"torch", "ants", "dipy", "nilearn", "sklearn", "skimage"}


def test_importing_senmei_and_its_registries_costs_nothing():
    packages = [
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in sorted((ROOT / "senmei").rglob("__init__.py"))
    ]
    code = (
        "import importlib, json, sys\n"
        "for m in json.loads(sys.argv[1]): importlib.import_module(m)\n"
        "print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    assert not set(json.loads(run(code, json.dumps(packages)))) & HEAVY


def test_registries_name_what_is_there():
    """A registered name leads to something its module defines, found without importing it."""
    from senmei.core.registry import Registry

    for package in sorted(p.parent for p in (ROOT / "senmei").glob("*/__init__.py")):
        module = importlib.import_module(f"senmei.{package.name}")
        for registry in [value for value in vars(module).values() if isinstance(value, Registry)]:
            for name in registry:
                place, _, attribute = registry.place(name).partition(":")
                file = ROOT / (place.replace(".", "/") + ".py")
                if not file.exists():
                    continue
                assert re.search(
                    rf"^(class|def) {attribute}\b|^{attribute}\b.*=", file.read_text("utf-8"), re.M
                ), name


def test_scripts_import_with_the_environment_of_their_rule():
    """What a rule's script imports must be there in the environment that the rule names."""
    wanted: dict[str, set[str]] = {}
    for rules in (ROOT / "rules").glob("*.smk"):
        for body in re.split(r"^(?:rule|checkpoint) ", rules.read_text(encoding="utf-8"), flags=re.M)[1:]:
            environment = re.search(r"envs/([a-z0-9_]+)\.yaml", body)
            script = re.search(r"scripts/([a-z0-9_]+\.py)", body)
            if environment and script:
                wanted.setdefault(environment[1], set()).add(script[1])
    for environment, scripts in sorted(wanted.items()):
        modules = {name for script in scripts for name in imports(ROOT / "scripts" / script)}
        result = import_under(environment, sorted(modules))
        assert not result["failures"], f"scripts of envs/{environment}.yaml: {sorted(scripts)}"


def imports(path: Path, *, top: bool = False) -> set[str]:
    """Absolute imports anywhere in a file: dotted modules, or only their top-level names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.split(".")[0] for name in found} if top else found


def test_all_that_the_library_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    owners = importlib.metadata.packages_distributions()
    undeclared = {}
    for file in sorted((ROOT / "senmei").rglob("*.py")):
        for name in imports(file, top=True) - set(sys.stdlib_module_names) - {"senmei"}:
            if not {canonicalize_name(owner) for owner in owners.get(name, [])} & declared:
                undeclared[name] = str(file.relative_to(ROOT))
    assert not undeclared, "imported but not in pyproject.toml"
