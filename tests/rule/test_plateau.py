"""The plateau rule, as timelines: the values that come, and what is made of each."""

import dataclasses
import doctest
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lrplateau.rule import decision, plateau, soundness
from keras_lrplateau.rule.plateau import Config, State

NAN, INF = math.nan, math.inf

KERAS = Config(factor=0.5, patience=2, max_raises=0, recover=False)
"""Small numbers, and nothing but cuts."""

FULL = replace(KERAS, max_raises=2, raise_after=2, recover=True)


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


# --- cuts ------------------------------------------------------------------------------------------------------------


def test_a_plateau_of_patience_observations_cuts():
    assert timeline(KERAS, [5, 4, 4, 4, 4, 4]) == ["1", "1", "1", "cut 0.5", "0.5", "cut 0.25"]


def test_an_improvement_starts_the_wait_anew():
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


def test_a_stall_raises_above_the_rate_of_the_last_improvement_and_a_new_best_keeps_it():
    #         best          cut           cut             stalled         new best
    values = [5, 5, 5, 5, 5, 5, 5, 6, 4, 4]
    state, line, decisions = run(FULL, values)
    assert line == ["1", "1", "cut 0.5", "0.5", "cut 0.25", "0.25", "raise 2", "2", "success 2", "2"]
    assert decisions[6].save == "raise"
    assert not state.in_excursion
    assert "new best, 4" in decisions[8].reason


def test_an_excursion_is_cut_back_and_fails_only_at_a_plateau_at_the_rate_before():
    values = [5] * 15
    _, line, decisions = run(FULL, values)
    assert line[6:] == ["raise 2", "2", "cut 1", "1", "cut 0.5", "0.5", "cut 0.25", "0.25", "rollback 0.25"]
    assert decisions[-1].restore == "raise"


def test_after_a_failure_the_next_raise_is_later_and_larger():
    state, line, _ = run(FULL, [5] * 15)
    assert line[-1] == "rollback 0.25"
    later = timeline_from(FULL, state, [5] * 6)
    assert later == ["0.25", "cut 0.125", "0.125", "cut 0.0625", "0.0625", "raise 4"]


def timeline_from(config, state, values):
    line = []
    for value in values:
        state, decision = config.step(state, value)
        line.append((decision.kind + " " if decision.is_action else "") + f"{decision.rate:g}")
    return line


def test_after_a_failure_a_raise_goes_at_least_to_the_rate_training_started_with():
    # The last improvement came late, after a cut: twice that rate is not much.
    values = [5, 5, 5, 5, 4] + [4] * 16
    line = timeline(replace(FULL, factor=0.1), values)
    assert [text for text in line if text.startswith(("raise", "rollback"))] == ["raise 0.2", "rollback 0.001"]
    line = timeline(replace(FULL, factor=0.1), values + [4] * 8)
    assert [text for text in line if text.startswith("raise")] == ["raise 0.2", "raise 1"]


def test_raises_are_bounded_and_then_only_cuts_are_left():
    _, line, decisions = run(replace(FULL, max_raises=1), [5] * 40)
    kinds = [decision.kind for decision in decisions if decision.is_action]
    assert kinds.count("raise") == 1
    assert kinds.count("exhausted") == 1
    after = kinds[kinds.index("exhausted") + 1 :]
    assert set(after) == {"cut"}
    assert "all 1 raises are used up" in next(d.reason for d in decisions if d.kind == "exhausted")
    assert line[-1] != line[20]


def test_no_raise_goes_above_max_lr():
    state, line, _ = run(replace(FULL, max_lr=1.5), [5] * 7)
    assert line[-1] == "raise 1.5"
    assert state.in_excursion


def test_a_stall_without_room_below_max_lr_is_exhausted():
    # At the rate of the bound itself: nothing can be raised.
    config = replace(FULL, max_lr=1.0, min_lr=1.0)
    _, line, decisions = run(config, [5, 5, 5])
    assert line == ["1", "1", "exhausted 1"]
    assert "no room" in decisions[-1].reason


def test_a_plateau_at_min_lr_stalls_at_once():
    assert timeline(replace(FULL, min_lr=0.5), [5] * 5) == ["1", "1", "cut 0.5", "0.5", "raise 2"]


