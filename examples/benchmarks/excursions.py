"""Designs of an excursion, as small rules that raise_defaults.py compares; nothing to run here.

Every design is the plain plateau rule (Keras' cuts, no recovery) until training stalls: a plateau after `after`
fruitless cuts in a row. Then it raises the rate for a stated time, and judges what came of it at the end of that time.
What differs is how high the rate goes, how it comes back, from which weights, how it is judged, and what is kept.

The metric is one that should fall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from keras_lrplateau.rule.decision import Decision, Kind, Snapshot, Step

MIN_DELTA = 1e-4
"""The default of `AdaptLROnPlateau`."""


@dataclass(frozen=True)
class State:
    """What a design remembers.

    Attributes:
        rate: The rate in force.
        rate_at_best: The rate in force at the best value that was seen outside an excursion.
        best: The best value.
        observations: How many values were seen.
        wait: Values since the best, or since the last change of rate.
        cuts: Cuts since the best; at a plateau all of them have been fruitless.
        raises: Excursions opened so far.
        failures: Excursions in a row that failed.
        recent: The last `patience` values outside an excursion.
        after_best: The best value, and those after it until the rate changed.
        rate_before: The rate before the open excursion; None if none is open.
        best_before: The best value before it.
        length: How many values it lasts.
        level: The values that it has to beat: those before it, or those right after the best where it starts there.
        inside: The values seen in it.
        losses: The training losses of the last plateau, or of the open excursion.
        level_loss: Their mean before the open excursion.
        loss_before: The training loss before the first step.
    """

    rate: float
    rate_at_best: float
    best: float = math.inf
    observations: int = 0
    wait: int = 0
    cuts: int = 0
    raises: int = 0
    failures: int = 0
    recent: tuple[float, ...] = ()
    after_best: tuple[float, ...] = ()
    rate_before: float | None = None
    best_before: float = math.inf
    length: int = 0
    level: tuple[float, ...] = ()
    inside: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    level_loss: float = math.inf
    loss_before: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Design:
    """A plateau rule with one kind of excursion.

    Attributes:
        name: What the tables call it.
        epochs: The length of the training.
        factor, patience: As in Keras.
        after: Fruitless cuts in a row that make a stall.
        depth: A stall is one only where these have brought the rate to this share of the one at the best value.
        times: How many excursions one training may make; 0 for none.
        height: The rate goes to this multiple of the one at the best value.
        grows: Whether the multiple is squared after one failure, cubed after two, and so on.
        shape: The raised rate is held, or comes back to the rate before it by a cosine.
        length: How long an excursion lasts at most, in plateaus (`patience` values); None for all the epochs left.
        least: None is opened with fewer plateaus left than this.
        leaves: How many plateaus of the training are left for the time after it.
        checks_epochs: Whether none is opened that the epochs left cannot judge.
        origin: It starts from the weights that are there, or from the best ones.
        judge: It has succeeded if it brought a new best value ("best"); if the mean of its later half is below the mean
            of the last plateau ("level") by more than `noise` standard errors of their difference; or if both ("both").
        noise: See `judge`.
        asks_loss: Whether, besides, the training loss of its later half must not be above that of the last plateau.
        back: Where a failure goes back to: the weights before the excursion, or the best ones.
        end: Training that had an excursion ends on the weights that are there, or on the best ones.
        trust: The best weights are preferred only where the values are worse than the best one by this many times its
            noise; None for always.
        skips: No excursion is opened where the values are worse than the best one by this many times its noise:
            training that overfits is not helped by a raise. None to open one at every stall.
        unlearned: None is opened where the training loss is below this share of that before training: little is left to
            learn there.
    """

    name: str
    epochs: int
    factor: float = 0.1
    patience: int = 10
    after: int = 3
    depth: float = 1.0
    times: int = 3
    height: float = 3.0
    grows: bool = False
    shape: Literal["held", "cosine"] = "cosine"
    length: float | None = 2.0
    least: float = 2.0
    leaves: float = 0.0
    checks_epochs: bool = True
    origin: Literal["here", "best"] = "here"
    judge: Literal["best", "level", "both"] = "level"
    noise: float = 1.0
    asks_loss: bool = False
    back: Literal["raise", "best"] = "raise"
    end: Literal["last", "best"] = "last"
    trust: float | None = None
    skips: float | None = None
    unlearned: float = 0.0

    def start(self, rate: float) -> State:
        """The state before the first value."""
        return State(rate=rate, rate_at_best=rate)

    def step(self, state: State, value: float, loss: float | None = None, evidence: object = None) -> Step[State]:
        """Take one value of the metric. What else is known of the weights is not asked for."""
        window = max(self.patience, 2) if state.rate_before is None else state.length
        losses = (*state.losses, math.inf if loss is None else loss)[-window:]
        state = replace(state, observations=state.observations + 1, losses=losses)
        if state.rate_before is not None:
            return self._inside(state, value)
        recent = (*state.recent, value)[-max(self.patience, 2) :]
        state = replace(state, recent=recent, wait=state.wait + 1)
        if value + MIN_DELTA < state.best:
            after = replace(state, best=value, rate_at_best=state.rate, wait=0, cuts=0, after_best=(value,))
            return _decide(state, after, "best", save="best")
        if state.cuts == 0:
            state = replace(state, after_best=(*state.after_best, value)[-2 * self.patience :])
        if state.wait < self.patience:
            return _decide(state, state, "hold")
        is_past = self.skips is not None and self._is_worse_than_best(state, self.skips)
        is_stalled = state.cuts >= self.after and state.rate <= state.rate_at_best * self.depth * (1 + 1e-9)
        is_learned = np.mean(state.losses) < self.unlearned * state.loss_before
        if is_stalled and state.raises < self.times and not is_past and not is_learned:
            left = self.epochs - state.observations - round(self.leaves * self.patience)
            wanted = math.inf if self.length is None else self.length * self.patience
            if left >= min(self.least * self.patience, wanted) or not self.checks_epochs:
                return self._open(state, int(min(wanted, max(left, 2)) if self.checks_epochs else wanted))
        return _decide(state, replace(state, rate=state.rate * self.factor, wait=0, cuts=state.cuts + 1), "cut")

    def finish(self, state: State) -> Step[State]:
        """The end of training."""
        if state.rate_before is not None:
            return self._fail(state)
        is_back = state.raises and self.end == "best" and self._is_past_best(state)
        back: Snapshot | None = "best" if is_back else None
        return _decide(state, state, "rollback" if back else "hold", restore=back)

    def _open(self, state: State, length: int) -> Step[State]:
        back: Snapshot | None = "best" if self.origin == "best" and self._is_past_best(state) else None
        after = replace(
            state,
            rate=max(self._top(state), state.rate),
            raises=state.raises + 1,
            rate_before=state.rate,
            best_before=state.best,
            length=max(length, 2),
            level_loss=float(np.mean(state.losses)),
            losses=(),
            level=state.recent if back is None else state.after_best[: self.patience],
            inside=(),
        )
        return _decide(state, after, "raise", save="raise", restore=back)

    def _inside(self, state: State, value: float) -> Step[State]:
        assert state.rate_before is not None
        if not math.isfinite(value):
            return self._fail(state)
        inside = (*state.inside, value)
        is_best = value + MIN_DELTA < state.best
        after = replace(state, inside=inside, best=value if is_best else state.best)
        if len(inside) < state.length:
            if self.shape == "cosine":
                share = (1 + math.cos(math.pi * len(inside) / state.length)) / 2
                raised = max(self._top(state) - state.rate_before, 0)
                after = replace(after, rate=state.rate_before + share * raised)
            return _decide(state, after, "best" if is_best else "hold", save="best" if is_best else None)
        if not self._succeeded(after):
            return self._fail(after)
        # The rate stays where the excursion ends, unless it was held: then its success says that it is a good one.
        rate = state.rate_before if self.shape == "cosine" else state.rate
        after = replace(after, rate=rate, rate_before=None, failures=0, wait=0, cuts=0, recent=inside[-self.patience :])
        return _decide(state, after, "success", save="best" if is_best else None)

    def _top(self, state: State) -> float:
        return state.rate_at_best * self.height ** (1 + self.grows * state.failures)

    def _is_past_best(self, state: State) -> bool:
        """Whether the values are worse than the best by more than its luck, as the values right after it show."""
        return self.trust is None or self._is_worse_than_best(state, self.trust)

    def _is_worse_than_best(self, state: State, times: float) -> bool:
        steps = np.diff(state.after_best)
        noise = float(np.sqrt(np.mean(steps**2) / 2)) if len(steps) else 0.0
        return bool(np.mean(state.recent) - state.best > times * noise + MIN_DELTA)

    def _succeeded(self, state: State) -> bool:
        later, before = np.array(state.inside[len(state.inside) // 2 :]), np.array(state.level)
        errors = [values.var(ddof=1) / len(values) if len(values) > 1 else 0.0 for values in (later, before)]
        is_lower = later.mean() < before.mean() - self.noise * math.sqrt(sum(errors))
        is_best = state.best < state.best_before
        if self.asks_loss and np.mean(state.losses[len(state.losses) // 2 :]) > state.level_loss:
            return False
        return {"best": is_best, "level": bool(is_lower), "both": bool(is_lower) and is_best}[self.judge]

    def _fail(self, state: State) -> Step[State]:
        assert state.rate_before is not None
        after = replace(
            state,
            rate=state.rate_before,
            rate_before=None,
            failures=state.failures + 1,
            wait=0,
            cuts=0,
        )
        back = "raise" if self.back == "best" and not self._is_past_best(state) else self.back
        return _decide(state, after, "rollback", restore=back)


def _decide(
    before: State, after: State, kind: Kind, save: Snapshot | None = None, restore: Snapshot | None = None
) -> Step[State]:
    rates = (before.rate, after.rate)
    return Step(after, Decision(kind, "", after.observations, None, after.best, *rates, save=save, restore=restore))
