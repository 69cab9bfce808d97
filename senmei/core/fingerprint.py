"""What code a result depends on: a hash of syntax trees, and class constants read without importing.

Snakemake does not see edits of imported modules, so every rule carries
`params: code=fingerprint(entry)`. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError

# Cannot change a number: wording of errors, name tables, logging.
PLUMBING = frozenset(
    {"senmei.core.errors", "senmei.core.registry", "senmei.core.jobs", "senmei.core.fingerprint"}
)


@cache
def source(module: str) -> Path | None:
    """The file of a module, found without importing it; None for packages' own `__init__`, built-ins, the absent."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    path = Path(spec.origin or "")
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    # not by find_spec("a.b.c"), which imports a.b: torch, for a function of a network's module
    for name in rest:
        inside = [folder / name for folder in folders]
        files = [file for place in inside for file in (place / "__init__.py", place.with_suffix(".py"))]
        path = next((file for file in files if file.is_file()), Path())
        plain = path.name and path.name != "__init__.py"
        folders = [] if plain else [place for place in inside if place.is_dir()]
    return path if path.suffix == ".py" and path.name != "__init__.py" else None


@cache
def _tree(module: str) -> ast.Module | None:
    path = source(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path else None


def _imports(module: str, tree: ast.Module) -> set[str]:
    """Modules that `tree` may import, at any depth of nesting (lazy imports inside functions count)."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                base = ".".join([*parent, base] if base else parent)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


@cache
def dependencies(module: str) -> tuple[str, ...]:
    """`module` and every module of ours (its top package, or senmei) that it statically imports, sorted."""
    ours = {module.split(".")[0], "senmei"}
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen or name in PLUMBING or name.split(".")[0] not in ours:
            continue
        tree = _tree(name)
        if tree is None:
            continue
        seen.add(name)
        todo.extend(_imports(name, tree))
    return tuple(sorted(seen))


def _strip(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                if isinstance(body[0].value.value, str):
                    node.body = body[1:] or [ast.Pass()]
    return tree


@cache
def _module_hash(module: str) -> str:
    path = source(module)
    tree = _strip(ast.parse(path.read_text(encoding="utf-8"))) if path else ast.Module([], [])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def fingerprint(*modules: str) -> str:
    """12 hexadecimal digits over the syntax trees of `modules` and all they import of ours."""
    names = sorted({name for module in modules for name in dependencies(module)})
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {_module_hash(name)}\n".encode())
    return digest.hexdigest()[:12]


@cache
def class_constants(place: str) -> dict[str, Any]:
    """Literal class attributes of 'module:Class', inherited ones included, without importing anything.

    What a rule must know of a method (`needs`, `family`) costs no import of torch this way.
    Raises ConfigError if the module or the class is not there.
    """
    module, _, name = place.partition(":")
    tree = _tree(module)
    if tree is None:
        raise ConfigError(
            f"Cannot find '{place}'",
            where=place,
            why=f"no module '{module}'",
            fix="check the spelling of `use:`",
        )
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            constants: dict[str, Any] = {}
            for base in reversed(node.bases):
                constants.update(class_constants(_resolve(module, tree, ast.unparse(base))))
            for statement in node.body:
                target = None
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    target = statement.target.id
                elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    target = statement.targets[0].id
                if target and statement.value is not None:  # type: ignore[attr-defined]
                    try:
                        constants[target] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
                    except ValueError:
                        continue
            return constants
    target = _resolve(module, tree, name)
    if target != f"{module}:{name}" and source(target.split(":")[0]):
        return class_constants(target)
    raise ConfigError(
        f"Cannot find '{place}'", where=place, why=f"'{module}' defines no class '{name}'", fix="check `use:`"
    )


@cache
def measure_requires(place: str) -> tuple[str, ...]:
    """Roles in the `@measure(requires=...)` of 'module:function', read without importing it."""
    module, _, name = place.partition(":")
    tree = _tree(module)
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call):
                    for keyword in decorator.keywords:
                        if keyword.arg == "requires":
                            return tuple(ast.literal_eval(keyword.value))
            return ()
    raise ConfigError(
        f"Cannot find '{place}'",
        where=place,
        why=f"'{module}' defines no measure '{name}'",
        fix="check `use:`",
    )


def _resolve(module: str, tree: ast.Module, name: str) -> str:
    """Where a name used in `module` comes from, as 'module:Name'."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}:{alias.name}"
    return f"{module}:{name}"


def forget() -> None:
    """Drop what was read, so that edited files are seen again (tests)."""
    for cached in (source, _tree, dependencies, _module_hash, fingerprint, class_constants, measure_requires):
        cached.cache_clear()
