"""`AdaptLROnPlateau.auto(frequency=N)`: auto mode within an epoch, in real fits."""

import itertools
import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import compile_model, count_syncs, fit, kinds, only, read_records, read_values
from hypothesis import given
from hypothesis import strategies as st
from keras.optimizers import SGD, Adam

from keras_lrplateau import AdaptLROnPlateau, Sink
from keras_lrplateau.rule import auto
from keras_lrplateau.training.cadence import StepCadence

BATCHES = 600
"""Of an epoch."""

N = 3
"""A two-hundredth of it."""


def linear_model(optimizer: Any, **arguments: Any) -> Any:
    """Four weights, and a loss that is about 16 before training."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    return compile_model(model, optimizer, compiled=True, loss="mse", **arguments)


def rows(batches: int = BATCHES) -> tuple[Any, Any]:
    """With noise: a loss far below the mean of its epoch is no observation."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64 * batches, 4)).astype("float32")
    noise = 0.1 * rng.normal(size=(len(x), 1)).astype("float32")
    return x, x @ np.array([[3.0], [-2.0], [0.5], [-1.0]], "float32") + noise


def learn(model: Any, *callbacks: Any, batches: int = BATCHES, **arguments: Any) -> Any:
    x, y = rows(batches)
    return fit(model, *callbacks, x=x, y=y, batch_size=64, **arguments)


def weights_of(model: Any) -> list[float]:
    return [float(weight) for weight in np.ravel(model.get_weights()[0])]


class Observations(Sink):
    """The steps and the numbers of all observations within epochs."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, float]] = {}

    def step(self, step: int, numbers: Any, time: float) -> None:
        self.seen[step] = dict(numbers)

    @property
    def gaps(self) -> list[int]:
        steps = list(self.seen)
        return [later - earlier for earlier, later in itertools.pairwise(steps)]


def settled(adapt: Any) -> Any:
    (decision,) = [each for each in adapt.decisions if each.kind == "settle"]
    return decision


# --- the search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", only([1e3], [1e-6, 1e-3, 0.03, 1e3]))
def test_a_rate_wrong_by_orders_of_magnitude_is_put_right_within_a_part_of_the_only_epoch(rate: float) -> None:
    adapt, model = AdaptLROnPlateau.auto(frequency=N), linear_model(SGD(rate))
    learn(model, adapt)
    assert kinds(adapt)[0] == "search"
    assert settled(adapt).step <= 0.05 * BATCHES
    assert 0.003 < settled(adapt).rate < 1
    assert weights_of(model) == pytest.approx([3.0, -2.0, 0.5, -1.0], abs=0.01)


@pytest.mark.backends
def test_every_trial_takes_n_steps_from_the_untrained_weights() -> None:
    found: list[tuple[int, float, list[float], int]] = []

    def look(decision: Any) -> None:
        if decision.kind == "search":
            iterations = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
            found.append((decision.step, decision.rate, weights_of(model), iterations))

    model = linear_model(Adam(1e-3))
    adapt = AdaptLROnPlateau.auto(frequency=N, on_decision=look)
    learn(model, adapt)
    assert len(found) >= 3
    assert [step for step, *_ in found] == [N * (i + 1) for i in range(len(found))]
    assert len({rate for _, rate, *_ in found}) == len(found)
    for _, _, weights, iterations in found:
        assert weights == [1.0] * 4
        assert iterations == 0
    assert weights_of(model) != [1.0] * 4


def test_by_single_batches_nothing_can_be_searched_for() -> None:
    """The loss of a batch is that before its update: of the untrained weights, whatever the rate."""
    adapt = AdaptLROnPlateau.auto(frequency=1)
    learn(linear_model(SGD(0.03)), adapt)
    assert kinds(adapt)[0] == "settle"
    assert settled(adapt).rate == 0.03


def test_a_rate_at_which_training_breaks_is_left_within_the_epoch() -> None:
    """What is taken back is not in Keras' mean of the epoch, either."""
    adapt, model = AdaptLROnPlateau.auto(frequency=10), linear_model(SGD(1e6))
    history = learn(model, adapt)
    assert "nan" in adapt.decisions[0].reason
    assert "1e+06: broken" in settled(adapt).reason
    assert history["loss"][0] < 100


