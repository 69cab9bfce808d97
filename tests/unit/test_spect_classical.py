"""Filters of emission images: tuned without a clean image, at each scan's own counts."""

from functools import cache

import numpy as np
import pytest
from scipy import fft, ndimage

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.fingerprint import class_constants
from senmei.core.method import FitContext
from senmei.core.volume import Volume
from senmei.methods.butterworth_counts import ButterworthCounts, butterworth
from senmei.methods.butterworth_oracle import ButterworthOracle
from senmei.methods.butterworth_projections import ButterworthProjections
from senmei.methods.counts_tuned import heart_region
from senmei.methods.gaussian_counts import GaussianCounts
from senmei.methods.gaussian_oracle import GaussianOracle
from senmei.methods.nlm_counts import NLMCounts, nonlocal_means

VOXEL, SHAPE = 6.4, (48, 48, 28)
AFFINE = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
AFFINE[:3, 3] = [-(n - 1) / 2 * VOXEL for n in SHAPE]
HEART = np.array([-45.0, 35.0, 0.0])  # mm: the patient's left, anterior
FULL = 3e6
TUNED = [GaussianCounts, ButterworthCounts, NLMCounts]
FIXED = [
    GaussianCounts(fwhm_mm=10),
    ButterworthCounts(cutoff_per_cm=0.4),
    NLMCounts(strength=0.3),
]


@cache
def torso():
    """Activity, blurred as a reconstruction is, and its myocardium: body, lungs, a hollow ventricle, a liver."""
    places = [AFFINE[i, 3] + VOXEL * np.indices(SHAPE)[i] for i in range(3)]
    x, y, z = places
    body = ((x / 145) ** 2 + (y / 110) ** 2) < 1
    image = np.where(body, 0.12, 0.0)
    for side in (-1, 1):
        image[(((x - side * 65) / 50) ** 2 + ((y - 10) / 70) ** 2) < 1] = 0.06
    axis = np.array([-0.65, 0.6, -0.47])
    axis /= np.linalg.norm(axis)
    along = sum(a * (p - c) for a, p, c in zip(axis, places, HEART, strict=True))
    across = np.sqrt(sum((p - c - a * along) ** 2 for a, p, c in zip(axis, places, HEART, strict=True)))
    level = np.hypot(across / 33, np.maximum(along + 20, 0) / 60)
    wall = (level < 1) & (np.hypot(across / 22, np.maximum(along + 20, 0) / 49) >= 1) & (along > -30)
    image[wall] = 1.0
    image[(((x - 70) / 60) ** 2 + (y / 70) ** 2 + ((z + 80) / 45) ** 2) < 1] = 0.6
    blurred = ndimage.gaussian_filter(image, 4.0 / VOXEL).astype(np.float32)
    return blurred, ndimage.binary_dilation(wall), wall


def noisy(rng, counts):
    """A reconstruction's noise: correlated over a voxel or so, stronger where there is more uptake."""
    truth = torso()[0]
    grain = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.6)
    grain /= grain.std()
    return (truth + 0.25 * np.sqrt(1e6 / counts) * np.sqrt(truth + 0.02) * grain).astype(np.float32)


def example(seed, dose=0.25, k=2, scale=1.0, **roles):
    rng = np.random.default_rng(seed)
    truth, myocardium, _ = torso()
    counts = dose * FULL
    first, second = (np.stack([noisy(rng, counts) for _ in range(k)], axis=-1) for _ in range(2))
    given = {
        "input": Volume(scale * noisy(rng, counts), AFFINE),
        "noisy": Volume(scale * first, AFFINE),
        "repeat": Volume(scale * second, AFFINE),
        "reference": Volume(scale * truth, AFFINE),
        "myocardium": Volume(myocardium.astype(np.uint8), AFFINE),
    }
    scan = {"scan": f"sub-{seed}_dose-{dose}", "subject": f"sub-{seed}", "dose": dose}
    return Example({**scan, "counts": int(counts), "pair_counts": int(counts)}, {**given, **roles})


@cache
def validation():
    return tuple(example(seed, dose) for seed in (1, 2) for dose in (1.0, 0.25, 0.125))


@cache
def fitted(cls):
    method = cls(**({"examples": 1, "evaluations": 6} if cls is NLMCounts else {}))
    context = quiet()
    method.load(method.fit((), list(validation()), context))
    return method, context


def quiet():
    lines = []
    context = FitContext(log=lines.append)
    context.lines = lines
    return context


def forbidden():
    raise AssertionError("a clean image was reached")


