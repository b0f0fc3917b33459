"""The callback in real fits: what the policy decides is carried out, beside other callbacks, on whatever backend runs.

Most tests script the metric, so that it is known what happens at which epoch; see `scripted` in conftest.py.
"""

import copy
import inspect
import json
import math
import pickle
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import keras
import numpy as np
import pytest
from conftest import (
    ROWS,
    Spy,
    at_epoch_end,
    compile_model,
    data,
    everything,
    fit,
    kinds,
    only,
    push,
    pushed_model,
    read_records,
    read_scalars,
    read_values,
    scripted,
    timeline,
    tiny_model,
    two_outputs,
    weight_of,
    without_rates,
)
from keras.optimizers import SGD, Adam, RMSprop

from keras_lrplateau import AdaptLROnPlateau, Decision, Sink
from keras_lrplateau.files import locks
from keras_lrplateau.history import tags
from keras_lrplateau.history.axes import Axis, Timeline
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation
from keras_lrplateau.resume.run_dirs import LOCK
from keras_lrplateau.training import snapshots as snapshots_module

EXCURSION = {"patience": 1, "factor": 0.5, "raise_factor": 2.0, "raise_after": 1, "max_raises": 1, "recover": False}
"""One cut, then a raise."""

FAILS = [1.0, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
"""The rate of an `EXCURSION` from 0.1: best, best, cut .05, raise .2, cut .1, cut .05, rollback .05, cut .025."""

SUCCEEDS = [1.0, 0.9, 1.0, 1.0, 0.8, 0.7]
"""best, best, cut .05, raise .2, success .2, best .2."""


ONE_RAISE = {"patience": 1, "factor": 0.01, "raise_factor": 2.0, "raise_after": 1, "max_raises": 1, "recover": False}
"""A cut, and then a raise, which is judged six epochs later, if there is an epoch more."""

RAISED, JUDGED, WHOLE = 3, 9, 11
"""The epochs of the raise and of its judgement, and how many epochs a `fit` with the scripts below has."""

FRUITLESS = [1.0, 0.9, *[1.0] * 9]
"""best, best, cut .001, raise .2, five epochs on the way back, rollback .001, cut"""

UNJUDGED: list[float | None] = [*FRUITLESS[:6], *[None] * 5]
"""The same, but validation stays away after the second epoch of the excursion: it is open until training ends."""

FRUITFUL = [1.0, 0.9, *[1.0] * 5, 0.8, 0.7, 0.6, 0.5]
"""The same, but the later half of the excursion is better than all before: success .001, best."""

WAY_BACK = [0.001 + 0.199 * (1 + math.cos(math.pi * done / 6)) / 2 for done in range(6)]
RATES = [0.1, 0.1, 0.1, 0.001, *WAY_BACK, 0.001]
"""The rates of the epochs, whether the raise fails or succeeds."""


def user_warnings(caught: Any) -> list[str]:
    """Without Keras' own DeprecationWarnings, see pyproject.toml."""
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


# --- decisions are carried out ---------------------------------------------------------------------------------------


@pytest.mark.backends
def test_cuts_change_the_rate_of_the_next_epoch() -> None:
    """value 1, 2, 2, .5 -> rate .1, .1, .05, .025"""
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    history = fit(tiny_model(), scripted(1.0, 2.0, 2.0, 0.5), adapt, epochs=4)
    assert timeline(adapt) == [(1, "cut", 0.05), (2, "cut", 0.025)]
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.025])


@pytest.mark.backends
def test_a_raise_that_gets_ahead_stays_and_gives_only_the_rate_back() -> None:
    spy, adapt = Spy(), AdaptLROnPlateau(**ONE_RAISE)
    history = fit(tiny_model(), scripted(*FRUITFUL), spy.callback, adapt, epochs=WHOLE)
    assert timeline(adapt) == [(2, "cut", 0.001), (RAISED, "raise", 0.2), (JUDGED, "success", 0.001)]
    assert history["learning_rate"] == pytest.approx(RATES)
    trained = without_rates(spy.ends[JUDGED])
    assert trained != without_rates(spy.ends[RAISED])
    assert without_rates(spy.begins[JUDGED + 1]) == trained


@pytest.mark.backends
def test_a_failed_raise_is_rolled_back_bit_for_bit() -> None:
    model, spy = tiny_model(Adam(0.1), compiled=True), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    history = fit(model, scripted(*FRUITLESS), adapt, spy.callback, epochs=WHOLE, batches=2)
    assert timeline(adapt)[:3] == [(2, "cut", 0.001), (RAISED, "raise", 0.2), (JUDGED, "rollback", 0.001)]
    assert history["learning_rate"] == pytest.approx(RATES)
    assert without_rates(spy.ends[JUDGED - 1]) != without_rates(spy.ends[RAISED]), "the excursion has trained"
    assert without_rates(spy.ends[JUDGED]) == without_rates(spy.ends[RAISED])


def test_training_goes_on_from_the_weights_that_were_rolled_back() -> None:
    spy = Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    fit(tiny_model(Adam(0.1), compiled=True), scripted(*FRUITLESS), adapt, spy.callback, epochs=WHOLE)
    assert timeline(adapt)[2] == (JUDGED, "rollback", 0.001)
    assert without_rates(spy.begins[JUDGED + 1]) == without_rates(spy.ends[RAISED])
    assert without_rates(spy.ends[JUDGED + 1]) != without_rates(spy.ends[RAISED])


def test_a_raise_still_open_at_the_end_is_rolled_back() -> None:
    model, spy = tiny_model(Adam(0.1)), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    fit(model, scripted(*UNJUDGED), adapt, spy.callback, epochs=WHOLE)
    assert timeline(adapt)[1:] == [(RAISED, "raise", 0.2), (WHOLE - 1, "rollback", 0.001)]
    assert "training ended" in adapt.decisions[-1].reason
    assert without_rates(spy.ends[5]) != without_rates(spy.ends[RAISED]), "the excursion has trained"
    assert without_rates(everything(model)) == without_rates(spy.ends[RAISED])


def test_a_raise_still_open_when_a_later_callback_stops_training_is_rolled_back() -> None:
    model, spy = tiny_model(Adam(0.1)), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 5

    fit(model, scripted(*FRUITLESS), adapt, spy.callback, at_epoch_end(stop), epochs=WHOLE)
    assert kinds(adapt) == ["cut", "raise", "rollback"]
    assert adapt.decisions[-1].epoch == 5
    assert without_rates(spy.ends[5]) != without_rates(spy.ends[RAISED])
    assert without_rates(everything(model)) == without_rates(spy.ends[RAISED])


@pytest.mark.backends
def test_a_nan_goes_back_to_the_weights_of_the_best_epoch() -> None:
    spy = Spy()
    adapt = AdaptLROnPlateau()
    history = fit(tiny_model(Adam(0.1)), scripted(1.0, 0.9, 0.95, math.nan, 0.8), adapt, spy.callback, epochs=5)
    assert kinds(adapt) == ["diverged"]
    assert without_rates(spy.ends[2]) != without_rates(spy.ends[1])
    assert without_rates(spy.ends[3]) == without_rates(spy.ends[1])
    assert history["learning_rate"][4] < history["learning_rate"][3]


@pytest.mark.backends
@pytest.mark.parametrize("optimizer", [SGD, RMSprop])
def test_a_velocity_of_a_rate_that_broke_training_does_not_come_back_with_the_weights(optimizer: Any) -> None:
    """Keras' velocities are in the unit of the rate: they would move the weights on, however low it is now."""

    def is_velocity(name: str) -> bool:
        return name.endswith("_momentum")

    spy = Spy()
    adapt = AdaptLROnPlateau()
    fit(
        tiny_model(optimizer(0.1, momentum=0.9)), scripted(1.0, 0.9, 0.95, math.nan, 0.8), adapt, spy.callback, epochs=5
    )
    assert kinds(adapt) == ["diverged"]
    best, back = without_rates(spy.ends[1]), without_rates(spy.ends[3])
    moving = [name for name in best if is_velocity(name)]
    assert moving
    assert any(np.frombuffer(best[name], "float32").any() for name in moving)
    assert not any(np.frombuffer(back[name], "float32").any() for name in moving)
    assert {name: each for name, each in back.items() if not is_velocity(name)} == {
        name: each for name, each in best.items() if not is_velocity(name)
    }


def test_a_nan_in_the_first_epoch_goes_back_to_the_untrained_weights() -> None:
    spy = Spy()
    adapt = AdaptLROnPlateau()
    fit(tiny_model(Adam(0.1), compiled=True), scripted(math.nan, 0.9), adapt, spy.callback, epochs=2)
    assert kinds(adapt) == ["diverged"]
    assert [content for name, content in spy.ends[0].items() if "adam" not in name] == [
        content for name, content in spy.begins[0].items() if "adam" not in name
    ]
    assert int(np.frombuffer(next(v for k, v in spy.ends[0].items() if "iteration" in k), "int32")[0]) == 0


def test_a_rate_far_too_high_ends_with_finite_weights() -> None:
    model = tiny_model(SGD(1e8), compiled=True)
    adapt = AdaptLROnPlateau(monitor="loss")
    history = fit(model, adapt, epochs=6, batches=4)
    assert "diverged" in kinds(adapt)
    assert history["learning_rate"][-1] < 1e8
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_loss_that_is_nan_counts_though_the_accuracy_is_finite() -> None:
    model, spy = tiny_model(Adam(0.1)), Spy()
    adapt = AdaptLROnPlateau(monitor="val_accuracy", mode="max")
    losses = scripted(1.0, math.nan, 0.9, name="loss")
    fit(model, losses, scripted(0.5, 0.5, 0.6, name="val_accuracy"), adapt, spy.callback, epochs=3)
    assert kinds(adapt) == ["diverged"]
    assert adapt.decisions[0].epoch == 1
    assert without_rates(spy.ends[1]) == without_rates(spy.ends[0])


def test_exhausted_holds_the_rate_and_trains_on() -> None:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, min_lr=0.05, max_raises=0, recover=False)
    history = fit(tiny_model(), scripted(*[1.0] * 5), adapt, epochs=5)
    assert timeline(adapt) == [(1, "cut", 0.05), (2, "exhausted", 0.05)]
    assert len(history["loss"]) == 5


def test_exhausted_stops_training_if_asked() -> None:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, min_lr=0.05, max_raises=0, recover=False, stop_when_exhausted=True)
    history = fit(tiny_model(), scripted(*[1.0] * 5), adapt, epochs=5)
    assert kinds(adapt) == ["cut", "exhausted"]
    assert len(history["loss"]) == 3


def test_without_rollback_no_snapshot_is_taken_and_the_rate_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*of: Any) -> None:
        raise AssertionError("a snapshot was taken")

    monkeypatch.setattr(snapshots_module, "take_snapshot", fail)
    adapt = AdaptLROnPlateau(**{**ONE_RAISE, "recover": True}, rollback=False)
    model, spy = tiny_model(), Spy()
    untrained = model.get_weights()

    def mend(epoch: int, logs: Any) -> None:
        """Without a snapshot nobody else does."""
        if epoch == 0:
            model.set_weights(untrained)

    script = scripted(math.nan, *FRUITLESS)
    history = fit(model, script, adapt, at_epoch_end(mend), spy.callback, epochs=WHOLE + 1)
    assert kinds(adapt) == ["diverged", "cut", "raise", "rollback", "cut"]
    raised, rolled_back = adapt.decisions[2:4]
    assert (raised.epoch, rolled_back.epoch) == (RAISED + 1, JUDGED + 1)
    assert rolled_back.restore is None
    assert rolled_back.rate == raised.rate_before < rolled_back.rate_before
    assert history["learning_rate"][rolled_back.epoch + 1] == pytest.approx(rolled_back.rate)
    assert without_rates(spy.begins[rolled_back.epoch + 1]) != without_rates(spy.ends[raised.epoch]), "the weights stay"


