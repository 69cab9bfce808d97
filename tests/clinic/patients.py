"""Patients of a clinic: torsos, their photons and the files a camera would leave of them.

Hearts lie to the left and livers to the right, so that a scan read the wrong way round shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from senmei.phantoms.torso import Torso, draw_torso, draw_uptake, render_torso
from senmei.physics.gamma_camera import GammaCamera
from senmei.physics.spect.counts import draw_counts
from senmei.physics.spect.geometry import Acquisition
from senmei.physics.spect.projector import Projector
from senmei.physics.spect.scatter import scatter_projections
from tests.clinic.nm_writer import PHOTOPEAK, SCATTER, Person, Shot, recon, save, tomo

GRID = (40, 40, 26)
VOXEL_MM = 10.0
VIEWS = 30
COUNTS = 1_500_000.0


@dataclass(frozen=True)
class Patient:
    """Who was scanned and how: what differs between the scans of a clinic.

    seed : of anatomy and photons. gates : of a heartbeat. windows : 2 adds the lower scatter window. clockwise :
    DICOM's direction, from right anterior oblique to left posterior oblique; else the same arc backwards. heads : of
    the camera, 90 degrees apart for two. has_map : whether an attenuation map lies beside.
    """

    person: Person
    seed: int
    gates: int = 1
    windows: int = 1
    clockwise: bool = True
    heads: int = 2
    swap_heads: bool = False
    has_map: bool = True
    map_headwards: bool = True


PEOPLE = (
    Person("Quixotic", "Zebulon", "MRN7734211"),
    Person("Abernathy", "Ottoline", "MRN5521987", "19410203", "20180607", "091523.27"),
    Person("Bramblethwaite", "Ignatius", "MRN3318742", "19620929", "20200111", "154207.27"),
    Person("Cattermole", "Wilhelmina", "MRN9046613", "19380512", "20170823", "102946.27"),
    Person("Drinkwater", "Peregrine", "MRN2207195", "19471130", "20211014", "083358.27"),
    Person("Eglantyne", "Hephzibah", "MRN6613408", "19550706", "20160329", "113619.27"),
    Person("Farthingale", "Thaddeus", "MRN8812975", "19490815", "20190926", "140731.27"),
)
PATIENTS = (
    Patient(PEOPLE[0], 11),
    Patient(PEOPLE[1], 12, gates=8),
    Patient(PEOPLE[2], 13, windows=2, clockwise=False, heads=1, map_headwards=False),
    Patient(PEOPLE[3], 14, swap_heads=True),
    Patient(PEOPLE[4], 15, has_map=False),
    Patient(PEOPLE[5], 16, clockwise=False),
)
SPOILED = Patient(PEOPLE[6], 17)


def orbit(clockwise: bool, views: int = VIEWS) -> Acquisition:
    """180 degrees between right anterior and left posterior oblique; the camera follows the body."""
    step = 180 / views
    if clockwise:  # from 225 to 45 degrees of DICOM: over the chest to the left
        angles, direction = [-45 + step * i for i in range(views)], "ccw"
    else:
        angles, direction = [-135 + step * i for i in range(views)], "cw"
    radii = [230 + 25 * abs(np.sin(np.radians(a))) for a in angles]
    return Acquisition(GRID, VOXEL_MM, tuple(angles), tuple(radii), direction, GammaCamera(collimator="LEHR"))


@lru_cache(maxsize=16)
def torso(seed: int, phase: int = 0, phases: int = 1) -> Torso:
    """The patient's body, small."""
    shape = draw_torso(np.random.default_rng([seed, 1]))
    uptake = draw_uptake(np.random.default_rng([seed, 2]))
    uptake |= {"liver": min(uptake["liver"], 0.6), "gut": 0.15, "stomach": 0.05, "gallbladder": 0.5}
    return render_torso(shape, uptake=uptake, grid=GRID, voxel_mm=VOXEL_MM, phase=phase, phases=phases)


@lru_cache(maxsize=4)
def _camera(clockwise: bool) -> Projector:
    return Projector(orbit(clockwise))


def shot(patient: Patient) -> Shot:
    """The acquisition: Poisson counts of primary and scattered photons, COUNTS of them in the photopeak."""
    rng = np.random.default_rng([patient.seed, 3])
    geometry = orbit(patient.clockwise)
    primary, scattered = [], []
    for gate in range(patient.gates):
        body = torso(patient.seed, gate, patient.gates)
        camera = _camera(patient.clockwise).with_attenuation(body.mu.data)
        primary.append(camera.forward(body.activity.data).double().numpy())
        scattered.append(scatter_projections(body.activity.data, body.mu.data, camera).double().numpy())
    direct, spread = np.clip(np.stack(primary), 0, None), np.clip(np.stack(scattered), 0, None)
    peak = direct + spread
    scale = COUNTS / peak.sum()
    windows = [peak, 0.8 * spread][: patient.windows]
    counts = draw_counts(np.stack(windows) * scale, rng)
    ends = [geometry.detector(i) for i in range(geometry.views)]
    return Shot(
        counts=counts,
        toward=np.stack([d for d, _ in ends]),
        along=np.stack([u for _, u in ends]),
        radius_mm=geometry.radius_mm,
        pixel_mm=VOXEL_MM,
        windows=(PHOTOPEAK, SCATTER)[: patient.windows],
        zoom=1.33,
    )


def acquisition(patient: Patient) -> Any:
    """The patient's TOMO or GATED TOMO data set."""
    radii = "rotation" if patient.heads == 1 else "detector"
    return tomo(
        shot(patient), patient.person, heads=patient.heads, radii=radii, swap_heads=patient.swap_heads
    )


def attenuation(patient: Patient) -> Any:
    """The patient's attenuation map in 1/cm as a RECON TOMO data set."""
    return recon(torso(patient.seed).mu.data, VOXEL_MM, patient.person, headwards=patient.map_headwards)


def write_clinic(
    folder: Path, patients: Sequence[Patient] = PATIENTS, spoiled: Patient | None = SPOILED
) -> Path:
    """A folder of a clinic: one folder a patient, named after them, as are the files in it.

    spoiled : one more, whose acquisition lost its end on the way. Among them lie what else such folders hold.
    """
    for patient in [*patients, *([spoiled] if spoiled else [])]:
        who = patient.person
        place = folder / f"{who.family} {who.given} {who.number}"
        path = save(acquisition(patient), place / f"{who.family}_stress_{who.when}.dcm")
        if patient.has_map:
            save(attenuation(patient), place / f"{who.number} mu map of {who.family}.dcm")
        if patient is spoiled:
            path.write_bytes(path.read_bytes()[:-12_000])
    first = patients[0].person
    (folder / f"worklist of {first.when}.txt").write_text(f"{first.name} {first.number} {first.birth}\n")
    return folder
