"""Auto mode, as timelines: the values that come, and what is made of each.

`Training` carries decisions out as the callback does, on a toy whose loss depends on the rate.
"""

import dataclasses
import itertools
import json
import math
import random
import time
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keras_lrplateau.rule import auto, search, soundness
from keras_lrplateau.rule.auto import Config
from keras_lrplateau.rule.auto_state import TRANSITIONS, Attempt, Hold, State
from keras_lrplateau.rule.decision import Evidence
from keras_lrplateau.rule.search import ENOUGH, HOPELESS, MOST_TRIALS, UNFIT, Search, choice
from keras_lrplateau.rule.stretch import LONGEST_TREND, SHORTEST_TREND, Stretch
from keras_lrplateau.rule.trend import trend

NAN, INF = math.nan, math.inf

LONG = Config(observations=1000, budget=1.0)
"""So long, and with so much to spend, that neither the end nor the budget is near."""

ENDLESS = Config(budget=1.0)
"""Of unknown length: no restart and no annealing."""


def told(decision):
    """ "kind rate", or only the rate where nothing happened."""
    return (decision.kind + " " if decision.is_action else "") + f"{decision.rate:.3g}"


def go_on(config, state, values, losses=None):
    """The last state, a line as of `told`, and the decisions."""
    decisions = []
    for i, value in enumerate(values):
        state, decision = config.step(state, value, losses[i] if losses else None)
        decisions.append(decision)
    return state, [told(decision) for decision in decisions], decisions


def until(config, state, kind, values, limit=400):
    """The state after the first decision of this kind, that decision, and how many observations it took."""
    values = iter(values)
    for count in range(1, limit + 1):
        state, decision = config.step(state, next(values))
        if decision.kind == kind:
            return state, decision, count
    raise AssertionError(f"no {kind} in {limit} observations")


def line(first, slope, noise=0.0, seed=0):
    """Values for ever."""
    rng = random.Random(seed)
    while True:
        yield first + rng.gauss(0, 1) * noise
        first += slope


def flat(level):
    """The same value for ever."""
    return itertools.repeat(level)


def take(count, values):
    return list(itertools.islice(values, count))


class Training:
    """A quadratic in three directions of different curvature, trained by gradient descent, ten steps an observation."""

    CURVATURES = (1.0, 0.1, 0.01)
    STEPS = 10

    def __init__(self, config, rate, noise=0.0, seed=0, with_loss=True):
        self.config, self.noise, self.with_loss = config, noise, with_loss
        self.random = random.Random(seed)
        self.weights = (1.0, 1.0, 1.0)
        self.untrained = self.loss()
        self.kept = {"start": self.weights}
        self.state = replace(config.start(rate), loss_before=self.untrained if with_loss else None)
        self.decisions = []

    def loss(self):
        return sum(curvature * x * x / 2 for curvature, x in zip(self.CURVATURES, self.weights, strict=True))

    def train(self, observations):
        for _ in range(observations):
            for _ in range(self.STEPS):
                self.weights = tuple(
                    max(-1e150, min(1e150, x - self.state.rate * (curvature * x + self.random.gauss(0, self.noise))))
                    for curvature, x in zip(self.CURVATURES, self.weights, strict=True)
                )
            value = self.loss()
            self.carry_out(self.config.step(self.state, value, value if self.with_loss else None))
        return self

    def finish(self):
        self.carry_out(self.config.finish(self.state))
        return self

    def carry_out(self, stepped):
        self.state, decision = stepped
        self.decisions.append(decision)
        if decision.save:
            self.kept[decision.save] = self.weights
        if decision.restore:
            self.weights = self.kept[decision.restore]
        needed = self.config.needed_snapshots(self.state)
        self.kept = {name: weights for name, weights in self.kept.items() if name in needed}

    def kinds(self):
        return [decision.kind for decision in self.decisions if decision.is_action]


# --- 1. the search ---------------------------------------------------------------------------------------------------


def searched(config, rate, score_of, loss_before=None, with_loss=False):
    """Search where each rate brings `score_of(rate)`: the rates tried, and the state and decision that ended it."""
    state, tried = replace(config.start(rate), loss_before=loss_before), []
    while state.stage.name == "search":
        tried.append(float(f"{state.rate:.3g}"))
        score = score_of(state.rate)
        state, decision = config.step(state, score, score if with_loss else None)
        assert decision.kind in ("search", "settle")
    return tried, state, decision


def best_at(peak):
    """Progress in proportion to the rate up to the best one, at 3 times that and above broken."""
    return lambda rate: NAN if rate > 2.9 * peak else 1.0 - 0.9 * min(rate / peak, 1.0)


def test_from_far_too_low_it_goes_up_by_tens_until_one_breaks_then_looks_between():
    tried, state, decision = searched(LONG, 1e-5, best_at(0.1), loss_before=1.0, with_loss=True)
    assert tried == [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 0.316, 0.0316]
    assert (told(decision), decision.restore) == ("settle 0.1", "best")
    assert state.best == pytest.approx(0.1)
    assert "1e-05: 1 (0%)" in decision.reason
    assert "0.1: 0.1 (100%), 0.316: broken, 1: broken" in decision.reason


def test_from_far_too_high_it_goes_down_by_tens():
    tried, _, decision = searched(LONG, 1e3, best_at(0.1), loss_before=1.0, with_loss=True)
    assert tried == [1e3, 100.0, 10.0, 1.0, 0.1, 0.01, 0.316, 0.0316]
    assert (told(decision), decision.restore) == ("settle 0.1", "best")


def test_from_the_right_rate_it_comes_back_to_it():
    tried, _, decision = searched(LONG, 0.1, best_at(0.1), loss_before=1.0, with_loss=True)
    assert tried[:2] == [0.1, 1.0]
    assert (told(decision), decision.restore) == ("settle 0.1", "best")


@pytest.mark.parametrize("rate", [1e-4, 1e3])
@pytest.mark.parametrize("loss_before", [1.0, None])
def test_from_rates_that_are_all_alike_it_goes_either_way_by_turns(rate, loss_before):
    """Too low to show, or so high that the network is dead and its answer constant."""
    score_of = best_at(0.1)

    def alike(rate):
        return 1.0 if rate < 2e-3 or rate > 0.2 else score_of(rate)

    tried, _, decision = searched(LONG, rate, alike, loss_before, loss_before is not None)
    assert sorted(tried[:3]) == pytest.approx([rate / 10, rate, 10 * rate])
    assert {10**i for i in range(-1, 2)} & {round(tried_rate, 6) for tried_rate in tried}, "on both sides it goes on"
    assert decision.rate == pytest.approx(0.1)


def test_rates_that_are_all_worse_than_no_training_are_not_compared():
    """Dead networks: which of them is least bad is chance. Seen from 10 on PyTorch: 100 looked best, and was taken."""
    dead = {10: 13.86, 32: 14.07, 100: 13.58, 316: 13.87, 1000: 13.78}

    def loss(rate):
        return dead.get(round(rate), 14.0) if rate > 2 else 2.96 if rate > 0.5 else best_at(0.1)(rate)

    assert loss(100.0) < min(loss(10.0), loss(1000.0)), "100 is between worse ones"
    assert loss(100.0) > HOPELESS * 2.39
    tried, _, decision = searched(LONG, 10.0, loss, loss_before=2.39, with_loss=True)
    assert max(tried) == 10.0
    assert 0.03 < decision.rate < 0.2


@pytest.mark.parametrize(("loss_before", "easy"), [(None, 0.0), (0.25, 0.0), (0.4, 0.0), (None, 3e-3)])
@pytest.mark.parametrize(("rate", "chosen"), [(0.01, 0.01), (0.1, 0.1), (10.0, 1.0)])
def test_in_a_model_that_was_trained_before_a_rate_that_does_nothing_does_not_win(rate, chosen, loss_before, easy):
    """There each rate that trains at all makes the loss of its first epoch worse, but for the luck of an `easy` one."""

    def score_of(rate):
        return 0.3 * (1 + 0.9 * rate - easy * (1e-5 < rate < 1e-3))

    tried, _, decision = searched(LONG, rate, score_of, loss_before, with_loss=True)
    assert min(score_of(each) for each in tried) < score_of(chosen), "lower ones look better"
    assert decision.rate == pytest.approx(chosen)
    assert "no lower one is proven to do more than nothing" in decision.reason


def test_in_a_model_that_was_trained_before_a_lower_rate_that_trains_wins():
    def score_of(rate):
        return 0.3 * (0.94 if 5e-3 < rate < 0.02 else 1 + 0.9 * rate)

    _, _, decision = searched(LONG, 0.1, score_of, with_loss=True)
    assert decision.rate == pytest.approx(0.01)


def test_dead_networks_do_not_make_the_given_rate_stay():
    """The lowest rates that were tried are alike, but each has killed the network in its own way."""
    trials = ((-4, 2.301), (-2, 2.303), (0, 2.33), (2, 2.6))
    search = Search(10.0, trials=trials, errors=tuple((at, 0.0) for at, _ in trials))
    assert choice(search, loss_before=2.2).at == -4
    assert choice(search, loss_before=None).at == 0, "without this loss the weights count as trained before"


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 1e3])
def test_without_a_training_loss_it_goes_by_the_metric_and_ends_at_the_same_rate(rate):
    tried, _, decision = searched(LONG, rate, best_at(0.1))
    assert decision.rate == pytest.approx(0.1)
    assert any(tried_rate < 0.09 for tried_rate in tried), "one below the best, for a score without progress"


def test_the_score_without_training_is_forgotten_when_it_is_no_metric():
    _, state, _ = searched(LONG, 0.1, best_at(0.1), loss_before=50.0)
    assert state.loss_before is None


def test_in_max_mode_a_larger_metric_wins():
    score_of = best_at(0.1)
    _, _, decision = searched(replace(LONG, mode="max"), 1e-3, lambda rate: -score_of(rate))
    assert decision.rate == pytest.approx(0.1)


def test_the_lowest_rate_with_most_of_the_progress_is_taken():
    """0.1 brings all, 0.0316 four fifths: enough, since a rate too low is raised later. The given one is broken."""

    def score_of(rate):
        return NAN if rate > 0.2 else 1.0 - {0.1: 1.0, 0.0316: ENOUGH + 0.1}.get(float(f"{rate:.3g}"), 0.01)

    tried, _, decision = searched(LONG, 1.0, score_of, loss_before=1.0, with_loss=True)
    assert {0.1, 0.0316} < set(tried)
    assert decision.rate == pytest.approx(0.0316, rel=1e-2)
    assert "the lowest one that makes most of the best one's progress" in decision.reason


def test_the_given_rate_stays_where_a_lower_one_makes_most_of_the_progress_but_not_more():
    def score_of(rate):
        return NAN if rate > 0.2 else 1.0 - {0.1: 0.8, 0.0316: 0.82}.get(float(f"{rate:.3g}"), 0.7)

    tried, state, decision = searched(LONG, 0.1, score_of, loss_before=1.0, with_loss=True)
    assert {0.0316, 0.01} < set(tried), "lower ones were tried"
    assert score_of(0.0316) < score_of(0.1)
    assert (decision.rate, state.best) == (0.1, pytest.approx(0.2))
    assert "the given one, since no other is clearly better; 0.01: 0.3 (85%), 0.0316: 0.18 (100%)" in decision.reason


@pytest.mark.parametrize(("loss", "tried"), [(0.8, [0.1]), (0.81, [0.1, 1.0, 0.01])])
def test_in_a_training_too_short_for_raises_a_rate_that_trains_is_kept_without_a_trial(loss, tried):
    """Each trial would take a tenth of it."""
    short = Config(observations=10)
    rates, _, decision = searched(short, 0.1, lambda rate: loss + 0.05 * (rate != 0.1), 1.0, with_loss=True)
    assert rates == tried
    assert decision.rate == 0.1


@pytest.mark.parametrize(
    ("loss", "before", "tried"),
    [(0.95, 1.0, [0.1]), (1.0, 1.0, [0.1, 0.01])],
    ids=["a loss that falls", "an easy first batch"],
)
def test_in_a_training_too_short_for_raises_no_rate_is_tried_that_would_only_be_slower(loss, before, tried):
    """As under `max_lr`, which is that of a pretrained model: a tenth of a rate that trains is a tenth of the way."""
    config = Config(observations=10, max_lr=0.1)

    def score_of(rate):
        return loss if rate > 0.05 else loss + 0.04

    rates, _, decision = searched(config, 0.1, score_of, before, with_loss=True)
    assert (rates, decision.kind, decision.rate) == (tried, "settle", 0.1)
    assert ("it trains, and so short a training has no time to try lower ones" in decision.reason) == (len(tried) == 1)
    longer, *_ = searched(replace(config, observations=100), 0.1, score_of, before, with_loss=True)
    assert min(longer) < 0.1, "which can spare the time"


def test_in_a_training_too_short_for_raises_lower_rates_are_tried_below_one_that_a_higher_one_has_not_beaten():
    """There the given one may be too high, although it has lowered the loss."""
    losses = {0.1: 0.95, 1.0: 0.97, 0.01: 0.85}
    tried, _, decision = searched(SHORT, 0.1, lambda rate: losses.get(float(f"{rate:.3g}"), 1.0), 1.0, with_loss=True)
    assert (tried, decision.rate) == ([0.1, 1.0, 0.01], pytest.approx(0.01))


def test_a_rate_that_is_unfit_gives_way_to_a_lower_one_however_short_the_training():
    config = replace(SHORT, max_lr=0.1)
    losses = {0.1: 0.9, 0.01: 0.9}
    tried, decision, _ = validated(
        config, 0.1, lambda rate: 14.5 if rate > 0.05 else 0.9, lambda rate: losses.get(float(f"{rate:.3g}"), 0.99)
    )
    assert (tried[:2], decision.rate) == ([0.1, 0.01], pytest.approx(0.01))