def error(image, where):
    return float(np.sqrt(np.mean((image[where] - torso()[0][where]) ** 2)))


@pytest.mark.parametrize("method", FIXED, ids=lambda m: type(m).__name__)
class TestContract:
    def test_grid_dtype_and_input(self, method):
        given = example(5)
        before = given["input"].data.copy()
        out = method.apply(given)
        assert out.data.dtype == np.float32 and out.shape == SHAPE and np.isfinite(out.data).all()
        np.testing.assert_array_equal(out.affine, AFFINE)
        np.testing.assert_array_equal(given["input"].data, before)

    def test_noise_becomes_less_and_the_unit_does_not_matter(self, method):
        given, brighter = example(5), example(5, scale=1000.0)
        out = method.apply(given).data
        assert error(out, torso()[1]) < 0.97 * error(given["input"].data, torso()[1])
        np.testing.assert_allclose(method.apply(brighter).data, 1000 * out, rtol=1e-3, atol=1.0)

    def test_counts_are_kept(self, method):
        given = example(5)
        bias = method.apply(given).data.sum(dtype=float) / given["input"].data.sum(dtype=float) - 1
        # linear filters keep them exactly; non-local means leans to what is dark, where noise is less and patches
        # agree: it promises nothing
        assert abs(bias) < (0.06 if isinstance(method, NLMCounts) else 1e-4)

    def test_nothing_fitted_and_nothing_to_fit(self, method):
        assert method.fit((), (), quiet()) == {} and method.tunes_on == ()
        flat = Volume(np.full(SHAPE, 3.0, np.float32), AFFINE)
        np.testing.assert_array_equal(method.apply(example(5, input=flat)).data, flat.data)

    def test_unusable_images(self, method):
        bad = np.ones(SHAPE, np.float32)
        bad[3, 3, 3] = np.nan
        with pytest.raises(DataError, match="NaN"):
            method.apply(example(5, input=Volume(bad, AFFINE)))
        with pytest.raises(DataError, match="one 3D volume"):
            method.apply(example(5, input=Volume(bad[..., None], AFFINE)))


