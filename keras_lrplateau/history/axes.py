"""Places moments of a training on an axis: epochs, optimizer steps or wall time.

A moment is the number of epochs that were over, with a fraction within an epoch. Making a `Timeline` takes time in
proportion to the records and the curves; its answers take almost none.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Literal, final

from keras_lrplateau.history.run import Curve, Run
from keras_lrplateau.rule.decision import Decision

Axis = Literal["epoch", "step", "time"]
"""The horizontal axis of a figure."""


@final
class Timeline:
    """The moments of one training, as it is now.

    Args:
        run: The training. Later changes to it are not seen here.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._records = run.records
        self._epochs = [record.epoch for record in run.records]
        self._over_at_last = self._find_over_at_last()

    @property
    def over(self) -> float:
        """How many epochs are over, as far as is known; with a fraction while one is running."""
        return self._over_at_last if self._epochs[-1] == self._run.last_epoch else self._run.last_epoch + 1

    @property
    def steps(self) -> int | None:
        """How many optimizer steps were taken in all; None if they were not recorded."""
        return None if self.lacks("step") else round(self.positions("step", [self.over])[0])

    def lacks(self, axis: Axis) -> bool:
        """Return whether an axis is missing, because the training did not record it."""
        if axis == "step":
            return self._run.unit == "epoch" and not self._run.knows_steps
        return axis == "time" and self._run.last_time is None

    def moment(self, decision: Decision) -> float:
        """Return how many epochs were over at a decision; with a fraction if it was made within an epoch.

        The fraction comes from optimizer steps. An epoch that is still running is assumed to be as long as those before
        it; if it is the first, half of it is assumed to be over.
        """
        at = bisect.bisect_left(self._epochs, decision.epoch)
        if decision.step is None or at == len(self._epochs) or self._epochs[at] != decision.epoch:
            return decision.epoch + 1
        record, over = self._records[at], self._over_at(at)
        if decision.step >= record.steps:
            return over
        # The same line as in `positions`. A count that has started again from 0 is assumed to start with this epoch.
        x, y = self._before(at)
        if y >= record.steps:
            x, y = record.epoch, 0
        found = over - (record.steps - decision.step) * (over - x) / (record.steps - y)
        return min(max(found, decision.epoch), over)

    def is_within(self, decision: Decision) -> bool:
        """Return whether a decision was made before its epoch was over."""
        return self.moment(decision) < decision.epoch + 1

    def positions(self, axis: Axis, moments: Iterable[float]) -> list[float]:
        """Return the positions of moments on an axis.

        Args:
            axis: "epoch"; "step", the optimizer steps taken, which are exact at the records' epochs and interpolated
                between them; or "time", the wall time in seconds since 1970, likewise from records and curves.
            moments: Numbers of epochs that were over, each >= 0: 1 is the end of the first epoch.

        Returns:
            A number for each moment.
        """
        if axis == "epoch":
            return list(moments)
        known = self._steps if axis == "step" else self._times
        return [_interpolate(known, moment) for moment in moments]

    @cached_property
    def _steps(self) -> list[tuple[float, float]]:
        """Pairs of a moment and the steps taken until then."""
        known, lost = [(0.0, 0.0)], 0.0
        for at, record in enumerate(self._records):
            over = self._over_at(at)
            x, y = known[-1]
            if over <= x:  # Others may record a value before the first step.
                continue
            if record.steps + lost < y:
                # A resumed training begins with the optimizer's count, which leaves out what was rolled back, or with
                # 0. So the steps go on from here, at the pace so far.
                lost = y + (over - x) * y / x - record.steps
            known.append((over, record.steps + lost))
        return known

    @cached_property
    def _times(self) -> list[tuple[float, float]]:
        """Pairs of a moment and its wall time."""
        times = {self._over_at(at): record.time for at, record in enumerate(self._records)}
        longest = max(self._run.curves.values(), key=lambda curve: len(curve.epochs), default=Curve())
        times |= {epoch + 1.0: time for epoch, time in zip(longest.epochs, longest.times, strict=True)}
        return sorted(times.items())

    def _over_at(self, at: int) -> float:
        """Return how many epochs were over at the record with this index."""
        return self._over_at_last if at == len(self._epochs) - 1 else self._epochs[at] + 1

    def _find_over_at_last(self) -> float:
        """Return how many epochs were over at the last record, the only one whose epoch may still be running."""
        at = len(self._epochs) - 1
        record = self._records[at]
        # An epoch that is over has numbers in the curves; decisions at its end come after them.
        if all(each.step is None for each in record.decisions) or self._has_numbers_of(record.epoch):
            return record.epoch + 1
        if at == 0:
            return record.epoch + 0.5
        (x0, y0), (x1, y1) = self._before(at - 1), self._before(at)
        length = (y1 - y0) / (x1 - x0)
        begun = y1 + length * (record.epoch - x1)
        # However long the earlier epochs were, this one has begun and is not over.
        return record.epoch + (min(max((record.steps - begun) / length, 0.01), 0.99) if length > 0 else 0.5)

    def _before(self, at: int) -> tuple[int, int]:
        """Return the epochs that were over at the previous record, and the steps taken until then."""
        return (self._epochs[at - 1] + 1, self._records[at - 1].steps) if at else (0, 0)

    def _has_numbers_of(self, epoch: int) -> bool:
        """Return whether the curves reach an epoch. They may have gaps, but not at their end."""
        return any(curve.epochs and curve.epochs[-1] >= epoch for curve in self._run.curves.values())


def _interpolate(known: list[tuple[float, float]], x: float) -> float:
    """Interpolate in straight lines, also beyond both ends; `known` is in the order of its first numbers."""
    if len(known) == 1:
        return known[0][1]
    right = min(max(bisect.bisect_left(known, (x, -math.inf)), 1), len(known) - 1)
    (x0, y0), (x1, y1) = known[right - 1], known[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