@pytest.mark.parametrize("observations", [10, 100])
@pytest.mark.parametrize(("lower", "chosen"), [(1.101, 1e-3), (1.07, 1e-4)])
def test_the_given_rate_stays_where_a_lower_one_is_better_by_less_than_a_hundredth(observations, lower, chosen):
    """The first epoch of a pretrained model: a rate that trains nothing has the loss of no training."""
    losses = {1e-3: 1.11, 3.16e-4: 1.11, 1e-4: lower}
    config = Config(observations=observations, max_lr=1e-3)
    tried, _, decision = searched(config, 1e-3, lambda rate: losses.get(float(f"{rate:.3g}"), 1.12), 1.06, True)
    assert tried[:2] == [1e-3, 1e-4]
    assert (decision.kind, decision.rate) == ("settle", pytest.approx(chosen))
    assert observations == 100 or chosen == 1e-4 or len(tried) == 2, "it is not worth another one"


def test_in_a_training_too_short_for_raises_a_lower_rate_that_makes_most_of_the_progress_is_enough():
    """It is not far from training clearly, and a climb will follow."""

    def score_of(rate):
        return 0.83 if rate < 0.005 else 0.79

    tried, _, decision = searched(SHORT, 0.001, score_of, 1.0, with_loss=True)
    assert tried == [0.001, 0.01]
    assert (decision.kind, decision.rate) == ("settle", 0.001)


def test_in_a_training_too_short_for_raises_the_search_ends_with_the_first_rate_that_trains():
    short = Config(observations=14, budget=0.5)
    rates, _, decision = searched(short, 1e-4, best_at(0.1), 1.0, with_loss=True)
    assert (rates[-1], decision.rate) == (pytest.approx(0.1), pytest.approx(0.1))
    assert len(rates) < len(searched(LONG, 1e-4, best_at(0.1), 1.0, with_loss=True)[0])


def test_every_trial_begins_with_the_first_weights_and_the_best_one_is_saved():
    state = replace(LONG.start(0.01), loss_before=1.0)
    saved, score_of = [], best_at(0.1)
    while state.stage.name == "search":
        rate, score = state.rate, score_of(state.rate)
        state, decision = LONG.step(state, score, score)
        if decision.kind == "search":
            assert decision.restore == "start"
        if decision.save:
            saved.append(float(f"{rate:.3g}"))
    assert saved == [0.01, 0.1], "each was the best one at its time"
    assert decision.restore == "best"


def test_the_last_trial_is_not_restored_when_it_is_the_one_chosen():
    tried, _, decision = searched(replace(LONG, observations=100, budget=0.01), 0.01, best_at(0.1), 1.0, True)
    assert tried == [0.01, 0.1], "no observation is left in the budget"
    assert (told(decision), decision.save, decision.restore) == ("settle 0.1", "best", None)


def test_when_all_trials_break_it_goes_on_from_the_first_weights_with_a_lower_rate_than_any():
    tried, state, decision = searched(LONG, 1.0, lambda rate: NAN)
    assert len(tried) == MOST_TRIALS
    assert (decision.kind, decision.restore, state.best) == ("settle", "start", None)
    assert decision.rate == pytest.approx(min(tried) / 10)
    assert "all broke" in decision.reason
    assert LONG.needed_snapshots(state) == {"start"}
    state, decision = LONG.step(state, 3.0)
    assert (decision.kind, decision.save) == ("best", "best")


def test_when_all_trials_break_min_lr_holds():
    config = replace(LONG, min_lr=0.05)
    tried, state, decision = searched(config, 1.0, lambda rate: NAN)
    assert tried == [1.0, 0.1]
    assert decision.rate == state.rate == 0.05


def test_max_lr_bounds_the_search():
    tried, _, decision = searched(replace(LONG, max_lr=0.02), 1e-3, best_at(0.1), loss_before=1.0, with_loss=True)
    assert tried[:2] == [1e-3, 0.01]
    assert max(tried) <= 0.02
    assert decision.rate == pytest.approx(0.01)


def test_min_lr_bounds_the_search():
    tried, _, decision = searched(replace(LONG, min_lr=0.5), 10.0, best_at(0.1), loss_before=1.0, with_loss=True)
    assert min(tried) >= 0.5
    assert 10.0 in tried
    assert 1.0 in tried
    assert decision.rate >= 0.5


def test_a_rate_whose_loss_breaks_behind_a_better_metric_is_broken_all_the_same():
    state = replace(LONG.start(0.1), loss_before=1.0)
    state, _ = LONG.step(state, 0.5, 0.5)
    assert state.best == 0.5
    state, decision = LONG.step(state, 0.4, NAN)
    assert "training loss is nan" in decision.reason
    assert dict(state.stage.trials)[2] == INF
    while state.stage.name == "search":
        state, _ = LONG.step(state, 0.9, 0.9)
    assert state.rate_too_high == pytest.approx(1.0)


def test_the_search_says_by_what_it_went():
    _, decision = Config(mode="max", observations=100).step(LONG.start(0.1), 0.75)
    assert decision.reason == "0.1 gave a metric of 0.75"
    _, decision = Config(mode="max", observations=100).step(LONG.start(0.1), 0.75, 1.5)
    assert decision.reason == "0.1 gave a training loss of 1.5"


def with_undefined_metric(is_defined):
    """Search where each rate brings a fine training loss, and a metric only where that is defined."""
    state, decisions = replace(LONG.start(1e-3), loss_before=1.0), []
    while state.stage.name == "search":
        loss = best_at(0.1)(state.rate)
        metric = loss if is_defined(state.rate) else NAN
        state, decision = LONG.step(state, metric, loss, Evidence(is_finite=math.isfinite(loss)))
        decisions.append(decision)
    return state, decisions


def test_where_no_rate_gives_a_metric_the_training_loss_tells_them_apart():
    """As of an F1 score before the first positive, or of a validation with a NaN in it."""
    state, decisions = with_undefined_metric(lambda rate: False)
    assert decisions[0].reason == "0.001 gave a training loss of 0.991 and a metric of nan"
    assert (decisions[-1].rate, decisions[-1].restore) == (pytest.approx(0.1), "start")
    assert (state.best, state.rate_too_high) == (None, pytest.approx(0.316, rel=0.01))
    assert not any(decision.save for decision in decisions), "weights without a metric are no best"


def test_a_rate_that_gives_a_metric_is_preferred_to_those_that_give_none():
    state, decisions = with_undefined_metric(lambda rate: rate < 0.05)
    assert decisions[-1].rate == pytest.approx(0.0316, rel=0.01)
    assert "0.1: 0.1 (bad in validation)" in decisions[-1].reason
    assert state.best == pytest.approx(1.0 - 0.9 * 0.316, rel=0.01)


def test_a_first_batch_that_was_an_easy_one_is_no_yardstick():
    """Its loss is 0.05; training goes from 1 to 0.6 in an epoch at the best rate."""
    state = replace(LONG.start(0.01), loss_before=0.05)
    while state.stage.name == "search":
        loss = 1.0 - 0.4 * state.rate if state.rate < 2 else INF
        assert not loss <= soundness.FAR_WORSE * 0.05, "every trial is far worse than that"
        state, decision = LONG.step(state, loss, loss)
    assert 0.3 < decision.rate < 2
    state, decision = LONG.step(state, 0.9, 0.9)
    assert decision.kind != "diverged"


@pytest.mark.parametrize(("before", "after"), [(0.55, None), (0.65, 0.65)])
def test_a_loss_before_training_that_no_rate_comes_below_is_no_yardstick(before, after):
    *_, state, _ = searched(LONG, 0.1, lambda rate: 0.6 if rate < 0.2 else 0.7, before, with_loss=True)
    assert state.loss_before == after


SHORT = Config(observations=10)
"""Two trials fit into it, and each costs a tenth of the training."""


def validated(config, rate, val_loss_of, loss_of=lambda rate: 0.5):
    """Search where each rate brings a training loss and a validation loss; before training it is 1."""
    state, tried, reasons = replace(config.start(rate), loss_before=1.0), [], []
    while state.stage.name == "search":
        tried.append(float(f"{state.rate:.3g}"))
        loss = loss_of(state.rate)
        state, decision = config.step(state, loss, loss, Evidence(val_loss=val_loss_of(state.rate)))
        reasons.append(decision.reason)
    return tried, decision, reasons


def test_a_rate_that_trains_but_fails_in_validation_gives_way_to_a_lower_one():
    """The higher rate has the lower training loss, as where a network answers with a constant."""
    tried, decision, reasons = validated(
        SHORT, 1.0, lambda rate: 14.5 if rate > 0.5 else 0.9, lambda rate: 0.3 if rate > 0.5 else 0.6
    )
    assert (tried, decision.kind, decision.rate) == ([1.0, 0.1], "settle", pytest.approx(0.1))
    assert reasons[0] == "1 gave a training loss of 0.3 and a validation loss of 14.5"
    assert "1: 0.3 (bad in validation)" in decision.reason


def test_a_rate_that_fails_in_validation_may_be_raised_to_later():
    state = replace(LONG.start(0.1), loss_before=1.0)
    while state.stage.name == "search":
        val_loss = 14.5 if state.rate > 0.2 else 0.9
        state, decision = LONG.step(state, val_loss, 0.5, Evidence(val_loss=val_loss))
    assert "1: 0.5 (bad in validation)" in decision.reason
    assert state.rate_too_high is None, "batch normalisation may only be warming up"


def test_a_validation_loss_that_every_rate_leaves_high_is_no_yardstick():
    """As where classes are weighted in training alone: the given rate is as good as another, and none is below it."""
    tried, decision, _ = validated(SHORT, 0.1, lambda rate: 5.0)
    assert tried == [0.1, 0.01, 1.0]
    assert (decision.kind, decision.rate) == ("settle", 0.1)


def test_up_to_three_times_the_loss_before_training_a_validation_loss_says_nothing():
    tried, decision, _ = validated(SHORT, 0.1, lambda rate: UNFIT)
    assert (tried, decision.rate) == ([0.1], 0.1)


@pytest.mark.parametrize(
    ("loss", "val_loss", "chosen"),
    [
        (0.45, 0.4, 0.01),
        (0.45, 0.5, 0.1),  # No better in validation.
        (0.47, 0.4, 0.1),  # No longer nearly as good.
        (0.45, NAN, 0.1),
        (0.45, None, 0.1),
    ],
)
def test_the_given_rate_gives_way_to_a_lower_one_that_is_nearly_as_good_and_better_in_validation(
    loss, val_loss, chosen
):
    """As where the higher one has learned no more than the mean by the end of the first epoch."""
    losses = {0.01: loss, 0.0316: 0.5, 0.1: 0.4, 0.316: 1.5, 1.0: 2.0}
    tried, decision, _ = validated(
        LONG, 0.1, lambda rate: val_loss if rate < 0.02 else 0.5, lambda rate: losses[float(f"{rate:.3g}")]
    )
    assert tried == [0.1, 1.0, 0.01, 0.316, 0.0316]
    assert (decision.kind, decision.rate) == ("settle", pytest.approx(chosen))
    words = "nearly as good in training as the given one, and better in validation, 0.4 against 0.5"
    assert (words in decision.reason) == (chosen == 0.01)


@pytest.mark.parametrize(("at", "tried"), [((3.0, 3.0), [1.0, 10.0, 0.1]), ((3.0, 2.9), [1.0, 10.0, 100.0])])
def test_where_all_rates_are_worse_than_no_training_the_validation_loss_says_where_to_look(at, tried):
    """One that does not fall with the rate is that of networks which are dead; far too low a rate lets it fall."""
    val_losses = dict(zip((1.0, 10.0), at, strict=True))
    state, found = replace(LONG.start(1.0), loss_before=1.0), []
    while len(found) < 3:
        found.append(float(f"{state.rate:.3g}"))
        evidence = Evidence(val_loss=val_losses.get(found[-1], 3.0))
        state, _ = LONG.step(state, 3.0, 1.2 - 0.01 * len(found), evidence)
    assert found == tried


def test_without_another_trial_to_compare_far_worse_is_broken():
    config = Config(observations=100, budget=0.0)
    state, decision = config.step(replace(config.start(10.0), loss_before=1.0), 500.0, 500.0)
    assert (decision.kind, decision.restore) == ("settle", "start")
    assert state.rate == pytest.approx(10.0 * auto.HARD_CUT)
    assert state.best is None


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("with_loss", [True, False])
def test_a_real_training_settles_near_its_best_rate_and_ends_trained(rate, with_loss):
    """Curvature 1 is unstable above 2."""
    training = Training(Config(observations=100), rate, with_loss=with_loss).train(100).finish()
    settled = next(decision for decision in training.decisions if decision.kind == "settle")
    assert 0.02 <= settled.rate < 2.0
    assert training.untrained > 0.5
    assert training.loss() < 1e-3
    kept = [decision.rate for decision in training.decisions if decision.kind == "success"]
    assert bool(kept) == (rate != 1.0), "which stays, and three times as much is unstable"
    assert all(each < 2.0 for each in kept)


# --- 1b. the search by steps -----------------------------------------------------------------------------------------


BY_STEPS = replace(LONG, by_steps=True)


def searched_by_steps(rate, score_of, error, config=BY_STEPS, seed=0, loss_before=1.0):
    """As `searched`, where each trial has noise of a known standard error."""
    rng = random.Random(seed)
    state, tried = replace(config.start(rate), loss_before=loss_before), []
    while state.stage.name == "search":
        tried.append(float(f"{state.rate:.3g}"))
        score = score_of(state.rate) + error * rng.gauss(0, 1)
        state, decision = config.step(state, score, score, Evidence(noise=error))
    return tried, state, decision


@pytest.mark.parametrize("seed", range(20))
def test_from_rates_too_low_to_show_in_the_noise_it_goes_up_only(seed):
    tried, _, decision = searched_by_steps(1e-6, best_at(0.1), 0.05, seed=seed)
    assert min(tried) == 1e-6
    assert decision.rate > 0.01


