"""Beside what people use with Keras, the real thing each time: searches over hyperparameters, parallel processes, other
callbacks, training steps and loops of their own, and models with two optimizers.

What it needs: the search with KerasTuner needs `keras-tuner`, the one with `GridSearchCV` and the grid `scikit-learn`.
Where one of them is missing, its tests are skipped. All else needs Keras and its backend only. What depends on the
backend (training steps and loops) is written once for each of them; the tests are of the one that KERAS_BACKEND names.

Other tests of neighbours are in test_callback.py: BackupAndRestore, SwapEMAWeights, LearningRateScheduler, TensorBoard.
"""

import copy
import csv
import math
import multiprocessing
import pickle
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import (
    Spy,
    at_epoch_end,
    fit,
    kinds,
    push,
    pushed_model,
    read_records,
    read_scalars,
    scripted,
    timeline,
    tiny_model,
    weight_of,
)
from keras.optimizers import SGD, Adam

from keras_lrplateau import AdaptLROnPlateau

BACKEND = keras.backend.backend()

ONE_RAISE = {"patience": 1, "factor": 0.01, "raise_factor": 2.0, "raise_after": 1, "max_raises": 1, "recover": False}
"""A cut, and then a raise, which is judged six epochs later, if there is an epoch more."""

FRUITLESS = [1.0, 0.9, *[1.0] * 9]
"""best, best, cut, raise, five epochs on the way back, rollback, cut"""

RAISED, JUDGED, WHOLE = 3, 9, 11
"""The epochs of the raise and of its judgement, and how many epochs that takes."""

WAY_BACK = [0.01 + 1.99 * (1 + math.cos(math.pi * done / 6)) / 2 for done in range(6)]
SHARES = [1.0, 1.0, 1.0, 0.01, *WAY_BACK, 0.01]
"""The rates of the epochs, as shares of the first."""

ONES, FAR = np.ones((4, 1), "float32"), 1e6 * np.ones((4, 1), "float32")
"""For a `pushed_model`."""

EITHER_ORDER = pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])


def in_order(first: bool, other: Any, adapt: Any) -> tuple[Any, Any]:
    return (other, adapt) if first else (adapt, other)


def runs_in(log_dir: Path) -> list[Path]:
    """In the order in which they began."""
    return sorted(log_dir.iterdir(), key=lambda run: int(run.name.removeprefix("lr_plateau").lstrip("_") or 1))


def curve(run: Path, name: str) -> list[float]:
    """The values of a metric, one an epoch from the first on."""
    values = read_scalars(run)[f"lr_plateau/{name}"]
    assert list(values) == list(range(len(values)))
    return list(values.values())


def decided(run: Path) -> list[tuple[int, str]]:
    return [(record.epoch, decision.kind) for record in read_records(run) for decision in record.decisions]


# --- copies ----------------------------------------------------------------------------------------------------------


def pickled(adapt: Any) -> Any:
    return pickle.loads(pickle.dumps(adapt))


DUPLICATE = pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])


@DUPLICATE
def test_a_copy_from_before_training_trains_as_the_original_does(
    duplicate: Callable[[Any], Any], tmp_path: Path
) -> None:
    original = AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path)
    other = duplicate(original)
    for adapt in (original, other):
        fit(tiny_model(), scripted(*FRUITLESS), adapt, epochs=WHOLE)
    assert kinds(original) == ["cut", "raise", "rollback", "cut"]
    assert other.decisions == original.decisions
    assert other.state == original.state
    runs = runs_in(tmp_path)
    assert [run.name for run in runs] == ["lr_plateau", "lr_plateau_2"]
    assert decided(runs[0]) == decided(runs[1]) == [(each.epoch, each.kind) for each in original.decisions]


@DUPLICATE
def test_a_copy_from_after_training_starts_afresh_and_leaves_the_original_alone(
    duplicate: Callable[[Any], Any], tmp_path: Path
) -> None:
    original = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, log_dir=tmp_path)
    fit(tiny_model(), scripted(1.0, 2.0), original, epochs=2)
    other = duplicate(original)
    assert other.decisions == original.decisions
    assert timeline(original) == [(1, "cut", 0.05)]
    fit(tiny_model(SGD(0.4)), scripted(1.0, 2.0), other, epochs=2)
    assert timeline(other) == [(1, "cut", 0.2)]
    assert timeline(original) == [(1, "cut", 0.05)]
    assert [decided(run) for run in runs_in(tmp_path)] == [[(1, "cut")]] * 2


