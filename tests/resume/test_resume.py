"""A resumed training goes on as if nothing had happened, or says what is lost. Exceptions stand for crashes here.

    KERAS_BACKEND=torch pytest -m '' tests/resume/test_resume.py

It takes minutes, so most of it is in the long lane. torture.py kills real processes; here each case is small, so there
are many.
"""

import contextlib
import copy
import gc
import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import pytest
from conftest import (
    at_epoch_end,
    compile_model,
    data,
    everything,
    fit,
    kinds,
    only,
    read_records,
    read_scalars,
    timeline,
    tiny_model,
    without_rates,
)
from keras.optimizers import SGD, Adam
from keras.optimizers.schedules import ExponentialDecay

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.resume import state_file
from keras_lrplateau.resume.state_file import StateFileError
from keras_lrplateau.training import resuming
from keras_lrplateau.training.snapshots import Snapshots

NAN = math.nan

LIFE = [1.0, 0.5, *[2.0] * 8, 0.4, *[2.0] * 5, 0.3, 0.2, 0.1, 0.05, NAN, 0.04, 2.0]
"""Two bests; a cut in epoch 2, a raise in 3, a rollback in 9; a best; a cut in 11, a raise in 12, a success in 18; a
best; a divergence in 20; a best; a cut."""

ALL = range(len(LIFE))
"""The epochs of it."""

CRASHES = ALL if keras.backend.backend() == "torch" else ALL[::4]
"""In which of them it dies: in each where a fit starts quickly. Where each fit is traced, that takes ten minutes."""

RULE = {"factor": 0.01, "patience": 1, "raise_factor": 2.0, "raise_after": 1, "max_raises": 3}
"""One cut makes a stall, and an excursion lasts six epochs."""

long = pytest.mark.long
EITHER_ORDER = pytest.mark.parametrize("first", [True, False], ids=["backup first", "backup last"])


class CrashError(Exception):
    """Stands for the death of the process."""


def metric_of(values: list[float]) -> tuple[Any, Any]:
    """Make a metric with these `values` by epoch, also in validation, and the callback that sets them.

    NaN comes with a weight that is NaN before validation, as in a real training.
    """

    class Told(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="told")
            self.value = self.add_weight(shape=(), initializer="zeros", name="value")

        def update_state(self, *arguments: Any, **others: Any) -> None:
            pass

        def reset_state(self) -> None:
            pass

        def result(self) -> Any:
            return self.value + 0.0

    metric = Told()

    class Teller(keras.callbacks.Callback):
        told = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.told = values[epoch]
            metric.value.assign(self.told)

        def on_test_begin(self, logs: Any = None) -> None:
            if math.isnan(self.told):
                weight = self.model.trainable_variables[0]
                weight.assign(keras.ops.full(weight.shape, NAN))

    return metric, Teller()


@dataclass
class Attempt:
    """The results of one process, or of a run that stands for one.

    Attributes:
        folder: The folder of its files.
        rates: The rate used in each epoch.
        losses: The observation of each epoch.
        weights: All that training changes, at the end.
        messages: What the callback has warned of.
    """

    adapt: Any
    model: Any
    folder: Path
    rates: dict[int, float] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    weights: list[bytes] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def rate_of(model: Any) -> Any:
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return tuple(float(each.learning_rate) for each in getattr(optimizer, "optimizers", [optimizer]))


@dataclass
class Training:
    """One command, which can be started again and again.

    Attributes:
        folder: Of its files.
        values: What is observed, epoch by epoch; None leaves it to the model.
        adapt: Makes the callback.
        optimizer: Makes the optimizer.
        first: Whether the backup comes before the callback.
        has_backup: Whether there is one.
        epochs: How many; None for as many as there are values.
        arguments: Of `fit`.
    """

    folder: Path
    values: list[float] | None = field(default_factory=lambda: LIFE)
    adapt: Callable[..., Any] = AdaptLROnPlateau
    optimizer: Callable[[], Any] = lambda: Adam(0.1)
    first: bool = True
    has_backup: bool = True
    epochs: int | None = None
    rule: dict[str, Any] = field(default_factory=lambda: RULE)
    arguments: dict[str, Any] = field(default_factory=dict)

    def start(self, place: str | None = None, epoch: int = 0, *callbacks: Any, **changes: Any) -> Attempt:
        """Train until the end, or until it crashes in this place in this epoch.

        Args:
            callbacks: Further ones, behind the others.
            changes: `model` and `load`, which is called with the model before the fit; others are for the callback.
        """
        keras.utils.set_random_seed(0)
        others: list[Any] = []
        metrics = ["mae"]
        monitor = "val_loss"
        if self.values is not None:
            metric, teller = metric_of(self.values)
            metrics.append(metric)
            others.append(teller)
            monitor = "val_told"
        monitor = changes.pop("monitor", self.rule.get("monitor", monitor))
        mode = {} if self.values is None else {"mode": "min"}
        # What is traced takes less time on JAX, and more on TensorFlow.
        is_traced = keras.backend.backend() == "jax"
        model = changes.pop("model", None) or tiny_model(self.optimizer(), compiled=is_traced, metrics=metrics)
        load = changes.pop("load", None)
        if load is not None:
            load(model)
        arguments = {**mode, **self.rule, "log_dir": self.folder / "logs", **changes, "monitor": monitor}
        adapt = self.adapt(**arguments)
        attempt = Attempt(adapt, model, self.folder)
        backup = keras.callbacks.BackupAndRestore(self.folder / "backup", delete_checkpoint=False)
        list_ = [backup] if self.has_backup else []
        ordered = (
            [*list_, self._crash(place, epoch), adapt] if self.first else [adapt, self._crash(place, epoch), *list_]
        )
        observer = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: attempt.rates.update({epoch: rate_of(model)}),
            on_epoch_end=lambda epoch, logs: attempt.losses.update({epoch: logs["loss"]}),
        )
        x, y = data()
        epochs = self.epochs or len(self.values or ())
        fit_arguments = {"epochs": epochs, "batches": 2, "validation_data": (x, y), **self.arguments}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fit(model, *others, *ordered, *callbacks, observer, **fit_arguments)
            finally:
                attempt.messages += [str(each.message) for each in caught if "AdaptLROnPlateau" in str(each.message)]
        attempt.weights = list(everything(model).values())
        return attempt

    def crash(self, place: str, epoch: int, *callbacks: Any, **changes: Any) -> None:
        with pytest.raises(CrashError):
            self.start(place, epoch, *callbacks, **changes)

    @staticmethod
    def _crash(place: str | None, at: int) -> Any:
        def crash(*_: Any) -> None:
            raise CrashError

        hooks = {
            "batch": lambda callback: setattr(
                callback, "on_train_batch_end", lambda batch, logs=None: batch == 1 and callback.is_time and crash()
            ),
            "validation": lambda callback: setattr(
                callback, "on_test_batch_end", lambda batch, logs=None: callback.is_time and crash()
            ),
            "between": lambda callback: setattr(
                callback, "on_epoch_end", lambda epoch, logs=None: epoch == at and crash()
            ),
            "begin": lambda callback: None,
        }

        class Hooks(keras.callbacks.Callback):
            is_time = False

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self.is_time = epoch == at
                if place == "begin" and epoch == at:
                    crash()

        callback = Hooks()
        if place is not None:
            hooks[place](callback)
        return callback

    @property
    def runs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "logs").iterdir())

    @property
    def state_path(self) -> Path:
        return self.folder / "logs" / "lr_plateau" / "state.json"


