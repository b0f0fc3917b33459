"""Observations within an epoch: the mean of a training metric over the last optimizer steps.

Keras reports running means: after k batches of an epoch, the mean over all k. Two of them give the mean of what lies
between. A window may reach across the end of an epoch, where Keras begins a new mean.

The last batch of an epoch is often smaller; the running mean counts it for less, which is not known here. So the value
of a window with a smaller last batch lies a little nearer to the mean of the epoch than it should.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

MOST_SECONDS = 600
"""So long the logs of a batch are waited for, which come from another thread."""


@dataclass(frozen=True, slots=True)
class Window:
    """What has come in since the last observation.

    Attributes:
        total: The sum of the metric over the batches.
        batches: How many they are.
        seen: Batches that Keras' running mean spans, up to where the window has been extended.
        mean: That running mean; 0 where `seen` is 0.
    """

    total: float = 0.0
    batches: int = 0
    seen: int = 0
    mean: float = 0.0

    def extend(self, seen: int, mean: float) -> Window:
        """The window up to the present batch.

        Args:
            seen: Batches that the running mean spans; more than before.
            mean: The running mean; may be non-finite, and then the window is.
        """
        # In this form the mean of equal values is that value, to the last bit.
        since = mean + (mean - self.mean) * (self.seen / (seen - self.seen))
        batches = seen - self.seen
        return Window(self.total + since * batches, self.batches + batches, seen, mean)


@final
class StepCadence:
    """Collects the logs of batches, and says when an observation is due and what it is.

    Keras reports the end of a batch from any thread, and perhaps out of order, while the training runs ahead. It
    reports the beginning of the next one in the thread that trains: there everything is decided.

    Args:
        monitor: The name of the metric.
        batches: How many make an observation. >= 1.

    Attributes:
        is_running_mean: Whether the metric in the logs of a batch is the mean since the epoch began; else it is taken
            for that of the batch. The loss is always a running mean.
    """

    def __init__(self, monitor: str, batches: int) -> None:
        self.is_running_mean = True
        self._is_loss = monitor == "loss"
        self._batches = batches
        self._windows = [Window(), Window()]
        self._first = 0
        self._ended: list[int] = []
        self._logs: dict[int, tuple[float | None, float | None]] = {}
        self._new_logs = threading.Condition()

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which cannot have the condition."""
        return {**self.__dict__, "_new_logs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._new_logs = threading.Condition()

    @property
    def numbers(self) -> tuple[float, ...]:
        """What is carried over to the next epoch: sum and batches, of the metric and of the loss."""
        return tuple(number for window in self._windows for number in (window.total, window.batches))

    def resume(self, numbers: Sequence[float]) -> None:
        """Go on with the `numbers` of an earlier process."""
        self._windows = [Window(numbers[i], int(numbers[i + 1])) for i in (0, 2)]

    def restart(self, batch: int = 0) -> None:
        """Keras' running means start again with this batch of the epoch; with 0, as they do in each epoch."""
        self._windows = [replace(window, seen=0, mean=0.0) for window in self._windows]
        self._first = batch
        self._ended, self._logs = [], {}

    def add(self, batch: int, numbers: tuple[float | None, float | None]) -> None:
        """Take what the logs say of a batch that is over: the metric and the loss. From any thread.

        Args:
            batch: Its number in the epoch, from 0.
            numbers: None for what they do not say.
        """
        with self._new_logs:
            self._logs[batch] = numbers
            self._new_logs.notify()

    def is_due(self, batch: int) -> bool:
        """Whether there is an observation to take before this batch. To be called before each but the first."""
        self._ended.append(batch - 1)
        window = self._windows[0]
        return window.batches + batch - self._first - window.seen >= self._batches

    def take(self, batch: int | None = None) -> tuple[float | None, float | None]:
        """The metric and the training loss since the last observation, if there are enough batches.

        Args:
            batch: The one before which it is; its predecessors are waited for. None at the end of an epoch, when all
                have come.

        Returns:
            Both, or None for what there is not.

        Raises:
            RuntimeError: The logs of a batch do not come.
        """
        if batch is None:
            batch = max(self._logs, default=-1) + 1
        with self._new_logs:
            if not self._new_logs.wait_for(lambda: self._logs.keys() >= set(self._ended), timeout=MOST_SECONDS):
                raise RuntimeError(f"the logs of the batches before {batch} have not come in {MOST_SECONDS} seconds")
        logs = [numbers for _, numbers in sorted(self._logs.items())]
        self._ended, self._logs = [], {}
        for i, window in enumerate(self._windows):
            seen = batch - self._first
            values = [number for numbers in logs if (number := numbers[i]) is not None]
            if not values or seen <= window.seen:
                continue
            mean = values[-1]
            if i == 0 and not self.is_running_mean and not self._is_loss:
                mean = (window.mean * window.seen + sum(values) / len(values) * (seen - window.seen)) / seen
            self._windows[i] = window.extend(seen, mean)
        if self._windows[0].batches < self._batches:
            return None, None
        value, loss = (window.total / window.batches if window.batches else None for window in self._windows)
        self._windows = [replace(window, total=0.0, batches=0) for window in self._windows]
        return value, loss
