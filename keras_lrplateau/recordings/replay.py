"""What if: the decisions that a rule would have taken on a recorded training, without training again.

A replay asks the rule about each observation in turn, as the callback does, so its decisions are those of a training
that sees these very observations. Nobody can know how the training would have gone on after the first decision that
it did not take itself: see `Replay.departs`.

The tab, the command and Python all replay here. A run of ours knows more than other recordings: the exact rate that
it began with, the multiplier of its schedule, its optimizer steps and the training loss of the first batch. Without
that loss, only values that are not finite show that training diverged, and there is no restart.
"""

from __future__ import annotations

import bisect
import itertools
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.run import Curve, Observation, RatesUsed, Record, Run
from keras_lrplateau.recordings.names import RATE, direction, is_held_out, meaning
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.rule.decision import Decision, Evidence, Rule, RuleState, multiplier_bounds
from keras_lrplateau.rule.search import MOST_TRIALS
from keras_lrplateau.rule.stored import RULES
from keras_lrplateau.rule.words import shortest

SAME = 1e-5
"""Rates that differ by less than this share are the same: files round to float32, or to six digits."""

SCHEDULED = 0.8
"""A recorded rate that changes after this share of the epochs, or more of them, follows a schedule, not a plateau."""

STEEPEST = 0.2
"""A rate that falls to less than this share in an epoch was cut."""

SHORTEST_SCHEDULE = 8
"""Over fewer epochs, a rate that always changes may be anything."""

