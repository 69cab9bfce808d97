"""Planar super-resolution at the report's scores: calibration, held-out figures, count errors, training throughput.

    python benchmarks/gamma.py [calibration] [headline] [counts] [throughput] [--folder FOLDER] [--seeds 1]

All embedded sources but the template, which the drawn heads descend from: 20 photographs, 10 torsos, 10 heads, in five
folds of 8, split by source. The acquisition time of a fold is chosen on its 32 other sources, so that the count-matched
input scores what the report's did; methods are fitted on 28 of them and tuned on 4. What was fitted is kept in the
folder and not fitted again; each part replaces its own in results/gamma.json. A quarter of an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
OUT = ROOT / "benchmarks" / "results" / "gamma.json"
FOLDS, SEED = 5, 6
THEIRS = {"psnr": 12.67, "ssim": 0.316}  # the report's input against its teacher
WITHIN = {"psnr": 1.0, "ssim": 0.05}
COUNT_TIMES = (10.0, 60.0, 600.0)
TIMES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 20.0, 60.0, 600.0)  # s, of the table
MEASURES = ("psnr", "ssim", "count_bias", "roi_count_error")
COHORT = {"teachers": ["photographs", "torsos", "heads"], "subjects": None, "slices": 3}
EVERY = {"examples": 100}  # all validation scans
CLASSICAL: dict[str, dict[str, Any]] = {
    "bicubic": {"use": "bicubic"},
    **{
        f"{name}{mark}": {"use": use, **EVERY, "criterion": criterion}
        for name, use in {
            "gaussian": "gaussian_planar", "butterworth": "butterworth_planar", "richardson_lucy": "richardson_lucy",
        }.items()
        for mark, criterion in {"": "psnr", "_ssim": "ssim"}.items()
    },
    **{f"dictionary_{n}": {"use": "dictionary_planar", "atoms": n} for n in (64, 128, 256)},
}  # fmt: skip


def settings(cohort: dict[str, Any]) -> dict[str, Any]:
    """The study as the demo has it, but for keys of its cohort."""
    from senmei.core.configuration import load_yaml, merge, resolve

    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "demo", "device": "cpu"})
    config["studies"] = {"gamma_sr": {"cohorts": {"sheets": cohort}}}
    return resolve(config, ROOT)["studies"]["gamma_sr"]


class Bench:
    """The sources, printed once, and their scans at any time."""

    def __init__(self, folder: Path, shipped: bool = False) -> None:
        from senmei.studies.gamma_sr import GammaSR

        self.study, self.settings, self.folder = GammaSR(), settings({} if shipped else COHORT), folder
        self.cohort = self.settings["cohorts"]["sheets"]
        self.sources = self.study.participants(self.cohort)
        self.sheets: dict[str, Any] = {}
        for source in self.sources:
            images = self.study.images(source, self.cohort)
            self.sheets[source["subject"]] = (images, self.study.simulate(images, self.cohort, SEED))

    def fold(self, k: int) -> dict[str, list[str]]:
        """Sources of train, validation and test; every family in each."""
        split: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        rng = np.random.default_rng(SEED)
        for family in self.cohort["teachers"]:
            names = [s["subject"] for s in self.sources if s["family"] == family]
            names = [names[i] for i in rng.permutation(len(names))]
            parts = [names[j::FOLDS] for j in range(FOLDS)]
            split["test"] += parts[k]
            after = parts[(k + 1) % FOLDS]
            split["validation"] += after[: len(after) // 2]
            split["train"] += [n for n in names if n not in split["test"] + split["validation"]]
        return split

    def scans(self, subjects: list[str], time_s: float) -> list[Any]:
        """Examples of some sources at a time, sources taking turns, the first slice of each first."""
        from senmei.core.example import Example
        from senmei.core.seeds import derive_seed

        found = []
        degradation = {**self.settings["degradation"], "times_s": [time_s]}
        for subject in subjects:
            images, raw = self.sheets[subject]
            for number, row in enumerate(self.study.scans(images, self.cohort, degradation)):
                roles: dict[str, Any] = {}
                for group in ("input", "truth"):
                    made, columns = self.study.prepare(
                        group, row, partial(_raw, raw), self.cohort, degradation,
                        derive_seed(SEED, row["image"]),
                    )  # fmt: skip
                    roles, row = {**roles, **made}, {**row, **columns}
                found.append((number, Example(row, roles)))
        return [example for _, example in sorted(found, key=lambda pair: pair[0])]


def _raw(sheets: dict[str, Any], image: str, role: str) -> Any:
    return sheets[image][role]


def judge(example: Any, restored: Any) -> dict[str, float]:
    """The study's measures of an image."""
    from senmei import measures

    return {name: measures.MEASURES.get(name)(example, restored) for name in MEASURES}