def test_a_new_best_ends_exhaustion():
    config = replace(FULL, max_raises=1, min_lr=0.5)
    state, line, _ = run(config, [5] * 20)
    assert "exhausted 0.5" in line
    assert state.exhausted
    state, _ = config.step(state, 1.0)
    assert not state.exhausted


def test_an_excursion_that_diverges_goes_back_to_the_raise_and_no_raise_goes_as_high_again():
    state, line, decisions = run(FULL, [5] * 7 + [NAN])
    assert line[-2:] == ["raise 2", "diverged 0.25"]
    assert decisions[-1].restore == "raise"
    assert timeline_from(FULL, state, [5] * 6)[-1] == "raise 1"  # 2 broke training: half of it at most


def test_no_raise_goes_back_to_a_rate_that_diverged():
    config = replace(FULL, patience=1, raise_after=1)
    assert timeline(config, [1.0, 0.9, NAN, 0.95, 0.95, 0.95])[-3:] == ["cut 0.015", "raise 0.5", "cut 0.25"]


def test_a_rate_of_zero_is_not_raised():
    state, *_ = run(FULL, [5, 5])
    state, _ = FULL.override(state, 0.0)
    assert timeline_from(FULL, state, [5, 5, 5]) == ["exhausted 0", "0", "0"]


def test_a_raise_that_would_overflow_is_no_raise():
    config = replace(FULL, raise_factor=1e200, max_raises=5)
    _, line, decisions = run(config, [5] * 7, rate=1e200)
    assert line[-1].startswith("exhausted")
    assert all(math.isfinite(decision.rate) for decision in decisions)


# --- divergence ------------------------------------------------------------------------------------------------------


def test_a_nan_goes_back_to_the_best_weights_with_a_hard_cut():
    _, line, decisions = run(FULL, [5, 4, NAN, 4.5])
    assert line == ["1", "1", "diverged 0.03", "0.03"]
    assert decisions[2].restore == "best"
    assert "the metric is nan" in decisions[2].reason


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


def test_a_better_metric_than_ever_vouches_for_the_weights():
    assert timeline(FULL, [5, 4], losses=[1.0, INF]) == ["1", "1"]


def test_the_first_metric_cannot_vouch():
    _, line, decisions = run(FULL, [5], losses=[NAN])
    assert line == ["diverged 0.03"]
    assert decisions[0].restore == "start"


def test_a_training_loss_far_worse_than_before_training_has_diverged():
    _, line, decisions = run(FULL, [5, 4], losses=[25, 2], loss_before=2.0)
    assert line == ["diverged 0.03", "0.03"]
    assert decisions[0].restore == "start"
    assert "far worse than before training (2)" in decisions[0].reason
    assert timeline(FULL, [5, 4], losses=[19, 2], loss_before=2.0) == ["1", "1"]


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


def test_a_first_batch_that_was_no_yardstick_gives_the_first_rate_back():
    # The training loss is no lower at the far lower rate: what was far worse was not the rate's doing.
    state, line, decisions = run(FULL, [5] * 4, losses=[1.0, 0.9, 1.0, 1.0], loss_before=0.01)
    assert line == ["diverged 0.03", "rollback 1", "1", "1"]
    assert "no yardstick" in decisions[1].reason
    assert state.best == 5


def test_a_training_loss_that_comes_down_with_the_rate_is_cut_further():
    losses = [1e12, 1e8, 1e4, 1.0]
    assert timeline(FULL, [5] * 4, losses=losses, loss_before=1.0)[-1] == "2.7e-05"


def test_without_recovery_a_nan_is_only_no_improvement():
    _, line, decisions = run(KERAS, [NAN, 5, NAN, NAN, 4])
    assert line == ["1", "1", "1", "cut 0.5", "0.5"]
    assert decisions[-1].best == 4


# --- restarts --------------------------------------------------------------------------------------------------------


def plateau_after_an_unstable_start(config=FULL):
    """A network that came through a loss of 5 times that before training, and then learns nothing."""
    return run(config, [2.3] * 3, losses=[10.0, 2.3, 2.3], loss_before=2.0)


def test_a_plateau_after_an_unstable_start_restarts_with_a_far_lower_rate():
    state, line, decisions = plateau_after_an_unstable_start()
    assert line == ["1", "1", "restart 0.03"]
    assert decisions[-1].restore == "start"
    assert state.best is None
    assert state.aside is not None
    assert state.aside.best == 2.3


