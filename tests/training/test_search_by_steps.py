"""Auto mode where epochs are not short: it searches by steps, and then decides by epochs."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import compile_model, count_syncs, fit, kinds, only, read_records, read_values
from keras.optimizers import SGD, Adam

from keras_lrplateau import AdaptLROnPlateau, Sink
from keras_lrplateau.rule.search import MOST_TRIALS
from keras_lrplateau.training.cadence import LEAST_TRIAL, trial_steps

BATCHES = MOST_TRIALS * LEAST_TRIAL
"""Of an epoch: enough for a whole search."""

EPOCHS = 2


def linear_model(optimizer: Any, **arguments: Any) -> Any:
    """Four weights, and a loss that is about 16 before training."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    return compile_model(model, optimizer, compiled=True, **{"loss": "mse", **arguments})


def rows(batches: int = BATCHES) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(16 * batches, 4)).astype("float32")
    return x, x @ np.array([[3.0], [-2.0], [0.5], [-1.0]], "float32")


def learn(model: Any, *callbacks: Any, batches: int = BATCHES, epochs: int = EPOCHS, **arguments: Any) -> Any:
    x, y = rows(batches)
    arguments = {"validation_data": rows(2), **arguments}
    return fit(model, *callbacks, x=x, y=y, batch_size=16, epochs=epochs, **arguments)


def weights_of(model: Any) -> list[float]:
    return [float(weight) for weight in np.ravel(model.get_weights()[0])]


def settled(adapt: Any) -> Any:
    (decision,) = [each for each in adapt.decisions if each.kind == "settle"]
    return decision


def searched(adapt: Any) -> list[Any]:
    """The decisions of the search, each with its step."""
    return [each for each in adapt.decisions if each.kind in ("search", "settle")]


