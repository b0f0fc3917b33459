"""Auto mode: the controller for those who do not want to choose a learning rate.

It has the functions of `keras_lrplateau.rule.plateau` (`start`, `step`, `finish`, `override`, `needed_snapshots`),
makes the same decisions, and knows as little of Keras, clocks and files. The words are the same, too. New ones:

    trial           a search at one rate, or an excursion: it may be taken back
    search          one observation at each of several rates, always from the weights before training
    settled         the search is over, and the rate is the one that it found
    trend           the straight line through the observations since the last change of rate
    flat            a trend that is not getting better, and not because noise may hide it
    rising          a trend that is significantly getting worse
    attempt         a training from the first weights; each restart begins another
    anneal          towards zero in a straight line, over the last observations

The rules:

1. Search. The given rate may be wrong by orders of magnitude, in either direction. It is tried for one observation,
   then, from the first weights again, ten times it, a tenth of it, and so on until the best one has a worse one on
   either side; then half a decade to either side of the best. The lowest rate that makes most of the best one's
   progress is taken: what a rate too low costs, later raises bring back, but not what a rate too high has done to the
   weights.
2. Raise. While the trend is good, and once when it is first flat, a threefold rate is tried from time to time. It has a
   few observations to get ahead of the trend before it. If it does, another raise follows at once. If not, everything
   goes back to where it was, and the next raise waits twice as long.
3. Cut. A flat trend with no raise to try: a third of the rate. A rising trend: the same, from the best weights.
4. Restart. A cut was fruitless, too: this attempt has got as far as it will. If the observations left are enough for
   another one, it begins again from the first weights, with a third of the first rate: weights that a high rate has
   led into a corner do not come out of it with a lower one. What was reached is kept. An attempt that is flat, too,
   without having beaten it is given up for it.
5. Anneal. The last part of a training whose length is known.
6. Diverged: back to the best weights, a tenth of the rate. A trial that diverges has only failed. No raise goes there
   again.
7. At the end (`finish`) a trial that is still open is taken back; and if the last observations are significantly worse
   than the best, it is the best weights that are kept.

Trials, other than the first observation, take at most `budget` of all observations. A restart is no trial: it takes
observations in which its training would have stood still.

Sources: a search from the first weights, each rate for a short time, is what a learning rate range test does (Smith
2017, "Cyclical learning rates for training neural networks"), but each rate on its own. A raise is judged against the
trend before it, not by its first value: short-horizon bias (Wu et al. 2018, "Understanding short-horizon bias in
stochastic meta-optimization"). A straight line to zero: Defazio et al. 2023, "Optimal linear decay learning rate
schedules and further refinements"; that it can wait for the last part: Hägele et al. 2024, "Scaling laws and
compute-optimal training beyond fixed training durations". The constants were chosen on the tuning tasks of
examples/benchmarks/convergence.py; what else was tried is in examples/benchmarks/README.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

from keras_lrplateau.rule import checks, decision, plateau
from keras_lrplateau.rule.decision import Kind, Rule, RuleName, Snapshot, Status, Step, decide, hold
from keras_lrplateau.rule.trend import Trend, trend

MOST_TRIALS = 10
"""No search takes more observations than this."""

AS_GOOD = 0.98
"""In the search, a rate that makes this share of the best one's progress is as good: look beyond it."""

ENOUGH = 0.7
"""The search takes the lowest rate that makes this share of the best one's progress, at most a decade below it."""

HOPELESS = 2.0
"""Where every rate tried leaves the training loss above this multiple of that before training, the search goes down.

Only a rate too high does that. An epoch far too short, or a first batch that was an easy one, stays below.
"""

WINDOW = 10
"""A trend is that of at most so many observations."""

SHORTEST_WINDOW = 6
"""No trend is judged on fewer."""

FLAT = 0.0
"""A slope of so many standard errors, or more, is flat.

Of slopes that are truly flat every other one is found so, and the next observation asks again. To ask for a significant
decrease would call a plateau wherever noise hides a slow one.
"""

EVIDENCE = 15.0
"""And so much must speak against the metric being better by `IMPROVEMENT`; see `Trend.evidence`.

Without noise it makes no difference. Chosen from 0, 10, 15 and 25: more of it costs time on the tuning tasks of
examples/benchmarks/convergence.py, and less of it brings less on the noisy quadratic model with 20 % noise. What it
tells apart, and what not, is in examples/benchmarks/detection.py.
"""

IMPROVEMENT = 0.02
"""The share of the metric's magnitude by which it must get better, since it last did, to be getting on."""

LEAST_NOISE = 0.002
"""The noise of a metric counts as this share of its magnitude at least."""

SIGNIFICANT = 3.0
"""A slope beyond this many standard errors is certain."""

RAISE = 3.0
"""A raise goes to this multiple of the rate."""

RAISE_LENGTH = 4
"""So many observations a raise has to get ahead; the later half of them is compared."""

AHEAD = 0.5
"""By how many times the noise it must be ahead of the trend before it."""