def test_a_network_that_never_gets_below_the_loss_it_rose_from_is_taken_for_dead():
    _, line, _ = run(FULL, [2.3] * 3, losses=[2.3, 1.9, 1.9], loss_before=2.0)
    assert line[-1] == "restart 0.03"
    _, line, _ = run(FULL, [2.3] * 7, losses=[2.3] + [1.7] * 6, loss_before=2.0)
    assert line[-1] == "raise 2"


def test_a_rate_far_too_low_is_not_taken_for_one_too_high():
    _, line, _ = run(FULL, [2.3] * 7, losses=[2.1] + [2.0] * 6, loss_before=2.0)
    assert line[-1] == "raise 2"


def test_after_a_stable_start_a_plateau_cuts_and_a_stall_raises():
    _, line, _ = run(FULL, [2.3] * 7, losses=[5.9] + [1.7] * 6, loss_before=2.0)
    assert [text for text in line if " " in text] == ["cut 0.5", "cut 0.25", "raise 2"]


def test_a_restart_succeeds_when_it_beats_what_was_put_aside():
    state, *_ = plateau_after_an_unstable_start()
    kinds, saves = [], []
    for value in (3.0, 2.5, 2.2):
        state, decision = FULL.step(state, value, 2.0)
        kinds.append(decision.kind)
        saves.append(decision.save)
    assert kinds == ["best", "best", "success"]
    assert saves == [None, None, "best"]  # what was put aside stays saved until it is beaten
    assert state.aside is None


def test_a_restart_that_is_unstable_again_restarts_again_at_the_first_plateau():
    state, *_ = plateau_after_an_unstable_start()
    line = []
    for _ in range(3):
        state, decision = FULL.step(state, 2.4, 10.0)
        line.append(f"{decision.kind} {decision.rate:g}")
    assert line == ["best 0.03", "hold 0.03", "restart 0.0009"]
    assert state.aside.best == 2.3


def test_a_restart_that_stalls_without_a_new_best_is_taken_back_for_good():
    state, *_ = plateau_after_an_unstable_start()
    line, restores = [], []
    for _ in range(9):
        state, decision = FULL.step(state, 2.4, 2.0)
        line.append(f"{decision.kind} {decision.rate:g}")
        restores.append(decision.restore)
    assert line[:6] == ["best 0.03", "hold 0.03", "cut 0.015", "hold 0.015", "cut 0.0075", "hold 0.0075"]
    assert line[6:] == ["rollback 1", "hold 1", "cut 0.5"]  # and not over again
    assert restores[6] == "best"
    assert state.best == 2.3


def test_a_restart_below_the_rate_that_diverged_is_cut_from_that_rate():
    values, losses = [5, 5, NAN, 6, 6], [8.0, 2.0, 2.0, 2.0, 2.0]
    _, line, _ = run(FULL, values, losses=losses, loss_before=1.0)
    assert line[2:] == ["diverged 0.03", "0.03", "restart 0.03"]


def test_giving_up_brings_back_what_was_put_aside():
    state, *_ = plateau_after_an_unstable_start()
    for _ in range(soundness.MAX_RECOVERIES):
        state, decision = FULL.step(state, NAN)
    assert (decision.kind, decision.restore, state.best) == ("rollback", "best", 2.3)


def test_a_rate_that_diverged_in_a_restart_is_not_raised_to_when_that_is_taken_back():
    state, *_ = plateau_after_an_unstable_start()
    state, _ = FULL.step(state, NAN)
    state, decision = FULL.finish(state)
    assert decision.kind == "rollback"
    assert state.rate_too_high == 0.03


def test_a_first_batch_that_was_no_yardstick_gives_back_the_rate_from_before_not_the_first_one():
    values, losses = [5, 5, 5, 6, 6], [1.0, 1.0, 1.0, 30.0, 20.0]
    _, line, _ = run(FULL, values, losses=losses, loss_before=1.0)
    assert line == ["1", "1", "cut 0.5", "diverged 0.015", "rollback 0.5"]