class Windows(Sink):
    """The numbers of all windows of steps, by step, and of all epochs."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, float]] = {}
        self.epochs: list[dict[str, float]] = []

    def step(self, step: int, numbers: Any, time: float) -> None:
        self.seen[step] = dict(numbers)

    def epoch(self, epoch: int, numbers: Any, time: float) -> None:
        self.epochs.append(dict(numbers))


# --- when ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "steps", "expected"),
    [
        (1, 79, None),
        (1, 80, 40),
        (10, 79, None),
        (10, 80, 40),
        (10, 400, 40),
        (10, 800, 40),
        (10, 1000, 50),
        (20, 1000, 100),
        (21, 1000, None),
        (15, 80, 40),
        (16, 80, None),
        (16, 399, None),
        (16, 400, 40),
        (100, 10_000, None),
        (1, 100_000, 500),
        (20, 9, 10),
        (21, 9, None),
        (20, 1, None),
        (20, 10, None),
        (None, 1000, None),
        (10, None, None),
    ],
)
def test_a_trial_takes_a_two_hundredth_of_a_long_training_and_forty_steps_of_any_other_but_of_short_epochs(
    epochs: int | None, steps: int | None, expected: int | None
) -> None:
    assert trial_steps(epochs, steps) == expected


@pytest.mark.backends
@pytest.mark.parametrize("rate", only([1e3], [1e-6, 1e-3, 0.03, 1e3]))
def test_a_rate_wrong_by_orders_of_magnitude_is_put_right_within_the_first_epoch(rate: float) -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(rate))
    history = learn(model, adapt)
    assert kinds(adapt)[0] == "search"
    assert (settled(adapt).epoch, settled(adapt).step) == (0, LEAST_TRIAL * len(searched(adapt)))
    assert 0.003 < settled(adapt).rate < 1
    assert weights_of(model) == pytest.approx([3.0, -2.0, 0.5, -1.0], abs=0.01)
    assert history["learning_rate"][0] == pytest.approx(settled(adapt).rate)


def test_epochs_that_are_too_short_are_trials_as_a_whole() -> None:
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-3)), adapt, batches=2 * LEAST_TRIAL - 1, epochs=2)
    assert adapt.decisions[0].step == 2 * LEAST_TRIAL - 1


@pytest.mark.backends
def test_a_search_that_the_first_epoch_has_no_room_for_goes_on_in_the_next_ones() -> None:
    """What is observed then is the epoch in which it ends, and those after it."""
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e3))
    history = learn(model, adapt, batches=2 * LEAST_TRIAL, epochs=10)
    steps = [each.step for each in searched(adapt)]
    assert steps == [LEAST_TRIAL * (i + 1) for i in range(len(steps))]
    assert settled(adapt).epoch == (steps[-1] - 1) // (2 * LEAST_TRIAL) > 0
    assert adapt.state.observations == 10 - settled(adapt).epoch
    assert 0.003 < settled(adapt).rate < 1
    assert weights_of(model) == pytest.approx([3.0, -2.0, 0.5, -1.0], abs=0.01)
    assert history["learning_rate"][settled(adapt).epoch] == pytest.approx(settled(adapt).rate)


class Generator:
    """Batches without end."""

    def __iter__(self) -> Iterator[Any]:
        x, y = rows(1)
        while True:
            yield x, y


@pytest.mark.long
def test_steps_per_epoch_says_how_long_the_epochs_of_a_generator_are() -> None:
    adapt = AdaptLROnPlateau.auto("loss")
    fit(linear_model(SGD(1e-3)), adapt, x=iter(Generator()), y=None, batch_size=None, steps_per_epoch=BATCHES)
    assert (kinds(adapt)[0], adapt.decisions[0].step) == ("search", LEAST_TRIAL)


@pytest.mark.parametrize("has_logs", [True, False])
def test_a_loop_that_tells_nothing_of_batches_or_of_their_loss_is_searched_by_epochs(has_logs: bool) -> None:
    adapt, model = AdaptLROnPlateau.auto("val_loss"), linear_model(SGD(1e-3))
    adapt.set_model(model)
    adapt.set_params({"epochs": 19, "steps": BATCHES, "verbose": 0})
    adapt.on_train_begin()
    for epoch in range(19):
        adapt.on_epoch_begin(epoch)
        for batch in range(BATCHES if has_logs else 0):
            adapt.on_train_batch_begin(batch)
            adapt.on_train_batch_end(batch, {"my_loss": 1.0})
        adapt.on_epoch_end(epoch, {"val_loss": 1.0})
    adapt.on_train_end()
    assert [each.epoch for each in searched(adapt)] == list(range(len(searched(adapt))))
    assert len(searched(adapt)) > 2
    assert adapt.state.observations == 19


@pytest.mark.long
def test_a_budget_of_zero_searches_nothing() -> None:
    adapt, sink = AdaptLROnPlateau.auto(budget=0.0, sinks=[sink := Windows()]), sink
    learn(linear_model(SGD(0.01)), adapt)
    assert (settled(adapt).rate, settled(adapt).step) == (0.01, BATCHES)
    assert not sink.seen


# --- the search ------------------------------------------------------------------------------------------------------


@pytest.mark.backends
def test_every_trial_takes_its_steps_from_the_untrained_weights() -> None:
    found: list[tuple[int, float, list[float], int]] = []

    def look(decision: Any) -> None:
        if decision.kind == "search":
            iterations = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
            found.append((decision.step, decision.rate, weights_of(model), iterations))

    model = linear_model(Adam(1e-3))
    adapt = AdaptLROnPlateau.auto(on_decision=look)
    learn(model, adapt)
    assert len(found) >= 3
    assert [step for step, *_ in found] == [LEAST_TRIAL * (i + 1) for i in range(len(found))]
    assert len({rate for _, rate, *_ in found}) == len(found)
    for _, _, weights, iterations in found:
        assert weights == [1.0] * 4
        assert iterations == 0
    assert weights_of(model) != [1.0] * 4


@pytest.mark.parametrize("rate", only([0.03], [0.03, 0.1]))
def test_a_rate_that_is_a_good_one_stays(rate: float) -> None:
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(rate)), adapt)
    assert len(searched(adapt)) > 2
    assert settled(adapt).rate == rate


def test_a_rate_at_which_training_breaks_is_left_and_does_not_show_in_the_mean_of_the_epoch() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e6))
    history = learn(model, adapt, epochs=4)  # Of fewer, a quarter is too little to come down from there.
    assert "nan" in adapt.decisions[0].reason
    assert "1e+06: broken" in settled(adapt).reason
    assert history["loss"][0] < 16


@pytest.mark.parametrize("rate", only([1e3], [1e-3, 1e3]))
def test_the_rate_and_the_loss_of_each_trial_are_told_by_step(rate: float) -> None:
    sink = Windows()
    adapt = AdaptLROnPlateau.auto("val_acc", "max", sinks=[sink])
    learn(linear_model(SGD(rate), metrics=[keras.metrics.BinaryAccuracy(name="acc")]), adapt)
    assert list(sink.seen) == [each.step for each in searched(adapt)]
    for each in searched(adapt):
        assert sink.seen[each.step].keys() == {"loss", "learning_rate"}
        assert sink.seen[each.step]["learning_rate"] == pytest.approx(each.rate_before)


@pytest.mark.backends
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras does not have it there")
def test_several_batches_in_one_execution_are_planned_for() -> None:
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-3), steps_per_execution=16), adapt)
    assert [each.step for each in searched(adapt)][:3] == [48, 96, 144]
    assert settled(adapt).rate > 0.003


@pytest.mark.long
def test_steps_are_optimizer_steps_where_gradients_are_accumulated() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e-3, gradient_accumulation_steps=2))
    learn(model, adapt, batches=2 * BATCHES, epochs=2)
    assert [each.step for each in searched(adapt)][:3] == [40, 80, 120]
    short = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-3, gradient_accumulation_steps=2)), short, batches=2 * LEAST_TRIAL, epochs=2)
    assert short.decisions[0].step == LEAST_TRIAL, "an epoch has no more of them"


@pytest.mark.long
def test_a_rate_that_is_set_in_the_search_ends_it() -> None:
    class Other(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 50:
                self.model.optimizer.learning_rate = 0.02

    adapt = AdaptLROnPlateau.auto()
    with pytest.warns(UserWarning, match=r"found at 0\.02"):
        history = learn(linear_model(SGD(1e-3)), adapt, Other())
    assert kinds(adapt)[:2] == ["search", "override"]
    assert (adapt.decisions[1].epoch, adapt.decisions[1].step) == (0, 80)
    assert history["learning_rate"][0] == pytest.approx(0.02)
    assert adapt.state.observations == EPOCHS


@pytest.mark.parametrize("rate", [0.03, 0.1])
@pytest.mark.parametrize("epochs", only([8, 20], [8, 12, 20]))
def test_epochs_of_few_steps_do_not_make_it_leave_a_good_rate(rate: float, epochs: int) -> None:
    """There a trial has ten steps. The first steps of Adam overshoot, and a tenth of its rate looks better."""
    adapt, model = AdaptLROnPlateau.auto(), linear_model(Adam(rate))
    learn(model, adapt, batches=4, epochs=epochs)
    assert (kinds(adapt)[0], adapt.decisions[0].step) in (("settle", 10), ("search", 10))
    assert settled(adapt).rate >= rate


def test_epochs_of_few_steps_are_left_by_a_rate_that_breaks_training() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e6))
    learn(model, adapt, batches=4, epochs=12)
    assert settled(adapt).rate < 1e6
    assert all(map(math.isfinite, weights_of(model)))


# --- after it --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_after_it_every_epoch_is_an_observation_and_the_last_ones_are_annealed() -> None:
    adapt = AdaptLROnPlateau.auto(sinks=[sink := Windows()])
    learn(linear_model(SGD(1e-3)), adapt, epochs=6)
    assert settled(adapt).epoch == 0
    assert adapt.state.observations == 6
    assert [each.epoch for each in adapt.decisions if each.kind == "anneal"] == [3, 4]
    assert len(sink.epochs) == 6
    assert adapt.state.best == min(numbers["val_loss"] for numbers in sink.epochs), "of epochs, not of windows"


@pytest.mark.backends
def test_after_it_no_hook_of_ours_is_called_at_batches() -> None:
    class Look(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            own = {name for name in vars(adapt) if name.startswith("on_train_batch")}
            seen.append((adapt.state.status, own))

    seen: list[tuple[str, set[str]]] = []
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-3)), Look(), adapt, epochs=2)
    during, after = ([own for each, own in seen if (each == "searching") == is_during] for is_during in (True, False))
    assert len(during) > LEAST_TRIAL
    assert len(after) > BATCHES
    assert all(own == {"on_train_batch_begin", "on_train_batch_end"} for own in during[1:])
    assert not any("on_train_batch_begin" in own for own in after)
    # As without a search, the loss of the first batch of an epoch is waited for, while training runs ahead: on a busy
    # machine by many batches.
    assert sum("on_train_batch_end" in own for own in after) < BATCHES // 2
    assert not after[-1]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only there the weights leave the model")
@pytest.mark.backends
def test_between_decisions_the_state_stays_where_it_is_trained() -> None:
    model = linear_model(SGD(1e-3))
    synced = count_syncs(model)
    adapt = AdaptLROnPlateau.auto()
    learn(model, adapt)
    assert len(searched(adapt)) > 2
    assert 0 < len(synced) < 0.2 * EPOCHS * BATCHES, "a few for each decision, and at the end of each epoch"


@pytest.mark.long
@pytest.mark.parametrize("monitor", ["loss", "val_auc"])
def test_any_metric_can_be_watched_since_the_search_goes_by_the_loss(monitor: str) -> None:
    x, y = rows()
    # An AUC is slow on PyTorch.
    metrics = [keras.metrics.AUC(name="auc")] if "auc" in monitor else []
    model = linear_model(SGD(1e-3), metrics=metrics, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    adapt = AdaptLROnPlateau.auto(monitor, "max" if "loss" not in monitor else "auto")
    y = (y > 0).astype("float32")
    fit(model, adapt, x=x, y=y, batch_size=16, epochs=2, validation_data=(x[:64], y[:64]))
    assert (searched(adapt)[0].step, settled(adapt).epoch) == (LEAST_TRIAL, 0)
    assert "loss of" in searched(adapt)[0].reason
    assert adapt.run.monitor == monitor
    assert adapt.state.observations == 2


@pytest.mark.long
def test_with_validation_in_every_other_epoch_there_are_half_the_observations() -> None:
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-3)), adapt, validation_freq=2)
    assert settled(adapt).epoch == 0
    assert adapt.state.observations == EPOCHS // 2


def test_a_fit_of_one_epoch_searches_within_its_budget_and_ends_trained() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e3))
    learn(model, adapt, epochs=1)
    assert len(searched(adapt)) <= 1 + 0.25 * BATCHES / LEAST_TRIAL
    assert adapt.state.observations == 1
    assert all(map(math.isfinite, weights_of(model)))


@pytest.mark.long
def test_training_that_is_stopped_in_the_search_ends_with_the_best_of_it() -> None:
    class Stop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 3 * LEAST_TRIAL + 5:
                self.model.stop_training = True

    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(0.01))
    learn(model, adapt, Stop())
    assert kinds(adapt)[-1] == "rollback"
    assert (adapt.state.observations, adapt.state.stage.name) == (0, "hold")
    assert math.dist(weights_of(model), [3.0, -2.0, 0.5, -1.0]) < 3


@pytest.mark.long
def test_a_second_fit_searches_again() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e-3))
    for _ in range(2):
        learn(model, adapt, epochs=2)
        assert (searched(adapt)[0].kind, searched(adapt)[0].step) == ("search", LEAST_TRIAL)
        assert settled(adapt).epoch == 0
        assert adapt.state.observations == 2


@pytest.mark.long
def test_a_copy_made_in_the_search_is_on_its_own() -> None:
    class Copy(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == LEAST_TRIAL + 5:
                _ = self.model  # On JAX this brings the weights into the model, which is copied, too.
                copies.append(copy.deepcopy(adapt))

    copies: list[Any] = []
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-3)), adapt, Copy(), epochs=1)
    (other,) = copies
    assert kinds(other) == ["search"]
    assert kinds(adapt)[:2] != ["search"]


# --- what is written -------------------------------------------------------------------------------------------------


def test_its_decisions_are_in_the_event_file_with_their_steps(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau.auto(log_dir=tmp_path)
    learn(linear_model(SGD(1e-3)), adapt)
    (run,) = tmp_path.iterdir()
    records = {record.epoch: record for record in read_records(run)}
    assert [each for record in records.values() for each in record.decisions] == adapt.decisions
    steps = [event.step for event, value in read_values(run / "steps", "scalars")]
    assert set(steps) == {each.step for each in searched(adapt)}


class DiedError(Exception):
    pass


@pytest.mark.parametrize("dies_at", only([], [2 * LEAST_TRIAL + 5, None]))
def test_a_training_that_died_in_the_search_or_after_it_goes_on(tmp_path: Path, dies_at: int | None) -> None:
    """By epochs, as `BackupAndRestore` saves: a first epoch begins again, and after it nothing is searched for."""

    class Death(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == dies_at:
                raise DiedError

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise DiedError

    def made() -> Any:
        return AdaptLROnPlateau.auto(state_path=tmp_path / "state.json")

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole = AdaptLROnPlateau.auto()
    expected = linear_model(SGD(1e-3))
    learn(expected, whole)
    with pytest.raises(DiedError):
        learn(linear_model(SGD(1e-3)), made(), Death(), backup())
    adapt, model = made(), linear_model(SGD(1e-3))
    learn(model, adapt, backup())  # Warnings are errors.
    told = [(each.kind, each.step, each.rate) for each in adapt.decisions]
    assert told == [(each.kind, each.step, each.rate) for each in whole.decisions]
    assert weights_of(model) == pytest.approx(weights_of(expected), rel=1e-5)


@pytest.mark.long
def test_a_backup_from_the_middle_of_the_search_is_searched_from_again(tmp_path: Path) -> None:
    class Death(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2 * LEAST_TRIAL + 5:
                raise DiedError

    def callbacks() -> list[Any]:
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=25)
        return [AdaptLROnPlateau.auto(state_path=tmp_path / "state.json"), backup]

    with pytest.raises(DiedError):
        learn(linear_model(SGD(1e-6)), *callbacks(), Death())
    (adapt, backup), model = callbacks(), linear_model(SGD(1e-6))
    learn(model, adapt, backup)
    assert settled(adapt).epoch == 0
    assert 0.003 < settled(adapt).rate < 1
    assert weights_of(model) == pytest.approx([3.0, -2.0, 0.5, -1.0], abs=0.01)


def test_a_search_that_is_not_over_with_the_first_epoch_goes_on_in_the_next_one() -> None:
    """As where there is less data than Keras was told."""
    adapt, model = AdaptLROnPlateau.auto("loss"), linear_model(SGD(1e-3))
    adapt.set_model(model)
    adapt.set_params({"epochs": 10, "steps": BATCHES, "verbose": 0})
    adapt.on_train_begin()
    x, y = rows(1)
    for epoch in range(10):
        adapt.on_epoch_begin(epoch)
        model.reset_metrics()
        for batch in range(LEAST_TRIAL + 15):
            adapt.on_train_batch_begin(batch)
            logs = model.train_on_batch(x, y, return_dict=True)
            adapt.on_train_batch_end(batch, logs)
        adapt.on_epoch_end(epoch, logs)
    adapt.on_train_end()
    assert [each.step for each in searched(adapt)] == [LEAST_TRIAL * (i + 1) for i in range(len(searched(adapt)))]
    assert settled(adapt).epoch > 0
    assert adapt.state.observations == 10 - settled(adapt).epoch
    assert [each.epoch for each in adapt.decisions if each.kind == "anneal"] == [7, 8]


@pytest.mark.long
@pytest.mark.parametrize("died", [1, "settled", 9])
def test_a_search_over_several_epochs_is_no_part_of_what_is_annealed_when_resumed(
    tmp_path: Path, died: int | str
) -> None:
    class Death(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == (settled(whole).epoch if died == "settled" else died):
                raise DiedError

    def made() -> list[Any]:
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return [AdaptLROnPlateau.auto(state_path=tmp_path / "state.json"), backup]

    whole = AdaptLROnPlateau.auto()
    learn(linear_model(Adam(0.03)), whole, batches=4, epochs=20)
    assert settled(whole).epoch > 1, "a trial takes ten steps"
    adapt, backup = made()
    with pytest.raises(DiedError):
        learn(linear_model(Adam(0.03)), adapt, Death(), backup, batches=4, epochs=20)
    adapt, backup = made()
    learn(linear_model(Adam(0.03)), adapt, backup, batches=4, epochs=20)
    told = [(each.kind, each.step, each.rate) for each in adapt.decisions]
    assert told == [(each.kind, each.step, each.rate) for each in whole.decisions]


# --- Ctrl-C in the search --------------------------------------------------------------------------------------------


class CtrlC(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
    """Interrupts the first `fit` at a batch, and notes how the callback and the rate stood."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__()
        self.moment = (epoch, batch)
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == self.moment:
            self.moment = (-1, -1)
            raise KeyboardInterrupt


