"""The maps of activity and attenuation that SIMIND reads: int16 (.dmi, .smi), or float32 as XCAT writes them.

int16: headerless, little endian, density of water-equivalent tissue x 1000 and integer histories. float32: named
`<base>_atn_av.bin` and `<base>_act_av.bin`, attenuation *per pixel* (1/cm x cm) and activity. The order of voxels is
`senmei.engines.simind.orientation`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.engines.simind.orientation import to_map
from senmei.io.atomic import atomic_path

FORMATS = ("int16", "float32")
DENSITY_FILE, SOURCE_FILE = "density", "source"  # base names within the work folder
_INT16 = 32767
_SUM = 2**31 - 1  # SIMIND adds the histories of a map up in a 4-byte integer (assumed)
_LEVELS = (500, 4000)  # of the hottest voxel: what is rounded off matters less than a simulation's noise
# Water, total with coherent scattering left in, 1/cm at keV: NIST XCOM, mass attenuation of 1 g/cm3; log-log between.
_KEV = (60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 600.0)
_PER_CM = (0.2059, 0.1837, 0.1707, 0.1505, 0.1370, 0.1186, 0.1061, 0.09687, 0.08956)


@dataclass(frozen=True)
class Maps:
    """What was written: `code` of indices 14 and 15, (rows, columns, slices), histories that NN = 1 gives, names."""

    code: int
    voxel_mm: float
    shape: tuple[int, int, int]
    histories: float
    files: tuple[str, str]


def water_per_cm(energy_kev: float) -> float:
    """Attenuation of water in 1/cm, 60 to 600 keV (NIST XCOM)."""
    return float(np.exp(np.interp(np.log(energy_kev), np.log(_KEV), np.log(_PER_CM))))


def write_maps(
    folder: Path, activity: Volume, mu: Volume, energy_kev: float, kind: str = "int16", histories: float = 1e6
) -> Maps:
    """Write the maps of a patient into the work folder; files that stood there are replaced.

    activity : (x, y, z), any unit, not negative: only its shape counts. mu : 1/cm at `energy_kev`, same grid. Both with
    cubic voxels, axes along RAS+, and the axis of rotation through the grid's centre. kind : of FORMATS.
    histories : wanted for each view; float32 maps are scaled to add up to it.

    Attenuation is written as the density of water that attenuates as much at this energy, so that SIMIND needs water's
    cross sections only: exact there, a few per cent off at other energies in bone. Densities beyond 32.767 g/cm3 do
    not fit. Activity becomes integers of at most 4000: rounding takes less than 1/8000 of the hottest voxel from any.
    Raises DataError for maps that cannot be written.
    """
    voxel = _checked(activity, mu)
    if kind not in FORMATS:
        raise ValueError(f"no map format '{kind}'")
    nx, ny, nz = activity.shape[:3]
    source = np.asarray(activity.data, np.float64)
    if kind == "float32":
        files = (f"{DENSITY_FILE}_atn_av.bin", f"{SOURCE_FILE}_act_av.bin")
        per_pixel = np.asarray(mu.data, np.float64) * (voxel / 10)
        scaled = source * (histories / source.sum())
        for name, data in zip(files, (per_pixel, scaled), strict=True):
            _write(folder / name, to_map(data, feet_first=True).astype("<f4"))
        return Maps(-7, voxel, (ny, nx, nz), float(histories), files)
    files = (f"{DENSITY_FILE}.dmi", f"{SOURCE_FILE}.smi")
    density = np.rint(np.asarray(mu.data, np.float64) / water_per_cm(energy_kev) * 1000)
    if density.max() > _INT16:
        why = f"its densest voxel would be {density.max() / 1000:.1f} g/cm3 of water, and int16 ends at 32.8"
        raise _cannot("mu", why)
    levels = _levels(float(source.sum() / source.max()), histories)
    whole = np.rint(source * (levels / source.max()))
    _write(folder / files[0], to_map(density).astype("<i2"))
    _write(folder / files[1], to_map(whole).astype("<i2"))
    return Maps(-1, voxel, (ny, nx, nz), float(whole.sum()), files)


def multiplier(maps: Maps, histories: float) -> float:
    """The number for /NN that gives about as many histories: a whole one, or a fraction where the map has too many.

    Programs that drive SIMIND 8 give fractions; that release 7 takes them is assumed, and whole numbers avoid it.
    """
    times = histories / maps.histories
    return float(round(times)) if times >= 1 else times


def _levels(hot_voxels: float, histories: float) -> int:
    """Value of the hottest voxel, from the map's sum in units of it."""
    most = min(float(_LEVELS[1]), _SUM / max(hot_voxels, 1.0))
    times = np.ceil(histories / (most * hot_voxels))
    return max(_LEVELS[0], int(histories / (times * hot_voxels)))


def _checked(activity: Volume, mu: Volume) -> float:
    for name, volume in (("activity", activity), ("mu", mu)):
        if volume.data.ndim != 3 or volume.data.size == 0:
            raise _cannot(name, f"it has the shape {volume.shape}, not (x, y, z)")
        if not np.isfinite(volume.data).all() or float(volume.data.min()) < 0:
            raise _cannot(name, "it holds negative values, or such that are no numbers")
        turn = volume.affine[:3, :3]
        if np.count_nonzero(np.abs(turn) > 1e-4 * np.abs(turn).max()) != 3 or (np.diag(turn) <= 0).any():
            raise _cannot(name, "its axes do not run to the right, to the front and to the head")
        if max(volume.voxel) > 1.001 * min(volume.voxel):
            sizes = " x ".join(f"{edge:g}" for edge in volume.voxel)
            raise _cannot(name, f"its voxels are not cubic ({sizes} mm)")
    if activity.shape != mu.shape or not np.allclose(activity.affine, mu.affine, atol=1e-3):
        raise _cannot("activity and mu", f"they lie on different grids ({activity.shape}, {mu.shape})")
    if not float(activity.data.max()) > 0:
        raise _cannot("activity", "it is empty")
    return float(np.mean(activity.voxel))


def _write(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(
            np.ascontiguousarray(array).tobytes()
        )  # tofile would not say that a disk is full


def _cannot(where: str, why: str) -> DataError:
    return DataError(
        "Cannot write a map for SIMIND",
        where=f"{where} map",
        why=why,
        fix="resample both maps to one grid of cubic voxels along the patient's axes, without negative values",
    )
