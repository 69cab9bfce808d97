"""What every nuclear-medicine door gives: checks of its parts, and the order of views along an orbit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.io import nuclear_names
from senmei.io.projections import (
    EnergyWindow,
    PlanarImage,
    Projections,
    along_orbit,
    implausible,
)

PEAK = EnergyWindow("peak", 126.45, 154.55)
SOUND = Projections(
    counts=np.ones((1, 2, 4, 3, 6), np.int32),
    windows=(PEAK,),
    pixel_mm=4.0,
    angles_deg=tuple(60.0 * k for k in range(6)),
    direction="ccw",
    radius_mm=(200.0,) * 6,
    collimator="LEHR",
)
PLANAR = PlanarImage(
    counts=np.ones((1, 2, 5, 3), np.float32), windows=(PEAK,), pixel_mm=(2.0, 2.5), views=("anterior", "")
)


def test_sound_parts_pass() -> None:
    SOUND.check("here")
    PLANAR.check("here")
    assert (SOUND.gates, SOUND.views, SOUND.sense) == (2, 6, 1)


def odd(value: float) -> np.ndarray:
    counts = np.ones((1, 2, 4, 3, 6), np.float32)
    counts[0, 1, 2, 0, 3] = value
    return counts


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"counts": np.ones((2, 4, 3, 6), np.int32)}, "no 5-dimensional array (window, gate, u, v, view)"),
        ({"counts": np.ones((1, 0, 4, 3, 6), np.int32)}, "no 5-dimensional array"),
        ({"counts": np.ones((1, 2, 4, 3, 6))}, "float64; they must be float32 or int32"),
        ({"counts": odd(np.nan)}, "1 of 144 values are NaN or infinite"),
        ({"counts": odd(-1)}, "1 of 144 values are negative"),
        ({"counts": odd(1e20)}, "1 of 144 values are beyond 1e+12 (up to 1e+20)"),
        ({"windows": (PEAK, PEAK)}, "2 energy windows for 1 sets of counts"),
        ({"windows": (EnergyWindow("x", 150, 130),)}, "energy window 1 runs from 150 to 130 keV"),
        ({"windows": (EnergyWindow("x", float("nan"), 130),)}, "energy window 1"),
        ({"pixel_mm": 0.0}, "pixel_mm of 0 lies outside"),
        ({"angles_deg": (0.0,)}, "1 angles for 6 views"),
        ({"angles_deg": (float("inf"),) * 6}, "angles_deg of inf"),
        ({"radius_mm": (200.0,)}, "1 radii for 6 views"),
        ({"radius_mm": (200.0,) * 5 + (0.2,)}, "radius_mm of 0.2"),
        ({"direction": "CW"}, "neither 'ccw' nor 'cw'"),
        ({"collimator": "lehr"}, "none of LEHR"),
        ({"duration_s": float("nan")}, "cannot be"),
    ],
)
def test_parts_that_do_not_belong_together(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError) as caught:
        dataclasses.replace(SOUND, **changes).check("sub-007")
    assert why in caught.value.why and caught.value.where == "sub-007" and caught.value.fix


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"counts": np.ones((2, 5, 3), np.int32)}, "(window, image, row, column)"),
        ({"pixel_mm": (2.0,)}, "two pixel spacings"),
        ({"pixel_mm": (2.0, -1.0)}, "pixel_mm of -1"),
        ({"views": ("anterior",)}, "1 names of views for 2 images"),
        ({"views": ("anterior", "left")}, "a view is neither"),
    ],
)
def test_planar_parts_that_do_not_belong_together(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError) as caught:
        dataclasses.replace(PLANAR, **changes).check("sub-007")
    assert why in caught.value.why


def test_counts_are_looked_at_to_the_last() -> None:
    counts = np.zeros(3_000_000, np.float32)
    assert implausible(counts) is None
    counts[-1] = -np.inf
    assert implausible(counts) == "1 of 3000000 values are NaN or infinite"


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ([0, 90, 180, 270], [0, 90, 180, 270]),
        ([90, 180, 270, 0], [90, 180, 270, 0]),
        ([0, 120, 240, 60, 180, 300], [0, 60, 120, 180, 240, 300]),  # two heads, a third of a turn each
        ([315, 330, 345, 0, 15, 30], [315, 330, 345, 0, 15, 30]),
        ([45, 60, 75, 0, 15, 30], [0, 15, 30, 45, 60, 75]),  # the second head goes before
        ([359.9999999, 90, 180, 270], [359.9999999, 90, 180, 270]),
        ([10], [10]),
    ],
)
def test_views_along_the_orbit(angles: list[float], expected: list[float]) -> None:
    assert [angles[i] for i in along_orbit(angles)] == expected


def test_views_at_one_angle_keep_their_order() -> None:
    assert along_orbit([0, 90, 180, 270, 0, 90, 180, 270]) == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tc99m", "Tc-99m"), ("^99m^Technetium", "Tc-99m"), ("Tc-99m/MIBI", "Tc-99m"), ("99mTc", "Tc-99m"),
        ("i123", "I-123"), ("Tl 201", "Tl-201"), ("Lu_177", "Lu-177"), ("Mueller", ""), ("MI 12345678", ""),
        ("Zebulon 1961", ""), ("", ""), ("I-1", ""), ("f" * 5000 + "18", ""),
    ],
)  # fmt: skip
def test_only_nuclides_come_through(text: str, expected: str) -> None:
    assert nuclear_names.nuclide(text) == expected


def test_only_known_agents_and_collimators_come_through() -> None:
    assert nuclear_names.agent("Tc-99m Sestamibi") == nuclear_names.agent("TC/MIBI") == "sestamibi"
    assert nuclear_names.agent("Mibianka") == nuclear_names.agent("") == ""
    found = [
        nuclear_names.collimator(t) for t in ("sy-lehr", "GI-MEGP", "HEGP", "LEUHR", "se-lehs", "Helene", "")
    ]
    assert found == ["LEHR", "ME", "HE", "LEUR", "", "", ""]
