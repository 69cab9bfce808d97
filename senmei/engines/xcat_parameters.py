"""Parameter files of the XCAT phantom, version 2: from Senmei's settings, over the user's own file where there is one.

Segars WP et al. 4D XCAT phantom for multimodality imaging research. Med Phys 2010;37:4902. Keys and their meaning
are those of the general parameter file that comes with XCAT 2 (as published in UCL/STIR-GATE-Connection,
create_XCAT.par, NOTES 0-9).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from senmei.core.errors import ConfigError, nearest

# Relative uptake of a Tc-99m perfusion agent: assumed, round numbers; set your own.
UPTAKE = {
    "myocardium": 1.0, "blood": 0.08, "body": 0.05, "lung": 0.07, "liver": 0.7, "gall_bladder": 0.9, "spleen": 0.7,
    "kidney": 0.8, "stomach": 0.4, "bowel": 0.2, "bone": 0.05,
}  # fmt: skip
_ORGANS = {
    "myocardium": ("myoLV_act", "myoRV_act", "myoLA_act", "myoRA_act"),
    "blood": ("bldplLV_act", "bldplRV_act", "bldplLA_act", "bldplRA_act", "art_activity", "vein_activity"),
    "body": ("body_activity", "muscle_activity", "pericardium_activity", "cartilage_activity"),
    "lung": ("r_lung_activity", "l_lung_activity"),
    "liver": ("liver_activity",),
    "gall_bladder": ("gall_bladder_activity",),
    "spleen": ("spleen_activity",),
    "kidney": (
        "r_kidney_cortex_activity", "l_kidney_cortex_activity", "r_kidney_medulla_activity",
        "l_kidney_medulla_activity",
    ),
    "stomach": ("st_wall_activity", "st_cnts_activity"),
    "bowel": ("asc_li_activity", "trans_li_activity", "desc_li_activity", "sm_intest_activity"),
    "bone": ("rib_activity", "cortical_bone_activity", "spine_activity", "bone_marrow_activity"),
}  # fmt: skip
_LINE = re.compile(r"[ \t]*([A-Za-z]\w*)[ \t]*=[ \t]*([^#\r\n]*)")
_KEY = re.compile(r"[A-Za-z]\w{0,63}")
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_WHAT = "Cannot write XCAT's parameters"


@dataclass(frozen=True)
class Lesion:
    """A perfusion defect of the left ventricle (XCAT's NOTE 9).

    theta_deg : its centre around the ventricle, 0 anterior, 90 lateral, 180 inferior, 270 septal. width_deg : its
    whole width. axis : its centre along the ventricle, 0 base to 1 apex. length_mm : its whole length. wall : the
    fraction of the wall, from inside, that it takes. severity : the fraction of the myocardium's uptake it lacks.
    """

    theta_deg: float = 0.0
    width_deg: float = 60.0
    axis: float = 0.5
    length_mm: float = 30.0
    wall: float = 1.0
    severity: float = 0.5


@dataclass(frozen=True)
class XcatSettings:
    """What a phantom is to be; each field is a key of the configuration.

    matrix : columns and rows (array_size). slices, first_slice : of the body's slices, 1 at the feet. voxel_mm : edge
    of a voxel; slice_mm : its height, voxel_mm where None. gender : "male" or "female". organ_file, heart_file,
    heart_curve, attenuation_table : names of files of the XCAT distribution, "" for those of the 50th percentile.
    energy_kev : of the attenuation map. phases : of the cardiac cycle, 1 for one still phantom at `phase_start`
    (0 end diastole, 0.4 end systole). heart_period_s : of one beat. average : write the mean of the phases instead.
    uptake : organ -> relative activity (UPTAKE, assumed). lesion : a `Lesion`, None for none. arms : at the sides.
    parameters : further keys of XCAT and their values, which have the last word.
    """

    matrix: int = 128
    slices: int = 64
    first_slice: int = 1
    voxel_mm: float = 4.0
    slice_mm: float | None = None
    gender: str = "male"
    organ_file: str = ""
    heart_file: str = ""
    heart_curve: str = "heart_curve.txt"
    attenuation_table: str = "atten_table.dat"
    energy_kev: float = 140.5
    phases: int = 1
    phase_start: float = 0.0
    heart_period_s: float = 1.0
    average: bool = False
    arms: bool = False
    uptake: Mapping[str, float] = field(default_factory=dict)
    lesion: Lesion | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name, low, high, whole in (
            ("matrix", 8, 1024, True), ("slices", 1, 4096, True), ("first_slice", 1, 100000, True),
            ("voxel_mm", 0.1, 50, False), ("energy_kev", 1, 4000, False), ("phases", 1, 64, True),
            ("phase_start", 0, 1, False), ("heart_period_s", 0.1, 10, False),
        ):  # fmt: skip
            _check(name, getattr(self, name), low, high, whole=whole)
        if self.energy_kev * 2 != int(self.energy_kev * 2):
            raise _wrong("energy_kev", "XCAT's table goes in steps of 0.5 keV", "give 140.5 for Tc-99m")
        for name in ("average", "arms"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, "it is neither true nor false", "correct it")
        for name in ("uptake", "parameters"):
            if not isinstance(getattr(self, name), Mapping):
                raise _wrong(name, "it must be a mapping of names to values", "correct it")
        if self.slice_mm is not None:
            _check("slice_mm", self.slice_mm, 0.1, 50)
        if self.gender not in ("male", "female"):
            raise _wrong(
                "gender", "XCAT has a male and a female", nearest(str(self.gender), ("male", "female"))
            )
        for name in ("organ_file", "heart_file", "heart_curve", "attenuation_table"):
            value = getattr(self, name)
            if not isinstance(value, str) or (value and not _TEXT.fullmatch(value)):
                raise _wrong(
                    name, "it is no plain file name", "name a file that lies beside the XCAT program"
                )
        for organ, value in self.uptake.items():
            if organ not in UPTAKE:
                raise _wrong(f"uptake.{organ}", "there is no such organ", nearest(str(organ), UPTAKE))
            _check(f"uptake.{organ}", value, 0, 1e6)
        if self.lesion is not None:
            for name, low, high in (
                ("theta_deg", 0, 360), ("width_deg", 1, 360), ("axis", 0, 1), ("length_mm", 1, 200), ("wall", 0.01, 1),
                ("severity", 0, 1),
            ):  # fmt: skip
                _check(f"lesion.{name}", getattr(self.lesion, name), low, high)
        for key, value in self.parameters.items():
            if not _KEY.fullmatch(str(key)):
                raise _wrong("parameters", "a key is no word", "use the keys of XCAT's parameter file")
            if key in _OURS:
                raise _wrong(
                    f"parameters.{key}", "it follows from other settings", f"set {_OURS[key]} instead"
                )
            if isinstance(value, str) and not _TEXT.fullmatch(value):
                raise _wrong(
                    f"parameters.{key}", "its value is no plain word", "give a number or a file's name"
                )
            if not isinstance(value, str):
                _check(f"parameters.{key}", int(value) if isinstance(value, bool) else value, -1e9, 1e9)

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> XcatSettings:
        """Settings of a mapping with these keys, `lesion` a mapping too. Raises ConfigError for what is none."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise _wrong(str(key), "there is no such key", nearest(str(key), known))
        made = dict(values)
        if made.get("lesion") is not None:
            if not isinstance(made["lesion"], Mapping):
                raise _wrong("lesion", "it must be a mapping", "give theta_deg, width_deg, severity, ...")
            inner = [f.name for f in fields(Lesion)]
            for key in made["lesion"]:
                if key not in inner:
                    raise _wrong(f"lesion.{key}", "there is no such key", nearest(str(key), inner))
            made["lesion"] = Lesion(**made["lesion"])
        return cls(**made)

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return asdict(self)

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the volumes that XCAT writes: 1 ... n, or 0 for the average."""
        return (0,) if self.average else tuple(range(1, self.phases + 1))


# Keys of XCAT that settings decide -> the setting.
_OURS = {
    "mode": "lesion", "array_size": "matrix", "startslice": "first_slice", "endslice": "slices",
    "pixel_width": "voxel_mm", "slice_width": "slice_mm", "out_frames": "phases", "out_period": "heart_period_s",
    "hrt_period": "heart_period_s", "energy": "energy_kev", "act_phan_each": "average", "act_phan_ave": "average",
    "atten_phan_each": "average", "atten_phan_ave": "average", "gender": "gender", "lesn_activity": "lesion.severity",
}  # fmt: skip


def write_parameters(settings: XcatSettings, *, template: str = "", mode: int = 0) -> str:
    """The text of a version 2 parameter file.

    template : the text of a parameter file of the user's own; its other lines stay as they are. Recommended, as what
    XCAT takes for a key that is missing is not documented. mode : 0 the phantom, 1 the lesion alone, to be
    subtracted. Raises ConfigError for mode 1 without a lesion.
    """
    if mode not in (0, 1) or (mode == 1 and settings.lesion is None):
        raise _wrong("lesion", "a lesion is asked for and none is described", "give lesion:, or leave it out")
    wanted = {key: _value(value) for key, value in _keys(settings, mode).items()}
    lines: list[str] = []
    for line in template.splitlines():
        match = _LINE.match(line)
        if match and match[1] in wanted:
            lines.append(f"{match[1]} = {wanted.pop(match[1])}")
        elif match and not match[2].strip():
            lines.append("")  # a key without value would stop XCAT
        else:
            lines.append(line)
    lines += [f"{key} = {value}" for key, value in wanted.items()]
    return "\n".join(lines).strip("\n") + "\n"


def _keys(settings: XcatSettings, mode: int) -> dict[str, Any]:
    s = settings
    sex = "" if s.gender == "male" else "fe"
    uptake = {**UPTAKE, **s.uptake}
    keys: dict[str, Any] = {
        "mode": mode,
        "act_phan_each": int(not s.average),
        "atten_phan_each": int(not s.average),
        "act_phan_ave": int(s.average),
        "atten_phan_ave": int(s.average),
        "motion_option": 0,  # the heart beats, breathing is held
        "out_period": s.heart_period_s,
        "time_per_frame": s.heart_period_s / s.phases,
        "out_frames": s.phases,
        "hrt_period": s.heart_period_s,
        "hrt_start_ph_index": s.phase_start,
        "heart_base": s.heart_file or f"v{sex}male50_heart.nrb",
        "heart_curve_file": s.heart_curve,
        "arms_flag": int(s.arms),
        "gender": 0 if s.gender == "male" else 1,
        "organ_file": s.organ_file or f"v{sex}male50.nrb",
        "pixel_width": s.voxel_mm / 10,
        "slice_width": (s.slice_mm or s.voxel_mm) / 10,
        "array_size": s.matrix,
        "startslice": s.first_slice,
        "endslice": s.first_slice + s.slices - 1,
        "activity_unit": 0,
        "energy": s.energy_kev,
        "atten_table_filename": s.attenuation_table,
    }
    keys |= {key: uptake[organ] for organ, names in _ORGANS.items() for key in names}
    if s.lesion is not None:
        keys |= {
            "ThetaCenter": s.lesion.theta_deg,
            "ThetaWidth": s.lesion.width_deg,
            "XCenterIndex": s.lesion.axis,
            "XWidthIndex": s.lesion.length_mm,
            "Wall_fract": s.lesion.wall,
            "lesn_activity": s.lesion.severity * uptake["myocardium"],
        }
    return {**keys, **s.parameters}


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{int(value)}" if float(value).is_integer() else f"{float(value):.8g}"


def _check(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise _wrong(name, f"it must be {kind} from {low:g} to {high:g}", "correct it")


def _wrong(key: str, why: str, fix: str) -> ConfigError:
    return ConfigError(_WHAT, where=f"xcat.{key}", why=why, fix=fix)