@DUPLICATE
def test_a_copy_from_between_two_parts_of_a_training_goes_on_as_the_original_does(
    duplicate: Callable[[Any], Any],
) -> None:
    """The raise comes after the first part."""
    original = AdaptLROnPlateau(**ONE_RAISE, reset_on_train_begin=False)
    model = pushed_model(SGD(0.1), compiled=False)
    push(model, scripted(*FRUITLESS[:3]), original, epochs=3)
    rate = original.decisions[-1].rate
    other, other_model = duplicate(original), pushed_model(SGD(rate), compiled=False)
    other_model.set_weights(model.get_weights())
    histories = [
        push(each, scripted(*FRUITLESS[3:]), adapt, epochs=WHOLE - 3)
        for adapt, each in ((original, model), (other, other_model))
    ]
    assert kinds(original) == ["cut", "raise", "rollback", "cut"]
    assert other.decisions == original.decisions
    assert histories[1] == histories[0]
    assert weight_of(other_model) == weight_of(model)


# --- searches --------------------------------------------------------------------------------------------------------

# Both are in KerasTuner 1.4.8, whose lock asks for the name of the thread.
BESIDE_KERAS_TUNER = pytest.mark.filterwarnings(
    "ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning"
)


@pytest.mark.long
@BESIDE_KERAS_TUNER
def test_each_trial_of_keras_tuner_starts_afresh_and_has_a_run_of_its_own(tmp_path: Path) -> None:
    """Two trials, each with two executions; KerasTuner makes a deep copy of the callbacks for each of these."""
    tuner_module = pytest.importorskip("keras_tuner")

    def build(choices: Any) -> Any:
        return pushed_model(SGD(choices.Choice("rate", [0.1, 0.4])), compiled=False)

    tuner = tuner_module.RandomSearch(
        build, "val_loss", max_trials=2, executions_per_trial=2, seed=0, directory=tmp_path / "tuner"
    )
    adapt = AdaptLROnPlateau(**ONE_RAISE, log_dir=tmp_path / "logs")
    data = {"x": ONES, "y": FAR, "validation_data": (ONES, FAR)}
    tuner.search(**data, batch_size=4, epochs=WHOLE, callbacks=[scripted(*FRUITLESS), adapt], verbose=0)
    trials = sorted(tuner.oracle.trials.values(), key=lambda trial: int(trial.trial_id))
    rates = [trial.hyperparameters["rate"] for trial in trials]
    assert sorted(rates) == [0.1, 0.4]

    runs = runs_in(tmp_path / "logs")
    assert [run.name for run in runs] == ["lr_plateau", "lr_plateau_2", "lr_plateau_3", "lr_plateau_4"]
    for run, rate in zip(runs, np.repeat(rates, 2), strict=True):
        assert curve(run, "val_loss") == pytest.approx(FRUITLESS)
        assert curve(run, "learning_rate") == pytest.approx([rate * share for share in SHARES])
        assert decided(run) == [(2, "cut"), (RAISED, "raise"), (JUDGED, "rollback"), (10, "cut")]
    assert adapt.state is None, "the one that was passed has never trained"
    assert adapt.decisions == []


def noise() -> dict[str, Any]:
    """Nothing to learn: trained on it, the validation loss soon rises, and only a rollback brings it down again."""
    rng = np.random.default_rng(3)
    x, y, x_val, y_val = (rng.normal(size=(16, columns)).astype("float32") for columns in (4, 1, 4, 1))
    return {"x": x, "y": y, "validation_data": (x_val, y_val)}


