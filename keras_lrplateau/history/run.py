"""What is known of one training: its curves, what was decided in it, and where it stands.

The callback keeps one of the training that it is in; `tensorboard.reader` makes them from event files. Whatever shows a
training (the figure, the tab, the report) starts from here. Nothing here knows Keras, TensorBoard or plotly.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from keras_lrplateau.rule.decision import Decision, Status

RUN_NAME = "lr_plateau"
"""Of the first run below a log dir; the next ones are lr_plateau_2, lr_plateau_3, and so on."""

Axis = Literal["epoch", "step", "time"]
"""What a picture of a training may have to the right."""


class Observation(NamedTuple):
    """A value of the monitored metric, and the epoch, from 0, at whose end it was observed."""

    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Record:
    """What was decided in one epoch, and how things stood at its end; while the epoch runs, at its last decision.

    There is one for the first epoch of a training, for each epoch with a decision or another status than before, for
    the last one, and at times for one with a new best. Each says all anew that concerns the whole training, so that
    none is needed to read another.

    Attributes:
        epoch: The epoch, from 0, in which or at the end of which it was decided.
        decisions: In the order in which they were made.
        status: What the rule is about from now on.
        steps: Optimizer steps taken so far; those that were rolled back count, too.
        monitor: The name of the monitored metric.
        mode: "min" if a smaller metric is better, "max" if a larger one is; None while that is not known.
        quantity: What the rates of the decisions are, in words; see `RateControl.quantity`.
        best: The best finite observation so far; None before the first.
        time: Wall time in seconds since 1970.
        loss_before: The training loss before the first update; None when it is not known.
    """

    epoch: int
    decisions: tuple[Decision, ...]
    status: Status
    steps: int
    monitor: str
    mode: Literal["min", "max"] | None
    quantity: str
    best: Observation | None
    time: float
    loss_before: float | None = None


@dataclass(slots=True)
class Curve:
    """One number over the epochs; three lists of the same length, in the order of the epochs.

    Attributes:
        epochs: From 0; those without the number are left out.
        values: At the end of the epoch; for a learning rate, the one used in it until then. May be NaN or infinite.
        times: Wall time in seconds since 1970.
    """

    epochs: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def append(self, epoch: int, value: float, time: float) -> None:
        """Add an epoch after all others."""
        self.epochs.append(epoch)
        self.values.append(value)
        self.times.append(time)

    def at(self, rows: Sequence[int]) -> Curve:
        """The part of the curve at these places."""
        return Curve(
            [self.epochs[row] for row in rows], [self.values[row] for row in rows], [self.times[row] for row in rows]
        )


@dataclass(slots=True)
class Run:
    """One training.

    Attributes:
        name: As TensorBoard names it, such as "run1/lr_plateau".
        curves: By the name of the number, such as "loss", "val_loss", "learning_rate". TensorBoard keeps 1000 values of
            each, so a curve read from there may have gaps.
        records: In the order of their epochs, one for each; at least one.
        unit: What is meant by an epoch here; a foreign training may have been recorded by its steps.
    """

    name: str
    curves: dict[str, Curve]
    records: list[Record]
    unit: Literal["epoch", "step"] = "epoch"

    @property
    def label(self) -> str:
        """The name, without the part that nearly all runs of ours have in common."""
        return self.name.removesuffix(f"/{RUN_NAME}")

    @property
    def decisions(self) -> Iterator[Decision]:
        """All of them, in order."""
        return (decision for record in self.records for decision in record.decisions)

    @property
    def monitor(self) -> str:
        """The name of the monitored metric."""
        return self.records[-1].monitor

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which way the metric should go; "min" while that is not known."""
        return next((record.mode for record in reversed(self.records) if record.mode is not None), "min")

    @property
    def quantity(self) -> str:
        """What the rates of the decisions are, in words."""
        return self.records[-1].quantity

    @property
    def status(self) -> Status:
        """What the rule is about."""
        return self.records[-1].status

    @property
    def last_epoch(self) -> int:
        """The last epoch that is known of, from 0."""
        return max([self.records[-1].epoch, *(curve.epochs[-1] for curve in self.curves.values() if curve.epochs)])

    @property
    def over(self) -> float:
        """How many epochs are over, as far as is known; where one is running, with a fraction."""
        last = len(self.records) - 1
        return self._over_at(last) if self.records[last].epoch == self.last_epoch else self.last_epoch + 1

    @property
    def last_time(self) -> float:
        """When something was last heard of it, in seconds since 1970."""
        return max([self.records[-1].time, *(curve.times[-1] for curve in self.curves.values() if curve.times)])

    @property
    def rates(self) -> dict[str, Curve]:
        """The curves of learning rates: "learning_rate", or one for each optimizer, "learning_rate_<name>"."""
        return {name: curve for name, curve in self.curves.items() if name.startswith("learning_rate")}

    @property
    def rate(self) -> float | None:
        """The learning rate in force, or the last one known of; None if there are several optimizers or none."""
        known = [curve.values[-1] for curve in self.rates.values() if curve.values]
        last = self.records[-1]
        if len(known) != 1:
            return None
        if last.epoch < self.last_epoch or not last.decisions:
            return known[0]
        if not self.is_scaled:
            return last.decisions[-1].rate
        # The schedule's, for what the multiplier is now.
        used = self.rate_used(next(curve.epochs[-1] for curve in self.rates.values() if curve.values))
        return known[0] * last.decisions[-1].rate / used if used else known[0]

    @property
    def is_scaled(self) -> bool:
        """Whether the rates of the decisions are multipliers, not learning rates."""
        return self.quantity != "learning rate"

    @property
    def best(self) -> Observation | None:
        """The best finite observation; None if there was none.

        By the records, since the curve may have gaps, and by the curve, since it may go on after the last record. The
        records from before a crash count, too: who resumes does not know of them.
        """
        curve = self.curves.get(self.monitor, Curve())
        known = [record.best for record in self.records if record.best is not None]
        return best_of([*known, *map(Observation, curve.epochs, curve.values)], self.mode)

    def forget(self, epoch: int) -> None:
        """Take back all that is known of this epoch and later ones: training begins again with it."""
        for curve in self.curves.values():
            at = bisect.bisect_left(curve.epochs, epoch)
            del curve.epochs[at:], curve.values[at:], curve.times[at:]
        self.records = [record for record in self.records if record.epoch < epoch]

    def moment(self, decision: Decision) -> float:
        """How many epochs were over at a decision, which has an epoch; with a fraction if it was made within one.

        The fraction is by optimizer steps. How long an epoch is that is still running, the ones before it tell; of the
        first, half is taken to be over.
        """
        assert decision.epoch is not None
        at = bisect.bisect_left(self.records, decision.epoch, key=lambda record: record.epoch)
        if decision.step is None or at == len(self.records) or self.records[at].epoch != decision.epoch:
            return decision.epoch + 1
        record, over = self.records[at], self._over_at(at)
        if decision.step >= record.steps:
            return over
        # The line of `positions`. Steps counted from 0 again are taken to begin with this epoch.
        x, y = self._before(at)
        if y >= record.steps:
            x, y = record.epoch, 0
        found = over - (record.steps - decision.step) * (over - x) / (record.steps - y)
        return min(max(found, decision.epoch), over)

    def rate_used(self, epoch: int) -> float:
        """The rule's rate from which the curves' learning rate at an epoch comes; there must be a decision."""
        eventful = [record for record in self.records if record.decisions]
        at = bisect.bisect_right(eventful, epoch, key=lambda record: record.epoch)
        if at == 0:
            return eventful[0].decisions[0].rate_before
        record = eventful[at - 1]
        return rate_used(record) if record.epoch == epoch else record.decisions[-1].rate

    def positions(self, axis: Axis, epochs: Iterable[float]) -> list[float]:
        """Where on an axis a training was when so many epochs were over.

        Args:
            axis: "epoch"; "step": optimizer steps taken, exact at the epochs of records and in a straight line between;
                or "time": wall time in seconds since 1970, likewise by records and curves.
            epochs: Numbers of epochs, each >= 0: 1 is the end of the first epoch.

        Returns:
            A number for each of them.
        """
        if axis == "epoch":
            return list(epochs)
        if axis == "step":
            known, lost = [(0.0, 0.0)], 0.0
            for at, record in enumerate(self.records):
                over = self._over_at(at)
                x, y = known[-1]
                if record.steps + lost < y:
                    # A training that was resumed begins with the optimizer's count, which knows nothing of what was
                    # rolled back, or with 0. So on from here, at the pace so far.
                    lost = y + (over - x) * y / x - record.steps
                known.append((over, record.steps + lost))
        else:
            times = {self._over_at(at): record.time for at, record in enumerate(self.records)}
            longest = max(self.curves.values(), key=lambda curve: len(curve.epochs), default=Curve())
            times |= {epoch + 1.0: time for epoch, time in zip(longest.epochs, longest.times, strict=True)}
            known = sorted(times.items())
        return [_interpolate(known, epoch) for epoch in epochs]

    def _over_at(self, at: int) -> float:
        """How many epochs were over at a record, by its index."""
        record = self.records[at]
        is_last = at == len(self.records) - 1
        # An epoch that is over has its numbers; a decision at its end comes after them.
        if not is_last or all(each.step is None for each in record.decisions) or self._has_numbers_of(record.epoch):
            return record.epoch + 1
        if at == 0:
            return record.epoch + 0.5
        (x0, y0), (x1, y1) = self._before(at - 1), self._before(at)
        length = (y1 - y0) / (x1 - x0)
        begun = y1 + length * (record.epoch - x1)
        # However long the ones before it were: it has begun, and is not over.
        return record.epoch + (min(max((record.steps - begun) / length, 0.01), 0.99) if length > 0 else 0.5)

    def _before(self, at: int) -> tuple[int, int]:
        """How many epochs were over at the record before, and how many steps were taken."""
        return (self.records[at - 1].epoch + 1, self.records[at - 1].steps) if at else (0, 0)

    def _has_numbers_of(self, epoch: int) -> bool:
        """Whether the curves reach an epoch; they may have gaps, but not at their end."""
        return any(curve.epochs and curve.epochs[-1] >= epoch for curve in self.curves.values())


