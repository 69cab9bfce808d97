"""How a study's pictures are shown: colour scale, unit, windows and planes, as the study declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from senmei.core.errors import ConfigError
from senmei.report.pixels import PLANES, SHEET, ramp

CURVE = "curve"  # in place of planes: values over the first axis, which is time


@dataclass(frozen=True)
class Look:
    """Of a study's pictures. The defaults are those of structural MRI.

    colour : scale of images, see `pixels.ramp`. unit : what a scan's `data_range` is the level of, in words.
    window : (low, high) of images, difference : of differences, both in multiples of it.
    planes : shown, in order; `curve` where images are curves over time. crop : show the surroundings of the scan's
    `mask` alone, `margin_mm` around it.
    side : pixels to which coarser pictures are interpolated, 0: left to the browser.
    tradeoff : (noise measure, resolution measure) drawn against each other; () for none.
    """

    colour: str = "grey"
    unit: str = "white matter"
    window: tuple[float, float] = (0.0, 1.2)
    difference: float = 0.2
    planes: tuple[str, ...] = PLANES
    crop: bool = False
    margin_mm: float = 25.0
    side: int = 0
    tradeoff: tuple[str, ...] = ()


# What a study may name as its `colour` instead of a scale: everything that is usual with it.
_USUAL: dict[str, dict[str, Any]] = {
    "nuclear": {
        "colour": "hot",
        "unit": "normal myocardium",
        "difference": 0.3,
        "planes": ("axial",),
        "crop": True,
        "side": 176,
    },
    "whole_body": {
        "colour": "grey_inverse",
        "unit": "the scan's level",
        "window": (0.0, 1.0),
        "planes": ("coronal",),
    },
}


def look_of(
    declared: Mapping[str, Any] | None = None,
    windows: Mapping[str, Any] | None = None,
    where: str = "figures",
) -> Look:
    """The look a study declares as `figures`, with windows from the report's settings.

    declared : names of `Look`'s fields; `colour` may also be 'nuclear' or 'whole_body', which sets what is usual.
    windows : {"image": [low, high], "difference": limit}. Raises ConfigError for a name or value it does not know.
    """
    declared = dict(declared or {})
    usual = _USUAL.get(str(declared.get("colour")))
    if usual is not None:
        declared = {**usual, **{name: value for name, value in declared.items() if name != "colour"}}
    known = [field.name for field in fields(Look)]
    wrong = sorted(set(declared) - set(known))
    if wrong:
        raise _error(where, f"no such field: {', '.join(wrong)}", f"use some of {', '.join(known)}")
    tuples: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in declared.items()
    }
    look = replace(Look(), **tuples)
    try:
        ramp(look.colour)
    except ValueError as error:
        raise _error(where, str(error), f"name one of these, or {', '.join(_USUAL)}") from error
    known = [*PLANES, SHEET, CURVE]
    if not look.planes or set(look.planes) - {*known} or (CURVE in look.planes and len(look.planes) > 1):
        fix = f"name some of {', '.join(known)}; {CURVE} stands alone"
        raise _error(where, f"planes are {list(look.planes)}", fix)
    if len(look.tradeoff) not in (0, 2):
        raise _error(where, f"tradeoff names {len(look.tradeoff)} measures", "name two: noise, resolution")
    windows = windows or {}
    low, high = windows.get("image", look.window)
    limit = windows.get("difference", look.difference)
    return replace(look, window=(float(low), float(high)), difference=float(limit))


def _error(where: str, why: str, fix: str) -> ConfigError:
    return ConfigError("Cannot draw the study's pictures as it declares", where=where, why=why, fix=fix)
