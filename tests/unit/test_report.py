"""The pages: what they say, what they must never hold, and that equal files give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from senmei.core.errors import DataError
from senmei.core.statistics import bootstrap_ci, paired_difference
from senmei.core.volume import Volume
from senmei.io.roles import save_role
from senmei.io.tables import read_tsv, write_tsv
from senmei.report import pixels
from senmei.report.cohort import write_index
from senmei.report.files import StudyFiles, condition_label
from senmei.report.methods_text import methods_text
from senmei.report.numbers import best, direction, number
from senmei.report.records import without_folders
from senmei.report.slices import draw_scan
from senmei.report.study import PAGE_LIMIT, shown_scans, write_study_report
from senmei.report.style import colours
from senmei.report.verdict import middle_condition, named, verdicts

ATTACK = "<script>alert(1)</script>"
SPEC = {
    "title": "Denoising & friends",
    "run": "demo",
    "figure_scans": 2,
    "conditions": ["acquisition", "noise"],
    "primary": ["psnr", "ssim"],
    "sentences": [
        {"text": "Rician noise was added.", "references": ["Gudbjartsson 1995.", "Wang 2004."]},
        {"text": "Similarity was taken inside a mask", "references": ["Wang  2004"]},
    ],
}
FAMILY = {"input": "none", "gaussian": "classical", "nlm3d": "classical", "unet3d": "learned"}
TITLE = {"input": "Unrestored", "gaussian": "Gaussian", "nlm3d": "Non-local means", "unet3d": "3D U-Net"}
QUALITY = {"input": 1.0, "gaussian": 0.6, "nlm3d": 0.45, "unet3d": 0.3}  # share of the noise that is left
FACTS = {"psnr": ("PSNR", "dB", "higher"), "ssim": ("SSIM", "", "higher"), "nmse": ("NMSE", "", "lower")}
AFFINE = np.array([[-2.0, 0, 0, 24], [0, 2, 0, -28], [0, 0, 3, -20], [0, 0, 0, 1]])


def head(shape=(24, 28, 16)):
    """A head of nested ellipsoids: white matter 1000, grey 700, fluid 300."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum((x / s) ** 2 for x, s in zip(grid, (0.8, 0.9, 0.8), strict=True)))
    wave = 0.06 * np.sin(9 * grid[0]) * np.cos(8 * grid[1])
    image = np.select([radius < 0.25, radius + wave < 0.7, radius < 1], [300, 1000, 700], 0)
    return image.astype(np.float32), radius < 1


