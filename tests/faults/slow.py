"""A study that takes its time at every stage and writes every kind of file: images, arrays, checkpoints, drawings."""

import time

import numpy as np

from senmei.core.analysis import Analysis
from tests.contract.image import CONFIG as IMAGE
from tests.contract.image import Rescale, Shrunk

PAUSE = 0.1  # seconds a scan and stage


class Unhurried(Shrunk):
    title = "Toy: unhurried"
    groups = {"input": ("input", "spectrum"), "truth": ("reference", "facts")}

    def simulate(self, images, cohort, seed):
        time.sleep(PAUSE)
        return super().simulate(images, cohort, seed)

    def prepare(self, group, scan, raw, cohort, settings, seed):
        time.sleep(PAUSE)
        roles, columns = super().prepare(group, scan, raw, cohort, settings, seed)
        if group == "truth":
            return {**roles, "facts": {"mean": float(roles["reference"].data.mean())}}, columns
        return {**roles, "spectrum": np.fft.fftn(roles["input"].data).astype(np.complex64)}, columns


class Leisurely(Rescale):
    """The rescaling of the toy, a scan at a time."""

    title = "Unhurried rescaling"

    def apply(self, example):
        time.sleep(PAUSE)
        return super().apply(example)


class Brightest(Analysis):
    scope = "scan"
    requires = ("reference",)
    title = "Brightest voxel"
    sentence = "The brightest voxel was found."
    MEASURES = {"brightest": ("Brightest voxel", "1", "higher")}

    def run(self, example, restored):
        time.sleep(PAUSE)
        return {"brightest": float(restored.data.max())}

    def files(self, example, restored):
        return {"twice": restored.like(restored.data * np.float32(2))}


CONFIG = {
    **IMAGE,
    "use": "tests.faults.slow:Unhurried",
    "cohorts": {"toys": {"use": "train", "source": "simulate", "subjects": 8}},
    "degradation": {"doses": [25, 50]},
    "methods": {
        "rescale": {"use": "tests.faults.slow:Leisurely"},
        "trained": {"use": "tests.faults.trained:Trained"},
    },
    "analyses": {"brightest": {"use": "tests.faults.slow:Brightest"}},
}
