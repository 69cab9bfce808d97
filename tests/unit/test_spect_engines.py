"""`engine:` and `phantom:` of the SPECT study: one torso through both cameras, seeds averaged, phantoms of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.core.configuration import load_yaml, validate
from senmei.core.errors import ConfigError, DataError, EngineError
from senmei.core.volume import Volume
from senmei.io.nifti import write_volume
from senmei.physics.spect.geometry import Acquisition
from senmei.studies.spect_denoise import SPECTDenoise
from senmei.studies.spect_engines import settings_of
from senmei.studies.spect_phantom_files import list_phantoms, on_field, read_heart, read_phantom
from tests.simind.installation import make_installation, misbehave
from tests.workflow.running import ROOT

SCHEMA = load_yaml(ROOT / "config" / "schemas" / "studies" / "spect_denoise.schema.yaml")["cohorts"]
RECONSTRUCTION = {
    "method": "osem", "iterations": 1, "subsets": 4, "attenuation": True, "psf": True, "scatter": True,
}  # fmt: skip
SETTINGS = {"pairs": "independent", "realisations": 2, "doses": [1.0], "reconstruction": RECONSTRUCTION}


def cohort(source: str = "simulate", **more: Any) -> dict[str, Any]:
    """A small cohort with the schema's defaults."""
    own: dict[str, Any] = {"use": "test", "source": source, "matrix": 32, "slices": 24, "voxel_mm": 12.0}
    own |= {
        "views": 12,
        "radius_mm": 260,
        "histories": 2e7,
        **({"subjects": 1} if source == "simulate" else {}),
    }
    return validate({**own, **more}, SCHEMA[source], "cohort")


@pytest.fixture
def simind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    environment = {**make_installation(tmp_path / "opt"), "SIMIND_VERSION": "8.0"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def image(defect: int = 0, name: str = "sub-001") -> dict[str, Any]:
    return {"image": name, "subject": "sub-001", "repeat": 1, "defect": defect, "scan": name}


def run(
    study: SPECTDenoise, phantom: dict[str, Any], settings: dict[str, Any], folder: Path, number: int = 1
) -> tuple[Any, dict[str, Any]]:
    """One seed: (loader of its roles, facts)."""
    where = folder / f"work{number}"
    where.mkdir()
    roles, facts = study.run_engine(
        image(), phantom.get, settings_of(settings, "engine") | {"simind": settings["simind"]},
        number=number, seed=7, minutes=5, folder=where,
    )  # fmt: skip
    return roles.get, facts


@pytest.mark.parametrize("direction", ["ccw", "cw"])
def test_one_torso_through_both_engines(direction: str, tmp_path: Path, simind: dict[str, str]) -> None:
    """The same geometry and orientation: correlated as the right way round, and as no other."""
    study, settings = SPECTDenoise(), cohort(engine="simind", direction=direction, start_deg=-30, arc_deg=200)
    phantom = study.render([image()], settings, seed=3)["sub-001"]
    seeds = [run(study, phantom, settings, tmp_path, number) for number in (1, 2)]
    other = study.gather(image(), phantom.get, seeds, settings)
    own = study.simulate([image()], cohort(direction=direction, start_deg=-30, arc_deg=200), seed=3)[
        "sub-001"
    ]
    assert other["acquisition"] == own["acquisition"]
    for name in ("attenuation", "labels", "segments"):
        assert np.array_equal(other[name].data, own[name].data), name
        assert np.array_equal(other[name].affine, own[name].affine)
    assert other["heart"] == own["heart"]
    a, b = other["projections"].data, own["projections"].data
    assert a.shape == b.shape == Acquisition.from_dict(own["acquisition"]).projection_shape
    assert a.sum(dtype=float) == pytest.approx(1, abs=1e-5)

    def alike(x: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), b.ravel())[0, 1])

    assert alike(a) > 0.97
    turned = {"u": a[::-1], "v": a[:, ::-1], "view": a[:, :, ::-1], "half a turn": np.roll(a, 6, axis=2)}
    for name, wrong in turned.items():
        assert alike(wrong) < 0.9, name
    columns = other["columns"]
    assert columns["engine"] == "SIMIND 8.0" and columns["seeds"] == 2
    assert columns["histories"] == pytest.approx(4e7, rel=0.01)


