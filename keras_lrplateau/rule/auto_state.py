"""What auto mode remembers: the stage that it is in, the present attempt, the best, and how all that is stored.

`keras_lrplateau.rule.auto` says what the words mean, and is what changes it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from keras_lrplateau.rule import checks, search, soundness, stretch
from keras_lrplateau.rule.decision import Kind, Snapshot, Status
from keras_lrplateau.rule.search import Search
from keras_lrplateau.rule.soundness import Watch
from keras_lrplateau.rule.stretch import COST, LARGE, LONGEST_TREND, SHORTEST_TREND, Stretch
from keras_lrplateau.rule.trend import Trend
from keras_lrplateau.settings import RuleName

NAME: RuleName = "auto"

STATE_VERSION = 11


# --- stages ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """The rate is held, raised from time to time, and cut."""

    name: ClassVar[Literal["hold"]] = "hold"


@dataclass(frozen=True, slots=True)
class Climb:
    """A climb is about to begin, as soon as it is known how fast the training loss falls.

    Attributes:
        loss: The training loss of the last observation; None before the first one at this rate.
    """

    name: ClassVar[Literal["climb"]] = "climb"

    loss: float | None


class Fall(NamedTuple):
    """How the training loss fell.

    Attributes:
        loss: The training loss of an observation.
        by: How much it was below that of the observation before.
        last: What that observation was, signed.
    """

    loss: float
    by: float
    last: float


@dataclass(frozen=True, slots=True)
class Excursion:
    """A raise that is still to be judged.

    Attributes:
        rate_before: The rate to which it returns if it fails.
        way_back: The snapshot of the raise: "best" if its weights were the best.
        before: The trend before the raise.
    """

    name: ClassVar[Literal["excursion"]] = "excursion"

    rate_before: float
    way_back: Literal["best", "raise"]
    before: Trend

    @property
    def cost_before(self) -> float:
        """What the weights before it count for; what is within the noise of the best is not worse."""
        return self.before.end - 2 * self.before.noise


@dataclass(frozen=True, slots=True)
class ClimbRaise:
    """A raise of the climb, which its first observation will judge.

    Attributes:
        rate_before: As for `Excursion`.
        way_back: As there.
        before: How the training loss fell before the raise.
    """

    name: ClassVar[Literal["climb raise"]] = "climb raise"

    rate_before: float
    way_back: Literal["best", "raise"]
    before: Fall

    @property
    def cost_before(self) -> float:
        """What the weights before it have brought."""
        return self.before.last


@dataclass(frozen=True, slots=True)
class Anneal:
    """The rate goes to zero in a straight line.

    Attributes:
        rate: The rate at its start.
        start: The number of observations before it.
    """

    name: ClassVar[Literal["anneal"]] = "anneal"

    rate: float
    start: int


Stage = Search | Climb | ClimbRaise | Hold | Excursion | Anneal
StageName = Literal["search", "climb", "climb raise", "hold", "excursion", "anneal"]

TRANSITIONS: Mapping[StageName, Mapping[Kind, tuple[StageName, ...]]] = {
    "search": {
        "search": ("search",),
        "settle": ("hold", "climb"),
        "override": ("hold",),
        "rollback": ("hold",),  # Training ended in it.
    },
    "climb": {
        "hold": ("climb", "hold"),
        "best": ("climb", "hold"),
        "raise": ("climb raise",),
        "rollback": ("hold",),  # Training ended in it, and the last weights are worse than the best.
        "diverged": ("hold",),
        "override": ("hold",),
        "anneal": ("anneal",),
    },
    "climb raise": {
        "hold": ("climb raise",),
        "success": ("hold", "climb raise"),  # Often another raise follows at once.
        "rollback": ("hold",),
        "diverged": ("hold",),
        "override": ("hold",),
    },
    "hold": {
        "hold": ("hold",),
        "best": ("hold",),
        "raise": ("excursion",),
        "cut": ("hold",),
        "restart": ("hold",),
        "rollback": ("hold",),  # A restart is given up, or the last weights are worse than the best.
        "diverged": ("hold",),
        "exhausted": ("hold",),
        "override": ("hold",),
        "anneal": ("anneal",),
    },
    "excursion": {
        "hold": ("excursion",),
        "success": ("hold", "excursion"),  # Often another raise follows at once.
        "rollback": ("hold",),
        "diverged": ("hold",),
        "override": ("hold",),
    },
    "anneal": {
        "hold": ("anneal",),
        "best": ("anneal",),
        "anneal": ("anneal",),
        "rollback": ("anneal",),  # The last weights are worse than the best.
        "diverged": ("anneal",),
        "exhausted": ("anneal",),
        "override": ("anneal",),
    },
}
"""By stage, which decisions can be taken in it, and the stages they lead to.

