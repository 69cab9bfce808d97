"""A model of an earlier run in place of training: proven to be what its card says, then copied with provenance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from senmei.core.configuration import load_yaml, validate
from senmei.core.errors import ConfigError, DataError, SenmeiError
from senmei.io.atomic import atomic_path, sha256
from senmei.io.tables import write_tsv
from senmei.stages.cards import make_method, read_card, read_weights, write_card

WEIGHTS, CARD = "weights.safetensors", "card.json"
_SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schemas" / "methods.schema.yaml"
_TOLD = {"seed": int, "code": str, "split_sha256": str, "data": dict, "versions": dict}


def given_card(spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The card of the model that a method's settings name by `model`. Reads no weights, imports no method.

    where : key path for errors. Raises ConfigError for a folder or file that is not there, another method, settings
    that contradict the card's or that no method may have; DataError for a card that is damaged or was changed.
    """
    folder = Path(spec["model"])
    fix = "name the folder of a fitted method of an earlier run: results/{run}/{study}/models/{method}"
    if not folder.is_dir():
        raise ConfigError("Given model is not there", where=where, why=f"no folder '{folder}'", fix=fix)
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            others = sorted(
                p.name for p in folder.iterdir() if p.suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin")
            )
            why = f"'{folder}' holds no {name}"
            why += f"; '{others[0]}' is never loaded, since such files can run code" if others else ""
            raise ConfigError("Given model is incomplete", where=where, why=why, fix=fix)
    card = read_card(
        folder / CARD, spec["use"], fix=f"copy the model's folder again, or leave `model` out ({where})"
    )
    own = {k: v for k, v in spec.items() if k not in ("use", "model")}
    for key, value in own.items():
        if key not in card["settings"] or card["settings"][key] != value:
            has = (
                f"{key}: {card['settings'][key]}"
                if key in card["settings"]
                else f"no '{key}', so its default"
            )
            raise ConfigError(
                "Settings contradict the given model",
                where=f"{where.removesuffix('.model')}.{key}",
                why=f"the configuration says {key}: {value}; the model's card has {has}",
                fix="leave settings out: they come from the card; where a preset brings them, give the model under a "
                "name of its own: `my_model: {use: ..., model: ...}`",
            )
    if ":" not in spec["use"]:  # what is too large to build is no setting, whoever wrote the card
        validate(card["settings"], load_yaml(_SCHEMA)[spec["use"]], f"{where}: settings on its card")
    return card


def adopt_model(
    name: str,
    spec: Mapping[str, Any],
    outputs: Mapping[str, Path | str],
    *,
    images: Mapping[str, Any],
    log: Callable[[str], None],
) -> None:
    """Copy a given model to where training would have left it: weights, an empty history and a card that says so.

    outputs : weights, history, card. Only what is proven is written: the hash of the weights is the card's, the card
    is as a training job wrote it, and the method takes the weights. The new card keeps the old one's seed, code,
    split, data and versions, has `given: true` and the old one's SHA-256; what a method says of itself (title,
    references, sentence) is this installation's. images : how this study makes its images; where the model's run made
    them otherwise, the card and the log say so, since a network is good for what it has seen.
    Raises ConfigError and DataError, see `given_card`.
    """
    where = f"methods.{name}.model"
    facts = given_card(spec, where)
    folder, use = Path(spec["model"]), spec["use"]
    fix = f"copy the model's folder again, or leave `model` out ({where}) to train"
    for key, kind in _TOLD.items():
        if not isinstance(facts.get(key), kind):
            why = f"it has no '{key}', or one of another type"
            raise DataError("Cannot read the card of a method", where=folder / CARD, why=why, fix=fix)
    weights = read_weights(folder / WEIGHTS, facts, fix)
    method = make_method(use, facts["settings"], name)
    try:
        method.load(weights, "cpu")
    except SenmeiError:
        raise
    except Exception as error:  # whatever a method does with arrays that are not its own
        raise DataError(
            "Weights do not fit their method",
            where=folder / WEIGHTS,
            why=f"'{use}' does not take them: {type(error).__name__}: {str(error)[:200]}",
            fix="use the version of Senmei that fitted them, or train again",
        ) from error
    _copy(folder / WEIGHTS, Path(outputs["weights"]), facts["weights_sha256"], fix)
    write_tsv(outputs["history"], [], ("step",))
    told = {key: facts[key] for key in _TOLD}
    told |= {
        "data": _counts(facts["data"]),
        "versions": {str(k): str(v) for k, v in facts["versions"].items()},
    }
    told |= {"weights_sha256": facts["weights_sha256"], "stopped": None}
    found = differences(facts.get("images"), images)
    told |= {"images": facts["images"]} if isinstance(facts.get("images"), dict) else {}
    told |= {"given": True, "given_differs": found, "given_card_sha256": sha256(folder / CARD)}
    write_card(outputs["card"], method, name, use, facts["settings"], weights, told)
    for difference in found:
        log(f"its images were made otherwise: {difference}")
    log(f"given, not fitted: weights {facts['weights_sha256'][:16]}..., fitted with seed {facts['seed']}")


def differences(theirs: Any, ours: Mapping[str, Any]) -> list[str]:
    """'degradation.reconstruction.iterations: 4, here 2' for each setting of images that differs; at most 40."""
    if not isinstance(theirs, dict) or not ours:
        return []
    there, here = _flat(theirs), _flat(ours)
    return [
        f"{key}: {there.get(key, 'none')}, here {here.get(key, 'none')}"[:160]
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ][:40]


def _flat(value: Any, place: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(part, f"{place}.{key}" if place else str(key)) for key, part in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {place: json.dumps(value, sort_keys=True)}


def _copy(source: Path, place: Path, expected: str, fix: str) -> None:
    """Copy a file whose content was proven, and prove that it is still that."""
    with atomic_path(place) as temporary:
        shutil.copyfile(source, temporary)
        if sha256(temporary) != expected:
            why = "the file changed while it was copied"
            raise DataError("Weights do not belong to their card", where=source, why=why, fix=fix)


def _counts(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """cohort -> split -> number of scans, of what a card says; anything else is left out."""
    return {
        str(cohort): {str(split): n for split, n in counts.items() if isinstance(n, int)}
        for cohort, counts in data.items()
        if isinstance(counts, dict)
    }
