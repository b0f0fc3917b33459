"""A replay decides as a training does that sees the same, and says from where on nobody can know."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import at_epoch_end, compile_model, data, fit, scripted, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from keras.optimizers import SGD

from keras_lrplateau import AdaptLROnPlateau, Config
from keras_lrplateau.history.run import Curve, Record
from keras_lrplateau.recordings.names import direction
from keras_lrplateau.recordings.objects import from_history
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.replay import replay
from keras_lrplateau.rule import auto
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.views.figure import draw

NAN = math.nan

LIFE = [1.0, 0.5, *[2.0] * 9, 0.4, NAN, 0.3, *[2.0] * 4, 0.1, 0.1, 0.05, 0.04, 2.0]
"""Two bests; a cut, a raise, a rollback, a cut; a best; a divergence; a best; a cut, a raise that succeeds; a cut."""

RULE: dict[str, Any] = {"factor": 0.01, "patience": 1, "raise_factor": 2.0, "raise_after": 1, "max_raises": 3}


def without_steps(decisions: Sequence[Decision]) -> list[Decision]:
    return [replace(decision, step=None) for decision in decisions]


def without_reasons(decisions: Sequence[Decision]) -> list[Decision]:
    return [replace(each, reason="" if each.kind == "diverged" else each.reason) for each in decisions]


def recorded(values: Sequence[float], rates: Sequence[float] | None = None, **others: Sequence[float]) -> Recording:
    rate: Mapping[str, Sequence[float]] = {} if rates is None else {"lr": rates}
    return from_history({"val_loss": list(values), **rate, **others})


# --- as a real training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [RULE, {"patience": 2}, {"patience": 3, "cooldown": 2, "min_lr": 0.01}, {"max_raises": 0, "recover": False}],
    ids=repr,
)
def test_the_history_of_a_real_fit_gives_the_decisions_of_that_fit(settings: dict[str, Any]) -> None:
    adapt = AdaptLROnPlateau(**{**RULE, **settings})
    history = fit(tiny_model(), scripted(*LIFE), adapt, epochs=len(LIFE))
    if settings is RULE:
        assert {decision.kind for decision in adapt.decisions} == {"cut", "raise", "rollback", "diverged", "success"}
    assert adapt.decisions
    found = replay(from_history(history), Config(**{**RULE, **settings}))
    # A history says nothing of the weights, so why it diverged is told in other words.
    assert repr(without_reasons(found.decisions)) == repr(without_reasons(without_steps(adapt.decisions)))
    assert found.run.curves["learning_rate"].values == pytest.approx(history["learning_rate"])
    seen_alone = {"loss_before": adapt.state.loss_before, "watch": adapt.state.watch}  # By a look at the weights.
    assert replace(found.state, **seen_alone) == adapt.state


def test_the_history_of_a_real_fit_in_auto_mode_gives_its_decisions() -> None:
    values = [1.0] * 4 + [0.9 - 0.02 * i for i in range(9)] + [0.6, 0.5, 0.4, 0.3] + [3.0] * 8 + [0.5, 0.6] * 30
    adapt = AdaptLROnPlateau.auto("val_other", mode="min")
    # Of a single batch an epoch auto mode does not ask the training loss, but the metric, as there is no val_loss.
    history = fit(tiny_model(SGD(0.01)), scripted(*values, name="val_other"), adapt, epochs=len(values))
    del history["loss"]
    assert {"search", "settle", "cut"} <= {decision.kind for decision in adapt.decisions}
    found = replay(from_history(history), auto.Config(), "val_other")
    assert repr(found.decisions) == repr(without_steps(adapt.decisions))


def test_a_run_whose_weights_show_that_a_loss_is_no_divergence_is_replayed_without_one(tmp_path: Path) -> None:
    x, y = data()
    weights = [0.01, *[1.0] * 9]
    weight = keras.Variable(0.0, trainable=False)
    model = compile_model(tiny_model(), SGD(1e-6), loss=lambda y, answer: weight * (y - answer) ** 2)
    set_weight = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: weight.assign(weights[epoch]))
    adapt = AdaptLROnPlateau(patience=2, log_dir=tmp_path)
    history = fit(model, set_weight, adapt, epochs=len(weights), validation_data=(x, y))
    assert min(history["loss"][1:]) > 50 * history["loss"][0]
    assert {decision.kind for decision in adapt.decisions} == {"cut", "exhausted"}
    (recording,) = read(tmp_path)
    found = replay(recording, Config(patience=2))
    assert [(each.epoch, each.kind) for each in found.decisions] == [
        (each.epoch, each.kind) for each in adapt.decisions
    ]


@pytest.mark.parametrize("make", [AdaptLROnPlateau, AdaptLROnPlateau.auto], ids=["default", "auto"])
def test_a_metric_that_is_not_defined_at_first_is_no_divergence_in_a_replay_either(make: Any, tmp_path: Path) -> None:
    values = [*[NAN] * 3, 0.6, *[0.7] * 21]
    settings = {} if make == AdaptLROnPlateau.auto else {"patience": 2}
    adapt = make("val_auc", mode="max", log_dir=tmp_path, **settings)
    auc = scripted(*values, name="val_auc", spoils=False)
    fit(tiny_model(), auc, adapt, epochs=len(values), batches=2, validation_data=data())
    assert {"cut", "settle"} & {decision.kind for decision in adapt.decisions}
    assert "diverged" not in {decision.kind for decision in adapt.decisions}
    (recording,) = read(tmp_path)
    config = auto.Config(mode="max") if make == AdaptLROnPlateau.auto else Config(mode="max", **settings)
    found = replay(recording, config, "val_auc")
    assert [(each.epoch, each.kind) for each in found.decisions] == [
        (each.epoch, each.kind) for each in adapt.decisions
    ]
    assert found.departs is None


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("make", [AdaptLROnPlateau, AdaptLROnPlateau.auto], ids=["default", "auto"])
def test_a_run_of_ours_is_replayed_as_it_was_with_its_own_settings(make: Any, batches: int, tmp_path: Path) -> None:
    """From a rate so high that it is restarted, which the loss of the first batch tells."""
    settings = {} if make == AdaptLROnPlateau.auto else {"patience": 2}
    adapt = make(log_dir=tmp_path, **settings)
    x, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of what overflows.
        fit(tiny_model(SGD(1e4)), adapt, epochs=30, batches=batches, validation_data=(x, y))
    assert {"diverged", "restart", "search"} & {decision.kind for decision in adapt.decisions}
    (recording,) = read(tmp_path)
    config = auto.Config() if make == AdaptLROnPlateau.auto else Config(**settings)
    found = replay(recording, config, rate=1e4)
    assert [(each.epoch, each.kind) for each in found.decisions] == [
        (each.epoch, each.kind) for each in adapt.decisions
    ]
    assert [each.rate for each in found.decisions] == pytest.approx([each.rate for each in adapt.decisions])
    assert found.departs is None


def test_epochs_without_validation_are_no_observations() -> None:
    x, y = data()
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, min_delta=10.0)
    fit(tiny_model(), adapt, keras.callbacks.History(), epochs=9, validation_data=(x, y), validation_freq=3)
    curves = {
        "val_loss": Curve([2, 5, 8], [1.0, 1.0, 1.0], [0.0] * 3),
        "loss": Curve(list(range(9)), [1.0] * 9, [0.0] * 9),
    }
    found = replay(Recording("sparse", "epoch", curves), Config(patience=1, factor=0.5, min_delta=10.0))
    assert [each.epoch for each in adapt.decisions] == [5, 8] == [each.epoch for each in found.decisions]
    assert [each.since_epoch for each in found.decisions] == [5, 8]


def test_a_schedule_is_scaled_as_in_a_training() -> None:
    """The rate of each step is that of the schedule times what was decided."""
    rates = [0.1 * 0.9**i for i in range(12)]
    found = replay(recorded([1.0] * 12, rates), Config(patience=4, factor=0.5))
    assert [(each.epoch, each.rate) for each in found.decisions] == [(4, 0.5), (8, 0.25)]
    assert found.run.is_scaled
    multipliers = [*[1.0] * 5, *[0.5] * 4, *[0.25] * 3]
    assert found.run.curves["learning_rate"].values == pytest.approx(np.multiply(rates, multipliers))


SCHEDULE = {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.9}

UNDER_A_SCHEDULE = [
    {"factor": 0.5, "patience": 1, "max_raises": 0},
    {"factor": 0.5, "patience": 1, "max_raises": 0, "min_lr": 0.03},
    {"factor": 0.01, "patience": 1, "max_lr": 0.05, "raise_after": 1, "raise_factor": 4.0},
]


@pytest.mark.parametrize("settings", UNDER_A_SCHEDULE, ids=repr)
def test_the_bounds_of_a_schedule_are_those_of_the_training(settings: dict[str, Any], tmp_path: Path) -> None:
    """They bound the learning rate, so where they bound the multiplier depends on where the schedule is."""
    values = [1.0, *[2.0] * 9, 0.5, *[2.0] * 5]
    adapt = AdaptLROnPlateau(**settings, log_dir=tmp_path)
    schedule = keras.optimizers.schedules.ExponentialDecay(**SCHEDULE)
    history = fit(tiny_model(SGD(schedule)), scripted(*values), adapt, epochs=len(values))
    kinds = {each.kind for each in adapt.decisions}
    assert kinds >= ({"cut", "raise", "rollback"} if "max_lr" in settings else {"cut"})
    if {"min_lr", "max_lr"} & settings.keys():
        unbounded = AdaptLROnPlateau(**{**settings, "min_lr": 0.0, "max_lr": None})
        fit(tiny_model(SGD(schedule)), scripted(*values), unbounded, epochs=len(values))
        assert [each.rate for each in adapt.decisions] != [each.rate for each in unbounded.decisions], "they count"

    (recording,) = read(tmp_path)
    found = replay(recording, Config(**settings))
    assert found.departs is None
    assert [(each.epoch, each.kind) for each in found.decisions] == [
        (each.epoch, each.kind) for each in adapt.decisions
    ]
    assert [each.rate for each in found.decisions] == pytest.approx([each.rate for each in adapt.decisions], rel=1e-5)
    assert found.run.curves["learning_rate"].values == pytest.approx(history["learning_rate"], rel=1e-5)
    assert found.run.quantity == found.recorded.quantity == "multiplier of the schedule"
    assert [record.steps for record in found.run.records] == [record.epoch + 1 for record in found.run.records]


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="a later release of Keras")
def test_several_optimizers_are_replayed_by_the_largest_rate_and_keep_their_shares(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"patience": 1, "factor": 0.1, "min_lr": 0.002, "max_raises": 0}
    values = [1.0, *[2.0] * 6]
    kernels = {".*kernel": keras.optimizers.SGD(0.1, name="large")}
    both = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(SGD(0.01, name="small"), kernels))
    adapt = AdaptLROnPlateau(**settings, log_dir=tmp_path)
    history = fit(tiny_model(both), scripted(*values), adapt, epochs=len(values))
    assert [each.rate for each in adapt.decisions if each.kind == "cut"] == pytest.approx([0.01, 0.002])
    (recording,) = read(tmp_path)
    found = replay(recording, Config(**settings))
    assert [(each.epoch, each.rate_before, each.rate) for each in found.decisions] == [
        (each.epoch, each.rate_before, each.rate) for each in adapt.decisions
    ]
    assert (found.departs, found.is_relative) == (None, False)
    assert "learning_rate" not in found.run.curves
    for name in ("learning_rate_large", "learning_rate_small"):
        assert found.run.curves[name].values == pytest.approx(history[name]), name
    later = replay(recording, Config(**{**settings, "patience": 3}))
    assert later.run.curves["learning_rate_large"].values == pytest.approx([*[0.1] * 4, *[0.01] * 3])
    assert later.run.curves["learning_rate_small"].values == pytest.approx([*[0.01] * 4, *[0.002] * 3])


def test_parameter_groups_of_others_follow_the_largest_rate() -> None:
    """The recorded rates fell in epoch 3; the replayed ones fall where the rule decides it."""
    groups = {"lr_a": [0.1, 0.1, 0.05, 0.05], "lr_b": [0.01, 0.01, 0.005, 0.005]}
    found = replay(from_history({"val_loss": [1.0, 2.0, 2.0, 2.0], **groups}), Config(patience=2, factor=0.1))
    assert [(each.epoch, each.rate_before, each.rate) for each in found.decisions] == [(2, 0.1, pytest.approx(0.01))]
    assert found.run.curves["learning_rate_a"].values == pytest.approx([0.1, 0.1, 0.1, 0.01])
    assert found.run.curves["learning_rate_b"].values == pytest.approx([0.01, 0.01, 0.01, 0.001])
    assert (found.departs, found.is_relative) == (1, False)
    doubled = replay(
        from_history({"val_loss": [1.0, 0.5], **{"lr_a": [0.1] * 2, "lr_b": [0.01] * 2}}), Config(), rate=0.2
    )
    assert doubled.run.curves["learning_rate_b"].values == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize("rate", [0.1, 0.5, 3e-4, 1e-7])
def test_a_rate_that_was_recorded_in_float32_is_not_above_its_own_bound(rate: float) -> None:
    rounded = float(np.float32(rate))
    found = replay(
        recorded([1.0, 2.0, 2.0], [rounded] * 3), Config(patience=2, factor=0.5, max_lr=rate, min_lr=rate / 4)
    )
    assert [(each.rate_before, each.rate) for each in found.decisions] == [(rate, rate / 2)]
    exact = math.nextafter(rate, 1.0)
    assert (
        replay(recorded([1.0, 2.0, 2.0], [exact] * 3), Config(patience=2, factor=0.5)).decisions[0].rate_before == exact
    )


@given(st.lists(st.floats(), max_size=60), st.integers(0, 4), st.sampled_from(["min", "max"]))
def test_any_stream_is_decided_as_step_by_step(values: list[float], patience: int, mode: Any) -> None:
    config = Config(patience=patience, mode=mode, factor=0.5).for_length(max(len(values), 1))
    state, expected = config.start(0.1), []
    for value in values:
        state, decision = config.step(state, value)
        expected += [decision] if decision.is_action else []
    state, decision = config.finish(state)
    expected += [decision] if decision.is_action else []
    if not values:
        return
    found = replay(recorded([], [0.1] * len(values), value=values), config, "value")
    assert repr([replace(each, since_epoch=None) for each in found.decisions]) == repr(expected)
    assert repr(found.state) == repr(state)


# --- where nobody can know -------------------------------------------------------------------------------------------


def test_the_same_decisions_do_not_depart() -> None:
    """One cut, that the training has made itself: rate .1, .1, .1, .05, .05"""
    found = replay(recorded([1, 2, 2, 0.5, 0.4], [0.1, 0.1, 0.1, 0.05, 0.05]), Config(patience=2, factor=0.5))
    assert [each.kind for each in found.decisions] == ["cut"]
    assert found.departs is None
    assert found.caveat == "The same decisions as in the training."


@pytest.mark.parametrize(
    ("rates", "departs"),
    [
        ([0.1] * 5, 2),  # It was not cut.
        ([0.1, 0.05, 0.05, 0.05, 0.05], 0),  # It was cut earlier.
        ([0.1, 0.1, 0.1, 0.01, 0.01], 2),  # It was cut by more.
        ([0.1, 0.1, 0.1, 0.05, 0.025], 3),  # It was cut once more.
        (None, 2),
    ],
    ids=str,
)
def test_it_departs_where_the_two_first_differ(rates: list[float] | None, departs: int) -> None:
    found = replay(recorded([1, 2, 2, 0.5, 0.4], rates), Config(patience=2, factor=0.5))
    assert found.departs == departs
    assert f"After epoch {departs + 1} the training would have gone another way" in found.caveat


def test_a_rate_that_was_written_in_float32_is_the_same() -> None:
    rates = [float(np.float32(rate)) for rate in (0.1, 0.1, 0.1, 0.05, 0.05)]
    assert replay(recorded([1, 2, 2, 0.5, 0.4], rates), Config(patience=2, factor=0.5)).departs is None


def test_going_back_departs_though_the_rate_is_the_same() -> None:
    """A NaN, which a training without us has survived with a lower rate; but on other weights."""
    found = replay(recorded([1, NAN, 0.5, 0.4], [0.1, 0.1, 0.003, 0.003]), Config())
    assert [(each.kind, each.rate) for each in found.decisions] == [("diverged", pytest.approx(0.003))]
    assert found.departs == 1


def test_without_a_rate_it_begins_with_one_and_says_so() -> None:
    found = replay(recorded([1.0, 2.0, 2.0]), Config(patience=2, factor=0.5))
    assert found.is_relative
    assert (found.decisions[0].rate_before, found.decisions[0].rate) == (1.0, 0.5)
    given_one = replay(recorded([1.0, 2.0, 2.0]), Config(patience=2, factor=0.5), rate=0.2)
    assert not given_one.is_relative
    assert given_one.decisions[0].rate == 0.1


def test_the_training_loss_counts_by_whatever_name() -> None:
    for name in ("loss", "train_loss", "train/loss"):
        recording = from_history({"val_auc": [1.0, 1.0, 1.0], "lr": [0.1] * 3, name: [1.0, math.inf, 1.0]})
        found = replay(recording, Config(mode="max"), "val_auc")
        assert [(each.kind, each.epoch) for each in found.decisions] == [("diverged", 1)], name


def test_steps_are_shown_by_their_own_count() -> None:
    curves = {"val_loss": Curve([100, 200, 300], [1.0, 2.0, 2.0], [0.0] * 3)}
    found = replay(Recording("by steps", "step", curves), Config(patience=2, factor=0.5))
    assert [each.epoch for each in found.decisions] == [299]
    assert "After step 300" in found.caveat
    figure = draw([found.recorded, found.run], departs=found.departs)
    assert figure["layout"]["xaxis"]["title"]["text"] == "step"
    assert figure["data"][0]["x"] == [100, 200, 300]


def test_epochs_whose_steps_are_known_can_be_shown_by_step() -> None:
    curves = {"val_loss": Curve([0, 1, 2], [1.0, 2.0, 2.0], [0.0] * 3)}
    recording = Recording("by epochs", "epoch", curves, steps={0: 100, 1: 200, 2: 300})
    found = replay(recording, Config(patience=2, factor=0.5))
    assert [each.epoch for each in found.decisions] == [2]
    for run in (found.recorded, found.run):
        assert draw([run], axis="step")["data"][0]["x"] == [100, 200, 300]
    with pytest.raises(ValueError, match="step"):
        draw([replay(replace(recording, steps={}), Config()).run], axis="step")


# --- mistakes, and the rest ------------------------------------------------------------------------------------------


def test_mistakes_are_named() -> None:
    with pytest.raises(CurveError, match="there is no metric 'val_los'"):
        replay(recorded([1.0]), Config(), "val_los")
    with pytest.raises(ValueError, match=r"max_lr=0\.01 and a learning rate of 0\.1"):
        replay(recorded([1.0], [0.1]), Config(max_lr=0.01))
    with pytest.raises(ValueError, match="rate must be a finite number"):
        replay(recorded([1.0]), Config(), rate=-1.0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([recorded([1.0])], Config()), r"recording must be a Recording, .* Received: a list"),
        ((recorded([1.0]), {"patience": 3}), r"config must be a Config .* Received: \{'patience': 3\}"),
        ((recorded([1.0]), Config), "config must be a Config"),
        ((recorded([1.0]), Config(), 3), "monitor must be the name of a metric. Received: 3"),
    ],
)
def test_arguments_of_other_types_are_named(arguments: Any, error: str) -> None:
    with pytest.raises(TypeError, match=error):
        replay(*arguments)


def test_a_mode_that_contradicts_the_metric_is_told_of() -> None:
    with pytest.warns(UserWarning, match=r"mode='min' contradicts the metric 'val_acc': a larger value .* mode='max'"):
        replay(recorded([], val_acc=[0.5, 0.75]), Config(), "val_accuracy")
    replay(recorded([], val_acc=[0.5, 0.75]), Config(mode="max"), "val_accuracy")
    replay(recorded([], val_acc=[0.5, 0.75], speed=[1.0, 2.0]), Config(), "speed")


@pytest.mark.parametrize("name", ["eval_accuracy", "Accuracy/val", "valid_acc"])
def test_a_validation_by_another_name_is_decided_alike(name: str) -> None:
    losses, accuracies = [1.0, *[0.9] * 4, *[2.0] * 6], [0.5, *[0.6] * 4, *[0.9] * 6]
    config = Config(**RULE, mode="max")
    expected = replay(recorded(losses, val_accuracy=accuracies), config, "val_accuracy")
    assert [each.kind for each in expected.decisions] == ["cut", "raise", "rollback"], "val_loss rose"
    assert replay(recorded(losses, **{name: accuracies}), config, name).decisions == expected.decisions


def test_a_run_of_ours_with_negative_epochs_is_refused() -> None:
    record = Record(1, (), "holding", 30, "val_loss", "min", "learning rate", None, 0.0)
    recording = Recording("spoilt", "epoch", {"val_loss": Curve([-3, -2, 1], [1.0] * 3, [0.0] * 3)}, (record,))
    with pytest.raises(CurveError, match=r"^spoilt: 'val_loss' has a value in epoch -3"):
        replay(recording, Config())


def test_progress_is_told_of_now_and_then() -> None:
    seen: list[int] = []
    replay(recorded([1.0] * 25_000), Config(), progress=seen.append)
    assert seen == [0, 10_000, 20_000]


def test_a_recording_that_is_replayed_stays_as_it_is() -> None:
    recording = recorded([1, 2, 2, 0.5], [0.1] * 4)
    before = repr(recording)
    replay(recording, Config(patience=1))
    assert repr(recording) == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val_loss", "min"),
        ("eval/mean_squared_error", "min"),
        ("val_acc", "max"),
        ("metrics/mAP50", None),
        ("val_f1", "max"),
        ("metrics/precision(B)", "max"),
        ("accuracy_loss", None),
        ("throughput", None),
    ],
)
def test_the_name_of_a_metric_tells_its_direction_or_does_not(name: str, expected: str | None) -> None:
    assert direction(name) == expected


def test_the_records_of_a_run_of_ours_are_what_was_decided_in_it() -> None:
    cut = Decision("cut", "", 3, 2.0, 1.0, 0.1, 0.05, epoch=2)
    record = Record(2, (cut,), "holding", 30, "val_loss", "min", "learning rate", None, 0.0)
    curves = {"val_loss": Curve(list(range(4)), [1.0, 2.0, 2.0, 0.5], [0.0] * 4)}
    recording = Recording("ours", "epoch", curves, (record,))
    assert replay(recording, Config(patience=2, factor=0.5), rate=0.1).departs is None
    assert replay(recording, Config(patience=2, factor=0.1), rate=0.1).departs == 2
    assert list(replay(recording, Config()).recorded.decisions) == [cut]


def test_a_history_callback_with_rates_of_another_callback() -> None:
    """What sets the rate by itself is what the training did; a replay that does not departs there."""
    model = tiny_model()

    def halve(epoch: int, logs: Any) -> None:
        logs["learning_rate"] = float(model.optimizer.learning_rate)
        if epoch == 1:
            model.optimizer.learning_rate = 0.05

    history = fit(model, scripted(1.0, 0.9, 0.8, 0.7), at_epoch_end(halve), epochs=4)
    assert replay(from_history(history), Config()).departs == 1
