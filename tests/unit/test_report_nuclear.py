"""The page of a study in nuclear medicine: colours, the heart, doses, observer, limits and oracles."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_report import Page, save, self_contained

from senmei.core.errors import ConfigError
from senmei.core.statistics import bootstrap_ci, paired_difference
from senmei.core.volume import Volume
from senmei.io.roles import save_role
from senmei.io.tables import write_tsv
from senmei.report import bullseye, pixels
from senmei.report.cohort import write_index
from senmei.report.files import StudyFiles, condition_label, in_order
from senmei.report.heart_files import hearts
from senmei.report.limits import limit_lines
from senmei.report.look import Look, look_of
from senmei.report.numbers import best, direction
from senmei.report.slices import draw_scan
from senmei.report.study import PAGE_LIMIT, shown_scans, study_look, write_study_report
from senmei.report.verdict import verdicts

SHAPE, EDGE = (32, 32, 20), 9.0
AFFINE = np.diag([EDGE, EDGE, EDGE, 1.0])
AFFINE[:3, 3] = -EDGE * (np.array(SHAPE) - 1) / 2
CENTRE = np.array([-45.0, 36.0, 9.0])  # of the ventricle, mm
LEVEL = 2.0  # of normal myocardium
DEFECT = (10, 15)
FIGURES = {"colour": "nuclear", "tradeoff": ("noise_level", "wall_thickness_error")}
SPEC = {
    "title": "Perfusion",
    "run": "demo",
    "figure_scans": 1,
    "conditions": ["dose"],
    "primary": ["nrmse", "count_bias", "auc"],
    "sentences": [],
    "figures": FIGURES,
}
METHODS = {  # family, needs, share of the noise that is left, counts gained (%)
    "input": ("none", [], 1.0, 0.0),
    "gaussian": ("classical", ["noisy", "repeat"], 0.6, 3.1),
    "gaussian_oracle": ("classical", ["input", "reference"], 0.3, 0.5),
    "unet3d_n2n": ("learned", ["noisy", "repeat"], 0.4, -0.4),
}
TITLE = {
    "input": "Unrestored",
    "gaussian": "Gaussian",
    "gaussian_oracle": "Gaussian (tuned on the truth)",
    "unet3d_n2n": "3D U-Net",
}
FACTS = {
    "nrmse": ("Normalised error", "1", "lower"),
    "count_bias": ("Count bias", "%", "zero"),
    "noise_level": ("Noise", "%", "lower"),
    "wall_thickness_error": ("Wall thickness error", "mm", "zero"),
    "auc": ("Area under the ROC curve", "1", "higher"),
    "auc_low": ("Area, lower limit", "1", "none"),
    "auc_high": ("Area, upper limit", "1", "none"),
}


def chest() -> tuple[np.ndarray, np.ndarray]:
    """A chest with a bright half shell for a heart, and where the heart is."""
    grid = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3] + AFFINE[:3, 3]
    away = grid - CENTRE
    radius = np.linalg.norm(away, axis=-1)
    wall = np.exp(-0.5 * ((radius - 30) / 7) ** 2) * (away @ np.array([0.6, -0.6, 0.5]) < 15)
    body = (grid[..., 0] / 130) ** 2 + (grid[..., 1] / 110) ** 2 < 1
    return (LEVEL * np.maximum(wall, 0.08 * body)).astype(np.float32), radius < 46


def ventricle(noise: float, rng: np.random.Generator, planted: bool) -> dict[str, object]:
    """Files of an analysis, as a perfect one would write them: each segment brighter than the one before."""
    at = (np.arange(24) - 11.5) * 5
    x, y = np.meshgrid(at, at, indexing="ij")
    ring = np.exp(-0.5 * ((np.hypot(x, y) - 32) / 7) ** 2)
    turn = np.degrees(np.arctan2(-x, y)) % 360  # anterior, septal, inferior, lateral
    ring = ring * np.where(planted & (np.abs(turn - 180) < 35), 0.4, 1.0)
    slices = LEVEL * (ring[..., None] + noise * rng.normal(0, 0.15, (24, 24, 9)))
    values = LEVEL * (0.6 + 0.02 * np.arange(1, 18))
    rings = np.repeat(bullseye.from_segments(values), 4, axis=0) + noise * rng.normal(0, 0.1, (16, 48))
    mm = np.linspace(-60, 60, 41)
    line = LEVEL * (np.exp(-(((mm - 32) / 9) ** 2)) + np.exp(-(((mm + 32) / 9) ** 2)))
    return {
        "short_axis": Volume(slices.astype(np.float32), np.diag([5.0, 5.0, 9.0, 1.0])),
        "polar": {
            "segments": values.tolist(),
            "rings": rings.tolist(),
            "thickness": [None, *(11 + 0.2 * np.arange(16) + noise).tolist()],
        },
        "profiles": {
            name: {
                "mm": mm.tolist(),
                "restored": (line * (1 - 0.2 * noise)).tolist(),
                "reference": line.tolist(),
            }
            for name in ("transaxial", "septal_lateral", "anterior_inferior")
        },
    }


def build(folder: Path, doses=(1.0, 0.5, 0.25, 0.125), subjects: int = 2, hearts_of=tuple(METHODS)) -> Path:
    """A study's folder as the frame writes it, with an observer's cohort."""
    rng = np.random.default_rng(3)
    clean, inside = chest()
    status: list[dict] = []
    values: list[dict] = []
    scans, manifests = [], {}
    for cohort in ("observer", "torsos"):
        home = folder / "cohorts" / cohort
        home.mkdir(parents=True)
        facts = {"cohort": cohort, "source": "simulate", "use": "test", "synthetic": True, "case": "phantom"}
        (home / "cohort.json").write_text(json.dumps(facts))
    names = [f"sub-{i + 1:03d}" for i in range(subjects)]
    for s, subject in enumerate(names):
        for dose in doses:
            scan = f"{subject}_acq-dose{100 * dose:g}".replace(".", "p")
            scans.append(
                {"scan": scan, "subject": subject, "split": "test", "shard": "s1", "dose": dose}
                | {"defect": s % 2}
            )
    write_tsv(folder / "cohorts/torsos/scans.tsv", scans)
    write_tsv(folder / "cohorts/torsos/split.tsv", [{"subject": s, "split": "test"} for s in names])
    for row in scans:
        base = {k: row[k] for k in ("scan", "subject", "split")}
        strength = 0.15 / np.sqrt(row["dose"])
        noise = (LEVEL * strength * rng.normal(0, 1, SHAPE)).astype(np.float32)
        planted = {"centre_mm": (CENTRE - [0, 0, EDGE]).tolist(), "segments": list(DEFECT)}
        roles = {
            "input": Volume(clean + noise, AFFINE),
            "reference": Volume(clean, AFFINE),
            "mask": Volume(inside.astype(np.uint8), AFFINE),
            "heart": {"defect": planted if row["defect"] else None},
        }
        for role, value in roles.items():
            group = folder / "prepared/torsos" / ("input" if role in ("input", "mask") else "truth")
            path, digest = save(group, f"{row['scan']}_{role}", value)
            entry = {**base, "role": role, "status": "ok", "path": path, "sha256": digest}
            entry |= {"data_range": LEVEL} if group.name == "truth" else {}
            manifests.setdefault(group / "s1.tsv", []).append(entry)
        for method, (_, _, left, gain) in METHODS.items():
            place = folder / "restored/torsos" / method
            path, digest = save(place, row["scan"], Volume((1 + gain / 100) * clean + left * noise, AFFINE))
            entry = {**base, "role": "restored", "status": "ok", "path": path, "sha256": digest}
            manifests.setdefault(place / "s1.tsv", []).append(entry)
            numbers = {
                "nrmse": left * strength,
                "count_bias": gain,
                "noise_level": 100 * left * strength,
                "wall_thickness_error": 1.5 - left,
            }
            for measure, value in numbers.items():
                entry = {"study": folder.name, "cohort": "torsos", "method": method, **base}
                entry |= {"dose": row["dose"], "measure": measure, "value": value + rng.normal(0, 0.001)}
                values.append(entry)
            if method in hearts_of:
                there = folder / "analysed/torsos/perfusion" / method
                for name, value in ventricle(left, rng, bool(row["defect"])).items():
                    save_role(there / f"{row['scan']}_{name}", value)
                save_role(there / f"{row['scan']}_curve", _family())
                if method == "input":
                    truth = ventricle(0.0, rng, bool(row["defect"]))
                    for name in ("short_axis", "polar"):
                        save_role(there / f"{row['scan']}_reference_{name}", truth[name])
    for method, (_, _, left, _) in METHODS.items():
        area = {"auc": 0.95 - 0.2 * left, "auc_low": 0.9 - 0.2 * left, "auc_high": 0.98 - 0.2 * left}
        for measure, value in area.items():
            entry = {"study": folder.name, "cohort": "observer", "method": method, "scan": None}
            values.append({**entry, "subject": None, "split": "test", "measure": measure, "value": value})
    for path, rows in manifests.items():
        write_tsv(path, rows)
    _cards(folder)
    columns = ("study", "cohort", "method", "scan", "subject", "split", "dose", "measure", "value")
    write_tsv(folder / "measures.tsv", values, columns)
    write_tsv(folder / "status.tsv", status, ("stage", "cohort", "method", "scan", "status", "error"))
    _summary(folder, values)
    return folder


def _family() -> dict:
    widths = [4.0, 8.0, 12.0, 16.0]
    return {
        "curve": [{"fwhm_mm": w, "noise_level": 120 / w, "wall_thickness_error": 0.1 * w} for w in widths]
        + [{"fwhm_mm": 30.0, "noise_level": 1.0, "wall_thickness_error": None}]
    }


def _cards(folder: Path) -> None:
    for method, (family, needs, *_) in METHODS.items():
        home = folder / "models" / method
        home.mkdir(parents=True)
        card = {"method": method, "use": method, "title": TITLE[method], "family": family, "needs": needs}
        card |= {"seed": 1, "sentence": f"{TITLE[method]} was used.", "references": [], "versions": {}}
        card |= {"parameters": 300000 if family == "learned" else None, "stopped": None, "settings": {}}
        card |= {"fitted": {"fwhm_mm": [9.0]} if family == "classical" else {}, "data": {}}
        (home / "card.json").write_text(json.dumps(card))


def _summary(folder: Path, values: list[dict]) -> None:
    groups: dict[tuple, dict] = {}
    for v in values:
        scans = groups.setdefault((v["cohort"], v.get("dose"), v["measure"]), {}).setdefault(v["method"], {})
        scans.setdefault(str(v["subject"]), {})[str(v["scan"])] = v["value"]
    headlines, flags = [], []
    for (cohort, dose, measure), methods in groups.items():
        title, unit, better = FACTS[measure]
        distance = abs if better == "zero" else float
        for method, subjects in methods.items():
            mean = bootstrap_ci({s: list(v.values()) for s, v in subjects.items()}, 0, 100)
            ours, theirs = (
                {s: {k: distance(x) for k, x in scans.items()} for s, scans in found.items()}
                for found in (subjects, methods["gaussian"])
            )
            gap = paired_difference(ours, theirs, 0, 100) if method != "gaussian" else None
            row = {"cohort": cohort, "condition": {} if dose is None else {"dose": dose}, "measure": measure}
            row |= {"title": title, "unit": unit, "better": better, "method": method}
            row |= {"family": METHODS[method][0], "n": mean.n, "mean": mean.mean, "ci95": mean.ci}
            row |= {"versus": "gaussian" if gap else None}
            row |= {"difference": gap and {"n": gap.n, "mean": gap.mean, "ci95": gap.ci}}
            headlines.append(row)
            if measure == "count_bias" and abs(mean.mean) > 2:
                keys = ("cohort", "condition", "method", "measure", "mean")
                flags.append({**{key: row[key] for key in keys}, "limit": 2.0})
    summary = {"study": folder.name, "run": "demo", "title": "Perfusion", "headlines": headlines}
    summary |= {"best_classical": {"torsos": {"nrmse": "gaussian"}}, "primary": SPEC["primary"]}
    summary |= {"limits": {"count_bias": 2.0}, "flags": flags, "figures": FIGURES}
    (folder / "summary.json").write_text(json.dumps(summary))


def write(folder: Path, **spec) -> Page:
    out = folder / "report.html"
    write_study_report(folder, out, {**SPEC, **spec})
    return Page(out)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("run") / "spect_denoise")


@pytest.fixture(scope="module")
def page(study) -> Page:
    return write(study)


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(
        int
    )


# --- the page --------------------------------------------------------------------------------------------------


def test_page_is_self_contained_small_and_the_same_twice(study, page):
    self_contained(page)
    assert len(page.source.encode()) < PAGE_LIMIT
    assert write(study).source == page.source
    assert all(image.get("alt") for image in page.images)
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert drawings
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in drawings)
    assert not re.search(r"\bnan\b", page.words, re.I)


def test_sections_hold_a_heart_and_links_to_it(page):
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert ids == [
        "judged", "slices", "heart", "charts", "summary", "fitted", "failures", "methods", "provenance",
    ]  # fmt: skip
    assert "#heart" in page.links


def test_a_scan_with_a_planted_defect_is_shown_and_cut_where_it_lies(study, page):
    files = StudyFiles(study, SPEC["conditions"])
    (row,) = shown_scans(files, "torsos", 1, "nrmse")
    assert (row["subject"], row["dose"], row["defect"]) == ("sub-002", 0.25, 1)
    assert "Cut through the planted defect (segments 10, 15)." in page.words
    assert "10 mid inferior, 15 apical inferior (outlined in the maps)" in page.words
    assert page.source.count('class="planted"') == 2 * (len(METHODS) + 1)
    figure = draw_scan(files, "torsos", row, ["gaussian"], look=study_look(files, SPEC))
    assert [label for label, _ in figure.rows] == ["Axial", "Difference"]
    clean, inside = chest()
    grid, _ = pixels.to_ras(Volume(clean, AFFINE))
    middle = round((CENTRE[2] - EDGE - AFFINE[2, 3]) / EDGE)
    box = pixels.widened(pixels.bounding_box(inside, 0), 25, grid)
    expected = pixels.enlarge(pixels.cut(grid, "axial", middle, box)[0], look_of(FIGURES).side)
    shown = figure.rows[0][1][-1].src  # of the reference
    assert shown == pixels.data_uri(pixels.image_png(expected, 0, 1.2 * LEVEL, "hot"))


def test_slices_are_hot_and_cropped_to_the_heart(study):
    files = StudyFiles(study, SPEC["conditions"])
    row = shown_scans(files, "torsos", 1, "nrmse")[0]
    figure = draw_scan(files, "torsos", row, ["gaussian"], look=study_look(files, SPEC))
    assert figure.windows == (
        "Images 0 to 1.2 × normal myocardium; restored − reference ±0.3 × normal myocardium."
    )
    _, inside = chest()
    box = pixels.bounding_box(inside, 0)
    panel = figure.rows[0][1][0]
    assert panel.width == EDGE * (box[0].stop - box[0].start + 2 * round(25 / EDGE))
    assert panel.width < EDGE * SHAPE[0]
    picture = decoded(panel.src)
    assert max(picture.shape) >= 100  # interpolated: not left in coarse voxels
    assert (picture[..., 0] >= picture[..., 1]).all()  # hot iron: red before green before blue
    assert (picture[..., 1] >= picture[..., 2]).all()
    assert picture[..., 0].max() > 200
    grey = decoded(draw_scan(files, "torsos", row, ["gaussian"]).rows[0][1][0].src)
    assert (grey[..., 0] == grey[..., 2]).all()  # the default is unchanged


# --- the heart -------------------------------------------------------------------------------------------------


def test_short_axis_rows_run_from_apex_to_base_with_anterior_on_top(study, page):
    strips = [i for i in page.images if "short-axis slices" in i["alt"]]
    assert [i["alt"].split(",")[0] for i in strips] == [*TITLE.values(), "Reference"]
    assert "9 short-axis slices from apex to base" in strips[0]["alt"]
    picture = decoded(strips[-1]["src"]).sum(axis=2)
    side = picture.shape[0]
    tile = picture[:, :side]
    top, bottom = tile[: side // 2].sum(), tile[side // 2 :].sum()
    left, right = tile[:, : side // 2].sum(), tile[:, side // 2 : side].sum()
    assert bottom < 0.9 * top  # the planted defect is inferior
    assert left == pytest.approx(right, rel=0.05)


def test_polar_maps_hold_17_numbers_and_values(page):
    maps = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert len(maps) == len(METHODS) + 1
    for text in maps:
        found = dict(re.findall(r"(\d+) [a-z ]+ (\d+)(?:,|$)", text.split("segment: ")[1]))
        assert found == {str(n): f"{60 + 2 * n}" for n in range(1, 18)}
    assert page.source.count('<text class="n"') == 17 * len(maps)


def test_polar_map_lies_as_physicians_have_it():
    """Anterior on top, septum left, inferior below, lateral right; apex in the middle."""
    side = bullseye._SIDE
    middle, near = side // 2, round(side * 0.06)
    places = {0: (near, middle), 90: (middle, near), 180: (-near, middle), 270: (middle, -near)}
    for angle, (row, col) in places.items():
        rings = np.zeros((16, 48))
        k = round(angle / 7.5)
        rings[12:, [(k - 1) % 48, k % 48]] = 1.0
        picture = decoded(bullseye.picture(rings, 0, 1, "grey")).sum(axis=2)
        assert picture[row, col] > 700, angle
        assert [picture[r, c] for a, (r, c) in places.items() if a != angle] == [0, 0, 0]
    apex = np.zeros((16, 48))
    apex[:3] = 1.0
    picture = decoded(bullseye.picture(apex, 0, 1, "grey")).sum(axis=2)
    assert picture[middle, middle] > 700
    assert picture[near, middle] == 0


def test_segments_lie_where_their_colours_do():
    values = np.arange(1, 18, dtype=float)
    picture = decoded(bullseye.picture(bullseye.from_segments(values), 0, 17, "grey"))[..., 0]
    for n in range(1, 18):
        x, y = bullseye.centre(n)
        row, col = (min(int((v / 100 + 1) / 2 * bullseye._SIDE), bullseye._SIDE - 1) for v in (y, x))
        assert picture[row, col] == pytest.approx(255 * n / 17, abs=8), n
    assert bullseye.centre(7)[1] < 0 < bullseye.centre(10)[1]
    assert bullseye.centre(14)[0] < 0 < bullseye.centre(16)[0]
    assert bullseye.centre(3)[0] < 0 < bullseye.centre(3)[1]  # inferoseptal: low on the left
    assert len({bullseye.outline(n) for n in range(1, 18)}) == 17


def test_segments_are_printed_as_dashes_where_nothing_was_found():
    made = bullseye.bullseye("a", "A", ("", False), None, [float("nan")] * 17, (0, 1), "hot", 1.0, [17, 40])
    assert {s.value for s in made.segments} == {"–"}
    assert made.planted == (bullseye.outline(17),)


def test_profiles_and_wall_thickness_are_drawn(page):
    alts = [image["alt"] for image in page.images]
    assert any("Line profiles through the middle of the ventricle" in alt for alt in alts)
    assert any("Wall thickness (full width at half maximum) by AHA segment" in alt for alt in alts)
    assert "black: the noise-free reference" in page.words


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(study, tmp_path):
    copy = tmp_path / "s"
    shutil.copytree(study, copy)
    home = copy / "analysed/torsos/perfusion"
    for path in home.glob("gaussian/*_polar.json"):
        path.write_text(json.dumps({"segments": [1, 2, 3], "rings": None}))
    for path in home.glob("unet3d_n2n/*_short_axis.nii.gz"):
        path.unlink()
    for path in home.glob("input/*_reference_*"):
        path.unlink()
    table = copy / "prepared/torsos/truth/s1.tsv"
    table.write_text(table.read_text().replace("data_range", "something"))
    page = write(copy)
    assert "99.5th percentile of its part" in page.words  # no level is known
    assert "segments in per cent of the brightest segment" in page.words
    assert "Gaussian, polar: A file of the analysis is not what the report expects" in page.words
    assert "3 segments, not 17" in page.words
    strips = [i["alt"].split(",")[0] for i in page.images if "short-axis slices" in i["alt"]]
    assert strips == ["Unrestored", "Gaussian", "Gaussian (tuned on the truth)"]
    files = StudyFiles(copy)
    found, _ = hearts(files, "torsos", "sub-002_acq-dose25")
    assert found["reference"].slices is None
    assert set(found["reference"].profiles) == {"transaxial", "septal_lateral", "anterior_inferior"}


def test_a_study_without_such_files_has_no_heart(tmp_path):
    page = write(
        build(tmp_path / "s", doses=(0.25,), subjects=1, hearts_of=()), figures={"colour": "nuclear"}
    )
    assert "Noise and resolution" not in page.words
    assert 'id="heart"' not in page.source
    assert "#heart" not in page.links
    assert not any(tag == "svg" for tag, _ in page.tags)


def test_files_of_a_scan_whose_name_goes_on_are_not_taken(study):
    files = StudyFiles(study)
    assert set(files.analysed("torsos", "gaussian", "sub-002_acq-dose25")) == {
        "short_axis", "polar", "profiles", "curve",
    }  # fmt: skip
    assert files.analysed("torsos", "gaussian", "sub-002") == {}


# --- charts ----------------------------------------------------------------------------------------------------


def test_doses_are_spoken_of_and_ordered_as_doses(page):
    assert condition_label((("dose", 1.0),)) == "full dose"
    assert condition_label((("dose", 0.125),)) == "1/8 dose"
    assert condition_label((("dose", 0.3),)) == "0.3 dose"
    doses = [(("dose", dose),) for dose in (0.125, 1.0, 0.25, 0.5)]
    assert [condition[0][1] for condition in in_order(doses)] == [1.0, 0.5, 0.25, 0.125]
    assert "Measures against the dose" in page.words
    assert "Measures against dose in torsos (synthetic)" in page.words
    assert "1/4 dose" in re.search(r'<p class="verdict[^>]*>(.*?)</p>', page.source, re.S).group(1)


def test_noise_and_resolution_have_a_swept_family(study, page):
    from senmei.report.performance import families, tradeoff_chart

    files = StudyFiles(study, SPEC["conditions"])
    pair = FIGURES["tradeoff"]
    ((name, (x, y, labels)),) = families(files, "torsos", pair, (("dose", 0.25),)).items()
    assert "Gaussian" in name
    assert labels == ["4", "8", "12", "16"]  # not 30 mm, of which the wall is unknown
    assert x == pytest.approx([30, 15, 10, 7.5])
    assert y == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert "Wall thickness error against noise at 1/4 dose in torsos" in page.words
    assert tradeoff_chart(files, "observer", pair) is None
    assert "Noise and resolution" in page.words


def test_observer_has_its_own_intervals(study, page):
    files = StudyFiles(study, SPEC["conditions"])
    assert files.bounded == {"auc"}
    rows = {h["method"]: h for h in files.headlines if h["measure"] == "auc"}
    assert rows["unet3d_n2n"]["ci95"] == pytest.approx([0.82, 0.90])
    assert rows["unet3d_n2n"]["n"] is None
    assert not any(h["measure"] in ("auc_low", "auc_high") for h in files.headlines)
    assert (
        "Area under the ROC curve by method in observer (synthetic): 95 % confidence interval." in page.words
    )
    assert not any("Box plots: Area" in image["alt"] for image in page.images)
    assert "0.820 to 0.900" in page.words
    assert "n = None" not in page.words
    assert "all images of the cohort" in page.words


# --- words -----------------------------------------------------------------------------------------------------


def test_nearest_to_zero_is_best():
    rows = [
        {"method": m, "mean": mean, "better": "zero"} for m, mean in (("a", -3.0), ("b", 0.4), ("c", 1.0))
    ]
    assert best(rows)["method"] == "b"
    assert direction({"mean": -1, "ci95": [-1.5, -0.5]}, "zero") == "better"  # of distances from 0
    assert direction({"mean": 1, "ci95": [0.5, 1.5]}, "zero") == "worse"


def test_zero_is_marked_in_tables_and_axes(page):
    assert "→ nearest to 0 is best (Δ: of distances from 0)" in page.words
    assert "limit ±2 %" in page.words
    assert page.source.count('class="flagged"') == 4  # the Gaussian at each dose


def test_a_bias_beyond_its_limit_is_flagged_at_the_top(page):
    (line,) = re.findall(r'<p class="flag">(.*?)</p>', page.source, re.S)
    assert re.search(r"Gaussian: Count bias 3\.10 % exceeds 2 % \(.*dose, worst of 4 conditions\)", line)
    assert "Cohort “torsos”" in line
    assert page.source.index('class="flag"') < page.source.index("<main")


def test_within_the_limit_one_quiet_sentence(study, tmp_path):
    summary = json.loads((study / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"flags": []}))
    (line,) = limit_lines(StudyFiles(tmp_path))
    assert not line.flagged
    assert line.text == "Within its limit for every method, cohort and condition: Count bias (±2 %)."
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"flags": [], "limits": {"absent": 1.0}}))
    assert limit_lines(StudyFiles(tmp_path)) == []
    del summary["flags"]  # an older summary: the headlines tell
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert [line.flagged for line in limit_lines(StudyFiles(tmp_path))] == [True]


def test_an_oracle_is_marked_and_never_a_baseline(study, page, tmp_path):
    files = StudyFiles(study, SPEC["conditions"])
    assert [m for m in files.methods if files.oracle(m)] == ["gaussian_oracle"]
    verdict = next(v for v in verdicts(files, SPEC["primary"]) if v.cohort == "torsos")
    assert "better than the best tuned classical method, Gaussian (gaussian)" in verdict.text
    assert "Oracle: Gaussian (tuned on the truth), 0.090." in verdict.text
    assert page.source.count('<span class="badge oracle"') > 4
    table = next(t for t in page.source.split("<table>") if "<strong>Normalised error</strong>" in t)
    bold = {
        title
        for title in TITLE.values()
        for row in table.split("<tr>")
        if f"</span>{title} <" in row and "<strong>" in row
    }
    assert bold == {"3D U-Net"}  # though the oracle's error is smaller


def test_a_card_may_say_itself_whether_it_is_an_oracle(tmp_path):
    def files(**cards) -> StudyFiles:
        home = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, card in cards.items():
            (home / "models" / name).mkdir(parents=True)
            (home / "models" / name / "card.json").write_text(json.dumps(card))
        (home / "summary.json").write_text("{}")
        return StudyFiles(home)

    tuned = {"family": "classical", "needs": ["input", "reference"]}
    net = {"family": "learned", "needs": ["input", "reference"]}
    assert not files(a=tuned, b=net).oracle("a")  # what learned methods see, too, is fair
    assert not files(a=tuned).oracle("a")
    assert files(a=tuned, b=net | {"needs": ["noisy"]}).oracle("a")
    assert files(a=tuned | {"needs": [], "oracle": True}, b=net).oracle("a")
    assert not files(a=tuned | {"oracle": False}, b=net | {"needs": ["noisy"]}).oracle("a")
    assert files(a=tuned | {"oracle": True, "title": "A"}).label("a") == "A (oracle)"


# --- colours and looks -----------------------------------------------------------------------------------------


def test_hot_iron_is_that_of_dicom():
    hot = pixels.ramp("hot").astype(int)
    assert hot[0].tolist() == [0, 0, 0]
    assert hot[-1].tolist() == [255, 255, 255]
    at = np.linspace(0, 255, len(hot))
    assert np.abs(hot[:, 0] - np.minimum(2 * at, 255)).max() <= 1
    assert hot[at < 127.5, 1].max() == 0
    assert hot[at < 191.5, 2].max() == 0
    brightness = hot @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0).all()
    assert (pixels.ramp("grey_inverse") == pixels.ramp("grey")[::-1]).all()
    with pytest.raises(ValueError, match="no colour scale 'rainbow'"):
        pixels.ramp("rainbow")


def test_enlarging_keeps_values_and_places():
    picture = np.add.outer(np.arange(6.0), 2 * np.arange(5.0))
    fine = pixels.enlarge(picture, 24)
    assert fine.shape == (24, 20)
    assert fine.reshape(6, 4, 5, 4).mean(axis=(1, 3))[1:-1, 1:-1] == pytest.approx(picture[1:-1, 1:-1])
    assert (fine.min(), fine.max()) == (picture.min(), picture.max())
    assert pixels.enlarge(picture, 11) is picture
    assert pixels.enlarge(np.ones((1, 1)), 4).shape == (4, 4)


def test_smooth_pictures_decode_to_the_same_colours():
    levels = np.random.default_rng(0).integers(0, 64, (30, 40)).astype(np.uint8)
    plain, smooth = (
        np.asarray(
            Image.open(io.BytesIO(pixels.palette_png(levels, pixels.ramp("hot"), smooth=way))).convert("RGB")
        )
        for way in (False, True)
    )
    assert (plain == smooth).all()
    clear = Image.open(
        io.BytesIO(pixels.palette_png(np.array([[0, 1]], np.uint8), np.zeros((2, 3)), clear=True))
    )
    assert np.asarray(clear.convert("RGBA"))[0, :, 3].tolist() == [255, 0]


def test_looks_are_declared_and_checked():
    assert look_of() == Look()
    assert look_of({"colour": "grey"}) == Look()
    nuclear = look_of({"colour": "nuclear", "margin_mm": 40.0, "tradeoff": ["a", "b"]}, {"image": [0, 1.5]})
    assert (nuclear.colour, nuclear.crop, nuclear.margin_mm, nuclear.window) == (
        "hot",
        True,
        40.0,
        (0.0, 1.5),
    )
    assert nuclear.tradeoff == ("a", "b")
    assert look_of({"colour": "whole_body"}).colour == "grey_inverse"
    for wrong, why in (
        ({"color": "hot"}, "no such field: color"),
        ({"colour": "rainbow"}, "no colour scale 'rainbow'"),
        ({"planes": ["oblique"]}, "planes are"),
        ({"tradeoff": ["a"]}, "names 1 measures"),
    ):
        with pytest.raises(ConfigError) as caught:
            look_of(wrong, where="figures of study 's'")
        assert why in str(caught.value)
        assert "figures of study 's'" in str(caught.value)


def test_the_spec_carries_what_the_study_declares():
    from senmei.core.study import Study
    from senmei.stages.report import report_spec

    class Declared(Study):
        title, conditions, primary, sentences = "T", ("dose",), ("nrmse",), ()
        figures = FIGURES

    settings = {"analyses": {"perfusion": {"use": "perfusion"}}, "report": {}, "cohorts": {}}
    spec = report_spec(Declared(), settings, "demo")
    assert "wall_thickness" in spec["sentences"][0]["measures"]
    assert look_of(json.loads(json.dumps(spec))["figures"]) == look_of(FIGURES)


def test_index_shows_the_study_in_its_colours(study, tmp_path):
    out = tmp_path / "index.html"
    write_index(study.parent, [study.name], out, config={"run": "demo"})
    page = Page(out)
    self_contained(page)
    assert [i["alt"].split(",")[0] for i in page.images] == ["input", "gaussian", "unet3d_n2n", "reference"]
    picture = decoded(page.images[0]["src"])
    assert (picture[..., 0] > picture[..., 2] + 100).any()
    assert "Count bias 3.10 % exceeds 2 %" in page.words
    assert "Within its limit" not in page.words


def test_a_bound_that_all_keep_is_no_verdict_on_scans_without_a_reference():
    from types import SimpleNamespace

    from senmei.report.verdict import verdicts

    row = {
        "cohort": "clinic",
        "measure": "count_bias",
        "better": "zero",
        "condition": {},
        "method": "unet3d_n2n",
    }
    files = SimpleNamespace(cohorts={"clinic": {"case": "none"}}, headlines=[row], conditions=())
    (verdict,) = verdicts(files, ("nrmse",))
    assert "no reference" in verdict.text
    assert (verdict.tone, verdict.badges) == ("none", ("real scans",))


def test_an_analysis_that_no_scan_met_is_not_told(study):
    from senmei.report.files import StudyFiles
    from senmei.report.methods_text import methods_text

    sentences = [
        {"text": "Hearts were asked.", "measures": ["unheard_of"]},
        {"text": "Walls were measured.", "measures": ["wall_thickness_error", "unheard_of"]},
        {"text": "Scans were made."},
    ]
    text = methods_text(StudyFiles(study), sentences)
    said = [s["text"] for _, told in text.paragraphs for s in told]
    assert "Hearts were asked." not in said
    assert {"Walls were measured.", "Scans were made."} <= set(said)
