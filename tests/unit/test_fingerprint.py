"""Fingerprints of code: what counts, what does not, and constants read without importing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from senmei.core.errors import ConfigError
from senmei.core.fingerprint import (
    class_constants,
    dependencies,
    fingerprint,
    forget,
    measure_requires,
    source,
)

Write = Callable[..., None]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules of a package `lab_under_test`; its name is new to Python each time."""
    package = tmp_path / "lab_under_test"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sub" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def write(**modules: str) -> None:
        for name, text in modules.items():
            (package / (name.replace("__", "/") + ".py")).write_text(text)
        forget()

    yield write
    forget()
    for name in [name for name in sys.modules if name.startswith("lab_under_test")]:
        del sys.modules[name]


BASE = "import numpy as np\n\ndef f(x):\n    return x + 1\n"


def test_comments_docstrings_and_layout_change_nothing(lab: Write) -> None:
    lab(a=BASE)
    before = fingerprint("lab_under_test.a")
    lab(
        a='"""A module."""\nimport numpy as np\n\n\ndef f(x):  # why\n    """Adds."""\n    return (x\n        + 1)\n'
    )
    assert fingerprint("lab_under_test.a") == before
    lab(a=BASE.replace("+ 1", "+ 2"))
    assert fingerprint("lab_under_test.a") != before
    assert len(before) == 12


def test_a_string_that_is_no_docstring_counts(lab: Write) -> None:
    lab(a="def f():\n    return 'x'\n")
    before = fingerprint("lab_under_test.a")
    lab(a="def f():\n    return 'y'\n")
    assert fingerprint("lab_under_test.a") != before


@pytest.mark.parametrize(
    "line",
    [
        "from lab_under_test.b import g",
        "import lab_under_test.b",
        "from lab_under_test import b",
        "from .b import g",
        "from . import b",
        "def h():\n    from lab_under_test.b import g",
    ],
)
def test_an_edit_of_what_is_imported_counts_at_any_distance(lab: Write, line: str) -> None:
    lab(a=f"{line}\n", b="from lab_under_test.sub.c import k\ng = 1\n", sub__c="k = 1\n", d="unrelated = 1\n")
    before = fingerprint("lab_under_test.a")
    assert "lab_under_test.sub.c" in dependencies("lab_under_test.a")
    lab(sub__c="k = 2\n")
    changed = fingerprint("lab_under_test.a")
    assert changed != before
    lab(d="unrelated = 2\n")
    assert fingerprint("lab_under_test.a") == changed


def test_packages_own_init_files_and_cycles(lab: Write, tmp_path: Path) -> None:
    lab(a="from lab_under_test import b\n", b="from lab_under_test import a\n")
    before = fingerprint("lab_under_test.a")
    (tmp_path / "lab_under_test" / "__init__.py").write_text("TABLE = {'new': 'method'}\n")
    forget()
    assert fingerprint("lab_under_test.a") == before, "a registry gains a name: nothing runs again"
    assert source("lab_under_test") is None
    assert source("no_such_module_at_all") is None


def test_the_librarys_plumbing_is_left_out() -> None:
    found = dependencies("senmei.methods.gaussian")
    assert "senmei.methods.gaussian" in found
    assert not {"senmei.core.errors", "senmei.core.registry", "senmei.core.jobs"} & set(found)
    assert not any(name.startswith("numpy") for name in found)


def test_several_entries(lab: Write) -> None:
    lab(a="x = 1\n", b="y = 1\n")
    both = fingerprint("lab_under_test.a", "lab_under_test.b")
    assert both == fingerprint("lab_under_test.b", "lab_under_test.a")
    assert both != fingerprint("lab_under_test.a")


def test_class_constants_are_inherited_and_nothing_is_imported(lab: Write) -> None:
    lab(
        a="raise RuntimeError('imported')\n"
        "from lab_under_test.b import Base as Root\n"
        "class Mine(Root):\n    title: str = 'Mine'\n    needs = ('input',)\n    made = len('abc')\n",
        b="from senmei.core.method import Method\nclass Base(Method):\n    family = 'learned'\n    title = 'Base'\n",
    )
    found = class_constants("lab_under_test.a:Mine")
    assert found["title"] == "Mine"
    assert found["family"] == "learned"
    assert found["needs"] == ("input",)
    assert found["inputs"] == ("input",), "from the contract"
    assert "made" not in found, "not a literal"
    assert "lab_under_test.a" not in sys.modules


def test_class_constants_of_what_is_not_there(lab: Write) -> None:
    lab(a="x = 1\n")
    with pytest.raises(ConfigError, match="Cannot find") as caught:
        class_constants("lab_under_test.a:Gone")
    assert "defines no class 'Gone'" in caught.value.why
    with pytest.raises(ConfigError, match="Cannot find") as caught:
        class_constants("lab_under_test.absent:Gone")
    assert "no module 'lab_under_test.absent'" in caught.value.why


def test_measure_requires(lab: Write) -> None:
    lab(
        m="from senmei.core.measure import measure\n"
        "@measure(requires=('reference', 'mask'), better='lower', unit='', title='')\ndef f(e, r): return 0\n"
        "@measure(better='lower', unit='', title='')\ndef g(e, r): return 0\n"
    )
    assert measure_requires("lab_under_test.m:f") == ("reference", "mask")
    assert measure_requires("lab_under_test.m:g") == ()
    with pytest.raises(ConfigError, match="Cannot find"):
        measure_requires("lab_under_test.m:h")


def test_what_is_read_is_what_the_classes_say() -> None:
    from senmei.methods import METHODS

    for name in METHODS:
        cls, read = METHODS.get(name), class_constants(METHODS.place(name))
        for key in ("title", "family", "needs", "tunes_on", "inputs"):
            assert read.get(key) == getattr(cls, key), f"{name}.{key}"


def test_nothing_is_imported(lab: Write) -> None:
    """Neither a module nor, for a name that it may hold, the module before the dot."""
    lab(a="from lab_under_test.b import f\n", b="raise AssertionError('imported')\n", sub__c=BASE)
    assert dependencies("lab_under_test.a") == ("lab_under_test.a", "lab_under_test.b")
    assert source("lab_under_test.b.f") is None
    assert source("lab_under_test.sub") is None, "a package's own file counts for nothing"
    assert str(source("lab_under_test.sub.c")).endswith("sub/c.py")
    assert not [name for name in sys.modules if name.startswith("lab_under_test")]