def rate_used(record: Record) -> float:
    """The rule's rate at the end of an epoch, before what was decided there; by its record, which has a decision."""
    found = [
        decision.rate
        for decision in record.decisions
        if decision.kind == "override" or (decision.step is not None and decision.step < record.steps)
    ]
    return found[-1] if found else record.decisions[0].rate_before


def told(decisions: Iterable[Decision]) -> list[Decision]:
    """The decisions as people want to be told them: annealing, which is a decision at each epoch, only once.

    Returns:
        In order, with all annealing in a row in place of the first of it, from its first rate to its last.
    """
    rows: list[Decision] = []
    for decision in decisions:
        if decision.kind == "anneal" and rows and rows[-1].kind == "anneal":
            rows[-1] = replace(rows[-1], rate=decision.rate)
        else:
            rows.append(decision)
    return rows


class Excursion(NamedTuple):
    """A raise, and the decision that ended it; None while it is open."""

    opened: Decision
    closed: Decision | None

    @property
    def outcome(self) -> Literal["open", "successful", "failed", "abandoned"]:
        """What has come of it; "abandoned" if somebody else set the rate, and auto mode went on from there."""
        if self.closed is None:
            return "open"
        if self.closed.kind == "override":
            return "abandoned"
        return "successful" if self.closed.kind == "success" else "failed"


