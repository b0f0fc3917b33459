"""Fine-tune a pretrained network in two phases, with one callback that tells one story.

    python examples/finetune.py

The recipe is that of Keras' guide to transfer learning: first only a new head is trained on the frozen base, then the
whole network at a far lower rate. The base has learned the digits 0 to 4, which takes a few seconds here; it is to tell
the digits 5 to 9 from 100 images. The second `fit` begins with `initial_epoch`, so it is a new phase of the training:
it has its own wait and its own best, and TensorBoard shows one curve with a mark where it begins.

`logs/finetune/` then holds the training. It runs on every Keras backend (KERAS_BACKEND).
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau

LOGS = Path(__file__).resolve().parents[1] / "logs"
PHASE = 60
"""Epochs of each phase."""


def pretrained(images: Any, digits: Any, console: Console) -> keras.Model:
    """A convolutional network that knows the digits 0 to 4, without its head."""
    base = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
        ]
    )
    model = keras.Sequential([base, keras.layers.Dense(5)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    with console.status("training the base on the digits 0 to 4"):
        history = model.fit(images, digits, batch_size=64, epochs=15, verbose=0)
    console.print(f"The base tells the digits 0 to 4: accuracy {history.history['accuracy'][-1]:.1%}")
    return base


def main() -> None:
    """Train the base, then the head, then all of it."""
    console = Console()
    keras.utils.set_random_seed(0)
    images, digits = load_digits(return_X_y=True)
    images, low = images.reshape(-1, 8, 8, 1) / 16, digits < 5
    base = pretrained(images[low], digits[low], console)
    x, x_val, y, y_val = train_test_split(
        images[~low], digits[~low] - 5, train_size=100, random_state=0, stratify=digits[~low]
    )

    inputs = keras.Input((8, 8, 1))
    # As in Keras' guide: batch normalization stays in inference mode when the base is trained, too.
    model = keras.Model(inputs, keras.layers.Dense(5)(base(inputs, training=False)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adapt = AdaptLROnPlateau(factor=0.3, patience=4, log_dir=LOGS / "finetune", verbose=1)
    for name, trains_base, rate, begin in (("the head", False, 0.3, 0), ("all of it", True, 3e-3, PHASE)):
        base.trainable = trains_base
        model.compile(keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])
        model.fit(
            x,
            y,
            batch_size=20,
            initial_epoch=begin,
            epochs=begin + PHASE,
            validation_data=(x_val, y_val),
            callbacks=[adapt],
            verbose=0,
        )
        results = model.evaluate(x_val, y_val, verbose=0, return_dict=True)
        console.print(f"\nAfter {name}: validation loss {results['loss']:.3f}, accuracy {results['accuracy']:.1%}")
    console.print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS)}")


if __name__ == "__main__":
    main()
