"""A GAN, which has two optimizers: `optimizer=` tells AdaptLROnPlateau which of them to adapt.

    python examples/gan.py

The generator learns to draw from a normal distribution. With rates that stay what they are, the two networks chase
each other, and what has been learnt gets lost again. With the callback the rate of the generator is cut when what it
draws has not come closer for five epochs, and training goes on from the best epoch: going back always takes both
networks and both optimizers back. The rate of the discriminator stays.

It runs on every Keras backend (KERAS_BACKEND). On TensorFlow and PyTorch a training step changes the variables in
place, one network after the other. On JAX it is a pure function of the variables, and Keras passes those of
`model.optimizer` alone into it: there the model is compiled with a MultiOptimizer made of the two.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
import numpy as np
from keras import ops
from rich.console import Console
from rich.progress import track

from keras_lrplateau import AdaptLROnPlateau

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "torch":
    import torch
else:
    import jax

EPOCHS = 60


def network() -> keras.Model:
    hidden = [keras.layers.Dense(16, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])


class GAN(keras.Model):
    """What both networks are asked to do; how a step is made depends on the backend."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = network()
        self.generator = network()
        self.trackers = [keras.metrics.Mean(name) for name in ("d_loss", "g_loss", "distance")]
        self.built = True  # Both networks are. Keras looks at this for a model without `call`.

    def compile(self, d_optimizer: Any, g_optimizer: Any, **others: Any) -> None:
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        # Before training, so that there is a copy of all that training changes from before the first step.
        d_optimizer.build(self.discriminator.trainable_variables)
        g_optimizer.build(self.generator.trainable_variables)
        # If it is left out, that is an RMSprop that nobody uses.
        super().compile(optimizer=self.both_optimizers(), **others)

    def both_optimizers(self) -> Any:
        return None

    @property
    def metrics(self) -> list[Any]:
        return self.trackers

    def d_loss(self, real: Any, noise: Any) -> Any:
        told_real, told_fake = self.discriminator(real), self.discriminator(self.generator(noise))
        return ops.mean(ops.softplus(-told_real) + ops.softplus(told_fake))

    def g_loss(self, noise: Any) -> Any:
        return ops.mean(ops.softplus(-self.discriminator(self.generator(noise))))

    def distance(self, real: Any, noise: Any) -> Any:
        """Between what is real and what is generated: of the smallest to the smallest, and so on."""
        return ops.mean(ops.abs(ops.sort(real, axis=0) - ops.sort(self.generator(noise), axis=0)))


class InPlaceGAN(GAN):
    """On TensorFlow and PyTorch."""

    def train_step(self, data: Any) -> dict[str, Any]:
        real, noise = data
        d_loss = self.descend(lambda: self.d_loss(real, noise), self.discriminator, self.d_optimizer)
        g_loss = self.descend(lambda: self.g_loss(noise), self.generator, self.g_optimizer)
        for tracker, value in zip(self.trackers, (d_loss, g_loss, self.distance(real, noise)), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def descend(self, loss_of: Callable[[], Any], part: keras.Model, optimizer: keras.Optimizer) -> Any:
        """One step of one network."""
        if keras.backend.backend() == "tensorflow":
            with tf.GradientTape() as tape:
                loss = loss_of()
            optimizer.apply(tape.gradient(loss, part.trainable_variables), part.trainable_variables)
            return loss
        loss = loss_of()
        gradients = torch.autograd.grad(loss, [variable.value for variable in part.trainable_variables])
        with torch.no_grad():
            optimizer.apply(gradients, part.trainable_variables)
        return loss.detach()


class StatelessGAN(GAN):
    """On JAX. Both networks make their step at the same time."""

    def both_optimizers(self) -> Any:
        of_discriminator = {id(variable) for variable in self.discriminator.trainable_variables}
        return keras.optimizers.MultiOptimizer(
            lambda variable: self.d_optimizer if id(variable) in of_discriminator else self.g_optimizer
        )

    def train_step(self, state: Any, data: Any) -> Any:
        weights, others, of_optimizers, of_metrics = state
        real, noise = data
        # In the order of the attributes.
        count = len(self.discriminator.trainable_variables)
        d_weights, g_weights = weights[:count], weights[count:]

        def with_weights(call: Callable[[], Any], d_weights: Any, g_weights: Any) -> Any:
            mapping = zip(self.trainable_variables, d_weights + g_weights, strict=True)
            with keras.StatelessScope(state_mapping=list(mapping)):
                return call()

        d_loss, d_gradients = jax.value_and_grad(
            lambda values: with_weights(lambda: self.d_loss(real, noise), values, g_weights)
        )(d_weights)
        g_loss, g_gradients = jax.value_and_grad(
            lambda values: with_weights(lambda: self.g_loss(noise), d_weights, values)
        )(g_weights)
        weights, of_optimizers = self.optimizer.stateless_apply(of_optimizers, d_gradients + g_gradients, weights)

        distance = with_weights(lambda: self.distance(real, noise), weights[:count], weights[count:])
        logs, updated = {}, []
        for tracker, value in zip(self.trackers, (d_loss, g_loss, distance), strict=True):
            own = of_metrics[len(updated) : len(updated) + len(tracker.variables)]
            updated += tracker.stateless_update_state(own, value)
            logs[tracker.name] = tracker.stateless_result(updated[-len(own) :])
        return logs, (weights, others, of_optimizers, updated)


def make_gan(d_optimizer: keras.Optimizer, g_optimizer: keras.Optimizer, **arguments: Any) -> GAN:
    """A compiled GAN for the backend that runs.

    Args:
        d_optimizer: Of the discriminator.
        g_optimizer: Of the generator.
        arguments: Of `keras.Model.compile`.
    """
    keras.utils.set_random_seed(0)
    model = StatelessGAN() if keras.backend.backend() == "jax" else InPlaceGAN()
    model.compile(d_optimizer, g_optimizer, **arguments)
    return model


def train(*callbacks: keras.callbacks.Callback) -> dict[str, list[float]]:
    """The history of a training."""
    rng = np.random.default_rng(0)
    real = rng.normal(4, 0.5, (1024, 1)).astype("float32")
    noise = rng.normal(0, 1, (1024, 1)).astype("float32")
    model = make_gan(*(keras.optimizers.Adam(0.02, beta_1=0.5) for _ in range(2)))
    # The noise takes the place of targets: for simplicity each sample has its own.
    return dict(model.fit(real, noise, batch_size=128, epochs=EPOCHS, verbose=0, callbacks=list(callbacks)).history)


def main() -> None:
    """Train without and with the callback, and print the decisions and what came of them."""
    # Not the losses: in a GAN each of them depends on the other network, too.
    adapt = AdaptLROnPlateau(
        "distance", mode="min", optimizer="g_optimizer", factor=0.5, patience=5, rollback_on_cut=True
    )
    trainings = ("a rate that stays", []), ("AdaptLROnPlateau", [adapt])
    results = []
    for name, callbacks in track(trainings, "training twice", console=Console(stderr=True), transient=True):
        distances = train(*callbacks)["distance"]
        best, last = min(distances), np.mean(distances[-10:])
        results.append(f"{name}: distance {best:.2f} at best, {last:.2f} in the last 10 epochs")
    for decision in adapt.decisions:
        print(f"epoch {decision.epoch + 1}: {decision.describe('learning rate of the generator')}")
    for result in results:
        print(result)


if __name__ == "__main__":
    main()