# --- observations ----------------------------------------------------------------------------------------------------


@pytest.mark.backends
@pytest.mark.parametrize("epochs", only([1], [1, 3]))
def test_after_the_search_the_whole_training_has_a_hundred_observations_across_epochs(epochs: int) -> None:
    seen = Observations()
    adapt = AdaptLROnPlateau.auto(frequency=N, sinks=[seen])
    learn(linear_model(SGD(1e-3)), adapt, epochs=epochs)
    trials = settled(adapt).step // N
    length = epochs * BATCHES // auto.NOMINAL_LENGTH
    assert length > N
    assert seen.gaps[: trials - 1] == [N] * (trials - 1)
    assert set(seen.gaps[trials:]) <= {length, 2 * length}, "that at the end of an epoch is none within one"
    assert adapt.state.observations == trials + (epochs * BATCHES - N * trials) // length


@pytest.mark.long
def test_a_frequency_of_more_than_a_hundredth_stays() -> None:
    sink = Observations()
    adapt = AdaptLROnPlateau.auto(frequency=10, sinks=[sink])
    learn(linear_model(SGD(1e-3)), adapt)
    assert set(sink.gaps) == {10}


def test_the_rate_of_each_observation_is_told_by_step() -> None:
    sink = Observations()
    adapt = AdaptLROnPlateau.auto(frequency=N, sinks=[sink])
    learn(linear_model(SGD(1e-3)), adapt)
    for decision in adapt.decisions:
        if decision.step in sink.seen:
            assert sink.seen[decision.step]["learning_rate"] == pytest.approx(decision.rate_before)
    assert {"loss", "learning_rate"} == sink.seen[N].keys()


@pytest.mark.backends
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras does not have it there")
def test_several_batches_in_one_execution_are_planned_for() -> None:
    adapt = AdaptLROnPlateau.auto(frequency=N, budget=0.0)
    learn(linear_model(SGD(0.01), steps_per_execution=8), adapt)
    first = next(decision for decision in adapt.decisions if decision.kind == "anneal")
    assert first.step == pytest.approx((1 - auto.TAIL_BY_STEPS) * BATCHES, rel=0.1)
    assert adapt.state.rate < 0.001


@pytest.mark.long
def test_steps_are_optimizer_steps_where_gradients_are_accumulated() -> None:
    sink = Observations()
    adapt = AdaptLROnPlateau.auto(frequency=N, sinks=[sink])
    learn(linear_model(SGD(1e-3, gradient_accumulation_steps=2)), adapt, epochs=2)
    assert next(iter(sink.seen)) == N
    assert max(sink.seen) <= BATCHES
    assert adapt.state.rate < 0.1 * settled(adapt).rate, "annealed"


