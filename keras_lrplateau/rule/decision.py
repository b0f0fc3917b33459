"""What a rule answers: decisions, and the state that it goes on from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

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
    "search",
    "settle",
    "anneal",
]
"""What a decision is; all but "hold" and "best" change something or end something.

hold        nothing to do yet
best        a new best
cut         the rate goes down at a plateau
raise       the rate goes up after a stall; an excursion begins
success     a new best ended a trial: what it changed stays
rollback    a trial failed or was left open: back to where it began
diverged    training broke: back to earlier weights, far lower rate
restart     training was damaged from the start: back to the first weights, far lower rate
exhausted   nothing is left to try, but cuts
override    somebody else changed the rate; the policy goes on from what it found

Only in auto mode (`keras_lrplateau.rule.auto`):

search      another rate is tried from the first weights
settle      the search is over
anneal      the rate goes down a step towards zero, over the last observations
"""


Snapshot = Literal["start", "best", "raise"]
"""A copy of weights and optimizer state: before training, at the best observation, at the raise."""


Status = Literal["searching", "holding", "in excursion", "in restart", "annealing", "exhausted"]
"""What the rule is about, between decisions; "searching" and "annealing" are auto mode's."""


class AnyState(Protocol):
    """What every rule's state has: `State` here, and `keras_lrplateau.rule.auto.State`."""

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
        """What the rule is about."""


StateT = TypeVar("StateT", bound=AnyState)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy made of one observation, and why.

    Attributes:
        kind: What it is, see `Kind`.
        reason: Why, in a sentence for people; empty for "hold" and "best".
        observation: The number of the observation, from 1; 0 before the first.
        value: The observation, or None when the decision was not caused by one.
        best: The best observation, this one included; None before the first finite one.
        rate_before: The rate in force during the observation.
        rate: The rate from now on.
        save: The snapshot to take now.
        restore: The snapshot to go back to; after the save, if there are both.
        since: The number of the first observation of the plateau that caused it; None if none did.
        epoch: The 0-based epoch at whose end it was taken. The policy knows no epochs; the callback fills it in.
        since_epoch: The 0-based epoch of the observation `since`; likewise.
        step: The number of optimizer steps taken so far, those that were rolled back included; likewise.
    """

    kind: Kind
    reason: str
    observation: int
    value: float | None
    best: float | None
    rate_before: float
    rate: float
    save: Snapshot | None = None
    restore: Snapshot | None = None
    since: int | None = None
    epoch: int | None = None
    since_epoch: int | None = None
    step: int | None = None

    @property
    def is_action(self) -> bool:
        """Whether a user would want to hear of it: anything but waiting and improving."""
        return self.kind not in ("hold", "best")

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values."""
        return dataclasses.asdict(self)

    def describe(self, quantity: str = "learning rate") -> str:
        """The decision in one line of plain text.

        Args:
            quantity: What `rate` is: the rate, or the multiplier of a schedule.
        """
        if self.rate != self.rate_before:
            what = f"{quantity} {self.rate_before:.6g} -> {self.rate:.6g}"
        else:
            what = f"{quantity} stays {self.rate:.6g}"
        back = {
            None: "",
            "start": ", weights back to before training",
            "best": ", weights back to the best",
            "raise": ", weights back to before the raise",
        }
        return f"{self.kind}: {what}{back[self.restore]} ({self.reason})"


class Step(NamedTuple, Generic[StateT]):
    """The state after an observation, and the decision about it."""

    state: StateT
    decision: Decision


def hold(state: StateT, value: float | None) -> Step[StateT]:
    """Nothing to do."""
    return Step(state, Decision("hold", "", state.observations, value, state.best, state.rate, state.rate))


def decide(
    before: AnyState,
    after: StateT,
    kind: Kind,
    value: float | None,
    reason: str,
    save: Snapshot | None = None,
    restore: Snapshot | None = None,
) -> Step[StateT]:
    """The state after a decision, and the record of it."""
    decision = Decision(
        kind, reason, after.observations, value, after.best, before.rate, after.rate, save=save, restore=restore
    )
    return Step(after, decision)


def on_plateau(step: Step[StateT], length: int) -> Step[StateT]:
    """The same step, whose decision tells of the plateau of so many observations that caused it."""
    if not step.decision.is_action:
        return step
    return step._replace(decision=replace(step.decision, since=step.decision.observation - length + 1))
