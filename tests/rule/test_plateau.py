"""The plateau rule, as timelines: the values that come, and what is made of each."""

import copy
import dataclasses
import doctest
import json
import math
import pickle
import time
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lrplateau.rule import decision, plateau_state, soundness
from keras_lrplateau.rule.decision import Evidence
from keras_lrplateau.rule.excursion import Excursion, Level
from keras_lrplateau.rule.plateau import Config
from keras_lrplateau.rule.plateau_state import State

NAN, INF = math.nan, math.inf

KERAS = Config(factor=0.5, patience=2, max_raises=0, recover=False)
"""Small numbers, and nothing but cuts."""

FULL = replace(KERAS, max_raises=2, raise_after=2, recover=True)

RAISES = replace(FULL, factor=0.1, raise_factor=3.0)
"""Two cuts make a stall, since they lead to a hundredth of the rate."""

SHORT = RAISES.for_length(13)
"""After the first stall 6 observations are left: 4 for an excursion, as few as it may take, and a plateau."""


def run(config, values, rate=1.0, losses=(), loss_before=None):
    """The last state, and for each value "kind rate", or only the rate where nothing happened."""
    state = replace(config.start(rate), loss_before=loss_before)
    line, decisions = [], []
    for i, value in enumerate(values):
        state, decision = config.step(state, value, losses[i] if losses else None)
        decisions.append(decision)
        line.append((decision.kind + " " if decision.is_action else "") + f"{decision.rate:g}")
    return state, line, decisions


def timeline(config, values, **kwargs):
    return run(config, values, **kwargs)[1]


def go_on(config, state, values):
    """As `run`, from a state."""
    line, decisions = [], []
    for value in values:
        state, decision = config.step(state, value)
        decisions.append(decision)
        line.append((decision.kind + " " if decision.is_action else "") + f"{decision.rate:g}")
    return state, line, decisions


# --- cuts ------------------------------------------------------------------------------------------------------------


def test_a_plateau_of_patience_observations_cuts():
    assert timeline(KERAS, [5, 4, 4, 4, 4, 4]) == ["1", "1", "1", "cut 0.5", "0.5", "cut 0.25"]


def test_an_improvement_starts_the_wait_again():
    assert timeline(KERAS, [5, 5, 4, 4, 3, 3, 3]) == ["1", "1", "1", "1", "1", "1", "cut 0.5"]


def test_patience_zero_acts_as_one():
    values = [5, 5, 4, 4]
    assert timeline(replace(KERAS, patience=0), values) == ["1", "cut 0.5", "0.5", "cut 0.25"]
    assert timeline(replace(KERAS, patience=1), values) == timeline(replace(KERAS, patience=0), values)


def test_no_wait_is_counted_in_the_cooldown():
    config = replace(KERAS, cooldown=3)
    assert timeline(config, [5, 5, 5, 5, 5, 5, 5]) == ["1", "1", "cut 0.5", "0.5", "0.5", "0.5", "cut 0.25"]


def test_a_cut_stops_at_min_lr_exactly_and_then_says_once_that_nothing_is_left():
    config = replace(KERAS, min_lr=0.3, patience=1)
    assert timeline(config, [5, 5, 5, 5, 5]) == ["1", "cut 0.5", "cut 0.3", "exhausted 0.3", "0.3"]


def test_a_rate_that_starts_below_min_lr_is_never_cut():
    assert timeline(replace(KERAS, min_lr=2.0), [5, 5, 5, 5, 5])[-1] == "1"


def test_an_improvement_smaller_than_min_delta_does_not_count():
    config = replace(KERAS, min_delta=0.5)
    assert timeline(config, [5, 4.75, 4.5]) == ["1", "1", "cut 0.5"]
    assert timeline(config, [5, 4.75, 4.25]) == ["1", "1", "1"]


@pytest.mark.parametrize("best", [100.0, -100.0])
def test_a_relative_threshold_asks_for_progress_whatever_the_sign_of_the_metric(best):
    config = replace(KERAS, threshold_mode="rel", min_delta=0.01, patience=1)
    assert timeline(config, [best, best - 0.5]) == ["1", "cut 0.5"]
    assert timeline(config, [best, best - 1.5]) == ["1", "1"]


def test_in_max_mode_larger_is_better():
    assert timeline(replace(KERAS, mode="max"), [1, 2, 1, 1]) == ["1", "1", "1", "cut 0.5"]


def test_a_cut_goes_back_to_the_best_weights_only_when_asked():
    def restored(config):
        return run(config, [5, 6, 6])[2][-1].restore

    assert restored(FULL) is None
    assert restored(replace(FULL, rollback_on_cut=True)) == "best"


# --- raises ----------------------------------------------------------------------------------------------------------

STALLED = [5] * 7
"""Two fruitless cuts, and a plateau: a raise by `RAISES`."""


def timeline_from(config, state, values):
    line = []
    for value in values:
        state, decision = config.step(state, value)
        line.append((decision.kind + " " if decision.is_action else "") + f"{decision.rate:.3g}")
    return line


def test_a_stall_raises_above_the_rate_of_the_last_improvement_and_comes_back_along_a_cosine():
    state, line, decisions = run(SHORT, STALLED)
    assert line == ["1", "1", "cut 0.1", "0.1", "cut 0.01", "0.01", "raise 3"]
    assert decisions[-1].save == "raise"
    assert "stalled: no improvement on 5 in 2 observations, after 2 fruitless cuts" in decisions[-1].reason
    assert timeline_from(SHORT, state, [9, 9, 4, 4]) == ["2.56", "1.51", "0.448", "success 0.01"]


def test_an_excursion_is_judged_by_its_later_half_against_the_plateau_before_it():
    state, *_ = run(SHORT, STALLED)
    for values, kind in ([9, 9, 4, 4], "success"), ([1, 1, 6, 6], "rollback"), ([9, 9, 5, 5], "rollback"):
        ended, _, (*_, last) = go_on(SHORT, state, values)
        assert last.kind == kind
        assert not ended.in_excursion
        assert "in its later half against 5 before it" in last.reason
    assert (last.restore, last.rate) == ("raise", pytest.approx(0.01))


def test_one_lucky_value_does_not_make_a_raise_succeed():
    config = replace(RAISES, patience=4, observations=25)
    state, line, _ = run(config, [4.2, *[5, 5.4, 4.6, 5] * 3])
    assert line[-1].startswith("raise")
    assert state.excursion.length == 8
    _, _, decisions = go_on(config, state, [9, 9, 9, 9, 5, 5.4, 3.8, 5.4])
    assert decisions[-1].kind == "rollback"
    assert decisions[-1].reason == "the raise failed: 4.9 in its later half against 5 before it, within the noise"
    _, _, decisions = go_on(config, state, [9, 9, 9, 9, 4.2, 4.3, 4.1, 4.2])
    assert decisions[-1].kind == "success"


def test_a_raise_without_a_new_best_has_failed():
    config = replace(RAISES, patience=4, observations=25)
    state, *_ = run(config, [4.2, *[5, 5.4, 4.6, 5] * 3])
    *_, last = go_on(config, state, [9, 9, 9, 9, 4.3, 4.2, 4.2, 4.3])[2]
    assert (last.kind, last.restore) == ("rollback", "raise")
    assert last.reason == "the raise failed: 4.25 in its later half against 5 before it, but no new best"


def test_a_raise_after_a_plateau_without_any_number_succeeds_with_a_new_best():
    state, line, _ = run(replace(SHORT, recover=False), [5, *[math.nan] * 6])
    assert line[-1] == "raise 3"
    *_, last = go_on(replace(SHORT, recover=False), state, [9, 9, 4, 4])[2]
    assert last.kind == "success"
    assert last.reason == "the raise got ahead: 4 in its later half against no number before it"


def test_a_raise_that_costs_training_loss_has_failed():
    """A metric on few samples may be lucky; the training loss is worse all the same."""

    def judged(loss):
        state = replace(SHORT.start(1.0), loss_before=2.0)
        for value, each in zip([*STALLED, 9, 9, 4, 4], [1.0] * 9 + [loss] * 2, strict=True):
            state, decision = SHORT.step(state, value, each)
        return decision

    assert judged(1.0).kind == judged(0.5).kind == "success"
    assert judged(1.5).kind == "rollback"
    assert judged(1.5).reason.endswith("4 in its later half against 5 before it, but a higher loss, 1.5 against 1")


def test_a_raise_that_costs_validation_loss_has_failed_whatever_the_loss_of_training():
    """An accuracy that stands still shows no noise, so that a single lucky row would do."""
    config = replace(SHORT, mode="max")

    def judged(val_loss, training_loss):
        state = replace(config.start(1.0), loss_before=2.0)
        losses = [(1.0, 1.0)] * 7 + [(val_loss, training_loss)] * 4
        for value, (validated, trained) in zip([*[0.96] * 7, 0.1, 0.1, 0.97, 0.97], losses, strict=True):
            state, decision = config.step(state, value, trained, Evidence(val_loss=validated))
        return decision.kind

    assert judged(1.0, 0.5) == judged(0.9, 1.1) == "success"
    assert judged(1.1, 0.5) == "rollback"