def excursions(run: Run) -> list[Excursion]:
    """All of a training, in order. In auto mode a success may open the next one."""
    found: list[Excursion] = []
    opened: Decision | None = None
    for record in run.records:
        for decision in record.decisions:
            ends = decision.kind in ("success", "rollback", "diverged")
            # In default mode an excursion outlives it.
            ends = ends or (decision.kind == "override" and record.status != "in excursion")
            if opened is not None and ends:
                found.append(Excursion(opened, decision))
                opened = None
            if decision.kind == "raise" or (decision.kind == "success" and decision.rate > decision.rate_before):
                opened = decision
    return found if opened is None else [*found, Excursion(opened, None)]


def best_of(observations: Iterable[Observation], mode: Literal["min", "max"]) -> Observation | None:
    """The best of the finite observations, the first of equals; None if there is none."""
    finite = (each for each in observations if math.isfinite(each.value))
    return (min if mode == "min" else max)(finite, key=lambda each: each.value, default=None)


def _interpolate(known: list[tuple[float, float]], x: float) -> float:
    """Between neighbours, and beyond both ends, in a straight line; `known` is in the order of its first numbers."""
    if len(known) == 1:
        return known[0][1]
    right = min(max(bisect.bisect_left(known, (x, -math.inf)), 1), len(known) - 1)
    (x0, y0), (x1, y1) = known[right - 1], known[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