def over_sources(rows: list[tuple[str, dict[str, float]]]) -> dict[str, float]:
    """Means over sources of the means over a source's scans."""
    names: dict[str, list[dict[str, float]]] = {}
    for subject, row in rows:
        names.setdefault(subject, []).append(row)
    return {m: float(np.mean([np.mean([r[m] for r in part]) for part in names.values()])) for m in rows[0][1]}


def input_scores(bench: Bench, subjects: list[str], time_s: float) -> dict[str, float]:
    """PSNR and SSIM of the input against the teacher, means over sources, at an acquisition time."""
    from senmei import measures

    rows = [
        (e.scan["subject"], {m: measures.MEASURES.get(m)(e, e["input"]) for m in THEIRS})
        for e in bench.scans(subjects, time_s)
    ]
    return over_sources(rows)


def operating_point(bench: Bench, subjects: list[str]) -> tuple[float, dict[str, float]]:
    """The time, s, at which the input is nearest to the report's scores, each in units of what may be missed.

    Bounded search on the logarithm of the time; noise is the same at every call of one time. Kept in the folder.
    """
    from scipy import optimize

    from senmei.core.seeds import short_hash

    degradation = sorted(bench.settings["degradation"].items(), key=str)
    kept = bench.folder / f"point-{short_hash(sorted(subjects), degradation)}.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        return known["time_s"], known["scores"]

    def miss(logarithm: float) -> float:
        found = input_scores(bench, subjects, round(float(np.exp(logarithm)), 3))
        return sum(((found[m] - THEIRS[m]) / WITHIN[m]) ** 2 for m in THEIRS)

    best = optimize.minimize_scalar(
        miss, bounds=(np.log(0.5), np.log(20.0)), method="bounded", options={"xatol": 0.02, "maxiter": 12}
    )
    chosen = float(f"{np.exp(best.x):.2g}")
    scores = input_scores(bench, subjects, chosen)
    kept.write_text(json.dumps({"time_s": chosen, "scores": scores}))
    return chosen, scores


def rows_of(
    bench: Bench, k: int, name: str, spec: dict[str, Any], times: tuple[float, ...], seed: int = 0
) -> dict[str, Any]:
    """Measures of a method fitted on a fold's scans at some times: of each validation and test scan.

    Kept in the folder, and the weights: `keep_counts` and `flips` do not change what was fitted.
    """
    from senmei.core.method import FitContext
    from senmei.core.seeds import derive_seed, short_hash
    from senmei.methods import METHODS

    fixed = {o: v for o, v in spec.items() if o not in ("keep_counts", "flips")}
    degradation = sorted(bench.settings["degradation"].items(), key=str)
    key, fitted = (short_hash(sorted(o.items()), degradation, times, seed) for o in (spec, fixed))
    kept, weights = bench.folder / f"fold{k}-{key}.json", bench.folder / f"fold{k}-{fitted}.npz"
    if kept.exists():
        return json.loads(kept.read_text())
    split = {s: [e for t in times for e in bench.scans(names, t)] for s, names in bench.fold(k).items()}
    found: dict[str, Any] = {"train_s": None}
    if name != "input":
        method = METHODS.get(spec["use"])(**{o: v for o, v in spec.items() if o != "use"})
        if not weights.exists():
            context = FitContext(
                seed=derive_seed(SEED, k, seed),
                log=lambda line: print(f"fold {k}, {name}: {line}", flush=True),
            )
            begun = time.process_time()
            made = method.fit(split["train"], split["validation"], context)
            found["train_s"] = time.process_time() - begun
            np.savez(weights, **made)
        with np.load(weights) as file:
            method.load(dict(file))
    for part in ("validation", "test"):
        found[part] = [
            {
                "subject": e.scan["subject"], "family": e.scan["family"], "scan": e.scan["image"],
                "time_s": e.scan["time_s"], **judge(e, e["input"] if name == "input" else method.apply(e)),
            }
            for e in split[part]
        ]  # fmt: skip
    kept.write_text(json.dumps(found))
    return found