@pytest.mark.parametrize(("level", "tried"), [(1.3, [1.0, 10.0, 0.1]), (1.03, [1.0, 10.0, 100.0])])
def test_rates_whose_networks_are_dead_beyond_the_noise_are_left_downwards(level, tried):
    """All are alike, as rates far too low are. But those are about as good as no training."""
    found, *_ = searched_by_steps(1.0, lambda rate: level if rate > 0.5 else 0.5, 0.01)
    assert found[:3] == tried


def test_where_nothing_shows_in_the_noise_the_given_rate_stays():
    tried, _, decision = searched_by_steps(1e-3, lambda rate: 1.0 if rate < 2 else NAN, 0.05, seed=1)
    assert max(tried) > 2, "up to where training breaks"
    assert min(tried) == 1e-3
    assert (decision.kind, decision.rate) == ("settle", 1e-3)
    assert "±" in decision.reason


def test_from_far_too_high_it_goes_down_by_steps_too():
    tried, _, decision = searched_by_steps(1e3, best_at(0.1), 0.05)
    assert tried[:4] == [1e3, 100.0, 10.0, 1.0]
    assert 0.03 < decision.rate < 0.2


def test_the_given_rate_gives_way_by_steps_to_a_lower_one_that_makes_half_of_the_progress():
    """A few steps favour rates that are too high."""
    progress = {0.1: 1.0, 0.0316: 0.95, 0.01: 0.6, 0.001: 0.1}

    def score_of(rate):
        return next((1.0 - 0.5 * share for at, share in progress.items() if math.isclose(rate, at, rel_tol=0.01)), NAN)

    _, _, by_epochs = searched(LONG, 0.1, score_of, loss_before=1.0, with_loss=True)
    _, _, by_steps = searched_by_steps(0.1, score_of, 0.0)
    assert (by_epochs.rate, by_steps.rate) == pytest.approx((0.1, 0.01))


def test_the_noise_of_a_rate_that_is_too_high_is_not_that_of_the_others():
    state = replace(BY_STEPS.start(0.1), loss_before=1.0)
    for score, error in ((0.5, 0.01), (5.0, 3.0), (0.9, 0.01)):
        state, _ = BY_STEPS.step(state, score, score, Evidence(noise=error))
    assert search.noise(state.stage, 1.0) == 0.01
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(("by_steps", "kind"), [(False, "rollback"), (True, "hold")])
def test_by_steps_the_last_observations_are_worse_only_beyond_doubt(by_steps, kind):
    """The best of many short observations is partly the luckiest."""
    config = replace(LONG, budget=0.0, min_lr=0.1, by_steps=by_steps)  # So nothing is cut.
    state = config.start(0.1)
    for value in (1.0, 0.98, 0.99, 1.01, 1.0, 0.99, 1.01, 1.0):
        state, _ = config.step(state, value)
    assert config.finish(state).decision.kind == kind
    for value in (2.0, 2.01, 1.99, 2.0, 2.01, 1.99):
        state, _ = config.step(state, value)
    assert config.finish(state).decision.kind == "rollback"


def test_by_steps_the_end_is_judged_by_the_last_observations_alone():
    """Noise that is over would forgive all."""
    config = replace(LONG, budget=0.0, min_lr=0.1, by_steps=True)  # So nothing is cut.
    values = [1.0, 1.6, 1.0, 1.6, 1.34, 1.26, 1.3, 1.34, 1.26, 1.3]
    assert len(values) == LONGEST_TREND
    state, *_ = go_on(config, config.start(0.1), values)
    whole = trend(state.stretch.latest)
    assert whole.end < state.best + auto.FORGIVEN_BY_STEPS * whole.noise
    assert config.finish(state).decision.kind == "rollback"


def test_after_the_search_a_training_has_use_for_a_hundred_observations():
    state = LONG.start(0.1)
    assert LONG.most_observations(state) is None
    while state.stage.name == "search":
        state, _ = LONG.step(state, 1.0)
    assert LONG.most_observations(state) == auto.NOMINAL_LENGTH


# --- 1c. the search within an epoch ----------------------------------------------------------------------------------


def searched_within_an_epoch(config, rate, score_of, error=0.01, loss_before=1.0):
    """As `searched_by_steps`, in trials of 40 steps that are no observations."""
    state, tried = config.searching_by(replace(config.start(rate), loss_before=loss_before), 40), []
    while state.trial_steps is not None:
        assert (state.stage.name, state.trial_steps) == ("search", 40)
        tried.append(float(f"{state.rate:.3g}"))
        score = score_of(state.rate)
        state, decision = config.step(state, score, score, Evidence(noise=error))
        assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    return tried, state, decision


def test_the_training_loss_of_a_window_is_neither_an_observation_nor_the_best():
    state = LONG.searching_by(replace(LONG.start(0.1), loss_before=1.0), 40)
    decisions = []
    while state.stage.name == "search":
        loss = best_at(0.1)(state.rate)
        state, decision = LONG.step(state, loss, loss)
        decisions.append(decision)
        assert state.best is None
    assert {decision.kind for decision in decisions} == {"search", "settle"}
    assert {(decision.value, decision.best) for decision in decisions} == {(None, None)}
    assert decisions[0].reason == "0.1 gave a training loss of 0.1"


@pytest.mark.parametrize(
    ("loss_before", "tried"),
    [(14.0, [1e-3]), (9.0, [1e-3, 0.01]), (2.0, [1e-3, 0.01]), (0.5, [1e-3, 1e-4])],
    ids=["clearly trains", "hardly trains", "an easy batch", "hopeless"],
)
def test_a_single_batch_says_nothing_within_its_noise(loss_before, tried):
    """Each rate leaves a loss of 7, with an error of 0.5 in 40 steps: so a batch has a noise of 3."""
    state = SHORT.searching_by(replace(SHORT.start(1e-3), loss_before=loss_before), 40)
    found = []
    while state.stage.name == "search" and len(found) < 2:
        found.append(float(f"{state.rate:.3g}"))
        state, _ = SHORT.step(state, 7.0, 7.0, Evidence(noise=0.5))
    assert found == tried


def test_after_a_search_within_an_epoch_the_observations_begin():
    config = Config(mode="max", observations=1000, budget=1.0)
    tried, state, decision = searched_within_an_epoch(config, 1e3, best_at(0.1))
    assert len(tried) > 3
    assert (decision.kind, decision.restore, decision.best) == ("settle", "best", None)
    assert "±" in decision.reason
    assert (state.stage.name, state.status, state.rate) == ("hold", "holding", decision.rate)
    assert state.rate_too_high == pytest.approx(0.316, rel=0.01)
    assert (state.observations, state.spent, state.best, state.attempt) == (
        0,
        0,
        None,
        Attempt(decision.rate),
    )
    assert config.needed_snapshots(state) == {"start"}
    state, decision = config.step(state, 0.25, 0.7)
    assert (decision.kind, decision.observation, state.best) == ("best", 1, 0.25), "an accuracy, after all those losses"


@pytest.mark.parametrize(("half", "chosen"), [(0.95, 0.0316), (0.8, 0.1)])
def test_after_windows_of_steps_the_given_rate_gives_way_only_to_a_lower_one_that_is_nearly_as_good(half, chosen):
    progress = {0.1: 1.0, 0.0316: half, 0.01: 0.6, 0.001: 0.1}

    def score_of(rate):
        return next((1.0 - 0.5 * share for at, share in progress.items() if math.isclose(rate, at, rel_tol=0.01)), NAN)

    tried, _, decision = searched_within_an_epoch(LONG, 0.1, score_of, 0.0)
    assert {0.0316, 0.01} <= set(tried)
    assert decision.rate == pytest.approx(chosen, rel=0.01)


@pytest.mark.parametrize(("breaks_above", "chosen"), [(0.5, 0.1), (0.2, 0.0316)])
def test_a_rate_below_one_that_breaks_does_not_stay_because_nothing_shows_in_the_noise(breaks_above, chosen):
    """By half a decade. A decade is as usual."""
    losses = {0.01: 0.9, 0.0316: 0.7, 0.1: 0.95, 0.316: 0.9}
    *_, decision = searched_within_an_epoch(
        LONG, 0.1, lambda rate: INF if rate > breaks_above else losses[float(f"{rate:.3g}")], 0.1
    )
    assert (decision.kind, decision.rate) == ("settle", pytest.approx(chosen, rel=0.01))


def test_the_choice_is_at_most_a_decade_below_the_best():
    """Even where rates far lower make most of the progress, too: a raise goes up by half a decade."""
    losses = {0.001: 0.6, 0.00316: 0.58, 0.01: 0.56, 0.0316: 0.53, 0.1: 0.5}
    tried, _, decision = searched_within_an_epoch(LONG, 1e-3, lambda rate: losses.get(float(f"{rate:.3g}"), INF), 0.0)
    assert 0.1 in tried
    assert decision.rate == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(("loss", "tried"), [(3.0, [0.5, 0.05]), (1.9, [0.5])])
def test_a_noisy_rate_without_room_above_gives_way_downwards_if_the_loss_is_above_that_before_training(loss, tried):
    """Its own noise hides that it is too high; far too low a rate would leave the loss where it was."""
    state = replace(LONG, max_lr=0.5).searching_by(replace(LONG.start(0.5), loss_before=2.0), 40)
    found = []
    while state.trial_steps is not None and len(found) < 2:
        found.append(float(f"{state.rate:.3g}"))
        score, error = (loss, 0.4) if state.rate > 0.4 else (0.6, 0.01)
        state, _ = replace(LONG, max_lr=0.5).step(state, score, score, Evidence(noise=error))
    assert found == tried


def test_a_search_within_an_epoch_in_which_all_trials_break_goes_back_to_the_first_weights():
    tried, state, decision = searched_within_an_epoch(LONG, 1.0, lambda rate: NAN)
    assert len(tried) == MOST_TRIALS
    assert (decision.kind, decision.restore) == ("settle", "start")
    assert state.rate == pytest.approx(0.1 * min(tried))


@pytest.mark.parametrize(("windows", "expected"), [(8, 0.03), (20, 0.0949)])
def test_a_search_within_an_epoch_ends_with_the_first_rate_that_trains_only_where_a_trial_costs_much(windows, expected):
    tried, _, decision = searched_within_an_epoch(Config(observations=windows), 0.03, best_at(0.1))
    by_epochs, *_ = searched(Config(observations=12), 0.03, best_at(0.1), loss_before=1.0, with_loss=True)
    assert len(by_epochs) == 1, "it trains, and so it is kept"
    assert (len(tried) == 1) == (windows == 8)
    assert decision.rate == pytest.approx(expected, rel=0.01)


def test_another_rate_set_from_outside_ends_a_search_within_an_epoch():
    state = LONG.searching_by(LONG.start(0.1), 40)
    state, _ = LONG.step(state, 1.0, 1.0)
    state, decision = LONG.override(state, 0.3)
    assert (decision.kind, state.stage.name, state.trial_steps) == ("override", "hold", None)
    assert (state.observations, state.best, state.attempt) == (0, None, Attempt(0.3))


def test_a_training_that_ends_in_a_search_within_an_epoch_goes_back_to_the_best_of_it():
    state = LONG.searching_by(replace(LONG.start(0.1), loss_before=1.0), 40)
    for loss in (0.5, 0.9):
        state, decision = LONG.step(state, loss, loss)
    assert decision.kind == "search"
    state, decision = LONG.finish(state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "best", 0.1)
    assert (state.stage.name, state.observations, state.best) == ("hold", 0, None)


def test_a_search_by_observations_goes_on_where_no_steps_are_seen_within_an_epoch():
    state = LONG.searching_by(LONG.start(0.1), 40)
    assert LONG.searching_by(state, None) == LONG.start(0.1)
    held_ = settled()
    assert LONG.searching_by(held_, 40) == held_, "there is no search any more"


# --- 3. raises -------------------------------------------------------------------------------------------------------


def settled(config=LONG, rate=0.1, value=1.0, loss_before=None):
    """After a search in which no other rate did anything: the rate given, and its first observation."""

    def score_of(tried):
        return value if tried == rate else value + 1.0

    _, state, decision = searched(config, rate, score_of, loss_before)
    assert (decision.kind, state.rate, state.best) == ("settle", rate, value)
    return state


def in_excursion(config=LONG):
    """On a good trend, just raised."""
    state, decision, _ = until(config, settled(config), "raise", line(0.99, -0.01))
    assert state.in_excursion
    return state, decision


def test_a_good_trend_is_raised_and_each_success_is_followed_by_another_raise():
    """-0.01 an observation, then -0.03, -0.09: three times the rate, three times the slope."""
    state, decision = in_excursion()
    assert told(decision) == "raise 0.3"
    assert decision.save == "best", "the weights of the raise are the best ones"
    assert "significant decrease" in decision.reason
    level, rates = decision.value, [decision.rate]
    for slope in (-0.03, -0.09):
        state, decision, count = until(LONG, state, "success", line(level + slope, slope))
        assert count == auto.RAISE_LENGTH
        assert "the raise got ahead" in decision.reason
        assert "a higher one may be better still" in decision.reason
        level = decision.value
        rates.append(decision.rate)
    assert rates == pytest.approx([0.3, 0.9, 2.7])
    assert state.in_excursion
    assert state.spent == settled().spent, "nothing was taken back"


def test_a_raise_that_succeeds_where_no_higher_one_may_be_tried_stays():
    config = replace(LONG, max_lr=0.5)
    state, decision = in_excursion(config)
    state, decision, _ = until(config, state, "success", line(decision.value - 0.1, -0.1))
    assert (told(decision), decision.save) == ("success 0.3", "best")
    assert not state.in_excursion


