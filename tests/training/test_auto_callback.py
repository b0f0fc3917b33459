"""`AdaptLROnPlateau.auto` in real fits: what the rule decides is carried out, on whatever backend runs."""

import copy
import inspect
import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

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
    scripted,
    tiny_model,
    weight_of,
    without_rates,
)
from keras.optimizers import SGD, Adam
from keras.optimizers.schedules import ExponentialDecay

from keras_lrplateau import AdaptLROnPlateau, read, replay
from keras_lrplateau.rule import auto
from keras_lrplateau.rule.stretch import SHORTEST_TREND
from keras_lrplateau.training import resuming
from keras_lrplateau.training.snapshots import Snapshots

long = pytest.mark.long


def linear_model(optimizer: Any) -> Any:
    """Four weights, and a loss without noise."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    return compile_model(model, optimizer, compiled=True, loss="mse")


def learn(model: Any, *callbacks: Any, epochs: int, **arguments: Any) -> Any:
    """The answer is linear in the inputs; the untrained loss is about 16."""
    x, _ = data()
    y = x @ np.array([[3.0], [-2.0], [0.5], [-1.0]], "float32")
    return fit(model, *callbacks, epochs=epochs, x=x, y=y, validation_data=(x, y), **arguments)


SEARCH = [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
"""From 0.1: none of the other rates does anything."""

TRIED = [0.1, 1.0, 0.01, 0.001, 10**-0.5, 10**-1.5]

RAISE = [1.0 - 0.01 * i for i in range(1, SHORTEST_TREND + 1)]
"""After `SEARCH`: a good trend, and at its last value a raise."""


def rehearse(model: Any, adapt: Any, values: list[float], *others: Any, epochs: int = 100) -> Any:
    """A fit of `epochs`, stopped after `values`. Of a model that is not new: it has no loss before training."""
    fit(model)
    assert int(model.optimizer.iterations) > 0

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = model.stop_training or epoch + 1 == len(values)

    scripts = scripted(*values), scripted(*values, name="loss")
    return fit(model, *scripts, at_epoch_end(stop), *others, *([] if adapt in others else [adapt]), epochs=epochs)


def user_warnings(caught: Any) -> list[str]:
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


# --- decisions are carried out ---------------------------------------------------------------------------------------


@pytest.mark.backends
def test_every_trial_begins_with_the_untrained_weights_and_the_best_one_is_kept_bit_for_bit() -> None:
    adapt, before, after = AdaptLROnPlateau.auto(), Spy(), Spy()
    model = tiny_model(Adam(0.1), compiled=True)
    rehearse(model, adapt, [*SEARCH, 0.9], before.callback, adapt, after.callback)
    assert kinds(adapt)[:6] == ["search"] * 5 + ["settle"]
    start = without_rates(before.begins[0])
    for epoch in range(5):
        assert without_rates(before.ends[epoch]) != start, "the trial has trained"
        assert without_rates(after.ends[epoch]) == start
    assert adapt.decisions[5].restore == "best"
    assert without_rates(after.ends[5]) == without_rates(before.ends[0])


@pytest.mark.backends
def test_the_weight_moves_by_the_rate_of_each_trial_from_where_it_started() -> None:
    """A weight that each step moves by exactly the rate: 0.1, then from 0 again 1, and so on."""
    adapt, moved = AdaptLROnPlateau.auto(), []
    model = pushed_model(SGD(0.1))
    spy = at_epoch_end(lambda *_: moved.append(weight_of(model)))
    values = [*SEARCH, 0.9]
    script = [scripted(*(1e6 * value for value in values), name=name) for name in ("val_loss", "loss")]
    rates = push(model, *script, spy, adapt, epochs=7)["learning_rate"]
    assert kinds(adapt)[:2] == ["search", "settle"], "7 epochs have a budget of one trial"
    assert rates[:2] == pytest.approx([0.1, 1.0])
    assert moved[:2] == pytest.approx(rates[:2])
    assert moved[2] == pytest.approx(0.1 + rates[2]), "from the best of the two"


def test_the_rates_of_the_trials_are_those_of_the_history() -> None:
    adapt = AdaptLROnPlateau.auto()
    history = rehearse(tiny_model(SGD(0.1)), adapt, [*SEARCH, 0.9, 0.8])
    assert history["learning_rate"] == pytest.approx([*TRIED, 0.1, 0.1])


@pytest.mark.parametrize(
    ("rate", "batches"),
    [pytest.param(1e-8, 1, marks=long), (1e-8, 4), pytest.param(1e-5, 4, marks=long), (0.1, 1), (1e3, 4)],
)
def test_a_rate_wrong_by_orders_of_magnitude_ends_with_a_trained_model(rate: float, batches: int) -> None:
    """The training loss of a single batch is that before its update; then the search goes by the validation."""
    model = linear_model(SGD(rate))
    adapt = AdaptLROnPlateau.auto()
    history = learn(model, adapt, epochs=40, batches=batches)
    assert "settle" in kinds(adapt)
    assert history["val_loss"][-1] < 0.1
    assert 0.005 < max(decision.rate for decision in adapt.decisions if decision.kind == "settle") < 1
    assert history["learning_rate"][-1] < 0.1 * max(history["learning_rate"][20:28]), "annealed"
    assert len(history["loss"]) == 40


@pytest.mark.parametrize("make", only([SGD], [SGD, Adam]))
@pytest.mark.parametrize("monitor", only(["val_mae", "loss"], ["val_loss", "val_mae", "loss"]))
def test_a_rate_far_too_high_for_single_batches_is_left(monitor: str, make: Any) -> None:
    """By a single batch nothing can be searched for without validation; then it comes back from the divergence."""
    model = linear_model(make(1e4))
    model.compile(make(1e4), "mse", metrics=["mae"], jit_compile=False)
    untrained = learn(model, epochs=1)["loss"][0]
    model = linear_model(make(1e4))
    model.compile(make(1e4), "mse", metrics=["mae"], jit_compile=False)
    adapt = AdaptLROnPlateau.auto(monitor)
    history = learn(model, adapt, epochs=24)
    assert history["val_loss"][0] > 1e6, "ruined"
    assert ("search" if monitor.startswith("val_") else "diverged") in kinds(adapt)
    assert history["val_loss"][-1] < untrained


@pytest.mark.parametrize("monitor", ["val_loss", "val_mae"])
def test_a_rate_that_trains_but_fails_in_validation_gives_way_to_a_lower_one(monitor: str, tmp_path: Path) -> None:
    """As where batch normalisation is thrown off: the training loss is fine, and the metric may be."""
    model = tiny_model(SGD(0.01), metrics=["mae"])
    adapt = AdaptLROnPlateau.auto(monitor, log_dir=tmp_path)
    validation = scripted(1e3, *[0.5] * 9)
    x, y = (np.tile(each, (10, 1)) for each in data())
    fit(model, validation, adapt, epochs=10, x=x, y=y, batch_size=ROWS, validation_data=data())
    first, *_ = adapt.decisions
    assert (first.kind, first.rate) == ("search", pytest.approx(1e-3))
    assert "and a validation loss of 1000" in first.reason
    (settled,) = [decision for decision in adapt.decisions if decision.kind == "settle"]
    assert settled.rate == pytest.approx(1e-3)
    assert "(bad in validation)" in settled.reason
    (recording,) = read(tmp_path)
    replayed = replay(recording, auto.Config(), monitor).decisions
    assert [(decision.epoch, decision.kind) for decision in replayed] == [
        (decision.epoch, decision.kind) for decision in adapt.decisions
    ]


SCALED = pytest.mark.skipif(keras.backend.backend() == "jax", reason="traces its steps, which takes long")


def learn_scaled(rate: float, scale: float, *callbacks: Any, batches: int) -> tuple[list[float], float]:
    """The validation losses of a fit with loss scaling, and the loss before it."""
    model = linear_model(None)
    model.compile(keras.optimizers.LossScaleOptimizer(Adam(rate), initial_scale=scale), "mse", jit_compile=False)
    x, _ = data()
    before = model.evaluate(x, x @ np.array([[3.0], [-2.0], [0.5], [-1.0]], "float32"), verbose=0)
    return learn(model, *callbacks, epochs=24, batches=batches)["val_loss"], before


@SCALED
@pytest.mark.parametrize("batches", [1, 2])
def test_a_loss_scale_that_begins_too_high_is_held_against_no_rate(batches: int) -> None:
    """Its steps are skipped until it is low enough, whatever the rate. Then the search begins from those weights."""
    adapt = AdaptLROnPlateau.auto()
    skipping: list[float] = []
    watch = at_epoch_end(lambda epoch, logs: skipping.append(float(adapt.model.optimizer.dynamic_scale)))
    after, before = learn_scaled(0.1, 2.0**127, adapt, watch, batches=batches)
    assert skipping[0] < 2.0**127, "steps were skipped"
    assert "search" in kinds(adapt)
    assert not any("skipped" in decision.reason for decision in adapt.decisions)
    assert after[-1] < 0.2 * before


@SCALED
@pytest.mark.parametrize("batches", only([2, 4], [1, 2, 3, 4]))
@pytest.mark.parametrize("monitor", only(["loss"], ["val_loss", "loss"]))
def test_rates_at_which_steps_overflow_are_left(monitor: str, batches: int) -> None:
    """A step that is far too large, and then none any more: of two batches, the training loss knows nothing of it."""
    adapt = AdaptLROnPlateau.auto(monitor)
    after, before = learn_scaled(1e3, 2.0**122, adapt, batches=batches)
    assert after[0] > 1e3 * before, "ruined"
    assert after[-1] < before


def test_by_the_loss_of_single_batches_nothing_can_be_searched_for() -> None:
    """The loss of each trial's batch is that of the untrained weights."""
    adapt = AdaptLROnPlateau.auto(monitor="loss")
    history = learn(linear_model(SGD(0.03)), adapt, epochs=40)
    assert history["loss"][0] > 2 * history["loss"][10], "it trains"
    assert kinds(adapt)[0] == "settle"
    assert adapt.decisions[0].rate == 0.03
    assert adapt.budget > 0


