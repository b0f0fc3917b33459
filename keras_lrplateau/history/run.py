"""One training as data: its curves, its decisions, and how it stands.

The callback keeps a `Run` of its own training; `history.event_reader` makes one from event files. The figure, the tab
and the report all start from a `Run`. Nothing here knows Keras, TensorBoard or plotly.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, final

from keras_lrplateau.rule.decision import Decision, Status

RUN_NAME = "lr_plateau"
"""The name of the first run below a log dir; the next ones are lr_plateau_2, lr_plateau_3, and so on."""


class Observation(NamedTuple):
    """A value of the monitored metric, and the epoch, from 0, in which it was observed."""

    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Record:
    """The decisions of one epoch, and how things stood at its end; while it is running, at its last decision.

    The first and the last epoch of a training have a record, each epoch with a decision or a new status has one, and
    some with a new best have one. Each record repeats all that concerns the whole training, so it can be read alone.

    Attributes:
        epoch: The epoch of the decisions, from 0.
        decisions: The decisions, in the order in which they were made.
        status: What the rule does from now on.
        steps: Optimizer steps taken so far, including those that were rolled back.
        monitor: The name of the monitored metric.
        mode: "min" if a smaller metric is better, "max" if a larger one is; None while that is not known.
        quantity: The meaning of the decisions' rates, in words; see `RateControl.quantity`.
        best: The best finite observation so far; None before the first.
        time: Wall time in seconds since 1970.
        loss_before: The training loss before the first update; None when it is not known.
        is_over: Whether the training has ended. A later record says that it went on.
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
    is_over: bool = False


@dataclass(slots=True)
class Curve:
    """One number over the epochs; three lists of the same length, in the order of the epochs.

    Attributes:
        epochs: From 0; epochs without the number are left out.
        values: The number at the end of the epoch; a learning rate is the one last used in it. May be NaN or infinite.
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
        """Return the part of the curve at these places."""
        return Curve(
            [self.epochs[row] for row in rows], [self.values[row] for row in rows], [self.times[row] for row in rows]
        )


@dataclass(slots=True)
class Run:
    """One training.

    Attributes:
        name: The name in TensorBoard, such as "run1/lr_plateau".
        curves: The curves by name, such as "loss", "val_loss", "learning_rate". TensorBoard keeps 1000 values of each,
            so a curve from there may have gaps.
        records: At least one, in the order of epochs; one for each epoch at most.
        unit: The meaning of an epoch here; other programs may have recorded steps.
        knows_steps: Whether `Record.steps` was recorded; other programs may have recorded only epochs.
    """

    name: str
    curves: dict[str, Curve]
    records: list[Record]
    unit: Literal["epoch", "step"] = "epoch"
    knows_steps: bool = True

    @property
    def label(self) -> str:
        """The name, without the part that nearly all our runs share."""
        return self.name.removesuffix(f"/{RUN_NAME}")

    @property
    def decisions(self) -> Iterator[Decision]:
        """All decisions, in order."""
        return (decision for record in self.records for decision in record.decisions)

    @property
    def monitor(self) -> str:
        """The name of the monitored metric."""
        return self.records[-1].monitor

    @property
    def mode(self) -> Literal["min", "max"]:
        """The direction of the metric; "min" while it is not known."""
        return next((record.mode for record in reversed(self.records) if record.mode is not None), "min")

    @property
    def quantity(self) -> str:
        """The meaning of the decisions' rates, in words."""
        return self.records[-1].quantity

    @property
    def status(self) -> Status:
        """What the rule is doing."""
        return self.records[-1].status

    @property
    def is_over(self) -> bool:
        """Whether the training has ended, as far as its records tell: a killed process writes no last one."""
        return self.records[-1].is_over and self.records[-1].epoch == self.last_epoch

    @property
    def last_epoch(self) -> int:
        """The last known epoch, from 0."""
        return max([self.records[-1].epoch, *(curve.epochs[-1] for curve in self.curves.values() if curve.epochs)])

    @property
    def last_time(self) -> float | None:
        """The last known wall time, in seconds since 1970; None if no time was recorded."""
        last = max([self.records[-1].time, *(curve.times[-1] for curve in self.curves.values() if curve.times)])
        return last if last > 0 else None

    @property
    def rates(self) -> dict[str, Curve]:
        """The curves of learning rates: "learning_rate", or `"learning_rate_<name>"` for each of several optimizers."""
        return {name: curve for name, curve in self.curves.items() if name.startswith("learning_rate")}

    @property
    def rate(self) -> float | None:
        """The learning rate in force, or the last known one; None if there are several or none."""
        known = [curve.values[-1] for curve in self.rates.values() if curve.values]
        last = self.records[-1]
        if len(known) != 1:
            return None
        if last.epoch < self.last_epoch or not last.decisions:
            return known[0]
        if not self.is_scaled:
            return last.decisions[-1].rate
        # The schedule's rate, scaled by the present multiplier.
        used = RatesUsed(self).at(next(curve.epochs[-1] for curve in self.rates.values() if curve.values))
        return known[0] * last.decisions[-1].rate / used if used else known[0]

    @property
    def is_scaled(self) -> bool:
        """Whether the rates of the decisions are multipliers, not learning rates."""
        return self.quantity != "learning rate"

    @property
    def best(self) -> Observation | None:
        """The best finite observation; None if there was none.

        It comes from the records, because the curve may have gaps, and from the curve, because it may go on after the
        last record. Records from before a crash count, too: the resumed training may not know of them.
        """
        curve = self.curves.get(self.monitor, Curve())
        known = [record.best for record in self.records if record.best is not None]
        return best_of([*known, *map(Observation, curve.epochs, curve.values)], self.mode)

    def forget(self, epoch: int) -> None:
        """Drop this epoch and later ones: training begins again there."""
        for curve in self.curves.values():
            at = bisect.bisect_left(curve.epochs, epoch)
            del curve.epochs[at:], curve.values[at:], curve.times[at:]
        self.records = [record for record in self.records if record.epoch < epoch]


