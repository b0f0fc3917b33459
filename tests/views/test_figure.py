"""The figure as plotly gets it: what is drawn where, and that plotly takes it."""

import itertools
import json
import math
import re
import sys
from dataclasses import replace
from time import process_time
from typing import get_args

import pytest
from conftest import STEPS, make_curve, make_decision, make_run, time_of
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.graph_objects import Figure

from keras_lrplateau import Config
from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.run import Curve, Observation, Record, Run, told
from keras_lrplateau.recordings.recording import Recording
from keras_lrplateau.recordings.replay import replay
from keras_lrplateau.rule.decision import Decision, Kind, Status
from keras_lrplateau.views import picture
from keras_lrplateau.views.colors import COLORS
from keras_lrplateau.views.figure import MARKS, draw, drawn, figure, plotly_js, to_plotly
from keras_lrplateau.views.picture import MOST_POINTS, thinned
from keras_lrplateau.views.tables import counts, rows, summary

NAN, INF = math.nan, math.inf

AXES, SCALES = ("epoch", "step", "time"), ("auto", "linear", "log")


# --- what is in a figure ---------------------------------------------------------------------------------------------


def lines(figure, yaxis=None):
    """The lines by name, of one axis or of all."""
    drawn = [trace for trace in figure["data"] if trace["mode"] != "markers"]
    return {trace["name"]: trace for trace in drawn if yaxis is None or trace["yaxis"] == yaxis}


def marks(figure, yaxis="y2"):
    """Kind, x, y and text of each mark on an axis."""
    return [
        (trace["name"], x, y, trace["hovertemplate"].replace("%{text}", text).removesuffix("<extra></extra>"))
        for trace in figure["data"]
        if trace["mode"] == "markers" and trace["yaxis"] == yaxis and "text" in trace
        for x, y, text in zip(trace["x"], trace["y"], trace["text"], strict=True)
    ]


def shapes(figure, word):
    """Name, left and right of the shapes with this word in their names."""
    return [(shape["name"], shape["x0"], shape["x1"]) for shape in figure["layout"]["shapes"] if word in shape["name"]]


def value_at(trace, x):
    """What a line with steps shows at x."""
    assert trace["line"]["shape"] == "hv"
    (found,) = [y for at, end, y in zip(trace["x"], trace["x"][1:], trace["y"], strict=False) if at <= x < end]
    return found


def in_sight(figure, value, axis="yaxis"):
    """Whether a value is on the chart before anybody zooms."""
    layout = figure["layout"][axis]
    if "range" not in layout:
        return True
    low, high = layout["range"]
    if layout.get("type") == "log":
        return value > 0 and low <= math.log10(value) <= high
    return low <= value <= high


TEMPLATE = re.compile(r"%{([^\s%{}:]*)([:|\|][^}]*)?}")
ENTITIES = {"mu": "μ", "amp": "&", "lt": "<", "gt": ">", "nbsp": "\xa0", "times": "\xd7", "plusmn": "±", "deg": "°"}


def shown(text):
    """What plotly.js makes of a text: it fills in the template, takes tags away, and knows only these few entities.

    Source: TEMPLATE_STRING_REGEX in lib/index.js, and entityToUnicode in lib/svg_text_utils.js.
    """

    def character(match):
        name = match[1]
        if name.startswith("#"):
            return chr(int(name[2:], 16) if name[1] == "x" else int(name[1:]))
        return ENTITIES.get(name, match[0])

    text = TEMPLATE.sub("…", text)
    return re.sub(r"&(#\d+|#x[\da-fA-F]+|[a-z]+);", character, re.sub(r"<[^>]*>", "", text))


def texts(figure):
    """All that plotly may take for markup."""
    for trace in figure["data"]:
        yield trace["name"]
        yield trace.get("hovertemplate", "")
        yield from trace.get("text", ())
    for axis in ("xaxis", "yaxis", "yaxis2", "yaxis3"):
        yield figure["layout"].get(axis, {"title": {"text": ""}})["title"]["text"]
    for shape in figure["layout"]["shapes"]:
        yield shape["name"]


# --- a training of all kinds -----------------------------------------------------------------------------------------

EVENTS = [
    make_decision("cut", 2, 0.1, 0.05, "no improvement on 0.9", since=2, since_epoch=1, value=0.95),
    make_decision("raise", 4, 0.05, 0.2, "stalled", since=4, since_epoch=3, value=0.93),
    make_decision("rollback", 6, 0.2, 0.05, "the raise failed", since=6, since_epoch=5, value=1.1),
    make_decision("override", 8, 0.05, 0.02, "found at 0.02", value=None),
    make_decision("raise", 8, 0.02, 0.4, "stalled", since=8, since_epoch=7, value=0.9),
    make_decision("success", 9, 0.4, 0.4, "the raise brought a new best", value=0.6),
    make_decision("anneal", 10, 0.4, 0.3, "the last 3 observations", value=0.55),
    make_decision("anneal", 11, 0.3, 0.2, "2 observations left", value=0.5),
    make_decision("anneal", 12, 0.2, 0.1, "1 observation left", value=0.45),
]

VALUES = [1.0, 0.9, 0.95, 0.92, 0.93, 1.0, 1.1, 0.91, 0.9, 0.6, 0.55, 0.5, 0.45]
RATES = [0.1, 0.1, 0.1, 0.05, 0.05, 0.2, 0.2, 0.05, 0.02, 0.4, 0.4, 0.3, 0.2]


def eventful(**arguments):
    curves = {"loss": [value / 2 for value in VALUES], "val_loss": VALUES, "learning_rate": RATES}
    return make_run(arguments.pop("curves", curves), *EVENTS, **arguments)


def two_optimizers():
    curves = {"val_loss": [1.0, 0.9, 0.95], "learning_rate_sgd": [0.1, 0.1, 0.05], "learning_rate_adam": [0.01] * 3}
    return make_run(curves, make_decision("cut", 1, 0.1, 0.05), name="two")


def scheduled():
    curves = {"val_loss": [1.0, 0.9, 0.95, 0.9], "learning_rate": [0.1, 0.08, 0.03, 0.02]}
    cut = make_decision("cut", 1, 1.0, 0.5)
    return make_run(curves, cut, name="scheduled", quantity="multiplier of the schedule")


def accurate():
    curves = {"loss": [1.0, 0.9], "accuracy": [0.4, 0.5], "val_accuracy": [0.3, 0.45], "learning_rate": [0.1, 0.1]}
    cut = make_decision("cut", 1, 0.1, 0.05, value=0.45)
    return make_run(curves, cut, name="acc", monitor="val_accuracy", mode="max")


def unvalidated():
    """The metric never came, but someone has set the rate."""
    curves = {"loss": [1.0, 0.9, 0.8], "learning_rate": [0.1, 0.2, 0.2]}
    return make_run(curves, make_decision("override", 1, 0.1, 0.2, value=None), name="blind", mode=None)