def test_what_a_success_brings_is_the_best_only_where_it_is():
    state, *_ = run(SHORT, STALLED)
    after, _, decisions = go_on(SHORT, state, [9, 9, 4, 4])
    assert (decisions[-1].save, after.best, after.rate_at_best) == ("candidate", 4, pytest.approx(0.01))
    longer = replace(RAISES, patience=6, observations=37)
    state, *_ = run(longer, [5] * 19)
    assert state.excursion.length == 12
    after, _, decisions = go_on(longer, state, [*[9] * 6, *[4.0] * 5, 5.2])
    assert (decisions[-1].kind, decisions[-1].save, after.best) == ("success", None, 5)


def test_nothing_is_decided_on_the_way_and_no_value_of_an_excursion_is_a_best():
    state, *_ = run(SHORT, STALLED)
    for value in (1, 9, 1):
        state, decision = SHORT.step(state, value)
        assert (decision.kind, decision.save, state.best, state.wait) == ("hold", None, 5, 0)
        assert decision.touches_training, "the rate comes back"
        assert state.in_excursion


def test_a_raise_comes_when_the_documented_count_says_so():
    config = Config(max_raises=1, observations=71)
    state, line, _ = run(config, [5.0] * 41)
    assert line[-1].startswith("raise")
    assert [text for text in line[:-1] if text.startswith("raise")] == []
    _, line, _ = go_on(config, state, [5.0] * 20)
    assert [text.startswith("rollback") for text in line] == [False] * 19 + [True]
    assert config.patience_to_judge == 70
    _, line, _ = go_on(replace(config, observations=None), run(Config(), [5.0] * 41)[0], [5.0] * 60)
    assert line[-1].startswith("rollback"), "six plateaus, where as many are left"
    assert replace(config, max_raises=0).patience_to_judge is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 5), st.integers(1, 3), st.integers(0, 4))
def test_the_patience_to_judge_is_how_long_it_takes(patience, raise_after, cooldown):
    config = Config(patience=patience, raise_after=raise_after, cooldown=cooldown)
    count = config.patience_to_judge + 1
    _, line, _ = run(config.for_length(count), [5.0] * count)
    judged = [i for i, text in enumerate(line) if text.startswith("rollback")]
    assert judged == [count - 1 - patience], "as many are left as make a plateau"


@pytest.mark.parametrize(("left", "kind"), [(6, "raise"), (5, "exhausted")])
def test_a_raise_that_the_observations_left_cannot_judge_is_not_made(left, kind):
    _, _, decisions = run(RAISES.for_length(7 + left), STALLED)
    assert decisions[-1].kind == kind
    if kind == "exhausted":
        assert "the 5 observations left cannot judge a raise, which takes 6" in decisions[-1].reason


def test_raises_are_bounded_and_then_only_cuts_are_left():
    _, line, decisions = run(replace(RAISES, max_raises=1), [5] * 40)
    kinds = [decision.kind for decision in decisions if decision.is_action]
    assert kinds.count("raise") == 1
    assert kinds.count("exhausted") == 1
    after = kinds[kinds.index("exhausted") + 1 :]
    assert set(after) == {"cut"}
    assert "all 1 raises are used up" in next(d.reason for d in decisions if d.kind == "exhausted")
    assert line[-1] != line[20]


@pytest.mark.parametrize(("mode", "best", "near"), [("min", 0.0, 1e-9), ("max", 1.0, 1 - 1e-9)])
def test_no_raise_is_made_where_nothing_can_be_better(mode, best, near):
    config = replace(RAISES, mode=mode)
    for value, is_perfect in ((best, True), (near, False)):
        _, _, decisions = run(config, [0.5, *[value] * 8])
        kinds = [decision.kind for decision in decisions if decision.is_action]
        assert ("raise" in kinds, "exhausted" in kinds) == (not is_perfect, is_perfect)
        reasons = [each.reason for each in decisions if each.kind == "exhausted"]
        assert all(f"nothing is better than {best:g}" in reason for reason in reasons)


def test_no_raise_goes_above_max_lr():
    state, line, _ = run(replace(SHORT, max_lr=1.5), STALLED)
    assert line[-1] == "raise 1.5"
    assert state.in_excursion


def test_a_stall_without_room_below_max_lr_is_exhausted():
    # At the rate of the bound itself: nothing can be raised.
    config = replace(RAISES, max_lr=1.0, min_lr=1.0)
    _, line, decisions = run(config, [5, 5, 5])
    assert line == ["1", "1", "exhausted 1"]
    assert "no room" in decisions[-1].reason


def test_a_plateau_at_min_lr_stalls_at_once():
    assert timeline(replace(SHORT, min_lr=0.5), [5] * 5) == ["1", "1", "cut 0.5", "0.5", "raise 3"]


def test_a_new_best_ends_exhaustion():
    config = replace(RAISES, max_raises=1, min_lr=0.5)
    state, line, _ = run(config, [5] * 20)
    assert "exhausted 0.5" in line
    assert state.exhausted
    state, _ = config.step(state, 1.0)
    assert not state.exhausted


def test_an_excursion_that_diverges_goes_back_to_the_raise_and_no_raise_goes_as_high_again():
    state, line, decisions = run(RAISES, [*STALLED, NAN])
    assert line[-2:] == ["raise 3", "diverged 0.01"]
    assert decisions[-1].restore == "raise"
    assert timeline_from(RAISES, state, [5] * 6)[-1] == "raise 1"  # 3 broke training: a third of it at most


def test_no_raise_goes_back_to_a_rate_that_diverged():
    config = replace(RAISES, patience=1, raise_after=1)
    assert timeline(config, [1.0, 0.9, NAN, *[0.95] * 3])[-3:] == ["cut 0.003", "cut 0.0003", "raise 0.333333"]


def test_a_rate_of_zero_is_not_raised():
    state, *_ = run(SHORT, [5, 5])
    state, _ = SHORT.override(state, 0.0)
    assert timeline_from(SHORT, state, [5, 5, 5]) == ["exhausted 0", "0", "0"]


def test_a_raise_that_would_overflow_is_no_raise():
    config = replace(RAISES, raise_factor=1e200, max_raises=5)
    _, line, decisions = run(config, STALLED, rate=1e200)
    assert line[-1].startswith("exhausted")
    assert all(math.isfinite(decision.rate) for decision in decisions)


@pytest.mark.parametrize(
    ("values", "kind"), [([9, 9, 4, 4], "success"), ([9, 9, 5, 5], "rollback"), ([9, NAN], "diverged")]
)
def test_no_wait_is_counted_in_the_cooldown_after_an_excursion(values, kind):
    state, *_ = run(SHORT, STALLED)
    config = replace(SHORT, cooldown=3)
    state, _, (*_, last) = go_on(config, state, values)
    assert last.kind == kind
    assert timeline_from(config, state, [5, 5, 5, 5]) == ["0.01", "0.01", "0.01", "cut 0.001"]


# --- divergence ------------------------------------------------------------------------------------------------------


def test_a_nan_goes_back_to_the_best_weights_with_a_hard_cut():
    _, line, decisions = run(FULL, [5, 4, NAN, 4.5])
    assert line == ["1", "1", "diverged 0.03", "0.03"]
    assert decisions[2].restore == "best"
    assert "the metric is nan" in decisions[2].reason


def test_no_wait_is_counted_in_the_cooldown_after_a_divergence():
    line = timeline(replace(FULL, cooldown=3), [5, 4, NAN, 5, 5, 5, 5])
    assert line == ["1", "1", "diverged 0.03", "0.03", "0.03", "0.03", "cut 0.015"]


def test_a_nan_before_anything_finite_goes_back_to_the_start():
    state, line, decisions = run(FULL, [NAN, INF, 5])
    assert line == ["diverged 0.03", "diverged 0.0009", "0.0009"]
    assert [decision.restore for decision in decisions] == ["start", "start", None]
    assert state.best == 5


def test_a_hard_cut_is_at_least_an_ordinary_cut():
    assert timeline(replace(FULL, factor=0.01), [5, NAN])[-1] == "diverged 0.01"


def test_a_nan_training_loss_is_seen_behind_a_finite_metric():
    config = replace(FULL, mode="max")
    _, line, decisions = run(config, [0.5, 0.1], losses=[1.0, NAN])
    assert line == ["1", "diverged 0.03"]
    assert "training loss is nan" in decisions[1].reason


def test_no_metric_vouches_for_a_loss_that_is_not_finite():
    _, line, decisions = run(FULL, [5, 4], losses=[1.0, INF])
    assert line == ["1", "diverged 0.03"]
    assert decisions[-1].restore == "best"


def test_the_first_metric_cannot_vouch():
    _, line, decisions = run(FULL, [5], losses=[NAN])
    assert line == ["diverged 0.03"]
    assert decisions[0].restore == "start"


