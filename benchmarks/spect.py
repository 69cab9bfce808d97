"""Myocardial SPECT at a quarter of the dose: networks that never saw a clean image against the best Gaussian.

    python benchmarks/spect.py [--cores 2] [--folder FOLDER]

Runs the workflow itself (configuration below, three quarters of an hour on two cores), reads its summary and its tidy
table, and writes results/spect.json. With --folder, finished work there is not done again. Differences are over test
subjects, paired, with bootstrap intervals; `gaussian_oracle` was tuned on the truth, everything else on noisy images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RUN = "spect_benchmark"
BASELINE = "gaussian_oracle"
MEASURES = ("nrmse", "wall_thickness_bias", "wall_thickness_error", "defect_recovery", "count_bias", "auc")
LEARNED = ("unet3d_n2n", "win5rb", "win5rb_context")
CONFIG: dict[str, Any] = {
    "run": RUN,
    "preset": "demo",
    "device": "cpu",
    "only": ["spect_denoise"],
    "studies": {
        "spect_denoise": {
            "shards": 2,
            "cohorts": {
                "torsos": {"subjects": 200, "split": {"train": 0.8, "validation": 0.05, "test": 0.15}},
                "observer": {"subjects": 60, "defect_contrast": [0.3, 0.3]},
                "doses": {"use": "test", "source": "simulate", "subjects": 6, "doses": [1, 0.5, 0.25, 0.125]},
            },
            "degradation": {"doses": [0.5, 0.25, 0.125]},
            "methods": {
                "win5rb": {"channels": 24, "kernel": 7, "steps": 2500},
                "win5rb_context": {"use": "win5rb", "channels": 24, "kernel": 7, "context": 5, "steps": 2500},
                "unet3d_n2n": {"steps": 4000, "batch": 4},
            },
            "analyses": {"perfusion": {"skip": ["observer"]}},
        },
    },
}


def main() -> None:
    """Run the workflow and write what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where the run lies, or is made")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "spect.json")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spect.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    call = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "Snakefile"),
        "-d",
        str(folder),
        "--quiet=rules",
    ]
    call += [f"-c{options.cores}", "--rerun-incomplete", "--configfile", str(folder / "spect.yaml")]
    subprocess.run(call, check=True, cwd=ROOT)
    study = folder / "results" / RUN / "spect_denoise"
    text = json.dumps(_rounded(gather(study, options.cores)), indent=1) + "\n"
    options.out.write_text(text, encoding="utf-8")
    print(text)


def gather(study: Path, cores: int) -> dict[str, Any]:
    """Rows, differences and costs, from the study's own tables."""
    from senmei.core.statistics import paired_difference

    summary = json.loads((study / "summary.json").read_text(encoding="utf-8"))
    table = pd.read_csv(study / "measures.tsv", sep="\t", na_values="n/a")
    test = table[(table["split"] == "test") & ((table["dose"] == 0.25) | table["dose"].isna())]
    rows: dict[str, dict[str, Any]] = {}
    for head in summary["headlines"]:
        at = head["condition"].get("dose", 0.25)
        cohort = "observer" if head["measure"].startswith("auc") else "torsos"
        if head["measure"] in MEASURES and head["cohort"] == cohort and at == 0.25:
            row = rows.setdefault(head["method"], {"method": head["method"]})
            row[head["measure"]] = head["mean"]
            row[f"{head['measure']}_ci95"] = head["ci95"]
            row[f"{head['measure']}_n"] = head["n"]

    def values(cohort: str, method: str, measure: str) -> dict[str, dict[str, float]]:
        part = test[(test["cohort"] == cohort) & (test["method"] == method) & (test["measure"] == measure)]
        found: dict[str, dict[str, float]] = {}
        for line in part.itertuples():
            found.setdefault(line.subject, {})[str(line.scan)] = float(line.value)
        return found

    differences = []
    for method in LEARNED:
        for measure in ("nrmse", "wall_thickness_error", "auc"):
            cohort = "observer" if measure == "auc" else "torsos"
            ours, theirs = values(cohort, method, measure), values(cohort, BASELINE, measure)
            found = paired_difference(ours, theirs, 0)
            assert found is not None
            base = float(np.mean([v for scans in theirs.values() for v in scans.values()]))
            differences.append(
                {
                    "method": method,
                    "against": BASELINE,
                    "measure": measure,
                    "n": found.n,
                    "difference": found.mean,
                    "ci95": list(found.ci) if found.ci else None,
                    "percent": 100 * found.mean / base,
                }
            )
    cost = {}
    for card in sorted((study / "models").glob("*/card.json")):
        name = card.parent.name
        timed = study.parent / "benchmarks" / study.name / "train" / f"{name}.tsv"
        cost[name] = float(pd.read_csv(timed, sep="\t")["s"].iloc[0])
    doses = [
        {"method": method, **{f"dose {c['dose']:g}": m for c, m in found}}
        for method, found in _by_dose(summary["headlines"]).items()
    ]
    return {
        "what": "Myocardial SPECT at a quarter of the dose, learned from noisy pairs alone (simulated torsos)",
        "machine": {
            "cores": cores,
            "cpu": platform.processor() or platform.machine(),
            "load": os.getloadavg()[0],
        },
        "synthetic": "simulated torsos, uptake ratios assumed; reference: noise-free reconstruction",
        "configuration": yaml.safe_dump(
            CONFIG["studies"]["spect_denoise"], default_flow_style=True, width=10_000
        ).strip(),
        "rows": list(rows.values()),
        "differences": differences,
        "nrmse_by_dose": doses,
        "seconds_of_training": cost,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return {k: _rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def _by_dose(headlines: list[dict[str, Any]]) -> dict[str, list[tuple[dict[str, Any], float]]]:
    found: dict[str, list[tuple[dict[str, Any], float]]] = {}
    for head in headlines:
        if head["cohort"] == "doses" and head["measure"] == "nrmse":
            found.setdefault(head["method"], []).append((head["condition"], head["mean"]))
    return found


if __name__ == "__main__":
    main()