def outlier() -> tuple[Any, Any]:
    """Two hundred batches of two rows. The square of one target makes float32 forget what else is in a sum."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True) + rng.normal(size=(400, 1)).astype("float32")
    y[100] = 2e5
    return x, y


@pytest.mark.backends
def test_after_a_huge_loss_the_rest_of_the_epoch_is_not_observed() -> None:
    def train(*callbacks: Any) -> list[float]:
        x, y = outlier()
        model = linear_model(SGD(0.01, clipnorm=1.0))
        return fit(model, *callbacks, x=x, y=y, batch_size=2, epochs=2)["loss"]

    sink = Observations()
    adapt = AdaptLROnPlateau("loss", patience=20, frequency=10, sinks=[sink])
    shown = train(adapt)
    seen = {step: numbers["loss"] for step, numbers in sink.seen.items()}
    assert [step for step, loss in seen.items() if loss > 1e9] == [60, 260], "the scenario: in both epochs"
    assert list(seen) == [10, 20, 30, 40, 50, 60, 210, 220, 230, 240, 250, 260]
    assert all(loss > 0.1 for loss in seen.values())
    assert adapt.decisions == []
    assert shown == pytest.approx(train(), rel=1e-6), "what Keras shows is left alone"


@pytest.mark.backends
def test_a_loss_too_small_for_keras_mean_of_the_epoch_is_a_plateau() -> None:
    x = np.ones((400, 4), "float32")
    sink = Observations()
    adapt = AdaptLROnPlateau("loss", factor=0.5, patience=5, min_delta=0.0, frequency=10, max_raises=0, sinks=[sink])
    model = linear_model(SGD(0.05))
    fit(model, adapt, x=x, y=np.zeros((400, 1), "float32"), batch_size=2)
    losses = [numbers["loss"] for numbers in sink.seen.values()]
    assert len(losses) == 19, "all but the last window, which ends with the epoch"
    assert model.evaluate(x, np.zeros((400, 1)), verbose=0) < 1e-9, "far less than shows"
    assert losses == sorted(losses, reverse=True)
    assert 1e-9 < losses[-1] < 1e-3
    assert kinds(adapt) == ["cut", "cut"]


@given(
    losses=st.lists(st.just(0.0) | st.floats(2.0**-20, 2.0**40, width=32), min_size=1, max_size=60),
    frequency=st.integers(1, 4),
    size=st.sampled_from([1, 3, 64]),
)
def test_no_best_observation_is_better_than_its_batches(losses: list[float], frequency: int, size: int) -> None:
    cadence, best, begin = StepCadence("loss", frequency), None, 0
    cadence.restart(0, SGD())
    total = np.float32(0)
    for batch, loss in enumerate(losses):
        if batch and cadence.is_due(batch):
            value, _ = cadence.take(batch, best) or (None, None)
            if value is not None and (best is None or value < best):
                assert statistics.fmean(losses[begin:batch]) <= 1.2 * value
                best = value
            begin = batch
        total += np.float32(loss) * np.float32(size)  # As `keras.metrics.Mean` does.
        mean = float(total / np.float32(size * (batch + 1)))
        cadence.add(batch, (mean, mean))


@pytest.mark.parametrize("fall", [0.0, 0.01])
def test_the_noise_of_an_observation_is_the_standard_error_of_its_mean_though_the_loss_falls(fall: float) -> None:
    batches = 400
    losses = np.random.default_rng(0).normal(5 - fall * np.arange(batches), 1.0)
    cadence = StepCadence("loss", batches)
    cadence.restart(0, SGD(0.1))
    for batch, mean in enumerate(np.cumsum(losses) / np.arange(1, batches + 1)):
        cadence.add(batch, (mean, mean))
        assert cadence.is_due(batch + 1) == (batch + 1 == batches)
    assert cadence.take(batches, None) == pytest.approx((losses.mean(), losses.mean()))
    assert cadence.noise == pytest.approx(1 / math.sqrt(batches), rel=0.1)


# --- what happens within an epoch ------------------------------------------------------------------------------------


def told(y: Any, _: Any) -> Any:
    return y


def learn_told(values: list[float], frequency: int, *others: Any) -> tuple[dict[int, float], Any]:
    """What is observed where these are the values of a metric, batch by batch; and the callback."""
    observations, (x, _) = Observations(), rows(len(values))
    settings = {"mode": "min", "patience": 1, "factor": 0.5, "max_raises": 0, "recover": False}
    adapt = AdaptLROnPlateau("told", **settings, frequency=frequency, sinks=[observations])
    model = linear_model(SGD(0.1))
    model.compile(SGD(0.1), loss=lambda y, prediction: keras.ops.square(prediction), metrics=[told])
    fit(model, *others, adapt, x=x, y=np.repeat(np.float32(values), 64)[:, None], batch_size=64)
    return {step: numbers["told"] for step, numbers in observations.seen.items()}, adapt


def test_a_value_that_is_nan_is_in_no_later_observation_of_the_epoch() -> None:
    """Though Keras' running mean would be NaN until the epoch ends."""
    found, adapt = learn_told([1.0, 2.0, math.nan, 4.0, 5.0, 6.0], 1)
    assert found == pytest.approx({1: 1.0, 2: 2.0, 3: math.nan, 4: 4.0, 5: 5.0}, nan_ok=True)
    assert len(kinds(adapt)) == 5
    assert set(kinds(adapt)) == {"cut"}


