"""Configuration: schemas, presets, overlays, and messages that name the key and the nearest valid one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from senmei.analyses import ANALYSES
from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError, nearest
from senmei.methods import METHODS
from senmei.stages.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "config" / "schemas"
MINE = """
run: mine
studies: {mri_denoise: {cohorts: {mine: {use: test, source: bids, path: /data/bids, suffix: T1w}}}}
"""


def shipped(**top: Any) -> dict[str, Any]:
    """The shipped configuration with an overlay, merged as Snakemake merges."""
    return merge(load_yaml(ROOT / "config" / "config.yaml"), top)


def study(**overlay: Any) -> dict[str, Any]:
    overlay = {"preset": "tiny", **overlay}
    return resolve(shipped(studies={"mri_denoise": overlay}), ROOT)["studies"]["mri_denoise"]


def refused(error: type[Exception] = ConfigError, **overlay: Any) -> Any:
    with pytest.raises(error) as caught:
        study(**overlay)
    return caught.value


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_every_preset_resolves_and_can_be_planned(preset: str, tmp_path: Path) -> None:
    config = resolve(shipped(preset=preset), ROOT)
    plan = Plan(config, tmp_path)["mri_denoise"]
    assert plan.judged()
    assert plan.training_shards("gaussian")
    assert {"gaussian", "nlm3d", "unet3d"} <= set(plan.methods)
    split = [row["split"] for row in plan.rows("phantoms")]
    assert set(split) == {"train", "validation", "test"}


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_the_documented_overlay_works_literally(preset: str, tmp_path: Path) -> None:
    config = resolve(shipped(preset=preset, **yaml.safe_load(MINE)), ROOT)
    settings = config["studies"]["mri_denoise"]
    assert config["run"] == "mine"
    assert settings["cohorts"]["mine"] == {
        "use": "test",
        "source": "bids",
        "path": "/data/bids",
        "suffix": "T1w",
        "modality": "MR",
        "reference": "auto",
        "register": True,
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    }
    assert "phantoms" in settings["cohorts"], "the methods still train on the phantoms"
    folder = tmp_path / "mri_denoise" / "cohorts" / "mine"
    folder.mkdir(parents=True)
    head = "scan\timage\tsubject\tsplit\tshard\trepeat\tacquisition\tnoise\n"
    (folder / "scans.tsv").write_text(head + "sub-01\tsub-01\tsub-01\ttest\tsub-01\t1\trician\t9\n")
    plan = Plan(config, tmp_path)["mri_denoise"]
    assert plan.listed("mine")
    assert ("mine", "sub-01") in plan.judged()
    if preset != "tiny":  # a user's scans are asked what the shipped ones are
        assert {a for cohort, a, _, _ in plan.analysed() if cohort == "mine"} == {"tissues", "repeats"}


def test_merging() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": None}
    over = {"a": {"c": {"d": 3}, "g": 4}, "e": [9], "f": {"h": 1}}
    assert merge(base, over) == {"a": {"b": 1, "c": {"d": 3}, "g": 4}, "e": [9], "f": {"h": 1}}
    assert merge(base, {"a": None}) == {"e": [1, 2], "f": None}
    assert base["a"]["c"]["d"] == 2, "nothing is changed in place"


def test_null_removes() -> None:
    found = study(
        methods={"nlm3d": None, "never_there": None}, analyses={"tissues": None}, measures={"ssim": None}
    )
    assert "nlm3d" not in found["methods"]
    assert "never_there" not in found["methods"]
    assert found["analyses"] == {}
    assert "ssim" not in found["measures"]
    assert "psnr" in found["measures"]


def test_a_study_left_out_and_a_study_under_another_name() -> None:
    config = shipped(
        studies={
            "mri_denoise": {"enabled": False},
            "spect_denoise": {"enabled": False},
            "gamma_sr": {"enabled": False},
            "again": {"use": "mri_denoise", "preset": "tiny"},
        }
    )
    assert list(resolve(config, ROOT)["studies"]) == ["again"]


def test_only_some_studies() -> None:
    config = shipped(only=["again", "gamma_sr"], preset="tiny", studies={"again": {"use": "mri_denoise"}})
    assert list(resolve(config, ROOT)["studies"]) == ["gamma_sr", "again"]
    assert list(resolve(shipped(only=None), ROOT)["studies"]) == ["mri_denoise", "spect_denoise", "gamma_sr"]
    with pytest.raises(ConfigError, match="Unknown study 'gamma_rs'") as caught:
        resolve(shipped(only=["gamma_rs"]), ROOT)
    assert (caught.value.where, "gamma_sr" in caught.value.fix) == ("only", True)


TYPOS = [
    ({"cohort": {}}, "studies.mri_denoise.cohort", "cohorts"),
    ({"cohorts": {"phantoms": {"subjets": 5}}}, "studies.mri_denoise.cohorts.phantoms.subjets", "subjects"),
    (
        {"cohorts": {"phantoms": {"split": {"trian": 1}}}},
        "studies.mri_denoise.cohorts.phantoms.split.trian",
        "train",
    ),
    ({"degradation": {"ricain": {}}}, "studies.mri_denoise.degradation.ricain", "rician"),
    ({"degradation": {"grappa": {"coil": 8}}}, "studies.mri_denoise.degradation.grappa.coil", "coils"),
    ({"methods": {"gaussian": {"fwhm": 3}}}, "studies.mri_denoise.methods.gaussian.fwhm", "fwhm_mm"),
    ({"methods": {"gausian": {}}}, "studies.mri_denoise.methods.gausian", "gaussian"),
    ({"methods": {"mine": {"use": "unet"}}}, "studies.mri_denoise.methods.mine", "unet3d"),
    ({"analyses": {"tissue": {}}}, "studies.mri_denoise.analyses.tissue", "tissues"),
    ({"analyses": {"tissues": {"round": 1}}}, "studies.mri_denoise.analyses.tissues.round", "rounds"),
    ({"measures": {"psnr": {"us": "psnr"}}}, "studies.mri_denoise.measures.psnr.us", "use"),
    ({"report": {"titel": "x"}}, "studies.mri_denoise.report.titel", "title"),
    ({"preset": "timy"}, "studies.mri_denoise.preset", "tiny"),
    (
        {"cohorts": {"phantoms": {"source": "simulat"}}},
        "studies.mri_denoise.cohorts.phantoms.source",
        "simulate",
    ),
]


@pytest.mark.parametrize(("overlay", "where", "near"), TYPOS, ids=[where for _, where, _ in TYPOS])
def test_a_typo_names_key_path_and_nearest_key(overlay: dict[str, Any], where: str, near: str) -> None:
    error = refused(**overlay)
    assert error.where == where
    assert error.fix == f"did you mean '{near}'?"
    assert len(str(error).splitlines()) == 4


def test_typos_at_the_top() -> None:
    for wrong, near in (
        ({"preste": "tiny"}, "preset"),
        ({"studes": {}}, "studies"),
        ({"devise": "cpu"}, "device"),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve(shipped(**wrong), ROOT)
        assert caught.value.where == f"config.{next(iter(wrong))}"
        assert near in caught.value.fix
    with pytest.raises(ConfigError, match="Unknown study 'mri_denoize'") as caught:
        resolve(shipped(studies={"mri_denoize": {}}), ROOT)
    assert caught.value.fix == "did you mean 'mri_denoise'?"


WRONG = [
    ({"cohorts": {"phantoms": {"tesla": 30}}}, "cohorts.phantoms.tesla", "30 is not one of [1.5, 3, 7]"),
    ({"cohorts": {"phantoms": {"voxel_mm": 0.001}}}, "cohorts.phantoms.voxel_mm", "minimum of 0.05"),
    ({"cohorts": {"phantoms": {"voxel_mm": "2mm"}}}, "cohorts.phantoms.voxel_mm", "not of type 'number'"),
    ({"cohorts": {"phantoms": {"subjects": 0}}}, "cohorts.phantoms.subjects", "minimum of 1"),
    ({"cohorts": {"phantoms": {"subjects": 2.5}}}, "cohorts.phantoms.subjects", "not of type 'integer'"),
    (
        {"cohorts": {"../x": {"use": "test", "source": "bids", "path": "/"}}},
        "cohorts",
        "'../x' does not match",
    ),
    ({"methods": {"gaussian": {"fwhm_mm": -3}}}, "methods.gaussian.fwhm_mm", "-3 is less than or equal to"),
    ({"methods": {"nlm3d": {"rician": "yes"}}}, "methods.nlm3d.rician", "not of type 'boolean'"),
    ({"degradation": {"rician": {"noise": [900]}}}, "degradation.rician.noise.0", "maximum of 50"),
    ({"degradation": {"rician": {"noise": 9}}}, "degradation.rician.noise", "not of type 'array'"),
    ({"degradation": {"grappa": {"acceleration": 4}}}, "degradation.grappa.acceleration", "not one of [2]"),
    ({"shards": 0}, "shards", "not valid"),
    ({"cohorts": {"phantoms": {"split": {"train": 0.9}}}}, "cohorts.phantoms.split", "shares sum to 1.4"),
]


@pytest.mark.parametrize(("overlay", "where", "why"), WRONG, ids=[where for _, where, _ in WRONG])
def test_a_wrong_type_or_unit_says_what_is_right(overlay: dict[str, Any], where: str, why: str) -> None:
    error = refused(**overlay)
    assert error.where == f"studies.mri_denoise.{where}"
    assert why in error.why
    assert len(error.fix) > 10


def test_what_is_missing_is_described() -> None:
    error = refused(cohorts={"mine": {"use": "test", "source": "bids"}})
    assert error.where == "studies.mri_denoise.cohorts.mine.path"
    assert "Folder of the dataset" in error.fix
    error = refused(cohorts={"mine": {"source": "bids", "path": "/x"}})
    assert error.where == "studies.mri_denoise.cohorts.mine.use"


def test_broken_yaml_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("run: [1\nx: 2\n")
    with pytest.raises(ConfigError, match="Cannot read configuration") as caught:
        load_yaml(path)
    assert caught.value.where == str(path)
    assert "line 2" in caught.value.why


PARSE_TIME = [
    ({"measures": {"pnsr": {}}}, "measures.pnsr", "did you mean 'psnr'?"),
    ({"methods": {"m": {"use": "no.such:Method"}}}, "methods.m", "check the spelling of `use:`"),
    ({"methods": {"gaussian": {"target": "refrence"}}}, "methods.gaussian", "choose another method"),
    (
        {"analyses": {"tissues": {"cohorts": ["phantom"]}}},
        "analyses.tissues.cohorts",
        "did you mean 'phantoms'?",
    ),
]


@pytest.mark.parametrize(("overlay", "where", "fix"), PARSE_TIME, ids=[where for _, where, _ in PARSE_TIME])
def test_what_no_job_could_do_stops_the_plan(
    overlay: dict[str, Any], where: str, fix: str, tmp_path: Path
) -> None:
    config = resolve(shipped(preset="tiny", studies={"mri_denoise": overlay}), ROOT)
    with pytest.raises(ConfigError) as caught:
        Plan(config, tmp_path)
    assert caught.value.where == f"studies.mri_denoise.{where}"
    assert fix in caught.value.fix


def test_too_small_a_training_cohort_stops_the_plan_and_says_how_many_it_needs(tmp_path: Path) -> None:
    def planned(count: int) -> Plan:
        overlay = {"cohorts": {"phantoms": {"subjects": count}}}
        return Plan(resolve(shipped(preset="tiny", studies={"mri_denoise": overlay}), ROOT), tmp_path)

    with pytest.raises(DataError, match="too small to split") as caught:
        planned(2)
    assert caught.value.where == "cohort 'phantoms'"
    assert "at least 4 subjects" in caught.value.fix
    planned(4)


# ---- the schemas themselves ----


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, schema) of every property, at any depth."""
    if isinstance(schema, dict):
        for key, part in schema.get("properties", {}).items():
            yield f"{path}.{key}", part
            yield from properties(part, f"{path}.{key}")
        for key in ("additionalProperties", "items"):
            yield from properties(schema.get(key), f"{path}[]")


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(SCHEMAS.rglob("*.schema.yaml")):
        content = load_yaml(path)
        if path.name == "tables.schema.yaml":
            continue
        if "type" in content:
            yield path.stem, content
        else:
            for name, part in content.items():
                parts = part.items() if "type" not in part else [("", part)]
                yield from ((f"{path.stem}.{name}{inner and '.' + inner}", schema) for inner, schema in parts)


