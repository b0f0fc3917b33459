"""What is known of one training: its curves, what was decided in it, and where it stands.

The callback keeps the run of its own training; `event_reader` makes runs of event files. The figure, the tab and the
report start from here. Nothing here knows Keras, TensorBoard or plotly.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, final

from keras_lrplateau.rule.decision import Decision, Status

RUN_NAME = "lr_plateau"
"""Of the first run below a log dir; the next ones are lr_plateau_2, lr_plateau_3, and so on."""


class Observation(NamedTuple):
    """A value of the monitored metric, and the epoch, from 0, at whose end it was observed."""

    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Record:
    """What was decided in one epoch, and how things stood at its end; while the epoch runs, at its last decision.

    There is one for the first epoch of a training, for each epoch with a decision or another status than before, for
    the last one, and at times for one with a new best. Each repeats all that concerns the whole training, so that
    one can be read without the others.

    Attributes:
        epoch: The epoch of the decisions, from 0.
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
        knows_steps: Whether `Record.steps` was recorded; of a foreign training only the epochs may be known.
    """

    name: str
    curves: dict[str, Curve]
    records: list[Record]
    unit: Literal["epoch", "step"] = "epoch"
    knows_steps: bool = True

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
    def last_time(self) -> float | None:
        """The last wall time that is known, in seconds since 1970; None if no time was recorded."""
        last = max([self.records[-1].time, *(curve.times[-1] for curve in self.curves.values() if curve.times)])
        return last if last > 0 else None

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
        used = RatesUsed(self).at(next(curve.epochs[-1] for curve in self.rates.values() if curve.values))
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


def rate_used(record: Record) -> float:
    """The rule's rate at the end of an epoch, before what was decided there; by its record, which has a decision."""
    found = [
        decision.rate
        for decision in record.decisions
        if decision.kind == "override" or (decision.step is not None and decision.step < record.steps)
    ]
    return found[-1] if found else record.decisions[0].rate_before


@final
class RatesUsed:
    """The rule's rate in each epoch of a training, in which there must be a decision; made once, asked often."""

    def __init__(self, run: Run) -> None:
        records = [record for record in run.records if record.decisions]
        self._epochs = [record.epoch for record in records]
        self._within = [rate_used(record) for record in records]
        self._after = [records[0].decisions[0].rate_before, *(record.decisions[-1].rate for record in records)]

    def at(self, epoch: int) -> float:
        """The rule's rate from which the learning rates of the curves at an epoch come."""
        at = bisect.bisect_right(self._epochs, epoch)
        return self._within[at - 1] if at and self._epochs[at - 1] == epoch else self._after[at]


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
        """The result; "abandoned" if something else set the rate, and auto mode went on from there."""
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