def mean_of(rows: list[dict[str, Any]], measure: str) -> float:
    """Mean over sources."""
    return over_sources([(r["subject"], {measure: r[measure]}) for r in rows])[measure]


def calibration(bench: Bench) -> dict[str, Any]:
    """The operating point of each fold, what its test sources score there, the same of the demo, and the time axis."""
    from senmei.core.configuration import load_yaml
    from senmei.stages.plan import Plan

    family = {s["subject"]: s["family"] for s in bench.sources}
    folds = []
    for k in range(FOLDS):
        split = bench.fold(k)
        time_s, chosen = operating_point(bench, split["train"] + split["validation"])
        folds.append(
            {
                "fold": k,
                "time_s": time_s,
                **_marked(chosen, split, input_scores(bench, split["test"], time_s)),
            }
        )
    demo = Bench(bench.folder, shipped=True)
    config = {"run": "x", "seed": load_yaml(ROOT / "config" / "config.yaml")["seed"], "strict": False}
    rows = Plan({**config, "studies": {"gamma_sr": demo.settings}}, bench.folder)["gamma_sr"].rows("sheets")
    split = {
        s: list(dict.fromkeys(r["subject"] for r in rows if r["split"] == s))
        for s in ("train", "validation", "test")
    }
    time_s, chosen = operating_point(demo, split["train"] + split["validation"])
    shipped = demo.settings["degradation"]["times_s"][0]
    per_ten = 25.0 / 600.0  # counts a second in a 0.67 mm pixel of full ink, as the report states them
    return {
        "calibration_of_folds": folds,
        "calibration_of_the_demo": [
            {"time_s": t, **_marked(s, split, input_scores(demo, split["test"], t))}
            for t, s in (
                (time_s, chosen), (shipped, input_scores(demo, split["train"] + split["validation"], shipped))
            )
        ],
        "time_axis": [
            {
                "time_s": t, "counts_0.67_mm": per_ten * t, "counts_reference_1.35_mm": 4 * per_ten * t,
                "counts_input_5.39_mm": 64 * per_ten * t, **input_scores(bench, list(family), t),
                **{
                    f"{m}_{f}": input_scores(bench, [s for s in family if family[s] == f], t)[m]
                    for f in bench.cohort["teachers"] for m in THEIRS
                },
            }
            for t in TIMES
        ],
        "wanted": {**THEIRS, "within": WITHIN},
    }  # fmt: skip


def _marked(
    chosen: dict[str, float], split: dict[str, list[str]], held_out: dict[str, float]
) -> dict[str, Any]:
    there = {f"{m}_chosen_on": v for m, v in chosen.items()} | {f"{m}_test": v for m, v in held_out.items()}
    return {
        "n_chosen_on": len(split["train"]) + len(split["validation"]),
        "n_test": len(split["test"]),
        **there,
    }


