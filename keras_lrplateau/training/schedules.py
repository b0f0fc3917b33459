"""Makes a `LearningRateSchedule` scalable: a variable that we set multiplies every rate of the schedule.

The compiled step must read this variable. If the schedule is exchanged after tracing, TensorFlow goes on with the old
one, but reports the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import LearningRateSchedule

from keras_lrplateau.training.optimizers import leaf_optimizers, to_float

LARGE = float(np.finfo("float32").max)
"""Stands for "no upper bound" inside a compiled step, where the rate is a float32 or narrower."""


def scale_schedules(model: Any, optimizer: Any, min_lr: float, max_lr: float | None) -> None:
    """Make every `LearningRateSchedule` of an optimizer scalable, before the training step is traced.

    The optimizer tracks the multiplier, so that JAX passes it into the step. Saved files leave it out: they hold the
    optimizer that the user built, and load without this package.

    Args:
        model: The model. Its training step is traced again if a schedule becomes scalable now.
        optimizer: The optimizer to scale. If the model is compiled with it and is built, the optimizer is built, too.
        min_lr: The multiplier does not take the rate below this. >= 0.
        max_lr: The multiplier does not take the rate above this; None for no bound.
    """
    compiled: Any = getattr(model, "optimizer", None)  # There is none before the first `compile`.
    if optimizer is compiled and model.built and not optimizer.built:
        # Keras would build it at the first step: too late for a MultiOptimizer's schedules, and for a snapshot.
        optimizer.build(model.trainable_variables)
    for leaf in leaf_optimizers(optimizer):
        if not isinstance(leaf._learning_rate, LearningRateSchedule):
            continue
        if multiplier_of(leaf) is None:
            _install_multiplier(leaf)
            # An earlier fit without the callback has traced a step without the multiplier.
            model.train_function = None
        leaf._lr_plateau_bounds = (min_lr, LARGE if max_lr is None else max_lr)
        for outer in (optimizer, getattr(optimizer, "inner_optimizer", leaf), leaf):
            _save_without_multipliers(outer)


def multiplier_of(leaf: Any) -> Any:
    """Return the variable that scales the schedule of an optimizer; None if there is none."""
    return getattr(leaf, "_lr_plateau_multiplier", None)


def _install_multiplier(leaf: Any) -> None:
    multiplier = keras.Variable(
        1.0,
        dtype=keras.backend.floatx(),
        trainable=False,
        aggregation="only_first_replica",
        name="lr_plateau_multiplier",
    )
    # An optimizer locks its list of variables once it is built.
    leaf._tracker.unlock()
    leaf._track_variable(multiplier)
    leaf._lr_plateau_multiplier = multiplier
    unscaled = leaf._get_current_learning_rate

    def scaled() -> Any:
        rate = keras.ops.cast(unscaled(), multiplier.dtype)
        low, high = leaf._lr_plateau_bounds
        return keras.ops.clip(rate * multiplier, keras.ops.minimum(rate, low), keras.ops.maximum(rate, high))

    # On the optimizer: the schedule must stay the object that the user made, because it is saved.
    leaf._lr_plateau_unscaled = unscaled
    leaf._get_current_learning_rate = scaled


def _save_without_multipliers(optimizer: Any) -> None:
    """Keep the multipliers of an optimizer and of those inside it out of saving and loading."""
    if getattr(optimizer, "_lr_plateau_saves_without", False):
        return
    optimizer._lr_plateau_saves_without = True

    @contextmanager
    def without_multipliers() -> Iterator[None]:
        hidden = []
        for leaf in leaf_optimizers(optimizer):
            for position, variable in enumerate(leaf._variables):
                if variable is multiplier_of(leaf):
                    hidden.append((leaf._variables, position, variable))
                    break
        for variables, position, _ in hidden:
            del variables[position]
        try:
            yield
        finally:
            for variables, position, variable in hidden:
                variables.insert(position, variable)

    def as_built(method: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(store: Any) -> None:
            with without_multipliers():
                method(store)

        return call

    optimizer.save_own_variables = as_built(optimizer.save_own_variables)
    optimizer.load_own_variables = as_built(optimizer.load_own_variables)


def unscaled_rate(leaf: Any) -> float:
    """Return the present rate of an optimizer's schedule, without the multiplier."""
    return to_float(leaf._lr_plateau_unscaled())
