"""What the callback costs per epoch, beside no callback, an empty one, and Keras' own.

    KERAS_BACKEND=jax python examples/benchmarks/overhead.py

All variants run in one process, in rounds, and each round begins with another variant, so that whatever else the
machine does falls on all of them alike. All train the same compiled model, since two equal ones differ in speed by more
than a callback costs; it is traced before anything is measured. Every fit starts from the same weights: the validation
loss improves in nearly every epoch, which is when AdaptLROnPlateau copies the weights and the optimizer's state to host
memory.

An epoch is measured from its begin to the begin of the next one, all callbacks included. The first epoch of each fit is
left out: that is where a training pays once, for a copy of the initial weights or for opening a file. A round gives
the fastest of a variant's epochs, since whatever else the machine does only makes one slower, and each of them has a
new best. Of the rounds, the lower quartile is compared with the empty callback's, for the same reason. The table has
that, and a 95 % bootstrap interval over the rounds, for the time on the clock and for the processor time of all
threads. One thread computes, since several would wait for each other on a busy machine, by more than a callback costs.

The cost of a step cadence is measured apart, within fits in epochs without validation: in every other one, the hooks of
the callback at each batch are taken away, so the epochs beside each other differ in nothing else. It is the median of
these pairs.

The table of the callbacks' own hooks needs no comparison, and so tells small costs apart on a busy machine, too. It
leaves out what a hook costs elsewhere, as when it makes Keras wait for the device.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import keras
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_lrplateau import AdaptLROnPlateau

MAX_RATIO = 1.02
"""The target for AdaptLROnPlateau without log_dir on the larger model, and for its steps with `frequency=100`, relative
to the empty callback."""

EMPTY, OURS, OURS_LOGGING, TENSORBOARD = (
    "empty Callback",
    "AdaptLROnPlateau",
    "AdaptLROnPlateau, log_dir",
    "TensorBoard(log_dir)",
)

Variants = dict[str, Callable[[str], list[Any]]]
"""By name what makes the callbacks of a fit, given an empty directory."""

VARIANTS: Variants = {
    "no callback": lambda log_dir: [],
    EMPTY: lambda log_dir: [keras.callbacks.Callback()],
    "ReduceLROnPlateau": lambda log_dir: [keras.callbacks.ReduceLROnPlateau()],
    OURS: lambda log_dir: [AdaptLROnPlateau()],
    "AdaptLROnPlateau, rollback=False": lambda log_dir: [AdaptLROnPlateau(rollback=False)],
    OURS_LOGGING: lambda log_dir: [AdaptLROnPlateau(log_dir=log_dir)],
    TENSORBOARD: lambda log_dir: [keras.callbacks.TensorBoard(log_dir)],
}
"""The callbacks of each variant, made for each fit."""


@dataclass(frozen=True)
class Size:
    """A model, its data, and how long it is trained each time.

    Attributes:
        name: For the table.
        rows: Of training data; a quarter as many for validation.
        features: Inputs of the model.
        units: In each of two hidden layers.
        batch_size: Rows in a step.
        epochs: Measured in each fit.
        validates: Whether there is a validation.
    """

    name: str
    rows: int
    features: int
    units: int
    batch_size: int
    epochs: int
    validates: bool = True


QUARTILE = 0.25

CLOCK, PROCESSOR = 0, 1
"""The columns of all times."""

SIZES = [
    Size("medium", rows=16_000, features=64, units=384, batch_size=128, epochs=3),
    Size("tiny, the worst case", rows=256, features=8, units=8, batch_size=32, epochs=20),
]

LONG = Size("medium, 300 steps an epoch", 38_400, 64, 384, 128, epochs=24, validates=False)


class EveryOther(keras.callbacks.Callback):
    """Takes the hooks at batches from another callback in every other epoch, in pairs of alternating order."""

    def __init__(self, callback: Any) -> None:
        super().__init__()
        self.callback = callback
        names = "on_train_batch_begin", "on_train_batch_end"
        self.hooks = {name: getattr(callback, name) for name in names}
        self.nothing = {name: getattr(keras.callbacks.Callback(), name) for name in names}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        vars(self.callback).update(self.hooks if is_with_hooks(epoch) else self.nothing)


def is_with_hooks(epoch: int) -> bool:
    """The first epoch is left out; then with, without, without, with."""
    return epoch % 4 in (1, 0)


class ClockedModel(keras.Sequential):
    """Notes the time whenever Keras resets the metrics: at the begin of an epoch and of its validation.

    A callback would do the same, but then there would be no fit without a callback.
    """

    ticks: tuple[tuple[float, float], ...] = ()
    """The clock and the processor time, in seconds."""

    def reset_metrics(self) -> None:
        # A tuple: Keras would track a list.
        self.ticks = (*self.ticks, (time.perf_counter(), time.process_time()))
        super().reset_metrics()


class Trainee:
    """A compiled model with its data, to be trained again and again from the same beginning."""

    def __init__(self, size: Size) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(size.rows * 5 // 4, size.features)).astype("float32")
        y = np.tanh(x @ rng.normal(size=(size.features, 4)) / size.features**0.5).astype("float32")
        self.arguments: dict[str, Any] = {
            "x": x[: size.rows],
            "y": y[: size.rows],
            "validation_data": (x[size.rows :], y[size.rows :]) if size.validates else None,
            "batch_size": size.batch_size,
            "verbose": 0,
            # The first is left out, and the last has no next one that would begin.
            "epochs": size.epochs + 2,
        }
        keras.utils.set_random_seed(0)
        hidden = [keras.layers.Dense(size.units, activation="relu") for _ in range(2)]
        self.model = ClockedModel([keras.Input((size.features,)), *hidden, keras.layers.Dense(4)])
        self.model.compile(keras.optimizers.Adam(1e-3), loss="mse")
        self.model.optimizer.build(self.model.trainable_variables)
        self.beginning = [keras.ops.convert_to_numpy(variable).copy() for variable in self._variables()]

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def fit(self, callbacks: list[Any]) -> np.ndarray:
        """Train from the beginning. Returns the seconds of each measured epoch, on the clock and of the processor."""
        for variable, value in zip(self._variables(), self.beginning, strict=True):
            variable.assign(value)
        self.model.ticks = ()
        self.model.fit(**self.arguments, callbacks=callbacks)
        begins = self.model.ticks[:: 1 if self.arguments["validation_data"] is None else 2]
        assert len(begins) == self.arguments["epochs"], "Keras resets the metrics at other times than it used to"
        return np.diff(begins, axis=0)[1:]

    def share_of_new_bests(self) -> float:
        """How many of the last fit's epochs had a new best, by the callback's default `min_delta`."""
        history = self.model.history.history
        losses = history.get("val_loss", history["loss"])
        bests = np.minimum.accumulate([np.inf, *losses[:-1]])
        return float(np.mean(losses < bests - 1e-4))


def measure(size: Size, rounds: int, variants: Variants, console: Console) -> tuple[dict[str, np.ndarray], float]:
    """Measure the variants in turn.

    Returns:
        By variant the seconds of the fastest epoch, a row for each round, with the clock's and the processor's time;
        and the share of epochs with a new best.
    """
    trainee = Trainee(size)
    names = list(variants)
    fastest: dict[str, list[np.ndarray]] = {name: [] for name in names}
    improvements: list[float] = []
    # Round -1 traces the training step and counts for nothing.
    for number in track(range(-1, rounds), f"{size.name} model", console=console, transient=True):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            with tempfile.TemporaryDirectory() as log_dir:
                seconds = trainee.fit(variants[name](log_dir))
            if number >= 0:
                fastest[name].append(np.min(seconds, axis=0))
                improvements.append(trainee.share_of_new_bests())
    return {name: np.array(values) for name, values in fastest.items()}, float(np.mean(improvements))


Estimate = tuple[float, float, float]
"""A number and its 95 % interval."""


def estimate(times: np.ndarray, others: np.ndarray, compare: Any) -> Estimate:
    """Two lower quartiles compared, with a bootstrap over the rounds, which both have in common."""
    rounds = np.random.default_rng(0).integers(len(times), size=(10_000, len(times)))
    found = compare(np.quantile(times[rounds], QUARTILE, axis=1), np.quantile(others[rounds], QUARTILE, axis=1))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(compare(np.quantile(times, QUARTILE), np.quantile(others, QUARTILE))), float(low), float(high)


def report(size: Size, seconds: dict[str, np.ndarray], improved: float, console: Console) -> None:
    rounds = len(seconds[EMPTY])
    table = Table(
        title=f"{size.name} model on {keras.backend.backend()}, Keras {keras.__version__}: {rounds} rounds of "
        f"{size.epochs} epochs, new best in {improved:.0%} of the epochs"
    )
    table.add_column("callback", no_wrap=True)
    table.add_column("ms per epoch", justify="right")
    table.add_column("relative", justify="right")
    table.add_column("ms more", justify="right")
    table.add_column("processor ms more", justify="right")
    for name, times in seconds.items():
        cells = [f"{1e3 * np.quantile(times[:, CLOCK], QUARTILE):.1f}"]
        if name != EMPTY:
            cells.append("{:.3f} \\[{:.3f}, {:.3f}]".format(*ratio(seconds, name, CLOCK)))
            cells.append("{:+.2f} \\[{:+.2f}, {:+.2f}]".format(*more(seconds, name, EMPTY, CLOCK)))
            cells.append("{:+.2f} \\[{:+.2f}, {:+.2f}]".format(*more(seconds, name, EMPTY, PROCESSOR)))
        table.add_row(name, *cells)
    console.print(table)


def ratio(seconds: dict[str, np.ndarray], name: str, which: int) -> Estimate:
    """The time of a variant in that of the empty callback."""
    return estimate(seconds[name][:, which], seconds[EMPTY][:, which], np.divide)


def more(seconds: dict[str, np.ndarray], name: str, other: str, which: int) -> Estimate:
    """The milliseconds that a variant takes longer than another one."""
    return estimate(1e3 * seconds[name][:, which], 1e3 * seconds[other][:, which], np.subtract)


def measure_steps(rounds: int, console: Console) -> None:
    """Print what the hooks of a step cadence cost, in the time of the steps without them."""
    trainee = Trainee(LONG)
    ratios = []
    for number in track(range(-1, rounds), LONG.name, console=console, transient=True):
        callback = AdaptLROnPlateau("loss", frequency=100)
        seconds = trainee.fit([EveryOther(callback), callback])
        if number >= 0:
            pairs = [sorted(pair, key=is_with_hooks) for pair in np.arange(1, LONG.epochs + 1).reshape(-1, 2).tolist()]
            ratios += [seconds[on - 1] / seconds[off - 1] for off, on in pairs]
    samples = np.random.default_rng(0).integers(len(ratios), size=(10_000, len(ratios)))
    for which, clock in ((CLOCK, "time"), (PROCESSOR, "processor time")):
        found = np.array(ratios)[:, which]
        low, high = np.quantile(np.median(found[samples], axis=1), [0.025, 0.975])
        interval = float(np.median(found)), float(low), float(high)
        text = "{:.3f} \\[{:.3f}, {:.3f}]".format(*interval)
        console.print(
            f"{clock} of steps with frequency=100, {len(found)} pairs of epochs: {text} of that without, "
            f"target {verdict(interval, MAX_RATIO)}"
        )


def judge(seconds: dict[str, np.ndarray], names: list[str], console: Console) -> None:
    """Say whether these meet the target, or that the interval is too wide to tell."""
    for which, clock in ((CLOCK, "time"), (PROCESSOR, "processor time")):
        for name in names:
            interval = ratio(seconds, name, which)
            text = "{:.3f} \\[{:.3f}, {:.3f}]".format(*interval)
            console.print(f"{clock}, {name}: {text} of the empty callback's, target {verdict(interval, MAX_RATIO)}")


def judge_logging(seconds: dict[str, np.ndarray], console: Console) -> None:
    """Say whether writing costs less than `keras.callbacks.TensorBoard`."""
    for which, clock in ((CLOCK, "time"), (PROCESSOR, "processor time")):
        interval = more(seconds, OURS_LOGGING, TENSORBOARD, which)
        text = "{:+.2f} \\[{:+.2f}, {:+.2f}]".format(*interval)
        console.print(f"{clock} with log_dir: {text} ms more than TensorBoard's, target {verdict(interval, 0)}")


def print_own_time(size: Size, epoch: float, names: list[str], console: Console) -> None:
    """Print the milliseconds that each callback spends in its own hooks, median over the epochs but the first."""
    trainee = Trainee(size)
    trainee.fit([])
    table = Table(title=f"{size.name} model: time in the callback's own hooks")
    for heading in ("callback", "ms per epoch", "share of the epoch"):
        table.add_column(heading, justify="left" if heading == "callback" else "right")
    for name in names:
        with tempfile.TemporaryDirectory() as log_dir:
            callbacks = VARIANTS[name](log_dir)
            spent: list[float] = [0.0]
            for callback in callbacks:
                for hook in [hook for hook in dir(callback) if hook.startswith("on_")]:
                    method = getattr(callback, hook)
                    if not getattr(method, "_is_default", False):  # Wrapped, those would end asynchronous dispatch.
                        setattr(callback, hook, timed(method, spent))
            new_epoch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_, spent=spent: spent.append(0.0))
            trainee.fit([new_epoch, *callbacks])
        if callbacks:
            own = float(np.median(spent[2:]))
            table.add_row(name, f"{1e3 * own:.2f}", f"{own / epoch:.2%}")
    console.print(table)


def timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The method, which adds its seconds to the last number in `spent`."""

    def call(*args: Any, **kwargs: Any) -> None:
        began = time.perf_counter()
        method(*args, **kwargs)
        spent[-1] += time.perf_counter() - began

    return call


def verdict(interval: Estimate, limit: float) -> str:
    _, low, high = interval
    return f"<= {limit}: " + ("met" if high <= limit else "missed" if low > limit else "not decided by these rounds")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the callback costs per epoch.")
    parser.add_argument(
        "--rounds", type=int, default=9, help="how often each variant is trained (default: %(default)s)"
    )
    parser.add_argument("--steps", action="store_true", help="only the cost of a step cadence")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    console = Console(width=max(125, Console().width))
    names = list(VARIANTS)
    if importlib.util.find_spec("tensorflow") is None:
        names.remove(TENSORBOARD)
        console.print("keras.callbacks.TensorBoard is left out: it needs TensorFlow, which is not installed.")
    measure_steps(rounds, console)
    for size in SIZES if not arguments.steps else []:
        seconds, improved = measure(size, rounds, {name: VARIANTS[name] for name in names}, console)
        report(size, seconds, improved, console)
        if size is SIZES[0]:  # The targets are for epochs of a usual length.
            judge(seconds, [OURS], console)
            if TENSORBOARD in names:
                judge_logging(seconds, console)
            print_own_time(size, float(np.median(seconds[EMPTY][:, CLOCK])), names, console)


if __name__ == "__main__":
    main()
