"""The callback: from Keras' hooks to the policy, from its decisions to the optimizer and the reporters."""

from __future__ import annotations

import difflib
import math
import os
import time
import warnings
import weakref
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras.src.utils import io_utils

from keras_lrplateau import auto as auto_mode
from keras_lrplateau import policy
from keras_lrplateau.optimizer import RateControl, restore_snapshot, scale_schedules, take_snapshot, to_float
from keras_lrplateau.policy import Config, Decision, Snapshot, State
from keras_lrplateau.run import Axis, Curve, Observation, Record, Run, best_of
from keras_lrplateau.tensorboard.writer import EventWriter, next_run_dir

EPOCHS_WITHOUT_VALIDATION = 3
"""So many epochs without any validation metric are a mistake rather than a `validation_freq`."""


class AdaptLROnPlateau(keras.callbacks.Callback):
    """Cuts the learning rate on a plateau, raises it when progress stays stalled, recovers when training breaks.

    For those who do not want to choose a learning rate there is `AdaptLROnPlateau.auto`.

    The arguments that `keras.callbacks.ReduceLROnPlateau` has come first, with its names, order and defaults. With
    `max_raises=0, recover=False` the rate is what ReduceLROnPlateau would make it. The rule itself, its terms and its
    sources are in `keras_lrplateau.policy`.

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
        rollback: Whether copies of the training state may be kept for going back: at most two, in host memory, each of
            the size of the weights and the optimizer state (with Adam three times the weights). False keeps none. Going
            back includes the optimizer's count of iterations, and so the position in a schedule.
        rollback_on_cut: Whether an ordinary cut, too, goes back to the best state. Off, since the best of many noisy
            observations is partly the luckiest.
        stop_when_exhausted: Whether to stop training when nothing is left to try.
        reset_on_train_begin: Whether each `fit` starts afresh, as in Keras. Set it to False to call `fit` repeatedly
            for parts of one training, and call `finish` after the last one.
        log_dir: Where to write TensorBoard event files: into a run of its own, `lr_plateau`, below this directory. The
            same directory may be given to `keras.callbacks.TensorBoard`. None writes nothing.

    Attributes:
        decisions: Every decision that changed something, as `keras_lrplateau.Decision`, in order.
        state: The policy's state, `keras_lrplateau.State`; None before training.

    Raises:
        TypeError: An argument is of the wrong type; or, when training begins, the model has no Keras optimizer.
        ValueError: An argument is out of its range; or, when training begins, `max_lr` is below the optimizer's rate;
            or, when the metric first appears, `mode="auto"` cannot tell its direction.
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
        rollback: bool = True,
        rollback_on_cut: bool = False,
        stop_when_exhausted: bool = False,
        reset_on_train_begin: bool = True,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise TypeError(f"monitor must be the name of a metric, such as 'val_loss'. Received: monitor={monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be one of 'auto', 'min', 'max'. Received: mode={mode!r}")
        if log_dir is not None and not isinstance(log_dir, (str, os.PathLike)):
            raise TypeError(f"log_dir must be None or the path of a directory. Received: log_dir={log_dir!r}")
        if not isinstance(verbose, (int, np.integer)) or verbose < 0:
            raise ValueError(f"verbose must be an integer >= 0. Received: verbose={verbose!r}")
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
            rollback=rollback,
            rollback_on_cut=rollback_on_cut,
        )
        self.monitor = monitor
        self.mode = mode
        self.verbose = int(verbose)
        self.stop_when_exhausted = bool(stop_when_exhausted)
        self.reset_on_train_begin = bool(reset_on_train_begin)
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.decisions: list[Decision] = []
        self.state: State | auto_mode.State | None = None

        self._control: RateControl | None = None
        self._direction_known = mode != "auto"
        self._snapshots: dict[Snapshot, list[np.ndarray[Any, Any]]] = {}
        self._begun = False
        self._first_loss: float | None = None
        self._first_epoch = 0
        self._next_epoch = 0
        self._epoch_offset = 0
        self._epochs_without_validation = 0
        self._warned: set[str] = set()

        self._run = Run("", {}, [])
        self._observed: list[int] = []
        self._best: Observation | None = None
        self._decided: list[Decision] = []
        self._steps = 0
        self._iterations = 0
        self._run_dir: Path | None = None
        self._resumes = False
        self._writer: EventWriter | None = None
        self._unwritten: list[tuple[int, float, dict[str, float], Record | None]] = []

    @classmethod
    def auto(
        cls,
        monitor: str = "val_loss",
        mode: Literal["auto", "min", "max"] = "auto",
        *,
        min_lr: float = 0.0,
        max_lr: float | None = None,
        budget: float = auto_mode.Config.budget,
        log_dir: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> AdaptLROnPlateau:
        """A callback that needs no good learning rate: it searches for one, raises and cuts it, and anneals at the end.

        The rate of the optimizer may be wrong by orders of magnitude. In the first few epochs other rates are tried,
        each from the first weights; the rule is in `keras_lrplateau.auto`. `fit` should run for the number of epochs
        that it was given: the last part of them is for annealing. The weights that it ends with are about the best
        ones: where the last epochs are significantly worse, the best ones are put back.

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
            log_dir: Where to write TensorBoard event files, as for `AdaptLROnPlateau`.
            verbose: 0 for silence, else a line at each decision, printed as Keras prints.

        Returns:
            The callback. It keeps at most three copies of the weights and the optimizer state in host memory. Its
            `state` is a `keras_lrplateau.auto.State`.

        Raises:
            TypeError, ValueError: As `AdaptLROnPlateau`; and when training begins, the optimizer's rate is 0.
        """
        callback = cls(monitor, verbose=verbose, mode=mode, min_lr=min_lr, max_lr=max_lr, log_dir=log_dir)
        config = callback._config
        callback._config = auto_mode.Config(
            mode=config.mode, min_lr=config.min_lr, max_lr=config.max_lr, budget=_plain(budget)
        )
        return callback

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: an open file stays with the original, and a copy writes to a run of its own."""
        return {**self.__dict__, "_writer": None, "_run_dir": None}

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal callback."""
        config = self._config
        if isinstance(config, auto_mode.Config):
            return {
                "monitor": self.monitor,
                "mode": self.mode,
                "min_lr": config.min_lr,
                "max_lr": config.max_lr,
                "budget": config.budget,
                "log_dir": self.log_dir,
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
            "rollback": config.rollback,
            "rollback_on_cut": config.rollback_on_cut,
            "stop_when_exhausted": self.stop_when_exhausted,
            "reset_on_train_begin": self.reset_on_train_begin,
            "log_dir": self.log_dir,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdaptLROnPlateau:
        """A callback from what `get_config` returned."""
        return cls.auto(**config) if "budget" in config else cls(**config)

    # --- Keras' hooks ------------------------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        # Here, since Keras makes the training step between this hook and on_train_begin.
        if isinstance(model.optimizer, keras.optimizers.Optimizer):
            scale_schedules(model, self._config.min_lr, self._config.max_lr)

    def on_train_begin(self, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        if self.reset_on_train_begin or self._control is None or self._control.optimizer is not optimizer:
            self._control = RateControl(optimizer, self._config.min_lr, self._config.max_lr)
            self._snapshots = {}  # Of another optimizer, if any.
        if self.reset_on_train_begin:
            self.state = None
            self.decisions = []
            self._next_epoch = 0
            self._warned = set()
            self._close_writer()
        self._forget_first_loss()
        self._direction_known = self.mode != "auto"
        self._find_direction(required=False)
        if self.state is None:
            self._start()  # For its error, if the bounds do not fit the rate.
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Not in on_train_begin: a callback behind us in the list may load a checkpoint there.
        if not self._begun:
            self._begin(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._begun:
            self._begin(epoch)
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        epoch += self._epoch_offset
        self._next_epoch = epoch + 1
        self._decided = []
        self._steps += max(self._iterations_done() - self._iterations, 0)
        if self._first_loss is not None:
            self.state = replace(self._state, loss_before=self._first_loss)
        self._forget_first_loss()

        self._notice_override(epoch)
        logs = {} if logs is None else logs
        # As Keras does: the rate that was used, before anything is decided.
        logs.update(self._rates.in_force())
        numbers = {name: number for name, value in logs.items() if (number := _number(value)) is not None}
        self._take_down(epoch, numbers)
        value = self._observe(logs)
        if value is not None:
            self._observed.append(epoch)
            found = Observation(epoch, value)
            self._best = best_of([found] if self._best is None else [self._best, found], self._config.mode)
            config = self._rule_config(self._state.observations + 1)
            loss = numbers.get("loss")
            searches = isinstance(self.state, auto_mode.State) and self.state.phase == "search"
            if searches and (self.params or {}).get("steps") == 1:
                # The loss of a single batch is that before its update: of the first weights, whatever the rate.
                loss = None
                if isinstance(config, auto_mode.Config) and not self.monitor.startswith("val_"):
                    config = replace(config, budget=0.0)
            self._carry_out(epoch, self._rule.step(config, self._state, value, loss))
        if self.stop_when_exhausted and self._state.exhausted:
            self.model.stop_training = True
        if self.reset_on_train_begin and (is_last or self.model.stop_training):
            # Not in on_train_end: by then Keras has put its average of weights into the model, EarlyStopping its best.
            self._take_back_open_trial(epoch)
        self._report(is_last or self.model.stop_training)

    def on_train_end(self, logs: Any = None) -> None:
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
        if self._take_back_open_trial(self._next_epoch - 1):
            # Keras has put its averages of the weights that are now gone into the model.
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        self._report(is_last=True)
        self._close_writer()
        self._snapshots = {}

    # --- before the first step ---------------------------------------------------------------------------------------

    def _begin(self, epoch: int) -> None:
        """All other callbacks have done what they do before training: take the rate and the weights as they are."""
        self._begun = True
        self._epochs_without_validation = 0
        if self.state is None:
            self._first_epoch = epoch
            self._run = Run(os.path.basename(self.log_dir or "") or "training", {}, [])
            self._observed = []
            self._best = None
            # A model that was trained before begins at 0 like any other; a training that goes on does not.
            self._steps = self._iterations_done() if epoch > 0 else 0
            self._run_dir = None
            self._unwritten = []  # Of another training, whose run is not this one's.
            self._resumes = epoch > 0
            self._rates.adopt()
            self.state = self._start()
            if "start" in self._rule.needed_snapshots(self._rule_config(0), self.state) and self.model.built:
                self._snapshots["start"] = take_snapshot(self.model)
        elif 0 < epoch < self._next_epoch:
            # Somebody has gone back, and begins again at this epoch.
            self._run.forget(epoch)
            self._best = self._run.best
            self._close_writer()
        self._iterations = self._iterations_done()
        # One training in several fits, each counting from 0: the curve goes on all the same.
        self._epoch_offset = self._next_epoch if epoch == 0 else 0
        model = self.model
        is_new = self.state.observations == 0 and epoch == 0 and not self._iterations
        recovers = isinstance(self._config, auto_mode.Config) or self._config.recover
        if recovers and is_new and getattr(model, "steps_per_execution", 1) == 1:
            # On the instance and for one batch: a batch hook on the class would end Keras' asynchronous dispatch. Not
            # for a model that was trained before: its loss on one batch is too small and too random a yardstick.
            self.on_train_batch_end = self._read_first_loss

    def _start(self) -> State | auto_mode.State:
        # The bounds limit what is decided about a schedule, not the schedule itself.
        config = replace(self._config, min_lr=0.0, max_lr=None) if self._rates.is_scheduled else self._config
        state: State | auto_mode.State = self._rule.start(config, self._rates.rate)
        return state

    def _read_first_loss(self, batch: int, logs: Any = None) -> None:
        """The loss of the first batch is that of the weights before training."""
        if batch == 0:  # Asynchronous dispatch may call out of order.
            self.__dict__.pop("on_train_batch_end", None)
            loss = _number((logs or {}).get("loss"))
            if loss is not None and math.isfinite(loss):
                self._first_loss = loss

    def _forget_first_loss(self) -> None:
        self.__dict__.pop("on_train_batch_end", None)
        self._first_loss = None

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

    def _notice_override(self, epoch: int) -> None:
        if self._rates.changed_outside:
            self._rates.adopt()
        if self._rates.rate != self._state.rate:
            self._carry_out(epoch, self._rule.override(self._rule_config(), self._state, self._rates.rate))
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
    def _rule(self) -> Any:
        """The module with the rule."""
        return auto_mode if isinstance(self._config, auto_mode.Config) else policy

    @property
    def _state(self) -> State | auto_mode.State:
        assert self.state is not None
        return self.state

    def _rule_config(self, observations: int | None = None) -> Config | auto_mode.Config:
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

    def _take_back_open_trial(self, epoch: int) -> bool:
        """Whether there was one."""
        step = self._rule.finish(self._rule_config(), self._state)
        self._carry_out(epoch, step)
        return bool(step.decision.is_action)

    def _carry_out(self, epoch: int, step: policy.Step[State] | policy.Step[auto_mode.State]) -> None:
        since = step.decision.since
        # The state of a training that was resumed may have seen observations that this callback has not.
        missed = step.state.observations - len(self._observed)
        # And where training has gone back to an earlier epoch, observations are of epochs that are still to come.
        since_epoch = None if since is None else min(self._observed[max(since - 1 - missed, 0)], epoch)
        decision = replace(step.decision, epoch=epoch, since_epoch=since_epoch)
        self.state = step.state
        needed = self._rule.needed_snapshots(self._rule_config(), step.state)
        if decision.save is not None:
            # What is not needed goes before the new one comes, and so does the old one of the same name.
            self._drop_snapshots(keep=(needed | {decision.restore}) - {decision.save})
            self._snapshots[decision.save] = take_snapshot(self.model)
        if decision.restore is not None:
            self._restore(decision.restore)
        self._drop_snapshots(keep=needed)
        if decision.restore is not None or decision.rate != decision.rate_before:
            self._rates.write(decision.rate)
        if not decision.is_action:
            return
        # Annealing is a decision at every epoch, but news only once.
        is_news = decision.kind != "anneal" or not self.decisions or self.decisions[-1].kind != "anneal"
        self.decisions.append(decision)
        self._decided.append(decision)
        if self.verbose and is_news:
            io_utils.print_msg(f"\nEpoch {epoch + 1}: AdaptLROnPlateau {decision.describe(self._rates.quantity)}")

    def _drop_snapshots(self, keep: Collection[Snapshot | None]) -> None:
        self._snapshots = {name: kept for name, kept in self._snapshots.items() if name in keep}

    def _restore(self, name: Snapshot) -> None:
        if name in self._snapshots:
            restore_snapshot(self.model, self._snapshots[name])
        else:
            self._warn_once(
                "no copy",
                f"AdaptLROnPlateau has no copy of the weights to go back to ({name}). Either the model was not built "
                "when training began: give it an Input, or call model.build before model.fit. Or it was compiled anew "
                "since.",
            )

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
        from keras_lrplateau.figure import draw, to_plotly

        if not self._run.records:
            raise RuntimeError("there is nothing to draw before the first epoch of a training is over")
        return to_plotly(draw([self._run], axis, dark=dark))

    def _iterations_done(self) -> int:
        optimizer = self.model.optimizer
        # Early releases of Keras 3 count only those of the optimizer inside a LossScaleOptimizer.
        return int(to_float(getattr(optimizer, "inner_optimizer", optimizer).iterations))

    def _take_down(self, epoch: int, numbers: dict[str, float]) -> None:
        """The numbers of an epoch, for the figure and for the event file."""
        now = time.time()
        for name, number in numbers.items():
            self._run.curves.setdefault(name, Curve()).append(epoch, number, now)
        self._unwritten.append((epoch, now, numbers, None))

    def _report(self, is_last: bool) -> None:
        """What was decided in the epoch that is over, if that is news, and where things stand."""
        if not self._run.curves:
            return  # Interrupted in the first epoch.
        epoch, records = self._next_epoch - 1, self._run.records
        self._iterations = self._iterations_done()  # After going back there are fewer.
        if self._is_news(epoch, is_last):
            record = Record(
                epoch,
                tuple(self._decided),
                self._state.status,
                self._steps,
                self.monitor,
                self._config.mode if self._direction_known else None,
                self._rates.quantity,
                self._best,
                time.time(),
            )
            if records and records[-1].epoch == epoch:
                records.pop()
            records.append(record)
            numbers: dict[str, float] = {}
            if self._unwritten and self._unwritten[-1][0] == epoch:
                _, _, numbers, _ = self._unwritten.pop()
            self._unwritten.append((epoch, record.time, numbers, record))
        self._write()

    def _is_news(self, epoch: int, is_last: bool) -> bool:
        """Whether the epoch that is over is worth a record."""
        if not self._run.records or (self._unwritten and self._writer is None and self.log_dir is not None):
            return True  # The first of a training, or of an event file.
        last = self._run.records[-1]
        if self._state.status != last.status:
            return True
        if epoch == last.epoch:
            return len(self._decided) > len(last.decisions)
        # A list of runs goes by their last records: the best that they tell of is at most a fiftieth of a training old.
        has_new_best = self._best != last.best and epoch - last.epoch >= max(epoch // 50, 1)
        return bool(self._decided) or is_last or has_new_best

    def _write(self) -> None:
        """Write what is not written yet. What fails is tried again at the next epoch; training goes on."""
        if self.log_dir is None:
            self._unwritten = []
            return
        try:
            if self._run_dir is None:
                self._run_dir = next_run_dir(self.log_dir, resume=self._resumes)
            while self._unwritten:
                epoch, wall_time, numbers, record = self._unwritten[0]
                if self._writer is None:
                    self._writer = self._open_writer(self._run_dir, epoch, numbers)
                if record is not None:
                    self._writer.record(record)
                if numbers:
                    self._writer.scalars(epoch, numbers, wall_time)
                # Only now: a new file voids what an earlier one holds of its first epoch.
                self._unwritten.pop(0)
        except OSError as error:
            self._writer = None
            self._warn_once(
                "log_dir",
                f"AdaptLROnPlateau cannot write to log_dir: {error}. Training and its decisions go on; what could not "
                "be written is tried again at each epoch.",
            )

    def _open_writer(self, run_dir: Path, epoch: int, numbers: dict[str, float]) -> EventWriter:
        writer = EventWriter(run_dir, first_step=epoch)
        weakref.finalize(self, writer.close)  # An interrupted fit does not reach on_train_end.
        # With validation_freq the first epoch may lack what later ones have.
        writer.layout(self.monitor, sorted({*numbers, self.monitor, "val_loss"}))
        writer.hparams({name: value for name, value in self.get_config().items() if value is not None})
        return writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _warn_once(self, topic: str, message: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            warnings.warn(message, stacklevel=2)


def _direction(model: Any, monitor: str) -> Literal["min", "max"] | None:
    """Whether a metric should fall or rise, as Keras knows it; also for the outputs of a model with several."""
    name = monitor.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    # Compiled metrics come in containers.
    for metric in (inner for outer in model.metrics for inner in (outer, *getattr(outer, "metrics", ()))):
        if name == metric.name or name.endswith(f"_{metric.name}"):
            direction = getattr(metric, "_direction", None)
            if direction is not None:
                return "max" if direction == "up" else "min"
    return None


def _number(value: Any) -> float | None:
    """A number of any type as a float: Python, NumPy, a tensor or variable with one element. None if it is not one."""
    if isinstance(value, float):
        return value
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        return to_float(value)
    except (TypeError, ValueError):
        return None


def _plain_integer(value: Any) -> Any:
    """As `_plain`, and 5.0 as 5, since Keras takes it."""
    value = _plain(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    """A NumPy scalar, as search libraries hand them out, as a Python number; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