CUT = 0.3
"""Every cut is to this share of the rate, and so is the rate of a restart."""

MOST_RESTARTS = 2
"""Restarts of one training."""

SHORTEST_ATTEMPT = 16
"""A restart needs so many observations, and half as many again as the last attempt took to its best."""

HARD_CUT = 0.1
"""A divergence cuts by this."""

TAIL = 0.3
"""The share of all observations over which the rate is annealed."""

NOMINAL_LENGTH = 100
"""The budget of a training whose length is not known is that of one of this length."""

LARGE = 1e100
"""A metric beyond this is taken for this."""

STATE_VERSION = 2

Phase = Literal["search", "hold", "excursion", "anneal"]


@dataclass(frozen=True, kw_only=True)
class Config(Rule["State"]):
    """What the user chose. Checked when made; a mistake raises at once.

    Args:
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        min_lr: No rate is tried or cut to below this. >= 0.
        max_lr: No rate is tried or raised to above this; None for no bound. > 0, >= `min_lr`.
        budget: The share of all observations that trials may take. In [0, 1]; 0 tries nothing: the given rate is held,
            cut and annealed.
        observations: How many observations the training will have; None if that is not known. Then there is no restart
            and no annealing. Integer >= 1.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is outside its range.
    """

    name: ClassVar[RuleName] = "auto"

    mode: Literal["min", "max"] = "min"
    min_lr: float = 0.0
    max_lr: float | None = None
    budget: float = 0.25
    observations: int | None = None

    def __post_init__(self) -> None:
        plateau.Config(mode=self.mode, min_lr=self.min_lr, max_lr=self.max_lr)  # The same checks.
        checks.check_number("budget", self.budget, "a number from 0 to 1", lambda x: 0 <= x <= 1)
        if self.observations is not None:
            checks.check_integer("observations", self.observations, minimum=1)
        checks.as_floats(self, ("min_lr", "max_lr", "budget"))

    def start(self, rate: float) -> State:
        """The state before the first observation.

        Args:
            rate: The rate that training starts with, however wrong. Finite, > 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is not above 0, not finite, above `max_lr` or below `min_lr`.
        """
        plateau.Config(max_lr=self.max_lr).start(rate)  # The same checks.
        if rate < self.min_lr:
            raise ValueError(
                f"min_lr must not be above the learning rate that training starts with. Received: "
                f"min_lr={self.min_lr!r} and a learning rate of {rate!r}; lower min_lr or start higher"
            )
        if not rate > 0:
            raise ValueError(f"auto mode needs a learning rate above 0 to start from. Received: {rate!r}")
        return State(rate=float(rate), start_rate=float(rate), attempt_rate=float(rate))

    def step(self, state: State, value: float, loss: float | None = None) -> Step[State]:
        """Take one observation.

        Args:
            state: The state before the observation; it is not changed.
            value: The monitored metric. Any float; NaN and infinities included.
            loss: The training loss over the same time, when it is known. The search goes by it, since it has far less
                noise than a metric on a few validation samples; and it is watched for divergence.

        Returns:
            The state after it, and the decision.
        """
        cost = _signed(self, value)
        state = replace(state, observations=state.observations + 1, held=state.held + 1)
        if state.phase == "search":
            if loss is None:
                state = replace(state, loss_before=None)  # It says nothing about the metric.
            broken = plateau.divergence(value, loss, None, vouched=False)
            metric = value if self.mode == "min" else -value
            score = math.inf if broken else metric if loss is None else loss
            brought = f"a metric of {value:.6g}" if loss is None else f"a training loss of {loss:.6g}"
            return _search(self, state, value, score, broken or f"{state.rate:.3g} has brought {brought}")
        vouched = state.best is not None and cost < _best_cost(self, state)
        broken = plateau.divergence(value, loss, state.loss_before, vouched)
        if broken:
            return _recover(self, state, value, broken)
        is_better = state.mark is None or not state.window or cost < _goal_of(state.mark)
        mark, wait = (cost, 0) if is_better else (state.mark, state.wait + 1)
        state = replace(state, mark=mark, wait=wait, window=(*state.window, cost)[-WINDOW:], last=cost)
        new_best = cost < _best_cost(self, state)
        if state.phase == "anneal":
            return _anneal(self, state, value, new_best)
        if state.phase == "excursion":
            return _judge(self, state, value, new_best)
        if state.attempt_best is None or cost < state.attempt_best:
            state = replace(state, attempt_best=cost, attempt_best_at=state.observations, fruitless=0)
        return _hold(self, state, value, new_best)

    def finish(self, state: State) -> Step[State]:
        """Training ends: take back an open trial, and keep the best weights if the last ones are worse.

        Args:
            state: The state after the last observation.

        Returns:
            A "rollback" if the weights change; else a "hold".
        """
        if state.phase == "excursion":
            after, decision = _fail(self, state, None, "training ended before the raise got ahead")
            if _is_worse(self, after):
                after = replace(after, last=_best_cost(self, state))
                decision = replace(decision, restore="best")
            return Step(after, decision)
        if state.phase == "search":
            if not state.trials:
                return hold(state, None)
            restore: Snapshot = "start" if state.best is None else "best"
            reason = "training ended in the search: back to the best of it"
            rate = state.start_rate if state.rate_at_best is None else state.rate_at_best
            after = replace(state, phase="hold", rate=rate, window=(), held=0, last=_best_cost(self, state))
            return decide(state, after, "rollback", None, reason, restore=restore)
        if state.best is not None and _is_worse(self, state):
            reason = f"the last observations are worse than the best, {state.best:.6g}"
            after = replace(state, window=(), held=0, last=_best_cost(self, state))
            return decide(state, after, "rollback", None, reason, restore="best")
        return hold(state, None)

    def override(self, state: State, rate: float) -> Step[State]:
        """Somebody else set the rate: go on from the one that was found.

        Args:
            state: The state, with the rate that the controller had set.
            rate: The rate found. Finite, >= 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is negative or not finite.
        """
        checks.check_number("rate", rate, "a finite number >= 0", lambda x: x >= 0)
        reason = f"the rate was found at {rate:.6g}, not at {state.rate:.6g} as set"
        after = replace(state, rate=float(rate), window=(), held=0, exhausted=False)
        if state.phase == "anneal":
            after = replace(after, anneal_rate=float(rate), anneal_start=state.observations)
        else:
            # Whatever was being tried, it is not tried any more.
            if state.phase == "search" and rate:
                after = replace(after, attempt_rate=float(rate))
            after = replace(after, phase="hold", rate_before_raise=None, before=None)
        return decide(state, after, "override", None, reason)

    def needed_snapshots(self, state: State) -> frozenset[Snapshot]:
        """The snapshots that a later decision may still restore; all others can be dropped. At most three at a time."""
        needed: set[Snapshot] = set()
        # Not by how many observations are left: that estimate may grow again, and a copy that is gone does not return.
        may_restart = self.observations is not None and state.phase != "anneal" and state.restarts < MOST_RESTARTS
        if state.phase == "search" or state.best is None or may_restart:
            needed.add("start")
        if state.best is not None:
            needed.add("best")
        if state.phase == "excursion":
            needed.add(state.way_back)
        return frozenset(needed)

    @classmethod
    def read_state(cls, data: Mapping[str, Any]) -> State:
        """The state whose `to_dict` wrote this."""
        return State.from_dict(data)

    def for_length(self, observations: int | None) -> Self:
        """This rule for a training of so many observations in all; None if that is not known."""
        return replace(self, observations=observations)

    def without_search(self) -> Self:
        """This rule with the given rate instead of trials."""
        return replace(self, budget=0.0)