def save(folder: Path, name: str, value) -> tuple[str, str]:
    path = save_role(folder / name, value)
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def build(
    folder: Path,
    *,
    subjects: int = 3,
    levels=(("rician", 3.0), ("rician", 9.0), ("grappa", 5.0)),
    methods=("input", "gaussian", "nlm3d", "unet3d"),
    cohort: str = "phantoms",
    case: str = "phantom",
    names=None,
    shape=(24, 28, 16),
    affine=AFFINE,
    image=None,
    wrap=lambda data, affine: Volume(data, affine),
    fail: bool = False,
) -> Path:
    """A study's folder as the frame writes it; may be called again for another cohort."""
    rng = np.random.default_rng(1)
    clean, inside = image if image is not None else head(shape)
    names = names or [f"sub-{i + 1:03d}" for i in range(subjects)]
    home = folder / "cohorts" / cohort
    synthetic = case == "phantom"
    facts = {
        "cohort": cohort,
        "source": "simulate" if synthetic else "bids",
        "use": "test",
        "synthetic": synthetic,
    }
    facts |= {"surrogate": None, "case": case, "note": f"Case {case}."}
    home.mkdir(parents=True)
    (home / "cohort.json").write_text(json.dumps(facts))
    scans, values, status = [], [], []
    for s, subject in enumerate(names):
        for kind, level in levels:
            scan = f"sub-{s + 1:03d}_acq-{kind}{level:04.1f}".replace(".", "p")
            row = {"scan": scan, "subject": subject, "split": "test", "shard": f"sub-{s + 1:03d}"}
            scans.append({**row, "acquisition": kind, "noise": level})
    write_tsv(home / "scans.tsv", scans)
    write_tsv(home / "split.tsv", [{"subject": s, "split": "test"} for s in names])
    manifests: dict[Path, list[dict]] = {}
    for row in scans:
        base = {k: row[k] for k in ("scan", "subject", "split")}
        if fail:
            status.append({"stage": "prepare", "cohort": cohort, "method": None, **base, "status": "failed"})
            status[-1] |= {
                "error": "Cannot read image [/home/jane/secret/scan.nii.gz]: truncated. Fix: copy again"
            }
            continue
        noise = rng.normal(0, row["noise"] * 10, clean.shape).astype(np.float32)
        roles = {"input": np.abs(clean + noise)}
        if case != "none":
            roles |= {"others" if case == "repeats" else "reference": clean, "mask": inside.astype(np.uint8)}
        for role, data in roles.items():
            group = folder / "prepared" / cohort / ("input" if role == "input" else "truth")
            path, digest = save(group, f"{row['scan']}_{role}", wrap(data, affine))
            entry = {
                **base,
                "role": role,
                "status": "ok",
                "path": path,
                "sha256": digest,
                "data_range": 1000.0,
            }
            manifests.setdefault(group / f"{row['shard']}.tsv", []).append(entry)
        for method in methods:
            place = folder / "restored" / cohort / method
            if method == "input":
                path, digest = f"../../../prepared/{cohort}/input/{row['scan']}_input.nii.gz", ""
            else:
                path, digest = save(place, row["scan"], wrap(clean + QUALITY[method] * noise, affine))
            entry = {**base, "role": "restored", "status": "ok", "path": path, "sha256": digest}
            manifests.setdefault(place / f"{row['shard']}.tsv", []).append(entry)
            for measure in FACTS if case != "none" else ():
                left = QUALITY[method] * row["noise"] + rng.normal(0, 0.02)
                value = {"psnr": 40 - 2 * left, "ssim": 1 - left / 30, "nmse": left / 100}[measure]
                condition = {"acquisition": row["acquisition"], "noise": row["noise"]}
                entry = {"study": folder.name, "cohort": cohort, "method": method, **base, **condition}
                values.append({**entry, "measure": measure, "value": value})
    for path, rows in manifests.items():
        write_tsv(path, rows)
    for method in methods:
        _card(folder, method, cohort)
    _collect(folder, values, status)
    return folder


def _card(folder: Path, method: str, cohort: str) -> None:
    home = folder / "models" / method
    home.mkdir(parents=True, exist_ok=True)
    learned = FAMILY[method] == "learned"
    card = {"method": method, "use": method, "title": TITLE[method], "family": FAMILY[method], "settings": {}}
    card |= {
        "needs": [],
        "seed": 7,
        "code": "0123456789ab",
        "split_sha256": "f" * 64,
        "weights_sha256": "a" * 64,
    }
    card |= {"data": {cohort: {"train": 4, "validation": 2}}, "sentence": f"{TITLE[method]} was used."}
    card |= {
        "references": ["Wang 2004.", f"Author of {method}."],
        "versions": {"senmei": "0.1.0", "numpy": "2.4.6"},
    }
    card |= {"parameters": 612345 if learned else None, "stopped": None}
    card |= {
        "fitted": {"curve_noise": [0.03, 0.09], "curve_value": [1.2, 2.4]} if method == "gaussian" else {}
    }
    (home / "card.json").write_text(json.dumps(card))
    steps = [{"step": 50 * i, "loss": 1 / (i + 1), "validation_psnr": 30 + i / 3} for i in range(1, 12)]
    write_tsv(home / "history.tsv", steps if learned else [], ("step",))


