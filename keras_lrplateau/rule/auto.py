"""Auto mode: the controller for those who do not want to choose a learning rate.

It makes the same decisions as `keras_lrplateau.rule.plateau`, in the same words, and knows as little of Keras, clocks
and files. What it remembers is in `keras_lrplateau.rule.auto_state`. New words:

    trial           one rate of the search, tried for an observation or a window of steps; or an excursion: it may be
                    taken back
    search          trials of several rates, each from the weights before training. Where epochs are long, a trial is a
                    window of steps within one, which is no observation
    settled         the search is over, and the rate is the one that it found
    climb           in a short training, raises of one observation each, judged by how fast the training loss falls
    trend           the straight line through the observations since the last change of rate
    flat            a trend that is not getting better, and not because noise may hide it
    rising          a trend that is significantly getting worse
    attempt         a training from the first weights; each restart begins another
    anneal          towards zero in a straight line, over the last observations

The rules:

1. Search. The given rate may be wrong by orders of magnitude, in either direction. It is tried for one observation,
   then, from the first weights again, ten times it, a tenth of it, and so on until the best one has a worse one on
   either side; then half a decade to either side of the best. Where epochs are long, windows of steps take the
   place of observations; they go by the training loss, and none of them is the best. The lowest rate that makes most of
   the best one's progress is taken: a rate too low costs time, which later raises make up for; what a rate too high has
   done to the weights stays. The given rate stays where no other is clearly better. In few short epochs,
   which leave no room for raises, it is left only where it does not train; see `keras_lrplateau.rule.search`.
2. Climb. A short training has hardly any room for the raises below. So after its search a threefold rate is tried for
   one observation. If the training loss falls by most of what it fell before, the next raise follows at once. If it
   falls by less, the rate goes back, and what was trained stays; if it does not fall, or the raised rate is unfit (see
   `keras_lrplateau.rule.search`), the weights go back, too. At one rate a loss falls ever slower; where it falls as
   fast as before, the rate before was too low.
3. Raise. While the trend is good, and once when it is first flat, a threefold rate is tried from time to time. It has a
   few observations to get ahead of the trend before it. If it does, another raise follows at once. If not, everything
   goes back to where it was, and the next raise waits twice as long.
4. Cut. A flat trend with no raise to try, or a rising one: a third of the rate. The weights stay: while batch
   normalisation warms up, a validation metric may get worse for epochs although training gets on. Shortly before the
   last part there is no cut: annealing brings the rate down anyway.
5. Restart. A cut was fruitless, too: this attempt has got as far as it will. If the observations left are enough for
   another one, it begins again from the first weights, with a third of the first rate: weights that a high rate has
   led into a corner do not come out of it with a lower one. What was reached is kept. An attempt that is flat, too,
   without having beaten it is given up for it.
6. Anneal. The last part of a training whose length is known.
7. Diverged: back to the best weights, a tenth of the rate. A trial that diverges has only failed. No raise goes there
   again.
8. At an accuracy of 1 or a loss of 0 there is nothing to gain: no raise, and no restart.
9. At the end (`finish`) a trial that is still open is taken back; and if the last weights are worse than the best by
   more than a hundredth, it is the best weights that are kept. By steps they must be worse beyond the noise.

The trials of the search and excursions, other than the first observation, take at most `budget` of all observations.
Restarts and climbs do not count: a restart takes observations in which its training would have stood still, and a climb
ends with the first raise that is taken back, so it costs one observation at most.

Sources: a search from the first weights, each rate for a short time, is what a learning rate range test does (Smith
2017, "Cyclical learning rates for training neural networks"), but each rate on its own. A raise is judged against the
trend before it, not by its first value: short-horizon bias (Wu et al. 2018, "Understanding short-horizon bias in
stochastic meta-optimization"). A straight line to zero: Defazio et al. 2023, "Optimal linear decay learning rate
schedules and further refinements"; that it can wait for the last part: Hägele et al. 2024, "Scaling laws and
compute-optimal training beyond fixed training durations". The constants were chosen on the tuning tasks of
examples/benchmarks/convergence.py, those of the climb on the tuning jobs of examples/benchmarks/jobs.py; what else was
tried is in examples/benchmarks/results.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from keras_lrplateau.rule import search, soundness
from keras_lrplateau.rule.auto_state import (
    NAME,
    TRANSITIONS,
    Anneal,
    Attempt,
    Best,
    Climb,
    ClimbRaise,
    Excursion,
    Fall,
    Hold,
    State,
)
from keras_lrplateau.rule.checks import check_settings, check_start
from keras_lrplateau.rule.decision import Evidence, Kind, Rule, Snapshot, Step, decide, hold, is_perfect, on_plateau
from keras_lrplateau.rule.search import Search
from keras_lrplateau.rule.soundness import MAX_RECOVERIES, NOTHING_ELSE, Watch, assess
from keras_lrplateau.rule.stretch import LARGE, LONGEST_TREND, SHORTEST_TREND, Stretch
from keras_lrplateau.rule.trend import Trend, trend
from keras_lrplateau.rule.words import counted, number
from keras_lrplateau.settings import RuleName, check_flag, check_integer, check_number

SIGNIFICANT = 3.0
"""A slope beyond this many standard errors is certain."""

RAISE = 3.0
"""A raise goes to this multiple of the rate."""

RAISE_LENGTH = 4
"""A raise has this many observations to get ahead; the later half of them is compared."""

AHEAD = 0.5
"""By how many times the noise it must be ahead of the trend before it."""

SHORT = 50
"""A training of at most this many observations is short: it climbs.

