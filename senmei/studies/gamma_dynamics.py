"""Dynamic scintigraphy: the pulmonary artery's time-activity curve, estimated from that of the axillary vein."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from senmei.core.cohorts import with_entity
from senmei.core.seeds import draw_generator
from senmei.core.study import Row, Study
from senmei.core.volume import Volume


class GammaDynamics(Study):
    """The study of the time axis. A subject is a simulated patient, an image an injection, a scan a condition of it.

    Curves are Volumes of shape (frames, 1, 1), counts per frame; their first axis is time, and where other volumes have
    mm its step is the frame's seconds. `input` is the noisy curve of a region over the axillary vein, `expected` the
    same without noise, `reference` what the pulmonary artery alone would give without noise, `curve` what is known of
    the acquisition: `frame_s`, `activity_mbq`.
    """

    title = "Pulmonary-artery curve from the axillary vein"
    groups = {"input": ("input", "curve"), "truth": ("reference", "expected")}
    conditions = ("activity_mbq", "frame_s")
    subgroups = ("bolus",)
    primary = ("nmse", "peak_time_error", "peak_height_error", "area_error", "mean_time_error")
    figures = {
        "unit": "the peak of an adult at rest",
        "window": (0.0, 1.0),
        "planes": ("curve",),
    }
    sentences = (
        (
            "Boluses were simulated: injected into an arm vein at once, slowly or in fragments, carried through "
            "vessels with a delay and a gamma-variate spread and through chambers that mix, round the circulation and "
            "back; flows and volumes differ between patients and are assumed. Regions over the axillary vein and the "
            "pulmonary artery count their blood, the vein's with spill-over, background and Poisson noise.",
            (
                "Bassingthwaighte JB, Warner HR, Wood EH. Analog computer analysis of dispersion of indicator in the "
                "circulation. Med Res Eng 1966;5(2):30.",
                "Mischi M, den Boer JA, Korsten HHM. On the physical and stochastic representation of an indicator "
                "dilution curve as a gamma variate. Physiol Meas 2008;29:281-294.",
            ),
        ),
        (
            "Estimated curves were compared with the noise-free curve of the pulmonary artery; the fixed data range of "
            "a scan is the peak that an adult at rest would have with the same activity and frame time.",
            (),
        ),
    )

    def images(self, participant: Row, cohort: Mapping[str, Any]) -> list[Row]:
        """One an injection; the kinds in `boluses` take turns over a patient's injections and over patients."""
        subject, count = participant["subject"], int(cohort["injections"])
        kinds, turn = cohort["boluses"], int(subject.rsplit("-", 1)[-1])
        stems = [f"{subject}_run-{n + 1}" for n in range(count)] if count > 1 else [subject]
        return [
            {"image": stem, "subject": subject, "repeat": n + 1, "bolus": kinds[(turn + n) % len(kinds)]}
            for n, stem in enumerate(stems)
        ]

    def scans(
        self, images: Sequence[Row], cohort: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> list[Row]:
        """Each activity and frame time is a scan: sub-001_acq-740MBq0p5s, ..."""
        axes = [cohort.get(axis) or settings[axis] for axis in ("activities_mbq", "frames_s")]
        rows = []
        for image, (mbq, frame) in product(images, product(*axes)):
            name = f"{mbq:g}MBq{frame:g}s".replace(".", "p").replace("+", "")
            columns = {"activity_mbq": float(mbq), "frame_s": float(frame)}
            rows.append({"scan": with_entity(image["image"], "acq", name), **image, **columns})
        return rows

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Frames that do not fit the acquisition."""
        from senmei.physics.bolus import STEP_S, framed

        bins = np.zeros(round(float(cohort["seconds"]) / STEP_S))
        for frame in cohort.get("frames_s") or settings["frames_s"]:
            framed(bins, float(frame))

    def simulate(
        self, images: Sequence[Row], cohort: Mapping[str, Any], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Curves of one patient's injections in bins, counts per MBq: `vein`, `artery`; `field`, see `field_share`."""
        from senmei.physics import bolus, region_curves

        patient = bolus.draw_circulation(draw_generator(seed, "patient"), float(cohort["extraction"]))
        regions = region_curves.draw_regions(draw_generator(seed, "regions"), float(cohort["spill"]))
        made = {}
        for row in images:
            injection = bolus.draw_injection(draw_generator(seed, "injection", row["image"]), row["bolus"])
            passing = bolus.passage(patient, injection, float(cohort["seconds"]))
            entered = bolus.injected(injection, len(passing.vein))
            curves = {
                "vein": region_curves.vein_counts(passing, patient, regions),
                "artery": region_curves.artery_counts(passing, patient, regions),
                "field": region_curves.field_share(passing, entered),
            }
            facts = {"cardiac_output_l_min": 0.06 * patient.cardiac_output}
            made[row["image"]] = {
                **{k: as_volume(v, bolus.STEP_S) for k, v in curves.items()},
                "columns": facts,
            }
        return made

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of a group; `input`'s counts are drawn from `expected`."""
        from senmei.physics.bolus import framed
        from senmei.physics.region_curves import live_share

        mbq, frame = float(scan["activity_mbq"]), float(scan["frame_s"])
        vein, artery, field = (
            raw(scan["image"], name).data[:, 0, 0].astype(np.float64) for name in ("vein", "artery", "field")
        )
        live = live_share(field, mbq, float(settings["dead_time_us"]))
        background = float(settings["background_cps"]) * frame
        expected = framed(mbq * vein * live, frame) + background
        columns = {"data_range": mbq * typical_peak(frame, float(cohort["seconds"]))}
        if group == "truth":
            reference = framed(mbq * artery, frame)
            return {
                "reference": as_volume(reference, frame),
                "expected": as_volume(expected, frame),
            }, columns
        counts = draw_generator(seed, "counts", scan["scan"]).poisson(expected)
        known = {"frame_s": frame, "activity_mbq": mbq, "frames": len(counts)}
        return {"input": as_volume(counts, frame), "curve": known}, {**columns, "counts": int(counts.sum())}


def as_volume(curve: np.ndarray, step_s: float) -> Volume:
    """A curve (n,) as a Volume (n, 1, 1) float32 whose first axis has steps of seconds."""
    return Volume(curve.astype(np.float32)[:, None, None], np.diag([step_s, 1.0, 1.0, 1.0]))


@cache
def typical_peak(frame_s: float, seconds: float) -> float:
    """Counts per MBq in the highest frame of the pulmonary artery of an adult at rest after a sharp bolus."""
    from senmei.physics.bolus import Circulation, Injection, framed, passage
    from senmei.physics.region_curves import Regions, artery_counts

    patient = Circulation()
    curve = artery_counts(passage(patient, Injection(), seconds), patient, Regions())
    return float(framed(curve, frame_s).max())
