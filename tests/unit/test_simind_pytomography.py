"""SIMIND's files as PyTomography reads them: projected by it, the patient looks as in what Senmei's door gives.

PyTomography reads and writes files of real SIMIND runs; it knows nothing of Senmei. It is no part of the environment:
see test_dicom_nm_pytomography.py for how to install it; the double's files stand for SIMIND's.
"""

from __future__ import annotations

import numpy as np
import pytest

from senmei.engines.simind import Settings, check_simind, run_simind, write_inputs
from tests.simind.installation import make_installation
from tests.unit.test_simind_orientation import acquisition, correlation, patient

pytest.importorskip(
    "pytomography", reason="PyTomography is a peer, installed by hand in an environment of its own"
)


@pytest.mark.parametrize("direction", ["ccw", "cw"])
@pytest.mark.parametrize("version", ["7.0.3", "8.0"])
def test_pytomography_understands_the_same_files_the_same_way(tmp_path, direction, version):
    import torch
    from pytomography.io.SPECT import simind
    from pytomography.projectors.SPECT import SPECTSystemMatrix
    from pytomography.transforms.SPECT import SPECTAttenuationTransform, SPECTPSFTransform

    environment = make_installation(tmp_path / "simind", version)
    geometry = acquisition(direction)
    activity, mu = patient()
    inputs = write_inputs(tmp_path / "work", activity, mu, geometry.to_dict(), Settings(histories=1e9))
    run = run_simind(inputs, check_simind(environment={**environment, "SIMIND_VERSION": version}), seed=1)

    header = str(tmp_path / "work" / "out_tot_w1.h00")
    grid, views = simind.get_metadata(header)
    read = (
        simind.get_projections(header).numpy() - simind.get_projections(header.replace("tot", "sca")).numpy()
    )
    blur = SPECTPSFTransform(simind.get_psfmeta_from_header(header))
    maps = [
        torch.tensor(v.data[::-1, ::-1].copy()) for v in (activity, mu)
    ]  # its x to the left, y to the back
    system = SPECTSystemMatrix([SPECTAttenuationTransform(maps[1]), blur], [], grid, views)
    expected = system.forward(maps[0]).squeeze().numpy()  # (view, r, z)
    assert correlation(read, expected) > 0.99
    for other in (read[:, ::-1], read[:, :, ::-1], read[::-1]):
        assert correlation(other, expected) < 0.9
    # and what Senmei gives is the same array: r towards the left, views as SIMIND visited them
    ours = run.primary.transpose(2, 0, 1)[:, ::-1]
    np.testing.assert_allclose(ours[::-1] if direction == "ccw" else ours, read, atol=1e-4)
    assert views.radii[0] == pytest.approx(22.0)
