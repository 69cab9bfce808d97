"""The door of `gamma_sr` to printed sheets: pages, the table of scans, their registration, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.io.dicom_nm_write import planar_to_dicom, save_dicom
from senmei.io.projections import EnergyWindow, PlanarImage
from senmei.io.tables import Row, read_tsv, write_tsv
from senmei.lab.scans import added, middle
from senmei.physics.planar.fitted import FORMAT
from senmei.physics.planar.nuclides import NUCLIDES as MODELLED
from senmei.physics.planar.sheet import sheet_affine
from senmei.stages.cohort import list_cohort
from senmei.stages.ingest import content_of, ingest_shard
from senmei.stages.plan import Plan
from senmei.stages.prepare import prepare_shard
from senmei.stages.shards import Manifest
from senmei.studies.gamma_door_sheets import scan_camera
from senmei.studies.gamma_pages import mix_of, pages_of, printer_of
from senmei.studies.gamma_print import print_pages
from senmei.studies.gamma_sr import GammaSR
from senmei.studies.gamma_static import NUCLIDES, bin_of
from tests.laboratory.sheets import CAMERA, LAYOUT, PAGE, expose, lying, save_scan
from tests.unit.test_teachers import ct

ROOT = Path(__file__).resolve().parents[2]
SHARED: dict[str, Any] = {"seed": 1, "code": "c", "strict": False, "log": lambda text: None}


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENMEI_DEID_KEY", "of the tests")


def settings(path: Path, cohort: dict[str, Any] | None = None, **study: Any) -> dict[str, Any]:
    """The study with one cohort of printed sheets: 'camera' and six other photographs, to be tested."""
    return copy.deepcopy(_settings(str(path), json.dumps(cohort or {}), json.dumps(study)))


@cache
def _settings(path: str, told: str, more: str) -> dict[str, Any]:
    cohort, study = json.loads(told), json.loads(more)
    own = {"use": "test", "source": "sheets", "path": path, "teachers": ["photographs"]}
    own |= {"subjects": 7, "layout": LAYOUT, **cohort}
    overlay = merge({"cohorts": {"sheets": None, "printed": own}}, study)
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    return resolve({**config, "studies": {"gamma_sr": overlay}}, ROOT)["studies"]["gamma_sr"]


def planned(path: Path, cohort: dict[str, Any] | None = None, **study: Any) -> Any:
    found = settings(path, cohort, **study)
    return Plan({"run": "x", "seed": 1, "strict": False, "studies": {"gamma_sr": found}}, path)["gamma_sr"]


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """A good scan of the page 'camera'."""
    return expose(lying(shift_mm=(3.0, -4.0), angle_deg=2.0))


def listed(folder: Path, table: list[Row], **cohort: Any) -> tuple[dict[str, Any], list[Row], list[Row]]:
    """(settings of the study, scans, status) of a folder with such a table."""
    scans = folder / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    write_tsv(scans / "scans.tsv", table)
    found = settings(scans, cohort)
    place = folder / "cohort"
    own = found["cohorts"]["printed"]
    shared = {k: SHARED[k] for k in ("seed", "strict", "log")}
    list_cohort(place, GammaSR(), own, found["degradation"], 1, **shared)
    return found, read_tsv(place / "scans.tsv"), read_tsv(place / "status.tsv")


def read(folder: Path, table: list[Row], **cohort: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(row of the first scan, its roles), through listing, ingestion and preparation; roles of all groups."""
    found, scans, _ = listed(folder, table, **cohort)
    own, study = found["cohorts"]["printed"], GammaSR()
    ingest_shard(scans, folder / "raw" / "a.tsv", study, own, **SHARED)
    roles: dict[str, Any] = {}
    row: Row = {}
    for group in study.groups:
        manifest = folder / group / "a.tsv"
        prepare_shard(
            scans, folder / "raw" / "a.tsv", group, manifest, study, own, found["degradation"], **SHARED
        )
        made = Manifest(manifest)
        bad = [r["error"] for r in made if r["status"] != "ok"]
        if bad:
            raise AssertionError(bad[0])
        for role, entry in made.roles(scans[0]["scan"]).items() if made.rows else ():
            roles[role] = made.load(entry)
            row |= entry
    raw = Manifest(folder / "raw" / "a.tsv").roles(scans[0]["image"])
    return {**raw["low"], **row}, roles