def _collect(folder: Path, values: list[dict], status: list[dict]) -> None:
    """measures.tsv, status.tsv and summary.json, added to what an earlier cohort left."""
    old = json.loads((folder / "summary.json").read_text()) if (folder / "summary.json").exists() else {}
    held = json.loads((folder / "held.json").read_text()) if old else {"values": [], "status": []}
    values, status = held["values"] + values, held["status"] + status
    (folder / "held.json").write_text(json.dumps({"values": values, "status": status}))
    keys = (
        "study",
        "cohort",
        "method",
        "scan",
        "subject",
        "split",
        "acquisition",
        "noise",
        "measure",
        "value",
    )
    write_tsv(folder / "measures.tsv", values, keys)
    write_tsv(
        folder / "status.tsv", status, ("stage", "cohort", "method", "scan", "subject", "status", "error")
    )
    groups: dict[tuple, dict[str, dict[str, dict[str, float]]]] = {}
    for v in values:
        key = v["cohort"], v["acquisition"], v["noise"], v["measure"]
        groups.setdefault(key, {}).setdefault(v["method"], {}).setdefault(v["subject"], {})[v["scan"]] = v[
            "value"
        ]
    headlines, best = [], {}
    for (cohort, kind, noise, measure), methods in groups.items():
        title, unit, better = FACTS[measure]
        versus = "nlm3d" if "nlm3d" in methods else None
        best.setdefault(cohort, {})[measure] = versus
        for method, subjects in methods.items():
            mean = bootstrap_ci({s: list(v.values()) for s, v in subjects.items()}, 0, 200)
            gap = (
                paired_difference(subjects, methods[versus], 0, 200) if versus and method != versus else None
            )
            row = {"cohort": cohort, "condition": {"acquisition": kind, "noise": noise}, "measure": measure}
            row |= {
                "title": title,
                "unit": unit,
                "better": better,
                "method": method,
                "family": FAMILY[method],
            }
            row |= {
                "n": mean.n if mean else 0,
                "mean": mean.mean if mean else None,
                "ci95": mean.ci if mean else None,
            }
            row |= {"versus": versus, "difference": gap and {"n": gap.n, "mean": gap.mean, "ci95": gap.ci}}
            headlines.append(row)
    summary = {
        "study": folder.name,
        "run": "demo",
        "title": "Denoising",
        "headlines": headlines,
        "best_classical": best,
    }
    (folder / "summary.json").write_text(json.dumps(summary))


