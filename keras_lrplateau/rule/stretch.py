"""The observations since the last change of rate, and whether they are flat."""

from __future__ import annotations

from dataclasses import dataclass

from keras_lrplateau.rule import checks
from keras_lrplateau.rule.trend import Trend

LONGEST_TREND = 10
"""A trend is drawn through at most this many observations."""

SHORTEST_TREND = 6
"""No trend is judged on fewer."""

FLAT = 0.0
"""A slope of this many standard errors, or more, is flat.

Of slopes that are truly flat every other one is found so, and the next observation asks again. To ask for a significant
decrease would call a plateau wherever noise hides a slow one.
"""

EVIDENCE = 15.0
"""And so much must speak against the metric being better by `IMPROVEMENT`; see `Trend.evidence`.

Without noise it makes no difference. Chosen from 0, 10, 15 and 25: more of it costs time on the tuning tasks of
examples/benchmarks/convergence.py, and less of it brings less on the noisy quadratic model with 20 % noise. What it
tells apart, and what not, is in examples/benchmarks/detection.py.
"""

IMPROVEMENT = 0.02
"""The share of the metric's magnitude by which it must get better, since it last did, to be getting on."""

LEAST_NOISE = 0.002
"""The noise of a metric counts as this share of its magnitude at least."""

LARGE = 1e100
"""A metric beyond this is taken for this, so that the squares of a trend do not overflow."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The observations since the last change of rate; all of them signed so that lower is better.

    Attributes:
        latest: The last of them, at most `LONGEST_TREND`.
        held: How many there were, also of those before the latest, and of those that broke training.
        mark: The last one that was better by `IMPROVEMENT` than the mark before it, or the first; None before it.
        wait: Observations since the mark.
    """

    latest: tuple[float, ...] = ()
    held: int = 0
    mark: float | None = None
    wait: int = 0

    def observed(self, cost: float) -> Stretch:
        """The stretch with another observation."""
        is_better = self.mark is None or cost < self.goal
        mark, wait = (cost, 0) if is_better else (self.mark, self.wait + 1)
        return Stretch((*self.latest, cost)[-LONGEST_TREND:], self.held + 1, mark, wait)

    @property
    def goal(self) -> float:
        """What is better than the mark by `IMPROVEMENT`."""
        assert self.mark is not None
        return self.mark - IMPROVEMENT * abs(self.mark)

    def is_flat(self, now: Trend) -> bool:
        """Whether its trend is not getting better, and not because noise may hide it."""
        assert self.mark is not None
        return now.t >= FLAT and now.evidence(self.goal, self.wait, LEAST_NOISE * abs(self.mark)) >= EVIDENCE


COST = checks.within(LARGE)
"""Reads a stored observation."""

READ = checks.record(
    Stretch,
    latest=checks.listed(COST, most=LONGEST_TREND),
    held=checks.count,
    mark=checks.optional(COST),
    wait=checks.count,
)
"""Reads a stored stretch."""
