"""Counts of regions of interest during the first passage of a bolus. Arrays only.

A region over a vessel holds its blood: counts per MBq are sensitivity x volume x concentration, and concentration is
what passes over the flow. Volumes, sensitivities and spill-over are assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from senmei.core.errors import ConfigError
from senmei.physics.bolus import STEP_S, Circulation, Passage

_FIELD_CPS_PER_MBQ = 40.0  # of the whole field of view, through the body; assumed


@dataclass(frozen=True)
class Regions:
    """Two regions, as drawn on a patient; without draws the typical ones (assumed).

    vein_ml, artery_ml : blood of the vessel inside its region. vein_cps, artery_cps : counts/s/MBq of activity in it,
    attenuation by the shoulder and the chest included. lung_spill : counts of the vein's region for activity in the
    lungs, as a share of those for activity in the vein: overlap and scatter. tissue : share of the systemic blood that
    lies above and below the vein.
    """

    vein_ml: float = 4.0
    artery_ml: float = 40.0
    vein_cps: float = 50.0
    artery_cps: float = 25.0
    lung_spill: float = 0.004
    tissue: float = 0.003


def draw_regions(rng: np.random.Generator, spill: float = 1.0) -> Regions:
    """Regions of one patient, log-normal (assumed): volumes vary by 15 and 12 %, what reaches the camera by 5 and 10 %,
    spill-over by 40 %. spill : factor of the typical spill-over and tissue background.
    """
    vein, artery, shoulder, chest, lung, tissue = np.exp(
        rng.normal(size=6) * (0.15, 0.12, 0.05, 0.1, 0.4, 0.4)
    )
    typical = Regions()
    return Regions(
        vein_ml=typical.vein_ml * vein,
        artery_ml=typical.artery_ml * artery,
        vein_cps=typical.vein_cps * shoulder,
        artery_cps=typical.artery_cps * chest,
        lung_spill=typical.lung_spill * lung * spill,
        tissue=typical.tissue * tissue * spill,
    )


def vein_counts(passing: Passage, patient: Circulation, regions: Regions) -> np.ndarray:
    """(bins,) expected counts per MBq of the axillary vein's region, what spills in included, none lost."""
    own = regions.vein_ml * passing.vein / patient.arm_flow  # share x s that is in the region
    spilt = (regions.lung_spill * passing.lungs + regions.tissue * passing.systemic) * STEP_S
    counts: np.ndarray = regions.vein_cps * (own + spilt)
    return counts


def artery_counts(passing: Passage, patient: Circulation, regions: Regions) -> np.ndarray:
    """(bins,) counts per MBq that the pulmonary artery alone gives in its region: nothing spills in, none are lost."""
    return regions.artery_cps * regions.artery_ml * passing.artery / patient.cardiac_output


def field_share(passing: Passage, entered: np.ndarray) -> np.ndarray:
    """(bins,) share of the activity that is in the field of view: injected, and not past the left heart."""
    return np.clip(np.cumsum(entered) - passing.systemic, 0.0, 1.0)


def live_share(share: np.ndarray, mbq: float, dead_time_us: float) -> np.ndarray:
    """(...) share of the counts that a non-paralysable camera shows: 1 / (1 + n τ), n the rate of the whole field.

    share : of the activity in the field. [Sorenson, J Nucl Med 1975;16:284]. Raises ConfigError for a negative time.
    """
    if dead_time_us < 0:
        raise ConfigError(
            "A dead time cannot be negative",
            where=f"dead_time_us: {dead_time_us}",
            why="it is how long a camera is blind after a count",
            fix="give 0 for a camera without, or some microseconds",
        )
    return 1.0 / (1.0 + _FIELD_CPS_PER_MBQ * mbq * share * dead_time_us * 1e-6)
