"""Image -> image: paired, one condition; a method that learns one number."""

import numpy as np

from senmei.core.measure import measure
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study
from senmei.core.volume import Volume


class Shrunk(Study):
    title = "Toy: image to image"
    groups = {"input": ("input",), "truth": ("reference",)}
    conditions = ("dose",)
    primary = ("error",)

    def scans(self, images, cohort, settings):
        return [
            {"scan": f"{i['image']}_acq-dose{d}", **i, "dose": d} for i in images for d in settings["doses"]
        ]

    def simulate(self, images, cohort, seed):
        data = draw_generator(seed).random((12, 12, 8), dtype=np.float32) + 1
        return {row["image"]: {"image": Volume(data, np.eye(4))} for row in images}

    def prepare(self, group, scan, raw, cohort, settings, seed):
        image = raw(scan["image"], "image")
        if group == "truth":
            return {"reference": image}, {"data_range": 2.0}
        return {"input": image.like(image.data * np.float32(scan["dose"] / 100))}, {}


class Rescale(Method):
    title = "Rescaling"
    family = "learned"
    needs = ("input", "reference")
    sentence = "One factor was fitted."

    def fit(self, train, validation, context):
        factors = [float(e["reference"].data.mean() / e["input"].data.mean()) for e in train]
        context.history.append({"step": 1, "loss": float(np.std(factors))})
        return {"factor": np.array([np.mean(factors)], np.float32)}

    def load(self, weights, device="cpu"):
        self.factor = float(weights["factor"][0])

    def apply(self, example):
        return example["input"].like(example["input"].data * np.float32(self.factor))


@measure(requires=("reference",), better="lower", unit="1", title="Mean absolute error")
def error(example, restored):
    """Mean |restored - reference|."""
    return float(np.abs(restored.data - example["reference"].data).mean())


CONFIG = {
    "use": "tests.contract.image:Shrunk",
    "cohorts": {"toys": {"use": "train", "source": "simulate", "subjects": 6}},
    "degradation": {"doses": [50]},
    "methods": {"rescale": {"use": "tests.contract.image:Rescale"}},
    "measures": {"error": {"use": "tests.contract.image:error"}},
}
