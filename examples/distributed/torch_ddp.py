"""Train in several processes on PyTorch, under torchrun, from a rate that is far too high.

    torchrun --nproc-per-node 2 examples/distributed/torch_ddp.py

or without torchrun, on one machine: python examples/distributed/torch_ddp.py --processes 2

The trainer of Keras 3.15 knows nothing of torch.distributed: without help, each process would train a model of its own.
What helps is what DistributedDataParallel does: the weights of rank 0 for all at the start, and the average of all
gradients at each step. It is done here by a hook on each weight, so `train_step` of Keras stays as it is.

Each process has its own part of scikit-learn's digits, for training and for validation, and so a `val_loss` of its
own. AdaptLROnPlateau decides by the average of them. The first process prints what was decided in each, and whether all
agree, to the last bit, in decisions, rates and weights. If not, the exit code is 1.
"""

import argparse
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow where there is one.

import keras
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import distributed

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.training import processes

LOGS = Path(__file__).resolve().parents[2] / "logs"
RATE = 10.0
BATCH = 128
"""Rows in a batch of all processes together."""


def train_together(model: keras.Model) -> None:
    """Make the processes of a group train one model: call it when the model is built, before `fit`.

    DistributedDataParallel averages several gradients at once and while others are still computed, which is faster for
    large models. What is not trained by gradients, such as the statistics of BatchNormalization, stays each rank's own.
    """
    for variable in model.weights:
        distributed.broadcast(variable.value.data, src=0)

    def average(weight: torch.Tensor) -> None:
        distributed.all_reduce(weight.grad)
        weight.grad /= distributed.get_world_size()

    for variable in model.trainable_variables:
        variable.value.register_post_accumulate_grad_hook(average)


def train() -> tuple[AdaptLROnPlateau, keras.Model, keras.callbacks.History]:
    """Train in this process together with the others."""
    # Other weights in each process, and another order of its data: the weights become those of rank 0.
    keras.utils.set_random_seed(distributed.get_rank())
    images, digits = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, digits, test_size=0.3, random_state=0, stratify=digits)
    (x, y), (x_val, y_val) = part(x, y), part(x_val, y_val)

    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9), loss=loss, metrics=["accuracy"])
    train_together(model)
    adapt = AdaptLROnPlateau(factor=0.3, patience=3, log_dir=LOGS / "torch_ddp")
    history = model.fit(
        x,
        y,
        batch_size=BATCH // distributed.get_world_size(),  # Of this process.
        epochs=30,
        validation_data=(x_val, y_val),
        callbacks=[adapt],
        verbose=0,
    )
    return adapt, model, history


def part(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The rows of this process. All have the same number of them, since all must take the same number of steps."""
    ranks_in_all = distributed.get_world_size()
    rows = len(arrays[0]) // ranks_in_all
    return tuple(array[distributed.get_rank() :: ranks_in_all][:rows] for array in arrays)


def launch(processes: int) -> int:
    """What torchrun does on one machine; 0 if all processes ended well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    # As torchrun does, unless told otherwise: each process would take all cores for itself.
    place.setdefault("OMP_NUM_THREADS", "1")
    environments = [{**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    running = [subprocess.Popen([sys.executable, __file__], env=environment) for environment in environments]
    return max(abs(process.wait()) for process in running)


def main() -> int:
    """Train, and compare what came of it in the processes."""
    if "RANK" not in os.environ:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--processes", type=int, default=2)
        return launch(parser.parse_args().processes)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    adapt, model, history = train()

    decisions = [f"epoch {d.epoch + 1}: {d.describe('learning rate')}" for d in adapt.decisions]
    weights = b"".join(np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())
    said = [decisions, history.history["learning_rate"], hashlib.sha256(weights).hexdigest()]
    found = processes.gather([*said, history.history["val_loss"][0]])
    distributed.destroy_process_group()
    if int(os.environ["RANK"]) > 0:
        return 0
    for rank, (lines, _, digest, own) in enumerate(found):
        first = f"own validation loss in the first epoch {own:.6g}"
        print(f"rank {rank}:", first, *lines, f"weights {digest[:16]}", sep="\n    ")
    agree = all(each[:3] == found[0][:3] for each in found)
    print("All ranks agree in decisions, rates and weights." if agree else "THE RANKS DISAGREE.")
    print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS)}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
