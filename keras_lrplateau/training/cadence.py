"""Observations within an epoch: the mean of a training metric over the last optimizer steps.

Keras reports running means: after k batches of an epoch, the mean over all k. Two running means give the mean of the
batches between them. A window may reach across the end of an epoch, where Keras begins a new mean.

The last batch of an epoch is often smaller. The running mean gives it less weight, but batch sizes are unknown here. So
the value of a window with a smaller last batch is a little too close to the mean of the epoch.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import keras

from keras_lrplateau.rule.search import MOST_TRIALS
from keras_lrplateau.training.metrics import metrics_named
from keras_lrplateau.training.optimizers import accumulation_of, batches_of

MOST_SECONDS = 600
"""How long to wait for the logs of a batch, which come from another thread."""

LEAST_TRIAL = 40
"""Optimizer steps in a trial of auto mode's search by steps, at least.

In fewer steps noise hides what a rate does, and rates win that are too high. How it was chosen is in
examples/benchmarks/results/steps.md.
"""

LEAST_TINY_TRIAL = 10
"""As many where an epoch has fewer, in at most twenty epochs: there an epoch says next to nothing about a rate."""

SHORT_FIT = 15
"""In at most so many epochs each is too dear for a trial: a search by epochs ends with the first rate that trains."""

TRIALS = 200
"""In a long training, such a trial is this part of all steps: then a search of ten trials takes 5 % of them."""

ROUNDING = 2.0**-24
"""The largest relative error of a rounding in float32, in which Keras by default keeps a running mean and its sum."""

RESOLVED = 0.1
"""The mean of some batches is known if its rounding error is at most this share of it; see `Window.since`.

The error is a bound: that of a mean over many batches is mostly far smaller. With a smaller share, a loss would be lost
in an epoch of some hundred thousand steps.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """The batches since the last observation.

    Attributes:
        total: The sum of the metric over the batches. NaN while `mean` is finite: the sum is not known.
        batches: The number of batches.
        seen: How many batches Keras' running mean covered when the window was last extended.
        mean: That running mean; 0 if `seen` is 0.
    """

    total: float = 0
    batches: int = 0
    seen: int = 0
    mean: float = 0.0

    @property
    def value(self) -> float | None:
        """The mean over the batches; None if there are none, or if it is not known."""
        if not self.batches or (math.isnan(self.total) and math.isfinite(self.mean)):
            return None
        return self.total / self.batches

    def since(self, seen: int, mean: float, best: float | None) -> float:
        """Return the mean of the batches since the window was last extended, from the two running means.

        These lose a small value after a large one: once a batch had a loss of 1e10, a loss of 5 does not change the sum
        that Keras keeps. Each batch is an addition, which rounds by at most `ROUNDING` of the sum, and so does the
        division in each of the two means. So the mean of n batches is wrong by at most ROUNDING * sum * (n + 2) / n,
        and can be negative where no loss is. What is nearer to zero than the least value that is known in spite of this
        error counts as that value, if the best observation is about as large: it is no better. In this way a loss that
        has become tiny is a plateau. If the best is far nearer to zero, nobody can tell.

        Args:
            seen: How many batches the running mean covers; more than before.
            mean: The running mean.
            best: The best value so far, if there is one.

        Returns:
            The mean; non-finite if `mean` is. NaN if it is not known.
        """
        batches = seen - self.seen
        # In this form the mean of equal values is exactly that value.
        since = mean + (mean - self.mean) * (self.seen / batches)
        largest = max(abs(mean) * seen, abs(self.mean) * self.seen)
        least = ROUNDING * largest * (batches + 2) / batches / RESOLVED
        if not abs(since) < least:
            return since
        if best is None or least > 2 * abs(best):  # Twice, since the error grows a little from window to window.
            return math.nan
        return math.copysign(min(least, abs(best)), mean)

    def extend(self, seen: int, mean: float, since: float) -> Window:
        """Return the window up to the present batch.

        Args:
            seen: How many batches the running mean covers; more than before.
            mean: The running mean.
            since: The mean of the batches since the window was last extended.
        """
        batches = seen - self.seen
        return Window(self.total + since * batches, self.batches + batches, seen, mean)