def test_a_raise_that_does_not_get_ahead_is_rolled_back_and_the_next_one_waits_twice_as_long():
    state, decision = in_excursion()
    spent, level, waits = state.spent, decision.value, []
    for _ in range(3):
        state, decision, count = until(LONG, state, "rollback", line(level, 0.0))
        assert (count, told(decision), decision.restore) == (auto.RAISE_LENGTH, "rollback 0.1", "best")
        assert "did not get ahead" in decision.reason
        state, decision, count = until(LONG, state, "raise", line(level - 0.01, -0.01))
        level = decision.value
        waits.append(count)
    assert waits[1] == 2 * waits[0]
    assert waits[2] == 2 * waits[1]
    assert state.spent == spent + 3 * auto.RAISE_LENGTH


def test_a_raise_is_compared_with_the_trend_before_it_and_not_with_the_last_value():
    """It goes on at -0.01 an observation exactly as before: better values, but no sooner."""
    state, decision = in_excursion()
    state, line_, decisions = go_on(LONG, state, [decision.value - 0.01 * i for i in range(1, auto.RAISE_LENGTH + 1)])
    assert decisions[-1].value < decision.value
    assert line_[-1] == "rollback 0.1"


@pytest.mark.parametrize(("by", "kind"), [(0.4, "rollback"), (0.6, "success")])
def test_a_raise_must_be_ahead_by_half_of_the_noise(by, kind):
    noisy = [0.99 - 0.01 * i + 0.004 * (-1) ** i for i in range(20)]
    state, *_ = until(LONG, settled(), "raise", noisy)
    before = state.stage.before
    assert before.noise > 0.003
    values = [before.ahead(i) - by * before.noise for i in range(1, auto.RAISE_LENGTH + 1)]
    _, _, decisions = go_on(LONG, state, values)
    assert decisions[-1].kind == kind


def test_a_raise_from_a_trend_that_rises_within_its_noise_is_compared_with_its_level():
    """To go on rising is nothing that a raise gets ahead of by standing still."""
    rising = [1.0, 1.02, 1.01, 1.03, 1.02, 1.04, 1.03, 1.05]
    state, _, count = until(ENDLESS, settled(ENDLESS), "raise", rising)
    found = trend([1.0, *rising[:count]])
    assert 0 < found.t < auto.SIGNIFICANT
    level = found.end - found.slope * (found.size - 1) / 2
    _, line_, _ = go_on(ENDLESS, state, [level] * auto.RAISE_LENGTH)
    assert line_[-1] == "rollback 0.1"


def test_a_second_raise_has_the_noise_of_the_first_one_to_get_ahead_of():
    """Four values in a line by chance are no proof that there is no noise."""
    noisy = [0.99 - 0.01 * i + 0.004 * (-1) ** i for i in range(20)]
    state, decision, _ = until(LONG, settled(), "raise", noisy)
    noise = state.stage.before.noise
    state, decision, _ = until(LONG, state, "success", line(decision.value - 0.03, -0.03))
    assert state.in_excursion
    level = decision.value
    _, line_, _ = go_on(LONG, state, [level - 0.03 * i - 0.2 * noise for i in range(1, auto.RAISE_LENGTH + 1)])
    assert line_[-1].startswith("rollback")


def test_a_flat_trend_is_raised_once_from_a_snapshot_of_its_own():
    state, decision, count = until(ENDLESS, settled(ENDLESS), "raise", flat(1.1))
    assert count == SHORTEST_TREND - 1, "with the one of the search the shortest trend"
    assert (told(decision), decision.save, decision.restore) == ("raise 0.3", "raise", None)
    assert "no significant decrease" in decision.reason
    assert ENDLESS.needed_snapshots(state) == {"best", "raise"}
    state, decision, _ = until(ENDLESS, state, "rollback", flat(1.1))
    assert decision.restore == "raise"
    assert ENDLESS.needed_snapshots(state) == {"best"}
    _, line_, _ = go_on(ENDLESS, state, [1.1] * 4 * LONGEST_TREND)
    assert {text.split()[0] for text in line_ if " " in text} == {"cut"}, "once"


def test_no_raise_goes_above_max_lr_or_to_a_rate_that_broke():
    for config, state in (
        (replace(LONG, max_lr=0.29), settled(replace(LONG, max_lr=0.29))),
        (LONG, replace(settled(), rate_too_high=0.3)),
    ):
        _, line_, _ = go_on(config, state, take(60, line(0.99, -0.01)))
        assert set(line_) == {"0.1"}


def test_a_rate_of_zero_and_one_that_would_overflow_are_not_raised():
    for rate in (0.0, 1e308):
        state, _ = LONG.override(settled(), rate)
        _, line_, _ = go_on(LONG, state, [1.0 - 0.01 * i for i in range(40)])
        assert set(line_) == {f"{rate:.3g}"}


# --- 4. cuts ---------------------------------------------------------------------------------------------------------

NO_RAISE = replace(ENDLESS, budget=0.0)
"""Nothing is tried: the rate given, and cuts."""


def held(config=NO_RAISE, rate=0.1, value=1.0):
    """Settled without a search."""
    state, decision = config.step(config.start(rate), value)
    assert (decision.kind, state.stage.name) == ("settle", "hold")
    return state


def test_a_flat_trend_with_no_raise_to_try_is_cut_again_and_again():
    state = held()
    _, decision, first = until(NO_RAISE, state, "cut", flat(1.1))
    state, decision, _ = until(NO_RAISE, state, "cut", flat(1.1))
    assert first == SHORTEST_TREND - 1
    assert (decision.rate, decision.restore) == (pytest.approx(0.1 * auto.CUT), None)
    assert "no raise is left to try" in decision.reason
    state, decision, count = until(NO_RAISE, state, "cut", flat(1.1))
    assert decision.rate == pytest.approx(0.1 * auto.CUT**2)
    assert "the last cut was fruitless, too" in decision.reason
    assert count == SHORTEST_TREND
    assert state.attempt.fruitless == 2


def test_a_new_best_makes_a_cut_fruitful():
    state, _, _ = until(NO_RAISE, held(), "cut", flat(1.1))
    assert state.attempt.fruitless == 1
    state, decision = NO_RAISE.step(state, 0.5)
    assert decision.kind == "best"
    assert state.attempt.fruitless == 0


def test_a_rising_trend_is_cut_where_it_is_without_a_raise():
    """Batch normalisation may make a validation metric worse for epochs, while training gets on."""
    state, decision, count = until(LONG, held(replace(LONG, budget=0.0)), "cut", line(1.1, 0.1))
    assert decision.restore is None
    assert decision.rate == pytest.approx(0.1 * auto.CUT)
    assert count == SHORTEST_TREND - 1
    assert "significant increase" in decision.reason
    assert until(LONG, held(replace(LONG, budget=0.0)), "raise", flat(1.1))[2] == count, "where it is only flat"
    again, decision, _ = until(NO_RAISE, state, "cut", line(1.1, 0.1))
    assert decision.restore is None
    assert again.attempt.fruitless > state.attempt.fruitless


def test_a_cut_after_a_divergence_does_not_raise_the_rate():
    """The best came at 0.1; after a divergence the rate is far lower, and there the metric rises."""
    state, decision = NO_RAISE.step(held(), NAN)
    assert told(decision) == "diverged 0.01"
    _, decision, _ = until(NO_RAISE, state, "cut", line(1.1, 0.1))
    assert decision.rate == pytest.approx(0.01 * auto.CUT)


@pytest.mark.parametrize(("left", "cuts"), [(SHORTEST_TREND, 1), (SHORTEST_TREND - 1, 0)])
def test_there_is_no_cut_shortly_before_the_rate_is_annealed(left, cuts):
    config = replace(NO_RAISE, observations=100)
    state = replace(held(config), observations=round(100 * (1 - auto.TAIL)) - left - 5)
    _, line_, _ = go_on(config, state, [1.1] * (left + 5))
    assert [text.partition(" ")[0] for text in line_ if " " in text] == ["cut"] * cuts + ["anneal"]


def test_early_stopping_needs_the_patience_for_a_plateau_a_raise_and_a_cut():
    state = held(replace(LONG, budget=0.0))
    _, _, to_raise = until(LONG, state, "raise", flat(1.1))
    state, _, _ = until(LONG, state, "rollback", flat(1.1))
    _, _, to_cut = until(LONG, state, "cut", flat(1.1))
    assert to_raise + auto.RAISE_LENGTH + to_cut <= LONG.patience_to_judge == 20
    assert replace(LONG, observations=10).patience_to_judge == 10


def test_a_cut_stops_at_min_lr_exactly_and_is_not_told_again():
    config = replace(NO_RAISE, min_lr=0.06)
    state, decision, _ = until(config, held(config), "cut", flat(1.1))
    assert decision.rate == 0.06
    _, line_, _ = go_on(config, state, [1.1] * 40)
    assert set(line_) == {"0.06"}


@pytest.mark.parametrize("end", ["flat", "rising", "diverged", "annealed"])
def test_a_rate_that_was_set_below_min_lr_is_not_taken_up_to_it(end):
    config = replace(NO_RAISE, min_lr=1.0, observations=200)
    state, _ = config.override(held(config, rate=1.0), 0.1)
    values = {"flat": [1.1] * 40, "rising": [1.0 + 0.1 * i for i in range(40)], "diverged": [NAN] * 3}
    _, _, decisions = go_on(config, state, values.get(end, [1.0 - i / 1000 for i in range(199)]))
    # Another attempt has a rate of its own.
    decisions = list(itertools.takewhile(lambda decision: decision.kind != "restart", decisions))
    assert {decision.rate for decision in decisions} == {0.1}


# --- 5. restarts -----------------------------------------------------------------------------------------------------

RESTARTS = Config(observations=400, budget=0.0)


def restarted(config=RESTARTS):
    """Cut, fruitlessly, and begun again; the best so far is 1."""
    state, _, _ = until(config, held(config), "cut", flat(1.1))
    assert state.attempt.fruitless == 1
    state, decision, _ = until(config, state, "restart", flat(1.1))
    assert state.attempt.is_behind
    return state, decision


def test_after_a_fruitless_cut_a_new_attempt_begins_from_the_first_weights():
    state, decision = restarted()
    assert (decision.restore, decision.rate) == ("start", pytest.approx(0.1 * auto.CUT))
    assert "the last cut was fruitless, too; a new attempt from the first weights" in decision.reason
    assert (state.restarts, state.best, state.attempt.best) == (1, 1.0, None)
    assert RESTARTS.needed_snapshots(state) == {"start", "best"}


def test_a_new_attempt_saves_nothing_until_it_beats_the_one_before():
    state, _ = restarted()
    state, _, decisions = go_on(RESTARTS, state, [3.0, 2.0, 1.5])
    assert {decision.save for decision in decisions} == {None}
    state, decision = RESTARTS.step(state, 0.9)
    assert (decision.kind, decision.save) == ("best", "best")
    assert not state.attempt.is_behind


def test_an_attempt_that_is_flat_after_a_cut_without_having_beaten_the_one_before_is_given_up_for_it():
    state, _ = restarted()
    state, cut, _ = until(RESTARTS, state, "cut", flat(1.5))
    assert state.attempt.is_behind
    assert cut.restore is None
    state, decision, _ = until(RESTARTS, state, "rollback", flat(1.5))
    assert decision.restore == "best"
    assert "without having beaten 1 from before the restart" in decision.reason
    assert decision.rate == pytest.approx(0.1 * auto.CUT)
    assert not state.attempt.is_behind
    _, line_, _ = go_on(RESTARTS, state, take(60, flat(1.1)))
    assert not [text for text in line_ if text.startswith("restart")], "and no other is made"


def test_an_attempt_that_rises_is_cut_without_the_weights_of_another():
    state, _ = restarted()
    state, _ = RESTARTS.step(state, 1.5)
    _, decision, _ = until(RESTARTS, state, "cut", line(1.6, 0.1))
    assert decision.restore is None
    assert "significant increase" in decision.reason


def test_an_attempt_that_rises_at_min_lr_is_given_up():
    config = replace(RESTARTS, min_lr=0.1)
    state = replace(held(config), restarts=1)
    state = replace(state, attempt=replace(state.attempt, is_behind=True))
    _, decision, _ = until(config, state, "rollback", line(1.5, 0.1))
    assert (decision.restore, decision.rate) == ("best", 0.1)


def test_restarts_are_bounded_and_only_made_where_enough_is_left():
    config = replace(RESTARTS, observations=100_000)
    state, best = held(config), 1.0
    for _ in range(auto.MOST_RESTARTS):
        state, _, _ = until(config, state, "restart", flat(best + 0.1))
        best -= 0.2
        state, _ = config.step(state, best)
        assert not state.attempt.is_behind, "it has beaten the one before"
    assert config.needed_snapshots(state) == {"best"}
    _, line_, _ = go_on(config, state, [best + 0.1] * 100)
    assert {text.split()[0] for text in line_ if " " in text} == {"cut"}


def test_no_attempt_begins_where_too_few_observations_are_left_for_it():
    """As many as the shortest attempt, and half as many again as this one took to its best."""
    state = held(RESTARTS)
    state, _, _ = go_on(RESTARTS, state, [1.0 - 0.01 * i for i in range(100)])
    state, _, _ = until(RESTARTS, state, "cut", flat(0.5))
    left = 1.5 * state.attempt.best_at
    assert left > auto.SHORTEST_ATTEMPT
    waits = state.observations + SHORTEST_TREND
    for observations, kind in ((waits + int(left) - 2, "cut"), (waits + int(left) + 2, "restart")):
        config = replace(RESTARTS, observations=observations)
        assert observations * (1 - auto.TAIL) > waits, "annealing is not yet due"
        _, line_, _ = go_on(config, state, [0.5] * SHORTEST_TREND)
        assert line_[-1].split()[0] == kind


@pytest.mark.parametrize(("mode", "best", "near"), [("min", 0.0, 1e-9), ("max", 1.0, 1 - 1e-9)])
def test_where_nothing_can_be_better_there_is_neither_a_raise_nor_a_restart(mode, best, near):
    for value, expected in ((best, {"cut"}), (near, {"raise", "rollback", "cut", "restart"})):
        config = replace(RESTARTS, mode=mode)
        state = held(config, value=value)
        config = replace(config, budget=0.25)
        _, _, decisions = go_on(config, state, [value] * 100)
        assert {each.kind for each in decisions if each.is_action} == expected


