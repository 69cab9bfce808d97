"""SIMIND behind `engine: simind`, driven as a double: seeds as jobs, one failing and retried, averaged by ingestion."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from senmei.io.nifti import read_volume, write_volume
from senmei.io.tables import read_tsv
from tests.simind.installation import calls, make_installation, misbehave
from tests.workflow.running import planned, snakemake

SMALL = {
    "matrix": 32, "slices": 24, "voxel_mm": 12, "views": 12, "arc_deg": 180, "radius_mm": 260, "defects": "none",
}  # fmt: skip
SEEDS = (1, 2, 3, 4)
STUDY = Path("results/tiny/spect_denoise")
RAW = STUDY / "cohorts" / "torsos" / "raw" / "sub-001.tsv"
PREPARED = STUDY / "prepared" / "torsos" / "input" / "sub-001.tsv"


def config(**cohort: Any) -> dict[str, Any]:
    """One torso before SIMIND, nothing to train."""
    own = {"use": "test", "subjects": 1, **SMALL, "engine": "simind", "seeds": 4, "histories": 1e7, **cohort}
    study: dict[str, Any] = {
        "shards": "subject",
        "cohorts": {"torsos": {k: v for k, v in own.items() if v is not None}, "observer": None},
        "methods": {"gaussian": None, "unet3d_n2n": None},
        "degradation": {"reconstruction": {"subsets": 4}},
        "analyses": {"perfusion": {"skip": []}},
    }
    return {
        "run": "tiny",
        "preset": "tiny",
        "device": "cpu",
        "only": ["spect_denoise"],
        "studies": {"spect_denoise": study},
    }


def seed(number: int) -> Path:
    return STUDY / "cohorts" / "torsos" / f"seed-{number}" / "sub-001.tsv"


def jobs(text: str) -> dict[str, int]:
    """rule -> number of jobs, of a run's own statistics."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {rule: int(n) for rule, n in re.findall(r"^([a-z_0-9]+)\s+(\d+)$", table, flags=re.M)}


