"""The channelised Hotelling observer: against theory, against chance, and what it refuses."""

import numpy as np
import pytest
from scipy import special

from senmei.analyses.channels import area_interval, channel_images, hotelling, ratings, roc_area, shares
from senmei.analyses.observer import Observer
from senmei.analyses.summary import Cells, summarise
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.io.tables import read_tsv

VOXEL, SHAPE, SITE = 6.4, (32, 32, 12), (14, 18, 6)
AFFINE = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
AFFINE[:3, 3] = [-(n - 1) / 2 * VOXEL for n in SHAPE]
PLANE = {"slices": 1, "size": 21, "normalise": False}


def world(index):
    return (AFFINE[:3, :3] @ np.asarray(index, float) + AFFINE[:3, 3]).tolist()


HEART = {
    "site_mm": world(SITE),
    "apex_mm": world((16, 16, 1)),
    "base_mm": world((16, 16, 11)),
    "defect": None,
}


def blob(amplitude, width=1.6):
    x, y = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return amplitude * np.exp(-((x - SITE[0]) ** 2 + (y - SITE[1]) ** 2) / 2 / width**2)


def cohort(subjects, amplitude, seed=0, scale=1.0, **columns):
    """Pairs of images in white noise of unit spread, with and without a blob that darkens."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(subjects):
        for defect in (0, 1):
            data = rng.standard_normal(SHAPE).astype(np.float32) - defect * blob(amplitude)[..., None]
            scan = {"scan": f"sub-{i:03d}_defect-{defect}", "subject": f"sub-{i:03d}", "defect": defect}
            restored = Volume((scale * data).astype(np.float32), AFFINE)
            pairs.append((Example({**scan, "dose": 0.25, **columns}, {"heart": HEART}), restored))
    return pairs


def run(pairs, folder, **settings):
    rows = Observer(**{**PLANE, **settings}).run_cohort(pairs, folder)
    found = {r["measure"]: r["value"] for r in rows if not r["subject"]}
    found["auc"] = float(np.mean([r["value"] for r in rows if r["measure"] == "auc"]))
    return found, rows


def expected_area(amplitude, kind="square"):
    """Of the Hotelling observer in white noise of unit spread: Phi(d / sqrt 2), d² = s'U (U'U)^-1 U's."""
    half = PLANE["size"] // 2
    signal = blob(amplitude)[SITE[0] - half : SITE[0] + half + 1, SITE[1] - half : SITE[1] + half + 1]
    u = channel_images(kind, 4, 1 / 32, PLANE["size"]).reshape(4, -1)
    projected = u @ signal.ravel()
    d2 = projected @ np.linalg.solve(u @ u.T, projected)
    return special.ndtr(np.sqrt(d2 / 2)), np.sqrt(d2)


@pytest.mark.parametrize("kind", ["square", "dog"])
def test_area_and_snr_are_those_of_theory(tmp_path, kind):
    area, snr = expected_area(0.45, kind)
    assert 0.7 < area < 0.9, "the check needs a task neither trivial nor hopeless"
    found, _ = run(cohort(250, 0.45, seed=1), tmp_path, channels=kind)
    assert found["auc_low"] < area < found["auc_high"]
    assert found["auc_high"] - found["auc_low"] < 0.12
    assert found["snr"] == pytest.approx(snr, rel=0.15)
    assert found["auc"] == pytest.approx(area, abs=0.04)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    # ratings with one mean each: the area is known, and so is the share of intervals that must hold it
    rng, hits, area = np.random.default_rng(5), 0, special.ndtr(1 / np.sqrt(2))
    present = np.tile([False, True], 60)
    subjects = [f"s{i // 2}" for i in range(120)]
    for _ in range(200):
        common = np.repeat(rng.standard_normal(60) * np.sqrt(0.5), 2)
        rating = common + rng.standard_normal(120) * np.sqrt(0.5) + present
        low, high = area_interval(rating, present, subjects, rng, n=300)
        hits += low < area < high
    assert 0.89 <= hits / 200 <= 0.985


def test_nothing_to_see_is_chance_on_average(tmp_path):
    areas = [run(cohort(20, 0.0, seed=s), tmp_path)[0]["auc"] for s in range(15)]
    # the mean of 15 areas of 20 pairs has a standard error of about 0.025
    assert abs(np.mean(areas) - 0.48) < 0.075