def uninterrupted(training: Training, folder: Path, **changes: Any) -> Attempt:
    training = Training(**{**vars(training), "folder": folder})
    attempt = training.start(**changes)
    assert attempt.messages == []
    return attempt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    """The training that most of these tests use, without any crash."""
    return uninterrupted(Training(Path()), tmp_path_factory.mktemp("whole"))


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync, because no machine dies here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def scalars_of(folder: Path) -> dict[str, dict[int, float]]:
    """All but the best so far: it is written with the records, and a training that goes on begins with one."""
    found = read_scalars(folder / "logs" / "lr_plateau")
    return {tag: values for tag, values in found.items() if not tag.startswith("lr_plateau/best(")}


def check_same(found: Attempt, expected: Attempt) -> None:
    assert found.rates.items() <= expected.rates.items()
    # As text, in which NaN equals NaN.
    assert repr(found.adapt.decisions) == repr(expected.adapt.decisions)
    assert found.weights == expected.weights
    assert found.adapt.state == expected.adapt.state


# --- the whole life of a training, with a crash in each epoch --------------------------------------------------------


def schedule() -> Any:
    return Adam(ExponentialDecay(0.1, 10, 0.9))


def loss_scale() -> Any:
    return keras.optimizers.LossScaleOptimizer(Adam(0.1))


def multi() -> Any:
    optimizers = keras.optimizers.OptimizerMap(Adam(0.1, name="adam"), {".*/a/.*": SGD(0.01, name="sgd")})
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.MultiOptimizer(optimizers))


needs_multi = pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="a later release of Keras")


def check_crashes(training: Training, place: str, expected: Attempt | Path, crashes: Iterable[int] = ALL) -> Attempt:
    """Crash a training again and again, let it end, and check the result.

    Args:
        expected: What has come of it without crashes, or a place to find out.
    """
    if isinstance(expected, Path):
        expected = uninterrupted(training, expected / "whole")
    used: dict[int, float] = {}
    for epoch in crashes:
        seen = keras.callbacks.LambdaCallback()
        seen.on_epoch_begin = lambda at, logs=None, seen=seen: used.setdefault(at, rate_of(seen.model))
        training.crash(place, epoch, seen)
        assert used.items() <= expected.rates.items()
    found = training.start()
    assert found.messages == []
    check_same(found, expected)
    assert repr(scalars_of(training.folder)) == repr(scalars_of(expected.folder))
    assert training.runs == ["lr_plateau"]
    records = {record.epoch: record for record in read_records(training.folder / "logs" / "lr_plateau")}
    told = [decision for _, record in sorted(records.items()) for decision in record.decisions]
    assert repr(told) == repr(expected.adapt.decisions)
    return expected


@EITHER_ORDER
@pytest.mark.parametrize("place", ["begin", "batch", "validation", "between"])
@long
def test_a_training_that_dies_in_each_epoch_is_as_one_that_does_not(
    place: str, first: bool, whole: Attempt, tmp_path: Path
) -> None:
    check_crashes(Training(tmp_path, first=first), place, whole, CRASHES)
    assert set(kinds(whole.adapt)) == {"cut", "raise", "rollback", "diverged", "success"}


@EITHER_ORDER
@pytest.mark.parametrize(
    "optimizer", [schedule, loss_scale, pytest.param(multi, marks=needs_multi)], ids=["schedule", "LossScale", "Multi"]
)
@long
def test_whatever_the_optimizer_is(optimizer: Any, first: bool, tmp_path: Path) -> None:
    training = Training(tmp_path / "crashes", optimizer=optimizer, first=first)
    expected = check_crashes(training, "between", tmp_path, CRASHES[::3])
    assert set(kinds(expected.adapt)) == {"cut", "raise", "rollback", "diverged", "success"}


AUTO = [1.0] * 4 + [0.9 - 0.02 * i for i in range(9)] + [0.6, 0.5, 0.4, 0.3] + [3.0] * 12 + [NAN] + [0.5, 0.6] * 7
"""A search; a good trend, and a raise that gets ahead; one that does not; a plateau, a divergence, annealing."""


GIVEN = 0.1 if keras.backend.backend() == "jax" else 0.03
"""Where the search has another rate than the last one it tried for the best; the initial weights differ by backend."""


