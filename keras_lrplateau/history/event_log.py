"""The sink that writes a training to event files. It tries failed writes again later."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.recorder import Sink
from keras_lrplateau.history.run import Record, Run

STEPS = "steps"
"""The run below the training's run, for what was seen within epochs. Its steps are optimizer steps."""

Unwritten = tuple[int, float, Mapping[str, float], Record | None]
"""An epoch: its number, the wall time of its end, its numbers, and its record if it has one."""


@final
class EventLog(Sink):
    """Writes one training to event files. `flush` writes. No method raises an OSError.

    Args:
        run: The training, which the recorder keeps. It is written again as a whole if the files are removed.
        run_dir: The run directory.
        monitor: The name of the monitored metric.
        arguments: The arguments of the callback and what else was chosen, for the HParams tab.
        check: Called before each write; raises an OSError if this training may not write there.

    Attributes:
        run_dir: As above.
        failure: Why the last `flush`, or a `close` after it, could not write; None if they could. The next `flush`
            tries again.
    """

    def __init__(
        self,
        run: Run,
        run_dir: Path,
        monitor: str,
        arguments: Mapping[str, bool | int | float | str],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.run_dir = run_dir
        self.failure: OSError | None = None
        self._run = run
        self._monitor = monitor
        self._arguments = dict(arguments)
        self._check = check
        self._unwritten: list[Unwritten] = []
        self._unwritten_steps: list[tuple[int, float, Mapping[str, float]]] = []
        self._writer: EventWriter | None = None
        self._step_writer: EventWriter | None = None

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        self._unwritten.append((epoch, time, numbers, None))

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        self._unwritten_steps.append((step, time, numbers))

    def record(self, record: Record) -> None:
        numbers: Mapping[str, float] = {}
        if self._unwritten and self._unwritten[-1][0] == record.epoch:
            _, _, numbers, _ = self._unwritten.pop()
        self._unwritten.append((record.epoch, record.time, numbers, record))

    @property
    def needs_record(self) -> bool:
        """Whether the next epoch needs a record. A new file begins with one, to void later epochs of earlier files."""
        return bool(self._unwritten) and self._writer is None

    def forget(self, epoch: int) -> None:
        self.failure = None
        self.close()
        if self.failure is not None:  # Nobody knows what the file lacks.
            self._unwritten = self._everything()

    def flush(self) -> None:
        """Write what is not written yet. The next call tries again what fails."""
        self.failure = None
        try:
            self._check()
        except OSError as error:
            self.failure = error
            return
        try:
            if self._writer is not None and not self._writer.path.exists():
                # The file was removed, so everything must be written again.
                self._writer = None
                self._unwritten = self._everything()
            while self._unwritten:
                epoch, wall_time, numbers, record = self._unwritten[0]
                if self._writer is None:
                    self._writer = self._open(epoch, numbers)
                if record is not None:
                    self._writer.record(record)
                if numbers:
                    self._writer.scalars(epoch, numbers, wall_time)
                # Only after the write: a retry starts a new file, which voids this epoch in the earlier one.
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
        """Close the files. A later `flush` makes new ones."""
        for writer in (self._writer, self._step_writer):
            try:
                if writer is not None:
                    writer.close()
            except OSError as error:  # The system reports a write that failed late.
                self.failure = error
        self._writer = self._step_writer = None

    def _everything(self) -> list[Unwritten]:
        """Return the whole training, in the order of its epochs."""
        numbers: dict[int, dict[str, float]] = {}
        times: dict[int, float] = {}
        for name, curve in self._run.curves.items():
            for epoch, value, time in zip(curve.epochs, curve.values, curve.times, strict=True):
                numbers.setdefault(epoch, {})[name] = value
                times[epoch] = time
        records = {record.epoch: record for record in self._run.records}
        times |= {epoch: record.time for epoch, record in records.items()}
        return [(epoch, times[epoch], numbers.get(epoch, {}), records.get(epoch)) for epoch in sorted(times)]

    def _open(self, epoch: int, numbers: Mapping[str, float]) -> EventWriter:
        writer = EventWriter(self.run_dir, first_step=epoch)
        weakref.finalize(self, writer.close)  # An interrupted fit does not reach on_train_end.
        # With validation_freq the first epoch may lack metrics of later ones.
        rates = [name for name in numbers if name.startswith("learning_rate")] or ["learning_rate"]
        writer.layout(self._monitor, sorted({*numbers, *rates, self._monitor, "loss", "val_loss"}))
        writer.hparams(self._arguments)
        return writer