def one_epoch():
    return make_run({"loss": [1.0], "val_loss": [1.1], "learning_rate": [0.1]}, name="short")


def bare():
    """Nothing but a record."""
    return make_run({}, name="bare")


KINDS_OF_RUNS = (eventful, two_optimizers, scheduled, accurate, unvalidated, one_epoch, bare)


# --- plotly takes it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", AXES)
def test_plotly_takes_the_figure_of_whatever_run(axis):
    choices = itertools.cycle(itertools.product(SCALES, (False, True)))
    for make, (scale, dark) in zip(KINDS_OF_RUNS, choices, strict=False):
        drawn = draw([make()], axis, scale=scale, dark=dark)
        json.dumps(drawn, allow_nan=False)
        assert len(Figure(drawn).data) == len(drawn["data"])


@pytest.mark.parametrize("axis", AXES)
def test_plotly_takes_the_comparison_of_several_runs_and_of_none(axis):
    for runs in ([], [make() for make in KINDS_OF_RUNS]):
        drawn = draw(runs, axis, dark=axis == "time")
        json.dumps(drawn, allow_nan=False)
        assert len(Figure(drawn).data) == len(drawn["data"])
    assert draw([], axis)["data"] == []


def test_every_axis_and_scale_can_be_had():
    for axis, scale, dark in itertools.product(AXES, SCALES, (False, True)):
        json.dumps(draw([eventful(), accurate()], axis, scale=scale, dark=dark), allow_nan=False)


@pytest.mark.parametrize(("name", "value"), [("axis", "epochs"), ("axis", None), ("scale", "symlog"), ("scale", 1)])
def test_another_axis_or_scale_is_refused_with_the_choices(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be one of '.*', '.*'. Received: {name}={value!r}"):
        draw([eventful()], **{name: value})


def test_an_object_for_notebooks_is_made_of_it():
    made = to_plotly(draw([eventful()]))
    assert type(made) is Figure
    assert [trace.name for trace in made.data] == [trace["name"] for trace in draw([eventful()])["data"]]


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    drawn = draw([eventful()])
    with pytest.raises(ImportError, match="pip install plotly"):
        to_plotly(drawn)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match="pip install plotly"):
        plotly_js()


def test_plotly_js_is_that_of_the_installed_plotly():
    assert b"plotly.js v" in plotly_js()[:1000]


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 1e300, 5e-324, -1e308, NAN])
names = st.text(max_size=8) | st.sampled_from(["loss", "val_loss", "val_acc", "<b>", "%{y}", '"'])
run_strategy_curves = ("loss", "val_loss", "acc", "val_acc", "learning_rate", "learning_rate_a", "learning_rate_b")


@st.composite
def runs(draw_from):
    """Whatever an event file could hold."""
    epochs = draw_from(st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True).map(sorted))
    records = []
    for epoch in epochs:
        decision = st.builds(
            Decision,
            kind=st.sampled_from(get_args(Kind)),
            reason=st.text(max_size=20),
            observation=st.integers(0, 40),
            value=st.none() | numbers,
            best=st.none() | numbers,
            rate_before=numbers,
            rate=numbers,
            since=st.none() | st.integers(0, 40),
            epoch=st.just(epoch),
            since_epoch=st.none() | st.integers(0, epoch),
            step=st.none() | st.integers(0, 10**6),
        )
        records.append(
            Record(
                epoch,
                tuple(draw_from(st.lists(decision, max_size=3))),
                draw_from(st.sampled_from(get_args(Status))),
                draw_from(st.integers(0, 10**6)),
                draw_from(st.sampled_from(["loss", "val_loss", "val_acc"]) | names),
                draw_from(st.sampled_from(["min", "max", None])),
                draw_from(st.sampled_from(["learning rate", "multiplier of the schedule"])),
                draw_from(st.none() | st.builds(Observation, st.integers(0, 40), st.floats(-9, 9))),
                draw_from(st.floats(0, 4e9)),
            )
        )
    curves = {}
    for name in draw_from(st.lists(st.sampled_from(run_strategy_curves), max_size=5, unique=True)):
        known = draw_from(st.lists(st.integers(0, 40), max_size=8, unique=True).map(sorted))
        values = [draw_from(numbers) for _ in known]
        curves[name] = Curve(known, values, [draw_from(st.floats(0, 4e9)) for _ in known])
    return Run(draw_from(names), curves, records)


@settings(max_examples=60)
@given(st.lists(runs(), max_size=3), st.sampled_from(AXES), st.sampled_from(SCALES), st.booleans())
def test_whatever_a_run_holds_figure_summary_and_rows_are_strict_json(drawn, axis, scale, dark):
    drawn = [run for run in drawn if not Timeline(run).lacks(axis)]
    figure = draw(drawn, axis, scale=scale, dark=dark)
    json.dumps([figure, *((summary(run), counts(run), rows(run, axis)) for run in drawn)], allow_nan=False)
    for trace in figure["data"]:
        assert len(trace["x"]) == len(trace["y"])


@settings(max_examples=30)
@given(st.lists(runs(), max_size=2), st.sampled_from(AXES))
def test_whatever_a_run_holds_plotly_takes_the_figure(drawn, axis):
    Figure(draw([run for run in drawn if not Timeline(run).lacks(axis)], axis))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("extremes", [[5e-324, 1.0, 1e300], [-1.7e308, 1.7e308], [1e300], [1e308], [5e-324]], ids=repr)
def test_rates_and_losses_as_far_apart_as_floats_go_are_drawn(extremes, scale):
    """Also where the last of another curve is far off, so that the chart has a range."""
    run = make_run({"val_loss": extremes, "loss": [1.0, 1.0, 1.0, 1e9], "learning_rate": extremes})
    figure = draw([run], scale=scale)
    json.dumps(figure, allow_nan=False)
    low, high = figure["layout"]["yaxis"].get("range", (0, 1))
    assert low < high


# --- hostile texts ---------------------------------------------------------------------------------------------------

HOSTILE = {
    "html": '<img src=x onerror="f()"><b>bold</b> a < b<extra>x</extra>',
    "link": '<a href="javascript:alert(1)">x</a>',
    "entities": "&lt;b&gt; &amp; &#60;i&#62; &quot;",
    "quotes": """say "no" or 'yes'""",
    "template": "%{y} %{customdata} %{x|%Y} 100%{",
}

