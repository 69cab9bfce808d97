"""An undisturbed run to compare with, made once."""

from pathlib import Path

import pytest

from tests.faults.runs import SLOWLY, made
from tests.workflow.running import snakemake, toy


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of the slow study and their SHA-256."""
    folder = tmp_path_factory.mktemp("undisturbed")
    snakemake(folder, "-c2", "--quiet=rules", "report", config=SLOWLY)
    return made(folder)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the image toy, to copy."""
    folder = tmp_path_factory.mktemp("toy")
    snakemake(folder, "-c2", "--quiet=rules", "measured", config=toy("image"))
    return folder
