"""Tissue classes, repeats and headlines, on a small synthetic brain with a strong bias field."""

import json
import os
import tempfile

os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")  # before ITK is loaded

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from senmei.analyses import ANALYSES
from senmei.analyses.repeats import Repeats, foreground, mean_of_others
from senmei.analyses.summary import Cells, summarise
from senmei.analyses.tissues import Tissues
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.fingerprint import class_constants
from senmei.core.volume import Volume


def rician(clean, sigma, seed):
    rng = np.random.default_rng(seed)
    return np.hypot(clean + rng.normal(0, sigma, clean.shape), rng.normal(0, sigma, clean.shape))


@pytest.fixture(scope="module")
def brain():
    """labels, affine, clean image, bias field (sd 0.2): sampled from tissue maps, 4 mm, partial volume, texture."""
    datasets = pytest.importorskip("nilearn.datasets")
    rng = np.random.default_rng(0)
    maps = [datasets.load_mni152_gm_template(resolution=4), datasets.load_mni152_wm_template(resolution=4)]
    grey, white = (m.get_fdata() / m.get_fdata().max() for m in maps)
    inside = datasets.load_mni152_brain_mask(resolution=4).get_fdata() > 0
    chances = np.stack([np.clip(1 - grey - white, 0, 1), grey, white]) + 1e-3
    fields = np.stack([ndimage.gaussian_filter(rng.normal(size=grey.shape), 0.8) for _ in range(3)])
    labels = ((np.log(chances) + 1.2 * fields / fields.std()).argmax(axis=0) + 1) * inside
    texture = ndimage.gaussian_filter(rng.normal(size=grey.shape), 1.5)
    clean = np.array([0.0, 30.0, 70.0, 100.0])[labels] * (1 + 0.03 * texture / texture.std())
    clean = ndimage.gaussian_filter(clean, 0.4)
    slow = ndimage.gaussian_filter(rng.normal(size=grey.shape), 8, mode="nearest")
    bias = np.exp(0.2 * (slow - slow[inside].mean()) / slow[inside].std())
    return labels.astype(np.uint8), maps[0].affine, clean, bias


def case(brain, *roles):
    labels, affine, clean, bias = brain
    known = {"mask": (labels > 0).astype(np.uint8), "labels": labels, "reference": clean * bias}
    return Example({"scan": "s1"}, {role: Volume(known[role], affine) for role in roles})


@pytest.fixture(scope="module")
def scored(brain):
    _, affine, clean, bias = brain
    noisy = Volume(rician(clean * bias, 3.0, 1).astype(np.float32), affine)
    return noisy, Tissues().run(case(brain, "mask", "labels"), noisy)


def test_without_n4_the_bias_field_spoils_the_classes(brain, scored):
    noisy, solved = scored
    ignored = Tissues(bias=False).run(case(brain, "mask", "labels"), noisy)
    assert solved["dice_gm"] > 0.75
    assert solved["dice_wm"] > 0.8
    assert ignored["dice_gm"] < solved["dice_gm"] - 0.1
    assert ignored["dice_wm"] < solved["dice_wm"] - 0.1
    assert set(solved) == set(Tissues.MEASURES)