def test_a_failed_raise_is_rolled_back_bit_for_bit() -> None:
    adapt, before, after = AdaptLROnPlateau.auto(), Spy(), Spy()
    values = [*SEARCH, *RAISE, *[1.0] * auto.RAISE_LENGTH, 1.0]
    history = rehearse(tiny_model(Adam(0.1), compiled=True), adapt, values, before.callback, adapt, after.callback)
    assert kinds(adapt)[6:8] == ["raise", "rollback"]
    raised, failed = adapt.decisions[6].epoch, adapt.decisions[7].epoch
    assert failed == raised + auto.RAISE_LENGTH
    assert without_rates(before.ends[failed]) != without_rates(before.ends[raised])
    assert without_rates(after.ends[failed]) == without_rates(before.ends[raised])
    rates = history["learning_rate"][raised : failed + 2]
    assert rates == pytest.approx([0.1, *[0.1 * auto.RAISE] * auto.RAISE_LENGTH, 0.1])


@pytest.mark.backends
@pytest.mark.parametrize(("last", "goes_back"), [(0.81, False), (0.83, True)])
def test_a_climb_keeps_what_was_trained_unless_the_training_loss_did_not_fall(last: float, goes_back: bool) -> None:
    adapt, before, after = AdaptLROnPlateau.auto(), Spy(), Spy()
    model, values = tiny_model(Adam(0.1), compiled=True), [*SEARCH, 0.9, 0.82, last, 0.8]
    history = rehearse(model, adapt, values, before.callback, adapt, after.callback, epochs=40)
    assert kinds(adapt)[6:] == ["raise", "success", "rollback"]
    raised, failed = adapt.decisions[7].epoch, adapt.decisions[8].epoch
    assert failed == raised + 1
    assert without_rates(before.ends[failed]) != without_rates(before.ends[raised])
    assert without_rates(after.ends[failed]) == without_rates(before.ends[raised if goes_back else failed])
    assert history["learning_rate"][-4:] == pytest.approx([0.1, 0.3, 0.9, 0.3])


