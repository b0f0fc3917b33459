"""A training in words: a summary, and a row for each decision. For the tab, the report and the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from keras_lrplateau.history.axes import Axis, Timeline
from keras_lrplateau.history.run import Curve, Run, excursions, told
from keras_lrplateau.rule.decision import Decision, Kind
from keras_lrplateau.views.figure import MARKS
from keras_lrplateau.views.words import number

AROUND = 5
"""To zoom to a decision shows this many epochs before its plateau, and at least as many after it.

Or observations, where there are several in an epoch.
"""


def summary(run: Run) -> dict[str, Any]:
    """Where a training stands, as strict JSON can hold it.

    Returns:
        "monitor": the name of the monitored metric. "mode": "min" if a smaller one is better, "max" if a
        larger one is. "status": "finished", or what the rule is doing, see `keras_lrplateau.rule.decision.Status`.
        "unit": what the numbers of epochs count, "epoch" or "step". "epochs" and "steps": how many epochs are over, and
        how many optimizer steps; each is None where it was not recorded. "best" and "best_at": the best observation and
        the number of its epoch, from 1; None before there is one. "last": the last observation, or None.
        "is_best_undone" and "is_undone": whether the weights of the best and of the last observation were given up for
        earlier ones. "rate" and
        "first_rate": the learning rate in force, and that of the first epoch; None if there are several, or none is
        known. "quantity": what the rates of the decisions are. "time": the last wall time, in seconds since 1970; None
        if none was recorded. Values of metric and rate are texts.
    """
    curve = run.curves.get(run.monitor, Curve())
    best, rate = run.best, run.rate
    timeline = Timeline(run)
    return {
        "monitor": run.monitor,
        "mode": run.mode,
        "status": "finished" if run.is_over else run.status,
        "unit": run.unit,
        "epochs": int(timeline.over) if run.unit == "epoch" else None,
        "steps": timeline.steps,
        "best": None if best is None else number(best.value),
        "best_at": None if best is None else best.epoch + 1,
        "is_best_undone": _is_best_undone(run),
        "last": number(curve.values[-1]) if curve.values else None,
        "is_undone": _is_undone(run, timeline),
        "quantity": run.quantity,
        "rate": None if rate is None else number(rate),
        "first_rate": _first_rate(run),
        "time": run.last_time,
    }


def _first_rate(run: Run) -> str | None:
    """The one learning rate of the first epoch, if that epoch is known."""
    firsts = [curve.values[0] for curve in run.rates.values() if curve.epochs[:1] == [0]]
    return number(firsts[0]) if len(firsts) == len(run.rates) == 1 else None


def _is_undone(run: Run, timeline: Timeline) -> bool:
    """Whether the training went back to earlier weights after its last observation."""
    epochs = run.curves.get(run.monitor, Curve()).epochs
    last = epochs[-1] if epochs else run.last_epoch
    returns = [each for each in run.records[-1].decisions if each.restore is not None]
    return any(timeline.moment(each) >= last + 1 for each in returns)


def _is_best_undone(run: Run) -> bool:
    """Whether the best observation was one of an excursion that failed, and its weights were not kept."""
    best = run.best
    return best is not None and any(
        each.closed is not None
        and each.closed.restore is not None
        and each.outcome == "failed"
        and each.opened.epoch < best.epoch <= each.closed.epoch
        and each.closed.best != best.value
        for each in excursions(run)
    )


def counts(run: Run) -> dict[Kind, int]:
    """How many decisions there were of each kind, in the order of `figure.MARKS`; without those that there were not."""
    found = Counter(decision.kind for decision in told(run.decisions))
    return {kind: found[kind] for kind in MARKS if found[kind]}


def rows(run: Run, axis: Axis = "epoch", most: int | None = None) -> list[dict[str, Any]]:
    """A row for each decision, as strict JSON can hold it; all annealing in a row is one.

    Args:
        run: The training.
        axis: The axis of the figure beside the table.
        most: How many rows to make, of the latest decisions; None for all.

    Returns:
        "kind". "epoch": the number of the epoch, from 1, in or after which it was decided. "rate_before", "rate",
        "value" and "best": texts, empty where there is nothing to tell. "reason". "range": the stretch of the figure's
        axis to zoom to, in the axis' unit, which for "time" is milliseconds since 1970.
    """
    decisions = told(run.decisions)
    decisions = decisions if most is None else decisions[-most:]
    return [
        {
            "kind": decision.kind,
            "epoch": decision.epoch + 1,
            "rate_before": number(decision.rate_before),
            "rate": number(decision.rate),
            "value": number(decision.value),
            "best": number(decision.best),
            "reason": decision.reason,
            "range": stretch,
        }
        for decision, stretch in zip(decisions, _stretches(run, axis, decisions), strict=True)
    ]


def _stretches(run: Run, axis: Axis, decisions: Sequence[Decision]) -> Iterator[list[float]]:
    """What to show of an axis to zoom to each decision."""
    timeline = Timeline(run)
    ends: list[float] = []
    for decision in decisions:
        over = timeline.moment(decision)
        since: float = decision.epoch if decision.since_epoch is None else decision.since_epoch
        # Epochs for an observation. Within epochs there are several in one, and a plateau is a part of that.
        pace = min(over / max(decision.observation, 1), 1)
        if pace < 1:
            plateau = 1 if decision.since is None else decision.observation + 1 - decision.since
            since = max(since, over - pace * plateau)
        around = AROUND * pace
        ends += [max(since - around, 0), over + max(around, over - since)]
    unit = 1000 if axis == "time" else 1
    positions = [unit * position for position in timeline.positions(axis, ends)]
    for low, high in zip(positions[::2], positions[1::2], strict=True):
        # After a single epoch nobody knows how long one takes.
        yield [low, high] if low < high else [low - unit, high + unit]