def test_a_training_loss_far_worse_than_before_training_diverges_when_it_stays_so():
    _, line, decisions = run(FULL, [5, 5.5, 5.5], losses=[25, 22, 2], loss_before=2.0)
    assert line == ["1", "diverged 0.03", "0.03"]
    assert (decisions[0].save, decisions[1].restore) == ("candidate", "start")
    expected = "22, far worse than before training (2), as it was at the last observation (25)"
    assert expected in decisions[1].reason
    assert timeline(FULL, [5, 5.5, 5.5], losses=[25, 2, 25], loss_before=2.0) == ["1", "1", "cut 0.5"]
    assert timeline(FULL, [5, 5.5, 5.5], losses=[19, 19, 19], loss_before=2.0) == ["1", "1", "cut 0.5"]


def test_a_better_metric_than_ever_excuses_a_far_worse_loss():
    assert timeline(FULL, [5, 4, 3], losses=[25, 25, 25], loss_before=2.0) == ["1", "1", "1"]


def test_a_far_worse_loss_that_comes_down_again_after_a_cut_is_left_to_the_cut():
    """Momentum at rate 1, monitor="accuracy": Keras' cut brings the loss from 124 down to 0."""
    accuracy = replace(FULL, mode="max", factor=0.1, patience=3, max_raises=0)
    values = [0.55, 0.82, 0.86, 0.92, 0.90, 0.93, 0.88, 0.86, 0.89, 0.73, 0.82, 0.906, 0.95]
    losses = [1.5, 1.0, 2.3, 1.5, 2.4, 4.7, 12.1, 16.4, 15.4, 124.0, 60.0, 43.0, 16.0]
    assert sum(loss > soundness.FAR_WORSE * 3.0 for loss in losses) == 3
    line = timeline(accuracy, values, losses=losses, loss_before=3.0)
    assert [text for text in line if " " in text] == ["cut 0.1", "cut 0.01"]


def test_weights_that_have_exploded_are_never_the_way_back_however_lucky_their_metric():
    """Convolutions with SGD(1000): the accuracy of the second epoch is better than ever, at a loss of 461."""
    accuracy = replace(FULL, mode="max")
    rows = [(0.0875, 8e15, Evidence(3.0)), (0.15, 461.0, Evidence(500.0)), (0.094, 493.0, Evidence(451.0))]
    state, line, decisions = looked(accuracy, [*rows, (0.3, 2.0, Evidence(3.1))], rate=1000.0, loss_before=3.0)
    assert decisions[1].best == 0.15
    assert [d.keep for d in decisions] == [None] * 4
    assert line == ["1000", "1000", "diverged 30", "30"]
    assert decisions[2].restore == "start"
    assert (decisions[3].save, state.kept.value) == ("best", 0.3)


@pytest.mark.parametrize("loss_before", [None, 0.0, -3.0])
def test_a_loss_before_training_that_is_no_yardstick_is_not_used(loss_before):
    assert timeline(FULL, [5, 5], losses=[1e9, 1e9], loss_before=loss_before) == ["1", "1"]


def test_recoveries_in_a_row_are_bounded_and_still_end_with_sound_weights():
    count = soundness.MAX_RECOVERIES
    state, line, decisions = run(FULL, [5] + [NAN] * (count + 3))
    assert [text.split()[0] for text in line[1:]] == ["diverged"] * count + ["exhausted"] + ["diverged"] * 2
    assert len(set(line[count + 1 :])) <= 2  # the rate is not cut any further
    assert {decision.restore for decision in decisions[1:]} == {"best"}
    assert state.exhausted


def test_where_no_first_batch_is_known_a_loss_that_is_the_same_at_a_far_lower_rate_gives_the_rate_back():
    _, line, decisions = run(FULL, [5] * 5, losses=[1.0, 1.0, 1.0, 1.0, 1.0], loss_before=0.01)
    assert line == ["1", "diverged 0.03", "0.03", "rollback 1", "1"]
    assert "no yardstick" in decisions[3].reason


def test_a_training_loss_that_comes_down_with_the_rate_is_cut_further():
    losses = [1e12, 1e12, 1e8, 1e8, 1e4, 1e4, 1.0]
    assert timeline(FULL, [5] * 7, losses=losses, loss_before=1.0)[-1] == "2.7e-05"


def test_without_recovery_a_nan_is_only_no_improvement():
    _, line, decisions = run(KERAS, [NAN, 5, NAN, NAN, 4])
    assert line == ["1", "1", "1", "cut 0.5", "0.5"]
    assert decisions[-1].best == 4


# --- looks at the weights --------------------------------------------------------------------------------------------


def looked(config, rows, rate=1.0, loss_before=None):
    """As `run`, of rows of a value, a training loss and evidence."""
    state = replace(config.start(rate), loss_before=loss_before)
    line, decisions = [], []
    for value, loss, evidence in rows:
        state, decision = config.step(state, value, loss, evidence)
        decisions.append(decision)
        line.append((decision.kind + " " if decision.is_action else "") + f"{decision.rate:g}")
    return state, line, decisions


def mean(first_loss=None, **known):
    """What is known where the metric is a running mean over the epoch."""
    return Evidence(first_loss=first_loss, is_validated=False, **known)


def test_a_running_mean_makes_a_candidate_which_the_next_first_batch_makes_the_best():
    rows = [(1.0, 1.0, mean(2.0)), (0.5, 0.5, mean(0.8)), (0.6, 0.6, mean(0.5))]
    state, _, decisions = looked(FULL, rows, loss_before=2.0)
    assert [(d.keep, d.save) for d in decisions] == [
        (None, "candidate"),
        ("candidate", "candidate"),
        ("candidate", None),
    ]
    assert (state.kept.value, state.candidate) == (0.5, None)


def test_a_candidate_whose_weights_have_exploded_is_dropped_and_the_last_sound_ones_come_back():
    """The mean of epoch 2 is the best so far; its last step ruined the weights."""
    rows = [(1.0, 1.0, mean(2.0)), (0.5, 0.5, mean(0.8)), (1e9, 1e9, mean(1e8)), (1e12, 1e12, mean(1e10))]
    state, line, decisions = looked(FULL, rows, loss_before=2.0)
    assert [d.keep for d in decisions] == [None, "candidate", None, None]
    assert line == ["1", "1", "1", "diverged 0.03"]
    assert decisions[-1].restore == "best"
    assert (state.best, state.kept.value) == (1.0, 1.0), "the value of the weights that came back"


def test_a_validation_far_worse_than_before_training_vouches_for_nothing_in_an_epoch_of_one_step():
    """The loss of that step is the one before training, whatever the step did to the weights."""
    rows = [
        (1e9, 2.0, Evidence(2.0, val_loss=1e9)),
        (1e30, 1e9, Evidence(1e9, val_loss=1e30)),
        (INF, 1e30, Evidence(1e30)),
    ]
    state, line, decisions = looked(FULL, rows, loss_before=2.0)
    assert [decision.save for decision in decisions[:2]] == ["candidate", None]
    assert line == ["1", "1", "diverged 0.03"]
    assert (decisions[-1].restore, state.kept) == ("start", None)


@pytest.mark.parametrize(("first_loss", "kept"), [(0.5, 0.5), (None, 1.0)])
def test_only_the_first_batch_clears_a_candidate_in_an_epoch_that_ruins_its_weights(first_loss, kept):
    """The mean over the epoch is fine, but does not say when that was."""
    rows = [(1.0, 1.0, mean(2.0)), (0.5, 0.5, mean(0.8)), (0.6, 0.6, mean(first_loss, is_finite=False))]
    state, line, decisions = looked(FULL, rows, loss_before=2.0)
    assert line == ["1", "1", "diverged 0.03"]
    assert (decisions[-1].keep, decisions[-1].restore) == ("candidate" if kept == 0.5 else None, "best")
    assert (state.kept.value, state.best) == (kept, kept)


@pytest.mark.parametrize(("look", "kept"), [(2.5, 0.2), (7.0, 0.1)])
def test_a_better_metric_at_a_loss_above_that_before_training_is_kept_only_after_a_look(look, kept):
    """A validated accuracy may be lucky on weights that exploded in the last steps of the epoch."""
    accuracy = replace(FULL, mode="max")
    rows = [(0.1, 1.9, Evidence(2.0)), (0.2, 8.0, Evidence(1.8)), (0.1, 9.0, Evidence(look))]
    state, line, decisions = looked(accuracy, rows, loss_before=2.0)
    assert line == ["1", "1", "1"]
    assert [d.save for d in decisions] == ["best", "candidate", None]
    assert state.kept.value == kept


@pytest.mark.parametrize(("second", "back"), [(3.0, "start"), (1.9, "best")])
def test_a_best_is_a_way_back_only_if_its_loss_is_no_higher_than_before_training(second, back):
    """Of classes that are rare an exploded network may have the best accuracy of all."""
    accuracy = replace(FULL, mode="max")
    looks = [(0.1, 9.0, 2.0), (0.9, second, 1.8), (0.8, 400.0, 1.8), (0.8, 400.0, 300.0)]
    rows = [(value, loss, Evidence(look)) for value, loss, look in looks]
    state, line, decisions = looked(accuracy, rows, loss_before=2.0)
    assert line == ["1", "1", "1", "diverged 0.03"]
    assert decisions[-1].restore == back
    assert (state.best, state.kept is None) == ((None, True) if back == "start" else (0.9, False))


