"""Train in several processes on JAX, with `keras.distribution.DataParallel`, from a rate that is far too high.

    python examples/distributed/jax_data_parallel.py --processes 2

starts that many processes on this machine's CPU. Each has its own part of scikit-learn's digits; the model and the
global batches are one. The first process prints what AdaptLROnPlateau decided in each, and whether all agree, to the
last bit, in decisions, rates and weights. If not, the exit code is 1.

On a cluster, leave `launch` out: a TPU pod or Slurm starts the processes, and `keras.distribution.initialize()` finds
its arguments by itself or in KERAS_DISTRIBUTION_JOB_ADDRESSES, ..._NUM_PROCESSES and ..._PROCESS_ID.
"""

import argparse
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Each process greets otherwise.

import jax
import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.training import processes

LOGS = Path(__file__).resolve().parents[2] / "logs"
RATE = 10.0
BATCH = 128
"""Rows in a batch of all processes together."""


def launch(processes: int) -> int:
    """Start the processes and wait for them; 0 if all of them ended well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, __file__, "--processes", str(processes), "--address", address, "--rank"]
    running = [subprocess.Popen([*command, str(rank)]) for rank in range(processes)]
    return max(abs(process.wait()) for process in running)


def train() -> tuple[AdaptLROnPlateau, keras.Model, list[float]]:
    """Train in this process together with the others; the callback, the model, and the rate of each epoch."""
    keras.utils.set_random_seed(0)
    # Before the model is made: its variables then live on the devices of all processes.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    images, digits = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, digits, test_size=0.3, random_state=0, stratify=digits)
    (x, y), (x_val, y_val) = part(x, y), part(x_val, y_val)

    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9), loss=loss, metrics=["accuracy"])
    adapt = AdaptLROnPlateau(factor=0.3, patience=3, log_dir=LOGS / "jax_data_parallel")
    history = model.fit(
        x,
        y,
        batch_size=BATCH // processes.count(),  # Of this process.
        epochs=30,
        validation_data=(x_val, y_val),
        callbacks=[adapt],
        verbose=0,
    ).history
    return adapt, model, history["learning_rate"]


def part(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The rows of this process. All have the same number of them, since all must take the same number of steps."""
    rows = len(arrays[0]) // processes.count()
    return tuple(array[processes.rank() :: processes.count()][:rows] for array in arrays)


def main() -> int:
    """Train, and compare what came of it in the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank is None:
        return launch(arguments.processes)
    # What processes on CPUs talk through; old releases of JAX need to be told. On GPU and TPU it changes nothing.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(arguments.address, arguments.processes, arguments.rank)
    adapt, model, rates = train()

    decisions = [f"epoch {d.epoch + 1}: {d.describe('learning rate')}" for d in adapt.decisions]
    weights = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in model.get_weights())).hexdigest()
    found = processes.gather([decisions, rates, weights])
    if processes.rank() > 0:
        return 0
    for rank, (said, _, digest) in enumerate(found):
        print(f"rank {rank}:", *said, f"weights {digest[:16]}", sep="\n    ")
    agree = all(each == found[0] for each in found)
    print("All ranks agree in decisions, rates and weights." if agree else "THE RANKS DISAGREE.")
    print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS)}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
