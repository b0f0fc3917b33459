"""Train a small network on scikit-learn's digits, with a learning rate that is far too high to begin with.

    python examples/digits.py

prints each decision when it is made, and writes `logs/digits/` for TensorBoard. It runs on every Keras backend:
KERAS_BACKEND=jax python examples/digits.py
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau

LOGS = Path(__file__).resolve().parents[1] / "logs"


def main() -> None:
    """Train, and say what came of it."""
    keras.utils.set_random_seed(0)
    images, digits = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, digits, test_size=0.3, random_state=0, stratify=digits)

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(100.0, momentum=0.9), loss=loss, metrics=["accuracy"])
    adapt = AdaptLROnPlateau(factor=0.3, patience=4, log_dir=LOGS / "digits", verbose=1)
    model.fit(x, y, batch_size=64, epochs=80, validation_data=(x_val, y_val), callbacks=[adapt], verbose=0)
    # Not the last epoch's: when that was part of a raise that brought nothing, the weights are those from before it.
    results = model.evaluate(x_val, y_val, verbose=0, return_dict=True)

    console = Console()
    console.print(f"\nIn the end: validation loss {results['loss']:.3f}, accuracy {results['accuracy']:.1%}")
    console.print(f"Look at it: tensorboard --logdir {os.path.relpath(LOGS)}")


if __name__ == "__main__":
    main()
