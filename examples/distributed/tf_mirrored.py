"""Train on several devices with TensorFlow's `MirroredStrategy`, from a rate that is far too high.

    python examples/distributed/tf_mirrored.py --replicas 2

makes as many devices of this machine's CPU; with GPUs, `tf.distribute.MirroredStrategy()` takes all of them. It is one
process, so one AdaptLROnPlateau decides; what it does to the weights and the rate must reach the copies on all devices.
Each device tells what it has, and the exit code is 1 if they differ in a single bit.

`MultiWorkerMirroredStrategy`, which has several processes, does not work with `fit` of Keras 3 (keras#20585).
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau

LOGS = Path(__file__).resolve().parents[2] / "logs"
RATE = 10.0


class Replicas(keras.callbacks.Callback):
    """What the devices have at the end of each epoch. Listed after AdaptLROnPlateau, that is after its decision.

    Attributes:
        rates: For each epoch, the learning rate on each device.
        weights: For each epoch, the digest of all weights and of the optimizer's state on each device.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        super().__init__()
        self.strategy = strategy
        self.rates: list[list[float]] = []
        self.weights: list[list[str]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.rates.append([float(rate) for rate in self.copies(self.model.optimizer.learning_rate)])
        digests = [hashlib.sha256() for _ in self.rates[-1]]
        for variable in [*self.model.weights, *self.model.optimizer.variables]:
            for digest, copy in zip(digests, self.copies(variable), strict=True):
                digest.update(copy.tobytes())
        self.weights.append([digest.hexdigest() for digest in digests])

    def copies(self, variable: keras.Variable) -> list[np.ndarray]:
        """The copies of a variable on the devices."""
        return [copy.numpy() for copy in self.strategy.experimental_local_results(variable.value)]


def main() -> int:
    """Train, and compare what came of it on the devices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    replicas = parser.parse_args().replicas
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])

    keras.utils.set_random_seed(0)
    images, digits = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, digits, test_size=0.3, random_state=0, stratify=digits)
    with strategy.scope():
        hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
        model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(RATE, momentum=0.9), loss=loss, metrics=["accuracy"])
    adapt = AdaptLROnPlateau(factor=0.3, patience=3, log_dir=LOGS / "tf_mirrored", verbose=1)
    seen = Replicas(strategy)
    model.fit(x, y, batch_size=128, epochs=30, validation_data=(x_val, y_val), callbacks=[adapt, seen], verbose=0)

    for replica in range(replicas):
        rates = [epoch[replica] for epoch in seen.rates]
        print(f"device {replica}: {len(set(rates))} rates, the last one {rates[-1]:.3g}, weights", end=" ")
        print(seen.weights[-1][replica][:16])
    agree = all(len(set(epoch)) == 1 for epoch in [*seen.rates, *seen.weights])
    print("All devices agree in rates and weights, at each epoch." if agree else "THE DEVICES DISAGREE.")
    print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS)}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