def test_a_length_that_seems_to_shrink_does_not_lose_the_first_weights():
    state, _, _ = until(RESTARTS, held(RESTARTS), "cut", flat(1.1))
    short = replace(RESTARTS, observations=state.observations + 5)
    assert "start" in short.needed_snapshots(state)
    assert until(RESTARTS, state, "restart", flat(1.1))[1].restore == "start"


def test_a_training_of_unknown_length_is_cut_instead():
    state, line_, _ = go_on(NO_RAISE, held(), [1.1] * 10 * SHORTEST_TREND)
    assert {text.split()[0] for text in line_ if " " in text} == {"cut"}
    assert state.restarts == 0


def test_a_restart_of_a_training_that_has_kept_nothing_has_nothing_to_beat():
    """All that it has seen was far worse than before training."""
    state = replace(
        Config(observations=60, budget=0.0).start(1.0),
        rate=0.03,
        stage=Hold(),
        attempt=Attempt(1.0, best=1e100, best_at=2, fruitless=1),
        stretch=Stretch((1e100,) * 5, held=5, mark=1e100, wait=4),
        last=1e100,
        observations=14,
        recoveries=1,
        loss_before=0.01,
        is_suspect=True,
    )
    state, decision = Config(observations=60, budget=0.0).step(state, 1e100, 1e100)
    assert (decision.kind, state.kept, state.attempt.is_behind) == ("restart", None, False)
    _, line_, _ = go_on(Config(observations=60, budget=0.0), state, [1e100] * 40, [1e100] * 40)
    assert not any(told.startswith("rollback") for told in line_)


def test_a_new_best_is_never_lost_to_a_restart():
    """A rolled-back excursion has seen 0.2; then, after a fruitless cut, the metric is flat but for a new best."""
    state, _, _ = until(RESTARTS, held(RESTARTS), "cut", flat(1.1))
    state = replace(state, attempt=replace(state.attempt, best=0.2))
    values = [1.0 + 0.2 * (i % 2) for i in range(LONGEST_TREND)] + [0.9]
    latest = tuple(values[-LONGEST_TREND:-1])
    state = replace(state, stretch=replace(state.stretch, latest=latest, held=LONGEST_TREND))
    state, decision = RESTARTS.step(state, 0.9)
    assert (decision.save, decision.best) == ("best", 0.9)


# --- 2. the climb ----------------------------------------------------------------------------------------------------


MIDDLING = Config(observations=40)
"""Short enough for a climb, and with room for a long one."""


def climbing(losses, config=MIDDLING, **fields):
    """What is made of these training losses after a search that ended with a loss of 10: state, lines, decisions."""
    state, decision = config.step(replace(config.start(0.1), **fields), 10.0, 10.0)
    while state.stage.name == "search":
        state, decision = config.step(state, 20.0, 20.0)
    assert (decision.kind, state.rate, state.stage.name) == ("settle", 0.1, "climb")
    return go_on(config, state, losses, losses)


def test_while_the_training_loss_falls_as_fast_as_before_the_rate_is_tripled_at_each_observation():
    state, lines, decisions = climbing([9.0, 8.2, 7.6, 7.1])
    assert lines == ["raise 0.3", "success 0.9", "success 2.7", "success 8.1"]
    assert [decision.restore for decision in decisions] == [None] * 4
    assert "fell by 1" in decisions[0].reason
    assert "fell as fast as before: from 9 to 8.2, after a fall by 1" in decisions[1].reason
    assert (state.in_excursion, state.way_back, state.status) == (True, "best", "in excursion")


def test_where_it_falls_by_less_the_rate_goes_back_and_the_weights_stay():
    state, lines, decisions = climbing([9.0, 8.31, 8.0])
    assert lines == ["raise 0.3", "rollback 0.1", "0.1"]
    assert (decisions[1].restore, decisions[1].save, state.stage.name) == (None, "best", "hold")
    assert "fell, but by less: from 9 to 8.31, after a fall by 1" in decisions[1].reason
    assert decisions[2].kind == "best", "no other raise follows"


@pytest.mark.parametrize(("loss", "kind"), [(9.0, "rollback"), (9.5, "rollback"), (NAN, "diverged")])
def test_where_it_does_not_fall_the_weights_go_back_too(loss, kind):
    state, lines, decisions = climbing([9.0, loss])
    assert lines == ["raise 0.3", f"{kind} 0.1"]
    assert (decisions[1].restore, state.stage.name, state.best) == ("best", "hold", 9.0)
    assert state.rate_too_high == (pytest.approx(0.3) if kind == "diverged" else None)


def test_a_climb_that_began_on_weights_that_are_not_the_best_has_a_snapshot_of_its_own():
    """The training loss falls, and the metric does not get better: it has nothing to say in a climb."""
    state, _ = MIDDLING.step(MIDDLING.start(0.1), 1.0, 10.0)
    while state.stage.name == "search":
        state, _ = MIDDLING.step(state, 1.0, 20.0)
    state, lines, decisions = go_on(MIDDLING, state, [2.0, 2.0, 2.0], [9.0, 8.0, 8.5])
    assert lines == ["raise 0.3", "success 0.9", "rollback 0.3"]
    assert [decision.save for decision in decisions] == ["raise", "raise", None]
    assert (decisions[2].restore, state.best, state.last) == ("raise", 1.0, 2.0)


@pytest.mark.parametrize(
    "config",
    [
        Config(observations=auto.SHORT + 1),
        Config(),
        Config(observations=40, anneals=False),
        Config(observations=40, by_steps=True),
        Config(observations=40, budget=0.0),
    ],
)
def test_no_other_training_climbs(config):
    state, _ = config.step(config.start(0.1), 10.0, 10.0)
    while state.stage.name == "search":
        state, _ = config.step(state, 20.0, 20.0)
    assert state.stage.name == "hold"
    assert go_on(config, state, [9.0, 8.3], [9.0, 8.3])[1] == ["0.1", "0.1"]


def test_no_climb_goes_above_max_lr_or_where_training_has_broken():
    assert climbing([9.0, 8.0, 7.0], replace(MIDDLING, max_lr=0.5))[1] == ["raise 0.3", "success 0.3", "0.3"]
    state, _ = MIDDLING.step(MIDDLING.start(0.1), 10.0, 10.0)
    state, _ = MIDDLING.step(state, NAN, NAN)
    while state.stage.name == "search":
        state, _ = MIDDLING.step(state, 20.0, 20.0)
    assert state.rate_too_high == 1.0
    assert go_on(MIDDLING, state, [9.0, 8.0, 7.0], [9.0, 8.0, 7.0])[1] == ["raise 0.3", "success 0.9", "success 0.9"]


def test_a_climb_leaves_an_observation_before_the_last_part():
    config = Config(observations=10)
    state, *_ = config.step(replace(config.start(0.1), loss_before=20.0), 10.0, 10.0)
    assert state.stage.name == "climb"
    losses = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    _, lines, _ = go_on(config, state, losses, losses)
    assert lines == ["raise 0.3", "success 0.9", "success 2.7", "success 8.1", "success 8.1", "anneal 6.75"]


@pytest.mark.parametrize("at", [0, 1])
def test_without_a_training_loss_there_is_no_climb(at):
    """Nor does one go on."""
    state, _ = MIDDLING.step(MIDDLING.start(0.1), 10.0, 10.0)
    while state.stage.name == "search":
        state, _ = MIDDLING.step(state, 20.0, 20.0)
    values = [9.0, 8.0]
    state, lines, _ = go_on(MIDDLING, state, values, [9.0 if at else None, None])
    assert (lines, state.stage.name) == ((["raise 0.3", "rollback 0.1"] if at else ["0.1", "0.1"]), "hold")


def test_a_climb_begins_an_observation_later_where_the_weights_of_the_search_were_not_kept():
    """All rates broke, and the tenth of the lowest one was not tried."""
    state, *_ = go_on(MIDDLING, MIDDLING.start(0.1), [NAN] * MOST_TRIALS, [NAN] * MOST_TRIALS)
    assert (state.stage.name, state.rate) == ("climb", pytest.approx(1e-11))
    lines = go_on(MIDDLING, state, [5.0, 4.0, 3.5], [5.0, 4.0, 3.5])[1]
    assert lines == ["1e-11", "raise 3e-11", "rollback 1e-11"]


def test_a_climb_waits_for_a_second_observation_where_the_first_loss_did_not_fall():
    """In epochs of a single batch it is that of the search once more."""
    assert climbing([10.0, 9.0, 8.0])[1] == ["0.1", "raise 0.3", "success 0.9"]
    assert climbing([10.0, 10.0, 9.0, 8.0])[1] == ["0.1"] * 4


@pytest.mark.parametrize(("factor", "is_unfit"), [(0.99, False), (1.01, True)])
def test_no_climb_goes_to_a_rate_that_is_unfit_in_validation(factor, is_unfit):
    state, *_ = climbing([9.0], loss_before=12.0)
    state, decision = MIDDLING.step(state, 8.0, 8.0, Evidence(val_loss=12.0 * factor * UNFIT))
    assert told(decision) == ("rollback 0.1" if is_unfit else "success 0.9")
    assert decision.restore == ("best" if is_unfit else None)
    assert ("a validation loss of 36.36 speaks against the raise" in decision.reason) == is_unfit


def test_training_that_ends_in_a_climb_takes_the_raise_back():
    state, *_ = climbing([9.0])
    after, decision = MIDDLING.finish(state)
    assert (decision.kind, decision.restore, after.rate, after.stage.name) == ("rollback", "best", 0.1, "hold")


def test_a_rate_set_by_others_ends_a_climb():
    for losses in ([], [9.0]):
        state, *_ = climbing(losses)
        state, decision = MIDDLING.override(state, 0.05)
        assert (decision.kind, state.stage.name) == ("override", "hold")
        assert go_on(MIDDLING, state, [8.0, 7.0], [8.0, 7.0])[1] == ["0.05", "0.05"]


def test_a_climb_is_stored_and_goes_on():
    state, *_ = climbing([9.0])
    stored_ = State.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False)))
    assert stored_ == state
    assert told(MIDDLING.step(stored_, 8.0, 8.0).decision) == "success 0.9"


# --- 6. annealing ----------------------------------------------------------------------------------------------------


def annealing(observations=40, until_left=0, config=None):
    """Improving up to the given number of observations before the end."""
    config = config or Config(observations=observations, budget=0.0)
    state = held(config)
    values = [1.0 - 0.01 * i for i in range(1, observations - until_left)]
    return config, *go_on(config, state, values)


@pytest.mark.parametrize("observations", [10, 40, 100])
def test_the_last_part_is_annealed_in_a_straight_line_to_zero(observations):
    config, state, _, decisions = annealing(observations)
    first = next(i for i, decision in enumerate(decisions) if decision.kind == "anneal")
    length = observations - decisions[first].observation
    assert length == observations - round(observations * (1 - auto.TAIL))
    assert f"the last {length} observations: in a straight line towards zero" in decisions[first].reason
    rates = [decision.rate for decision in decisions[first:-1]]
    # The middles of the pieces of a line from 0.1 to 0.
    assert rates == pytest.approx([0.1 * (length - 0.5 - i) / length for i in range(length)])
    assert [decision.kind for decision in decisions[first:-1]] == ["anneal"] * length
    assert decisions[-2].reason.startswith("1 observation left")
    # After the last observation nothing is left to anneal.
    assert (decisions[-1].kind, decisions[-1].rate) == ("best", rates[-1])
    assert [decision.save for decision in decisions[first:]] == ["best"] * (length + 1)
    assert config.finish(state).decision.kind == "hold"


def test_more_observations_than_were_promised_leave_the_rate_as_it_is():
    config, state, *_ = annealing(20)
    _, line_, _ = go_on(config, state, [0.5, 0.4, 0.6, 0.7] * 5)
    assert set(line_) == {told(config.step(state, 0.5).decision)}


@pytest.mark.parametrize("slope", [0.0, 0.02])
def test_where_the_optimizer_averages_the_weights_nothing_is_cut_but_by_a_divergence(slope):
    """Neither on a flat trend nor on a rising one: averages follow late, and need no lower rate."""

    def told_by(anneals):
        config = Config(observations=200, budget=0.0, anneals=anneals)
        state, _ = config.step(config.start(0.1), 1.0)
        state, line_, _ = go_on(config, state, [1.0 + slope * i for i in range(60)])
        return state, {each.split()[0] for each in line_ if " " in each}

    assert "cut" in told_by(True)[1]
    state, kinds = told_by(False)
    assert kinds == set()
    assert state.rate == 0.1
    decision = Config(observations=200, budget=0.0, anneals=False).step(state, NAN).decision
    assert (decision.kind, decision.rate) == ("diverged", pytest.approx(0.01))


def test_where_the_optimizer_averages_the_weights_the_search_does_not_count_on_raises():
    """A third of the best rate makes three quarters of the progress, which is enough where raises can follow."""

    def score_of(rate):
        return NAN if rate > 0.2 else 1.0 - (0.9 if rate > 0.09 else 0.7 if rate > 0.03 else 0.1)

    chosen = [searched(replace(LONG, anneals=each), 1e-3, score_of, 1.0, True)[2] for each in (True, False)]
    assert [told(each) for each in chosen] == ["settle 0.0316", "settle 0.1"]
    assert "makes nearly all of the best one's progress" in chosen[1].reason