def test_from_a_rate_a_thousand_times_too_low_it_climbs_in_ten_epochs() -> None:
    adapt = AdaptLROnPlateau.auto()
    losses = learn(linear_model(SGD(1e-4)), adapt, epochs=10)["loss"]
    assert kinds(adapt).count("search") == 2
    assert "success" in kinds(adapt)
    assert losses[-1] < 0.7 * learn(linear_model(SGD(1e-4)), epochs=10)["loss"][-1]


@pytest.mark.backends
@pytest.mark.parametrize(("last", "epoch"), [(0.908, 5), (0.91, 1)])
def test_the_weights_at_the_end_are_the_best_ones_where_the_last_ones_are_a_hundredth_worse(
    last: float, epoch: int
) -> None:
    adapt, before = AdaptLROnPlateau.auto(budget=0.0), Spy()
    model = tiny_model(Adam(0.1), compiled=True)
    rehearse(model, adapt, [1.0, 0.9, 5.0, 6.0, 5.0, last], before.callback, adapt, epochs=6)
    assert adapt.state.best == 0.9
    assert (adapt.decisions[-1].kind == "rollback") == (epoch == 1)
    assert without_rates(everything(model)) == without_rates(before.ends[epoch])


def test_a_nan_goes_back_to_the_best_weights_with_a_tenth_of_the_rate() -> None:
    adapt, spy = AdaptLROnPlateau.auto(), Spy()
    rehearse(tiny_model(Adam(0.1)), adapt, [*SEARCH, 0.9, 0.95, math.nan], adapt, spy.callback)
    assert kinds(adapt)[6] == "diverged"
    assert adapt.decisions[6].rate == pytest.approx(0.1 * auto.HARD_CUT)
    assert without_rates(spy.ends[7]) != without_rates(spy.ends[6])
    assert without_rates(spy.ends[8]) == without_rates(spy.ends[6])