def headline(bench: Bench, seeds: int) -> dict[str, Any]:
    """Every source once a test source, at the time of its fold; differences are paired over sources."""
    from senmei.core.statistics import bootstrap_ci, paired_difference

    times = [operating_point(bench, f["train"] + f["validation"])[0] for f in map(bench.fold, range(FOLDS))]
    network = {"use": "srresnet", **bench.settings["methods"]["srresnet"]}
    specs = {"input": {"use": "input"}, **CLASSICAL, **{f"srresnet_{seed}": network for seed in range(seeds)}}
    seed_of = {f"srresnet_{seed}": seed for seed in range(seeds)}
    found = {
        name: [rows_of(bench, k, name, spec, (times[k],), seed_of.get(name, 0)) for k in range(FOLDS)]
        for name, spec in specs.items()
    }
    test = {name: [row for fold in folds for row in fold["test"]] for name, folds in found.items()}

    def best(names: list[str], k: int, measure: str) -> str:
        scores = {name: mean_of(found[name][k]["validation"], measure) for name in names}
        return max(scores, key=scores.__getitem__)

    chosen = {m: [best(list(CLASSICAL), k, m) for k in range(FOLDS)] for m in THEIRS}
    values = {name: {m: _by_source(rows, m) for m in MEASURES} for name, rows in test.items()}
    values["srresnet"] = {m: _averaged([values[name][m] for name in seed_of]) for m in MEASURES}
    values["best_classical"] = {
        m: _by_source([r for k, name in enumerate(chosen[m]) for r in found[name][k]["test"]], m)
        for m in THEIRS
    }
    sizes = [n for n in CLASSICAL if n.startswith("dictionary")]
    dictionary = [best(sizes, k, "psnr") for k in range(FOLDS)]
    values["dictionary"] = {
        m: _by_source([r for k, n in enumerate(dictionary) for r in found[n][k]["test"]], m) for m in MEASURES
    }
    kinds = {r["subject"]: r["family"] for r in test["input"]}

    def row(name: str) -> dict[str, Any]:
        line: dict[str, Any] = {"method": name}
        for m, of in values[name].items():
            mean = bootstrap_ci({s: list(v.values()) for s, v in of.items()}, SEED)
            assert mean is not None
            line |= {"n": mean.n, m: mean.mean, f"{m}_ci95": list(mean.ci or ())}
        return line

    def difference(ours: str, theirs: str, measure: str, family: str | None = None) -> dict[str, Any]:
        a, b = (
            {s: v for s, v in values[name][measure].items() if family in (None, kinds[s])}
            for name in (ours, theirs)
        )
        gain = paired_difference(a, b, SEED)
        assert gain is not None
        better = sum(np.mean([a[s][x] - b[s][x] for x in a[s]]) > 0 for s in a)
        return {
            "method": ours, "against": theirs, "sources": family or "all", "measure": measure, "n": gain.n,
            "difference": gain.mean, "ci95": list(gain.ci or ()), "better_for": int(better),
        }  # fmt: skip

    names = [n for n in CLASSICAL if not n.startswith("dictionary")]
    return {
        "rows": [row(n) for n in ("input", *names, "dictionary", "best_classical", "srresnet")],
        "differences": [
            difference("srresnet", theirs, m, family)
            for family in (None, *bench.cohort["teachers"])
            for theirs in ("input", "bicubic", "best_classical")
            for m in THEIRS
        ] + [difference(name, "best_classical", m) for name in seed_of for m in THEIRS],
        "chosen_on_validation": {
            "time_s": times, "best_classical_psnr": chosen["psnr"], "best_classical_ssim": chosen["ssim"],
            "dictionary": dictionary,
        },
        "network": network,
        "cpu_seconds_of_training": [f["train_s"] for f in found["srresnet_0"]],
    }  # fmt: skip


def _by_source(rows: list[dict[str, Any]], measure: str) -> dict[str, dict[str, float]]:
    """source -> scan -> value."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["subject"], {})[row["scan"]] = row[measure]
    return found


def _averaged(parts: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over seeds."""
    return {s: {x: float(np.mean([p[s][x] for p in parts])) for x in scans} for s, scans in parts[0].items()}


