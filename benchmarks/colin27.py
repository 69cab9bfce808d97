"""Colin27 with 9 % Rician noise: networks trained on phantoms only against the best tuned non-local means.

python benchmarks/colin27.py --train --model FOLDER [--steps N --threads T --phantoms CACHE]
python benchmarks/colin27.py --data colin27.nii.gz --model FOLDER [--draws 5 --threads T]

Training draws phantoms (a fixed number of heads, two looks each), trains `unet3d` on them and writes weights,
history and card; a killed run resumes. No real scan is read for training, tuning or choosing. Evaluation restores
five noise draws of one subject inside one fixed mask; its intervals speak of the noise, not of subjects.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
HERE = Path(__file__).resolve().parent
HEADS, HELD_OUT, LOOKS = 44, 2, 2
NOISE = 0.09  # of white matter
MARGIN = 8  # voxels around the mask that the network is given
SETTINGS = {"channels": 16, "depth": 3, "batch": 2, "patch": 40, "learning_rate": 2e-3, "uneven": 0.2}


def phantom(seed: int, cache: Path) -> list[np.ndarray]:
    """Clean images of one head (white matter = 1, float16): random anatomy, voxel size, skull and two looks."""
    paths = [cache / f"h{seed:03d}_{k}.npy" for k in range(LOOKS)]
    if not all(p.exists() for p in paths):
        from senmei.phantoms.head import build_head, draw_head
        from senmei.physics.contrast import apply_appearance, draw_appearance

        cache.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([27, seed])
        voxel, skull = float(rng.uniform(0.85, 1.2)), bool(rng.random() < 0.35)
        head = build_head(draw_head(rng), voxel, skull=skull)
        labels = head.labels.data
        found = np.nonzero(labels)
        box = tuple(slice(max(int(i.min()) - 6, 0), int(i.max()) + 7) for i in found)
        for path in paths:
            image = apply_appearance(head, draw_appearance(rng)).data
            np.save(path, (image[box] / np.median(image[labels == 3])).astype(np.float16))
    return [np.load(p) for p in paths]


def example(clean: np.ndarray, noise: float, seed: list[int], name: str, **roles):
    """An Example of a clean array (white matter = 1) with Rician noise."""
    from senmei.core.example import Example
    from senmei.core.volume import Volume
    from senmei.physics.rician import apply_rician

    clean = clean.astype(np.float32)
    noisy = apply_rician(clean, noise, np.random.default_rng(seed))
    images = {"input": noisy, "reference": clean, **roles}
    scan = {"scan": name, "data_range": 1.0, "acquisition": "rician", "noise": 100 * noise}
    return Example(scan, {k: Volume(v, np.eye(4)) for k, v in images.items()})


def say(text: str) -> None:
    """A line of progress."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def fit(args: argparse.Namespace) -> None:
    """Train and write weights.safetensors, history.tsv and card.json."""
    import pandas as pd
    import torch
    from safetensors.numpy import load_file, save_file

    from senmei.core.method import FitContext
    from senmei.methods import METHODS

    torch.set_num_threads(args.threads)
    folder = args.model[0]
    folder.mkdir(parents=True, exist_ok=True)
    cache = args.phantoms or folder / "phantoms"
    begun = time.monotonic()
    heads = [phantom(s, cache) for s in range(HEADS + HELD_OUT)]
    made = time.monotonic() - begun
    train = [
        example(v, 0.0, [0], f"train-{i}") for i, v in enumerate(v for head in heads[:HEADS] for v in head)
    ]
    held = [v for head in heads[HEADS:] for v in head[:1]]
    validation = [example(v, n, [1, i], f"val-{i}-{n}") for i, v in enumerate(held) for n in (0.03, NOISE)]
    settings = {**SETTINGS, "steps": args.steps, "learning_rate": args.rate}
    method = METHODS.get(args.method)(**settings)
    if args.start:  # a second round: the schedule begins again, from weights that were trained before

        def started(context: FitContext, build=method.fresh):
            network = build(context)
            first = load_file(str(args.start / "weights.safetensors"))
            network.load_state_dict({k: torch.from_numpy(v) for k, v in first.items()})
            return network

        method.fresh = started
    context = FitContext(seed=args.seed, threads=args.threads, checkpoint=folder / "checkpoint.pt", log=say)
    weights = method.fit(train, validation, context)
    save_file(dict(weights), str(folder / "weights.safetensors"))
    pd.DataFrame(context.history).to_csv(folder / "history.tsv", sep="\t", index=False)
    card = {
        "use": args.method,
        "settings": settings,
        "seed": args.seed,
        "started_from": json.loads((args.start / "card.json").read_text()) if args.start else None,
        "phantoms": {"train": HEADS, "validation": HELD_OUT, "looks": LOOKS},
        "parameters": int(sum(w.size for w in weights.values())),
        "val_psnr": context.history[-1]["val_psnr"],
        "cost": {
            "threads": args.threads,
            "phantoms_s": round(made),
            "last_run_s": round(time.monotonic() - begun),
        },
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    say(json.dumps(card))


def tune(cache: Path, threads: int) -> dict[str, float]:
    """Strengths of the classical methods that are best on the held-out phantoms at this noise."""
    from senmei.core.method import FitContext
    from senmei.methods import METHODS

    cases = []
    for i, seed in enumerate(range(HEADS, HEADS + HELD_OUT)):
        for k, clean in enumerate(phantom(seed, cache)):
            mask = (clean > 0.05).astype(np.uint8)
            cases.append(example(clean, NOISE, [2, i, k], f"val-{i}-{k}", mask=mask))
    found = {}
    for name, options in (("gaussian", {}), ("nlm3d", {})):
        method = METHODS.get(name)(examples=len(cases), **options)
        found[name] = float(method.fit([], cases, FitContext(threads=threads, log=say))["curve_value"][0])
    return found


def evaluate(args: argparse.Namespace) -> None:
    """Restore every draw with every method and write the figures."""
    import nibabel
    import torch
    from safetensors.numpy import load_file
    from scipy import ndimage

    from senmei.core.volume import Volume
    from senmei.measures.psnr import psnr
    from senmei.measures.ssim import ssim
    from senmei.methods import METHODS
    from senmei.methods.nlm3d import DIPY_BETA, nlm3d
    from senmei.physics.intensity import white_matter_level
    from senmei.physics.noise_level import estimate_sigma_map
    from senmei.physics.rician import apply_rician

    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    torch.set_num_threads(args.threads)
    file = nibabel.load(args.data)
    clean = np.ascontiguousarray(file.get_fdata(dtype=np.float32))
    mask = clean > 0
    white = white_matter_level(clean)
    sigma = NOISE * white
    found = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(max(int(i[0]) - MARGIN, 0), int(i[-1]) + 1 + MARGIN) for i in found)
    earlier = json.loads(args.reuse.read_text()) if args.reuse else None
    tuned = (
        earlier["tuned_on_phantoms"]
        if earlier
        else tune(args.phantoms or args.model[0] / "phantoms", args.threads)
    )

    def noisy(draw: int) -> np.ndarray:
        return apply_rician(clean, sigma, np.random.default_rng([9, draw]))

    def case(draw: int):
        return example_of(file.affine, white, draw, noisy(draw), clean, mask)

    def nlm(data: np.ndarray, beta: float, patch: int = 1) -> np.ndarray:
        return nlm3d(data, sigma, beta * sigma, 5, patch, mask=mask, threads=args.threads)

    def dipy(data: np.ndarray, beta: float) -> np.ndarray:
        from dipy.denoise.nlmeans import nlmeans

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = nlmeans(data, beta * sigma / DIPY_BETA, mask, 1, 5, False, args.threads, method="classic")
        return np.sqrt(np.maximum(out**2 - 2 * sigma**2, 0))

    def score(data: np.ndarray, draw: int) -> float:
        return psnr(case(draw), Volume(data.astype(np.float32), file.affine))

    # the peer's strength chosen on the test image itself, which is more than it could know
    tried = [] if earlier else [(b, 1) for b in (0.8, 0.9, 1.0, 1.1)]
    tried += [] if earlier else [(b, 2) for b in (0.6, 0.7, 0.8, 0.9)]
    grid = {(b, p): score(nlm(noisy(0), b, p), 0) for b, p in tried}
    if earlier:
        beta, patch = (earlier["oracle_on_colin27"][k] for k in ("beta", "patch_radius"))
    else:
        beta, patch = max(grid, key=lambda k: grid[k])
    say(f"oracle of non-local means: beta {beta}, patch radius {patch}; tuned on phantoms {tuned}")

    runs = {
        "input": lambda data: data,
        "gaussian": lambda data: ndimage.gaussian_filter(data, tuned["gaussian"] / 2.3548),
        "nlm3d": lambda data: nlm(data, tuned["nlm3d"]),
        "nlm3d_oracle": lambda data: nlm(data, beta, patch),
        "nlm_dipy": lambda data: dipy(data, tuned["nlm3d"]),
    }
    cards = {}
    for folder in args.model:
        card = json.loads((folder / "card.json").read_text())
        method = METHODS.get(card["use"])(**card["settings"])
        method.load(load_file(str(folder / "weights.safetensors")))
        name = folder.name if card["use"] in cards else card["use"]
        cards[name] = card

        def learned(data: np.ndarray, method=method) -> np.ndarray:
            out, part = np.zeros_like(data), np.ascontiguousarray(data[box])
            level, scale = estimate_sigma_map(part), white_matter_level(part)
            out[box] = method.restore(method._network, part, level, scale, "cpu")
            return out

        learned(noisy(99))  # wakes up the libraries
        runs[name] = learned

    tissues = None
    if not args.no_tissues:
        from senmei.analyses.tissues import Tissues

        tissues = Tissues()
    values: dict[str, dict[str, list[float]]] = {}
    if earlier:  # the same draws, mask and parameters: only the learned methods are to be judged anew
        values = {name: row for name, row in earlier["draws"].items() if name not in cards}
        runs = {name: run for name, run in runs.items() if name in cards}
    load = []
    for draw in range(args.draws):
        data, judged = noisy(draw), case(draw)
        load.append(round(os.getloadavg()[0], 2))
        for name, run in runs.items():
            if name == "nlm_dipy" and draw >= args.dipy_draws:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            out = run(data)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            restored = Volume(out.astype(np.float32) * mask, file.affine)
            row = values.setdefault(name, {})
            found = {
                "psnr": psnr(judged, restored),
                "ssim": ssim(judged, restored),
                "seconds": wall,
                "cpu_seconds": cpu,
            }
            if tissues is not None and name not in ("input", "gaussian", "nlm_dipy", "nlm3d_oracle"):
                found["dice_gm"] = tissues.run(judged, restored)["dice_gm"]
            for key, value in found.items():
                row.setdefault(key, []).append(round(float(value), 5))
            say(f"draw {draw} {name} " + " ".join(f"{k} {v:.4g}" for k, v in found.items()))

    best = max(("nlm3d", "nlm3d_oracle", "nlm_dipy"), key=lambda n: np.mean(values[n]["psnr"]))
    result = {
        "what": "Colin27 with 9 % Rician noise: networks trained on phantoms only against non-local means",
        "note": f"{args.draws} noise draws of one subject: intervals are over draws, not subjects",
        "machine": {"cpu": _cpu(), "threads": args.threads, "load": load},
        "volume": {"shape": list(clean.shape), "voxels_in_mask": int(mask.sum()), "white_matter": white},
        "tuned_on_phantoms": tuned,
        "oracle_on_colin27": {"beta": beta, "patch_radius": patch},
        "models": cards,
        "rows": [
            {
                "method": name,
                **{k: float(f"{np.mean(v):.5g}") for k, v in row.items() if "seconds" not in k},
                **{k: round(float(np.median(v)), 2) for k, v in row.items() if "seconds" in k},
            }
            for name, row in values.items()
        ],
        "best_nlm": best,
        "differences": [
            {
                "method": name,
                "against": other,
                "measure": key,
                **_paired(values[name][key], values[other][key]),
            }
            for name in cards
            for other in dict.fromkeys((best, "nlm3d"))
            for key in ("psnr", "ssim", "dice_gm")
            if key in values[name] and key in values[other]
        ],
        "dipy_classic_over": {
            name: {
                k: round(float(np.median(values["nlm_dipy"][k]) / np.median(values[name][k])), 1)
                for k in ("seconds", "cpu_seconds")
            }
            for name in cards
        },
        "draws": values,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    say(json.dumps({k: result[k] for k in ("rows", "differences", "dipy_classic_over")}, indent=1))


def example_of(
    affine: np.ndarray, white: float, draw: int, noisy: np.ndarray, clean: np.ndarray, mask: np.ndarray
):
    """The draw as an Example that the measures and analyses know."""
    from senmei.core.example import Example
    from senmei.core.volume import Volume

    images = {"input": noisy, "reference": clean, "mask": mask.astype(np.uint8)}
    return Example(
        {"scan": f"draw-{draw}", "data_range": white}, {k: Volume(v, affine) for k, v in images.items()}
    )


def _paired(a: list[float], b: list[float]) -> dict[str, object]:
    """Mean of a - b over the draws both have, with a percentile-bootstrap interval."""
    difference = np.array(a[: len(b)]) - np.array(b[: len(a)])
    rng = np.random.default_rng(0)
    means = rng.choice(difference, (10_000, len(difference))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "n": len(difference),
        "mean": round(float(difference.mean()), 5),
        "ci95": [round(float(low), 5), round(float(high), 5)],
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true", help="train and stop")
    parser.add_argument("--method", default="unet3d", help="what to train")
    parser.add_argument(
        "--model", type=Path, nargs="+", required=True, help="folders of weights and their cards"
    )
    parser.add_argument(
        "--phantoms", type=Path, help="folder that keeps the phantoms (default: in the first model's)"
    )
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=27, help="of a training round")
    parser.add_argument("--start", type=Path, help="folder of the weights to begin with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="Colin27, brain-extracted, NIfTI")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--dipy-draws", type=int, default=3, help="draws that dipy, which is slow, restores")
    parser.add_argument(
        "--reuse", type=Path, help="an earlier result, whose classical rows are kept (times as well)"
    )
    parser.add_argument("--no-tissues", action="store_true", help="leave out the grey-matter Dice")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "colin27.json")
    args = parser.parse_args()
    if args.train:
        fit(args)
    elif args.data is None:
        parser.error("--data is needed (or --train)")
    else:
        evaluate(args)


if __name__ == "__main__":
    main()