def test_weights_that_exploded_as_a_training_metric_was_best_are_compared_with_the_untrained_ones() -> None:
    """The mean over the epoch was fine. Compared with a copy of themselves they have not grown."""
    model = tiny_model()
    adapt = AdaptLROnPlateau.auto("loss", budget=0.0)

    def explode(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 2
        if epoch == 1:
            model.set_weights([1000 * weight for weight in model.get_weights()])

    losses = scripted(1.0, 0.9, math.nan, name="loss", spoils=False)
    fit(model, losses, at_epoch_end(explode), adapt, epochs=20)
    assert adapt.state.best == 0.9
    assert kinds(adapt)[:2] == ["settle", "diverged"]
    assert adapt.decisions[1].restore == "best"


def test_no_fourth_snapshot_is_ever_held_and_none_outlives_the_training(copies: Any) -> None:
    held: list[int] = []
    adapt = AdaptLROnPlateau.auto()
    flat = [1.1] * 2 * SHORTEST_TREND
    rehearse(tiny_model(), adapt, [*SEARCH, *flat], at_epoch_end(lambda *_: held.append(copies())))
    assert "raise" in kinds(adapt)
    assert max(*copies.taken, *(count - 1 for count in held)) == 2
    assert copies() == 0


# --- the length of the training --------------------------------------------------------------------------------------


def annealed(adapt: Any) -> list[int]:
    return [decision.epoch for decision in adapt.decisions if decision.kind == "anneal"]


@pytest.mark.parametrize("first_epoch", [0, 7])
def test_the_last_part_is_annealed_to_zero(first_epoch: int) -> None:
    adapt = AdaptLROnPlateau.auto(budget=0.0)
    history = learn(linear_model(SGD(0.01)), adapt, epochs=first_epoch + 20, initial_epoch=first_epoch)
    tail = 20 - round(20 * (1 - auto.TAIL))
    assert annealed(adapt) == [first_epoch + 20 - tail - 1 + i for i in range(tail)]
    rates = history["learning_rate"]
    assert rates[:-tail] == pytest.approx([0.01] * (20 - tail))
    assert rates[-tail:] == pytest.approx([0.01 * (tail - 0.5 - i) / tail for i in range(tail)])


def test_with_validation_in_every_third_epoch_the_annealing_is_that_of_a_third_of_the_observations() -> None:
    adapt = AdaptLROnPlateau.auto(budget=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        history = learn(linear_model(SGD(0.01)), adapt, epochs=31, validation_freq=3)
    assert user_warnings(caught) == []
    assert adapt.state.observations == len(history["val_loss"]) == 10
    tail = 10 - round(10 * (1 - auto.TAIL))
    assert annealed(adapt) == [30 - 3 * tail - 1 + 3 * i for i in range(tail)]
    assert history["learning_rate"][-1] == pytest.approx(0.01 * 0.5 / tail)


@pytest.mark.parametrize(
    ("rate", "left"), [(1e-4, pytest.approx(0.986, abs=0.01)), (0.03, pytest.approx(0.02, abs=0.03)), (1e4, 1.0)]
)
def test_a_fit_of_five_epochs_tries_one_more_rate_anneals_and_ends_with_sound_weights(rate: float, left: Any) -> None:
    """By the share of the loss that is left. From 1e4 every rate breaks that five epochs have room for."""
    model, x = linear_model(SGD(rate)), data()[0]
    y = x @ np.array([[3.0], [-2.0], [0.5], [-1.0]], "float32")
    before = model.evaluate(x, y, verbose=0)
    adapt = AdaptLROnPlateau.auto()
    history = learn(model, adapt, epochs=5, batches=16)
    assert len(history["loss"]) == 5
    assert kinds(adapt).count("search") == 1, "a quarter of five"
    assert "anneal" in kinds(adapt)
    assert model.evaluate(x, y, verbose=0) / before == left


def test_a_fit_of_one_epoch_keeps_what_was_trained() -> None:
    model, spy = linear_model(SGD(0.01)), Spy()
    adapt = AdaptLROnPlateau.auto()
    learn(model, spy.callback, adapt, epochs=1)
    assert kinds(adapt) == ["settle"]
    assert without_rates(everything(model)) == without_rates(spy.ends[0]) != without_rates(spy.begins[0])


def test_a_budget_of_zero_uses_the_rate_given() -> None:
    adapt = AdaptLROnPlateau.auto(budget=0.0)
    history = learn(linear_model(SGD(0.003)), adapt, epochs=10)
    assert history["learning_rate"][:7] == pytest.approx([0.003] * 7)
    assert kinds(adapt)[0] == "settle"
    assert not {"search", "raise"} & set(kinds(adapt))


def test_max_lr_protects_from_any_higher_rate() -> None:
    adapt = AdaptLROnPlateau.auto(max_lr=1e-3)
    history = learn(linear_model(SGD(1e-4)), adapt, epochs=40)
    assert max(history["learning_rate"]) == pytest.approx(1e-3)


# --- several fits, copies --------------------------------------------------------------------------------------------


def test_a_second_fit_starts_afresh() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau.auto()
    rehearse(model, adapt, [*SEARCH, 0.9])
    first = kinds(adapt)
    assert adapt.state.observations == 7
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    history = rehearse(model, adapt, [*SEARCH, 0.9])
    assert kinds(adapt) == first
    assert adapt.state.observations == 7
    assert history["learning_rate"][0] == pytest.approx(rate)


ARGUMENTS = {
    "monitor": "val_accuracy",
    "mode": "max",
    "min_lr": 1e-6,
    "max_lr": 2.0,
    "budget": 0.125,
    "log_dir": "logs",
    "verbose": 1,
    "rollback": "disk",
    "state_path": "state.json",
    "frequency": 50,
    "optimizer": "d_optimizer",
    "sinks": None,
    "on_decision": None,
    "hparams": {"layers": 3},
}


@pytest.mark.parametrize("again", [False, True])
def test_a_second_fit_of_a_trained_model_trains_it_on(again: bool) -> None:
    """Whatever rate trains such weights at all raises their loss at first, and one that does nothing does not."""
    model = linear_model(Adam(0.1))
    x, _ = data()
    y = x @ np.array([[3.0], [-2.0], [0.5], [-1.0]], "float32") + np.random.default_rng(1).normal(size=(len(x), 1))
    rows = {"x": x, "y": y.astype("float32"), "batch_size": 2}
    fit(model, AdaptLROnPlateau.auto("loss"), epochs=24, **rows)
    if again:
        compile_model(model, Adam(0.1), loss="mse")
    model.optimizer.learning_rate = 0.1
    adapt = AdaptLROnPlateau.auto("loss")
    rates = fit(model, adapt, epochs=24, **rows)["learning_rate"]
    (settled,) = (each for each in adapt.decisions if each.kind == "settle")
    assert min(rates[: settled.epoch]) < 2e-3, "it has tried rates that do nothing"
    assert settled.rate >= 0.01


def test_it_is_made_again_from_its_configuration() -> None:
    defaults = {p.name: p.default for p in inspect.signature(AdaptLROnPlateau.auto).parameters.values()}
    assert ARGUMENTS.keys() == defaults.keys()
    config = json.loads(json.dumps(AdaptLROnPlateau.auto(**ARGUMENTS).get_config()))
    assert config == ARGUMENTS
    again = AdaptLROnPlateau.from_config(config)
    assert again.get_config() == ARGUMENTS
    assert again.budget == ARGUMENTS["budget"]
    assert AdaptLROnPlateau.from_config(AdaptLROnPlateau.auto().get_config()).get_config() == defaults


def test_a_configuration_does_not_change_in_a_fit() -> None:
    adapt = AdaptLROnPlateau.auto()
    before = adapt.get_config()
    learn(linear_model(SGD(0.01)), adapt, epochs=3)
    assert adapt.get_config() == before


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda adapt: pickle.loads(pickle.dumps(adapt))])
def test_copies_are_on_their_own(duplicate: Any) -> None:
    original = AdaptLROnPlateau.auto(max_lr=5.0)
    copies = [duplicate(original) for _ in range(2)]
    rehearse(tiny_model(), copies[0], [*SEARCH, 0.9])
    assert [len(adapt.decisions) > 0 for adapt in (original, *copies)] == [False, True, False]
    assert copies[1].get_config() == original.get_config()
    expected = AdaptLROnPlateau.auto(max_lr=5.0)
    rehearse(tiny_model(), expected, [*SEARCH, 0.9])
    assert copies[0].decisions == expected.decisions