@pytest.mark.long
@BESIDE_KERAS_TUNER
def test_keras_tuner_gives_back_the_model_that_has_its_best_score(tmp_path: Path) -> None:
    """It saves weights at each new best, after our hook; the trainings go on to worse epochs and are rolled back."""
    tuner_module = pytest.importorskip("keras_tuner")
    tuner = tuner_module.RandomSearch(
        lambda choices: tiny_model(SGD(choices.Choice("rate", [0.1, 0.3]))),
        "val_loss",
        max_trials=2,
        seed=0,
        directory=tmp_path / "tuner",
    )
    adapt = AdaptLROnPlateau(**ONE_RAISE, min_delta=0.0, log_dir=tmp_path / "logs")
    tuner.search(**noise(), batch_size=16, epochs=16, callbacks=[adapt], verbose=0)
    runs = runs_in(tmp_path / "logs")
    assert len(runs) == 2
    for run in runs:
        assert "rollback" in [kind for _, kind in decided(run)]
    best = min(min(curve(run, "val_loss")) for run in runs)
    assert tuner.oracle.get_best_trials()[0].score == pytest.approx(best)
    (model,) = tuner.get_best_models()
    assert model.evaluate(*noise()["validation_data"], verbose=0) == pytest.approx(best)


def test_one_callback_in_grid_search_cv_has_a_run_for_each_fit(tmp_path: Path) -> None:
    """The very same object is in each of the five fits: two rates, two folds, and one more of the best."""
    selection = pytest.importorskip("sklearn.model_selection")

    def build(X: Any, y: Any, rate: float) -> Any:  # noqa: N803  # Keras passes it by this name
        return tiny_model(SGD(rate))

    adapt = AdaptLROnPlateau("loss", patience=1, factor=0.5, min_delta=10.0, max_raises=0, log_dir=tmp_path)
    search = selection.GridSearchCV(
        keras.wrappers.SKLearnRegressor(build),
        {"model_kwargs": [{"rate": 0.1}, {"rate": 0.4}]},
        scoring="neg_mean_squared_error",
        cv=2,
    )
    data = noise()
    search.fit(data["x"], data["y"].ravel(), epochs=3, verbose=0, callbacks=[adapt])
    best = search.best_params_["model_kwargs"]["rate"]
    runs = runs_in(tmp_path)
    assert [curve(run, "learning_rate") for run in runs] == [
        pytest.approx([rate, rate, rate / 2]) for rate in (0.1, 0.1, 0.4, 0.4, best)
    ]
    assert [decided(run) for run in runs] == [[(1, "cut"), (2, "cut")]] * 5
    assert timeline(adapt) == [(1, "cut", best / 2), (2, "cut", best / 4)]


def test_a_grid_over_fit_decides_by_the_settings_of_each_fit_alone(tmp_path: Path) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    grid = list(selection.ParameterGrid({"factor": [0.5, 0.1], "patience": [1, 2], "max_raises": [0]}))
    assert len(grid) == 4
    for settings in grid:
        adapt = AdaptLROnPlateau(**settings, log_dir=tmp_path)
        fit(tiny_model(), scripted(1.0, 2.0, 2.0), adapt, epochs=3)
        waits, factor = settings["patience"], settings["factor"]
        cuts = {1: [(1, 0.1 * factor), (2, 0.1 * factor**2)], 2: [(2, 0.1 * factor)]}[waits]
        assert timeline(adapt) == [(epoch, "cut", pytest.approx(rate)) for epoch, rate in cuts]
    runs = runs_in(tmp_path)
    assert [len(decided(run)) for run in runs] == [2 if settings["patience"] == 1 else 1 for settings in grid]


# --- processes -------------------------------------------------------------------------------------------------------

ROUNDS = 8


def train_at_once(process: int, barrier: Any, log_dir: Path) -> None:
    """Several trainings, in step with the other process wherever a directory may be chosen or a file opened."""

    def wait(*_: Any) -> None:
        barrier.wait(300)

    for training in range(ROUNDS):
        adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, recover=False, log_dir=log_dir)
        losses = scripted(*(10.0 * training + process + 100 * epoch for epoch in range(3)))
        in_step = keras.callbacks.LambdaCallback(wait, wait, on_train_begin=wait)
        fit(tiny_model(), losses, in_step, adapt, epochs=3)
        assert kinds(adapt) == ["cut", "cut"]


