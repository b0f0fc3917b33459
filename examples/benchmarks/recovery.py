"""Does `AdaptLROnPlateau` leave a run worse than no callback or Keras' ReduceLROnPlateau would? Which does it rescue?

Measured with real fits of tiny networks: every task from rates over seven decades, with every metric that the task has
as `monitor`, and with

    none         no callback
    keras        ReduceLROnPlateau
    no recovery  AdaptLROnPlateau with `recover=False`
    ours         AdaptLROnPlateau

A run is a task, a monitor, a rate and a seed. The four methods of a run start from the same weights and see the same
batches. What counts is the loss of the weights that the user is left with: on the training data where the monitor is
of the training, on the validation data where it is of the validation.

    sound start  without a callback the training loss stays finite, and below 1.1 times that before training
    worse        it ends more than 5 % worse than the better of none and keras
    by us        it ends more than 5 % worse than keras, too; in the others it was Keras' cuts that did the harm
    ruined       the end is not 5 % better than both the untrained weights and the best constant answer
    rescued      no sound start, none and keras are ruined, ours is not

With a small patience ReduceLROnPlateau itself is often worse than no callback: it cuts for good when an accuracy stops
at 1, while the loss still falls. Whoever replaces it does the same. So "worse" is to be read beside "by us".

The TUNING tasks are those that the rule was made on; REPORTING decides nothing. What is measured is kept in `--folder`,
as lines of JSON, and not measured again: the fits with our callback until its code changes, the others for good. So a
run may be interrupted, and `--only`, `--rates`, `--seeds` and `--monitors` do it in parts.

    python examples/benchmarks/recovery.py --tasks reporting
    python examples/benchmarks/recovery.py --keras-fits 1000

The second line repeats the three fits of Keras' own test of ReduceLROnPlateau (Adam(0.1) on twenty random rows), and
counts where our rates are not those of ReduceLROnPlateau although training is not broken. It should print 0.

It needs scikit-learn, and runs on the backend that KERAS_BACKEND names, by default on JAX, which is the fastest here.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from measured import Measured, Row
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs
from tables import table

from keras_lrplateau import AdaptLROnPlateau

EPOCHS = 30
PATIENCE = 3
SEEDS = 5
WORSE = 1.05
SOUND = 0.95
ROSE = 1.1
TRIFLE = 1e-4
OURS = ("no recovery", "ours")
METHODS = ("none", "keras", *OURS)
FOLDER = Path(__file__).resolve().parents[2] / "logs" / "recovery"
Data = tuple[np.ndarray, np.ndarray]

# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A network, its data and its optimizer.

    Attributes:
        name: What the tables call it.
        load: Gives inputs and targets; whole numbers are classes.
        network: Gives the layers after the input, the last one without activation.
        optimizer: Makes the optimizer, at a rate that is overwritten.
        rates: The decades of the starting rates: lowest and highest power of ten.
        train, batch: Rows to train on, and in a batch; the other rows validate.
    """

    name: str
    load: Callable[[], Data]
    network: Callable[[], list[Any]]
    optimizer: Callable[[], Any]
    rates: tuple[int, int]
    train: int
    batch: int


def dense(*widths: int, activation: str = "relu", dtype: str | None = None) -> Callable[[], list[Any]]:
    """A network of dense layers; the last width is that of the output."""
    *hidden, out = widths
    return lambda: [
        *(layers.Dense(width, activation=activation, dtype=dtype) for width in hidden),
        layers.Dense(out, dtype="float32"),
    ]


def convolutions(out: int, *filters: int) -> Callable[[], list[Any]]:
    """Convolutions with batch normalisation on 8x8 images."""

    def network() -> list[Any]:
        blocks = [[layers.Conv2D(n, 3, use_bias=False), layers.BatchNormalization(), layers.ReLU()] for n in filters]
        front = [layers.Reshape((8, 8, 1)), *itertools.chain(*blocks)]
        return [*front, layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(out)]

    return network


def linear(inputs: int, rows: int, noise: float, spread: float = 1.0) -> Callable[[], Data]:
    """A linear target with noise; the scales of the inputs go from 1 down to 1 / spread."""

    def load() -> Data:
        random = np.random.default_rng(0)
        x = random.normal(size=(rows, inputs)) * np.geomspace(1, 1 / spread, inputs)
        return x, (x.sum(1) + noise * random.normal(size=rows))[:, None]

    return load


