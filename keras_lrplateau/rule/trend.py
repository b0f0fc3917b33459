"""Is it still getting better? A straight line through the last observations, and how sure that line is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

OUTLIER = 3.0
"""An observation farther from the line than this many times the noise is pulled back to that distance.

One spike among a dozen observations would otherwise hide most trends.
"""

ROUNDS = 5
"""How often the line is drawn again; each time it leaves an outlier farther behind."""


class Trend(NamedTuple):
    """A line through observations at 0, 1, 2, ...

    Attributes:
        slope: Change of the metric an observation.
        error: Standard error of the slope.
        end: The line at the last observation.
        noise: Standard deviation of an observation from the line.
        size: The number of observations.
    """

    slope: float
    error: float
    end: float
    noise: float
    size: int

    @property
    def t(self) -> float:
        """The slope in standard errors: infinite if all is exactly on a slope, 0 if all is equal."""
        if self.error > 0:
            return self.slope / self.error
        return math.copysign(math.inf, self.slope) if self.slope else 0.0

    def ahead(self, steps: float) -> float:
        """The line, this many observations after the last one."""
        return self.end + self.slope * steps

    def evidence(self, goal: float, wait: int, least_noise: float) -> float:
        """How much evidence there is that the metric is not at a goal, after `wait` observations without reaching it.

        Twice the logarithm of a likelihood ratio: of that many independent normal observations around the end of the
        line, against as many around the goal, as in Wald's sequential test. Where the noise may hide that the goal is
        reached there is little of it, however long the wait; the noise counts as `least_noise` at least.
        """
        noise = math.hypot(self.noise, least_noise)
        if not wait or self.end < goal:
            return 0.0
        if noise == 0:
            return math.inf
        distance = (self.end - goal) / noise
        return wait * distance * distance


def trend(values: Sequence[float]) -> Trend:
    """The trend of at least three finite observations.

    Least squares, then again with the outliers pulled in to `OUTLIER` times a noise that a few outliers cannot move:
    1.4826 times the median distance from the line, which is the standard deviation for normal noise.

    Source: a few steps of Huber's M-estimator (Huber 1964, "Robust estimation of a location parameter"). That a slope
    test tells a plateau is dlib's idea (dlib/statistics/running_gradient.h); it also looks again without the largest
    values.
    """
    slope, end, distances = _least_squares(values)
    for _ in range(ROUNDS):
        reach = OUTLIER * 1.4826 * median(map(abs, distances))
        if reach == 0 or all(abs(distance) <= reach for distance in distances):
            break
        values = [v - d + max(-reach, min(reach, d)) for v, d in zip(values, distances, strict=True)]
        slope, end, distances = _least_squares(values)
    count = len(values)
    noise = math.sqrt(math.fsum(distance * distance for distance in distances) / (count - 2))
    error = noise / math.sqrt((count**3 - count) / 12)
    return Trend(slope, error, end, noise, count)


def _least_squares(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Slope, value at the end, and the distance of each observation from the line."""
    count = len(values)
    middle = (count - 1) / 2
    mean = math.fsum(values) / count
    slope = math.fsum((i - middle) * value for i, value in enumerate(values)) / ((count**3 - count) / 12)
    distances = [value - mean - slope * (i - middle) for i, value in enumerate(values)]
    return slope, mean + slope * middle, distances