def test_a_copy_made_in_the_search_has_its_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Snapshots] = []
    copies: list[Any] = []

    def make(*arguments: Any) -> Snapshots:
        made.append(Snapshots(*arguments))
        return made[-1]

    def duplicate(epoch: int, logs: Any) -> None:
        if epoch == 1:
            copies.append(copy.deepcopy(made[-1]))

    monkeypatch.setattr(resuming, "Snapshots", make)
    adapt = AdaptLROnPlateau.auto()
    rehearse(tiny_model(), adapt, [*SEARCH, 0.9], adapt, at_epoch_end(duplicate))
    assert set(copies[0]) == {"start", "best"}


# --- beside other callbacks ------------------------------------------------------------------------------------------

EITHER_ORDER = pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])


def in_order(first: bool, other: Any, adapt: Any) -> tuple[Any, Any]:
    return (other, adapt) if first else (adapt, other)


@pytest.mark.filterwarnings("ignore:AdaptLROnPlateau. EarlyStopping")
@EITHER_ORDER
@pytest.mark.parametrize("stops_in", ["excursion from a good trend", "excursion from a flat one", "hold"])
def test_the_weights_that_early_stopping_restores_stay(first: bool, stops_in: str) -> None:
    model, spy = tiny_model(Adam(0.1), compiled=True), Spy()
    adapt = AdaptLROnPlateau.auto()
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True, start_from_epoch=len(SEARCH))
    values = {
        "excursion from a good trend": [*SEARCH, *RAISE, 3.0, 3.0, 3.0],
        "excursion from a flat one": [*SEARCH, 0.95, *[0.5 - 0.01 * i for i in range(4)], *[0.6, 0.7, 0.8]],
        "hold": [*SEARCH, 0.9, 0.8, 2.0, 2.0, 2.0],
    }[stops_in]
    history = rehearse(model, adapt, values, spy.callback, *in_order(first, stopping, adapt))
    assert stopping.stopped_epoch == len(history["loss"]) - 1 < 99
    if stops_in == "excursion from a good trend":
        assert kinds(adapt)[-2:] == ["raise", "rollback"]
    best = int(np.argmin([math.inf] * len(SEARCH) + history["val_loss"][len(SEARCH) :]))
    for weight, kept in zip(model.get_weights(), spy.weights[best], strict=True):
        np.testing.assert_array_equal(weight, kept)