@EITHER_ORDER
@pytest.mark.parametrize("rate", [GIVEN, ExponentialDecay(GIVEN, 10, 0.9)], ids=["plain", "schedule"])
@pytest.mark.parametrize("place", ["between", "batch"])
@long
def test_auto_mode_too(place: str, first: bool, rate: Any, tmp_path: Path) -> None:
    """In the search, each trial has as many steps as the trial to which it goes back."""
    training = Training(tmp_path / "crashes", AUTO, AdaptLROnPlateau.auto, first=first, rule={"mode": "min"})
    training.optimizer = lambda: Adam(rate)
    expected = check_crashes(training, place, tmp_path, [*range(6), *range(7, len(AUTO), 4)])
    assert any(decision.kind == "settle" and decision.restore == "best" for decision in expected.adapt.decisions)
    everything_happened = {"search", "settle", "raise", "success", "rollback", "cut", "diverged", "anneal"}
    assert set(kinds(expected.adapt)) == everything_happened


@EITHER_ORDER
@pytest.mark.parametrize("rollback", [True, "disk", False])
@long
def test_wherever_the_copies_are(rollback: Any, first: bool, tmp_path: Path) -> None:
    training = Training(tmp_path / "crashes", first=first, rule={**RULE, "rollback": rollback})
    check_crashes(training, "between", tmp_path, CRASHES[::2])
    assert not state_file.snapshot_folder(training.state_path).exists()


@EITHER_ORDER
@long
def test_an_accuracy_whose_direction_shows_in_the_first_epoch_only(first: bool, tmp_path: Path) -> None:
    """The direction is inferred again; until then it comes from the state file."""

    def model() -> Any:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
        return compile_model(model, SGD(3.0), loss="binary_crossentropy", metrics=["accuracy"])

    def train(folder: Path, crash: int | None = None) -> Attempt:
        training = Training(folder, None, first=first, epochs=12, rule={**RULE, "monitor": "val_accuracy"})
        x, y = data()
        training.arguments = {"x": x, "y": (y > 0).astype("float32")}
        training.arguments["validation_data"] = (x[:7], (y[:7] > 0).astype("float32"))
        if crash is None:
            return training.start(model=model())
        training.crash("between", crash, model=model())
        return Attempt(None, None, folder)

    expected = train(tmp_path / "whole")
    assert expected.adapt.run.mode == "max"
    assert {"cut", "raise"} <= set(kinds(expected.adapt))
    for epoch in (0, 1, 4, 5, 9):
        train(tmp_path / "crashes", epoch)
    check_same(train(tmp_path / "crashes"), expected)


@EITHER_ORDER
@long
def test_validation_in_every_third_epoch(first: bool, tmp_path: Path) -> None:
    """Without a validation, nothing can be written before an earlier callback in the list saves the epoch."""
    training = Training(tmp_path / "crashes", [*LIFE, *LIFE[:7]], arguments={"validation_freq": 3}, first=first)
    expected = check_crashes(training, "between", tmp_path, range(2, 30, 3) if first else range(0, 30, 2))
    assert set(scalars_of(tmp_path / "whole")["lr_plateau/val_told"]) == set(range(2, 30, 3))
    assert {"cut", "raise"} <= set(kinds(expected.adapt))


@long
def test_a_metric_that_is_not_there_is_missed_again(tmp_path: Path) -> None:
    training = Training(tmp_path, epochs=4, rule={**RULE, "monitor": "val_nothing"})
    training.crash("between", 2)
    found = training.start()
    assert [message for message in found.messages if "which is not there" in message] == found.messages[:1]
    assert found.adapt.decisions == []


# --- checkpoints of the user's own -----------------------------------------------------------------------------------


def checkpoints(folder: Path, **arguments: Any) -> Any:
    """Save a checkpoint with the optimizer at the end of each epoch; epochs count from 1."""
    name = str(folder / "{epoch}.weights.h5")
    return keras.callbacks.ModelCheckpoint(name, save_weights_only=True, **arguments)


def loaded(path: Path, with_optimizer: bool = True) -> Callable[[Any], None]:
    def load(model: Any) -> None:
        if with_optimizer:
            model.optimizer.build(model.trainable_variables)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model.load_weights(path)

    return load


def by_hand(training: Training, epoch: int, **changes: Any) -> Attempt:
    """Go on with an epoch from the checkpoint of the previous one."""
    training.arguments["initial_epoch"] = epoch
    return training.start(load=loaded(training.folder / f"{epoch}.weights.h5"), **changes)


def orbax_checkpoint(folder: Path) -> Any:
    """The callback of Keras for checkpoints in the format of Orbax, of each epoch; skips the test without it."""
    if not hasattr(keras.callbacks, "OrbaxCheckpoint"):
        pytest.skip("a later release of Keras")
    pytest.importorskip("orbax.checkpoint")
    return keras.callbacks.OrbaxCheckpoint(str(folder / "orbax"), max_to_keep=None, save_on_background=False)


def load_orbax(folder: Path) -> Callable[[Any], None]:
    """Load the weights and the optimizer from the newest checkpoint, if there is one."""

    def load(model: Any) -> None:
        if any((folder / "orbax").iterdir()):  # The callback has made it.
            model.optimizer.build(model.trainable_variables)
            model.load_weights(str(folder / "orbax"))

    return load


