"""A finished toy run, made once and copied for each test that changes something."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.running import snakemake, toy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the image toy, up to its measures."""
    folder = tmp_path_factory.mktemp("finished")
    snakemake(folder, "-c2", "--quiet=rules", "measured", config=toy("image"))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, times kept."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
