"""How rules are written: the house's order, nothing left out, no logic where Snakemake cannot see it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "rules").glob("*.smk"))
ORDER = [
    "docstring",
    "input",
    "output",
    "log",
    "benchmark",
    "params",
    "threads",
    "resources",
    "conda",
    "script",
]
BETWEEN = {"wildcard_constraints": "params"}  # where a rule has it, it follows the other
FIRST = {"simulate_cohort", "list_cohort", "print_sheets"}  # made of the configuration alone: no input


def rules(text: str) -> dict[str, list[tuple[str, str]]]:
    """Rule name -> [(directive, its text)] in order, the docstring as a directive."""
    found: dict[str, list[tuple[str, str]]] = {}
    for match in re.finditer(r"^(?:rule|checkpoint) (\w+):\n((?:(?: {4}.*)?\n)+)", text, flags=re.M):
        parts: list[tuple[str, str]] = []
        for line in match[2].splitlines():
            if re.match(r' {4}"""', line):
                parts.append(("docstring", line))
            elif directive := re.match(r" {4}(\w+):", line):
                parts.append((directive[1], line))
            elif parts:
                parts[-1] = (parts[-1][0], parts[-1][1] + "\n" + line)
        found[match[1]] = parts
    return found


ALL = {name: (file, parts) for file in FILES for name, parts in rules(file.read_text()).items()}
WORK = {name: parts for name, (file, parts) in ALL.items() if file.name != "targets.smk"}


def test_the_rules_are_found() -> None:
    expected = (
        "simulate_cohort list_cohort render_phantom run_engine ingest prepare train restore export measure"
    )
    expected += " analyse analyse_cohort collect export_dataset print_sheets"
    assert set(WORK) == {*expected.split(), "report_study", "report_run"}


@pytest.mark.parametrize("name", WORK)
def test_a_rule_has_everything_in_the_houses_order(name: str) -> None:
    directives = [directive for directive, _ in WORK[name]]
    for directive, after in BETWEEN.items():
        if directive in directives:
            assert directives[directives.index(directive) - 1] == after
            directives.remove(directive)
    assert directives == [d for d in ORDER if not (d == "input" and name in FIRST)]


@pytest.mark.parametrize("name", WORK)
def test_a_rule_carries_the_fingerprint_of_its_code(name: str) -> None:
    assert re.search(r"\bcode=", dict(WORK[name])["params"])


@pytest.mark.parametrize("name", WORK)
def test_a_rules_script_is_of_its_name_and_short(name: str) -> None:
    assert f'"../scripts/{name}.py"' in dict(WORK[name])["script"]
    text = (ROOT / "scripts" / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 40
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert sum(isinstance(node, ast.With) for node in tree.body) == 1
    assert not any(
        isinstance(node, ast.For | ast.While | ast.If | ast.FunctionDef) for node in ast.walk(tree)
    )
    assert "with job(snakemake) as j:" in text


def test_no_script_is_left_over() -> None:
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == set(WORK)


@pytest.mark.parametrize("name", WORK)
def test_a_rules_log_and_benchmark_tell_its_jobs_apart(name: str) -> None:
    parts = dict(WORK[name])
    wildcards = set(re.findall(r"{(\w+)}", parts["output"]))
    for directive in ("log", "benchmark"):
        assert set(re.findall(r"{(\w+)}", parts[directive])) == wildcards, directive


@pytest.mark.parametrize("name", WORK)
def test_a_rules_environment_exists(name: str) -> None:
    (env,) = re.findall(r'"\.\./(envs/\w+\.yaml)"', dict(WORK[name])["conda"])
    assert (ROOT / env).exists()


@pytest.mark.parametrize("file", [*FILES, ROOT / "Snakefile"], ids=lambda f: f.name)
def test_rule_files_are_short_and_say_what_they_are_for(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= (60 if file.name == "Snakefile" else 200)
    assert lines[0].startswith('"""')


@pytest.mark.parametrize("file", [*FILES, ROOT / "Snakefile"], ids=lambda f: f.name)
def test_no_run_blocks_no_shell_no_retries(file: Path) -> None:
    text = file.read_text()
    for word in ("run:", "shell:", "retries:", "shadow:", "group:"):
        assert not re.search(rf"^\s*{word}", text, flags=re.M), word


def test_stage_files_state_their_contract() -> None:
    stages = "engine cohort prepare dataset train restore export measure analyse report"
    for name in stages.split():
        head = (ROOT / "rules" / f"{name}.smk").read_text().split('"""')[1]
        assert "Needs:" in head, name
        assert "Makes:" in head, name


def test_targets_have_docstrings() -> None:
    targets = {name: parts for name, (file, parts) in ALL.items() if file.name == "targets.smk"}
    assert set(targets) == {
        "demo",
        "report",
        "cohorts",
        "models",
        "restored",
        "exported",
        "datasets",
        "sheets",
        "measured",
        "analysed",
    }
    for name, parts in targets.items():
        assert [directive for directive, _ in parts] == ["docstring", "input"], name


def test_stages_are_included_in_the_order_of_the_pipeline() -> None:
    included = re.findall(r'^include: "rules/(\w+)\.smk"', (ROOT / "Snakefile").read_text(), flags=re.M)
    stages = ["cohort", "prepare", "dataset", "train", "restore", "export", "measure", "analyse", "report"]
    assert included[-9:] == stages
    assert set(included) == {file.stem for file in FILES}


def test_the_library_never_imports_snakemake() -> None:
    for path in (ROOT / "senmei").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "snakemake" for name in names), path


def test_helpers_of_the_rules_are_documented_and_short() -> None:
    for name in ("common", "inputs"):
        tree = ast.parse((ROOT / "rules" / f"{name}.smk").read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                assert ast.get_docstring(node), node.name
                assert node.end_lineno - node.lineno < 25, node.name
