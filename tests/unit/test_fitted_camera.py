"""Fitted cameras: files of them are checked when a run is planned, their content decides, and they simulate alike."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senmei.analyses.degradation_fit import DegradationFit
from senmei.analyses.degradation_sheets import known_numbers, tag_of
from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.shown import Figure, Note, Table, read_shown
from senmei.physics.planar.camera import PlanarCamera, draw_counts
from senmei.physics.planar.fitted import FittedCamera
from senmei.physics.planar.response import Response
from senmei.physics.planar.sheet import sheet_affine
from senmei.physics.planar.tone import toned
from senmei.stages.plan import Plan
from senmei.studies.gamma_conditions import camera_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"teachers": ["photographs"], "subjects": 4, "size": 64, "border": 4, "pixel_mm": 2.69}
LAYER = {"layers_mm": [50], "matrices": [16]}


def config(**degradation: Any) -> dict[str, Any]:
    found = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    overlay = {"cohorts": {"sheets": SMALL}, "degradation": {"matrices": [16], **degradation}}
    found["studies"] = {"gamma_sr": overlay}
    return {"run": "x", "seed": 1, "strict": False, "studies": resolve(found, ROOT)["studies"]}


def planned(tmp_path: Path, **degradation: Any) -> Any:
    return Plan(config(**degradation), tmp_path)["gamma_sr"]


def camera_file(path: Path, **change: Any) -> Path:
    camera = FittedCamera("Tc-99m", "LEHR", 100.0, 0.0, Response(80.0, 7.5, 0.0, 0.0, 0.01, 30.0), 0.02)
    path.write_text(json.dumps({**camera.to_dict(), **change}))
    return path


def sheet(seed: int, n: int = 96, pixel: float = 3.0) -> Volume:
    """Blobs within an empty margin, MBq a pixel."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(-1, 1, n)] * 2, indexing="ij")
    image = np.full((n, n), 0.3)
    for _ in range(12):
        at, size = rng.uniform(-0.7, 0.7, 2), rng.uniform(0.05, 0.2)
        image += rng.uniform(0.2, 1.0) * ((x - at[0]) ** 2 + (y - at[1]) ** 2 < size**2)
    image *= (abs(x) < 0.8) & (abs(y) < 0.8)
    return Volume((image / image.sum() * 40.0).astype(np.float32)[..., None], sheet_affine((n, n), pixel))


def example(
    seed: int, camera: PlanarCamera, true: PlanarCamera | None = None, simulated: bool = True, **scan: Any
) -> tuple[Example, Volume]:
    """A sheet that `true` imaged, said to be imaged by `camera`."""
    activity = sheet(seed)
    expected = (true or camera).expected(activity)
    low = draw_counts(expected, np.random.default_rng(seed))
    roles: dict[str, Any] = {"low": low, "camera": camera.role(2), "activity": activity}
    roles |= {"expected": expected} if simulated else {}
    return Example({"scan": f"s{seed}", "subject": f"s{seed}", **scan}, roles), low


def camera(**settings: Any) -> PlanarCamera:
    return PlanarCamera(matrix=48, zoom=613.8 / 288.0, **{"time_s": 120.0, **settings})


def fitted(folder: Path, pairs: list[tuple[Example, Volume]], **options: Any) -> dict[str, float]:
    rows = DegradationFit(**options).run_cohort(iter(pairs), folder)
    return {row["measure"]: row["value"] for row in rows}