def shifted(by: float, scale: float) -> Callable[[], Data]:
    """A curved target far from zero."""

    def load() -> Data:
        random = np.random.default_rng(1)
        x = random.normal(size=(160, 5))
        y = by + scale * (np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.2 * random.normal(size=160))
        return x, y[:, None]

    return load


def rare(share: float, rows: int, seed: int) -> Callable[[], Data]:
    """Two classes, one of them rare, that overlap."""

    def load() -> Data:
        random = np.random.default_rng(seed)
        x = random.normal(size=(rows, 5))
        score = x[:, 0] + 0.5 * x[:, 1] + 0.5 * random.normal(size=rows)
        return x, (score > np.quantile(score, 1 - share)).astype(np.int32)

    return load


def bundled(load: Callable[[], Any], rows: int | None = None) -> Callable[[], Data]:
    """A set of scikit-learn, shuffled; classes become whole numbers, real targets stay as they are."""

    def shuffled() -> Data:
        data = load()
        order = np.random.default_rng(0).permutation(len(data.data))[:rows]
        x, y = data.data[order], data.target[order]
        x = (x - x.mean(0)) / (x.std(0) + 1e-3)
        return x, y.astype(np.int32) if y.dtype.kind == "i" else y[:, None]

    return shuffled


def scaled(load: Callable[[], Data]) -> Callable[[], Data]:
    """The same with targets of mean 0 and standard deviation 1."""

    def standard() -> Data:
        x, y = load()
        return x, (y - y.mean()) / y.std()

    return standard


digits, wine, cancer = (
    bundled(load, 480) for load in (datasets.load_digits, datasets.load_wine, datasets.load_breast_cancer)
)
diabetes = bundled(datasets.load_diabetes)
odd_digits: Callable[[], Data] = lambda: (digits()[0], digits()[1] % 2)  # noqa: E731
SGD, ADAM = keras.optimizers.SGD, keras.optimizers.Adam
Momentum: Callable[[], Any] = lambda: SGD(momentum=0.9)  # noqa: E731

TUNING = (
    Task("linear", linear(4, 128, 0.1), dense(1), SGD, (-4, 3), train=64, batch=32),
    Task("dense", digits, dense(32, 10), Momentum, (-5, 2), train=320, batch=64),
    Task("deep", cancer, dense(16, 16, 16, 16, 16, 2), ADAM, (-6, 1), train=240, batch=60),
    Task("conv", digits, convolutions(10, 4, 8), SGD, (-4, 3), train=320, batch=80),
    Task("shifted", shifted(8, 1), dense(32, 1), SGD, (-5, 2), train=96, batch=32),
    Task("imbalanced", rare(0.05, 600, 0), dense(32, 32, 2), Momentum, (-4, 3), train=400, batch=80),
    Task("float16", digits, dense(32, 10, dtype="mixed_float16"), SGD, (-4, 3), train=320, batch=64),
)
REPORTING = (
    Task("linear, scales", linear(16, 192, 0.3, spread=10), dense(1), Momentum, (-5, 2), train=96, batch=24),
    Task("dense, diabetes", scaled(diabetes), dense(24, 1), ADAM, (-5, 2), train=240, batch=60),
    Task("deep, tanh", wine, dense(16, 16, 16, 16, 3, activation="tanh"), SGD, (-4, 3), train=100, batch=25),
    Task("conv, odd digits", odd_digits, convolutions(2, 6), ADAM, (-6, 1), train=320, batch=64),
    Task("shifted, diabetes", diabetes, dense(16, 16, 1), SGD, (-7, 0), train=240, batch=60),
    Task("imbalanced, 2 %", rare(0.02, 800, 1), dense(24, 2), ADAM, (-5, 2), train=500, batch=100),
    Task("float16, regression", scaled(diabetes), dense(16, 16, 1, dtype="mixed_float16"), Momentum, (-4, 3), 240, 60),
)
# --- fits ------------------------------------------------------------------------------------------------------------