def test_where_the_optimizer_averages_the_weights_the_rate_is_held_to_the_end_without_a_trial():
    def ended(anneals):
        config = Config(observations=40, budget=0.5, anneals=anneals)
        _, state, _ = searched(config, 0.1, best_at(0.1))
        _, _, decisions = go_on(config, state, [1.0 - 0.01 * i for i in range(40 - state.observations)])
        return [each for each in decisions if each.observation > round(40 * (1 - auto.TAIL))]

    assert "anneal" in [each.kind for each in ended(True)]
    assert {each.kind for each in ended(False)} <= {"best", "hold", "rollback", "success"}
    last = ended(False)[3:]
    assert len({each.rate for each in last}) == 1


def test_annealing_does_not_go_below_min_lr():
    _, _, _, decisions = annealing(config=Config(observations=40, budget=0.0, min_lr=0.04))
    rates = [decision.rate for decision in decisions]
    assert min(rates) == rates[-1] == 0.04


def test_annealing_goes_on_from_the_last_weights_even_where_their_metric_is_worse():
    """A metric may be behind the weights, as that of batch normalisation is. At the end the best ones are kept."""
    config = Config(observations=40, budget=0.0)
    state, _, decisions = go_on(config, held(config), [2.0] * 39)
    anneal = next(decision for decision in decisions if decision.kind == "anneal")
    assert anneal.restore is None
    assert config.finish(state).decision.restore == "best"


def test_annealing_that_begins_with_the_last_observation_does_nothing():
    """Two observations: the first is the search."""
    config = Config(observations=2)
    _, line_, _ = go_on(config, config.start(0.1), [1.0, 0.9])
    assert line_ == ["settle 0.1", "0.1"]


def test_a_length_that_changes_on_the_way_bends_the_line():
    config, state, *_ = annealing(40, until_left=5)
    before = state.rate
    state, decision = replace(config, observations=60).step(state, 0.5)
    assert decision.kind == "anneal"
    assert before < decision.rate < 0.1
    assert "left" in decision.reason
    state, decision = replace(config, observations=state.observations).step(state, 0.4)
    assert decision.rate == state.rate
    assert decision.kind == "best"


def test_an_open_excursion_is_judged_before_annealing():
    config = Config(observations=100, budget=1.0)
    due = round(100 * (1 - auto.TAIL))
    state, _, _ = go_on(config, settled(config, value=1.1), take(SHORTEST_TREND - 2, flat(1.1)))
    state, decision = config.step(replace(state, observations=due - 2), 1.1)
    assert (decision.kind, state.observations) == ("raise", due - 1)
    state, decision = config.step(state, 1.1)
    assert decision.kind == "rollback", "after one observation"
    state, decision = config.step(state, 1.1)
    assert decision.kind == "anneal"


# --- 7. divergence ---------------------------------------------------------------------------------------------------


def test_diverged_while_holding_goes_back_to_the_best_weights_with_a_tenth_of_the_rate():
    state = settled()
    state, decision = LONG.step(state, NAN)
    assert (told(decision), decision.restore) == ("diverged 0.01", "best")
    assert "the metric is nan" in decision.reason
    assert state.rate_too_high == 0.1
    _, line_, _ = go_on(LONG, state, [1.0 - 0.01 * i for i in range(60)])
    assert not [text for text in line_ if text.startswith("raise") and float(text.split()[1]) >= 0.1]


def test_diverged_in_the_search_is_a_broken_trial():
    state, decision = LONG.step(LONG.start(1.0), INF)
    assert (told(decision), decision.restore) == ("search 0.1", "start")
    assert "the metric is inf" in decision.reason
    assert dict(state.stage.trials) == {0: INF}


def test_diverged_in_an_excursion_has_only_failed():
    state, _ = in_excursion()
    state, decision = LONG.step(state, NAN)
    assert (told(decision), decision.restore) == ("diverged 0.1", "best")
    assert state.rate_too_high == pytest.approx(0.3)
    assert state.recoveries == 0
    assert not state.in_excursion


def test_diverged_while_annealing_anneals_on_from_a_tenth():
    config, state, *_ = annealing(40, until_left=6)
    before = state.rate
    assert state.stage.name == "anneal"
    state, decision = config.step(state, NAN)
    assert (decision.kind, decision.restore, decision.rate) == ("diverged", "best", pytest.approx(before / 10))
    state, decision = config.step(state, 0.9)
    assert decision.kind == "anneal"
    assert decision.rate < before / 10


def test_diverged_before_anything_finite_goes_back_to_the_start():
    _, state, _ = searched(LONG, 1.0, lambda rate: NAN)
    state, decision = LONG.step(state, NAN)
    assert (decision.kind, decision.restore) == ("diverged", "start")


def test_best_weights_that_turn_out_to_be_ruined_are_given_up_for_the_first_ones():
    """A metric of the training data is a mean over an epoch, at whose end the weights exploded."""
    state = replace(Config(budget=0.0).start(0.1), loss_before=1.0)
    config = Config(observations=100, budget=0.0)
    seen = Evidence(is_finite=True)
    state, kept = config.step(state, 0.9, 0.9, seen)
    assert kept.save == "best"
    decisions = []
    for loss in (1e9, 1e9, 1e3):
        state, decision = config.step(state, loss, loss, replace(seen, first_loss=loss))
        decisions.append((decision.kind, decision.restore))
    assert decisions == [("hold", None), ("diverged", "best"), ("diverged", "start")]
    assert state.kept is None
    assert "the best weights, gone back to before, have a loss of 1000" in decision.reason
    assert "start" in config.needed_snapshots(state)
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize("look", [0.9, 5.0, None])
def test_best_weights_of_which_nothing_bad_is_known_are_kept_however_often_training_diverges(look):
    config = Config(observations=100, budget=0.0)
    state = replace(config.start(0.1), loss_before=1.0)
    state, _ = config.step(state, 0.9, 0.9)
    for _ in range(3):
        state, decision = config.step(state, NAN, NAN, Evidence(first_loss=look, is_finite=False))
        assert (decision.kind, decision.restore) == ("diverged", "best")


def test_a_training_loss_far_worse_than_before_training_diverges_when_it_stays_so():
    state = replace(settled(), loss_before=1.0)
    _, decision = LONG.step(state, 0.9, 1e3)
    assert decision.kind == "hold", "a better metric than ever excuses it, but such weights are not kept"
    state, decision = LONG.step(state, 1.1, 1e3)
    assert decision.kind == "hold"
    assert LONG.finish(state).decision.restore == "best", "no later look will clear these weights"
    _, decision = LONG.step(state, 1.1, 1e3)
    assert decision.kind == "diverged"
    assert "far worse than before training" in decision.reason


def test_weights_that_are_not_finite_are_never_kept_however_good_the_metric():
    config = Config(mode="max", observations=1000, budget=0.0)
    state, _ = config.step(config.start(0.1), 0.5)
    state, decision = config.step(state, 0.99, 0.1, Evidence(is_finite=False))
    assert (decision.kind, decision.restore, state.best) == ("diverged", "best", 0.5)


def test_weights_that_have_hardly_grown_since_the_best_have_not_diverged():
    state = replace(settled(), loss_before=1.0)
    _, decision = LONG.step(state, NAN)
    assert decision.compared_with == "best"
    small, large = (Evidence(growth=growth, grown_since="best") for growth in (1.1, 11.0))
    assert LONG.step(state, NAN, 1.0, large).decision.kind == "diverged"
    assert LONG.step(state, NAN, 1.0, small).decision.kind == "hold"
    state, _ = LONG.step(state, 1.1, 1e3)
    assert LONG.step(state, 1.1, 1e3, large).decision.kind == "diverged"
    after, decision = LONG.step(state, 1.1, 1e3, small)
    assert (decision.kind, after.loss_before) == ("hold", 1e3)


def test_a_rate_at_which_steps_are_skipped_counts_as_broken_in_the_search():
    state, decision = LONG.step(replace(LONG.start(1e3), loss_before=1.0), 1.0, 1.0, Evidence(skipped=1.0))
    assert dict(state.stage.trials) == {0: INF}
    assert told(decision) == "search 100"
    assert "100% of the optimizer steps were skipped" in decision.reason


def test_a_training_whose_loss_turns_negative_is_not_suspect_for_a_rise_before():
    state = LONG.step(replace(settled(), loss_before=1.0), 0.99, 1.3).state
    assert state.is_suspect
    for i in range(10):
        state = LONG.step(state, 0.98 - 0.01 * i, -0.1).state
        assert (state.is_suspect, state.loss_before) == (False, None)


def test_a_suspect_training_is_not_raised():
    def kinds(evidence):
        state, found = held(), set()
        for value in take(4 * LONGEST_TREND, line(1.0, -0.01)):
            state, decision = LONG.step(state, value, None, evidence)
            found.add(decision.kind)
        return found

    assert "raise" in kinds(None)
    assert "raise" not in kinds(Evidence(skipped=0.9))


def test_recoveries_in_a_row_are_bounded_and_still_end_with_sound_weights():
    state, line_, decisions = go_on(NO_RAISE, held(), [NAN] * (soundness.MAX_RECOVERIES + 3))
    kinds = [decision.kind for decision in decisions]
    assert kinds == ["diverged"] * soundness.MAX_RECOVERIES + ["exhausted"] + ["diverged"] * 2
    assert {decision.restore for decision in decisions} == {"best"}
    assert state.exhausted
    assert len(set(line_[-3:])) <= 2
    assert "look at the data and the model" in decisions[-1].reason
    state, _ = NO_RAISE.step(state, 0.5)
    assert not state.exhausted


# --- 8. the end ------------------------------------------------------------------------------------------------------


def twice(config, state):
    """The decision of `finish`, which calling it again does not change."""
    after, decision = config.finish(state)
    assert config.finish(after).decision.kind == "hold"
    return after, decision


def test_finish_in_the_search_goes_back_to_the_best_trial_and_its_rate():
    state, _, _ = go_on(LONG, replace(LONG.start(0.01), loss_before=1.0), [0.9, 0.5, 0.8], [0.9, 0.5, 0.8])
    assert state.stage.name == "search"
    after, decision = twice(LONG, state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "best", pytest.approx(0.1))
    assert after.stage.name == "hold"


def test_finish_in_a_search_where_all_broke_goes_back_to_the_first_weights():
    state, _, _ = go_on(LONG, LONG.start(0.01), [NAN, NAN])
    _, decision = twice(LONG, state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "start", 0.01)


def test_finish_before_the_first_observation_does_nothing():
    state = LONG.start(0.01)
    assert twice(LONG, state) == (state, LONG.finish(state).decision)
    assert LONG.finish(state).decision.kind == "hold"


def test_finish_in_an_excursion_takes_it_back():
    state, _ = in_excursion()
    _, decision = twice(LONG, state)
    assert (told(decision), decision.restore) == ("rollback 0.1", "best")
    assert "before the raise got ahead" in decision.reason


@pytest.mark.parametrize(("level", "restore"), [(1.0, "raise"), (5.0, "best")])
def test_finish_in_an_excursion_from_weights_far_worse_than_the_best_goes_back_to_the_best(level, restore):
    state, decision, _ = until(LONG, settled(), "raise", itertools.cycle([level + 0.01, level + 0.2]))
    assert decision.save == "raise"
    _, decision = twice(LONG, state)
    assert (decision.kind, decision.restore) == ("rollback", restore)


def test_finish_while_holding_goes_back_only_if_the_last_ones_are_worse():
    state = settled()
    good, _, _ = go_on(LONG, state, [1.01, 0.995, 1.0])
    assert twice(LONG, good)[1].kind == "hold"
    bad, _, _ = go_on(LONG, state, [1.5, 1.5, 1.5])
    _, decision = twice(LONG, bad)
    assert (decision.kind, decision.restore) == ("rollback", "best")
    assert decision.reason == "the last weights, at 1.5, are worse than the best, at 1"


def test_at_the_end_a_hundredth_of_the_best_is_forgiven():
    """However much the metric has swung before: the best weights are at hand."""
    for last, kind in ((1.01, "hold"), (1.011, "rollback")):
        state, _, _ = go_on(LONG, settled(), [5.0, 1.1, 5.0, last])
        assert twice(LONG, state)[1].kind == kind


def test_at_the_end_of_a_training_by_steps_what_may_be_noise_is_forgiven():
    """What the last weights are worth is read off a line through the last six observations."""
    config = replace(LONG, by_steps=True)

    def ended(*latest):
        state = settled(config)
        stretch = replace(state.stretch, latest=latest, held=len(latest))
        return twice(config, replace(state, stretch=stretch, last=latest[-1]))[1]

    assert ended(1.2, 1.0, 1.1, 1.0, 1.2, 1.1).kind == "hold"
    decision = ended(2.2, 2.0, 2.1, 2.0, 2.2, 2.1)
    assert (decision.kind, decision.restore) == ("rollback", "best")
    assert decision.reason == "the last weights, at 2.1, are worse than the best, at 1"
    assert ended(1.5, 1.4).kind == "rollback", "two are no line"


def test_finish_in_an_attempt_that_never_beat_the_one_before_goes_back_to_that():
    state, _ = restarted()
    state, _, _ = go_on(RESTARTS, state, [2.0, 2.1, 2.0])
    assert state.attempt.is_behind
    assert twice(RESTARTS, state)[1].restore == "best"


def test_finish_while_annealing_goes_back_only_if_the_last_ones_are_worse():
    config, state, *_ = annealing(40, until_left=6)
    assert state.stage.name == "anneal"
    assert twice(config, state)[1].kind == "hold"
    state, _, _ = go_on(config, state, [5.0] * 6)
    assert twice(config, state)[1].restore == "best"


# --- what a decision says about its plateau, and what the rule asks --------------------------------------------------


def plateaus(decisions):
    """What was done at each plateau, and its first and its last observation."""
    return [(d.kind, d.since, d.observation) for d in decisions if d.since is not None]


def test_a_plateau_is_what_the_trend_was_found_flat_on():
    _, _, decisions = go_on(NO_RAISE, held(), [1.1] * 20)
    # The first one begins with the observation of the search.
    assert plateaus(decisions) == [("cut", 1, 6), ("cut", 7, 12), ("cut", 13, 18)]


