"""The trend: against NumPy's fit, under outliers, and how often noise alone is taken for progress."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lrplateau.rule import auto
from keras_lrplateau.rule.stretch import LONGEST_TREND, SHORTEST_TREND
from keras_lrplateau.rule.trend import OUTLIER, Trend, trend

SIZES = [3, SHORTEST_TREND, LONGEST_TREND, 50]


def noisy(size, slope=0.0, noise=1.0, seed=0):
    rng = random.Random(seed)
    return [slope * i + rng.gauss(0, noise) for i in range(size)]


def least_squares(values):
    """The textbook's line, its error and the noise about it, from NumPy."""
    x = np.arange(len(values))
    slope, intercept = np.polyfit(x, values, 1)
    noise = math.sqrt(np.sum((values - (intercept + slope * x)) ** 2) / (len(values) - 2))
    return Trend(slope, noise / math.sqrt(np.sum((x - x.mean()) ** 2)), intercept + slope * x[-1], noise, len(values))


def within_reach(values):
    """Whether no value is so far off that it would be pulled in."""
    fit = least_squares(values)
    distances = [abs(value - (fit.end - fit.slope * (fit.size - 1 - i))) for i, value in enumerate(values)]
    return max(distances) <= OUTLIER * 1.4826 * float(np.median(distances))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("slope", [0.0, -0.3, 2.0])
def test_without_outliers_it_is_least_squares(size, slope):
    checked = 0
    for seed in range(40):
        values = noisy(size, slope, seed=seed)
        if not within_reach(values):
            continue
        checked += 1
        assert trend(values) == pytest.approx(least_squares(values))
    assert checked >= 5


def test_an_exact_line_has_its_slope_and_no_noise():
    found = trend([5.0, 4.5, 4.0, 3.5, 3.0, 2.5])
    assert found == Trend(slope=-0.5, error=0.0, end=2.5, noise=0.0, size=6)
    assert found.t == -math.inf
    assert found.ahead(4) == 0.5
    assert trend([1.0, 2.0, 3.0]).t == math.inf


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e-12, 12345.678])
@pytest.mark.parametrize("size", SIZES)
def test_equal_values_have_no_trend(value, size):
    found = trend([value] * size)
    assert found.slope == 0
    assert found.t == 0
    assert found.end == pytest.approx(value)


def test_one_spike_of_ten_times_the_noise_hides_a_clear_trend_far_less_often_than_from_least_squares():
    fooled, seen = 0, 0
    for seed in range(300):
        values = noisy(LONGEST_TREND, slope=-0.5, noise=1.0, seed=seed)
        values[seed % LONGEST_TREND] += 10.0
        fooled += least_squares(values).t > -auto.SIGNIFICANT
        seen += trend(values).t < -auto.SIGNIFICANT
    assert fooled > 200, "plain least squares mostly sees nothing"
    assert seen > 1.2 * (300 - fooled)


@pytest.mark.parametrize("at", range(1, LONGEST_TREND - 1))
def test_a_spike_of_ten_times_the_noise_moves_the_line_less_than_it_moves_least_squares(at):
    values = noisy(LONGEST_TREND, noise=0.5, seed=3)
    clean = least_squares(values)
    values[at] += 5.0
    fooled, found = least_squares(values), trend(values)
    assert fooled.noise > 2 * clean.noise, "plain least squares takes it for noise"
    assert found.noise < fooled.noise
    assert abs(found.slope - clean.slope) <= abs(fooled.slope - clean.slope)
    assert abs(found.end - clean.end) <= abs(fooled.end - clean.end)


def test_a_spike_on_a_perfect_line_is_pulled_in():
    values = [-0.5 * i for i in range(LONGEST_TREND)]
    values[3] = 50.0
    assert abs(trend(values).slope + 0.5) < abs(least_squares(values).slope + 0.5)


# Rounded: the squares of 1e-160 underflow.
numbers = st.lists(st.floats(-100, 100).map(lambda number: round(number, 6)), min_size=3, max_size=30)


