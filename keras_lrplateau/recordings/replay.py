"""What if: the decisions that a rule would have taken on a training that was recorded, without training again.

The rule is asked about each observation in turn, as the callback asks it, so the decisions are those of a training that
sees these very observations. What nobody can know is how the training would have gone on after the first decision that
it did not take itself: see `Replay.departs`.

One thing that the callback knows is only in the recordings that it makes itself: the training loss of the first batch.
In others a divergence is told by values that are not finite alone, and there is no restart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from keras_lrplateau.history.run import Curve, Observation, Record, Run
from keras_lrplateau.recordings.names import RATE
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.rule import auto
from keras_lrplateau.rule.decision import Decision, Rule, RuleState

SAME = 1e-5
"""Rates that differ by this share of them are the same: what is recorded is rounded to float32, or to six digits."""

SCHEDULED = 0.8
"""A recorded rate that changes after this share of the epochs, or more of them, follows a schedule, not a plateau."""

SHORTEST_SCHEDULE = 8
"""Over fewer epochs that may be anything."""

PROGRESS = 10_000
"""So many observations lie between two calls that tell of the progress."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The decisions on a recorded training.

    Attributes:
        config: That of the rule.
        run: The training as it would have been recorded: the curves of the recording, with the replayed learning rate
            in place of the recorded one, and the decisions. Its name is that of the recording.
        recorded: The training as it was.
        state: The rule's state at the end.
        departs: The first epoch, from 0, at whose end the replayed rule did something else than the training did; what
            was observed after it would have been different. None if it did all the same. Of a training that was
            recorded by steps, the step, likewise from 0.
        is_relative: Whether no rate was recorded or given: then rates begin at 1, and are multiples of the first one.
    """

    config: Rule[Any]
    run: Run
    recorded: Run
    state: RuleState
    departs: int | None
    is_relative: bool

    @property
    def decisions(self) -> list[Decision]:
        """Those that changed something, in order, with their epochs."""
        return list(self.run.decisions)

    @property
    def caveat(self) -> str:
        """What must be said wherever the decisions are shown."""
        if self.departs is None:
            return "The same decisions as in the training."
        return (
            f"After {self.run.unit} {self.departs + 1} the training would have gone another way: what is shown from "
            "there on was observed in the training as it was."
        )


def replay(
    recording: Recording,
    config: Rule[Any],
    monitor: str = "val_loss",
    *,
    rate: float | None = None,
    progress: Callable[[int], object] | None = None,
) -> Replay:
    """The decisions that a rule would have taken on a recorded training.

    Example:

    ```python
    from keras_lrplateau import Config
    from keras_lrplateau.recordings.reading import read
    from keras_lrplateau.recordings.replay import replay

    (recording,) = read("training.csv")
    for patience in (3, 5, 10):
        found = replay(recording, Config(patience=patience, factor=0.5))
        for decision in found.decisions:
            print(patience, decision.epoch + 1, decision.describe())
    ```

    Args:
        recording: What `read`, `from_history` or `from_frame` returned.
        config: `keras_lrplateau.Config`, or `keras_lrplateau.rule.auto.Config` for auto mode. Its `mode` is taken as it
            is. Where the `observations` of auto mode are None, they are as many as were recorded.
        monitor: The name of the metric to watch.
        rate: The rate to start from, > 0. None for the first one that was recorded; where there is none, 1. Where the
            recorded one followed a schedule, that is scaled, as the callback does it, and `min_lr` and `max_lr` have no
            part in it.
        progress: Called now and then with the number of observations so far.

    Returns:
        The decisions, with the curves. An epoch in which the metric was not recorded is no observation.

    Raises:
        CurveError: There is no such metric.
        TypeError, ValueError: `rate` is no rate, or not within the bounds of the configuration.
    """
    monitor = recording.resolve(monitor)
    recorded = _as_run(recording, monitor, config.mode)
    observed = recorded.curves[monitor]
    if isinstance(config, auto.Config) and config.observations is None:
        config = replace(config, observations=max(len(observed.values), 1))
    followed = recorded.curves.get(RATE, Curve())
    known = next(filter(math.isfinite, followed.values), None) if rate is None else rate
    is_scaled = rate is None and (recorded.is_scaled or _is_schedule(followed))
    if is_scaled:
        # As in a training: the rule's rate is a multiplier, and the bounds are for what comes of it.
        known = 1.0
        config = replace(config, min_lr=0.0, max_lr=None)
    # Only our own runs tell.
    before = (record.loss_before for record in recording.records if record.loss_before is not None)
    state = replace(config.start(1.0 if known is None else known), loss_before=next(before, None))

    losses = _training_loss(recording, recorded)
    sign = 1 if config.mode == "min" else -1
    lowest, best = math.inf, None
    rates = Curve(epochs=observed.epochs, times=observed.times)
    records: list[Record] = []
    last = len(observed.values) - 1
    quantity = "multiplier of the schedule" if is_scaled else "learning rate"
    moments = zip(observed.epochs, observed.values, observed.times, strict=True)
    for count, (epoch, value, time) in enumerate(moments):
        rates.values.append(state.rate)
        if sign * value < lowest and math.isfinite(value):
            lowest, best = sign * value, Observation(epoch, value)
        state, decision = config.step(state, value, losses.get(epoch))
        if decision.is_action or count in (0, last):
            decisions = [decision]
            if count == last:
                state, decision = config.finish(state)
                decisions.append(decision)
            dated = tuple(_dated(each, epoch, observed.epochs) for each in decisions if each.is_action)
            records.append(Record(epoch, dated, state.status, epoch + 1, monitor, config.mode, quantity, best, time))
        if progress is not None and count % PROGRESS == 0:
            progress(count)
    if is_scaled:
        rates = _product(rates, followed)
    others = {name: curve for name, curve in recorded.curves.items() if name not in recorded.rates}
    run = replace(recorded, curves={**others, RATE: rates}, records=records)
    return Replay(config, run, recorded, state, _departure(recording, recorded, run), known is None)


def _as_run(recording: Recording, monitor: str, mode: Literal["min", "max"]) -> Run:
    """A recorded training as it was, to be shown beside what could have been.

    Args:
        recording: The training.
        monitor: The metric that is looked at, by the name that it has there.
        mode: "min" if a smaller metric is better, "max" if a larger one is.

    Returns:
        The training. With our own decisions, if it is a run of ours; else a change of the rate is all that is known.
    """
    # Whatever shows a run counts from 1, and so do files that count steps.
    first = 0 if recording.unit == "epoch" else 1
    curves = {
        name: Curve([epoch - first for epoch in curve.epochs], curve.values, curve.times) if first else curve
        for name, curve in recording.curves.items()
    }
    records = list(recording.records)
    if not records:
        observed = curves[monitor]
        ends = zip(observed.epochs[-1:], observed.times[-1:], strict=True)
        # The best one the curve tells.
        records = [
            Record(epoch, (), "holding", epoch + 1, monitor, mode, "learning rate", None, time) for epoch, time in ends
        ]
    return Run(recording.name, curves, records, recording.unit, knows_steps=bool(recording.records))


def _training_loss(recording: Recording, run: Run) -> dict[int, float]:
    """By epoch, as far as it was recorded."""
    try:
        curve = run.curves[recording.resolve("loss")]
    except CurveError:  # There is none, or nobody can say which of them it is.
        return {}
    return dict(zip(curve.epochs, curve.values, strict=True))


def _dated(decision: Decision, epoch: int, epochs: Sequence[int]) -> Decision:
    since = None if decision.since is None else epochs[decision.since - 1]
    return replace(decision, epoch=epoch, since_epoch=since)


def _departure(recording: Recording, recorded: Run, run: Run) -> int | None:
    """The first epoch at whose end the two did not do the same; None if there is none."""
    if recording.records:
        mine, theirs = _done(run), _done(recorded)
    else:
        # What else a decision does than to change the rate, the training has not done.
        mine = [
            _Deed(deed.epoch, "", math.nan if "restore" in deed.what else deed.ratio)
            for deed in _done(run)
            if deed.ratio != 1 or "restore" in deed.what
        ]
        theirs = _changes(recorded.curves.get(RATE, Curve()))
    for one, other in itertools.zip_longest(mine, theirs):
        if one is None or other is None:
            return int((one or other).epoch)
        if one[:2] != other[:2] or not math.isclose(one.ratio, other.ratio, rel_tol=SAME):
            return min(one.epoch, other.epoch)
    return None


class _Deed(NamedTuple):
    """What was done at the end of an epoch: in words, and to the rate."""

    epoch: int
    what: str
    ratio: float


def _done(run: Run) -> list[_Deed]:
    return [
        _Deed(
            each.epoch or 0,
            each.kind if each.restore is None else f"{each.kind}, restore {each.restore}",
            each.rate / each.rate_before if each.rate_before else math.inf,
        )
        for each in run.decisions
    ]


def _changes(curve: Curve) -> list[_Deed]:
    """The epochs at whose end the recorded rate changed, and by what factor; none of a schedule's."""
    if _is_schedule(curve):
        return []
    return [
        _Deed(epoch, "", after / before if before else math.inf)
        for epoch, (before, after) in zip(curve.epochs, itertools.pairwise(curve.values), strict=False)
        if _differ(before, after)
    ]


def _is_schedule(curve: Curve) -> bool:
    pairs = len(curve.values) - 1
    changes = sum(itertools.starmap(_differ, itertools.pairwise(curve.values)))
    return pairs >= SHORTEST_SCHEDULE and changes >= SCHEDULED * pairs


def _differ(before: float, after: float) -> bool:
    # Equal ones, nearly all, without a further call.
    return before != after and not math.isclose(before, after, rel_tol=SAME)


def _product(multipliers: Curve, schedule: Curve) -> Curve:
    """The rate where both are known."""
    scheduled = dict(zip(schedule.epochs, schedule.values, strict=True))
    product = Curve()
    for epoch, multiplier, time in zip(multipliers.epochs, multipliers.values, multipliers.times, strict=True):
        if epoch in scheduled:
            product.append(epoch, multiplier * scheduled[epoch], time)
    return product
