"""How the frames of a TOMO image make one orbit: which view, head, rotation, gate and window each frame is.

Heads may stand at any angle to each other and be numbered in any order, and a camera may turn more than once: each
frame's own angle counts. Views that meet (two heads over the same arc, several turns) are added up: sums of counts
are counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.io.dicom_nm_geometry import Orbit, axis_directions, sort_orbit
from senmei.io.dicom_nm_header import Header, items, number, numbers, patient_position, refuse, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAX_HEADS = 64  # no camera has more than a dozen
_NEAR_MM = 5.0  # heads this far apart in radius see the same; their counts may be added
_ALONG = 0.99  # cosine of directions that are meant to be the same


@dataclass(frozen=True)
class Views:
    """The plan of a TOMO image, from its header alone.

    index : (window, gate, view, member) frame numbers: members are added up. orbit : the angles. radius_mm : one a
    view. turned : whether frames stand on their heads and are to be turned by 180 degrees. duration_s : of a view.
    """

    index: np.ndarray
    orbit: Orbit
    radius_mm: tuple[float, ...]
    duration_s: float
    turned: bool
    facts: dict[str, Any] = field(default_factory=dict)


def plan_views(header: Header, radius_mm: float | None = None) -> Views:
    """Where each frame belongs. radius_mm : used where the file does not say.

    Raises DataError for a file without rotations, without the angle of a head, with frames missing or double, without
    a radius, or of a patient whose position leaves the angles open.
    """
    rotations = items(header.data, "RotationInformationSequence")
    detectors = items(header.data, "DetectorInformationSequence")
    if not rotations:
        refuse(
            header.where,
            "it has no rotation information: neither angles nor direction of its views are known",
            "export the acquisition from the camera's own workstation, with its rotation information",
        )
    table = _table(header)
    _check_numbers(header, "Rotation", table["Rotation"], len(rotations))
    heads = int(table["Detector"].max())
    if heads > _MAX_HEADS:
        refuse(header.where, f"it speaks of {heads} detectors; the limit is {_MAX_HEADS}")
    if detectors and heads > len(detectors):
        refuse(header.where, f"frames of detector {heads}, and only {len(detectors)} are described")
    rank = _ranks(header, table)
    slots = sorted(
        {(int(d), int(r), int(k)) for d, r, k in zip(table["Detector"], table["Rotation"], rank, strict=True)}
    )
    _check_complete(header, slots, rotations)
    views_each = 1 + max(k for _, _, k in slots)
    phi, radius, falling = [], [], []
    begun: dict[int, int] = {}  # detector -> its first rotation: some cameras keep one for each head
    for detector, rotation, k in slots:
        begun.setdefault(detector, rotation)
        head = detectors[detector - 1] if detectors else None
        turn = rotations[rotation - 1]
        start = _start(header, head, rotations, (begun[detector], rotation), heads)
        down = _falling(header, turn)
        phi.append((start - k * _step(header, turn, views_each) * (1 if down else -1)) % 360.0)
        radius.append(_radius(header, head, rotations, detector, rotation, k, views_each, radius_mm))
        falling.append(down)
    orbit = sort_orbit(phi, 0, falling[0])
    members = {len(group) for group in orbit.members}
    if len(members) > 1:
        refuse(
            header.where,
            f"some angles were acquired {max(members)} times and others {min(members)}: views are missing or double",
        )
    index = _index(header, table, rank, slots, orbit)
    radii = _view_radii(header, orbit, radius)
    seconds = (number(rotations[0], "ActualFrameDuration", header.where) or 0.0) / 1000.0
    head = detectors[slots[0][0] - 1] if detectors else None
    turned, position = _upright(header, head, phi[0])
    facts = {"heads": heads, "position": position, "frames_added": max(members)}
    return Views(index, orbit, radii, seconds * max(members), turned, facts)


def _table(header: Header) -> dict[str, np.ndarray]:
    """The vectors that matter to a TOMO image; one value throughout where the file has none."""
    ones = np.ones(header.frames, int)
    table = {
        name: header.vectors.get(name, ones)
        for name in ("EnergyWindow", "Detector", "Rotation", "RRInterval", "TimeSlot")
    }
    for name, values in table.items():
        if values.min() < 1:
            refuse(header.where, f"the vector {name} holds numbers below 1")
    if len(np.unique(table["RRInterval"])) > 1:
        refuse(
            header.where,
            "it holds several R-R intervals (beats accepted by their length)",
            "export one R-R interval",
        )
    slots = np.unique(table["TimeSlot"])
    if header.kind == "GATED TOMO" and "TimeSlot" not in header.vectors:
        refuse(
            header.where, "it is gated, and does not say to which gate a frame belongs (no time slot vector)"
        )
    if len(slots) != slots.max():
        missing = int(slots.max()) - len(slots)
        refuse(header.where, f"{missing} of {int(slots.max())} gates are missing", "export all gates")
    return table


def _check_numbers(header: Header, name: str, values: np.ndarray, count: int) -> None:
    if values.max() > count:
        refuse(header.where, f"the vector {name} points to item {values.max()} of {count}")


def _ranks(header: Header, table: dict[str, np.ndarray]) -> np.ndarray:
    """(frame,) number of each view within its head and rotation, from 0; heads may be numbered on or anew."""
    groups = [table[name] for name in ("EnergyWindow", "Detector", "Rotation", "TimeSlot")]
    view = header.vectors.get("AngularView")
    if view is None:  # counted up within each window, head, rotation and gate
        seen: dict[tuple[int, ...], int] = {}
        rank = np.zeros(header.frames, int)
        for at, group in enumerate(zip(*groups, strict=True)):
            rank[at] = seen[group] = seen.get(group, -1) + 1
        return rank
    rank = np.zeros(header.frames, int)
    for detector, rotation in {(d, r) for d, r in zip(table["Detector"], table["Rotation"], strict=True)}:
        own = (table["Detector"] == detector) & (table["Rotation"] == rotation)
        rank[own] = view[own] - view[own].min()
        found = len(np.unique(rank[own]))
        if found != rank[own].max() + 1:
            lost = int(rank[own].max()) + 1 - found
            refuse(header.where, f"{lost} of {int(rank[own].max()) + 1} views of a head are missing")
    return rank


def _check_complete(header: Header, slots: list[tuple[int, int, int]], rotations: list[Dataset]) -> None:
    """Each head has the views that its rotation tells; some files tell those of all heads together."""
    views = Counter((rotation, detector) for detector, rotation, _ in slots)
    for rotation in {rotation for rotation, _ in views}:
        told = number(rotations[rotation - 1], "NumberOfFramesInRotation", header.where)
        counts = [count for (turn, _), count in sorted(views.items()) if turn == rotation]
        if told and (set(counts) != {told} and (len(set(counts)) > 1 or sum(counts) != told)):
            found = " and ".join(map(str, counts))
            why = f"its heads have {found} views, and the rotation {told:g}: views are missing, or not of this rotation"
            refuse(header.where, why, "export the whole acquisition again")


def _start(
    header: Header, head: Dataset | None, rotations: list[Dataset], turns: tuple[int, int], heads: int
) -> float:
    """φ of a head's first view in a rotation. turns : the first rotation of the head, and this one."""
    own = number(head, "StartAngle", header.where) if head is not None else None
    first, of_turn = (number(rotations[turn - 1], "StartAngle", header.where) for turn in turns)
    if (
        own is not None
    ):  # of the acquisition: later rotations start where they say, relative to the head's first
        return own + ((of_turn - first) if of_turn is not None and first is not None else 0.0)
    if of_turn is None:
        refuse(header.where, "it does not say at which angle the rotation starts")
    if heads > 1 and len(rotations) < heads:
        refuse(
            header.where,
            f"it has {heads} heads, and does not say at which angle each stands (no start angle of the detectors)",
            "export it with the start angle of each detector, or as one head",
        )
    return of_turn


