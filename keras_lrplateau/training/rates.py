"""What the callback does to the rate of a Keras optimizer: find it, read it, set it, scale its schedule.

Whatever the optimizer looks like, the policy sees one number:

- one rate: that rate;
- several (`MultiOptimizer`): the largest. The others keep their ratio to it, each within the bounds;
- a `LearningRateSchedule`: the multiplier of the schedule, 1.0 at first. Every rate is then its own times the
  multiplier. The bounds limit what the multiplier does, never the schedule itself: a cosine may end at zero.

A `LossScaleOptimizer` is looked through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import LearningRateSchedule

LARGE = float(np.finfo("float32").max)
"""Stands for "no upper bound" inside a compiled step, where the rate is a float32 or narrower."""


@dataclass
class _Rate:
    """The rate of one optimizer without sub-optimizers.

    Attributes:
        optimizer: The optimizer.
        multiplier: The variable that scales its schedule; None for a plain rate.
        base: The rate found, before anything was decided; of a schedule, nothing.
        share: `base` / the number that the policy saw at that time.
        written: What the optimizer holds since it was last looked at or written, rounded to its dtype.
    """

    optimizer: Any
    multiplier: Any
    base: float = 0.0
    share: float = 1.0
    written: float = 0.0

    def assign(self, value: float) -> None:
        if self.multiplier is not None:
            self.multiplier.assign(value)
        else:
            self.optimizer.learning_rate = value

    def read(self) -> float:
        return to_float(self.optimizer.learning_rate if self.multiplier is None else self.multiplier)


class RateControl:
    """The rate of an optimizer as one number.

    Args:
        optimizer: Any Keras optimizer. One that chooses its sub-optimizers by a function must be built.
        min_lr: Lower bound for every decision. >= 0.
        max_lr: Upper bound for every decision, or None.

    Raises:
        TypeError: Not a Keras optimizer, or one whose rate is a plain callable.
    """

    def __init__(self, optimizer: Any, min_lr: float, max_lr: float | None) -> None:
        self.optimizer = optimizer
        self._min_lr = min_lr
        self._max_lr = max_lr
        self._rates = [_Rate(leaf, _multiplier(leaf)) for leaf in leaf_optimizers(optimizer)]
        if not self._rates:
            raise TypeError(
                "AdaptLROnPlateau cannot find the optimizers that MultiOptimizer chooses by a function before the "
                "model is built; give the model an Input or call model.build before model.fit"
            )
        self._is_scheduled = any(rate.multiplier is not None for rate in self._rates)
        self.rate = self.adopted = 0.0
        self.adopt()

    def adopt(self) -> None:
        """Take the rates as they are now for the ones to go on from; `rate` is the number for the policy."""
        found = [rate.read() for rate in self._rates]
        scheduled = [value for rate, value in zip(self._rates, found, strict=True) if rate.multiplier is not None]
        self.rate = self.adopted = scheduled[0] if scheduled else max(found)
        for rate, value in zip(self._rates, found, strict=True):
            rate.written = value
            rate.base = value
            rate.share = value / self.rate if self.rate else 1.0

    @property
    def held(self) -> tuple[float, ...]:
        """What each optimizer holds now: its rate, or the multiplier of its schedule."""
        return tuple(rate.read() for rate in self._rates)

    @property
    def written(self) -> tuple[float, ...]:
        """What each held when it was last looked at or written, without a look at it now."""
        return tuple(rate.written for rate in self._rates)

    @property
    def bases(self) -> tuple[float, ...]:
        """What each held when the rates were last adopted."""
        return tuple(rate.base for rate in self._rates)

    def resume(self, rate: float, bases: Sequence[float], adopted: float, written: Sequence[float]) -> None:
        """Be as the control of an earlier process was; what the optimizers hold is not looked at.

        Args:
            rate: Its `rate`.
            bases, adopted, written: Likewise.
        """
        self.rate, self.adopted = rate, adopted
        for each, base, found in zip(self._rates, bases, written, strict=True):
            each.base, each.written = base, found
            each.share = base / adopted if adopted else 1.0

    def impose(self, values: Sequence[float]) -> None:
        """Let each optimizer hold what somebody else has decided; to be adopted like any change from outside."""
        for rate, value in zip(self._rates, values, strict=True):
            rate.assign(value)

    @property
    def is_scheduled(self) -> bool:
        """Whether `rate` is a multiplier of a schedule instead of a rate."""
        return self._is_scheduled

    @property
    def quantity(self) -> str:
        """What `rate` is, in words."""
        return "multiplier of the schedule" if self._is_scheduled else "learning rate"

    def in_force(self) -> dict[str, float]:
        """The rates that the optimizer uses now, under the names that Keras' ReduceLROnPlateau logs them."""
        if len(self._rates) == 1:
            return {"learning_rate": to_float(self._rates[0].optimizer.learning_rate)}
        return {f"learning_rate_{rate.optimizer.name}": to_float(rate.optimizer.learning_rate) for rate in self._rates}

    def last_written(self) -> dict[str, float]:
        """As `in_force`, without a look at the optimizer; not for schedules."""
        if len(self._rates) == 1:
            return {"learning_rate": self._rates[0].written}
        return {f"learning_rate_{rate.optimizer.name}": rate.written for rate in self._rates}

    def bounds(self) -> tuple[float, float | None]:
        """`min_lr` and `max_lr` in the policy's number, which under a schedule depends on where the schedule is."""
        if not self._is_scheduled:
            return self._min_lr, self._max_lr
        unscaled = max(_unscaled(rate.optimizer) if rate.multiplier is not None else rate.share for rate in self._rates)
        if unscaled <= 0 or not math.isfinite(self._min_lr / unscaled):
            return 0.0, None  # A schedule at zero stays there, whatever the multiplier.
        max_lr = None if self._max_lr is None else self._max_lr / unscaled
        return self._min_lr / unscaled, max_lr if max_lr is None or math.isfinite(max_lr) else None

    def write(self, value: float) -> None:
        """Set the rate.

        Args:
            value: The number for the policy's `rate`. Kept as the Python float that it is, so that cuts and raises do
                not drift; only the optimizer's copy is rounded to its dtype.
        """
        self.rate = value
        for rate in self._rates:
            if rate.multiplier is None and (self._is_scheduled or len(self._rates) > 1):
                low, high = min(self._min_lr, rate.base), max(self._max_lr or LARGE, rate.base)
                rate.assign(min(max(rate.share * value, low), high))
            else:
                rate.assign(min(value, LARGE))
            rate.written = rate.read()


