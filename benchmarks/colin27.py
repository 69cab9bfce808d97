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
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
HERE = Path(__file__).resolve().parent
HEADS, HELD_OUT, LOOKS = 44, 2, 2
NOISE = 0.09  # of white matter
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
    from safetensors.numpy import save_file

    from senmei.core.method import FitContext
    from senmei.methods import METHODS

    torch.set_num_threads(args.threads)
    args.model.mkdir(parents=True, exist_ok=True)
    cache = args.phantoms or args.model / "phantoms"
    begun = time.monotonic()
    heads = [phantom(s, cache) for s in range(HEADS + HELD_OUT)]
    made = time.monotonic() - begun
    train = [example(v, 0.0, [0], f"train-{i}") for i, v in enumerate(v for head in heads[:HEADS] for v in head)]
    held = [v for head in heads[HEADS:] for v in head[:1]]
    validation = [example(v, n, [1, i], f"val-{i}-{n}") for i, v in enumerate(held) for n in (0.03, NOISE)]
    settings = {**SETTINGS, "steps": args.steps}
    method = METHODS.get(args.method)(**settings)
    context = FitContext(seed=27, threads=args.threads, checkpoint=args.model / "checkpoint.pt", log=say)
    weights = method.fit(train, validation, context)
    save_file(dict(weights), str(args.model / "weights.safetensors"))
    pd.DataFrame(context.history).to_csv(args.model / "history.tsv", sep="\t", index=False)
    card = {
        "use": args.method,
        "settings": settings,
        "seed": 27,
        "phantoms": {"train": HEADS, "validation": HELD_OUT, "looks": LOOKS},
        "parameters": int(sum(w.size for w in weights.values())),
        "val_psnr": context.history[-1]["val_psnr"],
        "cost": {"threads": args.threads, "phantom_seconds": round(made), "last_run_seconds": round(time.monotonic() - begun)},
    }
    (args.model / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    say(json.dumps(card))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--method", default="unet3d")
    parser.add_argument("--model", type=Path, required=True, help="folder of the weights and their card")
    parser.add_argument("--phantoms", type=Path, help="folder that keeps the training phantoms (default: in the model's)")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.train:
        fit(args)


if __name__ == "__main__":
    main()