@pytest.mark.filterwarnings("ignore:AdaptLROnPlateau. LearningRateScheduler sets")
def test_a_scheduler_that_sets_the_rate_is_noticed_and_ends_the_search() -> None:
    adapt = AdaptLROnPlateau.auto()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.02)
    with pytest.warns(UserWarning, match="Something else sets the learning rate") as caught:
        history = learn(linear_model(SGD(0.1)), scheduler, adapt, epochs=10)
    assert [each for each in user_warnings(caught) if "the rate was found at 0.02" in each]
    assert history["learning_rate"] == pytest.approx([0.02] * 10)
    assert "override" in kinds(adapt)


def test_a_schedule_is_scaled() -> None:
    """A schedule a thousand times too low; every rate is its own times the multiplier."""
    schedule = ExponentialDecay(1e-4, decay_steps=4, decay_rate=0.98)
    model, adapt = linear_model(SGD(schedule)), AdaptLROnPlateau.auto()
    history = learn(model, adapt, epochs=40, batches=4)
    settled = next(decision for decision in adapt.decisions if decision.kind == "settle")
    assert settled.rate >= 100
    assert adapt.decisions[0].rate_before == 1.0, "a multiplier"
    assert history["val_loss"][-1] < 0.1
    # A trial goes back to the first step of the schedule, too.
    assert history["learning_rate"][0] == pytest.approx(1e-4 * 0.98)
    assert history["learning_rate"][1] == pytest.approx(1e-3 * 0.98)