def test_a_divergence_after_a_restart_goes_back_to_the_start():
    state, *_ = plateau_after_an_unstable_start()
    state, _ = FULL.step(state, 3.0, 2.0)
    _, decision = FULL.step(state, NAN, 2.0)
    assert (decision.kind, decision.restore) == ("diverged", "start")


def test_the_snapshot_of_the_start_is_kept_only_while_a_restart_is_possible():
    def kept(**kwargs):
        state, *_ = run(FULL, [5, 4], **kwargs)
        return FULL.needed_snapshots(state)

    assert kept(loss_before=2.0) == {"start", "best"}
    assert kept(loss_before=None) == {"best"}


def test_without_snapshots_nothing_is_restored_and_nothing_restarts():
    config = replace(FULL, rollback=False)
    _, line, decisions = plateau_after_an_unstable_start(config)
    assert line[-1] == "cut 0.5"
    _, line, more = run(config, [5] * 15 + [NAN])
    assert {"rollback 0.25", "diverged 0.0075"} <= set(line)
    assert {d.save for d in decisions + more} == {d.restore for d in decisions + more} == {None}


# --- the end, and others' changes ------------------------------------------------------------------------------------


def test_an_excursion_still_open_at_the_end_is_taken_back():
    state, line, _ = run(FULL, [5] * 9)
    assert line[-1] == "cut 1"
    _, decision = FULL.finish(state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "raise", 0.25)


def test_a_restart_still_open_at_the_end_is_taken_back():
    state, *_ = plateau_after_an_unstable_start()
    after, decision = FULL.finish(state)
    assert (decision.kind, decision.restore, decision.rate) == ("rollback", "best", 1.0)
    assert after.best == 2.3


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
    state, line, _ = run(FULL, [5] * 7)
    assert line[-1] == "raise 2"
    state, _ = FULL.override(state, 0.001)
    assert timeline_from(FULL, state, [5, 5])[-1] == "rollback 0.001"


# --- what a decision tells of its plateau ----------------------------------------------------------------------------


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


def test_each_cut_of_an_excursion_and_its_rollback_tell_their_own_plateau():
    _, line, decisions = run(FULL, [5] * 15)
    kinds = ["cut", "cut", "raise", "cut", "cut", "cut", "rollback"]
    assert [text.split()[0] for text in line if " " in text] == kinds
    assert plateaus(decisions) == [(kind, 2 * i + 2, 2 * i + 3) for i, kind in enumerate(kinds)]


def test_a_restart_tells_the_plateau_before_it_and_its_rollback_the_one_after_it():
    state, _, decisions = plateau_after_an_unstable_start()
    assert plateaus(decisions) == [("restart", 2, 3)]
    later = []
    for _ in range(7):
        state, decision = FULL.step(state, 2.4, 2.0)
        later.append(decision)
    assert plateaus(later) == [("cut", 5, 6), ("cut", 7, 8), ("rollback", 9, 10)]


def test_exhaustion_at_a_stall_tells_its_plateau_and_after_many_recoveries_there_was_none():
    _, _, decisions = run(replace(KERAS, min_lr=0.5, patience=1), [5, 5, 5])
    assert plateaus(decisions) == [("cut", 2, 2), ("exhausted", 3, 3)]
    _, line, decisions = run(FULL, [5] + [NAN] * (soundness.MAX_RECOVERIES + 1))
    assert line[-1].startswith("exhausted")
    assert plateaus(decisions) == []


def test_a_decision_that_no_plateau_caused_tells_of_none():
    #         best          cut           cut             stalled   success    diverged
    values = [5, 5, 5, 5, 5, 5, 5, 6, 4, NAN]
    state, line, decisions = run(FULL, values)
    assert [text.split()[0] for text in line if " " in text] == ["cut", "cut", "raise", "success", "diverged"]
    assert [decision.since for decision in decisions] == [None, None, 2, None, 4, None, 6, None, None, None]
    assert FULL.override(state, 0.5).decision.since is None
    state, line, _ = run(FULL, [5] * 8)
    ended = FULL.finish(state).decision
    assert (ended.kind, ended.since) == ("rollback", None)
    state, *_ = plateau_after_an_unstable_start()
    ended = FULL.finish(state).decision
    assert (ended.kind, ended.since) == ("rollback", None)


