"""More small jobs, of kinds that small_jobs.py has not. Nothing to run here: see jobs.py.

Wrong labels, ratings, two autoencoders, raw targets, a deep plain network, a rare class by F1, a recurrent network that
first learns nothing, counts, a text classifier, and a contrastive loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs
from small_jobs import (
    ADAM,
    SGD,
    Arrays,
    Data,
    Job,
    Momentum,
    accuracy,
    digit_images,
    split,
    table_net,
    table_rows,
)
from texts import LETTERS, longest_topics

# --- data ------------------------------------------------------------------------------------------------------------


def rows_of_digits(seed: int) -> Arrays:
    """Scikit-learn's digits as rows of 64 numbers."""
    x, y = digit_images(range(10), seed)
    return x.reshape(len(x), -1), y


def wrong_labels() -> Data:
    """Digits, three in ten of whose labels are drawn at random, but for those that test."""
    x, y = rows_of_digits(3)
    random = np.random.default_rng(3)
    is_wrong = (random.random(len(y)) < 0.3) & (np.arange(len(y)) < 1200)
    return split(x, np.where(is_wrong, random.integers(0, 10, len(y)), y).astype(np.int32), 800, 400)


def ratings() -> Data:
    """Who gave what one to five stars: a matrix of rank four, with noise."""
    random = np.random.default_rng(4)
    tastes, kinds = random.normal(size=(80, 4)), random.normal(size=(60, 4))
    x = {"user": random.integers(0, 80, 3000), "item": random.integers(0, 60, 3000)}
    stars = 3.5 + 0.5 * (tastes[x["user"]] * kinds[x["item"]]).sum(1) + 0.3 * random.normal(size=3000)
    return split(x, np.clip(stars, 1, 5).astype(np.float32), 1600, 600)


def noisy_images() -> Data:
    """Digits with noise, and without."""
    x, _ = digit_images(range(10), 5)
    noise = 0.4 * np.random.default_rng(5).normal(size=x.shape)
    return split((x + noise).astype(np.float32), x, 800, 400)


def themselves() -> Data:
    """Digits, which are to be rebuilt."""
    x, _ = rows_of_digits(6)
    return split(x, x, 900, 300)


def raw_targets() -> Data:
    """Scikit-learn's diabetes data, with targets of 25 to 346 as they are."""
    found = datasets.load_diabetes()
    order = np.random.default_rng(7).permutation(len(found.target))
    x = (found.data / found.data.std(0)).astype(np.float32)
    return split(x[order], found.target[order].astype(np.float32), 260, 80)


def rare_class() -> Data:
    """A table of which one row in twenty is of the class."""
    x, y = table_rows(3600, 8, is_class=False)
    return split(x, (y > np.quantile(y, 0.95)).astype(np.float32)[:, None], 2000, 700)


def sums() -> Data:
    """Sixteen numbers, two of them marked, and the sum of the two (Hochreiter and Schmidhuber 1997)."""
    random = np.random.default_rng(9)
    numbers, marks = random.random((1800, 16)), np.zeros((1800, 16))
    for each in marks:
        each[random.choice(16, 2, replace=False)] = 1
    x = np.stack([numbers, marks], -1).astype(np.float32)
    return split(x, (numbers * marks).sum(1).astype(np.float32), 1200, 300)


def counts() -> Data:
    """Counts whose logarithmic mean depends on a few inputs."""
    random = np.random.default_rng(10)
    x = random.normal(size=(2000, 10)).astype(np.float32)
    mean = np.exp(1 + 0.5 * x[:, 0] + 0.4 * np.sin(2 * x[:, 1]) - 0.3 * x[:, 2] * x[:, 3])
    return split(x, random.poisson(mean).astype(np.float32)[:, None], 1000, 400)


def texts() -> Data:
    """Pieces of the six longest topics of the Python documentation, and of which each is."""
    x, y = [], []
    for topic, codes in enumerate(longest_topics(6, 20000)):
        pieces = [codes[start : start + 64] for start in range(0, len(codes) - 64, 64)]
        x += pieces
        y += [topic] * len(pieces)
    order = np.random.default_rng(11).permutation(len(x))
    return split(np.stack(x)[order], np.array(y, np.int32)[order], int(0.6 * len(x)), int(0.2 * len(x)))


def views() -> Data:
    """Each digit twice, with different noise."""
    x, y = rows_of_digits(12)
    random = np.random.default_rng(12)
    pairs = np.stack([x + 0.3 * random.normal(size=x.shape) for _ in range(2)], 1)
    return split(pairs.astype(np.float32), y, 900, 400)


# --- models ----------------------------------------------------------------------------------------------------------


def dense_net(inputs: int, width: int, dropout: float, outputs: int, activation: str | None) -> Callable[[], Any]:
    """Two dense layers with dropout."""

    def build() -> Any:
        x = first = keras.Input((inputs,))
        for _ in range(2):
            x = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(x))
        return keras.Model(first, layers.Dense(outputs, activation=activation)(x))

    return build