@dataclass(frozen=True, slots=True)
class State:
    """All that the controller remembers; it never grows beyond a few dozen numbers.

    Attributes:
        rate: The rate in force. >= 0.
        start_rate: The rate with which training started. > 0.
        phase: "search", "hold", "excursion" or "anneal".
        observations: How many values were seen.
        best: The best observation whose weights were kept, or None before the first.
        rate_at_best: The rate that brought it.
        trials: The search: half decades above `start_rate`, and the score; lower is better, infinite if broken.
        at: The half decade being tried.
        saved: The half decade whose weights are in the best snapshot; None if there are none.
        spent: Observations of trials that were taken back.
        window: The last observations at the rate in force, at most `WINDOW`; signed so that lower is better.
        last: The observation, signed, that the weights in force have brought; infinite before there is one.
        held: Observations since the last change of rate, also of those that left the window.
        mark: The last observation at the rate in force, signed, that was better by `IMPROVEMENT` than the one before
            it, or the first; None before there is one.
        wait: Observations since then.
        patience: Observations before the next raise on a good trend.
        rate_before_raise: The rate to which an open excursion returns if it fails; None when none is open.
        way_back: The snapshot of the raise: "best" if its weights were the best.
        before: The trend before the raise; None when there is none.
        failed_raise: The last rate whose excursion failed in this attempt; None if none did.
        rate_too_high: The lowest rate at which training diverged; None if it never did.
        fruitless: Cuts since the last new best of this attempt.
        restarts: Restarts made.
        attempt_rate: The rate with which the attempt began.
        attempt_start: The number of observations before it.
        attempt_best: Its best observation, signed; None before the first.
        attempt_best_at: The number of that observation.
        behind: Whether the attempt has still to beat an earlier one.
        recoveries: Divergences since the last new best.
        anneal_rate: The rate at the start of annealing; None before.
        anneal_start: The number of observations before it.
        loss_before: The training loss before the first update; None when it is not known.
        exhausted: Whether nothing is left to try: divergence after divergence.
    """

    rate: float
    start_rate: float
    phase: Phase = "search"
    observations: int = 0
    best: float | None = None
    rate_at_best: float | None = None
    trials: tuple[tuple[int, float], ...] = ()
    at: int = 0
    saved: int | None = None
    spent: int = 0
    window: tuple[float, ...] = ()
    last: float = math.inf
    held: int = 0
    mark: float | None = None
    wait: int = 0
    patience: int = SHORTEST_WINDOW
    rate_before_raise: float | None = None
    way_back: Literal["best", "raise"] = "raise"
    before: Trend | None = None
    failed_raise: float | None = None
    rate_too_high: float | None = None
    fruitless: int = 0
    restarts: int = 0
    attempt_rate: float = 0.0
    attempt_start: int = 0
    attempt_best: float | None = None
    attempt_best_at: int = 0
    behind: bool = False
    recoveries: int = 0
    anneal_rate: float | None = None
    anneal_start: int = 0
    loss_before: float | None = None
    exhausted: bool = False

    @property
    def in_excursion(self) -> bool:
        """Whether a raise is still to be judged."""
        return self.phase == "excursion"

    @property
    def status(self) -> Status:
        """What the rule is doing."""
        if self.phase != "hold":
            # Also after exhaustion: what is tried, or goes on, all the same.
            phases: dict[Phase, Status] = {"search": "searching", "excursion": "in excursion", "anneal": "annealing"}
            return phases[self.phase]
        if self.behind:
            return "in restart"
        return "exhausted" if self.exhausted else "holding"

    def to_dict(self) -> dict[str, Any]:
        """All fields and a version, as plain values that JSON can hold; an infinite score or `last` as null."""
        trials = [[at, score if math.isfinite(score) else None] for at, score in self.trials]
        last = self.last if math.isfinite(self.last) else None
        before = None if self.before is None else list(self.before)
        lists = {"trials": trials, "window": list(self.window), "last": last, "before": before}
        return {"rule": Config.name, "version": STATE_VERSION, **dataclasses.asdict(self), **lists}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> State:
        """The state that `to_dict` wrote.

        Raises:
            ValueError: Another version, a missing or unknown field, or a value that no state can have.
        """
        fields = checks.stored_fields(cls, data, Config.name, STATE_VERSION)
        trials = [_list("trials", each, 2, 2) for each in _list("trials", fields.pop("trials"), 0, MOST_TRIALS)]
        window, before = _list("window", fields.pop("window"), 0, WINDOW), fields.pop("before")
        last, words = fields.pop("last"), {name: fields.pop(name) for name in ("phase", "way_back", "at", "saved")}
        state = cls(
            **checks.stored_values(cls, fields, ("best", "mark", "attempt_best", "loss_before")),
            **words,
            trials=tuple((at, math.inf if score is None else score) for at, score in trials),
            window=tuple(window),
            last=math.inf if last is None else last,
            before=None if before is None else Trend(*_list("before", before, 5, 5)),
        )
        checks.refuse(_contradictions(state))
        return state