def test_scale_of_the_images_does_not_matter(tmp_path):
    (one, rows), (other, scaled) = (run(cohort(30, 0.5, scale=s), tmp_path) for s in (1.0, 1e5))
    assert other["auc"] == pytest.approx(one["auc"], abs=1e-9)
    ours, theirs = ([r["value"] for r in rs if r["measure"] == "rating"] for rs in (rows, scaled))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_each_patient_s_own_uptake_does_not_matter_once_normalised(tmp_path):
    pairs = [(e, v.like(v.data + 12)) for e, v in cohort(40, 1.0, seed=2)]
    gains = np.random.default_rng(0).uniform(0.5, 2, len(pairs))
    varied = [(e, v.like((g * v.data).astype(np.float32))) for (e, v), g in zip(pairs, gains, strict=True)]
    same, other = (run(p, tmp_path, normalise=True)[0] for p in (pairs, varied))
    assert other["auc"] == pytest.approx(same["auc"], abs=1e-6) and same["auc"] > 0.8
    assert run(varied, tmp_path)[0]["auc"] < same["auc"] - 0.04
    cold = [(e, v.like(0 * v.data)) for e, v in pairs]
    with pytest.raises(DataError, match="no uptake in the heart"):
        run(cold, tmp_path, normalise=True)


def test_internal_noise_lowers_detectability_and_is_the_same_for_every_method(tmp_path):
    pairs = cohort(120, 0.6, seed=3)
    plain, noisy = run(pairs, tmp_path)[0], run(pairs, tmp_path, internal_noise=2.0)
    assert noisy[0]["auc"] < plain["auc"] - 0.05
    assert noisy[1] == run(pairs, tmp_path, internal_noise=2.0)[1]
    # variance of each channel times 1 + a, the channels of white noise being nearly independent
    assert noisy[0]["snr"] == pytest.approx(plain["snr"] / np.sqrt(3), rel=0.25)


def test_rows_feed_the_study_s_intervals_and_paired_differences(tmp_path):
    rows = []
    for method, noise in (("plain", 0.0), ("poor", 3.0)):
        found, own = run(cohort(40, 0.6, seed=4), tmp_path, internal_noise=noise)
        rows += [{"cohort": "observer", "method": method, "split": "test", **row} for row in own]
        assert found["observer_images"] == 80 and 0 <= found["observer_shrinkage"] <= 1
    methods = {"plain": {"family": "learned"}, "poor": {"family": "classical"}}
    meta = {m: dict(zip(("title", "unit", "better"), v, strict=True)) for m, v in Observer.MEASURES.items()}
    headlines = summarise(Cells([], rows), methods, meta, 1)["headlines"]
    plain, poor = (
        next(h for h in headlines if h["measure"] == "auc" and h["method"] == m) for m in ("plain", "poor")
    )
    low, high = (next(r["value"] for r in rows if r["measure"] == m) for m in ("auc_low", "auc_high"))
    assert plain["n"] == 40 and plain["versus"] == "poor"
    np.testing.assert_allclose(plain["ci95"], (low, high), atol=0.03)  # shares say what the area itself says
    assert plain["difference"]["mean"] == pytest.approx(plain["mean"] - poor["mean"])
    assert plain["difference"]["ci95"][0] > 0
    table = read_tsv(tmp_path / "observer.tsv")
    assert len(table) == 80 and {row["defect"] for row in table} == {0, 1}


def test_area_and_shares_by_hand():
    rating, present = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, False, False, True])
    area, placement = roc_area(rating, present)
    assert area == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    np.testing.assert_allclose(placement, [1, 0.75, 0.5, 0.25])
    share = shares(placement, present, ["a", "a", "b", "b"], area)
    assert np.mean(list(share.values())) == pytest.approx(area)
    assert share["a"] == pytest.approx(1 + 0.75 - area)


def test_template_survives_few_images_and_idle_channels():
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((6, 8))
    outputs[:, 2] = 5.0
    present = np.arange(6) % 2 == 1
    template, middle, _, shrinkage = hotelling(outputs + 3 * present[:, None] * (np.arange(8) == 0), present)
    assert np.isfinite(template).all() and np.isfinite(middle) and template[2] == 0 and shrinkage > 0.3
    many = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=2000)
    template, *_, shrinkage = hotelling(
        many + np.array([1.0, 0]) * (np.arange(2000) % 2)[:, None], np.arange(2000) % 2 == 1
    )
    assert shrinkage < 0.01
    np.testing.assert_allclose(template, np.linalg.solve([[1, 0.8], [0.8, 1]], [1, 0]), atol=0.25)
    with pytest.raises(ValueError, match="fewer than two"):
        ratings(rng.standard_normal((4, 2)), np.array([True, False] * 2), ["a", "a", "b", "b"])