PROGRESS = 10_000
"""Observations between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The decisions on a recorded training.

    Attributes:
        config: The rule that was asked.
        run: The training as it would have been recorded: the curves of the recording, with the replayed learning rates
            in place of the recorded ones, and the decisions. It has the name of the recording.
        recorded: The training as it was.
        state: The rule's state at the end.
        departs: The first epoch, from 0, at whose end the replayed rule did something else than the training did; what
            was observed after it would have been different. None if it did all the same. If the training was recorded
            by steps, it is a step, likewise from 0.
        is_relative: Whether no rate was recorded or given. Then rates begin at 1, and are multiples of the first one.
    """

    config: Rule[Any]
    run: Run
    recorded: Run
    state: RuleState
    departs: int | None
    is_relative: bool

    @property
    def decisions(self) -> list[Decision]:
        """The decisions that changed something, in order, with their epochs."""
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
        config: `keras_lrplateau.Config`, or `keras_lrplateau.auto.Config` for auto mode. Its `mode` is taken as it is.
            If its `observations` are None, they are as many as were recorded.
        monitor: The name of the metric to watch.
        rate: The rate to start from, > 0. None for the first one that was recorded, the largest of several; if none
            was, 1. If the recorded rate followed a schedule, the rule decides its multiplier, as in a training.
        progress: Called now and then with the number of observations so far.

    Returns:
        The decisions, with the curves. An epoch in which the metric was not recorded is no observation.

    Raises:
        CurveError: There is no such metric.
        TypeError, ValueError: `rate` is no rate, or not within the bounds of the configuration; another argument is of
            another type.

    Warns:
        UserWarning: The mode of the configuration contradicts the name of the metric.
    """
    _check_types(recording, config, monitor)
    monitor = recording.resolve(monitor)
    _warn_of_mode(recording, monitor, config.mode)
    recorded = _as_run(recording, monitor, config.mode)
    observed = recorded.curves[monitor]
    if recording.records and observed.epochs and observed.epochs[0] < 0:
        raise CurveError(
            f"{recording.name}: {monitor!r} has a value in epoch {observed.epochs[0]}, and epochs count from 0; "
            "AdaptLROnPlateau has not written this run"
        )
    if config.observations is None:
        config = config.for_length(max(len(observed.values), 1))
    rates = _Rates(recorded, rate)
    first = 1.0 if rates.first is None else rates.first
    state = replace(rates.starting(config).start(first), loss_before=_loss_before(recording.records))

    losses = _losses(recording, recorded, "loss")
    # As in a training of ours: the loss of a single step is that of the first weights, whatever rate is searched.
    is_blind = bool(recording.records) and recording.records[0].steps <= recording.records[0].epoch + 1
    is_validated = is_held_out(monitor)
    validated = _losses(recording, recorded, "val_loss")
    # Where the metric is that loss itself, only a search asks for it, and a rule that knows the loss before training.
    is_that_loss = meaning(monitor) == meaning("val_loss")
    asks = MOST_TRIALS if is_that_loss and state.loss_before is None else len(observed.values)
    sign = 1 if config.mode == "min" else -1
    lowest, best = math.inf, None
    replayed = Curve(epochs=observed.epochs, times=observed.times)
    records: list[Record] = []
    last = len(observed.values) - 1
    rules = rates.rules(config, observed.epochs)
    moments = zip(observed.epochs, observed.values, observed.times, rules, strict=True)
    for count, (epoch, value, time, rule) in enumerate(moments):
        replayed.values.append(state.rate)
        if sign * value < lowest and math.isfinite(value):
            lowest, best = sign * value, Observation(epoch, value)
        is_searching_blindly = is_blind and state.status == "searching"
        if is_searching_blindly and not is_validated:
            rule = rule.without_search()
        loss = (validated if is_searching_blindly else losses).get(epoch)
        val_loss = validated.get(epoch) if is_validated and count < asks else None
        # As in a training: what has a finite loss in the validation is finite, and only the metric is undefined.
        is_odd = not math.isfinite(value) or (loss is not None and not math.isfinite(loss))
        is_finite = True if is_odd and math.isfinite(validated.get(epoch, math.nan)) else None
        evidence = Evidence(is_finite=is_finite, val_loss=val_loss) if is_finite or val_loss is not None else None
        state, decision = rule.step(state, value, loss, evidence)
        if decision.is_action or count in (0, last):
            decisions = [decision]
            if count == last:
                state, decision = rule.finish(state)
                decisions.append(decision)
            dated = tuple(_dated(each, epoch, observed.epochs) for each in decisions if each.is_action)
            quantity = rates.quantity
            steps = recording.steps.get(epoch, epoch + 1)
            records.append(Record(epoch, dated, state.status, steps, monitor, config.mode, quantity, best, time))
        if progress is not None and count % PROGRESS == 0:
            progress(count)
    if recording.records:
        ends = Timeline(recorded).positions("step", [record.epoch + 1 for record in records])
        records = [replace(record, steps=round(steps)) for record, steps in zip(records, ends, strict=True)]
    others = {name: curve for name, curve in recorded.curves.items() if name not in recorded.rates}
    run = replace(recorded, records=records)
    departs = _departure(recording, rates, run)
    run.curves = {**others, **rates.replayed(config, replayed, state.rate, departs if rate is None else -1)}
    return Replay(config, run, recorded, state, departs, rates.first is None)


def _check_types(recording: Any, config: Any, monitor: Any) -> None:
    if not isinstance(recording, Recording):
        raise TypeError(
            "recording must be a Recording, such as each of those that read returns. Received: "
            f"a {type(recording).__name__}"
        )
    if not isinstance(config, tuple(RULES.values())):
        raise TypeError(f"config must be a Config or an auto.Config, such as Config(). Received: {config!r}")
    if not isinstance(monitor, str):
        raise TypeError(f"monitor must be the name of a metric. Received: {monitor!r}")


def _warn_of_mode(recording: Recording, monitor: str, mode: str) -> None:
    """Warn of a mode that contradicts the name of the metric; a run of ours knows the mode better."""
    known = direction(monitor)
    own = any((record.monitor, record.mode) == (monitor, mode) for record in recording.records)
    if known not in (None, mode) and not own:
        better = "smaller" if known == "min" else "larger"
        warnings.warn(
            f"{recording.name}: mode={mode!r} contradicts the metric {monitor!r}: a {better} value of it is better; "
            f"pass mode={known!r}",
            stacklevel=3,
        )


def _loss_before(records: Sequence[Record]) -> float | None:
    """The training loss before training, which only our own runs know.

    A run that never went back may have found a better one, by a look at its weights. By the one that it began with, it
    would have gone back.
    """
    known = [record.loss_before for record in records]
    if any(decision.kind in ("diverged", "restart") for record in records for decision in record.decisions):
        return next((each for each in known if each is not None), None)
    return known[-1] if known else None


def _as_run(recording: Recording, monitor: str, mode: Literal["min", "max"]) -> Run:
    """A recorded training as it was, to be shown beside what could have been.

    Args:
        recording: The training.
        monitor: The metric that is looked at, by the name that it has there.
        mode: "min" if a smaller metric is better, "max" if a larger one is.

    Returns:
        The training, with its decisions if it is a run of ours. Of others, only changes of the rate are known.
    """
    # Whatever shows a run counts from 1, and so do files that count steps.
    first = 0 if recording.unit == "epoch" else 1
    curves = {
        name: Curve([epoch - first for epoch in curve.epochs], curve.values, curve.times) if first else curve
        for name, curve in recording.curves.items()
    }
    records, steps = list(recording.records), recording.steps
    if not records:
        observed = curves[monitor]
        ends = zip(observed.epochs[-1:], observed.times[-1:], strict=True)
        # The curve says which value was the best.
        records = [
            Record(epoch, (), "holding", steps.get(epoch, epoch + 1), monitor, mode, "learning rate", None, time)
            for epoch, time in ends
        ]
    return Run(recording.name, curves, records, recording.unit, knows_steps=bool(recording.records or steps))


# --- the rates of a recorded training --------------------------------------------------------------------------------


class _Rates:
    """The learning rates of a recorded training, in the number that the rule decides about.

    That number is the rate itself. Of several optimizers it is the largest rate, and the others keep their share of it.
    Under a schedule it is a multiplier of the schedule, and `min_lr` and `max_lr` bound what comes of it.

    Attributes:
        first: The number before the first decision; None if nothing says it.
        is_scaled: Whether it is a multiplier.
        quantity: What the number is, in words.
        recorded: The training as it was.
        leading: The curve of the rate, or of the largest one; an empty one if no rate was recorded.
    """

    def __init__(self, recorded: Run, given: float | None) -> None:
        self.recorded = recorded
        curves = [curve for curve in recorded.rates.values() if any(map(math.isfinite, curve.values))]
        self.leading = max(curves, key=_first, default=Curve())
        is_foreign_schedule = not recorded.is_scaled and is_schedule(self.leading)
        self.is_scaled = given is None and (recorded.is_scaled or is_foreign_schedule)
        decision = next(recorded.decisions, None)
        if given is not None:
            self.first: float | None = given
        elif decision is not None:
            # Curves hold rounded values, and perhaps not the first one.
            self.first = decision.rate_before
        elif self.is_scaled:
            self.first = 1.0
        else:
            self.first = unrounded(_first(self.leading)) if curves else None
        if not self.is_scaled:
            self.quantity = "learning rate"
        else:
            self.quantity = recorded.quantity if recorded.is_scaled else "multiplier of the schedule"

    def starting(self, config: Rule[Any]) -> Rule[Any]:
        """The rule before the first observation. Bounds limit what is decided about a schedule, not the schedule."""
        return replace(config, min_lr=0.0, max_lr=None) if self.is_scaled else config

    def rules(self, config: Rule[Any], epochs: Sequence[int]) -> Iterator[Rule[Any]]:
        """The rule at the end of each of these epochs, with its bounds in the number that it decides about."""
        if not self.is_scaled or (config.min_lr == 0 and config.max_lr is None):
            yield from itertools.repeat(config, len(epochs))
            return
        unscaled = self._unscaled(config, epochs)
        bounded: dict[float, Rule[Any]] = {}
        for rate in unscaled:
            if rate not in bounded:
                bounded = {rate: _bounded(config, rate)}
            yield bounded[rate]

    def _unscaled(self, config: Rule[Any], epochs: Sequence[int]) -> Iterator[float]:
        """The schedule's rate at the end of each of these epochs; between known ones it changes by equal factors."""
        bounds = [bound for bound in (config.min_lr, config.max_lr) if bound]
        highest = config.max_lr or math.inf
        known: dict[int, float] = {}
        for curve in self.recorded.rates.values():
            for epoch, value, used in zip(curve.epochs, curve.values, self._used(curve.epochs), strict=True):
                # A rate that was held at a bound says nothing of the schedule. Beyond one, the schedule holds it there.
                if used and math.isfinite(value) and all(_differ(value, bound) for bound in bounds):
                    is_beyond = (value < config.min_lr and used < 1) or (value > highest and used > 1)
                    known[epoch] = max(value if is_beyond else value / used, known.get(epoch, 0.0))
        points = sorted(known.items()) or [(0, 0.0)]
        for epoch in epochs:
            right = bisect.bisect_left(points, (epoch, -math.inf))
            (x0, y0), (x1, y1) = points[max(right - 1, 0)], points[min(right, len(points) - 1)]
            if epoch >= x1 or x0 == x1 or y0 <= 0 or y1 <= 0:
                yield y1 if epoch >= x1 else y0
            else:
                yield math.exp(math.log(y0) + (epoch - x0) / (x1 - x0) * math.log(y1 / y0))

    def _used(self, epochs: Sequence[int]) -> Iterator[float]:
        """The number in force in each of these epochs of the training as it was."""
        if any(self.recorded.decisions):
            return map(RatesUsed(self.recorded).at, epochs)
        return itertools.repeat(1.0, len(epochs)) if self.is_scaled else _last_known(self.leading, epochs)

    def replayed(self, config: Rule[Any], numbers: Curve, final: float, departs: int | None) -> dict[str, Curve]:
        """The learning rates that the decided numbers lead to, by name.

        Args:
            config: The rule; its bounds are those of the learning rates.
            numbers: What the rule had decided when each observation was made.
            final: What it had decided in the end.
            departs: The last epoch whose rates are those of the training; None if all are.
        """
        if not self.is_scaled and len(self.recorded.rates) < 2:
            return {RATE: numbers}
        # Of ours, each rate keeps its share, from which only the bounds hold it off. Those of others may vary.
        keeps_share = not self.is_scaled and any(self.recorded.decisions)
        found = {}
        for name, curve in self.recorded.rates.items():
            made = found[name] = Curve()
            start, share = _first(curve), None
            used = self._used(curve.epochs)
            decided = _in_force(numbers, final, curve.epochs)
            for epoch, value, time, before, now in zip(
                curve.epochs, curve.values, curve.times, used, decided, strict=True
            ):
                if before and (share is None or not keeps_share):
                    share = value / before
                if departs is not None and epoch > departs and share is not None and _differ(before, now):
                    base = share if self.is_scaled else start
                    low, high = min(config.min_lr, base), max(config.max_lr or math.inf, base)
                    value = min(max(share * now, low), high)
                made.append(epoch, value, time)
        return found


