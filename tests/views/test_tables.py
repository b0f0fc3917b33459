"""A training in words: the summary and the rows of the table, as the tab and the report get them."""

import json
import math
from dataclasses import replace

import pytest
from conftest import STEPS, make_decision, make_run, time_of

from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.run import Curve, Observation, Record, Run
from keras_lrplateau.views.tables import AROUND, counts, rows, summary
from keras_lrplateau.views.words import number

NAN, INF = math.nan, math.inf

CUT = make_decision("cut", 9, 0.1, 0.05, "no improvement on 0.5", value=0.6, best=0.5, since_epoch=7)
RAISE = make_decision("raise", 14, 0.05, 0.2, "stalled", value=0.55, best=0.5, since_epoch=10)
END = make_decision("rollback", 29, 0.2, 0.05, "training ended", value=None, best=0.5)


def training(*decisions, **arguments):
    values = [1.0 - epoch / 60 for epoch in range(30)]
    curves = {"loss": values, "val_loss": values, "learning_rate": [0.1] * 30}
    return make_run(curves, *(decisions or (CUT, RAISE, END)), **arguments)


# --- the summary -----------------------------------------------------------------------------------------------------


def test_the_summary_says_where_a_training_stands():
    run = training(statuses={14: "in excursion", 29: "holding"})
    assert summary(run) == {
        "monitor": "val_loss",
        "mode": "min",
        "status": "holding",
        "unit": "epoch",
        "epochs": 30,
        "steps": 30 * STEPS,
        "best": "0.516667",
        "best_at": 30,
        "last": "0.516667",
        "is_best_undone": False,
        "is_undone": False,
        "quantity": "learning rate",
        "rate": "0.05",
        "first_rate": "0.1",
        "time": time_of(29),
    }


def test_the_summary_counts_epochs_and_steps_beyond_the_last_record():
    record = Record(0, (), "holding", 7, "loss", "min", "learning rate", None, 1.0)
    run = Run("run", {"loss": Curve([0, 1, 2], [1.0, 0.4, 0.5], [1.0, 2.0, 3.0])}, [record])
    found = summary(run)
    assert (found["epochs"], found["steps"], found["time"]) == (3, 21, 3.0)
    assert (found["best"], found["best_at"], found["last"]) == ("0.4", 2, "0.5")


def test_the_summary_counts_the_steps_from_before_a_resume_that_began_at_0():
    records = [
        Record(epoch, (), "holding", steps, "loss", "min", "learning rate", None, 1.0)
        for epoch, steps in ((0, 10), (4, 50), (5, 10), (7, 30))
    ]
    assert summary(Run("run", {}, records))["steps"] == 80


def test_the_summary_leaves_open_what_is_not_known():
    run = make_run({"loss": [1.0, 0.9], "learning_rate_a": [0.1, 0.1], "learning_rate_b": [0.1, 0.1]}, mode=None)
    found = summary(run)
    assert [found[name] for name in ("best", "best_at", "last", "rate", "first_rate")] == [None] * 5
    assert found["status"] == "holding"


def test_the_summary_shows_a_last_value_that_is_not_finite_but_no_such_best():
    found = summary(make_run({"val_loss": [1.0, 0.5, NAN]}))
    assert (found["best"], found["best_at"], found["last"]) == ("0.5", 2, "nan")
    assert summary(make_run({"val_loss": [1.0, -INF]}))["last"] == "-inf"


def test_the_multiplier_of_a_schedule_is_not_shown_as_a_rate():
    cut = make_decision("cut", 1, 1.0, 0.5)
    run = make_run({"learning_rate": [0.1, 0.08]}, cut, quantity="multiplier of the schedule")
    assert (summary(run)["quantity"], summary(run)["rate"]) == ("multiplier of the schedule", "0.04")


def test_a_training_that_has_ended_is_finished_until_it_goes_on():
    run = make_run({"val_loss": [1.0, 0.9, 0.8]}, make_decision("cut", 2, 0.1, 0.05))
    run.records[-1] = replace(run.records[-1], is_over=True)
    assert summary(run)["status"] == "finished"
    run.curves["val_loss"].append(3, 0.7, time_of(3))
    assert summary(run)["status"] == "holding"


def test_the_first_rate_is_known_only_where_the_first_epoch_is():
    assert summary(make_run({"learning_rate": [0.5, 0.1]}))["first_rate"] == "0.5"
    assert summary(make_run({"learning_rate": [None, 0.1]}))["first_rate"] is None


