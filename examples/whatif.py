"""Would a smaller patience have cut too early? One training, and what four settings would have done.

    python examples/whatif.py

trains once, without any plateau callback, and keeps what Keras' CSVLogger writes. Then the rule is replayed on it, as
often as one likes, without training again. After its first cut a replay cannot know how the training would have gone
on; but the recorded one shows what a cut at that epoch would have cut off.

`logs/whatif/training.csv` is what the command `keras-lrplateau replay` takes, too; `examples/whatif.csv` is such a
file, written with TensorFlow. It runs on every Keras backend (KERAS_BACKEND).
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from keras_lrplateau import Config
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.recording import Recording
from keras_lrplateau.recordings.replay import replay

RECORD = Path(__file__).resolve().parents[1] / "logs" / "whatif" / "training.csv"


def train() -> None:
    """Train at a constant rate, with a validation on 200 images, which is a noisy one."""
    images, digits = load_digits(return_X_y=True)
    x, y = images / 16, digits
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dropout(0.5), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    log = keras.callbacks.CSVLogger(RECORD)
    validation = x[:200], y[:200]
    model.fit(x[200:], y[200:], batch_size=64, epochs=100, validation_data=validation, callbacks=[log], verbose=0)


def missed(recording: Recording, epoch: int) -> str:
    """What the metric went on to gain at the same rate after an epoch, from 0."""
    values = recording.curve("val_loss").values
    before, after = min(values[: epoch + 1]), min(values[epoch + 1 :], default=float("inf"))
    return f"{1 - after / before:.1%}" if after < before else "nothing"


def main() -> None:
    """Train, replay, and print when each setting would have cut first, and what that would have cut off."""
    train()
    (recording,) = read(RECORD)
    table = Table("patience", "first cut after epoch", "at the same rate val_loss then fell by")
    for patience in (3, 5, 10, 20):
        found = replay(recording, Config(patience=patience, factor=0.5), rate=0.1)
        first = next((decision.epoch for decision in found.decisions), None)
        cells = ("none", "") if first is None else (str(first + 1), missed(recording, first))
        table.add_row(str(patience), *cells)
    console = Console()
    console.print(table)
    path = os.path.relpath(RECORD)
    console.print(f"Look at it: keras-lrplateau replay {path} --patience 3,5,10 --factor 0.5 --rate 0.1 -o whatif.html")


if __name__ == "__main__":
    main()
