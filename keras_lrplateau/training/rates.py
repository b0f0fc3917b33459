"""Reads and sets the rate of a Keras optimizer, which the rule sees as one number.

- With one rate, the number is that rate.
- With several (`MultiOptimizer`), it is the largest. The others keep their ratio to it, each within the bounds.
- With a `LearningRateSchedule`, it is the multiplier of the schedule, at first 1.0. It multiplies every rate. The
  bounds limit the effect of the multiplier, never the schedule itself: a cosine may end at zero.

For a `LossScaleOptimizer`, the optimizer inside it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_lrplateau.rule.decision import multiplier_bounds
from keras_lrplateau.training.optimizers import leaf_optimizers, to_float
from keras_lrplateau.training.schedules import LARGE, multiplier_of, unscaled_rate


@dataclass
class _Rate:
    """The rate of one optimizer without sub-optimizers.

    Attributes:
        optimizer: The optimizer.
        multiplier: The variable that scales its schedule; None for a plain rate.
        base: The rate, or multiplier, when it was last adopted.
        share: `base` divided by the rule's rate at that time.
        written: What the optimizer held when it was last read or written, rounded to its dtype.
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
        TypeError: It is no Keras optimizer, or its rate is a plain callable.
    """

    def __init__(self, optimizer: Any, min_lr: float, max_lr: float | None) -> None:
        self.optimizer = optimizer
        self._min_lr = min_lr
        self._max_lr = max_lr
        self._rates = [_Rate(leaf, multiplier_of(leaf)) for leaf in leaf_optimizers(optimizer)]
        if not self._rates:
            raise TypeError(
                "AdaptLROnPlateau cannot find the optimizers that MultiOptimizer chooses by a function before the "
                "model is built; give the model an Input or call model.build before model.fit"
            )
        self._is_scheduled = any(rate.multiplier is not None for rate in self._rates)
        self.rate = self.adopted = 0.0
        self.adopt()

    def adopt(self) -> None:
        """Go on from the present rates; afterwards `rate` is the number for the rule."""
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
        """What each optimizer held when it was last read or written; it is not read now."""
        return tuple(rate.written for rate in self._rates)

    @property
    def bases(self) -> tuple[float, ...]:
        """What each optimizer held when the rates were last adopted."""
        return tuple(rate.base for rate in self._rates)

    def resume(self, rate: float, bases: Sequence[float], adopted: float, written: Sequence[float]) -> None:
        """Take over the attributes of an earlier process's control; the optimizers are not read.

        Args:
            rate, bases, adopted, written: The attributes of that control.
        """
        self.rate, self.adopted = rate, adopted
        for each, base, found in zip(self._rates, bases, written, strict=True):
            each.base, each.written = base, found
            each.share = base / adopted if adopted else 1.0

    def impose(self, values: Sequence[float]) -> None:
        """Set what each optimizer holds to the values of another rank; `adopt` takes them like any outside change."""
        for rate, value in zip(self._rates, values, strict=True):
            rate.assign(value)

    @property
    def is_scheduled(self) -> bool:
        """Whether `rate` is a multiplier of a schedule instead of a rate."""
        return self._is_scheduled

    @property
    def quantity(self) -> str:
        """The meaning of `rate`, in words."""
        return "multiplier of the schedule" if self._is_scheduled else "learning rate"

    def in_force(self) -> dict[str, float]:
        """Return the rates in use now, under the names that Keras' ReduceLROnPlateau logs."""
        if len(self._rates) == 1:
            return {"learning_rate": to_float(self._rates[0].optimizer.learning_rate)}
        return {f"learning_rate_{rate.optimizer.name}": to_float(rate.optimizer.learning_rate) for rate in self._rates}

    def last_written(self) -> dict[str, float]:
        """Return what `in_force` would, without reading the optimizer; not for schedules."""
        if len(self._rates) == 1:
            return {"learning_rate": self._rates[0].written}
        return {f"learning_rate_{rate.optimizer.name}": rate.written for rate in self._rates}

    def bounds(self) -> tuple[float, float | None]:
        """Return `min_lr` and `max_lr` as bounds of `rate`; for a schedule they depend on its present rate."""
        if not self._is_scheduled:
            return self._min_lr, self._max_lr
        unscaled = max(
            unscaled_rate(rate.optimizer) if rate.multiplier is not None else rate.share for rate in self._rates
        )
        return multiplier_bounds(self._min_lr, self._max_lr, unscaled)

    def write(self, value: float) -> None:
        """Set the rate.

        Args:
            value: The new `rate`. It stays a Python float, so that cuts and raises do not drift; only the optimizer's
                copy is rounded to its dtype.
        """
        self.rate = value
        for rate in self._rates:
            if rate.multiplier is None and (self._is_scheduled or len(self._rates) > 1):
                low, high = min(self._min_lr, rate.base), max(self._max_lr or LARGE, rate.base)
                rate.assign(min(max(rate.share * value, low), high))
            else:
                rate.assign(min(value, LARGE))
            rate.written = rate.read()
