"""Keeps how a training stands, and carries decisions out on its model.

`deciding` and `within_epoch` make the decisions: they observe, and ask the rule once about each observation.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, final

import keras

from keras_lrplateau.history.recorder import Recorder
from keras_lrplateau.history.run import Observation, best_of
from keras_lrplateau.resume.saved import Saved
from keras_lrplateau.rule.decision import Decision, Rule, RuleState, Snapshot, Step
from keras_lrplateau.rule.words import number
from keras_lrplateau.training import metrics
from keras_lrplateau.training.advice import Surroundings, advice
from keras_lrplateau.training.cadence import StepCadence, make_cadence, trial_steps
from keras_lrplateau.training.memory import Memory
from keras_lrplateau.training.notices import Notices
from keras_lrplateau.training.optimizers import accumulation_of, averages_weights, chosen_optimizer, iterations_of
from keras_lrplateau.training.options import Options
from keras_lrplateau.training.rates import RateControl
from keras_lrplateau.training.schedules import scale_schedules
from keras_lrplateau.training.snapshots import Snapshots, is_built, stop_momentum

PLENTY = 10_000
"""How many observations are assumed to be left in a first epoch whose length is not known."""


class Host(Protocol):
    """What a session needs from its callback.

    On JAX the weights are not in the model during an epoch. Reading `model` brings them there, and stops the steps that
    run ahead. So within an epoch it is read only if there is something to do.
    """

    @property
    def model(self) -> Any: ...

    @property
    def params(self) -> Any: ...

    def get_config(self) -> dict[str, Any]: ...


@dataclass
class Present:
    """What is known about the present `fit` and its present epoch.

    Attributes:
        direction: Whether the metric should fall ("min") or rise ("max"); None while that is not known.
        around: The other callbacks of the `fit`, and its data.
        is_begun: Whether its first epoch has begun.
        odd_weights: The weights that were not finite before it, by path.
        epochs_without_validation: How many of its epochs had no metric of a validation.
        epoch: The epoch, from 0; between two epochs, the last one.
        is_in_epoch: Whether that epoch is not over.
        decided: The decisions of the last epoch with a decision.
        wants_first_loss: Whether the loss of the first batch of the epoch is wanted.
        first_loss: That loss, until there is an observation. None if it is not known.
        training_logs: The training metrics of the epoch, once its validation has begun.
    """

    direction: Literal["min", "max"] | None
    around: Surroundings = field(default_factory=Surroundings)
    is_begun: bool = False
    odd_weights: frozenset[str] = frozenset()
    epochs_without_validation: int = 0
    epoch: int = 0
    is_in_epoch: bool = False
    decided: list[Decision] = field(default_factory=list)
    wants_first_loss: bool = False
    first_loss: float | None = None
    training_logs: dict[str, float] = field(default_factory=dict)

    def forget_first_loss(self) -> None:
        """Forget the loss of the first batch: an observation came after it."""
        self.first_loss = None
        self.wants_first_loss = False


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
        before: The session before, until this one has begun; this one may be a new phase of its training.
        rule: The rule, with the direction of the metric as far as it is known.
        state: The rule's state; None before training.
        decisions: Every decision that changed something, in order.
        rates: What sets the rate of the optimizer.
        snapshots: The copies of the training state.
        recorder: The training as data, and what listens to it.
        memory: What survives a crash.
        present: What is known about the present `fit` and its present epoch.
        cadence: The observations within an epoch.
        first_epoch: The epoch, from 0, with which this training began, perhaps in an earlier process.
        next_epoch: The first epoch that is not over.
        epochs_in_search: Epochs at whose end a search by steps was not over: they were no observations.
        epoch_offset: How many epochs there were before the one from which the present `fit` counts.
        observed: The epochs of all observations.
        best: The best observation so far.
        steps: Optimizer steps so far; those that were rolled back count, too.
        iterations: The optimizer's count of steps; going back lowers it.
        is_finished: Whether the training has ended.
        notices: The warnings that were given.
    """

    def __init__(self, host: Host, options: Options, before: Session | None = None, saved: Saved | None = None) -> None:
        self.host = host
        self.saved = saved
        self.options = options
        self.is_finished = False
        # A `fit` that failed before its first epoch is no training; the one before that counts.
        self.before: Session | None = before.before if before is not None and before.state is None else before
        self.rule = options.rule
        self.state: RuleState | None = None
        self.decisions: list[Decision] = []
        self.rates = RateControl(self.optimizer, self.rule.min_lr, self.rule.max_lr)
        self.snapshots = Snapshots()
        self.recorder = Recorder("")
        self.memory = Memory()
        self.notices = Notices()
        self.present = Present(None if options.mode == "auto" else options.mode)
        self.cadence = StepCadence(options.monitor)
        self.first_epoch = self.next_epoch = self.epoch_offset = 0
        self.epochs_in_search = 0
        self.observed: list[int] = []
        self.best: Observation | None = None
        self.steps = self.iterations = 0

        # Only what `compile` can be called on; in a loop of one's own it may be any object.
        self._model = weakref.ref(self.model) if isinstance(self.model, keras.Model) else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave files and other callbacks with the original when copied or pickled; a copy writes to its own run."""
        recorder = Recorder(self.recorder.run.name)
        recorder.run = self.recorder.run
        present = replace(self.present, around=Surroundings())
        return {**self.__dict__, "_model": None, "memory": Memory(), "recorder": recorder, "present": present}

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
    def epochs(self) -> int | None:
        """The epoch before which the present `fit` ends; None if that is not known."""
        epochs: int | None = (self.host.params or {}).get("epochs")
        return None if epochs is None else epochs + self.epoch_offset

    @property
    def planned_batches(self) -> int | None:
        """How many batches Keras plans for an epoch; None if it does not know before the first one is over."""
        batches: int | None = (self.host.params or {}).get("steps")
        return batches

    def has_model_of(self, before: Session) -> bool:
        """Whether this training has the model of an earlier one, perhaps compiled again since."""
        return before._model is not None and before._model() is self.model

    # --- the life of a training; `deciding` ends it ------------------------------------------------------------------

    def begin_fit(self, around: Surroundings) -> None:
        """Begin a `fit`. `resuming.begin` looks later at what other callbacks may still load."""
        self.present.around = around
        is_other = self.rates.optimizer is not self.optimizer
        if is_other and (self.state is None or self._model is None):
            # No training yet; or the copy of a callback, whose model has an optimizer of its own. Otherwise the model
            # was compiled again, and `begin_epoch` follows.
            self.rates = RateControl(self.optimizer, self.rule.min_lr, self.rule.max_lr)
            self.snapshots.keep(())  # They hold the state of another optimizer.
        steps = (self.planned_batches or self.cadence.length or 0) // accumulation_of(self.optimizer)
        for message in advice(self.options, self.model, self.rates.rate, around.others, self.epochs, steps):
            self.notices.once(message, message)
        self.present.direction = None if self.options.mode == "auto" else self.options.mode
        self.find_direction(required=False)
        if self.state is None:
            self.start_state()  # For its error, if the bounds do not fit the rate.
        if self.options.monitor.startswith("val_") and around.lacks_validation:
            self.notices.no_validation_data(self.options.monitor)
        self.present.forget_first_loss()
        self.present.is_begun = False

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, from 0."""
        epoch += self.epoch_offset
        self.follow_optimizer(epoch)
        self.present.epoch, self.present.is_in_epoch = epoch, True
        is_single = getattr(self.model, "steps_per_execution", 1) == 1
        # Where not every epoch has an observation, the first epoch since the last observation counts.
        self.present.wants_first_loss = self.rule.recovers and is_single and self.present.first_loss is None
        if self.decides_in_epoch:
            self.restart_cadence(0)
            self.cadence.done = 0
            self._set_pace()

    def close(self) -> None:
        """Close the files, and give up the copies in memory and what this process has claimed."""
        self.snapshots.keep(())
        try:
            self.recorder.close()
        finally:
            self.memory.release()

    # --- the rule ----------------------------------------------------------------------------------------------------

    def start_state(self) -> RuleState:
        """Return the rule's first state, at the rate that the optimizer has."""
        # The bounds limit what is decided about a schedule, not the schedule itself.
        rule = replace(self.rule, min_lr=0.0, max_lr=None) if self.rates.is_scheduled else self.rule
        state: RuleState = rule.start(self.rates.rate)
        state = rule.searching_by(state, self._trial_steps())
        return state

    def _trial_steps(self) -> int | None:
        """Optimizer steps in a trial of the search, if it goes by steps though the rest goes by epochs."""
        if self.options.frequency != "epoch" or self.planned_batches is None or self.epochs is None:
            return None
        return trial_steps(self.epochs - self.first_epoch, self.planned_batches // accumulation_of(self.optimizer))

    @property
    def decides_in_epoch(self) -> bool:
        """Whether it decides within epochs at present: always, as the user chose, or in a search by steps."""
        return self.options.decides_in_epoch or (self.state is not None and self.state.trial_steps is not None)

    def rule_now(self, observations: int | None = None) -> Rule[Any]:
        """Return the rule with its bounds in the unit of its rate, and with the length of this training, if known.

        Args:
            observations: How many there have been so far; None if the state says so.
        """
        rule = self.rule
        if self.rates.is_scheduled:
            min_lr, max_lr = self.rates.bounds()
            rule = replace(rule, min_lr=min_lr, max_lr=max_lr)
        if self.epochs is None or not self.options.reset_on_train_begin:
            return rule  # Where fits are parts of one training, another may follow.
        seen = self.known_state.observations if observations is None else observations
        left = self._observations_left(self.epochs - self.next_epoch, seen)
        return rule.for_length(max(seen + left, 1), anneals=not averages_weights(self.rates.optimizer))

    def _observations_left(self, epochs: int, seen: int) -> int:
        """Return how many observations are still to come.

        Args:
            epochs: Those that are not over.
            seen: How many observations there have been.
        """
        stopping = self.present.around.observations_left(self.options.monitor) if self.rule.name == "default" else []
        if self.decides_in_epoch:
            batches = self.planned_batches or self.cadence.length
            return PLENTY if batches is None else self.cadence.observations_in(min([epochs, *stopping]) * batches)
        # With validation_freq there are fewer than epochs; how many fewer shows.
        interval = max(self.next_epoch - self.first_epoch - self.epochs_in_search, 1) / max(seen, 1)
        return min([int(epochs / interval), *stopping])

    def find_direction(self, required: bool) -> None:
        """Settle `mode="auto"`: for a loss at once, for other metrics when Keras has built them.

        Raises:
            ValueError: Keras does not know the direction, and it is `required`.
        """
        if self.present.direction is not None:
            return
        direction = metrics.direction(self.model, self.options.monitor)
        if direction is not None:
            self.settle_direction(direction)
        elif required:
            raise ValueError(
                f"mode='auto' cannot tell whether the metric '{self.options.monitor}' should fall or rise. "
                "Received: mode='auto'; pass mode='min' or mode='max'"
            )

    def settle_direction(self, direction: Literal["min", "max"]) -> None:
        """Tell the rule in which direction the metric should go."""
        self.present.direction = direction
        self.rule = replace(self.rule, mode=direction)

    # --- carry out ---------------------------------------------------------------------------------------------------

    def carry_out(self, epoch: int, step: Step[Any], found: Observation | None = None) -> None:
        """Do to the model what was decided, and note it.

        Args:
            epoch: The epoch of the decision, from 0.
            step: The rule's answer.
            found: The observation on which it was made; None if there was none.
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
            at_once = not (self.present.is_in_epoch and decision.save in ("best", "candidate"))
            self.snapshots.take(decision.save, self.model, self.optimizer, self.steps, at_once)
        if decision.restore is not None:
            self.restore(decision.restore, decision)
        self.snapshots.keep(needed)
        if decision.restore is not None or decision.rate != decision.rate_before:
            self.rates.write(decision.rate)
        if decision.is_action:
            self.note(decision)

    def note(self, decision: Decision) -> None:
        """Keep a decision that has changed something, and tell the recorder."""
        self.decisions.append(decision)
        self.present.decided = [each for each in self.present.decided if each.epoch == decision.epoch] + [decision]
        self.recorder.decision(decision, self.rates.quantity)

    def _dated(self, step: Step[Any], epoch: int) -> Decision:
        """Return the decision with its epochs and its step, which the rule does not know."""
        since = step.decision.since
        # The state of a training that was resumed may have seen observations that this session has not.
        missed = step.state.observations - len(self.observed)
        # Where training has gone back to an earlier epoch, observations are of epochs that are still to come.
        since_epoch = None if since is None else min(self.observed[max(since - 1 - missed, 0)], epoch)
        return replace(step.decision, epoch=epoch, since_epoch=since_epoch, step=self.steps)

    def restore(self, name: Snapshot, decision: Decision) -> None:
        """Go back to a copy, as was decided, if there is one."""
        if name not in self.snapshots:
            self.notices.no_copy(name)
            return
        try:
            is_swapped = self.present.around.swaps_averages
            self.snapshots.restore(name, self.model, self.optimizer, is_swapped=is_swapped)
            if name == "best" and decision.kind in ("diverged", "exhausted"):
                stop_momentum(self.optimizer)  # It was gathered at a far higher rate.
        except OSError as error:
            self.notices.lost_copy(name, error)

    def stop_if_exhausted(self) -> None:
        """Stop training when nothing is left to try, if the user has asked for that."""
        if self.options.stop_when_exhausted and self.known_state.exhausted:
            self.model.stop_training = True

    # --- what others do to the optimizer -----------------------------------------------------------------------------

    def follow_optimizer(self, epoch: int) -> dict[str, float] | None:
        """Go on with another optimizer, if the model was compiled again since; returns the rates used until then."""
        optimizer = self.optimizer
        if optimizer is self.rates.optimizer:
            return None
        used = self.rates.in_force() if self.rates.is_scheduled else self.rates.last_written()
        scale_schedules(self.model, optimizer, self.rule.min_lr, self.rule.max_lr)
        if getattr(self.model, "train_function", self) is None:  # In a loop of one's own there may be none.
            self.model.make_train_function(force=True)  # It must know the multiplier of the schedule.
        self.rates = RateControl(optimizer, self.rule.min_lr, self.rule.max_lr)
        self.iterations = iterations_of(optimizer)
        self.snapshots.keep(())
        if self.decides_in_epoch:
            self.begin_cadence()
        step = self.rule_now().override(self.known_state, self.rates.rate)
        reason = f"the model has another optimizer since, whose rate is {number(self.rates.rate)}"
        self.carry_out(epoch, step._replace(decision=replace(step.decision, reason=reason)))
        # The copies were of the other optimizer. From here on the present weights stand for them.
        if is_built(self.model, optimizer):
            for name in sorted(self.rule_now().needed_snapshots(self.known_state)):
                self.snapshots.take(name, self.model, optimizer, self.steps)
        return used

    def notice_override(self, epoch: int, is_known: bool = False) -> None:
        """Go on from the rate that something else has set, if so; warn about that, unless it `is_known`."""
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

    # --- steps and batches -------------------------------------------------------------------------------------------

    def count_steps(self, done: int) -> None:
        """Count the steps that have brought the optimizer's count to `done`."""
        self.steps += max(done - self.iterations, 0)
        self.iterations = done

    def restart_cadence(self, batch: int) -> None:
        """Note that Keras' running means start again with this batch, and read the optimizer's count of steps."""
        self.cadence.restart(batch, self.optimizer)
        self.iterations = iterations_of(self.optimizer)

    def begin_cadence(self) -> None:
        """Make observations within the epochs of this model and optimizer."""
        monitor, frequency = self.options.monitor, self.options.frequency
        if frequency == "epoch":
            # The search goes by the training loss, whatever the metric is.
            monitor, frequency = "loss", self.known_state.trial_steps or 1
        self.cadence = make_cadence(self.model, self.optimizer, monitor, frequency, self.cadence)

    def _set_pace(self) -> None:
        """Make observations longer, if there would be more of them than the rule can use."""
        # Not by a length that was found later: then half of the observations would be of another kind.
        most, batches = self.rule.most_observations(self.known_state), self.planned_batches
        if most is None or batches is None or self.epochs is None:
            self.cadence.lengthen(0)
        else:
            self.cadence.lengthen((self.epochs - self.first_epoch) * batches // most)
