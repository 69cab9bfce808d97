"""Configuration: presets, overlays, schemas, and messages that name the nearest valid key."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError, nearest

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, key by key, at every depth; a null in `over` removes the key. Neither is changed."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        if value is None and isinstance(result.get(key), Mapping):
            del result[key]
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dictionary. Raises ConfigError naming the line."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(
            "Cannot read configuration", where=path, why=str(error), fix="correct the YAML"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            "Cannot read configuration", where=path, why="it holds no keys", fix="write `key: value` lines"
        )
    return content


def resolve(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The full configuration of a run: presets laid under the user's keys, defaults filled in, all of it checked.

    config : what Snakemake merged from config/config.yaml and --configfile overlays.
    root : the folder that holds config/. Raises ConfigError with the key path, the reason and the nearest valid key.
    """
    schemas = root / "config" / "schemas"
    _check_plain(config, "config")
    config = validate(dict(config), load_yaml(schemas / "config.schema.yaml"), "config")
    head = load_yaml(schemas / "study.schema.yaml")["properties"]
    head = {"properties": {**{k: head[k] for k in ("use", "enabled")}, "preset": {"type": "string"}}}
    known = {path.stem: path for path in (root / "config" / "studies").glob("*.yaml")}
    studies = {}
    for name in config["only"] or ():
        if name not in config["studies"]:
            why = "no study of this name is configured"
            raise ConfigError(
                f"Unknown study '{name}'", where="only", why=why, fix=nearest(name, config["studies"])
            )
    for name, user in config["studies"].items():
        if config["only"] and name not in config["only"]:
            continue
        user = user or {}
        validate(user, head, f"studies.{name}")
        if user.get("enabled") is False:
            continue
        use = user.get("use", name)
        base: dict[str, Any] = {"use": use}
        if ":" not in use:
            if use not in known:
                raise ConfigError(
                    f"Unknown study '{use}'",
                    where=f"studies.{name}",
                    why="no such study",
                    fix=nearest(use, known),
                )
            definition = load_yaml(known[use])
            presets = definition.pop("presets", {})
            preset = user.get("preset", config["preset"])
            if preset not in presets:
                raise ConfigError(
                    f"Unknown preset '{preset}'",
                    where=f"studies.{name}.preset",
                    why="no such preset",
                    fix=nearest(preset, presets),
                )
            base = merge(merge(base, definition), presets[preset])
        studies[name] = _study(merge(base, user), f"studies.{name}", schemas)
    return {**config, "studies": studies}