@pytest.fixture
def simind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A pretended SIMIND, in the environment of the workflow."""
    environment = {**make_installation(tmp_path / "opt"), "SIMIND_VERSION": "8.0"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def test_four_seeds_one_of_which_fails_and_is_retried(tmp_path: Path, simind: dict[str, str]) -> None:
    """Only that seed runs twice; what it said is kept; ingestion averages; one seed by name is made again alone."""
    misbehave(simind, "stdout-error call=2")
    target = str(PREPARED)
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(config()))
    text = snakemake(tmp_path, "-c2", "--retries", "1", target)
    assert jobs(text) == {"render_phantom": 1, "run_engine": 4, "ingest": 1, "prepare": 1}
    assert calls(simind) == 5, "four seeds and one retry"
    assert "SIMIND failed" in text and "SIMIND ERROR NUMBER :   64" in text

    logs = tmp_path / "results/tiny/logs/spect_denoise/run_engine/torsos"
    (told,) = logs.rglob("*.failed")
    failed = int(told.parent.name.removeprefix("seed-"))
    assert f"seed {failed}, sub-001: SIMIND failed" in told.read_text()
    assert "SIMIND ERROR NUMBER :   64" in told.read_text()
    assert f"SIMIND in sub-001_seed-{failed}" in told.read_text(), "where: the image and the seed, no path"

    facts, totals = {}, []
    for number in SEEDS:
        rows = read_tsv(tmp_path / seed(number))
        assert {row["role"] for row in rows} == {"total", "scatter", "primary"}
        record = json.loads((tmp_path / seed(number)).with_name("sub-001.json").read_text())
        facts[number] = record["columns"]
        assert record["number"] == number
        assert facts[number]["program"] == "SIMIND" and facts[number]["release"] == "8.0"
        assert facts[number]["histories"] == pytest.approx(1e7, rel=0.02)
        assert f"/rr:{facts[number]['rr']}" in facts[number]["command"]
        assert str(tmp_path) not in json.dumps(record), "no path of this machine"
        (path,) = (row["path"] for row in rows if row["role"] == "total")
        totals.append(read_volume((tmp_path / seed(number)).parent / path, ndim=(3, 4)).data)
    assert len({facts[n]["rr"] for n in SEEDS}) == 4
    assert len({facts[n]["simulation"] for n in SEEDS}) == 1

    raw = {row["role"]: row for row in read_tsv(tmp_path / RAW)}
    assert set(raw) == {"projections", "attenuation", "labels", "segments", "heart", "acquisition"}
    mean = read_volume((tmp_path / RAW).parent / raw["projections"]["path"], ndim=(3, 4)).data
    expected = np.mean(totals, axis=0)
    assert np.allclose(mean, expected / expected.sum(), rtol=1e-4, atol=1e-9)
    assert mean.sum(dtype=float) == pytest.approx(1, abs=1e-5)
    told_of = raw["projections"]
    assert (told_of["engine"], told_of["seeds"]) == ("SIMIND 8.0", 4)
    assert told_of["histories"] == pytest.approx(sum(facts[n]["histories"] for n in SEEDS))
    assert 0.15 < told_of["scattered_share"] < 0.4
    # the double counts 5 % of the photons that leave: what its average is worth follows from the histories
    spread = np.var(totals, axis=0, ddof=1).sum() / 4 / expected.sum() ** 2
    assert told_of["engine_counts"] == pytest.approx(1 / spread, rel=0.01)
    prepared = read_tsv(tmp_path / PREPARED)
    assert {(row["scan"], row["status"]) for row in prepared} == {("sub-001_acq-dose25", "ok")}
    assert 0.24 * 3e6 < prepared[0]["counts"] < 0.26 * 3e6

    assert planned(tmp_path, target) == {}, "a finished run plans nothing"
    name = str(seed(3))
    kept = {n: (tmp_path / seed(n)).stat().st_mtime_ns for n in SEEDS}
    for path in (tmp_path / seed(3)).parent.iterdir():
        path.unlink()
    assert jobs(snakemake(tmp_path, "-c1", name)) == {"run_engine": 1}
    assert calls(simind) == 6
    assert [n for n in SEEDS if (tmp_path / seed(n)).stat().st_mtime_ns != kept[n]] == [3]
    assert planned(tmp_path, target) == {}, "the same photons: nothing follows"

    for change, plan in (
        ({"seeds": 5}, {"run_engine": 1, "ingest": 1, "prepare": 1}),  # one more: that one
        ({"counts": 1e6, "simind": {"minutes": 9}}, {"ingest": 1, "prepare": 1}),
        ({"histories": 2e7}, {"run_engine": 4, "ingest": 1, "prepare": 1}),
    ):
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(config(**change)))
        assert planned(tmp_path, target) == plan, change
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(config()))
    manifest = tmp_path / seed(3)
    manifest.write_text(manifest.read_text().replace(str(facts[3]["rr"]), "1"))
    assert planned(tmp_path, target) == {"ingest": 1, "prepare": 1}, (
        "another seed: its descendants, no other seed"
    )


def test_a_seed_that_fails_for_good_stops_neither_the_others_nor_a_later_run(
    tmp_path: Path, simind: dict[str, str]
) -> None:
    misbehave(simind, "short call=1")
    quick = config(views=4, histories=1e6, seeds=2)
    text = snakemake(tmp_path, "-c1", "--keep-going", str(RAW), config=quick, ok=False)
    assert "SIMIND's output is not whole" in text
    assert calls(simind) == 2, "the other seed was run"
    assert not (tmp_path / RAW).exists(), "no average of fewer seeds than were asked for"
    assert sum((tmp_path / seed(n)).exists() for n in (1, 2)) == 1
    snakemake(tmp_path, "-c1", "--quiet=rules", str(RAW))
    assert calls(simind) == 3
    assert {row["status"] for row in read_tsv(tmp_path / RAW)} == {"ok"}


def test_without_simind_nothing_starts_and_nothing_is_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMIND_BIN", str(tmp_path / "no-simind"))
    monkeypatch.delenv("SMC_DIR", raising=False)
    text = snakemake(tmp_path, "-n", str(RAW), config=config(), ok=False)
    assert "SIMIND is not installed" in text
    assert "studies.spect_denoise.cohorts.torsos.engine" in text
    assert "set SIMIND_BIN to the program and SMC_DIR to its smc_dir folder" in text
    assert not (tmp_path / "results").exists()
    opt = make_installation(tmp_path / "opt", folder_version="7.0.3")
    for name, value in {**opt, "SIMIND_VERSION": "8.0"}.items():
        monkeypatch.setenv(name, value)
    text = snakemake(tmp_path, "-n", str(RAW), ok=False)
    assert "of different releases" in text
    monkeypatch.setenv("SIMIND_BIN", str(tmp_path / "no-simind"))
    snakemake(
        tmp_path, "-n", str(RAW), config=config(engine="builtin")
    )  # who does not want it, does not need it


def test_phantoms_of_a_folder_through_every_stage_one_of_them_no_good(tmp_path: Path) -> None:
    """Listed like files, simulated by the builtin engine: the bad one is a row of the report, told once."""
    from senmei.studies.spect_denoise import SPECTDenoise

    folder = tmp_path / "phantoms"
    settings = {**SMALL, "phases": 1, "oversample": 1, "defect_contrast": [0.5, 0.5], "source": "simulate"}
    for number, name in enumerate(("anna", "berta")):
        row = {"image": name, "subject": name, "defect": 1, "repeat": 1}
        made = SPECTDenoise().render([row], settings, seed=number)[name]
        mu = made["attenuation"]
        write_volume(folder / f"{name}_activity.nii.gz", made["activity"])
        write_volume(
            folder / f"{name}_attenuation.nii.gz", mu.like(mu.data * (1 if name == "anna" else 1000))
        )
        write_volume(folder / f"{name}_segments.nii.gz", made["segments"])
        (folder / f"{name}_heart.json").write_text(json.dumps(made["heart"]))
    own = config(engine="builtin", phantom="file", path=str(folder), subjects=None, defects=None)
    own["studies"]["spect_denoise"]["shards"] = 1
    table = STUDY / "measures.tsv"
    snakemake(tmp_path, "-c2", "--quiet=rules", str(table), config=own)
    status = read_tsv(tmp_path / STUDY / "status.tsv")
    assert [(row["stage"], row["scan"], row["status"]) for row in status] == [
        ("phantom", "sub-berta", "failed")
    ]
    assert "soft tissue has 0.15 1/cm" in status[0]["error"]
    facts = json.loads((tmp_path / STUDY / "cohorts/torsos/cohort.json").read_text())
    assert (facts["case"], facts["synthetic"]) == ("phantom", True)
    measured = {row["measure"]: row["value"] for row in read_tsv(tmp_path / table)}
    assert {row["scan"] for row in read_tsv(tmp_path / table)} == {"sub-anna_acq-dose25"}
    assert 0 < measured["nrmse"] < 0.5
    assert 0 < measured["wall_thickness"] < 60, "its heart and segments came along"
    assert planned(tmp_path, str(table)) == {}