def _bounded(config: Rule[Any], unscaled: float) -> Rule[Any]:
    """The rule with bounds for the multiplier of a schedule whose rate is `unscaled`."""
    min_lr, max_lr = multiplier_bounds(config.min_lr, config.max_lr, unscaled)
    return replace(config, min_lr=min_lr, max_lr=max_lr)


def _last_known(curve: Curve, epochs: Sequence[int]) -> Iterator[float]:
    """The value of a curve at each of these epochs, or before it."""
    at = 0
    for epoch in epochs:
        while at + 1 < len(curve.epochs) and curve.epochs[at + 1] <= epoch:
            at += 1
        yield curve.values[at]


def _in_force(numbers: Curve, final: float, epochs: Sequence[int]) -> Iterator[float]:
    """The decided number in each of these epochs; a decision takes effect in the next epoch."""
    at = 0
    for epoch in epochs:
        while at < len(numbers.epochs) and numbers.epochs[at] < epoch:
            at += 1
        yield numbers.values[at] if at < len(numbers.epochs) else final


def _first(curve: Curve) -> float:
    return next(filter(math.isfinite, curve.values), 0.0)


def unrounded(rate: float) -> float:
    """The number of fewest digits that float32 rounds to this one; the number itself if it is no float32.

    A rate of 0.1 is recorded as 0.10000000149011612, and must not be above a `max_lr` of 0.1.
    """
    packed = struct.pack("f", rate)
    if struct.unpack("f", packed)[0] != rate:
        return rate
    return shortest(rate, lambda each: struct.pack("f", each) == packed)