def _falling(header: Header, turn: Dataset) -> bool:
    direction = text(turn, "RotationDirection").upper()
    if direction not in ("CW", "CC", "CCW"):
        refuse(header.where, "it does not say in which direction the camera turned (CW or CC)")
    return direction == "CW"


def _step(header: Header, turn: Dataset, views: int) -> float:
    step = number(turn, "AngularStep", header.where)
    if step is None:
        arc = number(turn, "ScanArc", header.where)
        count = number(turn, "NumberOfFramesInRotation", header.where) or views
        step = arc / count if arc is not None else None
    if step is None or not 0 < abs(step) <= 360:
        if views == 1:
            return 0.0
        refuse(header.where, "it states neither an angular step nor an arc of its views")
    return abs(step)


def _radius(
    header: Header,
    head: Dataset | None,
    rotations: list[Dataset],
    detector: int,
    rotation: int,
    k: int,
    views: int,
    given: float | None,
) -> float:
    """mm from the axis, of the head if it says so, else of the rotation: one for all, or one a view."""
    places = [(head, rotation - 1), (rotations[rotation - 1], detector - 1)]
    if len(rotations) >= detector:  # some cameras keep an item of rotation for each head
        places.append((rotations[detector - 1], 0))
    for place, block in places:
        values = numbers(place, "RadialPosition", header.where) if place is not None else []
        values = values if any(values) else []
        if len(values) == 1:
            return values[0]
        for at in (block * views + k, k):
            if values and len(values) % views == 0 and at < len(values):
                return values[at]
        if values:
            refuse(header.where, f"it has {len(values)} radial positions for {views} views")
    if given is None:
        refuse(
            header.where,
            "it does not say how far the camera stood from the axis (no radial position)",
            "give the radius in mm in the cohort's configuration",
        )
    return given


