"""A model of an earlier run in place of training: used as it is, or refused with the reason."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from senmei.core.configuration import merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.atomic import sha256
from senmei.io.tables import read_tsv
from senmei.report.methods_text import _card_sentences
from senmei.stages.cards import load_method
from senmei.stages.given import given_card
from senmei.stages.shards import check_of
from senmei.stages.train import train_method

ROOT = Path(__file__).resolve().parents[2]
USE = "tests.contract.image:Rescale"
FIXED = {"use": "gaussian", "fwhm_mm": 3.0}
WHERE = "studies.s.methods.m.model"


def fit(folder: Path, spec: dict[str, Any], name: str = "m", **more: Any) -> Path:
    """Train, or adopt, a method that needs no scans."""
    outputs = {k: folder / f for k, f in zip(("weights", "card", "history"), FILES, strict=True)}
    train_method(
        name, spec, {}, outputs,
        seed=3, code="c0ffee", split_sha256="0" * 12, device="cpu", threads=1, log=lambda text: None, **more,
    )  # fmt: skip
    return folder


FILES = ("weights.safetensors", "card.json", "history.tsv")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Gaussian of given width, as a run leaves it."""
    return fit(tmp_path / "earlier", FIXED)


def rewrite(model: Path, **changes: Any) -> None:
    """Change a card so that its own check still holds, as someone who means it would."""
    card = json.loads((model / "card.json").read_text()) | changes
    card["check"] = check_of(card)
    (model / "card.json").write_text(json.dumps(card))