# --- where the two part ----------------------------------------------------------------------------------------------


def _losses(recording: Recording, run: Run, name: str) -> dict[int, float]:
    """A loss by epoch, as far as it was recorded."""
    try:
        curve = run.curves[recording.resolve(name)]
    except CurveError:  # There is none, or several may be meant.
        return {}
    return dict(zip(curve.epochs, curve.values, strict=True))


def _dated(decision: Decision, epoch: int, epochs: Sequence[int]) -> Decision:
    since = None if decision.since is None else epochs[decision.since - 1]
    return replace(decision, epoch=epoch, since_epoch=since)


def _departure(recording: Recording, rates: _Rates, run: Run) -> int | None:
    """The first epoch at whose end the two did not do the same; None if there is none."""
    if recording.records:
        mine, theirs = _done(run), _done(rates.recorded)
    else:
        # The training has done nothing but to change the rate.
        mine = [
            _Deed(deed.epoch, "", math.nan if "restore" in deed.what else deed.ratio)
            for deed in _done(run)
            if deed.ratio != 1 or "restore" in deed.what
        ]
        theirs = _changes(rates.leading)
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
            each.epoch,
            each.kind if each.restore is None else f"{each.kind}, restore {each.restore}",
            each.rate / each.rate_before if each.rate_before else math.inf,
        )
        for each in run.decisions
    ]


def _changes(curve: Curve) -> list[_Deed]:
    """The epochs at whose end the recorded rate changed, and by what factor; changes of a schedule do not count."""
    if is_schedule(curve):
        return []
    pairs = ((curve.epochs[at], curve.values[at], curve.values[at + 1]) for at in _changed(curve))
    return [_Deed(epoch, "", after / before if before else math.inf) for epoch, before, after in pairs]


def is_schedule(curve: Curve) -> bool:
    """Whether a recorded rate followed a schedule."""
    pairs = len(curve.values) - 1
    if pairs < SHORTEST_SCHEDULE or len(_changed(curve)) < SCHEDULED * pairs:
        return False
    # The rate also changes in each epoch of an excursion. No schedule falls so far in one epoch, but at its very end.
    return not any(0 < after < STEEPEST * before for before, after in itertools.pairwise(curve.values[:-1]))


def _changed(curve: Curve) -> list[int]:
    """The places of the values that another one follows."""
    pairs = enumerate(itertools.pairwise(curve.values))
    # Nearly all are equal, and need no further call.
    return [at for at, (before, after) in pairs if before != after and _differ(before, after)]


def _differ(before: float, after: float) -> bool:
    return not math.isclose(before, after, rel_tol=SAME)