def test_two_runs_give_identical_values_and_leave_nothing_behind(brain, scored, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    noisy, first = scored
    assert Tissues().run(case(brain, "mask", "labels"), noisy) == first
    assert list(tmp_path.iterdir()) == []


def test_scale_does_not_matter_and_jaccard_follows_dice(brain, scored):
    noisy, _ = scored
    first, scaled = (
        Tissues(bias=False).run(case(brain, "mask", "labels"), noisy.like(noisy.data * k)) for k in (1, 16)
    )
    assert scaled["dice_gm"] == pytest.approx(first["dice_gm"], abs=0.005)
    assert first["jaccard_gm"] == pytest.approx(first["dice_gm"] / (2 - first["dice_gm"]))


def test_deep_grey_matter_is_grey_and_skull_is_not_brain(brain):
    labels, affine, clean, bias = brain
    changed = labels.copy()
    changed[14:24, 20:30, 15:22][labels[14:24, 20:30, 15:22] == 2] = 4
    rim = (labels > 0) & ~ndimage.binary_erosion(labels > 0)
    roles = {"mask": Volume((labels > 0).astype(np.uint8), affine)}
    plain = np.where(rim, 5, labels).astype(np.uint8)
    deep = np.where(rim, 5, changed).astype(np.uint8)
    image = Volume(clean * bias, affine)
    a = Tissues(bias=False).run(Example({}, {**roles, "labels": Volume(plain, affine)}), image)
    b = Tissues(bias=False).run(Example({}, {**roles, "labels": Volume(deep, affine)}), image)
    assert (changed == 4).any()
    assert a == b


def test_the_reference_is_segmented_once_and_agrees_with_itself(brain):
    tissues, example = Tissues(bias=False), case(brain, "mask", "reference")
    calls = []
    classify = tissues.classify
    tissues.classify = lambda *a: calls.append(1) or classify(*a)
    perfect = tissues.run(example, example["reference"])
    assert perfect["dice_gm"] == perfect["dice_wm"] == perfect["jaccard_gm"] == 1.0
    tissues.run(case(brain, "mask", "reference"), example["reference"])
    assert len(calls) == 3  # twice the restored, once the reference


def test_without_truth_there_are_volumes_only(brain):
    example = case(brain, "mask")
    values = Tissues(bias=False).run(example, case(brain, "reference")["reference"])
    assert set(values) == {"volume_gm", "volume_wm"}
    assert 300 < values["volume_wm"] < 1100  # mL


def test_unusable_images_are_refused(brain):
    example = case(brain, "mask")
    shape = example["mask"].shape
    with pytest.raises(DataError, match="Cannot classify tissues") as caught:
        Tissues().run(example, Volume(np.full(shape, 7.0), np.eye(4)))
    assert "runs from" in str(caught.value)
    with pytest.raises(DataError, match="does not fit"):
        Tissues().run(example, Volume(np.ones((4, 4, 4)), np.eye(4)))
    with pytest.raises(ConfigError, match="number of rounds"):
        Tissues(rounds=0)
    with pytest.raises(ConfigError, match="strength of the prior"):
        Tissues(mrf=3)


@pytest.mark.parametrize("name", list(ANALYSES))
def test_every_analysis_says_what_it_yields_without_being_imported(name):
    facts = class_constants(ANALYSES.place(name))
    assert facts["scope"] in ("scan", "cohort")
    assert facts["title"]
    assert all(
        better in ("higher", "lower", "one", "zero", "none") for _, _, better in facts["MEASURES"].values()
    )


def repeats_case(count=3, sigma=4.0, scan=None, mask=True):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(40, 40, 40)), 6)
    clean = 100 + 20 * smooth / smooth.std()
    volume = lambda data: Volume(data, np.eye(4))  # noqa: E731
    others = np.mean([rician(clean, sigma, s) for s in range(1, count + 1)], axis=0)
    roles = {"input": volume(rician(clean, sigma, 0)), "others": volume(others)}
    if mask:
        roles["mask"] = volume(np.ones(clean.shape, np.uint8))
    return Example({"scan": "s1", "others_n": count} if scan is None else scan, roles), volume(clean)


def test_a_perfect_restoration_reaches_the_floor():
    example, clean = repeats_case()
    values = Repeats().run(example, clean)
    assert values["mse_floor"] == pytest.approx(4.0**2 / 3, rel=0.06)
    assert values["mse_others"] == pytest.approx(4.0**2 / 3, rel=0.03)
    assert values["mse_excess"] == pytest.approx(0, abs=0.4)
    unrestored = Repeats().run(example, example["input"])
    assert unrestored["mse_others"] == pytest.approx(16 * 4 / 3, rel=0.03)


def test_the_number_of_repeats_must_be_known():
    example, clean = repeats_case(scan={"scan": "s1"})
    with pytest.raises(DataError, match="Unknown number of repeats"):
        Repeats().run(example, clean)
    assert Repeats(others_n=3).run(example, clean)["mse_excess"] == pytest.approx(0, abs=0.4)
    with pytest.raises(ConfigError, match="Unusable number of repeats"):
        Repeats(others_n=0)


def test_air_is_left_out_without_a_mask():
    x = np.indices((40, 40, 40)) - 19.5
    head = 100.0 * ((x**2).sum(axis=0) < 14**2)
    image = rician(head, 5.0, 0)
    assert np.mean(foreground(image) == (head > 0)) > 0.999
    assert foreground(np.full((3, 3, 3), 2.0)).all()