def monitors_of(task: Task) -> list[str]:
    """Every metric that a fit of this task has."""
    kinds = ("loss", "accuracy") if task.load()[1].dtype.kind == "i" else ("loss",)
    return [prefix + kind for kind in kinds for prefix in ("", "val_")]


class Bench:
    """A compiled model that is set back before each fit, so that it is compiled once."""

    def __init__(self, task: Task):
        x, y = task.load()
        self._is_classes = y.dtype.kind == "i"
        x, y = x.astype(np.float32), y if self._is_classes else y.astype(np.float32)
        self.train, self.validation = (x[: task.train], y[: task.train]), (x[task.train :], y[task.train :])
        self._task = task
        self._weights: dict[int, list[np.ndarray]] = {}
        self._before: dict[int, list[float]] = {}
        self.model = self._build()
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(
            task.optimizer(),
            loss=cross_entropy if self._is_classes else "mse",
            metrics=["accuracy"] if self._is_classes else [],
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self._memory = [np.array(each) for each in self.model.optimizer.variables]

    def _build(self) -> Any:
        return keras.Sequential([keras.Input(self.train[0].shape[1:]), *self._task.network()])

    def reset(self, rate: float, seed: int) -> None:
        """Weights, optimizer and random numbers as they are before training."""
        if seed not in self._weights:
            keras.utils.set_random_seed(seed)
            self._weights[seed] = self._build().get_weights()
        self.model.set_weights(self._weights[seed])
        for variable, value in zip(self.model.optimizer.variables, self._memory, strict=True):
            variable.assign(value)
        self.model.optimizer.learning_rate = rate
        self.model.stop_training = False
        keras.utils.set_random_seed(seed)

    def losses(self) -> list[float]:
        """Of the weights as they are, on the training and the validation data."""
        results = [
            self.model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)
            for x, y in (self.train, self.validation)
        ]
        return [float(each["loss"]) for each in results]

    def growth(self, seed: int) -> float:
        """How many times as large the trainable weights are as before training, as a root mean square."""
        pairs = list(zip(self.model.weights, self._weights[seed], strict=True))
        now = sum(float(np.sum(np.array(weight, float) ** 2)) for weight, _ in pairs if weight.trainable)
        return math.sqrt(now / sum(float(np.sum(first**2)) for weight, first in pairs if weight.trainable))

    def constant(self) -> list[float]:
        """The losses of the answer that is best for the training data among those that are alike for all rows."""
        (_, known), (_, others) = self.train, self.validation
        if not self._is_classes:
            return [float(np.mean((y - known.mean(0)) ** 2)) for y in (known, others)]
        shares = (np.bincount(known, minlength=known.max() + 1) + 0.5) / (len(known) + 0.5 * (known.max() + 1))
        return [float(-np.mean(np.log(shares[y]))) for y in (known, others)]

    def fit(self, rate: float, seed: int, callbacks: list[Any], epochs: int) -> Row:
        """Train, and say what came of it."""
        self.reset(rate, seed)
        if seed not in self._before:
            self._before[seed] = self.losses()
        history = self.model.fit(
            *self.train,
            epochs=epochs,
            batch_size=self._task.batch,
            validation_data=self.validation,
            validation_batch_size=len(self.validation[0]),
            verbose=0,
            callbacks=callbacks,
        ).history
        decisions = getattr(callbacks[0], "decisions", []) if callbacks else []
        return {
            "before": self._before[seed],
            "constant": self.constant(),
            "after": self.losses(),
            "highest": float(np.max(np.nan_to_num(history["loss"], nan=np.inf))),
            "growth": self.growth(seed),
            "rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "decisions": [
                (each.epoch + 1, each.kind, each.rate, each.restore, each.reason)
                for each in decisions
                if each.is_action
            ],
        }


def callbacks_of(method: str, monitor: str, patience: int, factor: float) -> list[Any]:
    """The callbacks of a method."""
    settings = {"monitor": monitor, "patience": patience, "factor": factor}
    if method == "none":
        return []
    if method == "keras":
        return [keras.callbacks.ReduceLROnPlateau(**settings)]
    return [AdaptLROnPlateau(**settings, **({"recover": False} if method == "no recovery" else {}))]