def test_a_best_that_was_once_a_way_back_stays_one():
    """The untrained weights are dropped with the first best that is better than they are."""
    rows = [(5.0, 1.9, Evidence(2.0)), (4.0, 1.8, Evidence(1.9)), (3.0, 1.7, Evidence(1.8)), (2.0, 3.0, Evidence(1.7))]
    state, *_ = looked(FULL, [*rows, (2.5, 1.5, Evidence(1.5))], loss_before=2.0)
    assert state.kept.value == 2.0
    assert FULL.needed_snapshots(state) == {"best"}
    assert FULL.step(state, NAN).decision.restore == "best"


def test_a_loss_that_rises_and_comes_down_within_the_epoch_is_not_diverged():
    rows = [(30.0, 30.0, mean(2.0)), (25.0, 25.0, mean(1.9)), (40.0, 40.0, mean(3.0))]
    _, line, _ = looked(FULL, rows, loss_before=2.0)
    assert line == ["1", "1", "1"]


def test_weights_that_are_not_finite_are_never_kept_however_good_the_metric():
    """An accuracy is finite on weights that are NaN."""
    accuracy = replace(FULL, mode="max")
    nan = Evidence(is_finite=False)
    rows = [(0.7, 0.6, Evidence(is_finite=True)), (0.96, NAN, nan), (0.97, 0.5, nan)]
    state, line, decisions = looked(accuracy, rows)
    assert line == ["1", "diverged 0.03", "diverged 0.0009"]
    assert [d.save for d in decisions] == ["best", None, None]
    assert {d.restore for d in decisions[1:]} == {"best"}
    assert "the weights are not finite" in decisions[-1].reason
    assert state.best == 0.7


def test_a_loss_that_overflows_on_finite_weights_is_only_suspect():
    fine = Evidence(is_finite=True)
    _, line, decisions = looked(FULL, [(5.0, 1.0, fine), (4.0, INF, fine), (4.0, 1.0, fine)], loss_before=2.0)
    assert line == ["1", "1", "1"]
    assert [(d.save, d.keep) for d in decisions] == [("best", None), ("candidate", None), (None, "candidate")]


def test_after_going_back_to_the_start_the_next_first_batch_is_a_better_yardstick():
    """The first batch of all was an easy one: 0.05, where others have 1."""
    rows = [
        (1.0, 1.0, Evidence(0.05)),
        (1.0, 1.0, Evidence(1.1)),
        (1.0, 1.0, Evidence(1.0)),
        (0.9, 0.9, Evidence(0.95)),
    ]
    state, line, decisions = looked(FULL, rows, loss_before=0.05)
    assert line == ["1", "diverged 0.03", "rollback 1", "1"]
    assert "untrained weights have a loss of 1 on another batch, so 1 was no divergence" in decisions[2].reason
    assert state.loss_before == 1.0


def test_a_rate_that_is_cut_after_going_back_to_the_start_never_comes_back_up_while_the_yardstick_holds():
    """A linear regression with SGD(50): it explodes at 50 and at 1.5, and learns at 0.045."""
    before = 4.0
    rows = [(5e4, 5e4, mean(before)), (1e14, 1e14, mean(1e9)), (30.0, 30.0, mean(3.9)), (3e3, 3e3, mean(400.0))]
    rows += [(3e6, 3e6, mean(1e5)), *[(x, x, mean(1.5 * x)) for x in (3.0, 1.0, 0.3, 0.1, 0.03)]]
    state, line, decisions = looked(FULL, rows, rate=50.0, loss_before=before)
    assert [text for text in line if " " in text] == ["diverged 1.5", "diverged 0.045"]
    assert {d.restore for d in decisions if d.restore} == {"start"}
    assert (state.rate, state.best) == (0.045, 0.03)


def test_a_suspect_training_is_not_raised_and_is_cut_as_ever():
    skipped = Evidence(skipped=0.75)
    _, line, decisions = looked(RAISES, [(5, 1.0, None)] * 6 + [(5, 1.0, skipped)] * 3)
    assert line == ["1", "1", "cut 0.1", "0.1", "cut 0.01", "0.01", "cut 0.001", "0.001", "cut 0.0001"]
    assert "no raise, since 75% of the optimizer steps were skipped" in decisions[6].reason
    assert timeline(RAISES, STALLED)[-1] == "raise 3", "without them"


# --- weights that have not grown -------------------------------------------------------------------------------------


def compared(config, rows, growth=1.0, rate=1.0, loss_before=None):
    """As `looked`, by a caller that says how the weights have grown when a decision would go back; and how often."""
    state = replace(config.start(rate), loss_before=loss_before)
    line, decisions, comparisons = [], [], 0
    for value, loss, evidence in rows:
        step = config.step(state, value, loss, evidence)
        if step.decision.compared_with is not None:
            comparisons += 1
            step = config.step(state, value, loss, replace(evidence or Evidence(), growth=growth))
        state, decision = step
        decisions.append(decision)
        line.append((decision.kind + " " if decision.is_action else "") + f"{decision.rate:g}")
    return state, line, decisions, comparisons


def test_a_far_worse_loss_is_no_divergence_where_the_weights_have_not_grown_and_is_the_better_yardstick():
    """The first batch of all had no positive among its samples."""
    rows = [(5.0, 25.0, Evidence()), (5.5, 22.0, Evidence(22.0)), (4.0, 20.0, Evidence(21.0)), (3.9, 20.0, None)]
    assert looked(FULL, rows[:2], loss_before=2.0)[1] == ["1", "diverged 0.03"]
    assert compared(FULL, rows[:2], growth=11.0, loss_before=2.0)[1] == ["1", "diverged 0.03"]
    state, line, _, comparisons = compared(FULL, rows, loss_before=2.0)
    assert (line, comparisons) == (["1", "1", "1", "1"], 1)
    assert (state.loss_before, state.kept.value) == (22.0, 3.9), "from then on snapshots are sound again"
    later = [(9e9, 9e9, Evidence(9e9))] * 2
    assert compared(FULL, rows + later, loss_before=2.0)[1][-1] == "cut 0.5", "as by Keras"
    state, decision = FULL.step(compared(FULL, rows + later[:1], loss_before=2.0)[0], *later[1])
    assert (decision.kind, decision.restore) == ("diverged", "best"), "until they grow"


def test_a_loss_that_is_nan_for_an_epoch_is_no_divergence_where_the_weights_have_not_grown():
    """A training step of one's own may skip a batch whose loss is NaN."""
    rows = [(5.0, 5.0, Evidence(is_finite=True)), (NAN, NAN, Evidence(is_finite=True)), (4.0, 4.0, None)]
    assert looked(FULL, rows, loss_before=6.0)[1] == ["1", "diverged 0.03", "0.03"]
    _, line, decisions, comparisons = compared(FULL, rows, loss_before=6.0)
    assert (line, comparisons) == (["1", "1", "1"], 1)
    assert decisions[-1].best == 4.0


def test_a_network_whose_weights_have_not_grown_is_not_dead():
    """A pretrained model whose loss never comes back to that of its first batch."""
    rows = [(14.0, loss, None) for loss in DEAD[:40]]
    config = replace(FULL, max_raises=0)
    assert "restart" in [d.kind for d in compared(config, rows, growth=20.0, loss_before=63.0)[2]]
    _, line, decisions, comparisons = compared(config, rows, loss_before=63.0)
    assert comparisons == 1
    assert [text.split()[-1] for text in line] == [text.split()[-1] for text in timeline(KERAS, [14.0] * 40)]
    _, line, decisions, _ = compared(RAISES, rows, loss_before=63.0)
    assert "raise" in {decision.kind for decision in decisions}, "and it may be raised"


def test_a_loss_that_turns_out_to_be_negative_is_no_yardstick():
    """Of a generator, near zero by chance before training."""
    rows = [(5.0, 0.5, None), (5.5, -0.2, Evidence(0.3)), (5.5, 3.0, Evidence(2.0)), (5.5, 3.0, Evidence(3.0))]
    assert soundness.exceeds(3.0, 0.01, soundness.FAR_WORSE)
    state, line, *_ = looked(FULL, rows, loss_before=0.01)
    assert line == ["1", "1", "cut 0.5", "0.5"]
    assert state.loss_before is None
    assert timeline(FULL, [5.0, 5.5, 5.5, 5.5], losses=[0.5, -0.2, 3.0, 3.0], loss_before=0.01) == line


def test_weights_that_did_not_go_back_are_no_yardstick():
    """Without snapshots only the rate is cut: the next first batch is of the exploded weights."""
    rows = [(30.0, 30.0, Evidence()), (40.0, 40.0, Evidence(35.0)), (40.0, 40.0, Evidence(40.0))]
    assert looked(FULL, rows, loss_before=2.0)[1][-1] == "rollback 1"
    state, line, _ = looked(replace(FULL, rollback=False), rows, loss_before=2.0)
    assert line == ["1", "diverged 0.03", "0.03"]
    assert state.loss_before == 2.0


