"""Many tiny scans: a cohort of hospital size whose images are of eight voxels, for what the frame itself costs."""

import json

import numpy as np

from senmei.core.measure import measure
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study
from senmei.core.volume import Volume
from senmei.io.tables import write_tsv
from senmei.stages.cohort import simulated_rows, tabulate, write_cohort

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


def configured(subjects, shards):
    """CONFIG for so many subjects, each with a scan a dose."""
    cohorts = {**CONFIG["cohorts"], "many": {**CONFIG["cohorts"]["many"], "subjects": subjects}}
    return {**CONFIG, "shards": shards, "cohorts": cohorts}


def write_tables(folder, subjects, shards, methods=6, measures=8):
    """The tables of a finished study, as collect and report find them, with numbers drawn and no image behind them.

    Returns the arguments `results`, `stages`, `cards` and `measures` of `senmei.stages.collect.collect_study`.
    """
    study, cohort = Many(), configured(subjects, shards)["cohorts"]["many"]
    settings = {"doses": list(DOSES)}
    participants, images = simulated_rows(study, {**cohort, "species": "human"})
    write_cohort(
        folder / "cohorts" / "many", study, "many", participants, images, [], cohort, settings, shards,
        {"synthetic": True, "case": "phantom", "note": "Drawn."},
    )  # fmt: skip
    by_shard = {}
    for row in tabulate(study, participants, images, "many", cohort, settings, shards):
        by_shard.setdefault(row["shard"], []).append(row)
    draw, results, stages, cards = draw_generator(1), [], [folder / "cohorts" / "many" / "status.tsv"], []
    for n in range(methods):
        name = f"m{n}" if n else "input"
        family = "none" if n == 0 else "classical" if n < methods / 2 else "learned"
        cards.append(folder / "models" / name / "card.json")
        cards[-1].parent.mkdir(parents=True)
        cards[-1].write_text(
            json.dumps({"method": name, "family": family, "title": name.upper(), "oracle": False})
        )
        for shard, rows in by_shard.items():
            facts = [{k: row[k] for k in ("scan", "subject", "split")} | {"status": "ok"} for row in rows]
            stages.append(folder / "restored" / "many" / name / f"{shard}.tsv")
            write_tsv(stages[-1], [{**f, "role": "restored", "path": "x.nii.gz"} for f in facts])
            results.append(folder / "measured" / "many" / name / f"{shard}.tsv")
            names = (["error", "bias"] + [f"number_{k}" for k in range(measures)])[:measures]
            values = [{**f, "measure": k, "value": float(draw.normal(30, 3))} for f in facts for k in names]
            write_tsv(results[-1], [{**value, "error": None} for value in values])
    return [*map(str, results)], [*map(str, stages)], [*map(str, cards)], CONFIG["measures"]
