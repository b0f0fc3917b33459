"""A training as data: its best, its rate, its decisions for people, its excursions."""

import math
from dataclasses import replace

import pytest
from conftest import STEPS, make_curve, make_decision, make_run
from records import record, stepped, within

from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.run import Curve, Observation, Run, best_of, excursions, told

NAN, INF = math.nan, math.inf


def test_the_rate_in_force_is_that_of_the_last_decision_of_a_running_epoch():
    run = stepped((0, 100, []), (2, 240, within(2, 210, 240)), curves=2)
    run.curves["learning_rate"] = make_curve(0.1, 0.1)
    assert run.rate == 0.025


def test_under_a_schedule_the_rate_of_the_curve_is_that_after_the_decisions_within_the_epoch():
    """Multipliers 1 and 1/2 within the first epoch, 1/4 after it; then 1/8 within the second, which is running."""
    run = stepped((0, 100, within(0, 50, 100, rate=1.0)), curves=1)
    run.records = [replace(each, quantity="multiplier of the schedule") for each in run.records]
    run.curves["learning_rate"] = make_curve(0.05)
    assert run.rate == pytest.approx(0.025)
    later = replace(record(1, 150), decisions=within(1, 150, rate=0.25), quantity="multiplier of the schedule")
    run.records.append(later)
    assert run.rate == pytest.approx(0.0125)


# --- where it stands -------------------------------------------------------------------------------------------------


def test_the_best_is_the_first_of_the_best_finite_observations():
    values = [(0, 3.0), (1, NAN), (2, 1.0), (3, 1.0), (4, -INF), (5, 2.0)]
    assert best_of([Observation(*pair) for pair in values], "min") == (2, 1.0)
    values = [(0, 3.0), (1, NAN), (2, 3.0), (3, INF)]
    assert best_of([Observation(*pair) for pair in values], "max") == (0, 3.0)
    assert best_of([Observation(0, NAN), Observation(1, INF)], "min") is None
    assert best_of([], "max") is None


def test_the_best_may_be_in_a_gap_of_the_curve():
    run = Run("run", {"loss": make_curve(1.0, None, 0.9)}, [record(0, 10), record(2, 30, best=Observation(1, 0.2))])
    assert run.best == (1, 0.2)


def test_the_best_may_be_after_the_last_record():
    run = Run("run", {"loss": make_curve(1.0, 0.9, NAN, 0.5, 0.6)}, [record(1, 20, best=Observation(1, 0.9))])
    assert run.best == (3, 0.5)
    run = Run("run", {"loss": make_curve(1.0, 0.9, 0.95)}, [record(1, 20, best=Observation(1, 0.9))])
    assert run.best == (1, 0.9)
    run = Run("run", {"loss": make_curve(0.1, 0.3, 0.2)}, [record(0, 10, mode="max", best=Observation(0, 0.1))])
    assert run.best == (1, 0.3)


def test_there_is_no_best_of_what_was_never_observed():
    assert make_run({"loss": [1.0, 0.9]}).best is None
    assert make_run({"val_loss": [NAN, NAN]}).best is None
    assert Run("run", {}, [record(0, 10)]).best is None


def test_the_best_from_before_a_crash_is_still_the_best():
    """The resumed callback does not know it, and neither record before the crash mentions epoch 3."""
    curve = make_curve(1.0, 0.9, 0.8, 0.1, 0.7, 0.6)
    records = [record(0, 10, best=Observation(0, 1.0)), record(5, 60, best=Observation(5, 0.6))]
    assert Run("run", {"loss": curve}, records).best == (3, 0.1)


def test_the_best_from_before_a_crash_is_known_even_where_the_curve_has_a_gap():
    curve = make_curve(1.0, 0.9, 0.8, None, 0.7, 0.6)
    records = [record(0, 10, best=Observation(0, 1.0)), record(4, 50, best=Observation(3, 0.1))]
    run = Run("run", {"loss": curve}, [*records, record(5, 60, best=Observation(5, 0.6))])
    assert run.best == (3, 0.1)


def test_the_direction_is_known_from_before_a_resume():
    run = Run("run", {}, [record(0, 10, mode="max"), record(5, 60, mode=None)])
    assert run.mode == "max"
    assert Run("run", {}, [record(0, 10, mode=None)]).mode == "min"