def test_rollback_on_cut_goes_back_to_the_best_weights() -> None:
    spy = Spy()
    adapt = AdaptLROnPlateau(patience=2, max_raises=0, rollback_on_cut=True)
    fit(tiny_model(Adam(0.1)), scripted(1.0, 0.9, 1.0, 1.0), adapt, spy.callback, epochs=4)
    assert kinds(adapt) == ["cut"]
    assert without_rates(spy.ends[2]) != without_rates(spy.ends[1])
    assert without_rates(spy.ends[3]) == without_rates(spy.ends[1])


def test_an_ordinary_cut_leaves_the_weights_alone() -> None:
    spies = Spy(), Spy()
    adapt = AdaptLROnPlateau(patience=1, max_raises=0)
    fit(tiny_model(Adam(0.1)), scripted(1.0, 2.0), spies[0].callback, adapt, spies[1].callback, epochs=2)
    assert kinds(adapt) == ["cut"]
    assert without_rates(spies[0].ends[1]) == without_rates(spies[1].ends[1])


def test_no_snapshot_outlives_the_training(copies: Any) -> None:
    held: list[int] = []
    fit(tiny_model(), scripted(1.0, 0.9), AdaptLROnPlateau(), at_epoch_end(lambda *_: held.append(copies())), epochs=2)
    assert max(held) in (1, 2)
    assert copies() == 0


# --- the monitored metric --------------------------------------------------------------------------------------------


def small_classifier() -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    metrics = ["accuracy", keras.metrics.AUC(name="auc"), "mae"]
    return compile_model(model, loss="binary_crossentropy", metrics=metrics)


@pytest.mark.parametrize(
    ("make", "monitor", "direction"),
    [
        (small_classifier, "loss", "min"),
        (small_classifier, "val_loss", "min"),
        (small_classifier, "accuracy", "max"),
        (small_classifier, "val_accuracy", "max"),
        (small_classifier, "val_auc", "max"),
        (small_classifier, "val_mae", "min"),
        (two_outputs, "val_loss", "min"),
        (two_outputs, "a_loss", "min"),
        (two_outputs, "val_b_loss", "min"),
        (two_outputs, "a_accuracy", "max"),
        (two_outputs, "val_b_accuracy", "max"),
    ],
)
def test_mode_auto_knows_the_direction(make: Any, monitor: str, direction: str) -> None:
    x, _ = data()
    labels = (np.arange(len(x)) % 2).astype("float32")[:, None]
    y = {"a": labels, "b": labels} if make is two_outputs else labels
    adapt = AdaptLROnPlateau(monitor=monitor, patience=1, max_raises=0, recover=False)
    fit(make(), scripted(0.1, 0.2, name=monitor), adapt, epochs=2, x=x, y=y)
    assert kinds(adapt) == (["cut"] if direction == "min" else [])


def test_an_unknown_direction_is_an_error_with_the_remedy() -> None:
    adapt = AdaptLROnPlateau(monitor="quality")
    with pytest.raises(ValueError, match=r"'quality' should fall or rise.*pass mode='min' or mode='max'"):
        fit(tiny_model(), scripted(0.1, name="quality"), adapt)


def test_a_misspelt_metric_gives_one_warning_and_training_goes_on() -> None:
    adapt = AdaptLROnPlateau(monitor="val_acuracy", mode="max", patience=1)
    metrics = scripted(0.1, 0.1, 0.1, name="val_accuracy"), scripted(1.0, 1.0, 1.0)
    with pytest.warns(UserWarning, match=r"'val_acuracy'.*Available metrics: .*loss, val_accuracy") as caught:
        history = fit(tiny_model(), *metrics, adapt, epochs=3)
    assert len(user_warnings(caught)) == 1
    assert "Did you mean 'val_accuracy'?" in user_warnings(caught)[0]
    assert len(history["loss"]) == 3
    assert kinds(adapt) == []


def test_an_epoch_without_validation_is_no_observation() -> None:
    """Validation in epochs 2, 5 and 8 only; no warning."""
    adapt = AdaptLROnPlateau(patience=2, max_raises=0, recover=False, min_delta=100.0)
    x, y = data()
    history = fit(tiny_model(), adapt, epochs=9, validation_data=(x, y), validation_freq=3)
    assert len(history["val_loss"]) == 3
    assert adapt.state is not None
    assert adapt.state.observations == 3
    assert [decision.epoch for decision in adapt.decisions] == [8]
    assert len(history["learning_rate"]) == 9


@pytest.mark.parametrize("epochs", [1, 5])
def test_no_validation_at_all_gives_one_warning(epochs: int) -> None:
    """Not at the start, since another callback may bring the metric."""
    with pytest.warns(UserWarning, match=r"no validation so far.*validation_data.*monitor='loss'") as caught:
        fit(tiny_model(), at_epoch_end(lambda epoch, logs: None), AdaptLROnPlateau(), epochs=epochs)
    assert len(user_warnings(caught)) == 1


def driven_by_hand(**arguments: Any) -> Any:
    adapt = AdaptLROnPlateau(**{"patience": 1, "recover": False, "max_raises": 0, **arguments})
    adapt.set_model(SimpleNamespace(optimizer=SGD(0.1), metrics=[], built=False, stop_training=False))
    adapt.on_train_begin()
    return adapt


@pytest.mark.parametrize(
    "make",
    [
        lambda: 0.5,
        lambda: np.float32(0.5),
        lambda: np.float16(0.5),
        lambda: np.array(0.5),
        lambda: np.array([0.5], "float32"),
        lambda: keras.ops.convert_to_tensor(0.5),
        lambda: keras.ops.convert_to_tensor([0.5]),
        lambda: keras.ops.cast(0.5, "bfloat16"),
        lambda: keras.Variable(0.5),
    ],
    ids=["float", "float32", "float16", "0-d", "1-d", "tensor", "1-d tensor", "bfloat16", "variable"],
)
@pytest.mark.backends
def test_a_metric_of_any_numeric_type_is_an_observation(make: Any) -> None:
    adapt = driven_by_hand()
    adapt.on_epoch_end(0, {"val_loss": make()})
    assert adapt.state.best == 0.5
    assert type(adapt.state.best) is float


@pytest.mark.parametrize("value", [1, np.int64(1), np.bool_(True)], ids=["int", "int64", "bool"])
def test_whole_numbers_are_observations_too(value: Any) -> None:
    adapt = driven_by_hand()
    adapt.on_epoch_end(0, {"val_loss": value})
    assert adapt.state.best == 1.0


@pytest.mark.parametrize("value", ["0.5", b"0.5", [0.5, 0.4], None, np.array([0.5, 0.4])], ids=repr)
def test_what_is_no_number_is_refused_and_changes_nothing(value: Any) -> None:
    adapt = driven_by_hand()
    adapt.on_epoch_begin(0)
    before = adapt.state
    with pytest.raises(TypeError, match="'val_loss' must be a number"):
        adapt.on_epoch_end(0, {"val_loss": value})
    assert adapt.state == before


# --- what others see -------------------------------------------------------------------------------------------------


