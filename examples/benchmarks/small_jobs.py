"""Small jobs as people run them: models, their data, and how they are trained. Nothing to run here: see jobs.py.

Each is written as its users would write it: batch normalisation, dropout, augmentation, embeddings, recurrent layers,
attention, a U-Net, fine-tuning. They are of seconds, from data that packages ship or that are made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs
from texts import LETTERS, documentation

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


def digit_images(classes: range, seed: int = 0) -> Arrays:
    """Scikit-learn's digits of some classes, 8x8, shuffled."""
    digits = datasets.load_digits()
    x, y = digits.images[..., None].astype(np.float32) / 16, digits.target.astype(np.int32)
    order = np.random.default_rng(seed).permutation(len(x))
    order = order[np.isin(y[order], classes)]
    return x[order], y[order] - classes.start


def letters(length: int, seed: int) -> Arrays:
    """Pieces of the Python documentation that Python ships, and for each letter the next one."""
    codes = documentation()
    starts = np.random.default_rng(seed).permutation(len(codes) // (length + 1))[:1400] * (length + 1)
    pieces = np.stack([codes[start : start + length + 1] for start in starts])
    return pieces[:, :-1], pieces[:, 1:]


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
        return self.metric in ("accuracy", "iou", "auc", "f1")


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
