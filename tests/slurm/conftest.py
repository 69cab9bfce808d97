"""One cluster for all tests, and clones of the project to run in."""

import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.slurm.project import Project
from tests.workflow.running import ROOT


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running Slurm of two nodes."""
    if reason := missing():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), cpus=2)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Callable[..., Project]]:
    """clone(configuration): a project of tracked files whose config/config.yaml is the one given."""
    projects: list[Project] = []

    def make(configuration: str) -> Project:
        folder = tmp_path_factory.mktemp("clone")
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, names.split("\0")):
            source, place = ROOT / name, folder / name
            if source.is_symlink() or source.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place, follow_symlinks=False)
        (folder / "config" / "config.yaml").write_text(configuration, encoding="utf-8")
        projects.append(Project(folder, cluster))
        return projects[-1]

    yield make
    for project in projects:
        if project.running is not None and project.running.poll() is None:  # a test that was broken off
            project.running.kill()