OURS = re.compile("</?b>|<br>|<extra></extra>")
"""All markup that there should be."""


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("alone", [True, False])
def test_hostile_texts_show_as_they_are(text, alone):
    cut = make_decision("cut", 1, 0.1, 0.05, text)
    curves = {"loss": [1.0, 0.9], text: [0.1, 0.2], "learning_rate_" + text: [0.1, 0.1]}
    hostile = make_run(curves, cut, name=text, monitor=text, quantity=text)
    figure = draw([hostile] if alone else [hostile, eventful()])
    assert not [each for each in texts(figure) if re.search("[<>]", OURS.sub("", each))]
    for axis in ("y2", "y3"):
        hovers = [shown(each[3]) for each in marks(figure, axis) if "0.1 → 0.05" in each[3] and each[1] == 2]
        (hover,) = hovers
        assert hover.count(text) == (3 if alone else 4), "quantity, monitor and reason, and with others the run"
    (curve,) = lines(figure, "y3").values()
    (rate,) = [trace for trace in lines(figure, "y2").values() if trace["name"] != "eventful · learning rate"][:1]
    for trace, name in ((curve, text), (rate, "learning rate " + text.replace("_", " "))):
        label = name if alone else f"{text} · {name}"
        assert shown(trace["name"]).removesuffix(" (monitor)") == label
        assert shown(trace["hovertemplate"]).startswith(label + " …")
    assert shown(figure["layout"]["yaxis3"]["title"]["text"]) == text


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_reason_has_markup(reason):
    decision = make_decision("cut", 1, 0.1, 0.05, reason)
    (mark, *_) = marks(draw([make_run({"val_loss": [1.0, 0.9], "learning_rate": [0.1, 0.1]}, decision)]))
    assert set(re.findall(r"<[^>]*>", mark[3])) <= {"<b>", "</b>", "<br>"}
    # It is wrapped, and the hover has two lines of its own before it, and one in bold.
    text = "".join(shown(part) for part in mark[3].split("<br>")[3:])
    assert "".join(text.split()) == "".join(reason.split())


def test_a_long_reason_is_wrapped_and_cut_off_in_the_end():
    decision = make_decision("cut", 1, 0.1, 0.05, "far " * 500)
    run = make_run({"val_loss": [1.0, 0.9], "learning_rate": [0.1, 0.1]}, decision)
    text = marks(draw([run]))[0][3]
    assert max(map(len, text.split("<br>"))) < 80
    assert text.count("<br>") < 20


# --- lines -----------------------------------------------------------------------------------------------------------


def test_one_run_shows_its_losses_its_metric_its_rate_and_nothing_else():
    figure = draw([eventful(curves={"loss": VALUES, "val_loss": VALUES, "mae": VALUES, "learning_rate": RATES})])
    assert set(lines(figure)) == {"loss", "val_loss (monitor)", "learning rate"}
    line = lines(figure)["val_loss (monitor)"]
    assert line["x"] == list(range(1, len(VALUES) + 1)), "at the end of the epoch"
    assert line["y"] == VALUES
    assert line["customdata"] == line["x"]


def test_a_metric_that_is_no_loss_has_an_axis_of_its_own_with_its_training_twin():
    figure = draw([accurate()])
    assert set(lines(figure, "y")) == {"loss"}
    assert set(lines(figure, "y3")) == {"accuracy", "val_accuracy (monitor)"}
    axis = figure["layout"]["yaxis3"]
    assert (axis["overlaying"], axis["side"], axis["title"]["text"]) == ("y", "right", "val_accuracy")
    assert [(kind, x, y) for kind, x, y, _ in marks(figure, "y3")] == [("cut", 2, 0.45)]
    assert "yaxis3" not in draw([eventful()])["layout"]


def test_the_loss_of_an_output_is_a_loss():
    figure = draw([make_run({"a_loss": [1.0, 0.9], "val_a_loss": [1.0, 0.9]}, monitor="val_a_loss")])
    assert set(lines(figure, "y")) == {"a_loss", "val_a_loss (monitor)"}


def test_what_is_not_finite_is_a_gap():
    figure = draw([make_run({"val_loss": [1.0, NAN, INF, -INF, 0.5]})])
    line = lines(figure)["val_loss (monitor)"]
    assert line["y"] == [1.0, None, None, None, 0.5]
    assert line["connectgaps"] is False


def test_a_value_between_two_gaps_is_a_point():
    for values, sizes in (
        ([1.0, NAN, 0.9, INF, 0.8, 0.7], [6, 0, 6, 0, 0, 0]),
        ([1.0, 0.9, NAN, 0.8], [0, 0, 0, 6]),
        ([NAN, 1.0, NAN], [0, 6, 0]),
    ):
        line = lines(draw([make_run({"val_loss": values})]))["val_loss (monitor)"]
        assert (line["mode"], line["marker"]["size"]) == ("lines+markers", sizes)


@pytest.mark.parametrize("values", [[1.0, 0.9, NAN, 0.8, 0.7], [1.0, None, 0.9, None, 0.8], [NAN, NAN]], ids=repr)
def test_a_value_with_a_neighbour_is_no_point(values):
    """An epoch without validation is no gap."""
    line = lines(draw([make_run({"val_loss": values})]))["val_loss (monitor)"]
    assert (line["mode"], line["marker"]) == ("lines", {})


def test_a_metric_that_never_came_has_no_axis():
    curves = {"loss": [1.0, 0.9], "learning_rate": [0.1, 0.1]}
    blind = make_run(curves, name="blind", monitor="val_auc", mode=None)
    assert "yaxis3" not in draw([blind])["layout"]
    assert draw([blind, accurate()])["layout"]["yaxis"]["title"]["text"] == "val_accuracy"
    assert draw([blind, accurate(), eventful()])["layout"]["yaxis3"]["title"]["text"] == "val_accuracy"
    assert draw([blind, blind])["layout"]["yaxis"]["title"]["text"] == "loss"


def test_a_run_whose_metric_never_came_shows_the_rest():
    figure = draw([unvalidated()])
    assert set(lines(figure)) == {"loss", "learning rate"}
    ((kind, x, y, text),) = marks(figure)
    assert (kind, x, y) == ("override", 2, 0.2)
    assert "after epoch 2" in text
    others = [trace["y"] for trace in figure["data"] if trace["mode"] == "markers" and trace["yaxis"] == "y"]
    assert all(y is None or in_sight(figure, y) for y in itertools.chain(*others))


@pytest.mark.parametrize("axis", AXES)
def test_a_run_of_one_epoch_shows_something(axis):
    figure = draw([one_epoch()], axis)
    for name in ("loss", "val_loss (monitor)"):
        line = lines(figure)[name]
        assert len(line["x"]) == 1
        assert "markers" in line["mode"], "a line of one point is not seen"
    rate = lines(figure)["learning rate"]
    assert rate["y"][0] == 0.1
    assert "markers" in rate["mode"] or rate["x"][0] < rate["x"][-1]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("epoch", [1, 2, 3]),
        ("step", [STEPS, 2 * STEPS, 3 * STEPS]),
        ("time", [1000 * time_of(0), 1000 * time_of(1), 1000 * time_of(2)]),
    ],
)
def test_each_axis_has_its_positions(axis, expected):
    figure = draw([make_run({"val_loss": [1.0, 0.9, 0.8]}, make_decision("cut", 1, 0.1, 0.05))], axis)
    assert lines(figure)["val_loss (monitor)"]["x"] == expected
    assert [x for _, x, _, _ in marks(figure, "y")] == [expected[1]]
    assert figure["layout"]["xaxis"]["type"] == ("date" if axis == "time" else "linear")


