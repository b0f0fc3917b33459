"""Keeps a training as data, and passes its events on to sinks.

A sink only listens. It cannot change a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

from keras_lrplateau.history.run import Curve, Record, Run
from keras_lrplateau.rule.decision import Decision


class Sink:
    """Listens to a training, for a tracker, a file or a chat. A subclass overrides the methods that it needs.

    The other methods do nothing. Within an epoch the methods are called in the order below, in the process and thread
    that trains; of several processes, only rank 0 calls them. An error in a method gives one warning: training goes on,
    and so do the calls.

    Example:

    ```python
    class Lines(Sink):
        def __init__(self, path):
            self.file = open(path, "a")

        def decision(self, decision, quantity):
            print(decision.epoch + 1, decision.kind, decision.rate, decision.reason, file=self.file, flush=True)


    adapt = AdaptLROnPlateau(sinks=[Lines("decisions.txt")])
    ```
    """

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        """Receive what was seen within an epoch: an observation (`frequency=N`), or a trial of auto mode's search by
        steps.

        Args:
            step: Optimizer steps taken so far.
            numbers: The monitored metric, in such a trial the training loss, and the learning rates in use.
            time: Wall time in seconds since 1970.
        """

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        """Receive the numbers of an epoch that is over, before any decision on it.

        Args:
            epoch: From 0.
            numbers: All numbers in Keras' logs, and the learning rates in use: "learning_rate", or with several
                optimizers `"learning_rate_<optimizer>"` for each.
            time: Wall time in seconds since 1970.
        """

    def decision(self, decision: Decision, quantity: str) -> None:
        """Receive a decision that changed something.

        Args:
            decision: The decision, with its epoch and step.
            quantity: The meaning of its rates: "learning rate", or "multiplier of the schedule".
        """

    def record(self, record: Record) -> None:
        """Receive the status and the best value at the end of an epoch, if they are news; of several records, the last
        one of an epoch counts.
        """

    def forget(self, epoch: int) -> None:
        """Forget this epoch, from 0, and later ones: training begins again there."""

    def flush(self) -> None:
        """Write what is not written yet."""

    def close(self) -> None:
        """Close what is open: the training is over, or another one begins.

        It may raise any error, as every method may: that gives a warning, and the other sinks are closed all the same.
        """

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
        """Keep the numbers of an epoch; see `Sink.epoch`. `others` are sinks of this epoch alone."""
        for name, number in numbers.items():
            self.run.curves.setdefault(name, Curve()).append(epoch, number, time)
        for sink in others:
            sink.epoch(epoch, numbers, time)
        self._tell(lambda sink: sink.epoch(epoch, numbers, time))

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        """Pass on what was seen within an epoch; see `Sink.step`."""
        self._tell(lambda sink: sink.step(step, numbers, time))

    def decision(self, decision: Decision, quantity: str) -> None:
        """Pass on a decision; see `Sink.decision`."""
        self._tell(lambda sink: sink.decision(decision, quantity))

    def record(self, record: Record, is_last: bool) -> None:
        """Keep a record and pass it on, if it is news."""
        if not self._is_news(record, is_last):
            return
        records = self.run.records
        if records and records[-1].epoch == record.epoch:
            records.pop()
        records.append(record)
        self._tell(lambda sink: sink.record(record))

    def forget(self, epoch: int) -> None:
        """Forget this epoch and later ones: training begins again there."""
        self.run.forget(epoch)
        self._tell(lambda sink: sink.forget(epoch))

    def flush(self) -> None:
        """Let the sinks write what they have not written yet."""
        self._tell(lambda sink: sink.flush())

    def close(self) -> None:
        """Let the sinks close what is open; a later event opens it again."""
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
        """Return whether an epoch is worth a record."""
        if not self.run.records or any(sink.needs_record for sink in self.sinks):
            return True
        last = self.run.records[-1]
        if (record.status, record.is_over) != (last.status, last.is_over):
            return True
        if record.epoch == last.epoch:
            # Within an epoch each decision makes a record, and so does the end.
            return len(record.decisions) > len(last.decisions) or record.steps > last.steps
        # A list of runs reads only their last records, whose best is thus at most a fiftieth of the training old.
        has_new_best = record.best != last.best and record.epoch - last.epoch >= max(record.epoch // 50, 1)
        return bool(record.decisions) or is_last or has_new_best
