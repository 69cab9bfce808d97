"""Where Senmei's frame and SIMIND's meet: the one place for axes, angles and the order of views.

Senmei: arrays (x, y, z), low x the patient's left, high y anterior, high z head; projections (u, v, view), v = z; the
detector at theta stands at (-s sin, cos, 0), u = x at theta = 0 (`senmei.physics.spect.geometry`).

SIMIND: coordinates X, Y, Z in cm. Its maps lie in the file as (slice, row, column), column fastest. Its projections
lie as (view, row, column). What is known of them, and from where:

- The first slice of an int16 map (.dmi, .smi) lies towards +X, the last towards -X; the camera turns in the (Y, Z)
  plane; with index 32 = 0 a map's [i, j] are (Y, Z). [SIMIND manual]
- Columns run towards +Y and rows towards -Z; at angle 0 the camera stands at +Z. [simind-python-connector, phantoms.py
  of August 2026, whose tests compare maps with SIMIND's analytic sources]
- A projection's columns run towards +Y at angle 0; with rotation CCW the camera goes from +Z towards -Y. [PyTomography
  3.4, reader and writer of SIMIND files, whose frame is DICOM's]
- The first row of a projection is the +X end. [assumed: two packages that read int16 runs agree on it
  (simind-python-connector, simind-pipeline); the manual does not say]
- Float32 maps of the XCAT mode begin at the other end, -X, as XCAT's own begin at the feet. [assumed: PyTomography
  writes them so and reads rows as above]
- The start angle (index 41) counts against the rotation: the first view of a CCW run stands at -start. [assumed:
  PyTomography 3.4 in both directions]

The patient is laid with the head towards +X, anterior towards +Z and the left towards +Y, as DICOM has it for head
first, supine: an int16 map is a Senmei volume with all three axes turned round. In CCW the camera then goes from
anterior to the patient's right: Senmei's "cw". SIMIND is always asked for CCW, because the sources disagree on where a
CW run with a start angle begins; for "ccw" the same views are visited in reverse and put back in order.

Nothing here was run against SIMIND itself. `check_orientation` (`senmei.engines.simind.plausible`) therefore looks at
every run whether another reading of rows, columns or angles would fit the activity better, and refuses it if so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from senmei.core.errors import ConfigError

_CLOSE = 1e-3  # degrees


@dataclass(frozen=True)
class Rotation:
    """How SIMIND goes round for an acquisition.

    views : number. arc_deg : (0, 360], the last view one step before its end. start_deg : of index 41.
    reverse : whether SIMIND's first view is Senmei's last. index30 : its code, or minus the arc: CCW in either case.
    """

    views: int
    arc_deg: float
    start_deg: float
    reverse: bool

    @property
    def index30(self) -> float:
        """0 for 360 and 1 for 180 degrees CCW, else minus the degrees (the manual's own ways of saying it)."""
        if abs(self.arc_deg - 360) < _CLOSE:
            return 0
        return 1 if abs(self.arc_deg - 180) < _CLOSE else -self.arc_deg


def rotation(angles_deg: Sequence[float], direction: str, *, start_sign: int = -1) -> Rotation:
    """SIMIND's rotation for Senmei's angles (theta of each view) and direction ("ccw", "cw").

    start_sign : -1 where the first view stands at minus index 41 (assumed, see above), +1 where it stands at plus.
    Raises ConfigError where the views are not equally spaced, turn the other way or overlap: SIMIND cannot do that.
    """
    angles = np.asarray(angles_deg, np.float64)
    if len(angles) < 1 or direction not in ("ccw", "cw"):
        raise _cannot("an orbit has at least one view, and turns ccw or cw")
    steps = np.diff(angles)
    step = float(steps.mean()) if len(steps) else 360.0
    if step <= 0 or (len(steps) and float(np.abs(steps - step).max()) > 0.01):
        raise _cannot("its views are not equally spaced along the direction of rotation")
    arc = step * len(angles)
    if arc > 360 + _CLOSE:
        raise _cannot(f"its views span {arc:g} degrees, more than a turn")
    if abs(arc - round(arc)) < _CLOSE:
        arc = float(round(arc))
    reverse = direction == "ccw" and len(angles) > 1
    # CCW angle of the camera in SIMIND, from +Z towards -Y: theta for "cw", -theta for "ccw"
    first = float(angles[0]) if direction == "cw" else -float(angles[-1])
    start = (start_sign * first) % 360.0
    start = 0.0 if min(start, 360.0 - start) < 1e-6 else start
    return Rotation(len(angles), arc, start, reverse)


def to_map(volume: np.ndarray, *, feet_first: bool = False) -> np.ndarray:
    """(slice, row, column) view of a Senmei volume (x, y, z); head first, or feet first for the XCAT mode."""
    slices = volume.transpose(2, 1, 0)[:, ::-1, ::-1]
    return slices if feet_first else slices[::-1]


def from_map(array: np.ndarray, *, feet_first: bool = False) -> np.ndarray:
    """(x, y, z) view of a map (slice, row, column)."""
    slices = array if feet_first else array[::-1]
    return slices[:, ::-1, ::-1].transpose(2, 1, 0)


def from_projections(array: np.ndarray, turn: Rotation) -> np.ndarray:
    """(u, v, view) view of projections (view, row, column), the views in Senmei's order."""
    views = array[::-1] if turn.reverse else array
    return views[:, ::-1, ::-1].transpose(2, 1, 0)


def in_simind_order(values: Sequence[float], turn: Rotation) -> tuple[float, ...]:
    """What Senmei has for each view, in the order in which SIMIND visits them."""
    return tuple(values[::-1]) if turn.reverse else tuple(values)


def _cannot(why: str) -> ConfigError:
    return ConfigError(
        "SIMIND cannot simulate this orbit",
        where="acquisition: angles_deg",
        why=why,
        fix="give equally spaced views over one arc, or use engine: builtin",
    )