def test_the_last_record_tells_what_holds_for_the_whole_training():
    records = [record(0, 10, status="searching"), record(3, 40, status="annealing", monitor="acc", mode="max")]
    run = Run("run", {}, records)
    assert (run.status, run.monitor, run.mode, run.quantity) == ("annealing", "acc", "max", "learning rate")
    assert (run.last_epoch, run.last_time) == (3, None)
    run.curves["loss"] = Curve([0, 7], [1.0, 0.9], [1.0, 2.0])
    assert (run.last_epoch, run.last_time) == (7, 2.0)


def test_the_rate_in_force_is_that_of_the_last_decision_or_the_last_one_used():
    cut = make_decision("cut", 2, 0.1, 0.05)
    assert make_run({"learning_rate": [0.1, 0.1, 0.1]}, cut).rate == 0.05, "the next epoch is to be trained with it"
    assert make_run({"learning_rate": [0.1, 0.1, 0.1, 0.05, 0.04]}, cut).rate == 0.04
    assert make_run({"learning_rate": [0.1, 0.07]}).rate == 0.07
    assert make_run({"loss": [1.0]}).rate is None


def test_several_rates_are_no_rate_and_a_multiplier_acts_on_that_in_use():
    cut = make_decision("cut", 1, 1.0, 0.5)
    both = {"learning_rate_sgd": [0.1, 0.1], "learning_rate_adam": [0.01, 0.01]}
    assert make_run(both, cut).rate is None
    run = make_run({"learning_rate": [0.1, 0.08]}, cut, quantity="multiplier of the schedule")
    assert run.is_scaled
    assert run.rate == 0.04
    run.curves["learning_rate"] = make_curve(0.1, 0.08, 0.03)
    assert run.rate == 0.03, "it was used after the decision"


def test_under_a_schedule_all_decisions_of_the_last_epoch_act_on_the_rate_in_use():
    scaled = {"quantity": "multiplier of the schedule"}
    cut, rollback = make_decision("cut", 1, 2.0, 1.0), make_decision("rollback", 1, 1.0, 0.5)
    assert make_run({"learning_rate": [0.1, 0.08]}, cut, rollback, **scaled).rate == pytest.approx(0.02)
    nothing = make_decision("override", 1, 0.0, 0.5)
    assert make_run({"learning_rate": [0.1, 0.08]}, nothing, **scaled).rate == 0.08
    both = {"learning_rate_sgd": [0.1, 0.08], "learning_rate_adam": [0.01, 0.01]}
    assert make_run(both, cut, **scaled).rate is None


def test_the_rates_are_those_of_all_optimizers():
    run = make_run({"loss": [1.0], "learning_rate_sgd": [0.1], "learning_rate_adam": [0.01]})
    assert list(run.rates) == ["learning_rate_sgd", "learning_rate_adam"]


# --- what is told ----------------------------------------------------------------------------------------------------


def anneal(epoch, rate_before, rate):
    return make_decision("anneal", epoch, rate_before, rate, f"{9 - epoch} left")


def test_annealing_in_a_row_is_told_once_from_its_first_rate_to_its_last():
    steps = [anneal(5, 0.4, 0.3), anneal(6, 0.3, 0.2), anneal(7, 0.2, 0.1)]
    cut = make_decision("cut", 2, 0.8, 0.4)
    assert told([cut, *steps]) == [cut, replace(steps[0], rate=0.1)]
    assert steps[0].rate == 0.3, "what was given is as it was"


def test_annealing_that_was_interrupted_is_told_again():
    steps = [anneal(5, 0.4, 0.3), anneal(6, 0.3, 0.2), anneal(8, 0.02, 0.01), anneal(9, 0.01, 0.005)]
    broken = make_decision("diverged", 7, 0.2, 0.02)
    expected = [replace(steps[0], rate=0.2), broken, replace(steps[2], rate=0.005)]
    assert told([*steps[:2], broken, *steps[2:]]) == expected


def test_all_other_decisions_are_told_one_by_one():
    decisions = [make_decision("cut", epoch, 0.1, 0.1) for epoch in range(3)]
    assert told(decisions) == decisions
    assert told([]) == []


# --- excursions ------------------------------------------------------------------------------------------------------

UP = make_decision("raise", 3, 0.05, 0.2)
CUT = make_decision("cut", 4, 0.2, 0.1)