# --- the search ------------------------------------------------------------------------------------------------------


def _search(config: Config, state: State, value: float, score: float, tried: str) -> Step[State]:
    trials = {**dict(state.trials), state.at: score}
    after = replace(state, trials=tuple(sorted(trials.items())))
    choice = _choice(after)
    save: Snapshot | None = None
    if choice == state.at:
        save = "best"
        after = replace(after, saved=choice, best=value, rate_at_best=state.rate)

    following = _next_trial(config, after)
    if following is not None:
        rate = _trial_rate(state, following)
        after = replace(after, at=following, rate=rate, held=0, spent=state.spent + 1)
        return decide(state, after, "search", value, tried, save=save, restore="start")

    if choice is None:
        rate = _lower(config, _trial_rate(state, min(trials)), HARD_CUT)
        reason = "all broke, so a tenth of the lowest one"
    else:
        rate = _trial_rate(state, choice)
        reason = (
            "the lowest one that makes most of the best one's progress" if len(trials) > 1 else "no other was tried"
        )
    unbroken = _scores(after)
    too_high = min((_trial_rate(state, at) for at in trials if at not in unbroken), default=None)
    after = replace(after, phase="hold", rate=rate, rate_too_high=too_high, attempt_rate=rate, held=0)
    after = replace(after, attempt_start=state.observations - 1)
    if unbroken and state.loss_before is not None and min(unbroken.values()) >= state.loss_before:
        after = replace(after, loss_before=None)  # No rate came below it: it is no yardstick.
    restore: Snapshot | None = None
    if choice is not None and choice == after.saved:
        cost = _best_cost(config, after)
        after = replace(
            after, window=(cost,), mark=cost, last=cost, attempt_best=cost, attempt_best_at=state.observations
        )
        restore = None if save else "best"
    else:
        after = replace(after, saved=None, best=None, rate_at_best=None)
        restore = "start"
    reason += f"; {_list_of_trials(after)}"
    return decide(state, after, "settle", value, reason, save=save, restore=restore)


