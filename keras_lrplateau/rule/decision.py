"""What a rule is, and what it returns: a decision, and the next state.

A rule is a frozen configuration with methods. It remembers nothing itself: each method takes a state, and those that
change it return the next one. `keras_lrplateau.rule.plateau.Config` is the default rule,
`keras_lrplateau.rule.auto.Config` that of auto mode; `keras_lrplateau.rule.stored` finds them by name.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from keras_lrplateau.rule.words import change
from keras_lrplateau.settings import RuleName

Kind = Literal[
    "hold",
    "best",
    "cut",
    "raise",
    "success",
    "rollback",
    "diverged",
    "restart",
    "exhausted",
    "override",
    "phase",
    "search",
    "settle",
    "anneal",
]
"""What a decision is; all but "hold" and "best" change something or end something.

    hold        nothing to do yet
    best        a new best
    cut         the rate goes down at a plateau
    raise       the rate goes up after a stall; an excursion begins
    success     a trial brought better values: what it changed stays
    rollback    a trial failed or was left open: back to where it began; in a climb of auto mode the weights may stay
    diverged    training broke: back to earlier weights, far lower rate
    restart     training was damaged from the start: back to the first weights, far lower rate
    exhausted   only cuts are left to try
    override    the rate was changed by something else; the rule goes on from what it found
    phase       a training that had ended goes on, with a search or a wait of its own

Only in auto mode (`keras_lrplateau.rule.auto`):

    search      another rate is tried from the first weights
    settle      the search is over
    anneal      the rate goes down a step towards zero, over the last observations
"""


Snapshot = Literal["start", "best", "candidate", "raise"]
"""A copy of weights and optimizer state: before training, at the best observation, at one that may become it, at the
raise.
"""


Status = Literal["searching", "holding", "in excursion", "in restart", "annealing", "exhausted"]
"""What the rule is doing between decisions; "searching" and "annealing" are auto mode's."""


class RuleState(Protocol):
    """What the state of every rule has. It is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def rate(self) -> float:
        """The rate in force."""

    @property
    def best(self) -> float | None:
        """The best observation, or None before the first finite one."""

    @property
    def observations(self) -> int:
        """How many values were seen."""

    @property
    def status(self) -> Status:
        """What the rule is doing."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to try."""

    @property
    def in_excursion(self) -> bool:
        """Whether a raise is still to be judged."""

    @property
    def loss_before(self) -> float | None:
        """The training loss before the first update; None when it is not known."""

    @property
    def way_back(self) -> Snapshot | None:
        """The snapshot to which an open excursion goes back if it fails; None if none is open."""

    @property
    def trial_steps(self) -> int | None:
        """Optimizer steps in each trial of a search within an epoch; None outside of one."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, the name of the rule and a version, as plain values that JSON can hold."""