def rate_of(model: Any) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


SHORT = 2 * LEAST_TRIAL
"""Batches of an epoch that has room for two trials of the search."""


@pytest.mark.parametrize(
    ("epoch", "batch"),
    [(1, 10), (1, LEAST_TRIAL + 10), pytest.param(1, 2 * LEAST_TRIAL - 1, marks=pytest.mark.long)],
)
@pytest.mark.parametrize(
    "is_new", only([True], [False, True]), ids=lambda is_new: "another callback" if is_new else "the same callback"
)
def test_a_search_that_is_interrupted_within_a_later_epoch_goes_on(
    epoch: int, batch: int, is_new: bool, tmp_path: Path
) -> None:
    """The rate of a trial that began in this epoch is ours, too. Warnings are errors."""
    adapt, model = AdaptLROnPlateau.auto(log_dir=tmp_path), linear_model(SGD(1e-5))
    with pytest.raises(KeyboardInterrupt):
        learn(model, adapt, CtrlC(epoch, batch), batches=SHORT, epochs=8)
    state, told = adapt.state, searched(adapt)
    assert state.status == "searching"
    assert rate_of(model) == pytest.approx(told[-1].rate)
    assert any(each.epoch == epoch for each in told) == (batch > LEAST_TRIAL), "a trial began in the epoch"
    if is_new:
        adapt = AdaptLROnPlateau.auto(log_dir=tmp_path)
    begun: list[Any] = []
    look = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append((epoch, adapt.state)))
    learn(model, adapt, look, batches=SHORT, epochs=8, initial_epoch=epoch)
    assert begun[0] == (epoch, state), "the trial goes on"
    assert searched(adapt)[: len(told)] == told
    assert 0.003 < settled(adapt).rate < 1
    assert "override" not in kinds(adapt)
    assert weights_of(model) == pytest.approx([3.0, -2.0, 0.5, -1.0], abs=0.01)


