"""Non-local means: ours against dipy's classic, same volume, noise, mask, parameters and threads.

    python benchmarks/nlm.py [--data T1.nii.gz --mask brain.nii.gz] [--threads 2] [--device cuda] [--runs 3]

Adds 9 % Rician noise to a clean volume (default: nilearn's MNI152 template at 1 mm within its brain mask), lets
both restore it in turn, and writes the medians to benchmarks/results/nlm.json, with the peak memory of restoring
a 256^3 volume in a process of its own. On a GPU, dipy runs on the number of threads given all the same.
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

NOISE, SEARCH, PATCH = 9, 5, 1
SIDE = 256


def main() -> None:
    """Time both sides in turn and write the result."""
    options = _options()
    if options.memory:
        print(json.dumps(_peak(options)))
        return
    import torch

    from senmei.methods.nlm3d import DIPY_BETA, nlm3d
    from senmei.physics.rician import apply_rician

    torch.set_num_threads(options.threads)
    clean, mask, white, source = _volume(options)
    sigma = NOISE / 100 * white
    noisy = apply_rician(clean, sigma, np.random.default_rng(0))

    def theirs():
        from dipy.denoise.nlmeans import nlmeans

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nlmeans(
                noisy,
                sigma,
                mask=mask,
                patch_radius=PATCH,
                block_radius=SEARCH,
                rician=True,
                num_threads=options.threads,
                method="classic",
            )

    def ours():
        strength = DIPY_BETA * sigma
        return nlm3d(
            noisy, sigma, strength, SEARCH, PATCH, True, mask, options.device, threads=options.threads
        )

    sides = {"dipy_classic": theirs, "nlm3d": ours}
    ours()  # wakes up the device
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in sides}
    images, load = {}, []
    for run in range(options.runs):
        load.append(round(os.getloadavg()[0], 2))
        for name, restore in sides.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            images[name] = restore()
            seconds[name].append(round(time.perf_counter() - start, 3))
            cpu_seconds[name].append(round(time.process_time() - cpu_start, 3))
            print(f"run {run + 1}: {name} {seconds[name][-1]:.2f} s", flush=True)

    def psnr(image):
        return round(float(10 * np.log10(white**2 / np.mean((image[mask] - clean[mask]) ** 2))), 3)

    rows = [
        {
            "method": name,
            "psnr": psnr(images[name]),
            "seconds": float(np.median(seconds[name])),
            "runs": seconds[name],
            "cpu_seconds": cpu_seconds[name],  # tells how much the clock owes to other work on the machine
        }
        for name in sides
    ]
    each_ratio = [a / b for a, b in zip(seconds["dipy_classic"], seconds["nlm3d"], strict=True)]
    difference = np.abs(images["nlm3d"] - images["dipy_classic"])[mask]
    result = {
        "what": "nlm3d against dipy's classic non-local means",
        "machine": {
            "cpu": _cpu(),
            "threads": options.threads,
            "device": _device(options.device),
            "load": load,
        },
        "versions": {name: version(name) for name in ("dipy", "torch", "numpy")},
        "volume": {"source": source, "shape": list(clean.shape), "voxels_in_mask": int(mask.sum())},
        "parameters": {
            "noise_percent": NOISE,
            "search": 2 * SEARCH + 1,
            "patch": 2 * PATCH + 1,
            "beta": DIPY_BETA,
        },
        "psnr_noisy": psnr(noisy),
        "rows": rows,
        "ratio": round(rows[0]["seconds"] / rows[1]["seconds"], 2),
        "ratio_of_each_run": [round(value, 2) for value in each_ratio],
        "psnr_difference": round(rows[1]["psnr"] - rows[0]["psnr"], 4),
        "largest_difference_in_sigma": float(f"{difference.max() / sigma:.2e}"),
        "memory_256": _in_a_process(options),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: result[k] for k in ("ratio", "psnr_difference", "memory_256")}))
    print(f"written to {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a clean T1-weighted NIfTI (default: nilearn's template)")
    parser.add_argument("--mask", type=Path, help="where to restore and judge (default: voxels above zero)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "nlm.json")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _volume(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, float, str]:
    """Clean volume float32, mask bool, white-matter level, name."""
    import nibabel

    from senmei.physics.intensity import white_matter_level

    if options.data:
        clean = nibabel.load(options.data).get_fdata(dtype=np.float32)
        mask = nibabel.load(options.mask).get_fdata() > 0 if options.mask else clean > 0
        source = options.data.name
    else:
        from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

        clean = load_mni152_template(resolution=1).get_fdata(dtype=np.float32)
        mask = load_mni152_brain_mask(resolution=1).get_fdata() > 0
        source = "MNI152 template of nilearn, 1 mm"
    return np.ascontiguousarray(clean), mask, white_matter_level(clean, mask), source


def _in_a_process(options: argparse.Namespace) -> dict:
    given = ["--threads", str(options.threads), "--device", options.device]
    done = subprocess.run(
        [sys.executable, __file__, "--memory", *given], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _peak(options: argparse.Namespace) -> dict:
    """Peak resident memory of this process once it has restored 256^3 voxels, with the noise map and all."""
    import torch

    from senmei.core.example import Example
    from senmei.core.volume import Volume
    from senmei.methods.nlm3d import NLM3D
    from senmei.physics.rician import apply_rician

    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    clean = np.where(radius < 0.9, 700 + 300 * np.cos(6 * radius), 0).astype(np.float32)
    volume = Volume(apply_rician(clean, 90.0, np.random.default_rng(0)), np.eye(4))
    del clean, radius
    method = NLM3D(beta=1.0)
    method.load({}, options.device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    method.apply(Example({"scan": "memory"}, {"input": volume}))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_gb": round(peak * 1024 / 1e9, 3),
        "peak_before_gb": round(before * 1024 / 1e9, 3),
        "seconds": round(seconds, 1),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def _device(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