def test_a_plateau_at_which_nothing_is_left_to_do_is_a_plain_hold():
    state, line, _ = run(replace(KERAS, min_lr=0.5, patience=1), [5, 5, 5])
    assert line[-1] == "exhausted 0.5"
    _, decision = replace(KERAS, min_lr=0.5, patience=1).step(state, 5)
    assert (decision.kind, decision.since) == ("hold", None)


def test_a_plateau_lasts_through_what_could_not_be_cut():
    """At `min_lr` nothing is done, until somebody raises the rate: then it is cut at once, for all of the plateau."""
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
    assert FULL.start(1.0).status == "holding"
    state, line = statuses(FULL, [5] * 15)
    held, raised = "holding", "in excursion"
    assert line[:7] == [held, held, f"cut {held}", held, f"cut {held}", held, f"raise {raised}"]
    assert line[7:] == [raised, f"cut {raised}"] * 3 + [raised, f"rollback {held}"]
    _, line = statuses(FULL, [5] * 7 + [4])
    assert line[-2:] == [f"raise {raised}", f"success {held}"]
    _, line = statuses(FULL, [5] * 7 + [NAN])
    assert line[-2:] == [f"raise {raised}", f"diverged {held}"]
    state, _ = statuses(FULL, [5] * 8)
    assert state.status == raised
    assert FULL.override(state, 0.7).state.status == raised
    assert FULL.finish(state).state.status == held


def test_the_status_is_in_restart_until_it_has_succeeded_or_is_taken_back():
    state, *_ = plateau_after_an_unstable_start()
    assert state.status == "in restart"
    assert FULL.finish(state).state.status == "holding"
    better, _ = FULL.step(state, 3.0, 2.0)
    assert better.status == "in restart", "it has not beaten what was put aside"
    better, decision = FULL.step(better, 2.2, 2.0)
    assert (decision.kind, better.status) == ("success", "holding")
    for _ in range(7):
        assert state.status == "in restart"
        state, decision = FULL.step(state, 2.4, 2.0)
    assert (decision.kind, state.status) == ("rollback", "holding")


def test_the_status_is_exhausted_until_a_new_best_or_another_rate():
    config = replace(KERAS, patience=1, min_lr=0.5)
    state, line = statuses(config, [5, 5, 5, 5])
    assert line == ["holding", "cut holding", "exhausted exhausted", "exhausted"]
    assert config.override(state, 0.7).state.status == "holding"
    after, decision = config.step(state, 4)
    assert (decision.kind, after.status) == ("best", "holding")


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_state_survives_json():
    state, *_ = plateau_after_an_unstable_start()
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
        {"recoveries": 4},
        {"rate_before_raise": 0.5},
        {"failed_raises": 1},
        {"failed_raises": 1, "raises": 1, "rate_before_raise": 0.5},
    ],
)
def test_a_state_that_contradicts_itself_is_refused(change):
    state, *_ = run(FULL, [5, 5, 5])
    with pytest.raises(ValueError, match="contradicts itself"):
        State.from_dict(state.to_dict() | change)


def test_only_a_state_that_a_restart_put_aside_is_taken_for_one():
    data = plateau_after_an_unstable_start()[0].to_dict()
    assert State.from_dict(data).status == "in restart"
    damages = ({"best": None}, {"raises": 1}, {"rate": NAN}, {"version": 1}, {"aside": data["aside"]})
    for damage in damages:
        with pytest.raises(ValueError, match=r"state|must be"):
            State.from_dict(data | {"aside": data["aside"] | damage})
    with pytest.raises(ValueError, match="contradicts itself"):
        State.from_dict(data | {"raises": 1})


def test_a_chain_of_states_put_aside_is_refused_however_long_it_is():
    inner = plateau_after_an_unstable_start()[0].to_dict()
    del inner["version"]
    chain = inner
    for _ in range(5000):
        chain = inner | {"aside": chain}
    with pytest.raises(ValueError, match="aside"):
        State.from_dict(chain | {"version": plateau.STATE_VERSION})


# A training may be resumed with another configuration.


def test_a_state_with_more_raises_than_the_configuration_now_allows_makes_no_more():
    state, line, _ = run(FULL, [5] * 15)
    assert (state.raises, line[-1]) == (1, "rollback 0.25")
    line = timeline_from(replace(FULL, max_raises=0), state, [5] * 20)
    assert not [text for text in line if text.startswith("raise")]
    state = replace(state, raises=2)
    line = timeline_from(replace(FULL, max_raises=1), state, [5] * 20)
    assert not [text for text in line if text.startswith("raise")]


