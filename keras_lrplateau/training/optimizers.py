"""The optimizers of a model: which of them hold a rate, and how a rate is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import LearningRateSchedule

from keras_lrplateau.rule.words import shortest


def all_leaves(optimizer: Any) -> list[Any]:
    """The optimizers that hold a rate of their own, in the order in which `MultiOptimizer` lists them."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(inner.optimizers) if hasattr(inner, "optimizers") else [inner]


def leaf_optimizers(optimizer: Any) -> list[Any]:
    """As `all_leaves`, for an optimizer whose rate is to be set.

    Raises:
        TypeError: It cannot be set.
    """
    leaves = all_leaves(optimizer)
    for leaf in leaves:
        if not isinstance(leaf, keras.optimizers.Optimizer):
            raise TypeError(
                "AdaptLROnPlateau needs a compiled Keras optimizer whose learning rate it can set. "
                f"Received: {leaf!r}; pass optimizer=... to model.compile, or an optimizer to AdaptLROnPlateau"
            )
        if callable(leaf._learning_rate) and not isinstance(leaf._learning_rate, LearningRateSchedule | keras.Variable):
            raise TypeError(
                "AdaptLROnPlateau cannot scale a learning rate that is a plain callable: a compiled training step may "
                f"have evaluated it once for all. Received: learning_rate={leaf._learning_rate!r} in optimizer "
                f"'{leaf.name}'; use a float or a keras.optimizers.schedules.LearningRateSchedule"
            )
    return leaves


def optimizers_of(model: Any, optimizer: Any = None) -> list[Any]:
    """The optimizer of `compile`, those that a user's model and its layers keep, and the given one; each once.

    An optimizer inside another one, such as a `LossScaleOptimizer`, is a part of that.
    """
    found = [getattr(model, "optimizer", None), *_kept_by(model, set()), optimizer]
    unique = {id(each): each for each in found if isinstance(each, keras.optimizers.Optimizer)}
    inside = [
        id(part)
        for each in unique.values()
        for part in (getattr(each, "inner_optimizer", None), *all_leaves(each))
        if part is not each
    ]
    return [each for key, each in unique.items() if key not in inside]


def _kept_by(holder: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the optimizers in a list, a tuple, a dict, or the attributes of a model or layer, however deep.

    Not that of its `compile`: training a whole model does not use those of its parts, and so may never build them.
    """
    seen.add(id(holder))
    if isinstance(holder, list | tuple):
        values = list(holder)
    elif isinstance(holder, dict):
        values = list(holder.values())
    else:
        attributes = dict(vars(holder))
        if getattr(holder, "compiled", False):
            attributes.pop("optimizer", None)
        # In `_tracked` and `_self_...` TensorFlow keeps what attributes hold, and what they have held before.
        values = [value for name, value in attributes.items() if not name.startswith(("_tracked", "_self_"))]
    for value in values:
        if isinstance(value, keras.optimizers.Optimizer):
            yield value
        elif isinstance(value, dict | list | tuple | keras.layers.Layer) and id(value) not in seen:
            yield from _kept_by(value, seen)


def chosen_optimizer(model: Any, wanted: Any) -> Any:
    """The optimizer that the argument `optimizer` of the callback means; None if the model has none.

    Raises:
        ValueError: The model has no attribute of that name.
    """
    if wanted is None:
        return getattr(model, "optimizer", None)
    if isinstance(wanted, str):
        if not hasattr(model, wanted):
            raise ValueError(
                f"optimizer must name an attribute of the model. Received: optimizer={wanted!r}, which "
                f"{type(model).__name__} does not have"
            )
        return getattr(model, wanted)
    return wanted


def averages_weights(optimizer: Any) -> bool:
    """Whether the weights in the model are averages over the whole training, so that lowering the rate is pointless.

    With `use_ema` they are not: Keras keeps those averages beside them, and they reach back a few hundred steps only.
    """
    schedule_free = getattr(keras.optimizers, "ScheduleFreeAdamW", None)  # Since Keras 3.15.
    return schedule_free is not None and any(isinstance(leaf, schedule_free) for leaf in all_leaves(optimizer))


def iterations_of(optimizer: Any) -> int:
    """How many steps an optimizer has counted."""
    # Early releases of Keras 3 count only those of the optimizer inside a LossScaleOptimizer.
    return int(to_float(getattr(optimizer, "inner_optimizer", optimizer).iterations))


def batches_of(optimizer: Any) -> int:
    """How many batches an optimizer has counted; with gradient accumulation, a step has several."""
    return int(to_float(leaf_optimizers(optimizer)[0]._iterations))


def accumulation_of(optimizer: Any) -> int:
    """How many batches make one step of an optimizer."""
    return int(leaf_optimizers(optimizer)[0].gradient_accumulation_steps or 1)


def to_float(value: Any) -> float:
    """Return a scalar variable, tensor or number as the shortest Python float that its dtype rounds to the same value.

    A float32 variable set to 0.001 is read back as 0.001, not as 0.0010000000474974513: the rule goes on from the
    number that the user wrote.

    Args:
        value: Anything with one element that Keras can convert to NumPy.

    Raises:
        TypeError: It is not a number.
        ValueError: It has several elements.
    """
    dtype = keras.backend.standardize_dtype(value.dtype) if hasattr(value, "dtype") else "float64"
    if dtype == "bfloat16":
        value = keras.ops.cast(value, "float32")  # NumPy 2.4 refuses TensorFlow's bfloat16 scalars.
    number = float(np.asarray(keras.ops.convert_to_numpy(value)).item())
    if dtype not in ("float32", "float16", "bfloat16") or not math.isfinite(number):
        return number
    narrow = np.dtype(dtype).type
    with np.errstate(over="ignore"):
        return shortest(number, lambda candidate: bool(narrow(candidate) == narrow(number)))
