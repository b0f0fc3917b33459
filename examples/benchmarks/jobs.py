"""What does auto mode make of small jobs as people run them, and what do the usual callbacks?

Measured with real fits of models as their users write them: batch normalisation, dropout, augmentation, embeddings,
recurrent layers, attention, a U-Net, fine-tuning. A job is trained for its natural length and for ten epochs; with
`--lengths long` for three epochs of 400 steps, for which its rows are repeated. It begins from its tuned rate and from
rates up to a hundred times lower and higher, with

    fixed      no callback
    cosine     the rate annealed to zero over all steps (keras.optimizers.schedules.CosineDecay)
    keras      ReduceLROnPlateau, factor 0.2 and patience 3
    default    AdaptLROnPlateau with the same two settings
    auto       AdaptLROnPlateau.auto(), which is told nothing

All methods of a run start from the same weights and see the same batches. What counts is the job's metric on a test
set: of the weights that the user is left with, and of the best epoch by validation, as ModelCheckpoint keeps them. The
tuned rate is the best power of ten for a fixed rate over the natural length. "behind" is by how much a metric is worse,
as a share of what it is compared with: at each rate the better of fixed and keras from there; and, "of tuned", the
better of the two from the tuned rate.

The TUNING jobs are those that auto mode was made on; REPORTING decides nothing. What is measured is kept in `--folder`,
as lines of JSON, and not measured again: the fits with our callback until its code changes, the others for good. So it
may be interrupted, and `--only`, `--lengths`, `--rates`, `--methods` and `--seeds` do it in parts.

    python examples/benchmarks/jobs.py --only conv
    python examples/benchmarks/jobs.py --jobs reporting

It needs scikit-learn, and runs on the backend that KERAS_BACKEND names, by default on JAX, which is the fastest here.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pydoc_data import topics
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # Sums end the same on any number of cores.

import keras
import numpy as np
from keras import layers
from measured import Measured, Row
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs
from tables import table

from keras_lrplateau import AdaptLROnPlateau

SHORT = 10
LONG = 3
LONG_STEPS = 400
SEEDS = 3
FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)
METHODS = ("fixed", "cosine", "keras", "default", "auto")
OURS = ("default", "auto", "auto, max_lr")
RIVALS = ("fixed", "keras")
KEPT = {"last": "the weights left", "best": "the best epoch's weights"}
FOLDER = Path(__file__).resolve().parents[2] / "logs" / "jobs"
Arrays = tuple[Any, np.ndarray]

# --- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """Inputs and targets of three sets."""

    train: Arrays
    validation: Arrays
    test: Arrays


def split(x: Any, y: np.ndarray, train: int, validation: int) -> Data:
    """The first rows train, the next ones validate, the others test. The inputs may be a dictionary."""

    def rows(start: int, end: int | None) -> Arrays:
        part = {name: column[start:end] for name, column in x.items()} if isinstance(x, dict) else x[start:end]
        return part, y[start:end]

    return Data(rows(0, train), rows(train, train + validation), rows(train + validation, None))


def repeated(rows: Arrays, times: int) -> Arrays:
    """The same rows again and again, for a long epoch."""
    x, y = rows
    x = {name: np.concatenate([column] * times) for name, column in x.items()} if isinstance(x, dict) else x
    return x if isinstance(x, dict) else np.concatenate([x] * times), np.concatenate([y] * times)


def digit_images(classes: range, seed: int = 0) -> Arrays:
    """Scikit-learn's digits of some classes, 8x8, shuffled."""
    digits = datasets.load_digits()
    x, y = digits.images[..., None].astype(np.float32) / 16, digits.target.astype(np.int32)
    order = np.random.default_rng(seed).permutation(len(x))
    order = order[np.isin(y[order], classes)]
    return x[order], y[order] - classes.start


