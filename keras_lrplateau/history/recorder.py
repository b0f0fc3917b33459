"""Takes a training down and writes it to event files. It listens; nothing that it does changes a decision."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import final

from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Curve, Record, Run

STEPS = "steps"
"""The run below that of a training, for what a step cadence observes: its steps are optimizer steps, not epochs."""

Unwritten = tuple[int, float, dict[str, float], Record | None]
"""An epoch, the wall time of its end, its numbers, and its record if there is one."""


@final
class Reporter:
    """One training, in memory for `figure` and in event files.

    Args:
        name: Of the run, for the figure.
        run_dir: Where the event files go; None writes none.
        monitor: The name of the monitored metric.
        arguments: Those of the callback, for the HParams tab.

    Attributes:
        run: The training so far.
        run_dir: As above.
        failure: Why it could not be written lately; None if it could. It is tried again at each epoch.
    """

    def __init__(
        self, name: str, run_dir: Path | None, monitor: str, arguments: Mapping[str, bool | int | float | str]
    ) -> None:
        self.run = Run(name, {}, [])
        self.run_dir = run_dir
        self.failure: OSError | None = None
        self._monitor = monitor
        self._arguments = dict(arguments)
        self._unwritten: list[Unwritten] = []
        self._unwritten_steps: list[tuple[int, float, dict[str, float]]] = []
        self._writer: EventWriter | None = None
        self._step_writer: EventWriter | None = None

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles: an open file stays with the original, and a copy writes nothing into its run."""
        return {**self.__dict__, "_writer": None, "_step_writer": None, "run_dir": None}

    def epoch(self, epoch: int, numbers: dict[str, float], time: float) -> None:
        """Take down the numbers of an epoch, which `write` writes."""
        for name, number in numbers.items():
            self.run.curves.setdefault(name, Curve()).append(epoch, number, time)
        self._unwritten.append((epoch, time, numbers, None))

    def step(self, step: int, numbers: dict[str, float], time: float) -> None:
        """Take down what a step cadence has observed at an optimizer step, which `write` writes."""
        if self.run_dir is not None:
            self._unwritten_steps.append((step, time, numbers))

    def record(self, record: Record, is_last: bool) -> None:
        """Take down what was decided in an epoch and how things stand, if that is news."""
        if not self._is_news(record, is_last):
            return
        records = self.run.records
        if records and records[-1].epoch == record.epoch:
            records.pop()
        records.append(record)
        numbers: dict[str, float] = {}
        if self._unwritten and self._unwritten[-1][0] == record.epoch:
            _, _, numbers, _ = self._unwritten.pop()
        self._unwritten.append((record.epoch, record.time, numbers, record))

    def forget(self, epoch: int) -> None:
        """Training begins again with this epoch: what is known of it and of later ones is void."""
        self.run.forget(epoch)
        self.close()

    def write(self) -> None:
        """Write what is not written yet. What fails is tried again the next time."""
        self.failure = None
        if self.run_dir is None:
            self._unwritten = []
            return
        try:
            if self._writer is not None and not self._writer.path.exists():
                # Somebody has removed it, and with it what was written.
                self._writer = None
                self._unwritten = self._everything()
            while self._unwritten:
                epoch, wall_time, numbers, record = self._unwritten[0]
                if self._writer is None:
                    self._writer = self._open(self.run_dir, epoch, numbers)
                if record is not None:
                    self._writer.record(record)
                if numbers:
                    self._writer.scalars(epoch, numbers, wall_time)
                # Only now: a new file voids what an earlier one holds of its first epoch.
                self._unwritten.pop(0)
        except OSError as error:
            self._writer = None
            self.failure = error
        try:
            while self._unwritten_steps:
                step, wall_time, numbers = self._unwritten_steps[0]
                if self._step_writer is None or not self._step_writer.path.exists():
                    self._step_writer = EventWriter(self.run_dir / STEPS, first_step=step)
                    weakref.finalize(self, self._step_writer.close)
                self._step_writer.scalars(step, numbers, wall_time)
                self._unwritten_steps.pop(0)
        except OSError as error:
            self._step_writer = None
            self.failure = error

    def close(self) -> None:
        """Close the files; a later `write` makes new ones.

        Raises:
            OSError: The system reports a write that failed late.
        """
        for writer in (self._writer, self._step_writer):
            if writer is not None:
                writer.close()
        self._writer = self._step_writer = None

    def _is_news(self, record: Record, is_last: bool) -> bool:
        """Whether an epoch is worth a record."""
        if not self.run.records or (self._unwritten and self._writer is None and self.run_dir is not None):
            return True  # The first of a training, or of an event file.
        last = self.run.records[-1]
        if record.status != last.status:
            return True
        if record.epoch == last.epoch:
            # Within an epoch there is one at each decision; at its end, where it ended.
            return len(record.decisions) > len(last.decisions) or record.steps > last.steps
        # A list of runs goes by their last records: the best that they tell of is at most a fiftieth of a training old.
        has_new_best = record.best != last.best and record.epoch - last.epoch >= max(record.epoch // 50, 1)
        return bool(record.decisions) or is_last or has_new_best

    def _everything(self) -> list[Unwritten]:
        """All that is known of the training, in the order of its epochs."""
        numbers: dict[int, dict[str, float]] = {}
        times: dict[int, float] = {}
        for name, curve in self.run.curves.items():
            for epoch, value, time in zip(curve.epochs, curve.values, curve.times, strict=True):
                numbers.setdefault(epoch, {})[name] = value
                times[epoch] = time
        records = {record.epoch: record for record in self.run.records}
        times |= {epoch: record.time for epoch, record in records.items()}
        return [(epoch, times[epoch], numbers.get(epoch, {}), records.get(epoch)) for epoch in sorted(times)]

    def _open(self, run_dir: Path, epoch: int, numbers: dict[str, float]) -> EventWriter:
        writer = EventWriter(run_dir, first_step=epoch)
        weakref.finalize(self, writer.close)  # An interrupted fit does not reach on_train_end.
        # With validation_freq the first epoch may lack what later ones have.
        rates = [name for name in numbers if name.startswith("learning_rate")] or ["learning_rate"]
        writer.layout(self._monitor, sorted({*numbers, *rates, self._monitor, "loss", "val_loss"}))
        writer.hparams(self._arguments)
        return writer


def run_name(log_dir: str | os.PathLike[str] | None) -> str:
    """What a training is called that writes to this log dir."""
    return os.path.basename(os.fspath(log_dir or "")) or "training"
