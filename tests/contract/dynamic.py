"""4D: a time series is one scan; learning against another noisy realisation (no reference), judged with one."""

import numpy as np

from senmei.core.measure import measure
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study
from senmei.core.volume import Volume


class Series(Study):
    title = "Toy: 4D"
    groups = {"input": ("input",), "repeat": ("repeat",), "truth": ("reference",)}
    conditions = ()
    primary = ("error",)

    def simulate(self, images, cohort, seed):
        data = draw_generator(seed).random((6, 6, 6, 1), dtype=np.float32).repeat(10, axis=3)
        return {row["image"]: {"image": Volume(data, np.eye(4))} for row in images}

    def prepare(self, group, scan, raw, cohort, settings, seed):
        image = raw(scan["image"], "image")
        if group == "truth":
            return {"reference": image}, {}
        noise = draw_generator(seed, group, scan["scan"]).normal(0, 0.3, image.shape).astype(np.float32)
        return {group: image.like(image.data + noise)}, {}


class Averaging(Method):
    """Moving average over time; its width is tuned against the noisy repeat."""

    title = "Moving average"
    tunes_on = ("input", "repeat")

    def fit(self, train, validation, context):
        assert all("reference" not in e for e in (*train, *validation)), "the truth is within reach"

        def loss(w):
            return np.mean([np.mean((_mean(e["input"].data, w) - e["repeat"].data) ** 2) for e in validation])

        return {"width": np.array([min((1, 3, 5, 9), key=loss)], np.float32)}

    def load(self, weights, device="cpu"):
        self.width = int(weights["width"][0])

    def apply(self, example):
        return example["input"].like(_mean(example["input"].data, self.width))


def _mean(data, width):
    padded = np.pad(data, [(0, 0)] * 3 + [(width // 2, width // 2)], mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=3).mean(-1).astype(np.float32)


@measure(requires=("reference",), better="lower", unit="1", title="Mean squared error")
def error(example, restored):
    """Mean squared error over space and time."""
    return float(((restored.data - example["reference"].data) ** 2).mean())


CONFIG = {
    "use": "tests.contract.dynamic:Series",
    "cohorts": {"toys": {"use": "train", "source": "simulate", "subjects": 5}},
    "methods": {"average": {"use": "tests.contract.dynamic:Averaging"}},
    "measures": {"error": {"use": "tests.contract.dynamic:error"}},
}