A training begins with a search. Only "hold" and "success" choose between going on and something new.
"""

STATUSES: Mapping[StageName, Status] = {
    "search": "searching",
    "climb": "holding",
    "climb raise": "in excursion",
    "excursion": "in excursion",
    "anneal": "annealing",
}
"""What a rule is doing, also after exhaustion; while it holds it depends."""


# --- what is remembered ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Best:
    """The best observation whose weights were kept.

    Attributes:
        value: The observation.
        rate: The rate that brought it.
    """

    value: float
    rate: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """The training from the first weights that is under way.

    Attributes:
        rate: The rate with which it began.
        start: The number of observations before it.
        best: Its best observation, signed; None before the first.
        best_at: The number of that observation.
        is_behind: Whether it has still to beat an earlier attempt.
        fruitless: Cuts since its last new best.
        failed_raise: The last rate whose excursion failed in it; None if none did.
    """

    rate: float
    start: int = 0
    best: float | None = None
    best_at: int = 0
    is_behind: bool = False
    fruitless: int = 0
    failed_raise: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """All that the controller remembers; it never grows beyond a few dozen numbers.

    Attributes:
        rate: The rate in force. >= 0.
        stage: What the rule is doing, with what belongs to that alone.
        attempt: The present attempt.
        stretch: The observations at the rate in force.
        kept: The best observation whose weights were kept, or None before the first.
        last: The observation, signed, that the weights in force have brought; infinite before there is one.
        observations: How many values were seen.
        spent: Observations of trials that were taken back.
        patience: Observations before the next raise on a good trend.
        restarts: Restarts made.
        recoveries: Divergences since the last new best.
        rate_too_high: The lowest rate at which training diverged; None if it never did.
        loss_before: The training loss before the first update; None when it is not known.
        watch: What is remembered to judge soundness.
        is_suspect: Whether the weights are suspect; then no raise begins.
        exhausted: Whether nothing is left to try: divergence after divergence.
    """

    rate: float
    stage: Stage
    attempt: Attempt
    stretch: Stretch = field(default_factory=Stretch)
    kept: Best | None = None
    last: float = math.inf
    observations: int = 0
    spent: int = 0
    patience: int = SHORTEST_TREND
    restarts: int = 0
    recoveries: int = 0
    rate_too_high: float | None = None
    loss_before: float | None = None
    watch: Watch = field(default_factory=Watch)
    is_suspect: bool = False
    exhausted: bool = False

    @property
    def best(self) -> float | None:
        """The best observation, or None before the first whose weights were kept. What a window brought is none."""
        return None if self.kept is None or self.trial_steps is not None else self.kept.value

    @property
    def in_excursion(self) -> bool:
        """Whether a raise is still to be judged."""
        return isinstance(self.stage, Excursion | ClimbRaise)

    @property
    def way_back(self) -> Snapshot | None:
        """The snapshot to which an open excursion goes back if it fails; None if none is open."""
        return self.stage.way_back if isinstance(self.stage, Excursion | ClimbRaise) else None

    @property
    def trial_steps(self) -> int | None:
        """Optimizer steps in each trial of a search within an epoch; None outside of one."""
        return self.stage.steps if isinstance(self.stage, Search) else None

    @property
    def status(self) -> Status:
        """What the rule is doing."""
        if self.stage.name != "hold":
            return STATUSES[self.stage.name]
        if self.attempt.is_behind:
            return "in restart"
        return "exhausted" if self.exhausted else "holding"

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values that JSON can hold; an infinite score or `last` as null."""
        fields: dict[str, Any] = dataclasses.asdict(self)
        stage = {"name": self.stage.name, **fields["stage"]}
        if isinstance(self.stage, Search):
            stage["trials"] = [[at, _finite(score)] for at, score in self.stage.trials]
            stage["errors"] = [list(pair) for pair in self.stage.errors]
            stage["unfit"] = list(self.stage.unfit)
            stage["validation"] = [list(pair) for pair in self.stage.validation]
        if isinstance(self.stage, Excursion | ClimbRaise):
            stage["before"] = list(self.stage.before)
        stretch = {**fields["stretch"], "latest": list(self.stretch.latest)}
        changed = {"stage": stage, "stretch": stretch, "last": _finite(self.last)}
        return {"rule": NAME, "version": STATE_VERSION, **fields, **changed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> State:
        """The state that `to_dict` wrote.

        Raises:
            ValueError: Another version, a missing or unknown field, or a value that no state can have.
        """
        state = READ("state", checks.stored_fields(data, NAME, STATE_VERSION))
        checks.refuse(_contradictions(state))
        return state


# --- stored states ---------------------------------------------------------------------------------------------------


def _read_fall(name: str, value: Any) -> Fall:
    fall = Fall(*checks.listed(checks.within(2 * LARGE), 3, most=3)(name, value))
    if not fall.by > 0:
        raise ValueError(f"{name} must be a training loss, by how much it fell, > 0, and a metric. Received: {value}")
    return fall


def _read_trend(name: str, value: Any) -> Trend:
    # A line may leave the range of the costs that it is drawn through, but not by far.
    slope, error, end, noise, size = checks.listed(checks.within(100 * LARGE), 5, most=5)(name, value)
    if noise < 0 or size not in range(3, LONGEST_TREND + 1):
        raise ValueError(f"{name} must be a trend of 3 to {LONGEST_TREND} observations. Received: {value!r}")
    return Trend(slope, error, end, noise, int(size))


_RAISED: Mapping[str, checks.Reader[Any]] = {
    "rate_before": checks.at_least_0,
    "way_back": checks.word("best", "raise"),
}

READ = checks.record(
    State,
    rate=checks.at_least_0,
    stage=checks.one_of(
        {
            "search": search.READ,
            "climb": checks.record(Climb, loss=checks.optional(COST)),
            "hold": checks.record(Hold),
            "climb raise": checks.record(ClimbRaise, **_RAISED, before=_read_fall),
            "excursion": checks.record(Excursion, **_RAISED, before=_read_trend),
            "anneal": checks.record(Anneal, rate=checks.at_least_0, start=checks.count),
        }
    ),
    attempt=checks.record(
        Attempt,
        rate=checks.at_least_0,
        start=checks.count,
        best=checks.optional(checks.real),
        best_at=checks.count,
        is_behind=checks.flag,
        fruitless=checks.count,
        failed_raise=checks.optional(checks.at_least_0),
    ),
    stretch=stretch.READ,
    kept=checks.optional(checks.record(Best, value=checks.real, rate=checks.at_least_0)),
    last=checks.number_or_inf,
    observations=checks.count,
    spent=checks.count,
    patience=checks.count,
    restarts=checks.count,
    recoveries=checks.count,
    rate_too_high=checks.optional(checks.at_least_0),
    loss_before=checks.optional(checks.real),
    watch=soundness.READ,
    is_suspect=checks.flag,
    exhausted=checks.flag,
)
"""Reads a stored state, field by field."""


def _contradictions(state: State) -> Iterator[str]:
    """What no training brings about. Each check relies on those before it."""
    attempt, stretch = state.attempt, state.stretch
    counts = {"spent": state.spent, "restarts": state.restarts, "recoveries": state.recoveries}
    if state.in_excursion:
        counts["spent"] += stretch.held  # If the raise fails.
    counts |= {"held": stretch.held, "wait": stretch.wait, "latest": len(stretch.latest)}
    counts |= {"fruitless": attempt.fruitless, "attempt.start": attempt.start, "best_at": attempt.best_at}
    if isinstance(state.stage, Anneal):
        counts["anneal.start"] = state.stage.start
    yield from checks.too_many(state, counts)
    if bool(stretch.latest) != (stretch.mark is not None):
        yield f"{len(stretch.latest)} latest costs, and mark={stretch.mark}"
    if state.kept is None and attempt.is_behind:
        yield "an attempt is behind, but there is no best"
    if isinstance(state.stage, Search):
        if state.restarts or state.recoveries:
            yield f"restarts={state.restarts} and recoveries={state.recoveries} in a search, which comes before any"
        yield from search.contradictions(state.stage)
        if state.rate != state.stage.rate_at(state.stage.at):
            yield f"rate={state.rate!r} in a search at {state.stage.rate_at(state.stage.at)!r}"
        if state.stage.saved is not None and state.kept is None:
            yield f"saved={state.stage.saved}, but there is no best"


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