# --- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run with all four methods.

    Attributes:
        task, monitor, rate, seed: Which one.
        rows: What was measured, by method.
    """

    task: str
    monitor: str
    rate: float
    seed: int
    rows: dict[str, Row]

    @property
    def _side(self) -> int:
        return int(self.monitor.startswith("val_"))

    def loss(self, method: str) -> float:
        """The loss of the weights left; infinite if it is not a number."""
        loss = self.rows[method]["after"][self._side]
        return loss if math.isfinite(loss) else math.inf

    @property
    def before(self) -> float:
        """The loss before training."""
        return float(self.rows["none"]["before"][self._side])

    def ratio(self, method: str, *rivals: str) -> float:
        """The loss left, as a multiple of that of the best of these rivals."""
        ours, rival = self.loss(method), min(map(self.loss, rivals))
        if ours == rival:
            return 1.0
        return (ours + TRIFLE * self.before) / (rival + TRIFLE * self.before)

    def is_worse(self, method: str) -> bool:
        """Whether it is worse than the better of none and keras."""
        return self.ratio(method, "none", "keras") > WORSE

    def is_by_us(self, method: str) -> bool:
        """Whether it is, and worse than keras, too."""
        return self.is_worse(method) and self.ratio(method, "keras") > WORSE

    @property
    def starts_sound(self) -> bool:
        """Whether the rate does no harm without any callback."""
        row = self.rows["none"]
        return bool(row["highest"] < ROSE * row["before"][0]) and math.isfinite(self.loss("none"))

    def is_ruined(self, method: str) -> bool:
        """Whether the weights left are no better than untrained ones, or than a constant answer."""
        known = min(self.before, self.rows["none"]["constant"][self._side])
        return not self.loss(method) < SOUND * known

    @property
    def is_lost(self) -> bool:
        """Whether it is ruined without us. A rate that is only too low ruins nothing."""
        return not self.starts_sound and self.is_ruined("none") and self.is_ruined("keras")


def measure_all(tasks: Sequence[Task], arguments: argparse.Namespace) -> list[Run]:
    """All runs of these tasks, with a line of progress."""
    store, began = Measured(arguments.folder), time.perf_counter()
    runs = []
    for task in tasks:
        bench = functools.cache(functools.partial(Bench, task))  # Compiled only where something is to be measured.
        monitors = [each for each in monitors_of(task) if arguments.monitors is None or each in arguments.monitors]
        rates = [10.0**power for power in range(task.rates[0], task.rates[1] + 1)]
        for rate in rates if arguments.rates is None else sorted(set(rates) & set(arguments.rates)):
            for seed, monitor in itertools.product(range(arguments.seeds), monitors):
                rows = measure_one(store, bench, [task.name, arguments.epochs, rate, seed], monitor, arguments)
                runs.append(Run(task.name, monitor, rate, seed, rows))
            print(f"{time.perf_counter() - began:5.0f} s: {task.name}, rate {rate:g}", file=sys.stderr, flush=True)
    return runs


def measure_one(
    store: Measured, bench: Callable[[], Bench], fit: list[Any], monitor: str, arguments: argparse.Namespace
) -> dict[str, Row]:
    """One run with every method; `fit` is the name of the task, the epochs, the rate and the seed."""
    _, epochs, rate, seed = fit
    rows = {}
    for method in METHODS:
        # Without a callback it makes no difference what is watched.
        name = [*fit, method] + ([] if method == "none" else [monitor, arguments.patience, arguments.factor])

        def measure(method: str = method) -> Row:
            callbacks = callbacks_of(method, monitor, arguments.patience, arguments.factor)
            return bench().fit(rate, seed, callbacks, epochs)

        rows[method] = store.get(json.dumps(name), method in OURS, measure)
    return rows


# --- tables ----------------------------------------------------------------------------------------------------------


def share(runs: Iterable[bool]) -> str:
    """How many of how many."""
    answers = list(runs)
    return f"{sum(answers)} of {len(answers)}"


def print_summary(runs: list[Run]) -> None:
    """Who is harmed and who is rescued, by task, by monitor and by the decade of the rate."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.task, []).append(run)
    for run in runs:
        groups.setdefault(f"monitor={run.monitor!r}", []).append(run)
    groups["all"] = runs
    for method in OURS:
        rows = []
        for name, group in groups.items():
            sound, lost = [run for run in group if run.starts_sound], [run for run in group if run.is_lost]
            rows.append(
                [
                    name,
                    share(run.is_worse(method) for run in sound),
                    share(run.is_by_us(method) for run in sound),
                    share(run.is_worse(method) for run in group),
                    share(run.is_by_us(method) for run in group),
                    f"{np.mean([run.ratio(method, 'none', 'keras') < 1 / WORSE for run in group]):.1%}",
                    share(not run.is_ruined(method) for run in lost),
                ]
            )
        header = ("", "worse, sound start", "by us", "worse, all", "by us", "5 % better", "rescued of the ruined")
        table(f"{method}: against the better of no callback and ReduceLROnPlateau", header, rows)