# --- the rate --------------------------------------------------------------------------------------------------------


def test_the_rate_is_a_step_at_the_epoch_from_which_on_it_was_used():
    trace = lines(draw([eventful()]))["learning rate"]
    for epoch, rate in enumerate(RATES):
        assert value_at(trace, epoch) == value_at(trace, epoch + 0.99) == rate
    assert trace["x"][-1] == len(RATES)
    assert trace["y"][-1] == 0.1, "what the last decision has set"


def test_the_rate_is_exact_at_a_cut_that_the_curve_lacks():
    cut = make_decision("cut", 4, 0.1, 0.05)
    run = make_run({"learning_rate": [0.1, *[None] * 8, 0.05]}, cut)
    trace = lines(draw([run]))["learning rate"]
    assert [value_at(trace, x) for x in (0, 4.99, 5, 9)] == [0.1, 0.1, 0.05, 0.05]


def test_the_rate_of_an_epoch_is_that_which_someone_has_set_in_it():
    override = make_decision("override", 4, 0.1, 0.4, value=None)
    cut = make_decision("cut", 4, 0.4, 0.2)
    run = make_run({"learning_rate": [0.1, 0.1, 0.1, 0.1, *[None] * 5, 0.2]}, override, cut)
    trace = lines(draw([run]))["learning rate"]
    assert [value_at(trace, x) for x in (3.99, 4, 4.99, 5)] == [0.1, 0.4, 0.4, 0.2]


changes = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([0.5, 0.1, 4.0]), st.booleans(), st.booleans()), min_size=1, max_size=8
)


@settings(max_examples=100)
@given(changes, st.data())
def test_the_rate_is_the_same_whatever_epochs_the_curve_lacks(spans, data):
    """But for the first and the last one, which TensorBoard never leaves out."""
    rate, epoch, rates, decisions = 0.1, 0, [], []
    for length, factor, overridden, cut_too in spans:
        rates += [rate] * (length - 1)
        epoch += length
        if overridden:
            decisions.append(make_decision("override", epoch - 1, rate, factor * rate, value=None))
            rate *= factor
        rates.append(rate)
        if cut_too:
            decisions.append(make_decision("cut", epoch - 1, rate, rate / 2))
            rate /= 2
    kept = data.draw(st.sets(st.integers(0, len(rates) - 1)))
    kept |= {0, len(rates) - 1}
    sparse = [value if each in kept else None for each, value in enumerate(rates)]
    for axis in ("epoch", "step"):
        whole, partly = (
            lines(draw([make_run({"learning_rate": values}, *decisions)], axis))["learning rate"]
            for values in (rates, sparse)
        )
        unit = STEPS if axis == "step" else 1
        for each in range(len(rates)):
            assert value_at(partly, each * unit) == value_at(whole, each * unit) == pytest.approx(rates[each], rel=1e-6)
        end = (len(rates) * unit, pytest.approx(rate, rel=1e-6))
        assert (partly["x"][-1], partly["y"][-1]) == (whole["x"][-1], whole["y"][-1]) == end


def test_the_rate_of_a_schedule_is_that_of_the_curve_and_not_the_multiplier():
    figure = draw([scheduled()])
    trace = lines(figure)["learning rate"]
    assert [value_at(trace, epoch) for epoch in range(4)] == [0.1, 0.08, 0.03, 0.02]
    ((kind, x, y, text),) = marks(figure)
    assert (kind, x, y) == ("cut", 2, 0.04), "what half the multiplier makes of the rate in use"
    assert "multiplier of the schedule 1 → 0.5" in text


@pytest.mark.parametrize(
    ("before", "after", "y"), [(0.5, 2.0, 0.32), (1.0, 1.0, 0.08), (0.5, 0.0, None), (0.0, 0.5, 0.08)]
)
def test_a_mark_under_a_schedule_is_at_what_the_multiplier_makes_of_the_rate_in_use(before, after, y):
    decision = make_decision("raise", 1, before, after)
    run = make_run({"learning_rate": [0.1, 0.08, 0.3]}, decision, quantity="multiplier of the schedule")
    assert [found for *_, found, _ in marks(draw([run]))] == [y]


def test_a_multiplier_does_not_fill_the_gaps_of_a_schedule():
    cut = make_decision("cut", 1, 1.0, 0.5)
    run = make_run({"learning_rate": [0.1, 0.08, None, 0.02]}, cut, quantity="multiplier of the schedule")
    trace = lines(draw([run]))["learning rate"]
    assert [value_at(trace, epoch) for epoch in range(4)] == [0.1, 0.08, 0.08, 0.02]
    assert trace["y"][-1] == 0.02


def test_two_optimizers_have_a_line_each():
    figure = draw([two_optimizers()])
    rates = lines(figure, "y2")
    assert set(rates) == {"learning rate sgd", "learning rate adam"}
    assert [value_at(rates["learning rate sgd"], epoch) for epoch in range(3)] == [0.1, 0.1, 0.05]
    assert [value_at(rates["learning rate adam"], epoch) for epoch in range(3)] == [0.01] * 3
    assert len({trace["line"]["dash"] for trace in rates.values()}) == 2
    ((kind, x, y, _),) = marks(figure)
    assert (kind, x, y) == ("cut", 2, 0.1)


def test_a_rate_of_zero_has_no_place_on_a_logarithmic_axis():
    run = make_run({"learning_rate": [0.1, 0.0, 0.0]}, make_decision("override", 1, 0.1, 0.0, value=None))
    figure = draw([run])
    assert figure["layout"]["yaxis2"]["type"] == "log"
    assert set(lines(figure)["learning rate"]["y"]) == {0.1, None}
    assert [y for _, _, y, _ in marks(figure)] == [None]


# --- decisions -------------------------------------------------------------------------------------------------------


def test_every_decision_has_a_mark_on_the_rate_with_its_reason():
    figure = draw([eventful()])
    # The annealing is one, where it begins.
    expected = [("anneal", 11, 0.4), *sorted((each.kind, each.epoch + 1, each.rate) for each in EVENTS[:-3])]
    assert sorted((kind, x, y) for kind, x, y, _ in marks(figure)) == expected
    for kind, x, _, text in marks(figure):
        (decision,) = [each for each in told(EVENTS) if (each.kind, each.epoch + 1) == (kind, x)]
        assert text.startswith(f"<b>{kind}</b> after epoch {x}<br>")
        assert decision.reason in text
        assert f"learning rate {decision.rate_before:g} → {decision.rate:g}" in text or kind == "success"
        assert (f"val_loss {decision.value:g}" in text) if decision.value else ("val_loss" not in text)
    assert "learning rate stays 0.4" in next(text for kind, *_, text in marks(figure) if kind == "success")
    assert "learning rate 0.4 → 0.1" in next(text for kind, *_, text in marks(figure) if kind == "anneal")