@pytest.mark.parametrize("kind", ["Adam", "schedule"])
@pytest.mark.parametrize("beside", ["nothing", "BackupAndRestore", "ModelCheckpoint"])
@long
def test_a_training_goes_on_from_checkpoints_of_orbax(kind: str, beside: str, tmp_path: Path) -> None:
    """It dies in each of these epochs, and goes on from the last one that was saved."""
    optimizer = {"Adam": lambda: Adam(0.1), "schedule": schedule}[kind]
    training = Training(tmp_path / "crashes", has_backup=beside == "BackupAndRestore", optimizer=optimizer)
    others = [checkpoints(training.folder)] if beside == "ModelCheckpoint" else []
    expected = uninterrupted(training, tmp_path / "whole")
    for epoch in (1, 4, 10, 13, 21, None):
        # Orbax finds variables by their paths, which count the models of a process.
        keras.utils.clear_session()
        checkpoint, load = orbax_checkpoint(training.folder), load_orbax(training.folder)
        if epoch is None:
            found = training.start(None, 0, checkpoint, *others, load=load)
        else:
            training.crash("batch", epoch, checkpoint, *others, load=load)
            checkpoint.on_train_end()
            training.arguments["initial_epoch"] = epoch
    assert found.messages == []
    check_same(found, expected)
    assert repr(scalars_of(training.folder)) == repr(scalars_of(expected.folder))
    saved = {int(path.name.partition(".")[0]) for path in training.folder.glob("*.weights.h5")}
    assert saved == ({epoch + 1 for epoch in ALL} if others else set())