StateT = TypeVar("StateT", bound=RuleState)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the weights at an observation.

    Attributes:
        first_loss: The training loss of the first batch since the last observation, before its update. So it is the
            loss of the weights as the last decision left them. None if it is not known.
        is_finite: Whether all weights are finite now; None if that is not known.
        skipped: The share of the optimizer steps since the last observation that were skipped. In [0, 1].
        is_validated: Whether the metric was computed on the weights as they are now, as by a validation. False for a
            running mean over the epoch.
        noise: The standard error of the training loss, which is a mean over batches; 0 if it is not known. >= 0.
        growth: The root mean square of the weights, as a multiple of that in the snapshot to go back to. > 0. None if
            it is not known: it is computed only before a decision that would go back, see `Decision.compared_with`.
        grown_since: The snapshot that they were compared with.
        val_loss: The loss of the validation that brought the metric; the metric itself may be it. None if it is not
            known.
    """

    first_loss: float | None = None
    is_finite: bool | None = None
    skipped: float = 0.0
    is_validated: bool = True
    noise: float = 0.0
    growth: float | None = None
    grown_since: Snapshot = "start"
    val_loss: float | None = None


@dataclass(frozen=True)
class Decision:
    """What the rule decided on one observation, and why.

    Attributes:
        kind: What it is, see `Kind`.
        reason: Why, in a sentence for people; empty for "hold" and "best".
        observation: The number of the observation, from 1; 0 before the first.
        value: The observation, or None when the decision was not caused by one.
        best: The best observation, this one included; None before the first finite one.
        rate_before: The rate in force during the observation.
        rate: The rate from now on.
        keep: "candidate" if that snapshot has proved sound: it becomes the best one, before anything else is done.
        save: The snapshot to take now.
        restore: The snapshot to go back to, after the save if there is one.
        since: The number of the first observation of the plateau that caused it; None if none did.
        epoch: The 0-based epoch at whose end it was taken. The rule counts each observation as an epoch; the callback
            fills in the real one.
        since_epoch: The 0-based epoch of the observation `since`. The callback fills it in.
        step: The number of optimizer steps taken so far, those that were rolled back included; likewise.
    """

    kind: Kind
    reason: str
    observation: int
    value: float | None
    best: float | None
    rate_before: float
    rate: float
    keep: Literal["candidate"] | None = None
    save: Snapshot | None = None
    restore: Snapshot | None = None
    since: int | None = None
    epoch: int = 0
    since_epoch: int | None = None
    step: int | None = None

    @property
    def is_action(self) -> bool:
        """Whether it is worth reporting to the user: any kind but "hold" and "best"."""
        return self.kind not in ("hold", "best")

    @property
    def touches_training(self) -> bool:
        """Whether there is anything to carry out: a snapshot to take or to go back to, or another rate."""
        return self.rate != self.rate_before or bool(self.keep or self.save or self.restore)

    @property
    def compared_with(self) -> Snapshot | None:
        """The snapshot to compare the weights with before this is carried out, if it goes back because training looks
        broken; else None.
        """
        if self.kind not in ("diverged", "restart", "exhausted"):
            return None
        return "candidate" if self.keep is not None and self.restore == "best" else self.restore

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values."""
        return dataclasses.asdict(self)

    def describe(self, quantity: str = "learning rate") -> str:
        """The decision in one line of plain text.

        Args:
            quantity: What `rate` is: the rate, or the multiplier of a schedule.
        """
        back = {
            None: "",
            "candidate": "",  # Nothing goes back to one.
            "start": ", weights back to before training",
            "best": ", weights back to the best",
            "raise": ", weights back to before the raise",
        }
        return f"{self.kind}: {self.change_of(quantity)}{back[self.restore]} ({self.reason})"

    def change_of(self, quantity: str, arrow: str = "->") -> str:
        """What became of the rate, such as "learning rate 0.1 -> 0.05" or "learning rate stays 0.1".

        Args:
            quantity: What `rate` is.
            arrow: Stands between the two rates.
        """
        # A new phase begins with the rate that it finds; what the one before had ended with is not in its decision.
        stays = "stays " if self.rate == self.rate_before and self.kind != "phase" else ""
        return f"{quantity} {stays}{change(self.rate_before, self.rate, arrow)}"


class Step(NamedTuple, Generic[StateT]):
    """The state after an observation, and the decision about it."""

    state: StateT
    decision: Decision


