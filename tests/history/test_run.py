"""What is known of a training: where its epochs are on each axis, its best, what is told of it, its excursions."""

import math
from dataclasses import replace

import pytest
from conftest import STEPS, make_curve, make_decision, make_run, time_of
from hypothesis import given
from hypothesis import strategies as st

from keras_lrplateau.history.run import Curve, Observation, Record, Run, best_of, excursions, told

NAN, INF = math.nan, math.inf


def record(epoch, steps, time=0.0, **changes):
    fields = {"status": "holding", "monitor": "loss", "mode": "min", "quantity": "learning rate", "best": None}
    return Record(epoch, (), steps=steps, time=time, **fields | changes)


# --- positions -------------------------------------------------------------------------------------------------------


def test_on_the_axis_of_epochs_all_is_where_it_is():
    run = make_run({"loss": [1.0, 0.9]})
    assert run.positions("epoch", [0, 1, 2.5, 9]) == [0, 1, 2.5, 9]


def test_steps_are_exact_at_the_records_and_in_a_straight_line_between_and_beyond_them():
    """10 steps in the first epoch, 5 in each of the next four, then 20 in each of the last two."""
    run = Run("run", {}, [record(0, 10), record(4, 30), record(6, 70)])
    assert run.positions("step", [0, 0.5, 1]) == [0, 5, 10]
    assert run.positions("step", [2, 4, 5]) == [15, 25, 30]
    assert run.positions("step", [6, 7]) == [50, 70]
    assert run.positions("step", [8, 10]) == [90, 130]


def test_one_record_is_enough_for_steps():
    run = Run("run", {}, [record(0, 8)])
    assert run.positions("step", [0, 1, 3]) == [0, 8, 24]


def test_a_training_that_was_resumed_has_the_steps_of_before():
    run = Run("run", {}, [record(5, 60), record(6, 80)])
    assert run.positions("step", [0, 3, 6, 7]) == [0, 30, 60, 80]


def test_steps_counted_from_0_again_go_on_from_those_of_before():
    """Each resume without the optimizer's state, also with a single record, and another one."""
    run = Run("run", {}, [record(0, 10), record(4, 50), record(5, 10)])
    assert run.positions("step", [1, 5, 5.5, 6, 7]) == [10, 50, 55, 60, 70]
    run.records += [record(7, 30), record(8, 5), record(9, 10)]
    assert run.positions("step", [6, 7, 8, 9, 10]) == [60, 70, 80, 90, 95], "the epoch of the resume at the pace so far"
    found = run.positions("step", [epoch / 4 for epoch in range(60)])
    assert found == sorted(found)


def test_steps_that_were_rolled_back_before_a_resume_are_not_counted_twice():
    """The optimizer's count begins with 20 again, since 12 of the 32 steps were rolled back."""
    run = Run("run", {}, [record(0, 4), record(7, 32), record(8, 24), record(11, 36)])
    assert run.positions("step", [8, 9, 12]) == [32, 36, 48]


def test_times_are_those_of_the_curve_with_the_most_epochs():
    run = make_run({"loss": [1.0, 0.9, 0.8, 0.7], "val_loss": [None, 1.0, None, 0.9]})
    run.curves["loss"].times = [100.0, 101.0, 109.0, 110.0]
    assert run.positions("time", [1, 2, 3, 4]) == [100.0, 101.0, 109.0, 110.0]
    assert run.positions("time", [2.5]) == [105.0]


def test_a_record_gives_the_time_of_an_epoch_that_no_curve_has():
    curve = Curve([0, 6], [1.0, 0.9], [1000.0, 1060.0])
    run = Run("run", {"loss": curve}, [record(0, 10, 1000.0), record(3, 40, 1050.0)])
    assert run.positions("time", [1, 4, 7]) == [1000.0, 1050.0, 1060.0]
    assert run.positions("time", [2.5, 5.5]) == [1025.0, 1055.0]


def test_times_go_on_in_a_straight_line_beyond_both_ends():
    run = make_run({"loss": [1.0, 0.9, 0.8]})
    assert run.positions("time", [0, 4]) == [time_of(-1), time_of(3)]


