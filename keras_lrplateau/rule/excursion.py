"""An excursion: the time from a raise until it is judged.

The rate goes to `raise_factor` times the one in force at the best, and comes back to the one before along a cosine.
Nothing is decided on the way. At the end the mean of the later half is compared with the mean of the plateau before
the raise. If it is better by `NOISE` standard errors, if one of its observations is a new best, and if the loss is no
higher, all stays as it is, at the rate before the raise. Else everything goes back to the snapshot taken at the raise.
The loss is that of the validation beside a metric such as its accuracy, else that of training: an accuracy that stands
still shows no noise, and a single lucky row would do.

Sources: short-horizon bias is why its first half says nothing (Wu et al. 2018, "Understanding short-horizon bias in
stochastic meta-optimization"). That a raised rate comes back along a cosine: Loshchilov and Hutter 2017, "SGDR". What
else was tried is in examples/benchmarks/results/default-mode.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from keras_lrplateau.rule import checks
from keras_lrplateau.rule.words import number

DEPTH = 0.01
"""A stall is called at this share of the rate at the best, or below it.

After three cuts in half training still moves, and an excursion that fails costs what it would have brought. At a
hundredth a failure costs nothing: see examples/benchmarks/raise_defaults.py.
"""

LENGTH = 6
"""An excursion lasts this many times `patience` observations, or as many as are left."""

LEAST = 2
"""None is opened that could not last this many times `patience` observations, and leave `patience` more after it.

What follows it matters: the moving averages of batch normalisation, say, go on to settle at the low rate.
"""

SHORTEST_EXCURSION = 4
"""And this many at least: its later half must show a noise."""

NOISE = 2.0
"""It must be ahead by this many standard errors of the difference."""

LARGE = 1e100
"""A metric beyond this is taken for this, so that squares do not overflow."""


@dataclass(frozen=True, slots=True)
class Level:
    """The mean of some observations, and how sure it is (Welford 1962).

    Attributes:
        count: How many.
        mean: Their mean.
        spread: The sum of their squared distances from it.
    """

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0

    def with_value(self, value: float) -> Level:
        """The level with one more observation."""
        value = max(-LARGE, min(LARGE, value))
        count = self.count + 1
        mean = self.mean + (value - self.mean) / count
        return Level(count, mean, self.spread + (value - self.mean) * (value - mean))

    def with_loss(self, loss: float | None) -> Level:
        """The level with a loss, if that is known and finite."""
        return self if loss is None or not math.isfinite(loss) else self.with_value(loss)

    @property
    def error(self) -> float:
        """The standard error of the mean; 0 where fewer than two observations show no noise."""
        return math.sqrt(self.spread / (self.count - 1) / self.count) if self.count > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Excursion:
    """A raise that is still to be judged.

    Attributes:
        top: The rate that the raise went to.
        rate_before: The rate that it comes back to.
        length: How many observations it lasts.
        before: The observations of the plateau before it.
        done: The observations in it.
        later: Those of its later half.
        has_new_best: Whether one of them is better than the best from before.
        loss_before: The losses of the plateau before it, as far as they are known.
        loss_later: Those of its later half.
    """

    top: float
    rate_before: float
    length: int
    before: Level
    done: int = 0
    later: Level = field(default_factory=Level)
    has_new_best: bool = False
    loss_before: Level = field(default_factory=Level)
    loss_later: Level = field(default_factory=Level)

    def observed(self, value: float, loss: float | None, is_new_best: bool) -> Excursion:
        """The excursion with another observation."""
        done = self.done + 1
        is_later = done > self.length // 2
        later = self.later.with_value(value) if is_later and math.isfinite(value) else self.later
        loss_later = self.loss_later.with_loss(loss) if is_later else self.loss_later
        has_new_best = self.has_new_best or is_new_best
        return replace(self, done=done, later=later, loss_later=loss_later, has_new_best=has_new_best)

    @property
    def rate(self) -> float:
        """The rate of the next observation."""
        share = (1 + math.cos(math.pi * self.done / self.length)) / 2
        return min(self.rate_before + share * (self.top - self.rate_before), self.top)

    @property
    def comparison(self) -> str:
        """The two means that are compared, in words."""
        later, before = (number(level.mean) if level.count else "no number" for level in (self.later, self.before))
        return f"{later} in its later half against {before} before it"

    def shortfall(self, sign: float) -> str | None:
        """What the later half lacks to be ahead of the plateau before it, in words; None if it is ahead.

        Args:
            sign: 1 if lower is better, else -1.
        """
        ahead = sign * self.before.mean - sign * self.later.mean
        if not self.later.count or (self.before.count and not ahead > 0):
            return self.comparison
        if not self.has_new_best:
            return f"{self.comparison}, but no new best"
        # A metric such as the accuracy may be lucky while the loss gets worse.
        if self.loss_later.count and self.loss_before.count and self.loss_later.mean > self.loss_before.mean:
            losses = f"{number(self.loss_later.mean)} against {number(self.loss_before.mean)}"
            return f"{self.comparison}, but a higher loss, {losses}"
        if self.before.count and not ahead > NOISE * math.hypot(self.later.error, self.before.error):
            return f"{self.comparison}, within the noise"
        return None


# --- stored states ---------------------------------------------------------------------------------------------------

_RATE = checks.at_least_0
READ_LEVEL = checks.record(Level, count=checks.count, mean=checks.real, spread=checks.at_least_0)
"""Reads a stored level."""

READ_EXCURSION = checks.record(
    Excursion,
    top=_RATE,
    rate_before=_RATE,
    length=checks.positive_count,
    before=READ_LEVEL,
    done=checks.count,
    later=READ_LEVEL,
    has_new_best=checks.flag,
    loss_before=READ_LEVEL,
    loss_later=READ_LEVEL,
)
"""Reads a stored excursion."""