@pytest.mark.parametrize("first", only([0], [0, 1]))
def test_the_rate_of_an_interrupted_trial_is_not_taken_for_the_user_s(first: int) -> None:
    """Without a state file the next `fit` is a training of its own. It begins with the rate from before the trial."""
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e-5))
    with pytest.raises(KeyboardInterrupt):
        learn(model, adapt, CtrlC(1, 10), batches=SHORT, epochs=8)
    assert adapt.state.status == "searching"
    trial = rate_of(model)
    assert trial == pytest.approx(searched(adapt)[-1].rate)
    weights, begun = weights_of(model), []
    look = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(weights_of(model)))
    with pytest.warns(
        UserWarning, match=r"interrupted while it tried a learning rate of 0.001, so .* begins with 1e-05"
    ):
        learn(model, adapt, look, batches=SHORT, epochs=8, initial_epoch=first)
    assert begun[0] == weights, "which may be others by then"
    assert searched(adapt)[0].rate_before == pytest.approx(1e-5)


def test_a_rate_that_is_set_after_an_interrupted_trial_is_the_user_s() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e-5))
    with pytest.raises(KeyboardInterrupt):
        learn(model, adapt, CtrlC(1, 10), batches=SHORT, epochs=8)
    assert adapt.state.status == "searching"
    model.optimizer.learning_rate = 0.03
    learn(model, adapt, batches=SHORT, epochs=8)
    assert adapt.decisions[0].rate_before == pytest.approx(0.03)


def test_finish_takes_an_interrupted_trial_back_whole() -> None:
    adapt, model = AdaptLROnPlateau.auto(), linear_model(SGD(1e-5))
    with pytest.raises(KeyboardInterrupt):
        learn(model, adapt, CtrlC(1, 10), batches=SHORT, epochs=8)
    adapt.finish()
    assert kinds(adapt)[-1] == "rollback"
    assert rate_of(model) == pytest.approx(adapt.decisions[-1].rate)
    learn(model, adapt, batches=SHORT, epochs=8)  # Without a warning.
