"""`state_dict` and `load_state_dict`: from one's own checkpoints, training goes on as if it had not stopped."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from conftest import at_epoch_end, compile_model, everything, fit, kinds, only, read_scalars, scripted, tiny_model
from keras.optimizers import SGD, Adam
from keras.optimizers.schedules import ExponentialDecay

from keras_lrplateau import AdaptLROnPlateau

NAN = math.nan

LIFE = [1.0, 0.5, *[2.0] * 8, 0.4, *[2.0] * 5, 0.3, 0.2, 0.1, 0.05, NAN, 0.04, 2.0]
"""With `RULE`: cuts, a raise that fails and one that succeeds, and a divergence."""

RULE = {"factor": 0.01, "patience": 1, "raise_factor": 2.0, "raise_after": 1, "max_raises": 3}

SEARCHED = [1.0, 0.9, 0.7, 0.8, 0.6, 0.5, 0.5, 0.45, 0.46, *[0.44] * 2, *[0.43] * 2, *[0.42] * 2, *[0.41] * 5]

EPOCHS = range(0, 17, 1 if keras.backend.backend() == "torch" else 4)
"""After which the training is stopped; in each where a fit starts quickly."""

MAKERS: dict[str, tuple[Callable[..., Any], list[float]]] = {
    "default": (lambda **arguments: AdaptLROnPlateau(**RULE, **arguments), LIFE),
    "without copies": (lambda **arguments: AdaptLROnPlateau(**RULE, rollback=False, recover=False, **arguments), LIFE),
    "on disk only": (lambda **arguments: AdaptLROnPlateau(**RULE, rollback="disk", **arguments), LIFE),
    "auto": (AdaptLROnPlateau.auto, SEARCHED),
}


class Checkpoint(keras.callbacks.Callback):
    """What people write: the weights, the optimizer and our state, in each epoch; here of one epoch."""

    def __init__(self, adapt: Any, epoch: int) -> None:
        super().__init__()
        self.adapt, self.epoch = adapt, epoch
        self.state = ""
        self.values: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            self.state = json.dumps(self.adapt.state_dict(), allow_nan=False)
            self.values = [keras.ops.convert_to_numpy(each) for each in variables_of(self.model)]


class StopError(Exception):
    """Stands for the end of the process."""


def variables_of(model: Any) -> list[Any]:
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]


def train(adapt: Any, values: list[float], *others: Any, model: Any = None, **arguments: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = tiny_model(Adam(0.1)) if model is None else model
    left = values[arguments.get("initial_epoch", 0) :]
    fit(model, scripted(*left), adapt, *others, epochs=len(values), **arguments)
    return model


def stopped(make: Any, values: list[float], epoch: int, end: int | None = None, **arguments: Any) -> Checkpoint:
    """Train until the end of an epoch, or of a later one."""

    def stop(at: int, logs: Any) -> None:
        if at == (epoch if end is None else end):
            raise StopError

    adapt = make(**arguments)
    checkpoint = Checkpoint(adapt, epoch)
    with pytest.raises(StopError):
        train(adapt, values, checkpoint, at_epoch_end(stop))
    return checkpoint


def resumed(make: Any, values: list[float], checkpoint: Checkpoint, **arguments: Any) -> tuple[Any, Any]:
    """Go on in what stands for a new process."""
    model = tiny_model(Adam(0.1))
    model.optimizer.build(model.trainable_variables)
    for variable, value in zip(variables_of(model), checkpoint.values, strict=True):
        variable.assign(value)
    model.optimizer.learning_rate = 123.0  # The state says what it is.
    adapt = make(**arguments)
    adapt.load_state_dict(json.loads(checkpoint.state))
    assert adapt.next_epoch == checkpoint.epoch + 1
    train(adapt, values, model=model, initial_epoch=adapt.next_epoch)
    return adapt, model


# --- going on exactly ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("epoch", only([4], EPOCHS))
def test_training_goes_on_as_if_it_had_not_stopped(name: str, epoch: int, tmp_path: Path) -> None:
    make, values = MAKERS[name]
    whole = make(log_dir=tmp_path / "whole")
    expected = train(whole, values)
    checkpoint = stopped(make, values, epoch, log_dir=tmp_path / "logs")
    adapt, model = resumed(make, values, checkpoint, log_dir=tmp_path / "logs")
    assert repr(adapt.decisions) == repr(whole.decisions)
    assert adapt.state == whole.state
    assert list(everything(model).values()) == list(everything(expected).values())
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["lr_plateau"]
    assert len(whole.decisions) > 3


@pytest.mark.filterwarnings("ignore:AdaptLROnPlateau goes on from a state_dict")
@pytest.mark.parametrize("name", ["default", "without copies", "auto"])
@pytest.mark.parametrize("epoch", only([8], EPOCHS))
def test_without_any_files_the_decisions_are_the_same(name: str, epoch: int) -> None:
    make, values = MAKERS[name]
    whole = make()
    train(whole, values)
    adapt, _ = resumed(make, values, stopped(make, values, epoch))
    assert repr(adapt.decisions) == repr(whole.decisions)


@pytest.mark.backends
def test_a_schedule_goes_on_with_its_multiplier() -> None:
    def scheduled() -> Any:
        return tiny_model(SGD(ExponentialDecay(0.1, 10, 0.9)))

    def make() -> Any:
        return AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, recover=False)

    values = [1.0] * 8
    whole = make()
    train(whole, values, model=scheduled())
    first = make()
    checkpoint = Checkpoint(first, 3)
    model = scheduled()
    train(first, values[:4], checkpoint, model=model)
    again = make()
    again.load_state_dict(checkpoint.adapt.state_dict())
    other = scheduled()
    other.optimizer.build(other.trainable_variables)
    other.optimizer.iterations.assign(model.optimizer.iterations)
    train(again, values, model=other, initial_epoch=4)
    assert kinds(whole) == ["cut"] * 7
    assert again.decisions == whole.decisions
    assert float(other.optimizer.learning_rate) == pytest.approx(0.1 * 0.9 ** (8 * 1 / 10) * 0.5**7, rel=0.3)


@pytest.mark.long
@pytest.mark.backends
def test_a_step_cadence_goes_on(tmp_path: Path) -> None:
    def make() -> Any:
        return AdaptLROnPlateau("loss", patience=2, factor=0.5, frequency=3, max_raises=0, recover=False)

    whole = make()
    expected = train(whole, [0.0] * 6, batches=4)
    adapt = make()
    checkpoint = Checkpoint(adapt, 2)
    train(adapt, [0.0] * 3, checkpoint, batches=4)
    model = tiny_model(Adam(0.1))
    model.optimizer.build(model.trainable_variables)
    for variable, value in zip(variables_of(model), checkpoint.values, strict=True):
        variable.assign(value)
    again = make()
    again.load_state_dict(json.loads(checkpoint.state))
    train(again, [0.0] * 6, model=model, batches=4, initial_epoch=3)
    assert again.state == whole.state
    assert again.decisions == whole.decisions
    assert list(everything(model).values()) == list(everything(expected).values())


def test_a_loop_of_ones_own_goes_on_as_the_docstring_shows(tmp_path: Path) -> None:
    """It is killed twice."""
    values = LIFE

    def run(last: int) -> Any:
        keras.utils.set_random_seed(0)
        model = tiny_model(SGD(0.1))
        model.optimizer.build(model.trainable_variables)
        adapt = AdaptLROnPlateau(**RULE, mode="min", log_dir=tmp_path / "logs")
        adapt.set_model(model)
        first, path = 0, tmp_path / "checkpoint.json"
        if path.exists():
            model.load_weights(tmp_path / "checkpoint.weights.h5")
            adapt.load_state_dict(json.loads(path.read_text()))
            first = adapt.next_epoch
        adapt.on_train_begin()
        for epoch in range(first, last):
            adapt.on_epoch_begin(epoch)
            adapt.on_epoch_end(epoch, {"loss": 1.0, "val_loss": values[epoch]})
            model.save_weights(tmp_path / "checkpoint.weights.h5")
            path.write_text(json.dumps(adapt.state_dict()))
        return adapt

    firsts = [run(4), run(13)]
    adapt = run(len(values))
    assert [len(each.decisions) for each in firsts] < [len(adapt.decisions)]
    whole = AdaptLROnPlateau(**RULE, mode="min")
    whole.set_model(tiny_model(SGD(0.1)))
    whole.on_train_begin()
    for epoch, value in enumerate(values):
        whole.on_epoch_begin(epoch)
        whole.on_epoch_end(epoch, {"loss": 1.0, "val_loss": value})
    assert [(each.epoch, each.kind, each.rate) for each in adapt.decisions] == [
        (each.epoch, each.kind, each.rate) for each in whole.decisions
    ]
    assert {"cut", "raise", "success"} <= set(kinds(adapt))


def test_fits_that_each_count_from_zero_go_on_too() -> None:
    def make() -> Any:
        return AdaptLROnPlateau(patience=2, factor=0.5, max_raises=0, rollback=False, reset_on_train_begin=False)

    first, model = make(), tiny_model()
    for _ in range(3):
        fit(model, scripted(1.0), first, epochs=1)
    assert [(each.epoch, each.kind) for each in first.decisions] == [(2, "cut")]
    second = make()
    second.load_state_dict(first.state_dict())
    fit(model, scripted(1.0), second, epochs=1)
    assert [(each.epoch, each.kind) for each in second.decisions] == [(2, "cut")]
    fit(model, scripted(1.0), second, epochs=1)
    assert [(each.epoch, each.kind) for each in second.decisions] == [(2, "cut"), (4, "cut")]


# --- the dict itself -------------------------------------------------------------------------------------------------


def a_state(**arguments: Any) -> dict[str, Any]:
    adapt = AdaptLROnPlateau(**{"patience": 1, **arguments})
    fit(tiny_model(), scripted(1.0, 2.0, 2.0), adapt, epochs=3)
    found: dict[str, Any] = adapt.state_dict()
    return found


def test_the_dict_is_plain_and_the_same_after_a_way_through_json() -> None:
    state = a_state()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    again = AdaptLROnPlateau(patience=1)
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert again.next_epoch == 3


def test_there_is_no_state_before_the_first_epoch() -> None:
    adapt = AdaptLROnPlateau()
    with pytest.raises(RuntimeError, match="no state before the first epoch"):
        adapt.state_dict()
    assert adapt.next_epoch == 0


SETTINGS = {
    "monitor": "loss",
    "mode": "max",
    "factor": 0.3,
    "patience": 2,
    "min_delta": 0.01,
    "cooldown": 1,
    "min_lr": 1e-7,
    "threshold_mode": "rel",
    "max_lr": 2.0,
    "raise_factor": 3.0,
    "raise_after": 5,
    "max_raises": 6,
    "recover": False,
    "rollback": False,
    "rollback_on_cut": True,
    "frequency": 10,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_is_an_error_that_names_both_values(name: str) -> None:
    state = a_state()
    adapt = AdaptLROnPlateau(**{"patience": 1, name: SETTINGS[name]})
    with pytest.raises(ValueError, match=f"other settings: .*{name}=.*, now .*{SETTINGS[name]!r}.*Match them"):
        adapt.load_state_dict(state)
    assert adapt.next_epoch == 0


@pytest.mark.parametrize("name", ["monitor", "mode", "min_lr", "max_lr", "budget"])
def test_so_it_is_in_auto_mode(name: str) -> None:
    first = AdaptLROnPlateau.auto()
    fit(tiny_model(), scripted(1.0, 2.0, 2.0), first, epochs=3)
    other = AdaptLROnPlateau.auto(**{name: {**SETTINGS, "budget": 0.5}[name]})
    with pytest.raises(ValueError, match=f"other settings: .*{name}=.*, now "):
        other.load_state_dict(first.state_dict())


def wider_model() -> Any:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    return compile_model(model, Adam(0.1), loss="mse")


def test_the_other_mode_is_an_error() -> None:
    state = a_state()
    with pytest.raises(ValueError, match="other settings"):
        AdaptLROnPlateau.auto().load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tiny_model(SGD(0.1)), "optimizer=.*Adam.*now .*SGD"),
        (wider_model, "weights=.*now "),
    ],
    ids=["optimizer", "size"],
)
def test_another_model_is_an_error_when_training_begins(make: Any, words: str) -> None:
    first = AdaptLROnPlateau(patience=1)
    fit(tiny_model(Adam(0.1)), scripted(1.0, 2.0), first, epochs=2)
    adapt = AdaptLROnPlateau(patience=1)
    adapt.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match=f"other settings: {words}"):
        fit(make(), scripted(1.0, 1.0, 1.0), adapt, epochs=3, initial_epoch=2)


def test_an_epoch_that_was_trained_already_is_an_error() -> None:
    adapt = AdaptLROnPlateau(patience=1)
    adapt.load_state_dict(a_state())
    with pytest.raises(ValueError, match=r"end of epoch 3, and training begins with epoch 1\. Pass initial_epoch=3"):
        fit(tiny_model(), scripted(1.0), adapt, epochs=5)


def test_epochs_that_are_missing_are_said() -> None:
    adapt = AdaptLROnPlateau(patience=1, recover=False, rollback=False)
    adapt.load_state_dict(a_state(recover=False, rollback=False))
    with pytest.warns(UserWarning, match="goes on in epoch 6, but its state_dict is of the end of epoch 3"):
        fit(tiny_model(), scripted(*[1.0] * 7), adapt, epochs=7, initial_epoch=5)


def test_a_state_that_is_loaded_during_training_needs_a_new_begin() -> None:
    adapt = AdaptLROnPlateau(patience=1)
    adapt.set_model(tiny_model())
    adapt.on_train_begin()
    adapt.on_epoch_begin(0)
    adapt.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    adapt.load_state_dict(adapt.state_dict())
    with pytest.raises(RuntimeError, match="call on_train_begin after load_state_dict"):
        adapt.on_epoch_begin(1)
    adapt.on_train_begin()
    adapt.on_epoch_begin(1)
    adapt.on_epoch_end(1, {"loss": 1.0, "val_loss": 1.0})
    assert kinds(adapt) == ["cut"]


SPOILT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a newer release": (lambda state: {**state, "version": 9}, "version 9; this release .* reads version 2"),
    "nothing": (lambda state: {}, "it has no version"),
    "a field too many": (lambda state: {**state, "more": 1}, r"unknown: \['more'\]"),
    "a field too few": (lambda state: {key: state[key] for key in state if key != "entry"}, r"Missing: \['entry'\]"),
    "epochs": (lambda state: {**state, "observed": ["one"]}, "observed must be an integer"),
    "no list": (lambda state: {**state, "observed": 3}, "observed must be a list"),
    "a rate": (lambda state: {**state, "entry": {**state["entry"], "adopted": "x"}}, "adopted must be a number"),
    "the rule's state": (lambda state: {**state, "entry": {**state["entry"], "state": {}}}, "load_state_dict needs"),
    "a decision": (lambda state: {**state, "decisions": [{}]}, "decision does not have the expected fields"),
    "a rule": (
        lambda state: {**state, "settings": {**state["settings"], "budget": 1.0}},
        "of the rule of the settings",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_state_is_an_error_and_changes_nothing(name: str) -> None:
    spoil, words = SPOILT[name]
    adapt = AdaptLROnPlateau(patience=1)
    good = a_state()
    spoilt = spoil(copy.deepcopy(good))
    with pytest.raises(ValueError, match=f"(?s)load_state_dict needs what state_dict returned: .*{words}|{words}"):
        adapt.load_state_dict(spoilt)
    assert adapt.next_epoch == 0
    adapt.load_state_dict(good)
    assert adapt.next_epoch == 3


@pytest.mark.parametrize("given", [None, "state.json", b"{}", [1], 3])
def test_what_is_no_dict_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match="load_state_dict needs what state_dict returned"):
        AdaptLROnPlateau().load_state_dict(given)


# --- what is on disk -------------------------------------------------------------------------------------------------


def test_copies_that_are_nowhere_are_said_and_stood_for() -> None:
    make = MAKERS["default"][0]
    checkpoint = stopped(make, LIFE, 4)  # In an excursion.
    with pytest.warns(UserWarning, match=r"holds no weights, and the copies .*raise.* are not on disk.*stand for them"):
        adapt, _ = resumed(make, LIFE, checkpoint)
    assert "rollback" in kinds(adapt)


def test_a_state_counts_for_more_than_the_state_file(tmp_path: Path) -> None:
    """A checkpoint from the middle is loaded, though the training in the log dir has gone on since."""
    make, values = MAKERS["without copies"]
    checkpoint = stopped(make, values, 3, 7, log_dir=tmp_path)
    again, _ = resumed(make, values, checkpoint, log_dir=tmp_path)
    whole = make()
    train(whole, values)
    assert repr(again.decisions) == repr(whole.decisions)
    (run,) = tmp_path.iterdir()
    assert list(read_scalars(run)["lr_plateau/val_loss"]) == list(range(len(values)))