class Page(HTMLParser):
    """What a browser would load, run and show."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.loads, self.links, self.images, self.text = [], [], [], [], []
        self._quiet = False
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self._quiet = tag == "style"
        if tag == "a":
            self.links.append(found.get("href"))
        else:
            self.loads += [found[k] for k in ("src", "href", "srcset", "data", "poster") if found.get(k)]
        if tag == "img":
            self.images.append(found)

    def handle_endtag(self, tag):
        self._quiet = False

    def handle_data(self, data):
        if not self._quiet:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def write(folder: Path, **spec) -> Page:
    out = folder / "report.html"
    write_study_report(folder, out, {**SPEC, **spec})
    return Page(out)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "mri_denoise"
    build(folder, names=["sub-001", ATTACK, "sub-003"])
    return build(folder, cohort="brains", case="clean", subjects=1, levels=(("rician", 9.0),))


@pytest.fixture(scope="module")
def page(study) -> Page:
    return write(study)


def self_contained(page: Page) -> None:
    assert page.loads, "the page shows no picture at all"
    assert all(address.startswith("data:") for address in page.loads)
    assert not any(str(link).startswith(("http:", "https:", "//")) for link in page.links)
    style = re.search(r"<style>(.*?)</style>", page.source, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "form")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_study_page_is_self_contained_small_and_escaped(page):
    self_contained(page)
    assert len(page.source.encode()) < PAGE_LIMIT
    assert ATTACK not in page.source
    assert ATTACK in page.words  # as text
    assert all(len(base64.b64decode(i["src"].split(",")[1])) <= 200_000 for i in page.images)


def test_sections_come_in_order(page):
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert ids == ["judged", "slices", "charts", "summary", "fitted", "failures", "methods", "provenance"]
    assert {f"#{name}" for name in ids} <= set(page.links)


def test_header_gives_the_verdict_of_the_real_scans_first(page):
    first, second = re.findall(r'<p class="verdict[^>]*>(.*?)</p>', page.source, re.S)
    assert "3D U-Net (unet3d)" in first
    assert "no interval; n = 1 subject;" in first
    assert "real scans, noise added" in first
    assert "is better than the best tuned classical method, Non-local means (nlm3d)" in second
    assert "n = 3 subjects" in second
    assert "9 % noise, Rician" in second
    assert "synthetic" in second
    assert "95 % CI" in second


def test_cases_are_said_in_words(page):
    assert "phantom, exact truth" in page.words
    assert "in phantoms (synthetic)" in page.words  # in the captions too
    assert "clean scan, noise added, the scan is the reference" in page.words


def test_pictures_have_alternative_texts_and_tables_headers(page):
    assert all(image.get("alt") for image in page.images)
    headers = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert headers
    assert set(headers) == {"col", "row"}


def test_one_window_is_printed_and_used_for_all_pictures(page, study):
    assert "Images 0 to 1.2 × white matter; restored − reference ±0.2 × white matter." in page.words
    files = StudyFiles(study, SPEC["conditions"])
    row = files.table("phantoms", "scans")[0]
    other = draw_scan(files, "phantoms", row, files.methods, {"image": [0, 2.0], "difference": 0.1})
    assert "0 to 2 ×" in other.windows
    assert "±0.1" in other.windows


def test_summary_marks_the_best_and_the_paired_difference(page):
    tables = page.source.split('<section aria-labelledby="summary">')[1].split("</section>")[0]
    psnr = next(t for t in tables.split("<table>") if "<strong>PSNR</strong>" in t and "phantoms" in t)
    rows = {
        name: row
        for row in psnr.split("<tr>")[2:]
        for name, title in TITLE.items()
        if f"</span>{title}" in row
    }
    assert rows["unet3d"].count("<strong>") == 3
    assert "<strong>" not in rows["nlm3d"]
    assert rows["unet3d"].count("delta better") == 3
    assert rows["gaussian"].count("delta worse") == 3
    assert "Δ" not in rows["nlm3d"]
    assert psnr.count("n = 3") == 3  # once a condition, in the header
    assert "higher is better" in psnr
    assert "lower is better" in tables  # nmse, in the details


def test_methods_text_numbers_each_reference_once(study, page):
    text = methods_text(StudyFiles(study), SPEC["sentences"])
    assert text.references[:2] == ["Gudbjartsson 1995.", "Wang 2004."]
    assert len(text.references) == len({r.casefold() for r in text.references}) == 6
    said = {s["text"]: s["numbers"] for _, sentences in text.paragraphs for s in sentences}
    assert said["Similarity was taken inside a mask."] == [2]
    assert said["3D U-Net was used."] == [2, 6]
    fitted = (
        "3D U-Net has 612,345 parameters and was fitted on 4 training and 2 validation scans of “brains”."
    )
    assert fitted in said
    assert "numpy 2.4.6" in page.words
    assert "value at 3.0 % noise 1.20" in page.words  # fitted
    assert "snakemake -c2 results/demo/mri_denoise/restored/brains/unet3d/sub-001.tsv" in page.words


def test_failures_say_none_or_are_listed(page, tmp_path):
    assert re.search(r"Failures None\.", page.words)
    page = write(build(tmp_path / "s", fail=True))
    assert "every scan failed" in page.words
    assert page.words.count("truncated. Fix: copy again") == 9
    assert "/home/jane" not in page.source
    assert "…/scan.nii.gz" in page.words
    assert "No slices to show: nothing was prepared or restored." in page.words
    assert "nothing could be measured" in page.words


def test_bytes_are_the_same_wherever_and_whenever(page, study, tmp_path):
    copy = tmp_path / "elsewhere" / "mri_denoise"
    shutil.copytree(study, copy)
    assert write(copy).source == page.source


def test_one_subject_and_no_learned_method(tmp_path):
    page = write(
        build(tmp_path / "s", subjects=1, levels=(("rician", 9.0),), methods=("input", "gaussian", "nlm3d"))
    )
    assert "No learned method was judged" in page.words
    assert "n = 1" in page.words
    assert not re.search(r"\bnan\b", page.words, re.I)


def test_without_a_reference_the_page_says_so(tmp_path):
    page = write(build(tmp_path / "s", case="none", subjects=1))
    assert "no reference: restored images and no-reference measures only" in page.words
    assert "the difference shows what was removed" in page.words
    assert "restored − input" in page.words
    assert "No verdict: nothing was judged." in page.words


def test_repeats_name_their_reference(tmp_path):
    page = write(build(tmp_path / "s", case="repeats", subjects=1))
    assert "leave-one-out against the mean of the others" in page.words
    assert "The reference is the mean of the subject's other repeats." in page.words


def test_missing_numbers_are_dashes(tmp_path):
    folder = build(tmp_path / "s")
    held = json.loads((folder / "held.json").read_text())["values"]
    for value in held:
        if value["measure"] == "ssim":
            value["value"] = float("nan")
    (folder / "held.json").write_text(json.dumps({"values": [], "status": []}))
    _collect(folder, held, [])
    summary = (folder / "summary.json").read_text().replace('"mean": null', '"mean": NaN')
    (folder / "summary.json").write_text(summary)
    page = write(folder)
    assert "–" in page.words
    assert not re.search(r"\bnan\b", page.words, re.I)


def test_4d_shows_the_middle_frame_and_complex_data_are_skipped(tmp_path):
    def series(data, affine):
        return Volume(np.stack([data * 0, data, data * 0], axis=3), affine)

    page = write(build(tmp_path / "a", subjects=1, levels=(("rician", 9.0),), wrap=series))
    assert "4D: the middle frame is shown." in page.words
    assert sum(i["alt"].startswith("reference") for i in page.images) == 4
    kspace = build(
        tmp_path / "b", subjects=1, levels=(("rician", 9.0),), wrap=lambda d, a: (d + 1j).astype("c8")
    )
    assert "No slices to show" in write(kspace).words
    assert "complex or raw data, not an image" in write(kspace).words
    table = build(tmp_path / "c", subjects=1, levels=(("rician", 9.0),), wrap=lambda d, a: {"outcome": 1.0})
    assert "a table, not an image" in write(table).words


def test_a_damaged_image_is_named_in_its_place(tmp_path):
    folder = build(tmp_path / "s", subjects=1, levels=(("rician", 9.0),))
    image = next((folder / "restored/phantoms/unet3d").glob("*.nii.gz"))
    image.write_bytes(image.read_bytes()[:200])
    page = write(folder)
    assert "File has changed since it was made" in page.words
    assert sum(i["alt"].startswith("nlm3d,") for i in page.images) == 4


def test_damaged_summary_is_an_error_with_a_fix(tmp_path):
    folder = build(tmp_path / "s")
    (folder / "summary.json").write_text("{")
    with pytest.raises(DataError) as caught:
        write(folder)
    assert "summary.json" in str(caught.value)
    assert "re-run the stage" in str(caught.value)
    (folder / "summary.json").write_text("[]")
    with pytest.raises(DataError, match="Cannot read a file the report is made from"):
        write(folder)


def test_scans_and_charts_that_have_no_room_are_counted_not_shown(study, tmp_path, monkeypatch):
    copy = tmp_path / "mri_denoise"
    shutil.copytree(study, copy)
    monkeypatch.setattr("senmei.report.study._SLICES", 100_000)
    monkeypatch.setattr("senmei.report.study._CHARTS", 60_000)
    page = write(copy, figure_scans=9)
    shown = page.source.count('<figure class="scan">')
    assert 0 < shown < 10
    assert f"{10 - shown} more scans not shown, to keep the page small" in page.words
    assert "left out, to keep the page small" in page.words
    monkeypatch.setattr("senmei.report.study.PAGE_LIMIT", 50_000)
    with pytest.raises(DataError, match="too large"):
        write(copy)
    monkeypatch.setattr("senmei.report.study.PAGE_LIMIT", 1_030_000)
    page = write(copy)
    assert "Tables of the other measures are left out" in page.words
    assert len(page.source.encode()) < 1_030_000


def test_panels_of_a_usual_scan_are_small():
    noise = np.random.default_rng(0).normal(600, 200, (217, 181))
    assert len(pixels.image_png(noise, 0, 1200)) < 40_000
    assert len(pixels.image_png(np.tile(noise, (3, 3)), 0, 1200)) < 80_000


# --- geometry -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "ASR"])
def test_orientation_and_aspect_come_from_the_affine(codes):
    """A bright voxel at the right, front and top of the head is where the marks say, however the file is stored."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    data = np.zeros((10, 12, 14), np.float32)
    data[8, 10, 12] = 1.0
    ras = np.diag([1.0, 2.0, 3.0, 1.0])
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    stored = apply_orientation(data, change)
    grid, _ = pixels.to_ras(Volume(stored, ras @ inv_ornt_aff(change, data.shape)))
    assert grid.shape == (10, 12, 14)
    assert grid.voxel == pytest.approx((1, 2, 3))
    axial, width, height = pixels.cut(grid, "axial", 12)
    assert np.argwhere(axial).tolist() == [[1, 1]]  # front: up; patient's right: left of the picture
    assert (width, height) == (10, 24)
    coronal, width, height = pixels.cut(grid, "coronal", 10)
    assert np.argwhere(coronal).tolist() == [[1, 1]]
    assert (width, height) == (10, 42)
    sagittal, width, height = pixels.cut(grid, "sagittal", 8)
    assert np.argwhere(sagittal).tolist() == [[1, 1]]
    assert (width, height) == (24, 42)
    assert pixels.MARKS == {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


def test_panels_keep_the_voxels_proportions(study, page):
    files = StudyFiles(study, SPEC["conditions"])
    rows = dict(draw_scan(files, "phantoms", files.table("phantoms", "scans")[0], files.methods).rows)
    for plane, (across, up) in {"Axial": (2, 2), "Coronal": (2, 3), "Sagittal": (2, 3)}.items():
        panel = rows[plane][0]
        cols, lines = Image.open(io.BytesIO(base64.b64decode(panel.src.split(",")[1]))).size
        assert (panel.width, panel.height) == (across * cols, up * lines)
        assert f"aspect-ratio:{panel.width:.2f}/{panel.height:.2f}" in page.source


def test_windows_map_to_grey_and_to_signed_colours():
    ramp = np.array([[-50.0, 0.0, 600.0, 1200.0, 5000.0]])
    grey = np.asarray(Image.open(io.BytesIO(pixels.image_png(ramp, 0, 1200))).convert("RGB"))[0]
    assert grey[[0, 1, 3, 4], 0].tolist() == [0, 0, 255, 255]
    assert abs(int(grey[2, 0]) - 128) <= 3
    signed = np.asarray(
        Image.open(io.BytesIO(pixels.signed_png(np.array([[-9.0, 0, 9.0]]), 5))).convert("RGB")
    )[0]
    assert signed[0, 2] > signed[0, 0]  # below: blue
    assert signed[1].min() > 240  # zero: white
    assert signed[2, 0] > signed[2, 2]  # above: red


def test_charts_too_large_as_vectors_become_small_pictures():
    from matplotlib.figure import Figure

    from senmei.report.style import encode

    figure = Figure(figsize=(6, 3))
    axes = figure.subplots()
    axes.plot(np.random.default_rng(0).normal(size=(1000, 12)), marker="o")
    address = encode(figure)
    assert address.startswith("data:image/png;base64,")
    assert len(address) < 200_000
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))
    assert picture.shape == (390, 780, 3)
    assert (picture[0, 0] == 255).all()
    assert address == encode(figure)