def test_gates_are_simulations_of_their_own(tmp_path: Path, simind: dict[str, str]) -> None:
    study, settings = SPECTDenoise(), cohort(engine="simind", phases=2, views=6, arc_deg=180)
    phantom = study.render([image()], settings, seed=3)["sub-001"]
    assert phantom["activity"].shape == phantom["attenuation"].shape == (32, 32, 24, 2)
    load, facts = run(study, phantom, settings, tmp_path)
    assert load("total").shape == (32, 24, 6, 2)
    assert len(set(facts["rr"].split(","))) == len(set(facts["simulation"].split(","))) == 2
    made = study.gather(image(), phantom.get, [(load, facts)], settings)
    assert made["projections"].shape == (32, 24, 6, 2)
    assert made["attenuation"].shape == (32, 32, 24)
    assert "engine_counts" not in made["columns"], "one seed does not tell how far it is off"


def test_finer_torsos_before_the_same_camera(tmp_path: Path, simind: dict[str, str]) -> None:
    study, settings = SPECTDenoise(), cohort(engine="simind", oversample=2, views=6)
    phantom = study.render([image()], settings, seed=3)["sub-001"]
    assert phantom["activity"].shape == phantom["mu"].shape == (64, 64, 48)
    assert phantom["attenuation"].shape == phantom["labels"].shape == (32, 32, 24)
    made = study.gather(image(), phantom.get, [run(study, phantom, settings, tmp_path)], settings)
    own = study.simulate([image()], cohort(oversample=2, views=6), seed=3)["sub-001"]
    assert made["acquisition"] == own["acquisition"]
    assert np.array_equal(made["attenuation"].data, own["attenuation"].data)
    assert np.corrcoef(made["projections"].data.ravel(), own["projections"].data.ravel())[0, 1] > 0.97


def fake(scale: float, histories: float, rng: np.random.Generator, rr: int = 1) -> tuple[Any, dict[str, Any]]:
    """A seed of a made-up camera: Poisson photons of a ramp, as rates."""
    mean = np.broadcast_to(np.linspace(1, 3, 32)[:, None, None], (32, 24, 12))
    total = rng.poisson(mean * histories).astype(np.float32) / np.float32(histories) * np.float32(scale)
    parts = {"total": total, "scatter": total / 4, "primary": total * 0.75}
    facts = {"program": "SIMIND", "release": "8.0", "histories": histories, "rr": rr, "simulation": "a"}
    return lambda part: Volume(parts[part], np.eye(4)), facts


def test_seeds_weigh_by_their_histories_and_tell_how_many_counts_they_are_worth() -> None:
    from senmei.studies.spect_engines import average_seeds

    rng = np.random.default_rng(1)
    settings = cohort(engine="simind")
    seeds = [fake(1e-3, h, rng, n) for n, h in enumerate((50.0, 100.0, 100.0, 250.0), 1)]
    mean, columns = average_seeds(image(), seeds, settings)
    h = [facts["histories"] for _, facts in seeds]
    expected = sum(w / sum(h) * load("total").data for w, (load, _) in zip(h, seeds, strict=True))
    assert np.allclose(mean[..., 0], expected, rtol=1e-5)
    photons = 500 * np.linspace(1, 3, 32).sum() * 24 * 12
    assert columns["engine_counts"] == pytest.approx(photons, rel=0.05)
    assert columns["scattered_share"] == pytest.approx(0.25, abs=1e-3)
    unscattered, _ = average_seeds(image(), seeds, cohort(engine="simind", scatter=False))
    assert np.allclose(unscattered, mean * 0.75, rtol=1e-5)