def test_a_plateau_after_long_progress_is_no_longer_than_a_trend():
    values = [1.0 - 0.01 * i for i in range(1, 20)]
    _, _, decisions = go_on(NO_RAISE, held(), [*values, *[values[-1] + 0.01] * 2 * LONGEST_TREND])
    first = decisions[: decisions.index(next(d for d in decisions if d.kind == "cut")) + 1]
    ((kind, since, last),) = plateaus(first)
    assert kind == "cut"
    assert last > LONGEST_TREND
    assert last - since + 1 == LONGEST_TREND


def test_a_raise_on_a_flat_trend_tells_its_plateau_and_one_on_a_good_trend_has_none():
    _, flat_raise, count = until(ENDLESS, settled(ENDLESS), "raise", flat(1.1))
    assert flat_raise.observation - flat_raise.since + 1 == SHORTEST_TREND == count + 1
    _, good_raise = in_excursion()
    assert good_raise.since is None


def test_a_restart_tells_its_plateau_and_so_does_giving_it_up():
    state, decision = restarted()
    assert decision.observation - decision.since + 1 == SHORTEST_TREND
    _, _, decisions = go_on(RESTARTS, state, [1.5] * 12)
    first = decision.observation + 1
    assert plateaus(decisions) == [("cut", first, first + 5), ("rollback", first + 6, first + 11)]


def test_a_rising_trend_is_a_plateau_too():
    _, decision, _ = until(NO_RAISE, held(), "cut", line(1.1, 0.1))
    assert (decision.since, decision.observation) == (1, 6)


def test_searching_judging_a_raise_annealing_and_diverging_tell_of_no_plateau():
    _, _, settle = searched(LONG, 0.1, best_at(0.1))
    state, _ = in_excursion()
    _, failed, _ = until(LONG, state, "rollback", flat(5.0))
    _, good, _ = until(LONG, state, "success", line(0.5, -0.1))
    _, _, _, annealed = annealing(40)
    ended = [LONG.override(state, 0.2), LONG.finish(state), LONG.step(state, NAN), LONG.step(settled(), NAN)]
    decisions = [LONG.step(LONG.start(0.1), 1.0).decision, settle, failed, good, *(step.decision for step in ended)]
    decisions += [decision for decision in annealed if decision.is_action]
    kinds = {decision.kind for decision in decisions}
    assert kinds == {"search", "settle", "override", "rollback", "success", "diverged", "anneal"}
    assert {decision.since for decision in decisions} == {None}


def test_a_plateau_at_the_lowest_rate_is_a_plain_hold():
    config = replace(NO_RAISE, min_lr=0.1)
    _, _, decisions = go_on(config, held(config), [1.1] * 20)
    assert {decision.kind for decision in decisions} == {"hold"}
    assert plateaus(decisions) == []


def test_the_status_is_what_the_phase_is():
    state = LONG.start(0.1)
    assert state.status == "searching"
    state, decision = LONG.step(state, 1.0)
    assert (decision.kind, state.status) == ("search", "searching")
    assert settled().status == "holding"
    state, _ = in_excursion()
    assert state.status == "in excursion"
    assert LONG.finish(state).state.status == "holding"
    assert LONG.override(state, 0.2).state.status == "holding"
    state, _ = restarted()
    assert state.status == "in restart"
    assert RESTARTS.step(state, 1.5).state.status == "in restart"
    assert RESTARTS.step(state, 0.9).state.status == "holding", "beaten"
    _, state, *_ = annealing(40, until_left=6)
    assert state.status == "annealing"
    state, *_ = go_on(NO_RAISE, held(), [NAN] * (soundness.MAX_RECOVERIES + 1))
    assert state.status == "exhausted"
    assert NO_RAISE.step(state, 0.5).state.status == "holding"
    assert NO_RAISE.override(state, 0.5).state.status == "holding"


def exhausted(config):
    state, *_ = go_on(config, held(config), [NAN] * (soundness.MAX_RECOVERIES + 1))
    assert state.status == "exhausted"
    return state


def test_annealing_after_exhaustion_is_annealing():
    config = Config(observations=40, budget=0.0)
    state, _, _ = until(config, exhausted(config), "anneal", flat(1.1))
    assert state.status == "annealing"


def test_a_restart_after_exhaustion_is_a_restart():
    state, _, _ = until(RESTARTS, exhausted(RESTARTS), "restart", flat(1.1))
    assert state.status == "in restart"


# --- others' changes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["search", "hold", "excursion", "anneal"])
def test_a_rate_set_by_others_is_gone_on_from_in_every_phase(phase):
    config = LONG
    if phase == "search":
        state, _ = config.step(config.start(0.1), 1.0)
    elif phase == "hold":
        state = settled()
    elif phase == "excursion":
        state, _ = in_excursion()
    else:
        config, state, *_ = annealing(40, until_left=6)
    assert state.stage.name == phase
    needed = config.needed_snapshots(state)
    before = state.rate
    after, decision = config.override(state, 0.02)
    assert (decision.kind, decision.rate_before, decision.rate) == ("override", before, 0.02)
    assert "found at 0.02" in decision.reason
    assert after.stage.name == ("anneal" if phase == "anneal" else "hold")
    assert config.needed_snapshots(after) <= needed
    after, decision = config.step(after, 0.99)
    assert decision.rate <= 0.02
    if phase == "anneal":
        assert 0 < decision.rate < 0.02, "the line goes on from there"
    else:
        assert decision.rate == 0.02


def test_a_rate_set_while_annealing_begins_another_line():
    config, state, *_ = annealing(40, until_left=6)
    state, _ = config.override(state, 0.5)
    _, _, decisions = go_on(config, state, [0.5 - i / 100 for i in range(6)])
    rates = [decision.rate for decision in decisions]
    assert rates[:-1] == pytest.approx([0.5 * (6 - 1.5 - i) / 6 for i in range(5)])
    assert rates[-1] == rates[-2]


def test_a_rate_set_in_the_search_is_the_first_one_of_the_attempt():
    state, _ = LONG.step(LONG.start(1e-6), NAN)
    assert state.stage.name == "search"
    state, _ = LONG.override(state, 0.1)
    assert state.attempt.rate == 0.1


def test_an_override_ends_exhaustion():
    state, *_ = go_on(NO_RAISE, held(), [NAN] * (soundness.MAX_RECOVERIES + 1))
    assert state.exhausted
    assert not NO_RAISE.override(state, 0.1).state.exhausted


@pytest.mark.parametrize(
    ("rate", "error"), [(-1.0, ValueError), (NAN, ValueError), (INF, ValueError), ("1", TypeError), (None, TypeError)]
)
def test_a_wrong_rate_is_refused_and_changes_nothing(rate, error):
    with pytest.raises(error, match="rate"):
        LONG.start(rate)
    state = settled()
    copy = dataclasses.replace(state)
    with pytest.raises(error, match="rate must be"):
        LONG.override(state, rate)
    assert state == copy


def test_a_start_at_zero_or_above_max_lr_is_refused():
    with pytest.raises(ValueError, match=r"above 0.*Received: 0"):
        LONG.start(0)
    with pytest.raises(ValueError, match=r"min_lr=0.1 and a learning rate of 0.01"):
        Config(min_lr=0.1).start(0.01)
    with pytest.raises(ValueError, match=r"max_lr=0.1 and a learning rate of 0.5"):
        Config(max_lr=0.1).start(0.5)


# --- the budget ------------------------------------------------------------------------------------------------------


def test_a_budget_of_zero_tries_nothing():
    for seed in range(20):
        training = Training(Config(observations=60, budget=0.0), 0.1, noise=0.1, seed=seed).train(60)
        assert training.decisions[0].kind == "settle"
        assert training.decisions[0].rate == 0.1
        assert "no other was tried" in training.decisions[0].reason
        assert not {"search", "raise", "success"} & set(training.kinds())


values = st.one_of(
    st.integers(-8, 8).map(float),
    st.floats(-1e3, 1e3),
    st.sampled_from([NAN, INF, -INF, 1e308, -1e308, 5e-324, 0.0, -0.0]),
)
"""Whatever a metric can be."""


@st.composite
def streams(draw):
    """Values and losses: anything at all, or a curve with now and then something in between."""
    if draw(st.booleans()):
        return draw(st.lists(st.tuples(values, st.none() | values), max_size=120))
    rng = random.Random(draw(st.integers(0, 10**6)))
    size, slope = draw(st.integers(1, 160)), draw(st.sampled_from([-0.05, -0.01, 0.0, 0.03]))
    noise, strange = draw(st.sampled_from([0.0, 0.01, 0.1])), draw(st.sampled_from([0.0, 0.02, 0.1]))
    with_loss = draw(st.booleans())
    stream, level = [], 3.0
    for _ in range(size):
        level += slope * rng.uniform(-0.5, 1.5)
        value = rng.choice([NAN, INF, 1e308, 2 * level]) if rng.random() < strange else level + rng.gauss(0, noise)
        loss = rng.choice([NAN, 1e308]) if rng.random() < strange else level + rng.gauss(0, noise)
        stream.append((value, loss if with_loss else None))
    return stream


@st.composite
def configs(draw):
    return Config(
        mode=draw(st.sampled_from(["min", "max"])),
        min_lr=draw(st.sampled_from([0.0, 0.01, 0.1])),
        max_lr=draw(st.none() | st.sampled_from([0.1, 0.3, 3.0])),
        budget=draw(st.sampled_from([0.0, 0.1, 0.25, 1.0])),
        observations=draw(st.none() | st.integers(1, 10) | st.integers(10, 300)),
    )


losses_before = st.sampled_from([None, 1.0, 3.0, 1e308])


def begin(config, loss_before=None, rate=0.1):
    return replace(config.start(rate), loss_before=loss_before)


@settings(max_examples=150)
@given(configs(), losses_before, streams())
def test_what_is_rolled_back_stays_within_the_budget(config, loss_before, stream):
    """Counted from the decisions alone. The first observation is free: it was no choice of the search's. So is the one
    with which a climb ends.
    """
    length = config.observations or max(auto.NOMINAL_LENGTH, len(stream))
    state, rolled_back, at_trial = begin(config, loss_before), 0, 0
    for value, loss in stream[: config.observations]:
        phase = state.stage.name
        state, decision = config.step(state, value, loss)
        at_trial = at_trial + 1 if phase in ("search", "excursion") else 0
        if phase == "search" and state.stage.name != "search":
            rolled_back += at_trial - 1  # All but the one that was chosen, or, if none was, but the first.
            at_trial = 0
        elif phase == "excursion" and decision.kind in ("rollback", "diverged"):
            rolled_back += at_trial * (decision.restore is not None)
            at_trial = 0
        elif decision.kind == "success":
            at_trial = 0
    if config.finish(state).decision.kind == "rollback":
        rolled_back += max(at_trial - (state.stage.name == "search"), 0)
    assert rolled_back <= config.budget * length + (config.budget > 0 and length <= auto.SHORT)
    assert rolled_back <= state.spent + auto.RAISE_LENGTH


# --- whatever comes --------------------------------------------------------------------------------------------------


def trace(config, state, stream):
    decisions = []
    for value, loss in stream:
        state, decision = config.step(state, value, loss)
        decisions.append(decision)
    return state, decisions


@settings(max_examples=150)
@given(configs(), losses_before, streams())
def test_min_on_x_equals_max_on_minus_x_but_for_the_bounds_of_a_metric(config, loss_before, stream):
    other = replace(config, mode="max" if config.mode == "min" else "min")
    with mock.patch("keras_lrplateau.rule.auto.is_perfect", return_value=False):
        ours, first = trace(config, begin(config, loss_before), stream)
        theirs, second = trace(other, begin(other, loss_before), [(-value, loss) for value, loss in stream])
    first.append(config.finish(ours).decision)
    second.append(other.finish(theirs).decision)
    assert [(d.kind, d.rate, d.save, d.restore) for d in first] == [(d.kind, d.rate, d.save, d.restore) for d in second]


AFTER = {
    "search": "searching",
    "settle": "holding",
    "raise": "in excursion",
    "restart": "in restart",
    "anneal": "annealing",
    "exhausted": "exhausted",
}
"""What the rule is about right after such a decision."""

ON_A_PLATEAU = {"cut", "restart"}
NEVER_ON_ONE = {"hold", "best", "success", "diverged", "override", "search", "settle", "anneal", "exhausted"}


@settings(max_examples=150)
@given(configs(), losses_before, streams())
def test_whatever_comes_the_status_and_the_plateau_are_those_of_the_decision(config, loss_before, stream):
    state, changed = begin(config, loss_before), 0
    for value, loss in stream:
        before = state.status
        state, decision = config.step(state, value, loss)
        if decision.kind == "exhausted" and state.stage.name == "anneal":
            assert state.status == "annealing", "which goes on all the same"
        else:
            assert state.status == AFTER.get(decision.kind, state.status)
        assert state.in_excursion == (state.status == "in excursion")
        if not decision.is_action and state.status != before:
            # An attempt that beats the one before, and sound weights after many divergences.
            assert (decision.kind, state.status) == ("best", "holding")
        assert decision.since is not None or decision.kind not in ON_A_PLATEAU
        assert decision.since is None or decision.kind not in NEVER_ON_ONE
        if decision.since is not None:
            length = decision.observation - decision.since + 1
            assert SHORTEST_TREND <= length <= LONGEST_TREND
            assert decision.since >= changed, "all of it at one rate"
        if decision.kind == "settle" or (decision.is_action and decision.rate != decision.rate_before):
            # The search hands its best observation on to the trend.
            changed = decision.observation + (decision.kind != "settle")


lengths = st.sampled_from(["as configured", "unknown", "shrinking", "changing"])


