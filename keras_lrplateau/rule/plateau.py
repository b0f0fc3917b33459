"""The plateau rule: one observation of a metric in, one decision about the learning rate out.

Nothing here knows Keras, a clock or a file. `Config.start` gives the first state, `Config.step` takes one observation
and returns the next state with a decision; whoever calls it carries the decision out. Live training, replay and the
tests all run these very functions. What the rule remembers is in `keras_lrplateau.rule.plateau_state`.

The words, used everywhere in this sense:

    observation     one value of the monitored metric
    best            the best observation so far
    plateau         `patience` observations in a row, none better than the best by `min_delta`
    cut             rate x `factor`, at a plateau
    fruitless cut   a cut after which the next plateau came without a new best
    stalled         a plateau after `raise_after` fruitless cuts in a row, and at a far lower rate, or at `min_lr`
    raise           the rate goes above the one in force when the metric last improved
    excursion       the time from a raise until it is judged
    rollback        weights, optimizer state and rate go back to a snapshot
    sound, suspect, broken, dead, candidate
                    see `keras_lrplateau.rule.soundness`
    diverged        training broke
    restart         back to the weights from before training, with a far lower rate
    trial           an excursion or a restart, which may be taken back
    exhausted       no excursion helped; nothing is left to try

The rules:

1. Diverged, and the weights have grown: back to the best snapshot, with the rate cut hard; or to the untrained
   weights, where no best is known to be sound, or its training loss was above theirs. Inside an excursion: back to the
   snapshot taken at the raise. No later raise goes as high as a rate that diverged.
2. A new best ends the wait. Its weights become the best snapshot at once if they are known to be sound. Else they are a
   candidate, which the next observation makes the best snapshot, or drops.
3. Otherwise, and outside the cooldown, the wait grows. At a plateau:
   - a network that is dead, also after a cut, and whose weights have grown: restart, once. What was reached is put
     aside with a snapshot in the place of the best; if the restart stalls without beating the best, it comes back;
   - stalled: snapshot, raise, and so open an excursion; at most `max_raises` times; none while training is suspect,
     none after it began with a rise of the loss, none at an accuracy of 1 or a loss of 0, and none that the
     observations left cannot judge;
   - otherwise: cut, down to `min_lr`.
4. In an excursion there is no plateau and no best: see `keras_lrplateau.rule.excursion`.
5. Exhausted: a stall that no raise is left for. It is cut, and from then on there are only cuts, until a new best.
6. When training ends (`finish`), a trial that has not been judged is taken back.

When a raise can come: a stall needs `raise_after` cuts in a row, and as many as bring the rate to a hundredth of that
at the best, or to `min_lr`: 3 with factor 0.1, 7 with factor 0.5. So `patience` x (cuts + 1) observations without a new
best lie before it (and `cooldown` - 1 more for each cut, if there is a cooldown), and at least 2 x `patience` in it.
With patience 10 and factor 0.1 the first raise comes after observation 41 at the earliest, and is judged after 61 to
101, where 10 more must be left. What stops training early must wait longer than that: see `Config.patience_to_judge`.

With `max_raises=0`, and as long as nothing is broken or dead, the rate is that of `keras.callbacks.ReduceLROnPlateau`,
observation by observation, but for these deviations:

- a non-finite value never becomes the best: Keras keeps a NaN that comes first for ever;
- values are compared as Python floats: Keras compares them as backend tensors, in which a half-precision improvement
  can vanish;
- the rate is a Python float: Keras reads its rounded value back before each cut, so after several cuts the two may
  differ in the last digit of the optimizer's dtype;
- for the same reason a cut stops at `min_lr` exactly, where Keras compares with `min_lr` rounded to float32.

Sources: the cut is Keras' (keras/src/callbacks/reduce_lr_on_plateau.py). The relative threshold is that of PyTorch's
ReduceLROnPlateau, taken on |best|, since theirs points the wrong way for negative metrics (pytorch#47513). Why an
ordinary cut does not go back to the best weights unless asked: the best of many noisy observations is partly the
luckiest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from keras_lrplateau.rule import soundness
from keras_lrplateau.rule.checks import check_settings, check_start
from keras_lrplateau.rule.decision import Evidence, Kind, Rule, Snapshot, Step, decide, hold, is_perfect, on_plateau
from keras_lrplateau.rule.excursion import DEPTH, LEAST, LENGTH, SHORTEST_EXCURSION, Excursion, Level
from keras_lrplateau.rule.plateau_state import NAME, Best, Recovery, State
from keras_lrplateau.rule.soundness import MAX_RECOVERIES, NOTHING_ELSE, Finding, Watch
from keras_lrplateau.rule.words import counted, number
from keras_lrplateau.settings import RuleName, check_flag, check_integer, check_number

HARD_CUT = 0.03
"""A divergence cuts by this, or by `factor` where that is smaller.