def excursions_of(*decisions, statuses=None):
    """Return what opened each excursion, what closed it, and its outcome."""
    found = excursions(make_run({}, *decisions, statuses=statuses))
    return [(each.opened, each.closed, each.outcome) for each in found]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (make_decision("success", 6, 0.1, 0.1), "successful"),
        (make_decision("rollback", 6, 0.1, 0.05), "failed"),
        (make_decision("diverged", 6, 0.1, 0.05), "failed"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_an_excursion_goes_from_a_raise_to_its_judgement(end, outcome):
    before, after = make_decision("cut", 1, 0.1, 0.05), make_decision("cut", 9, 0.1, 0.01)
    assert excursions_of(before, UP, CUT, end, after) == [(UP, end, outcome)]


def test_an_excursion_that_was_not_judged_is_open():
    assert excursions_of(UP, CUT) == [(UP, None, "open")]


def test_several_excursions_are_told_apart():
    end, again = make_decision("rollback", 6, 0.1, 0.05), make_decision("raise", 9, 0.05, 0.4)
    found = excursions_of(UP, CUT, end, make_decision("diverged", 7, 0.1, 0.05), again)
    assert found == [(UP, end, "failed"), (again, None, "open")]


def test_in_auto_mode_a_success_may_open_the_next_excursion():
    on, last = make_decision("success", 6, 0.2, 0.6), make_decision("success", 9, 0.6, 0.6)
    found = excursions_of(UP, on, last, make_decision("rollback", 12, 0.6, 0.6))
    assert found == [(UP, on, "successful"), (on, last, "successful")]
    failed = make_decision("rollback", 9, 0.6, 0.2)
    assert excursions_of(UP, on, failed) == [(UP, on, "successful"), (on, failed, "failed")]


def test_in_auto_mode_an_excursion_ends_when_the_user_sets_the_rate():
    """Nothing is rolled back, so it has not failed; later decisions do not belong to it."""
    override = make_decision("override", 5, 0.2, 0.01, value=None)
    again, late = make_decision("raise", 8, 0.01, 0.03), make_decision("rollback", 12, 0.03, 0.03)
    statuses = {3: "in excursion", 5: "holding", 8: "in excursion", 12: "holding"}
    found = excursions_of(UP, override, again, late, statuses=statuses)
    assert found == [(UP, override, "abandoned"), (again, late, "failed")]
    assert excursions_of(UP, override, late, statuses={3: "in excursion", 5: "holding"}) == [
        (UP, override, "abandoned")
    ]


def test_in_default_mode_an_excursion_goes_on_when_the_user_sets_the_rate():
    override, end = make_decision("override", 5, 0.2, 0.1, value=None), make_decision("success", 7, 0.1, 0.1)
    assert excursions_of(UP, override, end, statuses={3: "in excursion", 7: "holding"}) == [(UP, end, "successful")]


def test_an_excursion_may_begin_and_end_in_one_epoch():
    """A raise in the last epoch of a training is taken back at once."""
    end = make_decision("rollback", 3, 0.2, 0.05, value=None)
    assert excursions_of(UP, end) == [(UP, end, "failed")]


def test_what_ends_no_raise_is_no_excursion():
    """A restart and its result are no excursion, and neither is a divergence without a raise."""
    kinds = ["diverged", "restart", "success", "restart", "rollback", "exhausted", "override", "search", "settle"]
    assert excursions_of(*(make_decision(kind, i, 0.1, 0.1) for i, kind in enumerate(kinds))) == []


def test_steps_per_epoch_of_the_test_helper_are_what_it_says():
    run = make_run({"loss": [1.0, 0.9, 0.8]}, make_decision("cut", 1, 0.1, 0.05))
    assert [each.epoch for each in run.records] == [0, 1, 2]
    assert Timeline(run).positions("step", [1, 2, 3]) == [STEPS, 2 * STEPS, 3 * STEPS]


def test_what_is_forgotten_leaves_what_came_before():
    run = make_run(
        {"loss": [1.0, 0.9, 0.8, 0.7]}, make_decision("cut", 1, 0.1, 0.05), make_decision("cut", 2, 0.1, 0.05)
    )
    run.forget(2)
    assert run.curves["loss"].epochs == [0, 1]
    assert [record.epoch for record in run.records] == [0, 1]
    assert run.last_epoch == 1
