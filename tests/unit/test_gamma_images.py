"""Planar images without a teacher: the door of `gamma_sr` to static and whole-body DICOM, and what it refuses."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.dicom_nm_write import planar_to_dicom, save_dicom
from senmei.io.projections import EnergyWindow, PlanarImage
from senmei.methods.bicubic import Bicubic
from senmei.physics.planar.blur import BlurAndBin
from senmei.physics.planar.counting import binned, counted_area, noise_ratio
from senmei.report import pixels
from senmei.report.look import look_of
from senmei.report.slices import ScanFigure, _Drawing
from senmei.studies.gamma_image_files import remarks
from senmei.studies.gamma_sr import GammaSR

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
PEAK = (EnergyWindow("Tc-99m", 126.0, 154.0),)
STUDY = GammaSR()


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENMEI_DEID_KEY", "of the tests")


def body(rows: int = 96, columns: int = 32, level: float = 30.0, seed: int = 0) -> np.ndarray:
    """(row, column) Poisson counts of a smooth body in an empty field."""
    y, x = np.mgrid[:rows, :columns]
    inside = np.exp(-(((y / rows - 0.5) / 0.3) ** 4) - ((x / columns - 0.5) / 0.25) ** 4)
    return np.random.default_rng(seed).poisson(level * inside).astype(np.int32)


def planar(counts: np.ndarray, views: tuple[str, ...] = ("anterior",), **more: Any) -> PlanarImage:
    known = {
        "nuclide": "Tc-99m",
        "collimator": "LEAP",
        "duration_s": 600.0,
        "pixel_mm": (2.4, 2.4),
        "windows": PEAK,
    }
    return PlanarImage(counts=counts, views=views, **{**known, **more})


def save(path: Path, image: PlanarImage, kind: str = "WHOLE BODY", **tags: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = planar_to_dicom(image, subject="sub-1", identity=f"identity of {path}", kind=kind, title="Bone")
    data.PatientID, data.PatientName = "4711", "Mustermann^Erika"
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    save_dicom(path, data)
    return path


def settings(folder: Path, **own: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(cohort, degradation) as the schema completes them."""
    config = merge(load_yaml(ROOT / "config" / "config.yaml"), {"preset": "tiny", "device": "cpu"})
    cohort = {"use": "test", "source": "dicom", "path": str(folder), **own}
    config["studies"] = {"gamma_sr": {"cohorts": {"bone": cohort}}}
    found = resolve(config, ROOT)["studies"]["gamma_sr"]
    return found["cohorts"]["bone"], found["degradation"]


def listed(folder: Path, store: Path, **own: Any) -> tuple[list[Any], list[Any], list[Any], str]:
    """Participants, images, status and all that was said."""
    said: list[str] = []
    cohort, _ = settings(folder, **own)
    made = STUDY.list_files(cohort, store, seed=1, log=said.append)
    assert made is not None
    text = "\n".join(
        [*said, *(str({k: v for k, v in r.items() if k not in ("path", "facts_path")}) for r in made[1])]
    )
    return *made, text + "\n".join(map(str, made[2]))


def example(image: Any, folder: Path, restore: str = "teacher", **own: Any) -> Example:
    cohort, degradation = settings(folder, **own)
    degradation = {**degradation, "restore": restore, "background_cps_per_cm2": 0.1}
    raw = STUDY.read(image, cohort)
    (row,) = STUDY.scans([image], cohort, degradation)
    roles: dict[str, Any] = {}
    assert raw is not None
    for group in STUDY.groups:
        made, columns = STUDY.prepare(group, row, lambda _, role: raw[role], cohort, degradation, 1)
        assert set(made) <= set(STUDY.groups[group])
        roles |= made
        row |= columns
    return Example(row, roles)


# ---- what the door takes ----