def test_a_given_model_is_copied_with_provenance(model: Path, tmp_path: Path) -> None:
    made = fit(tmp_path / "now", {"use": "gaussian", "model": str(model)}, "renamed")
    card, own = (json.loads((place / "card.json").read_text()) for place in (made, model))
    assert (made / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()
    assert card["given"] is True
    assert card["given_card_sha256"] == sha256(model / "card.json")
    assert card["method"] == "renamed"
    assert card["settings"] == {"fwhm_mm": 3.0} == own["settings"]
    same = ("seed", "code", "split_sha256", "weights_sha256", "data", "versions", "sentence", "title")
    assert {k: card[k] for k in same} == {k: own[k] for k in same}
    assert read_tsv(made / "history.tsv") == []
    method, _ = load_method(made / "weights.safetensors", made / "card.json", "cpu", "gaussian")
    blob = np.zeros((9, 9, 9), np.float32)
    blob[4, 4, 4] = 1
    assert method.apply(Example({"scan": "sub-01"}, {"input": Volume(blob, np.eye(4))})).data.max() < 0.5
    again = fit(tmp_path / "later", {"use": "gaussian", "model": str(made)})
    assert json.loads((again / "card.json").read_text())["seed"] == 3, "a copy can be given on"


def test_a_model_of_other_images_says_so(tmp_path: Path) -> None:
    images = {"study": "s", "degradation": {"reconstruction": {"iterations": 2, "psf": True}, "doses": [0.5]}}
    model = fit(tmp_path / "earlier", FIXED, images=images)
    spec = {"use": "gaussian", "model": str(model)}
    same = json.loads((fit(tmp_path / "same", spec, images=images) / "card.json").read_text())
    assert same["given_differs"] == []
    assert same["images"] == images
    here = {"study": "s", "degradation": {"reconstruction": {"iterations": 4, "psf": True}, "noise": [9]}}
    card = json.loads((fit(tmp_path / "other", spec, images=here) / "card.json").read_text())
    assert card["given_differs"] == [
        "degradation.doses: [0.5], here none",
        "degradation.noise: none, here [9]",
        "degradation.reconstruction.iterations: 2, here 4",
    ]
    assert card["images"] == images, "what it was fitted on"
    words = [text for text, _ in _card_sentences(card)]
    assert any("was not fitted here" in text for text in words)
    assert any("iterations: 2, here 4" in text for text in words)
    assert not any("otherwise" in text for text, _ in _card_sentences(same))


def test_settings_may_repeat_the_card_and_not_contradict_it(model: Path) -> None:
    assert given_card({**FIXED, "model": str(model)}, WHERE)["settings"] == {"fwhm_mm": 3.0}
    for settings in ({"fwhm_mm": 4.0}, {"fwhm_mm": 3.0, "slab": 5}):
        with pytest.raises(ConfigError) as error:
            given_card({"use": "gaussian", "model": str(model), **settings}, WHERE)
        key = list(settings)[-1]
        assert error.value.where == f"studies.s.methods.m.{key}"
        assert f"{key}: {settings[key]}" in error.value.why
        assert "leave settings out" in error.value.fix


def test_a_folder_that_is_not_there_or_not_whole(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not there") as error:
        given_card({"use": "gaussian", "model": str(tmp_path / "none")}, WHERE)
    assert error.value.where == WHERE
    assert "models/{method}" in error.value.fix
    (model / "card.json").unlink()
    with pytest.raises(ConfigError, match="incomplete") as error:
        given_card({"use": "gaussian", "model": str(model)}, WHERE)
    assert "holds no card.json" in error.value.why


class Explosive:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_is_never_loaded(model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    weights = model / "weights.safetensors"
    (model / "model.pt").write_bytes(pickle.dumps(Explosive(mark)))
    weights.unlink()
    with pytest.raises(ConfigError, match="incomplete") as error:
        given_card({"use": "gaussian", "model": str(model)}, WHERE)
    assert "'model.pt' is never loaded" in error.value.why
    weights.write_bytes(pickle.dumps(Explosive(mark)))  # under the right name, with its hash on the card
    rewrite(model, weights_sha256=sha256(weights))
    with pytest.raises(DataError, match="Cannot read weights") as told:
        fit(tmp_path / "now", {"use": "gaussian", "model": str(model)})
    assert "no safetensors file" in told.value.why
    assert "forcerun" not in told.value.fix, "there is nothing of ours to run again"
    assert not mark.exists()
    assert not (tmp_path / "now").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_weights_are_refused_and_nothing_is_left(model: Path, tmp_path: Path, damage: str) -> None:
    weights = model / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-3]), "empty": b""}[damage])
    with pytest.raises(DataError, match="do not belong to their card") as error:
        fit(tmp_path / "now", {"use": "gaussian", "model": str(model)})
    assert error.value.where == str(weights)
    assert "methods.m.model" in error.value.fix
    assert not any((tmp_path / "now" / name).exists() for name in FILES)


