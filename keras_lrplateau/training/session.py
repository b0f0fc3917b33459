"""A training under way: observe, decide, carry out.

The callback hands Keras' hooks in. A session makes observations of them, asks the rule about each one once, carries the
decision out on the model, and tells the recorder. What a crash must not lose it gives to `Memory`.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final

import keras

from keras_lrplateau.history.event_log import EventLog
from keras_lrplateau.history.recorder import Recorder
from keras_lrplateau.history.run import Observation, Record, best_of
from keras_lrplateau.resume.entries import Entry
from keras_lrplateau.resume.saved import Saved
from keras_lrplateau.resume.state_file import Pending
from keras_lrplateau.rule.decision import Decision, Evidence, Rule, RuleState, Snapshot, Step
from keras_lrplateau.rule.search import HOPELESS
from keras_lrplateau.rule.soundness import SKIPPED, exceeds
from keras_lrplateau.rule.words import number
from keras_lrplateau.training import metrics, processes
from keras_lrplateau.training.advice import Surroundings, advice
from keras_lrplateau.training.cadence import StepCadence, look_at_metric, make_cadence
from keras_lrplateau.training.evidence import agree, are_finite, gather_evidence, odd_weights, skipped_share
from keras_lrplateau.training.memory import Found, Memory
from keras_lrplateau.training.notices import Notices
from keras_lrplateau.training.optimizers import (
    accumulation_of,
    averages_weights,
    chosen_optimizer,
    iterations_of,
    leaf_optimizers,
    optimizers_of,
    to_float,
)
from keras_lrplateau.training.options import Options
from keras_lrplateau.training.rates import RateControl
from keras_lrplateau.training.schedules import scale_schedules
from keras_lrplateau.training.sinks import Console, KerasLogs, OnDecision
from keras_lrplateau.training.snapshots import Snapshots, is_built, stop_momentum

EPOCHS_WITHOUT_VALIDATION = 3
"""After this many epochs without any validation metric, and without validation data, there is a warning."""

PLENTY = 10_000
"""So many observations are taken to be left within a first epoch, where its length is not known before it is over."""


class Host(Protocol):
    """What a session needs of its callback.

    On JAX the weights are not in the model during an epoch. Reading `model` brings them there, and stops what runs
    ahead. So within an epoch a session reads it only where something is to be done.
    """

    @property
    def model(self) -> Any: ...

    @property
    def params(self) -> Any: ...

    def get_config(self) -> dict[str, Any]: ...


@final
class Session:
    """One training, in one `fit` or in several.

    Args:
        host: The callback.
        options: Its arguments.
        before: The session of the `fit` before.
        saved: The state to begin with; None to begin a new training, or go on with the state file.

    Attributes:
        host, options, saved: As above.
        before: The one before, if it has ended: this one may be a new phase of its training.
        rule: The rule, with the direction of the metric as far as it is known.
        state: The rule's state; None before training.
        decisions: Every decision that changed something, in order.
        rates: What sets the rate of the optimizer.
        snapshots: The copies of the training state.
        recorder: The training as data, and what listens to it.
        memory: What survives a crash.
        cadence: The observations within an epoch.
        direction_known: Whether `rule.mode` is the direction of the metric, and not just the default.
        first_epoch: The epoch, from 0, with which this training began, also in an earlier process.
        next_epoch: The first epoch that is not over.
        epoch_offset: How many epochs there were before the one from which the present `fit` counts.
        observed: The epochs of all observations.
        best: The best observation so far.
        steps: Optimizer steps so far; those that were rolled back count, too.
        iterations: What the optimizer counts; going back takes it back.
        remembered: How many of the decisions the state file knows.
        is_finished: Whether the training has ended.
        is_begun: Whether the first epoch of the present `fit` has begun.
        wants_first_loss: Whether the loss of the first batch of this epoch is wanted.
        notices: The warnings that were given.
    """

    def __init__(self, host: Host, options: Options, before: Session | None = None, saved: Saved | None = None) -> None:
        self.host = host
        self.saved = saved
        self.options = options
        self.is_finished = False
        self.before: Session | None = before if before is not None and before.is_finished else None
        self.rule = options.rule
        self.state: RuleState | None = None
        self.decisions: list[Decision] = []
        self.rates = RateControl(self.optimizer, self.rule.min_lr, self.rule.max_lr)
        self.snapshots = Snapshots()
        self.recorder = Recorder("")
        self.memory = Memory()
        self.cadence = StepCadence(options.monitor, 1)
        self.direction_known = options.mode != "auto"
        self.first_epoch = 0
        self.next_epoch = 0
        self.epoch_offset = 0
        self.observed: list[int] = []
        self.best: Observation | None = None
        self.steps = 0
        self.iterations = 0
        self.remembered = 0
        self.is_begun = False
        self.wants_first_loss = False
        self.notices = Notices()

        self._log: EventLog | None = None
        # Only what `compile` can be called on; in a loop of one's own it may be any object.
        self._model = weakref.ref(self.model) if isinstance(self.model, keras.Model) else None
        self._epoch = 0
        self._is_in_epoch = False
        self._around = Surroundings()
        self._epochs_without_validation = 0
        self._first_loss: float | None = None
        self._training_logs: dict[str, float] = {}
        self._decided: list[Decision] = []
        self._accumulation = 1
        self._batches_before_epoch = 0
        self._batches_done = 0
        self._knows_metric = True
        self._odd_weights: frozenset[str] = frozenset()

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: files and other callbacks stay with the original; a copy writes to its own run."""
        recorder = Recorder(self.recorder.run.name)
        recorder.run = self.recorder.run
        own = {"_log": None, "_model": None, "memory": Memory(), "recorder": recorder, "_around": Surroundings()}
        return {**self.__dict__, **own}

    @property
    def model(self) -> Any:
        """The model; see `Host` for what reading it costs."""
        return self.host.model

    @property
    def optimizer(self) -> Any:
        """The optimizer to adapt."""
        return chosen_optimizer(self.model, self.options.optimizer)

    @property
    def known_state(self) -> RuleState:
        """The rule's state, once there is one."""
        assert self.state is not None
        return self.state

    @property
    def _epochs(self) -> int | None:
        """Before which epoch the present `fit` ends; None where it is not known."""
        epochs: int | None = (self.host.params or {}).get("epochs")
        return None if epochs is None else epochs + self.epoch_offset

    def is_recompiled(self, before: Session) -> bool:
        """Whether this training has the model of an earlier one, compiled again since."""
        is_same = before._model is not None and before._model() is self.model
        return is_same and before.rates.optimizer is not self.optimizer

    @property
    def _batches(self) -> int | None:
        """How many batches an epoch has; None where that is not known before the first one is over."""
        return (self.host.params or {}).get("steps") or self.cadence.length

    # --- the life of a training --------------------------------------------------------------------------------------

    def begin_fit(self, around: Surroundings) -> None:
        """A `fit` begins. What other callbacks may still load is not looked at before the first epoch."""
        self._around = around
        if self.rates.optimizer is not self.optimizer:
            self.rates = RateControl(self.optimizer, self.rule.min_lr, self.rule.max_lr)
            self.snapshots.keep(())  # They hold the state of another optimizer.
        steps = (self._batches or 0) // accumulation_of(self.optimizer)
        for message in advice(self.options, self.model, self.rates.rate, around.others, self._epochs, steps):
            self.notices.once(message, message)
        self.direction_known = self.options.mode != "auto"
        self._find_direction(required=False)
        if self.state is None:
            self.start_state()  # For its error, if the bounds do not fit the rate.
        self._forget_first_loss()
        self.is_begun = False

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins, from 0."""
        self._epoch = epoch + self.epoch_offset
        self._follow_optimizer(self._epoch)
        self._is_in_epoch = True
        is_single = getattr(self.model, "steps_per_execution", 1) == 1
        # Where not every epoch has an observation, it is the first one since the last observation that counts.
        self.wants_first_loss = self.rule.recovers and is_single and self._first_loss is None
        if self.options.decides_in_epoch:
            self.cadence.restart()
            self._count_batches(0)
            self._batches_done = 0
            self._set_pace()

    def end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        """An epoch is over, and its logs are complete."""
        self._is_in_epoch = False
        self.decide_on_epoch(epoch, logs, self._first_loss)

    def end_fit(self) -> None:
        """A `fit` has ended."""
        self._is_in_epoch = False
        if self.state is None:
            return
        if self.state.observations == 0:
            self._warn_of_no_validation()
        if self.options.reset_on_train_begin:
            # There is an open trial only if a callback behind ours in the list has stopped the training.
            self.finish()

    def finish(self) -> None:
        """The training is over: take back what has not proved itself, and close all files."""
        if self.state is None or self.is_finished:
            return
        compiled = getattr(self.model, "optimizer", None)
        if self._take_back_open_trial(self.next_epoch - 1) and isinstance(compiled, keras.optimizers.Optimizer):
            # Keras has put its averages of the weights that are now gone into the model.
            compiled.finalize_variable_values(self.model.trainable_variables)
        self.snapshots.keep(())
        if self.next_epoch > self.first_epoch:
            if self.recorder.run.records or self._decided:
                self._report(self.next_epoch - 1, is_last=True, is_over=True)
            if self.memory.file is not None and self.memory.file.entries:
                self.memory.end(self.entry(self.next_epoch - 1))
                self.remembered = len(self.decisions)
                self._write_state()
        self.is_finished = True
        self.before = None
        self.close()

    def close(self) -> None:
        """Close the files, and give up what this process has claimed."""
        self.recorder.close()
        self.memory.release()

    # --- the first epoch of a fit, for `resuming.begin` --------------------------------------------------------------

    def prepare(self) -> None:
        """Take the optimizer as it is found."""
        self._epochs_without_validation = 0
        self._decided = []
        self.iterations = iterations_of(self.optimizer)
        if self.options.decides_in_epoch:
            self._begin_cadence()

    def begun(self) -> None:
        """All is ready for the first epoch of a `fit`."""
        self._odd_weights = odd_weights(self.model) if self.model.built else frozenset()
        self.is_begun = True

    def record(self, name: str, found: Found) -> None:
        """Begin to record a training, and to keep copies, where there is a place for them."""
        self.snapshots = Snapshots(self.options.rollback != "disk", found.own_folder, found.state_path)
        function = self.options.on_decision
        listeners = [*(self.options.sinks or []), *([] if function is None else [OnDecision(function)])]
        self.recorder = Recorder(name, [], listeners, self.notices.sink)
        if processes.rank() > 0:
            self.recorder = Recorder(name)
        elif self.options.verbose:
            self.recorder.sinks.append(Console())
        self.remembered = len(self.decisions)
        self.listen(found.run_dir)

    def listen(self, run_dir: Path | None) -> None:
        """Write events to a run directory, if there is one."""
        if run_dir is None:
            return
        check = partial(self.memory.renew, run_dir)
        self._log = EventLog(self.recorder.run, run_dir, self.options.monitor, self._chosen(), check)
        self.recorder.sinks.append(self._log)

    def _chosen(self) -> dict[str, bool | int | float | str]:
        """What was chosen for this training, for the HParams tab."""
        chosen = {
            **(self.options.hparams or {}),
            **{f"starting_{name}": rate for name, rate in self.rates.in_force().items()},
            "batch_size": self._around.batch_size,
            **self.host.get_config(),
            "optimizer": " + ".join(type(leaf).__name__ for leaf in leaf_optimizers(self.optimizer)),
        }
        return {name: value for name, value in chosen.items() if isinstance(value, (bool, int, float, str))}

    @property
    def writes_events(self) -> bool:
        """Whether event files are written."""
        return self._log is not None

    def start_state(self) -> RuleState:
        """The rule's first state, at the rate that is found."""
        # The bounds limit what is decided about a schedule, not the schedule itself.
        rule = replace(self.rule, min_lr=0.0, max_lr=None) if self.rates.is_scheduled else self.rule
        state: RuleState = rule.start(self.rates.rate)
        return state

    def rule_now(self, observations: int | None = None) -> Rule[Any]:
        """The rule with its bounds in the unit of its rate, and with the length of this training, where it is known.

        Args:
            observations: How many there have been in the epochs so far, if that is not what the state says.
        """
        rule = self.rule
        if self.rates.is_scheduled:
            min_lr, max_lr = self.rates.bounds()
            rule = replace(rule, min_lr=min_lr, max_lr=max_lr)
        if self._epochs is None or not self.options.reset_on_train_begin:
            return rule  # Where fits are parts of one training, another may follow.
        seen = self.known_state.observations if observations is None else observations
        left = self._observations_left(self._epochs - self.next_epoch, seen)
        return rule.for_length(max(seen + left, 1), anneals=not averages_weights(self.rates.optimizer))

    def _observations_left(self, epochs: int, seen: int) -> int:
        """How many observations are still to come.

        Args:
            epochs: Those that are not over.
            seen: How many observations there have been.
        """
        stopping = self._around.observations_left(self.options.monitor) if self.rule.name == "default" else []
        if self.options.decides_in_epoch:
            if self._batches is None:
                return PLENTY
            return self.cadence.observations_in(min([epochs, *stopping]) * self._batches - self._batches_done)
        # With validation_freq there are fewer than epochs; how many fewer shows.
        interval = max(self.next_epoch - self.first_epoch, 1) / max(seen, 1)
        return min([int(epochs / interval), *stopping])

    # --- observe -----------------------------------------------------------------------------------------------------

    def first_batch(self, logs: Mapping[str, Any] | None) -> None:
        """The first batch of an epoch is over: its loss is that of the weights before the epoch."""
        self._first_loss = metrics.as_number((logs or {}).get("loss"))
        self.wants_first_loss = False

    def begin_validation(self) -> None:
        """A validation begins. If it is that of an epoch, its training metrics are complete, and still there."""
        if self._awaits_decision:
            self._training_logs = metrics.numbers_in(self.model.get_metrics_result())

    def end_validation(self, logs: Mapping[str, Any] | None) -> None:
        """A validation has ended.

        A callback in front of ours may save the weights in its `on_epoch_end`, and the process may die before ours is
        called. So the observation is written down now.
        """
        if self._awaits_decision:
            validation = {f"val_{name}": value for name, value in metrics.numbers_in(logs).items()}
            numbers = {**self._training_logs, **validation}
            assert self.memory.file is not None
            iterations = iterations_of(self.optimizer)
            self.memory.file.pending = Pending(self._epoch, iterations, self._first_loss, numbers)
            self._write_state()

    @property
    def _awaits_decision(self) -> bool:
        """Whether the validation at the end of an epoch gives an observation to write down before its decision.

        With several processes it is not known by then, and a step cadence has decided nearly all.
        """
        return (
            self._is_in_epoch
            and not self.options.decides_in_epoch
            and self.memory.file is not None
            and processes.count() == 1
        )

    def _observe(self, logs: Mapping[str, Any]) -> float | None:
        """The value of the monitored metric, or None when this epoch has none."""
        monitor = self.options.monitor
        if monitor in logs:
            self._find_direction(required=True)
            value = metrics.as_number(logs[monitor])
            if value is None:
                raise TypeError(metrics.no_number(monitor, logs[monitor]))
            return value
        if monitor.startswith("val_") and not any(name.startswith("val_") for name in logs):
            self._epochs_without_validation += 1
            is_late = self._epochs_without_validation == EPOCHS_WITHOUT_VALIDATION
            # Where there is validation data, there may be a long validation_freq.
            if is_late and self.known_state.observations == 0 and not self._around.has_validation:
                self._warn_of_no_validation()
            return None
        self.notices.once("missing metric", metrics.missing(monitor, logs))
        return None

    def _find_direction(self, required: bool) -> None:
        """Settle `mode="auto"`: for a loss at once, for other metrics when Keras has built them."""
        if self.direction_known:
            return
        direction = metrics.direction(self.model, self.options.monitor)
        if direction is not None:
            self.rule = replace(self.rule, mode=direction)
            self.direction_known = True
        elif required:
            raise ValueError(
                f"mode='auto' cannot tell whether the metric '{self.options.monitor}' should fall or rise. "
                "Received: mode='auto'; pass mode='min' or mode='max'"
            )

    def _forget_first_loss(self) -> None:
        self._first_loss = None
        self.wants_first_loss = False

    def _evidence(self, logs: Mapping[str, float], first_loss: float | None, done: int) -> Evidence:
        """What is known about the weights at the end of an epoch, where the optimizer counts `done`."""
        is_validated = self.options.monitor.startswith("val_")
        val_loss = logs.get("val_loss") if is_validated and self.options.monitor != "val_loss" else None
        if not self.rule.recovers:
            return Evidence(is_validated=is_validated, val_loss=val_loss)
        skipped = skipped_share(self.rates.optimizer, (self.host.params or {}).get("steps"), done - self.iterations)
        found = gather_evidence(self.model, logs, first_loss, skipped, self._odd_weights)
        return replace(found, is_validated=is_validated, val_loss=val_loss)

    def _agree(
        self, value: float | None, loss: float | None, evidence: Evidence, is_new: bool
    ) -> tuple[float | None, float | None, Evidence]:
        """What all ranks have observed.

        Args:
            value, loss, evidence: What this one has, see `agree`.
            is_new: Whether the first loss is that of the untrained weights. Then it goes into the state. Of a model
                that was trained before, it would be too small and too random a yardstick.
        """
        if processes.count() > 1:
            value, loss, evidence, rates = agree(value, loss, evidence, self.rates.held)
            self.rates.impose(rates)
        if is_new and evidence.first_loss is not None:
            if math.isfinite(evidence.first_loss):
                self.state = replace(self.known_state, loss_before=evidence.first_loss)
            evidence = replace(evidence, first_loss=None)  # It speaks of no observation.
        return value, loss, evidence

    def _follow_optimizer(self, epoch: int) -> dict[str, float] | None:
        """Go on with another optimizer, if the model was compiled again since; returns the rates used until then."""
        optimizer = self.optimizer
        if optimizer is self.rates.optimizer:
            return None
        used = self.rates.in_force() if self.rates.is_scheduled else self.rates.last_written()
        scale_schedules(self.model, optimizer, self.rule.min_lr, self.rule.max_lr)
        if self.model.train_function is None:
            self.model.make_train_function(force=True)  # It must know the multiplier of the schedule.
        self.rates = RateControl(optimizer, self.rule.min_lr, self.rule.max_lr)
        self.iterations = iterations_of(optimizer)
        self.snapshots.keep(())
        if self.options.decides_in_epoch:
            self._begin_cadence()
        step = self.rule_now().override(self.known_state, self.rates.rate)
        reason = f"the model has another optimizer since, whose rate is {number(self.rates.rate)}"
        self.carry_out(epoch, step._replace(decision=replace(step.decision, reason=reason)))
        # The copies were of the other optimizer. From here on the present weights stand for them.
        if is_built(self.model, optimizer):
            for name in sorted(self.rule_now().needed_snapshots(self.known_state)):
                self.snapshots.take(name, self.model, optimizer, self.steps)
        return used

    def notice_override(self, epoch: int, is_known: bool = False) -> None:
        """Go on from the rate that something else has set, if so; warn of it, unless it `is_known`."""
        held, state = self.rates.held, self.known_state
        if not all(math.isfinite(each) and each >= 0 for each in held):
            self.rates.write(state.rate)
            self.notices.no_rate(held, epoch, number(state.rate))
            return
        if held != self.rates.written:
            self.rates.adopt()
        if self.rates.rate == state.rate:
            return
        self.carry_out(epoch, self.rule_now().override(state, self.rates.rate))
        if not is_known:
            self.notices.override(self.decisions[-1].reason, epoch)

    # --- decide ------------------------------------------------------------------------------------------------------

    def decide_on_epoch(self, epoch: int, logs: dict[str, Any], first_loss: float | None) -> None:
        """Decide about an epoch that is over, and report it."""
        epoch += self.epoch_offset
        is_last = epoch + 1 == self._epochs
        self.next_epoch = epoch + 1
        self._batches_done = 0
        is_other = self.rates.optimizer is not self.optimizer
        if is_other and iterations_of(self.rates.optimizer) == self.iterations and iterations_of(self.optimizer) > 0:
            # Changed by a callback behind ours, before the first step: the whole epoch was that of the new optimizer.
            self._follow_optimizer(epoch)
            self.iterations = 0
        done = iterations_of(self.rates.optimizer)
        if epoch == self.first_epoch and done == self.iterations:
            self._warn_of_idle_optimizer()
        evidence = self._evidence(metrics.numbers_in(logs), first_loss, done)
        is_new = epoch == 0 and self.iterations == 0
        is_blind = bool((self.host.params or {}).get("steps")) and done - self.iterations <= 1
        self._count_steps(done)
        observed = self._observe(logs)
        # The loss of a batch is that before its update. Where there was a single update, perhaps because loss scaling
        # has skipped the others, the training loss is that of the first weights, whatever rate is being tried.
        is_blind = is_blind and self.known_state.status == "searching"
        loss, value = metrics.as_number(logs.get("val_loss" if is_blind else "loss")), observed
        if self.options.decides_in_epoch:
            self._look_at_metric()
            value, loss = self.cadence.take()
            evidence = replace(evidence, noise=self.cadence.noise)
            is_blind = self._is_blind_in_epoch
        value, loss, evidence = self._agree(value, loss, evidence, is_new)
        if value is not None or is_new:
            self._forget_first_loss()
        if self._has_only_found_a_scale(loss, evidence):
            self._begin_again_with_that_scale()
            value = None

        used = self._follow_optimizer(epoch)
        self.notice_override(epoch)
        before = done, self.rates.written
        numbers = {**metrics.numbers_in(logs), **(used or self.rates.in_force())}
        if value is not None and not self.options.decides_in_epoch:
            numbers[self.options.monitor] = value
        self.recorder.epoch(epoch, numbers, time.time(), KerasLogs(logs))
        if value is not None:
            self.carry_out(epoch, self._ask(value, loss, evidence, is_blind), Observation(epoch, value))
        self._stop_if_exhausted()
        is_last = is_last or getattr(self.model, "stop_training", False)  # A loop without `fit` may have none.
        if self.options.reset_on_train_begin and is_last:
            # Not in `end_fit`: by then Keras has put its average of weights into the model, EarlyStopping its best.
            self._take_back_open_trial(epoch)
        self.iterations = iterations_of(self.optimizer)  # After going back there are fewer.
        self._report(epoch, is_last, is_over=is_last and self.options.reset_on_train_begin)
        self.remember(epoch, before, has_observation=value is not None)

    def _has_only_found_a_scale(self, loss: float | None, evidence: Evidence) -> bool:
        """Whether most steps of the first trial were skipped since the loss scale began too high, not the rate.

        After steps that were too large, the training loss is far worse; see `is_blind` for that of a single step.
        """
        state = self.known_state
        if state.status != "searching" or state.observations or "start" not in self.snapshots:
            return False
        is_harmless = loss is None or (math.isfinite(loss) and not exceeds(loss, state.loss_before, HOPELESS))
        return evidence.skipped > SKIPPED and is_harmless

    def _begin_again_with_that_scale(self) -> None:
        """Go back to the first weights, but for the loss scale; the epoch was no trial, nor one of the training's."""
        optimizer = self.optimizer
        scale = to_float(optimizer.dynamic_scale)
        self.snapshots.restore("start", self.model, optimizer)
        optimizer.dynamic_scale.assign(scale)
        self.snapshots.take("start", self.model, optimizer, self.steps)
        self.rates.write(self.known_state.rate)
        self.first_epoch = self.next_epoch

    def _ask(self, value: float, loss: float | None, evidence: Evidence, is_blind: bool = False) -> Step[Any]:
        """Ask the rule about an observation; `is_blind` if the training metrics say nothing about the rate."""
        state = self.known_state
        rule = self.rule_now(state.observations + 1)
        if is_blind and not self.options.monitor.startswith("val_"):
            rule = rule.without_search()
        step = rule.step(state, value, loss, evidence)
        back = step.decision.compared_with
        if back == "best" and rule.name == "auto" and not evidence.is_validated and "start" in self.snapshots:
            back = "start"  # Auto mode keeps the best by a training metric, and such weights may be ruined themselves.
        if back is not None:
            growth = processes.gather(self.snapshots.growth(back, self.model))[0]
            step = rule.step(state, value, loss, replace(evidence, growth=growth, grown_since=back))
        return step

    def _take_back_open_trial(self, epoch: int) -> bool:
        """Whether there was one."""
        step = self.rule_now().finish(self.known_state)
        self.carry_out(epoch, step)
        return step.decision.is_action

    def _stop_if_exhausted(self) -> None:
        if self.options.stop_when_exhausted and self.known_state.exhausted:
            self.model.stop_training = True

    # --- carry out ---------------------------------------------------------------------------------------------------

    def carry_out(self, epoch: int, step: Step[Any], found: Observation | None = None) -> None:
        """Do to the model what was decided, and report it.

        Args:
            epoch: The epoch of the decision, from 0.
            step: The rule's answer.
            found: The observation that it is about, if it is about one.
        """
        if found is not None:
            self.observed.append(epoch)
            self.best = best_of([found] if self.best is None else [self.best, found], self.rule.mode)
        decision = self._dated(step, epoch)
        self.state = step.state
        self._set_pace()
        needed = self.rule_now().needed_snapshots(step.state)
        if decision.keep is not None:
            self.snapshots.promote()
        if decision.save is not None:
            # What is not needed goes before the new one comes, and so does the old one of the same name.
            self.snapshots.keep((needed | {decision.restore}) - {decision.save})
            # In a step cadence a new best comes often, and the disk can wait for the end of the epoch.
            at_once = not (self._is_in_epoch and decision.save in ("best", "candidate"))
            self.snapshots.take(decision.save, self.model, self.optimizer, self.steps, at_once)
        if decision.restore is not None:
            self.restore(decision.restore, decision)
        self.snapshots.keep(needed)
        if decision.restore is not None or decision.rate != decision.rate_before:
            self.rates.write(decision.rate)
        if decision.is_action:
            self.note(decision)

    def note(self, decision: Decision) -> None:
        """A decision has changed something: keep it, and tell the recorder."""
        self.decisions.append(decision)
        self._decided = [each for each in self._decided if each.epoch == decision.epoch] + [decision]
        self.recorder.decision(decision, self.rates.quantity)

    def _dated(self, step: Step[Any], epoch: int) -> Decision:
        """A decision with its epochs and its step, which the rule does not know."""
        since = step.decision.since
        # The state of a training that was resumed may have seen observations that this session has not.
        missed = step.state.observations - len(self.observed)
        # Where training has gone back to an earlier epoch, observations are of epochs that are still to come.
        since_epoch = None if since is None else min(self.observed[max(since - 1 - missed, 0)], epoch)
        return replace(step.decision, epoch=epoch, since_epoch=since_epoch, step=self.steps)

    def restore(self, name: Snapshot, decision: Decision) -> None:
        """Go back to a copy, if there is one, as was decided."""
        if name not in self.snapshots:
            self.notices.no_copy(name)
            return
        try:
            self.snapshots.restore(name, self.model, self.optimizer)
            if name == "best" and decision.kind in ("diverged", "exhausted"):
                stop_momentum(self.optimizer)  # It was gathered at a far higher rate.
        except OSError as error:
            self.notices.lost_copy(name, error)

    # --- within an epoch ---------------------------------------------------------------------------------------------

    @property
    def _is_blind_in_epoch(self) -> bool:
        """Whether an observation within an epoch says nothing about the rate that is being tried."""
        return self.cadence.is_of_single_batches and self.known_state.status == "searching"

    def _set_pace(self) -> None:
        """Make observations longer, if the rule has no use for so many of them."""
        # Not by a length that was found later: then half of the observations would be of another kind.
        most, batches = self.rule.most_observations(self.known_state), (self.host.params or {}).get("steps")
        if most is None or batches is None or self._epochs is None:
            self.cadence.lengthen(0)
        else:
            self.cadence.lengthen((self._epochs - self.first_epoch) * batches // most)

    def _begin_cadence(self) -> None:
        assert isinstance(self.options.frequency, int)
        self._accumulation = accumulation_of(self.optimizer)
        carried = self.cadence.numbers if self.state is not None else (0, 0, 0, 0)
        length = self.cadence.length
        self.cadence = make_cadence(self.model, self.options.monitor, self.options.frequency, self._accumulation)
        self.cadence.resume(carried)
        self.cadence.length = length
        self._knows_metric = self.cadence.is_running_mean

    def _look_at_metric(self) -> None:
        """Once, before the first observation, if Keras had not made the metric before the first step."""
        if not self._knows_metric:
            assert isinstance(self.options.frequency, int)
            look_at_metric(self.cadence, self.model, self.options.monitor, self.options.frequency)
            self._knows_metric = True

    def after_batch(self, batch: int, logs: Mapping[str, Any] | None) -> None:
        """In any thread, and perhaps out of order: keep what is known of a batch, and lose no time over it."""
        logs = logs or {}
        monitored, loss = logs.get(self.options.monitor), logs.get("loss")
        if type(monitored) is not float or type(loss) is not float:  # Keras hands out floats.
            monitored, loss = metrics.as_number(monitored), metrics.as_number(loss)
        if batch == 0 and self.wants_first_loss:
            self._first_loss = loss
        self.cadence.add(batch, (monitored, loss))

    def before_batch(self, batch: int) -> None:
        """In the thread that trains, which waits: decide, if enough batches have been seen."""
        if batch and self.cadence.is_due(batch):
            self._look_at_metric()
            value, loss = self.cadence.take(batch)
            if value is not None:
                self._decide_in_epoch(batch, value, loss)

    def _decide_in_epoch(self, batch: int, value: float, loss: float | None) -> None:
        """Decide on the batches before this one, and report it."""
        epoch, self._batches_done = self._epoch, batch
        is_new = epoch == 0 and self.iterations == 0
        self._count_steps((self._batches_before_epoch + batch) // self._accumulation)
        if self.rates.is_scheduled or processes.count() > 1:
            _ = self.model  # See `Host`.
        self._find_direction(required=True)
        evidence = Evidence(self._first_loss, is_validated=False, noise=self.cadence.noise)
        agreed, loss, evidence = self._agree(value, loss, evidence, is_new)
        self._forget_first_loss()
        assert agreed is not None
        is_blind = self._is_blind_in_epoch
        step = self._ask(agreed, loss, evidence, is_blind)
        if step.decision.touches_training:
            # Only now can the rate and the weights be read. Where they are not what was thought, the question was a
            # wrong one.
            model = self.model  # See `Host`: on JAX this brings the rate up to date, too.
            is_finite = are_finite(model, self._odd_weights) if step.decision.save is not None else None
            decided = len(self.decisions)
            if self._follow_optimizer(epoch) is not None:
                self.cadence.restart(batch)
                self._count_batches(batch)
            self.notice_override(epoch)
            if len(self.decisions) > decided or is_finite is False:
                step = self._ask(agreed, loss, replace(evidence, is_finite=is_finite), is_blind)
        before = self.iterations, self.rates.written
        rates = self.rates.in_force() if self.rates.is_scheduled else self.rates.last_written()
        self.recorder.step(self.steps, {self.options.monitor: agreed, **rates}, time.time())
        decided = len(self.decisions)
        self.carry_out(epoch, step, Observation(epoch, agreed))
        if step.decision.restore is not None or not math.isfinite(agreed):
            # Otherwise what was undone would stay in Keras' running means, and a NaN for the rest of the epoch.
            self.model.reset_metrics()
            self.cadence.restart(batch)
            self._count_batches(batch)
        self._stop_if_exhausted()
        if len(self.decisions) > decided:
            self._report(epoch, is_last=False)
        else:
            self._flush()
        self.remember(epoch, before, has_observation=True, is_over=False)

    def _count_batches(self, batch: int) -> None:
        """What the optimizer counts, now that it can be asked, so that it need not be asked later in the epoch."""
        self.iterations = iterations_of(self.optimizer)
        self._batches_before_epoch = int(to_float(leaf_optimizers(self.optimizer)[0]._iterations)) - batch

    def _count_steps(self, done: int) -> None:
        self.steps += max(done - self.iterations, 0)
        self.iterations = done

    # --- remember ----------------------------------------------------------------------------------------------------

    def remember(
        self,
        epoch: int,
        before: tuple[int, tuple[float, ...]] | None = None,
        *,
        has_observation: bool = False,
        is_over: bool = True,
        raises: bool = False,
    ) -> None:
        """Write down how things stand, for a process that goes on after a crash.

        Args:
            epoch: From 0.
            before: The count of steps and what the optimizers held before anything was decided, if something was.
            has_observation, is_over: See `Entry`.
            raises: Whether a failure is an error, not a warning.
        """
        if self.memory.file is None:
            if processes.rank() > 0 and is_over:
                self.snapshots.clean(())
            return
        if is_over:
            self.snapshots.write_missing()
        self.memory.add(self.entry(epoch, before, has_observation=has_observation, is_over=is_over))
        self.remembered = len(self.decisions)
        self._write_state(raises)

    def entry(
        self,
        epoch: int,
        before: tuple[int, tuple[float, ...]] | None = None,
        *,
        has_observation: bool = False,
        is_over: bool = True,
    ) -> Entry:
        """How things stand; see `remember` for the arguments."""
        iterations_before, rates_before = before or (self.iterations, self.rates.written)
        return Entry(
            epoch=epoch,
            is_over=is_over,
            iterations_before=iterations_before,
            iterations=self.iterations,
            has_observation=has_observation,
            decisions=tuple(self.decisions[self.remembered :]),
            rates_before=rates_before,
            rates=self.rates.written,
            bases=self.rates.bases,
            adopted=self.rates.adopted,
            mode=self.rule.mode if self.direction_known else None,
            best=self.best,
            steps=self.steps,
            snapshots=self.snapshots.files,
            window=self.cadence.numbers if self.options.decides_in_epoch else (),
            state=self.known_state.to_dict(),
        )

    def _write_state(self, raises: bool = False) -> None:
        """Write the state file. What fails is tried again at the next epoch; training goes on."""
        try:
            self.memory.write(self.snapshots)
        except OSError as error:
            if raises:
                raise
            if self.options.state_path is None:
                self.notices.log_dir(error)
            else:
                self.notices.state_path(error)

    # --- tell --------------------------------------------------------------------------------------------------------

    def _report(self, epoch: int, is_last: bool, is_over: bool = False) -> None:
        """What was decided in an epoch, if that is news, and where things stand."""
        state = self.known_state
        record = Record(
            epoch,
            tuple(decision for decision in self._decided if decision.epoch == epoch),
            state.status,
            self.steps,
            self.options.monitor,
            self.rule.mode if self.direction_known else None,
            self.rates.quantity,
            self.best,
            time.time(),
            state.loss_before,
            is_over=is_over,
        )
        self.recorder.record(record, is_last)
        self._flush()

    def _flush(self) -> None:
        self.recorder.flush()
        if self._log is not None and self._log.failure is not None:
            self.notices.log_dir(self._log.failure)

    def _warn_of_no_validation(self) -> None:
        if self.options.monitor.startswith("val_") and self._epochs_without_validation:
            self.notices.no_validation(self.options.monitor, self._around.has_validation)

    def _warn_of_idle_optimizer(self) -> None:
        mine, others = self.optimizer, optimizers_of(self.model)
        names = [name for name, each in vars(self.model).items() if each is not mine and each in others]
        if names:
            self.notices.idle_optimizer(mine.name, names)
