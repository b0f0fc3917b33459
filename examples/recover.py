"""Starting rates that are far too high: what is left of the run with ReduceLROnPlateau, and with AdaptLROnPlateau.

    python examples/recover.py

Some of these rates end in NaN, some leave a network that is dead but whose loss looks like any other. Both callbacks
get the same settings, data, initial weights and batches. `logs/recover/` then holds the runs of AdaptLROnPlateau. It
runs on every Keras backend (KERAS_BACKEND).
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau

LOGS = Path(__file__).resolve().parents[1] / "logs"
RATES = (0.1, 1.0, 10.0, 100.0, 10_000.0)
SETTINGS = {"factor": 0.2, "patience": 5}


def train(rate: float, callback: keras.callbacks.Callback) -> tuple[float, float]:
    """Loss and accuracy on the test set after training from that rate with the callback."""
    images, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images / 16, digits, test_size=500, random_state=0, stratify=digits)
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss=loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=60, validation_split=0.2, callbacks=[callback], verbose=0)
    results = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
    return results["loss"], results["accuracy"]


def main() -> None:
    """Train with both callbacks from every rate, and print what came of it."""
    title = "Test loss and accuracy after 60 epochs, by starting rate"
    table = Table("rate", "ReduceLROnPlateau", "AdaptLROnPlateau", "how", title=title)
    progress = Console(stderr=True)
    for rate in track(RATES, "training from each rate, twice", console=progress, transient=True):
        plain_loss, plain_accuracy = train(rate, keras.callbacks.ReduceLROnPlateau(**SETTINGS))
        adapt = AdaptLROnPlateau(**SETTINGS, log_dir=LOGS / f"recover/{rate:g}")
        loss, accuracy = train(rate, adapt)
        recoveries = [decision for decision in adapt.decisions if decision.kind in ("diverged", "restart")]
        how = "\n".join(f"{d.kind}: {d.rate_before:g} -> {d.rate:g}" for d in recoveries)
        table.add_row(f"{rate:g}", f"{plain_loss:.3g}  {plain_accuracy:.1%}", f"{loss:.3g}  {accuracy:.1%}", how)
        if not progress.is_terminal:  # There is no bar in a pipe.
            progress.print(f"trained from {rate:g}, twice")
    console = Console()
    console.print(table)
    console.print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS / 'recover')}")


if __name__ == "__main__":
    main()