def test_a_single_epoch_has_one_time():
    run = make_run({"loss": [1.0]})
    assert run.positions("time", [0, 1, 2]) == [time_of(0)] * 3
    assert Run("run", {}, [record(3, 10, 77.0)]).positions("time", [0, 4]) == [77.0, 77.0]


def test_a_training_without_curves_has_the_times_of_its_records():
    run = Run("run", {}, [record(0, 10, 100.0), record(4, 50, 500.0)])
    assert run.positions("time", [1, 3, 5]) == [100.0, 300.0, 500.0]


def test_positions_never_go_back():
    run = Run("run", {}, [record(0, 10, 5.0), record(4, 10, 5.0), record(9, 70, 9.0)])
    for axis in ("epoch", "step", "time"):
        found = run.positions(axis, [epoch / 4 for epoch in range(60)])
        assert found == sorted(found)


# --- decisions within an epoch ----------------------------------------------------------------------------------------


def within(epoch, *steps, rate=0.1):
    """Cuts in an epoch after so many optimizer steps, each to half the rate."""
    rates = [rate / 2**i for i in range(len(steps) + 1)]
    return [make_decision("cut", epoch, rates[i], rates[i + 1], step=step) for i, step in enumerate(steps)]


def stepped(*records, curves=1):
    """A training of records, each given as its epoch, its steps and its decisions; with numbers of so many epochs."""
    made = [replace(record(epoch, steps, time_of(epoch)), decisions=decisions) for epoch, steps, decisions in records]
    return Run("run", {"loss": make_curve(*[1.0] * curves)}, made)


def moments(run):
    return [run.moment(decision) for decision in run.decisions]


def test_a_decision_within_an_epoch_is_at_its_fraction_by_steps_and_at_its_step():
    """100 steps in each epoch, and no record of the second and the third."""
    run = stepped((0, 100, within(0, 25, 50)), (3, 400, within(3, 301, 340, 400)), curves=4)
    assert moments(run) == pytest.approx([0.25, 0.5, 3.01, 3.4, 4])
    assert run.positions("step", moments(run)) == pytest.approx([25, 50, 301, 340, 400])
    assert run.positions("time", moments(run)[2:]) == pytest.approx([time_of(2.01), time_of(2.4), time_of(3)])


def test_a_decision_without_a_step_or_at_the_last_one_is_at_the_end_of_its_epoch():
    run = stepped((0, 100, within(0, None)), (1, 200, within(1, 150, 200)), curves=2)
    assert moments(run) == [1, 1.5, 2]
    assert run.moment(make_decision("cut", 7, 0.1, 0.05, step=3)) == 8, "of an epoch without a record"


def test_a_decision_is_never_outside_its_epoch():
    """The last epoch is far longer than those before; no record says where it begins."""
    run = stepped((0, 10, []), (4, 1000, within(4, 51, 60, 999)), curves=5)
    assert moments(run) == sorted(moments(run))
    assert all(4 <= moment <= 5 for moment in moments(run))


def test_steps_counted_from_0_again_begin_with_the_epoch_of_the_record():
    run = stepped((4, 500, []), (5, 100, within(5, 20, 50)), curves=6)
    assert moments(run) == pytest.approx([5.2, 5.5])
    assert run.positions("step", moments(run)) == pytest.approx([520, 550])


def test_a_running_epoch_is_taken_to_be_as_long_as_the_ones_before():
    run = stepped((0, 100, []), (2, 240, within(2, 210, 240)), curves=2)
    assert moments(run) == pytest.approx([2.1, 2.4])
    assert run.over == pytest.approx(2.4)
    assert run.positions("step", [2, *moments(run), run.over]) == pytest.approx([200, 210, 240, 240])
    assert run.positions("time", [run.over]) == [time_of(2)], "that of its record"


def test_a_running_epoch_is_not_over_however_long_it_is():
    for steps in (200, 201, 299, 300, 5000):
        run = stepped((0, 100, []), (2, steps, within(2, steps)), curves=2)
        assert 2 < run.over == moments(run)[0] < 3
        assert run.positions("step", [run.over]) == [steps]


