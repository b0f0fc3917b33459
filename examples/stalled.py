"""A plateau that is no end: plain ReduceLROnPlateau gets stuck where AdaptLROnPlateau raises the rate and goes on.

    python examples/stalled.py

The monitor is the accuracy on 100 validation images, as people have it who have few. It moves in steps of 1 %, so it
often stands still for three epochs while the network still learns. Each time a plateau callback cuts the rate, and soon
it is so low that the network does stand still. Both callbacks get the same settings, data, initial weights and batches,
for each of several seeds; the seeds are not chosen, and losses would be printed as well as wins.

`logs/stalled/` then holds the runs side by side. It runs on every Keras backend (KERAS_BACKEND).
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau

LOGS = Path(__file__).resolve().parents[1] / "logs"
SEEDS = range(5)
SETTINGS = {"monitor": "val_accuracy", "patience": 3}
"""The factor is the default of both, 0.1."""


def train(seed: int, callback: keras.callbacks.Callback) -> float:
    """The accuracy on the test set, between 0 and 1, after training with the callback."""
    images, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images / 16, digits, test_size=500, random_state=0, stratify=digits)
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.02), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    validation = x[:100], y[:100]
    model.fit(x[100:], y[100:], batch_size=64, epochs=100, validation_data=validation, callbacks=[callback], verbose=0)
    return float(model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"])


def main() -> None:
    """Train with both callbacks from every seed, and print what came of it."""
    # With raising and recovery off AdaptLROnPlateau follows the rule of ReduceLROnPlateau, and writes event files, too.
    table = Table("seed", "ReduceLROnPlateau's rule", "AdaptLROnPlateau", "raises", "kept", title="Test accuracy")
    plain, ours = [], []
    progress = Console(stderr=True)
    for seed in track(SEEDS, "training with each seed, twice", console=progress, transient=True):
        cuts_only = AdaptLROnPlateau(**SETTINGS, max_raises=0, recover=False, log_dir=LOGS / f"stalled/plain_{seed}")
        plain.append(train(seed, cuts_only))
        adapt = AdaptLROnPlateau(**SETTINGS, log_dir=LOGS / f"stalled/adapt_{seed}")
        ours.append(train(seed, adapt))
        kinds = [decision.kind for decision in adapt.decisions]
        raises, kept = kinds.count("raise"), kinds.count("success")
        table.add_row(str(seed), f"{plain[seed]:.1%}", f"{ours[seed]:.1%}", str(raises), str(kept))
        if not progress.is_terminal:  # There is no bar in a pipe.
            progress.print(f"trained with seed {seed}, twice")
    table.add_section()
    table.add_row("median", f"{np.median(plain):.1%}", f"{np.median(ours):.1%}")
    console = Console()
    console.print(table)
    console.print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS / 'stalled')}")


if __name__ == "__main__":
    main()