def rate_used(record: Record) -> float:
    """Return the rule's rate at the end of an epoch, before the decisions there. Its record must have a decision."""
    found = [
        decision.rate
        for decision in record.decisions
        if decision.kind == "override" or (decision.step is not None and decision.step < record.steps)
    ]
    return found[-1] if found else record.decisions[0].rate_before


@final
class RatesUsed:
    """The rule's rate in each epoch of a training with at least one decision; made once, asked often."""

    def __init__(self, run: Run) -> None:
        records = [record for record in run.records if record.decisions]
        self._epochs = [record.epoch for record in records]
        self._within = [rate_used(record) for record in records]
        self._after = [records[0].decisions[0].rate_before, *(record.decisions[-1].rate for record in records)]

    def at(self, epoch: int) -> float:
        """Return the rule's rate behind the curves' learning rates at an epoch."""
        at = bisect.bisect_right(self._epochs, epoch)
        return self._within[at - 1] if at and self._epochs[at - 1] == epoch else self._after[at]


def told(decisions: Iterable[Decision]) -> list[Decision]:
    """Shorten decisions for people: annealing decides at each epoch, and becomes one decision here.

    Returns:
        The decisions in order. Consecutive annealing is one decision, from its first rate to its last.
    """
    rows: list[Decision] = []
    for decision in decisions:
        if decision.kind == "anneal" and rows and rows[-1].kind == "anneal":
            rows[-1] = replace(rows[-1], rate=decision.rate)
        else:
            rows.append(decision)
    return rows


class Raised(NamedTuple):
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


def excursions(run: Run) -> list[Raised]:
    """Return all excursions of a training, in order. In auto mode a success may open the next one."""
    found: list[Raised] = []
    opened: Decision | None = None
    for record in run.records:
        for decision in record.decisions:
            ends = decision.kind in ("success", "rollback", "diverged")
            # In default mode an excursion outlives an override.
            ends = ends or (decision.kind == "override" and record.status != "in excursion")
            if opened is not None and ends:
                found.append(Raised(opened, decision))
                opened = None
            if decision.kind == "raise" or (decision.kind == "success" and decision.rate > decision.rate_before):
                opened = decision
    return found if opened is None else [*found, Raised(opened, None)]


def best_of(observations: Iterable[Observation], mode: Literal["min", "max"]) -> Observation | None:
    """Return the best finite observation, the first of equal ones; None if there is none."""
    finite = (each for each in observations if math.isfinite(each.value))
    return (min if mode == "min" else max)(finite, key=lambda each: each.value, default=None)
