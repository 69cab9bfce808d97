"""What we write, as PyTomography reads it: the same counts, angles, radii, and the same place in the patient.

PyTomography is no part of the environment (it brings its own pins): `python -m venv peers`, `peers/bin/pip install
-c constraints.txt pytomography==3.4.0 pytest`, and `PYTHONPATH=. peers/bin/python -m pytest` of this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "pytomography", reason="PyTomography is a peer, installed by hand in an environment of its own"
)

from senmei.io.dicom_nm_write import projections_to_dicom, reconstruction_to_dicom, save_dicom
from senmei.io.projections import EnergyWindow, Projections
from senmei.physics.spect.geometry import orbit
from senmei.physics.spect.projector import Projector

N, SLICES, MM = 20, 20, 6.0  # its origin takes detectors to be square
SPOTS = {(5, 13, 14): 20000.0, (12, 16, 5): 12000.0}  # left, in front, high; right, in front, low
WINDOWS = (EnergyWindow("photopeak", 126.45, 154.55), EnergyWindow("lower scatter", 108.0, 122.0))


def acquired(direction: str, arc: float, start: float, windows: int = 1, gates: int = 1) -> Projections:
    """Projections of the spots, rounded; other windows and gates hold other multiples of them."""
    image = np.zeros((N, N, SLICES), np.float32)
    for at, value in SPOTS.items():
        image[at] = value
    radii = [150.0 + 2 * i for i in range(24)]
    made = orbit((N, N, SLICES), MM, 24, arc, start, radii, direction)
    counts = Projector(made, psf=False).forward(image).numpy()
    scale = 1 / (1 + np.arange(windows * gates).reshape(windows, gates, 1, 1, 1))
    stack = np.rint(counts * scale).astype(np.int32)
    return Projections(
        stack,
        WINDOWS[:windows],
        MM,
        made.angles_deg,
        direction,
        made.radius_mm,
        "Tc-99m",
        "sestamibi",
        "LEHR",
        20.0,
    )


def written(folder: Path, made: Projections) -> str:
    save_dicom(folder / "a.dcm", projections_to_dicom(made, subject="sub-1", identity="0123456789abcdef"))
    return str(folder / "a.dcm")


ORBITS = [("ccw", 180.0, -45.0), ("cw", 180.0, -135.0), ("cw", 360.0, 10.0)]


@pytest.mark.parametrize(("direction", "arc", "start"), ORBITS)
@pytest.mark.parametrize(("windows", "gates"), [(1, 1), (2, 1), (1, 4), (2, 3)])
def test_counts_angles_and_radii_are_those_written(
    direction: str, arc: float, start: float, windows: int, gates: int, tmp_path: Path
) -> None:
    from pytomography.io.SPECT import dicom

    made = acquired(direction, arc, start, windows, gates)
    path = written(tmp_path, made)
    found = dicom.get_projections(path).cpu().numpy().reshape(windows, gates, 24, N, SLICES)
    _, meta = dicom.get_metadata(path)
    # Its angles: DICOM's less 180, so 0 in front and growing towards the right; its columns are the frame's.
    expected = (-made.sense * np.array(made.angles_deg)) % 360
    order = np.argsort(expected)
    np.testing.assert_allclose(meta.angles.cpu().numpy(), expected[order], atol=1e-4)
    np.testing.assert_allclose(meta.radii, np.array(made.radius_mm)[order] / 10, rtol=1e-9)
    mirrored = made.counts[:, :, ::-1].transpose(0, 1, 4, 2, 3)[:, :, order]
    np.testing.assert_array_equal(found, mirrored)
    assert found.sum() == made.counts.sum()


@pytest.mark.parametrize(("direction", "arc", "start"), ORBITS)
def test_it_reconstructs_the_object_at_its_place(
    direction: str, arc: float, start: float, tmp_path: Path
) -> None:
    """PyTomography's axes are DICOM's: x to the patient's left, y to the back, z to the head."""
    from pytomography.algorithms import OSEM
    from pytomography.io.SPECT import dicom
    from pytomography.likelihoods import PoissonLogLikelihood
    from pytomography.projectors.SPECT import SPECTSystemMatrix

    path = written(tmp_path, acquired(direction, arc, start))
    image, meta = dicom.get_metadata(path)
    matrix = SPECTSystemMatrix([], [], image, meta)
    found = (
        OSEM(PoissonLogLikelihood(matrix, dicom.get_projections(path)))(n_iters=3, n_subsets=4).cpu().numpy()
    )
    world = image.affine_matrix
    for x, y, z in SPOTS:
        at = tuple(int(i) for i in np.unravel_index(found.argmax(), found.shape))
        assert at == (N - 1 - x, N - 1 - y, z)
        place = world @ (*at, 1)  # mm, LPS, about the axis of rotation
        np.testing.assert_allclose(place[:3], ((9.5 - x) * MM, (9.5 - y) * MM, (z - 9.5) * MM), atol=1e-6)
        found[max(0, at[0] - 3) : at[0] + 4, max(0, at[1] - 3) : at[1] + 4, at[2]] = 0


def test_a_map_written_as_a_reconstruction_is_where_it_takes_it(tmp_path: Path) -> None:
    from pytomography.io.SPECT import dicom

    from senmei.core.volume import Volume

    values = np.random.default_rng(1).uniform(0, 0.2, (N, N, SLICES)).astype(np.float32)
    affine = np.diag([MM, MM, MM, 1.0])
    affine[:3, 3] = -(np.array([N, N, SLICES]) - 1) / 2 * MM
    data = reconstruction_to_dicom(Volume(values, affine), subject="sub-1", identity="0123456789abcdef")
    save_dicom(tmp_path / "map.dcm", data)
    slope = float(data.RealWorldValueMappingSequence[0].RealWorldValueSlope)  # it knows rescale slopes only
    found = dicom.get_attenuation_map_from_file(str(tmp_path / "map.dcm")).cpu().numpy() * slope
    np.testing.assert_allclose(found[::-1, ::-1], values, atol=slope)