def _next_trial(config: Config, state: State) -> int | None:
    """The half decade to try next, or None when the search is over."""
    trials = dict(state.trials)
    if len(trials) >= MOST_TRIALS or state.spent + 1 > _budget(config, state):
        return None
    lowest, highest = min(trials), max(trials)
    share = _shares(state)
    if not share:
        candidates = [lowest - 2]
    else:
        best = _best(share)
        before = _score_before(state)
        # All are much worse than no training: which of them is least bad says nothing about where the good rates are.
        hopeless = plateau.exceeds(min(_scores(state).values()), before, HOPELESS)
        candidates = [highest + 2] if highest == best and not hopeless else []
        # By itself, the one below the best is no proof of the score without training.
        only_one_below = before is None and lowest == best - 2
        down = [lowest - 2] if hopeless or share.get(lowest, 0) >= AS_GOOD or only_one_below else []
        up = [highest + 2] if share.get(highest, 0) >= AS_GOOD else []
        # By turns: rates far too low may be all alike, and those far too high, too.
        candidates += down + up if hopeless or highest > -lowest else up + down
        candidates += [at for at in (best + 1, best - 1) if at > lowest]
    for at in candidates:
        if at not in trials and _can_try(config, state, at):
            return at
    return None


def _choice(state: State) -> int | None:
    """The lowest half decade that makes most of the best one's progress; None if all trials broke."""
    share = _shares(state)
    if not share:
        return None
    best = _best(share)
    return min(at for at in share if share[at] >= ENOUGH and at >= best - 2)


def _best(share: Mapping[int, float]) -> int:
    return min(at for at in share if share[at] == max(share.values()))


def _shares(state: State) -> dict[int, float]:
    """What share of the best one's progress each unbroken trial has made; empty if all broke."""
    scores = _scores(state)
    if not scores:
        return {}
    best = min(scores.values())
    before = _score_before(state)
    if before is None or before <= best:
        # The worst one of the rates below the best.
        lower = [score for at, score in scores.items() if at < min(at for at in scores if scores[at] == best)]
        before = max(lower, default=best)
    reach = before / 2 - best / 2  # Halves do not overflow.
    if reach <= 0:
        return {at: float(score == best) for at, score in scores.items()}
    return {at: (before / 2 - score / 2) / reach for at, score in scores.items()}


def _scores(state: State) -> dict[int, float]:
    """The scores of the unbroken trials: finite, and not far worse than before training."""
    before = _score_before(state)
    return {
        at: score
        for at, score in state.trials
        if math.isfinite(score) and not plateau.exceeds(score, before, plateau.FAR_WORSE)
    }


def _score_before(state: State) -> float | None:
    """The score without any training; None when it is not known.

    It is that of the first batch. Where rates far apart are all far worse, and alike, that batch was an easy one.
    """
    before = state.loss_before
    far_worse = sorted(score for _, score in state.trials if plateau.exceeds(score, before, plateau.FAR_WORSE))
    if any(higher < 2 * lower for lower, higher in itertools.pairwise(far_worse)):
        return None
    return before


def _trial_rate(state: State, at: int) -> float:
    return state.start_rate * 10 ** (at / 2)


def _can_try(config: Config, state: State, at: int) -> bool:
    try:
        rate = _trial_rate(state, at)
    except OverflowError:
        return False
    return 0 < rate < math.inf and config.min_lr <= rate <= _ceiling(config)


def _list_of_trials(state: State) -> str:
    """Such as "0.01: 30%, 0.1: 100%, 1: worse than none, 10: broken"."""
    share = _shares(state)

    def result(at: int) -> str:
        if at not in share:
            return "broken"
        return f"{share[at]:.0%}" if share[at] >= 0 else "worse than none"

    return ", ".join(f"{_trial_rate(state, at):.3g}: {result(at)}" for at, _ in state.trials)


# --- holding ---------------------------------------------------------------------------------------------------------


def _hold(config: Config, state: State, value: float, new_best: bool) -> Step[State]:
    if _is_annealing_due(config, state):
        return _start_annealing(config, state, value, new_best)
    after = _keep(state, value) if new_best else state
    if len(state.window) < SHORTEST_WINDOW:
        return _go_on(state, after, value, new_best)
    now = trend(state.window)
    if _is_flat(state, now):
        return decision.on_plateau(_plateau(config, state, after, value, now, new_best), now.size)
    if now.t < -SIGNIFICANT and state.held >= state.patience and _can_raise(config, after, None):
        return _raise(state, after, value, now, _in_words(config, now), new_best)
    return _go_on(state, after, value, new_best)


def _is_flat(state: State, now: Trend) -> bool:
    assert state.mark is not None
    goal, least_noise = _goal_of(state.mark), LEAST_NOISE * abs(state.mark)
    return now.t >= FLAT and now.evidence(goal, state.wait, least_noise) >= EVIDENCE


def _goal_of(mark: float) -> float:
    return mark - IMPROVEMENT * abs(mark)


