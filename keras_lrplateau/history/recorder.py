"""Keeps a training as data, and tells whatever listens to it: sinks.

A sink only listens. Nothing that it does changes a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

from keras_lrplateau.history.run import Curve, Record, Run
from keras_lrplateau.rule.decision import Decision


class Sink:
    """Listens to a training. A subclass overrides the methods that it needs; the others do nothing.

    The methods of one epoch are called in the order in which they stand here. All of them are called on rank 0 only.
    """

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        """A step cadence has made an observation.

        Args:
            step: Optimizer steps taken so far.
            numbers: The monitored metric, and the learning rates that were used.
            time: Wall time in seconds since 1970.
        """

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        """An epoch is over, and nothing is decided yet.

        Args:
            epoch: From 0.
            numbers: All numbers in Keras' logs, and the learning rates that were used: "learning_rate", or
                "learning_rate_<optimizer>" for each of several.
            time: Wall time in seconds since 1970.
        """

    def decision(self, decision: Decision, quantity: str) -> None:
        """A decision that changed something.

        Args:
            decision: With its epoch and step.
            quantity: What its rates are: "learning rate", or "multiplier of the schedule".
        """

    def record(self, record: Record) -> None:
        """How things stand at the end of an epoch, where that is news. The last record of an epoch counts."""

    def forget(self, epoch: int) -> None:
        """Training begins again with this epoch, from 0: what is known of it and of later ones is void."""

    def flush(self) -> None:
        """Write what is not written yet."""

    def close(self) -> None:
        """The training is over, or another one begins."""

    @property
    def needs_record(self) -> bool:
        """Whether the next epoch must come with a record, news or not."""
        return False


@final
class Recorder:
    """One training in memory, and its sinks.

    Args:
        name: The name of the run, for figures.
        sinks: Sinks of this package. An error in one of them is a bug, and is raised.
        listeners: Sinks of the user.
        on_error: What to do about an error in a listener.

    Attributes:
        run: The training so far.
    """

    def __init__(
        self,
        name: str,
        sinks: Sequence[Sink] = (),
        listeners: Sequence[Sink] = (),
        on_error: Callable[[Sink, Exception], None] | None = None,
    ) -> None:
        self.run = Run(name, {}, [])
        self.sinks = list(sinks)
        self._listeners = list(listeners)
        self._on_error = on_error

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float, *others: Sink) -> None:
        """Take down the numbers of an epoch; see `Sink.epoch`. `others` are sinks of this epoch alone."""
        for name, number in numbers.items():
            self.run.curves.setdefault(name, Curve()).append(epoch, number, time)
        for sink in others:
            sink.epoch(epoch, numbers, time)
        self._tell(lambda sink: sink.epoch(epoch, numbers, time))

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        """Tell what a step cadence has observed; see `Sink.step`."""
        self._tell(lambda sink: sink.step(step, numbers, time))

    def decision(self, decision: Decision, quantity: str) -> None:
        """Tell of a decision; see `Sink.decision`."""
        self._tell(lambda sink: sink.decision(decision, quantity))

    def record(self, record: Record, is_last: bool) -> None:
        """Take down how things stand, if that is news."""
        if not self._is_news(record, is_last):
            return
        records = self.run.records
        if records and records[-1].epoch == record.epoch:
            records.pop()
        records.append(record)
        self._tell(lambda sink: sink.record(record))

    def forget(self, epoch: int) -> None:
        """Training begins again with this epoch: what is known of it and of later ones is void."""
        self.run.forget(epoch)
        self._tell(lambda sink: sink.forget(epoch))

    def flush(self) -> None:
        """Let the sinks write what they have not written yet."""
        self._tell(lambda sink: sink.flush())

    def close(self) -> None:
        """Let the sinks close what they have open; a later event opens it again."""
        self._tell(lambda sink: sink.close())

    def _tell(self, tell: Callable[[Sink], None]) -> None:
        for sink in self.sinks:
            tell(sink)
        for sink in self._listeners:
            try:
                tell(sink)
            except Exception as error:
                if self._on_error is None:
                    raise
                self._on_error(sink, error)

    def _is_news(self, record: Record, is_last: bool) -> bool:
        """Whether an epoch is worth a record."""
        if not self.run.records or any(sink.needs_record for sink in self.sinks):
            return True
        last = self.run.records[-1]
        if record.status != last.status:
            return True
        if record.epoch == last.epoch:
            # Within an epoch there is one at each decision, and one at its end.
            return len(record.decisions) > len(last.decisions) or record.steps > last.steps
        # A list of runs goes by their last records: the best in them is at most a fiftieth of a training old.
        has_new_best = record.best != last.best and record.epoch - last.epoch >= max(record.epoch // 50, 1)
        return bool(record.decisions) or is_last or has_new_best