@final
class StepCadence:
    """Collects the logs of batches, and makes observations of them.

    Keras reports the end of a batch from any thread, and perhaps out of order, while training runs ahead. It reports
    the beginning of the next batch in the training thread, where all decisions are made.

    Args:
        monitor: The name of the metric.
        frequency: Optimizer steps in an observation. >= 1.
        accumulation: Batches in an optimizer step. >= 1.

    Attributes:
        monitor: As above.
        is_running_mean: Whether a batch's logs hold the mean of the metric since the epoch began; else they hold its
            value for the batch. The loss is always a running mean.
        knows_metric: Whether that is settled. If not, `look_at_metric` is to be called again after the first step.
        at_once: Batches between two hooks of Keras: its `steps_per_execution`.
        length: Batches in an epoch; None before the first one is over.
        done: Batches of this epoch before the last decision in it; 0 if there has been none.
        noise: The standard error of the last observation's loss, from the differences between its batches; 0 where it
            has too few, or where the loss is not known.
    """

    def __init__(self, monitor: str, frequency: int = 1, accumulation: int = 1) -> None:
        self.is_running_mean = True
        self.knows_metric = False
        self.at_once = 1
        self.length: int | None = None
        self.done = 0
        self.noise = 0.0
        self.monitor = monitor
        self._frequency = frequency
        self._accumulation = accumulation
        self._least = self._batches = frequency * accumulation
        self._has_looked = False
        self._batches_before_epoch = 0
        self._windows = [Window(), Window()]
        self._first = 0
        self._ended: list[int] = []
        self._logs: dict[int, tuple[float | None, float | None]] = {}
        self._new_logs = threading.Condition()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the condition, which cannot be copied or pickled."""
        return {**self.__dict__, "_new_logs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._new_logs = threading.Condition()

    @property
    def numbers(self) -> tuple[float, ...]:
        """The window to carry over to the next epoch: sum and batches, first for the metric and then for the loss."""
        return tuple(number for window in self._windows for number in (window.total, window.batches))

    def resume(self, numbers: Sequence[float]) -> None:
        """Take the window from the `numbers` of an earlier process."""
        self._windows = [Window(numbers[i], int(numbers[i + 1])) for i in (0, 2)]

    @property
    def has_seen(self) -> bool:
        """Whether any loss has come in since the last observation."""
        return self._windows[1].batches > 0 or any(loss is not None for _, loss in self._logs.values())

    @property
    def is_of_single_batches(self) -> bool:
        """Whether each observation is of one batch, and so of the weights before its update."""
        return self._batches == self.at_once == 1

    def lengthen(self, batches: int) -> None:
        """Put this many batches into each observation from now on, if that is more than at first."""
        self._batches = max(self._least, batches)

    def observations_in(self, batches: int) -> int:
        """Return how many observations are still to come in this many batches, counted from the start of this epoch."""
        whole = math.ceil(self._batches / self.at_once) * self.at_once
        return (self._windows[0].batches + max(batches - self.done, 0)) // whole

    def restart(self, batch: int, optimizer: Any) -> None:
        """Note that Keras' running means start again with this batch; in each epoch with batch 0.

        The optimizer is asked for its count now, so that it need not be asked later in the epoch.
        """
        self._windows = [replace(window, seen=0, mean=0.0) for window in self._windows]
        self._first = batch
        self._ended, self._logs = [], {}
        self._batches_before_epoch = batches_of(optimizer) - batch

    def steps_before(self, batch: int) -> int:
        """Return how many steps the optimizer has counted before this batch of the epoch, without asking it."""
        return (self._batches_before_epoch + batch) // self._accumulation

    def look_at_metric(self, model: Any) -> None:
        """Find out how the metric is reported, if Keras has made it. On TensorFlow it does so in the first step.

        Raises:
            ValueError: The metric is no mean over samples.
        """
        metric = next(metrics_named(model, self.monitor), None)
        self.is_running_mean = metric is not None
        if metric is not None and type(metric).result is not keras.metrics.Mean.result:
            raise ValueError(
                "frequency=N needs a metric that is a mean over samples, such as the loss. Received: frequency="
                f"{self._frequency!r} with monitor={self.monitor!r}, a {type(metric).__name__}; watch the loss, or "
                "decide by epochs"
            )
        self.knows_metric = self.is_running_mean or self._has_looked
        self._has_looked = True

    def add(self, batch: int, numbers: tuple[float | None, float | None]) -> None:
        """Take the metric and the loss from the logs of a finished batch. It may be called in any thread.

        Args:
            batch: The number of the batch in the epoch, from 0.
            numbers: The metric and the loss; None for what the logs lack.
        """
        with self._new_logs:
            self._logs[batch] = numbers
            self._new_logs.notify()

    def is_due(self, batch: int) -> bool:
        """Return whether an observation is due before this batch. Call it before each batch but the first."""
        self._ended.append(batch - 1)
        window = self._windows[0]
        return window.batches + batch - self._first - window.seen >= self._batches

    def take(self, batch: int | None, best: float | None) -> tuple[float | None, float | None] | None:
        """Take the metric and the training loss since the last observation, if there are enough batches.

        Args:
            batch: The next batch; the logs of all batches before it are awaited. None at the end of an epoch, when
                all logs are there.
            best: The best observation so far, if there is one.

        Returns:
            The metric and the loss; None for each that is missing or not known. None if there are too few batches.

        Raises:
            RuntimeError: The logs of a batch are still missing after `MOST_SECONDS`.
        """
        if batch is None:
            batch = self.length = max(self._logs, default=-1) + 1
        with self._new_logs:
            if not self._new_logs.wait_for(lambda: self._logs.keys() >= set(self._ended), timeout=MOST_SECONDS):
                raise RuntimeError(f"the logs of the batches before {batch} have not come in {MOST_SECONDS} seconds")
        logs = [numbers for _, numbers in sorted(self._logs.items())]
        self._ended, self._logs = [], {}
        self.noise = self._noise_of([loss for _, loss in logs])
        for i, window in enumerate(self._windows):
            seen = batch - self._first
            values = [number for numbers in logs if (number := numbers[i]) is not None]
            if not values or seen <= window.seen:
                continue
            is_of_metric, is_of_loss = i == 0 or self.monitor == "loss", i == 1 or self.monitor == "loss"
            if is_of_loss or self.is_running_mean:
                mean = values[-1]
                since = window.since(seen, mean, best if is_of_metric else None)
            else:
                mean = since = sum(values) / len(values)
            self._windows[i] = window.extend(seen, mean, since)
        if self._windows[0].batches < self._batches:
            return None
        value, loss = (window.value for window in self._windows)
        if loss is None:
            self.noise = 0.0
        self._windows = [replace(window, total=0.0, batches=0) for window in self._windows]
        return value, loss

    def _noise_of(self, losses: Sequence[float | None]) -> float:
        """The standard error of the mean of these batches, from the running means at their ends.

        By the differences between neighbours, which a falling loss makes little larger (von Neumann 1941, "Distribution
        of the ratio of the mean square successive difference to the variance").
        """
        window, size = self._windows[1], self.at_once
        totals = [window.mean * window.seen]
        for i, mean in enumerate(losses):
            totals.append(math.nan if mean is None else mean * (window.seen + (i + 1) * size))
        values = [(after - before) / size for before, after in itertools.pairwise(totals)]
        steps = [after - before for before, after in itertools.pairwise(values)]
        if not steps or not all(map(math.isfinite, steps)):
            return 0.0
        return math.sqrt(math.fsum(step * step for step in steps) / (2 * len(steps) * len(values)))


def trial_steps(epochs: int | None, steps: int | None) -> int | None:
    """Return how many optimizer steps auto mode gives each trial of its search; None if it takes an epoch.

    Args:
        epochs: Those of the `fit`; None where they are not known.
        steps: Optimizer steps in an epoch; None where they are not known.

    Returns:
        `LEAST_TRIAL` or more where ten such trials fit into the first epoch, which they do in at most twenty epochs,
        and in at most `SHORT_FIT` where two of them do. `LEAST_TINY_TRIAL` in at most twenty epochs that are shorter
        than that. None in all others, in epochs of a single step, and where the length of the training is not known.
    """
    if epochs is None or steps is None:
        return None
    if 1 < steps < LEAST_TINY_TRIAL and epochs <= TRIALS // MOST_TRIALS:
        return LEAST_TINY_TRIAL
    count = max(LEAST_TRIAL, epochs * steps // TRIALS)
    least = 2 if epochs <= SHORT_FIT else MOST_TRIALS
    return count if least * count <= steps else None


def make_cadence(model: Any, optimizer: Any, monitor: str, frequency: int, before: StepCadence) -> StepCadence:
    """Return the cadence of a training with this model and optimizer.

    Args:
        model: The compiled model.
        optimizer: The optimizer to adapt.
        monitor: The name of the metric.
        frequency: Optimizer steps in an observation. >= 1.
        before: The cadence so far, whose window goes on.

    Raises:
        ValueError: The metric is no mean over samples.
    """
    cadence = StepCadence(monitor, frequency, accumulation_of(optimizer))
    cadence.at_once = getattr(model, "steps_per_execution", 1)
    cadence.resume(before.numbers)
    cadence.length, cadence.done = before.length, before.done
    cadence.look_at_metric(model)
    return cadence