# --- dead networks, and restarts -------------------------------------------------------------------------------------

DEAD = [300.0, 14.2, 14.1, 14.3, 14.0, *[14.1, 14.0] * 20]
"""Losses of a network whose targets are not centred: 63 before training, far more in the first epoch, then flat."""


def restarted(config=FULL):
    """A network that came through a loss of 5 times that before training, and then learns nothing."""
    count = max(2 * config.patience, soundness.LONG) + 2
    return run(config, [14.0] * count, losses=DEAD[:count], loss_before=63.0)


def test_a_restart_begins_far_below_the_lowest_rate_that_broke_training():
    count = max(2 * FULL.patience, soundness.LONG) + 2
    state, line, _ = run(FULL, [14.0] * (count - 1), losses=DEAD, loss_before=63.0)
    assert not any(text.startswith("restart") for text in line)
    state, decision = FULL.step(replace(state, rate_too_high=0.1), 14.0, DEAD[count - 1])
    assert (decision.kind, decision.rate) == ("restart", pytest.approx(0.003))
    assert state.rate_too_high == 0.1


def test_a_cut_in_a_restart_does_not_go_back_to_what_was_put_aside():
    config = replace(FULL, rollback_on_cut=True)
    state, line, _ = restarted(config)
    assert line[-1] == "restart 0.03"
    _, line, decisions = go_on(config, state, [30.0] * 3)
    assert line == ["0.03", "0.03", "cut 0.015"]
    assert decisions[-1].restore is None


def test_a_network_that_is_flat_after_a_rise_restarts_with_a_far_lower_rate():
    state, line, decisions = restarted()
    assert next(text for text in line if " " in text) == "cut 0.5", "a cut comes first"
    assert line[-1] == "restart 0.03"
    assert (decisions[-1].save, decisions[-1].restore) == ("best", "start"), "the weights of now are put aside"
    assert "rose from 63 to 300 as training began, came down to 14.1" in decisions[-1].reason
    assert "has shown no learning in 16 observations since" in decisions[-1].reason
    assert (state.best, state.aside.best) == (None, 14.0)


def test_a_dead_network_restarts_although_none_of_its_weights_was_ever_sound():
    """A softmax that is always wrong: its loss stays at six times that before training."""
    rows = [(14.5, 14.5, Evidence(2.3 if epoch == 0 else 14.5)) for epoch in range(20)]
    state, _, decisions = looked(replace(FULL, patience=3), rows, loss_before=2.3)
    assert state.aside is not None
    restart = next(decision for decision in decisions if decision.kind == "restart")
    assert (restart.save, restart.restore) == ("best", "start")
    assert not any(decision.keep for decision in decisions)
    assert restart.rate == 0.03


def test_a_dead_network_is_never_raised():
    config = replace(RAISES, patience=5, rollback=False)
    _, _, decisions = run(config, [14.0] * 40, losses=DEAD[:40], loss_before=63.0)
    kinds = [decision.kind for decision in decisions if decision.is_action]
    assert kinds == ["cut"] * config.cuts_to_stall + ["exhausted"] + ["cut"] * (len(kinds) - config.cuts_to_stall - 1)
    assert any("no raise, since the training loss rose from 63 to 300" in d.reason for d in decisions)


def test_a_network_whose_constant_answer_is_no_better_than_no_training_needs_a_smaller_rise():
    losses = [2.88, 2.36, 2.34, 2.34, 2.35, 2.34, 2.38, *[2.31] * 30]
    config = replace(FULL, patience=5)
    _, line, _ = run(config, [2.13, *[2.36] * 30], losses=losses, loss_before=2.37)
    kinds = [text.split()[0] for text in line if " " in text]
    assert set(kinds[: kinds.index("restart")]) == {"cut"}


@pytest.mark.parametrize(
    ("losses", "before"),
    [
        ([3.0, *[1.7] * 40], 2.0),  # It rose, but came down well below, and did not rise far.
        ([2.2, *[2.0] * 40], 2.0),  # It hardly rose.
        ([2.0, 2.0, 2.0, 2.0, 9.0, *[2.0] * 40], 2.0),  # It rose long after the onset.
        ([9.0, *[1.9 * 0.98**i for i in range(40)]], 2.0),  # It rose far, and learns.
    ],
)
def test_what_is_not_dead_is_cut_as_by_keras(losses, before):
    _, line, _ = run(replace(FULL, max_raises=0), [2.0] * 40, losses=losses, loss_before=before)
    assert [text.split()[-1] for text in line] == [text.split()[-1] for text in timeline(KERAS, [2.0] * 40)]


def test_where_keras_cuts_a_loss_that_rose_at_first_is_no_reason_for_anything_else():
    """Adam(0.1) on twenty rows, and a loss that can only fall by a tenth."""
    config = Config(patience=1, factor=0.1, min_delta=100.0)
    assert timeline(config, [7.011, 0.308], rate=0.1, losses=[2.491, 5.528], loss_before=2.491) == ["0.1", "cut 0.01"]
    losses = [0.78, 0.70] + [0.69 - 0.002 * i for i in range(22)]
    values = [0.700, 0.690, 0.680, 0.675, 0.672, 0.670] + [0.6705] * 18
    line = timeline(Config(), values, rate=0.01, losses=losses, loss_before=0.693)
    assert [text for text in line if " " in text] == ["cut 0.001"]


def test_a_stall_after_a_rise_of_the_loss_and_no_learning_since_restarts_in_place_of_a_raise():
    """Digits, momentum, rate 1: a loss too low for a dead network, that has come through a rise by 40 %."""
    losses = [3.31, 2.4, 2.16, 2.11, 2.26, 2.15, 2.18, 2.13, 2.09, *[2.05] * 20]
    assert max(losses) < soundness.ROSE_FAR * 2.36
    assert min(losses[1:4]) < soundness.LEVEL * 2.36
    config = replace(RAISES, patience=5)
    arguments = {"losses": losses, "loss_before": 2.36}
    _, line, decisions = run(config, [2.03] * len(losses), **arguments)
    assert [text for text in line if " " in text][:3] == ["cut 0.1", "cut 0.01", "restart 0.03"]
    restart = next(d for d in decisions if d.kind == "restart")
    assert restart.observation == soundness.LONG + 1
    assert "rose from 2.36 to 3.31 as training began" in restart.reason
    no_raises = timeline(replace(config, max_raises=0), [2.03] * len(losses), **arguments)
    assert {text.split()[0] for text in no_raises if " " in text} == {"cut", "exhausted"}


def test_a_restart_succeeds_when_it_beats_what_was_put_aside():
    state, *_ = restarted()
    kinds, saves = [], []
    for value in (30.0, 20.0, 10.0):
        state, decision = FULL.step(state, value, value)
        kinds.append(decision.kind)
        saves.append(decision.save)
    assert kinds == ["best", "best", "success"]
    assert saves == [None, None, "best"]  # what was put aside stays saved until it is beaten
    assert state.aside is None


def test_a_restart_whose_best_is_a_running_mean_succeeds_when_a_look_agrees():
    state, *_ = restarted()
    state, decision = FULL.step(state, 10.0, 10.0, mean(63.0))
    assert (decision.kind, decision.save, state.status) == ("best", "candidate", "in restart")
    state, decision = FULL.step(state, 11.0, 11.0, mean(9.0))
    assert (decision.kind, decision.keep, state.status) == ("success", "candidate", "holding")


def test_a_restart_that_stalls_without_a_new_best_is_taken_back_for_good():
    state, *_ = restarted(RAISES)
    state, line, decisions = go_on(RAISES, state, [20.0] * 60)
    first = next(i for i, text in enumerate(line) if text.startswith("rollback"))
    assert [text for text in line[:first] if " " in text] == ["cut 0.003", "cut 0.0003"]
    assert decisions[first].restore == "best"
    assert decisions[first].best == 14.0
    assert not [text for text in line[first:] if text.startswith("restart")]


def test_giving_up_brings_back_what_was_put_aside():
    state, *_ = restarted()
    for _ in range(soundness.MAX_RECOVERIES):
        state, decision = FULL.step(state, NAN)
    assert (decision.kind, decision.restore, state.best) == ("rollback", "best", 14.0)


def test_a_rate_that_diverged_in_a_restart_is_not_raised_to_when_that_is_taken_back():
    state, *_ = restarted()
    state, _ = FULL.step(state, NAN)
    state, decision = FULL.finish(state)
    assert decision.kind == "rollback"
    assert state.rate_too_high == 0.03


def test_a_divergence_after_a_restart_goes_back_to_the_start():
    state, *_ = restarted()
    state, _ = FULL.step(state, 30.0, 30.0)
    _, decision = FULL.step(state, NAN, 30.0)
    assert (decision.kind, decision.restore) == ("diverged", "start")