@pytest.mark.parametrize("layer", [0.0, 50.0])
def test_a_simulated_camera_is_found_within_its_errors(
    layer: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Largest of three to five distances in standard errors, over seeds: what chance gives, and no more."""
    monkeypatch.setattr(
        "senmei.analyses.degradation_tables._figure", lambda *_: b"\x89PNG\r\n\x1a\n"
    )  # not drawn
    truth = camera(layer_mm=layer, background_cps_per_cm2=0.01)
    worst = []
    for seed in range(6):
        found = fitted(tmp_path, [example(10 * seed + n, truth) for n in range(2)])
        assert found["fit_lack"] < 4.0
        assert found["fit_chi2"] == pytest.approx(1.0, abs=0.1)
        assert found["fit_fwhm_low"] < found["fit_fwhm"] < found["fit_fwhm_high"]
        assert ("fit_scatter" in found) == (layer > 0)
        worst.append(found["fit_recovery"])
    assert max(worst) < 4.0
    assert 0.6 < np.mean(worst) < 2.2


@pytest.mark.parametrize("wrong", ["field", "shift", "scatter"])
def test_a_wrong_model_is_not_good(wrong: str, tmp_path: Path) -> None:
    """An uneven field, a sheet that lies elsewhere, scatter that is held at none."""
    usual, layered = camera(time_s=600.0), camera(time_s=600.0, layer_mm=100.0)
    if wrong == "scatter":
        pairs = [example(1, usual, layered)]  # said to be in air
    else:
        (case, _), activity = example(1, usual), sheet(1)
        expected = usual.expected(activity)
        if wrong == "field":
            data = expected.data * np.linspace(0.9, 1.1, 48, dtype=np.float32)[:, None, None]
        else:
            moved = activity.like(np.roll(activity.data, 1, axis=0))  # 3 mm of 7
            data = usual.expected(moved).data
        low = draw_counts(expected.like(data), np.random.default_rng(1))
        roles = {"low": low, "camera": usual.role(2), "activity": activity, "expected": expected}
        pairs = [(Example(case.scan, roles), low)]
    found = fitted(tmp_path, pairs)
    assert found["fit_lack"] > 8.0
    assert found["fit_lack"] > DegradationFit.LIMITS["fit_lack"]
    notes = [i for i in read_shown(tmp_path).items if isinstance(i, Note)]
    assert notes[0].flag and notes[0].text.startswith("Not good: ")
    if wrong == "shift":
        assert any("lies" in n.text and "register it again" in n.text for n in notes)


def test_settings_are_fitted_apart_and_times_together(tmp_path: Path) -> None:
    (tmp_path / "camera_old.json").write_text("{}")
    pairs = [example(n, camera(time_s=t)) for n, t in enumerate((60.0, 600.0))]
    pairs += [example(3, camera(collimator="LEAP"))]
    rows = DegradationFit().run_cohort(iter(pairs), tmp_path)
    fwhm = {row["scan"]: row["value"] for row in rows if row["measure"] == "fit_fwhm"}
    assert fwhm["s0"] == fwhm["s1"] != fwhm["s3"]
    names = ["camera_Tc99m_LEAP_100mm_0mm_6mm.json", "camera_Tc99m_LEHR_100mm_0mm_6mm.json"]
    assert sorted(p.name for p in tmp_path.glob("camera_*.json")) == names
    told = json.loads((tmp_path / names[1]).read_text())
    assert told["sheets"] == 2 and told["good"] is True and told["simulated"] is True
    assert told["response"]["fwhm_mm"] == pytest.approx(
        known_numbers(pairs[0][0]["camera"])["fwhm_mm"], rel=0.05
    )
    kinds = [type(item) for item in read_shown(tmp_path).items]
    assert kinds[:3] == [Table, Note, Figure] and kinds.count(Figure) == 2


def test_measured_sheets_and_cohorts_without_activity(tmp_path: Path) -> None:
    (case, low) = example(1, camera(), simulated=False)
    found = fitted(tmp_path, [(case, low)])
    assert "fit_recovery" not in found and found["fit_lack"] < 4
    (table, *_) = read_shown(tmp_path).items
    assert isinstance(table, Table) and table.columns[3] == "computed" and "measured" in table.caption
    bare = Example(case.scan, {"low": low, "camera": case["camera"]})
    assert fitted(tmp_path, [(bare, low)]) == {}
    assert "nothing to fit" in read_shown(tmp_path).items[0].text  # type: ignore[union-attr]
    assert not list(tmp_path.glob("camera_*.json")) and not list(tmp_path.glob("*.png"))
    half = Example(
        case.scan, {**{k: case[k] for k in ("camera", "activity")}, "low": low.like(low.data * 0.5)}
    )
    assert fitted(tmp_path, [(half, low)]) == {}
    (note,) = read_shown(tmp_path).items
    assert isinstance(note, Note) and note.flag and "no whole numbers" in note.text


@pytest.mark.parametrize("options", [{"scatter": "some"}, {"sheets": 0}, {"sheets": True}])
def test_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Unusable setting"):
        DegradationFit(**options)


def test_simulated_fitted_and_simulated_again_is_the_same(tmp_path: Path) -> None:
    """The round trip: images of the fitted camera are within 2 % of the largest pixel of the true one's."""
    true = camera(layer_mm=50.0, time_s=600.0)
    fitted(tmp_path, [example(n, true) for n in range(3)])
    file = tmp_path / f"camera_{tag_of(true.role(2))}.json"
    degradation = {"layers_mm": [50], "camera": str(file)}
    plan = planned(tmp_path / "run", **degradation)
    settings, cohort = plan.settings["degradation"], plan.cohorts["sheets"]
    scan = plan.rows("sheets")[0]
    again, computed = camera_of(scan, cohort, settings), camera_of(scan, cohort, {**settings, "camera": []})
    assert again.measured is not None and computed.measured is None
    activity = sheet(9, 64, 2.69)
    a, b = (c.expected(activity).data for c in (again, computed))
    assert np.abs(a - b).max() < 0.02 * b.max()
    assert a.sum(dtype=float) == pytest.approx(b.sum(dtype=float), rel=0.003)
    assert not np.array_equal(a, b)


def test_content_and_not_the_place_of_a_file_is_what_jobs_are_given(tmp_path: Path) -> None:
    one, two = camera_file(tmp_path / "a.json"), camera_file(tmp_path / "b.json", note="the same")
    first, second = (planned(tmp_path / "r", camera=str(p)).settings["degradation"] for p in (one, two))
    assert first == second
    assert "a.json" not in json.dumps(first)
    camera_file(one, background_cps_per_cm2=0.03)
    assert planned(tmp_path / "r", camera=str(one)).settings["degradation"] != first
    assert planned(tmp_path / "r").settings["degradation"]["camera"] == []
    other = camera_file(tmp_path / "c.json", collimator="HE")
    both = planned(tmp_path / "r", camera=[str(one), str(other)], collimators=["LEHR", "HE"])
    assert len(both.settings["degradation"]["camera"]) == 2


def test_cameras_that_cannot_be_used_are_refused_when_planned(tmp_path: Path) -> None:
    def refused(match: str, path: Any, **degradation: Any) -> None:
        with pytest.raises(ConfigError, match=match) as caught:
            planned(tmp_path / "run", camera=path, **degradation)
        assert str(caught.value.where).startswith("studies.gamma_sr.degradation.")

    good = str(camera_file(tmp_path / "good.json"))
    refused("there is no such file", str(tmp_path / "none.json"))
    refused("there is no such file", str(tmp_path))
    refused("No camera was fitted at this condition", good, collimators=["LEAP"])
    refused("No camera was fitted at this condition", good, nuclides=["I-123"])
    refused("No camera was fitted at this condition", good, distances_mm=[101])
    refused("No camera was fitted at this condition", good, collimators=["LEHR", "HE"])
    refused("Two fitted cameras", [good, str(camera_file(tmp_path / "again.json"))])
    refused("background is given twice", good, background_cps_per_cm2=0.1)
    own = tmp_path / "run" / "gamma_sr" / "analysed"
    own.mkdir(parents=True)
    refused("A fit cannot set its own simulation", str(camera_file(own / "camera.json")))
    texts = {
        "not.json": "not JSON", "list.json": "[]", "number.json": "5", "deep.json": "[" * 100_000,
        "large.json": " " * 1_000_001, "format.json": '{"format": "another"}',
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        refused("Fitted camera cannot be read|Not a fitted camera", str(tmp_path / name))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    refused("Fitted camera cannot be read", str(tmp_path / "bytes.json"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        refused("there is no such file", str(tmp_path / "pipe.json"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"nuclide": ["Tc-99m"]}, "nuclide"),
        ({"nuclide": "Xe-133"}, "none of"),
        ({"collimator": None}, "collimator"),
        ({"distance_mm": -1.0}, "distance_mm"),
        ({"distance_mm": True}, "distance_mm"),
        ({"layer_mm": float("nan")}, "layer_mm"),
        ({"background_cps_per_cm2": float("inf")}, "background"),
        ({"background_cps_per_cm2": 10**400}, "background"),
        ({"response": None}, "response"),
        ({"response": {"fwhm_mm": 7.0}}, "is missing"),
        ({"response": {**vars(Response(80.0, 7.0)), "shape": 1.0}}, "has no 'shape'"),
        ({"response": {**vars(Response(80.0, 7.0)), "fwhm_mm": "7"}}, "fwhm_mm"),
        ({"response": {**vars(Response(80.0, 7.0)), "scatter_fraction": 1.5}}, "scatter_fraction"),
        ({"response": {**vars(Response(80.0, 7.0)), "sensitivity_cps_per_mbq": 0.0}}, "without sensitivity"),
    ],
)
def test_hostile_values_are_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    path = camera_file(tmp_path / "c.json", **change)
    with pytest.raises(ConfigError, match=match):
        planned(tmp_path, camera=str(path))


def test_the_printers_tone_is_found_with_the_camera_and_dead_time_is_live_time(tmp_path: Path) -> None:
    """Measured sheets: ink as grey to the power 1.6, said to be as grey, and a tenth of the time dead."""
    usual = camera(time_s=600.0)
    pairs = []
    for seed in range(2):
        (case, _), grey = example(seed, usual, simulated=False), sheet(seed)
        low = draw_counts(
            (seen := usual.expected(toned(grey, 1.6))).like(seen.data * np.float32(0.9)),
            np.random.default_rng(seed),
        )
        told = low.like((low.data / 0.9).astype(np.float32))
        roles = {"low": told, "camera": case["camera"], "activity": grey}
        pairs.append((Example({**case.scan, "correction": 1 / 0.9}, roles), told))
    found = fitted(tmp_path, pairs)
    assert found["fit_tone"] == pytest.approx(1.6, abs=0.03)
    assert found["fit_tone_low"] < 1.6 < found["fit_tone_high"]
    assert found["fit_fwhm"] == pytest.approx(usual.psf_fwhm_mm, rel=0.02)
    assert found["fit_sensitivity"] == pytest.approx(usual.response.sensitivity_cps_per_mbq, rel=0.01)
    assert found["fit_lack"] < 4.0
    assert any("exponent" in row[0] for row in read_shown(tmp_path).items[0].rows)  # type: ignore[union-attr]
    assert fitted(tmp_path, pairs, tone="given")["fit_lack"] > 8.0, "as if ink followed grey: not good"


def test_without_known_activity_resolution_is_fitted_and_sensitivity_is_not(tmp_path: Path) -> None:
    truth = camera(time_s=600.0, layer_mm=50.0)
    pairs = []
    for seed in range(2):
        (case, low), grey = example(seed, truth, simulated=False), sheet(seed)
        teacher = grey.like(grey.data / grey.data.max())
        pairs.append((Example(case.scan, {"low": low, "camera": case["camera"], "teacher": teacher}), low))
    found = fitted(tmp_path, pairs)
    assert found["fit_fwhm"] == pytest.approx(truth.psf_fwhm_mm, rel=0.03)
    assert found["fit_scatter"] == pytest.approx(truth.response.scatter_fraction, abs=0.02)
    assert found["fit_tone"] == pytest.approx(1.0, abs=0.03) and found["fit_lack"] < 4
    assert not any(name.startswith("fit_sensitivity") for name in found)
    (file,) = tmp_path.glob("camera_*.json")
    told = json.loads(file.read_text())
    nominal = truth.response.sensitivity_cps_per_mbq
    assert told["response"]["sensitivity_cps_per_mbq"] == pytest.approx(nominal)
    assert told["activity_known"] is False
    sensitivity = next(row for row in read_shown(tmp_path).items[0].rows if "sensitivity" in row[0])  # type: ignore[union-attr]
    assert sensitivity[2] == "held"
    assert FittedCamera.from_dict(told, "here").response.fwhm_mm == found["fit_fwhm"]