def test_region_is_centred_on_the_site_and_perpendicular_to_the_axis():
    centre = np.array([14.0, 18.0, 20.0])
    grid = np.stack(np.meshgrid(*map(np.arange, (36, 36, 36)), indexing="ij"), axis=-1)
    axis = np.array([0.6, 0.0, 0.8])
    away = (grid - centre) @ axis
    sheet = np.exp(-(away**2) / 2 / 1.5**2)  # a plane through the site: constant on the region
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    heart = {
        "site_mm": (2 * centre).tolist(),
        "apex_mm": (2 * centre - 20 * axis).tolist(),
        "base_mm": (2 * centre + 20 * axis).tolist(),
    }
    observer = Observer(slices=1, size=9, pixel_mm=2.0, normalise=False)
    given = Example({"scan": "s"}, {"heart": heart})
    flat = observer.region(given, Volume(sheet.astype(np.float32), affine))
    np.testing.assert_allclose(flat, 1.0, atol=2e-3)
    dot = np.exp(-np.sum((grid - centre) ** 2, axis=-1) / 2 / 1.5**2).astype(np.float32)
    region = observer.region(given, Volume(dot, affine))
    assert np.unravel_index(region.argmax(), region.shape) == (4, 4)
    np.testing.assert_allclose(region, region[::-1, ::-1], atol=2e-3)


def test_channels_are_octaves_and_symmetric():
    images = channel_images("square", 4, 1 / 32, 65)
    np.testing.assert_allclose(images, images[:, ::-1].transpose(0, 2, 1), atol=1e-12)
    spectra = np.abs(np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2)), axes=(1, 2)))
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(65), np.fft.fftfreq(65)))
    for j, spectrum in enumerate(spectra):
        band = (f >= 2**j / 32) & (f < 2**j / 16)
        # what truncation to the region leaks is little
        assert np.sum(spectrum[band] ** 2) > 0.8 * np.sum(spectrum**2)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (lambda: [p for p in cohort(6, 0) if p[0].scan["defect"] == 0], "no subject with a defect"),
        (lambda: [p for p in cohort(6, 0) if p[0].scan["defect"] == 1], "no subject without a defect"),
        (lambda: cohort(2, 0), "Too few images"),
        (lambda: cohort(4, 0)[:-2] + cohort(1, 0, dose=1.0), "mixes doses"),
        (lambda: cohort(4, 0, defect=None), "Unknown whether a defect"),
        (list, "no subject with a defect"),
    ],
)
def test_cohorts_it_cannot_judge(tmp_path, pairs, says):
    with pytest.raises(DataError, match=says) as caught:
        run(pairs(), tmp_path)
    assert caught.value.fix and not (tmp_path / "observer.tsv").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"site_mm": None}, "where to look"),
        ({"site_mm": [900.0, 0.0, 0.0]}, "outside the image"),
        ({"apex_mm": HEART["base_mm"]}, "0 mm long"),
    ],
)
def test_hearts_it_cannot_find(change, says):
    given = Example({"scan": "sub-1"}, {"heart": {**HEART, **change}})
    with pytest.raises(DataError) as caught:
        Observer(**PLANE).region(given, Volume(np.ones(SHAPE, np.float32), AFFINE))
    assert says in str(caught.value) and "sub-1" in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": "gabor"},
        {"count": 0},
        {"count": 5},
        {"start": -1.0},
        {"pixel_mm": 0},
        {"size": 20},
        {"slices": 0},
        {"normalise": "yes"},
        {"folds": 1},
        {"internal_noise": -0.1},
        {"bootstrap": 10},
    ],
    ids=str,
)
def test_settings_that_mean_nothing(settings):
    with pytest.raises(ConfigError) as caught:
        Observer(**settings)
    assert next(iter(settings)).split("_")[0] in str(caught.value) or "count" in settings


def test_two_hundred_images_take_seconds(tmp_path):
    import time

    pairs = cohort(100, 0.5)
    start = time.process_time()
    pairs = [(e, v.like(v.data + 9)) for e, v in pairs]
    run(pairs, tmp_path, slices=3, normalise=True)
    assert time.process_time() - start < 5