def test_the_best_value_is_undone_if_it_was_one_of_an_excursion_that_failed():
    values = {"val_loss": [1.0, 0.9, 0.9, 0.8, 1.0, 0.9]}
    raised = make_decision("raise", 2, 0.01, 0.1, best=0.9)
    back = make_decision("rollback", 4, 0.05, 0.01, best=0.9, restore="raise")
    assert (summary(make_run(values, raised, back))["best"], summary(make_run(values, raised, back))["best_at"]) == (
        "0.8",
        4,
    )
    assert summary(make_run(values, raised, back))["is_best_undone"]
    assert not summary(make_run(values, raised))["is_best_undone"], "it is still open"
    assert not summary(make_run(values, raised, make_decision("success", 4, 0.05, 0.01, best=0.8)))["is_best_undone"]
    kept = make_decision("diverged", 4, 0.05, 0.003, best=0.8, restore="best")
    assert not summary(make_run(values, raised, kept))["is_best_undone"], "its weights came back"
    earlier = {"val_loss": [1.0, 0.7, 0.9, 0.8, 1.0, 0.9]}
    assert not summary(make_run(earlier, raised, back))["is_best_undone"], "it was before the excursion"


def test_the_last_value_is_undone_if_its_weights_were_given_up():
    """val_loss  1.0  0.9  2.0 (taken back)  0.8"""
    back = make_decision("rollback", 2, 0.2, 0.1, restore="raise", value=2.0)
    at_once = make_run({"val_loss": [1.0, 0.9, 2.0]}, back)
    assert (summary(at_once)["last"], summary(at_once)["is_undone"]) == ("2", True)
    assert not summary(make_run({"val_loss": [1.0, 0.9, 2.0, 0.8]}, back))["is_undone"], "training went on from there"
    assert not summary(make_run({"val_loss": [1.0, 0.9, 2.0]}, make_decision("cut", 2, 0.2, 0.1)))["is_undone"]


def test_what_was_undone_within_an_epoch_is_not_its_last_value():
    back = make_decision("rollback", 2, 0.2, 0.1, restore="raise", step=2 * STEPS + 1)
    run = make_run({"val_loss": [1.0, 0.9, 0.85]}, back)
    assert not summary(run)["is_undone"]


# --- counts ----------------------------------------------------------------------------------------------------------

TAIL = [make_decision("anneal", 20 + i, 0.2 - i / 100, 0.19 - i / 100, f"{9 - i} left", value=0.5) for i in range(9)]


def test_decisions_are_counted_by_kind_and_annealing_only_once():
    decisions = [CUT, make_decision("cut", 10, 0.05, 0.02), RAISE, *TAIL]
    assert list(counts(training(*decisions)).items()) == [("cut", 2), ("raise", 1), ("anneal", 1)]
    assert counts(make_run({"loss": [1.0]})) == {}


# --- the rows --------------------------------------------------------------------------------------------------------


def test_a_row_tells_a_decision_in_texts():
    assert rows(training())[0] == {
        "kind": "cut",
        "epoch": 10,
        "rate_before": "0.1",
        "rate": "0.05",
        "value": "0.6",
        "best": "0.5",
        "reason": "no improvement on 0.5",
        "range": [2, 15],
    }


def test_there_is_a_row_for_each_decision_in_order():
    assert [(row["kind"], row["epoch"]) for row in rows(training())] == [("cut", 10), ("raise", 15), ("rollback", 30)]
    assert rows(make_run({"loss": [1.0]})) == []


def test_annealing_is_one_row_from_its_first_rate_to_its_last():
    found = rows(training(CUT, *TAIL))
    assert [(row["kind"], row["epoch"]) for row in found] == [("cut", 10), ("anneal", 21)]
    assert (found[1]["rate_before"], found[1]["rate"], found[1]["reason"]) == ("0.2", "0.11", "9 left")