def test_the_rate_of_every_epoch_is_in_the_csv_file(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    path = tmp_path / "log.csv"
    model, script, csv = tiny_model(), scripted(1.0, 2.0, 2.0, 0.5), keras.callbacks.CSVLogger(path)
    history = fit(model, script, adapt, csv, epochs=4)
    assert kinds(adapt) == ["cut", "cut"]
    table = np.genfromtxt(path, delimiter=",", names=True)
    assert table["learning_rate"] == pytest.approx(history["learning_rate"])
    assert table["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_the_class_has_no_batch_hooks() -> None:
    for name, method in inspect.getmembers(keras.callbacks.Callback, inspect.isfunction):
        if "batch" in name:
            assert getattr(AdaptLROnPlateau, name) is method


@pytest.mark.backends
def test_the_first_batch_is_the_last_one_that_the_callback_watches() -> None:
    adapt = AdaptLROnPlateau(monitor="loss")
    bound = {}

    class Watch(keras.callbacks.Callback):
        """Its hook at the end of a batch keeps Keras from dispatching asynchronously, out of order."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            bound["begin", batch] = "on_train_batch_end" in vars(adapt)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            bound["end", batch] = "on_train_batch_end" in vars(adapt)

    fit(tiny_model(), adapt, Watch(), batches=4)
    assert [when for when, is_bound in bound.items() if is_bound] == [("begin", 0)]
    assert len(bound) == 8
    assert adapt.state is not None
    assert adapt.state.loss_before is not None


@pytest.mark.backends
@pytest.mark.parametrize("by", [{}, {"frequency": 2}])
def test_a_subclass_has_batch_hooks_of_its_own(by: dict[str, int]) -> None:
    class Mine(AdaptLROnPlateau):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            heard.append(("begin", batch))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            heard.append(("end", batch))

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            heard.append(("old name", batch))

    heard: list[tuple[str, int]] = []
    adapt = Mine(monitor="loss", **by)
    fit(tiny_model(), adapt, epochs=2, batches=4)
    # In order, so in the thread that trains: a hook of the user's may read the model.
    assert heard == 2 * [(when, batch) for batch in range(4) for when in ("begin", "old name", "end")]
    assert adapt.state is not None
    assert adapt.state.loss_before is not None, "ours have been called, too"
    assert adapt.state.observations == (4 if by else 2)


def test_the_hooks_of_a_subclass_go_on_after_a_search_by_steps() -> None:
    class Mine(AdaptLROnPlateau):
        ends = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends += 1

    adapt = Mine.auto("loss")
    fit(tiny_model(), adapt, epochs=2, batch_size=1, x=np.ones((100, 4)), y=np.ones((100, 1)))
    assert "settle" in kinds(adapt)
    assert adapt.ends == 200


def test_only_hooks_of_ours_may_run_in_any_thread() -> None:
    class Mine(AdaptLROnPlateau):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            pass

    assert AdaptLROnPlateau("loss", frequency=2).async_safe
    assert not hasattr(Mine("loss", frequency=2), "async_safe")


def test_decisions_are_printed_as_keras_prints_with_epochs_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    fit(tiny_model(), scripted(1.0, 2.0), AdaptLROnPlateau(patience=1, max_raises=0, verbose=1), epochs=2)
    printed = capsys.readouterr().out
    assert printed.strip() == (
        "Epoch 2: AdaptLROnPlateau cut: learning rate 0.1 -> 0.01 (no improvement on 1 in 1 observation)"
    )


def test_printing_goes_where_keras_is_told_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    keras.config.disable_interactive_logging()
    try:
        fit(tiny_model(), scripted(1.0, 2.0), AdaptLROnPlateau(patience=1, max_raises=0, verbose=1), epochs=2)
    finally:
        keras.config.enable_interactive_logging()
    assert capsys.readouterr().out == ""


def test_verbose_0_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    fit(tiny_model(), scripted(*FRUITLESS), adapt, epochs=WHOLE)
    assert "rollback" in kinds(adapt)
    assert capsys.readouterr().out == ""


# --- several fits ----------------------------------------------------------------------------------------------------


def test_a_second_fit_starts_afresh_as_in_keras() -> None:
    values = [1.0, 2.0, 2.0, 5.0, 6.0, 4.0]
    found = []
    for callback in (
        keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.5),
        AdaptLROnPlateau(patience=2, factor=0.5, max_raises=0, recover=False),
    ):
        model, script = tiny_model(), scripted(*values)
        found.append([rate for _ in range(2) for rate in fit(model, script, callback, epochs=3)["learning_rate"]])
        found[-1].append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
    theirs, ours = found
    assert theirs == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    assert ours == pytest.approx(theirs)


def one_by_one(model: Any, adapt: Any, script: Any, epochs: int) -> None:
    for _ in range(epochs):
        fit(model, script, adapt)


def onwards(model: Any, adapt: Any, script: Any, epochs: int) -> None:
    for epoch in range(epochs):
        fit(model, script, adapt, initial_epoch=epoch, epochs=epoch + 1)


@pytest.mark.parametrize("loop", [one_by_one, onwards])
@pytest.mark.parametrize(
    ("values", "judgement"), [(FRUITLESS, "rollback"), (FRUITFUL, "success")], ids=["rollback", "success"]
)
def test_one_epoch_per_fit_decides_as_one_fit_does(loop: Any, values: list[float], judgement: str) -> None:
    whole, parts = tiny_model(Adam(0.1)), tiny_model(Adam(0.1))
    expected = AdaptLROnPlateau(**ONE_RAISE)
    fit(whole, scripted(*values), expected, epochs=len(values))
    assert kinds(expected)[:3] == ["cut", "raise", judgement]
    adapt = AdaptLROnPlateau(**ONE_RAISE, reset_on_train_begin=False)
    loop(parts, adapt, scripted(*values), len(values))
    assert adapt.decisions == expected.decisions
    assert list(everything(parts).values()) == list(everything(whole).values())


def test_one_epoch_per_fit_writes_one_curve(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, reset_on_train_begin=False, log_dir=tmp_path)
    one_by_one(tiny_model(), adapt, scripted(*FRUITFUL), WHOLE)
    assert kinds(adapt) == ["cut", "raise", "success"]
    (run,) = tmp_path.iterdir()
    rates = read_scalars(run)["lr_plateau/learning_rate"]
    assert rates == pytest.approx(dict(enumerate(RATES)))


def test_a_copy_made_before_fit_is_on_its_own() -> None:
    original = AdaptLROnPlateau(patience=1, max_raises=0)
    copies = [copy.deepcopy(original) for _ in range(2)]
    fit(tiny_model(), scripted(1.0, 2.0), copies[0], epochs=2)
    assert [kinds(adapt) for adapt in (original, *copies)] == [[], ["cut"], []]
    assert copies[1].get_config() == original.get_config()


def test_a_callback_is_made_again_from_its_configuration(tmp_path: Path) -> None:
    arguments = {
        "monitor": "val_accuracy",
        "factor": 0.3,
        "patience": 7,
        "verbose": 1,
        "mode": "max",
        "min_delta": 0.01,
        "cooldown": 2,
        "min_lr": 1e-5,
        "threshold_mode": "rel",
        "max_lr": 2.0,
        "raise_factor": 3.0,
        "raise_after": 5,
        "max_raises": 6,
        "recover": False,
        "rollback": True,
        "rollback_on_cut": True,
        "stop_when_exhausted": True,
        "reset_on_train_begin": False,
        "log_dir": str(tmp_path),
        "state_path": str(tmp_path / "state.json"),
        "frequency": 10,
        "optimizer": "d_optimizer",
        "sinks": None,
        "on_decision": None,
        "hparams": {"layers": 3},
    }
    defaults = {p.name: p.default for p in inspect.signature(AdaptLROnPlateau).parameters.values()}
    assert arguments.keys() == defaults.keys()
    config = json.loads(json.dumps(AdaptLROnPlateau(**arguments).get_config()))
    assert config == arguments
    assert AdaptLROnPlateau.from_config(config).get_config() == arguments
    assert AdaptLROnPlateau.from_config(AdaptLROnPlateau().get_config()).get_config() == defaults


def test_an_interrupted_fit_can_be_followed_by_another(tmp_path: Path) -> None:
    model = tiny_model()
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=tmp_path)

    def interrupt(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, scripted(1.0, 2.0, 3.0), adapt, at_epoch_end(interrupt), epochs=3)
    assert kinds(adapt) == ["cut"]
    history = fit(model, scripted(5.0, 4.0, 4.5), adapt, epochs=3)
    assert timeline(adapt) == [(2, "cut", 0.025)]
    assert history["learning_rate"] == pytest.approx([0.05] * 3)
    runs = {run.name: read_scalars(run)["lr_plateau/val_loss"] for run in tmp_path.iterdir()}
    assert runs == {"lr_plateau": {0: 1.0, 1: 2.0}, "lr_plateau_2": {0: 5.0, 1: 4.0, 2: 4.5}}


# --- beside other callbacks ------------------------------------------------------------------------------------------

EITHER_ORDER = pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
ONE_ORDER = pytest.mark.parametrize("first", only([False], [True, False]), ids=["before us", "after us"])
"""The usual one in the quick lane: ours is the first."""


def in_order(first: bool, other: Any, adapt: Any) -> tuple[Any, Any]:
    return (other, adapt) if first else (adapt, other)


@EITHER_ORDER
def test_an_open_excursion_never_overrides_the_weights_that_early_stopping_restores(first: bool) -> None:
    model, spy = tiny_model(Adam(0.1)), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    # If it watched our metric, we would judge the raise before it stops.
    stopping = keras.callbacks.EarlyStopping("val_other", mode="min", patience=4, restore_best_weights=True)
    scripts = scripted(*FRUITLESS), scripted(*FRUITLESS, name="val_other")
    history = fit(model, *scripts, spy.callback, *in_order(first, stopping, adapt), epochs=WHOLE)
    assert RAISED + 1 < len(history["loss"]) < JUDGED, "stopped in the excursion"
    assert kinds(adapt) == ["cut", "raise", "rollback"]
    assert "training ended" in adapt.decisions[-1].reason
    for weight, best in zip(model.get_weights(), spy.weights[1], strict=True):
        np.testing.assert_array_equal(weight, best)


@EITHER_ORDER
def test_a_raise_is_judged_before_early_stopping_ends_the_training(first: bool) -> None:
    """It has waited for two epochs at the raise, and waits for five more: four for a raise, and one after it."""
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    stopping = keras.callbacks.EarlyStopping(patience=7)
    history = fit(tiny_model(), scripted(*FRUITLESS), *in_order(first, stopping, adapt), epochs=WHOLE)
    assert len(history["loss"]) == RAISED + 6 < WHOLE, "stopped by the patience"
    assert timeline(adapt)[:3] == [(2, "cut", 0.001), (RAISED, "raise", 0.2), (RAISED + 4, "rollback", 0.001)]
    assert "the raise failed" in adapt.decisions[2].reason


@EITHER_ORDER
def test_no_raise_is_made_that_early_stopping_would_not_let_us_judge(first: bool) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    stopping = keras.callbacks.EarlyStopping(patience=6)
    with pytest.warns(UserWarning, match=r"EarlyStopping\(patience=6\).*patience=7 or more"):
        fit(tiny_model(), scripted(*FRUITLESS), *in_order(first, stopping, adapt), epochs=WHOLE)
    assert kinds(adapt)[:2] == ["cut", "exhausted"]
    assert "the 4 observations left cannot judge a raise" in adapt.decisions[1].reason


@EITHER_ORDER
def test_model_checkpoint_saves_what_is_in_the_model(first: bool, tmp_path: Path) -> None:
    model, spies = tiny_model(Adam(0.1)), (Spy(), Spy())
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    order = in_order(first, checkpoint, adapt)
    fit(model, scripted(*FRUITLESS), spies[0].callback, *order, spies[1].callback, epochs=WHOLE)
    assert timeline(adapt)[2] == (JUDGED, "rollback", 0.001)
    for epoch in (1, RAISED, JUDGED):
        loaded = keras.models.load_model(tmp_path / f"{epoch + 1}.keras")
        assert list(everything(loaded).values()) == list(spies[0 if first else 1].ends[epoch].values())


@EITHER_ORDER
def test_a_learning_rate_scheduler_is_noticed(first: bool, tmp_path: Path) -> None:
    """The cut after epoch 1 to .05 is undone in epoch 2."""
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, recover=False, log_dir=tmp_path)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    order = in_order(first, scheduler, adapt)
    with pytest.warns(UserWarning, match="sets the learning rate") as caught:
        fit(tiny_model(), scripted(1.0, 2.0, 2.0, 2.0), *order, epochs=4)
    advice, noticed = user_warnings(caught)
    assert "LearningRateScheduler sets the learning rate of the same optimizer" in advice
    assert "found at 0.1, not at 0.05 as set, in epoch 3" in noticed
    assert "a LearningRateSchedule instead" in noticed
    assert timeline(adapt) == [
        (1, "cut", 0.05),
        (2, "override", 0.1),
        (2, "cut", 0.05),
        (3, "override", 0.1),
        (3, "cut", 0.05),
    ]
    # Not from the history: Keras' scheduler, listed after us, writes there the rate that it finds at the end.
    rates = read_scalars(tmp_path / "lr_plateau")["lr_plateau/learning_rate"]
    assert rates == pytest.approx({epoch: 0.1 for epoch in range(4)})


def test_a_scheduler_that_sets_the_rate_once_is_followed() -> None:
    """Set to .4 in epoch 1, then halved."""
    model = tiny_model()
    adapt = AdaptLROnPlateau(patience=2, factor=0.5, max_raises=0, recover=False)

    class Once(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.optimizer.learning_rate = 0.4

    with pytest.warns(UserWarning, match="Something else sets the learning rate"):
        history = fit(model, scripted(1.0, 2.0, 2.0, 2.0), Once(), adapt, epochs=4)
    assert timeline(adapt) == [(1, "override", 0.4), (2, "cut", 0.2)]
    assert history["learning_rate"] == pytest.approx([0.1, 0.4, 0.4, 0.2])


def averaging() -> Any:
    return Adam(0.1, use_ema=True, ema_momentum=0.5)


@ONE_ORDER
@pytest.mark.backends
def test_a_rollback_beside_swap_ema_weights_brings_back_weights_and_averages(first: bool) -> None:
    spy, model = Spy(), tiny_model(averaging(), compiled=True)
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    fit(model, scripted(*FRUITLESS), *in_order(first, swap, adapt), spy.callback, epochs=WHOLE)
    assert timeline(adapt)[1:3] == [(RAISED, "raise", 0.2), (JUDGED, "rollback", 0.001)]
    assert without_rates(spy.begins[JUDGED]) != without_rates(spy.begins[RAISED + 1])
    # As epochs begin the plain weights are in the model, whoever came first at the end of the epoch before.
    assert without_rates(spy.begins[JUDGED + 1]) == without_rates(spy.begins[RAISED + 1])


@EITHER_ORDER
def test_going_back_to_the_start_beside_swap_ema_weights_brings_back_the_untrained_weights(first: bool) -> None:
    spy, model = Spy(), tiny_model(averaging(), compiled=True)
    adapt = AdaptLROnPlateau(max_raises=0)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    untrained = []

    def spoil(epoch: int, logs: Any) -> None:
        """A weight that is not finite makes its average so, too, and that is in the model if the swap comes first."""
        if epoch == 0:
            averages = [each for each in model.optimizer.variables if each.name.endswith("_average")]
            assert len(averages) == 4
            for average in averages:
                average.assign(np.full(average.shape, np.nan))

    record = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: untrained.append([np.array(weight) for weight in model.get_weights()])
    )
    order = in_order(first, swap, adapt)
    fit(model, scripted(math.nan, 0.9), at_epoch_end(spoil), *order, spy.callback, record, epochs=2)
    assert kinds(adapt) == ["diverged"]
    for before, after in zip(untrained[0], untrained[1], strict=True):
        np.testing.assert_array_equal(before, after)


@EITHER_ORDER
def test_a_rollback_in_the_last_epoch_beside_swap_ema_weights_ends_with_the_averages(first: bool) -> None:
    spy, model = Spy(), tiny_model(averaging(), compiled=True)
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    fit(model, scripted(*UNJUDGED), *in_order(first, swap, adapt), spy.callback, epochs=WHOLE)
    assert timeline(adapt)[1:] == [(RAISED, "raise", 0.2), (WHOLE - 1, "rollback", 0.001)]
    for weight, average in zip(model.get_weights(), spy.weights[RAISED], strict=True):
        np.testing.assert_array_equal(weight, average, "at the raise, swapped in as the epoch ended")


# With a swap, and a stop in front, Keras itself ends with the raw weights, since it has not reached the last epoch.
@pytest.mark.parametrize(("first", "swaps"), [(True, False), (False, False), (False, True)])
def test_a_rollback_ends_with_the_averages_whoever_stops_the_training(first: bool, swaps: bool) -> None:
    """If a callback behind ours stops it, Keras has made weights and averages equal before the rollback."""
    model, spy = tiny_model(averaging(), compiled=True), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == JUDGED - 1

    others = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if swaps else []
    order = in_order(first, at_epoch_end(stop), adapt)
    fit(model, scripted(*FRUITLESS), *order, spy.callback, *others, epochs=WHOLE)
    assert max(spy.ends) == JUDGED - 1
    assert timeline(adapt)[-1] == (JUDGED - 1, "rollback", 0.001)
    averages = [content for name, content in spy.ends[RAISED].items() if name.endswith("_average")]
    assert len(averages) == 4
    assert [weight.tobytes() for weight in model.get_weights()] == averages


def test_what_comes_back_when_training_is_over_is_finalized_by_the_optimizer() -> None:
    """Keras has finalized the weights of the raise by then: a callback behind ours has stopped the training."""

    class Doubled(SGD):  # type: ignore[misc]  # Keras is not typed
        def finalize_variable_values(self, var_list: Any) -> None:
            for variable in var_list:
                variable.assign(2 * variable.value)

    model, spy = tiny_model(Doubled(0.1)), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == JUDGED - 1

    fit(model, scripted(*FRUITLESS), adapt, spy.callback, at_epoch_end(stop), epochs=WHOLE)
    assert timeline(adapt)[-1] == (JUDGED - 1, "rollback", 0.001)
    for weight, kept in zip(model.get_weights(), spy.weights[RAISED], strict=True):
        np.testing.assert_array_equal(weight, 2 * kept)


@ONE_ORDER
@pytest.mark.backends
def test_backup_and_restore_resumes_where_the_crash_was(first: bool, tmp_path: Path) -> None:
    """Cut after epoch 1, crash in epoch 2."""

    def crash(epoch: int, logs: Any) -> None:
        if epoch == 2:
            raise RuntimeError("crash")

    def attempt(*others: Any, values: list[float]) -> tuple[Any, list[float]]:
        adapt = AdaptLROnPlateau(patience=1, factor=0.5, raise_after=9, recover=False, log_dir=tmp_path / "logs")
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        history = fit(tiny_model(), *others, scripted(*values), *in_order(first, backup, adapt), epochs=5)
        return adapt, history["learning_rate"]

    with pytest.raises(RuntimeError, match="crash"):
        attempt(at_epoch_end(crash), values=[1.0, 2.0, 2.0])
    adapt, rates = attempt(values=[3.0, 2.0, 2.5])
    # Before us the checkpoint of epoch 1 was written before the cut.
    assert rates == pytest.approx([0.05, 0.025, 0.0125])
    assert timeline(adapt) == [(epoch, "cut", pytest.approx(0.1 / 2**epoch)) for epoch in (1, 2, 3, 4)]
    (run,) = (tmp_path / "logs").iterdir()
    assert read_scalars(run)["lr_plateau/val_loss"] == {0: 1.0, 1: 2.0, 2: 3.0, 3: 2.0, 4: 2.5}
    # With a record of the epoch of the resume, which takes back whatever had been decided from there on.
    found = [(record.epoch, [decision.kind for decision in record.decisions]) for record in read_records(run)]
    assert found == [(0, []), *((epoch, ["cut"]) for epoch in (1, 2, 3, 4))]
    assert [record.steps for record in read_records(run)] == [1, 2, 3, 4, 5]


# --- log_dir ---------------------------------------------------------------------------------------------------------


def test_every_epoch_is_in_the_file_before_the_next_one_begins(tmp_path: Path) -> None:
    seen = []
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=tmp_path)
    spy = at_epoch_end(lambda *_: seen.append(read_scalars(tmp_path / "lr_plateau")["lr_plateau/learning_rate"]))
    fit(tiny_model(), scripted(1.0, 2.0, 2.0), adapt, spy, epochs=3)
    assert seen == [pytest.approx(rates) for rates in ({0: 0.1}, {0: 0.1, 1: 0.1}, {0: 0.1, 1: 0.1, 2: 0.05})]


def test_every_scalar_in_logs_is_written(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(log_dir=tmp_path)
    history = fit(tiny_model(metrics=["mae"]), scripted(1.0, 0.9), adapt, epochs=2)
    scalars = read_scalars(tmp_path / "lr_plateau")
    made = {"lr_plateau/log10(learning_rate)", "lr_plateau/best(val_loss)"}
    assert scalars.keys() - made == {f"lr_plateau/{name}" for name in history}
    for name in ("loss", "mae", "val_loss"):
        assert list(scalars[f"lr_plateau/{name}"].values()) == pytest.approx(history[name])


def test_a_log_dir_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "logs"
    place.write_text("a file where the directory should be")
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=place)

    def make_room(epoch: int, logs: Any) -> None:
        if epoch == 2:
            place.unlink()

    with pytest.warns(UserWarning, match=r"cannot write to log_dir.*tried again") as caught:
        fit(tiny_model(), at_epoch_end(make_room), scripted(1.0, 2.0, 3.0, 0.5), adapt, epochs=4)
    assert len(user_warnings(caught)) == 1
    assert kinds(adapt) == ["cut", "cut"]
    assert read_scalars(place / "lr_plateau")["lr_plateau/val_loss"] == {0: 1.0, 1: 2.0, 2: 3.0, 3: 0.5}
    assert steps_written(place / "lr_plateau") == {"val_loss": [0, 1, 2, 3], "records": [0, 1, 2, 3]}
    assert read_records(place / "lr_plateau") == adapt.run.records


def test_a_log_dir_that_never_can_be_written_does_not_stop_training(tmp_path: Path) -> None:
    place = tmp_path / "logs"
    place.write_text("a file where the directory should be")
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=place)
    with pytest.warns(UserWarning, match="cannot write to log_dir") as caught:
        history = fit(tiny_model(), scripted(1.0, 2.0, 3.0), adapt, epochs=3)
    assert len(user_warnings(caught)) == 1
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05])


def test_a_log_dir_that_cannot_be_read_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterdir = Path.iterdir

    def refuse(self: Path) -> Any:
        if self == tmp_path:
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    adapt = AdaptLROnPlateau(patience=1, max_raises=0, log_dir=tmp_path)
    with pytest.warns(UserWarning, match="log_dir") as caught:
        fit(tiny_model(), scripted(1.0, 2.0), adapt, epochs=2)
    assert len(user_warnings(caught)) == 1
    assert kinds(adapt) == ["cut"]


def test_a_file_that_fails_on_close_ends_no_fit_and_all_else_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system with a quota, which a write may exceed without a word."""
    close, closed = EventWriter.close, []

    def fail(self: EventWriter) -> None:
        if self.path not in closed:
            close(self)
            closed.append(self.path)
            raise OSError(122, "Disk quota exceeded")

    class Tracker(Sink):
        def close(self) -> None:
            closed.append("the user's sink")

    monkeypatch.setattr(EventWriter, "close", fail)
    adapt = AdaptLROnPlateau(log_dir=tmp_path, sinks=[Tracker()])
    with pytest.warns(UserWarning, match=r"cannot write to log_dir: .*quota") as caught:
        fit(tiny_model(), scripted(1.0, 0.9), adapt, epochs=2)
    assert len(user_warnings(caught)) == 1
    assert closed[1:] == ["the user's sink"], "after the event file"
    assert locks.holder(tmp_path / "lr_plateau" / LOCK) is None


def test_a_second_fit_writes_a_run_of_its_own(tmp_path: Path) -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(log_dir=tmp_path)
    for values in ((1.0, 0.9), (0.8, 0.7)):
        fit(model, scripted(*values), adapt, epochs=2)
    runs = {run.name: read_scalars(run)["lr_plateau/val_loss"] for run in tmp_path.iterdir()}
    assert list(runs["lr_plateau"].values()) == pytest.approx([1.0, 0.9])
    assert list(runs["lr_plateau_2"].values()) == pytest.approx([0.8, 0.7])


@EITHER_ORDER
def test_keras_tensorboard_in_the_same_directory_reads_beside_ours(first: bool, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="keras.callbacks.TensorBoard needs TensorFlow")
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=tmp_path)
    board = keras.callbacks.TensorBoard(tmp_path)
    x, y = data()
    fit(tiny_model(), scripted(1.0, 2.0, 0.5), *in_order(first, board, adapt), epochs=3, validation_data=(x, y))
    assert timeline(adapt) == [(1, "cut", 0.05)]
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    assert multiplexer.Runs().keys() == {"train", "validation", "lr_plateau"}

    def series(run: str, tag: str) -> list[Any]:
        return [(e.step, float(e.tensor_proto.float_val[0])) for e in multiplexer.Tensors(run, tag)]

    used = dict(series("lr_plateau", "lr_plateau/learning_rate"))
    assert used == pytest.approx({0: 0.1, 1: 0.1, 2: 0.05})
    assert len(multiplexer.Tensors("train", "epoch_loss")) == 3
    assert len(multiplexer.Tensors("validation", "epoch_loss")) == 3

    (config,) = multiplexer.Tensors("lr_plateau", "custom_scalars__config__")
    (category,) = Layout.FromString(config.tensor_proto.string_val[0]).category
    charts = {chart.title: chart.multiline.tag for chart in category.chart}
    for run in ("train", "validation"):
        tags = multiplexer.Runs()[run]["tensors"]
        shown = [tag for tag in tags if any(re.match(pattern, tag) for pattern in charts["loss"])]
        assert shown == ["epoch_loss"], "what Keras has of it is drawn beside ours"


# --- what is recorded ------------------------------------------------------------------------------------------------


def in_short(adapt: Any) -> list[tuple[int, list[str], str]]:
    records = adapt.run.records
    return [(record.epoch, [each.kind for each in record.decisions], record.status) for record in records]


def steps_written(run_dir: Path) -> dict[str, list[int]]:
    """The epochs of the records and of the metric, as often as each was written."""
    scalars = [event.step for event, value in read_values(run_dir, "scalars") if value.tag == "lr_plateau/val_loss"]
    return {
        "val_loss": scalars,
        "records": [event.step for event, _ in read_values(run_dir, tags.PLUGIN_NAME)],
    }


def test_there_is_a_record_of_the_first_epoch_the_last_and_each_with_a_decision_or_a_new_best(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path)
    fit(tiny_model(), scripted(*FRUITFUL), adapt, epochs=WHOLE)
    assert in_short(adapt) == [
        (0, [], "holding"),
        (1, [], "holding"),  # A new best, as in 7, 8 and 10.
        (2, ["cut"], "holding"),
        (RAISED, ["raise"], "in excursion"),
        (7, [], "in excursion"),
        (8, [], "in excursion"),
        (JUDGED, ["success"], "holding"),
        (10, [], "holding"),
    ]
    assert [each for record in adapt.run.records for each in record.decisions] == adapt.decisions
    run = tmp_path / "lr_plateau"
    assert read_records(run) == adapt.run.records
    assert steps_written(run) == {"val_loss": list(range(WHOLE)), "records": [0, 1, 2, 3, 7, 8, 9, 10]}


def test_there_is_a_record_when_the_status_changes_and_nobody_has_decided_anything(tmp_path: Path) -> None:
    """Exhausted, until there is a new best."""
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, min_lr=0.05, max_raises=0, recover=False, log_dir=tmp_path)
    fit(tiny_model(), scripted(1.0, 1.0, 1.0, 1.0, 0.5, 0.4, 0.3), adapt, epochs=7)
    assert in_short(adapt) == [
        (0, [], "holding"),
        (1, ["cut"], "holding"),
        (2, ["exhausted"], "exhausted"),
        (4, [], "holding"),
        (5, [], "holding"),  # A new best.
        (6, [], "holding"),
    ]
    assert read_records(tmp_path / "lr_plateau") == adapt.run.records