def factorization() -> Any:
    """A product of embeddings, and what is true of a user or an item alone."""
    sizes = {"user": 80, "item": 60}
    inputs = {name: keras.Input((), name=name, dtype="int32") for name in sizes}
    vectors = [layers.Embedding(size, 8)(inputs[name]) for name, size in sizes.items()]
    alone = layers.Add()([layers.Embedding(size, 1)(inputs[name]) for name, size in sizes.items()])
    return keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([layers.Dot(1)(vectors), alone])))


def autoencoder() -> Any:
    """Strided convolutions to 32 numbers and back."""
    inputs = x = keras.Input((8, 8, 1))
    for filters in (16, 24):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    x = layers.Reshape((2, 2, 24))(layers.Dense(96, activation="relu")(x))
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(x))


class Sampled(layers.Layer):  # type: ignore[misc]  # Keras is not typed
    """A normal sample. The inputs are its means and logarithmic variances; their divergence is a loss."""

    def __init__(self) -> None:
        super().__init__()
        self._random = keras.random.SeedGenerator(1)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The sample in training, else the mean."""
        mean, variance = ops.split(x, 2, axis=-1)
        self.add_loss(0.5 * ops.mean(ops.sum(ops.exp(variance) + mean * mean - 1 - variance, -1)))
        noise = keras.random.normal(ops.shape(mean), seed=self._random)
        return mean + ops.exp(0.5 * variance) * noise if training else mean


def variational() -> Any:
    """A variational autoencoder of six numbers."""
    inputs = keras.Input((64,))
    code = Sampled()(layers.Dense(12)(layers.Dense(64, activation="relu")(inputs)))
    return keras.Model(inputs, layers.Dense(64)(layers.Dense(64, activation="relu")(code)))


def rebuilt(y: Any, logits: Any) -> Any:
    """The cross-entropy of all pixels."""
    return ops.sum(keras.losses.binary_crossentropy(y[..., None], logits[..., None], from_logits=True), -1)


def deep_net() -> Any:
    """Six layers of tanh."""
    inputs = x = keras.Input((64,))
    for _ in range(6):
        x = layers.Dense(48, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def adder() -> Any:
    """A GRU with one answer."""
    inputs = keras.Input((16, 2))
    return keras.Model(inputs, layers.Dense(1)(layers.GRU(24)(inputs)))


def count_net() -> Any:
    """Two dense layers, and the exponential."""
    inputs = keras.Input((10,))
    x = layers.Dense(24, activation="relu")(layers.Dense(48, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(1, activation="exponential")(x))


def text_net() -> Any:
    """A convolution over letters and the maximum."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Conv1D(48, 5, activation="relu")(layers.Embedding(LETTERS, 16)(inputs))
    x = layers.Dropout(0.3)(layers.GlobalMaxPooling1D()(x))
    return keras.Model(inputs, layers.Dense(6, activation="softmax")(x))


def encoder() -> Any:
    """Points on a sphere for both views."""
    inputs = keras.Input((2, 64))
    x = layers.Dense(24)(layers.Dense(96, activation="relu")(inputs))
    return keras.Model(inputs, layers.UnitNormalization()(x))


def info_nce(_: Any, points: Any) -> Any:
    """Which second view belongs to a first one? (van den Oord et al. 2018)."""
    likeness = ops.matmul(points[:, 0], ops.transpose(points[:, 1])) / 0.1
    own = ops.arange(ops.shape(likeness)[0])
    return keras.losses.sparse_categorical_crossentropy(own, likeness, from_logits=True)


# --- jobs ------------------------------------------------------------------------------------------------------------

RMSprop = keras.optimizers.RMSprop
AdamW: Callable[[Any], Any] = lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.01)  # noqa: E731
f1: dict[str, Any] = {
    "loss": "binary_crossentropy",
    "metric": "f1",
    "metrics": lambda: [keras.metrics.F1Score(threshold=0.5, average="micro", name="f1")],
}
mae: dict[str, Any] = {"loss": "mse", "metric": "mae", "metrics": lambda: ["mae"]}
# The contrastive loss is a little lower at a thousand times this rate: no scale of the weights changes it.
MORE = (
    Job("noisy labels", wrong_labels, dense_net(64, 128, 0.2, 10, "softmax"), AdamW, 1e-3, 30, 32, **accuracy),
    Job("factorization", ratings, factorization, ADAM, 1e-2, 30, 32, "mse"),
    Job("autoencoder", noisy_images, autoencoder, ADAM, 1e-2, 25, 32, "mse"),
    Job("VAE", themselves, variational, ADAM, 1e-2, 30, 32, rebuilt),
    Job("raw targets", raw_targets, dense_net(10, 48, 0.0, 1, None), RMSprop, 1e-2, 40, 16, **mae),
    Job("deep, SGD", lambda: split(*rows_of_digits(13), 800, 400), deep_net, SGD, 1e-1, 25, 32, **accuracy),
    Job("rare class", rare_class, table_net("sigmoid"), ADAM, 1e-2, 25, 32, **f1),
    Job("sums", sums, adder, ADAM, 1e-2, 30, 32, "mse"),
    Job("counts", counts, count_net, Momentum, 1e-3, 30, 32, "poisson"),
    Job("text, conv", texts, text_net, RMSprop, 1e-2, 20, 32, **accuracy),
    Job("contrastive", views, encoder, ADAM, 1e-3, 25, 50, info_nce),
)