def test_the_snapshot_of_the_start_is_kept_only_while_a_restart_is_possible():
    def kept(losses, **kwargs):
        state, *_ = run(FULL, [5 - i for i in range(len(losses))], losses=losses, **kwargs)
        return FULL.needed_snapshots(state)

    assert kept([2.0, 1.9], loss_before=2.0) == {"start", "best"}
    assert kept([2.0, 1.9, 1.8], loss_before=2.0) == {"best"}
    assert kept([2.0, 1.9], loss_before=None) == {"best"}


def test_without_snapshots_nothing_is_restored_and_nothing_restarts():
    config = replace(FULL, rollback=False)
    _, line, decisions = restarted(config)
    assert {text.split()[0] for text in line if " " in text} == {"cut", "exhausted"}
    _, line, more = run(replace(SHORT, rollback=False), [*STALLED, 5, 5, 5, 5, NAN])
    assert {"rollback 0.01", "diverged 0.0003"} <= set(line)
    everything = decisions + more
    assert {d.save for d in everything} == {d.restore for d in everything} == {d.keep for d in everything} == {None}


# --- the end, and others' changes ------------------------------------------------------------------------------------


def test_an_excursion_still_open_at_the_end_is_taken_back():
    state, *_ = run(RAISES, [*STALLED, 1, 1])
    assert state.in_excursion
    _, decision = RAISES.finish(state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "raise", pytest.approx(0.01))


def test_a_restart_still_open_at_the_end_is_taken_back():
    state, *_ = restarted()
    after, decision = FULL.finish(state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "best", state.aside.rate)
    assert after.best == 14.0


def test_nothing_open_at_the_end_changes_nothing():
    state, *_ = run(FULL, [5, 4])
    assert FULL.finish(state) == (state, FULL.finish(state).decision)
    assert FULL.finish(state).decision.kind == "hold"


def test_a_rate_set_by_others_is_gone_on_from():
    state, *_ = run(KERAS, [5, 5])
    state, decision = KERAS.override(state, 0.8)
    assert (decision.kind, decision.rate_before, decision.rate) == ("override", 1.0, 0.8)
    assert KERAS.step(state, 5).decision.rate == 0.4


def test_a_rate_set_by_others_in_an_excursion_is_not_undone_by_its_rollback():
    state, line, _ = run(SHORT, STALLED)
    assert line[-1] == "raise 3"
    state, _ = SHORT.override(state, 0.001)
    assert timeline_from(SHORT, state, [5] * 4) == ["0.001", "0.001", "0.001", "rollback 0.001"]


# --- what a decision says about its plateau --------------------------------------------------------------------------


def plateaus(decisions):
    """What was done at each plateau, and its first and its last observation."""
    return [(d.kind, d.since, d.observation) for d in decisions if d.since is not None]


@pytest.mark.parametrize("patience", [0, 1])
def test_a_plateau_of_one_observation_is_that_observation(patience):
    _, _, decisions = run(replace(KERAS, patience=patience), [5, 5, 4, 4, 4])
    assert plateaus(decisions) == [("cut", 2, 2), ("cut", 4, 4), ("cut", 5, 5)]


def test_a_plateau_begins_after_the_last_improvement_and_after_the_last_change_of_rate():
    _, _, decisions = run(replace(KERAS, patience=3), [5, 4, 4.5, 4, 3, 3, 3, 3, 3, 3, 3])
    assert plateaus(decisions) == [("cut", 6, 8), ("cut", 9, 11)]


def test_what_improves_by_less_than_min_delta_is_of_the_plateau():
    _, _, decisions = run(replace(KERAS, min_delta=0.5), [5, 4.75, 4.6])
    assert plateaus(decisions) == [("cut", 2, 3)]


def test_a_plateau_begins_with_the_last_observation_of_the_cooldown():
    _, line, decisions = run(replace(KERAS, cooldown=3), [5] * 7)
    assert line == ["1", "1", "cut 0.5", "0.5", "0.5", "0.5", "cut 0.25"]
    assert plateaus(decisions) == [("cut", 2, 3), ("cut", 6, 7)]


def test_a_nan_that_is_not_recovered_from_is_of_the_plateau():
    _, _, decisions = run(KERAS, [NAN, NAN, 5, NAN, INF])
    assert plateaus(decisions) == [("cut", 1, 2), ("cut", 4, 5)]


def test_a_raise_tells_its_plateau_and_its_rollback_has_none():
    _, line, decisions = run(SHORT, [5] * 13)
    assert [text.split()[0] for text in line if " " in text] == ["cut", "cut", "raise", "rollback", "cut"]
    assert plateaus(decisions) == [("cut", 2, 3), ("cut", 4, 5), ("raise", 6, 7), ("cut", 12, 13)]


def test_a_restart_tells_the_plateau_before_it_and_its_rollback_the_one_after_it():
    state, _, decisions = restarted(RAISES)
    (kind, since, observation) = plateaus(decisions)[-1]
    assert (kind, observation - since) == ("restart", 1)
    _, _, later = go_on(RAISES, state, [20.0] * 7)
    assert [(kind, at - since) for kind, since, at in plateaus(later)] == [("cut", 1), ("cut", 1), ("rollback", 1)]


def test_exhaustion_at_a_stall_tells_its_plateau_and_after_many_recoveries_there_was_none():
    _, _, decisions = run(replace(KERAS, min_lr=0.5, patience=1), [5, 5, 5])
    assert plateaus(decisions) == [("cut", 2, 2), ("exhausted", 3, 3)]
    _, line, decisions = run(FULL, [5] + [NAN] * (soundness.MAX_RECOVERIES + 1))
    assert line[-1].startswith("exhausted")
    assert plateaus(decisions) == []


def test_a_decision_that_no_plateau_caused_tells_of_none():
    state, line, decisions = run(SHORT, [*STALLED, 6, 6, 4, 4, NAN])
    assert [text.split()[0] for text in line if " " in text] == ["cut", "cut", "raise", "success", "diverged"]
    assert [decision.since for decision in decisions] == [None, None, 2, None, 4, None, 6, *[None] * 5]
    assert FULL.override(state, 0.5).decision.since is None
    state, line, _ = run(RAISES, [5] * 8)
    ended = RAISES.finish(state).decision
    assert (ended.kind, ended.since) == ("rollback", None)
    state, *_ = restarted()
    ended = FULL.finish(state).decision
    assert (ended.kind, ended.since) == ("rollback", None)


def test_a_plateau_at_which_nothing_is_left_to_do_is_a_plain_hold():
    state, line, _ = run(replace(KERAS, min_lr=0.5, patience=1), [5, 5, 5])
    assert line[-1] == "exhausted 0.5"
    _, decision = replace(KERAS, min_lr=0.5, patience=1).step(state, 5)
    assert (decision.kind, decision.since) == ("hold", None)


def test_a_plateau_lasts_through_what_could_not_be_cut():
    """At `min_lr` nothing is done until something else raises the rate. Then it is cut at once."""
    config = replace(KERAS, min_lr=0.5, patience=1)
    state, line, _ = run(config, [5, 5, 5, 5, 5])
    assert line[-2:] == ["0.5", "0.5"]
    state, _ = config.override(state, 4.0)
    _, decision = config.step(state, 5)
    assert (decision.kind, decision.since, decision.observation) == ("cut", 3, 6)


def test_only_an_action_is_told_to_be_on_a_plateau():
    state, _ = KERAS.step(KERAS.start(1.0), 5.0)
    quiet = decision.hold(state, 5.0)
    assert decision.on_plateau(quiet, 1) == quiet
    cut = decision.decide(state, replace(state, rate=0.5, observations=9), "cut", 5.0, "why")
    assert decision.on_plateau(cut, 3) == (cut.state, replace(cut.decision, since=7))


# --- what the rule is about ------------------------------------------------------------------------------------------


def statuses(config, values, **kwargs):
    """ "kind status" after each value, or only the status where nothing happened."""
    state = replace(config.start(1.0), loss_before=kwargs.get("loss_before"))
    losses, line = kwargs.get("losses"), []
    for i, value in enumerate(values):
        state, decision = config.step(state, value, losses[i] if losses else None)
        line.append((decision.kind + " " if decision.is_action else "") + state.status)
    return state, line


def test_the_status_is_holding_but_for_excursions():
    assert SHORT.start(1.0).status == "holding"
    _, line = statuses(SHORT, [5] * 11)
    held, raised = "holding", "in excursion"
    assert line[:7] == [held, held, f"cut {held}", held, f"cut {held}", held, f"raise {raised}"]
    assert line[7:] == [raised, raised, raised, f"rollback {held}"]
    _, line = statuses(SHORT, [*STALLED, 4, 4, 4, 4])
    assert line[-2:] == [raised, f"success {held}"]
    _, line = statuses(SHORT, [*STALLED, NAN])
    assert line[-2:] == [f"raise {raised}", f"diverged {held}"]
    state, _ = statuses(SHORT, [5] * 8)
    assert state.status == raised
    assert SHORT.override(state, 0.7).state.status == raised
    assert SHORT.finish(state).state.status == held