def test_seeds_that_are_not_independent_are_refused() -> None:
    from senmei.studies.spect_engines import average_seeds

    settings = cohort(engine="simind")
    twins = [fake(1, 10, np.random.default_rng(1), n) for n in (1, 2)]
    with pytest.raises(DataError, match="same photons") as error:
        average_seeds(image(), twins, settings)
    assert error.value.where == "sub-001, seeds 1 and 2"
    rng = np.random.default_rng(1)
    with pytest.raises(EngineError, match="cannot be averaged") as failure:
        average_seeds(image(), [fake(1, 10, rng, 5), fake(1, 10, rng, 5)], settings)
    assert "seed 5 occurs twice" in failure.value.why
    load, facts = fake(1, 10, rng, 6)
    with pytest.raises(EngineError) as failure:
        average_seeds(image(), [fake(1, 10, rng, 5), (load, {**facts, "simulation": "b"})], settings)
    assert "geometry, patient or settings differ" in failure.value.why


def test_a_failing_seed_names_image_and_seed(tmp_path: Path, simind: dict[str, str]) -> None:
    study, settings = SPECTDenoise(), cohort(engine="simind", views=4)
    phantom = study.render([image()], settings, seed=3)["sub-001"]
    misbehave(simind, "missing")
    with pytest.raises(EngineError) as error:
        run(study, phantom, settings, tmp_path, 4)
    assert error.value.where == "SIMIND in sub-001_seed-4"
    assert str(tmp_path) not in str(error.value)


def test_what_phantoms_and_runs_depend_on() -> None:
    one = cohort(engine="simind")
    both = {part: settings_of(one, part) for part in ("phantom", "engine")}
    for change, differs in (
        ({"counts": 5e6}, ()),
        ({"doses": [0.5]}, ()),
        ({"seeds": 9}, ()),
        ({"slab": 12}, ()),
        ({"simind": {**one["simind"], "minutes": 3}}, ()),
        ({"histories": 5e5}, ("engine",)),
        ({"views": 16}, ("engine",)),
        ({"collimator": "HE"}, ("engine",)),
        ({"simind": {**one["simind"], "penetration": True}}, ("engine",)),
        ({"defect_contrast": [0.5, 0.5]}, ("phantom",)),
        ({"phases": 4}, ("phantom",)),
        ({"voxel_mm": 8.0}, ("phantom", "engine")),
    ):
        found = tuple(part for part in both if settings_of({**one, **change}, part) != both[part])
        assert found == differs, change


def test_settings_that_do_not_go_together_are_refused_at_once() -> None:
    study = SPECTDenoise()
    for engine in ("builtin", "simind"):
        study.check_cohort(cohort(engine=engine, oversample=2), SETTINGS)
    for wrong in ({"phantom": "xcat"}, {"phantom": "file", "path": "x"}):
        with pytest.raises(ConfigError) as error:
            study.check_cohort(cohort(oversample=2, **wrong), SETTINGS)
        assert error.value.where == "oversample"
    with pytest.raises(ConfigError, match="path"):
        cohort(phantom="file")
    with pytest.raises(ConfigError, match="subjects"):
        validate({"use": "test", "source": "simulate"}, SCHEMA["simulate"], "cohort")
    with pytest.raises(ConfigError, match=r"simind\.minuets") as typo:
        cohort(simind={"minuets": 5})
    assert "minutes" in typo.value.fix


def test_programs_are_asked_for_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIMIND_BIN", "SMC_DIR"):
        monkeypatch.setenv(name, "/nowhere")
    study = SPECTDenoise()
    study.check_programs(cohort())
    study.check_programs({"use": "test", "source": "dicom", "path": "x"})
    with pytest.raises(ConfigError, match="SIMIND is not installed") as error:
        study.check_programs(cohort(engine="simind"))
    assert error.value.where == "engine"
    assert "SMC_DIR" in error.value.fix and "engine: builtin" in error.value.fix


