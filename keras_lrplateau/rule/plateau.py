"""The plateau rule: one observation of a metric in, one decision about the learning rate out.

Nothing here knows Keras, a clock or a file. `start` gives the first state, `step` takes one observation and returns
the next state with a decision; whoever calls it carries the decision out. Live training, replay and the tests all run
these very functions.

The words, used everywhere in this sense:

    observation     one value of the monitored metric
    best            the best observation so far
    plateau         `patience` observations in a row, none better than the best by `min_delta`
    cut             rate x `factor`, at a plateau
    fruitless cut   a cut after which the next plateau came without a new best
    stalled         a plateau after `raise_after` fruitless cuts in a row, or at `min_lr`
    raise           the rate goes above the one in force when the metric last improved
    excursion       the time from a raise until it is judged
    rollback        weights, optimizer state and rate go back to a snapshot
    diverged        a non-finite metric or training loss, or a training loss far worse than before training
    restart         back to the weights from before training, with a far lower rate
    trial           an excursion or a restart, which may be taken back
    exhausted       no excursion helped; nothing is left to try

The rules:

1. Diverged: back to the best snapshot (the untrained weights count as one), with the rate cut hard. Inside an
   excursion: back to the snapshot taken at the raise. No later raise goes as high as a rate that diverged.
2. A new best ends the wait. An open excursion has succeeded.
3. Otherwise, and outside the cooldown, the wait grows. At a plateau:
   a. in an excursion: cut towards the rate before the raise. At a plateau there, still without a new best, the
      excursion has failed: everything goes back to the snapshot taken at the raise. The next raise is later, since the
      fruitless cuts are counted anew, and larger;
   b. else, if the training loss once rose far above that before training and has not come down well since: the first
      rate did lasting damage. Restart. What was reached is put aside with its snapshot; if the restart stalls without
      beating it, it comes back, and there is no other restart;
   c. stalled: snapshot, raise, and so open an excursion; at most `max_raises` times;
   d. otherwise: cut, down to `min_lr`.
4. Exhausted: a stall that no raise is left for. It is cut, and from then on there are only cuts, until a new best.
5. When training ends (`finish`), a trial that has brought no new best is taken back.

With `max_raises=0` and `recover=False` the rate is that of `keras.callbacks.ReduceLROnPlateau`, observation by
observation, but for these deviations:

- a non-finite value never becomes the best: Keras keeps a NaN that comes first for ever;
- values are compared as Python floats: Keras compares them as backend tensors, in which a half-precision improvement
  can vanish;
- the rate is a Python float: Keras reads its rounded value back before each cut, so after several cuts the two may
  differ in the last digit of the optimizer's dtype;
- for the same reason a cut stops at `min_lr` exactly, where Keras compares with `min_lr` rounded to float32.

Sources: the cut is Keras' (keras/src/callbacks/reduce_lr_on_plateau.py). The relative threshold is that of PyTorch's
ReduceLROnPlateau, taken on |best|, since theirs points the wrong way for negative metrics (pytorch#47513). Why an
excursion is not judged by its first observations: short-horizon bias (Wu et al. 2018, "Understanding short-horizon bias
in stochastic meta-optimization"). Why an ordinary cut does not go back to the best weights unless asked: the best of
many noisy observations is partly the luckiest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from keras_lrplateau.rule import checks
from keras_lrplateau.rule.checks import check_settings, check_start
from keras_lrplateau.rule.decision import Kind, Rule, Snapshot, Status, Step, decide, hold, on_plateau
from keras_lrplateau.rule.soundness import MAX_RECOVERIES, divergence, exceeds
from keras_lrplateau.rule.words import number
from keras_lrplateau.settings import RuleName, check_flag, check_number

HARD_CUT = 0.03
"""A divergence cuts by this, or by `factor` where that is smaller.

A rate that broke training is rarely only a little too high, and one that barely does not break it is no better. Chosen
from 0.3, 0.1, 0.03 and 0.01 on the tuning tasks of examples/benchmarks/raise_defaults.py (with --constants).
"""

DAMAGED = ((3.0, 0.5), (1.1, 0.9))
"""A training loss that once rose above the first of such a pair of multiples, and never came below the second, shows a
first rate so high that it did lasting damage.