def bests_recorded(values: list[float]) -> tuple[list[Any], list[int]]:
    """What the last record says of the best after each epoch, without decisions; and the epochs of all records."""
    adapt, bests = driven_by_hand(patience=10**6), []
    for epoch, value in enumerate(values):
        adapt.on_epoch_begin(epoch)
        adapt.on_epoch_end(epoch, {"val_loss": value})
        bests.append(adapt.run.records[-1].best)
    assert adapt.decisions == []
    return bests, [record.epoch for record in adapt.run.records]


@pytest.mark.parametrize(("epochs", "most"), [(300, 170), (2000, 270)])
def test_the_last_record_never_tells_a_best_older_than_a_fiftieth_of_the_training(epochs: int, most: int) -> None:
    """Even where each epoch is a new best: all are recorded of the first 100, and then fewer and fewer."""
    bests, recorded = bests_recorded([1.0 - epoch / 2 / epochs for epoch in range(epochs)])
    assert all(epoch - best.epoch < max(epoch // 50, 1) for epoch, best in enumerate(bests))
    assert recorded[:100] == list(range(100))
    assert 100 < len(recorded) < most


def test_a_new_best_too_soon_after_a_record_is_recorded_later_and_an_epoch_without_one_is_not() -> None:
    """Epoch 301 comes one epoch after the record of 300; the next one may come after 6."""
    bests, recorded = bests_recorded([*[1.0] * 300, 0.9, 0.8, *[0.85] * 98])
    assert recorded == [0, 300, 306]
    assert bests[299] == Observation(0, 1.0)
    assert bests[300:306] == [Observation(300, 0.9)] * 6
    assert bests[306:] == [Observation(301, 0.8)] * 94


def test_all_decisions_of_an_epoch_are_in_one_record(tmp_path: Path) -> None:
    """The training is stopped in the epoch of the raise, which is taken back as it ends."""
    model, adapt = tiny_model(), AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == RAISED

    fit(model, scripted(*FRUITLESS), at_epoch_end(stop), adapt, epochs=WHOLE)
    assert in_short(adapt)[-1] == (RAISED, ["raise", "rollback"], "holding")
    assert steps_written(tmp_path / "lr_plateau") == {"val_loss": [0, 1, 2, 3], "records": [0, 1, 2, 3]}


@pytest.mark.parametrize(("stop_after", "last"), [(RAISED, ["raise", "rollback"]), (5, ["rollback"]), (1, [])])
def test_a_callback_behind_us_that_stops_the_training_ends_it_with_a_record(
    stop_after: int, last: list[str], tmp_path: Path
) -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == stop_after

    fit(model, scripted(*FRUITLESS), adapt, at_epoch_end(stop), epochs=WHOLE)
    assert in_short(adapt)[-1] == (stop_after, last, "holding")
    found = read_records(tmp_path / "lr_plateau")
    # What was said before the training was stopped is said again, and the last one counts.
    assert list({record.epoch: record for record in found}.values()) == adapt.run.records
    assert steps_written(tmp_path / "lr_plateau")["val_loss"] == list(range(stop_after + 1))


def test_a_callback_in_front_of_us_that_stops_the_training_makes_it_the_last_epoch(tmp_path: Path) -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(patience=5, log_dir=tmp_path)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 2

    fit(model, scripted(*FRUITFUL), at_epoch_end(stop), adapt, epochs=6)
    assert steps_written(tmp_path / "lr_plateau") == {"val_loss": [0, 1, 2], "records": [0, 1, 2]}


def contents(run_dir: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(run_dir.iterdir()) if path.is_file()]


def test_a_training_is_over_at_the_end_of_its_fit_and_one_in_parts_when_it_is_finished(tmp_path: Path) -> None:
    def is_over() -> list[bool]:
        return [record.is_over for record in read_records(tmp_path / "lr_plateau")]

    whole = AdaptLROnPlateau(log_dir=tmp_path / "whole", verbose=0)
    fit(tiny_model(), scripted(1.0, 2.0, 3.0), whole, epochs=3)
    assert [record.is_over for record in read_records(tmp_path / "whole" / "lr_plateau")] == [False, True]

    model = tiny_model()
    parts = AdaptLROnPlateau(log_dir=tmp_path, verbose=0, reset_on_train_begin=False)
    for value in (1.0, 2.0):
        fit(model, scripted(value), parts)
    assert is_over()
    assert not any(is_over())
    parts.finish()
    assert is_over()[-1]
    assert not any(is_over()[:-1])


@pytest.mark.parametrize("epochs", [4, 5])
def test_to_finish_twice_writes_nothing_twice(epochs: int, tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, reset_on_train_begin=False, log_dir=tmp_path)
    fit(tiny_model(), scripted(*FRUITLESS[:epochs]), adapt, epochs=epochs)
    assert adapt.state is not None
    assert adapt.state.in_excursion
    adapt.finish()
    before, records = contents(tmp_path / "lr_plateau"), list(adapt.run.records)
    assert in_short(adapt)[-1][1][-1] == "rollback"
    adapt.finish()
    assert contents(tmp_path / "lr_plateau") == before
    assert adapt.run.records == records


def test_to_finish_after_a_fit_that_was_finished_writes_nothing(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(log_dir=tmp_path)
    fit(tiny_model(), scripted(1.0, 0.9), adapt, epochs=2)
    before = contents(tmp_path / "lr_plateau")
    adapt.finish()
    assert contents(tmp_path / "lr_plateau") == before


def test_every_event_that_is_written_has_something_to_say(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    model, adapt = tiny_model(), AdaptLROnPlateau(patience=5, log_dir=tmp_path)

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 1

    fit(model, scripted(1.0, 0.9, 0.8), adapt, at_epoch_end(stop), epochs=3)
    (content,) = (path.read_bytes() for path in (tmp_path / "lr_plateau").glob("*tfevents*"))
    events = []
    while content:
        length = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    assert [event.step for event in events if not (event.file_version or event.session_log.status)][-1] == 1
    assert not [event for event in events if event.HasField("summary") and not event.summary.value]


def test_a_record_tells_of_the_metric_and_of_the_best_by_the_metric_itself() -> None:
    """0.95 and 0.9 are no improvement by min_delta, and to the rule the best stays 1; a NaN is never the best."""
    adapt = AdaptLROnPlateau(patience=2, min_delta=0.5, max_raises=0, recover=False)
    fit(tiny_model(), scripted(math.nan, 1.0, 0.95, 0.9, 0.97, math.inf, 0.9), adapt, epochs=7)
    assert adapt.decisions[0].best == 1.0
    bests = {record.epoch: record.best for record in adapt.run.records}
    assert bests[0] is None
    assert bests[3] == Observation(3, 0.9)
    assert bests[6] == Observation(3, 0.9)
    last = adapt.run.records[-1]
    assert (last.monitor, last.mode, last.quantity) == ("val_loss", "min", "learning rate")
    assert adapt.run.best == Observation(3, 0.9)


def test_the_best_of_a_second_fit_is_its_own() -> None:
    adapt, model = AdaptLROnPlateau(), tiny_model()
    fit(model, scripted(1.0, 0.5), adapt, epochs=2)
    fit(model, scripted(5.0, 4.0, 4.5), adapt, epochs=3)
    assert [record.best for record in adapt.run.records] == [Observation(0, 5.0), *[Observation(1, 4.0)] * 2]


def test_in_max_mode_the_best_is_the_largest() -> None:
    adapt = AdaptLROnPlateau("val_accuracy", mode="max", patience=1, max_raises=0)
    fit(tiny_model(), scripted(0.5, 0.7, 0.6, 0.7, name="val_accuracy"), adapt, epochs=4)
    assert adapt.run.records[-1].best == Observation(1, 0.7)
    assert adapt.run.records[-1].mode == "max"


@pytest.mark.parametrize(("mode", "recorded"), [("auto", None), ("max", "max")])
def test_the_direction_of_a_metric_that_never_came_is_left_open_if_the_user_has_left_it(
    mode: Any, recorded: Any
) -> None:
    adapt = AdaptLROnPlateau("val_quality", mode=mode)
    with pytest.warns(UserWarning, match="no validation data"):
        fit(tiny_model(), adapt, epochs=2)
    assert [record.mode for record in adapt.run.records] == [recorded, recorded]
    assert [record.best for record in adapt.run.records] == [None, None]


def test_a_schedule_is_recorded_as_such() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=1, decay_rate=0.5)
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    history = fit(tiny_model(SGD(schedule)), scripted(1.0, 2.0, 2.0), adapt, epochs=3)
    assert {record.quantity for record in adapt.run.records} == {"multiplier of the schedule"}
    assert adapt.run.curves["learning_rate"].values == pytest.approx(history["learning_rate"])
    # The last epoch ends with a cut.
    assert timeline(adapt) == [(1, "cut", 0.5), (2, "cut", 0.25)]
    assert adapt.run.rate == pytest.approx(history["learning_rate"][-1] / 2)


def test_the_curves_are_those_of_the_history() -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    history = fit(tiny_model(metrics=["mae"]), scripted(*FRUITLESS), adapt, epochs=WHOLE)
    curves = adapt.run.curves
    assert curves.keys() == history.keys()
    for name, curve in curves.items():
        assert curve.epochs == list(range(WHOLE))
        assert curve.values == pytest.approx(history[name])
        assert curve.times == sorted(curve.times)
    times = [record.time for record in adapt.run.records]
    assert times == sorted(times)
    assert curves["loss"].times[0] <= times[0] <= times[-1]


# --- the plateau of a decision ---------------------------------------------------------------------------------------


def plateaus(adapt: Any) -> list[tuple[str, int | None, int]]:
    return [(decision.kind, decision.since_epoch, decision.epoch) for decision in adapt.decisions]


def test_a_decision_tells_the_epoch_in_which_its_plateau_began() -> None:
    adapt = AdaptLROnPlateau(**{**ONE_RAISE, "patience": 2})
    values = [1.0, 0.9, *[1.0] * 10]
    fit(tiny_model(), scripted(*values), adapt, epochs=len(values))
    assert plateaus(adapt) == [("cut", 2, 3), ("raise", 4, 5), ("rollback", None, 9), ("cut", 10, 11)]


def test_with_validation_in_every_third_epoch_the_plateau_began_with_an_observation() -> None:
    adapt = AdaptLROnPlateau(patience=2, max_raises=0, recover=False, min_delta=100.0)
    x, y = data()
    fit(tiny_model(), adapt, epochs=15, validation_data=(x, y), validation_freq=3)
    assert plateaus(adapt) == [("cut", 5, 8), ("cut", 11, 14)]


def test_a_plateau_may_have_begun_in_an_earlier_fit() -> None:
    adapt = AdaptLROnPlateau(patience=3, max_raises=0, reset_on_train_begin=False)
    model, script = tiny_model(), scripted(1.0, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    for epochs in (3, 1, 4):
        fit(model, script, adapt, epochs=epochs)
    assert plateaus(adapt) == [("cut", 2, 4), ("cut", 5, 7)]


def test_a_second_fit_begins_with_plateaus_of_its_own() -> None:
    adapt, model = AdaptLROnPlateau(patience=2, max_raises=0), tiny_model()
    for _ in range(2):
        fit(model, scripted(1.0, 1.0, 1.0), adapt, epochs=3)
        assert plateaus(adapt) == [("cut", 1, 2)]


def test_a_plateau_never_begins_after_its_decision_where_training_has_gone_back() -> None:
    """Two of the three epochs without improvement were 2 and 3; then epoch 1 comes again."""
    adapt = AdaptLROnPlateau(patience=3, max_raises=0, reset_on_train_begin=False)
    model = tiny_model()
    fit(model, scripted(1.0, 0.9, 0.95, 0.95), adapt, epochs=4)
    fit(model, scripted(0.95), adapt, epochs=2, initial_epoch=1)
    assert adapt.decisions[0].since == 3
    assert plateaus(adapt) == [("cut", 1, 1)]


# --- optimizer steps -------------------------------------------------------------------------------------------------

STEPS_OF_A_ROLLBACK = {0: 4, 1: 8, 2: 12, RAISED: 16, JUDGED: 40, 10: 44}
"""By epoch, with four batches: the six epochs of the excursion are rolled back, and count all the same."""


def steps_recorded(optimizer: Any) -> tuple[dict[int, int], int]:
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    model = tiny_model(optimizer, compiled=True)
    fit(model, scripted(*FRUITLESS), adapt, epochs=WHOLE, batches=4)
    assert [each.restore for each in adapt.decisions if each.kind == "rollback"] == ["raise"]
    counted = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    iterations = int(keras.ops.convert_to_numpy(counted.iterations))
    return {record.epoch: record.steps for record in adapt.run.records}, iterations


def test_steps_that_were_rolled_back_count() -> None:
    steps, iterations = steps_recorded(SGD(0.1))
    assert steps == STEPS_OF_A_ROLLBACK
    assert iterations == 20, "the count of the optimizer was rolled back"


@pytest.mark.backends
def test_the_steps_of_a_loss_scale_optimizer_are_those_of_the_one_inside() -> None:
    steps, iterations = steps_recorded(keras.optimizers.LossScaleOptimizer(SGD(0.1)))
    assert (steps, iterations) == (STEPS_OF_A_ROLLBACK, 20)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="a later release of Keras")
def test_the_steps_of_several_optimizers_are_counted_once() -> None:
    both = keras.optimizers.OptimizerMap(SGD(0.1, name="sgd"), {".*/a/.*": Adam(0.02, name="adam")})
    steps, iterations = steps_recorded(keras.optimizers.MultiOptimizer(both))
    assert (steps, iterations) == (STEPS_OF_A_ROLLBACK, 20)


def test_accumulated_gradients_make_one_step() -> None:
    steps, iterations = steps_recorded(SGD(0.1, gradient_accumulation_steps=2))
    assert steps == {epoch: count // 2 for epoch, count in STEPS_OF_A_ROLLBACK.items()}
    assert iterations == 10


def test_the_steps_of_auto_modes_trials_count() -> None:
    """Each of them begins with the first weights, and with a count of 0."""
    model, adapt = tiny_model(compiled=True), AdaptLROnPlateau.auto()

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 7

    fit(model, scripted(1.0, *[2.0] * 7), at_epoch_end(stop), adapt, epochs=100, batches=2)
    assert kinds(adapt).count("search") > 1
    steps = [(record.epoch, record.steps) for record in adapt.run.records]
    assert steps == [(epoch, 2 * (epoch + 1)) for epoch, _ in steps]
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) < steps[-1][1]


def test_steps_go_on_through_several_fits() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(patience=9, reset_on_train_begin=False)
    script = scripted(*[1.0 - i / 10 for i in range(6)])
    for epochs, batches in ((2, 4), (1, 2), (3, 1)):
        fit(model, script, adapt, epochs=epochs, batches=batches)
    steps = [(record.epoch, record.steps) for record in adapt.run.records]
    assert steps == [(0, 4), (1, 8), (2, 10), (3, 11), (4, 12), (5, 13)]


def test_steps_begin_anew_with_a_second_fit_that_starts_afresh() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau()
    for _ in range(2):
        fit(model, scripted(1.0, 0.9), adapt, epochs=2, batches=4)
        assert [(record.epoch, record.steps) for record in adapt.run.records] == [(0, 4), (1, 8)]


def test_steps_taken_between_two_fits_without_us_do_not_count() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(reset_on_train_begin=False)
    fit(model, scripted(1.0), adapt, batches=4)
    fit(model, batches=4)
    fit(model, scripted(0.9), adapt, batches=4)
    assert [record.steps for record in adapt.run.records] == [4, 8]


def test_a_training_that_goes_on_at_a_later_epoch_has_the_steps_of_before(tmp_path: Path) -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=tmp_path)
    fit(model, epochs=1, batches=16)
    fit(model, scripted(1.0, 2.0, 0.5), adapt, initial_epoch=5, epochs=8)
    assert in_short(adapt) == [(5, [], "holding"), (6, ["cut"], "holding"), (7, [], "holding")]
    assert [record.steps for record in adapt.run.records] == [17, 18, 19]
    assert Timeline(adapt.run).positions("step", [0, 3, 6, 8]) == pytest.approx([0, 17 / 2, 17, 19])
    assert plateaus(adapt) == [("cut", 6, 6)]
    assert steps_written(tmp_path / "lr_plateau") == {"val_loss": [5, 6, 7], "records": [5, 6, 7]}
    assert adapt.figure().data


# --- the figure ------------------------------------------------------------------------------------------------------


def marked(figure: Any) -> list[tuple[str, float]]:
    """The decisions in a figure, with the number of epochs that were over."""
    traces = [trace for trace in figure.data if trace.mode == "markers" and trace.yaxis == "y2"]
    return sorted((trace.name, x) for trace in traces for x in trace.x)


def test_there_is_no_figure_before_the_first_epoch_is_over() -> None:
    adapt, messages = AdaptLROnPlateau(), []

    class Impatient(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            with pytest.raises(RuntimeError, match="before the first epoch") as caught:
                adapt.figure()
            messages.append(str(caught.value))

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                self.on_train_begin()

    with pytest.raises(RuntimeError, match="before the first epoch"):
        adapt.figure()
    fit(tiny_model(), scripted(1.0, 0.9), adapt, Impatient(), epochs=2)
    assert len(messages) == 2
    assert adapt.figure().data


def test_the_figure_shows_curves_rate_and_decisions_on_each_axis() -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    fit(tiny_model(), scripted(*FRUITLESS), adapt, epochs=WHOLE)
    assert kinds(adapt) == ["cut", "raise", "rollback", "cut"]
    for axis in get_args(Axis):
        figure = adapt.figure(axis)
        names = {trace.name for trace in figure.data if trace.mode == "lines"}
        assert names == {"loss", "val_loss (monitor)", "learning rate"}
        assert [kind for kind, _ in marked(figure)] == sorted(kinds(adapt))
    assert marked(adapt.figure()) == sorted((each.kind, each.epoch + 1) for each in adapt.decisions)
    assert adapt.figure("step").layout.xaxis.title.text == "optimizer steps"
    assert adapt.figure(dark=True).layout.paper_bgcolor != adapt.figure().layout.paper_bgcolor


def test_a_wrong_axis_is_named_with_the_choices() -> None:
    adapt = AdaptLROnPlateau()
    fit(tiny_model(), scripted(1.0), adapt)
    with pytest.raises(ValueError, match=r"axis must be one of 'epoch', 'step', 'time'\. Received: axis='steps'"):
        adapt.figure("steps")  # type: ignore[arg-type]  # the mistake under test


def test_the_figure_can_be_had_while_training_goes_on() -> None:
    adapt, found = AdaptLROnPlateau(**ONE_RAISE), []
    look = at_epoch_end(lambda epoch, logs: found.append(marked(adapt.figure())))
    fit(tiny_model(), scripted(*FRUITLESS), adapt, look, epochs=WHOLE)
    assert [len(each) for each in found] == [0, 0, 1, 2, 2, 2, 2, 2, 2, 3, 4]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda adapt: pickle.loads(pickle.dumps(adapt))])
def test_a_copy_has_the_figure_too(duplicate: Any, tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path / "run1")
    fit(tiny_model(), scripted(*FRUITLESS), adapt, epochs=WHOLE)
    other = duplicate(adapt)
    assert other.figure("time") == adapt.figure("time")
    assert other.run.name == "run1"


def test_the_second_fit_has_a_figure_of_its_own() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(patience=1, max_raises=0)
    fit(model, scripted(1.0, 2.0), adapt, epochs=2)
    assert marked(adapt.figure()) == [("cut", 2)]
    fit(model, scripted(1.0, 0.9, 2.0), adapt, epochs=3)
    assert marked(adapt.figure()) == [("cut", 3)]


def interrupt(batch: int, logs: Any = None) -> None:
    raise KeyboardInterrupt


def test_a_training_interrupted_in_its_first_epoch_has_nothing_to_show_or_to_write(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(log_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model(), scripted(1.0), adapt, keras.callbacks.LambdaCallback(on_train_batch_end=interrupt))
    adapt.finish()
    adapt.finish()
    with pytest.raises(RuntimeError, match="before the first epoch"):
        adapt.figure()
    assert list(tmp_path.rglob("*tfevents*")) == []
    # Another model: early releases of Keras 3 do not go on with an interrupted one on JAX.
    fit(tiny_model(), scripted(1.0, 0.9), adapt, epochs=2)
    assert steps_written(tmp_path / "lr_plateau") == {"val_loss": [0, 1], "records": [0, 1]}


def test_a_training_interrupted_later_is_finished_and_shown(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path)

    def interrupt(epoch: int, logs: Any = None) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_epoch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model(), scripted(*FRUITLESS), adapt, stop, epochs=WHOLE)
    assert in_short(adapt)[-1] == (3, ["raise"], "in excursion")
    adapt.finish()
    assert in_short(adapt)[-1] == (3, ["raise", "rollback"], "holding")
    assert marked(adapt.figure()) == [("cut", 3), ("raise", 4), ("rollback", 4)]
    assert read_records(tmp_path / "lr_plateau")[-1] == adapt.run.records[-1]
    assert steps_written(tmp_path / "lr_plateau") == {"val_loss": [0, 1, 2, 3], "records": [0, 1, 2, 3, 3]}


def test_the_rate_of_a_raise_that_was_interrupted_is_not_taken_for_the_user_s() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(**ONE_RAISE)

    def stop(epoch: int, logs: Any = None) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, scripted(*FRUITLESS), adapt, keras.callbacks.LambdaCallback(on_epoch_begin=stop), epochs=WHOLE)
    assert kinds(adapt)[-1] == "raise"
    before = adapt.decisions[-1].rate_before
    with pytest.warns(UserWarning, match=r"interrupted while it tried a learning rate of .* as if the trial had been"):
        history = fit(model, scripted(1.0), adapt)
    assert history["learning_rate"] == pytest.approx([before])