@settings(max_examples=200)
@given(configs(), losses_before, streams(), lengths, st.sampled_from([0.1, 0.05, 1e-4]), st.integers(0, 10**6))
def test_whatever_comes_only_what_was_saved_is_restored_and_the_bounds_hold(
    config, loss_before, stream, length, rate, seed
):
    rng = random.Random(seed)
    assume(rate >= config.min_lr)
    state, stored = begin(config, loss_before, rate), {"start"}
    lowest = min(config.min_lr, rate)
    highest = max(config.max_lr or INF, rate)

    def carry_out(stepped):
        """In the order of AdaptLROnPlateau._carry_out."""
        nonlocal stored
        after, decision = stepped
        needed = config.needed_snapshots(after)
        if decision.save is not None:
            stored &= (needed | {decision.restore}) - {decision.save}
            assert len(stored) <= 2, "with the one being taken three"
            stored.add(decision.save)
        assert decision.restore is None or decision.restore in stored
        stored &= needed
        assert needed <= stored
        assert len(stored) <= 3
        assert bool(decision.reason) == decision.is_action
        assert decision.rate == after.rate
        assert math.isfinite(after.rate)
        assert lowest <= after.rate <= highest
        assert after.best is None or math.isfinite(after.best)
        if decision.kind in ("cut", "raise"):
            assert decision.restore or decision.rate != decision.rate_before
        if decision.kind in ("cut", "exhausted"):
            assert decision.rate <= decision.rate_before
        if decision.kind == "raise":
            assert decision.rate > decision.rate_before
            assert after.rate_too_high is None or decision.rate < after.rate_too_high
        return after

    for i, (value, loss) in enumerate(stream):
        if length == "unknown":
            config = replace(config, observations=None)
        elif length == "shrinking":
            config = replace(config, observations=max(200 - 2 * i, 1))
        elif length == "changing":
            config = replace(config, observations=rng.choice([1, i + 1, i + 5, 2 * i + 3, 1000]))
        if rng.random() < 0.02:
            state = carry_out(config.override(state, rng.choice([rate, max(lowest, min(0.2, highest))])))
        before, copy = state, dataclasses.replace(state)
        state = carry_out(config.step(state, value, loss))
        assert before == copy
        assert state.observations == before.observations + 1
    state = carry_out(config.finish(state))
    assert not state.in_excursion
    assert config.finish(state).decision.kind == "hold"


@settings(max_examples=100)
@given(configs(), losses_before, streams())
def test_a_run_continued_from_json_at_any_step_equals_the_whole_run(config, loss_before, stream):
    state = saved = begin(config, loss_before)
    for value, loss in stream:
        saved = State.from_dict(json.loads(json.dumps(saved.to_dict(), allow_nan=False)))
        assert saved == state
        state, decision = config.step(state, value, loss)
        saved, again = config.step(saved, value, loss)
        assert repr(again) == repr(decision)  # repr, since nan != nan
    assert repr(config.finish(saved)) == repr(config.finish(state))


@pytest.mark.parametrize("change", [{"version": 1}, {"version": None}, {"version": True}, {"speed": 1}])
def test_a_state_of_another_version_or_with_another_field_is_refused(change):
    with pytest.raises(ValueError, match="state"):
        State.from_dict(LONG.start(1.0).to_dict() | change)


def stored(name):
    """A state of each phase, as it is stored."""
    state = LONG.start(0.1)
    if name != "search":
        state = settled()
        if name == "climb":
            state = settled(SHORT)
        elif name == "hold":
            state, *_ = go_on(LONG, state, [0.9, 0.8, 0.7])
            assert len(state.stretch.latest) == 4
        elif name == "excursion":
            state, *_ = until(LONG, state, "raise", line(1.0, -0.1))
        else:
            state, *_ = until(replace(LONG, observations=20), state, "anneal", line(1.0, -0.1))
    assert state.stage.name == name
    return json.loads(json.dumps(state.to_dict(), allow_nan=False))


@pytest.mark.parametrize("name", ["search", "climb", "hold", "excursion", "anneal"])
def test_a_stored_state_of_each_phase_is_taken(name):
    data = stored(name)
    assert json.loads(json.dumps(State.from_dict(data).to_dict())) == data


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("hold", "rate", "fast"),
        ("hold", "rate", NAN),
        ("hold", "rate", -0.1),
        ("hold", "rate", 10**400),
        ("hold", "stage", "hold"),
        ("hold", "stage.name", "rest"),
        ("hold", "stage.name", []),
        ("hold", "stage.name", "anneal"),
        ("hold", "stretch", []),
        ("hold", "stretch.held", 1.5),
        ("hold", "stretch.held", True),
        ("hold", "stretch.latest", {}),
        ("hold", "stretch.latest", "123"),
        ("hold", "stretch.latest", [1.0, None]),
        ("hold", "stretch.latest", [1.0, True]),
        ("hold", "stretch.latest", [1e101]),
        ("hold", "stretch.latest", [10**400]),
        ("hold", "stretch.latest", [1.0] * (LONGEST_TREND + 1)),
        ("hold", "stretch.latest", []),
        ("hold", "stretch.mark", None),
        ("hold", "attempt.is_behind", 1),
        ("hold", "attempt.fruitless", 10**400),
        ("hold", "attempt.best_at", 10**6),
        ("hold", "kept.value", INF),
        ("hold", "kept.rate", None),
        ("hold", "last", -INF),
        ("hold", "last", "1.0"),
        ("hold", "observations", 1),
        ("search", "attempt.is_behind", True),
        ("search", "stage.start_rate", 0.0),
        ("search", "stage.trials", [[0, 1.0, 2]]),
        ("search", "stage.trials", [0, 1]),
        ("search", "stage.trials", {}),
        ("search", "stage.trials", [[0.5, 1.0]]),
        ("search", "stage.trials", [[10**6, 1.0]]),
        ("search", "stage.trials", [[-1, NAN]]),
        ("search", "stage.trials", [[2, 1.0], [-1, 1.0]]),
        ("search", "stage.trials", [[-1, 1.0], [-1, 2.0]]),
        ("search", "stage.trials", [[0, 1.0]]),
        ("search", "stage.at", "0"),
        ("search", "stage.at", 1),
        ("search", "stage.saved", 0),
        ("search", "stage.saved", 7),
        ("search", "stage.steps", 0),
        ("search", "stage.steps", "40"),
        ("excursion", "stage.way_back", "start"),
        ("climb", "stage.loss", "1.0"),
        ("climb", "stage.loss", 1e101),
        ("excursion", "stage.before", [0.1, 0.1]),
        ("excursion", "stage.before", [1.0, 0.0, 1.0]),
        ("excursion", "stage.before", [1.0, None, 1.0]),
        ("excursion", "stage.before", [0.1, 0.1, 1.0, -0.1, 6]),
        ("excursion", "stage.before", [1e300, 0.1, 1.0, 0.1, 6]),
        ("excursion", "stage.before", [0.1, 0.1, 1.0, 0.1, 1e9]),
        ("excursion", "stage.before", None),
        ("excursion", "stage.rate_before", None),
        ("excursion", "stage.name", "hold"),
        ("anneal", "stage.rate", None),
        ("anneal", "stage.start", 10**6),
    ],
)
def test_a_damaged_state_is_refused(name, field, value):
    data = stored(name)
    *outer, inner = field.split(".")
    changed = data
    for part in outer:
        changed = changed[part]
    assert inner in changed
    changed[inner] = value
    with pytest.raises(ValueError, match=r"state|must be"):
        State.from_dict(data)


@pytest.mark.parametrize("count", ["restarts", "recoveries"])
def test_a_search_before_which_there_was_something_else_is_refused(count):
    """If it goes by steps, its end sets the observations back to 0, of which these would be more."""
    state, _ = LONG.step(LONG.searching_by(replace(LONG.start(0.1), loss_before=1.0), 40), 0.9, 0.9)
    assert state.stage.name == "search"
    assert State.from_dict(state.to_dict()) == state
    with pytest.raises(ValueError, match=f"{count}=1.*in a search"):
        State.from_dict({**state.to_dict(), count: 1})


def test_a_state_with_more_restarts_than_there_are_makes_no_more():
    state = replace(held(), restarts=auto.MOST_RESTARTS + 1)
    state = replace(state, attempt=replace(state.attempt, fruitless=1))
    _, line, _ = go_on(replace(NO_RAISE, observations=1000), state, [1.0] * 30)
    assert not [text for text in line if text.startswith("restart")]


def test_a_state_that_lacks_a_field_is_refused_by_name():
    data = LONG.start(1.0).to_dict()
    del data["stretch"]["held"]
    with pytest.raises(ValueError, match="held"):
        State.from_dict(data)


def test_a_state_cannot_be_changed():
    state = LONG.start(1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.rate = 2.0


@pytest.mark.parametrize("observations", [None, 100, 20_000])
def test_ten_thousand_observations_leave_a_state_of_bounded_size(observations):
    config = Config(observations=observations)
    rng, state, level, sizes = random.Random(0), config.start(0.1), 1.0, []
    began = time.process_time()
    for i in range(10_000):
        level *= 0.9999
        state, _ = config.step(state, NAN if i % 997 == 0 else level + rng.gauss(0, 0.01))
        assert len(state.stretch.latest) <= LONGEST_TREND
        assert len(getattr(state.stage, "trials", ())) <= MOST_TRIALS
        if i in (100, 9_999):
            sizes.append(len(json.dumps(state.to_dict())))
    assert sizes[1] < sizes[0] + 300  # the latest observations, and longer numbers
    assert time.process_time() - began < 20  # a guard against quadratic growth, not a benchmark


# --- phases ----------------------------------------------------------------------------------------------------------


def test_every_transition_of_the_table_is_taken_and_no_other():
    """A decision along any other is an error at once, and so the streams cannot take one."""
    taken = set()
    for seed in range(900):
        rng = random.Random(seed)
        is_short = seed % 3 > 0
        evidence = Evidence(is_finite=True) if seed % 3 == 2 else None
        observations = rng.choice([10, 30] if is_short else [None, 40, 80])
        config = Config(observations=observations, budget=rng.choice([0.0, 0.5, 1.0]))
        state, level, quiet = begin(config, 1.0 if is_short else None), 1.0, rng.random() < 0.5
        pays = rng.random() < 0.3  # Whether a raise does.
        for i in range(rng.choice([3, 80])):
            level *= 1.0 if quiet and i < 40 else rng.choice([0.97, 0.97, 1.0, 1.05])
            level *= 0.9 if pays and state.in_excursion else 1.0
            value = NAN if rng.random() < rng.choice([0.0, 0.0, 0.1, 0.9]) else level + 0.01 * rng.gauss(0, 1)
            loss = (level if evidence else value) * rng.choice([1.0, 1.0, 1.0, 1e3]) if is_short else None
            if pays and rng.random() < 0.95:
                value, loss = level, level if is_short else None
            before = state.stage.name
            step = config.override(state, 0.05) if rng.random() < 0.02 else config.step(state, value, loss, evidence)
            state = step.state
            taken.add((before, step.decision.kind, state.stage.name))
        before = state.stage.name
        state, decision = config.finish(state)
        taken.add((before, decision.kind, state.stage.name))
    state, *_ = go_on(SHORT, begin(SHORT, 1.0), [NAN] * 3, [NAN] * 3)
    state = SHORT.step(state, 1.0, 1e4, Evidence(is_finite=True)).state
    taken.add((state.stage.name, SHORT.finish(state).decision.kind, SHORT.finish(state).state.stage.name))
    table = {(at, kind, to) for at, kinds in TRANSITIONS.items() for kind, tos in kinds.items() for to in tos}
    assert table - taken == set()
    assert taken - table <= {("search", "hold", "search")}, "a training of no observation that ends"


# --- short trainings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e-4, 0.1, 1e4])
def test_a_training_of_one_observation_keeps_the_rate_and_what_was_trained(rate):
    config = Config(observations=1)
    training = Training(config, rate).train(1)
    before = training.weights
    training.finish()
    assert training.kinds() == ["settle"]
    if rate < 2:
        assert training.decisions[0].rate == rate
        assert training.weights == before != (1.0, 1.0, 1.0)
    else:
        assert training.weights == (1.0, 1.0, 1.0), "it broke, and what is left is the untrained weights"


@pytest.mark.parametrize("rate", [1e-4, 0.1, 1.0, 1e4])
@pytest.mark.parametrize("observations", [2, 3, 5, 10])
def test_a_short_training_stays_within_its_budget_and_ends_no_worse_than_it_began(observations, rate):
    config = Config(observations=observations)
    training = Training(config, rate).train(observations).finish()
    tried = training.kinds().count("search")
    assert tried <= config.budget * observations
    assert training.loss() <= training.untrained
    if observations == 10:
        assert training.decisions[-2].rate < 0.5 * max(decision.rate for decision in training.decisions)


def test_a_training_of_unknown_length_searches_and_cuts_but_neither_restarts_nor_anneals():
    training = Training(Config(), 1e-4, noise=0.3).train(300).finish()
    kinds = set(training.kinds())
    assert {"search", "settle", "cut"} <= kinds
    assert not {"restart", "anneal"} & kinds
    assert training.loss() < training.untrained


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": "auto"}, ValueError),
        ({"mode": None}, ValueError),
        ({"min_lr": -1e-3}, ValueError),
        ({"min_lr": "0"}, TypeError),
        ({"min_lr": NAN}, ValueError),
        ({"max_lr": 0.0}, ValueError),
        ({"max_lr": INF}, ValueError),
        ({"max_lr": 0.1, "min_lr": 0.2}, ValueError),
        ({"budget": -0.1}, ValueError),
        ({"budget": 1.1}, ValueError),
        ({"budget": NAN}, ValueError),
        ({"budget": None}, TypeError),
        ({"budget": True}, TypeError),
        ({"observations": 0}, ValueError),
        ({"observations": 10**400}, ValueError),
        ({"observations": 2.5}, TypeError),
        ({"observations": True}, TypeError),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_refused_by_name_with_what_was_received(arguments, error):
    name, value = next(iter(arguments.items()))
    with pytest.raises(error, match=rf"(?s){name}.*Received.*{value!r}"):
        Config(**arguments)
