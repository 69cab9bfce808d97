"""Error of the myocardium and conservation of counts."""

import numpy as np
import pytest

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.measures.count_bias import count_bias, heart_count_bias
from senmei.measures.nrmse import nrmse
from senmei.methods.gaussian_counts import GaussianCounts

SHAPE = (12, 10, 8)
RNG = np.random.default_rng(0)
TRUTH = (1 + RNG.random(SHAPE)).astype(np.float32)
WALL = np.zeros(SHAPE, np.uint8)
WALL[4:8, 4:8, 2:6] = 1
MASK = np.zeros(SHAPE, np.uint8)
MASK[2:10, 2:9, 1:7] = 1


def volume(data):
    return Volume(np.asarray(data), np.diag([6.4, 6.4, 6.4, 1.0]))


def example(*, without=(), **roles):
    given = {"reference": TRUTH, "input": TRUTH, "myocardium": WALL, "mask": MASK, **roles}
    return Example({"scan": "sub-001"}, {r: volume(v) for r, v in given.items() if r not in without})


class TestNRMSE:
    def test_a_relative_error_is_itself(self):
        assert nrmse(example(), volume(TRUTH)) == 0
        assert nrmse(example(), volume(1.07 * TRUTH)) == pytest.approx(0.07, rel=1e-5)
        assert nrmse(example(), volume(0 * TRUTH)) == 1

    def test_white_noise_has_its_known_value(self):
        noise = 0.3 * np.random.default_rng(1).standard_normal(SHAPE)
        inside = WALL > 0
        expected = np.sqrt(np.sum(noise[inside] ** 2) / np.sum(TRUTH[inside].astype(float) ** 2))
        assert nrmse(example(), volume(TRUTH + noise)) == pytest.approx(expected, rel=1e-6)

    def test_only_the_myocardium_counts_then_the_mask_then_all(self):
        wrong = TRUTH + (WALL == 0)  # wrong everywhere but in the wall
        assert nrmse(example(), volume(wrong)) == 0
        masked = nrmse(example(without=("myocardium",)), volume(wrong))
        everywhere = nrmse(example(without=("myocardium", "mask")), volume(wrong))
        assert 0 < masked < everywhere

    def test_requires_the_reference_and_says_how_to_read_it(self):
        assert nrmse.requires == ("reference",) and nrmse.better == "lower" and nrmse.unit == "1"
        assert "‖reference‖" in nrmse.__doc__

    def test_refuses_what_cannot_be_judged(self):
        with pytest.raises(DataError, match="normalise"):
            nrmse(example(reference=0 * TRUTH), volume(TRUTH))
        with pytest.raises(DataError, match="empty"):
            nrmse(example(myocardium=0 * WALL), volume(TRUTH))
        with pytest.raises(DataError, match="Cannot compare"):
            nrmse(example(), volume(TRUTH[1:]))
        with pytest.raises(DataError, match="NaN"):
            nrmse(example(), volume(np.where(WALL, np.nan, TRUTH)))


class TestCountBias:
    @pytest.mark.parametrize("bias", [count_bias, heart_count_bias])
    def test_percent_gained_or_lost(self, bias):
        assert bias(example(), volume(TRUTH)) == 0
        assert bias(example(), volume(1.03 * TRUTH)) == pytest.approx(3, rel=1e-4)
        assert bias(example(), volume(0.9 * TRUTH)) == pytest.approx(-10, rel=1e-4)
        assert bias.better == "zero" and bias.unit == "%" and "reference" not in bias.requires

    def test_the_heart_s_own_bias_does_not_hide_in_the_body(self):
        wrong = volume(np.where(WALL, 0.8 * TRUTH, TRUTH))
        assert abs(heart_count_bias(example(), wrong)) > 2.5 * abs(count_bias(example(), wrong))

    def test_smoothing_moves_counts_and_keeps_them(self):
        point = np.zeros(SHAPE, np.float32)
        point[5, 5, 4] = 100
        given = example(input=point)
        given.scan["counts"] = 1e6
        smooth = GaussianCounts(fwhm_mm=25).apply(given)
        assert abs(count_bias(given, smooth)) < 1e-3
        assert heart_count_bias(given, smooth) < -1

    def test_refuses_an_image_without_counts(self):
        for bias in (count_bias, heart_count_bias):
            with pytest.raises(DataError, match="Cannot compare counts"):
                bias(example(input=0 * TRUTH), volume(TRUTH))
        with pytest.raises(DataError, match="mask is empty"):
            heart_count_bias(example(mask=0 * MASK), volume(TRUTH))