def print_growth(runs: list[Run]) -> None:
    """How large weights become without a callback, where that does no harm and where the run is ruined by it."""
    rows = []
    for name, group in (
        ("sound start", [run for run in runs if run.starts_sound]),
        ("ruined", [run for run in runs if run.is_lost]),
    ):
        # Whatever the monitor, it is the same fit.
        fits = {(run.task, run.rate, run.seed): run.rows["none"].get("growth", math.nan) for run in group}
        sizes = np.nan_to_num(list(fits.values()), nan=np.inf)
        if sizes.size:
            quantiles = np.quantile(sizes, (0, 0.01, 0.1, 0.5, 0.9, 0.99, 1), method="nearest")
            rows.append([name, str(sizes.size), *(f"{size:.3g}" for size in quantiles)])
    header = ("", "fits", "least", "1 %", "10 %", "median", "90 %", "99 %", "most")
    table("Size of the weights in the end, as a multiple of that before training, without a callback", header, rows)


def print_worst(runs: list[Run], count: int) -> None:
    """The runs in which ours did the most harm, with what it decided and why."""
    worst = sorted((run for run in runs if run.is_by_us("ours")), key=lambda run: -run.ratio("ours", "none", "keras"))
    worst.sort(key=lambda run: not run.starts_sound)
    print(f"\nThe worst runs of ours: {min(count, len(worst))} of {len(worst)} that are worse by us")
    for run in worst[:count]:
        losses = ", ".join(f"{method} {run.loss(method):.4g}" for method in METHODS)
        start = "sound start" if run.starts_sound else "no sound start"
        print(f"\n{run.task}, monitor={run.monitor!r}, rate {run.rate:g}, seed {run.seed} ({start})")
        print(f"    {run.before:.4g} before training; left: {losses}")
        for epoch, kind, rate, restore, reason in run.rows["ours"]["decisions"]:
            print(f"    epoch {epoch}: {kind}, rate {rate:.3g}{f', back to {restore}' if restore else ''}: {reason}")


# --- Keras' own fits -------------------------------------------------------------------------------------------------

KERAS_FITS: dict[str, tuple[int, dict[str, Any]]] = {
    "model fit": (2, {"min_delta": 100.0}),
    "min_lr": (4, {"min_delta": 10.0, "min_lr": 0.005}),
    "cooldown": (4, {"min_delta": 100.0, "cooldown": 2}),
}
"""Epochs and arguments of the fits in Keras' reduce_lr_on_plateau_test.py, besides `patience=1, factor=0.1`."""

FAR_ABOVE = 3.0
"""A training loss that never comes below this multiple of the one before training is that of a broken training."""


def twenty_rows(seed: int) -> tuple[Data, Data]:
    """Ten rows to train on and ten to validate, of two classes, as Keras' tests make them."""
    random = np.random.default_rng(seed)
    centres = 4 * random.random((2, 3))
    y = np.repeat([0, 1], 10)
    x = random.normal(loc=centres[y], scale=1.0)
    order = random.permutation(20)
    x, y = x[order].astype(np.float32), np.eye(2, dtype=np.float32)[y[order]]
    return (x[:10], y[:10]), (x[10:], y[10:])