def test_every_decision_has_a_mark_on_the_metric_where_it_was_observed():
    figure = draw([eventful()])
    observed = [VALUES[each.epoch] if each.value is None else each.value for each in told(EVENTS)]
    expected = {(each.kind, each.epoch + 1, value) for each, value in zip(told(EVENTS), observed, strict=True)}
    assert {(kind, x, y) for kind, x, y, _ in marks(figure, "y")} == expected


def test_a_kind_has_one_symbol_one_group_and_one_entry_in_the_legend():
    figure = draw([eventful()])
    traces = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    for kind in {each.kind for each in EVENTS}:
        both = [trace for trace in traces if trace["name"] == kind]
        assert [trace["yaxis"] for trace in both] == ["y2", "y"]
        assert {trace["legendgroup"] for trace in both} == {kind}
        assert {trace["marker"]["symbol"] for trace in both} == {MARKS[kind].symbol}
        assert [trace["showlegend"] for trace in both].count(True) == 1


def test_every_kind_that_is_an_action_has_a_look_of_its_own():
    assert set(MARKS) == set(get_args(Kind)) - {"hold", "best"}
    assert len({(mark.symbol, mark.color) for mark in MARKS.values()}) == len(MARKS)


@pytest.mark.parametrize("value", [NAN, INF, 1e24])
def test_a_divergence_is_marked_at_the_upper_edge_in_sight(value):
    values = [1.0, 0.9, value, 0.8, 0.7]
    run = make_run({"val_loss": values}, make_decision("diverged", 2, 0.1, 0.003, value=value))
    for scale in SCALES:
        figure = draw([run], scale=scale)
        ((kind, x, y, _),) = marks(figure, "y")
        assert (kind, x) == ("diverged", 3)
        assert y >= 1.0
        assert in_sight(figure, y)


# --- plateaus and excursions -----------------------------------------------------------------------------------------


def test_a_plateau_is_shaded_from_its_first_epoch_to_its_decision():
    figure = draw([eventful()])
    assert [each[1:] for each in shapes(figure, "plateau")] == [(1, 3), (3, 5), (5, 7), (7, 9)]
    plateaus = [shape for shape in figure["layout"]["shapes"] if shape["name"] == "plateau"]
    assert [shape["showlegend"] for shape in plateaus] == [True, False, False, False]
    loss = figure["layout"]["yaxis"]["domain"]
    for shape in plateaus:
        assert (shape["xref"], shape["yref"], [shape["y0"], shape["y1"]]) == ("x", "paper", loss)


@pytest.mark.parametrize("axis", ["step", "time"])
def test_plateaus_and_bands_are_where_their_epochs_are(axis):
    run = eventful()
    spans = [each[1:] for each in shapes(draw([run]), "")]
    unit = 1000 if axis == "time" else 1
    expected = [[unit * x for x in Timeline(run).positions(axis, span)] for span in spans]
    assert [list(each[1:]) for each in shapes(draw([run], axis), "")] == expected


def test_an_excursion_is_banded_behind_the_rate_until_it_was_judged():
    figure = draw([eventful()])
    assert shapes(figure, "excursion") == [("failed excursion", 5, 7), ("successful excursion", 9, 10)]
    for shape in figure["layout"]["shapes"]:
        if "excursion" in shape["name"]:
            assert [shape["y0"], shape["y1"]] == figure["layout"]["yaxis2"]["domain"]
            assert shape["showlegend"] is True


def test_an_open_excursion_is_banded_to_the_last_epoch():
    curves = {"val_loss": VALUES, "learning_rate": RATES}
    run = make_run(curves, *EVENTS[:2], statuses={4: "in excursion"})
    assert shapes(draw([run]), "excursion") == [("open excursion", 5, len(VALUES))]


def test_an_excursion_that_diverged_has_failed():
    curves = {"val_loss": VALUES, "learning_rate": RATES}
    ended = make_decision("diverged", 6, 0.2, 0.05, value=NAN)
    assert shapes(draw([make_run(curves, *EVENTS[:2], ended)]), "excursion") == [("failed excursion", 5, 7)]


def test_excursions_one_after_the_other_are_banded_each_with_one_entry_per_outcome():
    decisions = [
        make_decision("raise", 1, 0.1, 0.3),
        make_decision("success", 3, 0.3, 0.9),
        make_decision("success", 5, 0.9, 2.7),
        make_decision("rollback", 8, 2.7, 0.9),
    ]
    figure = draw([make_run({"val_loss": [1.0] * 10}, *decisions)])
    expected = [("successful excursion", 2, 4), ("successful excursion", 4, 6), ("failed excursion", 6, 9)]
    assert shapes(figure, "excursion") == expected
    assert [shape["showlegend"] for shape in figure["layout"]["shapes"]] == [True, False, True]
    assert len({shape["fillcolor"] for shape in figure["layout"]["shapes"]}) == 2


def test_an_excursion_that_someone_ended_by_setting_the_rate_ends_there():
    """As auto mode does: what was being tried is not tried any more, and nothing is rolled back."""
    decisions = [
        make_decision("raise", 1, 0.1, 0.3),
        make_decision("override", 3, 0.3, 0.05, value=None),
        make_decision("raise", 6, 0.05, 0.15),
    ]
    statuses = {1: "in excursion", 3: "holding", 6: "in excursion"}
    figure = draw([make_run({"val_loss": [1.0] * 9}, *decisions, statuses=statuses)])
    assert shapes(figure, "excursion") == [("abandoned excursion", 2, 4), ("open excursion", 7, 9)]


def test_an_excursion_in_which_someone_set_the_rate_goes_on_in_default_mode():
    decisions = [
        make_decision("raise", 1, 0.1, 0.3),
        make_decision("override", 3, 0.3, 0.2, value=None),
        make_decision("success", 6, 0.2, 0.2),
    ]
    statuses = {1: "in excursion", 6: "holding"}
    figure = draw([make_run({"val_loss": [1.0] * 9}, *decisions, statuses=statuses)])
    assert shapes(figure, "excursion") == [("successful excursion", 2, 7)]


# --- decisions within an epoch ----------------------------------------------------------------------------------------

IN_EPOCH = [
    make_decision("cut", 1, 0.1, 0.05, step=13, since_epoch=0, value=0.95),
    make_decision("raise", 1, 0.05, 0.2, step=17, since_epoch=1, value=0.94),
    make_decision("success", 1, 0.2, 0.2, step=20, value=0.9),
    make_decision("cut", 2, 0.2, 0.1, step=21, since_epoch=2, value=0.93),
]


def in_epoch(*decisions, last=3, **arguments):
    """The curve of the rate has that of the end of each epoch."""
    curves = {"loss": [1.0, 0.9, 0.92][:last], "learning_rate": [0.1, 0.2, 0.1][:last]}
    return make_run(curves, *(decisions or IN_EPOCH), monitor="loss", **arguments)