def test_a_model_that_is_compiled_again_within_an_epoch_begins_a_new_observation() -> None:
    class Recompile(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 8:
                self.model.compile(SGD(0.2), loss="mse", metrics=[told])

    found, adapt = learn_told([float(batch) for batch in range(13)], 4, Recompile())
    assert [(each.kind, each.rate) for each in adapt.decisions][:2] == [("override", 0.2), ("cut", 0.1)]
    assert found == pytest.approx({4: 1.5, 8: 5.5, 12: 9.5})


# --- which metric ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitor", "watched"), [("val_loss", "loss"), ("loss", "loss"), ("val_acc", "acc"), ("acc", "acc")]
)
def test_it_goes_by_the_metric_of_training_since_a_validation_comes_too_late(monitor: str, watched: str) -> None:
    adapt = AdaptLROnPlateau.auto(monitor, "max" if "acc" in monitor else "auto", frequency=N)
    model = linear_model(SGD(1e-3), metrics=[keras.metrics.BinaryAccuracy(name="acc")])
    learn(model, adapt, batches=40, validation_data=rows(2))
    assert adapt.run.monitor == watched
    assert "settle" in kinds(adapt)
    assert adapt.get_config()["monitor"] == adapt.monitor == monitor


@pytest.mark.backends
def test_a_metric_that_is_no_mean_is_refused() -> None:
    adapt = AdaptLROnPlateau.auto("val_auc", frequency=N)
    with pytest.raises(ValueError, match=r"mean over samples.*monitor='auc'.*decide by epochs"):
        learn(linear_model(SGD(1e-3), metrics=[keras.metrics.AUC(name="auc")]), adapt, batches=4)


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", only([1], [1, 3]))
def test_the_last_part_of_the_steps_is_annealed_observation_by_observation(epochs: int) -> None:
    adapt = AdaptLROnPlateau.auto(frequency=N, budget=0.0)
    learn(linear_model(SGD(0.01)), adapt, epochs=epochs)
    annealed = [decision for decision in adapt.decisions if decision.kind == "anneal"]
    assert annealed[0].step == pytest.approx((1 - auto.TAIL_BY_STEPS) * epochs * BATCHES, rel=0.03)
    rates = [decision.rate for decision in annealed]
    assert len(rates) == pytest.approx(auto.TAIL_BY_STEPS * auto.NOMINAL_LENGTH, abs=2)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(annealed[0].rate_before * 0.5 / len(rates))


class Generator:
    """Batches without end, as many of them in an epoch as `steps_per_epoch` says."""

    def __iter__(self) -> Iterator[Any]:
        x, y = rows(1)
        while True:
            yield x, y


def test_steps_per_epoch_says_how_long_an_epoch_of_a_generator_is() -> None:
    adapt = AdaptLROnPlateau.auto(frequency=N, budget=0.0)
    linear_model(SGD(0.01)).fit(iter(Generator()), steps_per_epoch=BATCHES, shuffle=False, verbose=0, callbacks=[adapt])
    assert kinds(adapt).count("anneal") == pytest.approx(auto.TAIL_BY_STEPS * auto.NOMINAL_LENGTH, abs=2)