def _plateau(config: Config, state: State, after: State, value: float, now: Trend, new_best: bool) -> Step[State]:
    words = _in_words(config, now)
    if after.fruitless and not after.behind and _can_restart(config, state):
        return _restart(config, state, value, words)
    if after.fruitless and after.behind:
        return _take_back(config, state, value, words)
    if now.t > SIGNIFICANT and not new_best and now.end > _goal(config, state) + 2 * now.noise:
        return _set_back(config, state, value, words)
    if not after.fruitless and _can_raise(config, after, state.failed_raise):
        return _raise(state, after, value, now, words, new_best)
    reason = f"{words}; {'the last cut was fruitless, too' if after.fruitless else 'no raise is left to try'}"
    rate = _lower(config, state.rate, CUT)
    cut = replace(after, rate=rate, window=(), held=0, fruitless=after.fruitless + 1)
    if rate == state.rate:
        return _go_on(state, after, value, new_best)
    return decide(state, cut, "cut", value, reason, save="best" if new_best else None)


def _keep(state: State, value: float) -> State:
    """A new best."""
    return replace(state, best=value, rate_at_best=state.rate, fruitless=0, behind=False, recoveries=0, exhausted=False)


def _go_on(before: State, after: State, value: float, new_best: bool) -> Step[State]:
    if new_best:
        return decide(before, after, "best", value, "", save="best")
    return hold(after, value)


def _restart(config: Config, state: State, value: float, words: str) -> Step[State]:
    rate = _lower(config, state.attempt_rate, CUT)
    after = replace(
        _changed(state, rate),
        restarts=state.restarts + 1,
        attempt_rate=rate,
        attempt_start=state.observations,
        attempt_best=None,
        attempt_best_at=state.observations,
        behind=True,
        failed_raise=None,
        last=math.inf,
    )
    reason = f"{words}, and the last cut was fruitless, too; a new attempt from the first weights"
    return decide(state, after, "restart", value, reason, restore="start")


def _can_restart(config: Config, state: State) -> bool:
    if config.observations is None or state.restarts >= MOST_RESTARTS:
        return False
    took = state.attempt_best_at - state.attempt_start
    return config.observations - state.observations >= max(SHORTEST_ATTEMPT, 1.5 * took)


def _take_back(config: Config, state: State, value: float, words: str) -> Step[State]:
    assert state.best is not None
    reason = f"{words}, without having beaten {state.best:.6g} from before the restart"
    return _to_best(config, replace(state, restarts=MOST_RESTARTS), value, "rollback", reason, CUT)


def _set_back(config: Config, state: State, value: float, words: str) -> Step[State]:
    if state.behind or state.best is None:
        # The best weights are another attempt's.
        rate = _lower(config, state.rate, CUT)
        if rate == state.rate:
            return _take_back(config, state, value, words)
        return decide(state, replace(_changed(state, rate), fruitless=state.fruitless + 1), "cut", value, words)
    share = CUT ** (state.fruitless + 1)
    return _to_best(config, state, value, "cut", words, share, fruitless=state.fruitless + 1)


def _to_best(
    config: Config, state: State, value: float, kind: Kind, reason: str, share: float, fruitless: int = 0
) -> Step[State]:
    """Back to the best weights, with a share of the rate that brought them."""
    assert state.best is not None
    assert state.rate_at_best is not None
    rate = _lower(config, state.rate_at_best, share)
    if kind == "cut":
        # After a divergence the rate may be far below that already.
        rate = min(rate, _lower(config, state.rate, CUT))
    after = replace(
        _changed(state, rate),
        behind=False,
        fruitless=fruitless,
        last=_best_cost(config, state),
    )
    return decide(state, after, kind, value, reason, restore="best")


def _changed(state: State, rate: float) -> State:
    """Another rate, and so another trend."""
    return replace(state, rate=rate, window=(), held=0, fruitless=0, patience=SHORTEST_WINDOW)


# --- raises ----------------------------------------------------------------------------------------------------------


def _can_raise(config: Config, state: State, failed: float | None) -> bool:
    rate = state.rate * RAISE
    return (
        state.rate < rate < math.inf
        and rate <= _ceiling(config)
        and (state.rate_too_high is None or rate < state.rate_too_high)
        and (failed is None or rate < failed)
        and state.spent + RAISE_LENGTH <= _budget(config, state)
    )


def _raise(
    state: State, after: State, value: float, before: Trend, reason: str, new_best: bool, kind: Kind = "raise"
) -> Step[State]:
    """Open an excursion; where the weights are the best ones, the best snapshot is the way back."""
    way_back: Literal["best", "raise"] = "best" if new_best else "raise"
    if before.slope > 0:
        # What a flat trend makes of its noise is no reason to expect worse.
        before = before._replace(slope=0.0, end=before.ahead((1 - before.size) / 2))
    after = replace(
        after,
        phase="excursion",
        rate=state.rate * RAISE,
        rate_before_raise=state.rate,
        way_back=way_back,
        before=before,
        window=(),
        held=0,
    )
    return decide(state, after, kind, value, reason, save=way_back)