def test_both_planes_of_a_whole_body_scan_become_images_without_names(tmp_path: Path) -> None:
    counts = np.stack([body(seed=1), body(seed=2)])[None]
    save(tmp_path / "in" / "Mustermann" / "Erika_1970.dcm", planar(counts, ("anterior", "posterior")))
    people, images, status, text = listed(tmp_path / "in", tmp_path / "out")
    assert [i["view"] for i in images] == ["anterior", "posterior"]
    assert len(people) == 1 and not status
    assert {i["collimator"] for i in images} == {"LEAP"}, "what the file tells is not assumed"
    assert images[0]["assumed"] == "distance 100 mm, layer 0 mm"
    assert 0.9 < images[0]["noise_ratio"] < 1.1
    written = [str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*")]
    for word in ("Mustermann", "Erika", "4711", "1970"):
        assert word not in text and not any(word in name for name in written)
        assert not any(word.encode() in p.read_bytes() for p in (tmp_path / "out").rglob("*.json"))
    low = example(images[0], tmp_path / "in")["low"]
    np.testing.assert_array_equal(
        low.data[:, ::-1, 0].T, counts[0, 0]
    )  # x right, y up: row 0 is the highest y
    _, only, _, _ = listed(tmp_path / "in", tmp_path / "out", views=["posterior"])
    assert [i["image"] for i in only] == [images[1]["image"]]
    assert sorted(p.name for p in (tmp_path / "out" / "planes").iterdir()) == sorted(
        Path(only[0][c]).name for c in ("path", "facts_path")
    ), "a plane that is no longer wanted is gone"


def test_roles_keep_the_field_the_counts_and_the_right_camera(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", planar(body()[None, None]))
    _, (image,), _, _ = listed(tmp_path / "in", tmp_path / "out", bin=2)
    found = example(image, tmp_path / "in", bin=2, distance_mm=150, layer_mm=50, collimator="LEUR")
    low, spread, camera, mask = (found[r] for r in ("low", "input", "camera", "mask"))
    assert low.shape == (16, 48, 1) and spread.shape == mask.shape == (64, 192, 1)
    assert "reference" not in found and "high" not in found
    assert spread.data.sum() == pytest.approx(low.data.sum()) and low.data.sum() == body().sum()
    assert camera["pixel_mm"] == pytest.approx(4.8) and camera["factor"] == 4
    assert camera["background"] == 0, "that of sheets is none of a patient's"
    for volume in (low, spread):  # both are centred on the same point
        middle = volume.affine @ [*((np.array(volume.shape[:2]) - 1) / 2), 0, 1]
        np.testing.assert_allclose(middle[:2], 0, atol=1e-4)
    assert image["pixel_mm"] == pytest.approx(4.8) and image["collimator"] == "LEAP"
    restored = Bicubic().apply(found)
    assert restored.shape == spread.shape
    np.testing.assert_allclose(restored.affine, spread.affine, atol=1e-5)
    assert 0.2 < (mask.data > 0).mean() < 0.8
    assert example(image, tmp_path, "collimator", bin=2)["input"].shape == low.shape


def test_the_camera_is_what_the_cohort_says_before_what_the_file_says(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", planar(body()[None, None]))
    own = {"collimator": "LEUR", "distance_mm": 150, "layer_mm": 50, "nuclide": "Tc-99m"}
    _, (image,), _, _ = listed(tmp_path / "in", tmp_path / "out", **own)
    assert image["assumed"] == "" and image["collimator"] == "LEUR" and image["distance_mm"] == 150.0
    camera = example(image, tmp_path, **own)["camera"]
    assert camera["collimator"] == "LEUR" and camera["scatter_fraction"] > 0.2
    near = example({**image, "distance_mm": 50.0}, tmp_path, **own)["camera"]
    assert near["fwhm_mm"] < camera["fwhm_mm"]


def test_the_real_bone_scan_is_taken_and_its_values_are_said_to_be_no_counts(tmp_path: Path) -> None:
    for name in ("JPGExtended.dcm", "JPEG2000.dcm"):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(SAMPLES / name, tmp_path / "in" / name)
    _, none, status, _ = listed(tmp_path / "in", tmp_path / "out")
    assert not none and all("energy windows" in row["error"] for row in status)
    people, images, status, text = listed(tmp_path / "in", tmp_path / "out", window=[126, 154])
    assert len(people) == 1 and len(images) == 2, "one scan of one patient, packed in two ways"
    for image in images:
        assert image["lossy"] and image["noise_ratio"] < 0.05
        assert "nuclide Tc-99m, collimator LEHR" in image["assumed"]
        assert image["counts_told"] == 3596452
    assert sum(row["status"] == "remark" for row in status) == 5
    case, sentence = STUDY.case(images, settings(tmp_path)[0])
    assert case == "none" and "2 do not hold counts" in sentence and "76 : 1" in sentence
    for word in ("CompressedSamples", "8NM1", "genieacq", "Hospital"):
        assert word not in text
    found = example(images[0], tmp_path)
    assert found["input"].shape == (1024, 4096, 1) and found["low"].shape == (256, 1024, 1)


# ---- what it refuses ----


def test_one_bad_file_never_stops_the_others(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    save(inside / "good.dcm", planar(body()[None, None]))
    save(inside / "ct.dcm", planar(body()[None, None]), Modality="CT")
    save(inside / "spacing.dcm", planar(body()[None, None]), PixelSpacing=None)
    save(inside / "oblong.dcm", planar(body()[None, None], pixel_mm=(2.4, 4.8)))
    save(inside / "other_nuclide.dcm", planar(body()[None, None], nuclide="In-111"), kind="STATIC")
    save(inside / "tiny.dcm", planar(body(12, 6)[None, None]), kind="STATIC")
    save(inside / "rescaled.dcm", planar(body()[None, None]), RescaleSlope="2", RescaleIntercept="0")
    (inside / "Mustermann.txt").write_text("no DICOM")
    (inside / "cut.dcm").write_bytes((inside / "good.dcm").read_bytes()[:-1000])
    _, images, status, text = listed(inside, tmp_path / "out")
    assert len(images) == 1
    told = " | ".join(row["error"] for row in status)
    for words in (
        "modality is CT",
        "no sound pixel spacing",
        "pixels are of 2.4 x 4.8 mm",
        "No planar camera is known for this nuclide",
        "it has 6 x 12 pixels",
        "rescaled",
        "no DICOM file",
        "truncated",
    ):
        assert words in told, (words, told)
    assert "Mustermann" not in text
    with pytest.raises(DataError, match="Cannot list DICOM files"):
        listed(tmp_path / "nowhere", tmp_path / "out")


def test_of_several_windows_the_photopeak_is_taken_or_the_one_that_is_named(tmp_path: Path) -> None:
    windows = (EnergyWindow("scatter", 100.0, 120.0), EnergyWindow("peak", 126.0, 154.0))
    counts = np.stack([body(seed=1, level=5), body(seed=2)])[:, None]
    save(tmp_path / "in" / "a.dcm", planar(counts, windows=windows), kind="STATIC")
    for own, number in (({}, 1), ({"window": [100, 120]}, 0)):
        _, (image,), _, _ = listed(tmp_path / "in", tmp_path / "out", **own)
        assert image["counts_found"] == counts[number].sum()
    _, none, status, _ = listed(tmp_path / "in", tmp_path / "out", window=[200, 220])
    assert not none and "No photopeak window" in status[0]["error"] and "200 to 220 keV" in status[0]["error"]
    _, none, status, _ = listed(tmp_path / "in", tmp_path / "out", nuclide="Tl-201")
    assert not none and "none holds the 70.8 or 167.4 keV of Tl-201" in status[0]["error"]


def test_hostile_names_become_labels(tmp_path: Path) -> None:
    hostile = "../../../etc/passwd"
    save(
        tmp_path / "in" / "a.dcm",
        planar(body()[None, None]),
        PatientID=hostile,
        SeriesDescription=hostile * 3,
    )
    _, (image,), _, text = listed(tmp_path / "in", tmp_path / "out")
    assert set(image["image"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert Path(image["path"]).parent == (tmp_path / "out" / "planes").resolve()
    assert "etc" not in image["image"] and "passwd" not in text


def test_sizes_that_cannot_be_restored_say_what_could(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", planar(body(96, 32)[None, None]))
    for own, words in (
        ({"bin": 5}, "5 does not divide its 32 x 96 pixels"),
        ({"bin": 16}, "it has 32 x 96 pixels"),
        ({"factor": 16}, None),
    ):
        _, images, status, _ = listed(tmp_path / "in", tmp_path / "out", **own)
        assert bool(images) is (words is None)
        assert words is None or words in status[0]["error"]
    save(tmp_path / "b" / "b.dcm", planar(np.ones((1, 1, 520, 16), np.int32)))
    _, none, status, _ = listed(tmp_path / "b", tmp_path / "out", factor=8)
    assert not none and "520 pixels a side become 4160; 4096 are the most" in status[0]["error"]


def test_an_image_without_counts_is_refused_when_it_is_read(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", planar(np.zeros((1, 1, 32, 32), np.int32)))
    _, (image,), _, _ = listed(tmp_path / "in", tmp_path / "out")
    assert image["noise_ratio"] is None and "hold" not in STUDY.case([image], settings(tmp_path)[0])[1]
    with pytest.raises(DataError, match="Nothing was counted"):
        example(image, tmp_path)


def test_what_no_cohort_of_images_can_be_is_refused_before_any_job(tmp_path: Path) -> None:
    for own, words in (
        ({"use": "train"}, "train nothing"),
        ({"window": [154, 126]}, "Not an energy window"),
        ({"series": "("}, "Cannot select series"),
    ):
        cohort, degradation = settings(tmp_path, **own)
        with pytest.raises(ConfigError, match=words):
            STUDY.check_cohort(cohort, degradation)


# ---- counts or not ----


def test_the_noise_ratio_knows_counts_from_what_was_made_of_them() -> None:
    rng = np.random.default_rng(5)
    for mean in (0.05, 1.0, 40.0):
        counts = rng.poisson(np.full((256, 200), mean))
        assert noise_ratio(counts) == pytest.approx(1.0, abs=0.1)
        assert noise_ratio(3 * counts) == pytest.approx(3.0, abs=0.3), "values that were scaled for display"
        assert noise_ratio(binned(counts, 2)) == pytest.approx(1.0, abs=0.1), "sums of counts are counts"
    smooth = (counts[1:, 1:] + counts[:-1, 1:] + counts[1:, :-1] + counts[:-1, :-1]) / 4
    assert noise_ratio(smooth) < 0.3
    sheet = np.kron(
        rng.random((8, 8)), np.ones((32, 32))
    )  # sharp edges, seen by a camera of 7 mm in 2.4 mm pixels
    seen = BlurAndBin((256, 256), 1.2, [(1.0, 7.0)], (128, 128), 2.4).forward(sheet)
    assert noise_ratio(rng.poisson(2000 * seen)) == pytest.approx(1.0, abs=0.1), (
        "structure is not taken for noise"
    )
    assert np.isnan(noise_ratio(np.zeros((8, 8))))
    sound = {"lossy": False, "noise_ratio": 1.0, "counts_told": None}
    assert remarks(sound) == []
    assert "3 times" in remarks({**sound, "noise_ratio": 3.0})[0]
    assert "50.0 %" in remarks({**sound, "counts_told": 200.0, "counts_found": 100})[0]


def test_the_counted_area_is_the_body() -> None:
    counts = np.zeros((60, 40))
    counts[20:40, 10:30] = 20
    area = counted_area(np.random.default_rng(1).poisson(counts))
    assert area[22:38, 12:28].all() and not area[:12].any() and not area[:, :4].any()
    assert counted_area(np.zeros((8, 8))).all()


# ---- how large ones are shown ----


def test_a_large_image_is_shown_whole_and_in_a_detail_that_is_framed() -> None:
    picture = np.zeros((300, 900), np.float32)  # x, y
    picture[40:90, 700:760] = np.random.default_rng(0).random((50, 60))
    grid, _ = pixels.to_ras(Volume(picture[..., None], np.diag([0.5, 0.5, 1, 1])))
    scan = SimpleNamespace(images={"input": grid}, planted={}, notes=[], missing={}, row={"scan": "s"})
    look = look_of(STUDY.figures)
    drawing = _Drawing(scan, grid, ["input"], (0.0, 1.0), 0.5, look)  # type: ignore[arg-type]
    figure = ScanFigure("c", "s", "sub-1", "")
    drawing.fill(figure)
    assert [label for label, _ in figure.rows] == ["Sheet", "Detail"]
    (whole,), (detail,) = (panels for _, panels in figure.rows)
    assert (whole.width, whole.height) == (150.0, 450.0) and (detail.width, detail.height) == (144.0, 144.0)
    assert whole.box is not None
    left, top, width, height = whole.box
    assert (width, height) == (96.0, 32.0)
    x, y = left / 100 * 300, 900 * (1 - top / 100)  # the detail's left and upper borders
    assert x <= 40 and x + 288 >= 90 and y >= 760 and y - 288 <= 700, "what is there to see lies in it"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(detail.src.split(",")[1]))).convert("L"))
    assert shown.shape == (288, 288), "pixel by pixel"
    rows = np.flatnonzero(shown.max(axis=1))
    assert abs((y - rows[0]) - 760) <= 2, "y runs up"