def test_the_status_is_in_restart_until_it_has_succeeded_or_is_taken_back():
    state, *_ = restarted()
    assert state.status == "in restart"
    assert FULL.finish(state).state.status == "holding"
    better, _ = FULL.step(state, 30.0, 30.0)
    assert better.status == "in restart", "it has not beaten what was put aside"
    better, decision = FULL.step(better, 10.0, 10.0)
    assert (decision.kind, better.status) == ("success", "holding")


def test_the_status_is_exhausted_until_a_new_best_or_another_rate():
    config = replace(KERAS, patience=1, min_lr=0.5)
    state, line = statuses(config, [5, 5, 5, 5])
    assert line == ["holding", "cut holding", "exhausted exhausted", "exhausted"]
    assert config.override(state, 0.7).state.status == "holding"
    after, decision = config.step(state, 4)
    assert (decision.kind, after.status) == ("best", "holding")


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_state_survives_json():
    state, *_ = restarted()
    assert state.aside is not None
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": None},
        {"rate": "fast"},
        {"rate": NAN},
        {"rate": -1.0},
        {"wait": 1.5},
        {"wait": True},
        {"exhausted": 1},
        {"best": INF},
        {"speed": 1},
        {"aside": {"rate": 1.0}},
        {"aside": 3},
        {"rate": 10**400},
        {"observations": 10**400},
        {"version": True},
        {1: 2, None: 3},
    ],
)
def test_a_damaged_state_is_refused(change):
    data = FULL.start(1.0).to_dict() | change
    with pytest.raises(ValueError, match=r"state|must be"):
        State.from_dict(data)


@pytest.mark.parametrize("data", [None, 1, "state", [], [("version", 1)]])
def test_what_is_no_object_is_no_state(data):
    with pytest.raises(ValueError, match="state must be an object"):
        State.from_dict(data)


@pytest.mark.parametrize(
    "change",
    [
        {"wait": 4},
        {"cuts": 4},
        {"raises": 4},
        {"recovery": {"count": 4, "rate_before": 1.0, "far_worse": None, "is_at_start": False}},
        {"best": None},
        {"excursion": Excursion(3.0, 1.0, 4, Level())},
        {"excursion": Excursion(3.0, 1.0, 4, Level(), done=4), "raises": 1},
    ],
)
def test_a_state_that_contradicts_itself_is_refused(change):
    state, *_ = run(FULL, [5, 5, 5])
    plain = {name: dataclasses.asdict(value) if name == "excursion" else value for name, value in change.items()}
    with pytest.raises(ValueError, match="contradicts itself"):
        State.from_dict(state.to_dict() | plain)


def test_only_a_state_that_a_restart_put_aside_is_taken_for_one():
    data = restarted()[0].to_dict()
    assert State.from_dict(data).status == "in restart"
    damages = ({"kept": None}, {"raises": 1}, {"rate": NAN}, {"version": 1}, {"aside": data["aside"]})
    for damage in damages:
        with pytest.raises(ValueError, match=r"state|must be"):
            State.from_dict(data | {"aside": data["aside"] | damage})
    with pytest.raises(ValueError, match="contradicts itself"):
        State.from_dict(data | {"raises": 1})


def test_a_chain_of_states_put_aside_is_refused_however_long_it_is():
    inner = restarted()[0].to_dict()
    del inner["version"]
    chain = inner
    for _ in range(5000):
        chain = inner | {"aside": chain}
    with pytest.raises(ValueError, match="aside"):
        State.from_dict(chain | {"version": plateau_state.STATE_VERSION})


# A training may be resumed with another configuration.


def test_a_state_with_more_raises_than_the_configuration_now_allows_makes_no_more():
    state, line, _ = run(SHORT, [5] * 11)
    assert (state.raises, line[-1]) == (1, "rollback 0.01")
    line = timeline_from(replace(RAISES, max_raises=0), state, [5] * 20)
    assert not [text for text in line if text.startswith("raise")]
    state = replace(state, raises=2)
    line = timeline_from(replace(RAISES, max_raises=1), state, [5] * 20)
    assert not [text for text in line if text.startswith("raise")]


def test_a_dead_network_is_not_restarted_once_recovery_is_off():
    count = soundness.LONG + 1
    state, *_ = run(FULL, [14.0] * count, losses=DEAD[:count], loss_before=63.0)
    assert FULL.step(state, 14.0, 14.0).decision.kind == "restart"
    off = replace(FULL, recover=False)
    assert "start" not in off.needed_snapshots(state)
    assert off.step(state, 14.0, 14.0).decision.kind != "restart"


def test_what_was_put_aside_comes_back_also_once_recovery_or_rollback_is_off():
    state, *_ = restarted()
    for change, needed, restore in ({"recover": False}, {"best"}, "best"), ({"rollback": False}, set(), None):
        config = replace(FULL, **change)
        assert config.needed_snapshots(state) == needed
        _, decision = config.finish(state)
        assert (decision.kind, decision.restore, decision.best) == ("rollback", restore, 14.0)


def test_without_any_best_the_start_is_needed_also_after_a_raise():
    """Without recovery a training may raise before any finite metric. With it on again it goes back to the start."""
    off = replace(RAISES, recover=False)
    state, line, _ = run(off, [NAN] * 6)
    assert line[-1] == "raise 3"
    state, _ = off.finish(state)
    assert "start" in FULL.needed_snapshots(state)
    assert FULL.step(state, NAN).decision.restore == "start"


def test_a_state_that_lacks_a_field_is_refused():
    data = FULL.start(1.0).to_dict()
    del data["wait"]
    with pytest.raises(ValueError, match="wait"):
        State.from_dict(data)


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": "auto"}, ValueError),
        ({"mode": []}, ValueError),
        ({"mode": np.array(["min", "max"])}, ValueError),
        ({"threshold_mode": np.array([])}, ValueError),
        ({"factor": 1.0}, ValueError),
        ({"factor": 0.0}, ValueError),
        ({"factor": NAN}, ValueError),
        ({"factor": "0.1"}, TypeError),
        ({"factor": True}, TypeError),
        ({"patience": -1}, ValueError),
        ({"patience": 10**400}, ValueError),
        ({"patience": 2.5}, TypeError),
        ({"min_delta": -0.1}, ValueError),
        ({"min_delta": INF}, ValueError),
        ({"threshold_mode": "relative"}, ValueError),
        ({"cooldown": -1}, ValueError),
        ({"min_lr": -1e-3}, ValueError),
        ({"max_lr": 0.0}, ValueError),
        ({"max_lr": 0.1, "min_lr": 0.2}, ValueError),
        ({"raise_factor": 1.0}, ValueError),
        ({"raise_after": 0}, ValueError),
        ({"max_raises": -1}, ValueError),
        ({"recover": 1}, TypeError),
        ({"rollback": None}, TypeError),
        ({"rollback_on_cut": True, "rollback": False}, ValueError),
    ],
)
def test_a_wrong_argument_is_refused_by_name_with_what_was_received(arguments, error):
    name = next(iter(arguments))
    with pytest.raises(error, match=rf"(?s){name}.*Received"):
        Config(**arguments)


@pytest.mark.parametrize(
    ("rate", "error"), [(-1.0, ValueError), (NAN, ValueError), (INF, ValueError), ("1", TypeError)]
)
def test_a_wrong_rate_is_refused(rate, error):
    with pytest.raises(error, match="rate must be"):
        Config().start(rate)
    with pytest.raises(error, match="rate must be"):
        Config().override(Config().start(1.0), rate)


@pytest.mark.filterwarnings("error")
def test_integers_and_numpy_numbers_are_kept_as_python_floats():
    config = Config(min_lr=0, max_lr=np.float64(3), raise_factor=np.float64(1e308), factor=np.float64(0.5))
    numbers = [config.min_lr, config.max_lr, config.raise_factor, config.factor, config.min_delta]
    assert list(map(type, numbers)) == [float] * 5
    _, line, decisions = run(replace(config, patience=1, raise_after=1, factor=0.01, max_lr=2), [5] * 3)
    assert line == ["1", "cut 0.01", "raise 2"]
    assert type(decisions[2].rate) is float, "as it is after it was stored"


def test_a_start_above_max_lr_is_refused():
    with pytest.raises(ValueError, match=r"max_lr=0.1 and a learning rate of 0.5"):
        Config(max_lr=0.1).start(0.5)


# --- properties ------------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-8, 8).map(float),
    st.floats(-1e3, 1e3),
    st.sampled_from([NAN, INF, -INF, 1e308, -1e308, 5e-324, 0.0, -0.0]),
)
series = st.lists(st.tuples(numbers, st.none() | numbers), max_size=120)


@st.composite
def configs(draw):
    min_lr = draw(st.sampled_from([0.0, 0.01, 1.0]))
    return Config(
        mode=draw(st.sampled_from(["min", "max"])),
        factor=draw(st.sampled_from([0.1, 0.5, 0.9])),
        patience=draw(st.integers(0, 4)),
        min_delta=draw(st.sampled_from([0.0, 1e-4, 0.5])),
        threshold_mode=draw(st.sampled_from(["abs", "rel"])),
        cooldown=draw(st.integers(0, 3)),
        min_lr=min_lr,
        max_lr=draw(st.none() | st.sampled_from([1.0, 3.0])),
        raise_factor=draw(st.sampled_from([1.5, 2.0, 1e300])),
        raise_after=draw(st.integers(1, 3)),
        max_raises=draw(st.integers(0, 3)),
        recover=draw(st.booleans()),
        rollback=draw(st.just(True) | st.booleans()),
    )


