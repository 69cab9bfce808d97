"""The demonstration, whole: what `make demo` runs, its page in a real browser, and what the numbers must say."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from tests.workflow.running import ROOT, planned, snakemake

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration, run in a folder of its own; returns its results."""
    folder = tmp_path_factory.mktemp("demo")
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    snakemake(folder, "-c2", "--quiet=rules", "demo", config=shipped, seconds=2400)
    return folder / "results" / "demo"


STUDIES = ("mri_denoise", "spect_denoise", "gamma_sr")


def _means(demo: Path, measure: str, study: str = "mri_denoise", **where: str) -> dict[str, float]:
    rows = list(csv.DictReader((demo / study / "measures.tsv").open(), delimiter="\t"))
    rows = [r for r in rows if r["measure"] == measure and all(r[k] == v for k, v in where.items())]
    return {
        m: float(np.mean([float(r["value"]) for r in rows if r["method"] == m]))
        for m in {r["method"] for r in rows}
    }


def test_nothing_failed_and_nothing_is_left_to_do(demo: Path) -> None:
    for study in STUDIES:
        assert json.loads((demo / study / "summary.json").read_text())["failures"] == 0
    assert planned(demo.parents[1], "demo") == {}


@pytest.mark.parametrize("noise", ["3", "9"])
def test_a_learned_method_beats_the_tuned_gaussian_and_is_level_with_tuned_nlm(
    demo: Path, noise: str
) -> None:
    psnr = _means(demo, "psnr", cohort="phantoms", acquisition="rician", noise=noise)
    best = max(psnr["unet3d"], psnr["gan3d"])
    assert best > psnr["gaussian"]
    assert best > psnr["nlm3d"] - 0.1
    assert best > psnr["input"] + 1


def test_learned_without_a_clean_image_beats_the_tuned_gaussian(demo: Path) -> None:
    error = _means(demo, "nrmse", "spect_denoise", cohort="torsos", dose="0.25")
    assert error["unet3d_n2n"] < 0.88 * error["gaussian"]
    assert error["unet3d_n2n"] < 0.88 * error["gaussian_oracle"]
    assert error["unet3d_n2n"] < error["nlm"]
    assert error["win5rb"] < error["input"]
    thickness = _means(demo, "wall_thickness_error", "spect_denoise", cohort="torsos", dose="0.25")
    assert thickness["unet3d_n2n"] < thickness["gaussian_oracle"]
    counts = _means(demo, "count_bias", "spect_denoise", cohort="torsos", dose="0.25")
    assert abs(counts["unet3d_n2n"]) < 2
    for method in ("unet3d_n2n", "win5rb", "gaussian", "butterworth", "nlm"):
        card = json.loads((demo / "spect_denoise" / "models" / method / "card.json").read_text())
        assert set(card["needs"]) <= {"noisy", "repeat"}, method


def test_super_resolution_beats_every_tuned_filter_and_keeps_counts(demo: Path) -> None:
    psnr, ssim = (_means(demo, measure, "gamma_sr", cohort="sheets") for measure in ("psnr", "ssim"))
    classical = [m for m in psnr if m not in ("input", "srresnet")]
    assert {"bicubic", "gaussian", "butterworth", "richardson_lucy", "dictionary"} <= set(classical)
    assert psnr["srresnet"] > psnr["input"] + 4.53, "what the report gained over its input"
    assert ssim["srresnet"] > ssim["input"] + 0.143
    assert psnr["srresnet"] > max(psnr[m] for m in classical) + 0.5
    assert ssim["srresnet"] > max(ssim[m] for m in classical) + 0.05
    assert all(abs(bias) < 2 for bias in _means(demo, "count_bias", "gamma_sr", cohort="sheets").values())


@pytest.mark.parametrize("study", STUDIES)
def test_every_headline_has_n_and_an_interval_or_says_why_not(demo: Path, study: str) -> None:
    headlines = json.loads((demo / study / "summary.json").read_text())["headlines"]
    assert headlines
    for line in headlines:
        assert line["n"] >= 1
        assert line["n"] == 1 or (line["ci95"] and line["ci95"][0] <= line["mean"] <= line["ci95"][1])
    learned = [h for h in headlines if h["family"] == "learned" and h["measure"] == "psnr"]
    assert learned
    baselines = {"gaussian", "butterworth", "nlm", "nlm3d", "dictionary", "richardson_lucy"}  # and no oracle
    assert all(h["versus"] in baselines and h["difference"]["n"] == h["n"] for h in learned)


def test_a_planted_lesion_survives(demo: Path) -> None:
    survival = _means(demo, "lesion_survival", cohort="phantoms", noise="3")
    assert survival["input"] == pytest.approx(1, abs=0.35)
    assert 0.5 < survival["unet3d"] < 1.5


def test_the_floor_of_leave_one_out_is_printed_and_not_undercut(demo: Path) -> None:
    floor = _means(demo, "mse_floor", cohort="repeats")
    mse = _means(demo, "mse_others", cohort="repeats")
    assert len(set(floor.values())) == 1, "the floor does not depend on the method"
    assert all(mse[method] > 0.9 * floor[method] for method in mse)
    assert mse["unet3d"] < mse["input"]


def test_restored_volumes_keep_geometry_and_units(demo: Path) -> None:
    study = demo / "mri_denoise"
    for path in (study / "restored" / "phantoms" / "unet3d").glob("*.nii.gz"):
        after, before = (
            nib.load(path),
            nib.load(study / "prepared/phantoms/input" / path.name.replace(".nii", "_input.nii")),
        )
        assert after.shape == before.shape
        np.testing.assert_array_equal(after.affine, before.affine)
        assert [int(after.header[k]) for k in ("qform_code", "sform_code", "xyzt_units")] == [
            int(before.header[k]) for k in ("qform_code", "sform_code", "xyzt_units")
        ]
        assert after.get_data_dtype() == np.float32
        ratio = np.median(after.get_fdata()[before.get_fdata() > 500]) / np.median(
            before.get_fdata()[before.get_fdata() > 500]
        )
        assert ratio == pytest.approx(1, abs=0.1)


def test_no_file_is_partial_and_no_name_is_volatile(demo: Path) -> None:
    assert not [p for p in demo.rglob("*") if p.name.startswith(".") or p.suffix in (".tmp", ".pt")]
    assert not [p for p in demo.rglob("*") if re.search(r"20\d\d-\d\d-\d\d", p.name)]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("page", ["report/index.html", *(f"{study}/report.html" for study in STUDIES)])
def test_the_pages_open_in_a_browser(demo: Path, page: str, tmp_path: Path) -> None:
    path = demo / page
    assert path.stat().st_size < 5 << 20
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text), "a page that needs the network"
    shot = tmp_path / "page.png"
    call = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*call, "--dump-dom", f"--screenshot={shot}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "synthetic" in done.stdout.lower()
    assert shot.exists() or "<h1" in done.stdout