def test_one_epoch_per_fit_makes_one_figure() -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, reset_on_train_begin=False)
    one_by_one(tiny_model(), adapt, scripted(*FRUITLESS), WHOLE)
    adapt.finish()
    assert adapt.run.curves["val_loss"].epochs == list(range(WHOLE))
    assert marked(adapt.figure()) == sorted((each.kind, each.epoch + 1) for each in adapt.decisions)


def test_a_run_without_validation_can_be_shown() -> None:
    adapt = AdaptLROnPlateau()
    with pytest.warns(UserWarning, match="no validation data"):
        fit(tiny_model(), adapt, epochs=3)
    assert {trace.name for trace in adapt.figure().data} == {"loss", "learning rate"}


# --- one training, one run -------------------------------------------------------------------------------------------


def test_what_a_training_could_not_write_is_not_written_into_the_next_one(tmp_path: Path) -> None:
    place = tmp_path / "logs"
    place.write_text("a file where the directory should be")
    model, adapt = tiny_model(), AdaptLROnPlateau(patience=1, max_raises=0, log_dir=place)
    with pytest.warns(UserWarning, match="cannot write to log_dir"):
        fit(model, scripted(1.0, 2.0, 3.0), adapt, epochs=3)
    place.unlink()
    fit(model, scripted(5.0, 4.0), adapt, epochs=2)
    (run,) = place.iterdir()
    assert steps_written(run) == {"val_loss": [0, 1], "records": [0, 1]}
    assert read_scalars(run)["lr_plateau/val_loss"] == {0: 5.0, 1: 4.0}


