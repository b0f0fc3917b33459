"""A real `fit` with all that needs Keras' internals, for the oldest dependencies that pyproject.toml admits.

Plain Python, so that it needs nothing but the package and a backend: `python tests/lower_bound_smoke.py`. `.ci/run`
runs it with every base dependency at its lower bound. The model has one weight and its loss is its output, so each step
moves the weight by exactly the rate: what the compiled step used is read off the weight.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import tempfile
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.history.axes import Timeline

STEPS = 2
"""Batches in an epoch."""

ARGUMENTS = {"factor": 0.01, "patience": 1, "raise_factor": 2.0, "raise_after": 1, "max_raises": 1}

CUT_RAISE_ROLLBACK = [1.0, 0.5, *[2.0] * 9]
"""Two bests, a cut, a raise, six epochs back along a cosine, a rollback, a cut."""

WAY_BACK = [0.001 + 0.199 * (1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)]
RATES = [0.1, 0.1, 0.1, 0.001, *WAY_BACK, 0.001]
"""What these epochs are trained with."""


class Script(keras.callbacks.Callback):
    """Says what the metric was, and notes the weight before and after each epoch."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.values = values
        self.before: list[float] = []
        self.after: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.before.append(self.model.get_weights()[0].item())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.after.append(self.model.get_weights()[0].item())
        logs["val_loss"] = self.values[epoch]
        if math.isnan(self.values[epoch]):
            self.model.set_weights([np.full((1, 1), math.nan)])

    def on_train_end(self, logs: Any = None) -> None:
        self.before.append(self.model.get_weights()[0].item())

    def check_steps(self, rates: Sequence[float]) -> None:
        """Check the rates that the compiled step used."""
        steps = [(before - after) / STEPS for before, after in zip(self.before, self.after, strict=False)]
        np.testing.assert_allclose(steps, rates, rtol=1e-4)


def train(optimizer: Any, values: Sequence[float], **arguments: Any) -> tuple[AdaptLROnPlateau, Script, list[float]]:
    """Train for one epoch per value. Returns our callback, the script, and the rates that `History` has."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizer=optimizer, loss=lambda y_true, y_pred: keras.ops.mean(y_pred))
    script = Script(values)
    adapt = AdaptLROnPlateau(**{**ARGUMENTS, **arguments})
    x = np.ones((STEPS, 1), "float32")
    history = model.fit(x, x, batch_size=1, epochs=len(values), verbose=0, callbacks=[script, adapt])
    return adapt, script, history.history["learning_rate"]


def kinds(adapt: AdaptLROnPlateau) -> list[str]:
    return [decision.kind for decision in adapt.decisions]


def check_cut_raise_rollback(optimizer: Any) -> None:
    adapt, script, rates = train(optimizer, CUT_RAISE_ROLLBACK)
    assert kinds(adapt) == ["cut", "raise", "rollback", "cut"], kinds(adapt)
    np.testing.assert_allclose(rates, RATES, rtol=1e-6)
    script.check_steps(RATES)
    assert script.before[10] == script.before[4] != script.after[9], "the rollback restores the weights of the raise"


def check_divergence() -> None:
    # Momentum: an optimizer that kept its state would not repeat its step.
    adapt, script, rates = train(keras.optimizers.SGD(0.1, momentum=0.9), [math.nan, 1.0, math.nan, 0.5], min_lr=0.1)
    assert kinds(adapt) == ["diverged", "diverged"], kinds(adapt)
    assert script.before[1] == script.before[0]
    assert script.before[3] == script.before[2]
    assert script.after[1] == script.after[0]
    # From the best weights, with a velocity from zero, as in the first epoch.
    first, again = (script.after[epoch] - script.before[epoch] for epoch in (0, 3))
    np.testing.assert_allclose(again, first, rtol=1e-5)
    assert keras.ops.convert_to_numpy(adapt.model.optimizer.iterations) == 2 * STEPS
    np.testing.assert_allclose(rates, [0.1] * 4, rtol=1e-6)


def check_schedule() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2 * STEPS - 1], [0.1, 0.04])
    adapt, script, rates = train(keras.optimizers.SGD(schedule), [1.0, 0.5, 2.0, 2.0, 2.0], max_raises=0, factor=0.5)
    assert kinds(adapt) == ["cut", "cut", "cut"], kinds(adapt)
    script.check_steps([0.1, 0.1, 0.04, 0.02, 0.01])
    np.testing.assert_allclose(rates[2:], [0.04, 0.02, 0.01], rtol=1e-6)


def check_event_file() -> None:
    with tempfile.TemporaryDirectory() as log_dir:
        train(keras.optimizers.SGD(0.1), CUT_RAISE_ROLLBACK, log_dir=log_dir)
        events = EventAccumulator(os.path.join(log_dir, "lr_plateau"), {"tensors": 0}).Reload()
        rates = events.Tensors("lr_plateau/learning_rate")
        np.testing.assert_allclose([tensor_util.make_ndarray(x.tensor_proto).item() for x in rates], RATES, rtol=1e-6)
        assert [x.step for x in events.Tensors("lr_plateau/decision")] == [2, 3, 9, 10]
        assert [x.step for x in events.Tensors("lr_plateau/decisions")] == [0, 1, 2, 3, 9, 10]
        tags = set(events.Tags()["tensors"])
        assert tags >= {"lr_plateau/val_loss", "lr_plateau/decisions", "custom_scalars__config__"}, tags


def check_figure() -> None:
    adapt, _, _ = train(keras.optimizers.SGD(0.1), CUT_RAISE_ROLLBACK)
    for axis in ("epoch", "step", "time"):
        figure = adapt.figure(axis, dark=axis == "step")
        marks = [trace for trace in figure.data if trace.mode == "markers" and trace.yaxis == "y2"]
        assert sorted(trace.name for trace in marks for _ in trace.x) == sorted(kinds(adapt))
        assert "plotly" in figure.to_html(include_plotlyjs="cdn")
    assert Timeline(adapt.run).positions("step", [0, 9]) == [0, 9 * STEPS]


def main() -> None:
    names = ("keras", "numpy", "plotly", "tensorboard", keras.backend.backend())
    print(*(f"{name} {importlib.metadata.version(name)}" for name in names), sep=", ")
    checks = {
        "SGD": lambda: check_cut_raise_rollback(keras.optimizers.SGD(0.1)),
        "LossScaleOptimizer": lambda: check_cut_raise_rollback(
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        ),
        "divergence": check_divergence,
        "LearningRateSchedule": check_schedule,
        "event file": check_event_file,
        "figure": check_figure,
    }
    for name, check in checks.items():
        check()
        print(f"ok: {name}")


if __name__ == "__main__":
    main()