# ---- phantoms of others, as files ----
def torso_files(folder: Path, name: str = "sub-anna", keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """A torso of ours, written as another's phantom."""
    phantom = SPECTDenoise().render([image(1)], cohort(), seed=3)["sub-001"]
    for role in ("activity", "attenuation", *(k for k in ("labels", "segments") if k in keep)):
        write_volume(folder / f"{name}_{role}.nii.gz", phantom[role])
    if "heart" in keep:
        (folder / f"{name}_heart.json").write_text(json.dumps(phantom["heart"]))
    return phantom


def listed(folder: Path) -> dict[str, Any]:
    (row,) = list_phantoms({"path": str(folder)})[1]
    return {**row, "scan": row["image"]}


def test_a_folder_of_phantoms_is_listed_and_read_back(tmp_path: Path) -> None:
    phantom = torso_files(tmp_path, keep=("labels", "segments", "heart"))
    row = listed(tmp_path)
    assert row["image"] == "sub-anna"
    roles = read_phantom(row, cohort(phantom="file", path=str(tmp_path)))
    for name in ("activity", "attenuation", "labels", "segments"):
        assert np.array_equal(roles[name].data, phantom[name].data), name
        assert np.allclose(roles[name].affine, phantom[name].affine)
    assert roles["heart"]["segments" if "segments" in roles["heart"] else "apex_mm"] == pytest.approx(
        phantom["heart"]["apex_mm"]
    )
    assert roles["heart"]["defect"]["segments"] == phantom["heart"]["defect"]["segments"]


def test_a_phantom_without_its_map_is_told_and_left(tmp_path: Path) -> None:
    torso_files(tmp_path)
    shutil.copy(tmp_path / "sub-anna_activity.nii.gz", tmp_path / "Berta Smith_activity.nii.gz")
    _, images, status = list_phantoms({"path": str(tmp_path)})
    assert [row["image"] for row in images] == ["sub-anna"]
    assert status[0]["status"] == "failed" and "no attenuation map" in status[0]["error"]
    assert status[0]["subject"].startswith("sub-BertaSmithx"), "a label, whatever the file is called"
    with pytest.raises(DataError, match="No phantoms") as error:
        list_phantoms({"path": str(tmp_path / "empty")})
    assert "{subject}_attenuation.nii.gz" in error.value.fix


def test_a_damaged_phantom_is_told_of_by_its_subject(tmp_path: Path) -> None:
    torso_files(tmp_path)
    row = listed(tmp_path)
    path = tmp_path / "sub-anna_attenuation.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError) as error:
        read_phantom(row, cohort(phantom="file", path=str(tmp_path)))
    assert error.value.where == "sub-anna: attenuation"
    assert "truncated" in error.value.why
    assert str(tmp_path) not in str(error.value)


def test_builtin_projections_of_a_file_are_those_of_the_torso_that_it_was(tmp_path: Path) -> None:
    """Half a voxel's way, turned round, finer: what a file's affine says is heeded."""
    study = SPECTDenoise()
    torso_files(tmp_path / "as it is", keep=("labels", "segments", "heart"))
    own = study.simulate([image(1)], cohort(), seed=3)["sub-001"]
    settings = cohort(phantom="file", path=str(tmp_path / "as it is"))
    assert study.seeds(settings) == 0 and study.listed(settings)
    row = listed(tmp_path / "as it is")
    made = study.gather(row, study.render([row], settings, seed=1)["sub-anna"].get, [], settings)
    assert np.allclose(made["projections"].data, own["projections"].data, rtol=1e-4, atol=1e-9)
    for role in ("activity", "attenuation"):  # left to right, feet to head
        from senmei.io.nifti import read_volume

        volume = read_volume(tmp_path / "as it is" / f"sub-anna_{role}.nii.gz")
        affine = volume.affine @ np.diag([-1, 1, -1, 1.0])
        write_volume(
            tmp_path / "turned" / f"sub-anna_{role}.nii.gz", Volume(volume.data[::-1, :, ::-1].copy(), affine)
        )
    row = listed(tmp_path / "turned")
    again = study.gather(row, study.render([row], settings, seed=1)["sub-anna"].get, [], settings)
    assert np.allclose(again["projections"].data, made["projections"].data, rtol=1e-3, atol=1e-8)
    assert "labels" not in again and "heart" not in again


def test_finer_maps_are_averaged_and_labels_taken_by_the_nearest() -> None:
    fine = SPECTDenoise().render([image()], cohort(matrix=64, slices=48, voxel_mm=6.0), seed=3)["sub-001"]
    coarse = SPECTDenoise().render([image()], cohort(), seed=3)["sub-001"]
    roles = on_field(fine["activity"], fine["attenuation"], cohort(), "x", {"labels": fine["labels"]})
    for name in ("activity", "attenuation"):
        assert np.corrcoef(roles[name].data.ravel(), coarse[name].data.ravel())[0, 1] > 0.995, name
        assert roles[name].data.mean() == pytest.approx(fine[name].data.mean(), rel=0.02)
    assert (roles["labels"].data == coarse["labels"].data).mean() > 0.9
    assert roles["labels"].data.dtype == fine["labels"].data.dtype


def test_phantoms_that_cannot_be_used_say_why() -> None:
    phantom = SPECTDenoise().render([image()], cohort(), seed=3)["sub-001"]
    activity, mu = phantom["activity"], phantom["attenuation"]
    cases: list[tuple[Volume, Volume, dict[str, Any], str, str]] = [
        (activity, Volume(mu.data[1:], mu.affine), {}, "31 x 32 x 24", "one grid"),
        (activity, mu.like(mu.data * 1000), {}, "soft tissue has 0.15", "1/cm"),
        (activity.like(-activity.data), mu, {}, "negative", "activity"),
        (activity, mu, {"phases": 4}, "1 phase(s), the cohort 4", "phases:"),
        (activity, mu, {"matrix": 16}, "beside the field", "matrix:"),
        (activity, mu, {"radius_mm": 120}, "from the axis of rotation", "radius_mm:"),
    ]
    for a, m, change, why, fix in cases:
        with pytest.raises(DataError, match="Cannot use a phantom") as error:
            on_field(a, m, cohort(**change), "sub-007")
        assert error.value.where == "sub-007"
        assert why in error.value.why and fix in error.value.fix, (error.value.why, error.value.fix)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[]", "list"),
        ('{"apex_mm": [0, 0, 0]}', "base_mm"),
        ('{"apex_mm": [0, 0], "base_mm": [0, 0, 9], "septum": [1, 0, 0]}', "3 finite numbers, not 2"),
        ('{"apex_mm": [0, 0, 0], "base_mm": [0, 0, 9], "septum": [1, 0, 0]}', "less than 20 mm"),
        ('{"apex_mm": [0, 0, NaN], "base_mm": [0, 0, 9], "septum": [1, 0, 0]}', "finite"),
        (f'{{"x": "{"y" * 70000}"}}', "65536 bytes"),
    ],
)
def test_a_heart_that_is_none(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "Maier_heart.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_heart(path, "sub-001")
    assert why in error.value.why
    assert "Maier" not in str(error.value)


def test_a_heart_keeps_what_is_known_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "heart.json"
    told = {
        "apex_mm": [-60, 40, -30],
        "base_mm": [-20, 0, 0],
        "septum": [1, 0, 0],
        "name": "Maier",
        "wall_mm": 11,
    }
    path.write_text(json.dumps(told))
    assert read_heart(path, "x") == {**{k: told[k] for k in told if k != "name"}, "defect": None}


def test_a_phantom_without_segments_has_a_reference_and_no_more(tmp_path: Path) -> None:
    study = SPECTDenoise()
    torso_files(tmp_path)
    settings = cohort(phantom="file", path=str(tmp_path), slab=None)
    row = listed(tmp_path)
    made = study.gather(row, study.render([row], settings, seed=1)["sub-anna"].get, [], settings)
    scan = {**row, "scan": "sub-anna_acq-dose100", "dose": 1.0}
    roles, columns = study.prepare("truth", scan, lambda _, role: made[role], settings, SETTINGS, 1)
    assert set(roles) == {"reference"}
    assert columns["data_range"] > 0
    roles, _ = study.prepare("input", scan, lambda _, role: made[role], settings, SETTINGS, 1)
    assert set(roles) == {"input", "mask"}
    with pytest.raises(DataError, match="slab"):
        study.gather(row, study.render([row], settings, 1)["sub-anna"].get, [], {**settings, "slab": 12})


# ---- XCAT ----
XCAT = ROOT / "tests" / "xcat" / "dxcat2"


@pytest.fixture
def xcat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pretended XCAT, named by the environment."""
    program = tmp_path / "xcat" / "dxcat2"
    program.parent.mkdir()
    shutil.copy(XCAT, program)
    program.chmod(0o755)
    names = "vmale50.nrb vmale50_heart.nrb vfemale50.nrb vfemale50_heart.nrb heart_curve.txt atten_table.dat"
    for name in names.split():
        (program.parent / name).write_text("x")
    monkeypatch.setenv("XCAT_BIN", str(program))
    return program


def test_subjects_that_xcat_makes_differ_and_have_their_defect(xcat: Path) -> None:
    study = SPECTDenoise()
    settings = cohort(
        phantom="xcat",
        defects="both",
        xcat={
            "gender": "both",
            "parameters": {"phantom_height_scale": [0.8, 1.2]},
            "uptake": {"liver": [0.3, 1]},
        },
    )
    study.check_cohort(settings, SETTINGS)
    study.check_programs(settings)
    assert not study.listed(settings) and study.seeds(settings) == 0
    from senmei.studies.spect_xcat import subject_settings

    drawn = [subject_settings(settings, True, seed) for seed in range(8)]
    assert {one.gender for one in drawn} == {"male", "female"}
    scales = [one.parameters["phantom_height_scale"] for one in drawn]
    assert len(set(scales)) == 8 and all(0.8 <= x <= 1.2 for x in scales)
    assert len({one.uptake["liver"] for one in drawn}) == 8
    assert drawn[0] == subject_settings(settings, True, 0), "the same for the same seed"
    rows = [{**row, "scan": row["image"]} for row in study.images({"subject": "sub-001"}, settings)]
    made = study.render(rows, settings, seed=3)
    normal, defect = (made[row["image"]] for row in rows)
    assert normal["activity"].shape == (32, 32, 24)
    assert np.array_equal(normal["attenuation"].data, defect["attenuation"].data)
    lost = normal["activity"].data - defect["activity"].data
    assert lost.min() >= 0 and lost.max() > 0.1
    raw = study.gather(rows[1], defect.get, [], settings)
    assert set(raw) == {"projections", "attenuation", "acquisition", "columns"}
    assert raw["projections"].data.sum(dtype=float) == pytest.approx(1, abs=1e-5)


def test_a_defect_has_the_same_place_in_xcats_terms() -> None:
    from senmei.core.seeds import draw_generator
    from senmei.phantoms.heart import draw_defect
    from senmei.studies.spect_xcat import lesion_of

    for seed in range(6):
        ours = draw_defect(draw_generator(seed, "defect"), contrast=(0.15, 0.6))
        theirs = lesion_of(cohort(phantom="xcat"), seed)
        assert np.cos(np.radians(theirs["theta_deg"])) == pytest.approx(np.cos(np.radians(ours.angle_deg)))
        assert np.sin(np.radians(theirs["theta_deg"])) == pytest.approx(-np.sin(np.radians(ours.angle_deg)))
        assert 0 <= theirs["theta_deg"] < 360


def test_without_xcat_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XCAT_BIN", raising=False)
    study = SPECTDenoise()
    with pytest.raises(ConfigError, match="XCAT is not here") as error:
        study.check_programs(cohort(phantom="xcat"))
    assert error.value.where == "phantom" and "XCAT_BIN" in error.value.fix
    with pytest.raises(ConfigError) as wrong:
        study.check_cohort(cohort(phantom="xcat", xcat={"uptake": {"livver": 1}}), SETTINGS)
    assert wrong.value.where == "xcat.uptake.livver"
    with pytest.raises(ConfigError) as slab:
        study.check_cohort(cohort(phantom="xcat", slab=16), SETTINGS)
    assert slab.value.where == "slab"


def volumes(folder: Path, name: str, phases: int = 1, defect: bool = False) -> None:
    """Volumes as an earlier XCAT left them, of the double."""
    from senmei.engines.xcat import XcatSettings, run_xcat

    lesion = {"theta_deg": 40, "severity": 0.5} if defect else None
    settings = XcatSettings.from_config(
        {"matrix": 24, "slices": 20, "voxel_mm": 15.0, "phases": phases, "lesion": lesion}
    )
    work = folder.parent / f"work-{name}"
    run_xcat(settings, work)
    folder.mkdir(exist_ok=True)
    for path in work.iterdir():
        if path.suffix == ".bin" or path.name.endswith("_log"):
            shutil.move(path, folder / path.name.replace("phantom", name, 1))


def test_volumes_that_xcat_wrote_before(xcat: Path, tmp_path: Path) -> None:
    study, folder = SPECTDenoise(), tmp_path / "volumes"
    volumes(folder, "anna", phases=2, defect=True)
    volumes(folder, "berta")
    (folder / "carla_act_1.bin").write_bytes(b"x")
    settings = cohort("xcat", path=str(folder), defects="both")
    assert study.listed(settings) and study.seeds(settings) == 0
    study.check_cohort(settings, SETTINGS)
    study.check_programs(settings)
    listing = study.list_files(settings, tmp_path, seed=1, log=print)
    assert listing is not None
    _, rows, status = listing
    assert [(row["image"], row["defect"]) for row in rows] == [
        ("sub-anna_acq-normal", 0),
        ("sub-anna_acq-defect", 1),
        ("sub-berta", 0),
    ]
    assert [(row["subject"], row["status"]) for row in status] == [
        ("sub-berta", "remark"),
        ("sub-carla", "failed"),
    ]
    made = study.render([r for r in rows if r["subject"] == "sub-anna"], settings, seed=1)
    normal, defect = made.values()
    assert normal["activity"].shape == (32, 32, 24), "the mean of its phases, on the camera's field"
    assert (normal["activity"].data - defect["activity"].data).max() > 0.05
    gated = {**settings, "phases": 2}
    beat = study.render([rows[0]], gated, seed=1)["sub-anna_acq-normal"]
    assert beat["activity"].shape == beat["attenuation"].shape == (32, 32, 24, 2)
    assert np.allclose(beat["activity"].data.mean(axis=3), normal["activity"].data, atol=1e-5)
    with pytest.raises(DataError) as error:
        study.render([rows[2]], gated, seed=1)
    assert "1 phase(s), the cohort 2" in error.value.why and error.value.where == "sub-berta"
    scans = study.scans(rows, settings, {**SETTINGS, "doses": [1.0, 0.5]})
    assert len(scans) == 6
    for given, wanted in (("given", [1, 0]), ("none", [0, 0])):
        listing = study.list_files({**settings, "defects": given}, tmp_path, seed=1, log=print)
        assert listing is not None and [row["defect"] for row in listing[1]] == wanted


def test_the_methods_paragraph_says_who_and_by_what() -> None:
    from senmei.studies.spect_words import MEASURED, RECONSTRUCTED, SIMULATED, sentences_of

    assert sentences_of([cohort()]) == (SIMULATED, RECONSTRUCTED), "as before"
    told = sentences_of([cohort(engine="simind"), {"use": "test", "source": "dicom"}])
    text = " ".join(sentence for sentence, _ in told)
    assert "Torsos with individual anatomy" in text and "Monte Carlo simulations (SIMIND)" in text
    assert "effective-source" not in text
    assert MEASURED in told
    text = " ".join(
        sentence for sentence, _ in sentences_of([cohort("xcat", path="x"), cohort(engine="simind")])
    )
    for words in ("XCAT phantoms", "Torsos", "effective-source", "SIMIND", "thinned"):
        assert text.count(words) == 1, words


def test_phantoms_that_are_files_have_a_truth() -> None:
    study = SPECTDenoise()
    assert study.case([], cohort("xcat", path="x"))[0] == "phantom"
    assert study.case([], {"use": "test", "source": "dicom"})[0] == "none"