def test_a_running_first_epoch_is_taken_to_be_half_over():
    run = stepped((0, 60, within(0, 20, 60)), curves=0)
    assert moments(run) == pytest.approx([0.5 / 3, 0.5])
    assert run.over == 0.5
    assert run.positions("step", moments(run)) == pytest.approx([20, 60])
    run.curves["loss"].append(0, 1.0, time_of(0))
    run.records = [replace(run.records[0], steps=80)]
    assert moments(run) == [0.25, 0.75], "now that it is over"
    assert run.over == 1


def test_epochs_after_the_last_record_are_over():
    run = stepped((0, 100, within(0, 50)), curves=3)
    assert (moments(run), run.over) == ([0.5], 3)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300), st.booleans()), min_size=1), st.integers(0, 10))
def test_whatever_the_steps_decisions_are_in_order_and_in_their_epochs(known, curves):
    records = [
        (epoch, steps, within(epoch, *sorted({0, 1, steps // 2, steps} - {steps + 1})) if decides else [])
        for epoch, steps, decides in {each[0]: each for each in sorted(known)}.values()
    ]
    run = stepped(*records, curves=curves)
    assert moments(run) == sorted(moments(run))
    for decision in run.decisions:
        assert decision.epoch <= run.moment(decision) <= decision.epoch + 1
    for axis in ("step", "time"):
        found = run.positions(axis, [0, *moments(run)])
        assert found == sorted(found) or axis == "time"


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
    """The callback that resumes knows nothing of it; neither record before the crash tells of epoch 3."""
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
    assert (run.last_epoch, run.last_time) == (3, 0.0)
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


def test_annealing_that_was_interrupted_is_told_anew():
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
    """What was opened, what closed it, and what has come of it."""
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


def test_in_auto_mode_an_excursion_in_which_somebody_sets_the_rate_is_over():
    """Nothing is taken back, so it has not failed; what comes later has nothing to do with it."""
    override = make_decision("override", 5, 0.2, 0.01, value=None)
    again, late = make_decision("raise", 8, 0.01, 0.03), make_decision("rollback", 12, 0.03, 0.03)
    statuses = {3: "in excursion", 5: "holding", 8: "in excursion", 12: "holding"}
    found = excursions_of(UP, override, again, late, statuses=statuses)
    assert found == [(UP, override, "abandoned"), (again, late, "failed")]
    assert excursions_of(UP, override, late, statuses={3: "in excursion", 5: "holding"}) == [
        (UP, override, "abandoned")
    ]


def test_in_default_mode_an_excursion_goes_on_when_somebody_sets_the_rate():
    override, end = make_decision("override", 5, 0.2, 0.1, value=None), make_decision("success", 7, 0.1, 0.1)
    assert excursions_of(UP, override, end, statuses={3: "in excursion", 7: "holding"}) == [(UP, end, "successful")]


def test_an_excursion_may_begin_and_end_in_one_epoch():
    """A raise in the last epoch of a training is taken back at once."""
    end = make_decision("rollback", 3, 0.2, 0.05, value=None)
    assert excursions_of(UP, end) == [(UP, end, "failed")]


def test_what_ends_no_raise_is_no_excursion():
    """A restart, and what comes of it, is none; nor is the divergence of a training that was not raised."""
    kinds = ["diverged", "restart", "success", "restart", "rollback", "exhausted", "override", "search", "settle"]
    assert excursions_of(*(make_decision(kind, i, 0.1, 0.1) for i, kind in enumerate(kinds))) == []


def test_steps_per_epoch_of_the_test_helper_are_what_it_says():
    run = make_run({"loss": [1.0, 0.9, 0.8]}, make_decision("cut", 1, 0.1, 0.05))
    assert [each.epoch for each in run.records] == [0, 1, 2]
    assert run.positions("step", [1, 2, 3]) == [STEPS, 2 * STEPS, 3 * STEPS]


def test_what_is_forgotten_leaves_what_came_before():
    run = make_run(
        {"loss": [1.0, 0.9, 0.8, 0.7]}, make_decision("cut", 1, 0.1, 0.05), make_decision("cut", 2, 0.1, 0.05)
    )
    run.forget(2)
    assert run.curves["loss"].epochs == [0, 1]
    assert [record.epoch for record in run.records] == [0, 1]
    assert run.last_epoch == 1