@pytest.mark.parametrize("epochs", only([1], [1, 3]))
def test_where_the_length_of_an_epoch_shows_at_its_end_the_first_one_is_not_annealed(epochs: int) -> None:
    adapt = AdaptLROnPlateau.auto(frequency=N, budget=0.0)
    model = linear_model(SGD(0.01))
    adapt.set_model(model)
    adapt.set_params({"epochs": epochs, "steps": None, "verbose": 0})
    with pytest.warns(UserWarning, match="pass steps_per_epoch to fit"):
        adapt.on_train_begin()
    x, y = rows(1)
    for epoch in range(epochs):
        adapt.on_epoch_begin(epoch)
        model.reset_metrics()
        for batch in range(60):
            adapt.on_train_batch_begin(batch)
            logs = model.train_on_batch(x, y, return_dict=True)
            adapt.on_train_batch_end(batch, logs)
        adapt.on_epoch_end(epoch, logs)
    adapt.on_train_end()
    annealed = [decision.epoch for decision in adapt.decisions if decision.kind == "anneal"]
    assert 0 not in annealed
    assert bool(annealed) == (epochs > 1)


# --- what it is carried out on ---------------------------------------------------------------------------------------


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only there the weights leave the model")
@pytest.mark.backends
def test_between_decisions_the_state_stays_where_it_is_trained() -> None:
    model = linear_model(SGD(1e-3))
    synced = count_syncs(model)
    adapt = AdaptLROnPlateau.auto(frequency=N)
    learn(model, adapt)
    assert kinds(adapt)[0] == "search"
    assert 0 < len(synced) < 0.8 * BATCHES, "once for each observation that saves, restores or changes the rate"


def test_its_configuration_makes_an_equal_one() -> None:
    adapt = AdaptLROnPlateau.auto(frequency=50)
    config = json.loads(json.dumps(adapt.get_config()))
    assert config["frequency"] == 50
    again = AdaptLROnPlateau.from_config(config)
    assert again.frequency == 50
    assert again.get_config() == config


@pytest.mark.parametrize(
    ("frequency", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), ("step", TypeError)]
)
def test_a_frequency_that_is_none_is_refused(frequency: Any, error: Any) -> None:
    with pytest.raises(error, match=f"frequency={frequency!r}"):
        AdaptLROnPlateau.auto(frequency=frequency)


def test_its_decisions_are_in_the_event_file_with_their_steps(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau.auto(frequency=N, log_dir=tmp_path)
    learn(linear_model(SGD(1e-3)), adapt, epochs=2)
    (run,) = tmp_path.iterdir()
    records = {record.epoch: record for record in read_records(run)}
    assert [each for record in records.values() for each in record.decisions] == adapt.decisions
    steps = [event.step for event, value in read_values(run / "steps", "scalars")]
    assert min(steps) == N
    assert max(steps) <= 2 * BATCHES


@pytest.mark.long
def test_a_training_that_died_in_its_second_epoch_goes_on(tmp_path: Path) -> None:
    """By epochs, as `BackupAndRestore` saves: the second epoch begins again, and nothing is searched for twice."""

    class DiedError(Exception):
        pass

    class Death(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise DiedError

    def callbacks() -> list[Any]:
        return [AdaptLROnPlateau.auto(frequency=N, state_path=tmp_path / "state.json")]

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole = AdaptLROnPlateau.auto(frequency=N)
    expected = linear_model(SGD(1e-3))
    learn(expected, whole, epochs=3)
    with pytest.raises(DiedError):
        learn(linear_model(SGD(1e-3)), *callbacks(), Death(), backup(), epochs=3)
    (adapt,) = callbacks()
    model = linear_model(SGD(1e-3))
    learn(model, adapt, backup(), epochs=3)  # Warnings are errors.
    told = [(each.kind, each.step, each.rate) for each in adapt.decisions]
    assert told == [(each.kind, each.step, each.rate) for each in whole.decisions]
    assert weights_of(model) == pytest.approx(weights_of(expected), rel=1e-5)