def test_detail_lies_where_the_frame_is_drawn(study):
    files = StudyFiles(study, SPEC["conditions"])
    figure = draw_scan(files, "phantoms", files.table("phantoms", "scans")[0], files.methods)
    rows = dict(figure.rows)
    left, top, width, height = rows["Axial"][0].box
    decode = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(p.src.split(",")[1]))))
        for p in (rows["Axial"][0], rows["Detail"][0])
    ]
    whole, detail = decode
    y, x = round(top / 100 * whole.shape[0]), round(left / 100 * whole.shape[1])
    assert round(width / 100 * whole.shape[1]) == detail.shape[1]
    assert round(height / 100 * whole.shape[0]) == detail.shape[0]
    assert (whole[y : y + detail.shape[0], x : x + detail.shape[1]] == detail).all()


def test_a_planted_lesion_is_the_detail(tmp_path):
    folder = build(tmp_path / "s", subjects=1, levels=(("rician", 9.0),))
    lesion = np.zeros((24, 28, 16), np.uint8)
    lesion[9:12, 8:12, 4:7] = 1
    group = folder / "prepared/phantoms/truth"
    name, digest = save(group, "sub-001_acq-rician09p0_lesion", Volume(lesion, AFFINE))
    table = group / "sub-001.tsv"
    row = {"scan": "sub-001_acq-rician09p0", "role": "lesion", "status": "ok", "path": name, "sha256": digest}
    write_tsv(table, [*read_tsv(table), row])
    files = StudyFiles(folder, SPEC["conditions"])
    rows = dict(draw_scan(files, "phantoms", files.table("phantoms", "scans")[0], files.methods).rows)
    left, top, width, height = rows["Planted lesion"][-1].box
    assert left + width / 2 == pytest.approx(50, abs=8)
    assert top + height / 2 == pytest.approx(50, abs=8)
    assert rows["Axial"][0].box is None  # it lies on another slice