def test_a_damaged_start_is_not_restarted_from_once_recovery_is_off():
    state, line, _ = run(FULL, [2.3] * 2, losses=[10.0, 2.3], loss_before=2.0)
    assert line == ["1", "1"]
    assert FULL.step(state, 2.3, 2.3).decision.kind == "restart"
    off = replace(FULL, recover=False)
    assert "start" not in off.needed_snapshots(state)
    assert off.step(state, 2.3, 2.3).decision.kind == "cut"


def test_what_was_put_aside_comes_back_also_once_recovery_or_rollback_is_off():
    state, *_ = plateau_after_an_unstable_start()
    for change, needed, restore in ({"recover": False}, {"best"}, "best"), ({"rollback": False}, set(), None):
        config = replace(FULL, **change)
        assert config.needed_snapshots(state) == needed
        _, decision = config.finish(state)
        assert (decision.kind, decision.restore, decision.best) == ("rollback", restore, 2.3)


def test_without_any_best_the_start_is_needed_also_after_a_raise():
    """Without recovery a training may raise before any finite metric. With it on again it goes back to the start."""
    off = replace(FULL, recover=False, raise_after=1)
    state, line, _ = run(off, [NAN] * 4)
    assert line[-1] == "raise 2"
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
    _, line, decisions = run(replace(config, patience=1, raise_after=1, max_lr=2), [5] * 4)
    assert line == ["1", "cut 0.5", "raise 2", "cut 1"]
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


@settings(max_examples=1000, deadline=None)
@given(configs(), states, series)
def test_whatever_comes_the_bounds_hold_and_only_what_was_saved_is_restored(config, loss_before, values):
    state = replace(config.start(1.0), loss_before=loss_before)
    stored = {"start"} & config.needed_snapshots(state)
    raises, overridden = 0, False
    for value, loss in values:
        if value == 3.0:  # Now and then somebody sets the rate.
            state, overridden = config.override(state, 1.0).state, True
        state, decision = config.step(state, value, loss)
        assert config.min_lr <= state.rate <= (config.max_lr or math.inf)
        assert math.isfinite(state.rate)
        assert state.best is None or math.isfinite(state.best)
        assert decision.rate == state.rate
        assert bool(decision.reason) == decision.is_action
        if decision.restore is not None:
            assert decision.restore in stored
        stored &= config.needed_snapshots(state)
        if decision.save is not None:
            stored.add(decision.save)
        assert len(stored) <= 2
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


@settings(max_examples=500, deadline=None)
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


@settings(max_examples=500, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(configs(), states, series)
def test_min_on_x_equals_max_on_minus_x(config, loss_before, values):
    other = replace(config, mode="max" if config.mode == "min" else "min")
    state = replace(config.start(1.0), loss_before=loss_before)
    _, ours = trace(config, state, values)
    _, theirs = trace(other, state, [(-value, loss) for value, loss in values])
    assert [(d.kind, d.rate, d.save, d.restore) for d in ours] == [(d.kind, d.rate, d.save, d.restore) for d in theirs]


@settings(max_examples=300, deadline=None)
@given(configs(), states, series, st.integers(0, 120))
def test_a_run_cut_anywhere_and_continued_from_its_saved_state_equals_the_whole_run(config, loss_before, values, at):
    state = replace(config.start(1.0), loss_before=loss_before)
    whole, whole_decisions = trace(config, state, values)
    half, first = trace(config, state, values[:at])
    resumed, rest = trace(config, State.from_dict(json.loads(json.dumps(half.to_dict()))), values[at:])
    assert resumed == whole
    assert list(map(repr, first + rest)) == list(map(repr, whole_decisions))  # repr, since nan != nan


@settings(max_examples=300, deadline=None)
@given(configs(), series)
def test_a_step_leaves_the_state_it_was_given_unchanged(config, values):
    state = config.start(1.0)
    for value, loss in values:
        before = dataclasses.replace(state)
        after, _ = config.step(state, value, loss)
        assert state == before
        state = after


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