def all_leaves(optimizer: Any) -> list[Any]:
    """The optimizers that hold a rate of their own, in the order in which `MultiOptimizer` lists them."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(inner.optimizers) if hasattr(inner, "optimizers") else [inner]


def leaf_optimizers(optimizer: Any) -> list[Any]:
    """As `all_leaves`, of an optimizer whose rate is to be set.

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


# --- schedules -------------------------------------------------------------------------------------------------------


def scale_schedules(model: Any, optimizer: Any, min_lr: float, max_lr: float | None) -> None:
    """Make every `LearningRateSchedule` of an optimizer scalable, before the training step is traced.

    The multiplier must be a variable that the compiled step reads; a schedule exchanged after tracing is ignored by
    TensorFlow, which goes on reporting the new one. It is tracked by the optimizer, so that JAX passes it into the
    step, but kept out of saved files: they hold the optimizer that the user built, and load without this package.

    Args:
        model: Its training step is traced anew if a schedule is scaled now.
        optimizer: The one to scale. If it is the one that the model is compiled with, and the model is built and the
            optimizer is not, that is built, too.
        min_lr: The multiplier does not take the rate below this. >= 0.
        max_lr: The multiplier does not take the rate above this; None for no bound.
    """
    compiled: Any = getattr(model, "optimizer", None)  # There is none before the first `compile`.
    if optimizer is compiled and model.built and not optimizer.built:
        # As Keras would at the first step; by then it is too late for a MultiOptimizer's schedules, and for a snapshot.
        optimizer.build(model.trainable_variables)
    for leaf in leaf_optimizers(optimizer):
        if not isinstance(leaf._learning_rate, LearningRateSchedule):
            continue
        if _multiplier(leaf) is None:
            _install_multiplier(leaf)
            # An earlier fit without the callback has traced a step that knows no multiplier.
            model.train_function = None
        leaf._lr_plateau_bounds = (min_lr, LARGE if max_lr is None else max_lr)
        for outer in (optimizer, getattr(optimizer, "inner_optimizer", leaf), leaf):
            _save_without_multipliers(outer)


def _multiplier(leaf: Any) -> Any:
    return getattr(leaf, "_lr_plateau_multiplier", None)


def _install_multiplier(leaf: Any) -> None:
    multiplier = keras.Variable(
        1.0,
        dtype=keras.backend.floatx(),
        trainable=False,
        aggregation="only_first_replica",
        name="lr_plateau_multiplier",
    )
    # An optimizer locks its list of variables once it is built.
    leaf._tracker.unlock()
    leaf._track_variable(multiplier)
    leaf._lr_plateau_multiplier = multiplier
    unscaled = leaf._get_current_learning_rate

    def scaled() -> Any:
        rate = keras.ops.cast(unscaled(), multiplier.dtype)
        low, high = leaf._lr_plateau_bounds
        return keras.ops.clip(rate * multiplier, keras.ops.minimum(rate, low), keras.ops.maximum(rate, high))

    # On the instance, not on the schedule: the schedule stays the object that the user made and that is saved.
    leaf._lr_plateau_unscaled = unscaled
    leaf._get_current_learning_rate = scaled


def _save_without_multipliers(optimizer: Any) -> None:
    """Keep the multipliers of an optimizer, and of those inside it, out of what it saves and loads."""
    if getattr(optimizer, "_lr_plateau_saves_without", False):
        return
    optimizer._lr_plateau_saves_without = True

    @contextmanager
    def without_multipliers() -> Iterator[None]:
        hidden = []
        for leaf in leaf_optimizers(optimizer):
            for position, variable in enumerate(leaf._variables):
                if variable is _multiplier(leaf):
                    hidden.append((leaf._variables, position, variable))
                    break
        for variables, position, _ in hidden:
            del variables[position]
        try:
            yield
        finally:
            for variables, position, variable in hidden:
                variables.insert(position, variable)

    def as_built(method: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(store: Any) -> None:
            with without_multipliers():
                method(store)

        return call

    optimizer.save_own_variables = as_built(optimizer.save_own_variables)
    optimizer.load_own_variables = as_built(optimizer.load_own_variables)


def _unscaled(leaf: Any) -> float:
    return to_float(leaf._lr_plateau_unscaled())


def to_float(value: Any) -> float:
    """A scalar variable, tensor or number as the shortest Python float that its dtype rounds to the same value.

    A float32 variable set to 0.001 is read back as 0.001, not as 0.0010000000474974513: the policy goes on from the
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
    shorter = (float(f"{number:.{digits}g}") for digits in range(1, 9))
    with np.errstate(over="ignore"):
        return next((candidate for candidate in shorter if narrow(candidate) == narrow(number)), number)