# --- words and numbers ----------------------------------------------------------------------------------------


def test_numbers_and_directions():
    assert [number(x) for x in (32.456, 0.91234, 250.04, 0.00012, None, float("nan"))] == [
        "32.46", "0.912", "250.0", "1.2e−04", "–", "–",
    ]  # fmt: skip
    assert number(-1.234, sign=True) == "−1.23"
    assert direction({"mean": 1, "ci95": [0.5, 1.5]}, "higher") == "better"
    assert direction({"mean": 1, "ci95": [0.5, 1.5]}, "lower") == "worse"
    assert direction({"mean": 2e-6, "ci95": [1e-6, 3e-6]}, "zero") == "level", "rounding"
    assert direction({"mean": 2e-3, "ci95": [1e-3, 3e-3]}, "zero") == "worse"
    assert direction({"mean": 1, "ci95": [-0.5, 1.5]}, "higher") == "level"
    assert direction({"mean": 1, "ci95": None}, "higher") == "level"
    assert direction({"mean": 1, "ci95": [0.5, 1.5]}, "one") == "worse"  # a difference of distances from 1
    assert direction({"mean": 1, "ci95": [0.5, 1.5]}, "none") == "level"
    rows = [{"method": name, "mean": mean} for name, mean in (("a", 0.8), ("b", 1.1), ("c", float("nan")))]
    found = [best([{**row, "better": way} for row in rows]) for way in ("higher", "lower", "one", "none")]
    assert [row and row["method"] for row in found] == ["b", "a", "b", None]