class Rule(abc.ABC, Generic[StateT]):
    """A rule with its settings: a frozen dataclass that turns observations into decisions.

    Attributes:
        name: Which rule it is. Stored states carry it.
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        min_lr: No cut goes below this rate.
        max_lr: No raise goes above this rate; None for no bound.
        observations: How many observations the training will have; None if that is not known.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[RuleName]
    mode: Literal["min", "max"]
    min_lr: float
    max_lr: float | None
    observations: int | None

    @property
    def recovers(self) -> bool:
        """Whether the rule recovers when training breaks."""
        return True

    @property
    def patience_to_judge(self) -> int | None:
        """The least patience of `EarlyStopping` with which a raise can still be judged.

        None if there are no raises, or if that cannot be told.
        """
        return None

    @abc.abstractmethod
    def start(self, rate: float) -> StateT:
        """The state before the first observation.

        Args:
            rate: The rate that training starts with. Finite, >= 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is one that this rule cannot start with.
        """

    def searching_by(self, state: StateT, steps: int | None) -> StateT:
        """Let the search go by trials of this many optimizer steps; None for one observation each.

        During such a search `step` gets the training loss of a trial as both value and loss, and the rule's
        `observations` is the number of trials there is room for. Trials are no observations: once the rate is settled,
        the count begins at 0.
        """
        return state

    @abc.abstractmethod
    def step(
        self, state: StateT, value: float, loss: float | None = None, evidence: Evidence | None = None
    ) -> Step[StateT]:
        """Take one observation.

        Args:
            state: The state before the observation; it is not changed.
            value: The monitored metric. Any float; NaN and infinities included.
            loss: The training loss over the same time, when it is known. It shows divergence: a broken network can
                have a perfectly finite accuracy.
            evidence: What else is known about the weights.

        Returns:
            The state after it, and the decision.
        """

    @abc.abstractmethod
    def finish(self, state: StateT) -> Step[StateT]:
        """Training ends: take back an open trial.

        Returns:
            A "rollback" if the weights change; else a "hold".
        """

    @abc.abstractmethod
    def override(self, state: StateT, rate: float) -> Step[StateT]:
        """Go on from a rate that was set by something else.

        Args:
            state: The state, with the rate that the rule had set.
            rate: The rate found. Finite, >= 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is negative or not finite.
        """

    @abc.abstractmethod
    def needed_snapshots(self, state: StateT) -> frozenset[Snapshot]:
        """The snapshots that a later decision may still restore; all others can be dropped."""

    @classmethod
    @abc.abstractmethod
    def read_state(cls, data: Mapping[str, Any]) -> StateT:
        """The state whose `to_dict` wrote this.

        Raises:
            ValueError: Another rule or version, a missing or unknown field, or a value that no state can have.
        """

    @abc.abstractmethod
    def for_length(self, observations: int | None, *, anneals: bool = True) -> Self:
        """This rule for a training of this many observations in all; None if that is not known.

        Args:
            observations: As above.
            anneals: Whether to lower the rate in the last part, if the rule does so.
        """

    def most_observations(self, state: StateT) -> int | None:
        """The most observations into which to divide a whole training from here on, if they can be of any length.

        Returns:
            None for any number.
        """
        return None

    @abc.abstractmethod
    def without_search(self) -> Self:
        """This rule without trials of rates at the start."""


def multiplier_bounds(min_lr: float, max_lr: float | None, unscaled: float) -> tuple[float, float | None]:
    """Return the bounds of a rate as bounds of the multiplier of a schedule.

    Args:
        min_lr, max_lr: The bounds of the rate; None for no bound.
        unscaled: The present rate of the schedule, without the multiplier. A schedule at zero stays there, whatever the
            multiplier: then there are no bounds.
    """
    if unscaled <= 0 or not math.isfinite(min_lr / unscaled):
        return 0.0, None
    highest = None if max_lr is None else max_lr / unscaled
    return min_lr / unscaled, highest if highest is None or math.isfinite(highest) else None


def start(rule: Rule[StateT], rate: float) -> StateT:
    """The state before the first observation.

    Args:
        rule: A configuration: `keras_lrplateau.Config`, or `keras_lrplateau.auto.Config`.
        rate: The rate that training starts with. Finite, >= 0.

    Raises:
        TypeError: `rate` is not a number.
        ValueError: `rate` is negative, not finite or above `max_lr`; in auto mode also 0 or below `min_lr`.

    Example:

        >>> from keras_lrplateau import Config, start, step
        >>> config = Config(patience=2, factor=0.5)
        >>> state = start(config, 0.1)
        >>> for value in (1.0, 0.9, 0.95, 0.93):
        ...     state, decision = step(config, state, value)
        >>> decision.kind, decision.rate
        ('cut', 0.05)
        >>> decision.reason
        'no improvement on 0.9 in 2 observations'
    """
    return rule.start(rate)


def step(
    rule: Rule[StateT], state: StateT, value: float, loss: float | None = None, evidence: Evidence | None = None
) -> Step[StateT]:
    """Take one observation.

    Args:
        rule: The configuration that `start` was given.
        state: The state before the observation; it is not changed.
        value: The monitored metric. Any float; NaN and infinities included.
        loss: The training loss over the same time, when it is known.
        evidence: What else is known about the weights; see `keras_lrplateau.rule.soundness`.

    Returns:
        The state after it, and the decision.
    """
    return rule.step(state, value, loss, evidence)


def hold(state: StateT, value: float | None) -> Step[StateT]:
    """Nothing to do."""
    decision, rate, count = object.__new__(Decision), state.rate, state.observations
    # Nearly all decisions are these. Its constructor would take three times as long, as it sets field by field; the
    # fields that are left out have defaults.
    vars(decision).update(
        kind="hold",
        reason="",
        observation=count,
        value=value,
        best=state.best,
        rate_before=rate,
        rate=rate,
        epoch=count - 1 if count else 0,
    )
    return Step(state, decision)


def decide(
    before: RuleState,
    after: StateT,
    kind: Kind,
    value: float | None,
    reason: str,
    save: Snapshot | None = None,
    restore: Snapshot | None = None,
) -> Step[StateT]:
    """The state after a decision, and the record of it."""
    count = after.observations
    decision = Decision(
        kind,
        reason,
        count,
        value,
        after.best,
        before.rate,
        after.rate,
        save=save,
        restore=restore,
        epoch=max(count - 1, 0),
    )
    return Step(after, decision)


def on_plateau(step: Step[StateT], length: int) -> Step[StateT]:
    """The same step, whose decision names the plateau of this many observations that caused it."""
    if not step.decision.is_action:
        return step
    return step._replace(decision=replace(step.decision, since=step.decision.observation - length + 1))


def is_perfect(mode: Literal["min", "max"], best: float | None) -> bool:
    """Whether nothing can be better: an error or loss of 0, or an accuracy, overlap or area under a curve of 1.

    Of a metric without such a bound, which may have this very value, only a raise is missed.
    """
    return best == (0.0 if mode == "min" else 1.0)