def test_the_epoch_in_which_a_training_failed_is_not_written_into_the_next_one(tmp_path: Path) -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(patience=5, log_dir=tmp_path)
    with pytest.raises(TypeError, match="'val_loss' must be a number"):
        fit(model, scripted(1.0, 2.0, "broken"), adapt, epochs=3)
    fit(model, scripted(5.0, 4.0), adapt, epochs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr_plateau", "lr_plateau_2"]
    assert read_scalars(tmp_path / "lr_plateau_2")["lr_plateau/loss"].keys() == {0, 1}


def test_the_run_of_a_copy_is_there_from_its_first_epoch_on(tmp_path: Path) -> None:
    """A run without a record would not be in our tab at all."""
    adapt = AdaptLROnPlateau(patience=9, reset_on_train_begin=False, log_dir=tmp_path)
    fit(tiny_model(), scripted(1.0, 0.9), adapt, epochs=2)
    other, found = copy.deepcopy(adapt), []
    look = at_epoch_end(lambda epoch, logs: found.append(len(read_records(tmp_path / "lr_plateau_2"))))
    fit(tiny_model(), scripted(0.8, 0.7, 0.6), other, look, epochs=3)
    assert found[0] == 1


def test_a_training_that_goes_back_to_an_earlier_epoch_is_one_line(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(patience=1, max_raises=0, reset_on_train_begin=False, log_dir=tmp_path)
    model = tiny_model()
    fit(model, scripted(1.0, 0.9, 0.95, 0.96, 0.97), adapt, epochs=5)
    fit(model, scripted(0.8, 0.85), adapt, epochs=4, initial_epoch=2)
    assert adapt.run.curves["val_loss"].epochs == [0, 1, 2, 3]
    assert adapt.run.curves["val_loss"].values == [1.0, 0.9, 0.8, 0.85]
    assert [record.epoch for record in adapt.run.records] == [0, 1, 2, 3]
    assert [decision.epoch for decision in adapt.run.decisions] == [3]
    adapt.figure()


# --- an unbuilt model ------------------------------------------------------------------------------------------------


def unbuilt_model() -> Any:
    return compile_model(keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)]), loss="mse", compiled=True)


