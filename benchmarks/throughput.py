"""How fast and how large: `unet3d` by tiles against dipy's classic non-local means, and the memory of 256^3 voxels.

    python benchmarks/throughput.py [--model FOLDER] [--threads 2] [--runs 3]

Both sides restore the same noisy volume (nilearn's MNI152 template at 1 mm, 9 % Rician noise) inside the same mask
with the same threads, in turn. The time of the network includes estimating the noise, which dipy is told. Speed does
not depend on what a network has learned: without --model its weights are random. Writes results/throughput.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
NOISE, SIDE = 0.09, 256
MARGIN = 8  # voxels around the mask that the network is given


def load(folder: Path | None, name: str = "unet3d"):
    """A method with weights: those of a folder, or random ones."""
    from senmei.methods import METHODS

    if folder is None:
        method = METHODS.get(name)()
        method.load({k: v.numpy() for k, v in method.network().state_dict().items()})
        return method
    from safetensors.numpy import load_file

    card = json.loads((folder / "card.json").read_text())
    method = METHODS.get(card["use"])(**card["settings"])
    method.load(load_file(str(folder / "weights.safetensors")))
    return method


def main() -> None:
    """Time both sides in turn and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of weights.safetensors and card.json")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "throughput.json")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    if options.memory:
        print(json.dumps(peak(load(options.model))))
        return
    from dipy.denoise.nlmeans import nlmeans
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    from senmei.physics.intensity import white_matter_level
    from senmei.physics.noise_level import estimate_sigma_map
    from senmei.physics.rician import apply_rician

    clean = np.ascontiguousarray(load_mni152_template(resolution=1).get_fdata(dtype=np.float32))
    mask = load_mni152_brain_mask(resolution=1).get_fdata() > 0
    sigma = NOISE * white_matter_level(clean, mask)
    noisy = apply_rician(clean, sigma, np.random.default_rng(0))
    method = load(options.model)

    found = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(max(int(i[0]) - MARGIN, 0), int(i[-1]) + 1 + MARGIN) for i in found)

    def ours():
        part = np.ascontiguousarray(noisy[box])
        level, white = estimate_sigma_map(part), white_matter_level(part)
        return method.restore(method._network, part, level, white, "cpu")

    def theirs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nlmeans(noisy, sigma, mask, 1, 5, True, options.threads, method="classic")

    ours()  # wakes up the libraries
    rows: dict[str, dict[str, list[float]]] = {}
    busy = []
    for run in range(options.runs):
        busy.append(round(os.getloadavg()[0], 2))
        for name, restore in (("dipy_classic", theirs), ("unet3d", ours)):
            wall, cpu = time.perf_counter(), time.process_time()
            restore()
            row = rows.setdefault(name, {"seconds": [], "cpu_seconds": []})
            row["seconds"].append(round(time.perf_counter() - wall, 2))
            row["cpu_seconds"].append(round(time.process_time() - cpu, 2))
            print(f"run {run + 1}: {name} {row['seconds'][-1]} s, {row['cpu_seconds'][-1]} CPU s", flush=True)
    ratio = {
        k: float(np.median(rows["dipy_classic"][k]) / np.median(rows["unet3d"][k])) for k in rows["unet3d"]
    }
    given = ["--model", str(options.model)] if options.model else []
    memory = subprocess.run(
        [sys.executable, __file__, "--memory", "--threads", str(options.threads), *given],
        check=True,
        capture_output=True,
        text=True,
    )
    result = {
        "what": "unet3d by tiles against dipy's classic non-local means (search 11^3, patch 3^3)",
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "threads": options.threads,
            "load": busy,
        },
        "versions": {name: version(name) for name in ("dipy", "torch", "numpy")},
        "volume": {"shape": list(noisy.shape), "voxels_in_mask": int(mask.sum())},
        "network": {k: getattr(method, k) for k in ("channels", "depth", "tile", "precision")},
        "rows": [
            {"method": name, **{k: float(np.median(v)) for k, v in row.items()}, "runs": row["seconds"]}
            for name, row in rows.items()
        ],
        "ratio": {k: round(v, 1) for k, v in ratio.items()},
        "memory_256": json.loads(memory.stdout.splitlines()[-1]),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("ratio", "memory_256")}))


def peak(method) -> dict[str, float]:
    """Peak resident memory of this process once it has restored 256^3 voxels of noise around a ball."""
    from senmei.core.example import Example
    from senmei.core.volume import Volume
    from senmei.physics.rician import apply_rician

    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    clean = np.where(radius < 0.9, 700 + 300 * np.cos(6 * radius), 0).astype(np.float32)
    volume = Volume(apply_rician(clean, 90.0, np.random.default_rng(0)), np.eye(4))
    del clean, radius
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    method.apply(Example({"scan": "memory"}, {"input": volume}))
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_gb": round(after * 1024 / 1e9, 3),
        "peak_before_gb": round(before * 1024 / 1e9, 3),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