def test_what_is_not_known_is_empty_and_what_is_not_finite_is_named():
    diverged = make_decision("diverged", 3, 0.1, 0.003, value=NAN, best=None)
    (row,) = rows(training(diverged))
    assert (row["value"], row["best"]) == ("nan", "")
    (row,) = rows(training(make_decision("diverged", 3, INF, 0.003, value=-INF, best=0.5)))
    assert (row["value"], row["rate_before"]) == ("-inf", "inf")
    (row,) = rows(training(END))
    assert row["value"] == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.1, "0.1"),
        (0.10000000149011612, "0.1"),
        (1234567.0, "1.23457e+06"),
        (1e-12, "1e-12"),
        (0, "0"),
        (-2.5, "-2.5"),
        (NAN, "nan"),
        (INF, "inf"),
        (-INF, "-inf"),
    ],
)
def test_numbers_have_six_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize("axis", ["epoch", "step", "time"])
def test_a_row_zooms_to_its_plateau_with_some_epochs_around_it(axis):
    run = training()
    unit = 1000 if axis == "time" else 1
    for row, decision in zip(rows(run, axis), (CUT, RAISE, END), strict=True):
        over = decision.epoch + 1
        since = decision.epoch if decision.since_epoch is None else decision.since_epoch
        before, first, last, after = (unit * x for x in Timeline(run).positions(axis, [0, since, over, over + AROUND]))
        low, high = row["range"]
        assert before <= low <= first < last < after <= high


def test_a_long_plateau_is_seen_with_as_much_after_it():
    plateau = make_decision("cut", 25, 0.1, 0.05, since_epoch=6)
    assert rows(training(plateau))[0]["range"] == [1, 46]


def test_a_range_does_not_begin_before_the_training():
    (row,) = rows(training(make_decision("cut", 1, 0.1, 0.05, since_epoch=1)))
    assert row["range"][0] == 0


@pytest.mark.parametrize("axis", ["epoch", "step", "time"])
def test_the_range_of_a_single_epoch_is_not_empty(axis):
    run = make_run({"val_loss": [NAN], "learning_rate": [0.1]}, make_decision("diverged", 0, 0.1, 0.003, value=NAN))
    (row,) = rows(run, axis)
    low, high = row["range"]
    assert low < high


@pytest.mark.parametrize("axis", ["epoch", "step", "time"])
def test_a_row_zooms_to_a_decision_within_an_epoch_with_some_observations_around_it(axis):
    """Four observations in each epoch of 10 steps; the plateau was of the last two of them."""
    cut = make_decision("cut", 9, 0.1, 0.05, step=95, observation=38, since=37, since_epoch=9)
    late = make_decision("cut", 9, 0.05, 0.02, step=100, observation=40, since=None, since_epoch=None)
    run = training(cut, late)
    unit = 1000 if axis == "time" else 1
    low, first, last, high = (unit * x for x in Timeline(run).positions(axis, [9.5 - 7 / 4, 9, 9.5, 9.5 + 5 / 4]))
    found = rows(run, axis)
    assert [row["epoch"] for row in found] == [10, 10]
    assert found[0]["range"] == pytest.approx([low, high], rel=1e-13)
    assert low < first < last < high
    assert found[1]["range"] == pytest.approx(
        [unit * x for x in Timeline(run).positions(axis, [10 - 6 / 4, 10 + 5 / 4])], rel=1e-13
    )


def test_a_running_epoch_is_not_counted_but_its_steps_are():
    cut = make_decision("cut", 2, 0.1, 0.05, step=24)
    run = make_run({"loss": [1.0, 0.9], "learning_rate": [0.1, 0.1]}, cut, monitor="loss")
    run.records[-1] = replace(run.records[-1], steps=24)
    assert [summary(run)[name] for name in ("epochs", "steps", "rate")] == [2, 24, "0.05"]
    run.records = run.records[-1:]
    assert [summary(run)[name] for name in ("epochs", "steps", "rate")] == [2, 24, "0.05"], "from its last record alone"


def test_all_of_it_is_strict_json():
    strange = [NAN, INF, -INF, 1e300, -0.0, 5e-324]
    decisions = [
        make_decision("diverged", epoch, rate, rate, "\ud800 <b>\x00", value=rate, best=rate)
        for epoch, rate in enumerate(strange)
    ]
    for monitor in ("val_loss", "val_acc"):
        run = make_run({"val_loss": strange, "learning_rate": strange}, *decisions, monitor=monitor, mode="max")
        for axis in ("epoch", "step", "time"):
            content = {"summary": summary(run), "counts": counts(run), "rows": rows(run, axis)}
            assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_best_that_is_shown_is_that_of_the_run():
    record = Record(0, (), "holding", 1, "val_loss", "min", "learning rate", Observation(0, 0.25), 1.0)
    run = Run("run", {"val_loss": Curve([0, 1], [0.5, 0.4], [1.0, 2.0])}, [record])
    assert (summary(run)["best"], summary(run)["best_at"]) == ("0.25", 1)