# ---- pages


def test_pages_follow_from_the_configuration_and_their_splits_too(tmp_path: Path) -> None:
    split = {"train": 0.5, "validation": 0.25, "test": 0.25}
    found = settings(tmp_path, {"use": "train", "split": split})["cohorts"]["printed"]
    pages, left = pages_of(found)
    assert [page.name for page in pages][:3] == ["astronaut", "brick", "camera"]
    assert len({page.subject for page in pages}) == 7
    assert {page.split for page in pages} == {"train", "validation", "test"}
    assert not left
    more, _ = pages_of({**found, "subjects": 9})
    assert [p.split for p in more][:7] == [p.split for p in pages], "further pages move nobody"
    image = pages[2].load()
    assert image.shape == (64, 64, 1)
    assert image.voxel[0] == pytest.approx(1.4)


def test_pictures_of_all_kinds_become_pages(tmp_path: Path) -> None:
    """A colour photograph, a 16-bit CT with negative values, and what cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 96, 3), np.uint8)).save(folder / "colour.png")
    values = np.full((80, 80), -1000, np.int16)
    values[20:60, 20:60] = 40
    ct(folder / "slice.dcm", values)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    own = {"pictures": str(folder), "subjects": None}
    with pytest.raises(DataError):
        pages_of(settings(tmp_path, own)["cohorts"]["printed"])
    pages, left = pages_of(settings(tmp_path, {**own, "picture": {"skip_bad": True}})["cohorts"]["printed"])
    kinds = {page.family: page.load().data for page in pages}
    assert set(kinds) == {"photograph", "medical"}
    assert len(left) == 1
    assert kinds["medical"].min() == 0
    assert kinds["medical"][32, 32, 0] == pytest.approx((40 + 160) / 400, abs=0.02), (
        "window of -160 to 240 HU"
    )
    assert not any("4711" in page.name + page.subject or "slice" in page.name for page in pages)
    (folder / "broken.png").unlink()
    refuse = settings(tmp_path, {**own, "picture": {"colour": "refuse"}})["cohorts"]["printed"]
    with pytest.raises(DataError, match="colour"):
        pages_of(refuse)


def test_a_table_that_was_filled_is_not_written_over(tmp_path: Path) -> None:
    cohort = settings(tmp_path, {"subjects": 1})["cohorts"]["printed"]
    print_pages(cohort, tmp_path / "out")
    assert print_pages(cohort, tmp_path / "out") == print_pages(cohort, tmp_path / "out")
    table = tmp_path / "out" / "scans.tsv"
    write_tsv(table, [{**row, "start_min": 44.5} for row in read_tsv(table)])
    filled = table.read_bytes()
    told = print_pages(cohort, tmp_path / "out")
    assert told[0].startswith("scans.tsv was there and was kept")
    assert table.read_bytes() == filled
    assert "44.5" not in (tmp_path / "out" / "new-scans.tsv").read_text()


def test_a_folder_without_pictures_and_a_frame_without_decoder_stop_the_printing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.data import get_testdata_file

    folder = tmp_path / "pictures"
    folder.mkdir()
    cohort = settings(tmp_path, {"pictures": str(folder), "subjects": None})["cohorts"]["printed"]
    with pytest.raises(DataError, match="holds no teacher") as caught:
        print_pages(cohort, tmp_path / "out")
    assert "no image that is known" in caught.value.why
    source = Path(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    (folder / "a.dcm").write_bytes(source.read_bytes())
    decoder = type(pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless))
    monkeypatch.setattr(decoder, "is_available", property(lambda self: False))
    with pytest.raises(DataError, match="JPEG 2000"):
        print_pages(cohort, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing half made"


def test_what_was_measured_of_a_printer_replaces_its_profile(tmp_path: Path) -> None:
    own = settings(tmp_path, {"printer": {"gamma": 1.5}, "mix": {"mbq": 800}})["cohorts"]["printed"]
    printer = printer_of(own)
    assert (printer.gamma, printer.dpi) == (1.5, 600)
    assert printer.status == "assumed, not measured, but for gamma"
    assert mix_of(own).mbq == 800


# ---- what stops the plan


WRONG: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"degradation": {"pairing": "known"}}, "degradation.pairing", "leave `pairing` at auto"),
    ({}, {"degradation": {"restore": "collimator"}}, "degradation.restore", "take simulated sheets"),
    ({"layout": {"pixel_mm": 4.0}}, {}, "pixel_mm", "a larger paper"),
    ({"camera": {"zoom": 6.0}}, {}, "camera.zoom", "lower zoom"),
    ({"subjects": 900}, {}, "subjects", "ask for"),
    (
        {"use": "train"},
        {"methods": {"srresnet": {"fresh_noise": True}}},
        "methods.srresnet.fresh_noise",
        "set `fresh_noise: false`",
    ),
]


@pytest.mark.parametrize(("cohort", "study", "where", "fix"), WRONG, ids=[w for *_, w, _ in WRONG])
def test_what_measured_sheets_cannot_do_stops_the_plan(
    cohort: dict[str, Any], study: dict[str, Any], where: str, fix: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, cohort, **study)
    assert where in caught.value.where
    assert fix in caught.value.fix


def test_a_plan_needs_no_scans_and_says_what_is_printed(tmp_path: Path) -> None:
    plan = planned(tmp_path / "nowhere", {"use": "train"}, methods={"srresnet": {"fresh_noise": False}})
    assert plan.printed() == ["printed"]
    assert "path" not in plan.print_settings("printed")
    assert plan.print_folders("printed") == []
    assert planned(tmp_path, {"pictures": "here"}).print_folders("printed") == ["here"]
    assert set(NUCLIDES) == set(MODELLED)


# ---- the table


def refused(folder: Path, table: list[Row], **cohort: Any) -> str:
    """The one row of status.tsv about a scan beside a good one."""
    good = {"file": "good.dcm", "page": "brick"}
    if not (folder / "scans" / "good.dcm").exists():
        save_scan(folder / "scans" / "good.dcm", np.full((64, 64), 9), pixel_mm=(5.4, 5.4))
    _, scans, status = listed(folder, [*table, good], **cohort)
    assert [row["page"] for row in scans] == ["brick"]
    bad = [row["error"] for row in status if row["status"] == "failed"]
    assert len(bad) == len(table), status
    return str(bad[0])


def test_what_header_and_table_tell_must_agree(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    flat = np.full((64, 64), 9)
    save_scan(scans / "a.dcm", flat, pixel_mm=(5.4, 5.4))
    for told, why in (
        ({"nuclide": "I-123"}, "the table says nuclide I-123, the file's header Tc-99m"),
        ({"collimator": "HE"}, "the table says collimator HE, the file's header LEHR"),
        ({"time_s": 30}, "the table says 30 s, the file's header 600 s"),
        ({"number": 2}, "image 2 was asked for, and the file holds 1"),
        ({"file": "none.dcm"}, "its file is not there"),
        ({"file": "../cohort/scans.tsv"}, "lies outside the folder"),
        ({"file": str(scans / "a.dcm")}, "lies outside the folder"),
        ({"page": "camra"}, "did you mean 'camera'?"),
    ):
        error = refused(tmp_path, [{"file": "a.dcm", "page": PAGE, **told}])
        assert why in error
        assert "line 2 of scans.tsv" in error
    (tmp_path / "elsewhere.dcm").write_bytes((scans / "a.dcm").read_bytes())
    (scans / "link.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    assert "outside" in refused(tmp_path, [{"file": "link.dcm", "page": PAGE}])


def test_what_neither_header_nor_table_tells_is_the_cohorts(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    bare = {"nuclide": "", "collimator": "", "pixel_mm": (5.4, 5.4)}
    save_scan(scans / "a.dcm", np.full((64, 64), 9), **bare)
    save_scan(scans / "b.dcm", np.full((64, 64), 9), **bare)
    table: list[Row] = [{"file": "a.dcm", "page": PAGE}]
    table.append({"file": "b.dcm", "page": PAGE, "collimator": "ME", "distance_mm": 55, "start_min": 12})
    _, rows, status = listed(tmp_path, table, layer_mm=20)
    first, second = rows
    told = ("nuclide", "collimator", "distance_mm", "layer_mm", "start_min", "time_s")
    assert [first[k] for k in told] == ["Tc-99m", "LEHR", 100, 20, None, 600]
    assert [second[k] for k in told] == ["Tc-99m", "ME", 55, 20, 12, 600]
    assert [row["scan"] for row in rows] == ["sub-camera_run-1", "sub-camera_run-2"]
    data = pydicom.dcmread(scans / "a.dcm")
    del data.ActualFrameDuration
    data.save_as(scans / "c.dcm")
    timeless: list[Row] = [{"file": "c.dcm", "page": PAGE, "time_s": 45}, {"file": "c.dcm", "page": "cell"}]
    _, rows, bad = listed(tmp_path, timeless)
    assert [row["time_s"] for row in rows] == [45]
    assert "neither the file nor the table says how long" in bad[0]["error"]
    (absent,) = [row["error"] for row in status if row["status"] == "absent"]
    assert absent.startswith("6 of 7 pages have no scan: astronaut, brick")


def test_files_that_are_no_static_image_are_refused(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    window = (EnergyWindow("photopeak", 126.0, 154.0),)
    both = PlanarImage(
        np.full((1, 2, 64, 64), 9, np.int32), window, (5.4, 5.4), ("anterior", "posterior"), "Tc-99m",
        collimator="LEHR", duration_s=60.0,
    )  # fmt: skip
    scans.mkdir()
    save_dicom(scans / "two.dcm", planar_to_dicom(both, subject="sub-1", identity="two heads"))
    save_dicom(
        scans / "body.dcm", planar_to_dicom(both, subject="sub-1", identity="of it all", kind="WHOLE BODY")
    )
    (scans / "text.dcm").write_text("no image")
    ct(scans / "ct.dcm")
    for file, why in (
        ("two.dcm", "the file holds 2 images, and the table does not say which"),
        ("body.dcm", "the file holds no static image"),
        ("text.dcm", "no DICOM file"),
        ("ct.dcm", "its modality is CT"),
    ):
        assert why in refused(tmp_path, [{"file": file, "page": PAGE}])
    _, rows, _ = listed(tmp_path, [{"file": "two.dcm", "page": PAGE, "number": 2}])
    assert rows[0]["matrix"] == 64


def test_a_scan_packed_without_loss_is_read_if_there_is_a_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = tmp_path / "scans"
    save_scan(scans / "a.dcm", np.full((64, 64), 9), pixel_mm=(5.4, 5.4))
    data = pydicom.dcmread(scans / "a.dcm")
    data.compress(pydicom.uid.JPEG2000Lossless)
    data.save_as(scans / "packed.dcm")
    table: list[Row] = [{"file": "packed.dcm", "page": PAGE}]
    assert len(listed(tmp_path, table)[1]) == 1
    decoder = type(pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless))
    monkeypatch.setattr(decoder, "is_available", property(lambda self: False))
    assert "JPEG 2000" in refused(tmp_path, table)


@pytest.mark.parametrize(
    ("rows", "what", "why"),
    [
        ([{"file": "a.dcm", "pages": PAGE}], "sheet scans table", "unknown column 'pages'"),
        ([{"file": "a.dcm", "page": PAGE, "distance": 5}], "sheet scans table", "unknown column 'distance'"),
        (
            [{"file": "a.dcm", "page": PAGE, "time_s": "long"}],
            "sheet scans table",
            "line 2: 'time_s' is 'long'",
        ),
        (
            [{"file": f, "page": PAGE, "split": s} for f, s in (("a", "train"), ("b", "test"))],
            "in two splits",
            "sub-camera, is in train already",
        ),
    ],
)
def test_a_table_that_cannot_be_meant_stops_the_listing(
    rows: list[Row], what: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=what) as caught:
        listed(tmp_path, rows)
    assert why in caught.value.why


def test_a_folder_without_scans_says_what_comes_first(tmp_path: Path) -> None:
    own = settings(tmp_path / "scans")["cohorts"]["printed"]
    for why in ("no such folder", "holds no scans.tsv"):
        with pytest.raises(DataError) as caught:
            GammaSR().list_files(own, tmp_path / "cohort", seed=1, log=lambda text: None)
        assert why in caught.value.why
        assert "snakemake sheets" in caught.value.fix
        (tmp_path / "scans").mkdir(exist_ok=True)


# ---- registration and roles


def test_a_scan_becomes_the_roles_of_the_study(tmp_path: Path, counts: np.ndarray) -> None:
    save_scan(tmp_path / "scans" / "a.dcm", counts)
    row, roles = read(tmp_path, [{"file": "a.dcm", "page": PAGE, "mbq": 12.0}])
    assert (row["shift_x_mm"], row["shift_y_mm"]) == pytest.approx((3.0, -4.0), abs=0.15)
    assert row["angle_deg"] == pytest.approx(2.0, abs=0.15)
    assert row["residual_mm"] < 0.2
    assert row["likeness"] > 0.95
    low, reference = roles["low"], roles["reference"]
    factor = roles["camera"]["factor"]
    assert factor == 4
    assert low.voxel[0] == pytest.approx(4 * CAMERA.image_pixel_mm, rel=1e-3)
    shape = tuple(n * factor for n in low.shape[:2])
    assert reference.shape[:2] == roles["mask"].shape[:2] == roles["input"].shape[:2] == shape
    assert low.shape[0] % 4 == 0
    assert roles["input"].data.sum() == pytest.approx(low.data.sum(), rel=1e-5)
    assert row["counts"] == pytest.approx(low.data.sum(), rel=1e-6)
    assert 0.97 < low.data.sum() / counts.sum() <= 1.0, "cut to the marks and a margin"
    area = roles["mask"].data.sum() * reference.voxel[0] ** 2
    assert area == pytest.approx((64 * 1.4) ** 2, rel=0.05)
    assert row["pairing_deviance"] < 1.5
    # full ink, of which the marks are: what the exposure gave there
    teacher = roles["teacher"].data
    assert row["data_range"] == reference.data.max()
    assert np.corrcoef(teacher[teacher > 0], reference.data[teacher > 0])[0, 1] > 0.98
    assert roles["activity"].data.sum() == pytest.approx(12.0, rel=1e-4)
    assert not {"expected", "high"} & set(roles)


def test_corrections_scale_image_and_reference_alike(tmp_path: Path, counts: np.ndarray) -> None:
    save_scan(tmp_path / "scans" / "a.dcm", counts)
    table: list[Row] = [{"file": "a.dcm", "page": PAGE, "start_min": 360.42, "mbq": 3}]
    save_scan(tmp_path / "plain" / "scans" / "a.dcm", counts)
    plain, before = read(tmp_path / "plain", table)
    dead = counts.sum() / 600.0 * 20e-6
    wanted = {"decay": True, "dead_time_us": 20.0}
    row, after = read(tmp_path, table, corrections=wanted)
    decayed = 2.0 * (np.log(2) * 600 / 3600 / 6.007) / -np.expm1(-np.log(2) * 600 / 3600 / 6.007)
    assert row["correction"] == pytest.approx(decayed / (1 - dead), rel=1e-3)
    for role in ("low", "reference", "input"):
        scale = after[role].data.sum() / before[role].data.sum()
        assert scale == pytest.approx(row["correction"], rel=1e-4)
    assert row["pairing_deviance"] == pytest.approx(plain["pairing_deviance"], rel=1e-6)
    assert "activity" in before
    assert "activity" not in after


def test_a_flood_takes_out_what_the_camera_sees_unevenly(tmp_path: Path, counts: np.ndarray) -> None:
    x = np.linspace(-1, 1, 256)
    uneven = 1.0 + 0.15 * x[:, None] * np.ones(256)
    rng = np.random.default_rng(1)
    save_scan(tmp_path / "scans" / "a.dcm", rng.binomial(counts.astype(int), uneven / uneven.max()))
    save_scan(tmp_path / "scans" / "flood.dcm", rng.poisson(2000 * uneven / uneven.max()))
    table = [{"file": "a.dcm", "page": PAGE}]
    row, roles = read(tmp_path, table, corrections={"uniformity": "flood.dcm"})
    low = roles["low"].data[..., 0]
    true = added(Volume(counts[..., None], sheet_affine((256, 256), CAMERA.image_pixel_mm)), 4)
    true = middle(true, low.shape[0] * true.voxel[0] / 2 - 0.1).data[..., 0]
    assert low.shape == true.shape
    half = low.shape[0] // 2
    tilt = (low[half:].sum() / low[:half].sum()) / (true[half:].sum() / true[:half].sum())
    assert tilt == pytest.approx(1.0, abs=0.02)
    assert row["pairing_deviance"] < 1.6
    with pytest.raises(DataError, match="Cannot use this scan"):
        listed(tmp_path, table, corrections={"uniformity": "none.dcm"})


def test_another_page_and_a_negative_are_noticed(tmp_path: Path) -> None:
    ink = lying()
    half = int(32 * 1.4 / (CAMERA.image_pixel_mm / 2))
    inside = (slice(256 - half, 256 + half),) * 2
    ink[inside] = 1 - ink[inside]
    save_scan(tmp_path / "scans" / "other.dcm", expose(lying("brick")))
    save_scan(tmp_path / "scans" / "negative.dcm", expose(ink))
    for name in ("other", "negative"):
        with pytest.raises(AssertionError, match="does not look like its page"):
            read(tmp_path, [{"file": f"{name}.dcm", "page": PAGE}])


def test_a_fitted_camera_is_that_of_the_scans_setting_or_none(tmp_path: Path, counts: np.ndarray) -> None:
    """What `degradation_fit` wrote replaces the computed response; another setting is an error, not a fallback."""
    save_scan(tmp_path / "scans" / "a.dcm", counts)
    response = {**asdict(CAMERA.response), "fwhm_mm": 9.0}
    fitted = {
        "format": FORMAT,
        "nuclide": "Tc-99m",
        "collimator": "LEHR",
        "distance_mm": 100.0,
        "layer_mm": 0.0,
    }
    fitted |= {"response": response, "background_cps_per_cm2": 0.0}
    found, scans, _ = listed(tmp_path, [{"file": "a.dcm", "page": PAGE}])
    image = Volume(counts[..., None], sheet_affine((256, 256), CAMERA.image_pixel_mm))
    given = {**found["degradation"], "camera": [fitted]}
    assert scan_camera(scans[0], image, given).psf_fwhm_mm == 9.0
    study = GammaSR()
    with pytest.raises(ConfigError, match="No camera was fitted"):
        study.prepare(
            "input", {**scans[0], "distance_mm": 50}, lambda i, r: None, found["cohorts"]["printed"], given, 1
        )


def test_pixels_are_added_and_the_middle_is_cut() -> None:
    rng = np.random.default_rng(0)
    image = Volume(rng.poisson(5, (96, 96, 1)), sheet_affine((96, 96), 2.0))
    coarse = added(image, 4)
    assert coarse.shape == (24, 24, 1)
    assert coarse.data.sum() == image.data.sum()
    assert coarse.data[0, 1, 0] == image.data[:4, 4:8].sum()
    with pytest.raises(DataError, match="5 does not divide"):
        added(image, 5)
    cut = middle(image, 30.0)
    assert cut.shape == (32, 32, 1), "a multiple of 4"
    assert np.array_equal(cut.data, image.data[32:64, 32:64])
    assert cut.affine[:2, 3] == pytest.approx([-31.0, -31.0])
    assert middle(image, 500.0).shape == image.shape
    odd = Volume(np.zeros((97, 97, 1)), sheet_affine((97, 97), 2.0))
    assert middle(odd, 30.0).shape == (31, 31, 1)


def test_pixels_of_the_reference_are_not_finer_than_printed_ones(tmp_path: Path) -> None:
    own = settings(tmp_path, {"layout": {"pixel_mm": 0.6, "size": 256}})["cohorts"]["printed"]
    assert bin_of(own, 512, 0.6735, "x") == 4
    assert bin_of(own, 256, 1.347, "x") == 2
    assert bin_of(own, 128, 2.694, "x") == 1
    assert bin_of({**own, "bin": 8}, 512, 0.6735, "x") == 8
    with pytest.raises(DataError, match="Cannot use this scan") as caught:
        bin_of({**own, "bin": 5}, 512, 0.6735, "x")
    assert "`bin: 5`" in caught.value.why


def test_what_the_table_says_decides_whether_a_scan_is_read_again(tmp_path: Path, counts: np.ndarray) -> None:
    """The pixels stay the same when a page or a time is corrected; what is made of them does not."""
    save_scan(tmp_path / "scans" / "a.dcm", counts)

    def keys(**told: Any) -> set[str]:
        _, scans, _ = listed(tmp_path, [{"file": "a.dcm", "page": PAGE, **told}])
        return {content_of(row) for row in scans}

    same = keys()
    assert keys(notes="the first one") == same
    for told in ({"page": "brick"}, {"distance_mm": 80}, {"start_min": 9}):
        assert not keys(**told) & same
