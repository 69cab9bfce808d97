"""Fit one method: weights, history and a card that tells what the weights are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.method import FitContext, Method
from senmei.io.atomic import sha256, write_bytes
from senmei.io.tables import write_tsv
from senmei.stages.cards import make_method, record, versions, write_card
from senmei.stages.given import adopt_model
from senmei.stages.shards import Blocked, Manifest, example_of


def by_cohort(paths: Sequence[Path | str], up: int) -> dict[str, list[Path | str]]:
    """Paths by the name of their cohort, the folder `up` levels above the one they lie in."""
    found: dict[str, list[Path | str]] = {}
    for path in paths:
        found.setdefault(Path(path).parents[up].name, []).append(path)
    return found


def gather(
    manifests: Mapping[str, Sequence[Path | str]], split: str, roles: Sequence[str] = ()
) -> list[Example]:
    """Examples of one split over several cohorts; scans that failed earlier are left out, and the report says so.

    manifests : cohort -> prepared manifests that fitting may read. roles : that the method asks for; where a
    `reference` is among them, scans that have none (patients') are left out.
    """
    examples = []
    for cohort, paths in manifests.items():
        holding: dict[str, list[Manifest]] = {}
        subjects: dict[str, str] = {}
        for manifest in map(Manifest, paths):
            for row in manifest:
                if row["split"] == split:
                    found = holding.setdefault(row["scan"], [])
                    found += [] if manifest in found else [manifest]
                    subjects[row["scan"]] = row["subject"]
        for scan, found in holding.items():
            row = {"scan": scan, "subject": subjects[scan], "split": split, "cohort": cohort}
            try:
                example = example_of(row, found)[0]
            except Blocked:
                continue
            if "reference" not in roles or "reference" in example:
                examples.append(example)
    return examples


def fit_method(
    name: str, spec: Mapping[str, Any], manifests: Mapping[str, Sequence[Path | str]], context: FitContext
) -> dict[str, np.ndarray]:
    """Weights of a method fitted to what the manifests hold. Each process of a team calls it."""
    method = make_method(spec["use"], {k: v for k, v in spec.items() if k != "use"}, name)
    train = gather(manifests, "train", method.needs)
    weights = method.fit(train, gather(manifests, "validation", method.tunes_on), context)
    return {k: np.ascontiguousarray(v) for k, v in weights.items()}


def usable_processes(method: Method, wanted: int, threads: int, device: str) -> int:
    """How many processes fit a method: at most one a sample of its batch, one a core granted, one a visible GPU."""
    if wanted < 2 or not method.together:
        return 1
    limits = [wanted, method.batch]  # type: ignore[attr-defined]
    if device == "cuda":
        import torch

        limits.append(torch.cuda.device_count())
    else:
        limits.append(threads)
    return max(1, min(limits))


def train_method(
    name: str,
    spec: Mapping[str, Any],
    manifests: Mapping[str, Sequence[Path | str]],
    outputs: Mapping[str, Path | str],
    *,
    seed: int,
    code: str,
    split_sha256: str,
    device: str,
    threads: int,
    log: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
    processes: int = 1,
    used: dict[str, Any] | None = None,
    images: Mapping[str, Any] | None = None,
) -> None:
    """Fit a method on the training split, tune it on the validation split, and write weights, history and card.

    outputs : weights, history, card. A checkpoint for resuming lies beside the weights until they are final.
    spec : `use` and settings; with `model`, nothing is fitted, see `senmei.stages.given`.
    stop : see FitContext. threads : cores granted, to all processes together. processes : so many may share the work,
    see `usable_processes`. used : takes the number of them and the precision, for the record. images : how the images
    that it learns from are made (study, degradation), for the card.
    Raises DataError when a needed split has no usable example left.
    """
    from safetensors.numpy import save

    if "model" in spec:
        adopt_model(name, spec, outputs, images=images or {}, log=log)
        return
    use = spec["use"]
    options = {k: v for k, v in spec.items() if k != "use"}
    method = make_method(use, options, name)
    train = gather(manifests, "train", method.needs)
    validation = gather(manifests, "validation", method.tunes_on)
    for split, examples, roles in (
        ("train", train, method.needs),
        ("validation", validation, method.tunes_on),
    ):
        if roles and not examples:
            raise DataError(
                f"No usable {split} example for method '{name}'",
                where=", ".join(manifests) or "no cohort has `use: train`",
                why="there is none, or all of them failed at an earlier stage"
                + (", or have no reference, as scans of patients" if "reference" in roles else ""),
                fix="see status.tsv of the cohorts; add a cohort with `use: train`, mend what failed, or leave the "
                "method out",
            )
    weights_path = Path(outputs["weights"])
    checkpoint = weights_path.with_name("checkpoint.pt")
    count = usable_processes(method, processes, threads, device)
    record(method, device, log, used, processes=count)
    each = max(1, threads // count)
    context = FitContext(seed=seed, device=device, threads=each, checkpoint=checkpoint, log=log, stop=stop)
    if count > 1:
        from senmei.training.parallel import fit_together

        weights = fit_together(fit_method, (name, spec, manifests), context, count)
    else:
        weights = fit_method(name, spec, manifests, context)
    weights = weights or {"nothing_to_fit": np.zeros(1, np.float32)}
    write_bytes(weights_path, save(weights))
    write_tsv(outputs["history"], context.history, ("step",))
    counts = {
        cohort: {
            s: sum(e.scan.get("cohort") == cohort for e in part)
            for s, part in (("train", train), ("validation", validation))
        }
        for cohort in manifests
    }
    told = {"seed": seed, "code": code, "split_sha256": split_sha256, "data": counts, "versions": versions()}
    told |= {"weights_sha256": sha256(weights_path), "stopped": None, "images": dict(images or {})}
    write_card(outputs["card"], method, name, use, options, weights, told)
    checkpoint.unlink(missing_ok=True)
