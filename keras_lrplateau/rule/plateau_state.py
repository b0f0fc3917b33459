"""What the plateau rule remembers: the best, the open trials, what broke and what is sound, and how all that is stored.

`keras_lrplateau.rule.plateau` says what the words mean, and is what changes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keras_lrplateau.rule import checks, soundness
from keras_lrplateau.rule.decision import Snapshot, Status
from keras_lrplateau.rule.excursion import READ_EXCURSION, READ_LEVEL, Excursion, Level
from keras_lrplateau.rule.soundness import Watch
from keras_lrplateau.settings import RuleName

NAME: RuleName = "default"

STATE_VERSION = 4


@dataclass(frozen=True, slots=True)
class Best:
    """A best observation with its rate, and what the training loss says of it.

    Attributes:
        value: The observation.
        rate: The rate in force.
        loss: The training loss over the same time; None when it is not known.
        beats_start: Whether its training loss, or that of a best before it, is no higher than before training.
    """

    value: float
    rate: float
    loss: float | None = None
    beats_start: bool = True


@dataclass(frozen=True, slots=True)
class Recovery:
    """What divergences since the last new best have done.

    Attributes:
        count: How many there were, restarts included.
        rate_before: The rate before the first of them.
        far_worse: The training loss of the last one, if it was finite and far worse than before training; else None.
        is_at_start: Whether the weights are the untrained ones, so that the next first batch is another yardstick.
    """

    count: int
    rate_before: float
    far_worse: float | None = None
    is_at_start: bool = False


@dataclass(frozen=True)
class State:
    """All that the rule remembers; it never grows.

    Attributes:
        rate: The rate in force. >= 0.
        rate_at_best: The rate in force when the metric last improved; before that, the first rate.
        start_rate: The rate with which training started, or restarted.
        best: The best observation, or None before the first finite one.
        observations: How many values were seen.
        wait: Observations since the last improvement, change of rate or cooldown.
        cooldown: Observations of the cooldown still to come.
        cuts: Cuts since the last new best. At a plateau all of them have been fruitless.
        raises: Raises made in this training.
        level: The observations of the present wait, once a stall may end it.
        loss_level: The losses of the same time: of the validation beside a metric of it, else of training.
        excursion: The open excursion, or None.
        kept: What is in the best snapshot, or None if there is none. Known to be sound.
        candidate: What is in the candidate snapshot, or None if there is none.
        watch: What is remembered to judge soundness.
        recovery: Divergences since the last new best, or None.
        rate_too_high: The lowest rate at which training diverged; None if it never did.
        loss_before: The training loss before the first update; None when it is not known.
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
    level: Level | None = None
    loss_level: Level | None = None
    excursion: Excursion | None = None
    kept: Best | None = None
    candidate: Best | None = None
    watch: Watch = field(default_factory=Watch)
    recovery: Recovery | None = None
    rate_too_high: float | None = None
    loss_before: float | None = None
    aside: State | None = None
    exhausted: bool = False

    @property
    def in_excursion(self) -> bool:
        """Whether a raise is still to be judged."""
        return self.excursion is not None

    @property
    def way_back(self) -> Snapshot | None:
        """The snapshot to which an open excursion goes back if it fails; None if none is open."""
        return None if self.excursion is None else "raise"

    @property
    def trial_steps(self) -> None:
        """None: this rule has no search."""
        return None

    @property
    def status(self) -> Status:
        """What the rule is doing."""
        if self.exhausted:
            return "exhausted"
        if self.in_excursion:
            return "in excursion"
        return "holding" if self.aside is None else "in restart"

    @property
    def may_restart(self) -> bool:
        """Whether the network may still turn out to be dead."""
        is_open = not self.watch.has_learned and self.loss_before is not None
        return is_open and self.recovery is None and self.raises == 0

    @property
    def goes_to_start(self) -> bool:
        """Whether a divergence goes back to the untrained weights: there is no best, or it is worse than they are."""
        return self.kept is None or self.aside is not None or not self.kept.beats_start

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values that JSON can hold."""
        return {"rule": NAME, "version": STATE_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> State:
        """The state that `to_dict` wrote.

        Raises:
            ValueError: Another version, a missing or unknown field, or a value that no state can have.
        """
        fields = checks.stored_fields(data, NAME, STATE_VERSION)
        aside = fields.get("aside")
        if aside is not None:
            if not isinstance(aside, Mapping) or aside.get("aside") is not None:
                raise ValueError("state.aside must be null or a state that has put none aside itself")
            aside = _READ("state.aside", aside)
            checks.refuse(_contradictions(aside))
        state = replace(_READ("state", {**fields, "aside": None}), aside=aside)
        checks.refuse(_contradictions(state))
        return state


# --- stored states ---------------------------------------------------------------------------------------------------

_RATE = checks.at_least_0
_BEST = checks.record(Best, value=checks.real, rate=_RATE, loss=checks.optional(checks.real), beats_start=checks.flag)
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
    level=checks.optional(READ_LEVEL),
    loss_level=checks.optional(READ_LEVEL),
    excursion=checks.optional(READ_EXCURSION),
    kept=checks.optional(_BEST),
    candidate=checks.optional(_BEST),
    watch=soundness.READ,
    recovery=checks.optional(
        checks.record(
            Recovery,
            count=checks.count,
            rate_before=_RATE,
            far_worse=checks.optional(checks.real),
            is_at_start=checks.flag,
        )
    ),
    rate_too_high=checks.optional(_RATE),
    loss_before=checks.optional(checks.real),
    aside=checks.nothing,
    exhausted=checks.flag,
)
"""Reads a stored state, but for the one that it has put aside."""


def _contradictions(state: State) -> Iterator[str]:
    counts = {name: getattr(state, name) for name in ("wait", "cuts", "raises")}
    counts["recoveries"] = 0 if state.recovery is None else state.recovery.count
    yield from checks.too_many(state, counts)
    if state.excursion is not None and (not state.raises or state.excursion.done >= state.excursion.length):
        yield "an excursion is open that has not begun, or is over"
    if state.excursion is not None and (state.rate < state.excursion.rate or state.excursion.top < state.rate):
        yield f"an excursion is open, but not at a rate of {state.rate}"
    if state.best is None and (state.kept is not None or state.candidate is not None) and state.aside is None:
        yield "there is a snapshot of a best, but no best"
    if state.recovery is not None and state.kept is not None and not state.watch.has_learned and state.aside is None:
        yield "training went back to the best, and begins"
    if state.aside is not None and (state.raises or state.aside.raises or state.aside.kept is None):
        yield "a state is put aside only after a sound best and before any raise"