@given(numbers, st.sampled_from([0.25, 1.0, 8.0]), st.integers(-64, 64))
def test_it_scales_and_shifts_with_the_values(values, scale, shift):
    # Powers of two: exact in floating point, so that nothing near the threshold for an outlier changes sides.
    scaled = trend([scale * value for value in values])
    plain = trend(values)
    assert scaled == pytest.approx(
        (scale * plain.slope, scale * plain.error, scale * plain.end, scale * plain.noise, plain.size)
    )
    assert scaled.t == pytest.approx(plain.t)
    if within_reach_by_far(values):
        moved = trend([value + shift for value in values])
        assert moved[:4] == pytest.approx((plain.slope, plain.error, plain.end + shift, plain.noise), abs=1e-9)


def within_reach_by_far(values):
    fit = least_squares(values)
    distances = [abs(value - (fit.end - fit.slope * (fit.size - 1 - i))) for i, value in enumerate(values)]
    return max(distances) < 0.9 * OUTLIER * 1.4826 * float(np.median(distances))


@given(numbers)
def test_a_mirrored_series_has_the_mirrored_trend(values):
    plain, mirrored = trend(values), trend([-value for value in values])
    assert mirrored == (-plain.slope, plain.error, -plain.end, plain.noise, plain.size)


@given(numbers)
def test_it_is_always_finite_and_its_noise_is_not_negative(values):
    found = trend(values)
    assert all(map(math.isfinite, found))
    assert found.noise >= 0
    assert found.error >= 0
    assert not math.isnan(found.t)


@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy tails"])
def test_noise_alone_seldom_looks_like_progress(kind):
    """The one-sided test, against Student's t with 10 degrees of freedom: the one-in-five and one-in-twenty points."""
    rng = random.Random(7)
    draw = {
        "normal": lambda: rng.gauss(0, 1),
        "uniform": rng.random,
        "heavy tails": lambda: rng.gauss(0, 1) * (10 if rng.random() < 0.1 else 1),
    }[kind]
    scores = [trend([draw() for _ in range(12)]).t for _ in range(4000)]
    for point, expected in ((-0.879, 0.2), (-1.812, 0.05)):
        rate = sum(score < point for score in scores) / len(scores)
        # Pulling outliers in makes the noise look a little smaller than it is.
        assert expected - 0.02 < rate < expected + 0.04
    assert sum(score < 0 for score in scores) / len(scores) == pytest.approx(0.5, abs=0.03)
    assert sum(abs(score) > auto.SIGNIFICANT for score in scores) / len(scores) < 0.04


def test_a_slope_of_half_the_noise_is_seen():
    seen = sum(trend(noisy(LONGEST_TREND, slope=-1 / 2, seed=seed)).t < -auto.SIGNIFICANT for seed in range(200))
    assert seen > 160


# --- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_grows_with_the_wait_and_with_the_square_of_the_distance():
    line = Trend(slope=0.0, error=0.1, end=1.0, noise=0.1, size=10)
    assert line.evidence(goal=0.9, wait=10, least_noise=0.0) == pytest.approx(10)
    assert line.evidence(goal=0.9, wait=20, least_noise=0.0) == pytest.approx(20)
    assert line.evidence(goal=0.8, wait=10, least_noise=0.0) == pytest.approx(40)


def test_there_is_no_evidence_before_the_first_wait_or_where_the_goal_is_reached():
    line = Trend(slope=0.0, error=0.1, end=1.0, noise=0.1, size=10)
    assert line.evidence(goal=0.9, wait=0, least_noise=0.0) == 0
    assert line.evidence(goal=1.1, wait=10, least_noise=0.0) == 0


def test_without_any_noise_evidence_is_certain_unless_some_is_assumed():
    line = Trend(slope=0.0, error=0.0, end=1.0, noise=0.0, size=10)
    assert line.evidence(goal=0.98, wait=1, least_noise=0.0) == math.inf
    assert line.evidence(goal=0.98, wait=1, least_noise=0.01) == pytest.approx(4)


def test_auto_mode_waits_longer_to_call_a_plateau_the_more_noise_may_hide():
    """Flat, but for noise, after a raise has been tried: the first cut comes later where the noise is larger."""

    def first_cut(noise):
        rng = random.Random(3)
        config = auto.Config(observations=400, budget=0.0)
        state = config.start(0.1)
        for count in range(200):
            state, decision = config.step(state, 1.0 + noise * rng.gauss(0, 1))
            if decision.kind == "cut":
                return count
        return math.inf

    assert first_cut(0.001) < first_cut(0.05) < first_cut(0.2)