@pytest.mark.backends
def test_an_unbuilt_model_is_trained_and_cut() -> None:
    model = unbuilt_model()
    assert not model.built
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    fit(model, scripted(*FRUITLESS), adapt, epochs=WHOLE)
    assert kinds(adapt) == ["cut", "raise", "rollback", "cut"]


def test_an_unbuilt_model_whose_first_epoch_breaks_gets_a_lower_rate() -> None:
    """Keras builds it before the callbacks begin, but for TensorFlow: there the untrained weights are not known."""
    adapt = AdaptLROnPlateau(max_raises=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        history = fit(unbuilt_model(), scripted(math.nan, 0.9), adapt, epochs=2)
    assert kinds(adapt) == ["diverged"]
    assert history["learning_rate"][1] < history["learning_rate"][0]
    messages = user_warnings(caught)
    assert all("call model.build before model.fit" in message for message in messages)
    assert len(messages) == (keras.backend.backend() == "tensorflow")


# --- what TensorBoard's HParams tab shows -----------------------------------------------------------------------------


def settings_in(run_dir: Path) -> dict[str, Any]:
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    contents = [value.metadata.plugin_data.content for _, value in read_values(run_dir, "hparams")]
    (stored,) = (parse_session_start_info_plugin_data(content).hparams for content in contents)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in stored.items()}


def test_the_hparams_of_a_run_are_the_users_the_arguments_and_what_was_compiled(tmp_path: Path) -> None:
    hparams = {"layers": np.int64(3), "augmentation": "mixup", "patience": 99}
    adapt = AdaptLROnPlateau(patience=1, log_dir=tmp_path, hparams=hparams)
    fit(tiny_model(Adam(0.25)), scripted(1.0, 2.0, 3.0), adapt, epochs=3)
    found = settings_in(tmp_path / "lr_plateau")
    assert found["layers"] == 3
    assert found["augmentation"] == "mixup"
    assert found["patience"] == 1, "the argument's own value, by which the what-if panel goes"
    assert found["starting_learning_rate"] == 0.25
    assert found["optimizer"] == "Adam"
    assert found["batch_size"] == ROWS


@pytest.mark.parametrize("make", [AdaptLROnPlateau, AdaptLROnPlateau.auto])
def test_the_call_that_the_what_if_panel_gives_trains(make: Any, tmp_path: Path) -> None:
    from keras_lrplateau.tensorboard import whatif

    def train(adapt: AdaptLROnPlateau, log: scripted) -> None:
        fit(tiny_model(Adam(0.25)), log, adapt, epochs=3)

    adapt = make("val_loss", log_dir=tmp_path)
    train(adapt, scripted(1.0, 2.0, 3.0))
    known = settings_in(tmp_path / "lr_plateau")
    assert known["optimizer"] == "Adam"
    again = eval(whatif.answer(adapt.run, known, {}).call, {"AdaptLROnPlateau": AdaptLROnPlateau})
    assert again.log_dir == str(tmp_path)
    train(again, scripted(1.0, 2.0, 3.0))
    assert len(again.run.curves["val_loss"].values) == 3


def test_the_best_observation_is_a_scalar_by_which_runs_can_be_ranked(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=tmp_path)
    fit(tiny_model(), scripted(1.0, 0.5, 2.0, 3.0), adapt, epochs=4)
    scalars = read_scalars(tmp_path / "lr_plateau")
    assert list(scalars["lr_plateau/best(val_loss)"].items())[-1] == (3, 0.5)
    assert set(adapt.run.curves) == {name.removeprefix("lr_plateau/") for name in scalars if "(" not in name}


# --- sinks of the user ------------------------------------------------------------------------------------------------


def test_a_function_receives_every_decision_once_it_is_carried_out() -> None:
    model, heard = tiny_model(), []
    adapt = AdaptLROnPlateau(
        **EXCURSION, on_decision=lambda decision: heard.append((decision, float(model.optimizer.learning_rate)))
    )
    fit(model, scripted(*FAILS), adapt, epochs=len(FAILS))
    assert len(heard) > 2
    assert [decision for decision, _ in heard] == adapt.decisions
    assert [rate for _, rate in heard] == pytest.approx([decision.rate for decision in adapt.decisions])


def test_auto_mode_has_the_function_too() -> None:
    heard: list[Decision] = []
    adapt = AdaptLROnPlateau.auto(on_decision=heard.append)
    fit(tiny_model(), scripted(*[1.0] * 8), adapt, epochs=8)
    assert heard
    assert heard == adapt.decisions


class Failing(Sink):
    """Fails in every epoch, and hears of each decision all the same."""

    def __init__(self) -> None:
        self.heard: list[Decision] = []

    def epoch(self, epoch: int, numbers: Any, time: float) -> None:
        raise ConnectionError("the tracker is away")

    def decision(self, decision: Decision, quantity: str) -> None:
        self.heard.append(decision)


def test_each_sink_that_fails_is_one_warning_and_training_goes_on() -> None:
    def complain(decision: Decision) -> None:
        raise KeyError(decision.kind)

    sink = Failing()
    adapt = AdaptLROnPlateau(**EXCURSION, sinks=[sink], on_decision=complain)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(tiny_model(), scripted(*FAILS), adapt, epochs=len(FAILS))
    assert len(history["val_loss"]) == len(FAILS)
    assert len(sink.heard) > 2
    assert sink.heard == adapt.decisions
    of_sink, of_function = user_warnings(caught)
    for words in (repr(sink), "ConnectionError: the tracker is away", "test_callback.py", "in epoch"):
        assert words in of_sink
    for words in ("on_decision=<function", "KeyError: 'cut'", "in complain", "Training goes on"):
        assert words in of_function


# --- what it says of itself ------------------------------------------------------------------------------------------


def test_its_repr_says_what_it_watches_how_it_stands_and_what_it_decided_last() -> None:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    assert repr(adapt) == "<AdaptLROnPlateau of val_loss: before training>"
    fit(tiny_model(), scripted(1.0), adapt, epochs=1)
    assert repr(adapt) == "<AdaptLROnPlateau of val_loss: learning rate 0.1, holding, no decision yet>"
    fit(tiny_model(), scripted(1.0, 1.0), adapt, epochs=2)
    assert repr(adapt) == (
        "<AdaptLROnPlateau of val_loss: learning rate 0.05, holding, last decision in epoch 2: cut: learning rate "
        "0.1 -> 0.05 (no improvement on 1 in 1 observation)>"
    )