A rate that broke training is rarely only a little too high, and one that barely does not break it is no better. Chosen
from 0.3, 0.1, 0.03 and 0.01 on the tuning tasks of examples/benchmarks/raise_defaults.py (with --constants).
"""

SAME_LEVEL = 2.0
"""Two far worse losses within this factor are alike."""


# --- the rule --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Config(Rule[State]):
    """The plateau rule, with what the user chose. Checked when made; a mistake raises at once.

    Args:
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        factor: Each cut multiplies the rate by this. In (0, 1).
        patience: Observations without improvement that make a plateau. Integer >= 0; 0 acts as 1, as in Keras.
        min_delta: By how much an observation must beat the best to count. >= 0.
        threshold_mode: "abs": `min_delta` is in the metric's unit. "rel": it is a fraction of |best|.
        cooldown: Observations after a change of rate that do not count towards a plateau. Integer >= 0.
        min_lr: No cut goes below this rate. >= 0.
        max_lr: No raise goes above this rate; None for no bound. > 0, >= `min_lr`.
        raise_factor: A raise goes to this multiple of the rate in force when the metric last improved. > 1.
        raise_after: Fruitless cuts in a row that make a stall. Integer >= 1.
        max_raises: How many raises one training may make. Integer >= 0; 0 turns raising off.
        recover: Whether to recover from divergence.
        rollback: Whether there may be snapshots. Without them a failed excursion only restores the rate; and a
            divergence only cuts, and waits for an improvement on the last best that is known to be sound.
        rollback_on_cut: Whether an ordinary cut also goes back to the best snapshot.
        observations: How many observations the training will have; None if that is not known. Integer >= 1.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is outside its range.

    Source of the defaults: those that Keras' ReduceLROnPlateau has are its own. The others were chosen on the tuning
    tasks of examples/benchmarks/raise_defaults.py.
    """

    name: ClassVar[RuleName] = NAME

    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    threshold_mode: Literal["abs", "rel"] = "abs"
    cooldown: int = 0
    min_lr: float = 0.0
    max_lr: float | None = None
    raise_factor: float = 10.0
    raise_after: int = 3
    max_raises: int = 3
    recover: bool = True
    rollback: bool = True
    rollback_on_cut: bool = False
    observations: int | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        check_flag("rollback", self.rollback)
        if self.rollback_on_cut and not self.rollback:
            raise ValueError(
                "rollback_on_cut=True needs snapshots. Received: rollback=False; set rollback=True or leave "
                "rollback_on_cut off"
            )
        if self.observations is not None:
            check_integer("observations", self.observations, minimum=1)

    @property
    def recovers(self) -> bool:
        return self.recover

    @property
    def least_length(self) -> int:
        """How many observations an excursion lasts at least."""
        return max(LEAST * self.patience, SHORTEST_EXCURSION)

    @property
    def cuts_to_stall(self) -> int:
        """How many cuts in a row make a stall: `raise_after`, and as many as lead to `DEPTH` of the rate."""
        return max(self.raise_after, math.ceil(math.log(DEPTH) / math.log(self.factor) - 1e-9))

    @property
    def patience_to_judge(self) -> int | None:
        if self.max_raises == 0:
            return None
        plateau = max(self.patience, 1) + max(self.cooldown - 1, 0)
        return max(self.patience, 1) + self.cuts_to_stall * plateau + self.least_length + self.patience

    def start(self, rate: float) -> State:
        """The state before the first observation.

        Args:
            rate: The rate that training starts with. Finite, >= 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is negative, not finite, or above `max_lr`.
        """
        rate = check_start(self, rate)
        return State(rate=rate, rate_at_best=rate, start_rate=rate)

    def step(
        self, state: State, value: float, loss: float | None = None, evidence: Evidence | None = None
    ) -> Step[State]:
        improved = _improves(self, state.best, value)
        if not self.recover or (evidence is None and _is_plain(state, value, loss)):
            is_finite = evidence is None or evidence.is_finite is not False
            return _go_on(self, state, value, loss, improved, SOUND if is_finite else NOT_FINITE, evidence)
        evidence = evidence or NOTHING_ELSE
        vouched = improved and state.best is not None
        finding = soundness.assess(state.watch, value, loss, state.loss_before, evidence, vouched)
        state = replace(state, loss_before=finding.loss_before)
        looked = _looked(state, loss, evidence, finding)
        if finding.verdict == "broken":
            step = _recover(self, looked, value, loss, finding.reason, evidence)
        else:
            step = _go_on(self, looked, value, loss, improved, finding, evidence)
        if looked.kept is state.kept:
            return step
        decision = step.decision
        if state.aside is not None and looked.aside is None and not decision.is_action:
            assert looked.kept is not None
            reason = f"the restart brought a new best, {number(looked.kept.value)}"
            decision = replace(decision, kind="success", reason=reason)
        return Step(step.state, replace(decision, keep="candidate" if self.rollback else None))

    def finish(self, state: State) -> Step[State]:
        """Training ends: give back what a trial, still unjudged, has done to the weights.

        Args:
            state: The state after the last observation.

        Returns:
            A "rollback" when a trial was under way; else a "hold".
        """
        if state.excursion is not None:
            reason = "training ended before the raise could be judged"
            return _end_excursion(self, state, state.excursion, None, "rollback", reason)
        if state.aside is not None:
            return _take_back(self, state, state.aside, None, "training ended before the restart brought a new best")
        return hold(state, None)

    def override(self, state: State, rate: float) -> Step[State]:
        rate = check_number("rate", rate, "a finite number >= 0", lambda x: x >= 0)
        excursion = state.excursion
        if excursion is not None:
            # It goes on from there, and comes back to no higher rate than was found.
            excursion = replace(excursion, top=rate, rate_before=min(excursion.rate_before, rate))
        after = replace(state, rate=rate, excursion=excursion, exhausted=False)
        reason = f"the rate was found at {number(rate)}, not at {number(state.rate)} as set"
        return decide(state, after, "override", None, reason)

    def needed_snapshots(self, state: State) -> frozenset[Snapshot]:
        """The snapshots that a later decision may still restore; all others can be dropped. At most three at a time."""
        needed: set[Snapshot] = set()
        if not self.rollback:
            return frozenset()
        if self.recover and (state.goes_to_start or state.may_restart):
            needed.add("start")
        if state.aside is not None or (state.kept is not None and (self.recover or self.rollback_on_cut)):
            needed.add("best")
        if state.candidate is not None:
            needed.add("candidate")
        if state.in_excursion:
            needed.add("raise")
        return frozenset(needed)

    @classmethod
    def read_state(cls, data: Mapping[str, Any]) -> State:
        return State.from_dict(data)

    def for_length(self, observations: int | None, *, anneals: bool = True) -> Self:
        return replace(self, observations=observations)

    def without_search(self) -> Self:
        """The same rule: it has no search."""
        return self


# --- soundness: what a look at the weights changes -------------------------------------------------------------------


SOUND = Finding("sound", "", Watch(), may_be_kept=True)
NOT_FINITE = Finding("sound", "", Watch(), may_be_kept=False)
"""What is found where nothing is looked at."""


def _is_plain(state: State, value: float, loss: float | None) -> bool:
    """Whether there is nothing to look after but the metric: the quick way for nearly all observations."""
    before, watch = state.loss_before, state.watch
    if not math.isfinite(value) or state.candidate is not None or state.recovery is not None:
        return False
    if watch.far_worse is not None or not (watch.has_learned or before is None):
        return False
    if loss is None or before is None:
        return loss is None or math.isfinite(loss)
    return 0 <= loss < math.inf and not soundness.exceeds(loss, before, soundness.FAR_WORSE)


def _looked(state: State, loss: float | None, evidence: Evidence, finding: Finding) -> State:
    """The state after the look at the weights that the last observation has left."""
    after = replace(state, watch=finding.watch)
    if state.candidate is not None:
        look = loss if evidence.first_loss is None else evidence.first_loss
        is_good = soundness.agrees(look, state.candidate.loss, state.loss_before)
        # A look by the whole epoch sees what came later, too.
        is_good = is_good and (finding.may_be_kept or evidence.first_loss is not None)
        after = replace(after, candidate=None)
        if is_good:
            after = replace(after, kept=state.candidate, recovery=None, aside=None)
    if after.recovery is not None and after.recovery.is_at_start:
        after = replace(after, recovery=replace(after.recovery, is_at_start=False))
        if soundness.exceeds(evidence.first_loss, state.loss_before, 1.0):
            # The untrained weights on another batch: the larger loss is the better yardstick.
            after = replace(after, loss_before=evidence.first_loss)
    return after


# --- the rules -------------------------------------------------------------------------------------------------------


def _go_on(
    config: Config,
    state: State,
    value: float,
    loss: float | None,
    improved: bool,
    finding: Finding,
    evidence: Evidence | None,
) -> Step[State]:
    """Training is not broken: what the metric says."""
    if state.excursion is not None:
        return _judge(config, state, value, _judged_loss(value, loss, evidence), state.excursion)
    if state.recovery is not None and _was_mistaken(state, state.recovery):
        recovery = state.recovery
        assert recovery.far_worse is not None
        assert state.loss_before is not None
        reason = (
            f"the untrained weights have a loss of {number(state.loss_before)} on another batch, so "
            f"{number(recovery.far_worse)} was no divergence; the rate goes back"
        )
        after = replace(_counted(state, 0, 0), rate=recovery.rate_before, recovery=None, rate_too_high=None)
        return decide(state, after, "rollback", value, reason)
    cooldown = state.cooldown - 1 if state.cooldown else 0
    # As in Keras, the last observation of a cooldown already counts.
    wait = 0 if improved or cooldown else (state.wait if state.cooldown == 0 else 0) + 1
    level, loss_level = (None, None) if improved else (state.level, state.loss_level)
    if (
        wait
        and not state.exhausted
        and math.isfinite(value)
        and (state.cuts >= config.cuts_to_stall or state.rate <= config.min_lr)
    ):
        level = (level or Level()).with_value(value)
        loss_level = (loss_level or Level()).with_loss(_judged_loss(value, loss, evidence))
    state = _counted(state, cooldown, wait, level, loss_level)
    if improved:
        return _new_best(config, state, value, loss, finding, evidence or NOTHING_ELSE)
    if wait == 0 or wait < config.patience:
        return hold(state, value)
    return on_plateau(_plateau(config, state, value, finding, evidence or NOTHING_ELSE), wait)


def _was_mistaken(state: State, recovery: Recovery) -> bool:
    """Whether the divergences were none: by a better yardstick their loss was not far worse."""
    far = recovery.far_worse
    if far is None or state.loss_before is None:
        return False
    return not soundness.exceeds(far, state.loss_before, soundness.FAR_WORSE)


def _counted(
    state: State, cooldown: int, wait: int, level: Level | None = None, loss_level: Level | None = None
) -> State:
    """The state with another observation, and these.

    Not by `replace`, which would take most of the time of a step: it sets field by field.
    """
    after, fields = object.__new__(State), vars(state).copy()
    fields["observations"] += 1
    fields["cooldown"] = cooldown
    fields["wait"] = wait
    fields["level"] = level
    fields["loss_level"] = loss_level
    object.__setattr__(after, "__dict__", fields)  # It is frozen.
    return after


def _improves(config: Config, best: float | None, value: float) -> bool:
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    # abs(best): relative to a negative best, a fraction of it would ask for less than nothing.
    delta = config.min_delta * abs(best) if config.threshold_mode == "rel" else config.min_delta
    return value < best - delta if config.mode == "min" else value > best + delta


def _new_best(
    config: Config, state: State, value: float, loss: float | None, finding: Finding, evidence: Evidence
) -> Step[State]:
    beaten = state.aside is None or (state.aside.best is not None and _improves(config, state.aside.best, value))
    after = replace(state, best=value, rate_at_best=state.rate, cuts=0, exhausted=False)
    beats_start = not (state.goes_to_start and soundness.exceeds(loss, state.loss_before, 1.0))
    found = Best(value, state.rate, loss if loss is not None and math.isfinite(loss) else None, beats_start)
    # Where the loss is above that before training, only a look at the weights tells what they are worth. In an epoch of
    # one step it is that before training, whatever the step has done; but the validation has seen what it did.
    is_ruined = soundness.exceeds(evidence.val_loss, state.loss_before, soundness.FAR_WORSE)
    is_clear = evidence.is_validated and not soundness.exceeds(loss, state.loss_before, 1.0) and not is_ruined
    is_sound = finding.may_be_kept and (is_clear or not config.recover)
    if not beaten or not (config.recover or is_sound):
        save: Snapshot | None = None
    elif is_sound:
        after = replace(after, kept=found, candidate=None, recovery=None, aside=None)
        save = "best"
    else:
        after = replace(after, candidate=found)
        save = "candidate"
    save = save if save in config.needed_snapshots(after) else None
    if state.aside is not None and after.aside is None:
        return decide(state, after, "success", value, f"the restart brought a new best, {number(value)}", save=save)
    return decide(state, after, "best", value, "", save=save)


def _plateau(config: Config, state: State, value: float, finding: Finding, evidence: Evidence) -> Step[State]:
    at_floor = state.rate <= config.min_lr
    if at_floor and state.exhausted and not state.may_restart:
        return hold(state, value)
    best = "no finite metric yet" if state.best is None else f"no improvement on {number(state.best)}"
    waited = f"{best} in {counted(state.wait, 'observation')}"
    is_stuck = at_floor or state.cuts >= config.cuts_to_stall
    may_restart = config.recover and config.rollback and state.may_restart and state.aside is None
    if may_restart and finding.may_be_kept:
        # In place of the raise, which is not made after such a beginning.
        is_dead = soundness.dead(state.watch, state.loss_before, config.patience, is_stuck and config.max_raises > 0)
        if is_dead and (state.rate < state.start_rate or at_floor):
            if soundness.has_grown(evidence):
                return _restart(config, state, value, f"{waited}, and the network looks dead: {is_dead}")
            state, may_restart = replace(state, watch=Watch(has_learned=True)), False
    if at_floor and state.exhausted:
        return hold(state, value)
    if is_stuck and not state.exhausted:
        stalled = f"stalled: {waited}, " + ("at min_lr" if at_floor else f"after {state.cuts} fruitless cuts")
        if state.aside is not None:
            return _take_back(config, state, state.aside, value, f"the restart brought no new best; {stalled}")
        return _raise(config, state, value, stalled, finding, may_restart)
    return _cut(config, state, value, waited)


def _cut(config: Config, state: State, value: float, reason: str, kind: Kind = "cut") -> Step[State]:
    after = replace(
        state,
        rate=max(state.rate * config.factor, config.min_lr),
        wait=0,
        level=None,
        loss_level=None,
        cooldown=config.cooldown,
        cuts=state.cuts + 1,
    )
    back = config.rollback_on_cut and state.kept is not None  # In a restart nothing is kept.
    return decide(state, after, kind, value, reason, restore="best" if back else None)


# --- raises ----------------------------------------------------------------------------------------------------------


def _raise(
    config: Config, state: State, value: float, stalled: str, finding: Finding, may_restart: bool
) -> Step[State]:
    if config.max_raises == 0:
        return _exhaust(config, state, value, stalled)
    if finding.verdict == "suspect" or state.watch.peak is not None:
        why = finding.reason or f"the training loss rose to {number(state.watch.peak)} as training began"
        reason = f"{stalled}; no raise, since {why}"
        if state.watch.peak is not None and not may_restart:
            return _exhaust(config, state, value, reason)
        # Either the doubt may be over soon, or a restart may come.
        return hold(state, value) if state.rate <= config.min_lr else _cut(config, state, value, reason)
    ceiling = math.inf if config.max_lr is None else config.max_lr
    if state.rate_too_high is not None:
        # Back to a rate that broke training would only break it again.
        ceiling = min(ceiling, state.rate_too_high / config.raise_factor)
    top = min(state.rate_at_best * config.raise_factor, ceiling)
    left = math.inf if config.observations is None else config.observations - state.observations
    if state.raises >= config.max_raises:
        reason = f"{stalled}; all {config.max_raises} raises are used up"
    elif state.rate == 0:
        reason = f"{stalled}; the rate is 0"
    elif is_perfect(config.mode, state.best):
        reason = f"{stalled}; nothing is better than {number(state.best)}"
    elif not state.rate < top < math.inf:
        reason = f"{stalled}; there is no room to raise below {number(ceiling)}"
    elif left - config.patience < config.least_length:
        needed = config.least_length + config.patience
        reason = f"{stalled}; the {left} observations left cannot judge a raise, which takes {needed}"
    else:
        length = int(min(max(LENGTH * config.patience, config.least_length), left - config.patience))
        losses = state.loss_level or Level()
        excursion = Excursion(top, state.rate, length, state.level or Level(), loss_before=losses)
        after = replace(state, rate=top, excursion=excursion, raises=state.raises + 1, wait=0)
        after = replace(after, level=None, loss_level=None)
        save: Snapshot | None = "raise" if config.rollback else None
        reason = f"{stalled}; back to {number(state.rate)} over {length} observations"
        return decide(state, after, "raise", value, reason, save=save)
    return _exhaust(config, state, value, reason)


def _exhaust(config: Config, state: State, value: float, reason: str) -> Step[State]:
    exhausted = replace(state, exhausted=True)
    if state.rate <= config.min_lr:
        return decide(state, exhausted, "exhausted", value, reason)
    return _cut(config, exhausted, value, reason, kind="exhausted")


def _judged_loss(value: float, loss: float | None, evidence: Evidence | None) -> float | None:
    """The loss by which a raise is judged beside the metric: that of the same validation, else that of training.

    Where the metric is the loss of the validation, that says nothing more.
    """
    return loss if evidence is None or evidence.val_loss in (None, value) else evidence.val_loss


def _judge(config: Config, state: State, value: float, loss: float | None, excursion: Excursion) -> Step[State]:
    """An observation of an excursion; the last one judges it."""
    state = _counted(state, state.cooldown, 0)
    excursion = excursion.observed(value, loss, _improves(config, state.best, value))
    if excursion.done < excursion.length:
        after = replace(state, excursion=excursion, rate=excursion.rate)
        return decide(state, after, "hold", value, "")
    shortfall = excursion.shortfall(1.0 if config.mode == "min" else -1.0)
    if shortfall is not None:
        return _end_excursion(config, state, excursion, value, "rollback", f"the raise failed: {shortfall}")
    after = replace(state, excursion=None, rate=excursion.rate_before, cuts=0, wait=0, cooldown=config.cooldown)
    save: Snapshot | None = None
    if _improves(config, state.best, value):
        # The rate on the way back is no rate to raise from again.
        after = replace(
            after,
            best=value,
            rate_at_best=excursion.rate_before,
            candidate=Best(value, state.rate, None, not state.goes_to_start),
        )
        save = "candidate" if "candidate" in config.needed_snapshots(after) else None
    return decide(state, after, "success", value, f"the raise got ahead: {excursion.comparison}", save=save)


def _end_excursion(
    config: Config, state: State, excursion: Excursion, value: float | None, kind: Kind, reason: str
) -> Step[State]:
    after = replace(state, rate=excursion.rate_before, excursion=None, cuts=0, wait=0, cooldown=config.cooldown)
    after = replace(after, watch=state.watch.elsewhere())
    return decide(state, after, kind, value, reason, restore="raise" if config.rollback else None)


# --- divergence and restart ------------------------------------------------------------------------------------------


def _recover(
    config: Config, state: State, value: float, loss: float | None, reason: str, evidence: Evidence
) -> Step[State]:
    """Training broke: back to sound weights, and cut hard."""
    too_high = state.rate if state.rate_too_high is None else min(state.rate, state.rate_too_high)
    state = replace(state, observations=state.observations + 1, level=None, loss_level=None)
    if state.excursion is not None:
        # The rate before the raise was sound and need not pay for the raise. Its weights are the ones to go back to.
        after = replace(state, rate_too_high=too_high)
        return _end_excursion(config, after, state.excursion, value, "diverged", reason)

    from_start = state.goes_to_start
    restore: Snapshot | None = ("start" if from_start else "best") if config.rollback else None
    is_far = (
        loss is not None
        and math.isfinite(loss)
        and math.isfinite(value)
        and soundness.exceeds(loss, state.loss_before, soundness.FAR_WORSE)
    )
    before = state.recovery or Recovery(0, state.rate)
    recovery = Recovery(before.count + 1, before.rate_before, loss if is_far else None, restore == "start")
    after = replace(state, wait=0, cooldown=config.cooldown, cuts=0, watch=Watch(has_learned=not from_start))
    after = replace(after, recovery=recovery)
    if from_start:
        after = replace(after, kept=None)
    elif state.kept is not None:
        after = replace(after, best=state.kept.value, rate_at_best=state.kept.rate)

    if evidence.first_loss is None and _are_alike(before.far_worse, recovery.far_worse):
        # A far lower rate made no difference, so it was not the rate. Were first batches known, they would decide.
        after = replace(after, rate=before.rate_before, recovery=None, loss_before=None, rate_too_high=None)
        reason += ", but so it is at a far lower rate: the first batch was no yardstick"
        return decide(state, after, "rollback", value, reason, restore=restore)
    if before.count == MAX_RECOVERIES:
        reason += f"; {MAX_RECOVERIES} recoveries in a row did not help, so look at the data and the model"
        if state.aside is not None:
            return _take_back(config, state, state.aside, value, reason)
        # Even now every divergence goes back to sound weights, so that the run ends with some.
        kind: Kind = "diverged" if state.exhausted else "exhausted"
        after = replace(after, exhausted=True, recovery=replace(recovery, count=MAX_RECOVERIES))
        return decide(state, after, kind, value, reason, restore=restore)

    after = replace(after, rate=_hard_cut(config, state.rate), rate_too_high=too_high)
    if from_start:
        after = replace(after, start_rate=after.rate, best=None)
    return decide(state, after, "diverged", value, reason, restore=restore)


def _are_alike(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and 1 / SAME_LEVEL < one / other < SAME_LEVEL


def _restart(config: Config, state: State, value: float, reason: str) -> Step[State]:
    """The first rate did lasting damage: as if training began now, but for what was reached, which is put aside.

    That is the weights of now, and not those at the best: while the metric stands still, the loss may have come down.
    """
    known = state.start_rate if state.rate_too_high is None else min(state.start_rate, state.rate_too_high)
    rate = _hard_cut(config, known)
    after = State(
        rate=rate,
        rate_at_best=rate,
        start_rate=rate,
        observations=state.observations,
        rate_too_high=known,
        recovery=Recovery(1, state.rate),
        loss_before=state.loss_before,
        aside=replace(state, kept=Best(value, state.rate), candidate=None),
    )
    return decide(state, after, "restart", value, reason, save="best", restore="start")


def _take_back(config: Config, state: State, aside: State, value: float | None, reason: str) -> Step[State]:
    """The restart was no better: back to the best from before, and on from there."""
    # What the watch had to say has been tried.
    watch = replace(aside.watch.elsewhere(), has_learned=True)
    after = replace(aside, observations=state.observations, wait=0, watch=watch, rate_too_high=state.rate_too_high)
    return decide(state, after, "rollback", value, reason, restore="best" if config.rollback else None)


def _hard_cut(config: Config, rate: float) -> float:
    """A rate that began below `min_lr` stays there."""
    return max(rate * min(HARD_CUT, config.factor), min(config.min_lr, rate))
