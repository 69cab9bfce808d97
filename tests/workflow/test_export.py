"""Restored images go back as files, and a model of an earlier run is used in place of training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from senmei.io.atomic import sha256
from senmei.io.tables import read_tsv
from tests.workflow.running import planned, snakemake, toy

STUDY = "toy_clinic"


def folder(run: Path) -> Path:
    return run / "results" / "toy" / STUDY


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def clinic(**changes: Any) -> dict[str, Any]:
    """The toy's configuration; changes of its cohort `clinic`."""
    config = toy("clinic")
    config["studies"][STUDY]["cohorts"]["clinic"] |= changes
    return config


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("exported")
    snakemake(run, "-c2", "--quiet=rules", "all", config=clinic())
    return run


def test_every_test_scan_goes_back_and_what_failed_is_told(exported: Path) -> None:
    study = folder(exported)
    assert names(study / "exported") == {"clinic"}, "the other cohort does not ask for files"
    assert names(study / "exported" / "clinic") == {"input", "rescale"}
    for method in ("input", "rescale"):
        place = study / "exported" / "clinic" / method
        assert names(place) == {
            "test-0.tsv",
            *(f"{s}_acq-dose{d}.{e}" for s in ("sub-001", "sub-003") for d in (50, 25) for e in ("dcm", "json")),
        }  # fmt: skip
        rows = read_tsv(place / "test-0.tsv")
        row = rows[0]
        restored = read_tsv(study / "restored" / "clinic" / method / "test-0.tsv")[0]
        assert (row["role"], row["path"], row["status"]) == ("dcm", "sub-001_acq-dose50.dcm", "ok")
        assert {r["subject"] for r in rows if r["status"] == "failed"} == {"sub-002"}
        header, _, data = (place / row["path"]).read_bytes().partition(b"\n")
        assert len(data) == 12 * 12 * 8 * 4
        told = json.loads(header)
        card = json.loads((study / "models" / method / "card.json").read_text())
        assert (card["weights_sha256"] in told["derivation"]) is (method != "input")
        assert restored["sha256"] != row["sha256"]
    failures = [r for r in read_tsv(study / "status.tsv") if r["stage"] == "export"]
    assert len(failures) == 4
    assert {r["method"] for r in failures} == {"input", "rescale"}
    assert all("its orbit is lost" in r["error"] for r in failures)


def test_identifiers_join_a_patient_and_tell_series_apart(exported: Path) -> None:
    keys = [
        json.loads(path.read_bytes().partition(b"\n")[0])["keys"] | {"of": path.name[:7]}
        for path in folder(exported).glob("exported/clinic/*/*.dcm")
    ]
    assert len({k["series"] for k in keys}) == len(keys) == 8
    for name in ("subject", "image"):
        assert len({(k["of"], k[name]) for k in keys}) == len({k[name] for k in keys}) == 2
    assert all(len(k[name]) == 32 for k in keys for name in ("subject", "image", "series"))


def test_the_page_lists_what_went_back(exported: Path) -> None:
    page = (folder(exported) / "report.html").read_text()
    assert 'href="exported/clinic/rescale/"' in page
    summary = json.loads((folder(exported) / "summary.json").read_text())
    assert summary["exported"] == [
        {"cohort": "clinic", "method": m, "folder": f"exported/clinic/{m}", "kinds": ["dcm"], "scans": 4, "without": 2}
        for m in ("input", "rescale")
    ]  # fmt: skip
    assert planned(exported, "all") == {}


def test_another_format_plans_the_export_alone_and_leaves_no_file_of_the_first(
    exported: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(exported, tmp_path / "run")
    before = (folder(run) / "exported/clinic/rescale/sub-001_acq-dose50.dcm").read_bytes()
    (run / "test.yaml").write_text(
        yaml.safe_dump(clinic(export={"format": "interfile", "methods": ["rescale"]}))
    )
    assert planned(run, "exported") == {"export": 1, "exported": 1}
    snakemake(run, "-c2", "--quiet=rules", "exported")
    place = folder(run) / "exported" / "clinic" / "rescale"
    assert {p.suffix for p in place.iterdir()} == {".tsv", ".json", ".hv", ".v"}
    data = np.frombuffer((place / "sub-003_acq-dose25.v").read_bytes(), np.float32)
    assert data.shape == (12 * 12 * 8,)
    assert 1 < data.mean() < 2
    snakemake(run, "-c2", "--quiet=rules", "exported", config=clinic())
    assert not list(place.glob("*.hv"))
    assert (place / "sub-001_acq-dose50.dcm").read_bytes() == before, "the same facts, the same bytes"


def test_a_given_model_restores_without_training_data(exported: Path, tmp_path: Path) -> None:
    """A study with nothing but `use: test` cohorts: weights of the earlier run, no training input, provenance."""
    model = folder(exported) / "models" / "rescale"
    config = clinic(lost=None)
    study = config["studies"][STUDY]
    del study["cohorts"]["learn"]
    study["methods"] = {"earlier": {"use": "tests.contract.image:Rescale", "model": str(model)}}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(config))
    plan = planned(tmp_path, "all")
    assert plan["train"] == 2, "input and the given"
    assert plan["prepare"] == 2, "for restoring and judging; nothing for training"
    snakemake(tmp_path, "-c2", "--quiet=rules", "report")
    made = folder(tmp_path) / "models" / "earlier"
    assert (made / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()
    card, own = (json.loads((place / "card.json").read_text()) for place in (made, model))
    assert card["given"] is True
    assert card["given_card_sha256"] == sha256(model / "card.json")
    assert {k: card[k] for k in ("seed", "data", "code")} == {k: own[k] for k in ("seed", "data", "code")}
    assert str(exported) not in (made / "card.json").read_text(), (
        "where it came from is nobody else's business"
    )
    ours, theirs = (
        (folder(run) / "restored/clinic" / name / "sub-001_acq-dose25.nii.gz").read_bytes()
        for run, name in ((tmp_path, "earlier"), (exported, "rescale"))
    )
    assert ours == theirs
    assert "was not fitted here" in (folder(tmp_path) / "report.html").read_text()
    assert planned(tmp_path, "report") == {}


def test_a_given_model_that_cannot_be_is_refused_before_anything_runs(exported: Path, tmp_path: Path) -> None:
    config = clinic()
    methods = config["studies"][STUDY]["methods"]
    methods["rescale"]["model"] = str(tmp_path / "nowhere")
    text = snakemake(tmp_path, "-n", "all", config=config, ok=False)
    assert "Given model is not there" in text
    assert f"studies.{STUDY}.methods.rescale.model" in text
    del methods["rescale"]["model"]
    config["studies"][STUDY]["cohorts"]["clinic"]["export"]["methods"] = ["rescael"]
    text = snakemake(tmp_path, "-n", "all", config=config, ok=False)
    assert "did you mean 'rescale'?" in text
    assert not (tmp_path / "results").exists()
