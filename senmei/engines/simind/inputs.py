"""The work folder of a simulation: everything that SIMIND reads, and what is needed to understand what it writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.engines.simind.maps import DENSITY_FILE, SOURCE_FILE, Maps, write_maps
from senmei.engines.simind.orientation import Rotation, in_simind_order, rotation
from senmei.engines.simind.plausible import Coarse, coarse
from senmei.engines.simind.settings import Settings, collimator_code, parameters, photopeak
from senmei.engines.simind.windows import format_orbit, format_windows
from senmei.io.atomic import write_text

NAME = "senmei"  # of .smc, .win and .cor: within the 15 characters that a name shared by a .win file may have


@dataclass(frozen=True, eq=False)
class Inputs:
    """What `write_inputs` wrote, and where.

    turn : how SIMIND goes round. windows : (lower, upper) keV. collimator : SIMIND's code. orbit : base name of the
    .cor file, None for a circle. key : a hash of patient, geometry and settings: runs of equal keys may be averaged.
    """

    folder: Path
    settings: Settings
    acquisition: Mapping[str, Any]
    turn: Rotation
    maps: Maps
    windows: tuple[tuple[float, float], ...]
    collimator: str
    radius_mm: float
    orbit: str | None
    key: str
    patient: Coarse

    @property
    def shape(self) -> tuple[int, int, int]:
        """(views, rows, columns) of SIMIND's projections."""
        nu, _, nv = (int(n) for n in self.acquisition["shape"])
        return self.turn.views, nv, nu

    @property
    def pixel_mm(self) -> float:
        """Edge of a detector pixel."""
        return float(self.acquisition["voxel_mm"])

    @property
    def bases(self) -> tuple[str, str]:
        """Base names of the density and source maps."""
        return DENSITY_FILE, SOURCE_FILE


def write_inputs(
    folder: Path, activity: Volume, mu: Volume, acquisition: Mapping[str, Any], settings: Settings
) -> Inputs:
    """Write parameter file, maps, energy windows and (where the orbit is no circle) radii into a folder.

    activity, mu : (x, y, z), on one grid of cubic voxels of any size around the axis of rotation; activity in any unit,
    mu in 1/cm at the camera's energy. acquisition : `Acquisition.to_dict()`: the detector has the x and z of its
    `shape`, in pixels of `voxel_mm`. The folder is made; files of these names in it are replaced, so give each run its
    own. Raises ConfigError for what SIMIND cannot simulate, DataError for maps that cannot be written.
    """
    camera = acquisition["camera"]
    energy = float(camera["energy_kev"])
    turn = rotation(acquisition["angles_deg"], acquisition["direction"], start_sign=settings.start_sign)
    radii = in_simind_order([float(r) for r in acquisition["radius_mm"]], turn)
    if len(radii) != turn.views:
        raise DataError(
            "a SPECT acquisition cannot be read",
            where="acquisition: radius_mm",
            why=f"there are {len(radii)} radii for {turn.views} views",
            fix="give one radius for each view",
        )
    windows = settings.windows or (photopeak(camera),)
    radius = float(np.mean(radii))
    circle = max(radii) - min(radii) < 0.05
    folder.mkdir(parents=True, exist_ok=True)
    maps = write_maps(folder, activity, mu, energy, settings.maps, settings.histories)
    smc = parameters(settings, acquisition, turn, maps, radius, (DENSITY_FILE, SOURCE_FILE))
    texts = {f"{NAME}.smc": smc.to_text(), f"{NAME}.win": format_windows(windows)}
    if not circle:
        texts[f"{NAME}.cor"] = format_orbit(radii)
    for name, text in texts.items():
        write_text(folder / name, text)
    return Inputs(
        folder=folder,
        settings=settings,
        acquisition=dict(acquisition),
        turn=turn,
        maps=maps,
        windows=tuple(windows),
        collimator=collimator_code(str(camera["collimator"])),
        radius_mm=radius,
        orbit=None if circle else NAME,
        key=_key(activity, mu, acquisition, settings),
        patient=coarse(activity, mu),
    )


def _key(activity: Volume, mu: Volume, acquisition: Mapping[str, Any], settings: Settings) -> str:
    asked = {k: v for k, v in settings.to_dict().items() if k not in ("histories", "minutes")}
    digest = hashlib.sha256(json.dumps([dict(acquisition), asked], sort_keys=True).encode())
    for volume in (activity, mu):
        digest.update(f"{volume.shape} {volume.voxel}".encode())
        digest.update(np.ascontiguousarray(volume.data, np.float32).tobytes())
    return digest.hexdigest()[:16]