def _check_plain(value: Any, where: str) -> None:
    """Refuse what YAML can hold and no setting may be: keys that are no text, dates, NaN, control characters."""
    why = ""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                why = f"the key {key!r} is no text"
                raise ConfigError("Invalid key", where=where, why=why[:300], fix="put the key in quotes")
            _check_plain(part, f"{where}.{key}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _check_plain(part, f"{where}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        why = f"{value} is no finite number"
    elif isinstance(value, str) and _CONTROL.search(value):
        why = f"{value!r} holds a control character, or is no Unicode text"
    elif value is not None and not isinstance(value, bool | int | float | str):
        why = f"{value!r} is a {type(value).__name__}"
    if why:
        fix = "settings are text, finite numbers, true or false, lists and keys; put a date in quotes"
        raise ConfigError("Invalid value", where=where, why=why[:300], fix=fix)


def _study(settings: dict[str, Any], where: str, schemas: Path) -> dict[str, Any]:
    for kind in ("cohorts", "methods", "measures", "analyses"):  # null removes, also what no preset had
        table = {} if settings.get(kind) is None else settings[kind]
        settings[kind] = (
            {k: v for k, v in table.items() if v is not None} if isinstance(table, Mapping) else table
        )
    settings = validate(settings, load_yaml(schemas / "study.schema.yaml"), where)
    for name, cohort in settings["cohorts"].items():
        if abs(sum(cohort["split"].values()) - 1) > 1e-6:
            raise ConfigError(
                "Invalid value",
                where=f"{where}.cohorts.{name}.split",
                why=f"its shares sum to {sum(cohort['split'].values()):g}",
                fix="make the shares of train, validation and test sum to 1; 0 leaves one out",
            )
    own = {path.name: path for path in (schemas / "studies").glob("*.schema.yaml")}
    if found := own.get(f"{settings['use']}.schema.yaml"):
        parts = load_yaml(found)
        settings["degradation"] = validate(
            settings["degradation"], parts["degradation"], f"{where}.degradation"
        )
        for name, cohort in settings["cohorts"].items():
            kinds = parts["cohorts"]
            source = cohort["source"]
            if source not in kinds:
                raise ConfigError(
                    f"Unknown source '{source}'",
                    where=f"{where}.cohorts.{name}.source",
                    why="this study has no such door",
                    fix=nearest(source, kinds),
                )
            settings["cohorts"][name] = validate(cohort, kinds[source], f"{where}.cohorts.{name}")
    ablation = settings["report"].get("ablation") or {}
    for name in [ablation["base"], *ablation["of"]] if ablation else ():
        if name not in (known := settings["methods"]):
            why, fix = "this study's `methods` have none of this name", nearest(name, known)
            raise ConfigError(f"Unknown method '{name}'", where=f"{where}.report.ablation", why=why, fix=fix)
    for kind in ("methods", "analyses"):
        table = load_yaml(schemas / f"{kind}.schema.yaml")
        for name, spec in settings[kind].items():
            use = spec.setdefault("use", name)
            if ":" in use:
                continue
            if use not in table:
                raise ConfigError(
                    f"Unknown {kind[:-3] + 'is' if kind == 'analyses' else 'method'} '{use}'",
                    where=f"{where}.{kind}.{name}",
                    why="nothing of this name is registered",
                    fix=nearest(use, table),
                )
            frame = ("use", "cohorts", "skip") if kind == "analyses" else ("use", "model")
            settings[kind][name] = validate(spec, table[use], f"{where}.{kind}.{name}", allow=frame)
    return settings


def validate(
    value: dict[str, Any], schema: dict[str, Any], where: str, allow: tuple[str, ...] = ()
) -> dict[str, Any]:
    """`value` with the schema's defaults filled in. Raises ConfigError: key path, what is wrong, nearest valid key."""
    schema = copy.deepcopy(schema)
    for key in allow:
        schema.setdefault("properties", {}).setdefault(key, {})
    value = copy.deepcopy(value)
    _defaults(value, schema)
    errors = sorted(
        _validator()(schema).iter_errors(value), key=lambda e: (len(e.absolute_path), str(e.path))
    )
    if not errors:
        return value
    error = errors[0]
    path = ".".join([where, *map(str, error.absolute_path)])
    if error.validator == "additionalProperties":
        valid = list(error.schema.get("properties", {}))  # type: ignore[union-attr]
        unknown = [key for key in error.instance if key not in valid]
        raise ConfigError(
            f"Unknown key '{unknown[0]}'",
            where=f"{path}.{unknown[0]}",
            why="no such key",
            fix=nearest(unknown[0], valid),
        )
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        detail = error.schema["properties"].get(missing[0], {})  # type: ignore[index]
        raise ConfigError(
            f"Missing key '{missing[0]}'",
            where=f"{path}.{missing[0]}",
            why="it has no default",
            fix=f"set it: {detail.get('description', 'see config/schemas')}",
        )
    described, part = "", schema
    for key in list(error.absolute_schema_path)[
        :-1
    ]:  # of the key, where what is wrong is an item of its list
        part = part[key]
        described = part.get("description", described) if isinstance(part, dict) else described
    fix = described or "see config/schemas"
    if error.validator == "enum":
        fix = "; ".join(
            filter(None, [nearest(str(error.instance), map(str, error.validator_value)), described])
        )
    raise ConfigError("Invalid value", where=path, why=error.message[:300], fix=fix)


@cache
def _validator() -> Any:
    """JSON Schema, but a pattern has to match the whole text: `$` alone would let a line break pass at its end."""
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Any, wanted: str, text: Any, __: Any) -> Iterator[Any]:
        if isinstance(text, str) and not re.fullmatch(wanted, text):
            yield ValidationError(f"{text!r} does not match {wanted!r}")

    return validators.extend(Draft202012Validator, {"pattern": pattern})


def _defaults(value: Any, schema: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        return
    for key, part in schema.get("properties", {}).items():
        if key not in value and "default" in part:
            value[key] = copy.deepcopy(part["default"])
        if key in value:
            _defaults(value[key], part)
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        for key in value:
            if key not in schema.get("properties", {}):
                _defaults(value[key], extra)
