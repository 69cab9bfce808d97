"""Small disks that fill up and close: a tmpfs of our own where mounting is allowed, else a container's /dev/shm."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SIZE = 8 << 20
_SHARED = Path("/dev/shm")
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER = 24, 1, 2, 3


class Disk:
    """A file system of a few megabytes below `folder`; `mounted` says whether it is our own."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        self.folder, self.mounted = folder, mounted
        self._ballast = folder / ".ballast"

    def free(self) -> int:
        """Bytes that can still be written."""
        facts = os.statvfs(self.folder)
        return facts.f_bavail * facts.f_frsize

    def leave(self, size: int) -> None:
        """Fill the disk until `size` bytes are left, or make room for as many."""
        with self._ballast.open("ab") as file:
            wanted = max(0, file.tell() + self.free() - size)
            os.truncate(self._ballast, min(wanted, file.tell()))
            if wanted:
                os.posix_fallocate(file.fileno(), 0, wanted)

    def empty(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """No more writing."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)
        else:
            close_folders(self.folder, 0o555)

    def open(self) -> None:
        """Writing again."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)
        else:
            close_folders(self.folder, 0o755)


def close_folders(folder: Path, mode: int) -> None:
    """Give every folder from here down other permissions."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        path.chmod(mode)


def as_anyone() -> None:
    """For a child before it starts: even as root it keeps to the permissions of files."""
    if os.geteuid() == 0:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER):
            if _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                raise OSError("cannot drop a capability")


_LIBC = ctypes.CDLL(None)


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A disk at `folder`, which must not be there yet. Skips where there is none to be had."""
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    if shutil.which("mount") and subprocess.run(call, capture_output=True, check=False).returncode == 0:
        try:
            yield Disk(folder, mounted=True)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    facts = os.statvfs(_SHARED) if os.access(_SHARED, os.W_OK) else None
    if facts is None or facts.f_bavail * facts.f_frsize > 256 << 20:
        pytest.skip("no small disk: mounting is not allowed; as root, or `unshare -rm make test`, it is")
    place = Path(tempfile.mkdtemp(prefix="senmei-", dir=_SHARED))
    folder.rmdir()
    folder.symlink_to(place)
    try:
        yield Disk(folder, mounted=False)
    finally:
        close_folders(place, 0o755)
        shutil.rmtree(place)