class TestTuning:
    @pytest.mark.parametrize("cls", TUNED, ids=lambda c: c.__name__)
    def test_no_clean_image_is_reached(self, cls):
        assert class_constants(f"{cls.__module__}:{cls.__name__}")["tunes_on"] == ("noisy", "repeat")
        only = {"reference": forbidden, "myocardium": forbidden, "input": forbidden}
        method = cls(examples=1, evaluations=3)
        assert set(method.fit((), [example(1, **only)], quiet())) == {"curve_level", "curve_value"}

    @pytest.mark.parametrize("cls", [GaussianOracle, ButterworthOracle], ids=lambda c: c.__name__)
    def test_oracles_say_what_they_are(self, cls):
        facts = class_constants(f"{cls.__module__}:{cls.__name__}")
        assert facts["tunes_on"] == ("input", "reference", "myocardium") and facts["family"] == "classical"
        assert "tuned on the truth" in facts["title"] and "tuned on the truth" in facts["sentence"]

    @pytest.mark.parametrize("cls", TUNED, ids=lambda c: c.__name__)
    def test_the_noisy_target_finds_what_the_truth_would(self, cls):
        method, _ = fitted(cls)
        slow = cls is NLMCounts
        at_quarter = [e for e in validation() if e.scan["dose"] == 0.25][: 1 if slow else 2]
        region = heart_region(at_quarter[0]["noisy"].like(at_quarter[0]["noisy"].data.mean(axis=3)), "s")

        def true_error(value):
            outs = [
                method.restore(np.ascontiguousarray(e["noisy"].data[..., k]), (VOXEL,) * 3, value, region)
                for e in at_quarter
                for k in (0, 1)
            ]
            return np.sqrt(np.mean([error(out, region) ** 2 for out in outs]))

        found = true_error(method.value_at(1 / np.sqrt(0.25 * FULL / 1e6)))
        grid = np.geomspace(*cls.bounds, 9 if slow else 14)
        best = min(map(true_error, grid))
        plain = true_error(cls.bounds[1] if cls is ButterworthCounts else cls.bounds[0])
        assert best < 0.8 * plain, "the check needs noise worth removing"
        assert found < 1.03 * best

    @pytest.mark.parametrize("cls", TUNED, ids=lambda c: c.__name__)
    def test_fewer_counts_need_more_smoothing(self, cls):
        method, context = fitted(cls)
        levels = [1 / np.sqrt(d * FULL / 1e6) for d in (1.0, 0.25, 0.125)]
        values = np.array([method.value_at(level) for level in levels])
        steps = np.diff(np.log(values)) * (-1 if cls is ButterworthCounts else 1)
        assert (steps > 0).all()
        assert {row["condition"] for row in context.history} == {"1.0", "0.25", "0.125"}
        assert all({cls.number, "risk", "level", "step"} <= set(row) for row in context.history)
        assert len(context.lines) == 3 and cls.number in context.lines[0]

    def test_new_scans_come_close_to_the_oracle(self):
        for cls, oracle in ((GaussianCounts, GaussianOracle), (ButterworthCounts, ButterworthOracle)):
            ours, theirs = fitted(cls)[0], fitted(oracle)[0]
            given = example(77, 0.25)
            where = torso()[1]
            noise = error(given["input"].data, where)
            a, b = (error(m.apply(given).data, where) for m in (ours, theirs))
            assert b < 0.9 * noise
            assert b <= a * 1.02 and a < 1.1 * b

    def test_curve_is_a_power_law_within_bounds(self):
        method = GaussianCounts()
        levels = np.array([0.5, 1.0, 2.0])
        method.load({"curve_level": levels, "curve_value": 10 * levels**0.3})
        for level in (0.3, 0.7, 1.9, 3.5):  # between the levels and beyond them
            assert method.value_at(level) == pytest.approx(10 * level**0.3, rel=1e-6)
        assert method.value_at(100.0) == pytest.approx(10 * 4.0**0.3)  # a factor of 2 beyond the end, no more
        method.load({"curve_level": [1.0, 1.1], "curve_value": [3.0, 30.0]})
        assert method.value_at(2.2) == pytest.approx(40.0)  # the largest width that was searched
        assert method.value_at(0.5) == pytest.approx(2.0)  # the smallest: a slope of 1 would leave 1.5
        method.load({"curve_level": [1.0], "curve_value": [9.0]})
        assert method.value_at(1.0) == pytest.approx(9.0)
        assert method.value_at(np.sqrt(0.5)) == pytest.approx(
            9.0 * 0.5 ** (1 / 7)
        )  # one dose: theory's power
        assert method.value_at(50.0) == pytest.approx(9.0 * 2 ** (2 / 7))

    def test_halves_of_a_thinned_scan_tell_of_the_whole(self):
        # fitted at half the counts of what it is applied to: the curve is read further down
        scans = [example(seed, dose) for seed in (1, 2) for dose in (0.5, 0.125)]
        method = GaussianCounts()
        method.load(method.fit((), scans, quiet()))
        whole = 1 / np.sqrt(1.0 * FULL / 1e6)
        assert method.value_at(whole) < method.value_at(whole * np.sqrt(2))
        assert method.value_at(whole) == pytest.approx(fitted(GaussianCounts)[0].value_at(whole), rel=0.15)

    def test_same_fit_twice(self):
        a, b = (GaussianCounts().fit((), list(validation()), quiet()) for _ in range(2))
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == np.float32

    def test_what_cannot_be_tuned_on(self):
        with pytest.raises(DataError, match="Cannot tune"):
            GaussianCounts().fit((), [], quiet())
        missing = example(1)
        missing.scan["pair_counts"] = None
        with pytest.raises(DataError) as caught:
            GaussianCounts().fit((), [missing], quiet())
        assert "pair_counts" in str(caught.value) and "sub-1" in str(caught.value)
        three = Volume(example(1)["noisy"].data[..., 0], AFFINE)
        with pytest.raises(DataError, match="no noisy realisations"):
            GaussianCounts().fit((), [example(1, noisy=three)], quiet())
        fewer = Volume(example(1)["repeat"].data[..., :1], AFFINE)
        with pytest.raises(DataError, match="Cannot tune"):
            GaussianCounts().fit((), [example(1, repeat=fewer)], quiet())
        empty = Volume(np.zeros(SHAPE, np.uint8), AFFINE)
        with pytest.raises(DataError, match="Cannot tune"):
            GaussianOracle().fit((), [example(1, myocardium=empty)], quiet())
        nothing = Volume(np.zeros((*SHAPE, 2), np.float32), AFFINE)
        with pytest.raises(DataError, match="No heart"):
            GaussianCounts().fit((), [example(1, noisy=nothing)], quiet())

    def test_a_scan_without_a_heart_is_left_out_and_told_of(self):
        nothing = Volume(np.zeros((*SHAPE, 2), np.float32), AFFINE)
        context = quiet()
        weights = GaussianCounts(examples=1).fit((), [example(9, noisy=nothing), example(1)], context)
        alone = GaussianCounts(examples=1).fit((), [example(1)], quiet())
        np.testing.assert_array_equal(weights["curve_value"], alone["curve_value"])
        assert "sub-9" in context.lines[0] and "left out" in context.lines[0]

    def test_what_cannot_be_applied(self):
        with pytest.raises(ConfigError, match="not been fitted"):
            GaussianCounts().apply(example(1))
        bare = example(1)
        del bare.scan["counts"]
        with pytest.raises(DataError, match="number of counts"):
            fitted(GaussianCounts)[0].apply(bare)

    def test_region_is_the_heart_and_not_the_liver(self):
        for dose in (1.0, 0.125):
            given = example(3, dose)["noisy"]
            region = heart_region(given.like(given.data.mean(axis=3)), "s")
            wall = torso()[2]
            assert (region & wall).sum() > 0.9 * wall.sum()
            assert region.sum() < 8 * wall.sum() and region.mean() < 0.06


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (GaussianCounts, {"fwhm_mm": 0}),
        (GaussianCounts, {"fwhm_mm": float("nan")}),
        (GaussianOracle, {"examples": 0}),
        (GaussianCounts, {"evaluations": 2.5}),
        (ButterworthCounts, {"cutoff_per_cm": -1}),
        (ButterworthCounts, {"order": 0}),
        (ButterworthOracle, {"order": 1.5}),
        (ButterworthProjections, {"order": "five"}),
        (NLMCounts, {"strength": 0}),
        (NLMCounts, {"patch_radius": 0}),
        (NLMCounts, {"search_radius": 2.5}),
    ],
    ids=str,
)
def test_settings_that_mean_nothing(cls, settings):
    with pytest.raises(ConfigError) as caught:
        cls(**settings)
    assert any(name in str(caught.value) for name in settings)


