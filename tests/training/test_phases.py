"""Transfer learning as in the guide of Keras: feature extraction, then the model is compiled again with a lower rate.

A `fit` that begins at a later epoch after one that has ended is a new phase of one story: with its own search or wait
and its own yardstick, in one curve with a mark, and without a word about what we have removed ourselves. Warnings are
errors in all tests.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import (
    at_epoch_end,
    compile_model,
    data,
    fit,
    only,
    read_records,
    read_scalars,
    scripted,
    timeline,
    tiny_model,
)
from keras.optimizers import SGD, Adam

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.files import locks

RATES = (0.01, 1e-3, 1e-4)
"""Of the three phases: the head alone, then a part of the base, then all of it."""

EPOCHS = (8, 16, 24)
"""Where they end."""

MAKERS: dict[str, Callable[..., Any]] = {
    "default": lambda **arguments: AdaptLROnPlateau(patience=2, factor=0.5, **arguments),
    "auto": AdaptLROnPlateau.auto,
    "step cadence": lambda **arguments: AdaptLROnPlateau(
        "loss", patience=4, factor=0.5, frequency=2, recover=False, **arguments
    ),
}
MAKE = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
ONE_MAKE = pytest.mark.parametrize("maker", only(["default"], MAKERS))
LOG_DIR = pytest.mark.parametrize("log_dir", only([True], [True, False]), ids=["log_dir", "no log_dir"])


class Transfer:
    """A model with a base of two layers, frozen at first."""

    def __init__(self) -> None:
        keras.utils.set_random_seed(0)
        low = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu")])
        high = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
        self.base = [high, low]
        self.model = keras.Sequential([keras.Input((4,)), low, high, keras.layers.Dropout(0.1), keras.layers.Dense(1)])
        for layer in self.base:
            layer.trainable = False
        self.histories: list[Any] = []

    def train(self, phase: int, adapt: Any, first: int, *others: Any, batch_size: int = 8) -> Any:
        """Unfreeze what belongs to a phase, compile again, and train from an epoch on."""
        for layer in self.base[:phase]:
            layer.trainable = True
        jit = keras.backend.backend() == "jax"
        self.model.compile(
            keras.optimizers.RMSprop(RATES[phase]), "mse", run_eagerly=not jit, jit_compile=jit, metrics=["mae"]
        )
        x, y = data(32)
        found = self.model.fit(
            x, y, validation_data=(x[:8], y[:8]), epochs=EPOCHS[phase], initial_epoch=first,
            callbacks=[adapt, *others],
            batch_size=batch_size, verbose=0,
        )  # fmt: skip
        self.histories.append(found)
        return found


def marks(adapt: Any) -> list[int]:
    return [decision.epoch for decision in adapt.decisions if decision.kind == "phase"]


@MAKE
@pytest.mark.parametrize("goes_back", only([1], [0, 1]))
@LOG_DIR
def test_three_phases_are_one_story(make: Any, goes_back: int, log_dir: bool, tmp_path: Path) -> None:
    """The tutorial of TensorFlow goes back by one: the last epoch of a phase is trained again."""
    adapt = make(log_dir=tmp_path / "logs" if log_dir else None)
    transfer = Transfer()
    begins: list[int] = []
    for phase in range(3):
        first = EPOCHS[phase - 1] - goes_back if phase else 0
        begins.append(first)
        history = transfer.train(phase, adapt, first).history
        assert history["learning_rate"][0] == pytest.approx(RATES[phase])
    assert marks(adapt) == begins[1:]
    told = [decision.epoch for decision in adapt.decisions]
    assert told == sorted(told)
    rates = [decision.rate for decision in adapt.decisions if decision.kind == "phase"]
    assert rates == pytest.approx(RATES[1:])
    # What each phase has used, where the next one has not begun with the same epoch.
    used = {}
    for first, history in zip(begins, transfer.histories, strict=True):
        used |= dict(enumerate(history.history["learning_rate"], first))
    assert set(used) == set(range(EPOCHS[-1]))
    curve = adapt.run.curves["learning_rate"]
    assert dict(zip(curve.epochs, curve.values, strict=True)) == pytest.approx(used)
    assert curve.epochs == sorted(set(curve.epochs))
    if log_dir:
        (run,) = (tmp_path / "logs").iterdir()
        assert read_scalars(run)["lr_plateau/learning_rate"] == pytest.approx(used)
        kept = [decision for record in read_records(run) for decision in record.decisions]
        assert [decision.epoch for decision in kept if decision.kind == "phase"] == begins[1:]
    assert adapt.figure().data


@MAKE
def test_a_phase_in_a_new_process_goes_on_with_the_run_of_the_first(make: Any, tmp_path: Path) -> None:
    transfer = Transfer()
    for phase in range(3):
        adapt = make(log_dir=tmp_path)
        transfer.train(phase, adapt, EPOCHS[phase - 1] if phase else 0)
        assert marks(adapt) == ([EPOCHS[phase - 1]] if phase else [])
    (run,) = tmp_path.iterdir()
    used = [rate for history in transfer.histories for rate in history.history["learning_rate"]]
    assert read_scalars(run)["lr_plateau/learning_rate"] == pytest.approx(dict(enumerate(used)))
    kept = [decision for record in read_records(run) for decision in record.decisions]
    assert [decision.epoch for decision in kept if decision.kind == "phase"] == list(EPOCHS[:2])


@LOG_DIR
def test_auto_mode_searches_in_each_phase_and_within_its_bound(log_dir: bool, tmp_path: Path) -> None:
    transfer = Transfer()
    for phase in range(3):
        adapt = AdaptLROnPlateau.auto(max_lr=RATES[phase], log_dir=tmp_path if log_dir else None)
        # In epochs of sixteen steps each is a trial; in two steps of eight epochs there is no room for a second one.
        # Where the first one lowers the loss, none follows, since the bound bars the way up.
        history = transfer.train(phase, adapt, EPOCHS[phase - 1] if phase else 0, batch_size=1).history
        used = history["learning_rate"]
        assert used[0] == pytest.approx(RATES[phase])
        assert max(used) <= RATES[phase] * (1 + 1e-6)
        kinds = [decision.kind for decision in adapt.decisions]
        mark = ["phase"] if phase and log_dir else []
        assert kinds[: len(mark)] == mark
        assert kinds[len(mark)] in ("search", "settle")
        assert kinds.count("settle") == 1
        assert "override" not in kinds


@ONE_MAKE
@LOG_DIR
def test_phases_that_each_count_from_0_are_one_story_too(maker: str, log_dir: bool, tmp_path: Path) -> None:
    """The guide of Keras counts the epochs of each `fit` from 0; the curve goes on where the one before ended."""
    adapt = MAKERS[maker](log_dir=tmp_path if log_dir else None)
    transfer = Transfer()
    used: list[float] = []
    ends: list[int] = []
    for phase in range(3):
        history = transfer.train(phase, adapt, 0).history
        assert history["learning_rate"][0] == pytest.approx(RATES[phase])
        used += history["learning_rate"]
        ends.append(len(used))
        assert adapt.next_epoch == len(used)
    assert ends == [8, 8 + 16, 8 + 16 + 24]
    assert marks(adapt) == ends[:2]
    curve = adapt.run.curves["learning_rate"]
    assert dict(zip(curve.epochs, curve.values, strict=True)) == pytest.approx(dict(enumerate(used)))
    annealed = {each.epoch for each in adapt.decisions if each.kind == "anneal"}
    assert all(max(annealed) >= end - 2 and any(end - 6 < each < end for each in annealed) for end in ends if annealed)
    assert bool(annealed) == (maker == "auto")
    if log_dir:
        (run,) = tmp_path.iterdir()
        assert read_scalars(run)["lr_plateau/learning_rate"] == pytest.approx(dict(enumerate(used)))
        kept = [decision for record in read_records(run) for decision in record.decisions]
        assert [decision.epoch for decision in kept if decision.kind == "phase"] == ends[:2]
    assert adapt.figure().data


class CrashError(Exception):
    """Stands for the death of the process."""


@ONE_MAKE
@pytest.mark.parametrize(
    "died",
    [
        pytest.param(4, id="before as many epochs as the first phase had"),
        pytest.param(11, id="after more", marks=pytest.mark.long),
    ],
)
def test_a_phase_that_counts_from_0_goes_on_after_a_crash(maker: str, died: int, tmp_path: Path) -> None:
    """Its epochs are not those of the story; the count of steps tells which ones they are."""

    def crash(epoch: int, logs: Any) -> None:
        if epoch == died:
            raise CrashError

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)

    adapt, transfer = MAKERS[maker](log_dir=tmp_path / "logs"), Transfer()
    transfer.train(0, adapt, 0)
    with pytest.raises(CrashError):
        transfer.train(1, adapt, 0, backup(), at_epoch_end(crash))
    told = [(each.epoch, each.kind, each.rate) for each in adapt.decisions if each.epoch >= EPOCHS[0]]
    state = adapt.state
    again, transfer = MAKERS[maker](log_dir=tmp_path / "logs"), Transfer()
    begun: list[Any] = []
    look = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append((epoch, again.state)))
    history = transfer.train(1, again, 0, backup(), look)
    assert history.epoch == list(range(died + 1, EPOCHS[1]))
    assert begun[0] == (died + 1, state)
    assert [(each.epoch, each.kind, each.rate) for each in again.decisions][: len(told)] == told
    assert again.next_epoch == EPOCHS[0] + EPOCHS[1]
    assert any(each.kind == "anneal" for each in again.decisions) == (maker == "auto")
    (run,) = (tmp_path / "logs").iterdir()
    curve = read_scalars(run)["lr_plateau/learning_rate"]
    assert sorted(curve) == list(range(EPOCHS[0] + EPOCHS[1]))
    marked = [each.epoch for record in read_records(run) for each in record.decisions if each.kind == "phase"]
    assert marked == [EPOCHS[0]]


@LOG_DIR
def test_a_second_fit_of_the_same_compiled_model_is_a_training_of_its_own(log_dir: bool, tmp_path: Path) -> None:
    """As in Keras, each `fit` begins afresh. And so is one of another model, as in cross-validation."""
    adapt, model = AdaptLROnPlateau(log_dir=tmp_path if log_dir else None), tiny_model()
    for each in (model, model, tiny_model()):
        fit(each, scripted(1.0, 0.9), adapt, epochs=2)
        assert marks(adapt) == []
        assert adapt.run.curves["learning_rate"].epochs == [0, 1]
    names = ["lr_plateau", "lr_plateau_2", "lr_plateau_3"] if log_dir else []
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_yardstick_of_a_phase_is_its_own() -> None:
    """A best of the phase before, with another loss perhaps, would make each value of this one a plateau."""
    adapt, transfer = AdaptLROnPlateau("val_mae", patience=2, factor=0.5), Transfer()
    transfer.train(0, adapt, 0)
    assert adapt.run.best is not None
    transfer.model.layers[-1].kernel.assign(np.full((3, 1), 50.0))  # The second one begins far worse.
    history = transfer.train(1, adapt, EPOCHS[0]).history
    assert min(history["val_mae"]) > 2 * adapt.run.curves["val_mae"].values[EPOCHS[0] - 1]
    assert adapt.best == pytest.approx(min(history["val_mae"]))


# --- a phase that Ctrl-C has ended -----------------------------------------------------------------------------------


def interrupt_in(epoch_of_it: int) -> Any:
    def interrupt(epoch: int, logs: Any) -> None:
        if epoch == epoch_of_it:
            raise KeyboardInterrupt

    return keras.callbacks.LambdaCallback(on_epoch_begin=interrupt)


def interrupted(adapt: Any, epoch: int, *others: Any) -> Any:
    """A model whose training was interrupted at the beginning of an epoch."""
    model = tiny_model(SGD(0.1))
    with pytest.raises(KeyboardInterrupt):
        fit(model, *others, adapt, interrupt_in(epoch), epochs=9)
    assert adapt.next_epoch == epoch
    return model


@LOG_DIR
@pytest.mark.parametrize("first", only([3], [0, 3]))
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_model_that_is_compiled_again_after_ctrl_c_begins_a_new_phase(
    optimizer: Any, first: int, log_dir: bool, tmp_path: Path
) -> None:
    adapt = AdaptLROnPlateau("loss", log_dir=tmp_path if log_dir else None)
    model = interrupted(adapt, 3)
    compile_model(model, optimizer(1e-3), loss="mse")
    used = fit(model, adapt, initial_epoch=first, epochs=first + 2)["learning_rate"]
    assert used == pytest.approx([1e-3] * 2)
    assert [(each.epoch, each.kind) for each in adapt.decisions] == [(3, "phase")]
    assert adapt.state.observations == 2, "a wait of its own"
    assert adapt.run.curves["learning_rate"].values == pytest.approx([0.1] * 3 + [1e-3] * 2)
    if log_dir:
        (run,) = tmp_path.iterdir()
        assert list(read_scalars(run)["lr_plateau/loss"]) == list(range(5))


@LOG_DIR
def test_a_phase_that_is_interrupted_in_its_first_epoch_is_followed_by_another(log_dir: bool, tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau("loss", log_dir=tmp_path if log_dir else None)
    model = interrupted(adapt, 3)
    compile_model(model, SGD(1e-3), loss="mse")
    with pytest.raises(KeyboardInterrupt):
        fit(model, adapt, interrupt_in(3), initial_epoch=3, epochs=9)
    compile_model(model, Adam(1e-4), loss="mse")
    fit(model, adapt, initial_epoch=3, epochs=4)
    assert [(each.epoch, each.kind, each.rate) for each in adapt.decisions] == [(3, "phase", pytest.approx(1e-4))]
    assert adapt.decisions[0].describe() == "phase: learning rate 0.0001 (a new phase of a training that had ended)"
    assert adapt.run.curves["learning_rate"].values == pytest.approx([0.1] * 3 + [1e-4])


def test_without_compiling_again_the_training_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, log_dir=tmp_path)
    values = scripted(1.0, 2.0, 0.5, 2.0)
    model = interrupted(adapt, 3, values)
    assert timeline(adapt) == [(1, "cut", 0.05)]
    state = adapt.state
    begun: list[Any] = []
    look = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(adapt.state))
    fit(model, values, adapt, look, initial_epoch=3, epochs=4)
    assert begun == [state]
    assert timeline(adapt) == [(1, "cut", 0.05), (3, "cut", 0.025)]


def test_a_backup_that_is_loaded_after_compiling_again_goes_on(tmp_path: Path) -> None:
    """In a notebook, the cell that compiles may be run again, too."""
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, log_dir=tmp_path / "logs")
    values, backup = scripted(1.0, 2.0, 0.5, 2.0), keras.callbacks.BackupAndRestore(tmp_path / "backup")
    model = interrupted(adapt, 3, values, backup)
    compile_model(model, SGD(0.1), loss="mse")
    history = fit(model, values, adapt, backup, epochs=4)
    assert history["learning_rate"] == pytest.approx([0.05]), "an epoch was left"
    assert timeline(adapt) == [(1, "cut", 0.05), (3, "cut", 0.025)]


def test_other_settings_in_another_process_are_told_what_ends_a_phase(tmp_path: Path) -> None:
    """A second callback stands for another process: it knows nothing of the first."""
    model = interrupted(AdaptLROnPlateau("loss", log_dir=tmp_path), 3)
    compile_model(model, Adam(1e-3), loss="mse")
    with pytest.raises(ValueError, match=r"optimizer=\['SGD'\], now \['Adam'\].* another log_dir .*`finish`"):
        fit(model, AdaptLROnPlateau("loss", log_dir=tmp_path), initial_epoch=3, epochs=4)


# --- a training in several fits --------------------------------------------------------------------------------------


@LOG_DIR
def test_a_fit_after_finish_is_a_new_phase_with_a_finish_of_its_own(log_dir: bool, tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau(
        patience=1, factor=0.01, raise_after=1, raise_factor=2.0, max_raises=1, recover=False,
        reset_on_train_begin=False, log_dir=tmp_path if log_dir else None,
    )  # fmt: skip
    model, lock = tiny_model(), tmp_path / "lr_plateau" / ".lock"
    for rate, first in ((0.1, 0), (1e-3, 4)):
        for value in (1.0, 0.9, 1.0, 1.0):
            fit(model, scripted(value), adapt)
        assert [(each.epoch, each.kind) for each in adapt.decisions][-2:] == [(first + 2, "cut"), (first + 3, "raise")]
        assert adapt.state.in_excursion
        assert (locks.holder(lock) is not None) == log_dir, "nobody else may write there"
        adapt.finish()
        assert (adapt.decisions[-1].kind, adapt.decisions[-1].rate) == ("rollback", pytest.approx(rate / 100))
        assert not adapt.state.in_excursion
        assert locks.holder(lock) is None
    assert marks(adapt) == [4]
    assert adapt.run.curves["val_loss"].epochs == list(range(8))
    if log_dir:
        (run,) = tmp_path.iterdir()
        assert list(read_scalars(run)["lr_plateau/val_loss"]) == list(range(8))


def test_a_fit_of_another_model_after_finish_is_another_training() -> None:
    adapt = AdaptLROnPlateau(reset_on_train_begin=False)
    for _ in range(2):
        fit(tiny_model(), scripted(1.0, 0.9), adapt, epochs=2)
        adapt.finish()
        assert adapt.run.curves["val_loss"].epochs == [0, 1]
        assert marks(adapt) == []