def counts(bench: Bench) -> dict[str, Any]:
    """Errors of counts at a few times, on the test sources of fold 0, and what counting noise alone and blur give.

    total : of the image against its reference, mean of absolute values, %. region : `roi_count_error`, %.
    """
    from senmei.core.seeds import draw_generator

    split = bench.fold(0)
    time_s = operating_point(bench, split["train"] + split["validation"])[0]
    network = {"use": "srresnet", **bench.settings["methods"]["srresnet"]}
    specs = {
        "input": {"use": "input"},
        **{n: CLASSICAL[n] for n in ("bicubic", "gaussian", "butterworth", "richardson_lucy", "dictionary_128")},
        "srresnet": network, "srresnet, keep_counts: local": {**network, "keep_counts": "local"},
    }  # fmt: skip
    times = (time_s, *COUNT_TIMES)
    rows: list[dict[str, Any]] = []
    for t in times:
        scans = bench.scans(split["test"], t)
        alone: dict[str, Any] = {
            "counting noise alone": lambda e: draw_generator(SEED, e.scan["scan"]).poisson(
                e["reference"].data
            ),
            "blur and scatter alone": lambda e: _spread(e["expected"].data, e["reference"].shape[0]),
        }
        for name, image in alone.items():
            made = [(e, e["reference"].like(image(e).astype(np.float32))) for e in scans]
            part = [{"subject": e.scan["subject"], "scan": e.scan["image"], **judge(e, x)} for e, x in made]
            rows.append(_counted(name, t, part, {e.scan["image"]: _total(e, x) for e, x in made}))
        totals = {e.scan["image"]: _total(e, e["input"]) for e in scans}  # what methods keep, to `count_bias`
        for name, spec in specs.items():
            own = (
                times if name.startswith("srresnet") else (t,)
            )  # one network, told the noise, serves all times
            part = [r for r in rows_of(bench, 0, name, spec, own)["test"] if r["time_s"] == t]
            rows.append(_counted(name, t, part, totals))
    return {"counts": rows}


def _counted(
    name: str, time_s: float, part: list[dict[str, Any]], totals: dict[str, float]
) -> dict[str, Any]:
    bias = [abs(r["count_bias"]) for r in part]
    return {
        "time_s": time_s, "method": name, "n": len({r["subject"] for r in part}),
        "total_against_input_largest": None if "alone" in name else max(bias),
        "total_against_reference": mean_of([{**r, "total": abs(totals[r["scan"]])} for r in part], "total"),
        "region": mean_of(part, "roi_count_error"),
    }  # fmt: skip


def _total(example: Any, image: Any) -> float:
    return 100 * (
        float(image.data.sum(dtype=np.float64)) / float(example["reference"].data.sum(dtype=np.float64)) - 1
    )


def _spread(low: np.ndarray, size: int) -> np.ndarray:
    factor = size // low.shape[0]
    return np.kron(low[..., 0], np.ones((factor, factor)))[..., None] / factor**2


