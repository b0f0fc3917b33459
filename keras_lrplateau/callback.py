"""The callback: from Keras' hooks to the policy, from its decisions to the optimizer and the reporters."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import statistics
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras.src.utils import io_utils

from keras_lrplateau.history.axes import Axis
from keras_lrplateau.history.recorder import Reporter, run_name
from keras_lrplateau.history.run import Observation, Record, best_of
from keras_lrplateau.resume import state_file
from keras_lrplateau.resume.run_dirs import Files, open_files
from keras_lrplateau.resume.state_file import Entry, Pending, StateFile
from keras_lrplateau.rule import auto as auto_mode
from keras_lrplateau.rule import checks
from keras_lrplateau.rule.decision import Decision, Rule, Snapshot, Step
from keras_lrplateau.rule.plateau import Config, State
from keras_lrplateau.training import processes
from keras_lrplateau.training.cadence import StepCadence
from keras_lrplateau.training.rates import RateControl, leaf_optimizers, scale_schedules, to_float
from keras_lrplateau.training.snapshots import Snapshots, is_built, optimizers_of

EPOCHS_WITHOUT_VALIDATION = 3
"""So many epochs without any validation metric are a mistake rather than a `validation_freq`."""


class AdaptLROnPlateau(keras.callbacks.Callback):
    """Cuts the learning rate on a plateau, raises it when progress stays stalled, recovers when training breaks.

    For those who do not want to choose a learning rate there is `AdaptLROnPlateau.auto`.

    The arguments that `keras.callbacks.ReduceLROnPlateau` has come first, with its names, order and defaults. With
    `max_raises=0, recover=False` the rate is what ReduceLROnPlateau would make it. The rule itself, its terms and its
    sources are in `keras_lrplateau.rule.plateau`.

    Example:

    ```python
    adapt = AdaptLROnPlateau(monitor="val_loss", factor=0.5, patience=5, log_dir="logs/run1", verbose=1)
    model.fit(x, y, validation_split=0.2, epochs=100, callbacks=[adapt])
    for decision in adapt.decisions:
        print(decision.epoch, decision.kind, decision.rate, decision.reason)
    ```

    Args:
        monitor: Name of the metric in `logs` to watch.
        factor: Each cut multiplies the rate by this. In (0, 1).
        patience: Observations without improvement before a cut. Integer >= 0. An epoch in which the metric was not
            computed (`validation_freq`) is no observation.
        verbose: 0 for silence, else a line at each decision, printed as Keras prints.
        mode: "min", "max", or "auto" to infer the direction from the metric.
        min_delta: By how much an observation must beat the best to count as an improvement. Its sign is ignored.
        cooldown: Observations after a change of rate in which no wait is counted. Integer >= 0.
        min_lr: No cut goes below this rate. >= 0.
        threshold_mode: "abs": `min_delta` is in the metric's unit. "rel": it is a fraction of |best|.
        max_lr: No raise goes above this rate. None for no bound.
        raise_factor: A raise goes to this multiple of the rate at the last improvement. > 1.
        raise_after: Cuts in a row without a new best before a raise. Integer >= 1.
        max_raises: How many raises a training may make. Integer >= 0; 0 turns raising off.
        recover: Whether to go back to earlier weights and a far lower rate when training diverges or never gets going.
        rollback: Whether copies of the training state may be kept for going back: at most two, each of the size of the
            weights and the optimizer state (with Adam three times the weights). True: in host memory, and on disk where
            there is a state file. "disk": on disk only, beside the state file. False keeps none. Going back includes
            the optimizer's count of iterations, and so the position in a schedule.
        rollback_on_cut: Whether an ordinary cut, too, goes back to the best state. Off, since the best of many noisy
            observations is partly the luckiest.
        stop_when_exhausted: Whether to stop training when nothing is left to try.
        reset_on_train_begin: Whether each `fit` starts afresh, as in Keras. Set it to False to call `fit` repeatedly
            for parts of one training, and call `finish` after the last one. A `fit` that begins at a later epoch goes
            on where the state file says.
        log_dir: Where to write TensorBoard event files: into a run of its own, `lr_plateau`, below this directory. The
            same directory may be given to `keras.callbacks.TensorBoard`. None writes nothing.
        state_path: The file that keeps what a training needs to go on after a crash; it is written at the end of each
            epoch, and copies of the training state go into a directory beside it. None: `state.json` beside the event
            files if there is a `log_dir`, else none. False: none.
        on_bad_state: What to do when a training is resumed and its state file is damaged, of another release, or from
            other settings. "raise": raise `StateFileError`. "fresh": give the file another name, say so, and begin
            anew with the weights and the rate that are found.
        frequency: "epoch": decide at the end of each epoch. An integer N: decide after every N optimizer steps, on the
            mean of the training metric over them; integer >= 1. A metric of the validation is observed when there is
            a validation, whatever this is.
        optimizer: The optimizer to adapt, where it is not the one that the model is compiled with: the name of the
            attribute of the model that holds it, or the optimizer itself.

    Attributes:
        decisions: Every decision that changed something, as `keras_lrplateau.Decision`, in order.
        state: The policy's state, `keras_lrplateau.State`; None before training.

    Raises:
        TypeError: An argument is of the wrong type; or, when training begins, the model has no Keras optimizer.
        ValueError: An argument is out of its range; or, when training begins, `max_lr` is below the optimizer's rate;
            or, when the metric first appears, `mode="auto"` cannot tell its direction.
        StateFileError: When training is resumed: its state file cannot be used. A ValueError.
        RuntimeError: When training begins: another process is using the state file.
        OSError: When training begins: `state_path` was given and cannot be written.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        threshold_mode: Literal["abs", "rel"] = "abs",
        max_lr: float | None = None,
        raise_factor: float = Config.raise_factor,
        raise_after: int = Config.raise_after,
        max_raises: int = Config.max_raises,
        recover: bool = True,
        rollback: bool | Literal["disk"] = True,
        rollback_on_cut: bool = False,
        stop_when_exhausted: bool = False,
        reset_on_train_begin: bool = True,
        log_dir: str | os.PathLike[str] | None = None,
        state_path: str | os.PathLike[str] | Literal[False] | None = None,
        on_bad_state: Literal["raise", "fresh"] = "raise",
        frequency: int | Literal["epoch"] = "epoch",
        optimizer: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise TypeError(f"monitor must be the name of a metric, such as 'val_loss'. Received: monitor={monitor!r}")
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be one of 'auto', 'min', 'max'. Received: mode={mode!r}")
        if not isinstance(verbose, (int, np.integer)) or verbose < 0:
            raise ValueError(f"verbose must be an integer >= 0. Received: verbose={verbose!r}")
        if not isinstance(on_bad_state, str) or on_bad_state not in ("raise", "fresh"):
            raise ValueError(f"on_bad_state must be 'raise' or 'fresh'. Received: on_bad_state={on_bad_state!r}")
        if not (isinstance(rollback, bool) or (isinstance(rollback, str) and rollback == "disk")):
            raise TypeError(f"rollback must be True, False or 'disk'. Received: rollback={rollback!r}")
        if rollback == "disk" and (state_path is False or (state_path is None and log_dir is None)):
            raise ValueError(
                "rollback='disk' needs a place for its files. Received: rollback='disk' without a state file; pass "
                "state_path or log_dir"
            )
        frequency = _plain(frequency)
        if not (isinstance(frequency, str) and frequency == "epoch"):
            checks.check_integer("frequency", frequency, minimum=1)
        for name, value in (
            ("stop_when_exhausted", stop_when_exhausted),
            ("reset_on_train_begin", reset_on_train_begin),
        ):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False. Received: {name}={value!r}")
        if not (optimizer is None or isinstance(optimizer, (str, keras.optimizers.Optimizer))):
            raise TypeError(
                "optimizer must be None, a Keras optimizer, or the name of the attribute of the model that holds one. "
                f"Received: optimizer={optimizer!r}"
            )
        min_delta = _plain(min_delta)
        self._config: Config | auto_mode.Config = Config(
            mode="min" if mode == "auto" else mode,
            factor=_plain(factor),
            patience=_plain_integer(patience),
            min_delta=abs(min_delta) if isinstance(min_delta, (int, float)) else min_delta,
            threshold_mode=threshold_mode,
            cooldown=_plain_integer(cooldown),
            min_lr=_plain(min_lr),
            max_lr=_plain(max_lr),
            raise_factor=_plain(raise_factor),
            raise_after=_plain(raise_after),
            max_raises=_plain(max_raises),
            recover=recover,
            rollback=bool(rollback),
            rollback_on_cut=rollback_on_cut,
        )
        self.monitor = monitor
        self.mode = mode
        self.verbose = int(verbose)
        self.stop_when_exhausted = bool(stop_when_exhausted)
        self.reset_on_train_begin = bool(reset_on_train_begin)
        self.log_dir = None if log_dir is None else _path("log_dir", log_dir, "None or the path of a directory")
        self.state_path = (
            state_path
            if state_path is None or state_path is False
            else _path("state_path", state_path, "None, False or the path of a file")
        )
        self.on_bad_state = on_bad_state
        self.rollback = rollback
        self.frequency = frequency
        self.optimizer = optimizer
        self.decisions: list[Decision] = []
        self.state: State | auto_mode.State | None = None

        self._control: RateControl | None = None
        self._direction_known = mode != "auto"
        self._snapshots = Snapshots()
        self._begun = False
        self._first_loss: float | None = None
        self._first_epoch = 0
        self._next_epoch = 0
        self._epoch_offset = 0
        self._epochs_without_validation = 0
        self._warned: set[str] = set()
        self._epoch = 0
        self._is_in_epoch = False
        self._wants_first_loss = False

        self._reporter = Reporter("", None, monitor, {})
        self._file: StateFile | None = None
        self._folder: Path | None = None
        self._locks: list[Path] = []
        self._remembered = 0
        self._training_logs: dict[str, float] = {}
        self._observed: list[int] = []
        self._best: Observation | None = None
        self._decided: list[Decision] = []
        self._steps = 0
        self._iterations = 0

        self._cadence = StepCadence(monitor, 1)
        self._accumulation = 1
        self._batches_before_epoch = 0
        if self._decides_in_epoch:
            # On the instance, and only here: a hook on the class would end Keras' asynchronous dispatch for everybody.
            # With async_safe this one does not: what it does with the logs, any thread may do.
            self.async_safe = True
            self.on_train_batch_begin = self._before_batch
            self.on_train_batch_end = self._after_batch

    @classmethod
    def auto(
        cls,
        monitor: str = "val_loss",
        mode: Literal["auto", "min", "max"] = "auto",
        *,
        min_lr: float = 0.0,
        max_lr: float | None = None,
        budget: float = auto_mode.Config.budget,
        rollback: bool | Literal["disk"] = True,
        log_dir: str | os.PathLike[str] | None = None,
        state_path: str | os.PathLike[str] | Literal[False] | None = None,
        on_bad_state: Literal["raise", "fresh"] = "raise",
        optimizer: Any = None,
        verbose: int = 0,
    ) -> AdaptLROnPlateau:
        """A callback that needs no good learning rate: it searches for one, raises and cuts it, and anneals at the end.

        The rate of the optimizer may be wrong by orders of magnitude. In the first few epochs other rates are tried,
        each from the first weights; the rule is in `keras_lrplateau.rule.auto`. `fit` should run for the number of
        epochs that it was given: the last part of them is for annealing. The weights that it ends with are about the
        best ones: where the last epochs are significantly worse, the best ones are put back.

        Example:

        ```python
        adapt = AdaptLROnPlateau.auto(verbose=1)
        model.fit(x, y, validation_split=0.2, epochs=100, callbacks=[adapt])
        ```

        Args:
            monitor: Name of the metric in `logs` to watch.
            mode: "min", "max", or "auto" to infer the direction from the metric.
            min_lr: No rate below this is tried or cut to. >= 0.
            max_lr: No rate above this is tried. None for no bound. It protects a pretrained model, whose weights a high
                rate would spoil.
            budget: The share of all epochs that may go into trials which are taken back. In [0, 1]. With 0 the given
                rate is used, cut and annealed.
            rollback: Where copies of the training state are kept: True or "disk", as for `AdaptLROnPlateau`.
            log_dir, state_path, on_bad_state, optimizer: As for `AdaptLROnPlateau`.
            verbose: 0 for silence, else a line at each decision, printed as Keras prints.

        Returns:
            The callback. It keeps at most three copies of the weights and the optimizer state. Its `state` is a
            `keras_lrplateau.rule.auto.State`.

        Raises:
            TypeError, ValueError: As `AdaptLROnPlateau`; and when training begins, the optimizer's rate is 0.
        """
        if rollback is False:
            raise ValueError(
                "auto mode takes trials back. Received: rollback=False; pass rollback='disk' to spare memory"
            )
        callback = cls(
            monitor,
            verbose=verbose,
            mode=mode,
            min_lr=min_lr,
            max_lr=max_lr,
            rollback=rollback,
            log_dir=log_dir,
            state_path=state_path,
            on_bad_state=on_bad_state,
            optimizer=optimizer,
        )
        config = callback._config
        callback._config = auto_mode.Config(
            mode=config.mode, min_lr=config.min_lr, max_lr=config.max_lr, budget=_plain(budget)
        )
        return callback

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: a state file stays with the original, and a copy writes to a run of its own."""
        return {**self.__dict__, "_file": None, "_locks": []}

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal callback."""
        config = self._config
        files = {"log_dir": self.log_dir, "state_path": self.state_path, "on_bad_state": self.on_bad_state}
        if isinstance(config, auto_mode.Config):
            return {
                "monitor": self.monitor,
                "mode": self.mode,
                "min_lr": config.min_lr,
                "max_lr": config.max_lr,
                "budget": config.budget,
                "rollback": self.rollback,
                **files,
                "optimizer": self.optimizer,
                "verbose": self.verbose,
            }
        return {
            "monitor": self.monitor,
            "factor": config.factor,
            "patience": config.patience,
            "verbose": self.verbose,
            "mode": self.mode,
            "min_delta": config.min_delta,
            "cooldown": config.cooldown,
            "min_lr": config.min_lr,
            "threshold_mode": config.threshold_mode,
            "max_lr": config.max_lr,
            "raise_factor": config.raise_factor,
            "raise_after": config.raise_after,
            "max_raises": config.max_raises,
            "recover": config.recover,
            "rollback": self.rollback,
            "rollback_on_cut": config.rollback_on_cut,
            "stop_when_exhausted": self.stop_when_exhausted,
            "reset_on_train_begin": self.reset_on_train_begin,
            **files,
            "frequency": self.frequency,
            "optimizer": self.optimizer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdaptLROnPlateau:
        """A callback from what `get_config` returned."""
        return cls.auto(**config) if "budget" in config else cls(**config)

    # --- Keras' hooks ------------------------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        # Here, since Keras makes the training step between this hook and on_train_begin.
        if isinstance(self._optimizer, keras.optimizers.Optimizer):
            scale_schedules(model, self._optimizer, self._config.min_lr, self._config.max_lr)

    def on_train_begin(self, logs: Any = None) -> None:
        optimizer = self._optimizer
        if self.reset_on_train_begin or self._control is None or self._control.optimizer is not optimizer:
            self._control = RateControl(optimizer, self._config.min_lr, self._config.max_lr)
            self._snapshots.keep(())  # Of another optimizer, if any.
        if self.reset_on_train_begin:
            self.state = None
            self.decisions = []
            self._warned = set()
        self._direction_known = self.mode != "auto"
        self._find_direction(required=False)
        if self.state is None:
            self._start()  # For its error, if the bounds do not fit the rate.
        self._forget_first_loss()
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Not in on_train_begin: a callback behind us in the list may load a checkpoint there.
        if not self._begun:
            self._begin(epoch)
        self._epoch = epoch + self._epoch_offset
        self._is_in_epoch = True
        if self._decides_in_epoch:
            self._cadence.restart()
            self._count_batches(0)

    def on_test_begin(self, logs: Any = None) -> None:
        # The training is over, and its metrics are still there. They are those that on_epoch_end will tell.
        if self._awaits_decision:
            self._training_logs = _numbers(self.model.get_metrics_result())

    def on_test_end(self, logs: Any = None) -> None:
        # A callback in front of us may save the weights in its on_epoch_end, and the process die before ours: see
        # keras_lrplateau.resume.state_file.
        if not self._awaits_decision or self._file is None:
            return
        numbers = {**self._training_logs, **{f"val_{name}": value for name, value in _numbers(logs).items()}}
        self._file.pending = Pending(self._epoch, self._iterations_done(), self._first_loss, numbers)
        self._write_state()

    @property
    def _awaits_decision(self) -> bool:
        """Whether the validation at the end of an epoch gives an observation to write down before its decision.

        With several processes it is not known by then, and a step cadence has decided nearly all.
        """
        in_epoch = self._is_in_epoch and not self._decides_in_epoch
        return in_epoch and self._file is not None and processes.count() == 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._begun:
            self._begin(epoch)
        self._is_in_epoch = False
        self._end_epoch(epoch, {} if logs is None else logs, self._first_loss)

    def on_train_end(self, logs: Any = None) -> None:
        self._is_in_epoch = False
        epochs = (self.params or {}).get("epochs")
        if not self._begun and self.reset_on_train_begin and epochs:
            # There was no epoch left: an earlier process died after the last one, and may have left something undone.
            self._begin(epochs, is_over=True)
        if self.state is None:
            return
        if self.state.observations == 0:
            self._warn_of_no_validation()
        if self.reset_on_train_begin:
            # There is an open trial only if a callback behind us in the list has stopped the training.
            self.finish()

    def finish(self) -> None:
        """End a training made of several fits (`reset_on_train_begin=False`): take back what has not proved itself.

        That is, an excursion or a restart that has brought no new best. With `reset_on_train_begin=True` Keras' end of
        training does it. Calling it twice, or before any training, does nothing.
        """
        if self.state is None:
            return
        compiled = getattr(self.model, "optimizer", None)
        if self._take_back_open_trial(self._next_epoch - 1) and isinstance(compiled, keras.optimizers.Optimizer):
            # Keras has put its averages of the weights that are now gone into the model.
            compiled.finalize_variable_values(self.model.trainable_variables)
        self._snapshots.keep(())
        if self._next_epoch > self._first_epoch and (self._reporter.run.records or self._decided):
            self._report(self._next_epoch - 1, is_last=True)
        if self._next_epoch > self._first_epoch and self._file is not None:
            self._remember_end()
        self._reporter.close()
        state_file.release(self._locks)

    # --- before the first step ---------------------------------------------------------------------------------------

    @property
    def _optimizer(self) -> Any:
        if self.optimizer is None:
            return getattr(self.model, "optimizer", None)
        if isinstance(self.optimizer, str):
            if not hasattr(self.model, self.optimizer):
                raise ValueError(
                    "optimizer must name an attribute of the model. Received: "
                    f"optimizer={self.optimizer!r}, which {type(self.model).__name__} does not have"
                )
            return getattr(self.model, self.optimizer)
        return self.optimizer

    def _begin(self, epoch: int, is_over: bool = False) -> None:
        """All other callbacks have done what they do before training: take the rate and the weights as they are."""
        self._begun = True
        self._epochs_without_validation = 0
        self._decided = []
        self._iterations = self._iterations_done()
        if self._decides_in_epoch:
            self._begin_cadence()
        if self.state is None:
            self._begin_training(epoch, is_over)
            if self.state is None:
                return
        elif 0 < epoch < self._next_epoch:
            # Somebody has gone back, and begins again at this epoch.
            self._reporter.forget(epoch)
            self._best = self._reporter.run.best
            if self._file is not None:
                del self._file.entries[self._file.until(epoch, self._iterations) :]
        elif self.log_dir is not None and self._reporter.run_dir is None and processes.rank() == 0:
            # The copy of a callback in the middle of a training.
            files = open_files(self.log_dir, False, "raise", {}, 0, 0, takes_over=False, owner=self.params)
            self._reporter.run_dir, self._locks = files.run_dir, files.locks
        # One training in several fits, each counting from 0: the curve goes on all the same.
        self._epoch_offset = self._next_epoch if epoch == 0 else 0
        model = self.model
        is_new = self._state.observations == 0 and epoch == 0 and not self._iterations
        recovers = isinstance(self._config, auto_mode.Config) or self._config.recover
        self._wants_first_loss = recovers and is_new and getattr(model, "steps_per_execution", 1) == 1
        if self._wants_first_loss and not self._decides_in_epoch:
            # On the instance and for one batch: a batch hook on the class would end Keras' asynchronous dispatch. Not
            # for a model that was trained before: its loss on one batch is too small and too random a yardstick.
            self.on_train_batch_end = self._read_first_loss

    def _begin_training(self, epoch: int, is_over: bool) -> None:
        self._first_epoch = self._next_epoch = epoch
        self._epoch_offset = 0
        self._observed = []
        self._best = None
        self._remembered = len(self.decisions)
        # A model that was trained before begins at 0 like any other; a training that goes on does not.
        self._steps = self._iterations if epoch > 0 else 0
        self._rates.adopt()
        entries, pending = self._open_files(epoch)
        if entries:
            self._resume(epoch, entries, pending, is_over)
            return
        if is_over:
            return
        self.state = self._start()
        if "start" in self._rule_config(0).needed_snapshots(self.state) and is_built(self.model, self._optimizer):
            self._snapshots.take("start", self.model, self._optimizer, self._steps)
        if self._file is not None:
            self._remember(epoch, is_over=False, raises=self.state_path is not None)

    def _start(self) -> State | auto_mode.State:
        # The bounds limit what is decided about a schedule, not the schedule itself.
        config = replace(self._config, min_lr=0.0, max_lr=None) if self._rates.is_scheduled else self._config
        state: State | auto_mode.State = config.start(self._rates.rate)
        return state

    def _read_first_loss(self, batch: int, logs: Any = None) -> None:
        """The loss of the first batch is that of the weights before training."""
        if batch == 0:  # Asynchronous dispatch may call out of order.
            self.__dict__.pop("on_train_batch_end", None)
            self._first_loss = _finite((logs or {}).get("loss"))

    def _forget_first_loss(self) -> None:
        self._first_loss = None
        self._wants_first_loss = False
        if not self._decides_in_epoch:
            self.__dict__.pop("on_train_batch_end", None)

    def _find_direction(self, required: bool) -> None:
        """Settle `mode="auto"`: for a loss at once, for other metrics when Keras has built them."""
        if self._direction_known:
            return
        direction = _direction(self.model, self.monitor)
        if direction is not None:
            self._config = replace(self._config, mode=direction)
            self._direction_known = True
        elif required:
            raise ValueError(
                f"mode='auto' cannot tell whether the metric '{self.monitor}' should fall or rise. "
                "Received: mode='auto'; pass mode='min' or mode='max'"
            )

    # --- observations ------------------------------------------------------------------------------------------------

    def _observe(self, logs: dict[str, Any]) -> float | None:
        """The value of the monitored metric, or None when this epoch has none."""
        if self.monitor in logs:
            self._find_direction(required=True)
            value = _number(logs[self.monitor])
            if value is None:
                raise TypeError(f"the metric '{self.monitor}' must be a number. Received: {logs[self.monitor]!r}")
            return value
        if self.monitor.startswith("val_") and not any(name.startswith("val_") for name in logs):
            self._epochs_without_validation += 1
            if self._epochs_without_validation == EPOCHS_WITHOUT_VALIDATION and self._state.observations == 0:
                self._warn_of_no_validation()
            return None
        names = sorted(name for name in logs if not name.startswith("learning_rate"))
        nearest = difflib.get_close_matches(self.monitor, names, n=1, cutoff=0.0)
        self._warn_once(
            "missing metric",
            f"AdaptLROnPlateau watches the metric '{self.monitor}', which is not there, so the learning rate does not "
            f"change. Available metrics: {', '.join(names)}." + "".join(f" Did you mean '{name}'?" for name in nearest),
        )
        return None

    def _warn_of_no_validation(self) -> None:
        if self.monitor.startswith("val_") and self._epochs_without_validation:
            self._warn_once(
                "missing metric",
                f"AdaptLROnPlateau watches the metric '{self.monitor}', but there has been no validation so far, so "
                "the learning rate has not changed. Pass validation_data or validation_split to model.fit, a smaller "
                f"validation_freq, or watch the training with monitor='{self.monitor.removeprefix('val_')}'.",
            )

    def _warn_of_idle_optimizer(self) -> None:
        """The user has more than one optimizer, and we have the wrong one: that of `compile`, or a copy."""
        mine, others = self._optimizer, optimizers_of(self.model)
        names = [repr(name) for name, each in vars(self.model).items() if each is not mine and each in others]
        if names:
            self._warn_once(
                "idle optimizer",
                f"AdaptLROnPlateau adapts the optimizer '{mine.name}', which has made no step in the first epoch, so "
                f"its learning rate changes nothing. Pass optimizer=... with one of: {', '.join(names)}.",
            )

    def _notice_override(self, epoch: int, is_known: bool = False) -> None:
        """Go on from the rate that somebody else has set, if so; and warn, unless it `is_known` who did."""
        held = self._rates.held
        if not all(math.isfinite(each) and each >= 0 for each in held):
            self._rates.write(self._state.rate)
            self._warn_once(
                "no rate",
                f"AdaptLROnPlateau found a learning rate of {', '.join(map(str, held))} in epoch {epoch + 1}, which "
                f"something else has set, and put its own back: {self._state.rate:.6g}.",
            )
            return
        if held != self._rates.written:
            self._rates.adopt()
        if self._rates.rate != self._state.rate:
            self._carry_out(epoch, self._rule_config().override(self._state, self._rates.rate))
            if is_known:
                return
            self._warn_once(
                "override",
                f"AdaptLROnPlateau: {self.decisions[-1].reason}, in epoch {epoch + 1}. Something else sets the "
                "learning rate, too; AdaptLROnPlateau goes on from what it finds. If a LearningRateScheduler sets it "
                "at every epoch, that undoes every cut: give the optimizer a LearningRateSchedule instead, which "
                "AdaptLROnPlateau scales.",
            )

    # --- decisions ---------------------------------------------------------------------------------------------------

    @property
    def _rates(self) -> RateControl:
        if self._control is None:
            raise RuntimeError("AdaptLROnPlateau: call on_train_begin before the other hooks")
        return self._control

    @property
    def _state(self) -> State | auto_mode.State:
        assert self.state is not None
        return self.state

    def _rule_config(self, observations: int | None = None) -> Rule[Any]:
        """The configuration with its bounds in the unit of the rule's rate, and with the length of this training.

        Args:
            observations: How many there have been in the epochs so far, if that is not what the state says.
        """
        config = self._config
        if self._rates.is_scheduled:
            min_lr, max_lr = self._rates.bounds()
            config = replace(config, min_lr=min_lr, max_lr=max_lr)
        epochs = (self.params or {}).get("epochs")
        if isinstance(config, auto_mode.Config) and epochs is not None:
            seen = self._state.observations if observations is None else observations
            # With validation_freq there are fewer than epochs; how many fewer shows.
            interval = max(self._next_epoch - self._first_epoch, 1) / max(seen, 1)
            config = replace(config, observations=max(seen + int((epochs - self._next_epoch) / interval), 1))
        return config

    def _end_epoch(self, epoch: int, logs: dict[str, Any], first_loss: float | None) -> None:
        """Decide about an epoch that is over, and tell of it."""
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        epoch += self._epoch_offset
        self._next_epoch = epoch + 1
        done = self._iterations_done()
        if epoch == self._first_epoch and done == self._iterations:
            self._warn_of_idle_optimizer()
        self._steps += max(done - self._iterations, 0)
        self._iterations = done
        observed, loss = self._observe(logs), _number(logs.get("loss"))
        value, loss = self._cadence.take() if self._decides_in_epoch else (observed, loss)
        value, loss = self._come_to_agree(value, loss, first_loss)
        self._forget_first_loss()

        self._notice_override(epoch)
        before = done, self._rates.written
        # As Keras does: the rate that was used, before anything is decided.
        logs.update(self._rates.in_force())
        numbers = _numbers(logs)
        if value is not None and not self._decides_in_epoch:
            numbers[self.monitor] = value
        self._reporter.epoch(epoch, numbers, time.time())
        if value is not None:
            self._decide(epoch, value, loss)
        if self.stop_when_exhausted and self._state.exhausted:
            self.model.stop_training = True
        is_last = is_last or getattr(self.model, "stop_training", False)  # In a loop without `fit` there may be none.
        if self.reset_on_train_begin and is_last:
            # Not in on_train_end: by then Keras has put its average of weights into the model, EarlyStopping its best.
            self._take_back_open_trial(epoch)
        self._iterations = self._iterations_done()  # After going back there are fewer.
        self._report(epoch, is_last)
        if self._file is not None:
            self._remember(epoch, before, has_observation=value is not None)
        elif processes.rank() > 0:
            self._snapshots.clean(())

    def _come_to_agree(
        self, value: float | None, loss: float | None, first_loss: float | None
    ) -> tuple[float | None, float | None]:
        """Of what the ranks have observed the mean, so that all decide the same; and the rates of the first one.

        Returns:
            The metric and the training loss. The first loss is taken into the state.
        """
        numbers = [value, loss, first_loss]
        if processes.count() > 1:
            said = processes.gather({"numbers": numbers, "rates": self._rates.held})
            self._rates.impose(said[0]["rates"])
            numbers = [_mean(column) for column in zip(*(one["numbers"] for one in said), strict=True)]
        value, loss, first_loss = numbers
        if first_loss is not None:
            self.state = replace(self._state, loss_before=first_loss)
        return value, loss

    def _decide(self, epoch: int, value: float, loss: float | None) -> None:
        self._observed.append(epoch)
        found = Observation(epoch, value)
        self._best = best_of([found] if self._best is None else [self._best, found], self._config.mode)
        config = self._rule_config(self._state.observations + 1)
        searches = isinstance(self.state, auto_mode.State) and self.state.phase == "search"
        if searches and (self.params or {}).get("steps") == 1:
            # The loss of a single batch is that before its update: of the first weights, whatever the rate.
            loss = None
            if isinstance(config, auto_mode.Config) and not self.monitor.startswith("val_"):
                config = replace(config, budget=0.0)
        self._carry_out(epoch, config.step(self._state, value, loss))

    def _take_back_open_trial(self, epoch: int) -> bool:
        """Whether there was one."""
        step = self._rule_config().finish(self._state)
        self._carry_out(epoch, step)
        return bool(step.decision.is_action)

    def _carry_out(self, epoch: int, step: Step[State] | Step[auto_mode.State]) -> None:
        since = step.decision.since
        # The state of a training that was resumed may have seen observations that this callback has not.
        missed = step.state.observations - len(self._observed)
        # And where training has gone back to an earlier epoch, observations are of epochs that are still to come.
        since_epoch = None if since is None else min(self._observed[max(since - 1 - missed, 0)], epoch)
        decision = replace(step.decision, epoch=epoch, since_epoch=since_epoch, step=self._steps)
        self.state = step.state
        needed = self._rule_config().needed_snapshots(step.state)
        if decision.save is not None:
            # What is not needed goes before the new one comes, and so does the old one of the same name.
            self._snapshots.keep((needed | {decision.restore}) - {decision.save})
            # In a step cadence a new best comes often, and the disk can wait for the end of the epoch.
            at_once = not (self._is_in_epoch and decision.save == "best")
            self._snapshots.take(decision.save, self.model, self._optimizer, self._steps, at_once)
        if decision.restore is not None:
            self._restore(decision.restore)
        self._snapshots.keep(needed)
        if decision.restore is not None or decision.rate != decision.rate_before:
            self._rates.write(decision.rate)
        if not decision.is_action:
            return
        # Annealing is a decision at every epoch, but news only once.
        is_news = decision.kind != "anneal" or not self.decisions or self.decisions[-1].kind != "anneal"
        self.decisions.append(decision)
        self._decided = [each for each in self._decided if each.epoch == epoch] + [decision]
        if self.verbose and is_news and processes.rank() == 0:
            io_utils.print_msg(f"\nEpoch {epoch + 1}: AdaptLROnPlateau {decision.describe(self._rates.quantity)}")

    def _restore(self, name: Snapshot) -> None:
        if name not in self._snapshots:
            self._warn_once(
                "no copy",
                f"AdaptLROnPlateau has no copy of the weights to go back to ({name}). Either the model was not built "
                "when training began: give it an Input, or call model.build before model.fit. Or one of several "
                "optimizers was not: call its build with the variables that it trains. Or the model was compiled anew "
                "since.",
            )
            return
        try:
            self._snapshots.restore(name, self.model, self._optimizer)
        except OSError as error:
            self._warn_once(
                "lost copy", f"AdaptLROnPlateau cannot go back to its copy of the weights ({name}): {error}"
            )

    # --- within an epoch ---------------------------------------------------------------------------------------------

    @property
    def _decides_in_epoch(self) -> bool:
        return self.frequency != "epoch" and not self.monitor.startswith("val_")

    def _begin_cadence(self) -> None:
        assert isinstance(self.frequency, int)
        self._accumulation = leaf_optimizers(self._optimizer)[0].gradient_accumulation_steps or 1
        carried = self._cadence.numbers if self.state is not None else (0, 0, 0, 0)
        self._cadence = StepCadence(self.monitor, self.frequency * self._accumulation)
        self._cadence.resume(carried)
        metric = next(_metrics(self.model, self.monitor), None)
        self._cadence.is_running_mean = metric is not None
        if metric is not None and type(metric).result is not keras.metrics.Mean.result:
            raise ValueError(
                f"frequency=N needs a metric that is a mean over samples, such as the loss. Received: frequency="
                f"{self.frequency!r} with monitor={self.monitor!r}, a {type(metric).__name__}; watch the loss, or "
                "decide by epochs"
            )

    def _after_batch(self, batch: int, logs: Any = None) -> None:
        """In any thread, and perhaps out of order: keep what is known of a batch, and lose no time over it."""
        logs = logs or {}
        monitored, loss = logs.get(self.monitor), logs.get("loss")
        if type(monitored) is not float or type(loss) is not float:  # Keras hands out floats.
            monitored, loss = _number(monitored), _number(loss)
        if batch == 0 and self._wants_first_loss:
            self._first_loss = _finite(loss)
        self._cadence.add(batch, (monitored, loss))

    def _before_batch(self, batch: int, logs: Any = None) -> None:
        """In the thread that trains, which waits: decide, if enough batches have been seen."""
        if batch and self._cadence.is_due(batch):
            value, loss = self._cadence.take(batch)
            if value is not None:
                self._decide_in_epoch(batch, value, loss)

    def _decide_in_epoch(self, batch: int, value: float, loss: float | None) -> None:
        """Decide on the batches before this one, and tell of it."""
        epoch = self._epoch
        done = (self._batches_before_epoch + batch) // self._accumulation
        self._steps += max(done - self._iterations, 0)
        self._iterations = done
        # On JAX the weights are not in the model during an epoch. Asking for the model brings them there, and stops
        # what runs ahead; so only where something is to be done.
        if self._rates.is_scheduled or processes.count() > 1:
            _ = self.model
        self._find_direction(required=True)
        agreed, loss = self._come_to_agree(value, loss, self._first_loss)
        self._forget_first_loss()
        assert agreed is not None
        expected = self._rule_config().step(self._state, agreed, loss).decision
        if expected.is_action or expected.save is not None:
            _ = self.model
            self._notice_override(epoch)
        before = done, self._rates.written
        rates = self._rates.in_force() if self._rates.is_scheduled else self._rates.last_written()
        self._reporter.step(self._steps, {self.monitor: agreed, **rates}, time.time())
        decided = len(self.decisions)
        self._decide(epoch, agreed, loss)
        if expected.restore is not None or not math.isfinite(agreed):
            # Otherwise what was undone would stay in Keras' running means, and a NaN for the rest of the epoch.
            self.model.reset_metrics()
            self._cadence.restart(batch)
            self._count_batches(batch)
        if self.stop_when_exhausted and self._state.exhausted:
            self.model.stop_training = True
        if len(self.decisions) > decided:
            self._report(epoch, is_last=False)
        else:
            self._write_events()
        if self._file is not None:
            self._remember(epoch, before, has_observation=True, is_over=False)

    def _count_batches(self, batch: int) -> None:
        """What the optimizer counts, now that it can be asked, so that it need not be asked later in the epoch."""
        self._iterations = self._iterations_done()
        self._batches_before_epoch = int(to_float(leaf_optimizers(self._optimizer)[0]._iterations)) - batch

    # --- reports -----------------------------------------------------------------------------------------------------

    def figure(self, axis: Axis = "epoch", *, dark: bool = False) -> Any:
        """The curves, the learning rate and the decisions of this training so far, as a plotly figure.

        A notebook shows it; `figure.write_html("figure.html")` makes a page of it. The training may still be running.

        Args:
            axis: What is to the right: "epoch", "step" (optimizer steps taken) or "time".
            dark: Whether the background is dark.

        Returns:
            A `plotly.graph_objects.Figure`.

        Raises:
            ValueError: `axis` is none of these.
            RuntimeError: There was no training yet, or its first epoch is not over.
            ImportError: plotly is not installed.
        """
        from keras_lrplateau.views.figure import draw, to_plotly

        if not self._reporter.run.records:
            raise RuntimeError("there is nothing to draw before the first epoch of a training is over")
        return to_plotly(draw([self._reporter.run], axis, dark=dark))

    def _iterations_done(self) -> int:
        optimizer = self._optimizer
        # Early releases of Keras 3 count only those of the optimizer inside a LossScaleOptimizer.
        return int(to_float(getattr(optimizer, "inner_optimizer", optimizer).iterations))

    def _report(self, epoch: int, is_last: bool) -> None:
        """What was decided in an epoch, if that is news, and where things stand."""
        record = Record(
            epoch,
            tuple(decision for decision in self._decided if decision.epoch == epoch),
            self._state.status,
            self._steps,
            self.monitor,
            self._config.mode if self._direction_known else None,
            self._rates.quantity,
            self._best,
            time.time(),
            self._state.loss_before,
        )
        self._reporter.record(record, is_last)
        self._write_events()

    def _write_events(self) -> None:
        self._reporter.write()
        if self._reporter.failure is not None:
            self._warn_of_log_dir(self._reporter.failure)

    def _warn_of_log_dir(self, error: OSError) -> None:
        self._warn_once(
            "log_dir",
            f"AdaptLROnPlateau cannot write to log_dir: {error}. Training and its decisions go on; what could not "
            "be written is tried again at each epoch.",
        )

    # --- files -------------------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """What must be the same for a training to go on where an earlier process stopped."""
        rule = dataclasses.asdict(self._config)
        # The direction may be found later, and the length of a training may change.
        rule = {name: value for name, value in rule.items() if name not in ("mode", "observations")}
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            **rule,
            "frequency": self.frequency,
            "optimizer": [
                *([self.optimizer] if isinstance(self.optimizer, str) else []),
                *(leaf.__class__.__name__ for leaf in leaf_optimizers(self._optimizer)),
            ],
            "weights": self.model.count_params() if self.model.built else None,
        }

    def _open_files(self, epoch: int) -> tuple[list[Entry], Pending | None]:
        """Make the files of a training ready, and find what is known of it from before this epoch; alike on all ranks.

        Rank 0 alone writes, but where copies are to be on disk instead of in memory.
        """
        self._reporter.close()
        state_file.release(self._locks)
        rank, files, failure = processes.rank(), Files(), None
        if rank == 0:
            try:
                files = open_files(
                    self.log_dir,
                    self.state_path,
                    self.on_bad_state,
                    self._settings(),
                    epoch,
                    self._iterations,
                    takes_over=self.reset_on_train_begin,
                    owner=self.params,  # Keras hands one object to all callbacks of a fit.
                )
            except (OSError, RuntimeError, ValueError) as error:
                if processes.count() == 1:
                    raise
                failure = f"{type(error).__name__}: {error}"
        self._locks = files.locks
        weakref.finalize(self, state_file.release, files.locks)
        if files.failure is not None:
            self._warn_of_log_dir(files.failure)
        for message in files.messages:
            self._warn_once(message, message)
        plain = {name: value for name, value in self.get_config().items() if isinstance(value, (bool, int, float, str))}
        self._reporter = Reporter(run_name(self.log_dir), files.run_dir, self.monitor, plain)
        self._file = files.state
        entries = [] if files.state is None else files.state.entries
        self._folder = None if files.state is None else state_file.snapshot_folder(files.state.path)
        own = self._folder
        if processes.count() > 1:
            folder = None if own is None else os.fspath(own)
            known = {"failure": failure, "folder": folder, "entries": state_file.entries_to_json(entries)}
            known = processes.gather(known)[0]
            if known["failure"] is not None:
                raise RuntimeError(f"AdaptLROnPlateau cannot begin: rank 0 says: {known['failure']}")
            if rank > 0 and known["folder"] is not None:
                entries = state_file.entries_from_json(known["entries"])
                self._folder = Path(known["folder"])
                own = self._folder.with_name(f"{self._folder.name}.rank{rank}") if self.rollback == "disk" else None
        self._snapshots = Snapshots(in_memory=self.rollback != "disk", folder=own)
        return entries, files.pending

    def _resume(self, epoch: int, entries: list[Entry], pending: Pending | None, is_over: bool) -> None:
        """Be as the callback was that has written these, and do to the model what its weights have not seen yet."""
        last, first = entries[-1], entries[0]
        self._first_epoch = first.epoch
        self._observed = [entry.epoch for entry in entries if entry.has_observation]
        self.decisions = [decision for entry in entries for decision in entry.decisions]
        self._remembered = len(self.decisions)
        self._best, self._steps = last.best, last.steps
        if last.window:
            self._cadence.resume(last.window)
        if last.mode is not None and not self._direction_known:
            self._config = replace(self._config, mode=last.mode)
            self._direction_known = True
        self.state = self._config.read_state(last.state)

        # What is found is of the backup or as compiled; anything else somebody else has set since, which is for the end
        # of the epoch to notice.
        is_ours = self._rates.held in (last.rates, last.rates_before, first.rates_before)
        self._rates.resume(self._state.rate, last.bases, last.adopted, last.rates)
        missing = self._adopt_snapshots(last)
        restored = next((each.restore for each in reversed(last.decisions) if each.restore is not None), None)
        # The same count may come again one epoch later, when training has gone on from what was restored.
        is_at_once = pending is None and epoch == last.epoch + last.is_over
        if restored is not None and is_at_once and self._iterations == last.iterations_before:
            # The weights are from before the decision; or, where the count is the same afterwards, perhaps from after
            # it, and then it does no harm.
            was = entries[-2].snapshots if len(entries) > 1 else {}
            is_there = self._adopt(restored, was.get(restored, last.snapshots.get(restored)))
            if is_there or self._iterations != last.iterations:
                self._restore(restored)
            self._snapshots.keep(self._rule_config().needed_snapshots(self._state))
        if is_ours:
            self._rates.write(self._state.rate)
        elif last.epoch + last.is_over < epoch:
            # It was decided after the file's last entry, which the user has been told of.
            self._notice_override(last.epoch, is_known=True)
        if missing and not is_over:
            self._make_up_for(missing, last)
        if pending is not None:
            # The process died between another callback's backup of this epoch and our decision about it.
            self._iterations = last.iterations
            self._end_epoch(pending.epoch, dict(pending.logs), pending.first_loss)
        self._iterations = self._iterations_done()
        self._next_epoch = epoch

    def _adopt_snapshots(self, last: Entry) -> set[Snapshot]:
        """Take over the copies on disk; returns which of those that are needed are missing, on any rank."""
        needed = self._rule_config().needed_snapshots(self._state)
        missing = sorted(name for name in needed if not self._adopt(name, last.snapshots.get(name)))
        return {name for names in processes.gather(missing) for name in names}

    def _adopt(self, name: Snapshot, file: str | None) -> bool:
        if file is None or self._folder is None:
            return False
        try:
            self._snapshots.adopt(name, self._folder / file, self.model, self._optimizer)
        except (OSError, ValueError) as error:
            self._warn_once("lost copy", f"AdaptLROnPlateau cannot use a copy of the weights: {error}")
            return False
        return True

    def _make_up_for(self, missing: set[Snapshot], last: Entry) -> None:
        """There is no copy of these any more: go on as soundly as can be, and say so."""
        is_best_now = self._best is not None and self._best.epoch == last.epoch and self._iterations == last.iterations
        if "best" in missing:
            self._snapshots.take("best", self.model, self._optimizer, self._steps)
            if not is_best_now:
                self._warn_once(
                    "no best",
                    "AdaptLROnPlateau has no copy of the best weights any more, so for going back those with which "
                    "training resumes take their place.",
                )
        if self._state.in_excursion and missing & {"raise", getattr(self._state, "way_back", "raise")}:
            step = self._rule_config().finish(self._state)
            reason = (
                "the copy of the weights from before the raise is gone, so the excursion ends: only the rate goes back"
            )
            self._carry_out(last.epoch, step._replace(decision=replace(step.decision, reason=reason, restore=None)))
            self._warn_once("no raise", f"AdaptLROnPlateau resumes: {reason}.")

    def _remember(
        self,
        epoch: int,
        before: tuple[int, tuple[float, ...]] | None = None,
        *,
        has_observation: bool = False,
        is_over: bool = True,
        raises: bool = False,
    ) -> None:
        """Add an entry to the state file, and write it.

        Args:
            epoch: From 0.
            before: The count of steps and what the optimizers held before anything was decided, if something was.
            has_observation, is_over: See `Entry`.
            raises: Whether a failure is an error, not a warning.
        """
        assert self._file is not None
        if is_over:
            self._snapshots.write_missing()
        iterations_before, rates_before = before or (self._iterations, self._rates.written)
        entry = Entry(
            epoch=epoch,
            is_over=is_over,
            iterations_before=iterations_before,
            iterations=self._iterations,
            has_observation=has_observation,
            decisions=tuple(self.decisions[self._remembered :]),
            rates_before=rates_before,
            rates=self._rates.written,
            bases=self._rates.bases,
            adopted=self._rates.adopted,
            mode=self._config.mode if self._direction_known else None,
            best=self._best,
            steps=self._steps,
            snapshots=self._snapshots.files,
            window=self._cadence.numbers if self._decides_in_epoch else (),
            state=self._state.to_dict(),
        )
        self._remembered = len(self.decisions)
        self._file.entries.append(entry)
        self._file.pending = None
        self._file.is_finished = False  # There may be a fit after `finish`.
        self._write_state(raises)

    def _remember_end(self) -> None:
        """Training has ended: what was taken back then belongs to the last entry, and no copy is needed any more."""
        assert self._file is not None
        if not self._file.entries:
            return
        last = self._file.entries.pop()
        self._remember(last.epoch, (last.iterations_before, last.rates_before), is_over=last.is_over)
        entry = self._file.entries.pop()
        self._file.entries.append(
            replace(entry, has_observation=last.has_observation, decisions=last.decisions + entry.decisions)
        )
        self._file.is_finished = True
        self._write_state()

    def _write_state(self, raises: bool = False) -> None:
        """What fails is tried again at the next epoch; training goes on."""
        assert self._file is not None
        try:
            self._file.write()
            self._snapshots.clean(self._file.recent_snapshots)
            if self._snapshots.failure is not None:
                raise self._snapshots.failure
        except OSError as error:
            if raises:
                raise
            if self.state_path is None:
                self._warn_of_log_dir(error)
                return
            self._warn_once(
                "state_path",
                f"AdaptLROnPlateau cannot write to state_path: {error}. Training and its decisions go on; it is tried "
                "again at each epoch. Until then a crash would lose what was learned since.",
            )

    def _warn_once(self, topic: str, message: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            warnings.warn(message, stacklevel=2)


def _direction(model: Any, monitor: str) -> Literal["min", "max"] | None:
    """Whether a metric should fall or rise, as Keras knows it; also for the outputs of a model with several."""
    name = monitor.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    for metric in _metrics(model, name):
        direction = getattr(metric, "_direction", None)
        if direction is not None:
            return "max" if direction == "up" else "min"
    return None


def _metrics(model: Any, name: str) -> Iterator[Any]:
    """The metrics of a model that may be meant by a name in the logs."""
    # Compiled metrics come in containers.
    for metric in (inner for outer in model.metrics for inner in (outer, *getattr(outer, "metrics", ()))):
        if name == metric.name or name.endswith(f"_{metric.name}"):
            yield metric


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """What is a number in the logs."""
    return {name: number for name, value in (logs or {}).items() if (number := _number(value)) is not None}


def _mean(column: Iterable[float | None]) -> float | None:
    """Of those that are there: validation may be the business of one rank only."""
    found = [each for each in column if each is not None]
    # Exact where all are equal, as on JAX, where sum / len may be off in the last bit.
    return statistics.mean(found) if found else None


def _finite(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None


def _number(value: Any) -> float | None:
    """A number of any type as a float: Python, NumPy, a tensor or variable with one element. None if it is not one."""
    if isinstance(value, float):
        return float(value)
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        # Exactly, as Keras does: what on_test_begin reads must be what on_epoch_end will be told.
        dtype = keras.backend.standardize_dtype(value.dtype) if hasattr(value, "dtype") else ""
        value = keras.ops.cast(value, "float32") if dtype == "bfloat16" else value
        return float(np.asarray(keras.ops.convert_to_numpy(value)).item())
    except (TypeError, ValueError, OverflowError):
        return None


def _path(name: str, value: Any, wanted: str) -> str:
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise TypeError(f"{name} must be {wanted}. Received: {name}={value!r}")
    if not path or "\0" in path:
        raise ValueError(f"{name} must be {wanted}, not empty and without NUL. Received: {name}={value!r}")
    return path


def _plain_integer(value: Any) -> Any:
    """As `_plain`, and 5.0 as 5, since Keras takes it."""
    value = _plain(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    """A NumPy scalar, as search libraries hand them out, as a Python number; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