@pytest.mark.parametrize("axis", AXES)
def test_decisions_within_an_epoch_are_where_they_were_made(axis):
    figure = draw([in_epoch()], axis)
    at = {"epoch": lambda x: x, "step": lambda x: STEPS * x, "time": lambda x: 1000 * time_of(x - 1)}[axis]
    expected = [("cut", 1.3), ("cut", 2.1), ("raise", 1.7), ("success", 2)]
    for yaxis in ("y", "y2"):
        found = marks(figure, yaxis)
        assert [kind for kind, *_ in found] == [kind for kind, _ in expected]
        assert [x for _, x, *_ in found] == pytest.approx([at(x) for _, x in expected], rel=1e-13)
    (*_, first), (*_, later), (*_, opened), (*_, end) = marks(figure)
    assert first.startswith("<b>cut</b> in epoch 2, after 13 steps<br>")
    assert later.startswith("<b>cut</b> in epoch 3, after 21 steps<br>")
    assert opened.startswith("<b>raise</b> in epoch 2, after 17 steps<br>")
    assert end.startswith("<b>success</b> after epoch 2<br>")


def test_the_rate_changes_when_it_was_decided():
    figure = draw([in_epoch()])
    trace = lines(figure)["learning rate"]
    timeline = {0: 0.1, 1: 0.1, 1.29: 0.1, 1.31: 0.05, 1.69: 0.05, 1.71: 0.2, 2: 0.2, 2.09: 0.2, 2.11: 0.1, 2.99: 0.1}
    assert {x: value_at(trace, x) for x in timeline} == timeline
    changes = dict(zip(trace["customdata"], trace["text"], strict=True))
    assert list(changes) == [1, "2, after 13 steps,", "2, after 17 steps,", "3, after 21 steps,", 4]
    assert "<b>cut</b> in epoch 2, after 13 steps" in changes["2, after 13 steps,"]
    for kind, x, y, _ in marks(figure):
        assert value_at(trace, x) == y, kind


def test_the_rate_of_a_long_epoch_changes_within_it():
    cuts = [make_decision("cut", 0, 0.1 / 2**i, 0.1 / 2 ** (i + 1), step=2 * i + 1) for i in range(4)]
    run = make_run({"loss": [1.0], "learning_rate": [0.1 / 16]}, *cuts, monitor="loss")
    trace = lines(draw([run], "step"))["learning rate"]
    assert trace["x"] == pytest.approx([0, 1, 3, 5, 7, 10])
    assert trace["y"] == [0.1, 0.05, 0.025, 0.0125, 0.00625, 0.00625]
    assert trace["customdata"][1] == "1, after 1 step,"


def test_plateaus_and_excursions_end_with_decisions_within_an_epoch():
    figure = draw([in_epoch()])
    names = [(name, pytest.approx(x0), pytest.approx(x1)) for name, x0, x1 in shapes(figure, "")]
    assert names == [("plateau", 0, 1.3), ("plateau", 1.3, 1.7), ("plateau", 2, 2.1), ("successful excursion", 1.7, 2)]
    assert all(x0 <= x1 for _, x0, x1 in shapes(figure, ""))


def test_a_running_epoch_is_drawn_up_to_its_last_decision():
    raised = make_decision("raise", 2, 0.1, 0.4, step=24)
    run = in_epoch(IN_EPOCH[0], raised, last=2)
    run.records[-1] = replace(run.records[-1], steps=24)
    figure = draw([run])
    assert shapes(figure, "excursion") == [("open excursion", pytest.approx(2.4), pytest.approx(2.4))]
    trace = lines(figure)["learning rate"]
    assert (trace["x"][-1], trace["y"][-1]) == (pytest.approx(2.4), 0.4)
    assert [(kind, x) for kind, x, *_ in marks(figure)] == [("cut", pytest.approx(1.3)), ("raise", pytest.approx(2.4))]
    assert [text.split("<br>")[0] for *_, text in marks(figure)][1] == "<b>raise</b> in epoch 3, after 24 steps"


def test_a_running_first_epoch_shows_the_rate_and_the_decisions_so_far():
    """It has no numbers yet, as they come at its end."""
    cuts = [make_decision("cut", 0, 0.1, 0.05, step=4), make_decision("cut", 0, 0.05, 0.025, step=8)]
    run = make_run({}, *cuts, monitor="loss")
    run.records[0] = replace(run.records[0], steps=8)
    figure = draw([run], "step")
    assert [(x, y) for _, x, y, _ in marks(figure)] == [(4, 0.05), (8, 0.025)]
    trace = lines(figure)["learning rate"]
    assert (trace["x"], trace["y"]) == ([0, 4, 8], [0.1, 0.05, 0.025])
    assert [x for _, x, *_ in marks(draw([run]))] == [0.25, 0.5]


def test_a_multiplier_changes_the_rate_of_a_schedule_within_an_epoch():
    """The schedule has 0.08 at the end of the second epoch; the curve has half of it, and nothing of the third yet."""
    cuts = [make_decision("cut", 1, 1.0, 0.5, step=15), make_decision("cut", 2, 0.5, 0.25, step=25)]
    run = make_run({"learning_rate": [0.1, 0.04]}, *cuts, quantity="multiplier of the schedule")
    run.records[-1] = replace(run.records[-1], steps=25)
    figure = draw([run])
    trace = lines(figure)["learning rate"]
    assert trace["x"] == pytest.approx([0, 1, 1.5, 2.5])
    assert trace["y"] == pytest.approx([0.1, 0.08, 0.04, 0.02])
    assert [y for *_, y, _ in marks(figure)] == pytest.approx([0.04, 0.02])


def test_the_rates_of_two_optimizers_change_within_an_epoch():
    cut = make_decision("cut", 1, 0.1, 0.05, step=15)
    run = make_run({"learning_rate_a": [0.1, 0.05], "learning_rate_b": [0.01, 0.005]}, cut)
    a, b = lines(draw([run]), "y2").values()
    assert a["x"] == b["x"] == [0, 1.5, 2]
    assert (a["y"], b["y"]) == (pytest.approx([0.1, 0.05, 0.05]), pytest.approx([0.01, 0.005, 0.005]))
    assert [(x, y) for _, x, y, _ in marks(draw([run]))] == [(1.5, 0.05)]


# --- the axes --------------------------------------------------------------------------------------------------------


def loss_axis(*values, scale="auto"):
    figure = draw([make_run({"val_loss": list(values)})], scale=scale)
    return figure["layout"]["yaxis"].get("type", "linear")


def test_losses_that_span_much_get_a_logarithmic_axis():
    assert loss_axis(1.0, 0.5, 0.1) == "linear"
    assert loss_axis(1.0, 0.3, 0.1, 0.04) == "log"
    assert loss_axis(1.0, 0.3, 0.1, 0.04, scale="linear") == "linear"
    assert loss_axis(1.0, 0.9, scale="log") == "log"


