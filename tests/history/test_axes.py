"""Moments of a training on the axes of epochs, steps and wall time."""

import math
from dataclasses import replace

import pytest
from conftest import make_decision, make_run, time_of
from hypothesis import given
from hypothesis import strategies as st
from records import record, stepped, within

from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.run import Curve, Run

NAN, INF = math.nan, math.inf


# --- positions -------------------------------------------------------------------------------------------------------


def test_on_the_axis_of_epochs_all_is_where_it_is():
    run = make_run({"loss": [1.0, 0.9]})
    assert Timeline(run).positions("epoch", [0, 1, 2.5, 9]) == [0, 1, 2.5, 9]


def test_steps_are_exact_at_the_records_and_in_a_straight_line_between_and_beyond_them():
    """10 steps in the first epoch, 5 in each of the next four, then 20 in each of the last two."""
    run = Run("run", {}, [record(0, 10), record(4, 30), record(6, 70)])
    assert Timeline(run).positions("step", [0, 0.5, 1]) == [0, 5, 10]
    assert Timeline(run).positions("step", [2, 4, 5]) == [15, 25, 30]
    assert Timeline(run).positions("step", [6, 7]) == [50, 70]
    assert Timeline(run).positions("step", [8, 10]) == [90, 130]


def test_one_record_is_enough_for_steps():
    run = Run("run", {}, [record(0, 8)])
    assert Timeline(run).positions("step", [0, 1, 3]) == [0, 8, 24]


def test_what_others_recorded_at_or_before_the_first_step_has_a_place():
    run = Run("run", {"loss": Curve([-1], [1.0], [0.0])}, [record(-1, 0)], "step", knows_steps=False)
    assert Timeline(run).positions("step", [0]) == [0]
    assert Timeline(run).steps == 0
    run = Run("run", {"loss": Curve([-2, 9], [1.0, 0.5], [0.0] * 2)}, [record(-2, -1), record(9, 10)], "step")
    assert Timeline(run).positions("step", [-1, 5, 10]) == [-1, 5, 10]


def test_a_training_that_was_resumed_has_the_steps_of_before():
    run = Run("run", {}, [record(5, 60), record(6, 80)])
    assert Timeline(run).positions("step", [0, 3, 6, 7]) == [0, 30, 60, 80]


def test_steps_counted_from_0_again_go_on_from_those_of_before():
    """Each resume without the optimizer's state, also with a single record, and another one."""
    run = Run("run", {}, [record(0, 10), record(4, 50), record(5, 10)])
    assert Timeline(run).positions("step", [1, 5, 5.5, 6, 7]) == [10, 50, 55, 60, 70]
    run.records += [record(7, 30), record(8, 5), record(9, 10)]
    assert Timeline(run).positions("step", [6, 7, 8, 9, 10]) == [60, 70, 80, 90, 95], (
        "the epoch of the resume at the pace so far"
    )
    found = Timeline(run).positions("step", [epoch / 4 for epoch in range(60)])
    assert found == sorted(found)


def test_steps_that_were_rolled_back_before_a_resume_are_not_counted_twice():
    """The optimizer's count begins with 20 again, because 12 of the 32 steps were rolled back."""
    run = Run("run", {}, [record(0, 4), record(7, 32), record(8, 24), record(11, 36)])
    assert Timeline(run).positions("step", [8, 9, 12]) == [32, 36, 48]


def test_times_are_those_of_the_curve_with_the_most_epochs():
    run = make_run({"loss": [1.0, 0.9, 0.8, 0.7], "val_loss": [None, 1.0, None, 0.9]})
    run.curves["loss"].times = [100.0, 101.0, 109.0, 110.0]
    assert Timeline(run).positions("time", [1, 2, 3, 4]) == [100.0, 101.0, 109.0, 110.0]
    assert Timeline(run).positions("time", [2.5]) == [105.0]


def test_a_record_gives_the_time_of_an_epoch_that_no_curve_has():
    curve = Curve([0, 6], [1.0, 0.9], [1000.0, 1060.0])
    run = Run("run", {"loss": curve}, [record(0, 10, 1000.0), record(3, 40, 1050.0)])
    assert Timeline(run).positions("time", [1, 4, 7]) == [1000.0, 1050.0, 1060.0]
    assert Timeline(run).positions("time", [2.5, 5.5]) == [1025.0, 1055.0]


def test_times_go_on_in_a_straight_line_beyond_both_ends():
    run = make_run({"loss": [1.0, 0.9, 0.8]})
    assert Timeline(run).positions("time", [0, 4]) == [time_of(-1), time_of(3)]


def test_a_single_epoch_has_one_time():
    run = make_run({"loss": [1.0]})
    assert Timeline(run).positions("time", [0, 1, 2]) == [time_of(0)] * 3
    assert Timeline(Run("run", {}, [record(3, 10, 77.0)])).positions("time", [0, 4]) == [77.0, 77.0]