In a training of 100 observations a climb costs more than it gains: there is time for raises, and what a rate too high
does to the weights stays. See examples/benchmarks/results/jobs.md.
"""

AS_FAST = 0.7
"""By this share of what it fell before, the training loss must fall at a threefold rate for the climb to go on."""

CUT = 0.3
"""Every cut is to this share of the rate, and so is the rate of a restart."""

MOST_RESTARTS = 2
"""Restarts of one training."""

SHORTEST_ATTEMPT = 16
"""A restart needs this many observations, and half as many again as the last attempt took to its best."""

HARD_CUT = 0.1
"""A divergence cuts by this."""

TAIL = 0.3
"""The share of all observations over which the rate is annealed."""

TAIL_BY_STEPS = 0.4
"""The same by steps. Each row is seen once there, so noise limits a training more than its length."""

NOMINAL_LENGTH = 100
"""The budget of a training whose length is not known is that of one of this length.

By steps, a training has no more observations than this, but for the search: the constants here were chosen on trainings
of this length, and by more and shorter observations noise would be taken for a plateau.
"""

FORGIVEN = 0.01
"""At the end the best weights come back if the last ones are worse by more than this share of the best metric."""

FORGIVEN_BY_STEPS = 4.0
"""By steps, if they are worse by more than this many times the noise."""


# --- the rule --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Config(Rule[State]):
    """Auto mode, with what the user chose. Checked when made; a mistake raises at once.

    Args:
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        min_lr: No rate is tried or cut to below this. >= 0.
        max_lr: No rate is tried or raised to above this; None for no bound. > 0, >= `min_lr`.
        budget: The share of all observations that trials may take. In [0, 1]; 0 tries nothing: the given rate is held,
            cut and annealed.
        observations: How many observations the training will have; None if that is not known. Then there is no climb,
            no restart and no annealing. Integer >= 1.
        anneals: Whether to anneal. If not, nothing lowers the rate but a divergence, and over the last observations
            there are no trials: an optimizer that averages the weights of the whole training has no use for a lower
            rate (Defazio et al. 2024, "The road less scheduled"). Its averages follow a raise too late to be judged, so
            the search takes the rate that makes nearly all of the best one's progress.
        by_steps: Whether an observation is of a few steps, and not of an epoch. Then the search is wary of high rates,
            the anneal is longer, and the last observations count as worse than the best only beyond doubt: the best of
            many short ones is partly the luckiest.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is outside its range.
    """

    name: ClassVar[RuleName] = NAME

    mode: Literal["min", "max"] = "min"
    min_lr: float = 0.0
    max_lr: float | None = None
    budget: float = 0.25
    observations: int | None = None
    anneals: bool = True
    by_steps: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        if self.observations is not None:
            check_integer("observations", self.observations, minimum=1)
        check_flag("anneals", self.anneals)
        check_flag("by_steps", self.by_steps)

    @property
    def patience_to_judge(self) -> int:
        """A plateau, the raise that it leads to, and the next plateau, which is cut; no more than there is.

        A restart takes longer to get ahead. But what it has reached by then is not lost to one who stops it.
        """
        needed = LONGEST_TREND + RAISE_LENGTH + SHORTEST_TREND
        return needed if self.observations is None else min(needed, self.observations)

    def start(self, rate: float) -> State:
        """The state before the first observation.

        Args:
            rate: The rate that training starts with, however wrong. Finite, > 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is not above 0, not finite, above `max_lr` or below `min_lr`.
        """
        rate = check_start(self, rate)
        if rate < self.min_lr:
            raise ValueError(
                "min_lr must not be above the learning rate that training starts with. Received: "
                f"min_lr={self.min_lr!r} and a learning rate of {rate!r}; lower min_lr or start higher"
            )
        if not rate > 0:
            raise ValueError(f"auto mode needs a learning rate above 0 to start from. Received: {rate!r}")
        return State(rate, stage=Search(rate), attempt=Attempt(rate))

    def searching_by(self, state: State, steps: int | None) -> State:
        """The state, whose search goes by trials of so many optimizer steps; None for one observation each.

        With a `budget` of 0 there is no search.
        """
        if not isinstance(state.stage, Search) or (steps is not None and not self.budget):
            return state
        return replace(state, stage=replace(state.stage, steps=steps))

    def step(
        self, state: State, value: float, loss: float | None = None, evidence: Evidence | None = None
    ) -> Step[State]:
        """Take one observation.

        Args:
            state: The state before the observation; it is not changed.
            value: The monitored metric. Any float; NaN and infinities included.
            loss: The training loss over the same time, when it is known. The search goes by it, since it has far less
                noise than a metric on a few validation samples; and it is watched for divergence.
            evidence: What else is known about the weights.

        Returns:
            The state after it, and the decision. The `observations` of the rule may change from step to step, as the
            end of training comes nearer or moves.
        """
        state = replace(state, observations=state.observations + 1)
        evidence = evidence or NOTHING_ELSE
        match state.stage:
            case Search():
                return _search(self, state, state.stage, value, loss, evidence)
            case Hold():
                judge: Judge = _hold
            case Climb() as stage:
                judge = functools.partial(_climb, stage=stage, loss=loss)
            case ClimbRaise() as stage:
                judge = functools.partial(_judge_fall, stage=stage, loss=loss, evidence=evidence)
            case Excursion() as stage:
                judge = functools.partial(_judge, stage=stage)
            case Anneal() as stage:
                judge = functools.partial(_anneal, stage=stage)
        return _watched(self, state, value, loss, evidence, judge)

    def finish(self, state: State) -> Step[State]:
        """Training ends: take back an open trial, and keep the best weights if the last ones are worse.

        Args:
            state: The state after the last observation.

        Returns:
            A "rollback" if the weights change; else a "hold".
        """
        match state.stage:
            case Search():
                if not state.stage.trials:
                    return hold(state, None)
                restore: Snapshot = "start" if state.kept is None else "best"
                reason = "training ended in the search: back to the best of it"
                rate = state.stage.start_rate if state.kept is None else state.kept.rate
                after = replace(_changed(state, rate), stage=Hold(), last=_best_cost(self, state))
                return _decide(state, _without_windows(state, after), "rollback", None, reason, restore=restore)
            case Excursion() | ClimbRaise() as stage:
                after, decision = _fail(state, stage, None, "training ended before the raise got ahead")
                if _is_worse(self, after):
                    after = replace(after, last=_best_cost(self, state))
                    decision = replace(decision, restore="best")
                return Step(after, decision)
            case _:
                if state.watch.far_worse is not None:
                    # No later look will clear these weights.
                    reason = (
                        f"the last training loss, {number(state.watch.far_worse)}, is far worse than before training"
                    )
                elif state.kept is not None and _is_worse(self, state):
                    last, _ = _end(self, state)
                    brought = f", at {number(_signed(self, last))}," if math.isfinite(last) else ""
                    reason = f"the last weights{brought} are worse than the best, at {number(state.best)}"
                else:
                    return hold(state, None)
                restore = "start" if state.kept is None else "best"
                after = replace(_without_climb(state), stretch=Stretch(), last=_best_cost(self, state))
                return _decide(state, after, "rollback", None, reason, restore=restore)

    def override(self, state: State, rate: float) -> Step[State]:
        """Go on from a rate that something else has set.

        Args:
            state: The state, with the rate that the controller had set.
            rate: The rate found. Finite, >= 0.

        Raises:
            TypeError: `rate` is not a number.
            ValueError: `rate` is negative or not finite.
        """
        rate = check_number("rate", rate, "a finite number >= 0", lambda x: x >= 0)
        reason = f"the rate was found at {number(rate)}, not at {number(state.rate)} as set"
        after = replace(state, rate=rate, stretch=Stretch(), exhausted=False)
        if state.stage.name == "anneal":
            after = replace(after, stage=Anneal(rate, state.observations))
        else:
            # Whatever was being tried is over.
            after = replace(after, stage=Hold())
            if state.stage.name == "search" and rate:
                after = replace(after, attempt=replace(state.attempt, rate=rate))
            after = _without_windows(state, after)
        return _decide(state, after, "override", None, reason)

    def needed_snapshots(self, state: State) -> frozenset[Snapshot]:
        """The snapshots that a later decision may still restore; all others can be dropped. At most three at a time."""
        needed: set[Snapshot] = set()
        if _needs_start(self, state):
            needed.add("start")
        if state.kept is not None:
            needed.add("best")
        if state.way_back is not None:
            needed.add(state.way_back)
        return frozenset(needed)

    @classmethod
    def read_state(cls, data: Mapping[str, Any]) -> State:
        """The state whose `to_dict` wrote this."""
        return State.from_dict(data)

    def for_length(self, observations: int | None, *, anneals: bool = True) -> Self:
        """This rule for a training of this many observations in all; None if that is not known."""
        return replace(self, observations=observations, anneals=self.anneals and anneals)

    def most_observations(self, state: State) -> int | None:
        """As many as an ordinary training has epochs; in the search they may be as short as is asked for."""
        return None if state.stage.name == "search" else NOMINAL_LENGTH

    def without_search(self) -> Self:
        """This rule with the given rate instead of trials."""
        return replace(self, budget=0.0)


Judge = Callable[["Config", State, float, bool], Step[State]]
"""What a stage makes of a value, which is or is not a new best."""


def _watched(
    config: Config, state: State, value: float, loss: float | None, evidence: Evidence, decide_: Judge
) -> Step[State]:
    """An observation outside the search: an answer to broken training, or what the stage makes of it."""
    cost = _signed(config, value)
    best = _best_cost(config, state)
    is_better = math.isfinite(value) and cost < best
    finding = assess(state.watch, value, loss, state.loss_before, evidence, state.kept is not None and is_better)
    state = replace(state, loss_before=finding.loss_before)
    if _is_best_ruined(config, state, evidence):
        words = f"the best weights, gone back to before, have a loss of {number(evidence.first_loss)}"
        return _recover(config, replace(state, kept=None, watch=Watch(has_learned=True)), value, words)
    if finding.verdict == "broken":
        return _recover(config, replace(state, watch=Watch(has_learned=True)), value, finding.reason)
    state = replace(state, watch=finding.watch, is_suspect=finding.verdict == "suspect")
    if not math.isfinite(value):
        return hold(state, value)
    state = replace(state, stretch=state.stretch.observed(cost), last=cost)
    return decide_(config, state, value, is_better and finding.may_be_kept)


def _decide(
    before: State,
    after: State,
    kind: Kind,
    value: float | None,
    reason: str,
    save: Snapshot | None = None,
    restore: Snapshot | None = None,
) -> Step[State]:
    """A decision, along one of the `TRANSITIONS`."""
    at, to = before.stage.name, after.stage.name
    assert to in TRANSITIONS[at][kind], f"{at}: {kind} -> {to}"
    if restore is not None:
        after = replace(after, watch=after.watch.elsewhere())
    return decide(before, after, kind, value, reason, save=save, restore=restore)


# --- the search ------------------------------------------------------------------------------------------------------


def _search(
    config: Config, state: State, stage: Search, value: float, loss: float | None, evidence: Evidence
) -> Step[State]:
    if loss is None:
        state = replace(state, loss_before=None)  # It says nothing about the metric.
    # A rate at which steps are skipped, since their gradients overflow, is as bad as one that breaks training.
    finding = assess(Watch(has_learned=True), value, loss, None, evidence, is_vouched=False)
    # A metric may not be defined yet, though training is sound: then the loss tells the rates apart.
    has_loss_only = finding.verdict == "suspect" and not math.isfinite(value) and _bounded(loss) is not None
    broken = "" if has_loss_only else finding.reason
    metric = value if config.mode == "min" else -value
    score = math.inf if broken else metric if loss is None else loss
    is_unfit = has_loss_only or (not broken and _is_unfit(state, evidence))
    stage = stage.tried(score, 0.0 if broken or loss is None else evidence.noise, is_unfit, evidence.val_loss)
    is_short = not (_raises_may_follow(config, state) if stage.steps is None else _has_time(config, state))
    enough = search.ENOUGH_BY_STEPS if config.by_steps else search.ENOUGH
    if not config.anneals:
        enough = search.ALIKE  # No raise will bring back what a rate too low costs.
    choice, why = search.choice(stage, state.loss_before, enough, stays=not config.by_steps)
    after = state
    save: Snapshot | None = None
    if choice == stage.at and not has_loss_only:
        save = "best"
        stage, after = replace(stage, saved=choice), replace(state, kept=Best(value, state.rate))
    if state.spent + 1 <= _budget(config, state):
        following = search.following(stage, state.loss_before, lambda rate: config.min_lr <= rate <= _ceiling(config))
        trains = is_short and search.has_progress(stage, state.loss_before)
        is_too_low = is_short and search.is_too_low(stage, following, choice, state.loss_before)
        if following is not None and not trains and not is_too_low:
            rate = stage.rate_at(following)
            after = replace(after, stage=replace(stage, at=following), rate=rate, spent=state.spent + 1)
            gave = f"a metric of {number(value)}" if loss is None else f"a training loss of {number(loss)}"
            if is_unfit:
                also = f"a metric of {value}" if has_loss_only else f"a validation loss of {number(evidence.val_loss)}"
                gave += f" and {also}"
            reason = broken or f"{number(state.rate, 3)} gave {gave}"
            return _decide(state, after, "search", _observed(stage, value), reason, save=save, restore="start")
        if following is not None and len(stage.trials) == 1:
            clearly, others = ("clearly ", "others") if trains else ("", "lower ones")
            why = f"it {clearly}trains, and so short a training has no time to try {others}"
    return _settle(config, state, after, stage, choice, value, save, why)


def _observed(stage: Search, value: float) -> float | None:
    """The value that a decision names: none after a window of steps, whose training loss is no observation."""
    return value if stage.steps is None else None


def _is_unfit(state: State, evidence: Evidence) -> bool:
    """Whether the validation loss speaks against the rate."""
    return soundness.exceeds(evidence.val_loss, state.loss_before, search.UNFIT)


def _settle(
    config: Config,
    state: State,
    after: State,
    stage: Search,
    choice: int | None,
    value: float,
    save: Snapshot | None,
    reason: str,
) -> Step[State]:
    """The search is over: on with its choice."""
    lowest = min(at for at, _ in stage.trials)
    rate = _lower(config, stage.rate_at(lowest), HARD_CUT) if choice is None else stage.rate_at(choice)
    scores = search.scores(stage, state.loss_before)
    loss_before = state.loss_before
    if scores and loss_before is not None and min(scores.values()) >= loss_before:
        loss_before = None  # No rate came below it: it is no yardstick.
    attempt = Attempt(rate, start=state.observations - 1)
    too_high = search.lowest_broken(stage, state.loss_before)
    saved = stage.saved if choice == stage.saved else None
    on: Climb | Hold = Hold()
    if stage.steps is None and _climbs(config):
        on = Climb(None if saved is None else _bounded(dict(stage.trials)[saved]))
    after = replace(after, stage=on, rate=rate, rate_too_high=too_high, loss_before=loss_before)
    restore: Snapshot | None
    if saved is not None:
        cost = _best_cost(config, after)
        attempt = replace(attempt, best=cost, best_at=state.observations)
        after = replace(after, stretch=Stretch((cost,), mark=cost), last=cost)
        restore = None if save else "best"
    else:
        after = replace(after, kept=None)
        restore = "start"
    reason += f"; {search.in_words(stage, loss_before)}"
    after = _without_windows(state, replace(after, attempt=attempt))
    return _decide(state, after, "settle", _observed(stage, value), reason, save=save, restore=restore)


def _without_windows(before: State, after: State) -> State:
    """The state after a search: where its trials were windows within an epoch, the observations are still to come.

    What a window brought was a training loss, which says nothing about the metric. So there is no best yet.
    """
    if before.trial_steps is None:
        return after
    attempt = Attempt(after.attempt.rate)
    return replace(after, attempt=attempt, kept=None, stretch=Stretch(), last=math.inf, observations=0, spent=0)


def _raises_may_follow(config: Config, state: State) -> bool:
    """Whether a raise fits in between the search and the last part, and what trials may take is not spent."""
    return _has_time(config, state) and state.spent + RAISE_LENGTH <= _budget(config, state)


def _has_time(config: Config, state: State) -> bool:
    """Whether as many observations, or windows of steps, are left before the last part as a raise takes."""
    return _until_annealing(config, state) >= SHORTEST_TREND + RAISE_LENGTH


# --- holding ---------------------------------------------------------------------------------------------------------


def _hold(config: Config, state: State, value: float, new_best: bool) -> Step[State]:
    attempt = state.attempt
    if attempt.best is None or state.last < attempt.best:
        attempt = replace(attempt, best=state.last, best_at=state.observations, fruitless=0)
        state = replace(state, attempt=attempt)
    after = _keep(state, value) if new_best else state
    if _is_annealing_due(config, state):
        if config.anneals:
            return _start_annealing(config, state, value, new_best)
        return _go_on(state, after, value, new_best)  # No trial could be judged any more.
    if len(state.stretch.latest) < SHORTEST_TREND:
        return _go_on(state, after, value, new_best)
    now = trend(state.stretch.latest)
    if state.stretch.is_flat(now):
        return on_plateau(_plateau(config, state, after, value, now, new_best), now.size)
    if now.t < -SIGNIFICANT and state.stretch.held >= state.patience and _can_raise(config, after, None):
        return _raise(state, after, value, now, _in_words(config, now), new_best)
    return _go_on(state, after, value, new_best)


def _plateau(config: Config, state: State, after: State, value: float, now: Trend, new_best: bool) -> Step[State]:
    words = _in_words(config, now)
    attempt = after.attempt
    if attempt.fruitless and not attempt.is_behind and _can_restart(config, state):
        return _restart(config, state, value, words)
    if attempt.fruitless and attempt.is_behind:
        return _take_back(config, state, value, words)
    if now.t <= SIGNIFICANT and not attempt.fruitless and _can_raise(config, after, attempt.failed_raise):
        return _raise(state, after, value, now, words, new_best)
    reason = f"{words}; {'the last cut was fruitless, too' if attempt.fruitless else 'no raise is left to try'}"
    rate = _lower(config, state.rate, CUT)
    if rate == state.rate or not config.anneals:
        # At the lowest rate there is no cut, and none where the optimizer averages the weights. An attempt that is
        # behind will not catch up there.
        return _take_back(config, state, value, words) if attempt.is_behind else _go_on(state, after, value, new_best)
    if _until_annealing(config, state) < SHORTEST_TREND:
        return _go_on(state, after, value, new_best)
    cut = replace(after, rate=rate, stretch=Stretch(), attempt=replace(attempt, fruitless=attempt.fruitless + 1))
    return _decide(state, cut, "cut", value, reason, save="best" if new_best else None)


def _keep(state: State, value: float) -> State:
    """A new best."""
    attempt = replace(state.attempt, fruitless=0, is_behind=False)
    return replace(state, kept=Best(value, state.rate), attempt=attempt, recoveries=0, exhausted=False)


def _go_on(before: State, after: State, value: float, new_best: bool) -> Step[State]:
    if new_best:
        return _decide(before, after, "best", value, "", save="best")
    return hold(after, value)


def _restart(config: Config, state: State, value: float, words: str) -> Step[State]:
    rate = _lower(config, state.attempt.rate, CUT)
    seen = state.observations
    after = replace(
        _changed(state, rate),
        restarts=state.restarts + 1,
        attempt=Attempt(rate, start=seen, best_at=seen, is_behind=state.kept is not None),
        last=math.inf,
    )
    reason = f"{words}, and the last cut was fruitless, too; a new attempt from the first weights"
    return _decide(state, after, "restart", value, reason, restore="start")


def _can_restart(config: Config, state: State) -> bool:
    if config.observations is None or state.restarts >= MOST_RESTARTS or is_perfect(config.mode, state.best):
        return False
    took = state.attempt.best_at - state.attempt.start
    return config.observations - state.observations >= max(SHORTEST_ATTEMPT, 1.5 * took)


def _take_back(config: Config, state: State, value: float, words: str) -> Step[State]:
    """Give the attempt up: back to the best weights, with a third of the rate that brought them."""
    assert state.kept is not None
    reason = f"{words}, without having beaten {number(state.best)} from before the restart"
    after = _changed(state, _lower(config, state.kept.rate, CUT))
    attempt = replace(after.attempt, is_behind=False)
    after = replace(after, attempt=attempt, restarts=MOST_RESTARTS, last=_best_cost(config, state))
    return _decide(state, after, "rollback", value, reason, restore="best")


def _changed(state: State, rate: float) -> State:
    """Another rate, and so another trend."""
    attempt = replace(state.attempt, fruitless=0)
    return replace(state, rate=rate, stretch=Stretch(), attempt=attempt, patience=SHORTEST_TREND)


# --- the climb -------------------------------------------------------------------------------------------------------


def _climbs(config: Config) -> bool:
    """Whether the search is followed by a climb."""
    is_short = config.observations is not None and config.observations <= SHORT
    return is_short and config.anneals and not config.by_steps and config.budget > 0


def _can_climb(config: Config, state: State) -> bool:
    """Whether a raise of one observation may be tried, and another observation is left before the last part."""
    return _until_annealing(config, state) > 1 and _may_go_up(config, state, None)


def _climb(
    config: Config, state: State, value: float, new_best: bool, *, stage: Climb, loss: float | None
) -> Step[State]:
    """The rate is still the one that the search has found: the first raise, if the training loss falls."""
    before, loss = stage.loss, _bounded(loss)
    # In epochs of a single batch the first loss after the search is that of the search once more.
    is_first = before is None or (state.stretch.held == 1 and loss is not None and not loss < before)
    if is_first and loss is not None:
        return _hold(config, replace(state, stage=Climb(loss)), value, new_best)
    if before is None or loss is None or not loss < before or not _can_climb(config, state):
        return _hold(config, _without_climb(state), value, new_best)
    after = _keep(state, value) if new_best else state
    reason = f"the training loss fell by {number(before - loss, 3)}; it may fall as fast at a higher rate"
    return _climb_on(state, after, value, Fall(loss, before - loss, state.last), reason, new_best, "raise")


def _climb_on(
    state: State, after: State, value: float, fall: Fall, reason: str, new_best: bool, kind: Literal["raise", "success"]
) -> Step[State]:
    """A raise of one observation."""
    way_back: Literal["best", "raise"] = "best" if new_best else "raise"
    after = replace(after, stage=ClimbRaise(state.rate, way_back, fall), rate=state.rate * RAISE, stretch=Stretch())
    return _decide(state, after, kind, value, reason, save=way_back)


def _judge_fall(
    config: Config,
    state: State,
    value: float,
    new_best: bool,
    *,
    stage: ClimbRaise,
    loss: float | None,
    evidence: Evidence,
) -> Step[State]:
    """What a raise of the climb has brought."""
    before, loss = stage.before, _bounded(loss)
    if loss is None:
        return _fail(state, stage, value, "there is no training loss to judge the raise by")
    words = f"from {number(before.loss)} to {number(loss)}, after a fall by {number(before.by, 3)}"
    if not loss < before.loss:
        return _fail(state, stage, value, f"the training loss did not fall: {words}")
    if _is_unfit(state, evidence):
        reason = f"a validation loss of {number(evidence.val_loss)} speaks against the raise"
        return _fail(state, stage, value, reason)
    by = before.loss - loss
    after = replace(_keep(state, value) if new_best else state, stage=Hold(), stretch=Stretch())
    save: Snapshot | None = "best" if new_best else None
    if by < AS_FAST * before.by:
        after = replace(after, rate=stage.rate_before)
        return _decide(state, after, "rollback", value, f"the training loss fell, but by less: {words}", save=save)
    reason = f"the training loss fell as fast as before: {words}"
    if not _can_climb(config, after):
        return _decide(state, after, "success", value, reason, save=save)
    return _climb_on(state, after, value, Fall(loss, by, state.last), reason, new_best, "success")


def _without_climb(state: State) -> State:
    """The state, in which no climb will begin any more."""
    return replace(state, stage=Hold()) if isinstance(state.stage, Climb) else state


# --- raises ----------------------------------------------------------------------------------------------------------


def _can_raise(config: Config, state: State, failed: float | None) -> bool:
    is_paid = state.spent + RAISE_LENGTH <= _budget(config, state)
    return is_paid and not is_perfect(config.mode, state.best) and _may_go_up(config, state, failed)


def _may_go_up(config: Config, state: State, failed: float | None) -> bool:
    rate = state.rate * RAISE
    return (
        state.rate < rate < math.inf
        and rate <= _ceiling(config)
        and (state.rate_too_high is None or rate < state.rate_too_high)
        and (failed is None or rate < failed)
        and not state.is_suspect
    )


def _raise(
    state: State, after: State, value: float, before: Trend, reason: str, new_best: bool, kind: Kind = "raise"
) -> Step[State]:
    """Open an excursion; where the weights are the best ones, the best snapshot is the way back."""
    way_back: Literal["best", "raise"] = "best" if new_best else "raise"
    if before.slope > 0:
        # What a flat trend makes of its noise is no reason to expect worse.
        before = before._replace(slope=0.0, end=before.ahead((1 - before.size) / 2))
    stage = Excursion(state.rate, way_back, before)
    after = replace(after, stage=stage, rate=state.rate * RAISE, stretch=Stretch())
    return _decide(state, after, kind, value, reason, save=way_back)


def _judge(config: Config, state: State, value: float, new_best: bool, *, stage: Excursion) -> Step[State]:
    before, latest = stage.before, state.stretch.latest
    if len(latest) < RAISE_LENGTH and not _is_annealing_due(config, state):
        return hold(state, value)
    compared = latest[-(RAISE_LENGTH // 2) :]
    mean = math.fsum(compared) / len(compared)
    expected = before.ahead(len(latest) - (len(compared) - 1) / 2)
    sign = _signed(config, 1.0)
    words = f"{number(sign * mean)} against {number(sign * expected)} by the trend before the raise"
    if not mean < expected - AHEAD * before.noise:
        return _fail(state, stage, value, f"the raise did not get ahead: {words}")
    after = _keep(state, value) if new_best else state
    attempt = replace(after.attempt, fruitless=0)
    after = replace(after, stage=Hold(), attempt=attempt, patience=SHORTEST_TREND)
    reason = f"the raise got ahead: {words}"
    if len(latest) < RAISE_LENGTH or not _can_raise(config, after, attempt.failed_raise):
        after = replace(after, stretch=Stretch())
        return _decide(state, after, "success", value, reason, save="best" if new_best else None)
    now = trend(latest)
    now = now._replace(noise=max(now.noise, before.noise))
    return _raise(state, after, value, now, f"{reason}; a higher one may be better still", new_best, kind="success")


def _fail(
    state: State, stage: Excursion | ClimbRaise, value: float | None, reason: str, kind: Kind = "rollback"
) -> Step[State]:
    after = replace(
        state,
        stage=Hold(),
        rate=stage.rate_before,
        attempt=replace(state.attempt, failed_raise=state.rate),
        spent=state.spent + state.stretch.held,
        stretch=Stretch(),
        patience=2 * state.patience,
        last=stage.cost_before,
    )
    return _decide(state, after, kind, value, reason, restore=stage.way_back)


# --- divergence ------------------------------------------------------------------------------------------------------


def _is_best_ruined(config: Config, state: State, evidence: Evidence) -> bool:
    """Whether training has just gone back to the best weights, and the first batch with them is far worse than none.

    A metric of the training data is a mean over the weights of an epoch, and they may explode at its end.
    """
    look = evidence.first_loss
    is_back = state.recoveries > 0 and state.stretch.held == 0 and state.kept is not None
    if not is_back or look is None or not _needs_start(config, state):
        return False
    return not math.isfinite(look) or soundness.exceeds(look, state.loss_before, soundness.FAR_WORSE)


def _needs_start(config: Config, state: State) -> bool:
    """Whether there is a copy of the first weights."""
    # Not by how many observations are left: that estimate may grow again, and a copy that is gone does not return.
    may_restart = config.observations is not None and state.stage.name != "anneal" and state.restarts < MOST_RESTARTS
    return state.stage.name == "search" or state.kept is None or may_restart


def _recover(config: Config, state: State, value: float, broken: str) -> Step[State]:
    too_high = state.rate if state.rate_too_high is None else min(state.rate, state.rate_too_high)
    state = replace(state, rate_too_high=too_high)
    stage = state.stage
    if isinstance(stage, Excursion | ClimbRaise):
        state = replace(state, stretch=replace(state.stretch, held=state.stretch.held + 1))
        return _fail(state, stage, value, broken, kind="diverged")
    restore: Snapshot = "start" if state.kept is None else "best"
    state = _without_climb(state)
    after = replace(state, attempt=replace(state.attempt, is_behind=False), last=_best_cost(config, state))
    if state.recoveries >= MAX_RECOVERIES:
        # Even now every divergence goes back to sound weights, so that the run ends with some.
        kind: Kind = "diverged" if state.exhausted else "exhausted"
        reason = f"{broken}; {MAX_RECOVERIES} recoveries in a row did not help, so look at the data and the model"
        return _decide(state, replace(after, exhausted=True, stretch=Stretch()), kind, value, reason, restore=restore)
    after = replace(_changed(after, _lower(config, state.rate, HARD_CUT)), recoveries=state.recoveries + 1)
    if isinstance(stage, Anneal):
        after = replace(after, stage=replace(stage, rate=_lower(config, stage.rate, HARD_CUT)))
    return _decide(state, after, "diverged", value, broken, restore=restore)


# --- the end ---------------------------------------------------------------------------------------------------------


def _until_annealing(config: Config, state: State) -> float:
    """How many observations there are before the rate is annealed."""
    if config.observations is None:
        return math.inf
    tail = TAIL_BY_STEPS if config.by_steps else TAIL
    return round(config.observations * (1 - tail)) - state.observations


def _is_annealing_due(config: Config, state: State) -> bool:
    return _until_annealing(config, state) <= 0


def _start_annealing(config: Config, state: State, value: float, new_best: bool) -> Step[State]:
    assert config.observations is not None
    after = _keep(state, value) if new_best else state
    left = config.observations - state.observations
    if left <= 0:
        return _go_on(state, after, value, new_best)
    last = "the last observation" if left == 1 else f"the last {left} observations"
    reason = f"{last}: in a straight line towards zero"
    stage = Anneal(state.rate, state.observations)
    after = replace(after, stage=stage, rate=_annealed(config, after, stage))
    return _decide(state, after, "anneal", value, reason, save="best" if new_best else None)


def _anneal(config: Config, state: State, value: float, new_best: bool, *, stage: Anneal) -> Step[State]:
    after = _keep(state, value) if new_best else state
    after = replace(after, rate=_annealed(config, state, stage))
    if after.rate == state.rate:
        return _go_on(state, after, value, new_best)
    left = 0 if config.observations is None else max(config.observations - state.observations, 0)
    reason = f"{counted(left, 'observation')} left"
    return _decide(state, after, "anneal", value, reason, save="best" if new_best else None)


def _annealed(config: Config, state: State, stage: Anneal) -> float:
    """The rate of the next observation: the middle of its piece of the line. After the last one it stays."""
    length = (config.observations or state.observations) - stage.start
    done = state.observations - stage.start
    if done >= length:
        return state.rate
    return _lower(config, stage.rate, (length - done - 0.5) / length)


def _is_worse(config: Config, state: State) -> bool:
    """Whether the last weights are worse than the best, beyond what is forgiven."""
    best, (last, noise) = _best_cost(config, state), _end(config, state)
    return last > best + (FORGIVEN_BY_STEPS * noise if noise else FORGIVEN * abs(best))


def _end(config: Config, state: State) -> tuple[float, float]:
    """The cost of the last weights, and its noise; 0 where none is reckoned with, as by epochs."""
    if not config.by_steps or len(state.stretch.latest) < 3:
        return state.last, 0.0
    now = trend(state.stretch.latest[-6:])
    return now.end, now.noise


# --- helpers ---------------------------------------------------------------------------------------------------------


def _signed(config: Config, value: float) -> float:
    """So that lower is better, and the squares of a trend do not overflow."""
    return max(-LARGE, min(LARGE, value if config.mode == "min" else -value))


def _bounded(loss: float | None) -> float | None:
    """A training loss, so that differences do not overflow; None if there is none, or it is not finite."""
    return None if loss is None or not math.isfinite(loss) else max(-LARGE, min(LARGE, loss))


def _best_cost(config: Config, state: State) -> float:
    """The best observation, signed; infinite before there is one."""
    return math.inf if state.best is None else _signed(config, state.best)


def _lower(config: Config, rate: float, share: float) -> float:
    """A share of a rate, at least `min_lr`; a rate that is below it already stays."""
    return max(rate * share, min(config.min_lr, rate))


def _ceiling(config: Config) -> float:
    return math.inf if config.max_lr is None else config.max_lr


def _budget(config: Config, state: State) -> float:
    """How many observations all trials together may take."""
    length = max(NOMINAL_LENGTH, state.observations) if config.observations is None else config.observations
    return config.budget * length


def _in_words(config: Config, now: Trend) -> str:
    better, worse = ("decrease", "increase") if config.mode == "min" else ("increase", "decrease")
    what = f"significant {worse}" if now.t > SIGNIFICANT else f"no significant {better}"
    what = f"significant {better}" if now.t < -SIGNIFICANT else what
    slope = f"{number(_signed(config, now.slope), 2)} ± {number(now.error, 2)}"
    return f"{what} over {now.size} observations, slope {slope}"
