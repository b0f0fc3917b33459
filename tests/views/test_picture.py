"""What a picture shows of a smoothed metric, and of many runs."""

import math

import pytest
from conftest import make_decision, make_run

from keras_lrplateau.views import picture
from keras_lrplateau.views.figure import draw
from keras_lrplateau.views.picture import picture_of, smoothed

NAN = math.nan


def test_smoothing_is_the_mean_so_far_without_a_bias_towards_the_start():
    assert smoothed([4.0, 2.0, 2.0], 0.5) == pytest.approx([4, (2 * 2 + 4) / 3, (4 * 2 + 2 * 2 + 4) / 7])
    assert smoothed([3.0] * 50, 0.9) == pytest.approx([3.0] * 50)
    assert smoothed([1.0, 2.0, 3.0], 0.0) == [1.0, 2.0, 3.0]
    assert smoothed([], 0.5) == []


def test_values_that_are_not_finite_stay_and_weigh_nothing():
    found = smoothed([NAN, 4.0, math.inf, 2.0], 0.5)
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([4.0, math.inf, 8 / 3])


def test_what_was_observed_is_faint_behind_the_smoothed_line_and_keeps_the_decisions():
    run = make_run({"val_loss": [4.0, 2.0, 2.0], "learning_rate": [0.1] * 3}, make_decision("cut", 1, 0.1, 0.05))
    shown = draw([run], smoothing=0.5)["data"]
    raw, smooth = (trace for trace in shown if trace["name"].startswith("val_loss"))
    assert (raw["y"], raw["showlegend"], raw["name"]) == ([4.0, 2.0, 2.0], False, "val_loss (raw)")
    assert raw["opacity"] < 0.5
    assert smooth["y"] == pytest.approx([4, 8 / 3, 16 / 7])
    assert "cut" in raw["text"][1]
    assert not any(smooth["text"])
    (mark,) = (trace for trace in shown if trace["name"] == "cut" and trace["yaxis"] == "y")
    assert mark["y"] == [1.0], "where the rule saw it"
    assert len({trace["uid"] for trace in shown}) == len(shown)
    assert [trace["yaxis"] for trace in shown if "opacity" in trace] == ["y"], "a rate is what it is"


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, NAN])
def test_a_smoothing_that_leaves_nothing_is_refused(smoothing):
    with pytest.raises(ValueError, match=r"smoothing must be a number from 0 to 0\.99\. Received"):
        picture_of([], smoothing=smoothing)


def test_many_runs_share_the_points_and_are_marked_on_their_rates_only():
    def shown(many):
        values = [1.0 + (at % 7) / 10 for at in range(1500)]
        cut = make_decision("cut", 1, 0.1, 0.05)
        runs = [make_run({"val_loss": values}, cut, name=f"run{number}/lr_plateau") for number in range(many)]
        found = picture_of(runs).trainings
        return [line for each in found for line in each.lines if line.name == "val_loss"], [
            set(marks.y) for each in found for marks in each.marks
        ]

    lines, marks = shown(2)
    assert [len(line.y) for line in lines] == [1500] * 2
    assert marks == [{"rate", "main"}] * 2
    lines, marks = shown(40)
    assert sum(len(line.y) for line in lines) <= picture.MOST_POINTS_IN_ALL + 2 * 40
    assert marks == [{"rate"}] * 40


def test_single_precision_is_no_other_rate():
    run = make_run({"val_loss": [1.0, 1.0], "learning_rate": [0.0010000000474974513] * 2})
    (rate,) = (line for line in picture_of([run]).trainings[0].lines if line.role == "rate")
    assert set(rate.y) == {0.001}
