"""One simulation: inputs written to a folder, SIMIND run there, its outputs checked and read in Senmei's frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from senmei.core.errors import EngineError
from senmei.engines.simind.command import check_name, command, seed_number, switches
from senmei.engines.simind.inputs import NAME, Inputs
from senmei.engines.simind.installation import Installation
from senmei.engines.simind.maps import multiplier
from senmei.engines.simind.orientation import from_projections
from senmei.engines.simind.outputs import Header, expected_files, leftovers, read_protocol, read_window, same
from senmei.engines.simind.plausible import check_orientation
from senmei.engines.simind.process import refuse_outputs, run_process
from senmei.engines.simind.runs import SimindRun, WindowCounts


def run_simind(
    inputs: Inputs,
    installation: Installation,
    *,
    seed: int,
    output: str = "out",
    histories: float | None = None,
    minutes: float | None = None,
) -> SimindRun:
    """Run SIMIND once on what `write_inputs` wrote.

    seed : any whole number; /RR is derived from it. output : base name of its files. histories, minutes : of this run
    instead of the settings'; histories are met to about a percent, and the run tells what they were. What an earlier
    run left under this name is deleted first; stdout.log, stderr.log and SIMIND's own files stay in the folder.
    Returns counts per second and MBq.

    Raises EngineError for every kind of failure: see `senmei.engines.simind.process`; and where the outputs are not
    those of these inputs.
    """
    settings, folder = inputs.settings, inputs.folder
    histories = settings.histories if histories is None else float(histories)
    check_name(output)
    for path in leftovers(folder, output):
        path.unlink()
    number = seed_number(seed)
    times = multiplier(inputs.maps, histories)
    options = switches(
        pixel_cm=inputs.maps.voxel_mm / 10,
        multiplier=times,
        seed=number,
        isotope=settings.isotope,
        collimator=inputs.collimator,
        maps=inputs.bases,
        windows=NAME,
        scatter_orders=settings.scatter_orders,
        release=installation.release,
    )
    words = command(installation.binary, NAME, output, options, inputs.orbit)
    limit = settings.minutes if minutes is None else minutes
    seconds = run_process(words, folder, installation.environment(), limit)
    refuse_outputs(folder, _sizes(inputs, output))
    facts = {"seconds": round(seconds, 1), "options": options}
    return read_run(inputs, output, seed=number, histories=times * inputs.maps.histories, facts=facts)


def read_run(
    inputs: Inputs, output: str, *, seed: int, histories: float, facts: Mapping[str, Any] | None = None
) -> SimindRun:
    """The run whose files lie in the inputs' folder. Raises EngineError where they are not of these inputs."""
    where = f"SIMIND in {inputs.folder.name}"
    protocol = read_protocol(inputs.folder / f"{output}.res")
    windows = []
    release: tuple[int, ...] = protocol.version
    for n, levels in enumerate(inputs.windows, start=1):
        header, parts = read_window(inputs.folder, output, n, where=where)
        _refuse_other(header, inputs, levels, f"{where}: window {n}")
        arrays = [from_projections(parts[p], inputs.turn).copy() for p in ("tot", "sca", "pri")]
        windows.append(WindowCounts(*levels, *arrays))
        release = release or header.version
    if not float(windows[0].total.sum()) > 0:
        raise _other(where, "the photopeak window holds no counts: the isotope or its window may be wrong")
    fit = check_orientation(windows[0].total, inputs.patient, inputs.acquisition, inputs.turn, where=where)
    told = {
        "simulation": inputs.key,
        "release": ".".join(map(str, release)),
        "photons_per_view": protocol.photons_per_view,
        "cps_per_mbq": protocol.cps_per_mbq.get(1),
        "random_numbers": protocol.random,
        "fit": round(fit, 3),
        **(facts or {}),
    }
    return SimindRun(tuple(windows), float(histories), (seed,), told)


def _sizes(inputs: Inputs, output: str) -> dict[str, int | None]:
    views, rows, columns = inputs.shape
    size = 4 * views * rows * columns
    names = expected_files(output, len(inputs.windows))
    return {name: size if name.endswith(".a00") else None for name in names}


def _refuse_other(header: Header, inputs: Inputs, levels: tuple[float, float], where: str) -> None:
    """Raise EngineError where a header tells of another simulation than was asked for."""
    pixel = inputs.pixel_mm
    if header.shape != inputs.shape:
        raise _other(where, f"its projections are {header.shape}, not {inputs.shape} (views, rows, columns)")
    if not same(header.pixel_mm, (pixel, pixel), 0.002 * pixel):
        raise _other(where, f"its pixels are {header.pixel_mm} mm, not {pixel:g}")
    if not same(header.window_kev, levels, 0.02):
        raise _other(where, f"its energy window is {header.window_kev} keV, not {levels}")
    if header.direction != "CCW" or abs(header.arc_deg - inputs.turn.arc_deg) > 1:
        raise _other(where, f"it turned {header.arc_deg:g} degrees {header.direction}")
    # either sign: how releases write it is not known, and where the camera was is seen by check_orientation
    off = [abs((header.start_deg - sign * inputs.turn.start_deg + 180) % 360 - 180) for sign in (1, -1)]
    if min(off) > 0.1:
        raise _other(where, f"it began at {header.start_deg:g} degrees, not {inputs.turn.start_deg:g}")
    if inputs.orbit is None and header.radius_mm is not None and abs(header.radius_mm - inputs.radius_mm) > 1:
        raise _other(where, f"its radius is {header.radius_mm:g} mm, not {inputs.radius_mm:g}")
    if header.collimator and header.collimator != inputs.collimator:
        raise _other(where, f"its collimator is {header.collimator}, not {inputs.collimator}")


def _other(where: str, why: str) -> EngineError:
    return EngineError(
        "SIMIND simulated something else than it was asked for",
        where=where,
        why=why,
        fix="check that SIMIND, SMC_DIR and SIMIND_VERSION are of one release; look at its protocol (.res)",
    )