@pytest.mark.parametrize("epoch", only((5, 11), [1, 3, 4, 5, 9, 10, 11, 12, 13, 17, 19, 20, 21, 22]))
def test_a_checkpoint_of_the_epoch_in_which_it_died_goes_on_as_if_nothing_had_happened(
    epoch: int, whole: Attempt, tmp_path: Path
) -> None:
    training = Training(tmp_path, has_backup=False)
    training.crash("batch", epoch, checkpoints(training.folder))
    found = by_hand(training, epoch)
    assert found.messages == []
    check_same(found, whole)
    assert repr(scalars_of(training.folder)) == repr(scalars_of(whole.folder))


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leave the files of a training that died in its last epoch, with checkpoints of all earlier ones."""
    folder = tmp_path_factory.mktemp("died")
    Training(folder, has_backup=False).crash("batch", len(LIFE) - 1, checkpoints(folder))
    return folder


@pytest.mark.parametrize("epoch", [1, 2, 4, 5, 9, 10, 11, 12, 13, 17, 18, 19, 20])
@long
def test_an_earlier_checkpoint_goes_on_with_what_was_known_then(
    epoch: int, whole: Attempt, died: Path, tmp_path: Path
) -> None:
    """Copies are kept for the last two epochs; a warning names a missing copy of an earlier one."""
    expected = whole
    training = Training(shutil.copytree(died, tmp_path / "again"), has_backup=False)
    found = by_hand(training, epoch)
    known = [decision for decision in expected.adapt.decisions if decision.epoch < epoch]
    assert repr(found.adapt.decisions[: len(known)]) == repr(known)
    assert scalars_of(training.folder)["lr_plateau/val_told"].keys() == set(ALL)
    assert training.runs == ["lr_plateau"]
    was_raised = [decision.kind for decision in known if decision.kind not in ("cut", "diverged")][-1:] == ["raise"]
    if was_raised:
        (closed,) = [decision for decision in found.adapt.decisions[len(known) :] if decision.epoch == epoch - 1]
        (opened,) = [decision for decision in known if decision.kind == "raise"][-1:]
        assert (closed.kind, closed.restore, closed.rate) == ("rollback", None, opened.rate_before)
        assert "is gone, so the excursion ends" in closed.reason
        assert any("is gone, so the excursion ends" in message for message in found.messages)
        assert found.rates[epoch] == pytest.approx((opened.rate_before,))
    else:
        assert found.rates[epoch] == expected.rates[epoch]
        assert any("no copy of the best weights" in message for message in found.messages) == (
            LIFE[epoch - 1] != min(LIFE[:epoch])
        )


@long
def test_the_best_checkpoint_is_the_best_copy(tmp_path: Path) -> None:
    """With save_best_only no copy is left on disk, and the weights themselves are the best ones."""
    training = Training(tmp_path, has_backup=False)
    path = tmp_path / "best.weights.h5"
    arguments = {"mode": "min", "save_best_only": True, "save_weights_only": True}
    training.crash("batch", 20, keras.callbacks.ModelCheckpoint(str(path), "val_told", **arguments))
    training.arguments["initial_epoch"] = 20
    at_first: list[list[bytes]] = []
    after: dict[int, list[bytes]] = {}

    def load(model: Any) -> None:
        loaded(path)(model)
        at_first.append(list(without_rates(everything(model)).values()))

    spy = keras.callbacks.LambdaCallback()
    spy.on_epoch_begin = lambda epoch, logs=None: after.update(
        {epoch: list(without_rates(everything(spy.model)).values())}
    )
    found = training.start(None, 0, spy, load=load)
    assert found.messages == []
    (diverged,) = [decision for decision in found.adapt.decisions if decision.kind == "diverged"]
    assert (diverged.epoch, diverged.restore) == (20, "best")
    assert after[21] == at_first[0]


@long
def test_weights_alone_go_on_with_the_rate_and_a_new_optimizer(whole: Attempt, tmp_path: Path) -> None:
    """The compiled optimizer has its very first rate, so the user has not set another one."""
    training = Training(tmp_path, has_backup=False)
    training.crash("batch", 14, checkpoints(training.folder))
    training.arguments["initial_epoch"] = 14
    found = training.start(load=loaded(training.folder / "14.weights.h5", with_optimizer=False))
    assert found.messages == []
    assert found.rates == {epoch: rate for epoch, rate in whole.rates.items() if epoch >= 14}
    assert timeline(found.adapt) == timeline(whole.adapt)
    assert found.weights != whole.weights


@pytest.mark.parametrize("with_optimizer", [True, False])
@long
def test_a_rate_that_the_user_has_changed_in_between_is_followed_and_said(with_optimizer: bool, tmp_path: Path) -> None:
    training = Training(tmp_path, has_backup=False)
    training.crash("batch", 3, checkpoints(training.folder))
    training.arguments["initial_epoch"] = 3
    load = loaded(tmp_path / "3.weights.h5", with_optimizer)

    def load_and_set(model: Any) -> None:
        load(model)
        model.optimizer.learning_rate = 0.007

    found = training.start(load=load_and_set)
    assert found.rates[3] == pytest.approx((0.007,))
    (override, raised) = [decision for decision in found.adapt.decisions if decision.epoch == 3]
    assert (override.kind, override.rate_before, override.rate) == ("override", 0.001, 0.007)
    assert raised.kind == "raise"
    (message,) = found.messages
    assert "the rate was found at 0.007, not at 0.001 as set, in epoch 4" in message


@long
def test_so_it_is_where_the_weights_have_yet_to_go_back(tmp_path: Path) -> None:
    """The backup of epoch 9 is from before the rollback, which restores its own rate."""
    training = Training(tmp_path, first=True)
    training.crash("batch", 10)
    setter = keras.callbacks.Callback()
    setter.on_train_begin = lambda logs=None: setattr(setter.model.optimizer, "learning_rate", 0.007)
    found = training.start(None, 0, setter)
    assert found.rates[10] == pytest.approx((0.007,))
    (message,) = found.messages
    assert "the rate was found at 0.007" in message


# --- when it is not the same training --------------------------------------------------------------------------------


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


OTHERS = {
    "patience": ({"patience": 2}, "patience=1, now 2"),
    "rate": ({"max_lr": 0.5}, "max_lr=None, now 0.5"),
    "two": ({"patience": 2, "factor": 0.25}, "factor=0.01, now 0.25, patience=1, now 2"),
    "frequency": ({"frequency": 2}, "frequency='epoch', now 2"),
}


@pytest.mark.parametrize("other", OTHERS)
@long
def test_other_settings_are_refused_and_named(other: str, whole: Attempt, tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.crash("between", 6)
    before = files_below(tmp_path / "logs")
    changes, words = OTHERS[other]
    with pytest.raises(StateFileError, match=r"state\.json belongs to a training with other settings: ") as caught:
        training.start(**changes)
    assert words in str(caught.value)
    assert "move the file away to begin a new one" in str(caught.value)
    assert files_below(tmp_path / "logs") == before
    # It can go on all the same.
    check_same(training.start(), whole)


def test_another_optimizer_and_another_monitor_are_refused_and_named(tmp_path: Path) -> None:
    training = Training(tmp_path, has_backup=False)
    training.crash("between", 6)
    training.arguments["initial_epoch"] = 6
    with pytest.raises(StateFileError, match=r"monitor='val_told', now 'val_loss'"):
        training.start(monitor="val_loss")
    training.optimizer = lambda: SGD(0.1)
    with pytest.raises(StateFileError, match=r"optimizer=\['Adam'\], now \['SGD'\]"):
        training.start()
    wide = keras.Sequential([keras.Input((4,)), keras.layers.Dense(9), keras.layers.Dense(1)])
    with pytest.raises(StateFileError, match=r"weights=19, now 55"):
        training.start(model=compile_model(wide, Adam(0.1), loss="mse", metrics=[metric_of(LIFE)[0]]))


@long
def test_more_epochs_and_another_place_for_copies_are_no_other_settings(whole: Attempt, tmp_path: Path) -> None:
    training = Training(tmp_path, epochs=12)
    training.crash("between", 6)
    training.epochs = len(LIFE)
    for rollback in ("disk", True):
        training.crash("between", {"disk": 8, True: 9}[rollback], rollback=rollback)
    check_same(training.start(), whole)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def make_newer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"version": 3', b'"version": 9', 1))


def empty(path: Path) -> None:
    path.write_bytes(b"")


BAD = {
    "truncated": (truncate, "cannot be used"),
    "of a newer release": (make_newer, "look at it with the release that wrote it"),
    "empty": (empty, "cannot be used"),
    "of other settings": (lambda path: None, "patience=1, now 2"),
}


@pytest.mark.parametrize("bad", only(("truncated", "of other settings"), BAD))
def test_a_bad_state_file_is_an_error_until_it_is_moved_away(bad: str, tmp_path: Path) -> None:
    training = Training(tmp_path, has_backup=False)
    training.crash("between", 6, checkpoints(tmp_path))
    spoil, words = BAD[bad]
    spoil(training.state_path)
    before = files_below(training.state_path.parent)
    assert any("snapshot" in name for name in before)
    changes = {"patience": 2} if bad == "of other settings" else {}
    for _ in range(2):
        with pytest.raises(StateFileError, match=words):
            by_hand(training, 6, **changes)
    assert files_below(training.state_path.parent) == before

    # Moved away, as the error says.
    training.state_path.rename(training.state_path.with_name("old.json"))
    found = by_hand(training, 6, **changes)
    assert any("there is no state file" in message for message in found.messages)
    # Afresh with the weights and the rate that were found.
    assert found.adapt.decisions[0].epoch >= 6
    assert found.rates[6] == pytest.approx((0.15025,))
    loaded_again = state_file.load(training.state_path)
    assert loaded_again.entries[0].epoch == 6
    assert loaded_again.is_finished
    # TensorBoard shows one line all the same.
    assert scalars_of(tmp_path)["lr_plateau/val_told"].keys() == set(ALL)


def test_a_state_file_that_is_gone_is_said(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.crash("between", 6)
    training.state_path.unlink()
    found = training.start()
    (message,) = found.messages
    assert "there is no state file" in message
    assert "goes on in epoch 8" in message


def change_one_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


@pytest.mark.parametrize("how", only(["removed", "one bit"], ["removed", "damaged", "one bit"]))
def test_lost_copies_end_an_open_excursion_and_that_is_said(how: str, tmp_path: Path) -> None:
    """In epoch 3 the rate was raised from 0.001."""
    training = Training(tmp_path, first=False)
    training.crash("between", 5)
    (folder,) = [path for path in training.state_path.parent.iterdir() if path.is_dir()]
    files = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert "raise" in files
    for path in folder.iterdir():
        {"removed": Path.unlink, "damaged": truncate, "one bit": change_one_bit}[how](path)
    found = training.start()
    assert [decision.kind for decision in found.adapt.decisions[:3]] == ["cut", "raise", "rollback"]
    closed = found.adapt.decisions[2]
    assert (closed.epoch, closed.rate, closed.restore) == (4, 0.001, None)
    assert "the copy of the weights from before the raise is gone" in closed.reason
    assert found.rates[5] == pytest.approx((0.001,))
    said = " ".join(found.messages)
    assert "so the excursion ends: only the rate goes back" in said
    assert "no copy of the best weights any more" in said
    # It learns on, and may go back to what took their place.
    assert "diverged" in kinds(found.adapt)
    assert scalars_of(tmp_path)["lr_plateau/val_told"].keys() == set(ALL)


@long
def test_on_disk_only_nothing_is_kept_in_memory_through_a_whole_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Snapshots] = []
    kept: list[int] = []
    in_memory: list[int] = []

    def make(*arguments: Any) -> Snapshots:
        made.append(Snapshots(*arguments))
        return made[-1]

    def look(epoch: int, logs: Any) -> None:
        kept.append(len(made[-1]))
        in_memory.append(len(copy.deepcopy(made[-1])))

    monkeypatch.setattr(resuming, "Snapshots", make)
    training = Training(tmp_path, rule={**RULE, "rollback": "disk"})
    training.crash("between", 8, at_epoch_end(look))
    training.start(None, 0, at_epoch_end(look))
    assert sum(kept) > 20
    assert set(in_memory) == {0}


@pytest.mark.parametrize("rollback", [True, "disk"])
@long
def test_a_copy_that_is_damaged_during_training_is_missed_and_that_is_said(
    rollback: Any, whole: Attempt, tmp_path: Path
) -> None:
    """In memory there is another one."""
    training = Training(tmp_path, rule={**RULE, "rollback": rollback})
    training.crash("between", 5)

    def damage(epoch: int, logs: Any) -> None:
        if epoch == 7:
            for path in state_file.snapshot_folder(training.state_path).iterdir():
                truncate(path)

    found = training.start(None, 0, at_epoch_end(damage))
    assert found.rates[10] == whole.rates[10] == pytest.approx((0.001,))
    if rollback == "disk":
        (message,) = found.messages
        assert "cannot go back to its copy of the weights (raise)" in message
        assert found.weights != whole.weights
    else:
        assert found.messages == []
        check_same(found, whole)


@long
def test_a_log_dir_that_is_removed_after_a_resume_costs_nothing(whole: Attempt, tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.crash("between", 5)

    def remove(epoch: int, logs: Any) -> None:
        if epoch == 7:
            shutil.rmtree(tmp_path / "logs")

    with pytest.raises(CrashError):
        training.start("between", 10, at_epoch_end(remove))
    found = training.start()
    assert found.messages == []
    check_same(found, whole)


# --- where the files are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
@long
def test_a_state_file_without_a_log_dir(kind: Any, whole: Attempt, tmp_path: Path) -> None:
    path = tmp_path / "states" / "mine.json"
    training = Training(tmp_path)
    changes = {"log_dir": None, "state_path": kind(path)}
    for epoch in (3, 8, 10):
        training.crash("between", epoch, **changes)
    names = {each.name for each in path.parent.iterdir()}
    assert names == {"mine.json", ".mine.json.lock", "mine.json.snapshots"}
    check_same(training.start(**changes), whole)
    assert {each.name for each in path.parent.iterdir()} <= names
    assert not (tmp_path / "logs").exists()


def test_no_state_file_if_none_is_wanted(tmp_path: Path) -> None:
    """A training that goes on then starts afresh with the rate that it finds, which is no override."""
    for changes in ({"state_path": False}, {"log_dir": None}):
        training = Training(tmp_path / str(len(changes)) / str("log_dir" in changes))
        training.crash("between", 4, **changes)
        found = training.start(**changes)
        assert found.messages == []
        assert found.adapt.decisions[0].epoch > 4
        assert "override" not in kinds(found.adapt)
        assert not list(training.folder.rglob("state.json*"))


def test_a_second_fit_leaves_the_files_of_the_first_alone(tmp_path: Path) -> None:
    training = Training(tmp_path, has_backup=False, epochs=5)
    first = training.start()
    before = files_below(tmp_path / "logs")
    second = training.start()
    assert training.runs == ["lr_plateau", "lr_plateau_2"]
    assert {name: content for name, content in files_below(tmp_path / "logs").items() if name in before} == before
    assert (first.messages, second.messages) == ([], [])
    assert repr(second.adapt.decisions) == repr(first.adapt.decisions)


@long
def test_a_second_fit_with_the_same_state_path_keeps_the_first_file_under_another_name(tmp_path: Path) -> None:
    training = Training(tmp_path, has_backup=False, epochs=5)
    path = tmp_path / "state.json"
    training.start(state_path=path)
    before = path.read_bytes()
    second = training.start(state_path=path)
    (message,) = second.messages
    assert f"begins a new state file {path}; the old one is now {path}.1: it belongs to another training" in message
    assert Path(f"{path}.1").read_bytes() == before


@long
def test_the_same_callback_fits_twice(tmp_path: Path) -> None:
    adapt = AdaptLROnPlateau("val_told", mode="min", **RULE, log_dir=tmp_path)
    metric, teller = metric_of(LIFE)
    model = tiny_model(metrics=[metric])
    x, y = data()
    for _ in range(2):
        fit(model, teller, adapt, epochs=3, validation_data=(x, y))
        assert kinds(adapt) == ["cut"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr_plateau", "lr_plateau_2"]
    # And goes on with the second one, in a new phase with its own waits.
    fit(model, teller, adapt, epochs=11, initial_epoch=3, validation_data=(x, y))
    found = [(decision.epoch, decision.kind) for decision in adapt.decisions]
    assert found == [(2, "cut"), (3, "phase"), (4, "cut"), (5, "raise"), (9, "rollback")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr_plateau", "lr_plateau_2"]


@EITHER_ORDER
@long
def test_a_training_that_has_ended_goes_on_in_a_new_phase_that_may_die_too(first: bool, tmp_path: Path) -> None:
    """The phase begins with the weights and the rate that the first one ended with, and with its own waits."""
    ended = Training(tmp_path / "ended", epochs=11, first=first)
    assert timeline(ended.start().adapt)[-1][:2] == (9, "rollback")
    attempts = {}
    for name, crashes in (("whole", []), ("crashes", ALL[11:])):
        folder = shutil.copytree(ended.folder, tmp_path / name)
        training = Training(folder, first=first)
        for epoch in crashes:
            training.crash("between", epoch)
        attempts[name] = training.start()
        assert attempts[name].messages == []
        assert training.runs == ["lr_plateau"]
        assert scalars_of(folder)["lr_plateau/val_told"].keys() == set(ALL)
    expected = attempts["whole"]
    assert timeline(expected.adapt)[:2] == [(11, "phase", 0.001), (12, "cut", 1e-5)]
    assert {"raise", "success", "diverged"} < set(kinds(expected.adapt))
    check_same(attempts["crashes"], expected)


@EITHER_ORDER
@pytest.mark.parametrize("rollback", [True, "disk"])
@long
def test_a_phase_after_a_training_that_ended_by_going_back_begins_where_that_has_gone(
    rollback: Any, first: bool, tmp_path: Path
) -> None:
    """Where the backup is first, its weights and its rate are from before the rollback of the last epoch."""
    ended = Training(tmp_path / "ended", first=first, rule={**RULE, "rollback": rollback})
    stop = keras.callbacks.LambdaCallback()
    stop.on_epoch_begin = lambda epoch, logs=None: setattr(stop.model, "stop_training", epoch == 9)
    end = ended.start(None, 0, stop)
    assert timeline(end.adapt)[-1] == (9, "rollback", 0.001)
    attempts = {}
    deaths = [("begin", 10), ("batch", 10), ("validation", 10), *(("between", epoch) for epoch in ALL[10:])]
    for name, crashes in (("whole", []), ("crashes", deaths)):
        folder = shutil.copytree(ended.folder, tmp_path / name)
        training = Training(folder, first=first, rule=ended.rule)
        for place, epoch in crashes:
            training.crash(place, epoch)
        found: list[Any] = []
        look = keras.callbacks.LambdaCallback()
        look.on_train_batch_begin = lambda batch, logs=None, found=found, look=look: (
            found.append(list(without_rates(everything(look.model)).values())) if batch == 0 else None
        )
        attempts[name] = training.start(None, 0, look)
        if name == "whole":
            assert found[0] == list(without_rates(everything(end.model)).values())
        assert attempts[name].messages == []
        assert training.runs == ["lr_plateau"]
        assert scalars_of(folder)["lr_plateau/val_told"].keys() == set(ALL)
    expected = attempts["whole"]
    assert timeline(expected.adapt)[0] == (10, "phase", 0.001)
    assert (expected.adapt.decisions[0].restore is not None) == first
    assert expected.rates[10] == pytest.approx((0.001,))
    check_same(attempts["crashes"], expected)


@long
def test_a_training_that_was_stopped_in_an_excursion_goes_on_from_before_it(tmp_path: Path) -> None:
    training = Training(tmp_path, first=False)
    stop = keras.callbacks.LambdaCallback()
    stop.on_epoch_begin = lambda epoch, logs=None: setattr(stop.model, "stop_training", epoch == 5)
    stopped = training.start(None, 0, stop)
    assert timeline(stopped.adapt) == [(2, "cut", 0.001), (3, "raise", 0.2), (5, "rollback", 0.001)]
    found = training.start()
    assert found.messages == []
    assert timeline(found.adapt)[:2] == [(6, "phase", 0.001), (7, "cut", 1e-5)]
    assert found.rates[6] == pytest.approx((0.001,))
    assert scalars_of(tmp_path)["lr_plateau/val_told"].keys() == set(ALL)


@pytest.mark.parametrize("epoch", [0, 1, 5, 9])
@long
def test_ctrl_c_in_a_batch_and_on_in_the_same_process_with_the_same_objects(epoch: int, tmp_path: Path) -> None:
    """As in a notebook, the weights have seen a part of the epoch: the training goes on, but in a new run."""
    metric, teller = metric_of(LIFE)
    model = tiny_model(Adam(0.1), metrics=[metric])
    adapt = AdaptLROnPlateau("val_told", mode="min", **RULE, log_dir=tmp_path)
    x, y = data()
    arguments = {"batches": 4, "validation_data": (x, y), "epochs": len(LIFE)}
    press = keras.callbacks.Callback()

    def on_train_batch_end(batch: int, logs: Any = None) -> None:
        if (press.epoch, batch) == (epoch, 2):
            raise KeyboardInterrupt

    press.on_epoch_begin = lambda epoch, logs=None: setattr(press, "epoch", epoch)
    press.on_train_batch_end = on_train_batch_end
    with pytest.raises(KeyboardInterrupt):
        fit(model, teller, adapt, press, **arguments)
    fit(model, teller, adapt, initial_epoch=epoch, **arguments)
    whole = AdaptLROnPlateau("val_told", mode="min", **RULE)
    metric, teller = metric_of(LIFE)
    fit(tiny_model(Adam(0.1), metrics=[metric]), teller, whole, **arguments)
    assert timeline(adapt) == timeline(whole)
    (run,) = tmp_path.iterdir()
    assert read_scalars(run)["lr_plateau/val_told"].keys() == set(ALL)


# --- decisions within an epoch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("recover", [True, False])
@long
def test_a_step_cadence_goes_on_too(recover: bool, tmp_path: Path) -> None:
    """With eight batches per epoch and a decision every three steps, windows reach across epochs."""
    rule = {**RULE, "monitor": "loss", "frequency": 3, "recover": recover}
    training = Training(tmp_path / "crashes", first=False, epochs=12, rule=rule, arguments={"batches": 8})
    training.optimizer = lambda: Adam(0.05)
    expected = uninterrupted(training, tmp_path / "whole")
    # The loss of so few samples rises as training begins. Where that is looked at, no raise follows.
    assert ({"cut"} if recover else {"cut", "raise", "rollback"}) <= set(kinds(expected.adapt))
    assert any(decision.step % 8 for decision in expected.adapt.decisions)
    for place, epoch in (("between", 0), ("batch", 2), ("between", 3), ("between", 6), ("batch", 9), ("between", 10)):
        training.crash(place, epoch)
    found = training.start()
    assert found.messages == []
    check_same(found, expected)


@long
def test_what_is_lost_of_a_step_cadence_behind_a_backup_is_said(tmp_path: Path) -> None:
    rule = {**RULE, "monitor": "loss", "frequency": 3}
    training = Training(tmp_path, first=True, epochs=8, rule=rule, arguments={"batches": 8})
    training.crash("between", 4)
    (message,) = training.start().messages
    assert "What was observed since is not known" in message


@long
def test_what_is_lost_of_a_metric_of_the_training_behind_a_backup_is_said(tmp_path: Path) -> None:
    """Without validation, nothing can be written before the backup."""
    training = Training(tmp_path, first=True, epochs=8, rule={**RULE, "monitor": "loss"})
    training.arguments["validation_data"] = None
    training.crash("between", 4)
    (message,) = training.start().messages
    assert "training goes on in epoch 6, but the state file" in message
    assert "ends with epoch 4. What was observed since is not known" in message


@long
def test_a_state_file_that_a_full_disk_kept_from_being_written_is_older_than_the_backup(tmp_path: Path) -> None:
    """The backup's rate was decided in between. Training goes on from it, and it is no override."""
    training = Training(tmp_path, first=False)
    training.crash("between", 2)
    folder = training.state_path.parent
    shutil.copytree(folder, tmp_path / "older")
    training.crash("between", 5)
    shutil.rmtree(folder)
    shutil.move(tmp_path / "older", folder)
    found = training.start()
    (message,) = found.messages
    assert "training goes on in epoch 6, but the state file" in message
    overrides = [decision for decision in found.adapt.decisions if decision.kind == "override"]
    assert found.rates[5] == pytest.approx([decision.rate for decision in overrides])
    assert overrides[0].rate != overrides[0].rate_before