@pytest.mark.parametrize("low", [0.0, -0.5])
def test_losses_that_a_logarithmic_axis_cannot_show_get_a_linear_one(low):
    assert loss_axis(1.0, 0.1, 0.01, low) == "linear"


def test_accuracies_do_not_choose_the_scale_of_the_losses():
    figure = draw([make_run({"loss": [1.0, 0.9], "val_acc": [0.001, 0.9]}, monitor="val_acc", mode="max")])
    assert figure["layout"]["yaxis"].get("type", "linear") == "linear"


@pytest.mark.parametrize("scale", SCALES)
def test_a_divergence_does_not_flatten_the_chart(scale):
    values = [1.0, 0.9, 0.85, 1e24, 0.8, 0.7, 0.65]
    figure = draw([make_run({"loss": values, "val_loss": values})], scale=scale)
    for value in (1.0, 0.9, 0.65):
        assert in_sight(figure, value)
    low, high = figure["layout"]["yaxis"]["range"]
    seen = (10**low, 10**high) if figure["layout"]["yaxis"]["type"] == "log" else (low, high)
    assert seen[1] - max(seen[0], 0) < 5, "the rest fills the chart"


@pytest.mark.parametrize("scale", SCALES)
def test_a_training_that_goes_well_is_in_sight_from_its_first_epoch_on(scale):
    """Down by eight decades, step by step: nothing of that is a divergence."""
    values = [10 ** (-epoch / 5) for epoch in range(40)]
    figure = draw([make_run({"loss": values, "val_loss": values})], scale=scale)
    assert in_sight(figure, values[0])
    assert in_sight(figure, values[20])