class TestButterworth:
    def test_gain_of_a_wave_is_the_formula(self):
        n, size, order = 40, 5.0, 4
        for k in (2, 9, 23):
            f = k / (2 * n * size / 10)  # cycles/cm of the cosine that the mirrored grid holds k halves of
            wave = np.cos(np.pi * (np.arange(n) + 0.5) * k / n)[:, None] * np.ones((1, 3))
            out = butterworth(wave, (size,), 0.7, order)
            np.testing.assert_allclose(out, wave / np.sqrt(1 + (f / 0.7) ** (2 * order)), atol=1e-5)

    def test_it_is_the_fourier_filter_of_the_mirrored_image(self):
        image = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
        mirrored = np.pad(image, [(0, n) for n in image.shape], mode="symmetric")
        axes = [fft.fftfreq(2 * n, s / 10) for n, s in zip(image.shape, (4.0, 5.0, 6.0), strict=True)]
        f = np.sqrt(sum(g**2 for g in np.meshgrid(*axes, indexing="ij")))
        full = fft.ifftn(fft.fftn(mirrored) / np.sqrt(1 + (f / 0.5) ** 10)).real[:12, :10, :8]
        np.testing.assert_allclose(butterworth(image, (4.0, 5.0, 6.0), 0.5, 5), full, atol=1e-5)


class TestNonLocalMeans:
    def test_it_is_the_definition(self):
        image, h, s, p = np.random.default_rng(0).random((5, 6, 4)).astype(np.float32), 0.4, 2, 1
        padded = np.pad(image.astype(float), s + p, mode="reflect")

        def patch(c):
            return padded[tuple(slice(i - p, i + p + 1) for i in c)]

        out = np.empty(image.shape)
        for at in np.ndindex(*image.shape):
            centre = np.array(at) + s + p
            around = [centre + np.array(d) - s for d in np.ndindex(*(2 * s + 1,) * 3)]
            weights = [np.exp(-np.mean((patch(centre) - patch(c)) ** 2) / h**2) for c in around]
            out[at] = np.average([padded[tuple(c)] for c in around], weights=weights)
        np.testing.assert_allclose(nonlocal_means(image, h, s, p), out, atol=2e-6)

    def test_it_averages_values_not_squares(self):
        noise = np.random.default_rng(1).standard_normal((24, 24, 24)).astype(np.float32)
        assert abs(nonlocal_means(noise, 20.0).mean() - noise.mean()) < 0.01

    def test_a_region_is_restored_as_in_the_whole(self):
        image, region = example(1)["input"].data, torso()[2]
        np.testing.assert_allclose(
            nonlocal_means(image, 0.3, 2, region=region)[region],
            nonlocal_means(image, 0.3, 2)[region],
            atol=1e-6,
        )