def test_verdict_condition_is_the_middle_of_the_main_series():
    levels = [(("acquisition", "rician"), ("noise", float(n))) for n in (15, 1, 3, 5, 7, 9, 11, 13)]
    assert (
        condition_label(middle_condition([*levels, (("acquisition", "grappa"), ("noise", 5.0))]))
        == "9 % noise, Rician"
    )
    assert middle_condition([(), *levels]) == ()
    assert middle_condition([]) is None
    tie = [(("acquisition", "grappa"), ("noise", 5.0)), (("acquisition", "rician"), ("noise", 9.0))]
    assert middle_condition(tie) == tie[1]  # the harder


def test_a_learned_method_that_loses_is_said_to_lose(study, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(study, folder)
    summary = json.loads((folder / "summary.json").read_text())
    for row in summary["headlines"]:
        if row["method"] == "unet3d" and row["n"] > 1:
            row["difference"] = {"n": 3, "mean": -1.0, "ci95": [-1.5, -0.5]}
    (folder / "summary.json").write_text(json.dumps(summary))
    found = {v.cohort: v for v in verdicts(StudyFiles(folder), ["psnr"])}
    assert found["phantoms"].tone == "worse"
    assert "is worse than" in found["phantoms"].text
    assert "PSNR −1.00 dB" in found["phantoms"].text


def test_shown_scans_cover_several_conditions_and_subjects(study):
    files = StudyFiles(study, SPEC["conditions"])
    rows = shown_scans(files, "phantoms", 2, "psnr")
    assert [row["acquisition"] for row in rows] == ["rician", "grappa"]
    assert len({row["subject"] for row in rows}) == 2
    assert len(shown_scans(files, "brains", 5, "psnr")) == 1


def test_folders_of_the_machine_are_left_out():
    assert without_folders("Cannot read [/home/a b/x.nii.gz]: 3/4 done").endswith("3/4 done")
    assert without_folders("[/data/study/sub-1.nii.gz]: bad") == "[…/sub-1.nii.gz]: bad"
    assert without_folders("mean/sd and/or") == "mean/sd and/or"


def test_colours_belong_to_methods():
    assert colours(["unet3d", "input", "mine"]) == {
        "unet3d": "#0072b2",
        "input": "#767b84",
        "mine": "#332288",
    }
    assert (
        len(set(colours(["input", "gaussian", "nlm3d", "nlm_dipy", "srcnn3d", "unet3d", "gan3d"]).values()))
        == 7
    )


# --- the run's page -------------------------------------------------------------------------------------------


def test_index_links_labels_and_escapes(study, tmp_path):
    run = tmp_path / "demo"
    shutil.copytree(study, run / "mri_denoise")
    build(run / "other", fail=True, cohort="rats")
    facts = run / "other/cohorts/rats/cohort.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"surrogate": "rat"}))
    config = {
        "run": "demo",
        "studies": {"mri_denoise": {"path": f"/home/jane/{ATTACK}", "report": {"primary": ["ssim"]}}},
    }
    out = run / "report" / "index.html"
    write_index(run, ["mri_denoise", "other"], out, config)
    page = Page(out)
    self_contained(page)
    assert ATTACK not in page.source
    assert "/home/jane" not in page.source
    links = [link for link in page.links if link.endswith("report.html")]
    assert set(links) == {"../mri_denoise/report.html", "../other/report.html"}
    assert "sub-001, brains (real scans, noise added), 9 % noise, Rician" in page.words
    rats = StudyFiles(run / "other")
    assert named(rats, "rats") == "rats (synthetic, rat surrogate)"
    assert "SSIM" in re.search(r'<p class="verdict[^>]*>(.*?)</p>', page.source, re.S).group(1)
    assert "every scan failed" in page.words
    assert "9 failures" in page.words.replace("9failures", "9 failures")
    assert "How to cite" in page.words
    assert [i["alt"].split(",")[0] for i in page.images] == ["input", "nlm3d", "unet3d", "reference"]
    before = out.read_bytes()
    write_index(run, ["mri_denoise", "other"], out, "", config)
    assert out.read_bytes() == before


def test_reporting_never_imports_torch():
    code = "import sys, senmei.report.study, senmei.report.cohort; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