def test_its_decisions_are_a_frame() -> None:
    pytest.importorskip("pandas")
    adapt = AdaptLROnPlateau(**EXCURSION)
    assert len(adapt.decisions_frame()) == 0
    fit(tiny_model(), scripted(*FAILS), adapt, epochs=len(FAILS))
    assert adapt.decisions_frame()["kind"].tolist() == kinds(adapt)
    assert adapt.decisions_frame()["epoch"].tolist() == [decision.epoch for decision in adapt.decisions]


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"monitor": ""}, TypeError, ["monitor", "val_loss"]),
        ({"monitor": 3}, TypeError, ["monitor=3"]),
        ({"mode": "up"}, ValueError, ["'auto', 'min', 'max'", "mode='up'"]),
        ({"verbose": -1}, ValueError, ["verbose", ">= 0", "verbose=-1"]),
        ({"factor": 1.0}, ValueError, ["factor", "between 0 and 1", "factor=1.0"]),
        ({"factor": 0}, ValueError, ["factor=0"]),
        ({"factor": "0.5"}, TypeError, ["factor='0.5'", "str"]),
        ({"factor": math.nan}, ValueError, ["factor=nan"]),
        ({"patience": -1}, ValueError, ["patience", ">= 0", "patience=-1"]),
        ({"patience": 2.5}, TypeError, ["patience", "integer", "2.5"]),
        ({"min_delta": "small"}, TypeError, ["min_delta", "'small'"]),
        ({"min_delta": math.inf}, ValueError, ["min_delta", "finite"]),
        ({"cooldown": -1}, ValueError, ["cooldown=-1"]),
        ({"min_lr": -0.1}, ValueError, ["min_lr=-0.1"]),
        ({"max_lr": 0.0}, ValueError, ["max_lr=0.0"]),
        ({"min_lr": 0.1, "max_lr": 0.01}, ValueError, ["max_lr=0.01", "min_lr=0.1"]),
        ({"threshold_mode": "relative"}, ValueError, ["'abs', 'rel'", "threshold_mode='relative'"]),
        ({"raise_factor": 1.0}, ValueError, ["raise_factor", "> 1"]),
        ({"raise_after": 0}, ValueError, ["raise_after", ">= 1"]),
        ({"max_raises": -1}, ValueError, ["max_raises=-1"]),
        ({"recover": 1}, TypeError, ["recover", "True or False"]),
        ({"rollback": "no"}, ValueError, ["rollback='no'"]),
        ({"rollback": False, "rollback_on_cut": True}, ValueError, ["rollback_on_cut", "rollback=True"]),
        ({"log_dir": 3}, TypeError, ["log_dir=3"]),
        ({"log_dir": ""}, ValueError, ["log_dir=''", "empty"]),
        ({"log_dir": b"logs"}, TypeError, ["log_dir=b'logs'"]),
        ({"state_path": ""}, ValueError, ["state_path=''", "path of a file"]),
        ({"state_path": "a\0b"}, ValueError, ["state_path", "NUL"]),
        ({"state_path": True}, TypeError, ["state_path=True"]),
        ({"sinks": [Sink]}, TypeError, ["a list of keras_lrplateau.Sink", "sinks=[MySink()]"]),
        ({"sinks": Sink()}, TypeError, ["a list of keras_lrplateau.Sink"]),
        ({"hparams": [3]}, TypeError, ["a dict of names", "hparams=[3]"]),
        ({"hparams": {"layers": None}}, TypeError, ["hparams['layers']=None", "mixup"]),
        ({"on_decision": "print"}, TypeError, ["a function of a Decision", "on_decision='print'"]),
        ({"frequency": "batch"}, TypeError, ["'epoch' or an integer >= 1", "frequency='batch'"]),
        ({"epsilon": 0.1}, TypeError, ["epsilon"]),
    ],
    ids=lambda given: re.sub(r" at 0x\w+", "", repr(given)),  # Processes must agree on the names.
)
def test_a_mistaken_argument_is_named_at_once(arguments: Any, error: Any, words: list[str]) -> None:
    with pytest.raises(error) as raised:
        AdaptLROnPlateau(**arguments)
    for word in words:
        assert word in str(raised.value)


def test_an_argument_can_be_completed_and_read_but_not_changed() -> None:
    adapt = AdaptLROnPlateau(patience=5)
    assert {"patience", "raise_factor", "log_dir", "decisions", "best"} <= set(dir(adapt))
    assert "budget" not in dir(adapt)
    assert "budget" in dir(AdaptLROnPlateau.auto())
    with pytest.raises(AttributeError, match=r"patience cannot be changed.*patience=3; make a new one"):
        adapt.patience = 3
    assert adapt.patience == 5

    class Mine(AdaptLROnPlateau):
        def __init__(self, patience: int, log_dir: Path) -> None:
            super().__init__(patience=patience, log_dir=log_dir)
            self.patience, self.log_dir, self.seen = patience, log_dir, 0

    assert Mine(3, Path("logs")).get_config()["patience"] == 3


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (AdaptLROnPlateau, r"callbacks=\[AdaptLROnPlateau\(\)\]"),
        (AdaptLROnPlateau.auto, r"callbacks=\[AdaptLROnPlateau.auto\(\)\]"),
    ],
    ids=["the class", "auto"],
)
@pytest.mark.backends
def test_a_callback_that_was_not_made_is_refused_with_the_remedy(given: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy):
        fit(tiny_model(), given)


def test_an_argument_that_auto_mode_does_not_have_is_explained() -> None:
    with pytest.raises(TypeError, match=r"patience=5; leave it out, or pass it to AdaptLROnPlateau without \.auto"):
        AdaptLROnPlateau.auto(patience=5)  # type: ignore[call-arg]  # the mistake under test
    with pytest.raises(TypeError, match="unexpected keyword argument 'patients'"):
        AdaptLROnPlateau.auto(patients=5)  # type: ignore[call-arg]


def test_a_warning_points_at_the_line_of_the_user() -> None:
    with pytest.warns(UserWarning, match="not_a_metric") as caught:
        tiny_model().fit(*data(), verbose=0, callbacks=[AdaptLROnPlateau("not_a_metric")])
    assert [warning.filename for warning in caught if "not_a_metric" in str(warning.message)] == [__file__]


@pytest.mark.parametrize("rate", [math.nan, math.inf, -0.5])
def test_a_rate_that_no_training_can_have_is_put_right(rate: float) -> None:
    model = tiny_model()
    adapt = AdaptLROnPlateau(patience=2, max_raises=0, recover=False)

    def spoil(epoch: int, logs: Any) -> None:
        if epoch == 1:
            model.optimizer.learning_rate = rate

    with pytest.warns(UserWarning, match=rf"found a learning rate of {rate} in epoch 2.* put its own back: 0\.1"):
        history = fit(model, scripted(*[1.0] * 4), at_epoch_end(spoil), adapt, epochs=4)
    assert history["learning_rate"][2:] == pytest.approx([0.1, 0.01])
    assert kinds(adapt) == ["cut"]


def test_max_lr_below_the_rate_fails_before_training() -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match=r"max_lr=0\.01 and a learning rate of 0\.1"):
        fit(model, AdaptLROnPlateau(max_lr=0.01))
    assert int(model.optimizer.iterations) == 0


def test_numpy_scalars_are_accepted_as_search_libraries_hand_them_out() -> None:
    adapt = AdaptLROnPlateau(factor=np.float64(0.5), patience=np.int64(3), min_delta=np.float32(0.5))
    assert adapt.get_config()["patience"] == 3
    assert type(adapt.get_config()["patience"]) is int
    assert json.dumps(adapt.get_config())


@pytest.mark.backends
def test_the_weight_moves_by_the_logged_rate_through_an_excursion() -> None:
    """The raise takes effect in the epoch after it; the rollback takes the steps since back."""
    model, moved = pushed_model(SGD(0.25)), [0.0]
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    spy = at_epoch_end(lambda *_: moved.append(weight_of(model)))
    rates = push(model, scripted(*FRUITLESS), adapt, spy, epochs=WHOLE)["learning_rate"]
    assert rates == pytest.approx([2.5 * rate for rate in RATES])
    assert timeline(adapt)[2] == (JUDGED, "rollback", 0.0025)
    assert np.diff(moved[: JUDGED + 1]).tolist() == pytest.approx(rates[:JUDGED], rel=1e-4)
    assert moved[JUDGED + 1] == moved[RAISED + 1], "rolled back"
    assert moved[WHOLE] - moved[JUDGED + 1] == pytest.approx(rates[JUDGED + 1], rel=1e-4)


# --- a model that is not new -----------------------------------------------------------------------------------------


def test_a_model_trained_before_has_no_loss_before_training() -> None:
    # Its loss on one batch is far below its mean: taken for a yardstick, it would make sound training look damaged.
    model = tiny_model()
    adapt = AdaptLROnPlateau(monitor="loss")
    fit(model, adapt, epochs=2)
    assert adapt.state.loss_before is not None
    fit(model, adapt, epochs=2)
    assert adapt.state.loss_before is None
    resumed = AdaptLROnPlateau(monitor="loss")
    fit(tiny_model(), resumed, initial_epoch=3, epochs=5)
    assert resumed.state.loss_before is None


def test_a_model_compiled_anew_between_the_parts_of_a_training_goes_on_from_its_present_weights() -> None:
    """As within a `fit`: nobody else has set the rate, and the present weights stand for older copies."""
    model = tiny_model(SGD(0.1))
    adapt = AdaptLROnPlateau(reset_on_train_begin=False)
    fit(model, scripted(1.0, 0.9), adapt, epochs=2)
    compile_model(model, Adam(0.03), loss="mse")
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, scripted(math.nan), adapt, initial_epoch=2, epochs=3)
    assert kinds(adapt)[-2:] == ["override", "diverged"]
    assert "the model has another optimizer since" in adapt.decisions[-2].reason
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_a_training_in_parts_is_finished_on_request() -> None:
    model = tiny_model()
    adapt = AdaptLROnPlateau(**ONE_RAISE, reset_on_train_begin=False)
    fit(model, scripted(*FRUITLESS[:4]), adapt, epochs=4)
    assert adapt.state.in_excursion
    adapt.finish()
    adapt.finish()
    assert kinds(adapt)[-2:] == ["raise", "rollback"]
    assert not adapt.state.in_excursion


def test_a_callback_with_an_open_event_file_can_be_copied(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(monitor="loss", reset_on_train_begin=False, log_dir=tmp_path)
    fit(tiny_model(), adapt, epochs=1)
    other = copy.deepcopy(adapt)
    fit(tiny_model(), other, epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr_plateau", "lr_plateau_2"]


def test_validation_that_comes_late_is_in_the_layout(tmp_path: Path) -> None:
    x, y = data()
    adapt = AdaptLROnPlateau(log_dir=tmp_path)
    fit(tiny_model(), adapt, epochs=2, validation_data=(x, y), validation_freq=2)
    assert b"val_loss" in b"".join(path.read_bytes() for path in tmp_path.rglob("*tfevents*")).partition(b"step")[0]


def test_no_third_snapshot_is_ever_held(copies: Any) -> None:
    fit(tiny_model(), scripted(*FRUITLESS), AdaptLROnPlateau(**(ONE_RAISE | {"recover": True})), epochs=WHOLE)
    assert len(copies.taken) >= 4
    assert max(copies.taken) <= 1
