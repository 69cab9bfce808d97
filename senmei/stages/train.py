"""Fit one method: weights, history and a card that tells what the weights are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import senmei
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext, Method
from senmei.io.atomic import sha256, write_bytes, write_text
from senmei.io.tables import write_tsv
from senmei.methods import METHODS
from senmei.stages.shards import Blocked, Manifest, check_of, example_of

CARD_BYTES = 1_000_000  # a card has a few thousand
CARD_DEPTH = 20  # and five levels


def make_method(use: str, options: Mapping[str, Any], name: str) -> Method:
    """A configured method. Raises ConfigError naming the instance for settings it does not take."""
    cls = METHODS.get(use)
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ConfigError(
            f"'{use}' is no method",
            where=f"methods.{name}",
            why="it is not a class that inherits from senmei.core.method.Method",
            fix="see docs/how-to/add-a-method.md",
        )
    try:
        return cls(**options)
    except TypeError as error:
        raise ConfigError(
            f"Method '{use}' does not take these settings",
            where=f"methods.{name}",
            why=str(error),
            fix="see docs/reference/methods.md",
        ) from error


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
        from senmei.stages.given import adopt_model

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
    told = {"seed": seed, "code": code, "split_sha256": split_sha256, "data": counts, "versions": _versions()}
    told |= {"weights_sha256": sha256(weights_path), "stopped": None, "images": dict(images or {})}
    write_card(outputs["card"], method, name, use, options, weights, told)
    checkpoint.unlink(missing_ok=True)


def write_card(
    path: Path | str,
    method: Method,
    name: str,
    use: str,
    options: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    told: Mapping[str, Any],
) -> None:
    """Write what fitted weights are: what the method says of itself, and `told` of how they came about."""
    card = {
        "method": name,
        "use": use,
        "title": method.title,
        "family": method.family,
        "oracle": method.oracle,
        "settings": dict(options),
        "needs": list(dict.fromkeys([*method.needs, *method.tunes_on])),
        "references": list(method.references),
        "parameters": int(sum(v.size for v in weights.values())) if method.family == "learned" else None,
        "fitted": {k: [round(float(x), 6) for x in v.ravel()] for k, v in weights.items() if v.size <= 16}
        if method.family == "classical"
        else {},
        **told,
    }
    card["sentence"] = method.sentence.format(settings=_Settings(method, options), card=card)
    card = json.loads(json.dumps(card, default=str))
    card["check"] = check_of(card)
    write_text(path, json.dumps(card, indent=1, sort_keys=True) + "\n")


def record(
    method: Method, device: str, log: Callable[[str], None], used: dict[str, Any] | None, **more: Any
) -> None:
    """Tell the log, and the volatile record beside it, how a method computes here."""
    facts = {**({"precision": method.arithmetic(device)} if method.arithmetic(device) else {}), **more}
    if facts:
        log(", ".join(f"{name}: {value}" for name, value in facts.items()))
    if used is not None:
        used.update(facts)


class _Settings:
    """Settings for a sentence: what was configured, else the method's own attribute of that name."""

    def __init__(self, method: Method, options: Mapping[str, Any]) -> None:
        self.method, self.options = method, options

    def __getitem__(self, key: str) -> Any:
        return self.options.get(key, getattr(self.method, key, "default"))


def _versions() -> dict[str, str]:
    found = {"senmei": senmei.__version__}
    for package in ("numpy", "torch", "dipy", "antspyx", "nilearn", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _again(path: Path | str) -> str:
    return f"train again: run as before with --forcerun={path}"


def read_card(card: Path | str, use: str | None = None, fix: str | None = None) -> dict[str, Any]:
    """The card of a fitted method, proven to be as the training job wrote it. Raises DataError, imports nothing.

    use : the method that the configuration names; a card that names another is refused. fix : of the errors.
    """
    fix = fix or _again(card)
    try:
        with open(card, "rb") as file:
            content = file.read(CARD_BYTES + 1)
        if len(content) > CARD_BYTES:
            raise ValueError(f"it has more than {CARD_BYTES} bytes")
        facts = json.loads(content.decode("utf-8"))
        if not all(isinstance(facts[name], str) for name in ("use", "method", "weights_sha256")):
            raise TypeError("a name in it is no text")
        if not isinstance(facts["settings"], dict):
            raise TypeError("its settings are no keys and values")
        if _depth(facts) > CARD_DEPTH:
            raise ValueError("it is nested too deeply")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "Cannot read the card of a method",
            where=card,
            why=f"{type(error).__name__}: {error}",
            fix=fix,
        ) from error
    if use is not None and facts["use"] != use:
        raise DataError(
            "Card belongs to another method",
            where=card,
            why=f"it names '{facts['use']}'; '{use}' is configured",
            fix=fix,
        )
    if facts.get("check") != check_of(facts):
        raise DataError(
            "Card of a method was changed",
            where=card,
            why="its content is not what the training job wrote",
            fix=fix,
        )
    return facts


def _depth(value: Any) -> int:
    """How deeply lists and keys are nested; without recursion, which is what such a file would break."""
    level, depth = [value], 0
    while level:
        parts = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level, depth = [item for part in parts for item in part], depth + 1
    return depth


def load_method(
    weights: Path | str, card: Path | str, device: str, use: str | None = None, fix: str | None = None
) -> tuple[Method, dict[str, Any]]:
    """A fitted method and its card. Weights whose hash is not the card's are refused (DataError), never used.

    use : the method that the configuration names; a card that names another is refused before anything of it is
    imported, since a card may come from elsewhere and `use` may be a place in any module. fix : of the errors.
    """
    facts = read_card(card, use, fix)
    arrays = read_weights(weights, facts, fix)
    method = make_method(facts["use"], facts["settings"], facts["method"])
    method.load(arrays, device)
    return method, facts


def read_weights(
    weights: Path | str, facts: Mapping[str, Any], fix: str | None = None
) -> dict[str, np.ndarray]:
    """Named arrays of a safetensors file whose hash is the card's; any other is refused (DataError), never used."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    fix = fix or _again(weights)
    if sha256(Path(weights)) != facts["weights_sha256"]:
        raise DataError(
            "Weights do not belong to their card",
            where=weights,
            why="the file's SHA-256 differs from the one the training job recorded",
            fix=fix,
        )
    try:
        return load_file(str(weights))
    except (SafetensorError, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "Cannot read weights",
            where=weights,
            why=f"it is no safetensors file ({error}); nothing else is ever loaded",
            fix=fix,
        ) from error
