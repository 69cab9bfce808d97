"""A fitted camera as plain values: what `camera.json` holds, and what it is good for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from senmei.core.errors import ConfigError
from senmei.physics.gamma_camera import COLLIMATORS
from senmei.physics.planar.nuclides import NUCLIDES
from senmei.physics.planar.response import Response

if TYPE_CHECKING:
    from senmei.physics.planar.fit import CameraFit

FORMAT = "senmei planar camera 1"
SETTING = ("nuclide", "collimator", "distance_mm", "layer_mm")  # the camera's: what a response is good for
_LIMITS = {"distance_mm": 1000.0, "layer_mm": 500.0, "background_cps_per_cm2": 1e6}
_FWHM_MM = 2000.0
_NEAR_MM = 0.5  # distances and layers that are the same


@dataclass(frozen=True)
class FittedCamera:
    """The response and background of one setting of a camera, as measured.

    nuclide, collimator : names. distance_mm : from the collimator's face to the sheet. layer_mm : of water or the like
    on the sheet. response : see `Response`. background_cps_per_cm2 : counts/s/cm². A response in mm holds for any
    matrix, zoom and time.
    """

    nuclide: str
    collimator: str
    distance_mm: float
    layer_mm: float
    response: Response
    background_cps_per_cm2: float = 0.0

    @classmethod
    def of(cls, fit: CameraFit, camera: Mapping[str, Any]) -> FittedCamera:
        """Of a fit, and of the role of the camera whose images were fitted."""
        setting = {name: camera[name] for name in SETTING}
        return cls(**setting, response=fit.response, background_cps_per_cm2=fit.background_cps_per_cm2)

    def is_of(self, setting: Mapping[str, Any]) -> bool:
        """Whether it was fitted at this setting (names as in `SETTING`); lengths agree to half a millimetre."""
        same = all(str(setting[name]) == getattr(self, name) for name in SETTING[:2])
        return same and all(abs(float(setting[n]) - getattr(self, n)) <= _NEAR_MM for n in SETTING[2:])

    @property
    def label(self) -> str:
        """The setting in words: 'Tc-99m, LEHR, 100 mm, layer 0 mm'."""
        return f"{self.nuclide}, {self.collimator}, {self.distance_mm:g} mm, layer {self.layer_mm:g} mm"

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Any, where: str) -> FittedCamera:
        """The camera of such values; other keys, such as errors and goodness, are not looked at.

        where : for errors. Raises ConfigError for anything that is no camera: another format, a name or number that
        is missing, unknown or impossible.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            raise _bad(where, f"it is no description of '{FORMAT}'")
        response = value.get("response")
        if not isinstance(response, Mapping):
            raise _bad(where, "'response' is missing")
        known = {f.name for f in fields(Response)}
        for name in response:
            if name not in known:
                raise _bad(where, f"a response has no '{str(name)[:40]}'")
        if missing := sorted(known - set(response)):
            raise _bad(where, f"'response: {missing[0]}' is missing")
        numbers = {
            **{f"response: {name}": (response[name], 1e9) for name in known},
            **{f"response: {name}": (response[name], _FWHM_MM) for name in known if name.endswith("fwhm_mm")},
            **{name: (value.get(name), most) for name, most in _LIMITS.items()},
        }
        for name, (number, most) in numbers.items():
            right = isinstance(number, int | float) and not isinstance(number, bool)
            if not right or not 0 <= number <= most:  # a NaN is not
                raise _bad(where, f"'{name}' is {str(number)[:40]}, not a number from 0 to {most:g}")
        for name, names in (("nuclide", NUCLIDES), ("collimator", COLLIMATORS)):
            if not isinstance(value.get(name), str) or value[name] not in names:
                raise _bad(where, f"'{name}' is {str(value.get(name))[:40]}, none of {', '.join(names)}")
        if response["sensitivity_cps_per_mbq"] <= 0 or response["fwhm_mm"] <= 0:
            raise _bad(where, "a camera without sensitivity, or of perfect resolution")
        measured = Response(**{name: float(response[name]) for name in known})
        own = {name: float(value[name]) for name in _LIMITS}
        return cls(str(value["nuclide"]), str(value["collimator"]), response=measured, **own)


def _bad(where: str, why: str) -> ConfigError:
    fix = "give a camera.json that the analysis `degradation_fit` wrote, as it was written"
    return ConfigError("Not a fitted camera", where=where, why=why, fix=fix)
