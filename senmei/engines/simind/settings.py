"""What a simulation is asked for, and the parameter file that says so to SIMIND."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from senmei.core.errors import ConfigError, nearest
from senmei.engines.simind.maps import FORMATS, Maps
from senmei.engines.simind.orientation import Rotation
from senmei.engines.simind.smc import Smc, blank_smc

# Senmei's collimators (Siemens e.cam) in SIMIND's table collim.col.
COLLIMATORS = {"LEHR": "se-lehr", "LEAP": "se-leap", "LEUR": "se-leur", "ME": "se-me", "HE": "se-he"}
PARALLEL_HEXAGONAL = 3
CHANNELS = 512
_LIMITS = {
    "histories": (1e3, 1e12),
    "minutes": (0.01, 100000),
    "crystal_mm": (1.0, 50.0),
    "cover_mm": (0.0, 10.0),
    "backscatter_mm": (0.0, 500.0),
    "scatter_orders": (1, 10),
    "photons_per_decay": (1e-6, 10.0),
}


@dataclass(frozen=True)
class Settings:
    """How to simulate.

    histories : photons started for each view, in one run (several runs with other seeds are averaged).
    minutes : time limit of one run. isotope : base name of a spectrum in SMC_DIR (tc99m.isd), or "" for photons of the
    camera's energy alone, `photons_per_decay` of them. windows : (lower, upper) keV; none: the camera's own photopeak.
    scatter_orders : in the patient. penetration : follow photons through the septa instead of by the collimator's
    geometry (much slower). maps : "int16" or "float32". start_sign : see `senmei.engines.simind.orientation`.
    """

    histories: float = 2e6
    minutes: float = 240.0
    isotope: str = "tc99m"
    photons_per_decay: float = 0.89
    windows: tuple[tuple[float, float], ...] = ()
    scatter_orders: int = 5
    penetration: bool = False
    maps: str = "int16"
    crystal_mm: float = 9.5
    cover_mm: float = 1.0
    backscatter_mm: float = 50.0
    start_sign: int = -1

    def __post_init__(self):
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise _wrong(name, value, f"it must be a number from {low:g} to {high:g}")
        if self.maps not in FORMATS:
            raise _wrong("maps", self.maps, "it must be one of " + ", ".join(FORMATS))
        if self.start_sign not in (-1, 1):
            raise _wrong("start_sign", self.start_sign, "it must be -1 or 1")
        if not isinstance(self.penetration, bool):
            raise _wrong("penetration", self.penetration, "it must be true or false")
        if not isinstance(self.isotope, str) or (self.isotope and not self.isotope.isalnum()):
            raise _wrong("isotope", self.isotope, "it is the base name of a spectrum file, such as tc99m")
        if not self.isotope.islower() and self.isotope:
            raise _wrong("isotope", self.isotope, "SIMIND turns all names to lower case: write it so")
        try:
            pairs = tuple((float(low), float(high)) for low, high in self.windows)
        except (TypeError, ValueError):
            raise _wrong("windows", self.windows, "it is a list of (lower, upper) in keV") from None
        object.__setattr__(self, "windows", pairs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return {**asdict(self), "windows": [list(pair) for pair in self.windows]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The settings of a dictionary; what it leaves out has its default. Raises ConfigError."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"unknown setting '{key}'",
                    where="simind",
                    why="SIMIND's settings have no such key",
                    fix=nearest(key, known),
                )
        return cls(**dict(values))


def photopeak(camera: Mapping[str, Any]) -> tuple[float, float]:
    """(lower, upper) keV of the camera's photopeak window."""
    energy, width = float(camera["energy_kev"]), float(camera["window"])
    return energy * (1 - width / 2), energy * (1 + width / 2)


def parameters(
    settings: Settings,
    acquisition: Mapping[str, Any],
    turn: Rotation,
    maps: Maps,
    radius_mm: float,
    names: tuple[str, str],
) -> Smc:
    """The parameter file of a simulation.

    acquisition : `Acquisition.to_dict()`. radius_mm : of a circular orbit (the mean of another). names : base names of
    the density and source maps. Raises ConfigError for numbers that do not fit.
    """
    camera = acquisition["camera"]
    nu, _, nv = (int(n) for n in acquisition["shape"])
    pixel = float(acquisition["voxel_mm"]) / 10
    rows, columns, slices = maps.shape
    voxel = maps.voxel_mm / 10
    half = tuple(n * voxel / 2 for n in (slices, columns, rows))
    energy = float(camera["energy_kev"])
    code = collimator_code(str(camera["collimator"]))
    at_140 = 100 * float(camera["energy_resolution"]) * math.sqrt(energy / 140.0)
    percent = -100 * float(camera["window"])
    values = {
        1: -energy
        if settings.isotope
        else energy,  # below 0: the spectrum's lines, window around this energy
        2: half[0],  # half lengths of the source along X, Y, Z ...
        3: half[1],
        4: half[2],
        5: half[0],  # ... and of the phantom
        6: half[1],
        7: half[2],
        8: nv * pixel / 2,  # a crystal as large as the image: half its length along X ...
        9: settings.crystal_mm / 10,
        10: nu * pixel / 2,  # ... and half its width
        11: settings.backscatter_mm / 10,
        12: radius_mm / 10,
        13: settings.cover_mm / 10,
        14: maps.code,
        15: maps.code,
        19: 3
        if settings.penetration
        else 2,  # photons start towards the whole face, or within the holes' angle
        20: percent,
        21: percent,
        22: at_140,
        23: float(camera["intrinsic_fwhm_mm"]) / 10,
        24: 1.0 if settings.isotope else settings.photons_per_decay,
        25: 1.0,  # MBq: outputs are per MBq whatever it is
        26: 1.0,  # histories: maps have their own
        27: 1.0,  # keV a channel
        28: pixel,
        29: turn.views,
        30: turn.index30,
        31: voxel,
        32: 0,  # slices across X
        33: 1,
        34: slices,
        35: 0.05,  # border of the body, g/cm3
        38: min(0.2, voxel / 2),  # step through the density map, cm
        41: turn.start_deg,
        42: 1.0,  # the radius as it stands
        53: 1 if settings.penetration else 0,
        54: PARALLEL_HEXAGONAL,
        76: nu,
        77: nv,
        78: columns,
        79: columns,
        80: CHANNELS,
        81: rows,
        82: rows,
        84: 1,  # SCATTWIN
    }
    flags = dict.fromkeys((4, 5, 7, 8, 10, 11, 12, 14), True)
    blank = blank_smc("senmei")
    density, source = names
    files = {1: "h2o", 2: "h2o", 3: "al", 4: "nai", 5: density, 6: source, 7: "pmt"}
    return blank.with_values(values).with_flags(flags).with_texts({1: code}).with_files(files)


def collimator_code(name: str) -> str:
    """SIMIND's code of a collimator of Senmei's. Raises ConfigError for one that it does not have."""
    if name in COLLIMATORS:
        return COLLIMATORS[name]
    raise ConfigError(
        f"SIMIND knows no collimator '{name}'",
        where="camera: collimator",
        why="it has no code in the table collim.col that Senmei knows of",
        fix=nearest(name, COLLIMATORS),
    )


def _wrong(key: str, value: Any, why: str) -> ConfigError:
    return ConfigError(
        f"impossible value {value!r}", where=f"simind: {key}", why=why, fix="see docs/how-to/simind.md"
    )