def _judge(config: Config, state: State, value: float, new_best: bool) -> Step[State]:
    assert state.before is not None
    if len(state.window) < RAISE_LENGTH and not _is_annealing_due(config, state):
        return hold(state, value)
    compared = state.window[-(RAISE_LENGTH // 2) :]
    mean = math.fsum(compared) / len(compared)
    expected = state.before.ahead(len(state.window) - (len(compared) - 1) / 2)
    sign = _signed(config, 1.0)
    words = f"{sign * mean:.6g} against {sign * expected:.6g} by the trend before the raise"
    if not mean < expected - AHEAD * state.before.noise:
        return _fail(config, state, value, f"the raise did not get ahead: {words}")
    after = replace(
        _keep(state, value) if new_best else state,
        phase="hold",
        rate_before_raise=None,
        before=None,
        fruitless=0,
        patience=SHORTEST_WINDOW,
    )
    reason = f"the raise got ahead: {words}"
    if len(state.window) < RAISE_LENGTH or not _can_raise(config, after, state.failed_raise):
        after = replace(after, window=(), held=0)
        return decide(state, after, "success", value, reason, save="best" if new_best else None)
    now = trend(state.window)
    now = now._replace(noise=max(now.noise, state.before.noise))
    return _raise(state, after, value, now, f"{reason}; a higher one may be better still", new_best, kind="success")


def _fail(config: Config, state: State, value: float | None, reason: str, kind: Kind = "rollback") -> Step[State]:
    assert state.rate_before_raise is not None
    assert state.before is not None
    after = replace(
        state,
        phase="hold",
        rate=state.rate_before_raise,
        rate_before_raise=None,
        before=None,
        failed_raise=state.rate,
        spent=state.spent + state.held,
        window=(),
        held=0,
        patience=2 * state.patience,
        # What is within the noise of the best is not worse.
        last=state.before.end - 2 * state.before.noise,
    )
    return decide(state, after, kind, value, reason, restore=state.way_back)


# --- divergence ------------------------------------------------------------------------------------------------------


def _recover(config: Config, state: State, value: float, broken: str) -> Step[State]:
    too_high = state.rate if state.rate_too_high is None else min(state.rate, state.rate_too_high)
    state = replace(state, rate_too_high=too_high)
    if state.phase == "excursion":
        return _fail(config, state, value, broken, kind="diverged")
    restore: Snapshot = "start" if state.best is None else "best"
    after = replace(state, behind=False, last=_best_cost(config, state))
    if state.recoveries >= plateau.MAX_RECOVERIES:
        # Even now every divergence goes back to sound weights, so that the run ends with some.
        kind: Kind = "diverged" if state.exhausted else "exhausted"
        reason = (
            f"{broken}; {plateau.MAX_RECOVERIES} recoveries in a row did not help, so look at the data and the model"
        )
        return decide(state, replace(after, exhausted=True, window=(), held=0), kind, value, reason, restore=restore)
    after = replace(_changed(after, _lower(config, state.rate, HARD_CUT)), recoveries=state.recoveries + 1)
    if state.anneal_rate is not None:
        after = replace(after, anneal_rate=_lower(config, state.anneal_rate, HARD_CUT))
    return decide(state, after, "diverged", value, broken, restore=restore)


# --- the end ---------------------------------------------------------------------------------------------------------


def _is_annealing_due(config: Config, state: State) -> bool:
    return config.observations is not None and state.observations >= round(config.observations * (1 - TAIL))


def _start_annealing(config: Config, state: State, value: float, new_best: bool) -> Step[State]:
    assert config.observations is not None
    after = _keep(state, value) if new_best else state
    left = config.observations - state.observations
    if left <= 0:
        return _go_on(state, after, value, new_best)
    reason = f"the last {_count(left)}: in a straight line towards zero"
    restore: Snapshot | None = None
    if not new_best and not state.behind and state.best is not None and _is_worse(config, state):
        reason += f", from the best weights, since the last ones are worse than {state.best:.6g}"
        after = replace(after, window=(), last=_best_cost(config, state))
        restore = "best"
    after = replace(after, phase="anneal", anneal_rate=state.rate, anneal_start=state.observations)
    after = replace(after, rate=_annealed(config, after))
    return decide(state, after, "anneal", value, reason, save="best" if new_best else None, restore=restore)


def _anneal(config: Config, state: State, value: float, new_best: bool) -> Step[State]:
    after = _keep(state, value) if new_best else state
    after = replace(after, rate=_annealed(config, state))
    if after.rate == state.rate:
        return _go_on(state, after, value, new_best)
    left = 0 if config.observations is None else max(config.observations - state.observations, 0)
    return decide(state, after, "anneal", value, f"{_count(left)} left", save="best" if new_best else None)


def _annealed(config: Config, state: State) -> float:
    """The rate of the next observation: the middle of its piece of the line. After the last one it stays."""
    assert state.anneal_rate is not None
    length = (config.observations or state.observations) - state.anneal_start
    done = state.observations - state.anneal_start
    if done >= length:
        return state.rate
    share = (length - done - 0.5) / length
    return _lower(config, state.anneal_rate, share)


def _is_worse(config: Config, state: State) -> bool:
    """Whether the last observations are significantly worse than the best."""
    best = _best_cost(config, state)
    if len(state.window) < 3:
        return state.last > best
    now = trend(state.window[-6:])
    return now.end > best + 2 * now.noise


# --- stored states ---------------------------------------------------------------------------------------------------


def _list(name: str, value: object, least: int, most: int) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise ValueError(f"state field {name} must be a list of {least} to {most}. Received: {value!r}")
    return value


def _contradictions(state: State) -> Iterator[str]:
    """What no training brings about. Each check relies on those before it; plain numbers are known to be some."""
    if state.phase not in get_args(Phase) or state.way_back not in ("best", "raise"):
        yield f"phase={state.phase!r}, way_back={state.way_back!r}"
    tried = [at for at, _ in state.trials]
    for at in (*tried, state.at, *(() if state.saved is None else (state.saved,))):
        # Each trial goes at most two half decades beyond those before it.
        if type(at) is not int or abs(at) > 2 * len(tried) or not 0 < _trial_rate(state, at) < math.inf:
            yield f"a trial at {at!r} half decades from {state.start_rate!r}"
    if not all(
        score == math.inf or _is_within(score, math.inf) for score in (*(s for _, s in state.trials), state.last)
    ):
        yield f"trials={state.trials!r}, last={state.last!r}"
    if not all(_is_within(cost, LARGE) for cost in state.window):
        yield f"window={state.window!r}"
    if state.mark is not None and not _is_within(state.mark, LARGE):
        yield f"mark={state.mark!r}"
    if state.before is not None:
        # A line may leave the range of the costs that it is drawn through, but not by far.
        are_numbers = all(_is_within(number, 100 * LARGE) for number in state.before)
        if not are_numbers or state.before.noise < 0 or state.before.size not in range(3, WINDOW + 1):
            yield f"before={state.before!r}"
    yield from checks.too_many(state, ("spent", "held", "wait", "fruitless", "restarts", "recoveries"))
    yield from checks.too_many(state, ("attempt_start", "attempt_best_at", "anneal_start"))
    if len(state.window) > state.observations:
        yield f"{len(state.window)} costs of {state.observations} observations"
    if tried != sorted(set(tried)) or (state.phase == "search" and (state.at in tried or len(tried) == MOST_TRIALS)):
        yield f"at {state.at} after trials at {tried}"
    if state.saved is not None and (state.best is None or state.saved not in tried):
        yield f"saved={state.saved} of trials at {tried}, best={state.best}"
    if (state.best is None) != (state.rate_at_best is None) or (state.best is None and state.behind):
        yield f"best={state.best}, rate_at_best={state.rate_at_best}, behind={state.behind}"
    if not (state.phase == "excursion") == (state.rate_before_raise is not None) == (state.before is not None):
        yield f"phase={state.phase}, rate_before_raise={state.rate_before_raise}, before={state.before}"
    if (state.phase == "anneal") != (state.anneal_rate is not None):
        yield f"phase={state.phase}, anneal_rate={state.anneal_rate}"


def _is_within(value: object, most: float) -> bool:
    """Whether it is a finite number, at most so far from 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value) and abs(value) <= most
    except OverflowError:  # An integer too long for a float.
        return False


# --- helpers ---------------------------------------------------------------------------------------------------------


def _signed(config: Config, value: float) -> float:
    """So that lower is better, and the squares of a trend do not overflow."""
    return max(-LARGE, min(LARGE, value if config.mode == "min" else -value))


def _best_cost(config: Config, state: State) -> float:
    """The best observation, signed; infinite before there is one."""
    return math.inf if state.best is None else _signed(config, state.best)


def _goal(config: Config, state: State) -> float:
    """What the attempt has to beat to be getting on: its own best, or that of all."""
    if state.behind or state.best is None:
        assert state.attempt_best is not None
        return state.attempt_best
    return _best_cost(config, state)


def _lower(config: Config, rate: float, share: float) -> float:
    """A share of a rate, at least `min_lr`; a rate that is below it already stays."""
    return max(rate * share, min(config.min_lr, rate))


def _ceiling(config: Config) -> float:
    return math.inf if config.max_lr is None else config.max_lr


def _budget(config: Config, state: State) -> float:
    """How many observations all trials together may take."""
    length = max(NOMINAL_LENGTH, state.observations) if config.observations is None else config.observations
    return config.budget * length


def _count(observations: int) -> str:
    return f"{observations} observation{'s' * (observations != 1)}"


def _in_words(config: Config, now: Trend) -> str:
    better, worse = ("decrease", "increase") if config.mode == "min" else ("increase", "decrease")
    what = f"significant {worse}" if now.t > SIGNIFICANT else f"no significant {better}"
    what = f"significant {better}" if now.t < -SIGNIFICANT else what
    return f"{what} over {now.size} observations, slope {_signed(config, now.slope):.2g} ± {now.error:.2g}"