def _index(
    header: Header,
    table: dict[str, np.ndarray],
    rank: np.ndarray,
    slots: list[tuple[int, int, int]],
    orbit: Orbit,
) -> np.ndarray:
    """(window, gate, view, member) frame numbers. Raises DataError unless each is there once."""
    windows = [int(w) for w in np.unique(table["EnergyWindow"])]
    gates = int(table["TimeSlot"].max())
    number_of = {slot: i for i, slot in enumerate(slots)}
    due = len(windows) * gates * len(slots)
    if due > header.frames:
        what = "gated frames" if gates > 1 else "frames"
        refuse(
            header.where, f"{due - header.frames} of {due} {what} are missing", "export the whole acquisition"
        )
    flat = np.full((len(windows), gates, len(slots)), -1)
    keys = zip(*(table[n] for n in ("EnergyWindow", "TimeSlot", "Detector", "Rotation")), rank, strict=True)
    for frame, (window, gate, detector, rotation, k) in enumerate(keys):
        place = (windows.index(int(window)), int(gate) - 1, number_of[(int(detector), int(rotation), int(k))])
        if flat[place] >= 0:
            refuse(header.where, "two frames have the same window, gate, head and view")
        flat[place] = frame
    return flat[:, :, np.array(orbit.members)]


def _view_radii(header: Header, orbit: Orbit, radius: list[float]) -> tuple[float, ...]:
    found = []
    for group in orbit.members:
        own = [radius[i] for i in group]
        if max(own) - min(own) > _NEAR_MM:
            refuse(
                header.where,
                f"the same angle was acquired from {min(own):.0f} and {max(own):.0f} mm, which cannot be one view",
                "export one head or one rotation",
            )
        found.append(float(np.mean(own)))
    return tuple(found)


def _upright(header: Header, head: Dataset | None, phi: float) -> tuple[bool, str]:
    """Whether the frames are to be turned by 180 degrees, and how the patient lay."""
    first, posture = patient_position(header)
    if posture in ("prone", "decubitus"):
        refuse(
            header.where,
            f"the patient lay {posture}: cameras differ in whether angles then count from the back or from the table",
            "export it with angles from a supine position, or leave it out",
        )
    row, column = axis_directions(phi)
    stated = numbers(head, "ImageOrientationPatient", header.where) if head is not None else []
    agrees = (0.0, 0.0)
    if len(stated) == 6:
        agrees = (float(np.dot(stated[:3], row)), float(np.dot(stated[3:], column)))
    turned = agrees[0] < -_ALONG and agrees[1] < -_ALONG
    upright = agrees[0] > _ALONG and agrees[1] > _ALONG
    if first == "feet first" and not (turned or upright):
        refuse(
            header.where,
            "the patient lay feet first, and the orientation of the frames does not say where the head is",
            "export it with the image orientation of the detector, or leave it out",
        )
    if not turned and agrees[1] < -_ALONG:
        refuse(
            header.where,
            "its orientation says that rows run from the feet to the head and columns do not: mirrored views",
        )
    return turned, f"{first or 'head first (assumed)'}, {posture or 'supine (assumed)'}"