def test_another_method_is_refused_before_it_is_imported(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another method") as error:
        given_card({"use": "gaussian_counts", "model": str(model)}, WHERE)
    assert "names 'gaussian'; 'gaussian_counts' is configured" in error.value.why
    rewrite(model, use="nowhere.at_all:Thing")
    with pytest.raises(DataError, match="another method"):
        fit(tmp_path / "now", {"use": "gaussian", "model": str(model)})


def test_a_card_that_was_changed_or_is_none(model: Path) -> None:
    card, spec = model / "card.json", {"use": "gaussian", "model": str(model)}
    text = card.read_text()
    card.write_text(text.replace('"seed": 3', '"seed": 4'))
    with pytest.raises(DataError, match="was changed"):
        given_card(spec, WHERE)
    for content in ("", "[]", "{}", text[:-9], "[" * 100_000, '{"a": "' + "x" * 2_000_000 + '"}', "\udcff"):
        card.write_text(content, errors="surrogateescape")
        with pytest.raises(DataError, match="Cannot read the card"):
            given_card(spec, WHERE)
    card.write_text(text)
    rewrite(model, images=json.loads('{"a": ' * 400 + "1" + "}" * 400))
    with pytest.raises(DataError, match="Cannot read the card") as deep:
        given_card(spec, WHERE)
    assert "nested too deeply" in deep.value.why
    card.write_text(text)
    for key in ("seed", "data", "versions"):
        rewrite(model, **{key: [1]})
        with pytest.raises(DataError, match="Cannot read the card") as error:
            fit(model.parent / "now", spec)
        assert f"'{key}'" in error.value.why
        card.write_text(text)


def test_settings_on_the_card_keep_to_the_schema(model: Path) -> None:
    """A card from elsewhere cannot ask for a network that no memory holds."""
    rewrite(model, settings={"fwhm_mm": -1})
    with pytest.raises(ConfigError, match="Invalid value") as error:
        given_card({"use": "gaussian", "model": str(model)}, WHERE)
    assert error.value.where == f"{WHERE}: settings on its card.fwhm_mm"
    rewrite(model, settings={"fwhm": 3})
    with pytest.raises(ConfigError, match="Unknown key 'fwhm'"):
        given_card({"use": "gaussian", "model": str(model)}, WHERE)


def test_weights_of_another_shape_do_not_fit(tmp_path: Path) -> None:
    model = fit(tmp_path / "earlier", FIXED)
    weights = model / "weights.safetensors"
    weights.write_bytes(save({"stranger": np.zeros(2, np.float32)}))
    rewrite(model, weights_sha256=sha256(weights), use=USE, settings={})
    with pytest.raises(DataError, match="do not fit") as error:
        fit(tmp_path / "now", {"use": USE, "model": str(model)})
    assert "KeyError" in error.value.why
    assert not (tmp_path / "now" / "weights.safetensors").exists()


def test_a_model_that_changes_while_it_is_copied(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    copyfile = shutil.copyfile

    def swapped(source: Path, place: Path) -> None:
        copyfile(source, place)
        Path(place).write_bytes(b"other")

    monkeypatch.setattr(shutil, "copyfile", swapped)
    with pytest.raises(DataError, match="do not belong") as error:
        fit(tmp_path / "now", {"use": "gaussian", "model": str(model)})
    assert "while it was copied" in error.value.why
    assert not any((tmp_path / "now").iterdir())


def test_the_overlays_of_the_how_to_are_configurations() -> None:
    """Each YAML block of the page, laid on each preset; the fragments on the first."""
    page = (ROOT / "docs" / "how-to" / "spect-clinic.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, flags=re.S)
    assert len(blocks) == 3
    train, everyone, given = (yaml.safe_load(block) for block in blocks)
    train["studies"]["spect_denoise"]["cohorts"] |= everyone
    base = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for preset in ("tiny", "demo", "paper"):
        one, other = (
            resolve(merge(base, {**overlay, "preset": preset}), ROOT)["studies"]["spect_denoise"]
            for overlay in (train, given)
        )
        assert set(one["cohorts"]) == {"clinic", "everyone"}
        assert not [name for name in one["methods"] if "oracle" in name]
        assert one["cohorts"]["clinic"]["export"]["format"] == "dicom"
        fitted = [name for name, spec in other["methods"].items() if "model" not in spec]
        assert preset == "paper" or not fitted, "nothing is left to fit"
        assert "observer" not in one["analyses"]


def test_every_study_takes_a_given_model() -> None:
    base = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for study, use in (("mri_denoise", "unet3d"), ("spect_denoise", "gaussian_counts")):
        overlay = {"studies": {study: {"methods": {"mine": {"use": use, "model": "somewhere"}}}}}
        assert (
            resolve(merge(base, overlay), ROOT)["studies"][study]["methods"]["mine"]["model"] == "somewhere"
        )
        overlay["studies"][study]["methods"]["mine"]["modle"] = "x"
        with pytest.raises(ConfigError, match="Unknown key 'modle'") as error:
            resolve(merge(base, overlay), ROOT)
        assert "did you mean 'model'?" in error.value.fix
    overlay = {"studies": {"mri_denoise": {"methods": {"mine": {"use": "unet3d", "model": ""}}}}}
    with pytest.raises(ConfigError, match="Invalid value"):
        resolve(merge(base, overlay), ROOT)