@pytest.mark.long
def test_two_processes_at_once_have_runs_of_their_own_in_one_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=train_at_once, args=(which, barrier, tmp_path)) for which in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    found = sorted(tuple(curve(run, "val_loss")) for run in tmp_path.iterdir() if run.is_dir())
    starts = sorted(10.0 * training + process for training in range(ROUNDS) for process in range(2))
    assert found == [(start, start + 100, start + 200) for start in starts]
    for run in tmp_path.iterdir():
        assert len(list(run.glob("*tfevents*"))) == 1
        assert decided(run) == [(1, "cut"), (2, "cut")]


# --- other callbacks -------------------------------------------------------------------------------------------------


def overfitted(*callbacks: Any) -> tuple[Any, list[float], float]:
    """The model after a real training on `noise`, its validation losses, and what that is now."""
    model = tiny_model()
    losses = fit(model, *callbacks, **noise(), epochs=20)["val_loss"]
    return model, losses, model.evaluate(*noise()["validation_data"], verbose=0)


@EITHER_ORDER
def test_the_checkpoint_of_the_best_epoch_is_as_good_as_the_history_says(first: bool, tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, min_delta=0.0)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    _, losses, at_the_end = overfitted(*in_order(first, checkpoint, adapt))
    assert "rollback" in kinds(adapt)
    assert at_the_end > min(losses)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert loaded.evaluate(*noise()["validation_data"], verbose=0) == pytest.approx(min(losses))


@EITHER_ORDER
def test_early_stopping_restores_the_best_weights_after_a_rollback(first: bool) -> None:
    adapt = AdaptLROnPlateau(**ONE_RAISE, min_delta=0.0)
    stopping = keras.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    _, losses, at_the_end = overfitted(*in_order(first, stopping, adapt))
    assert "rollback" in kinds(adapt)
    assert len(losses) < 20, "stopped"
    assert at_the_end == pytest.approx(min(losses))


@EITHER_ORDER
def test_a_checkpoint_at_a_rollback_is_of_what_was_measured_only_before_us(first: bool, tmp_path: Path) -> None:
    """The epoch of the rollback is the best by less than our `min_delta`: an improvement for ModelCheckpoint alone."""
    losses = [*FRUITLESS[:JUDGED], FRUITLESS[1] - 5e-5, 1.0]
    model, spy = tiny_model(Adam(0.1)), Spy()
    adapt = AdaptLROnPlateau(**ONE_RAISE)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    fit(model, scripted(*losses), spy.callback, *in_order(first, checkpoint, adapt), epochs=WHOLE)
    assert timeline(adapt)[2][:2] == (JUDGED, "rollback")
    assert checkpoint.best == pytest.approx(min(losses))
    saved = keras.models.load_model(tmp_path / "best.keras").get_weights()
    # After us it is the epoch of the raise, to which the model has gone back.
    for weight, expected in zip(saved, spy.weights[JUDGED if first else RAISED], strict=True):
        np.testing.assert_array_equal(weight, expected)


@EITHER_ORDER
def test_a_checkpoint_with_a_threshold_outlives_a_nan_in_the_first_epoch(first: bool, tmp_path: Path) -> None:
    """Without one Keras takes the NaN for the best for ever, and saves nothing better."""
    model, spy, adapt = tiny_model(), Spy(), AdaptLROnPlateau(max_raises=0)
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", save_best_only=True, initial_value_threshold=math.inf
    )
    fit(model, scripted(math.nan, 0.9, 0.8, 1.0), spy.callback, *in_order(first, checkpoint, adapt), epochs=4)
    assert kinds(adapt) == ["diverged"]
    saved = keras.models.load_model(tmp_path / "best.keras").get_weights()
    for weight, best in zip(saved, spy.weights[2], strict=True):
        np.testing.assert_array_equal(weight, best)


@EITHER_ORDER
def test_terminate_on_nan_ends_training_with_the_weights_from_before(first: bool) -> None:
    model, adapt = tiny_model(SGD(1e30)), AdaptLROnPlateau("loss")
    before = model.get_weights()
    history = fit(model, *in_order(first, keras.callbacks.TerminateOnNaN(), adapt), batches=4, epochs=5)
    assert len(history["loss"]) == 1
    assert not math.isfinite(history["loss"][0])
    assert kinds(adapt) == ["diverged"]
    for weight, start in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, start)