states = st.sampled_from([None, 0.01, 2.0])
"""The loss before training."""


def trace(config, state, values):
    decisions = []
    for value, loss in values:
        state, decision = config.step(state, value, loss)
        decisions.append(decision)
    return state, decisions


@settings(max_examples=400, deadline=None)
@given(configs(), states, series)
def test_whatever_comes_the_bounds_hold_and_only_what_was_saved_is_restored(config, loss_before, values):
    state = replace(config.start(1.0), loss_before=loss_before)
    stored = {"start"} & config.needed_snapshots(state)
    raises, overridden = 0, False
    for value, loss in values:
        if value == 3.0:  # Now and then something else sets the rate.
            state, overridden = config.override(state, 1.0).state, True
        state, decision = config.step(state, value, loss)
        assert config.min_lr <= state.rate <= (config.max_lr or math.inf)
        assert math.isfinite(state.rate)
        assert state.best is None or math.isfinite(state.best)
        assert decision.rate == state.rate
        assert bool(decision.reason) == decision.is_action
        if decision.keep is not None:
            assert "candidate" in stored
            stored = stored - {"candidate"} | {"best"}
        if decision.save is not None:
            stored.add(decision.save)
        if decision.restore is not None:
            assert decision.restore in stored
        stored &= config.needed_snapshots(state)
        assert len(stored) <= 3
        assert config.needed_snapshots(state) <= stored
        raises += decision.kind == "raise"
        if decision.kind == "raise" and state.rate_too_high is not None and not overridden:
            assert state.rate < state.rate_too_high
    assert raises <= config.max_raises
    if (restore := config.finish(state).decision.restore) is not None:
        assert restore in stored
    assert not config.finish(state).state.in_excursion


ON_A_PLATEAU = {"cut", "raise", "restart"}
NEVER_ON_ONE = {"hold", "best", "success", "diverged", "override"}

AFTER = {"raise": "in excursion", "restart": "in restart", "exhausted": "exhausted", "success": "holding"}
"""What the rule is about right after such a decision."""


@settings(max_examples=200, deadline=None)
@given(configs(), states, series)
def test_whatever_comes_a_plateau_is_told_from_its_first_observation_on(config, loss_before, values):
    """From the decisions alone: back over all that did nothing, as far as the cooldown of what was done before."""
    state, quiet = replace(config.start(1.0), loss_before=loss_before), 0
    for value, loss in values:
        state, decision = config.step(state, value, loss)
        length = quiet + 1
        # At `min_lr` to be exhausted at a plateau changes nothing, so the plateau goes on.
        changes_nothing = decision.kind == "exhausted" and decision.since and decision.rate == decision.rate_before
        quiet = length if (decision.kind == "hold" and not state.cooldown) or changes_nothing else 0
        assert decision.since is not None or decision.kind not in ON_A_PLATEAU
        assert decision.since is None or decision.kind not in NEVER_ON_ONE
        if decision.since is not None:
            assert decision.since == decision.observation - length + 1
            assert length >= config.patience


@settings(max_examples=200, deadline=None)
@given(configs(), states, series)
def test_whatever_comes_the_status_is_what_was_decided(config, loss_before, values):
    state = replace(config.start(1.0), loss_before=loss_before)
    for value, loss in values:
        before = state.status
        state, decision = config.step(state, value, loss)
        assert state.status == AFTER.get(decision.kind, state.status)
        assert state.in_excursion == (state.status == "in excursion")
        if not decision.is_action and state.status != before:
            assert (decision.kind, before) == ("best", "exhausted"), "nobody has heard of it"
    assert config.finish(state).state.status in ("holding", "exhausted")


def reduced(config, values):
    """The rates of `keras.callbacks.ReduceLROnPlateau`, in its own words."""
    sign = 1 if config.mode == "min" else -1
    best = sign * math.inf
    rate, wait, cooldown_counter, rates = 1.0, 0, 0, []
    for current in values:
        if cooldown_counter > 0:
            cooldown_counter -= 1
            wait = 0
        if sign * current < sign * best - config.min_delta:
            best, wait = current, 0
        elif cooldown_counter <= 0:
            wait += 1
            if wait >= config.patience and rate > config.min_lr:
                rate = max(rate * config.factor, config.min_lr)
                cooldown_counter, wait = config.cooldown, 0
        rates.append(rate)
    return rates


ordinary = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.1, 2.3)), max_size=120)


@settings(max_examples=200, deadline=None)
@given(configs(), ordinary, st.booleans())
def test_with_raising_off_and_nothing_broken_the_rates_are_those_of_keras(config, values, is_validated):
    """Losses may wander, but do not rise by a fifth above 2, that before training."""
    config = replace(config, max_raises=0, recover=True, threshold_mode="abs", min_lr=min(config.min_lr, 0.01))
    state, rates, first_loss = replace(config.start(1.0), loss_before=2.0), [], 2.0
    for value, loss in values:
        state, decision = config.step(state, value, loss, Evidence(first_loss, True, is_validated=is_validated))
        rates.append(decision.rate)
        first_loss = loss
    assert rates == reduced(config, [value for value, _ in values])


@settings(max_examples=200, deadline=None)
@given(configs(), states, series)
def test_whatever_the_numbers_say_weights_that_have_not_grown_are_trained_as_by_keras(config, loss_before, values):
    config = replace(config, max_raises=0, recover=True, rollback=True, threshold_mode="abs")
    config = replace(config, min_lr=min(config.min_lr, 0.01))
    values = [(NAN if math.isinf(value) else value, loss) for value, loss in values]  # Keras keeps an infinite best.
    rows = [(value, loss, Evidence(loss, True)) for value, loss in values]
    _, _, decisions, _ = compared(config, rows, loss_before=loss_before)
    assert [decision.rate for decision in decisions] == reduced(config, [value for value, _ in values])
    assert not any(decision.restore for decision in decisions)


@settings(max_examples=150, deadline=None)
@given(configs(), states, series)
def test_min_on_x_equals_max_on_minus_x_but_for_the_bounds_of_a_metric(config, loss_before, values):
    other = replace(config, mode="max" if config.mode == "min" else "min")
    state = replace(config.start(1.0), loss_before=loss_before)
    with mock.patch("keras_lrplateau.rule.plateau.is_perfect", return_value=False):
        _, ours = trace(config, state, values)
        _, theirs = trace(other, state, [(-value, loss) for value, loss in values])
    assert [(d.kind, d.rate, d.save, d.restore) for d in ours] == [(d.kind, d.rate, d.save, d.restore) for d in theirs]


@settings(max_examples=150, deadline=None)
@given(configs(), states, series, st.integers(0, 120))
def test_a_run_cut_anywhere_and_continued_from_its_saved_state_equals_the_whole_run(config, loss_before, values, at):
    state = replace(config.start(1.0), loss_before=loss_before)
    whole, whole_decisions = trace(config, state, values)
    half, first = trace(config, state, values[:at])
    resumed, rest = trace(config, State.from_dict(json.loads(json.dumps(half.to_dict()))), values[at:])
    assert resumed == whole
    assert list(map(repr, first + rest)) == list(map(repr, whole_decisions))  # repr, since nan != nan


def test_a_hold_is_a_decision_like_any_other():
    """It is not made by the constructor."""
    held = run(Config(), [2.0, 3.0], rate=0.5)[2][-1]
    whole = decision.Decision("hold", "", 2, 3.0, 2.0, 0.5, 0.5, epoch=1)
    assert (held, repr(held), hash(held), held.to_dict()) == (whole, repr(whole), hash(whole), whole.to_dict())
    assert pickle.loads(pickle.dumps(held)) == copy.deepcopy(held) == whole
    assert replace(held, step=7) == replace(whole, step=7)


@settings(max_examples=150, deadline=None)
@given(configs(), series)
def test_a_step_leaves_the_state_it_was_given_unchanged(config, values):
    state = config.start(1.0)
    for value, loss in values:
        before = dataclasses.replace(state)
        after, _ = config.step(state, value, loss)
        assert state == before
        state = after


@pytest.mark.long
def test_a_million_observations_take_seconds_and_constant_memory():
    config, state = Config(patience=3), Config(patience=3).start(1.0)
    size = None
    began = time.process_time()
    for i in range(1_000_000):
        state, _ = config.step(state, float(i % 7))
        if i == 1000:
            size = len(json.dumps(state.to_dict()))
    assert state.observations == 1_000_000
    assert len(json.dumps(state.to_dict())) <= size + 40  # longer numbers, nothing else
    assert time.process_time() - began < 60  # a guard against quadratic growth, not a benchmark


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(decision).attempted > 0
    assert doctest.testmod(decision).failed == 0