def test_others_are_brought_onto_the_target(brain):
    _, affine, clean, _ = brain
    target = Volume(clean.astype(np.float32), affine)
    moved = affine.copy()
    moved[:3, 3] += (8.0, -4.0, 4.0)  # the same head, elsewhere
    other = Volume(clean.astype(np.float32), moved)
    inside = clean > 20
    mean = mean_of_others(target, [other])
    before = np.roll(clean, (2, -1, 1), axis=(0, 1, 2))
    error, worst = (np.mean((a - clean)[inside] ** 2) for a in (mean.data, before))
    assert error < 0.02 * worst
    assert mean.data.dtype == np.float32
    assert np.array_equal(mean.affine, affine)
    assert np.array_equal(mean.data, mean_of_others(target, [other]).data)
    with pytest.raises(DataError, match="different grids"):
        mean_of_others(target, [other], register=False)
    with pytest.raises(DataError, match="No other repeats"):
        mean_of_others(target, [])
    same = mean_of_others(target, [target, target.like(target.data + 2)], register=False)
    assert np.allclose(same.data, target.data + 1)


METHODS = {
    "input": {"family": "none"},
    "gaussian": {"family": "classical"},
    "nlm3d": {"family": "classical"},
    "unet3d": {"family": "learned"},
}
META = {
    "psnr": {"title": "PSNR", "unit": "dB", "better": "higher"},
    "sharpness": {"title": "Sharpness", "unit": "1", "better": "one"},
    "volume_gm": {"title": "Volume", "unit": "mL", "better": "none"},
}


def tidy():
    level = {"input": (20, 1.0), "gaussian": (25, 0.6), "nlm3d": (28, 1.5), "unet3d": (30, 0.9)}
    rows = []
    for method, (psnr, sharp) in level.items():
        for k in range(6):
            for noise in ("3", "9"):
                row = {"cohort": "phantoms", "method": method, "scan": f"s{k}-{noise}", "subject": f"s{k}"}
                row |= {"split": "test", "noise": noise, "acceleration": None}
                rows.append({**row, "measure": "psnr", "value": psnr + k - float(noise)})
                rows.append({**row, "measure": "sharpness", "value": sharp})
                rows.append({**row, "measure": "volume_gm", "value": 700.0})
                rows.append({**row, "split": "train", "scan": "t", "measure": "psnr", "value": 1e6})
    return pd.DataFrame(rows)


def test_headlines_compare_with_the_best_classical_method():
    summary = summarise(Cells(["noise", "acceleration"], tidy().to_dict("records")), METHODS, META, seed=3)
    assert summary["best_classical"] == {"phantoms": {"psnr": "nlm3d", "sharpness": "gaussian"}}
    found = {(h["measure"], h["method"], h["condition"]["noise"]): h for h in summary["headlines"]}
    assert len(summary["headlines"]) == len(found) == 3 * 4 * 2
    net = found["psnr", "unet3d", 9]
    assert net["condition"] == {"noise": 9}
    assert net["n"] == 6
    assert net["mean"] == pytest.approx(30 + 2.5 - 9)
    assert net["ci95"][0] < net["mean"] < net["ci95"][1]
    assert net["versus"] == "nlm3d"
    assert net["difference"]["mean"] == pytest.approx(2)
    assert net["difference"]["ci95"] == pytest.approx([2, 2])
    assert found["psnr", "nlm3d", 9]["versus"] is None
    assert found["psnr", "nlm3d", 9]["difference"] is None
    # Distance from one: |0.9 - 1| - |0.6 - 1|.
    assert found["sharpness", "unet3d", 3]["difference"]["mean"] == pytest.approx(-0.3)
    assert found["volume_gm", "unet3d", 3]["versus"] is None
    json.dumps(summary, allow_nan=False)
    assert summary == summarise(
        Cells(["noise", "acceleration"], tidy().to_dict("records")), METHODS, META, seed=3
    )


def test_one_subject_and_no_classical_method():
    table = tidy()
    table = table[(table["subject"] == "s0") & (table["method"].isin(["input", "unet3d"]))]
    summary = summarise(Cells(["noise"], table.to_dict("records")), METHODS, META, seed=0)
    assert summary["best_classical"] == {}
    assert all(h["n"] == 1 and h["ci95"] is None and h["versus"] is None for h in summary["headlines"])
    assert summarise(Cells(["noise"]), METHODS, META, seed=0)["headlines"] == []


def test_values_that_are_not_finite_cost_their_subject():
    table = tidy()
    table.loc[(table["subject"] == "s1") & (table["method"] == "unet3d"), "value"] = np.inf
    summary = summarise(Cells(["noise"], table.to_dict("records")), METHODS, META, seed=0)
    assert {h["n"] for h in summary["headlines"] if h["method"] == "unet3d"} == {5}
    json.dumps(summary, allow_nan=False)