# --- several at once -------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from keras_lrplateau.files import locks
claim = locks.claim(Path(sys.argv[1]))
assert claim
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def held_by_another_process(lock: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.kill()


@long
def test_another_process_in_the_same_log_dir(whole: Attempt, tmp_path: Path) -> None:
    """A second process must not resume the same training; a new one gets its own run, and says so."""
    training = Training(tmp_path)
    training.crash("between", 5)
    gc.collect()
    with held_by_another_process(tmp_path / "logs" / "lr_plateau" / ".lock"):
        before = files_below(tmp_path / "logs")
        with pytest.raises(RuntimeError, match=r"another training is writing to .*log_dir=.*pass another log_dir"):
            training.start()
        assert files_below(tmp_path / "logs") == before
        beside = Training(tmp_path, has_backup=False, epochs=3).start()
    (message,) = beside.messages
    assert f"another training is writing to {tmp_path / 'logs' / 'lr_plateau'} at this moment" in message
    assert training.runs == ["lr_plateau", "lr_plateau_2"]
    # The first goes on where it was, though it is not the newest one any more.
    found = training.start()
    (message,) = found.messages
    assert f"goes on with the training in {tmp_path / 'logs' / 'lr_plateau'}." in message
    check_same(found, whole)


@long
def test_another_process_with_the_same_state_path(tmp_path: Path) -> None:
    training = Training(tmp_path)
    with (
        held_by_another_process(tmp_path / ".state.json.lock"),
        pytest.raises(RuntimeError, match=r"another training is writing to .*state_path=.*pass another state_path"),
    ):
        training.start(state_path=tmp_path / "state.json", log_dir=None)
    training.start(state_path=tmp_path / "state.json", log_dir=None)


def test_two_callbacks_of_one_fit_have_a_run_and_a_state_each(tmp_path: Path) -> None:
    """A model with two optimizers needs two callbacks."""
    training = Training(tmp_path, None, epochs=6, rule={**RULE, "monitor": "val_loss"})
    other: list[Any] = []

    def beside() -> Any:
        other.append(AdaptLROnPlateau("val_mae", mode="min", **RULE, log_dir=tmp_path / "logs"))
        return other[-1]

    training.crash("begin", 4, beside())
    assert training.runs == ["lr_plateau", "lr_plateau_2"]
    assert [len(list((tmp_path / "logs" / run).glob("*tfevents*"))) for run in training.runs] == [1, 1]
    training.start(None, 0, beside())
    assert training.runs == ["lr_plateau", "lr_plateau_2"]
    for run, monitor in zip(training.runs, ("val_loss", "val_mae"), strict=True):
        found = state_file.load(tmp_path / "logs" / run / "state.json")
        assert found.settings["monitor"] == monitor
        assert [entry.epoch for entry in found.entries if entry.is_over] == list(range(6))


def test_two_callbacks_of_one_fit_cannot_share_a_state_path(tmp_path: Path) -> None:
    training = Training(tmp_path, has_backup=False, epochs=2)
    path = tmp_path / "state.json"
    other = AdaptLROnPlateau("val_mae", state_path=path)
    with pytest.raises(RuntimeError, match="another callback of this model is writing to"):
        training.start(None, 0, other, state_path=path)
