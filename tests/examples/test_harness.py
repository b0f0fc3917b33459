"""The networks of examples/benchmarks are those of Keras: a real fit meets the same decisions."""

import importlib
import itertools
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.rule import auto, plateau

pytestmark = pytest.mark.long

EPOCHS = 40
BENCHMARKS = Path(__file__).resolve().parents[2] / "examples" / "benchmarks"


@pytest.fixture(scope="module")
def lanes():
    """The harness of the benchmarks."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("lanes")
    sys.path.remove(str(BENCHMARKS))


def fit(lanes, task, optimizer, rate, callback):
    """The decisions of a real fit with the weights, data and batches of the lane with seed 0."""
    (x, y), validation, _ = task.split()
    weights, orders = lanes.lane_of(task, seed=0)
    outputs = weights[-1][0].shape[1]
    hidden = [keras.layers.Dense(width, activation=task.activation) for width in task.hidden]
    model = keras.Sequential([keras.Input((x.shape[1],)), *hidden, keras.layers.Dense(outputs)])
    for layer, (kernel, bias) in zip(model.layers, weights, strict=True):
        layer.set_weights([np.asarray(kernel), np.asarray(bias)])
    make = {
        "sgd": keras.optimizers.SGD,
        "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
        "adam": keras.optimizers.Adam,
    }[optimizer.name]
    is_classes = y.dtype.kind != "f"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if is_classes else "mse"
    model.compile(make(rate), loss=loss, metrics=["accuracy"] if is_classes else [])

    def batches():
        for epoch in itertools.count():
            for rows in np.asarray(orders(epoch)):
                yield x[rows], y[rows]

    model.fit(
        batches(),
        steps_per_epoch=len(x) // task.batch,
        epochs=EPOCHS,
        validation_data=validation,
        validation_batch_size=len(validation[0]),
        shuffle=False,
        verbose=0,
        callbacks=[callback],
    )
    return callback.decisions


def in_short(decisions):
    """When, what, and to which rate; the harness numbers no epochs, and reasons have more digits than float32 keeps."""
    return [(d.observation, d.kind, d.save, d.restore, f"{d.rate:.5g}") for d in decisions if d.is_action]


@pytest.mark.parametrize(
    ("name", "optimizer", "rate", "expected_kinds"),
    [
        ("loss", "SGD", 10.0, {"search", "settle", "anneal"}),
        ("loss", "ADAM", 1e-5, {"search", "settle", "anneal"}),
        ("accuracy", "MOMENTUM", 0.01, {"search", "settle", "anneal"}),
    ],
)
def test_auto_mode_decides_in_a_real_fit_as_in_the_harness(lanes, name, optimizer, rate, expected_kinds):
    task, optimizer = tasks(lanes)[name], getattr(lanes, optimizer)
    mode = "max" if task.monitor == "accuracy" else "min"
    method = lanes.Method("auto", auto.Config(mode=mode, observations=EPOCHS))
    result = lanes.train(task, optimizer, [method], np.array([rate]), EPOCHS, (0,))
    expected = in_short(result.decisions[0, 0, 0])
    assert expected_kinds <= {kind for _, kind, *_ in expected}

    decisions = fit(lanes, task, optimizer, rate, AdaptLROnPlateau.auto(f"val_{task.monitor}"))

    assert in_short(decisions) == expected


@pytest.mark.parametrize(
    ("name", "optimizer", "rate", "expected_kinds"),
    [
        ("loss", "SGD", 10.0, {"diverged", "cut"}),
        ("loss", "ADAM", 0.01, {"cut", "raise"}),
        ("accuracy", "SGD", 0.1, {"cut", "raise"}),
    ],
)
def test_default_mode_decides_in_a_real_fit_as_in_the_harness(lanes, name, optimizer, rate, expected_kinds):
    task, optimizer = tasks(lanes)[name], getattr(lanes, optimizer)
    mode = "max" if task.monitor == "accuracy" else "min"
    settings = {"factor": 0.1, "patience": 2, "raise_after": 2}
    method = lanes.Method("default", plateau.Config(mode=mode, **settings))
    result = lanes.train(task, optimizer, [method], np.array([rate]), EPOCHS, (0,))
    expected = in_short(result.decisions[0, 0, 0])
    assert expected_kinds <= {kind for _, kind, *_ in expected}

    decisions = fit(lanes, task, optimizer, rate, AdaptLROnPlateau(f"val_{task.monitor}", **settings))

    assert in_short(decisions) == expected


def tasks(lanes):
    """A regression watched by its loss, and a classification watched by its accuracy on few samples."""
    return {
        "loss": lanes.Task("loss", lanes.diabetes, (16, 16), train=192, validate=100, batch=16),
        "accuracy": lanes.Task(
            "accuracy", lanes.digits, (32,), train=480, validate=100, batch=32, label_noise=0.2, monitor="accuracy"
        ),
    }
