"""Reads Keras' logs: numbers of any type, the direction of a metric, and the metric that a name means."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np

NEAR = 0.6
"""Two names that are at least this similar are "near"; see `difflib.SequenceMatcher.ratio`."""


def numbers_in(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the entries of the logs that are numbers, as floats."""
    return {name: number for name, value in (logs or {}).items() if (number := as_number(value)) is not None}


def as_number(value: Any) -> float | None:
    """Return a number of any type as a float: Python, NumPy, a tensor or variable with one element. Else None."""
    if isinstance(value, float):
        return float(value)
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        # Exactly, as Keras does: what on_test_begin reads must be what on_epoch_end gets.
        dtype = keras.backend.standardize_dtype(value.dtype) if hasattr(value, "dtype") else ""
        value = keras.ops.cast(value, "float32") if dtype == "bfloat16" else value
        return float(np.asarray(keras.ops.convert_to_numpy(value)).item())
    except (TypeError, ValueError, OverflowError):
        return None


def direction(model: Any, monitor: str) -> Literal["min", "max"] | None:
    """Return whether a metric should fall or rise, if Keras knows it. The model may have several outputs."""
    name = monitor.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    for metric in metrics_named(model, name):
        known = getattr(metric, "_direction", None)
        if known is not None:
            return "max" if known == "up" else "min"
    return None


def metrics_named(model: Any, name: str) -> Iterator[Any]:
    """Yield the metrics of a model that a name in the logs may mean."""
    # Compiled metrics come in containers.
    for metric in (inner for outer in model.metrics for inner in (outer, *getattr(outer, "metrics", ()))):
        if name == metric.name or name.endswith(f"_{metric.name}"):
            yield metric


def no_number(monitor: str, value: Any) -> str:
    """Return the error for a monitored metric that is no number, with the remedy."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape):
        return (
            f"the metric '{monitor}' must be a number. Received: an array of shape {tuple(shape)}, one value for each "
            'class or output; give the metric an average, such as average="macro", or watch another one'
        )
    return f"the metric '{monitor}' must be a number. Received: {value!r}"


def missing(monitor: str, logs: Collection[str]) -> str:
    """Return the warning for a monitored metric that is not in the logs, with a name that is near, if there is one."""
    names = sorted(name for name in logs if not name.startswith("learning_rate"))
    nearest = difflib.get_close_matches(monitor, names, n=1, cutoff=NEAR)
    return (
        f"AdaptLROnPlateau watches the metric '{monitor}', which is not there, so the learning rate does not change. "
        f"Available metrics: {', '.join(names)}." + "".join(f" Did you mean '{name}'?" for name in nearest)
    )