def throughput(bench: Bench, name: str, steps: int, **sizes: Any) -> dict[str, Any]:
    """CPU time of a step of `SRResNet.fit` against one of a bare torch loop, taken in turn, step by step.

    The bare loop has its own copy of the network, the same batches, loss, precision and optimisers, and nothing else:
    no averaged weights, clipping, checks or history. Its batches are drawn by the same source (`ratio`) or
    lie ready (`ratio_ready`, which counts the drawing against us). Steps with a validation are left out.
    """
    import torch
    from torch import nn

    from senmei.core.method import FitContext
    from senmei.core.seeds import derive_seed
    from senmei.methods import METHODS
    from senmei.methods.restoration_network import seeded
    from senmei.training.loop import Schedule, mixed_precision
    from senmei.training.muon import Muon
    from senmei.training.planar_losses import find_planar_loss

    torch.set_num_threads(1)
    split = bench.fold(0)
    train, validation = (bench.scans(split[s], 2.1) for s in ("train", "validation"))
    options = {k: v for k, v in bench.settings["methods"]["srresnet"].items() if k != "use"}
    method: Any = METHODS.get("srresnet")(**{**options, **sizes, "steps": steps})
    context = FitContext(seed=SEED, device="cpu", threads=1)
    source = method.source(train, context)
    network: nn.Module = seeded(lambda: method.network(source.factor), derive_seed(SEED, "weights"))
    loss_of = find_planar_loss(method.loss)
    inner = [p for p in network.parameters() if p.ndim > 2 and min(p.shape[:2]) >= 4]
    outer = [p for p in network.parameters() if not any(p is q for q in inner)]
    optimisers = [torch.optim.AdamW(outer), Muon(inner, lr=1.0)]
    schedule = Schedule(steps, method.learning_rate)
    ours, bare, drawn = [], [], []
    since = {"step": 0, "at": 0.0}

    def one_more() -> bool:
        now = time.process_time()
        if since["step"]:
            ours.append(now - since["at"])
        t = int(since["step"])
        data = source.batch(t)
        ready = time.process_time()
        for optimiser, relative in zip(optimisers, (1, 10), strict=True):
            optimiser.param_groups[0]["lr"] = relative * schedule.rate(t)
            optimiser.zero_grad()
        with mixed_precision(method.precision, "cpu"):
            restored = network(data.low, data.told, data.base)
        loss = loss_of(restored.float() * data.unit, data.target * data.unit)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        loss.item()
        done = time.process_time()
        drawn.append(ready - now)
        bare.append(done - ready)
        since.update(step=t + 1, at=time.process_time())
        return False

    method.fit(train, validation[:1], FitContext(seed=SEED, device="cpu", threads=1, stop=one_more))
    every = max(1, steps // 5)
    kept = [
        i for i in range(2, len(ours)) if (i + 2) % every
    ]  # ours[i] is step i + 2, bare[i + 1] its neighbour
    own, plain, draw = (np.array([x[i + s] for i in kept]) for x, s in ((ours, 0), (bare, 1), (drawn, 1)))
    return {
        "size": name, "blocks": method.blocks, "channels": method.channels, "batch": method.batch,
        "patch": method.patch, "base": method.base, "steps": len(kept),
        "ms_a_step": float(1e3 * np.median(own)), "bare_ms": float(1e3 * np.median(plain)),
        "drawing_ms": float(1e3 * np.median(draw)),
        "ratio": float(np.median(own / (plain + draw))), "ratio_ready": float(np.median(own / plain)),
        "quartiles": [float(q) for q in np.quantile(own / (plain + draw), (0.25, 0.75))],
    }  # fmt: skip


def speeds(bench: Bench) -> dict[str, Any]:
    """Throughput at both sizes, and what the report's would cost."""
    rows = [
        throughput(bench, "demo", 100),
        throughput(bench, "report", 20, channels=64, blocks=16, batch=16, patch=24),
    ]
    last = rows[-1]["ms_a_step"] / 1e3
    return {
        "throughput": rows,
        "report_size_on_one_core": {"steps_a_second": 1 / last, "hours_for_100000_steps": 1e5 * last / 3600},
    }


PARTS: dict[str, Any] = {
    "calibration": calibration,
    "headline": headline,
    "counts": counts,
    "throughput": speeds,
}


def main() -> None:
    """Run the parts and write what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them where none is named")
    parser.add_argument("--folder", type=Path, help="where what was fitted lies, or is kept")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each network")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    folder = (options.folder or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder)
    for name in options.parts or PARTS:
        begun, cpu = os.getloadavg()[0], time.process_time()
        found = headline(bench, options.seeds) if name == "headline" else PARTS[name](bench)
        kept = json.loads(options.out.read_text()) if options.out.exists() else {}
        result = {
            "what": "Planar super-resolution at the report's scores: printed sheets, simulated, sources held out",
            "synthetic": "simulated sheets and camera; teachers: 20 photographs, 10 drawn torsos, 10 drawn heads",
            **{k: v for k, v in kept.items() if k not in ("what", "synthetic")},
            **_rounded(found),
            "machine": {
                "cpu": platform.processor() or platform.machine(), "threads": 1,
                "load": {**kept.get("machine", {}).get("load", {}), name: round(begun, 1)},
                "cpu_seconds": {
                    **kept.get("machine", {}).get("cpu_seconds", {}), name: round(time.process_time() - cpu)
                },
            },
            "versions": {package: version(package) for package in ("torch", "numpy", "scipy")},
        }  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(_rounded(found), indent=1), flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return {k: _rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    main()