def test_a_csv_file_has_the_same_columns_in_each_epoch_and_the_rate_that_was_used(tmp_path: Path) -> None:
    """Two fits into one file, with a validation in every other epoch, cuts, a raise and a rollback."""
    path, weights, decisions = tmp_path / "log.csv", [0.0], []
    model = pushed_model(SGD(0.125), compiled=False)
    for _ in range(2):
        adapt = AdaptLROnPlateau("loss", **ONE_RAISE, min_delta=1e9)
        push(
            model,
            at_epoch_end(lambda epoch, logs: weights.append(weight_of(model))),
            adapt,
            keras.callbacks.CSVLogger(path, append=True),
            epochs=10,
            validation_data=(ONES, FAR),
            validation_freq=2,
        )
        decisions += kinds(adapt)
    assert decisions == ["cut", "raise", "rollback", "cut"] * 2
    with path.open() as file:
        rows = list(csv.DictReader(file))
    # As Keras has it, where the first epoch had no validation: every name a second time.
    assert {tuple(row) for row in rows} == {("epoch", "learning_rate", "loss", "val_learning_rate", "val_loss")}
    assert [int(row["epoch"]) for row in rows] == [*range(10)] * 2
    assert [row["val_loss"] == "NA" for row in rows] == [True, False] * 10
    # Each step moves the weight by the rate. The last epoch of a fit begins where the third ended: at the raise.
    before = [*weights[0:9], weights[3], *weights[10:19], weights[13]]
    moved = [after - start for start, after in zip(before, weights[1:], strict=True)]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(moved, abs=1e-7)
    assert len(set(moved)) > 3


# --- training steps of one's own -------------------------------------------------------------------------------------


def own_step(loss_of: Callable[[Any, Any], Any], tracks: bool) -> Callable[..., Any]:
    """A `train_step` for the backend that runs.

    Args:
        loss_of: Of predictions and targets.
        tracks: Whether it returns the mean over the epoch, as a metric of the model; else the loss of the batch.
    """
    if BACKEND == "jax":
        import jax

        def jax_step(model: Any, state: Any, data: Any) -> Any:
            weights, others, of_optimizer, of_metrics = state
            x, y = data

            def compute(weights: Any, others: Any) -> Any:
                predicted, others = model.stateless_call(weights, others, x, training=True)
                return loss_of(y, predicted), others

            (loss, others), gradients = jax.value_and_grad(compute, has_aux=True)(weights, others)
            weights, of_optimizer = model.optimizer.stateless_apply(of_optimizer, gradients, weights)
            if tracks:
                of_metrics = model.tracker.stateless_update_state(of_metrics, loss)
                loss = model.tracker.stateless_result(of_metrics)
            return {"loss": loss}, (weights, others, of_optimizer, of_metrics)

        return jax_step

    def in_place_step(model: Any, data: Any) -> Any:
        x, y = data
        variables = model.trainable_variables
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = loss_of(y, model(x, training=True))
            model.optimizer.apply(tape.gradient(loss, variables), variables)
        else:
            import torch

            model.zero_grad()
            loss = loss_of(y, model(x, training=True))
            loss.backward()
            with torch.no_grad():
                model.optimizer.apply([variable.value.grad for variable in variables], variables)
        if tracks:
            model.tracker.update_state(loss)
            loss = model.tracker.result()
        return {"loss": loss}

    return in_place_step