class TestProjections:
    @staticmethod
    @cache
    def acquired():
        from senmei.phantoms.torso import draw_torso, draw_uptake, render_torso
        from senmei.physics.spect.geometry import orbit
        from senmei.physics.spect.projector import Projector

        shape = (32, 32, 20)
        rng = np.random.default_rng(0)
        patient = render_torso(draw_torso(rng), uptake=draw_uptake(rng), grid=shape, voxel_mm=12.8)
        acquisition = orbit(shape, 12.8, views=12)
        mean = Projector(acquisition, patient.mu.data).forward(patient.activity.data).numpy()
        mean = np.clip(mean, 0, None)  # rounding leaves -1e-8 of the peak here and there
        return acquisition, patient.mu, mean / mean.sum()

    def scan(self, counts, seed=0):
        acquisition, mu, mean = self.acquired()
        rng = np.random.default_rng(seed)
        drawn = [rng.poisson(mean * counts).astype(np.float32) for _ in range(5)]
        grid = np.diag([12.8, 12.8, 1.0, 1.0])
        recipe = {
            "method": "osem",
            "iterations": 1,
            "subsets": 3,
            "attenuation": True,
            "psf": True,
            "scatter": False,
        }
        roles = {
            "input": mu.like(np.zeros(acquisition.shape, np.float32)),
            "projections": Volume(drawn[0].astype(np.int32), grid),
            "attenuation": mu,
            "acquisition": acquisition.to_dict(),
            "reconstruction": {**recipe, "unit": 50.0},
            "noisy_projections": Volume(np.stack(drawn[1:3], axis=-1), grid),
            "repeat_projections": Volume(np.stack(drawn[3:5], axis=-1), grid),
        }
        columns = {"scan": f"s-{seed}", "dose": counts, "counts": counts, "pair_counts": counts}
        return Example(columns, roles)

    def test_tuned_it_brings_the_image_nearer_to_that_without_noise(self):
        from senmei.physics.spect.imaging import Imaging

        method = ButterworthProjections()
        scans = [self.scan(counts, seed) for counts in (60_000, 600_000) for seed in (1, 2)]
        method.load(method.fit((), scans, quiet()))
        few, many = (method.value_at(1 / np.sqrt(c / 1e6)) for c in (60_000, 600_000))
        assert few < many
        acquisition, mu, mean = self.acquired()
        given = self.scan(60_000, 9)
        recipe = {k: v for k, v in given["reconstruction"].items() if k != "unit"}
        both = np.stack([mean * 60_000, given["projections"].data])
        clean, noisy = Imaging(acquisition, mu.data, recipe).reconstruct(both, 50.0)
        assert np.sum((method.apply(given).data - clean) ** 2) < 0.7 * np.sum((noisy - clean) ** 2)

    def test_views_keep_their_counts_and_none_is_negative(self):
        counts = self.scan(20_000, 3)["projections"].data.astype(np.float32)
        out = ButterworthProjections().restore(counts, (12.8, 12.8, 1.0), 0.15)
        np.testing.assert_allclose(out.sum(axis=(0, 1)), counts.sum(axis=(0, 1)), rtol=1e-4)
        assert out.min() >= 0

    def test_reconstruction_is_the_study_s_own(self):
        from senmei.physics.spect.imaging import Imaging

        given = self.scan(100_000)
        acquisition, mu, _ = self.acquired()
        recipe = {k: v for k, v in given["reconstruction"].items() if k != "unit"}
        plain = Imaging(acquisition, mu.data, recipe).reconstruct(given["projections"].data, 50.0)
        wide = ButterworthProjections(cutoff_per_cm=50.0).apply(given)
        assert wide.data.dtype == np.float32
        np.testing.assert_allclose(wide.data, plain, atol=1e-3 * plain.max())
        smooth = ButterworthProjections(cutoff_per_cm=0.12).apply(given)
        assert np.abs(np.diff(smooth.data, axis=0)).sum() < 0.9 * np.abs(np.diff(plain, axis=0)).sum()
        assert smooth.data.sum() == pytest.approx(plain.sum(), rel=0.03)
        np.testing.assert_array_equal(smooth.affine, given["input"].affine)

    def test_what_it_refuses(self):
        given = self.scan(100_000)
        empty = given["projections"].like(np.zeros_like(given["projections"].data))
        dark = Example(given.scan, {**{r: given[r] for r in given.roles}, "projections": empty})
        with pytest.raises(DataError, match="Cannot reconstruct"):
            ButterworthProjections(cutoff_per_cm=0.5).apply(dark)
