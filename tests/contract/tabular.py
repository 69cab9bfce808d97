"""Table -> outcome: no image anywhere; a prediction is a small dictionary, in the same shards and tables."""

import numpy as np

from senmei.core.measure import measure
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study


class Outcome(Study):
    title = "Toy: table to outcome"
    groups = {"features": ("features",), "truth": ("outcome",)}
    conditions = ()
    primary = ("error",)

    def simulate(self, images, cohort, seed):
        x = float(draw_generator(seed).normal())
        return {row["image"]: {"record": {"age": x, "outcome": 2 * x + 1}} for row in images}

    def prepare(self, group, scan, raw, cohort, settings, seed):
        record = raw(scan["image"], "record")
        return (
            {"features": {"age": record["age"]}}
            if group == "features"
            else {"outcome": {"value": record["outcome"]}}
        ), {}


class BaseRate(Method):
    title = "Mean outcome"
    family = "none"
    inputs = ("features",)
    needs = ("features", "outcome")

    def fit(self, train, validation, context):
        return {"line": np.array([0, np.mean([e["outcome"]["value"] for e in train])], np.float32)}

    def load(self, weights, device="cpu"):
        self.line = weights["line"]

    def apply(self, example):
        return {"value": float(self.line[0] * example["features"]["age"] + self.line[1])}


class Line(BaseRate):
    title = "Straight line"
    family = "learned"

    def fit(self, train, validation, context):
        x, y = zip(*((e["features"]["age"], e["outcome"]["value"]) for e in train), strict=True)
        return {"line": np.polyfit(x, y, 1).astype(np.float32)}


@measure(requires=("outcome",), better="lower", unit="1", title="Absolute error")
def error(example, restored):
    """|predicted - observed|."""
    return abs(restored["value"] - example["outcome"]["value"])


CONFIG = {
    "use": "tests.contract.tabular:Outcome",
    "cohorts": {"patients": {"use": "train", "source": "simulate", "subjects": 10}},
    "methods": {
        "input": {"use": "tests.contract.tabular:BaseRate"},
        "line": {"use": "tests.contract.tabular:Line"},
    },
    "measures": {"error": {"use": "tests.contract.tabular:error"}},
}
