"""How angles, directions and images of an Interfile are meant, and the orbit that a header tells.

What the format leaves open, and how it is taken here (`Convention`; every reading lists in `facts["assumed"]` what
was not in the file):

- "start angle", "direction of rotation". Interfile 3.3 does not say whether the gantry or the patient is meant, nor
  from which side one looks; its zero is 180° from DICOM's (discussion UCL/STIR #1180), so that it is anterior of a
  supine patient. Assumed: the angle grows in the direction of rotation, and one looks from the patient's feet, as
  DICOM does. STIR copies DICOM's numbers into its headers (its SPECT_dicom_to_interfile): 0 is the patient's back and
  angles grow counter-clockwise whatever the rotation. That is the convention "stir". Feet first or head first makes
  no difference, as angles are the patient's; of a prone one the side of 0 is unknown, so that it is refused.
  SIMIND counts its start angle against the rotation (so PyTomography 3.4 reads and writes it): convention "simind",
  which takes the place of "interfile" where a header says that SIMIND made it.
- Rows and columns. Assumed: what one sees who looks at the patient from the detector with the head up, as NM DICOM:
  row 0 is the head, column 0 the patient's right in an anterior view, hence columns run against u. PyTomography 3.4
  reads one acquisition that Senmei wrote as NM DICOM and as Interfile to equal arrays and angles.
- Volumes. Assumed: transverse slices, row 0 anterior, column 0 the patient's right, slice 0 the head, as STIR's images
  of a patient who lies head first, supine (UCL/STIR #248: its axes run left, posterior, inferior).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from senmei.io.interfile_header import InterfileHeader

MAX_VIEWS = 4096
MAX_PARTS = 64  # windows, gates, heads
_SIMIND_CM = 120.0  # a radius that SIMIND writes is in cm up to here and in mm above (versions differ)


@dataclass(frozen=True)
class Convention:
    """How angles and images of a file are meant; see the module's docstring.

    zero : where the detector stands at angle 0. grows : whether angles grow with the rotation ("rotation"), against
    it ("against") or counter-clockwise always ("ccw"). seen_from : the side from which CW and CCW are meant.
    columns : "detector" (as seen from the detector) or "mirrored". rows, slices : which end the first one is.
    """

    zero: Literal["anterior", "posterior"] = "anterior"
    grows: Literal["rotation", "against", "ccw"] = "rotation"
    seen_from: Literal["feet", "head"] = "feet"
    columns: Literal["detector", "mirrored"] = "detector"
    rows: Literal["head", "feet"] = "head"
    slices: Literal["head", "feet"] = "head"

    def theta(self, start: float, clockwise: bool) -> tuple[float, str]:
        """Senmei's θ of the first view and its direction, of a start angle in degrees."""
        sense = (
            1 if clockwise == (self.seen_from == "feet") else -1
        )  # clockwise from the feet is Senmei's ccw
        along = {"rotation": True, "against": False, "ccw": not clockwise}[self.grows]
        theta = start if along else -start
        theta += 0.0 if self.zero == "anterior" else 180.0
        return theta % 360.0, "ccw" if sense > 0 else "cw"


CONVENTIONS = {
    "interfile": Convention(),
    "simind": Convention(grows="against"),
    "stir": Convention(zero="posterior", grows="ccw"),
}


def count(header: InterfileHeader, key: str, most: int) -> int:
    """A number of parts: 1 where the key is missing or 0. Raises DataError beyond `most`."""
    number = header.integer(key) or 1
    if number > most:
        header.refuse(f"'{key}' is {number}; at most {most} are read")
    return number


def orbit(
    header: InterfileHeader, convention: Convention, assumed: list[str]
) -> tuple[list[float], list[int], str]:
    """θ of each view in the file's order, views of each head, Senmei's direction; raises DataError.

    What had to be assumed is added to `assumed`. Heads are blocks of repeated keys, as in Interfile's "for" loops.
    """
    heads = count(header, "number of detector heads", MAX_PARTS)
    numbers = header.numbers("number of projections")
    views = [int(n) if n == int(n) else 0 for n in numbers]
    starts = header.numbers("start angle") or header.numbers("first projection angle in data set")
    extents = header.numbers("extent of rotation")
    if not views or min(views) < 1 or sum(views) > MAX_VIEWS:
        header.refuse(f"'number of projections' is missing, 0 or beyond {MAX_VIEWS}")
    if heads > 1 and len(views) == 1 and len(starts) <= 1:
        if header.integer("number of images/energy window", "total number of images") == heads * views[0]:
            header.refuse(
                f"it holds {heads} detector heads and tells one start angle",
                "add a block of keys (number of projections, start angle) for each head",
            )
        heads = 1  # one orbit that the heads made together
    if len(views) == 1:
        views = views * heads
    if not extents:
        header.refuse("'extent of rotation' is missing")
    if len(views) != heads or len(starts) not in (heads, 0) or len(extents) not in (heads, 1):
        told = f"{len(views)} numbers of projections, {len(starts)} start angles, {len(extents)} extents"
        header.refuse(f"{heads} detector heads do not fit {told}")
    turns = [text.lower() for text in header.all("direction of rotation")]
    if not turns or len(set(turns)) > 1 or turns[0] not in ("cw", "ccw"):
        header.refuse("'direction of rotation' is missing, not the same for all heads, or neither CW nor CCW")
    if header.text("patient rotation").lower() == "prone":
        header.refuse(
            "the patient lies prone, and Interfile does not say on which side an angle of 0 then is",
            "turn the study into NM DICOM, which says so",
        )
    if not starts:
        header.refuse("'start angle' is missing", "add the angle at which the first view was taken")
    assumed.append(f"angle 0 is {convention.zero}, CW and CCW are seen from the {convention.seen_from}")
    angles: list[float] = []
    direction = "ccw"
    for head in range(heads):
        extent = extents[head if len(extents) == heads else 0]
        if not 0 < extent <= 3600:
            header.refuse(f"an extent of rotation of {extent:g} degrees cannot be")
        first, direction = convention.theta(starts[head] % 360.0, turns[0] == "cw")
        angles += [(first + extent / views[head] * k) % 360.0 for k in range(views[head])]
    return angles, views, direction


def distances(
    header: InterfileHeader, views: int, given: float | None, assumed: list[str]
) -> tuple[float, ...]:
    """Distance of the detector from the axis for each view, mm; `given` where the file tells none. Raises DataError."""
    radii = header.numbers("radii") or header.numbers("radius", comments=True)
    if not radii:
        if given is None:
            header.refuse(
                "it does not say how far the detector is from the axis ('Radius', 'Radii')",
                "give the radius in mm in the configuration, or add 'Radius := ...' in mm to the header",
            )
        return (float(given),) * views
    if "simind" in header.text("originating system").lower() and max(radii) <= _SIMIND_CM:
        assumed.append("radius in cm, as SIMIND writes it")
        radii = tuple(10 * radius for radius in radii)
    else:
        assumed.append("radius in mm")
    if len(set(radii)) == 1:
        radii = radii[:1] * views
    if len(radii) != views:
        header.refuse(f"{len(radii)} radii for {views} views")
    return radii