A network that has come through such a start is often dead: its loss is that of a constant answer, and looks like slow
learning. A rate far too low gives no such rise, and is left to the raises.
"""


STATE_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Config(Rule["State"]):
    """What the user chose. Checked when made; a mistake raises at once.

    Args:
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        factor: Each cut multiplies the rate by this. In (0, 1).
        patience: Observations without improvement that make a plateau. Integer >= 0; 0 acts as 1, as in Keras.
        min_delta: By how much an observation must beat the best to count. >= 0.
        threshold_mode: "abs": `min_delta` is in the metric's unit. "rel": it is a fraction of |best|.
        cooldown: Observations after a change of rate in which no wait is counted. Integer >= 0.
        min_lr: No cut goes below this rate. >= 0.
        max_lr: No raise goes above this rate; None for no bound. > 0, >= `min_lr`.
        raise_factor: A raise goes to this multiple of the rate in force when the metric last improved; after each
            failure since then, to its next power. > 1.
        raise_after: Fruitless cuts in a row that make a stall. Integer >= 1.
        max_raises: How many raises one training may make. Integer >= 0; 0 turns raising off.
        recover: Whether divergence is answered at all.
        rollback: Whether snapshots may be asked for. Without them a failed excursion only gives the rate back, and a
            divergence only cuts.
        rollback_on_cut: Whether an ordinary cut goes back to the best snapshot, too.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is outside its range.

    Source of the defaults: those that Keras' ReduceLROnPlateau has are its own. `raise_factor`, `raise_after` and
    `max_raises` were tried on the tuning tasks of examples/benchmarks/raise_defaults.py. All values near these did
    about equally well there: raising early gains where the rate was cut too early, and costs where more training only
    overfits. These are the cautious ones among them.
    """

    name: ClassVar[RuleName] = "default"

    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    threshold_mode: Literal["abs", "rel"] = "abs"
    cooldown: int = 0
    min_lr: float = 0.0
    max_lr: float | None = None
    raise_factor: float = 2.0
    raise_after: int = 3
    max_raises: int = 3
    recover: bool = True
    rollback: bool = True
    rollback_on_cut: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        check_flag("rollback", self.rollback)
        if self.rollback_on_cut and not self.rollback:
            raise ValueError(
                "rollback_on_cut=True needs snapshots. Received: rollback=False; set rollback=True or leave "
                "rollback_on_cut off"
            )

    @property
    def recovers(self) -> bool:
        return self.recover

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

    def step(self, state: State, value: float, loss: float | None = None) -> Step[State]:
        """Take one observation.

        Args:
            state: The state before the observation; it is not changed.
            value: The monitored metric. Any float; NaN and infinities included.
            loss: The training loss over the same time, when it is known. It is only watched for divergence: a broken
                network can have a perfectly finite accuracy.

        Returns:
            The state after it, and the decision.
        """
        improved = _improves(self, state.best, value)
        vouched = improved and state.best is not None
        if self.recover and (broken := divergence(value, loss, state.loss_before, vouched)):
            return _recover(self, replace(state, observations=state.observations + 1), value, loss, broken)

        cooldown = state.cooldown - 1 if state.cooldown else 0
        # As in Keras, the last observation of a cooldown already counts.
        wait = 0 if improved or cooldown else (state.wait if state.cooldown == 0 else 0) + 1
        highest, lowest = state.highest_loss, state.lowest_loss
        if self.recover and loss is not None and math.isfinite(loss):
            highest = loss if highest is None else max(loss, highest)
            lowest = loss if lowest is None else min(loss, lowest)
        state = _counted(state, cooldown, wait, highest, lowest)
        if improved:
            return _new_best(self, state, value)
        if wait == 0 or wait < self.patience:
            return hold(state, value)
        return on_plateau(_plateau(self, state, value), wait)

    def finish(self, state: State) -> Step[State]:
        """Training ends: give back what a trial, still unjudged, has done to the weights.

        Args:
            state: The state after the last observation.

        Returns:
            A "rollback" when a trial was under way that has brought no new best; else a "hold".
        """
        if state.in_excursion:
            return _end_excursion(self, state, None, "rollback", "training ended before the raise brought a new best")
        if state.aside is not None:
            return _take_back(self, state, state.aside, None, "training ended before the restart brought a new best")
        return hold(state, None)

    def override(self, state: State, rate: float) -> Step[State]:
        """Somebody else set the rate: go on from the one that was found.

        Args:
            state: The state, with the rate that the policy had set.
            rate: The rate found. Finite, >= 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is negative or not finite.
        """
        check_number("rate", rate, "a finite number >= 0", lambda x: x >= 0)
        back_to = None if state.rate_before_raise is None else min(state.rate_before_raise, float(rate))
        after = replace(state, rate=float(rate), rate_before_raise=back_to, exhausted=False)
        return decide(
            state, after, "override", None, f"the rate was found at {number(rate)}, not at {number(state.rate)} as set"
        )

    def needed_snapshots(self, state: State) -> frozenset[Snapshot]:
        """The snapshots that a later decision may still restore; all others can be dropped. At most two at any time."""
        needed: set[Snapshot] = set()
        if self.rollback:
            # Once there is a best, only a restart goes back further: before any raise, and by the loss before training.
            may_restart = state.raises == 0 and (state.aside is not None or state.loss_before is not None)
            if self.recover and (state.best is None or may_restart):
                needed.add("start")
            if state.aside is not None or (state.best is not None and (self.recover or self.rollback_on_cut)):
                needed.add("best")
            if state.in_excursion:
                needed.add("raise")
        return frozenset(needed)

    @classmethod
    def read_state(cls, data: Mapping[str, Any]) -> State:
        """The state whose `to_dict` wrote this."""
        return State.from_dict(data)

    def for_length(self, observations: int | None) -> Self:
        """The same rule: it does not go by the length."""
        return self

    def without_search(self) -> Self:
        """The same rule: it has no search."""
        return self


@dataclass(frozen=True)
class State:
    """All that the policy remembers; it never grows.

    Attributes:
        rate: The rate in force. >= 0.
        rate_at_best: The rate in force when the metric last improved; before that, the first rate.
        start_rate: The rate with which training started, or restarted.
        best: The best observation, or None before the first finite one.
        observations: How many values were seen.
        wait: Observations since the last improvement, change of rate or cooldown.
        cooldown: Observations of the cooldown still to come.
        cuts: Cuts since the last new best, outside excursions. At a plateau all of them have been fruitless.
        raises: Raises made in this training.
        failed_raises: Excursions that failed since the last new best.
        rate_before_raise: The rate to which an open excursion returns if it fails; None when none is open.
        rate_too_high: The lowest rate at which training diverged; None if it never did.
        recoveries: Divergences and restarts since the last new best.
        rate_before_recoveries: The rate before the first of them, or None when there was none.
        loss_before: The training loss before the first update; None when it is not known.
        far_worse: The training loss at the last divergence since the last new best, if it was finite and far worse than
            `loss_before`; else None.
        highest_loss: The highest training loss since training started, or restarted; None when it is not known.
        lowest_loss: The lowest one.
        aside: The state from before a restart, until its best is beaten; else None.
        exhausted: Whether nothing is left to try.
    """

    rate: float
    rate_at_best: float
    start_rate: float
    best: float | None = None
    observations: int = 0
    wait: int = 0
    cooldown: int = 0
    cuts: int = 0
    raises: int = 0
    failed_raises: int = 0
    rate_before_raise: float | None = None
    rate_too_high: float | None = None
    recoveries: int = 0
    rate_before_recoveries: float | None = None
    loss_before: float | None = None
    far_worse: float | None = None
    highest_loss: float | None = None
    lowest_loss: float | None = None
    aside: State | None = None
    exhausted: bool = False

    @property
    def in_excursion(self) -> bool:
        """Whether a raise is still to be judged."""
        return self.rate_before_raise is not None

    @property
    def way_back(self) -> Snapshot | None:
        """The snapshot to which an open excursion goes back if it fails; None if none is open."""
        return "raise" if self.in_excursion else None

    @property
    def status(self) -> Status:
        """What the rule is doing."""
        if self.exhausted:
            return "exhausted"
        if self.in_excursion:
            return "in excursion"
        return "holding" if self.aside is None else "in restart"

    def to_dict(self) -> dict[str, Any]:
        """All fields and a version, as plain values that JSON can hold."""
        return {"rule": Config.name, "version": STATE_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> State:
        """The state that `to_dict` wrote.

        Raises:
            ValueError: Another version, a missing or unknown field, or a value that no state can have.
        """
        fields = checks.stored_fields(data, Config.name, STATE_VERSION)
        aside = fields.get("aside")
        if aside is not None:
            if not isinstance(aside, Mapping) or aside.get("aside") is not None:
                raise ValueError("state.aside must be null or a state that has put none aside itself")
            aside = _READ("state.aside", aside)
            checks.refuse(_contradictions(aside))
        state = replace(_READ("state", {**fields, "aside": None}), aside=aside)
        checks.refuse(_contradictions(state))
        return state


# --- the rules -------------------------------------------------------------------------------------------------------


def _counted(state: State, cooldown: int, wait: int, highest: float | None, lowest: float | None) -> State:
    """The state with another observation, and these.

    Not by `replace`, which would take most of the time of a step: it sets field by field.
    """
    after = object.__new__(State)
    fields = vars(after)
    fields.update(vars(state))
    fields["observations"] += 1
    fields["cooldown"], fields["wait"] = cooldown, wait
    fields["highest_loss"], fields["lowest_loss"] = highest, lowest
    return after


def _improves(config: Config, best: float | None, value: float) -> bool:
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    # abs(best): relative to a negative best, a fraction of it would ask for less than nothing.
    delta = config.min_delta * abs(best) if config.threshold_mode == "rel" else config.min_delta
    return value + delta < best if config.mode == "min" else value - delta > best


def _was_damaged(state: State) -> bool:
    """Whether the training loss says that the first rate did lasting damage."""
    return state.loss_before is not None and any(
        exceeds(state.highest_loss, state.loss_before, rose) and exceeds(state.lowest_loss, state.loss_before, fell)
        for rose, fell in DAMAGED
    )


def _new_best(config: Config, state: State, value: float) -> Step[State]:
    beaten = state.aside is None or _improves(config, state.aside.best, value)
    after = replace(
        state,
        best=value,
        rate_at_best=state.rate,
        cuts=0,
        failed_raises=0,
        rate_before_raise=None,
        recoveries=0 if beaten else state.recoveries,
        rate_before_recoveries=None if beaten else state.rate_before_recoveries,
        far_worse=None,
        aside=None if beaten else state.aside,
        exhausted=False,
    )
    save: Snapshot | None = "best" if beaten and "best" in config.needed_snapshots(after) else None
    if state.in_excursion:
        return decide(state, after, "success", value, f"the raise brought a new best, {number(value)}", save=save)
    if state.aside is not None and beaten:
        return decide(state, after, "success", value, f"the restart brought a new best, {number(value)}", save=save)
    return decide(state, after, "best", value, "", save=save)


def _plateau(config: Config, state: State, value: float) -> Step[State]:
    # A raise drops the snapshot of the start: after one there is no way back to it.
    may_restart = config.recover and config.rollback and state.raises == 0 and state.recoveries < MAX_RECOVERIES
    restarts = may_restart and not state.in_excursion and _was_damaged(state)
    at_floor = state.rate <= config.min_lr
    if at_floor and state.exhausted and not restarts:
        return hold(state, value)

    best = "no finite metric yet" if state.best is None else f"no improvement on {number(state.best)}"
    waited = f"{best} in {state.wait} observation{'s' * (state.wait != 1)}"
    if state.rate_before_raise is not None:
        if state.rate > state.rate_before_raise:
            return _cut(config, state, value, state.rate_before_raise, f"{waited} of the excursion")
        reason = f"the raise failed: {waited} since the rate is back at {number(state.rate)}"
        return _end_excursion(config, state, value, "rollback", reason)
    if restarts:
        return _restart(config, state, value, f"{waited}, and the training loss once rose far above the first one")
    if not state.exhausted and (at_floor or state.cuts >= config.raise_after):
        stalled = f"stalled: {waited}, " + ("at min_lr" if at_floor else f"after {state.cuts} fruitless cuts")
        if state.aside is not None:
            return _take_back(config, state, state.aside, value, f"the restart brought no new best; {stalled}")
        return _raise(config, state, value, stalled)
    return _cut(config, state, value, config.min_lr, waited)


def _cut(config: Config, state: State, value: float, floor: float, reason: str, kind: Kind = "cut") -> Step[State]:
    after = replace(
        state,
        rate=max(state.rate * config.factor, floor),
        wait=0,
        cooldown=config.cooldown,
        # The cuts of an excursion undo its own raise; they say nothing about the rates below.
        cuts=state.cuts if state.in_excursion else state.cuts + 1,
    )
    back = config.rollback_on_cut and not state.in_excursion and state.aside is None and state.best is not None
    return decide(state, after, kind, value, reason, restore="best" if back else None)


def _raise(config: Config, state: State, value: float, stalled: str) -> Step[State]:
    ceiling = math.inf if config.max_lr is None else config.max_lr
    if state.rate_too_high is not None:
        # Back to a rate that broke training would only break it again.
        ceiling = min(ceiling, state.rate_too_high / config.raise_factor)
    try:
        target = state.rate_at_best * config.raise_factor ** (state.failed_raises + 1)
    except OverflowError:
        target = math.inf
    if state.failed_raises:
        # The last improvement may have been at a rate that was cut too early. Training was sound where it started.
        target = max(target, state.start_rate)
    target = min(target, ceiling)
    if config.max_raises == 0:
        reason = stalled
    elif state.raises >= config.max_raises:
        reason = f"{stalled}; all {config.max_raises} raises are used up"
    elif state.rate == 0:
        reason = f"{stalled}; the rate is 0"
    elif not state.rate < target < math.inf:
        reason = f"{stalled}; there is no room to raise below {number(ceiling)}"
    else:
        after = replace(
            state,
            rate=target,
            rate_before_raise=state.rate,
            raises=state.raises + 1,
            wait=0,
            cooldown=config.cooldown,
        )
        save: Snapshot | None = "raise" if config.rollback else None
        return decide(state, after, "raise", value, stalled, save=save)
    exhausted = replace(state, exhausted=True)
    if state.rate <= config.min_lr:
        return decide(state, exhausted, "exhausted", value, reason)
    return _cut(config, exhausted, value, config.min_lr, reason, kind="exhausted")


def _end_excursion(config: Config, state: State, value: float | None, kind: Kind, reason: str) -> Step[State]:
    assert state.rate_before_raise is not None
    after = replace(
        state,
        rate=state.rate_before_raise,
        rate_before_raise=None,
        failed_raises=state.failed_raises + 1,
        cuts=0,
        wait=0,
        cooldown=config.cooldown,
    )
    return decide(state, after, kind, value, reason, restore="raise" if config.rollback else None)


def _recover(config: Config, state: State, value: float, loss: float | None, reason: str) -> Step[State]:
    """Training broke: back to sound weights, and cut hard."""
    too_high = state.rate if state.rate_too_high is None else min(state.rate, state.rate_too_high)
    if state.in_excursion:
        # The rate before the raise was sound and need not pay for the raise. Its weights are the ones to go back to.
        return _end_excursion(config, replace(state, rate_too_high=too_high), value, "diverged", reason)

    from_start = state.best is None or state.aside is not None
    restore: Snapshot | None = ("start" if from_start else "best") if config.rollback else None
    far_worse = loss if math.isfinite(value) and loss is not None and math.isfinite(loss) else None
    before = state.rate if state.rate_before_recoveries is None else state.rate_before_recoveries
    after = replace(state, wait=0, cooldown=config.cooldown, cuts=0, far_worse=far_worse)

    if state.far_worse is not None and far_worse is not None and far_worse > state.far_worse / 2:
        # A far lower rate made no difference, so it was not the rate: the first batch was an easy one, no yardstick.
        after = replace(after, rate=before, loss_before=None, far_worse=None, rate_too_high=None)
        after = replace(after, recoveries=0, rate_before_recoveries=None)
        reason += ", but so it is at a far lower rate: the first batch was no yardstick"
        return decide(state, after, "rollback", value, reason, restore=restore)

    if state.recoveries == MAX_RECOVERIES:
        reason += f"; {MAX_RECOVERIES} recoveries in a row did not help, so look at the data and the model"
        if state.aside is not None:
            return _take_back(config, state, state.aside, value, reason)
        # Even now every divergence goes back to sound weights, so that the run ends with some.
        kind: Kind = "diverged" if state.exhausted else "exhausted"
        return decide(state, replace(after, exhausted=True), kind, value, reason, restore=restore)

    rate = _hard_cut(config, state.rate)
    after = replace(after, rate=rate, recoveries=state.recoveries + 1, rate_before_recoveries=before)
    after = replace(after, rate_too_high=too_high)
    if from_start:
        after = replace(after, start_rate=rate, best=None, highest_loss=None, lowest_loss=None)
    return decide(state, after, "diverged", value, reason, restore=restore)


def _restart(config: Config, state: State, value: float, reason: str) -> Step[State]:
    """The first rate did lasting damage: as if training began now, but for the best so far, which is put aside."""
    known = state.start_rate if state.rate_too_high is None else min(state.start_rate, state.rate_too_high)
    rate = _hard_cut(config, known)
    after = State(
        rate=rate,
        rate_at_best=rate,
        start_rate=rate,
        observations=state.observations,
        rate_too_high=state.rate_too_high,
        recoveries=state.recoveries + 1,
        loss_before=state.loss_before,
        aside=replace(state, aside=None) if state.aside is None else state.aside,
    )
    return decide(state, after, "restart", value, reason, restore="start")


def _take_back(config: Config, state: State, aside: State, value: float | None, reason: str) -> Step[State]:
    """The restart was no better: back to the best from before, and on from there."""
    # No yardstick any more: what it had to say has been tried.
    after = replace(aside, observations=state.observations, wait=0, loss_before=None, rate_too_high=state.rate_too_high)
    return decide(state, after, "rollback", value, reason, restore="best" if config.rollback else None)


def _hard_cut(config: Config, rate: float) -> float:
    """A rate that began below `min_lr` stays there."""
    return max(rate * min(HARD_CUT, config.factor), min(config.min_lr, rate))


# --- stored states ---------------------------------------------------------------------------------------------------

_RATE = checks.at_least_0
_READ = checks.record(
    State,
    rate=_RATE,
    rate_at_best=_RATE,
    start_rate=_RATE,
    best=checks.optional(checks.real),
    observations=checks.count,
    wait=checks.count,
    cooldown=checks.count,
    cuts=checks.count,
    raises=checks.count,
    failed_raises=checks.count,
    rate_before_raise=checks.optional(_RATE),
    rate_too_high=checks.optional(_RATE),
    recoveries=checks.count,
    rate_before_recoveries=checks.optional(_RATE),
    loss_before=checks.optional(checks.real),
    far_worse=checks.optional(checks.real),
    highest_loss=checks.optional(checks.real),
    lowest_loss=checks.optional(checks.real),
    aside=checks.nothing,
    exhausted=checks.flag,
)
"""Reads a stored state, but for the one that it has put aside."""


def _contradictions(state: State) -> Iterator[str]:
    names = ("wait", "cuts", "raises", "failed_raises", "recoveries")
    yield from checks.too_many(state, {name: getattr(state, name) for name in names})
    if state.failed_raises + state.in_excursion > state.raises:
        yield f"more excursions than its {state.raises} raises"
    if state.aside is not None and (state.raises or state.aside.raises or state.aside.best is None):
        yield "a state is put aside only after a best and before any raise"