def test_every_schema_is_closed() -> None:
    for name, schema in schemas():
        assert schema.get("additionalProperties") is False, name


def test_every_key_has_a_type_and_a_description() -> None:
    found = [(f"{name}{path}", part) for name, schema in schemas() for path, part in properties(schema)]
    assert len(found) > 80
    for path, part in found:
        assert {"type", "enum", "const", "anyOf", "$ref"} & part.keys(), f"{path} has no type"
        if "const" not in part and path.rsplit(".", 1)[-1] not in ("rician", "grappa", "lesion"):
            assert len(part.get("description", "")) > 5, f"{path} has no description"


@pytest.mark.parametrize(("kind", "registry"), [("methods", METHODS), ("analyses", ANALYSES)])
def test_schema_keys_are_the_constructors(kind: str, registry: Any) -> None:
    table = load_yaml(SCHEMAS / f"{kind}.schema.yaml")
    assert set(table) == set(registry)
    for name in registry:
        parameters = inspect.signature(registry.get(name)).parameters.values()
        taken = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        assert set(table[name]["properties"]) == taken, f"{kind}: {name}"
        for parameter in parameters:
            assert parameter.default is not parameter.empty, f"{name}.{parameter.name} has no default"


def test_presets_ask_methods_for_what_they_take() -> None:
    for preset in ("tiny", "demo", "paper"):
        for kind, registry in (("methods", METHODS), ("analyses", ANALYSES)):
            for name, spec in study(preset=preset)[kind].items():
                options = {k: v for k, v in spec.items() if k not in ("use", "cohorts", "skip")}
                registry.get(spec.get("use", name))(**options)


def test_letters_that_changed_places_are_seen() -> None:
    assert nearest("LERH", ["LEHR", "LEAP", "LEUR", "ME", "HE"]) == "did you mean 'LEHR'?"
    assert nearest("LEUT", ["LEHR", "LEAP", "LEUR", "ME", "HE"]) == "did you mean 'LEUR'?"
    assert nearest("xyz", ["LEHR", "HE"]) == "valid: HE, LEHR"