def test_a_schedule_that_falls_below_min_lr_is_not_taken_up_to_it() -> None:
    """From 0.1 down by 0.5 an epoch; the multiplier that min_lr allows grows without end."""
    schedule = ExponentialDecay(0.02, decay_steps=1, decay_rate=0.5)
    adapt = AdaptLROnPlateau.auto(min_lr=1e-3, budget=0.0)
    history = learn(linear_model(SGD(schedule)), adapt, epochs=20)
    assert history["learning_rate"][-1] < 1e-6
    assert all(decision.rate <= 1.0 for decision in adapt.decisions)


# --- reports ---------------------------------------------------------------------------------------------------------


def test_each_decision_is_printed_once_and_annealing_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    adapt = AdaptLROnPlateau.auto(verbose=1)
    learn(linear_model(SGD(1e-3)), adapt, epochs=30)
    lines = [text for text in capsys.readouterr().out.splitlines() if text]
    assert len(annealed(adapt)) > 1
    news = [each for each in adapt.decisions if each.kind != "anneal" or each.epoch == annealed(adapt)[0]]
    assert lines == [f"Epoch {each.epoch + 1}: AdaptLROnPlateau {each.describe('learning rate')}" for each in news]
    assert lines[0].startswith("Epoch 1: AdaptLROnPlateau search: learning rate 0.001 -> 0.01, weights back to before")


def test_verbose_0_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    adapt = AdaptLROnPlateau.auto()
    learn(linear_model(SGD(1e-4)), adapt, epochs=10)
    assert len(adapt.decisions) > 3
    assert capsys.readouterr().out == ""


def last_records(run_dir: Path) -> list[Any]:
    """The records of an event file, of each epoch the last one."""
    records = {record.epoch: record for record in read_records(run_dir)}
    return [records[epoch] for epoch in sorted(records)]


@pytest.mark.parametrize("kind", ["natural", "scripted"])
def test_all_decisions_are_in_the_event_file(tmp_path: Path, kind: str) -> None:
    adapt = AdaptLROnPlateau.auto(log_dir=tmp_path)
    if kind == "natural":
        history = learn(linear_model(SGD(1e-3)), adapt, epochs=30)
        assert {"search", "settle", "anneal"} <= set(kinds(adapt))
    else:
        values = [*SEARCH, *RAISE, *[1.0] * 6, math.nan, *[1.0] * 40]
        history = rehearse(tiny_model(), adapt, values, epochs=200)
        assert {"search", "settle", "raise", "rollback", "diverged", "cut"} <= set(kinds(adapt))
    found = last_records(tmp_path / "lr_plateau")
    decisions = [decision for record in found for decision in record.decisions]
    assert list(map(repr, decisions)) == list(map(repr, adapt.decisions))  # repr, since nan != nan
    assert repr(found) == repr(adapt.run.records)
    assert {"searching", "holding", "annealing" if kind == "natural" else "in excursion"} <= {x.status for x in found}
    # Each epoch had an observation.
    plateaus = [(each.since - 1, each.since_epoch) for each in decisions if each.since is not None]
    assert [first for first, _ in plateaus] == [epoch for _, epoch in plateaus]
    assert plateaus or kind == "natural"
    assert [each.since_epoch for each in decisions if each.since is None] == [None] * (len(decisions) - len(plateaus))
    rates = read_scalars(tmp_path / "lr_plateau")["lr_plateau/learning_rate"]
    assert list(rates.values()) == pytest.approx(history["learning_rate"])


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_missing_metric_gives_one_warning_and_changes_nothing() -> None:
    adapt = AdaptLROnPlateau.auto(monitor="val_acuracy", mode="max")
    with pytest.warns(UserWarning, match=r"'val_acuracy'.*Available metrics: loss, val_loss") as caught:
        history = learn(linear_model(SGD(0.01)), adapt, epochs=4)
    assert len(user_warnings(caught)) == 1
    assert history["learning_rate"] == pytest.approx([0.01] * 4)
    assert adapt.decisions == []