def keras_fits(seeds: int, epochs: int | None) -> int:
    """Print, for each of Keras' fits, in how many of so many our rates differ; returns how many have no excuse."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(5), layers.Dense(2)])
    model.compile(ADAM(0.1), loss="mse")
    model.optimizer.build(model.trainable_variables)
    memory = [np.array(each) for each in model.optimizer.variables]
    rows, unexcused = [], 0
    for name, (usual, settings) in KERAS_FITS.items():
        differ, excused, examples = 0, 0, []
        for seed in range(seeds):
            data, validation = twenty_rows(seed)
            random = np.random.default_rng(seed)
            bounds = [math.sqrt(6 / sum(each.shape)) if len(each.shape) == 2 else 0 for each in model.weights]
            # Glorot's uniform weights and zero biases, as Keras has them.
            pairs = zip(bounds, model.weights, strict=True)
            weights = [random.uniform(-bound, bound, each.shape) for bound, each in pairs]
            traces, losses, decisions = [], [], []
            for make in (keras.callbacks.ReduceLROnPlateau, AdaptLROnPlateau):
                model.set_weights(weights)
                for variable, value in zip(model.optimizer.variables, memory, strict=True):
                    variable.assign(value)
                before = float(model.evaluate(*data, verbose=0))
                keras.utils.set_random_seed(seed)
                callback = make(monitor="val_loss", patience=1, factor=0.1, **settings)
                history = model.fit(
                    *data, validation_data=validation, epochs=epochs or usual, verbose=0, callbacks=[callback]
                ).history
                last = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
                traces.append(np.array([*history["learning_rate"], last], float))
                losses.append(np.array(history["loss"]))
                decisions = getattr(callback, "decisions", [])
            if not np.allclose(*traces, rtol=1e-5):
                broken = not np.isfinite(losses[0]).all() or losses[0].min() > FAR_ABOVE * before
                differ, excused = differ + 1, excused + broken
                if not broken:
                    examples.append(
                        f"{name}, seed {seed}: loss {before:.4g} before, then {np.round(losses[0], 4)}; rates "
                        f"{traces[0]} and ours {traces[1]}; "
                        + "; ".join(f"epoch {each.epoch + 1}: {each.describe()}" for each in decisions)
                    )
        unexcused += differ - excused
        rows.append([name, str(epochs or usual), str(seeds), str(differ), str(differ - excused)])
        for example in examples[:5]:
            print(example)
    header = ("fit", "epochs", "fits", "rates differ", "although training is not broken")
    table(f"Keras' own fits, on {keras.backend.backend()}", header, rows)
    return unexcused


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", choices=("tuning", "reporting"), default="tuning", help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="TASK", help="names of tasks (default: all)")
    parser.add_argument("--monitors", nargs="+", help="metrics to watch (default: all that a task has)")
    parser.add_argument("--rates", nargs="+", type=float, help="starting rates (default: eight, a decade apart)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds per rate (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help=f"epochs of a fit (default: {EPOCHS}; of Keras' fits, their own)")
    parser.add_argument("--patience", type=int, default=PATIENCE, help="(default: %(default)s)")
    parser.add_argument("--factor", type=float, default=0.1, help="(default: %(default)s)")
    parser.add_argument("--worst", type=int, default=10, help="worst runs to describe (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to keep what was measured")
    parser.add_argument("--keras-fits", type=int, metavar="SEEDS", help="count over Keras' own fits instead")
    arguments = parser.parse_args()
    # Of broken trainings: overflows, and what the callback has to say about them.
    warnings.simplefilter("ignore")
    if arguments.keras_fits:
        sys.exit(keras_fits(arguments.keras_fits, arguments.epochs) > 0)
    tasks = TUNING if arguments.tasks == "tuning" else REPORTING
    unknown = set(arguments.only or ()) - {task.name for task in tasks}
    if unknown:
        parser.error(f"--only must name {arguments.tasks} tasks: {', '.join(task.name for task in tasks)}")
    arguments.epochs = arguments.epochs or EPOCHS
    runs = measure_all([task for task in tasks if arguments.only is None or task.name in arguments.only], arguments)
    settings = f"{arguments.epochs} epochs, patience {arguments.patience}, factor {arguments.factor:g}"
    print(f"{arguments.tasks} tasks, {settings}")
    print_summary(runs)
    print_growth(runs)
    print_worst(runs, arguments.worst)


if __name__ == "__main__":
    main()
