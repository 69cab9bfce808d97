"""Roles on disk: images as NIfTI, complex arrays as HDF5, table rows as JSON. The value's type decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.atomic import sha256, write_bytes, write_text


def save_role(stem: Path, value: Any) -> Path:
    """Write a role's value beside `stem` with the extension its type asks for; returns the path. Atomic.

    Volume -> .nii.gz; ndarray -> .h5 (dataset 'data'); dict -> .json. Raises DataError for another type.
    """
    if isinstance(value, Volume):
        from senmei.io.nifti import write_volume

        path = stem.with_name(stem.name + ".nii.gz")
        write_volume(path, value)
    elif isinstance(value, np.ndarray):
        path = stem.with_name(stem.name + ".h5")
        write_bytes(path, _hdf5(value))
    elif isinstance(value, dict):
        path = stem.with_name(stem.name + ".json")
        write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")
    else:
        raise DataError(
            "Cannot save a role",
            where=stem,
            why=f"its value is a {type(value).__name__}",
            fix="return a Volume, an ndarray or a dict",
        )
    return path


def _hdf5(value: np.ndarray) -> bytes:
    """An HDF5 file in memory: the library crashes the process when the disk is full under a file of its own."""
    import h5py

    with h5py.File("data.h5", "w", driver="core", backing_store=False, track_order=False) as file:
        file.create_dataset("data", data=value, compression="gzip", compression_opts=1, track_times=False)
        file.flush()
        return bytes(file.id.get_file_image())


def load_role(
    path: Path | str,
    *,
    expected: str | None = None,
    told_by: Path | str | None = None,
    ndim: tuple[int, ...] = (3, 4),
) -> Any:
    """Read what `save_role` wrote. `expected`: its SHA-256, checked first, so that a damaged file is never used.

    told_by : the manifest that names the file; made again, it makes anew what is damaged.
    """
    path = Path(path)
    again = f"run as before with --forcerun={told_by}: it is made anew" if told_by else "re-run its stage"
    if not path.exists():
        raise DataError(
            "File is missing",
            where=path,
            why="a manifest names it but it is not there",
            fix=again,
        )
    if expected and sha256(path) != expected:
        raise DataError(
            "File has changed since it was made",
            where=path,
            why="its SHA-256 differs from the manifest's, so it is not used",
            fix=again,
        )
    if path.name.endswith((".nii", ".nii.gz")):
        from senmei.io.nifti import read_volume

        return read_volume(path, ndim=ndim, allow_constant=True)
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r") as file:
            return file["data"][()]
    return json.loads(path.read_text(encoding="utf-8"))
