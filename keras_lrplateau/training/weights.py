"""Looks at the weights themselves, which the numbers of an epoch may not speak of."""

from __future__ import annotations

from typing import Any

import keras

from keras_lrplateau.training import processes


def are_finite(model: Any) -> bool:
    """Whether no weight of a model is NaN or infinite. One number is fetched from the device.

    Where processes share the weights, each looks at its own part, so that no rank waits for another one.

    Args:
        model: A model with its weights in place; see `session.Host`.
    """
    ops = keras.ops
    floats = [weight for weight in model.weights if keras.backend.is_float_dtype(weight.dtype)]
    if not floats:
        return True
    verdicts = [ops.all(ops.isfinite(processes.local_part(weight))) for weight in floats]
    return bool(ops.convert_to_numpy(ops.all(ops.stack(verdicts))))
