"""The head phantom: plausible, exact, individual, and a subject of several repeats."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from senmei.core.errors import ConfigError
from senmei.phantoms.grids import average, double, ramp, slope, stretch
from senmei.phantoms.head import TISSUES, build_head, draw_head, head_grid
from senmei.phantoms.subject import simulate_subject


@pytest.fixture(scope="module")
def head():
    return build_head(draw_head(np.random.default_rng(3)), 2.0, skull=True)


def millilitres(head, voxel):
    return {t: float(head.fractions[i].sum()) * voxel**3 / 1000 for i, t in enumerate(TISSUES)}


def test_volumes_are_those_of_a_person(head):
    for h in (head,):
        ml = millilitres(h, 2.0)
        assert 600 < ml["grey"] + ml["deep_grey"] < 1200
        assert 450 < ml["white"] < 800
        assert 100 < ml["csf"] < 520
        assert 20 < ml["deep_grey"] < 110
        assert ml["skull"] > 200 and ml["soft"] > 300


def test_fractions_sum_to_one_and_labels_are_their_arg_max(head):
    assert head.fractions.dtype == np.float32 and head.labels.data.dtype == np.uint8
    assert head.fractions.min() >= 0
    assert np.abs(head.fractions.sum(0) - 1).max() < 1e-4
    assert np.array_equal(head.labels.data, head.fractions.argmax(0))
    assert set(np.unique(head.labels.data)) == set(range(7))
    assert all(m.shape == head.labels.shape and np.isfinite(m).all() for m in head.details.values())


def test_the_grid_is_what_was_asked_for(head):
    shape, affine = head_grid("human", 2.0, True)
    assert head.labels.shape == shape and np.allclose(head.labels.affine, affine)
    assert head.labels.voxel == (2.0, 2.0, 2.0)
    small = build_head(head.parameters, 4.0, shape=(48, 50, 41), skull=False)
    assert small.labels.shape == (48, 50, 41)
    middle = small.affine[:3, 3] + 4.0 * (np.array(small.labels.shape) - 1) / 2
    assert np.allclose(middle, affine[:3, 3] + 2.0 * (np.array(shape) - 1) / 2)


def test_the_head_lies_inside_its_field_of_view():
    for seed in range(2):
        labels = build_head(draw_head(np.random.default_rng(seed)), 4.0, skull=False).labels.data
        brain = labels > 0
        faces = [brain[0], brain[-1], brain[:, 0], brain[:, -1], brain[:, :, -1]]
        assert sum(int(f.sum()) for f in faces) == 0


def test_same_parameters_same_head_other_seed_other_folds():
    a, b, c = (draw_head(np.random.default_rng(s)) for s in (5, 5, 6))
    one, two, other = (build_head(p, 4.0, skull=False) for p in (a, b, c))
    assert np.array_equal(one.fractions, two.fractions)
    refolded = build_head(replace(a, folding_seed=a.folding_seed + 1), 4.0, skull=False)
    for h in (other, refolded):
        assert (h.labels.data != one.labels.data).mean() > 0.02


def test_resolutions_agree_on_the_anatomy(head):
    coarse = build_head(head.parameters, 4.0, skull=True)
    whole = np.stack([average(f, 2) for f in head.fractions])
    keep = min(whole.shape[3], coarse.fractions.shape[3])
    assert whole.shape[1:3] == coarse.fractions.shape[1:3]
    for tissue in (2, 3):
        a, b = whole[tissue, ..., :keep], coarse.fractions[tissue, ..., :keep]
        assert abs(a.sum() / b.sum() - 1) < 0.12


def test_cortex_is_a_thin_ribbon_between_white_matter_and_fluid(head):
    labels, distance = head.labels.data, head.details["distance"]
    assert np.median(distance[labels == 2]) == pytest.approx(2.6, abs=0.8)  # with the finer cerebellum
    assert distance[labels == 3].max() < 1.5
    assert np.quantile(distance[labels == 2], 0.9) < 7
    white = labels == 3
    pieces, _ = ndimage.label(white)
    assert np.bincount(pieces[white]).max() > 0.95 * white.sum()


def test_brain_extraction_removes_skull_and_leaves_the_brain(head):
    bare = build_head(head.parameters, 2.0, shape=head.labels.shape, skull=False)
    assert not np.isin(bare.labels.data, (5, 6)).any()
    assert np.allclose(bare.fractions[2:5], head.fractions[2:5], atol=1e-5)


@pytest.mark.parametrize(("species", "voxel"), [("rat", 0.3), ("mouse", 0.2)])
def test_rodents_are_declared_surrogates(species, voxel):
    rodent = build_head(draw_head(np.random.default_rng(0), species), voxel, skull=False)
    assert "surrogate" in rodent.surrogate and species in rodent.surrogate
    ml = millilitres(rodent, voxel)
    brain = ml["grey"] + ml["white"] + ml["deep_grey"] + ml["csf"]
    assert (0.8 if species == "rat" else 0.2) < brain < (3.5 if species == "rat" else 1.0)
    assert ml["white"] < ml["grey"]


def test_impossible_requests_are_refused():
    with pytest.raises(ConfigError, match="Unknown species 'human_'") as e:
        draw_head(np.random.default_rng(0), "human_")
    assert "did you mean 'human'" in str(e.value)
    with pytest.raises(ConfigError, match="at 40 mm"):
        build_head(draw_head(np.random.default_rng(0)), 40)


def test_a_subject_of_repeats():
    repeats = simulate_subject(7, 3.0, 3.0, "human", 3, False)
    again = simulate_subject(7, 3.0, 3.0, "human", 3, False)
    assert len(repeats) == 3
    for a, b in zip(repeats, again, strict=True):
        assert np.array_equal(a["image"].data, b["image"].data)
        assert np.array_equal(a["labels"].data, b["labels"].data)
        assert a["image"].data.dtype == np.float32 and a["labels"].data.dtype == np.uint8
        assert np.median(a["image"].data[a["labels"].data == 3]) == pytest.approx(1000, rel=0.12)
    first, second = repeats[0], repeats[1]
    brain = first["labels"].data > 0
    r = np.corrcoef(first["image"].data[brain], second["image"].data[brain])[0, 1]
    assert 0.6 < r < 0.999
    one = simulate_subject(7, 3.0, 3.0, "human", 1, False)[0]
    assert np.array_equal(one["image"].data, first["image"].data)  # more repeats do not change the first
    other = simulate_subject(8, 3.0, 3.0, "human", 1, False)[0]
    assert not np.array_equal(other["labels"].data, one["labels"].data)


def test_grid_operations():
    x = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 4, 4), np.float32)
    fine = double(x, (12, 8, 8))
    assert np.allclose(average(fine, 2), x, atol=1e-5)
    assert np.allclose(np.diff(fine[:, 0, 0]), 0.5, atol=1e-5)
    assert np.allclose(slope(x, 0.5), 2.0)
    assert np.allclose(stretch(x, (11, 4, 4))[:, 0, 0], np.arange(11) / 2)
    assert ramp(np.array([-1.0, 0.0, 0.25, 1.0]), 1.0).tolist() == [0.0, 0.5, 0.75, 1.0]