def test_a_training_without_curves_has_the_times_of_its_records():
    run = Run("run", {}, [record(0, 10, 100.0), record(4, 50, 500.0)])
    assert Timeline(run).positions("time", [1, 3, 5]) == [100.0, 300.0, 500.0]


def test_positions_never_go_back():
    run = Run("run", {}, [record(0, 10, 5.0), record(4, 10, 5.0), record(9, 70, 9.0)])
    for axis in ("epoch", "step", "time"):
        found = Timeline(run).positions(axis, [epoch / 4 for epoch in range(60)])
        assert found == sorted(found)


# --- decisions within an epoch ----------------------------------------------------------------------------------------


def moments(run):
    return [Timeline(run).moment(decision) for decision in run.decisions]


def test_a_decision_within_an_epoch_is_at_its_fraction_by_steps_and_at_its_step():
    """100 steps in each epoch, and no record of the second and the third."""
    run = stepped((0, 100, within(0, 25, 50)), (3, 400, within(3, 301, 340, 400)), curves=4)
    assert moments(run) == pytest.approx([0.25, 0.5, 3.01, 3.4, 4])
    assert Timeline(run).positions("step", moments(run)) == pytest.approx([25, 50, 301, 340, 400])
    assert Timeline(run).positions("time", moments(run)[2:]) == pytest.approx([time_of(2.01), time_of(2.4), time_of(3)])


def test_a_decision_without_a_step_or_at_the_last_one_is_at_the_end_of_its_epoch():
    run = stepped((0, 100, within(0, None)), (1, 200, within(1, 150, 200)), curves=2)
    assert moments(run) == [1, 1.5, 2]
    assert Timeline(run).moment(make_decision("cut", 7, 0.1, 0.05, step=3)) == 8, "of an epoch without a record"


def test_a_decision_is_never_outside_its_epoch():
    """The last epoch is far longer than the earlier ones, and no record says where it begins."""
    run = stepped((0, 10, []), (4, 1000, within(4, 51, 60, 999)), curves=5)
    assert moments(run) == sorted(moments(run))
    assert all(4 <= moment <= 5 for moment in moments(run))


def test_steps_counted_from_0_again_begin_with_the_epoch_of_the_record():
    run = stepped((4, 500, []), (5, 100, within(5, 20, 50)), curves=6)
    assert moments(run) == pytest.approx([5.2, 5.5])
    assert Timeline(run).positions("step", moments(run)) == pytest.approx([520, 550])


def test_a_running_epoch_is_taken_to_be_as_long_as_the_ones_before():
    run = stepped((0, 100, []), (2, 240, within(2, 210, 240)), curves=2)
    assert moments(run) == pytest.approx([2.1, 2.4])
    assert Timeline(run).over == pytest.approx(2.4)
    assert Timeline(run).positions("step", [2, *moments(run), Timeline(run).over]) == pytest.approx(
        [200, 210, 240, 240]
    )
    assert Timeline(run).positions("time", [Timeline(run).over]) == [time_of(2)], "that of its record"


def test_a_running_epoch_is_not_over_however_long_it_is():
    for steps in (200, 201, 299, 300, 5000):
        run = stepped((0, 100, []), (2, steps, within(2, steps)), curves=2)
        assert 2 < Timeline(run).over == moments(run)[0] < 3
        assert Timeline(run).positions("step", [Timeline(run).over]) == [steps]


def test_a_running_first_epoch_is_taken_to_be_half_over():
    run = stepped((0, 60, within(0, 20, 60)), curves=0)
    assert moments(run) == pytest.approx([0.5 / 3, 0.5])
    assert Timeline(run).over == 0.5
    assert Timeline(run).positions("step", moments(run)) == pytest.approx([20, 60])
    run.curves["loss"].append(0, 1.0, time_of(0))
    run.records = [replace(run.records[0], steps=80)]
    assert moments(run) == [0.25, 0.75], "now that it is over"
    assert Timeline(run).over == 1


def test_epochs_after_the_last_record_are_over():
    run = stepped((0, 100, within(0, 50)), curves=3)
    assert (moments(run), Timeline(run).over) == ([0.5], 3)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300), st.booleans()), min_size=1), st.integers(0, 10))
def test_whatever_the_steps_decisions_are_in_order_and_in_their_epochs(known, curves):
    records = [
        (epoch, steps, within(epoch, *sorted({0, 1, steps // 2, steps} - {steps + 1})) if decides else [])
        for epoch, steps, decides in {each[0]: each for each in sorted(known)}.values()
    ]
    run = stepped(*records, curves=curves)
    assert moments(run) == sorted(moments(run))
    for decision in run.decisions:
        assert decision.epoch <= Timeline(run).moment(decision) <= decision.epoch + 1
    for axis in ("step", "time"):
        found = Timeline(run).positions(axis, [0, *moments(run)])
        assert found == sorted(found) or axis == "time"
