"""Many tiny scans: a cohort of hospital size whose images are of eight voxels, for what the frame itself costs."""

import numpy as np

from senmei.core.measure import measure
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study
from senmei.core.volume import Volume

DOSES = (80, 40, 20, 10)


class Many(Study):
    title = "Toy: many tiny scans"
    groups = {"input": ("input",), "truth": ("reference",)}
    conditions = ("dose",)
    primary = ("error",)

    def scans(self, images, cohort, settings):
        return [
            {"scan": f"{i['image']}_acq-dose{d}", **i, "dose": d} for i in images for d in settings["doses"]
        ]

    def simulate(self, images, cohort, seed):
        data = draw_generator(seed).random((2, 2, 2), dtype=np.float32) + 1
        return {row["image"]: {"image": Volume(data, np.eye(4))} for row in images}

    def prepare(self, group, scan, raw, cohort, settings, seed):
        image = raw(scan["image"], "image")
        if group == "truth":
            return {"reference": image}, {"data_range": 2.0}
        return {"input": image.like(image.data * np.float32(scan["dose"] / 100))}, {}


class Twice(Method):
    title = "Twice"
    family = "classical"

    def apply(self, example):
        return example["input"].like(example["input"].data * np.float32(2))


class Scaled(Method):
    title = "Scaling"
    family = "learned"
    needs = ("input", "reference")

    def fit(self, train, validation, context):
        factors = [float(e["reference"].data.mean() / e["input"].data.mean()) for e in train]
        context.history.append({"step": 1, "loss": float(np.std(factors))})
        return {"factor": np.array([np.mean(factors)], np.float32)}

    def load(self, weights, device="cpu"):
        self.factor = weights["factor"][0]

    def apply(self, example):
        return example["input"].like(example["input"].data * self.factor)


@measure(requires=("reference",), better="lower", unit="1", title="Mean absolute error")
def error(example, restored):
    """Mean |restored - reference|."""
    return float(np.abs(restored.data - example["reference"].data).mean())


@measure(requires=("reference",), better="zero", unit="1", title="Bias")
def bias(example, restored):
    """Mean of restored - reference."""
    return float((restored.data - example["reference"].data).mean())


CONFIG = {
    "use": "tests.contract.many:Many",
    "shards": 2,
    "cohorts": {
        "learn": {"use": "train", "source": "simulate", "subjects": 6},
        "many": {"use": "test", "source": "simulate", "subjects": 20},
    },
    "degradation": {"doses": list(DOSES)},
    "methods": {
        "twice": {"use": "tests.contract.many:Twice"},
        "scaled": {"use": "tests.contract.many:Scaled"},
    },
    "measures": {
        "error": {"use": "tests.contract.many:error"},
        "bias": {"use": "tests.contract.many:bias"},
    },
}
