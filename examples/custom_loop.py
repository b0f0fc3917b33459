"""A training loop of your own, without `fit`: AdaptLROnPlateau is driven by hand.

    python examples/custom_loop.py

`fit` calls the hooks of a callback, and any loop can do the same; `train` below shows which, in which order. The
model is not compiled, so the callback is told which optimizer is to be adapted. The rate is far too high at first.

The loop is the same on every Keras backend (KERAS_BACKEND), a step is not. On TensorFlow and PyTorch it changes the
variables in place. On JAX it is a pure function, and what it returns goes back into the variables before the callback
is called: that looks at them, and may go back to earlier ones.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
import numpy as np

from keras_lrplateau import AdaptLROnPlateau

Step = Callable[[Any, Any], Any]
"""Inputs and targets of a batch in; the loss, from before the weights are changed, out."""


def loss_of(predicted: Any, y: Any) -> Any:
    return keras.ops.mean(keras.ops.square(predicted - y))


def tensorflow_step(model: keras.Model, optimizer: keras.Optimizer) -> Step:
    import tensorflow as tf

    @tf.function
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(model(x, training=True), y)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def torch_step(model: keras.Model, optimizer: keras.Optimizer) -> Step:
    import torch

    def step(x: Any, y: Any) -> Any:
        loss = loss_of(model(x, training=True), torch.as_tensor(y))
        gradients = torch.autograd.grad(loss, [variable.value for variable in model.trainable_variables])
        with torch.no_grad():
            optimizer.apply(gradients, model.trainable_variables)
        return loss.detach()

    return step


def jax_step(model: keras.Model, optimizer: keras.Optimizer) -> Step:
    import jax

    def compute_loss(weights: Any, others: Any, x: Any, y: Any) -> Any:
        predicted, others = model.stateless_call(weights, others, x, training=True)
        return loss_of(predicted, y), others

    @jax.jit
    def update(state: Any, x: Any, y: Any) -> Any:
        weights, others, of_optimizer = state
        (loss, others), gradients = jax.value_and_grad(compute_loss, has_aux=True)(weights, others, x, y)
        # The learning rate is among the optimizer's variables: an argument, so that a change of it arrives here.
        weights, of_optimizer = optimizer.stateless_apply(of_optimizer, gradients, weights)
        return loss, (weights, others, of_optimizer)

    def step(x: Any, y: Any) -> Any:
        groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        loss, state = update([[variable.value for variable in group] for group in groups], x, y)
        # In each step, for simplicity. Once an epoch is enough: after the last batch, before on_epoch_end.
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return loss

    return step


STEPS = {"tensorflow": tensorflow_step, "torch": torch_step, "jax": jax_step}


def train(
    model: keras.Model,
    optimizer: keras.Optimizer,
    callback: keras.callbacks.Callback,
    x: Any,
    y: Any,
    epochs: int,
    batch_size: int = 32,
) -> list[float]:
    """Train a model that need not be compiled.

    Returns:
        The loss of each epoch.
    """
    # Before the callback looks at it: then there is a copy of all that training changes, from before the first step.
    optimizer.build(model.trainable_variables)
    step = STEPS[keras.backend.backend()](model, optimizer)
    losses = []

    model.stop_training = False  # A callback may set it; only `compile` and `fit` give it to a model.
    callback.set_params({"epochs": epochs})
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        of_batches = []
        for batch, start in enumerate(range(0, len(x), batch_size)):
            loss = float(step(x[start : start + batch_size], y[start : start + batch_size]))
            of_batches.append(loss)
            # The first loss is that of the untrained weights: without it only NaN and infinity count as divergence.
            callback.on_train_batch_end(batch, {"loss": loss})
        losses.append(float(np.mean(of_batches)))
        # All metrics of the epoch, those of a validation (val_loss) included; `monitor` is one of them.
        callback.on_epoch_end(epoch, {"loss": losses[-1]})
        if model.stop_training:
            break
    callback.on_train_end()
    return losses


def main() -> None:
    """Train a linear model from a rate that is far too high, and print what was decided."""
    t = np.linspace(-1, 1, 400)
    x = np.stack([t, t**2, t**3], axis=1).astype("float32")
    y = np.sin(3 * t)[:, None].astype("float32")
    order = np.random.default_rng(0).permutation(len(t))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    optimizer = keras.optimizers.SGD(5.0)
    adapt = AdaptLROnPlateau(monitor="loss", optimizer=optimizer, patience=5, min_delta=1e-3, threshold_mode="rel")
    losses = train(model, optimizer, adapt, x[order], y[order], epochs=100)
    for decision in adapt.decisions:
        print(f"epoch {decision.epoch + 1}: {decision.describe('learning rate')}")
    print(f"loss {losses[0]:.2g} in the first epoch, {losses[-1]:.2g} in the last")


if __name__ == "__main__":
    main()