def letters(length: int, seed: int) -> Arrays:
    """Pieces of the Python documentation that Python ships, and for each letter the next one."""
    known = " abcdefghijklmnopqrstuvwxyz.,()_\"'=\n"
    text = " ".join("\n".join(topics.topics[name] for name in sorted(topics.topics)).lower().split(" "))
    codes = np.array([known.find(letter) + 1 for letter in text], np.int32)
    starts = np.random.default_rng(seed).permutation(len(codes) // (length + 1))[:1400] * (length + 1)
    pieces = np.stack([codes[start : start + length + 1] for start in starts])
    return pieces[:, :-1], pieces[:, 1:]


LETTERS = 37


def table_rows(rows: int, seed: int, is_class: bool) -> Arrays:
    """A table with three columns of categories and four of numbers; the categories interact."""
    random = np.random.default_rng(seed)
    sizes = {"shop": 40, "item": 25, "day": 7}
    x: dict[str, np.ndarray] = {name: random.integers(0, size, rows) for name, size in sizes.items()}
    x["numbers"] = random.normal(size=(rows, 4)).astype(np.float32)
    hidden = {name: random.normal(size=(size, 3)) for name, size in sizes.items()}
    taste = (hidden["shop"][x["shop"]] * hidden["item"][x["item"]]).sum(1)
    y = taste + hidden["day"][x["day"], 0] + np.tanh(x["numbers"] @ random.normal(size=4))
    y = (y - y.mean()) / y.std() + 0.2 * random.normal(size=rows)
    return x, (y > np.quantile(y, 0.8)).astype(np.int32) if is_class else y.astype(np.float32)


def waves(rows: int, window: int, seed: int) -> Arrays:
    """A series like that of the sunspots: cycles of changing height and length, with noise; the next value."""
    random = np.random.default_rng(seed)
    phase = np.cumsum(2 * np.pi / 11 * (1 + 0.15 * np.sin(np.arange(rows + window) / 37)))
    height = 1 + 0.5 * np.sin(np.arange(rows + window) / 53)
    series = height * np.maximum(np.sin(phase), -0.3) + 0.1 * random.normal(size=rows + window)
    series = ((series - series.mean()) / series.std()).astype(np.float32)
    pieces = np.stack([series[i : i + window] for i in range(rows)])
    return pieces[..., None], series[window : window + rows]


def shapes(rows: int, seed: int) -> Arrays:
    """Bright discs and boxes on noise, 24x24, and where they are."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[:24, :24]
    masks = np.zeros((rows, 24, 24), bool)
    for mask in masks:
        for _ in range(random.integers(1, 3)):
            y, x, size = random.integers(4, 20), random.integers(4, 20), random.integers(2, 4)
            if random.random() < 0.5:
                mask |= (down - y) ** 2 + (across - x) ** 2 <= size**2
            else:
                mask |= (abs(down - y) <= size - 1) & (abs(across - x) <= size)
    images = 0.7 * masks + 0.6 * random.normal(size=masks.shape)
    return images[..., None].astype(np.float32), masks[..., None].astype(np.float32)


def written(rows: int, seed: int) -> Arrays:
    """Digits of scikit-learn somewhere on noise, 24x24, and which pixels are ink."""
    images, _ = digit_images(range(10), seed)
    random = np.random.default_rng(seed)
    ink = np.zeros((rows, 24, 24), np.float32)
    for i, canvas in enumerate(ink):
        top, left = random.integers(0, 8, 2)
        canvas[top : top + 16, left : left + 16] = np.kron(images[i, ..., 0], np.ones((2, 2)))
    noisy = ink + 0.4 * random.normal(size=ink.shape)
    return noisy[..., None].astype(np.float32), (ink > 0.4)[..., None].astype(np.float32)


# --- models ----------------------------------------------------------------------------------------------------------


class RandomShift(layers.Layer):  # type: ignore[misc]  # Keras is not typed
    """Shifts a batch by at most a pixel. Keras' own augmentations take fifty times as long as the rest of the step."""

    def __init__(self) -> None:
        super().__init__()
        self._random = keras.random.SeedGenerator()

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The images, shifted in training."""
        if not training:
            return x
        down, across = keras.random.randint((2,), 0, 3, seed=self._random)
        padded = keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        return keras.ops.slice(padded, [0, down, across, 0], keras.ops.shape(x))


def conv_block(x: Any, filters: int) -> Any:
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def conv_net(classes: int = 10, augment: bool = True) -> Any:
    """A small VGG with augmentation and dropout."""
    inputs = x = keras.Input((8, 8, 1))
    if augment:
        x = RandomShift()(layers.GaussianNoise(0.1)(x))
    x = layers.MaxPooling2D()(conv_block(conv_block(x, 16), 16))
    x = layers.GlobalAveragePooling2D()(conv_block(x, 32))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(layers.Dropout(0.3)(x)))


def residual_net() -> Any:
    """A small ResNet with dropout."""
    inputs = keras.Input((8, 8, 1))
    x = conv_block(inputs, 12)
    for _ in range(2):
        y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False)(conv_block(x, 12)))
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Dropout(0.2)(layers.Flatten()(layers.MaxPooling2D()(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def gru_net() -> Any:
    """A GRU that foretells the next letter."""
    inputs = keras.Input((24,), dtype="int32")
    x = layers.GRU(48, return_sequences=True)(layers.Embedding(LETTERS, 16)(inputs))
    return keras.Model(inputs, layers.Dense(LETTERS)(layers.Dropout(0.1)(x)))


def transformer() -> Any:
    """Two layers of causal attention over letters."""
    inputs = keras.Input((24,), dtype="int32")
    places = layers.Embedding(24, 32)(keras.ops.arange(24)[None])
    x = layers.Embedding(LETTERS, 32)(inputs) + places
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 8, dropout=0.1)(y, y, use_causal_mask=True)
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dropout(0.1)(layers.Dense(32)(y))
    return keras.Model(inputs, layers.Dense(LETTERS)(layers.LayerNormalization()(x)))


def lstm_net() -> Any:
    """An LSTM that foretells the next value."""
    inputs = keras.Input((24, 1))
    return keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.1)(layers.LSTM(24)(inputs))))


def table_net(activation: str | None) -> Callable[[], Any]:
    """Embeddings beside numbers, then dense layers."""

    def build() -> Any:
        inputs = {name: keras.Input((), name=name, dtype="int32") for name in ("shop", "item", "day")}
        embedded = [layers.Embedding(size, 8)(inputs[name]) for name, size in (("shop", 40), ("item", 25), ("day", 7))]
        inputs["numbers"] = keras.Input((4,), name="numbers")
        x = layers.Concatenate()([*embedded, inputs["numbers"]])
        for width in (64, 32):
            x = layers.Dropout(0.1)(layers.Dense(width, activation="relu")(x))
        return keras.Model(inputs, layers.Dense(1, activation=activation)(x))

    return build


def u_net() -> Any:
    """A U-Net of two levels."""
    inputs = keras.Input((24, 24, 1))
    top = conv_block(inputs, 8)
    bottom = conv_block(conv_block(layers.MaxPooling2D()(top), 16), 16)
    x = layers.Concatenate()([layers.UpSampling2D()(bottom), top])
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(conv_block(x, 8)))


def pretrained(build: Callable[[], Any], classes: range) -> Callable[[int], list[np.ndarray]]:
    """Weights that were trained on other classes, with a last layer that was trained on them while they were frozen."""

    def weights(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        other = range(5) if classes.start else range(5, 10)
        base, model = build(), build()
        base.compile("adam", "sparse_categorical_crossentropy")
        base.fit(*digit_images(other), epochs=10, batch_size=32, verbose=0)
        for mine, theirs in zip(model.layers[:-1], base.layers[:-1], strict=True):
            mine.set_weights(theirs.get_weights())
            mine.trainable = False
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(*fine_tuning_data(classes).train, epochs=5, batch_size=16, verbose=0)
        for layer in model.layers:
            layer.trainable = True
        return list(model.get_weights())

    return weights


def fine_tuning_data(classes: range) -> Data:
    """Few images of some classes."""
    return split(*digit_images(classes), train=160, validation=150)


# --- jobs ------------------------------------------------------------------------------------------------------------

SGD, ADAM = keras.optimizers.SGD, keras.optimizers.Adam
Momentum: Callable[[Any], Any] = lambda rate: SGD(rate, momentum=0.9, nesterov=True)  # noqa: E731
from_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Job:
    """A model, its data, and how it is trained.

    Attributes:
        name: What the tables call it.
        load: Gives the data.
        build: Gives the model.
        optimizer: Makes the optimizer from a rate or a schedule.
        tuned: The best power of ten for a fixed rate over the natural length.
        epochs: The natural length.
        batch: The size of a batch.
        loss: The loss.
        metric: The metric that counts: "loss" or the name of one of `metrics`. It is watched on the validation data.
        metrics: Gives the metrics, besides the loss.
        pretrained: Gives the first weights for a seed; None for those of `build`.
    """

    name: str
    load: Callable[[], Data]
    build: Callable[[], Any]
    optimizer: Callable[[Any], Any]
    tuned: float
    epochs: int
    batch: int
    loss: Any
    metric: str = "loss"
    metrics: Callable[[], list[Any]] = lambda: []
    pretrained: Callable[[int], list[np.ndarray]] | None = None

    @property
    def is_higher_better(self) -> bool:
        """Whether a larger metric is better."""
        return self.metric in ("accuracy", "iou", "auc")


accuracy: dict[str, Any] = {
    "loss": "sparse_categorical_crossentropy",
    "metric": "accuracy",
    "metrics": lambda: ["accuracy"],
}
iou: dict[str, Any] = {
    "loss": "binary_crossentropy",
    "metric": "iou",
    "metrics": lambda: [keras.metrics.BinaryIoU(target_class_ids=[1], name="iou")],
}
TUNING = (
    Job("conv", lambda: split(*digit_images(range(10)), 800, 400), conv_net, ADAM, 1e-2, 25, 32, **accuracy),
    Job("GRU, text", lambda: split(*letters(24, 0), 800, 300), gru_net, ADAM, 1e-2, 20, 32, from_logits),
    Job(
        "embeddings",
        lambda: split(*table_rows(2600, 0, is_class=False), 1200, 400),
        table_net(None),
        ADAM,
        1e-2,
        30,
        32,
        "mse",
        "mae",
        lambda: ["mae"],
    ),
    Job("U-Net, shapes", lambda: split(*shapes(300, 0), 120, 60), u_net, ADAM, 1e-3, 20, 12, **iou),
    Job(
        "fine-tuning",
        lambda: fine_tuning_data(range(5, 10)),
        lambda: conv_net(5, augment=False),
        ADAM,
        1e-2,
        15,
        16,
        **accuracy,
        pretrained=pretrained(lambda: conv_net(5, augment=False), range(5, 10)),
    ),
)
REPORTING = (
    Job(
        "residual",
        lambda: split(*digit_images(range(10), 1), 600, 300),
        residual_net,
        Momentum,
        1e-2,
        25,
        32,
        **accuracy,
    ),
    Job("transformer", lambda: split(*letters(24, 1), 800, 300), transformer, ADAM, 1e-2, 20, 32, from_logits),
    Job("LSTM, series", lambda: split(*waves(1500, 24, 0), 900, 300), lstm_net, ADAM, 1e-2, 30, 32, "mse"),
    Job(
        "embeddings, classes",
        lambda: split(*table_rows(2600, 1, is_class=True), 1200, 400),
        table_net("sigmoid"),
        ADAM,
        1e-2,
        30,
        32,
        "binary_crossentropy",
        "auc",
        lambda: [keras.metrics.AUC(name="auc")],
    ),
    Job("U-Net, digits", lambda: split(*written(300, 1), 120, 60), u_net, Momentum, 1e-2, 20, 12, **iou),
    Job(
        "fine-tuning, SGD",
        lambda: fine_tuning_data(range(5)),
        lambda: conv_net(5),
        Momentum,
        1e-2,
        15,
        16,
        **accuracy,
        pretrained=pretrained(lambda: conv_net(5), range(5)),
    ),
)

# --- fits ------------------------------------------------------------------------------------------------------------


class KeepBest(keras.callbacks.Callback):
    """The weights of the best epoch by validation, as ModelCheckpoint(save_best_only=True) keeps them."""

    def __init__(self, monitor: str, sign: int):
        super().__init__()
        self._monitor, self._sign, self._best = monitor, sign, np.inf
        self.weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights if they are better."""
        cost = self._sign * (logs or {})[self._monitor]
        if cost < self._best:
            self._best, self.weights = cost, self.model.get_weights()


class Bench:
    """A job whose compiled models are set back before each fit, so that they are compiled once."""

    def __init__(self, job: Job, least_steps: int = 0):
        self.job = job
        self.data = job.load()
        times = -(-least_steps * job.batch // len(self.data.train[1])) or 1
        self.data = replace(self.data, train=repeated(self.data.train, times))
        self.steps = -(-len(self.data.train[1]) // job.batch)
        self._first: dict[int, list[np.ndarray]] = {}
        self._model = functools.cache(self._compiled)
        self._memory: dict[Any, list[np.ndarray]] = {}

    def _compiled(self, schedule: tuple[float, int] | None) -> Any:
        model = self.job.build()
        rate = keras.optimizers.schedules.CosineDecay(*schedule) if schedule else 1.0
        model.compile(self.job.optimizer(rate), loss=self.job.loss, metrics=self.job.metrics())
        model.optimizer.build(model.trainable_variables)
        first = [np.array(each) for each in model.optimizer.variables]
        # The first fit of a model draws random numbers for itself, so that its batches would be others.
        batch = keras.tree.map_structure(lambda rows: rows[: self.job.batch], self.data.train)
        model.fit(*batch, batch_size=self.job.batch, verbose=0)
        self._memory[schedule] = first
        return model

    def _first_weights(self, seed: int) -> list[np.ndarray]:
        if seed not in self._first:
            keras.utils.set_random_seed(seed)
            self._first[seed] = self.job.pretrained(seed) if self.job.pretrained else [*self.job.build().get_weights()]
        return self._first[seed]

    def _reset(self, schedule: tuple[float, int] | None, seed: int) -> Any:
        """The model as it is before training: weights, optimizer and random numbers."""
        model = self._model(schedule)
        model.set_weights(self._first_weights(seed))
        for variable, value in zip(model.optimizer.variables, self._memory[schedule], strict=True):
            variable.assign(value)
        for variable in model.non_trainable_variables:
            if keras.backend.standardize_dtype(variable.dtype) == "uint32":
                variable.assign([seed, 0])  # That of a layer's random numbers.
        keras.utils.set_random_seed(seed)
        model.stop_training = False
        return model

    def fit(self, method: str, rate: float, epochs: int, seed: int) -> Row:
        """Train, and say what came of it."""
        model = self._reset((rate, epochs * self.steps) if method == "cosine" else None, seed)
        if method != "cosine":
            model.optimizer.learning_rate = rate
        sign = -1 if self.job.is_higher_better else 1
        callbacks = callbacks_of(method, f"val_{self.job.metric}", "max" if sign < 0 else "min", rate)
        best = KeepBest(f"val_{self.job.metric}", sign)
        began = time.perf_counter()
        history = model.fit(
            *self.data.train,
            validation_data=self.data.validation,
            validation_batch_size=100,
            epochs=epochs,
            batch_size=self.job.batch,
            verbose=0,
            callbacks=[best, *callbacks],  # Before ours, as our README says: it may go back to other weights.,
        ).history
        seconds = time.perf_counter() - began
        steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
        last = self._tested(model)
        if best.weights is not None:
            model.set_weights(best.weights)
        return {
            "last": last,
            "best": self._tested(model),
            "seconds": seconds,
            "rolled back": 1 - steps / (epochs * self.steps),
            "losses": history["loss"],
            "metrics": history[f"val_{self.job.metric}"],
            "decisions": [
                (each.epoch + 1, each.kind, each.rate, each.restore, each.reason)
                for each in getattr(callbacks[0] if callbacks else None, "decisions", [])
            ],
        }

    def _tested(self, model: Any) -> float:
        return float(model.evaluate(*self.data.test, batch_size=100, verbose=0, return_dict=True)[self.job.metric])


def callbacks_of(method: str, monitor: str, mode: Any, rate: float) -> list[Any]:
    """The callbacks of a method."""
    settings = {"monitor": monitor, "mode": mode, "factor": 0.2, "patience": 3}
    match method:
        case "keras":
            return [keras.callbacks.ReduceLROnPlateau(**settings)]
        case "default":
            return [AdaptLROnPlateau(**settings)]
        case "auto":
            return [AdaptLROnPlateau.auto(monitor, mode=mode)]
        case "auto, max_lr":
            return [AdaptLROnPlateau.auto(monitor, mode=mode, max_lr=rate)]
    return []


# --- what is measured ------------------------------------------------------------------------------------------------


def measure(job: Job, arguments: argparse.Namespace) -> list[Measurement]:
    """All runs of a job, with a line of progress for each rate."""
    store, began = Measured(arguments.folder), time.perf_counter()
    bench = functools.cache(lambda least_steps: Bench(job, least_steps))  # Compiled where something is to be measured.
    measured = []
    lengths = {"long": LONG, "short": SHORT, "natural": job.epochs}
    for length in (length for length in lengths if length in arguments.lengths):
        epochs, rows = lengths[length], {}
        least_steps = LONG_STEPS if length == "long" else 0
        for factor in arguments.rates:
            rate = job.tuned * factor
            for method, seed in itertools.product(arguments.methods, range(arguments.seeds)):
                name = json.dumps([job.name, method, epochs, rate, seed])
                fit = functools.partial(
                    lambda least, *run: bench(least).fit(*run), least_steps, method, rate, epochs, seed
                )
                rows[method, factor, seed] = store.get(name, method in OURS, fit)
            progress = f"{time.perf_counter() - began:5.0f} s: {job.name}, {epochs} epochs, x{factor:g}"
            print(progress, file=sys.stderr, flush=True)
        measured.append(Measurement(job, epochs, rows))
    return measured


# --- tables ----------------------------------------------------------------------------------------------------------


def behind(job: Job, ours: float, theirs: float) -> float:
    """By how much ours is worse, as a share of theirs; at most 1."""
    worse = (theirs - ours) if job.is_higher_better else (ours - theirs)
    return min(worse / max(abs(theirs), 1e-9), 1.0) if np.isfinite(ours) else 1.0


@dataclass(frozen=True)
class Measurement:
    """What was measured of a job at one length, by method, factor of the rate, and seed."""

    job: Job
    epochs: int
    rows: dict[tuple[str, float, int], Row]

    def metrics(self, method: str, factor: float, kept: str) -> list[float]:
        """The test metric of each seed, the worst one first; what is no number is worst."""
        worst = -np.inf if self.job.is_higher_better else np.inf
        rows = [row for (name, at, _), row in self.rows.items() if (name, at) == (method, factor)]
        found = [float(row[kept]) if np.isfinite(row[kept]) else worst for row in rows]
        return sorted(found, reverse=not self.job.is_higher_better)

    def rival(self, factor: float, kept: str) -> float:
        """The better median of fixed and keras."""
        better = max if self.job.is_higher_better else min
        methods = {method for method, *_ in self.rows} & {*RIVALS}
        return better(float(np.median(self.metrics(method, factor, kept))) for method in methods)


def print_metrics(measured: Sequence[Measurement], methods: Sequence[str], rates: Sequence[float], kept: str) -> None:
    """The metric by job, length, rate and method."""
    rows = []
    for one, factor in itertools.product(measured, rates):
        found = [one.metrics(method, factor, kept) for method in methods]
        shown = [f"{np.median(each):.3f} ({each[0]:.3f})" for each in found]
        rows.append([f"{one.job.name}, {one.job.metric}", str(one.epochs), f"x{factor:g}", *shown])
    title = f"Test metric of {KEPT[kept]}: median over the seeds (worst)"
    table(title, ("job", "epochs", "rate", *methods), rows)


def print_behind(measured: Sequence[Measurement], methods: Sequence[str], rates: Sequence[float], kept: str) -> None:
    """How far behind each method is."""
    rows = []
    for method, factor in itertools.product(methods, rates):
        here, tuned, runs = [], [], []
        for one in measured:
            found = one.metrics(method, factor, kept)
            here.append(behind(one.job, float(np.median(found)), one.rival(factor, kept)))
            tuned.append(behind(one.job, float(np.median(found)), one.rival(1.0, kept)))
            runs += [behind(one.job, each, one.rival(1.0, kept)) for each in found]
        figures = (np.median(here), max(here), np.median(tuned), np.mean(tuned), max(tuned), max(runs))
        rows.append([method, f"x{factor:g}", *(f"{figure:+.1%}" for figure in figures)])
    header = ("method", "rate", "behind, median", "worst job", "of tuned, median", "mean", "worst job", "worst run")
    table(f"How far behind, by {KEPT[kept]}", header, rows)


def print_costs(measured: Sequence[Measurement], methods: Sequence[str]) -> None:
    """What each method costs."""
    rows = []
    for method in methods:
        of_method = [row for one in measured for (name, _, _), row in one.rows.items() if name == method]
        means = [float(np.mean([row[name] for row in of_method])) for name in ("rolled back", "seconds")]
        rows.append([method, f"{means[0]:.1%}", f"{means[1]:.2f}"])
    table("What it costs", ("method", "epochs rolled back", "seconds of a fit"), rows)


def print_worst(measured: Sequence[Measurement], count: int) -> None:
    """The runs of auto mode that are farthest behind the tuned rate, with what was decided and why."""
    found = [
        (behind(one.job, row["last"], one.rival(1.0, "last")), one, factor, seed, row)
        for one in measured
        for (method, factor, seed), row in one.rows.items()
        if method == "auto"
    ]
    for share, one, factor, seed, row in sorted(found, key=lambda each: -each[0])[:count]:
        run = f"{one.job.name}, {one.epochs} epochs, x{factor:g}, seed {seed}"
        print(f"\n{run}: {row['last']:.4g}, {share:.1%} behind the tuned rate")
        for title, values in (("losses", row["losses"]), ("metric", row["metrics"])):
            print(f"    {title} " + " ".join(f"{each:.3g}" for each in values))
        for epoch, kind, rate, restore, reason in row["decisions"]:
            print(f"    epoch {epoch}: {kind}, rate {rate:.3g}{f', back to {restore}' if restore else ''}: {reason}")


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", choices=("tuning", "reporting"), default="tuning", help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="JOB", help="names of jobs (default: all)")
    parser.add_argument("--lengths", nargs="+", choices=("long", "short", "natural"), default=["short", "natural"])
    parser.add_argument("--rates", nargs="+", type=float, default=list(FACTORS), help="multiples of the tuned rate")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, "auto, max_lr"), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds per rate (default: %(default)s)")
    parser.add_argument("--worst", type=int, default=0, help="runs of auto mode to describe (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to keep what was measured")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Of broken trainings: overflows.
    jobs = TUNING if arguments.jobs == "tuning" else REPORTING
    unknown = set(arguments.only or ()) - {job.name for job in jobs}
    if unknown:
        parser.error(f"--only must name {arguments.jobs} jobs: {', '.join(job.name for job in jobs)}")
    if not {*RIVALS} & set(arguments.methods) or 1.0 not in arguments.rates:
        parser.error(f"--methods must have {' or '.join(RIVALS)}, and --rates must have 1, to compare with")
    chosen = [job for job in jobs if arguments.only is None or job.name in arguments.only]
    measured = [one for job in chosen for one in measure(job, arguments)]
    print(f"{arguments.jobs} jobs, {arguments.seeds} seeds, on {keras.backend.backend()}")
    for kept in KEPT:
        print_metrics(measured, arguments.methods, arguments.rates, kept)
    for kept in KEPT:
        print_behind(measured, arguments.methods, arguments.rates, kept)
    print_costs(measured, arguments.methods)
    print_worst(measured, arguments.worst)


if __name__ == "__main__":
    main()