def test_no_validation_at_all_gives_one_warning() -> None:
    """Not at the start, since another callback may bring the metric."""
    with pytest.warns(UserWarning, match=r"no validation so far.*validation_data.*monitor='loss'") as caught:
        fit(tiny_model(), at_epoch_end(lambda epoch, logs: None), AdaptLROnPlateau.auto(), epochs=5)
    assert len(user_warnings(caught)) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"budget": 1.5}, ValueError, ["budget", "from 0 to 1", "budget=1.5"]),
        ({"budget": "much"}, TypeError, ["budget='much'"]),
        ({"budget": math.nan}, ValueError, ["budget=nan"]),
        ({"min_lr": -0.1}, ValueError, ["min_lr=-0.1"]),
        ({"max_lr": 0.0}, ValueError, ["max_lr=0.0"]),
        ({"min_lr": 0.1, "max_lr": 0.01}, ValueError, ["max_lr=0.01", "min_lr=0.1"]),
        ({"monitor": ""}, TypeError, ["monitor"]),
        ({"mode": "up"}, ValueError, ["mode='up'"]),
        ({"verbose": -1}, ValueError, ["verbose=-1"]),
        ({"log_dir": 3}, TypeError, ["log_dir"]),
        ({"patience": 3}, TypeError, ["patience"]),
    ],
    ids=repr,
)
def test_a_mistaken_argument_is_named_at_once(arguments: Any, error: Any, words: list[str]) -> None:
    with pytest.raises(error) as raised:
        AdaptLROnPlateau.auto(**arguments)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("rate", "arguments", "words"), [(0.0, {}, "above 0"), (0.1, {"max_lr": 0.01}, r"max_lr=0\.01.*rate of 0\.1")]
)
def test_a_rate_that_it_cannot_start_from_fails_before_training(rate: float, arguments: Any, words: str) -> None:
    model = tiny_model(SGD(rate))
    with pytest.raises(ValueError, match=words):
        fit(model, AdaptLROnPlateau.auto(**arguments))
    assert int(model.optimizer.iterations) == 0


def test_numpy_scalars_are_accepted_as_search_libraries_hand_them_out() -> None:
    adapt = AdaptLROnPlateau.auto(budget=np.float32(0.5), min_lr=np.float64(1e-6), max_lr=np.float64(1.0))
    assert json.loads(json.dumps(adapt.get_config()))["budget"] == 0.5


def test_an_unbuilt_model_is_searched_for_too_or_a_warning_says_what_to_do() -> None:
    """Keras builds it before the callbacks begin, but for TensorFlow: there the untrained weights are not known."""
    layers = [keras.layers.Dense(3), keras.layers.Dense(1)]
    model = compile_model(keras.Sequential(layers), SGD(1e-6), compiled=True, loss="mse")
    x, y = data()
    adapt = AdaptLROnPlateau.auto()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fit(model, adapt, epochs=10, validation_data=(x, y), batch_size=ROWS)
    assert "search" in kinds(adapt)
    messages = user_warnings(caught)
    assert all("call model.build before model.fit" in message for message in messages)
    assert len(messages) == (keras.backend.backend() == "tensorflow")
