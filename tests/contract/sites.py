"""Two unpaired sites: no reference anywhere; a method learns from both sites, a cohort analysis compares them."""

import numpy as np

from senmei.core.analysis import Analysis
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study
from senmei.core.volume import Volume


class TwoSites(Study):
    title = "Toy: two unpaired sites"
    groups = {"input": ("input",)}
    conditions = ("site",)

    def participants(self, cohort):
        return [{**p, "site": "AB"[i // 2 % 2]} for i, p in enumerate(super().participants(cohort))]

    def images(self, participant, cohort):
        return [{**i, "site": participant["site"]} for i in super().images(participant, cohort)]

    def simulate(self, images, cohort, seed):
        data = draw_generator(seed).random((8, 8, 8), dtype=np.float32) + 1
        return {
            i["image"]: {"image": Volume(data * (1 if i["site"] == "A" else 3), np.eye(4))} for i in images
        }

    def prepare(self, group, scan, raw, cohort, settings, seed):
        return {"input": raw(scan["image"], "image")}, {}


class MatchMeans(Method):
    title = "Matching of site means"
    family = "learned"
    needs = ("input",)

    def fit(self, train, validation, context):
        mean = {s: np.mean([e["input"].data.mean() for e in train if e.scan["site"] == s]) for s in "AB"}
        return {"factor": np.array([mean["A"] / mean["B"]], np.float32)}

    def load(self, weights, device="cpu"):
        self.factor = weights["factor"][0]

    def apply(self, example):
        return example["input"].like(
            example["input"].data * (self.factor if example.scan["site"] == "B" else 1)
        )


class SiteGap(Analysis):
    scope = "cohort"
    requires = ("input",)
    title = "Gap between sites"
    sentence = "Site means were compared."
    MEASURES = {"site_gap": ("Gap between site means", "1", "lower")}

    def run_cohort(self, pairs, folder):
        mean = {"A": [], "B": []}
        for example, restored in pairs:
            mean[example.scan["site"]].append(float(restored.data.mean()))
        return [{"measure": "site_gap", "value": abs(np.mean(mean["A"]) - np.mean(mean["B"]))}]


CONFIG = {
    "use": "tests.contract.sites:TwoSites",
    "cohorts": {
        "both": {
            "use": "train",
            "source": "simulate",
            "subjects": 16,
            "split": {"train": 0.5, "validation": 0.125, "test": 0.375},
        }
    },
    "methods": {"match": {"use": "tests.contract.sites:MatchMeans"}},
    "analyses": {"gap": {"use": "tests.contract.sites:SiteGap"}},
}