def own_model(optimizer: Any, loss_of: Callable[[Any, Any], Any], tracks: bool) -> Any:
    """One weight, from 0."""

    class Own(keras.Sequential):
        train_step = own_step(loss_of, tracks)

        @property
        def metrics(self) -> list[Any]:
            return [self.tracker] if tracks else []

    model = Own([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.tracker = keras.metrics.Mean("loss")
    model.compile(optimizer, jit_compile=BACKEND == "jax")
    return model


TRACKED_OR_NOT = pytest.mark.parametrize("tracks", [True, False], ids=["mean of the epoch", "loss of the last batch"])


@TRACKED_OR_NOT
def test_a_training_step_of_ones_own_is_cut_raised_and_rolled_back(tracks: bool) -> None:
    """Each step moves the weight by the rate. `min_delta` is so large that the first observation stays the best."""
    model = own_model(SGD(0.1), lambda y, predicted: keras.ops.mean(keras.ops.abs(y - predicted)), tracks)
    adapt = AdaptLROnPlateau("loss", **ONE_RAISE, min_delta=1e9)
    weights: list[float] = []
    history = push(model, at_epoch_end(lambda epoch, logs: weights.append(weight_of(model))), adapt, epochs=10)
    assert timeline(adapt) == [
        (1, "cut", 0.001),
        (2, "raise", 0.2),
        (8, "rollback", 0.001),
        (9, "cut", pytest.approx(1e-5)),
    ]
    rates = [0.1 * share for share in SHARES[1:]]
    assert history["learning_rate"] == pytest.approx(rates)
    assert weights[:9] == pytest.approx(np.cumsum(rates[:9]))
    # Epoch 9 begins where epoch 2 ended, at the raise.
    assert weights[9] == pytest.approx(weights[2] + rates[9])
    assert history["loss"] == pytest.approx([1e6] * 10, rel=1e-5)


@TRACKED_OR_NOT
def test_a_training_step_of_ones_own_recovers_from_a_rate_far_too_high(tracks: bool) -> None:
    """The loss of the first batch and two epochs far above it show it: nothing is infinite yet."""
    model = own_model(SGD(2.0), lambda y, predicted: keras.ops.mean(keras.ops.square(y - predicted)), tracks)
    adapt = AdaptLROnPlateau("loss")
    history = fit(model, adapt, x=np.ones((16, 1), "float32"), y=np.ones((16, 1), "float32"), batches=4, epochs=20)
    assert math.isfinite(history["loss"][1])
    assert adapt.decisions[0].kind == "diverged"
    assert adapt.decisions[0].epoch == 1
    assert "before training (1)" in adapt.decisions[0].reason
    assert history["learning_rate"][:3] == pytest.approx([2.0, 2.0, 0.06])
    assert weight_of(model) == pytest.approx(1.0, abs=0.01)


# --- two optimizers --------------------------------------------------------------------------------------------------

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> dict[str, Any]:
    """What a script in examples/ defines."""
    return runpy.run_path(str(EXAMPLES / name))


def gan() -> Any:
    """That of the example."""
    return example("gan.py")["make_gan"](
        SGD(0.1, momentum=0.9, name="of_d"), Adam(0.3, name="of_g"), run_eagerly=True, jit_compile=False
    )


def train_gan(model: Any, *callbacks: Any, epochs: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(0)
    real, noise = (rng.normal(size=(16, 1)).astype("float32") for _ in range(2))
    return fit(model, *callbacks, x=real, y=noise, epochs=epochs)


class GanSpy(keras.callbacks.Callback):
    """Records, at each epoch's begin, the rates and all else that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[tuple[float, float]] = []
        self.states: list[list[bytes]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        model = self.model
        optimizers = model.d_optimizer, model.g_optimizer
        self.rates.append(tuple(round(float(each.learning_rate), 6) for each in optimizers))
        variables = [*model.trainable_variables, *(variable for each in optimizers for variable in each.variables)]
        arrays = {each.path: np.asarray(keras.ops.convert_to_numpy(each)) for each in variables}
        assert len(arrays) == len(variables)
        self.states.append([array.tobytes() for path, array in arrays.items() if "learning_rate" not in path])


@pytest.mark.parametrize(
    ("which", "by_name"), [("d_optimizer", True), ("g_optimizer", False)], ids=["its name", "the optimizer"]
)
def test_of_two_optimizers_the_given_one_is_adapted_and_a_rollback_takes_both_back(which: str, by_name: bool) -> None:
    model, spy = gan(), GanSpy()
    adapt = AdaptLROnPlateau("d_loss", **ONE_RAISE, optimizer=which if by_name else getattr(model, which))
    history = train_gan(model, spy, scripted(*FRUITLESS, name="d_loss"), adapt, epochs=WHOLE)
    first = 0.1 if which == "d_optimizer" else 0.3
    own = [first * share for share in SHARES]
    others = [0.3 if which == "d_optimizer" else 0.1] * WHOLE
    assert kinds(adapt) == ["cut", "raise", "rollback", "cut"]
    expected = (own, others) if which == "d_optimizer" else (others, own)
    assert np.transpose(spy.rates) == pytest.approx(np.array(expected), abs=1e-6)
    assert history["learning_rate"] == pytest.approx(own)
    assert len({tuple(state) for state in spy.states}) == WHOLE - 1, "each epoch changes something"
    assert spy.states[JUDGED + 1] == spy.states[RAISED + 1], "an epoch begins where the one after the raise did"


def test_a_gan_that_breaks_in_the_first_epoch_goes_back_to_both_untrained_networks() -> None:
    model, spy = gan(), GanSpy()
    adapt = AdaptLROnPlateau("d_loss", optimizer="d_optimizer")
    train_gan(model, spy, scripted(math.nan, 1.0, name="d_loss"), adapt, epochs=2)
    assert kinds(adapt) == ["diverged"]
    assert spy.states[1] == spy.states[0]
    assert spy.rates == [(0.1, 0.3), (pytest.approx(0.003), 0.3)]


def test_two_callbacks_adapt_an_optimizer_each_and_have_a_run_each(tmp_path: Path) -> None:
    model, spy = gan(), GanSpy()
    settings = {"factor": 0.5, "max_raises": 0, "recover": False, "log_dir": tmp_path}
    adapts = [
        AdaptLROnPlateau("d_loss", patience=1, optimizer="d_optimizer", **settings),
        AdaptLROnPlateau("g_loss", patience=2, optimizer="g_optimizer", **settings),
    ]
    scripts = scripted(1.0, 2.0, 2.0, 2.0, name="d_loss"), scripted(1.0, 2.0, 2.0, 2.0, name="g_loss")
    train_gan(model, spy, *scripts, *adapts, epochs=4)
    assert [timeline(adapt) for adapt in adapts] == [
        [(1, "cut", 0.05), (2, "cut", 0.025), (3, "cut", 0.0125)],
        [(2, "cut", 0.15)],
    ]
    assert spy.rates == [(0.1, 0.3), (0.1, 0.3), (0.05, 0.3), (0.025, 0.15)]
    runs = runs_in(tmp_path)
    assert [decided(run) for run in runs] == [[(1, "cut"), (2, "cut"), (3, "cut")], [(2, "cut")]]
    assert [curve(run, "learning_rate") for run in runs] == [
        pytest.approx(rates) for rates in zip(*spy.rates, strict=True)
    ]


@EITHER_ORDER
def test_a_rollback_leaves_the_rate_that_another_callback_has_set_to_the_other_optimizer(first: bool) -> None:
    model, spy = gan(), GanSpy()
    adapt = AdaptLROnPlateau("d_loss", **ONE_RAISE, optimizer="d_optimizer")
    other = AdaptLROnPlateau("g_loss", patience=6, factor=0.5, max_raises=0, optimizer="g_optimizer")
    scripts = scripted(*FRUITLESS, name="d_loss"), scripted(*[1.0] * WHOLE, name="g_loss")
    train_gan(model, spy, *scripts, *in_order(first, other, adapt), epochs=WHOLE)
    assert timeline(other) == [(6, "cut", 0.15)]
    assert timeline(adapt)[2][:2] == (JUDGED, "rollback")
    assert [rate for _, rate in spy.rates] == [0.3] * 7 + [0.15] * 4
    assert spy.states[JUDGED + 1] == spy.states[RAISED + 1]


def test_an_excursion_that_a_later_callback_ends_is_rolled_back_where_the_adapted_optimizer_averages_weights() -> None:
    """Keras puts averages into the model at the end of training for `model.optimizer` alone."""
    averaging = SGD(0.1, use_ema=True, name="of_d")
    model = example("gan.py")["make_gan"](averaging, Adam(0.3), run_eagerly=True, jit_compile=False)
    adapt = AdaptLROnPlateau("d_loss", **ONE_RAISE, optimizer="d_optimizer")
    stop = at_epoch_end(lambda epoch, logs: setattr(model, "stop_training", epoch == 5))
    train_gan(model, scripted(*FRUITLESS, name="d_loss"), adapt, stop, epochs=WHOLE)
    assert timeline(adapt)[-2:] == [(RAISED, "raise", 0.2), (5, "rollback", 0.001)]


@pytest.mark.skipif(BACKEND == "jax", reason="on JAX Keras trains the variables of `model.optimizer` alone")
def test_the_other_optimizer_may_have_a_rate_that_cannot_be_set() -> None:
    model = gan()
    model.g_optimizer = Adam(lambda: 0.3)
    model.g_optimizer.build(model.generator.trainable_variables)
    adapt = AdaptLROnPlateau("d_loss", **ONE_RAISE, optimizer="d_optimizer")
    train_gan(model, scripted(*FRUITLESS, name="d_loss"), adapt, epochs=WHOLE)
    assert kinds(adapt) == ["cut", "raise", "rollback", "cut"]


def test_an_optimizer_that_makes_no_step_is_noticed() -> None:
    """A deep copy, which a search over hyperparameters makes of callbacks, has a copy of the optimizer, too."""
    model = tiny_model(SGD(0.1))
    adapt = copy.deepcopy(AdaptLROnPlateau("loss", optimizer=model.optimizer))
    with pytest.warns(UserWarning, match=r"made no step in the first epoch.*optimizer=\.\.\. with one of: 'optimizer'"):
        fit(model, adapt, epochs=3)


def test_where_an_optimizer_makes_no_step_those_in_a_dict_are_named_too() -> None:
    model = tiny_model(SGD(0.1))
    model.optimizers = {"g": SGD(0.1, name="of_g"), "d": SGD(0.1, name="of_d")}
    for optimizer in model.optimizers.values():
        optimizer.build(model.trainable_variables)
    with pytest.warns(UserWarning, match=r"with one of: 'optimizer', the optimizer named 'of_g'\."):
        fit(model, AdaptLROnPlateau("loss", optimizer=model.optimizers["d"]), epochs=2)


@pytest.mark.long
def test_the_example_of_a_gan_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = example("gan.py")
    monkeypatch.setitem(script["train"].__globals__, "EPOCHS", 2)  # Enough for nothing but to see that it runs.
    script["main"]()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["a rate that stays", "AdaptLROnPlateau"]


# --- a loop of one's own ---------------------------------------------------------------------------------------------


def test_the_example_of_a_loop_without_fit_prints_its_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    example("custom_loop.py")["main"]()
    diverged, *others, result = capsys.readouterr().out.splitlines()
    assert diverged.startswith("epoch 2: diverged: learning rate 5 -> 0.15, weights back to before training")
    assert others
    assert all(": cut: learning rate" in line for line in others)
    first, last = (float(word) for word in result.split() if word[0].isdigit())
    assert first > 1e10
    assert last < 0.01


def test_a_loop_without_fit_decides_as_fit_does(tmp_path: Path) -> None:
    """The same model, optimizer and batches; a rollback in both."""
    train = example("custom_loop.py")["train"]
    data = noise()
    found = []
    for by_hand in (True, False):
        model, optimizer = tiny_model(SGD(0.3)), SGD(0.3)
        if by_hand:
            model = keras.Sequential([keras.Input((4,)), *model.layers])
            assert not model.compiled
        adapt = AdaptLROnPlateau(
            "loss", **ONE_RAISE, min_delta=1e9, log_dir=tmp_path, optimizer=optimizer if by_hand else None
        )
        if by_hand:
            train(model, optimizer, adapt, data["x"], data["y"], epochs=10, batch_size=8)
        else:
            fit(model, adapt, x=data["x"], y=data["y"], epochs=10, batches=2)
        found.append((timeline(adapt), model.get_weights()))
    assert "rollback" in [kind for _, kind, _ in found[0][0]]
    assert found[0][0] == found[1][0]
    for weight, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4)
    runs = runs_in(tmp_path)
    assert decided(runs[0]) == decided(runs[1]) == [(epoch, kind) for epoch, kind, _ in found[0][0]]


def test_a_loop_without_fit_needs_an_optimizer() -> None:
    adapt = AdaptLROnPlateau("loss")
    adapt.set_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
    with pytest.raises(TypeError, match=r"needs a compiled Keras optimizer.*Received: None"):
        adapt.on_train_begin()