def test_losses_that_reach_zero_do_not_hide_those_before():
    values = [2.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    figure = draw([make_run({"val_loss": values})])
    for value in values:
        assert in_sight(figure, value)


def test_a_divergence_of_losses_below_zero_is_marked_in_sight():
    values = [-1.0, -3.0, -5.0, 1e24, -4.0, -4.5]
    run = make_run({"val_loss": values}, make_decision("diverged", 3, 0.1, 0.003, value=1e24))
    figure = draw([run])
    ((_, _, y, _),) = marks(figure, "y")
    assert in_sight(figure, y)
    assert in_sight(figure, -5.0)


def test_runs_whose_losses_are_far_apart_are_all_in_sight():
    large = make_run({"val_loss": [3000.0, 2000.0, 1000.0]}, name="large")
    small = make_run({"val_loss": [3.0, 2.0, 1.0] * 5}, name="small")
    for runs_ in ([large, small], [small, large]):
        figure = draw(runs_)
        for value in (3000.0, 1000.0, 3.0, 1.0):
            assert in_sight(figure, value)


def test_a_divergence_of_one_run_is_marked_in_sight_beside_the_others():
    diverged = make_decision("diverged", 1, 0.1, 0.003, value=1e24)
    broken = make_run({"val_loss": [1.0, 1e24, 0.9]}, diverged, name="broken")
    other = make_run({"val_loss": [0.02] * 9}, name="other")
    for runs_ in ([broken, other], [other, broken]):
        figure = draw(runs_)
        ((_, _, y, _),) = marks(figure, "y")
        assert in_sight(figure, y)
        assert in_sight(figure, 0.02)


def test_a_figure_zoomed_by_the_user_stays_so_while_the_same_runs_go_on():
    first, later = eventful(), eventful(curves={"val_loss": [*VALUES, 0.4], "learning_rate": [*RATES, 0.1]})
    revision = draw([first])["layout"]["uirevision"]
    assert draw([later])["layout"]["uirevision"] == revision
    assert draw([first], "step")["layout"]["uirevision"] != revision
    assert draw([first], scale="log")["layout"]["uirevision"] != revision
    assert draw([first, accurate()])["layout"]["uirevision"] != revision
    assert draw([accurate(), first])["layout"]["uirevision"] == draw([first, accurate()])["layout"]["uirevision"]


def test_the_two_losses_have_a_color_each_whichever_is_the_monitor():
    curves = {"loss": VALUES, "val_loss": VALUES, "learning_rate": RATES}
    for monitor in ("loss", "val_loss"):
        drawn = lines(draw([eventful(monitor=monitor, curves=curves)]))
        colors = [line["line"]["color"] for name, line in drawn.items() if "loss" in name]
        assert len(colors) == len(set(colors)) == 2, monitor


def test_light_and_dark_differ_in_colors_only():
    light, dark = draw([eventful()]), draw([eventful()], dark=True)
    assert light["layout"]["paper_bgcolor"] != dark["layout"]["paper_bgcolor"]
    assert light["layout"]["font"]["color"] != dark["layout"]["font"]["color"]
    assert [trace["x"] for trace in light["data"]] == [trace["x"] for trace in dark["data"]]


# --- several runs ----------------------------------------------------------------------------------------------------


def test_several_runs_show_metric_and_rate_of_each_in_a_color_of_its_own():
    runs_ = [eventful(name=name) for name in ("a", "b")]
    figure = draw(runs_)
    assert set(lines(figure)) == {f"{name} · {what}" for name in ("a", "b") for what in ("val_loss", "learning rate")}
    for name, color in zip(("a", "b"), COLORS, strict=False):
        for what in ("val_loss", "learning rate"):
            assert lines(figure)[f"{name} · {what}"]["line"]["color"] == color
        assert lines(figure)[f"{name} · learning rate"]["legendgroup"] == f"{name} · val_loss"
        assert lines(figure)[f"{name} · learning rate"]["showlegend"] is False
    assert figure["layout"]["shapes"] == [], "bands of several runs would hide each other"
    assert {text.split("<br>")[0] for *_, text in marks(figure)} == {"a", "b"}, "the hover names the run"


def test_several_runs_have_one_entry_in_the_legend_for_each_kind():
    figure = draw([eventful(name="a"), two_optimizers()])
    traces = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    entries = [trace["name"] for trace in traces if trace.get("showlegend", True)]
    assert sorted(entries) == sorted({each.kind for each in EVENTS})


def test_each_of_many_runs_has_a_color_of_its_own():
    figure = draw([eventful(name=str(index)) for index in range(40)])
    found = {lines(figure)[f"{index} · val_loss"]["line"]["color"] for index in range(40)}
    assert len(found) == 40


# --- thinning --------------------------------------------------------------------------------------------------------


def test_a_long_curve_keeps_its_extremes_and_both_ends():
    size = 100_000
    values = [math.sin(epoch / 7) for epoch in range(size)]
    values[777], values[54_321], values[9] = 50.0, -50.0, NAN
    curve = make_curve(*values)
    thin = thinned(curve)
    assert len(thin.epochs) <= MOST_POINTS + 2
    assert thin.epochs == sorted(set(thin.epochs))
    assert {0, 777, 54_321, size - 1} <= set(thin.epochs)
    for epoch, value, time in zip(thin.epochs, thin.values, thin.times, strict=True):
        assert (values[epoch], time_of(epoch)) == (value, time)
    assert len(curve.epochs) == size, "what was given is as it was"


def test_a_short_curve_is_left_alone():
    curve = make_curve(*[1.0] * MOST_POINTS)
    assert thinned(curve) == curve
    assert thinned(Curve()) == Curve()


def test_a_curve_of_nothing_finite_keeps_both_ends():
    thin = thinned(make_curve(*[NAN] * 3 * MOST_POINTS))
    assert thin.epochs == [0, 3 * MOST_POINTS - 1]


def test_a_long_training_is_drawn_with_few_points_and_all_decisions():
    size = 5 * MOST_POINTS
    decisions = [make_decision("cut", epoch, 0.1, 0.05) for epoch in range(50, size, 500)]
    run = make_run({"val_loss": [1.0 + epoch % 7 for epoch in range(size)]}, *decisions)
    figure = draw([run])
    assert len(lines(figure)["val_loss (monitor)"]["x"]) <= MOST_POINTS + 2
    assert len(marks(figure, "y")) == len(decisions)


def test_nothing_of_a_run_is_changed_by_drawing_it():
    run = eventful()
    copy = Run(run.name, {name: replace(curve) for name, curve in run.curves.items()}, list(run.records))
    before = repr(copy)
    for axis in AXES:
        draw([run], axis)
    assert repr(run) == before
    assert picture.MOST_POINTS == MOST_POINTS


# --- replays ---------------------------------------------------------------------------------------------------------


def test_a_replay_is_drawn_beside_the_training_with_what_would_have_been_different():
    values = make_run({"val_loss": [1.0, 2.0, 2.0, 0.5, 0.4], "learning_rate": [0.1] * 5}).curves
    found = replay(Recording("x", "epoch", values), Config(patience=2, factor=0.5))
    figure = drawn(found)
    assert {"as trained · val_loss", "what if · learning rate"} <= {trace["name"] for trace in figure["data"]}
    (band,) = [shape for shape in figure["layout"]["shapes"] if shape["name"] == "would have been different"]
    assert (band["x0"], band["x1"]) == (3, 5)
    assert not [each for each in draw([found.run])["layout"]["shapes"] if each["name"] == band["name"]]


def test_a_run_and_a_replay_make_an_object_for_notebooks_alike():
    run = make_run({"val_loss": [1.0, 2.0, 2.0], "learning_rate": [0.1] * 3})
    found = replay(Recording("x", "epoch", run.curves), Config(patience=2, factor=0.5))
    assert figure(run, "step", dark=True) == to_plotly(draw([run], "step", dark=True))
    assert figure(found) == to_plotly(drawn(found))


# --- what was not recorded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "missing"), [("step", "optimizer steps"), ("time", "wall times")])
def test_an_axis_that_was_not_recorded_is_refused_with_another(axis, missing):
    recording = Recording("x", "epoch", {"val_loss": Curve([0, 1, 2], [1.0, 2.0, 2.0], [0.0] * 3)})
    found = replay(recording, Config(patience=2, factor=0.5))
    with pytest.raises(ValueError, match=f"no {missing} are known of 'as trained'; use the axis 'epoch'"):
        drawn(found, axis)
    assert drawn(found)["data"]


def test_a_training_recorded_by_its_steps_has_steps_on_the_axis_and_no_epochs():
    curve = Curve([100, 200, 300], [1.0, 2.0, 2.0], [0.0] * 3)
    found = replay(Recording("x", "step", {"val_loss": curve}), Config(patience=2, factor=0.5))
    for axis, title in (("epoch", "step"), ("step", "optimizer steps")):
        picture = drawn(found, axis)
        assert picture["layout"]["xaxis"]["title"]["text"] == title
        assert lines(picture)["as trained · val_loss"]["x"] == [100, 200, 300]
        assert "epoch" not in json.dumps(picture["data"])


# --- what costs ------------------------------------------------------------------------------------------------------


def long_training(size, within=1):
    """A training of this many epochs with decisions in each."""
    epochs = list(range(size))
    times = [time_of(epoch) for epoch in epochs]
    values = [1.0 + 1 / (epoch + 1) for epoch in epochs]
    curves = {name: Curve(epochs, values, times) for name in ("loss", "val_loss", "learning_rate")}
    records = [
        Record(
            epoch,
            tuple(
                make_decision("cut", epoch, 0.1, 0.05, since_epoch=epoch, step=10 * epoch + at + 1)
                for at in range(within)
            ),
            "holding",
            10 * (epoch + 1),
            "val_loss",
            "min",
            "learning rate",
            Observation(0, 1.0),
            time_of(epoch),
        )
        for epoch in epochs
    ]
    return Run("run1/lr_plateau", curves, records)


def work(action):
    """How many calls of Python functions something takes."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("quantity", ["learning rate", "multiplier of the schedule"])
@pytest.mark.parametrize("within", [1, 4])
def test_the_work_grows_as_the_training_does(axis, quantity, within):
    costs = []
    for size in (100, 400):
        run = long_training(size, within)
        run.records = [replace(record, quantity=quantity) for record in run.records]
        costs.append(work(lambda run=run: (draw([run], axis), summary(run), rows(run, axis))))
    assert costs[1] < 5 * costs[0]


@pytest.mark.long
def test_ten_thousand_decisions_and_a_hundred_thousand_epochs_are_drawn_in_two_seconds():
    many, lengthy = long_training(10_000), long_training(100_000)
    lengthy.records = [replace(record, decisions=()) for record in lengthy.records]
    for run, axis in itertools.product((many, lengthy), AXES):
        began = process_time()
        draw([run], axis)
        assert process_time() - began < 2


def test_the_latest_of_many_decisions_are_marked_and_the_latest_of_many_plateaus_are_shaded(monkeypatch):
    monkeypatch.setattr(picture, "MOST_MARKS", 3)
    monkeypatch.setattr(picture, "MOST_SHADES", 2)
    figure = draw([long_training(6)])
    assert [x for _, x, _, _ in marks(figure)] == pytest.approx([3.1, 4.1, 5.1])
    assert len(shapes(figure, "plateau")) == 2
    note = figure["layout"]["xaxis"]["title"]["text"]
    assert note == "epoch · marked: the latest 3 of 6 decisions, shaded: the latest 2 stretches"
    monkeypatch.undo()
    assert draw([long_training(6)])["layout"]["xaxis"]["title"]["text"] == "epoch"


def test_a_point_of_a_line_lists_a_few_decisions():
    decisions = [make_decision("cut", 1, 0.1, 0.05) for _ in range(20)]
    figure = draw([make_run({"val_loss": [1.0, 2.0]}, *decisions)])
    (text,) = (text for text in lines(figure)["val_loss (monitor)"]["text"] if text)
    assert text.count("<b>cut</b>") == 8
    assert "and 12 further decisions" in text
